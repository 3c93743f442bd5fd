%%% Allocation rules: the ratio by which the costs of an agent's or a project's runs are multiplied,
%%% an exact fraction. Each amount is multiplied once, and rounded once, half up.
%%%
%%% A ratio stands in the policy's settings, a string: `allocation agent NAME` or `allocation
%%% project NAME`, with the value <<"3/2">>. The agent's goes before the project's.
-module(cost_ledger_allocation).

-export([ratio/1, of_settings/2, apply_to/2, text/1]).
-export_type([ratio/0]).

-type ratio() :: {Numerator :: non_neg_integer(), Denominator :: pos_integer()}.

-define(PART_MAX, 1000000000).

%% As an option says it.
-spec ratio(term()) -> {ok, ratio()} | {invalid, iodata()}.
ratio({Numerator, Denominator} = Ratio)
  when is_integer(Numerator), Numerator >= 0, Numerator =< ?PART_MAX,
       is_integer(Denominator), Denominator >= 1, Denominator =< ?PART_MAX ->
    {ok, Ratio};
ratio(Other) ->
    {invalid, ["allocation must be {Numerator, Denominator}, integers from 0 and from 1 to 10^9, "
               "not ", cost_ledger_error:describe(Other)]}.

%% That of the agent, else of the project, else {1, 1}. A setting that is no ratio is an error, not
%% another ratio: {error, {bad_allocation, Text}}.
-spec of_settings(#{atom() | binary() => term()},
                  #{agent => binary(), project => binary(), _ => _}) ->
          {ok, ratio()} | {error, {bad_allocation, binary()}}.
of_settings(Given, Names) ->
    %% The name of a setting is an atom where the VM has it.
    Settings = maps:from_list([{text_of(Key), Value} || {Key, Value} <- maps:to_list(Given)]),
    Keys = [<<"allocation ", (atom_to_binary(Dimension))/binary, " ", Name/binary>>
            || Dimension <- [agent, project], {ok, Name} <- [maps:find(Dimension, Names)]],
    case [Key || Key <- Keys, is_map_key(Key, Settings)] of
        [Key | _] -> parse(Key, maps:get(Key, Settings));
        [] -> {ok, {1, 1}}
    end.

text_of(Key) when is_atom(Key) -> atom_to_binary(Key);
text_of(Key) -> Key.

parse(Key, Value) when is_binary(Value) ->
    case re:run(Value, "^([0-9]{1,10})/([0-9]{1,10})$", [{capture, all_but_first, binary},
                                                        dollar_endonly]) of
        {match, Parts} ->
            [Numerator, Denominator] = [binary_to_integer(Part) || Part <- Parts],
            case ratio({Numerator, Denominator}) of
                {ok, Ratio} -> {ok, Ratio};
                {invalid, _} -> malformed(Key, Value)
            end;
        nomatch ->
            malformed(Key, Value)
    end;
parse(Key, Value) ->
    malformed(Key, Value).

malformed(Key, Value) ->
    Text = ["the setting ", Key, " must be a fraction of integers up to 10^9 like 3/2, not ",
            cost_ledger_error:describe(Value)],
    {error, {bad_allocation, unicode:characters_to_binary(Text)}}.

%% One amount, in nano-units, rounded half up.
-spec apply_to(non_neg_integer(), ratio()) -> non_neg_integer().
apply_to(Amount, {Numerator, Denominator}) ->
    (2 * Amount * Numerator + Denominator) div (2 * Denominator).

%% <<"3/2">>
-spec text(ratio()) -> binary().
text({Numerator, Denominator}) ->
    <<(integer_to_binary(Numerator))/binary, "/", (integer_to_binary(Denominator))/binary>>.
