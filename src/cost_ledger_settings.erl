%%% The typed settings of a policy. Pure functions.
%%%
%%% A setting is declared with its type before it has a value, and its value is checked against
%%% that whenever it is changed and whenever it is read: there is no default to fall back to.
-module(cost_ledger_settings).

-export([merge/2, values/1, differences/2]).
-export_type([stored/0, value/0, difference/0]).

%% type and value; and min, max or one_of where they were given.
-type stored() :: #{binary() => #{binary() => term()}}.
-type value() :: integer() | boolean() | binary().
-type difference() :: #{setting := binary(), from := value() | undefined,
                        to := value() | undefined}.

-define(SETTINGS_MAX, 256).
-define(KEY_BYTES_MAX, 255).
-define(STRING_BYTES_MAX, 4096).
-define(CHOICES_MAX, 256).
-define(INTEGER_MAX, 1000000000000000).
%% The core's, in policy.h: of all settings as they are written.
-define(WRITTEN_BYTES_MAX, 1048576).

-define(KNOWN, [type, value, min, max, one_of]).

%% The path names the offending part: [settings, <<"retries">>, min].
-spec merge(stored(), Changes :: term()) ->
          {ok, stored()} | {error, cost_ledger_rules:path(), Text :: binary()}.
merge(Stored, Changes) ->
    cost_ledger_rules:answer(
      fun() ->
              ByName = lists:sort(maps:to_list(by_name(Changes))),
              Merged = lists:foldl(fun change/2, Stored, ByName),
              ok = not_too_many(Merged),
              Merged
      end).

