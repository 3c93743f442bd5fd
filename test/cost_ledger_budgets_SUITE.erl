%%% Budgets as docs/budgets.md describes them: rules and what is told of them, credits, policy,
%%% warnings, and what is refused. Two stories first, which show how it all goes together. On a
%%% manual clock; the cases share nothing and run in parallel.
-module(cost_ledger_budgets_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include_lib("cost_ledger/src/cost_ledger.hrl").

-compile([export_all, nowarn_export_all]).

-import(cost_ledger_test, [at/2, eventually/1]).
-import(cost_ledger_test_budget,
        [open/2, open/3, reopen/2, close/1, child/2, ms/3, rule/5, rule/6, told/3, used/3, held/3,
         snapshot/1, spend/2, denied/1, denying/2, refused/1, badarg_text/1, mentions/2,
         in_parallel/2]).

-define(MINUTE, 60000).
-define(HOUR, 3600000).
-define(DAY, 86400000).
-define(NOON, 1700000000000).
-define(BY, #{by => test, reason => <<"a test">>}).
-define(ACME, <<"acme">>).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [{group, stories}, {group, rules}, {group, telling}, {group, gate}, {group, credits},
     {group, warnings}, {group, policy}, {group, series}, {group, ids}, {group, refusals},
     {group, must_nots}].

groups() ->
    [{stories, [parallel],
      [a_month_of_a_credit_budget,
       a_day_beside_the_month_shows_the_worse_of_both,
       an_organisations_prepaid_credits,
       a_good_customer_with_ample_balance_is_not_throttled]},
     {rules, [parallel],
      [each_measure_adds_up_what_it_says,
       each_is_a_budget_for_every_value_also_for_those_never_seen,
       a_rule_for_a_value_replaces_the_each_rule_of_its_shape,
       of_two_rules_the_one_that_names_more_replaces_the_other,
       all_rules_are_decided_together_and_every_denying_one_is_named,
       several_dimensions_count_entries_that_have_them_all,
       a_rule_whose_dimension_is_lacking_is_skipped_or_required,
       an_each_rule_admits_so_many_values_and_books_the_rest,
       nothing_passes_a_limit_of_zero_but_what_asks_for_nothing,
       infinity_counts_and_never_denies,
       soft_holds_back_what_is_not_critical,
       an_exhausted_degrade_rule_lowers_the_tier_and_unpaid_work_goes_on,
       a_rule_that_warns_never_denies,
       an_attempt_asks_for_one_invocation_and_a_run_for_none,
       tokens_of_all_classes_count_together,
       booking_never_fails_and_an_overrun_is_marked]},
     {telling, [parallel],
      [periods_begin_at_midnight_on_monday_and_on_the_first,
       an_entry_belongs_to_the_period_it_was_booked_in,
       a_rolling_window_is_inclusive_to_the_millisecond,
       at_resets_at_the_same_request_is_admitted_and_not_before,
       what_never_fits_says_so,
       held_until_says_when_waiting_for_others_helps,
       levels_follow_the_thresholds_of_the_rule,
       status_says_everything_there_is_to_a_rule,
       status_of_all_has_the_rules_without_each,
       the_forecast_goes_on_at_the_rate_of_the_window,
       the_screen_shows_large_figures_whole_or_shortened,
       the_screen_cuts_no_limit_of_a_state]},
     {gate, [parallel],
      [the_gate_obeys_rules_of_everything_and_of_the_state,
       what_is_held_counts_at_the_gate,
       the_gate_and_check_never_disagree,
       the_hourly_and_daily_caps_are_two_rules]},
     {credits, [parallel],
      [a_balance_is_grants_less_use_less_holds,
       the_oldest_grant_is_used_first,
       only_an_adjustment_takes_back,
       money_is_granted_as_credits_are,
       each_account_has_a_balance_of_its_own,
       who_was_never_granted_anything_has_nothing]},
     {warnings, [parallel],
      [a_threshold_is_warned_of_once_in_a_period,
       an_entry_that_reaches_two_thresholds_warns_of_both,
       what_is_held_warns_of_nothing,
       a_rolling_window_warns_again_after_it_has_fallen_below,
       a_changed_limit_a_grant_and_a_reset_warn_anew,
       a_warning_given_is_remembered_by_the_file,
       each_value_is_warned_of_by_name,
       a_rule_that_only_warns_warns_at_100,
       every_subscriber_is_told_once_and_so_is_the_log,
       a_handler_of_a_warning_may_call_the_ledger,
       a_handler_that_is_stuck_keeps_nobody_waiting,
       nobody_subscribes_to_a_stopped_ledger,
       a_period_is_told_with_its_own_percentage]},
     {policy, [parallel],
      [the_start_options_are_version_1,
       the_stored_policy_wins_and_the_difference_is_told_once,
       a_state_that_only_rules_of_the_options_name_is_declared,
       rules_replace_and_budgets_merge,
       a_policy_is_checked_whole_before_anything_is_written,
       what_changes_nothing_is_not_booked,
       rules_in_another_order_are_the_same_policy,
       of_changes_to_one_version_one_wins,
       a_change_says_who_when_why_from_and_to,
       every_version_can_be_read_as_it_was,
       settings_are_declared_with_a_type_and_then_changed,
       a_run_keeps_the_settings_it_began_with,
       a_reset_counts_from_now_on,
       a_reset_of_one_value_leaves_the_others,
       granted_rules_and_unknown_rules_are_not_reset]},
     {series, [parallel],
      [what_is_not_declared_is_refused_with_the_declaration,
       a_series_declared_later_counts_what_was_there,
       series_stay_declared]},
     {ids, [parallel],
      [an_invocation_sent_again_is_booked_once,
       a_grant_sent_again_is_granted_once,
       a_reset_sent_again_resets_once,
       a_policy_sent_again_is_set_once,
       a_change_that_changes_nothing_keeps_its_id,
       an_id_is_that_of_one_request_of_any_kind,
       a_hundred_senders_of_one_id_book_once]},
     {refusals, [parallel],
      [wrong_rules_are_refused_by_name_and_change_nothing,
       wrong_settings_are_refused_by_name_and_change_nothing,
       wrong_policies_are_refused_and_change_nothing,
       wrong_start_options_are_refused,
       wrong_grants_are_refused_and_change_nothing,
       wrong_resets_are_refused_and_change_nothing,
       a_reset_names_every_dimension_of_its_rule_and_no_other,
       a_reset_of_no_value_is_refused,
       unknown_keys_of_a_change_are_the_callers_error,
       what_is_too_large_after_the_merge_is_refused,
       start_options_that_are_too_large_together_are_refused,
       hostile_terms_are_the_callers_error,
       a_wrong_attempt_is_the_callers_error,
       a_ledger_that_was_never_opened_is_the_callers_error]},
     {must_nots, [parallel],
      [no_decision_is_stale,
       nobody_gets_more_by_saying_less,
       grace_can_be_reached,
       a_missing_price_is_neither_nothing_nor_everything,
       a_limit_of_zero_divides_nothing,
       a_period_that_ends_under_load_ends_once,
       a_reset_that_races_is_one_reset,
       no_money_is_a_float,
       policy_and_its_audit_are_one_step,
       policy_and_its_audit_survive_a_kill,
       the_usage_of_a_blocked_account_is_booked_and_attributed,
       denied_attempts_do_not_count,
       decimals_of_money_do_not_drift]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(cost_ledger),
    ok = logger:set_module_level(cost_ledger_events, debug),
    ok = logger:add_handler_filter(default, quiet,
                                   {fun cost_ledger_test_handler:stop_events/2, []}),
    Config.

end_per_suite(_Config) ->
    _ = logger:remove_handler_filter(default, quiet),
    logger:unset_module_level(cost_ledger_events).

init_per_testcase(_Case, Config) ->
    [{path, cost_ledger_test:directory(Config)} | Config].

end_per_testcase(_Case, Config) ->
    cost_ledger_test:remove(?config(path, Config)).

%%% Stories ------------------------------------------------------------------------------------

%% A team may spend 1,000 credits a month, and only calls that succeed count. It wants a word at
%% 80 and at 95 percent; when the month is used up, calls that cost credits stop, and those that
%% cost nothing go on.
a_month_of_a_credit_budget(Config) ->
    L = open(Config, [rule(<<"month">>, #{org => ?ACME}, completed_credits, {calendar, month, 0},
                           1000, #{warn => [80, 95], on_exhausted => degrade})]),
    ok = cost_ledger:subscribe(L),
    March = {ms(2026, 3, 1), ms(2026, 4, 1)},
    April = {ms(2026, 4, 1), ms(2026, 5, 1)},
    Paid = #{state => executing, org => ?ACME, credits => 10},
    Unpaid = Paid#{credits => 0},
    Month = fun() -> told(L, #{org => ?ACME}, <<"month">>) end,

    %% A good start of the month: 70 calls of 10 credits.
    at(L, ms(2026, 3, 1)),
    [completed = call(L, Paid, completed) || _ <- lists:seq(1, 70)],
    ?assertMatch(#{used := 700, held := 0, limit := 1000, remaining := 300, percent := 70,
                   level := normal, period := March}, Month()),
    ?assertMatch({ok, #{tier := normal, level := normal}}, cost_ledger:check(L, Paid)),

    %% A bad day: calls that fail do not count, however many they are.
    at(L, ms(2026, 3, 9)),
    [failed = call(L, Paid, failed) || _ <- lists:seq(1, 50)],
    ?assertMatch(#{used := 700, level := normal}, Month()),

    %% 80 percent, said at the call that reaches it and at none of the next.
    at(L, ms(2026, 3, 15)),
    [completed = call(L, Paid, completed) || _ <- lists:seq(1, 10)],
    ?assertMatch([#{rule := <<"month">>, threshold := 80, used := 800, limit := 1000,
                    percent := 80, period := March}], warnings(L, 1)),
    [completed = call(L, Paid, completed) || _ <- lists:seq(1, 14)],
    ?assertMatch({ok, #{tier := normal, level := approaching}}, cost_ledger:check(L, Paid)),
    no_warning(L),

    %% 95 percent.
    at(L, ms(2026, 3, 20)),
    completed = call(L, Paid, completed),
    ?assertMatch([#{threshold := 95, used := 950, percent := 95, period := March}],
                 warnings(L, 1)),
    ?assertMatch({ok, #{level := critical}}, cost_ledger:check(L, Paid)),

    %% Used up: the decision is a lower tier, paid work stops, unpaid work goes on.
    [completed = call(L, Paid, completed) || _ <- lists:seq(1, 5)],
    ?assertMatch(#{used := 1000, remaining := 0, percent := 100, level := exhausted}, Month()),
    ?assertMatch({ok, #{tier := low, level := exhausted}}, cost_ledger:check(L, Paid)),
    #{tier := low, rules := [Denying]} = denied(cost_ledger:reserve(L, Paid)),
    NextMonth = ms(2026, 4, 1),
    ?assertMatch(#{rule := <<"month">>, reason := limit, amount := 10, used := 1000,
                   resets_at := NextMonth}, Denying),
    [completed = call(L, Unpaid, completed) || _ <- lists:seq(1, 5)],
    ?assertMatch(#{used := 1000}, Month()),

    %% The last millisecond of March, and the first of April. No job resets anything.
    at(L, ms(2026, 4, 1) - 1),
    ?assertMatch({ok, #{tier := low}}, cost_ledger:check(L, Paid)),
    at(L, ms(2026, 4, 1)),
    ?assertMatch({ok, #{tier := normal, level := normal}}, cost_ledger:check(L, Paid)),
    ?assertMatch(#{used := 0, remaining := 1000, percent := 0, level := normal, period := April},
                 Month()),

    %% And April has a warning of its own.
    no_warning(L),
    [completed = call(L, Paid, completed) || _ <- lists:seq(1, 80)],
    ?assertMatch([#{threshold := 80, used := 800, period := April}], warnings(L, 1)),
    no_warning(L),
    close(L).

%% One call as an agent makes it: reserve, call, settle with what it was.
call(L, Attempt, Status) ->
    {ok, Hold} = cost_ledger:reserve(L, Attempt),
    {ok, #{overrun := false, late := false}} =
        cost_ledger:settle(Hold, (maps:with([credits], Attempt))#{status => Status}),
    Status.

a_day_beside_the_month_shows_the_worse_of_both(Config) ->
    L = open(Config, [rule(<<"month">>, #{org => ?ACME}, completed_credits, {calendar, month, 0},
                           1000, #{warn => [80, 95]}),
                      rule(<<"day">>, #{org => ?ACME}, completed_credits, {calendar, day, 0},
                           100)]),
    Spend = fun(Credits) ->
                    spend(L, #{state => executing, org => ?ACME, credits => Credits})
            end,
    Shown = fun() ->
                    {ok, #{level := Level}} = cost_ledger:budget_status(L, #{org => ?ACME}),
                    #{level := Day} = told(L, #{org => ?ACME}, <<"day">>),
                    #{level := Month} = told(L, #{org => ?ACME}, <<"month">>),
                    {ok, #{level := Level}} =
                        cost_ledger:check(L, #{state => executing, org => ?ACME, credits => 0}),
                    {Day, Month, Level}
            end,
    at(L, ms(2026, 3, 2)),
    Spend(85),
    ?assertEqual({approaching, normal, approaching}, Shown()),
    Spend(10),
    ?assertEqual({critical, normal, critical}, Shown()),
    %% Nine days like that.
    [begin at(L, ms(2026, 3, Day)), Spend(95) end || Day <- lists:seq(3, 10)],
    ?assertEqual({critical, approaching, critical}, Shown()),
    at(L, ms(2026, 3, 11)),
    ?assertEqual({normal, approaching, approaching}, Shown()),
    Spend(80),
    ?assertEqual({approaching, approaching, approaching}, Shown()),
    Spend(20),
    ?assertEqual({exhausted, critical, exhausted}, Shown()),
    at(L, ms(2026, 3, 12)),
    ?assertEqual({normal, critical, critical}, Shown()),
    at(L, ms(2026, 4, 1)),
    ?assertEqual({normal, normal, normal}, Shown()),
    close(L).

%% An organisation buys credits in advance. From 80 percent on only what is critical is called;
%% that may go 10 credits below nothing, and then everything waits for a top-up.
an_organisations_prepaid_credits(Config) ->
    L = open(Config, [rule(<<"prepaid">>, #{org => ?ACME}, credits, lifetime, granted,
                           #{soft => 80, grace => 10})]),
    at(L, ?NOON),
    Account = #{org => ?ACME},
    Call = #{state => executing, org => ?ACME, agent => <<"reviewer">>},
    Urgent = Call#{critical => true},
    Balance = fun() -> {ok, #{credits := Credits}} = cost_ledger:balance(L, Account), Credits end,

    %% Nothing bought, nothing to spend.
    ?assertEqual([<<"prepaid">>], denying(L, Call#{credits => 1})),
    {ok, _} = cost_ledger:grant(L, Account, 1000, #{kind => purchase, by => billing,
                                                    reason => "invoice 17", id => "inv-17"}),
    ?assertMatch(#{granted := 1000, used := 0, held := 0, balance := 1000, percent := 0},
                 Balance()),
    spend(L, Call#{credits => 700}),

    %% The soft stop: 80 percent, the attempt included. Critical calls pass it.
    ?assertEqual([], denying(L, Call#{credits => 100})),
    #{rules := [Soft]} = denied(cost_ledger:check(L, Call#{credits => 101})),
    ?assertMatch(#{reason := soft, amount := 101, used := 700, limit := 1000, grace := 10}, Soft),
    ?assertEqual([], denying(L, Urgent#{credits => 101})),
    spend(L, Call#{credits => 100}),
    ?assertMatch(#{percent := 80}, Balance()),
    ?assertEqual([<<"prepaid">>], denying(L, Call#{credits => 1})),
    ?assertEqual([], denying(L, Call#{credits => 0})),

    %% Grace: the last call may reach 10 below nothing, and not 11.
    #{rules := [Beyond]} = denied(cost_ledger:reserve(L, Urgent#{credits => 211})),
    ?assertMatch(#{reason := limit, remaining := 200}, Beyond),
    {ok, Last} = cost_ledger:reserve(L, Urgent#{credits => 210}),
    ?assertMatch(#{used := 800, held := 210, balance := -10}, Balance()),
    {ok, #{overrun := false}} = cost_ledger:settle(Last, #{credits => 210}),
    ?assertMatch(#{used := 1010, held := 0, balance := -10}, Balance()),

    %% The hard stop is for everybody; what was called all the same is booked, with its agent.
    #{resets_at := never} = denied(cost_ledger:check(L, Urgent#{credits => 1})),
    ?assertMatch(#{level := exhausted, remaining := -10}, told(L, Account, <<"prepaid">>)),
    spend(L, Urgent#{credits => 5}),
    ?assertMatch([#{agent := <<"reviewer">>, org := ?ACME, credits := 5} | _],
                 cost_ledger:history(L, #{})),
    ?assertMatch(#{balance := -15}, Balance()),

    %% A top-up that is sent twice is one top-up. What was overdrawn is taken from it.
    TopUp = #{kind => topup, by => billing, reason => "card", id => "top-1"},
    {ok, Id} = cost_ledger:grant(L, Account, 500, TopUp),
    {ok, Id} = cost_ledger:grant(L, Account, 500, TopUp),
    ?assertMatch(#{granted := 1500, used := 1015, balance := 485, percent := 3,
                   grants := [#{id := Id, amount := 500, remaining := 485, kind := topup}]},
                 Balance()),
    ?assertEqual([], denying(L, Call#{credits => 385})),
    ?assertEqual([<<"prepaid">>], denying(L, Call#{credits => 386})),
    ?assertEqual([], denying(L, Urgent#{credits => 495})),
    close(L).

%% The percentage is of what is still granted, not of everything that ever was.
a_good_customer_with_ample_balance_is_not_throttled(Config) ->
    L = open(Config, [rule(<<"prepaid">>, #{org => ?ACME}, credits, lifetime, granted,
                           #{soft => 80})]),
    at(L, ?NOON),
    Account = #{org => ?ACME},
    Call = #{state => executing, org => ?ACME},
    [begin
         {ok, _} = grant(L, Account, 100000),
         spend(L, Call#{credits => 100000})
     end || _ <- lists:seq(1, 10)],
    ?assertEqual([<<"prepaid">>], denying(L, Call#{credits => 1})),
    {ok, _} = grant(L, Account, 1000),
    ?assertMatch({ok, #{credits := #{granted := 1001000, used := 1000000, balance := 1000,
                                     percent := 0, grants := [#{remaining := 1000}]}}},
                 cost_ledger:balance(L, Account)),
    ?assertMatch(#{percent := 0, level := normal, remaining := 1000},
                 told(L, Account, <<"prepaid">>)),
    ?assertEqual([], denying(L, Call#{credits => 800})),
    spend(L, Call#{credits => 800}),
    ?assertEqual([<<"prepaid">>], denying(L, Call#{credits => 1})),
    ?assertEqual([], denying(L, Call#{credits => 200, critical => true})),
    close(L).

%%% Rules --------------------------------------------------------------------------------------

each_measure_adds_up_what_it_says(Config) ->
    Measures = [{invocations, 4}, {completed_invocations, 2}, {cost, 70}, {completed_cost, 10},
                {credits, 7}, {completed_credits, 1}, {tokens, 22}],
    L = open(Config, [rule(Measure, all, Measure, lifetime, infinity) || {Measure, _} <- Measures]),
    at(L, ?NOON),
    Tokens = #{input => 1, output => 2, cache_read => 3, cache_creation => 4, reasoning => 5},
    [ok = cost_ledger:record_invocation(L, executing, Meta)
     || Meta <- [#{cost => 10, credits => 1, tokens => Tokens},
                 #{cost => 20, credits => 2, tokens => #{input => 7}, status => failed},
                 #{cost => 40, credits => 4, status => aborted},
                 #{}]],
    ?assertEqual(Measures, [{Measure, used(L, all, atom_to_binary(Measure))}
                            || {Measure, _} <- Measures]),
    close(L).

each_is_a_budget_for_every_value_also_for_those_never_seen(Config) ->
    L = open(Config, [rule(<<"each">>, #{user => each}, cost, lifetime, 100)]),
    at(L, ?NOON),
    [begin
         ?assertEqual([], denying(L, paid(User, 100))),
         ?assertEqual([<<"each">>], denying(L, paid(User, 101)))
     end || User <- [<<"u1">>, <<"never seen">>]],
    spend(L, paid(<<"u1">>, 100)),
    ?assertEqual([<<"each">>], denying(L, paid(<<"u1">>, 1))),
    ?assertEqual([], denying(L, paid(<<"u2">>, 100))),
    ?assertMatch(#{scope := #{user := <<"u1">>}, used := 100},
                 told(L, #{user => <<"u1">>}, <<"each">>)),
    ?assertMatch(#{scope := #{user := <<"u2">>}, used := 0},
                 told(L, #{user => <<"u2">>}, <<"each">>)),
    close(L).

a_rule_for_a_value_replaces_the_each_rule_of_its_shape(Config) ->
    L = open(Config, [rule(<<"each">>, #{user => each}, cost, lifetime, 100),
                      rule(<<"u1">>, #{user => <<"u1">>}, cost, lifetime, 500),
                      %% Other shapes: another window, another measure.
                      rule(<<"u1 month">>, #{user => <<"u1">>}, cost, {calendar, month, 0}, 300),
                      rule(<<"u2 calls">>, #{user => <<"u2">>}, invocations, lifetime, 1),
                      rule(<<"u3">>, #{user => <<"u3">>}, cost, lifetime, 5)]),
    at(L, ?NOON),
    ?assertEqual([], denying(L, paid(<<"u1">>, 300))),
    ?assertEqual([<<"u1 month">>], denying(L, paid(<<"u1">>, 301))),
    ?assertEqual([<<"u1">>, <<"u1 month">>], denying(L, paid(<<"u1">>, 501))),
    ?assertEqual([<<"each">>], denying(L, paid(<<"u2">>, 101))),
    %% What replaces may also be less.
    ?assertEqual([<<"u3">>], denying(L, paid(<<"u3">>, 6))),
    ?assertEqual([<<"each">>], denying(L, paid(<<"u4">>, 101))),
    close(L).

of_two_rules_the_one_that_names_more_replaces_the_other(Config) ->
    Rule = fun(Name, Org, User, Limit) ->
                   rule(Name, #{org => Org, user => User}, cost, lifetime, Limit)
           end,
    Rules = [Rule(<<"a">>, each, each, 100), Rule(<<"b">>, ?ACME, each, 200),
             Rule(<<"c">>, each, <<"u1">>, 300)],
    L = open(Config, Rules),
    at(L, ?NOON),
    Denying = fun(Org, User, Cost) -> denying(L, (paid(User, Cost))#{org => Org}) end,
    ?assertEqual([<<"a">>], Denying(<<"other">>, <<"u2">>, 101)),
    ?assertEqual([], Denying(?ACME, <<"u2">>, 200)),
    ?assertEqual([<<"b">>], Denying(?ACME, <<"u2">>, 201)),
    ?assertEqual([], Denying(<<"other">>, <<"u1">>, 300)),
    ?assertEqual([<<"c">>], Denying(<<"other">>, <<"u1">>, 301)),
    %% Neither of the two names what the other does.
    ?assertEqual([<<"b">>], Denying(?ACME, <<"u1">>, 201)),
    ?assertEqual([<<"b">>, <<"c">>], Denying(?ACME, <<"u1">>, 301)),
    %% One that names both replaces them all.
    {ok, 2} = cost_ledger:set_policy(L, #{rules => [Rule(<<"d">>, ?ACME, <<"u1">>, 400) | Rules]},
                                     ?BY),
    ?assertEqual([], Denying(?ACME, <<"u1">>, 400)),
    ?assertEqual([<<"d">>], Denying(?ACME, <<"u1">>, 401)),
    ?assertEqual([<<"b">>], Denying(?ACME, <<"u2">>, 401)),
    close(L).

all_rules_are_decided_together_and_every_denying_one_is_named(Config) ->
    L = open(Config, [rule(<<"all">>, all, cost, lifetime, 100),
                      rule(<<"org">>, #{org => each}, cost, lifetime, 50),
                      rule(<<"user">>, #{user => each}, cost, lifetime, 20),
                      rule(<<"calls">>, #{state => executing}, invocations, lifetime, 1)]),
    at(L, ?NOON),
    Attempt = fun(Cost) -> (paid(<<"u1">>, Cost))#{org => ?ACME} end,
    ?assertEqual([], denying(L, Attempt(20))),
    ?assertEqual([<<"user">>], denying(L, Attempt(21))),
    ?assertEqual([<<"org">>, <<"user">>], denying(L, Attempt(51))),
    ?assertEqual([<<"all">>, <<"org">>, <<"user">>], denying(L, Attempt(101))),
    %% A denied reservation holds nothing in the rules that would have admitted it.
    #{rules := [_]} = denied(cost_ledger:reserve(L, Attempt(21))),
    ?assertEqual([0, 0], [held(L, #{org => ?ACME}, Name) || Name <- [<<"all">>, <<"org">>]]),
    {ok, Hold} = cost_ledger:reserve(L, Attempt(20)),
    ?assertEqual([20, 20], [held(L, #{org => ?ACME}, Name) || Name <- [<<"all">>, <<"org">>]]),
    ?assertEqual([<<"calls">>, <<"user">>], denying(L, Attempt(1))),
    ok = cost_ledger:release(Hold),
    ?assertEqual([], denying(L, Attempt(20))),
    close(L).

several_dimensions_count_entries_that_have_them_all(Config) ->
    L = open(Config, [rule(<<"pair">>, #{org => ?ACME, user => <<"u1">>}, cost, lifetime, 100)]),
    at(L, ?NOON),
    Pair = #{state => executing, org => ?ACME, user => <<"u1">>},
    [spend(L, Meta#{state => executing, cost => 1000})
     || Meta <- [#{}, #{org => ?ACME}, #{user => <<"u1">>}, #{org => ?ACME, user => <<"u2">>},
                 #{org => <<"u1">>, user => ?ACME}]],
    ?assertEqual(0, used(L, Pair, <<"pair">>)),
    spend(L, Pair#{cost => 60, project => <<"p">>, agent => <<"a">>}),
    ?assertEqual(60, used(L, Pair, <<"pair">>)),
    ?assertEqual([], denying(L, Pair#{cost => 40})),
    ?assertEqual([<<"pair">>], denying(L, Pair#{cost => 41})),
    ?assertEqual([], denying(L, (maps:remove(org, Pair))#{cost => 41})),
    close(L).

a_rule_whose_dimension_is_lacking_is_skipped_or_required(Config) ->
    L = open(Config, [rule(<<"skipped">>, #{org => each}, cost, lifetime, 10),
                      rule(<<"required">>, #{user => each}, cost, lifetime, 100,
                           #{require => true})]),
    at(L, ?NOON),
    ?assertEqual([], denying(L, paid(<<"u1">>, 100))),
    Nobody = #{state => executing, cost => 1},
    #{rules := [Required]} = denied(cost_ledger:check(L, Nobody)),
    ?assertMatch(#{rule := <<"required">>, reason := required}, Required),
    #{rules := [#{reason := required}]} = denied(cost_ledger:reserve(L, Nobody)),
    %% What was spent by nobody is booked.
    spend(L, Nobody),
    ?assertMatch([_], cost_ledger:history(L, #{})),
    close(L).

an_each_rule_admits_so_many_values_and_books_the_rest(Config) ->
    L = open(Config, [rule(<<"each">>, #{user => each}, cost, lifetime, 100,
                           #{max_values => 2})]),
    at(L, ?NOON),
    [spend(L, paid(User, 1)) || User <- [<<"u1">>, <<"u2">>]],
    #{rules := [Rule]} = denied(cost_ledger:reserve(L, paid(<<"u3">>, 1))),
    ?assertMatch(#{rule := <<"each">>, reason := too_many_values}, Rule),
    ?assertEqual([], denying(L, paid(<<"u1">>, 99))),
    ?assertEqual([], denying(L, paid(<<"u2">>, 99))),
    spend(L, paid(<<"u3">>, 7)),
    ?assertEqual(7, used(L, #{user => <<"u3">>}, <<"each">>)),
    close(L).

nothing_passes_a_limit_of_zero_but_what_asks_for_nothing(Config) ->
    L = open(Config, [rule(<<"stop">>, #{user => <<"u1">>}, cost, {calendar, day, 0}, 0)]),
    at(L, ?NOON),
    [?assertMatch(#{resets_at := never, rules := [#{rule := <<"stop">>, resets_at := never}]},
                  denied(cost_ledger:check(L, Attempt)))
     || Attempt <- [paid(<<"u1">>, 1), maps:remove(cost, paid(<<"u1">>, 1)),
                    (paid(<<"u1">>, 1))#{critical => true}]],
    ?assertEqual([], denying(L, paid(<<"u1">>, 0))),
    {ok, Free} = cost_ledger:reserve(L, paid(<<"u1">>, 0)),
    {ok, #{overrun := false}} = cost_ledger:settle(Free, #{cost => 0}),
    ?assertEqual([], denying(L, paid(<<"u2">>, 1))),
    close(L).

infinity_counts_and_never_denies(Config) ->
    L = open(Config, [rule(<<"count">>, all, cost, lifetime, infinity)]),
    at(L, ?NOON),
    spend(L, paid(<<"u1">>, 1000000000000000)),
    ?assertEqual([], denying(L, paid(<<"u1">>, 1000000000000000))),
    %% It asks for no estimate: it could not deny.
    {ok, Hold} = cost_ledger:reserve(L, #{state => executing}),
    {ok, #{overrun := false}} = cost_ledger:settle(Hold, #{cost => 1}),
    ?assertMatch(#{used := 1000000000000001, limit := infinity, remaining := infinity,
                   percent := 0, level := normal, forecast := none}, told(L, all, <<"count">>)),
    close(L).

soft_holds_back_what_is_not_critical(Config) ->
    L = open(Config, [rule(<<"soft">>, all, cost, {rolling, ?HOUR}, 999, #{soft => 80})]),
    at(L, ?NOON),
    %% 999 * 80 div 100
    ?assertEqual([], denying(L, paid(<<"u1">>, 799))),
    #{rules := [#{reason := soft}], resets_at := never} =
        denied(cost_ledger:check(L, paid(<<"u1">>, 800))),
    Urgent = fun(Cost) -> (paid(<<"u1">>, Cost))#{critical => true} end,
    ?assertEqual([], denying(L, Urgent(999))),
    #{rules := [#{reason := limit}]} = denied(cost_ledger:check(L, Urgent(1000))),
    spend(L, paid(<<"u1">>, 799)),
    ResetsAt = ?NOON + ?HOUR + 1,
    ?assertMatch(#{rules := [#{reason := soft}], resets_at := ResetsAt},
                 denied(cost_ledger:check(L, paid(<<"u1">>, 1)))),
    {ok, Hold} = cost_ledger:reserve(L, Urgent(200)),
    ok = cost_ledger:release(Hold),
    close(L).

an_exhausted_degrade_rule_lowers_the_tier_and_unpaid_work_goes_on(Config) ->
    L = open(Config, [rule(<<"best">>, all, credits, {calendar, day, 0}, 100,
                           #{on_exhausted => degrade}),
                      rule(<<"cap">>, all, credits, {calendar, day, 0}, 200)]),
    at(L, ms(2026, 3, 1)),
    Attempt = fun(Credits) -> #{state => executing, credits => Credits} end,
    {ok, #{tier := normal}} = cost_ledger:check(L, Attempt(100)),
    {ok, #{tier := low}} = cost_ledger:check(L, Attempt(101)),
    spend(L, Attempt(100)),
    {ok, #{tier := low, level := exhausted}} = cost_ledger:check(L, Attempt(1)),
    Tomorrow = ms(2026, 3, 2),
    ?assertMatch(#{tier := low, resets_at := Tomorrow,
                   rules := [#{rule := <<"best">>, on_exhausted := degrade}]},
                 denied(cost_ledger:reserve(L, Attempt(1)))),
    {ok, Hold} = cost_ledger:reserve(L, Attempt(0)),
    {ok, _} = cost_ledger:settle(Hold, #{credits => 0}),
    %% What the lower tier is booked with meets the cap, which denies.
    spend(L, Attempt(100)),
    #{tier := low} = denied(cost_ledger:check(L, Attempt(1))),
    close(L).

a_rule_that_warns_never_denies(Config) ->
    L = open(Config, [rule(<<"note">>, all, cost, lifetime, 100, #{on_exhausted => warn})]),
    at(L, ?NOON),
    spend(L, paid(<<"u1">>, 500)),
    ?assertMatch(#{level := exhausted, remaining := 0, percent := 500},
                 told(L, all, <<"note">>)),
    {ok, #{tier := normal, level := exhausted}} = cost_ledger:check(L, paid(<<"u1">>, 500)),
    {ok, Hold} = cost_ledger:reserve(L, paid(<<"u1">>, 500)),
    %% Nor is it a rule to run over.
    {ok, #{overrun := false}} = cost_ledger:settle(Hold, #{cost => 600}),
    %% And it asks for no estimate.
    {ok, Other} = cost_ledger:reserve(L, #{state => executing}),
    ok = cost_ledger:release(Other),
    close(L).

an_attempt_asks_for_one_invocation_and_a_run_for_none(Config) ->
    L = open(Config, [rule(<<"calls">>, all, invocations, lifetime, 1),
                      rule(<<"completed">>, all, completed_invocations, lifetime, 1)]),
    at(L, ?NOON),
    {ok, Hold} = cost_ledger:reserve(L, #{state => executing}),
    ?assertEqual([1, 1], [held(L, all, Name) || Name <- [<<"calls">>, <<"completed">>]]),
    ?assertEqual([<<"calls">>, <<"completed">>], denying(L, #{state => executing})),
    ?assertEqual([], denying(L, #{kind => run})),
    {ok, Run} = cost_ledger:reserve(L, #{kind => run}),
    ok = cost_ledger:release(Run),
    %% A call that failed was a call, and completed nothing.
    {ok, _} = cost_ledger:settle(Hold, #{status => failed}),
    ?assertEqual([1, 0], [used(L, all, Name) || Name <- [<<"calls">>, <<"completed">>]]),
    ?assertEqual([<<"calls">>], denying(L, #{state => executing})),
    close(L).

tokens_of_all_classes_count_together(Config) ->
    L = open(Config, [rule(<<"tokens">>, all, tokens, lifetime, 100)]),
    at(L, ?NOON),
    ?assertEqual([], denying(L, #{state => executing, tokens => 100})),
    ?assertEqual([<<"tokens">>], denying(L, #{state => executing, tokens => 101})),
    Classes = #{input => 20, output => 20, cache_read => 20, cache_creation => 20,
                reasoning => 20},
    ?assertEqual([<<"tokens">>], denying(L, #{state => executing,
                                              tokens => Classes#{input => 21}})),
    {ok, Hold} = cost_ledger:reserve(L, #{state => executing, tokens => Classes}),
    ?assertEqual(100, held(L, all, <<"tokens">>)),
    {ok, #{overrun := false}} = cost_ledger:settle(Hold, #{tokens => Classes#{input => 19}}),
    ?assertEqual(99, used(L, all, <<"tokens">>)),
    close(L).

booking_never_fails_and_an_overrun_is_marked(Config) ->
    L = open(Config, [rule(<<"u1">>, #{user => <<"u1">>}, cost, lifetime, 100)]),
    at(L, ?NOON),
    {ok, First} = cost_ledger:reserve(L, paid(<<"u1">>, 50)),
    {ok, Second} = cost_ledger:reserve(L, paid(<<"u1">>, 50)),
    {ok, Other} = cost_ledger:reserve(L, paid(<<"u2">>, 50)),
    {ok, #{overrun := false}} = cost_ledger:settle(First, #{cost => 50}),
    {ok, #{overrun := true}} = cost_ledger:settle(Second, #{cost => 51}),
    %% It added nothing to the rule that is overrun.
    {ok, #{overrun := false}} = cost_ledger:settle(Other, #{cost => 5000}),
    ?assertMatch(#{used := 101, remaining := 0, percent := 101, level := exhausted},
                 told(L, #{user => <<"u1">>}, <<"u1">>)),
    spend(L, paid(<<"u1">>, 9)),
    ?assertEqual(110, used(L, #{user => <<"u1">>}, <<"u1">>)),
    close(L).

%%% Telling ------------------------------------------------------------------------------------

periods_begin_at_midnight_on_monday_and_on_the_first(Config) ->
    Windows = [{calendar, Unit, Offset} || Unit <- [day, week, month],
                                           Offset <- [0, 120, -300, 345, 1080, -1080]],
    Name = fun({calendar, Unit, Offset}) ->
                   iolist_to_binary([atom_to_list(Unit), integer_to_list(Offset)])
           end,
    L = open(Config, [rule(Name(Window), all, cost, Window, infinity) || Window <- Windows]),
    [begin
         at(L, Now),
         {ok, #{rules := Rules}} = cost_ledger:budget_status(L, all),
         ?assertEqual({Now, lists:sort([{Window, period(Window, Now)} || Window <- Windows])},
                      {Now, lists:sort([{Window, Period} || #{window := Window,
                                                             period := Period} <- Rules])})
     end || Now <- [ms(1970, 2, 1), ms(1999, 12, 31) + ?DAY - 1, ms(2000, 1, 1), ms(2000, 2, 29),
                    ms(2000, 3, 1) - 1, ms(2000, 3, 1), ms(2023, 12, 31) + 22 * ?HOUR - 1,
                    ms(2023, 12, 31) + 22 * ?HOUR, ms(2024, 2, 29) + 12 * ?HOUR, ms(2026, 3, 30),
                    ms(2026, 11, 22) + 18 * ?HOUR, ms(2100, 2, 28) + 6 * ?HOUR,
                    ms(2100, 3, 1) + 18 * ?HOUR - 1]],
    close(L).

%% By the calendar of OTP.
period({calendar, Unit, Offset}, Now) ->
    Local = Now + Offset * ?MINUTE,
    Days = Local div ?DAY,
    {Year, Month, _} = calendar:gregorian_days_to_date(Days + 719528),
    {Start, End} =
        case Unit of
            day -> {Days * ?DAY, (Days + 1) * ?DAY};
            week ->
                Monday = Days + 1
                    - calendar:day_of_the_week(calendar:gregorian_days_to_date(Days + 719528)),
                {Monday * ?DAY, (Monday + 7) * ?DAY};
            month ->
                First = ms(Year, Month, 1),
                {First, First + calendar:last_day_of_the_month(Year, Month) * ?DAY}
        end,
    {Start - Offset * ?MINUTE, End - Offset * ?MINUTE}.

an_entry_belongs_to_the_period_it_was_booked_in(Config) ->
    L = open(Config, [rule(<<"day">>, all, cost, {calendar, day, 120}, 100),
                      rule(<<"week">>, all, cost, {calendar, week, 120}, 100),
                      rule(<<"month">>, all, cost, {calendar, month, 120}, 100)]),
    Used = fun() -> [used(L, all, Name) || Name <- [<<"day">>, <<"week">>, <<"month">>]] end,
    %% In Berlin summer time, a Sunday night in the middle of a month.
    Monday = ms(2026, 6, 15) - 2 * ?HOUR,
    at(L, Monday - 1),
    spend(L, paid(<<"u">>, 1)),
    ?assertEqual([1, 1, 1], Used()),
    at(L, Monday),
    ?assertEqual([0, 0, 1], Used()),
    spend(L, paid(<<"u">>, 2)),
    at(L, Monday + ?DAY - 1),
    ?assertEqual([2, 2, 3], Used()),
    at(L, Monday + ?DAY),
    ?assertEqual([0, 2, 3], Used()),
    at(L, ms(2026, 7, 1) - 2 * ?HOUR - 1),
    ?assertEqual([0, 0, 3], Used()),
    at(L, ms(2026, 7, 1) - 2 * ?HOUR),
    ?assertEqual([0, 0, 0], Used()),
    close(L).

a_rolling_window_is_inclusive_to_the_millisecond(Config) ->
    L = open(Config, [rule(<<"minute">>, all, cost, {rolling, ?MINUTE}, 100),
                      rule(<<"ever">>, all, cost, lifetime, 100)]),
    at(L, ?NOON),
    spend(L, paid(<<"u">>, 100)),
    at(L, ?NOON + ?MINUTE),
    ?assertEqual(100, used(L, all, <<"minute">>)),
    at(L, ?NOON + ?MINUTE + 1),
    ?assertEqual(0, used(L, all, <<"minute">>)),
    at(L, ?NOON + 10000 * ?DAY),
    ?assertEqual(100, used(L, all, <<"ever">>)),
    close(L).

at_resets_at_the_same_request_is_admitted_and_not_before(Config) ->
    L = open(Config, [rule(<<"hour">>, all, cost, {rolling, ?HOUR}, 100),
                      rule(<<"day">>, all, cost, {calendar, day, 0}, 150)]),
    Start = ms(2026, 3, 1) + 10 * ?HOUR,
    [begin at(L, Start + N * ?MINUTE), spend(L, paid(<<"u">>, 30)) end || N <- [0, 1, 2]],
    %% 90 are used: who asks for so much waits for one, two or all three of them to leave.
    [begin
         Attempt = paid(<<"u">>, Cost),
         #{resets_at := ResetsAt, rules := [#{rule := <<"hour">>, resets_at := ResetsAt}]} =
             denied(cost_ledger:check(L, Attempt)),
         ?assertEqual(Start + N * ?MINUTE + ?HOUR + 1, ResetsAt),
         at(L, ResetsAt - 1),
         #{resets_at := ResetsAt} = denied(cost_ledger:check(L, Attempt)),
         at(L, ResetsAt),
         ?assertEqual([], denying(L, Attempt))
     end || {Cost, N} <- [{40, 0}, {60, 1}]],
    %% The latest of all rules that deny: the hour has room for 70 in a minute, the day tomorrow.
    #{resets_at := Tomorrow, rules := Rules} = denied(cost_ledger:check(L, paid(<<"u">>, 90))),
    ?assertEqual([{<<"day">>, ms(2026, 3, 2)}, {<<"hour">>, Start + 2 * ?MINUTE + ?HOUR + 1}],
                 lists:sort([{Name, At} || #{rule := Name, resets_at := At} <- Rules])),
    ?assertEqual(ms(2026, 3, 2), Tomorrow),
    at(L, Tomorrow - 1),
    ?assertEqual([<<"day">>], denying(L, paid(<<"u">>, 90))),
    at(L, Tomorrow),
    ?assertEqual([], denying(L, paid(<<"u">>, 90))),
    close(L).

what_never_fits_says_so(Config) ->
    L = open(Config, [rule(<<"hour">>, all, cost, {rolling, ?HOUR}, 100),
                      rule(<<"ever">>, #{user => each}, cost, lifetime, 50)]),
    at(L, ?NOON),
    #{resets_at := never, rules := [#{rule := <<"hour">>, resets_at := never}]} =
        denied(cost_ledger:check(L, #{state => executing, cost => 101})),
    spend(L, paid(<<"u1">>, 50)),
    %% One that never does is enough.
    #{resets_at := never, rules := Both} = denied(cost_ledger:check(L, paid(<<"u1">>, 60))),
    HourResetsAt = ?NOON + ?HOUR + 1,
    ?assertMatch([{<<"ever">>, never}, {<<"hour">>, HourResetsAt}],
                 lists:sort([{Name, At} || #{rule := Name, resets_at := At} <- Both])),
    ?assertMatch(#{resets_at := never}, told(L, #{user => <<"u1">>}, <<"ever">>)),
    ?assertMatch(#{resets_at := none}, told(L, #{user => <<"u1">>}, <<"hour">>)),
    close(L).

%% Waiting for the window does not help while somebody holds what is left; waiting for the
%% holder may.
held_until_says_when_waiting_for_others_helps(Config) ->
    L = open(Config, [rule(<<"hour">>, all, cost, {rolling, ?HOUR}, 100),
                      rule(<<"user">>, #{user => each}, cost, {rolling, ?HOUR}, 100)]),
    at(L, ?NOON),
    ?assertMatch(#{held_until := none}, told(L, all, <<"hour">>)),
    {ok, First} = cost_ledger:reserve(L, (paid(<<"u1">>, 40))#{deadline_ms => 5000}),
    {ok, Second} = cost_ledger:reserve(L, (paid(<<"u2">>, 40))#{deadline_ms => 9000}),
    #{resets_at := never, held_until := Until, rules := [#{held_until := Until, held := 80}]} =
        denied(cost_ledger:check(L, paid(<<"u1">>, 30))),
    ?assertEqual(?NOON + 9000, Until),
    %% Of several rules the earliest.
    #{held_until := Earliest} = denied(cost_ledger:check(L, paid(<<"u1">>, 90))),
    ?assertEqual(?NOON + 5000, Earliest),
    {ok, _} = cost_ledger:settle(First, #{cost => 40}),
    ok = cost_ledger:release(Second),
    ?assertMatch(#{held_until := none, held := 0, used := 40}, told(L, all, <<"hour">>)),
    close(L).

levels_follow_the_thresholds_of_the_rule(Config) ->
    L = open(Config, [rule(<<"none">>, all, cost, lifetime, 100),
                      rule(<<"one">>, all, cost, lifetime, 100, #{warn => [50]}),
                      rule(<<"three">>, all, cost, lifetime, 100, #{warn => [50, 60, 70]})]),
    at(L, ?NOON),
    Levels = fun() ->
                     [maps:get(level, told(L, all, Name))
                      || Name <- [<<"none">>, <<"one">>, <<"three">>]]
             end,
    [begin
         spend(L, paid(<<"u">>, Cost)),
         ?assertEqual({Cost, Expected}, {Cost, Levels()})
     end || {Cost, Expected} <- [{49, [normal, normal, normal]},
                                 {1, [normal, approaching, approaching]},            %  50
                                 {19, [normal, approaching, approaching]},           %  69
                                 {1, [normal, approaching, critical]},               %  70
                                 {10, [approaching, approaching, critical]},         %  80
                                 {14, [approaching, approaching, critical]},         %  94
                                 {1, [critical, critical, critical]},                %  95
                                 {4, [critical, critical, critical]},                %  99
                                 {1, [exhausted, exhausted, exhausted]}]],           % 100
    close(L).

status_says_everything_there_is_to_a_rule(Config) ->
    Window = {calendar, month, 0},
    L = open(Config, [rule(month, #{user => each}, cost, Window, 1000, #{warn => [80]})]),
    at(L, ms(2026, 3, 11)),
    spend(L, paid(<<"u1">>, 500)),
    {ok, Hold} = cost_ledger:reserve(L, (paid(<<"u1">>, 300))#{deadline_ms => 1000}),
    Now = ms(2026, 3, 11),
    %% 500 in 10 days leave 4 days for the 200.
    Expected = #{rule => <<"month">>, scope => #{user => <<"u1">>}, measure => cost,
                 window => Window, on_exhausted => deny, used => 500, held => 300, limit => 1000,
                 remaining => 200, percent => 80, level => approaching, resets_at => none,
                 held_until => Now + 1000, period => {ms(2026, 3, 1), ms(2026, 4, 1)},
                 forecast => Now + 4 * ?DAY},
    Told = told(L, #{user => <<"u1">>}, <<"month">>),
    ?assertEqual(Expected, maps:with(maps:keys(Expected), Told)),
    #{rules := [Denying]} = denied(cost_ledger:reserve(L, paid(<<"u1">>, 201))),
    Differs = Expected#{amount => 201, reason => limit, resets_at => ms(2026, 4, 1)},
    ?assertEqual(Differs, maps:with(maps:keys(Differs), Denying)),
    ok = cost_ledger:release(Hold),
    close(L).

status_of_all_has_the_rules_without_each(Config) ->
    L = open(Config, [rule(<<"all">>, all, cost, lifetime, 100),
                      rule(<<"acme">>, #{org => ?ACME}, cost, lifetime, 10),
                      rule(<<"users">>, #{user => each}, cost, lifetime, 10)]),
    at(L, ?NOON),
    spend(L, #{state => executing, org => ?ACME, user => <<"u1">>, cost => 10}),
    Names = fun(Scope) ->
                    {ok, #{level := Level, tier := normal, rules := Rules}} =
                        cost_ledger:budget_status(L, Scope),
                    {Level, lists:sort([Name || #{rule := Name} <- Rules])}
            end,
    ?assertEqual({exhausted, [<<"acme">>, <<"all">>]}, Names(all)),
    ?assertEqual({normal, [<<"all">>, <<"users">>]}, Names(#{user => <<"u2">>})),
    ?assertEqual({exhausted, [<<"acme">>, <<"all">>, <<"users">>]},
                 Names(#{org => ?ACME, user => <<"u2">>})),
    ?assertEqual({normal, [<<"all">>]}, Names(#{org => <<"other">>})),
    close(L).

the_forecast_goes_on_at_the_rate_of_the_window(Config) ->
    L = open(Config, [rule(<<"month">>, all, cost, {calendar, month, 0}, 300),
                      rule(<<"hour">>, all, cost, {rolling, ?HOUR}, 300),
                      rule(<<"ever">>, all, cost, lifetime, 300)]),
    First = ms(2026, 3, 11),
    at(L, First),
    Forecasts = fun() ->
                        [maps:get(forecast, told(L, all, Name))
                         || Name <- [<<"month">>, <<"hour">>, <<"ever">>]]
                end,
    ?assertEqual([none, none, none], Forecasts()),
    spend(L, paid(<<"u">>, 100)),
    %% 100 in the 10 days and a second of the month; in the second since the first entry.
    Now = at(L, First + 1000),
    ?assertEqual([Now + 2 * (10 * ?DAY + 1000), Now + 2000, Now + 2000], Forecasts()),
    %% In ten more days 200 would come after the end of the month, and the hour is over.
    Later = at(L, First + 10 * ?DAY),
    ?assertEqual([none, none, Later + 20 * ?DAY], Forecasts()),
    %% A rolling window that is older than its length.
    spend(L, paid(<<"u">>, 100)),
    ?assertEqual([Later + 10 * ?DAY, Later + 2 * ?HOUR, Later + 5 * ?DAY], Forecasts()),
    close(L).

%% Shortened with a unit, downwards; never without its last digits.
the_screen_shows_large_figures_whole_or_shortened(Config) ->
    L = open(Config, [rule(<<"tokens">>, all, tokens, {rolling, 90000}, 1000),
                      rule(<<"more">>, all, tokens, {rolling, 3 * ?HOUR}, 1000000000000000),
                      rule(<<"money">>, all, cost, {rolling, ?MINUTE}, 999999999999999),
                      rule(<<"much">>, all, cost, {rolling, 2 * ?DAY}, 1000000000000000),
                      rule(<<"calls">>, all, invocations, lifetime, 9999999)]),
    at(L, ?NOON),
    spend(L, #{state => executing, cost => 123456789012345, tokens => #{input => 12345678901}}),
    Text = screen(L),
    ?assertEqual(["90000", "ms", "12.3G", "0", "1,000", ">999", "exhausted"], row(Text, "tokens")),
    ?assertEqual(["3", "h", "12.3G", "0", "1,000.0T", "0", "normal"], row(Text, "more")),
    ?assertEqual(["1", "min", "123,456.7890", "0.0000", "999,999.9999", "12", "normal"],
                 row(Text, "money")),
    ?assertEqual(["2", "d", "123,456.7890", "0.0000", "1,000,000", "12", "normal"],
                 row(Text, "much")),
    ?assertEqual(["lifetime", "1", "0", "9,999,999", "0", "normal"], row(Text, "calls")),
    close(L).

the_screen_cuts_no_limit_of_a_state(Config) ->
    L = open(Config, [], #{budgets => #{executing => #{max_per_hour => 1000000000000000,
                                                       max_per_day => 999999999999999},
                                        improving => #{max_per_hour => 10}}}),
    at(L, ?NOON),
    [spend(L, paid(<<"u">>, 0)) || _ <- lists:seq(1, 12)],
    ?assertMatch(["12/1000000000000000", "12/999999999999999", "12" | _],
                 row(screen(L), "executing")),
    ?assertMatch(["0/10", "........", "0", "of", "any", "0" | _], row(screen(L), "improving")),
    close(L).

screen(L) ->
    {ok, Text} = cost_ledger_screen:format(cost_ledger_registry:find(L)),
    unicode:characters_to_list(Text).

%% The words behind the first one.
row(Text, First) ->
    [Row] = [Words || Line <- string:split(Text, "\n", all),
                      [Word | Words] <- [string:lexemes(Line, " ")], Word =:= First],
    Row.

%%% The gate -----------------------------------------------------------------------------------

the_gate_obeys_rules_of_everything_and_of_the_state(Config) ->
    L = open(Config, [rule(<<"all">>, all, cost, {rolling, ?HOUR}, 100),
                      rule(<<"improving">>, #{state => improving}, cost, {rolling, ?HOUR}, 50),
                      rule(<<"contemplating">>, #{state => contemplating}, tokens, lifetime, 0),
                      %% None of these is asked: they depend on more, or do not deny.
                      rule(<<"user">>, #{user => each}, cost, lifetime, 1),
                      rule(<<"degrade">>, all, cost, lifetime, 1, #{on_exhausted => degrade}),
                      rule(<<"warn">>, all, cost, lifetime, 1, #{on_exhausted => warn})]),
    at(L, ?NOON),
    ?assertEqual([ok, ok, budget_exhausted], gates(L)),
    spend(L, (paid(<<"u">>, 50))#{state => improving}),
    ?assertEqual([ok, budget_exhausted, budget_exhausted], gates(L)),
    at(L, ?NOON + 1000),
    spend(L, paid(<<"u">>, 50)),
    ?assertEqual([budget_exhausted, budget_exhausted, budget_exhausted], gates(L)),
    at(L, ?NOON + ?HOUR),
    ?assertEqual([budget_exhausted, budget_exhausted, budget_exhausted], gates(L)),
    at(L, ?NOON + ?HOUR + 1),
    ?assertEqual([ok, ok, budget_exhausted], gates(L)),
    close(L).

gates(L) ->
    [cost_ledger:check_budget(L, State) || State <- [executing, improving, contemplating]].

what_is_held_counts_at_the_gate(Config) ->
    L = open(Config, [rule(<<"all">>, all, cost, {rolling, ?HOUR}, 100, #{soft => 80}),
                      rule(<<"calls">>, #{state => improving}, invocations, {rolling, ?HOUR}, 2)]),
    at(L, ?NOON),
    {ok, One} = cost_ledger:reserve(L, #{state => improving, cost => 79}),
    ?assertEqual([ok, ok, ok], gates(L)),
    %% The soft limit is that of the gate: it asks for nobody critical.
    {ok, Two} = cost_ledger:reserve(L, #{state => executing, cost => 1, deadline_ms => ?DAY}),
    ?assertEqual([budget_exhausted, budget_exhausted, budget_exhausted], gates(L)),
    {ok, _} = cost_ledger:settle(One, #{cost => 70}),
    ?assertEqual([ok, ok, ok], gates(L)),
    {ok, Three} = cost_ledger:reserve(L, #{state => improving, cost => 0, deadline_ms => ?DAY}),
    ?assertEqual([ok, budget_exhausted, ok], gates(L)),
    %% What was booked leaves with time; what is held does not.
    at(L, ?NOON + ?HOUR + 1),
    ?assertEqual([ok, ok, ok], gates(L)),
    ?assertMatch(#{used := 0, held := 1}, told(L, all, <<"all">>)),
    ?assertMatch(#{used := 0, held := 1}, told(L, #{state => improving}, <<"calls">>)),
    {ok, Four} = cost_ledger:reserve(L, #{state => improving, cost => 79}),
    ?assertEqual([budget_exhausted, budget_exhausted, budget_exhausted], gates(L)),
    [ok = cost_ledger:release(Hold) || Hold <- [Two, Three, Four]],
    ?assertEqual([ok, ok, ok], gates(L)),
    close(L).

%% A random walk: one word and a clock against all rules and the ledger.
the_gate_and_check_never_disagree(Config) ->
    L = open(Config, [rule(<<"all hour">>, all, cost, {rolling, ?HOUR}, 300, #{soft => 80}),
                      rule(<<"all day">>, all, tokens, {calendar, day, 60}, 2000),
                      rule(<<"bought">>, all, credits, lifetime, granted),
                      rule(<<"executing">>, #{state => executing}, invocations,
                           {rolling, 10 * ?MINUTE}, 8),
                      rule(<<"improving">>, #{state => improving}, cost, {rolling, ?HOUR}, 120),
                      rule(<<"contemplating">>, #{state => contemplating}, invocations, lifetime,
                           0),
                      rule(<<"note">>, all, cost, {rolling, ?HOUR}, 10,
                           #{on_exhausted => warn})]),
    at(L, ?NOON),
    _ = rand:seed(exsss),
    ct:log("seed ~p", [rand:export_seed()]),
    walk(L, 300, []),
    close(L).

walk(_L, 0, _Holds) ->
    ok;
walk(L, Steps, Holds) ->
    Attempt = #{state => lists:nth(rand:uniform(2), [executing, improving]),
                cost => rand:uniform(40) - 1, tokens => #{input => rand:uniform(60) - 1},
                credits => rand:uniform(4) - 1},
    Left = case rand:uniform(7) of
               1 -> spend(L, Attempt), Holds;
               2 -> ok = cost_ledger:advance_clock(L, rand:uniform(15 * ?MINUTE)), Holds;
               3 -> {ok, _} = grant(L, all, rand:uniform(20)), Holds;
               4 when Holds =/= [] ->
                   {ok, _} = cost_ledger:settle(hd(Holds), maps:with([cost, tokens, credits],
                                                                     Attempt)),
                   tl(Holds);
               5 when Holds =/= [] ->
                   ok = cost_ledger:release(hd(Holds)),
                   tl(Holds);
               _ ->
                   case cost_ledger:reserve(L, Attempt#{critical => rand:uniform(2) =:= 1,
                                                        deadline_ms => 100 * ?DAY}) of
                       {ok, Hold} -> [Hold | Holds];
                       {error, {budget_exhausted, _}} -> Holds
                   end
           end,
    [?assertEqual({Steps, State, case denying(L, #{state => State}) of
                                     [] -> ok;
                                     [_ | _] -> budget_exhausted
                                 end},
                  {Steps, State, cost_ledger:check_budget(L, State)})
     || State <- [executing, improving, contemplating]],
    walk(L, Steps - 1, Left).

the_hourly_and_daily_caps_are_two_rules(Config) ->
    L = cost_ledger_test:open(?config(path, Config),
                              #{budgets => #{dreaming => #{max_per_hour => 2}}}),
    at(L, ?NOON),
    spend(L, #{state => dreaming}),
    ?assertMatch(#{scope := #{state := dreaming}, measure := invocations,
                   window := {rolling, ?HOUR}, limit := 2, used := 1, on_exhausted := deny},
                 told(L, #{state => dreaming}, <<"dreaming/hour">>)),
    ?assertMatch(#{window := {rolling, ?DAY}, limit := infinity, used := 1},
                 told(L, #{state => dreaming}, <<"dreaming/day">>)),
    ?assertMatch(#{limit := 20, used := 0},
                 told(L, #{state => executing}, <<"executing/hour">>)),
    spend(L, #{state => dreaming}),
    budget_exhausted = cost_ledger:check_budget(L, dreaming),
    ?assertEqual([<<"dreaming/hour">>], denying(L, #{state => dreaming})),
    close(L).

%%% Credits ------------------------------------------------------------------------------------

a_balance_is_grants_less_use_less_holds(Config) ->
    L = open(Config, [rule(<<"prepaid">>, #{org => ?ACME}, credits, lifetime, granted)]),
    at(L, ?NOON),
    Account = #{org => ?ACME},
    Call = #{state => executing, org => ?ACME},
    Credits = fun() ->
                      {ok, #{credits := B, cost := #{granted := 0, balance := 0}}} =
                          cost_ledger:balance(L, Account),
                      maps:with([granted, used, held, balance], B)
              end,
    {ok, _} = grant(L, Account, 100),
    {ok, Hold} = cost_ledger:reserve(L, Call#{credits => 60}),
    ?assertEqual(#{granted => 100, used => 0, held => 60, balance => 40}, Credits()),
    ?assertEqual([<<"prepaid">>], denying(L, Call#{credits => 41})),
    ?assertMatch(#{limit := 100, held := 60, remaining := 40, percent := 60, grace := 0},
                 told(L, Account, <<"prepaid">>)),
    {ok, _} = cost_ledger:settle(Hold, #{credits => 50}),
    ?assertEqual(#{granted => 100, used => 50, held => 0, balance => 50}, Credits()),
    %% Failed calls cost what they cost.
    spend(L, Call#{credits => 5, status => failed}),
    ?assertEqual(#{granted => 100, used => 55, held => 0, balance => 45}, Credits()),
    reopen(Config, L),
    ?assertEqual(#{granted => 100, used => 55, held => 0, balance => 45}, Credits()),
    close(L).

the_oldest_grant_is_used_first(Config) ->
    L = open(Config, [rule(<<"prepaid">>, #{org => ?ACME}, credits, lifetime, granted)]),
    Account = #{org => ?ACME},
    Ids = [begin
               at(L, ?NOON + N),
               {ok, Id} = cost_ledger:grant(L, Account, 100, #{kind => purchase, by => billing,
                                                               reason => "number " ++ [$0 + N]}),
               Id
           end || N <- [1, 2, 3]],
    Grants = fun() ->
                     {ok, #{credits := #{percent := Percent, grants := Grants}}} =
                         cost_ledger:balance(L, Account),
                     {Percent, [{Id, Remaining} || #{id := Id, amount := 100,
                                                     remaining := Remaining} <- Grants]}
             end,
    [First, Second, Third] = Ids,
    ?assertEqual({0, [{First, 100}, {Second, 100}, {Third, 100}]}, Grants()),
    spend(L, #{state => executing, org => ?ACME, credits => 60}),
    ?assertEqual({20, [{First, 40}, {Second, 100}, {Third, 100}]}, Grants()),
    spend(L, #{state => executing, org => ?ACME, credits => 50}),
    ?assertEqual({5, [{Second, 90}, {Third, 100}]}, Grants()),
    {ok, #{credits := #{grants := [Told | _]}}} = cost_ledger:balance(L, Account),
    ?assertMatch(#{timestamp := T, kind := purchase, by := <<"billing">>,
                   reason := <<"number 2">>} when T =:= ?NOON + 2, Told),
    close(L).

only_an_adjustment_takes_back(Config) ->
    L = open(Config, [rule(<<"prepaid">>, #{org => ?ACME}, credits, lifetime, granted)]),
    at(L, ?NOON),
    Account = #{org => ?ACME},
    {ok, _} = grant(L, Account, 100),
    [refused(fun() -> cost_ledger:grant(L, Account, -30, ?BY#{kind => Kind}) end)
     || Kind <- [purchase, topup]],
    {ok, _} = cost_ledger:grant(L, Account, -30, ?BY#{kind => adjustment}),
    {ok, #{credits := Balance}} = cost_ledger:balance(L, Account),
    ?assertMatch(#{granted := 70, used := 0, balance := 70}, Balance),
    ?assertEqual([], denying(L, #{state => executing, org => ?ACME, credits => 70})),
    ?assertEqual([<<"prepaid">>], denying(L, #{state => executing, org => ?ACME, credits => 71})),
    {ok, _} = cost_ledger:grant(L, Account, 5, ?BY#{kind => adjustment}),
    ?assertMatch({ok, #{credits := #{granted := 75}}}, cost_ledger:balance(L, Account)),
    close(L).

money_is_granted_as_credits_are(Config) ->
    L = open(Config, [rule(<<"prepaid">>, all, cost, lifetime, granted)]),
    at(L, ?NOON),
    {ok, _} = cost_ledger:grant(L, all, 1000, ?BY#{kind => purchase, measure => cost}),
    spend(L, paid(<<"u">>, 400)),
    ?assertMatch({ok, #{cost := #{granted := 1000, used := 400, balance := 600},
                        credits := #{granted := 0, used := 0, balance := 0}}},
                 cost_ledger:balance(L, all)),
    ?assertEqual([], denying(L, paid(<<"u">>, 600))),
    ?assertEqual([<<"prepaid">>], denying(L, paid(<<"u">>, 601))),
    close(L).

each_account_has_a_balance_of_its_own(Config) ->
    L = open(Config, [rule(<<"prepaid">>, #{org => each}, credits, lifetime, granted)]),
    at(L, ?NOON),
    Call = fun(Org, Credits) -> #{state => executing, org => Org, credits => Credits} end,
    {ok, _} = grant(L, #{org => ?ACME}, 100),
    {ok, _} = grant(L, #{org => <<"bolt">>}, 10),
    ?assertEqual([], denying(L, Call(?ACME, 100))),
    ?assertEqual([<<"prepaid">>], denying(L, Call(<<"bolt">>, 11))),
    spend(L, Call(<<"bolt">>, 10)),
    ?assertEqual([], denying(L, Call(?ACME, 100))),
    ?assertMatch(#{limit := 10, remaining := 0, scope := #{org := <<"bolt">>}},
                 told(L, #{org => <<"bolt">>}, <<"prepaid">>)),
    close(L).

who_was_never_granted_anything_has_nothing(Config) ->
    L = open(Config, [rule(<<"prepaid">>, #{org => each}, credits, lifetime, granted)]),
    at(L, ?NOON),
    ?assertMatch(#{limit := 0, remaining := 0, percent := 100, level := exhausted},
                 told(L, #{org => <<"nobody">>}, <<"prepaid">>)),
    #{resets_at := never} = denied(cost_ledger:check(L, #{state => executing,
                                                          org => <<"nobody">>, credits => 1})),
    ?assertMatch({ok, #{credits := #{granted := 0, used := 0, held := 0, balance := 0,
                                     grants := []}}},
                 cost_ledger:balance(L, #{org => <<"nobody">>})),
    close(L).

%%% Warnings -----------------------------------------------------------------------------------

a_threshold_is_warned_of_once_in_a_period(Config) ->
    L = open(Config, [rule(<<"day">>, all, cost, {calendar, day, 0}, 1000, #{warn => [50, 90]})]),
    ok = cost_ledger:subscribe(L),
    [begin
         at(L, ms(2026, 3, Day)),
         [spend(L, paid(<<"u">>, 10)) || _ <- lists:seq(1, 100)],
         Period = {ms(2026, 3, Day), ms(2026, 3, Day + 1)},
         Ids = [Id || #{id := Id} <- cost_ledger:history(L, #{limit => 100})],
         Fiftieth = lists:nth(51, Ids),
         ?assertMatch([#{rule := <<"day">>, scope := all, measure := cost,
                         window := {calendar, day, 0}, threshold := 50, used := 500,
                         limit := 1000, percent := 50, id := Fiftieth, timestamp := T,
                         period := Period},
                       #{threshold := 90, used := 900, percent := 90, period := Period}]
                        when T =:= Fiftieth div 1000,
                      warnings(L, 2)),
         no_warning(L)
     end || Day <- [1, 2, 3]],
    close(L).

an_entry_that_reaches_two_thresholds_warns_of_both(Config) ->
    L = open(Config, [rule(<<"day">>, all, cost, {calendar, day, 0}, 100, #{warn => [50, 90]})]),
    ok = cost_ledger:subscribe(L),
    at(L, ?NOON),
    spend(L, paid(<<"u">>, 200)),
    Told = warnings(L, 2),
    ?assertEqual([50, 90], lists:sort([Threshold || #{threshold := Threshold} <- Told])),
    ?assertMatch([#{used := 200, percent := 200}, #{used := 200, percent := 200}], Told),
    spend(L, paid(<<"u">>, 200)),
    no_warning(L),
    close(L).

what_is_held_warns_of_nothing(Config) ->
    L = open(Config, [rule(<<"day">>, all, cost, {calendar, day, 0}, 100, #{warn => [50]})]),
    ok = cost_ledger:subscribe(L),
    at(L, ?NOON),
    {ok, Released} = cost_ledger:reserve(L, paid(<<"u">>, 100)),
    ok = cost_ledger:release(Released),
    {ok, Hold} = cost_ledger:reserve(L, paid(<<"u">>, 100)),
    {ok, _} = cost_ledger:settle(Hold, #{cost => 49}),
    spend(L, paid(<<"u">>, 1)),
    %% The first one that there is, is that of the last entry.
    [#{id := Id} | _] = cost_ledger:history(L, #{}),
    ?assertMatch([#{used := 50, id := Id}], warnings(L, 1)),
    no_warning(L),
    close(L).

a_rolling_window_warns_again_after_it_has_fallen_below(Config) ->
    L = open(Config, [rule(<<"hour">>, all, cost, {rolling, ?HOUR}, 100, #{warn => [80]})]),
    ok = cost_ledger:subscribe(L),
    at(L, ?NOON),
    spend(L, paid(<<"u">>, 80)),
    [First] = warnings(L, 1),
    ?assertMatch(#{used := 80}, First),
    ?assertNot(is_map_key(period, First)),
    %% It stays above, although what reached it leaves.
    at(L, ?NOON + ?HOUR),
    spend(L, paid(<<"u">>, 80)),
    at(L, ?NOON + ?HOUR + 1),
    spend(L, paid(<<"u">>, 5)),
    no_warning(L),
    at(L, ?NOON + 3 * ?HOUR),
    spend(L, paid(<<"u">>, 79)),
    no_warning(L),
    spend(L, paid(<<"u">>, 2)),
    ?assertMatch([#{used := 81}], warnings(L, 1)),
    no_warning(L),
    close(L).

a_changed_limit_a_grant_and_a_reset_warn_anew(Config) ->
    Rules = fun(Limit) ->
                    [rule(<<"month">>, all, cost, {calendar, month, 0}, Limit, #{warn => [80]}),
                     rule(<<"prepaid">>, #{org => ?ACME}, credits, lifetime, granted,
                          #{warn => [80]})]
            end,
    L = open(Config, Rules(100)),
    ok = cost_ledger:subscribe(L),
    at(L, ?NOON),
    spend(L, paid(<<"u">>, 80)),
    ?assertMatch([#{rule := <<"month">>, used := 80, limit := 100}], warnings(L, 1)),
    {ok, 2} = cost_ledger:set_policy(L, #{rules => Rules(1000)}, ?BY),
    spend(L, paid(<<"u">>, 720)),
    ?assertMatch([#{rule := <<"month">>, used := 800, limit := 1000}], warnings(L, 1)),
    {ok, _} = cost_ledger:reset(L, <<"month">>, ?BY),
    spend(L, paid(<<"u">>, 799)),
    no_warning(L),
    spend(L, paid(<<"u">>, 1)),
    ?assertMatch([#{rule := <<"month">>, used := 800}], warnings(L, 1)),
    %% Of what is still granted.
    Call = #{state => executing, org => ?ACME},
    {ok, _} = grant(L, #{org => ?ACME}, 100),
    spend(L, Call#{credits => 80}),
    ?assertMatch([#{rule := <<"prepaid">>, threshold := 80, percent := 80}], warnings(L, 1)),
    spend(L, Call#{credits => 20}),
    no_warning(L),
    {ok, _} = grant(L, #{org => ?ACME}, 1000),
    spend(L, Call#{credits => 799}),
    no_warning(L),
    spend(L, Call#{credits => 1}),
    ?assertMatch([#{rule := <<"prepaid">>, percent := 80}], warnings(L, 1)),
    no_warning(L),
    close(L).

a_warning_given_is_remembered_by_the_file(Config) ->
    L = open(Config, [rule(<<"day">>, all, cost, {calendar, day, 0}, 100, #{warn => [50, 90]})]),
    ok = cost_ledger:subscribe(L),
    at(L, ?NOON),
    spend(L, paid(<<"u">>, 50)),
    ?assertMatch([#{threshold := 50}], warnings(L, 1)),
    reopen(Config, L),
    ok = cost_ledger:subscribe(L),
    spend(L, paid(<<"u">>, 39)),
    spend(L, paid(<<"u">>, 1)),
    ?assertMatch([#{threshold := 90}], warnings(L, 1)),
    no_warning(L),
    close(L).

each_value_is_warned_of_by_name(Config) ->
    L = open(Config, [rule(<<"user">>, #{user => each}, cost, {calendar, day, 0}, 100,
                           #{warn => [50]})]),
    ok = cost_ledger:subscribe(L),
    at(L, ?NOON),
    Users = [<<"u1">>, <<"u2">>, <<"u3">>],
    [[spend(L, paid(User, Cost)) || User <- Users] || Cost <- [40, 20, 20]],
    ?assertEqual([{#{user => User}, 60} || User <- Users],
                 lists:sort([{Scope, Used} || #{scope := Scope, used := Used} <- warnings(L, 3)])),
    no_warning(L),
    close(L).

a_rule_that_only_warns_warns_at_100(Config) ->
    L = open(Config, [rule(<<"note">>, all, cost, {calendar, day, 0}, 100,
                           #{on_exhausted => warn}),
                      rule(<<"silent">>, all, cost, {calendar, day, 0}, 100)]),
    ok = cost_ledger:subscribe(L),
    at(L, ?NOON),
    [spend(L, paid(<<"u">>, 33)) || _ <- lists:seq(1, 5)],
    ?assertMatch([#{rule := <<"note">>, threshold := 100, used := 132}], warnings(L, 1)),
    no_warning(L),
    close(L).

every_subscriber_is_told_once_and_so_is_the_log(Config) ->
    L = open(Config, [rule(<<"day">>, all, cost, {calendar, day, 0}, 100, #{warn => [50]})]),
    Handler = cost_ledger_test:catch_events(L),
    at(L, ?NOON),
    Self = self(),
    Subscribers = [spawn_link(fun() ->
                                      ok = cost_ledger:subscribe(L),
                                      Self ! {self(), ready},
                                      Told = warnings(L, 1),
                                      receive stop -> ok end,
                                      no_warning(L),
                                      Self ! {self(), Told}
                              end) || _ <- [1, 2, 3]],
    [receive {Pid, ready} -> ok end || Pid <- Subscribers],
    %% One that is gone is nobody's trouble.
    {Gone, Monitor} = spawn_monitor(fun() -> ok = cost_ledger:subscribe(L) end),
    receive {'DOWN', Monitor, process, Gone, Reason} -> normal = Reason end,
    cost_ledger_test:parallel(20, fun() -> spend(L, paid(<<"u">>, 5)) end),
    receive {event, budget_warning, Measurements, Metadata} ->
            ?assertMatch(#{ledger := L, threshold := 50}, maps:merge(Measurements, Metadata))
    after 5000 -> error(no_event)
    end,
    spend(L, paid(<<"u">>, 5)),
    [Pid ! stop || Pid <- Subscribers],
    [receive {Pid, [Told]} -> ?assertMatch(#{threshold := 50, rule := <<"day">>}, Told) end
     || Pid <- Subscribers],
    receive {event, budget_warning, _, _} -> error(told_twice) after 0 -> ok end,
    cost_ledger_test:release_events(Handler),
    close(L).

%% Logger runs it in the process that tells of the warning.
a_handler_of_a_warning_may_call_the_ledger(Config) ->
    L = open(Config, [rule(<<"day">>, #{org => ?ACME}, cost, {calendar, day, 0}, 100,
                           #{warn => [50, 90]})], #{call_timeout => 10000}),
    at(L, ?NOON),
    Call = #{state => executing, org => ?ACME, cost => 45},
    Self = self(),
    Handler = handle_warnings(
                L, fun(#{threshold := Threshold}) ->
                           Setting = #{type => integer, value => Threshold},
                           Self ! {handled, Threshold,
                                   [cost_ledger:record_invocation(L, executing,
                                                                  maps:remove(state, Call)),
                                    grant(L, #{org => ?ACME}, 10),
                                    cost_ledger:with_budget(L, Call#{cost => 0},
                                                            fun(_) -> {release, ok} end),
                                    cost_ledger:set_policy(L, #{settings => #{last => Setting}},
                                                           ?BY)]}
                   end),
    cost_ledger_test:parallel(20, fun() -> spend(L, paid(<<"u">>, 1)) end),
    spend(L, Call#{cost => 50}),
    %% What it books itself reaches the next threshold.
    [receive {handled, Threshold, Answers} ->
             ?assertMatch([ok, {ok, _}, {ok, ok}, {ok, _}], Answers)
     after 10000 -> error({not_handled, Threshold})
     end || Threshold <- [50, 90]],
    cost_ledger_test:parallel(20, fun() -> spend(L, paid(<<"u">>, 1)) end),
    ?assertEqual(140, used(L, #{org => ?ACME}, <<"day">>)),
    ?assertMatch({ok, #{credits := #{granted := 20}}}, cost_ledger:balance(L, #{org => ?ACME})),
    ?assertMatch({ok, #{settings := #{last := 90}}}, cost_ledger:policy(L)),
    cost_ledger_test:release_events(Handler),
    close(L).

a_handler_that_is_stuck_keeps_nobody_waiting(Config) ->
    L = open(Config, [rule(<<"day">>, all, cost, {calendar, day, 0}, 100, #{warn => [50, 90]})],
             #{call_timeout => 10000}),
    ok = cost_ledger:subscribe(L),
    at(L, ?NOON),
    Self = self(),
    Handler = handle_warnings(L, fun(#{threshold := Threshold}) ->
                                         Self ! {handling, Threshold, self()},
                                         receive go_on -> ok end
                                 end),
    spend(L, paid(<<"u">>, 50)),
    Stuck = receive {handling, 50, Pid} -> Pid after 10000 -> error(not_handled) end,
    ?assertNotEqual(child(L, writer), Stuck),
    cost_ledger_test:parallel(40, fun() -> spend(L, paid(<<"u">>, 1)) end),
    {ok, _} = grant(L, all, 5),
    ?assertEqual(90, used(L, all, <<"day">>)),
    %% Subscribers have both already.
    ?assertMatch([#{threshold := 50}, #{threshold := 90}], warnings(L, 2)),
    Stuck ! go_on,
    receive {handling, 90, Stuck} -> Stuck ! go_on after 10000 -> error(not_handled) end,
    no_warning(L),
    cost_ledger_test:release_events(Handler),
    close(L).

handle_warnings(L, Fun) ->
    Id = list_to_atom("handle_" ++ integer_to_list(erlang:unique_integer([positive]))),
    ok = logger:add_handler(Id, ?MODULE, #{config => {L, Fun}}),
    Id.

%% As a handler of logger.
log(#{msg := {report, #{event := [cost_ledger, budget_warning],
                        metadata := #{ledger := L} = Metadata}}}, #{config := {L, Fun}}) ->
    Fun(Metadata);
log(_Event, _Config) ->
    ok.

nobody_subscribes_to_a_stopped_ledger(Config) ->
    L = open(Config, []),
    ok = cost_ledger:subscribe(L),
    ok = cost_ledger:unsubscribe(L),
    ok = cost_ledger:subscribe(L),
    close(L),
    [?assertEqual({error, unavailable}, cost_ledger:Function(L))
     || Function <- [subscribe, unsubscribe, subscribe]],
    L = cost_ledger_test:open(L, ?config(path, Config), #{}),
    ok = cost_ledger:unsubscribe(L),
    ok = cost_ledger:subscribe(L),
    close(L).

a_period_is_told_with_its_own_percentage(Config) ->
    L = open(Config, [rule(<<"day">>, all, cost, {calendar, day, 0}, 100, #{warn => [80]}),
                      rule(<<"month">>, all, cost, {calendar, month, 0}, 1000,
                           #{warn => [80]})]),
    ok = cost_ledger:subscribe(L),
    Told = [begin
                at(L, ms(2026, 3, Day)),
                spend(L, paid(<<"u">>, 81)),
                warnings(L, case Day of 10 -> 2; _ -> 1 end)
            end || Day <- lists:seq(1, 12)],
    [?assertEqual({Rule, case Rule of
                             <<"day">> -> {100, 81, 81, {ms(2026, 3, Day), ms(2026, 3, Day + 1)}};
                             <<"month">> -> {1000, 810, 81, {ms(2026, 3, 1), ms(2026, 4, 1)}}
                         end}, {Rule, {Limit, Used, Percent, Period}})
     || {Day, Warnings} <- lists:zip(lists:seq(1, 12), Told),
        #{rule := Rule, limit := Limit, used := Used, percent := Percent,
          period := Period} <- Warnings],
    ?assertEqual(1, length([month || #{rule := <<"month">>} <- lists:append(Told)])),
    no_warning(L),
    close(L).

%%% Policy -------------------------------------------------------------------------------------

the_start_options_are_version_1(Config) ->
    L = open(Config, [rule(cap, all, cost, lifetime, 7),
                      rule("dreams", #{state => dreaming}, tokens, {rolling, ?DAY}, 8)],
             #{budgets => #{sleeping => #{max_per_hour => 3}},
               settings => #{retries => #{type => integer, min => 0, max => 10, value => 3}}}),
    {ok, #{version := 1, states := States, rules := Rules, settings := Settings,
           series := Series}} = cost_ledger:policy(L),
    %% Rules replace the default budgets, budgets merge over them; both declare their states,
    %% and the three default states are always there.
    ?assertEqual([contemplating, dreaming, executing, improving, sleeping], lists:sort(States)),
    ?assertEqual([<<"cap">>, <<"dreams">>, <<"sleeping/day">>, <<"sleeping/hour">>], names(Rules)),
    ?assertMatch([#{scope := all, measure := cost, window := lifetime, limit := 7}],
                 [Rule || #{name := <<"cap">>} = Rule <- Rules]),
    ?assertMatch([#{scope := #{state := dreaming}, measure := tokens,
                    window := {rolling, ?DAY}, limit := 8}],
                 [Rule || #{name := <<"dreams">>} = Rule <- Rules]),
    ?assertEqual(#{retries => 3}, Settings),
    ?assertEqual([], [[org], [state], [user]] -- Series),
    ?assertEqual({ok, []}, cost_ledger:policy_history(L)),
    ok = cost_ledger:check_budget(L, dreaming),
    close(L).

names(Rules) -> lists:sort([Name || #{name := Name} <- Rules]).

the_stored_policy_wins_and_the_difference_is_told_once(Config) ->
    Path = ?config(path, Config),
    L = open(Config, [rule(<<"cap">>, all, cost, lifetime, 7)]),
    close(L),
    Handler = cost_ledger_test:catch_events(L),
    L = cost_ledger_test:open(L, Path, #{rules => [rule(<<"cap">>, all, cost, lifetime, 9)]}),
    {ok, #{version := 1, rules := [#{limit := 7}]}} = cost_ledger:policy(L),
    ?assertMatch([_], opening_warnings()),
    close(L),
    %% What is not said does not differ.
    L = cost_ledger_test:open(L, Path, #{}),
    ?assertEqual([], opening_warnings()),
    {ok, #{version := 1}} = cost_ledger:policy(L),
    close(L),
    L = cost_ledger_test:open(L, Path, #{rules => [rule(cap, all, cost, lifetime, 7)]}),
    ?assertEqual([], opening_warnings()),
    cost_ledger_test:release_events(Handler),
    close(L).

a_state_that_only_rules_of_the_options_name_is_declared(Config) ->
    Path = ?config(path, Config),
    L = open(Config, [rule(<<"cap">>, all, cost, lifetime, 7)]),
    close(L),
    Options = #{rules => [rule(<<"cap">>, all, cost, lifetime, 7),
                          rule(<<"dreams">>, #{state => dreaming}, tokens, {rolling, ?DAY}, 8)]},
    L = cost_ledger_test:open(L, Path, Options),
    ok = cost_ledger:check_budget(L, dreaming),
    ok = cost_ledger:record_invocation(L, dreaming, #{}),
    {ok, #{version := 2, states := States, rules := Rules}} = cost_ledger:policy(L),
    ?assert(lists:member(dreaming, States)),
    %% The stored rules are in force all the same.
    ?assertNot(lists:member(<<"dreams">>, names(Rules))),
    ?assertMatch([#{limit := 7}], [Rule || #{name := <<"cap">>} = Rule <- Rules]),
    ?assertMatch(#{budgets := #{dreaming := #{hourly_limit := infinity}},
                   session := #{dreaming := 1}}, cost_ledger:stats(L)),
    close(L),
    %% It is declared once.
    L = cost_ledger_test:open(L, Path, Options),
    {ok, #{version := 2}} = cost_ledger:policy(L),
    close(L).

%% Without those about the disk that the tests run on.
opening_warnings() ->
    receive {event, opened_with_warning, _, #{warning := Text}} ->
            [Text || binary:match(Text, [<<"set_policy">>, <<"policy">>, <<"rules">>]) =/= nomatch]
                ++ opening_warnings()
    after 0 -> []
    end.

rules_replace_and_budgets_merge(Config) ->
    L = cost_ledger_test:open(?config(path, Config), #{}),
    Caps = [<<"contemplating/day">>, <<"contemplating/hour">>, <<"executing/day">>,
            <<"executing/hour">>, <<"improving/day">>, <<"improving/hour">>],
    {ok, #{rules := Default}} = cost_ledger:policy(L),
    ?assertEqual(Caps, names(Default)),
    {ok, 2} = cost_ledger:set_policy(L, #{budgets => #{executing => #{max_per_hour => 7}}}, ?BY),
    {ok, #{rules := Merged}} = cost_ledger:policy(L),
    ?assertEqual(Caps, names(Merged)),
    ?assertMatch([#{limit := 7}], [Rule || #{name := <<"executing/hour">>} = Rule <- Merged]),
    ?assertMatch([#{limit := 100}], [Rule || #{name := <<"executing/day">>} = Rule <- Merged]),
    {ok, 3} = cost_ledger:set_policy(L, #{rules => [rule(<<"cap">>, all, cost, lifetime, 5)],
                                          budgets => #{dreaming => #{max_per_day => 1}}}, ?BY),
    {ok, #{rules := Replaced, states := States}} = cost_ledger:policy(L),
    ?assertEqual([<<"cap">>, <<"dreaming/day">>, <<"dreaming/hour">>], names(Replaced)),
    %% A state stays declared.
    ?assertEqual([], [contemplating, dreaming, executing, improving] -- States),
    ok = cost_ledger:check_budget(L, improving),
    %% And set_budgets is the same change by another name.
    {ok, 4} = cost_ledger:set_budgets(L, #{dreaming => #{max_per_day => 2}}, ?BY),
    {ok, #{rules := Both}} = cost_ledger:policy(L),
    ?assertEqual([<<"cap">>, <<"dreaming/day">>, <<"dreaming/hour">>], names(Both)),
    close(L).

a_policy_is_checked_whole_before_anything_is_written(Config) ->
    L = open(Config, [rule(<<"cap">>, all, cost, lifetime, 5)]),
    at(L, ?NOON),
    Before = snapshot(L),
    Good = #{rules => [rule(<<"new">>, all, cost, lifetime, 6)],
             budgets => #{dreaming => #{max_per_day => 1}},
             settings => #{retries => #{type => integer, value => 1}}},
    [begin
         {error, {_, Path, Text}} = cost_ledger:set_policy(L, maps:merge(Good, Wrong), ?BY),
         ?assert(is_list(Path) andalso byte_size(Text) > 20),
         ?assertEqual(Before, snapshot(L))
     end || Wrong <- [#{rules => [rule(<<"new">>, all, cost, lifetime, 6),
                                  rule(<<"bad">>, all, cost, lifetime, -6)]},
                      #{budgets => #{dreaming => #{max_per_day => nil}}},
                      #{settings => #{retries => #{type => integer, value => x}}}]],
    ?assertError(badarg, cost_ledger:check_budget(L, dreaming)),
    {ok, 2} = cost_ledger:set_policy(L, Good, ?BY),
    close(L).

what_changes_nothing_is_not_booked(Config) ->
    Rules = [rule(<<"cap">>, all, cost, lifetime, 5)],
    Declared = #{retries => #{type => integer, value => 3}},
    L = open(Config, Rules, #{settings => Declared}),
    [?assertEqual({ok, 1}, cost_ledger:set_policy(L, Policy, ?BY))
     || Policy <- [#{}, #{rules => Rules}, #{settings => #{retries => 3}}, #{settings => Declared},
                   #{rules => Rules, settings => #{}, version => 1},
                   #{rules => [rule("cap", all, cost, lifetime, 5, #{warn => [], soft => none})]}]],
    ?assertEqual({ok, []}, cost_ledger:policy_history(L)),
    close(L).

rules_in_another_order_are_the_same_policy(Config) ->
    Rules = [rule(integer_to_binary(N), all, cost, lifetime, N) || N <- lists:seq(1, 7)],
    L = open(Config, Rules),
    [?assertEqual({ok, 1}, cost_ledger:set_policy(L, #{rules => Order}, ?BY))
     || Order <- [lists:reverse(Rules), tl(Rules) ++ [hd(Rules)],
                  [lists:nth(N, Rules) || N <- [4, 2, 7, 1, 6, 3, 5]]]],
    ?assertEqual({ok, []}, cost_ledger:policy_history(L)),
    reopen(Config, L),
    ?assertEqual({ok, 1}, cost_ledger:set_policy(L, #{rules => lists:reverse(Rules)}, ?BY)),
    %% Of a change in another order only what it changes is booked.
    Changed = rule(<<"4">>, all, cost, lifetime, 40),
    {ok, 2} = cost_ledger:set_policy(L, #{rules => [Changed | lists:delete(lists:nth(4, Rules),
                                                                           lists:reverse(Rules))]},
                                     ?BY),
    ?assertMatch({ok, [#{changes := [#{rule := <<"4">>, from := 4, to := 40}]}]},
                 cost_ledger:policy_history(L)),
    close(L).

of_changes_to_one_version_one_wins(Config) ->
    L = open(Config, []),
    Change = fun(Version, Limit) ->
                     cost_ledger:set_policy(L, #{version => Version,
                                                 rules => [rule(<<"cap">>, all, cost, lifetime,
                                                                Limit)]}, ?BY)
             end,
    Answers = in_parallel(20, fun(Limit) -> Change(1, Limit) end),
    ?assertEqual([{ok, 2}], [Answer || {ok, _} = Answer <- Answers]),
    ?assertEqual(19, length([Text || {error, {version_conflict, Text}} <- Answers])),
    {error, {version_conflict, _}} = Change(1, 77),
    {error, {version_conflict, _}} = Change(3, 77),
    {ok, 3} = Change(2, 77),
    ?assertMatch({ok, [#{version := 3}, #{version := 2}]}, cost_ledger:policy_history(L)),
    close(L).

a_change_says_who_when_why_from_and_to(Config) ->
    L = open(Config, [rule(<<"cap">>, all, cost, lifetime, 5)],
             #{settings => #{retries => #{type => integer, value => 3}}}),
    at(L, ?NOON),
    {ok, 2} = cost_ledger:set_policy(L, #{rules => [rule(<<"cap">>, all, cost, lifetime, 6)]},
                                     #{by => "Ünal", reason => <<"load test">>}),
    at(L, ?NOON + 5),
    {ok, 3} = cost_ledger:set_policy(L, #{rules => [rule(<<"other">>, all, cost, lifetime, 7)],
                                          settings => #{retries => 5}},
                                     #{by => ops, reason => "an outage"}),
    {ok, [Second, First]} = cost_ledger:policy_history(L),
    ?assertMatch(#{version := 2, by := <<"Ünal"/utf8>>, reason := <<"load test">>, id := Id,
                   timestamp := ?NOON,
                   changes := [#{rule := <<"cap">>, from := 5, to := 6}]} when is_integer(Id),
                 First),
    #{version := 3, by := <<"ops">>, reason := <<"an outage">>, timestamp := T,
      changes := Changes} = Second,
    ?assertEqual(?NOON + 5, T),
    ?assertEqual([<<"cap">>, <<"other">>], lists:sort([Name || #{rule := Name} <- Changes])),
    ?assertMatch([#{from := 3, to := 5}], [Change || #{setting := _} = Change <- Changes]),
    ?assertMatch([#{to := undefined}], [Change || #{rule := <<"cap">>} = Change <- Changes]),
    ?assertMatch([#{from := undefined}], [Change || #{rule := <<"other">>} = Change <- Changes]),
    close(L).

every_version_can_be_read_as_it_was(Config) ->
    Rules = fun(N) -> [rule(<<"cap">>, all, cost, lifetime, N)] end,
    L = open(Config, Rules(1), #{settings => #{retries => #{type => integer, value => 1}}}),
    [begin
         Policy = #{rules => Rules(N), settings => #{retries => N},
                    budgets => #{list_to_atom("s" ++ integer_to_list(N)) => #{}}},
         {ok, N} = cost_ledger:set_policy(L, Policy, ?BY)
     end || N <- lists:seq(2, 8)],
    AsItWas = fun() ->
                      [begin
                           {ok, #{version := N, rules := All, settings := #{retries := Retries},
                                  states := States}} = cost_ledger:policy(L, N),
                           [Limit] = [Limit || #{name := <<"cap">>, limit := Limit} <- All],
                           ?assertEqual({N, N}, {Limit, Retries}),
                           ?assertEqual(N + 2, length(States))
                       end || N <- lists:seq(1, 8)]
              end,
    AsItWas(),
    {ok, Current} = cost_ledger:policy(L),
    {ok, Newest} = cost_ledger:policy(L, 8),
    Keys = [version, states, rules, settings],
    ?assertEqual(maps:with(Keys, Current), maps:with(Keys, Newest)),
    [refused(fun() -> cost_ledger:policy(L, Version) end) || Version <- [0, 9, -1, "1"]],
    reopen(Config, L),
    AsItWas(),
    close(L).

settings_are_declared_with_a_type_and_then_changed(Config) ->
    L = open(Config, [], #{settings => #{retries => #{type => integer, min => 0, max => 10,
                                                      value => 3}}}),
    Settings = fun() -> {ok, #{settings := Settings}} = cost_ledger:policy(L), Settings end,
    Set = fun(Changes) -> cost_ledger:set_policy(L, #{settings => Changes}, ?BY) end,
    {ok, 2} = Set(#{retries => 0}),
    {ok, 3} = Set(#{model => #{type => string, one_of => [<<"small">>, <<"large">>],
                               value => <<"small">>},
                    fast => #{type => boolean, value => true}}),
    ?assertEqual(#{retries => 0, model => <<"small">>, fast => true}, Settings()),
    {ok, 4} = Set(#{model => <<"large">>, fast => false, retries => 10}),
    ?assertEqual(#{retries => 10, model => <<"large">>, fast => false}, Settings()),
    {ok, 5} = Set(#{fast => undefined}),
    ?assertEqual(#{retries => 10, model => <<"large">>}, Settings()),
    reopen(Config, L),
    ?assertEqual(#{retries => 10, model => <<"large">>}, Settings()),
    close(L).

a_run_keeps_the_settings_it_began_with(Config) ->
    L = open(Config, [rule(<<"cap">>, all, cost, lifetime, 100)],
             #{settings => #{retries => #{type => integer, value => 3}}}),
    at(L, ?NOON),
    {ok, #{version := Version}} = cost_ledger:policy(L),
    {ok, Run} = cost_ledger:reserve(L, #{kind => run, cost => 50, policy_version => Version}),
    Later = #{settings => #{retries => 9}, rules => [rule(<<"cap">>, all, cost, lifetime, 60)]},
    {ok, 2} = cost_ledger:set_policy(L, Later, ?BY),
    {ok, #{settings := #{retries := 3}}} = cost_ledger:policy(L, Version),
    {ok, #{settings := #{retries := 9}}} = cost_ledger:policy(L),
    %% Limits are shared with others: they apply as they are now.
    ?assertEqual([<<"cap">>], denying(L, #{state => executing, cost => 11,
                                           policy_version => Version})),
    {ok, Step} = cost_ledger:reserve(L, #{state => executing, cost => 50, parent => Run,
                                          policy_version => Version}),
    {ok, _} = cost_ledger:settle(Step, #{cost => 50}),
    ?assertMatch([#{policy_version := Version}], cost_ledger:history(L, #{})),
    {ok, _} = cost_ledger:settle(Run, #{cost => 50}),
    refused(fun() -> cost_ledger:reserve(L, #{kind => run, cost => 1, policy_version => 3}) end),
    close(L).

a_reset_counts_from_now_on(Config) ->
    L = open(Config, [rule(<<"month">>, all, cost, {calendar, month, 0}, 100),
                      rule(<<"hour">>, all, cost, {rolling, ?HOUR}, 100),
                      rule(<<"ever">>, all, cost, lifetime, 1000)]),
    Used = fun() -> [used(L, all, Name) || Name <- [<<"month">>, <<"hour">>, <<"ever">>]] end,
    at(L, ?NOON),
    spend(L, paid(<<"u">>, 100)),
    {ok, Hold} = cost_ledger:reserve(L, paid(<<"u">>, 0)),
    ?assertEqual([<<"hour">>, <<"month">>], denying(L, paid(<<"u">>, 1))),
    {ok, Id} = cost_ledger:reset(L, <<"month">>, ?BY),
    ?assert(is_integer(Id)),
    ?assertEqual([0, 100, 100], Used()),
    {ok, _} = cost_ledger:reset(L, <<"hour">>, ?BY),
    {ok, _} = cost_ledger:reset(L, <<"ever">>, ?BY),
    ?assertEqual([0, 0, 0], Used()),
    ok = cost_ledger:check_budget(L, executing),
    {ok, _} = cost_ledger:settle(Hold, #{cost => 40}),
    ?assertEqual([40, 40, 40], Used()),
    reopen(Config, L),
    ?assertEqual([40, 40, 40], Used()),
    %% What was booked stays booked.
    ?assertEqual([40, 100], [Cost || #{cost := Cost} <- cost_ledger:history(L, #{})]),
    close(L).

a_reset_of_one_value_leaves_the_others(Config) ->
    L = open(Config, [rule(<<"user">>, #{user => each}, cost, {calendar, day, 0}, 100)]),
    at(L, ?NOON),
    [spend(L, paid(User, 100)) || User <- [<<"u1">>, <<"u2">>]],
    {ok, _} = cost_ledger:reset(L, <<"user">>, ?BY#{scope => #{user => <<"u1">>}}),
    ?assertEqual([0, 100], [used(L, #{user => User}, <<"user">>) || User <- [<<"u1">>, <<"u2">>]]),
    ?assertEqual([], denying(L, paid(<<"u1">>, 100))),
    ?assertEqual([<<"user">>], denying(L, paid(<<"u2">>, 1))),
    {ok, _} = cost_ledger:reset(L, <<"user">>, ?BY),
    ?assertEqual([0, 0], [used(L, #{user => User}, <<"user">>) || User <- [<<"u1">>, <<"u2">>]]),
    close(L).

granted_rules_and_unknown_rules_are_not_reset(Config) ->
    L = open(Config, [rule(<<"prepaid">>, #{org => ?ACME}, credits, lifetime, granted)]),
    at(L, ?NOON),
    {ok, _} = grant(L, #{org => ?ACME}, 10),
    spend(L, #{state => executing, org => ?ACME, credits => 10}),
    Before = snapshot(L),
    [refused(fun() -> cost_ledger:reset(L, Name, ?BY) end)
     || Name <- [<<"prepaid">>, <<"unknown">>]],
    ?assertEqual(Before, snapshot(L)),
    ?assertMatch({ok, #{credits := #{used := 10}}}, cost_ledger:balance(L, #{org => ?ACME})),
    close(L).

%%% Series -------------------------------------------------------------------------------------

what_is_not_declared_is_refused_with_the_declaration(Config) ->
    L = open(Config, []),
    at(L, ?NOON),
    Before = snapshot(L),
    [begin
         Text = refused(Refused),
         [mentions(Text, Word) || Word <- [series, org, project]]
     end || Refused <- [fun() ->
                                cost_ledger:set_policy(
                                  L, #{rules => [rule(<<"r">>, #{org => ?ACME, project => each},
                                                      cost, lifetime, 1)]}, ?BY)
                        end,
                        fun() -> grant(L, #{org => ?ACME, project => <<"p">>}, 1) end,
                        fun() -> cost_ledger:balance(L, #{org => ?ACME, project => <<"p">>}) end]],
    ?assertEqual(Before, snapshot(L)),
    close(L),
    {error, Reason} =
        cost_ledger_test:open(?config(path, Config) ++ "-new",
                              #{rules => [rule(<<"r">>, #{project => each}, cost, lifetime, 1)]}),
    [mentions(io_lib:format("~tp", [Reason]), Word) || Word <- [series, project]],
    cost_ledger_test:remove(?config(path, Config) ++ "-new").

%% Everything is counted once: what was there, and what comes while it is built.
a_series_declared_later_counts_what_was_there(Config) ->
    Path = ?config(path, Config),
    L = cost_ledger_test:open(Path, #{rules => []}),
    at(L, ?NOON),
    Users = [<<"u", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 10)],
    SpendAll = fun(Times) ->
                       fun(Number) ->
                               [spend(L, #{state => executing, org => ?ACME, cost => Number,
                                           user => lists:nth(1 + (Number + N) rem 10, Users)})
                                || N <- lists:seq(1, Times)]
                       end
               end,
    _ = in_parallel(100, SpendAll(30)),
    close(L),
    L = cost_ledger_test:open(L, Path, #{series => [[user], [user, org]]}),
    Spender = spawn_monitor(fun() -> in_parallel(20, SpendAll(10)) end),
    Rules = [rule(<<"user">>, #{user => each}, cost, lifetime, 1),
             rule(<<"both">>, #{org => ?ACME, user => each}, invocations, lifetime, infinity)],
    eventually(fun() ->
                       case cost_ledger:set_policy(L, #{rules => Rules}, ?BY) of
                           {ok, 2} -> true;
                           {error, {building, Text}} when is_binary(Text) -> false
                       end
               end),
    receive {'DOWN', Monitor, process, Pid, Reason} when {Pid, Monitor} =:= Spender ->
            normal = Reason
    end,
    Records = cost_ledger:history(L, #{limit => 1 bsl 40}),
    ?assertEqual(3200, length(Records)),
    [begin
         Scope = #{org => ?ACME, user => User},
         Costs = [Cost || #{user := Of, cost := Cost} <- Records, Of =:= User],
         ?assertEqual({User, lists:sum(Costs), length(Costs)},
                      {User, used(L, Scope, <<"user">>), used(L, Scope, <<"both">>)})
     end || User <- Users],
    ?assertEqual([<<"user">>], denying(L, paid(hd(Users), 1))),
    ?assertEqual([], denying(L, paid(<<"new">>, 1))),
    close(L).

series_stay_declared(Config) ->
    L = open(Config, [rule(<<"pair">>, #{org => each, user => each}, cost, lifetime, 10)]),
    at(L, ?NOON),
    Pair = #{org => ?ACME, user => <<"u">>},
    spend(L, Pair#{state => executing, cost => 9}),
    reopen(Config, L),
    spend(L, Pair#{state => executing, cost => 1}),
    ?assertMatch(#{used := 10}, told(L, Pair, <<"pair">>)),
    {ok, #{series := Series}} = cost_ledger:policy(L),
    ?assertEqual([], [[org], [user], [org, user]] -- Series),
    close(L).

%%% Ids ----------------------------------------------------------------------------------------

an_invocation_sent_again_is_booked_once(Config) ->
    L = open(Config, [rule(<<"cap">>, all, cost, lifetime, 100)]),
    at(L, ?NOON),
    Meta = #{id => <<"call 1">>, cost => 10, user => <<"u">>},
    ok = cost_ledger:record_invocation(L, executing, Meta),
    [#{id := Id}] = cost_ledger:history(L, #{}),
    Again = fun() ->
                    ok = cost_ledger:record_invocation(L, executing, Meta),
                    [{error, {conflict, Id}} = cost_ledger:record_invocation(L, State, Other)
                     || {State, Other} <- [{executing, Meta#{cost => 11}}, {improving, Meta},
                                           {executing, maps:remove(cost, Meta)},
                                           {executing, Meta#{user => <<"v">>}}]],
                    ?assertEqual(10, used(L, all, <<"cap">>)),
                    ?assertMatch([_], cost_ledger:history(L, #{}))
            end,
    Again(),
    at(L, ?NOON + ?DAY),
    Again(),
    reopen(Config, L),
    Again(),
    %% Without an id, and under another one, it is another call.
    ok = cost_ledger:record_invocation(L, executing, maps:remove(id, Meta)),
    ok = cost_ledger:record_invocation(L, executing, Meta#{id => "call 2"}),
    ?assertEqual(30, used(L, all, <<"cap">>)),
    close(L).

a_grant_sent_again_is_granted_once(Config) ->
    L = open(Config, []),
    at(L, ?NOON),
    Options = ?BY#{kind => topup, id => "top-1"},
    {ok, Id} = cost_ledger:grant(L, #{org => ?ACME}, 100, Options),
    Again = fun() ->
                    {ok, Id} = cost_ledger:grant(L, #{org => ?ACME}, 100, Options),
                    [{error, {conflict, Id}} = cost_ledger:grant(L, Account, Amount, Other)
                     || {Account, Amount, Other} <-
                            [{#{org => ?ACME}, 101, Options}, {#{org => <<"bolt">>}, 100, Options},
                             {#{org => ?ACME}, 100, Options#{kind => purchase}},
                             {#{org => ?ACME}, 100, Options#{measure => cost}}]],
                    ?assertMatch({ok, #{credits := #{granted := 100}, cost := #{granted := 0}}},
                                 cost_ledger:balance(L, #{org => ?ACME})),
                    ?assertMatch({ok, #{credits := #{granted := 0}}},
                                 cost_ledger:balance(L, #{org => <<"bolt">>}))
            end,
    Again(),
    spend(L, #{state => executing, org => ?ACME, credits => 100}),
    reopen(Config, L),
    Again(),
    close(L).

a_reset_sent_again_resets_once(Config) ->
    L = open(Config, [rule(<<"one">>, all, cost, lifetime, 100),
                      rule(<<"two">>, all, cost, lifetime, 100)]),
    at(L, ?NOON),
    spend(L, paid(<<"u">>, 100)),
    Options = ?BY#{id => <<"reset 1">>},
    {ok, Id} = cost_ledger:reset(L, <<"one">>, Options),
    spend(L, paid(<<"u">>, 7)),
    Again = fun() ->
                    {ok, Id} = cost_ledger:reset(L, <<"one">>, Options),
                    {error, {conflict, Id}} = cost_ledger:reset(L, <<"two">>, Options),
                    ?assertEqual([7, 107], [used(L, all, Name) || Name <- [<<"one">>, <<"two">>]])
            end,
    Again(),
    reopen(Config, L),
    Again(),
    close(L).

a_policy_sent_again_is_set_once(Config) ->
    Cap = fun(Limit) -> #{rules => [rule(<<"cap">>, all, cost, lifetime, Limit)]} end,
    L = open(Config, []),
    at(L, ?NOON),
    Options = ?BY#{id => <<"change 1">>},
    {ok, 2} = cost_ledger:set_policy(L, Cap(5), Options),
    {ok, [#{id := Id}]} = cost_ledger:policy_history(L),
    {ok, 3} = cost_ledger:set_policy(L, Cap(6), ?BY),
    Again = fun() ->
                    %% The answer of then; what others changed since stays.
                    {ok, 2} = cost_ledger:set_policy(L, Cap(5), Options),
                    {error, {conflict, Id}} = cost_ledger:set_policy(L, Cap(7), Options),
                    {ok, #{version := 3, rules := [#{limit := 6}]}} = cost_ledger:policy(L),
                    ?assertMatch({ok, [_, _]}, cost_ledger:policy_history(L))
            end,
    Again(),
    reopen(Config, L),
    Again(),
    close(L).

a_change_that_changes_nothing_keeps_its_id(Config) ->
    Rules = [rule(<<"one">>, all, cost, lifetime, 1), rule(<<"two">>, all, cost, lifetime, 2)],
    L = open(Config, Rules),
    at(L, ?NOON),
    Cap = #{rules => [rule(<<"cap">>, all, cost, lifetime, 5)]},
    Same = #{rules => lists:reverse(Rules)},
    Options = ?BY#{id => <<"change 1">>},
    {ok, 1} = cost_ledger:set_policy(L, Same, Options),
    {ok, 2} = cost_ledger:set_policy(L, Cap, ?BY),
    Again = fun() ->
                    {ok, 1} = cost_ledger:set_policy(L, Same, Options),
                    [{error, {conflict, 0}} = Call()
                     || Call <- [fun() -> cost_ledger:set_policy(L, Cap, Options) end,
                                 fun() -> cost_ledger:set_policy(L, #{}, Options) end,
                                 fun() -> cost_ledger:set_budgets(L, #{}, Options) end,
                                 fun() -> cost_ledger:set_policy(L, Same, Options#{by => me}) end,
                                 fun() -> cost_ledger:reset(L, <<"cap">>, Options) end,
                                 fun() -> cost_ledger:record_invocation(
                                            L, executing, #{id => <<"change 1">>})
                                 end]],
                    {ok, #{version := 2, rules := [#{name := <<"cap">>}]}} = cost_ledger:policy(L),
                    ?assertMatch({ok, [#{version := 2}]}, cost_ledger:policy_history(L)),
                    ?assertEqual([], cost_ledger:history(L, #{}))
            end,
    Again(),
    reopen(Config, L),
    Again(),
    close(L).

an_id_is_that_of_one_request_of_any_kind(Config) ->
    L = open(Config, [rule(<<"cap">>, all, cost, lifetime, 100)]),
    at(L, ?NOON),
    Id = <<"one">>,
    ok = cost_ledger:record_invocation(L, executing, #{id => Id, cost => 1}),
    [#{id := Entry}] = cost_ledger:history(L, #{}),
    {ok, Hold} = cost_ledger:reserve(L, #{state => executing, cost => 1}),
    Before = snapshot(L),
    ?assertEqual([{error, {conflict, Entry}}],
                 lists:usort([cost_ledger:reserve(L, #{state => executing, cost => 1, id => Id}),
                              cost_ledger:settle(Hold, #{cost => 1, id => Id}),
                              cost_ledger:meter(Hold, #{cost => 1, id => Id}),
                              cost_ledger:release(Hold, #{id => Id}),
                              cost_ledger:grant(L, all, 1, ?BY#{kind => topup, id => Id}),
                              cost_ledger:reset(L, <<"cap">>, ?BY#{id => Id}),
                              cost_ledger:set_policy(L, #{rules => []}, ?BY#{id => Id})])),
    ?assertEqual(Before, snapshot(L)),
    close(L).

a_hundred_senders_of_one_id_book_once(Config) ->
    L = open(Config, [rule(<<"cap">>, all, cost, lifetime, 1000)]),
    at(L, ?NOON),
    Send = fun(_) -> cost_ledger:record_invocation(L, executing, #{id => <<"one">>, cost => 1}) end,
    ?assertEqual([ok], lists:usort(in_parallel(100, Send))),
    Answers = in_parallel(100, fun(N) ->
                                       cost_ledger:record_invocation(L, executing,
                                                                     #{id => <<"two">>, cost => N})
                               end),
    ?assertEqual(1, length([ok || ok <- Answers])),
    [#{id := Second}, _] = cost_ledger:history(L, #{}),
    ?assertEqual([Second], lists:usort([Id || {error, {conflict, Id}} <- Answers])),
    close(L).

%%% Refusals -----------------------------------------------------------------------------------

wrong_rules_are_refused_by_name_and_change_nothing(Config) ->
    L = open(Config, [rule(<<"cap">>, all, cost, lifetime, 5)]),
    at(L, ?NOON),
    spend(L, paid(<<"u">>, 1)),
    Before = snapshot(L),
    Good = rule(<<"good">>, all, cost, lifetime, 5),
    [begin
         Wrong = {rule, Rule, answered,
                  cost_ledger:set_policy(L, #{rules => [rule(<<"first">>, all, cost, lifetime, 1),
                                                        Rule]}, ?BY)},
         {rule, _, answered, {error, {bad_policy, Path, Text}}} = Wrong,
         ?assert(is_list(Path) andalso byte_size(Text) > 20, Wrong),
         mentions(io_lib:format("~0tp ~ts", [Path, Text]), Word)
     end || {Rule, Word} <- wrong_rules(Good)],
    ?assertEqual(Before, snapshot(L)),
    {ok, 2} = cost_ledger:set_policy(L, #{rules => [Good]}, ?BY),
    close(L).

wrong_rules(Good) ->
    [{maps:remove(Key, Good), Key} || Key <- [name, scope, measure, window, limit]]
        ++ [{Good#{Key => Value}, Key}
            || {Key, Values} <-
                   [{name, [<<>>, 5, nil, <<255, 254>>]},
                    {scope, [everything, nil, [], "user", <<"all">>, #{}]},
                    {measure, [dollars, nil, "cost", 1]},
                    {window, [hour, nil, ?HOUR, {rolling, 0}, {rolling, -1}, {rolling, 1.5},
                              {rolling, hour}, {calendar, year, 0}, {calendar, day},
                              {calendar, day, 7}, {calendar, day, 1095}, {calendar, month, -1095},
                              {calendar, week, 0.0}, forever]},
                    {limit, [-1, 1.5, nil, "5", <<"5">>, all, 1 bsl 64, undefined]},
                    {warn, [80, nil, ["80"], [-5], [80.5], [nil], all]},
                    {soft, [-1, "80", 80.0, nil, all]},
                    {on_exhausted, [stop, nil, true]},
                    %% Of grants only.
                    {grace, [5, -1, 0.5]},
                    {require, [1, nil, "true"]},
                    {default_estimate, [-1, 0.004, nil, "5"]},
                    %% With each only.
                    {max_values, [5, -1, all]}],
               Value <- Values]
        ++ [{Good#{scope => #{colour => red}}, colour},
            {Good#{scope => #{user => 5}}, user},
            {Good#{scope => #{user => <<>>}}, user},
            {Good#{scope => #{user => <<255, 254>>}}, user},
            {Good#{scope => #{"user" => <<"u">>}}, "user"},
            %% Known dimensions that are not declared as a series.
            {Good#{scope => #{project => <<"p">>}}, series},
            {Good#{scope => #{org => each, project => each}}, series},
            {Good#{scope => #{state => daydreaming}}, daydreaming},
            {Good#{scope => #{state => total}}, total},
            {Good#{scope => #{user => each}, max_values => -1}, max_values},
            {Good#{limit => granted, grace => -1}, grace},
            {Good#{limits => 5}, limits},
            {Good#{<<"warn">> => [80]}, "warn"},
            {rule(<<"first">>, all, tokens, lifetime, 5), "first"},
            {nil, rules}, {5, rules}, {good, rules}].

wrong_settings_are_refused_by_name_and_change_nothing(Config) ->
    L = open(Config, [], #{settings => #{retries => #{type => integer, min => 0, max => 10,
                                                      value => 3},
                                         model => #{type => string, one_of => [<<"small">>],
                                                    value => <<"small">>},
                                         fast => #{type => boolean, value => true}}}),
    Before = snapshot(L),
    [begin
         {error, {bad_policy, Path, Text}} =
             cost_ledger:set_policy(L, #{settings => #{Key => Value}}, ?BY),
         ?assert(byte_size(Text) > 20),
         mentions(io_lib:format("~0tp ~ts", [Path, Text]), Key)
     end || {Key, Value} <- [{retries, -1}, {retries, 11}, {retries, 3.0}, {retries, "3"},
                             {retries, true}, {retries, <<"3">>}, {model, <<"large">>},
                             {model, 5}, {fast, 1}, {fast, <<"true">>}, {fast, yes},
                             %% Never declared.
                             {tries, 3},
                             {tries, #{type => float, value => 1.0}}, {tries, #{value => 3}},
                             {tries, #{type => integer}},
                             {tries, #{type => integer, value => <<"3">>}},
                             {tries, #{type => integer, min => 5, value => 3}},
                             {tries, #{type => integer, min => 5, max => 3, value => 4}},
                             {tries, #{type => string, one_of => [<<"a">>], value => <<"b">>}},
                             {tries, #{type => integer, value => 3, maximum => 5}}]],
    {error, {bad_policy, _, _}} = cost_ledger:set_policy(L, #{settings => [retries]}, ?BY),
    ?assertEqual(Before, snapshot(L)),
    close(L).

wrong_policies_are_refused_and_change_nothing(Config) ->
    L = open(Config, []),
    Before = snapshot(L),
    Rules = [rule(<<"cap">>, all, cost, lifetime, 5)],
    [?assertMatch({Policy, {error, {bad_policy, _, _}}},
                  {Policy, cost_ledger:set_policy(L, Policy, ?BY)})
     || Policy <- [#{rules => nil}, #{rules => hd(Rules)}, #{rulez => Rules},
                   #{rules => Rules, version => "1"}, #{rules => Rules ++ Rules}]],
    [refused(fun() -> cost_ledger:set_policy(L, Policy, ?BY) end) || Policy <- [nil, 5, "rules"]],
    {error, {version_conflict, Text}} =
        cost_ledger:set_policy(L, #{rules => Rules, version => 7}, ?BY),
    ?assert(is_binary(Text)),
    [{3, _} = badarg_text(fun() -> cost_ledger:set_policy(L, #{rules => Rules}, Change) end)
     || Change <- [#{}, nil, #{by => me}, #{reason => "x"}, #{by => <<>>, reason => "x"},
                   ?BY#{id => <<>>}, ?BY#{id => binary:copy(<<"i">>, 1001)}, ?BY#{id => 5}]],
    ?assertEqual(Before, snapshot(L)),
    close(L).

wrong_start_options_are_refused(Config) ->
    Path = ?config(path, Config),
    [begin
         {Options, {error, Reason}} = {Options, cost_ledger_test:open(Path, Options)},
         mentions(io_lib:format("~0tp", [Reason]), Word)
     end || {Options, Word} <-
                [{#{series => [[colour]]}, colour}, {#{series => [user]}, series},
                 {#{series => user}, series}, {#{series => [[user, user]]}, user},
                 {#{series => [[]]}, series}, {#{series => [["user"]]}, series},
                 {#{rules => 5}, rules}, {#{rules => #{}}, rules},
                 {#{rules => [rule(<<"cap">>, all, cost, lifetime, -1)]}, limit},
                 {#{rules => [rule(<<"cap">>, all, money, lifetime, 1)]}, measure},
                 {#{settings => [5]}, settings},
                 {#{settings => #{retries => 5}}, retries}]],
    %% None of them left anything that a good start would stumble over.
    L = cost_ledger_test:open(Path, #{rules => []}),
    {ok, #{version := 1, rules := []}} = cost_ledger:policy(L),
    close(L).

wrong_grants_are_refused_and_change_nothing(Config) ->
    L = open(Config, [rule(<<"prepaid">>, #{org => ?ACME}, credits, lifetime, granted)]),
    at(L, ?NOON),
    {ok, _} = grant(L, #{org => ?ACME}, 10),
    Seen = fun() -> {snapshot(L), cost_ledger:balance(L, #{org => ?ACME})} end,
    Before = Seen(),
    Options = ?BY#{kind => purchase},
    [?assertMatch({Amount, <<_/binary>>},
                  {Amount, refused(fun() -> cost_ledger:grant(L, #{org => ?ACME}, Amount, Options)
                                   end)})
     || Amount <- [0, 1.0, 0.5, -1, nil, "10", <<"10">>, infinity, 1 bsl 70]],
    refused(fun() -> cost_ledger:grant(L, #{org => ?ACME}, 0, Options#{kind => adjustment}) end),
    [?assertMatch({Wrong, <<_/binary>>},
                  {Wrong, refused(fun() -> cost_ledger:grant(L, #{org => ?ACME}, 10, Wrong) end)})
     || Wrong <- [#{}, nil, #{kind => purchase}, maps:remove(by, Options),
                  maps:remove(reason, Options), Options#{by => <<>>}, Options#{kind => gift},
                  Options#{measure => tokens}, Options#{measure => dollars},
                  Options#{id => <<>>}, Options#{id => 5}]],
    [?assertMatch({Account, <<_/binary>>},
                  {Account, refused(fun() -> cost_ledger:grant(L, Account, 10, Options) end)})
     || Account <- [#{org => each}, #{colour => red}, #{org => 5}, #{project => <<"p">>}, ?ACME,
                    nil, #{state => daydreaming}]],
    [?assertMatch({Account, <<_/binary>>},
                  {Account, refused(fun() -> cost_ledger:balance(L, Account) end)})
     || Account <- [#{org => each}, #{colour => red}, #{project => <<"p">>}, nil]],
    ?assertEqual(Before, Seen()),
    close(L).

wrong_resets_are_refused_and_change_nothing(Config) ->
    L = open(Config, [rule(<<"user">>, #{user => each}, cost, lifetime, 100)]),
    at(L, ?NOON),
    spend(L, paid(<<"u">>, 50)),
    Before = snapshot(L),
    [?assertMatch({Name, Options, <<_/binary>>},
                  {Name, Options, refused(fun() -> cost_ledger:reset(L, Name, Options) end)})
     || {Name, Options} <- [{<<"user">>, #{}}, {<<"user">>, #{by => me}}, {<<"user">>, nil},
                            {<<"other">>, ?BY}, {5, ?BY}, {<<>>, ?BY},
                            {<<"user">>, ?BY#{scope => #{org => ?ACME}}},
                            {<<"user">>, ?BY#{scope => #{user => 5}}},
                            {<<"user">>, ?BY#{scope => nonsense}}, {<<"user">>, ?BY#{id => 5}}]],
    ?assertEqual(Before, snapshot(L)),
    ?assertEqual(50, used(L, #{user => <<"u">>}, <<"user">>)),
    close(L).

a_reset_names_every_dimension_of_its_rule_and_no_other(Config) ->
    L = open(Config, [rule(<<"all">>, all, cost, lifetime, 100),
                      rule(<<"acme">>, #{org => ?ACME}, cost, lifetime, 100),
                      rule(<<"user">>, #{user => each}, cost, lifetime, 100),
                      rule(<<"pair">>, #{org => each, user => each}, cost, lifetime, 100),
                      rule(<<"users of acme">>, #{org => ?ACME, user => each}, tokens, lifetime,
                           100)]),
    at(L, ?NOON),
    Pair = #{org => ?ACME, user => <<"u">>},
    spend(L, Pair#{state => executing, cost => 50, tokens => #{input => 50}}),
    Names = [<<"all">>, <<"acme">>, <<"user">>, <<"pair">>, <<"users of acme">>],
    Used = fun() -> [used(L, Pair, Name) || Name <- Names] end,
    Before = {snapshot(L), Used()},
    [?assertMatch({Name, Scope, <<_/binary>>},
                  {Name, Scope,
                   refused(fun() -> cost_ledger:reset(L, Name, ?BY#{scope => Scope}) end)})
     || {Name, Scope} <-
            [{<<"all">>, #{user => <<"u">>}}, {<<"all">>, #{state => executing}},
             %% One budget, not one of each.
             {<<"acme">>, #{org => ?ACME}}, {<<"acme">>, #{org => <<"bolt">>}}, {<<"acme">>, Pair},
             {<<"user">>, Pair}, {<<"user">>, #{org => ?ACME}},
             {<<"user">>, #{user => <<"u">>, state => executing}},
             {<<"user">>, #{user => each}}, {<<"user">>, #{usr => <<"u">>}},
             {<<"user">>, #{user => <<"u">>, colour => red}},
             {<<"pair">>, #{user => <<"u">>}}, {<<"pair">>, #{org => ?ACME}},
             {<<"pair">>, Pair#{project => <<"p">>}},
             {<<"users of acme">>, #{user => <<"u">>}},
             {<<"users of acme">>, #{org => <<"bolt">>, user => <<"u">>}}]],
    ?assertEqual(Before, {snapshot(L), Used()}),
    [begin
         {ok, _} = cost_ledger:reset(L, Name, ?BY#{scope => Scope}),
         ?assertEqual(0, used(L, Pair, Name))
     end || {Name, Scope} <- [{<<"user">>, #{user => <<"u">>}}, {<<"pair">>, Pair},
                              {<<"users of acme">>, Pair}]],
    ?assertEqual([50, 50, 0, 0, 0], Used()),
    close(L).

%% It gives no value for any dimension of the rule. Without a scope is how all are reset.
a_reset_of_no_value_is_refused(Config) ->
    L = open(Config, [rule(<<"user">>, #{user => each}, cost, lifetime, 100)]),
    at(L, ?NOON),
    spend(L, paid(<<"u">>, 50)),
    Before = snapshot(L),
    _ = refused(fun() -> cost_ledger:reset(L, <<"user">>, ?BY#{scope => #{}}) end),
    ?assertEqual(Before, snapshot(L)),
    ?assertEqual(50, used(L, #{user => <<"u">>}, <<"user">>)),
    close(L).

unknown_keys_of_a_change_are_the_callers_error(Config) ->
    L = open(Config, [rule(<<"cap">>, all, cost, lifetime, 100)]),
    at(L, ?NOON),
    spend(L, paid(<<"u">>, 50)),
    Before = snapshot(L),
    Policy = #{rules => []},
    Budgets = #{executing => #{max_per_hour => 1}},
    [begin
         {Position, Text} = badarg_text(fun() -> Call(?BY#{Key => Value}) end),
         mentions(Text, Word)
     end || {Key, Value, Word} <- [{reasons, <<"x">>, reasons}, {version, 1, version},
                                   {"id", <<"i">>, "id"}, {<<"by">>, me, "by"}, {5, 5, "5"}],
            {Position, Call} <-
                [{3, fun(Change) -> cost_ledger:set_policy(L, Policy, Change) end},
                 {3, fun(Change) -> cost_ledger:set_budgets(L, Budgets, Change) end},
                 {3, fun(Change) -> cost_ledger:reset(L, <<"cap">>, Change) end},
                 {4, fun(Change) -> cost_ledger:grant(L, all, 5, Change#{kind => topup}) end}]],
    %% A scope is a reset's, kind and measure are a grant's.
    [{3, _} = badarg_text(Call)
     || Call <- [fun() -> cost_ledger:set_policy(L, Policy, ?BY#{scope => all}) end,
                 fun() -> cost_ledger:set_budgets(L, Budgets, ?BY#{scope => all}) end,
                 fun() -> cost_ledger:reset(L, <<"cap">>, ?BY#{kind => topup}) end]],
    {4, _} = badarg_text(fun() -> cost_ledger:grant(L, all, 5, ?BY#{kind => topup, scope => all})
                         end),
    ?assertEqual(Before, snapshot(L)),
    close(L).

what_is_too_large_after_the_merge_is_refused(Config) ->
    L = open(Config, []),
    Rules = [rule(integer_to_binary(N), all, cost, lifetime, infinity)
             || N <- lists:seq(1, 4096)],
    New = #{dreaming => #{max_per_hour => 1}},
    Refused = fun(Path, Calls) ->
                      Before = snapshot(L),
                      [begin
                           {error, {bad_policy, Path, Text}} = Call(),
                           ?assert(byte_size(Text) > 20)
                       end || Call <- Calls],
                      ?assertEqual(Before, snapshot(L))
              end,
    Refused([rules], [fun() -> cost_ledger:set_policy(L, #{rules => Rules, budgets => New}, ?BY)
                      end]),
    {ok, 2} = cost_ledger:set_policy(L, #{rules => Rules}, ?BY),
    Refused([rules],
            [fun() -> cost_ledger:set_policy(L, #{budgets => New}, ?BY) end,
             fun() -> cost_ledger:set_budgets(L, New, ?BY) end,
             fun() -> cost_ledger:set_budgets(L, New, ?BY#{id => <<"i">>}) end,
             %% Declared, and without rules of their own so far.
             fun() -> cost_ledger:set_budgets(L, #{executing => #{max_per_day => 1}}, ?BY) end]),
    {ok, 3} = cost_ledger:set_policy(L, #{rules => []}, ?BY),
    %% Three are there.
    Refused([budgets], [fun() -> cost_ledger:set_policy(L, #{budgets => states(1022)}, ?BY) end,
                        fun() -> cost_ledger:set_budgets(L, states(1022), ?BY) end]),
    {ok, 4} = cost_ledger:set_budgets(L, states(1021), ?BY),
    Refused([budgets], [fun() -> cost_ledger:set_budgets(L, New, ?BY) end,
                        fun() -> cost_ledger:set_policy(L, #{rules => [], budgets => New}, ?BY)
                        end]),
    Refused([version], [fun() -> cost_ledger:set_policy(L, #{version => Version}, ?BY) end
                        || Version <- [1 bsl 63, 1 bsl 64, 1 bsl 200, -1 bsl 64, 0, 4.0]]),
    {error, {version_conflict, _}} = cost_ledger:set_policy(L, #{version => 1 bsl 63 - 1}, ?BY),
    close(L).

states(Count) ->
    maps:from_list([{list_to_atom("state " ++ integer_to_list(N)), #{}}
                    || N <- lists:seq(1, Count)]).

start_options_that_are_too_large_together_are_refused(Config) ->
    Path = ?config(path, Config),
    Rules = [rule(integer_to_binary(N), all, cost, lifetime, infinity)
             || N <- lists:seq(1, 4096)],
    InRules = [rule(Name, #{state => Name}, cost, lifetime, infinity)
               || Name <- maps:keys(states(1022))],
    Answers = [{What, start_answer(cost_ledger_test:open(Path, Options))}
               || {What, Options} <- [{states, #{budgets => states(1022)}},
                                      {states_of_rules, #{rules => InRules}},
                                      {rules, #{rules => Rules, budgets => #{dreaming => #{}}}}]],
    ?assertEqual([{What, refused} || What <- [states, states_of_rules, rules]], Answers),
    L = cost_ledger_test:open(Path, #{rules => Rules, budgets => #{}}),
    {ok, #{version := 1}} = cost_ledger:policy(L),
    close(L).

%% What it is in short: a report of that policy would fill a book.
start_answer({error, {Name, Path, Text}})
  when is_atom(Name), is_list(Path), is_binary(Text) -> refused;
start_answer({error, {Name, Text}}) when is_atom(Name), is_binary(Text) -> refused;
start_answer({error, {Name, _}}) -> {crashed, Name};
start_answer(Name) when is_atom(Name) -> ok = cost_ledger:stop(Name), started.

%% Whoever sends them is told which argument is wrong, or gets an error as the answer.
hostile_terms_are_the_callers_error(Config) ->
    L = open(Config, [rule(<<"cap">>, all, cost, lifetime, 100)],
             #{settings => #{retries => #{type => integer, min => 0, value => 3}}}),
    at(L, ?NOON),
    {ok, Hold} = cost_ledger:reserve(L, paid(<<"u">>, 1)),
    Children = [child(L, Child) || Child <- [owner, writer]],
    Before = snapshot(L),
    Calls = lists:append([hostile_ledgers(Hold), hostile_options(Config), hostile_attributes(L),
                          hostile_usage(Hold), hostile_policies(L), hostile_changes(L),
                          hostile_accounts(L), hostile_readings(L)]),
    ct:log("~b calls", [length(Calls)]),
    ?assertEqual([], lists:flatmap(fun unrefused/1, Calls)),
    %% A child specification must not fail: starting it will.
    [?assertMatch({Term, #{id := _}}, {Term, cost_ledger:child_spec(Term)}) || Term <- hostile()],
    ?assertEqual(Before, snapshot(L)),
    ?assertEqual(Children, [child(L, Child) || Child <- [owner, writer]]),
    ok = cost_ledger:release(Hold),
    close(L).

hostile() ->
    [[a | b], [{cost, 1} | b], [[a | b]], [[]], {}, {a, b}, 1.5, -1, 1 bsl 64, <<1:3>>,
     <<255, 254>>, [1114112], [55296], make_ref(), fun() -> ok end, #{[a | b] => c},
     [{cost, 1}, {cost, 2}, cost]].

%% Each of the keys with each of the terms, and the terms as keys.
hostile_pairs(Keys) ->
    [{Key, Term} || Key <- Keys, Term <- hostile()] ++ [{Term, 1} || Term <- hostile()].

%% The calls that neither raise badarg with words nor answer an error.
unrefused({What, Call}) ->
    try badarg_text(Call) of
        {_Position, <<_, _/binary>>} -> []
    catch
        error:{no_badarg, {error, _}} -> [];
        Class:Reason -> [{What, Class, Reason}]
    end.

hostile_ledgers(Hold) ->
    Good = paid(<<"u">>, 1),
    [{{ledger, Function, Term}, fun() -> apply(cost_ledger, Function, [Term | Arguments]) end}
     || {Function, Arguments} <-
            [{stop, []}, {stats, []}, {holds, []}, {policy, []}, {policy_history, []},
             {subscribe, []}, {unsubscribe, []}, {i, []}, {accept_clock, []},
             {check_budget, [executing]}, {record_invocation, [executing, #{}]}, {check, [Good]},
             {reserve, [Good]}, {with_budget, [Good, fun(_) -> {release, ok} end]},
             {budget_status, [all]}, {grant, [all, 1, ?BY#{kind => topup}]}, {balance, [all]},
             {history, [#{}]}, {set_budgets, [#{}, ?BY]}, {set_policy, [#{}, ?BY]}, {policy, [1]},
             {reset, [<<"cap">>, ?BY]}, {set_clock, [?NOON]}, {advance_clock, [1]}],
        Term <- [Hold | hostile()]].

hostile_options(Config) ->
    Good = #{path => ?config(path, Config) ++ "-new", name => hostile},
    Keys = [name, path, budgets, rules, settings, series, clock, currency, map_size,
            max_entry_size, queue, sync, on_unavailable, call_timeout],
    [{{start_link, Options}, fun() -> cost_ledger:start_link(Options) end}
     || Options <- hostile() ++ [Good#{Key => Term} || {Key, Term} <- hostile_pairs(Keys),
                                                       not is_a_path(Key, Term)]].

%% To OTP as well: the last two are ab.
is_a_path(Key, Term) ->
    lists:member({Key, Term}, [{path, <<255, 254>>}, {path, [a | b]}, {path, [[a | b]]}]).

hostile_attributes(L) ->
    Keys = [state, org, project, user, agent, model, provider, prompt_type, kind, cost, credits,
            tokens, critical, owner, deadline_ms, parent, policy_version, id],
    Good = #{state => executing, cost => 1},
    [{{check_budget, Term}, fun() -> cost_ledger:check_budget(L, Term) end} || Term <- hostile()]
        ++ [{{record_invocation, Term}, fun() -> cost_ledger:record_invocation(L, Term, #{}) end}
            || Term <- hostile()]
        ++ [{{record_invocation, meta, Meta},
             fun() -> cost_ledger:record_invocation(L, executing, Meta) end}
            || Meta <- hostile() ++ [#{Key => Term} || {Key, Term} <- hostile_pairs(
                                                                        [duration_ms, status
                                                                         | Keys])]]
        ++ [{{Function, Attempt}, fun() -> cost_ledger:Function(L, Attempt) end}
            || Function <- [check, reserve],
               Attempt <- hostile() ++ [Good#{Key => Term} || {Key, Term} <- hostile_pairs(Keys),
                                                              %% check/2 leaves it aside.
                                                              {Function, Key} =/= {check, parent}]]
        ++ [{{with_budget, Term},
             fun() -> cost_ledger:with_budget(L, Term, fun(_) -> {release, ok} end) end}
            || Term <- hostile()]
        ++ [{{with_budget, function, Term}, fun() -> cost_ledger:with_budget(L, Good, Term) end}
            || Term <- hostile()].

hostile_usage(Hold) ->
    Keys = [cost, credits, tokens, status, duration_ms, model, provider, agent, prompt_type, id],
    [{{Function, Term}, fun() -> cost_ledger:Function(Term) end}
     || Function <- [hold_info, release], Term <- hostile()]
        ++ [{{Function, Term}, fun() -> cost_ledger:Function(Hold, Term) end}
            || Function <- [release, transfer], Term <- hostile()]
        ++ [{{Function, Usage}, fun() -> cost_ledger:Function(Hold, Usage) end}
            || Function <- [settle, meter],
               Usage <- hostile() ++ [#{Key => Term} || {Key, Term} <- hostile_pairs(Keys)]]
        ++ [{{release, id, Term}, fun() -> cost_ledger:release(Hold, #{id => Term}) end}
            || Term <- hostile()]
        ++ [{{transfer, options, Term}, fun() -> cost_ledger:transfer(Hold, self(), Term) end}
            || Term <- hostile()].

hostile_policies(L) ->
    Rule = rule(<<"cap">>, all, cost, lifetime, 5),
    Fast = #{type => boolean, value => true},
    Tries = #{type => integer, value => 1},
    Rules = [Rule#{Key => Term}
             || {Key, Term} <- hostile_pairs([name, scope, measure, window, limit, warn, soft,
                                              on_exhausted, grace, require, default_estimate,
                                              max_values])]
        ++ [Rule#{scope => #{Key => Term}} || {Key, Term} <- hostile_pairs([state, org, user])]
        ++ [Rule#{window => {Kind, Term}} || {Kind, Term} <- hostile_pairs([rolling])]
        ++ [Rule#{window => {calendar, day, Term}} || Term <- hostile()]
        ++ [Rule#{warn => [80 | Term]} || Term <- hostile()],
    Settings = [#{Key => Term} || {Key, Term} <- hostile_pairs([retries])]
        ++ [#{fast => Fast#{Key => Term}}
            || {Key, Term} <- hostile_pairs([type, value, min, max, one_of])]
        ++ [#{tries => Tries#{Key => Term}} || Key <- [min, max], Term <- hostile(),
                                               {Key, Term} =/= {min, -1}],
    Budgets = [#{Key => Term} || {Key, Term} <- hostile_pairs([executing])]
        ++ [#{executing => #{Key => Term}} || {Key, Term} <- hostile_pairs([max_per_hour])],
    Policies = hostile()
        ++ [#{Key => Term} || {Key, Term} <- hostile_pairs([rules, budgets, settings, version])]
        ++ [#{rules => [Rule | Term]} || Term <- hostile()]
        ++ [#{rules => [Wrong]} || Wrong <- Rules]
        ++ [#{settings => Wrong} || Wrong <- Settings]
        ++ [#{budgets => Wrong} || Wrong <- Budgets],
    [{{set_policy, Policy}, fun() -> cost_ledger:set_policy(L, Policy, ?BY) end}
     || Policy <- Policies]
        ++ [{{set_policy, with_id, Policy},
             fun() -> cost_ledger:set_policy(L, Policy, ?BY#{id => <<"hostile">>}) end}
            || Policy <- hostile() ++ [#{rules => Term} || Term <- hostile()]]
        ++ [{{set_budgets, Wrong}, fun() -> cost_ledger:set_budgets(L, Wrong, ?BY) end}
            || Wrong <- hostile() ++ Budgets].

hostile_changes(L) ->
    Changes = hostile() ++ [?BY#{Key => Term} || {Key, Term} <- hostile_pairs([by, reason, id])],
    Scopes = hostile() ++ [#{Key => Term} || {Key, Term} <- hostile_pairs([user])],
    [{{Function, Change}, fun() -> cost_ledger:Function(L, #{}, Change) end}
     || Function <- [set_policy, set_budgets], Change <- Changes]
        ++ [{{reset, Change}, fun() -> cost_ledger:reset(L, <<"cap">>, Change) end}
            || Change <- Changes ++ [?BY#{scope => Scope} || Scope <- Scopes]]
        ++ [{{reset, rule, Term}, fun() -> cost_ledger:reset(L, Term, ?BY) end}
            || Term <- hostile()].

hostile_accounts(L) ->
    Good = ?BY#{kind => topup},
    Accounts = hostile() ++ [#{Key => Term} || {Key, Term} <- hostile_pairs([org])],
    Options = hostile() ++ [Good#{Key => Term}
                            || {Key, Term} <- hostile_pairs([kind, by, reason, measure, id])],
    [{{grant, Account}, fun() -> cost_ledger:grant(L, Account, 5, Good) end}
     || Account <- Accounts]
        ++ [{{Function, Account}, fun() -> cost_ledger:Function(L, Account) end}
            || Function <- [balance, budget_status], Account <- Accounts]
        ++ [{{grant, amount, Term}, fun() -> cost_ledger:grant(L, all, Term, Good) end}
            || Term <- hostile()]
        ++ [{{grant, options, Wrong}, fun() -> cost_ledger:grant(L, all, 5, Wrong) end}
            || Wrong <- Options].

hostile_readings(L) ->
    [{{history, Term}, fun() -> cost_ledger:history(Term) end} || Term <- hostile()]
        ++ [{{history, Options}, fun() -> cost_ledger:history(L, Options) end}
            || Options <- hostile() ++ [#{Key => Term}
                                        || {Key, Term} <- hostile_pairs([state, since, limit]),
                                           %% From before time began; and all of them.
                                           {Key, Term} =/= {since, -1},
                                           {Key, Term} =/= {limit, 1 bsl 64}]]
        ++ [{{Function, Term}, fun() -> cost_ledger:Function(L, Term) end}
            || Function <- [policy, set_clock, advance_clock], Term <- hostile()].

a_wrong_attempt_is_the_callers_error(Config) ->
    L = open(Config, [rule(<<"cap">>, all, cost, lifetime, 100)]),
    at(L, ?NOON),
    Before = snapshot(L),
    Good = #{state => executing, cost => 1},
    [begin
         {2, Text} = badarg_text(fun() -> cost_ledger:Function(L, Attempt) end),
         mentions(Text, Word)
     end || Function <- [check, reserve],
            {Attempt, Word} <-
                [{Good#{cost => -1}, cost}, {Good#{cost => 0.004}, cost},
                 {Good#{cost => "1"}, cost}, {Good#{cost => 1 bsl 64}, cost},
                 {Good#{credits => 1.5}, credits}, {Good#{credits => -1}, credits},
                 {Good#{tokens => -1}, tokens}, {Good#{tokens => 1.5}, tokens},
                 {Good#{tokens => #{inputs => 5}}, inputs},
                 {Good#{tokens => #{input => -5}}, input},
                 {Good#{user => <<>>}, user}, {Good#{user => 5}, user},
                 {Good#{org => <<255, 254>>}, org},
                 {Good#{kind => grant}, kind}, {Good#{critical => 1}, critical},
                 {Good#{usr => <<"u">>}, usr}, {Good#{"cost" => 5}, "cost"},
                 {Good#{state => daydreaming}, "not declared"}, {Good#{state => "x"}, state},
                 {maps:remove(state, Good), state}, {nil, map}, {7, map}]],
    [begin
         {2, Text} = badarg_text(fun() -> cost_ledger:reserve(L, maps:merge(Good, Wrong)) end),
         mentions(Text, Word)
     end || {Wrong, Word} <- [{#{owner => me}, owner}, {#{deadline_ms => -1}, deadline_ms},
                              {#{deadline_ms => 1.5}, deadline_ms},
                              {#{deadline_ms => soon}, deadline_ms}, {#{parent => 5}, parent},
                              {#{policy_version => "1"}, policy_version}, {#{id => <<>>}, id},
                              {#{id => binary:copy(<<"i">>, 1001)}, id}, {#{id => 5}, id}]],
    [{3, _} = badarg_text(fun() -> cost_ledger:record_invocation(L, executing, #{id => Id}) end)
     || Id <- [<<>>, 5, binary:copy(<<"i">>, 1001)]],
    [{2, _} = badarg_text(fun() -> cost_ledger:budget_status(L, Scope) end)
     || Scope <- [nil, 5, #{colour => red}, #{user => 5}, #{user => <<>>}]],
    ?assertEqual(Before, snapshot(L)),
    close(L).

a_ledger_that_was_never_opened_is_the_callers_error(_Config) ->
    [begin
         {1, Text} = badarg_text(Call),
         mentions(Text, no_such_ledger)
     end || L <- [no_such_ledger],
            Call <- [fun() -> cost_ledger:check(L, #{state => executing}) end,
                     fun() -> cost_ledger:reserve(L, #{state => executing}) end,
                     fun() -> cost_ledger:holds(L) end,
                     fun() -> cost_ledger:budget_status(L, all) end,
                     fun() -> cost_ledger:grant(L, all, 1, ?BY#{kind => topup}) end,
                     fun() -> cost_ledger:balance(L, all) end,
                     fun() -> cost_ledger:policy(L) end,
                     fun() -> cost_ledger:policy(L, 1) end,
                     fun() -> cost_ledger:set_policy(L, #{}, ?BY) end,
                     fun() -> cost_ledger:reset(L, <<"r">>, ?BY) end,
                     fun() -> cost_ledger:subscribe(L) end]].

%%% Must not -----------------------------------------------------------------------------------

%% What one process was told is booked, the next one's decision knows.
no_decision_is_stale(Config) ->
    Cap = fun(Limit) -> #{rules => [rule(<<"cap">>, all, cost, {rolling, ?HOUR}, Limit)]} end,
    L = open(Config, maps:get(rules, Cap(10))),
    at(L, ?NOON),
    Elsewhere = fun(Attempt) ->
                        hd(in_parallel(1, fun(_) ->
                                                  {denying(L, Attempt),
                                                   cost_ledger:check_budget(L, executing)}
                                          end))
                end,
    [begin
         ?assertEqual({[], ok}, Elsewhere(paid(<<"u">>, 1))),
         spend(L, paid(<<"u">>, 10)),
         ?assertEqual({[<<"cap">>], budget_exhausted}, Elsewhere(paid(<<"u">>, 1))),
         {ok, _} = cost_ledger:set_policy(L, Cap(10 * Round + 1), ?BY),
         ?assertEqual({[], ok}, Elsewhere(paid(<<"u">>, 1))),
         {ok, _} = cost_ledger:set_policy(L, Cap(0), ?BY),
         ?assertEqual({[<<"cap">>], budget_exhausted}, Elsewhere(paid(<<"u">>, 1))),
         {ok, _} = cost_ledger:set_policy(L, Cap(10 * Round + 10), ?BY)
     end || Round <- lists:seq(1, 25)],
    {ok, _} = cost_ledger:reset(L, <<"cap">>, ?BY),
    ?assertEqual({[], ok}, Elsewhere(paid(<<"u">>, 250))),
    close(L).

%% Whoever announces less than is spent gets it booked all the same, and nothing more.
nobody_gets_more_by_saying_less(Config) ->
    L = open(Config, [rule(<<"user">>, #{user => each}, cost, lifetime, 100)]),
    at(L, ?NOON),
    {ok, Hold} = cost_ledger:reserve(L, paid(<<"u">>, 0)),
    {ok, #{overrun := true}} = cost_ledger:settle(Hold, #{cost => 150}),
    ?assertMatch(#{used := 150, remaining := 0}, told(L, #{user => <<"u">>}, <<"user">>)),
    ?assertEqual([<<"user">>], denying(L, paid(<<"u">>, 1))),
    ?assertEqual([<<"user">>], denying(L, #{state => executing, user => <<"u">>})),
    %% No amount is negative: nobody credits himself.
    {ok, Other} = cost_ledger:reserve(L, paid(<<"u">>, 0)),
    [badarg_text(Call)
     || Call <- [fun() -> cost_ledger:record_invocation(L, executing, #{cost => -100}) end,
                 fun() -> cost_ledger:record_invocation(L, executing, #{credits => -100}) end,
                 fun() -> cost_ledger:reserve(L, paid(<<"u">>, -100)) end,
                 fun() -> cost_ledger:settle(Other, #{cost => -100}) end,
                 fun() -> cost_ledger:meter(Other, #{cost => -100}) end]],
    ok = cost_ledger:release(Other),
    ?assertEqual(150, used(L, #{user => <<"u">>}, <<"user">>)),
    close(L).

grace_can_be_reached(Config) ->
    L = open(Config, [rule(<<"prepaid">>, #{org => each}, credits, lifetime, granted,
                           #{grace => 10})]),
    at(L, ?NOON),
    {ok, _} = grant(L, #{org => ?ACME}, 5),
    Call = #{state => executing, org => ?ACME, credits => 1},
    Granted = [case cost_ledger:reserve(L, Call) of
                   {ok, Hold} ->
                       {ok, #{overrun := false}} = cost_ledger:settle(Hold, #{credits => 1}),
                       granted;
                   {error, {budget_exhausted, _}} ->
                       denied
               end || _ <- lists:seq(1, 20)],
    ?assertEqual(lists:duplicate(15, granted) ++ lists:duplicate(5, denied), Granted),
    ?assertMatch({ok, #{credits := #{balance := -10}}}, cost_ledger:balance(L, #{org => ?ACME})),
    %% Beyond it is beyond it.
    {ok, Free} = cost_ledger:reserve(L, Call#{credits => 0}),
    {ok, #{overrun := true}} = cost_ledger:settle(Free, #{credits => 1}),
    close(L).

a_missing_price_is_neither_nothing_nor_everything(Config) ->
    L = open(Config, [rule(<<"cap">>, #{user => <<"u">>}, cost, lifetime, 100),
                      rule(<<"calls">>, all, invocations, lifetime, 10)]),
    at(L, ?NOON),
    {error, {estimate_required, Text}} =
        cost_ledger:reserve(L, #{state => executing, user => <<"u">>}),
    ?assert(byte_size(Text) > 20),
    {error, {estimate_required, _}} =
        cost_ledger:reserve(L, #{state => executing, user => <<"u">>, credits => 5, tokens => 5}),
    %% Where no rule asks for it, nothing is missing.
    {ok, Unlimited} = cost_ledger:reserve(L, #{state => executing}),
    ok = cost_ledger:release(Unlimited),
    %% An unpriced call is a call, and its cost is not 0 but unknown.
    {ok, Hold} = cost_ledger:reserve(L, paid(<<"u">>, 30)),
    {ok, _} = cost_ledger:settle(Hold, #{}),
    [Record] = cost_ledger:history(L, #{}),
    ?assertNot(is_map_key(cost, Record)),
    ?assertEqual([0, 1], [used(L, #{user => <<"u">>}, Name) || Name <- [<<"cap">>, <<"calls">>]]),
    %% A rule may say what a call without a price is held at; the largest that matches.
    Estimates = [rule(<<"cap">>, #{user => <<"u">>}, cost, lifetime, 100,
                      #{default_estimate => 40}),
                 rule(<<"all">>, all, cost, lifetime, 1000, #{default_estimate => 60}),
                 rule(<<"v">>, #{user => <<"v">>}, cost, {rolling, ?HOUR}, 1000,
                      #{default_estimate => 500})],
    {ok, 2} = cost_ledger:set_policy(L, #{rules => Estimates}, ?BY),
    {ok, Estimated} = cost_ledger:reserve(L, #{state => executing, user => <<"u">>}),
    ?assertEqual([60, 60], [held(L, #{user => <<"u">>}, Name) || Name <- [<<"cap">>, <<"all">>]]),
    #{rules := [#{rule := <<"cap">>, amount := 60}]} =
        denied(cost_ledger:reserve(L, #{state => executing, user => <<"u">>})),
    %% And what the caller says goes before it.
    {ok, Said} = cost_ledger:reserve(L, paid(<<"u">>, 5)),
    ?assertEqual(65, held(L, #{user => <<"u">>}, <<"cap">>)),
    [ok = cost_ledger:release(Held) || Held <- [Estimated, Said]],
    close(L).

a_limit_of_zero_divides_nothing(Config) ->
    Windows = [lifetime, {rolling, ?HOUR}, {calendar, day, 0}, {calendar, month, 0}],
    L = open(Config, [rule(lists:flatten(io_lib:format("~0p ~p", [Window, Effect])), all, cost,
                           Window, 0, #{warn => [80], soft => 50, on_exhausted => Effect})
                      || Window <- Windows, Effect <- [deny, degrade, warn]]
             ++ [rule(<<"prepaid">>, all, credits, lifetime, granted,
                      #{soft => 80, warn => [80]})]),
    at(L, ?NOON),
    budget_exhausted = cost_ledger:check_budget(L, executing),
    ?assertEqual([], [Rule || Rule <- all_told(L), not is_none_left(Rule)]),
    {error, {budget_exhausted, _}} = cost_ledger:check(L, #{state => executing, cost => 1}),
    {ok, Hold} = cost_ledger:reserve(L, #{state => executing, cost => 0, credits => 0}),
    {ok, #{overrun := true}} = cost_ledger:settle(Hold, #{cost => 5, credits => 5}),
    ?assertEqual([], [Rule || Rule <- all_told(L), not is_none_left(Rule)]),
    {ok, #{credits := #{balance := -5}}} = cost_ledger:balance(L, all),
    close(L).

all_told(L) ->
    {ok, #{rules := Rules}} = cost_ledger:budget_status(L, all),
    13 = length(Rules),
    Rules.

is_none_left(#{percent := 100, level := exhausted, remaining := Remaining, limit := 0}) ->
    Remaining =< 0;
is_none_left(_Rule) ->
    false.

%% Everybody books while midnight passes. There is no job that resets: each entry is in exactly
%% the period of its timestamp, and no day has more than its limit.
a_period_that_ends_under_load_ends_once(Config) ->
    Midnight = ms(2026, 4, 1),
    L = open(Config, [rule(<<"day">>, all, cost, {calendar, day, 0}, 100, #{warn => [50]}),
                      rule(<<"month">>, all, cost, {calendar, month, 0}, infinity),
                      rule(<<"ever">>, all, cost, lifetime, infinity)]),
    ok = cost_ledger:subscribe(L),
    at(L, Midnight - 200),
    _ = in_parallel(
          20, fun(_) ->
                      [begin
                           case cost_ledger:reserve(L, paid(<<"u">>, 1)) of
                               {ok, Hold} ->
                                   {ok, #{late := false, overrun := false}} =
                                       cost_ledger:settle(Hold, #{cost => 1});
                               {error, {budget_exhausted, _}} -> denied
                           end,
                           ok = cost_ledger:advance_clock(L, 1)
                       end || _ <- lists:seq(1, 20)]
              end),
    Times = [At || #{timestamp := At, cost := 1} <- cost_ledger:history(L, #{limit => 1000})],
    {Before, After} = lists:partition(fun(At) -> At < Midnight end, Times),
    ?assert(length(Before) > 0 andalso length(Before) =< 100),
    ?assert(length(After) > 0 andalso length(After) =< 100),
    ?assertEqual([length(After), length(After), length(Times)],
                 [used(L, all, Name) || Name <- [<<"day">>, <<"month">>, <<"ever">>]]),
    ?assertEqual(0, held(L, all, <<"day">>)),
    %% One warning for each day that reached its threshold.
    Reached = [Day || {Day, Entries} <- [{Midnight - ?DAY, Before}, {Midnight, After}],
                      length(Entries) >= 50],
    ?assertEqual(Reached, lists:sort([Start || #{period := {Start, _}} <-
                                                   warnings(L, length(Reached))])),
    no_warning(L),
    close(L).

a_reset_that_races_is_one_reset(Config) ->
    L = open(Config, [rule(<<"day">>, all, cost, {calendar, day, 0}, 1000)]),
    at(L, ?NOON),
    spend(L, paid(<<"u">>, 1000)),
    %% Each of them asks for the same reset, and books something right after it.
    Ids = in_parallel(20, fun(_) ->
                                  {ok, Id} = cost_ledger:reset(L, <<"day">>, ?BY#{id => "daily"}),
                                  spend(L, paid(<<"u">>, 1)),
                                  Id
                          end),
    ?assertMatch([_], lists:usort(Ids)),
    ?assertEqual(20, used(L, all, <<"day">>)),
    close(L).

no_money_is_a_float(Config) ->
    L = open(Config, [rule(<<"cap">>, all, cost, lifetime, 100)]),
    at(L, ?NOON),
    {ok, Hold} = cost_ledger:reserve(L, paid(<<"u">>, 10)),
    Before = snapshot(L),
    Rule = rule(<<"cap">>, all, cost, lifetime, 100),
    [refused(Call)
     || Key <- [cost, credits],
        Call <- [fun() -> cost_ledger:record_invocation(L, executing, #{Key => 0.004}) end,
                 fun() -> cost_ledger:record_invocation(L, executing, #{Key => 4.0}) end,
                 fun() -> cost_ledger:check(L, #{state => executing, Key => 4.0}) end,
                 fun() -> cost_ledger:reserve(L, #{state => executing, Key => 4.0}) end,
                 fun() -> cost_ledger:settle(Hold, #{Key => 4.0}) end,
                 fun() -> cost_ledger:meter(Hold, #{Key => 4.0}) end,
                 fun() -> cost_ledger:grant(L, all, 4.0, ?BY#{kind => topup, measure => Key}) end]],
    [refused(fun() -> cost_ledger:set_policy(L, #{rules => [Wrong]}, ?BY) end)
     || Wrong <- [Rule#{limit => 100.0}, Rule#{default_estimate => 4.0}, Rule#{soft => 80.0},
                  Rule#{warn => [80.0]}, Rule#{limit => granted, grace => 10.0}]],
    ?assertEqual(Before, snapshot(L)),
    ok = cost_ledger:release(Hold),
    close(L).

policy_and_its_audit_are_one_step(Config) ->
    L = open(Config, []),
    Answers = in_parallel(20, fun(Number) -> [change(L, Number, N) || N <- lists:seq(1, 10)] end),
    Versions = [Version || {ok, Version} <- lists:append(Answers)],
    ?assertEqual(lists:seq(2, 201), lists:sort(Versions)),
    ?assertEqual(201, audited(L)),
    close(L).

policy_and_its_audit_survive_a_kill(Config) ->
    Path = ?config(path, Config),
    Versions = [begin
                    Peer = cost_ledger_test:start_vm(),
                    _ = peer:call(Peer, erlang, spawn, [?MODULE, change_for_ever, [Path]]),
                    timer:sleep(300 + rand:uniform(100)),
                    ok = cost_ledger_test:kill_vm(Peer),
                    L = cost_ledger_test:open(Path, #{rules => []}),
                    Version = audited(L),
                    close(L),
                    Version
                end || _ <- [1, 2, 3]],
    ct:log("versions ~p", [Versions]),
    ?assertEqual(Versions, lists:sort(Versions)),
    ?assert(lists:last(Versions) > 1).

%% In another VM, until it is killed.
change_for_ever(Path) ->
    L = cost_ledger_test:open(Path, #{rules => []}),
    in_parallel(5, fun(Number) -> change_for_ever(L, Number, 1) end).

change_for_ever(L, Number, N) ->
    {ok, _} = change(L, Number, N),
    change_for_ever(L, Number, N + 1).

%% A limit that nobody else sets, and says so in its reason.
change(L, Number, N) ->
    Limit = erlang:phash2({os:getpid(), Number, N}, 1 bsl 32) * 100000 + N * 100 + Number,
    cost_ledger:set_policy(L, #{rules => [rule(<<"cap">>, all, cost, lifetime, Limit)]},
                           #{by => test, reason => integer_to_binary(Limit)}).

%% Every version says the limit that its audit says; the version that is in force.
audited(L) ->
    {ok, #{version := Version}} = cost_ledger:policy(L),
    {ok, Changes} = cost_ledger:policy_history(L),
    ?assertEqual(lists:seq(Version, 2, -1), [V || #{version := V} <- Changes]),
    %% Each of them leads to a whole version; a few are enough.
    [begin
         {ok, #{rules := [#{limit := Limit}]}} = cost_ledger:policy(L, V),
         ?assertEqual({V, integer_to_binary(Limit)}, {V, Reason})
     end || #{version := V, reason := Reason} <- lists:sublist(Changes, 20)],
    Version.

the_usage_of_a_blocked_account_is_booked_and_attributed(Config) ->
    L = open(Config, [rule(<<"stop">>, #{org => ?ACME}, credits, lifetime, 0),
                      rule(<<"count">>, #{user => each}, credits, lifetime, infinity)]),
    at(L, ?NOON),
    {ok, Hold} = cost_ledger:reserve(L, #{state => executing, org => ?ACME, user => <<"u">>,
                                          credits => 0}),
    {ok, #{overrun := true}} = cost_ledger:settle(Hold, #{credits => 3, agent => <<"writer">>}),
    spend(L, #{state => executing, org => ?ACME, user => <<"u">>, agent => <<"reviewer">>,
               credits => 4}),
    ?assertMatch([#{org := ?ACME, user := <<"u">>, agent := <<"reviewer">>, credits := 4},
                  #{org := ?ACME, user := <<"u">>, agent := <<"writer">>, credits := 3}],
                 cost_ledger:history(L, #{})),
    ?assertEqual([7, 7], [used(L, #{org => ?ACME, user => <<"u">>}, Name)
                          || Name <- [<<"stop">>, <<"count">>]]),
    close(L).

denied_attempts_do_not_count(Config) ->
    L = open(Config, [rule(<<"cap">>, all, cost, {rolling, ?HOUR}, 100),
                      rule(<<"calls">>, all, invocations, lifetime, infinity)]),
    at(L, ?NOON),
    spend(L, paid(<<"u">>, 100)),
    Before = snapshot(L),
    cost_ledger_test:parallel(50, fun() ->
                                          _ = denied(cost_ledger:reserve(L, paid(<<"u">>, 1))),
                                          _ = denied(cost_ledger:check(L, paid(<<"u">>, 1)))
                                  end),
    ?assertEqual(Before, snapshot(L)),
    close(L).

%% A thousand times a tenth of a cent is a dollar, and not a tenth of a cent less.
decimals_of_money_do_not_drift(Config) ->
    L = open(Config, [rule(<<"dollar">>, all, cost, lifetime, 1000000000)]),
    at(L, ?NOON),
    _ = in_parallel(50, fun(_) -> [spend(L, paid(<<"u">>, 1000000)) || _ <- lists:seq(1, 20)] end),
    ?assertMatch(#{used := 1000000000, remaining := 0, percent := 100, level := exhausted},
                 told(L, all, <<"dollar">>)),
    budget_exhausted = cost_ledger:check_budget(L, executing),
    close(L).

%%% Tools --------------------------------------------------------------------------------------

paid(User, Cost) -> #{state => executing, user => User, cost => Cost}.

grant(L, Account, Amount) ->
    cost_ledger:grant(L, Account, Amount, ?BY#{kind => purchase}).

%% The next warnings, as a subscriber gets them.
warnings(L, Count) ->
    [receive {cost_ledger, L, {budget_warning, Warning}} -> Warning
     after 5000 -> error(no_warning)
     end || _ <- lists:seq(1, Count)].

no_warning(L) ->
    receive {cost_ledger, L, {budget_warning, Warning}} -> error({warned, Warning})
    after 0 -> ok
    end.
