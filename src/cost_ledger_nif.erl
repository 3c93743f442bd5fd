%%% Stubs of the NIF library (c_src/nif), and nothing else. Strings are binaries, times are
%%% microseconds of ledger time unless a name says `ms`. Calls on a handle whose ledger was
%%% closed answer `closed` where their specification says so; a term that is not a handle is a
%%% badarg.
%%%
%%% Failures are `{error, {Name :: atom(), Text :: binary()}}`, from the one table in
%%% c_src/core/error.c.
-module(cost_ledger_nif).

-export([open/1, close/1, commit/2, build/2, prune/3, outcome/3, set_policy/6, tick/1,
         accept_clock/1, set_clock/2, advance_clock/2]).
-export([gate/2, allowed_from/2, now/1, is_closed/1, attach/3, writer/1, submit/4, pack/2,
         encode/1, digest/1, to_msgpack/1, from_msgpack/1]).
-export([list/2, record/2, run/2, known/2, sum_up/4, sum_up_by/7, price/3, prices/4, price_map/1]).
-export([declare/3, count/4, fetch/2, check/3, statuses/2, balance/4, hold/2, holds/3,
         series/1, policy/1, facts/1, horizon/2]).
-export_type([query/0, sums/0, price/0, pruned/0, pruning/0]).
-export_type([handle/0, failure/0, policy/0, draft/0, entry/0, operation/0, result/0, effects/0,
              status/0, decision/0, hold/0]).

-on_load(init/0).

-define(LOAD_FAILURE, {?MODULE, load_failure}).
-define(STUB, erlang:nif_error(nif_not_loaded)).

-type handle() :: reference().
-type failure() :: {error, {atom(), binary()}}.
-type draft() :: binary().
%% As stored: c_src/core/policy.h, with binaries for strings.
-type policy() :: #{binary() => term()}.
-type entry() :: #{id := pos_integer(), kind := atom(), status := atom(),
                   names := [{pos_integer(), binary()}], duration_ms := non_neg_integer(),
                   cost => integer(), credits => integer(), tokens => tuple(), change => map(),
                   client_id => binary(), flags => pos_integer(), link => pos_integer(),
                   hold => pos_integer(), parent => pos_integer(),
                   policy_version => pos_integer()}.
%% {Names, Kinds, Statuses ([]: any), Since, Until, newest | oldest, WithPayloads, Limit, Scan,
%%  IsCount, Cursor (0: none)}
-type query() :: {[{pos_integer(), binary()}], [atom()], [atom()], non_neg_integer(),
                  non_neg_integer(), newest | oldest, boolean(), non_neg_integer(),
                  pos_integer(), boolean(), non_neg_integer()}.
%% By column (c_src/core/totals.h); cost and duration of invocations, then of runs.
-type sums() :: {[integer()], [{Min :: integer(), Max :: integer()} | none]}.
-type price() :: {Model :: binary(), EffectiveFromMs :: non_neg_integer(), tuple(),
                  AboveTokens :: non_neg_integer(), tuple(), Entry :: pos_integer()}.
%% What is to be done with a draft: `record` books it. A hold is named by its id, an owner is the
%% external form of its pid. abort comes with an empty draft, withdraw with that of the reserve.
-type operation() :: record
                   | {reserve, Parent :: non_neg_integer(), ExtendMs :: non_neg_integer(),
                      IsCritical :: boolean(), Owner :: binary()}
                   | {settle | release | meter | abort, Hold :: pos_integer()}
                   | {transfer, Hold :: pos_integer(), Owner :: binary()}
                   | {withdraw, Token :: pos_integer()}
                   | {import, Id :: pos_integer()} % books the draft under that id, as it was
                   | {reset, Rule :: binary()}.
-type result() :: Id :: non_neg_integer() | {Id :: pos_integer(), Flags :: pos_integer()}
                | {denied, {decision(), [status()]}} | failure()
                | {error, {conflict, pos_integer()}} | pruned().
%% It reaches into what was removed; from so many ms on everything is kept.
-type pruned() :: {error, {pruned, KeptFromMs :: non_neg_integer()}}.
%% Where removing goes on.
-type pruning() :: {HorizonUs :: non_neg_integer(), Series :: non_neg_integer(),
                    Block :: non_neg_integer()}.
