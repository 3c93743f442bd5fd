%%% What a caller says of an invocation, an attempt or its usage, checked and written as a draft.
%%% Runs in the caller: the writer only gets drafts.
-module(cost_ledger_record).

-include("cost_ledger.hrl").

-export([draft/3, record/1, attempt/1, usage/1, metering/1, of_hold/2, encode/3, encode/4,
         attempt_term/1, id/1, to_map/1, scope_names/1]).

-import(cost_ledger_value, [amount/2, difference/2, breakdown/1, tokens/1, tokens/2, name/2, id/2,
                            invalid/1]).

-export_type([meta/0, given/0, attributes/0, usage/0, status/0, tokens/0, breakdown/0, record/0,
              fields/0]).

-type status() :: completed | failed | aborted.
-type tokens() :: #{input => non_neg_integer(), output => non_neg_integer(),
                    cache_read => non_neg_integer(), cache_creation => non_neg_integer(),
                    reasoning => non_neg_integer()}.
-type name() :: atom() | binary().
-type id() :: atom() | string() | binary().
%% Parts of a cost, in nano-units; they add up to it.
-type breakdown() :: #{tokens => non_neg_integer(), tool_calls => non_neg_integer(),
                       external_requests => non_neg_integer(), penalties => non_neg_integer()}.
%% Money in nano-units of the ledger's currency. Absent cost is unpriced, free is 0, `auto` is what
%% the price book says of the tokens and the model. A request with the same id is done once, and so
%% is one with the same run_id, which names the record.
-type meta() :: #{duration_ms => non_neg_integer(), prompt_type => atom() | binary(),
                  status => status(), cost => non_neg_integer() | auto,
                  credits => non_neg_integer(), breakdown => breakdown(),
                  tokens => tokens(), org => name(), project => name(), user => name(),
                  agent => name(), model => name(), provider => name(), id => id(),
                  run_id => id(), parent_run => id(), occurred_at => non_neg_integer(),
                  intent => id(), input => term(), output => term(), error_message => id(),
                  trace => cost_ledger_payload:trace(), attributes => map()}.
%% The keys of meta() besides, for an invocation or a run; of a correction kind, corrects, by,
%% reason, cost, credits, tokens (differences, which may be negative), id, and what is open-ended.
-type given() :: #{kind => invocation | run | correction, state => atom(),
                   corrects => pos_integer(), by => id(), reason => id(), _ => _}
               | [{atom(), term()}].
%% What an attempt asks for. Required to reserve an invocation: state.
-type attributes() :: #{state => atom(), org => name(), project => name(), user => name(),
                        agent => name(), model => name(), provider => name(),
                        prompt_type => name(), kind => invocation | run, run_id => id(),
                        cost => non_neg_integer() | auto, credits => non_neg_integer(),
                        tokens => non_neg_integer() | tokens(), critical => boolean(),
                        id => id(), owner => pid(), deadline_ms => pos_integer(),
                        parent => cost_ledger_holds:hold(), policy_version => pos_integer()}.
%% What was used, and what there is to say of it. In metering, up to breakdown alone.
-type usage() :: #{cost => non_neg_integer() | auto, credits => non_neg_integer(),
                   tokens => tokens(), status => status(), duration_ms => non_neg_integer(),
                   model => name(), provider => name(), agent => name(), prompt_type => name(),
                   id => id(), breakdown => breakdown(), parent_run => id(),
                   occurred_at => non_neg_integer(), intent => id(), input => term(),
                   output => term(), error_message => id(),
                   trace => cost_ledger_payload:trace(), attributes => map(),
                   inclusive => map()}. % what it came to with its children, in words of the caller
