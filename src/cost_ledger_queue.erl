%%% The caller's side of the writer: hand over a draft, learn what became of it.
%%%
%%% Each call carries a token. When the writer dies before it answers, the environment knows
%%% whether the token was booked (it waits for a commit still in flight); if it was not, the
%%% draft goes to the next writer under the same token. So a call ends in exactly one booking or
%%% in an error, whatever happens to the writer.
-module(cost_ledger_queue).

-include("cost_ledger.hrl").

-export([book/2]).

%% How often a caller looks for a writer that is being restarted.
-define(RESTART_POLL_MS, 5).

%% {ok, Id}: durable. `timeout`: the outcome is unknown, the entry may still be booked.
-spec book(#ledger{}, cost_ledger_nif:draft()) ->
          {ok, pos_integer()}
              | {error, overloaded | timeout | unavailable | no_writer | {atom(), binary()}}.
book(#ledger{max_entry_size = Max}, Draft) when byte_size(Draft) > Max ->
    Text = io_lib:format("the entry has ~b bytes, max_entry_size is ~b", [byte_size(Draft), Max]),
    {error, {entry_too_large, unicode:characters_to_binary(Text)}};
book(#ledger{handle = Handle, call_timeout = Timeout}, Draft) ->
    Deadline = case Timeout of
                   infinity -> infinity;
                   Ms -> erlang:monotonic_time(millisecond) + Ms
               end,
    attempt(Handle, erlang:unique_integer([positive]), Draft, Deadline).

attempt(Handle, Token, Draft, Deadline) ->
    case cost_ledger_nif:writer(Handle) of
        {Writer, Booked} ->
            Alias = erlang:monitor(process, Writer, [{alias, reply_demonitor}]),
            Message = {book, Alias, Token, Draft},
            case cost_ledger_nif:submit(Handle, Writer, byte_size(Draft), Message) of
                ok ->
                    await(Alias, Booked, Handle, Token, Draft, Deadline);
                NotSent ->
                    true = erlang:demonitor(Alias, [flush]),
                    not_sent(NotSent, Handle, Token, Draft, Deadline)
            end;
        NoWriter ->
            not_sent(NoWriter, Handle, Token, Draft, Deadline)
    end.

not_sent(closed, _Handle, _Token, _Draft, _Deadline) ->
    {error, unavailable};
not_sent(overloaded, _Handle, _Token, _Draft, _Deadline) ->
    {error, overloaded};
not_sent(no_writer, Handle, Token, Draft, Deadline) ->
    case remaining(Deadline) of
        0 ->
            {error, no_writer};
        _ ->
            timer:sleep(?RESTART_POLL_MS),
            attempt(Handle, Token, Draft, Deadline)
    end.

await(Alias, Booked, Handle, Token, Draft, Deadline) ->
    receive
        {Alias, Reply} ->
            Reply;
        {'DOWN', Alias, process, _Writer, _Reason} ->
            case cost_ledger_nif:outcome(Handle, Token, Booked) of
                unknown -> not_sent(no_writer, Handle, Token, Draft, Deadline);
                closed -> {error, unavailable};
                {error, _} = Error -> Error;
                Id -> {ok, Id}
            end
    after remaining(Deadline) ->
            true = erlang:demonitor(Alias, [flush]),
            %% The alias is off now: a reply is either here already or will never come.
            receive {Alias, Reply} -> Reply
            after 0 -> {error, timeout}
            end
    end.

remaining(infinity) -> infinity;
remaining(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).
