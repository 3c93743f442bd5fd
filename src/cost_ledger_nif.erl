%%% Stubs of the NIF library (c_src/nif), and nothing else. Strings are binaries, times are
%%% microseconds of ledger time unless a name says `ms`. Calls on a handle whose ledger was
%%% closed answer `closed` where their specification says so; a term that is not a handle is a badarg.
%%%
%%% Failures are `{error, {Name :: atom(), Text :: binary()}}`, from the one table in
%%% c_src/core/error.c.
-module(cost_ledger_nif).

-export([open/1, close/1]).
-export([gate/2, allowed_from/2, now/1, is_closed/1, declare/3]).
-export([attach/3, writer/1, submit/4, encode/1]).
-export([commit/2, outcome/3, set_policy/4, tick/1, accept_clock/1, set_clock/2,
         advance_clock/2]).
-export([count/4, history/5, fetch/2, policy/1, facts/1]).
-export_type([handle/0, failure/0, policy/0, draft/0, entry/0]).

-on_load(init/0).

-define(LOAD_FAILURE, {?MODULE, load_failure}).
-define(STUB, erlang:nif_error(nif_not_loaded)).

-type handle() :: reference().
-type failure() :: {error, {atom(), binary()}}.
-type draft() :: binary().
%% {Version, States, Rules}; a rule is {Name, index of its state, WindowMs, Limit}.
-type policy() :: {non_neg_integer(), [binary()],
                   [{binary(), non_neg_integer(), pos_integer(), non_neg_integer() | infinity}]}.
-type entry() :: #{id := pos_integer(), kind := atom(), status := atom(),
                   names := [{pos_integer(), binary()}], duration_ms := non_neg_integer(),
                   cost => integer(), credits => integer(), tokens => tuple(), change => map()}.

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

%% {Path, Holder, Currency, MapSize, MaxEntrySize, Readers, MetaSync, system | manual, Policy}
-spec open(tuple()) -> {ok, handle(), map()} | failure().
open(_Arguments) -> ?STUB.

-spec close(handle()) -> ok.
close(_Handle) -> ?STUB.

%% One result per request, in order. Everything that could be booked is durable.
-spec commit(handle(), [{Token :: pos_integer(), draft()}]) ->
          [Id :: pos_integer() | failure()] | closed.
commit(_Handle, _Requests) -> ?STUB.

%% What became of a token that was sent when so many were booked. Waits for a commit in flight.
%% `unknown`: it was not booked. An error where that cannot be told any more.
-spec outcome(handle(), Token :: pos_integer(), BookedBefore :: non_neg_integer()) ->
          Id :: pos_integer() | unknown | failure() | closed.
outcome(_Handle, _Token, _BookedBefore) -> ?STUB.

-spec set_policy(handle(), policy(), By :: binary(), Reason :: binary()) ->
          {ok, Version :: pos_integer()} | failure() | closed.
set_policy(_Handle, _Policy, _By, _Reason) -> ?STUB.

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

%% {Status, [{Dimension, Name}], DurationMs, Cost, Credits, Tokens}; `undefined` where absent.
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

%% Oldest first, of the Limit newest with Since =< id < Before.
-spec history(handle(), all | binary(), Before :: non_neg_integer(), Since :: non_neg_integer(),
              Limit :: non_neg_integer()) -> {ok, [entry()]} | failure() | closed.
history(_Handle, _State, _Before, _Since, _Limit) -> ?STUB.

-spec fetch(handle(), Id :: non_neg_integer()) -> {ok, [entry()]} | failure() | closed.
fetch(_Handle, _Id) -> ?STUB.

-spec policy(handle()) -> {ok, #{version := pos_integer(), states := [binary()], rules := list(),
                                 changed_by_entry := non_neg_integer()}} | failure() | closed.
policy(_Handle) -> ?STUB.

-spec facts(handle()) -> {ok, map()} | failure() | closed.
facts(_Handle) -> ?STUB.
