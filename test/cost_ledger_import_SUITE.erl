%%% Taking the original ledger over from its DETS table, which the cases write as it did.
-module(cost_ledger_import_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include_lib("kernel/include/file.hrl").
-include_lib("cost_ledger/src/cost_ledger.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_dets_file_of_the_original_ledger_is_taken_over_at_its_own_times/1,
         what_is_taken_over_is_counted_as_the_original_would/1,
         invocations_of_one_millisecond_keep_it/1,
         a_second_run_books_nothing_twice/1, a_later_copy_of_the_table_adds_what_is_new_in_it/1,
         an_id_that_the_original_used_twice_is_two_records/1,
         a_ledger_that_has_newer_entries_books_them_now_with_when_they_occurred/1,
         a_clock_that_was_a_little_ahead_books_them_now/1,
         a_record_from_the_future_is_named_and_nothing_is_booked/1,
         others_who_record_meanwhile_lose_nothing/1,
         an_object_of_another_shape_is_named_and_nothing_is_booked/1,
         an_object_that_is_too_large_is_named_and_nothing_is_booked/1,
         a_state_that_is_not_declared_is_named_and_nothing_is_booked/1,
         what_is_no_table_is_refused_and_left_as_it_is/1,
         a_table_that_was_not_closed_is_refused_and_left_as_it_is/1,
         a_damaged_table_is_refused_and_left_as_it_is/1,
         an_importer_that_is_killed_goes_on_where_it_was/1,
         a_writer_that_is_killed_meanwhile_does_not_end_the_import/1,
         a_ledger_that_is_stopped_meanwhile_ends_the_import/1,
         two_imports_at_once_book_it_once/1,
         a_queue_with_little_room_takes_it_all/1, a_vm_that_is_killed_meanwhile_goes_on/1,
         an_empty_table_is_nothing_to_book/1, the_default_ledger_takes_a_table_over/1,
         names_that_are_no_files_are_refused/1, import_here/2]).

-define(START, 1771024271000). % 2026-02-13T23:11:11Z
-define(HOUR, 3600000).
-define(DAY, 86400000).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [a_dets_file_of_the_original_ledger_is_taken_over_at_its_own_times,
     what_is_taken_over_is_counted_as_the_original_would,
     invocations_of_one_millisecond_keep_it,
     a_second_run_books_nothing_twice, a_later_copy_of_the_table_adds_what_is_new_in_it,
     an_id_that_the_original_used_twice_is_two_records,
     a_ledger_that_has_newer_entries_books_them_now_with_when_they_occurred,
     a_clock_that_was_a_little_ahead_books_them_now,
     a_record_from_the_future_is_named_and_nothing_is_booked,
     others_who_record_meanwhile_lose_nothing,
     an_object_of_another_shape_is_named_and_nothing_is_booked,
     an_object_that_is_too_large_is_named_and_nothing_is_booked,
     a_state_that_is_not_declared_is_named_and_nothing_is_booked,
     what_is_no_table_is_refused_and_left_as_it_is,
     a_table_that_was_not_closed_is_refused_and_left_as_it_is,
     a_damaged_table_is_refused_and_left_as_it_is,
     an_importer_that_is_killed_goes_on_where_it_was,
     a_writer_that_is_killed_meanwhile_does_not_end_the_import,
     a_ledger_that_is_stopped_meanwhile_ends_the_import, two_imports_at_once_book_it_once,
     a_queue_with_little_room_takes_it_all, a_vm_that_is_killed_meanwhile_goes_on,
     an_empty_table_is_nothing_to_book, the_default_ledger_takes_a_table_over,
     names_that_are_no_files_are_refused].

init_per_testcase(_Case, Config) ->
    Directory = cost_ledger_test:directory(Config),
    ok = file:make_dir(Directory),
    [{directory, Directory} | Config].

end_per_testcase(_Case, Config) ->
    cost_ledger_test:remove(?config(directory, Config)),
    ?assertEqual([], left_open()).

