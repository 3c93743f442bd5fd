%%% A live hold as hold_info/1 and holds/1 tell it, and the process that owns it.
-module(cost_ledger_hold_info).

-export([from_hold/2, owner/1]).

-define(STATE, 1).
-define(PROMPT_TYPE, 9).
-define(TOKEN_CLASSES, [input, output, cache_read, cache_creation, reasoning]).

%% The owner only of a pid that means something in this VM.
-spec from_hold(cost_ledger_nif:hold(), Us :: integer()) -> map().
from_hold(#{id := Id, names := Names, deadline := Deadline, extend_ms := ExtendMs,
            owner := Owner, boot_id := BootId, open_children := Children} = Hold, NowUs) ->
    Plain = maps:with([id, kind, run_id, cost, credits, parent, policy_version, client_id], Hold),
    Info = with_tokens(Hold, maps:merge(Plain, named(Names))),
    Whole = Info#{reserved_at => Id div 1000, deadline => (Deadline + 999) div 1000,
                  deadline_ms => ExtendMs, open_children => Children,
                  age_ms => max(0, (NowUs - Id) div 1000)},
    with_owner(BootId =:= cost_ledger_registry:boot_id(), Owner,
               with_metered(Hold, with_children(Hold, Whole))).

%% What was booked below a run so far.
with_children(#{children := {Cost, Credits, Tokens}}, Info) ->
    Info#{children => with_tokens(#{tokens => Tokens}, #{cost => Cost, credits => Credits})};
with_children(_Hold, Info) ->
    Info.

with_owner(true, Owner, Info) ->
    case owner(Owner) of
        none -> Info;
        Pid -> Info#{owner => Pid}
    end;
with_owner(false, _Owner, Info) ->
    Info.

%% The process that a hold's owner was written as. Anyone may send the writer a request in which it
%% is none; such a hold is nobody's.
-spec owner(binary()) -> pid() | none.
owner(Written) ->
    try binary_to_term(Written, [safe]) of
        Pid when is_pid(Pid) -> Pid;
        _ -> none
    catch error:badarg ->
            none
    end.

with_metered(#{metered := Metered}, Info) ->
    Info#{metered => with_tokens(Metered, maps:with([cost, credits], Metered))};
with_metered(_Hold, Info) ->
    Info.

with_tokens(#{tokens := Tokens}, Record) ->
    Record#{tokens => maps:from_list(lists:zip(?TOKEN_CLASSES, tuple_to_list(Tokens)))};
with_tokens(_Entry, Record) ->
    Record.

%% Names by dimension; states and prompt types as atoms where the VM has them.
-spec named([{pos_integer(), binary()}]) -> #{atom() => atom() | binary()}.
named(Names) ->
    lists:foldl(fun add_name/2, #{}, Names).

add_name({?STATE, Name}, Record) -> Record#{state => cost_ledger_budgets:to_atom(Name)};
add_name({?PROMPT_TYPE, Name}, Record) -> Record#{prompt_type => cost_ledger_budgets:to_atom(Name)};
add_name({2, Name}, Record) -> Record#{org => Name};
add_name({3, Name}, Record) -> Record#{project => Name};
add_name({4, Name}, Record) -> Record#{user => Name};
add_name({5, Name}, Record) -> Record#{agent => Name};
add_name({6, Name}, Record) -> Record#{model => Name};
add_name({7, Name}, Record) -> Record#{provider => Name};
add_name({_Unknown, _Name}, Record) -> Record.
