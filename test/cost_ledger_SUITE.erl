%%% The behaviour of the ledger through its public API, on a manual clock. The cases share
%%% nothing and run in parallel, but for those about the default ledger, which have a VM each.
-module(cost_ledger_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-import(cost_ledger_test, [open/2, at/2, directory/1]).

-define(HOUR, 3600000).
-define(DAY, 86400000).
-define(NOON, 1700000000000).
-define(BY, #{by => test, reason => <<"a test">>}).

all() ->
    [{group, gate}, {group, records}, {group, policy}, {group, refusals}, {group, lifecycle},
     {group, own_vm}].

groups() ->
    [{gate, [parallel],
      [default_budgets_are_those_of_the_hub,
       a_state_is_exhausted_when_its_hour_is_full,
       a_state_is_exhausted_when_its_day_is_full,
       twenty_entries_aged_two_hours_do_not_exhaust,
       an_entry_leaves_its_window_to_the_millisecond,
       the_gate_recovers_without_a_write,
       a_limit_of_zero_stops_and_infinity_never_does,
       a_denial_is_told_once_with_its_counts,
       booking_goes_on_when_the_budget_is_exhausted]},
     {records, [parallel],
      [ok_means_that_it_is_in_the_file,
       metadata_comes_back_in_history,
       history_is_newest_first_and_since_is_inclusive,
       a_long_history_comes_whole,
       session_counts_all_invocations_also_those_before_this_start,
       an_invocation_is_told_once,
       a_name_unknown_to_the_vm_stays_a_binary,
       time_that_stands_still_gives_every_entry_an_id_of_its_own]},
     {policy, [parallel],
      [a_partial_change_merges_and_takes_effect_at_once,
       a_change_says_who_when_from_to_and_why,
       a_change_that_changes_nothing_is_not_booked,
       any_atom_can_be_a_state,
       stored_budgets_win_over_options_and_say_so,
       fifty_changes_at_once_all_take_effect]},
     {refusals, [parallel],
      [wrong_budgets_are_refused_by_name_and_change_nothing,
       wrong_options_are_refused_by_name,
       a_wrong_argument_is_the_callers_error_and_the_ledger_never_notices,
       an_undeclared_state_is_the_callers_error,
       an_entry_over_the_limit_is_refused_alone,
       more_callers_than_the_queue_holds_are_told_overloaded,
       more_bytes_than_the_queue_holds_are_overloaded,
       a_caller_that_waits_too_long_is_told_timeout,
       a_full_map_is_an_error_and_reads_go_on,
       one_directory_is_one_ledger_in_a_vm,
       one_directory_is_one_ledger_among_vms_and_the_holder_is_named,
       damaged_and_foreign_files_are_refused_in_words,
       a_path_that_cannot_be_used_is_refused_in_words]},
     {lifecycle, [parallel],
      [named_ledgers_are_independent,
       a_name_stands_for_one_ledger,
       a_relative_path_is_that_of_the_start,
       a_ledger_that_another_name_has_is_refused_at_once,
       who_started_a_ledger_may_stop_it,
       a_ledger_is_kept_in_one_currency,
       an_attribute_that_is_nil_is_absent,
       files_that_vanish_are_reported,
       a_directory_that_others_may_enter_is_reported,
       a_ledger_waits_for_what_is_left_of_a_killed_one,
       a_ledger_runs_under_a_supervisor_of_the_user,
       a_stopped_ledger_answers_by_on_unavailable,
       the_manual_clock_never_goes_back,
       a_system_clock_is_not_set_by_hand,
       the_screen_fits_80_columns]},
     {own_vm, [parallel],
      [without_a_ledger_the_gate_answers_and_says_so_once_per_outage,
       an_outage_is_printed_once_by_a_stock_logger,
       only_allow_allows,
       a_wrong_environment_does_not_start,
       a_telemetry_that_fails_fails_no_call,
       the_application_starts_the_default_ledger_from_its_environment,
       events_go_through_telemetry_where_it_is_loaded,
       a_missing_library_is_an_error_in_words,
       a_file_system_without_room_is_disk_full_in_words]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(cost_ledger),
    %% Events of the levels debug and info are caught by handlers; they are not printed.
    ok = logger:set_module_level(cost_ledger_events, debug),
    ok = logger:add_handler_filter(default, quiet,
                                   {fun cost_ledger_test_handler:stop_events/2, []}),
    Config.

end_per_suite(_Config) ->
    _ = logger:remove_handler_filter(default, quiet),
    logger:unset_module_level(cost_ledger_events).

init_per_testcase(_Case, Config) ->
    [{path, directory(Config)} | Config].

end_per_testcase(_Case, Config) ->
    cost_ledger_test:remove(?config(path, Config)).

%%% The gate -----------------------------------------------------------------------------------

default_budgets_are_those_of_the_hub(Config) ->
    L = open(?config(path, Config), #{}),
    ?assertEqual(#{executing => #{hourly_limit => 20, daily_limit => 100},
                   improving => #{hourly_limit => 10, daily_limit => 40},
                   contemplating => #{hourly_limit => 5, daily_limit => 15}},
                 maps:get(budgets, cost_ledger:stats(L))),
    close(L).

a_state_is_exhausted_when_its_hour_is_full(Config) ->
    L = open(?config(path, Config), #{}),
    at(L, ?NOON),
    record(L, improving, 9),
    ok = cost_ledger:check_budget(L, improving),
    record(L, improving, 1),
    budget_exhausted = cost_ledger:check_budget(L, improving),
    ok = cost_ledger:check_budget(L, executing),
    close(L).

a_state_is_exhausted_when_its_day_is_full(Config) ->
    L = open(?config(path, Config), #{}),
    [begin at(L, ?NOON + N * 2 * ?HOUR), record(L, contemplating, 5) end || N <- [0, 1, 2]],
    at(L, ?NOON + 8 * ?HOUR),
    ?assertMatch(#{hourly := #{contemplating := 0}, daily := #{contemplating := 15}},
                 cost_ledger:stats(L)),
    budget_exhausted = cost_ledger:check_budget(L, contemplating),
    close(L).

%% The original counted anew only when something was recorded, and an exhausted state records
%% nothing: it stayed locked out.
twenty_entries_aged_two_hours_do_not_exhaust(Config) ->
    L = open(?config(path, Config), #{}),
    at(L, ?NOON),
    record(L, executing, 20),
    budget_exhausted = cost_ledger:check_budget(L, executing),
    at(L, ?NOON + 2 * ?HOUR),
    ok = cost_ledger:check_budget(L, executing),
    ?assertMatch(#{hourly := #{executing := 0}, daily := #{executing := 20},
                   session := #{executing := 20}}, cost_ledger:stats(L)),
    close(L).

an_entry_leaves_its_window_to_the_millisecond(Config) ->
    L = open(?config(path, Config), #{budgets => #{executing => #{max_per_hour => 1}}}),
    at(L, ?NOON),
    record(L, executing, 1),
    at(L, ?NOON + ?HOUR),
    budget_exhausted = cost_ledger:check_budget(L, executing),
    ?assertMatch(#{hourly := #{executing := 1}}, cost_ledger:stats(L)),
    at(L, ?NOON + ?HOUR + 1),
    ok = cost_ledger:check_budget(L, executing),
    ?assertMatch(#{hourly := #{executing := 0}}, cost_ledger:stats(L)),
    close(L).

the_gate_recovers_without_a_write(Config) ->
    Path = ?config(path, Config),
    L = open(Path, #{budgets => #{executing => #{max_per_hour => 2}}}),
    at(L, ?NOON),
    record(L, executing, 1),
    at(L, ?NOON + 1000),
    record(L, executing, 1),
    close(L),
    %% Also what an earlier start wrote is forgotten in time.
    L = cost_ledger_test:open(L, Path, #{}),
    budget_exhausted = cost_ledger:check_budget(L, executing),
    at(L, ?NOON + ?HOUR + 1),
    ok = cost_ledger:check_budget(L, executing),
    close(L).

a_limit_of_zero_stops_and_infinity_never_does(Config) ->
    L = open(?config(path, Config),
             #{budgets => #{executing => #{max_per_hour => 0},
                            improving => #{max_per_hour => infinity, max_per_day => infinity}}}),
    at(L, ?NOON),
    budget_exhausted = cost_ledger:check_budget(L, executing),
    record(L, improving, 200),
    ok = cost_ledger:check_budget(L, improving),
    close(L).

a_denial_is_told_once_with_its_counts(Config) ->
    L = open(?config(path, Config), #{}),
    Handler = cost_ledger_test:catch_events(L),
    at(L, ?NOON),
    ok = cost_ledger:check_budget(L, contemplating),
    record(L, contemplating, 5),
    flush_events(),
    budget_exhausted = cost_ledger:check_budget(L, contemplating),
    ?assertEqual([{budget_exhausted, #{hourly_count => 5, daily_count => 5},
                   #{ledger => L, state => contemplating}}], flush_events()),
    cost_ledger_test:release_events(Handler),
    close(L).

booking_goes_on_when_the_budget_is_exhausted(Config) ->
    L = open(?config(path, Config), #{}),
    at(L, ?NOON),
    record(L, contemplating, 30),
    ?assertMatch(#{hourly := #{contemplating := 30, total := 30}}, cost_ledger:stats(L)),
    close(L).

%%% Records ------------------------------------------------------------------------------------

ok_means_that_it_is_in_the_file(Config) ->
    L = open(?config(path, Config), #{}),
    at(L, ?NOON),
    ok = cost_ledger:record_invocation(L, executing, #{duration_ms => 77}),
    close(L),
    L = cost_ledger_test:open(L, ?config(path, Config), #{}),
    ?assertMatch([#{duration_ms := 77, timestamp := ?NOON}], cost_ledger:history(L, #{})),
    close(L).

metadata_comes_back_in_history(Config) ->
    L = open(?config(path, Config), #{}),
    at(L, ?NOON),
    Meta = #{duration_ms => 1200, prompt_type => review, status => failed, cost => 4000000,
             credits => 3, tokens => #{input => 10, output => 20, cache_read => 30,
                                       cache_creation => 40, reasoning => 50},
             org => <<"acme">>, project => <<"p">>, user => <<"ü"/utf8>>, agent => <<"a">>,
             model => <<"m">>, provider => <<"azure">>},
    ok = cost_ledger:record_invocation(L, executing, Meta),
    ok = cost_ledger:record_invocation(L, executing, #{}),
    [Plain, Full] = cost_ledger:history(L, #{}),
    ?assertEqual(Meta#{kind => invocation, state => executing, timestamp => ?NOON,
                       id => ?NOON * 1000}, Full),
    %% What was not given is not there: no cost is not a cost of 0.
    ?assertEqual(#{kind => invocation, state => executing, timestamp => ?NOON,
                   id => ?NOON * 1000 + 1, duration_ms => 0, prompt_type => unknown,
                   status => completed}, Plain),
    close(L).

history_is_newest_first_and_since_is_inclusive(Config) ->
    L = open(?config(path, Config), #{}),
    [begin
         at(L, ?NOON + N * 1000),
         record(L, lists:nth(N rem 2 + 1, [executing, improving]), 1)
     end || N <- lists:seq(0, 149)],
    Times = fun(Options) -> [T - ?NOON || #{timestamp := T} <- cost_ledger:history(L, Options)] end,
    ?assertEqual([N * 1000 || N <- lists:seq(149, 50, -1)], Times(#{})),
    ?assertEqual([149000, 148000, 147000], Times(#{limit => 3})),
    ?assertEqual([149000, 148000], Times(#{since => ?NOON + 148000})),
    ?assertEqual([149000], Times([{since, ?NOON + 148001}])),
    ?assertEqual([149000, 147000], Times(#{state => improving, limit => 2})),
    ?assertEqual([], Times(#{limit => 0})),
    ?assertEqual([], Times(#{state => contemplating})),
    close(L).

a_long_history_comes_whole(Config) ->
    L = open(?config(path, Config), #{}),
    at(L, ?NOON),
    cost_ledger_test:parallel(50, fun() -> record(L, executing, 50) end),
    Ids = [Id || #{id := Id} <- cost_ledger:history(L, #{limit => 10000})],
    ?assertEqual(2500, length(Ids)),
    ?assertEqual(Ids, lists:reverse(lists:usort(Ids))),
    ?assertEqual(lists:sublist(Ids, 2000), [Id || #{id := Id} <-
                                                      cost_ledger:history(L, #{limit => 2000})]),
    close(L).

session_counts_all_invocations_also_those_before_this_start(Config) ->
    L = open(?config(path, Config), #{}),
    at(L, ?NOON),
    record(L, executing, 3),
    close(L),
    L = cost_ledger_test:open(L, ?config(path, Config), #{}),
    at(L, ?NOON + 3 * ?DAY),
    record(L, improving, 2),
    ?assertMatch(#{session := #{executing := 3, improving := 2, contemplating := 0, total := 5},
                   daily := #{executing := 0, improving := 2, total := 2}}, cost_ledger:stats(L)),
    close(L).

an_invocation_is_told_once(Config) ->
    L = open(?config(path, Config), #{}),
    Handler = cost_ledger_test:catch_events(L),
    at(L, ?NOON),
    ok = cost_ledger:record_invocation(L, executing, #{duration_ms => 5, prompt_type => plan}),
    ?assertEqual([{invocation, #{duration_ms => 5, count => 1},
                   #{ledger => L, state => executing, prompt_type => plan}}], flush_events()),
    cost_ledger_test:release_events(Handler),
    close(L).

a_name_unknown_to_the_vm_stays_a_binary(Config) ->
    L = open(?config(path, Config), #{}),
    at(L, ?NOON),
    Name = <<"never_an_atom_", (integer_to_binary(erlang:unique_integer([positive])))/binary>>,
    ok = cost_ledger:record_invocation(L, executing, #{prompt_type => Name}),
    ?assertMatch([#{prompt_type := Name}], cost_ledger:history(L, #{})),
    ?assertError(badarg, binary_to_existing_atom(Name)),
    close(L).

time_that_stands_still_gives_every_entry_an_id_of_its_own(Config) ->
    L = open(?config(path, Config), #{}),
    record(L, executing, 10),
    ?assertEqual(lists:seq(10, 1, -1), [Id || #{id := Id} <- cost_ledger:history(L, #{})]),
    close(L).

%%% Policy -------------------------------------------------------------------------------------

a_partial_change_merges_and_takes_effect_at_once(Config) ->
    L = open(?config(path, Config), #{budgets => #{improving => #{max_per_hour => 3}}}),
    at(L, ?NOON),
    record(L, improving, 3),
    budget_exhausted = cost_ledger:check_budget(L, improving),
    {ok, 2} = cost_ledger:set_budgets(L, #{improving => #{max_per_hour => 4}}, ?BY),
    ok = cost_ledger:check_budget(L, improving),
    {ok, 3} = cost_ledger:set_budgets(L, #{improving => #{max_per_day => 2}}, ?BY),
    budget_exhausted = cost_ledger:check_budget(L, improving),
    ?assertMatch(#{budgets := #{improving := #{hourly_limit := 4, daily_limit := 2},
                                executing := #{hourly_limit := 20}}}, cost_ledger:stats(L)),
    close(L),
    L = cost_ledger_test:open(L, ?config(path, Config), #{}),
    budget_exhausted = cost_ledger:check_budget(L, improving),
    close(L).

a_change_says_who_when_from_to_and_why(Config) ->
    L = open(?config(path, Config), #{}),
    at(L, ?NOON),
    {ok, 2} = cost_ledger:set_budgets(L, #{executing => #{max_per_hour => 50}},
                                      #{by => "Ünal", reason => <<"load test">>}),
    at(L, ?NOON + 5),
    {ok, 3} = cost_ledger:set_budgets(L, #{dreaming => #{max_per_day => 1}},
                                      #{by => ops, reason => <<"new state">>}),
    {ok, [Second, First]} = cost_ledger:policy_history(L),
    ?assertMatch(#{version := 2, by := <<"Ünal"/utf8>>, reason := <<"load test">>,
                   timestamp := ?NOON,
                   changes := [#{rule := <<"executing/hour">>, from := 20, to := 50}]}, First),
    ?assertMatch(#{version := 3, by := <<"ops">>, timestamp := ?NOON + 5,
                   changes := [#{rule := <<"dreaming/hour">>, from := undefined, to := infinity},
                               #{rule := <<"dreaming/day">>, from := undefined, to := 1}]}, Second),
    %% Only invocations count as invocations.
    ?assertMatch(#{session := #{total := 0}}, cost_ledger:stats(L)),
    ?assertEqual([], cost_ledger:history(L, #{})),
    close(L).

a_change_that_changes_nothing_is_not_booked(Config) ->
    L = open(?config(path, Config), #{}),
    {ok, 1} = cost_ledger:set_budgets(L, #{executing => #{max_per_hour => 20}}, ?BY),
    {ok, 1} = cost_ledger:set_budgets(L, #{}, ?BY),
    ?assertEqual({ok, []}, cost_ledger:policy_history(L)),
    close(L).

any_atom_can_be_a_state(Config) ->
    States = ['日本語', 'with space', list_to_atom(lists:duplicate(255, $x)), nil],
    L = open(?config(path, Config), #{}),
    {ok, 2} = cost_ledger:set_budgets(L, maps:from_list([{State, #{max_per_hour => 1}}
                                                         || State <- States]), ?BY),
    at(L, ?NOON),
    [begin
         ok = cost_ledger:check_budget(L, State),
         record(L, State, 1),
         budget_exhausted = cost_ledger:check_budget(L, State),
         ?assertMatch([#{state := State}], cost_ledger:history(L, #{state => State})),
         ?assertMatch(#{hourly := #{State := 1}}, cost_ledger:stats(L))
     end || State <- States],
    close(L).

stored_budgets_win_over_options_and_say_so(Config) ->
    L = open(?config(path, Config), #{budgets => #{executing => #{max_per_hour => 7}}}),
    close(L),
    Handler = cost_ledger_test:catch_events(L),
    Options = #{budgets => #{executing => #{max_per_hour => 9}, dreaming => #{max_per_day => 1}}},
    L = cost_ledger_test:open(L, ?config(path, Config), Options),
    ?assertMatch(#{budgets := #{executing := #{hourly_limit := 7},
                                dreaming := #{hourly_limit := infinity, daily_limit := 1}}},
                 cost_ledger:stats(L)),
    %% A state that only the options name has no stored limits to win: it is declared.
    ok = cost_ledger:check_budget(L, dreaming),
    ?assertMatch({ok, [#{version := 2, by := <<"start options">>}]},
                 cost_ledger:policy_history(L)),
    [Warning] = [Text || {opened_with_warning, _, #{warning := Text}} <- flush_events(),
                         binary:match(Text, <<"set_budgets">>) =/= nomatch],
    ?assertMatch({_, _}, binary:match(Warning, <<"executing max_per_hour is 7 in the ledger, "
                                                 "not 9">>)),
    close(L),
    %% The same options again, and none at all: nothing differs but the one limit.
    L = cost_ledger_test:open(L, ?config(path, Config), maps:remove(budgets, Options)),
    ?assertEqual([], [Text || {opened_with_warning, _, #{warning := Text}} <- flush_events(),
                              binary:match(Text, <<"set_budgets">>) =/= nomatch]),
    ?assertMatch({ok, [_]}, cost_ledger:policy_history(L)),
    cost_ledger_test:release_events(Handler),
    close(L).

%% Compare-and-set underneath: nobody's change is lost.
fifty_changes_at_once_all_take_effect(Config) ->
    L = open(?config(path, Config), #{}),
    States = [list_to_atom("s" ++ integer_to_list(N)) || N <- lists:seq(1, 50)],
    Pids = [spawn_monitor(fun() ->
                                  {ok, _} = cost_ledger:set_budgets(
                                              L, #{State => #{max_per_hour => 1}}, ?BY)
                          end) || State <- States],
    [receive {'DOWN', Monitor, process, Pid, Reason} -> normal = Reason end
     || {Pid, Monitor} <- Pids],
    #{budgets := Budgets} = cost_ledger:stats(L),
    ?assertEqual(53, map_size(Budgets)),
    {ok, Changes} = cost_ledger:policy_history(L),
    ?assertEqual(lists:seq(51, 2, -1), [Version || #{version := Version} <- Changes]),
    close(L).

%%% Refusals -----------------------------------------------------------------------------------

wrong_budgets_are_refused_by_name_and_change_nothing(Config) ->
    L = open(?config(path, Config), #{}),
    Before = cost_ledger:stats(L),
    Wrong = [{nil, []}, {20, []}, {[{executing, #{}}], []}, {"executing", []},
             {#{executing => nil}, [executing]}, {#{executing => 20}, [executing]},
             {#{executing => [{max_per_hour, 20}]}, [executing]},
             {#{<<"executing">> => #{max_per_hour => 20}}, [<<"executing">>]},
             {#{total => #{max_per_hour => 20}}, [total]},
             {#{'' => #{max_per_hour => 20}}, ['']},
             {maps:from_list([{list_to_atom("s" ++ integer_to_list(N)), #{}}
                              || N <- lists:seq(1, 1025)]), []},
             {#{executing => #{max_per_hour => nil}}, [executing, max_per_hour]},
             {#{executing => #{max_per_hour => "20"}}, [executing, max_per_hour]},
             {#{executing => #{max_per_hour => <<"20">>}}, [executing, max_per_hour]},
             {#{executing => #{max_per_day => -1}}, [executing, max_per_day]},
             {#{executing => #{max_per_day => 1.5}}, [executing, max_per_day]},
             {#{executing => #{max_per_hour => all}}, [executing, max_per_hour]},
             {#{executing => #{max_per_hour => 1 bsl 64}}, [executing, max_per_hour]},
             {#{executing => #{"max_per_hour" => 20}}, [executing, "max_per_hour"]},
             {#{executing => #{limit => 20}}, [executing, limit]},
             {#{executing => #{max_per_hour => 5}, improving => #{max_per_hour => nil}},
              [improving, max_per_hour]}],
    [begin
         {error, {bad_budgets, Path, Text}} = cost_ledger:set_budgets(L, Budgets, ?BY),
         ?assert(byte_size(Text) > 20),
         {error, {bad_budgets, Path, _}} =
             cost_ledger:start_link(#{name => other, path => "unused", budgets => Budgets})
     end || {Budgets, Path} <- Wrong],
    [?assertError(badarg, cost_ledger:set_budgets(L, #{executing => #{max_per_hour => 1}}, Change))
     || Change <- [#{}, nil, #{by => me}, #{by => <<>>, reason => <<"x">>},
                   #{by => 1, reason => 2}, #{by => [1 | 2], reason => "x"}]],
    ?assertEqual(Before, cost_ledger:stats(L)),
    ?assertEqual({ok, []}, cost_ledger:policy_history(L)),
    close(L).

wrong_options_are_refused_by_name(_Config) ->
    Good = #{name => refused, path => "unused"},
    [?assertMatch({error, {bad_option, [Key], _}}, cost_ledger:start_link(Good#{Key => Value}))
     || {Key, Value} <- [{name, "x"}, {path, 1}, {path, ""}, {clock, wall}, {currency, usd}, {currency, <<"usd">>}, {currency, <<0, 0, 0>>},
                         {path, undefined}, {path, nil}, {path, "a\0b"}, {path, foo},
                         {name, nil}, {queue, #{bytes => 1000}},
                         {map_size, 10}, {map_size, -1}, {max_entry_size, 0}, {queue, 10},
                         {queue, #{calls => 0}}, {queue, #{kalls => 1}}, {sync, maybe_later},
                         {on_unavailable, ok}, {call_timeout, 0}, {budget, #{}}]],
    ?assertMatch({error, {bad_option, [path], _}}, cost_ledger:start_link(#{name => refused})),
    ?assertMatch({error, {bad_option, [], _}}, cost_ledger:start_link(nil)),
    ?assertMatch({error, {bad_option, [], _}}, cost_ledger:start_link([1, 2])),
    ?assertNot(filelib:is_file("unused")).

a_wrong_argument_is_the_callers_error_and_the_ledger_never_notices(Config) ->
    L = open(?config(path, Config), #{}),
    Writer = writer(L),
    Meta = [nil, [], "meta", 7, #{duration_ms => -1}, #{duration_ms => 1.0},
            #{duration_ms => "5"}, #{duration_ms => 1 bsl 70}, #{cost => 0.004}, #{cost => -1},
            #{status => ok}, #{tokens => 5}, #{tokens => #{inputs => 5}},
            #{tokens => #{input => -5}}, #{model => ""}, #{model => <<>>},
            #{model => <<255, 254>>}, #{model => 5}, #{durationms => 5}, #{"duration_ms" => 5},
            #{state => executing}],
    [begin
         {Position, Text} = badarg_text(fun() -> cost_ledger:record_invocation(L, executing, M) end),
         ?assertEqual(3, Position),
         ?assertNotEqual(<<>>, Text)
     end || M <- Meta],
    [?assertMatch({2, _}, badarg_text(fun() -> cost_ledger:history(L, Options) end))
     || Options <- [#{limit => all}, #{limit => -1}, #{since => yesterday}, #{state => "x"},
                    #{limt => 5}, nil, 7, [1]]],
    {3, Named} = badarg_text(fun() ->
                                     cost_ledger:record_invocation(L, executing,
                                                                   #{duration_ms => -5})
                             end),
    ?assertMatch({_, _}, binary:match(Named, <<"duration_ms">>)),
    ?assertMatch({_, _}, binary:match(Named, <<"-5">>)),
    ?assertEqual(Writer, writer(L)),
    ?assertMatch(#{session := #{total := 0}}, cost_ledger:stats(L)),
    record(L, executing, 1),
    close(L).

an_undeclared_state_is_the_callers_error(Config) ->
    L = open(?config(path, Config), #{}),
    [begin
         {2, Text} = badarg_text(fun() -> cost_ledger:check_budget(L, State) end),
         ?assertMatch({_, _}, binary:match(Text, <<"not declared">>)),
         {2, _} = badarg_text(fun() -> cost_ledger:record_invocation(L, State, #{}) end),
         {2, _} = badarg_text(fun() -> cost_ledger:history(L, #{state => State}) end)
     end || State <- [daydreaming, total, undefined, "executing", <<"executing">>, 1, []]],
    {1, Never} = badarg_text(fun() -> cost_ledger:check_budget(no_such_ledger, executing) end),
    ?assertMatch({_, _}, binary:match(Never, <<"no_such_ledger">>)),
    ?assertMatch({1, _}, badarg_text(fun() -> cost_ledger:stats(no_such_ledger) end)),
    ?assertMatch(#{session := #{total := 0}}, cost_ledger:stats(L)),
    close(L).

an_entry_over_the_limit_is_refused_alone(Config) ->
    L = open(?config(path, Config), #{max_entry_size => 1000}),
    Large = #{model => binary:copy(<<"m">>, 1000)},
    {error, {entry_too_large, Text}} = cost_ledger:record_invocation(L, executing, Large),
    ?assertMatch({_, _}, binary:match(Text, <<"max_entry_size is 1000">>)),
    record(L, executing, 1),
    ?assertMatch(#{session := #{total := 1}}, cost_ledger:stats(L)),
    close(L).

more_callers_than_the_queue_holds_are_told_overloaded(Config) ->
    L = open(?config(path, Config), #{queue => #{calls => 5}}),
    ok = sys:suspend(writer(L)),
    Waiting = [async(fun() -> cost_ledger:record_invocation(L, executing, #{}) end)
               || _ <- lists:seq(1, 5)],
    cost_ledger_test:eventually(fun() -> queue_length(L) =:= 5 end),
    {error, overloaded} = cost_ledger:record_invocation(L, executing, #{}),
    ok = cost_ledger:check_budget(L, executing),
    ok = sys:resume(writer(L)),
    [ok = await(Call) || Call <- Waiting],
    ok = cost_ledger:record_invocation(L, executing, #{}),
    ?assertMatch(#{session := #{total := 6}}, cost_ledger:stats(L)),
    close(L).

more_bytes_than_the_queue_holds_are_overloaded(Config) ->
    L = open(?config(path, Config), #{queue => #{bytes => 2000}, max_entry_size => 2000}),
    ok = sys:suspend(writer(L)),
    Large = #{model => binary:copy(<<"m">>, 1500)},
    Waiting = async(fun() -> cost_ledger:record_invocation(L, executing, Large) end),
    cost_ledger_test:eventually(fun() -> queue_length(L) =:= 1 end),
    {error, overloaded} = cost_ledger:record_invocation(L, executing, Large),
    ok = sys:resume(writer(L)),
    ok = await(Waiting),
    close(L).

a_caller_that_waits_too_long_is_told_timeout(Config) ->
    L = open(?config(path, Config), #{call_timeout => 50}),
    ok = sys:suspend(writer(L)),
    {error, timeout} = cost_ledger:record_invocation(L, executing, #{}),
    ok = sys:resume(writer(L)),
    %% It was in the queue, and no late answer disturbs the caller.
    cost_ledger_test:eventually(fun() ->
                                        #{session := #{total := T}} = cost_ledger:stats(L),
                                        T =:= 1
                                end),
    ?assertEqual({messages, []}, process_info(self(), messages)),
    close(L).

a_full_map_is_an_error_and_reads_go_on(Config) ->
    Path = ?config(path, Config),
    L = open(Path, #{map_size => 1 bsl 20}),
    Handler = cost_ledger_test:catch_events(L),
    {Booked, {error, {map_full, _}}} = record_until_error(L, 0),
    ?assert(Booked > 5),
    ?assertMatch(#{session := #{total := Booked}}, cost_ledger:stats(L)),
    ?assertEqual(Booked, length(cost_ledger:history(L, #{limit => 1000000}))),
    ok = cost_ledger:check_budget(L, improving),
    [{error, {map_full, _}} = cost_ledger:record_invocation(L, executing,
                                                            #{model => binary:copy(<<"m">>, 20000)})
     || _ <- lists:seq(1, 5)],
    %% Told once, not once a batch.
    ?assertMatch([{write_failed, #{count := 1}, _}],
                 [Event || {write_failed, _, _} = Event <- flush_events()]),
    cost_ledger_test:release_events(Handler),
    close(L),
    L = cost_ledger_test:open(L, Path, #{map_size => 16 bsl 20}),
    ok = cost_ledger:record_invocation(L, executing, #{}),
    ?assertMatch(#{session := #{total := N}} when N =:= Booked + 1, cost_ledger:stats(L)),
    close(L).

record_until_error(L, N) ->
    Model = <<(integer_to_binary(N))/binary, (binary:copy(<<"m">>, 20000))/binary>>,
    case cost_ledger:record_invocation(L, executing, #{model => Model}) of
        ok -> record_until_error(L, N + 1);
        Error -> {N, Error}
    end.

one_directory_is_one_ledger_in_a_vm(Config) ->
    Path = ?config(path, Config),
    L = open(Path, #{}),
    {error, {already_open, _}} = open(Path, #{}),
    Link = Path ++ "-link",
    ok = file:make_symlink(Path, Link),
    {error, {already_open, _}} = open(Link, #{}),
    ok = file:delete(Link),
    record(L, executing, 1),
    close(L),
    L = cost_ledger_test:open(L, Path, #{}),
    close(L).

one_directory_is_one_ledger_among_vms_and_the_holder_is_named(Config) ->
    Path = ?config(path, Config),
    Peer = cost_ledger_test:start_vm(),
    held = peer:call(Peer, cost_ledger_test, open, [held, Path, #{}]),
    OsPid = list_to_binary(peer:call(Peer, os, getpid, [])),
    {error, {locked, Text}} = open(Path, #{}),
    ?assertMatch({_, _}, binary:match(Text, <<"OS process ", OsPid/binary>>)),
    ?assertMatch({_, _}, binary:match(Text, <<"ledger held">>)),
    cost_ledger_test:kill_vm(Peer),
    L = open(Path, #{}),
    close(L).

damaged_and_foreign_files_are_refused_in_words(Config) ->
    Path = ?config(path, Config),
    L = open(Path, #{}),
    at(L, ?NOON),
    cost_ledger_test:parallel(20, fun() -> record(L, executing, 100) end),
    close(L),
    Data = filename:join(Path, "data.mdb"),
    {ok, Whole} = file:read_file(Data),
    Refused = fun(Bytes, Expected) ->
                      ok = file:write_file(Data, Bytes),
                      {error, {Reason, Text}} = open(Path, #{}),
                      ?assertEqual(Expected, Reason),
                      ?assert(byte_size(Text) > 20)
              end,
    Refused(binary:part(Whole, 0, 40960), truncated),
    Refused(binary:part(Whole, 0, 5000), truncated),
    Refused(binary:part(Whole, 0, 100), foreign),
    Refused(<<>>, data_missing),
    Refused(binary:copy(<<"not a database ">>, 1000), foreign),
    ok = file:delete(Data),
    {error, {data_missing, _}} = open(Path, #{}),
    ok = file:write_file(Data, Whole),
    L = cost_ledger_test:open(L, Path, #{}),
    ?assertMatch(#{session := #{total := 2000}}, cost_ledger:stats(L)),
    close(L).

a_path_that_cannot_be_used_is_refused_in_words(Config) ->
    File = ?config(path, Config),
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, "a file"),
    ?assertMatch({error, {not_a_directory, _}}, open(File, #{})),
    ?assertMatch({error, {not_a_directory, _}}, open(filename:join(File, "below"), #{})),
    %% Nobody, not even root, makes a directory there.
    {error, {_, Text}} = open("/proc/cost_ledger", #{}),
    ?assertMatch({_, _}, binary:match(Text, <<"/proc/cost_ledger">>)),
    ok = file:delete(File).

%%% Lifecycle ----------------------------------------------------------------------------------

named_ledgers_are_independent(Config) ->
    A = open(?config(path, Config) ++ "-a", #{}),
    B = open(?config(path, Config) ++ "-b", #{budgets => #{dreaming => #{max_per_hour => 1}}}),
    at(A, ?NOON),
    at(B, 5000),
    record(A, executing, 20),
    record(B, dreaming, 1),
    budget_exhausted = cost_ledger:check_budget(A, executing),
    ok = cost_ledger:check_budget(B, executing),
    budget_exhausted = cost_ledger:check_budget(B, dreaming),
    ?assertError(badarg, cost_ledger:check_budget(A, dreaming)),
    ?assertMatch(#{ledger_time := ?NOON}, cost_ledger:stats(A)),
    ?assertMatch(#{ledger_time := 5000}, cost_ledger:stats(B)),
    close(A),
    ok = cost_ledger:check_budget(B, executing),
    close(B),
    [cost_ledger_test:remove(?config(path, Config) ++ Suffix) || Suffix <- ["-a", "-b"]].

a_name_stands_for_one_ledger(Config) ->
    L = open(?config(path, Config), #{}),
    record(L, executing, 1),
    Other = ?config(path, Config) ++ "-other",
    ?assertMatch({error, {already_started, _}}, cost_ledger_test:open(L, Other, #{})),
    ?assertMatch(#{session := #{total := 1}}, cost_ledger:stats(L)),
    ?assertNot(filelib:is_dir(Other)),
    close(L),
    L = cost_ledger_test:open(L, Other, #{}),
    close(L),
    cost_ledger_test:remove(Other).

a_relative_path_is_that_of_the_start(_Config) ->
    #{start := {cost_ledger, start_link, [Options]}} =
        cost_ledger:child_spec([{path, "relative"}, {name, somewhere}]),
    ?assertMatch(#{path := Path} when Path =/= <<"relative">>, Options),
    ?assertEqual(absolute, filename:pathtype(maps:get(path, Options))),
    %% A specification does not fail; starting it does.
    ?assertMatch(#{id := {cost_ledger, hub}}, cost_ledger:child_spec(#{name => hub, path => 17})).

%% Not after a minute of waiting for a ledger that closed long ago.
a_ledger_that_another_name_has_is_refused_at_once(Config) ->
    Path = ?config(path, Config),
    L = open(Path, #{}),
    close(L),
    Other = open(Path, #{}),
    {Us, Result} = timer:tc(fun() -> cost_ledger_test:open(L, Path, #{}) end),
    ?assertMatch({error, {already_open, _}}, Result),
    ?assert(Us < 10000000),
    close(Other).

who_started_a_ledger_may_stop_it(Config) ->
    {Pid, Monitor} =
        spawn_monitor(fun() ->
                              {ok, _} = cost_ledger:start_link(#{name => mine, clock => manual,
                                                                 path => ?config(path, Config)}),
                              ok = cost_ledger:stop(mine),
                              exit(survived)
                      end),
    receive {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(survived, Reason) end.

a_ledger_is_kept_in_one_currency(Config) ->
    L = open(?config(path, Config), #{currency => <<"EUR">>}),
    close(L),
    ?assertMatch({error, {currency_differs, _}},
                 open(?config(path, Config), #{currency => <<"USD">>})),
    L = cost_ledger_test:open(L, ?config(path, Config), #{}),
    {ok, Text} = cost_ledger_screen:format(cost_ledger_registry:find(L)),
    ?assertMatch({match, _}, re:run(Text, "currency EUR")),
    close(L).

an_attribute_that_is_nil_is_absent(Config) ->
    L = open(?config(path, Config), #{}),
    ok = cost_ledger:record_invocation(L, executing, #{user => nil, model => undefined,
                                                       prompt_type => nil}),
    [Record] = cost_ledger:history(L, #{}),
    ?assertMatch(#{prompt_type := unknown}, Record),
    ?assertEqual([], maps:keys(maps:with([user, model], Record))),
    close(L).

files_that_vanish_are_reported(Config) ->
    L = open(?config(path, Config), #{}),
    Handler = cost_ledger_test:catch_events(L),
    record(L, executing, 1),
    flush_events(),
    cost_ledger_test:remove(?config(path, Config)),
    receive {event, files_replaced, #{count := 1}, _} -> ok
    after 5000 -> error(not_reported)
    end,
    cost_ledger_test:release_events(Handler),
    close(L).

a_directory_that_others_may_enter_is_reported(Config) ->
    Path = ?config(path, Config),
    ok = filelib:ensure_path(Path),
    ok = file:change_mode(Path, 8#755),
    Name = list_to_atom("shared_" ++ integer_to_list(erlang:unique_integer([positive]))),
    Handler = cost_ledger_test:catch_events(Name),
    Name = cost_ledger_test:open(Name, Path, #{}),
    ?assertMatch([_], [Text || {opened_with_warning, _, #{warning := Text}} <- flush_events(),
                               binary:match(Text, <<"chmod 700">>) =/= nomatch]),
    close(Name),
    ok = file:change_mode(Path, 8#700),
    Name = cost_ledger_test:open(Name, Path, #{}),
    ?assertEqual([], [Text || {opened_with_warning, _, #{warning := Text}} <- flush_events(),
                              binary:match(Text, <<"chmod 700">>) =/= nomatch]),
    cost_ledger_test:release_events(Handler),
    close(Name).

a_ledger_runs_under_a_supervisor_of_the_user(Config) ->
    Name = list_to_atom("user_" ++ integer_to_list(erlang:unique_integer([positive]))),
    Spec = cost_ledger:child_spec([{name, Name}, {path, ?config(path, Config)},
                                   {clock, manual}]),
    {ok, Top} = supervisor:start_link(cost_ledger_test_sup, [Spec]),
    record(Name, executing, 2),
    [{_, Instance, supervisor, _}] = supervisor:which_children(Top),
    Before = cost_ledger_registry:find(Name),
    %% The whole ledger dies: its user's supervisor opens it again.
    exit(Instance, kill),
    cost_ledger_test:eventually(fun() -> cost_ledger_registry:find(Name) =/= Before end),
    ?assertMatch(#{session := #{total := 2}}, cost_ledger:stats(Name)),
    record(Name, executing, 1),
    %% Stopped, it stays stopped.
    ok = cost_ledger:stop(Name),
    ?assertMatch([{_, undefined, supervisor, _}], supervisor:which_children(Top)),
    {error, unavailable} = cost_ledger:record_invocation(Name, executing, #{}),
    unlink(Top),
    exit(Top, shutdown).

%% Each name that a ledger's processes have is still taken when it begins to start.
a_ledger_waits_for_what_is_left_of_a_killed_one(Config) ->
    Name = list_to_atom("left_" ++ integer_to_list(erlang:unique_integer([positive]))),
    Scope = cost_ledger_effects:scope(Name),
    Teller = list_to_atom("cost_ledger_teller:" ++ atom_to_list(Name)),
    [begin
         Left = spawn(fun() -> receive go -> ok end end),
         true = register(Taken, Left),
         {ok, _} = timer:send_after(50, Left, go),
         Name = cost_ledger_test:open(Name, ?config(path, Config), #{}),
         false = is_process_alive(Left),
         true = Left =/= whereis(Taken) andalso is_pid(whereis(Taken)),
         close(Name)
     end || Taken <- [Scope, Teller]].

a_stopped_ledger_answers_by_on_unavailable(Config) ->
    L = open(?config(path, Config), #{on_unavailable => deny}),
    Handler = cost_ledger_test:catch_events(L),
    close(L),
    budget_exhausted = cost_ledger:check_budget(L, executing),
    budget_exhausted = cost_ledger:check_budget(L, executing),
    ?assertEqual([{unavailable, #{count => 1}, #{ledger => L, answer => deny}}], flush_events()),
    {error, unavailable} = cost_ledger:record_invocation(L, executing, #{}),
    {error, unavailable} = cost_ledger:stats(L),
    {error, unavailable} = cost_ledger:history(L, #{}),
    {error, unavailable} = cost_ledger:i(L),
    {error, unavailable} = cost_ledger:set_budgets(L, #{}, ?BY),
    {error, unavailable} = cost_ledger:set_clock(L, 1),
    {error, unavailable} = cost_ledger:stop(L),
    L = cost_ledger_test:open(L, ?config(path, Config), #{on_unavailable => allow}),
    ?assertMatch([{available, _, _}], [E || {available, _, _} = E <- flush_events()]),
    close(L),
    ok = cost_ledger:check_budget(L, executing),
    ?assertMatch([{unavailable, _, #{answer := allow}}], flush_events()),
    cost_ledger_test:release_events(Handler).

the_manual_clock_never_goes_back(Config) ->
    L = open(?config(path, Config), #{}),
    ?assertMatch(#{ledger_time := 0}, cost_ledger:stats(L)),
    ok = cost_ledger:set_clock(L, ?NOON),
    ok = cost_ledger:set_clock(L, ?NOON),
    {error, backwards} = cost_ledger:set_clock(L, ?NOON - 1),
    ok = cost_ledger:advance_clock(L, 0),
    ok = cost_ledger:advance_clock(L, 15),
    ?assertMatch(#{ledger_time := ?NOON + 15}, cost_ledger:stats(L)),
    cost_ledger_test:parallel(100, fun() -> ok = cost_ledger:advance_clock(L, 1) end),
    ?assertMatch(#{ledger_time := ?NOON + 115}, cost_ledger:stats(L)),
    [?assertError(badarg, cost_ledger:advance_clock(L, Ms)) || Ms <- [-1, 1.0, soon]],
    [?assertError(badarg, cost_ledger:set_clock(L, Ms)) || Ms <- [1.0, now, 1 bsl 60]],
    close(L),
    %% It starts where it was, not at the wall clock.
    L = cost_ledger_test:open(L, ?config(path, Config), #{}),
    ?assertMatch(#{ledger_time := ?NOON + 115}, cost_ledger:stats(L)),
    close(L).

a_system_clock_is_not_set_by_hand(Config) ->
    L = open(?config(path, Config), #{clock => system}),
    {error, not_manual} = cost_ledger:set_clock(L, 1 bsl 40),
    {error, not_manual} = cost_ledger:advance_clock(L, 1),
    #{ledger_time := Now} = cost_ledger:stats(L),
    ?assert(abs(Now - erlang:system_time(millisecond)) < 5000),
    ok = cost_ledger:accept_clock(L),
    close(L).

the_screen_fits_80_columns(Config) ->
    L = open(?config(path, Config),
             #{budgets => #{a_state_with_quite_a_long_name => #{max_per_hour => 0},
                            executing => #{max_per_hour => 1000, max_per_day => 123456789}}}),
    at(L, ?NOON),
    cost_ledger_test:parallel(20, fun() -> record(L, executing, 75) end),
    {ok, Text} = cost_ledger_screen:format(cost_ledger_registry:find(L)),
    [_Path | Lines] = string:split(unicode:characters_to_list(Text), "\n", all),
    [?assert(length(Line) =< 80, Line) || Line <- Lines],
    ?assertMatch({match, _}, re:run(Text, "executing +1500/1000 ######## +1500/123456789 +1,500"
                                    "  until")),
    ?assertMatch({match, _}, re:run(Text, "a_state_with_~.*stopped")),
    close(L).

%%% In a VM of its own --------------------------------------------------------------------------

without_a_ledger_the_gate_answers_and_says_so_once_per_outage(Config) ->
    in_vm(fun ?MODULE:outage/1, [?config(path, Config)]).

outage(Path) ->
    Handler = cost_ledger_test:catch_events(default),
    %% Many at once: still one report.
    cost_ledger_test:parallel(50, fun() -> ok = cost_ledger:check_budget(executing) end),
    ?assertEqual([{unavailable, #{count => 1}, #{ledger => default, answer => allow}}],
                 flush_events()),
    {error, unavailable} = cost_ledger:record_invocation(executing),
    {error, unavailable} = cost_ledger:stats(),
    ?assertError(badarg, cost_ledger:check_budget("executing")),
    default = cost_ledger_test:open(default, Path, #{}),
    ?assertMatch([{available, _, _}], [E || {available, _, _} = E <- flush_events()]),
    ok = cost_ledger:record_invocation(executing),
    flush_events(),
    ok = cost_ledger:check_budget(executing),
    ok = cost_ledger:stop(),
    [ok = cost_ledger:check_budget(executing) || _ <- lists:seq(1, 5)],
    ?assertMatch([{unavailable, _, _}], flush_events()),
    cost_ledger_test:release_events(Handler).

%% What an operator sees on the console of a node that configured nothing.
an_outage_is_printed_once_by_a_stock_logger(_Config) ->
    Command = ["erl -noshell -pa ", filename:dirname(code:which(cost_ledger)),
               " -eval '[ok = cost_ledger:check_budget(executing) || _ <- lists:seq(1, 5)], "
               "logger_std_h:filesync(default), halt().'"],
    Printed = os:cmd(unicode:characters_to_list(Command)),
    ?assertMatch({match, [_]}, re:run(Printed, "cost_ledger.unavailable", [global])),
    ?assertMatch({match, _}, re:run(Printed, "answer => allow")).

only_allow_allows(_Config) ->
    [in_vm(fun() ->
                   ok = application:set_env(cost_ledger, on_unavailable, Answer),
                   budget_exhausted = cost_ledger:check_budget(executing)
           end, []) || Answer <- [deny, denied]],
    ok.

a_wrong_environment_does_not_start(_Config) ->
    in_vm(fun() ->
                  ok = application:load(cost_ledger),
                  [begin
                       ok = application:set_env(cost_ledger, Key, Value),
                       {error, {cost_ledger, Reason}} =
                           application:ensure_all_started(cost_ledger),
                       ?assertMatch({match, _}, re:run(io_lib:format("~p", [Reason]),
                                                       atom_to_list(Key))),
                       ok = application:unset_env(cost_ledger, Key)
                   end || {Key, Value} <- [{pth, "/x"}, {on_unavailable, denied}, {path, 5},
                                           {budgets, #{}}]],
                  {ok, _} = application:ensure_all_started(cost_ledger),
                  ok
          end, []).

a_telemetry_that_fails_fails_no_call(Config) ->
    in_vm(fun ?MODULE:with_failing_telemetry/1, [?config(path, Config)]).

with_failing_telemetry(Path) ->
    load_telemetry({call, 1, {remote, 1, {atom, 1, erlang}, {atom, 1, error}},
                    [{atom, 1, no_table}]}),
    default = cost_ledger_test:open(default, Path,
                                    #{budgets => #{executing => #{max_per_hour => 1}}}),
    ok = cost_ledger:record_invocation(executing),
    budget_exhausted = cost_ledger:check_budget(executing),
    ok = cost_ledger:stop(),
    ok = cost_ledger:check_budget(executing),
    ok.

the_application_starts_the_default_ledger_from_its_environment(Config) ->
    in_vm(fun ?MODULE:application_environment/1, [?config(path, Config)]).

application_environment(Path) ->
    ok = application:load(cost_ledger),
    ok = application:set_env(cost_ledger, path, Path),
    ok = application:set_env(cost_ledger, clock, manual),
    ok = application:set_env(cost_ledger, budgets, #{executing => #{max_per_hour => 2}}),
    {ok, _} = application:ensure_all_started(cost_ledger),
    ok = cost_ledger:set_clock(?NOON),
    ok = cost_ledger:record_invocation(executing),
    ok = cost_ledger:record_invocation(executing, #{duration_ms => 5}),
    budget_exhausted = cost_ledger:check_budget(executing),
    [#{duration_ms := 5}, _] = cost_ledger:history(),
    [_] = cost_ledger:history(#{limit => 1}),
    [_, _] = cost_ledger:history(default),
    #{session := #{total := 2}} = cost_ledger:stats(),
    {ok, 2} = cost_ledger:set_budgets(#{executing => #{max_per_hour => 3}}, ?BY),
    ok = cost_ledger:check_budget(executing),
    {ok, [_]} = cost_ledger:policy_history(),
    ok = cost_ledger:advance_clock(1),
    ok = cost_ledger:accept_clock(),
    ok = cost_ledger:stop(),
    ok = cost_ledger:check_budget(executing),
    {error, unavailable} = cost_ledger:stats(),
    %% A wrong environment is an error that says what is wrong.
    ok = application:stop(cost_ledger),
    ok = application:set_env(cost_ledger, budgets, #{executing => #{max_per_hour => nil}}),
    {error, {cost_ledger, Reason}} = application:ensure_all_started(cost_ledger),
    ?assertMatch({match, _}, re:run(io_lib:format("~p", [Reason]), "bad_budgets.*max_per_hour",
                                    [dotall])).

events_go_through_telemetry_where_it_is_loaded(Config) ->
    in_vm(fun ?MODULE:with_telemetry/1, [?config(path, Config)]).

%% A module that stands where the telemetry application's would.
load_telemetry(Body) ->
    Forms = [{attribute, 1, module, telemetry},
             {attribute, 1, export, [{execute, 3}]},
             {function, 1, execute, 3,
              [{clause, 1, [{var, 1, 'E'}, {var, 1, 'M'}, {var, 1, 'D'}], [],
                [{tuple, 1, [{var, 1, 'E'}, {var, 1, 'M'}, {var, 1, 'D'}]}, Body]}]}],
    {ok, telemetry, Beam} = compile:forms(Forms),
    {module, telemetry} = code:load_binary(telemetry, "telemetry", Beam).

with_telemetry(Path) ->
    load_telemetry({op, 1, '!', {atom, 1, telemetry_test},
                    {tuple, 1, [{var, 1, 'E'}, {var, 1, 'M'}, {var, 1, 'D'}]}}),
    true = register(telemetry_test, self()),
    Handler = cost_ledger_test:catch_events(default),
    default = cost_ledger_test:open(default, Path,
                                    #{budgets => #{executing => #{max_per_hour => 1}}}),
    ok = cost_ledger:record_invocation(executing, #{duration_ms => 9}),
    budget_exhausted = cost_ledger:check_budget(executing),
    receive {[cost_ledger, invocation], #{duration_ms := 9, count := 1},
             #{state := executing, prompt_type := unknown}} -> ok
    after 1000 -> error(no_event)
    end,
    receive {[cost_ledger, budget_exhausted], #{hourly_count := 1, daily_count := 1},
             #{state := executing}} -> ok
    after 1000 -> error(no_event)
    end,
    ?assertEqual([], flush_events()),
    ok = cost_ledger_test:release_events(Handler),
    ok = cost_ledger:stop().

a_missing_library_is_an_error_in_words(Config) ->
    Path = ?config(path, Config),
    Ebin = filename:join([Path, "lib", "ebin"]),
    ok = filelib:ensure_path(Ebin),
    From = filename:dirname(code:which(cost_ledger)),
    {ok, Files} = file:list_dir(From),
    [{ok, _} = file:copy(filename:join(From, File), filename:join(Ebin, File)) || File <- Files],
    Peer = cost_ledger_test:start_vm(#{args => ["-pa", Ebin,
                                                "-pa", filename:dirname(code:which(?MODULE)),
                                                "-kernel", "logger_level", "emergency"]}),
    Result = peer:call(Peer, cost_ledger_test, open, [lost, filename:join(Path, "ledger"), #{}]),
    ?assertMatch({error, {nif_not_loaded, <<_/binary>>}}, Result),
    {error, {_, Text}} = Result,
    ?assertMatch({_, _}, binary:match(Text, <<"cost_ledger_nif">>)),
    cost_ledger_test:stop_vm(Peer).

%% A real one, of 3 MiB: LMDB writes its lock file through a map, and a page without room there
%% would be the end of the VM.
a_file_system_without_room_is_disk_full_in_words(Config) ->
    Mount = ?config(path, Config),
    ok = filelib:ensure_path(Mount),
    case os:cmd("mount -t tmpfs -o size=3m tmpfs " ++ Mount ++ " 2>&1") of
        "" ->
            try in_vm(fun ?MODULE:without_room/1, [Mount])
            after os:cmd("umount -l " ++ Mount)
            end;
        Refused ->
            {skip, "mounting needs root: " ++ Refused}
    end.

without_room(Mount) ->
    Path = filename:join(Mount, "ledger"),
    Ballast = filename:join(Mount, "ballast"),
    %% From no room at all to enough, page by page: an error in words or a ledger, never a crash.
    Openings = [begin
                    ok = file:write_file(Ballast, binary:copy(<<0>>, 3 bsl 20 - Left)),
                    Result = cost_ledger_test:open(default, Path, #{}),
                    ok = case Result of
                             default -> cost_ledger:stop();
                             {error, {disk_full, <<_/binary>>}} -> ok
                         end,
                    ok = file:delete(Ballast),
                    Result
                end || Left <- lists:seq(0, 128 bsl 10, 8 bsl 10)],
    ?assertMatch({error, {disk_full, _}}, hd(Openings)),
    default = cost_ledger_test:open(default, Path, #{}),
    ok = cost_ledger:record_invocation(executing),
    {Booked, {error, {disk_full, _}}} = record_until_error(default, 1),
    #{session := #{total := Booked}} = cost_ledger:stats(),
    ok = cost_ledger:check_budget(improving),
    ok = cost_ledger:stop(),
    %% A ledger that is there opens without room for anything.
    _ = file:write_file(Ballast, binary:copy(<<0>>, 3 bsl 20)),
    default = cost_ledger_test:open(default, Path, #{}),
    #{session := #{total := Booked}} = cost_ledger:stats(),
    ok = cost_ledger:stop(),
    _ = file:delete(Ballast),
    ok.

%%% Tools --------------------------------------------------------------------------------------

close(Ledger) ->
    ok = cost_ledger:stop(Ledger).

record(Ledger, State, Count) ->
    [ok = cost_ledger:record_invocation(Ledger, State, #{}) || _ <- lists:seq(1, Count)],
    ok.

writer(Ledger) ->
    {Writer, _Booked} = cost_ledger_nif:writer(element(3, cost_ledger_registry:find(Ledger))),
    Writer.

queue_length(Ledger) ->
    {message_queue_len, Length} = process_info(writer(Ledger), message_queue_len),
    Length.

async(Fun) ->
    Self = self(),
    Ref = make_ref(),
    spawn_link(fun() -> Self ! {Ref, Fun()} end),
    Ref.

await(Ref) ->
    receive {Ref, Result} -> Result
    after 10000 -> error(no_answer)
    end.

%% What is in the mailbox; handlers run in the process that logs, so nothing is on its way.
flush_events() ->
    receive {event, Name, Measurements, Metadata} ->
            [{Name, Measurements, Metadata} | flush_events()]
    after 0 -> []
    end.

%% The position and the text that a shell would print under the call.
badarg_text(Fun) ->
    try Fun() of
        Result -> error({no_badarg, Result})
    catch
        error:badarg:Stack ->
            [{cost_ledger, _, Arguments, _} | _] = Stack,
            true = is_list(Arguments),
            [{Position, Text}] = maps:to_list(cost_ledger_error:format_error(badarg, Stack)),
            {Position, Text}
    end.

in_vm(Fun, Arguments) ->
    Peer = cost_ledger_test:start_vm(#{args => ["-pa" | code:get_path()]
                                       ++ ["-kernel", "logger_level", "debug"]}),
    try
        ok = peer:call(Peer, logger, remove_handler, [default]),
        peer:call(Peer, erlang, apply, [Fun, Arguments], 30000)
    after
        cost_ledger_test:stop_vm(Peer)
    end.
