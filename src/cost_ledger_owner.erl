%%% The owner of an open ledger: opens it, lets its name be found, steers its clock once a
%%% second, and closes it. It does so little that it has no reason to crash; while it lives the
%%% gate answers, whatever becomes of the writer.
-module(cost_ledger_owner).
-behaviour(gen_server).

-include("cost_ledger.hrl").

-export([start_link/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-define(TICK_MS, 1000).
-define(CLOSING_POLL_MS, 10).
-define(CLOSING_POLLS, 6000).

-record(state, {ledger :: #ledger{}, reported_ahead = false :: boolean()}).

-spec start_link(cost_ledger_options:parsed()) -> gen_server:start_ret().
start_link(Options) ->
    gen_server:start_link(?MODULE, Options, [{timeout, infinity}]).

init(Options) ->
    %% So that terminate/2 runs, and closes, when the supervisor stops us.
    _ = process_flag(trap_exit, true),
    load_all(),
    case code:ensure_loaded(cost_ledger_nif) of
        {module, _} -> open(Options);
        {error, _} -> {stop, {nif_not_loaded, load_failure()}}
    end.

%% A module that is first called on a bad day, a denial or a failed write, must not have to be
%% loaded then: loading waits for dirty calls of killed processes.
load_all() ->
    _ = application:load(cost_ledger),
    case application:get_key(cost_ledger, modules) of
        {ok, Modules} -> _ = code:ensure_modules_loaded(Modules), ok;
        undefined -> ok
    end.

load_failure() ->
    persistent_term:get({cost_ledger_nif, load_failure},
                        <<"priv/cost_ledger_nif.so was not found; run make compile">>).

open(#{name := Name, path := Path} = Options) ->
    case open_when_free(Options, ?CLOSING_POLLS) of
        {ok, Handle, Opened} ->
            Ledger = to_record(Handle, Options),
            ok = declare_states(Handle, maps:get(budgets, Options)),
            ok = cost_ledger_registry:publish(Ledger),
            warn(Name, Path, Opened),
            case cost_ledger_registry:end_outage(Name) of
                true -> cost_ledger_events:available(Name, Path);
                false -> ok
            end,
            tick_later(),
            {ok, #state{ledger = Ledger}};
        {error, Reason} ->
            {stop, Reason}
    end.

%% When the supervisor of this ledger was killed, the one above it starts a new one at once,
%% while the old owner is still closing: that is worth waiting for.
open_when_free(#{name := Name} = Options, Polls) ->
    case cost_ledger_nif:open(cost_ledger_options:to_nif(Options)) of
        {error, {already_open, _}} = Error when Polls > 0 ->
            case cost_ledger_registry:find(Name) of
                #ledger{supervisor = Supervisor} when is_pid(Supervisor) ->
                    case is_process_alive(Supervisor) of
                        true -> Error;
                        false ->
                            timer:sleep(?CLOSING_POLL_MS),
                            open_when_free(Options, Polls - 1)
                    end;
                _ ->
                    Error
            end;
        Result ->
            Result
    end.

to_record(Handle, #{name := Name, path := Path, on_unavailable := OnUnavailable, clock := Clock,
                    call_timeout := Timeout, max_entry_size := MaxEntrySize}) ->
    #ledger{name = Name, handle = Handle, path = Path, on_unavailable = OnUnavailable,
            call_timeout = Timeout, max_entry_size = MaxEntrySize, clock = Clock,
            supervisor = hd(get('$ancestors'))}.

%% A state of the options that the stored policy does not have stays undeclared.
declare_states(Handle, Budgets) ->
    lists:foreach(fun(State) ->
                          _ = cost_ledger_nif:declare(Handle, State, atom_to_binary(State))
                  end, maps:keys(Budgets)).

warn(Name, Path, #{policy_differs := Differs, reader_slots_short := Short,
                   filesystem := Filesystem}) ->
    Warnings =
        [{Differs, "the budgets in the options differ from those stored in the ledger; the stored "
          "ones are in force, change them with set_budgets"},
         {Short, "another process fixed the table of readers smaller than this VM has threads; "
          "close all users of the ledger once to let it grow"},
         {Filesystem =/= none,
          ["the ledger is on ", case Filesystem of none -> ""; _ -> Filesystem end,
           ", which may not keep it when the machine stops"]}],
    lists:foreach(fun({true, Text}) -> cost_ledger_events:opened_with_warning(Name, Path, Text);
                     ({false, _}) -> ok
                  end, Warnings).

tick_later() ->
    _ = erlang:send_after(?TICK_MS, self(), tick),
    ok.

%% A jump of the wall clock is reported once, until it is over.
handle_info(tick, #state{ledger = Ledger, reported_ahead = Reported} = State) ->
    #ledger{name = Name, handle = Handle, path = Path} = Ledger,
    tick_later(),
    case cost_ledger_nif:tick(Handle) of
        {true, AheadUs} when not Reported ->
            cost_ledger_events:clock_ahead(Name, AheadUs div 1000, Path),
            {noreply, State#state{reported_ahead = true}};
        {Jumped, _AheadUs} ->
            {noreply, State#state{reported_ahead = Jumped}};
        closed ->
            {stop, closed, State}
    end;
handle_info({'EXIT', _Pid, Reason}, State) ->
    {stop, Reason, State};
handle_info(_Other, State) ->
    {noreply, State}.

handle_call(_Request, _From, State) ->
    {reply, {error, unknown_request}, State}.

handle_cast(_Request, State) ->
    {noreply, State}.

terminate(_Reason, #state{ledger = #ledger{handle = Handle}}) ->
    cost_ledger_nif:close(Handle).
