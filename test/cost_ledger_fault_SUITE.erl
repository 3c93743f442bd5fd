%%% Machines whose wall clock is wrong and whose disk fails: VMs of their own, with the library of
%%% test/support/fault.c preloaded, which is told through a file what is wrong.
-module(cost_ledger_fault_SUITE).

-include_lib("cost_ledger/src/cost_ledger.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([hourly_cap_recovers_across_a_reopen/1, hourly_cap_recovers_with_a_clock_gone_wrong/1,
         time_does_not_go_back_after_a_kill/1, clock_ahead_is_reported_once_and_not_followed/1,
         full_disk/1, failing_writes/1, short_writes/1, failing_sync/1, failing_header/1,
         booked_although_the_header_failed/1, changed_although_the_header_failed/1,
         refused_although_the_header_is_there/1, opening_on_a_full_disk/1,
         writer_killed_in_mid_commit/1, stopped_in_mid_commit/1,
         holds_end_when_a_full_disk_has_room_again/1,
         holds_of_a_commit_in_flight_are_watched_by_the_next_writer/1]).
%% Called in other VMs.
-export([kill_in_mid_commit/2, stop_in_mid_commit/1]).
-export([hold/3, kill/1, writer_name/1, reserve_in_mid_commit/2]).
-export([record/3, start_listening/1, heard/0, start_load/1, stop_load/0, sample_time/2]).

