%%% Whatever dies - a caller, the writer, the owner, the code, the VM - every entry that was
%%% acknowledged is in the ledger exactly once, and the counts are those of the entries.
%%%
%%% Every record has a name of its own as its prompt_type, <<"p17-233">>: the 233rd of process 17.
%%%
%%% COST_LEDGER_KILLS in the environment sets how many VMs are killed (20).
-module(cost_ledger_crash_SUITE).

-include_lib("cost_ledger/src/cost_ledger.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([killed_vm_loses_nothing/1, killed_writer_is_not_noticed/1,
         killed_callers_leave_no_place_behind/1, dead_callers_are_booked_all_the_same/1,
         hundred_at_once_are_counted_exactly/1, second_boot_overwrites_nothing/1,
         killed_owner_opens_again/1, killed_supervisor_loses_nothing/1,
         reloading_the_nif_under_load/1, reloading_the_nif_while_opening_and_closing/1]).
%% Called in other VMs.
-export([start_load/4, start_reloading/2, reload_beside_opening/2, record_all/4]).

-define(STATES, [executing, improving, contemplating]).
-define(UNLIMITED, #{max_per_hour => infinity, max_per_day => infinity}).

suite() -> [{timetrap, {seconds, max(600, 10 * kills())}}].

kills() -> list_to_integer(os:getenv("COST_LEDGER_KILLS", "20")).

all() ->
    %% Cases of their own ledgers and VMs; what loads the machine most is not in parallel.
    [killed_vm_loses_nothing, {group, apart}, hundred_at_once_are_counted_exactly,
     reloading_the_nif_under_load, reloading_the_nif_while_opening_and_closing].

groups() ->
    [{apart, [parallel],
      [killed_writer_is_not_noticed, killed_callers_leave_no_place_behind,
       dead_callers_are_booked_all_the_same, second_boot_overwrites_nothing,
       killed_owner_opens_again, killed_supervisor_loses_nothing]}].

init_per_suite(Config) ->
    %% The crash reports of what is killed here on purpose.
    ok = logger:add_primary_filter(?MODULE, {fun logger_filters:domain/2,
                                             {stop, sub, [otp, sasl]}}),
    Config.

end_per_suite(_Config) ->
    ok = logger:remove_primary_filter(?MODULE).

%%% The VM -------------------------------------------------------------------------------------

%% The same ledger is killed again and again: what it held before stays as it was.
killed_vm_loses_nothing(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Records = lists:foldl(
                fun(Round, Before) ->
                        After = kill_once(Config, Directory, Round),
                        true = lists:prefix(Before, After),
                        Before =/= After orelse ct:log("round ~b recorded nothing", [Round]),
                        After
                end, [], lists:seq(1, kills())),
    ct:log("~b records after ~b kills", [length(Records), kills()]),
    true = length(Records) > 0,
    cost_ledger_test:remove(Directory).

%% Everything in the ledger, oldest first, after a load of 20 processes was cut off.
kill_once(Config, Directory, Round) ->
    Acknowledged = cost_ledger_test:directory(Config),
    ok = filelib:ensure_path(Acknowledged),
    Peer = cost_ledger_test:start_vm(),
    Tag = "r" ++ integer_to_list(Round),
    _ = peer:call(Peer, erlang, spawn, [?MODULE, start_load, [Directory, Acknowledged, Tag, 20]]),
    timer:sleep(rand:uniform(250) - 1),
    ok = cost_ledger_test:kill_vm(Peer),
    Ledger = cost_ledger_test:open(Directory, #{clock => system, budgets => unlimited()}),
    Records = cost_ledger_test:fold(Ledger, fun(Record) -> Record end),
    Names = names(Records),
    [] = Names -- lists:usort(Names),
    ok = counted_right(Ledger),
    Mine = [Name || Name <- Names, lists:prefix(Tag ++ "p", Name)],
    lists:foreach(
      fun(Process) ->
              Prefix = Tag ++ "p" ++ integer_to_list(Process) ++ "-",
              Booked = [list_to_integer(lists:nthtail(length(Prefix), Name))
                        || Name <- Mine, lists:prefix(Prefix, Name)],
              Told = acknowledged(filename:join(Acknowledged, integer_to_list(Process))),
              %% Without a gap, in order, and at most the one that was in flight beyond.
              Told = lists:sublist(Booked, length(Told)),
              Booked = lists:seq(1, length(Booked)),
              true = length(Booked) - length(Told) =< 1
      end, lists:seq(1, 20)),
    ok = cost_ledger:stop(Ledger),
    cost_ledger_test:remove(Acknowledged),
    Records.

%% Numbers that a process wrote after each was acknowledged. What it wrote is with the operating
%% system; a line that was cut off does not count.
acknowledged(File) ->
    case file:read_file(File) of
        {ok, Binary} ->
            Lines = binary:split(Binary, <<"\n">>, [global]),
            [binary_to_integer(Line) || Line <- lists:droplast(Lines)];
        {error, enoent} ->
            []
    end.

%% In the other VM, for ever.
start_load(Directory, Acknowledged, Tag, Count) ->
    {ok, _} = cost_ledger:start_link(#{path => Directory, budgets => unlimited()}),
    [spawn_link(fun() -> load(Acknowledged, Tag, Process) end) || Process <- lists:seq(1, Count)],
    timer:sleep(infinity).

load(Acknowledged, Tag, Process) ->
    {ok, File} = file:open(filename:join(Acknowledged, integer_to_list(Process)),
                           [raw, append, binary]),
    Prefix = Tag ++ "p" ++ integer_to_list(Process) ++ "-",
    load(File, Prefix, Process, 1).

load(File, Prefix, Process, Number) ->
    ok = cost_ledger:record_invocation(state(Process + Number),
                                       #{prompt_type => name(Prefix, Number)}),
    ok = file:write(File, [integer_to_binary(Number), $\n]),
    load(File, Prefix, Process, Number + 1).

second_boot_overwrites_nothing(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Boot = fun(Tag) ->
                   Peer = cost_ledger_test:start_vm(),
                   Records = peer:call(Peer, ?MODULE, record_all, [Directory, Tag, 5, 20], 60000),
                   cost_ledger_test:stop_vm(Peer),
                   Records
           end,
    First = Boot("a"),
    Second = Boot("b"),
    100 = length(First),
    200 = length(Second),
    First = lists:sublist(Second, 100),
    Ids = [Id || #{id := Id} <- Second],
    Ids = lists:usort(Ids),
    cost_ledger_test:remove(Directory).

%% In another VM: what the ledger holds when Count processes have recorded Each.
record_all(Directory, Tag, Count, Each) ->
    Ledger = cost_ledger_test:open(Directory, #{clock => system, budgets => unlimited()}),
    Answers = in_parallel(Count, fun(Process) -> record(Ledger, Tag, Process, Each) end),
    [ok] = lists:usort(lists:append(Answers)),
    Records = cost_ledger_test:fold(Ledger, fun(Record) -> Record end),
    ok = cost_ledger:stop(Ledger),
    %% Between nodes an atom is an atom: names come as binaries where only one VM has them.
    [Record#{prompt_type := to_list(Name)} || #{prompt_type := Name} = Record <- Records].

%%% The writer and the owner -------------------------------------------------------------------

killed_writer_is_not_noticed(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Ledger = cost_ledger_test:open(Directory, #{budgets => unlimited(), clock => system,
                                                on_unavailable => deny}),
    Events = cost_ledger_test:catch_events(Ledger),
    Gate = spawn_gate(Ledger),
    %% The supervisor allows 30 restarts in 10 s.
    Killer = spawn_monitor(fun() ->
                                   [begin
                                        timer:sleep(rand:uniform(60)),
                                        kill_writer(Ledger)
                                    end || _ <- lists:seq(1, 28)]
                           end),
    Answers = in_parallel(20, fun(Process) ->
                                      record_while(Killer, Ledger, "w", Process, 1, [])
                              end),
    [ok] = lists:usort(lists:append(Answers)),
    {Checks, [ok]} = stop_gate(Gate),
    true = Checks > 1000,
    all_there(Ledger, "w", [length(Each) || Each <- Answers]),
    ok = counted_right(Ledger),
    [] = [Event || {event, _, _, _} = Event <- flush()],
    ct:log("~b records, ~b checks", [length(lists:append(Answers)), Checks]),
    cost_ledger_test:release_events(Events),
    ok = cost_ledger:stop(Ledger),
    cost_ledger_test:remove(Directory).

%% A random moment, also one in which there is no writer.
kill_writer(Ledger) ->
    case cost_ledger_nif:writer(handle(Ledger)) of
        {Writer, _Booked} -> exit(Writer, kill);
        _ -> true
    end.

%% Goes on until the killer is done.
record_while({Killer, _} = Until, Ledger, Tag, Process, Number, Answers) ->
    Answer = cost_ledger:record_invocation(Ledger, state(Process),
                                           #{prompt_type => name(Tag, Process, Number)}),
    case is_process_alive(Killer) of
        true -> record_while(Until, Ledger, Tag, Process, Number + 1, [Answer | Answers]);
        false -> [Answer | Answers]
    end.

killed_owner_opens_again(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Ledger = cost_ledger_test:open(Directory, #{budgets => unlimited(), clock => system}),
    Supervisor = supervisor(Ledger),
    Killer = spawn_monitor(fun() ->
                                   [begin
                                        timer:sleep(50 + rand:uniform(50)),
                                        kill_owner(Supervisor)
                                    end || _ <- lists:seq(1, 12)]
                           end),
    Acknowledged = in_parallel(10, fun(Process) ->
                                           retry_while(Killer, Ledger, "o", Process, 1, [])
                                   end),
    true = is_process_alive(Supervisor),
    ok = cost_ledger_test:eventually(
           fun() -> ok =:= cost_ledger:record_invocation(Ledger, executing,
                                                         #{prompt_type => <<"last">>}) end),
    Names = names(cost_ledger_test:fold(Ledger, fun(Record) -> Record end)),
    [] = Names -- lists:usort(Names),
    [] = ["last" | lists:append(Acknowledged)] -- Names,
    ok = counted_right(Ledger),
    %% It is the same ledger, held once: another opener is told so.
    {error, {already_open, _}} = cost_ledger_test:open(Directory, #{}),
    ok = cost_ledger:stop(Ledger),
    cost_ledger_test:remove(Directory).

%% A call that ended in `unavailable` may have been booked: its name is never used again.
retry_while({Killer, _} = Until, Ledger, Tag, Process, Number, Acknowledged) ->
    Name = name(Tag, Process, Number),
    Told = case cost_ledger:record_invocation(Ledger, state(Process), #{prompt_type => Name}) of
               ok -> [binary_to_list(Name) | Acknowledged];
               {error, unavailable} -> timer:sleep(1), Acknowledged
           end,
    case is_process_alive(Killer) of
        true -> retry_while(Until, Ledger, Tag, Process, Number + 1, Told);
        false -> Told
    end.

kill_owner(Supervisor) ->
    case lists:keyfind(owner, 1, supervisor:which_children(Supervisor)) of
        {owner, Owner, _, _} when is_pid(Owner) -> exit(Owner, kill);
        _ -> true
    end.

%% Nobody is left who would close: whoever opens the directory next does.
killed_supervisor_loses_nothing(Config) ->
    Directory = cost_ledger_test:directory(Config),
    lists:foreach(
      fun(Round) ->
              Ledger = cost_ledger_test:open(list_to_atom("orphan_" ++ integer_to_list(Round)),
                                             Directory, #{budgets => unlimited(),
                                                          clock => system}),
              true = is_atom(Ledger),
              Tag = "s" ++ integer_to_list(Round) ++ "-",
              [ok, ok, ok] = record(Ledger, Tag, 1, 3),
              Supervisor = supervisor(Ledger),
              {owner, Owner, _, _} = lists:keyfind(owner, 1,
                                                   supervisor:which_children(Supervisor)),
              Monitor = erlang:monitor(process, Owner),
              exit(Supervisor, kill),
              receive {'DOWN', Monitor, process, Owner, _} -> ok end,
              {error, unavailable} = cost_ledger:stats(Ledger)
      end, lists:seq(1, 5)),
    Ledger = cost_ledger_test:open(Directory, #{budgets => unlimited()}),
    15 = length(lists:usort(names(cost_ledger_test:fold(Ledger, fun(Record) -> Record end)))),
    ok = counted_right(Ledger),
    ok = cost_ledger:stop(Ledger),
    cost_ledger_test:remove(Directory).

%%% Callers ------------------------------------------------------------------------------------

%% The writer stands still while callers fill the queue and are killed; when it goes on, every
%% place is free again.
killed_callers_leave_no_place_behind(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Places = 500,
    Ledger = cost_ledger_test:open(Directory, #{budgets => unlimited(),
                                                queue => #{calls => Places}}),
    %% Some are killed at any point of their call, most of them while they wait.
    lists:foreach(
      fun(Round) ->
              Tag = "k" ++ integer_to_list(Round) ++ "-",
              Callers = [spawn(fun() -> record(Ledger, Tag, Process, 1) end)
                         || Process <- lists:seq(1, 300)],
              Round rem 3 =:= 0 andalso timer:sleep(Round rem 5),
              kill_all(Callers)
      end, lists:seq(1, 20)),
    lists:foreach(
      fun(Round) ->
              Writer = suspend_writer(Ledger),
              Tag = "f" ++ integer_to_list(Round) ++ "-",
              Callers = [spawn(fun() -> record(Ledger, Tag, Process, 1) end)
                         || Process <- lists:seq(1, Places)],
              ok = cost_ledger_test:eventually(fun() -> waiting(Writer) =:= Places end),
              {error, overloaded} = cost_ledger:record_invocation(Ledger, executing, #{}),
              kill_all(Callers),
              ok = sys:resume(Writer),
              ok = cost_ledger_test:eventually(fun() -> waiting(Writer) =:= 0 end)
      end, lists:seq(1, 4)),
    %% All places at once, and the next one is refused.
    Writer = suspend_writer(Ledger),
    Self = self(),
    [spawn(fun() -> Self ! {answer, record(Ledger, "last", Process, 1)} end)
     || Process <- lists:seq(1, Places)],
    ok = cost_ledger_test:eventually(fun() -> waiting(Writer) =:= Places end),
    {error, overloaded} = cost_ledger:record_invocation(Ledger, executing, #{}),
    ok = sys:resume(Writer),
    [receive {answer, Answer} -> [ok] = Answer end || _ <- lists:seq(1, Places)],
    ok = cost_ledger:record_invocation(Ledger, executing, #{}),
    ok = counted_right(Ledger),
    ok = cost_ledger:stop(Ledger),
    cost_ledger_test:remove(Directory).

%% What was handed over is booked, whether or not somebody still waits for the answer.
dead_callers_are_booked_all_the_same(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Ledger = cost_ledger_test:open(Directory, #{budgets => unlimited()}),
    Writer = suspend_writer(Ledger),
    Callers = [spawn(fun() -> record(Ledger, "d", Process, 1) end)
               || Process <- lists:seq(1, 10000)],
    ok = cost_ledger_test:eventually(fun() -> waiting(Writer) =:= 10000 end),
    {error, overloaded} = cost_ledger:record_invocation(Ledger, executing, #{}),
    kill_all(Callers),
    ok = sys:resume(Writer),
    %% Behind them in the queue.
    ok = cost_ledger_test:eventually(
           fun() -> ok =:= cost_ledger:record_invocation(Ledger, executing, #{}) end),
    #{session := #{total := 10001}} = cost_ledger:stats(Ledger),
    %% And 10,000 fit again.
    Writer = suspend_writer(Ledger),
    Self = self(),
    [spawn(fun() -> Self ! {answer, record(Ledger, "e", Process, 1)} end)
     || Process <- lists:seq(1, 10000)],
    ok = cost_ledger_test:eventually(fun() -> waiting(Writer) =:= 10000 end),
    {error, overloaded} = cost_ledger:record_invocation(Ledger, executing, #{}),
    ok = sys:resume(Writer),
    [receive {answer, Answer} -> [ok] = Answer end || _ <- lists:seq(1, 10000)],
    #{session := #{total := 20001}} = cost_ledger:stats(Ledger),
    ok = counted_right(Ledger),
    ok = cost_ledger:stop(Ledger),
    cost_ledger_test:remove(Directory).

suspend_writer(Ledger) ->
    {Writer, _Booked} = cost_ledger_nif:writer(handle(Ledger)),
    ok = sys:suspend(Writer),
    Writer.

waiting(Writer) ->
    {message_queue_len, Length} = process_info(Writer, message_queue_len),
    Length.

kill_all(Pids) ->
    Monitors = [begin exit(Pid, kill), erlang:monitor(process, Pid) end || Pid <- Pids],
    [receive {'DOWN', Monitor, process, _, _} -> ok end || Monitor <- Monitors],
    ok.

hundred_at_once_are_counted_exactly(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Budgets = (unlimited())#{executing => #{max_per_hour => 3400, max_per_day => infinity}},
    Ledger = cost_ledger_test:open(Directory, #{budgets => Budgets}),
    Answers = in_parallel(100, fun(Process) -> record(Ledger, "h", Process, 100) end),
    [ok] = lists:usort(lists:append(Answers)),
    all_there(Ledger, "h", lists:duplicate(100, 100)),
    %% Processes 3, 6, .. 99 are executing, 1, 4, .. 100 improving.
    #{hourly := Hourly, session := Session} = cost_ledger:stats(Ledger),
    #{executing := 3300, improving := 3400, contemplating := 3300, total := 10000} = Hourly,
    Hourly = Session,
    ok = counted_right(Ledger),
    %% The gate closes with the 3,400th, not before and not after.
    Checks = [begin
                  Check = cost_ledger:check_budget(Ledger, executing),
                  ok = cost_ledger:record_invocation(Ledger, executing, #{}),
                  Check
              end || _ <- lists:seq(1, 102)],
    {100, 2} = {length([ok || ok <- Checks]), length([1 || budget_exhausted <- Checks])},
    ok = cost_ledger:stop(Ledger),
    cost_ledger_test:remove(Directory).

%%% The code -----------------------------------------------------------------------------------

%% code:purge/1 kills whoever is in a call of the old code; what was acknowledged stays.
reloading_the_nif_under_load(Config) ->
    [begin
         Directory = cost_ledger_test:directory(Config),
         Acknowledged = cost_ledger_test:directory(Config),
         ok = filelib:ensure_path(Acknowledged),
         Peer = cost_ledger_test:start_vm(),
         {Reloads, Answers} = peer:call(Peer, ?MODULE, start_reloading, [Directory, Purge], 60000),
         cost_ledger_test:stop_vm(Peer),
         ct:log("~p: ~b reloads, ~b records", [Purge, Reloads, length(lists:append(Answers))]),
         true = Reloads > 3,
         Ledger = cost_ledger_test:open(Directory, #{budgets => unlimited()}),
         Names = names(cost_ledger_test:fold(Ledger, fun(Record) -> Record end)),
         [] = Names -- lists:usort(Names),
         [] = lists:append(Answers) -- Names,
         ok = counted_right(Ledger),
         ok = cost_ledger:stop(Ledger),
         cost_ledger_test:remove(Directory)
     end || Purge <- [purge, soft_purge]],
    ok.

%% In another VM: how often the module was loaded, and the names that were acknowledged.
start_reloading(Directory, Purge) ->
    ok = logger:set_primary_config(level, none),
    Ledger = cost_ledger_test:open(Directory, #{clock => system, budgets => unlimited()}),
    Self = self(),
    %% The writer is killed by a purge now and then, the supervisor allows 30 in 10 s.
    {Reloader, _} = Until =
        spawn_monitor(fun() ->
                              Loads = [begin timer:sleep(rand:uniform(60)), reload(Purge) end
                                       || _ <- lists:seq(1, 28)],
                              Self ! {self(), length([ok || ok <- Loads])}
                      end),
    Gate = spawn_gate(Ledger),
    Answers = in_parallel(20, fun(Process) ->
                                      retry_while(Until, Ledger, "l", Process, 1, [])
                              end),
    Reloads = receive {Reloader, Count} -> Count end,
    {_, [ok]} = stop_gate(Gate),
    ok = cost_ledger_test:eventually(
           fun() -> ok =:= cost_ledger:record_invocation(Ledger, executing, #{}) end),
    ok = cost_ledger:stop(Ledger),
    {Reloads, Answers}.

reload(Purge) ->
    case code:Purge(cost_ledger_nif) of
        false when Purge =:= soft_purge ->
            in_use;
        _ ->
            {module, cost_ledger_nif} = code:load_file(cost_ledger_nif),
            ok
    end.

%% An open or a close that began in the old code ends after the new code took its place.
reloading_the_nif_while_opening_and_closing(Config) ->
    Directory = cost_ledger_test:directory(Config),
    Peer = cost_ledger_test:start_vm(),
    {Opened, Reloads} = peer:call(Peer, ?MODULE, reload_beside_opening, [Directory, 3000], 60000),
    cost_ledger_test:stop_vm(Peer),
    ct:log("~b times opened and closed, ~b reloads", [Opened, Reloads]),
    true = Opened > 20,
    true = Reloads > 20,
    cost_ledger_test:remove(Directory).

reload_beside_opening(Directory, Ms) ->
    ok = logger:set_primary_config(level, none),
    End = erlang:monotonic_time(millisecond) + Ms,
    Self = self(),
    Parent = fun(Fun) -> spawn_link(fun() -> Self ! {self(), until(End, Fun, 0)} end) end,
    Openers = [Parent(fun() ->
                              Own = filename:join(Directory, integer_to_list(N)),
                              Ledger = cost_ledger_test:open(Own, #{}),
                              true = is_atom(Ledger),
                              ok = cost_ledger:record_invocation(Ledger, executing, #{}),
                              ok = cost_ledger:stop(Ledger),
                              true
                      end) || N <- lists:seq(1, 3)],
    Reloader = Parent(fun() -> reload(soft_purge) =:= ok end),
    Opened = lists:sum([receive {Pid, Count} -> Count end || Pid <- Openers]),
    Reloads = receive {Reloader, Loads} -> Loads end,
    {Opened, Reloads}.

%% How often Fun was true until the end.
until(End, Fun, Count) ->
    case erlang:monotonic_time(millisecond) < End of
        true ->
            case Fun() of
                true -> until(End, Fun, Count + 1);
                false -> until(End, Fun, Count)
            end;
        false ->
            Count
    end.

%%% What they share ----------------------------------------------------------------------------

unlimited() -> maps:from_list([{State, ?UNLIMITED} || State <- ?STATES]).

state(Number) -> lists:nth(1 + Number rem 3, ?STATES).

name(Tag, Process, Number) -> name(Tag ++ "p" ++ integer_to_list(Process) ++ "-", Number).

name(Prefix, Number) -> list_to_binary(Prefix ++ integer_to_list(Number)).

%% A name that this VM happens to have an atom for comes as that.
names(Records) -> [to_list(Name) || #{prompt_type := Name} <- Records].

to_list(Name) when is_atom(Name) -> atom_to_list(Name);
to_list(Name) -> binary_to_list(Name).

record(Ledger, Tag, Process, Each) ->
    [cost_ledger:record_invocation(Ledger, state(Process),
                                   #{prompt_type => name(Tag, Process, Number)})
     || Number <- lists:seq(1, Each)].

in_parallel(Count, Fun) ->
    Self = self(),
    Pids = [spawn_link(fun() -> Self ! {self(), Fun(Process)} end)
            || Process <- lists:seq(1, Count)],
    [receive {Pid, Answer} -> Answer end || Pid <- Pids].

%% Process N recorded 1 .. of its own, each once, and nobody else recorded anything.
all_there(Ledger, Tag, Counts) ->
    Expected = [binary_to_list(name(Tag, Process, Number))
                || {Process, Count} <- lists:zip(lists:seq(1, length(Counts)), Counts),
                   Number <- lists:seq(1, Count)],
    Sorted = lists:sort(Expected),
    Sorted = lists:sort(names(cost_ledger_test:fold(Ledger, fun(Record) -> Record end))),
    ok.

%% The statistics against the entries, counted one by one.
counted_right(Ledger) ->
    #{ledger_time := Now} = Stats = cost_ledger:stats(Ledger),
    Counted = cost_ledger_test:counts(Ledger, Now),
    lists:foreach(fun(Window) ->
                          NotZero = maps:filter(fun(_, Count) -> Count > 0 end,
                                                maps:get(Window, Stats)),
                          {Window, NotZero} = {Window, maps:get(Window, Counted)}
                  end, [hourly, daily, session]).

handle(Ledger) ->
    #ledger{handle = Handle} = cost_ledger_registry:find(Ledger),
    Handle.

supervisor(Ledger) ->
    #ledger{supervisor = Supervisor} = cost_ledger_registry:find(Ledger),
    Supervisor.

%% Asks the gate without a pause; {how often, which answers, exceptions too}.
spawn_gate(Ledger) ->
    Self = self(),
    spawn_link(fun() -> Self ! {self(), ask_gate(Ledger, 0, [])} end).

stop_gate(Pid) ->
    Pid ! stop,
    receive {Pid, Result} -> Result end.

ask_gate(Ledger, Count, Answers) ->
    receive
        stop -> {Count, Answers}
    after 0 ->
            Answer = try cost_ledger:check_budget(Ledger, executing)
                     catch Class:Reason -> {Class, Reason}
                     end,
            %% So that it does not take a whole core from the others.
            Count rem 1000 =:= 0 andalso timer:sleep(1),
            case Answers of
                [Answer | _] -> ask_gate(Ledger, Count + 1, Answers);
                _ -> ask_gate(Ledger, Count + 1, lists:usort([Answer | Answers]))
            end
    end.

flush() ->
    receive Message -> [Message | flush()]
    after 0 -> []
    end.
