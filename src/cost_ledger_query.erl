%%% Lists, folds and sums of records. Everything long is read in slices, each in a read transaction
%%% of its own: entries are write-once, so what was there at the beginning is a consistent view.
-module(cost_ledger_query).

-include("cost_ledger.hrl").

-export([query/1, records/3, fetch/2, fetch_run/2, list/3, fold/4, totals/2, totals_by/3]).
-export_type([listed/0, totals/0, of_kind/0]).

%% No cursor: there are no more. total is there where it was asked for, or costs nothing. pruned:
%% what was booked before that time (Unix ms) was archived and removed, and may have matched, too.
-type listed() :: #{records := [cost_ledger_record:record()], cursor => binary(),
                    total => non_neg_integer(), pruned => pos_integer()}.
%% Costs are gross, as booked; averages are of those that had a cost, rounded half up. 0 where there
%% is nothing. unpriced: those that no correction gave a cost since.
-type of_kind() :: #{count := non_neg_integer(), completed := non_neg_integer(),
                     failed := non_neg_integer(), aborted := non_neg_integer(),
                     unpriced := non_neg_integer(), cost := non_neg_integer(),
                     average_cost := non_neg_integer(), min_cost := non_neg_integer(),
                     max_cost := non_neg_integer(), duration_ms := non_neg_integer(),
                     average_duration_ms := non_neg_integer(),
                     min_duration_ms := non_neg_integer(),
                     max_duration_ms := non_neg_integer()}.
%% Of invocations, runs and corrections together: gross is what was booked, corrected (not above 0)
%% what corrections took off, net their sum. Tokens are net.
-type totals() :: #{invocations := of_kind(), runs := of_kind(), corrections := non_neg_integer(),
                    cost := #{gross := integer(), corrected := integer(), net := integer(),
                              completed := integer()},
                    credits := #{gross := integer(), corrected := integer(), net := integer(),
                                 completed := integer()},
                    tokens := #{input := integer(), output := integer(), cache_read := integer(),
                                cache_creation := integer(), reasoning := integer()},
                    cache_savings := integer(),
                    grants := #{count := integer(), cost := integer(), credits := integer()}}.

%% How many entries one transaction tells, and looks at.
-define(SLICE, 1000).
-define(SCAN, 5000).
-define(VALUES_SLICE, 200).
-define(NOTHING, 0).

%% The columns of totals.h, in their order: a map of so many is slow to make.
-record(sums, {invocations :: integer(), runs :: integer(), completed :: integer(),
               failed :: integer(), aborted :: integer(), unpriced :: integer(),
               duration_ms :: integer(), cost :: integer(), completed_cost :: integer(),
               credits :: integer(), completed_credits :: integer(), input :: integer(),
               output :: integer(), cache_read :: integer(), cache_creation :: integer(),
               reasoning :: integer(), runs_completed :: integer(), runs_failed :: integer(),
               runs_aborted :: integer(), corrections :: integer(), corrected_cost :: integer(),
               corrected_credits :: integer(), grants :: integer(), granted_cost :: integer(),
               granted_credits :: integer(), cache_savings :: integer(),
               corrected_input :: integer(), corrected_output :: integer(),
               corrected_cache_read :: integer(), corrected_cache_creation :: integer(),
               corrected_reasoning :: integer(), withdrawn_cost :: integer(),
               withdrawn_credits :: integer(), runs_unpriced :: integer(), runs_cost :: integer(),
               corrected_unpriced :: integer(), corrected_runs_unpriced :: integer(),
               late_completed :: integer(), late_runs_completed :: integer(),
               runs_duration_ms :: integer(), corrections_cost :: integer()}).

-spec query(cost_ledger_filter:parsed()) -> cost_ledger_nif:query().
query(Parsed) ->
    query(Parsed, newest, false, 0).

query(Parsed, Order, Payload, Cursor) ->
    #{names := Names, kinds := Kinds, statuses := Statuses, since := Since, until := Until} =
        cost_ledger_filter:add_status(Parsed),
    {Names, Kinds, Statuses, Since, Until, Order, Payload, ?SLICE, ?SCAN, false, Cursor}.

