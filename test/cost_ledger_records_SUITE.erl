%%% The ledger of executions: what is recorded of each, how it is found again, summed up, corrected
%%% and redacted; and what such a ledger must not do.
-module(cost_ledger_records_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-import(cost_ledger_test, [at/2]).
-import(cost_ledger_test_budget,
        [reopen/2, close/1, refused/1, mentions/2, in_parallel/2, rule/5, told/3]).
-import(cost_ledger_test_records,
        [open/1, open/2, record/2, record_many/3, fetched/2, listed/3, all/2, pages/3, totals/2,
         unchanged/2, tokens/1, failing/1]).

-define(NOON, 1700000000000).
-define(HOUR, 3600000).
-define(DAY, (24 * ?HOUR)).
-define(BY, #{by => <<"ops">>, reason => <<"a test">>}).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [{group, examples}, {group, never}, {group, once}, {group, corrections},
          {group, redactions}, {group, queries}].

groups() ->
    [{examples, [parallel],
      [a_successful_execution_is_kept_whole,
       a_failed_execution_keeps_its_error_and_what_it_cost,
       an_execution_that_met_its_cost_limit_is_an_aborted_one,
       statistics_of_an_agent_over_a_week,
       a_project_by_status_and_by_agent,
       all_failed_executions_are_streamed]},
     {never, [parallel],
      [cancelled_and_failed_runs_count_what_they_cost,
       a_breakdown_adds_up_to_the_cost,
       sums_are_of_all_records_and_not_of_a_page,
       pages_repeat_and_lose_nothing_while_records_arrive,
       records_survive_a_restart,
       small_calls_are_not_rounded,
       what_has_not_happened_yet_is_not_booked,
       what_just_happened_by_the_wall_clock_is_booked]},
     {once, [parallel],
      [a_run_twice_is_one_record,
       a_hundred_senders_of_one_run_make_one_record,
       a_run_of_a_live_hold_is_taken,
       what_a_conflict_names_is_found,
       a_run_is_what_its_hold_became,
       a_run_with_children_is_what_remains,
       a_run_that_was_settled_late_is_told_in_a_correction,
       an_id_is_taken_by_a_run_that_was_there,
       a_released_run_may_be_tried_again]},
     {corrections, [parallel],
      [a_correction_is_net_in_sums_and_gross_in_budgets,
       a_correction_of_what_completed_counts_against_budgets_of_that,
       nothing_is_corrected_below_zero,
       a_correction_prices_what_was_unpriced,
       what_a_dead_owner_left_is_corrected_once,
       a_late_settlement_prices_what_was_unpriced,
       a_correction_is_of_a_record]},
     {redactions, [parallel],
      [redacting_takes_the_words_and_leaves_the_numbers,
       a_redacted_run_is_still_booked_once,
       there_must_be_something_to_redact]},
     {queries, [parallel],
      [history_has_invocations_only,
       sums_are_told_apart_by_status,
       sums_say_which_series_they_need,
       a_list_without_a_series_looks_at_all,
       a_cursor_is_of_its_order,
       totals_are_counted_on_request,
       a_time_that_ends_before_it_begins_has_nothing,
       pages_have_their_limits,
       every_kind_of_entry_is_listed,
       large_entries_are_listed_in_slices,
       failed_lists_failures_only]}].

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

%%% Examples -----------------------------------------------------------------------------------

whole() ->
    #{state => executing, org => <<"acme">>, project => <<"p1">>, user => <<"u1">>,
      agent => <<"coder">>, model => <<"m-1">>, provider => <<"lab">>, prompt_type => review,
      status => completed, duration_ms => 42000, cost => 1250, credits => 3,
      breakdown => #{tokens => 700, tool_calls => 300, external_requests => 200,
                     penalties => 50},
      tokens => tokens(#{input => 1000, output => 200, cache_read => 50}),
      run_id => <<"run-1">>, parent_run => <<"run-0">>, occurred_at => ?NOON - 5000,
      intent => <<"fix the build"/utf8>>,
      input => #{<<"prompt">> => <<"why?">>, files => [<<"a.erl">>, <<"b.erl">>]},
      output => #{patch => <<0, 255, 1>>, ok => true, score => 0.75},
      trace => #{steps => [#{action => <<"read">>, timestamp => ?NOON - 5000, duration_ms => 20,
                             tool => <<"fs">>, result => #{bytes => 12345678901234567890123}},
                           #{action => <<"edit">>, timestamp => <<"2023-11-14T22:13:18Z">>,
                             error => null, cost => 300}],
                 duration_ms => 41000, tool_calls => 2, api_calls => 1},
      attributes => #{<<"ticket">> => 17, reviewed => false, tags => []}}.

