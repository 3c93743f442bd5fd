%%% What the rules say of an attempt, as the API tells it. Everything is read in one transaction
%%% of the caller's own; nothing is decided here.
-module(cost_ledger_status).

-export([check/2, status/2, denial/1, row/1]).
-export_type([decision/0, denial/0, rule_status/0, told/0]).

-type level() :: normal | approaching | critical | exhausted.
-type decision() :: #{tier := normal | low, level := level()}.
%% docs/budgets.md says what each key is.
-type rule_status() :: #{rule := binary(), scope := all | #{atom() => atom() | binary()},
                         measure := atom(), window := term(), on_exhausted := deny | degrade | warn,
                         used := integer(), held := integer(), limit := integer() | infinity,
                         remaining := integer() | infinity, percent := non_neg_integer(),
                         level := level(), resets_at := integer() | never | none,
                         held_until := integer() | none, forecast := integer() | none,
                         period => {integer(), integer()}, grace => non_neg_integer(),
                         amount => integer(),
                         reason => limit | soft | required | too_many_values,
                         %% Of a warning only.
                         threshold => 1..100, id => pos_integer()}.
%% To a scope, of a rule that is over more than the scope: nothing of what was used.
-type told() :: rule_status()
              | #{rule := binary(), scope := all | #{atom() => atom() | binary()},
                  measure := atom(), window := term(), on_exhausted := deny | degrade | warn,
                  resets_at := integer() | never | none,
                  reason => limit | soft | required | too_many_values}.
-type denial() :: #{tier := normal | low, resets_at := integer() | never,
                    held_until := integer() | none, rules := [told()]}.

-spec check(cost_ledger_nif:handle(), {Attempt :: tuple(), IsCritical :: boolean()}) ->
          {ok, decision()} | {error, {budget_exhausted, denial()}} | cost_ledger_nif:failure()
              | closed.
check(Handle, {Attempt, IsCritical}) ->
    case cost_ledger_nif:check(Handle, Attempt, IsCritical) of
        {ok, #{denials := 0, tier := Tier, level := Level}, []} ->
            {ok, #{tier => Tier, level => Level}};
        {ok, Decision, Rows} ->
            {error, {budget_exhausted, denial({Decision, Rows})}};
        Error ->
            Error
    end.

-spec denial({cost_ledger_nif:decision(), [cost_ledger_nif:status()]}) -> denial().
denial({#{tier := Tier, resets_at := ResetsAt, held_until := HeldUntil}, Rows}) ->
    #{tier => Tier, resets_at => ResetsAt, held_until => HeldUntil,
      rules => [row(Row) || Row <- Rows]}.

-spec status(cost_ledger_nif:handle(), all | [{pos_integer(), binary()}]) ->
          {ok, #{level := level(), tier := normal | low, resets_at := integer() | never | none,
                 rules := [rule_status()]}} | cost_ledger_nif:failure() | closed.
status(Handle, Names) ->
    case cost_ledger_nif:statuses(Handle, Names) of
        {ok, #{tier := Tier, level := Level, resets_at := ResetsAt}, Rows} ->
            {ok, #{tier => Tier, level => Level, resets_at => ResetsAt,
                   rules => [maps:without([reason, amount], row(Row)) || Row <- Rows]}};
        Error ->
            Error
    end.

-spec row(cost_ledger_nif:status()) -> rule_status().
row(#{scope := []} = Row) ->
    Row#{scope := all};
row(#{scope := Parts} = Row) ->
    Row#{scope := maps:from_list([{Dimension, value(Dimension, Value)}
                                  || {Dimension, Value} <- Parts, Value =/= undefined])}.

value(state, Value) -> cost_ledger_budgets:to_atom(Value);
value(prompt_type, Value) -> cost_ledger_budgets:to_atom(Value);
value(_Dimension, Value) -> Value.
