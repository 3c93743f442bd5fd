%%% What the long jobs of the companion cost: an export beside the same rows out of SQLite, verifying
%%% in entries a second, how little the gate and a record notice, and how much memory it takes.
-module(cost_ledger_bench_companion).

-export([main/3]).

-import(cost_ledger_bench_tools, [open/2, close/1, fill/2, time/1, ratio/5, figure/3, median/1,
                                  repeat/2]).

-define(MILLION, 1000000).
-define(META, #{duration_ms => 1200, prompt_type => code_completion}).

%% Of two ledgers that are open, the one with 10,000 records of the kind of which the other has a
%% million, and of SQLite's file with the same records as that one.
-spec main(atom(), atom(), file:name_all()) -> ok.
main(Small, Ledger, Sqlite) ->
    {ok, _} = application:ensure_all_started(cost_ledger),
    io:format("~nthe companion, on the same 1,000,000 records~n"),
    figure("MiB of its own at most, exporting 10,000", most_mib(Small), ""),
    figure("MiB of its own at most, exporting 1,000,000", most_mib(Ledger), "(flat)"),
    ratio("export as CSV / sqlite3 -csv, to a file", 5, fun() -> export(Ledger) end,
          fun() -> sqlite_export(Sqlite) end, "<= 1"),
    plain(),
    verifying("records of 1 KB verified a second", Ledger, "(no limit)"),
    Gate = fun() -> time(fun() -> repeat(300000, fun() -> gate(Ledger) end) end) end,
    Record = fun() -> time(fun() -> repeat(300, fun() -> record(Ledger) end) end) end,
    ratio("check_budget, while an export runs / without one", 9,
          fun() -> while_exporting(Ledger, Gate) end, Gate, "<= 1.3"),
    ratio("record_invocation, while an export runs / without", 9,
          fun() -> while_exporting(Ledger, Record) end, Record, "<= 1.3"),
    ok.

%% What the limit is about: plain invocations.
plain() ->
    open(verified, get(options)),
    fill(verified, ?MILLION),
    verifying("invocations verified a second", verified, ">= 500000"),
    close(verified).

verifying(Title, Ledger, Limit) ->
    Rates = [begin
                 Began = erlang:monotonic_time(),
                 {ok, #{count := Count, findings := []}} =
                     cost_ledger:verify(Ledger, #{timeout => infinity}),
                 Took = erlang:monotonic_time() - Began,
                 Count * 1.0e9 / erlang:convert_time_unit(Took, native, nanosecond)
             end || _ <- lists:seq(1, 3)],
    figure(Title, median(Rates), Limit).

export(Ledger) ->
    File = output(),
    Took = time(fun() -> {ok, _} = cost_ledger:export(Ledger, csv, File, #{}, [{timeout, infinity}])
                end),
    ok = file:delete(File),
    Took.

%% The eight columns that an export has by default, in the same order.
sqlite_export(Sqlite) ->
    File = output(),
    Command = ["sqlite3 -csv -header ", Sqlite, " 'SELECT run_id, agent, status, cost, duration_ms, "
               "intent, created_at, error_message FROM records ORDER BY id' > ", File],
    Took = time(fun() -> "" = os:cmd(lists:flatten(Command)) end),
    ok = file:delete(File),
    Took.

output() -> filename:join(get(directory), "export.csv").

gate(Ledger) -> ok = cost_ledger:check_budget(Ledger, executing).
record(Ledger) -> ok = cost_ledger:record_invocation(Ledger, executing, ?META).

%% One that begins before Fun does and lasts longer.
while_exporting(Ledger, Fun) ->
    Self = self(),
    File = output(),
    Pid = spawn_link(fun() ->
                             Tell = fun(_, _) -> Self ! exporting end,
                             cost_ledger:export(Ledger, jsonl, File, #{}, #{progress => Tell})
                     end),
    receive exporting -> ok end,
    Took = Fun(),
    true = is_process_alive(Pid),
    true = unlink(Pid),
    Monitor = erlang:monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Monitor, _, _, _} -> ok end,
    drain(),
    false = filelib:is_file(File),
    Took.

drain() ->
    receive exporting -> drain()
    after 200 -> ok
    end.

%% Each time that it tells how far it is, and at the end.
most_mib(Ledger) ->
    Self = self(),
    File = output(),
    {ok, _} = cost_ledger:export(Ledger, jsonl, File, #{},
                                 #{timeout => infinity,
                                   progress => fun(_, _) -> Self ! {mib, own_mib()} end}),
    ok = file:delete(File),
    lists:max([own_mib() | told()]).

told() ->
    receive {mib, Mib} -> [Mib | told()]
    after 0 -> []
    end.

own_mib() ->
    {ok, Status} = file:read_file("/proc/" ++ integer_to_list(cost_ledger_companion:os_pid())
                                  ++ "/status"),
    {match, [Kib]} = re:run(Status, "RssAnon:\\s+([0-9]+)", [{capture, all_but_first, list}]),
    list_to_integer(Kib) / 1024.
