%%% Random histories of one ledger on a manual clock against a plain list of what was booked:
%%% after every command the gate, the statistics and the budgets are those of a direct count.
%%%
%%% COST_LEDGER_NUMTESTS in the environment sets how many histories are tried (200).
%%%
%%% PropEr is used through its functions: Debian's package comes without proper.hrl.
-module(cost_ledger_model_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([counts_are_those_of_the_model/1, examples/1, a_wrong_model_is_noticed/1]).

-define(HOUR, 3600000).
-define(DAY, 86400000).
-define(STATES, [executing, improving, contemplating, model_a, model_b, model_c]).

suite() -> [{timetrap, {seconds, max(600, tests())}}].

tests() -> list_to_integer(os:getenv("COST_LEDGER_NUMTESTS", "200")).

all() -> [examples, counts_are_those_of_the_model, a_wrong_model_is_noticed].

init_per_suite(Config) ->
    %% Opening with other budgets than the stored ones is a warning, here hundreds of them.
    ok = logger:set_module_level(cost_ledger_events, error),
    Config.

end_per_suite(_Config) ->
    ok = logger:unset_module_level(cost_ledger_events).

%% `shift` is 0 in a right model: an entry counts iff it is younger than window + shift.
-record(model,
        {ledger :: atom(),
         directory :: file:filename(),
         shift = 0 :: integer(),
         now_us = 0 :: integer(),
         last_id = 0 :: non_neg_integer(),
         version = 1 :: pos_integer(),
         entries = [] :: [{Id :: pos_integer(), State :: atom()}], % newest first
         budgets :: #{atom() => #{max_per_hour | max_per_day => term()}}}).

%%% Cases --------------------------------------------------------------------------------------

counts_are_those_of_the_model(Config) ->
    Options = [{numtests, tests()}, quiet, long_result],
    case proper:quickcheck(property(Config, 0), Options) of
        true -> ok;
        [Counterexample] ->
            ct:pal("counterexample: ~tp", [Counterexample]),
            run(Config, 0, Counterexample),
            ct:fail({not_reproduced, Counterexample})
    end.

%% What random histories reach seldom, or what was once wrong.
examples(Config) ->
    Stop = fun(Hour, Day) -> #{max_per_hour => Hour, max_per_day => Day} end,
    [run(Config, 0, {Start, Commands})
     || Start <- [0, 1, ?HOUR, ?DAY - 1, 1700000000000],
        Commands <-
            [%% The last ms of the hour and of the day, and the first after them.
             [{record, executing}, {record, executing}, {advance, 1}, {record, executing},
              {to_edge, ?HOUR, 0, -1}, {to_edge, ?HOUR, 0, 0}, {to_edge, ?HOUR, 0, 1},
              {record, executing},
              {to_edge, ?DAY, 0, -1}, {to_edge, ?DAY, 0, 0}, {to_edge, ?DAY, 0, 1}],
             %% More entries than a ms has room for run ahead of a clock that stands still.
             [{burst, executing, 1200}, {record, improving}, {advance, 0}, {advance, 1},
              {to_edge, ?HOUR, 0, -1}, {to_edge, ?HOUR, 0, 0}, {to_edge, ?HOUR, 0, 1}, reopen,
              {record, executing}, {advance, 1}],
             %% Ledger time after opening is that of the newest entry.
             [{burst, improving, 1100}, reopen, {advance, 0}, {set_back, 1}, {record, improving}],
             %% Limits down to and below what was used, to 0, and up again.
             [{record, executing}, {record, executing},
              {set_budgets, #{executing => Stop(2, infinity)}},
              {set_budgets, #{executing => Stop(3, 1)}}, {set_budgets, #{executing => Stop(0, 5)}},
              {advance, ?DAY + 1}, {set_budgets, #{executing => Stop(infinity, infinity)}},
              {set_budgets, #{executing => Stop(infinity, infinity)}}, reopen,
              {set_budgets, #{executing => #{max_per_day => 0}}}, reopen],
             %% A state that the options do not have, declared when it is already exhausted.
             [{set_budgets, #{model_a => Stop(0, 0)}}, {record, model_a}, reopen,
              {set_budgets, #{model_a => #{max_per_hour => 2}}},
              {set_budgets, #{model_a => #{max_per_day => 2}}}, {record, model_a},
              {set_budgets, #{model_b => #{}}}, {record, model_b}],
             %% A change of budgets takes an id as well, and is no invocation.
             [{set_budgets, #{executing => Stop(1, 1)}}, {record, executing}, {advance, 1},
              {set_budgets, #{improving => Stop(1, 1)}}, {record, improving}, reopen]]],
    ok.

%% The property is one that can fail: windows one ms too long or too short are found.
a_wrong_model_is_noticed(Config) ->
    [begin
         Options = [{numtests, 2000}, quiet, long_result, noshrink],
         case proper:quickcheck(property(Config, Shift), Options) of
             [_Counterexample] -> ok;
             true -> ct:fail({not_noticed, Shift})
         end
     end || Shift <- [-1, 1]],
    ok.

%%% Histories ----------------------------------------------------------------------------------

property(Config, Shift) ->
    proper:forall(history(),
                  fun(History) ->
                          %% Everything: this PropEr cannot report an exception on OTP 25.
                          try run(Config, Shift, History) of
                              ok -> true
                          catch _:_ -> false
                          end
                  end).

history() ->
    {proper_types:oneof([0, ?HOUR, 1700000000000, proper_types:integer(0, 4000000000000)]),
     proper_types:resize(60, proper_types:list(command()))}.

command() ->
    proper_types:frequency(
      [{40, {record, state()}},
       {12, {advance, step()}},
       {20, {to_edge, proper_types:oneof([?HOUR, ?DAY]), proper_types:integer(0, 20),
             proper_types:integer(-1, 1)}},
       {12, {set_budgets, changes()}},
       {5, reopen},
       {2, {set_back, proper_types:integer(1, 100000)}},
       {1, {burst, state(), proper_types:integer(20, 60)}}]).

state() -> proper_types:oneof(?STATES).

step() ->
    proper_types:oneof([0, 1, 2, ?HOUR - 1, ?HOUR, ?HOUR + 1, ?DAY, proper_types:integer(0, 1000),
                        proper_types:integer(0, 2 * ?HOUR), proper_types:integer(0, 2 * ?DAY)]).

%% As lists of pairs first: PropEr knows no generators within maps.
changes() ->
    Limit = proper_types:oneof([0, 1, 2, 3, 5, infinity]),
    Limits = proper_types:oneof([[{max_per_hour, Limit}, {max_per_day, Limit}],
                                 [{max_per_hour, Limit}], [{max_per_day, Limit}], []]),
    Changes = proper_types:oneof([[], [{executing, Limits}],
                                  [{improving, Limits}, {executing, Limits}],
                                  [{contemplating, Limits}], [{model_a, Limits}],
                                  [{model_b, Limits}, {model_c, Limits}]]),
    proper_types:bind(Changes,
                      fun(Pairs) ->
                              maps:from_list([{State, maps:from_list(Given)}
                                              || {State, Given} <- Pairs])
                      end, false).

%% Throws {differs, Command, Differences} when the ledger is not what the model is.
run(Config, Shift, {StartMs, Commands}) ->
    Ledger = list_to_atom("model_" ++ integer_to_list(erlang:phash2(Config))),
    Directory = cost_ledger_test:directory(Config),
    Budgets = #{executing => #{max_per_hour => 3, max_per_day => 5},
                improving => #{max_per_hour => 2, max_per_day => 2},
                contemplating => #{max_per_hour => 1, max_per_day => infinity}},
    Ledger = cost_ledger_test:open(Ledger, Directory, #{budgets => Budgets}),
    Opened = #model{ledger = Ledger, directory = Directory, shift = Shift, budgets = Budgets},
    try
        Started = step({set_clock, StartMs}, Opened),
        Ended = lists:foldl(fun step/2, Started, Commands),
        check_history(Ended)
    after
        _ = cost_ledger:stop(Ledger),
        cost_ledger_test:remove(Directory)
    end.

step(Command, Model) ->
    {Expected, Given, Next} = command(Command, Model),
    Differences = [{answer, {expected, Expected}, {given, Given}} || Expected =/= Given]
        ++ differences(Next),
    case Differences of
        [] -> Next;
        _ -> throw({differs, Command, Differences})
    end.

%%% Commands: {Expected answer, Given answer, Model afterwards} --------------------------------

command({record, State}, #model{ledger = Ledger, budgets = Budgets} = Model) ->
    case Budgets of
        #{State := _} ->
            Answer = cost_ledger:record_invocation(Ledger, State, #{duration_ms => 1}),
            {ok, Answer, booked(State, Model)};
        _ ->
            Answer = try cost_ledger:record_invocation(Ledger, State, #{})
                     catch error:badarg -> badarg
                     end,
            {badarg, Answer, Model}
    end;
command({burst, State, Count}, #model{ledger = Ledger, budgets = Budgets} = Model)
  when is_map_key(State, Budgets) ->
    Answers = at_once(Count, fun() -> cost_ledger:record_invocation(Ledger, State, #{}) end),
    Booked = lists:foldl(fun(_, Acc) -> booked(State, Acc) end, Model, Answers),
    {[ok], lists:usort(Answers), Booked};
command({burst, State, _Count}, Model) ->
    command({record, State}, Model);
command({advance, Ms}, #model{ledger = Ledger, now_us = Now} = Model) ->
    {ok, cost_ledger:advance_clock(Ledger, Ms), Model#model{now_us = Now + Ms * 1000}};
command({set_clock, Ms}, #model{ledger = Ledger, now_us = Now} = Model) when Ms * 1000 >= Now ->
    {ok, cost_ledger:set_clock(Ledger, Ms), Model#model{now_us = Ms * 1000}};
command({set_clock, Ms}, #model{ledger = Ledger} = Model) ->
    {{error, backwards}, cost_ledger:set_clock(Ledger, Ms), Model};
command({set_back, Ms}, #model{now_us = Now} = Model) ->
    command({set_clock, Now div 1000 - Ms}, Model);
command({to_edge, Window, Nth, Offset}, #model{now_us = Now, entries = Entries} = Model) ->
    %% The first ms at which an entry is no longer in the window.
    Edges = lists:usort([Id div 1000 + Window + 1 || {Id, _} <- Entries]),
    case [Edge || Edge <- Edges, (Edge + 1) * 1000 >= Now] of
        [] -> command({advance, 0}, Model);
        Ahead -> command({set_clock, lists:nth(1 + Nth rem length(Ahead), Ahead) + Offset}, Model)
    end;
command({set_budgets, Changes}, #model{ledger = Ledger, budgets = Budgets} = Model) ->
    Answer = cost_ledger:set_budgets(Ledger, Changes, #{by => model, reason => "test"}),
    New = #{max_per_hour => infinity, max_per_day => infinity},
    Merged = maps:fold(fun(State, Limits, Acc) ->
                               Acc#{State => maps:merge(maps:get(State, Acc, New), Limits)}
                       end, Budgets, Changes),
    Next = case Merged of
               Budgets -> Model;
               _ -> Model#model{budgets = Merged, version = Model#model.version + 1,
                                last_id = next_id(Model)}
           end,
    {{ok, Next#model.version}, Answer, Next};
command(reopen, #model{ledger = Ledger, directory = Directory, now_us = Now,
                       last_id = LastId} = Model) ->
    Stopped = cost_ledger:stop(Ledger),
    Opened = cost_ledger_test:open(Ledger, Directory, #{budgets => #{}}),
    {{ok, Ledger}, {Stopped, Opened}, Model#model{now_us = max(Now, LastId)}}.

booked(State, #model{entries = Entries} = Model) ->
    Id = next_id(Model),
    Model#model{last_id = Id, entries = [{Id, State} | Entries]}.

next_id(#model{now_us = Now, last_id = LastId}) -> max(Now, LastId + 1).

at_once(Count, Fun) ->
    Self = self(),
    Pids = [spawn_link(fun() -> Self ! {self(), Fun()} end) || _ <- lists:seq(1, Count)],
    [receive {Pid, Answer} -> Answer end || Pid <- Pids].

%%% The ledger and the model -------------------------------------------------------------------

differences(#model{ledger = Ledger, budgets = Budgets, now_us = Now} = Model) ->
    Stats = cost_ledger:stats(Ledger),
    Expected = #{hourly => count(?HOUR, Model), daily => count(?DAY, Model),
                 session => count(infinity, Model), ledger_time => Now div 1000,
                 budgets => maps:map(fun(_State, #{max_per_hour := Hour, max_per_day := Day}) ->
                                             #{hourly_limit => Hour, daily_limit => Day}
                                     end, Budgets)},
    [{stats, {expected, Expected}, {given, Stats}} || Stats =/= Expected]
        ++ [{gate, State, {expected, Answer}, {given, Given}}
            || State <- ?STATES,
               Answer <- [gate(State, Model)],
               Given <- [try cost_ledger:check_budget(Ledger, State)
                         catch error:badarg -> badarg
                         end],
               Given =/= Answer].

gate(State, #model{budgets = Budgets} = Model) ->
    case Budgets of
        #{State := #{max_per_hour := HourLimit, max_per_day := DayLimit}} ->
            #{State := Hour} = count(?HOUR, Model),
            #{State := Day} = count(?DAY, Model),
            %% A number is below infinity, because it is below any atom.
            case Hour < HourLimit andalso Day < DayLimit of
                true -> ok;
                false -> budget_exhausted
            end;
        _ ->
            badarg
    end.

count(Window, #model{budgets = Budgets, entries = Entries} = Model) ->
    Zero = maps:map(fun(_State, _Limits) -> 0 end, Budgets#{total => #{}}),
    lists:foldl(fun({Id, State}, Acc) ->
                        case in_window(Id div 1000, Window, Model) of
                            true -> Acc#{State := maps:get(State, Acc) + 1,
                                         total := maps:get(total, Acc) + 1};
                            false -> Acc
                        end
                end, Zero, Entries).

in_window(_Ms, infinity, _Model) -> true;
in_window(Ms, Window, #model{now_us = Now, shift = Shift}) ->
    Ms >= Now div 1000 - Window - Shift.

check_history(#model{ledger = Ledger, entries = Entries}) ->
    Given = [{Id, State} || #{id := Id, state := State}
                                <- cost_ledger:history(Ledger, #{limit => 1 bsl 40})],
    case Given of
        Entries -> ok;
        _ -> throw({differs, history, [{expected, Entries}, {given, Given}]})
    end.
