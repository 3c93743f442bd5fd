%%% One run: it owns the hold of the run, adds up what the run uses, and books it when it ends.
%%%
%%% What was accounted is metered before it is answered, so that whatever dies, the ledger books it:
%%% as what the run used itself, whatever its children have booked by then. What those booked the
%%% ledger knows; it is asked, not added up a second time.
%%%
%%% Children are reserved, settled and released by whoever works with them: their commits need not
%%% wait for one another. This process admits them and remembers them.
-module(cost_ledger_run_server).
-behaviour(gen_server).

-include("cost_ledger.hrl").

-export([start_link/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([setup/0]).

-type setup() :: #{ledger := cost_ledger:ledger(), name := atom(), run_id := binary(),
                   budget := non_neg_integer(), reserve := map(), said := map(), names := map(),
                   owner := pid(), parent_run => binary(), warn := 1..100 | none,
                   ratio := cost_ledger_allocation:ratio(), prices := map(), _ => _}.
%% Nobody came for what was started.
-define(BEGIN_MS, 60000).

-record(run,
        {setup :: setup(),
         account :: cost_ledger_run_account:account(),
         hold :: undefined | cost_ledger_holds:hold(),
         owner :: reference(),
         started_at = 0 :: integer(),
         metered_at = 0 :: integer(),
         deadline_ms = 1 :: pos_integer(),
         children = cost_ledger_run_children:new() :: cost_ledger_run_children:children(),
         below = #{cost => 0, tokens => #{}} :: cost_ledger_run_account:below(), % when last asked
         status = running :: running | warned | stopped,
         is_over = false :: boolean(),     % the ledger ended the hold
         is_settling = false :: boolean()}). % a settlement whose outcome is open was sent

-spec start_link(setup()) -> {ok, pid()}.
start_link(Setup) ->
    {ok, _} = gen_server:start_link(?MODULE, Setup, []).

%% Nothing that takes time: the supervisor starts one run after the other.
init(#{owner := Owner, ratio := Ratio} = Setup) ->
    {ok, #run{setup = Setup, account = cost_ledger_run_account:new(Ratio),
              owner = erlang:monitor(process, Owner)}, ?BEGIN_MS}.

handle_call(start, _From, #run{hold = undefined} = Run) ->
    begin_run(Run);
handle_call({finish, Outcome}, _From, #run{hold = Hold} = Run) when Hold =/= undefined ->
    finish(Outcome, Run);
handle_call(_Request, _From, #run{is_over = true} = Run) ->
    {reply, {error, unknown_run}, Run};
handle_call(context, _From, #run{hold = Hold, setup = Setup} = Run) ->
    {reply, {ok, Setup#{hold => Hold}}, Run};
handle_call({account, Entry}, _From, Run) ->
    account(Entry, Run);
handle_call({admit, Kind, Amount}, {Caller, _}, Run) ->
    admit(Kind, Amount, Caller, Run);
handle_call({begun, Ref, Hold}, _From, #run{children = Children} = Run) ->
    true = erlang:demonitor(Ref, [flush]),
    case cost_ledger_run_children:begun(Ref, Hold, Children) of
        {ok, Begun} -> {reply, ok, touch(Run#run{children = Begun})};
        error -> {reply, {error, unknown_run}, Run}
    end;
handle_call({ended, Hold, Settled}, _From, #run{account = Account, children = Children} = Run) ->
    Counted = case Settled of
                  none -> Account;
                  #{} -> cost_ledger_run_account:child(Settled, Account)
              end,
    Ended = Run#run{account = Counted,
                    children = cost_ledger_run_children:ended(Hold, Children)},
    {_Verdict, Judged} = judge(touch(Ended)),
    {reply, ok, Judged};
handle_call({is_child, Hold}, _From, #run{children = Children} = Run) ->
    {reply, {ok, cost_ledger_run_children:has(Hold, Children)}, Run};
handle_call(claims, _From, #run{children = Children} = Run) ->
    {reply, {ok, cost_ledger_run_children:claims(Children)}, Run};
handle_call(metrics, _From, Run) ->
    case judge(Run) of
        {{error, _} = Error, Judged} -> {reply, Error, Judged};
        {_Verdict, Judged} -> {reply, {ok, metrics(Judged)}, Judged}
    end;
handle_call(_Request, _From, Run) ->
    {reply, {error, unknown_run}, Run}.

%% A caller got no hold, or its work failed: then the ledger has ended the hold.
handle_cast({given_up, Ref}, #run{children = Children} = Run) when Run#run.hold =/= undefined ->
    true = erlang:demonitor(Ref, [flush]),
    Rest = cost_ledger_run_children:prune(cost_ledger_run_children:forget(Ref, Children)),
    {_Verdict, Judged} = judge(Run#run{children = Rest}),
    {noreply, Judged};
handle_cast(_Request, Run) ->
    {noreply, Run}.

handle_info({'DOWN', Owner, process, _Pid, Reason}, #run{owner = Owner} = Run) ->
    {stop, normal, abandon(Reason, Run)};
handle_info({'DOWN', Ref, process, _Pid, _Reason}, #run{children = Children} = Run) ->
    {noreply, Run#run{children = cost_ledger_run_children:forget(Ref, Children)}};
handle_info(timeout, #run{hold = undefined} = Run) ->
    {stop, normal, Run};
handle_info(_Other, Run) ->
    {noreply, Run}.

%%% Beginning ----------------------------------------------------------------------------------

begin_run(#run{setup = #{ledger := Ledger, reserve := Attributes}} = Run) ->
    %% What is wrong with it is the starter's error, not ours.
    try cost_ledger:reserve(Ledger, Attributes#{owner => self()}) of
        {ok, Hold} -> begun(Hold, cost_ledger_holds:info(Hold), Run);
        {error, _} = Error -> {stop, normal, Error, Run}
    catch
        error:badarg:Stack ->
            Texts = maps:values(cost_ledger_error:format_error(badarg, Stack)),
            {stop, normal, {invalid, hd(Texts ++ ["the options"])}, Run}
    end.

%% A reservation under a run_id that was made before is answered with that hold: it is another's.
begun(Hold, {ok, #{owner := Owner, deadline_ms := DeadlineMs}},
      #run{setup = #{name := Name, run_id := RunId}} = Run) when Owner =:= self() ->
    #ledger{subscribers = Scope} = cost_ledger_registry:find(Name),
    Begun = Run#run{hold = Hold, started_at = now_ms(Run), deadline_ms = DeadlineMs},
    %% So that nothing used is an explicit 0 whatever comes next.
    case meter(Begun) of
        {ok, Metered} ->
            ok = pg:join(Scope, {run, RunId}, self()),
            {reply, {ok, {Name, RunId}}, Metered};
        Error ->
            {stop, normal, Error, Run}
    end;
begun(_Hold, {error, Reason}, Run) when element(1, Reason) =/= resolved ->
    {stop, normal, {error, Reason}, Run};
begun(Hold, _Other, #run{setup = #{name := Name, run_id := RunId}} = Run) ->
    Id = case cost_ledger:fetch_run(Name, RunId) of
             {ok, #{id := Record}} -> Record;
             _ -> cost_ledger_holds:id(Hold)
         end,
    {stop, normal, {error, {conflict, Id}}, Run}.

%%% Accounting ---------------------------------------------------------------------------------

%% An error: it was not accounted.
account(Entry, #run{account = Account} = Run) ->
    case cost_ledger_run_account:add(stamped(Entry, Run), Account) of
        {ok, Added} ->
            case meter(Run#run{account = Added}) of
                {ok, Metered} ->
                    {Verdict, Judged} = judge(Metered),
                    {reply, Verdict, Judged};
                {error, {resolved, _}} ->
                    {reply, {error, unknown_run}, Run#run{is_over = true}};
                {error, _} = Error ->
                    {reply, Error, Run}
            end;
        {error, _} = Error ->
            {reply, Error, Run}
    end.

stamped(#{step := Step} = Entry, Run) ->
    Entry#{step := Step#{timestamp => now_ms(Run)}}.

meter(#run{hold = Hold, account = Account, started_at = StartedAt} = Run) ->
    Now = now_ms(Run),
    Usage = cost_ledger_run_account:own_usage(Account),
    case cost_ledger_holds:meter_own(Hold, Usage#{duration_ms => max(0, Now - StartedAt)}) of
        ok -> {ok, Run#run{metered_at = Now}};
        {error, _} = Error -> Error
    end.

%% A child is a sign of life, too: it moves the deadline now and then.
touch(#run{metered_at = At, deadline_ms = DeadlineMs} = Run) ->
    case now_ms(Run) - At > DeadlineMs div 4 andalso meter(Run) of
        {ok, Metered} -> Metered;
        _ -> Run
    end.

%% How the run stands, with what its children booked; what is new in it is told, once.
judge(#run{hold = Hold} = Run) ->
    case cost_ledger_holds:info(Hold) of
        {ok, #{children := Below}} -> judged(used_of(Run, Below), Run#run{below = Below});
        {error, {resolved, _}} -> {{error, unknown_run}, Run#run{is_over = true}};
        {error, _} -> {ok, Run} % not now; the next time
    end.

judged(#{used := Used, budget := Budget} = Told, #run{} = Run) when Used >= Budget, Used > 0 ->
    Stopped = Run#run{status = stopped},
    case Run#run.status of
        stopped -> ok;
        _ -> tell(run_stopped, Told, Run)
    end,
    {{stop, reason(Told)}, Stopped};
judged(#{percent := Percent, used := Used} = Told,
       #run{status = running, setup = #{warn := Warn}} = Run)
  when Warn =/= none, Percent >= Warn, Used > 0 ->
    tell(run_warning, Told#{threshold => Warn}, Run),
    {{warning, Percent}, Run#run{status = warned}};
judged(_Told, #run{status = stopped} = Run) ->
    %% A correction may have taken something off what children cost.
    {ok, Run#run{status = warned}};
judged(_Told, Run) ->
    {ok, Run}.

reason(Told) ->
    {budget_used_up, maps:with([used, budget, percent], Told)}.

used_of(#run{account = Account, setup = #{run_id := RunId, budget := Budget}}, Below) ->
    Used = cost_ledger_run_account:used(Account, Below),
    Percent = case Budget of
                  0 -> 100;
                  _ -> Used * 100 div Budget
              end,
    #{run_id => RunId, used => Used, budget => Budget, percent => Percent}.

tell(Event, Told, #run{setup = #{name := Name}}) ->
    cost_ledger_effects:tell_run(cost_ledger_registry:find(Name), Event, Told).

%%% Children -----------------------------------------------------------------------------------

admit(Kind, Amount, Caller, Run) ->
    case judge(Run) of
        {{error, _} = Error, Judged} -> {reply, Error, Judged};
        {_, #run{status = stopped} = Judged} ->
            {reply, {error, {run_stopped, reason(used_of(Judged, Judged#run.below))}}, Judged};
        {_, Judged} -> admit_amount(Kind, Amount, Caller, Judged)
    end.

admit_amount(Kind, Amount, Caller, #run{children = Children} = Run) ->
    case room(Amount, Run) of
        {ok, Roomy} ->
            Ref = erlang:monitor(process, Caller),
            Pending = cost_ledger_run_children:pend(Ref, Kind, Amount, Roomy#run.children),
            {reply, {ok, Ref}, Roomy#run{children = Pending}};
        full ->
            #{used := Used, budget := Budget} = used_of(Run, Run#run.below),
            Exhausted = #{amount => Amount, budget => Budget, used => Used,
                          held => cost_ledger_run_children:held(Children)},
            {reply, {error, {run_exhausted, Exhausted}}, Run}
    end.

%% What asks for nothing always has room. Some children may have ended without our knowing.
room(0, Run) ->
    {ok, Run};
room(Amount, #run{children = Children} = Run) ->
    case fits(Amount, Run) of
        true ->
            {ok, Run};
        false ->
            Pruned = Run#run{children = cost_ledger_run_children:prune(Children)},
            case fits(Amount, Pruned) of
                true -> {ok, Pruned};
                false -> full
            end
    end.

fits(Amount, #run{children = Children, below = Below} = Run) ->
    #{used := Used, budget := Budget} = used_of(Run, Below),
    Amount =< Budget - Used - cost_ledger_run_children:held(Children).

%%% What is told -------------------------------------------------------------------------------

metrics(#run{account = Account, status = Status, started_at = StartedAt, below = Below} = Run) ->
    #{used := Used, budget := Budget} = Told = used_of(Run, Below),
    maps:merge(Told#{remaining => Budget - Used, status => Status, started_at => StartedAt,
                     duration_ms => max(0, now_ms(Run) - StartedAt),
                     breakdown => cost_ledger_run_account:parts(Account, Below),
                     tokens => cost_ledger_run_account:tokens(Account, Below),
                     allocation => cost_ledger_run_account:ratio(Account),
                     base_cost => cost_ledger_run_account:base(Account, Below)},
               cost_ledger_run_account:counts(Account)).

now_ms(#run{setup = #{name := Name}}) ->
    #ledger{handle = Handle} = cost_ledger_registry:find(Name),
    cost_ledger_nif:now(Handle) div 1000.

%%% Ending -------------------------------------------------------------------------------------

finish(Outcome, Run) ->
    case end_run(Outcome, Run) of
        {ok, Ended} -> {stop, normal, {ok, Ended}, Run};
        {error, {resolved, _}} -> {stop, normal, {error, unknown_run}, Run};
        {error, Reason} = Error when Reason =:= timeout; element(1, Reason) =:= outcome_unknown ->
            {reply, Error, Run#run{is_settling = true}};
        {error, _} = Error -> {reply, Error, Run}
    end.

%% Everything that is known is booked; where that fails, the ledger books what was metered.
abandon(Reason, #run{hold = Hold, is_over = false} = Run) when Hold =/= undefined ->
    Text = ["the owner of the run ended: ", cost_ledger_error:describe(Reason)],
    _ = end_run(#{status => aborted, error_message => unicode:characters_to_binary(Text)}, Run),
    Run;
abandon(_Reason, Run) ->
    Run.

end_run(Outcome, #run{children = Children} = Run) ->
    case Outcome of
        #{status := aborted} -> cost_ledger_run_children:drop(Children);
        _ -> ok
    end,
    {_Verdict, Judged} = judge(Run),
    case settle(usage(Outcome, Judged), whole, Judged) of
        {ok, Settled} -> {ok, Settled#{cost => used(Judged)}};
        {error, {resolved, _}} = Error -> settled_before(Error, Judged);
        {error, _} = Error -> Error
    end.

used(#run{account = Account, below = Below}) ->
    cost_ledger_run_account:used(Account, Below).

%% The first one was answered with a timeout, and was booked all the same.
settled_before(Error, #run{is_settling = true,
                           setup = #{name := Name, run_id := RunId}} = Run) ->
    case cost_ledger:fetch_run(Name, RunId) of
        {ok, #{id := Id} = Record} when not is_map_key(unattended, Record) ->
            {ok, #{id => Id, overrun => maps:get(overrun, Record, false), late => false,
                   cost => used(Run)}};
        _ ->
            Error
    end;
settled_before(Error, _Run) ->
    Error.

usage(Outcome, #run{setup = #{said := Said}, account = Account} = Run) ->
    Attributes = maps:merge(maps:get(attributes, Said, #{}), maps:get(attributes, Outcome, #{})),
    #{duration_ms := DurationMs} = Metrics = metrics(Run),
    Inclusive = (maps:with([budget, breakdown, tokens, base_cost, calls, tool_calls,
                            external_requests], Metrics))
        #{cost => maps:get(used, Metrics),
          allocation => cost_ledger_allocation:text(maps:get(allocation, Metrics))},
    All = maps:merge(maps:merge(Said, Outcome),
                     (cost_ledger_run_account:own_usage(Account))
                     #{duration_ms => DurationMs, inclusive => Inclusive}),
    case map_size(Attributes) of
        0 -> All;
        _ -> All#{attributes => Attributes}
    end.

%% A trace that does not fit is left out: what it all cost must not depend on it.
settle(Usage, Which, #run{hold = Hold, account = Account} = Run) ->
    Trace = cost_ledger_run_account:trace(Which, Account),
    Whole = with_parent(Usage#{trace => Trace}, Run),
    case {cost_ledger_holds:settle_own(Hold, Whole), Which} of
        {{error, {entry_too_large, _}}, whole} -> settle(Usage, counted, Run);
        {{invalid, _Position, Text}, _} ->
            {error, {bad_outcome, unicode:characters_to_binary(Text)}};
        {Answer, _} -> Answer
    end.

with_parent(Usage, #run{setup = #{parent_run := ParentRun}}) -> Usage#{parent_run => ParentRun};
with_parent(Usage, _Run) -> Usage.
