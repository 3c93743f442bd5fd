%%% Exact decimals: money and prices as people and price lists write them, as the integers that the
%%% ledger counts in. Pure functions.
%%%
%%% Money is in nano-units, 10^-9 of a unit of the ledger's currency. The price of a token is in
%%% 10^-15 units: a price per million tokens then has as many decimals as money has.
%%%
%%% Nothing is rounded on the way in, and no float is taken: 0.1 + 0.2 as floats is not 0.3, and
%%% what was meant cannot be told from what arrived.
-module(cost_ledger_money).

-export([parse/1, format/1, format/2]).
-export([parse_unit_price/1, per_million/1, format_unit_price/1]).
-export_type([nanos/0, unit_price/0]).

%% Amounts that callers book are bounded by 10^15; sums of them are not.
-type nanos() :: integer().
-type unit_price() :: 0..16#FFFFFFFFFFFFFFFF.

-define(UNIT_PRICE_MAX, 16#FFFFFFFFFFFFFFFF).
-define(NANO_DECIMALS, 9).
-define(UNIT_PRICE_DECIMALS, 15).
-define(MILLION_DECIMALS, 9).

%% Far beyond what any ledger adds up to. What a text may cost is bounded by its length and by its
%% exponent: reading digits takes time by their square.
-define(TEXT_BYTES_MAX, 1000).
-define(EXPONENT_MAX, 100).
-define(DESCRIBED_MAX, 200). % characters of a term in an error

-define(DECIMAL, "\\A([+-]?)([0-9]+)(?:\\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?\\z").

%%% Money --------------------------------------------------------------------------------------

%% An amount in units of the currency, as decimal text: a binary or a string like "12.34", "+5",
%% "-0.000000001", "1e-3". At most 1000 bytes, an exponent from -100 to 100, no spaces, no
%% separators. Zeros in front and behind do not matter, but the point has a digit on both sides:
%% ".5" and "5." are what is left of a number that was cut.
%%
%% The error says what is wrong: not text, no decimal number, or finer than a nano-unit.
-spec parse(Text :: binary() | string()) -> {ok, nanos()} | {error, Text :: binary()}.
parse(Nanos) when is_integer(Nanos) ->
    {error, <<"an amount to parse must be text in units of the currency: "
              "an integer of nano-units needs no parsing">>};
parse(Text) ->
    exact(Text, "an amount", ?NANO_DECIMALS).

%% Nano-units of any size as the shortest exact decimal in units of the currency, with two decimals
%% at least: <<"1.2345">>, <<"10.00">>. parse/1 takes it back, up to its 1000 bytes.
-spec format(nanos()) -> binary().
format(Nanos) when is_integer(Nanos) ->
    shortest(Nanos);
format(Other) ->
    cost_ledger_error:badarg({?MODULE, format, [Other]}, 1, not_nanos(Other)).

%% For display: nano-units in units of the currency, rounded half away from zero to so many
%% decimals. What rounds to zero has no sign.
-spec format(nanos(), Decimals :: 0..9) -> binary().
format(Nanos, Decimals)
  when is_integer(Nanos), is_integer(Decimals), Decimals >= 0, Decimals =< ?NANO_DECIMALS ->
    Step = power(?NANO_DECIMALS - Decimals),
    decimal_text(sign(Nanos) * ((abs(Nanos) + Step div 2) div Step), Decimals);
format(Nanos, Decimals) when is_integer(Nanos) ->
    cost_ledger_error:badarg({?MODULE, format, [Nanos, Decimals]}, 2,
                             ["decimals must be an integer from 0 to 9, not ",
                              describe(Decimals)]);
format(Other, Decimals) ->
    cost_ledger_error:badarg({?MODULE, format, [Other, Decimals]}, 1, not_nanos(Other)).

%%% Prices of tokens ---------------------------------------------------------------------------

%% A price per token in units of the currency, as decimal text like "2.5e-06", in 10^-15 units.
%% Text is as for parse/1; besides, a price that is negative, finer than 10^-15 or above
%% 18446.744073709551615 is an error.
-spec parse_unit_price(Text :: binary() | string()) ->
          {ok, unit_price()} | {error, Text :: binary()}.
parse_unit_price(Text) ->
    price(Text, "a price per token", ?UNIT_PRICE_DECIMALS).

%% A price per million tokens in units of the currency, as decimal text like "2.50", in 10^-15
%% units a token. Errors are those of parse_unit_price/1.
-spec per_million(Text :: binary() | string()) -> {ok, unit_price()} | {error, Text :: binary()}.
per_million(Text) ->
    price(Text, "a price per million tokens", ?MILLION_DECIMALS).

%% A price of a token in 10^-15 units as the price per million tokens in units of the currency:
%% the shortest exact decimal with two decimals at least. per_million/1 takes it back.
-spec format_unit_price(unit_price()) -> binary().
format_unit_price(Price) when is_integer(Price), Price >= 0, Price =< ?UNIT_PRICE_MAX ->
    %% 10^-15 a token is 10^-9 a million.
    shortest(Price);
format_unit_price(Other) ->
    cost_ledger_error:badarg({?MODULE, format_unit_price, [Other]}, 1,
                             ["a price must be an integer from 0 to 2^64-1, not ",
                              describe(Other)]).

price(Text, What, Decimals) ->
    case exact(Text, What, Decimals) of
        {ok, Price} when Price < 0 ->
            {error, to_binary([What, " must not be negative, like ", describe(Text)])};
        {ok, Price} when Price > ?UNIT_PRICE_MAX ->
            {error, to_binary([What, " must be at most ", decimal_text(?UNIT_PRICE_MAX, Decimals),
                               ", not ", describe(Text)])};
        Answer ->
            Answer
    end.

%%% From text ----------------------------------------------------------------------------------

%% The number times 10^Decimals, if that is an integer.
exact(Text, What, Decimals) ->
    try {ok, scale(decimal(bytes(Text)), Decimals)}
    catch
        throw:{invalid, Why} ->
            {error, to_binary([What, " ", Why])};
        throw:too_fine ->
            {error, to_binary([What, " must have at most ", integer_to_list(Decimals), " decimals "
                               "besides zeros at the end, unlike ", describe(Text)])}
    end.

bytes(Text) when is_binary(Text), byte_size(Text) =< ?TEXT_BYTES_MAX ->
    Text;
bytes(Text) when length(Text) =< ?TEXT_BYTES_MAX ->
    case lists:all(fun(Char) -> is_integer(Char) andalso Char >= 0 andalso Char < 128 end, Text) of
        true -> list_to_binary(Text);
        false -> malformed(Text)
    end;
bytes(Text) when is_binary(Text); length(Text) > ?TEXT_BYTES_MAX ->
    invalid("must be written in at most 1000 bytes");
bytes(Float) when is_float(Float) ->
    invalid(["must be text: the float ", describe(Float), " may not be the number that was "
             "written, as most decimals have no float"]);
bytes(Integer) when is_integer(Integer) ->
    invalid("must be text: an integer does not say in which unit it is");
bytes(Other) ->
    malformed(Other).

%% {Digits, Exponent} is Digits * 10^Exponent.
decimal(Text) ->
    case re:run(Text, ?DECIMAL, [{capture, [1, 2, 3, 4], binary}]) of
        {match, [Sign, Whole, Fraction, Exponent]} ->
            {binary_to_integer(<<Sign/binary, Whole/binary, Fraction/binary>>),
             exponent(Exponent) - byte_size(Fraction)};
        nomatch ->
            malformed(Text)
    end.

exponent(<<>>) ->
    0;
exponent(Text) ->
    case binary_to_integer(Text) of
        Exponent when abs(Exponent) =< ?EXPONENT_MAX -> Exponent;
        _ -> invalid(["must have an exponent from -100 to 100, not ", describe(Text)])
    end.

scale({Digits, Exponent}, Decimals) when Exponent + Decimals >= 0 ->
    Digits * power(Exponent + Decimals);
scale({Digits, Exponent}, Decimals) ->
    Divisor = power(-(Exponent + Decimals)),
    case Digits rem Divisor of
        0 -> Digits div Divisor;
        _ -> throw(too_fine)
    end.

-spec malformed(term()) -> no_return().
malformed(Empty) when Empty =:= <<>>; Empty =:= [] ->
    invalid("must be decimal text like 12.34, not empty");
malformed(Text) ->
    invalid(["must be decimal text like 12.34, 0.5 or 1e-3, without spaces and separators and with "
             "a digit on both sides of the point, not ", describe(Text)]).

-spec invalid(iodata()) -> no_return().
invalid(Why) ->
    throw({invalid, Why}).

%%% To text ------------------------------------------------------------------------------------

shortest(Nanos) ->
    without_zeros(decimal_text(Nanos, ?NANO_DECIMALS), ?NANO_DECIMALS).

%% Two decimals stay.
without_zeros(Text, Decimals) when Decimals > 2 ->
    Shorter = byte_size(Text) - 1,
    case Text of
        <<Rest:Shorter/binary, "0">> -> without_zeros(Rest, Decimals - 1);
        _ -> Text
    end;
without_zeros(Text, _Decimals) ->
    Text.

%% Integer * 10^-Decimals.
decimal_text(Integer, Decimals) when Integer < 0 ->
    <<"-", (decimal_text(-Integer, Decimals))/binary>>;
decimal_text(Integer, 0) ->
    integer_to_binary(Integer);
decimal_text(Integer, Decimals) ->
    Power = power(Decimals),
    %% The one in front keeps the zeros of the fraction.
    <<"1", Fraction/binary>> = integer_to_binary(Power + Integer rem Power),
    <<(integer_to_binary(Integer div Power))/binary, ".", Fraction/binary>>.

not_nanos(Other) ->
    ["money must be an integer of nano-units, not ", describe(Other)].

%% A huge integer would be written to its last digit, and a long string to its end.
describe(Integer) when is_integer(Integer), Integer > ?UNIT_PRICE_MAX ->
    <<"a larger one">>;
describe(Integer) when is_integer(Integer), Integer < -?UNIT_PRICE_MAX ->
    <<"a negative one">>;
describe(Term) ->
    lists:sublist(unicode:characters_to_list(cost_ledger_error:describe(Term)), ?DESCRIBED_MAX).

sign(Integer) when Integer < 0 -> -1;
sign(_Integer) -> 1.

%% Not math:pow, which is a float.
power(Exponent) ->
    power(Exponent, 10, 1).

power(0, _Base, Product) -> Product;
power(Exponent, Base, Product) when Exponent band 1 =:= 1 ->
    power(Exponent bsr 1, Base * Base, Product * Base);
power(Exponent, Base, Product) ->
    power(Exponent bsr 1, Base * Base, Product).

to_binary(Text) ->
    <<_/binary>> = unicode:characters_to_binary(Text).
