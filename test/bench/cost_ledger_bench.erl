%%% What the ledger costs, each figure as a ratio to a peer or a limit measured in the same run:
%%% the two take turns, round by round, and the median of the rounds' ratios is printed, with the
%%% lowest and the highest. Reads of a million records, in microseconds, are single calls: the median,
%%% and what a tenth took at most and at least. Run by `make bench`; a part of it by
%%% `make bench BENCH=records`.
%%%
%%% The VM runs with +IOs false. By itself it lets one scheduler look after sockets and files, and
%%% when that is the scheduler that waits for a dirty call it sleeps after a few microseconds: the
%%% same calls then take 10 us or 40, by chance and for as long as the VM lives (what a call does
%%% besides comes on top). The reads of a million records are shown in such a VM as well.
%%%
%%% The peers are what the GenServer ledger that this replaces did:
%%%   gate    two ets:lookup in a read_concurrency table, on {hourly, State} and {daily, State}
%%%   record  dets:insert and dets:sync of the same record
%%%   path    the same two calls behind one gen_server
-module(cost_ledger_bench).
-behaviour(gen_server).

-export([main/1]).

-import(cost_ledger_bench_tools, [open/1, open/2, close/1, time/1, parallel/2, rate/3, repeat/2,
                                  fill/2, ratio/5, figure/3, median/1, used_bytes/1]).
-export([init/1, handle_call/3, handle_cast/2]).

