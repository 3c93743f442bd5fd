%%% Everything that the ledger tells the world, each exactly once: through `telemetry` where that
%%% application is loaded, through `logger` otherwise.
%%%
%%%   event                              level     measurements              metadata
%%%   [cost_ledger, invocation]          debug     duration_ms, count        state, prompt_type
%%%       by the caller of record_invocation or record, after it was booked
%%%   [cost_ledger, budget_exhausted]    info      hourly_count, daily_count state
%%%       by the caller of check_budget, per denial
%%%   [cost_ledger, unavailable]         warning   count                     answer
%%%       the first gate call that found no open ledger; answer is allow or deny
%%%   [cost_ledger, available]           notice    count                     path
%%%       the ledger was opened after such an outage
%%%   [cost_ledger, write_failed]        error     count                     reason
%%%       a commit failed, and the one before did not, or for another reason; count is how
%%%       many callers were refused since the last such event
%%%   [cost_ledger, clock_ahead]         warning   ahead_ms                  path
%%%       the wall clock jumped ahead; ledger time does not follow until accept_clock/1
%%%   [cost_ledger, opened_with_warning] warning   count                     path, warning
%%%
%%%   [cost_ledger, write_recovered]     notice    count                     path
%%%       a commit succeeded again; count is how many more callers were refused until then
%%%   [cost_ledger, files_replaced]      error     count                     path
%%%       data.mdb was removed or replaced under the open ledger: what is booked now is lost
%%%
%%%   [cost_ledger, budget_warning]      warning   used, limit, percent      rule, scope, threshold,
%%%                                                                          measure, window, id
%%%       booked use reached a threshold of a rule
%%%   [cost_ledger, hold_expired]        warning   count                     hold, id, unpriced
%%%       nobody settled a hold: the ledger did, by entry id; `unpriced` if without a cost
%%%   [cost_ledger, run_warning]         warning   used, budget, percent     run_id, threshold
%%%       a run used so many percent of its budget; once a run
%%%   [cost_ledger, run_stopped]         warning   used, budget, percent     run_id
%%%       a run used up its budget: what is under way goes on, nothing new begins; once a run
%%%   [cost_ledger, events_dropped]      error     count
%%%       handlers were so slow that so many events of these four kinds were not told
%%%   [cost_ledger, series_built]        notice    count                     path
%%%       series that were declared for an old ledger are complete
%%%
%%%   [cost_ledger, companion_ended]     error     count                     status
%%%       the companion ended by itself; it is started again when it is needed (no `ledger`)
%%%
%%% Metadata also has `ledger`, the name. What is of level notice or above is logged in any case:
%%% an operator must see it whether or not a telemetry handler is attached.
-module(cost_ledger_events).

-include_lib("kernel/include/logger.hrl").

-export([is_heard/1, invocation/4, budget_exhausted/3, unavailable/2, available/2,
         write_failed/3, write_recovered/3, clock_ahead/3, files_replaced/2,
         opened_with_warning/3, budget_warning/2, hold_expired/2, run_warning/2,
         run_stopped/2, series_built/2, events_dropped/2, companion_ended/1]).

%% Whether anyone may listen to events of that level: what is costly to measure, or on a hot
%% path, is left out when nobody does.
-spec is_heard(debug | info) -> boolean().
is_heard(Level) ->
    erlang:function_exported(telemetry, execute, 3) orelse logger:allow(Level, ?MODULE).

-spec invocation(atom(), atom(), non_neg_integer(), atom() | binary()) -> ok.
invocation(Ledger, State, DurationMs, PromptType) ->
    case is_heard(debug) of
        true ->
            emit(debug, invocation, #{duration_ms => DurationMs, count => 1},
                 #{ledger => Ledger, state => State, prompt_type => PromptType});
        false ->
            ok
    end.

%% No counts where they could not be read.
-spec budget_exhausted(atom(), atom(), #{hourly_count => non_neg_integer(),
                                         daily_count => non_neg_integer()}) -> ok.
