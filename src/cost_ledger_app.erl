-module(cost_ledger_app).
-behaviour(application).

-export([start/2, stop/1]).

start(_Type, _Arguments) ->
    cost_ledger_sup:start_link().

stop(_State) ->
    ok.
