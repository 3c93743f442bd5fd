%%% Opening a ledger for its owner: waits out an old one that is closing, declares what the
%%% options name, checks them against what the ledger says, and tells what an operator should
%%% know although it succeeded.
-module(cost_ledger_opening).

-include_lib("kernel/include/file.hrl").
-include("cost_ledger.hrl").

-export([open/2]).

-define(CLOSING_POLL_MS, 10).
-define(CLOSING_POLLS, 6000).
%% Ledger time this far ahead of the wall clock is worth a word.
-define(AHEAD_MS, 60000).

-spec open(cost_ledger_options:parsed(), Supervisor :: pid()) ->
          {ok, #ledger{}} | {error, term()}.
open(Options, Supervisor) ->
    load_all(),
    case code:ensure_loaded(cost_ledger_nif) of
        {module, _} ->
            case open_when_free(Options, ?CLOSING_POLLS) of
                {ok, Handle, Opened} -> opened(Handle, Opened, Options, Supervisor);
                {error, _} = Error -> Error
            end;
        {error, _} ->
            {error, {nif_not_loaded, load_failure()}}
    end.

%% A module that is first called on a bad day, a denial or a failed write, must not have to be
%% loaded then: loading waits for dirty calls of killed processes.
load_all() ->
    _ = application:load(cost_ledger),
    case application:get_key(cost_ledger, modules) of
        {ok, Modules} -> _ = code:ensure_modules_loaded(Modules), ok;
        undefined -> ok
    end.

load_failure() ->
    persistent_term:get({cost_ledger_nif, load_failure},
                        <<"priv/cost_ledger_nif.so was not found; run make compile">>).

%% When the supervisor of this ledger was killed, the one above it starts a new one at once,
%% while the old owner is still closing: that is worth waiting for. Anyone else who has the
%% directory open is not. Where the old one has closed since it was asked for, once more decides.
open_when_free(#{name := Name, path := Path} = Options, Polls) ->
    case cost_ledger_nif:open(cost_ledger_options:to_nif(Options)) of
        {error, {already_open, _}} = Error when Polls > 0 ->
            case cost_ledger_registry:find(Name) of
                #ledger{path = Path, handle = Old} ->
                    case cost_ledger_nif:is_closed(Old) of
                        true ->
                            open_when_free(Options, 0);
                        false ->
                            timer:sleep(?CLOSING_POLL_MS),
                            open_when_free(Options, Polls - 1)
                    end;
                #ledger{} ->
                    Error;
                undefined ->
                    open_when_free(Options, 0)
            end;
        Result ->
            Result
    end.

opened(Handle, Opened, #{name := Name, path := Path, budgets := Given} = Options, Supervisor) ->
    case check_currency(Handle, Options) of
        ok ->
            Ledger = to_record(Handle, Options, Supervisor),
            Warnings = policy_warnings(Ledger, Opened, Options) ++ storage_warnings(Path, Opened)
                ++ clock_warnings(Handle, Options) ++ retention_warnings(Handle, Options),
            ok = declare_states(Handle, Given),
            ok = cost_ledger_registry:publish(Ledger),
            [cost_ledger_events:opened_with_warning(Name, Path, Text) || Text <- Warnings],
            case cost_ledger_registry:end_outage(Name) of
                true -> cost_ledger_events:available(Name, Path);
                false -> ok
            end,
            {ok, Ledger};
        {error, _} = Error ->
            ok = cost_ledger_nif:close(Handle),
            Error
    end.

to_record(Handle, #{name := Name, path := Path, on_unavailable := OnUnavailable, clock := Clock,
                    call_timeout := Timeout, max_entry_size := MaxEntrySize,
                    retention := Retention}, Supervisor) ->
    {ok, #{created_at := CreatedAt}} = cost_ledger_nif:facts(Handle),
    #ledger{name = Name, handle = Handle, path = Path, identity = CreatedAt,
            subscribers = cost_ledger_effects:scope(Name), on_unavailable = OnUnavailable,
            call_timeout = Timeout, max_entry_size = MaxEntrySize, clock = Clock,
            retention = Retention, supervisor = Supervisor}.

check_currency(_Handle, #{currency := undefined}) ->
    ok;
check_currency(Handle, #{currency := Currency}) ->
    case cost_ledger_nif:facts(Handle) of
        {ok, #{currency := Currency}} ->
            ok;
        {ok, #{currency := Stored}} ->
            {error, {currency_differs, <<"the ledger is kept in ", Stored/binary, ", not in ",
                                         Currency/binary, "; one ledger has one currency">>}};
        {error, _} = Error ->
            Error
    end.

%% The stored policy wins and the difference is told. A state that only the options name has no
%% stored limits: it is declared, by a change of the policy like any other.
policy_warnings(_Ledger, #{created := true}, _Options) ->
    [];
policy_warnings(#ledger{handle = Handle} = Ledger, #{created := false},
                #{budgets := Given} = Options) ->
    {ok, Policy} = cost_ledger_nif:policy(Handle),
    {Limits, Missing} =
        cost_ledger_budgets:differences(Given, cost_ledger_budgets:from_policy(Policy)),
    [["the stored budgets are in force, not those of the options (", lists:join("; ", Limits),
      "); change them with set_budgets"] || Limits =/= []]
        ++ seed_warnings(Policy, Options)
        ++ declare_missing(Ledger, maps:merge(unknown_states(Policy, Options), Missing)).

%% States that only the rules of the options name.
unknown_states(#{<<"states">> := Stored}, #{seed := #{<<"states">> := Named}, budgets := Given}) ->
    InBudgets = [atom_to_binary(State) || State <- maps:keys(Given)],
    maps:from_list([{State, #{}} || State <- (Named -- Stored) -- InBudgets]).

%% Rules and settings are told of only where the options name them.
seed_warnings(Policy, #{seed := Seed} = Options) ->
    Stored = by_name(Policy),
    Differing = case Options of
                    #{rules := _} ->
                        Wanted = by_name(Seed),
                        lists:sort([Name || {Name, Rule} <- maps:to_list(Wanted),
                                            maps:get(Name, Stored, undefined) =/= Rule]
                                   ++ maps:keys(maps:without(maps:keys(Wanted), Stored)));
                    _ ->
                        []
                end,
    Settings = case Options of
                   #{settings := _} ->
                       [maps:get(setting, Difference)
                        || Difference <- cost_ledger_settings:differences(
                                           maps:get(<<"settings">>, Policy, #{}),
                                           maps:get(<<"settings">>, Seed, #{}))];
                   _ ->
                       []
               end,
    [["the stored ", What, " are in force, not those of the options (", lists:join(", ", Names),
      " differ); change them with set_policy"]
     || {What, Names} <- [{"rules", Differing}, {"settings", Settings}], Names =/= []].

by_name(#{<<"rules">> := Rules}) ->
    maps:from_list([{Name, Rule} || #{<<"name">> := Name} = Rule <- Rules]).

declare_missing(_Ledger, Missing) when map_size(Missing) =:= 0 ->
    [];
declare_missing(Ledger, Missing) ->
    Change = {<<"start options">>, <<"states that the start options declare">>, undefined},
    case cost_ledger_policy:set_budgets(Ledger, Missing, Change) of
        {ok, _Version} -> [];
        Error -> [["states of the options could not be declared: ",
                   cost_ledger_error:describe(Error)]]
    end.

storage_warnings(Path, #{reader_slots_short := Short, filesystem := Filesystem,
                         gate_in_memory := GateInMemory}) ->
    [Text || {true, Text} <-
                 [{Short, "another process fixed the table of readers smaller than this VM has "
                   "threads; close all users of the ledger once to let it grow"},
                  {Filesystem =/= none,
                   ["the ledger is on ", case Filesystem of none -> ""; _ -> Filesystem end,
                    ", which may not keep it when the machine stops"]},
                  {is_open_to_others(Path), "others than its owner may enter the directory; "
                   "chmod 700 it"},
                  {GateInMemory, "the disk is full: the gate page is in memory only, and other "
                   "processes cannot read it"}]].

%% A directory that was there keeps its mode: it may be shared on purpose.
is_open_to_others(Path) ->
    case file:read_file_info(Path, [raw]) of
        {ok, #file_info{mode = Mode}} -> Mode band 8#077 =/= 0;
        {error, _} -> false
    end.

clock_warnings(_Handle, #{clock := manual}) ->
    [];
clock_warnings(Handle, #{clock := system}) ->
    Ahead = cost_ledger_nif:now(Handle) div 1000 - erlang:system_time(millisecond),
    [["ledger time is ", integer_to_binary(Ahead div 1000), " s ahead of the wall clock, because "
      "an entry or the clock once was; it goes on from there"] || Ahead > ?AHEAD_MS].

%% Archiving is refused then; everything else goes on.
retention_warnings(Handle, #{retention := Retention}) ->
    {ok, Policy} = cost_ledger_nif:policy(Handle),
    case cost_ledger_archive:too_short(Retention, Policy) of
        false -> [];
        {true, Text} -> [["the option retention is too short, and nothing will be archived: ",
                          Text]]
    end.

%% So that the gate knows their atoms.
declare_states(Handle, Given) ->
    lists:foreach(fun(State) ->
                          _ = cost_ledger_nif:declare(Handle, State, atom_to_binary(State))
                  end, maps:keys(maps:merge(cost_ledger_budgets:defaults(), Given))).
