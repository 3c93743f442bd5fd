%%% Budgets as the hub writes them, #{State => #{max_per_hour, max_per_day}}, and the rules that
%%% they stand for. Pure functions.
%%%
%%% A limit of 0 stops a state; `infinity` never does, and is what a new state gets for a limit
%%% that is left out.
-module(cost_ledger_budgets).

-include("cost_ledger.hrl").

-export([defaults/0, check/1, merge/2, differences/2, to_rules/1, change_policy/2, from_policy/1,
         to_atom/1]).
-export_type([budgets/0, limits/0, limit/0]).

-type limit() :: non_neg_integer() | infinity.
-type limits() :: #{max_per_hour => limit(), max_per_day => limit()}.
%% A state that this VM has no atom for, which only stored budgets can have, is a binary.
-type budgets() :: #{atom() | binary() => limits()}.

%% Both are the core's, in policy.h and entry.h.
-define(STATES_MAX, 1024).
-define(LIMIT_MAX, 1000000000000000).

-spec defaults() -> budgets().
defaults() ->
    #{executing => #{max_per_hour => 20, max_per_day => 100},
      improving => #{max_per_hour => 10, max_per_day => 40},
      contemplating => #{max_per_hour => 5, max_per_day => 15}}.

%% The path names the offending part: [executing, max_per_hour].
-spec check(term()) -> ok | {error, {bad_budgets, Path :: [term()], Text :: binary()}}.
check(Budgets) when map_size(Budgets) > ?STATES_MAX ->
    bad([], "a ledger has at most 1024 states");
check(Budgets) when is_map(Budgets) ->
    first_error([check_state(State, Limits) || {State, Limits} <- maps:to_list(Budgets)]);
check(Other) ->
    bad([], ["budgets must be a map of states, like #{executing => #{max_per_hour => 20}}, not ",
             cost_ledger_error:describe(Other)]).

check_state(total, _Limits) ->
    bad([total], "a state may not be named total: that is the sum of all");
check_state(State, _Limits) when not is_atom(State) ->
    bad([State], ["a state must be an atom, not ", cost_ledger_error:describe(State)]);
check_state('', _Limits) ->
    bad([''], "a state must have a name");
check_state(State, Limits) when is_map(Limits) ->
    first_error([check_limit(State, Key, Limit) || {Key, Limit} <- maps:to_list(Limits)]);
check_state(State, Other) ->
    bad([State], ["the limits of a state must be a map, like #{max_per_hour => 20}, not ",
                  cost_ledger_error:describe(Other)]).

check_limit(_State, Key, infinity) when Key =:= max_per_hour; Key =:= max_per_day ->
    ok;
check_limit(_State, Key, Limit)
  when Key =:= max_per_hour orelse Key =:= max_per_day,
       is_integer(Limit), Limit >= 0, Limit =< ?LIMIT_MAX ->
    ok;
check_limit(State, Key, Other) when Key =:= max_per_hour; Key =:= max_per_day ->
    bad([State, Key], [atom_to_binary(Key), " must be an integer from 0 to 10^15, or infinity, "
                       "not ", cost_ledger_error:describe(Other)]);
check_limit(State, Key, _Limit) ->
    bad([State, Key], ["unknown key ", cost_ledger_error:describe(Key),
                       ": the limits of a state are max_per_hour and max_per_day"]).

bad(Path, Text) ->
    {error, {bad_budgets, Path, unicode:characters_to_binary(Text)}}.

first_error(Results) ->
    case lists:dropwhile(fun(Result) -> Result =:= ok end, Results) of
        [] -> ok;
        [Error | _] -> Error
    end.

%% What Given says and InForce does not, as sentences; and the states that only Given has.
-spec differences(Given :: budgets(), InForce :: budgets()) -> {[iodata()], budgets()}.
differences(Given, InForce) ->
    Missing = maps:without(maps:keys(InForce), Given),
    Limits = [[cost_ledger_error:describe(State), " ", atom_to_binary(Key), " is ",
               cost_ledger_error:describe(Stored), " in the ledger, not ",
               cost_ledger_error:describe(Limit)]
              || {State, Wanted} <- maps:to_list(maps:with(maps:keys(InForce), Given)),
                 {Key, Limit} <- maps:to_list(Wanted),
                 Stored <- [maps:get(Key, maps:get(State, InForce))], Stored =/= Limit],
    {Limits, Missing}.

