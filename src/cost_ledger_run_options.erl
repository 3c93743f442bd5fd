%%% What a caller may say of a run and of its actions, checked. Pure functions.
-module(cost_ledger_run_options).

-include("cost_ledger.hrl").

-export([start/1, action/2, outcome/1, usage/1, text/2, count/2, step/1]).
-export_type([parsed/0]).

%% reserve: attributes of its hold; said: what its record says; names: what its children inherit.
-type parsed() :: #{run_id := binary(), budget := non_neg_integer(), reserve := map(),
                    said := map(), names := map(), parent := term(), owner := pid(),
                    warn := 1..100 | none, allocation := cost_ledger_allocation:ratio() | settings,
                    prices := #{tool | request => #{binary() => non_neg_integer()}}}.

-define(NAME_BYTES_MAX, 1000).
-define(NAMES, [org, project, user, agent, model, provider, state, prompt_type]).
-define(OF_HOLD, [critical, deadline_ms, policy_version]).
-define(SAID, [intent, input, attributes]).
-define(KNOWN, ?NAMES ++ ?OF_HOLD ++ ?SAID
            ++ [run_id, budget, parent, owner, warn, tool_prices, request_prices, allocation]).

%% Of start/2.
-spec start(term()) -> {ok, parsed()} | {invalid, iodata()}.
start(Options) ->
    checked(fun() -> start_of(pairs(Options, "#{run_id => <<\"run-1\">>, budget => 1000}")) end).

start_of(Given) ->
    known(?KNOWN, Given),
    Map = maps:filter(fun(_Key, Value) -> Value =/= undefined andalso Value =/= nil end, Given),
    RunId = id(required(run_id, Map)),
    Budget = amount(budget, required(budget, Map)),
    Names = maps:with(?NAMES, Map),
    Reserve = (maps:with(?NAMES ++ ?OF_HOLD, Map))#{kind => run, run_id => RunId,
                                                    cost => Budget},
    valid(cost_ledger_record:attempt(Reserve)),
    Said = maps:with(?SAID, Map),
    _ = usage_of(Said),
    #{run_id => RunId, budget => Budget, reserve => Reserve, said => Said, names => Names,
      parent => maps:get(parent, Map, none), owner => owner(maps:get(owner, Map, self())),
      warn => warn(maps:get(warn, Map, 80)),
      allocation => allocation(maps:get(allocation, Map, settings)),
      prices => #{tool => prices(tool_prices, Map), request => prices(request_prices, Map)}}.

id(Id) ->
    case cost_ledger_record:id(Id) of
        {ok, Text} -> Text;
        {invalid, _} -> invalid(["run_id must be a text of 1 to 1000 bytes, not ",
                                 cost_ledger_error:describe(Id)])
    end.

owner(Pid) when is_pid(Pid) -> Pid;
owner(Other) -> invalid(["owner must be a pid, not ", cost_ledger_error:describe(Other)]).

warn(none) -> none;
warn(Percent) when is_integer(Percent), Percent >= 1, Percent =< 100 -> Percent;
warn(Other) -> invalid(["warn must be a percent from 1 to 100, or none, not ",
                        cost_ledger_error:describe(Other)]).

allocation(settings) ->
    settings;
allocation(Given) ->
    case cost_ledger_allocation:ratio(Given) of
        {ok, Ratio} -> Ratio;
        {invalid, Text} -> invalid(Text)
    end.

prices(Key, Map) ->
    case maps:get(Key, Map, #{}) of
        Prices when is_map(Prices) ->
            maps:from_list([{name(Key, Name), amount({Key, Name}, Nano)}
                            || {Name, Nano} <- maps:to_list(Prices)]);
        Other ->
            invalid([atom_to_binary(Key), " must be a map of names to nano-units, not ",
                     cost_ledger_error:describe(Other)])
    end.

%% What is said of an action: with these keys, and no others.
-spec action([atom()], term()) -> {ok, map()} | {invalid, iodata()}.
action(Known, Options) ->
    checked(fun() ->
                    Map = pairs(Options, "#{cost => 450, duration_ms => 1200}"),
                    known(Known, Map),
                    maps:foreach(fun action_field/2, Map),
                    Map
            end).

action_field(cost, auto) -> ok;
action_field(Key, Value) when Key =:= cost; Key =:= duration_ms -> _ = amount(Key, Value), ok;
action_field(Key, Value) when Key =:= model; Key =:= provider -> _ = name(Key, Value), ok;
action_field(_Key, _Value) -> ok.

%% A step of the trace, which a record must be able to keep.
-spec step(map()) -> {ok, map()} | {invalid, iodata()}.
step(Step) ->
    checked(fun() ->
                    _ = usage_of(#{trace => #{steps => [Step]}}),
                    Step
            end).

%% Of finish/2: status, and what there is to say of it.
-spec outcome(term()) -> {ok, map()} | {invalid, iodata()}.
outcome(Outcome) ->
    checked(fun() ->
                    Map = pairs(Outcome, "#{status => completed}"),
                    known([status, output, error_message, attributes], Map),
                    _ = usage_of(Map),
                    Map
            end).

%% Of a child; as a map.
-spec usage(term()) -> {ok, map()} | {invalid, iodata()}.
usage(Usage) ->
    checked(fun() -> usage_of(pairs(Usage, "#{cost => 60}")) end).

usage_of(Map) ->
    case cost_ledger_record:usage(Map) of
        {ok, Fields} -> valid(cost_ledger_record:encode(usage, Fields, <<>>)), Map;
        {invalid, Text} -> invalid(Text)
    end.

%% The name of a tool, a service or a penalty.
-spec text(atom(), term()) -> {ok, binary()} | {invalid, iodata()}.
text(What, Given) ->
    checked(fun() -> name(What, Given) end).

-spec count(atom(), term()) -> {ok, non_neg_integer()} | {invalid, iodata()}.
count(What, Given) ->
    checked(fun() -> amount(What, Given) end).

name(What, Given) when Given =/= undefined, Given =/= nil ->
    case cost_ledger_value:text(Given, 1, ?NAME_BYTES_MAX) of
        {ok, Text} -> Text;
        {error, Text} -> invalid([cost_ledger_error:describe(What), " ", Text])
    end;
name(What, Given) ->
    invalid([cost_ledger_error:describe(What), " must be a text, not ",
             cost_ledger_error:describe(Given)]).

amount(_What, Value) when is_integer(Value), Value >= 0, Value =< ?AMOUNT_MAX ->
    Value;
amount(What, Value) ->
    invalid([cost_ledger_error:describe(What), " must be an integer from 0 to 10^15, not ",
             cost_ledger_error:describe(Value)]).

required(Key, Map) ->
    case Map of
        #{Key := Value} -> Value;
        _ -> invalid([atom_to_binary(Key), " is required"])
    end.

known(Known, Map) ->
    case maps:keys(maps:without(Known, Map)) of
        [] -> ok;
        [Key | _] -> invalid(["unknown key ", cost_ledger_error:describe(Key), "; known are ",
                              lists:join(", ", [atom_to_binary(Name) || Name <- Known])])
    end.

pairs(Given, Like) ->
    case cost_ledger_value:pairs(Given) of
        {ok, Map} -> Map;
        _ -> invalid(["must be a map, like ", Like, ", not ", cost_ledger_error:describe(Given)])
    end.

valid({invalid, Text}) -> invalid(Text);
valid(_Valid) -> ok.

checked(Fun) ->
    try {ok, Fun()}
    catch throw:{invalid, Text} -> {invalid, Text}
    end.

-spec invalid(iodata()) -> no_return().
invalid(Text) ->
    throw({invalid, Text}).
