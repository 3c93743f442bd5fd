%%% What a transaction brought about besides what was asked: told once, by whoever ran it.
-module(cost_ledger_effects).

-include("cost_ledger.hrl").

-export([tell/2, subscribe/1, unsubscribe/1, scope/1]).
-export_type([warning/0]).

-type warning() :: #{rule := binary(), scope := all | map(), measure := atom(), window := term(),
                     threshold := 1..100, used := integer(), limit := integer(),
                     percent := non_neg_integer(), id := pos_integer(), timestamp := integer(),
                     period => {integer(), integer()}}.

%% Of pg, one per ledger: made by its supervisor.
-spec scope(atom()) -> atom().
scope(Name) ->
    list_to_atom("cost_ledger_subscribers:" ++ atom_to_list(Name)).

%% Ids of the holds that the ledger ended.
-spec tell(#ledger{}, [term()]) -> [pos_integer()].
tell(Ledger, Effects) ->
    lists:foreach(fun(Effect) -> tell_one(Ledger, Effect) end, Effects),
    [Hold || {expired, Hold, _Entry, _IsUnpriced} <- Effects].

tell_one(#ledger{name = Name, subscribers = Scope}, {warning, Status}) ->
    Warning = warning(cost_ledger_status:row(Status)),
    cost_ledger_events:budget_warning(Name, Warning),
    send(Name, Scope, {budget_warning, Warning});
tell_one(#ledger{name = Name, subscribers = Scope}, {expired, Hold, Entry, IsUnpriced}) ->
    Expired = #{hold => Hold, id => Entry, unpriced => IsUnpriced},
    cost_ledger_events:hold_expired(Name, Expired),
    send(Name, Scope, {hold_expired, Expired});
tell_one(_Ledger, building) ->
    ok.

warning(#{id := Id} = Status) ->
    Kept = maps:with([rule, scope, measure, window, threshold, used, limit, percent, id, period],
                     Status),
    Kept#{timestamp => Id div 1000}.

send(Name, Scope, Event) ->
    lists:foreach(fun(Pid) -> Pid ! {cost_ledger, Name, Event} end, subscribers(Scope)).

%% The scope is there as long as the ledger's supervisor.
subscribers(Scope) ->
    try pg:get_local_members(Scope, warnings)
    catch error:badarg -> []
    end.

-spec subscribe(#ledger{}) -> ok.
subscribe(#ledger{subscribers = Scope}) ->
    case lists:member(self(), subscribers(Scope)) of
        true -> ok;
        false -> pg:join(Scope, warnings, self())
    end.

-spec unsubscribe(#ledger{}) -> ok.
unsubscribe(#ledger{subscribers = Scope}) ->
    _ = pg:leave(Scope, warnings, self()),
    ok.
