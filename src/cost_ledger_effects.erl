%%% What a transaction brought about besides what was asked: told once, by whoever ran it.
-module(cost_ledger_effects).

-include("cost_ledger.hrl").

-export([tell/2, tell_run/3, subscribe/1, unsubscribe/1, scope/1]).
-export_type([warning/0, run_told/0]).

-type warning() :: #{rule := binary(), scope := all | map(), measure := atom(), window := term(),
                     threshold := 1..100, used := integer(), limit := integer(),
                     percent := non_neg_integer(), id := pos_integer(), timestamp := integer(),
                     period => {integer(), integer()}}.

%% Amounts in nano-units; threshold of a warning only.
-type run_told() :: #{run_id := binary(), used := non_neg_integer(),
                      budget := non_neg_integer(), percent := non_neg_integer(),
                      threshold => 1..100}.

%% Of pg, one per ledger: made by its supervisor.
-spec scope(atom()) -> atom().
scope(Name) ->
    list_to_atom("cost_ledger_subscribers:" ++ atom_to_list(Name)).

%% Ids of the holds that the ledger ended. Subscribers are told by the caller of this, in the order
%% of commits; handlers of events may take their time, or call the ledger, and run in the teller.
-spec tell(#ledger{}, [term()]) -> [pos_integer()].
tell(#ledger{name = Name, subscribers = Scope}, Effects) ->
    tell_all(Name, Scope, lists:flatmap(fun event/1, Effects)),
    [Hold || {expired, Hold, _Entry, _IsUnpriced} <- Effects].

%% What a run says of its own budget, in the same two ways.
-spec tell_run(#ledger{}, run_warning | run_stopped, run_told()) -> ok.
tell_run(#ledger{name = Name, subscribers = Scope}, Event, Told) ->
    tell_all(Name, Scope, [{Event, Told}]).

tell_all(_Name, _Scope, []) ->
    ok;
tell_all(Name, Scope, Events) ->
    Pids = subscribers(Scope),
    cost_ledger_teller:tell(Name, Events),
    lists:foreach(fun(Event) ->
                          lists:foreach(fun(Pid) -> Pid ! {cost_ledger, Name, Event} end, Pids)
                  end, Events).

event({warning, Status}) ->
    [{budget_warning, warning(cost_ledger_status:row(Status))}];
event({expired, Hold, Entry, IsUnpriced}) ->
    [{hold_expired, #{hold => Hold, id => Entry, unpriced => IsUnpriced}}];
event(building) ->
    [].

warning(#{id := Id} = Status) ->
    Kept = maps:with([rule, scope, measure, window, threshold, used, limit, percent, id, period],
                     Status),
    Kept#{timestamp => Id div 1000}.

%% The scope is there as long as the ledger's supervisor.
subscribers(Scope) ->
    try pg:get_local_members(Scope, warnings)
    catch error:badarg -> []
    end.

-spec subscribe(#ledger{}) -> ok | closed.
subscribe(#ledger{subscribers = Scope}) ->
    case lists:member(self(), subscribers(Scope)) of
        true -> ok;
        false -> try pg:join(Scope, warnings, self())
                 catch exit:{noproc, _} -> closed
                 end
    end.

-spec unsubscribe(#ledger{}) -> ok | closed.
unsubscribe(#ledger{subscribers = Scope}) ->
    try pg:leave(Scope, warnings, self()) of
        _ -> ok
    catch exit:{noproc, _} -> closed
    end.
