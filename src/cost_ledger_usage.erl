%%% What providers say of the tokens of a call, as the ledger counts them. Pure functions.
%%%
%%% The ledger's classes are disjoint: every token is in one of them, so that a price times each
%%% class, added up, is the cost. Providers count otherwise: at one the input is without what came
%%% from the cache, at another it includes it. Where a provider's numbers contradict each other,
%%% or a number is missing, the answer is an error: a wrong count would be billed and not noticed.
-module(cost_ledger_usage).

-export([from/2]).
-export_type([provider/0, tokens/0]).

-type provider() :: anthropic | openai | claude_code.
%% In tokens. As cost_ledger_record:tokens(), with every class there.
-type tokens() :: #{input := non_neg_integer(), output := non_neg_integer(),
                    cache_read := non_neg_integer(), cache_creation := non_neg_integer(),
                    reasoning := non_neg_integer()}.

%% As of every amount of the ledger.
-define(COUNT_MAX, 1000000000000000).
-define(DESCRIBED_MAX, 200). % characters of a term in an error

-define(IS_ABSENT(Value), (Value =:= nil orelse Value =:= null orelse Value =:= undefined)).

%% The keys of a form, by which it is told from others; those of the same place mean the same.
-define(MESSAGES, [input_tokens, output_tokens, cache_read_input_tokens,
                   cache_creation_input_tokens, cache_creation]).
-define(MODEL_USAGE, [inputTokens, outputTokens, cacheReadInputTokens, cacheCreationInputTokens]).
-define(CHAT, [prompt_tokens, completion_tokens, prompt_tokens_details,
               completion_tokens_details]).
-define(RESPONSES, [input_tokens, output_tokens, input_tokens_details, output_tokens_details]).
-define(LIFETIMES, [ephemeral_5m_input_tokens, ephemeral_1h_input_tokens]).

%% The tokens of a call in disjoint classes, all five of them, from
%%
%%   anthropic    `usage` of the Messages API. Reasoning is part of output there.
%%   openai       `usage` of Chat Completions or of Responses; of embeddings too, which have no
%%                output. input is without cache_read, output is without reasoning.
%%   claude_code  `usage` of `claude -p --output-format json`, or one model's part of `modelUsage`
%%
%% Keys are atoms or binaries. nil, null and undefined are the same as a key left out. What of
%% input and output is left out is an error, since a misspelt key must not become zero; caches and
%% reasoning that are left out are 0. Other keys are ignored.
%%
%% The error names the key: missing, there twice, not an integer from 0 to 10^15, or in
%% contradiction to another one. Also an error: what is no map, keys of two forms at once or of
%% another provider, and an unknown provider.
-spec from(provider(), Usage :: map()) -> {ok, tokens()} | {error, Text :: binary()}.
from(Provider, Usage) ->
    try {ok, tokens(Provider, Usage)}
    catch
        throw:{invalid, Text} ->
            <<_/binary>> = Utf8 = unicode:characters_to_binary(Text),
            {error, Utf8}
    end.

tokens(Provider, Usage) when is_map(Usage) ->
    case form(forms(Provider), Usage) of
        Form when Form =:= ?MESSAGES; Form =:= ?MODEL_USAGE -> without_cached(Form, Usage);
        Form -> with_cached(Form, Usage)
    end;
tokens(Provider, Other) ->
    [Keys | _] = forms(Provider),
    invalid(["usage must be a map of counts, like #{", name(hd(Keys)), " => 1500, ...}, not ",
             describe(Other)]).

forms(anthropic) -> [?MESSAGES];
forms(openai) -> [?CHAT, ?RESPONSES];
forms(claude_code) -> [?MESSAGES, ?MODEL_USAGE];
forms(Other) ->
    invalid(["unknown provider ", describe(Other), "; known are anthropic, openai, claude_code"]).

form(Forms, Usage) ->
    case [Form || Form <- Forms, has_any(Form, Usage)] of
        [Form] ->
            ok = of_this_provider(foreign(Form), Usage),
            Form;
        [] ->
            invalid(["the usage has none of the keys that count tokens: ",
                     lists:join(", or ", [words(Form) || Form <- Forms])]);
        [One, Another] ->
            invalid(["the usage has keys of two forms: it must be one of ", words(One), ", or of ",
                     words(Another)])
    end.

%% Two forms call the input and the output alike and count them differently. These keys tell which
%% of them it is, and would be ignored otherwise.
foreign(?MESSAGES) -> [input_tokens_details];
foreign(?RESPONSES) -> [cache_read_input_tokens, cache_creation_input_tokens];
foreign(_Form) -> [].

of_this_provider(Foreign, Usage) ->
    case [Key || Key <- Foreign, given(Key, [], Usage) =/= absent] of
        [] -> ok;
        [Key | _] -> invalid(["the usage has ", name(Key), ": it is that of another provider"])
    end.

has_any(Keys, Map) ->
    lists:any(fun(Key) -> given(Key, [], Map) =/= absent end, Keys).

%%% Anthropic ----------------------------------------------------------------------------------

without_cached([Input, Output, Read, Creation | _] = Form, Usage) ->
    #{input => required(Input, Usage), output => required(Output, Usage),
      cache_read => optional(Read, Usage), reasoning => 0,
      cache_creation => cache_creation(Creation, count(Creation, [], Usage),
                                       by_lifetime(Form, Usage))}.