%% What a transaction brought about besides what was asked.
-type effects() :: {NextDeadlineUs :: pos_integer() | none,
                    [{warning, status()} | building
                     | {expired, Hold :: pos_integer(), Entry :: pos_integer(),
                        IsUnpriced :: boolean()}]}.
%% Of one rule; scope is [{Dimension, Value}].
-type status() :: #{atom() => term()}.
-type decision() :: #{denials := non_neg_integer(), tier := normal | low, level := atom(),
                      resets_at := integer() | never | none, held_until := integer() | none}.
-type hold() :: #{atom() => term()}.

init() ->
    Priv = case code:priv_dir(cost_ledger) of
               {error, bad_name} ->
                   %% Not in a release layout: beside the beam's own directory.
                   filename:join([filename:dirname(code:which(?MODULE)), "..", "priv"]);
               Dir ->
                   Dir
           end,
    case erlang:load_nif(filename:join(Priv, "cost_ledger_nif"), 0) of
        ok ->
            ok;
        {error, {Reason, Text}} ->
            %% on_load cannot tell the caller, and the module will not be there to be asked:
            %% whoever starts a ledger reads this term.
            persistent_term:put(?LOAD_FAILURE, unicode:characters_to_binary(Text)),
            {error, {Reason, Text}}
    end.

%%% Dirty IO -----------------------------------------------------------------------------------

%% {Path, Holder, Currency, MapSize, MaxEntrySize, Readers, MetaSync, system | manual, Policy,
%%  [[Dimension]], BootId}
-spec open(tuple()) -> {ok, handle(), map()} | failure().
open(_Arguments) -> ?STUB.

-spec close(handle()) -> ok.
close(_Handle) -> ?STUB.

%% One result per request, in order. Everything that could be done is durable. Ends first what is
%% due; without requests it does only that.
-spec commit(handle(), [{Token :: non_neg_integer(), operation(), draft()}]) ->
          {[result()], effects()} | closed.
commit(_Handle, _Requests) -> ?STUB.

%% Adds about so many older entries to the series that are being built.
-spec build(handle(), Entries :: pos_integer()) -> done | more | failure() | closed.
build(_Handle, _Entries) -> ?STUB.

%% Removes about so many rows of what is older than the horizon, a day that horizon/2 allowed; begun
%% with {HorizonUs, 0, 0}, and gone on with where the last slice ended.
-spec prune(handle(), pruning(), Rows :: pos_integer()) ->
          {Removed :: non_neg_integer(), done | pruning()} | failure() | closed.
prune(_Handle, _Pruning, _Rows) -> ?STUB.

%% What became of a token that was sent when so many were booked. Waits for a commit in flight.
%% `unknown`: it was not booked. An error where that cannot be told any more.
-spec outcome(handle(), Token :: pos_integer(), BookedBefore :: non_neg_integer()) ->
          Id :: non_neg_integer() | {Id :: pos_integer(), Flags :: pos_integer()}
              | unknown | failure() | closed.
outcome(_Handle, _Token, _BookedBefore) -> ?STUB.

%% Idempotent by Id, a text, with the digest of the request; `undefined`: not.
-spec set_policy(handle(), policy(), By :: binary(), Reason :: binary(),
                 Id :: binary() | undefined, Digest :: binary() | undefined) ->
          {ok, Version :: pos_integer(), effects()} | pruned() | failure() | closed.
set_policy(_Handle, _Policy, _By, _Reason, _Id, _Digest) -> ?STUB.

-spec tick(handle()) -> {WallClockJumpedAhead :: boolean(), AheadUs :: integer()} | closed.
tick(_Handle) -> ?STUB.

-spec accept_clock(handle()) -> ok | closed.
accept_clock(_Handle) -> ?STUB.

-spec set_clock(handle(), Us :: integer()) -> ok | {error, backwards | not_manual} | closed.
set_clock(_Handle, _Us) -> ?STUB.

-spec advance_clock(handle(), Us :: non_neg_integer()) ->
          ok | {error, backwards | not_manual} | closed.
advance_clock(_Handle, _Us) -> ?STUB.

%%% Normal schedulers --------------------------------------------------------------------------

-spec gate(handle(), atom()) -> ok | budget_exhausted | undeclared | closed.
gate(_Handle, _State) -> ?STUB.

