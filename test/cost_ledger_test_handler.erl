%%% A logger handler that sends the events of one ledger to a process.
-module(cost_ledger_test_handler).

-export([log/2, stop_events/2]).

log(#{msg := {report, #{event := [cost_ledger, Name], measurements := Measurements,
                        metadata := #{ledger := Ledger} = Metadata}}},
    #{config := {Ledger, Pid}}) ->
    Pid ! {event, Name, Measurements, Metadata};
log(_Event, _Config) ->
    ok.

%% A filter: the ledger's events are not printed.
stop_events(#{msg := {report, #{event := [cost_ledger | _]}}}, _) -> stop;
stop_events(_Event, _) -> ignore.
