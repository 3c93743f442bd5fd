%%% What docs/budgets.md says of rules, holds, grants and warnings, as lists in memory: every
%%% entry and every hold there ever was. Whatever is asked is counted anew from them; there are no
%%% running totals, and nothing is shared with the ledger.
%%%
%%% `readings` are points in which a model reads it wrongly: they are there to see that a
%%% comparison notices them.
-module(cost_ledger_budget_model).

-export([new/2, now_us/1, last_id/1, version/1, rules/1]).
-export([set_clock/2, advance/2, reopen/2]).
-export([record/3, reserve/2, settle/3, release/2, meter/3, owner_died/2]).
-export([set_rules/2, grant/4, reset/3]).
-export([check/2, status/2, gate/2, balance/2, history/1, counts/2, messages/1]).
-export([live/1, ended/1, is_parent/2, has_parent/2, is_run/2, hold/2, edges/1]).
-export([period/3, rule/1]).
-export_type([model/0, names/0, rule/0, reading/0]).

-type reading() :: children_pay_first | corrections_of_children_do_not_count
                 | forecast_reaches_grace
                 | rolling_window_too_long | rolling_window_too_short | west_is_east
                 | holds_do_not_count | overrun_at_the_limit | metering_is_forgotten
                 | warns_every_time | specific_rules_add_up | corrections_lower_use
                 | children_hold_in_full | resets_do_nothing | soft_is_hard
                 | oldest_grant_is_never_used_up.

-type names() :: #{state | org | user => atom() | binary()}.
-type rule() :: map().
-type tokens() :: #{atom() => integer()}.
%% Of an entry; of a correction they are differences. Absent is `none`.
-type usage() :: #{cost := none | integer(), credits := none | integer(),
                   tokens := none | tokens()}.

-record(entry,
        {id :: pos_integer(),
         kind :: invocation | run | release | correction | grant | reset,
         names = #{} :: names(),
         status = none :: completed | failed | aborted | none,
         usage :: usage() | none,
         duration_ms = 0 :: non_neg_integer(),
         hold = none :: pos_integer() | none,
         overrun = false :: boolean(),
         %% Of a correction that completes: what was booked before.
         completes = none :: none | {invocation | run, usage()},
         grant = none :: none | {cost | credits, integer(), atom()},
         rule = none :: none | binary()}).

-record(hold,
        {id :: pos_integer(),
         kind :: invocation | run,
         names :: names(),
         %% As it was asked for; tokens are a number or by class.
         estimate :: #{cost | credits | tokens => non_neg_integer() | tokens()},
         deadline_us :: integer(),
         extend_ms :: pos_integer(),
         parent = none :: pos_integer() | none,
         metered = none :: none | map(),
         ended = none :: pos_integer() | none,
         by_ledger = false :: boolean(),
         settled_late = false :: boolean()}).