%% 0: allowed.
-spec allowed_from(handle(), atom()) -> non_neg_integer() | never | undeclared.
allowed_from(_Handle, _State) -> ?STUB.

-spec now(handle()) -> Us :: integer().
now(_Handle) -> ?STUB.

%% Closed altogether: not one that is still closing.
-spec is_closed(handle()) -> boolean().
is_closed(_Handle) -> ?STUB.

%% Makes the calling process the writer, and bounds what may wait in its mailbox.
-spec attach(handle(), Calls :: pos_integer(), Bytes :: pos_integer()) -> ok.
attach(_Handle, _Calls, _Bytes) -> ?STUB.

%% The writer, and how many entries were booked so far.
-spec writer(handle()) -> {pid(), Booked :: non_neg_integer()} | no_writer | closed.
writer(_Handle) -> ?STUB.

%% Sends Message to Writer if that is still the writer and its queue has room for Bytes more.
-spec submit(handle(), Writer :: pid(), Bytes :: non_neg_integer(), Message :: term()) ->
          ok | overloaded | no_writer | closed.
submit(_Handle, _Writer, _Bytes, _Message) -> ?STUB.

%% Maps, lists, integers, binaries (text), true, false and nil; other atoms as text. For frames, which
%% are small. badarg for anything else.
-spec to_msgpack(term()) -> binary().
to_msgpack(_Term) -> ?STUB.

%% The other way; `undefined` for what is not one whole object.
-spec from_msgpack(binary()) -> term().
from_msgpack(_Bytes) -> ?STUB.

%% A payload as bytes, at most so many.
-spec pack(map(), BytesMax :: pos_integer()) ->
          binary() | {error, refused | too_deep | too_much | out_of_memory}.
pack(_Payload, _BytesMax) -> ?STUB.

%% {Kind, Status | none, [{Dimension, Name}], DurationMs, Cost | price, Credits, Tokens, Change,
%%  PolicyVersion (0: none), ClientId, Extra, Rest}, Rest :: {RunId, ParentRun, Link (0: none),
%% OccurredAt, Breakdown, Payload}; `undefined` where absent. A request with a ClientId or a RunId
%% gets the digest of all the rest of it; Extra is what it says besides the entry.
-spec encode(tuple()) -> draft() | {error, Field :: atom()} | failure().
encode(_Entry) -> ?STUB.

%%% Dirty CPU ----------------------------------------------------------------------------------

%% Lets the gate know the atom of a state that the policy declares by name.
-spec declare(handle(), atom(), binary()) -> ok | undeclared | closed | failure().
declare(_Handle, _State, _Name) -> ?STUB.

%% Invocations in two windows and of all time; the row of all states together is last.
-spec count(handle(), all | binary(), WindowMs :: pos_integer(), WindowMs :: pos_integer()) ->
          {ok, NowUs :: integer(), [{total | binary(), non_neg_integer(), non_neg_integer(),
                                     non_neg_integer()}]} | failure() | closed.
count(_Handle, _State, _FirstMs, _SecondMs) -> ?STUB.

%% A page; `Next` is the cursor of the next one. Total is of all that match, where a series tells.
%% There may have been more before KeptFromMs, which was removed; 0: no.
-spec list(handle(), query()) ->
          {ok, [cost_ledger_record:record()], Matched :: non_neg_integer(),
           Next :: pos_integer() | done, Total :: non_neg_integer() | unknown,
           KeptFromMs :: non_neg_integer()}
              | pruned() | failure() | closed.
list(_Handle, _Query) -> ?STUB.

%% With its payload.
-spec record(handle(), Id :: non_neg_integer()) ->
          {ok, cost_ledger_record:record()} | pruned() | failure() | closed.
record(_Handle, _Id) -> ?STUB.

-spec run(handle(), RunId :: binary()) ->
          {ok, cost_ledger_record:record()} | pruned() | failure() | closed.
run(_Handle, _RunId) -> ?STUB.

%% What has each of these client ids, 0: nothing.
-spec known(handle(), [ClientId :: binary()]) ->
          {ok, [Id :: non_neg_integer()]} | failure() | closed.
known(_Handle, _ClientIds) -> ?STUB.

