%%% The companion beside the VM: it dies alone, it goes when the VM goes, and nothing that is sent to
%%% it does harm.
-module(cost_ledger_companion_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(cost_ledger_test, [start_vm/0, kill_vm/1, eventually/1]).

-export([all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([a_job_tells_how_far_it_is_and_answers/1, jobs_run_beside_each_other/1,
         a_ledger_that_is_not_there_is_an_error/1,
         a_killed_companion_is_an_error_of_its_callers_alone/1,
         a_companion_that_does_not_answer_in_time_is_given_up/1,
         a_job_of_a_dead_caller_is_cancelled/1,
         the_companion_of_a_killed_vm_is_gone_within_a_second/1,
         a_killed_companion_leaves_no_reader_slot/1,
         what_is_no_request_is_answered_with_an_error/1,
         a_frame_that_is_too_large_or_cut_ends_it/1, random_frames_do_no_harm/1,
         more_jobs_than_it_runs_are_refused/1, it_is_started_only_when_it_is_needed/1,
         it_leaves_the_processors_to_the_vm/1]).

all() ->
    [a_job_tells_how_far_it_is_and_answers, jobs_run_beside_each_other,
     a_ledger_that_is_not_there_is_an_error, a_killed_companion_is_an_error_of_its_callers_alone,
     a_companion_that_does_not_answer_in_time_is_given_up, a_job_of_a_dead_caller_is_cancelled,
     the_companion_of_a_killed_vm_is_gone_within_a_second,
     a_killed_companion_leaves_no_reader_slot, what_is_no_request_is_answered_with_an_error,
     a_frame_that_is_too_large_or_cut_ends_it, random_frames_do_no_harm,
     more_jobs_than_it_runs_are_refused, it_is_started_only_when_it_is_needed,
     it_leaves_the_processors_to_the_vm].

-define(ENTRIES, 500).

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(cost_ledger),
    Path = filename:join(?config(priv_dir, Config), ?MODULE),
    {ok, Supervisor} = cost_ledger:start_link(#{name => ?MODULE, path => Path}),
    true = unlink(Supervisor),
    [ok = cost_ledger:record_invocation(?MODULE, executing, #{cost => N})
     || N <- lists:seq(1, ?ENTRIES)],
    [{ledger, Path} | Config].

end_per_suite(Config) ->
    ok = cost_ledger:stop(?MODULE),
    cost_ledger_test:remove(?config(ledger, Config)),
    ok = application:stop(cost_ledger),
    Config.

init_per_testcase(_Case, Config) -> Config.

%% A companion that a case stopped is not left so.
end_per_testcase(_Case, Config) ->
    case cost_ledger_companion:os_pid() of
        none -> ok;
        Pid -> signal("CONT", Pid)
    end,
    Config.

count(Config) -> count(Config, #{}).

count(Config, Options) ->
    Path = unicode:characters_to_binary(?config(ledger, Config)),
    cost_ledger_companion:run(count, #{directory => Path}, Options).

signal(Name, Pid) ->
    os:cmd(lists:flatten(io_lib:format("kill -~s ~b", [Name, Pid]))).

%% One that has ended and that nobody has waited for yet does not run.
running(Pid) ->
    case file:read_file(io_lib:format("/proc/~b/stat", [Pid])) of
        {ok, Stat} -> not lists:member(lists:nth(3, string:lexemes(Stat, " ")), [<<"Z">>, <<"X">>]);
        {error, _} -> false
    end.

%% A companion that is there, and its process.
pid(Config) ->
    %% One that was killed a moment ago may still take the job.
    ok = eventually(fun() -> count(Config) =:= {ok, #{count => ?ENTRIES}} end),
    Pid = cost_ledger_companion:os_pid(),
    ?assert(is_integer(Pid) andalso running(Pid)),
    Pid.

%% A job that waits in a companion that does not run; what it answers comes as {job, Answer}.
waiting_job(Config, Pid) ->
    Self = self(),
    _ = signal("STOP", Pid),
    spawn_link(fun() -> Self ! {job, count(Config)} end).

%%% Cases --------------------------------------------------------------------------------------

a_job_tells_how_far_it_is_and_answers(Config) ->
    Self = self(),
    Progress = fun(Done, Total) -> Self ! {progress, Done, Total} end,
    ?assertEqual({ok, #{count => ?ENTRIES}}, count(Config, #{progress => Progress})),
    receive {progress, ?ENTRIES, 0} -> ok after 0 -> ct:fail(no_progress) end.

jobs_run_beside_each_other(Config) ->
    Self = self(),
    [spawn_link(fun() -> Self ! count(Config) end) || _ <- lists:seq(1, 10)],
    [receive Answer -> ?assertEqual({ok, #{count => ?ENTRIES}}, Answer) end
     || _ <- lists:seq(1, 10)].

it_leaves_the_processors_to_the_vm(Config) ->
    ?assertEqual(min(19, 10 + niceness(list_to_integer(os:getpid()))), niceness(pid(Config))).

niceness(Pid) ->
    {ok, Stat} = file:read_file(io_lib:format("/proc/~b/stat", [Pid])),
    [_, Rest] = string:split(Stat, ")", trailing),
    binary_to_integer(lists:nth(17, string:lexemes(Rest, " "))).

a_ledger_that_is_not_there_is_an_error(Config) ->
    Nowhere = unicode:characters_to_binary(filename:join(?config(priv_dir, Config), "nowhere")),
    ?assertMatch({error, {no_such_path, <<_/binary>>}},
                 cost_ledger_companion:run(count, #{directory => Nowhere}, #{})),
    ?assertMatch({error, {bad_request, _}},
                 cost_ledger_companion:run(count, #{directory => 5}, #{})),
    ?assertMatch({error, {_, <<_/binary>>}},
                 cost_ledger_companion:run(no_such_job, #{directory => Nowhere}, #{})),
    ?assertEqual({ok, #{count => ?ENTRIES}}, count(Config)).

a_killed_companion_is_an_error_of_its_callers_alone(Config) ->
    Pid = pid(Config),
    _ = waiting_job(Config, Pid),
    _ = signal("KILL", Pid),
    receive {job, Answer} -> ?assertMatch({error, {companion_died, <<_/binary>>}}, Answer) end,
    ?assertEqual({ok, #{count => ?ENTRIES}}, count(Config)),
    ?assertNotEqual(Pid, cost_ledger_companion:os_pid()).


a_companion_that_does_not_answer_in_time_is_given_up(Config) ->
    Pid = pid(Config),
    _ = signal("STOP", Pid),
    ?assertEqual({error, timeout}, count(Config, #{timeout => 50})),
    _ = signal("CONT", Pid),
    ?assertMatch({ok, #{count := _}}, count(Config)),
    ?assertEqual(Pid, cost_ledger_companion:os_pid()).

a_job_of_a_dead_caller_is_cancelled(Config) ->
    Pid = pid(Config),
    Job = waiting_job(Config, Pid),
    true = unlink(Job),
    exit(Job, kill),
    _ = signal("CONT", Pid),
    ?assertMatch({ok, #{count := _}}, count(Config)),
    ?assertEqual(Pid, cost_ledger_companion:os_pid()).

the_companion_of_a_killed_vm_is_gone_within_a_second(Config) ->
    Peer = start_vm(),
    {ok, _} = peer:call(Peer, application, ensure_all_started, [cost_ledger]),
    Path = unicode:characters_to_binary(?config(ledger, Config)),
    {ok, _} = peer:call(Peer, cost_ledger_companion, run, [count, #{directory => Path}, #{}]),
    Companion = peer:call(Peer, cost_ledger_companion, os_pid, []),
    ?assert(running(Companion)),
    ok = kill_vm(Peer),
    Killed = erlang:monotonic_time(millisecond),
    eventually(fun() -> not running(Companion) end),
    ?assert(erlang:monotonic_time(millisecond) - Killed < 1000).

a_killed_companion_leaves_no_reader_slot(Config) ->
    [begin
         Pid = pid(Config),
         _ = signal("KILL", Pid),
         eventually(fun() -> not running(Pid) end)
     end || _ <- lists:seq(1, 5)],
    %% A slot that stayed would keep old pages from being used again.
    ?assert(is_integer(pid(Config))).

%%% Frames -------------------------------------------------------------------------------------

open() ->
    Program = filename:join(code:priv_dir(cost_ledger), "cost_ledger"),
    Port = open_port({spawn_executable, Program}, [{args, ["--port"]}, {packet, 4}, binary,
                                                   exit_status]),
    ?assertMatch([<<"hello">>, 1, _], answer(Port)),
    Port.

open_raw() ->
    Program = filename:join(code:priv_dir(cost_ledger), "cost_ledger"),
    open_port({spawn_executable, Program}, [{args, ["--port"]}, stream, binary, exit_status]).

answer(Port) ->
    receive {Port, {data, Frame}} -> cost_ledger_nif:from_msgpack(Frame)
    after 5000 -> ct:fail(no_answer)
    end.

send(Port, Term) ->
    true = port_command(Port, cost_ledger_nif:to_msgpack(Term)).

%% What has no meaning, then a job that has: it is answered as always.
assert_alive(Port, Config) ->
    Path = unicode:characters_to_binary(?config(ledger, Config)),
    send(Port, [77, <<"count">>, #{directory => Path}]),
    case until(Port, 77) of
        <<"ok">> -> ok;
        %% Those that were sent before may still take all the threads there are.
        <<"error">> -> timer:sleep(20), assert_alive(Port, Config)
    end.

until(Port, Id) ->
    case answer(Port) of
        [Id, Kind | _] when Kind =/= <<"progress">> -> Kind;
        _ -> until(Port, Id)
    end.

what_is_no_request_is_answered_with_an_error(Config) ->
    Port = open(),
    [begin
         send(Port, Wrong),
         ?assertMatch([_, <<"error">>, <<"bad_request">>, <<_/binary>>], answer(Port))
     end || Wrong <- [5, <<>>, [], [1], [0, <<"count">>, #{}], [-1, <<"count">>, #{}],
                      [1, <<"count">>], [1, count, 5], [1, <<"cancel">>, #{}],
                      [1, <<"count">>, #{}, 4], [1, <<"count">>, #{nonsense => 1}],
                      [1, <<"count">>, #{directory => <<0>>}],
                      [1, <<"count">>, #{kinds => [99]}], [1, <<"count">>, #{names => #{x => 1}}],
                      [1, <<"count">>, #{since => -5}], [1, binary:copy(<<"x">>, 100), #{}]]],
    true = port_command(Port, <<>>),
    ?assertMatch([0, <<"error">>, <<"bad_request">>, _], answer(Port)),
    assert_alive(Port, Config),
    true = port_close(Port).

a_frame_that_is_too_large_or_cut_ends_it(_Config) ->
    [begin
         Port = open_raw(),
         true = port_command(Port, Bytes),
         receive {Port, {exit_status, _}} -> ok after 5000 -> ct:fail(still_there) end
     end || Bytes <- [<<16#7fffffff:32>>, <<16#00100001:32, 0>>]],
    Cut = open_raw(),
    {os_pid, Pid} = erlang:port_info(Cut, os_pid),
    true = port_command(Cut, <<100:32, 1, 2, 3>>),
    true = port_close(Cut),
    eventually(fun() -> not running(Pid) end).

random_frames_do_no_harm(Config) ->
    Port = open(),
    [true = port_command(Port, frame(N)) || N <- lists:seq(1, 2000)],
    assert_alive(Port, Config),
    true = port_close(Port).

frame(N) when N rem 2 =:= 0 ->
    rand:bytes(rand:uniform(60));
frame(N) ->
    Whole = cost_ledger_nif:to_msgpack([N, <<"count">>, #{directory => <<"/">>, since => N}]),
    At = rand:uniform(byte_size(Whole)) - 1,
    <<Before:At/binary, _, After/binary>> = Whole,
    <<Before/binary, (rand:uniform(256) - 1), After/binary>>.

more_jobs_than_it_runs_are_refused(Config) ->
    Port = open(),
    Path = unicode:characters_to_binary(?config(ledger, Config)),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    _ = signal("STOP", Pid),
    [send(Port, [Id, <<"count">>, #{directory => Path}]) || Id <- lists:seq(1, 200)],
    _ = signal("CONT", Pid),
    Answers = [final(Port) || _ <- lists:seq(1, 200)],
    ?assert(length([ok || [_, <<"ok">>, _] <- Answers]) >= 16),
    ?assertEqual(200, length([Id || [Id | _] <- Answers])),
    true = port_close(Port).

final(Port) ->
    case answer(Port) of
        [_, <<"progress">> | _] -> final(Port);
        Answer -> Answer
    end.

it_is_started_only_when_it_is_needed(_Config) ->
    ok = application:stop(cost_ledger),
    ?assertMatch({error, {no_companion, _}}, cost_ledger_companion:run(count, #{}, #{})),
    {ok, _} = application:ensure_all_started(cost_ledger),
    ?assertEqual(none, cost_ledger_companion:os_pid()).
