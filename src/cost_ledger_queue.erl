%%% The caller's side of the writer: hand over a request, learn what became of it.
%%%
%%% Each call carries a token. When the writer dies before it answers, the environment knows
%%% whether the token was done (it waits for a commit still in flight); if it was not, the
%%% request goes to the next writer under the same token. So a call ends in exactly one booking or
%%% in an error, whatever happens to the writer.
-module(cost_ledger_queue).

-include("cost_ledger.hrl").

-export([call/3, call/4, call_all/2]).
-export_type([reason/0, answer/0]).

%% How often a caller looks for a writer that is being restarted.
-define(RESTART_POLL_MS, 5).
-define(WITHDRAW_RETRY_MS, 200).

-type reason() :: overloaded | timeout | unavailable | no_writer | {atom(), binary()}
                | {conflict, pos_integer()}.
-type answer() :: {ok, Id :: non_neg_integer(), Flags :: non_neg_integer()}
                | {denied, term()} | {error, reason()}.

-record(call,
        {handle :: cost_ledger_nif:handle(),
         token :: pos_integer(),
         operation :: cost_ledger_nif:operation(),
         draft :: cost_ledger_nif:draft(),
         owner :: pid() | undefined,
         deadline :: integer() | infinity}).

-spec call(#ledger{}, cost_ledger_nif:operation(), cost_ledger_nif:draft()) -> answer().
call(Ledger, Operation, Draft) ->
    call(Ledger, Operation, Draft, undefined).

%% {ok, Id, Flags}: durable. `timeout`: the outcome is unknown, it may still be done; but a hold
%% that was reserved is given back. Owner: whom the writer watches from then on.
-spec call(#ledger{}, cost_ledger_nif:operation(), cost_ledger_nif:draft(), pid() | undefined) ->
          answer().
call(#ledger{max_entry_size = Max}, _Operation, Draft, _Owner) when byte_size(Draft) > Max ->
    Text = io_lib:format("the entry has ~b bytes, max_entry_size is ~b", [byte_size(Draft), Max]),
    {error, {entry_too_large, unicode:characters_to_binary(Text)}};
call(Ledger, Operation, Draft, Owner) ->
    attempt(new(Ledger, Operation, Draft, Owner)).

%% Many of one caller, which the writer can do in one batch, and does in this order; their answers.
%% A queue that has no room for all of them takes the rest when it has.
-spec call_all(#ledger{}, [{cost_ledger_nif:operation(), cost_ledger_nif:draft()}]) -> [answer()].
call_all(Ledger, Requests) ->
    all([new(Ledger, Operation, Draft, undefined) || {Operation, Draft} <- Requests], []).

all([], Answers) ->
    lists:append(lists:reverse(Answers));
all([First | Later] = Calls, Answers) ->
    case send_in_order(Calls, any, []) of
        {[], _} -> all(Later, [[attempt_patiently(First)] | Answers]);
        {Sent, Rest} -> all(Rest, [[await(Alias, Booked, Call) || {Alias, Booked, Call} <- Sent]
                                   | Answers])
    end.

%% Up to the first that is not taken, or would go to another writer: that one could do it before
%% those that the one before left undone.
send_in_order([Call | Rest] = Calls, To, Sent) ->
    case send(Call, To) of
        {sent, Writer, Alias, Booked} ->
            send_in_order(Rest, Writer, [{Alias, Booked, Call} | Sent]);
        _NotTaken ->
            {lists:reverse(Sent), Calls}
    end;
send_in_order([], _To, Sent) ->
    {lists:reverse(Sent), []}.

attempt_patiently(#call{deadline = Deadline} = Call) ->
    case attempt(Call) of
        {error, overloaded} = Overloaded ->
            case remaining(Deadline) of
                0 -> Overloaded;
                _ -> timer:sleep(?RESTART_POLL_MS),
                     attempt_patiently(Call)
            end;
        Answer ->
            Answer
    end.

new(#ledger{handle = Handle, call_timeout = Timeout}, Operation, Draft, Owner) ->
    Deadline = case Timeout of
                   infinity -> infinity;
                   Ms -> erlang:monotonic_time(millisecond) + Ms
               end,
    #call{handle = Handle, token = erlang:unique_integer([positive]), operation = Operation,
          draft = Draft, owner = Owner, deadline = Deadline}.

attempt(Call) ->
    case send(Call, any) of
        {sent, _Writer, Alias, Booked} -> await(Alias, Booked, Call);
        NotSent -> not_sent(NotSent, Call)
    end.

%% To that writer, or to `any`.
send(#call{handle = Handle, token = Token, operation = Operation, draft = Draft, owner = Owner},
     To) ->
    case cost_ledger_nif:writer(Handle) of
        {Writer, Booked} when To =:= any; To =:= Writer ->
            Alias = erlang:monitor(process, Writer, [{alias, reply_demonitor}]),
            Message = {do, Alias, Token, Operation, Draft, Owner},
            case cost_ledger_nif:submit(Handle, Writer, byte_size(Draft), Message) of
                ok ->
                    {sent, Writer, Alias, Booked};
                NotSent ->
                    true = erlang:demonitor(Alias, [flush]),
                    NotSent
            end;
        {_Another, _Booked} ->
            no_writer;
        NoWriter ->
            NoWriter
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
                           operation = {withdraw, Token}, owner = undefined,
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