-define(STATE, executing).
-define(META, #{duration_ms => 1200, prompt_type => code_completion}).
-define(MILLION, 1000000).

%% In a process of its own: that of the command line traps exits, and every caller that ends would
%% leave it a message to be looked at again at each dirty call.
-spec main([string()]) -> no_return().
main(Arguments) ->
    {_, Monitor} = spawn_monitor(fun() -> run(Arguments) end),
    receive
        {'DOWN', Monitor, process, _, normal} ->
            halt(0);
        {'DOWN', Monitor, process, _, Reason} ->
            io:format(standard_error, "~p~n", [Reason]),
            halt(1)
    end.

%% All of it, or the parts that are named.
run([Directory | Parts]) ->
    _ = file:del_dir_r(Directory),
    ok = filelib:ensure_path(Directory),
    %% An hour's cap must not be met: a denial is another path.
    Budgets = #{?STATE => #{max_per_hour => infinity, max_per_day => infinity}},
    put(directory, Directory),
    put(options, #{budgets => Budgets}),
    io:format("~n~-52ts ~8ts ~18ts  ~ts~n",
              ["ratio to the peer of the same run", "median", "(low .. high)", "limit"]),
    [part(Part) || Part <- ["invocations", "budgets", "million", "records"],
                   Parts =:= [] orelse lists:member(Part, Parts)],
    io:nl(),
    _ = file:del_dir_r(Directory),
    ok.

part("invocations") ->
    gate(),
    record_one(),
    record_many();
part("budgets") ->
    cost_ledger_bench_budgets:main();
part("million") ->
    at_a_million();
part("records") ->
    cost_ledger_bench_records:main().

%%% The gate -----------------------------------------------------------------------------------

gate() ->
    open(default),
    Table = ets:new(budget, [public, named_table, set, {read_concurrency, true}]),
    true = ets:insert(Table, [{{hourly, ?STATE}, 3}, {{daily, ?STATE}, 5}]),
    gate("check_budget / two ets:lookup, one process, idle", 1),
    gate("check_budget / two ets:lookup, two processes, idle", 2),
    Recorders = recorders(100, default),
    gate("the same, one process, while 100 record", 1),
    gate("the same, two processes, while 100 record", 2),
    stop_recorders(Recorders),
    close(default).

gate(Title, Processes) ->
    Ours = fun() -> per_call(Processes, fun check_budget/1) end,
    Peer = fun() -> per_call(Processes, fun lookups/1) end,
    ratio(Title, 15, Ours, Peer, "<= 0.30").

%% Through the default ledger, as a hub calls it.
check_budget(0) -> ok;
check_budget(N) ->
    ok = cost_ledger:check_budget(?STATE),
    check_budget(N - 1).

lookups(0) -> ok;
lookups(N) ->
    [{_, _}] = ets:lookup(budget, {hourly, ?STATE}),
    [{_, _}] = ets:lookup(budget, {daily, ?STATE}),
    lookups(N - 1).

%% Nanoseconds a call, in fresh processes that start together.
per_call(Processes, Loop) ->
    Calls = 300000,
    lists:sum(parallel(Processes, fun() -> time(fun() -> Loop(Calls) end) end))
        / Processes / Calls.

recorders(Count, Ledger) ->
    [spawn_link(fun() -> record_for_ever(Ledger) end) || _ <- lists:seq(1, Count)].

record_for_ever(Ledger) ->
    ok = cost_ledger:record_invocation(Ledger, ?STATE, ?META),
    receive stop -> ok
    after 0 -> record_for_ever(Ledger)
    end.

stop_recorders(Pids) ->
    Monitors = [begin Pid ! stop, erlang:monitor(process, Pid) end || Pid <- Pids],
    [receive {'DOWN', Monitor, _, _, _} -> ok end || Monitor <- Monitors].

%%% Recording ----------------------------------------------------------------------------------

record_one() ->
    open(one),
    _ = fill(one, 1000),
    ratio("record_invocation / dets insert+sync, at 1,000", 9,
          fun() -> records(one, 300) end, fun() -> dets_records(300) end, "<= 1.3"),
    close(one).

%% Nanoseconds a record.
records(Ledger, Count) ->
    time(fun() ->
                 [ok = cost_ledger:record_invocation(Ledger, ?STATE, ?META)
                  || _ <- lists:seq(1, Count)]
         end) / Count.

%% Into an empty table, every round.
dets_records(Count) ->
    with_dets(fun(Table) ->
                      time(fun() -> [insert_and_sync(Table) || _ <- lists:seq(1, Count)] end)
                          / Count
              end).

with_dets(Fun) ->
    File = filename:join(get(directory), "peer.dets"),
    {ok, Table} = dets:open_file(peer, [{file, File}, {type, set}]),
    Result = Fun(Table),
    ok = dets:close(Table),
    ok = file:delete(File),
    Result.

insert_and_sync(Table) ->
    Id = erlang:unique_integer([positive]),
    ok = dets:insert(Table, {Id, #{id => Id, hub_state => ?STATE, duration_ms => 1200,
                                   timestamp => erlang:system_time(millisecond),
                                   prompt_type => code_completion}}),
    ok = dets:sync(Table).

record_many() ->
    open(many),
    Ours = fun() -> rate(1000, 100, fun() ->
                                            ok = cost_ledger:record_invocation(many, ?STATE,
                                                                               ?META)
                                    end) end,
    Dets = fun() ->
                   with_dets(fun(Table) ->
                                     rate(1000, 5, fun() -> insert_and_sync(Table) end)
                             end)
           end,
    Path = fun() ->
                   with_dets(fun(Table) ->
                                     {ok, Server} = gen_server:start_link(?MODULE, Table, []),
                                     Rate = rate(1000, 2, fun() ->
                                                     ok = gen_server:call(Server, record, infinity)
                                                          end),
                                     gen_server:stop(Server),
                                     Rate
                             end)
           end,
    ratio("records/s / dets insert+sync, 1,000 callers each", 5, Ours, Dets, ">= 10"),
    ratio("records/s / gen_server path, 1,000 callers each", 5, Ours, Path, ">= 50"),
    io:format("~-52ts ~8ts~n", ["    (records a second, 1,000 callers)",
                                integer_to_list(round(Ours()))]),
    close(many).

init(Table) -> {ok, Table}.
handle_call(record, _From, Table) ->
    insert_and_sync(Table),
    {reply, ok, Table}.
handle_cast(_, Table) -> {noreply, Table}.

%%% A million entries ---------------------------------------------------------------------------

at_a_million() ->
    open(small),
    _ = fill(small, 1000),
    open(large),
    io:format(standard_error, "(booking a million entries ...)~n", []),
    _ = fill(large, ?MILLION),
    ratio("record_invocation at 1,000,000 entries / at 1,000", 9,
          fun() -> records(large, 300) end, fun() -> records(small, 300) end, "<= 1.3"),
    ratio("record_invocation / dets insert+sync, at 1,000,000", 9,
          fun() -> records(large, 300) end, fun() -> dets_records(300) end, "<= 1.3"),
    ratio("stats at 1,000,000 entries / at 1,000", 15,
          fun() -> stats(large) end, fun() -> stats(small) end, "<= 1.5"),
    #{session := #{total := Entries}} = cost_ledger:stats(large),
    close(small),
    close(large),
    Bytes = used_bytes(filename:join(get(directory), large)),
    figure("bytes of file an invocation", Bytes / Entries, "<= 200"),
    Opens = [begin
                 T = time(fun() -> open(large) end),
                 close(large),
                 T / 1.0e6
             end || _ <- lists:seq(1, 7)],
    figure("opening a ledger with 1,000,000 entries, ms", median(Opens), "< 50").

stats(Ledger) ->
    time(fun() -> repeat(2000, fun() -> #{} = cost_ledger:stats(Ledger) end) end) / 2000.
