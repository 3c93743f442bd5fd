%%% Texts for badarg: the shell prints them under the call, naming the argument (EEP 54).
-module(cost_ledger_error).

-export([badarg/3, format_error/2, describe/1]).

%% Raises badarg as if the public function itself had: the argument at Position is wrong, and
%% Text says how.
-spec badarg({module(), atom(), [term()]}, pos_integer(), iodata()) -> no_return().
badarg({Module, Function, Arguments}, Position, Text) ->
    Info = [{error_info, #{module => ?MODULE,
                           cause => {Position, unicode:characters_to_binary(Text)}}}],
    {current_stacktrace, Stack} = process_info(self(), current_stacktrace),
    Callers = lists:dropwhile(fun({M, _, _, _}) -> M =:= ?MODULE orelse M =:= Module end, Stack),
    erlang:raise(error, badarg, [{Module, Function, Arguments, Info} | Callers]).

%% Called by the shell and by erl_error.
-spec format_error(term(), [term()]) -> map().
format_error(_Reason, [{_M, _F, _Arguments, Info} | _]) ->
    case maps:get(cause, proplists:get_value(error_info, Info, #{}), undefined) of
        {Position, Text} -> #{Position => Text};
        _ -> #{}
    end.

%% A value as part of a sentence, cut to a length that a log line stands.
-spec describe(term()) -> binary().
describe(Term) when is_integer(Term), abs(Term) >= 1 bsl 256 ->
    Size = integer_to_binary(byte_size(binary:encode_unsigned(abs(Term)))),
    <<"an integer of ", Size/binary, " bytes">>; % in digits it would take time without end
describe(Term) ->
    <<_/binary>> = unicode:characters_to_binary(io_lib:format("~0tP", [Term, 12])).
