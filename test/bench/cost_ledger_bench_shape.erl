%%% Records of real shape, about 1 KB each: the N-th is always the same; hashes spread them over
%%% names.
-module(cost_ledger_bench_shape).

-export([record/1, bare/1, unnamed/1, run_id/1, project/1, agent/1, user/1]).

-define(PROJECTS, 20).
-define(USERS, 200).
-define(AGENTS, 12).
-define(MODELS, 8).

%% What a hub says of one invocation.
record(N) ->
    Bare = #{cost := Cost, duration_ms := Duration} = bare(N),
    Whole = Bare#{intent => <<"Find out why the build of branch ", (run_id(N))/binary,
                              " fails, and mend it">>,
                  input => #{prompt => prompt(N), files => [<<"src/parser.c">>, <<"src/lexer.c">>,
                                                            <<"test/parser_test.c">>],
                             temperature => 0.2},
                  output => #{text => answer(N), finish_reason => stop,
                              changed => [<<"src/parser.c">>]},
                  trace => #{duration_ms => Duration, tool_calls => 2, api_calls => 1,
                             steps => [step(read_file, Duration div 10, 0, N),
                                       step(complete, Duration div 2, Cost div 2, N + 1),
                                       step(run_tests, Duration div 4, 0, N + 2)]}},
    case Bare of
        #{status := failed} -> Whole#{error_message => <<"run_tests: exit status 2, 3 attempts">>};
        _ -> Whole
    end.

%% Without a run_id, too.
unnamed(N) -> maps:remove(run_id, bare(N)).

%% The same without what is open-ended.
bare(N) ->
    Tools = hash(N, tools, 400000),
    Tokens = 100000 + hash(N, cost, 4000000),
    #{kind => invocation, state => executing, run_id => run_id(N), org => <<"acme">>,
      project => project(hash(N, project, ?PROJECTS)),
      user => user(hash(N, user, ?USERS)),
      agent => agent(hash(N, agent, ?AGENTS)),
      model => name(<<"model-large-">>, hash(N, model, ?MODELS)),
      status => status(hash(N, status, 100)), duration_ms => 200 + hash(N, duration, 30000),
      tokens => #{input => 500 + hash(N, input, 8000), output => 50 + hash(N, output, 2000),
                  cache_read => hash(N, cache, 20000)},
      cost => Tokens + Tools, breakdown => #{tokens => Tokens, tool_calls => Tools}}.

hash(N, What, Range) -> erlang:phash2({What, N}, Range).

status(Percent) when Percent < 3 -> failed;
status(3) -> aborted;
status(_) -> completed.

project(Number) -> name(<<"project-">>, Number).
agent(Number) -> name(<<"agent-">>, Number).
user(Number) -> name(<<"user-">>, Number).
%% Of the smallest kind that a binary can be, as names that come from outside are.
name(Prefix, Number) -> list_to_binary([Prefix, integer_to_binary(Number)]).

%% As long as a UUID, and in no order.
run_id(N) ->
    <<A:8/binary, B:4/binary, C:4/binary, D:4/binary, E:12/binary>> =
        <<(hex(hash(N, a, 1 bsl 32)))/binary, (hex(hash(N, b, 1 bsl 32)))/binary,
          (hex(N bsr 32))/binary, (hex(N band 16#ffffffff))/binary>>,
    list_to_binary([A, $-, B, $-, C, $-, D, $-, E]).

hex(Word) ->
    << <<(digit(Nibble))>> || <<Nibble:4>> <= <<Word:32>> >>.

digit(Nibble) when Nibble < 10 -> $0 + Nibble;
digit(Nibble) -> $a - 10 + Nibble.

prompt(N) ->
    <<"The tests of the parser fail since the last merge. Look into the lexer first, it treats "
      "a comment at the end of a file as an open one. Attempt ", (integer_to_binary(N))/binary,
      ".">>.

answer(N) ->
    <<"A comment that ends with the file was never closed: lex_comment() waited for a newline. It "
      "closes at the end of the input now, and case ", (integer_to_binary(N))/binary,
      " covers it.">>.

step(Action, Duration, Cost, N) ->
    #{action => atom_to_binary(Action), timestamp => 1750000000000 + N, duration_ms => Duration,
      tool => <<"workspace">>, cost => Cost, result => <<"done, 0 warnings">>}.