%%% Helpers ------------------------------------------------------------------------------------

in(Config, Name) -> filename:join(?config(directory, Config), Name).

%% A ledger whose time is a day after the records begin.
open(Config) -> open(Config, #{}).

open(Config, Options) ->
    Ledger = cost_ledger_test:open(in(Config, "ledger"), Options),
    true = is_atom(Ledger),
    ok = cost_ledger:set_clock(Ledger, ?START + ?DAY),
    Ledger.

%% As the original wrote them.
table(Config, Records) -> table(Config, "cost_ledger.dets", Records).

table(Config, Name, Records) ->
    File = in(Config, Name),
    {ok, Table} = dets:open_file(cost_ledger, [{file, File}, {type, set}, {auto_save, 5000}]),
    ok = dets:insert(Table, [{Id, Record} || #{id := Id} = Record <- Records]),
    ok = dets:sync(Table),
    ok = dets:close(Table),
    File.

record(Id, At) -> record(Id, executing, At, 1200, plan).

record(Id, State, At, DurationMs, PromptType) ->
    #{id => Id, hub_state => State, timestamp => At, duration_ms => DurationMs,
      prompt_type => PromptType}.

%% Three states over a day; a table is in no order.
records(Count) ->
    [record(Id, lists:nth(1 + Id rem 3, [executing, improving, contemplating]),
            ?START + Id * (?DAY div (Count + 1)), Id, plan) || Id <- lists:seq(1, Count)].

%% What history tells of a record of the original, newest first.
as_told(Records) ->
    [{State, At, DurationMs, PromptType}
     || #{hub_state := State, timestamp := At, duration_ms := DurationMs,
          prompt_type := PromptType} <- lists:reverse(Records)].

told(Ledger) -> told(Ledger, timestamp).

told(Ledger, Time) ->
    [{State, maps:get(Time, Record), DurationMs, PromptType}
     || #{state := State, duration_ms := DurationMs, prompt_type := PromptType} = Record
            <- cost_ledger:history(Ledger, #{limit => 1 bsl 40})].

%% Of a table that was imported: neither open nor linked any more.
left_open() -> [Table || Table <- dets:all(), is_reference(Table)].

%% Looked at so often that it is seen in the middle.
soon(Fun) ->
    case Fun() of
        true -> ok;
        false -> timer:sleep(1), soon(Fun)
    end.

verify(Config) ->
    Program = filename:join(code:priv_dir(cost_ledger), "cost_ledger"),
    Said = os:cmd(Program ++ " verify " ++ in(Config, "ledger")),
    ?assertMatch({match, _}, re:run(Said, "all as they should be"), Said).

close(Config, Ledger) ->
    verify(Config),
    ok = cost_ledger:stop(Ledger).

%%% Times --------------------------------------------------------------------------------------

a_dets_file_of_the_original_ledger_is_taken_over_at_its_own_times(Config) ->
    Ledger = open(Config),
    Records = records(1000),
    File = table(Config, Records),
    {ok, Before} = file:read_file(File),
    ?assertEqual({ok, #{imported => 1000, repeated => 0, times => own}},
                 cost_ledger:import(Ledger, File)),
    ?assertEqual(as_told(Records), told(Ledger)),
    ?assertNot(lists:any(fun(Record) -> maps:is_key(occurred_at, Record) end,
                         cost_ledger:history(Ledger, #{limit => 1000}))),
    ?assertEqual({ok, Before}, file:read_file(File)),
    ?assertEqual([], [Name || {ok, Names} <- [file:list_dir("/tmp")], Name <- Names,
                              lists:prefix("cost_ledger-import-" ++ os:getpid() ++ "-", Name)]),
    close(Config, Ledger).

%% Windows are inclusive: a record of exactly an hour ago counts. The original counted them in its
%% table as here.
what_is_taken_over_is_counted_as_the_original_would(Config) ->
    Ledger = open(Config),
    Now = ?START + ?DAY,
    Ages = [0, 1, ?HOUR - 1, ?HOUR, ?HOUR + 1, ?DAY - 1, ?DAY, ?DAY + 1, 7 * ?DAY],
    Edges = [record(1000 + N, improving, Now - Age, N, unknown)
             || {N, Age} <- lists:zip(lists:seq(1, length(Ages)), Ages)],
    Busy = [record(N, executing, Now - ?HOUR div 2 + N, 10, plan) || N <- lists:seq(1, 20)],
    Old = [record(100 + N, contemplating, Now - 2 * ?HOUR + N, 10, plan) || N <- lists:seq(1, 14)],
    Records = Edges ++ Busy ++ Old,
    {ok, #{imported := 43, times := own}} = cost_ledger:import(Ledger, table(Config, Records)),
    States = [executing, improving, contemplating],
    Count = fun(State, From) ->
                    length([At || #{hub_state := Of, timestamp := At} <- Records, Of =:= State,
                                  At >= From])
            end,
    Since = fun(From) ->
                    Counts = [{State, Count(State, From)} || State <- States],
                    maps:from_list([{total, lists:sum([N || {_, N} <- Counts])} | Counts])
            end,
    Told = cost_ledger:stats(Ledger),
    ?assertEqual(Since(Now - ?HOUR), maps:get(hourly, Told)),
    ?assertEqual(Since(Now - ?DAY), maps:get(daily, Told)),
    ?assertEqual(Since(0), maps:get(session, Told)),
    %% 20 of 20 an hour; 4 of 10 and 7 of 40; 0 of 5 an hour and 14 of 15 a day.
    ?assertEqual([budget_exhausted, ok, ok],
                 [cost_ledger:check_budget(Ledger, State) || State <- States]),
    ok = cost_ledger:record_invocation(Ledger, contemplating, #{}),
    ?assertEqual(budget_exhausted, cost_ledger:check_budget(Ledger, contemplating)),
    %% And it ends by itself, which the original's did not.
    ok = cost_ledger:set_clock(Ledger, Now + ?HOUR div 2 + 21),
    ?assertEqual(ok, cost_ledger:check_budget(Ledger, executing)),
    Newest = cost_ledger:history(Ledger, #{state => executing, since => Now - ?HOUR div 2 + 11,
                                           limit => 5}),
    ?assertEqual([Now - ?HOUR div 2 + N || N <- [20, 19, 18, 17, 16]],
                 [At || #{timestamp := At} <- Newest]),
    close(Config, Ledger).

%% Ids are microseconds: there is room for a thousand of one millisecond. More cannot all keep it.
invocations_of_one_millisecond_keep_it(Config) ->
    Ledger = open(Config),
    Thousand = [record(Id, ?START + 5) || Id <- lists:seq(1, 1000)],
    {ok, #{imported := 1000, times := own}} =
        cost_ledger:import(Ledger, table(Config, "thousand.dets", Thousand)),
    ?assertEqual(lists:duplicate(1000, ?START + 5), [At || {_, At, _, _} <- told(Ledger)]),
    More = [record(Id, ?START + 6) || Id <- lists:seq(1, 1001)],
    {ok, #{imported := 1001, times := now}} =
        cost_ledger:import(Ledger, table(Config, "more.dets", More)),
    close(Config, Ledger).

%%% Again --------------------------------------------------------------------------------------

a_second_run_books_nothing_twice(Config) ->
    Ledger = open(Config),
    File = table(Config, records(700)),
    {ok, #{imported := 700}} = cost_ledger:import(Ledger, File),
    Told = told(Ledger),
    ?assertEqual({ok, #{imported => 0, repeated => 700, times => own}},
                 cost_ledger:import(Ledger, File)),
    %% Neither from elsewhere, nor when there is something newer.
    Copy = in(Config, "elsewhere"),
    {ok, _} = file:copy(File, Copy),
    ok = cost_ledger:record_invocation(Ledger, executing, #{}),
    ?assertEqual({ok, #{imported => 0, repeated => 700, times => own}},
                 cost_ledger:import(Ledger, Copy)),
    ?assertEqual(Told, tl(told(Ledger))),
    close(Config, Ledger).

a_later_copy_of_the_table_adds_what_is_new_in_it(Config) ->
    Ledger = open(Config),
    {Earlier, Later} = lists:split(400, records(600)),
    {ok, #{imported := 400}} = cost_ledger:import(Ledger, table(Config, Earlier)),
    ?assertEqual({ok, #{imported => 200, repeated => 400, times => own}},
                 cost_ledger:import(Ledger, table(Config, Later))),
    ?assertEqual(as_told(Earlier ++ Later), told(Ledger)),
    close(Config, Ledger).

%% Its ids began anew with each start of the VM: what was written over is in the copy of before.
an_id_that_the_original_used_twice_is_two_records(Config) ->
    Ledger = open(Config),
    {ok, #{imported := 2}} =
        cost_ledger:import(Ledger, table(Config, [record(1, ?START), record(2, ?START + 1)])),
    {ok, #{imported := 1, repeated := 1}} =
        cost_ledger:import(Ledger, table(Config, [record(1, ?START + 9)])),
    ?assertEqual([?START + 9, ?START + 1, ?START], [At || {_, At, _, _} <- told(Ledger)]),
    close(Config, Ledger).

%%% Now ----------------------------------------------------------------------------------------

a_ledger_that_has_newer_entries_books_them_now_with_when_they_occurred(Config) ->
    Ledger = open(Config),
    Records = records(600),
    ok = cost_ledger:record_invocation(Ledger, executing, #{}),
    File = table(Config, Records),
    ?assertEqual({ok, #{imported => 600, repeated => 0, times => now}},
                 cost_ledger:import(Ledger, File)),
    Booked = lists:droplast(cost_ledger:history(Ledger, #{limit => 1000})),
    ?assertEqual(as_told(Records),
                 [{State, At, DurationMs, PromptType}
                  || #{state := State, occurred_at := At, duration_ms := DurationMs,
                       prompt_type := PromptType} <- Booked]),
    ?assertEqual([?START + ?DAY], lists:usort([At || #{timestamp := At} <- Booked])),
    ?assertMatch({ok, #{imported := 0, repeated := 600}}, cost_ledger:import(Ledger, File)),
    close(Config, Ledger).

a_clock_that_was_a_little_ahead_books_them_now(Config) ->
    Ledger = open(Config),
    Now = ?START + ?DAY,
    {ok, #{imported := 2, times := now}} =
        cost_ledger:import(Ledger, table(Config, [record(1, Now - 1), record(2, Now + 60000)])),
    ?assertMatch([#{timestamp := Now, occurred_at := Now},
                  #{timestamp := Now}], cost_ledger:history(Ledger)),
    close(Config, Ledger).

a_record_from_the_future_is_named_and_nothing_is_booked(Config) ->
    Ledger = open(Config),
    File = table(Config, [record(1, ?START), record(77, ?START + ?DAY + 60001)]),
    {error, {occurs_ahead, Text}} = cost_ledger:import(Ledger, File),
    says(Text, [File, "77", "ahead of ledger time"]),
    ?assertEqual([], told(Ledger)),
    close(Config, Ledger).

%% In mid-import the ledger's last entry is now: what is left is booked now.
others_who_record_meanwhile_lose_nothing(Config) ->
    Ledger = open(Config),
    Records = records(20000),
    File = table(Config, Records),
    Self = self(),
    Import = spawn_link(fun() -> Self ! {imported, cost_ledger:import(Ledger, File)} end),
    ok = soon(fun() -> booked(Ledger) > 0 end),
    {Others, Longest} = others(Ledger, Import, 0, 0),
    ct:log("~b others, the longest took ~b us", [Others, Longest]),
    ?assert(Longest < 3000000), % a slice, and what a slow disk explains
    {ok, #{imported := 20000, repeated := 0, times := mixed}} =
        receive {imported, Imported} -> Imported end,
    ?assert(Others > 0),
    ?assertEqual(20000 + Others, booked(Ledger)),
    When = [maps:get(occurred_at, Record, At)
            || #{timestamp := At, prompt_type := plan} = Record
                   <- cost_ledger:history(Ledger, #{limit => 1 bsl 40})],
    ?assertEqual([At || {_, At, _, _} <- as_told(Records)], When),
    ?assertMatch({ok, #{imported := 0, repeated := 20000}}, cost_ledger:import(Ledger, File)),
    close(Config, Ledger).

others(Ledger, Import, Count, Longest) ->
    case is_process_alive(Import) of
        true ->
            {Us, ok} = timer:tc(cost_ledger, record_invocation, [Ledger, executing, #{}]),
            others(Ledger, Import, Count + 1, max(Us, Longest));
        false ->
            {Count, Longest}
    end.

booked(Ledger) ->
    #{session := #{total := Total}} = cost_ledger:stats(Ledger),
    Total.

%%% Wrong --------------------------------------------------------------------------------------

says(Text, Parts) ->
    [?assertMatch({_, _}, binary:match(Text, unicode:characters_to_binary(Part)), Text)
     || Part <- Parts].

an_object_of_another_shape_is_named_and_nothing_is_booked(Config) ->
    Ledger = open(Config),
    Good = record(7, ?START),
    Wrong = [{{7, Good#{duration_ms => -1}}, ["7", "duration_ms", "-1"]},
             {{7, Good#{duration_ms => 1.5}}, ["7", "duration_ms", "1.5"]},
             {{7, Good#{prompt_type => 5}}, ["7", "prompt_type", "5"]},
             {{7, Good#{prompt_type => <<255>>}}, ["7", "prompt_type", "UTF-8"]},
             {{7, Good#{prompt_type => <<>>}}, ["7", "prompt_type"]},
             {{7, Good#{hub_state => <<"executing">>}}, ["7", "hub_state", "an atom"]},
             {{7, Good#{timestamp => <<"2026">>}}, ["7", "timestamp", "2026"]},
             {{7, Good#{timestamp => -1}}, ["7", "timestamp", "-1"]},
             {{7, Good#{id => 8}}, ["7", "id", "8"]},
             {{{a, b}, Good#{id => {a, b}}}, ["{a,b}", "id"]},
             {{7, maps:remove(timestamp, Good)}, ["7", "no timestamp"]},
             {{7, Good#{cost => 5}}, ["7", "cost"]},
             {{7, maps:to_list(Good)}, ["Map"]},
             {{7, Good, more}, ["Map"]}],
    [begin
         File = table(Config, "wrong.dets", records(1100)),
         {ok, Table} = dets:open_file(cost_ledger, [{file, File}]),
         ok = dets:delete(Table, 7),
         ok = dets:insert(Table, Object),
         ok = dets:close(Table),
         {error, {bad_object, Text}} = cost_ledger:import(Ledger, File),
         says(Text, [File | Parts]),
         ok = file:delete(File)
     end || {Object, Parts} <- Wrong],
    ?assertEqual([], told(Ledger)),
    %% What an Elixir hub may have there besides.
    Fine = [Good#{prompt_type => <<"a text">>}, record(8, executing, ?START + 1, 0, nil),
            record(<<"id">>, executing, ?START + 2, 0, unknown)],
    {ok, #{imported := 3}} = cost_ledger:import(Ledger, table(Config, Fine)),
    ?assertEqual([unknown, unknown, <<"a text">>], [Type || {_, _, _, Type} <- told(Ledger)]),
    close(Config, Ledger).

an_object_that_is_too_large_is_named_and_nothing_is_booked(Config) ->
    Ledger = open(Config, #{max_entry_size => 200}),
    Large = record(601, executing, ?START + 1, 5, binary:copy(<<"a">>, 100)),
    Fits = Large#{prompt_type := binary:copy(<<"a">>, 50)},
    {error, {entry_too_large, Text}} =
        cost_ledger:import(Ledger, table(Config, records(600) ++ [Large])),
    says(Text, ["601", "max_entry_size is 200"]),
    ?assertEqual([], told(Ledger)),
    ?assertMatch({ok, #{imported := 601}},
                 cost_ledger:import(Ledger, table(Config, records(600) ++ [Fits]))),
    close(Config, Ledger).

a_state_that_is_not_declared_is_named_and_nothing_is_booked(Config) ->
    Ledger = open(Config),
    File = table(Config, records(600) ++ [record(601, dreaming, ?START + 1, 5, plan)]),
    {error, {undeclared_state, Text}} = cost_ledger:import(Ledger, File),
    says(Text, [File, "601", "dreaming", "set_budgets"]),
    ?assertEqual([], told(Ledger)),
    {ok, _} = cost_ledger:set_budgets(Ledger, #{dreaming => #{max_per_hour => 1}},
                                      #{by => me, reason => "was there"}),
    %% That is an entry, and newer.
    ?assertMatch({ok, #{imported := 601, times := now}}, cost_ledger:import(Ledger, File)),
    close(Config, Ledger).

refused(Ledger, Name, File, Parts) ->
    Before = contents(File),
    {error, {Is, Text}} = cost_ledger:import(Ledger, File),
    ?assertEqual(Name, Is, Text),
    says(Text, [File | Parts]),
    ?assertEqual(Before, contents(File)),
    ?assertEqual([], told(Ledger)).

%% And when it was written.
contents(File) ->
    {file:read_file(File),
     case file:read_file_info(File) of
         {ok, #file_info{mtime = At, inode = Inode}} -> {At, Inode};
         Error -> Error
     end}.

what_is_no_table_is_refused_and_left_as_it_is(Config) ->
    Ledger = open(Config),
    Write = fun(Name, Bytes) -> ok = file:write_file(in(Config, Name), Bytes), in(Config, Name) end,
    refused(Ledger, no_such_path, in(Config, "nowhere"), ["no such file"]),
    refused(Ledger, not_a_table, ?config(directory, Config), ["regular file"]),
    refused(Ledger, not_a_table, Write("empty", <<>>), ["not a DETS file"]),
    refused(Ledger, not_a_table, Write("text", <<"id,hub_state\n1,executing\n">>),
            ["not a DETS file"]),
    refused(Ledger, not_a_table, Write("random", rand:bytes(20000)), ["not a DETS file"]),
    [begin
         File = in(Config, Name),
         {ok, Table} = dets:open_file(other, [{file, File} | Options]),
         ok = dets:insert(Table, {1, record(1, ?START)}),
         ok = dets:close(Table),
         refused(Ledger, not_a_table, File, ["not a set"])
     end || {Name, Options} <- [{"bag", [{type, bag}]}, {"second", [{keypos, 2}]}]],
    close(Config, Ledger).

a_table_that_was_not_closed_is_refused_and_left_as_it_is(Config) ->
    Ledger = open(Config),
    File = in(Config, "open.dets"),
    {ok, Table} = dets:open_file(cost_ledger, [{file, File}]),
    ok = dets:insert(Table, {1, record(1, ?START)}),
    Cut = in(Config, "cut.dets"),
    {ok, _} = file:copy(File, Cut),
    refused(Ledger, damaged_table, Cut, ["not closed properly"]),
    refused(Ledger, table_open, File, ["close it first"]),
    ok = dets:sync(Table),
    refused(Ledger, table_open, File, ["close it first"]),
    ok = dets:insert(Table, {2, record(2, ?START + 1)}), % it is still theirs
    ok = dets:close(Table),
    ?assertMatch({ok, #{imported := 2}}, cost_ledger:import(Ledger, File)),
    close(Config, Ledger).

%% Cut anywhere it is refused. A byte that is another one is found out, or is in no record; nothing
%% of what is there is lost in silence.
a_damaged_table_is_refused_and_left_as_it_is(Config) ->
    Ledger = open(Config),
    Records = records(400),
    File = table(Config, Records),
    {ok, Bytes} = file:read_file(File),
    Size = byte_size(Bytes),
    Damaged = in(Config, "damaged.dets"),
    [begin
         ok = file:write_file(Damaged, binary:part(Bytes, 0, Left)),
         {error, {Name, _}} = cost_ledger:import(Ledger, Damaged),
         ?assert(lists:member(Name, [not_a_table, damaged_table]))
     end || Left <- [1, 100, 1000, Size div 2, Size - 1000, Size - 1]],
    %% The first four bytes say where its free places are: dets would repair it in place.
    <<_:4/binary, Rest/binary>> = Bytes,
    ok = file:write_file(Damaged, <<255, 255, 255, 255, Rest/binary>>),
    refused(Ledger, damaged_table, Damaged, []),
    ?assertEqual([], told(Ledger)),
    close(Config, Ledger).

%%% Kills --------------------------------------------------------------------------------------

an_importer_that_is_killed_goes_on_where_it_was(Config) ->
    Ledger = open(Config),
    Records = records(20000),
    File = table(Config, Records),
    killed_imports(Ledger, File, 0, 0),
    ?assertEqual([], left_open()),
    {ok, #{imported := Imported, repeated := Repeated, times := own}} =
        cost_ledger:import(Ledger, File),
    ?assertEqual(20000, Imported + Repeated),
    ?assert(Repeated > 0),
    ?assertEqual(as_told(Records), told(Ledger)),
    close(Config, Ledger).

%% Each gets a little further than the one before.
killed_imports(_Ledger, _File, 8, _Before) ->
    ok;
killed_imports(Ledger, File, Kills, Before) ->
    {Pid, Monitor} = spawn_monitor(fun() -> cost_ledger:import(Ledger, File) end),
    ok = soon(fun() -> booked(Ledger) > Before orelse not is_process_alive(Pid) end),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end,
    ok = cost_ledger_test:eventually(fun() -> left_open() =:= [] end),
    killed_imports(Ledger, File, Kills + 1, booked(Ledger)).

a_writer_that_is_killed_meanwhile_does_not_end_the_import(Config) ->
    Ledger = open(Config),
    Records = records(20000),
    File = table(Config, Records),
    Self = self(),
    spawn_link(fun() -> Self ! {imported, cost_ledger:import(Ledger, File)} end),
    [begin
         ok = soon(fun() -> booked(Ledger) >= From end),
         kill_writer(Ledger)
     end || From <- [1, 4000, 12000]],
    %% What the last writer did is not done again; whose answer was lost is there.
    {ok, #{imported := Imported, repeated := Repeated, times := own}} =
        receive {imported, Answer} -> Answer end,
    ?assertEqual(20000, Imported + Repeated),
    ?assertEqual(as_told(Records), told(Ledger)),
    close(Config, Ledger).

kill_writer(Ledger) ->
    case cost_ledger_nif:writer(handle(Ledger)) of
        {Writer, _} -> exit(Writer, kill);
        no_writer -> kill_writer(Ledger)
    end.

a_ledger_that_is_stopped_meanwhile_ends_the_import(Config) ->
    Ledger = open(Config),
    File = table(Config, records(20000)),
    Self = self(),
    spawn_link(fun() -> Self ! {imported, cost_ledger:import(Ledger, File)} end),
    ok = soon(fun() -> booked(Ledger) > 1000 end),
    ok = cost_ledger:stop(Ledger),
    ?assertEqual({error, unavailable}, receive {imported, Answer} -> Answer end),
    Again = open(Config),
    {ok, #{imported := Imported, repeated := Repeated, times := own}} =
        cost_ledger:import(Again, File),
    ?assertEqual(20000, Imported + Repeated),
    ?assertEqual(20000, booked(Again)),
    close(Config, Again).

two_imports_at_once_book_it_once(Config) ->
    Ledger = open(Config),
    Records = records(5000),
    File = table(Config, Records),
    Self = self(),
    [spawn_link(fun() -> Self ! {imported, cost_ledger:import(Ledger, File)} end) || _ <- [1, 2]],
    Booked = [receive
                  {imported, {ok, #{imported := Imported, repeated := Repeated, times := own}}} ->
                      ?assertEqual(5000, Imported + Repeated),
                      Imported
              end || _ <- [1, 2]],
    ?assertEqual(5000, lists:sum(Booked)),
    ?assertEqual(as_told(Records), told(Ledger)),
    close(Config, Ledger).

handle(Ledger) ->
    #ledger{handle = Handle} = cost_ledger_registry:find(Ledger),
    Handle.

a_queue_with_little_room_takes_it_all(Config) ->
    Ledger = open(Config, #{queue => #{calls => 7, bytes => 1000}, max_entry_size => 1000}),
    Records = records(600),
    {ok, #{imported := 600, times := own}} = cost_ledger:import(Ledger, table(Config, Records)),
    ?assertEqual(as_told(Records), told(Ledger)),
    close(Config, Ledger).

a_vm_that_is_killed_meanwhile_goes_on(Config) ->
    Records = records(20000),
    File = table(Config, Records),
    Ledger = open(Config),
    ok = cost_ledger:stop(Ledger),
    Peer = cost_ledger_test:start_vm(),
    ok = peer:cast(Peer, ?MODULE, import_here, [in(Config, "ledger"), File]),
    ok = soon(fun() -> entries(Config) > 3000 end),
    ok = cost_ledger_test:kill_vm(Peer),
    Again = open(Config),
    {ok, #{imported := Imported, repeated := Repeated, times := own}} =
        cost_ledger:import(Again, File),
    ?assertEqual(20000, Imported + Repeated),
    ?assert(Repeated > 3000),
    ?assertEqual(as_told(Records), told(Again)),
    close(Config, Again).

import_here(Path, File) ->
    Ledger = cost_ledger_test:open(Path, #{}),
    ok = cost_ledger:set_clock(Ledger, ?START + ?DAY),
    cost_ledger:import(Ledger, File).

%% From outside.
entries(Config) ->
    Program = filename:join(code:priv_dir(cost_ledger), "cost_ledger"),
    Said = os:cmd(Program ++ " stats " ++ in(Config, "ledger") ++ " --json 2>/dev/null"),
    case re:run(Said, "\"entries\":([0-9]+)", [{capture, [1], list}]) of
        {match, [Number]} -> list_to_integer(Number);
        nomatch -> 0
    end.

%%% The rest -----------------------------------------------------------------------------------

an_empty_table_is_nothing_to_book(Config) ->
    Ledger = open(Config),
    ?assertEqual({ok, #{imported => 0, repeated => 0, times => own}},
                 cost_ledger:import(Ledger, table(Config, []))),
    close(Config, Ledger).

%% Its clock is that of the machine.
the_default_ledger_takes_a_table_over(Config) ->
    Now = erlang:system_time(millisecond),
    {ok, Supervisor} = cost_ledger:start_link(#{path => in(Config, "ledger")}),
    true = unlink(Supervisor),
    File = table(Config, [record(N, Now - 1000 * N) || N <- lists:seq(1, 20)]),
    ?assertEqual({ok, #{imported => 20, repeated => 0, times => own}}, cost_ledger:import(File)),
    ?assertEqual(budget_exhausted, cost_ledger:check_budget(executing)),
    ok = cost_ledger:stop(),
    ?assertEqual({error, unavailable}, cost_ledger:import(File)).

names_that_are_no_files_are_refused(Config) ->
    Ledger = open(Config),
    {ok, Scope} = cost_ledger:scope(Ledger, #{user => <<"u">>}),
    [?assertError(badarg, cost_ledger:import(Ledger, Name)) || Name <- [7, "", <<>>, {a}]],
    ?assertError(badarg, cost_ledger:import(nobody_opened_it, in(Config, "x"))),
    ?assertMatch({error, {out_of_scope, _}}, cost_ledger:import(Scope, in(Config, "x"))),
    close(Config, Ledger).
