%%% Holds as docs/budgets.md describes them: what is reserved at once is granted exactly, and
%%% whatever dies - the caller, the owner of a hold, the writer, the VM - nothing stays held,
%%% nothing is lost, and nothing is booked twice.
-module(cost_ledger_holds_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include_lib("cost_ledger/src/cost_ledger.hrl").

-compile([export_all, nowarn_export_all]).

-import(cost_ledger_test, [at/2, eventually/1]).
-import(cost_ledger_test_budget,
        [open/2, open/3, reopen/2, close/1, child/2, rule/5, told/3, used/3, held/3, live/1,
         snapshot/1, spend/2, denied/1, refused/1, badarg_text/1, mentions/2, in_parallel/2]).

-define(HOUR, 3600000).
-define(NOON, 1700000000000).
-define(BY, #{by => test, reason => <<"a test">>}).
%% Of a deadline that a case does not want to meet.
-define(LATER, 30 * 24 * ?HOUR).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    %% What loads the machine most is not in parallel.
    [twenty_holds_of_75_against_500_grant_exactly_six, {group, many}, {group, exact},
     {group, resolving}, {group, unattended}, {group, ids}, {group, parents}, {group, refusals},
     {group, failures}].

groups() ->
    [{many, [],
      [a_process_with_20000_holds_dies_and_the_others_are_answered,
       however_many_are_due_all_end_before_anything_is_decided,
       a_killed_vm_with_6000_holds_leaves_none_live]},
     {exact, [parallel],
      [six_are_granted_whatever_is_measured,
       a_thousand_processes_get_exactly_one_hundred,
       four_tenths_of_a_cent_fit_2500_times_into_ten_dollars,
       check_and_record_overshoot_and_holds_do_not]},
     {resolving, [parallel],
      [a_hold_counts_in_every_rule_until_it_is_settled,
       settling_books_what_was_spent_more_or_less,
       releasing_books_nothing,
       metering_says_so_far_and_moves_the_deadline,
       a_hold_is_resolved_exactly_once,
       live_holds_are_shown,
       with_budget_settles_or_releases_what_fun_says,
       with_budget_bills_a_fun_that_raises,
       with_budget_takes_nothing_else_for_an_answer,
       work_that_a_stopped_ledger_could_not_book_is_settled_later,
       work_that_a_stuck_writer_did_not_book_in_time_is_settled_later]},
     {unattended, [parallel],
      [an_owner_that_dies_is_billed_what_was_metered,
       an_owner_that_dies_unmetered_is_billed_the_estimate,
       what_was_neither_metered_nor_estimated_stays_open,
       a_hold_ends_at_its_deadline_and_not_before,
       the_deadline_is_ten_minutes_if_nobody_says_otherwise,
       an_owner_that_was_dead_before_holds_nothing,
       a_transferred_hold_lives_with_its_new_owner,
       a_late_settlement_books_the_difference,
       a_late_settlement_takes_nothing_off_a_budget,
       a_late_release_takes_back_nothing,
       a_task_that_crashes_is_billed,
       owners_that_die_while_others_settle_book_once]},
     {ids, [parallel],
      [the_bytes_of_a_request_never_change,
       the_digest_of_a_request_is_of_these_bytes,
       a_reservation_sent_again_holds_once,
       twenty_senders_of_one_reservation_hold_once,
       a_denied_reservation_is_decided_anew,
       a_retry_that_times_out_leaves_the_hold_that_is_there,
       a_withdrawn_reservation_is_decided_anew,
       a_reservation_repeated_during_its_withdrawal_is_a_live_hold,
       a_withdrawal_leaves_the_hold_that_somebody_else_was_given,
       a_reservation_that_everybody_gave_up_is_withdrawn,
       a_settlement_sent_again_is_booked_once,
       a_release_sent_again_is_one_release,
       a_metering_sent_again_changes_nothing,
       a_transfer_sent_again_changes_nothing]},
     {parents, [parallel],
      [a_child_draws_on_what_its_parent_holds,
       what_the_parent_does_not_hold_is_asked_of_the_rules,
       what_a_child_leaves_goes_back_and_what_it_exceeds_is_taken,
       where_the_parent_does_not_belong_a_child_holds_in_full,
       invocations_of_children_are_asked_in_full,
       twenty_children_of_one_run_get_exactly_six,
       settling_a_run_books_what_its_children_have_not,
       runs_inside_runs_book_everything_once,
       an_exhausted_run_finishes_its_action_and_stops_with_a_reason,
       a_run_that_ends_unattended_books_nothing_beyond_its_children,
       a_run_that_was_metered_books_what_its_children_have_not,
       a_late_settlement_of_a_run_books_the_rest,
       a_hold_with_live_children_is_not_resolved,
       children_go_on_without_the_parent_that_died,
       what_is_spent_below_a_run_that_expired_is_booked_once,
       what_a_child_books_after_its_run_is_left_out_of_the_late_settlement,
       a_late_child_and_its_late_run_book_once,
       a_late_child_takes_what_it_exceeds_from_its_live_parent,
       only_a_run_is_a_parent,
       a_chain_of_parents_ends_at_eight]},
     {refusals, [parallel],
      [a_hold_that_is_resolved_is_refused_in_words,
       a_parent_of_another_ledger_is_refused,
       a_hold_of_a_ledger_that_had_the_name_before_is_refused,
       a_parent_that_is_resolved_is_refused,
       wrong_usage_is_the_callers_error,
       what_is_no_hold_is_the_callers_error,
       a_forged_hold_is_refused_and_disturbs_nobody,
       no_request_is_more_than_its_own_failure,
       no_message_ends_the_writer,
       an_owner_that_is_none_ends_no_writer,
       a_stopped_ledger_is_unavailable]},
     {failures, [parallel],
      [a_reservation_that_timed_out_is_withdrawn,
       what_timed_out_leaves_nothing_watched,
       a_settlement_that_timed_out_is_repeated_under_its_id,
       callers_killed_while_they_wait_leave_nothing_held,
       a_killed_writer_loses_no_hold_and_books_none_twice,
       holds_that_killed_writers_left_in_flight_are_watched,
       owners_that_die_while_there_is_no_writer_are_noticed,
       owners_that_die_while_the_ledger_restarts_are_noticed,
       a_killed_vm_books_what_was_metered_once,
       killed_vms_book_every_call_once]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(cost_ledger),
    ok = logger:set_module_level(cost_ledger_events, debug),
    ok = logger:add_handler_filter(default, quiet,
                                   {fun cost_ledger_test_handler:stop_events/2, []}),
    %% The crash reports of what is killed here on purpose.
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

%%% Many ---------------------------------------------------------------------------------------

%% They are ended a batch at a time, and whoever else calls is answered between.
a_process_with_20000_holds_dies_and_the_others_are_answered(Config) ->
    L = open(Config, [rule(<<"calls">>, all, invocations, lifetime, infinity) | cap(infinity)]),
    at(L, ?NOON),
    Owner = spawn(fun() -> receive after infinity -> ok end end),
    _ = reserve_many(L, 20000, (paid(1))#{owner => Owner}),
    ?assertEqual({0, 20000}, use(L)),
    exit(Owner, kill),
    Times = record_until_ended(L, []),
    ct:log("~b answered meanwhile, the slowest in ~b ms", [length(Times), lists:max(Times)]),
    ?assert(lists:max(Times) < 5000),
    ?assertEqual({20000, 0}, use(L)),
    ?assertMatch(#{used := Calls, held := 0} when Calls =:= 20000 + length(Times),
                 told(L, all, <<"calls">>)),
    ?assertEqual(0, live(L)),
    watches_nothing(L),
    close(L).

%% How many ms each answer took, the last one after all holds had ended.
record_until_ended(L, Times) ->
    {Us, ok} = timer:tc(fun() -> cost_ledger:record_invocation(L, executing, #{cost => 0}) end),
    case held(L, all, <<"cap">>) of
        0 -> [Us div 1000 | Times];
        _ -> record_until_ended(L, [Us div 1000 | Times])
    end.

%% A transaction ends 5,000 at most; what is due and not ended yet would count as held.
however_many_are_due_all_end_before_anything_is_decided(Config) ->
    L = open(Config, cap(11000)),
    at(L, ?NOON),
    _ = reserve_many(L, 11000, (run(1))#{deadline_ms => 1000, owner => self()}),
    _ = denied(cost_ledger:reserve(L, paid(1))),
    ok = cost_ledger:subscribe(L),
    %% The time alone: set_clock/2 would end them.
    #ledger{handle = Handle} = cost_ledger_registry:find(L),
    ok = cost_ledger_nif:set_clock(Handle, (?NOON + 1000) * 1000),
    {ok, Hold} = cost_ledger:reserve(L, paid(11000)),
    ?assertEqual({0, 11000}, use(L)),
    ?assertEqual(1, live(L)),
    ok = cost_ledger:release(Hold),
    watches_nothing(L),
    Told = [receive {cost_ledger, L, {hold_expired, #{hold := Id}}} -> Id after 5000 -> none end
            || _ <- lists:seq(1, 11000)],
    ?assertEqual(11000, length(lists:usort(Told))),
    ?assertNot(lists:member(none, Told)),
    close(L).

%% Whoever finds the ledger open finds them gone.
a_killed_vm_with_6000_holds_leaves_none_live(Config) ->
    Path = ?config(path, Config),
    Peer = cost_ledger_test:start_vm(),
    ok = peer:call(Peer, ?MODULE, hold_6000, [Path], 60000),
    ok = cost_ledger_test:kill_vm(Peer),
    L = cost_ledger_test:open(Path, #{}),
    ?assertEqual(0, live(L)),
    ?assertEqual({6000, 0}, use(L)),
    watches_nothing(L),
    ?assertEqual(lists:duplicate(6000, {aborted, 1}), booked(L)),
    close(L).

%% In another VM.
hold_6000(Path) ->
    L = cost_ledger_test:open(Path, #{rules => cap(infinity)}),
    at(L, ?NOON),
    _ = reserve_many(L, 6000, (paid(1))#{owner => whereis(init), deadline_ms => ?LATER}),
    6000 = live(L),
    ok.

reserve_many(L, Count, Attempt) ->
    in_parallel(200, fun(Number) ->
                             [{ok, _} = cost_ledger:reserve(L, Attempt)
                              || N <- lists:seq(1, Count), N rem 200 =:= Number - 1]
                     end).

%%% Exact --------------------------------------------------------------------------------------

%% A thousand times; a user of its own for each round. First one round alone, then ten that mix in
%% the same commits.
twenty_holds_of_75_against_500_grant_exactly_six(Config) ->
    L = open(Config, [rule(<<"cap">>, #{user => each}, cost, lifetime, 500)]),
    at(L, ?NOON),
    Self = self(),
    Reserve = fun(Round) ->
                      Attempt = (paid(75))#{user => user(Round), owner => Self},
                      {Round, cost_ledger:reserve(L, Attempt)}
              end,
    [begin
         Answers = in_parallel(20, fun(_) -> Reserve(Round) end),
         six_granted(L, Round, Answers)
     end || Round <- lists:seq(1, 500)],
    [begin
         Answers = in_parallel(200, fun(Number) -> Reserve(Base + Number rem 10) end),
         [six_granted(L, Base + N, Answers) || N <- lists:seq(0, 9)]
     end || Base <- lists:seq(501, 1000, 10)],
    ?assertEqual(6000, live(L)),
    close(L).

six_granted(L, Round, All) ->
    Answers = [Answer || {Of, Answer} <- All, Of =:= Round],
    ?assertEqual({Round, 20, 6, 14},
                 {Round, length(Answers), length([Hold || {ok, Hold} <- Answers]),
                  length([Denied || {error, {budget_exhausted, Denied}} <- Answers])}),
    ?assertMatch(#{used := 0, held := 450, remaining := 50},
                 told(L, #{user => user(Round)}, <<"cap">>)).

user(Number) -> <<"u", (integer_to_binary(Number))/binary>>.

six_are_granted_whatever_is_measured(Config) ->
    L = open(Config, []),
    at(L, ?NOON),
    Self = self(),
    [begin
         Rules = [rule(<<"cap">>, #{user => each}, Measure, {rolling, ?HOUR}, Limit)],
         {ok, _} = cost_ledger:set_policy(L, #{rules => Rules}, ?BY),
         [begin
              User = user(1000 * Number + Round),
              Attempt = Asked#{state => executing, user => User, owner => Self},
              Answers = in_parallel(20, fun(_) -> cost_ledger:reserve(L, Attempt) end),
              Holds = [Hold || {ok, Hold} <- Answers],
              ?assertEqual({Measure, Round, 6}, {Measure, Round, length(Holds)}),
              %% Resolved, they leave their room to others.
              [ok = cost_ledger:release(Hold) || Hold <- Holds],
              ?assertMatch(#{used := 0, held := 0}, told(L, #{user => User}, <<"cap">>))
          end || Round <- lists:seq(1, 10)]
     end || {Number, {Measure, Asked, Limit}} <-
                lists:enumerate(
                  [{cost, #{cost => 75}, 500}, {completed_cost, #{cost => 75}, 500},
                   {credits, #{credits => 75}, 500}, {completed_credits, #{credits => 75}, 500},
                   {tokens, #{tokens => 75}, 500},
                   {tokens, #{tokens => #{input => 25, output => 25, reasoning => 25}}, 500},
                   {invocations, #{}, 6}, {completed_invocations, #{}, 6}])],
    close(L).

a_thousand_processes_get_exactly_one_hundred(Config) ->
    L = open(Config, [rule(<<"cap">>, #{state => executing}, invocations, lifetime, 100)]),
    at(L, ?NOON),
    Answers = in_parallel(1000, fun(_) ->
                                        case cost_ledger:reserve(L, #{state => executing}) of
                                            {ok, Hold} ->
                                                {ok, #{overrun := false, late := false}} =
                                                    cost_ledger:settle(Hold, #{cost => 1}),
                                                granted;
                                            {error, {budget_exhausted, _}} ->
                                                denied
                                        end
                                end),
    ?assertEqual({100, 900}, {length([granted || granted <- Answers]),
                              length([denied || denied <- Answers])}),
    ?assertMatch(#{used := 100, held := 0}, told(L, #{state => executing}, <<"cap">>)),
    ?assertEqual(100, length(cost_ledger:history(L, #{limit => 1000}))),
    ?assertMatch(#{session := #{executing := 100}}, cost_ledger:stats(L)),
    budget_exhausted = cost_ledger:check_budget(L, executing),
    close(L).

four_tenths_of_a_cent_fit_2500_times_into_ten_dollars(Config) ->
    L = open(Config, cap(10000000000)),
    at(L, ?NOON),
    Self = self(),
    Call = (paid(4000000))#{owner => Self},
    Holds = lists:append(in_parallel(50, fun(_) ->
                                                 [begin
                                                      {ok, Hold} = cost_ledger:reserve(L, Call),
                                                      Hold
                                                  end || _ <- lists:seq(1, 50)]
                                         end)),
    ?assertEqual(2500, length(Holds)),
    ?assertEqual({0, 10000000000}, use(L)),
    #{rules := [#{remaining := 0, amount := 4000000}]} = denied(cost_ledger:reserve(L, Call)),
    {First, Second} = lists:split(1250, Holds),
    _ = in_parallel(50, fun(Number) ->
                                [{ok, #{overrun := false}} =
                                     cost_ledger:settle(Hold, #{cost => 4000000})
                                 || Hold <- lists:sublist(First, 25 * Number - 24, 25)]
                        end),
    ?assertEqual({5000000000, 5000000000}, use(L)),
    _ = denied(cost_ledger:reserve(L, Call)),
    %% One that is released makes room for exactly one.
    ok = cost_ledger:release(hd(Second)),
    {ok, _} = cost_ledger:reserve(L, Call),
    _ = denied(cost_ledger:reserve(L, paid(1))),
    close(L).

%% Why there are holds. Whoever checks and then books is as many as were quick enough.
check_and_record_overshoot_and_holds_do_not(Config) ->
    L = open(Config, cap(10)),
    at(L, ?NOON),
    Checked = in_parallel(50, fun(_) -> cost_ledger:check(L, paid(1)) end),
    ?assertEqual(50, length([ok || {ok, _} <- Checked])),
    Answers = in_parallel(50, fun(_) ->
                                      case cost_ledger:reserve(L, paid(1)) of
                                          {ok, Hold} ->
                                              {ok, _} = cost_ledger:settle(Hold, #{cost => 1}),
                                              booked;
                                          {error, {budget_exhausted, _}} ->
                                              denied
                                      end
                              end),
    ?assertEqual(10, length([booked || booked <- Answers])),
    ?assertEqual({10, 0}, use(L)),
    close(L).

%%% Resolving ----------------------------------------------------------------------------------

a_hold_counts_in_every_rule_until_it_is_settled(Config) ->
    L = open(Config, [rule(<<"cap">>, all, cost, {rolling, 1000}, 500),
                      rule(<<"month">>, #{user => each}, completed_cost, {calendar, month, 0}, 500),
                      rule(<<"tokens">>, #{org => <<"acme">>}, tokens, lifetime, 500),
                      rule(<<"calls">>, #{state => executing}, invocations, {rolling, ?HOUR}, 5),
                      rule(<<"other">>, #{user => <<"v">>}, cost, lifetime, 500)]),
    at(L, ?NOON),
    Scope = #{state => executing, user => <<"u">>, org => <<"acme">>},
    Names = [<<"cap">>, <<"month">>, <<"tokens">>, <<"calls">>],
    Told = fun(Key) -> [maps:get(Key, told(L, Scope, Name)) || Name <- Names] end,
    {ok, Hold} = cost_ledger:reserve(L, Scope#{cost => 75, tokens => 30, deadline_ms => ?LATER}),
    ?assertEqual([75, 75, 30, 1], Told(held)),
    ?assertEqual(0, held(L, #{user => <<"v">>}, <<"other">>)),
    %% However old it is: also in a window that began after it.
    at(L, ?NOON + 2 * ?HOUR),
    ?assertEqual([75, 75, 30, 1], Told(held)),
    {ok, #{id := Id, overrun := false, late := false}} =
        cost_ledger:settle(Hold, #{cost => 60, tokens => #{input => 10, output => 5}}),
    ?assertEqual([0, 0, 0, 0], Told(held)),
    ?assertEqual([60, 60, 15, 1], Told(used)),
    ?assertMatch([#{id := Id, timestamp := T}] when T =:= ?NOON + 2 * ?HOUR,
                 cost_ledger:history(L, #{})),
    ?assertEqual(0, live(L)),
    close(L).

settling_books_what_was_spent_more_or_less(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    {ok, Less} = cost_ledger:reserve(L, (paid(75))#{user => <<"u">>, project => <<"p">>}),
    Usage = #{cost => 60, credits => 5, status => failed, duration_ms => 1200,
              tokens => #{input => 100, output => 20, cache_read => 0, cache_creation => 0,
                          reasoning => 0},
              model => <<"m">>, provider => <<"azure">>, agent => <<"writer">>,
              prompt_type => plan},
    {ok, #{id := Id}} = cost_ledger:settle(Less, Usage),
    [Record] = cost_ledger:history(L, #{}),
    Expected = Usage#{id => Id, kind => invocation, state => executing, user => <<"u">>,
                      project => <<"p">>, timestamp => ?NOON},
    ?assertEqual(Expected, maps:with(maps:keys(Expected), Record)),
    {ok, More} = cost_ledger:reserve(L, paid(75)),
    {ok, #{overrun := false}} = cost_ledger:settle(More, #{cost => 440}),
    ?assertEqual({500, 0}, use(L)),
    {ok, Nothing} = cost_ledger:reserve(L, paid(0)),
    {ok, #{overrun := true}} = cost_ledger:settle(Nothing, #{cost => 1}),
    ?assertMatch([#{status := completed, duration_ms := 0}, _, _], cost_ledger:history(L, #{})),
    close(L).

releasing_books_nothing(Config) ->
    L = open(Config, [rule(<<"calls">>, all, invocations, lifetime, 10) | cap(500)]),
    at(L, ?NOON),
    {ok, Hold} = cost_ledger:reserve(L, paid(500)),
    ok = cost_ledger:meter(Hold, #{cost => 30}),
    ok = cost_ledger:release(Hold),
    ?assertEqual({0, 0}, use(L)),
    ?assertMatch(#{used := 0, held := 0}, told(L, all, <<"calls">>)),
    ?assertEqual([], cost_ledger:history(L, #{})),
    ?assertMatch(#{session := #{total := 0}}, cost_ledger:stats(L)),
    {ok, _} = cost_ledger:reserve(L, paid(500)),
    close(L).

metering_says_so_far_and_moves_the_deadline(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    {ok, Hold} = cost_ledger:reserve(L, (paid(75))#{deadline_ms => 1000}),
    at(L, ?NOON + 900),
    ok = cost_ledger:meter(Hold, #{cost => 10}),
    ok = cost_ledger:meter(Hold, #{cost => 30}),
    %% What is held is still what was asked for.
    ?assertEqual({0, 75}, use(L)),
    ?assertMatch(#{held_until := Until} when Until =:= ?NOON + 1900, told(L, all, <<"cap">>)),
    at(L, ?NOON + 1899),
    spend(L, paid(1)),
    ?assertEqual({1, 75}, use(L)),
    at(L, ?NOON + 1900),
    eventually(fun() -> use(L) =:= {31, 0} end),
    close(L).

a_hold_is_resolved_exactly_once(Config) ->
    L = open(Config, cap(5000)),
    at(L, ?NOON),
    [begin
         {ok, Hold} = cost_ledger:reserve(L, paid(75)),
         {Used, 75} = use(L),
         Answers = in_parallel(20, fun(Number) when Number rem 2 =:= 0 ->
                                           cost_ledger:settle(Hold, #{cost => 60});
                                      (_Number) ->
                                           cost_ledger:release(Hold)
                                   end),
         ?assertEqual(19, length([Text || {error, {resolved, Text}} <- Answers])),
         Booked = case [Answer || Answer <- Answers, not is_tuple(Answer)
                                      orelse element(1, Answer) =/= error] of
                      [{ok, #{late := false}}] -> 60;
                      [ok] -> 0
                  end,
         ?assertEqual({Used + Booked, 0}, use(L))
     end || _ <- lists:seq(1, 20)],
    close(L).

live_holds_are_shown(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    ?assertEqual({ok, []}, cost_ledger:holds(L)),
    {ok, One} = cost_ledger:reserve(L, paid(10)),
    {ok, Two} = cost_ledger:reserve(L, paid(20)),
    {ok, [_, _] = Holds} = cost_ledger:holds(L),
    {ok, Info} = cost_ledger:hold_info(One),
    ?assert(is_map(Info)),
    ?assert(lists:all(fun is_map/1, Holds)),
    {ok, _} = cost_ledger:settle(One, #{cost => 10}),
    ?assertEqual(1, live(L)),
    ?assertMatch({error, {_, _}}, cost_ledger:hold_info(One)),
    ok = cost_ledger:release(Two),
    ?assertEqual({ok, []}, cost_ledger:holds(L)),
    close(L).

with_budget_settles_or_releases_what_fun_says(Config) ->
    L = open(Config, cap(100)),
    at(L, ?NOON),
    {ok, answer} = cost_ledger:with_budget(L, paid(75), fun(_Hold) ->
                                                                ?assertEqual({0, 75}, use(L)),
                                                                {answer, #{cost => 60}}
                                                        end),
    ?assertEqual({60, 0}, use(L)),
    {ok, skipped} = cost_ledger:with_budget(L, paid(40), fun(_Hold) -> {release, skipped} end),
    ?assertEqual({60, 0}, use(L)),
    #{rules := [#{rule := <<"cap">>}]} =
        denied(cost_ledger:with_budget(L, paid(41), fun(_Hold) -> error(was_called) end)),
    ?assertMatch([#{cost := 60, status := completed}], cost_ledger:history(L, #{})),
    close(L).

with_budget_bills_a_fun_that_raises(Config) ->
    L = open(Config, cap(1000)),
    at(L, ?NOON),
    [begin
         {Used, 0} = use(L),
         Metered = fun(Hold) -> ok = cost_ledger:meter(Hold, #{cost => 30}), Raise() end,
         ?assertEqual({Class, oops}, try cost_ledger:with_budget(L, paid(75), Metered)
                                     catch Raised:Reason -> {Raised, Reason}
                                     end),
         eventually(fun() -> use(L) =:= {Used + 30, 0} end),
         ?assertException(Class, oops,
                          cost_ledger:with_budget(L, paid(75), fun(_Hold) -> Raise() end)),
         eventually(fun() -> use(L) =:= {Used + 105, 0} end)
     end || {Class, Raise} <- [{error, fun() -> error(oops) end}, {throw, fun() -> throw(oops) end},
                               {exit, fun() -> exit(oops) end}]],
    ?assertEqual([{aborted, Cost} || Cost <- [30, 30, 30, 75, 75, 75]], booked(L)),
    close(L).

with_budget_takes_nothing_else_for_an_answer(Config) ->
    L = open(Config, cap(1000)),
    at(L, ?NOON),
    [begin
         {Used, 0} = use(L),
         {3, Text} = badarg_text(fun() ->
                                         cost_ledger:with_budget(L, paid(75), fun(_) -> Answer end)
                                 end),
         mentions(Text, "{release, Result}"),
         ?assertEqual({Used + 75, 0}, use(L)),
         ?assertEqual(0, live(L))
     end || Answer <- [ok, nil, {answer}, {answer, #{cost => 1}, more}, [answer, #{cost => 1}]]],
    %% Usage that is none.
    [begin
         {Used, 0} = use(L),
         {_, _} = badarg_text(fun() ->
                                      cost_ledger:with_budget(L, paid(75), fun(_) -> Answer end)
                              end),
         ?assertEqual({Used + 75, 0}, use(L))
     end || Answer <- [{answer, nil}, {answer, #{cost => -1}}, {error, [cost | 1]}]],
    ?assertEqual(lists:duplicate(8, {aborted, 75}), booked(L)),
    close(L).

work_that_a_stopped_ledger_could_not_book_is_settled_later(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    Stop = fun(Answer) -> fun(_Hold) -> close(L), Answer end end,
    Reopen = fun() -> L = cost_ledger_test:open(L, ?config(path, Config), #{}) end,
    {error, {not_settled, unavailable, answer, Worked}} =
        cost_ledger:with_budget(L, paid(75), Stop({answer, #{cost => 60}})),
    L = Reopen(),
    ?assertEqual({0, 75}, use(L)),
    {ok, #{late := false}} = cost_ledger:settle(Worked, #{cost => 60}),
    ?assertEqual({60, 0}, use(L)),
    {error, {not_settled, unavailable, skipped, Skipped}} =
        cost_ledger:with_budget(L, paid(75), Stop({release, skipped})),
    L = Reopen(),
    ?assertEqual({60, 75}, use(L)),
    ok = cost_ledger:release(Skipped),
    ?assertEqual({60, 0}, use(L)),
    close(L).

work_that_a_stuck_writer_did_not_book_in_time_is_settled_later(Config) ->
    L = open(Config, cap(500), #{call_timeout => 200}),
    at(L, ?NOON),
    Writer = child(L, writer),
    Usage = #{cost => 60, id => <<"settled 1">>},
    Work = fun(_Hold) -> ok = sys:suspend(Writer), {answer, Usage} end,
    {error, {not_settled, timeout, answer, Hold}} =
        patiently(fun() -> cost_ledger:with_budget(L, paid(75), Work) end),
    ok = sys:resume(Writer),
    {ok, #{late := false}} = patiently(fun() -> cost_ledger:settle(Hold, Usage) end),
    eventually(fun() -> use(L) =:= {60, 0} end),
    ?assertEqual([{completed, 60}], booked(L)),
    close(L).

%%% Unattended ---------------------------------------------------------------------------------

an_owner_that_dies_is_billed_what_was_metered(Config) ->
    L = open(Config, [rule(<<"calls">>, all, invocations, lifetime, 10),
                      rule(<<"completed">>, all, completed_cost, lifetime, 500) | cap(500)]),
    at(L, ?NOON),
    _ = of_killed_owner(L, paid(75), fun(Hold) ->
                                             ok = cost_ledger:meter(Hold, #{cost => 20}),
                                             ok = cost_ledger:meter(Hold, #{cost => 30})
                                     end),
    eventually(fun() -> use(L) =:= {30, 0} end),
    ?assertMatch([#{status := aborted, cost := 30, kind := invocation, state := executing}],
                 cost_ledger:history(L, #{})),
    %% It was a call, and completed nothing.
    ?assertMatch(#{used := 1, held := 0}, told(L, all, <<"calls">>)),
    ?assertMatch(#{used := 0, held := 0}, told(L, all, <<"completed">>)),
    ?assertEqual(0, live(L)),
    close(L).

an_owner_that_dies_unmetered_is_billed_the_estimate(Config) ->
    L = open(Config, [rule(<<"tokens">>, all, tokens, lifetime, 500) | cap(500)]),
    at(L, ?NOON),
    Tokens = #{input => 10, output => 20},
    _ = of_killed_owner(L, (paid(75))#{tokens => Tokens}, fun(_Hold) -> ok end),
    eventually(fun() -> use(L) =:= {75, 0} end),
    ?assertMatch(#{used := 30, held := 0}, told(L, all, <<"tokens">>)),
    ?assertMatch([#{status := aborted, cost := 75, tokens := #{input := 10, output := 20}}],
                 cost_ledger:history(L, #{})),
    %% What was metered counts for what it says, the estimate for the rest.
    _ = of_killed_owner(L, (paid(75))#{tokens => Tokens},
                        fun(Hold) -> ok = cost_ledger:meter(Hold, #{cost => 5}) end),
    eventually(fun() -> use(L) =:= {80, 0} end),
    ?assertMatch(#{used := 60, held := 0}, told(L, all, <<"tokens">>)),
    close(L).

%% Not 0, and not the most that it could be: unpriced, and somebody is told.
what_was_neither_metered_nor_estimated_stays_open(Config) ->
    L = open(Config, [rule(<<"calls">>, all, invocations, lifetime, 10)]),
    Handler = cost_ledger_test:catch_events(L),
    at(L, ?NOON),
    _ = of_killed_owner(L, #{state => executing}, fun(_Hold) -> ok end),
    eventually(fun() -> live(L) =:= 0 end),
    [Record] = cost_ledger:history(L, #{}),
    ?assertMatch(#{status := aborted}, Record),
    ?assertEqual([], maps:keys(maps:with([cost, credits, tokens], Record))),
    ?assertMatch(#{used := 1, held := 0}, told(L, all, <<"calls">>)),
    receive {event, Name, Measurements, Metadata} when Name =/= invocation ->
            ct:log("~p ~p ~p", [Name, Measurements, Metadata])
    after 5000 -> error(no_event)
    end,
    cost_ledger_test:release_events(Handler),
    close(L).

a_hold_ends_at_its_deadline_and_not_before(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    {ok, Hold} = cost_ledger:reserve(L, (paid(75))#{deadline_ms => 1000}),
    {ok, Longer} = cost_ledger:reserve(L, (paid(100))#{deadline_ms => 1001}),
    at(L, ?NOON + 999),
    spend(L, paid(1)),
    ?assertEqual({1, 175}, use(L)),
    at(L, ?NOON + 1000),
    eventually(fun() -> use(L) =:= {76, 100} end),
    spend(L, paid(1)),
    ?assertEqual({77, 100}, use(L)),
    ?assertMatch([_, #{status := aborted, cost := 75}, _], cost_ledger:history(L, #{})),
    {ok, #{late := true}} = cost_ledger:settle(Hold, #{cost => 75}),
    {ok, #{late := false}} = cost_ledger:settle(Longer, #{cost => 0}),
    ?assertEqual({77, 0}, use(L)),
    close(L).

the_deadline_is_ten_minutes_if_nobody_says_otherwise(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    {ok, _} = cost_ledger:reserve(L, paid(75)),
    ?assertMatch(#{held_until := Until} when Until =:= ?NOON + 600000, told(L, all, <<"cap">>)),
    at(L, ?NOON + 599999),
    spend(L, paid(1)),
    ?assertEqual({1, 75}, use(L)),
    at(L, ?NOON + 600000),
    eventually(fun() -> use(L) =:= {76, 0} end),
    close(L).

an_owner_that_was_dead_before_holds_nothing(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    {Dead, Monitor} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', Monitor, process, Dead, _} -> ok end,
    {ok, Hold} = cost_ledger:reserve(L, (paid(75))#{owner => Dead}),
    eventually(fun() -> use(L) =:= {75, 0} end),
    {ok, Other} = cost_ledger:reserve(L, paid(10)),
    ok = cost_ledger:transfer(Other, Dead),
    eventually(fun() -> use(L) =:= {85, 0} end),
    {ok, #{late := true}} = cost_ledger:settle(Hold, #{cost => 80}),
    ?assertEqual({90, 0}, use(L)),
    close(L).

a_transferred_hold_lives_with_its_new_owner(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    Heir = spawn(fun() -> receive after infinity -> ok end end),
    Hold = of_killed_owner(L, paid(75), fun(Hold) -> ok = cost_ledger:transfer(Hold, Heir) end),
    %% The death of somebody who owns something is noticed after that of the one who does not.
    _ = of_killed_owner(L, paid(10), fun(_) -> ok end),
    eventually(fun() -> use(L) =:= {10, 75} end),
    ok = cost_ledger:meter(Hold, #{cost => 30}),
    exit(Heir, kill),
    eventually(fun() -> use(L) =:= {40, 0} end),
    close(L).

a_late_settlement_books_the_difference(Config) ->
    L = open(Config, [rule(<<"calls">>, all, invocations, lifetime, 10),
                      rule(<<"tokens">>, all, tokens, lifetime, 500) | cap(500)]),
    at(L, ?NOON),
    Hold = of_killed_owner(L, (paid(75))#{tokens => 5},
                           fun(Hold) ->
                                   ok = cost_ledger:meter(Hold, #{cost => 30,
                                                                  tokens => #{input => 10}})
                           end),
    eventually(fun() -> use(L) =:= {30, 0} end),
    {ok, #{id := Id, late := true, overrun := false}} =
        cost_ledger:settle(Hold, #{cost => 50, tokens => #{input => 10, output => 7}}),
    ?assertEqual({50, 0}, use(L)),
    ?assertEqual(17, used(L, all, <<"tokens">>)),
    %% It is a correction, and no second call.
    ?assertEqual(1, used(L, all, <<"calls">>)),
    [#{id := Aborted, cost := 30}] = cost_ledger:history(L, #{}),
    ?assert(Id > Aborted),
    {error, {resolved, _}} = cost_ledger:settle(Hold, #{cost => 70}),
    {error, {resolved, _}} = cost_ledger:release(Hold),
    reopen(Config, L),
    {error, {resolved, _}} = cost_ledger:settle(Hold, #{cost => 70}),
    ?assertEqual({50, 0}, use(L)),
    close(L).

%% A budget counts gross: what was booked too much is corrected in reports.
a_late_settlement_takes_nothing_off_a_budget(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    Hold = of_killed_owner(L, paid(75), fun(_Hold) -> ok end),
    eventually(fun() -> use(L) =:= {75, 0} end),
    {ok, #{late := true}} = cost_ledger:settle(Hold, #{cost => 60}),
    ?assertEqual({75, 0}, use(L)),
    ?assertMatch([#{cost := 75}], cost_ledger:history(L, #{})),
    close(L).

a_late_release_takes_back_nothing(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    Hold = of_killed_owner(L, paid(75), fun(_Hold) -> ok end),
    eventually(fun() -> use(L) =:= {75, 0} end),
    {error, {resolved, Text}} = cost_ledger:release(Hold),
    ?assert(byte_size(Text) > 10),
    ?assertEqual({75, 0}, use(L)),
    close(L).

%% The worker dies in the middle of its call: the ledger knows what the call has cost so far.
a_task_that_crashes_is_billed(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    Crash = fun(Reason) ->
                    {Pid, Monitor} =
                        spawn_monitor(
                          fun() ->
                                  cost_ledger:with_budget(
                                    L, paid(75), fun(Hold) ->
                                                         ok = cost_ledger:meter(Hold,
                                                                                #{cost => 30}),
                                                         exit(self(), Reason),
                                                         receive after infinity -> ok end
                                                 end)
                          end),
                    receive {'DOWN', Monitor, process, Pid, _} -> ok end
            end,
    Crash(kill),
    eventually(fun() -> use(L) =:= {30, 0} end),
    Crash(shutdown),
    eventually(fun() -> use(L) =:= {60, 0} end),
    ?assertEqual([{aborted, 30}, {aborted, 30}], booked(L)),
    close(L).

%% Whoever is first, the metered 30 and the settled 50 make 50.
owners_that_die_while_others_settle_book_once(Config) ->
    L = open(Config, [rule(<<"calls">>, all, invocations, lifetime, 1000) | cap(100000)]),
    at(L, ?NOON),
    _ = in_parallel(
          50, fun(_) ->
                      Self = self(),
                      Owner = spawn(fun() ->
                                            {ok, Hold} = cost_ledger:reserve(L, paid(75)),
                                            ok = cost_ledger:meter(Hold, #{cost => 30}),
                                            Self ! {self(), Hold},
                                            receive after infinity -> ok end
                                    end),
                      Hold = receive {Owner, Reserved} -> Reserved end,
                      exit(Owner, kill),
                      {ok, #{overrun := false}} = cost_ledger:settle(Hold, #{cost => 50}),
                      {error, {resolved, _}} = cost_ledger:settle(Hold, #{cost => 50})
              end),
    eventually(fun() -> use(L) =:= {2500, 0} end),
    ?assertMatch(#{used := 50, held := 0}, told(L, all, <<"calls">>)),
    ?assertEqual(50, length(cost_ledger:history(L, #{}))),
    ?assertEqual(0, live(L)),
    close(L).

%%% Ids ----------------------------------------------------------------------------------------

%% What is in ledgers already was digested with these.
the_bytes_of_a_request_never_change(_Config) ->
    ?assertEqual(<<2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 16#27, 16#c0, 0>>,
                 cost_ledger_request:reserve(0, 600000, false)),
    ?assertEqual(<<2, 0, 6, 10, 36, 24, 30, 64, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1>>,
                 cost_ledger_request:reserve(16#00060a24181e4001, 1, true)),
    [?assertEqual(<<Tag, 0, 0, 0, 0, 0, 0, 1, 2>>, Request(258))
     || {Tag, Request} <- [{3, fun cost_ledger_request:settle/1},
                           {4, fun cost_ledger_request:release/1},
                           {5, fun cost_ledger_request:meter/1}]],
    %% A pid of another node, as OTP 25 writes it, and as OTP 26 does.
    [begin
         Pid = binary_to_term(<<131, 88, Node/binary, 0, 0, 0, 80, 0, 0, 0, 1, 0, 0, 2, 3>>),
         ?assertEqual(<<6, 0, 0, 0, 0, 0, 0, 0, 7, 0, 4, "ab@c", 0, 0, 0, 80, 0, 0, 0, 1,
                        0, 0, 2, 3>>, cost_ledger_request:transfer(7, Pid))
     end || Node <- [<<100, 0, 4, "ab@c">>, <<119, 4, "ab@c">>]],
    ?assertEqual(<<6, 0, 0, 0, 3,
                   1, 0, 0, 0, 2, "ab",
                   5, 0, 0, 0, 3, 2, 0, 0, 0, 3, "-12", 3, 16#3f, 16#f8, 0, 0, 0, 0, 0, 0,
                   4, 0, 0, 0, 1, 255,
                   7, 0, 0, 0, 2, 1, 0, 0, 0, 1, "y", 0, 1, 0, 0, 0, 1, "z", 5, 0, 0, 0, 0>>,
                 cost_ledger_request:term({ab, [-12, 1.5, <<255>>], #{z => [], y => self()}})),
    %% Whatever order a map has.
    Large = maps:from_list([{Number, Number} || Number <- lists:seq(1, 100)]),
    Keys = lists:sort([cost_ledger_request:term(Number) || Number <- lists:seq(1, 100)]),
    ?assertEqual(<<7, 100:32, << <<Key/binary, Key/binary>> || Key <- Keys >>/binary>>,
                 cost_ledger_request:term(Large)).

the_digest_of_a_request_is_of_these_bytes(_Config) ->
    Attempt = #{state => executing, user => <<"u1">>, cost => 5},
    Draft = fun(Given, Extra) ->
                    {ok, Fields, _} = cost_ledger_record:attempt(Given),
                    {ok, Written} = cost_ledger_record:encode(invocation, Fields, Extra),
                    Written
            end,
    Extra = cost_ledger_request:reserve(0, 600000, false),
    Digest = crypto:hash(sha256, <<(Draft(Attempt, Extra))/binary, Extra/binary>>),
    ?assertMatch({_, 32}, binary:match(Draft(Attempt#{id => <<"a">>}, Extra), Digest)),
    ?assertEqual(nomatch, binary:match(Draft(Attempt#{id => <<"a">>}, <<>>), Digest)).

a_reservation_sent_again_holds_once(Config) ->
    L = open(Config, cap(100)),
    at(L, ?NOON),
    Attempt = (paid(75))#{user => <<"u">>, id => <<"call 1">>},
    Heir = spawn_link(fun() -> receive stop -> ok end end),
    {ok, Hold} = cost_ledger:reserve(L, Attempt),
    Again = fun() ->
                    Before = use(L),
                    ?assertEqual({ok, Hold}, cost_ledger:reserve(L, Attempt)),
                    %% Whose it is, is no part of the request.
                    ?assertEqual({ok, Hold}, cost_ledger:reserve(L, Attempt#{owner => Heir})),
                    Others = [cost_ledger:reserve(L, Other)
                              || Other <- [Attempt#{cost => 74}, Attempt#{user => <<"v">>},
                                           Attempt#{state => improving}, Attempt#{kind => run},
                                           maps:remove(user, Attempt)]],
                    ?assertMatch([{error, {conflict, Id}}] when is_integer(Id),
                                 lists:usort(Others)),
                    ?assertEqual(Before, use(L))
            end,
    Again(),
    ?assertEqual({0, 75}, use(L)),
    {ok, Settled} = cost_ledger:settle(Hold, #{cost => 60, id => <<"settled 1">>}),
    Again(),
    at(L, ?NOON + 24 * ?HOUR),
    Again(),
    reopen(Config, L),
    Again(),
    ?assertEqual({60, 0}, use(L)),
    {ok, Settled} = cost_ledger:settle(Hold, #{cost => 60, id => <<"settled 1">>}),
    ?assertEqual({60, 0}, use(L)),
    Heir ! stop,
    %% Reopened while it is live: still one hold, or what became of it.
    {ok, Live} = cost_ledger:reserve(L, (paid(10))#{id => <<"call 2">>}),
    reopen(Config, L),
    ?assertEqual({ok, Live}, cost_ledger:reserve(L, (paid(10))#{id => <<"call 2">>})),
    {Used, Held} = use(L),
    ?assertEqual(70, Used + Held),
    {ok, _} = cost_ledger:settle(Live, #{cost => 10}),
    ?assertEqual({70, 0}, use(L)),
    close(L).

twenty_senders_of_one_reservation_hold_once(Config) ->
    L = open(Config, cap(75)),
    at(L, ?NOON),
    Attempt = (paid(75))#{id => <<"call 1">>, owner => self()},
    Answers = in_parallel(20, fun(_) -> cost_ledger:reserve(L, Attempt) end),
    [{ok, Hold}] = lists:usort(Answers),
    ?assertEqual({0, 75}, use(L)),
    Usage = #{cost => 75, id => <<"settled 1">>},
    [{ok, #{late := false}}] =
        lists:usort(in_parallel(20, fun(_) -> cost_ledger:settle(Hold, Usage) end)),
    ?assertEqual({75, 0}, use(L)),
    ?assertEqual([{completed, 75}], booked(L)),
    close(L).

a_denied_reservation_is_decided_anew(Config) ->
    L = open(Config, cap(100)),
    at(L, ?NOON),
    {ok, First} = cost_ledger:reserve(L, paid(75)),
    Before = snapshot(L),
    Attempt = (paid(50))#{id => <<"call 2">>},
    _ = denied(cost_ledger:reserve(L, Attempt)),
    _ = denied(cost_ledger:reserve(L, Attempt)),
    ?assertEqual(Before, snapshot(L)),
    ok = cost_ledger:release(First),
    {ok, Hold} = cost_ledger:reserve(L, Attempt),
    {ok, Hold} = cost_ledger:reserve(L, Attempt),
    ?assertEqual({0, 50}, use(L)),
    %% What was denied under it had not taken it.
    _ = denied(cost_ledger:reserve(L, (paid(75))#{id => <<"call 3">>})),
    {ok, _} = cost_ledger:reserve(L, (paid(20))#{id => <<"call 3">>}),
    close(L).

a_retry_that_times_out_leaves_the_hold_that_is_there(Config) ->
    L = open(Config, cap(100), #{call_timeout => 200}),
    at(L, ?NOON),
    Attempt = (paid(75))#{id => <<"call 1">>, owner => self()},
    {ok, Hold} = patiently(fun() -> cost_ledger:reserve(L, Attempt) end),
    Writer = child(L, writer),
    ok = sys:suspend(Writer),
    ?assertEqual(lists:duplicate(5, {error, timeout}),
                 in_parallel(5, fun(_) -> cost_ledger:reserve(L, Attempt) end)),
    %% They are in the queue, with what withdraws them.
    eventually(fun() -> {message_queue_len, 10} =:= process_info(Writer, message_queue_len) end),
    ok = sys:resume(Writer),
    ?assertEqual({ok, Hold}, patiently(fun() -> cost_ledger:reserve(L, Attempt) end)),
    ?assertEqual({0, 75}, use(L)),
    {ok, #{client_id := <<"call 1">>}} = cost_ledger:hold_info(Hold),
    {ok, #{late := false}} =
        patiently(fun() -> cost_ledger:settle(Hold, #{cost => 60, id => <<"settled 1">>}) end),
    ?assertEqual({60, 0}, use(L)),
    close(L).

a_withdrawn_reservation_is_decided_anew(Config) ->
    L = open(Config, cap(100), #{call_timeout => 200}),
    at(L, ?NOON),
    Attempt = (paid(75))#{id => <<"call 1">>, owner => self()},
    Writer = child(L, writer),
    ok = sys:suspend(Writer),
    {error, timeout} = cost_ledger:reserve(L, Attempt),
    eventually(fun() -> {message_queue_len, 2} =:= process_info(Writer, message_queue_len) end),
    ok = sys:resume(Writer),
    %% There was a hold, and it is gone again.
    ok = patiently(fun() -> cost_ledger:record_invocation(L, executing, #{id => <<"behind 1">>,
                                                                          cost => 0}) end),
    ?assertEqual(0, live(L)),
    {ok, Hold} = patiently(fun() -> cost_ledger:reserve(L, Attempt) end),
    {ok, #{}} = cost_ledger:hold_info(Hold),
    ?assertEqual({0, 75}, use(L)),
    ?assertEqual({ok, Hold}, patiently(fun() -> cost_ledger:reserve(L, Attempt) end)),
    {ok, #{late := false}} =
        patiently(fun() -> cost_ledger:settle(Hold, #{cost => 60, id => <<"settled 1">>}) end),
    %% What is asked anew may be denied, and may be another request.
    ok = sys:suspend(Writer),
    Other = (paid(40))#{id => <<"call 2">>, owner => self()},
    {error, timeout} = cost_ledger:reserve(L, Other),
    eventually(fun() -> {message_queue_len, 2} =:= process_info(Writer, message_queue_len) end),
    ok = sys:resume(Writer),
    ok = patiently(fun() -> cost_ledger:record_invocation(L, executing, #{id => <<"behind 2">>,
                                                                          cost => 1}) end),
    ?assertEqual({61, 0}, use(L)),
    _ = denied(patiently(fun() -> cost_ledger:reserve(L, Other) end)),
    {ok, _} = patiently(fun() -> cost_ledger:reserve(L, Other#{cost => 39}) end),
    ?assertEqual({61, 39}, use(L)),
    close(L).

%% It may come before the withdrawal or after it: whoever is told {ok, Hold} has one.
a_reservation_repeated_during_its_withdrawal_is_a_live_hold(Config) ->
    L = open(Config, cap(100), #{call_timeout => 200}),
    at(L, ?NOON),
    Writer = child(L, writer),
    [begin
         Attempt = (paid(75))#{id => integer_to_binary(Round), owner => self()},
         ok = sys:suspend(Writer),
         {error, timeout} = cost_ledger:reserve(L, Attempt),
         %% The first request, its withdrawal, and this one.
         _ = spawn_link(fun() -> resume_when(Writer, 3) end),
         {ok, Hold} = patiently(fun() -> cost_ledger:reserve(L, Attempt) end),
         ok = patiently(fun() -> cost_ledger:record_invocation(
                                   L, executing, #{id => [$b | integer_to_list(Round)], cost => 0})
                        end),
         ?assertMatch({Round, {ok, #{cost := 75}}}, {Round, cost_ledger:hold_info(Hold)}),
         ?assertEqual({Round, {0, 75}}, {Round, use(L)}),
         ok = patiently(fun() -> cost_ledger:release(Hold, #{id => [$r | integer_to_list(Round)]})
                        end)
     end || Round <- lists:seq(1, 10)],
    ?assertEqual({0, 0}, use(L)),
    close(L).

%% Two send one request; the first gives up, and the second is told {ok, Hold}.
a_withdrawal_leaves_the_hold_that_somebody_else_was_given(Config) ->
    L = open(Config, cap(100), #{call_timeout => 300}),
    at(L, ?NOON),
    Writer = child(L, writer),
    Attempt = (paid(75))#{id => <<"call 1">>, owner => self()},
    Self = self(),
    ok = sys:suspend(Writer),
    First = spawn_link(fun() -> Self ! {self(), cost_ledger:reserve(L, Attempt)} end),
    eventually(fun() -> {message_queue_len, 1} =:= process_info(Writer, message_queue_len) end),
    timer:sleep(150),
    %% The first request, this one, and then the withdrawal of the first.
    _ = spawn_link(fun() -> resume_when(Writer, 3) end),
    {ok, Hold} = patiently(fun() -> cost_ledger:reserve(L, Attempt) end),
    ?assertEqual({error, timeout}, receive {First, Answer} -> Answer end),
    ok = patiently(fun() -> cost_ledger:record_invocation(L, executing, #{id => <<"behind">>,
                                                                          cost => 0}) end),
    ?assertMatch({ok, #{cost := 75}}, cost_ledger:hold_info(Hold)),
    ?assertEqual({0, 75}, use(L)),
    {ok, #{late := false}} =
        patiently(fun() -> cost_ledger:settle(Hold, #{cost => 60, id => <<"settled 1">>}) end),
    ?assertEqual({60, 0}, use(L)),
    close(L).

%% One that asked again and timed out again, and several at once: nobody was told of a hold.
a_reservation_that_everybody_gave_up_is_withdrawn(Config) ->
    L = open(Config, cap(100), #{call_timeout => 200}),
    at(L, ?NOON),
    Writer = child(L, writer),
    Self = self(),
    Twice = fun(Attempt) ->
                    [{error, timeout} = cost_ledger:reserve(L, Attempt) || _ <- [1, 2]]
            end,
    AllAtOnce = fun(Attempt) ->
                        in_parallel(2, fun(_) -> {error, timeout} = cost_ledger:reserve(L, Attempt)
                                       end)
                end,
    [begin
         Attempt = (paid(75))#{id => [$c | integer_to_list(Round)], owner => Self},
         ok = sys:suspend(Writer),
         _ = GiveUp(Attempt),
         %% Two requests, and two withdrawals.
         eventually(fun() -> {message_queue_len, 4} =:= process_info(Writer, message_queue_len)
                    end),
         ok = sys:resume(Writer),
         ok = patiently(fun() -> cost_ledger:record_invocation(
                                   L, executing, #{id => [$b | integer_to_list(Round)], cost => 0})
                        end),
         ?assertEqual({Round, {0, 0}}, {Round, use(L)}),
         %% What nobody was told of does not keep the id.
         {ok, Hold} = patiently(fun() -> cost_ledger:reserve(L, Attempt#{cost => 60}) end),
         ok = patiently(fun() -> cost_ledger:release(Hold, #{id => [$r | integer_to_list(Round)]})
                        end)
     end || {Round, GiveUp} <- lists:enumerate([Twice, AllAtOnce, Twice, AllAtOnce])],
    watches_nothing(L),
    close(L).

resume_when(Writer, Waiting) ->
    eventually(fun() ->
                       {message_queue_len, Length} = process_info(Writer, message_queue_len),
                       Length >= Waiting
               end),
    ok = sys:resume(Writer).

a_settlement_sent_again_is_booked_once(Config) ->
    L = open(Config, cap(100)),
    at(L, ?NOON),
    {ok, Hold} = cost_ledger:reserve(L, paid(75)),
    {ok, Other} = cost_ledger:reserve(L, paid(5)),
    Usage = #{cost => 96, id => <<"settled 1">>},
    {ok, #{id := Id, overrun := true} = Answer} = cost_ledger:settle(Hold, Usage),
    {ok, _} = cost_ledger:settle(Other, #{cost => 0}),
    Again = fun() ->
                    ?assertEqual({ok, Answer}, cost_ledger:settle(Hold, Usage)),
                    [{error, {conflict, Id}} = Call()
                     || Call <- [fun() -> cost_ledger:settle(Hold, Usage#{cost => 97}) end,
                                 fun() -> cost_ledger:settle(Hold, Usage#{status => failed}) end,
                                 fun() -> cost_ledger:settle(Other, Usage) end,
                                 fun() -> cost_ledger:release(Hold, maps:with([id], Usage)) end]],
                    {error, {resolved, _}} = cost_ledger:settle(Hold, maps:remove(id, Usage)),
                    {error, {resolved, _}} = cost_ledger:settle(Hold, Usage#{id => <<"new">>}),
                    ?assertEqual({96, 0}, use(L)),
                    ?assertEqual([{completed, 0}, {completed, 96}], booked(L))
            end,
    Again(),
    reopen(Config, L),
    Again(),
    %% A late one as well.
    Late = of_killed_owner(L, paid(4), fun(_) -> ok end),
    eventually(fun() -> use(L) =:= {100, 0} end),
    {ok, #{late := true} = LateAnswer} = cost_ledger:settle(Late, #{cost => 6, id => <<"late">>}),
    {ok, LateAnswer} = cost_ledger:settle(Late, #{cost => 6, id => <<"late">>}),
    {error, {conflict, _}} = cost_ledger:settle(Late, #{cost => 7, id => <<"late">>}),
    ?assertEqual({102, 0}, use(L)),
    close(L).

a_release_sent_again_is_one_release(Config) ->
    L = open(Config, cap(100)),
    at(L, ?NOON),
    {ok, Hold} = cost_ledger:reserve(L, paid(75)),
    {ok, Other} = cost_ledger:reserve(L, (paid(5))#{deadline_ms => ?LATER}),
    Options = #{id => <<"released 1">>},
    ok = cost_ledger:release(Hold, Options),
    Again = fun() ->
                    ok = cost_ledger:release(Hold, Options),
                    {error, {conflict, Id}} = cost_ledger:release(Other, Options),
                    {error, {conflict, Id}} = cost_ledger:settle(Other, Options#{cost => 5}),
                    {error, {resolved, _}} = cost_ledger:release(Hold),
                    {error, {resolved, _}} = cost_ledger:settle(Hold, #{cost => 5})
            end,
    Again(),
    ?assertEqual({0, 5}, use(L)),
    {ok, _} = cost_ledger:settle(Other, #{cost => 5}),
    reopen(Config, L),
    Again(),
    ?assertEqual({5, 0}, use(L)),
    close(L).

a_metering_sent_again_changes_nothing(Config) ->
    L = open(Config, cap(100)),
    at(L, ?NOON),
    Usage = #{cost => 30, id => <<"metered 1">>},
    Hold = of_killed_owner(
             L, paid(75),
             fun(Hold) ->
                     ok = cost_ledger:meter(Hold, Usage),
                     ok = cost_ledger:meter(Hold, #{cost => 40}),
                     %% It comes again, late: 40 is what is known.
                     ok = cost_ledger:meter(Hold, Usage),
                     {error, {conflict, _}} = cost_ledger:meter(Hold, Usage#{cost => 31})
             end),
    eventually(fun() -> use(L) =:= {40, 0} end),
    ok = cost_ledger:meter(Hold, Usage),
    {error, {resolved, _}} = cost_ledger:meter(Hold, #{cost => 50}),
    reopen(Config, L),
    ok = cost_ledger:meter(Hold, Usage),
    ?assertEqual({40, 0}, use(L)),
    close(L).

a_transfer_sent_again_changes_nothing(Config) ->
    L = open(Config, cap(100)),
    at(L, ?NOON),
    First = spawn(fun() -> receive after infinity -> ok end end),
    Second = spawn(fun() -> receive after infinity -> ok end end),
    {ok, Hold} = cost_ledger:reserve(L, paid(75)),
    {ok, Other} = cost_ledger:reserve(L, paid(5)),
    Options = #{id => <<"transferred 1">>},
    ok = cost_ledger:transfer(Hold, First, Options),
    ok = cost_ledger:transfer(Hold, Second),
    ok = cost_ledger:transfer(Hold, First, Options),
    {error, {conflict, _}} = cost_ledger:transfer(Other, First, Options),
    exit(First, kill),
    _ = of_killed_owner(L, paid(1), fun(_) -> ok end),
    eventually(fun() -> use(L) =:= {1, 80} end),
    exit(Second, kill),
    eventually(fun() -> use(L) =:= {76, 5} end),
    ok = cost_ledger:transfer(Hold, First, Options),
    ?assertEqual({76, 5}, use(L)),
    close(L).

%%% Parents ------------------------------------------------------------------------------------

a_child_draws_on_what_its_parent_holds(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    {ok, Run} = cost_ledger:reserve(L, run(500)),
    _ = denied(cost_ledger:reserve(L, paid(1))),
    {ok, Child} = cost_ledger:reserve(L, (paid(75))#{parent => Run}),
    ?assertEqual({0, 500}, use(L)),
    {ok, #{overrun := false}} = cost_ledger:settle(Child, #{cost => 75}),
    ?assertEqual({75, 425}, use(L)),
    {ok, Second} = cost_ledger:reserve(L, (paid(75))#{parent => Run}),
    ok = cost_ledger:release(Second),
    ?assertEqual({75, 425}, use(L)),
    {ok, _} = cost_ledger:settle(Run, #{cost => 75}),
    ?assertEqual({75, 0}, use(L)),
    close(L).

what_the_parent_does_not_hold_is_asked_of_the_rules(Config) ->
    L = open(Config, cap(550)),
    at(L, ?NOON),
    {ok, Run} = cost_ledger:reserve(L, run(500)),
    #{rules := [#{rule := <<"cap">>}]} =
        denied(cost_ledger:reserve(L, (paid(551))#{parent => Run})),
    ?assertEqual({0, 500}, use(L)),
    {ok, Child} = cost_ledger:reserve(L, (paid(550))#{parent => Run}),
    ?assertEqual({0, 550}, use(L)),
    _ = denied(cost_ledger:reserve(L, (paid(1))#{parent => Run})),
    %% Released, each part goes back where it came from.
    ok = cost_ledger:release(Child),
    ?assertEqual({0, 500}, use(L)),
    ok = cost_ledger:release(Run),
    ?assertEqual({0, 0}, use(L)),
    close(L).

what_a_child_leaves_goes_back_and_what_it_exceeds_is_taken(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    {ok, Run} = cost_ledger:reserve(L, run(500)),
    Spend = fun(Asked, Spent) ->
                    {ok, Child} = cost_ledger:reserve(L, (paid(Asked))#{parent => Run}),
                    {ok, #{overrun := Overrun}} = cost_ledger:settle(Child, #{cost => Spent}),
                    {Overrun, use(L)}
            end,
    ?assertEqual({false, {60, 440}}, Spend(75, 60)),
    ?assertEqual({false, {150, 350}}, Spend(75, 90)),
    ?assertEqual({false, {500, 0}}, Spend(50, 350)),
    %% The parent has nothing left to take from.
    ?assertEqual({true, {510, 0}}, Spend(0, 10)),
    {ok, _} = cost_ledger:settle(Run, #{cost => 510}),
    ?assertEqual({510, 0}, use(L)),
    close(L).

where_the_parent_does_not_belong_a_child_holds_in_full(Config) ->
    L = open(Config, [rule(<<"user">>, #{user => each}, cost, lifetime, 100) | cap(500)]),
    at(L, ?NOON),
    {ok, Run} = cost_ledger:reserve(L, run(500)),
    Child = fun(User, Cost) ->
                    cost_ledger:reserve(L, (paid(Cost))#{user => User, parent => Run})
            end,
    #{rules := [#{rule := <<"user">>}]} = denied(Child(<<"u">>, 101)),
    {ok, One} = Child(<<"u">>, 75),
    {ok, Two} = Child(<<"v">>, 75),
    _ = denied(Child(<<"u">>, 26)),
    ?assertEqual({0, 500}, use(L)),
    Of = fun(User) ->
                 #{used := Used, held := Held} = told(L, #{user => User}, <<"user">>),
                 {Used, Held}
         end,
    ?assertEqual([{0, 75}, {0, 75}], [Of(User) || User <- [<<"u">>, <<"v">>]]),
    {ok, _} = cost_ledger:settle(One, #{cost => 60}),
    ok = cost_ledger:release(Two),
    ?assertEqual([{60, 0}, {0, 0}], [Of(User) || User <- [<<"u">>, <<"v">>]]),
    ?assertEqual({60, 440}, use(L)),
    %% What the run itself books belongs to no user.
    {ok, _} = cost_ledger:settle(Run, #{cost => 100}),
    ?assertEqual({100, 0}, use(L)),
    ?assertEqual({60, 0}, Of(<<"u">>)),
    close(L).

invocations_of_children_are_asked_in_full(Config) ->
    L = open(Config, [rule(<<"calls">>, #{state => executing}, invocations, lifetime, 2)
                      | cap(500)]),
    at(L, ?NOON),
    {ok, Run} = cost_ledger:reserve(L, run(500)),
    Children = [begin
                    {ok, Child} = cost_ledger:reserve(L, (paid(10))#{parent => Run}),
                    Child
                end || _ <- [1, 2]],
    #{rules := [#{rule := <<"calls">>}]} =
        denied(cost_ledger:reserve(L, (paid(10))#{parent => Run})),
    [{ok, _} = cost_ledger:settle(Child, #{cost => 10}) || Child <- Children],
    {ok, _} = cost_ledger:settle(Run, #{cost => 50}),
    %% The run is no invocation.
    ?assertMatch(#{used := 2, held := 0}, told(L, #{state => executing}, <<"calls">>)),
    ?assertMatch(#{session := #{executing := 2, total := 2}}, cost_ledger:stats(L)),
    close(L).

twenty_children_of_one_run_get_exactly_six(Config) ->
    L = open(Config, [rule(<<"cap">>, #{user => each}, cost, lifetime, 500)]),
    at(L, ?NOON),
    Self = self(),
    [begin
         User = user(Round),
         {ok, Run} = cost_ledger:reserve(L, (run(500))#{user => User}),
         Attempt = (paid(75))#{user => User, parent => Run, owner => Self},
         Answers = in_parallel(20, fun(_) -> cost_ledger:reserve(L, Attempt) end),
         Children = [Child || {ok, Child} <- Answers],
         ?assertEqual({Round, 6}, {Round, length(Children)}),
         ?assertMatch(#{used := 0, held := 500}, told(L, #{user => User}, <<"cap">>)),
         [{ok, _} = cost_ledger:settle(Child, #{cost => 75}) || Child <- Children],
         {ok, #{overrun := false}} = cost_ledger:settle(Run, #{cost => 500}),
         ?assertMatch(#{used := 500, held := 0}, told(L, #{user => User}, <<"cap">>))
     end || Round <- lists:seq(1, 30)],
    close(L).

settling_a_run_books_what_its_children_have_not(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    Run = run_with_children(L, run(500), [60, 90]),
    ?assertEqual({150, 350}, use(L)),
    %% 200 in all, of which the children booked 150.
    {ok, #{late := false, overrun := false}} = cost_ledger:settle(Run, #{cost => 200}),
    ?assertEqual({200, 0}, use(L)),
    %% Its children may have booked everything, and then a release does as well.
    Other = run_with_children(L, run(200), [60, 90]),
    {ok, _} = cost_ledger:settle(Other, #{cost => 150}),
    ?assertEqual({350, 0}, use(L)),
    Third = run_with_children(L, run(150), [50]),
    ok = cost_ledger:release(Third),
    ?assertEqual({400, 0}, use(L)),
    close(L).

runs_inside_runs_book_everything_once(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    {ok, Outer} = cost_ledger:reserve(L, run(500)),
    Inner = run_with_children(L, (run(200))#{parent => Outer}, [60]),
    ?assertEqual({60, 440}, use(L)),
    {ok, _} = cost_ledger:settle(Inner, #{cost => 100}),
    ?assertEqual({100, 400}, use(L)),
    {ok, _} = cost_ledger:settle(Outer, #{cost => 230}),
    ?assertEqual({230, 0}, use(L)),
    close(L).

%% What was begun is booked; the next step is denied, by name.
an_exhausted_run_finishes_its_action_and_stops_with_a_reason(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    {ok, Run} = cost_ledger:reserve(L, run(500)),
    {ok, Step} = cost_ledger:reserve(L, (paid(75))#{parent => Run}),
    {ok, #{overrun := true}} = cost_ledger:settle(Step, #{cost => 600}),
    ?assertEqual({600, 0}, use(L)),
    #{rules := [Reason]} = denied(cost_ledger:reserve(L, (paid(1))#{parent => Run})),
    ?assertMatch(#{rule := <<"cap">>, reason := limit, used := 600, limit := 500}, Reason),
    {ok, _} = cost_ledger:settle(Run, #{cost => 600}),
    ?assertEqual({600, 0}, use(L)),
    close(L).

a_run_that_ends_unattended_books_nothing_beyond_its_children(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    _ = of_killed_owner(L, run(500), fun(Run) -> step(L, Run, 60) end),
    eventually(fun() -> use(L) =:= {60, 0} end),
    ?assertEqual(0, live(L)),
    close(L).

a_run_that_was_metered_books_what_its_children_have_not(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    _ = of_killed_owner(L, run(500), fun(Run) ->
                                             step(L, Run, 60),
                                             ok = cost_ledger:meter(Run, #{cost => 130})
                                     end),
    eventually(fun() -> use(L) =:= {130, 0} end),
    close(L).

a_late_settlement_of_a_run_books_the_rest(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    Run = of_killed_owner(L, run(500), fun(Run) -> step(L, Run, 60) end),
    eventually(fun() -> use(L) =:= {60, 0} end),
    {ok, #{late := true}} = cost_ledger:settle(Run, #{cost => 200}),
    ?assertEqual({200, 0}, use(L)),
    {error, {resolved, _}} = cost_ledger:settle(Run, #{cost => 200}),
    close(L).

a_hold_with_live_children_is_not_resolved(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    {ok, Run} = cost_ledger:reserve(L, run(500)),
    {ok, Child} = cost_ledger:reserve(L, (paid(75))#{parent => Run}),
    {error, {open_children, Text}} = cost_ledger:settle(Run, #{cost => 100}),
    ?assert(byte_size(Text) > 20),
    {error, {open_children, _}} = cost_ledger:release(Run),
    ?assertEqual({0, 500}, use(L)),
    {ok, #{late := false}} = cost_ledger:settle(Child, #{cost => 75}),
    {ok, #{late := false}} = cost_ledger:settle(Run, #{cost => 100}),
    ?assertEqual({100, 0}, use(L)),
    close(L).

children_go_on_without_the_parent_that_died(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    Self = self(),
    _ = of_killed_owner(L, run(500), fun(Run) ->
                                             {ok, Child} = cost_ledger:reserve(
                                                             L, (paid(75))#{parent => Run,
                                                                            owner => Self}),
                                             Self ! {child, Child}
                                     end),
    Child = receive {child, Reserved} -> Reserved end,
    eventually(fun() -> use(L) =:= {0, 75} end),
    ?assertEqual(1, live(L)),
    ok = cost_ledger:meter(Child, #{cost => 30}),
    {ok, #{late := false}} = cost_ledger:settle(Child, #{cost => 60}),
    ?assertEqual({60, 0}, use(L)),
    close(L).

%% The one in the middle is gone when the child settles, and the outermost still leaves that out.
what_is_spent_below_a_run_that_expired_is_booked_once(Config) ->
    L = open(Config, cap(100)),
    at(L, ?NOON),
    {ok, Outer} = cost_ledger:reserve(L, (run(100))#{deadline_ms => ?LATER}),
    {ok, Middle} = cost_ledger:reserve(L, (run(100))#{parent => Outer, deadline_ms => 1000}),
    {ok, Child} = cost_ledger:reserve(L, (paid(60))#{parent => Middle, deadline_ms => ?LATER}),
    at(L, ?NOON + 1000),
    ?assertEqual({0, 100}, use(L)),
    ?assertEqual(2, live(L)),
    {ok, #{late := false, overrun := false}} = cost_ledger:settle(Child, #{cost => 60}),
    ?assertEqual({60, 40}, use(L)),
    {ok, #{late := false, overrun := false}} = cost_ledger:settle(Outer, #{cost => 100}),
    ?assertEqual({100, 0}, use(L)),
    %% The one in the middle said nothing more than its child.
    {ok, #{late := true}} = cost_ledger:settle(Middle, #{cost => 60}),
    ?assertEqual({100, 0}, use(L)),
    close(L).

what_a_child_books_after_its_run_is_left_out_of_the_late_settlement(Config) ->
    L = open(Config, cap(100)),
    at(L, ?NOON),
    {ok, Run} = cost_ledger:reserve(L, (run(100))#{deadline_ms => 1000}),
    {ok, Child} = cost_ledger:reserve(L, (paid(60))#{parent => Run, deadline_ms => ?LATER}),
    at(L, ?NOON + 1000),
    ?assertEqual({0, 60}, use(L)),
    {ok, #{late := false}} = cost_ledger:settle(Child, #{cost => 60}),
    ?assertEqual({60, 0}, use(L)),
    {ok, #{late := true}} = cost_ledger:settle(Run, #{cost => 60}),
    ?assertEqual({60, 0}, use(L)),
    close(L).

a_late_child_and_its_late_run_book_once(Config) ->
    L = open(Config, cap(1000)),
    at(L, ?NOON),
    Both = fun() ->
                   {ok, Run} = cost_ledger:reserve(L, (run(100))#{deadline_ms => 1000}),
                   {ok, Child} = cost_ledger:reserve(L, (paid(60))#{parent => Run,
                                                                    deadline_ms => 1000}),
                   {Used, 100} = use(L),
                   ok = cost_ledger:advance_clock(L, 1000),
                   ?assertEqual({Used + 60, 0}, use(L)),
                   {Run, Child}
           end,
    {Run, Child} = Both(),
    {ok, #{late := true}} = cost_ledger:settle(Child, #{cost => 80}),
    ?assertEqual({80, 0}, use(L)),
    {ok, #{late := true}} = cost_ledger:settle(Run, #{cost => 80}),
    ?assertEqual({80, 0}, use(L)),
    %% What the run spent beyond its child is booked.
    {Larger, Smaller} = Both(),
    {ok, #{late := true}} = cost_ledger:settle(Smaller, #{cost => 80}),
    {ok, #{late := true}} = cost_ledger:settle(Larger, #{cost => 95}),
    ?assertEqual({80 + 95, 0}, use(L)),
    close(L).

a_late_child_takes_what_it_exceeds_from_its_live_parent(Config) ->
    L = open(Config, cap(100)),
    at(L, ?NOON),
    {ok, Run} = cost_ledger:reserve(L, (run(100))#{deadline_ms => ?LATER}),
    {ok, Child} = cost_ledger:reserve(L, (paid(60))#{parent => Run, deadline_ms => 1000}),
    at(L, ?NOON + 1000),
    ?assertEqual({60, 40}, use(L)),
    {ok, #{late := true, overrun := false}} = cost_ledger:settle(Child, #{cost => 80}),
    ?assertEqual({80, 20}, use(L)),
    #{rules := [#{rule := <<"cap">>}]} =
        denied(cost_ledger:reserve(L, (paid(21))#{parent => Run})),
    {ok, Last} = cost_ledger:reserve(L, (paid(20))#{parent => Run}),
    ?assertEqual({80, 20}, use(L)),
    {ok, #{overrun := false}} = cost_ledger:settle(Last, #{cost => 20}),
    {ok, #{overrun := false}} = cost_ledger:settle(Run, #{cost => 100}),
    ?assertEqual({100, 0}, use(L)),
    close(L).

%% An invocation uses what it holds itself.
only_a_run_is_a_parent(Config) ->
    L = open(Config, cap(100)),
    at(L, ?NOON),
    {ok, Hold} = cost_ledger:reserve(L, paid(75)),
    Before = snapshot(L),
    [begin
         {error, {no_parent, Text}} = cost_ledger:reserve(L, Attempt#{parent => Hold}),
         mentions(Text, run)
     end || Attempt <- [paid(10), run(10), paid(0)]],
    ?assertEqual(Before, snapshot(L)),
    {ok, _} = cost_ledger:settle(Hold, #{cost => 75}),
    close(L).

a_chain_of_parents_ends_at_eight(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    {ok, First} = cost_ledger:reserve(L, run(500)),
    Chain = nest(L, [First]),
    ct:log("~b holds deep", [length(Chain)]),
    ?assert(length(Chain) =:= 8 orelse length(Chain) =:= 9),
    ?assertEqual({0, 500}, use(L)),
    {error, {open_children, _}} = cost_ledger:release(lists:last(Chain)),
    [ok = cost_ledger:release(Hold) || Hold <- Chain],
    ?assertEqual({0, 0}, use(L)),
    close(L).

%% The innermost first.
nest(L, [Parent | _] = Chain) when length(Chain) < 12 ->
    Inner = (run(100))#{parent => Parent},
    case cost_ledger:reserve(L, Inner) of
        {ok, Hold} ->
            nest(L, [Hold | Chain]);
        {error, _} ->
            _ = refused(fun() -> cost_ledger:reserve(L, Inner) end),
            Chain
    end.

%%% Refusals -----------------------------------------------------------------------------------

a_hold_that_is_resolved_is_refused_in_words(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    {ok, Settled} = cost_ledger:reserve(L, paid(75)),
    {ok, _} = cost_ledger:settle(Settled, #{cost => 75}),
    {ok, Released} = cost_ledger:reserve(L, paid(75)),
    ok = cost_ledger:release(Released),
    Before = snapshot(L),
    [begin
         {error, {resolved, Text}} = Call(Hold),
         ?assert(byte_size(Text) > 20)
     end || Hold <- [Settled, Released],
            Call <- [fun(H) -> cost_ledger:settle(H, #{cost => 1}) end,
                     fun(H) -> cost_ledger:settle(H, #{cost => 75}) end,
                     fun(H) -> cost_ledger:release(H) end,
                     fun(H) -> cost_ledger:meter(H, #{cost => 1}) end,
                     fun(H) -> cost_ledger:transfer(H, self()) end]],
    ?assertEqual(Before, snapshot(L)),
    close(L).

a_parent_of_another_ledger_is_refused(Config) ->
    L = open(Config, cap(500)),
    Path = ?config(path, Config) ++ "-other",
    Other = cost_ledger_test:open(Path, #{rules => cap(500)}),
    [at(Each, ?NOON) || Each <- [L, Other]],
    {ok, Foreign} = cost_ledger:reserve(Other, run(500)),
    {ok, _Own} = cost_ledger:reserve(L, run(100)),
    Before = [snapshot(Each) || Each <- [L, Other]],
    _ = refused(fun() -> cost_ledger:reserve(L, (paid(10))#{parent => Foreign}) end),
    ?assertEqual(Before, [snapshot(Each) || Each <- [L, Other]]),
    [close(Each) || Each <- [L, Other]],
    cost_ledger_test:remove(Path).

%% Two ledgers give the same ids at the same time; a hold is of the one that made it.
a_hold_of_a_ledger_that_had_the_name_before_is_refused(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    {ok, Foreign} = cost_ledger:reserve(L, paid(75)),
    close(L),
    Path = ?config(path, Config) ++ "-other",
    L = cost_ledger_test:open(L, Path, #{rules => cap(500)}),
    at(L, ?NOON),
    _ = refused(fun() -> cost_ledger:settle(Foreign, #{cost => 75}) end),
    {ok, Own} = cost_ledger:reserve(L, paid(10)),
    _ = refused(fun() -> cost_ledger:settle(Foreign, #{cost => 75}) end),
    _ = refused(fun() -> cost_ledger:release(Foreign) end),
    ?assertEqual({0, 10}, use(L)),
    ok = cost_ledger:release(Own),
    close(L),
    cost_ledger_test:remove(Path).

a_parent_that_is_resolved_is_refused(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    {ok, Run} = cost_ledger:reserve(L, run(500)),
    ok = cost_ledger:release(Run),
    Before = snapshot(L),
    _ = refused(fun() -> cost_ledger:reserve(L, (paid(10))#{parent => Run}) end),
    ?assertEqual(Before, snapshot(L)),
    close(L).

wrong_usage_is_the_callers_error(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    {ok, Hold} = cost_ledger:reserve(L, paid(75)),
    Before = snapshot(L),
    [begin
         {2, Text} = badarg_text(fun() -> cost_ledger:Function(Hold, Usage) end),
         mentions(Text, Word)
     end || Function <- [settle, meter],
            {Usage, Word} <-
                [{#{cost => -1}, cost}, {#{cost => 0.004}, cost}, {#{cost => "1"}, cost},
                 {#{cost => 1 bsl 64}, cost}, {#{credits => -1}, credits},
                 {#{credits => 1.5}, credits}, {#{tokens => #{inputs => 1}}, inputs},
                 {#{tokens => #{input => -1}}, input}, {#{duration_ms => -1}, duration_ms},
                 {#{duration_ms => 1.5}, duration_ms}, {#{status => ok}, status},
                 {#{status => "failed"}, status}, {#{model => 5}, model},
                 {#{agent => <<>>}, agent}, {#{provider => <<255, 254>>}, provider},
                 {#{costs => 5}, costs}, {#{user => <<"v">>}, user}, {#{id => <<>>}, id},
                 {#{id => 5}, id}, {#{id => binary:copy(<<"i">>, 1001)}, id}, {nil, map}]],
    {2, _} = badarg_text(fun() -> cost_ledger:transfer(Hold, me) end),
    {2, _} = badarg_text(fun() -> cost_ledger:release(Hold, #{id => <<>>}) end),
    {3, _} = badarg_text(fun() -> cost_ledger:transfer(Hold, self(), #{id => 5}) end),
    {3, _} = badarg_text(fun() -> cost_ledger:with_budget(L, paid(1), fun() -> ok end) end),
    {2, _} = badarg_text(fun() ->
                                 cost_ledger:with_budget(L, paid(-1), fun(_) -> {release, ok} end)
                         end),
    ?assertEqual(Before, snapshot(L)),
    ok = cost_ledger:release(Hold),
    close(L).

what_is_no_hold_is_the_callers_error(_Config) ->
    [?assertMatch({Hold, {1, _}}, {Hold, badarg_text(fun() -> Call(Hold) end)})
     || Hold <- [nil, 5, <<"hold">>, {hold, 5}, self(), #{}],
        Call <- [fun(H) -> cost_ledger:settle(H, #{cost => 1}) end,
                 fun(H) -> cost_ledger:release(H) end,
                 fun(H) -> cost_ledger:meter(H, #{cost => 1}) end,
                 fun(H) -> cost_ledger:transfer(H, self()) end,
                 fun(H) -> cost_ledger:hold_info(H) end]].

%% A handle may come back from anywhere: a database, a socket, another version.
a_forged_hold_is_refused_and_disturbs_nobody(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    {ok, Hold} = cost_ledger:reserve(L, paid(75)),
    {ok, Run} = cost_ledger:reserve(L, run(75)),
    {hold, L, Identity, Id} = Hold,
    Children = [child(L, Child) || Child <- [owner, writer]],
    Before = snapshot(L),
    Damaged = [{hold, Name, Identity, Id} || Name <- [<<"name">>, "name", 5, [L | L]]]
        ++ [{hold, L, Wrong, Id} || Wrong <- [foo, nil, <<"1">>, 1.0, [a | b], {}, self()]]
        ++ [{hold, L, Identity, Wrong}
            || Wrong <- [foo, nil, -1, 0, 1 bsl 63, 1 bsl 64, 1 bsl 200, 1.0, <<"1">>, [a | b], {},
                         self()]]
        ++ [{hold, L, Identity}, {hold, L, Identity, Id, Id}, {held, L, Identity, Id},
            [hold, L, Identity, Id], [Hold | Hold], term_to_binary(Hold)],
    [?assertMatch({Forged, {1, _}}, {Forged, badarg_text(fun() -> Call(Forged) end)})
     || Forged <- Damaged, Call <- calls_with_a_hold()],
    [begin
         {2, Text} = badarg_text(fun() -> cost_ledger:reserve(L, (paid(1))#{parent => Forged}) end),
         mentions(Text, parent)
     end || Forged <- Damaged],
    %% Of the right form, and of no hold.
    Foreign = [{hold, L, Wrong, Id} || Wrong <- [0, -1, 5, Identity + 1, 1 bsl 80, -1 bsl 80]]
        ++ [{hold, no_such_ledger, Identity, Id}],
    Missing = [{hold, L, Identity, Wrong} || Wrong <- [1, 1 bsl 62, 1 bsl 63 - 1]],
    [?assertMatch({Forged, {error, _}}, {Forged, Call(Forged)})
     || Forged <- Foreign ++ Missing,
        Call <- [fun(H) -> cost_ledger:reserve(L, (paid(1))#{parent => H}) end
                 | calls_with_a_hold()]],
    ?assertEqual(Before, snapshot(L)),
    ?assertEqual(Children, [child(L, Child) || Child <- [owner, writer]]),
    {ok, _} = cost_ledger:settle(Hold, #{cost => 75}),
    ok = cost_ledger:release(Run),
    close(L).

calls_with_a_hold() ->
    [fun(Hold) -> cost_ledger:settle(Hold, #{cost => 1}) end,
     fun(Hold) -> cost_ledger:release(Hold) end,
     fun(Hold) -> cost_ledger:release(Hold, #{id => <<"r">>}) end,
     fun(Hold) -> cost_ledger:meter(Hold, #{cost => 1}) end,
     fun(Hold) -> cost_ledger:transfer(Hold, self()) end,
     fun(Hold) -> cost_ledger:transfer(Hold, self(), #{id => <<"t">>}) end,
     fun(Hold) -> cost_ledger:hold_info(Hold) end].

%% What the writer hands over is the ledger's own; what comes into its mailbox need not be.
no_request_is_more_than_its_own_failure(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    #ledger{handle = Handle} = cost_ledger_registry:find(L),
    {ok, Hold} = cost_ledger:reserve(L, paid(75)),
    {hold, L, _, Id} = Hold,
    {ok, Draft, _, _} = cost_ledger_record:draft(executing, #{cost => 1}, 1 bsl 20),
    Children = [child(L, Child) || Child <- [owner, writer]],
    Before = snapshot(L),
    Wrong = wrong_requests(Id, Draft),
    {Results, {_, []}} = cost_ledger_nif:commit(Handle, Wrong),
    ?assertEqual([], [Pair || {_, Result} = Pair <- lists:zip(Wrong, Results),
                              not is_failure(Result)]),
    [?assertError(badarg, cost_ledger_nif:commit(Handle, Requests))
     || Requests <- [foo, <<>>, {0, record, Draft}, [{0, record, Draft} | foo]]],
    ?assertEqual(Before, snapshot(L)),
    %% One that is right is done beside them.
    Mixed = lists:append([[Request, {0, record, Draft}] || Request <- lists:sublist(Wrong, 5)]),
    {Done, _} = cost_ledger_nif:commit(Handle, Mixed),
    ?assertEqual(5, length([Entry || Entry <- Done, is_integer(Entry)])),
    ?assertEqual({5, 75}, use(L)),
    ?assertEqual(Children, [child(L, Child) || Child <- [owner, writer]]),
    ok = cost_ledger:release(Hold),
    close(L).

is_failure({error, {Name, Text}}) -> is_atom(Name) andalso is_binary(Text);
is_failure(_Result) -> false.

%% None of them can be done.
wrong_requests(Hold, Draft) ->
    Owner = term_to_binary(self()),
    [foo, [], {}, {0}, {0, record}, {0, record, Draft, Draft}, [0, record, Draft], #{}]
        ++ [{Token, record, Draft} || Token <- [foo, -1, 1.0, 1 bsl 64, <<>>, nil]]
        ++ [{0, record, Wrong} || Wrong <- [foo, "draft", <<>>, <<1:3>>, <<0:800>>, <<255>>, 5, nil,
                                            [Draft | foo], binary:part(Draft, 0, 5)]]
        ++ [{0, Operation, Draft}
            || Operation <- [foo, nil, {}, {record}, {foo, Hold}, [settle, Hold], <<"record">>,
                             {reserve}, {reserve, 0, 1, false}, {reserve, foo, 1, false, Owner},
                             {reserve, -1, 1, false, Owner}, {reserve, 1 bsl 64, 1, false, Owner},
                             {reserve, 0, foo, false, Owner}, {reserve, 0, -1, false, Owner},
                             {reserve, 0, 1 bsl 64, false, Owner}, {reserve, 0, 1, false, foo},
                             {reserve, 0, 1, false, binary:copy(<<"o">>, 4097)},
                             {transfer, Hold}, {transfer, Hold, foo}, {transfer, foo, Owner},
                             {reset, foo}, {reset, <<"cap">>}, {reset, <<"no such rule">>}]]
        ++ [{0, {Operation, Wrong}, Draft}
            || Operation <- [settle, release, meter, abort, withdraw],
               Wrong <- [foo, -1, 1.0, 1 bsl 64, <<"1">>, nil, [Hold], {Hold}]]
        ++ [{0, {Operation, Id}, Wrong}
            || Operation <- [settle, release, meter], Id <- [Hold, 0, 1, 1 bsl 63, 1 bsl 64 - 1],
               Wrong <- [<<>>, <<255>>, Draft]].

%% Anybody may send it anything. Each is followed by a booking, which the same writer does.
no_message_ends_the_writer(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    {ok, Hold} = cost_ledger:reserve(L, paid(75)),
    {hold, L, _, Id} = Hold,
    {ok, Draft, _, _} = cost_ledger_record:draft(executing, #{cost => 1}, 1 bsl 20),
    Owner = child(L, owner),
    Nobody = spawn(fun() -> receive after infinity -> ok end end),
    Alias = erlang:monitor(process, Nobody, [{alias, explicit_unalias}]),
    %% As they come through the queue, with a token.
    Requests = [{do, Alias, case Token of 0 -> 1; _ -> Token end, Operation, Wrong, undefined}
                || {Token, Operation, Wrong} <- wrong_requests(Id, Draft)],
    Messages = [foo, [], {}, {do}, do, {do, Alias, 1, record, Draft}, {forget, []}, {forget, foo},
                {forget, [foo | bar]}, {forget, [foo, -1, 1 bsl 64]}, forget,
                {'DOWN', make_ref(), process, Nobody, killed}, {'DOWN', foo, bar, baz, qux},
                {'EXIT', Nobody, killed}, due, build, abort, {due, 5}, {timeout, make_ref(), due},
                {make_ref(), ok}, {'$gen_cast', foo}, {'$gen_call', {Nobody, make_ref()}, foo}]
        ++ [{do, Wrong, 5, foo, Draft, undefined}
            || Wrong <- [foo, nil, 5, <<>>, {}, [a | b], {no_such_process, node()}]],
    Ended = [Message || Message <- Messages ++ Requests, ends_the_writer(L, Message)],
    ?assertEqual([], Ended),
    ?assertEqual(Owner, child(L, owner)),
    {Used, 75} = use(L),
    ?assertEqual(length(Messages ++ Requests), Used),
    ok = cost_ledger:release(Hold),
    exit(Nobody, kill),
    close(L).

ends_the_writer(L, Message) ->
    Writer = child(L, writer),
    Writer ! Message,
    ok = cost_ledger:record_invocation(L, executing, #{cost => 1}),
    Writer =/= child(L, writer).

%% Neither the one that gets it nor the next, who reads it in the file.
an_owner_that_is_none_ends_no_writer(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    {ok, Draft, _, _} = cost_ledger_record:draft(executing, #{cost => 1}, 1 bsl 20),
    Written = term_to_binary(self()),
    Writer = child(L, writer),
    [begin
         Writer ! {do, make_ref(), 1, {reserve, 0, ?LATER, false, Written}, Draft, Owner},
         Writer ! {do, make_ref(), 1, {reserve, 0, ?LATER, false, Wrong}, Draft, self()}
     end || Owner <- [undefined, nil, foo, 5, <<>>, "owner", {}, [a | b]],
            Wrong <- [<<>>, <<"owner">>, term_to_binary(foo), term_to_binary([a | b])]],
    ok = cost_ledger:record_invocation(L, executing, #{cost => 1}),
    ?assertEqual(Writer, child(L, writer)),
    exit(Writer, kill),
    eventually(fun() ->
                       Next = child(L, writer),
                       is_pid(Next) andalso Next =/= Writer
               end),
    Next = child(L, writer),
    ok = cost_ledger:record_invocation(L, executing, #{cost => 1}),
    ?assertEqual(Next, child(L, writer)),
    {ok, _} = cost_ledger:holds(L),
    close(L).

a_stopped_ledger_is_unavailable(Config) ->
    L = open(Config, cap(500)),
    at(L, ?NOON),
    {ok, Hold} = cost_ledger:reserve(L, paid(75)),
    close(L),
    [{error, unavailable} = Call()
     || Call <- [fun() -> cost_ledger:reserve(L, paid(1)) end,
                 fun() -> cost_ledger:settle(Hold, #{cost => 1}) end,
                 fun() -> cost_ledger:release(Hold) end,
                 fun() -> cost_ledger:meter(Hold, #{cost => 1}) end,
                 fun() -> cost_ledger:holds(L) end,
                 fun() -> cost_ledger:budget_status(L, all) end,
                 fun() -> cost_ledger:balance(L, all) end,
                 fun() -> cost_ledger:grant(L, all, 1, ?BY#{kind => topup}) end,
                 fun() -> cost_ledger:set_policy(L, #{}, ?BY) end,
                 fun() -> cost_ledger:policy(L) end,
                 fun() -> cost_ledger:reset(L, <<"cap">>, ?BY) end,
                 fun() -> cost_ledger:with_budget(L, paid(1), fun(_) -> error(was_called) end)
                 end]],
    ok.

%%% Failures -----------------------------------------------------------------------------------

%% Nobody knows of a hold whose caller gave up: it must not stand in anyone's way.
a_reservation_that_timed_out_is_withdrawn(Config) ->
    L = open(Config, [rule(<<"calls">>, all, invocations, lifetime, 2) | cap(100)],
             #{call_timeout => 200}),
    at(L, ?NOON),
    Writer = child(L, writer),
    ok = sys:suspend(Writer),
    %% Their owner lives on: only the timeout ends them.
    Attempt = (paid(100))#{owner => self()},
    ?assertEqual(lists:duplicate(5, {error, timeout}),
                 in_parallel(5, fun(_) -> cost_ledger:reserve(L, Attempt) end)),
    ok = sys:resume(Writer),
    %% Behind all of them in the queue.
    ok = patiently(fun() -> cost_ledger:record_invocation(L, executing, #{id => <<"behind">>,
                                                                          cost => 0}) end),
    eventually(fun() -> use(L) =:= {0, 0} end),
    ?assertMatch(#{used := 1, held := 0}, told(L, all, <<"calls">>)),
    ?assertEqual([{completed, 0}], booked(L)),
    ?assertEqual(0, live(L)),
    {ok, Hold} = patiently(fun() -> cost_ledger:reserve(L, paid(100)) end),
    ok = patiently(fun() -> cost_ledger:release(Hold, #{id => <<"released">>}) end),
    ?assertEqual({messages, []}, process_info(self(), messages)),
    close(L).

%% Their owner lives on: each hold was watched, and no longer is.
what_timed_out_leaves_nothing_watched(Config) ->
    L = open(Config, cap(infinity), #{call_timeout => 200}),
    at(L, ?NOON),
    Writer = child(L, writer),
    ok = sys:suspend(Writer),
    Attempt = (paid(1))#{owner => self()},
    ?assertEqual(lists:duplicate(300, {error, timeout}),
                 in_parallel(300, fun(_) -> cost_ledger:reserve(L, Attempt) end)),
    eventually(fun() -> {message_queue_len, 600} =:= process_info(Writer, message_queue_len) end),
    ok = sys:resume(Writer),
    eventually(fun() -> {message_queue_len, 0} =:= process_info(Writer, message_queue_len) end),
    eventually(fun() -> live(L) =:= 0 end),
    ?assertEqual(Writer, child(L, writer)),
    watches_nothing(L),
    close(L).

a_settlement_that_timed_out_is_repeated_under_its_id(Config) ->
    L = open(Config, cap(100), #{call_timeout => 200}),
    at(L, ?NOON),
    {ok, Hold} = patiently(fun() -> cost_ledger:reserve(L, paid(75)) end),
    Usage = #{cost => 60, id => <<"settled 1">>},
    Writer = child(L, writer),
    ok = sys:suspend(Writer),
    {error, timeout} = cost_ledger:settle(Hold, Usage),
    {error, timeout} = cost_ledger:settle(Hold, Usage),
    ok = sys:resume(Writer),
    {ok, #{late := false, overrun := false} = Answer} =
        patiently(fun() -> cost_ledger:settle(Hold, Usage) end),
    {ok, Answer} = patiently(fun() -> cost_ledger:settle(Hold, Usage) end),
    ?assertEqual({60, 0}, use(L)),
    ?assertEqual([{completed, 60}], booked(L)),
    close(L).

callers_killed_while_they_wait_leave_nothing_held(Config) ->
    L = open(Config, cap(1000)),
    at(L, ?NOON),
    Writer = child(L, writer),
    ok = sys:suspend(Writer),
    Callers = [spawn(fun() -> cost_ledger:reserve(L, paid(10)) end) || _ <- lists:seq(1, 50)],
    eventually(fun() ->
                       {message_queue_len, Waiting} = process_info(Writer, message_queue_len),
                       Waiting >= 50
               end),
    [exit(Caller, kill) || Caller <- Callers],
    ok = sys:resume(Writer),
    {ok, Hold} = cost_ledger:reserve(L, paid(10)),
    ok = cost_ledger:release(Hold),
    eventually(fun() -> 0 =:= held(L, all, <<"cap">>) end),
    ?assertEqual(0, live(L)),
    %% What became of them is booked, as aborted, or was never made.
    Booked = booked(L),
    ?assertEqual([], [Other || Other <- Booked, Other =/= {aborted, 10}]),
    ?assertEqual({10 * length(Booked), 0}, use(L)),
    close(L).

a_killed_writer_loses_no_hold_and_books_none_twice(Config) ->
    L = open(Config, [rule(<<"calls">>, all, invocations, lifetime, infinity) | cap(infinity)]),
    at(L, ?NOON),
    %% The supervisor allows 30 restarts in 10 s.
    Killer = spawn(fun() ->
                           [begin
                                timer:sleep(rand:uniform(50)),
                                Writer = child(L, writer),
                                is_pid(Writer) andalso exit(Writer, kill)
                            end || _ <- lists:seq(1, 25)]
                   end),
    Settled = lists:sum(in_parallel(20, fun(_) -> settle_while(Killer, L, 0) end)),
    ct:log("~b settled", [Settled]),
    ?assertEqual({60 * Settled, 0}, use(L)),
    ?assertMatch(#{used := Settled, held := 0}, told(L, all, <<"calls">>)),
    ?assertEqual(0, live(L)),
    ?assertEqual(lists:duplicate(Settled, {completed, 60}), booked(L)),
    close(L).

%% How many holds a process settled; as many again it released.
settle_while(Killer, L, Settled) ->
    {ok, Released} = cost_ledger:reserve(L, paid(10)),
    {ok, Hold} = cost_ledger:reserve(L, paid(75)),
    ok = cost_ledger:meter(Hold, #{cost => 30}),
    ok = cost_ledger:release(Released),
    {ok, #{late := false, overrun := false}} = cost_ledger:settle(Hold, #{cost => 60}),
    case is_process_alive(Killer) of
        true -> settle_while(Killer, L, Settled + 1);
        false -> Settled + 1
    end.

%% The next writer waits for that commit before it looks whom to watch. See also
%% cost_ledger_fault_SUITE, where commits take long.
holds_that_killed_writers_left_in_flight_are_watched(Config) ->
    L = open(Config, cap(infinity)),
    at(L, ?NOON),
    Killer = spawn(fun() ->
                           [begin
                                timer:sleep(rand:uniform(40)),
                                Writer = child(L, writer),
                                is_pid(Writer) andalso exit(Writer, kill)
                            end || _ <- lists:seq(1, 20)]
                   end),
    Self = self(),
    Owners = [spawn(fun() ->
                            Self ! {self(), reserve_while(Killer, L, 0)},
                            receive after infinity -> ok end
                    end) || _ <- lists:seq(1, 20)],
    Reserved = lists:sum([receive {Owner, Count} -> Count end || Owner <- Owners]),
    ct:log("~b reserved", [Reserved]),
    ?assertEqual({0, Reserved}, use(L)),
    [exit(Owner, kill) || Owner <- Owners],
    eventually(fun() -> 0 =:= held(L, all, <<"cap">>) end),
    ?assertEqual({Reserved, 0}, use(L)),
    ?assertEqual(0, live(L)),
    watches_nothing(L),
    ?assertEqual(lists:duplicate(Reserved, {aborted, 1}), booked(L)),
    close(L).

reserve_while(Killer, L, Count) ->
    {ok, _} = cost_ledger:reserve(L, paid(1)),
    case is_process_alive(Killer) of
        true -> reserve_while(Killer, L, Count + 1);
        false -> Count + 1
    end.

owners_that_die_while_there_is_no_writer_are_noticed(Config) ->
    owners_die_after(Config, writer).

owners_that_die_while_the_ledger_restarts_are_noticed(Config) ->
    owners_die_after(Config, owner).

owners_die_after(Config, Child) ->
    L = open(Config, cap(10000)),
    at(L, ?NOON),
    [begin
         {Used, 0} = use(L),
         Self = self(),
         Owners = [spawn(fun() ->
                                 {ok, Hold} = cost_ledger:reserve(L, paid(75)),
                                 ok = cost_ledger:meter(Hold, #{cost => 30}),
                                 Self ! {self(), Hold},
                                 receive after infinity -> ok end
                         end) || _ <- lists:seq(1, 20)],
         Holds = [receive {Owner, Hold} -> Hold end || Owner <- Owners],
         Killed = child(L, Child),
         [exit(Pid, kill) || Pid <- [Killed | Owners]],
         %% What is dead may answer for another moment.
         eventually(fun() ->
                            Next = child(L, Child),
                            is_pid(Next) andalso Next =/= Killed
                    end),
         Expected = Used + 600,
         eventually(fun() ->
                            case cost_ledger:budget_status(L, all) of
                                {ok, #{rules := [#{used := Now, held := 0}]}} -> Now =:= Expected;
                                {ok, _} -> false;
                                {error, unavailable} -> false
                            end
                    end),
         {ok, #{late := true}} = cost_ledger:settle(hd(Holds), #{cost => 30}),
         ?assertEqual({Expected, 0}, use(L))
     end || _ <- lists:seq(1, 5)],
    ?assertEqual(lists:duplicate(100, {aborted, 30}), booked(L)),
    close(L).

a_killed_vm_books_what_was_metered_once(Config) ->
    Path = ?config(path, Config),
    L = list_to_atom("killed_" ++ integer_to_list(erlang:unique_integer([positive]))),
    Peer = cost_ledger_test:start_vm(),
    [Metered, Estimated, Settled, Released] = peer:call(Peer, ?MODULE, hold_some, [L, Path], 30000),
    ok = cost_ledger_test:kill_vm(Peer),
    L = cost_ledger_test:open(L, Path, #{}),
    eventually(fun() -> held(L, all, <<"cap">>) =:= 0 end),
    Booked = fun() ->
                     lists:sort([{User, Status, Cost}
                                 || #{user := User, status := Status, cost := Cost}
                                        <- cost_ledger:history(L, #{})])
             end,
    Expected = [{<<"estimated">>, aborted, 75}, {<<"metered">>, aborted, 30},
                {<<"settled">>, completed, 60}],
    ?assertEqual(Expected, Booked()),
    ?assertEqual({165, 0}, use(L)),
    ?assertEqual(0, live(L)),
    close(L),
    %% Nothing is booked again, however often it dies.
    Second = cost_ledger_test:start_vm(),
    L = peer:call(Second, cost_ledger_test, open, [L, Path, #{}], 30000),
    ok = cost_ledger_test:kill_vm(Second),
    L = cost_ledger_test:open(L, Path, #{}),
    ?assertEqual({165, 0}, use(L)),
    %% A caller that outlived the VM settles late.
    [{error, {resolved, _}} = cost_ledger:settle(Hold, #{cost => 99})
     || Hold <- [Settled, Released]],
    {ok, #{late := true}} = cost_ledger:settle(Metered, #{cost => 50}),
    ?assertEqual({185, 0}, use(L)),
    {ok, #{late := true}} = cost_ledger:settle(Estimated, #{cost => 75}),
    ?assertEqual({185, 0}, use(L)),
    [{error, {resolved, _}} = cost_ledger:settle(Hold, #{cost => 99})
     || Hold <- [Metered, Estimated]],
    ?assertEqual(Expected, Booked()),
    %% It also finds its hold by the id that it gave it.
    ?assertEqual({ok, Metered}, cost_ledger:reserve(L, (paid(75))#{user => <<"metered">>,
                                                                   id => <<"metered">>})),
    ?assertEqual({185, 0}, use(L)),
    close(L).

%% In another VM. The caller is gone when this returns: the owner must not be.
hold_some(L, Path) ->
    L = cost_ledger_test:open(L, Path, #{rules => cap(500)}),
    at(L, ?NOON),
    [Metered, _, Settled, Released] = Holds =
        [begin
             {ok, Hold} = cost_ledger:reserve(L, (paid(75))#{user => Name, id => Name,
                                                             owner => whereis(init)}),
             Hold
         end || Name <- [<<"metered">>, <<"estimated">>, <<"settled">>, <<"released">>]],
    ok = cost_ledger:meter(Metered, #{cost => 20}),
    ok = cost_ledger:meter(Metered, #{cost => 30}),
    {ok, _} = cost_ledger:settle(Settled, #{cost => 60}),
    ok = cost_ledger:release(Released),
    Holds.

%% Killed at any moment: what was acknowledged as settled is there as that, what was under way is
%% there as aborted, each call once, and nothing is held.
killed_vms_book_every_call_once(Config) ->
    Booked = [kill_once(Config, Round) || Round <- lists:seq(1, 5)],
    ct:log("calls booked after each kill: ~p", [Booked]),
    ?assert(lists:last(Booked) > 0).

%% How many calls are in the ledger after 10 processes were cut off.
kill_once(Config, Round) ->
    Path = ?config(path, Config),
    Acknowledged = cost_ledger_test:directory(Config),
    ok = filelib:ensure_path(Acknowledged),
    Peer = cost_ledger_test:start_vm(),
    _ = peer:call(Peer, erlang, spawn, [?MODULE, settle_for_ever, [Path, Acknowledged, Round, 10]]),
    timer:sleep(200 + rand:uniform(200)),
    ok = cost_ledger_test:kill_vm(Peer),
    L = cost_ledger_test:open(Path, #{rules => cap(infinity)}),
    eventually(fun() -> live(L) =:= 0 end),
    Records = cost_ledger:history(L, #{limit => 1 bsl 40}),
    Users = [User || #{user := User} <- Records],
    ?assertEqual([], Users -- lists:usort(Users)),
    Outcomes = [{Status, Cost} || #{status := Status, cost := Cost} <- Records],
    ?assertEqual(length(Records), length(Outcomes)),
    ?assertEqual([], lists:usort(Outcomes) -- [{completed, 60}, {aborted, 30}, {aborted, 75}]),
    ?assert(length([aborted || {aborted, _} <- Outcomes]) =< Round * 10),
    ?assertEqual([], acknowledged(Acknowledged)
                     -- [User || #{user := User, status := completed} <- Records]),
    ?assertEqual({lists:sum([Cost || {_, Cost} <- Outcomes]), 0}, use(L)),
    close(L),
    cost_ledger_test:remove(Acknowledged),
    length(Records).

acknowledged(Directory) ->
    {ok, Files} = file:list_dir(Directory),
    lists:append([begin
                      {ok, Text} = file:read_file(filename:join(Directory, File)),
                      %% A line that was cut off does not count.
                      lists:droplast(binary:split(Text, <<"\n">>, [global]))
                  end || File <- Files]).

%% In another VM, until it is killed.
settle_for_ever(Path, Acknowledged, Round, Count) ->
    L = cost_ledger_test:open(Path, #{rules => cap(infinity)}),
    in_parallel(Count, fun(Process) ->
                               Name = integer_to_list(Process),
                               {ok, File} = file:open(filename:join(Acknowledged, Name),
                                                      [raw, append, binary]),
                               Prefix = [integer_to_list(Round), $., Name, $.],
                               settle_calls(L, File, Prefix, 1)
                       end).

settle_calls(L, File, Prefix, Number) ->
    User = iolist_to_binary([Prefix, integer_to_list(Number)]),
    {ok, Hold} = cost_ledger:reserve(L, (paid(75))#{user => User, id => User,
                                                    owner => whereis(init)}),
    ok = cost_ledger:meter(Hold, #{cost => 30}),
    {ok, #{late := false}} = cost_ledger:settle(Hold, #{cost => 60}),
    ok = file:write(File, [User, $\n]),
    settle_calls(L, File, Prefix, Number + 1).

%%% Tools --------------------------------------------------------------------------------------

cap(Limit) -> [rule(<<"cap">>, all, cost, lifetime, Limit)].

paid(Cost) -> #{state => executing, cost => Cost}.

run(Cost) -> #{kind => run, cost => Cost}.

use(L) ->
    #{used := Used, held := Held} = told(L, all, <<"cap">>),
    {Used, Held}.

%% Once all holds have ended, and the writer has heard of it.
watches_nothing(L) ->
    Writer = child(L, writer),
    ?assertEqual([], [Map || Map <- tuple_to_list(sys:get_state(Writer)), is_map(Map),
                             map_size(Map) > 0]),
    ?assertEqual({monitors, []}, process_info(Writer, monitors)).

%% The calls that were booked, as a sorted list.
booked(L) ->
    lists:sort([{Status, Cost} || #{status := Status, cost := Cost, kind := invocation}
                                      <- cost_ledger:history(L, #{limit => 1 bsl 40})]).

%% A hold with which its owner did what Fun says, before it was killed.
of_killed_owner(L, Attempt, Fun) ->
    Self = self(),
    {Owner, Monitor} = spawn_monitor(fun() ->
                                             {ok, Hold} = cost_ledger:reserve(L, Attempt),
                                             _ = Fun(Hold),
                                             Self ! {self(), Hold},
                                             receive after infinity -> ok end
                                     end),
    receive
        {Owner, Hold} ->
            exit(Owner, kill),
            receive {'DOWN', Monitor, process, Owner, killed} -> Hold end;
        {'DOWN', Monitor, process, Owner, Reason} ->
            error(Reason)
    end.

%% A run, and a child that was settled for each of the costs.
run_with_children(L, Attempt, Costs) ->
    {ok, Run} = cost_ledger:reserve(L, Attempt),
    [step(L, Run, Cost) || Cost <- Costs],
    Run.

step(L, Run, Cost) ->
    {ok, Child} = cost_ledger:reserve(L, (paid(Cost))#{parent => Run}),
    {ok, _} = cost_ledger:settle(Child, #{cost => Cost}),
    ok.

%% Again until it is answered; for calls that may be repeated.
patiently(Call) ->
    case Call() of
        {error, timeout} -> patiently(Call);
        Answer -> Answer
    end.
