%%% The writer: the one process that books entries. Group commit: it takes what waits in its
%%% mailbox, up to a bound, commits it in one durable transaction, and answers everyone. While
%%% the disk syncs, the next batch gathers.
%%%
%%% It keeps no state that the file does not have: after a crash the next one just begins.
-module(cost_ledger_writer).
-behaviour(gen_server).

-include("cost_ledger.hrl").

-export([start_link/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(BATCH_CALLS, 2000).
-define(BATCH_BYTES, (8 bsl 20)).

-record(state,
        {ledger :: atom(),
         handle :: cost_ledger_nif:handle(),
         path :: binary(),
         %% Name of the reason that commits fail for, and how many callers were told so since it
         %% was reported: told once, not once a batch.
         failing = undefined :: undefined | {atom(), non_neg_integer()}}).

-spec start_link(atom(), Queue :: #{calls := pos_integer(), bytes := pos_integer()}) ->
          {ok, pid()}.
start_link(Name, Queue) ->
    {ok, _} = gen_server:start_link(?MODULE, {Name, Queue}, []).

init({Name, #{calls := Calls, bytes := Bytes}}) ->
    %% The mailbox is the queue: keep it out of the heap that is collected.
    _ = process_flag(message_queue_data, off_heap),
    #ledger{handle = Handle, path = Path} = cost_ledger_registry:find(Name),
    ok = cost_ledger_nif:attach(Handle, Calls, Bytes),
    {ok, #state{ledger = Name, handle = Handle, path = Path}}.

handle_info({book, Alias, Token, Draft}, State) ->
    {Requests, Aliases} = gather([{Token, Draft}], [Alias], 1, byte_size(Draft)),
    {noreply, book(Requests, Aliases, State)};
handle_info(_Other, State) ->
    {noreply, State}.

%% What is waiting already, in the order in which it came.
gather(Requests, Aliases, Calls, Bytes) when Calls < ?BATCH_CALLS, Bytes < ?BATCH_BYTES ->
    receive
        {book, Alias, Token, Draft} ->
            gather([{Token, Draft} | Requests], [Alias | Aliases], Calls + 1,
                   Bytes + byte_size(Draft))
    after 0 ->
            {lists:reverse(Requests), lists:reverse(Aliases)}
    end;
gather(Requests, Aliases, _Calls, _Bytes) ->
    {lists:reverse(Requests), lists:reverse(Aliases)}.

book(Requests, Aliases, #state{handle = Handle} = State) ->
    case cost_ledger_nif:commit(Handle, Requests) of
        closed ->
            lists:foreach(fun(Alias) -> Alias ! {Alias, {error, unavailable}} end, Aliases),
            State;
        Results ->
            report(answer(Aliases, Results, []), State)
    end.

report([], #state{failing = undefined} = State) ->
    State;
report([], #state{ledger = Name, path = Path, failing = {_, Untold}} = State) ->
    cost_ledger_events:write_recovered(Name, Untold, Path),
    State#state{failing = undefined};
report([{Reason, _Text} | _] = Failed, #state{failing = {Reason, Untold}} = State) ->
    State#state{failing = {Reason, Untold + length(Failed)}};
report([{Reason, _Text} = First | _] = Failed, #state{ledger = Name, failing = Before} = State) ->
    Untold = case Before of
                 undefined -> 0;
                 {_OtherReason, Count} -> Count
             end,
    cost_ledger_events:write_failed(Name, Untold + length(Failed), First),
    State#state{failing = {Reason, 0}}.

%% Answers everyone; the reasons of those that failed.
answer([Alias | Aliases], [{error, Reason} = Error | Results], Failed) ->
    Alias ! {Alias, Error},
    answer(Aliases, Results, [Reason | Failed]);
answer([Alias | Aliases], [Id | Results], Failed) ->
    Alias ! {Alias, {ok, Id}},
    answer(Aliases, Results, Failed);
answer([], [], Failed) ->
    Failed.

handle_call(_Request, _From, State) ->
    {reply, {error, unknown_request}, State}.

handle_cast(_Request, State) ->
    {noreply, State}.
