%%% What callers give, value by value. Those of a record are what is kept of them, or throw
%%% {invalid, Text}, which names the key; text/3 and pairs/1 serve everybody, and answer.
-module(cost_ledger_value).

-include("cost_ledger.hrl").

-export([amount/2, difference/2, breakdown/1, tokens/1, tokens/2, name/2, id/2, invalid/1]).
-export([text/3, pairs/1]).

%% Of a map in a field: {field, key}.
-type key() :: atom() | {atom(), atom()}.
-type by_class() :: {integer(), integer(), integer(), integer(), integer()}.
-type parts() :: {non_neg_integer(), non_neg_integer(), non_neg_integer(), non_neg_integer()}.

-define(NAME_BYTES_MAX, 65535).
-define(ID_BYTES_MAX, 1000). % c_src/core/keys.h
-define(TOKEN_CLASSES, [input, output, cache_read, cache_creation, reasoning]).
-define(BREAKDOWN, [tokens, tool_calls, external_requests, penalties]).

-spec amount(key(), term()) -> non_neg_integer().
amount(_Key, Value) when is_integer(Value), Value >= 0, Value =< ?AMOUNT_MAX ->
    Value;
amount(Key, Value) ->
    invalid([cost_ledger_error:describe(Key), " must be an integer from 0 to 10^15, not ",
             cost_ledger_error:describe(Value)]).

%% Of a correction: what it adds, or takes off.
-spec difference(key(), term()) -> integer().
difference(_Key, Value) when is_integer(Value), abs(Value) =< ?AMOUNT_MAX ->
    Value;
difference(Key, Value) ->
    invalid([cost_ledger_error:describe(Key), " must be an integer from -10^15 to 10^15, the "
             "difference, not ", cost_ledger_error:describe(Value)]).

%% Its parts in the order of c_src/core/entry.h.
-spec breakdown(term()) -> parts().
breakdown(Parts) when is_map(Parts) ->
    case maps:keys(maps:without(?BREAKDOWN, Parts)) of
        [] ->
            list_to_tuple([amount({breakdown, Part}, maps:get(Part, Parts, 0))
                           || Part <- ?BREAKDOWN]);
        [Key | _] ->
            invalid(["unknown part ", cost_ledger_error:describe(Key), " in breakdown; known are "
                     "tokens, tool_calls, external_requests, penalties"])
    end;
breakdown(Other) ->
    invalid(["breakdown must be a map, like #{tokens => 300, tool_calls => 450}, not ",
             cost_ledger_error:describe(Other)]).

%% By class, in the order of c_src/core/entry.h.
-spec tokens(term()) -> by_class().
tokens(Tokens) -> tokens(Tokens, fun amount/2).

-spec tokens(term(), fun((key(), term()) -> integer())) -> by_class().
tokens(Tokens, Amount) when is_map(Tokens) ->
    case maps:keys(maps:without(?TOKEN_CLASSES, Tokens)) of
        [] ->
            list_to_tuple([Amount({tokens, Class}, maps:get(Class, Tokens, 0))
                           || Class <- ?TOKEN_CLASSES]);
        [Key | _] ->
            invalid(["unknown class ", cost_ledger_error:describe(Key), " in tokens; known are "
                     "input, output, cache_read, cache_creation, reasoning"])
    end;
tokens(Other, _Amount) ->
    invalid(["tokens must be a map, like #{input => 100, output => 20}, not ",
             cost_ledger_error:describe(Other)]).

-spec name(key(), term()) -> binary().
name(Key, Value) when is_atom(Value) ->
    name(Key, atom_to_binary(Value));
name(Key, Value) when is_binary(Value), Value =/= <<>>, byte_size(Value) =< ?NAME_BYTES_MAX ->
    case unicode:characters_to_binary(Value) of
        Value -> Value;
        _ -> invalid([cost_ledger_error:describe(Key), " must be valid UTF-8"])
    end;
name(Key, Value) ->
    invalid([cost_ledger_error:describe(Key), " must be an atom or a binary of 1 to 65535 bytes, "
             "not ", cost_ledger_error:describe(Value)]).

-spec id(atom(), term()) -> binary().
id(Key, Id) ->
    case text(Id, 1, ?ID_BYTES_MAX) of
        {ok, Text} -> Text;
        {error, _} -> invalid([atom_to_binary(Key), " must be a text of 1 to 1000 bytes, not ",
                               cost_ledger_error:describe(Id)])
    end.

%% An atom, a binary or a string as UTF-8; or the end of a sentence that says what it must be.
-spec text(term(), Min :: 0 | 1, Max :: pos_integer()) -> {ok, binary()} | {error, iodata()}.
text(Given, Min, Max) when is_atom(Given) ->
    utf8(atom_to_binary(Given), Given, Min, Max);
%% No character takes less than a byte, so that what is too long need not be looked at.
text(Given, Min, Max) when length(Given) =< Max ->
    case lists:all(fun(Char) -> is_integer(Char) andalso Char >= 0 andalso Char =< 16#10FFFF end,
                   Given) of
        true -> utf8(unicode:characters_to_binary(Given), Given, Min, Max);
        false -> not_text(Given, Min, Max)
    end;
text(Given, Min, Max) ->
    utf8(Given, Given, Min, Max).

utf8(Text, Given, Min, Max)
  when is_binary(Text), byte_size(Text) >= Min, byte_size(Text) =< Max ->
    case unicode:characters_to_binary(Text) of
        Text -> {ok, Text};
        _ -> {error, ["must be valid UTF-8, not ", cost_ledger_error:describe(Given)]}
    end;
utf8(_Text, Given, Min, Max) ->
    not_text(Given, Min, Max).

not_text(Given, Min, Max) ->
    {error, ["must be an atom, a binary or a string of ", integer_to_list(Min), " to ",
             integer_to_list(Max), " bytes of UTF-8, not ", cost_ledger_error:describe(Given)]}.

%% A map, or a list of pairs as Elixir writes them, as a map.
-spec pairs(term()) -> {ok, map()} | {twice, Key :: term()} | not_pairs.
pairs(Given) when is_map(Given) ->
    {ok, Given};
pairs(Given) when length(Given) >= 0 ->
    Keys = [Key || {Key, _Value} <- Given],
    case length(Keys) =:= length(Given) andalso Keys -- lists:usort(Keys) of
        false -> not_pairs;
        [] -> {ok, maps:from_list(Given)};
        [Twice | _] -> {twice, Twice}
    end;
pairs(_Other) ->
    not_pairs.

-spec invalid(iodata()) -> no_return().
invalid(Text) ->
    throw({invalid, Text}).
