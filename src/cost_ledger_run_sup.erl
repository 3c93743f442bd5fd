%%% The runs of one ledger. A run that crashes is not started again: the ledger ends its hold, at
%%% what it had metered, and nobody would know what it had been about.
-module(cost_ledger_run_sup).
-behaviour(supervisor).

-export([start_link/1, start_run/2, init/1]).

-spec start_link(atom()) -> {ok, pid()} | {error, term()}.
start_link(Name) ->
    case supervisor:start_link({local, registered(Name)}, ?MODULE, []) of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason}
    end.

registered(Name) ->
    list_to_atom("cost_ledger_runs:" ++ atom_to_list(Name)).

%% {error, unavailable}: the ledger is being stopped.
-spec start_run(atom(), cost_ledger_run_server:setup()) -> {ok, pid()} | {error, unavailable}.
start_run(Name, Setup) ->
    try
        {ok, _} = supervisor:start_child(registered(Name), [Setup])
    catch exit:_ -> {error, unavailable}
    end.

init([]) ->
    {ok, {#{strategy => simple_one_for_one},
          [#{id => run, start => {cost_ledger_run_server, start_link, []}, restart => temporary,
             %% A run that is stopped leaves its hold to the ledger, which ends it when it is next
             %% open: the writer is gone by now, and waiting for it would be in vain.
             shutdown => brutal_kill}]}}.
