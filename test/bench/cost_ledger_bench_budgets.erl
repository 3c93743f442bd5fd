%%% What rules and holds cost, against the same ledger without them.
-module(cost_ledger_bench_budgets).

-export([main/0]).

-import(cost_ledger_bench_tools, [open/2, close/1, time/1, rate/3, repeat/2, parallel/2, fill/3,
                                  ratio/5, figure/4, median/1]).

-define(META, #{duration_ms => 1200, prompt_type => code_completion}).
-define(NAMED, ?META#{user => <<"u1">>, agent => <<"a1">>, cost => 2500000}).
-define(MILLION, 1000000).
-define(FAR, 1000000000000000).

-spec main() -> ok.
main() ->
    pairs(),
    gate(),
    recording(),
    denial().

%% A pair is two calls of the writer; plain records are one.
pairs() ->
    open(pairs, get(options)),
    Pairs = fun() -> rate(1000, 30, fun() -> pair(pairs) end) end,
    Plain = fun() -> rate(1000, 60, fun() -> record(pairs, ?META) end) end,
    ratio("reserve+settle pairs/s / records/s, 1,000 callers", 7, Pairs, Plain, ">= 0.35"),
    close(pairs).

pair(Ledger) ->
    {ok, Hold} = cost_ledger:reserve(Ledger, #{state => executing, cost => 75}),
    {ok, _} = cost_ledger:settle(Hold, #{cost => 60}).

record(Ledger, Meta) ->
    ok = cost_ledger:record_invocation(Ledger, executing, Meta).

%% The six that the default budgets stand for, and 44 more, of which 20 are the gate's to know.
gate() ->
    open(six, get(options)),
    open(fifty, (get(options))#{rules => rules(44), series => [[user], [agent]]}),
    Cost = fun(Ledger) -> fun() -> gate(Ledger) end end,
    ratio("check_budget with 50 rules / with six", 21, Cost(fifty), Cost(six), "<= 1.1"),
    close(six),
    close(fifty).

gate(Ledger) ->
    Calls = 2000000,
    [Took] = parallel(1, fun() -> time(fun() -> check_budget(Ledger, Calls) end) end),
    Took / Calls.

check_budget(_Ledger, 0) -> ok;
check_budget(Ledger, N) ->
    ok = cost_ledger:check_budget(Ledger, executing),
    check_budget(Ledger, N - 1).

%% Half of them speak of every entry that the recorders book.
recording() ->
    open(plain, get(options)),
    open(ruled, (get(options))#{rules => rules(44), series => [[user], [agent]]}),
    Ruled = fun() -> rate(1000, 60, fun() -> record(ruled, ?NAMED) end) end,
    Plain = fun() -> rate(1000, 60, fun() -> record(plain, ?META) end) end,
    ratio("records/s, 50 rules and three dimensions / plain", 7, Ruled, Plain, ">= 0.40"),
    close(plain),
    close(ruled).

%% Besides those of the default budgets: over everything, over the state, over users and agents.
rules(Count) ->
    [rule(N, lists:nth(1 + N rem 4, [all, #{state => executing}, #{user => each},
                                     #{agent => <<"a1">>}]))
     || N <- lists:seq(1, Count)].

rule(N, Scope) ->
    #{name => "rule " ++ integer_to_list(N), scope => Scope,
      measure => lists:nth(1 + N rem 3, [cost, invocations, tokens]),
      window => lists:nth(1 + N rem 5, [{rolling, 3600000}, {calendar, day, 0},
                                        {calendar, month, 0}, {rolling, 86400000}, lifetime]),
      limit => ?FAR, warn => [80, 95]}.

%% Microseconds a denied check, with the time at which it would be admitted. What of it is the way
%% between a normal and a dirty scheduler a call that looks up one key shows, in turns with it.
denial() ->
    Rules = [#{name => day, scope => #{user => each}, measure => cost,
               window => {rolling, 86400000}, limit => 1000}],
    open(denying, (get(options))#{rules => Rules, series => [[user]]}),
    fill(denying, ?MILLION, ?NAMED),
    {ok, Hold} = cost_ledger:reserve(denying, #{state => executing}),
    {ok, _} = cost_ledger:hold_info(Hold),
    Rounds = [{each(fun() -> denied(denying) end), each(fun() -> cost_ledger:hold_info(Hold) end)}
              || _ <- lists:seq(1, 51)],
    {Denials, Lookups} = lists:unzip(Rounds),
    microseconds("us a denial with resets_at, at 1,000,000 entries", Denials, "< 50"),
    microseconds("us a lookup of one hold, in turns with it", Lookups, ""),
    close(denying).

each(Fun) ->
    time(fun() -> repeat(1000, Fun) end) / 1.0e6.

microseconds(Title, Times, Limit) ->
    figure(Title, median(Times),
           io_lib:format("(~.1f .. ~.1f)", [lists:min(Times), lists:max(Times)]), Limit).

denied(Ledger) ->
    {error, {budget_exhausted, #{resets_at := ResetsAt}}} =
        cost_ledger:check(Ledger, #{state => executing, user => <<"u1">>, cost => 1}),
    true = is_integer(ResetsAt).
