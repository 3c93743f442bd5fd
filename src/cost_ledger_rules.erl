%%% The rules of a policy as the API writes them, and as the ledger stores them. Pure functions.
%%%
%%% What is stored has binaries for keys and words, and `nil` for `each` and for `infinity`: neither
%%% can be taken for a value of that name. A key at its default is the same as one left out.
-module(cost_ledger_rules).

-include("cost_ledger.hrl").

-export([check/2, from_stored/1, states_named/1, dimensions/0, of_series/0, check_series/1]).
-export([answer/1, refuse/2]). % for cost_ledger_settings
-export_type([rule/0, stored/0, path/0]).

-type path() :: [term()].
-type dimension() :: state | org | project | user | agent | model | provider | prompt_type.
-type measure() :: invocations | completed_invocations | cost | completed_cost | credits
                 | completed_credits | tokens.
-type window() :: {rolling, pos_integer()} | {calendar, day | week | month, integer()} | lifetime.
%% States are atoms where the VM has them.
-type scope() :: all | #{dimension() => each | atom() | binary()}.
-type rule() :: #{name := binary(), scope := scope(), measure := measure(), window := window(),
                  limit := non_neg_integer() | infinity | granted,
                  warn => [1..100], soft => 1..99, on_exhausted => degrade | warn,
                  grace => pos_integer(), require => true, default_estimate => pos_integer(),
                  max_values => pos_integer()}.
-type stored() :: #{binary() => term()}.

-define(RULES_MAX, 4096).
-define(SERIES_MAX, 63).
%% The core's, in policy.h: every one of them is asked about every attempt.
-define(EACH_MAX, 256).
-define(RULE_NAME_BYTES_MAX, 1029).
-define(VALUE_BYTES_MAX, 65535).
-define(STATE_BYTES_MAX, 1020).
-define(THRESHOLDS_MAX, 8).
-define(VALUES_MAX, 1000000000).
-define(OFFSET_MAX, 1080).

-define(DIMENSIONS, [{state, 1}, {org, 2}, {project, 3}, {user, 4}, {agent, 5}, {model, 6},
                     {provider, 7}, {prompt_type, 9}]).
%% Nobody knows the status of an attempt: it tells what was booked apart, and limits nothing.
-define(OF_SERIES, [{state, 1}, {org, 2}, {project, 3}, {user, 4}, {agent, 5}, {model, 6},
                    {provider, 7}, {status, 8}, {prompt_type, 9}]).
-define(MEASURES, [invocations, completed_invocations, cost, completed_cost, credits,
                   completed_credits, tokens]).
-define(GRANTED_MEASURES, [<<"cost">>, <<"completed_cost">>, <<"credits">>,
                           <<"completed_credits">>]).
-define(INVOCATION_MEASURES, [<<"invocations">>, <<"completed_invocations">>]).
-define(REQUIRED, [name, scope, measure, window, limit]).
-define(DEFAULTS, [{warn, []}, {soft, none}, {on_exhausted, deny}, {grace, 0}, {require, false},
                   {default_estimate, none}, {max_values, 100000}]).

-spec dimensions() -> [{dimension(), Number :: pos_integer()}].
dimensions() -> ?DIMENSIONS.

%% Those that series may be of, too.
-spec of_series() -> [{dimension() | status, Number :: pos_integer()}].
of_series() -> ?OF_SERIES.

%%% From the API -------------------------------------------------------------------------------

