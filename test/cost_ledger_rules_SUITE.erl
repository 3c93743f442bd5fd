%%% Rules, series and settings: what is taken, how it is stored and given back, and what is refused,
%%% by what name and with what advice.
%%%
%%% COST_LEDGER_NUMTESTS in the environment sets how many random policies are tried (200).
%%%
%%% PropEr is used through its functions: Debian's package comes without proper.hrl.
-module(cost_ledger_rules_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0]).
-export([the_rule_of_the_documentation/1, every_part_has_its_stored_form/1,
         a_key_at_its_default_is_not_stored/1, atoms_binaries_and_strings_are_one/1,
         rules_as_elixir_writes_them/1, a_rule_that_only_warns_has_a_threshold/1,
         thresholds_are_stored_ascending/1, rules_may_share_their_scope/1,
         words_of_the_language_are_values_as_binaries/1, atoms_are_never_made/1,
         what_is_as_large_as_can_be/1]).
-export([what_is_no_list_of_rules/1, wrong_keys/1, wrong_names/1, wrong_scopes/1,
         undeclared_states/1, undeclared_series/1, wrong_measures/1, wrong_windows/1,
         wrong_limits/1, wrong_options/1, what_does_not_go_together/1,
         one_wrong_rule_refuses_all/1]).
-export([rules_come_back_as_written/1, garbage_is_refused_in_words/1]).
-export([states_that_rules_name/1, dimensions_have_their_numbers/1, series_are_normalised/1,
         wrong_series/1]).
-export([settings_are_declared_then_changed/1, settings_of_every_type/1,
         settings_are_removed/1, a_declaration_replaces_what_was/1, wrong_changes/1,
         wrong_declarations/1, invalid_changes_are_refused_whole/1, settings_have_their_room/1,
         invalid_stored_values_are_errors/1, an_invalid_stored_setting_can_be_mended/1,
         differences_are_sorted/1, any_stored_value_is_itself_or_an_error/1,
         merged_settings_can_be_read/1]).

-define(AMOUNT_MAX, 1000000000000000).

suite() -> [{timetrap, {seconds, max(120, tests())}}].

tests() -> list_to_integer(os:getenv("COST_LEDGER_NUMTESTS", "200")).

all() -> [{group, taken}, {group, refused}, {group, random}, {group, declared}, {group, settings}].

groups() ->
    [{taken, [parallel],
      [the_rule_of_the_documentation, every_part_has_its_stored_form,
       a_key_at_its_default_is_not_stored, atoms_binaries_and_strings_are_one,
       rules_as_elixir_writes_them, a_rule_that_only_warns_has_a_threshold,
       thresholds_are_stored_ascending, rules_may_share_their_scope,
       words_of_the_language_are_values_as_binaries, atoms_are_never_made,
       what_is_as_large_as_can_be]},
     {refused, [parallel],
      [what_is_no_list_of_rules, wrong_keys, wrong_names, wrong_scopes, undeclared_states,
       undeclared_series, wrong_measures, wrong_windows, wrong_limits, wrong_options,
       what_does_not_go_together, one_wrong_rule_refuses_all]},
     {random, [parallel], [rules_come_back_as_written, garbage_is_refused_in_words]},
     {declared, [parallel],
      [states_that_rules_name, dimensions_have_their_numbers, series_are_normalised,
       wrong_series]},
     {settings, [parallel],
      [settings_are_declared_then_changed, settings_of_every_type, settings_are_removed,
       a_declaration_replaces_what_was, wrong_changes, wrong_declarations,
       invalid_changes_are_refused_whole, settings_have_their_room,
       invalid_stored_values_are_errors, an_invalid_stored_setting_can_be_mended,
       differences_are_sorted, any_stored_value_is_itself_or_an_error,
       merged_settings_can_be_read]}].

%%% What is taken ------------------------------------------------------------------------------

%% With every key, as docs/budgets.md has it.
the_rule_of_the_documentation(_Config) ->
    Rule = #{name => <<"acme month">>, scope => #{org => <<"acme">>}, measure => cost,
             window => {calendar, month, 0}, limit => 50000000000, warn => [80, 95], soft => 80,
             on_exhausted => deny, grace => 0, require => false, default_estimate => 4000000,
             max_values => 100000},
    Stored = #{<<"name">> => <<"acme month">>, <<"scope">> => #{<<"org">> => <<"acme">>},
               <<"measure">> => <<"cost">>, <<"window">> => [<<"month">>, 0],
               <<"limit">> => 50000000000, <<"warn">> => [80, 95], <<"soft">> => 80,
               <<"default_estimate">> => 4000000},
    ?assertEqual({ok, [Stored]}, check([Rule])),
    ?assertEqual(maps:without([on_exhausted, grace, require, max_values], Rule),
                 cost_ledger_rules:from_stored(Stored)).

