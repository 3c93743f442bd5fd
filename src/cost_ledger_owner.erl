%%% The owner of an open ledger: opens it, steers its clock once a second, and closes it. It does
%%% so little that it has no reason to crash; while it lives the gate answers, whatever becomes
%%% of the writer.
-module(cost_ledger_owner).
-behaviour(gen_server).

-include_lib("kernel/include/file.hrl").
-include("cost_ledger.hrl").

-export([start_link/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-define(TICK_MS, 1000).

-record(state,
        {ledger :: #ledger{},
         inode :: undefined | non_neg_integer(), %% of data.mdb; undefined once it was reported
         reported_ahead = false :: boolean()}).

-spec start_link(cost_ledger_options:parsed()) -> gen_server:start_ret().
start_link(Options) ->
    gen_server:start_link(?MODULE, Options, [{timeout, infinity}]).

init(Options) ->
    %% So that terminate/2 runs, and closes, when the supervisor stops us.
    _ = process_flag(trap_exit, true),
    case cost_ledger_opening:open(Options, parent()) of
        {ok, #ledger{path = Path} = Ledger} ->
            tick_later(),
            {ok, #state{ledger = Ledger, inode = inode(Path)}};
        {error, Reason} ->
            {stop, Reason}
    end.

parent() ->
    case hd(get('$ancestors')) of
        Pid when is_pid(Pid) -> Pid;
        Name -> whereis(Name)
    end.

tick_later() ->
    _ = erlang:send_after(?TICK_MS, self(), tick),
    ok.

handle_info(tick, #state{ledger = #ledger{handle = Handle}} = State) ->
    tick_later(),
    case cost_ledger_nif:tick(Handle) of
        {Jumped, AheadUs} -> {noreply, watch_files(watch_clock(Jumped, AheadUs, State))};
        closed -> {stop, closed, State}
    end;
handle_info({'EXIT', _Pid, Reason}, State) ->
    {stop, Reason, State};
handle_info(_Other, State) ->
    {noreply, State}.

%% A jump of the wall clock is reported once, until it is over.
watch_clock(true, AheadUs, #state{ledger = Ledger, reported_ahead = false} = State) ->
    #ledger{name = Name, path = Path} = Ledger,
    cost_ledger_events:clock_ahead(Name, AheadUs div 1000, Path),
    State#state{reported_ahead = true};
watch_clock(Jumped, _AheadUs, State) ->
    State#state{reported_ahead = Jumped}.

%% Removed under us, the file can be written to for as long as we live, and is gone then. Only
%% its name is looked at: opening and closing LMDB's files would drop its locks.
watch_files(#state{inode = undefined} = State) ->
    State;
watch_files(#state{ledger = #ledger{name = Name, path = Path}, inode = Inode} = State) ->
    case inode(Path) of
        Inode ->
            State;
        _ ->
            cost_ledger_events:files_replaced(Name, Path),
            State#state{inode = undefined}
    end.

inode(Path) ->
    case file:read_file_info(filename:join(Path, "data.mdb"), [raw]) of
        {ok, #file_info{inode = Inode}} -> Inode;
        {error, _} -> undefined
    end.

handle_call(_Request, _From, State) ->
    {reply, {error, unknown_request}, State}.

handle_cast(_Request, State) ->
    {noreply, State}.

terminate(_Reason, #state{ledger = #ledger{handle = Handle}}) ->
    cost_ledger_nif:close(Handle).
