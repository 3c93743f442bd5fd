%%% The price book: what tokens of a model cost, from when on. It is in the ledger itself, as
%%% entries that say who set which prices, when and why; what was priced keeps its prices.
-module(cost_ledger_prices).

-include("cost_ledger.hrl").

-export([set/3, import/3, all/1, of_model/3]).
-export_type([prices/0, price/0, imported/0]).

%% In 10^-15 of a currency unit a token, or as decimal text of currency units a token
%% (<<"2.5e-06">>); see cost_ledger_money:per_million/1. Absent: cache_read and cache_creation cost
%% what input costs, reasoning what output costs. above: the second tier, of calls whose prompt
%% (input and what was read from and written to the cache) has more tokens; absent there, a class
%% that the first tier names keeps its price, and the others follow input and output.
-type unit() :: non_neg_integer() | binary() | string().
-type prices() :: #{Model :: binary() | atom() =>
                        #{input := unit(), output := unit(), cache_read => unit(),
                          cache_creation => unit(), reasoning => unit(),
                          above => #{tokens := pos_integer(), input => unit(), output => unit(),
                                     cache_read => unit(), cache_creation => unit(),
                                     reasoning => unit()}}}.
%% Times are Unix milliseconds; entry says who and why.
-type price() :: #{model := binary(), effective_from := non_neg_integer(), entry := pos_integer(),
                   input := non_neg_integer(), output := non_neg_integer(),
                   cache_read := non_neg_integer(), cache_creation := non_neg_integer(),
                   reasoning := non_neg_integer(), above => map()}.
%% Of all models of the map; id is none when what it says was in force for each of them.
-type imported() :: #{id := pos_integer() | none, models := non_neg_integer(),
                      unchanged := non_neg_integer(),
                      skipped := [{Model :: binary(), Reason :: binary()}]}.

