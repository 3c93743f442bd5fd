%%% What the suites share: directories that go away, ledgers on a manual clock, VMs of their own,
%%% and events caught as messages.
-module(cost_ledger_test).

-export([directory/1, remove/1, open/2, open/3, at/2, fold/2, counts/2]).
-export([start_vm/0, start_vm/1, stop_vm/1, kill_vm/1, catch_events/1, release_events/1]).
-export([killer/0, kill/2, eventually/1, parallel/2]).

%% A path that is not there yet, unique to this call, below the case's own directory.
directory(Config) ->
    Name = "ledger-" ++ integer_to_list(erlang:unique_integer([positive])) ++ "-" ++ os:getpid(),
    filename:join(proplists:get_value(priv_dir, Config, "/tmp"), Name).

remove(Directory) ->
    _ = file:del_dir_r(Directory),
    ok.

%% Opens a ledger with a name of its own on a manual clock, not linked to the caller.
open(Directory, Options) ->
    open(list_to_atom("ledger_" ++ integer_to_list(erlang:unique_integer([positive]))),
         Directory, Options).

open(Name, Directory, Options) ->
    Self = self(),
    All = maps:merge(#{name => Name, path => Directory, clock => manual}, Options),
    {Pid, Monitor} = spawn_monitor(fun() ->
                                           %% As a supervisor would: a failed start exits.
                                           _ = process_flag(trap_exit, true),
                                           Result = cost_ledger:start_link(All),
                                           case Result of
                                               {ok, Supervisor} -> unlink(Supervisor);
                                               _ -> ok
                                           end,
                                           Self ! {self(), Result}
                                   end),
    receive
        {Pid, {ok, _}} -> erlang:demonitor(Monitor, [flush]), Name;
        {Pid, Error} -> erlang:demonitor(Monitor, [flush]), Error;
        {'DOWN', Monitor, process, Pid, Reason} -> {error, Reason}
    end.

%% Sets the clock of a manual ledger and answers the time.
at(Ledger, Ms) ->
    ok = cost_ledger:set_clock(Ledger, Ms),
    Ms.

%% Every invocation in the ledger, oldest first, as history tells it.
fold(Ledger, Fun) ->
    [Fun(Record) || Record <- lists:reverse(cost_ledger:history(Ledger, #{limit => 1 bsl 40}))].

%% Counts of the last hour, day and of all time by counting the entries one by one.
counts(Ledger, NowMs) ->
    Records = cost_ledger:history(Ledger, #{limit => 1 bsl 40}),
    Count = fun(From) ->
                    lists:foldl(fun(#{state := State, timestamp := At}, Acc) when At >= From ->
                                        maps:update_with(State, fun(N) -> N + 1 end, 1,
                                                         maps:update_with(total,
                                                                          fun(N) -> N + 1 end, 1,
                                                                          Acc));
                                   (_, Acc) -> Acc
                                end, #{}, Records)
            end,
    #{hourly => Count(NowMs - 3600000), daily => Count(NowMs - 86400000), session => Count(0)}.

%% A VM in an OS process of its own, spoken to over its standard input and output.
start_vm() -> start_vm(#{}).

start_vm(Options) ->
    {ok, Peer, _Node} =
        peer:start(maps:merge(#{connection => standard_io,
                                args => ["-pa" | code:get_path()], wait_boot => 60000}, Options)),
    Peer.

stop_vm(Peer) ->
    catch peer:stop(Peer),
    ok.

%% As the machine would: nothing in the VM gets a chance to run.
kill_vm(Peer) ->
    OsPid = peer:call(Peer, os, getpid, []),
    Monitor = erlang:monitor(process, Peer),
    unlink(Peer),
    os:cmd("kill -9 " ++ OsPid),
    receive {'DOWN', Monitor, process, Peer, _} -> ok
    after 10000 -> error(vm_did_not_die)
    end.

%% A shell that is there already: what is to be killed may be over before a process has started.
killer() ->
    open_port({spawn_executable, "/bin/sh"}, []).

kill(Killer, OsPid) ->
    true = port_command(Killer, ["kill -KILL ", integer_to_list(OsPid), $\n]).

%% Every event of the ledger becomes {event, Name, Measurements, Metadata} to the caller.
catch_events(Ledger) ->
    Self = self(),
    Id = list_to_atom("catch_" ++ integer_to_list(erlang:unique_integer([positive]))),
    ok = logger:add_handler(Id, cost_ledger_test_handler, #{config => {Ledger, Self}}),
    Id.

release_events(Id) ->
    ok = logger:remove_handler(Id).

eventually(Fun) -> eventually(Fun, 500).

eventually(Fun, 0) -> error({never, Fun()});
eventually(Fun, N) ->
    case Fun() of
        true -> ok;
        _ -> timer:sleep(10), eventually(Fun, N - 1)
    end.

%% Runs Fun in so many processes at once and waits for all of them.
parallel(Count, Fun) ->
    Pids = [spawn_monitor(Fun) || _ <- lists:seq(1, Count)],
    [receive {'DOWN', Monitor, process, Pid, Reason} -> normal = Reason end
     || {Pid, Monitor} <- Pids],
    ok.
