%%% The application. A wrong environment is an error at start: a misspelt `path` would otherwise
%%% be a gate that nothing ever closes.
-module(cost_ledger_app).
-behaviour(application).

-export([start/2, stop/1, environment/0]).

start(_Type, _Arguments) ->
    case cost_ledger_options:check_environment(environment()) of
        ok -> cost_ledger_sup:start_link();
        {error, _} = Error -> Error
    end.

stop(_State) ->
    ok.

%% The options of the default ledger.
-spec environment() -> #{atom() => term()}.
environment() ->
    maps:without([included_applications], maps:from_list(application:get_all_env(cost_ledger))).
