%%% Which records a query is about, and which page of them: what callers may say, checked.
%%%
%%%   filter   state, org, project, user, agent, model, provider, prompt_type
%%%                          a value: of that one only
%%%            status        completed | failed | aborted, or a list of them
%%%            kind          invocation, run, correction, grant, release, policy, reset, price,
%%%                          redaction, or a list of them, or all; [invocation, run] by default
%%%            since, until  Unix milliseconds, both inclusive
%%%   page     order         newest (default) | oldest
%%%            limit         1 .. 1000, 50 by default
%%%            cursor        of the page before
%%%            total         true: count all that match, also where that takes a scan
%%%            payload       true: with intent, input, output, trace, ... (false by default)
-module(cost_ledger_filter).

-export([parse/1, of_sums/1, page/1, add_status/1]).
-export_type([filter/0, page/0, parsed/0, parsed_page/0]).

-type filter() :: #{atom() => term()} | [{atom(), term()}].
-type page() :: #{order => newest | oldest, limit => 1..1000, cursor => binary(),
                  total => boolean(), payload => boolean()} | [{atom(), term()}].
%% since =< id < until, in microseconds.
-type parsed() :: #{names := [{pos_integer(), binary()}], kinds := [atom()],
                    statuses := [atom()], since := non_neg_integer(), until := non_neg_integer()}.
-type parsed_page() :: #{order := newest | oldest, limit := pos_integer(),
                         cursor := non_neg_integer(), total := boolean(), payload := boolean()}.

-define(KINDS, [invocation, run, correction, grant, release, policy, reset, price, redaction]).
-define(STATUSES, [completed, failed, aborted]).
-define(STATUS, 8).
-define(TIME_MAX, 253402300799999).
-define(NEWEST, 16#ffffffffffffffff).
-define(LIMIT_MAX, 1000).

-spec parse(term()) -> {ok, parsed()} | {invalid, iodata()}.
parse(Filter) ->
    First = #{names => [], kinds => [invocation, run], statuses => [], since => 0,
              until => ?NEWEST},
    parse(Filter, First, fun field/3).