-define(MINUTE, 60000).
-define(HOUR, 3600000).
-define(YEAR, (365 * 86400000)).
-define(UNLIMITED, #{max_per_hour => infinity, max_per_day => infinity}).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, clock}, {group, disk}].

groups() ->
    %% Waiting is most of what they do; the machines are independent of each other.
    [{clock, [parallel],
      [hourly_cap_recovers_across_a_reopen, hourly_cap_recovers_with_a_clock_gone_wrong,
       time_does_not_go_back_after_a_kill, clock_ahead_is_reported_once_and_not_followed]},
     {disk, [],
      [full_disk, failing_writes, short_writes, failing_sync, failing_header,
       booked_although_the_header_failed, changed_although_the_header_failed,
       refused_although_the_header_is_there, opening_on_a_full_disk,
       writer_killed_in_mid_commit, stopped_in_mid_commit,
       holds_end_when_a_full_disk_has_room_again,
       holds_of_a_commit_in_flight_are_watched_by_the_next_writer]}].

init_per_suite(Config) ->
    %% _build/test/lib/cost_ledger, and the library beside the profiles.
    Build = filename:join([code:lib_dir(cost_ledger), "..", "..", ".."]),
    Library = filename:absname(filename:join([Build, "test-support", "fault.so"])),
    %% Opening with other budgets than the stored ones is a warning.
    ok = logger:set_module_level(cost_ledger_events, error),
    case filelib:is_regular(Library) of
        true -> [{library, Library} | Config];
        false -> ct:fail("~ts is not there: make -f test/support/support.mk", [Library])
    end.

end_per_suite(_Config) ->
    ok = logger:unset_module_level(cost_ledger_events).

%%% The clock ----------------------------------------------------------------------------------

hourly_cap_recovers_across_a_reopen(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Past = boot(Config, #{wall => -61 * ?MINUTE}),
    fault = open(Past, Directory, capped(3)),
    [ok, ok, ok] = call(Past, ?MODULE, record, [executing, "past", 3]),
    budget_exhausted = check(Past),
    power_off(Past),
    Present = boot(Config, #{}),
    fault = open(Present, Directory, capped(3)),
    ok = check(Present),
    #{hourly := #{executing := 0}, daily := #{executing := 3}} = stats(Present),
    power_off(Present),
    cost_ledger_test:remove(Directory).

%% A year ahead when it was filled and when it recovers; then the wall clock is put right, a year
%% back, and the cap filled a year ahead recovers within an hour of real time all the same.
hourly_cap_recovers_with_a_clock_gone_wrong(Config) ->
    Directory = cost_ledger_test:directory(Config),
    First = boot(Config, #{wall => ?YEAR - 61 * ?MINUTE}),
    fault = open(First, Directory, capped(2)),
    [ok, ok] = call(First, ?MODULE, record, [executing, "first", 2]),
    budget_exhausted = check(First),
    power_off(First),
    Second = boot(Config, #{wall => ?YEAR}),
    fault = open(Second, Directory, capped(2)),
    ok = check(Second),
    [ok, ok] = call(Second, ?MODULE, record, [executing, "second", 2]),
    budget_exhausted = check(Second),
    %% While it runs: back a year.
    #{ledger_time := Before} = stats(Second),
    set(Second, #{wall => 0}),
    ok = rises(Second, 1500),
    budget_exhausted = check(Second),
    power_off(Second),
    %% And across a reopen.
    Third = boot(Config, #{wall => 0}),
    fault = open(Third, Directory, capped(2)),
    #{ledger_time := After, hourly := #{executing := 2}} = stats(Third),
    true = After >= Before,
    budget_exhausted = check(Third),
    %% An hour of the machine's own time passes.
    set(Third, #{wall => 0, boot => 59 * ?MINUTE}),
    budget_exhausted = check(Third),
    set(Third, #{wall => 0, boot => 61 * ?MINUTE}),
    ok = check(Third),
    #{hourly := #{executing := 0}} = stats(Third),
    [ok] = call(Third, ?MODULE, record, [executing, "third", 1]),
    power_off(Third),
    in_order(Directory, 5),
    cost_ledger_test:remove(Directory).

%% Nobody could write down what time it was; the newest entry tells.
time_does_not_go_back_after_a_kill(Config) ->
    Directory = cost_ledger_test:directory(Config),
    First = boot(Config, #{wall => ?YEAR}),
    fault = open(First, Directory, capped(1)),
    [ok] = call(First, ?MODULE, record, [executing, "first", 1]),
    [#{timestamp := Booked}] = call(First, cost_ledger, history, [fault, #{}]),
    ok = cost_ledger_test:kill_vm(maps:get(peer, First)),
    Second = boot(Config, #{wall => -?YEAR}),
    fault = open(Second, Directory, capped(1)),
    #{ledger_time := Time, hourly := #{executing := 1}} = stats(Second),
    true = Time >= Booked,
    budget_exhausted = check(Second),
    [ok] = call(Second, ?MODULE, record, [executing, "second", 1]),
    power_off(Second),
    in_order(Directory, 2),
    cost_ledger_test:remove(Directory).

clock_ahead_is_reported_once_and_not_followed(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Machine = boot(Config, #{}),
    fault = open(Machine, Directory, capped(2)),
    ok = call(Machine, ?MODULE, start_listening, [fault]),
    [ok] = call(Machine, ?MODULE, record, [executing, "a", 1]),
    %% A little ahead, or behind, is nobody's business.
    set(Machine, #{wall => 30000}),
    timer:sleep(1300),
    [] = heard(Machine, clock_ahead),
    #{ledger_time := Before} = stats(Machine),
    set(Machine, #{wall => ?YEAR}),
    timer:sleep(3300),
    [{#{ahead_ms := Ahead}, #{path := _}}] = heard(Machine, clock_ahead),
    true = abs(Ahead - ?YEAR) < ?MINUTE,
    #{ledger_time := NotFollowed} = stats(Machine),
    true = NotFollowed - Before < ?MINUTE,
    %% Not even records do.
    [ok] = call(Machine, ?MODULE, record, [executing, "b", 1]),
    budget_exhausted = check(Machine),
    %% The operator says that it is right.
    ok = call(Machine, cost_ledger, accept_clock, [fault]),
    #{ledger_time := Accepted, hourly := #{executing := 0}} = stats(Machine),
    true = abs(Accepted - Before - ?YEAR) < ?MINUTE,
    ok = check(Machine),
    %% Back a year: neither followed nor reported; accepting it changes nothing.
    set(Machine, #{wall => 0}),
    ok = rises(Machine, 1500),
    ok = call(Machine, cost_ledger, accept_clock, [fault]),
    #{ledger_time := Still} = stats(Machine),
    true = Still >= Accepted,
    true = Still - Accepted < ?MINUTE,
    [_] = heard(Machine, clock_ahead),
    %% The next jump is news again.
    set(Machine, #{wall => 2 * ?YEAR}),
    timer:sleep(2300),
    [_, _] = heard(Machine, clock_ahead),
    power_off(Machine),
    in_order(Directory, 2),
    cost_ledger_test:remove(Directory).

%%% The disk -----------------------------------------------------------------------------------

full_disk(Config) -> disk_fails(Config, enospc, [disk_full]).

failing_writes(Config) -> disk_fails(Config, eio, [io_error]).

%% LMDB calls a short write EIO.
short_writes(Config) -> disk_fails(Config, short, [io_error, disk_full]).

failing_sync(Config) -> disk_fails(Config, sync, [io_error]).

failing_header(Config) -> disk_fails(Config, meta, [io_error]).

%% Ten processes record while the disk fails and recovers, twice. Nothing acknowledged is lost,
%% nothing refused is there, readers and the gate notice nothing.
disk_fails(Config, Disk, Names) ->
    Directory = cost_ledger_test:directory(Config),
    Machine = boot(Config, #{}),
    Budgets = #{executing => ?UNLIMITED, improving => #{max_per_hour => 1, max_per_day => 1}},
    fault = open(Machine, Directory, #{budgets => Budgets, clock => system}),
    ok = call(Machine, ?MODULE, start_listening, [fault]),
    ok = call(Machine, ?MODULE, start_load, [fault]),
    timer:sleep(150),
    set(Machine, #{disk => Disk}),
    timer:sleep(300),
    %% Alone it fails as well, and changes neither the counts nor the gate.
    Refused = call(Machine, cost_ledger, record_invocation, [fault, improving, #{}]),
    NotChanged = call(Machine, cost_ledger, set_budgets,
                      [fault, #{improving => #{max_per_hour => 0}}, #{by => me, reason => "t"}]),
    Gate = call(Machine, cost_ledger, check_budget, [fault, improving]),
    #{session := #{improving := Improving}, budgets := #{improving := Limits}} =
        insist(fun() -> call(Machine, cost_ledger, stats, [fault]) end),
    set(Machine, #{disk => ok}),
    timer:sleep(150),
    set(Machine, #{disk => Disk}),
    timer:sleep(100),
    set(Machine, #{disk => ok}),
    ok = recovers(Machine),
    {Acknowledged, Errors, Gates, Readings} = call(Machine, ?MODULE, stop_load, []),
    ct:log("~b acknowledged, ~b refused, gate ~tp, readings ~tp",
           [length(Acknowledged), length(Errors), Gates, Readings]),
    [{Name, Text}] = lists:usort([{Reason, is_binary(Text)} || {_, {Reason, Text}} <- Errors]),
    {true, true} = {lists:member(Name, Names), Text},
    {error, {Name, _}} = Refused,
    {error, {Name, _}} = NotChanged,
    {ok, 0, #{hourly_limit := 1, daily_limit := 1}} = {Gate, Improving, Limits},
    [ok] = Gates,
    %% The last commit is seen by the gate, and a change of budgets works again.
    ok = call(Machine, cost_ledger, record_invocation, [fault, improving, #{}]),
    budget_exhausted = call(Machine, cost_ledger, check_budget, [fault, improving]),
    {ok, 2} = call(Machine, cost_ledger, set_budgets,
                   [fault, #{improving => #{max_per_hour => 2, max_per_day => 2}},
                    #{by => me, reason => "t"}]),
    ok = call(Machine, cost_ledger, check_budget, [fault, improving]),
    %% Each caller that was refused is in the events, once.
    Told = lists:sum([Count || Event <- [write_failed, write_recovered],
                               {#{count := Count}, _} <- heard(Machine, Event)]),
    {Told, _} = {length(Errors) + 1, told_and_refused},
    power_off(Machine),
    %% What is on the disk, for another VM.
    Ledger = cost_ledger_test:open(Directory, #{}),
    Booked = [to_binary(Type) || #{state := executing, prompt_type := Type}
                                     <- cost_ledger:history(Ledger, #{limit => 1 bsl 40})],
    [] = Booked -- lists:usort(Booked),
    {acknowledged_but_not_there, []} = {acknowledged_but_not_there, Acknowledged -- Booked},
    {there_although_refused, []} = {there_although_refused, Booked -- Acknowledged},
    #{session := #{executing := Executing, improving := 1}} = cost_ledger:stats(Ledger),
    Executing = length(Booked),
    ok = cost_ledger:stop(Ledger),
    cost_ledger_test:remove(Directory),
    %% Last, so that it hides nothing of the above.
    {readers_noticed, []} = {readers_noticed, Readings -- [ok]}.

%% The disk reports a failure, but the file holds the entry: whatever the caller is told, the
%% gate and the counts are those of the file.
booked_although_the_header_failed(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Machine = boot(Config, #{}),
    fault = open(Machine, Directory, capped(1)),
    set(Machine, #{disk => meta_late}),
    Answer = call(Machine, cost_ledger, record_invocation, [fault, executing, #{}]),
    Gate = check(Machine),
    #{session := #{executing := Count}} = stats(Machine),
    set(Machine, #{disk => ok}),
    ct:log("~tp, ~b booked, the gate says ~p", [Answer, Count, Gate]),
    case Count of
        %% It is there, but the header cannot be proved to be on the disk.
        1 -> {{error, {outcome_unknown, _}}, budget_exhausted} = {Answer, Gate};
        0 -> {{error, {io_error, _}}, ok} = {Answer, Gate}
    end,
    budget_exhausted = case Count of
                           1 -> check(Machine);
                           0 -> ok = call(Machine, cost_ledger, record_invocation,
                                          [fault, executing, #{}]),
                                check(Machine)
                       end,
    power_off(Machine),
    in_order(Directory, 1),
    cost_ledger_test:remove(Directory).

changed_although_the_header_failed(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Machine = boot(Config, #{}),
    fault = open(Machine, Directory, capped(5)),
    set(Machine, #{disk => meta_late}),
    Answer = call(Machine, cost_ledger, set_budgets,
                  [fault, #{executing => #{max_per_hour => 0}}, #{by => me, reason => "stop"}]),
    Gate = check(Machine),
    #{budgets := #{executing := #{hourly_limit := Limit}}} = stats(Machine),
    set(Machine, #{disk => ok}),
    ct:log("~tp, the limit is ~p, the gate says ~p", [Answer, Limit, Gate]),
    case Limit of
        0 -> {{error, {outcome_unknown, _}}, budget_exhausted} = {Answer, Gate};
        5 -> {{error, {io_error, _}}, ok} = {Answer, Gate}
    end,
    power_off(Machine),
    Ledger = cost_ledger_test:open(Directory, #{}),
    #{budgets := #{executing := #{hourly_limit := Limit}}} = cost_ledger:stats(Ledger),
    ok = cost_ledger:stop(Ledger),
    cost_ledger_test:remove(Directory).

%% The same, but nobody can say whether it will survive a power cut. A caller who is told
%% {io_error, _} was told that nothing was booked, and will try again.
refused_although_the_header_is_there(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Machine = boot(Config, #{}),
    fault = open(Machine, Directory, capped(1)),
    set(Machine, #{disk => meta_lost}),
    Answer = call(Machine, cost_ledger, record_invocation, [fault, executing, #{}]),
    Gate = check(Machine),
    #{session := #{executing := Count}} = stats(Machine),
    set(Machine, #{disk => ok}),
    ct:log("~tp, ~b booked, the gate says ~p", [Answer, Count, Gate]),
    {error, {Name, _}} = Answer,
    Expected = case Count of
                   1 -> budget_exhausted;
                   0 -> ok
               end,
    {gate, Expected, Count} = {gate, Gate, Count},
    true = Name =/= io_error orelse Count =:= 0,
    power_off(Machine),
    in_order(Directory, Count),
    cost_ledger_test:remove(Directory).

opening_on_a_full_disk(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Machine = boot(Config, #{disk => enospc}),
    {error, {disk_full, _}} = open(Machine, Directory, capped(1)),
    set(Machine, #{disk => ok}),
    fault = open(Machine, Directory, capped(1)),
    [ok] = call(Machine, ?MODULE, record, [executing, "a", 1]),
    ok = call(Machine, cost_ledger, stop, [fault]),
    %% What is there already can be read without room for more.
    set(Machine, #{disk => enospc}),
    fault = open(Machine, Directory, capped(1)),
    budget_exhausted = check(Machine),
    #{session := #{executing := 1}} = stats(Machine),
    [_] = call(Machine, cost_ledger, history, [fault, #{}]),
    {error, {disk_full, _}} = call(Machine, cost_ledger, record_invocation,
                                   [fault, executing, #{}]),
    power_off(Machine),
    in_order(Directory, 1),
    cost_ledger_test:remove(Directory).

%% A commit that takes long goes on without its writer; its callers learn that they were booked,
%% and the others are booked by the next writer. Nobody who only asks has to wait.
writer_killed_in_mid_commit(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Machine = boot(Config, #{}),
    fault = open(Machine, Directory, #{clock => system, budgets => #{executing => ?UNLIMITED}}),
    %% The VM loads a module at its first use, and would wait for the killed writer's call to end.
    _ = {check(Machine), stats(Machine)},
    set(Machine, #{disk => slow}),
    {Answers, SlowestMs} = call(Machine, ?MODULE, kill_in_mid_commit, [fault, 4]),
    {40, [ok]} = {length(Answers), lists:usort(Answers)},
    ct:log("the slowest answer of gate and statistics took ~b ms", [SlowestMs]),
    true = SlowestMs < 100,
    set(Machine, #{disk => ok}),
    power_off(Machine),
    40 = length(lists:usort(booked(Directory))),
    in_order(Directory, 40),
    cost_ledger_test:remove(Directory).

%% Stopping waits for the commit; who was not in it is told so.
stopped_in_mid_commit(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Machine = boot(Config, #{}),
    fault = open(Machine, Directory, #{clock => system, budgets => #{executing => ?UNLIMITED}}),
    set(Machine, #{disk => slow}),
    {Stopped, Answers} = call(Machine, ?MODULE, stop_in_mid_commit, [fault]),
    ok = Stopped,
    [] = lists:usort([Answer || {_, Answer} <- Answers]) -- [ok, {error, unavailable}],
    set(Machine, #{disk => ok}),
    power_off(Machine),
    Booked = booked(Directory),
    [] = Booked -- lists:usort(Booked),
    [] = [Name || {Name, ok} <- Answers] -- Booked,
    true = Booked =/= [],
    cost_ledger_test:remove(Directory).

%% Of one the owner dies, of the other the deadline comes, and neither can be written then. Nobody
%% asks a second time.
holds_end_when_a_full_disk_has_room_again(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Machine = boot(Config, #{}),
    fault = open(Machine, Directory, capped_cost()),
    Attempt = #{state => executing, cost => 70},
    ok = call(Machine, ?MODULE, hold, [fault, fault_owner, Attempt]),
    ok = call(Machine, ?MODULE, hold, [fault, fault_late, Attempt#{cost => 5,
                                                                   deadline_ms => 1500}]),
    Writer = call(Machine, ?MODULE, writer_name, [fault]),
    set(Machine, #{disk => enospc}),
    ok = call(Machine, ?MODULE, kill, [fault_owner]),
    timer:sleep(1800),
    {error, {disk_full, _}} = call(Machine, cost_ledger, record_invocation,
                                   [fault, executing, #{cost => 1}]),
    {0, 75} = cost(Machine),
    set(Machine, #{disk => ok}),
    ok = cost_ledger_test:eventually(fun() -> cost(Machine) =:= {75, 0} end),
    {ok, []} = call(Machine, cost_ledger, holds, [fault]),
    Writer = call(Machine, ?MODULE, writer_name, [fault]),
    power_off(Machine),
    Ledger = cost_ledger_test:open(Directory, #{}),
    [5, 70] = lists:sort(cost_ledger_test:fold(Ledger, fun(#{status := aborted, cost := Cost}) ->
                                                               Cost
                                                       end)),
    ok = cost_ledger:stop(Ledger),
    cost_ledger_test:remove(Directory).

%% The commit that makes them goes on without its writer, while the next one begins.
holds_of_a_commit_in_flight_are_watched_by_the_next_writer(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Machine = boot(Config, #{}),
    fault = open(Machine, Directory, capped_cost()),
    _ = cost(Machine),
    set(Machine, #{disk => slow}),
    10 = call(Machine, ?MODULE, reserve_in_mid_commit, [fault, 10]),
    set(Machine, #{disk => ok}),
    ok = cost_ledger_test:eventually(fun() -> cost(Machine) =:= {10, 0} end),
    {ok, []} = call(Machine, cost_ledger, holds, [fault]),
    power_off(Machine),
    cost_ledger_test:remove(Directory).

capped_cost() ->
    #{clock => system, rules => [#{name => <<"cap">>, scope => all, measure => cost,
                                   window => lifetime, limit => 100}]}.

cost(Machine) ->
    {ok, #{rules := [#{used := Used, held := Held}]}} =
        insist(fun() -> call(Machine, cost_ledger, budget_status, [fault, all]) end),
    {Used, Held}.

booked(Directory) ->
    Ledger = cost_ledger_test:open(Directory, #{}),
    Names = cost_ledger_test:fold(Ledger, fun(#{prompt_type := Name}) -> to_binary(Name) end),
    ok = cost_ledger:stop(Ledger),
    Names.

%%% Machines -----------------------------------------------------------------------------------

%% wall and boot: ms that the clocks are ahead; disk: see fault.c.
boot(Config, Faults) ->
    Control = filename:join(proplists:get_value(priv_dir, Config),
                            "control-" ++ integer_to_list(erlang:unique_integer([positive]))),
    ok = write_control(Control, Faults),
    Library = proplists:get_value(library, Config),
    Peer = cost_ledger_test:start_vm(#{env => [{"LD_PRELOAD", Library},
                                               {"FAULT_CONTROL", Control}]}),
    %% Expected reports would only be in the way.
    ok = peer:call(Peer, logger, remove_handler, [default]),
    Machine = #{peer => Peer, control => Control},
    {Machine, true} = {Machine, wall_is_right(Machine, Faults)},
    Machine.

%% The library is there, and has read the file.
wall_is_right(Machine, Faults) ->
    Wall = call(Machine, os, system_time, [millisecond]),
    abs(Wall - os:system_time(millisecond) - maps:get(wall, Faults, 0)) < ?MINUTE.

%% In force when it returns: the file is read again after 10 ms.
set(#{control := Control} = Machine, Faults) ->
    ok = write_control(Control, Faults),
    timer:sleep(25),
    {true, _} = {wall_is_right(Machine, Faults), Faults},
    ok.

write_control(Control, Faults) ->
    Line = io_lib:format("~b ~b ~ts~n", [maps:get(wall, Faults, 0) * 1000,
                                         maps:get(boot, Faults, 0) * 1000,
                                         maps:get(disk, Faults, ok)]),
    ok = file:write_file(Control ++ ".new", Line),
    file:rename(Control ++ ".new", Control).

call(#{peer := Peer}, Module, Function, Arguments) ->
    peer:call(Peer, Module, Function, Arguments, 60000).

power_off(#{peer := Peer} = Machine) ->
    _ = call(Machine, cost_ledger, stop, [fault]),
    cost_ledger_test:stop_vm(Peer).

open(Machine, Directory, Options) ->
    call(Machine, cost_ledger_test, open, [fault, Directory, Options]).

capped(Limit) ->
    #{clock => system,
      budgets => #{executing => #{max_per_hour => Limit, max_per_day => infinity}}}.

check(Machine) -> call(Machine, cost_ledger, check_budget, [fault, executing]).

stats(Machine) ->
    #{hourly := _} = call(Machine, cost_ledger, stats, [fault]).

%% The first answer that is no error: whether there was one is another check's business.
insist(Fun) ->
    case Fun() of
        {error, _} -> timer:sleep(2), insist(Fun);
        Answer -> Answer
    end.

heard(Machine, Name) ->
    [{Measurements, Metadata} || {event, Event, Measurements, Metadata}
                                     <- call(Machine, ?MODULE, heard, []), Event =:= Name].

%% Ledger time goes on, as fast as time does, and never back.
rises(Machine, Ms) ->
    Times = call(Machine, ?MODULE, sample_time, [fault, Ms]),
    Times = lists:sort(Times),
    Passed = lists:last(Times) - hd(Times),
    {true, _} = {Passed > Ms div 2 andalso Passed < 10 * Ms, Passed},
    ok.

recovers(Machine) ->
    cost_ledger_test:eventually(
      fun() ->
              ok =:= call(Machine, cost_ledger, record_invocation, [fault, contemplating, #{}])
      end).

%% So many entries, whose times never go back, read by another VM.
in_order(Directory, Count) ->
    Ledger = cost_ledger_test:open(Directory, #{}),
    Times = cost_ledger_test:fold(Ledger, fun(#{timestamp := Time}) -> Time end),
    Times = lists:sort(Times),
    Count = length(Times),
    ok = cost_ledger:stop(Ledger).

to_binary(Name) when is_atom(Name) -> atom_to_binary(Name);
to_binary(Name) -> Name.

%%% In the other VM ----------------------------------------------------------------------------

record(State, Tag, Count) ->
    [cost_ledger:record_invocation(fault, State,
                                   #{prompt_type => list_to_binary(Tag ++ integer_to_list(N))})
     || N <- lists:seq(1, Count)].

sample_time(Ledger, Ms) ->
    End = erlang:monotonic_time(millisecond) + Ms,
    sample_time(Ledger, End, []).

sample_time(Ledger, End, Times) ->
    #{ledger_time := Time} = cost_ledger:stats(Ledger),
    timer:sleep(5),
    case erlang:monotonic_time(millisecond) < End of
        true -> sample_time(Ledger, End, [Time | Times]);
        false -> lists:reverse([Time | Times])
    end.

%% Ten callers a round, whose writer is killed 50 ms into its first commit. All answers, and how
%% long the gate or the statistics took at most meanwhile.
kill_in_mid_commit(Ledger, Rounds) ->
    Results = [begin
                   Callers = start_callers(Ledger, integer_to_list(Round)),
                   timer:sleep(50),
                   exit(writer(Ledger), kill),
                   Slowest = slowest(Ledger, 30),
                   {[Answer || {_, Answer} <- answers(Callers)], Slowest}
               end || Round <- lists:seq(1, Rounds)],
    {Answers, Slowest} = lists:unzip(Results),
    {lists:append(Answers), lists:max(Slowest)}.

stop_in_mid_commit(Ledger) ->
    Callers = start_callers(Ledger, "s"),
    timer:sleep(50),
    Stopped = cost_ledger:stop(Ledger),
    {Stopped, answers(Callers)}.

%% How many processes have reserved, in a commit whose writer was killed 50 ms after it began; and
%% are dead by now.
reserve_in_mid_commit(Ledger, Count) ->
    Self = self(),
    Writer = writer(Ledger),
    ok = sys:suspend(Writer),
    Owners = [spawn(fun() ->
                            Self ! {self(), cost_ledger:reserve(Ledger, #{state => executing,
                                                                          cost => 1})},
                            receive after infinity -> ok end
                    end) || _ <- lists:seq(1, Count)],
    ok = cost_ledger_test:eventually(
           fun() -> {message_queue_len, Count} =:= process_info(Writer, message_queue_len) end),
    ok = sys:resume(Writer),
    timer:sleep(50),
    exit(Writer, kill),
    Reserved = [Hold || {ok, Hold} <- answers(Owners)],
    _ = [exit(Owner, kill) || Owner <- Owners],
    length(Reserved).

%% A process of that name, with a hold.
hold(Ledger, Name, Attempt) ->
    Self = self(),
    Pid = spawn(fun() ->
                        true = register(Name, self()),
                        {ok, _} = cost_ledger:reserve(Ledger, Attempt),
                        Self ! {self(), ready},
                        receive after infinity -> ok end
                end),
    receive {Pid, ready} -> ok end.

kill(Name) ->
    true = exit(whereis(Name), kill),
    ok.

%% A pid of this VM means another process in the one that asks.
writer_name(Ledger) ->
    pid_to_list(writer(Ledger)).

start_callers(Ledger, Tag) ->
    Self = self(),
    [spawn_link(fun() ->
                        Name = list_to_binary(io_lib:format("~ts-~b", [Tag, N])),
                        Answer = cost_ledger:record_invocation(Ledger, executing,
                                                               #{prompt_type => Name}),
                        Self ! {self(), {Name, Answer}}
                end) || N <- lists:seq(1, 10)].

answers(Callers) ->
    [receive {Pid, Answer} -> Answer end || Pid <- Callers].

writer(Ledger) ->
    #ledger{handle = Handle} = cost_ledger_registry:find(Ledger),
    {Writer, _Booked} = cost_ledger_nif:writer(Handle),
    Writer.

slowest(Ledger, Times) ->
    lists:max([begin
                   Begin = erlang:monotonic_time(millisecond),
                   ok = cost_ledger:check_budget(Ledger, executing),
                   #{hourly := _} = cost_ledger:stats(Ledger),
                   Took = erlang:monotonic_time(millisecond) - Begin,
                   timer:sleep(5),
                   Took
               end || _ <- lists:seq(1, Times)]).

%% A process that collects the ledger's events for heard/0.
start_listening(Ledger) ->
    Self = self(),
    Pid = spawn(fun() ->
                        true = register(fault_events, self()),
                        _ = cost_ledger_test:catch_events(Ledger),
                        Self ! {self(), ready},
                        collect([])
                end),
    receive {Pid, ready} -> ok end.

collect(Events) ->
    receive
        {event, _, _, _} = Event -> collect([Event | Events]);
        {heard, Pid} -> Pid ! {heard, lists:reverse(Events)}, collect(Events)
    end.

heard() ->
    fault_events ! {heard, self()},
    receive {heard, Events} -> Events end.

%% Ten processes that record under names of their own, one that asks the gate, one that reads.
start_load(Ledger) ->
    _ = spawn(fun() ->
                      true = register(fault_load, self()),
                      Self = self(),
                      Start = fun(Fun) -> spawn_link(fun() -> Self ! {self(), Fun()} end) end,
                      Writers = [Start(fun() -> load(Ledger, Process, 1, [], []) end)
                                 || Process <- lists:seq(1, 10)],
                      Gate = Start(fun() -> ask(fun() -> gate_answer(Ledger) end, []) end),
                      Reader = Start(fun() -> ask(fun() -> read_answer(Ledger) end, []) end),
                      Caller = receive {stop, From} -> From end,
                      _ = [Pid ! stop || Pid <- [Gate, Reader | Writers]],
                      Results = [receive {Pid, Result} -> Result end
                                 || Pid <- [Gate, Reader | Writers]],
                      Caller ! {load, Results}
              end),
    ok.

stop_load() ->
    fault_load ! {stop, self()},
    receive
        {load, [Gates, Readings | Written]} ->
            {Acknowledged, Errors} = lists:unzip(Written),
            {lists:append(Acknowledged), lists:append(Errors), Gates, Readings}
    end.

load(Ledger, Process, Number, Acknowledged, Errors) ->
    Name = list_to_binary(io_lib:format("p~b-~b", [Process, Number])),
    Answer = cost_ledger:record_invocation(Ledger, executing, #{prompt_type => Name}),
    {Told, Refused} = case Answer of
                          ok -> {[Name | Acknowledged], Errors};
                          {error, Reason} ->
                              timer:sleep(2),
                              {Acknowledged, [{Name, Reason} | Errors]}
                      end,
    receive
        stop -> {Told, Refused}
    after 0 ->
            load(Ledger, Process, Number + 1, Told, Refused)
    end.

%% Every different answer, until told to stop.
ask(Fun, Answers) ->
    Answer = try Fun() catch Class:Reason -> {Class, Reason} end,
    receive
        stop -> lists:usort([Answer | Answers])
    after 1 ->
            ask(Fun, lists:usort([Answer | Answers]))
    end.

gate_answer(Ledger) ->
    lists:last([cost_ledger:check_budget(Ledger, executing) || _ <- lists:seq(1, 100)]).

read_answer(Ledger) ->
    case {cost_ledger:stats(Ledger), cost_ledger:history(Ledger, #{limit => 5})} of
        {#{hourly := _}, Records} when is_list(Records) -> ok;
        {#{hourly := _}, Other} -> {history, Other};
        {Other, _} -> {stats, Other}
    end.
