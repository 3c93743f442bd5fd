%%% Names to ledgers, as persistent terms, and one latch a name that says whether its outage was
%%% reported. The latches outlive the ledgers: an outage is when there is none.
-module(cost_ledger_registry).

-include("cost_ledger.hrl").

-export([publish/1, find/1, begin_outage/1, end_outage/1, boot_id/0]).

-on_load(init/0).

%% The default ledger's latch is made here, before any process can call this module: made on
%% demand, two processes could make one each and both report.
init() ->
    make_boot_id(),
    make_latch(?DEFAULT_LEDGER).

-define(BOOT_ID_KEY, cost_ledger_boot_id).

%% Of this VM: a pid that is stored beside it means something for as long as the VM runs, and
%% nothing after. Two fresh VMs give the same pids.
make_boot_id() ->
    case persistent_term:get(?BOOT_ID_KEY, undefined) of
        undefined -> persistent_term:put(?BOOT_ID_KEY, rand:bytes(16));
        _ -> ok
    end.

-spec boot_id() -> binary().
boot_id() ->
    persistent_term:get(?BOOT_ID_KEY).

-define(LATCH_KEY(Name), {cost_ledger_outage, Name}).

make_latch(Name) ->
    case persistent_term:get(?LATCH_KEY(Name), undefined) of
        undefined -> persistent_term:put(?LATCH_KEY(Name), atomics:new(1, []));
        _ -> ok
    end.

%% By the owner of the ledger, before anyone can find the name.
-spec publish(#ledger{}) -> ok.
publish(#ledger{name = Name} = Ledger) ->
    make_latch(Name),
    persistent_term:put(?LEDGER_KEY(Name), Ledger).

-spec find(term()) -> #ledger{} | undefined.
find(Name) ->
    persistent_term:get(?LEDGER_KEY(Name), undefined).

%% True for the one caller that finds the outage first.
-spec begin_outage(atom()) -> boolean().
begin_outage(Name) ->
    0 =:= atomics:exchange(persistent_term:get(?LATCH_KEY(Name)), 1, 1).

%% True if there was one to end.
-spec end_outage(atom()) -> boolean().
end_outage(Name) ->
    1 =:= atomics:exchange(persistent_term:get(?LATCH_KEY(Name)), 1, 0).
