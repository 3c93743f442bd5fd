%%% The public API. Every function has a form without the ledger, for the one named `default`,
%%% which the application starts when its environment has a `path`.
%%%
%%% A programmer's error (an undeclared state, a wrong type, a named ledger that was never
%%% opened) raises badarg in the caller, with a message that names the argument; the ledger does
%%% not notice. Everything else that can go wrong is an {error, Reason}:
%%%
%%%   overloaded          more callers wait than the queue holds; nothing was booked
%%%   timeout             no answer within call_timeout; the entry may still be booked
%%%   unavailable         no ledger is open under that name
%%%   no_writer           the writer did not come back within call_timeout; nothing was booked
%%%   {outcome_unknown, Text}
%%%                       the disk failed in the middle of a commit; the entry may be booked
%%%   {conflict, Id}      the id of the request was used by another one, which made Id
%%%   {budget_exhausted, Denial}
%%%                       which budgets deny it, and until when
%%%   {out_of_scope, Text}
%%%                       the ledger is seen through scope/2, and this is not to be seen or done
%%%   {pruned, Ms}        it reaches into what was archived and removed; all is kept from Ms on
%%%   {Name, Text}        otherwise from the ledger's table of errors: disk_full, map_full,
%%%                       io_error, resolved, ...; nothing was booked
%%%
%%% Times are Unix milliseconds of ledger time; money is in nano-units of the ledger's currency.
-module(cost_ledger).

-include("cost_ledger.hrl").

-export([start_link/1, child_spec/1, stop/0, stop/1]).
-export([check_budget/1, check_budget/2]).
-export([record_invocation/1, record_invocation/2, record_invocation/3]).
-export([stats/0, stats/1, history/0, history/1, history/2]).
-export([record/1, record/2, redact/2, redact/3, fetch/1, fetch/2, fetch_run/1, fetch_run/2,
         list/2, list/3, failed/2, failed/3, fold/3, fold/4, totals/1, totals/2, totals_by/2,
         totals_by/3, scope/1, scope/2]).
-export([export/3, export/4, export/5, report/1, report/2, report/3, backup/1, backup/2, backup/3,
         restore/2, restore/3, verify/0, verify/1, verify/2, archive/1, archive/2, archive/3]).
-export([import/1, import/2]).
-export([set_prices/2, set_prices/3, import_prices/2, import_prices/3, prices/0, prices/1, price/1,
         price/2, price/3]).
-export([check/1, check/2, reserve/1, reserve/2, settle/2, release/1, release/2, meter/2,
         transfer/2, transfer/3, hold_info/1, holds/0, holds/1, with_budget/2, with_budget/3]).
-export([budget_status/1, budget_status/2, grant/3, grant/4, balance/1, balance/2]).
-export([set_budgets/2, set_budgets/3, set_policy/2, set_policy/3, policy/0, policy/1, policy/2,
         policy_history/0, policy_history/1, reset/2, reset/3]).
-export([subscribe/0, subscribe/1, unsubscribe/0, unsubscribe/1]).
-export([set_clock/1, set_clock/2, advance_clock/1, advance_clock/2]).
-export([accept_clock/0, accept_clock/1, i/0, i/1]).
-export_type([ledger/0, counts/0, stats/0, history_options/0, change/0, reason/0, scope/0]).

-type ledger() :: atom() | cost_ledger_scope:scope().
-type reason() :: overloaded | timeout | unavailable | no_writer | {atom(), binary()}
                | {atom(), Path :: [term()], binary()} | {conflict, pos_integer()}
                | {budget_exhausted, cost_ledger_status:denial()} | not_found
                | {pruned, KeptFromMs :: non_neg_integer()}
                | {not_settled, reason(), Result :: term(), cost_ledger_holds:hold()}.
-type scope() :: all | #{atom() => atom() | string() | binary()}.
-type counts() :: #{atom() | binary() => non_neg_integer()}.
-type stats() :: #{hourly := counts(), daily := counts(), session := counts(),
                   budgets := #{atom() | binary() =>
                                    #{hourly_limit := cost_ledger_budgets:limit(),
                                      daily_limit := cost_ledger_budgets:limit()}},
                   ledger_time := integer()}.
-type history_options() :: #{state => atom(), since => integer(), limit => non_neg_integer()}
                         | [{atom(), term()}].
-type change() :: #{by := atom() | string() | binary(), reason := atom() | string() | binary(),
                    id => cost_ledger_record:id()}.

%% The caller sees the public function that was called, whichever helper found the fault.
-define(BADARG(Function, Arguments, Position, Text),
        cost_ledger_error:badarg({?MODULE, Function, Arguments}, Position, Text)).

%%% Starting and stopping ----------------------------------------------------------------------

%% Opens a ledger under the calling supervisor; see cost_ledger_options for what there is to set.
%% Wrong options are {error, {bad_option | bad_budgets, Path, Text}}; a ledger that cannot be
%% opened is {error, {Name, Text}}: locked, already_open, truncated, foreign, newer_format, ...;
%% a name that is taken is {error, {already_started, Pid}}.
-spec start_link(cost_ledger_options:options()) -> {ok, pid()} | {error, term()}.
start_link(Options) ->
    case cost_ledger_options:parse(Options) of
        {ok, Parsed} -> cost_ledger_instance_sup:start_link(Parsed);
        {error, _} = Error -> Error
    end.

%% A relative path is that of now, also for later restarts.
-spec child_spec(cost_ledger_options:options()) -> supervisor:child_spec().
child_spec(Options) ->
    {Name, Absolute} = cost_ledger_options:prepare(Options),
    #{id => {cost_ledger, Name}, start => {?MODULE, start_link, [Absolute]}, type => supervisor,
      shutdown => infinity}.

-spec stop() -> ok | {error, unavailable}.
stop() -> stop(?DEFAULT_LEDGER).

%% Closes a ledger, and keeps its supervisor from starting it again. What is being committed is
%% waited for; callers still in the queue get {error, unavailable}.
-spec stop(ledger()) -> ok | {error, unavailable}.
stop(Ledger) ->
    case cost_ledger_registry:find(Ledger) of
        #ledger{supervisor = Supervisor} -> cost_ledger_stop:stop(Supervisor);
        undefined -> not_open(stop, [Ledger])
    end.

%%% The gate -----------------------------------------------------------------------------------

-spec check_budget(State :: atom()) -> ok | budget_exhausted.
check_budget(State) -> check_budget(?DEFAULT_LEDGER, State).

