%%% The price book: what tokens cost, from when on, and that what was priced stays priced. A real
%%% trace at real list prices costs what it costs, to the nano-unit.
-module(cost_ledger_prices_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-import(cost_ledger_test, [at/2]).
-import(cost_ledger_test_budget,
        [reopen/2, close/1, refused/1, mentions/2, rule/5, denied/1, used/3, held/3]).
-import(cost_ledger_test_records,
        [open/1, open/2, record/2, record_many/3, fetched/2, pages/3, all/2, totals/2, unchanged/2,
         tokens/1, failing/1]).

-define(NOON, 1700000000000).
-define(BY, #{by => <<"ops">>, reason => <<"list prices">>}).
%% A nano-unit a token; a unit is 10^-15.
-define(NANO, 1000000).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [{group, trace}, {group, book}, {group, pricing}, {group, refusals}].

groups() ->
    [{trace, [parallel],
      [the_trace_as_gpt_4o_costs_47_608895_dollars,
       the_trace_as_claude_3_5_sonnet_costs_57_868362_dollars]},
     {book, [parallel],
      [prices_are_read_as_they_were_set,
       a_large_book_is_read_whole,
       prices_by_hand_are_text_or_integers,
       prices_hold_from_their_time_on,
       an_import_tells_what_it_skipped,
       an_import_books_what_changed,
       an_import_sent_again_is_done_once,
       prices_survive_a_restart]},
     {pricing, [parallel],
      [what_was_priced_stays_priced,
       what_occurred_earlier_has_the_price_of_then,
       a_price_holds_in_the_millisecond_of_its_setting,
       beyond_the_threshold_the_second_tier_holds,
       cached_tokens_have_their_own_price,
       a_model_without_a_price_is_an_error,
       free_is_an_explicit_zero,
       the_price_of_the_provider_comes_first,
       a_cost_is_rounded_once,
       other_parts_of_a_breakdown_come_on_top,
       a_run_is_priced_once,
       an_attempt_is_held_to_its_price,
       a_settlement_is_priced,
       what_is_metered_is_priced]},
     {refusals, [parallel],
      [wrong_prices_are_refused_by_name,
       wrong_maps_are_refused,
       wrong_requests_to_price_are_refused,
       a_cost_beyond_all_amounts_is_refused]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(cost_ledger),
    ok = logger:set_module_level(cost_ledger_events, none),
    Config.

end_per_suite(_Config) ->
    logger:unset_module_level(cost_ledger_events).

init_per_testcase(_Case, Config) ->
    [{path, cost_ledger_test:directory(Config)} | Config].

end_per_testcase(_Case, Config) ->
    cost_ledger_test:remove(?config(path, Config)).

%%% Files of the repository --------------------------------------------------------------------

%% CT runs in a directory of its own.
file(Name) ->
    Here = filename:dirname(proplists:get_value(source, module_info(compile))),
    filename:join([Here, "..", Name]).

price_map() -> {file, file("test/data/model_prices.json")}.

trace() ->
    {ok, Text} = file:read_file(file("demo/azure_llm_code_2023.csv")),
    [_Header | Lines] = binary:split(Text, <<"\n">>, [global, trim_all]),
    [begin
         [_, Context, Generated] = binary:split(Line, <<",">>, [global]),
         {binary_to_integer(Context), binary_to_integer(string:trim(Generated))}
     end || Line <- Lines].

%%% The trace ----------------------------------------------------------------------------------

the_trace_as_gpt_4o_costs_47_608895_dollars(Config) ->
    trace_costs(Config, <<"gpt-4o">>, 47608895000).

the_trace_as_claude_3_5_sonnet_costs_57_868362_dollars(Config) ->
    trace_costs(Config, <<"claude-3-5-sonnet-20241022">>, 57868362000).

trace_costs(Config, Model, Cost) ->
    L = open(Config, #{series => [[user], [model]]}),
    {ok, #{models := Models}} = cost_ledger:import_prices(L, price_map(), ?BY),
    ?assert(Models > 150),
    Calls = list_to_tuple(trace()),
    ?assertEqual(8819, tuple_size(Calls)),
    Ids = record_many(L, tuple_size(Calls),
                      fun(Number) ->
                              {Context, Generated} = element(Number, Calls),
                              #{state => executing, model => Model, cost => auto,
                                tokens => #{input => Context, output => Generated}}
                      end),
    Tokens = tokens(#{input => 18059974, output => 245896}),
    [?assertMatch(#{cost := #{net := Cost, gross := Cost}, tokens := Tokens,
                    invocations := #{count := 8819, unpriced := 0, cost := Cost}},
                  totals(L, Filter)) || Filter <- [#{}, #{model => Model}]],
    Add = fun(#{cost := One}, Sum) -> Sum + One end,
    ?assertEqual({ok, Cost}, cost_ledger:fold(L, #{}, Add, 0)),
    ?assertEqual(Cost, lists:foldl(Add, 0, pages(L, #{model => Model}, #{limit => 1000}))),
    ?assertEqual(Cost, lists:foldl(Add, 0, [fetched(L, Id) || Id <- Ids])),
    close(L).

%%% The book -----------------------------------------------------------------------------------

set(L, Prices) -> set(L, Prices, #{}).

set(L, Prices, More) ->
    {ok, Id} = cost_ledger:set_prices(L, Prices, maps:merge(?BY, More)),
    Id.

prices_are_read_as_they_were_set(Config) ->
    L = open(Config),
    ?assertEqual({ok, []}, cost_ledger:prices(L)),
    ?assertEqual({error, not_found}, cost_ledger:price(L, m)),
    First = set(L, #{m => #{input => 5, output => 7},
                     <<"n">> => #{input => 1, output => 2, cache_read => 3, cache_creation => 4,
                                  reasoning => 5, above => #{tokens => 100, output => 9}}},
                #{id => <<"p-1">>}),
    ?assertEqual({ok, First},
                 cost_ledger:set_prices(L, #{<<"m">> => #{input => 5, output => 7},
                                             n => #{input => 1, output => 2, cache_read => 3,
                                                    cache_creation => 4, reasoning => 5,
                                                    above => #{tokens => 100, output => 9}}},
                                        ?BY#{id => <<"p-1">>})),
    M = #{model => <<"m">>, entry => First, effective_from => ?NOON, input => 5, output => 7,
          cache_read => 5, cache_creation => 5, reasoning => 7},
    N = #{model => <<"n">>, entry => First, effective_from => ?NOON, input => 1, output => 2,
          cache_read => 3, cache_creation => 4, reasoning => 5,
          above => #{tokens => 100, input => 1, output => 9, cache_read => 3, cache_creation => 4,
                     reasoning => 5}},
    ?assertEqual({ok, [M, N]}, cost_ledger:prices(L)),
    ?assertEqual({ok, M}, cost_ledger:price(L, m)),
    ?assertEqual({ok, N}, cost_ledger:price(L, "n", ?NOON)),
    ?assertMatch(#{kind := price, change := #{<<"by">> := <<"ops">>,
                                              <<"reason">> := <<"list prices">>}},
                 fetched(L, First)),
    %% Also of two that were set in the same millisecond the latest is told.
    Second = set(L, #{m => #{input => 6, output => 7}}),
    ?assertMatch({ok, #{entry := Second, input := 6}}, cost_ledger:price(L, m)),
    ?assertMatch({ok, [#{entry := Second}, #{entry := First}, #{model := <<"n">>}]},
                 cost_ledger:prices(L)),
    close(L).

%% More than one transaction tells, also of one model; each as it was set.
a_large_book_is_read_whole(Config) ->
    L = open(Config),
    Models = [iolist_to_binary(io_lib:format("m~4..0b", [Number])) || Number <- lists:seq(1, 1500)],
    Set = fun(Prices, From) -> set(L, Prices, #{effective_from => From}) end,
    First = Set(maps:from_list([{Model, #{input => 1, output => 1}} || Model <- Models]), 1000),
    Times = lists:seq(2000, 3300),
    Of = hd(Models),
    Entries = [{Time, Set(#{Of => #{input => Time, output => 1}}, Time)} || Time <- Times],
    {ok, Prices} = cost_ledger:prices(L),
    ?assertEqual([{Of, Time, Entry} || {Time, Entry} <- lists:reverse(Entries)]
                 ++ [{Model, 1000, First} || Model <- Models],
                 [{Model, Time, Entry} || #{model := Model, effective_from := Time,
                                            entry := Entry} <- Prices]),
    ?assertMatch({ok, #{input := 3300}}, cost_ledger:price(L, Of)),
    ?assertMatch({ok, #{input := 2999}}, cost_ledger:price(L, Of, 2999)),
    close(L).

prices_by_hand_are_text_or_integers(Config) ->
    L = open(Config),
    set(L, #{a => #{input => <<"2.5e-06">>, output => "0.00001"},
             b => #{input => 2500 * ?NANO, output => 10000 * ?NANO}}),
    [?assertMatch({ok, #{input := 2500000000, output := 10000000000, cache_read := 2500000000,
                         reasoning := 10000000000}}, cost_ledger:price(L, Model))
     || Model <- [a, b]],
    close(L).

prices_hold_from_their_time_on(Config) ->
    L = open(Config),
    set(L, #{m => #{input => 1, output => 1}}, #{effective_from => ?NOON - 1000}),
    set(L, #{m => #{input => 3, output => 3}}, #{effective_from => ?NOON + 1000}),
    set(L, #{m => #{input => 2, output => 2}}),
    [?assertMatch({At, {ok, #{input := Price}}}, {At, cost_ledger:price(L, m, At)})
     || {At, Price} <- [{?NOON - 1000, 1}, {?NOON - 1, 1}, {?NOON, 2}, {?NOON + 999, 2},
                        {?NOON + 1000, 3}, {?NOON + 100000, 3}]],
    ?assertEqual({error, not_found}, cost_ledger:price(L, m, ?NOON - 1001)),
    ?assertMatch({ok, #{input := 2}}, cost_ledger:price(L, m)),
    _ = at(L, ?NOON + 1000),
    ?assertMatch({ok, #{input := 3}}, cost_ledger:price(L, m)),
    ?assertMatch({ok, [#{input := 3}, #{input := 2}, #{input := 1}]}, cost_ledger:prices(L)),
    close(L).

an_import_tells_what_it_skipped(Config) ->
    L = open(Config),
    Map = <<"{\"good\": {\"input_cost_per_token\": 1e-06, \"output_cost_per_token\": 2e-06},"
            " \"fine\": {\"input_cost_per_token\": 1e-16, \"output_cost_per_token\": 2e-06},"
            " \"none\": {\"mode\": \"image_generation\"}}">>,
    {ok, #{id := Id, models := 1, skipped := Skipped}} = cost_ledger:import_prices(L, Map, ?BY),
    ?assertMatch([{<<"fine">>, _}, {<<"none">>, _}], Skipped),
    [?assert(byte_size(Reason) > 10) || {_, Reason} <- Skipped],
    mentions(proplists:get_value(<<"fine">>, Skipped), "input_cost_per_token"),
    ?assertMatch({ok, [#{model := <<"good">>, entry := Id, input := 1000000000,
                         output := 2000000000}]}, cost_ledger:prices(L)),
    close(L).

map(Models) ->
    Of = fun({Model, Input, Above}) ->
                 io_lib:format("\"~s\": {\"input_cost_per_token\": ~b, "
                               "\"output_cost_per_token\": 1~s}",
                               [Model, Input,
                                [[", \"input_cost_per_token_above_200k_tokens\": ",
                                  integer_to_list(Above)] || Above =/= none]])
         end,
    iolist_to_binary(["{", lists:join(", ", [Of(Model) || Model <- Models]), "}"]).

an_import_books_what_changed(Config) ->
    L = open(Config),
    {ok, #{unchanged := 0, models := Models}} = cost_ledger:import_prices(L, price_map(), ?BY),
    {ok, Before} = cost_ledger:prices(L),
    unchanged(L, fun() ->
        [?assertMatch({ok, #{id := none, models := Models, unchanged := Models}},
                      cost_ledger:import_prices(L, price_map(), Change))
         || Change <- [?BY, ?BY#{effective_from => ?NOON + 5000}]]
    end),
    ?assertEqual({ok, Before}, cost_ledger:prices(L)),
    %% Prices of one tier, of two, of another second tier.
    {ok, #{id := First, unchanged := 0}} =
        cost_ledger:import_prices(L, map([{"a", 1, none}, {"b", 1, 2}, {"c", 1, 2}]), ?BY),
    {ok, #{id := Second, models := 4, unchanged := 1}} =
        cost_ledger:import_prices(L, map([{"a", 1, 2}, {"b", 1, 2}, {"c", 1, 3}, {"d", 1, none}]),
                                  ?BY),
    [?assertMatch({Model, {ok, #{entry := Entry}}}, {Model, cost_ledger:price(L, Model)})
     || {Model, Entry} <- [{a, Second}, {b, First}, {c, Second}, {d, Second}]],
    %% As of another time, what is in force then counts.
    {ok, #{id := Third, unchanged := 0}} =
        cost_ledger:import_prices(L, map([{"b", 1, 2}]), ?BY#{effective_from => ?NOON - 9000}),
    ?assertMatch({ok, #{entry := Third}}, cost_ledger:price(L, b, ?NOON - 1)),
    close(L).

an_import_sent_again_is_done_once(Config) ->
    L = open(Config),
    Change = ?BY#{id => <<"i-1">>},
    Map = map([{"a", 1, none}, {"b", 1, 2}]),
    {ok, #{}} = cost_ledger:import_prices(L, map([{"a", 1, none}]), ?BY),
    {ok, #{id := Id, unchanged := 1} = Done} = cost_ledger:import_prices(L, Map, Change),
    Again = fun() -> ?assertEqual({ok, Done}, cost_ledger:import_prices(L, Map, Change)) end,
    unchanged(L, Again),
    %% Also when other prices came in force since.
    _ = at(L, ?NOON + 1000),
    {ok, #{}} = cost_ledger:import_prices(L, map([{"a", 7, none}, {"b", 7, 2}]), ?BY),
    unchanged(L, fun() ->
        Again(),
        [?assertEqual({error, {conflict, Id}}, cost_ledger:import_prices(L, Other, By))
         || {Other, By} <- [{map([{"a", 1, none}]), Change}, {map([{"b", 1, 2}]), Change#{by => x}},
                            {map([{"a", 1, none}, {"b", 1, 3}]), Change},
                            {map([{"a", 1, none}, {"b", 1, 2}, {"c", 1, none}]), Change},
                            {map([{"a", 7, none}, {"b", 7, 2}]), Change}]]
    end),
    %% What changes nothing takes no id.
    Idle = ?BY#{id => <<"i-2">>},
    {ok, #{id := none}} = cost_ledger:import_prices(L, map([{"a", 7, none}]), Idle),
    {ok, #{id := Taken}} = cost_ledger:import_prices(L, map([{"a", 8, none}]), Idle),
    Work = record(L, #{state => executing, id => <<"i-3">>}),
    ?assertEqual({error, {conflict, Work}},
                 cost_ledger:import_prices(L, map([{"a", 8, none}]), ?BY#{id => <<"i-3">>})),
    reopen(Config, L),
    ?assertMatch({ok, #{id := Taken}}, cost_ledger:import_prices(L, map([{"a", 8, none}]), Idle)),
    close(L).

prices_survive_a_restart(Config) ->
    L = open(Config),
    {ok, _} = cost_ledger:import_prices(L, price_map(), ?BY),
    {ok, Before} = cost_ledger:prices(L),
    reopen(Config, L),
    ?assertEqual({ok, Before}, cost_ledger:prices(L)),
    ?assertMatch(#{cost := 2500}, fetched(L, record(L, call(<<"gpt-4o">>, #{input => 1})))),
    close(L).

%%% Pricing ------------------------------------------------------------------------------------

call(Model, Tokens) ->
    #{state => executing, model => Model, cost => auto, tokens => Tokens}.

cost(L, Call) -> maps:get(cost, fetched(L, record(L, Call))).

what_was_priced_stays_priced(Config) ->
    L = open(Config),
    set(L, #{m => #{input => 2 * ?NANO, output => 3 * ?NANO}}),
    Call = (call(m, #{input => 10, output => 1}))#{run_id => <<"r">>},
    Id = record(L, Call),
    Before = fetched(L, Id),
    ?assertMatch(#{cost := 23, unit_prices := #{input := 2000000, output := 3000000,
                                                cache_read := 2000000, reasoning := 3000000}},
                 Before),
    set(L, #{m => #{input => 200 * ?NANO, output => 0}}),
    ?assertEqual(Before, fetched(L, Id)),
    ?assertMatch(#{cost := #{net := 23}}, totals(L, #{})),
    %% The same request again is still the same one.
    ?assertEqual({ok, Id}, cost_ledger:record(L, Call)),
    ?assertEqual(2000, cost(L, maps:remove(run_id, Call))),
    close(L).

what_occurred_earlier_has_the_price_of_then(Config) ->
    L = open(Config),
    set(L, #{m => #{input => 2 * ?NANO, output => 0}}),
    set(L, #{m => #{input => 1 * ?NANO, output => 0}}, #{effective_from => ?NOON - 5000}),
    Call = call(m, #{input => 10}),
    ?assertEqual(20, cost(L, Call)),
    ?assertEqual(10, cost(L, Call#{occurred_at => ?NOON - 5000})),
    ?assertEqual(10, cost(L, Call#{occurred_at => ?NOON - 1})),
    ?assertEqual(no_price, failing(cost_ledger:record(L, Call#{occurred_at => ?NOON - 5001}))),
    close(L).

%% As price/3 tells it.
a_price_holds_in_the_millisecond_of_its_setting(Config) ->
    L = open(Config),
    record(L, #{state => executing}), % so that the price is not the first of its millisecond
    set(L, #{m => #{input => 2 * ?NANO, output => 0}}),
    ?assertMatch({ok, #{effective_from := ?NOON}}, cost_ledger:price(L, m, ?NOON)),
    ?assertEqual(20, cost(L, (call(m, #{input => 10}))#{occurred_at => ?NOON})),
    close(L).

beyond_the_threshold_the_second_tier_holds(Config) ->
    L = open(Config),
    set(L, #{m => #{input => ?NANO, output => 2 * ?NANO, cache_read => 0,
                    above => #{tokens => 100, input => 5 * ?NANO, output => 10 * ?NANO}}}),
    ?assertEqual(100 + 2, cost(L, call(m, #{input => 100, output => 1}))),
    ?assertEqual(505 + 10, cost(L, call(m, #{input => 101, output => 1}))),
    %% What comes from the cache is part of the prompt, what is written is not.
    ?assertEqual(5, cost(L, call(m, #{input => 1, cache_read => 100}))),
    ?assertEqual(1 + 2000, cost(L, call(m, #{input => 1, output => 1000}))),
    %% A real one.
    {ok, _} = cost_ledger:import_prices(L, price_map(), ?BY),
    {ok, #{input := Low, above := #{tokens := 200000, input := High}}} =
        cost_ledger:price(L, <<"gemini-2.5-pro">>),
    [?assertEqual(Tokens * Unit div ?NANO,
                  cost(L, call(<<"gemini-2.5-pro">>, #{input => Tokens})))
     || {Tokens, Unit} <- [{200000, Low}, {200001, High}]],
    close(L).

cached_tokens_have_their_own_price(Config) ->
    L = open(Config),
    set(L, #{m => #{input => 10 * ?NANO, output => 0, cache_read => ?NANO,
                    cache_creation => 12 * ?NANO, reasoning => 7 * ?NANO}}),
    Id = record(L, call(m, #{input => 1, cache_read => 100, cache_creation => 50, reasoning => 2})),
    ?assertMatch(#{cost := 724, cache_savings := 800}, fetched(L, Id)),
    %% Writing alone costs more than it saves.
    Writing = record(L, call(m, #{cache_creation => 10})),
    ?assertMatch(#{cost := 120, cache_savings := -20}, fetched(L, Writing)),
    ?assertMatch(#{cache_savings := 780, cost := #{net := 844}}, totals(L, #{})),
    close(L).

a_model_without_a_price_is_an_error(Config) ->
    L = open(Config),
    set(L, #{m => #{input => 1, output => 1}}),
    unchanged(L, fun() ->
                         [?assertEqual(no_price,
                                       failing(cost_ledger:record(L, call(Model, #{input => 1}))))
                          || Model <- [<<"M">>, <<"m2">>, <<"lab/m">>, binary:copy(<<"m">>, 401)]],
                         Call = call(<<"x">>, #{input => 1}),
                         Plain = maps:without([state], Call),
                         [?assertEqual(no_price, failing(Answer))
                          || Answer <- [cost_ledger:record_invocation(L, executing, Plain),
                                        cost_ledger:reserve(L, Call), cost_ledger:check(L, Call)]],
                         ?assertEqual({ok, []}, cost_ledger:holds(L))
                 end),
    close(L).

free_is_an_explicit_zero(Config) ->
    L = open(Config),
    set(L, #{free => #{input => 0, output => <<"0">>}}),
    ?assertEqual(0, cost(L, call(free, #{input => 1000, output => 1000}))),
    ?assertMatch(#{invocations := #{unpriced := 0}}, totals(L, #{})),
    Text = refused(fun() -> cost_ledger:set_prices(L, #{m => #{input => 1}}, ?BY) end),
    [mentions(Text, Word) || Word <- ["output", "missing", "explicit 0"]],
    close(L).

the_price_of_the_provider_comes_first(Config) ->
    L = open(Config),
    Price = fun(Nanos) -> #{input => Nanos * ?NANO, output => 0} end,
    set(L, #{<<"m">> => Price(1), <<"lab/m">> => Price(2), <<"hub/n">> => Price(3)}),
    [?assertEqual({Provider, Cost},
                  {Provider, cost(L, (call(Model, #{input => 1}))#{provider => Provider})})
     || {Provider, Model, Cost} <- [{<<"lab">>, <<"m">>, 2}, {<<"hub">>, <<"m">>, 1},
                                    {undefined, <<"m">>, 1}, {<<"hub">>, <<"n">>, 3},
                                    {<<"lab">>, <<"hub/n">>, 3},
                                    {binary:copy(<<"p">>, 1000), <<"m">>, 1}]],
    ?assertEqual(no_price, failing(cost_ledger:record(L, call(<<"n">>, #{input => 1})))),
    close(L).

a_cost_is_rounded_once(Config) ->
    L = open(Config),
    %% 0.4 nano-units a token: three classes of one token each are 1.2, not three times 0.
    set(L, #{m => #{input => 400000, output => 400000}}),
    [?assertEqual({Tokens, Cost}, {Tokens, cost(L, call(m, Tokens))})
     || {Tokens, Cost} <- [{#{input => 1, output => 1, reasoning => 1}, 1}, {#{input => 1}, 0},
                           {#{input => 2}, 1}, {#{input => 1000000}, 400000}]],
    %% Half up.
    set(L, #{h => #{input => 500000, output => 499999}}),
    ?assertEqual([1, 0], [cost(L, call(h, Tokens)) || Tokens <- [#{input => 1}, #{output => 1}]]),
    close(L).

other_parts_of_a_breakdown_come_on_top(Config) ->
    L = open(Config),
    set(L, #{m => #{input => ?NANO, output => 0}}),
    Call = (call(m, #{input => 30}))#{breakdown => #{tool_calls => 12}},
    ?assertMatch(#{cost := 42, breakdown := #{tokens := 30, tool_calls := 12, penalties := 0}},
                 fetched(L, record(L, Call))),
    mentions(refused(fun() -> cost_ledger:record(L, Call#{breakdown => #{tokens => 30}}) end),
             breakdown),
    close(L).

a_run_is_priced_once(Config) ->
    L = open(Config),
    set(L, #{m => #{input => ?NANO, output => 0}}),
    {ok, Run} = cost_ledger:reserve(L, #{kind => run}),
    {ok, Call} = cost_ledger:reserve(L, (call(m, #{input => 10}))#{parent => Run}),
    {ok, _} = cost_ledger:settle(Call, #{cost => auto, tokens => #{input => 10}}),
    {ok, #{id := Id}} = cost_ledger:settle(Run, #{cost => auto, model => m,
                                                  tokens => #{input => 25}}),
    %% Its prices are of all of it, and not told of a part.
    ?assertMatch(#{cost := 15, tokens := #{input := 15}}, fetched(L, Id)),
    ?assertNot(is_map_key(unit_prices, fetched(L, Id))),
    ?assertMatch(#{cost := #{net := 25}, tokens := #{input := 25}}, totals(L, #{})),
    close(L).

an_attempt_is_held_to_its_price(Config) ->
    L = open(Config, #{rules => [rule(<<"cap">>, all, cost, lifetime, 100)]}),
    set(L, #{m => #{input => ?NANO, output => 0}}),
    ?assertMatch({ok, _}, cost_ledger:check(L, call(m, #{input => 100}))),
    _ = denied(cost_ledger:check(L, call(m, #{input => 101}))),
    _ = denied(cost_ledger:reserve(L, call(m, #{input => 101}))),
    {ok, Hold} = cost_ledger:reserve(L, call(m, #{input => 60})),
    ?assertEqual(60, held(L, all, <<"cap">>)),
    _ = denied(cost_ledger:reserve(L, call(m, #{input => 41}))),
    ok = cost_ledger:release(Hold),
    ?assertEqual({ok, answer},
                 cost_ledger:with_budget(L, call(m, #{input => 100}),
                                         fun(_) -> {answer, #{cost => auto,
                                                              tokens => #{input => 70}}} end)),
    ?assertEqual({70, 0}, {used(L, all, <<"cap">>), held(L, all, <<"cap">>)}),
    close(L).

a_settlement_is_priced(Config) ->
    L = open(Config),
    set(L, #{m => #{input => ?NANO, output => 0}, n => #{input => 3 * ?NANO, output => 0}}),
    Usage = #{cost => auto, tokens => #{input => 10}},
    Settled = fun(Given) ->
                      {ok, Hold} = cost_ledger:reserve(L, call(m, #{input => 50})),
                      {ok, #{id := Id}} = cost_ledger:settle(Hold, Given),
                      fetched(L, Id)
              end,
    ?assertMatch(#{cost := 10, unit_prices := #{input := 1000000}}, Settled(Usage)),
    ?assertMatch(#{cost := 30, model := <<"n">>}, Settled(Usage#{model => n})),
    {ok, Hold} = cost_ledger:reserve(L, call(m, #{input => 50})),
    ?assertEqual(no_price, failing(cost_ledger:settle(Hold, Usage#{model => other}))),
    ?assertMatch({ok, #{cost := 50}}, cost_ledger:hold_info(Hold)),
    mentions(refused(fun() -> cost_ledger:settle(Hold, #{cost => auto}) end), tokens),
    {ok, _} = cost_ledger:settle(Hold, Usage),
    %% Late: the difference to the estimate that was booked.
    {ok, Late} = cost_ledger:reserve(L, (call(m, #{input => 50}))#{deadline_ms => 1000}),
    _ = at(L, ?NOON + 1000),
    {ok, #{late := true, id := Id}} = cost_ledger:settle(Late, Usage#{model => n}),
    ?assertMatch(#{cost := -20, tokens := #{input := -40}}, fetched(L, Id)),
    close(L).

what_is_metered_is_priced(Config) ->
    L = open(Config),
    set(L, #{m => #{input => ?NANO, output => 0}}),
    {ok, Hold} = cost_ledger:reserve(L, (call(m, #{input => 50}))#{deadline_ms => 1000}),
    ok = cost_ledger:meter(Hold, #{cost => auto, tokens => #{input => 7}}),
    set(L, #{m => #{input => 9 * ?NANO, output => 0}}),
    _ = at(L, ?NOON + 1000),
    ?assertMatch([#{cost := 7, status := aborted, unit_prices := #{input := 1000000}}],
                 all(L, #{})),
    close(L).

%%% Refusals -----------------------------------------------------------------------------------

wrong_prices_are_refused_by_name(Config) ->
    L = open(Config),
    Fine = #{input => 1, output => 1},
    unchanged(L, fun() ->
        [mentions(refused(fun() -> cost_ledger:set_prices(L, Prices, ?BY) end), Word)
         || {Prices, Word} <-
                [{#{}, "1 to 10000"}, {[], "1 to 10000"}, {7, "1 to 10000"},
                 {#{m => 1}, "prices of m"}, {#{m => Fine, <<"m">> => Fine#{input => 2}}, "twice"},
                 {#{<<>> => Fine}, "model"}, {#{3 => Fine}, "model"},
                 {#{binary:copy(<<"m">>, 401) => Fine}, "model"}, {#{<<255>> => Fine}, "model"},
                 {#{m => #{}}, input}, {#{m => Fine#{input => -1}}, input},
                 {#{m => Fine#{input => 1.5}}, input}, {#{m => Fine#{input => 1 bsl 64}}, input},
                 {#{m => Fine#{input => <<"1e-20">>}}, input},
                 {#{m => Fine#{output => <<"-1">>}}, output},
                 {#{m => Fine#{output => <<"1,5">>}}, output},
                 {#{m => Fine#{output => nan}}, output}, {#{m => Fine#{colour => 1}}, colour},
                 {#{m => Fine#{above => 5}}, above}, {#{m => Fine#{above => #{}}}, above},
                 {#{m => Fine#{above => #{tokens => 0}}}, above},
                 {#{m => Fine#{above => #{tokens => 1, x => 1}}}, "x"},
                 {#{m => Fine#{above => #{tokens => 1, input => -1}}}, input}]],
        [mentions(refused(fun() -> cost_ledger:set_prices(L, #{m => Fine}, Change) end), Word)
         || {Change, Word} <- [{#{}, "who"}, {#{by => a}, "why"}, {7, "a map"},
                               {?BY#{effective_from => -1}, effective_from},
                               {?BY#{effective_from => soon}, effective_from},
                               {?BY#{effective_from => 1.0}, effective_from},
                               {?BY#{colour => 1}, colour}, {?BY#{id => <<>>}, id}]],
        ?assertEqual({ok, []}, cost_ledger:prices(L))
    end),
    [refused(fun() -> cost_ledger:price(L, Model, At) end)
     || {Model, At} <- [{<<>>, 0}, {m, soon}, {m, 1.0}, {{m}, 0}]],
    close(L).

wrong_maps_are_refused(Config) ->
    L = open(Config),
    unchanged(L, fun() ->
        [?assertEqual(bad_prices, failing(cost_ledger:import_prices(L, Text, ?BY)))
         || Text <- [<<>>, <<"[]">>, <<"{}">>, <<"{\"a\":">>, <<"nonsense">>, <<0, 255>>,
                     <<"{\"m\": {\"mode\": \"x\"}}">>, binary:copy(<<"[">>, 100000),
                     <<"{\"m\": {\"input_cost_per_token\": -1, \"output_cost_per_token\": 1}}">>]],
        ?assertEqual(no_such_file, failing(cost_ledger:import_prices(L, {file, "none.json"}, ?BY))),
        [refused(fun() -> cost_ledger:import_prices(L, Source, ?BY) end)
         || Source <- [none, {file, 7}, #{}, "text"]]
    end),
    close(L).

wrong_requests_to_price_are_refused(Config) ->
    L = open(Config),
    set(L, #{m => #{input => 1, output => 1}}),
    Call = call(m, #{input => 1}),
    unchanged(L, fun() ->
        [mentions(refused(fun() -> cost_ledger:record(L, Wrong) end), Word)
         || {Wrong, Word} <- [{maps:remove(model, Call), model},
                              {maps:remove(tokens, Call), tokens}, {Call#{model => nil}, model},
                              {Call#{tokens => 5}, tokens},
                              {Call#{tokens => #{input => -1}}, input},
                              {Call#{cost => automatic}, cost}]]
    end),
    close(L).

a_cost_beyond_all_amounts_is_refused(Config) ->
    L = open(Config),
    set(L, #{m => #{input => 16#ffffffffffffffff, output => 16#ffffffffffffffff}}),
    unchanged(L, fun() ->
        [?assertEqual(amount_too_large, failing(cost_ledger:record(L, call(m, Tokens))))
         || Tokens <- [#{input => 1000000000000000, output => 1000000000000000},
                       #{input => 100}]]
    end),
    close(L).
