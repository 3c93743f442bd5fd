%%% Runs as docs/runs.md describes them: what an agent's run costs adds up exactly, its budget stops
%%% it, and however it ends it is booked once.
-module(cost_ledger_run_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include_lib("cost_ledger/src/cost_ledger.hrl").

-compile([export_all, nowarn_export_all]).

-import(cost_ledger_test, [at/2, eventually/1]).
-import(cost_ledger_test_budget, [open/2, close/1, child/2, rule/5, told/3, live/1, mentions/2,
                                  in_parallel/2]).

-define(NOON, 1700000000000).
-define(BY, #{by => test, reason => <<"a test">>}).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [{group, runs}, {group, ends}, fifty_runs_at_once].

groups() ->
    [{runs, [parallel],
      [an_agents_run_is_accounted_and_recorded_as_completed,
       an_agents_run_that_fails_is_recorded_with_its_cost,
       a_warning_comes_once,
       a_used_up_budget_stops_the_run_with_a_reason,
       a_budget_of_nothing_is_for_unpaid_work,
       more_than_is_left_is_not_reserved,
       what_has_no_price_is_an_error_and_not_free,
       tokens_have_the_price_of_the_book,
       what_children_cost_is_counted_once,
       children_that_are_settled_directly_are_counted,
       a_call_that_raises_is_billed,
       releasing_all_gives_back_the_claims,
       a_run_inside_a_run_is_counted_once,
       an_allocation_multiplies_each_amount_once,
       an_allocation_comes_from_the_policy,
       a_malformed_allocation_is_an_error,
       a_long_trace_is_cut_and_counted,
       a_run_within_a_scope,
       a_run_id_is_used_once,
       an_unknown_run_is_an_error,
       hostile_arguments_are_the_callers_error]},
     {ends, [parallel],
      [a_killed_run_is_booked_with_what_it_used,
       a_killed_run_books_its_own_cost_whatever_children_booked_since,
       an_owner_that_dies_aborts_the_run,
       a_run_ends_at_its_deadline_and_can_still_be_finished,
       a_killed_writer_loses_nothing,
       a_restarted_ledger_keeps_its_runs,
       a_killed_vm_books_what_was_accounted,
       a_stopped_ledger_ends_its_runs,
       a_killed_ledger_starts_runs_again,
       finishing_twice_books_once,
       open_children_keep_a_run_from_being_finished,
       an_aborted_run_leaves_nothing_open,
       random_kills_book_exactly_once]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(cost_ledger),
    ok = logger:set_module_level(cost_ledger_events, debug),
    ok = logger:add_handler_filter(default, quiet,
                                   {fun cost_ledger_test_handler:stop_events/2, []}),
    ok = logger:add_primary_filter(?MODULE, {fun logger_filters:domain/2,
                                             {stop, sub, [otp, sasl]}}),
    Config.

end_per_suite(_Config) ->
    ok = logger:remove_primary_filter(?MODULE),
    _ = logger:remove_handler_filter(default, quiet),
    logger:unset_module_level(cost_ledger_events).

init_per_testcase(_Case, Config) ->
    [{path, cost_ledger_test:directory(Config)} | Config].

end_per_testcase(_Case, Config) ->
    cost_ledger_test:remove(?config(path, Config)).

%%% Runs ---------------------------------------------------------------------------------------

an_agents_run_is_accounted_and_recorded_as_completed(Config) ->
    L = open_at_noon(Config),
    {Run, Metrics} = deploy(L),
    ?assertMatch(#{run_id := <<"run-1">>, budget := 1000000, used := 700, remaining := 999300,
                   percent := 0, status := running, tool_calls := 1, external_requests := 3,
                   calls := 0, base_cost := 700, allocation := {1, 1},
                   breakdown := #{tokens := 250, tool_calls := 300, external_requests := 150,
                                  penalties := 0},
                   tokens := #{input := 10000, output := 15000}}, Metrics),
    at(L, ?NOON + 4500),
    {ok, #{id := Id, cost := 700, overrun := false, late := false}} =
        cost_ledger_run:finish(Run, #{status => completed, output => #{url => <<"https://x">>}}),
    {ok, Record} = cost_ledger:fetch_run(L, <<"run-1">>),
    ?assertMatch(#{id := Id, kind := run, status := completed, cost := 700, duration_ms := 4500,
                   agent := <<"DeployAgent">>, intent := <<"deploy">>, user := <<"u1">>,
                   input := #{branch := <<"main">>}, output := #{url := <<"https://x">>},
                   breakdown := #{tokens := 250, tool_calls := 300, external_requests := 150},
                   tokens := #{input := 10000, output := 15000},
                   trace := #{tool_calls := 1, api_calls := 3},
                   inclusive := #{cost := 700, base_cost := 700,
                                  allocation := <<"1/1">>}}, Record),
    #{trace := #{steps := Steps}} = Record,
    ?assertMatch([#{action := <<"tokens">>, cost := 250},
                  #{tool := <<"deployService">>, cost := 300,
                    duration_ms := 1200},
                  #{service := <<"stripe">>, count := 3, cost := 150}], Steps),
    ?assertEqual(0, live(L)),
    close(L).

%% What the agent does, and how its run stands then.
deploy(L) ->
    {ok, Run} = cost_ledger_run:start(
                  L, #{run_id => "run-1", agent => <<"DeployAgent">>, user => <<"u1">>,
                       budget => 1000000, intent => "deploy", input => #{branch => <<"main">>},
                       tool_prices => #{deployService => 300},
                       request_prices => #{"stripe" => 50}}),
    ok = cost_ledger_run:account_tokens(Run, #{input => 10000, output => 15000}, #{cost => 250}),
    ok = cost_ledger_run:account_tool_call(Run, deployService, #{duration_ms => 1200,
                                                                 result => #{ok => true}}),
    ok = cost_ledger_run:account_external_request(Run, <<"stripe">>, 3),
    false = cost_ledger_run:is_budget_exceeded(Run),
    {ok, Metrics} = cost_ledger_run:metrics(Run),
    {Run, Metrics}.

an_agents_run_that_fails_is_recorded_with_its_cost(Config) ->
    L = open_at_noon(Config),
    {Run, _} = deploy(L),
    ok = cost_ledger_run:account_penalty(Run, <<"retry">>, 7),
    {ok, #{cost := 707}} = cost_ledger_run:finish(Run, #{status => failed,
                                                         error_message => "build broke"}),
    ?assertMatch({ok, #{status := failed, cost := 707, error_message := <<"build broke">>,
                        breakdown := #{penalties := 7}}}, cost_ledger:fetch_run(L, "run-1")),
    {ok, #{records := [#{run_id := <<"run-1">>}]}} = listed(cost_ledger:failed(L, #{}, #{})),
    close(L).

listed({ok, #{records := _}} = Listed) -> Listed;
listed({ok, Listed}) -> {ok, #{records => maps:get(entries, Listed)}}.

a_warning_comes_once(Config) ->
    L = open_at_noon(Config),
    ok = cost_ledger:subscribe(L),
    Handler = cost_ledger_test:catch_events(L),
    Run = run(L, #{budget => 100}),
    ok = spend(Run, 79),
    {warning, 80} = spend(Run, 1),
    ok = spend(Run, 10),
    {ok, #{status := warned, percent := 90}} = cost_ledger_run:metrics(Run),
    ?assertMatch(#{run_id := <<"r">>, used := 80, budget := 100, percent := 80, threshold := 80},
                 receive {cost_ledger, L, {run_warning, Told}} -> Told after 5000 -> none end),
    receive {event, run_warning, #{used := 80, budget := 100, percent := 80},
             #{run_id := <<"r">>, threshold := 80}} -> ok
    after 5000 -> error(no_event) end,
    {stop, {budget_used_up, #{used := 100, budget := 100, percent := 100}}} = spend(Run, 10),
    receive {event, run_stopped, #{used := 100}, #{run_id := <<"r">>}} -> ok
    after 5000 -> error(no_event) end,
    receive {cost_ledger, L, {run_stopped, #{used := 100}}} -> ok after 5000 -> error(untold) end,
    {stop, _} = spend(Run, 10),
    receive {cost_ledger, L, Again} -> error(Again) after 100 -> ok end,
    {ok, _} = cost_ledger_run:finish(Run, #{}),
    ok = cost_ledger_test:release_events(Handler),
    close(L).

a_used_up_budget_stops_the_run_with_a_reason(Config) ->
    L = open_at_noon(Config),
    Run = run(L, #{budget => 100, warn => none}),
    ok = spend(Run, 99),
    false = cost_ledger_run:is_budget_exceeded(Run),
    %% What is under way is accounted whole.
    {stop, Reason} = spend(Run, 51),
    true = cost_ledger_run:is_budget_exceeded(Run),
    {budget_used_up, #{used := 150, budget := 100, percent := 150}} = Reason,
    {error, {run_stopped, Reason}} = cost_ledger_run:reserve(Run, paid(1)),
    {error, {run_stopped, Reason}} = cost_ledger_run:reserve(Run, paid(0)),
    {error, {run_stopped, Reason}} = cost_ledger_run:call(Run, paid(1),
                                                          fun(_) -> error(called) end),
    {ok, #{remaining := -50, status := stopped}} = cost_ledger_run:metrics(Run),
    {ok, #{cost := 150}} = cost_ledger_run:finish(Run, #{status => aborted}),
    close(L).

a_budget_of_nothing_is_for_unpaid_work(Config) ->
    L = open_at_noon(Config),
    Run = run(L, #{budget => 0}),
    false = cost_ledger_run:is_budget_exceeded(Run),
    {error, {run_exhausted, #{amount := 1, budget := 0, used := 0, held := 0}}} =
        cost_ledger_run:reserve(Run, paid(1)),
    {ok, done} = cost_ledger_run:call(Run, paid(0), fun(_) -> {done, #{cost => 0}} end),
    ok = spend(Run, 0),
    {stop, _} = spend(Run, 1),
    {ok, #{cost := 1}} = cost_ledger_run:finish(Run, #{}),
    close(L).

more_than_is_left_is_not_reserved(Config) ->
    L = open_at_noon(Config),
    Run = run(L, #{budget => 100}),
    ok = spend(Run, 10),
    {ok, Hold} = cost_ledger_run:reserve(Run, paid(60)),
    {error, {run_exhausted, #{amount := 31, budget := 100, used := 10, held := 60}}} =
        cost_ledger_run:reserve(Run, paid(31)),
    {ok, Other} = cost_ledger_run:reserve(Run, paid(30)),
    ok = cost_ledger_run:release(Run, Other),
    %% Settled behind its back.
    {ok, _} = cost_ledger:settle(Hold, #{cost => 20}),
    {ok, Third} = cost_ledger_run:reserve(Run, paid(70)),
    {error, {run_exhausted, _}} = cost_ledger_run:reserve(Run, paid(1)),
    ok = cost_ledger_run:release(Run, Third),
    %% Whoever dies while it works leaves its room to others.
    {Pid, Monitor} = spawn_monitor(fun() -> {ok, _} = cost_ledger_run:reserve(Run, paid(70)) end),
    receive {'DOWN', Monitor, process, Pid, normal} -> ok end,
    eventually(fun() -> live(L) =:= 1 end),
    {ok, #{used := 100}} = cost_ledger_run:metrics(Run),
    {error, {run_stopped, _}} = cost_ledger_run:reserve(Run, paid(1)),
    {ok, #{cost := 100}} = cost_ledger_run:finish(Run, #{}),
    ?assertEqual(100, spent(L)),
    close(L).

what_has_no_price_is_an_error_and_not_free(Config) ->
    L = open_at_noon(Config),
    Run = run(L, #{tool_prices => #{known => 5}, model => <<"no-such-model">>}),
    ok = cost_ledger_run:account_tool_call(Run, known),
    [begin
         {error, {no_price, Text}} = Fun(),
         mentions(Text, Word)
     end || {Fun, Word} <-
                [{fun() -> cost_ledger_run:account_tool_call(Run, other) end, "other"},
                 {fun() -> cost_ledger_run:account_external_request(Run, known, 1) end, "known"},
                 {fun() -> cost_ledger_run:account_tokens(Run, #{input => 1}) end,
                  "no-such-model"}]],
    {ok, #{used := 5, tool_calls := 1, tokens := #{input := 0}}} = cost_ledger_run:metrics(Run),
    %% What is free says so.
    ok = cost_ledger_run:account_tool_call(Run, other, #{cost => 0}),
    {ok, #{cost := 5}} = cost_ledger_run:finish(Run, #{}),
    close(L).

tokens_have_the_price_of_the_book(Config) ->
    L = open_at_noon(Config),
    {ok, _} = cost_ledger:set_prices(L, #{<<"m">> => #{input => 2500000, output => 10500001,
                                                       above => #{tokens => 1000,
                                                                  input => 5000000,
                                                                  output => 20000000}},
                                          <<"p/m">> => #{input => 1000000, output => 1000000}},
                                     ?BY),
    Run = run(L, #{model => m, budget => 100000}),
    ok = cost_ledger_run:account_tokens(Run, #{input => 1, output => 1}),
    %% 2.5 + 10.500001
    {ok, #{used := 13}} = cost_ledger_run:metrics(Run),
    ok = cost_ledger_run:account_tokens(Run, #{input => 1001, output => 1}, #{cost => auto}),
    {ok, #{used := 5038}} = cost_ledger_run:metrics(Run),
    ok = cost_ledger_run:account_tokens(Run, #{input => 7}, #{provider => <<"p">>}),
    {ok, #{used := 5045, breakdown := #{tokens := 5045}}} = cost_ledger_run:metrics(Run),
    %% The same by the ledger, for a call.
    {ok, done} = cost_ledger_run:call(Run, (paid(10))#{model => <<"m">>},
                                      fun(_) -> {done, #{cost => auto,
                                                         tokens => #{input => 1001, output => 1}}}
                                      end),
    {ok, #{used := 10070}} = cost_ledger_run:metrics(Run),
    {ok, #{cost := 10070}} = cost_ledger_run:finish(Run, #{}),
    ?assertEqual(10070, spent(L)),
    close(L).

what_children_cost_is_counted_once(Config) ->
    L = open_at_noon(Config),
    Run = run(L, #{user => <<"u1">>, state => executing}),
    ok = spend(Run, 100),
    {ok, answer} = cost_ledger_run:call(Run, #{cost => 75},
                                        fun(_) -> {answer, #{cost => 60,
                                                             tokens => #{input => 10}}} end),
    {ok, skipped} = cost_ledger_run:call(Run, #{cost => 75}, fun(_) -> {release, skipped} end),
    {ok, Hold} = cost_ledger_run:reserve(Run, #{cost => 75}),
    {ok, #{late := false}} = cost_ledger_run:settle(
                               Run, Hold, #{breakdown => #{tokens => 5, tool_calls => 20}}),
    {error, {resolved, _}} = cost_ledger_run:settle(Run, Hold, #{cost => 1}),
    ok = cost_ledger_run:account_external_request(Run, api, 2, #{cost => 8}),
    {ok, Metrics} = cost_ledger_run:metrics(Run),
    ?assertMatch(#{used := 193, calls := 2, tokens := #{input := 10},
                   breakdown := #{tokens := 65, tool_calls := 120, external_requests := 8,
                                  penalties := 0}}, Metrics),
    {ok, #{id := Id, cost := 193}} = cost_ledger_run:finish(Run, #{}),
    %% The run's entry has what it used itself, with its breakdown; inclusive has it all.
    ?assertMatch({ok, #{cost := 108, breakdown := #{tool_calls := 100, external_requests := 8},
                        inclusive := #{cost := 193, calls := 2,
                                       breakdown := #{tokens := 65}}}},
                 cost_ledger:fetch(L, Id)),
    ?assertEqual([25, 60, 108], costs(L)),
    ?assertEqual(193, spent(L)),
    [?assertEqual(<<"u1">>, User) || #{user := User} <- records(L)],
    close(L).

children_that_are_settled_directly_are_counted(Config) ->
    L = open_at_noon(Config),
    Run = run(L, #{}),
    {ok, Hold} = cost_ledger_run:reserve(Run, paid(75)),
    {ok, _} = cost_ledger:settle(Hold, #{cost => 70}),
    {ok, #{used := 70, breakdown := #{tokens := 70}, base_cost := 70}} =
        cost_ledger_run:metrics(Run),
    {ok, #{cost := 70}} = cost_ledger_run:finish(Run, #{}),
    ?assertEqual(70, spent(L)),
    close(L).

a_call_that_raises_is_billed(Config) ->
    L = open_at_noon(Config),
    Run = run(L, #{}),
    ?assertError(broken, cost_ledger_run:call(Run, paid(75), fun(_) -> error(broken) end)),
    ?assertError(badarg, cost_ledger_run:call(Run, paid(5), fun(_) -> nonsense end)),
    ?assertError(badarg, cost_ledger_run:call(Run, paid(6), fun(_) -> {ok, #{cost => -1}} end)),
    {ok, #{used := 86}} = cost_ledger_run:metrics(Run),
    {ok, #{cost := 86}} = cost_ledger_run:finish(Run, #{status => failed}),
    ?assertEqual(86, spent(L)),
    close(L).

releasing_all_gives_back_the_claims(Config) ->
    L = open_at_noon(Config),
    Run = run(L, #{budget => 100}),
    [{ok, _} = cost_ledger_run:reserve(Run, paid(25)) || _ <- lists:seq(1, 4)],
    {error, {run_exhausted, _}} = cost_ledger_run:reserve(Run, paid(1)),
    {error, {open_children, _}} = cost_ledger_run:finish(Run, #{}),
    {ok, 4} = cost_ledger_run:release_all(Run),
    {ok, 0} = cost_ledger_run:release_all(Run),
    {ok, done} = cost_ledger_run:call(Run, paid(100),
                                      fun(_) ->
                                              {ok, 0} = cost_ledger_run:release_all(Run),
                                              {done, #{cost => 100}}
                                      end),
    {ok, #{cost := 100}} = cost_ledger_run:finish(Run, #{}),
    ?assertEqual(0, live(L)),
    close(L).

a_run_inside_a_run_is_counted_once(Config) ->
    L = open_at_noon(Config),
    Run = run(L, #{budget => 1000, warn => none}),
    ok = spend(Run, 100),
    {ok, Inner} = cost_ledger_run:start(L, #{run_id => inner, budget => 500, parent => Run,
                                             allocation => {2, 1}}),
    {error, {run_exhausted, #{held := 500}}} = cost_ledger_run:reserve(Run, paid(401)),
    ok = spend(Inner, 30),
    {ok, done} = cost_ledger_run:call(Inner, paid(20), fun(_) -> {done, #{cost => 20}} end),
    {ok, #{used := 100, base_cost := 50}} = cost_ledger_run:metrics(Inner),
    {error, {open_children, _}} = cost_ledger_run:finish(Run, #{}),
    {ok, #{cost := 100}} = cost_ledger_run:finish(Inner, #{}),
    {ok, #{used := 200}} = cost_ledger_run:metrics(Run),
    {ok, _} = cost_ledger_run:reserve(Run, paid(800)),
    {ok, 1} = cost_ledger_run:release_all(Run),
    {ok, #{cost := 200}} = cost_ledger_run:finish(Run, #{}),
    ?assertMatch({ok, #{parent_run := <<"r">>, cost := 60}}, cost_ledger:fetch_run(L, inner)),
    ?assertEqual([40, 60, 100], costs(L)),
    ?assertEqual(200, spent(L)),
    close(L).

an_allocation_multiplies_each_amount_once(Config) ->
    L = open_at_noon(Config),
    {ok, _} = cost_ledger:set_prices(L, #{<<"m">> => #{input => 1000000, output => 1000000}}, ?BY),
    Run = run(L, #{budget => 100, warn => none, allocation => {3, 2}, model => <<"m">>}),
    ok = spend(Run, 1), % 1.5
    {ok, #{used := 2, base_cost := 1, allocation := {3, 2}}} = cost_ledger_run:metrics(Run),
    ok = spend(Run, 1),
    {ok, #{used := 4, base_cost := 2}} = cost_ledger_run:metrics(Run),
    %% The estimate, too: 64 of 96, 65 of 98.
    {error, {run_exhausted, #{amount := 98, used := 4}}} = cost_ledger_run:reserve(Run, paid(65)),
    {ok, Hold} = cost_ledger_run:reserve(Run, paid(64)),
    {ok, #{cost := 96}} = cost_ledger:hold_info(Hold),
    {ok, #{id := Child}} = cost_ledger_run:settle(
                             Run, Hold, #{breakdown => #{tokens => 1, tool_calls => 3}}),
    ?assertMatch({ok, #{cost := 7, breakdown := #{tokens := 2, tool_calls := 5},
                        attributes := #{allocation := #{ratio := <<"3/2">>,
                                                              base_cost := 4}}}},
                 cost_ledger:fetch(L, Child)),
    {ok, done} = cost_ledger_run:call(Run, paid(1), fun(_) -> {done, #{cost => auto, tokens =>
                                                                           #{input => 7}}} end),
    {ok, #{used := 22, base_cost := 13}} = cost_ledger_run:metrics(Run),
    {ok, #{id := Id, cost := 22}} = cost_ledger_run:finish(Run, #{}),
    ?assertMatch({ok, #{cost := 4, inclusive := #{allocation := <<"3/2">>, cost := 22,
                                                  base_cost := 13}}},
                 cost_ledger:fetch(L, Id)),
    ?assertEqual(22, spent(L)),
    close(L).

an_allocation_comes_from_the_policy(Config) ->
    L = open_at_noon(Config),
    {ok, Version} = settings(L, #{<<"allocation project web">> => <<"2/1">>}),
    {ok, _} = settings(L, #{<<"allocation agent builder">> => <<"1/3">>,
                            <<"allocation project api">> => <<"5/1">>}),
    [begin
         Run = run(L, Options#{run_id => Id}),
         {ok, #{allocation := Ratio}} = cost_ledger_run:metrics(Run),
         {ok, _} = cost_ledger_run:finish(Run, #{})
     end || {Id, Options, Ratio} <-
                [{a, #{}, {1, 1}}, {b, #{project => <<"web">>}, {2, 1}},
                 {c, #{project => <<"web">>, agent => builder}, {1, 3}},
                 {d, #{project => <<"api">>, agent => <<"other">>}, {5, 1}},
                 {e, #{project => <<"api">>, allocation => {7, 5}}, {7, 5}},
                 {f, #{project => <<"api">>, policy_version => Version}, {1, 1}}]],
    close(L).

a_malformed_allocation_is_an_error(Config) ->
    L = open_at_noon(Config),
    [begin
         {ok, _} = settings(L, #{<<"allocation agent a">> => Value}),
         {error, {bad_allocation, Text}} = cost_ledger_run:start(L, #{run_id => r, budget => 1,
                                                                      agent => <<"a">>}),
         mentions(Text, "allocation agent a")
     end || Value <- [<<"3">>, <<"3/0">>, <<"-1/2">>, <<"1.5/2">>, <<"3/2\n">>, <<" 3/2">>, <<"">>,
                      <<"9999999999/1">>, <<"a/b">>]],
    {ok, _} = settings(L, #{<<"allocation agent b">> => 3}, #{type => integer}),
    {error, {bad_allocation, _}} = cost_ledger_run:start(L, #{run_id => r, budget => 1,
                                                              agent => <<"b">>}),
    ?assertEqual(0, live(L)),
    close(L).

settings(L, Values) -> settings(L, Values, #{type => string}).

settings(L, Values, Type) ->
    cost_ledger:set_policy(L, #{settings => maps:map(fun(_, Value) -> Type#{value => Value} end,
                                                     Values)}, ?BY).

a_long_trace_is_cut_and_counted(Config) ->
    L = cost_ledger_test_budget:open(Config, [], #{max_entry_size => 20000}),
    at(L, ?NOON),
    Run = run(L, #{}),
    Result = binary:copy(<<"x">>, 500),
    [ok = cost_ledger_run:account_tool_call(Run, tool, #{cost => 1, result => Result})
     || _ <- lists:seq(1, 100)],
    {ok, #{id := Id}} = cost_ledger_run:finish(Run, #{}),
    {ok, #{cost := 100, trace := Trace}} = cost_ledger:fetch(L, Id),
    ?assertEqual(#{tool_calls => 100, api_calls => 0, steps_left_out => 100},
                 Trace),
    close(L).

a_run_within_a_scope(Config) ->
    L = open_at_noon(Config),
    {ok, Scope} = cost_ledger:scope(L, #{user => <<"u1">>}),
    {error, {out_of_scope, _}} = cost_ledger_run:start(Scope, #{run_id => r, budget => 10,
                                                                user => <<"u2">>}),
    {ok, Run} = cost_ledger_run:start(Scope, #{run_id => r, budget => 10}),
    {error, {out_of_scope, _}} = cost_ledger_run:reserve(Run, (paid(1))#{user => <<"u2">>}),
    {ok, done} = cost_ledger_run:call(Run, paid(1), fun(_) -> {done, #{cost => 1}} end),
    {ok, _} = cost_ledger_run:finish(Run, #{}),
    ?assertEqual([<<"u1">>, <<"u1">>], [User || #{user := User} <- records(L)]),
    close(L).

a_run_id_is_used_once(Config) ->
    L = open_at_noon(Config),
    Answers = in_parallel(10, fun(_) ->
                                      Answer = cost_ledger_run:start(L, #{run_id => r,
                                                                          budget => 1}),
                                      timer:sleep(300),
                                      Answer
                              end),
    ?assertMatch([{error, {conflict, _}}, {ok, {L, <<"r">>}}], lists:usort(Answers)),
    ?assertEqual(1, length([Run || {ok, Run} <- Answers])),
    %% All of the starters are gone.
    eventually(fun() -> live(L) =:= 0 end),
    {ok, #{id := Id}} = cost_ledger:fetch_run(L, r),
    ?assertMatch({error, {conflict, _}}, cost_ledger_run:start(L, #{run_id => r, budget => 1})),
    ?assertMatch({error, {conflict, Id}}, cost_ledger_run:start(L, #{run_id => "r", budget => 2})),
    ?assertEqual(1, length(records(L))),
    close(L).

an_unknown_run_is_an_error(Config) ->
    L = open_at_noon(Config),
    Finished = run(L, #{}),
    {ok, _} = cost_ledger_run:finish(Finished, #{}),
    {ok, Hold} = cost_ledger:reserve(L, paid(1)),
    [?assertEqual({error, unknown_run}, Fun())
     || Run <- [{L, <<"none">>}, {no_such_ledger, "x"}, Finished],
        Fun <- [fun() -> cost_ledger_run:is_budget_exceeded(Run) end,
                fun() -> cost_ledger_run:metrics(Run) end,
                fun() -> cost_ledger_run:account_tokens(Run, #{input => 1}) end,
                fun() -> cost_ledger_run:account_tool_call(Run, t) end,
                fun() -> cost_ledger_run:account_external_request(Run, t, 1) end,
                fun() -> cost_ledger_run:account_penalty(Run, t, 1) end,
                fun() -> cost_ledger_run:call(Run, paid(1), fun(_) -> error(called) end) end,
                fun() -> cost_ledger_run:reserve(Run, paid(1)) end,
                fun() -> cost_ledger_run:settle(Run, Hold, #{cost => 1}) end,
                fun() -> cost_ledger_run:release(Run, Hold) end,
                fun() -> cost_ledger_run:release_all(Run) end,
                fun() -> cost_ledger_run:finish(Run, #{}) end,
                fun() -> cost_ledger_run:start(L, #{run_id => y, budget => 1, parent => Run}) end]],
    Other = run(L, #{run_id => other}),
    {error, {no_child, _}} = cost_ledger_run:settle(Other, Hold, #{cost => 1}),
    {error, {no_child, _}} = cost_ledger_run:release(Other, Hold),
    ok = cost_ledger:release(Hold),
    {ok, _} = cost_ledger_run:finish(Other, #{}),
    close(L).

hostile_arguments_are_the_callers_error(Config) ->
    L = open_at_noon(Config),
    Run = run(L, #{}),
    {ok, Hold} = cost_ledger_run:reserve(Run, paid(1)),
    Nonsense = [undefined, 1.5, -1, <<255>>, [1 | 2], {a, b}, self(), make_ref(), fun() -> ok end,
                #{1 => 2}, 1 bsl 80, [{a, 1}, {a, 2}]],
    Before = {cost_ledger_run:metrics(Run), cost_ledger:holds(L), records(L)},
    Calls =
        [fun(X) -> cost_ledger_run:start(L, X) end,
         fun(X) -> cost_ledger_run:start(X, #{run_id => a, budget => 1}) end]
        ++ [fun(X) -> cost_ledger_run:start(L, #{run_id => a, budget => 1, Key => X}) end
            || Key <- [run_id, budget, warn, tool_prices, request_prices, deadline_ms, critical,
                       policy_version, owner, allocation, parent, org, agent, model, state, intent,
                       attributes, unheard_of]]
        ++ [fun(X) -> Fun(X, Run) end
            || Fun <- [fun(X, _) -> cost_ledger_run:metrics(X) end,
                       fun(X, _) -> cost_ledger_run:is_budget_exceeded(X) end,
                       fun(X, _) -> cost_ledger_run:release_all(X) end,
                       fun(X, _) -> cost_ledger_run:finish(X, #{}) end,
                       fun(X, R) -> cost_ledger_run:finish(R, X) end,
                       fun(X, R) -> cost_ledger_run:finish(R, #{status => X}) end,
                       fun(X, R) -> cost_ledger_run:finish(R, #{attributes => {X}}) end,
                       fun(X, R) -> cost_ledger_run:finish(R, #{output => {X}}) end,
                       fun(X, _) -> cost_ledger_run:account_tokens(X, #{input => 1}) end,
                       fun(X, R) -> cost_ledger_run:account_tokens(R, X) end,
                       fun(X, R) -> cost_ledger_run:account_tokens(R, #{input => {X}}) end,
                       fun(X, R) -> cost_ledger_run:account_tokens(R, #{input => 1}, X) end,
                       fun(X, R) -> cost_ledger_run:account_tokens(R, #{input => 1},
                                                                   #{cost => {X}}) end,
                       fun(X, R) -> cost_ledger_run:account_tool_call(R, {X}) end,
                       fun(X, R) -> cost_ledger_run:account_tool_call(R, t, X) end,
                       fun(X, R) -> cost_ledger_run:account_tool_call(R, t, #{cost => X}) end,
                       fun(X, R) -> cost_ledger_run:account_tool_call(R, t, #{cost => 1,
                                                                              result => {X}}) end,
                       fun(X, R) -> cost_ledger_run:account_external_request(R, {X}, 1) end,
                       fun(X, R) -> cost_ledger_run:account_external_request(R, t, X) end,
                       fun(X, R) -> cost_ledger_run:account_external_request(R, t, 1, X) end,
                       fun(X, R) -> cost_ledger_run:account_penalty(R, {X}, 1) end,
                       fun(X, R) -> cost_ledger_run:account_penalty(R, t, X) end,
                       fun(X, R) -> cost_ledger_run:call(R, X, fun(_) -> error(called) end) end,
                       fun(X, R) -> cost_ledger_run:call(R, paid(1), {X}) end,
                       fun(X, R) -> cost_ledger_run:reserve(R, X) end,
                       fun(X, R) -> cost_ledger_run:reserve(R, (paid(1))#{parent => X}) end,
                       fun(X, R) -> cost_ledger_run:reserve(R, (paid(1))#{unheard_of => X}) end,
                       fun(X, R) -> cost_ledger_run:settle(R, X, #{cost => 1}) end,
                       fun(X, R) -> cost_ledger_run:settle(R, Hold, X) end,
                       fun(X, R) -> cost_ledger_run:release(R, X) end]],
    [case catch_badarg(fun() -> Call(X) end) of
         {badarg, Text} -> ?assert(byte_size(Text) > 10);
         %% An attribute that is not there.
         {ok, {_, <<"a">>} = Started} -> {ok, _} = cost_ledger_run:finish(Started, #{});
         {error, Reason} -> ?assert(lists:member(Reason, [unknown_run]) orelse
                                    lists:member(element(1, Reason), [no_price, conflict,
                                                                      no_version]));
         Other -> error({Index, X, Other})
     end || {Index, Call} <- lists:enumerate(Calls), X <- Nonsense],
    ?assertEqual(Before, {cost_ledger_run:metrics(Run), cost_ledger:holds(L),
                          [Record || #{run_id := Id} = Record <- records(L), Id =/= <<"a">>]}),
    ok = cost_ledger_run:release(Run, Hold),
    {ok, #{cost := 0}} = cost_ledger_run:finish(Run, #{}),
    close(L).

catch_badarg(Fun) ->
    try Fun()
    catch error:badarg:Stack ->
            [Text | _] = maps:values(cost_ledger_error:format_error(badarg, Stack)),
            {badarg, Text}
    end.

%%% Ends ---------------------------------------------------------------------------------------

a_killed_run_is_booked_with_what_it_used(Config) ->
    L = open_at_noon(Config),
    Run = run(L, #{agent => <<"a">>}),
    Other = run(L, #{run_id => other}),
    ok = spend(Run, 30),
    ok = cost_ledger_run:account_tokens(Run, #{input => 5}, #{cost => 12}),
    at(L, ?NOON + 100),
    ok = cost_ledger_run:account_penalty(Run, slow, 1),
    kill(Run),
    eventually(fun() -> live(L) =:= 1 end),
    ?assertMatch({ok, #{status := aborted, unattended := true, cost := 43, agent := <<"a">>,
                        tokens := #{input := 5}, duration_ms := 100,
                        breakdown := #{tokens := 12, tool_calls := 30, penalties := 1}}},
                 cost_ledger:fetch_run(L, r)),
    {error, unknown_run} = cost_ledger_run:metrics(Run),
    %% Nobody else is disturbed.
    ok = spend(Other, 1),
    {ok, #{cost := 1}} = cost_ledger_run:finish(Other, #{}),
    ?assertEqual(44, spent(L)),
    close(L).

a_killed_run_books_its_own_cost_whatever_children_booked_since(Config) ->
    L = open_at_noon(Config),
    [begin
         Run = run(L, #{run_id => integer_to_list(Cost)}),
         {ok, Before} = cost_ledger_run:reserve(Run, paid(75)),
         {ok, _} = cost_ledger:settle(Before, #{cost => 10}),
         ok = spend(Run, 100),
         {ok, Hold} = cost_ledger_run:reserve(Run, paid(75)),
         {ok, Late} = cost_ledger_run:reserve(Run, paid(75)),
         {ok, _} = cost_ledger:settle(Hold, #{cost => Cost}),
         kill(Run),
         eventually(fun() -> booked_cost(L, integer_to_list(Cost)) =:= 100 end),
         {ok, _} = cost_ledger:settle(Late, #{cost => 7})
     end || Cost <- [0, 40, 75, 300]],
    ?assertEqual(4 * 117 + 415, spent(L)),
    close(L).

booked_cost(L, RunId) ->
    case cost_ledger:fetch_run(L, RunId) of
        {ok, #{cost := Cost}} -> Cost;
        Error -> Error
    end.

an_owner_that_dies_aborts_the_run(Config) ->
    L = open_at_noon(Config),
    Self = self(),
    {Pid, Monitor} = spawn_monitor(
                       fun() ->
                               Run = run(L, #{intent => "work"}),
                               ok = spend(Run, 5),
                               {ok, _} = cost_ledger_run:reserve(Run, (paid(75))#{owner => Self}),
                               exit(tired)
                       end),
    receive {'DOWN', Monitor, process, Pid, tired} -> ok end,
    eventually(fun() -> live(L) =:= 0 end),
    {ok, #{status := aborted, cost := 5, intent := <<"work">>, error_message := Text,
           trace := #{steps := [_]}} = Record} = cost_ledger:fetch_run(L, r),
    ?assertNot(is_map_key(unattended, Record)),
    mentions(Text, "tired"),
    ?assertEqual(5, spent(L)),
    close(L).

a_run_ends_at_its_deadline_and_can_still_be_finished(Config) ->
    L = open_at_noon(Config),
    Run = run(L, #{deadline_ms => 1000}),
    Other = run(L, #{run_id => other, deadline_ms => 1000}),
    at(L, ?NOON + 900),
    ok = spend(Run, 5),
    ok = spend(Other, 6),
    at(L, ?NOON + 1899),
    {ok, #{used := 5}} = cost_ledger_run:metrics(Run),
    at(L, ?NOON + 1900),
    ?assertEqual(0, live(L)),
    [?assertEqual({error, unknown_run}, Answer)
     || Answer <- [spend(Run, 1), cost_ledger_run:metrics(Run),
                   cost_ledger_run:is_budget_exceeded(Run), cost_ledger_run:reserve(Run, paid(1))]],
    ?assertMatch({ok, #{status := aborted, unattended := true, cost := 5}},
                 cost_ledger:fetch_run(L, r)),
    %% Its caller knows better.
    {ok, #{late := true, cost := 5}} = cost_ledger_run:finish(Run, #{output => <<"done">>}),
    {error, unknown_run} = cost_ledger_run:finish(Run, #{}),
    ?assertEqual(11, spent(L)),
    close(L).

a_killed_writer_loses_nothing(Config) ->
    L = open_at_noon(Config),
    Done = in_parallel(
             11, fun(11) -> [begin kill_child(L, writer), timer:sleep(30) end
                             || _ <- lists:seq(1, 10)], 0;
                    (N) ->
                         Run = run(L, #{run_id => integer_to_list(N), warn => none,
                                        budget => 1000000}),
                         [begin
                              ok = spend(Run, 1),
                              {ok, _} = cost_ledger_run:call(Run, paid(2),
                                                             fun(_) -> {ok, #{cost => 2}} end)
                          end || _ <- lists:seq(1, 20)],
                         {ok, #{cost := Cost}} = cost_ledger_run:finish(Run, #{}),
                         Cost
                 end),
    ?assertEqual(lists:duplicate(10, 60), lists:droplast(Done)),
    ?assertEqual(600, spent(L)),
    ?assertEqual(0, live(L)),
    close(L).

kill_child(L, Id) ->
    case child(L, Id) of
        Pid when is_pid(Pid) -> exit(Pid, kill);
        _ -> ok
    end.

a_restarted_ledger_keeps_its_runs(Config) ->
    L = open_at_noon(Config),
    Run = run(L, #{}),
    ok = spend(Run, 5),
    Owner = child(L, owner),
    exit(Owner, kill),
    eventually(fun() -> Next = child(L, owner), is_pid(Next) andalso Next =/= Owner end),
    eventually(fun() -> spend(Run, 6) =:= ok end),
    {ok, #{used := 11}} = cost_ledger_run:metrics(Run),
    {ok, #{cost := 11}} = cost_ledger_run:finish(Run, #{}),
    ?assertEqual(11, spent(L)),
    close(L).

a_killed_vm_books_what_was_accounted(Config) ->
    Path = ?config(path, Config),
    L = list_to_atom("killed_run_" ++ integer_to_list(erlang:unique_integer([positive]))),
    Peer = cost_ledger_test:start_vm(),
    ok = peer:call(Peer, ?MODULE, run_for_ever, [L, Path], 30000),
    ok = cost_ledger_test:kill_vm(Peer),
    [begin
         L = cost_ledger_test:open(L, Path, #{}),
         ?assertEqual(0, live(L)),
         ?assertMatch({ok, #{status := aborted, cost := 30, breakdown := #{tool_calls := 30}}},
                      cost_ledger:fetch_run(L, r)),
         ?assertEqual([30, 60, 75], costs(L)),
         {error, {conflict, _}} = cost_ledger_run:start(L, #{run_id => r, budget => 1000}),
         close(L)
     end || _ <- [1, 2]].

%% In another VM.
run_for_ever(L, Path) ->
    L = cost_ledger_test:open(L, Path, #{}),
    at(L, ?NOON),
    Run = run(L, #{owner => whereis(init)}),
    ok = spend(Run, 30),
    {ok, _} = cost_ledger_run:call(Run, paid(75), fun(_) -> {ok, #{cost => 60}} end),
    {ok, _} = cost_ledger_run:reserve(Run, (paid(75))#{owner => whereis(init)}),
    ok.

a_stopped_ledger_ends_its_runs(Config) ->
    L = open_at_noon(Config),
    Run = run(L, #{}),
    ok = spend(Run, 5),
    close(L),
    {error, unknown_run} = spend(Run, 1),
    L = cost_ledger_test:open(L, ?config(path, Config), #{}),
    ?assertMatch({ok, #{status := aborted, cost := 5}}, cost_ledger:fetch_run(L, r)),
    ?assertEqual(0, live(L)),
    close(L).

a_killed_ledger_starts_runs_again(Config) ->
    Name = list_to_atom("runs_" ++ integer_to_list(erlang:unique_integer([positive]))),
    Spec = cost_ledger:child_spec(#{name => Name, path => ?config(path, Config)}),
    {ok, Top} = supervisor:start_link(cost_ledger_test_sup, [Spec]),
    ok = spend(run(Name, #{}), 5),
    [{_, Instance, supervisor, _}] = supervisor:which_children(Top),
    Before = cost_ledger_registry:find(Name),
    exit(Instance, kill),
    eventually(fun() -> cost_ledger_registry:find(Name) =/= Before end),
    eventually(fun() -> booked_cost(Name, r) =:= 5 end),
    Run = run(Name, #{run_id => again}),
    ok = spend(Run, 6),
    {ok, #{cost := 6}} = cost_ledger_run:finish(Run, #{}),
    unlink(Top),
    Monitor = erlang:monitor(process, Top),
    exit(Top, shutdown),
    receive {'DOWN', Monitor, process, Top, _} -> ok end.

finishing_twice_books_once(Config) ->
    L = open_at_noon(Config),
    Run = run(L, #{}),
    ok = spend(Run, 5),
    Answers = in_parallel(10, fun(_) -> cost_ledger_run:finish(Run, #{}) end),
    ?assertEqual([5], [Cost || {ok, #{cost := Cost}} <- Answers]),
    ?assertEqual(9, length([no || {error, unknown_run} <- Answers])),
    ?assertEqual([5], costs(L)),
    close(L).

open_children_keep_a_run_from_being_finished(Config) ->
    L = open_at_noon(Config),
    Run = run(L, #{}),
    {ok, Hold} = cost_ledger_run:reserve(Run, paid(75)),
    {error, {open_children, _}} = cost_ledger_run:finish(Run, #{}),
    ok = spend(Run, 1),
    {ok, _} = cost_ledger_run:settle(Run, Hold, #{cost => 3}),
    {ok, #{cost := 4}} = cost_ledger_run:finish(Run, #{}),
    close(L).

an_aborted_run_leaves_nothing_open(Config) ->
    L = open_at_noon(Config),
    Self = self(),
    Run = run(L, #{}),
    {ok, _} = cost_ledger_run:reserve(Run, paid(75)),
    {ok, Inner} = cost_ledger_run:start(L, #{run_id => inner, budget => 50, parent => Run}),
    ok = spend(Inner, 4),
    {Pid, Monitor} = spawn_monitor(
                       fun() ->
                               {ok, done} = cost_ledger_run:call(
                                              Run, paid(20),
                                              fun(_) ->
                                                      Self ! {self(), working},
                                                      receive go -> {done, #{cost => 30}} end
                                              end)
                       end),
    receive {Pid, working} -> ok end,
    {ok, #{cost := 24}} = cost_ledger_run:finish(Run, #{status => aborted}),
    ?assertEqual(0, live(L)),
    ?assertEqual([0, 4, 20], costs(L)),
    %% Whoever is at work settles late.
    Pid ! go,
    receive {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(normal, Reason) end,
    {ok, #{late := true, cost := 4}} = cost_ledger_run:finish(Inner, #{}),
    ?assertEqual(34, spent(L)),
    close(L).

random_kills_book_exactly_once(Config) ->
    L = open_at_noon(Config),
    Costs = in_parallel(20, fun(N) -> kill_at_random(L, integer_to_list(N)) end),
    eventually(fun() -> live(L) =:= 0 end),
    Booked = [{Id, Cost} || #{kind := run, run_id := Id, cost := Cost} <- records(L)],
    ?assertEqual(20, length(Booked)),
    ?assertEqual(20, length(lists:ukeysort(1, Booked))),
    [begin
         {_, Own} = lists:keyfind(list_to_binary(Id), 1, Booked),
         %% What was answered is booked; what was under way may be.
         ?assert(lists:member(Own - Answered, [0, 1]))
     end || {Id, Answered} <- Costs],
    Children = [Cost || #{kind := invocation, cost := Cost} <- records(L)],
    ?assertEqual(lists:sum(Children) + lists:sum([Cost || {_, Cost} <- Booked]), spent(L)),
    close(L).

kill_at_random(L, Id) ->
    Run = run(L, #{run_id => Id, budget => 1000000}),
    Pid = process_of(Run),
    _ = erlang:send_after(rand:uniform(150), spawn(fun() -> receive now -> exit(Pid, kill) end end),
                          now),
    {Id, work_until_killed(Run, 0)}.

work_until_killed(Run, Answered) ->
    case spend(Run, 1) of
        ok ->
            _ = cost_ledger_run:call(Run, paid(2), fun(_) -> {ok, #{cost => rand:uniform(3)}} end),
            work_until_killed(Run, Answered + 1);
        {error, unknown_run} ->
            Answered
    end.

fifty_runs_at_once(Config) ->
    L = open_at_noon(Config),
    Costs = in_parallel(50, fun(N) ->
                                    Run = run(L, #{run_id => integer_to_list(N), warn => none,
                                                   agent => <<"a">>, budget => 10000}),
                                    [ok = spend(Run, N) || _ <- lists:seq(1, 10)],
                                    {ok, _} = cost_ledger_run:call(
                                                Run, paid(10), fun(_) -> {ok, #{cost => 7}} end),
                                    {ok, #{cost := Cost}} = cost_ledger_run:finish(Run, #{}),
                                    Cost
                            end),
    ?assertEqual([10 * N + 7 || N <- lists:seq(1, 50)], Costs),
    ?assertEqual(lists:sum(Costs), spent(L)),
    ?assertEqual(0, live(L)),
    close(L).

%%% Tools --------------------------------------------------------------------------------------

open_at_noon(Config) ->
    L = open(Config, [rule(<<"cap">>, all, cost, lifetime, infinity)]),
    at(L, ?NOON),
    L.

run(L, Options) ->
    {ok, Run} = cost_ledger_run:start(L, maps:merge(#{run_id => r, budget => 1000}, Options)),
    Run.

paid(Cost) -> #{state => executing, cost => Cost}.

spend(Run, Cost) -> cost_ledger_run:account_tool_call(Run, tool, #{cost => Cost}).

spent(L) ->
    #{used := Used, held := 0} = told(L, all, <<"cap">>),
    Used.

%% Runs and invocations, whole.
records(L) ->
    {ok, Records} = cost_ledger:fold(L, #{}, fun(Record, Acc) -> [Record | Acc] end, []),
    lists:reverse(Records).

costs(L) ->
    lists:sort([Cost || #{cost := Cost} <- records(L)]).

process_of({L, RunId}) ->
    #ledger{subscribers = Scope} = cost_ledger_registry:find(L),
    [Pid] = pg:get_local_members(Scope, {run, RunId}),
    Pid.

kill(Run) ->
    Pid = process_of(Run),
    Monitor = erlang:monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, killed} -> ok end.