%% Of sums: those of all kinds, told apart.
-spec of_sums(term()) -> {ok, parsed()} | {invalid, iodata()}.
of_sums(Filter) ->
    case parse(Filter) of
        {ok, #{statuses := [_, _ | _]}} ->
            {invalid, "sums of several statuses are told apart as they are: leave status out"};
        {ok, Parsed} ->
            case cost_ledger_value:pairs(Filter) of
                {ok, #{kind := _}} ->
                    {invalid, "sums tell invocations and runs apart: leave kind out"};
                _ ->
                    {ok, add_status(Parsed)}
            end;
        Invalid ->
            Invalid
    end.

%% A single status is a dimension of series, too.
-spec add_status(parsed()) -> parsed().
add_status(#{statuses := [Status], names := Names} = Parsed) ->
    Parsed#{names := lists:keystore(?STATUS, 1, Names, {?STATUS, atom_to_binary(Status)})};
add_status(Parsed) ->
    Parsed.

-spec page(term()) -> {ok, parsed_page()} | {invalid, iodata()}.
page(Page) ->
    First = #{order => newest, limit => 50, cursor => 0, total => false, payload => false},
    case parse(Page, First, fun page_field/3) of
        {ok, #{cursor := Cursor, order := Order} = Parsed} ->
            case cursor(Order, Cursor) of
                {ok, Id} -> {ok, Parsed#{cursor := Id}};
                error -> {invalid, ["cursor must be that of a page in the same order, not ",
                                    cost_ledger_error:describe(Cursor)]}
            end;
        Invalid ->
            Invalid
    end.

parse(Given, First, Field) ->
    case cost_ledger_value:pairs(Given) of
        {ok, Map} ->
            try {ok, maps:fold(Field, First, Map)}
            catch throw:{invalid, Text} -> {invalid, Text}
            end;
        {twice, Key} ->
            {invalid, ["has ", cost_ledger_error:describe(Key), " twice"]};
        not_pairs ->
            {invalid, ["must be a map, like #{project => <<\"p1\">>, limit => 20}, not ",
                       cost_ledger_error:describe(Given)]}
    end.

field(kind, all, Parsed) ->
    Parsed#{kinds := ?KINDS};
field(kind, Kind, Parsed) ->
    Parsed#{kinds := some_of(kind, Kind, ?KINDS)};
field(status, Status, Parsed) ->
    Parsed#{statuses := some_of(status, Status, ?STATUSES)};
field(since, Ms, Parsed) ->
    Parsed#{since := time(since, Ms) * 1000};
field(until, Ms, Parsed) ->
    Parsed#{until := (time(until, Ms) + 1) * 1000};
field(Key, Value, #{names := Names} = Parsed) ->
    case cost_ledger_record:scope_names(#{Key => Value}) of
        {ok, [Name]} -> Parsed#{names := lists:keysort(1, [Name | Names])};
        {invalid, Text} -> unknown_or(Key, Text)
    end.

-spec unknown_or(term(), iodata()) -> no_return().
unknown_or(Key, Text) ->
    Known = [Dimension || {Dimension, _} <- cost_ledger_rules:dimensions()],
    case lists:member(Key, Known) of
        true -> invalid(Text);
        false -> invalid(["unknown key ", cost_ledger_error:describe(Key), " in the filter; known "
                          "are state, org, project, user, agent, model, provider, prompt_type, "
                          "status, kind, since, until"])
    end.

some_of(Key, List, Known) when length(List) > 0 ->
    lists:flatmap(fun(Each) -> some_of(Key, Each, Known) end, lists:usort(List));
some_of(Key, Each, Known) ->
    case lists:member(Each, Known) of
        true -> [Each];
        false -> invalid([atom_to_binary(Key), " must be one of ",
                          lists:join(", ", [atom_to_binary(One) || One <- Known]),
                          ", or a list of them, not ", cost_ledger_error:describe(Each)])
    end.

%% Before the epoch there is nothing, and after the last year neither.
time(_Key, Ms) when is_integer(Ms) ->
    min(max(Ms, 0), ?TIME_MAX);
time(Key, Other) ->
    invalid([atom_to_binary(Key), " must be Unix milliseconds, not ",
             cost_ledger_error:describe(Other)]).

page_field(order, Order, Page) when Order =:= newest; Order =:= oldest ->
    Page#{order := Order};
page_field(order, Other, _Page) ->
    invalid(["order must be newest or oldest, not ", cost_ledger_error:describe(Other)]);
page_field(limit, Limit, Page) when is_integer(Limit), Limit >= 1, Limit =< ?LIMIT_MAX ->
    Page#{limit := Limit};
page_field(limit, Other, _Page) ->
    invalid(["limit must be an integer from 1 to 1000, not ", cost_ledger_error:describe(Other)]);
page_field(cursor, Cursor, Page) ->
    Page#{cursor := Cursor};
page_field(Key, Value, Page) when is_boolean(Value), Key =:= total orelse Key =:= payload ->
    Page#{Key := Value};
page_field(Key, Value, _Page) when Key =:= total; Key =:= payload ->
    invalid([atom_to_binary(Key), " must be true or false, not ",
             cost_ledger_error:describe(Value)]);
page_field(Key, _Value, _Page) ->
    invalid(["unknown key ", cost_ledger_error:describe(Key), " in the page; known are order, "
             "limit, cursor, total, payload"]).

cursor(_Order, Absent) when Absent =:= 0; Absent =:= undefined; Absent =:= nil ->
    {ok, 0};
cursor(newest, <<"newest-", Id/binary>>) -> cursor_id(Id);
cursor(oldest, <<"oldest-", Id/binary>>) -> cursor_id(Id);
cursor(_Order, _Other) -> error.

cursor_id(Text) when byte_size(Text) =< 20 ->
    try binary_to_integer(Text) of
        Id when Id > 0, Id =< ?NEWEST -> {ok, Id};
        _ -> error
    catch error:badarg -> error
    end;
cursor_id(_Text) ->
    error.

-spec invalid(iodata()) -> no_return().
invalid(Text) ->
    throw({invalid, Text}).