with(Limit, Cursor, Query) ->
    setelement(8, setelement(11, Query, Cursor), min(Limit, ?SLICE)).

%% So many records from the query's cursor on, in its order; where the next one would begin.
-spec records(cost_ledger_nif:handle(), cost_ledger_nif:query(), non_neg_integer()) ->
          {ok, [cost_ledger_record:record()], Next :: non_neg_integer() | done,
           Total :: non_neg_integer() | unknown, KeptFromMs :: non_neg_integer()}
              | cost_ledger_nif:pruned() | cost_ledger_nif:failure() | closed.
records(Handle, Query, Limit) ->
    records(Handle, Query, Limit, element(11, Query), [], {unknown, 0}).

records(_Handle, _Query, 0, Cursor, Slices, {Total, KeptFrom}) ->
    {ok, joined(Slices), Cursor, Total, KeptFrom};
records(Handle, Query, Left, Cursor, Slices, {Before, _}) ->
    case cost_ledger_nif:list(Handle, with(Left, Cursor, Query)) of
        {ok, Records, _Matched, done, Total, KeptFrom} ->
            {ok, joined([Records | Slices]), done, known(Before, Total), KeptFrom};
        {ok, Records, Matched, Next, Total, KeptFrom} ->
            records(Handle, Query, Left - Matched, Next, [Records | Slices],
                    {known(Before, Total), KeptFrom});
        Error ->
            Error
    end.

known(unknown, Total) -> Total;
known(Before, _Total) -> Before.

joined([Slice]) -> Slice;
joined(Slices) -> lists:append(lists:reverse(Slices)).

-spec fetch(cost_ledger_nif:handle(), non_neg_integer()) ->
          {ok, cost_ledger_record:record()} | {error, not_found} | cost_ledger_nif:pruned()
              | cost_ledger_nif:failure() | closed.
fetch(Handle, Id) ->
    one(cost_ledger_nif:record(Handle, Id)).

-spec fetch_run(cost_ledger_nif:handle(), binary()) ->
          {ok, cost_ledger_record:record()} | {error, not_found} | cost_ledger_nif:pruned()
              | cost_ledger_nif:failure() | closed.
fetch_run(Handle, RunId) ->
    one(cost_ledger_nif:run(Handle, RunId)).

one({error, {not_found, _}}) -> {error, not_found};
one(Answer) -> Answer.

-spec list(cost_ledger_nif:handle(), cost_ledger_filter:parsed(),
           cost_ledger_filter:parsed_page()) ->
          {ok, listed()} | cost_ledger_nif:pruned() | cost_ledger_nif:failure() | closed.
