%%% Verifying, backups and restoring, by the command line beside the VM: on ledgers that are written
%%% to meanwhile, with processes that are killed and disks that are full.
-module(cost_ledger_backup_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include_lib("kernel/include/file.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([a_live_and_a_closed_ledger_verify/1, verifying_under_full_write_load/1,
         a_damaged_ledger_does_not_verify/1, a_backup_under_full_write_load/1,
         the_writer_does_not_wait_for_a_backup/1, backups_that_are_killed/1,
         restoring_overwrites_nothing/1, what_is_no_backup_is_not_restored/1,
         a_restored_ledger_answers_the_same/1, a_rebuilt_ledger_answers_the_same/1,
         what_was_made_is_said_in_a_line/1, a_backup_of_a_live_ledger_is_no_copy_of_its_file/1,
         a_restore_never_takes_the_place_of_a_ledger/1,
         a_disk_that_is_full_in_mid_backup/1, a_file_that_must_not_grow/1]).

-define(START_MS, 1700000000000).
-define(HOUR_MS, 3600000).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [a_live_and_a_closed_ledger_verify, verifying_under_full_write_load,
     a_damaged_ledger_does_not_verify, a_backup_under_full_write_load,
     the_writer_does_not_wait_for_a_backup, backups_that_are_killed,
     restoring_overwrites_nothing, what_is_no_backup_is_not_restored,
     a_restored_ledger_answers_the_same, a_rebuilt_ledger_answers_the_same,
     what_was_made_is_said_in_a_line, a_backup_of_a_live_ledger_is_no_copy_of_its_file,
     a_restore_never_takes_the_place_of_a_ledger,
     a_disk_that_is_full_in_mid_backup, a_file_that_must_not_grow].

init_per_suite(Config) ->
    Program = filename:join(code:priv_dir(cost_ledger), "cost_ledger"),
    true = filelib:is_regular(Program),
    [{program, Program} | Config].

end_per_suite(_Config) -> ok.

%%% Verifying ----------------------------------------------------------------------------------

