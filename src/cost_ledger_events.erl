%%% Everything that the ledger tells the world, each exactly once: through `telemetry` where that
%%% application is loaded, through `logger` otherwise.
%%%
%%%   event                              level     measurements              metadata
%%%   [cost_ledger, invocation]          debug     duration_ms, count        state, prompt_type
%%%       by the caller of record_invocation, after it was booked
%%%   [cost_ledger, budget_exhausted]    info      hourly_count, daily_count state
%%%       by the caller of check_budget, per denial
%%%   [cost_ledger, unavailable]         warning   count                     answer
%%%       the first gate call that found no open ledger; answer is allow or deny
%%%   [cost_ledger, available]           notice    count                     path
%%%       the ledger was opened after such an outage
%%%   [cost_ledger, write_failed]        error     count                     reason
%%%       a commit failed; count is how many callers were told so
%%%   [cost_ledger, clock_ahead]         warning   ahead_ms                  path
%%%       the wall clock jumped ahead; ledger time does not follow until accept_clock/1
%%%   [cost_ledger, opened_with_warning] warning   count                     path, warning
%%%
%%% Metadata also has `ledger`, the name.
-module(cost_ledger_events).

-include_lib("kernel/include/logger.hrl").

-export([invocation/4, budget_exhausted/4, unavailable/2, available/2, write_failed/3,
         clock_ahead/3, opened_with_warning/3]).

-spec invocation(atom(), atom(), non_neg_integer(), atom() | binary()) -> ok.
invocation(Ledger, State, DurationMs, PromptType) ->
    %% On the record path: nothing is built when nobody listens.
    case erlang:function_exported(telemetry, execute, 3)
        orelse logger:allow(debug, ?MODULE) of
        true ->
            emit(debug, invocation, #{duration_ms => DurationMs, count => 1},
                 #{ledger => Ledger, state => State, prompt_type => PromptType});
        false ->
            ok
    end.

-spec budget_exhausted(atom(), atom(), non_neg_integer(), non_neg_integer()) -> ok.
budget_exhausted(Ledger, State, Hourly, Daily) ->
    emit(info, budget_exhausted, #{hourly_count => Hourly, daily_count => Daily},
         #{ledger => Ledger, state => State}).

-spec unavailable(atom(), allow | deny) -> ok.
unavailable(Ledger, Answer) ->
    emit(warning, unavailable, #{count => 1}, #{ledger => Ledger, answer => Answer}).

-spec available(atom(), binary()) -> ok.
available(Ledger, Path) ->
    emit(notice, available, #{count => 1}, #{ledger => Ledger, path => Path}).

-spec write_failed(atom(), pos_integer(), term()) -> ok.
write_failed(Ledger, Count, Reason) ->
    emit(error, write_failed, #{count => Count}, #{ledger => Ledger, reason => Reason}).

-spec clock_ahead(atom(), integer(), binary()) -> ok.
clock_ahead(Ledger, AheadMs, Path) ->
    emit(warning, clock_ahead, #{ahead_ms => AheadMs}, #{ledger => Ledger, path => Path}).

-spec opened_with_warning(atom(), binary(), iodata()) -> ok.
opened_with_warning(Ledger, Path, Warning) ->
    emit(warning, opened_with_warning, #{count => 1},
         #{ledger => Ledger, path => Path, warning => unicode:characters_to_binary(Warning)}).

emit(Level, Name, Measurements, Metadata) ->
    case erlang:function_exported(telemetry, execute, 3) of
        true ->
            %% Through a variable: telemetry is optional, and xref knows that it is not here.
            Telemetry = telemetry,
            Telemetry:execute([cost_ledger, Name], Measurements, Metadata),
            ok;
        false ->
            ?LOG(Level, #{event => [cost_ledger, Name], measurements => Measurements,
                          metadata => Metadata},
                 #{domain => [cost_ledger], report_cb => fun report/2})
    end.

report(#{event := Event, measurements := Measurements, metadata := Metadata}, _Config) ->
    io_lib:format("~ts: ~0tp ~0tp",
                  [lists:join($., [atom_to_binary(Part) || Part <- Event]), Measurements,
                   Metadata]).