-record(model,
        {readings = [] :: [reading()],
         now_us = 0 :: integer(),
         last_id = 0 :: non_neg_integer(),
         version = 1 :: pos_integer(),
         policies :: [{Id :: non_neg_integer(), [rule()]}], % newest first
         entries = [] :: [#entry{}], % newest first
         holds = [] :: [#hold{}], % newest first, live and ended
         last_deadline_us = 0 :: integer(),
         fired = [] :: [{Rule :: binary(), names(), Threshold :: pos_integer(),
                         Period :: integer(), Limit :: integer()}], % newest first
         messages = [] :: [{budget_warning | hold_expired, map()}]}). % of the last command

-opaque model() :: #model{}.

-define(TOKEN_CLASSES, [input, output, cache_read, cache_creation, reasoning]).
-define(DAY_MS, 86400000).
-define(MAX_VALUES, 100000).

-spec new([rule()], [reading()]) -> model().
new(Rules, Readings) ->
    #model{readings = Readings, policies = [{0, [rule(Rule) || Rule <- Rules]}]}.

%% A rule with everything that it may leave out.
-spec rule(map()) -> rule().
rule(Given) ->
    Rule = maps:merge(#{warn => [], soft => none, on_exhausted => deny, grace => 0,
                        require => false, default_estimate => none, max_values => ?MAX_VALUES},
                      Given),
    case Rule of
        #{on_exhausted := warn, warn := []} -> Rule#{warn := [100]};
        #{warn := Warn} -> Rule#{warn := lists:sort(Warn)}
    end.

reads(Reading, #model{readings = Readings}) -> lists:member(Reading, Readings).

now_us(#model{now_us = Now}) -> Now.

last_id(#model{last_id = LastId}) -> LastId.

version(#model{version = Version}) -> Version.

rules(#model{policies = [{_Id, Rules} | _]}) -> Rules.

%% What subscribers are told of the last command, in any order.
messages(#model{messages = Messages}) -> Messages.

%%% Time ---------------------------------------------------------------------------------------

-spec set_clock(integer(), model()) -> {ok | {error, backwards}, model()}.
set_clock(Ms, #model{now_us = Now} = Model) when Ms * 1000 < Now ->
    {{error, backwards}, quiet(Model)};
set_clock(Ms, Model) ->
    {ok, at(Ms * 1000, Model)}.

-spec advance(non_neg_integer(), model()) -> {ok, model()}.
advance(Ms, #model{now_us = Now} = Model) ->
    {ok, at(Now + Ms * 1000, Model)}.

at(NowUs, Model) ->
    commit(fun expire/1, Model#model{now_us = NowUs}).

%% Stopped and opened again; the owner of the holds in Orphans did not live to see it.
-spec reopen([pos_integer()], model()) -> model().
reopen(Orphans, #model{now_us = Now, last_id = LastId} = Model) ->
    commit(fun(Opened) -> expire(lists:foldl(fun abort/2, Opened, lists:sort(Orphans))) end,
           Model#model{now_us = max(Now, LastId)}).

%% All that are due end in one commit, in the order of their deadlines.
expire(#model{now_us = Now} = Model) ->
    Due = lists:sort([{Deadline, Id} || #hold{id = Id, deadline_us = Deadline} <- live_holds(Model),
                                        Deadline =< Now]),
    lists:foldl(fun({_Deadline, Id}, Acc) -> abort(Id, Acc) end, Model, Due).

%% Every time in ms at which something changes by itself.
-spec edges(model()) -> [integer()].
edges(#model{now_us = Now, entries = Entries} = Model) ->
    NowMs = Now div 1000,
    Windows = lists:usort([Window || #{window := Window} <- rules(Model)]),
    Rolling = [Id div 1000 + Ms + 1 || {rolling, Ms} <- Windows, #entry{id = Id} <- Entries],
    Calendar = [element(2, period(Unit, Offset, NowMs)) || {calendar, Unit, Offset} <- Windows],
    Deadlines = [ceiling(Deadline) || #hold{deadline_us = Deadline} <- live_holds(Model)],
    [Ms || Ms <- lists:usort(Rolling ++ Calendar ++ Deadlines), Ms > NowMs].

ceiling(Us) -> (Us + 999) div 1000.

%% First ms of the period that holds Ms, and of the next.
-spec period(day | week | month, integer(), integer()) -> {integer(), integer()}.
period(Unit, Offset, Ms) ->
    Local = Ms + Offset * 60000,
    Day = calendar:date_to_gregorian_days(1970, 1, 1) + floor_divide(Local, ?DAY_MS),
    {First, Next} = days(Unit, Day, calendar:gregorian_days_to_date(Day)),
    {local_midnight(First, Offset), local_midnight(Next, Offset)}.

days(day, Day, _Date) ->
    {Day, Day + 1};
days(week, Day, Date) ->
    Monday = Day - calendar:day_of_the_week(Date) + 1,
    {Monday, Monday + 7};
days(month, _Day, {Year, Month, _}) ->
    First = calendar:date_to_gregorian_days(Year, Month, 1),
    {First, First + calendar:last_day_of_the_month(Year, Month)}.

local_midnight(Day, Offset) ->
    (Day - calendar:date_to_gregorian_days(1970, 1, 1)) * ?DAY_MS - Offset * 60000.

floor_divide(Number, Divisor) when Number >= 0 -> Number div Divisor;
floor_divide(Number, Divisor) -> -((Divisor - 1 - Number) div Divisor).

%%% Booking ------------------------------------------------------------------------------------

-spec record(names(), map(), model()) -> {ok, model()}.
record(Names, Meta, Model) ->
    Entry = #entry{id = next_id(Model), kind = invocation, names = Names,
                   status = maps:get(status, Meta, completed), usage = usage(Meta),
                   duration_ms = maps:get(duration_ms, Meta, 0)},
    {ok, commit(fun(Acc) -> book(Entry, Acc) end, Model)}.

next_id(#model{now_us = Now, last_id = LastId}) -> max(Now, LastId + 1).

usage(Given) ->
    #{cost => maps:get(cost, Given, none), credits => maps:get(credits, Given, none),
      tokens => case Given of
                    #{tokens := Tokens} -> classes(Tokens);
                    _ -> none
                end}.

%% A number of tokens is booked as input.
classes(Number) when is_integer(Number) -> classes(#{input => Number});
classes(Tokens) -> maps:merge(maps:from_keys(?TOKEN_CLASSES, 0), Tokens).

book(#entry{id = Id} = Entry, #model{entries = Entries} = Model) ->
    Booked = Model#model{last_id = Id, entries = [Entry | Entries]},
    case is_overrun(Entry, Booked) of
        true -> Booked#model{entries = [Entry#entry{overrun = true} | Entries]};
        false -> Booked
    end.

%% With the entry in the model: some rule that could deny it is beyond its limit.
is_overrun(#entry{names = Names} = Entry, Model) ->
    lists:any(fun({#{measure := Measure, on_exhausted := OnExhausted} = Rule, Series}) ->
                      OnExhausted =/= warn andalso measured(Measure, Entry) > 0
                          andalso is_beyond(Rule, Series, Model)
              end, meets(Names, Model)).

is_beyond(Rule, Series, #model{now_us = Now} = Model) ->
    InUse = in_use(Rule, Series, Now, Model),
    Cap = hard_cap(Rule, Series, Model),
    InUse > Cap orelse (InUse =:= Cap andalso reads(overrun_at_the_limit, Model)).

%% Everything that one transaction does; the warnings are of what was so before and after it.
commit(Fun, Before) ->
    Quiet = quiet(Before),
    warn(Quiet, Fun(Quiet)).

quiet(Model) -> Model#model{messages = []}.

%%% What an entry adds to a measure ------------------------------------------------------------

measured(invocations, #entry{kind = invocation}) -> 1;
measured(completed_invocations, #entry{kind = invocation, status = completed}) -> 1;
measured(completed_invocations, #entry{kind = correction, completes = {invocation, _}}) -> 1;
measured(cost, Entry) -> gross(cost, Entry);
measured(credits, Entry) -> gross(credits, Entry);
measured(completed_cost, Entry) -> completed(cost, Entry);
measured(completed_credits, Entry) -> completed(credits, Entry);
measured(tokens, Entry) -> gross_tokens(Entry);
measured(_Measure, _Entry) -> 0.

%% What is given back does not lower it.
gross(Field, #entry{usage = #{} = Usage}) -> max(0, number(Field, Usage));
gross(_Field, _Entry) -> 0.

gross_tokens(#entry{usage = #{tokens := #{} = Tokens}}) ->
    lists:sum([max(0, Number) || Number <- maps:values(Tokens)]);
gross_tokens(_Entry) ->
    0.

completed(Field, #entry{kind = correction, usage = Difference, completes = {_Kind, Booked}}) ->
    max(0, number(Field, Booked) + number(Field, Difference));
completed(Field, #entry{status = completed, usage = #{} = Usage}) ->
    number(Field, Usage);
completed(_Field, _Entry) ->
    0.

number(Field, Usage) ->
    case Usage of
        #{Field := none} -> 0;
        #{Field := Number} -> Number
    end.

%%% Rules and the series they are over ---------------------------------------------------------

%% A series is the values of a rule's dimensions; `all` is the empty map.
series(#{scope := all}, _Names) -> #{};
series(#{scope := Scope}, Names) -> maps:with(maps:keys(Scope), Names).

is_in(Series, Names) ->
    maps:with(maps:keys(Series), Names) =:= Series.

%% The rules that speak of these names, with the series of each.
meets(Names, Model) ->
    Matching = [Rule || Rule <- rules(Model), match(Rule, Names) =:= matches],
    [{Rule, series(Rule, Names)} || Rule <- Matching,
                                    not is_replaced(Rule, Matching)
                                        orelse reads(specific_rules_add_up, Model)].

is_replaced(Rule, Matching) ->
    lists:any(fun(Other) -> replaces(Other, Rule) end, Matching).

%% Those that would, if the names had the dimension that they require.
misses(Names, Model) ->
    [Rule || #{require := true, on_exhausted := OnExhausted} = Rule <- rules(Model),
             OnExhausted =/= warn, match(Rule, Names) =:= lacks].

match(#{scope := all}, _Names) ->
    matches;
match(#{scope := Scope}, Names) ->
    Parts = [part(Value, maps:find(Dimension, Names))
             || {Dimension, Value} <- maps:to_list(Scope)],
    case {lists:member(differs, Parts), lists:member(lacks, Parts)} of
        {true, _} -> differs;
        {false, true} -> lacks;
        {false, false} -> matches
    end.

part(_Value, error) -> lacks;
part(each, {ok, _}) -> matches;
part(Value, {ok, Value}) -> matches;
part(_Value, {ok, _}) -> differs.

%% Two rules of one shape, and the first names values wherever the second does, and more.
replaces(#{measure := Measure, window := Window, scope := #{} = Scope},
         #{measure := Measure, window := Window, scope := #{} = Other}) ->
    lists:sort(maps:keys(Scope)) =:= lists:sort(maps:keys(Other))
        andalso Scope =/= Other
        andalso lists:all(fun({Dimension, Value}) ->
                                  Value =:= each orelse maps:get(Dimension, Scope) =:= Value
                          end, maps:to_list(Other));
replaces(_Rule, _Other) ->
    false.

has_each(#{scope := #{} = Scope}) -> lists:member(each, maps:values(Scope));
has_each(_Rule) -> false.

%% Whether this would be one more combination of values than the rule may have.
is_full(#{scope := Scope, max_values := Max} = Rule, Series, Model) ->
    has_each(Rule) andalso not is_known(Series, Model)
        andalso length(combinations(maps:keys(Scope), Model)) >= Max.

is_known(Series, Model) ->
    lists:member(Series, combinations(maps:keys(Series), Model)).

%% What was ever booked, held, or granted; and what was reset, which is of one rule's values alone.
combinations(Dimensions, #model{entries = Entries, holds = Holds}) ->
    Names = [Names || #entry{names = Names, kind = Kind} <- Entries,
                      Kind =/= reset orelse map_size(Names) =:= length(Dimensions)]
        ++ [Names || #hold{names = Names} <- Holds],
    lists:usort([Series || Each <- Names, Series <- [maps:with(Dimensions, Each)],
                           map_size(Series) =:= length(Dimensions)]).

%%% Use ----------------------------------------------------------------------------------------

%% What is used and held together.
in_use(#{measure := Measure} = Rule, Series, NowUs, Model) ->
    Used = used(Rule, Series, NowUs, Model),
    case reads(holds_do_not_count, Model) of
        true -> Used;
        false -> Used + held(column(Measure), Series, Model)
    end.

used(#{measure := Measure} = Rule, Series, NowUs, #model{entries = Entries} = Model) ->
    Start = window_start(Rule, NowUs, Model),
    Reset = reset_id(Rule, Series, Model),
    lists:sum([counted(Measure, Entry, Model)
               || #entry{id = Id, names = Names} = Entry <- Entries,
                  Id >= Start, Id > Reset, is_in(Series, Names)]).

counted(Measure, #entry{kind = correction, usage = Usage} = Entry, Model) ->
    case Measure =:= cost andalso reads(corrections_lower_use, Model) of
        true -> number(cost, Usage);
        false -> measured(Measure, Entry)
    end;
counted(Measure, Entry, _Model) ->
    measured(Measure, Entry).

%% First id that counts, but for resets.
window_start(#{window := lifetime}, _NowUs, _Model) ->
    0;
window_start(#{window := {rolling, Ms}}, NowUs, Model) ->
    Long = length([long || reads(rolling_window_too_long, Model)]),
    Short = length([short || reads(rolling_window_too_short, Model)]),
    (NowUs div 1000 - Ms - Long + Short) * 1000;
window_start(#{window := {calendar, Unit, Offset}}, NowUs, Model) ->
    East = case reads(west_is_east, Model) of
               true -> -Offset;
               false -> Offset
           end,
    {Start, _End} = period(Unit, East, NowUs div 1000),
    Start * 1000.

%% The newest reset of the rule, or of that value of it. A rule that was away begins anew.
reset_id(#{name := Name}, Series, #model{entries = Entries} = Model) ->
    Introduced = introduced(Name, Model),
    lists:max([0 | [Id || #entry{kind = reset, id = Id, rule = Rule, names = Names} <- Entries,
                          Rule =:= Name, Id > Introduced, is_in(Names, Series),
                          not reads(resets_do_nothing, Model)]]).

%% When the rule of this name came into the policy in which it has been since.
introduced(Name, #model{policies = Policies}) ->
    Since = lists:takewhile(fun({_Id, Rules}) ->
                                    lists:any(fun(#{name := Other}) -> Other =:= Name end, Rules)
                            end, Policies),
    {Id, _Rules} = lists:last(Since),
    Id.

%% In which column what a rule of that measure would count is held.
column(invocations) -> invocations;
column(completed_invocations) -> invocations;
column(cost) -> cost;
column(completed_cost) -> cost;
column(credits) -> credits;
column(completed_credits) -> credits;
column(tokens) -> tokens.

%%% Holds --------------------------------------------------------------------------------------

live_holds(#model{holds = Holds}) ->
    [Hold || #hold{ended = none} = Hold <- Holds].

%% Ids, oldest first.
live(Model) -> lists:sort([Id || #hold{id = Id} <- live_holds(Model)]).

%% Those that the ledger ended, or a caller.
ended(#model{holds = Holds}) ->
    lists:sort([Id || #hold{id = Id, ended = Ended} <- Holds, Ended =/= none]).

%% What is told of a hold.
hold(Id, Model) ->
    #hold{kind = Kind, names = Names, deadline_us = Deadline,
          estimate = Estimate} = find(Id, Model),
    Told = maps:merge(Names, maps:with([cost, credits], Estimate)),
    Told#{id => Id, kind => Kind, deadline => ceiling(Deadline)}.

has_parent(Id, Model) ->
    #hold{parent = Parent} = find(Id, Model),
    Parent =/= none.

-spec is_run(pos_integer(), model()) -> boolean().
is_run(Id, Model) ->
    #hold{kind = Kind} = find(Id, Model),
    Kind =:= run.

is_parent(Id, Model) ->
    lists:any(fun(#hold{parent = Parent}) -> Parent =:= Id end, live_holds(Model)).

find(Id, #model{holds = Holds}) ->
    lists:keyfind(Id, #hold.id, Holds).

replace(#hold{id = Id} = Hold, #model{holds = Holds} = Model) ->
    Model#model{holds = lists:keyreplace(Id, #hold.id, Holds, Hold)}.

held(Column, Series, Model) ->
    lists:sum([held_by(Hold, Column, Series, Model)
               || #hold{names = Names} = Hold <- live_holds(Model), is_in(Series, Names)]).

%% What it keeps for itself: what its children took, gave back and took on top, in that order.
held_by(#hold{} = Hold, Column, Series, #model{holds = Holds, entries = Entries} = Model) ->
    Children = [Child || #hold{parent = Parent, names = Names} = Child <- Holds,
                         Parent =:= Hold#hold.id, is_in(Series, Names)],
    Steps = lists:sort([{Id, began} || #hold{id = Id} <- Children]
                       ++ [{Ended, {ended, Id}} || #hold{id = Id, ended = Ended} <- Children,
                                                   Ended =/= none]
                       ++ [{Id, late} || #entry{id = Id, kind = correction, hold = Late} <- Entries,
                                         lists:keymember(Late, #hold.id, Children)]),
    {Kept, _Lent} = lists:foldl(fun(Step, Acc) -> lend(Step, Column, Model, Acc) end,
                                {asked(Column, Hold), #{}}, Steps),
    Kept.

lend({Id, began}, Column, Model, {Kept, Lent}) ->
    Taken = case reads(children_hold_in_full, Model) of
                true -> 0;
                false -> min(Kept, asked(Column, find(Id, Model)))
            end,
    {Kept - Taken, Lent#{Id => Taken}};
lend({EntryId, late}, Column, Model, {Kept, Lent}) ->
    {max(0, Kept - measured(Column, entry(EntryId, Model))), Lent};
lend({EntryId, {ended, Id}}, Column, Model, {Kept, Lent}) ->
    Asked = asked(Column, find(Id, Model)),
    Spent = measured(Column, entry(EntryId, Model)),
    Taken = maps:get(Id, Lent),
    case reads(children_pay_first, Model) of
        false -> {max(0, Kept + Taken - Spent), Lent};
        true when Spent =< Asked -> {Kept + min(Asked - Spent, Taken), Lent};
        true -> {Kept - min(Kept, Spent - Asked), Lent}
    end.

entry(Id, #model{entries = Entries}) ->
    lists:keyfind(Id, #entry.id, Entries).

asked(invocations, #hold{kind = invocation}) -> 1;
asked(invocations, #hold{kind = run}) -> 0;
asked(Column, #hold{estimate = Estimate}) -> sum(maps:get(Column, Estimate, 0)).

sum(Number) when is_integer(Number) -> Number;
sum(Tokens) -> lists:sum(maps:values(Tokens)).

%%% Grants -------------------------------------------------------------------------------------

%% {Id, Amount, Kind} of the account, oldest first; also those that take back.
grants(Field, Series, #model{entries = Entries}) ->
    [{Id, Amount, Kind} || #entry{id = Id, names = Names, grant = {Measure, Amount, Kind}}
                               <- lists:reverse(Entries),
                           Measure =:= Field, is_in(Series, Names)].

granted(Field, Series, Model) ->
    lists:sum([Amount || {_Id, Amount, _Kind} <- grants(Field, Series, Model)]).

%% What is left of each grant, oldest first: what was used and what was taken back comes out of
%% the oldest.
grants_left(Field, Used, Series, Model) ->
    Grants = grants(Field, Series, Model),
    TakenBack = lists:sum([-Amount || {_Id, Amount, _Kind} <- Grants, Amount < 0]),
    {Left, _Gone} = lists:mapfoldl(fun({Id, Amount, Kind}, Gone) ->
                                           Here = min(Gone, Amount),
                                           {{Id, Amount, Kind, Amount - Here}, Gone - Here}
                                   end, Used + TakenBack,
                                   [Grant || {_, Amount, _} = Grant <- Grants, Amount > 0]),
    [Grant || {_Id, _Amount, _Kind, Remaining} = Grant <- Left,
              Remaining > 0 orelse reads(oldest_grant_is_never_used_up, Model)].

%% {Part, Whole}: of the grants that are not used up, how much all of InUse takes.
open_grants(Field, Used, InUse, Series, Model) ->
    Left = grants_left(Field, Used, Series, Model),
    Whole = lists:sum([Amount || {_Id, Amount, _Kind, _Remaining} <- Left]),
    Rest = lists:sum([Remaining || {_Id, _Amount, _Kind, Remaining} <- Left]),
    {Whole - Rest + InUse - Used, Whole}.

money(Measure) -> column(Measure).

%%% Deciding -----------------------------------------------------------------------------------

is_granted(#{limit := Limit}) -> Limit =:= granted.

is_unlimited(#{limit := Limit}) -> Limit =:= infinity.

limit(#{limit := granted, measure := Measure}, Series, Model) ->
    granted(money(Measure), Series, Model);
limit(#{limit := Limit}, _Series, _Model) ->
    Limit.

%% Infinity is an atom, above all numbers.
hard_cap(#{limit := infinity}, _Series, _Model) ->
    infinity;
hard_cap(#{grace := Grace} = Rule, Series, Model) ->
    limit(Rule, Series, Model) + Grace.

cap(#{soft := none} = Rule, _Critical, Series, Model) ->
    hard_cap(Rule, Series, Model);
cap(Rule, true, Series, Model) ->
    hard_cap(Rule, Series, Model);
cap(#{limit := infinity}, false, _Series, _Model) ->
    infinity;
cap(#{limit := granted} = Rule, false, Series, Model) ->
    soft_cap_of_grants(Rule, Series, Model);
cap(#{limit := Limit, soft := Soft}, false, _Series, Model) ->
    case reads(soft_is_hard, Model) of
        true -> Limit;
        false -> Limit * Soft div 100
    end.

%% So much may be in use that the percent of what is still granted is not exceeded.
soft_cap_of_grants(#{measure := Measure, soft := Soft} = Rule, Series,
                   #model{now_us = Now} = Model) ->
    Used = used(Rule, Series, Now, Model),
    {Part, Whole} = open_grants(money(Measure), Used, Used, Series, Model),
    Whole * Soft div 100 - Part + Used
        - beyond_the_grants(money(Measure), Used, Series, Model).

%% Where more is gone than was ever granted nothing is open: the cap is what was granted.
beyond_the_grants(Field, Used, Series, Model) ->
    max(0, Used - granted(Field, Series, Model)).

%% `none` where an amount was not said: then it is asked for room for 1.
asked_of(#{measure := Measure}, Amounts) ->
    case maps:get(column(Measure), Amounts, none) of
        none -> 1;
        Amount -> Amount
    end.

%% What a rule says of an attempt for Amount at a time.
verdict(Rule, Series, Amount, Critical, AtUs, Model) ->
    #{on_exhausted := OnExhausted} = Rule,
    case Amount =:= 0 orelse is_unlimited(Rule) orelse OnExhausted =:= warn of
        true -> admits;
        false -> by_limit(Rule, Series, Amount, Critical, AtUs, Model)
    end.

by_limit(Rule, Series, Amount, Critical, AtUs, Model) ->
    case is_full(Rule, Series, Model) of
        true ->
            too_many_values;
        false ->
            After = in_use(Rule, Series, AtUs, Model) + Amount,
            Beyond = After > hard_cap(Rule, Series, Model),
            case {Beyond, After > cap(Rule, Critical, Series, Model)} of
                {true, _} -> limit;
                {false, true} -> soft;
                {false, false} -> admits
            end
    end.

%% When it would be admitted if nothing more were booked and nothing released: what is in the
%% window changes only when an entry leaves it, or a period begins.
resets_at(_Rule, _Series, _Amount, _Critical, Reason, _Model)
  when Reason =:= required; Reason =:= too_many_values ->
    never;
resets_at(Rule, Series, Amount, Critical, _Reason, Model) ->
    Admitted = lists:dropwhile(fun(Ms) ->
                                       verdict(Rule, Series, Amount, Critical, Ms * 1000, Model)
                                           =/= admits
                               end, changes_of(Rule, Model)),
    case Admitted of
        [Ms | _] -> Ms;
        [] -> never
    end.

changes_of(#{window := lifetime}, _Model) ->
    [];
changes_of(#{window := {rolling, Ms}}, #model{now_us = Now, entries = Entries}) ->
    [At || At <- lists:usort([Id div 1000 + Ms + 1 || #entry{id = Id} <- Entries]),
           At * 1000 > Now];
changes_of(#{window := {calendar, Unit, Offset}}, #model{now_us = Now, last_id = LastId}) ->
    period_ends(Unit, Offset, Now div 1000, LastId div 1000).

%% Ids may have run ahead of the clock into the next period.
period_ends(Unit, Offset, Ms, LastMs) ->
    {_Start, End} = period(Unit, Offset, Ms),
    [End | case End =< LastMs of
               true -> period_ends(Unit, Offset, End, LastMs);
               false -> []
           end].

%%% What is told of a rule ---------------------------------------------------------------------

%% Of a rule that requires what the attempt lacks nothing is in use.
tell(#{limit := Limit} = Rule, _Series, _Amount, _Critical, required, _Model) ->
    Told = maps:with([measure, window, on_exhausted], Rule),
    Told#{rule => maps:get(name, Rule), used => 0, held => 0, resets_at => never,
          held_until => none, forecast => none,
          limit => case Limit of
                       granted -> 0;
                       _ -> Limit
                   end};
%% Reason is `none` where it does not deny.
tell(Rule, Series, Amount, Critical, Reason, #model{now_us = Now} = Model) ->
    #{name := Name, measure := Measure, window := Window, on_exhausted := OnExhausted} = Rule,
    Told = #{rule => Name, scope => told_scope(Rule, Series), measure => Measure,
             window => Window, on_exhausted => OnExhausted,
             used => used(Rule, Series, Now, Model),
             held => held(column(Measure), Series, Model),
             limit => limit(Rule, Series, Model),
             remaining => remaining(Rule, Series, Model),
             percent => percent(Rule, Series, in_use(Rule, Series, Now, Model), Model),
             level => level(Rule, Series, Model),
             held_until => held_until(column(Measure), Series, Model),
             forecast => forecast(Rule, Series, Model),
             resets_at => case Reason of
                              none -> none;
                              _ -> resets_at(Rule, Series, Amount, Critical, Reason, Model)
                          end},
    with_grace(Rule, with_period(Window, Now, Told)).

told_scope(#{scope := all}, _Series) -> all;
told_scope(#{scope := Scope}, Series) -> maps:merge(Scope, Series).

with_period({calendar, Unit, Offset}, Now, Told) ->
    Told#{period => period(Unit, Offset, Now div 1000)};
with_period(_Window, _Now, Told) ->
    Told.

with_grace(#{limit := granted, grace := Grace}, Told) -> Told#{grace => Grace};
with_grace(_Rule, Told) -> Told.

remaining(Rule, Series, #model{now_us = Now} = Model) ->
    InUse = in_use(Rule, Series, Now, Model),
    case limit(Rule, Series, Model) of
        infinity -> infinity;
        Limit -> case is_granted(Rule) of
                     true -> Limit - InUse;
                     false -> max(0, Limit - InUse)
                 end
    end.

percent(#{limit := infinity}, _Series, _Of, _Model) ->
    0;
percent(#{limit := granted, measure := Measure} = Rule, Series, Of,
        #model{now_us = Now} = Model) ->
    Used = used(Rule, Series, Now, Model),
    percent_of(open_grants(money(Measure), Used, Of, Series, Model));
percent(#{limit := Limit}, _Series, Of, _Model) ->
    percent_of({Of, Limit}).

percent_of({_Part, 0}) -> 100;
percent_of({Part, Whole}) -> Part * 100 div Whole.

level(#{warn := Warn} = Rule, Series, #model{now_us = Now} = Model) ->
    InUse = in_use(Rule, Series, Now, Model),
    Percent = percent(Rule, Series, InUse, Model),
    Exhausted = not is_unlimited(Rule) andalso InUse >= hard_cap(Rule, Series, Model),
    case {Exhausted, Percent >= critical_from(Warn), Percent >= approaching_from(Warn)} of
        {true, _, _} -> exhausted;
        {_, true, _} -> critical;
        {_, _, true} -> approaching;
        _ -> normal
    end.

critical_from([_, _ | _] = Warn) -> lists:last(Warn);
critical_from(_Warn) -> 95.

approaching_from([First | _]) -> First;
approaching_from([]) -> 80.

%% By when they will have ended: the ledger may be late to say so, not early.
held_until(Column, Series, #model{last_deadline_us = Last} = Model) ->
    Deadlines = [Deadline || #hold{names = Names, deadline_us = Deadline} = Hold
                                 <- live_holds(Model), is_in(Series, Names),
                             held_by(Hold, Column, Series, Model) > 0],
    case Deadlines of
        [] -> none;
        _ -> {between, ceiling(lists:max(Deadlines)), ceiling(Last)}
    end.

%% At the rate of the window so far, which is at least one ms old.
forecast(Rule, Series, #model{now_us = Now} = Model) ->
    NowMs = Now div 1000,
    case {used(Rule, Series, Now, Model), forecast_room(Rule, Series, Model)} of
        {_, infinity} -> none;
        {Used, Left} when Used =< 0; Left =< 0 -> none;
        {Used, Left} ->
            Age = max(1, NowMs - window_began(Rule, Series, Model)),
            in_period(Rule, NowMs, NowMs + Left * Age div Used)
    end.

forecast_room(#{grace := Grace} = Rule, Series, Model) ->
    case reads(forecast_reaches_grace, Model) andalso is_granted(Rule) of
        true -> remaining(Rule, Series, Model) + Grace;
        false -> remaining(Rule, Series, Model)
    end.

in_period(#{window := {calendar, Unit, Offset}}, NowMs, At) ->
    case period(Unit, Offset, NowMs) of
        {_Start, End} when At >= End -> none;
        _ -> At
    end;
in_period(_Rule, _NowMs, At) ->
    At.

window_began(#{window := Window} = Rule, Series, #model{now_us = Now} = Model) ->
    NowMs = Now div 1000,
    Reset = reset_id(Rule, Series, Model) div 1000,
    case Window of
        {calendar, Unit, Offset} -> max(Reset, element(1, period(Unit, Offset, NowMs)));
        {rolling, Ms} -> lists:max([Reset, first_ms(Series, Model), NowMs - Ms]);
        lifetime -> max(Reset, first_ms(Series, Model))
    end.

%% Of the entries that add to something.
first_ms(Series, #model{entries = Entries}) ->
    lists:min([Id div 1000 || #entry{id = Id, kind = Kind, names = Names} <- Entries,
                              is_counted(Kind), is_in(Series, Names)]).

is_counted(Kind) ->
    lists:member(Kind, [invocation, run, correction, grant]).

%%% Attempts -----------------------------------------------------------------------------------

%% What an attempt asks for, by column; what it does not say is not there.
amounts(Attrs) ->
    Said = maps:map(fun(_Key, Amount) -> sum(Amount) end,
                    maps:with([cost, credits, tokens], Attrs)),
    Said#{invocations => case maps:get(kind, Attrs, invocation) of
                             invocation -> 1;
                             run -> 0
                         end}.

names(Attrs) -> maps:with([state, org, user], Attrs).

%% Every rule that has something to say: {Rule, Series, Amount, Reason}.
opinions(Names, Critical, AmountOf, #model{now_us = Now} = Model) ->
    [{Rule, Series, Amount, verdict(Rule, Series, Amount, Critical, Now, Model)}
     || {Rule, Series} <- meets(Names, Model), Amount <- [AmountOf(Rule, Series)]]
        ++ [{Rule, series(Rule, Names), AmountOf(Rule, none), required}
            || Rule <- misses(Names, Model)].

%% Unpaid work goes on where paid work has to wait.
denying(Opinions, Degrade) ->
    [Opinion || {#{on_exhausted := OnExhausted}, _, _, Reason} = Opinion <- Opinions,
                Reason =/= admits, OnExhausted =:= deny orelse Degrade =:= denies].

tier(Opinions) ->
    case [Rule || {#{on_exhausted := degrade} = Rule, _, _, Reason} <- Opinions,
                  Reason =/= admits] of
        [] -> normal;
        _ -> low
    end.

level_of(Opinions, Model) ->
    Levels = [level(Rule, Series, Model) || {Rule, Series, _, Reason} <- Opinions,
                                            Reason =/= required],
    worst(Levels).

worst(Levels) ->
    hd([Level || Level <- [exhausted, critical, approaching, normal],
                 Level =:= normal orelse lists:member(Level, Levels)]).

denial(Denying, Tier, Critical, Model) ->
    Rules = [(tell_denial(Opinion, Critical, Model))#{amount => Amount, reason => Reason}
             || {_, _, Amount, Reason} = Opinion <- Denying],
    {error, {budget_exhausted, #{tier => Tier, resets_at => latest(Rules), rules => Rules}}}.

tell_denial({Rule, Series, Amount, Reason}, Critical, Model) ->
    tell(Rule, Series, Amount, Critical, Reason, Model).

latest(Rules) ->
    case [At || #{resets_at := At} <- Rules, At =/= none] of
        [] -> none;
        Times -> lists:max(Times) % `never` is an atom, above all numbers
    end.

-spec check(map(), model()) -> {ok, map()} | {error, term()}.
check(Attrs, Model) ->
    Critical = maps:get(critical, Attrs, false),
    Amounts = amounts(Attrs),
    Opinions = opinions(names(Attrs), Critical, fun(Rule, _) -> asked_of(Rule, Amounts) end, Model),
    case denying(Opinions, passes) of
        [] -> {ok, #{tier => tier(Opinions), level => level_of(Opinions, Model)}};
        Denying -> denial(Denying, tier(Opinions), Critical, Model)
    end.

-spec status(all | names(), model()) -> {ok, map()}.
status(Scope, #model{now_us = Now} = Model) ->
    Opinions = case Scope of
                   all -> [{Rule, Series, 1, verdict(Rule, Series, 1, false, Now, Model)}
                           || Rule <- rules(Model), not has_each(Rule),
                              Series <- [own_series(Rule)]];
                   _ -> opinions(Scope, false, fun(_, _) -> 1 end, Model)
               end,
    Rules = [tell(Rule, Series, Amount, false, told_reason(Reason), Model)
             || {Rule, Series, Amount, Reason} <- Opinions],
    {ok, #{level => level_of(Opinions, Model), tier => tier(Opinions), rules => Rules,
           resets_at => latest([Told || #{on_exhausted := deny} = Told <- Rules])}}.

own_series(#{scope := all}) -> #{};
own_series(#{scope := Scope}) -> Scope.

told_reason(admits) -> none;
told_reason(Reason) -> Reason.

%% The rules that depend on nothing but the state.
-spec gate(atom(), model()) -> ok | budget_exhausted.
gate(State, #model{now_us = Now} = Model) ->
    Denying = [Rule || {#{on_exhausted := deny} = Rule, Series} <- meets(#{state => State}, Model),
                       verdict(Rule, Series, 1, false, Now, Model) =/= admits],
    case Denying of
        [] -> ok;
        _ -> budget_exhausted
    end.

%%% Reserving ----------------------------------------------------------------------------------

%% Attrs as the ledger takes them; `parent` is the id of a hold, and there is a `deadline_ms`.
-spec reserve(map(), model()) -> {{ok, pos_integer()} | {error, term()}, model()}.
reserve(Attrs, Model) ->
    case estimate(Attrs, Model) of
        {ok, Estimate} -> reserve(Attrs, Estimate, quiet(Model));
        estimate_required -> {{error, estimate_required}, quiet(Model)}
    end.

reserve(Attrs, Estimate, Model) ->
    Critical = maps:get(critical, Attrs, false),
    AmountOf = fun(Rule, Series) -> asked_beyond_parent(Rule, Series, Attrs, Estimate, Model) end,
    Opinions = opinions(names(Attrs), Critical, AmountOf, Model),
    case denying(Opinions, denies) of
        [] -> hold_it(Attrs, Estimate, Model);
        Denying -> {denial(Denying, tier(Opinions), Critical, Model), Model}
    end.

hold_it(#{deadline_ms := DeadlineMs} = Attrs, Estimate,
        #model{now_us = Now, holds = Holds} = Model) ->
    Id = next_id(Model),
    Hold = #hold{id = Id, kind = maps:get(kind, Attrs, invocation), names = names(Attrs),
                 estimate = Estimate, deadline_us = Now + DeadlineMs * 1000,
                 extend_ms = DeadlineMs, parent = maps:get(parent, Attrs, none)},
    {{ok, Id}, deadline_seen(Hold, Model#model{last_id = Id, holds = [Hold | Holds]})}.

deadline_seen(#hold{deadline_us = Deadline}, #model{last_deadline_us = Last} = Model) ->
    Model#model{last_deadline_us = max(Last, Deadline)}.

%% What the parent lends in a series that both belong to is not asked of the rules over it.
asked_beyond_parent(#{measure := Measure} = Rule, Series, Attrs, Estimate, Model) ->
    Column = column(Measure),
    Amounts = amounts(maps:merge(Attrs, Estimate)),
    case maps:is_key(Column, Amounts) of
        true -> max(0, maps:get(Column, Amounts) - lendable(Column, Series, Attrs, Model));
        false -> asked_of(Rule, Amounts)
    end.

lendable(Column, #{} = Series, #{parent := Id}, Model) ->
    #hold{names = Names} = Parent = find(Id, Model),
    case is_in(Series, Names) of
        true -> held_by(Parent, Column, Series, Model);
        false -> 0
    end;
lendable(_Column, _Series, _Attrs, _Model) ->
    0.

%% What is asked for: as given, or the largest default of the rules that count it.
estimate(Attrs, Model) ->
    Meets = [Rule || {Rule, _Series} <- meets(names(Attrs), Model)],
    lists:foldl(fun(Column, Acc) -> estimate(Column, Attrs, Meets, Acc) end, {ok, #{}},
                [cost, credits, tokens]).

estimate(_Column, _Attrs, _Rules, estimate_required) ->
    estimate_required;
estimate(Column, Attrs, _Rules, {ok, Estimate}) when is_map_key(Column, Attrs) ->
    {ok, Estimate#{Column => maps:get(Column, Attrs)}};
estimate(Column, _Attrs, Rules, {ok, Estimate}) ->
    OfColumn = [Rule || #{measure := Measure} = Rule <- Rules, column(Measure) =:= Column],
    Defaults = [Default || #{default_estimate := Default} <- OfColumn, Default =/= none],
    case {Defaults, lists:any(fun needs_estimate/1, OfColumn)} of
        {[_ | _], _} -> {ok, Estimate#{Column => lists:max(Defaults)}};
        {[], true} -> estimate_required;
        {[], false} -> {ok, Estimate}
    end.

%% A kill switch denies whatever is asked for.
needs_estimate(#{on_exhausted := warn}) -> false;
needs_estimate(#{limit := infinity}) -> false;
needs_estimate(#{limit := 0}) -> false;
needs_estimate(_Rule) -> true.

%%% Ending a hold ------------------------------------------------------------------------------

-spec settle(pos_integer(), map(), model()) -> {{ok, map()} | {error, atom()}, model()}.
settle(Id, Usage, Model) ->
    case {find(Id, Model), is_parent(Id, Model)} of
        {#hold{ended = none}, true} -> {{error, open_children}, quiet(Model)};
        {#hold{ended = none} = Hold, false} -> settle_live(Hold, Usage, Model);
        {#hold{by_ledger = true, settled_late = false} = Hold, _} -> correct(Hold, Usage, Model);
        {#hold{}, _} -> {{error, resolved}, quiet(Model)}
    end.

settle_live(Hold, Usage, Model) ->
    Entry = resolution(Hold, maps:get(status, Usage, completed), own(Hold, usage(Usage), Model),
                       Model),
    answer(false, commit(fun(Acc) -> finish(Hold, Entry, false, Acc) end, Model)).

answer(Late, #model{entries = [#entry{id = Id, overrun = Overrun} | _]} = Model) ->
    {{ok, #{id => Id, overrun => Overrun, late => Late}}, Model}.

resolution(#hold{id = Hold, kind = Kind, names = Names}, Status, Usage, Model) ->
    #entry{id = next_id(Model), kind = Kind, names = Names, status = Status, usage = Usage,
           hold = Hold}.

finish(#hold{} = Hold, #entry{id = Id} = Entry, ByLedger, Model) ->
    book(Entry, replace(Hold#hold{ended = Id, by_ledger = ByLedger}, Model#model{last_id = Id})).

%% A run books only what its children have not.
own(#hold{kind = run, id = Id}, Usage, Model) ->
    maps:map(fun(_Field, none) -> none;
                (Field, Value) -> beyond(Value, of_children(Id, Field, Model))
             end, Usage);
own(_Hold, Usage, _Model) ->
    Usage.

beyond(Value, Children) when is_integer(Value) ->
    max(0, Value - Children);
beyond(Tokens, Children) ->
    maps:map(fun(Class, Number) -> max(0, Number - maps:get(Class, Children)) end, Tokens).

%% What was booked for a hold's children, and corrected since.
of_children(Id, Field, #model{entries = Entries, holds = Holds} = Model) ->
    Children = [Child || #hold{id = Child, parent = Parent} <- Holds, Parent =:= Id],
    Usages = [Usage || #entry{hold = Hold, usage = #{} = Usage, kind = Kind} <- Entries,
                       lists:member(Hold, Children),
                       Kind =/= correction
                           orelse not reads(corrections_of_children_do_not_count, Model)],
    case Field of
        tokens -> lists:foldl(fun add_tokens/2, classes(0), Usages);
        _ -> lists:sum([number(Field, Usage) || Usage <- Usages])
    end.

add_tokens(#{tokens := none}, Sum) -> Sum;
add_tokens(#{tokens := Tokens}, Sum) ->
    maps:map(fun(Class, Number) -> Number + maps:get(Class, Tokens) end, Sum).

-spec release(pos_integer(), model()) -> {ok | {error, atom()}, model()}.
release(Id, Model) ->
    case {find(Id, Model), is_parent(Id, Model)} of
        {#hold{ended = none}, true} ->
            {{error, open_children}, quiet(Model)};
        {#hold{ended = none} = Hold, false} ->
            Entry = (resolution(Hold, none, none, Model))#entry{kind = release},
            {ok, commit(fun(Acc) -> finish(Hold, Entry, false, Acc) end, Model)};
        {#hold{}, _} ->
            {{error, resolved}, quiet(Model)}
    end.

-spec meter(pos_integer(), map(), model()) -> {ok | {error, atom()}, model()}.
meter(Id, Usage, #model{now_us = Now} = Model) ->
    case find(Id, Model) of
        #hold{ended = none, extend_ms = Extend} = Hold ->
            Metered = Hold#hold{metered = Usage, deadline_us = Now + Extend * 1000},
            {ok, deadline_seen(Metered, replace(Metered, quiet(Model)))};
        #hold{} ->
            {{error, resolved}, quiet(Model)}
    end.

-spec owner_died(pos_integer(), model()) -> model().
owner_died(Id, Model) ->
    commit(fun(Acc) -> abort(Id, Acc) end, Model).

%% Nobody said what came of it.
abort(Id, Model) ->
    Hold = find(Id, Model),
    Usage = own(Hold, unattended(Hold, Model), Model),
    Entry = resolution(Hold, aborted, Usage, Model),
    tell_expired(Hold, Entry, finish(Hold, Entry, true, Model)).

tell_expired(#hold{id = Hold}, #entry{id = Id, kind = Kind, usage = #{cost := Cost}},
             #model{messages = Messages} = Model) ->
    Expired = #{hold => Hold, id => Id, unpriced => Kind =:= invocation andalso Cost =:= none},
    Model#model{messages = [{hold_expired, Expired} | Messages]}.

unattended(#hold{kind = run, metered = none}, _Model) ->
    usage(#{});
unattended(#hold{kind = run, metered = Metered}, _Model) ->
    usage(Metered);
unattended(#hold{metered = none, estimate = Estimate}, _Model) ->
    usage(Estimate);
unattended(#hold{metered = Metered, estimate = Estimate}, Model) ->
    case reads(metering_is_forgotten, Model) of
        true -> usage(Estimate);
        false -> usage(maps:merge(Estimate, maps:with([cost, credits, tokens], Metered)))
    end.

%% Its caller comes late: the difference to what the ledger had booked.
correct(#hold{ended = Ended, kind = Kind} = Hold, Usage, Model) ->
    #entry{usage = Booked} = entry(Ended, Model),
    Said = own(Hold, usage(Usage), Model),
    Completes = case maps:get(status, Usage, completed) of
                    completed -> {Kind, Booked};
                    _ -> none
                end,
    Entry = (resolution(Hold, none, difference(Said, Booked), Model))
        #entry{kind = correction, completes = Completes},
    Settled = Hold#hold{settled_late = true},
    answer(true, commit(fun(Acc) -> book(Entry, replace(Settled, Acc)) end, Model)).

%% What the caller does not say has no difference.
difference(Said, Booked) ->
    maps:map(fun(_Field, none) -> none;
                (tokens, Tokens) -> token_difference(Tokens, maps:get(tokens, Booked));
                (Field, Value) -> Value - number(Field, Booked)
             end, Said).

token_difference(Tokens, none) -> Tokens;
token_difference(Tokens, Booked) ->
    maps:map(fun(Class, Number) -> Number - maps:get(Class, Booked) end, Tokens).

%%% Policy, grants, resets ---------------------------------------------------------------------

-spec set_rules([map()], model()) -> {{ok, pos_integer()}, model()}.
set_rules(Given, #model{version = Version, policies = Policies, fired = Fired} = Model) ->
    Rules = [rule(Rule) || Rule <- Given],
    case rules(Model) of
        Rules ->
            {{ok, Version}, quiet(Model)};
        _ ->
            Id = next_id(Model),
            Names = [Name || #{name := Name} <- Rules],
            Kept = [Mark || Mark <- Fired, lists:member(element(1, Mark), Names)],
            {{ok, Version + 1}, quiet(Model#model{version = Version + 1, last_id = Id,
                                                  policies = [{Id, Rules} | Policies],
                                                  fired = Kept})}
    end.

-spec grant(all | names(), cost | credits, {integer(), atom()}, model()) ->
          {{ok, pos_integer()}, model()}.
grant(Account, Measure, {Amount, Kind}, Model) ->
    Id = next_id(Model),
    Entry = #entry{id = Id, kind = grant, names = account(Account), usage = none,
                   grant = {Measure, Amount, Kind}},
    {{ok, Id}, commit(fun(Acc) -> book(Entry, Acc) end, Model)}.

account(all) -> #{};
account(Names) -> Names.

%% Of the whole rule with `all`.
-spec reset(binary(), all | names(), model()) -> {{ok, pos_integer()}, model()}.
reset(Name, Scope, Model) ->
    Id = next_id(Model),
    Entry = #entry{id = Id, kind = reset, names = account(Scope), usage = none, rule = Name},
    {{ok, Id}, commit(fun(Acc) -> book(Entry, Acc) end, Model)}.

%%% Warnings -----------------------------------------------------------------------------------

%% Before and After are the two ends of a commit, seen from its time.
warn(Before, #model{entries = Entries, now_us = Now} = After) ->
    New = lists:sublist(Entries, length(Entries) - length(Before#model.entries)),
    Seen = Before#model{now_us = Now},
    Touched = lists:usort([Met || #entry{kind = Kind, names = Names} <- New, is_counted(Kind),
                                  Met <- meets(Names, After)]),
    lists:foldl(fun({#{warn := Warn} = Rule, Series}, Acc) ->
                        lists:foldl(fun(Threshold, Each) ->
                                            warn(Rule, Series, Threshold, Seen, Each)
                                    end, Acc, Warn)
                end, After, Touched).

warn(#{limit := infinity}, _Series, _Threshold, _Before, After) ->
    After;
warn(Rule, Series, Threshold, Before, After) ->
    %% More was taken back than was ever granted: there is nothing to use up.
    case limit(Rule, Series, After) >= 0
        andalso booked_percent(Rule, Series, After) >= Threshold
        andalso not is_latched(Rule, Series, Threshold, Before, After) of
        true -> fire(Rule, Series, Threshold, After);
        false -> After
    end.

%% Where nothing is used no threshold is reached, not even that of limit 0.
booked_percent(Rule, Series, #model{now_us = Now} = Model) ->
    case used(Rule, Series, Now, Model) of
        0 -> 0;
        Used -> percent(Rule, Series, Used, Model)
    end.

%% The threshold is that of the last warning, and use did not fall below it since.
is_latched(#{name := Name} = Rule, Series, Threshold, Before, #model{fired = Fired} = After) ->
    Period = warning_period(Rule, After),
    Limit = limit(Rule, Series, After),
    case [{P, L} || {N, S, T, P, L} <- Fired, N =:= Name, S =:= Series, T =:= Threshold] of
        [{Period, Limit} | _] -> booked_percent(Rule, Series, Before) >= Threshold
                                     andalso not reads(warns_every_time, After);
        _ -> false
    end.

fire(#{name := Name} = Rule, Series, Threshold,
     #model{now_us = Now, fired = Fired, messages = Messages} = Model) ->
    Limit = limit(Rule, Series, Model),
    Warning = #{rule => Name, scope => told_scope(Rule, Series), threshold => Threshold,
                used => used(Rule, Series, Now, Model), limit => Limit,
                percent => booked_percent(Rule, Series, Model)},
    Mark = {Name, Series, Threshold, warning_period(Rule, Model), Limit},
    Model#model{fired = [Mark | Fired], messages = [{budget_warning, Warning} | Messages]}.

warning_period(#{window := {calendar, Unit, Offset}}, #model{now_us = Now}) ->
    element(1, period(Unit, Offset, Now div 1000));
warning_period(_Rule, _Model) ->
    0.

%%% Other views --------------------------------------------------------------------------------

%% Of both measures: #{credits => B, cost => B}.
-spec balance(all | names(), model()) -> #{cost := map(), credits := map()}.
balance(Account, Model) ->
    maps:from_list([{Field, balance(Field, account(Account), Model)} || Field <- [cost, credits]]).

balance(Field, Series, #model{entries = Entries} = Model) ->
    Granted = granted(Field, Series, Model),
    Measure = account_measure(Field, Series, Model),
    Used = lists:sum([counted(Measure, Entry, Model) || #entry{names = Names} = Entry <- Entries,
                                                        is_in(Series, Names)]),
    Held = held(Field, Series, Model),
    #{granted => Granted, used => Used, held => Held, balance => Granted - Used - Held,
      percent => account_percent(Field, Used, Used + Held, Series, Model),
      grants => [#{id => Id, timestamp => Id div 1000, kind => Kind, amount => Amount,
                   remaining => Remaining}
                 || {Id, Amount, Kind, Remaining}
                        <- lists:sublist(grants_left(Field, Used, Series, Model), 100)]}.

%% An account that a rule holds to what completed calls used is told of so.
account_measure(Field, Series, Model) ->
    Completed = case Field of
                    cost -> completed_cost;
                    credits -> completed_credits
                end,
    case [Rule || #{limit := granted, measure := Measure} = Rule <- rules(Model),
                  Measure =:= Completed, match(Rule, Series) =:= matches,
                  map_size(series(Rule, Series)) =:= map_size(Series)] of
        [] -> Field;
        _ -> Completed
    end.

%% The document does not say what it is without grants.
account_percent(Field, Used, InUse, Series, Model) ->
    case [Amount || {_Id, Amount, _Kind} <- grants(Field, Series, Model), Amount > 0] of
        [] -> unspecified;
        _ -> percent_of(open_grants(Field, Used, InUse, Series, Model))
    end.

%% Invocations, newest first.
-spec history(model()) -> [map()].
history(#model{entries = Entries}) ->
    [told_entry(Entry) || #entry{kind = invocation} = Entry <- Entries].

told_entry(#entry{id = Id, names = Names, status = Status, usage = Usage, overrun = Overrun}) ->
    Given = maps:filter(fun(_Field, Value) -> Value =/= none end, Usage),
    maps:merge(Names, Given#{id => Id, timestamp => Id div 1000, status => Status,
                             overrun => Overrun}).

%% Invocations by state and in total since NowMs - WindowMs, or of all time.
-spec counts(pos_integer() | infinity, model()) -> #{atom() => non_neg_integer()}.
counts(WindowMs, #model{now_us = Now, entries = Entries}) ->
    Start = case WindowMs of
                infinity -> 0;
                _ -> (Now div 1000 - WindowMs) * 1000
            end,
    States = [State || #entry{kind = invocation, id = Id, names = #{state := State}} <- Entries,
                       Id >= Start],
    Count = fun(Wanted) -> length([State || State <- States, State =:= Wanted]) end,
    #{total => length(States), executing => Count(executing), improving => Count(improving),
      contemplating => Count(contemplating)}.