a_live_and_a_closed_ledger_verify(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Ledger = with_everything(Directory),
    {0, Live} = run(Config, ["verify", Directory]),
    ?assertMatch({match, _}, re:run(Live, "^[0-9,]+ entries, all as they should be\n$")),
    ok = cost_ledger:stop(Ledger),
    {0, Live} = run(Config, ["verify", Directory]),
    {0, Json} = run(Config, ["verify", Directory, "--json"]),
    ?assertMatch({match, _}, re:run(Json, "^{\"findings\":\\[\\],\"entries\":[0-9]+,")),
    cost_ledger_test:remove(Directory).

verifying_under_full_write_load(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Ledger = with_everything(Directory),
    Load = start_load(Ledger),
    [{0, _} = run(Config, ["verify", Directory]) || _ <- lists:seq(1, 10)],
    Booked = stop_load(Load),
    ?assert(Booked > 100),
    {0, _} = run(Config, ["verify", Directory]),
    ok = cost_ledger:stop(Ledger),
    cost_ledger_test:remove(Directory).

%% A byte of a payload, found in the file by what it says.
a_damaged_ledger_does_not_verify(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Backup = Directory ++ "-backup",
    Ledger = open(Directory),
    {ok, Id} = cost_ledger:record(Ledger, #{state => executing, intent => <<"a word to find">>}),
    ok = cost_ledger:stop(Ledger),
    Data = filename:join(Directory, "data.mdb"),
    {ok, Bytes} = file:read_file(Data),
    [{At, _} | _] = binary:matches(Bytes, <<"a word to find">>),
    {ok, File} = file:open(Data, [read, write, raw, binary]),
    [ok = file:pwrite(File, Place, <<"A">>)
     || {Place, _} <- binary:matches(Bytes, <<"a word to find">>)],
    ok = file:close(File),
    ?assert(At > 0),
    {1, Findings} = run(Config, ["verify", Directory]),
    ?assertMatch({match, _}, re:run(Findings, ["payloads: ", integer_to_list(Id)])),
    {1, _} = run(Config, ["verify", Directory, "--json"]),
    {3, Refused} = run(Config, ["backup", Directory, Backup]),
    ?assertMatch({match, _}, re:run(Refused, ["payloads: ", integer_to_list(Id)])),
    [] = left_by(Backup),
    cost_ledger_test:remove(Directory).

%%% Backups ------------------------------------------------------------------------------------

a_backup_under_full_write_load(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Backup = Directory ++ "-backup",
    Ledger = with_everything(Directory),
    Load = start_load(Ledger),
    {0, _} = run(Config, ["backup", Directory, Backup]),
    Booked = stop_load(Load),
    {ok, ["data.mdb"]} = file:list_dir(Backup),
    {0, _} = run(Config, ["verify", Backup]),
    {3, _} = run(Config, ["backup", Directory, Backup]), % it is there
    {ok, #file_info{mode = Mode}} = file:read_file_info(Backup),
    ?assertEqual(8#700, Mode band 8#777),
    All = everything(Ledger),
    ok = cost_ledger:stop(Ledger),
    Copy = open(Backup),
    %% Holds end when their owners are not those of the VM that opened it.
    Prefix = [Record || Record <- everything(Copy), not is_unattended(Record)],
    ok = cost_ledger:stop(Copy),
    ?assert(lists:prefix(Prefix, All)),
    ?assert(length(Prefix) > 0),
    ct:log("~b of ~b entries; ~b booked meanwhile", [length(Prefix), length(All), Booked]),
    remove_all([Directory, Backup]).

%% Copying holds no lock that a commit needs: none takes longer than a slow disk explains.
the_writer_does_not_wait_for_a_backup(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Backup = Directory ++ "-backup",
    Ledger = with_everything(Directory),
    fill(Ledger, 20000),
    Self = self(),
    Booker = spawn_link(fun() -> Self ! {longest, book_until_told(Ledger, 0)} end),
    {0, _} = run(Config, ["backup", Directory, Backup]),
    Booker ! stop,
    Longest = receive {longest, Us} -> Us end,
    ct:log("longest commit: ~b us", [Longest]),
    ?assert(Longest < 3000000),
    ok = cost_ledger:stop(Ledger),
    remove_all([Directory, Backup]).

book_until_told(Ledger, Longest) ->
    {Us, ok} = timer:tc(fun() -> cost_ledger:record_invocation(Ledger, executing, #{}) end),
    receive stop -> max(Us, Longest)
    after 0 -> book_until_told(Ledger, max(Us, Longest))
    end.

backups_that_are_killed(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Backup = Directory ++ "-backup",
    Ledger = with_everything(Directory),
    fill(Ledger, 30000),
    {Whole, {0, _}} = timer:tc(fun() -> run(Config, ["backup", Directory, Backup]) end),
    cost_ledger_test:remove(Backup),
    Load = start_load(Ledger),
    Kills = [kill_one(Config, Directory, Backup, Whole) || _ <- lists:seq(1, 25)],
    ct:log("a backup takes ~b ms; ~p", [Whole div 1000, Kills]),
    ?assert(lists:member(killed, Kills)),
    ok = cost_ledger:record_invocation(Ledger, executing, #{}),
    _ = stop_load(Load),
    Stale = readers(Directory),
    ct:log("readers that were cleared: ~p", [Stale]),
    0 = readers(Directory),
    %% The next one removes what was left.
    {0, _} = run(Config, ["backup", Directory, Backup]),
    [Name] = left_by(Backup),
    ?assertEqual(filename:basename(Backup), Name),
    {0, _} = run(Config, ["verify", Backup]),
    ok = cost_ledger:stop(Ledger),
    remove_all([Directory, Backup]).

kill_one(Config, Directory, Backup, WholeUs) ->
    Port = start(Config, ["backup", Directory, Backup]),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    timer:sleep(rand:uniform(WholeUs div 1000 + 1) - 1),
    _ = os:cmd("kill -9 " ++ integer_to_list(Pid)),
    {Status, _} = finish(Port, []),
    case filelib:is_file(Backup) of
        false ->
            %% At most a directory with another name, and in it nothing, or all.
            [?assertMatch({match, _}, re:run(Name, "\\.cost_ledger-unfinished-[0-9]+$"))
             || Name <- left_by(Backup)],
            ?assert(length(left_by(Backup)) =< 1),
            killed;
        true ->
            {0, _} = run(Config, ["verify", Backup]),
            cost_ledger_test:remove(Backup),
            {done, Status}
    end.

%% How many slots of processes that are gone LMDB frees; 0 where there is no python3-lmdb.
readers(Directory) ->
    Script = "import lmdb, sys\n"
             "env = lmdb.open(sys.argv[1], readonly=True, max_dbs=16, map_size=0)\n"
             "print(env.reader_check())\n",
    Python = "/usr/bin/python3",
    case os:cmd(Python ++ " -c 'import lmdb' 2>&1") of
        "" -> list_to_integer(string:trim(os:cmd(Python ++ " -c '" ++ Script ++ "' "
                                                 ++ Directory)));
        _ -> 0
    end.

%%% Restoring ----------------------------------------------------------------------------------

restoring_overwrites_nothing(Config) ->
    Directory = cost_ledger_test:directory(Config),
    [Backup, There] = [Directory ++ "-backup", Directory ++ "-there"],
    Ledger = with_everything(Directory),
    {0, _} = run(Config, ["backup", Directory, Backup]),
    {3, Open} = run(Config, ["restore", Directory, There]),
    ?assertMatch({match, _}, re:run(Open, "is open")),
    ok = cost_ledger:stop(Ledger),
    Before = contents(Directory),
    {3, _} = run(Config, ["restore", Backup, Directory]),
    Before = contents(Directory),
    ok = file:make_dir(There),
    ok = file:write_file(filename:join(There, "theirs"), "theirs"),
    {3, _} = run(Config, ["restore", Backup, There]),
    {ok, ["theirs"]} = file:list_dir(There),
    File = filename:join(There, "theirs"),
    {3, _} = run(Config, ["restore", Backup, File]),
    {ok, <<"theirs">>} = file:read_file(File),
    ok = file:delete(File),
    {0, _} = run(Config, ["restore", Backup, There]), % it is empty
    {ok, ["data.mdb"]} = file:list_dir(There),
    {0, _} = run(Config, ["verify", There]),
    {3, _} = run(Config, ["restore", Backup, There]),
    {2, _} = run(Config, ["restore", Backup]),
    remove_all([Directory, Backup, There]).

what_is_no_backup_is_not_restored(Config) ->
    Directory = cost_ledger_test:directory(Config),
    [Backup, Broken, New] = [Directory ++ End || End <- ["-backup", "-broken", "-new"]],
    Ledger = with_everything(Directory),
    {0, _} = run(Config, ["backup", Directory, Backup]),
    ok = cost_ledger:stop(Ledger),
    {ok, Data} = file:read_file(filename:join(Backup, "data.mdb")),
    ok = file:make_dir(Broken),
    Put = fun(Bytes) -> ok = file:write_file(filename:join(Broken, "data.mdb"), Bytes) end,
    Refused = fun(What) ->
                      {3, Said} = run(Config, ["restore", Broken, New]),
                      ?assertMatch({match, _}, re:run(Said, What)),
                      false = filelib:is_file(New)
              end,
    {3, _} = run(Config, ["restore", Broken, New]), % no file at all
    Put(<<>>),
    Refused("."),
    Put(binary:part(Data, 0, byte_size(Data) div 2)),
    Refused("shorter"),
    Put(rand:bytes(byte_size(Data))),
    Refused("not an LMDB file"),
    %% A payload that is another, and a version that is not known yet.
    Put(binary:replace(Data, <<"a word to find">>, <<"A word to find">>, [global])),
    Refused("payloads"),
    Put(binary:replace(Data, <<16#a7, "version", 1, 16#aa, "created_at">>,
                       <<16#a7, "version", 2, 16#aa, "created_at">>, [global])),
    Refused("newer"),
    Put(binary:replace(Data, <<16#ab, "cost_ledger">>, <<16#ab, "cost_sledge">>, [global])),
    Refused("."),
    Put(Data),
    {0, _} = run(Config, ["restore", Broken, New]),
    remove_all([Directory, Backup, Broken, New]).

a_restored_ledger_answers_the_same(Config) ->
    Directory = cost_ledger_test:directory(Config),
    [Backup, Restored] = [Directory ++ "-backup", Directory ++ "-restored"],
    Ledger = with_everything(Directory),
    end_holds(Ledger),
    {0, _} = run(Config, ["backup", Directory, Backup]),
    Before = answers(Ledger),
    ok = cost_ledger:stop(Ledger),
    {0, _} = run(Config, ["restore", Backup, Restored]),
    Again = open(Restored),
    ?assertEqual(Before, answers(Again)),
    fill(Again, 100), % and it goes on
    {0, _} = run(Config, ["verify", Restored]),
    ok = cost_ledger:stop(Again),
    remove_all([Directory, Backup, Restored]).

a_rebuilt_ledger_answers_the_same(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Rebuilt = Directory ++ "-rebuilt",
    Ledger = with_everything(Directory),
    end_holds(Ledger),
    Before = answers(Ledger),
    ok = cost_ledger:stop(Ledger),
    {0, Said} = run(Config, ["verify", Directory, "--rebuild", Rebuilt]),
    ?assertMatch({match, _}, re:run(Said, "all as they should be")),
    {3, _} = run(Config, ["verify", Directory, "--rebuild", Rebuilt]),
    {ok, ["data.mdb"]} = file:list_dir(Rebuilt),
    Again = open(Rebuilt),
    ?assertEqual(Before, answers(Again)),
    ok = cost_ledger:stop(Again),
    remove_all([Directory, Rebuilt]).

what_was_made_is_said_in_a_line(Config) ->
    Directory = cost_ledger_test:directory(Config),
    [One, Two, Three, Four] = [Directory ++ End || End <- ["-1", "-2", "-3", "-4"]],
    Ledger = with_everything(Directory),
    Json = fun(Path) ->
                   ["^\\{\"path\":\"", Path, "\",\"entries\":[0-9]{3,},\"bytes\":",
                    integer_to_list(filelib:file_size(filename:join(Path, "data.mdb"))), "\\}\n$"]
           end,
    Line = fun(Path) -> ["^", Path, ": [0-9,]+ entries, [0-9]+ KiB\n$"] end,
    [begin
         {0, Said} = run(Config, Arguments),
         ?assertMatch({match, _}, re:run(Said, Pattern(lists:nth(3, Arguments))), Said)
     end || {Arguments, Pattern} <- [{["backup", Directory, One], Line},
                                     {["backup", Directory, Two, "--json"], Json},
                                     {["restore", One, Three], Line},
                                     {["restore", One, Four, "--json"], Json}]],
    {3, Failed} = run(Config, ["backup", Directory, One, "--json"]),
    ?assertMatch({match, _}, re:run(Failed, "^cost_ledger: ")),
    ok = cost_ledger:stop(Ledger),
    remove_all([Directory, One, Two, Three, Four]).

%% What the original did: copied its file while it was written to. Here the copy is one moment of
%% the ledger, whatever is booked meanwhile: it verifies, and begins as the ledger does.
a_backup_of_a_live_ledger_is_no_copy_of_its_file(Config) ->
    {ok, Started} = application:ensure_all_started(cost_ledger),
    Directory = cost_ledger_test:directory(Config),
    Ledger = with_everything(Directory),
    end_holds(Ledger),
    Load = start_load(Ledger),
    Backups = [Directory ++ "-" ++ integer_to_list(N) || N <- [1, 2, 3]],
    Made = [begin
                {ok, #{count := Count}} = cost_ledger:backup(Ledger, Backup),
                Count
            end || Backup <- Backups],
    ?assert(stop_load(Load) > 100),
    All = everything(Ledger),
    ?assertEqual(Made, lists:usort(Made)), % each has what was booked since the one before
    [begin
         Copy = open(Backup),
         Entries = everything(Copy),
         ?assert(lists:prefix(Entries, All)),
         ?assertMatch({ok, #{count := Count, findings := []}}, cost_ledger:verify(Copy)),
         ok = cost_ledger:stop(Copy)
     end || {Backup, Count} <- lists:zip(Backups, Made)],
    ok = cost_ledger:stop(Ledger),
    [ok = application:stop(Application) || Application <- lists:reverse(Started)],
    remove_all([Directory | Backups]).

%% What the original did: deleted the live file first. Here what is there stays, and is not even
%% closed, whether the backup is sound or not.
a_restore_never_takes_the_place_of_a_ledger(Config) ->
    {ok, Started} = application:ensure_all_started(cost_ledger),
    Directory = cost_ledger_test:directory(Config),
    [Backup, Broken, New] = [Directory ++ End || End <- ["-backup", "-broken", "-new"]],
    Ledger = with_everything(Directory),
    {ok, _} = cost_ledger:backup(Ledger, Backup),
    ok = file:make_dir(Broken),
    {ok, Data} = file:read_file(filename:join(Backup, "data.mdb")),
    ok = file:write_file(filename:join(Broken, "data.mdb"),
                         binary:replace(Data, <<"a word to find">>, <<"A word to find">>,
                                        [global])),
    Before = everything(Ledger),
    ?assertMatch({error, {exists, <<_/binary>>}}, cost_ledger:restore(Backup, Directory)),
    ?assertMatch({error, {exists, _}}, cost_ledger:restore(Broken, Directory)),
    ?assertMatch({error, {damaged, _}}, cost_ledger:restore(Broken, New)),
    ?assertMatch({error, {no_such_path, _}}, cost_ledger:restore(New, New ++ "er")),
    ?assertMatch({error, {locked, _}}, cost_ledger:restore(Directory, New)), % it is open
    ?assertNot(filelib:is_file(New)),
    ?assertEqual(Before, everything(Ledger)),
    ok = cost_ledger:record_invocation(Ledger, executing, #{}),
    ok = cost_ledger:stop(Ledger),
    Closed = contents(Directory),
    ?assertMatch({error, {exists, _}}, cost_ledger:restore(Backup, Directory)),
    ?assertEqual(Closed, contents(Directory)),
    %% A file is no place for it either.
    ok = file:write_file(New, "theirs"),
    ?assertMatch({error, {_, _}}, cost_ledger:restore(Backup, New)),
    ?assertEqual({ok, <<"theirs">>}, file:read_file(New)),
    [ok = application:stop(Application) || Application <- lists:reverse(Started)],
    remove_all([Directory, Backup, Broken, New]).

%%% Disks --------------------------------------------------------------------------------------

%% On a file system of 2 MiB, in a name space of its own.
a_disk_that_is_full_in_mid_backup(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Small = Directory ++ "-small",
    ok = file:make_dir(Small),
    Mount = ["mount -t tmpfs -o size=2m none ", Small],
    case os:cmd("unshare -rm sh -c '" ++ lists:flatten(Mount) ++ "' 2>&1") of
        "" ->
            Ledger = with_everything(Directory),
            fill(Ledger, 30000),
            Said = os:cmd(lists:flatten(
                            ["unshare -rm sh -c '", Mount, " && ", program(Config), " backup ",
                             Directory, " ", Small, "/backup; echo status $?; ls -A ", Small,
                             "' 2>&1"])),
            ct:log("~ts", [Said]),
            ?assertMatch({match, _}, re:run(Said, "status 3\n$")), % and nothing is listed
            ?assertMatch({match, _}, re:run(Said, "full|space")),
            {0, _} = run(Config, ["verify", Directory]),
            ok = cost_ledger:stop(Ledger),
            remove_all([Directory, Small]);
        Why ->
            cost_ledger_test:remove(Small),
            {skip, Why}
    end.

a_file_that_must_not_grow(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Backup = Directory ++ "-backup",
    Ledger = with_everything(Directory),
    fill(Ledger, 30000),
    Said = os:cmd(lists:flatten(["bash -c 'trap \"\" XFSZ; ulimit -f 1500; ", program(Config),
                                 " backup ", Directory, " ", Backup, "'; echo status $?"])),
    ?assertMatch({match, _}, re:run(Said, "status 3\n$")),
    [] = left_by(Backup),
    ok = cost_ledger:record_invocation(Ledger, executing, #{}),
    {0, _} = run(Config, ["backup", Directory, Backup]),
    ok = cost_ledger:stop(Ledger),
    remove_all([Directory, Backup]).

%%% Ledgers ------------------------------------------------------------------------------------

open(Directory) ->
    Unlimited = #{max_per_hour => infinity, max_per_day => infinity},
    cost_ledger_test:open(Directory, #{budgets => maps:from_keys([planning, executing, reviewing],
                                                                 Unlimited),
                                       series => [[org], [org, user]]}).

%% Something of everything, over three hours; holds are left open.
with_everything(Directory) ->
    Ledger = open(Directory),
    ok = cost_ledger:set_clock(Ledger, ?START_MS),
    {ok, _} = cost_ledger:set_prices(Ledger, #{'m-1' => #{input => 3000, output => 15000}},
                                     #{by => ops, reason => <<"list">>}),
    Records = [record(Ledger, N) || N <- lists:seq(1, 120)],
    cost_ledger:set_clock(Ledger, ?START_MS + ?HOUR_MS),
    [First, Second | _] = [Id || {ok, Id} <- Records],
    {ok, _} = cost_ledger:record(Ledger, #{kind => correction, corrects => First, cost => 5,
                                           by => ops, reason => <<"late">>}),
    {ok, _} = cost_ledger:redact(Ledger, Second, #{by => ops, reason => <<"asked to">>}),
    {ok, Run} = cost_ledger:reserve(Ledger, #{kind => run, org => acme, cost => 1000,
                                              run_id => <<"a run">>, deadline_ms => 100 * ?HOUR_MS}),
    {ok, Call} = cost_ledger:reserve(Ledger, #{state => executing, org => acme, cost => 100,
                                               parent => Run, id => <<"asked">>,
                                               deadline_ms => 100 * ?HOUR_MS}),
    {ok, _} = cost_ledger:reserve(Ledger, #{state => planning, cost => 7, parent => Run,
                                            deadline_ms => 100 * ?HOUR_MS}),
    {ok, _} = cost_ledger:settle(Call, #{cost => 90, tokens => #{input => 10}}),
    cost_ledger:set_clock(Ledger, ?START_MS + 3 * ?HOUR_MS),
    fill(Ledger, 100),
    Ledger.

%% The youngest first: a run has no live children then.
end_holds(Ledger) ->
    {ok, Holds} = cost_ledger:holds(Ledger),
    [ok = cost_ledger:release(Hold) || #{hold := Hold} <- lists:reverse(Holds)].

is_unattended(Record) -> maps:is_key(unattended, Record).

record(Ledger, N) ->
    Org = lists:nth(1 + N rem 3, [acme, umbrella, none]),
    cost_ledger:record(Ledger, maps:merge(
        #{state => lists:nth(1 + N rem 2, [executing, planning]), model => 'm-1', cost => auto,
          status => lists:nth(1 + N rem 3, [completed, failed, aborted]), duration_ms => N,
          tokens => #{input => 100 * N, output => N}, intent => <<"a word to find">>,
          id => integer_to_binary(N)},
        case Org of none -> #{}; _ -> #{org => Org, user => ada} end)).

fill(Ledger, Count) ->
    Each = (Count + 49) div 50,
    cost_ledger_test:parallel(50, fun() ->
        [ok = cost_ledger:record_invocation(Ledger, executing, #{duration_ms => N, org => acme})
         || N <- lists:seq(1, Each)]
    end).

start_load(Ledger) ->
    Self = self(),
    [spawn_link(fun() -> load(Ledger, Self, 0) end) || _ <- lists:seq(1, 16)].

load(Ledger, Parent, Count) ->
    ok = cost_ledger:record_invocation(Ledger, reviewing, #{cost => Count, org => acme}),
    receive stop -> Parent ! {self(), Count}
    after 0 -> load(Ledger, Parent, Count + 1)
    end.

stop_load(Load) ->
    [Pid ! stop || Pid <- Load],
    lists:sum([receive {Pid, Count} -> Count end || Pid <- Load]).

%% Every invocation and run, oldest first, whole.
everything(Ledger) ->
    lists:reverse(cost_ledger:history(Ledger, #{limit => 1 bsl 40})).

%% At a time that is the same for all.
answers(Ledger) ->
    ok = cost_ledger:set_clock(Ledger, ?START_MS + 4 * ?HOUR_MS),
    {cost_ledger:stats(Ledger), everything(Ledger),
     [cost_ledger:totals(Ledger, Filter)
      || Filter <- [#{}, #{org => acme}, #{org => acme, user => ada}, #{state => executing},
                    #{since => ?START_MS + ?HOUR_MS}]],
     cost_ledger:prices(Ledger)}.

contents(Directory) ->
    {ok, Names} = file:list_dir(Directory),
    [{Name, file:read_file(filename:join(Directory, Name))} || Name <- lists:sort(Names)].

%% What lies beside a backup and begins like it.
left_by(Backup) ->
    {ok, Names} = file:list_dir(filename:dirname(Backup)),
    [Name || Name <- Names, lists:prefix(filename:basename(Backup), Name)].

remove_all(Directories) -> lists:foreach(fun cost_ledger_test:remove/1, Directories).

%%% The program --------------------------------------------------------------------------------

program(Config) -> proplists:get_value(program, Config).

run(Config, Arguments) -> finish(start(Config, Arguments), []).

start(Config, Arguments) ->
    open_port({spawn_executable, program(Config)},
              [{args, Arguments}, exit_status, stderr_to_stdout, binary, hide]).

finish(Port, Said) ->
    receive
        {Port, {data, Data}} -> finish(Port, [Data | Said]);
        {Port, {exit_status, Status}} -> {Status, iolist_to_binary(lists:reverse(Said))}
    end.
