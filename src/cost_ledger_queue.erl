%%% The caller's side of the writer: hand over a request, learn what became of it.
%%%
%%% Each call carries a token. When the writer dies before it answers, the environment knows
%%% whether the token was done (it waits for a commit still in flight); if it was not, the
%%% request goes to the next writer under the same token. So a call ends in exactly one booking or
%%% in an error, whatever happens to the writer.
-module(cost_ledger_queue).

-include("cost_ledger.hrl").

-export([call/3, call/4]).
-export_type([reason/0]).

%% How often a caller looks for a writer that is being restarted.
-define(RESTART_POLL_MS, 5).
-define(WITHDRAW_RETRY_MS, 200).

-type reason() :: overloaded | timeout | unavailable | no_writer | {atom(), binary()}
                | {conflict, pos_integer()}.

-record(call,
        {handle :: cost_ledger_nif:handle(),
         token :: pos_integer(),
         operation :: cost_ledger_nif:operation(),
         draft :: cost_ledger_nif:draft(),
         owner :: pid() | undefined,
         deadline :: integer() | infinity}).

-spec call(#ledger{}, cost_ledger_nif:operation(), cost_ledger_nif:draft()) ->
          {ok, Id :: non_neg_integer(), Flags :: non_neg_integer()}
              | {denied, term()} | {error, reason()}.
call(Ledger, Operation, Draft) ->
    call(Ledger, Operation, Draft, undefined).

%% {ok, Id, Flags}: durable. `timeout`: the outcome is unknown, it may still be done; but a hold
%% that was reserved is given back. Owner: whom the writer watches from then on.
-spec call(#ledger{}, cost_ledger_nif:operation(), cost_ledger_nif:draft(), pid() | undefined) ->
          {ok, Id :: non_neg_integer(), Flags :: non_neg_integer()}
              | {denied, term()} | {error, reason()}.
call(#ledger{max_entry_size = Max}, _Operation, Draft, _Owner) when byte_size(Draft) > Max ->
    Text = io_lib:format("the entry has ~b bytes, max_entry_size is ~b", [byte_size(Draft), Max]),
    {error, {entry_too_large, unicode:characters_to_binary(Text)}};
call(#ledger{handle = Handle, call_timeout = Timeout}, Operation, Draft, Owner) ->
    Deadline = case Timeout of
                   infinity -> infinity;
                   Ms -> erlang:monotonic_time(millisecond) + Ms
               end,
    attempt(#call{handle = Handle, token = erlang:unique_integer([positive]),
                  operation = Operation, draft = Draft, owner = Owner, deadline = Deadline}).

attempt(#call{handle = Handle, token = Token, operation = Operation, draft = Draft,
              owner = Owner} = Call) ->
    case cost_ledger_nif:writer(Handle) of
        {Writer, Booked} ->
            Alias = erlang:monitor(process, Writer, [{alias, reply_demonitor}]),
            Message = {do, Alias, Token, Operation, Draft, Owner},
            case cost_ledger_nif:submit(Handle, Writer, byte_size(Draft), Message) of
                ok ->
                    await(Alias, Booked, Call);
                NotSent ->
                    true = erlang:demonitor(Alias, [flush]),
                    not_sent(NotSent, Call)
            end;
        NoWriter ->
            not_sent(NoWriter, Call)
    end.

not_sent(closed, _Call) ->
    {error, unavailable};
not_sent(overloaded, _Call) ->
    {error, overloaded};
not_sent(no_writer, #call{deadline = Deadline} = Call) ->
    case remaining(Deadline) of
        0 ->
            {error, no_writer};
        _ ->
            timer:sleep(?RESTART_POLL_MS),
            attempt(Call)
    end.

await(Alias, Booked, #call{handle = Handle, token = Token, deadline = Deadline} = Call) ->
    receive
        {Alias, Reply} ->
            Reply;
        {'DOWN', Alias, process, _Writer, _Reason} ->
            case cost_ledger_nif:outcome(Handle, Token, Booked) of
                unknown -> not_sent(no_writer, Call);
                closed -> {error, unavailable};
                {error, _} = Error -> Error;
                {Id, Flags} -> {ok, Id, Flags};
                Id -> {ok, Id, 0}
            end
    after remaining(Deadline) ->
            true = erlang:demonitor(Alias, [flush]),
            %% The alias is off now: a reply is either here already or will never come.
            receive {Alias, Reply} -> Reply
            after 0 -> timed_out(Call)
            end
    end.

%% Nobody would resolve a hold that its caller does not know of. Giving it back must outlive the
%% caller's patience, and the writer too.
timed_out(#call{operation = {reserve, _, _, _, _}, token = Token} = Call) ->
    Withdrawal = Call#call{token = erlang:unique_integer([positive]),
                           operation = {withdraw, Token}, draft = <<>>, owner = undefined,
                           deadline = infinity},
    _ = spawn(fun() -> withdraw(Withdrawal) end),
    {error, timeout};
timed_out(_Call) ->
    {error, timeout}.

%% Whatever keeps it from being written now, a full queue or a full disk: until it is, or the
%% ledger is closed.
withdraw(Call) ->
    case attempt(Call) of
        {error, unavailable} ->
            ok;
        {error, {open_children, _}} ->
            ok;
        {error, _} ->
            timer:sleep(?WITHDRAW_RETRY_MS),
            withdraw(Call);
        _Done ->
            ok
    end.

remaining(infinity) -> infinity;
remaining(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).