%% Keys are existing atoms where the VM has them.
-spec values(stored()) ->
          {ok, #{atom() | binary() => value()}}
        | {error, cost_ledger_rules:path(), Text :: binary()}.
values(Stored) ->
    cost_ledger_rules:answer(
      fun() ->
              maps:from_list([{cost_ledger_budgets:to_atom(Name), stored_value(Name, Setting)}
                              || {Name, Setting} <- lists:sort(maps:to_list(Stored))])
      end).

%% A setting that was only declared anew is there with the same value twice.
-spec differences(From :: stored(), To :: stored()) -> [difference()].
differences(From, To) ->
    [#{setting => Name, from => shown(Name, From), to => shown(Name, To)}
     || Name <- lists:sort(maps:keys(maps:merge(From, To))),
        maps:find(Name, From) =/= maps:find(Name, To)].

shown(Name, Settings) ->
    case Settings of
        #{Name := #{<<"value">> := Value}} -> Value;
        _ -> undefined
    end.

not_too_many(Settings) when map_size(Settings) > ?SETTINGS_MAX ->
    refuse([settings], ["a ledger has at most 256 settings, not ",
                        integer_to_list(map_size(Settings)), ": remove some with undefined"]);
not_too_many(Settings) ->
    case written_bytes(Settings) of
        Bytes when Bytes > ?WRITTEN_BYTES_MAX ->
            refuse([settings], ["the settings take ", integer_to_list(Bytes), " bytes together; "
                                "there is room for 1048576: shorten their strings"]);
        _ ->
            ok
    end.

%% In msgpack, at most.
written_bytes(Map) when is_map(Map) ->
    written_bytes(maps:keys(Map)) + written_bytes(maps:values(Map));
written_bytes(List) when is_list(List) ->
    lists:foldl(fun(Term, Sum) -> Sum + written_bytes(Term) end, 5, List);
written_bytes(Text) when is_binary(Text) ->
    5 + byte_size(Text);
written_bytes(_Number) ->
    9.

%%% Changes ------------------------------------------------------------------------------------

by_name(Changes) ->
    case cost_ledger_value:pairs(Changes) of
        {ok, ByKey} ->
            lists:foldl(fun add/2, #{}, lists:sort(maps:to_list(ByKey)));
        {twice, Key} ->
            twice(name(Key));
        not_pairs ->
            refuse([settings], ["settings must be a map, like #{retries => 5}, not ",
                                cost_ledger_error:describe(Changes)])
    end.

%% The atom and the binary of one name are one setting.
add({Key, Change}, ByName) ->
    case name(Key) of
        Name when is_map_key(Name, ByName) -> twice(Name);
        Name -> ByName#{Name => Change}
    end.

-spec twice(binary()) -> no_return().
twice(Name) ->
    refuse([settings, Name], ["the setting ", Name, " is there twice: write it once"]).

name(Key) ->
    case cost_ledger_value:text(Key, 1, ?KEY_BYTES_MAX) of
        {ok, Name} -> Name;
        {error, Text} -> refuse([settings, Key], ["the name of a setting ", Text])
    end.

change({Name, Absent}, Settings) when Absent =:= undefined; Absent =:= nil ->
    case Settings of
        #{Name := _} -> maps:remove(Name, Settings);
        _ -> refuse([settings, Name], ["there is no setting ", Name, " to remove"])
    end;
change({Name, Change}, Settings) ->
    case {declaration(Change), Settings} of
        {{ok, Declaration}, _} -> Settings#{Name => declared(Name, Declaration)};
        {{twice, Key}, _} -> refuse([settings, Name, Key],
                                    ["the declaration of ", Name, " has ",
                                     cost_ledger_error:describe(Key), " twice: write it once"]);
        {none, #{Name := Setting}} -> Settings#{Name => changed(Name, Change, Setting)};
        {none, _} -> refuse([settings, Name], undeclared(Name, Change))
    end.

%% A list of pairs is no string; the empty one is.
declaration([]) ->
    none;
declaration(Change) ->
    case cost_ledger_value:pairs(Change) of
        not_pairs -> none;
        Pairs -> Pairs
    end.

undeclared(Name, Value) ->
    {Type, Example} = case string(Value) of
                          _ when is_integer(Value) -> {"integer", Value};
                          _ when is_boolean(Value) -> {"boolean", Value};
                          {ok, String} -> {"string", String};
                          {error, _} -> {"integer", 3}
                      end,
    ["the setting ", Name, " is not declared: declare it with its type, like #{",
     cost_ledger_error:describe(cost_ledger_budgets:to_atom(Name)), " => #{type => ", Type,
     ", value => ", cost_ledger_error:describe(Example), "}}"].

changed(Name, Value, Setting) ->
    #{<<"type">> := Type} = Declared = checked(Name, Setting),
    Declared#{<<"value">> := value(type(Type), Value, Declared, Name, [settings, Name])}.

%%% Declarations -------------------------------------------------------------------------------

declared(Name, Declaration) ->
    Path = [settings, Name],
    case lists:sort(maps:keys(maps:without(?KNOWN, Declaration))) of
        [] -> ok;
        [Key | _] -> refuse(Path ++ [Key], ["unknown key ", cost_ledger_error:describe(Key),
                                            " in the declaration of ", Name, "; known are type, "
                                            "value, min, max, one_of"])
    end,
    case [Key || Key <- [type, value], not is_map_key(Key, Declaration)] of
        [] -> ok;
        [Missing | _] -> refuse(Path ++ [Missing], [atom_to_binary(Missing), " is missing: the "
                                                    "declaration of ", Name, " must have type and "
                                                    "value"])
    end,
    #{type := Type, value := Value} = Declaration,
    ok = known_type(Type, Path ++ [type]),
    Constraints = maps:from_list([{atom_to_binary(Key), constraint(Key, Type, Given, Path ++ [Key])}
                                  || Key <- [min, max, one_of],
                                     {ok, Given} <- [maps:find(Key, Declaration)]]),
    ok = ordered(Constraints, Path ++ [min]),
    Constraints#{<<"type">> => atom_to_binary(Type),
                 <<"value">> => value(Type, Value, Constraints, Name, Path ++ [value])}.

known_type(Type, _Path) when Type =:= integer; Type =:= boolean; Type =:= string ->
    ok;
known_type(Other, Path) ->
    refuse(Path, ["type must be integer, boolean or string, not ",
                  cost_ledger_error:describe(Other)]).

constraint(Key, integer, Given, _Path)
  when Key =/= one_of, is_integer(Given), abs(Given) =< ?INTEGER_MAX ->
    Given;
constraint(Key, integer, Other, Path) when Key =/= one_of ->
    refuse(Path, [atom_to_binary(Key), " must be an integer from -10^15 to 10^15, not ",
                  cost_ledger_error:describe(Other)]);
constraint(one_of, string, [_ | _] = Given, Path) when length(Given) =< ?CHOICES_MAX ->
    Choices = [choice(Choice, Path) || Choice <- Given],
    case Choices -- lists:usort(Choices) of
        [] -> Choices;
        [Twice | _] -> refuse(Path, ["one_of has ", cost_ledger_error:describe(Twice), " twice"])
    end;
constraint(one_of, string, Other, Path) ->
    refuse(Path, ["one_of must be a list of 1 to 256 strings, not ",
                  cost_ledger_error:describe(Other)]);
constraint(one_of, Type, _Given, Path) ->
    refuse(Path, ["one_of goes with type string, not ", atom_to_binary(Type)]);
constraint(Key, Type, _Given, Path) ->
    refuse(Path, [atom_to_binary(Key), " goes with type integer, not ", atom_to_binary(Type)]).

choice(Given, Path) ->
    case string(Given) of
        {ok, Choice} -> Choice;
        {error, Text} -> refuse(Path, ["what is in one_of ", Text])
    end.

ordered(#{<<"min">> := Min, <<"max">> := Max}, Path) when Min > Max ->
    refuse(Path, ["min is ", integer_to_list(Min), ", above max, ", integer_to_list(Max)]);
ordered(_Constraints, _Path) ->
    ok.

value(integer, Given, Constraints, Name, Path) ->
    Min = maps:get(<<"min">>, Constraints, -?INTEGER_MAX),
    Max = maps:get(<<"max">>, Constraints, ?INTEGER_MAX),
    if is_integer(Given), Given >= Min, Given =< Max ->
            Given;
       true ->
            refuse(Path, [Name, " must be an integer from ", integer_to_list(Min), " to ",
                          integer_to_list(Max), ", not ", cost_ledger_error:describe(Given)])
    end;
value(boolean, Given, _Constraints, _Name, _Path) when is_boolean(Given) ->
    Given;
value(boolean, Given, _Constraints, Name, Path) ->
    refuse(Path, [Name, " must be true or false, not ", cost_ledger_error:describe(Given)]);
value(string, Given, Constraints, Name, Path) ->
    case {string(Given), Constraints} of
        {{error, Text}, _} ->
            refuse(Path, [Name, " ", Text]);
        {{ok, String}, #{<<"one_of">> := Choices}} ->
            lists:member(String, Choices) orelse
                refuse(Path, [Name, " must be one of ", cost_ledger_error:describe(Choices),
                              ", not ", cost_ledger_error:describe(String)]),
            String;
        {{ok, String}, _} ->
            String
    end.

%% What stands for nothing, or for a boolean, was hardly meant as a string.
string(Given) when Given =:= undefined; Given =:= nil; is_boolean(Given) ->
    {error, ["must be a string, not ", atom_to_binary(Given)]};
string(Given) ->
    cost_ledger_value:text(Given, 0, ?STRING_BYTES_MAX).

%%% Stored settings ----------------------------------------------------------------------------

stored_value(Name, Setting) ->
    #{<<"value">> := Value} = checked(name(Name), Setting),
    Value.

%% A stored setting is valid if declaring it would store the same.
checked(Name, Setting) when is_map(Setting) ->
    try declared(Name, maps:from_list([as_declared(Part) || Part <- maps:to_list(Setting)])) of
        Setting -> Setting;
        _Other -> invalid([settings, Name], Name, "it is not as it would be written")
    catch
        throw:{refused, Path, Text} -> invalid(Path, Name, Text)
    end;
checked(Name, Other) ->
    invalid([settings, Name], Name, ["it is ", cost_ledger_error:describe(Other)]).

-spec invalid(cost_ledger_rules:path(), binary(), iodata()) -> no_return().
invalid(Path, Name, Text) ->
    refuse(Path, ["the stored setting ", Name, " is not valid (", Text, "): declare it anew or "
                  "remove it"]).

as_declared({<<"type">>, Type}) -> {type, type(Type)};
as_declared({<<"value">>, Value}) -> {value, Value};
as_declared({<<"min">>, Min}) -> {min, Min};
as_declared({<<"max">>, Max}) -> {max, Max};
as_declared({<<"one_of">>, Choices}) -> {one_of, Choices};
as_declared(Unknown) -> Unknown.

type(<<"integer">>) -> integer;
type(<<"boolean">>) -> boolean;
type(<<"string">>) -> string;
type(Other) -> Other.

-spec refuse(cost_ledger_rules:path(), iodata()) -> no_return().
refuse(Path, Text) ->
    cost_ledger_rules:refuse(Path, Text).
