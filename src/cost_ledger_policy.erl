%%% The policy: reading it, changing it, and its history. A change is made over what is in force
%%% and put there by compare-and-set; when someone else was faster, it is made again over what
%%% they made, unless it named the version that it was meant for.
-module(cost_ledger_policy).

-include("cost_ledger.hrl").

-export([change/1, set/3, set_budgets/3, reset/3, read/1, read/2, history/1, seed/1]).

-define(TEXT_BYTES_MAX, 4096).
%% Both are the core's, in policy.h.
-define(STATES_MAX, 1024).
-define(RULES_MAX, 4096).

-type change() :: {By :: binary(), Reason :: binary(), Id :: binary() | undefined}.
-type failure() :: cost_ledger_nif:failure() | {error, {atom(), Path :: [term()], binary()}}.

%% Who and why; both are required, because a change without them cannot be audited.
-spec change(term()) ->
          {ok, By :: binary(), Reason :: binary(), Id :: binary() | undefined}
              | {invalid, iodata()}.
change(Change) ->
    change(Change, [by, reason, id]).

change(#{by := By, reason := Reason} = Change, Known) ->
    case maps:keys(maps:without(Known, Change)) of
        [] -> change_of(By, Reason, Change);
        [Key | _] -> {invalid, ["unknown key ", cost_ledger_error:describe(Key), "; known are ",
                                lists:join(", ", [atom_to_binary(Name) || Name <- Known])]}
    end;
change(Other, _Known) ->
    {invalid, ["must say who and why, like #{by => \"ops\", reason => \"load test\"}, not ",
               cost_ledger_error:describe(Other)]}.

change_of(By, Reason, Change) ->
    case {text(By), text(Reason), id(maps:get(id, Change, undefined))} of
        {invalid, _, _} -> {invalid, "by must be a non-empty text of up to 4096 bytes"};
        {_, invalid, _} -> {invalid, "reason must be a non-empty text of up to 4096 bytes"};
        {_, _, {invalid, Text}} -> {invalid, Text};
        {ByText, ReasonText, {ok, Id}} -> {ok, ByText, ReasonText, Id}
    end.

id(Absent) when Absent =:= undefined; Absent =:= nil -> {ok, undefined};
id(Id) -> cost_ledger_record:id(Id).

text(Given) when Given =:= undefined; Given =:= nil ->
    invalid;
text(Given) ->
    case cost_ledger_value:text(Given, 1, ?TEXT_BYTES_MAX) of
        {ok, Text} -> Text;
        {error, _} -> invalid
    end.

%%% Changing -----------------------------------------------------------------------------------

%% Limits over those in force.
-spec set_budgets(#ledger{}, cost_ledger_budgets:budgets(), change()) ->
          {ok, pos_integer()} | failure() | closed.
set_budgets(Ledger, Budgets, Change) ->
    Make = fun(Policy) -> fits(cost_ledger_budgets:change_policy(Budgets, Policy)) end,
    put_in_force(Ledger, Make, any, Change, {set_budgets, Budgets}).

%% Rules, budgets, settings, in this order, over what is in force.
-spec set(#ledger{}, term(), change()) -> {ok, pos_integer()} | failure() | closed.
set(#ledger{handle = Handle} = Ledger, Wanted, Change) ->
    case wanted(Wanted) of
        {ok, #{version := Version} = Map} ->
            case cost_ledger_nif:series(Handle) of
                {ok, Series} ->
                    Make = fun(Policy) -> make(Map, Policy, series(Series)) end,
                    put_in_force(Ledger, Make, Version, Change, {set_policy, Map});
                closed ->
                    closed
            end;
        {error, Path, Text} ->
            bad(Path, Text)
    end.

wanted(Wanted) ->
    case cost_ledger_value:pairs(Wanted) of
        {ok, Map} ->
            Version = maps:get(version, Map, any),
            case maps:keys(maps:without([rules, budgets, settings, version], Map)) of
                [] when Version =:= any; is_integer(Version), Version > 0, Version < 1 bsl 63 ->
                    {ok, Map#{version => Version}};
                [] ->
                    {error, [version], <<"version must be a version of the policy, a positive "
                                         "integer">>};
                [Key | _] ->
                    {error, [Key], unicode:characters_to_binary(
                                     ["unknown key ", cost_ledger_error:describe(Key), "; known "
                                      "are rules, budgets, settings, version"])}
            end;
        _ ->
            {error, [], unicode:characters_to_binary(
                          ["a policy must be a map, like #{rules => [...]}, not ",
                           cost_ledger_error:describe(Wanted)])}
    end.

series(Series) ->
    Names = maps:from_list([{Number, Name} || {Name, Number} <- cost_ledger_rules:of_series()]),
    [[maps:get(Number, Names, Number) || Number <- Numbers] || {Numbers, _IsReady} <- Series].

make(Wanted, Policy, Series) ->
    Steps = [fun(P) -> add_states(maps:get(budgets, Wanted, #{}), P) end,
             fun(P) -> put_rules(Wanted, P, Series) end,
             fun(P) -> put_budgets(maps:get(budgets, Wanted, #{}), P) end,
             fun(P) -> put_settings(Wanted, P) end,
             fun fits/1],
    lists:foldl(fun(Step, {ok, P}) -> Step(P);
                   (_Step, Error) -> Error
                end, {ok, Policy}, Steps).

%% What is there and what is new together.
fits(#{<<"states">> := States}) when length(States) > ?STATES_MAX ->
    bad([budgets], <<"a ledger has at most 1024 states, and never loses one">>);
fits(#{<<"rules">> := Rules}) when length(Rules) > ?RULES_MAX ->
    bad([rules], <<"a policy has at most 4096 rules, those of its budgets included">>);
fits(Policy) ->
    {ok, Policy}.

%% First of all, because the rules may name them.
add_states(Budgets, #{<<"states">> := States} = Policy) ->
    case cost_ledger_budgets:check(Budgets) of
        ok ->
            Names = [atom_to_binary(State) || State <- maps:keys(Budgets)],
            {ok, Policy#{<<"states">> := States ++ lists:sort(Names -- States)}};
        {error, {bad_budgets, Path, Text}} ->
            bad([budgets | Path], Text)
    end.

put_rules(#{rules := Rules}, #{<<"states">> := States} = Policy, Series) ->
    case cost_ledger_rules:check(Rules, #{states => States, series => Series}) of
        {ok, Stored} -> {ok, Policy#{<<"rules">> := Stored}};
        {error, Path, Text} -> bad(Path, Text)
    end;
put_rules(_Wanted, Policy, _Series) ->
    {ok, Policy}.

%% A limit that is left out of a new state is no limit.
put_budgets(Budgets, #{<<"rules">> := Rules} = Policy) ->
    Known = [State || State <- maps:keys(Budgets), has_rule(State, Rules)],
    New = maps:map(fun(_State, Limits) ->
                           maps:merge(#{max_per_hour => infinity, max_per_day => infinity}, Limits)
                   end, maps:without(Known, Budgets)),
    {ok, cost_ledger_budgets:change_policy(maps:merge(Budgets, New), Policy)}.

has_rule(State, Rules) ->
    Name = atom_to_binary(State),
    lists:any(fun(#{<<"name">> := Rule}) ->
                      Rule =:= <<Name/binary, "/hour">> orelse Rule =:= <<Name/binary, "/day">>
              end, Rules).

put_settings(#{settings := Changes}, Policy) ->
    case cost_ledger_settings:merge(maps:get(<<"settings">>, Policy, #{}), Changes) of
        {ok, Settings} when map_size(Settings) =:= 0 -> {ok, maps:remove(<<"settings">>, Policy)};
        {ok, Settings} -> {ok, Policy#{<<"settings">> => Settings}};
        {error, Path, Text} -> bad(Path, Text)
    end;
put_settings(_Wanted, Policy) ->
    {ok, Policy}.

bad(Path, Text) ->
    {error, {bad_policy, Path, Text}}.

put_in_force(Ledger, Make, Version, {_By, _Reason, undefined} = Change, _Request) ->
    put_in_force(Ledger, Make, Version, Change);
put_in_force(#ledger{handle = Handle} = Ledger, Make, Version, {By, Reason, Id}, Request) ->
    case digest({Request, By, Reason}) of
        Digest when is_binary(Digest) ->
            Change = {By, Reason, {Id, Digest}},
            %% Asked with a version that is never in force: only what was done before succeeds.
            case cost_ledger_nif:set_policy(Handle, #{<<"version">> => 0, <<"states">> => [],
                                                      <<"rules">> => []}, By, Reason, Id, Digest) of
                {ok, Made, _Effects} -> {ok, Made};
                {error, {version_conflict, _}} -> put_in_force(Ledger, Make, Version, Change);
                Error -> Error
            end;
        Error ->
            Error
    end.

put_in_force(#ledger{handle = Handle} = Ledger, Make, Version, Change) ->
    case cost_ledger_nif:policy(Handle) of
        {ok, InForce} ->
            Read = case Version of any -> InForce; _ -> InForce#{<<"version">> := Version} end,
            case Make(Read) of
                {ok, Policy} ->
                    case put_policy(Handle, Policy, Change) of
                        {ok, Made, {_Next, Effects}} ->
                            _ = cost_ledger_effects:tell(Ledger, Effects),
                            {ok, Made};
                        {error, {version_conflict, _}} when Version =:= any ->
                            put_in_force(Ledger, Make, Version, Change);
                        Error ->
                            Error
                    end;
                Error ->
                    Error
            end;
        Error ->
            Error
    end.

put_policy(Handle, Policy, {By, Reason, undefined}) ->
    cost_ledger_nif:set_policy(Handle, Policy, By, Reason, undefined, undefined);
put_policy(Handle, Policy, {By, Reason, {Id, Digest}}) ->
    cost_ledger_nif:set_policy(Handle, Policy, By, Reason, Id, Digest).

digest(Request) ->
    cost_ledger_nif:digest(cost_ledger_request:term(Request)).

%%% Resetting ----------------------------------------------------------------------------------

%% Use of a rule, or of one value of it, counts from now on.
-spec reset(#ledger{}, term(), term()) ->
          {ok, pos_integer()} | {error, term()} | closed
              | {invalid, Position :: pos_integer(), iodata()}.
reset(Ledger, Rule, Change) ->
    case {cost_ledger_value:text(Rule, 1, ?TEXT_BYTES_MAX),
          change(Change, [by, reason, id, scope])} of
        {{error, Text}, _} ->
            {invalid, 2, ["the rule's name ", Text]};
        {_, {invalid, Text}} ->
            {invalid, 3, Text};
        {{ok, Name}, {ok, By, Reason, Id}} ->
            case reset_names(maps:get(scope, Change, all)) of
                {ok, Names} ->
                    case fits_rule(Ledger, Name, Names) of
                        ok -> reset(Ledger, Name, Names, {By, Reason, Id});
                        Error -> Error
                    end;
                {invalid, Text} ->
                    {invalid, 3, ["scope ", Text]}
            end
    end.

%% A scope is one value of a rule with `each`: every dimension of the rule, and no other.
fits_rule(_Ledger, _Name, []) ->
    ok;
fits_rule(#ledger{handle = Handle}, Name, Names) ->
    case cost_ledger_nif:policy(Handle) of
        {ok, #{<<"rules">> := Rules}} ->
            Scopes = [Scope || #{<<"name">> := Rule, <<"scope">> := Scope} <- Rules, Rule =:= Name],
            case Scopes of
                [] -> ok; % the ledger says that there is no such rule
                [Scope] -> fits_scope(Scope, Names)
            end;
        Error ->
            Error
    end.

fits_scope(Scope, Names) ->
    Numbers = [Number || {Dimension, Number} <- cost_ledger_rules:dimensions(),
                         is_map_key(atom_to_binary(Dimension), Scope)],
    HasEach = lists:member(nil, maps:values(Scope)),
    case lists:sort([Number || {Number, _} <- Names]) of
        Numbers when HasEach ->
            ok;
        _ ->
            Text = case HasEach of
                       true -> ["a scope must give a value for each dimension of the rule: ",
                                lists:join(", ", lists:sort(maps:keys(Scope)))];
                       false -> "the rule is one budget, not one for each value: reset it without "
                                    "a scope"
                   end,
            {error, {bad_scope, unicode:characters_to_binary(Text)}}
    end.

reset_names(all) -> {ok, []};
reset_names(Empty) when Empty =:= #{} -> {invalid, "must name a value, or be all"};
reset_names(Scope) -> cost_ledger_record:scope_names(Scope).

reset(Ledger, Name, Names, {By, Reason, Id}) ->
    Map = #{<<"rule">> => Name, <<"by">> => By, <<"reason">> => Reason},
    Draft = cost_ledger_nif:encode({reset, none, Names, 0, undefined, undefined, undefined, Map,
                                    0, Id, <<>>, undefined}),
    true = is_binary(Draft),
    case cost_ledger_queue:call(Ledger, {reset, Name}, Draft) of
        {ok, Entry, _Flags} -> {ok, Entry};
        {error, _} = Error -> Error
    end.

%%% Reading ------------------------------------------------------------------------------------

%% The policy in force.
-spec read(cost_ledger_nif:handle()) -> {ok, map()} | failure() | closed.
read(Handle) ->
    case cost_ledger_nif:policy(Handle) of
        {ok, Policy} -> to_api(Handle, Policy);
        Error -> Error
    end.

%% As it was in that version, its rules in any order: changes are undone from the newest on.
-spec read(cost_ledger_nif:handle(), term()) ->
          {ok, map()} | failure() | closed | {invalid, pos_integer(), iodata()}.
read(_Handle, Version) when not is_integer(Version); Version < 1 ->
    {invalid, 2, ["a version must be a positive integer, not ",
                  cost_ledger_error:describe(Version)]};
read(Handle, Version) ->
    case cost_ledger_nif:policy(Handle) of
        {ok, #{<<"version">> := Newest} = Policy} when Version =< Newest ->
            undo_to(Handle, Version, Policy);
        {ok, #{<<"version">> := Newest}} ->
            Text = ["there is no version ", cost_ledger_error:describe(Version),
                    "; the newest is ", integer_to_list(Newest)],
            {error, {no_version, unicode:characters_to_binary(Text)}};
        Error ->
            Error
    end.

undo_to(Handle, Version, #{<<"version">> := Version} = Policy) ->
    to_api(Handle, Policy);
undo_to(Handle, Version, #{<<"changed_by_entry">> := Id} = Policy) ->
    case change_entry(Handle, Id) of
        {ok, Change} -> undo_to(Handle, Version, undo(Change, Policy));
        Error -> Error
    end.

undo(#{<<"version">> := Version, <<"previous">> := Previous, <<"states">> := Added,
       <<"changes">> := Changes} = Change,
     #{<<"states">> := States, <<"rules">> := Rules} = Policy) ->
    Undone = Policy#{<<"version">> := Version - 1, <<"changed_by_entry">> := Previous,
                     <<"states">> := lists:sublist(States, length(States) - length(Added)),
                     <<"rules">> := lists:foldl(fun undo_rule/2, Rules, Changes)},
    case Change of
        #{<<"settings">> := [From, _To]} -> Undone#{<<"settings">> => From};
        _ -> Undone
    end.

undo_rule([From, nil], Rules) ->
    Rules ++ [From];
undo_rule([From, #{<<"name">> := Name}], Rules) ->
    lists:flatmap(fun(#{<<"name">> := Other}) when Other =:= Name, From =:= nil -> [];
                     (#{<<"name">> := Other}) when Other =:= Name -> [From];
                     (Rule) -> [Rule]
                  end, Rules).

to_api(Handle,
       #{<<"version">> := Version, <<"states">> := States, <<"rules">> := Rules} = Policy) ->
    case {cost_ledger_settings:values(maps:get(<<"settings">>, Policy, #{})),
          cost_ledger_nif:series(Handle)} of
        {{ok, Settings}, {ok, Series}} ->
            {ok, #{version => Version, settings => Settings,
                   states => [cost_ledger_budgets:to_atom(State) || State <- States],
                   rules => [cost_ledger_rules:from_stored(Rule) || Rule <- Rules],
                   series => series(Series)}};
        {{error, Path, Text}, _} ->
            {error, {damaged_setting, Path, Text}};
        {_, closed} ->
            closed
    end.

%% Follows the chain from the newest change back.
-spec history(cost_ledger_nif:handle()) -> {ok, [map()]} | failure() | closed.
history(Handle) ->
    case cost_ledger_nif:policy(Handle) of
        {ok, #{<<"changed_by_entry">> := Id}} -> history(Handle, Id, []);
        Error -> Error
    end.

history(_Handle, 0, Changes) ->
    {ok, lists:reverse(Changes)};
history(Handle, Id, Changes) ->
    case change_entry(Handle, Id) of
        {ok, #{<<"version">> := Version, <<"by">> := By, <<"reason">> := Reason,
               <<"previous">> := Previous, <<"changes">> := Rules} = Map} ->
            Change = #{id => Id, timestamp => Id div 1000, version => Version, by => By,
                       reason => Reason,
                       changes => [rule_change(Rule) || Rule <- Rules] ++ setting_changes(Map)},
            history(Handle, Previous, [Change | Changes]);
        Error ->
            Error
    end.

change_entry(Handle, Id) ->
    case cost_ledger_nif:fetch(Handle, Id) of
        {ok, [#{change := #{<<"version">> := _} = Change}]} -> {ok, Change};
        {ok, _} -> {error, {damaged, <<"an entry of kind policy has no change">>}};
        Error -> Error
    end.

%% from and to are the limits; was and is the whole rules.
rule_change([From, To]) ->
    #{<<"name">> := Name} = case To of nil -> From; _ -> To end,
    #{rule => Name, from => limit(From), to => limit(To), was => rule(From), is => rule(To)}.

rule(nil) -> undefined;
rule(Stored) -> cost_ledger_rules:from_stored(Stored).

limit(nil) -> undefined;
limit(Stored) -> maps:get(limit, cost_ledger_rules:from_stored(Stored)).

setting_changes(#{<<"settings">> := [From, To]}) -> cost_ledger_settings:differences(From, To);
setting_changes(_Change) -> [].

%%% Start options ------------------------------------------------------------------------------

%% What options seed an empty ledger with. `rules` replaces the default budgets, `budgets` merges
%% over them; every state that either names is declared.
-spec seed(#{atom() => term()}) ->
          {ok, cost_ledger_nif:policy()} | {error, {atom(), Path :: [term()], binary()}}.
seed(#{budgets := Budgets, series := Series} = Options) ->
    Defaults = cost_ledger_budgets:defaults(),
    Rules = maps:get(rules, Options, undefined),
    Named = case Rules of
                undefined -> [];
                _ -> cost_ledger_rules:states_named(Rules)
            end,
    States = lists:usort([atom_to_binary(State)
                          || State <- maps:keys(Defaults) ++ maps:keys(Budgets)] ++ Named),
    Empty = #{<<"version">> => 0, <<"states">> => States, <<"changed_by_entry">> => 0,
              <<"rules">> => []},
    Seeded = case Rules of
                 undefined ->
                     Merged = cost_ledger_budgets:merge(Defaults, Budgets),
                     {ok, cost_ledger_budgets:change_policy(Merged, Empty)};
                 _ ->
                     seed_rules(Rules, Budgets, Empty, Series)
             end,
    case Seeded of
        {ok, Policy} ->
            case fits(Policy) of
                {ok, _} -> put_settings(maps:with([settings], Options), Policy);
                TooLarge -> TooLarge
            end;
        Error ->
            Error
    end.

seed_rules(Rules, Budgets, Empty, Series) ->
    case put_rules(#{rules => Rules}, Empty, [[state] | Series]) of
        {ok, Policy} -> put_budgets(Budgets, Policy);
        Error -> Error
    end.
