%%% Which states a ledger knows: the gate's table first, then the policy, which may name more than
%%% this VM has asked for yet.
-module(cost_ledger_states).

-include("cost_ledger.hrl").

-export([is_declared/2, declare/2]).

-spec is_declared(#ledger{}, term()) -> boolean() | closed.
is_declared(#ledger{handle = Handle}, State) ->
    case cost_ledger_nif:allowed_from(Handle, State) of
        undeclared ->
            case declare(Handle, State) of
                ok -> true;
                undeclared -> false;
                closed -> closed
            end;
        _ ->
            true
    end.

-spec declare(cost_ledger_nif:handle(), term()) -> ok | undeclared | closed.
declare(Handle, State) ->
    try atom_to_binary(State) of
        Name ->
            case cost_ledger_nif:declare(Handle, State, Name) of
                {error, _} -> undeclared;
                Result -> Result
            end
    catch error:badarg -> undeclared
    end.
