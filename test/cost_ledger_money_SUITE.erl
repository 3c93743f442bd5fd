%%% Amounts, prices and counts of tokens as they come in from outside: what exactly is made of them,
%%% and what is refused in which words.
%%%
%%% COST_LEDGER_NUMTESTS in the environment sets how many random numbers are tried (200).
%%%
%%% PropEr is used through its functions: Debian's package comes without proper.hrl.
-module(cost_ledger_money_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0]).
-export([amounts_are_exact/1, what_is_no_number_is_refused/1, a_point_has_digits_on_both_sides/1,
         what_is_finer_than_a_nano_is_refused/1, exponents_have_their_bounds/1,
         texts_have_their_length/1, what_is_no_text_is_refused/1,
         a_hostile_number_takes_no_time/1, amounts_are_written_shortest/1,
         amounts_are_rounded_for_display/1, what_cannot_be_written_is_badarg/1,
         many_small_amounts_add_up/1]).
-export([prices_are_exact/1, prices_per_million_are_per_token/1, prices_have_their_bounds/1,
         prices_are_written_per_million/1]).
-export([anthropic_counts_cached_tokens_apart/1, anthropic_tells_lifetimes_of_the_cache/1,
         openai_includes_cached_and_reasoning/1, openai_embeddings_have_no_output/1,
         openai_counts_must_agree/1, claude_code_has_two_forms/1, absent_caches_are_zero/1,
         keys_are_atoms_or_binaries/1, keys_of_no_meaning_are_ignored/1,
         a_misspelt_key_is_no_zero/1, forms_are_not_mixed/1, wrong_counts_name_their_key/1,
         counts_have_their_bounds/1, unknown_providers_and_what_is_no_map/1]).
-export([any_amount_comes_back/1, any_notation_is_the_same_number/1,
         rounding_is_to_the_nearest/1, any_price_comes_back/1, no_token_is_lost_or_doubled/1,
         garbage_is_refused_in_words/1, hostile_terms_never_raise/1]).

