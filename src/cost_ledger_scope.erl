%%% A ledger seen by one user, project or org: what its holder can see and book is that one's alone.
%%%
%%% It keeps honest code from mistakes, and requests that come from outside to what is theirs. It is
%%% no wall inside a VM: code that runs there can call the ledger by its name.
-module(cost_ledger_scope).

-export([new/2, is_scope/1, ledger/1, booked/2, booked/3, narrowed/2, allows/2, sees/2, told/2,
         refuse/1]).
-export_type([scope/0]).

-record(cost_ledger_scope,
        {ledger :: atom(),
         values :: #{atom() => binary()},
         names :: [{Dimension :: atom(), binary()}]}).

-opaque scope() :: #cost_ledger_scope{}.

%% Of a ledger, or of a scope, which becomes narrower.
-spec new(atom() | scope(), term()) -> {ok, scope()} | {error, term()} | {invalid, iodata()}.
new(#cost_ledger_scope{ledger = Ledger} = Scope, Values) ->
    case narrowed(Scope, Values) of
        {ok, Narrowed} -> new(Ledger, Narrowed);
        Error -> Error
    end;
new(Ledger, Values) when is_atom(Ledger), is_map(Values), map_size(Values) > 0 ->
    case cost_ledger_record:scope_names(Values) of
        {ok, Names} ->
            Dimensions = cost_ledger_rules:dimensions(),
            Named = [{element(1, lists:keyfind(Number, 2, Dimensions)), Value}
                     || {Number, Value} <- Names],
            {ok, #cost_ledger_scope{ledger = Ledger, values = maps:from_list(Named),
                                    names = Named}};
        {invalid, Text} ->
            {invalid, ["the scope ", Text]}
    end;
new(_Ledger, Other) ->
    {invalid, ["a scope must be a map of at least one dimension, like #{user => <<\"u1\">>}, not ",
               cost_ledger_error:describe(Other)]}.

-spec is_scope(term()) -> boolean().
is_scope(#cost_ledger_scope{}) -> true;
is_scope(_) -> false.

-spec ledger(scope()) -> atom().
ledger(#cost_ledger_scope{ledger = Ledger}) -> Ledger.

%% What is to be booked, under the scope's names; what says another name is refused. A correction
%% is as well: it is of what others may rely on.
-spec booked(scope(), term()) -> {ok, term()} | {error, term()}.
booked(Scope, Given) ->
    case cost_ledger_record:to_map(Given) of % as whoever books it reads it
        {ok, #{kind := correction}} -> refuse("corrections");
        {ok, Map} -> with_names(Scope, Map);
        error -> {ok, Given} % whoever checks it says what is wrong
    end.

%% The metadata of an invocation, whose state stands beside it.
-spec booked(scope(), State :: term(), Meta :: term()) -> {ok, term()} | {error, term()}.
booked(Scope, State, Meta) when is_map(Meta), not is_map_key(state, Meta) ->
    case booked(Scope, Meta#{state => State}) of
        {ok, Own} -> {ok, maps:remove(state, Own)};
        Error -> Error
    end;
booked(_Scope, _State, Meta) ->
    {ok, Meta}. % neither is metadata

%% A filter, an account or a scope of budgets: that of the scope, and what is said besides.
-spec narrowed(scope(), term()) -> {ok, term()} | {error, term()}.
narrowed(#cost_ledger_scope{values = Values}, all) ->
    {ok, Values};
narrowed(Scope, Given) ->
    case cost_ledger_value:pairs(Given) of
        {ok, Map} -> with_names(Scope, Map);
        _ -> {ok, Given}
    end.

with_names(#cost_ledger_scope{values = Values, names = Names}, Map) ->
    Others = [Dimension || {Dimension, Value} <- Names, is_map_key(Dimension, Map),
                           not is_absent(maps:get(Dimension, Map)),
                           not is_same(Dimension, maps:get(Dimension, Map), Value)],
    case Others of
        [] -> {ok, maps:merge(Map, given_as(Values, Map))};
        [Dimension | _] -> refuse(["another ", atom_to_binary(Dimension)])
    end.

is_absent(Value) -> Value =:= undefined orelse Value =:= nil.

%% What is said of something that is the scope's already.
-spec allows(scope(), term()) -> ok | {error, term()}.
allows(Scope, Given) ->
    case cost_ledger_record:to_map(Given) of
        {ok, Map} ->
            case with_names(Scope, Map) of
                {ok, _} -> ok;
                Error -> Error
            end;
        error ->
            ok % whoever checks it says what is wrong
    end.

%% A state stays the atom that it was given as.
given_as(Values, Map) ->
    maps:map(fun(state, Value) -> state(maps:get(state, Map, undefined), Value);
                (_Dimension, Value) -> Value
             end, Values).

state(Given, Value) ->
    case is_absent(Given) of
        true -> cost_ledger_budgets:to_atom(Value);
        false -> Given
    end.

is_same(Dimension, Given, Value) ->
    case cost_ledger_record:scope_names(#{Dimension => Given}) of
        {ok, [{_, Value}]} -> true;
        _ -> false
    end.

%% A record, or a hold as it is told.
-spec sees(scope(), map()) -> boolean().
sees(#cost_ledger_scope{names = Names}, Record) ->
    lists:all(fun({Dimension, Value}) ->
                      case Record of
                          #{Dimension := Atom} when is_atom(Atom) -> atom_to_binary(Atom) =:= Value;
                          #{Dimension := Text} -> Text =:= Value;
                          _ -> false
                      end
              end, Names).

%% What rules say, as far as it is of the scope: of a rule that others use up as well, what there is
%% to know of it but not how much they did.
-spec told(scope(), Answer) -> Answer when Answer :: term().
told(Scope, {ok, #{rules := Rules} = Status}) ->
    {ok, Status#{rules := told_rules(Scope, Rules)}};
told(Scope, {error, {budget_exhausted, #{rules := Rules} = Denial}}) ->
    {error, {budget_exhausted, Denial#{rules := told_rules(Scope, Rules)}}};
told(_Scope, Answer) ->
    Answer.

told_rules(Scope, Rules) ->
    [told_rule(Scope, Rule) || Rule <- Rules].

told_rule(Scope, #{scope := #{} = Values} = Rule) ->
    case sees(Scope, Values) of
        true -> Rule;
        false -> untold(Rule)
    end;
told_rule(_Scope, Rule) ->
    untold(Rule).

untold(Rule) ->
    maps:with([rule, scope, measure, window, on_exhausted, reason, resets_at], Rule).

-spec refuse(iodata()) -> {error, {out_of_scope, binary()}}.
refuse(What) ->
    Text = unicode:characters_to_binary(["this ledger is seen through a scope, which does not "
                                         "reach ", What]),
    {error, {out_of_scope, Text}}.
