%%% What stats and history show, made from what the NIF reads.
-module(cost_ledger_view).

-include("cost_ledger.hrl").

-export([stats/1, denial_counts/2, history_options/1, of_state/2, history/4]).

-define(STATE, 1).
-define(NEWEST, 16#ffffffffffffffff).

-spec stats(cost_ledger_nif:handle()) ->
          cost_ledger:stats() | cost_ledger_nif:failure() | closed.
stats(Handle) ->
    %% The policy first: states are only ever added, so each of its states has a count.
    case cost_ledger_nif:policy(Handle) of
        {ok, Policy} ->
            case cost_ledger_nif:count(Handle, all, ?HOUR_MS, ?DAY_MS) of
                {ok, NowUs, Rows} -> stats(NowUs div 1000, Rows, Policy);
                Error -> Error
            end;
        Error ->
            Error
    end.

stats(NowMs, Rows, Policy) ->
    Named = [{state_key(State), Hour, Day, All} || {State, Hour, Day, All} <- Rows],
    Limits = [{State, #{hourly_limit => Hour, daily_limit => Day}}
              || {State, #{max_per_hour := Hour, max_per_day := Day}}
                     <- maps:to_list(cost_ledger_budgets:from_policy(Policy))],
    #{hourly => maps:from_list([{State, Hour} || {State, Hour, _, _} <- Named]),
      daily => maps:from_list([{State, Day} || {State, _, Day, _} <- Named]),
      session => maps:from_list([{State, All} || {State, _, _, All} <- Named]),
      budgets => maps:from_list(Limits),
      ledger_time => NowMs}.

%% What a denial is told with; nothing where it cannot be read.
-spec denial_counts(cost_ledger_nif:handle(), atom()) ->
          #{hourly_count => non_neg_integer(), daily_count => non_neg_integer()}.
denial_counts(Handle, State) ->
    case cost_ledger_nif:count(Handle, atom_to_binary(State), ?HOUR_MS, ?DAY_MS) of
        {ok, _Now, [{_, Hourly, Daily, _}]} -> #{hourly_count => Hourly, daily_count => Daily};
        _ -> #{}
    end.

state_key(total) -> total;
state_key(Name) -> cost_ledger_budgets:to_atom(Name).

-spec history_options(term()) ->
          {ok, all | atom(), SinceUs :: non_neg_integer(), Limit :: non_neg_integer()}
              | {invalid, iodata()}.
history_options(Options) when length(Options) >= 0 ->
    try maps:from_list(lists:reverse(Options)) of
        Map -> history_options(Map)
    catch error:badarg ->
        {invalid, ["options must be a map or a list of pairs, not ",
                   cost_ledger_error:describe(Options)]}
    end;
history_options(Options) when is_map(Options) ->
    maps:fold(fun option/3, {ok, all, 0, 100}, Options);
history_options(Other) ->
    {invalid, ["options must be a map or a list of pairs, not ",
               cost_ledger_error:describe(Other)]}.

option(_Key, _Value, {invalid, _} = Invalid) ->
    Invalid;
option(state, State, {ok, _, Since, Limit}) when is_atom(State) ->
    {ok, State, Since, Limit};
option(since, Ms, {ok, State, _, Limit}) when is_integer(Ms), Ms =< 100000000000000 ->
    {ok, State, max(0, Ms) * 1000, Limit};
option(limit, Limit, {ok, State, Since, _}) when is_integer(Limit), Limit >= 0 ->
    {ok, State, Since, Limit};
option(state, Value, _) ->
    {invalid, ["state must be an atom, not ", cost_ledger_error:describe(Value)]};
option(since, Value, _) ->
    {invalid, ["since must be Unix milliseconds, not ", cost_ledger_error:describe(Value)]};
option(limit, Value, _) ->
    {invalid, ["limit must be a non-negative integer, not ", cost_ledger_error:describe(Value)]};
option(Key, _Value, _) ->
    {invalid, ["unknown option ", cost_ledger_error:describe(Key),
               "; known are state, since, limit"]}.

-spec of_state(atom(), [{pos_integer(), binary()}]) -> [{pos_integer(), binary()}].
of_state(State, Names) ->
    lists:keystore(?STATE, 1, Names, {?STATE, atom_to_binary(State)}).

%% Of these names; newest first. Of what was removed there is none: it begins with what is kept.
-spec history(cost_ledger_nif:handle(), [{pos_integer(), binary()}], non_neg_integer(),
              non_neg_integer()) ->
          [cost_ledger_record:record()] | cost_ledger_nif:failure() | closed.
history(Handle, Names, SinceUs, Limit) ->
    Query = cost_ledger_query:query(#{names => Names, kinds => [invocation], statuses => [],
                                      since => SinceUs, until => ?NEWEST}),
    case cost_ledger_query:records(Handle, Query, Limit) of
        {ok, Records, _Next, _Total, _KeptFrom} -> Records;
        {error, {pruned, KeptFrom}} -> history(Handle, Names, KeptFrom * 1000, Limit);
        Error -> Error
    end.
