%%% What the benchmarks share: ledgers below the directory of the process dictionary, callers that
%%% begin at once, and ratios of two things that take turns.
-module(cost_ledger_bench_tools).

-export([open/1, open/2, close/1, time/1, parallel/2, parallel_with/2, rate/3, rate/4, repeat/2,
         fill/2, fill/3, ratio/5, figure/3, figure/4, median/1, used_bytes/1]).

-define(META, #{duration_ms => 1200, prompt_type => code_completion}).

open(Name) ->
    open(Name, get(options)).

open(Name, Options) ->
    {ok, Supervisor} =
        cost_ledger:start_link(Options#{name => Name,
                                        path => filename:join(get(directory), Name)}),
    true = unlink(Supervisor).

close(Name) ->
    ok = cost_ledger:stop(Name).

%% Nanoseconds.
time(Fun) ->
    Began = erlang:monotonic_time(),
    _ = Fun(),
    erlang:convert_time_unit(erlang:monotonic_time() - Began, native, nanosecond).

%% Runs Fun in so many processes that begin at once; their results.
parallel(Count, Fun) ->
    parallel_with(lists:seq(1, Count), fun(_) -> Fun() end).

%% The same, one process for each argument.
parallel_with(Arguments, Fun) ->
    Self = self(),
    Pids = [spawn_link(fun() ->
                               receive go -> Self ! {self(), Fun(Argument)} end
                       end) || Argument <- Arguments],
    [Pid ! go || Pid <- Pids],
    [receive {Pid, Result} -> Result end || Pid <- Pids].

ratio(Title, Rounds, Ours, Peer, Limit) ->
    _ = {Ours(), Peer()},
    Ratios = lists:sort([Ours() / Peer() || _ <- lists:seq(1, Rounds)]),
    io:format("~-52ts ~8.2f ~18ts  ~ts~n",
              [Title, median(Ratios),
               io_lib:format("(~.2f .. ~.2f)", [hd(Ratios), lists:last(Ratios)]), Limit]).

figure(Title, Value, Limit) ->
    figure(Title, Value, "", Limit).

figure(Title, Value, Spread, Limit) ->
    Digits = case Value >= 100000 of
                 true -> integer_to_list(round(Value));
                 false -> io_lib:format("~.1f", [float(Value)])
             end,
    io:format("~-52ts ~8ts ~18ts  ~ts~n", [Title, Digits, Spread, Limit]).

median(Values) ->
    lists:nth((length(Values) + 1) div 2, lists:sort(Values)).

%% Calls a second of so many callers at once.
rate(Callers, Each, Fun) ->
    Took = time(fun() -> parallel(Callers, fun() -> repeat(Each, Fun) end) end),
    Callers * Each * 1.0e9 / Took.

%% The same of Fun(Made), each of another that Make made before the clock runs.
rate(Callers, Each, Make, Fun) ->
    Self = self(),
    Pids = [spawn_link(fun() ->
                               Made = [Make() || _ <- lists:seq(1, Each)],
                               Self ! {self(), ready},
                               receive go -> ok end,
                               lists:foreach(Fun, Made),
                               Self ! {self(), done}
                       end) || _ <- lists:seq(1, Callers)],
    [receive {Pid, ready} -> ok end || Pid <- Pids],
    Took = time(fun() ->
                        [Pid ! go || Pid <- Pids],
                        [receive {Pid, done} -> ok end || Pid <- Pids]
                end),
    Callers * Each * 1.0e9 / Took.

repeat(0, _Fun) -> ok;
repeat(N, Fun) -> Fun(), repeat(N - 1, Fun).

%% So many plain invocations, booked by many callers.
fill(Ledger, Count) -> fill(Ledger, Count, ?META).

fill(Ledger, Count, Meta) ->
    Callers = min(1000, Count),
    parallel(Callers, fun() ->
                              repeat(Count div Callers,
                                     fun() ->
                                             ok = cost_ledger:record_invocation(Ledger,
                                                                                executing, Meta)
                                     end)
                      end).

%% What files take on the disk, holes not counted.
used_bytes(Path) ->
    [Blocks | _] = string:lexemes(os:cmd("du -s -B1 " ++ Path), "\t"),
    list_to_integer(Blocks).
