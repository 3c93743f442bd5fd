%%% Whatever comes in from outside: each wrong record and query is an error or a badarg that names
%%% what is wrong, writes nothing, takes no time, and leaves the ledger alive.
-module(cost_ledger_hostile_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-import(cost_ledger_test_budget, [close/1, refused/1, mentions/2]).
-import(cost_ledger_test_records,
        [open/1, record/2, fetched/2, unchanged/2, failing/1]).

-define(CALL, #{state => executing}).
-define(AMOUNT_MAX, 1000000000000000).

suite() -> [{timetrap, {minutes, 1}}].

all() -> [{group, hostile}].

groups() ->
    [{hostile, [parallel],
      [wrong_fields_are_named,
       what_cannot_be_kept_is_named_by_its_path,
       what_is_too_large_is_refused,
       what_is_no_record_is_refused,
       the_largest_that_is_allowed_is_kept,
       a_huge_integer_takes_no_time,
       a_huge_term_keeps_no_scheduler,
       a_large_entry_is_digested_elsewhere,
       a_stored_number_that_is_none_is_read,
       wrong_queries_are_refused]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(cost_ledger),
    ok = logger:set_module_level(cost_ledger_events, none),
    Config.

end_per_suite(_Config) ->
    logger:unset_module_level(cost_ledger_events).

init_per_testcase(_Case, Config) ->
    [{path, cost_ledger_test:directory(Config)} | Config].

end_per_testcase(_Case, Config) ->
    cost_ledger_test:remove(?config(path, Config)).

%% Of each way to book that takes the key.
all_refuse(L, Key, Value, Word) ->
    Meta = #{Key => Value},
    [mentions(refused(Fun), Word)
     || Fun <- [fun() -> cost_ledger:record(L, maps:merge(?CALL, Meta)) end,
                fun() -> cost_ledger:record(L, Meta#{kind => run}) end]
            ++ [fun() -> cost_ledger:record_invocation(L, executing, Meta) end || Key =/= kind,
                                                                                  Key =/= state]].

wrong_fields_are_named(Config) ->
    L = open(Config),
    Amounts = [-1, ?AMOUNT_MAX + 1, 1 bsl 64, 1.0, 1.0e300, <<"5">>, "5", nan, infinity, [], #{},
               {1}, self()],
    Names = [<<>>, <<255>>, <<"a", 16#c3>>, binary:copy(<<"n">>, 65536), "text", 5, 5.0, {u1}, [],
             #{}, <<1:3>>, self(), ''],
    Ids = [<<>>, [], binary:copy(<<"i">>, 1001), lists:duplicate(1001, $i), <<255>>, [255 | x], 7,
           [-1], [16#d800], [16#110000], {r}, <<1:3>>, make_ref()],
    unchanged(L, fun() ->
        [all_refuse(L, Key, Value, Key)
         || {Keys, Values} <-
                [{[cost, credits, duration_ms], Amounts -- [[]]},
                 {[org, project, user, agent, model, provider, prompt_type], Names},
                 {[id, run_id, parent_run], Ids},
                 {[occurred_at], [-1, 1.0, <<"now">>, ?AMOUNT_MAX + 1, {2023, 11, 14}]},
                 {[status], [done, <<"failed">>, 1, none]},
                 {[tokens], [5, [], <<>>, #{inputs => 1}, [{input, 1}]]},
                 {[breakdown], [5, [], #{token => 1}, [{tokens, 1}]]},
                 {[intent, error_message], [<<255>>, 7, {a}, [-1], <<1:3>>]},
                 {[attributes], [[], 7, <<"x">>, [{a, 1}]]},
                 {[trace], [[], 7, #{steps => 7}, #{steps => [#{action => <<>>}]},
                            #{steps => [a | b]}, #{steps => [#{}]}, #{tool_calls => -1},
                            #{api_calls => 1.0}, #{duration_ms => ?AMOUNT_MAX + 1},
                            #{steps => [#{action => a, cost => -1}]},
                            #{steps => [#{action => a, timestamp => 1.5}]}]},
                 {[colour, <<"cost">>], [1]}],
            Key <- Keys, Value <- Values],
        [all_refuse(L, tokens, #{Class => Value}, Class)
         || Class <- [input, output, cache_read, cache_creation, reasoning], Value <- Amounts],
        [all_refuse(L, breakdown, #{Part => Value}, Part)
         || Part <- [tokens, tool_calls, external_requests, penalties], Value <- Amounts],
        [mentions(refused(fun() -> cost_ledger:record(L, #{state => State}) end), state)
         || State <- [undeclared, <<"executing">>, "executing", 7, undefined, nil, '']],
        [mentions(refused(fun() -> cost_ledger:record(L, (?CALL)#{kind => Kind}) end), kind)
         || Kind <- [grant, policy, price, redaction, release, <<"run">>, 7]],
        mentions(refused(fun() -> cost_ledger:record(L, #{}) end), state)
    end),
    close(L).

what_cannot_be_kept_is_named_by_its_path(Config) ->
    L = open(Config),
    Deep = lists:foldl(fun(_, Inner) -> [Inner] end, leaf, lists:seq(1, 30)),
    Wrong = [self(), fun() -> ok end, make_ref(), {a, b}, <<1:3>>, [a | b], Deep, 1 bsl 2040,
             -(1 bsl 2040), #{{a} => 1}, #{1.5 => 1}, #{[] => 1}, #{#{} => 1},
             #{(1 bsl 63) => 1}, #{<<1:3>> => 1}],
    %% An integer of 255 bytes is fine, and not what is wrong.
    Fine = [(1 bsl 2040) - 1, -((1 bsl 2040) - 1)],
    unchanged(L, fun() ->
        [begin
             Text = refused(fun() -> cost_ledger:record(L, (?CALL)#{Key => Fun(Value)}) end),
             [mentions(Text, Word) || Word <- Words]
         end || {Key, Words, Fun} <-
                    [{input, ["input"], fun(Value) -> Value end},
                     {output, ["output, at, 3"], fun(Value) -> #{at => Fine ++ [Value]} end},
                     {attributes, ["attributes, <<\"k\">>, 7"],
                      fun(Value) -> #{<<"k">> => #{7 => Value, 8 => Fine}} end},
                     {trace, ["trace, steps, 2, result"],
                      fun(Value) -> #{steps => [#{action => a},
                                                #{action => b, result => Value}]} end}],
                Value <- Wrong]
    end),
    close(L).

what_is_too_large_is_refused(Config) ->
    L = open(Config),
    Large = binary:copy(<<"x">>, 1 bsl 21),
    unchanged(L, fun() ->
        [?assertEqual(entry_too_large,
                      failing(cost_ledger:record(L, maps:merge(?CALL, Given))))
         || Given <- [#{input => Large}, #{output => #{Large => 1}}, #{intent => Large},
                      #{error_message => binary_to_list(Large)}, #{attributes => #{k => Large}},
                      #{input => lists:seq(1, 1000000)}, #{output => lists:duplicate(1000000, a)},
                      #{input => maps:from_keys(lists:seq(1, 300000), x)},
                      #{trace => #{steps => lists:duplicate(100000, #{action => <<"a">>})}}]],
        Larger = binary:copy(Large, 40),
        mentions(refused(fun() -> cost_ledger:record(L, (?CALL)#{intent => Larger}) end), intent),
        {error, {entry_too_large, Text}} = cost_ledger:record(L, (?CALL)#{input => Larger}),
        mentions(Text, "1048576"),
        ?assertEqual(entry_too_large,
                     failing(cost_ledger:record_invocation(L, executing, #{input => Larger})))
    end),
    {ok, Hold} = cost_ledger:reserve(L, ?CALL),
    ?assertEqual(entry_too_large, failing(cost_ledger:settle(Hold, #{output => Large}))),
    {ok, _} = cost_ledger:settle(Hold, #{output => fine}),
    close(L).

what_is_no_record_is_refused(Config) ->
    L = open(Config),
    unchanged(L, fun() ->
        [mentions(refused(fun() -> cost_ledger:record(L, Wrong) end), "a record must be a map")
         || Wrong <- [7, nil, <<"x">>, [1], [{state, executing} | x], [state], [{a, b, c}],
                      {state, executing}, self(), "text"]],
        [refused(fun() -> cost_ledger:record_invocation(L, executing, Wrong) end)
         || Wrong <- [7, [], [{cost, 1}], <<"x">>, #{{a} => 1}, #{state => executing}]]
    end),
    close(L).

the_largest_that_is_allowed_is_kept(Config) ->
    L = open(Config),
    Name = binary:copy(<<"n">>, 65535),
    Given = #{user => Name, cost => ?AMOUNT_MAX, duration_ms => ?AMOUNT_MAX,
              tokens => maps:from_keys([input, output, cache_read, cache_creation, reasoning],
                                       ?AMOUNT_MAX),
              run_id => binary:copy(<<"r">>, 1000), parent_run => binary:copy(<<"p">>, 600),
              id => binary:copy(<<"i">>, 1000), breakdown => #{penalties => ?AMOUNT_MAX},
              input => binary:copy(<<255>>, 700000)},
    [begin
         Record = fetched(L, record(L, maps:merge(?CALL, Given#{run_id => Run, id => Run}))),
         ?assertMatch(#{user := Name, cost := ?AMOUNT_MAX, run_id := Run, client_id := Run},
                      Record),
         ?assertEqual(maps:get(input, Given), maps:get(input, Record)),
         ?assertEqual({ok, Record}, cost_ledger:fetch_run(L, Run))
     end || Run <- [<<"r">>, binary:copy(<<"r">>, 500), binary:copy(<<"r">>, 501),
                    binary:copy(<<"r">>, 600), binary:copy(<<"r">>, 1000)]],
    {ok, #{cost := #{net := Net}, tokens := #{input := Input}}} = cost_ledger:totals(L, #{}),
    ?assertEqual({5 * ?AMOUNT_MAX, 5 * ?AMOUNT_MAX}, {Net, Input}),
    close(L).

%% Its digits are never written.
a_huge_integer_takes_no_time(Config) ->
    L = open(Config),
    Huge = 1 bsl 4000000,
    {Us, _} = timer:tc(fun() ->
        unchanged(L, fun() ->
            [mentions(refused(fun() -> cost_ledger:record(L, maps:merge(?CALL, Given)) end), Word)
             || {Given, Word} <- [{#{cost => Huge}, cost}, {#{credits => -Huge}, credits},
                                  {#{occurred_at => Huge}, occurred_at}, {#{user => Huge}, user},
                                  {#{tokens => #{input => Huge}}, input},
                                  {#{run_id => Huge}, run_id}, {#{input => [Huge]}, "input, 1"}]]
        end)
    end),
    ?assert(Us < 10000000),
    close(L).

%% Not even where nothing is written yet of what is too much: keys that are sorted first, lists that
%% are counted first, and both on many levels.
a_huge_term_keeps_no_scheduler(_Config) ->
    Map = maps:from_keys(lists:seq(1, 300000), x),
    Texts = maps:from_keys([binary:copy(<<Number:32>>, 30) || Number <- lists:seq(1, 6000)], x),
    Nested = lists:foldl(fun(_, Inner) -> (maps:from_keys(lists:seq(1, 7000), 1))#{0 => Inner} end,
                         #{}, lists:seq(1, 20)),
    Lists = lists:foldl(fun(_, Inner) -> [Inner | lists:duplicate(300000, 1)] end, [],
                        lists:seq(1, 20)),
    [begin
         Pack = fun() -> {error, too_much} = cost_ledger_nif:pack(#{<<"input">> => Term}, Max) end,
         {Us, _} = longest_run(Pack),
         ?assert(Us < 10000, {Name, Max, Us})
     end || {Name, Term} <- [{map, Map}, {list_of_maps, [Map]}, {texts, Texts}, {nested, Nested},
                             {lists, Lists}, {list, lists:seq(1, 3000000)}],
            Max <- [4096, 65536]],
    %% And what fits is packed as before, on either kind.
    [begin
         Pairs = [{Number, <<Number>>} || Number <- lists:seq(1, Count)],
         Packed = cost_ledger_nif:pack(#{<<"input">> => maps:from_list(Pairs)}, 1 bsl 20),
         ?assertEqual(Packed, cost_ledger_nif:pack(#{<<"input">> => maps:from_list(Pairs)},
                                                   byte_size(Packed))),
         ?assertEqual({error, too_much},
                      cost_ledger_nif:pack(#{<<"input">> => maps:from_list(Pairs)},
                                           byte_size(Packed) div 2))
     end || Count <- [1, 100, 2000, 20000]].

%% An entry with a payload that is packed, and one with many prices; not those that are small.
a_large_entry_is_digested_elsewhere(_Config) ->
    Encode = fun(Kind, Names, Change, Payload) ->
                     fun() ->
                             Status = case Kind of run -> completed; price -> none end,
                             Rest = {undefined, undefined, 0, undefined, undefined, Payload},
                             Draft = cost_ledger_nif:encode(
                                       {Kind, Status, Names, 0, undefined, undefined, undefined,
                                        Change, 0, <<"id">>, <<>>, Rest}),
                             true = is_binary(Draft)
                     end
             end,
    Prices = fun(Count) -> #{<<"by">> => <<"x">>, <<"reason">> => <<"x">>,
                             <<"prices">> => [[integer_to_binary(Number), [1, 1, 1, 1, 1]]
                                              || Number <- lists:seq(1, Count)]} end,
    Payload = fun(Size) -> cost_ledger_nif:pack(#{<<"input">> => binary:copy(<<"x">>, Size)},
                                                1 bsl 26) end,
    [begin
         {Us, Elsewhere} = longest_run(Encode(Kind, Names, Change, Packed)),
         ?assertEqual({Name, IsLarge}, {Name, Elsewhere}),
         ?assert(Us < 10000, {Name, Us})
     end || {Name, Kind, Names, Change, Packed, IsLarge} <-
                [{small, run, [], undefined, Payload(8000), false},
                 {large, run, [], undefined, Payload(20000), true},
                 {larger, run, [], undefined, Payload(40 bsl 20), true},
                 {names, run, [{2, binary:copy(<<"n">>, 65535)}], undefined, undefined, true},
                 {prices, price, [], Prices(10000), undefined, true}]].

%% The longest time that a process calling Fun keeps a normal scheduler, the least of three tries;
%% and whether it was on another one.
longest_run(Fun) ->
    Runs = [run(Fun) || _ <- lists:seq(1, 3)],
    {lists:min([Us || {Us, _} <- Runs]), lists:any(fun({_, Elsewhere}) -> Elsewhere end, Runs)}.

%% Fun's terms are copied before.
run(Fun) ->
    {Pid, Monitor} = spawn_monitor(fun() ->
                                           receive go -> ok end,
                                           Fun(),
                                           receive go -> ok end
                                   end),
    true = erlang:garbage_collect(Pid),
    1 = erlang:trace(Pid, true, [running, scheduler_id, monotonic_timestamp]),
    [Pid ! go || _ <- [1, 2]],
    receive {'DOWN', Monitor, process, Pid, Reason} -> normal = Reason end,
    Delivered = erlang:trace_delivered(Pid),
    receive {trace_delivered, Pid, Delivered} -> ok end,
    runs(Pid, 0, false).

%% Dirty schedulers have no number: 0.
runs(Pid, Longest, Elsewhere) ->
    receive
        {trace_ts, Pid, in, _, 0, _} ->
            runs(Pid, Longest, true);
        {trace_ts, Pid, in, _, _, From} ->
            receive
                {trace_ts, Pid, _, _, _, Until} ->
                    Us = erlang:convert_time_unit(Until - From, native, microsecond),
                    runs(Pid, max(Longest, Us), Elsewhere)
            after 0 ->
                    runs(Pid, Longest, Elsewhere)
            end;
        {trace_ts, Pid, _, _, _, _} ->
            runs(Pid, Longest, Elsewhere)
    after 0 ->
            {Longest, Elsewhere}
    end.

%% Anyone may send the writer a draft whose payload has a float that no term is.
a_stored_number_that_is_none_is_read(Config) ->
    L = open(Config),
    Ledger = cost_ledger_registry:find(L),
    Payload = cost_ledger_nif:pack(#{<<"output">> => [1.5, x], <<"input">> => 1.5}, 1000),
    Ids = [begin
               Wrong = binary:replace(Payload, <<1.5/float>>, Float, [global]),
               Draft = cost_ledger_nif:encode({run, completed, [], 0, undefined, undefined,
                                               undefined, undefined, 0, undefined, <<>>,
                                               {undefined, undefined, 0, undefined, undefined,
                                                Wrong}}),
               {ok, Id, _} = cost_ledger_queue:call(Ledger, record, Draft),
               Id
           end || Float <- [<<16#7ff8000000000000:64>>, <<16#7ff0000000000001:64>>,
                            <<16#7ff0000000000000:64>>, <<16#fff0000000000000:64>>]],
    Listed = cost_ledger_test_records:listed(L, #{}, #{payload => true, order => oldest}),
    ?assertMatch([#{output := [undefined, x], input := undefined} | _], Listed),
    ?assertEqual(Ids, [Id || #{id := Id} <- Listed]),
    ?assertEqual(Listed, [fetched(L, Id) || Id <- Ids]),
    ?assertEqual({ok, length(Ids)}, cost_ledger:fold(L, #{}, fun(_, N) -> N + 1 end, 0)),
    close(L).

wrong_queries_are_refused(Config) ->
    L = open(Config),
    record(L, ?CALL),
    Wrongs = [7, <<"x">>, [1], [{user, u1} | x], {user, u1}, self(), #{{a} => 1}, #{user => 5},
              #{user => <<255>>}, #{since => self()}, #{status => [failed, 7]},
              #{kind => [[], []]}],
    Add = fun(_, Acc) -> Acc + 1 end,
    unchanged(L, fun() ->
        [refused(Fun)
         || Wrong <- Wrongs,
            Fun <- [fun() -> cost_ledger:list(L, Wrong, #{}) end,
                    fun() -> cost_ledger:list(L, #{}, Wrong) end,
                    fun() -> cost_ledger:failed(L, Wrong, #{}) end,
                    fun() -> cost_ledger:fold(L, Wrong, Add, 0) end,
                    fun() -> cost_ledger:totals(L, Wrong) end,
                    fun() -> cost_ledger:totals_by(L, user, Wrong) end]],
        [refused(fun() -> cost_ledger:fetch(L, Id) end)
         || Id <- [-1, 1 bsl 64, 1.0, <<"1">>, x, self()]],
        [refused(fun() -> cost_ledger:fetch_run(L, Run) end)
         || Run <- [<<>>, 7, binary:copy(<<"r">>, 1001), <<255>>, self(), [a | b]]],
        [refused(fun() -> cost_ledger:history(L, Options) end)
         || Options <- [#{limit => -1}, #{since => x}, #{state => <<"executing">>}, #{x => 1}, 7,
                        #{state => nil}, #{state => undefined}]]
    end),
    %% What Fun does is its own affair.
    ?assertError(stop, cost_ledger:fold(L, #{}, fun(_, _) -> error(stop) end, 0)),
    ?assertEqual({ok, 1}, cost_ledger:fold(L, #{}, Add, 0)),
    close(L).