%% state, status and prompt_type are atoms where the VM has them. `overrun`: a budget was beyond
%% its limit afterwards; `unattended`: the ledger booked it, because nobody settled; `late`: what
%% its caller said after that, `completes`: and that it was completed. change: of a correction, a
%% redaction or a grant who and why, #{<<"by">> := binary(), <<"reason">> := binary()}.
-type record() :: #{id := pos_integer(), kind := atom(), state => atom() | binary(),
                    timestamp := integer(), duration_ms := non_neg_integer(),
                    status := status() | none, prompt_type => atom() | binary(),
                    cost => integer(), credits => integer(), tokens => tokens(),
                    breakdown => breakdown(), unit_prices => #{atom() => non_neg_integer()},
                    cache_savings => integer(), run_id => binary(), parent_run => binary(),
                    occurred_at => non_neg_integer(), change => map(),
                    intent => binary(), input => term(), output => term(),
                    error_message => binary(), trace => map(), attributes => map(),
                    inclusive => map(), redacted_by => pos_integer(), redacts => pos_integer(),
                    org => binary(), project => binary(), user => binary(), agent => binary(),
                    model => binary(), provider => binary(), client_id => binary(),
                    overrun => true, late => true, unattended => true, completes => true,
                    hold => pos_integer(),
                    parent => pos_integer(), policy_version => pos_integer(),
                    corrects => pos_integer()}.


-define(STATE, 1).
-define(MODEL, 6).
-define(PROMPT_TYPE, 9).
-define(DIMENSIONS, #{state => ?STATE, org => 2, project => 3, user => 4, agent => 5, model => 6,
                      provider => 7, prompt_type => ?PROMPT_TYPE}).

