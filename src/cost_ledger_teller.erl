%%% Tells the world what commits brought about, apart from the writer: a handler of telemetry or of
%%% logger may be slow, or call the ledger, and nobody's booking waits for it.
-module(cost_ledger_teller).
-behaviour(gen_server).

-export([start_link/1, tell/2]).
-export([init/1, handle_call/3, handle_cast/2]).

%% Beyond so many that wait, events are dropped and counted: memory is worth more.
-define(WAITING_MAX, 10000).

-spec start_link(atom()) -> gen_server:start_ret().
start_link(Name) ->
    gen_server:start_link({local, registered(Name)}, ?MODULE, Name, []).

registered(Name) ->
    list_to_atom("cost_ledger_teller:" ++ atom_to_list(Name)).

%% Does not wait. An event of a ledger that is being stopped is lost.
-spec tell(atom(), [{budget_warning | hold_expired | run_warning | run_stopped, map()}]) -> ok.
tell(Name, Events) ->
    gen_server:cast(registered(Name), Events).

init(Name) ->
    {ok, {Name, 0}}.

handle_cast(Events, {Name, Dropped}) ->
    case process_info(self(), message_queue_len) of
        {_, Waiting} when Waiting > ?WAITING_MAX ->
            {noreply, {Name, Dropped + length(Events)}};
        _ ->
            [cost_ledger_events:events_dropped(Name, Dropped) || Dropped > 0],
            lists:foreach(fun(Event) -> emit(Name, Event) end, Events),
            {noreply, {Name, 0}}
    end.

emit(Name, {budget_warning, Warning}) -> cost_ledger_events:budget_warning(Name, Warning);
emit(Name, {hold_expired, Expired}) -> cost_ledger_events:hold_expired(Name, Expired);
emit(Name, {run_warning, Told}) -> cost_ledger_events:run_warning(Name, Told);
emit(Name, {run_stopped, Told}) -> cost_ledger_events:run_stopped(Name, Told).

handle_call(_Request, _From, State) ->
    {reply, {error, unknown_request}, State}.
