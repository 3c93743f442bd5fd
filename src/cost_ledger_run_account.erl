%%% What a run has used, added up. Pure functions; money in nano-units.
%%%
%%% Own is what was accounted to the run itself; what its children booked is in the ledger, which
%%% knows it exactly, and is added when somebody asks.
-module(cost_ledger_run_account).

-include("cost_ledger.hrl").

-export([new/1, add/2, child/2, own/1, own_usage/1, used/2, parts/2, tokens/2, base/2, counts/1,
         trace/2, ratio/1]).
-export_type([account/0, entry/0, settled/0, below/0]).

%% Of one action: `base` is its cost before the allocation.
-type entry() :: #{part := part(), base := non_neg_integer(), count := non_neg_integer(),
                   tokens => cost_ledger_record:tokens(), step := map()}.
-type part() :: tokens | tool_calls | external_requests | penalties.
%% Of a child that was settled through the run: what it cost, before and after the allocation, and
%% the parts of it that are not for tokens.
-type settled() :: #{cost := non_neg_integer(), base := non_neg_integer(),
                     parts := #{part() => non_neg_integer()}}.
%% What the ledger says was booked below the run.
-type below() :: #{cost := non_neg_integer(), tokens := cost_ledger_record:tokens(), _ => _}.

%% A trace is a record's, and that has a size: what is beyond is counted, not kept.
-define(STEPS_MAX, 1000).
-define(STEP_BYTES_MAX, (256 bsl 10)).
-define(PARTS, #{tokens => 0, tool_calls => 0, external_requests => 0, penalties => 0}).
-define(NO_TOKENS, #{input => 0, output => 0, cache_read => 0, cache_creation => 0,
                     reasoning => 0}).

-record(account,
        {ratio :: cost_ledger_allocation:ratio(),
         parts = ?PARTS :: #{part() => non_neg_integer()},
         base = 0 :: non_neg_integer(),
         tokens = ?NO_TOKENS :: cost_ledger_record:tokens(),
         counts = #{calls => 0, tool_calls => 0, external_requests => 0}
             :: #{atom() => non_neg_integer()},
         children = #{cost => 0, base => 0, parts => ?PARTS} :: settled(),
         steps = [] :: [map()], % the last first
         kept = 0 :: non_neg_integer(),
         bytes = 0 :: non_neg_integer(),
         left_out = 0 :: non_neg_integer()}).

-opaque account() :: #account{}.

-spec new(cost_ledger_allocation:ratio()) -> account().
new(Ratio) -> #account{ratio = Ratio}.

-spec ratio(account()) -> cost_ledger_allocation:ratio().
ratio(#account{ratio = Ratio}) -> Ratio.

%% One action more; an amount that no entry could hold is refused.
-spec add(entry(), account()) -> {ok, account()} | {error, {amount_too_large, binary()}}.
add(#{part := Part, base := Base, count := Count, step := Step} = Entry,
    #account{ratio = Ratio, parts = Parts, tokens = Tokens, counts = Counts} = Account) ->
    Cost = cost_ledger_allocation:apply_to(Base, Ratio),
    Added = Account#account{parts = add_to(Part, Cost, Parts),
                            base = Account#account.base + Base,
                            tokens = sum(Tokens, maps:get(tokens, Entry, #{})),
                            counts = add_to(Part, Count, maps:merge(?PARTS, Counts))},
    Most = lists:max([own(Added) | maps:values(Added#account.tokens)]),
    case Most =< ?AMOUNT_MAX of
        true -> {ok, keep(Step#{cost => Cost}, Added)};
        false -> {error, {amount_too_large, <<"a run cannot use more than 10^15 of anything">>}}
    end.

keep(Step, #account{steps = Steps, kept = Kept, bytes = Bytes, left_out = Out} = Account) ->
    Size = Bytes + erlang:external_size(Step),
    case Kept < ?STEPS_MAX andalso Size =< ?STEP_BYTES_MAX of
        true -> Account#account{steps = [Step | Steps], kept = Kept + 1, bytes = Size};
        false -> Account#account{left_out = Out + 1}
    end.

%% A child that was settled through the run.
-spec child(settled(), account()) -> account().
child(#{cost := Cost, base := Base, parts := Parts},
      #account{children = #{cost := Costs, base := Bases, parts := Known},
               counts = Counts} = Account) ->
    Account#account{children = #{cost => Costs + Cost, base => Bases + Base,
                                 parts => sum(Known, Parts)},
                    counts = add_to(calls, 1, Counts)}.

%% What was accounted to the run itself.
-spec own(account()) -> non_neg_integer().
own(#account{parts = Parts}) -> total(maps:values(Parts)).

%% The same as usage of its hold.
-spec own_usage(account()) -> map().
own_usage(#account{parts = Parts, tokens = Tokens} = Account) ->
    #{cost => own(Account), breakdown => Parts, tokens => Tokens}.

%% With what was booked below.
-spec used(account(), below()) -> non_neg_integer().
used(Account, #{cost := Below}) -> total([own(Account), Below]).

%% Its parts, which add up to it. What children cost is for tokens, but for what they said is not.
-spec parts(account(), below()) -> #{part() => non_neg_integer()}.
parts(#account{parts = Own, children = #{parts := Known}}, #{cost := Below}) ->
    Others = lists:sum(maps:values(maps:remove(tokens, Known))),
    sum(Own, Known#{tokens => max(0, Below - Others)}).

-spec tokens(account(), below()) -> cost_ledger_record:tokens().
tokens(#account{tokens = Own}, #{tokens := Below}) -> sum(Own, Below).

%% Before the allocation: of children that were not settled through the run, what they cost.
-spec base(account(), below()) -> non_neg_integer().
base(#account{base = Base, children = #{cost := Cost, base := Known}}, #{cost := Below}) ->
    total([Base, Known, max(0, Below - Cost)]).

%% calls (children that were settled through it), tool_calls, external_requests.
-spec counts(account()) -> #{atom() => non_neg_integer()}.
counts(#account{counts = Counts}) ->
    maps:with([calls, tool_calls, external_requests], Counts).

%% Without the steps where they do not fit into a record.
-spec trace(whole | counted, account()) -> map().
trace(Which, #account{steps = Steps, kept = Kept, left_out = Out, counts = Counts}) ->
    #{tool_calls := ToolCalls, external_requests := Requests} = Counts,
    Trace = #{tool_calls => ToolCalls, api_calls => Requests},
    case {Which, Out} of
        {whole, 0} -> Trace#{steps => lists:reverse(Steps)};
        {whole, _} -> Trace#{steps => lists:reverse(Steps), steps_left_out => Out};
        {counted, _} -> Trace#{steps_left_out => Out + Kept}
    end.

total(Amounts) ->
    case lists:sum(Amounts) of
        Sum when is_integer(Sum), Sum >= 0 -> Sum
    end.

add_to(Key, Amount, Map) ->
    maps:update_with(Key, fun(Sum) -> Sum + Amount end, Amount, Map).

sum(Sums, More) ->
    maps:fold(fun add_to/3, Sums, More).
