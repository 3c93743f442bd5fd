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
%%%   {Name, Text}        otherwise from the ledger's table of errors: disk_full, map_full,
%%%                       io_error, ...; nothing was booked
%%%
%%% Times are Unix milliseconds of ledger time; money is in nano-units of the ledger's currency.
-module(cost_ledger).

-include("cost_ledger.hrl").

-export([start_link/1, child_spec/1, stop/0, stop/1]).
-export([check_budget/1, check_budget/2]).
-export([record_invocation/1, record_invocation/2, record_invocation/3]).
-export([stats/0, stats/1, history/0, history/1, history/2]).
-export([set_budgets/2, set_budgets/3, policy_history/0, policy_history/1]).
-export([set_clock/1, set_clock/2, advance_clock/1, advance_clock/2]).
-export([accept_clock/0, accept_clock/1, i/0, i/1]).
-export_type([ledger/0, counts/0, stats/0, history_options/0, change/0, reason/0]).

-type ledger() :: atom().
-type reason() :: overloaded | timeout | unavailable | no_writer | {atom(), binary()}
                | {atom(), Path :: [term()], binary()}.
-type counts() :: #{atom() | binary() => non_neg_integer()}.
-type stats() :: #{hourly := counts(), daily := counts(), session := counts(),
                   budgets := #{atom() | binary() =>
                                    #{hourly_limit := cost_ledger_budgets:limit(),
                                      daily_limit := cost_ledger_budgets:limit()}},
                   ledger_time := integer()}.
-type history_options() :: #{state => atom(), since => integer(), limit => non_neg_integer()}
                         | [{atom(), term()}].
-type change() :: #{by := atom() | string() | binary(), reason := atom() | string() | binary()}.

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
        undefined when Ledger =:= ?DEFAULT_LEDGER -> {error, unavailable};
        undefined -> ?BADARG(stop, [Ledger], 1, never_opened(Ledger))
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
    case declare(Handle, State) of
        ok -> check_budget(Ledger, State);
        closed -> unavailable(Record, Ledger, State);
        undeclared -> ?BADARG(check_budget, [Ledger, State], 2, undeclared_text(Ledger, State))
    end.

unavailable(_Record, Ledger, State) when not is_atom(State) ->
    ?BADARG(check_budget, [Ledger, State], 2, "a state must be an atom");
unavailable(undefined, Ledger, State) when Ledger =/= ?DEFAULT_LEDGER ->
    ?BADARG(check_budget, [Ledger, State], 1, never_opened(Ledger));
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

declare(Handle, State) ->
    try atom_to_binary(State) of
        Name ->
            case cost_ledger_nif:declare(Handle, State, Name) of
                {error, _} -> undeclared;
                Result -> Result
            end
    catch error:badarg -> undeclared
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
        #ledger{handle = Handle} = Record ->
            case is_declared(Handle, State) of
                true -> book(Record, State, Meta);
                false -> ?BADARG(record_invocation, [Ledger, State, Meta], 2, undeclared_text(Ledger, State));
                closed -> {error, unavailable}
            end;
        undefined when Ledger =:= ?DEFAULT_LEDGER ->
            {error, unavailable};
        undefined ->
            ?BADARG(record_invocation, [Ledger, State, Meta], 1, never_opened(Ledger))
    end.

