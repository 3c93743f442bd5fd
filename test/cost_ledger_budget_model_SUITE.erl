%%% Random histories of one ledger on a manual clock against cost_ledger_budget_model: after every
%%% command every decision, every total, every hold and every message is that of the model, which
%%% has counted everything anew. And, without the model: at a denial's `resets_at` the same request
%%% is admitted, one millisecond before it is not.
%%%
%%% COST_LEDGER_NUMTESTS in the environment sets how many histories are tried (150).
%%%
%%% PropEr is used through its functions: Debian's package comes without proper.hrl.
-module(cost_ledger_budget_model_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([the_model_knows_calendars/1, the_model_counts_windows/1, the_model_decides/1,
         the_model_lends_to_children/1, the_model_ends_holds/1, the_model_corrects/1,
         the_model_uses_up_grants/1, the_model_warns_once/1, the_model_replaces_rules/1]).
-export([examples/1, the_ledger_is_the_model/1, a_wrong_model_is_noticed/1]).
-export([rolling_windows_reset_when_they_say/1, days_reset_when_they_say/1,
         weeks_reset_when_they_say/1, months_reset_when_they_say/1, lifetimes_never_reset/1]).
%% For a shell, and for counterexamples: run(Config, Readings, History).
-export([run/3, history/0, run_resets/2, resets_history/1]).

-define(SECOND, 1000).
-define(MINUTE, 60000).
-define(HOUR, 3600000).
-define(DAY, 86400000).
-define(SERIES, [[org], [user], [org, user]]).
-define(STATES, [executing, improving]).
-define(ORGS, [<<"o1">>, <<"o2">>]).
-define(USERS, [<<"u1">>, <<"u2">>]).
%% None is right; see cost_ledger_budget_model:reading().
-define(READINGS, []).
%% Longer than all windows and every history.
-define(LONG_MS, 300000000000).

suite() -> [{timetrap, {seconds, max(1800, 4 * tests())}}].

tests() -> list_to_integer(os:getenv("COST_LEDGER_NUMTESTS", "150")).

all() ->
    [{group, model}, examples, {group, resets}, the_ledger_is_the_model, a_wrong_model_is_noticed].

groups() ->
    [{model, [parallel],
      [the_model_knows_calendars, the_model_counts_windows, the_model_decides,
       the_model_lends_to_children, the_model_ends_holds, the_model_corrects,
       the_model_uses_up_grants, the_model_warns_once, the_model_replaces_rules]},
     {resets, [parallel],
      [rolling_windows_reset_when_they_say, days_reset_when_they_say, weeks_reset_when_they_say,
       months_reset_when_they_say, lifetimes_never_reset]}].

init_per_suite(Config) ->
    %% Denials, warnings and expiries are events, here many thousands of them.
    ok = logger:set_module_level(cost_ledger_events, none),
    Config.

end_per_suite(_Config) ->
    ok = logger:unset_module_level(cost_ledger_events).

%%% Cases with the ledger ----------------------------------------------------------------------

the_ledger_is_the_model(Config) ->
    Options = [{numtests, tests()}, quiet, long_result],
    case proper:quickcheck(property(Config, ?READINGS), Options) of
        true -> ok;
        [Counterexample] ->
            ct:pal("counterexample: ~tp", [Counterexample]),
            run(Config, ?READINGS, Counterexample),
            ct:fail({not_reproduced, Counterexample})
    end.

%% The property is one that can fail: every model that is wrong in one point is found.
a_wrong_model_is_noticed(Config) ->
    [begin
         Options = [{numtests, 3000}, quiet, long_result, noshrink],
         case proper:quickcheck(property(Config, [Reading | ?READINGS]), Options) of
             [_Counterexample] -> ok;
             true -> ct:fail({not_noticed, Reading})
         end
     end || Reading <- [rolling_window_too_long, rolling_window_too_short, west_is_east,
                        holds_do_not_count, overrun_at_the_limit, metering_is_forgotten,
                        warns_every_time, specific_rules_add_up, corrections_lower_use,
                        children_hold_in_full, children_pay_first, forecast_reaches_grace,
                        resets_do_nothing, soft_is_hard,
                        oldest_grant_is_never_used_up]],
    ok.

%% What random histories reach seldom. Shapes and rules are told in the words of the generators.
examples(Config) ->
    [run(Config, ?READINGS, {Start, Shapes, Rules, Commands})
     || Start <- [1, ?DAY - 1, 1709164800000, 1700000000000],
        {Shapes, Rules, Commands} <- examples()],
    ok.

examples() ->
    Executing = {executing, none, none},
    U1 = {executing, none, <<"u1">>},
    O1U1 = {executing, <<"o1">>, <<"u1">>},
    Reserve = fun(Names, Amounts) -> {reserve, invocation, Names, Amounts, false, ?HOUR, none} end,
    Run = fun(Names, Amounts) -> {reserve, run, Names, Amounts, false, ?DAY, none} end,
    Child = fun(Names, Amounts) -> {reserve, invocation, Names, Amounts, false, ?HOUR, 0} end,
    Cost = fun(Amount) -> {Amount, none, none} end,
    Usage = fun(Amount) -> {completed, {Amount, none, none}} end,
    CostDay = {[], cost, {calendar, day, 8}},
    [%% Two holds share the last of a limit; what was not spent is free again.
     {[CostDay, {[{state, each}], invocations, {rolling, ?MINUTE}}],
      [{0, 10, []}, {1, 3, [{warn, [50, 100]}]}],
      [Reserve(U1, Cost(6)), Reserve(U1, Cost(4)), Reserve(U1, Cost(1)), {settle, 0, Usage(2)},
       Reserve(U1, Cost(4)), Reserve(U1, Cost(1)), {to_edge, 0, -1}, {to_edge, 0, 0},
       {settle, 0, Usage(5)}, {settle, 0, Usage(4)}, {to_edge, 1, -1}, {to_edge, 1, 0}]},
     %% Nobody resolves: deadlines, a dead owner, an owner that dies while the ledger is closed.
     {[CostDay], [{0, 20, [{warn, [50, 80, 100]}]}],
      [Reserve(U1, Cost(5)), Reserve(O1U1, Cost(6)), Reserve(Executing, Cost(3)),
       {meter, 0, {completed, {2, none, [{input, 3}]}}}, {die, 1}, {reopen_orphaned, 1},
       {settle_ended, 0, Usage(9)}, {settle_ended, 0, Usage(9)}, {release_ended, 1},
       {settle_ended, 1, {failed, {1, 2, none}}}, {to_edge, 0, -1}, {to_edge, 0, 0},
       {settle_ended, 2, Usage(none)}, reopen, {advance, ?DAY}]},
     %% A run and its children; the ceiling is used up, and then some.
     {[CostDay, {[{user, each}], tokens, lifetime}], [{0, 12, []}, {1, infinity, []}],
      [Run({none, <<"o1">>, <<"u1">>}, Cost(10)), Child(O1U1, Cost(4)), Child(O1U1, Cost(4)),
       {settle, 0, Usage(1)}, {settle, 1, Usage(6)}, {settle, 1, Usage(2)},
       Child(O1U1, Cost(7)), {release, 1}, Child(O1U1, Cost(2)), {die, 0}, {settle, 0, Usage(2)},
       {settle_ended, 3, Usage(20)}]},
     %% What a child asks for beyond what its parent has left.
     {[CostDay], [{0, 30, []}],
      [Run({none, <<"o1">>, none}, Cost(5)), Child(O1U1, Cost(8)), {settle, 1, Usage(4)},
       Child(O1U1, Cost(3)), Child(O1U1, Cost(4)), {release, 1}, {settle, 1, Usage(5)}]},
     %% A child that is late, and the run that it was part of.
     {[CostDay], [{0, 100, []}],
      [Run({none, <<"o1">>, none}, Cost(10)), Child(O1U1, Cost(4)),
       {meter, 0, {completed, {9, none, none}}}, {settle, 1, Usage(4)}, {settle, 0, Usage(9)},
       Run({none, <<"o1">>, none}, Cost(10)), Child(O1U1, Cost(4)), {die, 1},
       {settle_ended, 2, Usage(7)}, {settle, 0, Usage(10)}]},
     %% An account that is bought for, used up, bought for again, and taken back from.
     {[{[{org, each}], credits, lifetime}],
      [{0, granted, [{grace, 3}, {soft, 80}, {warn, [50, 80]}]}],
      [Reserve(O1U1, {none, 1, none}), {grant, {none, <<"o1">>, none}, credits, 10, purchase},
       Reserve(O1U1, {none, 8, none}), Reserve(O1U1, {none, 1, none}),
       {settle, 0, {completed, {none, 10, none}}},
       {grant, {none, <<"o1">>, none}, credits, 20, topup},
       {record, O1U1, completed, {none, 17, none}}, Reserve(O1U1, {none, 1, none}),
       {grant, {none, <<"o1">>, none}, credits, -5, adjustment}, Reserve(O1U1, {none, 1, none})]},
     %% The same threshold after a reset, a changed limit, a new period, and use that fell.
     {[CostDay, {[{user, each}], cost, {rolling, ?HOUR}}],
      [{0, 10, [{warn, [50]}]}, {1, 10, [{warn, [50]}]}],
      [{record, U1, completed, Cost(6)}, {record, U1, completed, Cost(1)}, {reset, 1, U1},
       {record, U1, completed, Cost(6)}, {reset, 0, all}, {record, U1, completed, Cost(6)},
       {set_rules, [{0, 12, [{warn, [50]}]}, {1, 10, [{warn, [50]}]}]},
       {record, U1, completed, Cost(1)}, {advance, ?HOUR + 1}, {record, U1, completed, Cost(5)},
       {advance, ?DAY}, {record, U1, completed, Cost(7)}, {record, U1, completed, Cost(7)},
       {set_rules, [{1, 10, []}]}, {set_rules, [{0, 12, [{warn, [50]}]}]},
       {record, U1, completed, Cost(1)}]},
     %% A rule for one user replaces that for each; one that is required; no more than two.
     {[{[{user, each}], cost, lifetime}, {[{user, <<"u1">>}], cost, lifetime},
       {[{org, each}, {user, each}], invocations, {calendar, month, -48}}],
      [{0, 5, [{default_estimate, 2}]}, {1, 9, []}, {2, 3, [{require, true}, {max_values, 2}]}],
      [Reserve(U1, Cost(7)), Reserve(O1U1, Cost(7)), Reserve(O1U1, Cost(none)),
       Reserve({improving, <<"o1">>, <<"u2">>}, Cost(none)),
       Reserve({improving, <<"o2">>, <<"u2">>}, Cost(1)),
       {record, {improving, <<"o2">>, <<"u2">>}, failed, Cost(1)},
       Reserve({improving, <<"o2">>, <<"u2">>}, Cost(1)), {to_edge, 20, 0}]},
     %% More than a thousand in one ms: ids run ahead of the clock, also into the next period.
     {[CostDay, {[{state, each}], invocations, {rolling, ?SECOND}}], [{0, 1100, []}, {1, 5, []}],
      [{to_edge, 0, -1}, {burst, U1, 1150}, {advance, 0}, {advance, 1}, {advance, 1}, reopen,
       {record, U1, completed, Cost(1)}, {to_edge, 0, -1}, {to_edge, 0, 0}]}].

%%% Histories ----------------------------------------------------------------------------------

property(Config, Readings) ->
    proper:forall(history(),
                  fun(History) ->
                          %% Everything: this PropEr cannot report an exception on OTP 25.
                          try run(Config, Readings, History) of
                              ok -> true
                          catch _:_ -> false
                          end
                  end).

%% {Start, Shapes, Rules, Commands}: a rule is the number of a shape and what may change of it, so
%% that a name stands for the same scope, measure and window throughout.
history() ->
    {start(), [shape(), shape(), shape(), like(0), like(1)], rule_specs(),
     proper_types:resize(70, proper_types:list(command()))}.

start() ->
    proper_types:oneof([1, 1700000000000, proper_types:integer(1, 4000000000000)]).

shape() -> {scope(), measure(), window()}.

%% The same dimensions, measure and window, with some values in place of `each`: where there are
%% some, it replaces the other; where there are none, both hold.
like(Number) ->
    {like, Number, {proper_types:oneof([each | ?STATES]), proper_types:oneof([each | ?ORGS]),
                    proper_types:oneof([each | ?USERS])}}.

scope() ->
    proper_types:frequency(
      [{2, []},
       {2, [{state, proper_types:oneof([each | ?STATES])}]},
       {2, [{org, proper_types:oneof([each, each | ?ORGS])}]},
       {4, [{user, proper_types:oneof([each, each | ?USERS])}]},
       {4, [{org, proper_types:oneof([each, each | ?ORGS])},
            {user, proper_types:oneof([each, each | ?USERS])}]}]).

%% Money most of all: it can be granted, held, metered and corrected.
measure() ->
    proper_types:frequency([{2, invocations}, {1, completed_invocations}, {4, cost},
                            {2, completed_cost}, {3, credits}, {1, completed_credits},
                            {2, tokens}]).

window() ->
    proper_types:frequency(
      [{4, {rolling, proper_types:oneof([1, ?SECOND, ?MINUTE, ?HOUR, ?DAY,
                                         proper_types:integer(1, 100000)])}},
       {5, {calendar, proper_types:oneof([day, week, month]), proper_types:integer(-72, 72)}},
       {5, lifetime}]).

rule_specs() -> proper_types:list({proper_types:integer(0, 4), limit(), options()}).

limit() ->
    proper_types:frequency([{1, 0}, {1, infinity}, {4, granted}, {8, proper_types:integer(1, 25)}]).

options() ->
    [{warn, proper_types:oneof([[], [50], [100], [80, 95], [10, 50, 90]])},
     {soft, proper_types:frequency([{3, none}, {1, 80}, {1, proper_types:integer(1, 99)}])},
     {on_exhausted, proper_types:frequency([{5, deny}, {2, degrade}, {1, warn}])},
     {grace, proper_types:integer(0, 4)},
     {require, proper_types:frequency([{9, false}, {1, true}])},
     {default_estimate, proper_types:oneof([none, proper_types:integer(1, 5)])},
     {max_values, proper_types:frequency([{9, 100000}, {1, proper_types:integer(1, 3)}])}].

command() ->
    proper_types:frequency(
      [{16, {record, names(), status(), booked()}},
       {26, {reserve, kind(), names(), asked(), proper_types:boolean(), deadline(),
             proper_types:oneof([none, nth()])}},
       {14, {settle, nth(), usage()}},
       {5, {settle_ended, nth(), usage()}},
       {3, {release, nth()}},
       {1, {release_ended, nth()}},
       {6, {meter, nth(), usage()}},
       {1, {meter_ended, nth(), usage()}},
       {1, {transfer, nth()}},
       {3, {die, nth()}},
       {8, {advance, advance()}},
       {16, {to_edge, nth(), proper_types:integer(-1, 1)}},
       {1, {set_back, proper_types:integer(1, 100000)}},
       {5, {set_rules, rule_specs()}},
       {8, {grant, account(), proper_types:oneof([cost, credits, credits]),
            proper_types:integer(1, 20), proper_types:oneof([purchase, topup])}},
       {2, {grant, account(), proper_types:oneof([cost, credits]), proper_types:integer(-9, -1),
            adjustment}},
       {4, {reset, nth(), proper_types:oneof([all, full_names()])}},
       {4, {again, nth()}},
       {8, {check, kind(), names(), asked(), proper_types:boolean()}},
       {2, reopen},
       {1, {reopen_orphaned, nth()}}]).

nth() -> proper_types:integer(0, 20).

names() ->
    {proper_types:oneof(?STATES), proper_types:oneof([none | ?ORGS]),
     proper_types:oneof([none | ?USERS])}.

full_names() ->
    {proper_types:oneof(?STATES), proper_types:oneof(?ORGS), proper_types:oneof(?USERS)}.

account() ->
    proper_types:oneof([{none, none, none}, {none, proper_types:oneof(?ORGS), none},
                        {none, none, proper_types:oneof(?USERS)},
                        {none, proper_types:oneof(?ORGS), proper_types:oneof(?USERS)},
                        {proper_types:oneof(?STATES), none, none}]).

kind() -> proper_types:frequency([{4, invocation}, {1, run}]).

status() -> proper_types:frequency([{4, completed}, {1, failed}, {1, aborted}]).

amount() -> proper_types:frequency([{1, none}, {4, proper_types:integer(0, 9)}]).

asked() ->
    {amount(), amount(), proper_types:oneof([none, proper_types:integer(0, 9), tokens()])}.

booked() -> {amount(), amount(), proper_types:oneof([none, tokens()])}.

tokens() ->
    Amount = proper_types:integer(0, 6),
    proper_types:oneof([[{input, Amount}], [{output, Amount}, {reasoning, Amount}],
                        [{input, Amount}, {cache_read, Amount}, {cache_creation, Amount}]]).

usage() -> {status(), booked()}.

deadline() ->
    proper_types:oneof([1, ?SECOND, ?MINUTE, ?HOUR, ?DAY, proper_types:integer(1, 90000)]).

advance() ->
    proper_types:oneof([0, 1, ?SECOND, ?MINUTE, ?HOUR, ?DAY, 40 * ?DAY,
                        proper_types:integer(0, 1000), proper_types:integer(0, 2 * ?HOUR)]).

%%% Running one --------------------------------------------------------------------------------

-record(run,
        {ledger :: atom(),
         directory :: file:filename(),
         shapes :: [tuple()],
         model :: cost_ledger_budget_model:model(),
         steps = 0 :: non_neg_integer(),
         holds = #{} :: #{pos_integer() => term()}, % what the ledger calls them
         owners = #{} :: #{pos_integer() => pid()},
         %% Those that wrote something under an id, and what was answered.
         requests = [] :: [{fun(() -> term()), term()}],
         %% Messages that may have gone out before this process had subscribed again.
         unheard = [] :: [{atom(), map()}]}).

%% Throws {differs, Command, Differences} when the ledger is not what the model is.
run(Config, Readings, {Start, Shapes, Specs, Commands}) ->
    Ledger = list_to_atom("budget_model_" ++ integer_to_list(erlang:phash2(Config))),
    Directory = cost_ledger_test:directory(Config),
    Rules = rules(Specs, Shapes),
    Ledger = cost_ledger_test:open(Ledger, Directory, #{rules => Rules, series => ?SERIES}),
    _ = heard(0),
    ok = cost_ledger:subscribe(Ledger),
    Opened = #run{ledger = Ledger, directory = Directory, shapes = Shapes,
                  model = cost_ledger_budget_model:new(Rules, Readings)},
    try
        Ended = lists:foldl(fun step/2, Opened, [{set_clock, Start} | Commands]),
        throw_if({at_the_end, Commands}, everything(Ended) ++ unexpected(Ended)),
        ok
    after
        _ = cost_ledger:stop(Ledger),
        cost_ledger_test:remove(Directory)
    end.

%% The processes that own holds live as long as whoever runs the history, or until they must die.
step(Command, #run{steps = Steps, unheard = Unheard} = Run) ->
    {Expected, Given, Next} = command(Command, Run#run{steps = Steps + 1, unheard = []}),
    Messages = cost_ledger_budget_model:messages(Next#run.model),
    Heard = case Next#run.unheard of
                [] -> differ([messages], lists:sort(Messages), heard(length(Messages)) -- Unheard);
                _ -> []
            end,
    throw_if(Command, differ([answer], Expected, normal(Given)) ++ Heard ++ some(Command, Next)),
    Next.

throw_if(_Command, []) -> ok;
throw_if(Command, Differences) -> throw({differs, Command, Differences}).

rules(Specs, Shapes) ->
    [rule(Spec, shape(lists:nth(Number + 1, Shapes), Shapes))
     || {Number, _, _} = Spec <- lists:ukeysort(1, Specs), Number < length(Shapes)].

shape({like, Number, {State, Org, User}}, Shapes) ->
    {Scope, Measure, Window} = lists:nth(Number + 1, Shapes),
    Values = #{state => State, org => Org, user => User},
    {[{Dimension, case Value of
                      each -> maps:get(Dimension, Values);
                      _ -> Value
                  end} || {Dimension, Value} <- Scope], Measure, Window};
shape(Shape, _Shapes) ->
    Shape.

rule({Number, Limit, Options}, {Scope, Measure, Window}) ->
    Rule = #{name => <<"rule ", (integer_to_binary(Number))/binary>>,
             scope => case Scope of
                          [] -> all;
                          _ -> maps:from_list(Scope)
                      end,
             measure => Measure, window => window(Window),
             limit => possible_limit(Limit, Measure, Window)},
    Possible = [Option || Option <- Options, is_possible(Option, Rule, Options)],
    maps:merge(Rule, maps:from_list(Possible)).

window({calendar, Unit, Quarters}) -> {calendar, Unit, Quarters * 15};
window(Window) -> Window.

%% Only money that does not expire can be granted.
possible_limit(granted, Measure, lifetime)
  when Measure =/= invocations, Measure =/= completed_invocations, Measure =/= tokens ->
    granted;
possible_limit(granted, _Measure, _Window) ->
    15;
possible_limit(Limit, _Measure, _Window) ->
    Limit.

%% Whether the policy takes it; and the document does not say whether what never denies, or only
%% degrades, denies those who lack a value or are one too many.
is_possible({grace, _}, #{limit := Limit}, _Options) ->
    Limit =:= granted;
is_possible({require, _}, #{scope := Scope, limit := Limit}, Options) ->
    Scope =/= all andalso Limit =/= infinity andalso denies(Options);
is_possible({default_estimate, _}, #{measure := Measure}, _Options) ->
    Measure =/= invocations andalso Measure =/= completed_invocations;
is_possible({max_values, _}, #{scope := #{} = Scope, limit := Limit}, Options) ->
    lists:member(each, maps:values(Scope)) andalso Limit =/= infinity andalso denies(Options);
is_possible({max_values, _}, _Rule, _Options) ->
    false;
is_possible(_Option, _Rule, _Options) ->
    true.

denies(Options) -> proplists:get_value(on_exhausted, Options, deny) =:= deny.

attributes({State, Org, User}) ->
    maps:from_list([{Key, Value} || {Key, Value} <- [{state, State}, {org, Org}, {user, User}],
                                    Value =/= none]).

amounts({Cost, Credits, Tokens}) ->
    maps:from_list([{Key, Value} || {Key, Value} <- [{cost, Cost}, {credits, Credits},
                                                     {tokens, by_class(Tokens)}],
                                    Value =/= none]).

by_class(Tokens) when is_list(Tokens) -> maps:from_list(Tokens);
by_class(Tokens) -> Tokens.

usage({Status, Amounts}) -> (amounts(Amounts))#{status => Status}.

%%% Commands: {Expected answer, Given answer, Run afterwards} ----------------------------------

command({record, Names, Status, Amounts}, #run{ledger = Ledger} = Run) ->
    #{state := State} = Attributes = attributes(Names),
    Usage = usage({Status, Amounts}),
    Meta = with_id(maps:merge(maps:remove(state, Attributes), Usage), Run),
    requested(cost_ledger_budget_model:record(Attributes, Usage, Run#run.model),
              fun() -> cost_ledger:record_invocation(Ledger, State, Meta) end, Run);
command({burst, Names, Count}, Run) ->
    Last = lists:foldl(fun(_, Acc) ->
                               {ok, ok, Next} = command({record, Names, completed, {1, none, none}},
                                                        Acc),
                               Next
                       end, Run, lists:seq(1, Count)),
    %% Messages are those of the last alone now.
    _ = heard(0),
    {ok, ok, Last#run{model = element(2, cost_ledger_budget_model:advance(0, Last#run.model))}};
command({reserve, Kind, Names, Amounts, Critical, DeadlineMs, ParentNth}, Run) ->
    Attrs = (maps:merge(attempt(Kind, Names, Amounts), #{deadline_ms => DeadlineMs}))
        #{critical => Critical},
    reserve(Attrs, parent(ParentNth, Run), Run);
command({check, Kind, Names, Amounts, Critical}, #run{ledger = Ledger, model = Model} = Run) ->
    Attrs = (attempt(Kind, Names, Amounts))#{critical => Critical},
    Expected = cost_ledger_budget_model:check(Attrs, Model),
    modelled({Expected, unchanged(Model)}, cost_ledger:check(Ledger, Attrs), Run);
command({settle, Nth, Usage}, Run) ->
    on_hold(fun settle/3, Usage, Nth, cost_ledger_budget_model:live(Run#run.model), Run);
command({settle_ended, Nth, Usage}, Run) ->
    on_hold(fun settle/3, Usage, Nth, cost_ledger_budget_model:ended(Run#run.model), Run);
command({release, Nth}, Run) ->
    on_hold(fun release/3, none, Nth, cost_ledger_budget_model:live(Run#run.model), Run);
command({release_ended, Nth}, Run) ->
    on_hold(fun release/3, none, Nth, cost_ledger_budget_model:ended(Run#run.model), Run);
command({meter, Nth, Usage}, Run) ->
    on_hold(fun meter/3, Usage, Nth, cost_ledger_budget_model:live(Run#run.model), Run);
command({meter_ended, Nth, Usage}, Run) ->
    on_hold(fun meter/3, Usage, Nth, cost_ledger_budget_model:ended(Run#run.model), Run);
command({transfer, Nth}, Run) ->
    on_hold(fun transfer/3, none, Nth, cost_ledger_budget_model:live(Run#run.model), Run);
command({die, Nth}, Run) ->
    on_hold(fun die/3, none, Nth, cost_ledger_budget_model:live(Run#run.model), Run);
command({advance, Ms}, #run{ledger = Ledger, model = Model} = Run) ->
    modelled(cost_ledger_budget_model:advance(Ms, Model), cost_ledger:advance_clock(Ledger, Ms),
             Run);
command({set_clock, Ms}, #run{ledger = Ledger, model = Model} = Run) ->
    modelled(cost_ledger_budget_model:set_clock(Ms, Model), cost_ledger:set_clock(Ledger, Ms), Run);
command({set_back, Ms}, #run{model = Model} = Run) ->
    command({set_clock, cost_ledger_budget_model:now_us(Model) div 1000 - Ms}, Run);
%% Nothing happens, whatever became of it.
command({again, Nth}, #run{model = Model, requests = Requests} = Run) ->
    case pick(Nth, Requests) of
        none -> command({advance, 0}, Run);
        {Request, Answer} -> modelled({Answer, unchanged(Model)}, Request(), Run)
    end;
command({to_edge, Nth, Offset}, #run{model = Model} = Run) ->
    case pick(Nth, cost_ledger_budget_model:edges(Model)) of
        none -> command({advance, 1}, Run);
        Edge -> command({set_clock, Edge + Offset}, Run)
    end;
command({set_rules, Specs}, #run{ledger = Ledger, shapes = Shapes, model = Model} = Run) ->
    Rules = rules(Specs, Shapes),
    Change = with_id(#{by => model, reason => "test"}, Run),
    requested(cost_ledger_budget_model:set_rules(Rules, Model),
              fun() -> cost_ledger:set_policy(Ledger, #{rules => Rules}, Change) end, Run);
command({grant, Names, Measure, Amount, Kind}, #run{ledger = Ledger, model = Model} = Run) ->
    Account = account(attributes(Names)),
    Options = with_id(#{kind => Kind, measure => Measure, by => model, reason => "test"}, Run),
    requested(cost_ledger_budget_model:grant(Account, Measure, {Amount, Kind}, Model),
              fun() -> cost_ledger:grant(Ledger, Account, Amount, Options) end, Run);
command({reset, Nth, Names}, #run{model = Model} = Run) ->
    Rules = [Rule || #{limit := Limit} = Rule <- cost_ledger_budget_model:rules(Model),
                     Limit =/= granted],
    case pick(Nth, Rules) of
        none -> command({advance, 0}, Run);
        Rule -> reset(Rule, Names, Run)
    end;
command(reopen, Run) ->
    reopen([], Run);
command({reopen_orphaned, Nth}, #run{model = Model} = Run) ->
    case pick(Nth, cost_ledger_budget_model:live(Model)) of
        none -> reopen([], Run);
        Id -> reopen([Id], Run)
    end.

modelled({Expected, Model}, Given, Run) ->
    {Expected, Given, Run#run{model = Model}}.

%% Every second request has an id, and is remembered if it wrote something.
with_id(Options, #run{steps = Steps}) when Steps rem 2 =:= 0 ->
    Options#{id => request_id(Steps)};
with_id(Options, _Run) ->
    Options.

request_id(Step) -> <<"request ", (integer_to_binary(Step))/binary>>.

requested({_Expected, Model} = Modelled, Request, #run{model = Before} = Run) ->
    Answer = Request(),
    modelled(Modelled, Answer, remember(Request, Answer, has_written(Before, Model), Run)).

remember(Request, Answer, true, #run{steps = Steps, requests = Requests} = Run)
  when Steps rem 2 =:= 0 ->
    Run#run{requests = [{Request, Answer} | Requests]};
remember(_Request, _Answer, _HasWritten, Run) ->
    Run.

has_written(Before, After) ->
    cost_ledger_budget_model:last_id(Before) =/= cost_ledger_budget_model:last_id(After).

%% As it is, and quiet.
unchanged(Model) ->
    {ok, Same} = cost_ledger_budget_model:advance(0, Model),
    Same.

pick(_Nth, []) -> none;
pick(Nth, List) -> lists:nth(1 + Nth rem length(List), List).

account(Attributes) when map_size(Attributes) =:= 0 -> all;
account(Attributes) -> Attributes.

%% A run need not have a state.
attempt(run, {improving, Org, User}, Amounts) ->
    maps:merge(attributes({none, Org, User}), (amounts(Amounts))#{kind => run});
attempt(Kind, Names, Amounts) ->
    maps:merge(attributes(Names), (amounts(Amounts))#{kind => Kind}).

%% One level of parents is enough; only runs have children.
parent(none, _Run) ->
    none;
parent(Nth, #run{model = Model}) ->
    pick(Nth, [Id || Id <- cost_ledger_budget_model:live(Model),
                     cost_ledger_budget_model:is_run(Id, Model),
                     not cost_ledger_budget_model:has_parent(Id, Model)]).

reserve(Attrs, Parent, #run{ledger = Ledger, model = Model, holds = Holds} = Run) ->
    Owner = owner(),
    {Asked, ToModel} = case Parent of
                           none -> {Attrs, Attrs};
                           _ -> {Attrs#{parent => maps:get(Parent, Holds)},
                                 Attrs#{parent => Parent}}
                       end,
    Request = fun() -> cost_ledger:reserve(Ledger, with_id(Asked#{owner => Owner}, Run)) end,
    Given = Request(),
    case {cost_ledger_budget_model:reserve(ToModel, Model), Given} of
        {{{ok, Id}, Next}, {ok, Hold}} ->
            Made = Run#run{model = Next, holds = Holds#{Id => Hold},
                           owners = (Run#run.owners)#{Id => Owner}},
            {ok, ok, remember(Request, Given, true, Made)};
        {{Expected, Next}, _} ->
            stop_owner(Owner),
            {Expected, Given, Run#run{model = Next}}
    end.

on_hold(Fun, Argument, Nth, Ids, Run) ->
    case pick(Nth, Ids) of
        none -> command({advance, 1}, Run);
        Id -> Fun(Id, Argument, Run)
    end.

settle(Id, Usage, #run{model = Model} = Run) ->
    Told = with_id(usage(Usage), Run),
    requested(cost_ledger_budget_model:settle(Id, usage(Usage), Model),
              fun() -> cost_ledger:settle(handle(Id, Run), Told) end, Run).

release(Id, none, #run{model = Model} = Run) ->
    Options = with_id(#{}, Run),
    requested(cost_ledger_budget_model:release(Id, Model),
              fun() -> cost_ledger:release(handle(Id, Run), Options) end, Run).

%% Again, it does not extend the deadline.
meter(Id, {_Status, Amounts}, #run{model = Model} = Run) ->
    {Expected, _} = Modelled = cost_ledger_budget_model:meter(Id, amounts(Amounts), Model),
    Told = with_id(amounts(Amounts), Run),
    Request = fun() -> cost_ledger:meter(handle(Id, Run), Told) end,
    Answer = Request(),
    modelled(Modelled, Answer, remember(Request, Answer, Expected =:= ok, Run)).

%% Whoever had it before may die.
transfer(Id, none, #run{model = Model, owners = Owners} = Run) ->
    Owner = owner(),
    Options = with_id(#{}, Run),
    Request = fun() -> cost_ledger:transfer(handle(Id, Run), Owner, Options) end,
    Answer = Request(),
    stop_owner(maps:get(Id, Owners)),
    {ok, Answer, remember(Request, Answer, true,
                          Run#run{model = unchanged(Model), owners = Owners#{Id => Owner}})}.

die(Id, none, #run{model = Model, owners = Owners} = Run) ->
    stop_owner(maps:get(Id, Owners)),
    Next = cost_ledger_budget_model:owner_died(Id, Model),
    ok = until_holds(Next, Run),
    {ok, ok, Run#run{model = Next}}.

handle(Id, #run{holds = Holds}) -> maps:get(Id, Holds).

reset(#{name := Name, scope := Scope}, Names, #run{ledger = Ledger, model = Model} = Run) ->
    Whole = with_id(#{by => model, reason => "test"}, Run),
    case is_map(Scope) andalso lists:member(each, maps:values(Scope)) andalso Names =/= all of
        true ->
            Values = maps:merge(maps:with(maps:keys(Scope), attributes(Names)),
                                maps:filter(fun(_, Value) -> Value =/= each end, Scope)),
            requested(cost_ledger_budget_model:reset(Name, Values, Model),
                      fun() -> cost_ledger:reset(Ledger, Name, Whole#{scope => Values}) end, Run);
        false ->
            requested(cost_ledger_budget_model:reset(Name, all, Model),
                      fun() -> cost_ledger:reset(Ledger, Name, Whole) end, Run)
    end.

%% Orphans lose their owner while the ledger is closed.
reopen(Orphans, #run{ledger = Ledger, directory = Directory, model = Model} = Run) ->
    Stopped = cost_ledger:stop(Ledger),
    [stop_owner(maps:get(Id, Run#run.owners)) || Id <- Orphans],
    Opened = cost_ledger_test:open(Ledger, Directory, #{}),
    Subscribed = cost_ledger:subscribe(Ledger),
    Next = cost_ledger_budget_model:reopen(Orphans, Model),
    ok = until_holds(Next, Run),
    throw_if(reopen, everything(Run#run{model = Next})),
    {{ok, Ledger, ok}, {Stopped, Opened, Subscribed},
     Run#run{model = Next, unheard = cost_ledger_budget_model:messages(Next)}}.

%%% Owners -------------------------------------------------------------------------------------

owner() ->
    Runner = self(),
    spawn(fun() ->
                  Monitor = erlang:monitor(process, Runner),
                  receive {'DOWN', Monitor, _, _, _} -> ok end
          end).

%% When it returns nobody can find it alive.
stop_owner(Pid) ->
    Monitor = erlang:monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Monitor, _, _, _} -> ok end.

%% Until the ledger has noticed who is gone; then until that commit is over.
until_holds(Model, #run{ledger = Ledger}) ->
    Expected = cost_ledger_budget_model:live(Model),
    until_holds(Ledger, Expected, 5000),
    cost_ledger:advance_clock(Ledger, 0).

until_holds(Ledger, Expected, Tries) ->
    case live(Ledger) of
        Expected -> ok;
        _ when Tries > 0 -> timer:sleep(1), until_holds(Ledger, Expected, Tries - 1);
        Given -> throw({differs, holds, [{expected, Expected}, {given, Given}]})
    end.

live(Ledger) ->
    {ok, Holds} = cost_ledger:holds(Ledger),
    lists:sort([Id || #{id := Id} <- Holds]).

%%% Messages -----------------------------------------------------------------------------------

%% So many, which may still be on their way, and whatever else is there.
heard(Count) ->
    Timeout = case Count > 0 of
                  true -> 2000;
                  false -> 0
              end,
    lists:sort(heard_in(Count, Timeout)).

heard_in(Count, Timeout) ->
    receive
        {cost_ledger, _Ledger, {budget_warning, Warning}} ->
            Keys = [rule, scope, threshold, used, limit, percent],
            [{budget_warning, maps:with(Keys, Warning)} | heard(Count - 1)];
        {cost_ledger, _Ledger, Message} ->
            [Message | heard(Count - 1)]
    after Timeout -> []
    end.

unexpected(#run{unheard = Unheard}) ->
    differ([messages_at_the_end], [], heard(0) -- Unheard).

%%% The ledger and the model -------------------------------------------------------------------

%% After every command: what it was about, and another part of the rest each time.
some(Command, #run{steps = Steps} = Run) ->
    Attempts = lists:usort([attributes(Names) || Names <- about(Command)]
                           ++ [pick(Steps, all_attempts())]),
    basics(Run)
        ++ lists:append([of_attempt(Attributes, Run) || Attributes <- Attempts])
        ++ of_scope(pick(Steps, all_scopes()), Run)
        ++ of_account(pick(Steps, all_accounts()), Run).

about({record, Names, _, _}) -> [Names];
about({reserve, _, Names, _, _, _, _}) -> [Names];
about({check, _, Names, _, _}) -> [Names];
about(_Command) -> [].

everything(#run{} = Run) ->
    basics(Run)
        ++ lists:append([of_attempt(Attributes, Run) || Attributes <- all_attempts()])
        ++ lists:append([of_scope(Scope, Run) || Scope <- all_scopes()])
        ++ lists:append([of_account(Account, Run) || Account <- all_accounts()])
        ++ of_history(Run).

all_attempts() ->
    [attributes({State, Org, User}) || State <- ?STATES, Org <- [none | ?ORGS],
                                       User <- [none | ?USERS]].

all_scopes() ->
    [attributes({State, Org, User}) || State <- [none | ?STATES], Org <- [none | ?ORGS],
                                       User <- [none | ?USERS]].

all_accounts() ->
    [account(attributes(Names)) || Names <- [{none, none, none}, {executing, none, none}]
                                       ++ [{none, Org, none} || Org <- ?ORGS]
                                       ++ [{none, none, User} || User <- ?USERS]
                                       ++ [{none, Org, User} || Org <- ?ORGS, User <- ?USERS]].

basics(#run{ledger = Ledger, model = Model} = Run) ->
    of_stats(Run)
        ++ differ([holds], cost_ledger_budget_model:live(Model), live(Ledger))
        ++ of_holds(Run)
        ++ differ([budget_status, all], cost_ledger_budget_model:status(all, Model),
                  cost_ledger:budget_status(Ledger, all))
        ++ lists:append([differ([check_budget, State], cost_ledger_budget_model:gate(State, Model),
                                cost_ledger:check_budget(Ledger, State)) || State <- ?STATES]).

of_stats(#run{ledger = Ledger, model = Model}) ->
    Expected = #{ledger_time => cost_ledger_budget_model:now_us(Model) div 1000,
                 hourly => cost_ledger_budget_model:counts(?HOUR, Model),
                 daily => cost_ledger_budget_model:counts(?DAY, Model),
                 session => cost_ledger_budget_model:counts(infinity, Model)},
    differ([stats], Expected, cost_ledger:stats(Ledger)).

of_holds(#run{ledger = Ledger, model = Model, holds = Handles}) ->
    {ok, Holds} = cost_ledger:holds(Ledger),
    lists:append([differ([holds, Id], cost_ledger_budget_model:hold(Id, Model), Hold)
                  ++ differ([hold_info, Id], {ok, Hold}, cost_ledger:hold_info(Handle))
                  || #{id := Id} = Hold <- Holds, #{Id := Handle} <- [Handles]]).

%% Only a run has no state.
of_attempt(Attributes, Run) when not is_map_key(state, Attributes) ->
    of_attempt_as_it_is(Attributes#{kind => run}, Run);
of_attempt(Attributes, Run) ->
    of_attempt_as_it_is(Attributes, Run).

of_attempt_as_it_is(Attributes, #run{ledger = Ledger, model = Model}) ->
    differ([check, Attributes], cost_ledger_budget_model:check(Attributes, Model),
           normal(cost_ledger:check(Ledger, Attributes))).

of_scope(Scope, #run{ledger = Ledger, model = Model}) ->
    case map_size(Scope) of
        0 -> [];
        _ -> differ([budget_status, Scope], cost_ledger_budget_model:status(Scope, Model),
                    cost_ledger:budget_status(Ledger, Scope))
    end.

of_account(Account, #run{ledger = Ledger, model = Model}) ->
    differ([balance, Account], {ok, cost_ledger_budget_model:balance(Account, Model)},
           cost_ledger:balance(Ledger, Account)).

of_history(#run{ledger = Ledger, model = Model}) ->
    Expected = cost_ledger_budget_model:history(Model),
    Keys = [id, timestamp, state, org, user, status, cost, credits, tokens, overrun],
    Given = [maps:with(Keys, maps:merge(#{overrun => false}, Record))
             || Record <- cost_ledger:history(Ledger, #{limit => 1 bsl 40})],
    differ([history], Expected, Given).

%% An error without its text.
normal({error, {budget_exhausted, #{rules := Rules} = Denial}} = Denied) ->
    HeldUntil = [At || #{held_until := At} <- Rules, At =/= none],
    Expected = case HeldUntil of
                   [] -> none;
                   _ -> lists:min(HeldUntil)
               end,
    case Denial of
        #{held_until := Expected} -> Denied;
        _ -> {held_until_is_not_the_earliest, Denied}
    end;
normal({error, {Name, Text}}) when is_binary(Text) -> {error, Name};
normal({error, {Name, _Path, Text}}) when is_binary(Text) -> {error, Name};
normal(Answer) -> Answer.

%% [] or what differs, with the way to it. Of a map only what is expected is looked at.
differ(Path, {error, {budget_exhausted, Expected}}, {error, {budget_exhausted, Given}}) ->
    differ(Path, Expected, Given);
differ(Path, {ok, Expected}, {ok, Given}) ->
    differ(Path, Expected, Given);
differ(Path, #{} = Expected, #{} = Given) ->
    lists:append([differ(Path ++ [Key], Value, maps:get(Key, Given, missing))
                  || {Key, Value} <- lists:sort(maps:to_list(Expected))]);
differ(Path, [#{rule := _} | _] = Expected, Given) ->
    differ_in_rules(Path, Expected, Given);
differ(Path, [#{} | _] = Expected, [#{} | _] = Given) when length(Expected) =:= length(Given) ->
    Numbers = lists:seq(1, length(Expected)),
    lists:append([differ(Path ++ [Number], Each, Other)
                  || {Number, Each, Other} <- lists:zip3(Numbers, Expected, Given)]);
differ(_Path, {between, Low, High}, Given) when is_integer(Given), Given >= Low, Given =< High ->
    [];
differ(_Path, unspecified, _Given) ->
    [];
differ(_Path, Same, Same) ->
    [];
differ(Path, Expected, Given) ->
    [{Path, {expected, Expected}, {given, Given}}].

%% In whichever order they come.
differ_in_rules(Path, Expected, Given) ->
    Names = [Name || #{rule := Name} <- Expected],
    case is_list(Given) andalso [Name || #{rule := Name} <- Given] of
        Told when is_list(Told), length(Told) =:= length(Names) ->
            lists:append([differ(Path ++ [maps:get(rule, Each)], Each, Other)
                          || {Each, Other} <- lists:zip(by_rule(Expected), by_rule(Given))]);
        _ ->
            [{Path, {expected, Expected}, {given, Given}}]
    end.

by_rule(Rules) ->
    lists:sort(fun(#{rule := A}, #{rule := B}) -> A =< B end, Rules).

%%% When a denial ends -------------------------------------------------------------------------

rolling_windows_reset_when_they_say(Config) ->
    resets(Config, {rolling, proper_types:oneof([1, ?SECOND, ?HOUR, 40 * ?DAY,
                                                 proper_types:integer(1, 100000)])}).

days_reset_when_they_say(Config) ->
    resets(Config, {calendar, day, proper_types:integer(-72, 72)}).

weeks_reset_when_they_say(Config) ->
    resets(Config, {calendar, week, proper_types:integer(-72, 72)}).

months_reset_when_they_say(Config) ->
    resets(Config, {calendar, month, proper_types:integer(-72, 72)}).

lifetimes_never_reset(Config) ->
    resets(Config, lifetime).

resets(Config, Window) ->
    Property = proper:forall(resets_history(Window),
                             fun(History) ->
                                     try run_resets(Config, History) of
                                         ok -> true
                                     catch _:_ -> false
                                     end
                             end),
    case proper:quickcheck(Property, [{numtests, tests()}, quiet, long_result]) of
        true -> ok;
        [Counterexample] ->
            ct:pal("counterexample: ~tp", [Counterexample]),
            run_resets(Config, Counterexample),
            ct:fail({not_reproduced, Counterexample})
    end.

%% The first rule has the window. What it denies should seldom be denied by others for ever.
resets_history(Window) ->
    {start(), [{scope(), measure(), Window}, {scope(), measure(), window_that_ends()}],
     proper_types:frequency([{3, [first_rule()]}, {1, [first_rule(), {1, limit(), options()}]}]),
     proper_types:resize(40, proper_types:list(resets_command()))}.

window_that_ends() ->
    proper_types:oneof([{rolling, proper_types:oneof([?MINUTE, ?DAY])},
                        {calendar, proper_types:oneof([day, week, month]),
                         proper_types:integer(-72, 72)}]).

first_rule() ->
    {0, proper_types:integer(5, 25),
     [{soft, proper_types:frequency([{3, none}, {1, proper_types:integer(50, 99)}])},
      {on_exhausted, proper_types:frequency([{5, deny}, {1, degrade}])}]}.

%% Holds outlive it all. What is reserved says all amounts: else a default or an error would answer.
resets_command() ->
    proper_types:frequency(
      [{12, {spend, names(), status(), booked()}},
       {2, {hold, names(), said()}},
       {2, {settle, nth(), usage()}},
       {4, {advance, proper_types:oneof([1, ?SECOND, 10 * ?MINUTE, ?HOUR, ?DAY,
                                         proper_types:integer(0, 1000)])}},
       {4, {ask, check, names(), asked(), proper_types:boolean()}},
       {4, {ask, reserve, names(), said(), proper_types:boolean()}},
       {3, {gate, proper_types:oneof(?STATES)}}]).

said() ->
    Amount = proper_types:integer(0, 9),
    {Amount, Amount, Amount}.

run_resets(Config, {Start, Shapes, Specs, Commands}) ->
    Ledger = list_to_atom("budget_resets_" ++ integer_to_list(erlang:phash2({self(), Config}))),
    Directory = cost_ledger_test:directory(Config),
    Ledger = cost_ledger_test:open(Ledger, Directory,
                                   #{rules => rules(Specs, Shapes), series => ?SERIES}),
    try
        ok = cost_ledger:set_clock(Ledger, Start),
        _ = lists:foldl(fun(Command, Holds) -> resets_step(Command, Ledger, Holds) end, [],
                        Commands),
        ok
    after
        _ = cost_ledger:stop(Ledger),
        cost_ledger_test:remove(Directory)
    end.

resets_step({spend, Names, Status, Amounts}, Ledger, Holds) ->
    #{state := State} = Attributes = attributes(Names),
    Meta = maps:merge(maps:remove(state, Attributes), usage({Status, Amounts})),
    ok = cost_ledger:record_invocation(Ledger, State, Meta),
    Holds;
resets_step({hold, Names, Amounts}, Ledger, Holds) ->
    case cost_ledger:reserve(Ledger, (attempt(invocation, Names, Amounts))
                             #{deadline_ms => ?LONG_MS, critical => true}) of
        {ok, Hold} -> [Hold | Holds];
        {error, {budget_exhausted, _}} -> Holds
    end;
resets_step({settle, Nth, Usage}, _Ledger, Holds) ->
    case pick(Nth, Holds) of
        none -> Holds;
        Hold -> {ok, _} = cost_ledger:settle(Hold, usage(Usage)), lists:delete(Hold, Holds)
    end;
resets_step({advance, Ms}, Ledger, Holds) ->
    ok = cost_ledger:advance_clock(Ledger, Ms),
    Holds;
resets_step({ask, How, Names, Amounts, Critical}, Ledger, Holds) ->
    Attrs = (attempt(invocation, Names, Amounts))#{critical => Critical},
    ok = ends_when_told(Ledger, fun() -> asked(How, Ledger, Attrs) end),
    Holds;
resets_step({gate, State}, Ledger, Holds) ->
    ok = ends_when_told(Ledger, fun() -> asked_at_the_gate(Ledger, State) end),
    Holds.

%% `admitted`, or when it will be.
asked(check, Ledger, Attrs) ->
    case cost_ledger:check(Ledger, Attrs) of
        {ok, _} -> admitted;
        {error, {budget_exhausted, #{resets_at := At}}} -> At
    end;
asked(reserve, Ledger, Attrs) ->
    case cost_ledger:reserve(Ledger, Attrs) of
        {ok, Hold} -> _ = cost_ledger:release(Hold), admitted;
        {error, {budget_exhausted, #{resets_at := At}}} -> At
    end.

%% The gate says no more than that; what it goes by is told by the status of its rules.
asked_at_the_gate(Ledger, State) ->
    {ok, #{rules := Rules}} = cost_ledger:budget_status(Ledger, #{state => State}),
    Times = [At || #{resets_at := At, on_exhausted := deny, scope := Scope} <- Rules,
                   At =/= none, Scope =:= all orelse Scope =:= #{state => State}],
    case {cost_ledger:check_budget(Ledger, State), Times} of
        {ok, []} -> admitted;
        {budget_exhausted, [_ | _]} -> lists:max(Times)
    end.

%% Nothing is booked meanwhile, but for what is asked for and released.
ends_when_told(Ledger, Ask) ->
    #{ledger_time := Now} = cost_ledger:stats(Ledger),
    case Ask() of
        admitted ->
            ok;
        never ->
            ok = cost_ledger:advance_clock(Ledger, 90 * ?DAY),
            never = Ask(),
            ok;
        At when At > Now ->
            ok = cost_ledger:set_clock(Ledger, max(Now, Now + (At - Now) div 2)),
            at_its_end(Ledger, Ask, At)
    end.

at_its_end(Ledger, Ask, At) ->
    ok = cost_ledger:set_clock(Ledger, At - 1),
    At = Ask(),
    ok = cost_ledger:set_clock(Ledger, At),
    admitted = Ask(),
    ok.

%%% The model by itself ------------------------------------------------------------------------

-define(M, cost_ledger_budget_model).

the_model_knows_calendars(_Config) ->
    Ms = fun(Date, Time) ->
                 (calendar:datetime_to_gregorian_seconds({Date, Time})
                  - calendar:datetime_to_gregorian_seconds({{1970, 1, 1}, {0, 0, 0}})) * 1000
         end,
    Noon = Ms({2024, 2, 29}, {12, 0, 0}), % a Thursday
    Midnight = fun(Date, Offset) -> Ms(Date, {0, 0, 0}) - Offset * 60000 end,
    [?assertEqual({Period, {Midnight(From, Offset), Midnight(To, Offset)}},
                  {Period, ?M:period(Unit, Offset, At)})
     || {Unit, Offset, At, From, To} = Period <-
            [{day, 0, Noon, {2024, 2, 29}, {2024, 3, 1}},
             {day, 0, Ms({2024, 2, 29}, {0, 0, 0}), {2024, 2, 29}, {2024, 3, 1}},
             {day, 0, Ms({2024, 2, 29}, {0, 0, 0}) - 1, {2024, 2, 28}, {2024, 2, 29}},
             {day, 780, Noon, {2024, 3, 1}, {2024, 3, 2}},
             {day, -780, Noon, {2024, 2, 28}, {2024, 2, 29}},
             {week, 0, Noon, {2024, 2, 26}, {2024, 3, 4}},
             {week, 60, Ms({2024, 3, 3}, {23, 0, 0}), {2024, 3, 4}, {2024, 3, 11}},
             {month, 0, Noon, {2024, 2, 1}, {2024, 3, 1}},
             {month, 720, Noon, {2024, 3, 1}, {2024, 4, 1}},
             {month, 0, Ms({2023, 12, 31}, {23, 59, 59}), {2023, 12, 1}, {2024, 1, 1}},
             {day, -15, 0, {1969, 12, 31}, {1970, 1, 1}},
             {month, -15, 0, {1969, 12, 1}, {1970, 1, 1}},
             {week, 0, 0, {1969, 12, 29}, {1970, 1, 5}}]],
    ok.

the_model_counts_windows(_Config) ->
    Rules = [plain(rolling, cost, {rolling, 100}, 10), plain(day, cost, {calendar, day, 60}, 10),
             plain(life, cost, lifetime, 10), plain(count, invocations, lifetime, infinity),
             plain(done, completed_cost, lifetime, infinity),
             plain(tokens, tokens, lifetime, infinity)],
    Model = play([{set_clock, 23 * ?HOUR - 50},
                  {record, #{state => executing},
                   #{cost => 3, tokens => #{input => 2, output => 5}}},
                  {record, #{state => executing}, #{cost => 1, status => failed}},
                  {advance, 50}], Rules),
    Names = [rolling, day, life, count, done, tokens],
    Used = fun(Of) -> [told(Name, used, Of) || Name <- Names] end,
    ?assertEqual([4, 0, 4, 2, 3, 7], Used(Model)),
    ?assertEqual([4, 0, 4, 2, 3, 7], Used(play([{advance, 50}], Model))),
    ?assertEqual([0, 0, 4, 2, 3, 7], Used(play([{advance, 51}], Model))),
    ?assertEqual({23 * ?HOUR, 47 * ?HOUR}, told(day, period, Model)).

the_model_decides(_Config) ->
    Rules = [(plain(a, cost, {rolling, 100}, 10))#{soft => 50, warn => [50, 90]},
             (plain(b, credits, lifetime, 4))#{on_exhausted => degrade}],
    Spent = play([{set_clock, 1000}, {record, #{state => executing}, #{cost => 4, credits => 4}}],
                 Rules),
    Attempt = #{state => executing, credits => 0},
    ?assertEqual({ok, #{tier => normal, level => exhausted}}, ?M:check(Attempt#{cost => 1}, Spent)),
    ?assertEqual({ok, #{tier => low, level => exhausted}},
                 ?M:check(Attempt#{cost => 1, credits => 1}, Spent)),
    ?assertMatch({error, {budget_exhausted,
                          #{tier := normal, resets_at := 1101,
                            rules := [#{rule := a, reason := soft, amount := 2, remaining := 6,
                                        percent := 40, level := normal}]}}},
                 ?M:check(Attempt#{cost => 2}, Spent)),
    ?assertMatch({ok, _}, ?M:check(Attempt#{cost => 6, critical => true}, Spent)),
    ?assertMatch({error, {budget_exhausted, #{resets_at := 1101, rules := [#{reason := limit}]}}},
                 ?M:check(Attempt#{cost => 7, critical => true}, Spent)),
    ?assertMatch({error, {budget_exhausted, #{resets_at := never}}},
                 ?M:check(Attempt#{cost => 11, critical => true}, Spent)),
    ?assertMatch({{error, {budget_exhausted, #{tier := low, resets_at := never}}}, _},
                 ?M:reserve(Attempt#{cost => 1, credits => 1, deadline_ms => 1}, Spent)),
    ?assertMatch({{error, estimate_required}, _},
                 ?M:reserve(#{state => executing, cost => 1, deadline_ms => 1}, Spent)),
    ?assertEqual(ok, ?M:gate(executing, Spent)),
    ?assertEqual(budget_exhausted,
                 ?M:gate(executing, play([{record, #{state => executing}, #{cost => 1}}], Spent))).

the_model_lends_to_children(_Config) ->
    Rules = [plain(a, cost, lifetime, 12)],
    Run = play([{set_clock, 1000}, {reserve, #{kind => run, org => <<"o1">>, cost => 10}}], Rules),
    [Parent] = ?M:live(Run),
    Child = #{state => executing, org => <<"o1">>, parent => Parent},
    One = play([{reserve, Child#{cost => 4}}], Run),
    ?assertEqual({0, 10, 2}, in_use(a, One)),
    Two = play([{reserve, Child#{cost => 7}}], One),
    ?assertEqual({0, 11, 1}, in_use(a, Two)),
    {{error, {budget_exhausted, #{rules := [#{amount := Asked}]}}}, _} =
        ?M:reserve(Child#{cost => 9, deadline_ms => 1}, One),
    ?assertEqual(3, Asked),
    [Parent, First, Second] = ?M:live(Two),
    ?assertMatch({{error, open_children}, _}, ?M:settle(Parent, #{cost => 1}, Two)),
    %% What it drew goes back, and what it spent is taken from there.
    Back = play([{settle, First, #{cost => 1}}], Two),
    ?assertEqual({1, 10, 1}, in_use(a, Back)),
    Beyond = play([{settle, Second, #{cost => 8}}], Back),
    ?assertEqual({9, 1, 2}, in_use(a, Beyond)),
    %% And the run books what they have not.
    Ended = play([{settle, Parent, #{cost => 11, credits => 3}}], Beyond),
    ?assertEqual({11, 0, 1}, in_use(a, Ended)).

the_model_ends_holds(_Config) ->
    Rules = [plain(a, cost, lifetime, 20), plain(t, tokens, lifetime, infinity)],
    Attempt = #{state => executing, cost => 5, tokens => 7, deadline_ms => 10},
    Held = play([{set_clock, 1000}, {reserve, Attempt}, {reserve, Attempt#{deadline_ms => 5}}],
                Rules),
    [First, Second] = ?M:live(Held),
    ?assertEqual([First, Second], ?M:live(play([{advance, 4}], Held))),
    ?assertEqual([First], ?M:live(play([{advance, 5}], Held))),
    Metered = play([{advance, 4}, {meter, Second, #{cost => 2}}, {advance, 4}], Held),
    ?assertEqual([First, Second], ?M:live(Metered)),
    Ended = play([{advance, 2}], Metered),
    ?assertEqual([], ?M:live(Ended)),
    ?assertEqual(7, told(a, used, Ended)),
    ?assertEqual(14, told(t, used, Ended)),
    ?assertMatch([#{status := aborted, cost := 5, tokens := #{input := 7}, id := 1010001},
                  #{status := aborted, cost := 2, tokens := #{input := 7}, id := 1010000}],
                 ?M:history(Ended)),
    ?assertMatch([#{status := aborted, cost := 5, id := 1000002}],
                 ?M:history(play([{die, First}], Held))),
    ?assertMatch({{error, resolved}, _}, ?M:release(First, Ended)).

the_model_corrects(_Config) ->
    Rules = [plain(a, cost, lifetime, 6), plain(d, completed_cost, lifetime, infinity),
             plain(n, completed_invocations, lifetime, infinity),
             plain(t, tokens, lifetime, infinity)],
    Held = play([{set_clock, 1000}, {reserve, #{state => executing, cost => 5, tokens => 7}}],
                Rules),
    [Id] = ?M:live(Held),
    Died = play([{die, Id}], Held),
    Used = fun(Model) -> [told(Name, used, Model) || Name <- [a, d, n, t]] end,
    ?assertEqual([5, 0, 0, 7], Used(Died)),
    {{ok, #{late := true, overrun := true}}, More} =
        ?M:settle(Id, #{cost => 7, tokens => #{output => 3}}, Died),
    ?assertEqual([7, 7, 1, 10], Used(More)),
    ?assertMatch({{error, resolved}, _}, ?M:settle(Id, #{cost => 7}, More)),
    {{ok, #{late := true, overrun := false}}, Less} =
        ?M:settle(Id, #{cost => 2, status => completed}, Died),
    ?assertEqual([5, 2, 1, 7], Used(Less)),
    {{ok, #{late := true}}, Failed} = ?M:settle(Id, #{cost => 6, status => failed}, Died),
    ?assertEqual([6, 0, 0, 7], Used(Failed)).

the_model_uses_up_grants(_Config) ->
    Rules = [(plain(a, credits, lifetime, granted))#{grace => 2, soft => 80}],
    Spend = fun(Credits) -> {record, #{state => executing}, #{credits => Credits}} end,
    Bought = play([{set_clock, 1000}, {grant, all, credits, 10}, {grant, all, credits, 5}], Rules),
    ?assertEqual({0, 0, 15},
                 {told(a, used, Bought), told(a, percent, Bought), told(a, limit, Bought)}),
    ?assertMatch({ok, _}, ?M:check(#{state => executing, credits => 12}, Bought)),
    ?assertMatch({error, {_, #{rules := [#{reason := soft}]}}},
                 ?M:check(#{state => executing, credits => 13}, Bought)),
    UsedUp = play([Spend(10)], Bought),
    ?assertEqual(0, told(a, percent, UsedUp)),
    ?assertMatch(#{credits := #{balance := 5, grants := [#{amount := 5, remaining := 5}]}},
                 ?M:balance(all, UsedUp)),
    Half = play([Spend(2)], UsedUp),
    ?assertEqual({40, 3}, {told(a, percent, Half), told(a, remaining, Half)}),
    TakenBack = play([{grant, all, credits, -1}], Half),
    ?assertEqual({60, 2}, {told(a, percent, TakenBack), told(a, remaining, TakenBack)}),
    Overdrawn = play([Spend(4)], TakenBack),
    ?assertEqual({100, -2, exhausted},
                 {told(a, percent, Overdrawn), told(a, remaining, Overdrawn),
                  told(a, level, Overdrawn)}).

the_model_warns_once(_Config) ->
    Rules = [(plain(a, cost, {rolling, 100}, 10))#{warn => [50, 100]}],
    Spend = fun(Cost) -> {record, #{state => executing}, #{cost => Cost}} end,
    Thresholds = fun(Of) ->
                         lists:sort([T || {budget_warning, #{threshold := T}} <- ?M:messages(Of)])
                 end,
    Five = play([{set_clock, 1000}, Spend(5)], Rules),
    ?assertEqual([50], Thresholds(Five)),
    Nine = play([{advance, 50}, Spend(4)], Five),
    ?assertEqual([], Thresholds(Nine)),
    ?assertEqual([100], Thresholds(play([Spend(1)], Nine))),
    %% Five of them leave: four are left.
    ?assertEqual([], Thresholds(play([{advance, 51}], Nine))),
    ?assertEqual([50], Thresholds(play([{advance, 51}, Spend(1)], Nine))),
    Changed = [(plain(a, cost, {rolling, 100}, 11))#{warn => [50, 100]}],
    ?assertEqual([50], Thresholds(play([{set_rules, Changed}, Spend(1)], Nine))).

the_model_replaces_rules(_Config) ->
    Rule = fun(Name, Scope, Limit) -> (plain(Name, cost, lifetime, Limit))#{scope => Scope} end,
    Rules = [Rule(each, #{user => each}, 5), Rule(one, #{user => <<"u1">>}, 9),
             (Rule(both, #{org => <<"o1">>, user => each}, 3))#{require => true, max_values => 1}],
    Model = play([{set_clock, 1000}], Rules),
    Names = fun(Attempt) ->
                    {ok, #{rules := Told}} = ?M:status(Attempt, Model),
                    lists:sort([Name || #{rule := Name} <- Told])
            end,
    ?assertEqual([both, one], Names(#{user => <<"u1">>})),
    ?assertEqual([both, each], Names(#{user => <<"u2">>})),
    ?assertEqual([each], Names(#{org => <<"o2">>, user => <<"u2">>})),
    ?assertMatch({error, {_, #{resets_at := never,
                               rules := [#{rule := both, reason := required}]}}},
                 ?M:check(#{state => executing, user => <<"u1">>, cost => 1}, Model)),
    Full = play([{record, #{state => executing, org => <<"o1">>, user => <<"u1">>}, #{}}], Model),
    ?assertMatch({error, {_, #{rules := [#{rule := both, reason := too_many_values}]}}},
                 ?M:check(#{org => <<"o1">>, user => <<"u2">>, cost => 1}, Full)),
    ?assertMatch({ok, _}, ?M:check(#{org => <<"o1">>, user => <<"u1">>, cost => 1}, Full)).

plain(Name, Measure, Window, Limit) ->
    #{name => Name, scope => all, measure => Measure, window => Window, limit => Limit}.

told(Name, Key, Model) ->
    {ok, #{rules := Rules}} = ?M:status(all, Model),
    [Value] = [Value || #{rule := Told, Key := Value} <- Rules, Told =:= Name],
    Value.

in_use(Name, Model) ->
    {told(Name, used, Model), told(Name, held, Model), told(Name, remaining, Model)}.

%% From rules, or from a model on.
play(Commands, [_ | _] = Rules) -> play(Commands, ?M:new(Rules, []));
play(Commands, Model) -> lists:foldl(fun played/2, Model, Commands).

played({set_clock, Ms}, Model) -> second({ok, _} = ?M:set_clock(Ms, Model));
played({advance, Ms}, Model) -> second(?M:advance(Ms, Model));
played({record, Names, Meta}, Model) -> second(?M:record(Names, Meta, Model));
played({reserve, Attrs}, Model) ->
    second({{ok, _}, _} = ?M:reserve(maps:merge(#{deadline_ms => ?DAY}, Attrs), Model));
played({settle, Id, Usage}, Model) -> second({{ok, _}, _} = ?M:settle(Id, Usage, Model));
played({meter, Id, Usage}, Model) -> second({ok, _} = ?M:meter(Id, Usage, Model));
played({die, Id}, Model) -> ?M:owner_died(Id, Model);
played({grant, Account, Measure, Amount}, Model) ->
    second(?M:grant(Account, Measure, {Amount, purchase}, Model));
played({set_rules, Rules}, Model) -> second(?M:set_rules(Rules, Model)).

second({_Answer, Model}) -> Model.
