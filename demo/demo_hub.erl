%%% A hub as an agent system has one: a state machine that may only work while the ledger lets
%%% it. Each call asks to work in one of three states; the hub gates the transition, works, books
%%% the invocation, and rests while it is refused.
-module(demo_hub).
-behaviour(gen_statem).

-export([start_link/1, call/2]).
-export([init/1, callback_mode/0, resting/3, executing/3, improving/3, contemplating/3]).

-type work() :: #{wants := atom(), meta := map()}.

-spec start_link(atom()) -> {ok, pid()}.
start_link(Ledger) ->
    {ok, _} = gen_statem:start_link(?MODULE, Ledger, []).

%% done: it was allowed and is booked. refused: the budget of that state is exhausted.
-spec call(pid(), work()) -> done | refused.
call(Hub, Work) ->
    gen_statem:call(Hub, Work).

init(Ledger) ->
    {ok, resting, Ledger}.

callback_mode() ->
    state_functions.

resting({call, From}, Work, Ledger) -> work(From, Work, Ledger).
executing({call, From}, Work, Ledger) -> work(From, Work, Ledger).
improving({call, From}, Work, Ledger) -> work(From, Work, Ledger).
contemplating({call, From}, Work, Ledger) -> work(From, Work, Ledger).

%% The gate stands before the transition, the booking after the work.
work(From, #{wants := State, meta := Meta}, Ledger) ->
    case cost_ledger:check_budget(Ledger, State) of
        ok ->
            ok = cost_ledger:record_invocation(Ledger, State, Meta),
            {next_state, State, Ledger, {reply, From, done}};
        budget_exhausted ->
            {next_state, resting, Ledger, {reply, From, refused}}
    end.
