%%% Budgets as the hub writes them, #{State => #{max_per_hour, max_per_day}}, and the rules that
%%% they stand for. Pure functions.
%%%
%%% A limit of 0 stops a state; `infinity` never does, and is what a new state gets for a limit
%%% that is left out.
-module(cost_ledger_budgets).

-include("cost_ledger.hrl").

-export([defaults/0, check/1, merge/2, differences/2, to_policy/3, from_policy/1, to_atom/1]).
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
    bad([State, Key], [atom_to_binary(Key), " must be an integer from 0 to 10^15, or infinity, not ",
                       cost_ledger_error:describe(Other)]);
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

%% The states that are declared already keep their order: it is that of their gate cells.
-spec to_policy(Version :: non_neg_integer(), Declared :: [binary()], budgets()) ->
          cost_ledger_nif:policy().
to_policy(Version, Declared, Budgets) ->
    ByName = maps:from_list([{to_name(State), Limits}
                             || {State, Limits} <- maps:to_list(Budgets)]),
    New = lists:sort(maps:keys(maps:without(Declared, ByName))),
    States = Declared ++ New,
    Indexes = lists:seq(0, length(States) - 1),
    Rules = [rule(State, Index, Period, maps:get(State, ByName))
             || {State, Index} <- lists:zip(States, Indexes), is_map_key(State, ByName),
                Period <- [hour, day]],
    {Version, States, Rules}.

rule(State, Index, hour, #{max_per_hour := Limit}) ->
    {<<State/binary, "/hour">>, Index, ?HOUR_MS, Limit};
rule(State, Index, day, #{max_per_day := Limit}) ->
    {<<State/binary, "/day">>, Index, ?DAY_MS, Limit}.

%% The budgets that a policy's rules stand for.
-spec from_policy(#{states := [binary()], rules := list(), _ => _}) -> budgets().
from_policy(#{states := States, rules := Rules}) ->
    ByIndex = list_to_tuple(States),
    Unlimited = maps:from_list([{State, #{max_per_hour => infinity, max_per_day => infinity}}
                                || State <- States]),
    ByName = lists:foldl(
               fun({_Name, Index, Window, Limit}, Acc) ->
                       State = element(Index + 1, ByIndex),
                       Acc#{State := (maps:get(State, Acc))#{key(Window) := Limit}}
               end, Unlimited, Rules),
    maps:from_list([{to_atom(State), Limits} || {State, Limits} <- maps:to_list(ByName)]).

key(?HOUR_MS) -> max_per_hour;
key(?DAY_MS) -> max_per_day.

to_name(State) when is_atom(State) -> atom_to_binary(State);
to_name(State) -> State.

%% Stored data never makes an atom: a name that this VM has no atom for stays a binary.
-spec to_atom(binary()) -> atom() | binary().
to_atom(Name) ->
    try binary_to_existing_atom(Name)
    catch error:badarg -> Name
    end.