book(#ledger{name = Name} = Record, State, Meta) ->
    case cost_ledger_record:draft(State, Meta) of
        {ok, Draft, DurationMs, PromptType} ->
            case cost_ledger_queue:book(Record, Draft) of
                {ok, _Id} -> cost_ledger_events:invocation(Name, State, DurationMs, PromptType);
                {error, _} = Error -> Error
            end;
        {invalid, Text} ->
            ?BADARG(record_invocation, [Name, State, Meta], 3, Text)
    end.

is_declared(Handle, State) ->
    case cost_ledger_nif:allowed_from(Handle, State) of
        undeclared ->
            case declare(Handle, State) of
                ok -> true;
                undeclared -> false;
                closed -> closed
            end;
        _ ->
            true
    end.

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
history(Ledger) when is_atom(Ledger) -> history(Ledger, #{});
history(Options) -> history(?DEFAULT_LEDGER, Options).

%% Invocations, newest first. state: of that one only; since: from that ms on, inclusive; limit:
%% at most so many, 100 by default.
-spec history(ledger(), history_options()) -> [cost_ledger_record:record()] | {error, reason()}.
history(Ledger, Options) ->
    case cost_ledger_view:history_options(Options) of
        {ok, State, Since, Limit} ->
            with_handle(history, [Ledger, Options],
                        fun(Handle) -> history(Ledger, Options, Handle, State, Since, Limit) end);
        {invalid, Text} ->
            ?BADARG(history, [Ledger, Options], 2, Text)
    end.

history(_Ledger, _Options, Handle, all, Since, Limit) ->
    cost_ledger_view:history(Handle, all, Since, Limit);
history(Ledger, Options, Handle, State, Since, Limit) ->
    case is_declared(Handle, State) of
        true -> cost_ledger_view:history(Handle, atom_to_binary(State), Since, Limit);
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
        {ok, By, Reason} ->
            case cost_ledger_budgets:check(Budgets) of
                ok ->
                    with_handle(set_budgets, [Ledger, Budgets, Change],
                                fun(Handle) ->
                                        cost_ledger_policy:set(Handle, Budgets, By, Reason)
                                end);
                {error, _} = Error ->
                    Error
            end;
        {invalid, Text} ->
            ?BADARG(set_budgets, [Ledger, Budgets, Change], 3, Text)
    end.

-spec policy_history() -> {ok, [map()]} | {error, reason()}.
policy_history() -> policy_history(?DEFAULT_LEDGER).

%% Every change of the budgets, newest first: #{id, timestamp, version, by, reason, changes},
%% changes => [#{rule, from, to}]; `undefined` where there was no such rule.
-spec policy_history(ledger()) -> {ok, [map()]} | {error, reason()}.
policy_history(Ledger) ->
    with_handle(policy_history, [Ledger], fun cost_ledger_policy:history/1).

%%% Time ---------------------------------------------------------------------------------------

-spec set_clock(integer()) -> ok | {error, backwards | not_manual | unavailable}.
set_clock(UnixMs) -> set_clock(?DEFAULT_LEDGER, UnixMs).

%% Moves the time of a ledger opened with clock => manual.
-spec set_clock(ledger(), integer()) -> ok | {error, backwards | not_manual | unavailable}.
set_clock(Ledger, UnixMs) when is_integer(UnixMs), abs(UnixMs) =< 100000000000000 ->
    with_handle(set_clock, [Ledger, UnixMs],
                fun(Handle) -> cost_ledger_nif:set_clock(Handle, UnixMs * 1000) end);
set_clock(Ledger, UnixMs) ->
    ?BADARG(set_clock, [Ledger, UnixMs], 2, "must be Unix milliseconds, an integer up to 10^14").

-spec advance_clock(non_neg_integer()) -> ok | {error, backwards | not_manual | unavailable}.
advance_clock(Ms) -> advance_clock(?DEFAULT_LEDGER, Ms).

-spec advance_clock(ledger(), non_neg_integer()) ->
          ok | {error, backwards | not_manual | unavailable}.
advance_clock(Ledger, Ms) when is_integer(Ms), Ms >= 0, Ms =< 10000000000000 ->
    with_handle(advance_clock, [Ledger, Ms],
                fun(Handle) -> cost_ledger_nif:advance_clock(Handle, Ms * 1000) end);
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
        undefined when Ledger =:= ?DEFAULT_LEDGER -> {error, unavailable};
        undefined -> ?BADARG(i, [Ledger], 1, never_opened(Ledger))
    end.

%% Calls Fun on the handle of the ledger, the first of the public function's arguments.
with_handle(Function, [Ledger | _] = Arguments, Fun) ->
    case cost_ledger_registry:find(Ledger) of
        #ledger{handle = Handle} ->
            case Fun(Handle) of
                closed -> {error, unavailable};
                Result -> Result
            end;
        undefined when Ledger =:= ?DEFAULT_LEDGER ->
            {error, unavailable};
        undefined ->
            ?BADARG(Function, Arguments, 1, never_opened(Ledger))
    end.
