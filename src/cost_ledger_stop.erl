%%% Stopping a ledger for good, wherever its supervisor hangs.
-module(cost_ledger_stop).

-export([stop/1]).

%% Under a supervisor the child is terminated there, because a permanent child that merely exits
%% is started again; elsewhere it is told to stop.
-spec stop(pid()) -> ok | {error, unavailable}.
stop(Supervisor) ->
    case parent(Supervisor) of
        undefined ->
            {error, unavailable};
        {supervisor, Parent} ->
            case [Id || {Id, Pid, _, _} <- supervisor:which_children(Parent), Pid =:= Supervisor] of
                %% Of a simple_one_for_one, whose children have no ids.
                [undefined] -> supervisor:terminate_child(Parent, Supervisor);
                [Id] -> supervisor:terminate_child(Parent, Id);
                [] -> exit_and_wait(Supervisor)
            end;
        other ->
            exit_and_wait(Supervisor)
    end.

parent(Supervisor) ->
    case process_info(Supervisor, dictionary) of
        undefined ->
            undefined;
        {dictionary, Dictionary} ->
            case proplists:get_value('$ancestors', Dictionary, []) of
                [Parent | _] -> kind(to_pid(Parent));
                [] -> other
            end
    end.

to_pid(Pid) when is_pid(Pid) -> Pid;
to_pid(Name) -> whereis(Name).

%% Only a supervisor may be asked for its children: the parent may be any process at all.
kind(Parent) when is_pid(Parent), node(Parent) =:= node() ->
    case process_info(Parent, dictionary) of
        {dictionary, Dictionary} ->
            case proplists:get_value('$initial_call', Dictionary) of
                {supervisor, _, 1} -> {supervisor, Parent};
                _ -> other
            end;
        undefined ->
            other
    end;
kind(_) ->
    other.

exit_and_wait(Supervisor) ->
    %% `normal`, because the caller may be linked to it: who started it in a shell is.
    try gen_server:stop(Supervisor, normal, infinity)
    catch exit:noproc -> {error, unavailable}
    end.
