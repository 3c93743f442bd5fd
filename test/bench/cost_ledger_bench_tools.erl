%%% What the benchmarks share: ledgers below the directory of the process dictionary, callers that
%%% begin at once, and ratios of two things that take turns.
-module(cost_ledger_bench_tools).

-export([open/1, open/2, close/1, time/1, parallel/2, rate/3, repeat/2, fill/2, fill/3, ratio/5,
         figure/3, figure/4, median/1]).

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
    Self = self(),
    Pids = [spawn_link(fun() ->
                               receive go -> Self ! {self(), Fun()} end
                       end) || _ <- lists:seq(1, Count)],
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
    io:format("~-52ts ~8.1f ~18ts  ~ts~n", [Title, float(Value), Spread, Limit]).

median(Values) ->
    lists:nth((length(Values) + 1) div 2, lists:sort(Values)).

%% Calls a second of so many callers at once.
rate(Callers, Each, Fun) ->
    Took = time(fun() -> parallel(Callers, fun() -> repeat(Each, Fun) end) end),
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
