%%% Holds, from the caller's side: what it says is checked here and handed to the writer, which
%%% decides in its transaction.
-module(cost_ledger_holds).

-include("cost_ledger.hrl").

-export([reserve/2, settle/2, release/2, meter/2, transfer/3, abort/1, info/1, list/1]).
-export([settle_own/2, meter_own/2, id/1, through/2]).
-export_type([hold/0]).

-record(hold,
        {ledger :: atom(),
         identity :: non_neg_integer(),
         id :: pos_integer()}).

%% One that was reserved through a scope.
-record(scoped_hold,
        {scope :: cost_ledger_scope:scope(),
         hold :: #hold{}}).

%% Names the ledger and the hold, nothing else: it may be sent, stored, and used after a restart.
-opaque hold() :: #hold{} | #scoped_hold{}.

%% What comes back may be anything by then.
-define(IS_HOLD(Name, Identity, Id),
        is_atom(Name), is_integer(Identity), is_integer(Id), Id > 0, Id < 1 bsl 63).

-define(DEADLINE_MS, 600000).
-define(SLICE, 1000).
%% What became of an entry: c_src/core/entry.h.
-define(OVERRUN, 1).
-define(LATE, 2).

-type invalid() :: {invalid, Position :: pos_integer(), iodata()}.

-spec reserve(#ledger{}, term()) ->
          {ok, hold()} | {error, term()} | invalid() | {undeclared, term()}.
reserve(#ledger{} = Ledger, Attributes) ->
    case cost_ledger_record:attempt(Attributes) of
        {ok, Fields, What} -> reserve(Ledger, Fields, What);
        {invalid, Text} -> {invalid, 2, Text}
    end.

reserve(Ledger, Fields, #{state := State} = What) ->
    case cost_ledger_states:is_declared(Ledger, State) of
        true -> reserve_with(Ledger, Fields, What);
        false -> {undeclared, State};
        closed -> {error, unavailable}
    end;
reserve(Ledger, Fields, What) ->
    reserve_with(Ledger, Fields, What).

reserve_with(Ledger, Fields, #{kind := Kind, critical := Critical} = What) ->
    Owner = maps:get(owner, What, self()),
    ExtendMs = maps:get(deadline_ms, What, ?DEADLINE_MS),
    case parent(Ledger, maps:get(parent, What, none)) of
        {ok, Parent} ->
            Extra = cost_ledger_request:reserve(Parent, ExtendMs, Critical),
            Operation = {reserve, Parent, ExtendMs, Critical, term_to_binary(Owner)},
            case cost_ledger_record:encode(Kind, Fields, Extra) of
                {ok, Draft} -> reserved(Ledger, cost_ledger_queue:call(Ledger, Operation, Draft,
                                                                       Owner));
                {invalid, Text} -> {invalid, 2, Text}
            end;
        Error ->
            Error
    end.

reserved(#ledger{name = Name, identity = Identity}, {ok, Id, _Flags}) ->
    {ok, #hold{ledger = Name, identity = Identity, id = Id}};
reserved(_Ledger, {denied, Denial}) ->
    {error, {budget_exhausted, cost_ledger_status:denial(Denial)}};
reserved(_Ledger, Error) ->
    Error.

parent(_Ledger, none) ->
    {ok, 0};
parent(Ledger, #scoped_hold{hold = #hold{} = Hold}) ->
    parent(Ledger, Hold);
parent(#ledger{name = Name, identity = Identity},
       #hold{ledger = Name, identity = Identity, id = Id})
  when ?IS_HOLD(Name, Identity, Id) ->
    {ok, Id};
parent(_Ledger, #hold{ledger = Name, identity = Identity, id = Id})
  when ?IS_HOLD(Name, Identity, Id) ->
    foreign();
parent(_Ledger, Other) ->
    {invalid, 2, ["parent must be a hold, as reserve returned it, not ",
                  cost_ledger_error:describe(Other)]}.

foreign() ->
    {error, {foreign_hold, <<"the hold is of another ledger than the one that is open under its "
                             "name; open that one">>}}.

-spec settle(term(), term()) ->
          {ok, #{id := pos_integer(), overrun := boolean(), late := boolean()}}
              | {error, term()} | invalid().
settle(Hold, Usage) ->
    with_usage(Hold, settle, in_all, Usage, fun settled/1).

%% The same of what a run used itself, its children left out: right whatever they book meanwhile.
-spec settle_own(term(), term()) ->
          {ok, #{id := pos_integer(), overrun := boolean(), late := boolean()}}
              | {error, term()} | invalid().
settle_own(Hold, Usage) ->
    with_usage(Hold, settle, own, Usage, fun settled/1).

settled({ok, Id, Flags}) ->
    {ok, #{id => Id, overrun => Flags band ?OVERRUN =/= 0, late => Flags band ?LATE =/= 0}};
settled(Error) ->
    Error.

-spec meter(term(), term()) -> ok | {error, term()} | invalid().
meter(Hold, Usage) ->
    with_usage(Hold, meter, in_all, Usage, fun done/1).

%% The same of what a run used itself, its children left out.
-spec meter_own(term(), term()) -> ok | {error, term()} | invalid().
meter_own(Hold, Usage) ->
    with_usage(Hold, meter, own, Usage, fun done/1).

%% A hold that was reserved through a scope is settled within it.
-spec through(cost_ledger_scope:scope(), hold()) -> hold().
through(Scope, #hold{} = Hold) ->
    #scoped_hold{scope = Scope, hold = Hold}.

with_usage(#scoped_hold{scope = Scope, hold = Hold}, Name, Whose, Usage, Answer) ->
    case cost_ledger_scope:is_scope(Scope) andalso cost_ledger_scope:allows(Scope, Usage) of
        ok -> with_usage(Hold, Name, Whose, Usage, Answer);
        false -> no_hold(Scope);
        Error -> Error
    end;
with_usage(Hold, Name, Whose, Usage, Answer) ->
    with_hold(Hold,
              fun(Ledger, Id) ->
                      Extra = request(Name, Id),
                      case said(Name, Usage) of
                          {ok, Said} ->
                              Fields = whose(Whose, Id, Said),
                              case cost_ledger_record:encode(usage, Fields, Extra,
                                                             Ledger#ledger.max_entry_size) of
                                  {ok, Draft} -> Answer(cost_ledger_queue:call(Ledger, {Name, Id},
                                                                               Draft));
                                  {error, _} = Error -> Error;
                                  {invalid, Text} -> {invalid, 2, Text}
                              end;
                          {invalid, Text} ->
                              {invalid, 2, Text}
                      end
              end).

request(meter, Id) -> cost_ledger_request:meter(Id);
request(settle, Id) -> cost_ledger_request:settle(Id).

said(meter, Usage) -> cost_ledger_record:metering(Usage);
said(settle, Usage) -> cost_ledger_record:usage(Usage).

whose(in_all, _Id, Fields) -> Fields;
whose(own, Id, Fields) -> cost_ledger_record:of_hold(Id, Fields).

done({ok, _Id, _Flags}) -> ok;
done(Error) -> Error.

-spec release(term(), term()) -> ok | {error, term()} | invalid().
release(Hold, Options) ->
    with_options(Hold, 2, Options, fun cost_ledger_request:release/1,
                 fun(Ledger, Id, Draft) ->
                         done(cost_ledger_queue:call(Ledger, {release, Id}, Draft))
                 end).

-spec transfer(term(), term(), term()) -> ok | {error, term()} | invalid().
transfer(Hold, Pid, Options) when is_pid(Pid) ->
    Owner = term_to_binary(Pid),
    with_options(Hold, 3, Options, fun(Id) -> cost_ledger_request:transfer(Id, Pid) end,
                 fun(Ledger, Id, Draft) ->
                         done(cost_ledger_queue:call(Ledger, {transfer, Id, Owner}, Draft, Pid))
                 end);
transfer(_Hold, Other, _Options) ->
    {invalid, 2, ["the new owner must be a pid, not ", cost_ledger_error:describe(Other)]}.

with_options(Hold, Position, Options, Request, Fun) ->
    with_hold(Hold,
              fun(Ledger, Id) ->
                      case options(Options) of
                          {ok, ClientId} ->
                              Fun(Ledger, Id, release_draft(ClientId, Request(Id)));
                          {invalid, Text} ->
                              {invalid, Position, Text}
                      end
              end).

options(Options) ->
    case cost_ledger_value:pairs(Options) of
        {ok, Map} when map_size(Map) =:= 0 -> {ok, undefined};
        {ok, #{id := Id} = Map} when map_size(Map) =:= 1 -> cost_ledger_record:id(Id);
        _ -> {invalid, ["options must be a map with an id or nothing, like #{id => \"r-1\"}, not ",
                        cost_ledger_error:describe(Options)]}
    end.

release_draft(ClientId, Extra) ->
    Draft = cost_ledger_nif:encode({release, none, [], 0, undefined, undefined, undefined,
                                    undefined, 0, ClientId, Extra, undefined}),
    true = is_binary(Draft),
    Draft.

%% As if the owner had died: what is metered, or the estimate, is booked.
-spec abort(hold()) -> ok | {error, term()} | invalid().
abort(Hold) ->
    with_hold(Hold, fun(Ledger, Id) ->
                            done(cost_ledger_queue:call(Ledger, {abort, Id}, <<>>))
                    end).

%% Of the hold, and of nothing else in its ledger.
-spec id(hold()) -> pos_integer().
id(#scoped_hold{hold = Hold}) -> id(Hold);
id(#hold{id = Id}) -> Id.

-spec info(term()) -> {ok, map()} | {error, term()} | invalid().
info(Hold) ->
    with_hold(Hold,
              fun(#ledger{handle = Handle}, Id) ->
                      case cost_ledger_nif:hold(Handle, Id) of
                          {ok, [Live]} ->
                              Now = cost_ledger_nif:now(Handle),
                              {ok, cost_ledger_hold_info:from_hold(Live, Now)};
                          {ok, []} ->
                              {error, {resolved, <<"the hold was settled or released before">>}};
                          closed ->
                              {error, unavailable};
                          Error ->
                              Error
                      end
              end).

%% Oldest first.
-spec list(cost_ledger_nif:handle()) -> {ok, [map()]} | {error, term()} | closed.
list(Handle) ->
    list(Handle, 0, []).

list(Handle, From, Slices) ->
    case cost_ledger_nif:holds(Handle, From, ?SLICE) of
        {ok, [#{id := Last} | _] = Holds} when length(Holds) =:= ?SLICE ->
            list(Handle, Last + 1, [Holds | Slices]);
        {ok, Holds} ->
            Now = cost_ledger_nif:now(Handle),
            {ok, lists:reverse([cost_ledger_hold_info:from_hold(Hold, Now)
                                || Slice <- [Holds | Slices], Hold <- Slice])};
        Error ->
            Error
    end.

with_hold(#scoped_hold{hold = #hold{} = Hold}, Fun) ->
    with_hold(Hold, Fun);
with_hold(#hold{ledger = Name, identity = Identity, id = Id}, Fun)
  when ?IS_HOLD(Name, Identity, Id) ->
    case cost_ledger_registry:find(Name) of
        #ledger{identity = Identity} = Ledger -> Fun(Ledger, Id);
        #ledger{} -> foreign();
        undefined -> {error, unavailable}
    end;
with_hold(Other, _Fun) ->
    no_hold(Other).

no_hold(Other) ->
    {invalid, 1, ["must be a hold, as reserve returned it, not ",
                  cost_ledger_error:describe(Other)]}.
