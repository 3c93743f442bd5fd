%%% What a caller says of one invocation, checked and written as a draft; and entries as the API
%%% gives them back. Runs in the caller: the writer only gets drafts.
-module(cost_ledger_record).

-export([draft/2, from_entry/1]).
-export_type([meta/0, status/0, tokens/0, record/0]).

-type status() :: completed | failed | aborted.
-type tokens() :: #{input => non_neg_integer(), output => non_neg_integer(),
                    cache_read => non_neg_integer(), cache_creation => non_neg_integer(),
                    reasoning => non_neg_integer()}.
%% Money in nano-units of the ledger's currency. Absent cost is unpriced; free is 0.
-type meta() :: #{duration_ms => non_neg_integer(), prompt_type => atom() | binary(),
                  status => status(), cost => non_neg_integer(), credits => non_neg_integer(),
                  tokens => tokens(), org => name(), project => name(), user => name(),
                  agent => name(), model => name(), provider => name()}.
-type name() :: atom() | binary().
%% state, status and prompt_type are atoms where the VM has them.
-type record() :: #{id := pos_integer(), kind := atom(), state => atom() | binary(),
                    timestamp := integer(), duration_ms := non_neg_integer(),
                    status := status() | none, prompt_type => atom() | binary(),
                    cost => integer(), credits => integer(), tokens => tokens(),
                    org => binary(), project => binary(), user => binary(), agent => binary(),
                    model => binary(), provider => binary()}.

%% Of every amount; the same in c_src/core/entry.h.
-define(AMOUNT_MAX, 1000000000000000).
-define(NAME_BYTES_MAX, 65535).

-define(STATE, 1).
-define(PROMPT_TYPE, 9).
-define(DIMENSIONS, #{state => ?STATE, org => 2, project => 3, user => 4, agent => 5, model => 6,
                      provider => 7, prompt_type => ?PROMPT_TYPE}).
-define(TOKEN_CLASSES, [input, output, cache_read, cache_creation, reasoning]).

-record(fields,
        {status = completed :: status(),
         names = [] :: [{pos_integer(), binary()}],
         duration_ms = 0 :: non_neg_integer(),
         cost = undefined :: undefined | non_neg_integer(),
         credits = undefined :: undefined | non_neg_integer(),
         tokens = undefined :: undefined | tuple()}).

%% `invalid` comes with what is wrong, naming the key.
-spec draft(atom(), term()) ->
          {ok, cost_ledger_nif:draft(), DurationMs :: non_neg_integer(),
           PromptType :: atom() | binary()} | {invalid, iodata()}.
draft(State, Meta) when is_map(Meta) ->
    PromptType = case maps:get(prompt_type, Meta, undefined) of
                     Absent when Absent =:= undefined; Absent =:= nil -> unknown;
                     Given -> Given
                 end,
    try maps:fold(fun field/3, #fields{names = [{?STATE, atom_to_binary(State)}]},
                  Meta#{prompt_type => PromptType}) of
        #fields{status = Status, names = Names, duration_ms = Duration, cost = Cost,
                credits = Credits, tokens = Tokens} ->
            case cost_ledger_nif:encode({Status, Names, Duration, Cost, Credits, Tokens}) of
                Draft when is_binary(Draft) -> {ok, Draft, Duration, PromptType};
                {error, Reason} -> {invalid, cost_ledger_error:describe(Reason)}
            end
    catch
        throw:{invalid, Text} -> {invalid, Text}
    end;
draft(_State, Other) ->
    {invalid, ["metadata must be a map, like #{duration_ms => 1200}, not ",
               cost_ledger_error:describe(Other)]}.

field(duration_ms, Value, Fields) ->
    Fields#fields{duration_ms = amount(duration_ms, Value)};
field(cost, Value, Fields) ->
    Fields#fields{cost = amount(cost, Value)};
field(credits, Value, Fields) ->
    Fields#fields{credits = amount(credits, Value)};
field(status, Status, Fields)
  when Status =:= completed; Status =:= failed; Status =:= aborted ->
    Fields#fields{status = Status};
field(status, Value, _Fields) ->
    invalid(["status must be completed, failed or aborted, not ",
             cost_ledger_error:describe(Value)]);
field(tokens, Value, Fields) ->
    Fields#fields{tokens = tokens(Value)};
%% An attribute that is not there, as Erlang and as Elixir say it.
field(Key, Absent, Fields)
  when Absent =:= undefined orelse Absent =:= nil,
       Key =:= org orelse Key =:= project orelse Key =:= user orelse Key =:= agent
       orelse Key =:= model orelse Key =:= provider ->
    Fields;
field(Key, Value, #fields{names = Names} = Fields)
  when Key =:= prompt_type; Key =:= org; Key =:= project; Key =:= user; Key =:= agent;
       Key =:= model; Key =:= provider ->
    Fields#fields{names = [{maps:get(Key, ?DIMENSIONS), name(Key, Value)} | Names]};
field(Key, _Value, _Fields) ->
    invalid(["unknown key ", cost_ledger_error:describe(Key), " in the metadata; known are "
             "duration_ms, prompt_type, status, cost, credits, tokens, org, project, user, agent, "
             "model, provider"]).

amount(_Key, Value) when is_integer(Value), Value >= 0, Value =< ?AMOUNT_MAX ->
    Value;
amount(Key, Value) ->
    invalid([cost_ledger_error:describe(Key), " must be an integer from 0 to 10^15, not ",
             cost_ledger_error:describe(Value)]).

tokens(Tokens) when is_map(Tokens) ->
    case maps:keys(maps:without(?TOKEN_CLASSES, Tokens)) of
        [] ->
            list_to_tuple([amount({tokens, Class}, maps:get(Class, Tokens, 0))
                           || Class <- ?TOKEN_CLASSES]);
        [Key | _] ->
            invalid(["unknown class ", cost_ledger_error:describe(Key), " in tokens; known are "
                     "input, output, cache_read, cache_creation, reasoning"])
    end;
tokens(Other) ->
    invalid(["tokens must be a map, like #{input => 100, output => 20}, not ",
             cost_ledger_error:describe(Other)]).

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

-spec invalid(iodata()) -> no_return().
invalid(Text) ->
    throw({invalid, Text}).

%% Absent attributes are absent keys.
-spec from_entry(cost_ledger_nif:entry()) -> record().
from_entry(#{id := Id, names := Names} = Entry) ->
    Named = lists:foldl(fun add_name/2, maps:without([names, change, tokens], Entry), Names),
    Record = Named#{timestamp => Id div 1000},
    case Entry of
        #{tokens := Tokens} ->
            Record#{tokens => maps:from_list(lists:zip(?TOKEN_CLASSES, tuple_to_list(Tokens)))};
        _ ->
            Record
    end.

add_name({?STATE, Name}, Record) -> Record#{state => cost_ledger_budgets:to_atom(Name)};
add_name({?PROMPT_TYPE, Name}, Record) -> Record#{prompt_type => cost_ledger_budgets:to_atom(Name)};
add_name({2, Name}, Record) -> Record#{org => Name};
add_name({3, Name}, Record) -> Record#{project => Name};
add_name({4, Name}, Record) -> Record#{user => Name};
add_name({5, Name}, Record) -> Record#{agent => Name};
add_name({6, Name}, Record) -> Record#{model => Name};
add_name({7, Name}, Record) -> Record#{provider => Name};
add_name({_Unknown, _Name}, Record) -> Record.
