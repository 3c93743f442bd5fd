%%% The application's supervisor: the companion, and the default ledger, when the environment has a
%%% path for it.
-module(cost_ledger_sup).
-behaviour(supervisor).

-export([start_link/0, init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

init([]) ->
    Options = cost_ledger_app:environment(),
    Ledgers = [cost_ledger:child_spec(Options) || is_map_key(path, Options)],
    Companion = #{id => companion, start => {cost_ledger_companion, start_link, []}},
    {ok, {#{strategy => one_for_one, intensity => 3, period => 60}, [Companion | Ledgers]}}.