budget_exhausted(Ledger, State, Counts) ->
    emit(info, budget_exhausted, Counts, #{ledger => Ledger, state => State}).

-spec unavailable(atom(), allow | deny) -> ok.
unavailable(Ledger, Answer) ->
    emit(warning, unavailable, #{count => 1}, #{ledger => Ledger, answer => Answer}).

-spec available(atom(), binary()) -> ok.
available(Ledger, Path) ->
    emit(notice, available, #{count => 1}, #{ledger => Ledger, path => Path}).

-spec write_failed(atom(), pos_integer(), term()) -> ok.
write_failed(Ledger, Count, Reason) ->
    emit(error, write_failed, #{count => Count}, #{ledger => Ledger, reason => Reason}).

-spec write_recovered(atom(), non_neg_integer(), binary()) -> ok.
write_recovered(Ledger, Count, Path) ->
    emit(notice, write_recovered, #{count => Count}, #{ledger => Ledger, path => Path}).

-spec files_replaced(atom(), binary()) -> ok.
files_replaced(Ledger, Path) ->
    emit(error, files_replaced, #{count => 1}, #{ledger => Ledger, path => Path}).

-spec clock_ahead(atom(), integer(), binary()) -> ok.
clock_ahead(Ledger, AheadMs, Path) ->
    emit(warning, clock_ahead, #{ahead_ms => AheadMs}, #{ledger => Ledger, path => Path}).

-spec opened_with_warning(atom(), binary(), iodata()) -> ok.
opened_with_warning(Ledger, Path, Warning) ->
    emit(warning, opened_with_warning, #{count => 1},
         #{ledger => Ledger, path => Path, warning => unicode:characters_to_binary(Warning)}).

-spec budget_warning(atom(), cost_ledger_effects:warning()) -> ok.
budget_warning(Ledger, Warning) ->
    {Measurements, Metadata} = {maps:with([used, limit, percent], Warning),
                                maps:without([used, limit, percent], Warning)},
    emit(warning, budget_warning, Measurements, Metadata#{ledger => Ledger}).

-spec hold_expired(atom(), #{hold := pos_integer(), id := pos_integer(), unpriced := boolean()}) ->
          ok.
hold_expired(Ledger, Expired) ->
    emit(warning, hold_expired, #{count => 1}, Expired#{ledger => Ledger}).

-spec run_warning(atom(), cost_ledger_effects:run_told()) -> ok.
run_warning(Ledger, Told) ->
    of_run(run_warning, Ledger, Told).

-spec run_stopped(atom(), cost_ledger_effects:run_told()) -> ok.
run_stopped(Ledger, Told) ->
    of_run(run_stopped, Ledger, Told).

of_run(Event, Ledger, Told) ->
    {Measurements, Metadata} = {maps:with([used, budget, percent], Told),
                                maps:without([used, budget, percent], Told)},
    emit(warning, Event, Measurements, Metadata#{ledger => Ledger}).

-spec series_built(atom(), binary()) -> ok.
series_built(Ledger, Path) ->
    emit(notice, series_built, #{count => 1}, #{ledger => Ledger, path => Path}).

-spec events_dropped(atom(), pos_integer()) -> ok.
events_dropped(Ledger, Count) ->
    emit(error, events_dropped, #{count => Count}, #{ledger => Ledger}).

-spec companion_ended(non_neg_integer() | unknown) -> ok.
companion_ended(Status) ->
    emit(error, companion_ended, #{count => 1}, #{status => Status}).

emit(Level, Name, Measurements, Metadata) ->
    Executed = execute([cost_ledger, Name], Measurements, Metadata),
    case Executed andalso (Level =:= debug orelse Level =:= info) of
        true ->
            ok;
        false ->
            %% No domain: OTP's default handler drops what has one that it does not know.
            ?LOG(Level, #{event => [cost_ledger, Name], measurements => Measurements,
                          metadata => Metadata}, #{report_cb => fun report/2})
    end.

%% False where telemetry is not there, or fails: an event must not make a call fail that has
%% done its work.
execute(Event, Measurements, Metadata) ->
    case erlang:function_exported(telemetry, execute, 3) of
        true ->
            %% Through a variable: telemetry is optional, and xref knows that it is not here.
            Telemetry = telemetry,
            try Telemetry:execute(Event, Measurements, Metadata) of
                _ -> true
            catch
                _:_ -> false
            end;
        false ->
            false
    end.

report(#{event := Event, measurements := Measurements, metadata := Metadata}, _Config) ->
    io_lib:format("~ts: ~0tp ~0tp",
                  [lists:join($., [atom_to_binary(Part) || Part <- Event]), Measurements,
                   Metadata]).
