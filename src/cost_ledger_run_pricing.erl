%%% What tokens cost by the price book, worked out here: for what is accounted to a run itself, and
%%% for what an allocation multiplies. The same arithmetic as c_src/core/price.c.
-module(cost_ledger_run_pricing).

-export([tokens/3, usage/4, estimate/3]).

-define(CLASSES, [input, output, cache_read, cache_creation, reasoning]).
-define(UNITS_A_NANO, 1000000).

%% In nano-units, rounded half up once. Names: the model, and perhaps the provider.
-spec tokens(atom(), map(), cost_ledger_record:tokens()) ->
          {ok, non_neg_integer()} | {error, cost_ledger:reason()}.
tokens(Ledger, #{model := Model} = Names, Tokens) when Model =/= undefined, Model =/= nil ->
    case price(Ledger, Names) of
        {ok, Price} -> {ok, cost(units(Price, Tokens), Tokens)};
        {error, not_found} -> no_price(["there is no price of model ", text(Model)]);
        {error, _} = Error -> Error
    end;
tokens(_Ledger, _Names, _Tokens) ->
    no_price("the tokens have no model, and neither has the run: name one, or say the cost").

no_price(Text) ->
    {error, {no_price, unicode:characters_to_binary(Text)}}.

price(Ledger, #{model := Model, provider := Provider})
  when Provider =/= undefined, Provider =/= nil ->
    case cost_ledger:price(Ledger, <<(text(Provider))/binary, "/", (text(Model))/binary>>) of
        {ok, Price} -> {ok, Price};
        {error, not_found} -> cost_ledger:price(Ledger, text(Model));
        {error, _} = Error -> Error
    end;
price(Ledger, #{model := Model}) ->
    cost_ledger:price(Ledger, text(Model)).

text(Name) when is_atom(Name) -> atom_to_binary(Name);
text(Name) -> Name.

units(#{above := #{tokens := Above} = Second} = First, Tokens) ->
    Prompt = lists:sum([maps:get(Class, Tokens, 0)
                        || Class <- [input, cache_read, cache_creation]]),
    case Prompt > Above of
        true -> Second;
        false -> First
    end;
units(First, _Tokens) ->
    First.

cost(Units, Tokens) ->
    Sum = lists:sum([maps:get(Class, Tokens, 0) * maps:get(Class, Units) || Class <- ?CLASSES]),
    (Sum + ?UNITS_A_NANO div 2) div ?UNITS_A_NANO.

%% Of a child's usage: what to settle, and what the run has to know of it. Without a ratio the
%% usage stays as it is, to be priced in the transaction.
-spec usage(atom(), map(), cost_ledger_allocation:ratio(), map()) ->
          {ok, Usage :: map(), none | cost_ledger_run_account:settled()}
              | {error, cost_ledger:reason()}.
usage(_Ledger, _Names, {Same, Same}, Usage) ->
    %% Cost and base are the same: what the ledger booked.
    {ok, Usage, #{cost => 0, base => 0, parts => other_parts(Usage)}};
usage(Ledger, Names, Ratio, #{cost := auto} = Usage) ->
    case tokens(Ledger, maps:merge(Names, maps:with([model, provider], Usage)),
                maps:get(tokens, Usage)) of
        {ok, Cost} ->
            Parts = maps:get(breakdown, Usage, #{}),
            Priced = maps:remove(cost, Usage),
            usage(Ledger, Names, Ratio, Priced#{breakdown => Parts#{tokens => Cost}});
        Error ->
            Error
    end;
usage(_Ledger, _Names, Ratio, #{breakdown := Parts} = Usage) when is_map(Parts) ->
    Allocated = maps:map(fun(_Part, Nano) -> cost_ledger_allocation:apply_to(Nano, Ratio) end,
                         Parts),
    allocated(lists:sum(maps:values(Parts)), Ratio,
              Usage#{breakdown => Allocated, cost => lists:sum(maps:values(Allocated))});
usage(_Ledger, _Names, Ratio, #{cost := Cost} = Usage) ->
    allocated(Cost, Ratio, Usage#{cost => cost_ledger_allocation:apply_to(Cost, Ratio)});
usage(_Ledger, _Names, _Ratio, Usage) ->
    {ok, Usage, #{cost => 0, base => 0, parts => #{}}}.

%% Whoever reads the record sees what was multiplied.
allocated(Base, Ratio, #{cost := Cost} = Usage) ->
    Attributes = case maps:get(attributes, Usage, #{}) of
                     Given when is_map(Given) -> Given;
                     _ -> #{}
                 end,
    Note = #{ratio => cost_ledger_allocation:text(Ratio), base_cost => Base},
    {ok, Usage#{attributes => Attributes#{allocation => Note}},
     #{cost => Cost, base => Base, parts => other_parts(Usage)}}.

other_parts(#{breakdown := Parts}) when is_map(Parts) -> maps:remove(tokens, Parts);
other_parts(_Usage) -> #{}.

%% What a child asks for: its attributes, and its cost in nano-units, 0 if it names none.
-spec estimate(atom(), cost_ledger_allocation:ratio(), map()) ->
          {ok, map(), non_neg_integer()} | {error, cost_ledger:reason()}.
estimate(Ledger, Ratio, #{cost := auto, tokens := Tokens} = Attributes) when is_map(Tokens) ->
    case tokens(Ledger, Attributes, Tokens) of
        {ok, Cost} -> estimate(Ledger, Ratio, Attributes#{cost := Cost});
        Error -> Error
    end;
estimate(_Ledger, Ratio, #{cost := Cost} = Attributes) when is_integer(Cost) ->
    Allocated = cost_ledger_allocation:apply_to(Cost, Ratio),
    {ok, Attributes#{cost := Allocated}, Allocated};
estimate(_Ledger, _Ratio, Attributes) ->
    {ok, Attributes, 0}.