%% The path names the offending part: [rules, <<"acme month">>, limit].
-spec check(Rules :: term(), #{states := [binary()], series := [[atom()]], _ => _}) ->
          {ok, [stored()]} | {error, path(), Text :: binary()}.
check(Rules, #{states := States, series := Series}) ->
    Context = #{states => maps:from_keys(States, declared),
                series => maps:from_keys([[state] | [lists:usort(S) || S <- Series]], declared)},
    answer(fun() -> rules(Rules, Context) end).

rules(Rules, Context) when length(Rules) =< ?RULES_MAX ->
    Stored = [rule(Rule, Index, Context) || {Index, Rule} <- lists:enumerate(Rules)],
    _ = lists:foldl(fun(#{<<"name">> := Name}, Seen) -> unseen(Name, Seen) end, #{}, Stored),
    ok = not_too_many(length([each || #{<<"scope">> := Scope} <- Stored, has_each(Scope)])),
    Stored;
rules(Rules, _Context) when length(Rules) > ?RULES_MAX ->
    refuse([rules], ["a ledger has at most 4096 rules, not ", integer_to_list(length(Rules))]);
rules(Other, _Context) ->
    refuse([rules], ["rules must be a list of maps, not ", cost_ledger_error:describe(Other)]).

not_too_many(Each) when Each > ?EACH_MAX ->
    refuse([rules], ["a ledger has at most 256 rules with each, not ", integer_to_list(Each)]);
not_too_many(_Each) ->
    ok.

has_each(Scope) ->
    lists:member(nil, maps:values(Scope)).

unseen(Name, Seen) when is_map_key(Name, Seen) ->
    refuse([rules, Name, name], ["two rules are named ", Name, ": give each a name of its own"]);
unseen(Name, Seen) ->
    Seen#{Name => seen}.

rule(Given, Index, Context) ->
    Rule = rule_map(Given, Index),
    Path = [rules, label(maps:get(name, Rule, undefined), Index)],
    ok = known_keys(Rule, Path),
    ok = required_keys(Rule, Path),
    #{name := Name, scope := Scope, measure := Measure, window := Window, limit := Limit} = Rule,
    Stored = #{<<"name">> => name(Name, Path ++ [name]),
               <<"scope">> => scope(Scope, Path ++ [scope], Context),
               <<"measure">> => measure(Measure, Path ++ [measure]),
               <<"window">> => window(Window, Path ++ [window]),
               <<"limit">> => limit(Limit, Path ++ [limit])},
    ok = granted(Stored, Path ++ [limit]),
    thresholds(lists:foldl(fun(Option, Acc) -> option(Option, Rule, Acc, Path) end,
                           Stored, ?DEFAULTS)).

rule_map(Given, Index) ->
    case cost_ledger_value:pairs(Given) of
        {ok, Rule} ->
            Rule;
        {twice, Key} ->
            %% A list of pairs, so keyfind finds what it has for a name.
            Name = element(2, lists:keyfind(name, 1, Given ++ [{name, undefined}])),
            refuse([rules, label(Name, Index), Key],
                   ["the rule has ", cost_ledger_error:describe(Key), " twice: write it once"]);
        not_pairs ->
            refuse([rules, Index],
                   ["a rule must be a map of name, scope, measure, window and limit, not ",
                    cost_ledger_error:describe(Given)])
    end.

label(Name, Index) ->
    case name_text(Name) of
        {ok, Text} -> Text;
        {error, _} -> Index
    end.

known_keys(Rule, Path) ->
    Known = ?REQUIRED ++ [Key || {Key, _} <- ?DEFAULTS],
    case lists:sort(maps:keys(maps:without(Known, Rule))) of
        [] -> ok;
        [Key | _] -> refuse(Path ++ [Key], ["unknown key ", cost_ledger_error:describe(Key),
                                            " in a rule; known are ", words(Known)])
    end.

required_keys(Rule, Path) ->
    case [Key || Key <- ?REQUIRED, not is_map_key(Key, Rule)] of
        [] -> ok;
        [Key | _] -> refuse(Path ++ [Key], [atom_to_binary(Key), " is missing: a rule must have ",
                                            words(?REQUIRED)])
    end.

name(Given, Path) ->
    case name_text(Given) of
        {ok, Name} -> Name;
        {error, Text} -> refuse(Path, ["the name of a rule ", Text])
    end.

%% What stands for nothing, or for a flag, was hardly meant as a name.
name_text(Given) when Given =:= undefined; Given =:= nil; is_boolean(Given) ->
    {error, ["must be a word of its own, not ", atom_to_binary(Given)]};
name_text(Given) ->
    cost_ledger_value:text(Given, 1, ?RULE_NAME_BYTES_MAX).

scope(all, _Path, _Context) ->
    #{};
scope(Given, Path, #{states := States, series := Series}) ->
    case cost_ledger_value:pairs(Given) of
        {ok, Scope} when map_size(Scope) > 0 ->
            Stored = maps:from_list([dimension(Dimension, Value, Path, States)
                                     || {Dimension, Value} <- lists:sort(maps:to_list(Scope))]),
            ok = in_series(lists:sort(maps:keys(Scope)), Path, Series),
            Stored;
        {twice, Dimension} ->
            refuse(Path ++ [Dimension], ["the scope has ", cost_ledger_error:describe(Dimension),
                                         " twice: write a rule for each value"]);
        _ ->
            refuse(Path, ["scope must be all, or a map of at least one dimension, like "
                          "#{org => <<\"acme\">>}, not ", cost_ledger_error:describe(Given)])
    end.

dimension(Dimension, Given, Path, States) ->
    case {lists:keymember(Dimension, 1, ?DIMENSIONS), value(Dimension, Given)} of
        {false, _} ->
            refuse(Path ++ [Dimension], unknown_dimension(Dimension));
        {true, {error, Text}} ->
            refuse(Path ++ [Dimension], [atom_to_binary(Dimension), " ", Text]);
        {true, {ok, State}}
          when Dimension =:= state, State =/= nil, not is_map_key(State, States) ->
            Name = cost_ledger_error:describe(cost_ledger_budgets:to_atom(State)),
            refuse(Path ++ [state], ["the state ", Name, " is not declared: declare it in budgets, "
                                     "like #{", Name, " => #{}}"]);
        {true, {ok, Value}} ->
            {atom_to_binary(Dimension), Value}
    end.

%% `each` is stored as nil.
value(_Dimension, each) ->
    {ok, nil};
value(_Dimension, Absent) when Absent =:= undefined; Absent =:= nil ->
    {error, ["must have a value, not ", atom_to_binary(Absent),
             ": leave it out, or write each for a budget per value"]};
value(state, Given) ->
    case cost_ledger_value:text(Given, 1, ?STATE_BYTES_MAX) of
        {ok, <<"total">>} -> {error, "may not be total: that is the sum of all states"};
        Text -> Text
    end;
value(_Dimension, Given) ->
    cost_ledger_value:text(Given, 1, ?VALUE_BYTES_MAX).

in_series(Dimensions, _Path, Series) when is_map_key(Dimensions, Series) ->
    ok;
in_series(Dimensions, Path, _Series) ->
    Missing = ["[", words(in_order(Dimensions)), "]"],
    refuse(Path, [Missing, " is not declared as a series: declare it with the start option "
                  "series => [", Missing, "]"]).

unknown_dimension(Dimension) ->
    ["unknown dimension ", cost_ledger_error:describe(Dimension), "; known are ",
     words([Known || {Known, _} <- ?DIMENSIONS])].

in_order(Dimensions) ->
    [Dimension || {Dimension, _} <- ?OF_SERIES, lists:member(Dimension, Dimensions)].

measure(Measure, Path) ->
    case lists:member(Measure, ?MEASURES) of
        true -> atom_to_binary(Measure);
        false -> refuse(Path, ["unknown measure ", cost_ledger_error:describe(Measure),
                               "; known are ", words(?MEASURES)])
    end.

window(lifetime, _Path) ->
    [<<"lifetime">>];
window({rolling, Ms}, _Path) when is_integer(Ms), Ms >= 1, Ms =< ?AMOUNT_MAX ->
    [<<"rolling">>, Ms];
window({rolling, Other}, Path) ->
    refuse(Path, ["the length of a rolling window must be an integer from 1 to 10^15, in "
                  "milliseconds, not ", cost_ledger_error:describe(Other)]);
window({calendar, Unit, Offset}, _Path)
  when Unit =:= day orelse Unit =:= week orelse Unit =:= month,
       is_integer(Offset), abs(Offset) =< ?OFFSET_MAX, Offset rem 15 =:= 0 ->
    [atom_to_binary(Unit), Offset];
window({calendar, Unit, Other}, Path) when Unit =:= day; Unit =:= week; Unit =:= month ->
    refuse(Path, ["the offset of a calendar window is minutes east of UTC, a multiple of 15 from "
                  "-1080 to 1080, like 120 for +02:00, not ", cost_ledger_error:describe(Other)]);
window(Other, Path) ->
    refuse(Path, ["unknown window ", cost_ledger_error:describe(Other), "; known are "
                  "{rolling, Ms}, {calendar, day, Offset}, {calendar, week, Offset}, "
                  "{calendar, month, Offset} and lifetime"]).

limit(infinity, _Path) ->
    nil;
limit(granted, _Path) ->
    <<"granted">>;
limit(Limit, _Path) when is_integer(Limit), Limit >= 0, Limit =< ?AMOUNT_MAX ->
    Limit;
limit(Other, Path) ->
    refuse(Path, ["limit must be an integer from 0 to 10^15 (money in nano-units), infinity or "
                  "granted, not ", cost_ledger_error:describe(Other)]).

%% Grants are credits or money, and do not expire.
granted(#{<<"limit">> := <<"granted">>, <<"measure">> := Measure, <<"window">> := Window}, Path) ->
    case {lists:member(Measure, ?GRANTED_MEASURES), Window} of
        {false, _} ->
            refuse(Path, ["limit granted goes with measure cost, completed_cost, credits or "
                          "completed_credits, not ", Measure]);
        {true, [<<"lifetime">>]} ->
            ok;
        {true, [Other | _]} ->
            refuse(Path, ["limit granted goes with window lifetime, not ", Other,
                          ": grants do not expire"])
    end;
granted(_Stored, _Path) ->
    ok.

option({Key, Default}, Rule, Stored, Path) ->
    case maps:get(Key, Rule, Default) of
        Default -> Stored;
        Given -> Stored#{atom_to_binary(Key) => option_value(Key, Given, Stored, Path ++ [Key])}
    end.

option_value(warn, Given, _Stored, Path) when length(Given) =< ?THRESHOLDS_MAX ->
    Percents = [percent(Percent, Path) || Percent <- Given],
    case Percents -- lists:usort(Percents) of
        [] -> lists:sort(Percents);
        [Twice | _] -> refuse(Path, ["warn has ", integer_to_list(Twice), " twice"])
    end;
option_value(warn, Given, _Stored, Path) when length(Given) > ?THRESHOLDS_MAX ->
    refuse(Path, ["warn has at most 8 thresholds, not ", integer_to_list(length(Given))]);
option_value(warn, Other, _Stored, Path) ->
    refuse(Path, ["warn must be a list of percents, like [80, 95], not ",
                  cost_ledger_error:describe(Other)]);
option_value(soft, Percent, _Stored, _Path)
  when is_integer(Percent), Percent >= 1, Percent =< 99 ->
    Percent;
option_value(soft, Other, _Stored, Path) ->
    refuse(Path, ["soft must be an integer from 1 to 99, in percent, or none, not ",
                  cost_ledger_error:describe(Other)]);
option_value(on_exhausted, Given, _Stored, _Path) when Given =:= degrade; Given =:= warn ->
    atom_to_binary(Given);
option_value(on_exhausted, Other, _Stored, Path) ->
    refuse(Path, ["on_exhausted must be deny, degrade or warn, not ",
                  cost_ledger_error:describe(Other)]);
option_value(grace, Given, #{<<"limit">> := Limit}, Path) ->
    Grace = integer(grace, 0, {?AMOUNT_MAX, "10^15"}, Given, Path),
    case Limit of
        <<"granted">> -> Grace;
        _ -> refuse(Path, "grace goes with limit granted only: leave it out, or raise the limit")
    end;
option_value(require, true, _Stored, _Path) ->
    true;
option_value(require, Other, _Stored, Path) ->
    refuse(Path, ["require must be true or false, not ", cost_ledger_error:describe(Other)]);
option_value(default_estimate, Given, #{<<"measure">> := Measure}, Path) ->
    Estimate = integer(default_estimate, 1, {?AMOUNT_MAX, "10^15"}, Given, Path),
    case lists:member(Measure, ?INVOCATION_MEASURES) of
        false -> Estimate;
        true -> refuse(Path, ["default_estimate does not go with measure ", Measure,
                              ": an attempt always says how many it asks for"])
    end;
option_value(max_values, Given, #{<<"scope">> := Scope}, Path) ->
    Max = integer(max_values, 1, {?VALUES_MAX, "10^9"}, Given, Path),
    case has_each(Scope) of
        true -> Max;
        false -> refuse(Path, "max_values goes with a scope that has each: leave it out")
    end.

percent(Percent, _Path) when is_integer(Percent), Percent >= 1, Percent =< 100 ->
    Percent;
percent(Other, Path) ->
    refuse(Path, ["the thresholds of warn must be integers from 1 to 100, in percent, not ",
                  cost_ledger_error:describe(Other)]).

integer(_Key, Min, {Max, _}, Given, _Path) when is_integer(Given), Given >= Min, Given =< Max ->
    Given;
integer(Key, Min, {_Max, MaxText}, Given, Path) ->
    refuse(Path, [atom_to_binary(Key), " must be an integer from ", integer_to_list(Min), " to ",
                  MaxText, ", not ", cost_ledger_error:describe(Given)]).

%% A rule that can only warn has to do so at some point.
thresholds(#{<<"on_exhausted">> := <<"warn">>} = Stored) ->
    maps:merge(#{<<"warn">> => [100]}, Stored);
thresholds(Stored) ->
    Stored.

%%% To the API ---------------------------------------------------------------------------------

-spec from_stored(stored()) -> rule().
from_stored(#{<<"name">> := Name, <<"scope">> := Scope, <<"measure">> := Measure,
              <<"window">> := Window, <<"limit">> := Limit} = Stored) ->
    Rule = #{name => Name, scope => from_scope(Scope), measure => binary_to_existing_atom(Measure),
             window => from_window(Window), limit => from_limit(Limit)},
    lists:foldl(fun({Key, _Default}, Acc) -> from_option(Key, Stored, Acc) end, Rule, ?DEFAULTS).

from_scope(Scope) when map_size(Scope) =:= 0 ->
    all;
from_scope(Scope) ->
    maps:from_list([from_dimension(binary_to_existing_atom(Dimension), Value)
                    || {Dimension, Value} <- maps:to_list(Scope)]).

from_dimension(Dimension, nil) -> {Dimension, each};
from_dimension(state, State) -> {state, from_state(State)};
from_dimension(Dimension, Value) -> {Dimension, Value}.

%% A state of such a name stays a binary: the atom would say something else.
from_state(Name) when Name =:= <<"each">>; Name =:= <<"undefined">>; Name =:= <<"nil">> -> Name;
from_state(Name) -> cost_ledger_budgets:to_atom(Name).

from_window([<<"lifetime">>]) -> lifetime;
from_window([<<"rolling">>, Ms]) -> {rolling, Ms};
from_window([<<"day">>, Offset]) -> {calendar, day, Offset};
from_window([<<"week">>, Offset]) -> {calendar, week, Offset};
from_window([<<"month">>, Offset]) -> {calendar, month, Offset}.

from_limit(nil) -> infinity;
from_limit(<<"granted">>) -> granted;
from_limit(Limit) -> Limit.

from_option(Key, Stored, Rule) ->
    case maps:find(atom_to_binary(Key), Stored) of
        {ok, <<"degrade">>} -> Rule#{Key => degrade};
        {ok, <<"warn">>} -> Rule#{Key => warn};
        {ok, Value} -> Rule#{Key => Value};
        error -> Rule
    end.

%%% States and series --------------------------------------------------------------------------

%% Naming a state in the start options declares it. What is malformed is left to check/2.
-spec states_named(Rules :: term()) -> [binary()].
states_named(Rules) ->
    lists:usort(named(Rules)).

named([Rule | Rules]) ->
    Named = case entry(state, entry(scope, {ok, Rule})) of
                {ok, State} -> value(state, State);
                none -> none
            end,
    case Named of
        {ok, Name} when is_binary(Name) -> [Name | named(Rules)];
        _ -> named(Rules)
    end;
named(_End) ->
    [].

entry(Key, {ok, Given}) ->
    case cost_ledger_value:pairs(Given) of
        {ok, #{Key := Value}} -> {ok, Value};
        _ -> none
    end;
entry(_Key, none) ->
    none.

%% The start option `series`, with the dimensions of each in the order of their numbers, and with
%% [state].
-spec check_series(term()) -> {ok, [[dimension()]]} | {error, path(), Text :: binary()}.
check_series(Given) ->
    answer(fun() -> all_series(Given) end).

all_series(Given) when length(Given) >= 0 ->
    %% One more than can be: the text need not wait for the rest of a very long list.
    Some = lists:sublist(Given, ?SERIES_MAX + 2),
    Series = [series(Dimensions, [series, Index]) || {Index, Dimensions} <- lists:enumerate(Some)],
    _ = lists:foldl(fun new_series/2, #{}, lists:enumerate(Series)),
    case length([Other || Other <- Series, Other =/= [state]]) of
        Count when Count > ?SERIES_MAX ->
            refuse([series], "a ledger has at most 63 series besides [state]: declare those that "
                   "rules need");
        _ ->
            [[state] || not lists:member([state], Series)] ++ Series
    end;
all_series(Other) ->
    refuse([series], ["series must be a list of lists of dimensions, like [[org], [org, user]], "
                      "not ", cost_ledger_error:describe(Other)]).

series(Dimensions, Path) when length(Dimensions) > 0 ->
    case [Dimension || Dimension <- Dimensions,
                       not lists:keymember(Dimension, 1, ?OF_SERIES)] of
        [] -> ok;
        [Unknown | _] -> refuse(Path, [unknown_dimension(Unknown), ", status"])
    end,
    case Dimensions -- lists:usort(Dimensions) of
        [] -> in_order(Dimensions);
        [Twice | _] -> refuse(Path, ["the series has ", atom_to_binary(Twice), " twice"])
    end;
series(Other, Path) ->
    refuse(Path, ["a series must be a list of at least one dimension, like [org, user], not ",
                  cost_ledger_error:describe(Other)]).

new_series({Index, Series}, Seen) when is_map_key(Series, Seen) ->
    refuse([series, Index], ["[", words(Series), "] is declared twice"]);
new_series({_Index, Series}, Seen) ->
    Seen#{Series => seen}.

words(Atoms) ->
    lists:join(", ", [atom_to_binary(Atom) || Atom <- Atoms]).

%%% Shared with cost_ledger_settings -----------------------------------------------------------

%% What Fun returns, or what it refused.
-spec answer(fun(() -> Result)) -> {ok, Result} | {error, path(), Text :: binary()}.
answer(Fun) ->
    try {ok, Fun()}
    catch
        throw:{refused, Path, Text} ->
            <<_/binary>> = Utf8 = unicode:characters_to_binary(Text),
            {error, Path, Utf8}
    end.

-spec refuse(path(), iodata()) -> no_return().
refuse(Path, Text) ->
    throw({refused, Path, Text}).