-define(COUNT_MAX, 1000000000000000).
-define(PRICE_MAX, 16#FFFFFFFFFFFFFFFF).

suite() -> [{timetrap, {seconds, max(120, tests())}}].

tests() -> list_to_integer(os:getenv("COST_LEDGER_NUMTESTS", "200")).

all() -> [{group, amounts}, {group, prices}, {group, usage}, {group, random}].

groups() ->
    [{amounts, [parallel],
      [amounts_are_exact, what_is_no_number_is_refused, a_point_has_digits_on_both_sides,
       what_is_finer_than_a_nano_is_refused, exponents_have_their_bounds,
       texts_have_their_length, what_is_no_text_is_refused, a_hostile_number_takes_no_time,
       amounts_are_written_shortest, amounts_are_rounded_for_display,
       what_cannot_be_written_is_badarg, many_small_amounts_add_up]},
     {prices, [parallel],
      [prices_are_exact, prices_per_million_are_per_token, prices_have_their_bounds,
       prices_are_written_per_million]},
     {usage, [parallel],
      [anthropic_counts_cached_tokens_apart, anthropic_tells_lifetimes_of_the_cache,
       openai_includes_cached_and_reasoning, openai_embeddings_have_no_output,
       openai_counts_must_agree, claude_code_has_two_forms, absent_caches_are_zero,
       keys_are_atoms_or_binaries, keys_of_no_meaning_are_ignored, a_misspelt_key_is_no_zero,
       forms_are_not_mixed, wrong_counts_name_their_key, counts_have_their_bounds,
       unknown_providers_and_what_is_no_map]},
     {random, [parallel],
      [any_amount_comes_back, any_notation_is_the_same_number, rounding_is_to_the_nearest,
       any_price_comes_back, no_token_is_lost_or_doubled, garbage_is_refused_in_words,
       hostile_terms_never_raise]}].

%%% Amounts ------------------------------------------------------------------------------------

amounts_are_exact(_Config) ->
    [begin
         ?assertEqual({Text, {ok, Nanos}}, {Text, cost_ledger_money:parse(Text)}),
         Binary = list_to_binary(Text),
         ?assertEqual({Binary, {ok, Nanos}}, {Binary, cost_ledger_money:parse(Binary)})
     end
     || {Text, Nanos} <-
            [{"0", 0}, {"-0", 0}, {"+0.00", 0}, {"0e5", 0}, {"0e-100", 0},
             {"12.34", 12340000000}, {"-12.34", -12340000000}, {"+5", 5000000000},
             {"0.000000001", 1}, {"-0.000000001", -1}, {"0.1", 100000000},
             {"1e-3", 1000000}, {"1E2", 100000000000}, {"1e+2", 100000000000},
             {"1.5e-8", 15}, {"-2.5E0", -2500000000}, {"1e-9", 1}, {"1e0002", 100000000000},
             %% Zeros that say nothing.
             {"007.50", 7500000000}, {"1.000000000000", 1000000000},
             {"1.0000000010000", 1000000001}, {"1000e-12", 1}, {"0.0000000001e1", 1},
             %% More than 64 bits, and more than a float's 53.
             {"9007199254740993", 9007199254740993000000000},
             {"123456789012345678901234567890.123456789",
              123456789012345678901234567890123456789},
             {"1e100", power(109)}]],
    ok.

what_is_no_number_is_refused(_Config) ->
    [refused(cost_ledger_money:parse(Text), ["an amount", "decimal text like 12.34"])
     || Text <- [<<"1_000">>, <<"1,000">>, <<"1,5">>, <<"1 000">>, <<" 1">>, <<"1 ">>, <<"1\n">>,
                 <<"\n">>, <<"1\n2">>, <<0>>, <<"1", 0>>, <<"NaN">>, <<"nan">>, <<"inf">>,
                 <<"-Infinity">>, <<"null">>, <<"$5">>, <<"5 USD">>, <<"+">>, <<"-">>, <<"--1">>,
                 <<"+-1">>, <<"1-">>, <<"1e">>, <<"e1">>, <<"1e+">>, <<"1e1.5">>, <<"1e1e1">>,
                 <<"1.2.3">>, <<"0x10">>, <<"16#10">>, <<"1/2">>, <<"1%">>, <<"(5)">>,
                 <<"−5"/utf8>>, "−5", <<"٣"/utf8>>, "٣", <<"１"/utf8>>, <<255>>, [128]]],
    [refused(cost_ledger_money:parse(Text), ["an amount", "not empty"]) || Text <- [<<>>, ""]],
    ok.

a_point_has_digits_on_both_sides(_Config) ->
    [refused(cost_ledger_money:parse(Text), ["a digit on both sides of the point"])
     || Text <- [".", ".5", "5.", "-.5", "5.e3", "-5.", ".e1"]],
    ok.

what_is_finer_than_a_nano_is_refused(_Config) ->
    [refused(cost_ledger_money:parse(Text), ["an amount must have at most 9 decimals", Text])
     || Text <- ["0.0000000001", "-1.0000000001", "1.00000000010", "1e-10", "15e-10", "1e-100"]],
    ok.

exponents_have_their_bounds(_Config) ->
    Nines = lists:duplicate(900, $9),
    [refused(cost_ledger_money:parse("1e" ++ Exponent), ["an exponent from -100 to 100"])
     || Exponent <- ["101", "-101", "+101", "999999999", "-999999999", Nines, [$- | Nines]]],
    %% Zero as well: the bound is one of the text.
    refused(cost_ledger_money:parse("0e101"), ["an exponent from -100 to 100"]),
    ?assertEqual({ok, power(109)}, cost_ledger_money:parse("1e100")),
    ?assertEqual({ok, 1}, cost_ledger_money:parse([$1 | lists:duplicate(91, $0)] ++ "e-100")).

texts_have_their_length(_Config) ->
    Digits = lists:duplicate(1000, $7),
    ?assertEqual({ok, list_to_integer(Digits) * power(9)}, cost_ledger_money:parse(Digits)),
    [refused(cost_ledger_money:parse(Text), ["at most 1000 bytes"])
     || Text <- [[$7 | Digits], list_to_binary([$7 | Digits]), lists:duplicate(100000, foo)]],
    ok.

what_is_no_text_is_refused(_Config) ->
    [refused(cost_ledger_money:parse(Integer), ["integer of nano-units needs no parsing"])
     || Integer <- [0, 5, -5, 1 bsl 10000]],
    [refused(Parse(0.1), ["must be text", "float 0.1"]) || Parse <- parsers()],
    [refused(Parse(5), ["must be text"]) || Parse <- parsers()],
    [refused(Parse(Term), ["must be decimal text"])
     || Parse <- parsers(), Term <- ['12.34', undefined, nil, [<<"1">>], ["1"], [$1 | $2], {1, 2},
                                     #{}, <<1:1>>, [-1], [1.0]]],
    ok.

%% Each of them took minutes, or the memory, if it were computed before it is refused.
a_hostile_number_takes_no_time(_Config) ->
    Long = binary:copy(<<"9">>, 5000000),
    {Us, ok} = timer:tc(
                 fun() ->
                         [refused(Parse(Text), [])
                          || Parse <- parsers(),
                             Text <- [<<"1e999999999">>, <<"1e-999999999">>, Long,
                                      <<"0.", Long/binary>>, <<"1e", Long/binary>>]],
                         ok
                 end),
    ?assert(Us < 5000000).

amounts_are_written_shortest(_Config) ->
    [?assertEqual({Nanos, Text}, {Nanos, cost_ledger_money:format(Nanos)})
     || {Nanos, Text} <-
            [{0, <<"0.00">>}, {1234500000, <<"1.2345">>}, {-1, <<"-0.000000001">>},
             {1, <<"0.000000001">>}, {1000000000, <<"1.00">>}, {-1500000000, <<"-1.50">>},
             {10000000, <<"0.01">>}, {1000000, <<"0.001">>}, {100000000000, <<"100.00">>},
             {1010000000, <<"1.01">>}, {1000000010, <<"1.00000001">>},
             {-999999999, <<"-0.999999999">>},
             {?COUNT_MAX, <<"1000000.00">>},
             {power(40) + 1, <<"10000000000000000000000000000000.000000001">>}]],
    ok.

amounts_are_rounded_for_display(_Config) ->
    [?assertEqual({Nanos, Decimals, Text},
                  {Nanos, Decimals, cost_ledger_money:format(Nanos, Decimals)})
     || {Nanos, Decimals, Text} <-
            [{0, 0, <<"0">>}, {0, 2, <<"0.00">>}, {0, 9, <<"0.000000000">>},
             {1234500000, 2, <<"1.23">>}, {1235000000, 2, <<"1.24">>},
             {1234999999, 2, <<"1.23">>}, {-1235000000, 2, <<"-1.24">>},
             {1245000000, 2, <<"1.25">>}, {-1234999999, 2, <<"-1.23">>},
             {500000000, 0, <<"1">>}, {499999999, 0, <<"0">>}, {1500000000, 0, <<"2">>},
             {2500000000, 0, <<"3">>}, {-500000000, 0, <<"-1">>}, {-2500000000, 0, <<"-3">>},
             {999999999, 8, <<"1.00000000">>}, {999995000, 5, <<"1.00000">>},
             {-1, 9, <<"-0.000000001">>}, {5, 8, <<"0.00000001">>},
             {power(40), 1, <<"10000000000000000000000000000000.0">>},
             %% What rounds to nothing has no sign.
             {-1, 2, <<"0.00">>}, {-499999999, 0, <<"0">>}]],
    ok.

what_cannot_be_written_is_badarg(_Config) ->
    [begin
         badarg(format, [Term], 1, ["money must be an integer of nano-units"]),
         badarg(format, [Term, 2], 1, ["money must be an integer of nano-units"]),
         badarg(format_unit_price, [Term], 1, ["a price must be an integer from 0 to 2^64-1"])
     end || Term <- junk(), not is_integer(Term)],
    [badarg(format, [100, Decimals], 2, ["decimals must be an integer from 0 to 9"])
     || Decimals <- [-1, 10 | junk()] -- [0]],
    [badarg(format_unit_price, [Price], 1, ["a price must be an integer from 0 to 2^64-1"])
     || Price <- [-1, ?PRICE_MAX + 1, 1 bsl 100000, -(1 bsl 100000)]],
    ok.

%% As floats, 2,500 times 0.004 added up is not 10.
many_small_amounts_add_up(_Config) ->
    {ok, Price} = cost_ledger_money:parse("0.004"),
    {ok, Whole} = cost_ledger_money:parse("10"),
    ?assertEqual(Whole, 2500 * Price),
    ?assertEqual(Whole, lists:sum(lists:duplicate(2500, Price))),
    ?assertEqual(<<"10.00">>, cost_ledger_money:format(2500 * Price)).

%%% Prices -------------------------------------------------------------------------------------

prices_are_exact(_Config) ->
    [?assertEqual({Text, {ok, Price}}, {Text, cost_ledger_money:parse_unit_price(Text)})
     || {Text, Price} <-
            [{"2.5e-06", 2500000000}, {<<"2.5e-06">>, 2500000000}, {"0.0000025", 2500000000},
             {"3e-6", 3000000000}, {"1.5e-05", 15000000000}, {"0", 0}, {"-0.0", 0},
             {"7.5e-08", 75000000}, {"1e-15", 1}, {"10e-16", 1}, {"1", power(15)},
             {"18446.744073709551615", ?PRICE_MAX}]],
    ok.

prices_per_million_are_per_token(_Config) ->
    [?assertEqual({Text, {ok, Price}}, {Text, cost_ledger_money:per_million(Text)})
     || {Text, Price} <-
            [{"2.50", 2500000000}, {<<"2.50">>, 2500000000}, {"15", 15000000000}, {"0", 0},
             {"0.075", 75000000}, {"0.000000001", 1}, {"1e6", power(15)},
             {"18446744073.709551615", ?PRICE_MAX}]],
    ?assertEqual(cost_ledger_money:parse_unit_price("2.5e-06"),
                 cost_ledger_money:per_million("2.50")).

prices_have_their_bounds(_Config) ->
    [refused(cost_ledger_money:parse_unit_price(Text), ["a price per token" | Named])
     || {Text, Named} <-
            [{"-1", ["negative", "-1"]}, {"-1e-15", ["negative"]},
             {"1e-16", ["at most 15 decimals"]}, {"2.5000000001e-06", ["at most 15 decimals"]},
             {"18446.744073709551616", ["at most 18446.744073709551615"]},
             {"1e100", ["at most 18446.744073709551615"]}, {"1e999999999", ["exponent"]},
             {".5", ["decimal text"]}, {"", ["empty"]}]],
    [refused(cost_ledger_money:per_million(Text), ["a price per million tokens" | Named])
     || {Text, Named} <-
            [{"-2.50", ["negative", "-2.50"]}, {"0.0000000001", ["at most 9 decimals"]},
             {"18446744073.709551616", ["at most 18446744073.709551615"]},
             {"1e999999999", ["exponent"]}, {"$2.50", ["decimal text"]}, {"", ["empty"]}]],
    ok.

prices_are_written_per_million(_Config) ->
    [?assertEqual({Price, Text}, {Price, cost_ledger_money:format_unit_price(Price)})
     || {Price, Text} <- [{0, <<"0.00">>}, {2500000000, <<"2.50">>}, {75000000, <<"0.075">>},
                          {1, <<"0.000000001">>}, {15000000000, <<"15.00">>},
                          {?PRICE_MAX, <<"18446744073.709551615">>}]],
    ok.

%%% Usage --------------------------------------------------------------------------------------

anthropic_counts_cached_tokens_apart(_Config) ->
    ?assertEqual({ok, tokens(2095, 503, 1800, 2051, 0)},
                 from(anthropic, #{input_tokens => 2095, output_tokens => 503,
                                   cache_read_input_tokens => 1800,
                                   cache_creation_input_tokens => 2051})),
    %% More from the cache than was not: they are no part of each other.
    ?assertEqual({ok, tokens(3, 4, 100000, 0, 0)},
                 from(anthropic, #{input_tokens => 3, output_tokens => 4,
                                   cache_read_input_tokens => 100000})).

anthropic_tells_lifetimes_of_the_cache(_Config) ->
    Plain = #{input_tokens => 1, output_tokens => 2},
    Both = #{ephemeral_5m_input_tokens => 456, ephemeral_1h_input_tokens => 100},
    [?assertEqual({More, {ok, tokens(1, 2, 0, Creation, 0)}},
                  {More, from(anthropic, maps:merge(Plain, More))})
     || {Creation, More} <-
            [{556, #{cache_creation => Both}},
             {556, #{cache_creation => Both, cache_creation_input_tokens => 556}},
             {556, #{cache_creation => Both, cache_creation_input_tokens => null}},
             {456, #{cache_creation => #{ephemeral_5m_input_tokens => 456}}},
             {7, #{cache_creation => #{<<"ephemeral_1h_input_tokens">> => 7}}},
             {9, #{cache_creation => #{}, cache_creation_input_tokens => 9}},
             {9, #{cache_creation => null, cache_creation_input_tokens => 9}},
             {9, #{cache_creation => maps:map(fun(_, _) -> nil end, Both),
                   cache_creation_input_tokens => 9}},
             {0, #{cache_creation => #{}}},
             {0, #{cache_creation => maps:map(fun(_, _) -> 0 end, Both),
                   cache_creation_input_tokens => 0}}]],
    [refused(from(anthropic, maps:merge(Plain, More)), Named)
     || {More, Named} <-
            [{#{cache_creation => Both, cache_creation_input_tokens => 555},
              ["cache_creation_input_tokens is 555", "add up to 556"]},
             {#{cache_creation => Both, cache_creation_input_tokens => 0},
              ["cache_creation_input_tokens is 0", "add up to 556"]},
             {#{cache_creation => #{ephemeral_5m_tokens => 1}},
              ["cache_creation has none of ephemeral_5m_input_tokens, ephemeral_1h_input_tokens"]},
             {#{cache_creation => 5}, ["cache_creation must be a map", "5"]},
             {#{cache_creation => Both#{ephemeral_1h_input_tokens => -1}},
              ["cache_creation.ephemeral_1h_input_tokens", "-1"]},
             {#{cache_creation => #{ephemeral_5m_input_tokens => ?COUNT_MAX,
                                    ephemeral_1h_input_tokens => 1}},
              ["cache_creation must be an integer from 0 to 10^15"]}]],
    ok.

openai_includes_cached_and_reasoning(_Config) ->
    Chat = #{prompt_tokens => 2006, completion_tokens => 300, total_tokens => 2306,
             prompt_tokens_details => #{cached_tokens => 1920, audio_tokens => 0},
             completion_tokens_details => #{reasoning_tokens => 192, audio_tokens => 0,
                                            accepted_prediction_tokens => 0}},
    Responses = #{input_tokens => 2006, output_tokens => 300, total_tokens => 2306,
                  input_tokens_details => #{cached_tokens => 1920},
                  output_tokens_details => #{reasoning_tokens => 192}},
    [begin
         ?assertEqual({ok, tokens(86, 108, 1920, 0, 192)}, from(openai, Usage)),
         ?assertEqual({ok, tokens(86, 108, 1920, 0, 192)},
                      from(openai, maps:remove(total_tokens, Usage)))
     end || Usage <- [Chat, Responses]],
    %% All of it, to the last token.
    ?assertEqual({ok, tokens(0, 0, 5, 0, 6)},
                 from(openai, #{prompt_tokens => 5, completion_tokens => 6,
                                prompt_tokens_details => #{cached_tokens => 5},
                                completion_tokens_details => #{reasoning_tokens => 6}})).

openai_embeddings_have_no_output(_Config) ->
    ?assertEqual({ok, tokens(8, 0, 0, 0, 0)},
                 from(openai, #{prompt_tokens => 8, total_tokens => 8})),
    refused(from(openai, #{prompt_tokens => 8, total_tokens => 9}),
            ["total_tokens is 9", "add up to 8"]),
    refused(from(openai, #{prompt_tokens => 8}), ["completion_tokens is missing"]).

openai_counts_must_agree(_Config) ->
    Chat = #{prompt_tokens => 10, completion_tokens => 20},
    Responses = #{input_tokens => 10, output_tokens => 20},
    [refused(from(openai, Usage), Named)
     || {Usage, Named} <-
            [{Chat#{prompt_tokens_details => #{cached_tokens => 11}},
              ["prompt_tokens_details.cached_tokens is 11", "10 of prompt_tokens"]},
             {Chat#{completion_tokens_details => #{reasoning_tokens => 21}},
              ["completion_tokens_details.reasoning_tokens is 21", "20 of completion_tokens"]},
             {Responses#{input_tokens_details => #{cached_tokens => 11}},
              ["input_tokens_details.cached_tokens is 11", "10 of input_tokens"]},
             {Responses#{output_tokens_details => #{reasoning_tokens => 21}},
              ["output_tokens_details.reasoning_tokens is 21", "20 of output_tokens"]},
             {Chat#{total_tokens => 29},
              ["total_tokens is 29", "prompt_tokens and completion_tokens add up to 30"]},
             {Responses#{total_tokens => 31},
              ["total_tokens is 31", "input_tokens and output_tokens add up to 30"]},
             %% Reasoning that is counted besides the completion, as some imitations do.
             {Chat#{completion_tokens_details => #{reasoning_tokens => 5}, total_tokens => 35},
              ["total_tokens is 35", "add up to 30"]}]],
    ok.

claude_code_has_two_forms(_Config) ->
    Usage = #{<<"input_tokens">> => 4, <<"cache_creation_input_tokens">> => 12802,
              <<"cache_read_input_tokens">> => 3364, <<"output_tokens">> => 57,
              <<"server_tool_use">> => #{<<"web_search_requests">> => 0},
              <<"service_tier">> => <<"standard">>,
              <<"cache_creation">> => #{<<"ephemeral_1h_input_tokens">> => 12802,
                                        <<"ephemeral_5m_input_tokens">> => 0}},
    ?assertEqual({ok, tokens(4, 57, 3364, 12802, 0)}, from(claude_code, Usage)),
    OfOneModel = #{<<"inputTokens">> => 4, <<"outputTokens">> => 57,
                   <<"cacheReadInputTokens">> => 3364, <<"cacheCreationInputTokens">> => 12802,
                   <<"webSearchRequests">> => 0, <<"costUSD">> => 0.0498, <<"contextWindow">> => 1},
    ?assertEqual({ok, tokens(4, 57, 3364, 12802, 0)}, from(claude_code, OfOneModel)),
    %% The parts of all models at once are no part of one.
    refused(from(claude_code, #{<<"claude-opus-4">> => OfOneModel}), ["inputTokens"]),
    refused(from(anthropic, OfOneModel), ["none of the keys", "input_tokens"]).

absent_caches_are_zero(_Config) ->
    [begin
         ?assertEqual({ok, tokens(5, 6, 0, 0, 0)}, from(Provider, Usage)),
         Given = maps:merge(maps:from_keys(Optional, Absent), Usage),
         ?assertEqual({Given, {ok, tokens(5, 6, 0, 0, 0)}}, {Given, from(Provider, Given)})
     end
     || Absent <- [nil, null, undefined],
        {Provider, Usage, Optional} <-
            [{anthropic, #{input_tokens => 5, output_tokens => 6},
              [cache_read_input_tokens, cache_creation_input_tokens, cache_creation,
               input_tokens_details]},
             {openai, #{prompt_tokens => 5, completion_tokens => 6},
              [prompt_tokens_details, completion_tokens_details, total_tokens, input_tokens]},
             {openai, #{input_tokens => 5, output_tokens => 6},
              [input_tokens_details, output_tokens_details, total_tokens, prompt_tokens]},
             {openai, #{prompt_tokens => 5, completion_tokens => 6,
                        prompt_tokens_details => #{cached_tokens => Absent},
                        completion_tokens_details => #{}}, []},
             {claude_code, #{inputTokens => 5, outputTokens => 6},
              [cacheReadInputTokens, cacheCreationInputTokens]}]],
    ok.

keys_are_atoms_or_binaries(_Config) ->
    [begin
         Binaries = maps:from_list([{atom_to_binary(Key), Value}
                                    || {Key, Value} <- maps:to_list(Usage)]),
         ?assertEqual(from(Provider, Usage), from(Provider, Binaries)),
         [refused(from(Provider, Binaries#{Key => Value}), [atom_to_list(Key), "twice"])
          || {Key, Value} <- maps:to_list(Usage)]
     end || {Provider, Usage} <- full()],
    Chat = #{prompt_tokens => 5, completion_tokens => 6},
    ?assertEqual({ok, tokens(2, 6, 3, 0, 0)},
                 from(openai, Chat#{<<"prompt_tokens_details">> => #{<<"cached_tokens">> => 3}})),
    refused(from(openai, Chat#{prompt_tokens_details => #{<<"cached_tokens">> => 3,
                                                          cached_tokens => 3}}),
            ["prompt_tokens_details.cached_tokens", "twice"]).

keys_of_no_meaning_are_ignored(_Config) ->
    [?assertEqual(from(Provider, Usage), from(Provider, Usage#{Key => Value}))
     || {Provider, Usage} <- full(), Value <- junk(),
        Key <- [service_tier, <<"server_tool_use">>, "input_tokens", 1, {output_tokens}]],
    ok.

a_misspelt_key_is_no_zero(_Config) ->
    [begin
         refused(from(Provider, maps:from_keys(Misspelt, 5)), ["none of the keys", First]),
         refused(from(Provider, #{}), ["none of the keys", First])
     end
     || {Provider, First, Misspelt} <-
            [{anthropic, "input_tokens", [input_token, inputTokens, prompt_tokens]},
             {openai, "prompt_tokens", [promptTokens, <<"prompt-tokens">>, "prompt_tokens"]},
             {claude_code, "inputTokens", [input, output, <<"InputTokens">>]}]],
    [refused(from(Provider, #{Given => 5}), [Missing ++ " is missing"])
     || {Provider, Given, Missing} <-
            [{anthropic, input_tokens, "output_tokens"}, {anthropic, output_tokens, "input_tokens"},
             {anthropic, cache_read_input_tokens, "input_tokens"},
             {openai, prompt_tokens, "completion_tokens"},
             {openai, completion_tokens, "prompt_tokens"},
             {openai, input_tokens, "output_tokens"}, {openai, output_tokens, "input_tokens"},
             {claude_code, inputTokens, "outputTokens"},
             {claude_code, outputTokens, "inputTokens"}]],
    refused(from(anthropic, #{input_tokens => null, output_tokens => 1}),
            ["input_tokens is missing"]).

forms_are_not_mixed(_Config) ->
    [refused(from(Provider, Usage), Named)
     || {Provider, Usage, Named} <-
            [{openai, #{prompt_tokens => 1, completion_tokens => 2, input_tokens => 1},
              ["two forms", "prompt_tokens", "input_tokens"]},
             {openai, #{prompt_tokens => 10, completion_tokens => 2,
                        input_tokens_details => #{cached_tokens => 5}}, ["two forms"]},
             {claude_code, #{input_tokens => 1, output_tokens => 2, cacheReadInputTokens => 3},
              ["two forms", "inputTokens"]},
             %% The same two keys in front, another meaning of the first.
             {anthropic, #{input_tokens => 10, output_tokens => 2,
                           input_tokens_details => #{cached_tokens => 5}},
              ["input_tokens_details", "another provider"]},
             {openai, #{input_tokens => 10, output_tokens => 2, cache_read_input_tokens => 90},
              ["cache_read_input_tokens", "another provider"]}]],
    ok.

wrong_counts_name_their_key(_Config) ->
    [refused(from(Provider, Usage#{Key => Value}), [atom_to_list(Key), "10^15"])
     || {Provider, Usage} <- full(), Key <- maps:keys(Usage),
        Value <- [-1, 1.0, 5.5, <<"5">>, "5", five, #{}, ?COUNT_MAX + 1, 1 bsl 100000,
                  -(1 bsl 100000)]],
    [refused(from(openai, Usage#{Details => #{Key => Value}}),
             [atom_to_list(Details) ++ "." ++ atom_to_list(Key), "10^15"])
     || {Usage, Details, Key} <- details(), Value <- [-1, 1.0, <<"5">>, ?COUNT_MAX + 1]],
    [refused(from(openai, Usage#{Details => Value}), [atom_to_list(Details), "must be a map"])
     || {Usage, Details, _Key} <- details(), Value <- [5, [], [{cached_tokens, 1}], <<"x">>]],
    refused(from(anthropic, #{input_tokens => -5, output_tokens => 1}), ["input_tokens", "-5"]),
    refused(from(anthropic, #{input_tokens => 1, output_tokens => 2.5}), ["output_tokens", "2.5"]).

counts_have_their_bounds(_Config) ->
    Max = ?COUNT_MAX,
    ?assertEqual({ok, tokens(Max, Max, Max, Max, 0)},
                 from(claude_code, #{inputTokens => Max, outputTokens => Max,
                                     cacheReadInputTokens => Max,
                                     cacheCreationInputTokens => Max})),
    ?assertEqual({ok, tokens(0, 0, 0, 0, 0)},
                 from(openai, #{prompt_tokens => 0, completion_tokens => 0, total_tokens => 0})).

unknown_providers_and_what_is_no_map(_Config) ->
    Usage = #{input_tokens => 1, output_tokens => 2},
    [refused(from(Provider, Usage),
             ["unknown provider", "known are anthropic, openai, claude_code"])
     || Provider <- [google, <<"openai">>, "anthropic" | junk()]],
    [refused(from(Provider, Term), ["usage must be a map"])
     || Provider <- providers(), Term <- junk(), not is_map(Term)],
    refused(from(openai, [{prompt_tokens, 1}, {completion_tokens, 2}]), ["usage must be a map"]).

%%% Random -------------------------------------------------------------------------------------

any_amount_comes_back(_Config) ->
    holds(proper:forall(
            amount(),
            fun(Nanos) ->
                    Text = cost_ledger_money:format(Nanos),
                    cost_ledger_money:parse(Text) =:= {ok, Nanos}
                        andalso cost_ledger_money:parse(binary_to_list(Text)) =:= {ok, Nanos}
                        andalso cost_ledger_money:format(Nanos, 9) =:= padded(Text)
                        andalso is_shortest(Text)
            end)).

any_notation_is_the_same_number(_Config) ->
    holds(proper:forall(
            {amount(), notation()},
            fun({Nanos, Notation}) ->
                    Text = written(Nanos, -9, Notation),
                    {Text, cost_ledger_money:parse(Text)} =:= {Text, {ok, Nanos}}
                        andalso finer_is_refused(written(10 * Nanos + 1, -10, Notation))
            end)).

finer_is_refused(Text) ->
    {error, Why} = cost_ledger_money:parse(Text),
    string:find(Why, "at most 9 decimals") =/= nomatch.

rounding_is_to_the_nearest(_Config) ->
    holds(proper:forall(
            {proper_types:oneof([amount(), halves()]), proper_types:integer(0, 9)},
            fun({Nanos, Decimals}) ->
                    Text = cost_ledger_money:format(Nanos, Decimals),
                    {ok, Rounded} = cost_ledger_money:parse(Text),
                    Step = power(9 - Decimals),
                    Off = 2 * abs(Rounded - Nanos),
                    Rounded rem Step =:= 0
                        andalso (Off < Step orelse
                                 (Off =:= Step andalso abs(Rounded) > abs(Nanos)))
                        andalso decimals(Text) =:= Decimals
            end)).

any_price_comes_back(_Config) ->
    holds(proper:forall(
            {proper_types:oneof([0, ?PRICE_MAX, proper_types:integer(0, ?PRICE_MAX),
                                 proper_types:integer(0, 100000)]), notation()},
            fun({Price, Notation}) ->
                    PerMillion = cost_ledger_money:format_unit_price(Price),
                    PerToken = written(Price, -15, Notation),
                    {ok, Price} =:= cost_ledger_money:per_million(PerMillion)
                        andalso {ok, Price} =:= cost_ledger_money:parse_unit_price(PerToken)
                        andalso is_shortest(PerMillion)
            end)).

%% However they are told, the classes add up to what went in and out.
no_token_is_lost_or_doubled(_Config) ->
    Count = proper_types:oneof([0, 1, proper_types:integer(0, 100000000)]),
    holds(proper:forall(
            {Count, Count, Count, Count, Count},
            fun({Input, Output, Read, Creation, Reasoning}) ->
                    Apart = {ok, tokens(Input, Output, Read, Creation, 0)},
                    Within = {ok, tokens(Input, Output, Read, 0, Reasoning)},
                    Apart =:= from(anthropic, messages(Input, Output, Read, Creation))
                        andalso Apart =:= from(claude_code,
                                               model_usage(Input, Output, Read, Creation))
                        andalso Within =:= from(openai, chat(Input, Output, Read, Reasoning))
                        andalso Within =:= from(openai, responses(Input, Output, Read, Reasoning))
            end)).

%% Hostile terms that PropEr does not think of, as every argument and at every key.
hostile_terms_never_raise(_Config) ->
    [true = answers(Term) || Term <- junk()],
    ok.

garbage_is_refused_in_words(_Config) ->
    holds(proper:forall(proper_types:any(), fun answers/1)).

%% A term for a text, and for each part of a usage: refused in words, or taken where it is a count
%% or nothing.
answers(Term) ->
    lists:all(fun(Parse) -> is_refused(Parse(Term)) orelse is_number_text(Term) end, parsers())
        andalso is_refused(from(Term, #{input_tokens => 1, output_tokens => 2}))
        andalso lists:all(fun(Provider) -> is_refused(from(Provider, Term)) end, providers())
        andalso lists:all(
                  fun({Provider, Usage}) ->
                          lists:all(fun(Key) -> is_answer(from(Provider, Usage#{Key => Term})) end,
                                    [cache_creation | maps:keys(Usage)])
                  end, full())
        andalso lists:all(
                  fun({Usage, Details, Key}) ->
                          is_answer(from(openai, Usage#{Details => Term}))
                              andalso is_answer(from(openai, Usage#{Details => #{Key => Term}}))
                  end, details()).

%% Random bytes may be digits.
is_number_text(Term) ->
    try iolist_to_binary(Term) of
        Text -> re:run(Text, "\\A[-+0-9.eE]+\\z") =/= nomatch
    catch error:badarg -> false
    end.

is_answer({ok, #{input := Input, output := Output, cache_read := Read, cache_creation := Creation,
                 reasoning := Reasoning} = Tokens}) ->
    map_size(Tokens) =:= 5
        andalso lists:all(fun(Count) -> is_integer(Count) andalso Count >= 0 end,
                          [Input, Output, Read, Creation, Reasoning]);
is_answer(Answer) ->
    is_refused(Answer).

%% Texts go into log lines.
is_refused({error, Text}) ->
    is_binary(Text) andalso Text =:= unicode:characters_to_binary(Text)
        andalso byte_size(Text) < 2000;
is_refused(_Answer) ->
    false.

%%% Helpers ------------------------------------------------------------------------------------

amount() ->
    Large = power(900),
    proper_types:oneof([0, 1, -1, proper_types:integer(),
                        proper_types:integer(-?COUNT_MAX, ?COUNT_MAX),
                        proper_types:integer(-power(40), power(40)),
                        proper_types:integer(-Large, Large), whole()]).

whole() ->
    proper_types:bind(proper_types:integer(-100000, 100000), fun(Units) -> Units * power(9) end,
                      false).

%% Odd ones of them are in the middle between two that can be shown.
halves() ->
    proper_types:bind({proper_types:integer(-100000, 100000), proper_types:integer(0, 9)},
                      fun({Steps, Decimals}) -> Steps * power(Decimals) * 5 end, false).

%% How a number may be written: digits behind the point, zeros in front and at the end, whether
%% with a plus, and the exponent.
notation() ->
    Few = proper_types:integer(0, 30),
    {Few, Few, Few, proper_types:oneof(["", "+"]),
     proper_types:oneof(["e", "E", "e+", "E+", "e0", "e+00"])}.

%% Integer * 10^Exponent.
written(Integer, Exponent, {Decimals, Before, Behind, Plus, Mark}) ->
    Digits = lists:duplicate(Before, $0)
        ++ string:pad(integer_to_list(abs(Integer)), Decimals + 1, leading, $0),
    {Whole, Fraction} = lists:split(length(lists:flatten(Digits)) - Decimals,
                                    lists:flatten(Digits)),
    Sign = if Integer < 0 -> "-";
              true -> Plus
           end,
    lists:append([Sign, Whole, fraction(Fraction ++ lists:duplicate(Behind, $0)),
                  exponent(Exponent + Decimals, Mark)]).

fraction("") -> "";
fraction(Digits) -> [$. | Digits].

%% The mark of a negative one has no plus.
exponent(0, _Mark) -> "";
exponent(Exponent, Mark) when Exponent > 0 -> Mark ++ integer_to_list(Exponent);
exponent(Exponent, [E | Rest]) -> [E, $- | Rest -- "+"] ++ integer_to_list(-Exponent).

padded(Text) ->
    [Whole, Fraction] = string:split(Text, "."),
    iolist_to_binary([Whole, ".", string:pad(Fraction, 9, trailing, $0)]).

is_shortest(Text) ->
    case decimals(Text) of
        2 -> true;
        More when More > 2 -> binary:last(Text) =/= $0;
        _ -> false
    end.

decimals(Text) ->
    case string:split(Text, ".") of
        [_Whole] -> 0;
        [_Whole, Fraction] -> byte_size(Fraction)
    end.

power(0) -> 1;
power(Exponent) -> 10 * power(Exponent - 1).

parsers() ->
    [fun cost_ledger_money:parse/1, fun cost_ledger_money:parse_unit_price/1,
     fun cost_ledger_money:per_million/1].

providers() -> [anthropic, openai, claude_code].

from(Provider, Usage) -> cost_ledger_usage:from(Provider, Usage).

tokens(Input, Output, Read, Creation, Reasoning) ->
    #{input => Input, output => Output, cache_read => Read, cache_creation => Creation,
      reasoning => Reasoning}.

messages(Input, Output, Read, Creation) ->
    #{input_tokens => Input, output_tokens => Output, cache_read_input_tokens => Read,
      cache_creation_input_tokens => Creation}.

model_usage(Input, Output, Read, Creation) ->
    #{inputTokens => Input, outputTokens => Output, cacheReadInputTokens => Read,
      cacheCreationInputTokens => Creation}.

chat(Input, Output, Read, Reasoning) ->
    #{prompt_tokens => Input + Read, completion_tokens => Output + Reasoning,
      total_tokens => Input + Read + Output + Reasoning,
      prompt_tokens_details => #{cached_tokens => Read},
      completion_tokens_details => #{reasoning_tokens => Reasoning}}.

responses(Input, Output, Read, Reasoning) ->
    #{input_tokens => Input + Read, output_tokens => Output + Reasoning,
      total_tokens => Input + Read + Output + Reasoning,
      input_tokens_details => #{cached_tokens => Read},
      output_tokens_details => #{reasoning_tokens => Reasoning}}.

%% A usage of each form with every count that is at its top.
full() ->
    [{anthropic, messages(1, 2, 3, 4)}, {claude_code, messages(1, 2, 3, 4)},
     {claude_code, model_usage(1, 2, 3, 4)},
     {openai, #{prompt_tokens => 4, completion_tokens => 6, total_tokens => 10}},
     {openai, #{input_tokens => 4, output_tokens => 6, total_tokens => 10}}].

%% {Usage, its details, the count in them}.
details() ->
    Chat = #{prompt_tokens => 4, completion_tokens => 6},
    Responses = #{input_tokens => 4, output_tokens => 6},
    [{Chat, prompt_tokens_details, cached_tokens},
     {Chat, completion_tokens_details, reasoning_tokens},
     {Responses, input_tokens_details, cached_tokens},
     {Responses, output_tokens_details, reasoning_tokens}].

%% Of every type, and none of them a number as text.
junk() ->
    [0, -1, 1 bsl 100000, -(1 bsl 100000), 0.0, -1.5, 1.0e308, foo, undefined, nil, null, true,
     '', '思考中', {}, {1, 2}, {ok, <<"5">>}, #{}, #{1 => 2}, #{<<"input">> => foo}, [], [[]], [-1],
     [$5 | $0], [foo], [1.0], ["5"], [<<"5">>], [16#D800], [16#110000], [1 bsl 70], <<>>, <<255>>,
     <<"5", 255>>, <<5:3>>, <<"思考中"/utf8>>, binary:copy(<<"x">>, 100000),
     lists:duplicate(100000, $x), lists:duplicate(100000, $5), self(), make_ref(),
     hd(erlang:ports()), fun erlang:self/0, fun() -> ok end].

refused(Answer, Named) ->
    ?assertEqual({Answer, true}, {Answer, is_refused(Answer)}),
    {error, Text} = Answer,
    [?assertNotEqual({Words, nomatch, Text},
                     {Words, string:find(Text, unicode:characters_to_binary(Words)), Text})
     || Words <- Named],
    ok.

%% As the shell prints it: which function, which argument, what is wrong.
badarg(Function, Arguments, Position, Named) ->
    try apply(cost_ledger_money, Function, Arguments) of
        Answer -> ct:fail({not_refused, Function, Arguments, Answer})
    catch
        error:badarg:Stack ->
            [{Module, Raised, Given, _Info} | _] = Stack,
            ?assertEqual({cost_ledger_money, Function, Arguments}, {Module, Raised, Given}),
            #{Position := Text} = cost_ledger_error:format_error(badarg, Stack),
            refused({error, Text}, Named)
    end.

holds(Property) ->
    %% Everything: this PropEr cannot report an exception on OTP 25.
    Options = [{numtests, tests()}, quiet, long_result],
    case proper:quickcheck(Property, Options) of
        true -> ok;
        Other -> ct:fail({counterexample, Other})
    end.