cache_creation(_Key, absent, absent) -> 0;
cache_creation(_Key, Sum, absent) -> Sum;
cache_creation(_Key, absent, Parts) -> checked(<<"cache_creation">>, Parts);
cache_creation(_Key, Same, Same) -> Same;
cache_creation(Key, Sum, Parts) ->
    invalid([name(Key), " is ", integer_to_list(Sum), ", but the counts in cache_creation add up "
             "to ", integer_to_list(Parts)]).

%% The same tokens by how long they stay in the cache.
by_lifetime(?MESSAGES, Usage) ->
    case details(cache_creation, Usage) of
        Empty when map_size(Empty) =:= 0 -> absent;
        Parts -> sum_of_lifetimes([count(Key, [cache_creation], Parts) || Key <- ?LIFETIMES], Parts)
    end;
by_lifetime(?MODEL_USAGE, _Usage) ->
    absent.

sum_of_lifetimes([absent, absent], Parts) ->
    %% Both null is nothing said; neither there is a key misspelt.
    case [Key || Key <- ?LIFETIMES, is_key(Key, Parts)] of
        [] -> invalid(["cache_creation has none of ", words(?LIFETIMES)]);
        _ -> absent
    end;
sum_of_lifetimes(Counts, _Parts) ->
    lists:sum([Count || Count <- Counts, Count =/= absent]).

%%% OpenAI -------------------------------------------------------------------------------------

with_cached([Input, Output, InputDetails, OutputDetails], Usage) ->
    InputCount = required(Input, Usage),
    OutputCount = output(count(Output, [], Usage), count(total_tokens, [], Usage), Output),
    ok = total(count(total_tokens, [], Usage), InputCount + OutputCount, Input, Output),
    Cached = part(InputDetails, cached_tokens, Input, InputCount, Usage),
    Reasoning = part(OutputDetails, reasoning_tokens, Output, OutputCount, Usage),
    #{input => InputCount - Cached, output => OutputCount - Reasoning, cache_read => Cached,
      cache_creation => 0, reasoning => Reasoning}.

%% Embeddings have no output and a total, which then shows that none was forgotten.
output(absent, absent, Output) -> missing(Output);
output(absent, _Total, _Output) -> 0;
output(Count, _Total, _Output) -> Count.

total(absent, _Sum, _Input, _Output) -> ok;
total(Same, Same, _Input, _Output) -> ok;
total(Total, Sum, Input, Output) ->
    invalid(["total_tokens is ", integer_to_list(Total), ", but ", name(Input), " and ",
             name(Output), " add up to ", integer_to_list(Sum)]).

part(Details, Key, Whole, WholeCount, Usage) ->
    case count(Key, [Details], details(Details, Usage)) of
        absent ->
            0;
        Count when Count =< WholeCount ->
            Count;
        Count ->
            invalid([name(Details, Key), " is ", integer_to_list(Count), ", more than the ",
                     integer_to_list(WholeCount), " of ", name(Whole), ", which include it"])
    end.

%%% Counts -------------------------------------------------------------------------------------

required(Key, Usage) ->
    case count(Key, [], Usage) of
        absent -> missing(Key);
        Count -> Count
    end.

optional(Key, Usage) ->
    case count(Key, [], Usage) of
        absent -> 0;
        Count -> Count
    end.

details(Key, Usage) ->
    case given(Key, [], Usage) of
        absent -> #{};
        {given, Map} when is_map(Map) -> Map;
        {given, Other} -> invalid([name(Key), " must be a map of counts, not ", describe(Other)])
    end.

%% Within names the key of the map that this one is of.
count(Key, Within, Map) ->
    case given(Key, Within, Map) of
        absent -> absent;
        {given, Value} -> checked(path(Within, Key), Value)
    end.

checked(_Name, Count) when is_integer(Count), Count >= 0, Count =< ?COUNT_MAX ->
    Count;
checked(Name, Other) ->
    invalid([Name, " must be an integer from 0 to 10^15, not ", describe(Other)]).

given(Key, Within, Map) ->
    case [Value || Name <- [Key, name(Key)], {ok, Value} <- [maps:find(Name, Map)],
                   not ?IS_ABSENT(Value)] of
        [] -> absent;
        [Value] -> {given, Value};
        [_, _] -> invalid([path(Within, Key), " is there twice, as an atom and as a binary"])
    end.

is_key(Key, Map) ->
    is_map_key(Key, Map) orelse is_map_key(name(Key), Map).

%%% Texts --------------------------------------------------------------------------------------

path([], Key) -> name(Key);
path([Within], Key) -> name(Within, Key).

name(Key) ->
    atom_to_binary(Key).

name(Within, Key) ->
    <<(name(Within))/binary, ".", (name(Key))/binary>>.

words(Keys) ->
    lists:join(", ", [name(Key) || Key <- Keys]).

%% A huge integer would be written to its last digit, and a long string to its end.
describe(Integer) when is_integer(Integer), Integer > ?COUNT_MAX ->
    <<"a larger one">>;
describe(Integer) when is_integer(Integer), Integer < -?COUNT_MAX ->
    <<"a negative one">>;
describe(Term) ->
    lists:sublist(unicode:characters_to_list(cost_ledger_error:describe(Term)), ?DESCRIBED_MAX).

-spec missing(atom()) -> no_return().
missing(Key) ->
    invalid([name(Key), " is missing"]).

-spec invalid(iodata()) -> no_return().
invalid(Text) ->
    throw({invalid, Text}).
