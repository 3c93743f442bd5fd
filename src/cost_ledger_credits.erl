%%% Grants, and the balance of an account. An account is a scope with values.
-module(cost_ledger_credits).

-include("cost_ledger.hrl").

-export([grant/4, balance/2]).

-define(GRANTS_MAX, 100).

-type invalid() :: {invalid, Position :: pos_integer(), iodata()}.

-spec grant(#ledger{}, term(), term(), term()) ->
          {ok, pos_integer()} | {error, term()} | invalid() | {undeclared, term()}.
grant(Ledger, Account, Amount, Options) ->
    case {names(Account), options(Options)} of
        {{invalid, Text}, _} -> {invalid, 2, ["the account ", Text]};
        {_, {invalid, Text}} -> {invalid, 4, Text};
        {{ok, Names}, {ok, #{kind := Kind} = Parsed}} ->
            case amount(Kind, Amount) of
                ok -> grant_to(Ledger, Names, Amount, Parsed);
                {invalid, Text} -> {invalid, 3, Text}
            end
    end.

names(all) -> {ok, []};
names(Empty) when Empty =:= #{} -> {invalid, "must name a value, or be all"};
names(Account) -> cost_ledger_record:scope_names(Account).

amount(_Kind, Amount) when not is_integer(Amount); abs(Amount) > ?AMOUNT_MAX; Amount =:= 0 ->
    {invalid, ["an amount must be an integer, not 0, up to 10^15, not ",
               cost_ledger_error:describe(Amount)]};
amount(Kind, Amount) when Amount < 0, Kind =/= adjustment ->
    {invalid, ["only an adjustment may take back, a ", atom_to_binary(Kind), " of ",
               cost_ledger_error:describe(Amount), " cannot be"]};
amount(_Kind, _Amount) ->
    ok.

options(Options) ->
    case cost_ledger_value:pairs(Options) of
        {ok, Map} ->
            Unknown = maps:keys(maps:without([kind, by, reason, measure, id], Map)),
            Kind = maps:get(kind, Map, undefined),
            Measure = maps:get(measure, Map, credits),
            if Unknown =/= [] ->
                    {invalid, ["unknown option ", cost_ledger_error:describe(hd(Unknown)),
                               "; known are kind, by, reason, measure, id"]};
               Kind =/= purchase, Kind =/= topup, Kind =/= adjustment ->
                    {invalid, ["kind must be purchase, topup or adjustment, not ",
                               cost_ledger_error:describe(Kind)]};
               Measure =/= credits, Measure =/= cost ->
                    {invalid, ["measure must be credits or cost, not ",
                               cost_ledger_error:describe(Measure)]};
               true ->
                    change(Map#{kind => Kind, measure => Measure})
            end;
        _ ->
            {invalid, ["options must be a map, like #{kind => topup, by => \"billing\", "
                       "reason => \"invoice 17\"}, not ", cost_ledger_error:describe(Options)]}
    end.

change(Map) ->
    case cost_ledger_policy:change(maps:with([by, reason, id], Map)) of
        {ok, By, Reason, Id} -> {ok, Map#{by => By, reason => Reason, id => Id}};
        {invalid, Text} -> {invalid, Text}
    end.

grant_to(Ledger, Names, Amount, #{kind := Kind, measure := Measure, by := By, reason := Reason,
                                  id := Id}) ->
    {Cost, Credits} = case Measure of
                          cost -> {Amount, undefined};
                          credits -> {undefined, Amount}
                      end,
    Change = #{<<"kind">> => atom_to_binary(Kind), <<"by">> => By, <<"reason">> => Reason},
    Draft = cost_ledger_nif:encode({grant, none, Names, 0, Cost, Credits, undefined, Change, 0,
                                    Id, <<>>, undefined}),
    true = is_binary(Draft),
    case cost_ledger_queue:call(Ledger, record, Draft) of
        {ok, Entry, _Flags} -> {ok, Entry};
        {error, {undeclared_state, _}} -> {undeclared, maps:get(1, maps:from_list(Names))};
        {error, {undeclared_series, _}} -> undeclared_series(Names);
        {error, _} = Error -> Error
    end.

undeclared_series(Names) ->
    Dimensions = [Dimension || {Dimension, Number} <- cost_ledger_rules:dimensions(),
                               lists:keymember(Number, 1, Names)],
    Text = io_lib:format("an account needs a series of its dimensions; declare it in the start "
                         "options: series => [~0p]", [Dimensions]),
    {error, {undeclared_series, unicode:characters_to_binary(Text)}}.

-spec balance(#ledger{}, term()) -> {ok, map()} | {error, term()} | invalid() | closed.
balance(#ledger{handle = Handle}, Account) ->
    case names(Account) of
        {ok, Names} ->
            case {of_measure(Handle, Names, credits), of_measure(Handle, Names, cost)} of
                {#{} = Credits, #{} = Cost} -> {ok, #{credits => Credits, cost => Cost}};
                {{error, {undeclared_series, _}}, _} -> undeclared_series(Names);
                {#{}, Error} -> Error;
                {Error, _} -> Error
            end;
        {invalid, Text} ->
            {invalid, 2, ["the account ", Text]}
    end.

of_measure(Handle, Names, Measure) ->
    case cost_ledger_nif:balance(Handle, Names, Measure, ?GRANTS_MAX) of
        {ok, {Granted, Used, Held, Percent}, Grants} ->
            #{granted => Granted, used => Used, held => Held, balance => Granted - Used - Held,
              percent => Percent,
              grants => lists:reverse([grant_row(Measure, Grant) || Grant <- Grants])};
        Error ->
            Error
    end.

grant_row(Measure, {#{id := Id, change := Change} = Entry, Remaining}) ->
    #{<<"kind">> := Kind, <<"by">> := By, <<"reason">> := Reason} = Change,
    #{id => Id, timestamp => Id div 1000, kind => binary_to_existing_atom(Kind), by => By,
      reason => Reason, amount => maps:get(Measure, Entry), remaining => Remaining}.
