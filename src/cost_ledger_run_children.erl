%%% The children of a run that may be live, and what they hold of its budget. They are resolved by
%%% whoever works with them, perhaps without a word to the run: the ledger is asked when it matters.
-module(cost_ledger_run_children).

-export([new/0, pend/4, forget/2, begun/3, ended/2, has/2, held/1, prune/1, claims/1, drop/1]).
-export_type([children/0, kind/0]).

%% A claim nobody has worked on yet; a call or a run is under way.
-type kind() :: claim | call | run.

-record(child,
        {hold :: cost_ledger_holds:hold(),
         kind :: kind(),
         amount :: non_neg_integer()}).

%% Those that callers are reserving are known by the monitor of the caller.
-record(children,
        {pending = #{} :: #{reference() => {kind(), Amount :: non_neg_integer()}},
         live = #{} :: #{Id :: pos_integer() => #child{}}}).

-opaque children() :: #children{}.

-spec new() -> children().
new() -> #children{}.

%% That caller is about to reserve so much.
-spec pend(reference(), kind(), non_neg_integer(), children()) -> children().
pend(Ref, Kind, Amount, #children{pending = Pending} = Children) ->
    Children#children{pending = Pending#{Ref => {Kind, Amount}}}.

%% It did not, or died.
-spec forget(reference(), children()) -> children().
forget(Ref, #children{pending = Pending} = Children) ->
    Children#children{pending = maps:remove(Ref, Pending)}.

%% It did.
-spec begun(reference(), cost_ledger_holds:hold(), children()) -> {ok, children()} | error.
begun(Ref, Hold, #children{pending = Pending, live = Live} = Children) ->
    case maps:take(Ref, Pending) of
        {{Kind, Amount}, Rest} ->
            Child = #child{hold = Hold, kind = Kind, amount = Amount},
            {ok, Children#children{pending = Rest,
                                   live = Live#{cost_ledger_holds:id(Hold) => Child}}};
        error ->
            error
    end.

-spec ended(cost_ledger_holds:hold(), children()) -> children().
ended(Hold, #children{live = Live} = Children) ->
    Children#children{live = maps:remove(cost_ledger_holds:id(Hold), Live)}.

-spec has(cost_ledger_holds:hold(), children()) -> boolean().
has(Hold, #children{live = Live}) ->
    is_map_key(cost_ledger_holds:id(Hold), Live).

%% In nano-units.
-spec held(children()) -> non_neg_integer().
held(#children{pending = Pending, live = Live}) ->
    Amounts = [Amount || {_Kind, Amount} <- maps:values(Pending)]
        ++ [Amount || #child{amount = Amount} <- maps:values(Live)],
    case lists:sum(Amounts) of
        Sum when is_integer(Sum), Sum >= 0 -> Sum
    end.

%% Without those that ended on their own; of runs, what is left of their budget.
-spec prune(children()) -> children().
prune(#children{live = Live} = Children) ->
    Children#children{live = maps:filtermap(fun(_Id, Child) -> is_live(Child) end, Live)}.

is_live(#child{hold = Hold} = Child) ->
    case cost_ledger_holds:info(Hold) of
        {ok, #{cost := Cost, children := #{cost := Below}}} ->
            {true, Child#child{amount = max(0, Cost - Below)}};
        {error, {resolved, _}} ->
            false;
        _ ->
            true
    end.

-spec claims(children()) -> [cost_ledger_holds:hold()].
claims(#children{live = Live}) ->
    [Hold || #child{hold = Hold, kind = claim} <- maps:values(Live)].

%% A claim was for nothing; what is under way is billed as if its owner had died, and whoever works
%% on it settles the difference.
-spec drop(children()) -> ok.
drop(#children{live = Live}) ->
    lists:foreach(fun(#child{hold = Hold, kind = claim}) -> cost_ledger_holds:release(Hold, #{});
                     (#child{hold = Hold}) -> cost_ledger_holds:abort(Hold)
                  end, maps:values(Live)).