%% Of the series of these names, Since =< id < Until.
-spec sum_up(handle(), [{Dimension :: pos_integer(), binary()}], Since :: non_neg_integer(),
             Until :: non_neg_integer()) -> {ok, sums()} | pruned() | failure() | closed.
sum_up(_Handle, _Names, _Since, _Until) -> ?STUB.

%% For each value of one more dimension, so many at a time, after the one that has a number.
-spec sum_up_by(handle(), [{Dimension :: pos_integer(), binary()}], Since :: non_neg_integer(),
                Until :: non_neg_integer(), Dimension :: pos_integer(),
                After :: non_neg_integer(), Limit :: pos_integer()) ->
          {ok, [{binary(), sums()}], After :: pos_integer() | done} | pruned() | failure()
              | closed.
sum_up_by(_Handle, _Names, _Since, _Until, _Dimension, _After, _Limit) -> ?STUB.

%% That which was in force at that time, or now: one, or none.
-spec price(handle(), Model :: binary(), AtUs :: non_neg_integer()) ->
          {ok, [price()]} | failure() | closed.
price(_Handle, _Model, _AtUs) -> ?STUB.

%% By model and time, at most so many, from that of the model from then on; the last one first.
-spec prices(handle(), Model :: binary(), FromUs :: non_neg_integer(), Limit :: pos_integer()) ->
          {ok, [price()], Next :: {Model :: binary(), FromUs :: non_neg_integer()} | done}
              | failure() | closed.
prices(_Handle, _Model, _FromUs, _Limit) -> ?STUB.

%% A price map in LiteLLM's format, in 10^-15 currency units a token by class.
-spec price_map(binary()) ->
          {ok, [{Model :: binary(), tuple(), AboveTokens :: non_neg_integer(), tuple()}
                | {SkippedModel :: binary(), Key :: binary(), Reason :: binary()}]} | failure().
price_map(_Json) -> ?STUB.

-spec fetch(handle(), Id :: non_neg_integer()) -> {ok, [entry()]} | failure() | closed.
fetch(_Handle, _Id) -> ?STUB.

%% SHA-256.
-spec digest(binary()) -> binary() | failure().
digest(_Binary) -> ?STUB.

%% The tuple of encode/1: what an attempt has, and asks for. Of the rules that deny it.
-spec check(handle(), tuple(), IsCritical :: boolean()) ->
          {ok, decision(), [status()]} | failure() | closed.
check(_Handle, _Attempt, _IsCritical) -> ?STUB.

%% Of the rules that an attempt with these names meets; `all`: of those without `each`.
-spec statuses(handle(), all | [{Dimension :: pos_integer(), binary()}]) ->
          {ok, decision(), [status()]} | failure() | closed.
statuses(_Handle, _Names) -> ?STUB.

%% With up to so many grants that are not used up, newest first.
-spec balance(handle(), [{Dimension :: pos_integer(), binary()}], credits | cost,
              Limit :: non_neg_integer()) ->
          {ok, {Granted :: integer(), Used :: integer(), Held :: integer(),
                Percent :: non_neg_integer()}, [{entry(), Remaining :: integer()}]}
              | pruned() | failure() | closed.
balance(_Handle, _Names, _Measure, _Limit) -> ?STUB.

%% At most one: the live hold of that id.
-spec hold(handle(), Id :: non_neg_integer()) -> {ok, [hold()]} | failure() | closed.
hold(_Handle, _Id) -> ?STUB.

%% Live holds from an id on, newest first.
-spec holds(handle(), From :: non_neg_integer(), Limit :: non_neg_integer()) ->
          {ok, [hold()]} | failure() | closed.
holds(_Handle, _From, _Limit) -> ?STUB.

-spec series(handle()) -> {ok, [{[Dimension :: pos_integer()], IsReady :: boolean()}]} | closed.
series(_Handle) -> ?STUB.

-spec policy(handle()) -> {ok, policy()} | failure() | closed.
policy(_Handle) -> ?STUB.

-spec facts(handle()) -> {ok, map()} | failure() | closed.
facts(_Handle) -> ?STUB.

%% How much of what is older than that may be removed: up to which id. 0: nothing.
-spec horizon(handle(), WantedUs :: non_neg_integer()) ->
          {ok, HorizonUs :: non_neg_integer()} | failure() | closed.
horizon(_Handle, _WantedUs) -> ?STUB.
