%%% One ledger: whoever listens to its warnings, who tells of them, its runs, its owner, then its
%%% writer. The writer is restarted alone; a new owner opens the ledger anew, and then needs a new
%%% writer. Runs outlive both: their holds are in the file, and the next writer watches them again.
-module(cost_ledger_instance_sup).
-behaviour(supervisor).

-export([start_link/1, start_named/3, init/1]).

-spec start_link(cost_ledger_options:parsed()) -> {ok, pid()} | {error, term()}.
start_link(#{name := Name} = Options) ->
    %% Registered, so that a name stands for one ledger.
    Registered = list_to_atom("cost_ledger:" ++ atom_to_list(Name)),
    case supervisor:start_link({local, Registered}, ?MODULE, Options) of
        {ok, Pid} -> {ok, Pid};
        {error, {shutdown, {failed_to_start_child, _, Reason}}} -> {error, Reason};
        {error, Reason} -> {error, Reason}
    end.

%% When this supervisor is killed, the one above it starts the next at once, perhaps before a child
%% of the old one that has a name is gone with it: that is waited for.
-spec start_named(module(), atom(), [term()]) -> {ok, pid()} | {error, term()}.
start_named(Module, Function, Arguments) ->
    case apply(Module, Function, Arguments) of
        {error, {already_started, Old}} = Error ->
            Monitor = erlang:monitor(process, Old),
            receive
                {'DOWN', Monitor, process, Old, _} -> start_named(Module, Function, Arguments)
            after 5000 ->
                    true = erlang:demonitor(Monitor, [flush]),
                    Error
            end;
        Answer ->
            Answer
    end.

init(#{name := Name, queue := Queue} = Options) ->
    {ok, {#{strategy => rest_for_one, intensity => 30, period => 10},
          [#{id => subscribers,
             start => {?MODULE, start_named,
                       [pg, start_link, [cost_ledger_effects:scope(Name)]]},
             modules => [pg]},
           #{id => teller,
             start => {?MODULE, start_named, [cost_ledger_teller, start_link, [Name]]},
             modules => [cost_ledger_teller]},
           #{id => runs, start => {cost_ledger_run_sup, start_link, [Name]}, type => supervisor,
             shutdown => infinity},
           #{id => owner, start => {cost_ledger_owner, start_link, [Options]},
             %% Closing waits for the commit in flight, and a disk may be slow.
             shutdown => 60000},
           #{id => writer, start => {cost_ledger_writer, start_link, [Name, Queue]},
             shutdown => brutal_kill}]}}.
