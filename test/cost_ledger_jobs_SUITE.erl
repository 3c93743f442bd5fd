%%% The long jobs as the API has them: what they answer, what they refuse, and what is left of one
%%% whose companion is killed: nothing.
-module(cost_ledger_jobs_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(ENTRIES, 20000).
-define(KILLS, 12). % of each job

all() ->
    [{group, answers}, a_damaged_page_is_an_error_of_its_job_alone,
     a_killed_companion_leaves_nothing_of_its_job,
     a_killed_vm_leaves_nothing_of_its_jobs].

groups() ->
    [{answers, [parallel],
      [an_export_has_every_record, an_export_through_a_scope_has_its_own,
       a_backup_is_the_ledger_as_it_was, a_restored_backup_is_the_ledger_as_it_was,
       a_sound_ledger_is_found_to_be_so, a_report_is_one_file,
       what_is_there_is_left_alone, what_is_no_argument_is_refused]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(cost_ledger),
    Path = filename:join(?config(priv_dir, Config), ?MODULE),
    {ok, Supervisor} = cost_ledger:start_link(#{name => ?MODULE, path => Path}),
    true = unlink(Supervisor),
    #{session := #{total := 0}} = cost_ledger:stats(?MODULE),
    [ok = cost_ledger:record_invocation(?MODULE, executing,
                                        #{cost => N, user => integer_to_binary(N rem 10)})
     || N <- lists:seq(1, ?ENTRIES - 1)],
    {ok, _} = cost_ledger:record(?MODULE, #{state => executing, output => <<"the last one">>}),
    Config.

end_per_suite(Config) ->
    ok = cost_ledger:stop(?MODULE),
    cost_ledger_test:remove(filename:join(?config(priv_dir, Config), ?MODULE)),
    ok = application:stop(cost_ledger).

init_per_testcase(Case, Config) ->
    Directory = filename:join(?config(priv_dir, Config), Case),
    ok = file:make_dir(Directory),
    [{directory, Directory} | Config].

end_per_testcase(_Case, Config) ->
    cost_ledger_test:remove(?config(directory, Config)).

in(Config, Name) -> filename:join(?config(directory, Config), Name).

lines(File) ->
    {ok, Bytes} = file:read_file(File),
    length(binary:matches(Bytes, <<"\n">>)).

%%% Answers ------------------------------------------------------------------------------------

an_export_has_every_record(Config) ->
    Csv = in(Config, "all.csv"),
    {ok, #{count := ?ENTRIES, bytes := Bytes}} = cost_ledger:export(?MODULE, csv, Csv, #{}),
    ?assertEqual(Bytes, filelib:file_size(Csv)),
    ?assertEqual(1 + ?ENTRIES, lines(Csv)),
    Some = in(Config, "some.jsonl"),
    Filter = [{user, <<"7">>}],
    {ok, #{count := 2000}} = cost_ledger:export(?MODULE, jsonl, Some, Filter),
    ?assertEqual({ok, 2000}, cost_ledger:fold(?MODULE, Filter, fun(_, N) -> N + 1 end, 0)),
    Two = in(Config, "two.csv"),
    {ok, #{count := ?ENTRIES}} = cost_ledger:export(?MODULE, csv, Two, #{},
                                                    #{columns => [id, cost]}),
    {ok, <<"id,cost", _/binary>>} = file:read_file(Two),
    ?assertMatch({error, {_, <<_/binary>>}},
                 cost_ledger:export(?MODULE, csv, in(Config, "x.csv"), #{},
                                    #{columns => [no_such]})),
    ?assertNot(filelib:is_file(in(Config, "x.csv"))).

an_export_through_a_scope_has_its_own(Config) ->
    {ok, Scope} = cost_ledger:scope(?MODULE, #{user => <<"3">>}),
    {ok, #{count := 2000}} = cost_ledger:export(Scope, jsonl, in(Config, "own.jsonl"), #{}),
    ?assertMatch({error, {out_of_scope, _}},
                 cost_ledger:export(Scope, jsonl, in(Config, "other.jsonl"),
                                    #{user => <<"4">>})),
    ?assertNot(filelib:is_file(in(Config, "other.jsonl"))).

a_backup_is_the_ledger_as_it_was(Config) ->
    Copy = in(Config, "copy"),
    {ok, #{count := Count, bytes := Bytes}} = cost_ledger:backup(?MODULE, Copy),
    ?assert(Count >= ?ENTRIES),
    ?assertEqual(Bytes, filelib:file_size(filename:join(Copy, "data.mdb"))),
    {ok, Totals} = cost_ledger:totals(?MODULE, #{}),
    {ok, Supervisor} = cost_ledger:start_link(#{name => jobs_copy, path => Copy}),
    true = unlink(Supervisor),
    ?assertEqual({ok, Totals}, cost_ledger:totals(jobs_copy, #{})),
    ?assertMatch({ok, #{records := [#{output := <<"the last one">>}]}},
                 cost_ledger:list(jobs_copy, #{}, #{limit => 1, payload => true})),
    ok = cost_ledger:record_invocation(jobs_copy, executing, #{cost => 1}),
    ok = cost_ledger:stop(jobs_copy).

a_restored_backup_is_the_ledger_as_it_was(Config) ->
    [Backup, Restored] = [in(Config, "backup"), in(Config, "restored")],
    {ok, Made} = cost_ledger:backup(?MODULE, Backup),
    {ok, Totals} = cost_ledger:totals(?MODULE, #{}),
    Self = self(),
    Progress = fun(_Done, _Total) -> Self ! progress end,
    ?assertEqual({ok, Made}, cost_ledger:restore(Backup, Restored, #{progress => Progress})),
    receive progress -> ok after 0 -> ct:fail(no_progress) end,
    ?assertEqual({ok, ["data.mdb"]}, file:list_dir(Backup)),
    {ok, Supervisor} = cost_ledger:start_link(#{name => jobs_restored, path => Restored}),
    true = unlink(Supervisor),
    ?assertEqual({ok, Totals}, cost_ledger:totals(jobs_restored, #{})),
    ok = cost_ledger:record_invocation(jobs_restored, executing, #{cost => 1}),
    ok = cost_ledger:stop(jobs_restored).

a_sound_ledger_is_found_to_be_so(_Config) ->
    Self = self(),
    Progress = fun(Done, Total) -> Self ! {progress, Done, Total} end,
    {ok, #{count := Count, findings := [], complete := true}} =
        cost_ledger:verify(?MODULE, #{progress => Progress}),
    ?assert(Count >= ?ENTRIES),
    receive {progress, _, _} -> ok after 0 -> ct:fail(no_progress) end.

a_report_is_one_file(Config) ->
    File = in(Config, "report.html"),
    {ok, #{bytes := Bytes}} = cost_ledger:report(?MODULE, File, #{since => 0}),
    {ok, <<"<!DOCTYPE html>", _/binary>> = Html} = file:read_file(File),
    ?assertEqual(Bytes, byte_size(Html)).

what_is_there_is_left_alone(Config) ->
    File = in(Config, "mine"),
    ok = file:write_file(File, "mine"),
    [?assertMatch({error, {exists, <<_/binary>>}}, Answer)
     || Answer <- [cost_ledger:export(?MODULE, csv, File, #{}), cost_ledger:report(?MODULE, File),
                   cost_ledger:backup(?MODULE, File)]],
    ?assertEqual({ok, <<"mine">>}, file:read_file(File)),
    ?assertEqual({ok, ["mine"]}, file:list_dir(?config(directory, Config))).

what_is_no_argument_is_refused(Config) ->
    File = in(Config, "nothing"),
    [?assertError(badarg, Call())
     || Call <- [fun() -> cost_ledger:export(?MODULE, xml, File, #{}) end,
                 fun() -> cost_ledger:export(?MODULE, csv, <<>>, #{}) end,
                 fun() -> cost_ledger:export(?MODULE, csv, File, #{colour => red}) end,
                 fun() -> cost_ledger:export(?MODULE, csv, File, #{}, #{columns => x}) end,
                 fun() -> cost_ledger:export(?MODULE, csv, File, #{}, #{timeout => -1}) end,
                 fun() -> cost_ledger:backup(?MODULE, 7) end,
                 fun() -> cost_ledger:backup(?MODULE, File, #{columns => [id]}) end,
                 fun() -> cost_ledger:restore(7, File) end,
                 fun() -> cost_ledger:restore(File, {a}) end,
                 fun() -> cost_ledger:restore(File, File, #{columns => [id]}) end,
                 fun() -> cost_ledger:report(?MODULE, File, #{since => yesterday}) end,
                 fun() -> cost_ledger:report(?MODULE, File, [since | 5]) end,
                 fun() -> cost_ledger:verify(?MODULE, #{progress => 5}) end]],
    ?assertEqual({ok, []}, file:list_dir(?config(directory, Config))).

%%% Damage -------------------------------------------------------------------------------------

%% LMDB follows what a page says: here that a payload is 4 GB long.
a_damaged_page_is_an_error_of_its_job_alone(Config) ->
    [Path, Restored] = [in(Config, "damaged"), in(Config, "restored")],
    {ok, Supervisor} = cost_ledger:start_link(#{name => damaged, path => Path}),
    true = unlink(Supervisor),
    {ok, Id} = cost_ledger:record(damaged, #{state => executing, intent => <<"a word to find">>}),
    ok = cost_ledger:stop(damaged),
    ok = lengthen(filename:join(Path, "data.mdb"), Id, <<"a word to find">>),
    Directory = unicode:characters_to_binary(Path),
    Verify = fun() -> cost_ledger_companion:run(verify, #{directory => Directory}, #{}) end,
    Self = self(),
    [begin
         Others = [spawn_link(fun() -> Self ! {self(), cost_ledger:verify(?MODULE)} end)
                   || _ <- [1, 2, 3]],
         {error, {damaged, Text}} = answered(Job),
         ?assertMatch({_, _}, binary:match(Text, <<"restore a backup">>)),
         [receive
              {Other, {ok, #{findings := []}}} -> ok;
              {Other, {error, {companion_died, _}}} -> ok
          end || Other <- Others]
     end || Job <- [Verify, fun() -> cost_ledger:restore(Path, Restored) end, Verify]],
    ?assertNot(filelib:is_file(Restored)),
    ?assertMatch({ok, #{findings := []}}, answered(fun() -> cost_ledger:verify(?MODULE) end)).

%% A node of a leaf page has two bytes each for its size, low and high, flags, and its key's size.
lengthen(File, Id, Word) ->
    {ok, Bytes} = file:read_file(File),
    Places = [At || {At, _} <- binary:matches(Bytes, <<8:16/little, Id:64>>),
                    binary:match(Bytes, Word, [{scope, {At, 100}}]) =/= nomatch],
    {ok, Data} = file:open(File, [read, write, raw, binary]),
    ok = file:pwrite(Data, [{At - 4, <<16#ffff:16>>} || At <- Places]),
    ?assertNotEqual([], Places),
    file:close(Data).

%%% Kills --------------------------------------------------------------------------------------

%% At any moment of it. A whole file may be there, if it was done; a part of one never is. A backup's
%% directory may be there under another name, which the next backup takes away.
a_killed_companion_leaves_nothing_of_its_job(Config) ->
    Backup = filename:join(?config(priv_dir, Config), "backup"),
    {ok, _} = answered(fun() -> cost_ledger:backup(?MODULE, Backup) end),
    Jobs = [{restore, fun(To) -> cost_ledger:restore(Backup, To) end},
            {csv, fun(To) -> cost_ledger:export(?MODULE, csv, To, #{}) end},
            {jsonl, fun(To) -> cost_ledger:export(?MODULE, jsonl, To, #{}) end},
            {report, fun(To) -> cost_ledger:report(?MODULE, To) end},
            {backup, fun(To) -> cost_ledger:backup(?MODULE, To) end},
            {verify, fun(_) -> cost_ledger:verify(?MODULE) end}],
    [kills(Config, Name, Job) || {Name, Job} <- Jobs],
    cost_ledger_test:remove(Backup),
    {ok, #{findings := []}} = answered(fun() -> cost_ledger:verify(?MODULE) end),
    ?assertEqual(ok, cost_ledger:record_invocation(?MODULE, executing, #{cost => 1})).

kills(Config, Name, Job) ->
    Whole = in(Config, "whole"),
    {Took, {ok, _}} = timer:tc(fun() -> answered(fun() -> Job(Whole) end) end),
    Size = bytes(Whole),
    cost_ledger_test:remove(Whole),
    Killer = cost_ledger_test:killer(),
    Answers = [killed(Config, Job, rand:uniform(Took), Size, Killer) || _ <- lists:seq(1, ?KILLS)],
    true = port_close(Killer),
    ct:pal("~s, which takes ~b us: ~b of ~b killed in it",
           [Name, Took, length([died || died <- Answers]), ?KILLS]),
    ?assert(lists:member(died, Answers)).

killed(Config, Job, AfterUs, Size, Killer) ->
    To = in(Config, "part"),
    %% It runs already: what is killed is the job.
    {ok, _} = answered(fun() -> cost_ledger:export(?MODULE, csv, in(Config, "one"),
                                                   #{user => <<"nobody">>}) end),
    ok = file:delete(in(Config, "one")),
    Pid = cost_ledger_companion:os_pid(),
    Self = self(),
    spawn_link(fun() -> Self ! {job, Job(To)} end),
    timer:sleep(AfterUs div 1000),
    true = cost_ledger_test:kill(Killer, Pid),
    Answer = receive {job, {ok, _}} -> done; {job, {error, {companion_died, _}}} -> died end,
    {ok, Left} = file:list_dir(?config(directory, Config)),
    Unfinished = [Of || Of <- Left, string:find(Of, "unfinished") =/= nomatch],
    ?assertEqual([], (Left -- Unfinished) -- ["part"]),
    ?assert(Answer =:= died orelse Size =:= none orelse lists:member("part", Left)),
    [?assertEqual(Size, bytes(To)) || lists:member("part", Left)],
    cost_ledger_test:remove(To),
    Answer.

%% The companion sees its input end and goes, whatever it is doing; the ledger can be opened at once.
a_killed_vm_leaves_nothing_of_its_jobs(Config) ->
    Path = in(Config, "ledger"),
    Output = in(Config, "output"),
    Backup = in(Config, "backup"),
    {ok, _} = answered(fun() -> cost_ledger:backup(?MODULE, Backup) end),
    [begin
         Peer = cost_ledger_test:start_vm(),
         {ok, _} = peer:call(Peer, application, ensure_all_started, [cost_ledger]),
         ok = peer:call(Peer, ?MODULE, open_here, [Path, 4000], 60000),
         {ok, _} = peer:call(Peer, cost_ledger, verify, [vm]),
         Companion = peer:call(Peer, cost_ledger_companion, os_pid, []),
         ok = peer:cast(Peer, cost_ledger, Job, Arguments),
         timer:sleep(AfterMs),
         ok = cost_ledger_test:kill_vm(Peer),
         Killed = erlang:monotonic_time(millisecond),
         ok = cost_ledger_test:eventually(fun() -> not is_running(Companion) end),
         ?assert(erlang:monotonic_time(millisecond) - Killed < 1000),
         {ok, Left} = file:list_dir(?config(directory, Config)),
         Unfinished = [Of || Of <- Left, string:find(Of, "unfinished") =/= nomatch],
         ?assertEqual([], (Left -- Unfinished) -- ["backup", "ledger", "output"]),
         ok = open_here(Path, 1),
         ?assertMatch({ok, #{findings := []}},
                      answered(fun() -> cost_ledger:verify(vm) end)),
         ok = cost_ledger:stop(vm),
         cost_ledger_test:remove(Output)
     end || {Job, Arguments} <- [{export, [vm, csv, Output, #{}]},
                                 {export, [vm, jsonl, Output, #{}]}, {report, [vm, Output]},
                                 {backup, [vm, Output]}, {restore, [Backup, Output]},
                                 {verify, [vm]}],
            AfterMs <- [0, 5]].

open_here(Path, Entries) ->
    {ok, Supervisor} = cost_ledger:start_link(#{name => vm, path => Path}),
    true = unlink(Supervisor),
    [ok = cost_ledger:record_invocation(vm, executing, #{cost => N})
     || N <- lists:seq(1, Entries)],
    ok.

is_running(Pid) ->
    case file:read_file("/proc/" ++ integer_to_list(Pid) ++ "/stat") of
        {ok, Stat} -> lists:nth(3, string:lexemes(Stat, " ")) =/= <<"Z">>;
        {error, _} -> false
    end.

bytes(Path) ->
    case filelib:is_dir(Path) of
        true -> filelib:file_size(filename:join(Path, "data.mdb"));
        false ->
            case filelib:is_file(Path) of
                true -> filelib:file_size(Path);
                false -> none
            end
    end.

%% One that was killed is started again, but not at once each time.
answered(Call) ->
    case Call() of
        {error, {Reason, _}} when Reason =:= companion_died; Reason =:= no_companion ->
            timer:sleep(20),
            answered(Call);
        Answer -> Answer
    end.
