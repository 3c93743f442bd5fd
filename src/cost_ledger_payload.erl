%%% The open-ended part of a record: intent, input, output, error_message, trace, attributes.
%%% Checked and packed in the caller; c_src/nif/payload_term.h says how terms are written.
-module(cost_ledger_payload).

-include("cost_ledger.hrl").

-export([is_field/1, field/2, pack/1, pack/2]).
-export_type([trace/0, step/0]).

%% What happened, step by step. Both may have more keys than these.
-type step() :: #{action := binary(), timestamp => integer() | binary(),
                  duration_ms => non_neg_integer(), result => term(), error => term(),
                  tool => binary(), cost => non_neg_integer(), _ => _}.
-type trace() :: #{steps => [step()], duration_ms => non_neg_integer(),
                   tool_calls => non_neg_integer(), api_calls => non_neg_integer(), _ => _}.

-define(TEXT_BYTES_MAX, (1 bsl 24)).
%% More than any ledger takes.
-define(BYTES_MAX, (64 bsl 20)).
%% The same as PAYLOAD_DEPTH_MAX there, less the map of the payload itself.
-define(DEPTH_MAX, 23).
-define(IS_WORD(Key), is_integer(Key), Key >= -(1 bsl 63), Key < 1 bsl 63).

-spec is_field(term()) -> boolean().
is_field(Key) ->
    lists:member(Key, [intent, input, output, error_message, trace, attributes]).

%% Its value as it is kept; or what is wrong, naming the field.
-spec field(atom(), term()) -> {ok, term()} | {invalid, iodata()}.
field(Key, Value) when Key =:= intent; Key =:= error_message ->
    case cost_ledger_value:text(Value, 0, ?TEXT_BYTES_MAX) of
        {ok, Text} -> {ok, Text};
        {error, What} -> {invalid, [atom_to_binary(Key), " ", What]}
    end;
field(attributes, Value) when not is_map(Value) ->
    {invalid, ["attributes must be a map, not ", cost_ledger_error:describe(Value)]};
field(trace, Value) ->
    try
        ok = trace(Value),
        {ok, Value}
    catch throw:{invalid, Text} -> {invalid, Text}
    end;
field(_Key, Value) ->
    {ok, Value}.

trace(Trace) when is_map(Trace) ->
    [count([trace, Key], maps:get(Key, Trace, 0)) || Key <- [duration_ms, tool_calls, api_calls]],
    steps(maps:get(steps, Trace, []));
trace(Other) ->
    invalid(["trace must be a map, like #{steps => [#{action => <<\"build\">>}]}, not ",
             cost_ledger_error:describe(Other)]).

steps(Steps) when length(Steps) >= 0 ->
    lists:foreach(fun({Index, Step}) -> step([trace, steps, Index], Step) end,
                  lists:enumerate(Steps));
steps(Other) ->
    invalid(["trace, steps must be a list of maps, not ", cost_ledger_error:describe(Other)]).

step(Path, #{action := Action} = Step) when is_binary(Action), Action =/= <<>>; is_atom(Action) ->
    [count(Path ++ [Key], maps:get(Key, Step, 0)) || Key <- [duration_ms, cost]],
    case maps:get(timestamp, Step, 0) of
        Time when is_integer(Time); is_binary(Time) -> ok;
        Other -> invalid([path(Path ++ [timestamp]), " must be Unix milliseconds or a text, not ",
                          cost_ledger_error:describe(Other)])
    end;
step(Path, Other) ->
    invalid([path(Path), " must be a map with an action, a text, not ",
             cost_ledger_error:describe(Other)]).

count(_Path, Value) when is_integer(Value), Value >= 0, Value =< ?AMOUNT_MAX ->
    ok;
count(Path, Value) ->
    invalid([path(Path), " must be an integer from 0 to 10^15, not ",
             cost_ledger_error:describe(Value)]).

%% For whichever ledger: how much that one takes is looked at when it is sent.
-spec pack(#{atom() => term()}) -> {ok, binary()} | {invalid, iodata()}.
pack(Fields) ->
    case pack(Fields, ?BYTES_MAX) of
        too_much -> {invalid, "what the record says takes more than 64 MiB: record less"};
        Packed -> Packed
    end.

%% In so many bytes.
-spec pack(#{atom() => term()}, BytesMax :: pos_integer()) ->
          {ok, binary()} | {invalid, iodata()} | too_much.
pack(Fields, BytesMax) ->
    Payload = maps:from_list([{atom_to_binary(Key), Value}
                              || {Key, Value} <- maps:to_list(Fields)]),
    case cost_ledger_nif:pack(Payload, BytesMax) of
        Packed when is_binary(Packed) -> {ok, Packed};
        {error, too_much} -> too_much;
        {error, _Reason} -> {invalid, explain(maps:to_list(Fields))}
    end.

%% Where in the fields something is that cannot be kept: looked for only when it is known to be
%% there.
explain(Fields) ->
    try
        [look([Key], Value, ?DEPTH_MAX) || {Key, Value} <- Fields],
        "the payload cannot be kept"
    catch throw:{invalid, Text} -> Text
    end.

look(_Path, Value, _Left)
  when is_atom(Value); is_float(Value); is_binary(Value) ->
    ok;
look(Path, Value, _Left) when is_integer(Value) ->
    case byte_size(term_to_binary(Value)) =< 259 of % with four before the magnitude
        true -> ok;
        false -> invalid([path(Path), " is an integer of more than 255 bytes"])
    end;
look(Path, _Value, 0) ->
    invalid([path(Path), " is nested more than ", integer_to_binary(?DEPTH_MAX), " deep"]);
look(Path, Value, Left) when is_map(Value) ->
    maps:foreach(fun(Key, Inner) when is_atom(Key); is_binary(Key); ?IS_WORD(Key) ->
                         look(Path ++ [Key], Inner, Left - 1);
                    (Key, _Inner) ->
                         invalid(["a key in ", path(Path), " must be an atom, a binary or an "
                                  "integer of 64 bits, not ", cost_ledger_error:describe(Key)])
                 end, Value);
look(Path, Value, Left) when length(Value) >= 0 ->
    [look(Path ++ [Index], Inner, Left - 1) || {Index, Inner} <- lists:enumerate(Value)],
    ok;
look(Path, Value, _Left) when is_list(Value) ->
    invalid([path(Path), " is an improper list"]);
look(Path, Value, _Left) ->
    invalid([path(Path), " cannot be kept: maps, lists, binaries, numbers and atoms can, not ",
             cost_ledger_error:describe(Value)]).

path(Path) ->
    lists:join(", ", [cost_ledger_error:describe(Part) || Part <- Path]).

-spec invalid(iodata()) -> no_return().
invalid(Text) ->
    throw({invalid, Text}).
