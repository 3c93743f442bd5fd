%%% Booking and reading records of any kind, from the caller's side.
-module(cost_ledger_records).

-include("cost_ledger.hrl").

-export([record/2, redact/3, fetch/2, fetch_run/2, list/3, fold/4, totals/2, totals_by/3]).

-type invalid() :: {invalid, Position :: pos_integer(), iodata()}.

-spec record(#ledger{}, term()) ->
          {ok, pos_integer()} | {error, term()} | invalid() | {undeclared, term()}.
record(Ledger, Given) ->
    case cost_ledger_record:record(Given) of
        {ok, Fields, #{state := State, kind := Kind} = What} ->
            case cost_ledger_states:is_declared(Ledger, State) of
                true -> tell(Ledger, What, book(Ledger, Kind, Fields));
                false -> {undeclared, State};
                closed -> {error, unavailable}
            end;
        {ok, Fields, #{kind := Kind}} -> book(Ledger, Kind, Fields);
        {invalid, Text} -> {invalid, 2, Text}
    end.

tell(#ledger{name = Name}, #{kind := invocation, state := State, duration_ms := Duration,
                             prompt_type := Type}, {ok, _} = Booked) ->
    ok = cost_ledger_events:invocation(Name, State, Duration, Type),
    Booked;
tell(_Ledger, _What, Answer) ->
    Answer.

book(#ledger{max_entry_size = BytesMax} = Ledger, Kind, Fields) ->
    case cost_ledger_record:encode(Kind, Fields, <<>>, BytesMax) of
        {ok, Draft} -> booked(cost_ledger_queue:call(Ledger, record, Draft));
        {invalid, Text} -> {invalid, 2, Text};
        {error, _} = Error -> Error
    end.

%% Only what reserves is denied.
booked({ok, Id, _Flags}) -> {ok, Id};
booked({error, _} = Error) -> Error.

-spec redact(#ledger{}, term(), term()) -> {ok, pos_integer()} | {error, term()} | invalid().
redact(Ledger, Id, Change) when is_integer(Id), Id > 0, Id < 1 bsl 63 ->
    case cost_ledger_policy:change(Change) of
        {ok, By, Reason, ClientId} ->
            Draft = cost_ledger_nif:encode({redaction, none, [], 0, undefined, undefined,
                                            undefined, #{<<"by">> => By, <<"reason">> => Reason},
                                            0, ClientId, <<>>,
                                            {undefined, undefined, Id, undefined, undefined,
                                             undefined}}),
            true = is_binary(Draft),
            booked(cost_ledger_queue:call(Ledger, record, Draft));
        {invalid, Text} ->
            {invalid, 3, Text}
    end;
redact(_Ledger, Other, _Change) ->
    {invalid, 2, ["must be the id of a record, not ", cost_ledger_error:describe(Other)]}.

-spec fetch(#ledger{}, term()) ->
          {ok, cost_ledger_record:record()} | {error, term()} | invalid() | closed.
fetch(#ledger{handle = Handle}, Id) when is_integer(Id), Id >= 0, Id < 1 bsl 64 ->
    cost_ledger_query:fetch(Handle, Id);
fetch(_Ledger, Other) ->
    {invalid, 2, ["must be the id of a record, not ", cost_ledger_error:describe(Other)]}.

-spec fetch_run(#ledger{}, term()) ->
          {ok, cost_ledger_record:record()} | {error, term()} | invalid() | closed.
fetch_run(#ledger{handle = Handle}, RunId) ->
    case cost_ledger_record:id(RunId) of
        {ok, Text} -> cost_ledger_query:fetch_run(Handle, Text);
        {invalid, _} -> {invalid, 2, ["must be a run_id, a text of 1 to 1000 bytes, not ",
                                      cost_ledger_error:describe(RunId)]}
    end.

-spec list(#ledger{}, term(), term()) ->
          {ok, cost_ledger_query:listed()} | {error, term()} | invalid() | closed.
list(#ledger{handle = Handle}, Filter, Page) ->
    case {cost_ledger_filter:parse(Filter), cost_ledger_filter:page(Page)} of
        {{ok, Parsed}, {ok, ParsedPage}} -> cost_ledger_query:list(Handle, Parsed, ParsedPage);
        {{invalid, Text}, _} -> {invalid, 2, ["the filter: ", Text]};
        {_, {invalid, Text}} -> {invalid, 3, ["the page: ", Text]}
    end.

%% The filter may have an order, too: oldest first by default.
-spec fold(#ledger{}, term(), term(), Acc) ->
          {ok, Acc} | {error, term()} | invalid() | closed.
fold(#ledger{handle = Handle}, Filter, Fun, Acc) when is_function(Fun, 2) ->
    {Order, Rest} = case cost_ledger_value:pairs(Filter) of
                        {ok, #{order := Given} = Map} -> {Given, maps:remove(order, Map)};
                        _ -> {oldest, Filter}
                    end,
    case {cost_ledger_filter:parse(Rest), cost_ledger_filter:page(#{order => Order})} of
        {{ok, Parsed}, {ok, _}} -> cost_ledger_query:fold(Handle, {Parsed, Order}, Fun, Acc);
        {{invalid, Text}, _} -> {invalid, 2, ["the filter: ", Text]};
        {_, {invalid, Text}} -> {invalid, 2, ["the filter: ", Text]}
    end;
fold(_Ledger, _Filter, Other, _Acc) ->
    {invalid, 3, ["must be a function of a record and what was accumulated, not ",
                  cost_ledger_error:describe(Other)]}.

-spec totals(#ledger{}, term()) ->
          {ok, cost_ledger_query:totals()} | {error, term()} | invalid() | closed.
totals(#ledger{handle = Handle}, Filter) ->
    case cost_ledger_filter:of_sums(Filter) of
        {ok, Parsed} -> declared(Parsed, [], cost_ledger_query:totals(Handle, Parsed));
        {invalid, Text} -> {invalid, 2, ["the filter: ", Text]}
    end.

-spec totals_by(#ledger{}, term(), term()) ->
          {ok, [{atom() | binary(), cost_ledger_query:totals()}]} | {error, term()} | invalid()
              | closed.
totals_by(#ledger{handle = Handle}, Dimension, Filter) ->
    case {lists:keyfind(Dimension, 1, cost_ledger_rules:of_series()),
          cost_ledger_filter:of_sums(Filter)} of
        {false, _} ->
            {invalid, 2, ["unknown dimension ", cost_ledger_error:describe(Dimension),
                          "; known are state, org, project, user, agent, model, provider, "
                          "prompt_type, status"]};
        {_, {invalid, Text}} ->
            {invalid, 3, ["the filter: ", Text]};
        {{_, Number} = Known, {ok, #{names := Names} = Parsed}} ->
            case lists:keymember(Number, 1, Names) of
                true -> {invalid, 3, ["the filter has ", atom_to_binary(Dimension),
                                      ", of which every value is asked for: leave it out"]};
                false -> declared(Parsed, [Number],
                                  cost_ledger_query:totals_by(Handle, Known, Parsed))
            end
    end.

%% What has to be declared, so that it is known.
declared(#{names := Names}, More, {error, {undeclared_series, _}}) ->
    Numbers = lists:usort([Number || {Number, _} <- Names] ++ More),
    Dimensions = [Dimension || {Dimension, Number} <- cost_ledger_rules:of_series(),
                               lists:member(Number, Numbers)],
    Text = io_lib:format("these sums need a series of their dimensions; declare it in the start "
                         "options: series => [~0p]", [Dimensions]),
    {error, {undeclared_series, unicode:characters_to_binary(Text)}};
declared(_Parsed, _More, Answer) ->
    Answer.