a_successful_execution_is_kept_whole(Config) ->
    L = open(Config),
    Id = record(L, whole()),
    Record = fetched(L, Id),
    ?assertEqual((whole())#{id => Id, kind => invocation, timestamp => ?NOON}, Record),
    ?assertEqual({ok, Record}, cost_ledger:fetch_run(L, <<"run-1">>)),
    ?assertEqual([Record], listed(L, #{}, #{payload => true})),
    ?assertEqual([maps:without([intent, input, output, trace, attributes], Record)],
                 listed(L, #{}, #{})),
    close(L).

a_failed_execution_keeps_its_error_and_what_it_cost(Config) ->
    L = open(Config),
    Id = record(L, #{state => executing, status => failed, project => p1, cost => 40,
                     breakdown => #{tokens => 40}, error_message => "no such tool: make",
                     trace => #{steps => [#{action => build, error => enoent}]}}),
    ?assertMatch(#{status := failed, cost := 40, error_message := <<"no such tool: make">>,
                   trace := #{steps := [#{action := build, error := enoent}]},
                   breakdown := #{tokens := 40, tool_calls := 0}}, fetched(L, Id)),
    ?assertMatch(#{invocations := #{count := 1, failed := 1, completed := 0, cost := 40}},
                 totals(L, #{})),
    close(L).

an_execution_that_met_its_cost_limit_is_an_aborted_one(Config) ->
    L = open(Config, #{rules => [rule(<<"cap">>, #{user => each}, cost, lifetime, 500)]}),
    Run = #{kind => run, user => <<"u1">>, cost => 500, run_id => <<"r">>},
    {ok, Hold} = cost_ledger:reserve(L, Run),
    Call = #{state => executing, user => <<"u1">>, cost => 300, parent => Hold},
    {ok, ok} = cost_ledger:with_budget(L, Call, fun(_) -> {ok, #{cost => 300}} end),
    ?assertEqual(budget_exhausted, element(1, element(2, cost_ledger:reserve(L, Call)))),
    {ok, _} = cost_ledger:settle(Hold, #{status => aborted, cost => 320,
                                         error_message => <<"cost limit 500 met">>}),
    {ok, Record} = cost_ledger:fetch_run(L, <<"r">>),
    %% A run books what its calls have not.
    ?assertMatch(#{kind := run, status := aborted, cost := 20,
                   error_message := <<"cost limit 500 met">>}, Record),
    ?assertMatch(#{cost := #{net := 320}, runs := #{aborted := 1, count := 1}},
                 totals(L, #{user => <<"u1">>})),
    close(L).

statistics_of_an_agent_over_a_week(Config) ->
    L = open(Config),
    From = ?NOON + ?DAY,
    Until = From + 7 * ?DAY - 1,
    Agent = #{state => executing, project => <<"p1">>, agent => <<"coder">>},
    [begin
         _ = at(L, At),
         record(L, Agent#{cost => Cost}),
         record(L, Agent#{agent => <<"other">>, cost => 9999})
     end || {At, Cost} <- [{From - 1, 1}, {From, 100}, {From + 3 * ?DAY, 250},
                           {Until, 75}, {Until + 1, 100000}]],
    Week = #{project => <<"p1">>, agent => <<"coder">>, since => From, until => Until},
    ?assertMatch(#{invocations := #{count := 3, cost := 425, average_cost := 142, min_cost := 75,
                                    max_cost := 250}}, totals(L, Week)),
    ?assertMatch(#{invocations := #{count := 1, min_cost := 250}},
                 totals(L, Week#{since => From + 1, until => Until - 1})),
    Zeros = totals(L, Week#{since => Until + 2, until => Until + ?DAY}),
    ?assertEqual([0], lists:usort(maps:values(maps:get(invocations, Zeros)))),
    ?assertEqual(Zeros, totals(L, Week#{agent => <<"nobody">>})),
    close(L).

a_project_by_status_and_by_agent(Config) ->
    L = open(Config),
    [record(L, #{state => executing, project => <<"p1">>, agent => Agent, status => Status,
                 cost => Cost, duration_ms => Ms})
     || {Agent, Status, Cost, Ms} <- [{<<"a">>, completed, 10, 100}, {<<"a">>, failed, 20, 300},
                                      {<<"b">>, completed, 31, 100}, {<<"b">>, aborted, 0, 0}]],
    record(L, #{state => executing, project => <<"p2">>, agent => <<"a">>, cost => 77}),
    ?assertMatch(#{invocations := #{count := 4, completed := 2, failed := 1, aborted := 1,
                                    cost := 61, average_cost := 15, average_duration_ms := 125}},
                 totals(L, #{project => <<"p1">>})),
    {ok, ByAgent} = cost_ledger:totals_by(L, agent, #{project => <<"p1">>}),
    ?assertMatch([{<<"b">>, #{invocations := #{cost := 31, count := 2, aborted := 1}}},
                  {<<"a">>, #{invocations := #{cost := 30, count := 2, failed := 1}}}], ByAgent),
    {ok, ByStatus} = cost_ledger:totals_by(L, status, #{project => <<"p1">>}),
    ?assertEqual([{completed, 41}, {failed, 20}, {aborted, 0}],
                 [{Status, Cost} || {Status, #{cost := #{net := Cost}}} <- ByStatus]),
    close(L).

all_failed_executions_are_streamed(Config) ->
    L = open(Config),
    record_many(L, 2500, fun(Number) ->
                                 #{state => executing, cost => Number,
                                   run_id => [$r | integer_to_list(Number)],
                                   error_message => integer_to_binary(Number),
                                   status => element(1 + Number rem 2, {completed, failed})}
                         end),
    Sum = fun(#{status := failed, cost := Cost, error_message := Text}, {Count, Costs}) ->
                  ?assertEqual(Text, integer_to_binary(Cost)),
                  {Count + 1, Costs + Cost}
          end,
    Failed = lists:seq(1, 2500, 2),
    Expected = {ok, {length(Failed), lists:sum(Failed)}},
    ?assertEqual(Expected, cost_ledger:fold(L, #{status => failed}, Sum, {0, 0})),
    ?assertEqual(Expected, cost_ledger:fold(L, #{status => failed, order => newest}, Sum, {0, 0})),
    Ids = fun(#{id := Id}, Acc) -> [Id | Acc] end,
    {ok, Newest} = cost_ledger:fold(L, #{status => failed}, Ids, []),
    ?assertEqual(lists:reverse(lists:usort(Newest)), Newest),
    close(L).

%%% What it must not do ------------------------------------------------------------------------

cancelled_and_failed_runs_count_what_they_cost(Config) ->
    L = open(Config),
    [record(L, #{kind => run, status => Status, user => <<"u1">>, cost => 7,
                 run_id => atom_to_list(Status)}) || Status <- [completed, failed, aborted]],
    ?assertMatch(#{runs := #{count := 3, completed := 1, failed := 1, aborted := 1, cost := 21,
                             min_cost := 7},
                   cost := #{gross := 21, completed := 7}}, totals(L, #{user => <<"u1">>})),
    %% One whose process dies is there as well, with what is known of it.
    {ok, Hold} = cost_ledger:reserve(L, #{state => executing, user => <<"u2">>, cost => 9,
                                          deadline_ms => 1000}),
    _ = at(L, ?NOON + 1000),
    ?assertEqual(resolved, failing(cost_ledger:hold_info(Hold))),
    ?assertMatch([#{status := aborted, cost := 9, unattended := true}],
                 listed(L, #{user => <<"u2">>}, #{})),
    close(L).

a_breakdown_adds_up_to_the_cost(Config) ->
    L = open(Config),
    Parts = #{tokens => 300, tool_calls => 450},
    Call = #{state => executing, breakdown => Parts},
    unchanged(L, fun() ->
                         Text = refused(fun() -> cost_ledger:record(L, Call#{cost => 749}) end),
                         [mentions(Text, Word) || Word <- ["breakdown", "750", "749"]],
                         [refused(fun() -> cost_ledger:record(L, Call#{breakdown => Wrong}) end)
                          || Wrong <- [#{tokens => -1}, #{other => 1}, #{tokens => 1.0}, [], 3,
                                       #{tokens => 1000000000000000, penalties => 1}]]
                 end),
    ?assertMatch(#{cost := 750, breakdown := #{tokens := 300, tool_calls := 450,
                                               external_requests := 0, penalties := 0}},
                 fetched(L, record(L, Call))),
    ?assertMatch(#{cost := 750}, fetched(L, record(L, Call#{cost => 750}))),
    {ok, Hold} = cost_ledger:reserve(L, #{state => executing, cost => 800}),
    refused(fun() -> cost_ledger:settle(Hold, #{cost => 1, breakdown => Parts}) end),
    {ok, #{id := Id}} = cost_ledger:settle(Hold, #{breakdown => Parts}),
    ?assertMatch(#{cost := 750, breakdown := #{tokens := 300}}, fetched(L, Id)),
    close(L).

sums_are_of_all_records_and_not_of_a_page(Config) ->
    L = open(Config),
    Call = #{state => executing, user => <<"u1">>},
    record_many(L, 2300, fun(Number) -> Call#{cost => Number} end),
    ?assertMatch(#{invocations := #{count := 2300, cost := 2646150, min_cost := 1,
                                    max_cost := 2300, average_cost := 1151}},
                 totals(L, #{user => <<"u1">>})),
    ?assertMatch({ok, #{total := 2300, records := [_]}},
                 cost_ledger:list(L, #{user => <<"u1">>}, #{limit => 1})),
    ?assertEqual(2300, length(pages(L, #{user => <<"u1">>}, #{limit => 1000}))),
    close(L).

pages_repeat_and_lose_nothing_while_records_arrive(Config) ->
    L = open(Config),
    Call = #{state => executing, user => <<"u1">>},
    Old = record_many(L, 95, fun(_) -> Call end),
    Turn = fun Turn(Page) ->
                   {ok, #{records := Records} = Listed} =
                       cost_ledger:list(L, #{user => <<"u1">>}, Page),
                   [record(L, Call#{user => User}) || User <- [<<"u1">>, <<"u2">>]],
                   Ids = [Id || #{id := Id} <- Records],
                   case Listed of
                       #{cursor := Cursor} when length(Records) > 0 ->
                           Ids ++ Turn(Page#{cursor => Cursor});
                       _ -> Ids
                   end
           end,
    ?assertEqual(lists:reverse(lists:sort(Old)), Turn(#{limit => 10})),
    Now = [Id || #{id := Id} <- all(L, #{user => <<"u1">>})],
    Oldest = [Id || #{id := Id} <- pages(L, #{user => <<"u1">>}, #{limit => 7, order => oldest})],
    ?assertEqual(Now, Oldest),
    close(L).

records_survive_a_restart(Config) ->
    L = open(Config),
    Id = record(L, whole()),
    Correction = record(L, correction(Id, -50)),
    Before = {fetched(L, Id), fetched(L, Correction), totals(L, #{}), all(L, #{kind => all})},
    reopen(Config, L),
    ?assertEqual(Before,
                 {fetched(L, Id), fetched(L, Correction), totals(L, #{}), all(L, #{kind => all})}),
    ?assertEqual({ok, Id}, cost_ledger:record(L, whole())),
    ?assertEqual({error, {conflict, Id}},
                 cost_ledger:record(L, (whole())#{cost => 1251, breakdown => nil})),
    close(L).

%% 0.0004 of a currency unit a call; rounded up to a cent each, it would be 25.
small_calls_are_not_rounded(Config) ->
    L = open(Config),
    record_many(L, 2500, fun(_) -> #{state => executing, cost => 400000} end),
    ?assertMatch(#{cost := #{net := 1000000000}}, totals(L, #{})),
    close(L).

what_has_not_happened_yet_is_not_booked(Config) ->
    L = open(Config),
    Call = #{state => executing},
    unchanged(L, fun() ->
                         {error, {occurs_ahead, Text}} =
                             cost_ledger:record(L, Call#{occurred_at => ?NOON + 60001}),
                         mentions(Text, "accept_clock")
                 end),
    ?assertMatch(#{occurred_at := ?NOON, timestamp := ?NOON},
                 fetched(L, record(L, Call#{occurred_at => ?NOON}))),
    ?assertMatch(#{occurred_at := 0}, fetched(L, record(L, Call#{occurred_at => 0}))),
    {ok, Hold} = cost_ledger:reserve(L, Call),
    ?assertEqual(occurs_ahead, failing(cost_ledger:settle(Hold, #{occurred_at => ?NOON + 60001}))),
    {ok, _} = cost_ledger:settle(Hold, #{occurred_at => ?NOON - 1}),
    close(L).

%% Ledger time may be behind the wall clock that a caller goes by: its spend is not lost, and its
%% request, sent again when ledger time has gone on, is the same one.
what_just_happened_by_the_wall_clock_is_booked(Config) ->
    L = open(Config),
    Run = #{kind => run, run_id => <<"r">>, cost => 7, occurred_at => ?NOON + 60000},
    Id = record(L, Run),
    ?assertMatch(#{occurred_at := ?NOON, timestamp := ?NOON, cost := 7}, fetched(L, Id)),
    {ok, Hold} = cost_ledger:reserve(L, #{state => executing}),
    {ok, #{id := Settled}} = cost_ledger:settle(Hold, #{cost => 5, occurred_at => ?NOON + 1}),
    ?assertMatch(#{occurred_at := ?NOON, cost := 5}, fetched(L, Settled)),
    _ = at(L, ?NOON + 30000),
    ?assertEqual({ok, Id}, cost_ledger:record(L, Run)),
    ?assertMatch(#{occurred_at := ?NOON}, fetched(L, Id)),
    close(L).

%%% Once ---------------------------------------------------------------------------------------

a_run_twice_is_one_record(Config) ->
    L = open(Config),
    Long = binary:copy(<<"r">>, 600),
    [begin
         Record = (whole())#{run_id => RunId},
         {ok, Id} = cost_ledger:record(L, Record),
         unchanged(L, fun() ->
                              ?assertEqual({ok, Id}, cost_ledger:record(L, Record)),
                              [?assertEqual({error, {conflict, Id}},
                                            cost_ledger:record(L, maps:merge(Record, Other)))
                               || Other <- [#{input => <<"other">>}, #{user => <<"u2">>},
                                            #{duration_ms => 1}, #{occurred_at => 0},
                                            #{kind => run}, #{parent_run => nil},
                                            #{attributes => nil}]]
                      end)
     end || RunId <- [<<"run-1">>, Long, <<Long/binary, "s">>, binary:copy(<<"r">>, 1000)]],
    %% An id is a name of the request; a run's name is another thing.
    {ok, WithId} = cost_ledger:record(L, #{state => executing, id => <<"run-1">>}),
    ?assertEqual({ok, WithId}, cost_ledger:record(L, #{state => executing, id => <<"run-1">>})),
    ?assertEqual({error, {conflict, WithId}},
                 cost_ledger:record(L, #{state => executing, id => <<"run-1">>, cost => 1})),
    close(L).

a_hundred_senders_of_one_run_make_one_record(Config) ->
    L = open(Config),
    Answers = in_parallel(100, fun(Number) ->
                                       cost_ledger:record(L, (whole())#{credits => Number rem 4})
                               end),
    [#{id := Id, credits := Won}] = all(L, #{}),
    {Same, Others} = lists:partition(fun({ok, _}) -> true; (_) -> false end, Answers),
    ?assertEqual(lists:duplicate(25, {ok, Id}), Same),
    ?assertEqual(lists:duplicate(75, {error, {conflict, Id}}), Others),
    ?assertEqual({ok, Id}, cost_ledger:record(L, (whole())#{credits => Won})),
    close(L).

a_run_of_a_live_hold_is_taken(Config) ->
    L = open(Config),
    Attempt = #{state => executing, run_id => <<"r">>, cost => 5},
    {ok, Hold} = cost_ledger:reserve(L, Attempt),
    ?assertEqual({ok, Hold}, cost_ledger:reserve(L, Attempt)),
    ?assertMatch({error, {conflict, _}}, cost_ledger:reserve(L, Attempt#{cost => 6})),
    ?assertMatch({error, {conflict, _}}, cost_ledger:record(L, Attempt)),
    ?assertEqual({error, not_found}, cost_ledger:fetch_run(L, <<"r">>)),
    ?assertEqual([], all(L, #{})),
    {ok, _} = cost_ledger:settle(Hold, #{cost => 5}),
    close(L).

%% The other one of a conflict is found, as a hold while it lives and as an entry since.
what_a_conflict_names_is_found(Config) ->
    L = open(Config),
    {ok, Hold} = cost_ledger:reserve(L, #{kind => run, run_id => <<"r">>, cost => 5}),
    {ok, _} = cost_ledger:reserve(L, #{state => executing}),
    {error, {conflict, Live}} = cost_ledger:record(L, #{kind => run, run_id => <<"r">>}),
    {ok, [Of, Plain]} = cost_ledger:holds(L),
    ?assertMatch(#{id := Live, run_id := <<"r">>, kind := run}, Of),
    ?assertNot(is_map_key(run_id, Plain)),
    ?assertMatch({ok, #{run_id := <<"r">>}}, cost_ledger:hold_info(Hold)),
    {ok, #{id := Ended}} = cost_ledger:settle(Hold, #{cost => 5}),
    ?assertEqual({error, {conflict, Ended}},
                 cost_ledger:record(L, #{kind => run, run_id => <<"r">>})),
    ?assertMatch(#{run_id := <<"r">>}, fetched(L, Ended)),
    close(L).

a_run_is_what_its_hold_became(Config) ->
    L = open(Config),
    Attempt = #{state => executing, run_id => <<"r">>, cost => 5},
    {ok, Hold} = cost_ledger:reserve(L, Attempt),
    {ok, #{id := Id}} = cost_ledger:settle(Hold, maps:with([output, trace, occurred_at, parent_run],
                                                           whole())),
    {ok, Record} = cost_ledger:fetch_run(L, <<"r">>),
    ?assertEqual(maps:with([output, trace, occurred_at, parent_run], whole()),
                 maps:with([output, trace, occurred_at, parent_run], Record)),
    [?assertEqual({error, {conflict, Id}}, Answer)
     || Answer <- [cost_ledger:reserve(L, Attempt), cost_ledger:record(L, Attempt)]],
    reopen(Config, L),
    ?assertEqual({ok, Record}, cost_ledger:fetch_run(L, <<"r">>)),
    ?assertEqual({error, {conflict, Id}}, cost_ledger:record(L, Attempt)),
    close(L).

a_run_with_children_is_what_remains(Config) ->
    L = open(Config),
    {ok, Run} = cost_ledger:reserve(L, #{kind => run, run_id => <<"r">>, cost => 1000}),
    {ok, Call} = cost_ledger:reserve(L, #{state => executing, cost => 100, parent => Run}),
    {ok, _} = cost_ledger:settle(Call, #{cost => 100}),
    [mentions(refused(fun() -> cost_ledger:settle(Run, #{cost => 150, inclusive => Wrong}) end),
              inclusive) || Wrong <- [7, [], <<"all">>]],
    mentions(refused(fun() -> cost_ledger:settle(Run, #{cost => 150, colour => red}) end),
             inclusive),
    InAll = #{cost => 150, parts => [100, 50]},
    {ok, #{id := Id}} = cost_ledger:settle(Run, #{cost => 150, breakdown => #{tokens => 150},
                                                  inclusive => InAll}),
    {ok, Record} = cost_ledger:fetch_run(L, <<"r">>),
    ?assertMatch(#{id := Id, cost := 50, inclusive := InAll}, Record),
    ?assertNot(is_map_key(breakdown, Record)),
    ?assertMatch(#{cost := #{net := 150}}, totals(L, #{})),
    {ok, _} = cost_ledger:redact(L, Id, ?BY),
    ?assertNot(is_map_key(inclusive, fetched(L, Id))),
    %% What is not there is not said.
    {ok, Other} = cost_ledger:reserve(L, #{kind => run, run_id => <<"o">>}),
    {ok, _} = cost_ledger:settle(Other, #{inclusive => nil, cost => 1}),
    {ok, Plain} = cost_ledger:fetch_run(L, <<"o">>),
    ?assertNot(is_map_key(inclusive, Plain)),
    close(L).

a_run_that_was_settled_late_is_told_in_a_correction(Config) ->
    L = open(Config),
    Attempt = #{kind => run, run_id => <<"r">>, cost => 50, deadline_ms => 1000},
    {ok, Hold} = cost_ledger:reserve(L, Attempt),
    ok = cost_ledger:meter(Hold, #{cost => 50}),
    _ = at(L, ?NOON + 1000),
    {ok, #{late := true, id := Late}} = cost_ledger:settle(Hold, #{cost => 70, output => done}),
    {ok, #{id := Id} = Record} = cost_ledger:fetch_run(L, <<"r">>),
    ?assertMatch(#{status := aborted, unattended := true, cost := 50}, Record),
    ?assertNot(is_map_key(output, Record)),
    [Correction] = listed(L, #{kind => correction}, #{payload => true}),
    ?assertMatch(#{id := Late, corrects := Id, late := true, completes := true, cost := 20,
                   output := done}, Correction),
    ?assertEqual({error, {conflict, Id}}, cost_ledger:reserve(L, Attempt)),
    %% Who corrects by hand is told as a change.
    ByHand = record(L, correction(Id, -1)),
    ?assertMatch(#{change := #{<<"by">> := <<"ops">>, <<"reason">> := <<"a test">>}},
                 fetched(L, ByHand)),
    close(L).

an_id_is_taken_by_a_run_that_was_there(Config) ->
    L = open(Config),
    Run = #{kind => run, run_id => <<"r">>, cost => 1},
    {ok, Id} = cost_ledger:record(L, Run#{id => <<"first">>}),
    ?assertEqual({ok, Id}, cost_ledger:record(L, Run#{id => <<"second">>})),
    ?assertEqual({error, {conflict, Id}},
                 cost_ledger:record(L, #{kind => run, id => <<"second">>, cost => 2})),
    close(L).

a_released_run_may_be_tried_again(Config) ->
    L = open(Config),
    Attempt = #{state => executing, run_id => <<"r">>},
    {ok, Hold} = cost_ledger:reserve(L, Attempt),
    ok = cost_ledger:release(Hold),
    ?assertEqual({error, not_found}, cost_ledger:fetch_run(L, <<"r">>)),
    Id = record(L, Attempt),
    ?assertMatch({ok, #{id := Id}}, cost_ledger:fetch_run(L, <<"r">>)),
    close(L).

%%% Corrections --------------------------------------------------------------------------------

correction(Id, Cost) ->
    ?BY#{kind => correction, corrects => Id, cost => Cost}.

a_correction_is_net_in_sums_and_gross_in_budgets(Config) ->
    L = open(Config, #{rules => [rule(<<"cap">>, #{user => each}, cost, lifetime, 500)]}),
    Call = #{state => executing, user => <<"u1">>, cost => 100, credits => 8,
             tokens => #{input => 50}},
    Id = record(L, Call),
    Before = fetched(L, Id),
    Off = record(L, (correction(Id, -40))#{credits => -3, tokens => #{input => -20, output => 5},
                                           id => <<"c-1">>, output => <<"refunded">>}),
    ?assertEqual({ok, Off}, cost_ledger:record(L, (correction(Id, -40))#{
                                                    credits => -3, id => <<"c-1">>,
                                                    tokens => #{input => -20, output => 5},
                                                    output => <<"refunded">>})),
    ?assertMatch(#{kind := correction, corrects := Id, cost := -40, credits := -3,
                   user := <<"u1">>, output := <<"refunded">>,
                   change := #{<<"by">> := <<"ops">>, <<"reason">> := <<"a test">>}},
                 fetched(L, Off)),
    ?assertEqual(Before, fetched(L, Id)),
    ?assertMatch(#{corrections := 1, invocations := #{count := 1, cost := 100},
                   cost := #{gross := 100, corrected := -40, net := 60},
                   credits := #{gross := 8, corrected := -3, net := 5},
                   tokens := #{input := 30, output := 5}}, totals(L, #{user => <<"u1">>})),
    ?assertMatch(#{used := 100}, told(L, #{user => <<"u1">>}, <<"cap">>)),
    record(L, correction(Id, 10)),
    ?assertMatch(#{cost := #{gross := 110, corrected := -40, net := 70},
                   invocations := #{cost := 100, max_cost := 100}}, totals(L, #{user => <<"u1">>})),
    ?assertMatch(#{used := 110}, told(L, #{user => <<"u1">>}, <<"cap">>)),
    ?assertMatch([#{kind := correction}, #{kind := correction}],
                 listed(L, #{kind => correction, user => <<"u1">>}, #{})),
    close(L).

a_correction_of_what_completed_counts_against_budgets_of_that(Config) ->
    L = open(Config, #{rules => [rule(<<"cap">>, #{user => each}, completed_credits, lifetime,
                                      1000)]}),
    Call = #{state => executing, user => <<"u1">>, credits => 900},
    Id = record(L, Call),
    Failed = record(L, Call#{status => failed}),
    record(L, (maps:remove(cost, correction(Failed, 0)))#{credits => 70}),
    ?assertMatch(#{used := 900}, told(L, #{user => <<"u1">>}, <<"cap">>)),
    record(L, (maps:remove(cost, correction(Id, 0)))#{credits => 60}),
    record(L, (maps:remove(cost, correction(Id, 0)))#{credits => -500}),
    ?assertMatch(#{used := 960}, told(L, #{user => <<"u1">>}, <<"cap">>)),
    ?assertMatch({error, {budget_exhausted, _}}, cost_ledger:reserve(L, Call#{credits => 50})),
    close(L).

nothing_is_corrected_below_zero(Config) ->
    L = open(Config),
    Id = record(L, #{state => executing, cost => 100, credits => 1, tokens => #{input => 5}}),
    record(L, correction(Id, -60)),
    unchanged(L, fun() ->
                         [?assertEqual(overcorrected, failing(cost_ledger:record(L, Correction)))
                          || Correction <- [correction(Id, -41),
                                            (correction(Id, 0))#{credits => -2},
                                            (correction(Id, 0))#{tokens => #{input => -6}},
                                            (correction(Id, 0))#{tokens => #{output => -1}},
                                            correction(Id, 1000000000000000)]]
                 end),
    record(L, correction(Id, -40)),
    ?assertMatch(#{cost := #{net := 0, gross := 100}}, totals(L, #{})),
    ?assertEqual(overcorrected, failing(cost_ledger:record(L, correction(Id, -1)))),
    close(L).

a_correction_prices_what_was_unpriced(Config) ->
    L = open(Config),
    [begin
         Id = record(L, Record),
         ?assertMatch(#{Of := #{unpriced := 1, average_cost := 0}}, totals(L, #{})),
         record(L, ?BY#{kind => correction, corrects => Id, credits => 1}),
         ?assertMatch(#{Of := #{unpriced := 1}}, totals(L, #{})),
         record(L, correction(Id, 30)),
         record(L, correction(Id, -10)),
         ?assertMatch(#{Of := #{unpriced := 0}}, totals(L, #{}))
     end || {Record, Of} <- [{#{state => executing}, invocations}, {#{kind => run}, runs}]],
    ?assertMatch(#{cost := #{net := 40}}, totals(L, #{})),
    close(L).

what_a_dead_owner_left_is_corrected_once(Config) ->
    L = open(Config),
    {ok, Hold} = cost_ledger:reserve(L, #{state => executing, cost => 50, deadline_ms => 1000,
                                          run_id => <<"r">>}),
    _ = at(L, ?NOON + 1000),
    {ok, #{id := Id, unattended := true, cost := 50}} = cost_ledger:fetch_run(L, <<"r">>),
    record(L, correction(Id, -20)),
    %% What its caller would have said is said now.
    ?assertEqual(resolved, failing(cost_ledger:settle(Hold, #{cost => 45}))),
    ?assertMatch(#{cost := #{net := 30}}, totals(L, #{})),
    close(L).

a_late_settlement_prices_what_was_unpriced(Config) ->
    L = open(Config),
    {ok, Hold} = cost_ledger:reserve(L, #{state => executing, project => <<"p1">>,
                                          deadline_ms => 1000}),
    _ = at(L, ?NOON + 1000),
    Aborted = #{project => <<"p1">>, status => aborted},
    ?assertMatch(#{invocations := #{unpriced := 1, aborted := 1}}, totals(L, Aborted)),
    {ok, #{late := true, id := Id}} = cost_ledger:settle(Hold, #{cost => 70, output => done}),
    ?assertMatch(#{kind := correction, late := true, cost := 70, output := done}, fetched(L, Id)),
    ?assertMatch(#{invocations := #{unpriced := 0, count := 1, aborted := 1},
                   cost := #{net := 70, completed := 70}}, totals(L, Aborted)),
    %% Nobody has less than nothing: it stays with the status that it was booked under.
    {ok, ByStatus} = cost_ledger:totals_by(L, status, #{project => <<"p1">>}),
    ?assertMatch([{aborted, #{corrections := 1}}], ByStatus),
    ?assertMatch(#{invocations := #{unpriced := 0, completed := 0, count := 0}, corrections := 0},
                 totals(L, Aborted#{status => completed})),
    close(L).

a_correction_is_of_a_record(Config) ->
    L = open(Config),
    Id = record(L, #{state => executing, cost => 9}),
    Correction = record(L, correction(Id, -1)),
    unchanged(L, fun() ->
                         [?assertEqual(no_entry, failing(cost_ledger:record(L, correction(Of, -1))))
                          || Of <- [Correction, Id + 1000, 1]],
                         [mentions(refused(fun() -> cost_ledger:record(L, Wrong) end), Word)
                          || {Wrong, Word} <-
                                 [{maps:remove(corrects, correction(Id, 1)), corrects},
                                  {maps:remove(by, correction(Id, 1)), "who"},
                                  {maps:remove(reason, correction(Id, 1)), "why"},
                                  {maps:remove(cost, correction(Id, 1)), "by how much"},
                                  {(correction(Id, 1))#{user => u1}, user},
                                  {(correction(Id, 1))#{status => failed}, status},
                                  {(correction(Id, 1))#{run_id => r}, run_id},
                                  {correction(Id, auto), cost},
                                  {correction(0, 1), corrects}, {correction(-1, 1), corrects},
                                  {correction(x, 1), corrects}, {correction(1 bsl 63, 1), corrects},
                                  {(correction(Id, 1))#{tokens => #{input => 1.5}}, input}]]
                 end),
    close(L).

%%% Redactions ---------------------------------------------------------------------------------

redacting_takes_the_words_and_leaves_the_numbers(Config) ->
    L = open(Config),
    Id = record(L, whole()),
    Before = {totals(L, #{}), totals(L, #{project => <<"p1">>, status => completed})},
    Words = [intent, input, output, trace, attributes],
    {ok, By} = cost_ledger:redact(L, Id, #{by => "dpo", reason => "erasure request 7"}),
    Expected = (maps:without(Words, whole()))#{id => Id, kind => invocation, timestamp => ?NOON,
                                               redacted_by => By},
    [?assertEqual(Expected, Record) || Record <- [fetched(L, Id)] ++ all(L, #{})
                                           ++ listed(L, #{}, #{payload => true})],
    ?assertMatch(#{kind := redaction, redacts := Id,
                   change := #{<<"by">> := <<"dpo">>, <<"reason">> := <<"erasure request 7">>}},
                 fetched(L, By)),
    ?assertEqual(Before,
                 {totals(L, #{}), totals(L, #{project => <<"p1">>, status => completed})}),
    unchanged(L, fun() -> ?assertEqual(no_payload, failing(cost_ledger:redact(L, Id, ?BY))) end),
    reopen(Config, L),
    ?assertEqual(Expected, fetched(L, Id)),
    close(L).

%% As long as its words are there they are part of what makes it the same; afterwards nobody learns
%% from the answer what they were.
a_redacted_run_is_still_booked_once(Config) ->
    L = open(Config),
    Id = record(L, whole()),
    Other = (whole())#{input => <<"other">>},
    ?assertEqual({error, {conflict, Id}}, cost_ledger:record(L, Other)),
    {ok, By} = cost_ledger:redact(L, Id, ?BY#{id => <<"x">>}),
    ?assertEqual({ok, By}, cost_ledger:redact(L, Id, ?BY#{id => <<"x">>})),
    ?assertEqual({ok, Id}, cost_ledger:record(L, whole())),
    ?assertEqual({ok, Id}, cost_ledger:record(L, Other)),
    ?assertEqual({error, {conflict, Id}}, cost_ledger:record(L, (whole())#{duration_ms => 1})),
    ?assertNot(is_map_key(input, fetched(L, Id))),
    close(L).

there_must_be_something_to_redact(Config) ->
    L = open(Config),
    Bare = record(L, #{state => executing}),
    unchanged(L, fun() ->
                         ?assertEqual(no_payload, failing(cost_ledger:redact(L, Bare, ?BY))),
                         ?assertEqual(no_entry, failing(cost_ledger:redact(L, Bare + 9, ?BY))),
                         [refused(fun() -> cost_ledger:redact(L, Of, Change) end)
                          || {Of, Change} <- [{0, ?BY}, {x, ?BY}, {1 bsl 63, ?BY}, {Bare, #{}},
                                              {Bare, #{by => x}}, {Bare, ?BY#{more => 1}}]]
                 end),
    close(L).

%%% Queries ------------------------------------------------------------------------------------

%% One of every kind; the ids of invocations and runs.
one_of_each(L) ->
    Call = record(L, #{state => executing, user => <<"u1">>, cost => 1, input => <<"x">>}),
    Run = record(L, #{kind => run, user => <<"u1">>, cost => 2}),
    record(L, correction(Call, 1)),
    {ok, _} = cost_ledger:grant(L, #{user => <<"u1">>}, 5, ?BY#{kind => topup}),
    {ok, Hold} = cost_ledger:reserve(L, #{state => executing, user => <<"u1">>}),
    ok = cost_ledger:release(Hold),
    {ok, _} = cost_ledger:set_policy(L, #{rules => [rule(<<"calls">>, all, invocations, lifetime,
                                                         1000)]}, ?BY),
    {ok, _} = cost_ledger:reset(L, <<"calls">>, ?BY),
    {ok, _} = cost_ledger:set_prices(L, #{m => #{input => 1, output => 1}}, ?BY),
    {ok, _} = cost_ledger:redact(L, Call, ?BY),
    {Call, Run}.

history_has_invocations_only(Config) ->
    L = open(Config),
    {Call, _Run} = one_of_each(L),
    ?assertMatch([#{id := Call, kind := invocation}], cost_ledger:history(L)),
    close(L).

every_kind_of_entry_is_listed(Config) ->
    L = open(Config),
    {Call, Run} = one_of_each(L),
    Kinds = [invocation, run, correction, grant, release, policy, reset, price, redaction],
    All = all(L, #{kind => all}),
    ?assertEqual(lists:sort(Kinds), lists:usort([Kind || #{kind := Kind} <- All])),
    ?assertEqual(All, lists:reverse(pages(L, #{kind => all}, #{limit => 3, payload => true}))),
    [?assertEqual({Kind, [Record || #{kind := Of} = Record <- All, Of =:= Kind]},
                  {Kind, all(L, #{kind => Kind})}) || Kind <- Kinds],
    ?assertEqual(All, all(L, #{kind => Kinds})),
    ?assertEqual([Call, Run], [Id || #{id := Id} <- all(L, #{})]),
    %% Of a name: what was booked under it.
    ?assertEqual([invocation, run, correction, grant, release],
                 [Kind || #{kind := Kind} <- all(L, #{kind => all, user => <<"u1">>})]),
    ?assertMatch({ok, #{total := 4}},
                 cost_ledger:list(L, #{kind => [release, grant, correction, run], user => <<"u1">>},
                                  #{total => true})),
    close(L).

%% No call of the library reads more than some megabytes of entries; a page is full nevertheless.
large_entries_are_listed_in_slices(Config) ->
    L = open(Config),
    Run = record(L, #{kind => run, user => <<"u1">>, model => <<"m">>}),
    Name = binary:copy(<<"n">>, 90),
    Prices = maps:from_list([{<<Name/binary, (integer_to_binary(Number))/binary>>,
                              #{input => 1, output => 1}} || Number <- lists:seq(1, 8000)]),
    Ids = [begin {ok, Id} = cost_ledger:set_prices(L, Prices, ?BY), Id end
           || _ <- lists:seq(1, 7)],
    Handle = element(3, cost_ledger_registry:find(L)),
    Slice = fun(Kind, Payload) -> cost_ledger_nif:list(Handle, {[], [Kind], [], 0, 1 bsl 63, oldest,
                                                                Payload, 1000, 5000, false, 0}) end,
    [begin
         {ok, Records, Matched, Next, unknown, 0} = Slice(price, Payload),
         ?assertEqual({length(Records), true}, {Matched, Matched > 2 andalso Matched < 7}),
         ?assertEqual(lists:nth(Matched, Ids) + 1, Next)
     end || Payload <- [false, true]],
    ?assertMatch({ok, [], 0, Next, unknown, 0} when is_integer(Next), Slice(redaction, false)),
    Pages = fun(Page) -> [Id || #{id := Id} <- listed(L, #{kind => price}, Page)] end,
    [begin
         ?assertEqual(Ids, Pages(#{order => oldest, limit => 7, payload => Payload})),
         ?assertEqual(lists:reverse(Ids), Pages(#{limit => 1000, payload => Payload})),
         ?assertEqual(tl(Ids), lists:reverse(Pages(#{limit => 6, payload => Payload})))
     end || Payload <- [false, true]],
    ?assertMatch({ok, #{total := 7, records := [_, _]}},
                 cost_ledger:list(L, #{kind => price}, #{limit => 2, total => true})),
    ?assertEqual({ok, #{records => [], total => 0}},
                 cost_ledger:list(L, #{kind => redaction}, #{total => true})),
    ?assertMatch([#{id := Run}], listed(L, #{kind => [run, redaction], user => <<"u1">>}, #{})),
    %% Many prices are as a payload is.
    [Whole | _] = all(L, #{kind => price}),
    #{change := #{<<"prices">> := Rows, <<"by">> := <<"ops">>} = Change} = Whole,
    ?assertEqual(8000, length(Rows)),
    ?assertEqual(Whole, fetched(L, hd(Ids))),
    Oldest = #{order => oldest, limit => 1},
    ?assertEqual([Whole], listed(L, #{kind => price}, Oldest#{payload => true})),
    ?assertEqual([Whole#{change := maps:remove(<<"prices">>, Change)}],
                 listed(L, #{kind => price}, Oldest)),
    close(L).

sums_are_told_apart_by_status(Config) ->
    L = open(Config),
    [record(L, #{state => executing, user => User, status => Status, cost => Cost})
     || {User, Status, Cost} <- [{<<"u1">>, failed, 5}, {<<"u1">>, failed, 6},
                                 {<<"u1">>, completed, 7}, {<<"u2">>, failed, 8}]],
    ?assertMatch(#{invocations := #{count := 3, cost := 19, min_cost := 5, max_cost := 8}},
                 totals(L, #{status => failed})),
    ?assertMatch(#{invocations := #{count := 2, cost := 11, failed := 2, completed := 0}},
                 totals(L, #{status => failed, user => <<"u1">>})),
    ?assertMatch(#{invocations := #{count := 0}}, totals(L, #{status => aborted})),
    {ok, ByUser} = cost_ledger:totals_by(L, user, #{status => failed}),
    ?assertEqual([{<<"u1">>, 11}, {<<"u2">>, 8}],
                 [{User, Cost} || {User, #{cost := #{gross := Cost}}} <- ByUser]),
    mentions(refused(fun() -> cost_ledger:totals(L, #{status => [failed, aborted]}) end), status),
    mentions(refused(fun() -> cost_ledger:totals(L, #{kind => run}) end), kind),
    close(L).

sums_say_which_series_they_need(Config) ->
    L = open(Config),
    record(L, #{state => executing, user => <<"u1">>, model => <<"m">>, cost => 3}),
    [begin
         {error, {undeclared_series, Text}} = Answer,
         mentions(Text, Series)
     end || {Answer, Series} <-
                [{cost_ledger:totals(L, #{model => <<"m">>}), "series => [[model]]"},
                 {cost_ledger:totals(L, #{model => <<"m">>, user => <<"no">>}), "[[user,model]]"},
                 {cost_ledger:totals(L, #{model => <<"m">>, status => failed}), "[[model,status]]"},
                 {cost_ledger:totals_by(L, model, #{}), "[[model]]"},
                 {cost_ledger:totals_by(L, model, #{user => <<"u1">>}), "[[user,model]]"}]],
    mentions(refused(fun() -> cost_ledger:totals_by(L, colour, #{}) end), colour),
    mentions(refused(fun() -> cost_ledger:totals_by(L, user, #{user => <<"u1">>}) end), user),
    close(L).

a_list_without_a_series_looks_at_all(Config) ->
    L = open(Config),
    record_many(L, 400, fun(Number) ->
                                #{state => executing,
                                  model => element(1 + Number rem 4, {a, b, c, d}),
                                  user => element(1 + Number rem 2, {u1, u2}), credits => Number}
                        end),
    [begin
         Credits = [Number || #{credits := Number} <- pages(L, Filter, #{limit => 9})],
         ?assertEqual(Numbers, lists:sort(Credits)),
         ?assertMatch({ok, Listed} when not is_map_key(total, Listed),
                      cost_ledger:list(L, Filter, #{limit => 1})),
         ?assertMatch({ok, #{total := Total}} when Total =:= length(Numbers),
                      cost_ledger:list(L, Filter, #{limit => 1, total => true}))
     end || {Filter, Numbers} <- [{#{model => b}, lists:seq(1, 400, 4)},
                                  {#{model => b, user => u2}, lists:seq(1, 400, 4)},
                                  {#{model => c, state => executing}, lists:seq(2, 400, 4)}]],
    ?assertMatch({ok, #{records := [], total := 0}},
                 cost_ledger:list(L, #{model => never}, #{})),
    close(L).

a_cursor_is_of_its_order(Config) ->
    L = open(Config),
    record_many(L, 4, fun(_) -> #{state => executing} end),
    {ok, #{cursor := Newest}} = cost_ledger:list(L, #{}, #{limit => 2}),
    {ok, #{cursor := Oldest}} = cost_ledger:list(L, #{}, #{limit => 2, order => oldest}),
    [mentions(refused(fun() -> cost_ledger:list(L, #{}, Page) end), cursor)
     || Page <- [#{cursor => Oldest}, #{cursor => Newest, order => oldest}, #{cursor => <<>>},
                 #{cursor => <<"newest-">>}, #{cursor => <<"newest-0">>}, #{cursor => 5},
                 #{cursor => <<"newest--1">>}, #{cursor => <<"newest-x">>},
                 #{cursor => <<"newest-99999999999999999999">>},
                 #{cursor => <<"newest-123456789012345678901">>}]],
    ?assertMatch([_, _], listed(L, #{}, #{cursor => Newest})),
    ?assertMatch([_, _], listed(L, #{}, #{cursor => Oldest, order => oldest})),
    close(L).

totals_are_counted_on_request(Config) ->
    L = open(Config),
    record_many(L, 30, fun(Number) -> #{state => executing, user => u1, model => m,
                                        status => element(1 + Number rem 3,
                                                          {completed, failed, aborted})} end),
    record(L, #{kind => run, user => u1}),
    [?assertMatch({Filter, {ok, #{total := Total}}},
                  {Filter, cost_ledger:list(L, Filter, #{total => true, limit => 2})})
     || {Filter, Total} <- [{#{}, 31}, {#{kind => run}, 1}, {#{user => u1}, 31},
                            {#{user => u1, kind => invocation}, 30}, {#{status => failed}, 10},
                            {#{status => [failed, completed]}, 21}, {#{model => m}, 30},
                            {#{model => m, status => [failed, aborted]}, 20},
                            {#{model => m, status => failed}, 10}, {#{kind => all}, 31},
                            {#{kind => [policy, run]}, 1}]],
    close(L).

a_time_that_ends_before_it_begins_has_nothing(Config) ->
    L = open(Config),
    record_many(L, 3, fun(_) -> #{state => executing, model => m} end),
    [begin
         Filter = More#{since => ?NOON + 1, until => ?NOON - 1},
         ?assertEqual({ok, #{records => [], total => 0}},
                      cost_ledger:list(L, Filter, #{total => true})),
         ?assertEqual([], all(L, Filter))
     end || More <- [#{}, #{state => executing}, #{model => m}, #{kind => all}]],
    ?assertMatch(#{invocations := #{count := 0}}, totals(L, #{since => ?NOON + 1, until => 0})),
    ?assertMatch({ok, #{total := 3}}, cost_ledger:list(L, #{since => ?NOON, until => ?NOON}, #{})),
    ?assertMatch({ok, #{total := 3}}, cost_ledger:list(L, #{since => -1, until => 1 bsl 80}, #{})),
    close(L).

pages_have_their_limits(Config) ->
    L = open(Config),
    record_many(L, 1100, fun(_) -> #{state => executing} end),
    ?assertEqual(50, length(listed(L, #{}, #{}))),
    ?assertEqual(1000, length(listed(L, [], [{limit, 1000}]))),
    [mentions(refused(fun() -> cost_ledger:list(L, Filter, Page) end), Word)
     || {Filter, Page, Word} <-
            [{#{}, #{limit => 0}, limit}, {#{}, #{limit => 1001}, limit},
             {#{}, #{limit => 1.0}, limit}, {#{}, #{order => upwards}, order},
             {#{}, #{total => 1}, total},
             {#{}, #{payload => yes}, payload}, {#{}, #{offset => 10}, offset},
             {#{}, none, "a map"},
             {#{}, [{limit, 1}, {limit, 2}], "twice"}, {#{colour => red}, #{}, colour},
             {#{status => done}, #{}, status}, {#{status => []}, #{}, status},
             {#{status => [failed | failed]}, #{}, status}, {#{kind => none}, #{}, kind},
             {#{since => <<"now">>}, #{}, since}, {#{until => 1.5}, #{}, until},
             {#{user => undefined}, #{}, user}, {#{user => <<>>}, #{}, user},
             {#{user => <<255>>}, #{}, user}, {#{user => each}, #{}, user}, {7, #{}, "a map"}]],
    [mentions(refused(fun() -> cost_ledger:fold(L, Filter, Fun, []) end), Word)
     || {Filter, Fun, Word} <- [{#{order => upwards}, fun(_, Acc) -> Acc end, order},
                                {#{limit => 3}, fun(_, Acc) -> Acc end, limit},
                                {#{}, fun(_) -> ok end, "a function"}]],
    close(L).

failed_lists_failures_only(Config) ->
    L = open(Config),
    [record(L, #{state => executing, status => Status}) || Status <- [completed, failed, aborted]],
    Statuses = fun(Filter) ->
                       {ok, #{records := Records}} =
                           cost_ledger:failed(L, Filter, #{order => oldest}),
                       [Status || #{status := Status} <- Records]
               end,
    ?assertEqual([failed, aborted], Statuses(#{})),
    ?assertEqual([failed], Statuses(#{status => failed})),
    ?assertEqual([aborted], Statuses([{status, [aborted]}])),
    [mentions(refused(fun() -> cost_ledger:failed(L, #{status => Status}, #{}) end), status)
     || Status <- [completed, [failed, completed], all]],
    close(L).
