%%% The companion: a C program beside the VM that does what takes long (`priv/cost_ledger --port`). It is
%%% started when it is first needed, and again when it died; a job that was running then is an error
%%% of its caller's, and nothing else. When the VM dies it sees the end of its input and goes, too.
%%%
%%% c_src/port/frames.h draws the frames. Replies go to an alias of the caller: one that gave up, or
%%% died, gets none, and its job is cancelled.
-module(cost_ledger_companion).
-behaviour(gen_server).

-export([start_link/0, run/3, os_pid/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export_type([options/0, reason/0]).

%% progress is called in the caller's process, with how much is done and of how much; 0: not known.
-type options() :: #{timeout => timeout(),
                     progress => fun((non_neg_integer(), non_neg_integer()) -> term())}.
-type reason() :: {atom(), binary()} | timeout.

-define(PROTOCOL, 1).
-define(HELLO_MS, 10000).
%% A companion that dies at once is not started again and again: each time later, up to this.
-define(BACKOFF_MS, 100).
-define(BACKOFF_MAX_MS, 30000).

%% Exit statuses of a companion that met a damaged page; c_src/port/damage.h.
-define(DAMAGE_STATUS, 64).
-define(DAMAGE_JOBS, 64).

-record(job,
        {reply :: reference(), % alias of the caller
         monitor :: reference()}).

-record(state,
        {port = undefined :: undefined | port(),
         greeted = false :: boolean(),
         next = 1 :: pos_integer(),
         jobs = #{} :: #{Id :: pos_integer() => #job{}},
         failures = 0 :: non_neg_integer(), % starts in a row that came to nothing
         not_before = undefined :: undefined | integer()}). % monotonic ms

-spec start_link() -> {ok, pid()} | ignore | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% Does a job, and answers what it did. A job that is given up (timeout, or the caller's death) is
%% cancelled.
-spec run(Job :: atom(), Arguments :: map(), options()) -> {ok, map()} | {error, reason()}.
run(Job, Arguments, Options) ->
    case whereis(?MODULE) of
        undefined ->
            {error, {no_companion, <<"the application cost_ledger is not started; start it">>}};
        Server ->
            Reply = erlang:monitor(process, Server, [{alias, explicit_unalias}]),
            Server ! {run, self(), Reply, atom_to_binary(Job), Arguments},
            Deadline = deadline(maps:get(timeout, Options, infinity)),
            Answer = await(Reply, Deadline, maps:get(progress, Options, fun(_, _) -> ok end)),
            _ = erlang:unalias(Reply),
            true = erlang:demonitor(Reply, [flush]),
            Answer
    end.

await(Reply, Deadline, Progress) ->
    receive
        {Reply, {progress, Done, Total}} ->
            _ = Progress(Done, Total),
            await(Reply, Deadline, Progress);
        {Reply, Answer} ->
            Answer;
        {'DOWN', Reply, process, _, _} ->
            {error, died()}
    after remaining(Deadline) ->
            ?MODULE ! {give_up, Reply},
            {error, timeout}
    end.

deadline(infinity) -> infinity;
deadline(Ms) -> erlang:monotonic_time(millisecond) + Ms.

remaining(infinity) -> infinity;
remaining(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).

died() ->
    {companion_died, <<"the companion ended in the middle of the job; nothing was left behind, try "
                       "again">>}.

damaged() ->
    {damaged, <<"a page of data.mdb cannot be read; restore a backup">>}.

%% Of the program that is running, for an operator; `none`.
-spec os_pid() -> pos_integer() | none.
os_pid() ->
    gen_server:call(?MODULE, os_pid).

%%% The server ---------------------------------------------------------------------------------

init([]) ->
    %% So that the port is closed, and terminate/2 is called.
    _ = process_flag(trap_exit, true),
    {ok, #state{}}.

handle_call(os_pid, _From, #state{port = undefined} = State) ->
    {reply, none, State};
handle_call(os_pid, _From, #state{port = Port} = State) ->
    {reply, case erlang:port_info(Port, os_pid) of
                {os_pid, Pid} -> Pid;
                _ -> none
            end, State};
handle_call(_Request, _From, State) ->
    {reply, {error, unknown_request}, State}.

handle_cast(_Request, State) ->
    {noreply, State}.

handle_info({run, Caller, Reply, Job, Arguments}, State)
  when is_pid(Caller), is_reference(Reply), is_binary(Job), is_map(Arguments) ->
    case with_port(State) of
        {ok, #state{port = Port, next = Id, jobs = Jobs} = Running} ->
            New = #job{reply = Reply, monitor = erlang:monitor(process, Caller)},
            case send(Port, [Id, Job, Arguments]) of
                sent ->
                    {noreply, Running#state{next = Id + 1, jobs = Jobs#{Id => New}}};
                busy ->
                    true = erlang:demonitor(New#job.monitor, [flush]),
                    Reply ! {Reply, {error, {companion_unavailable,
                                             <<"the companion does not read; ask again later">>}}},
                    {noreply, Running};
                gone ->
                    %% Nothing of it has begun: the next one does it.
                    true = erlang:demonitor(New#job.monitor, [flush]),
                    Status = receive
                                 {Port, {exit_status, Of}} -> Of
                             after 1000 -> unknown
                             end,
                    handle_info({run, Caller, Reply, Job, Arguments}, ended(Status, Running))
            end;
        {error, Reason, Failed} ->
            Reply ! {Reply, {error, Reason}},
            {noreply, Failed}
    end;
handle_info({give_up, Reply}, #state{jobs = Jobs} = State) ->
    cancel([Id || {Id, #job{reply = Of}} <- maps:to_list(Jobs), Of =:= Reply], State),
    {noreply, State};
handle_info({'DOWN', Monitor, process, _, _}, #state{jobs = Jobs} = State) ->
    cancel([Id || {Id, #job{monitor = Of}} <- maps:to_list(Jobs), Of =:= Monitor], State),
    {noreply, State};
handle_info({Port, {data, Frame}}, #state{port = Port} = State) ->
    {noreply, frame(cost_ledger_nif:from_msgpack(Frame), State)};
handle_info({Port, {exit_status, Status}}, #state{port = Port} = State) ->
    {noreply, ended(Status, State)};
handle_info({'EXIT', Port, _Reason}, #state{port = Port} = State) ->
    {noreply, ended(unknown, State)};
handle_info(_Other, State) ->
    {noreply, State}.

terminate(_Reason, #state{port = Port}) when is_port(Port) ->
    catch port_close(Port),
    ok;
terminate(_Reason, _State) ->
    ok.

cancel(Ids, #state{port = Port}) when is_port(Port) ->
    lists:foreach(fun(Id) ->
                          send(Port, [Id, <<"cancel">>])
                  end, Ids);
cancel(_Ids, _State) ->
    ok.

%% `gone`: it has ended already; the message that says so is on its way, and deals with the rest.
send(Port, Request) ->
    try erlang:port_command(Port, cost_ledger_nif:to_msgpack(Request), [nosuspend]) of
        true -> sent;
        false -> busy
    catch
        error:badarg -> gone
    end.

%% A frame of the companion; what is none of its own is not waited for.
frame([<<"hello">>, ?PROTOCOL, _Version], State) ->
    State#state{greeted = true, failures = 0};
frame([<<"hello">>, Other, _Version], State) ->
    stop_port({companion_version, unicode:characters_to_binary(
                 io_lib:format("the companion speaks protocol ~0p, this VM ~b: they are of "
                               "different versions; build both", [Other, ?PROTOCOL]))}, State);
frame([Id, <<"progress">>, Done, Total], #state{jobs = Jobs} = State) ->
    _ = case Jobs of
            #{Id := #job{reply = Reply}} -> Reply ! {Reply, {progress, Done, Total}};
            _ -> ok
        end,
    State;
frame([Id, <<"ok">>, Result], State) when is_map(Result) ->
    done(Id, {ok, maps:from_list([{binary_to_existing_atom(Key), Value}
                                  || {Key, Value} <- maps:to_list(Result)])}, State);
frame([Id, <<"error">>, Name, Text], State) ->
    %% Of the one table in c_src/core/error.c: no more atoms than that has rows.
    done(Id, {error, {binary_to_atom(Name), Text}}, State);
frame(_Other, State) ->
    State.

done(Id, Answer, #state{jobs = Jobs} = State) ->
    case maps:take(Id, Jobs) of
        {#job{reply = Reply, monitor = Monitor}, Rest} ->
            true = erlang:demonitor(Monitor, [flush]),
            Reply ! {Reply, Answer},
            State#state{jobs = Rest};
        error ->
            State
    end.

%%% The program --------------------------------------------------------------------------------

with_port(#state{port = Port} = State) when is_port(Port) ->
    {ok, State};
with_port(#state{not_before = NotBefore} = State) ->
    case erlang:monotonic_time(millisecond) of
        Now when is_integer(NotBefore), Now < NotBefore ->
            {error, {companion_unavailable, <<"the companion ended as soon as it was started; it is "
                                              "started again a little later">>}, State};
        _ ->
            open(State)
    end.

open(State) ->
    Program = program(),
    try open_port({spawn_executable, Program},
                  [{args, ["--port"]}, {packet, 4}, binary, exit_status])
    of
        Port -> greeted(State#state{port = Port, greeted = false})
    catch
        error:Reason ->
            Text = unicode:characters_to_binary(
                     io_lib:format("~ts cannot be started: ~0tp; build it with make", [Program,
                                                                                    Reason])),
            {error, {no_companion, Text}, failed(State)}
    end.

program() ->
    Priv = case code:priv_dir(cost_ledger) of
               {error, bad_name} ->
                   filename:join([filename:dirname(code:which(?MODULE)), "..", "priv"]);
               Dir ->
                   Dir
           end,
    filename:join(Priv, "cost_ledger").

%% Nothing is sent to a program that did not say what it is.
greeted(#state{port = Port} = State) ->
    receive
        {Port, {data, Frame}} ->
            case frame(cost_ledger_nif:from_msgpack(Frame), State) of
                #state{greeted = true} = Greeted -> {ok, Greeted};
                #state{} = Refused ->
                    {error, {companion_version, <<"the companion is of another version than this "
                                                  "VM's code; build both">>}, failed(Refused)}
            end;
        {Port, {exit_status, Status}} ->
            Text = io_lib:format("the companion ended with status ~b as soon as it was started",
                                 [Status]),
            {error, {companion_died, unicode:characters_to_binary(Text)},
             failed(State#state{port = undefined})}
    after ?HELLO_MS ->
            true = port_close(Port),
            {error, {companion_unavailable, <<"the companion does not answer">>},
             failed(State#state{port = undefined})}
    end.

failed(#state{failures = Failures} = State) ->
    Wait = min(?BACKOFF_MAX_MS, ?BACKOFF_MS bsl min(Failures, 16)),
    State#state{failures = Failures + 1,
                not_before = erlang:monotonic_time(millisecond) + Wait}.

stop_port(Reason, #state{port = Port} = State) ->
    catch port_close(Port),
    all_failed(fun(_Id) -> Reason end, State#state{port = undefined}).

ended(Status, State) ->
    cost_ledger_events:companion_ended(Status),
    all_failed(fun(Id) -> reason(Status, Id) end, State#state{port = undefined, greeted = false}).

%% What it met is the ledger's of one job; the others only lost their companion.
reason(Status, Id)
  when is_integer(Status), Status - ?DAMAGE_STATUS =:= Id rem ?DAMAGE_JOBS -> damaged();
reason(_Status, _Id) -> died().

all_failed(Reason, #state{jobs = Jobs} = State) ->
    maps:foreach(fun(Id, #job{reply = Reply, monitor = Monitor}) ->
                         true = erlang:demonitor(Monitor, [flush]),
                         Reply ! {Reply, {error, Reason(Id)}}
                 end, Jobs),
    State#state{jobs = #{}}.