list(Handle, Filter, #{total := true} = Page) ->
    case pinned(Handle, Filter) of
        {ok, Pinned} -> list_pinned(Handle, Pinned, Page);
        Error -> Error
    end;
list(Handle, Filter, Page) ->
    list_pinned(Handle, Filter, Page).

list_pinned(Handle, Filter, #{order := Order, limit := Limit, cursor := Cursor,
                              payload := Payload, total := IsAsked}) ->
    Query = query(Filter, Order, Payload, Cursor),
    case records(Handle, Query, Limit) of
        {ok, Records, Next, Total, KeptFrom} ->
            Listed = with_cursor(Order, Next, pruned(KeptFrom, #{records => Records})),
            with_total(Total, IsAsked, Handle, Query, Listed);
        Error ->
            Error
    end.

pruned(0, Listed) -> Listed;
pruned(KeptFrom, Listed) -> Listed#{pruned => KeptFrom}.

with_cursor(_Order, done, Listed) ->
    Listed;
with_cursor(Order, Next, Listed) ->
    Prefix = atom_to_binary(Order),
    Listed#{cursor => <<Prefix/binary, "-", (integer_to_binary(Next))/binary>>}.

with_total(Total, _IsAsked, _Handle, _Query, Listed) when is_integer(Total) ->
    {ok, Listed#{total => Total}};
with_total(unknown, false, _Handle, _Query, Listed) ->
    {ok, Listed};
with_total(unknown, true, Handle, Query, Listed) ->
    case count(Handle, setelement(10, setelement(8, Query, 1 bsl 40), true), 0, 0) of
        {ok, Total} -> {ok, Listed#{total => Total}};
        Error -> Error
    end.

count(Handle, Query, Cursor, Count) ->
    case cost_ledger_nif:list(Handle, setelement(11, Query, Cursor)) of
        {ok, _None, Matched, done, _, _} -> {ok, Count + Matched};
        {ok, _None, Matched, Next, _, _} -> count(Handle, Query, Next, Count + Matched);
        Error -> Error
    end.

%% Fun(Record, Acc) for all that match and were booked before this call, in constant memory.
-spec fold(cost_ledger_nif:handle(), {cost_ledger_filter:parsed(), newest | oldest},
           fun((cost_ledger_record:record(), Acc) -> Acc), Acc) ->
          {ok, Acc} | cost_ledger_nif:pruned() | cost_ledger_nif:failure() | closed.
fold(Handle, {Filter, Order}, Fun, Acc) ->
    case pinned(Handle, Filter) of
        {ok, Pinned} -> fold_slices(Handle, query(Pinned, Order, true, 0), Fun, Acc, unknown);
        Error -> Error
    end.

%% What was booked before this call alone: slices that are read one after the other then are of
%% the same records.
pinned(Handle, #{until := Until} = Filter) ->
    case cost_ledger_nif:facts(Handle) of
        {ok, #{last_id := LastId}} -> {ok, Filter#{until := min(Until, LastId + 1)}};
        Error -> Error
    end.

%% What is removed while it is read is missing: then it ends.
fold_slices(Handle, Query, Fun, Acc, Before) ->
    case cost_ledger_nif:list(Handle, setelement(8, Query, ?SLICE)) of
        {ok, _Records, _Matched, _Next, _Total, KeptFrom}
          when Before =/= unknown, KeptFrom =/= Before ->
            {error, {pruned, KeptFrom}};
        {ok, Records, _Matched, Next, _Total, KeptFrom} ->
            Folded = lists:foldl(Fun, Acc, Records),
            case Next of
                done -> {ok, Folded};
                _ -> fold_slices(Handle, setelement(11, Query, Next), Fun, Folded, KeptFrom)
            end;
        Error ->
            Error
    end.

%%% Sums ---------------------------------------------------------------------------------------

-spec totals(cost_ledger_nif:handle(), cost_ledger_filter:parsed()) ->
          {ok, totals()} | cost_ledger_nif:pruned() | cost_ledger_nif:failure() | closed.
totals(Handle, #{names := Names, since := Since, until := Until}) ->
    case cost_ledger_nif:sum_up(Handle, Names, Since, Until) of
        {ok, Sums} -> {ok, of_sums(Sums)};
        Error -> Error
    end.

%% What cost most first.
-spec totals_by(cost_ledger_nif:handle(), {atom(), pos_integer()}, cost_ledger_filter:parsed()) ->
          {ok, [{atom() | binary(), totals()}]} | cost_ledger_nif:pruned()
              | cost_ledger_nif:failure() | closed.
totals_by(Handle, {Name, Dimension}, Filter) ->
    case pinned_values(Handle, Dimension, Filter) of
        {ok, Values} ->
            {ok, lists:sort(fun costs_more/2, [{value(Name, Value), of_sums(Sums)}
                                               || {Value, Sums} <- Values])};
        Error ->
            Error
    end.

costs_more({A, #{cost := #{gross := CostA}}}, {B, #{cost := #{gross := CostB}}}) ->
    {-CostA, A} =< {-CostB, B}.

pinned_values(Handle, Dimension, Filter) ->
    case pinned(Handle, Filter) of
        {ok, Pinned} -> values(Handle, Dimension, Pinned, 0, []);
        Error -> Error
    end.

values(Handle, Dimension, #{names := Names, since := Since, until := Until} = Filter, After,
       Slices) ->
    case cost_ledger_nif:sum_up_by(Handle, Names, Since, Until, Dimension, After,
                                   ?VALUES_SLICE) of
        {ok, Values, done} -> {ok, lists:append([Values | Slices])};
        {ok, Values, Next} -> values(Handle, Dimension, Filter, Next, [Values | Slices]);
        Error -> Error
    end.

value(Name, Value) when Name =:= state; Name =:= prompt_type; Name =:= status ->
    cost_ledger_budgets:to_atom(Value);
value(_Name, Value) ->
    Value.

of_sums({Columns, [Cost, Duration, RunCost, RunDuration]}) ->
    Sums = list_to_tuple([sums | Columns]),
    #sums{corrections = Corrections, cache_savings = Savings} = Sums,
    #{invocations => invocations(Sums, Cost, Duration), runs => runs(Sums, RunCost, RunDuration),
      corrections => Corrections,
      cost => money(Sums#sums.cost, Sums#sums.corrected_cost, Sums#sums.completed_cost),
      credits => money(Sums#sums.credits, Sums#sums.corrected_credits,
                       Sums#sums.completed_credits),
      tokens => tokens(Sums), cache_savings => Savings, grants => grants(Sums)}.

money(Gross, Corrected, Completed) ->
    #{gross => Gross, corrected => Corrected, net => Gross + Corrected, completed => Completed}.

grants(#sums{grants = Count, granted_cost = Cost, granted_credits = Credits,
             withdrawn_cost = WithdrawnCost, withdrawn_credits = WithdrawnCredits}) ->
    #{count => Count, cost => Cost - WithdrawnCost, credits => Credits - WithdrawnCredits}.

tokens(#sums{input = Input, output = Output, cache_read = Read, cache_creation = Creation,
             reasoning = Reasoning, corrected_input = OffInput, corrected_output = OffOutput,
             corrected_cache_read = OffRead, corrected_cache_creation = OffCreation,
             corrected_reasoning = OffReasoning}) ->
    #{input => Input + OffInput, output => Output + OffOutput, cache_read => Read + OffRead,
      cache_creation => Creation + OffCreation, reasoning => Reasoning + OffReasoning}.

invocations(#sums{invocations = Count, completed = Completed, late_completed = Late,
                  failed = Failed, aborted = Aborted, unpriced = Unpriced,
                  corrected_unpriced = Priced, cost = Cost, runs_cost = RunsCost,
                  corrections_cost = CorrectionsCost, duration_ms = Duration}, CostExtremes,
            DurationExtremes) ->
    of_kind({Count, Completed - Late, Failed, Aborted}, {Unpriced, Priced},
            Cost - RunsCost - CorrectionsCost, Duration, CostExtremes, DurationExtremes).

runs(#sums{runs = Count, runs_completed = Completed, late_runs_completed = Late,
           runs_failed = Failed, runs_aborted = Aborted, runs_unpriced = Unpriced,
           corrected_runs_unpriced = Priced, runs_cost = Cost, runs_duration_ms = Duration},
     CostExtremes, DurationExtremes) ->
    of_kind({Count, Completed - Late, Failed, Aborted}, {Unpriced, Priced}, Cost, Duration,
            CostExtremes, DurationExtremes).

of_kind({Count, Completed, Failed, Aborted}, {Unpriced, PricedSince}, Cost, Duration,
        CostExtremes, DurationExtremes) ->
    {MinCost, MaxCost} = extremes(CostExtremes),
    {MinDuration, MaxDuration} = extremes(DurationExtremes),
    #{count => Count, completed => Completed, failed => Failed, aborted => Aborted,
      unpriced => Unpriced + PricedSince, cost => Cost,
      average_cost => average(Cost, Count - Unpriced), min_cost => MinCost, max_cost => MaxCost,
      duration_ms => Duration, average_duration_ms => average(Duration, Count),
      min_duration_ms => MinDuration, max_duration_ms => MaxDuration}.

extremes(none) -> {?NOTHING, ?NOTHING};
extremes(Extremes) -> Extremes.

average(_Sum, 0) -> ?NOTHING;
average(Sum, Count) -> (2 * Sum + Count) div (2 * Count).