-record(fields,
        {status = completed :: status(),
         names = [] :: [{pos_integer(), binary()}],
         duration_ms = 0 :: non_neg_integer(),
         cost = undefined :: undefined | integer() | price, % price: that of the book
         credits = undefined :: undefined | integer(),
         tokens = undefined :: undefined | tuple(),
         id = undefined :: undefined | binary(),
         run_id = undefined :: undefined | binary(),
         parent_run = undefined :: undefined | binary(),
         corrects = 0 :: non_neg_integer(),
         occurred_at = undefined :: undefined | non_neg_integer(),
         breakdown = undefined :: undefined | tuple(),
         payload = #{} :: #{atom() => term()},
         change = undefined :: undefined | #{binary() => binary()},
         %% Of attempts only.
         kind = invocation :: invocation | run | correction,
         critical = false :: boolean(),
         policy_version = 0 :: non_neg_integer(),
         rest = #{} :: #{owner => pid(), deadline_ms => pos_integer(), parent => term()}}).

-opaque fields() :: #fields{}.
-type too_large() :: {error, {entry_too_large, binary()}}.

%%% What callers say ---------------------------------------------------------------------------

%% `invalid` comes with what is wrong, naming the key.
-spec draft(atom(), term(), BytesMax :: pos_integer()) ->
          {ok, cost_ledger_nif:draft(), DurationMs :: non_neg_integer(),
           PromptType :: atom() | binary()} | {invalid, iodata()} | too_large().
draft(State, Meta, BytesMax) when is_map(Meta) ->
    PromptType = prompt_type(Meta),
    First = #fields{names = [{?STATE, atom_to_binary(State)}]},
    case fold(meta, Meta#{prompt_type => PromptType}, First) of
        {ok, #fields{duration_ms = Duration} = Fields} ->
            case encode(invocation, Fields, <<>>, BytesMax) of
                {ok, Draft} -> {ok, Draft, Duration, PromptType};
                Wrong -> Wrong
            end;
        {invalid, _} = Invalid ->
            Invalid
    end;
draft(_State, Other, _BytesMax) ->
    {invalid, ["metadata must be a map, like #{duration_ms => 1200}, not ",
               cost_ledger_error:describe(Other)]}.

prompt_type(Map) ->
    case maps:get(prompt_type, Map, undefined) of
        Absent when Absent =:= undefined; Absent =:= nil -> unknown;
        Given -> Given
    end.

%% A record of any kind that callers may book, and what its event tells of work.
-spec record(term()) ->
          {ok, fields(), #{state => term(), kind := invocation | run | correction,
                           duration_ms => non_neg_integer(), prompt_type => term()}}
              | {invalid, iodata()}.
record(Given) ->
    case to_map(Given) of
        {ok, #{kind := correction} = Map} -> correction(Map);
        {ok, Map} -> record_of_work(Map);
        error -> {invalid, ["a record must be a map, like #{state => executing, cost => 75}, not ",
                            cost_ledger_error:describe(Given)]}
    end.

record_of_work(Map) ->
    case fold(record, maps:without([state], Map), #fields{}) of
        {ok, #fields{duration_ms = Duration} = Fields} ->
            case attempt(Map, Fields) of
                {ok, Named, What} -> {ok, Named, What#{duration_ms => Duration,
                                                       prompt_type => prompt_type(Map)}};
                {invalid, _} = Invalid -> Invalid
            end;
        {invalid, _} = Invalid ->
            Invalid
    end.

correction(Map) ->
    case fold(correction, maps:without([by, reason, kind], Map), #fields{kind = correction}) of
        {ok, #fields{corrects = 0}} ->
            {invalid, "corrects is required: the id of the record to be corrected"};
        {ok, #fields{cost = undefined, credits = undefined, tokens = undefined}} ->
            {invalid, "a correction needs a cost, credits or tokens: by how much?"};
        {ok, Fields} ->
            correction(Fields, cost_ledger_policy:change(maps:with([by, reason], Map)));
        {invalid, _} = Invalid ->
            Invalid
    end.

correction(Fields, {ok, By, Reason, _Id}) ->
    {ok, Fields#fields{change = #{<<"by">> => By, <<"reason">> => Reason}}, #{kind => correction}};
correction(_Fields, {invalid, Text}) ->
    {invalid, Text}.

%% The fields, and what a hold has besides: owner, deadline_ms, parent.
-spec attempt(term()) ->
          {ok, fields(), #{state => term(), kind := invocation | run, critical := boolean(),
                           owner => pid(), deadline_ms => pos_integer(), parent => term()}}
              | {invalid, iodata()}.
attempt(Attributes) ->
    case to_map(Attributes) of
        {ok, Map} ->
            case fold(attempt, maps:without([state], Map), #fields{}) of
                {ok, Fields} -> attempt(Map, Fields);
                {invalid, _} = Invalid -> Invalid
            end;
        error ->
            {invalid, ["attributes must be a map, like #{state => executing, cost => 75}, not ",
                       cost_ledger_error:describe(Attributes)]}
    end.

attempt(Map, #fields{kind = invocation}) when not is_map_key(state, Map) ->
    {invalid, "state is required: which state is the invocation of?"};
attempt(Map, #fields{kind = Kind, critical = Critical, rest = Rest, names = Names} = Fields) ->
    What = Rest#{kind => Kind, critical => Critical},
    case Map of
        #{state := State} when is_atom(State), State =/= undefined, State =/= nil ->
            {ok, Fields#fields{names = [{?STATE, atom_to_binary(State)} | Names]},
             What#{state => State}};
        #{state := State} ->
            {invalid, ["state must be an atom, not ", cost_ledger_error:describe(State)]};
        _ ->
            {ok, Fields, What}
    end.

-spec usage(term()) -> {ok, fields()} | {invalid, iodata()}.
usage(Usage) -> usage(usage, Usage).

%% What was used so far.
-spec metering(term()) -> {ok, fields()} | {invalid, iodata()}.
metering(Usage) -> usage(metering, Usage).

%% Usage of that hold alone: what was booked below it is not in it, and is not taken off it.
-spec of_hold(pos_integer(), fields()) -> fields().
of_hold(Hold, Fields) ->
    Fields#fields{corrects = Hold}.

usage(Use, Usage) ->
    case to_map(Usage) of
        {ok, Map} -> fold(Use, Map, #fields{});
        error -> {invalid, ["usage must be a map, like #{cost => 60}, not ",
                            cost_ledger_error:describe(Usage)]}
    end.

%% Of a key given twice the first counts.
-spec to_map(term()) -> {ok, map()} | error.
to_map(Map) when is_map(Map) -> {ok, Map};
to_map(List) when length(List) >= 0 ->
    try {ok, maps:from_list(lists:reverse(List))}
    catch error:badarg -> error
    end;
to_map(_) -> error.

%% What a client calls its request.
-spec id(term()) -> {ok, binary()} | {invalid, iodata()}.
id(Id) ->
    try {ok, id(id, Id)}
    catch throw:{invalid, Text} -> {invalid, Text}
    end.

%% Names of a scope: a map of dimensions to values, all given.
-spec scope_names(term()) -> {ok, [{pos_integer(), binary()}]} | {invalid, iodata()}.
scope_names(Scope) when is_map(Scope) ->
    try
        {ok, [scope_name(Key, Value) || {Key, Value} <- lists:sort(maps:to_list(Scope))]}
    catch throw:{invalid, Text} -> {invalid, Text}
    end;
scope_names(Other) ->
    {invalid, ["must be a map of dimensions, like #{org => <<\"acme\">>}, or all, not ",
               cost_ledger_error:describe(Other)]}.

scope_name(Key, Value)
  when is_map_key(Key, ?DIMENSIONS), Value =/= undefined, Value =/= nil, Value =/= each ->
    {maps:get(Key, ?DIMENSIONS), name(Key, text_or_term(Value))};
scope_name(Key, Value) when is_map_key(Key, ?DIMENSIONS) ->
    invalid([atom_to_binary(Key), " must have a value, not ", cost_ledger_error:describe(Value)]);
scope_name(Key, _Value) ->
    invalid(["unknown dimension ", cost_ledger_error:describe(Key), "; known are state, org, "
             "project, user, agent, model, provider, prompt_type"]).

text_or_term([_ | _] = List) ->
    try unicode:characters_to_binary(List) of
        Binary when is_binary(Binary) -> Binary;
        _ -> List
    catch error:badarg -> List
    end;
text_or_term(Term) -> Term.

%% Extra is what the request says besides; it is part of what its id stands for.
-spec encode(invocation | run | correction | usage, fields(), Extra :: binary()) ->
          {ok, cost_ledger_nif:draft()} | {invalid, iodata()}.
encode(Kind, #fields{payload = Payload} = Fields, Extra) when map_size(Payload) > 0 ->
    case cost_ledger_payload:pack(Payload) of
        {ok, Packed} -> encode_term(to_term(Kind, Fields, Extra, Packed));
        {invalid, _} = Invalid -> Invalid
    end;
encode(Kind, Fields, Extra) ->
    encode_term(to_term(Kind, Fields, Extra, undefined)).

%% For a ledger whose entries have so many bytes: what is larger is not packed to its end, copied
%% and digested before it is refused.
-spec encode(invocation | run | correction | usage, fields(), Extra :: binary(),
             BytesMax :: pos_integer()) ->
          {ok, cost_ledger_nif:draft()} | {invalid, iodata()} | too_large().
encode(Kind, #fields{payload = Payload} = Fields, Extra, BytesMax) when map_size(Payload) > 0 ->
    case cost_ledger_payload:pack(Payload, BytesMax) of
        {ok, Packed} -> encode_term(to_term(Kind, Fields, Extra, Packed));
        {invalid, _} = Invalid -> Invalid;
        too_much -> too_large(BytesMax)
    end;
encode(Kind, Fields, Extra, _BytesMax) ->
    encode(Kind, Fields, Extra).

too_large(BytesMax) ->
    Text = io_lib:format("the entry has more than ~b bytes, max_entry_size is ~b",
                         [BytesMax, BytesMax]),
    {error, {entry_too_large, unicode:characters_to_binary(Text)}}.

encode_term(Term) ->
    case cost_ledger_nif:encode(Term) of
        Draft when is_binary(Draft) -> {ok, Draft};
        {error, Reason} -> {invalid, cost_ledger_error:describe(Reason)}
    end.

%% For cost_ledger_nif:check/3.
-spec attempt_term(fields()) -> tuple().
attempt_term(#fields{kind = Kind} = Fields) ->
    to_term(Kind, Fields, <<>>, undefined).

%% Usage is written as a run: that needs no state.
to_term(usage, Fields, Extra, Packed) ->
    to_term(run, Fields, Extra, Packed);
to_term(Kind, #fields{status = Status, names = Names, duration_ms = Duration, cost = Cost,
                      credits = Credits, tokens = Tokens, policy_version = Version, id = Id,
                      change = Change} = Fields, Extra, Packed) ->
    {Kind, case Kind of correction -> none; _ -> Status end, Names, Duration, Cost, Credits,
     Tokens, Change, Version, Id, Extra, rest(Fields, Packed)}.

%% What most invocations do not have.
rest(#fields{run_id = undefined, parent_run = undefined, corrects = 0, occurred_at = undefined,
             breakdown = undefined}, undefined) ->
    undefined;
rest(#fields{run_id = RunId, parent_run = ParentRun, corrects = Corrects,
             occurred_at = OccurredAt, breakdown = Breakdown}, Packed) ->
    {RunId, ParentRun, Corrects, OccurredAt, Breakdown, Packed}.

%%% Fields -------------------------------------------------------------------------------------

fold(Use, Map, First) ->
    try {ok, whole(Use, maps:fold(fun(Key, Value, Fields) -> field(Use, Key, Value, Fields) end,
                                  First, Map))}
    catch throw:{invalid, Text} -> {invalid, Text}
    end.

%% What the fields are to each other.
whole(Use, #fields{cost = price} = Fields) ->
    priced(Use, Fields);
whole(_Use, #fields{breakdown = undefined} = Fields) ->
    Fields;
whole(_Use, #fields{breakdown = Parts, cost = Cost} = Fields) ->
    case lists:sum(tuple_to_list(Parts)) of
        Sum when Sum > ?AMOUNT_MAX -> invalid("the parts of breakdown add up to more than 10^15");
        Sum when Cost =:= undefined; Cost =:= Sum -> Fields#fields{cost = Sum};
        Sum -> invalid(["breakdown must add up to the cost: its parts come to ",
                        integer_to_binary(Sum), ", cost is ", integer_to_binary(Cost)])
    end.

%% The model of a hold stands with the hold.
priced(_Use, #fields{tokens = undefined}) ->
    invalid("cost => auto needs tokens: of how many?");
priced(_Use, #fields{breakdown = Parts}) when Parts =/= undefined, element(1, Parts) =/= 0 ->
    invalid("with cost => auto the tokens' part of breakdown is worked out: leave it out");
priced(Use, Fields) when Use =:= usage; Use =:= metering ->
    Fields;
priced(_Use, #fields{names = Names} = Fields) ->
    case lists:keymember(?MODEL, 1, Names) of
        true -> Fields;
        false -> invalid("cost => auto needs a model: whose prices?")
    end.

-define(IS_NAME(Key), (Key =:= org orelse Key =:= project orelse Key =:= user
                       orelse Key =:= agent orelse Key =:= model orelse Key =:= provider
                       orelse Key =:= prompt_type)).
-define(IS_ABSENT(Value), (Value =:= undefined orelse Value =:= nil)).
%% What is said of work when it is booked.
-define(IS_OF_RECORD(Key), (Key =:= parent_run orelse Key =:= occurred_at orelse Key =:= breakdown
                            orelse Key =:= intent orelse Key =:= input orelse Key =:= output
                            orelse Key =:= error_message orelse Key =:= trace
                            orelse Key =:= attributes)).
-define(BOOKS(Use), (Use =:= meta orelse Use =:= record orelse Use =:= usage)).

field(correction, Key, Value, Fields) ->
    correction_field(Key, Value, Fields);
field(Use, duration_ms, Value, Fields) when Use =/= attempt ->
    Fields#fields{duration_ms = amount(duration_ms, Value)};
field(_Use, cost, auto, Fields) ->
    Fields#fields{cost = price};
field(_Use, cost, Value, Fields) ->
    Fields#fields{cost = amount(cost, Value)};
field(_Use, credits, Value, Fields) ->
    Fields#fields{credits = amount(credits, Value)};
field(Use, status, Status, Fields)
  when Use =/= attempt,
       Status =:= completed orelse Status =:= failed orelse Status =:= aborted ->
    Fields#fields{status = Status};
field(Use, status, Value, _Fields) when Use =/= attempt ->
    invalid(["status must be completed, failed or aborted, not ",
             cost_ledger_error:describe(Value)]);
field(attempt, tokens, Total, Fields) when not is_map(Total) ->
    Fields#fields{tokens = {amount(tokens, Total), 0, 0, 0, 0}};
field(_Use, tokens, Value, Fields) ->
    Fields#fields{tokens = tokens(Value)};
field(_Use, id, Absent, Fields) when ?IS_ABSENT(Absent) ->
    Fields;
field(_Use, id, Id, Fields) ->
    Fields#fields{id = id(id, Id)};
field(Use, Key, Absent, Fields) when ?IS_OF_RECORD(Key), ?BOOKS(Use), ?IS_ABSENT(Absent) ->
    Fields;
field(Use, Key, Value, Fields) when ?IS_OF_RECORD(Key), ?BOOKS(Use) ->
    record_field(Key, Value, Fields);
field(metering, breakdown, Absent, Fields) when ?IS_ABSENT(Absent) ->
    Fields;
field(metering, breakdown, Value, Fields) ->
    Fields#fields{breakdown = breakdown(Value)};
field(Use, run_id, Absent, Fields)
  when ?IS_ABSENT(Absent), Use =/= usage, Use =/= metering ->
    Fields;
field(Use, run_id, RunId, Fields) when Use =/= usage, Use =/= metering ->
    Fields#fields{run_id = id(run_id, RunId)};
field(usage, inclusive, Absent, Fields) when ?IS_ABSENT(Absent) ->
    Fields;
field(usage, inclusive, Map, #fields{payload = Payload} = Fields) when is_map(Map) ->
    Fields#fields{payload = Payload#{inclusive => Map}};
field(usage, inclusive, Value, _Fields) ->
    invalid(["inclusive must be a map, not ", cost_ledger_error:describe(Value)]);
%% What was reserved for one account cannot be settled for another.
field(Use, Key, Value, _Fields)
  when Use =:= usage orelse Use =:= metering, Key =:= org orelse Key =:= project orelse
       Key =:= user ->
    unknown(Use, Key, Value);
%% An attribute that is not there, as Erlang and as Elixir say it.
field(_Use, Key, Absent, Fields) when ?IS_NAME(Key), ?IS_ABSENT(Absent) ->
    Fields;
field(_Use, Key, Value, #fields{names = Names} = Fields) when ?IS_NAME(Key) ->
    Fields#fields{names = [{maps:get(Key, ?DIMENSIONS), name(Key, Value)} | Names]};
field(record, kind, Kind, Fields) when Kind =:= invocation; Kind =:= run ->
    Fields#fields{kind = Kind};
field(record, kind, Value, _Fields) ->
    invalid(["kind must be invocation, run or correction, not ",
             cost_ledger_error:describe(Value)]);
field(attempt, Key, Value, Fields) ->
    attempt_field(Key, Value, Fields);
field(Use, Key, Value, _Fields) ->
    unknown(Use, Key, Value).

record_field(parent_run, RunId, Fields) ->
    Fields#fields{parent_run = id(parent_run, RunId)};
record_field(occurred_at, Ms, Fields) when is_integer(Ms), Ms >= 0, Ms =< ?AMOUNT_MAX ->
    Fields#fields{occurred_at = Ms};
record_field(occurred_at, Value, _Fields) ->
    invalid(["occurred_at must be Unix milliseconds, not ", cost_ledger_error:describe(Value)]);
record_field(breakdown, Value, Fields) ->
    Fields#fields{breakdown = breakdown(Value)};
record_field(Key, Value, #fields{payload = Payload} = Fields) ->
    case cost_ledger_payload:field(Key, Value) of
        {ok, Kept} -> Fields#fields{payload = Payload#{Key => Kept}};
        {invalid, Text} -> invalid(Text)
    end.

correction_field(corrects, Id, Fields) when is_integer(Id), Id > 0, Id < 1 bsl 63 ->
    Fields#fields{corrects = Id};
correction_field(corrects, Value, _Fields) ->
    invalid(["corrects must be the id of a record, not ", cost_ledger_error:describe(Value)]);
correction_field(cost, Value, Fields) ->
    Fields#fields{cost = difference(cost, Value)};
correction_field(credits, Value, Fields) ->
    Fields#fields{credits = difference(credits, Value)};
correction_field(tokens, Value, Fields) ->
    Fields#fields{tokens = tokens(Value, fun cost_ledger_value:difference/2)};
correction_field(id, Id, Fields) ->
    field(meta, id, Id, Fields);
correction_field(Key, Value, Fields)
  when Key =:= intent; Key =:= input; Key =:= output; Key =:= error_message; Key =:= trace;
       Key =:= attributes; Key =:= occurred_at ->
    field(meta, Key, Value, Fields);
correction_field(Key, Value, _Fields) ->
    unknown(correction, Key, Value).

attempt_field(kind, Kind, Fields) when Kind =:= invocation; Kind =:= run ->
    Fields#fields{kind = Kind};
attempt_field(kind, Value, _Fields) ->
    invalid(["kind must be invocation or run, not ", cost_ledger_error:describe(Value)]);
attempt_field(critical, Critical, Fields) when is_boolean(Critical) ->
    Fields#fields{critical = Critical};
attempt_field(critical, Value, _Fields) ->
    invalid(["critical must be true or false, not ", cost_ledger_error:describe(Value)]);
attempt_field(policy_version, Version, Fields)
  when is_integer(Version), Version > 0, Version < 1 bsl 63 ->
    Fields#fields{policy_version = Version};
attempt_field(policy_version, Absent, Fields) when ?IS_ABSENT(Absent) ->
    Fields;
attempt_field(policy_version, Value, _Fields) ->
    invalid(["policy_version must be a version of the policy, a positive integer, not ",
             cost_ledger_error:describe(Value)]);
attempt_field(owner, Pid, #fields{rest = Rest} = Fields) when is_pid(Pid) ->
    Fields#fields{rest = Rest#{owner => Pid}};
attempt_field(owner, Value, _Fields) ->
    invalid(["owner must be a pid, not ", cost_ledger_error:describe(Value)]);
attempt_field(deadline_ms, Ms, #fields{rest = Rest} = Fields)
  when is_integer(Ms), Ms > 0, Ms =< ?AMOUNT_MAX ->
    Fields#fields{rest = Rest#{deadline_ms => Ms}};
attempt_field(deadline_ms, Value, _Fields) ->
    invalid(["deadline_ms must be an integer from 1 to 10^15, not ",
             cost_ledger_error:describe(Value)]);
attempt_field(parent, Absent, Fields) when ?IS_ABSENT(Absent) ->
    Fields;
attempt_field(parent, Hold, #fields{rest = Rest} = Fields) ->
    Fields#fields{rest = Rest#{parent => Hold}};
attempt_field(Key, Value, _Fields) ->
    unknown(attempt, Key, Value).

-spec unknown(meta | record | correction | attempt | usage | metering, term(), term()) ->
          no_return().
unknown(meta, Key, _Value) ->
    invalid(["unknown key ", cost_ledger_error:describe(Key), " in the metadata; known are "
             "duration_ms, prompt_type, status, cost, credits, tokens, breakdown, org, project, "
             "user, agent, model, provider, id, run_id, parent_run, occurred_at, intent, input, "
             "output, error_message, trace, attributes"]);
unknown(record, Key, _Value) ->
    invalid(["unknown key ", cost_ledger_error:describe(Key), " in the record; known are kind, "
             "state, duration_ms, prompt_type, status, cost, credits, tokens, breakdown, org, "
             "project, user, agent, model, provider, id, run_id, parent_run, occurred_at, intent, "
             "input, output, error_message, trace, attributes"]);
unknown(correction, Key, _Value) ->
    invalid(["unknown key ", cost_ledger_error:describe(Key), " in the correction; known are "
             "corrects, cost, credits, tokens, by, reason, id, occurred_at, intent, input, output, "
             "error_message, trace, attributes"]);
unknown(attempt, Key, _Value) ->
    invalid(["unknown key ", cost_ledger_error:describe(Key), " in the attributes; known are "
             "state, org, project, user, agent, model, provider, prompt_type, kind, run_id, cost, "
             "credits, tokens, critical, id, owner, deadline_ms, parent, policy_version"]);
unknown(usage, Key, _Value) ->
    invalid(["unknown key ", cost_ledger_error:describe(Key), " in the usage; known are cost, "
             "credits, tokens, breakdown, status, duration_ms, model, provider, agent, "
             "prompt_type, id, parent_run, occurred_at, intent, input, output, error_message, "
             "trace, attributes, inclusive"]);
unknown(metering, Key, _Value) ->
    invalid(["unknown key ", cost_ledger_error:describe(Key), " in the usage so far; known are "
             "cost, credits, tokens, breakdown, status, duration_ms, model, provider, agent, "
             "prompt_type, id"]).
