%%% Archives and retention: what is old is sealed in files, then removed; every sum and every answer
%%% of a budget stays; what is not there any more is said not to be; and whoever is killed in the
%%% middle leaves neither a part of a file nor a ledger that is not whole.
-module(cost_ledger_archive_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(START, 1767225600000). % 2026-01-01
-define(DAY, 86400000).
-define(DAYS, 70).
-define(A_DAY, 6). % records
-define(SERIES, [[user], [org], [org, user]]).
-define(RULES, [#{name => <<"an hour">>, scope => all, measure => invocations,
                  window => {rolling, 3600000}, limit => 100},
                #{name => <<"a month">>, scope => #{user => each}, measure => cost,
                  window => {calendar, month, 0}, limit => 1000000},
                #{name => <<"ever">>, scope => #{user => each}, measure => cost,
                  window => lifetime, limit => 100000000},
                #{name => <<"prepaid">>, scope => #{org => each}, measure => credits,
                  window => lifetime, limit => granted}]).
-define(BY, #{by => "ops", reason => "test"}).

all() ->
    [{group, answers}, a_killed_companion_leaves_no_part_of_a_segment,
     a_killed_vm_leaves_a_ledger_that_goes_on].

groups() ->
    [{answers, [parallel],
      [old_entries_are_sealed_and_removed, segments_come_back, sums_and_budgets_stay,
       queries_say_when_they_reach_beyond, everything_is_kept_by_default,
       retention_shorter_than_a_window_is_refused, longer_windows_are_refused_afterwards,
       series_can_be_declared_afterwards,
       it_can_be_asked_for_again_and_again, other_entries_under_the_same_name_are_refused,
       a_pruned_ledger_is_verified_backed_up_and_exported, callers_go_on_meanwhile,
       a_fold_ends_where_its_entries_are_removed, what_was_removed_is_not_imported_again,
       what_is_no_argument_is_refused, the_command_seals_and_removes,
       the_command_names_who_holds_the_ledger]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(cost_ledger),
    Config.

end_per_suite(_Config) ->
    ok = application:stop(cost_ledger).

init_per_testcase(Case, Config) ->
    Directory = filename:join(?config(priv_dir, Config), Case),
    ok = file:make_dir(Directory),
    [{directory, Directory} | Config].

end_per_testcase(_Case, Config) ->
    cost_ledger_test:remove(?config(directory, Config)).

in(Config, Name) -> filename:join(?config(directory, Config), Name).

%%% A ledger of ten weeks -----------------------------------------------------------------------

open(Config, Options) ->
    L = cost_ledger_test:open(in(Config, "ledger"),
                              maps:merge(#{series => ?SERIES, rules => ?RULES,
                                           sync => no_meta_sync}, Options)),
    true = is_atom(L),
    L.

grown(Config) -> grown(Config, #{}).

grown(Config, Options) ->
    L = open(Config, Options),
    _ = cost_ledger_test:at(L, ?START),
    {ok, _} = cost_ledger:grant(L, #{org => acme}, 100000, ?BY#{kind => purchase}),
    [a_day(L, Day) || Day <- lists:seq(0, ?DAYS - 1)],
    L.

a_day(L, Day) ->
    Start = ?START + Day * ?DAY,
    [begin
         _ = cost_ledger_test:at(L, Start + N * 3600000),
         {ok, _} = cost_ledger:record(L, record(Day, N))
     end || N <- lists:seq(1, ?A_DAY - 2)],
    {ok, Run} = cost_ledger:record(L, #{kind => run, run_id => run_id(Day), user => <<"u1">>,
                                        cost => 100 + Day, status => failed}),
    {ok, _} = cost_ledger:record(L, #{kind => correction, corrects => Run, cost => -3,
                                      by => "ops", reason => "refund"}),
    Day rem 10 =:= 5 andalso cost_ledger:grant(L, #{org => acme}, 100 + Day,
                                               ?BY#{kind => topup}).

record(Day, N) ->
    #{state => executing, cost => Day * 10 + N, credits => N, id => id(Day, N), org => acme,
      user => <<"u", (integer_to_binary(N rem 3))/binary>>, intent => <<"day ", (id(Day, N))/binary>>,
      tokens => #{input => N, output => Day}, duration_ms => Day + N}.

id(Day, N) -> iolist_to_binary(io_lib:format("~b-~b", [Day, N])).
run_id(Day) -> <<"run ", (integer_to_binary(Day))/binary>>.
midnight(Day) -> ?START + Day * ?DAY.

answered(Call) ->
    case Call() of
        {error, {Reason, _}} when Reason =:= companion_died; Reason =:= no_companion;
                                  Reason =:= companion_unavailable ->
            timer:sleep(20),
            answered(Call);
        Answer -> Answer
    end.

archived(L, To, Options) ->
    {ok, Archived} = answered(fun() -> cost_ledger:archive(L, To, Options) end),
    Archived.

verified(L) ->
    {ok, #{findings := Findings}} = answered(fun() -> cost_ledger:verify(L) end),
    ?assertEqual([], Findings).

all_of(L, Filter) ->
    {ok, Records} = cost_ledger:fold(L, Filter, fun(Record, Acc) -> [Record | Acc] end, []),
    lists:reverse(Records).

-define(ALL, [invocation, run, grant, release, correction, policy, reset, price, redaction]).

files(Directory) ->
    {ok, Names} = file:list_dir(Directory),
    lists:sort(Names).

sha256(File) ->
    {ok, Bytes} = file:read_file(File),
    string:lowercase(binary:encode_hex(crypto:hash(sha256, Bytes))).

%%% Answers ------------------------------------------------------------------------------------

old_entries_are_sealed_and_removed(Config) ->
    L = grown(Config, #{retention => {days, 31}}),
    To = in(Config, "archive"),
    Self = self(),
    Options = #{progress => fun(Done, Total) -> Self ! {progress, Done, Total} end},
    %% The 70th day is almost over: 38 whole ones are older than 31 days.
    #{segments := Segments, removed := Removed, kept_from := KeptFrom} = archived(L, To, Options),
    ?assertEqual(midnight(38), KeptFrom),
    ?assertEqual(38 * ?A_DAY, Removed),
    receive {progress, _, _} -> ok after 0 -> ct:fail(no_progress) end,
    ?assertMatch([#{file := <<"entries-20260101-20260201.jsonl">>},
                  #{file := <<"entries-20260201-20260208.jsonl">>}], Segments),
    %% Grants are sealed, too, but stay.
    ?assertEqual(Removed + 5, lists:sum([Entries || #{entries := Entries} <- Segments])),
    ?assertEqual(["SHA256SUMS" | [binary_to_list(File) || #{file := File} <- Segments]],
                 files(To)),
    [begin
         ?assertEqual(sha256(filename:join(To, File)), Digest),
         ?assert(From >= ?START andalso Before =< KeptFrom)
     end || #{file := File, sha256 := Digest, from := From, to := Before} <- Segments],
    ?assertMatch({0, _}, run("cd '" ++ To ++ "' && sha256sum -c SHA256SUMS")),
    {ok, Screen} = cost_ledger_screen:format(cost_ledger_registry:find(L)),
    ?assertNotEqual(nomatch, string:find(Screen, "removed: what is older than 2026-02-08")),
    ?assertEqual(midnight(38), hd([At || #{timestamp := Ms} <- all_of(L, #{}),
                                         At <- [Ms div ?DAY * ?DAY]])),
    verified(L),
    ok = cost_ledger:stop(L).

run(Command) ->
    Output = os:cmd(Command ++ " 2>&1; echo status $?"),
    [Status | Lines] = lists:reverse(string:lexemes(Output, "\n")),
    "status " ++ Number = Status,
    {list_to_integer(Number), lists:join("\n", lists:reverse(Lines))}.

program() -> filename:join(code:priv_dir(cost_ledger), "cost_ledger").

%% Into an empty directory, one after the other, and then what is left: the whole ledger again.
segments_come_back(Config) ->
    L = grown(Config),
    To = in(Config, "archive"),
    Before = all_of(L, #{kind => ?ALL}),
    {ok, Totals} = cost_ledger:totals(L, #{}),
    #{segments := Segments} = archived(L, To, #{before => midnight(38)}),
    Rest = in(Config, "rest.jsonl"),
    {ok, #{pruned := _}} =
        answered(fun() -> cost_ledger:export(L, jsonl, Rest, #{kind => ?ALL}) end),
    New = in(Config, "new"),
    [{0, _} = run(program() ++ " import '" ++ New ++ "' '" ++ File ++ "'")
     || File <- [filename:join(To, binary_to_list(Name)) || #{file := Name} <- Segments]],
    Sealed = cost_ledger_test:open(New, #{}),
    Old = all_of(Sealed, #{kind => ?ALL}),
    ?assertEqual([Record || #{timestamp := At} = Record <- Before, At < midnight(38)], Old),
    ok = cost_ledger:stop(Sealed),
    {0, _} = run(program() ++ " import '" ++ New ++ "' '" ++ Rest ++ "'"),
    Whole = cost_ledger_test:open(New, #{}),
    ?assertEqual(Before, all_of(Whole, #{kind => ?ALL})),
    ?assertEqual({ok, Totals}, cost_ledger:totals(Whole, #{})),
    verified(Whole),
    ok = cost_ledger:stop(Whole),
    ok = cost_ledger:stop(L).

answers(L) ->
    Since = #{since => midnight(40)},
    {ok, Status} = cost_ledger:budget_status(L, #{user => <<"u1">>, org => acme}),
    [cost_ledger:totals(L, #{}), cost_ledger:totals(L, #{user => <<"u1">>}),
     cost_ledger:totals(L, #{org => acme, user => <<"u2">>}),
     cost_ledger:totals(L, Since), cost_ledger:totals(L, Since#{user => <<"u0">>}),
     cost_ledger:totals(L, #{until => midnight(45)}),
     cost_ledger:totals_by(L, user, #{}), cost_ledger:totals_by(L, user, Since),
     cost_ledger:balance(L, #{org => acme}), Status,
     cost_ledger:check(L, #{state => executing, user => <<"u1">>, org => acme, credits => 5}),
     cost_ledger:check_budget(L, executing), cost_ledger:stats(L),
     cost_ledger:list(L, Since, #{limit => 1000, payload => true, total => true}),
     cost_ledger:list(L, #{kind => [grant, policy, price, reset]}, #{limit => 1000}),
     cost_ledger:history(L, [{since, midnight(40)}]), cost_ledger:policy_history(L)].

sums_and_budgets_stay(Config) ->
    L = grown(Config),
    {ok, _} = cost_ledger:set_policy(L, #{rules => ?RULES ++ [#{name => <<"a day">>, scope => all,
                                                                measure => tokens, limit => 500,
                                                                window => {rolling, ?DAY}}]},
                                     ?BY),
    {ok, _} = cost_ledger:reset(L, <<"ever">>, ?BY),
    Before = answers(L),
    #{removed := Removed} = archived(L, in(Config, "archive"), #{before => midnight(38)}),
    ?assertEqual(38 * ?A_DAY, Removed),
    ?assertEqual(Before, answers(L)),
    ok = cost_ledger:stop(L),
    Again = open(Config, #{}),
    ?assertEqual(Before, answers(Again)),
    %% A request of the time before is known, and answered.
    {ok, Known} = cost_ledger:record(Again, record(3, 1)),
    ?assertMatch({ok, Known}, cost_ledger:record(Again, record(3, 1))),
    ?assertEqual({error, {conflict, Known}},
                 cost_ledger:record(Again, (record(3, 1))#{cost => 7})),
    ?assertEqual(Before, answers(Again)),
    ok = cost_ledger:stop(Again).

queries_say_when_they_reach_beyond(Config) ->
    L = grown(Config),
    [#{id := First} | _] = all_of(L, #{}),
    {ok, #{id := Run}} = cost_ledger:fetch_run(L, run_id(2)),
    #{kept_from := KeptFrom} = archived(L, in(Config, "archive"), #{before => midnight(38)}),
    Pruned = {error, {pruned, KeptFrom}},
    Within = #{since => KeptFrom - 1},
    [?assertEqual(Pruned, Answer)
     || Answer <- [cost_ledger:fetch(L, First), cost_ledger:fetch(L, Run),
                   cost_ledger:fetch_run(L, run_id(2)),
                   cost_ledger:list(L, Within, #{}),
                   cost_ledger:list(L, #{until => KeptFrom - 1}, #{}),
                   cost_ledger:fold(L, Within, fun(_, N) -> N + 1 end, 0),
                   cost_ledger:totals(L, Within), cost_ledger:totals(L, #{until => ?START}),
                   cost_ledger:totals_by(L, user, Within),
                   cost_ledger:export(L, csv, in(Config, "x.csv"), Within),
                   cost_ledger:report(L, in(Config, "x.html"), Within),
                   cost_ledger:record(L, #{kind => correction, corrects => Run, cost => -1,
                                           by => "ops", reason => "late"}),
                   cost_ledger:redact(L, First, ?BY)]],
    ?assertEqual(["archive", "ledger"], files(?config(directory, Config))),
    ?assertEqual({error, not_found}, cost_ledger:fetch(L, KeptFrom * 1000 + 1)),
    ?assertEqual({error, not_found}, cost_ledger:fetch_run(L, <<"never was">>)),
    %% A scope is not told that others had such a run, nor which ids they had.
    {ok, Foreign} = cost_ledger:scope(L, #{user => <<"nobody">>}),
    ?assertEqual({error, not_found}, cost_ledger:fetch_run(Foreign, run_id(2))),
    ?assertEqual(Pruned, cost_ledger:fetch(Foreign, Run)),
    ?assertEqual(Pruned, cost_ledger:fetch(Foreign, Run + 1)),
    Left = (?DAYS - 38) * (?A_DAY - 1),
    {ok, Page} = cost_ledger:list(L, #{}, #{limit => 7}),
    ?assertMatch(#{pruned := KeptFrom, records := [_ | _], cursor := _, total := Left}, Page),
    {ok, From} = cost_ledger:list(L, #{since => KeptFrom}, #{limit => 1000}),
    ?assertNot(is_map_key(pruned, From)),
    ?assertEqual(Left, length(maps:get(records, From))),
    ?assertEqual({ok, Left}, cost_ledger:fold(L, #{}, fun(_, N) -> N + 1 end, 0)),
    {ok, Grants} = cost_ledger:list(L, #{kind => grant, until => KeptFrom - 1}, #{}),
    ?assertNot(is_map_key(pruned, Grants)),
    ?assertEqual(5, length(maps:get(records, Grants))),
    ?assertEqual((?DAYS - 38) * (?A_DAY - 2),
                 length(cost_ledger:history(L, [{since, ?START}, {limit, 10000}]))),
    {ok, #{pruned := KeptFrom}} =
        answered(fun() -> cost_ledger:export(L, csv, in(Config, "kept.csv"), #{}) end),
    {ok, _} = answered(fun() -> cost_ledger:report(L, in(Config, "kept.html")) end),
    {ok, Scope} = cost_ledger:scope(L, #{user => <<"u1">>}),
    ?assertEqual(Pruned, cost_ledger:totals(Scope, Within)),
    ?assertEqual(Pruned, cost_ledger:fetch(Scope, First)),
    ok = cost_ledger:stop(L).

everything_is_kept_by_default(Config) ->
    L = grown(Config),
    ?assertMatch({error, {no_retention, <<_/binary>>}},
                 cost_ledger:archive(L, in(Config, "archive"))),
    ?assertEqual(["ledger"], files(?config(directory, Config))),
    %% Nor is anything removed that nobody may need.
    ?assertEqual(#{segments => [], removed => 0, kept_from => 0},
                 archived(L, in(Config, "archive"), #{before => ?START})),
    {ok, Page} = cost_ledger:list(L, #{}, #{}),
    ?assertNot(is_map_key(pruned, Page)),
    ok = cost_ledger:stop(L).

retention_shorter_than_a_window_is_refused(Config) ->
    L = grown(Config, #{retention => {days, 30}}),
    {error, {retention_too_short, Text}} = cost_ledger:archive(L, in(Config, "archive")),
    ?assertMatch({_, _}, binary:match(Text, <<"a month">>)),
    %% By hand as far as the windows of now reach: the month began 10 days ago.
    {error, {retention_too_short, Why}} = cost_ledger:archive(L, in(Config, "archive"),
                                                              #{before => midnight(62)}),
    ?assertMatch({_, _}, binary:match(Why, <<"a month">>)),
    ?assertEqual(["ledger"], files(?config(directory, Config))),
    #{kept_from := KeptFrom} = archived(L, in(Config, "archive"), #{before => midnight(59)}),
    ?assertEqual(midnight(59), KeptFrom),
    ok = cost_ledger:stop(L),
    [?assertMatch({error, {bad_option, [retention], _}},
                  cost_ledger:start_link(#{name => never, path => in(Config, "never"),
                                           retention => Wrong}))
     || Wrong <- [0, {days, 0}, {days, 1.5}, forever, {hours, 5}]].

longer_windows_are_refused_afterwards(Config) ->
    L = grown(Config),
    #{kept_from := KeptFrom} = archived(L, in(Config, "archive"), #{before => midnight(38)}),
    Rule = fun(Days) -> #{rules => [#{name => <<"long">>, scope => all, measure => cost,
                                      window => {rolling, Days * ?DAY}, limit => 5}]} end,
    {ok, #{version := Version}} = cost_ledger:policy(L),
    ?assertEqual({error, {pruned, KeptFrom}}, cost_ledger:set_policy(L, Rule(40), ?BY)),
    ?assertMatch({ok, #{version := Version}}, cost_ledger:policy(L)),
    ?assertMatch({ok, _}, cost_ledger:set_policy(L, Rule(20), ?BY)),
    ok = cost_ledger:stop(L).

%% They count from there on, and do not pretend to know more.
series_can_be_declared_afterwards(Config) ->
    L = grown(Config),
    #{kept_from := KeptFrom} = archived(L, in(Config, "archive"), #{before => midnight(38)}),
    {ok, Sums} = cost_ledger:totals(L, #{user => <<"u1">>, since => KeptFrom}),
    ok = cost_ledger:stop(L),
    Again = open(Config, #{series => ?SERIES ++ [[user, status], [model]]}),
    ByStatus = fun(Filter) -> cost_ledger:totals_by(Again, status, Filter#{user => <<"u1">>}) end,
    ok = cost_ledger_test:eventually(
           fun() -> element(1, ByStatus(#{since => KeptFrom})) =:= ok end),
    {ok, [{_, First}, {_, Second}]} = ByStatus(#{since => KeptFrom}),
    Costs = fun(#{cost := #{net := Net}}) -> Net end,
    ?assertEqual(Costs(Sums), Costs(First) + Costs(Second)),
    Pruned = {error, {pruned, KeptFrom}},
    ?assertEqual(Pruned, ByStatus(#{})),
    ?assertEqual(Pruned, cost_ledger:totals(Again, #{model => <<"m">>})),
    ?assertEqual(Pruned, cost_ledger:balance(Again, #{model => <<"m">>})),
    ?assertEqual(Pruned, cost_ledger:grant(Again, #{model => <<"m">>}, 5,
                                           ?BY#{kind => purchase})),
    ?assertEqual(Pruned, cost_ledger:set_policy(
                           Again, #{rules => [#{name => <<"ever">>, scope => #{model => each},
                                                measure => cost, window => lifetime,
                                                limit => 5}]}, ?BY)),
    ?assertMatch({ok, #{records := [_ | _]}}, cost_ledger:list(Again, #{status => failed}, #{})),
    verified(Again),
    ok = cost_ledger:stop(Again).

it_can_be_asked_for_again_and_again(Config) ->
    L = grown(Config, #{retention => {days, 31}}),
    To = in(Config, "archive"),
    #{removed := First} = archived(L, To, #{}),
    ?assertEqual(38 * ?A_DAY, First),
    Sealed = [{File, sha256(filename:join(To, File))} || File <- files(To)],
    ?assertMatch(#{segments := [], removed := 0}, archived(L, To, #{})),
    ?assertEqual(Sealed, [{File, sha256(filename:join(To, File))} || File <- files(To)]),
    [a_day(L, Day) || Day <- lists:seq(?DAYS, ?DAYS + 29)],
    {ok, Totals} = cost_ledger:totals(L, #{}),
    ?assertMatch(#{segments := [#{file := <<"entries-20260208-20260301.jsonl">>},
                                #{file := <<"entries-20260301-20260310.jsonl">>}],
                   removed := 180}, archived(L, To, #{})),
    ?assertEqual({ok, Totals}, cost_ledger:totals(L, #{})),
    ?assertMatch({0, _}, run("cd '" ++ To ++ "' && sha256sum -c SHA256SUMS")),
    {ok, Sums} = file:read_file(filename:join(To, "SHA256SUMS")),
    ?assertEqual(4, length(binary:matches(Sums, <<"\n">>))),
    verified(L),
    ok = cost_ledger:stop(L).

other_entries_under_the_same_name_are_refused(Config) ->
    L = grown(Config),
    To = in(Config, "archive"),
    File = filename:join(To, "entries-20260101-20260201.jsonl"),
    ok = file:make_dir(To),
    ok = file:write_file(File, "{}\nmine\n"),
    {ok, Before} = cost_ledger:totals(L, #{since => ?START}),
    ?assertMatch({error, {exists, <<_/binary>>}},
                 cost_ledger:archive(L, To, #{before => midnight(38)})),
    ?assertEqual({ok, <<"{}\nmine\n">>}, file:read_file(File)),
    ?assertEqual({ok, Before}, cost_ledger:totals(L, #{since => ?START})),
    ok = file:delete(File),
    ?assertMatch(#{segments := [_, _]}, archived(L, To, #{before => midnight(38)})),
    ok = cost_ledger:stop(L).

a_pruned_ledger_is_verified_backed_up_and_exported(Config) ->
    L = grown(Config),
    {ok, Before} = cost_ledger:totals(L, #{}),
    #{kept_from := KeptFrom} = archived(L, in(Config, "archive"), #{before => midnight(38)}),
    verified(L),
    Copy = in(Config, "copy"),
    {ok, _} = answered(fun() -> cost_ledger:backup(L, Copy) end),
    ok = cost_ledger:stop(L),
    New = in(Config, "rebuilt"),
    ?assertMatch({0, _}, run(program() ++ " verify '" ++ Copy ++ "' --rebuild '" ++ New ++ "'")),
    ?assertMatch({0, _}, run(program() ++ " restore '" ++ Copy ++ "' '"
                             ++ in(Config, "restored") ++ "'")),
    [begin
         Opened = cost_ledger_test:open(in(Config, Name), #{series => ?SERIES}),
         ?assertEqual({ok, Before}, cost_ledger:totals(Opened, #{})),
         ?assertEqual({error, {pruned, KeptFrom}},
                      cost_ledger:totals(Opened, #{since => ?START})),
         ok = cost_ledger:record_invocation(Opened, executing, #{cost => 1}),
         verified(Opened),
         ok = cost_ledger:stop(Opened)
     end || Name <- ["copy", "rebuilt", "restored"]].

%% Slices are short, and callers come between them.
callers_go_on_meanwhile(Config) ->
    L = grown(Config),
    Self = self(),
    Booker = spawn_link(fun() -> book(L, Self, 0) end),
    #{removed := Removed} = archived(L, in(Config, "archive"), #{before => midnight(38)}),
    ?assertEqual(38 * ?A_DAY, Removed),
    Booker ! stop,
    Booked = receive {booked, N} -> N end,
    ?assert(Booked > 0),
    verified(L),
    ok = cost_ledger:stop(L).

book(L, Parent, Count) ->
    receive stop -> Parent ! {booked, Count}
    after 0 ->
            ok = cost_ledger:record_invocation(L, executing, #{cost => 1}),
            book(L, Parent, Count + 1)
    end.

a_fold_ends_where_its_entries_are_removed(Config) ->
    L = open(Config, #{}),
    many(L, 40, 80),
    Archive = fun() -> archived(L, in(Config, "archive"), #{before => midnight(31)}) end,
    Fold = fun(Order) -> cost_ledger:fold(L, #{order => Order},
                                          fun(_, 5) -> _ = Archive(), 6; (_, N) -> N + 1 end, 0)
           end,
    ?assertEqual({error, {pruned, midnight(31)}}, Fold(oldest)),
    %% What it says of the time that is there is whole.
    ?assertEqual({ok, 9 * 80}, Fold(oldest)),
    ?assertEqual({ok, 9 * 80}, Fold(newest)),
    ok = cost_ledger:stop(L).

%% They would be booked twice.
what_was_removed_is_not_imported_again(Config) ->
    L = grown(Config),
    To = in(Config, "archive"),
    #{segments := [#{file := File} | _]} = archived(L, To, #{before => midnight(38)}),
    {ok, Totals} = cost_ledger:totals(L, #{}),
    ok = cost_ledger:stop(L),
    {3, Said} = run(program() ++ " import '" ++ in(Config, "ledger") ++ "' '"
                    ++ filename:join(To, binary_to_list(File)) ++ "'"),
    ?assertNotEqual(nomatch, string:find(Said, "line ")),
    Again = open(Config, #{}),
    ?assertEqual({ok, Totals}, cost_ledger:totals(Again, #{})),
    ok = cost_ledger:stop(Again).

what_is_no_argument_is_refused(Config) ->
    L = open(Config, #{}),
    [?assertError(badarg, cost_ledger:archive(L, Directory, Options))
     || {Directory, Options} <- [{7, #{}}, {<<>>, #{}}, {"a", #{before => yesterday}},
                                 {"a", #{before => -1}}, {"a", #{colour => red}}, {"a", 5},
                                 {"a", #{columns => [id]}}, {"a", #{timeout => -1}}]],
    {ok, Scope} = cost_ledger:scope(L, #{user => <<"u1">>}),
    ?assertMatch({error, {out_of_scope, _}}, cost_ledger:archive(Scope, in(Config, "a"))),
    ?assertEqual({error, unavailable}, cost_ledger:archive(in(Config, "a"))),
    ok = cost_ledger:stop(L).

%%% The command --------------------------------------------------------------------------------

the_command_seals_and_removes(Config) ->
    L = grown(Config),
    {ok, Totals} = cost_ledger:totals(L, #{}),
    Ledger = in(Config, "ledger"),
    ok = cost_ledger:stop(L),
    To = in(Config, "archive"),
    Archive = program() ++ " archive '" ++ Ledger ++ "' --output '" ++ To ++ "' ",
    [?assertMatch({2, _}, run(Command))
     || Command <- [Archive, Archive ++ "--days 0", Archive ++ "--days 40 --before 2026-02-01",
                    Archive ++ "--before never", program() ++ " archive '" ++ Ledger ++ "' --days 40",
                    Archive ++ "--days 40 more"]],
    {3, TooShort} = run(Archive ++ "--days 3"),
    ?assertNotEqual(nomatch, string:find(TooShort, "rule a month")),
    {0, Json} = run(Archive ++ "--before 2026-02-08 --json"),
    ?assertNotEqual(nomatch, string:find(Json, "\"removed\":228")),
    ?assertNotEqual(nomatch, string:find(Json, "\"kept_from\":"
                                         ++ integer_to_list(midnight(38)))),
    ?assertMatch({0, _}, run("cd '" ++ To ++ "' && sha256sum -c SHA256SUMS")),
    {0, Text} = run(Archive ++ "--days 32"),
    ?assertNotEqual(nomatch, string:find(Text, "0 entries removed")),
    {0, Stats} = run(program() ++ " stats '" ++ Ledger ++ "'"),
    ?assertNotEqual(nomatch, string:find(Stats, "older than 2026-02-08")),
    {1, Show} = run(program() ++ " show '" ++ Ledger ++ "' 'run 2'"),
    ?assertNotEqual(nomatch, string:find(Show, "kept from 2026-02-08")),
    {3, _} = run(program() ++ " history '" ++ Ledger ++ "' --since 2026-01-05"),
    ?assertMatch({0, _}, run(program() ++ " verify '" ++ Ledger ++ "'")),
    Again = open(Config, #{}),
    ?assertEqual({ok, Totals}, cost_ledger:totals(Again, #{})),
    ok = cost_ledger:stop(Again).

the_command_names_who_holds_the_ledger(Config) ->
    L = grown(Config),
    To = in(Config, "archive"),
    {3, Said} = run(program() ++ " archive '" ++ in(Config, "ledger") ++ "' --output '" ++ To
                    ++ "' --before 2026-02-08"),
    ?assertNotEqual(nomatch, string:find(Said, os:getpid())),
    ?assertEqual(["SHA256SUMS", "entries-20260101-20260201.jsonl",
                  "entries-20260201-20260208.jsonl"], files(To)),
    {ok, Page} = cost_ledger:list(L, #{}, #{}),
    ?assertNot(is_map_key(pruned, Page)),
    %% What it sealed is not sealed again.
    ?assertMatch(#{segments := [_, _], removed := 228},
                 archived(L, To, #{before => midnight(38)})),
    ok = cost_ledger:stop(L).

%%% Kills --------------------------------------------------------------------------------------

-define(KILLS, 15).

%% Every file that has a name is whole, and nothing was removed that was not sealed.
a_killed_companion_leaves_no_part_of_a_segment(Config) ->
    L = open(Config, #{}),
    many(L, 40, 300),
    To = in(Config, "archive"),
    {Took, _} = timer:tc(fun() ->
                                 answered(fun() -> cost_ledger:export(L, jsonl, in(Config, "all"),
                                                                      #{}) end)
                         end),
    Killer = cost_ledger_test:killer(),
    Answers = [killed(Config, L, To, rand:uniform(2 * Took), Killer)
               || _ <- lists:seq(1, ?KILLS)],
    true = port_close(Killer),
    ct:pal("~b us: ~b of ~b killed in it", [Took, length([died || died <- Answers]), ?KILLS]),
    ?assert(lists:member(died, Answers)),
    Before = cost_ledger:totals(L, #{}),
    #{kept_from := KeptFrom} = archived(L, To, #{before => midnight(31)}),
    ?assertEqual(midnight(31), KeptFrom),
    ?assertEqual(Before, cost_ledger:totals(L, #{})),
    whole(To),
    ?assertMatch({0, _}, run("cd '" ++ To ++ "' && sha256sum -c SHA256SUMS")),
    verified(L),
    ok = cost_ledger:record_invocation(L, executing, #{cost => 1}),
    ok = cost_ledger:stop(L).

killed(Config, L, To, AfterUs, Killer) ->
    {ok, _} = answered(fun() -> cost_ledger:export(L, csv, in(Config, "one"),
                                                   #{user => <<"nobody">>}) end),
    ok = file:delete(in(Config, "one")),
    Pid = cost_ledger_companion:os_pid(),
    Self = self(),
    spawn_link(fun() -> Self ! {job, cost_ledger_jobs:seal(cost_ledger_registry:find(L),
                                                           unicode:characters_to_binary(To),
                                                           midnight(31) * 1000, #{})} end),
    timer:sleep(AfterUs div 1000),
    true = cost_ledger_test:kill(Killer, Pid),
    Answer = receive {job, {ok, _}} -> done; {job, {error, {companion_died, _}}} -> died end,
    filelib:is_dir(To) andalso whole(To),
    cost_ledger_test:remove(To),
    Answer.

whole(To) ->
    [begin
         {ok, Bytes} = file:read_file(filename:join(To, Name)),
         ?assertEqual($\n, binary:last(Bytes))
     end || Name <- files(To), Name =/= "SHA256SUMS.unfinished"],
    ?assertEqual([], [Name || Name <- files(To), filename:extension(Name) =/= ".jsonl",
                              Name =/= "SHA256SUMS", Name =/= "SHA256SUMS.unfinished"]).

many(L, Days, EachDay) ->
    [begin
         _ = cost_ledger_test:at(L, midnight(Day) + 3600000),
         cost_ledger_test:parallel(
           8, fun() ->
                      [{ok, _} = cost_ledger:record(L, #{state => executing, cost => Day,
                                                         org => acme, intent => <<"go">>,
                                                         user => integer_to_binary(N rem 9)})
                       || N <- lists:seq(1, EachDay div 8)]
              end)
     end || Day <- lists:seq(0, Days - 1)],
    ok.

%% In the middle of sealing, or of removing: the ledger opens at once, verifies, and asking again
%% ends what was begun.
a_killed_vm_leaves_a_ledger_that_goes_on(Config) ->
    Path = in(Config, "ledger"),
    To = in(Config, "archive"),
    L = open(Config, #{}),
    many(L, 60, 800),
    {ok, #{cost := Cost}} = cost_ledger:totals(L, #{}),
    ok = cost_ledger:stop(L),
    Killed = [killed_vm(Path, To, 8 * N, Phase, AfterMs)
              || {N, Phase, AfterMs} <- [{1, sealing, 10}, {1, sealing, 60}, {1, removing, 0},
                                         {2, removing, 10}, {3, sealing, 30}, {3, removing, 25},
                                         {4, removing, 40}, {5, removing, 5}]],
    ct:pal("kept from, when killed: ~p", [Killed]),
    ?assert(lists:max(Killed) > 0),
    Again = open(Config, #{}),
    ?assertMatch({ok, #{cost := Cost}}, cost_ledger:totals(Again, #{})),
    ?assertMatch(#{kept_from := KeptFrom} when KeptFrom =:= ?START + 48 * ?DAY,
                 archived(Again, To, #{before => midnight(48)})),
    ?assertMatch({ok, #{cost := Cost}}, cost_ledger:totals(Again, #{})),
    ?assertEqual(12 * 800 + length(Killed), length(all_of(Again, #{}))),
    whole(To),
    ?assertMatch({0, _}, run("cd '" ++ To ++ "' && sha256sum -c SHA256SUMS")),
    verified(Again),
    ok = cost_ledger:stop(Again).

killed_vm(Path, To, Days, Phase, AfterMs) ->
    Peer = cost_ledger_test:start_vm(),
    {ok, _} = peer:call(Peer, application, ensure_all_started, [cost_ledger]),
    Options = #{name => vm, path => Path, clock => manual, series => ?SERIES, rules => ?RULES},
    ok = peer:call(Peer, ?MODULE, open_here, [Options]),
    {ok, _} = peer:call(Peer, cost_ledger, verify, [vm], 60000),
    Companion = peer:call(Peer, cost_ledger_companion, os_pid, []),
    ok = peer:cast(Peer, cost_ledger, archive, [vm, To, #{before => midnight(Days)}]),
    Phase =:= removing andalso
        (ok = cost_ledger_test:eventually(fun() -> is_sealed(To, midnight(Days)) end)),
    timer:sleep(AfterMs),
    ok = cost_ledger_test:kill_vm(Peer),
    ok = cost_ledger_test:eventually(
           fun() -> not filelib:is_dir("/proc/" ++ integer_to_list(Companion)) end),
    filelib:is_dir(To) andalso whole(To),
    ok = open_here(Options),
    verified(vm),
    {ok, Page} = cost_ledger:list(vm, #{}, #{limit => 1}),
    ok = cost_ledger:record_invocation(vm, executing, #{cost => 0}),
    ok = cost_ledger:stop(vm),
    maps:get(pruned, Page, 0).

%% The last of its segments is there: what follows is removing.
is_sealed(To, Before) ->
    {{Year, Month, Day}, _} = calendar:system_time_to_universal_time(Before, millisecond),
    End = lists:flatten(io_lib:format("-~4..0b~2..0b~2..0b.jsonl", [Year, Month, Day])),
    filelib:is_dir(To) andalso lists:any(fun(Name) -> lists:suffix(End, Name) end, files(To)).

open_here(Options) ->
    {ok, Supervisor} = cost_ledger:start_link(Options),
    true = unlink(Supervisor),
    ok.