every_part_has_its_stored_form(_Config) ->
    Each = #{scope => #{org => each}},
    Granted = #{limit => granted, measure => credits},
    [begin
         {ok, [Stored]} = check([rule(Given)]),
         ?assertEqual({Given, Expected}, {Given, maps:get(Key, Stored)}),
         Back = cost_ledger_rules:from_stored(Stored),
         ?assertEqual(Given, maps:with(maps:keys(Given), Back)),
         ?assertEqual({ok, [Stored]}, check([Back]))
     end
     || {Key, Expected, Given} <-
            [{<<"scope">>, #{}, #{scope => all}},
             {<<"scope">>, #{<<"state">> => <<"executing">>}, #{scope => #{state => executing}}},
             {<<"scope">>, #{<<"state">> => nil}, #{scope => #{state => each}}},
             {<<"scope">>, #{<<"org">> => nil}, Each},
             {<<"scope">>, #{<<"org">> => <<"acme">>, <<"user">> => nil},
              #{scope => #{user => each, org => <<"acme">>}}},
             {<<"scope">>, #{<<"prompt_type">> => <<"plan">>},
              #{scope => #{prompt_type => <<"plan">>}}}]
            ++ [{<<"measure">>, atom_to_binary(Measure), #{measure => Measure}}
                || Measure <- measures()] ++
            [{<<"window">>, [<<"lifetime">>], #{window => lifetime}},
             {<<"window">>, [<<"rolling">>, 1], #{window => {rolling, 1}}},
             {<<"window">>, [<<"rolling">>, ?AMOUNT_MAX], #{window => {rolling, ?AMOUNT_MAX}}},
             {<<"window">>, [<<"day">>, -1080], #{window => {calendar, day, -1080}}},
             {<<"window">>, [<<"week">>, 1080], #{window => {calendar, week, 1080}}},
             {<<"window">>, [<<"month">>, 345], #{window => {calendar, month, 345}}},
             {<<"limit">>, 0, #{limit => 0}},
             {<<"limit">>, ?AMOUNT_MAX, #{limit => ?AMOUNT_MAX}},
             {<<"limit">>, nil, #{limit => infinity}},
             {<<"limit">>, <<"granted">>, Granted},
             {<<"limit">>, <<"granted">>, Granted#{measure => completed_cost}},
             {<<"warn">>, [1], #{warn => [1]}},
             {<<"warn">>, [1, 2, 3, 4, 5, 6, 7, 100], #{warn => [1, 2, 3, 4, 5, 6, 7, 100]}},
             {<<"soft">>, 1, #{soft => 1}},
             {<<"soft">>, 99, #{soft => 99}},
             {<<"on_exhausted">>, <<"degrade">>, #{on_exhausted => degrade}},
             {<<"on_exhausted">>, <<"warn">>, #{on_exhausted => warn}},
             {<<"grace">>, 1, Granted#{grace => 1}},
             {<<"grace">>, ?AMOUNT_MAX, Granted#{grace => ?AMOUNT_MAX}},
             {<<"require">>, true, #{require => true}},
             {<<"default_estimate">>, 1, #{measure => tokens, default_estimate => 1}},
             {<<"default_estimate">>, ?AMOUNT_MAX, Granted#{default_estimate => ?AMOUNT_MAX}},
             {<<"max_values">>, 1, Each#{max_values => 1}},
             {<<"max_values">>, 1000000000, Each#{max_values => 1000000000}}]],
    ok.

%% Wherever that may be said: also of a rule that could not have it otherwise.
a_key_at_its_default_is_not_stored(_Config) ->
    {ok, [Plain]} = check([rule(#{})]),
    ?assertEqual([<<"limit">>, <<"measure">>, <<"name">>, <<"scope">>, <<"window">>],
                 maps:keys(Plain)),
    [?assertEqual({ok, [Plain]}, check([rule(Defaults)]))
     || Defaults <- [#{warn => []}, #{soft => none}, #{on_exhausted => deny}, #{grace => 0},
                     #{require => false}, #{default_estimate => none}, #{max_values => 100000}]],
    ok.

atoms_binaries_and_strings_are_one(_Config) ->
    [begin
         {ok, [Stored]} = check([rule(#{name => Given, scope => #{org => Given}})]),
         ?assertMatch(#{<<"name">> := Binary, <<"scope">> := #{<<"org">> := Binary}}, Stored)
     end
     || {Binary, Forms} <- [{<<"acme">>, [acme, <<"acme">>, "acme"]},
                            {<<"思考中"/utf8>>, ['思考中', <<"思考中"/utf8>>, "思考中"]},
                            {<<0, 16#10FFFF/utf8>>, [<<0, 16#10FFFF/utf8>>, [0, 16#10FFFF]]},
                            {<<"two words">>, ['two words', <<"two words">>, "two words"]}],
        Given <- Forms],
    [?assertMatch({ok, [#{<<"scope">> := #{<<"state">> := <<"executing">>}}]},
                  check([rule(#{scope => #{state => Given}})]))
     || Given <- [executing, <<"executing">>, "executing"]],
    ok.

rules_as_elixir_writes_them(_Config) ->
    Pairs = [{name, <<"r">>}, {scope, [{org, <<"acme">>}, {user, each}]}, {measure, cost},
             {window, {rolling, 60000}}, {limit, infinity}, {max_values, 7}],
    Map = (maps:from_list(Pairs))#{scope => #{org => <<"acme">>, user => each}},
    {ok, [_]} = Stored = check([Map]),
    ?assertEqual(Stored, check([Pairs])),
    ?assertEqual(Stored, check([Map#{scope => [{user, each}, {org, acme}]}])).

a_rule_that_only_warns_has_a_threshold(_Config) ->
    {ok, [Stored]} = check([rule(#{on_exhausted => warn})]),
    ?assertMatch(#{<<"warn">> := [100]}, Stored),
    ?assertEqual({ok, [Stored]}, check([rule(#{on_exhausted => warn, warn => []})])),
    ?assertMatch({ok, [#{<<"warn">> := [50]}]}, check([rule(#{on_exhausted => warn,
                                                             warn => [50]})])).

thresholds_are_stored_ascending(_Config) ->
    ?assertMatch({ok, [#{<<"warn">> := [50, 80, 95]}]}, check([rule(#{warn => [95, 50, 80]})])).

%% One warns and the other denies.
rules_may_share_their_scope(_Config) ->
    ?assertMatch({ok, [#{<<"name">> := <<"b">>}, #{<<"name">> := <<"a">>}]},
                 check([rule(#{name => b, on_exhausted => warn}), rule(#{name => a})])).

%% `each` is a word of the language only as an atom, and so are those for nothing.
words_of_the_language_are_values_as_binaries(_Config) ->
    Words = [<<"each">>, <<"undefined">>, <<"nil">>, <<"all">>, <<"true">>],
    [begin
         Context = (context())#{states => Words},
         {ok, [Stored]} = check([rule(#{scope => #{Dimension => Word}})], Context),
         ?assertMatch(#{<<"scope">> := #{Key := Word}}, Stored),
         ?assertEqual({ok, [Stored]}, check([cost_ledger_rules:from_stored(Stored)], Context))
     end || {Dimension, Key} <- [{org, <<"org">>}, {state, <<"state">>}], Word <- Words],
    ok.

atoms_are_never_made(_Config) ->
    Unknown = unknown_name(),
    Context = (context())#{states => [Unknown, <<"executing">>]},
    {ok, Stored} = check([rule(#{name => Unknown, scope => #{state => Unknown}}),
                          rule(#{scope => #{state => <<"executing">>}})], Context),
    ?assertMatch([#{name := Unknown, scope := #{state := Unknown}},
                  #{scope := #{state := executing}}],
                 [cost_ledger_rules:from_stored(Rule) || Rule <- Stored]),
    [Unknown] = cost_ledger_rules:states_named([rule(#{scope => #{state => Unknown}})]),
    {error, _, _} = check([rule(#{scope => #{state => Unknown}})]),
    {ok, Settings} = merge(#{}, #{Unknown => #{type => integer, value => 1}}),
    ?assertEqual({ok, #{Unknown => 1}}, cost_ledger_settings:values(Settings)),
    ?assertError(badarg, binary_to_existing_atom(Unknown)).

what_is_as_large_as_can_be(_Config) ->
    Text = fun(Bytes) -> binary:copy(<<"x">>, Bytes) end,
    State = Text(1020),
    [?assertMatch({ok, [_]}, check([rule(Large)], (context())#{states => [State]}))
     || Large <- [#{name => Text(1029)}, #{name => binary_to_list(Text(1029))},
                  #{scope => #{org => Text(65535)}}, #{scope => #{state => State}}]],
    ?assertMatch({ok, [_ | _]}, check([rule(#{name => integer_to_binary(N)})
                                       || N <- lists:seq(1, 4096)])),
    ?assertMatch({ok, [_ | _]}, check([rule(#{name => integer_to_binary(N),
                                              scope => #{user => each, org => <<"acme">>}})
                                       || N <- lists:seq(1, 256)])),
    Dimensions = [Dimension || {Dimension, _} <- cost_ledger_rules:dimensions()],
    ?assertMatch({ok, [#{<<"scope">> := #{<<"provider">> := nil}}]},
                 check([rule(#{scope => maps:from_keys(Dimensions, each)})],
                       #{states => [], series => [lists:reverse(Dimensions)]})).

%%% What is refused ----------------------------------------------------------------------------

what_is_no_list_of_rules(_Config) ->
    [refused(Rules, [rules], ["list of maps"])
     || Rules <- [#{}, rule(#{}), none, undefined, {rule, 1}, <<"rules">>, [rule(#{}) | none]]],
    refused(lists:duplicate(4097, rule(#{})), [rules], ["4096", "4097"]),
    refused([rule(#{name => integer_to_binary(N), scope => #{user => each}})
             || N <- lists:seq(1, 257)], [rules], ["256 rules with each", "257"]),
    [refused([Rule], [rules, 1], ["must be a map", Named])
     || {Rule, Named} <- [{deny, "deny"}, {{name, a}, "{name,a}"}, {[{name, a}, scope], "scope"},
                          {[{name, a} | b], "name"}, {<<"rule">>, "rule"}]],
    %% One rule in place of the list.
    refused([{name, a}, {scope, all}], [rules, 1], ["must be a map"]),
    refused([rule(#{}), 17], [rules, 2], ["must be a map", "17"]).

wrong_keys(_Config) ->
    [begin
         Without = maps:remove(Key, rule(#{name => r})),
         refused([Without], [rules, Label, Key], [atom_to_list(Key), "is missing"]),
         refused([maps:to_list(Without)], [rules, Label, Key], [atom_to_list(Key), "is missing"])
     end
     || {Key, Label} <- [{name, 1}, {scope, <<"r">>}, {measure, <<"r">>}, {window, <<"r">>},
                         {limit, <<"r">>}]],
    refused([#{}], [rules, 1, name], ["name is missing"]),
    refused([[]], [rules, 1, name], ["name is missing"]),
    [refused([rule(#{name => r, Key => 1})], [rules, <<"r">>, Key],
             ["unknown key", Named, "on_exhausted", "max_values"])
     || {Key, Named} <- [{limits, "limits"}, {<<"limit">>, "<<\"limit\">>"}, {17, "17"}]],
    %% A key that is misspelt is named before the one that is then missing.
    refused([#{nmae => r}], [rules, 1, nmae], ["unknown key nmae"]),
    refused([[{limit, 1} | maps:to_list(rule(#{name => r}))]], [rules, <<"r">>, limit],
            ["limit twice"]),
    refused([[{name, 17} | maps:to_list(rule(#{name => r}))]], [rules, 1, name], ["name twice"]).

wrong_names(_Config) ->
    [refused([rule(#{name => fine}), rule(#{name => Name})], [rules, 2, name],
             ["the name of a rule", Named])
     || {Name, Named} <- [{undefined, "undefined"}, {nil, "nil"}, {true, "true"},
                          {false, "false"}, {'', "''"}, {<<>>, "<<>>"}, {"", "[]"}, {17, "17"},
                          {1.5, "1.5"}, {{a}, "{a}"}, {#{}, "#{}"}, {<<255>>, "UTF-8"},
                          {<<1:7>>, "binary"}, {[16#D800], "UTF-8"}, {[-1], "-1"},
                          {[16#110000], "1114112"}, {[$a, 1.5], "1.5"},
                          {["a"], "string"}, {[<<"a">>], "string"}, {"a" ++ b, "string"},
                          {binary:copy(<<"x">>, 1030), "1029"},
                          {lists:duplicate(1030, $x), "1029"},
                          {lists:duplicate(1029, $é), "1029"}]],
    [refused([rule(#{name => Name}), rule(#{name => other}), rule(#{name => Again})],
             [rules, <<"r">>, name], ["two rules are named r"])
     || Name <- [r, <<"r">>, "r"], Again <- [r, <<"r">>, "r"]],
    ok.

wrong_scopes(_Config) ->
    [refused([rule(#{name => r, scope => Scope})], [rules, <<"r">>, scope],
             ["scope must be all", "#{org => "])
     || Scope <- [#{}, [], each, undefined, nil, org, <<"acme">>, "acme", 17, {org, acme},
                  [org], [{org, acme} | user]]],
    [refused([rule(#{name => r, scope => #{Dimension => Value}})],
             [rules, <<"r">>, scope, Dimension], Named)
     || {Dimension, Value, Named} <-
            [{orgs, acme, ["unknown dimension orgs", "org, project, user", "prompt_type"]},
             {orgs, undefined, ["unknown dimension orgs"]},
             {<<"org">>, acme, ["unknown dimension <<\"org\">>"]},
             {org, undefined, ["org must have a value, not undefined", "each"]},
             {user, nil, ["user must have a value, not nil", "each"]},
             {state, nil, ["state must have a value, not nil"]},
             {org, '', ["org must be an atom, a binary or a string", "''"]},
             {org, <<>>, ["org must be", "<<>>"]},
             {org, "", ["org must be", "[]"]},
             {org, 17, ["org must be", "17"]},
             {org, [acme], ["org must be", "[acme]"]},
             {org, {any, acme}, ["org must be", "{any,acme}"]},
             {model, <<"gpt", 255>>, ["model must be valid UTF-8"]},
             {agent, binary:copy(<<"x">>, 65536), ["agent must be", "65535"]},
             {state, binary:copy(<<"x">>, 1021), ["state must be", "1020"]},
             {state, total, ["state may not be total"]},
             {state, <<"total">>, ["state may not be total"]}]],
    refused([rule(#{name => r, scope => [{org, a}, {org, b}]})], [rules, <<"r">>, scope, org],
            ["org twice"]).

undeclared_states(_Config) ->
    [refused([rule(#{name => r, scope => #{state => State}})], [rules, <<"r">>, scope, state],
             ["state dreaming is not declared", "declare it in budgets", "#{dreaming => #{}}"])
     || State <- [dreaming, <<"dreaming">>, "dreaming"]],
    ?assertMatch({ok, [_]}, check([rule(#{scope => #{state => dreaming}})],
                                  (context())#{states => [<<"dreaming">>]})).

undeclared_series(_Config) ->
    [begin
         refused([rule(#{name => r, scope => maps:from_keys(Dimensions, each)})],
                 #{states => [], series => Series}, [rules, <<"r">>, scope],
                 ["is not declared", "series => [[" ++ Missing ++ "]]"]),
         ?assertMatch({ok, [_]}, check([rule(#{scope => maps:from_keys(Dimensions, each)})],
                                       #{states => [], series => [Dimensions | Series]}))
     end
     || {Dimensions, Series, Missing} <-
            [{[org], [], "org"},
             {[prompt_type], [[state], [org]], "prompt_type"},
             {[user, org], [[org], [user]], "org, user"},
             {[provider, state, model], [[state], [state, model]], "state, model, provider"},
             {[org], [[org, user]], "org"}]],
    %% What needs no declaration.
    [?assertMatch({ok, [_]}, check([rule(#{scope => Scope})], #{states => [], series => []}))
     || Scope <- [all, #{state => each}]],
    ok.

wrong_measures(_Config) ->
    [refused([rule(#{name => r, measure => Measure})], [rules, <<"r">>, measure],
             ["unknown measure " ++ Named, "completed_invocations", "credits", "tokens"])
     || {Measure, Named} <- [{costs, "costs"}, {<<"cost">>, "<<\"cost\">>"}, {"cost", "\"cost\""},
                             {undefined, "undefined"}, {[cost], "[cost]"}, {1, "1"}]],
    ok.

wrong_windows(_Config) ->
    [refused([rule(#{name => r, window => {rolling, Ms}})], [rules, <<"r">>, window],
             ["rolling window", "milliseconds", Named])
     || {Ms, Named} <- [{0, "not 0"}, {-1, "-1"}, {60.0, "60.0"}, {?AMOUNT_MAX + 1, "10^15"},
                        {hour, "hour"}, {undefined, "undefined"}]],
    [refused([rule(#{name => r, window => {calendar, Unit, Offset}})], [rules, <<"r">>, window],
             ["minutes east of UTC", "multiple of 15", "-1080 to 1080", Named])
     || Unit <- [day, week, month],
        {Offset, Named} <- [{2, "not 2"}, {-7, "-7"}, {1095, "1095"}, {-1095, "-1095"},
                            {60.0, "60.0"}, {utc, "utc"}, {<<"+02:00">>, "+02:00"}]],
    [refused([rule(#{name => r, window => Window})], [rules, <<"r">>, window],
             ["unknown window", "{rolling, Ms}", "{calendar, month, Offset}", "lifetime"])
     || Window <- [hour, undefined, 3600000, {calendar, day}, {calendar, year, 0},
                   {calendar, 0, day}, {rolling}, {rolling, 1, 2}, <<"lifetime">>, [rolling, 1],
                   #{rolling => 1}]],
    ok.

wrong_limits(_Config) ->
    [refused([rule(#{name => r, limit => Limit})], [rules, <<"r">>, limit],
             ["limit must be an integer from 0 to 10^15", "infinity", "granted", Named])
     || {Limit, Named} <- [{-1, "-1"}, {1.5, "1.5"}, {100.0, "100.0"}, {?AMOUNT_MAX + 1, "001"},
                           {undefined, "undefined"}, {nil, "nil"}, {none, "none"},
                           {<<"100">>, "100"}, {"100", "100"}, {unlimited, "unlimited"},
                           {[], "[]"}, {{5, usd}, "{5,usd}"}]],
    ok.

wrong_options(_Config) ->
    Granted = #{limit => granted, measure => cost, window => lifetime},
    [refused([rule(maps:merge(Base, #{name => r, Key => Given}))], [rules, <<"r">>, Key], Named)
     || {Key, Base, Named, Wrong} <-
            [{warn, #{}, ["warn must be a list of percents"],
              [80, undefined, none, #{}, <<"80">>, [80 | 90], {80}]},
             {warn, #{}, ["thresholds of warn", "1 to 100"],
              [[0], [101], [80, -5], [80.0], ["80"], [undefined], [80, high]]},
             {warn, #{}, ["warn has 80 twice"], [[80, 80], [80, 90, 80]]},
             {warn, #{}, ["at most 8", "9"], [lists:seq(1, 9)]},
             {soft, #{}, ["soft must be an integer from 1 to 99"],
              [0, 100, -1, 80.0, [80], undefined, nil, <<"80">>, false]},
             {on_exhausted, #{}, ["on_exhausted must be deny, degrade or warn"],
              [block, undefined, <<"deny">>, "warn", 1, [deny]]},
             {grace, Granted, ["grace must be an integer from 0 to 10^15"],
              [-1, 1.0, ?AMOUNT_MAX + 1, none, undefined, infinity]},
             {grace, #{}, ["grace must be an integer"], [-1]},
             {require, #{}, ["require must be true or false"], [1, yes, undefined, <<"true">>]},
             {default_estimate, #{measure => cost}, ["default_estimate must be an integer from 1"],
              [0, -1, 1.5, ?AMOUNT_MAX + 1, undefined, infinity]},
             {max_values, #{scope => #{org => each}}, ["max_values must be an integer from 1",
                                                       "10^9"],
              [0, -1, 1.0, 1000000001, infinity, none, undefined]}],
        Given <- Wrong],
    ok.

what_does_not_go_together(_Config) ->
    [refused([rule(Rule#{name => r})], [rules, <<"r">>, Key], Named)
     || {Key, Named, Rule} <-
            [{limit, ["limit granted", "measure", "credits", "not tokens"],
              #{limit => granted, measure => tokens}},
             {limit, ["limit granted", "not invocations"],
              #{limit => granted, measure => invocations}},
             {limit, ["limit granted", "not completed_invocations"],
              #{limit => granted, measure => completed_invocations}},
             {limit, ["limit granted", "window lifetime", "not rolling"],
              #{limit => granted, measure => credits, window => {rolling, 1}}},
             {limit, ["limit granted", "window lifetime", "not month"],
              #{limit => granted, measure => cost, window => {calendar, month, 0}}},
             {grace, ["grace goes with limit granted only"], #{limit => 5, grace => 1}},
             {grace, ["grace goes with limit granted only"], #{limit => infinity, grace => 1}},
             {default_estimate, ["default_estimate does not go with measure invocations"],
              #{measure => invocations, default_estimate => 1}},
             {default_estimate, ["completed_invocations", "always says how many"],
              #{measure => completed_invocations, default_estimate => 1}},
             {max_values, ["max_values goes with a scope that has each"],
              #{scope => #{org => acme}, max_values => 5}},
             {max_values, ["max_values goes with a scope that has each"],
              #{scope => #{org => <<"each">>}, max_values => 5}},
             {max_values, ["max_values goes with a scope that has each"],
              #{scope => all, max_values => 5}}]],
    ok.

one_wrong_rule_refuses_all(_Config) ->
    Right = [rule(#{name => integer_to_binary(N)}) || N <- lists:seq(1, 50)],
    refused(Right ++ [rule(#{name => wrong, limit => -1})], [rules, <<"wrong">>, limit], ["-1"]).

%%% Random rules -------------------------------------------------------------------------------

%% However a rule was written, what comes back says the same, and is stored as before.
rules_come_back_as_written(_Config) ->
    holds(proper:forall(
            proper_types:list(api_rule()),
            fun(Given) ->
                    Rules = [[{name, name(Index, Form)} | Pairs]
                             || {Index, {Form, Pairs}} <- lists:enumerate(Given)],
                    {ok, Stored} = check([as_written(Rule) || Rule <- Rules]),
                    Back = [cost_ledger_rules:from_stored(Rule) || Rule <- Stored],
                    Back =:= [normal(Rule) || Rule <- Rules] andalso
                        {ok, Stored} =:= check(Back) andalso
                        {ok, Stored} =:= check([maps:to_list(Rule) || Rule <- Back]) andalso
                        cost_ledger_rules:states_named(Rules) =:= states_of(Stored)
            end)).

%% Anything at all, also in the place of one part of a rule: never an exception, and the text can
%% be shown.
garbage_is_refused_in_words(_Config) ->
    Keys = [name, scope, measure, window, limit, warn, soft, on_exhausted, grace, require,
            default_estimate, max_values],
    holds(proper:forall(
            {proper_types:any(), proper_types:oneof(Keys), proper_types:oneof(dimensions())},
            fun({Any, Key, Dimension}) ->
                    lists:all(fun(Rules) ->
                                      _ = [true = is_binary(State)
                                           || State <- cost_ledger_rules:states_named(Rules)],
                                      answered(rules, check(Rules))
                              end,
                              [Any, [Any], [rule(#{Key => Any})], [rule(#{Any => Key})],
                               [rule(#{scope => #{Dimension => Any}})],
                               [rule(#{scope => #{Any => each}})],
                               [rule(#{scope => [{Dimension, Any}]})],
                               [rule(#{window => {rolling, Any}})],
                               [rule(#{window => {calendar, day, Any}})],
                               [rule(#{warn => [Any]})]])
                        andalso lists:all(fun(Series) ->
                                                  answered(series,
                                                           cost_ledger_rules:check_series(Series))
                                          end, [Any, [Any], [[Any]]])
            end)).

api_rule() ->
    proper_types:bind(
      {proper_types:oneof([atom, binary, string]), scope(), amounts(), options()},
      fun({Form, Scope, Amounts, Options}) ->
              {Form, [{scope, Scope} | Amounts] ++ possible(Options, Scope, Amounts)}
      end, false).

scope() ->
    Value = proper_types:oneof([each, acme, <<"acme">>, "acme", <<"思考中"/utf8>>, <<"each">>,
                                proper_types:non_empty(proper_types:list($x))]),
    State = proper_types:oneof([each, executing, <<"executing">>, "improving", '思考中',
                                <<"undefined">>]),
    proper_types:oneof([all, [{state, State}], [{org, Value}], [{user, Value}, {org, Value}],
                        [{model, Value}, {state, State}], [{prompt_type, Value}]]).

amounts() ->
    Amount = proper_types:oneof([0, 1, ?AMOUNT_MAX, proper_types:integer(0, ?AMOUNT_MAX)]),
    Offset = proper_types:oneof([15 * N || N <- lists:seq(-72, 72)]),
    Window = proper_types:oneof([lifetime, {rolling, proper_types:integer(1, ?AMOUNT_MAX)},
                                 {calendar, proper_types:oneof([day, week, month]), Offset}]),
    proper_types:oneof([[{measure, proper_types:oneof(measures())}, {window, Window},
                         {limit, proper_types:oneof([Amount, infinity])}],
                        [{measure, proper_types:oneof([cost, completed_cost, credits,
                                                       completed_credits])},
                         {window, lifetime}, {limit, granted}]]).

options() ->
    Percents = proper_types:bind(proper_types:list(proper_types:integer(1, 100)),
                                 fun(List) ->
                                         lists:reverse(lists:sublist(lists:usort(List), 8))
                                 end, false),
    [{warn, Percents},
     {soft, proper_types:oneof([none, proper_types:integer(1, 99)])},
     {on_exhausted, proper_types:oneof([deny, degrade, warn])},
     {grace, proper_types:oneof([0, proper_types:integer(0, ?AMOUNT_MAX)])},
     {require, proper_types:boolean()},
     {default_estimate, proper_types:oneof([none, proper_types:integer(1, ?AMOUNT_MAX)])},
     {max_values, proper_types:oneof([100000, proper_types:integer(1, 1000000000)])}].

possible(Options, Scope, Amounts) ->
    Granted = lists:member({limit, granted}, Amounts),
    Invocations = lists:member(proplists:get_value(measure, Amounts),
                               [invocations, completed_invocations]),
    Each = Scope =/= all andalso lists:keymember(each, 2, Scope),
    [Option || {Key, _} = Option <- Options,
               Key =/= grace orelse Granted,
               Key =/= default_estimate orelse not Invocations,
               Key =/= max_values orelse Each].

name(Index, atom) -> list_to_atom(name(Index, string));
name(Index, binary) -> list_to_binary(name(Index, string));
name(Index, string) -> "rule " ++ integer_to_list(Index).

%% Half of them as maps, the others as lists of pairs.
as_written(Pairs) ->
    case erlang:phash2(Pairs, 2) of
        0 -> Pairs;
        1 -> maps:from_list([{Key, map_of_pairs(Key, Value)} || {Key, Value} <- Pairs])
    end.

map_of_pairs(scope, Scope) when is_list(Scope) -> maps:from_list(Scope);
map_of_pairs(_Key, Value) -> Value.

%% What from_stored/1 says of it, written a second time.
normal(Pairs) ->
    Defaults = [{warn, []}, {soft, none}, {on_exhausted, deny}, {grace, 0}, {require, false},
                {default_estimate, none}, {max_values, 100000}],
    Rule = maps:from_list([{Key, normal(Key, Value)} || {Key, Value} <- Pairs -- Defaults]),
    case Rule of
        #{on_exhausted := warn, warn := _} -> Rule;
        #{on_exhausted := warn} -> Rule#{warn => [100]};
        _ -> Rule
    end.

normal(name, Name) -> to_binary(Name);
normal(warn, Percents) -> lists:sort(Percents);
normal(scope, all) -> all;
normal(scope, Scope) -> maps:from_list([{Dimension, normal_value(Dimension, Value)}
                                        || {Dimension, Value} <- Scope]);
normal(_Key, Value) -> Value.

normal_value(_Dimension, each) -> each;
normal_value(state, <<"undefined">>) -> <<"undefined">>;
normal_value(state, Value) -> binary_to_atom(to_binary(Value));
normal_value(_Dimension, Value) -> to_binary(Value).

to_binary(Atom) when is_atom(Atom) -> atom_to_binary(Atom);
to_binary(Text) -> unicode:characters_to_binary(Text).

states_of(Stored) ->
    lists:usort([State || #{<<"scope">> := #{<<"state">> := State}} <- Stored, State =/= nil]).

%%% States and series --------------------------------------------------------------------------

states_that_rules_name(_Config) ->
    Named = fun(Scope) -> #{scope => Scope} end,
    ?assertEqual([<<"dreaming">>, <<"executing">>, <<"思考中"/utf8>>],
                 cost_ledger_rules:states_named(
                   [Named(#{state => executing}), Named([{state, "dreaming"}]),
                    [{scope, [{state, <<"dreaming">>}, {org, acme}]}],
                    rule(#{scope => #{state => '思考中', model => each}})])),
    %% What is malformed names nothing, and keeps nothing else from being found.
    Malformed = [17, [], #{}, rule, Named(all), Named(each), Named(#{state => each}),
                 Named(#{state => undefined}), Named(#{state => nil}), Named(#{state => 17}),
                 Named(#{state => total}), Named(#{state => <<255>>}), Named(#{state => ''}),
                 Named(#{state => binary:copy(<<"x">>, 1021)}), Named(#{org => acme}),
                 Named([{state, a}, {state, b}]), Named([state]), #{<<"scope">> => all},
                 [{scope, all} | none]],
    ?assertEqual([], cost_ledger_rules:states_named(Malformed)),
    ?assertEqual([<<"a">>], cost_ledger_rules:states_named(Malformed ++ [Named(#{state => a})])),
    ?assertEqual([<<"a">>], cost_ledger_rules:states_named([Named(#{state => a}) | none])),
    [?assertEqual([], cost_ledger_rules:states_named(Garbage))
     || Garbage <- [none, #{}, 17, <<"rules">>, Named(#{state => a}), {rules}]],
    ok.

%% As on disk: docs/format.md.
dimensions_have_their_numbers(_Config) ->
    ?assertEqual([{state, 1}, {org, 2}, {project, 3}, {user, 4}, {agent, 5}, {model, 6},
                  {provider, 7}, {prompt_type, 9}], cost_ledger_rules:dimensions()).

series_are_normalised(_Config) ->
    [?assertEqual({ok, Series}, cost_ledger_rules:check_series(Given))
     || {Given, Series} <-
            [{[], [[state]]},
             {[[state]], [[state]]},
             {[[org]], [[state], [org]]},
             {[[user, org], [org]], [[state], [org, user], [org]]},
             {[[prompt_type, state], [state]], [[state, prompt_type], [state]]},
             {[lists:reverse(dimensions())], [[state], dimensions()]}]],
    Most = lists:sublist(combinations(dimensions()) -- [[state]], 63),
    ?assertEqual({ok, [[state] | Most]}, cost_ledger_rules:check_series(Most)),
    ?assertEqual({ok, Most ++ [[state]]}, cost_ledger_rules:check_series(Most ++ [[state]])).

wrong_series(_Config) ->
    TooMany = lists:sublist(combinations(dimensions()) -- [[state]], 64),
    [begin
         {error, Path, Text} = cost_ledger_rules:check_series(Series),
         mentions(Text, Named)
     end
     || {Series, Path, Named} <-
            [{none, [series], ["list of lists", "none"]},
             {#{org => user}, [series], ["list of lists"]},
             {[[org] | user], [series], ["list of lists"]},
             {[org, user], [series, 1], ["list of at least one dimension", "not org"]},
             {[[org], []], [series, 2], ["at least one dimension"]},
             {[[org], [org | user]], [series, 2], ["at least one dimension"]},
             {[[org, orgs]], [series, 1], ["unknown dimension orgs", "known are state, org"]},
             {["org"], [series, 1], ["unknown dimension 111"]},
             {[[<<"org">>]], [series, 1], ["unknown dimension <<\"org\">>"]},
             {[[org, user, org]], [series, 1], ["org twice"]},
             {[[org, user], [user], [user, org]], [series, 3], ["[org, user]", "twice"]},
             {[[state], [state]], [series, 2], ["[state]", "twice"]},
             {TooMany, [series], ["63"]},
             {[[state] | TooMany], [series], ["63"]}]],
    ok.

combinations([]) -> [];
combinations([First | Rest]) ->
    Others = combinations(Rest),
    [[First]] ++ [[First | Other] || Other <- Others] ++ Others.

%%% Settings -----------------------------------------------------------------------------------

%% As docs/budgets.md has it.
settings_are_declared_then_changed(_Config) ->
    {ok, Declared} = merge(#{}, #{retries => #{type => integer, min => 0, max => 10, value => 3}}),
    ?assertEqual(#{<<"retries">> => #{<<"type">> => <<"integer">>, <<"value">> => 3,
                                      <<"min">> => 0, <<"max">> => 10}}, Declared),
    {ok, Changed} = merge(Declared, #{retries => 5}),
    ?assertEqual(#{<<"retries">> => #{<<"type">> => <<"integer">>, <<"value">> => 5,
                                      <<"min">> => 0, <<"max">> => 10}}, Changed),
    ?assertEqual({ok, #{retries => 5}}, cost_ledger_settings:values(Changed)),
    ?assertEqual({ok, Changed}, merge(Changed, #{})),
    ?assertEqual({ok, Changed}, merge(Changed, [])),
    [?assertEqual({ok, Changed}, merge(Declared, Same))
     || Same <- [#{<<"retries">> => 5}, #{"retries" => 5}, [{retries, 5}]]],
    ?assertEqual({ok, Declared}, merge(#{}, [{retries, [{type, integer}, {value, 3}, {min, 0},
                                                        {max, 10}]}])).

settings_of_every_type(_Config) ->
    [begin
         {ok, Stored} = merge(#{}, #{it => Declaration}),
         ?assertEqual(#{<<"it">> => Expected}, Stored),
         #{<<"value">> := Value} = Expected,
         ?assertEqual({ok, #{it => Value}}, cost_ledger_settings:values(Stored)),
         %% What is read can be written.
         ?assertEqual({ok, Stored}, merge(Stored, #{it => Value}))
     end
     || {Declaration, Expected} <-
            [{#{type => integer, value => ?AMOUNT_MAX},
              #{<<"type">> => <<"integer">>, <<"value">> => ?AMOUNT_MAX}},
             {#{type => integer, value => -?AMOUNT_MAX},
              #{<<"type">> => <<"integer">>, <<"value">> => -?AMOUNT_MAX}},
             {#{type => integer, value => 7, min => 7, max => 7},
              #{<<"type">> => <<"integer">>, <<"value">> => 7, <<"min">> => 7, <<"max">> => 7}},
             {#{type => integer, value => 7, max => 8},
              #{<<"type">> => <<"integer">>, <<"value">> => 7, <<"max">> => 8}},
             {#{type => integer, value => 7, min => -?AMOUNT_MAX, max => ?AMOUNT_MAX},
              #{<<"type">> => <<"integer">>, <<"value">> => 7, <<"min">> => -?AMOUNT_MAX,
                <<"max">> => ?AMOUNT_MAX}},
             {#{type => string, value => <<"1">>, one_of => numbers(256)},
              #{<<"type">> => <<"string">>, <<"value">> => <<"1">>, <<"one_of">> => numbers(256)}},
             {#{type => boolean, value => false},
              #{<<"type">> => <<"boolean">>, <<"value">> => false}},
             {#{type => string, value => fast},
              #{<<"type">> => <<"string">>, <<"value">> => <<"fast">>}},
             {#{type => string, value => ""},
              #{<<"type">> => <<"string">>, <<"value">> => <<>>}},
             {#{type => string, value => "思考中"},
              #{<<"type">> => <<"string">>, <<"value">> => <<"思考中"/utf8>>}},
             {#{type => string, value => binary:copy(<<"x">>, 4096)},
              #{<<"type">> => <<"string">>, <<"value">> => binary:copy(<<"x">>, 4096)}},
             {#{type => string, value => <<"slow">>, one_of => [slow, "fast", <<"any">>]},
              #{<<"type">> => <<"string">>, <<"value">> => <<"slow">>,
                <<"one_of">> => [<<"slow">>, <<"fast">>, <<"any">>]}}]],
    ok.

settings_are_removed(_Config) ->
    {ok, Stored} = merge(#{}, #{a => integer(1), b => integer(2)}),
    {ok, Left} = merge(Stored, #{a => undefined}),
    ?assertEqual({ok, #{b => 2}}, cost_ledger_settings:values(Left)),
    ?assertEqual({ok, Left}, merge(Stored, #{<<"a">> => nil})),
    refused_change(Left, #{a => undefined}, [settings, <<"a">>], ["no setting a to remove"]).

a_declaration_replaces_what_was(_Config) ->
    {ok, Old} = merge(#{}, #{it => #{type => integer, value => 1, min => 0, max => 5}}),
    {ok, New} = merge(Old, #{it => #{type => string, value => fast}}),
    ?assertEqual(merge(#{}, #{it => #{type => string, value => fast}}), {ok, New}),
    ?assertMatch({ok, #{<<"it">> := #{<<"value">> := 9}}},
                 merge(Old, #{it => #{type => integer, value => 9, max => 9}})).

wrong_changes(_Config) ->
    {ok, Stored} = merge(#{}, #{retries => #{type => integer, min => 0, max => 10, value => 3},
                                open => #{type => integer, value => 3},
                                dry => #{type => boolean, value => false},
                                mode => #{type => string, value => fast, one_of => [fast, slow]},
                                note => #{type => string, value => ""}}),
    [refused_change(Stored, Changes, Path, Named)
     || {Changes, Path, Named} <-
            [{none, [settings], ["must be a map", "none"]},
             {[retries], [settings], ["must be a map"]},
             {[{retries, 5} | none], [settings], ["must be a map"]},
             {#{retries => 11}, [settings, <<"retries">>], ["retries", "from 0 to 10", "not 11"]},
             {#{retries => -1}, [settings, <<"retries">>], ["retries", "-1"]},
             {#{retries => 5.0}, [settings, <<"retries">>], ["retries", "5.0"]},
             {#{retries => "5"}, [settings, <<"retries">>], ["retries", "integer"]},
             {#{retries => <<"5">>}, [settings, <<"retries">>], ["retries", "integer"]},
             {#{retries => true}, [settings, <<"retries">>], ["retries", "true"]},
             {#{retries => infinity}, [settings, <<"retries">>], ["retries", "infinity"]},
             {#{open => ?AMOUNT_MAX + 1}, [settings, <<"open">>], ["open", "1000000000000001"]},
             {#{open => -?AMOUNT_MAX - 1}, [settings, <<"open">>], ["open", "-1000000000000001"]},
             {#{dry => 1}, [settings, <<"dry">>], ["dry must be true or false", "1"]},
             {#{dry => <<"true">>}, [settings, <<"dry">>], ["dry must be true or false"]},
             {#{mode => medium}, [settings, <<"mode">>], ["mode must be one of", "fast", "medium"]},
             {#{mode => <<>>}, [settings, <<"mode">>], ["mode must be one of"]},
             {#{note => 17}, [settings, <<"note">>], ["note", "string", "17"]},
             {#{note => true}, [settings, <<"note">>], ["note must be a string, not true"]},
             {#{note => <<255>>}, [settings, <<"note">>], ["note", "UTF-8"]},
             {#{note => binary:copy(<<"x">>, 4097)}, [settings, <<"note">>], ["note", "4096"]},
             {#{retires => 5}, [settings, <<"retires">>],
              ["setting retires is not declared", "#{retires => #{type => integer, value => 5}}"]},
             {#{wet => true}, [settings, <<"wet">>], ["not declared", "type => boolean"]},
             {#{color => red}, [settings, <<"color">>], ["not declared", "type => string"]},
             {#{color => ""}, [settings, <<"color">>], ["not declared", "type => string"]},
             {#{ratio => 1.5}, [settings, <<"ratio">>], ["not declared", "type => integer"]},
             {#{'' => 5}, [settings, ''], ["name of a setting", "''"]},
             {#{17 => 5}, [settings, 17], ["name of a setting", "17"]},
             {#{<<255>> => 5}, [settings, <<255>>], ["name of a setting", "UTF-8"]},
             {#{binary:copy(<<"x">>, 256) => 5}, [settings, binary:copy(<<"x">>, 256)],
              ["name of a setting", "255"]},
             {[{retries, 5}, {retries, 6}], [settings, <<"retries">>], ["retries", "twice"]},
             {#{retries => 5, <<"retries">> => 5}, [settings, <<"retries">>],
              ["retries", "twice"]}]],
    ok.

wrong_declarations(_Config) ->
    [refused_change(#{}, #{it => Declaration}, [settings, <<"it">> | Path], Named)
     || {Declaration, Path, Named} <-
            [{#{}, [type], ["type is missing"]},
             {#{value => 3}, [type], ["type is missing"]},
             {#{type => integer}, [value], ["value is missing"]},
             {#{type => float, value => 1}, [type], ["integer, boolean or string", "float"]},
             {#{type => <<"integer">>, value => 1}, [type], ["integer, boolean or string"]},
             {#{type => integer, value => 1, maximum => 3}, [maximum],
              ["unknown key maximum", "min, max, one_of"]},
             {[{type, integer}, {value, 1}, {value, 2}], [value], ["value twice"]},
             {#{type => integer, value => 1, min => 2}, [value], ["from 2", "not 1"]},
             {#{type => integer, value => 3, max => 2}, [value], ["to 2", "not 3"]},
             {#{type => integer, value => 3, min => 5, max => 2}, [min], ["min is 5", "max, 2"]},
             {#{type => integer, value => 3, min => none}, [min], ["min must be", "none"]},
             {#{type => integer, value => 3, max => 9.0}, [max], ["max must be", "9.0"]},
             {#{type => integer, value => 3, max => ?AMOUNT_MAX + 1}, [max], ["10^15"]},
             {#{type => integer, value => ?AMOUNT_MAX + 1}, [value], ["it must be"]},
             {#{type => integer, value => undefined}, [value], ["undefined"]},
             {#{type => integer, value => 3, one_of => [3]}, [one_of], ["string, not integer"]},
             {#{type => boolean, value => true, min => 0}, [min], ["integer, not boolean"]},
             {#{type => boolean, value => 0}, [value], ["true or false", "0"]},
             {#{type => string, value => a, max => 3}, [max], ["integer, not string"]},
             {#{type => string, value => undefined}, [value], ["undefined"]},
             {#{type => string, value => c, one_of => [a, b]}, [value], ["must be one of"]},
             {#{type => string, value => a, one_of => []}, [one_of], ["1 to 256 strings"]},
             {#{type => string, value => <<"1">>, one_of => numbers(257)}, [one_of],
              ["1 to 256 strings"]},
             {#{type => string, value => a, one_of => a}, [one_of], ["1 to 256 strings"]},
             {#{type => string, value => a, one_of => "abc"}, [one_of], ["string", "97"]},
             {#{type => string, value => a, one_of => [a, true]}, [one_of], ["true"]},
             {#{type => string, value => a, one_of => [a, <<"a">>]}, [one_of], ["twice"]},
             {#{type => string, value => a, one_of => [a | b]}, [one_of], ["1 to 256 strings"]}]],
    ok.

%% Not the good half of it.
invalid_changes_are_refused_whole(_Config) ->
    {ok, Stored} = merge(#{}, #{a => integer(1), b => integer(2)}),
    [refused_change(Stored, Wrong#{a => 5, c => integer(3)}, [settings, <<"b">> | Path], ["b"])
     || {Wrong, Path} <- [{#{b => many}, []},
                          {#{b => #{type => string, value => 4}, d => integer(4)}, [value]}]],
    refused_change(Stored, #{a => undefined, b => undefined, c => undefined}, [settings, <<"c">>],
                   ["c"]).

settings_have_their_room(_Config) ->
    Declared = fun(Numbers) -> maps:from_list([{integer_to_binary(N), integer(N)}
                                               || N <- Numbers]) end,
    {ok, Full} = merge(#{}, Declared(lists:seq(1, 256))),
    refused_change(Full, #{more => integer(1)}, [settings], ["256", "257"]),
    refused_change(#{}, Declared(lists:seq(1, 257)), [settings], ["256", "257"]),
    ?assertMatch({ok, _}, merge(Full, #{more => integer(1), <<"7">> => undefined})),
    %% 1 MiB in all, which is the core's.
    Long = #{type => string, value => binary:copy(<<"x">>, 4096)},
    Strings = fun(Count) -> maps:from_list([{integer_to_binary(N), Long}
                                            || N <- lists:seq(1, Count)]) end,
    ?assertMatch({ok, _}, merge(#{}, Strings(250))),
    refused_change(#{}, Strings(256), [settings], ["bytes together", "1048576"]).

%% The system that this one replaces took a default instead, and said nothing.
invalid_stored_values_are_errors(_Config) ->
    {ok, Right} = merge(#{}, #{a => integer(1), z => integer(2)}),
    [begin
         Stored = Right#{<<"it">> => Wrong},
         {error, [settings, <<"it">> | Path], Text} = cost_ledger_settings:values(Stored),
         mentions(Text, ["stored setting it is not valid" | Named]),
         %% And a new value does not hide it.
         {error, [settings, <<"it">> | Path], Text} = merge(Stored, #{it => 4})
     end
     || {Wrong, Path, Named} <-
            [{stored(<<"integer">>, <<"3">>), [value], ["integer"]},
             {stored(<<"integer">>, 3.0), [value], ["3.0"]},
             {stored(<<"integer">>, nil), [value], ["nil"]},
             {stored(<<"integer">>, ?AMOUNT_MAX + 1), [value], ["1000000000000001"]},
             {(stored(<<"integer">>, 3))#{<<"max">> => 2}, [value], ["to 2", "not 3"]},
             {(stored(<<"integer">>, 3))#{<<"min">> => <<"1">>}, [min], ["min"]},
             {(stored(<<"integer">>, 3))#{<<"step">> => 2}, [<<"step">>], ["step"]},
             {stored(<<"boolean">>, 1), [value], ["true or false"]},
             {stored(<<"boolean">>, <<"true">>), [value], ["true or false"]},
             {stored(<<"string">>, 17), [value], ["string", "17"]},
             {stored(<<"string">>, <<255>>), [value], ["UTF-8"]},
             {stored(<<"string">>, "charlist"), [], ["not as it would be written"]},
             {(stored(<<"string">>, <<"c">>))#{<<"one_of">> => [<<"a">>]}, [value], ["one of"]},
             {stored(<<"float">>, 1.5), [type], ["integer, boolean or string", "float"]},
             {stored(nil, 3), [type], ["nil"]},
             {#{<<"type">> => <<"integer">>}, [value], ["value is missing"]},
             {#{<<"value">> => 3}, [type], ["type is missing"]},
             {#{}, [type], ["type is missing"]},
             {nil, [], ["nil"]}, {3, [], ["3"]}]],
    {error, [settings, <<255>>], _} =
        cost_ledger_settings:values(#{<<255>> => stored(<<"integer">>, 3)}),
    ok.

an_invalid_stored_setting_can_be_mended(_Config) ->
    Stored = #{<<"it">> => stored(<<"float">>, 1.5), <<"a">> => stored(<<"integer">>, 1)},
    {ok, Declared} = merge(Stored, #{it => integer(2)}),
    ?assertEqual({ok, #{a => 1, it => 2}}, cost_ledger_settings:values(Declared)),
    {ok, Removed} = merge(Stored, #{it => undefined}),
    ?assertEqual({ok, #{a => 1}}, cost_ledger_settings:values(Removed)).

differences_are_sorted(_Config) ->
    {ok, From} = merge(#{}, #{z => integer(1), same => integer(7), b => integer(2),
                              range => integer(5)}),
    {ok, To} = merge(From, #{z => 9, b => undefined, a => #{type => string, value => new},
                             range => #{type => integer, value => 5, max => 6}}),
    ?assertEqual([#{setting => <<"a">>, from => undefined, to => <<"new">>},
                  #{setting => <<"b">>, from => 2, to => undefined},
                  #{setting => <<"range">>, from => 5, to => 5},
                  #{setting => <<"z">>, from => 1, to => 9}],
                 cost_ledger_settings:differences(From, To)),
    ?assertEqual([], cost_ledger_settings:differences(To, To)).

any_stored_value_is_itself_or_an_error(_Config) ->
    Constraints = [#{}, #{<<"min">> => 0}, #{<<"max">> => 5}, #{<<"one_of">> => [<<"a">>]}],
    holds(proper:forall(
            {proper_types:oneof([<<"integer">>, <<"boolean">>, <<"string">>]),
             proper_types:oneof(Constraints), garbage()},
            fun({Type, Constraint, Value}) ->
                    Stored = #{<<"it">> => maps:merge(stored(Type, Value), Constraint)},
                    case cost_ledger_settings:values(Stored) of
                        {ok, #{it := Read}} -> Read =:= Value;
                        Answer -> answered(settings, Answer)
                    end
            end)).

%% Whatever merge takes, values can read; and nothing raises.
merged_settings_can_be_read(_Config) ->
    {ok, Stored} = merge(#{}, #{n => integer(1), b => #{type => boolean, value => true},
                                s => #{type => string, value => a}}),
    Keys = [n, b, s, x, <<"n">>, "s"],
    Parts = [type, value, min, max, one_of],
    holds(proper:forall(
            {proper_types:oneof(Keys), proper_types:oneof(Parts), garbage(), garbage()},
            fun({Key, Part, Any, Other}) ->
                    lists:all(
                      fun(Changes) ->
                              case merge(Stored, Changes) of
                                  {ok, Merged} ->
                                      {ok, Values} = cost_ledger_settings:values(Merged),
                                      map_size(Values) =:= map_size(Merged);
                                  Answer ->
                                      answered(settings, Answer)
                              end
                      end,
                      [Any, #{Any => 1}, #{Key => Any}, [{Key, Any}], #{Key => #{Part => Any}},
                       #{Key => (integer(3))#{Part => Any}}, #{Key => [{Part, Any}]},
                       #{Key => #{type => string, value => Other, Part => Any}}])
            end)).

garbage() ->
    proper_types:oneof([proper_types:any(), proper_types:integer(), proper_types:boolean(),
                        proper_types:binary(), proper_types:list(proper_types:integer(0, 1200)),
                        proper_types:oneof([a, <<"a">>, "a", undefined, nil])]).

%%% Helpers ------------------------------------------------------------------------------------

rule(Changes) ->
    maps:merge(#{name => <<"rule">>, scope => all, measure => cost, window => lifetime,
                 limit => 100}, Changes).

context() ->
    #{states => [<<"executing">>, <<"improving">>, <<"思考中"/utf8>>, <<"undefined">>],
      series => [[state], [org], [user], [user, org], [state, model], [prompt_type], [model],
                 [agent]]}.

check(Rules) -> check(Rules, context()).

check(Rules, Context) -> cost_ledger_rules:check(Rules, Context).

merge(Stored, Changes) -> cost_ledger_settings:merge(Stored, Changes).

measures() ->
    [invocations, completed_invocations, cost, completed_cost, credits, completed_credits, tokens].

dimensions() -> [Dimension || {Dimension, _} <- cost_ledger_rules:dimensions()].

integer(Value) -> #{type => integer, value => Value}.

numbers(Count) -> [integer_to_binary(N) || N <- lists:seq(1, Count)].

stored(Type, Value) -> #{<<"type">> => Type, <<"value">> => Value}.

unknown_name() ->
    <<"never seen ", (integer_to_binary(erlang:unique_integer([positive])))/binary, " ",
      (binary:encode_hex(crypto:strong_rand_bytes(8)))/binary>>.

refused(Rules, Path, Named) -> refused(Rules, context(), Path, Named).

refused(Rules, Context, Path, Named) ->
    {error, Where, Text} = check(Rules, Context),
    ?assertEqual({Rules, Path}, {Rules, Where}),
    mentions(Text, Named).

refused_change(Stored, Changes, Path, Named) ->
    {error, Where, Text} = merge(Stored, Changes),
    ?assertEqual({Changes, Path}, {Changes, Where}),
    mentions(Text, Named).

mentions(Text, Named) ->
    [?assertNotEqual({Words, nomatch, Text},
                     {Words, string:find(Text, unicode:characters_to_binary(Words)), Text})
     || Words <- Named],
    ok.

%% Texts go into log lines.
answered(_Root, {ok, _}) ->
    true;
answered(Root, {error, [Root | _], Text}) ->
    is_binary(Text) andalso Text =:= unicode:characters_to_binary(Text)
        andalso byte_size(Text) < 2000.

holds(Property) ->
    %% Everything: this PropEr cannot report an exception on OTP 25.
    Options = [{numtests, tests()}, quiet, long_result],
    case proper:quickcheck(Property, Options) of
        true -> ok;
        Other -> ct:fail({counterexample, Other})
    end.
