%%% What the suites about records share: ledgers with the series that records are looked for in,
%%% what they hold, and records in few words.
-module(cost_ledger_test_records).

-export([open/1, open/2, record/2, record_many/3, fetched/2, listed/3, all/1, all/2, pages/3]).
-export([totals/2, count/1, unchanged/2, tokens/1, failing/1]).

-define(NOON, 1700000000000).

%% On a manual clock that stands at noon, with no rules.
open(Config) -> open(Config, #{}).

open(Config, Options) ->
    Series = [[user], [project], [agent], [status], [state], [project, agent], [project, status],
              [user, status]],
    Ledger = cost_ledger_test_budget:open(Config, maps:get(rules, Options, []),
                                          maps:merge(#{series => Series,
                                                       budgets => #{executing => #{},
                                                                    improving => #{}}},
                                                     Options)),
    _ = cost_ledger_test:at(Ledger, ?NOON),
    Ledger.

record(Ledger, Record) ->
    {ok, Id} = cost_ledger:record(Ledger, Record),
    Id.

%% Fun(Number) of each, many at once; in no order.
record_many(Ledger, Count, Fun) ->
    Senders = min(Count, 100),
    lists:append(cost_ledger_test_budget:in_parallel(
                   Senders, fun(Sender) -> [record(Ledger, Fun(Number))
                                            || Number <- lists:seq(Sender, Count, Senders)]
                            end)).

fetched(Ledger, Id) ->
    {ok, Record} = cost_ledger:fetch(Ledger, Id),
    Record.

listed(Ledger, Filter, Page) ->
    {ok, #{records := Records}} = cost_ledger:list(Ledger, Filter, Page),
    Records.

%% Every entry of every kind, oldest first.
all(Ledger) -> all(Ledger, #{kind => all}).

all(Ledger, Filter) ->
    {ok, Records} = cost_ledger:fold(Ledger, Filter, fun(Record, Acc) -> [Record | Acc] end, []),
    lists:reverse(Records).

%% What a reader sees who turns every page.
pages(Ledger, Filter, Page) ->
    case cost_ledger:list(Ledger, Filter, Page) of
        {ok, #{records := Records, cursor := Cursor}} ->
            Records ++ pages(Ledger, Filter, Page#{cursor => Cursor});
        {ok, #{records := Records}} ->
            Records
    end.

totals(Ledger, Filter) ->
    {ok, Totals} = cost_ledger:totals(Ledger, Filter),
    Totals.

count(Ledger) -> length(all(Ledger)).

%% Fun leaves no entry, and the ledger as able to book as before.
unchanged(Ledger, Fun) ->
    Before = all(Ledger),
    Result = Fun(),
    Before = all(Ledger),
    Result.

%% All five classes, as they are told.
tokens(Given) ->
    maps:merge(#{input => 0, output => 0, cache_read => 0, cache_creation => 0, reasoning => 0},
               Given).

%% The name of the error.
failing({error, {Name, Text}}) when is_atom(Name), is_binary(Text) -> Name;
failing({error, Name}) when is_atom(Name) -> Name.
