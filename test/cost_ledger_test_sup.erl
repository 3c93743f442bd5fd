%%% A supervisor of a user of the ledger.
-module(cost_ledger_test_sup).
-behaviour(supervisor).

-export([init/1]).

init(Specs) ->
    {ok, {#{}, Specs}}.