%% May State invoke now? Tens of nanoseconds, on any scheduler, never waiting; also while the
%% writer restarts. Only a denial that somebody listens to reads the counts it is told with.
%% With no ledger open the answer is that of on_unavailable, reported once.
-spec check_budget(ledger(), State :: atom()) -> ok | budget_exhausted.
check_budget(Ledger, State) ->
    case persistent_term:get(?LEDGER_KEY(Ledger), undefined) of
        #ledger{handle = Handle} = Record ->
            case cost_ledger_nif:gate(Handle, State) of
                ok -> ok;
                budget_exhausted -> exhausted(Record, State);
                closed -> unavailable(Record, Ledger, State);
                undeclared -> undeclared(Record, Ledger, State)
            end;
        undefined ->
            unavailable(undefined, Ledger, State)
    end.

%% The counts are read on denial only.
exhausted(#ledger{name = Name, handle = Handle}, State) ->
    case cost_ledger_events:is_heard(info) of
        true ->
            Counts = cost_ledger_view:denial_counts(Handle, State),
            cost_ledger_events:budget_exhausted(Name, State, Counts);
        false ->
            ok
    end,
    budget_exhausted.

%% The gate knows the atoms that the options named; the policy may know more names.
undeclared(#ledger{handle = Handle} = Record, Ledger, State) ->
    case cost_ledger_states:declare(Handle, State) of
        ok -> check_budget(Ledger, State);
        closed -> unavailable(Record, Ledger, State);
        undeclared -> ?BADARG(check_budget, [Ledger, State], 2, undeclared_text(Ledger, State))
    end.

unavailable(_Record, Ledger, State) when not is_atom(State) ->
    ?BADARG(check_budget, [Ledger, State], 2, "a state must be an atom");
unavailable(undefined, Ledger, State) when Ledger =/= ?DEFAULT_LEDGER ->
    case cost_ledger_scope:is_scope(Ledger) of
        true -> check_budget(cost_ledger_scope:ledger(Ledger), State);
        false -> ?BADARG(check_budget, [Ledger, State], 1, never_opened(Ledger))
    end;
unavailable(Record, Ledger, _State) ->
    Answer = case Record of
                 #ledger{on_unavailable = OnUnavailable} -> OnUnavailable;
                 undefined -> application:get_env(cost_ledger, on_unavailable, allow)
             end,
    case cost_ledger_registry:begin_outage(Ledger) of
        true -> cost_ledger_events:unavailable(Ledger, Answer);
        false -> ok
    end,
    %% Whatever a configuration says that is not `allow` does not allow.
    case Answer of
        allow -> ok;
        _ -> budget_exhausted
    end.

undeclared_text(Ledger, State) ->
    ["state ", cost_ledger_error:describe(State), " is not declared in ledger ",
     cost_ledger_error:describe(Ledger), "; name it (an atom) in the budgets, or call set_budgets"].

never_opened(Ledger) ->
    ["no ledger was ever opened under the name ", cost_ledger_error:describe(Ledger)].

%%% Recording ----------------------------------------------------------------------------------

-spec record_invocation(State :: atom()) -> ok | {error, reason()}.
record_invocation(State) -> record_invocation(?DEFAULT_LEDGER, State, #{}).

-spec record_invocation(State :: atom(), cost_ledger_record:meta()) -> ok | {error, reason()}.
record_invocation(State, Meta) when is_map(Meta) ->
    record_invocation(?DEFAULT_LEDGER, State, Meta);
record_invocation(State, Other) ->
    ?BADARG(record_invocation, [State, Other], 2,
            ["metadata must be a map, like #{duration_ms => 1200}, not ",
             cost_ledger_error:describe(Other),
             "; with a ledger's name call record_invocation(Ledger, State, Meta)"]).

%% Books one invocation. `ok` means that it is on the disk.
-spec record_invocation(ledger(), State :: atom(), cost_ledger_record:meta()) ->
          ok | {error, reason()}.
record_invocation(Ledger, State, Meta) ->
    case cost_ledger_registry:find(Ledger) of
        #ledger{} = Record ->
            case cost_ledger_states:is_declared(Record, State) of
                true -> book(Record, State, Meta);
                false -> ?BADARG(record_invocation, [Ledger, State, Meta], 2,
                                 undeclared_text(Ledger, State));
                closed -> {error, unavailable}
            end;
        undefined ->
            case cost_ledger_scope:is_scope(Ledger)
                andalso cost_ledger_scope:booked(Ledger, State, Meta) of
                false -> not_open(record_invocation, [Ledger, State, Meta]);
                {ok, Own} -> record_invocation(cost_ledger_scope:ledger(Ledger), State, Own);
                Error -> Error
            end
    end.

%% Of a named ledger that was never there, the caller is told that the name is wrong.
not_open(_Function, [?DEFAULT_LEDGER | _]) ->
    {error, unavailable};
not_open(Function, [Ledger | _] = Arguments) ->
    case cost_ledger_scope:is_scope(Ledger) of
        true -> cost_ledger_scope:refuse(atom_to_binary(Function));
        false -> ?BADARG(Function, Arguments, 1, never_opened(Ledger))
    end.

book(#ledger{name = Name, max_entry_size = BytesMax} = Record, State, Meta) ->
    case cost_ledger_record:draft(State, Meta, BytesMax) of
        {ok, Draft, DurationMs, PromptType} ->
            case cost_ledger_queue:call(Record, record, Draft) of
                {ok, _Id, _Flags} ->
                    cost_ledger_events:invocation(Name, State, DurationMs, PromptType);
                {error, _} = Error ->
                    Error
            end;
        {invalid, Text} ->
            ?BADARG(record_invocation, [Name, State, Meta], 3, Text);
        {error, _} = Error ->
            Error
    end.

-spec record(cost_ledger_record:given()) -> {ok, Id :: pos_integer()} | {error, reason()}.
record(Record) -> record(?DEFAULT_LEDGER, Record).

%% Books a record: of an invocation (by default), of a run, or a correction of either;
%% docs/records.md says what it may have. The same record again under its run_id, or its id, has the
%% same answer; another one is {error, {conflict, Id}}.
-spec record(ledger(), cost_ledger_record:given()) ->
          {ok, Id :: pos_integer()} | {error, reason()}.
record(Ledger, Record) ->
    reach(record, [Ledger, Record], fun cost_ledger_scope:booked/2,
          fun cost_ledger_records:record/2).

-spec redact(pos_integer(), change()) -> {ok, Id :: pos_integer()} | {error, reason()}.
redact(Id, Change) -> redact(?DEFAULT_LEDGER, Id, Change).

%% Takes away what a record says in words (intent, input, output, error_message, trace, attributes),
%% for a lawful reason, and books who did it and why. Its numbers, and every sum, stay.
-spec redact(ledger(), pos_integer(), change()) -> {ok, Id :: pos_integer()} | {error, reason()}.
redact(Ledger, Id, Change) ->
    with_ledger(redact, [Ledger, Id, Change],
                fun(Record) -> cost_ledger_records:redact(Record, Id, Change) end).

%%% Records ------------------------------------------------------------------------------------

-spec fetch(pos_integer()) -> {ok, cost_ledger_record:record()} | {error, reason()}.
fetch(Id) -> fetch(?DEFAULT_LEDGER, Id).

%% One entry of any kind, whole; {error, not_found}.
-spec fetch(ledger(), pos_integer()) -> {ok, cost_ledger_record:record()} | {error, reason()}.
fetch(Ledger, Id) ->
    seen(Ledger, reach(fetch, [Ledger, Id], fun as_given/2, fun cost_ledger_records:fetch/2)).

-spec fetch_run(cost_ledger_record:id()) -> {ok, cost_ledger_record:record()} | {error, reason()}.
fetch_run(RunId) -> fetch_run(?DEFAULT_LEDGER, RunId).

%% The record of that run_id, whole; {error, not_found}, also while the run is a live hold. Of a run
%% that the ledger ended and its caller settled later, what the caller said stands in a correction.
%% Through a scope a removed one is not_found: whose it was is not known any more.
-spec fetch_run(ledger(), cost_ledger_record:id()) ->
          {ok, cost_ledger_record:record()} | {error, reason()}.
fetch_run(Ledger, RunId) ->
    case reach(fetch_run, [Ledger, RunId], fun as_given/2, fun cost_ledger_records:fetch_run/2) of
        {error, {pruned, _Ms}} = Pruned ->
            case cost_ledger_scope:is_scope(Ledger) of
                true -> {error, not_found};
                false -> Pruned
            end;
        Answer ->
            seen(Ledger, Answer)
    end.

-spec list(cost_ledger_filter:filter(), cost_ledger_filter:page()) ->
          {ok, cost_ledger_query:listed()} | {error, reason()}.
list(Filter, Page) -> list(?DEFAULT_LEDGER, Filter, Page).

%% A page of records: see cost_ledger_filter for both arguments. The cursor stays right while
%% records arrive: those of the next page are the next ones.
-spec list(ledger(), cost_ledger_filter:filter(), cost_ledger_filter:page()) ->
          {ok, cost_ledger_query:listed()} | {error, reason()}.
list(Ledger, Filter, Page) ->
    reach(list, [Ledger, Filter, Page], fun cost_ledger_scope:narrowed/2,
          fun(Record, Own) -> cost_ledger_records:list(Record, Own, Page) end).

-spec failed(cost_ledger_filter:filter(), cost_ledger_filter:page()) ->
          {ok, cost_ledger_query:listed()} | {error, reason()}.
failed(Filter, Page) -> failed(?DEFAULT_LEDGER, Filter, Page).

%% Those that failed or were aborted; with a status in the filter, of these two, only that.
-spec failed(ledger(), cost_ledger_filter:filter(), cost_ledger_filter:page()) ->
          {ok, cost_ledger_query:listed()} | {error, reason()}.
failed(Ledger, Filter, Page) ->
    case cost_ledger_value:pairs(Filter) of
        {ok, #{status := Status}} ->
            case lists:member(Status, [failed, aborted, [failed], [aborted], [failed, aborted],
                                       [aborted, failed]]) of
                true -> list(Ledger, Filter, Page);
                false -> ?BADARG(failed, [Ledger, Filter, Page], 2,
                                 ["the filter: status must be failed or aborted, or left out, not ",
                                  cost_ledger_error:describe(Status)])
            end;
        {ok, Map} -> list(Ledger, Map#{status => [failed, aborted]}, Page);
        _ -> list(Ledger, Filter, Page)
    end.

-spec fold(cost_ledger_filter:filter(), fun((cost_ledger_record:record(), Acc) -> Acc), Acc) ->
          {ok, Acc} | {error, reason()}.
fold(Filter, Fun, Acc) -> fold(?DEFAULT_LEDGER, Filter, Fun, Acc).

%% Fun over all records that match and were booked before the call, whole, oldest first (or order =>
%% newest in the filter), in constant memory and without keeping old pages from being used again.
-spec fold(ledger(), cost_ledger_filter:filter(),
           fun((cost_ledger_record:record(), Acc) -> Acc), Acc) -> {ok, Acc} | {error, reason()}.
fold(Ledger, Filter, Fun, Acc) ->
    reach(fold, [Ledger, Filter, Fun, Acc], fun cost_ledger_scope:narrowed/2,
          fun(Record, Own) -> cost_ledger_records:fold(Record, Own, Fun, Acc) end).

-spec totals(cost_ledger_filter:filter()) ->
          {ok, cost_ledger_query:totals()} | {error, reason()}.
totals(Filter) -> totals(?DEFAULT_LEDGER, Filter).

%% Sums of what matches, by subtraction of running totals: as fast for a year as for an hour. The
%% dimensions of the filter must be declared together as a series.
-spec totals(ledger(), cost_ledger_filter:filter()) ->
          {ok, cost_ledger_query:totals()} | {error, reason()}.
totals(Ledger, Filter) ->
    reach(totals, [Ledger, Filter], fun cost_ledger_scope:narrowed/2,
          fun cost_ledger_records:totals/2).

-spec totals_by(Dimension :: atom(), cost_ledger_filter:filter()) ->
          {ok, [{atom() | binary(), cost_ledger_query:totals()}]} | {error, reason()}.
totals_by(Dimension, Filter) -> totals_by(?DEFAULT_LEDGER, Dimension, Filter).

%% The same for every value of one more dimension, what cost most first.
-spec totals_by(ledger(), Dimension :: atom(), cost_ledger_filter:filter()) ->
          {ok, [{atom() | binary(), cost_ledger_query:totals()}]} | {error, reason()}.
totals_by(Ledger, Dimension, Filter) ->
    case cost_ledger_scope:is_scope(Ledger) andalso cost_ledger_scope:narrowed(Ledger, Filter) of
        false ->
            with_ledger(totals_by, [Ledger, Dimension, Filter],
                        fun(Record) ->
                                cost_ledger_records:totals_by(Record, Dimension, Filter)
                        end);
        {ok, Own} ->
            totals_by(cost_ledger_scope:ledger(Ledger), Dimension, Own);
        Error ->
            Error
    end.

-spec scope(#{atom() => atom() | binary()}) ->
          {ok, cost_ledger_scope:scope()} | {error, reason()}.
scope(Values) -> scope(?DEFAULT_LEDGER, Values).

%% A handle on the ledger that takes its place as the first argument, and can only see and book what
%% is of these values: #{user => <<"u1">>}. What it cannot is {error, {out_of_scope, Text}}; the
%% entries of others are not_found. docs/records.md says what that protects from.
-spec scope(ledger(), #{atom() => atom() | binary()}) ->
          {ok, cost_ledger_scope:scope()} | {error, reason()}.
scope(Ledger, Values) ->
    case cost_ledger_scope:new(Ledger, Values) of
        {invalid, Text} -> ?BADARG(scope, [Ledger, Values], 2, Text);
        Answer -> Answer
    end.

as_given(_Scope, Argument) -> {ok, Argument}.

%% What a scope does not reach is not there.
seen(Ledger, {ok, Record} = Found) ->
    case not cost_ledger_scope:is_scope(Ledger) orelse cost_ledger_scope:sees(Ledger, Record) of
        true -> Found;
        false -> {error, not_found}
    end;
seen(_Ledger, Error) ->
    Error.

%% Nor how much of a budget others used.
told(Ledger, Answer) ->
    case cost_ledger_scope:is_scope(Ledger) of
        true -> cost_ledger_scope:told(Ledger, Answer);
        false -> Answer
    end.

%% Calls Fun with the ledger and the second argument; through a scope with what that makes of it.
reach(Function, [Ledger, Argument | Rest] = Arguments, Narrow, Fun) ->
    case cost_ledger_scope:is_scope(Ledger) of
        false ->
            with_ledger(Function, Arguments, fun(Record) -> Fun(Record, Argument) end);
        true ->
            case Narrow(Ledger, Argument) of
                {ok, Own} ->
                    with_ledger(Function, [cost_ledger_scope:ledger(Ledger), Own | Rest],
                                fun(Record) -> Fun(Record, Own) end);
                Error ->
                    Error
            end
    end.

%%% Prices -------------------------------------------------------------------------------------

-spec set_prices(cost_ledger_prices:prices(), map()) ->
          {ok, Id :: pos_integer()} | {error, reason()}.
set_prices(Prices, Change) -> set_prices(?DEFAULT_LEDGER, Prices, Change).

%% Books prices of tokens, which `cost => auto` goes by: see cost_ledger_prices. Change: by, reason,
%% id, and effective_from in Unix milliseconds, which is now by default.
-spec set_prices(ledger(), cost_ledger_prices:prices(), map()) ->
          {ok, Id :: pos_integer()} | {error, reason()}.
set_prices(Ledger, Prices, Change) ->
    with_ledger(set_prices, [Ledger, Prices, Change],
                fun(Record) -> cost_ledger_prices:set(Record, Prices, Change) end).

-spec import_prices(binary() | {file, file:name_all()}, map()) ->
          {ok, cost_ledger_prices:imported()} | {error, reason()}.
import_prices(Source, Change) -> import_prices(?DEFAULT_LEDGER, Source, Change).

%% The same from a price map in LiteLLM's format, its text or {file, Name}. What has no exact price
%% of tokens is skipped, and told; what is in force already is not booked again.
-spec import_prices(ledger(), binary() | {file, file:name_all()}, map()) ->
          {ok, cost_ledger_prices:imported()} | {error, reason()}.
import_prices(Ledger, Source, Change) ->
    with_ledger(import_prices, [Ledger, Source, Change],
                fun(Record) -> cost_ledger_prices:import(Record, Source, Change) end).

-spec prices() -> {ok, [cost_ledger_prices:price()]} | {error, reason()}.
prices() -> prices(?DEFAULT_LEDGER).

%% Every price there ever was, by model, the latest first.
-spec prices(ledger()) -> {ok, [cost_ledger_prices:price()]} | {error, reason()}.
prices(Ledger) ->
    with_handle(prices, [Ledger], fun cost_ledger_prices:all/1).

-spec price(Model :: binary() | atom()) ->
          {ok, cost_ledger_prices:price()} | {error, reason()}.
price(Model) -> price(?DEFAULT_LEDGER, Model).

-spec price(ledger(), Model :: binary() | atom()) ->
          {ok, cost_ledger_prices:price()} | {error, reason()}.
price(Ledger, Model) ->
    with_handle(price, [Ledger, Model],
                fun(Handle) -> cost_ledger_prices:of_model(Handle, Model, now) end).

%% The price of a model that was in force at that time, Unix milliseconds; {error, not_found}.
-spec price(ledger(), Model :: binary() | atom(), integer()) ->
          {ok, cost_ledger_prices:price()} | {error, reason()}.
price(Ledger, Model, Ms) ->
    with_handle(price, [Ledger, Model, Ms],
                fun(Handle) -> cost_ledger_prices:of_model(Handle, Model, Ms) end).

%%% Attempts and holds -------------------------------------------------------------------------

-spec check(cost_ledger_record:attributes()) ->
          {ok, cost_ledger_status:decision()} | {error, reason()}.
check(Attributes) -> check(?DEFAULT_LEDGER, Attributes).

%% All rules about an attempt, without reserving anything. Reads the ledger: for the gate of a
%% state alone there is check_budget.
-spec check(ledger(), cost_ledger_record:attributes()) ->
          {ok, cost_ledger_status:decision()} | {error, reason()}.
check(Ledger, Attributes) ->
    told(Ledger, reach(check, [Ledger, Attributes], fun cost_ledger_scope:booked/2,
                       fun check_attributes/2)).

check_attributes(Record, Attributes) ->
    case cost_ledger_record:attempt(Attributes) of
        {ok, Fields, #{critical := Critical} = What} ->
            check(Record, What, {cost_ledger_record:attempt_term(Fields), Critical});
        {invalid, Text} ->
            {invalid, 2, Text}
    end.

check(#ledger{handle = Handle} = Record, What, Attempt) ->
    case What of
        #{state := State} ->
            case cost_ledger_states:is_declared(Record, State) of
                true -> cost_ledger_status:check(Handle, Attempt);
                false -> {undeclared, State};
                closed -> closed
            end;
        _ ->
            cost_ledger_status:check(Handle, Attempt)
    end.

-spec reserve(cost_ledger_record:attributes()) ->
          {ok, cost_ledger_holds:hold()} | {error, reason()}.
reserve(Attributes) -> reserve(?DEFAULT_LEDGER, Attributes).

%% Admits an attempt and holds what it asks for, in one transaction: concurrent callers cannot
%% overshoot. {error, timeout}: the hold is given back, should it have been made.
-spec reserve(ledger(), cost_ledger_record:attributes()) ->
          {ok, cost_ledger_holds:hold()} | {error, reason()}.
reserve(Ledger, Attributes) ->
    Reserved = reach(reserve, [Ledger, Attributes], fun reserved_in/2,
                     fun cost_ledger_holds:reserve/2),
    case Reserved of
        {ok, Hold} ->
            case cost_ledger_scope:is_scope(Ledger) of
                true -> {ok, cost_ledger_holds:through(Ledger, Hold)};
                false -> Reserved
            end;
        _ ->
            told(Ledger, Reserved)
    end.

%% What a scope takes from a parent must be its own.
reserved_in(Scope, Attributes) ->
    case cost_ledger_scope:booked(Scope, Attributes) of
        {ok, #{parent := Parent} = Own} when Parent =/= undefined, Parent =/= nil ->
            case cost_ledger_holds:info(Parent) of
                {ok, Info} ->
                    case cost_ledger_scope:sees(Scope, Info) of
                        true -> {ok, Own};
                        false -> cost_ledger_scope:refuse("the parent")
                    end;
                _ ->
                    {ok, Own} % refused below, for what it is
            end;
        Answer ->
            Answer
    end.

%% Books what was used, whether or not there is room for it. After the ledger settled the hold
%% itself, the difference (`late`).
-spec settle(cost_ledger_holds:hold(), cost_ledger_record:usage()) ->
          {ok, #{id := pos_integer(), overrun := boolean(), late := boolean()}}
              | {error, reason()}.
settle(Hold, Usage) ->
    answer(settle, [Hold, Usage], cost_ledger_holds:settle(Hold, Usage)).

-spec release(cost_ledger_holds:hold()) -> ok | {error, reason()}.
release(Hold) -> release(Hold, #{}).

%% Nothing was used. Options: id.
-spec release(cost_ledger_holds:hold(), #{id => cost_ledger_record:id()}) ->
          ok | {error, reason()}.
release(Hold, Options) ->
    answer(release, [Hold, Options], cost_ledger_holds:release(Hold, Options)).

%% What was used so far, not since the last time; extends the deadline.
-spec meter(cost_ledger_holds:hold(), cost_ledger_record:usage()) -> ok | {error, reason()}.
meter(Hold, Usage) ->
    answer(meter, [Hold, Usage], cost_ledger_holds:meter(Hold, Usage)).

-spec transfer(cost_ledger_holds:hold(), pid()) -> ok | {error, reason()}.
transfer(Hold, Pid) -> transfer(Hold, Pid, #{}).

%% Makes Pid the owner, whose death ends the hold. Options: id.
-spec transfer(cost_ledger_holds:hold(), pid(), #{id => cost_ledger_record:id()}) ->
          ok | {error, reason()}.
transfer(Hold, Pid, Options) ->
    answer(transfer, [Hold, Pid, Options], cost_ledger_holds:transfer(Hold, Pid, Options)).

%% Of a live hold; {error, {resolved, _}} otherwise.
-spec hold_info(cost_ledger_holds:hold()) -> {ok, map()} | {error, reason()}.
hold_info(Hold) ->
    answer(hold_info, [Hold], cost_ledger_holds:info(Hold)).

-spec holds() -> {ok, [map()]} | {error, reason()}.
holds() -> holds(?DEFAULT_LEDGER).

%% Every live hold, oldest first.
-spec holds(ledger()) -> {ok, [map()]} | {error, reason()}.
holds(Ledger) ->
    case cost_ledger_scope:is_scope(Ledger) of
        false ->
            with_handle(holds, [Ledger], fun cost_ledger_holds:list/1);
        true ->
            case holds(cost_ledger_scope:ledger(Ledger)) of
                {ok, Holds} ->
                    {ok, [Hold || Hold <- Holds, cost_ledger_scope:sees(Ledger, Hold)]};
                Error ->
                    Error
            end
    end.

-spec with_budget(cost_ledger_record:attributes(), fun((cost_ledger_holds:hold()) -> Answer)) ->
          {ok, Result} | {error, reason()}
              when Answer :: {Result, cost_ledger_record:usage()} | {release, Result},
                   Result :: term().
with_budget(Attributes, Fun) -> with_budget(?DEFAULT_LEDGER, Attributes, Fun).

%% Reserves, calls Fun, and settles what it says it used, or releases. When Fun raises, or returns
%% something else, the hold is ended as if its owner had died, and the exception goes on. When its
%% work was done but could not be booked, {error, {not_settled, Reason, Result, Hold}}: settle Hold
%% again.
-spec with_budget(ledger(), cost_ledger_record:attributes(),
                  fun((cost_ledger_holds:hold()) -> Answer)) ->
          {ok, Result} | {error, reason()}
              when Answer :: {Result, cost_ledger_record:usage()} | {release, Result},
                   Result :: term().
with_budget(Ledger, Attributes, Fun) when is_function(Fun, 1) ->
    case reserve(Ledger, Attributes) of
        {ok, Hold} ->
            try call_with(Hold, Fun) of
                {wrong, Other} ->
                    _ = cost_ledger_holds:abort(Hold),
                    ?BADARG(with_budget, [Ledger, Attributes, Fun], 3,
                            ["the function must return {Result, Usage} or {release, Result}, not ",
                             cost_ledger_error:describe(Other)]);
                Answer ->
                    Answer
            catch
                Class:Reason:Stack ->
                    _ = cost_ledger_holds:abort(Hold),
                    erlang:raise(Class, Reason, Stack)
            end;
        {error, _} = Error ->
            Error
    end;
with_budget(Ledger, Attributes, Fun) ->
    ?BADARG(with_budget, [Ledger, Attributes, Fun], 3,
            "must be a function of one argument, the hold").

call_with(Hold, Fun) ->
    case Fun(Hold) of
        {release, Result} -> resolved(release(Hold), Result, Hold);
        {Result, Usage} -> resolved(settle(Hold, Usage), Result, Hold);
        Other -> {wrong, Other}
    end.

resolved(ok, Result, _Hold) -> {ok, Result};
resolved({ok, _Settled}, Result, _Hold) -> {ok, Result};
resolved({error, Reason}, Result, Hold) -> {error, {not_settled, Reason, Result, Hold}}.

-spec budget_status(scope()) ->
          {ok, #{level := atom(), tier := normal | low, resets_at := integer() | never | none,
                 rules := [cost_ledger_status:told()]}} | {error, reason()}.
budget_status(Scope) -> budget_status(?DEFAULT_LEDGER, Scope).

%% What the rules say that an attempt with these attributes would meet; `all`: every rule without
%% `each`.
-spec budget_status(ledger(), scope()) ->
          {ok, #{level := atom(), tier := normal | low, resets_at := integer() | never | none,
                 rules := [cost_ledger_status:told()]}} | {error, reason()}.
budget_status(Ledger, Scope) ->
    told(Ledger, reach(budget_status, [Ledger, Scope], fun cost_ledger_scope:narrowed/2,
                       fun status_of/2)).

status_of(#ledger{handle = Handle}, all) ->
    cost_ledger_status:status(Handle, all);
status_of(#ledger{handle = Handle}, Scope) ->
    case cost_ledger_record:scope_names(Scope) of
        {ok, Names} -> cost_ledger_status:status(Handle, Names);
        {invalid, Text} -> {invalid, 2, Text}
    end.

%%% Credits ------------------------------------------------------------------------------------

-spec grant(scope(), integer(), map()) -> {ok, pos_integer()} | {error, reason()}.
grant(Account, Amount, Options) -> grant(?DEFAULT_LEDGER, Account, Amount, Options).

%% Books a grant to an account: #{kind => purchase | topup | adjustment, by, reason, measure =>
%% credits | cost, id}. Only an adjustment may be negative.
-spec grant(ledger(), scope(), integer(), map()) -> {ok, pos_integer()} | {error, reason()}.
grant(Ledger, Account, Amount, Options) ->
    with_ledger(grant, [Ledger, Account, Amount, Options],
                fun(Record) -> cost_ledger_credits:grant(Record, Account, Amount, Options) end).

-spec balance(scope()) -> {ok, #{credits := map(), cost := map()}} | {error, reason()}.
balance(Account) -> balance(?DEFAULT_LEDGER, Account).

%% Of an account, derived from the entries: #{granted, used, held, balance, percent, grants} of
%% credits and of cost.
-spec balance(ledger(), scope()) -> {ok, #{credits := map(), cost := map()}} | {error, reason()}.
balance(Ledger, Account) ->
    reach(balance, [Ledger, Account], fun cost_ledger_scope:narrowed/2,
          fun cost_ledger_credits:balance/2).

%%% Reading ------------------------------------------------------------------------------------

-spec stats() -> stats() | {error, reason()}.
stats() -> stats(?DEFAULT_LEDGER).

%% Invocations per state and in total: in the rolling hour, in the rolling day, and in the whole
%% ledger (`session`), all at one moment; and the limits in force.
-spec stats(ledger()) -> stats() | {error, reason()}.
stats(Ledger) ->
    with_handle(stats, [Ledger], fun cost_ledger_view:stats/1).

-spec history() -> [cost_ledger_record:record()] | {error, reason()}.
history() -> history(?DEFAULT_LEDGER, #{}).

-spec history(history_options() | ledger()) -> [cost_ledger_record:record()] | {error, reason()}.
history(Ledger) when is_atom(Ledger) ->
    history(Ledger, #{});
history(Given) ->
    case cost_ledger_scope:is_scope(Given) of
        true -> history(Given, #{});
        false -> history(?DEFAULT_LEDGER, Given)
    end.

%% Invocations, newest first. state: of that one only; since: from that ms on, inclusive; limit:
%% at most so many, 100 by default.
-spec history(ledger(), history_options()) -> [cost_ledger_record:record()] | {error, reason()}.
history(Ledger, Options) ->
    case cost_ledger_view:history_options(Options) of
        {ok, State, Since, Limit} ->
            reach(history, [Ledger, of_state(State)], fun cost_ledger_scope:narrowed/2,
                  fun(Record, Own) ->
                          {ok, Names} = cost_ledger_record:scope_names(besides(State, Own)),
                          history(Ledger, Options, Record, {State, Names}, Since, Limit)
                  end);
        {invalid, Text} ->
            ?BADARG(history, [Ledger, Options], 2, Text)
    end.

of_state(all) -> #{};
of_state(State) -> #{state => State}.

besides(all, Own) -> Own;
besides(_State, Own) -> maps:remove(state, Own).

history(_Ledger, _Options, #ledger{handle = Handle}, {all, Names}, Since, Limit) ->
    cost_ledger_view:history(Handle, Names, Since, Limit);
history(Ledger, Options, #ledger{handle = Handle} = Record, {State, Names}, Since, Limit) ->
    case cost_ledger_states:is_declared(Record, State) of
        true -> cost_ledger_view:history(Handle, cost_ledger_view:of_state(State, Names), Since,
                                         Limit);
        false -> ?BADARG(history, [Ledger, Options], 2, undeclared_text(Ledger, State));
        closed -> closed
    end.

%%% Policy -------------------------------------------------------------------------------------

-spec set_budgets(cost_ledger_budgets:budgets(), change()) ->
          {ok, Version :: pos_integer()} | {error, reason()}.
set_budgets(Budgets, Change) -> set_budgets(?DEFAULT_LEDGER, Budgets, Change).

%% Merges Budgets over those in force, limit by limit; in force when it returns. Books who
%% changed what, when, and why; a change that changes nothing is not booked. Wrong budgets are
%% {error, {bad_budgets, Path, Text}} and change nothing.
-spec set_budgets(ledger(), cost_ledger_budgets:budgets(), change()) ->
          {ok, Version :: pos_integer()} | {error, reason()}.
set_budgets(Ledger, Budgets, Change) ->
    case cost_ledger_policy:change(Change) of
        {ok, By, Reason, Id} ->
            case cost_ledger_budgets:check(Budgets) of
                ok ->
                    with_ledger(set_budgets, [Ledger, Budgets, Change],
                                fun(Record) ->
                                        cost_ledger_policy:set_budgets(Record, Budgets,
                                                                       {By, Reason, Id})
                                end);
                {error, _} = Error ->
                    Error
            end;
        {invalid, Text} ->
            ?BADARG(set_budgets, [Ledger, Budgets, Change], 3, Text)
    end.

-spec set_policy(map(), change()) -> {ok, Version :: pos_integer()} | {error, reason()}.
set_policy(Policy, Change) -> set_policy(?DEFAULT_LEDGER, Policy, Change).

%% Policy: any of rules (replaces all), budgets (merged), settings (merged), version (of what was
%% read: another in force is {error, {version_conflict, _}}). Checked as a whole, in force when it
%% returns; what changes nothing is not booked.
-spec set_policy(ledger(), map(), change()) -> {ok, Version :: pos_integer()} | {error, reason()}.
set_policy(Ledger, Policy, Change) ->
    case cost_ledger_policy:change(Change) of
        {ok, By, Reason, Id} ->
            with_ledger(set_policy, [Ledger, Policy, Change],
                        fun(Record) ->
                                cost_ledger_policy:set(Record, Policy, {By, Reason, Id})
                        end);
        {invalid, Text} ->
            ?BADARG(set_policy, [Ledger, Policy, Change], 3, Text)
    end.

-spec policy() -> {ok, map()} | {error, reason()}.
policy() -> policy(?DEFAULT_LEDGER).

%% #{version, states, rules, settings, series}: what is in force.
-spec policy(ledger()) -> {ok, map()} | {error, reason()}.
policy(Ledger) ->
    with_handle(policy, [Ledger], fun cost_ledger_policy:read/1).

%% As it was in that version: what a run that is pinned to it goes by.
-spec policy(ledger(), Version :: pos_integer()) -> {ok, map()} | {error, reason()}.
policy(Ledger, Version) ->
    with_handle(policy, [Ledger, Version],
                fun(Handle) -> cost_ledger_policy:read(Handle, Version) end).

-spec reset(Rule :: atom() | string() | binary(), map()) -> {ok, pos_integer()} | {error, reason()}.
reset(Rule, Change) -> reset(?DEFAULT_LEDGER, Rule, Change).

%% Use of that rule counts from now on; with scope => #{Dimension => Value} in Change, only that of
%% those values.
-spec reset(ledger(), Rule :: atom() | string() | binary(), map()) ->
          {ok, pos_integer()} | {error, reason()}.
reset(Ledger, Rule, Change) ->
    with_ledger(reset, [Ledger, Rule, Change],
                fun(Record) -> cost_ledger_policy:reset(Record, Rule, Change) end).

-spec subscribe() -> ok | {error, reason()}.
subscribe() -> subscribe(?DEFAULT_LEDGER).

%% From now on the caller gets {cost_ledger, Ledger, {Event, #{}}}, Event being budget_warning,
%% hold_expired, run_warning or run_stopped, until it ends or the ledger is stopped.
-spec subscribe(ledger()) -> ok | {error, reason()}.
subscribe(Ledger) ->
    with_ledger(subscribe, [Ledger], fun cost_ledger_effects:subscribe/1).

-spec unsubscribe() -> ok | {error, reason()}.
unsubscribe() -> unsubscribe(?DEFAULT_LEDGER).

-spec unsubscribe(ledger()) -> ok | {error, reason()}.
unsubscribe(Ledger) ->
    with_ledger(unsubscribe, [Ledger], fun cost_ledger_effects:unsubscribe/1).

-spec policy_history() -> {ok, [map()]} | {error, reason()}.
policy_history() -> policy_history(?DEFAULT_LEDGER).

%% Every change of the policy, newest first: #{id, timestamp, version, by, reason, changes},
%% changes => [#{rule, from, to, was, is} | #{setting, from, to}]: from and to are limits, was and
%% is whole rules; `undefined` where there was none.
-spec policy_history(ledger()) -> {ok, [map()]} | {error, reason()}.
policy_history(Ledger) ->
    with_handle(policy_history, [Ledger], fun cost_ledger_policy:history/1).

%%% Long jobs ----------------------------------------------------------------------------------
%%% The companion does them, a program beside the VM that the application starts when it is needed.
%%% Options: timeout (ms; infinity), progress => fun(Done, Total) (called in the caller; Total 0: not
%%% known). When the companion dies, {error, {companion_died, _}}, and nothing is left behind.

-spec export(csv | jsonl | msgpack | focus, file:name_all(), cost_ledger_filter:filter()) ->
          {ok, map()} | {error, reason()}.
export(Format, File, Filter) -> export(?DEFAULT_LEDGER, Format, File, Filter, #{}).

-spec export(ledger(), csv | jsonl | msgpack | focus, file:name_all(),
             cost_ledger_filter:filter()) -> {ok, map()} | {error, reason()}.
export(Ledger, Format, File, Filter) -> export(Ledger, Format, File, Filter, #{}).

%% Writes the records that match to a file, which must not be there: docs/export.md. It is there whole,
%% or not at all. Option besides: columns, of CSV. pruned: what is older than that was archived and
%% removed, and is not in it.
-spec export(ledger(), csv | jsonl | msgpack | focus, file:name_all(),
             cost_ledger_filter:filter(), cost_ledger_jobs:options()) ->
          {ok, #{count := non_neg_integer(), bytes := non_neg_integer(),
                 pruned => pos_integer()}} | {error, reason()}.
export(Ledger, Format, File, Filter, Options) ->
    case cost_ledger_scope:is_scope(Ledger) andalso cost_ledger_scope:narrowed(Ledger, Filter) of
        false ->
            with_ledger(export, [Ledger, Format, File, Filter, Options],
                        fun(Record) ->
                                cost_ledger_jobs:export(Record, Format, File, Filter, Options)
                        end);
        {ok, Own} ->
            export(cost_ledger_scope:ledger(Ledger), Format, File, Own, Options);
        Error ->
            Error
    end.

-spec report(file:name_all()) -> {ok, map()} | {error, reason()}.
report(File) -> report(?DEFAULT_LEDGER, File, #{}).

-spec report(ledger(), file:name_all()) -> {ok, map()} | {error, reason()}.
report(Ledger, File) -> report(Ledger, File, #{}).

%% What was spent, on what, as one HTML file, which must not be there. Options besides: since, until, in
%% Unix milliseconds; all of it where they are not given.
-spec report(ledger(), file:name_all(), cost_ledger_jobs:report_options()) ->
          {ok, #{bytes := non_neg_integer()}} | {error, reason()}.
report(Ledger, File, Options) ->
    with_ledger(report, [Ledger, File, Options],
                fun(Record) -> cost_ledger_jobs:report(Record, File, Options) end).

-spec backup(file:name_all()) -> {ok, map()} | {error, reason()}.
backup(Directory) -> backup(?DEFAULT_LEDGER, Directory, #{}).

-spec backup(ledger(), file:name_all()) -> {ok, map()} | {error, reason()}.
backup(Ledger, Directory) -> backup(Ledger, Directory, #{}).

%% A copy of the ledger as it is now, in a directory that must not be there; it was opened and verified
%% before it got its name.
-spec backup(ledger(), file:name_all(), cost_ledger_jobs:options()) ->
          {ok, #{count := non_neg_integer(), bytes := non_neg_integer()}} | {error, reason()}.
backup(Ledger, Directory, Options) ->
    with_ledger(backup, [Ledger, Directory, Options],
                fun(Record) -> cost_ledger_jobs:backup(Record, Directory, Options) end).

-spec restore(file:name_all(), file:name_all()) -> {ok, map()} | {error, reason()}.
restore(Backup, Directory) -> restore(Backup, Directory, #{}).

%% A ledger from a backup, in a directory that must not be there, or be empty; it was opened and
%% verified before it got its place. Nobody may have the backup open.
-spec restore(file:name_all(), file:name_all(), cost_ledger_jobs:options()) ->
          {ok, #{count := non_neg_integer(), bytes := non_neg_integer()}} | {error, reason()}.
restore(Backup, Directory, Options) ->
    answer(restore, [Backup, Directory, Options],
           cost_ledger_jobs:restore(Backup, Directory, Options)).

-spec verify() -> {ok, map()} | {error, reason()}.
verify() -> verify(?DEFAULT_LEDGER, #{}).

-spec verify(ledger()) -> {ok, map()} | {error, reason()}.
verify(Ledger) -> verify(Ledger, #{}).

%% Whether everything that is derived is what the entries, `count` of them, say. complete is false when
%% there were so many findings that it gave up.
-spec verify(ledger(), cost_ledger_jobs:options()) ->
          {ok, #{count := non_neg_integer(), findings := [cost_ledger_jobs:finding()],
                 complete := boolean()}} | {error, reason()}.
verify(Ledger, Options) ->
    with_ledger(verify, [Ledger, Options],
                fun(Record) -> cost_ledger_jobs:verify(Record, Options) end).

-spec archive(file:name_all()) -> {ok, cost_ledger_archive:archived()} | {error, reason()}.
archive(Directory) -> archive(?DEFAULT_LEDGER, Directory).

-spec archive(ledger(), file:name_all()) ->
          {ok, cost_ledger_archive:archived()} | {error, reason()}.
archive(Ledger, Directory) -> archive(Ledger, Directory, #{}).

%% Seals what is older than the start option `retention` keeps, or than `before`, in files of the
%% directory, then removes it from the ledger. Every sum stays, and every answer of a budget;
%% docs/operations.md says what else. Without either it is {error, {no_retention, _}}; where a
%% budget counts what would go, {error, {retention_too_short, _}}. The answer's kept_from (0:
%% everything) is a midnight of UTC, earlier than asked for where something older is still needed.
-spec archive(ledger(), file:name_all(), cost_ledger_archive:options()) ->
          {ok, cost_ledger_archive:archived()} | {error, reason()}.
archive(Ledger, Directory, Options) ->
    with_ledger(archive, [Ledger, Directory, Options],
                fun(Record) -> cost_ledger_archive:archive(Record, Directory, Options) end).

%%% Taking over --------------------------------------------------------------------------------

-spec import(file:name_all()) -> {ok, cost_ledger_import:imported()} | {error, reason()}.
import(File) -> import(?DEFAULT_LEDGER, File).

%% Books the invocations of the original ledger's DETS table, which stays as it is: at their own
%% times where all of them are newer than every entry of the ledger, else now, with occurred_at.
%% What cannot be booked is named before anything is. The same again books nothing twice, also after
%% an import that ended in the middle. docs/operations.md says what it takes.
-spec import(ledger(), file:name_all()) ->
          {ok, cost_ledger_import:imported()} | {error, reason()}.
import(Ledger, File) ->
    with_ledger(import, [Ledger, File],
                fun(Record) -> cost_ledger_import:import(Record, File) end).

%%% Time ---------------------------------------------------------------------------------------

-spec set_clock(integer()) -> ok | {error, backwards | not_manual | unavailable}.
set_clock(UnixMs) -> set_clock(?DEFAULT_LEDGER, UnixMs).

%% Moves the time of a ledger opened with clock => manual; returns when the holds that are due by
%% then have ended.
-spec set_clock(ledger(), integer()) -> ok | {error, backwards | not_manual | unavailable}.
set_clock(Ledger, UnixMs) when is_integer(UnixMs), abs(UnixMs) =< 100000000000000 ->
    with_ledger(set_clock, [Ledger, UnixMs],
                fun(Record) -> cost_ledger_time:set(Record, UnixMs) end);
set_clock(Ledger, UnixMs) ->
    ?BADARG(set_clock, [Ledger, UnixMs], 2, "must be Unix milliseconds, an integer up to 10^14").

-spec advance_clock(non_neg_integer()) -> ok | {error, backwards | not_manual | unavailable}.
advance_clock(Ms) -> advance_clock(?DEFAULT_LEDGER, Ms).

-spec advance_clock(ledger(), non_neg_integer()) ->
          ok | {error, backwards | not_manual | unavailable}.
advance_clock(Ledger, Ms) when is_integer(Ms), Ms >= 0, Ms =< 10000000000000 ->
    with_ledger(advance_clock, [Ledger, Ms],
                fun(Record) -> cost_ledger_time:advance(Record, Ms) end);
advance_clock(Ledger, Ms) ->
    ?BADARG(advance_clock, [Ledger, Ms], 2, "must be a number of ms, an integer from 0 to 10^13").

-spec accept_clock() -> ok | {error, unavailable}.
accept_clock() -> accept_clock(?DEFAULT_LEDGER).

%% Adopts a wall clock that is ahead of ledger time, at once. Ledger time never goes back.
-spec accept_clock(ledger()) -> ok | {error, unavailable}.
accept_clock(Ledger) ->
    with_handle(accept_clock, [Ledger], fun cost_ledger_nif:accept_clock/1).

%%% Inspection ---------------------------------------------------------------------------------

-spec i() -> ok | {error, reason()}.
i() -> i(?DEFAULT_LEDGER).

%% Prints what an operator wants to know first.
-spec i(ledger()) -> ok | {error, reason()}.
i(Ledger) ->
    case cost_ledger_registry:find(Ledger) of
        #ledger{} = Record -> cost_ledger_screen:print(Record);
        undefined -> not_open(i, [Ledger])
    end.

%% Calls Fun on the handle of the ledger, the first of the public function's arguments.
with_handle(Function, Arguments, Fun) ->
    with_ledger(Function, Arguments, fun(#ledger{handle = Handle}) -> Fun(Handle) end).

with_ledger(Function, [Ledger | _] = Arguments, Fun) ->
    case cost_ledger_registry:find(Ledger) of
        #ledger{} = Record -> answer(Function, Arguments, Fun(Record));
        undefined -> not_open(Function, Arguments)
    end.

%% What the modules below answer, as the public function does.
answer(_Function, _Arguments, closed) ->
    {error, unavailable};
answer(Function, Arguments, {invalid, Position, Text}) ->
    ?BADARG(Function, Arguments, Position, Text);
answer(Function, [Ledger | _] = Arguments, {undeclared, State}) ->
    ?BADARG(Function, Arguments, 2, undeclared_text(Ledger, State));
answer(_Function, _Arguments, Result) ->
    Result.
