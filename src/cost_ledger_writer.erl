%%% The writer: the one process that books entries and keeps holds. Group commit: it takes what
%%% waits in its mailbox, up to a bound, commits it in one durable transaction, and answers
%%% everyone. While the disk syncs, the next batch gathers.
%%%
%%% It watches the owners of live holds, and the first of their deadlines. It keeps nothing that the
%%% file does not have: after a crash the next one reads the holds and watches again.
-module(cost_ledger_writer).
-behaviour(gen_server).

-include("cost_ledger.hrl").

-export([start_link/2, forget/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(BATCH_CALLS, 2000).
-define(BATCH_BYTES, (8 bsl 20)).
-define(HOLDS_SLICE, 1000).
%% Entries that one slice of building series adds: callers wait for it.
-define(BUILD_SLICE, 2000).
%% Rows that one slice of removing looks at: likewise.
-define(PRUNE_SLICE, 2000).
%% After a failure to build, or to end a hold: the disk may be back by then.
-define(RETRY_MS, 1000).
-define(DUE_RETRY_MS, 100).
%% Beside an entry's flags: it was done before, so nothing is to be watched anew.
-define(REPEATED, (1 bsl 31)).
-define(TIMER_MAX_MS, 16#7fffffff).

-record(state,
        {ledger :: #ledger{},
         %% Owners of live holds, both ways.
         monitors = #{} :: #{Hold :: pos_integer() => reference()},
         holds = #{} :: #{reference() => Hold :: pos_integer()},
         %% The timer for the first deadline, and when that is.
         timer = undefined :: undefined | {reference(), Us :: pos_integer()},
         building = false :: boolean() | failing, % a message to go on is under way
         unended = [] :: [pos_integer()], % holds of dead owners that could not be ended
         %% Name of the reason that commits fail for, and how many callers were told so since it
         %% was reported: told once, not once a batch.
         failing = undefined :: undefined | {atom(), non_neg_integer()}}).

%% Anyone may send us anything: what is no request is dropped. What it asks is the NIF's to read.
-define(IS_REQUEST(Alias, Token, Draft, Owner),
        is_reference(Alias), is_integer(Token), Token > 0, is_binary(Draft),
        (is_pid(Owner) orelse Owner =:= undefined)).

%% Whom to answer, and what to watch if it succeeds.
-record(caller,
        {alias :: reference() | none,
         operation :: cost_ledger_nif:operation(),
         owner :: pid() | undefined}).

-spec start_link(atom(), Queue :: #{calls := pos_integer(), bytes := pos_integer()}) ->
          {ok, pid()}.
start_link(Name, Queue) ->
    {ok, _} = gen_server:start_link(?MODULE, {Name, Queue}, []).

%% Holds that others found ended, while they moved the clock.
-spec forget(cost_ledger_nif:handle(), [pos_integer()]) -> ok.
forget(_Handle, []) ->
    ok;
forget(Handle, Holds) ->
    case cost_ledger_nif:writer(Handle) of
        {Writer, _} -> Writer ! {forget, Holds}, ok;
        _ -> ok
    end.

init({Name, #{calls := Calls, bytes := Bytes}}) ->
    %% The mailbox is the queue: keep it out of the heap that is collected.
    _ = process_flag(message_queue_data, off_heap),
    #ledger{handle = Handle} = Ledger = cost_ledger_registry:find(Name),
    ok = cost_ledger_nif:attach(Handle, Calls, Bytes),
    %% The first commit waits for one that a killed writer left in flight: what that one made is
    %% seen by then. Holds of another VM, and of owners that died meanwhile, are ended here, so
    %% that whoever finds the ledger open finds them gone.
    Ended = end_due(#state{ledger = Ledger}),
    {Dead, Watching} = watch_holds(0, [], Ended),
    {ok, abort(Dead, Watching)}.

%% A transaction ends so many at most.
end_due(#state{ledger = #ledger{handle = Handle} = Ledger} = State) ->
    case cost_ledger_nif:commit(Handle, []) of
        {[], {_Next, [_ | _] = Effects}} ->
            case cost_ledger_effects:tell(Ledger, Effects) of
                [] -> after_commit(none, Effects, State);
                _ -> end_due(State)
            end;
        {[], {Next, []}} ->
            after_commit(Next, [], State);
        closed ->
            State
    end.

%% As many at a time as a batch may have.
abort([], State) ->
    State;
abort(Dead, State) ->
    {Now, Later} = lists:split(min(?BATCH_CALLS, length(Dead)), Dead),
    {Requests, Callers} = lists:unzip([abort_request(Hold) || Hold <- Now]),
    abort(Later, commit(Requests, Callers, State)).

abort_request(Hold) ->
    Operation = {abort, Hold},
    {{0, Operation, <<>>}, #caller{alias = none, operation = Operation}}.

%% Ids of the holds whose owners are dead, and a state that watches the others.
watch_holds(From, Dead, #state{ledger = #ledger{handle = Handle}} = State) ->
    case cost_ledger_nif:holds(Handle, From, ?HOLDS_SLICE) of
        {ok, [#{id := Last} | _] = Holds} ->
            {MoreDead, Watching} = lists:foldr(fun watch_hold/2, {Dead, State}, Holds),
            case length(Holds) of
                ?HOLDS_SLICE -> watch_holds(Last + 1, MoreDead, Watching);
                _ -> {MoreDead, Watching}
            end;
        {ok, []} ->
            {Dead, State};
        closed ->
            {Dead, State}
        %% An error crashes: a writer that does not know the holds must not go on without them.
    end.

watch_hold(#{id := Id, owner := Owner, boot_id := BootId}, {Dead, State}) ->
    case cost_ledger_registry:boot_id() =:= BootId andalso cost_ledger_hold_info:owner(Owner) of
        false -> {Dead, State}; % of another boot: ended already
        none -> {[Id | Dead], State};
        Pid when node(Pid) =:= node() ->
            case is_process_alive(Pid) of
                true -> {Dead, watch(Id, Pid, State)};
                false -> {[Id | Dead], State}
            end;
        Pid -> {Dead, watch(Id, Pid, State)}
    end.

handle_info({do, Alias, Token, Operation, Draft, Owner}, State)
  when ?IS_REQUEST(Alias, Token, Draft, Owner) ->
    Caller = #caller{alias = Alias, operation = Operation, owner = Owner},
    {noreply, gather_and_commit({Token, Operation, Draft}, Caller, byte_size(Draft), State)};
handle_info({'DOWN', Monitor, process, _Pid, _Reason}, #state{holds = Holds} = State)
  when is_map_key(Monitor, Holds) ->
    {Request, Caller} = abort_request(maps:get(Monitor, Holds)),
    {noreply, gather_and_commit(Request, Caller, 0, State)};
handle_info(abort, #state{unended = Holds} = State) ->
    {noreply, abort(Holds, State#state{unended = []})};
handle_info(due, State) ->
    {noreply, commit([], [], State#state{timer = undefined})};
handle_info({forget, Holds}, State) when length(Holds) >= 0 ->
    {noreply, lists:foldl(fun unwatch/2, State, Holds)};
handle_info(build, State) ->
    {noreply, build(State)};
handle_info(_Other, State) ->
    {noreply, State}.

gather_and_commit(Request, Caller, Bytes, #state{holds = Holds} = State) ->
    {Requests, Callers} = gather([Request], [Caller], 1, Bytes, Holds),
    commit(Requests, Callers, State).

%% What is waiting already, in the order in which it came.
gather(Requests, Callers, Calls, Bytes, Holds) when Calls < ?BATCH_CALLS, Bytes < ?BATCH_BYTES ->
    receive
        {do, Alias, Token, Operation, Draft, Owner}
          when ?IS_REQUEST(Alias, Token, Draft, Owner) ->
            Caller = #caller{alias = Alias, operation = Operation, owner = Owner},
            gather([{Token, Operation, Draft} | Requests], [Caller | Callers], Calls + 1,
                   Bytes + byte_size(Draft), Holds);
        {'DOWN', Monitor, process, _Pid, _Reason} when is_map_key(Monitor, Holds) ->
            {Request, Caller} = abort_request(maps:get(Monitor, Holds)),
            gather([Request | Requests], [Caller | Callers], Calls + 1, Bytes, Holds)
    after 0 ->
            {lists:reverse(Requests), lists:reverse(Callers)}
    end;
gather(Requests, Callers, _Calls, _Bytes, _Holds) ->
    {lists:reverse(Requests), lists:reverse(Callers)}.

commit(Requests, Callers, #state{ledger = #ledger{handle = Handle}} = State) ->
    case cost_ledger_nif:commit(Handle, Requests) of
        closed ->
            lists:foreach(fun(Caller) -> reply(Caller, {error, unavailable}) end, Callers),
            State;
        {[], {Next, Effects}} -> % says nothing about whether anything can be written
            after_commit(Next, Effects, State);
        {Results, {Next, Effects}} ->
            {Answered, Failed} = answer(Callers, Results, State, []),
            after_commit(Next, Effects, report(Failed, Answered))
    end.

%%% Answers ------------------------------------------------------------------------------------

%% Answers everyone; with the reasons of writes that failed.
answer([Caller | Callers], [Result | Results], State, Failed) ->
    case Result of
        {error, {Name, _} = Reason} = Error ->
            reply(Caller, Error),
            answer(Callers, Results, not_ended(Caller, State),
                   [Reason || is_the_disks(Name)] ++ Failed);
        {denied, _} = Denied ->
            reply(Caller, Denied),
            answer(Callers, Results, State, Failed);
        {Id, Flags} when Flags band ?REPEATED =/= 0 ->
            reply(Caller, {ok, Id, Flags}),
            answer(Callers, Results, State, Failed);
        {Id, Flags} ->
            reply(Caller, {ok, Id, Flags}),
            answer(Callers, Results, resolved(Caller, Id, State), Failed);
        Id ->
            reply(Caller, {ok, Id, 0}),
            answer(Callers, Results, resolved(Caller, Id, State), Failed)
    end;
answer([], [], State, Failed) ->
    {State, Failed}.

reply(#caller{alias = none}, _Answer) ->
    ok;
reply(#caller{alias = Alias}, Answer) ->
    Alias ! {Alias, Answer},
    ok.

%% Nobody else asks for a hold to be ended whose owner is dead: it is tried again.
not_ended(#caller{alias = none, operation = {abort, Hold}}, #state{unended = Unended} = State) ->
    case Unended of
        [] -> _ = erlang:send_after(?RETRY_MS, self(), abort), ok;
        _ -> ok
    end,
    State#state{unended = [Hold | Unended]};
not_ended(_Caller, State) ->
    State.

%% What is wrong with one request alone is its caller's to know; what is wrong with the ledger is
%% everyone's.
is_the_disks(Name) ->
    not lists:member(Name, [bad_entry, entry_too_large, undeclared_state, undeclared_series,
                            building, conflict, resolved, open_children, estimate_required,
                            no_hold, no_rule, no_parent, no_version, too_deep, no_price,
                            no_entry, overcorrected, no_payload, amount_too_large, occurs_ahead,
                            overtaken, pruned, budget_exhausted]).

report([], #state{failing = undefined} = State) ->
    State;
report([], #state{ledger = #ledger{name = Name, path = Path}, failing = {_, Untold}} = State) ->
    cost_ledger_events:write_recovered(Name, Untold, Path),
    State#state{failing = undefined};
report([{Reason, _Text} | _] = Failed, #state{failing = {Reason, Untold}} = State) ->
    State#state{failing = {Reason, Untold + length(Failed)}};
report([{Reason, _Text} = First | _] = Failed,
       #state{ledger = #ledger{name = Name}, failing = Before} = State) ->
    Untold = case Before of
                 undefined -> 0;
                 {_OtherReason, Count} -> Count
             end,
    cost_ledger_events:write_failed(Name, Untold + length(Failed), First),
    State#state{failing = {Reason, 0}}.

%%% Owners -------------------------------------------------------------------------------------

resolved(#caller{operation = record}, _Id, State) ->
    State;
resolved(#caller{operation = {reserve, _, _, _, _}, owner = Owner}, Hold, State)
  when is_pid(Owner) ->
    watch(Hold, Owner, State);
resolved(#caller{operation = {transfer, Hold, _}, owner = Owner}, _Id, State)
  when is_pid(Owner) ->
    watch(Hold, Owner, unwatch(Hold, State));
resolved(#caller{operation = {withdraw, _Token}}, Hold, State) ->
    unwatch(Hold, State);
resolved(#caller{operation = {Ending, Hold}}, _Id, State)
  when Ending =:= settle; Ending =:= release; Ending =:= abort ->
    unwatch(Hold, State);
resolved(_Caller, _Id, State) ->
    State.

watch(Hold, _Owner, #state{monitors = Monitors} = State) when is_map_key(Hold, Monitors) ->
    State;
watch(Hold, Owner, #state{monitors = Monitors, holds = Holds} = State) ->
    Monitor = erlang:monitor(process, Owner),
    State#state{monitors = Monitors#{Hold => Monitor}, holds = Holds#{Monitor => Hold}}.

unwatch(Hold, #state{monitors = Monitors, holds = Holds} = State) ->
    case maps:take(Hold, Monitors) of
        {Monitor, Rest} ->
            %% Not flushed: that would look through all that waits, for each hold. A message that
            %% is here already names a monitor that is not known any more, and is dropped.
            true = erlang:demonitor(Monitor),
            State#state{monitors = Rest, holds = maps:remove(Monitor, Holds)};
        error ->
            State
    end.

%%% What follows -------------------------------------------------------------------------------

after_commit(Next, [], State) ->
    await_deadline(Next, ?DUE_RETRY_MS, State);
after_commit(Next, Effects, #state{ledger = Ledger} = State) ->
    Ended = cost_ledger_effects:tell(Ledger, Effects),
    Unwatched = lists:foldl(fun unwatch/2, State, Ended),
    Least = case Ended of
                [] -> ?DUE_RETRY_MS;
                _ -> 0 % there may be more
            end,
    await_deadline(Next, Least, go_on_building(lists:member(building, Effects), Unwatched)).

%% A manual clock has no timers: whoever moves it ends what is due. What is due and did not end
%% could not be written, or came due this moment: it is tried again a little later.
await_deadline(_Next, _Least, #state{ledger = #ledger{clock = manual}} = State) ->
    State;
await_deadline(none, _Least, State) ->
    State;
await_deadline(Us, _Least, #state{timer = {_, Us}} = State) ->
    State;
await_deadline(Us, Least, #state{ledger = #ledger{handle = Handle}, timer = Timer} = State) ->
    case Timer of
        {Old, _} -> _ = erlang:cancel_timer(Old), ok;
        undefined -> ok
    end,
    Ms = max(Least, (Us - cost_ledger_nif:now(Handle) + 999) div 1000),
    State#state{timer = {erlang:send_after(min(Ms, ?TIMER_MAX_MS), self(), due), Us}}.

go_on_building(true, #state{building = false} = State) ->
    self() ! build,
    State#state{building = true};
go_on_building(_Building, State) ->
    State.

%% One slice, then whoever waits: the next one comes after them.
build(#state{ledger = #ledger{name = Name, handle = Handle, path = Path}} = State) ->
    case cost_ledger_nif:build(Handle, ?BUILD_SLICE) of
        more ->
            self() ! build,
            State#state{building = true};
        done ->
            cost_ledger_events:series_built(Name, Path),
            State#state{building = false};
        closed ->
            State#state{building = false};
        {error, {_, _} = Reason} ->
            case State#state.building of
                failing -> ok;
                _ -> cost_ledger_events:write_failed(Name, 1, Reason)
            end,
            _ = erlang:send_after(?RETRY_MS, self(), build),
            State#state{building = failing}
    end.

%% One slice, in its turn: whoever asks for it asks again for the next.
handle_call({prune, {Horizon, Series, Block} = Pruning}, _From,
            #state{ledger = #ledger{handle = Handle}} = State)
  when is_integer(Horizon), Horizon >= 0, Horizon < 1 bsl 63, is_integer(Series), Series >= 0,
       Series < 1 bsl 32, is_integer(Block), Block >= 0, Block < 1 bsl 64 ->
    {reply, cost_ledger_nif:prune(Handle, Pruning, ?PRUNE_SLICE), State};
handle_call(_Request, _From, State) ->
    {reply, {error, unknown_request}, State}.

handle_cast(_Request, State) ->
    {noreply, State}.
