%%% Moving a manual clock: the time first, then what is due by then.
-module(cost_ledger_time).

-include("cost_ledger.hrl").

-export([set/2, advance/2]).

-spec set(#ledger{}, integer()) -> ok | {error, backwards | not_manual | atom()} | closed.
set(#ledger{handle = Handle} = Ledger, Ms) ->
    moved(Ledger, cost_ledger_nif:set_clock(Handle, Ms * 1000)).

-spec advance(#ledger{}, non_neg_integer()) ->
          ok | {error, backwards | not_manual | atom()} | closed.
advance(#ledger{handle = Handle} = Ledger, Ms) ->
    moved(Ledger, cost_ledger_nif:advance_clock(Handle, Ms * 1000)).

moved(Ledger, ok) -> end_due(Ledger);
moved(_Ledger, Other) -> Other.

%% A transaction ends so many at most: until none is due, or none could be ended.
end_due(#ledger{handle = Handle} = Ledger) ->
    case cost_ledger_nif:commit(Handle, []) of
        closed ->
            closed;
        {[], {Next, Effects}} ->
            Ended = cost_ledger_effects:tell(Ledger, Effects),
            cost_ledger_writer:forget(Handle, Ended),
            case Next =/= none andalso Next =< cost_ledger_nif:now(Handle) andalso Ended =/= [] of
                true -> end_due(Ledger);
                false -> ok
            end
    end.
