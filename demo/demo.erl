%%% Replays a real trace twice, the second time two hours later, and shows what the gate did and what
%%% it cost.
-module(demo).

-export([main/0]).

-define(TRACE, "demo/azure_llm_code_2023.csv").
-define(DIRECTORY, "_build/demo/ledger").
-define(LATER_MS, 2 * 3600000).
-define(BUDGETS, #{executing => #{max_per_hour => 1500, max_per_day => 6000},
                   improving => #{max_per_hour => 900, max_per_day => 4000},
                   contemplating => #{max_per_hour => 300, max_per_day => 2000}}).
-define(STATES, [executing, improving, contemplating]).
%% List prices, in the format of LiteLLM's price map; and which model a state works with.
-define(PRICES, "test/data/model_prices.json").
-define(MODELS, #{executing => <<"gpt-4o-mini">>, improving => <<"gpt-4o">>,
                  contemplating => <<"claude-3-5-sonnet-20241022">>}).

%% spent: by state, worked out here, to compare with what the ledger says.
-record(pass, {name, prices, allowed = #{}, denied = #{}, first_denied = #{}, reported = 0,
               spent = #{}}).

-spec main() -> no_return().
main() ->
    Status = try run() of
                 ok -> 0
             catch
                 Class:Reason:Stack ->
                     io:format(standard_error, "~tp: ~tp~n~tp~n", [Class, Reason, Stack]),
                     1
             end,
    halt(Status).

run() ->
    Began = erlang:monotonic_time(millisecond),
    _ = file:del_dir_r(?DIRECTORY),
    Calls = read_trace(),
    Options = #{path => ?DIRECTORY, budgets => ?BUDGETS, clock => manual, series => [[model]]},
    {ok, Supervisor} = cost_ledger:start_link(Options),
    unlink(Supervisor),
    {ok, #{models := Models}} = cost_ledger:import_prices({file, ?PRICES},
                                                          #{by => demo, reason => "list prices"}),
    Prices = maps:map(fun(_State, Model) -> {ok, Price} = cost_ledger:price(Model), Price end,
                      ?MODELS),
    {ok, Hub} = demo_hub:start_link(default),
    io:format("~nReplaying ~b real LLM calls through a hub that asks before each one; a price book of "
              "~b~nmodels says what they cost.~n~n", [length(Calls), Models]),
    First = replay(#pass{name = "as recorded", prices = Prices}, Hub, Calls, 0),
    Second = replay(#pass{name = "two hours later", prices = Prices}, Hub, Calls, ?LATER_MS),
    summary([First, Second]),
    costs([First, Second]),
    io:format("~nThe ledger, as a remote shell sees it with cost_ledger:i():~n~n"),
    ok = cost_ledger:i(),
    io:format("~nThe newest entries, from cost_ledger:history(#{limit => 5}):~n~n"),
    lists:foreach(fun line/1, cost_ledger:history(#{limit => 5})),
    Before = {cost_ledger:stats(), cost_ledger:history(#{limit => 1 bsl 40})},
    Ran = erlang:monotonic_time(millisecond) - Began,
    gen_statem:stop(Hub),
    ok = cost_ledger:stop(),
    {OpenUs, {ok, Again}} = timer:tc(fun() -> cost_ledger:start_link(Options) end),
    unlink(Again),
    After = {cost_ledger:stats(), cost_ledger:history(#{limit => 1 bsl 40})},
    io:format("~nClosed, and opened again in ~b.~b ms:~n~n", [OpenUs div 1000,
                                                             OpenUs rem 1000 div 100]),
    ok = cost_ledger:i(),
    check(Before =:= After, "the reopened ledger differs"),
    check_passes([First, Second], After),
    ok = cost_ledger:stop(),
    io:format("~nThe same numbers and the same entries. ~b calls gated in ~b.~b s; "
              "the ledger is in ~ts.~n",
              [2 * length(Calls), Ran div 1000, Ran rem 1000 div 100, ?DIRECTORY]).

%% What the hub counted for itself must be what the ledger says.
check_passes(Passes, {#{session := Session}, History}) ->
    lists:foreach(
      fun(State) ->
              Allowed = lists:sum([maps:get(State, Pass#pass.allowed, 0) || Pass <- Passes]),
              check(Allowed =:= maps:get(State, Session), "session differs from the hub's count"),
              [check(is_map_key(State, Pass#pass.first_denied), "a state was never exhausted")
               || Pass <- Passes]
      end, ?STATES),
    check(length(History) =:= maps:get(total, Session), "history differs from session").

check(true, _Text) -> ok;
check(false, Text) -> error({demo_failed, Text}).

%%% The trace ----------------------------------------------------------------------------------

read_trace() ->
    {ok, Text} = file:read_file(?TRACE),
    [_Header | Lines] = binary:split(Text, [<<"\n">>, <<"\r">>], [global, trim_all]),
    [parse(Line) || Line <- Lines].

%% 2023-11-16 18:17:03.9799600,4808,10
parse(<<Date:10/binary, " ", Time:8/binary, ".", Fraction:3/binary, _:4/binary, ",",
        Tokens/binary>>) ->
    Seconds = calendar:rfc3339_to_system_time(
                binary_to_list(<<Date/binary, "T", Time/binary, "Z">>)),
    [Input, Output] = [binary_to_integer(N) || N <- binary:split(Tokens, <<",">>)],
    {Seconds * 1000 + binary_to_integer(Fraction), Input, Output}.

%% Which state a call asks for: by the size of its context.
wants(Input) when Input < 1500 -> executing;
wants(Input) when Input < 3500 -> improving;
wants(_Input) -> contemplating.

%%% The replay ---------------------------------------------------------------------------------

replay(#pass{name = Name} = Begun, Hub, Calls, Later) ->
    {FirstMs, _, _} = hd(Calls),
    io:format("  ~ts, from ~ts (allowed / refused):~n", [Name, clock_time(FirstMs + Later)]),
    Pass = lists:foldl(
             fun({Ms, Input, Output}, Pass) ->
                     Now = Ms + Later,
                     ok = cost_ledger:set_clock(Now),
                     State = wants(Input),
                     Answer = demo_hub:call(Hub, #{wants => State,
                                                   meta => meta(State, Input, Output)}),
                     Counted = count(Answer, State, Now, Pass),
                     progress(Now - FirstMs - Later, Now,
                              spend(Answer, State, Input, Output, Counted))
             end, Begun, Calls),
    show_progress(element(1, lists:last(Calls)) + Later, Pass),
    io:nl(),
    Pass.

meta(State, Input, Output) ->
    #{prompt_type => code_completion, provider => azure, model => maps:get(State, ?MODELS),
      tokens => #{input => Input, output => Output}, cost => auto}.

%% In 10^-15 of a dollar a token; rounded half up to nano-dollars, once a call.
spend(refused, _State, _Input, _Output, Pass) ->
    Pass;
spend(done, State, Input, Output, #pass{prices = Prices, spent = Spent} = Pass) ->
    #{State := #{input := OfInput, output := OfOutput}} = Prices,
    Cost = (Input * OfInput + Output * OfOutput + 500000) div 1000000,
    Pass#pass{spent = maps:update_with(State, fun(Sum) -> Sum + Cost end, Cost, Spent)}.

count(done, State, _Now, #pass{allowed = Allowed} = Pass) ->
    Pass#pass{allowed = maps:update_with(State, fun(N) -> N + 1 end, 1, Allowed)};
count(refused, State, Now, #pass{denied = Denied, first_denied = First} = Pass) ->
    Pass#pass{denied = maps:update_with(State, fun(N) -> N + 1 end, 1, Denied),
              first_denied = maps:merge(#{State => Now}, First)}.

%% A line for every ten minutes of the trace.
progress(Elapsed, Now, #pass{reported = Reported} = Pass) when Elapsed >= Reported + 600000 ->
    show_progress(Now, Pass),
    Pass#pass{reported = Elapsed};
progress(_Elapsed, _Now, Pass) ->
    Pass.

show_progress(Now, #pass{allowed = Allowed, denied = Denied}) ->
    io:format("    ~ts ~ts~n",
              [clock_time(Now),
               [io_lib:format("  ~ts ~b/~b", [State, maps:get(State, Allowed, 0),
                                              maps:get(State, Denied, 0)])
                || State <- ?STATES]]).

%%% The summary --------------------------------------------------------------------------------

summary(Passes) ->
    io:format("  ~-15ts ~-15ts ~8ts ~8ts ~8ts  ~ts~n",
              ["pass", "state", "calls", "allowed", "refused", "exhausted at"]),
    [io:format("  ~-15ts ~-15ts ~8b ~8b ~8b  ~ts~n",
               [Pass#pass.name, State, Allowed + Denied, Allowed, Denied,
                clock_time(maps:get(State, Pass#pass.first_denied))])
     || Pass <- Passes, State <- ?STATES,
        Allowed <- [maps:get(State, Pass#pass.allowed, 0)],
        Denied <- [maps:get(State, Pass#pass.denied, 0)]],
    io:format("~n  Every state was exhausted in the first pass, and open again two hours later,~n"
              "  when its rolling hour had passed: nothing was reset, nothing had to be recorded.~n").

costs(Passes) ->
    {ok, ByState} = cost_ledger:totals_by(state, #{}),
    {ok, ByModel} = cost_ledger:totals_by(model, #{}),
    {ok, #{cost := #{gross := All}}} = cost_ledger:totals(#{}),
    io:format("~n  ~-28ts ~8ts ~12ts ~10ts ~14ts~n",
              ["cost by state, and by model", "calls", "tokens in", "out", "USD"]),
    [cost_line(Value, Totals) || {Value, Totals} <- ByState ++ ByModel],
    io:format("  ~-28ts ~46ts~n", ["total", cost_ledger_money:format(All, 9)]),
    Spent = [maps:get(State, Pass#pass.spent, 0) || Pass <- Passes, State <- ?STATES],
    check(lists:sum(Spent) =:= All, "the ledger's cost differs from the hub's"),
    [check(maps:get(gross, maps:get(cost, Totals))
           =:= lists:sum([maps:get(State, Pass#pass.spent, 0) || Pass <- Passes]),
           "the cost of a state differs from the hub's") || {State, Totals} <- ByState].

cost_line(Value, #{invocations := #{count := Count}, cost := #{gross := Cost},
                   tokens := #{input := Input, output := Output}}) ->
    io:format("  ~-28ts ~8b ~12b ~10b ~14ts~n",
              [name(Value), Count, Input, Output, cost_ledger_money:format(Cost, 9)]).

name(Value) when is_atom(Value) -> atom_to_binary(Value);
name(Value) -> Value.

line(#{timestamp := Ms, state := State, prompt_type := Type,
       cost := Cost, tokens := #{input := Input, output := Output}}) ->
    io:format("  ~ts ~-13ts ~-15ts ~5b in ~4b out ~12ts~n",
              [clock_time(Ms), State, Type, Input, Output, cost_ledger_money:format(Cost, 9)]).

clock_time(Ms) ->
    string:slice(calendar:system_time_to_rfc3339(Ms div 1000, [{offset, "Z"}]), 11, 8).
