%%% What a million records of real shape cost to book, to list, to sum up and to find: against
%%% limits, against ten thousand of them, against plain invocations, and against SQLite, which has
%%% the same records (see cost_ledger_bench_sqlite).
-module(cost_ledger_bench_records).

-export([main/0, read_by_default/2]).

-import(cost_ledger_bench_tools, [open/2, close/1, time/1, parallel/2, parallel_with/2, rate/4,
                                  ratio/5, figure/3, figure/4, median/1, used_bytes/1]).

-define(META, #{duration_ms => 1200, prompt_type => code_completion}).
-define(MILLION, 1000000).
-define(SMALL, 10000).
-define(FIRST_MS, 1750000000000).
%% A million of them are 30 days; fewer are the same traffic for less long.
-define(APART_MS, (30 * 86400000 div ?MILLION)).
%% All of them within an hour.
-define(BURST, 100000).
-define(BURST_APART_MS, (3600000 div ?BURST)).
-define(SERIES, [[project], [user], [agent], [model], [project, agent], [project, status]]).
-define(PAGE, #{limit => 50}).
-define(LOADERS, 1000).
%% Every so many loaders, one moves the clock.
-define(CLOCKS, 25).
%% Rows that are sent together, so many times at most, and rows of one transaction of SQLite.
-define(COPIED_AT_ONCE, 100).
-define(COPIES_ON_THE_WAY, 5).
-define(COPIED_IN_ONE, 20000).
%% Records that are booked in the rounds have numbers that none of the loaded ones has.
-define(ROUNDS_FROM, 10000000).

-spec main() -> ok.
main() ->
    put(numbers, atomics:new(1, [])),
    dimensions(),
    load(small_records, ?SMALL, ?APART_MS),
    load(large_records, ?MILLION, ?APART_MS),
    figure("bytes of file a record, at 1,000,000", bytes_of(large_records), "<= 2000"),
    [row(Row) || Row <- reads()],
    burst(),
    flat(),
    by_default(),
    sqlite(),
    close(small_records),
    close(large_records).

%%% Booking ------------------------------------------------------------------------------------

%% Plain invocations in a ledger of their own. What the limit is about has five dimensions, a cost,
%% tokens and a breakdown. A run_id of its own, in no order, makes a record touch a page more.
dimensions() ->
    open(plain, get(options)),
    open(named, (get(options))#{series => ?SERIES}),
    Numbers = get(numbers),
    Plain = fun() ->
                    rate(1000, 30, fun() -> ok end,
                         fun(_) -> ok = cost_ledger:record_invocation(plain, executing, ?META) end)
            end,
    Booked = fun(Make) ->
                     fun() ->
                             rate(1000, 15, fun() -> Make(next(Numbers)) end,
                                  fun(Record) -> {ok, _} = cost_ledger:record(named, Record) end)
                     end
             end,
    ratio("records/s, five dimensions / plain, 1,000 callers", 7,
          Booked(fun cost_ledger_bench_shape:unnamed/1), Plain, ">= 0.30"),
    ratio("the same with a run_id / plain", 7,
          Booked(fun cost_ledger_bench_shape:bare/1), Plain, "(no limit)"),
    ratio("and with a payload of 1 KB / plain", 7,
          Booked(fun cost_ledger_bench_shape:record/1), Plain, "(no limit)"),
    close(plain),
    close(named).

next(Numbers) -> ?ROUNDS_FROM + atomics:add_get(Numbers, 1, 1).

loaded_options() -> (get(options))#{series => ?SERIES, clock => manual}.

%% Many callers book while some of them move the clock, so that what is committed together lies
%% close to each other in time.
load(Ledger, Count, ApartMs) ->
    open(Ledger, loaded_options()),
    ok = cost_ledger:set_clock(Ledger, ?FIRST_MS),
    Progress = progress("booked", Count),
    Each = Count div ?LOADERS,
    Took = time(fun() -> parallel_with(
                           lists:seq(0, ?LOADERS - 1),
                           fun(I) -> load(Ledger, I, Each, ApartMs, Progress) end)
                end),
    io:format(standard_error, "(~b records a second)~n", [round(Count * 1.0e9 / Took)]),
    %% Where the spread ends, whatever the last ones found.
    ok = cost_ledger:advance_clock(Ledger, 1).

load(_Ledger, _I, 0, _ApartMs, _Progress) ->
    ok;
load(Ledger, I, Left, ApartMs, Progress) ->
    case I rem ?CLOCKS of
        0 -> ok = cost_ledger:advance_clock(Ledger, ?CLOCKS * ApartMs);
        _ -> ok
    end,
    {ok, _} = cost_ledger:record(Ledger, cost_ledger_bench_shape:record(I + ?LOADERS * (Left - 1))),
    Progress(1),
    load(Ledger, I, Left - 1, ApartMs, Progress).

progress(What, Count) when Count < ?MILLION ->
    io:format(standard_error, "(~ts: ~b records ...)~n", [What, Count]),
    fun(_) -> ok end;
progress(What, Count) ->
    Counter = atomics:new(1, []),
    Step = Count div 5,
    fun(More) ->
            Now = atomics:add_get(Counter, 1, More),
            case Now div Step > (Now - More) div Step of
                true -> io:format(standard_error, "(~ts: ~b of ~b records ...)~n",
                                  [What, Now, Count]);
                false -> ok
            end
    end.

bytes_of(Ledger) ->
    used_bytes(filename:join(get(directory), Ledger)) / ?MILLION.

%%% Reading, against limits ----------------------------------------------------------------------

reads() ->
    [{"us a first page of 50, of a project", 300, fun page/1, fun project/0, "< 100"},
     {"us a first page, of a project's agent", 300, fun page/1, fun project_and_agent/0, "< 100"},
     {"us a first page, of a user", 300, fun page/1, fun user/0, "< 100"},
     {"us a first page, of what failed in a project", 300, fun page/1, fun failed_in_project/0,
      "< 100"},
     {"us the totals of a project over a random range", 1000, totals_of(large_records),
      fun project_and_range/0, "< 100"},
     {"us the totals of everything over a random range", 1000, totals_of(large_records),
      fun() -> {#{}, range(?MILLION)} end, "< 100"},
     {"us a record by its run_id", 2000, fun fetch/1, fun run_id/0, "< 20"}].

%% However many records lie between the ends of a range and the next midnight.
burst() ->
    load(burst_records, ?BURST, ?BURST_APART_MS),
    row({"us the totals over a part of an hour of 100,000", 1000, totals_of(burst_records),
         fun() -> {#{}, range(?BURST, ?BURST_APART_MS)} end, "< 100"}),
    close(burst_records).

%% The same in a VM as it starts by itself (cost_ledger_bench says what the other has).
by_default() ->
    close(large_records),
    {ok, Peer, _Node} =
        peer:start_link(#{connection => standard_io, args => ["-pa" | code:get_path()],
                          env => [{Name, ""} || Name <- ["ERL_FLAGS", "ERL_AFLAGS", "ERL_ZFLAGS"]]}),
    Rows = peer:call(Peer, ?MODULE, read_by_default, [get(directory), get(options)], infinity),
    ok = peer:stop(Peer),
    io:format("~nin a VM without +IOs false~n"),
    [figure(Title, Median, Spread, "(no limit)") || {Title, Median, Spread} <- Rows],
    open(large_records, loaded_options()),
    ok.

-spec read_by_default(file:filename(), map()) -> [{string(), float(), iolist()}].
read_by_default(Directory, Options) ->
    {ok, _} = application:ensure_all_started(cost_ledger),
    put(directory, Directory),
    put(options, Options),
    open(large_records, loaded_options()),
    Rows = [measured(Row) || Row <- reads()],
    close(large_records),
    Rows.

page(Filter) ->
    {ok, #{records := [_ | _] = Records}} = cost_ledger:list(large_records, Filter, ?PAGE),
    Records.

project() -> #{project => cost_ledger_bench_shape:project(rand:uniform(20) - 1)}.
failed_in_project() -> (project())#{status => failed}.
user() -> #{user => cost_ledger_bench_shape:user(rand:uniform(200) - 1)}.
project_and_agent() ->
    (project())#{agent => cost_ledger_bench_shape:agent(rand:uniform(12) - 1)}.

totals_of(Ledger) -> fun({Filter, Range}) -> totals(Ledger, Filter, Range) end.

%% The same question, about as long a time: anywhere in a month, or in the seven hours that there are.
flat() ->
    ratio("totals of 0 to 7 hours, 1,000,000 records / 10,000", 15,
          fun() -> per_call(1000, totals_of(large_records),
                            fun() -> later(project_and_range(?SMALL)) end) end,
          fun() -> per_call(1000, totals_of(small_records),
                            fun() -> project_and_range(?SMALL) end) end,
          "<= 1.5").

later({Filter, {Since, Until}}) ->
    By = rand:uniform((?MILLION - ?SMALL) * ?APART_MS),
    {Filter, {Since + By, Until + By}}.

project_and_range() -> project_and_range(?MILLION).

project_and_range(Count) -> {project(), range(Count)}.

range(Count) -> range(Count, ?APART_MS).

range(Count, ApartMs) ->
    A = rand:uniform(Count * ApartMs), B = rand:uniform(Count * ApartMs),
    {?FIRST_MS + min(A, B), ?FIRST_MS + max(A, B)}.

totals(Ledger, Filter, {Since, Until}) ->
    {ok, Totals} = cost_ledger:totals(Ledger, Filter#{since => Since, until => Until}),
    Totals.

run_id() -> cost_ledger_bench_shape:run_id(rand:uniform(?MILLION) - 1).

fetch(RunId) ->
    {ok, #{run_id := RunId} = Record} = cost_ledger:fetch_run(large_records, RunId),
    Record.

row({_, _, _, _, Limit} = Row) ->
    {Title, Median, Spread} = measured(Row),
    figure(Title, Median, Spread, Limit).

%% Microseconds of single calls: what half of them took at most; and what a tenth of them took at
%% most, and at least. In several processes, one after the other.
measured({Title, Calls, Fun, Question, _Limit}) ->
    _ = each_call(Calls, Fun, Question),
    Times = lists:sort(lists:append([each_call(Calls, Fun, Question) || _ <- lists:seq(1, 11)])),
    Tenth = length(Times) div 10,
    [Low, High] = [lists:nth(N, Times) / 1000 || N <- [Tenth, length(Times) - Tenth]],
    {Title, median(Times) / 1000, io_lib:format("(~.1f .. ~.1f)", [Low, High])}.

each_call(Calls, Fun, Question) ->
    Questions = [Question() || _ <- lists:seq(1, Calls)],
    [Times] = parallel(1, fun() -> [time(fun() -> Fun(Each) end) || Each <- Questions] end),
    Times.

%% Nanoseconds of one call, in a process of its own; what is asked was made up before.
per_call(Calls, Fun, Question) ->
    Questions = [Question() || _ <- lists:seq(1, Calls)],
    [Took] = parallel(1, fun() -> time(fun() -> lists:foreach(Fun, Questions) end) end),
    Took / Calls.

%%% Beside SQLite --------------------------------------------------------------------------------

sqlite() ->
    File = filename:join(get(directory), "peer.sqlite"),
    Peer = cost_ledger_bench_sqlite:open(File),
    copy(Peer),
    say_the_same(Peer),
    io:format("~nours / SQLite, WAL, synchronous=FULL, 1,000,000 records~n"),
    beside("first page of 50, of a project", 300, fun page/1, 50,
           fun(#{project := Project}) -> cost_ledger_bench_sqlite:page(Peer, Project) end,
           fun project/0),
    beside("first page, of a project's agent", 300, fun page/1, 50,
           fun(#{project := Project, agent := Agent}) ->
                   cost_ledger_bench_sqlite:page(Peer, Project, Agent)
           end, fun project_and_agent/0),
    beside("first page, of what failed in a project", 300, fun page/1, 50,
           fun(#{project := Project}) -> cost_ledger_bench_sqlite:failed(Peer, Project) end,
           fun failed_in_project/0),
    beside("sums of a project over a random range", 1000,
           fun({Filter, Range}) -> totals(large_records, Filter, Range) end, 10,
           fun({#{project := Project}, {Since, Until}}) ->
                   cost_ledger_bench_sqlite:sums(Peer, Project, Since, Until)
           end, fun project_and_range/0),
    beside("one record by its run_id", 2000, fun fetch/1, 1000,
           fun(RunId) -> cost_ledger_bench_sqlite:get(Peer, RunId) end, fun run_id/0),
    OurBytes = bytes_of(large_records),
    Bytes = used_bytes(File) / ?MILLION,
    ratio(io_lib:format("bytes of file a record (~b / ~b)", [round(OurBytes), round(Bytes)]), 1,
          fun() -> OurBytes end, fun() -> Bytes end, "< 1"),
    booking(Peer),
    cost_ledger_bench_companion:main(small_records, large_records, File),
    cost_ledger_bench_sqlite:close(Peer),
    [ok = file:delete(Name) || Name <- filelib:wildcard(File ++ "*")],
    ok.

%% Both are asked alike; SQLite less often, where that takes it long.
beside(Title, OurCalls, Ours, PeerCalls, Peer, Question) ->
    ratio(Title, 11, fun() -> per_call(OurCalls, Ours, Question) end,
          fun() -> per_call(PeerCalls, Peer, Question) end, "< 1").

%% The rows of SQLite are made of what the ledger has, and have its ids.
copy(Peer) ->
    Self = self(),
    Progress = progress("copied to SQLite", ?MILLION),
    Inserter = spawn_link(fun() ->
                                  [Self ! {self(), ready}
                                   || _ <- lists:seq(1, ?COPIES_ON_THE_WAY)],
                                  insert(Peer, Self, Progress, ?MILLION)
                          end),
    Took = time(fun() ->
                        {ok, {[], 0}} =
                            cost_ledger:fold(large_records, #{},
                                             fun(Record, Acc) -> add(Record, Acc, Inserter) end,
                                             {[], 0}),
                        [receive {Inserter, ready} -> ok end
                         || _ <- lists:seq(1, ?COPIES_ON_THE_WAY)]
                end),
    io:format(standard_error, "(~b records a second)~n", [round(?MILLION * 1.0e9 / Took)]),
    ok = cost_ledger_bench_sqlite:checkpoint(Peer).

%% The next rows are made while those before are inserted; a hundred at a time, because processes
%% with much in them are busy collecting garbage.
add(Record, {Rows, Count}, _Inserter) when Count + 1 < ?COPIED_AT_ONCE ->
    {[cost_ledger_bench_sqlite:row(Record) | Rows], Count + 1};
add(Record, {Rows, _Count}, Inserter) ->
    receive {Inserter, ready} -> ok end,
    Inserter ! {rows, lists:reverse([cost_ledger_bench_sqlite:row(Record) | Rows])},
    {[], 0}.

insert(_Peer, _From, _Progress, 0) ->
    ok;
insert(Peer, From, Progress, Left) ->
    ok = case Left rem ?COPIED_IN_ONE of
             0 -> cost_ledger_bench_sqlite:begin_transaction(Peer);
             _ -> ok
         end,
    receive {rows, Rows} -> ok = cost_ledger_bench_sqlite:insert(Peer, Rows) end,
    Progress(?COPIED_AT_ONCE),
    ok = case (Left - ?COPIED_AT_ONCE) rem ?COPIED_IN_ONE of
             0 -> cost_ledger_bench_sqlite:commit(Peer);
             _ -> ok
         end,
    From ! {self(), ready},
    insert(Peer, From, Progress, Left - ?COPIED_AT_ONCE).

%% What is measured would be worth nothing otherwise.
say_the_same(Peer) ->
    lists:foreach(
      fun(_) ->
              #{project := Project} = Filter = project(),
              {Since, Until} = Range = range(?MILLION),
              #{invocations := #{count := Count, cost := Cost, min_cost := Min,
                                 max_duration_ms := Max}} = totals(large_records, Filter, Range),
              #{count := Count, cost := Cost, min_cost := Min, max_duration_ms := Max} =
                  cost_ledger_bench_sqlite:sums(Peer, Project, Since, Until),
              Ids = ids(page(Filter)),
              Ids = ids(cost_ledger_bench_sqlite:page(Peer, Project)),
              Failed = ids(page(Filter#{status => failed})),
              Failed = ids(cost_ledger_bench_sqlite:failed(Peer, Project)),
              #{agent := Agent} = One = fetch(run_id()),
              #{agent := Agent} = cost_ledger_bench_sqlite:get(Peer, maps:get(run_id, One))
      end, lists:seq(1, 20)).

ids(Records) -> [{Id, Cost} || #{id := Id, cost := Cost} <- Records].

%% The texts of SQLite are made before the clock runs; the ledger packs its own while it runs.
booking(Peer) ->
    Numbers = get(numbers),
    New = fun() -> cost_ledger_bench_shape:record(next(Numbers)) end,
    Row = fun() -> cost_ledger_bench_sqlite:row(New()) end,
    Book = fun(Record) -> {ok, _} = cost_ledger:record(large_records, Record) end,
    One = fun(Make, Fun) ->
                  fun() ->
                          Made = [Make() || _ <- lists:seq(1, 200)],
                          time(fun() -> lists:foreach(Fun, Made) end) / 200
                  end
          end,
    %% A commit of LMDB waits for the disk twice, for the pages and for the one that makes them
    %% valid; one of SQLite's log waits once, and what it saves is done later, at a checkpoint.
    ratio("one durable record, one caller", 9, One(New, Book),
          One(Row, fun(Each) -> ok = cost_ledger_bench_sqlite:record(Peer, Each) end),
          "(no limit)"),
    Ours = fun() -> rate(1000, 10, New, Book) end,
    Theirs = fun() ->
                     rate(1000, 10, Row,
                          fun(Each) -> ok = cost_ledger_bench_sqlite:record_grouped(Peer, Each) end)
             end,
    ratio("records/s, 1,000 callers", 7, Ours, Theirs, "> 1").
