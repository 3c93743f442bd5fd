%%% The format on disk, read by a program that knows only docs/format.md: test/format/read_ledger.py
%%% with python3-lmdb and python3-msgpack. What it adds up must be what was booked, and it must
%%% find what was damaged.
-module(cost_ledger_format_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include_lib("kernel/include/file.hrl").

-export([all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([an_empty_ledger/1, random_entries_open_and_closed/1, ids_that_run_ahead_of_the_clock/1,
         sums_beyond_64_bits/1, an_exhausted_gate/1, while_entries_are_booked/1,
         files_are_private/1, a_file_as_large_as_its_map/1, positions_of_later_versions/1,
         damage_in_an_entry/1, positions_and_dimensions_beyond_the_known/1,
         damage_in_the_policy/1, damage_in_a_change_of_the_policy/1,
         bytes_after_the_last_item_of_a_block/1, damage_in_the_gate/1,
         damage_in_the_time_last_seen/1, a_newer_format_is_refused/1,
         a_missing_row_is_reported/1, any_byte_of_derived_data_is_checked/1,
         a_truncated_file_is_not_read/1, the_example_of_the_documentation/1]).

-define(PYTHON, "/usr/bin/python3").
-define(START_MS, 1700000000000).
-define(HOUR_MS, 3600000).
-define(DAY_MS, 86400000).
-define(AMOUNT_MAX, 1000000000000000).
-define(STATES, [executing, improving, contemplating, '思考中', 'naïve état']).
-define(CLASSES, [input, output, cache_read, cache_creation, reasoning]).

all() ->
    [an_empty_ledger, random_entries_open_and_closed, ids_that_run_ahead_of_the_clock,
     sums_beyond_64_bits, an_exhausted_gate, while_entries_are_booked, files_are_private,
     a_file_as_large_as_its_map, positions_of_later_versions, damage_in_an_entry,
     positions_and_dimensions_beyond_the_known, damage_in_the_policy,
     damage_in_a_change_of_the_policy, bytes_after_the_last_item_of_a_block, damage_in_the_gate,
     damage_in_the_time_last_seen, a_newer_format_is_refused, a_missing_row_is_reported,
     any_byte_of_derived_data_is_checked, a_truncated_file_is_not_read,
     the_example_of_the_documentation].

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

%% Positions 9 to 21 are read, though nothing writes them yet; 16 is nil in an invocation.
positions_of_later_versions(Config) ->
    Directory = closed_ledger(Config, 3),
    Copy = changed(Directory, rewrite_first_entry(
                                "entry += [None] * (9 - len(entry))\n"
                                "entry += [[1, 2, 3, 4], [1, 2, 3, 4, 5], 1, bytes(32), 'client',"
                                " 7, 1700000000000, None, 'run', 8, 9, 2, bytes(32)]\n")),
    expect(#{"invocations" => 5}, Copy),
    ?assertEqual(history(Directory), history(Copy)).

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

%% A 23rd position; dimensions that are derived, not given out, or beyond the last.
positions_and_dimensions_beyond_the_known(Config) ->
    Directory = closed_ledger(Config, 3),
    [begin
         Copy = changed(Directory, rewrite_first_entry(Code)),
         {1, Output} = read(Copy),
         assert_problem(Expected, Output),
         ?assertMatch({error, {damaged, _}}, history(Copy))
     end || {Code, Expected} <-
                [{"entry += [None] * (22 - len(entry)) + [1]\n", "entries: "}
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
    Append = fun(Series) ->
                     changed(Directory, ["database = env.open_db(b'series')\n"
                                         "with env.begin(write=True) as txn:\n"
                                         "    key, value = [kv for kv in txn.cursor(database)\n"
                                         "                  if kv[0][:4] == bytes([0, 0, 0, ",
                                         integer_to_list(Series), "])][-1]\n"
                                         "    txn.put(key, value + bytes.fromhex('024502020e'),"
                                         " db=database)\n"])
             end,
    %% Of everything: it is read when something is counted.
    Everything = Append(0),
    {1, Output} = read(Everything),
    assert_problem("series: 00000000", Output),
    assert_problem("something follows the end", Output),
    Ledger = open_at(Everything, #{}),
    ?assertMatch({error, {damaged, _}}, cost_ledger:record_invocation(Ledger, executing, #{})),
    ?assertMatch({error, {damaged, _}}, cost_ledger:stats(Ledger)),
    ?assertMatch({error, {damaged, _}}, cost_ledger:record_invocation(Ledger, executing, #{})),
    ok = cost_ledger:stop(Ledger),
    %% Nothing was counted, and nothing written.
    {1, After} = read(Everything),
    ?assertEqual(lists:sort(string:split(Output, "\n", all)),
                 lists:sort(string:split(After, "\n", all))),
    %% Of a state with rules: the gate needs it at once.
    State = Append(1),
    {1, OfState} = read(State),
    assert_problem("series: 00000001", OfState),
    ?assertMatch({error, {damaged, _}}, cost_ledger_test:open(State, #{})).

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
                 {"format", "row['needs'] = 1", "newer: needs"},
                 {"format", "row['color'] = 'red'", "newer: keys of format"},
                 {"series", "row.append([1, 8])", "newer: series"},
                 {"series", "row.append([10])", "newer: series"},
                 {"series", "row.append([48])", "newer: series"},
                 {"policy", "row['color'] = 'red'", "newer: keys"},
                 {"policy", "row['rules'][0]['measure'] = 'cost'", "newer: measure"}]],
    %% A dimension that a user may declare is nothing new.
    Declared = changed(Directory, "import msgpack\n"
                       "database = env.open_db(b'meta')\n"
                       "with env.begin(write=True) as txn:\n"
                       "    txn.put(b'series', msgpack.packb([[1], [9, 32, 47]]), db=database)\n"),
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
    Ledger = open(Config, #{}),
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
    {1, Output} = read(changed(Directory, Code)),
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

assert_problem(Text, Output) ->
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
     "a8 63 75 72 72 65 6e 63 79 a3 55 53 44 a5 6e 65 65 64 73 90",
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
