%%% The format on disk, read by a program that knows only docs/format.md: test/format/read_ledger.py
%%% with python3-lmdb and python3-msgpack. What it adds up must be what was booked, and it must
%%% find what was damaged.
-module(cost_ledger_format_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include_lib("kernel/include/file.hrl").

-import(cost_ledger_test_budget, [rule/5, rule/6, child/2, denied/1]).

-export([all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([an_empty_ledger/1, random_entries_open_and_closed/1, ids_that_run_ahead_of_the_clock/1,
         sums_beyond_64_bits/1, an_exhausted_gate/1, while_entries_are_booked/1,
         files_are_private/1, a_file_as_large_as_its_map/1]).
-export([every_kind_of_entry/1, every_window_as_it_is_told/1, every_measure_as_it_is_told/1,
         rules_in_place_of_others/1, holds_that_are_live/1, holds_that_nobody_ended/1,
         holds_of_a_vm_that_is_gone/1, a_reservation_that_is_withdrawn/1,
         requests_with_ids/1, warnings_and_resets/1, settings_and_their_history/1,
         series_that_are_built_later/1, names_that_only_holds_used/1, random_work_on_budgets/1,
         while_holds_are_made/1, a_gate_with_rules_of_every_form/1,
         an_older_ledger_gets_the_word/1, hold_some/2]).
-export([every_kind_of_record/1, payloads_of_every_type/1, runs_that_are_named/1,
         prices_that_are_set_again/1, corrections_of_everything/1, random_records/1,
         what_needs_the_second_word/1]).
-export([old_records_that_were_removed/1, old_work_on_budgets_that_was_removed/1,
         damage_where_old_entries_were_removed/1]).
-export([damage_in_an_entry/1, positions_and_dimensions_beyond_the_known/1,
         damage_in_the_policy/1, damage_in_a_change_of_the_policy/1,
         bytes_after_the_last_item_of_a_block/1, damage_in_the_gate/1,
         damage_in_the_time_last_seen/1, a_newer_format_is_refused/1,
         a_missing_row_is_reported/1, any_byte_of_derived_data_is_checked/1,
         damage_in_a_hold/1, damage_in_what_is_held/1, damage_in_a_key/1, damage_in_a_mark/1,
         damage_in_an_entry_of_a_budget/1, a_hold_of_a_newer_version/1,
         a_truncated_file_is_not_read/1, the_example_of_the_documentation/1,
         the_example_with_budgets/1, the_example_with_records/1]).
-export([damage_in_a_payload/1, a_payload_of_another_form/1, damage_in_a_run_id/1,
         damage_in_what_is_derived_from_records/1, damage_in_a_record/1,
         damage_in_a_series_by_status/1]).

-define(PYTHON, "/usr/bin/python3").
-define(START_MS, 1700000000000).
-define(HOUR_MS, 3600000).
-define(DAY_MS, 86400000).
-define(AMOUNT_MAX, 1000000000000000).
-define(STATES, [executing, improving, contemplating, '思考中', 'naïve état']).
-define(CLASSES, [input, output, cache_read, cache_creation, reasoning]).
-define(BY, #{by => test, reason => <<"a test">>}).
-define(LATER, 40 * ?DAY_MS). % of a deadline that a case does not want to meet

all() ->
    [an_empty_ledger, random_entries_open_and_closed, ids_that_run_ahead_of_the_clock,
     sums_beyond_64_bits, an_exhausted_gate, while_entries_are_booked, files_are_private,
     a_file_as_large_as_its_map,
     every_kind_of_entry, every_window_as_it_is_told, every_measure_as_it_is_told,
     rules_in_place_of_others, holds_that_are_live, holds_that_nobody_ended,
     holds_of_a_vm_that_is_gone, a_reservation_that_is_withdrawn, requests_with_ids,
     warnings_and_resets, settings_and_their_history, series_that_are_built_later,
     names_that_only_holds_used, random_work_on_budgets, while_holds_are_made,
     a_gate_with_rules_of_every_form, an_older_ledger_gets_the_word,
     every_kind_of_record, payloads_of_every_type, runs_that_are_named, prices_that_are_set_again,
     corrections_of_everything, random_records, what_needs_the_second_word,
     old_records_that_were_removed, old_work_on_budgets_that_was_removed,
     damage_where_old_entries_were_removed,
     damage_in_an_entry, positions_and_dimensions_beyond_the_known, damage_in_the_policy,
     damage_in_a_change_of_the_policy, bytes_after_the_last_item_of_a_block, damage_in_the_gate,
     damage_in_the_time_last_seen, a_newer_format_is_refused, a_missing_row_is_reported,
     any_byte_of_derived_data_is_checked, damage_in_a_hold, damage_in_what_is_held,
     damage_in_a_key, damage_in_a_mark, damage_in_an_entry_of_a_budget,
     a_hold_of_a_newer_version, damage_in_a_payload, a_payload_of_another_form, damage_in_a_run_id,
     damage_in_what_is_derived_from_records, damage_in_a_record, damage_in_a_series_by_status,
     a_truncated_file_is_not_read, the_example_of_the_documentation, the_example_with_budgets,
     the_example_with_records].

init_per_suite(Config) ->
    case run([?PYTHON, "-c", "import lmdb, msgpack"]) of
        {0, _} -> Config;
        {_, Why} -> {skip, "needs Debian's python3-lmdb and python3-msgpack: " ++ Why}
    end.

end_per_suite(_Config) -> ok.

%% The same entries in every run of a case.
init_per_testcase(_Case, Config) ->
    _ = rand:seed(exsss, {17, 4, 2}),
    [{directory, cost_ledger_test:directory(Config)} | Config].

end_per_testcase(_Case, Config) ->
    Directory = directory(Config),
    [cost_ledger_test:remove(D) || D <- [Directory | filelib:wildcard(Directory ++ "-*")]],
    ok.

%%% What is booked is what is read -----------------------------------------------------------------

an_empty_ledger(Config) ->
    Ledger = open(Config, #{}),
    Expected = #{"entries" => 0, "invocations" => 0, "names" => 0, "series" => 0, "last_id" => 0,
                 "policy_version" => 1},
    expect(Expected, directory(Config)),
    ok = cost_ledger:stop(Ledger),
    expect(Expected, directory(Config)).

random_entries_open_and_closed(Config) ->
    Ledger = open(Config, #{}),
    _ = cost_ledger_test:at(Ledger, ?START_MS),
    {ok, 2} = cost_ledger:set_budgets(Ledger, maps:from_list([{S, #{}} || S <- ?STATES]),
                                      #{by => ops, reason => "declare"}),
    Sums = lists:foldl(fun(N, Acc) -> book_slice(Ledger, N, Acc) end, #{"entries" => 1},
                       lists:seq(1, 50)),
    ?assertEqual(5000, maps:get("invocations", Sums)),
    {ok, History} = cost_ledger:policy_history(Ledger),
    #{version := Version, id := PolicyId} = hd(History),
    [#{id := LastInvocation}] = cost_ledger:history(Ledger, #{limit => 1}),
    Expected = Sums#{"policy_version" => Version, "last_policy_id" => PolicyId,
                     "last_invocation_id" => LastInvocation,
                     "last_id" => max(LastInvocation, PolicyId)},
    ?assert(Version > 8),
    Open = expect(Expected, directory(Config)),
    %% Blocks are closed by their length as well as by their count.
    Fewest = 5000 div 32 + 1 + length(?STATES) * (5000 div length(?STATES) div 32 + 1),
    ?assertMatch({Blocks, _} when Blocks > Fewest + 10, {maps:get("blocks", Open), Fewest}),
    ?assert(maps:get("rollups", Open) > 100),
    ok = cost_ledger:stop(Ledger),
    ?assertEqual(Open, expect(Expected, directory(Config))),
    %% Opened once more, the gate is made anew from the same data.
    Again = open(Config, #{}),
    ?assertEqual(Open, expect(Expected, directory(Config))),
    ok = cost_ledger:stop(Again).

%% A hundred invocations of ten callers at once, then a step of the clock; now and then a change
%% of the budgets.
book_slice(Ledger, N, Sums) ->
    Kind = lists:nth(1 + N rem 5, [small, small, large, mixed, mixed]),
    Metas = [{random_state(), random_meta(Kind)} || _ <- lists:seq(1, 100)],
    ok = book_at_once(Ledger, Metas, 10),
    ok = cost_ledger:advance_clock(Ledger, lists:nth(1 + N rem 6, [0, 1, 777, 60000, ?HOUR_MS,
                                                                   7 * ?HOUR_MS + 13])),
    ok = case N rem 17 of
             0 -> cost_ledger:advance_clock(Ledger, 40 * ?DAY_MS);
             _ -> ok
         end,
    Added = lists:foldl(fun add/2, Sums, Metas),
    case N rem 6 of
        0 ->
            {ok, _} = cost_ledger:set_budgets(Ledger, random_budgets(N),
                                              #{by => <<"ops é"/utf8>>,
                                                reason => random_text(300)}),
            count("entries", 1, Added);
        _ ->
            Added
    end.

random_budgets(N) ->
    #{random_state() => #{max_per_hour => 1000 + N, max_per_day => infinity},
      list_to_atom("state_" ++ integer_to_list(N)) => #{max_per_hour => 0}}.

random_state() -> lists:nth(rand:uniform(length(?STATES)), ?STATES).

%% Large ones give everything, so that blocks are closed by their length before they have 32 items.
random_meta(large) ->
    #{duration_ms => random_amount(large), cost => random_amount(large),
      credits => random_amount(large), tokens => random_tokens(large), model => long_name()};
random_meta(Kind) ->
    maps:from_list(
      lists:append([some(0.9, duration_ms, random_amount(Kind)),
                    some(0.7, status, lists:nth(rand:uniform(3), [completed, failed, aborted])),
                    some(0.8, cost, random_amount(Kind)),
                    some(0.4, credits, random_amount(Kind)),
                    some(0.6, tokens, random_tokens(Kind)),
                    some(0.3, prompt_type, lists:nth(rand:uniform(2), [review, 'プラン'])),
                    some(0.2, org, <<"org">>), some(0.2, project, random_text(20)),
                    some(0.3, user, random_text(3)), some(0.1, agent, random_text(900)),
                    some(0.4, model, lists:nth(rand:uniform(3), ['m-1', <<"m-2">>, long_name()])),
                    some(0.1, provider, random_text(2))])).

some(Probability, Key, Value) ->
    case rand:uniform() < Probability of
        true -> [{Key, Value}];
        false -> []
    end.

random_amount(small) -> rand:uniform(2001) - 1;
random_amount(large) -> ?AMOUNT_MAX + 1 - rand:uniform(3);
random_amount(mixed) ->
    case rand:uniform(4) of
        1 -> 0;
        2 -> ?AMOUNT_MAX;
        _ -> rand:uniform(1 bsl rand:uniform(49))
    end.

random_tokens(large) ->
    maps:from_list([{Class, random_amount(large)} || Class <- ?CLASSES]);
random_tokens(Kind) ->
    maps:from_list([{Class, random_amount(Kind)}
                    || Class <- lists:sublist(?CLASSES, rand:uniform(6) - 1)]).

random_text(Most) ->
    Letters = ["a", "z", "0", "é", "日", "𝄞", "=", "\n", " "],
    unicode:characters_to_binary([lists:nth(rand:uniform(length(Letters)), Letters)
                                  || _ <- lists:seq(1, rand:uniform(Most))]).

%% The longest that a name may be: 65,535 bytes.
long_name() -> binary:copy(<<"日"/utf8>>, 21845).

%% At one ms before midnight so many invocations that their ids pass it: a batch that goes on in
%% the next hour, the next day, and behind the clock.
ids_that_run_ahead_of_the_clock(Config) ->
    Ledger = open(Config, #{}),
    Midnight = (?START_MS div ?DAY_MS + 1) * ?DAY_MS,
    _ = cost_ledger_test:at(Ledger, Midnight - 1),
    Metas = [{random_state_of(3), random_meta(small)} || _ <- lists:seq(1, 1500)],
    ok = book_at_once(Ledger, Metas, 50),
    Sums = lists:foldl(fun add/2, #{}, Metas),
    Read = expect(Sums#{"last_id" => (Midnight - 1) * 1000 + 1499}, directory(Config)),
    %% Four series, two hours, two days.
    ?assertEqual(16, maps:get("rollups", Read)),
    ok = cost_ledger:stop(Ledger).

random_state_of(N) -> lists:nth(rand:uniform(N), ?STATES).

sums_beyond_64_bits(Config) ->
    Ledger = open(Config, #{}),
    _ = cost_ledger_test:at(Ledger, ?START_MS),
    Meta = #{cost => ?AMOUNT_MAX, credits => ?AMOUNT_MAX, duration_ms => ?AMOUNT_MAX,
             tokens => maps:from_list([{Class, ?AMOUNT_MAX} || Class <- ?CLASSES])},
    ok = book_at_once(Ledger, lists:duplicate(9600, {executing, Meta}), 100),
    ok = cost_ledger:stop(Ledger),
    Read = expect(#{"invocations" => 9600, "cost" => 9600 * ?AMOUNT_MAX}, directory(Config)),
    ?assert(maps:get("cost", Read) > 1 bsl 63).

%% The reader computes the words of the gate for itself: exhausted until, never, allowed again.
an_exhausted_gate(Config) ->
    Ledger = open(Config, #{budgets => #{executing => #{max_per_hour => 3, max_per_day => 5},
                                         improving => #{max_per_hour => 0}}}),
    Check = fun(Ms, Answer) ->
                    _ = cost_ledger_test:at(Ledger, Ms),
                    ?assertEqual(Answer, cost_ledger:check_budget(Ledger, executing)),
                    expect(#{}, directory(Config))
            end,
    Book = fun(Ms) ->
                   _ = cost_ledger_test:at(Ledger, Ms),
                   ok = cost_ledger:record_invocation(Ledger, executing, #{})
           end,
    ?assertEqual(budget_exhausted, cost_ledger:check_budget(Ledger, improving)),
    [Book(?START_MS + N * 60000) || N <- [0, 1, 2]],
    Check(?START_MS + 120000, budget_exhausted),
    Check(?START_MS + ?HOUR_MS, budget_exhausted),
    Check(?START_MS + ?HOUR_MS + 1, ok),
    [Book(?START_MS + ?HOUR_MS + 5) || _ <- [1, 2]],
    Check(?START_MS + ?DAY_MS, budget_exhausted),
    Check(?START_MS + ?DAY_MS + 1, ok),
    ok = cost_ledger:stop(Ledger).

%% Whatever moment the reader meets, what it reads fits together.
while_entries_are_booked(Config) ->
    Ledger = open(Config, #{}),
    _ = cost_ledger_test:at(Ledger, ?START_MS),
    Self = self(),
    Bookers = [spawn_monitor(fun() -> book_until_told(Ledger, Self, 0) end)
               || _ <- lists:seq(1, 4)],
    Counts = [maps:get("invocations", expect(#{}, directory(Config))) || _ <- lists:seq(1, 6)],
    [Pid ! stop || {Pid, _} <- Bookers],
    Booked = lists:sum([receive {booked, Pid, N} -> N end || {Pid, _} <- Bookers]),
    ?assertEqual(lists:sort(Counts), Counts),
    ?assert(lists:last(Counts) > hd(Counts)),
    expect(#{"invocations" => Booked}, directory(Config)),
    ok = cost_ledger:stop(Ledger).

book_until_told(Ledger, Parent, N) ->
    receive
        stop -> Parent ! {booked, self(), N}
    after 1 ->
            ok = cost_ledger:record_invocation(Ledger, random_state_of(3), random_meta(small)),
            _ = cost_ledger:advance_clock(Ledger, 90000), %% backwards when another was faster
            book_until_told(Ledger, Parent, N + 1)
    end.

files_are_private(Config) ->
    Ledger = open(Config, #{}),
    ok = cost_ledger:record_invocation(Ledger, executing, #{}),
    Directory = directory(Config),
    {ok, Names} = file:list_dir(Directory),
    ?assertEqual(["data.mdb", "gate", "lock.mdb", "writer.lock"], lists:sort(Names)),
    ?assertEqual(8#700, mode(Directory)),
    [?assertEqual({Name, 8#600}, {Name, mode(filename:join(Directory, Name))}) || Name <- Names],
    expect(#{"invocations" => 1}, Directory),
    ok = cost_ledger:stop(Ledger),
    [?assertEqual({Name, 8#600}, {Name, mode(filename:join(Directory, Name))}) || Name <- Names].

mode(Path) ->
    {ok, #file_info{mode = Mode}} = file:read_file_info(Path),
    Mode band 8#777.

%% data.mdb is kept longer than its header says, and never longer than the map.
a_file_as_large_as_its_map(Config) ->
    MapSize = 2 bsl 20,
    Ledger = open(Config, #{map_size => MapSize}),
    Size = fun() -> filelib:file_size(filename:join(directory(Config), "data.mdb")) end,
    ok = cost_ledger:record_invocation(Ledger, executing, #{}),
    ?assert(Size() > 1 bsl 20),
    Booked = fill(Ledger, 1),
    ?assertEqual(MapSize, Size()),
    expect(#{"invocations" => Booked}, directory(Config)),
    ok = cost_ledger:stop(Ledger),
    ?assertEqual(MapSize, Size()),
    expect(#{"invocations" => Booked}, directory(Config)).

%% Books, under a long name of its own each, until the map is full.
fill(Ledger, Booked) ->
    Agent = <<(integer_to_binary(Booked))/binary, (binary:copy(<<"-">>, 60000))/binary>>,
    case cost_ledger:record_invocation(Ledger, executing, #{agent => Agent}) of
        ok -> fill(Ledger, Booked + 1);
        {error, {map_full, _}} -> Booked
    end.

%%% Budgets ----------------------------------------------------------------------------------------

%% Every kind of entry that is written, and every flag.
every_kind_of_entry(Config) ->
    Ledger = open_with(Config, [rule(prepaid, #{org => acme}, credits, lifetime, granted,
                                     #{grace => 10, soft => 80}),
                                rule(money, all, cost, {calendar, month, 0}, 1000000),
                                rule(tokens, #{user => each}, tokens, {rolling, ?HOUR_MS}, 500)]),
    _ = cost_ledger_test:at(Ledger, ?START_MS),
    ok = grant(Ledger, #{org => acme}, 500, purchase, #{}),
    ok = grant(Ledger, #{org => acme}, -100, adjustment, #{}),
    ok = grant(Ledger, all, 70, topup, #{measure => cost}),
    Run = reserve(Ledger, #{kind => run, org => acme, cost => 1000, credits => 200}),
    Attempt = #{org => acme, parent => Run, cost => 50, credits => 5, tokens => 0},
    Settled = reserve(Ledger, Attempt#{state => executing, user => u1}),
    {ok, #{overrun := false}} =
        cost_ledger:settle(Settled, #{cost => 130, credits => 15, duration_ms => 12,
                                      tokens => #{input => 20, output => 5}}),
    Expired = reserve(Ledger, Attempt#{state => improving, user => u2, deadline_ms => 1000}),
    ok = cost_ledger:meter(Expired, #{cost => 30}),
    Released = reserve(Ledger, Attempt#{state => improving, user => u2}),
    ok = cost_ledger:release(Released),
    _ = reserve(Ledger, #{kind => run, cost => 5, deadline_ms => 1000}),
    ok = cost_ledger:advance_clock(Ledger, 2000),
    {ok, #{late := true}} = cost_ledger:settle(Expired, #{cost => 45, credits => 2}),
    ok = cost_ledger:record_invocation(Ledger, executing, #{user => u1, cost => 0,
                                                            tokens => #{input => 600}}),
    {ok, _} = cost_ledger:settle(Run, #{cost => 500, credits => 20, status => failed}),
    {ok, _} = cost_ledger:reset(Ledger, money, ?BY),
    {ok, 2} = cost_ledger:set_policy(Ledger, #{rules => []}, ?BY),
    Expected = numbers(
                 [{kinds, [{invocation, 3}, {run, 2}, {grant, 3}, {release, 1}, {correction, 1},
                           {policy, 1}, {reset, 1}, {price, 0}]},
                  {flags, [{overrun, 1}, {late, 1}, {completes, 1}, {unattended, 2}]},
                  {totals, [{invocations, 3}, {runs, 2}, {completed, 3}, {failed, 0}, {aborted, 1},
                            {unpriced, 0}, {duration_ms, 12}, {cost, 130 + 30 + 15 + 325},
                            {completed_cost, 130 + 45}, {credits, 15 + 5 + 3},
                            {completed_credits, 15 + 2}, {input_tokens, 620}, {output_tokens, 5},
                            {runs_completed, 0}, {runs_failed, 1}, {runs_aborted, 1},
                            {corrections, 1}, {corrected_cost, 0}, {corrected_credits, -3},
                            {grants, 3}, {granted_cost, 70}, {granted_credits, 500},
                            {withdrawn_cost, 0}, {withdrawn_credits, 100}]}]),
    Open = expect(Expected#{"holds" => 0, "held" => 0}, directory(Config)),
    ok = cost_ledger:stop(Ledger),
    ?assertEqual(Open, expect(Expected, directory(Config))).

%% On both sides of every border.
every_window_as_it_is_told(Config) ->
    Offsets = [0, 120, -1080, 1080, 345],
    Windows = [{calendar, Unit, Offset} || Unit <- [day, week, month], Offset <- Offsets]
        ++ [{rolling, 1}, {rolling, ?HOUR_MS}, {rolling, ?DAY_MS}, {rolling, 31 * ?DAY_MS}, lifetime],
    Ledger = open_with(Config, [rule(lists:flatten(io_lib:format("~w", [Window])),
                                     #{state => executing}, cost, Window, 1000)
                                || Window <- Windows]),
    Borders = [Day - Offset * 60000 || Day <- [cost_ledger_test_budget:ms(Y, M, D)
                                               || {Y, M, D} <- [{2023, 12, 31}, {2024, 1, 1},
                                                                {2024, 2, 29}, {2024, 3, 1},
                                                                {2024, 3, 4}, {2025, 3, 1}]],
                                       Offset <- [0, 120, 1080]],
    lists:foreach(fun(Border) ->
                          _ = cost_ledger_test:at(Ledger, Border - 1),
                          book(Ledger, executing, #{cost => 7}),
                          told_alike(Config, Ledger, [all]),
                          _ = cost_ledger_test:at(Ledger, Border),
                          told_alike(Config, Ledger, [all]),
                          book(Ledger, executing, #{cost => 7})
                  end, lists:usort(Borders)),
    ok = cost_ledger:stop(Ledger).

every_measure_as_it_is_told(Config) ->
    Ledger = open_with(Config, [rule(Measure, Scope, Measure, lifetime, ?AMOUNT_MAX)
                                || Measure <- [invocations, completed_invocations, cost,
                                               completed_cost, credits, completed_credits, tokens],
                                   Scope <- [all]]),
    _ = cost_ledger_test:at(Ledger, ?START_MS),
    [book(Ledger, random_state_of(2), random_meta(small)) || _ <- lists:seq(1, 30)],
    Asked = #{cost => 1, credits => 2, tokens => 3},
    _ = reserve(Ledger, Asked#{kind => run, cost => 100}),
    _ = reserve(Ledger, Asked#{state => executing, deadline_ms => 1}),
    _ = reserve(Ledger, Asked#{state => executing}),
    told_alike(Config, Ledger, [all]),
    ok = cost_ledger:advance_clock(Ledger, 2),
    told_alike(Config, Ledger, [all]),
    ok = cost_ledger:stop(Ledger).

%% A rule that names more is told in place of the one that names less.
rules_in_place_of_others(Config) ->
    Ledger = open_with(Config, [rule(each, #{org => each, user => each}, cost, lifetime, 100),
                                rule(acme, #{org => acme, user => each}, cost, lifetime, 200),
                                rule(ann, #{org => acme, user => ann}, cost, lifetime, infinity),
                                rule(hour, #{org => each, user => each}, cost,
                                     {rolling, ?HOUR_MS}, 50)]),
    Pairs = [#{org => Org, user => User} || Org <- [acme, other], User <- [ann, bob]],
    [book(Ledger, executing, Pair#{cost => 1}) || Pair <- Pairs],
    Read = told_alike(Config, Ledger, [all | Pairs]),
    [?assertEqual({Rule, Pair, Rule =:= hour orelse Rule =:= Expected},
                  {Rule, Pair, is_map_key(told_key("used", Rule, Pair), Read)})
     || {Pair, Expected} <- lists:zip(Pairs, [ann, acme, each, each]),
        Rule <- [each, acme, ann, hour]],
    ok = cost_ledger:stop(Ledger).

%% A chain as long as may be, children of one parent, holds beside them.
holds_that_are_live(Config) ->
    Ledger = open_with(Config, budgets()),
    _ = cost_ledger_test:at(Ledger, ?START_MS),
    ok = grant(Ledger, #{org => acme}, 1000, purchase, #{}),
    Asked = #{deadline_ms => ?LATER, org => acme, cost => 1000, credits => 10, tokens => 5},
    Chain = lists:foldl(fun(_, [Parent | _] = Runs) ->
                                [reserve(Ledger, Asked#{kind => run, parent => Parent}) | Runs]
                        end, [reserve(Ledger, Asked#{kind => run, id => <<"top">>})],
                        lists:seq(1, 6)),
    Calls = [reserve(Ledger, Asked#{state => executing, parent => hd(Chain), user => User,
                                    tokens => #{input => 7, cache_read => 2}, cost => 700})
             || User <- [ann, bob]]
        ++ [reserve(Ledger, Asked#{state => improving, critical => true, agent => long_name()})],
    ok = cost_ledger:meter(hd(Calls), #{cost => 300, model => <<"m-1">>, id => <<"metered">>}),
    ok = cost_ledger:transfer(hd(Calls), whereis(init)),
    Scopes = [all, #{org => acme}, #{user => ann}, #{org => acme, user => bob},
              #{state => executing}],
    Read = told_alike(Config, Ledger, Scopes),
    ?assertMatch(#{"holds" := 10, "entries" := 1, "undefined" := 5, "keys" := 2}, Read),
    ok = cost_ledger:stop(Ledger),
    ?assertEqual(Read, expect(#{}, directory(Config))),
    %% Opened again in the same VM they go on.
    Again = open_at(directory(Config), #{}),
    ?assertEqual(Read, told_alike(Config, Again, Scopes)),
    {ok, Live} = cost_ledger:holds(Again),
    ?assertEqual(10, length(Live)),
    ok = cost_ledger:advance_clock(Again, 2 * ?LATER),
    ?assertMatch(#{"holds" := 0, "held" := 0, "flags.unattended" := 10, "undefined" := 0},
                 told_alike(Config, Again, Scopes)),
    ok = cost_ledger:stop(Again).

%% Runs and their calls, ended by the ledger in every order, settled after that or never.
holds_that_nobody_ended(Config) ->
    Ledger = open_with(Config, budgets()),
    _ = cost_ledger_test:at(Ledger, ?START_MS),
    ok = grant(Ledger, #{org => acme}, 1000, purchase, #{}),
    Asked = #{org => acme, user => ann, cost => 100, credits => 10, tokens => 5},
    Holds = [begin
                 Run = reserve(Ledger, Asked#{kind => run, deadline_ms => First}),
                 Call = reserve(Ledger, Asked#{state => executing, parent => Run, cost => 60,
                                               deadline_ms => Second}),
                 Settled = reserve(Ledger, Asked#{state => executing, parent => Run, cost => 30,
                                                  deadline_ms => ?LATER}),
                 {ok, _} = cost_ledger:settle(Settled, #{cost => 20, credits => 4}),
                 {Run, Call}
             end || {First, Second} <- [{1000, 2000}, {2000, 1000}, {1500, 1500}, {1000, ?LATER}]],
    [{_, Call1}, {Run2, Call2}, {Run3, Call3}, {Run4, Call4}] = Holds,
    ok = cost_ledger:meter(Run2, #{cost => 90, tokens => #{output => 3}}),
    ok = cost_ledger:meter(Call3, #{cost => 70, status => failed}),
    Check = fun(Ms, Late, Usage) ->
                    ok = cost_ledger:advance_clock(Ledger, Ms),
                    {ok, #{late := true}} = cost_ledger:settle(Late, Usage),
                    told_alike(Config, Ledger, [all, #{org => acme, user => ann}])
            end,
    Check(1000, Call2, #{cost => 80, credits => 2}),
    Check(1000, Call3, #{cost => 10, tokens => #{input => 9}, status => failed}),
    Check(1000, Run2, #{cost => 200, credits => 20}),
    Check(1000, Run4, #{cost => 50}),
    {ok, _} = cost_ledger:settle(Call4, #{cost => 1}),
    Check(1000, Run3, #{cost => 1, status => aborted}),
    Check(1000, Call1, #{cost => 61}),
    Read = expect(numbers([{kinds, [{correction, 6}, {run, 4}, {invocation, 8}]},
                           {flags, [{unattended, 7}, {late, 6}, {completes, 4}]}]),
                  directory(Config)),
    %% Of each hold that the ledger ended, and of each that was settled late.
    ?assertEqual(7 + 6, maps:get("keys", Read)),
    ok = cost_ledger:stop(Ledger).

holds_of_a_vm_that_is_gone(Config) ->
    Name = list_to_atom("gone_" ++ integer_to_list(erlang:unique_integer([positive]))),
    Peer = cost_ledger_test:start_vm(),
    ok = peer:call(Peer, ?MODULE, hold_some, [Name, directory(Config)], 30000),
    expect(#{"holds" => 3, "entries" => 0}, directory(Config)),
    ok = cost_ledger_test:kill_vm(Peer),
    expect(#{"holds" => 3, "entries" => 0}, directory(Config)),
    Ledger = cost_ledger_test:open(Name, directory(Config), #{}),
    cost_ledger_test:eventually(fun() -> cost_ledger:holds(Ledger) =:= {ok, []} end),
    expect(#{"holds" => 0, "entries" => 3, "cost" => 20 + 75, "flags.unattended" => 3},
           directory(Config)),
    ok = cost_ledger:stop(Ledger).

%% In another VM. Their owner is still there when this returns.
hold_some(Name, Directory) ->
    Name = cost_ledger_test:open(Name, Directory, #{}),
    _ = cost_ledger_test:at(Name, ?START_MS),
    Asked = #{cost => 75, owner => whereis(init)},
    Run = reserve(Name, Asked#{kind => run}),
    Metered = reserve(Name, Asked#{state => executing, parent => Run}),
    ok = cost_ledger:meter(Metered, #{cost => 20}),
    _ = reserve(Name, Asked#{state => executing}),
    ok.

%% Its caller did not wait: the id that it gave is free again.
a_reservation_that_is_withdrawn(Config) ->
    Ledger = open(Config, #{call_timeout => 200}),
    _ = cost_ledger_test:at(Ledger, ?START_MS),
    Attempt = #{state => executing, cost => 75, id => <<"attempt">>},
    ok = sys:suspend(child(Ledger, writer)),
    ?assertEqual({error, timeout}, cost_ledger:reserve(Ledger, Attempt)),
    ok = sys:resume(child(Ledger, writer)),
    cost_ledger_test:eventually(
      fun() -> maps:get("kinds.release", expect(#{}, directory(Config))) =:= 1 end),
    expect(#{"holds" => 0, "keys" => 0, "entries" => 1}, directory(Config)),
    _ = reserve(Ledger, Attempt),
    expect(#{"holds" => 1, "keys" => 1, "entries" => 1}, directory(Config)),
    ok = cost_ledger:stop(Ledger).

%% Each kind of request, twice, under a short id and under one that is too long for a key.
requests_with_ids(Config) ->
    Ledger = open_with(Config, budgets()),
    _ = cost_ledger_test:at(Ledger, ?START_MS),
    Holds = lists:append([with_ids(Ledger, fun(Id) -> <<Id/binary, Tail/binary>> end)
                          || Tail <- [<<"-é"/utf8>>, binary:copy(<<"x">>, 900)]]),
    Keys = 2 * 13 + 1 + 2 + 2, % two of holds that the ledger ended, and were settled late
    Read = expect(#{"keys" => Keys, "holds" => 2}, directory(Config)),
    ?assertMatch(#{"kinds.correction" := 2, "kinds.policy" := 2, "kinds.reset" := 2}, Read),
    [ok = cost_ledger:release(Hold) || Hold <- Holds],
    expect(#{"keys" => Keys, "holds" => 0}, directory(Config)),
    ok = cost_ledger:stop(Ledger).

%% Answers the hold that is still live.
with_ids(Ledger, Id) ->
    Twice = fun(Fun) ->
                    Answer = Fun(),
                    ?assertEqual(Answer, Fun()),
                    Answer
            end,
    Reserve = fun(Name, More) ->
                      {ok, Hold} = Twice(fun() ->
                                                 cost_ledger:reserve(
                                                   Ledger, More#{state => executing, cost => 5,
                                                                 id => Id(Name)})
                                         end),
                      Hold
              end,
    Change = fun(Name) -> ?BY#{id => Id(Name)} end,
    ok = Twice(fun() -> cost_ledger:record_invocation(Ledger, executing, #{id => Id(<<"1">>)}) end),
    {ok, _} = Twice(fun() ->
                            cost_ledger:grant(Ledger, all, 9, (Change(<<"2">>))#{kind => topup})
                    end),
    Settled = Reserve(<<"3">>, #{}),
    {ok, _} = Twice(fun() -> cost_ledger:settle(Settled, #{id => Id(<<"4">>), cost => 1}) end),
    Released = Reserve(<<"5">>, #{}),
    ok = Twice(fun() -> cost_ledger:release(Released, #{id => Id(<<"6">>)}) end),
    Late = Reserve(<<"7">>, #{deadline_ms => 1}),
    ok = cost_ledger:advance_clock(Ledger, 2),
    {ok, #{late := true}} = Twice(fun() -> cost_ledger:settle(Late, #{id => Id(<<"8">>)}) end),
    Live = Reserve(<<"9">>, #{deadline_ms => ?LATER}),
    ok = Twice(fun() -> cost_ledger:meter(Live, #{id => Id(<<"10">>), cost => 2}) end),
    ok = Twice(fun() -> cost_ledger:transfer(Live, self(), #{id => Id(<<"11">>)}) end),
    {ok, _} = Twice(fun() -> cost_ledger:reset(Ledger, day, Change(<<"12">>)) end),
    Limit = byte_size(Id(<<>>)),
    Policy = #{budgets => #{executing => #{max_per_hour => 100 + Limit}}},
    {ok, Version} = Twice(fun() -> cost_ledger:set_policy(Ledger, Policy, Change(<<"13">>)) end),
    %% A change that changes nothing books nothing, but has its id; once is enough.
    [{ok, Version} = cost_ledger:set_policy(Ledger, Policy, Change(<<"14">>)) || Limit < 500],
    [Live].

%% In every kind of window, of values, of a name that is too long for a key; then forgotten.
warnings_and_resets(Config) ->
    Long = binary:copy(<<"long ">>, 200),
    Warn = #{warn => [1, 50, 100]},
    Rules = [rule(Name, Scope, cost, Window, 1000, Warn)
             || {Name, Scope, Window} <- [{life, all, lifetime}, {Long, all, {calendar, week, 60}},
                                          {hour, #{state => each}, {rolling, ?HOUR_MS}},
                                          {user, #{user => each}, {calendar, month, 0}}]]
        ++ [rule(bought, #{org => acme}, credits, lifetime, granted, Warn)],
    Ledger = open_with(Config, Rules),
    _ = cost_ledger_test:at(Ledger, ?START_MS),
    Check = fun(Warnings) ->
                    Read = told_alike(Config, Ledger, [all, #{user => ann}, #{state => executing}]),
                    ?assertEqual(Warnings, maps:get("warnings", Read))
            end,
    Book = fun(User, Cost) -> book(Ledger, executing, #{user => User, cost => Cost}) end,
    ok = grant(Ledger, #{org => acme}, 100, topup, #{}),
    Book(ann, 9), Check(0),
    Book(ann, 1), Check(4),
    Book(bob, 600), Check(4 + 2 + 3),
    book(Ledger, improving, #{org => acme, credits => 60}), Check(9 + 2),
    ok = grant(Ledger, #{org => acme}, 20, topup, #{}), Check(9 + 2),
    {ok, _} = cost_ledger:reset(Ledger, user, ?BY#{scope => #{user => bob}}), Check(11),
    {ok, _} = cost_ledger:reset(Ledger, Long, ?BY), Check(11),
    Book(bob, 500), Check(11 + 2),
    ok = cost_ledger:advance_clock(Ledger, 40 * ?DAY_MS), Check(13),
    Book(ann, 1000), Check(13 + 1 + 2),
    %% Of the rules that go, or measure something else, nothing is kept.
    {ok, _} = cost_ledger:set_policy(
                Ledger, #{rules => [rule(life, all, cost, lifetime, 2000, Warn),
                                    rule(user, #{user => each}, cost, {calendar, month, 60}, 1000)]},
                ?BY),
    Check(3),
    {ok, _} = cost_ledger:reset(Ledger, life, ?BY),
    ok = cost_ledger:stop(Ledger),
    expect(#{"warnings" => 3, "kinds.reset" => 3}, directory(Config)).

settings_and_their_history(Config) ->
    Ledger = open(Config, #{settings => #{retries => #{type => integer, min => 0, max => 10,
                                                       value => 3}}}),
    Change = fun(Settings) ->
                     {ok, Version} = cost_ledger:set_policy(Ledger, #{settings => Settings}, ?BY),
                     expect(#{"policy_version" => Version}, directory(Config))
             end,
    Change(#{retries => 5}),
    Change(#{model => #{type => string, one_of => [<<"a">>, <<"é"/utf8>>], value => <<"é"/utf8>>},
             fast => #{type => boolean, value => true}, retries => #{type => integer, value => -7}}),
    Change(#{fast => false, retries => undefined, model => <<"a">>}),
    Change(#{fast => undefined, model => undefined}),
    {ok, 6} = cost_ledger:set_policy(Ledger, #{rules => [], settings =>
                                                   #{text => #{type => string, value => <<>>}}}, ?BY),
    ok = cost_ledger:stop(Ledger),
    expect(#{"policy_version" => 6, "kinds.policy" => 5}, directory(Config)).

%% Read between the slices: entries are booked and holds live meanwhile.
series_that_are_built_later(Config) ->
    Ledger = open(Config, #{rules => []}),
    _ = cost_ledger_test:at(Ledger, ?START_MS),
    Metas = [{random_state_of(3), (random_meta(small))#{user => random_text(1)}}
             || _ <- lists:seq(1, 6000)],
    ok = book_at_once(Ledger, Metas, 50),
    Asked = #{cost => 100, credits => 7, deadline_ms => ?LATER},
    Run = reserve(Ledger, Asked#{kind => run, org => acme}),
    Late = reserve(Ledger, Asked#{state => executing, user => ann, deadline_ms => 1}),
    _ = [reserve(Ledger, Asked#{state => executing, org => Org, user => ann, parent => Run,
                                cost => 40}) || Org <- [acme, other]],
    ok = cost_ledger:advance_clock(Ledger, 2),
    ok = cost_ledger:stop(Ledger),
    Before = expect(#{"series" => 4, "holds" => 3, "building" => 0}, directory(Config)),
    Series = [[user], [org], [org, user], [model, state], [agent], [status], [user, status]],
    Again = cost_ledger_test:open(Ledger, directory(Config), #{series => Series}),
    ok = sys:suspend(child(Again, writer)),
    Building = expect(#{}, directory(Config)),
    ?assertMatch(#{"building" := N} when N > 0, Building),
    ok = sys:resume(child(Again, writer)),
    book(Again, executing, #{user => ann, org => acme, cost => 1}),
    {ok, #{late := true}} = cost_ledger:settle(Late, #{cost => 500}),
    cost_ledger_test:eventually(
      fun() -> maps:get("building", expect(#{}, directory(Config))) =:= 0 end),
    After = expect(#{"holds" => 3}, directory(Config)),
    [?assert(maps:get(What, After) > maps:get(What, Before)) || What <- ["series", "held", "blocks"]],
    %% Rules may stand on them now, and on what was booked and held before.
    {ok, 2} = cost_ledger:set_policy(Again, #{rules => budgets()}, ?BY),
    told_alike(Config, Again, [all, #{org => acme}, #{user => ann}, #{org => acme, user => ann}]),
    ok = cost_ledger:stop(Again),
    expect(#{"building" => 0}, directory(Config)).

%% A name that no entry uses, in a series without entries; and one that an entry defines later.
names_that_only_holds_used(Config) ->
    Ledger = open(Config, #{series => [[model], [user]], rules => []}),
    Hold = fun(Model, User) ->
                   reserve(Ledger, #{state => executing, model => Model, user => User})
           end,
    [First, Second] = [Hold(<<"m-1">>, <<"ann">>), Hold(long_name(), <<"bob">>)],
    expect(#{"names" => 0, "undefined" => 5, "series" => 0, "empty_series" => 5}, directory(Config)),
    book(Ledger, improving, #{user => <<"cat">>}),
    expect(#{"names" => 3, "undefined" => 5, "series" => 3, "empty_series" => 5}, directory(Config)),
    [{ok, _} = cost_ledger:settle(H, #{model => <<"m-2">>}) || H <- [First, Second]],
    expect(#{"names" => 7, "undefined" => 2, "series" => 7, "empty_series" => 2}, directory(Config)),
    book(Ledger, executing, #{model => long_name()}),
    ok = cost_ledger:stop(Ledger),
    expect(#{"names" => 8, "undefined" => 1, "series" => 8, "empty_series" => 1}, directory(Config)).

%% Anything that callers may do, in any order; after every few steps the file is read, and every use
%% is what the ledger says.
random_work_on_budgets(Config) ->
    Ledger = open_with(Config, budgets()),
    _ = cost_ledger_test:at(Ledger, ?START_MS),
    lists:foldl(fun(N, Holds) ->
                        Left = lists:foldl(fun(_, Acc) -> step(Ledger, rand:uniform(20), N, Acc) end,
                                           Holds, lists:seq(1, 25)),
                        told_alike(Config, Ledger, [all, #{org => acme}, #{user => ann},
                                                    #{org => other, user => bob}]),
                        Left
                end, [], lists:seq(1, 25)),
    Read = expect(#{}, directory(Config)),
    [?assert(maps:get("kinds." ++ Kind, Read) > 0, Kind)
     || Kind <- ["invocation", "run", "grant", "release", "correction", "policy", "reset"]],
    ok = cost_ledger:stop(Ledger),
    %% The use of windows goes on from here, the rest is the same.
    Again = open(Config, #{series => [[agent], [project, user]]}),
    cost_ledger_test:eventually(
      fun() -> maps:get("building", expect(#{}, directory(Config))) =:= 0 end),
    Same = ["entries", "holds", "keys", "warnings", "cost", "credits"],
    ?assertEqual(maps:with(Same, Read), maps:with(Same, expect(#{}, directory(Config)))),
    ok = cost_ledger:stop(Again).

%% Some are refused: that must leave no trace.
step(Ledger, Kind, _N, Holds) when Kind =< 4 ->
    book(Ledger, random_state_of(3), maps:merge(random_meta(small), random_scope())),
    Holds;
step(Ledger, Kind, _N, Holds) when Kind =< 10 ->
    Parent = case Holds of
                 [] -> none;
                 _ -> lists:nth(rand:uniform(length(Holds)), [none | tl(Holds)])
             end,
    Attempt = maps:from_list([{parent, Parent} || Parent =/= none]
                             ++ some(0.5, agent, random_text(2)) ++ some(0.3, critical, true)
                             ++ some(0.3, id, random_text(9))
                             ++ [{cost, rand:uniform(300)}, {credits, rand:uniform(30)},
                                 {tokens, rand:uniform(20)}, {deadline_ms, rand:uniform(200000)}]),
    What = case rand:uniform(3) of
               1 -> #{kind => run};
               _ -> #{state => random_state_of(3)}
           end,
    case cost_ledger:reserve(Ledger, maps:merge(maps:merge(Attempt, random_scope()), What)) of
        {ok, Hold} -> [Hold | Holds];
        {error, {_, _}} -> Holds
    end;
step(_Ledger, Kind, _N, [_ | _] = Holds) when Kind =< 15 ->
    Hold = lists:nth(rand:uniform(length(Holds)), Holds),
    Usage = maps:from_list(some(0.8, cost, rand:uniform(300)) ++ some(0.5, credits, rand:uniform(40))
                           ++ some(0.5, tokens, random_tokens(small))
                           ++ some(0.3, status, failed) ++ some(0.3, model, random_text(2))
                           ++ some(0.3, id, random_text(9))),
    case Kind of
        11 -> _ = cost_ledger:meter(Hold, Usage), Holds;
        12 -> _ = cost_ledger:release(Hold), lists:delete(Hold, Holds);
        %% It may be settled late, once it is resolved.
        _ -> _ = cost_ledger:settle(Hold, Usage), Holds
    end;
step(Ledger, 16, _N, Holds) ->
    ok = grant(Ledger, #{org => lists:nth(rand:uniform(2), [acme, other])},
               (rand:uniform(400) - 100) bor 1, adjustment, #{}), % never 0
    Holds;
step(Ledger, 17, _N, Holds) ->
    {ok, _} = case rand:uniform(3) of
                  1 -> cost_ledger:reset(Ledger, each, ?BY#{scope => #{user => random_user()}});
                  _ -> cost_ledger:reset(Ledger, day, ?BY)
              end,
    Holds;
step(Ledger, 18, N, Holds) when N rem 3 =:= 0 ->
    Rules = [case Rule of
                 #{limit := Limit} when is_integer(Limit), Limit > 0 ->
                     Rule#{limit := Limit div 2 + rand:uniform(Limit)};
                 _ ->
                     Rule
             end || Rule <- budgets(), rand:uniform(10) > 1 orelse maps:get(name, Rule) =:= day
                                           orelse maps:get(name, Rule) =:= each],
    {ok, _} = cost_ledger:set_policy(Ledger, #{rules => Rules}, ?BY),
    Holds;
step(Ledger, _Kind, _N, Holds) ->
    ok = cost_ledger:advance_clock(Ledger, lists:nth(rand:uniform(5), [1, 777, 50000, ?HOUR_MS,
                                                                       17 * ?HOUR_MS])),
    Holds.

random_scope() ->
    maps:from_list(some(0.7, org, lists:nth(rand:uniform(2), [acme, other]))
                   ++ some(0.7, user, random_user())).

random_user() -> lists:nth(rand:uniform(3), [ann, bob, <<"Zoë"/utf8>>]).

%% Whatever moment the reader meets, what is held fits the holds.
while_holds_are_made(Config) ->
    Ledger = open_with(Config, budgets()),
    _ = cost_ledger_test:at(Ledger, ?START_MS),
    Self = self(),
    Workers = [spawn_monitor(fun() -> hold_until_told(Ledger, Self, Scope) end)
               || Scope <- [#{}, #{org => acme}, #{user => ann}, #{org => acme, user => bob}]],
    Reads = [expect(#{}, directory(Config)) || _ <- lists:seq(1, 8)],
    [Pid ! stop || {Pid, _} <- Workers],
    [receive {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(normal, Reason) end
     || {Pid, Monitor} <- Workers],
    ?assert(maps:get("entries", lists:last(Reads)) > maps:get("entries", hd(Reads))),
    ?assert(lists:max([maps:get("holds", Read) || Read <- Reads]) > 0),
    expect(#{"holds" => 0}, directory(Config)),
    ok = cost_ledger:stop(Ledger).

hold_until_told(Ledger, Parent, Scope) ->
    receive
        stop -> ok
    after 0 ->
            Asked = Scope#{cost => 5, credits => 0, tokens => 1, deadline_ms => ?LATER},
            Run = reserve(Ledger, Asked#{kind => run}),
            [Settled, Released] = [reserve(Ledger, Asked#{state => executing, parent => Run})
                                   || _ <- [1, 2]],
            ok = cost_ledger:meter(Run, #{cost => 3}),
            {ok, _} = cost_ledger:settle(Settled, #{cost => 0}),
            ok = cost_ledger:release(Released),
            {ok, _} = cost_ledger:settle(Run, #{cost => 0}),
            hold_until_told(Ledger, Parent, Scope)
    end.

%% The reader works out both words of each cell: soft and hard, of everything and of a state, what is
%% held, until the end of a period, until somebody pays.
a_gate_with_rules_of_every_form(Config) ->
    Ledger = open_with(Config,
                       [rule(all, all, cost, {calendar, day, 0}, 1000, #{soft => 50}),
                        rule(each, #{state => each}, invocations, {rolling, ?HOUR_MS}, 3),
                        rule(own, #{state => improving}, credits, lifetime, granted,
                             #{grace => 5, soft => 80}),
                        rule(warns, all, invocations, lifetime, 1, #{on_exhausted => warn}),
                        rule(degrades, all, invocations, lifetime, 1000000, #{on_exhausted => degrade}),
                        rule(tokens, #{state => contemplating}, tokens, {calendar, week, 0}, 10)]),
    _ = cost_ledger_test:at(Ledger, ?START_MS),
    Check = fun(Words) ->
                    expect(#{}, directory(Config)),
                    ?assertEqual(Words, [cost_ledger:check_budget(Ledger, State)
                                         || State <- [contemplating, executing, improving]])
            end,
    {Yes, No} = {ok, budget_exhausted},
    Check([Yes, Yes, No]),
    ok = grant(Ledger, #{state => improving}, 10, topup, #{}),
    Check([Yes, Yes, Yes]),
    book(Ledger, improving, #{credits => 8}),
    Check([Yes, Yes, No]),
    [book(Ledger, executing, #{cost => 50}) || _ <- [1, 2, 3]],
    Check([Yes, No, No]),
    book(Ledger, contemplating, #{tokens => #{reasoning => 4, output => 6}}),
    Check([No, No, No]),
    ok = cost_ledger:advance_clock(Ledger, ?HOUR_MS + 1),
    Check([No, Yes, No]),
    Hold = reserve(Ledger, #{state => executing, cost => 350, deadline_ms => ?LATER}),
    Check([No, No, No]),
    ok = cost_ledger:release(Hold),
    Check([No, Yes, No]),
    Critical = reserve(Ledger, #{state => executing, cost => 850, deadline_ms => 5000,
                                 critical => true}),
    Check([No, No, No]),
    {ok, _} = cost_ledger:settle(Critical, #{cost => 850}),
    Check([No, No, No]),
    ok = cost_ledger:advance_clock(Ledger, ?DAY_MS),
    Check([No, Yes, No]),
    {ok, _} = cost_ledger:reset(Ledger, tokens, ?BY),
    Check([Yes, Yes, No]),
    ok = cost_ledger:stop(Ledger),
    expect(#{}, directory(Config)).

%% The words that say what the file may hold come with the first commit.
an_older_ledger_gets_the_word(Config) ->
    Directory = closed_ledger(Config, 3),
    First = changed(Directory, needs("[]")),
    {1, Output} = read(First),
    assert_problem("names: uses what format.needs does not name", Output),
    Opened = open_at(First, #{}),
    ?assertMatch({1, _}, read(First)),
    book(Opened, executing, #{}),
    ok = cost_ledger:stop(Opened),
    expect(#{"invocations" => 6}, First),
    Second = changed(Directory, needs("['budgets']")),
    expect(#{"invocations" => 5}, Second),
    Ledger = open_at(Second, #{}),
    {ok, _} = cost_ledger:record(Ledger, #{kind => run, cost => 5, run_id => <<"run">>}),
    ok = cost_ledger:stop(Ledger),
    expect(#{"invocations" => 5, "totals.runs" => 1}, Second).

needs(Words) ->
    ["import msgpack\n"
     "database = env.open_db(b'meta')\n"
     "with env.begin(write=True) as txn:\n"
     "    row = msgpack.unpackb(txn.get(b'format', db=database))\n"
     "    row['needs'] = ", Words, "\n"
     "    txn.put(b'format', msgpack.packb(row), db=database)\n"].

%%% Budgets: helpers

%% Rules of every scope that the series of open_with/2 allow.
budgets() ->
    [rule(day, all, cost, {calendar, day, -60}, 5000, #{warn => [50, 100]}),
     rule(prepaid, #{org => acme}, credits, lifetime, granted,
          #{soft => 80, grace => 50, warn => [90], on_exhausted => warn, default_estimate => 1}),
     rule(each, #{user => each}, tokens, {rolling, ?HOUR_MS}, 60,
          #{warn => [80], default_estimate => 2, on_exhausted => warn}),
     rule(ann, #{user => ann}, tokens, {rolling, ?HOUR_MS}, infinity),
     rule(both, #{org => each, user => each}, completed_cost, {calendar, week, 0}, 900,
          #{max_values => 50, on_exhausted => warn}),
     rule(state, #{state => executing}, completed_invocations, {calendar, month, 0}, 40,
          #{on_exhausted => warn, warn => [10]})].

open_with(Config, Rules) ->
    open(Config, #{rules => Rules, series => [[org], [user], [org, user]]}).

reserve(Ledger, Attempt) ->
    {ok, Hold} = cost_ledger:reserve(Ledger, Attempt),
    Hold.

book(Ledger, State, Meta) ->
    ok = cost_ledger:record_invocation(Ledger, State, Meta).

grant(Ledger, Account, Amount, Kind, More) ->
    {ok, _} = cost_ledger:grant(Ledger, Account, Amount,
                                maps:merge(#{kind => Kind, by => test, reason => "a test"}, More)),
    ok.

%% As the reader names them.
numbers(Groups) ->
    maps:from_list([{atom_to_list(Group) ++ "." ++ atom_to_list(Name), Number}
                    || {Group, Numbers} <- Groups, {Name, Number} <- Numbers]).

%% The reader comes to the same use of each rule as budget_status does. Answers what it reads.
told_alike(Config, Ledger, Scopes) ->
    Told = maps:from_list(lists:append([told(Rule) || Scope <- Scopes,
                                                      Rule <- rules_told(Ledger, Scope)])),
    expect(Told, directory(Config)).

rules_told(Ledger, Scope) ->
    {ok, #{rules := Rules}} = cost_ledger:budget_status(Ledger, Scope),
    [Rule || Rule <- Rules, is_known(Scope, Rule)].

%% Of values that nothing was booked or held for, the file says nothing.
is_known(all, _Rule) -> true;
is_known(_Scope, #{used := Used, held := Held}) -> Used + Held > 0.

told(#{rule := Rule, scope := Scope, used := Used, held := Held, limit := Limit,
       percent := Percent}) ->
    [{told_key(What, Rule, Scope), Number}
     || {What, Number} <- [{"used", Used}, {"held", Held}, {"percent", Percent},
                           {"limit", case Limit of infinity -> -1; _ -> Limit end}]].

told_key(What, Rule, Scope) ->
    Values = case Scope of
                 all -> [];
                 _ -> [maps:get(Dimension, Scope)
                       || {Dimension, _} <- cost_ledger_rules:dimensions(),
                          is_map_key(Dimension, Scope)]
             end,
    lists:flatten(lists:join(".", [What | [hex(Text) || Text <- [Rule | Values]]])).

hex(Text) when is_atom(Text) -> hex(atom_to_binary(Text));
hex(Text) -> string:lowercase(binary_to_list(binary:encode_hex(Text))).

%%% Records ----------------------------------------------------------------------------------------

%% Of work, with everything that may be said of it; what corrects it; what takes its words away; and
%% what its tokens cost.
every_kind_of_record(Config) ->
    Ledger = open_for_records(Config, #{}),
    ok = prices(Ledger, m_1(), #{}),
    Long = binary:copy(<<"r">>, 700),
    First = record(Ledger, #{state => executing, user => ann, model => <<"m-1">>, cost => auto,
                             duration_ms => 5, run_id => <<"first">>, id => <<"request">>,
                             tokens => #{input => 100, output => 50, cache_read => 600,
                                         cache_creation => 7}, intent => <<"ask">>}),
    %% Beyond the first tier, of a provider with prices of its own, at an earlier time.
    _ = record(Ledger, #{state => executing, user => ann, model => <<"m-1">>, cost => auto,
                         tokens => #{input => 1000, cache_read => 1}, parent_run => <<"first">>}),
    _ = record(Ledger, #{state => improving, model => <<"m-1">>, provider => <<"p">>, cost => auto,
                         tokens => #{input => 3}, run_id => Long, status => failed,
                         breakdown => #{tool_calls => 40}}),
    ok = prices(Ledger, #{<<"m-2">> => #{input => 3, output => 4}}, #{effective_from => 1000}),
    _ = record(Ledger, #{state => improving, model => <<"m-2">>, cost => auto, occurred_at => 1000,
                         tokens => #{input => 499999, reasoning => 1}, credits => 3}),
    Run = record(Ledger, #{kind => run, user => bob, duration_ms => 9, status => aborted,
                           parent_run => Long, output => #{why => tired},
                           breakdown => #{penalties => 7, external_requests => 2}}),
    Unpriced = record(Ledger, #{kind => run, run_id => <<"unpriced">>}),
    _ = record(Ledger, #{kind => correction, corrects => First, cost => -922, by => ops,
                         reason => "refund", trace => #{steps => [#{action => <<"look">>}]},
                         occurred_at => 0, id => <<"refund">>}),
    _ = correct(Ledger, Unpriced, #{cost => 0}),
    _ = correct(Ledger, Unpriced, #{cost => 11, credits => 2, tokens => #{output => 1}}),
    {ok, _} = cost_ledger:redact(Ledger, First, ?BY#{id => <<"redact">>}),
    {ok, _} = cost_ledger:redact(Ledger, Run, ?BY),
    Expected = numbers(
                 [{kinds, [{invocation, 4}, {run, 2}, {correction, 3}, {price, 2}, {redaction, 2}]},
                  {flags, [{prices, 1}, {completes, 0}, {late, 0}, {of_completed, 3}]},
                  {totals, [{runs_unpriced, 1}, {corrected_runs_unpriced, -1}, {runs_cost, 9},
                            {runs_duration_ms, 9}, {duration_ms, 5}, {corrections_cost, 11},
                            {corrected_cost, -922}, {cost, 922 + 5000 + 43 + 2 + 9 + 11},
                            {completed_cost, 922 + 5000 + 2 + 11}, {cache_savings, 1346 + 5}]}]),
    Open = expect(Expected#{"payloads" => 3, "redacted" => 2, "prices" => 3, "run_ids" => 3,
                            "keys" => 3 + 3 + 2 + 3}, directory(Config)),
    ok = cost_ledger:stop(Ledger),
    ?assertEqual(Open, expect(Expected, directory(Config))).

payloads_of_every_type(Config) ->
    Ledger = open_for_records(Config, #{}),
    Deep = lists:foldl(fun(_, Inner) -> [Inner] end, [], lists:seq(1, 22)),
    Values = [0, 127, -32, -(1 bsl 63), (1 bsl 64) - 1, 1 bsl 64, -(1 bsl 63) - 1, 1 bsl 2000,
              0.0, -0.0, 1.5e300, true, false, [nil, undefined], '', 'naïve', '思考中',
              list_to_atom(lists:duplicate(255, 16#1d11e)), <<>>, <<"日本"/utf8>>, <<255, 0>>,
              binary:copy(<<16#80>>, 10), <<16#c1, (binary:copy(<<16#bf>>, 9))/binary>>, <<"é", 16#c3>>,
              [], #{}, #{a => 1, <<"a">> => 2, 1 => 3, -1 => 4, '思' => 5, <<200>> => 6},
              lists:seq(1, 70000), binary:copy(<<"long">>, 20000), Deep],
    [record(Ledger, #{state => executing, output => Value}) || Value <- Values],
    Id = record(Ledger, #{state => executing, status => failed, intent => "ask", output => 42,
                          input => #{question => <<"why">>}, error_message => "é",
                          trace => #{steps => [#{action => <<"look">>, duration_ms => 5}]},
                          attributes => #{}}),
    Hold = reserve(Ledger, #{state => executing, cost => 5}),
    {ok, #{id := Settled}} = cost_ledger:settle(Hold, #{cost => 5, input => [a, b]}),
    {ok, #{output := 42}} = cost_ledger:fetch(Ledger, Id),
    {ok, #{input := [a, b]}} = cost_ledger:fetch(Ledger, Settled),
    ok = cost_ledger:stop(Ledger),
    expect(#{"payloads" => length(Values) + 2}, directory(Config)).

%% Holds with a run_id, and what becomes of it.
runs_that_are_named(Config) ->
    Ledger = open_for_records(Config, #{}),
    Reserve = fun(Name, More) ->
                      reserve(Ledger, maps:merge(#{kind => run, cost => 100, run_id => Name,
                                                   deadline_ms => ?LATER}, More))
              end,
    Long = binary:copy(<<"é"/utf8>>, 400),
    Settled = Reserve(Long, #{id => <<"reserve">>, user => ann}),
    Call = reserve(Ledger, #{state => executing, parent => Settled, cost => 5, run_id => <<"call">>}),
    {ok, _} = cost_ledger:settle(Call, #{cost => 6, breakdown => #{tool_calls => 6},
                                         parent_run => Long}),
    Released = Reserve(<<"released">>, #{id => <<"release">>}),
    Live = Reserve(<<"live">>, #{}),
    Expired = Reserve(<<"expired">>, #{deadline_ms => 1}),
    Late = Reserve(<<"late">>, #{deadline_ms => 1}),
    expect(#{"holds" => 5, "run_ids" => 6, "keys" => 2 + 6}, directory(Config)),
    {ok, _} = cost_ledger:settle(Settled, #{cost => 50, breakdown => #{penalties => 50},
                                            id => <<"settle">>}),
    ok = cost_ledger:release(Released),
    ok = cost_ledger:advance_clock(Ledger, 2),
    {ok, #{late := true}} = cost_ledger:settle(Late, #{cost => 7, output => late, duration_ms => 3}),
    %% What the ledger booked is corrected before its caller settles: that comes too late then.
    {ok, #{id := Booked}} = cost_ledger:fetch_run(Ledger, <<"expired">>),
    _ = correct(Ledger, Booked, #{cost => 3}),
    {error, {resolved, _}} = cost_ledger:settle(Expired, #{cost => 7}),
    %% The name of what was released may be given again.
    _ = record(Ledger, #{kind => run, run_id => <<"released">>, cost => 1}),
    {error, {conflict, _}} = cost_ledger:record(Ledger, #{kind => run, run_id => <<"late">>}),
    expect(#{"holds" => 1, "run_ids" => 6, "flags.completes" => 1, "flags.prices" => 2,
             "totals.late_runs_completed" => 1, "totals.runs_duration_ms" => 0},
           directory(Config)),
    {ok, _} = cost_ledger:settle(Live, #{}),
    ok = cost_ledger:stop(Ledger),
    expect(#{"holds" => 0, "run_ids" => 6, "totals.runs_unpriced" => 3}, directory(Config)).

%% The later one of two for the same time; those from a time on; of an imported map. What was booked
%% keeps its prices, also where it was priced by metering.
prices_that_are_set_again(Config) ->
    Ledger = open_for_records(Config, #{}),
    Book = fun(Model, More) ->
                   record(Ledger, maps:merge(#{state => executing, model => Model, cost => auto,
                                               tokens => #{input => 1000000}}, More))
           end,
    Set = fun(Input, More) ->
                  prices(Ledger, #{<<"m">> => #{input => Input, output => Input}}, More)
          end,
    ok = Set(1, #{effective_from => ?START_MS - 1000}),
    _ = Book(<<"m">>, #{}),
    ok = Set(2, #{effective_from => ?START_MS - 1000}),
    _ = Book(<<"m">>, #{}),
    ok = Set(3, #{}),
    _ = Book(<<"m">>, #{}),
    ok = Set(4, #{effective_from => ?START_MS + 1000}),
    _ = Book(<<"m">>, #{}),
    Hold = reserve(Ledger, #{state => executing, model => <<"m">>, cost => auto, deadline_ms => 100,
                             tokens => #{input => 2000000}}),
    ok = cost_ledger:meter(Hold, #{cost => auto, tokens => #{input => 500000}}),
    ok = cost_ledger:advance_clock(Ledger, 1000),
    _ = Book(<<"m">>, #{}),
    _ = Book(<<"m">>, #{occurred_at => ?START_MS - 1}),
    Settled = reserve(Ledger, #{state => executing, model => <<"m">>}),
    {ok, _} = cost_ledger:settle(Settled, #{cost => auto, tokens => #{reasoning => 1000000}}),
    Json = <<"{\"m-2\": {\"input_cost_per_token\": 1e-06, \"output_cost_per_token\": 2e-06}}">>,
    {ok, #{models := 1}} = cost_ledger:import_prices(Ledger, Json, ?BY#{id => <<"import">>}),
    _ = Book(<<"m-2">>, #{}),
    ok = prices(Ledger, #{binary:copy(<<"n">>, 400) => #{input => 16#ffffffffffffffff, output => 0}},
                #{}),
    {error, {amount_too_large, _}} =
        cost_ledger:record(Ledger, #{state => executing, model => binary:copy(<<"n">>, 400),
                                     cost => auto, tokens => #{input => ?AMOUNT_MAX}}),
    ok = cost_ledger:stop(Ledger),
    expect(#{"prices" => 5, "kinds.price" => 6, "flags.unattended" => 1,
             "cost" => 1 + 2 + 3 + 3 + 2 + 4 + 2 + 4 + 1000000000}, directory(Config)).

%% Up and down, what was unpriced, what the ledger ended; in each series that the record is in.
corrections_of_everything(Config) ->
    Ledger = open_for_records(Config, #{rules => [rule(money, #{user => each}, cost, lifetime, 60)]}),
    Work = [record(Ledger, maps:merge(#{user => ann, status => Status}, More))
            || Status <- [completed, failed, aborted],
               More <- [#{state => executing, cost => 20, tokens => #{input => 5}},
                        #{state => improving, credits => 9}, #{kind => run}]],
    [correct(Ledger, Id, More)
     || Id <- Work, More <- [#{credits => 1}, #{cost => 5}, #{cost => -5}, #{cost => 0},
                             #{tokens => #{cache_read => 3, output => 1}, credits => -1},
                             #{tokens => #{cache_read => -3}}]],
    {error, {overcorrected, _}} =
        cost_ledger:record(Ledger, #{kind => correction, corrects => hd(Work), cost => -21,
                                     by => test, reason => "too much"}),
    Hold = reserve(Ledger, #{state => executing, cost => 10, deadline_ms => 1}),
    ok = cost_ledger:advance_clock(Ledger, 2),
    {ok, #{late := true, id := Late}} = cost_ledger:settle(Hold, #{cost => 30, input => <<"late">>}),
    {ok, #{corrects := Aborted}} = cost_ledger:fetch(Ledger, Late),
    _ = correct(Ledger, Aborted, #{cost => -30}),
    ok = cost_ledger:stop(Ledger),
    expect(#{"kinds.correction" => 9 * 6 + 2, "flags.prices" => 6,
             "totals.corrected_unpriced" => -3, "totals.corrected_runs_unpriced" => -3,
             "totals.late_completed" => 1, "flags.overrun" => 9}, directory(Config)).

%% Anything that callers may do with records and named holds, in any order.
random_records(Config) ->
    Ledger = open_for_records(Config, #{rules => [rule(money, #{user => each}, cost, {rolling, ?DAY_MS},
                                                       100000, #{on_exhausted => warn})]}),
    ok = prices(Ledger, m_1(), #{effective_from => 0}),
    lists:foldl(fun(N, Known) ->
                        Left = lists:foldl(fun(_, Acc) -> record_step(Ledger, rand:uniform(16), Acc) end,
                                           Known, lists:seq(1, 40)),
                        Read = expect(#{}, directory(Config)),
                        ?assert(maps:get("entries", Read) >= N),
                        Left
                end, {[], []}, lists:seq(1, 12)),
    Read = expect(#{}, directory(Config)),
    [?assert(maps:get(What, Read) > 0, What)
     || What <- ["kinds.correction", "kinds.redaction", "kinds.price", "kinds.run", "flags.prices",
                 "flags.late", "flags.completes", "payloads", "redacted", "run_ids",
                 "totals.cache_savings"]],
    ok = cost_ledger:stop(Ledger),
    Again = open(Config, #{series => [[status, prompt_type], [model, status], [agent]]}),
    cost_ledger_test:eventually(
      fun() -> maps:get("building", expect(#{}, directory(Config))) =:= 0 end),
    ok = cost_ledger:stop(Again).

%% Slices of any size: between two of them the ledger is whole, too.
old_records_that_were_removed(Config) ->
    Ledger = open_for_records(Config, #{rules => [rule(money, #{user => each}, cost,
                                                       {rolling, ?DAY_MS}, 100000,
                                                       #{on_exhausted => warn, warn => [50]})]}),
    ok = prices(Ledger, m_1(), #{effective_from => 0}),
    Told = ["totals." ++ Column || Column <- ["invocations", "runs", "cost", "credits", "corrections",
                                              "cache_savings", "completed_cost"]],
    lists:foldl(
      fun(N, Known) ->
              Left = lists:foldl(fun(_, Acc) -> record_step(Ledger, rand:uniform(16), Acc) end,
                                 Known, lists:seq(1, 60)),
              ok = cost_ledger:advance_clock(Ledger, rand:uniform(2 * ?DAY_MS)),
              _ = end_all(Ledger, Left),
              Before = expect(#{}, directory(Config)),
              _ = remove_old(Config, Ledger, 3 + N rem 3),
              After = expect(#{}, directory(Config)),
              ?assertEqual(maps:with(Told, Before), maps:with(Told, After)),
              {element(1, Left), []}
      end, {[], []}, lists:seq(1, 14)),
    Read = expect(#{"leaving" => 0}, directory(Config)),
    ?assert(maps:get("kept_from", Read) > ?START_MS * 1000),
    ok = cost_ledger:stop(Ledger),
    expect(Read, directory(Config)),
    %% Series that count from the horizon on.
    Again = open(Config, #{series => [[status, prompt_type], [agent, status], [agent]]}),
    cost_ledger_test:eventually(
      fun() -> maps:get("building", expect(#{}, directory(Config))) =:= 0 end),
    _ = lists:foldl(fun(_, Acc) -> record_step(Again, rand:uniform(16), Acc) end, {[], []},
                    lists:seq(1, 60)),
    expect(#{}, directory(Config)),
    ok = cost_ledger:stop(Again).

end_all(Ledger, {_Ids, Holds}) -> end_all(Ledger, Holds);
end_all(_Ledger, Holds) ->
    [cost_ledger:settle(Hold, #{cost => 1}) || Hold <- Holds].

%% What is older than so many days; the reader looks at some of the slices.
remove_old(Config, Ledger, Days) ->
    Handle = element(3, cost_ledger_registry:find(Ledger)),
    case cost_ledger_nif:horizon(Handle, cost_ledger_nif:now(Handle) - Days * ?DAY_MS * 1000) of
        {ok, 0} -> 0;
        {ok, Horizon} -> remove_slices(Config, Handle, {Horizon, 0, 0}), Horizon
    end.

remove_slices(Config, Handle, Pruning) ->
    {_Removed, Next} = cost_ledger_nif:prune(Handle, Pruning, rand:uniform(80)),
    rand:uniform(4) =:= 1 andalso expect(#{}, directory(Config)),
    case Next of
        done -> ok;
        _ -> remove_slices(Config, Handle, Next)
    end.

old_work_on_budgets_that_was_removed(Config) ->
    Ledger = open_with(Config, short_budgets()),
    _ = cost_ledger_test:at(Ledger, ?START_MS),
    Scopes = [all, #{org => acme}, #{user => ann}, #{org => other, user => bob}],
    lists:foreach(
      fun(N) ->
              Holds = lists:foldl(fun(_, Acc) -> step(Ledger, old_step(), 1, Acc) end, [],
                                  lists:seq(1, 60)),
              ok = cost_ledger:advance_clock(Ledger, rand:uniform(2 * ?DAY_MS)),
              _ = end_all(Ledger, Holds),
              told_alike(Config, Ledger, Scopes),
              _ = remove_old(Config, Ledger, 8 + N rem 3),
              told_alike(Config, Ledger, Scopes)
      end, lists:seq(1, 20)),
    Read = expect(#{"leaving" => 0}, directory(Config)),
    ?assert(maps:get("kept_from", Read) > ?START_MS * 1000),
    ok = cost_ledger:stop(Ledger),
    expect(maps:with(["entries", "keys", "warnings", "kept_from"], Read), directory(Config)).

%% All but changes of the rules, and the large leaps of the clock.
old_step() -> lists:nth(rand:uniform(18), [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 13, 14, 15, 16, 17, 19]).

%% The windows reach back a week at most; one counts from its resets on.
short_budgets() ->
    [case Rule of
         #{name := state} -> Rule#{window => {calendar, week, 0}};
         #{name := each} -> Rule#{window => lifetime, limit => 100000};
         _ -> Rule
     end || Rule <- budgets()].

damage_where_old_entries_were_removed(Config) ->
    Ledger = open(Config, #{budgets => #{}, rules => []}),
    [begin
         _ = cost_ledger_test:at(Ledger, ?START_MS + Day * ?DAY_MS),
         [book(Ledger, random_state_of(3), random_meta(small)) || _ <- lists:seq(1, 9)]
     end || Day <- lists:seq(0, 29)],
    _ = remove_old(Config, Ledger, 10),
    ok = cost_ledger:stop(Ledger),
    _ = expect(#{"leaving" => 0}, directory(Config)),
    [begin
         Output = damaged(directory(Config), rewrite("meta", Index, Code)),
         assert_problem(Expected, Output)
     end || {Index, Code, Expected} <-
                [{2, "value = value[:-2] + bytes([value[-2] ^ 1]) + value[-1:]", "retention"},
                 {2, "value = value[:-1]", "meta: "},
                 {2, "value = None", "retention"},
                 {0, "value = value.replace(b'retention', b'retentioo')", "newer: needs"}]],
    %% In the block with the sums before the horizon, and behind it.
    [begin
         Output = damaged(directory(Config), rewrite("series", Index, Code)),
         assert_problem("series", Output)
     end || {Index, Code} <- [{0, "value = bytes([40]) + value[1:]"}, {0, "value = None"},
                              {1, "value = value[:-1]"},
                              {2, "value = value[:5] + bytes([value[5] ^ 2]) + value[6:]"}]].

%% Records that there are, and holds. Some steps are refused: that must leave no trace.
record_step(Ledger, Kind, {Ids, Holds}) when Kind =< 5 ->
    Priced = case rand:uniform(3) of
                 1 -> #{cost => auto, model => <<"m-1">>,
                        tokens => #{input => rand:uniform(900), cache_read => rand:uniform(400),
                                    cache_creation => rand:uniform(90)}};
                 2 -> #{breakdown => #{tokens => rand:uniform(99), tool_calls => rand:uniform(99)}};
                 3 -> maps:from_list(some(0.5, cost, rand:uniform(99)))
             end,
    More = maps:from_list(some(0.4, run_id, random_text(3)) ++ some(0.3, parent_run, random_text(3))
                          ++ some(0.5, output, #{random_text(3) => random_text(9)})
                          ++ some(0.3, occurred_at, 1000) ++ some(0.2, id, random_text(4))
                          ++ some(0.3, provider, <<"p">>) ++ some(0.5, user, random_user())
                          ++ [{duration_ms, rand:uniform(99)},
                              {status, lists:nth(rand:uniform(3), [completed, failed, aborted])}]),
    What = case rand:uniform(3) of
               1 -> #{kind => run};
               _ -> #{state => random_state_of(3)}
           end,
    case cost_ledger:record(Ledger, maps:merge(maps:merge(Priced, More), What)) of
        {ok, Id} -> {[Id | Ids], Holds};
        {error, _} -> {Ids, Holds}
    end;
record_step(Ledger, Kind, {[_ | _] = Ids, Holds}) when Kind =< 9 ->
    Id = lists:nth(rand:uniform(length(Ids)), Ids),
    Differences = maps:from_list(some(0.7, cost, rand:uniform(100) - 70)
                                 ++ some(0.3, tokens, #{output => rand:uniform(9)})
                                 ++ some(0.2, output, corrected) ++ some(0.1, id, random_text(4))
                                 ++ [{credits, rand:uniform(9) - 4}]),
    _ = case Kind of
            9 -> cost_ledger:redact(Ledger, Id, ?BY);
            _ -> cost_ledger:record(Ledger, Differences#{kind => correction, corrects => Id,
                                                         by => test, reason => "a test"})
        end,
    {Ids, Holds};
record_step(Ledger, 10, Known) ->
    _ = prices(Ledger, #{<<"m-1">> => #{input => rand:uniform(5000000), output => 7}},
               maps:from_list(some(0.5, effective_from, rand:uniform(?START_MS)))),
    Known;
record_step(Ledger, Kind, {Ids, Holds}) when Kind =< 12 ->
    case cost_ledger:reserve(Ledger, maps:from_list(
                                       some(0.5, run_id, random_text(2)) ++ some(0.3, id, random_text(3))
                                       ++ [{kind, run}, {user, random_user()}, {cost, 5},
                                           {model, <<"m-1">>},
                                           {deadline_ms, rand:uniform(5000)}]
                                       ++ [{parent, hd(Holds)} || Holds =/= [], Kind =:= 12])) of
        {ok, Hold} -> {Ids, [Hold | Holds]};
        {error, _} -> {Ids, Holds}
    end;
record_step(Ledger, Kind, {Ids, [_ | _] = Holds}) when Kind =< 15 ->
    Hold = lists:nth(rand:uniform(length(Holds)), Holds),
    Usage = case rand:uniform(2) of
                1 -> #{cost => auto, tokens => #{input => rand:uniform(900), cache_read => 60}};
                2 -> #{cost => rand:uniform(9), credits => 1}
            end,
    case Kind of
        13 -> _ = cost_ledger:meter(Hold, Usage), {Ids, Holds};
        14 -> _ = cost_ledger:release(Hold), {Ids, lists:delete(Hold, Holds)};
        15 ->
            case cost_ledger:settle(Hold, Usage#{output => [rand:uniform(9)]}) of
                {ok, #{id := Id}} ->
                    {ok, Entry} = cost_ledger:fetch(Ledger, Id),
                    {[maps:get(corrects, Entry, Id) | Ids], Holds};
                {error, _} ->
                    {Ids, Holds}
            end
    end;
record_step(Ledger, _Kind, Known) ->
    ok = cost_ledger:advance_clock(Ledger, lists:nth(rand:uniform(4), [0, 1, 777, ?HOUR_MS])),
    Known.

%% Each thing that a program which knows budgets alone would misread.
what_needs_the_second_word(Config) ->
    Ledger = open(Config, #{series => [[status]]}),
    _ = cost_ledger_test:at(Ledger, ?START_MS),
    _ = record(Ledger, #{state => executing, run_id => <<"run">>, intent => "ask"}),
    _ = reserve(Ledger, #{kind => run, run_id => <<"held">>, deadline_ms => ?LATER}),
    ok = cost_ledger:stop(Ledger),
    Output = damaged(directory(Config), needs("['budgets']")),
    [assert_problem(Database ++ ": uses what format.needs does not name", Output)
     || Database <- ["meta", "entries", "holds", "keys", "payloads"]].

open_for_records(Config, Options) ->
    Ledger = open(Config, maps:merge(#{rules => [], series => [[status], [user, status], [user],
                                                               [model], [state, status]]}, Options)),
    _ = cost_ledger_test:at(Ledger, ?START_MS),
    Ledger.

%% Two tiers; and another price of the same model from one provider.
m_1() ->
    #{<<"m-1">> => #{input => 2500000, output => 10000000, cache_read => 250000,
                     cache_creation => 3125000, above => #{tokens => 1000, input => 5000000}},
      <<"p/m-1">> => #{input => 1000000, output => 2000000}}.

prices(Ledger, Prices, More) ->
    {ok, _} = cost_ledger:set_prices(Ledger, Prices, maps:merge(?BY, More)),
    ok.

record(Ledger, Record) ->
    {ok, Id} = cost_ledger:record(Ledger, Record),
    Id.

correct(Ledger, Id, Differences) ->
    record(Ledger, Differences#{kind => correction, corrects => Id, by => test,
                                reason => "a test"}).

%%% What is damaged is reported --------------------------------------------------------------------

%% A digit of a cost changes: no sum fits any more.
damage_in_an_entry(Config) ->
    Directory = closed_ledger(Config, 70),
    Output = damaged(Directory, "database = env.open_db(b'entries')\n"
                     "with env.begin(write=True) as txn:\n"
                     "    one, two = b'\\xce\\x3b\\x9a\\xca\\x07', b'\\xce\\x3b\\x9a\\xca\\x06'\n"
                     "    key, value = next(kv for kv in txn.cursor(database) if one in kv[1])\n"
                     "    txn.put(key, value.replace(one, two), db=database)\n"),
    assert_problem("series: ", Output),
    assert_problem("rollups: ", Output).

%% A 24th position; dimensions that are derived, not given out, or beyond the last.
positions_and_dimensions_beyond_the_known(Config) ->
    Directory = closed_ledger(Config, 3),
    [begin
         Copy = changed(Directory, rewrite_first_entry(Code)),
         {1, Output} = read(Copy),
         assert_problem(Expected, Output),
         ?assertMatch({error, {damaged, _}}, history(Copy))
     end || {Code, Expected} <-
                [{"entry += [None] * (23 - len(entry)) + [1]\n", "too many positions"}
                 | [{["entry[3][-2:] = [", integer_to_list(D), ", entry[3][-1]]\n"],
                     "names: dimensions"} || D <- [8, 10, 31, 48]]]].

%% Code that changes the array of the oldest entry.
rewrite_first_entry(Code) ->
    ["import msgpack\n"
     "database = env.open_db(b'entries')\n"
     "with env.begin(write=True) as txn:\n"
     "    key, value = next(iter(txn.cursor(database)))\n"
     "entry = msgpack.unpackb(value)\n", Code,
     "with env.begin(write=True) as txn:\n"
     "    txn.put(key, msgpack.packb(entry), db=database)\n"].

history(Directory) ->
    Ledger = cost_ledger_test:open(Directory, #{}),
    History = cost_ledger:history(Ledger, #{limit => 1000}),
    ok = cost_ledger:stop(Ledger),
    History.

damage_in_the_policy(Config) ->
    Directory = closed_ledger(Config, 3),
    Output = damaged(Directory, "import msgpack\n"
                     "database = env.open_db(b'meta')\n"
                     "with env.begin(write=True) as txn:\n"
                     "    policy = msgpack.unpackb(txn.get(b'policy', db=database))\n"
                     "    policy['rules'][2]['limit'] = 49\n"
                     "    txn.put(b'policy', msgpack.packb(policy), db=database)\n"),
    assert_problem("policy: 'executing/hour' was not as its change says", Output).

%% The newest change, undone, must lead to the version before.
damage_in_a_change_of_the_policy(Config) ->
    Directory = closed_ledger(Config, 3),
    [begin
         Output = damaged(Directory, ["import msgpack\n"
                                      "database = env.open_db(b'entries')\n"
                                      "with env.begin(write=True) as txn:\n"
                                      "    for key, value in list(txn.cursor(database)):\n"
                                      "        entry = msgpack.unpackb(value)\n"
                                      "        if entry[1] == 6:\n"
                                      "            change = entry[16]\n"
                                      "            ", Code, "\n"
                                      "            txn.put(key, msgpack.packb(entry),"
                                      " db=database)\n"]),
         assert_problem(Expected, Output)
     end || {Code, Expected} <-
                [{"change['states'] = ['dreaming']", "policy: the last states"},
                 {"change['changes'][0][1]['window'][1] += 1", "policy: 'executing/hour' was not"},
                 {"change['changes'][0][0]['scope']['state'] = 'dreaming'", "undeclared state"},
                 {"change['changes'][0][0]['name'] = 'other'", "another rule"},
                 {"del change['states']", "keys of change"},
                 {"entry[6:] = []", "entries: 00060a3835f5a000: change"}]].

%% A whole item after the last one, which the next count of items would take in.
bytes_after_the_last_item_of_a_block(Config) ->
    Directory = closed_ledger(Config, 3),
    %% Series 1 and 2 are those of the first entry: of its state, of its user.
    Append = fun(Series) ->
                     changed(Directory, ["database = env.open_db(b'series')\n"
                                         "with env.begin(write=True) as txn:\n"
                                         "    key, value = [kv for kv in txn.cursor(database)\n"
                                         "                  if kv[0][:4] == bytes([0, 0, 0, ",
                                         integer_to_list(Series), "])][-1]\n"
                                         "    txn.put(key, value + bytes.fromhex('024502020e'),"
                                         " db=database)\n"])
             end,
    %% Of a user: it is read when something is counted.
    User = Append(2),
    {1, Output} = read(User),
    assert_problem("series: 00000002", Output),
    assert_problem("something follows the end", Output),
    Ledger = open_at(User, #{}),
    [?assertMatch({error, {damaged, _}},
                  cost_ledger:record_invocation(Ledger, executing, #{user => <<"1">>}))
     || _ <- [1, 2]],
    ok = cost_ledger:stop(Ledger),
    %% Nothing was counted, and nothing written.
    {1, After} = read(User),
    ?assertEqual(lists:sort(string:split(Output, "\n", all)),
                 lists:sort(string:split(After, "\n", all))),
    %% Of a state, and of everything: the gate needs them at once.
    [begin
         Copy = Append(Series),
         {1, OfGate} = read(Copy),
         assert_problem(["series: 0000000", integer_to_list(Series)], OfGate),
         ?assertMatch({error, {damaged, _}}, cost_ledger_test:open(Copy, #{}))
     end || Series <- [0, 1]].

damage_in_the_gate(Config) ->
    Directory = closed_ledger(Config, 3),
    %% The magic; the number of states; the word, the count and the name of state 1.
    [begin
         Copy = copy(Directory),
         {ok, File} = file:open(filename:join(Copy, "gate"), [read, write, raw, binary]),
         {ok, <<Byte>>} = file:pread(File, Offset, 1),
         ok = file:pwrite(File, Offset, <<(Byte bxor 4)>>),
         ok = file:close(File),
         {1, Output} = read(Copy),
         assert_problem("gate: ", Output)
     end || Offset <- [0, 264, 4096 + 64 + 7, 4096 + 64 + 16, 69632 + 1024,
                    69632 + 1024 + 2]].

%% Ledger time is stored twice, each with its complement: garbage in one of the two, or half of a
%% store, is no time.
damage_in_the_time_last_seen(Config) ->
    Ledger = open(Config, #{}),
    Booked = cost_ledger_test:at(Ledger, ?START_MS),
    ok = cost_ledger:record_invocation(Ledger, executing, #{}),
    Seen = cost_ledger_test:at(Ledger, ?START_MS + ?DAY_MS),
    ok = cost_ledger:stop(Ledger),
    Slots = [224, 240],
    Garbage = [binary:copy(<<16#7f>>, 16), binary:copy(<<16#ff>>, 16), <<0:128>>,
               rand:bytes(16), <<(1 bsl 62):64/native, 0:64>>],
    [?assertEqual({Offset, Bytes, Seen}, {Offset, Bytes, reopened_at(Config, [Offset], Bytes)})
     || Offset <- Slots, Bytes <- Garbage],
    %% A stray bit in the time or in its complement.
    [?assertEqual({Offset, Seen}, {Offset, reopened_at(Config, [Offset], <<2#01000000>>)})
     || Offset <- [224 + 6, 232 + 6, 240 + 6, 248 + 6]],
    %% With both gone the newest entry is what is known.
    [?assertEqual({Bytes, Booked}, {Bytes, reopened_at(Config, Slots, Bytes)}) || Bytes <- Garbage],
    %% A later time that is whole counts, in whichever place.
    Later = (Seen + ?DAY_MS) * 1000,
    Whole = <<Later:64/native, (bnot Later):64/native>>,
    [?assertEqual({Offset, Seen + ?DAY_MS},
                  {Offset, reopened_at(Config, [Offset], Whole)}) || Offset <- Slots].

%% Ledger time, in ms, after Bytes were put at the offsets of the gate of a copy.
reopened_at(Config, Offsets, Bytes) ->
    Copy = copy(directory(Config)),
    {ok, File} = file:open(filename:join(Copy, "gate"), [read, write, raw, binary]),
    [ok = file:pwrite(File, Offset, Bytes) || Offset <- Offsets],
    ok = file:close(File),
    expect(#{"invocations" => 1}, Copy),
    Ledger = open_at(Copy, #{}),
    #{ledger_time := Ms} = cost_ledger:stats(Ledger),
    ok = cost_ledger:stop(Ledger),
    Ms.

%% What is not understood is not read, by the reader nor by the application.
a_newer_format_is_refused(Config) ->
    Directory = closed_ledger(Config, 3),
    [begin
         Copy = changed(Directory, ["import msgpack\n"
                                    "database = env.open_db(b'meta')\n"
                                    "with env.begin(write=True) as txn:\n"
                                    "    row = msgpack.unpackb(txn.get(b'", Row,
                                    "', db=database))\n"
                                    "    ", Code, "\n"
                                    "    txn.put(b'", Row, "', msgpack.packb(row),"
                                    " db=database)\n"]),
         {1, Output} = read(Copy),
         assert_problem(Expected, Output),
         ?assertMatch({Code, {error, {newer_format, _}}},
                      {Code, cost_ledger_test:open(Copy, #{})})
     end || {Row, Code, Expected} <-
                [{"format", "row['version'] = 2", "newer: format 2"},
                 {"format", "row['needs'] = ['holds']", "newer: needs"},
                 {"format", "row['needs'] = ['budgets', 'holds']", "newer: needs"},
                 {"format", "row['needs'] = 1", "newer: needs"},
                 {"format", "row['color'] = 'red'", "newer: keys of format"},
                 {"series", "row.append([0, 8])", "newer: series"},
                 {"series", "row.append([10])", "newer: series"},
                 {"series", "row.append([48])", "newer: series"},
                 {"policy", "row['color'] = 'red'", "newer: keys"}
                 | [{"policy", ["row['rules'][0]", Change], ["newer: ", Of]}
                    || {Change, Of} <- [{"['color'] = 'red'", "keys of rule"},
                                        {"['measure'] = 'seconds'", "measure"},
                                        {"['window'] = ['year', 0]", "window"},
                                        {"['window'] = ['lifetime', 0]", "window"},
                                        {"['limit'] = 'all'", "limit"},
                                        {"['scope']['planet'] = None", "scope"},
                                        {"['on_exhausted'] = 'explode'", "on_exhausted"}]]]],
    %% A dimension that a user may declare is nothing new.
    Declared = changed(Directory, "import msgpack\n"
                       "database = env.open_db(b'meta')\n"
                       "with env.begin(write=True) as txn:\n"
                       "    txn.put(b'series', msgpack.packb([[1], [4], [9, 32, 47]]), db=database)\n"),
    expect(#{"invocations" => 5}, Declared),
    ok = cost_ledger:stop(open_at(Declared, #{})).

a_missing_row_is_reported(Config) ->
    Directory = closed_ledger(Config, 70),
    [begin
         Output = damaged(Directory, ["database = env.open_db(b'", Database, "')\n"
                                      "with env.begin(write=True) as txn:\n"
                                      "    keys = [key for key, _ in txn.cursor(database)]\n"
                                      "    txn.delete(keys[len(keys) // 2], db=database)\n"]),
         assert_problem(Expected, Output)
     end || {Database, Expected} <- [{"names", "names: "}, {"series", "series: "},
                                     {"rollups", "rollups: "}, {"entries", "series: "}]].

%% One bit of one byte, at random, in the value of a random row.
any_byte_of_derived_data_is_checked(Config) ->
    Directory = closed_ledger(Config, 70),
    [begin
         Seed = integer_to_list(N),
         Output = damaged(Directory, ["import random\n"
                                      "random.seed(", Seed, ")\n"
                                      "database = env.open_db(b'", Database, "')\n"
                                      "with env.begin(write=True) as txn:\n"
                                      "    key, value = random.choice(list(txn.cursor(database)))\n"
                                      "    value = bytearray(value)\n"
                                      "    value[random.randrange(len(value))] ^="
                                      " 1 << random.randrange(8)\n"
                                      "    txn.put(key, bytes(value), db=database)\n"]),
         assert_problem(Database ++ ": ", Output)
     end || Database <- ["series", "rollups", "names"], N <- lists:seq(1, 12)].

%% What the hold itself says, what it holds, whom it belongs to.
damage_in_a_hold(Config) ->
    Directory = ledger_with_budgets(Config),
    [begin
         Output = damaged(Directory, rewrite("holds", Index, Code)),
         assert_problem(Expected, Output)
     end || {Index, Code, Expected} <-
                [%% 77777: in the estimate, in each share, in the last
                 {0, "value = value.replace(b'\\xd1\\xdf\\x04', b'\\xd0\\xdf\\x04')", "held: "},
                 {0, "value = value.replace(b'\\xd1\\xdf\\x04', b'\\xd0\\xdf\\x04', 1)",
                  "holds more than it asked for"},
                 {0, "at = value.rindex(b'\\xd1\\xdf\\x04')\n"
                  "value = value[:at] + b'\\xd0' + value[at + 1:]", "held: "},
                 {0, "value = value[:1] + b'\\x03' + value[2:]", ["holds: ", hold_id(0), ": kind"]},
                 {0, "value += b'\\0'", "something follows the end"},
                 {0, "value = value[:-1]", "holds: "},
                 {0, "value = None", "held: "},
                 {0, "value = value.replace(b'held by its id', b'held by its ia')",
                  "its client_id has no row in keys"},
                 {1, "value = None", "live children, not 1"},
                 {1, "value = value.replace(b'a model', b'a mod\\xffl')",
                  ["holds: ", hold_id(1), ": not msgpack"]}]].

damage_in_what_is_held(Config) ->
    Directory = ledger_with_budgets(Config),
    [begin
         Output = damaged(Directory, rewrite("held", Index, Code)),
         assert_problem("held: ", Output)
     end || Index <- [0, 1, 2],
            Code <- ["value = bytes([value[0] + 1]) + value[1:]",
                     "value = value[:-1] + bytes([value[-1] ^ 1])",
                     "value += b'\\1'",
                     "value = None",
                     %% An end before that of the holds.
                     "end = 1\n"
                     "while value[end] & 0x80: end += 1\n"
                     "value = value[:1] + b'\\1' + value[end + 1:]"]],
    Output = damaged(Directory, "database = env.open_db(b'held')\n"
                     "with env.begin(write=True) as txn:\n"
                     "    txn.put(bytes([0, 0, 0, 99]), b'\\1\\1\\1\\1', db=database)\n"),
    assert_problem("held: 00000063", Output).

%% One bit of one byte, at random, in what says which entry a request made, or who may settle yet.
damage_in_a_key(Config) ->
    Directory = ledger_with_budgets(Config),
    [assert_problem("keys: ", damaged(Directory, flip("keys", Prefix, N)))
     || Prefix <- ["\\1invoice", "\\1policy", "\\3"], N <- lists:seq(1, 8)],
    %% Of a hold, and of requests that made nothing, the digest stands nowhere else.
    [assert_problem(Expected, damaged(Directory, rewrite_key(Key, Code)))
     || {Key, Code, Expected} <-
            [{"\\1invoice", "value = None", "keys: 01696e766f696365: is missing"},
             {"\\1held by its id", "value = None", "its client_id has no row in keys"},
             {"\\1held by its id", "value = b'\\5' + value[1:]", "is not its own"},
             {"\\1moved", "value = b'\\1' + value[1:]", "no entry has this client_id"},
             {"\\1moved", "value = b'\\x09' + value[1:]", "unknown operation"},
             {"\\1moved", "value = value[:2] + b'\\7' + value[-33:]", "no hold 7 was ever"},
             {"\\x08", "value = b''", "keys: 08: unknown kind of row"}]].

damage_in_a_mark(Config) ->
    Directory = ledger_with_budgets(Config),
    [assert_problem("warned: ", damaged(Directory, flip("warned", "\\2", N)))
     || N <- lists:seq(1, 8)],
    [assert_problem(Expected, damaged(Directory, rewrite("warned", Index, Code)))
     || {Index, Code, Expected} <-
            [{0, "value = None", "was not warned of"},
             {0, "value = value[:1] + bytes([value[1] ^ 1]) + value[2:]", ": limit "},
             {0, "value = b'\\2' + value[1:]", ": period"},
             {0, "value = value[:-1] + b'\\2'", "its id is of nothing"},
             {0, "key = key[:-1] + b'\\2'", "not one of its thresholds"},
             {0, "key = key[:-2] + b'\\2' + key[-1:]", "not one of its series"},
             {0, "key = key.replace(b'money', b'honey')", "of a rule that is not there"},
             {-1, "value = None", "is missing"},
             {-1, "key = b'\\3' + key[1:]", "unknown kind of row"}]].

damage_in_an_entry_of_a_budget(Config) ->
    Directory = ledger_with_budgets(Config),
    [assert_problem(Expected, damaged(Directory, rewrite_entries(["if ", Code])))
     || {Code, Expected} <-
            [{"entry[1] == 1 and len(entry) > 11 and entry[11] == 1: del entry[7:]",
              "is not marked as an overrun of 'money'"},
             {"entry[1] == 3: entry[11] = 1", "flags: overrun"},
             {"entry[1] == 3: entry[16]['kind'] = 'gift'", "change: kind"},
             {"entry[1] == 3: entry[7] = -entry[7]", "grant: below 0"},
             {"entry[1] == 3: entry[3] += [3, 2]", "grant: no account"},
             {"entry[1] == 4: entry[18] = key_id", ": hold"},
             {"entry[1] == 5: entry[14] -= 1", "corrects what the ledger has not ended"},
             {"entry[1] == 5: entry[11] = 4", "flags: late"},
             {"entry[1] == 5: entry[11] = 2", "series: "},
             {"entry[1] == 1 and len(entry) > 18: entry[11] = None",
              "corrects what the ledger has not ended"},
             {"entry[1] == 1 and len(entry) > 18: first = entry[18] = first or entry[18]", "again"},
             {"entry[1] == 7: entry[16]['rule'] = 'none'", "resets 'none', which is not there"},
             {"entry[1] == 6: entry[16]['settings'][1]['depth']['value'] = 4",
              "the settings were not as their change says"}]].

%% A program that does not know it would admit what is held.
a_hold_of_a_newer_version(Config) ->
    Copy = changed(ledger_with_budgets(Config),
                   rewrite("holds", 0, "value = b'\\2' + value[1:]")),
    {1, Output} = read(Copy),
    assert_problem("newer: version 2 of a hold", Output),
    ?assertMatch({error, _}, cost_ledger_test:open(Copy, #{})).

%% A closed ledger in which each kind of row is found by what it says.
ledger_with_budgets(Config) ->
    Ledger = open_with(Config, [rule(money, all, cost, lifetime, 100000, #{warn => [1]}),
                                rule(day, #{user => each}, cost, {calendar, day, 0}, 100000)]),
    _ = cost_ledger_test:at(Ledger, ?START_MS),
    ok = grant(Ledger, #{org => acme}, 500, purchase, #{id => <<"invoice">>}),
    Run = reserve(Ledger, #{kind => run, org => acme, cost => 77777, deadline_ms => ?LATER,
                            id => <<"held by its id">>}),
    Call = reserve(Ledger, #{state => executing, org => acme, parent => Run, cost => 0,
                             deadline_ms => ?LATER}),
    ok = cost_ledger:meter(Call, #{model => <<"a model">>}),
    ok = cost_ledger:transfer(Call, whereis(init), #{id => <<"moved">>}),
    [Late, Never] = [reserve(Ledger, #{state => improving, user => ann, cost => 40,
                                       deadline_ms => 1000}) || _ <- [1, 2]],
    Released = reserve(Ledger, #{state => improving, user => ann, cost => 40}),
    ok = cost_ledger:release(Released),
    ok = cost_ledger:advance_clock(Ledger, 2000),
    {ok, #{late := true}} = cost_ledger:settle(Late, #{cost => 50}),
    {error, {resolved, _}} = cost_ledger:release(Never),
    book(Ledger, executing, #{cost => 200000}),
    {ok, _} = cost_ledger:reset(Ledger, day, ?BY#{scope => #{user => ann}}),
    {ok, 2} = cost_ledger:set_policy(Ledger, #{settings => #{depth => #{type => integer, value => 3}}},
                                     ?BY#{id => <<"policy">>}),
    ok = cost_ledger:stop(Ledger),
    expect(#{"holds" => 2, "held" => 3, "keys" => 7, "warnings" => 1, "flags.overrun" => 1},
           directory(Config)),
    directory(Config).

%% Of the first hold of ledger_with_budgets/1: behind the grant.
hold_id(N) -> hex(<<(?START_MS * 1000 + 1 + N):64>>).

%% Code that changes `key` or `value` of a row; None removes it.
rewrite(Database, Index, Code) ->
    rewrite_row(Database, ["list(txn.cursor(database))[", integer_to_list(Index), "]"], Code).

rewrite_key(Key, Code) ->
    rewrite_row("keys", ["(b'", Key, "', txn.get(b'", Key, "', db=database))"], Code).

rewrite_row(Database, Row, Code) ->
    ["database = env.open_db(b'", Database, "')\n"
     "with env.begin(write=True) as txn:\n"
     "    old, value = ", Row, "\n"
     "key = old\n", Code, "\n"
     "with env.begin(write=True) as txn:\n"
     "    txn.delete(old, db=database)\n"
     "    if value is not None: txn.put(key, value, db=database)\n"].

%% One bit of the value of a row whose key begins so.
flip(Database, Prefix, Seed) ->
    ["import random\n"
     "random.seed(", integer_to_list(Seed), ")\n"
     "database = env.open_db(b'", Database, "')\n"
     "with env.begin(write=True) as txn:\n"
     "    key, value = next(kv for kv in txn.cursor(database) if kv[0].startswith(b'", Prefix, "'))\n"
     "    value = bytearray(value)\n"
     "    value[random.randrange(len(value))] ^= 1 << random.randrange(8)\n"
     "    txn.put(key, bytes(value), db=database)\n"].

%% Code that changes the array of each entry in turn.
rewrite_entries(Code) ->
    ["import msgpack\n"
     "database = env.open_db(b'entries')\n"
     "first = None\n"
     "with env.begin(write=True) as txn:\n"
     "    for key, value in list(txn.cursor(database)):\n"
     "        key_id = int.from_bytes(key, 'big')\n"
     "        entry = msgpack.unpackb(value)\n"
     "        ", Code, "\n"
     "        txn.put(key, msgpack.packb(entry), db=database)\n"].

%% What an entry says in words is bound to it, and cannot be taken away without a trace.
damage_in_a_payload(Config) ->
    Directory = ledger_with_records(Config),
    [assert_problem(Expected, damaged(Directory, rewrite("payloads", Index, Code)))
     || {Index, Code, Expected} <-
            [{0, "value = value[:-1] + bytes([value[-1] ^ 1])", "is not what the entry's digest says"},
             {0, "value = value[:1] + bytes([value[1] ^ 1]) + value[2:]",
              "is not what the entry's digest says"},
             {0, "value = value[:-1]", "is not what the entry's digest says"},
             {0, "value += b'\\0'", "is not what the entry's digest says"},
             {0, "value = value[:17]", "ends too early"},
             {0, "value = b'\\3' + value[1:]", "unknown kind of row"},
             {0, "value = b'\\2' + bytes(8)", "was not redacted by this entry"},
             {0, "value = None", "is missing"},
             {0, "key = key[:-1] + bytes([key[-1] ^ 0x40])", "no entry has this payload"},
             {1, "value = value[:-1] + bytes([value[-1] ^ 1])", "was not redacted by this entry"},
             {1, "value = b'\\1' + bytes(16) + b'\\x80'", "was redacted, but is there"},
             {1, "value = None", "is missing"}]],
    [assert_problem("payloads: ", damaged(Directory, flip("payloads", "", N)))
     || N <- lists:seq(1, 12)],
    [assert_problem(Expected, damaged(Directory, rewrite_entries(["if ", Code])))
     || {Code, Expected} <-
            [{"len(entry) > 12 and entry[12]: entry[12] = bytes(32)",
              "is not what the entry's digest says"},
             {"len(entry) > 12 and entry[12]: entry[12] = bytes(31)", ": digest"},
             {"len(entry) > 12 and entry[12]: entry[12] = None", "no entry has this payload"},
             {"entry[1] == 6: entry[12] = bytes(32)", ": digest"},
             {"entry[1] == 9: entry[14] -= 1", "was redacted, but is there"},
             {"entry[1] == 9: entry[14] += 1", "redacts what had no payload"},
             {"entry[1] == 9: entry[14] = None", ": link"},
             {"entry[1] == 9: entry[16]['rule'] = 'x'", ": change"},
             {"entry[1] == 9: entry[16] = 7", ": change"}]].

%% The digest fits, but nothing of this version wrote it.
a_payload_of_another_form(Config) ->
    Directory = ledger_with_records(Config),
    [assert_problem(
       Expected,
       damaged(Directory,
               ["import hashlib, msgpack\n"
                "entries, payloads = env.open_db(b'entries'), env.open_db(b'payloads')\n"
                "E, deep = msgpack.ExtType, []\n"
                "for _ in range(23): deep = [deep]\n"
                "value = bytes(16) + msgpack.packb(", Value, ")", More, "\n"
                "with env.begin(write=True) as txn:\n"
                "    key = next(iter(txn.cursor(payloads)))[0]\n"
                "    entry = msgpack.unpackb(txn.get(key, db=entries))\n"
                "    entry[12] = hashlib.sha256(value).digest()\n"
                "    txn.put(key, b'\\1' + value, db=payloads)\n"
                "    txn.put(key, msgpack.packb(entry), db=entries)\n"]))
     || {Value, More, Expected} <-
            [{"{'output': E(3, b'x')}", "", "payload: unknown extension 3"},
             {"{'output': E(2, bytes(9))}", "", "an integer that is not that big"},
             {"{'output': E(1, b'true')}", "", "an atom of its own form"},
             {"{'output': b'text'}", "", "text as bin"},
             {"{'output': deep}", "", "too deep"},
             {"{'output': {None: 1}}", "", "a key"},
             {"{'input': 1}", "[:-1] + b'\\1\\2'", "not msgpack"},
             {"{'color': 1}", "", "unknown fields"},
             {"{}", "", "not a map, or of nothing"},
             {"[]", "", "not a map, or of nothing"}]].

%% Whose record it is, or whose hold; and that there is one of that name.
damage_in_a_run_id(Config) ->
    Directory = ledger_with_records(Config),
    [assert_problem("keys: 04", damaged(Directory, flip("keys", Prefix, N)))
     || Prefix <- ["\\4first", "\\4settled", "\\4held"], N <- lists:seq(1, 8)],
    [assert_problem("keys: 05", damaged(Directory, flip("keys", "\\5", N))) || N <- lists:seq(1, 4)],
    [assert_problem(Expected, damaged(Directory, Code))
     || {Code, Expected} <-
            [{rewrite_key("\\4first", "value = None"), "keys: 046669727374: is missing"},
             {rewrite_key("\\4held", "value = None"), "keys: 0468656c64: is missing"},
             {rewrite_key("\\4settled", "key = b'\\4other'"), "keys: 046f74686572: is not derived"},
             {rewrite("holds", 0, "value = value.replace(b'held', b'hold')"), "keys: 04686f6c64: is missing"},
             {rewrite_entries("if len(entry) > 17 and entry[17] == 'settled': entry[17] = 'first'"),
              "another one has the id"},
             {rewrite_entries("if len(entry) > 17 and entry[17]: entry[17] = 'x' * 1001"), ": run_id"},
             {rewrite_entries("if entry[1] == 5: entry[17:] = ['r', None, None, None, bytes(32)]"),
              ": run_id"},
             {rewrite_entries("if len(entry) > 22: entry[21] = None"),
              "an id without a digest"},
             {rewrite_entries("if len(entry) > 22: entry[22] = ''"), ": parent_run"}]].

%% What corrections came to, and what costs how much from when on.
damage_in_what_is_derived_from_records(Config) ->
    Directory = ledger_with_records(Config),
    [assert_problem(["keys: 0", Kind], damaged(Directory, flip("keys", ["\\", Kind], N)))
     || Kind <- ["6", "7"], N <- lists:seq(1, 8)],
    [assert_problem(Expected, damaged(Directory, Code))
     || {Code, Expected} <-
            [{rewrite_row("keys", first_of("\\6"), "value = None"), "is missing"},
             {rewrite_row("keys", first_of("\\6"), "value = bytes([value[0] ^ 1]) + value[1:]"),
              "should be priced "},
             {rewrite_row("keys", first_of("\\6"), "key = key[:-1]"), ": the key"},
             {rewrite_row("keys", first_of("\\7"), "value = None"), "is missing"},
             {rewrite_row("keys", first_of("\\7"), "key = key[:-1] + b'\\1'"), "is not derived"},
             {rewrite_row("keys", first_of("\\7"), "key = b'\\7\\0\\x09' + key[3:]"), ": the key"}]].

%% Amounts that do not come from one another; times and links that cannot be.
damage_in_a_record(Config) ->
    Directory = ledger_with_records(Config),
    [assert_problem(Expected, damaged(Directory, rewrite_entries(["if ", Code])))
     || {Code, Expected} <-
            [{"len(entry) > 9 and entry[9]: entry[9][1] += 1", "breakdown: does not add up"},
             {"len(entry) > 9 and entry[9]: entry[9] = entry[9][:3]", ": breakdown"},
             {"len(entry) > 9 and entry[9]: entry[9][0] += 1; entry[9][1] -= 1", "cost: the tokens cost"},
             {"len(entry) > 10 and entry[10]: entry[10][0] += 1000000", "cost: the tokens cost"},
             {"len(entry) > 10 and entry[10]: entry[6] += 1; entry[9] = None", "cost: the tokens cost"},
             {"len(entry) > 10 and entry[10]: entry[10][4] += 1", "were not in force"},
             {"len(entry) > 10 and entry[10]: entry[8] = None", ": unit_prices"},
             {"len(entry) > 15 and entry[15]: entry[15] += 10 ** 12", ": occurred_at"},
             {"entry[1] == 5: entry[11] = (entry[11] or 0) ^ 16 or None", "flags: prices"},
             {"entry[1] == 5: entry[11] = 2", "flags: late"},
             {"entry[1] == 5: entry[11] = 4", "flags: completes"},
             {"entry[1] == 5 and entry[6]: entry[6] = -10 ** 9", "corrects more than there was"},
             {"entry[1] == 5 and entry[6]: entry[6] += 1", "keys: 06"},
             {"entry[1] == 5: entry[14] -= 3", "corrects what is not there"},
             {"entry[1] == 5: entry[14] = key_id", ": link"},
             {"entry[1] == 5: entry[3] = [1, 1, 4, 2]", "is not called as what it corrects"},
             {"entry[1] == 5: entry[6:9] = [None, None, None]", "correction: of nothing"},
             {"entry[1] == 5: entry[16] = {'by': 'ops'}", ": change"},
             {"entry[1] == 5: entry[11] = 2; entry[16:] = [None, None, 7]",
              "corrects what the ledger has not ended"},
             {"entry[1] == 8: entry[16]['prices'][0][1][0] += 1", "keys: 07"},
             {"entry[1] == 8: entry[16]['prices'][0][1].pop()", "change: a price"},
             {"entry[1] == 8: entry[16]['prices'][0].append(1)", "change: a price"},
             {"entry[1] == 8: entry[16]['prices'] = []", "change: prices"},
             {"entry[1] == 8: entry[16]['color'] = 'red'", "keys of change"},
             {"entry[1] == 8: entry[16]['effective_from'] = -1", "change: effective_from"},
             {"entry[1] == 8: entry[6] = 5", "amounts, or a hold"}]].

damage_in_a_series_by_status(Config) ->
    Directory = ledger_with_records(Config),
    [assert_problem(Expected, damaged(Directory, Code))
     || {Code, Expected} <-
            [{rewrite_entries("if entry[1] == 2 and entry[2] == 1: entry[2] = 3"), "series: "},
             {rewrite_row("names", first_of("\\4\\xff"), "value = None"), "names: 04ffff"},
             {rewrite_row("names", first_of("\\4\\xff"), "key = b'\\4\\xff\\xff\\xff\\xf4'"),
              "names: 04fffffff4"},
             {rewrite_row("names", first_of("\\7\\x08"), "value = bytes(4)"), "names: 0708"},
             {"database = env.open_db(b'names')\n"
              "with env.begin(write=True) as txn:\n"
              "    key = b'\\3\\xff\\xff\\xff\\xf1'\n"
              "    txn.put(key, b'\\x08completed', db=database)\n", "names: 03fffffff1: is not derived"},
             {rewrite_row("names", ["next(kv for kv in txn.cursor(database) if kv[0][0] == 5"
                                    " and kv[1] == b'\\xff\\xff\\xff\\xf1')"],
                          "value = b'\\xff\\xff\\xff\\xf2'"), "names: 04fffffff1"}]].

%% A closed ledger with every row that records have, one of each kind found by its name.
ledger_with_records(Config) ->
    Ledger = open_for_records(Config, #{}),
    ok = prices(Ledger, #{<<"m-1">> => #{input => 2500000, output => 10000000}}, #{}),
    _ = record(Ledger, #{state => executing, user => ann, model => <<"m-1">>, cost => auto,
                         tokens => #{input => 3, output => 1}, breakdown => #{tool_calls => 40},
                         run_id => <<"first">>, intent => <<"ask">>,
                         occurred_at => ?START_MS, parent_run => <<"elsewhere">>}),
    Redacted = record(Ledger, #{kind => run, user => bob, intent => <<"secret">>, cost => 9,
                                run_id => binary:copy(<<"long">>, 200)}),
    Unpriced = record(Ledger, #{state => improving, user => ann, status => failed}),
    _ = correct(Ledger, Unpriced, #{cost => 70}),
    _ = correct(Ledger, Redacted, #{cost => -4, credits => 2}),
    {ok, _} = cost_ledger:redact(Ledger, Redacted, ?BY),
    Settled = reserve(Ledger, #{kind => run, run_id => <<"settled">>, id => <<"reserve">>}),
    _ = reserve(Ledger, #{kind => run, run_id => <<"held">>, id => <<"hold">>,
                          deadline_ms => ?LATER}),
    {ok, _} = cost_ledger:settle(Settled, #{cost => 5}),
    {ok, 2} = cost_ledger:set_policy(Ledger, #{settings => #{depth => #{type => integer, value => 3}}},
                                     ?BY),
    ok = cost_ledger:stop(Ledger),
    expect(#{"payloads" => 2, "redacted" => 1, "run_ids" => 4, "prices" => 1, "holds" => 1,
             "kinds.correction" => 2}, directory(Config)),
    directory(Config).

first_of(Prefix) ->
    ["next(kv for kv in txn.cursor(database) if kv[0].startswith(b'", Prefix, "'))"].

a_truncated_file_is_not_read(Config) ->
    Directory = closed_ledger(Config, 70),
    Copy = copy(Directory),
    {ok, File} = file:open(filename:join(Copy, "data.mdb"), [read, write, raw]),
    {ok, _} = file:position(File, 5 * 4096),
    ok = file:truncate(File),
    ok = file:close(File),
    {1, Output} = read(Copy),
    assert_problem("data.mdb: truncated", Output).

%% A closed ledger with some invocations, one of which costs 1,000,000,007, and a change.
closed_ledger(Config, Count) ->
    Ledger = open(Config, #{series => [[user]]}),
    _ = cost_ledger_test:at(Ledger, ?START_MS),
    [ok = cost_ledger:record_invocation(Ledger, random_state_of(2),
                                        (random_meta(small))#{user => integer_to_binary(N rem 7)})
     || N <- lists:seq(1, Count)],
    ok = cost_ledger:record_invocation(Ledger, executing, #{cost => 1000000007}),
    ok = cost_ledger:advance_clock(Ledger, ?DAY_MS),
    {ok, 2} = cost_ledger:set_budgets(Ledger, #{executing => #{max_per_hour => 50}},
                                      #{by => ops, reason => "test"}),
    ok = cost_ledger:record_invocation(Ledger, executing, #{agent => long_name()}),
    ok = cost_ledger:stop(Ledger),
    expect(#{"invocations" => Count + 2, "entries" => Count + 3}, directory(Config)),
    directory(Config).

%% What the reader says of a copy after Python has changed it.
damaged(Directory, Code) ->
    {Code, {1, Output}} = {Code, read(changed(Directory, Code))},
    Output.

%% A copy that Python has changed.
changed(Directory, Code) ->
    Copy = copy(Directory),
    {0, _} = run([?PYTHON, "-c", ["import lmdb, sys\n"
                                  "env = lmdb.open(sys.argv[1], max_dbs=16, map_size=1 << 30)\n",
                                  Code, "env.close()\n"], Copy]),
    Copy.

copy(Directory) ->
    Copy = Directory ++ "-copy",
    cost_ledger_test:remove(Copy),
    ok = file:make_dir(Copy),
    [{ok, _} = file:copy(filename:join(Directory, Name), filename:join(Copy, Name))
     || Name <- ["data.mdb", "gate"]],
    Copy.

assert_problem(Expected, Output) ->
    Text = lists:flatten(Expected),
    case [Line || "problem=" ++ Line <- string:split(Output, "\n", all),
                  string:find(Line, Text) =/= nomatch] of
        [_ | _] -> ok;
        [] -> ct:fail("no problem with ~ts in~n~ts", [Text, Output])
    end.

%%% The documentation ------------------------------------------------------------------------------

%% Every value of the example in docs/format.md lies in a ledger made as it says.
the_example_of_the_documentation(Config) ->
    Ledger = open(Config, #{}),
    _ = cost_ledger_test:at(Ledger, 1700000000000),
    ok = cost_ledger:record_invocation(Ledger, executing,
                                       #{duration_ms => 1200, cost => 2500000,
                                         tokens => #{input => 1500, output => 300},
                                         model => <<"m-1">>, user => <<"Zoë"/utf8>>}),
    _ = cost_ledger_test:at(Ledger, 1700000060000),
    ok = cost_ledger:record_invocation(Ledger, executing, #{status => failed, duration_ms => 40,
                                                            prompt_type => review}),
    {ok, 2} = cost_ledger:set_budgets(Ledger, #{executing => #{max_per_hour => 50},
                                                improving => #{max_per_day => infinity}},
                                      #{by => ops, reason => "load test"}),
    ok = cost_ledger:record_invocation(Ledger, improving, #{duration_ms => 7, cost => 0}),
    ok = cost_ledger:stop(Ledger),
    expect(#{"entries" => 4, "invocations" => 3, "names" => 6, "series" => 3}, directory(Config)),
    {0, Json} = run([?PYTHON, reader(), directory(Config)]),
    [?assertNotEqual({Text, nomatch}, {Text, string:find(Json, Text)})
     || Text <- ["\"cost\": 2500000,", "\"input\": 1500,", "\"executing\": 2,",
                 "\"problems\": []"]],
    {ok, Data} = file:read_file(filename:join(directory(Config), "data.mdb")),
    [?assertNotEqual({Hex, nomatch}, {Hex, binary:match(Data, bytes(Hex))}) || Hex <- example()],
    {ok, Gate} = file:read_file(filename:join(directory(Config), "gate")),
    [?assertEqual({Offset, bytes(Hex)},
                  {Offset, binary:part(Gate, Offset, byte_size(bytes(Hex)))})
     || {Offset, Hex} <- example_gate()].

%% Keys and values, as the page draws them.
example() ->
    [%% meta: the end of the format; series; the end of the policy
     "a8 63 75 72 72 65 6e 63 79 a3 55 53 44"
     "a5 6e 65 65 64 73 92 a7 62 75 64 67 65 74 73 a7 72 65 63 6f 72 64 73",
     "73 65 72 69 65 73 91 91 01",
     "a5 6c 69 6d 69 74 c0 b0 63 68 61 6e 67 65 64 5f 62 79 5f 65 6e 74 72 79"
     "cf 00 06 0a 24 1b b1 c7 01",
     %% entries
     "00 06 0a 24 18 1e 40 00 99 01 01 01 98 01 01 04 02 06 03 09 04"
     "9c 01 01 a9 65 78 65 63 75 74 69 6e 67 02 04 a4 5a 6f c3 ab 03 06 a3 6d 2d 31"
     "04 09 a7 75 6e 6b 6e 6f 77 6e cd 04 b0 ce 00 26 25 a0 c0 95 cd 05 dc cd 01 2c 00 00 00",
     "00 06 0a 24 1b b1 c7 00 96 01 01 02 94 01 01 09 05 93 05 09 a6 72 65 76 69 65 77 28",
     "00 06 0a 24 1b b1 c7 01 dc 00 11 01 06 00 90 c0 00 c0 c0 c0 c0 c0 c0 c0 c0 c0 c0"
     "86 a7 76 65 72 73 69 6f 6e 02 a2 62 79 a3 6f 70 73"
     "a6 72 65 61 73 6f 6e a9 6c 6f 61 64 20 74 65 73 74 a8 70 72 65 76 69 6f 75 73 00"
     "a6 73 74 61 74 65 73 90 a7 63 68 61 6e 67 65 73 92 92"
     ++ executing_hour() ++ "14" ++ executing_hour() ++ "32"
     "92" ++ improving_day() ++ "28" ++ improving_day() ++ "c0",
     "00 06 0a 24 1b b1 c7 02 97 01 01 01 94 01 06 09 04 93 06 01 a9 69 6d 70 72 6f 76 69 6e 67"
     "07 00",
     %% names
     "01 01 65 78 65 63 75 74 69 6e 67 00 00 00 01",
     "05 00 00 00 02 00 00 00 06",
     "07 01 00 00 00 02",
     %% series
     "00 00 00 00 00 06 0a 24 18 1e 40 00 03 00"
     "00 c5 33 02 02 e0 12 c0 96 b1 02 c0 96 b1 02 b8 17 d8 04"
     "80 8e ce 1c 69 02 02 02 50 02 45 02 02 0e",
     "00 00 00 01 00 06 0a 24 18 1e 40 00 02 00"
     "00 c5 33 02 02 e0 12 c0 96 b1 02 c0 96 b1 02 b8 17 d8 04 80 8e ce 1c 69 02 02 02 50",
     "00 00 00 02 00 06 0a 24 1b b1 c7 02 01 00 00 45 02 02 0e",
     %% rollups
     "00 00 00 00 01 00 07 34 9e ed 33 06 04 02 02 be 13 c0 96 b1 02 c0 96 b1 02 b8 17 d8 04"
     "03 00 c0 96 b1 02 0e e0 12"].

%% Rules, up to their limits.
executing_hour() ->
    "85 a4 6e 61 6d 65 ae 65 78 65 63 75 74 69 6e 67 2f 68 6f 75 72"
    "a5 73 63 6f 70 65 81 a5 73 74 61 74 65 a9 65 78 65 63 75 74 69 6e 67"
    "a7 6d 65 61 73 75 72 65 ab 69 6e 76 6f 63 61 74 69 6f 6e 73"
    "a6 77 69 6e 64 6f 77 92 a7 72 6f 6c 6c 69 6e 67 ce 00 36 ee 80 a5 6c 69 6d 69 74".

improving_day() ->
    "85 a4 6e 61 6d 65 ad 69 6d 70 72 6f 76 69 6e 67 2f 64 61 79"
    "a5 73 63 6f 70 65 81 a5 73 74 61 74 65 a9 69 6d 70 72 6f 76 69 6e 67"
    "a7 6d 65 61 73 75 72 65 ab 69 6e 76 6f 63 61 74 69 6f 6e 73"
    "a6 77 69 6e 64 6f 77 92 a7 72 6f 6c 6c 69 6e 67 ce 05 26 5c 00 a5 6c 69 6d 69 74".

%% What the gate holds at an offset, as the page draws it.
example_gate() ->
    [{16#e0, "00 c7 b1 1b 24 0a 06 00 ff 38 4e e4 db f5 f9 ff"
             "00 c7 b1 1b 24 0a 06 00 ff 38 4e e4 db f5 f9 ff"},
     {16#100, "02 c7 b1 1b 24 0a 06 00 03 00 00 00 00 00 00 00"},
     {16#1050, "02 00 00 00 00 00 00 00"},
     {16#11000, "0d 00 63 6f 6e 74 65 6d 70 6c 61 74 69 6e 67"}].

%% The second example: what depends on the VM is left out.
the_example_with_budgets(Config) ->
    Ledger = open(Config, #{series => [[org]],
                            rules => [#{name => prepaid, scope => #{org => each},
                                        measure => credits, window => lifetime, limit => granted,
                                        soft => 80, warn => [5]}]}),
    _ = cost_ledger_test:at(Ledger, 1700000000000),
    {ok, _} = cost_ledger:grant(Ledger, #{org => acme}, 500,
                                #{kind => purchase, by => ops, reason => "invoice 17",
                                  id => "inv-17"}),
    {ok, Run} = cost_ledger:reserve(Ledger, #{kind => run, org => acme, credits => 200}),
    {ok, Call} = cost_ledger:reserve(Ledger, #{state => executing, org => acme, credits => 40,
                                               model => 'm-1', parent => Run}),
    {ok, _} = cost_ledger:settle(Call, #{credits => 45, model => 'm-2'}),
    _ = cost_ledger_test:at(Ledger, 1700000060000),
    ok = cost_ledger:meter(Run, #{credits => 60}),
    %% What the page concludes from it.
    Attempt = #{state => executing, org => acme},
    ?assertMatch({ok, _}, cost_ledger:check(Ledger, Attempt#{credits => 200})),
    ?assertMatch(#{rules := [#{reason := soft}]},
                 denied(cost_ledger:check(Ledger, Attempt#{credits => 201}))),
    ?assertMatch({ok, _}, cost_ledger:check(Ledger, Attempt#{credits => 300, critical => true})),
    ok = cost_ledger:stop(Ledger),
    expect(#{told_key("used", prepaid, #{org => acme}) => 45,
             told_key("held", prepaid, #{org => acme}) => 155,
             told_key("limit", prepaid, #{org => acme}) => 500,
             "holds" => 1, "keys" => 1, "warnings" => 1, "undefined" => 1}, directory(Config)),
    {ok, Data} = file:read_file(filename:join(directory(Config), "data.mdb")),
    [?assertNotEqual({Hex, nomatch}, {Hex, binary:match(Data, bytes(Hex))})
     || Hex <- example_with_budgets()],
    %% The row of the hold: its key and beginning, the identity of the VM, what the page draws, the
    %% owner, and the rest.
    Drawn = bytes("80 9a d4 fb c3 c4 82 03 c0 cf 24 00 00 00 02 c8 01 80 04 5a 01 02 01 02"
                  "00 00 00 00 00 9b 01 00 00 00 01 00 00 00 00 9b 01 00 00 00"),
    {At, Size} = binary:match(Data, Drawn),
    ?assertEqual(bytes("00 06 0a 24 18 1e 40 01 01 02"), binary:part(Data, At - 26, 10)),
    Pid = term_to_binary(self()),
    End = <<(byte_size(Pid)), Pid/binary, (bytes("00 09 98 01 02 01 90 c0 00 c0 3c"))/binary>>,
    ?assertEqual(End, binary:part(Data, At + Size, byte_size(End))).

example_with_budgets() ->
    [%% meta: the rule; series
     "87 a4 6e 61 6d 65 a7 70 72 65 70 61 69 64 a5 73 63 6f 70 65 81 a3 6f 72 67 c0"
     "a7 6d 65 61 73 75 72 65 a7 63 72 65 64 69 74 73"
     "a6 77 69 6e 64 6f 77 91 a8 6c 69 66 65 74 69 6d 65"
     "a5 6c 69 6d 69 74 a7 67 72 61 6e 74 65 64 a4 77 61 72 6e 91 05 a4 73 6f 66 74 50",
     "73 65 72 69 65 73 92 91 01 91 02",
     %% entries: the grant; the settlement
     "00 06 0a 24 18 1e 40 00 dc 00 16 01 03 00 92 02 01 93 01 02 a4 61 63 6d 65"
     "00 c0 cd 01 f4 c0 c0 c0 c0 c0 a6 69 6e 76 2d 31 37 c0 c0 83 a2 62 79 a3 6f 70 73"
     "a4 6b 69 6e 64 a8 70 75 72 63 68 61 73 65"
     "a6 72 65 61 73 6f 6e aa 69 6e 76 6f 69 63 65 20 31 37 c0 c0 c0 c0 c4 20" ++ example_digest(),
     "00 06 0a 24 18 1e 40 03 dc 00 14 01 01 01 96 01 02 02 01 06 04"
     "96 02 01 a9 65 78 65 63 75 74 69 6e 67 04 06 a3 6d 2d 32"
     "00 c0 2d c0 c0 c0 c0 c0 c0 c0 c0 c0 c0 cf 00 06 0a 24 18 1e 40 02 cf 00 06 0a 24 18 1e 40 01",
     %% names
     "01 06 6d 2d 31 00 00 00 03", "07 02 00 00 00 01",
     %% series
     "00 00 00 01 00 06 0a 24 18 1e 40 00 02 00 00 80 80 80 0a 02 e8 07"
     "03 a5 0c 02 02 02 5a 5a",
     %% keys
     "01 69 6e 76 2d 31 37 01 00 80 80 f9 c0 c1 c4 82 03 00" ++ example_digest(),
     %% held; warned
     "00 00 00 01 01 80 9a d4 fb c3 c4 82 03 04 9b 01",
     "01 07 70 72 65 70 61 69 64 00 00 00 01 05 00 f4 03 83 80 f9 c0 c1 c4 82 03"].

example_digest() ->
    "2f 7e 9a 55 37 d1 0b 42 91 19 05 26 ed 62 8e 70 04 d0 76 5e be 96 d2 65 c2 91 01 f7 d7 2c 72 d3".

%% The third example: the salt is another one each time, and the digests that depend on it.
the_example_with_records(Config) ->
    Ledger = open(Config, #{series => [[status]]}),
    _ = cost_ledger_test:at(Ledger, 1700000000000),
    {ok, _} = cost_ledger:set_prices(Ledger, #{<<"m-1">> => #{input => 2500000, output => 10000000,
                                                              cache_read => 250000}},
                                     #{by => ops, reason => "list"}),
    {ok, Id} = cost_ledger:record(Ledger, #{state => executing, model => <<"m-1">>, cost => auto,
                                            tokens => #{input => 100, output => 50,
                                                        cache_read => 600},
                                            breakdown => #{tool_calls => 75}, intent => "ask",
                                            attributes => #{mood => calm}}),
    {ok, Run} = cost_ledger:record(Ledger, #{kind => run, run_id => "r-1", status => failed,
                                             output => 42}),
    {ok, _} = cost_ledger:record(Ledger, #{kind => correction, corrects => Run, cost => 80,
                                           by => ops, reason => "bill"}),
    {ok, _} = cost_ledger:redact(Ledger, Run, #{by => ops, reason => "law"}),
    ?assertEqual({1700000000000001, 1700000000000002}, {Id, Run}),
    ok = cost_ledger:stop(Ledger),
    expect(numbers([{totals, [{cost, 975 + 80}, {cache_savings, 1350}]}]), directory(Config)),
    {ok, Data} = file:read_file(filename:join(directory(Config), "data.mdb")),
    [?assertNotEqual({Hex, nomatch}, {Hex, binary:match(Data, bytes(Hex))})
     || Hex <- example_with_records()],
    %% The row of the payload: its key and kind, the salt, and the map; the entry has the digest.
    Map = bytes(example_payload()),
    {At, Size} = binary:match(Data, Map),
    ?assertEqual(bytes("00 06 0a 24 18 1e 40 01 01"), binary:part(Data, At - 25, 9)),
    Digest = crypto:hash(sha256, binary:part(Data, At - 16, 16 + Size)),
    Entry = <<(bytes("ce 00 26 25 a0 ce 00 98 96 80 ce 00 03 d0 90 ce 00 26 25 a0 ce 00 98 96 80"
                     "c0 c4 20"))/binary, Digest/binary>>,
    ?assertNotEqual(nomatch, binary:match(Data, Entry)).

example_with_records() ->
    [%% entries: the price; the record, up to its digest; the run, but for its digests; what follows
     "00 06 0a 24 18 1e 40 00 dc 00 11 01 08 00 90 c0 00 c0 c0 c0 c0 c0 c0 c0 c0 c0 c0"
     "83 a2 62 79 a3 6f 70 73 a6 70 72 69 63 65 73 91 92 a3 6d 2d 31"
     "95 ce 00 26 25 a0 ce 00 98 96 80 ce 00 03 d0 90 ce 00 26 25 a0 ce 00 98 96 80"
     "a6 72 65 61 73 6f 6e a4 6c 69 73 74",
     "00 06 0a 24 18 1e 40 01 9d 01 01 01 94 01 01 06 02"
     "96 01 01 a9 65 78 65 63 75 74 69 6e 67 02 06 a3 6d 2d 31"
     "00 cd 03 cf c0 95 64 32 cd 02 58 00 00 94 cd 03 84 4b 00 00"
     "95 ce 00 26 25 a0 ce 00 98 96 80 ce 00 03 d0 90 ce 00 26 25 a0 ce 00 98 96 80 c0 c4 20",
     "00 06 0a 24 18 1e 40 02 dc 00 16 01 02 02 90 c0 00 c0 c0 c0 c0 c0 c0 c4 20",
     "c0 c0 c0 c0 a3 72 2d 31 c0 c0 c0 c4 20" ++ example_run_digest(),
     "00 06 0a 24 18 1e 40 03 dc 00 11 01 05 00 90 c0 00 50 c0 c0 c0 c0 10 c0 c0"
     "cf 00 06 0a 24 18 1e 40 02 c0 82 a2 62 79 a3 6f 70 73 a6 72 65 61 73 6f 6e a4 62 69 6c 6c",
     "00 06 0a 24 18 1e 40 04 dc 00 11 01 09 00 90 c0 00 c0 c0 c0 c0 c0 c0 c0 c0"
     "cf 00 06 0a 24 18 1e 40 02 c0 82 a2 62 79 a3 6f 70 73 a6 72 65 61 73 6f 6e a3 6c 61 77",
     %% payloads: what is left of the run's
     "00 06 0a 24 18 1e 40 02 02 00 06 0a 24 18 1e 40 04",
     %% keys
     "04 72 2d 31 01 00 82 80 f9 c0 c1 c4 82 03 00" ++ example_run_digest(),
     "06 00 06 0a 24 18 1e 40 02 01 80 01 a0 01",
     "07 00 03 6d 2d 31 00 06 0a 24 18 1e 40 00"
     "a0 cb 98 01 80 ad e2 04 90 a1 0f a0 cb 98 01 80 ad e2 04 00 80 80 f9 c0 c1 c4 82 03",
     %% names
     "04 ff ff ff f1 00 00 00 02", "05 00 00 00 03 ff ff ff f2", "07 08 00 00 00 02",
     %% series
     "00 00 00 00 00 06 0a 24 18 1e 40 01 03 00 00 85 f3 80 10 02 02 9e 0f 9e 0f c8 01 64 b0 09 8c 15"
     "01 82 80 88 80 20 02 02 02 01 80 81 a0 80 80 22 a0 01 02 01 a0 01",
     "00 00 00 03 00 06 0a 24 18 1e 40 02 02 00 00 82 80 88 80 20 02 02 02"
     "01 80 81 a0 80 80 22 a0 01 02 01 a0 01",
     %% rollups
     "00 00 00 00 01 00 07 34 9e 87 f3 a8 90 a0 22 02 02 02 be 10 9e 0f c8 01 64 b0 09 02 02 8c 15"
     "02 01 a0 01 0b 9e 0f 9e 0f 00 00 00 00"].

example_run_digest() ->
    "34 15 38 97 aa 61 1c c2 f6 1e 7a f5 1b 4f 44 a6 06 7e d9 05 c8 c3 1f e7 ff 35 2b 77 2f 28 c7 c3".

example_payload() ->
    "82 aa 61 74 74 72 69 62 75 74 65 73 81 d6 01 6d 6f 6f 64 d6 01 63 61 6c 6d"
    "a6 69 6e 74 65 6e 74 a3 61 73 6b".

bytes(Hex) ->
    binary:decode_hex(list_to_binary([C || C <- Hex, C =/= $\s])).

%%% Helpers ----------------------------------------------------------------------------------------

directory(Config) -> ?config(directory, Config).

open(Config, Options) -> open_at(directory(Config), Options).

open_at(Directory, Options) ->
    Ledger = cost_ledger_test:open(Directory, Options),
    true = is_atom(Ledger),
    Ledger.

%% Books all, by so many callers at once, which makes batches.
book_at_once(Ledger, Metas, Callers) ->
    Shares = [[M || {I, M} <- lists:zip(lists:seq(1, length(Metas)), Metas), I rem Callers =:= C]
              || C <- lists:seq(0, Callers - 1)],
    Pids = [spawn_monitor(fun() ->
                                  [ok = cost_ledger:record_invocation(Ledger, State, Meta)
                                   || {State, Meta} <- Share]
                          end) || Share <- Shares],
    [receive {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(normal, Reason) end
     || {Pid, Monitor} <- Pids],
    ok.

%% Adds an invocation to the sums that the reader should come to.
add({State, Meta}, Sums) ->
    Status = maps:get(status, Meta, completed),
    Completed = case Status of completed -> 1; _ -> 0 end,
    Tokens = maps:get(tokens, Meta, #{}),
    Cost = maps:get(cost, Meta, 0),
    Credits = maps:get(credits, Meta, 0),
    Unpriced = case Meta of #{cost := _} -> 0; _ -> 1 end,
    Added = [{"entries", 1}, {"invocations", 1}, {state_key(State), 1},
             {atom_to_list(Status), 1}, {"unpriced", Unpriced},
             {"duration_ms", maps:get(duration_ms, Meta, 0)},
             {"cost", Cost}, {"completed_cost", Cost * Completed},
             {"credits", Credits}, {"completed_credits", Credits * Completed}
            | [{"tokens." ++ atom_to_list(Class), maps:get(Class, Tokens, 0)}
               || Class <- ?CLASSES]],
    lists:foldl(fun({Key, Value}, Acc) -> count(Key, Value, Acc) end, Sums, Added).

count(Key, Value, Sums) ->
    maps:update_with(Key, fun(Old) -> Old + Value end, Value, Sums).

state_key(State) ->
    "state." ++ string:lowercase(binary_to_list(binary:encode_hex(atom_to_binary(State)))).

%% No problems, and these numbers among those that the reader prints. Answers all of them.
expect(Expected, Directory) ->
    {Exit, Output} = read(Directory),
    ?assertEqual({0, []}, {Exit, [Line || "problem=" ++ Line <- string:split(Output, "\n", all)]}),
    Read = maps:from_list([{Key, list_to_integer(Value)}
                           || Line <- string:split(Output, "\n", all),
                              [Key, Value] <- [string:split(Line, "=")]]),
    ?assertEqual(Expected, maps:with(maps:keys(Expected), Read)),
    Read.

read(Directory) ->
    run([?PYTHON, reader(), "--plain", Directory]).

%% Beside this file's source: rebar3 does not copy directories of test data.
reader() ->
    Source = proplists:get_value(source, ?MODULE:module_info(compile)),
    Places = [filename:join([D, "format", "read_ledger.py"])
              || D <- [filename:dirname(Source), filename:dirname(code:which(?MODULE))]],
    [Path | _] = [P || P <- Places, filelib:is_regular(P)],
    Path.

%% {ExitStatus, standard output and error}.
run([Program | Arguments]) ->
    Port = open_port({spawn_executable, Program},
                     [{args, [unicode:characters_to_binary(A) || A <- Arguments]},
                      exit_status, stderr_to_stdout, binary, hide]),
    collect(Port, []).

collect(Port, Acc) ->
    receive
        {Port, {data, Data}} -> collect(Port, [Acc, Data]);
        {Port, {exit_status, Status}} -> {Status, unicode:characters_to_list(iolist_to_binary(Acc))}
    after 60000 -> error(python_does_not_end)
    end.