-define(CLASSES, [input, output, cache_read, cache_creation, reasoning]).
-define(UNIT_MAX, 16#ffffffffffffffff).
-define(MODEL_BYTES_MAX, 400).
-define(MODELS_MAX, 10000).
%% How many prices one transaction tells.
-define(SLICE, 1000).

-type invalid() :: {invalid, Position :: pos_integer(), iodata()}.

-spec set(#ledger{}, term(), term()) -> {ok, pos_integer()} | {error, term()} | invalid().
set(Ledger, Prices, Change) ->
    case {prices(Prices), change(Change)} of
        {{invalid, Text}, _} -> {invalid, 2, Text};
        {_, {invalid, Text}} -> {invalid, 3, Text};
        {{ok, Rows}, {ok, By, Id}} -> book(Ledger, Rows, By, Id)
    end.

%% A price map in LiteLLM's format: the text, or {file, Name}.
-spec import(#ledger{}, term(), term()) ->
          {ok, imported()} | {error, term()} | closed | invalid().
import(Ledger, Source, Change) ->
    case {read(Source), change(Change)} of
        {{invalid, Text}, _} -> {invalid, 2, Text};
        {_, {invalid, Text}} -> {invalid, 3, Text};
        {{error, _} = Error, _} -> Error;
        {{ok, Json}, {ok, By, Id}} -> import_map(Ledger, cost_ledger_nif:price_map(Json), By, Id)
    end.

import_map(Ledger, {ok, Rows}, By, Id) ->
    Found = lists:sort([[Model, tuple_to_list(Units) | above(Above, UnitsAbove)]
                        || {Model, Units, Above, UnitsAbove} <- Rows]),
    Skipped = [{Model, reason(Key, Reason)} || {Model, Key, Reason} <- Rows],
    case Found of
        [] ->
            {error, {bad_prices, <<"the price map has no model with prices of tokens">>}};
        _ when length(Found) > ?MODELS_MAX ->
            {error, {bad_prices, <<"the price map has more than 10000 models">>}};
        _ ->
            case import_rows(Ledger, Found, By, Id) of
                {ok, Entry, Changed} ->
                    {ok, #{id => Entry, models => length(Found),
                           unchanged => length(Found) - Changed,
                           skipped => lists:sort(Skipped)}};
                Error ->
                    Error
            end
    end;
import_map(_Ledger, Error, _By, _Id) ->
    Error.

%% A map that is imported every day books what is new in it.
import_rows(#ledger{handle = Handle} = Ledger, Found, By, Id) ->
    case changed(Handle, Found, effective_us(By, ?UNIT_MAX)) of
        {ok, []} when Id =:= undefined -> {ok, none, 0};
        {ok, Changed} -> book_changed(Ledger, Changed, Found, By, Id);
        Error -> Error
    end.

%% An entry without prices is never booked: asked with none, an id only tells what it was used for.
book_changed(Ledger, Changed, Found, By, Id) ->
    case book(Ledger, Changed, By, Id) of
        {ok, Entry} ->
            {ok, Entry, length(Changed)};
        {error, {bad_entry, _}} when Changed =:= [] ->
            {ok, none, 0};
        {error, {conflict, Entry}} = Conflict ->
            case sent_again(Ledger, Entry, Found, By) of
                {ok, _, _} = Done -> Done;
                false -> Conflict;
                Error -> Error
            end;
        Error ->
            Error
    end.

%% The same map under the same id says something else when it is sent again: what it changed is in
%% force by then. It is the same if that entry left in force what the map says.
sent_again(#ledger{handle = Handle}, Entry, Found, By) ->
    case cost_ledger_nif:fetch(Handle, Entry) of
        {ok, [#{kind := price, change := #{<<"prices">> := Booked} = Change}]} ->
            IsSame = maps:remove(<<"prices">>, Change) =:= By andalso Booked -- Found =:= [],
            case changed(Handle, Found, effective_us(By, Entry)) of
                {ok, []} when IsSame -> {ok, Entry, length(Booked)};
                {ok, _} -> false;
                Error -> Error
            end;
        {ok, _Other} -> false;
        {error, {not_found, _}} -> false;
        Error -> Error
    end.

effective_us(#{<<"effective_from">> := Ms}, _Else) -> Ms * 1000;
effective_us(_By, Else) -> Else.

%% Those that are not in force at that time already.
changed(Handle, Rows, AtUs) -> changed(Handle, Rows, AtUs, []).

changed(_Handle, [], _AtUs, Changed) ->
    {ok, lists:reverse(Changed)};
changed(Handle, [[Model | Units] = Row | Rows], AtUs, Changed) ->
    case cost_ledger_nif:price(Handle, Model, AtUs) of
        {ok, [InForce]} ->
            case units(InForce) of
                Units -> changed(Handle, Rows, AtUs, Changed);
                _ -> changed(Handle, Rows, AtUs, [Row | Changed])
            end;
        {ok, []} -> changed(Handle, Rows, AtUs, [Row | Changed]);
        Error -> Error
    end.

units({_Model, _From, Units, Above, UnitsAbove, _Entry}) ->
    [tuple_to_list(Units) | above(Above, UnitsAbove)].

above(0, _Units) -> [];
above(Tokens, Units) -> [Tokens, tuple_to_list(Units)].

reason(<<>>, Reason) -> Reason;
reason(Key, Reason) -> <<Key/binary, ": ", Reason/binary>>.

read({file, Name}) ->
    try file:read_file(Name) of
        {ok, Json} -> {ok, Json};
        {error, Reason} ->
            Text = [cost_ledger_error:describe(Name), ": ", file:format_error(Reason)],
            {error, {no_such_file, unicode:characters_to_binary(Text)}}
    catch _:_ ->
            {invalid, ["file must be a name of a file, not ", cost_ledger_error:describe(Name)]}
    end;
read(Json) when is_binary(Json) ->
    {ok, Json};
read(Other) ->
    {invalid, ["must be a price map as text, a binary, or {file, Name}, not ",
               cost_ledger_error:describe(Other)]}.

book(Ledger, Rows, By, Id) ->
    Draft = cost_ledger_nif:encode({price, none, [], 0, undefined, undefined, undefined,
                                    By#{<<"prices">> => Rows}, 0, Id, <<>>, undefined}),
    true = is_binary(Draft),
    case cost_ledger_queue:call(Ledger, record, Draft) of
        {ok, Entry, _Flags} -> {ok, Entry};
        {error, _} = Error -> Error
    end.

%% Who, why, and from when on.
change(Change) ->
    case cost_ledger_value:pairs(Change) of
        {ok, Map} ->
            case cost_ledger_policy:change(maps:with([by, reason, id], Map)) of
                {ok, By, Reason, Id} ->
                    with_time(maps:without([by, reason, id], Map),
                              #{<<"by">> => By, <<"reason">> => Reason}, Id);
                {invalid, Text} ->
                    {invalid, Text}
            end;
        _ ->
            {invalid, ["must be a map, like #{by => \"ops\", reason => \"list prices\"}, not ",
                       cost_ledger_error:describe(Change)]}
    end.

with_time(Rest, By, Id) when map_size(Rest) =:= 0 ->
    {ok, By, Id};
with_time(#{effective_from := Ms} = Rest, By, Id)
  when map_size(Rest) =:= 1, is_integer(Ms), Ms >= 0, Ms =< ?AMOUNT_MAX ->
    {ok, By#{<<"effective_from">> => Ms}, Id};
with_time(#{effective_from := Other} = Rest, _By, _Id) when map_size(Rest) =:= 1 ->
    {invalid, ["effective_from must be Unix milliseconds, not ",
               cost_ledger_error:describe(Other)]};
with_time(Rest, _By, _Id) ->
    {invalid, ["unknown key ", cost_ledger_error:describe(hd(maps:keys(Rest) -- [effective_from])),
               "; known are by, reason, id, effective_from"]}.

%%% By hand ------------------------------------------------------------------------------------

prices(Prices) when is_map(Prices), map_size(Prices) >= 1, map_size(Prices) =< ?MODELS_MAX ->
    try {ok, once(lists:sort([row(Model, Of) || {Model, Of} <- maps:to_list(Prices)]))}
    catch throw:{invalid, Text} -> {invalid, Text}
    end;
prices(Other) ->
    {invalid, ["must be a map of 1 to 10000 models, like #{<<\"m-1\">> => #{input => "
               "<<\"2.5e-06\">>, output => <<\"1e-05\">>}}, not ",
               cost_ledger_error:describe(Other)]}.

%% A model is the same by its atom and by its text.
once(Rows) ->
    Models = [Model || [Model | _] <- Rows],
    case Models -- lists:usort(Models) of
        [] -> Rows;
        [Twice | _] -> invalid(["the model ", Twice, " is there twice, by its atom and its text"])
    end.

row(Model, Of) when is_map(Of) ->
    Name = case cost_ledger_value:text(Model, 1, ?MODEL_BYTES_MAX) of
               {ok, Text} -> Text;
               {error, What} -> invalid(["a model ", What])
           end,
    known(Name, maps:keys(maps:without([above | ?CLASSES], Of))),
    Base = #{input => unit(Name, input, Of), output => unit(Name, output, Of)},
    First = fill(Name, Of, Base, Base),
    [Name, classes(First) | second(Name, Of, First)];
row(Model, Other) ->
    invalid(["prices of ", cost_ledger_error:describe(Model), " must be a map, not ",
             cost_ledger_error:describe(Other)]).

known(_Name, []) -> ok;
known(Name, [Key | _]) ->
    invalid(["unknown key ", cost_ledger_error:describe(Key), " in the prices of ", Name,
             "; known are input, output, cache_read, cache_creation, reasoning, above"]).

%% Follow says what a class costs that is not named.
fill(Name, Of, #{input := Input, output := Output}, Known) ->
    lists:foldl(fun({Class, Follows}, Filled) ->
                        case Of of
                            #{Class := _} -> Filled#{Class => unit(Name, Class, Of)};
                            _ -> maps:merge(#{Class => Follows}, Filled)
                        end
                end, Known, [{cache_read, Input}, {cache_creation, Input}, {reasoning, Output}]).

second(_Name, Of, _First) when not is_map_key(above, Of) ->
    [];
second(Name, #{above := #{tokens := Tokens} = Above} = Of, First)
  when is_integer(Tokens), Tokens >= 1, Tokens =< ?AMOUNT_MAX ->
    known(Name, maps:keys(maps:without([tokens | ?CLASSES], Above))),
    Base = maps:map(fun(Class, Unit) ->
                            case Above of
                                #{Class := _} -> unit(Name, Class, Above);
                                _ -> Unit
                            end
                    end, maps:with([input, output], First)),
    Named = maps:with(maps:keys(maps:with(?CLASSES, Of)), First),
    [Tokens, classes(fill(Name, Above, Base, maps:merge(Named, Base)))];
second(Name, #{above := Other}, _First) ->
    invalid(["above of ", Name, " must be a map with tokens, from 1 to 10^15, not ",
             cost_ledger_error:describe(Other)]).

classes(Units) ->
    [maps:get(Class, Units) || Class <- ?CLASSES].

unit(Name, Class, Of) ->
    case Of of
        #{Class := Unit} when is_integer(Unit), Unit >= 0, Unit =< ?UNIT_MAX ->
            Unit;
        #{Class := Text} when is_binary(Text); is_list(Text) ->
            case cost_ledger_money:parse_unit_price(Text) of
                {ok, Unit} -> Unit;
                {error, What} -> invalid([atom_to_binary(Class), " of ", Name, ": ", What])
            end;
        #{Class := Other} ->
            invalid([atom_to_binary(Class), " of ", Name, " must be an integer of 10^-15 currency "
                     "units a token, or a decimal as text, not ",
                     cost_ledger_error:describe(Other)]);
        _ ->
            invalid([atom_to_binary(Class), " of ", Name, " is missing; free is an explicit 0"])
    end.

-spec invalid(iodata()) -> no_return().
invalid(Text) ->
    throw({invalid, Text}).

%%% Reading ------------------------------------------------------------------------------------

%% Every price that ever was, by model, the latest first. Read in slices: of what is set meanwhile
%% some may be told.
-spec all(cost_ledger_nif:handle()) -> {ok, [price()]} | cost_ledger_nif:failure() | closed.
all(Handle) ->
    case rows(Handle, {<<>>, 0}, []) of
        {ok, Rows} ->
            Sorted = lists:sort(fun({ModelA, FromA, _, _, _, _}, {ModelB, FromB, _, _, _, _}) ->
                                        {ModelA, -FromA} =< {ModelB, -FromB}
                                end, Rows),
            {ok, [price(Row) || Row <- Sorted]};
        Error ->
            Error
    end.

%% The last one first: so two of a model that hold from the same millisecond stay in order.
rows(Handle, {Model, FromUs}, Slices) ->
    case cost_ledger_nif:prices(Handle, Model, FromUs, ?SLICE) of
        {ok, Rows, done} -> {ok, lists:append([Rows | Slices])};
        {ok, Rows, Next} -> rows(Handle, Next, [Rows | Slices]);
        Error -> Error
    end.

%% In force at that time; `now`.
-spec of_model(cost_ledger_nif:handle(), term(), term()) ->
          {ok, price()} | {error, not_found} | cost_ledger_nif:failure() | closed | invalid().
of_model(Handle, Model, At) when is_integer(At); At =:= now ->
    case cost_ledger_value:text(Model, 1, ?MODEL_BYTES_MAX) of
        {ok, Name} -> in_force(cost_ledger_nif:price(Handle, Name, us(At)));
        {error, What} -> {invalid, 2, ["the model ", What]}
    end;
of_model(_Handle, _Model, Other) ->
    {invalid, 3, ["must be Unix milliseconds, not ", cost_ledger_error:describe(Other)]}.

%% The whole millisecond; before the epoch there is no price.
us(now) -> ?UNIT_MAX;
us(Ms) when Ms < 0 -> 0;
us(Ms) -> min(Ms * 1000 + 999, ?UNIT_MAX - 1).

in_force({ok, [Row]}) -> {ok, price(Row)};
in_force({ok, []}) -> {error, not_found};
in_force(Error) -> Error.

price({Model, From, Units, Above, UnitsAbove, Entry}) ->
    Price = maps:merge(#{model => Model, effective_from => From, entry => Entry}, by_class(Units)),
    case Above of
        0 -> Price;
        _ -> Price#{above => (by_class(UnitsAbove))#{tokens => Above}}
    end.

by_class(Units) ->
    maps:from_list(lists:zip(?CLASSES, tuple_to_list(Units))).