%% Checked changes over what is in force, limit by limit.
-spec merge(budgets(), budgets()) -> budgets().
merge(Budgets, Changes) ->
    maps:fold(fun(State, Limits, Acc) ->
                      New = #{max_per_hour => infinity, max_per_day => infinity},
                      Acc#{State => maps:merge(maps:get(State, Acc, New), Limits)}
              end, Budgets, Changes).

%% Hour and day of each state, in the order of the states' names.
-spec to_rules(budgets()) -> [cost_ledger_rules:stored()].
to_rules(Budgets) ->
    ByName = maps:from_list([{to_name(State), Limits}
                             || {State, Limits} <- maps:to_list(Budgets)]),
    [rule(State, Key, maps:get(Key, Limits))
     || {State, Limits} <- lists:sort(maps:to_list(ByName)), Key <- [max_per_hour, max_per_day],
        is_map_key(Key, Limits)].

rule(State, Key, Limit) ->
    {Suffix, Window} = case Key of
                           max_per_hour -> {<<"/hour">>, ?HOUR_MS};
                           max_per_day -> {<<"/day">>, ?DAY_MS}
                       end,
    #{<<"name">> => <<State/binary, Suffix/binary>>, <<"scope">> => #{<<"state">> => State},
      <<"measure">> => <<"invocations">>, <<"window">> => [<<"rolling">>, Window],
      <<"limit">> => case Limit of infinity -> nil; _ -> Limit end}.

%% Checked changes over a policy, limit by limit. The states that are declared already keep their
%% order: it is that of their gate cells.
-spec change_policy(budgets(), cost_ledger_nif:policy()) -> cost_ledger_nif:policy().
change_policy(Changes, #{<<"states">> := Declared, <<"rules">> := Rules} = Policy) ->
    Names = [to_name(State) || State <- maps:keys(Changes)],
    New = lists:sort(Names -- Declared),
    Unlimited = #{max_per_hour => infinity, max_per_day => infinity},
    Whole = maps:map(fun(State, Limits) ->
                             case lists:member(to_name(State), New) of
                                 true -> maps:merge(Unlimited, Limits);
                                 false -> Limits
                             end
                     end, Changes),
    Policy#{<<"states">> := Declared ++ New, <<"rules">> := put_rules(to_rules(Whole), Rules)}.

%% Each takes the place of the one of its name, or comes last.
put_rules(Changed, Rules) ->
    ByName = maps:from_list([{Name, Rule} || #{<<"name">> := Name} = Rule <- Changed]),
    Kept = [maps:get(Name, ByName, Rule) || #{<<"name">> := Name} = Rule <- Rules],
    Known = [Name || #{<<"name">> := Name} <- Rules],
    Kept ++ [Rule || #{<<"name">> := Name} = Rule <- Changed, not lists:member(Name, Known)].

%% The hourly and daily caps that a policy's rules come to.
-spec from_policy(cost_ledger_nif:policy()) -> budgets().
from_policy(#{<<"states">> := States, <<"rules">> := Rules}) ->
    Caps = lists:foldl(fun add_cap/2, #{}, Rules),
    maps:from_list([{to_atom(State), #{max_per_hour => cap(State, ?HOUR_MS, Caps),
                                       max_per_day => cap(State, ?DAY_MS, Caps)}}
                    || State <- States]).

%% Of rules that the gate stands on, and that are alike.
add_cap(#{<<"scope">> := #{<<"state">> := State} = Scope, <<"measure">> := <<"invocations">>,
          <<"window">> := [<<"rolling">>, Window], <<"limit">> := Limit} = Rule, Caps)
  when map_size(Scope) =:= 1, is_integer(Limit), not is_map_key(<<"on_exhausted">>, Rule) ->
    maps:update_with({State, Window}, fun(Other) -> min(Other, Limit) end, Limit, Caps);
add_cap(_Rule, Caps) ->
    Caps.

%% What is said of a state takes the place of what is said of each.
cap(State, Window, Caps) ->
    maps:get({State, Window}, Caps, maps:get({nil, Window}, Caps, infinity)).

to_name(State) when is_atom(State) -> atom_to_binary(State);
to_name(State) -> State.

%% Stored data never makes an atom: a name that this VM has no atom for stays a binary.
-spec to_atom(binary()) -> atom() | binary().
to_atom(Name) ->
    try binary_to_existing_atom(Name)
    catch error:badarg -> Name
    end.
