%%% The runs of one ledger. A run that crashes is not started again: the ledger ends its hold, at
%%% what it had metered, and nobody would know what it had been about.
-module(cost_ledger_run_sup).
-behaviour(supervisor).

-include("cost_ledger.hrl").

-export([start_link/1, start_run/2, init/1]).

-spec start_link(atom()) -> {ok, pid()} | {error, term()}.
start_link(Name) ->
    case supervisor:start_link(?MODULE, cost_ledger_effects:scope(Name)) of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason}
    end.

%% {error, unavailable}: the ledger is being stopped.
-spec start_run(#ledger{}, cost_ledger_run_server:setup()) -> {ok, pid()} | {error, unavailable}.
start_run(#ledger{subscribers = Scope}, Setup) ->
    try
        [Supervisor] = pg:get_local_members(Scope, runs),
        {ok, _} = supervisor:start_child(Supervisor, [Setup])
    catch
        error:_ -> {error, unavailable};
        exit:_ -> {error, unavailable}
    end.

%% Found by its group, not by a name: when the supervisor above is killed, the old one may still be
%% there when the new one starts.
init(Scope) ->
    ok = pg:join(Scope, runs, self()),
    {ok, {#{strategy => simple_one_for_one},
          [#{id => run, start => {cost_ledger_run_server, start_link, []}, restart => temporary,
             %% A run that is stopped leaves its hold to the ledger, which ends it when it is next
             %% open: the writer is gone by now, and waiting for it would be in vain.
             shutdown => brutal_kill}]}}.
