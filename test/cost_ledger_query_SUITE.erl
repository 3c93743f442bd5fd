%%% Random records against a plain list of them: what is recorded comes back as it was, and filters,
%%% pages and sums give what a comprehension over all records gives.
%%%
%%% COST_LEDGER_NUMTESTS in the environment sets how many random ledgers are tried (25).
%%%
%%% PropEr is used through its functions: Debian's package comes without proper.hrl.
-module(cost_ledger_query_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-import(cost_ledger_test_budget, [reopen/2, close/1]).
-import(cost_ledger_test_records,
        [open/1, open/2, record/2, record_many/3, fetched/2, all/1, all/2, pages/3, totals/2,
         tokens/1]).

-define(NOON, 1700000000000).
-define(HOUR, 3600000).
-define(BY, #{by => <<"ops">>, reason => <<"a test">>}).
-define(DEPTH_MAX, 23).

suite() -> [{timetrap, {seconds, max(180, 10 * tests())}}].

tests() -> list_to_integer(os:getenv("COST_LEDGER_NUMTESTS", "25")).

all() ->
    [payloads_of_the_greatest_depth_come_back, sums_by_a_dimension_are_of_one_moment,
     a_total_is_of_one_moment, {group, random}].

groups() ->
    [{random, [parallel],
      [any_payload_comes_back, lists_are_comprehensions, sums_are_those_of_the_fold]}].

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

check(Tests, Type, Fun) ->
    Property = proper:forall(Type, fun(Case) ->
                                           %% This PropEr cannot report an exception on OTP 25.
                                           try Fun(Case), true
                                           catch Class:Reason:Stack ->
                                                   ct:pal("~tp~n~tp", [Case,
                                                                       {Class, Reason, Stack}]),
                                                   false
                                           end
                                   end),
    true = proper:quickcheck(Property, [{numtests, Tests}, quiet, long_result]).

%% A ledger of its own for each random case.
with_ledger(Config, Fun) ->
    Own = [{path, cost_ledger_test:directory(Config)} | Config],
    L = open(Own),
    Result = Fun(L, Own),
    close(L),
    cost_ledger_test:remove(?config(path, Own)),
    Result.

%%% Payloads -----------------------------------------------------------------------------------

any_payload_comes_back(Config) ->
    L = open(Config),
    check(20 * tests(), {map(), term(), term(), map()},
          fun({Attributes, Input, Output, More}) ->
                  Given = #{attributes => Attributes, input => Input, output => Output,
                            trace => More#{steps => [More#{action => go, result => Input}]}},
                  Said = maps:filter(fun(_, Value) -> Value =/= nil andalso Value =/= undefined end,
                                     Given),
                  Id = record(L, Given#{state => executing}),
                  ?assertEqual(Said, maps:with(maps:keys(Given), fetched(L, Id)))
          end),
    Before = all(L),
    reopen(Config, L),
    ?assertEqual(Before, all(L)),
    close(L).

payloads_of_the_greatest_depth_come_back(Config) ->
    L = open(Config),
    [begin
         Deep = lists:foldl(Wrap, leaf, lists:seq(1, ?DEPTH_MAX)),
         Call = #{state => executing},
         ?assertMatch(#{output := Deep}, fetched(L, record(L, Call#{output => Deep}))),
         ?assertError(badarg, cost_ledger:record(L, Call#{output => Wrap(0, Deep)}))
     end || Wrap <- [fun(_, Inner) -> [Inner] end, fun(_, Inner) -> #{in => Inner} end,
                     fun(N, Inner) when N rem 2 =:= 0 -> [1, Inner];
                        (N, Inner) -> #{N => Inner}
                     end]],
    close(L).

%% PropEr's own lists and maps of nested terms grow too fast: nested by hand.
term() ->
    proper_types:sized(fun(Size) -> term(min(Size, 12) div 3) end).

term(0) ->
    leaf();
term(Depth) ->
    proper_types:lazy(fun() -> proper_types:frequency(
                                 [{2, leaf()}, {1, short(term(Depth - 1))},
                                  {1, map(term(Depth - 1))}])
                      end).

map() -> map(term()).

map(Value) ->
    proper_types:bind(short({key(), Value}), fun maps:from_list/1, false).

short(Type) -> proper_types:resize(4, proper_types:list(Type)).

key() ->
    proper_types:oneof([atom(), proper_types:resize(8, proper_types:binary()),
                        proper_types:integer(-(1 bsl 63), (1 bsl 63) - 1)]).

leaf() ->
    proper_types:oneof(
      [atom(), proper_types:resize(20, proper_types:binary()), <<255, 254>>, <<>>,
       <<"ÄÖ☃"/utf8>>, <<16#ed, 16#a0, 16#80>>, proper_types:integer(),
       proper_types:float(), 0.0, -0.0, 1.0e308,
       5.0e-324, proper_types:integer(-(1 bsl 70), 1 bsl 70), 1 bsl 63, (1 bsl 64) - 1, 1 bsl 64,
       -(1 bsl 63), -(1 bsl 63) - 1, (1 bsl 2040) - 1, -((1 bsl 2040) - 1), [], #{}]).

atom() ->
    proper_types:oneof([true, false, nil, null, undefined, '', plain, 'two words', 'Ärger', '☃',
                        list_to_atom(lists:duplicate(255, $☃)),
                        list_to_atom(lists:duplicate(255, $ä)),
                        list_to_atom(lists:duplicate(255, $a))]).

%%% Lists --------------------------------------------------------------------------------------

user() -> proper_types:oneof([none, <<"u1">>, <<"u2">>]).
project() -> proper_types:oneof([none, <<"p1">>, <<"p2">>]).
model() -> proper_types:oneof([none, <<"m1">>, <<"m2">>]).
status() -> proper_types:oneof([completed, failed, aborted]).

%% What is booked, and how many ms after the one before.
booking() ->
    proper_types:frequency(
      [{8, {work, proper_types:oneof([invocation, invocation, run]), status(), user(), project(),
            model(), proper_types:oneof([none, proper_types:integer(0, 1000)]),
            proper_types:integer(0, 5000), proper_types:integer(0, 100), step()}},
       {2, {correction, proper_types:integer(1, 50), proper_types:integer(-500, 500),
            proper_types:integer(-20, 20), step()}}]).

step() -> proper_types:oneof([0, 0, 1, 1000, ?HOUR - 1, ?HOUR, 25 * ?HOUR]).

bookings() -> proper_types:resize(50, proper_types:list(booking())).

book(L, {work, Kind, Status, User, Project, Model, Cost, Duration, Input, Step}) ->
    ok = cost_ledger:advance_clock(L, Step),
    Given = [{user, User}, {project, Project}, {model, Model}, {cost, Cost}],
    record(L, maps:from_list([Pair || {_, Value} = Pair <- Given, Value =/= none]
                             ++ [{state, executing} || Kind =:= invocation]
                             ++ [{kind, Kind}, {status, Status}, {duration_ms, Duration}]
                             ++ [{tokens, #{input => Input, output => 1}} || Input > 0]));
book(L, {correction, Nth, Cost, Input, Step}) ->
    ok = cost_ledger:advance_clock(L, Step),
    case all(L, #{}) of
        [] -> ok;
        Records ->
            #{id := Id} = lists:nth(1 + Nth rem length(Records), Records),
            %% Below nothing is refused.
            _ = cost_ledger:record(L, ?BY#{kind => correction, corrects => Id, cost => Cost,
                                           tokens => #{input => Input}})
    end.

filter() ->
    Maybe = fun(Type) -> proper_types:frequency([{2, none}, {1, Type}]) end,
    {user(), project(), model(),
     Maybe(proper_types:oneof([status(), short_list([completed, failed, aborted])])),
     Maybe(proper_types:oneof([all, run, correction, [invocation, correction],
                               [run, redaction], [correction, run, invocation]])),
     Maybe(moment()), Maybe(moment())}.

short_list(Values) ->
    proper_types:oneof([[A, B] || A <- Values, B <- Values]).

moment() ->
    proper_types:oneof([?NOON + Ms || Ms <- [-1, 0, 1, 1000, ?HOUR - 1, ?HOUR, ?HOUR + 1, 5 * ?HOUR,
                                             24 * ?HOUR, 25 * ?HOUR, 60 * ?HOUR]]).

to_filter({User, Project, Model, Status, Kind, Since, Until}) ->
    maps:from_list([Pair || {_, Value} = Pair <- [{user, User}, {project, Project}, {model, Model},
                                                  {status, Status}, {kind, Kind}, {since, Since},
                                                  {until, Until}],
                            Value =/= none]).

%% As the documentation says what a filter is, and no faster.
matching(Filter, Records) ->
    [Record || Record <- Records, is_in(maps:merge(#{kind => [invocation, run]}, Filter), Record)].

is_in(Filter, Record) ->
    lists:all(fun({since, Ms}) -> maps:get(timestamp, Record) >= Ms;
                 ({until, Ms}) -> maps:get(timestamp, Record) =< Ms;
                 ({kind, all}) -> true;
                 ({Key, Values}) when is_list(Values) ->
                      lists:member(maps:get(Key, Record, absent), Values);
                 ({Key, Value}) -> maps:get(Key, Record, absent) =:= Value
              end, maps:to_list(Filter)).

lists_are_comprehensions(Config) ->
    check(tests(), {bookings(), proper_types:vector(8, {filter(), page()})},
          fun({Bookings, Queries}) ->
                  with_ledger(Config, fun(L, _) ->
                                              [book(L, Booking) || Booking <- Bookings],
                                              with_writer(L, fun() -> lists_agree(L, Queries) end)
                                      end)
          end).

page() -> {proper_types:oneof([newest, oldest]), proper_types:integer(1, 20)}.

%% Compared up to the newest entry that was there before; the writer is of the same names.
lists_agree(L, Queries) ->
    Known = all(L),
    High = lists:max([0 | [Id || #{id := Id} <- Known]]),
    [begin
         Filter = to_filter(Query),
         Expected = matching(Filter, Known),
         Found = [Record || #{id := Id} = Record
                                <- pages(L, Filter, #{limit => Limit, order => Order,
                                                      payload => true}),
                            Id =< High],
         ?assertEqual({Filter, ordered(Order, Expected)}, {Filter, Found}),
         ?assertEqual({Filter, Expected},
                      {Filter, [Record || #{id := Id} = Record <- all(L, Filter), Id =< High]}),
         counted(L, Filter)
     end || {Query, {Order, Limit}} <- Queries].

%% Between two looks at all of them.
counted(L, Filter) ->
    Least = length(matching(Filter, all(L))),
    {ok, #{total := Total}} = cost_ledger:list(L, Filter, #{limit => 1, total => true}),
    Most = length(matching(Filter, all(L))),
    ?assert(Least =< Total andalso Total =< Most, {Filter, Least, Total, Most}).

ordered(oldest, Records) -> Records;
ordered(newest, Records) -> lists:reverse(Records).

with_writer(L, Fun) -> with_writer(L, fun() -> write(L) end, Fun).

with_writer(_L, Write, Fun) ->
    {Writer, Monitor} = spawn_monitor(Write),
    Result = Fun(),
    Writer ! stop,
    receive {'DOWN', Monitor, process, Writer, Reason} -> normal = Reason end,
    Result.

write(L) ->
    record(L, #{state => executing, user => <<"u1">>, project => <<"p1">>, model => <<"m1">>,
                cost => 1, status => failed}),
    receive stop -> ok after 0 -> write(L) end.

%%% One moment ---------------------------------------------------------------------------------

%% More values than one slice has; the last of them never costs more than the first, which is
%% charged before it each time.
-define(USERS, 450).

user_text(Number) -> list_to_binary(io_lib:format("u~4..0b", [Number])).

charge(L, Number, Cost) ->
    record(L, #{state => executing, user => user_text(Number), cost => Cost}).

charge_first_and_last(L) ->
    charge(L, 1, 1),
    charge(L, ?USERS, 1),
    receive stop -> ok after 0 -> charge_first_and_last(L) end.

sums_by_a_dimension_are_of_one_moment(Config) ->
    L = open(Config, #{sync => no_meta_sync}),
    [charge(L, Number, 0) || Number <- lists:seq(1, ?USERS)],
    Cost = fun(Number, Values) ->
                   {_, #{cost := #{gross := Gross}}} = lists:keyfind(user_text(Number), 1, Values),
                   Gross
           end,
    with_writer(L, fun() -> charge_first_and_last(L) end, fun() ->
        [begin
             {ok, Values} = cost_ledger:totals_by(L, user, #{}),
             {First, Last} = {Cost(1, Values), Cost(?USERS, Values)},
             ?assert(First =:= Last orelse First =:= Last + 1, {First, Last})
         end || _ <- lists:seq(1, 100)]
    end),
    close(L).

%% Neither the page nor the count has what was booked after the other was read: no series knows the
%% model, so it takes two slices to count them, and two to find the page.
a_total_is_of_one_moment(Config) ->
    L = open(Config, #{sync => no_meta_sync}),
    Call = #{state => executing, model => <<"m1">>, cost => 1},
    _ = record_many(L, 6000, fun(Number) when Number rem 100 =:= 0 -> Call;
                                (_) -> maps:remove(model, Call)
                             end),
    with_writer(L, fun() -> write(L) end, fun() ->
        [begin
             {ok, #{records := Records, total := Total} = Listed} =
                 cost_ledger:list(L, #{model => <<"m1">>},
                                  #{order => Order, limit => 1000, total => true}),
             ?assert(is_map_key(cursor, Listed) orelse length(Records) =:= Total,
                     {length(Records), Total})
         end || Order <- [newest, oldest], _ <- lists:seq(1, 30)]
    end),
    close(L).

%%% Sums ---------------------------------------------------------------------------------------

sums_are_those_of_the_fold(Config) ->
    check(tests(), {bookings(), proper_types:vector(12, filter())},
          fun({Bookings, Filters}) ->
                  with_ledger(Config, fun(L, Own) ->
                                              [book(L, Booking) || Booking <- Bookings],
                                              sums_agree(L, Filters),
                                              reopen(Own, L),
                                              sums_agree(L, Filters)
                                      end)
          end).

sums_agree(L, Filters) ->
    Known = all(L),
    ById = maps:from_list([{Id, Record} || #{id := Id} = Record <- Known]),
    Summable = [maps:without([kind, model], to_filter(Filter)) || Filter <- Filters],
    [begin
         ?assertEqual({Filter, sums(in_sums(Filter, Known, ById), ById)},
                      {Filter, told(totals(L, Filter))}),
         [by_agrees(L, Dimension, maps:remove(Dimension, Filter), Known, ById)
          || Dimension <- [user, status], is_declared([Dimension | maps:keys(Filter)])]
     end || Filter <- Summable, is_declared(maps:keys(Filter)),
            not is_list(maps:get(status, Filter, none))],
    ok.

by_agrees(L, Dimension, Filter, Known, ById) ->
    {ok, Values} = cost_ledger:totals_by(L, Dimension, Filter),
    Told = [{Value, told(Totals)} || {Value, Totals} <- Values],
    Costs = [Gross || {_, #{cost := #{gross := Gross}}} <- Values],
    ?assertEqual(lists:reverse(lists:sort(Costs)), Costs),
    In = fun(Value) -> in_sums(Filter#{Dimension => Value}, Known, ById) end,
    Possible = case Dimension of
                   user -> [<<"u1">>, <<"u2">>];
                   status -> [completed, failed, aborted]
               end,
    ?assertEqual({Dimension, Filter, lists:sort([{Value, sums(In(Value), ById)}
                                                 || Value <- Possible, In(Value) =/= []])},
                 {Dimension, Filter, lists:sort(Told)}).

%% The series that cost_ledger_test_records:open/1 declares, as far as they are used here.
is_declared(Keys) ->
    lists:member(lists:usort(Keys -- [since, until]),
                 [[], [user], [project], [status], [project, status], [status, user]]).

%% A correction is where the record is that it corrects.
in_sums(Filter, Records, ById) ->
    {Names, Times} = {maps:without([since, until], Filter), maps:with([since, until], Filter)},
    [Record || #{kind := Kind} = Record <- Records,
               lists:member(Kind, [invocation, run, correction]), is_in(Times, Record),
               is_in(Names, case Record of
                                #{corrects := Id} -> maps:get(Id, ById);
                                _ -> Record
                            end)].

%% The part of totals that is compared.
told(#{invocations := Invocations, runs := Runs, corrections := Corrections, cost := Cost,
       tokens := Tokens}) ->
    {Invocations, Runs, Corrections, Cost, Tokens}.

sums(Records, ById) ->
    Corrections = [Record || #{kind := correction} = Record <- Records],
    Work = Records -- Corrections,
    Off = [Cost || #{cost := Cost} <- Corrections],
    Booked = lists:sum(costs(Work)) + lists:sum([Cost || Cost <- Off, Cost > 0]),
    Less = lists:sum([Cost || Cost <- Off, Cost < 0]),
    %% Gross: also what records that completed turned out to have cost besides.
    Completed = [Record || #{status := completed} = Record <- Work]
        ++ [Correction || #{corrects := Id, cost := Cost} = Correction <- Corrections, Cost > 0,
                          #{status := completed} <- [maps:get(Id, ById)]],
    Tokens = [Each || #{tokens := Each} <- Records],
    {of_kind(invocation, Work, Corrections, ById), of_kind(run, Work, Corrections, ById),
     length(Corrections),
     #{gross => Booked, corrected => Less, net => Booked + Less,
       completed => lists:sum(costs(Completed))},
     maps:map(fun(Class, _) -> lists:sum([maps:get(Class, Each) || Each <- Tokens]) end,
              tokens(#{}))}.

of_kind(Kind, Work, Corrections, ById) ->
    Own = [Record || #{kind := Of} = Record <- Work, Of =:= Kind],
    Costs = costs(Own),
    Durations = [Ms || #{duration_ms := Ms} <- Own],
    Status = fun(Status) -> length([x || #{status := Of} <- Own, Of =:= Status]) end,
    %% Those that got a cost in this time.
    Priced = [Id || Id <- lists:usort([Id || #{corrects := Id, cost := _} <- Corrections]),
                    #{kind := Of} = Record <- [maps:get(Id, ById)], Of =:= Kind,
                    not is_map_key(cost, Record), is_first(Id, Corrections, ById)],
    #{count => length(Own), completed => Status(completed), failed => Status(failed),
      aborted => Status(aborted), unpriced => length(Own) - length(Costs) - length(Priced),
      cost => lists:sum(Costs), average_cost => average(Costs), min_cost => min_of(Costs),
      max_cost => lists:max([0 | Costs]), duration_ms => lists:sum(Durations),
      average_duration_ms => average(Durations), min_duration_ms => min_of(Durations),
      max_duration_ms => lists:max([0 | Durations])}.

%% Whether the first correction of that record, which gives it its cost, is among these.
is_first(Id, Corrections, ById) ->
    First = lists:min([CorrectionId || #{corrects := Of, id := CorrectionId} <- maps:values(ById),
                                       Of =:= Id]),
    lists:any(fun(#{id := CorrectionId}) -> CorrectionId =:= First end, Corrections).

costs(Records) -> [Cost || #{cost := Cost} <- Records].

%% Rounded half up.
average([]) -> 0;
average(Values) -> floor(lists:sum(Values) / length(Values) + 0.5).

min_of([]) -> 0;
min_of(Values) -> lists:min(Values).
