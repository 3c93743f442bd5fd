%%% A run of an agent, as a process that manages its cost: what it may spend is a hold of the
%%% ledger, what it does is added up exactly, and whatever becomes of it, it is booked once.
%%% docs/runs.md says what exactly holds.
%%%
%%% Run is {Ledger, RunId}, which start/2 returns: it may be sent, stored, and written by hand.
%%% Money is in nano-units, an integer. Every function has an {error, unknown_run} for a run that is
%%% not there: it never was, it was finished, or the ledger ended it; besides the errors of
%%% cost_ledger.
%%% A programmer's error raises badarg, with a message that names the argument.
-module(cost_ledger_run).

-include("cost_ledger.hrl").

-export([start/1, start/2, finish/2]).
-export([account_tokens/2, account_tokens/3, account_tool_call/2, account_tool_call/3,
         account_external_request/3, account_external_request/4, account_penalty/3]).
-export([call/3, reserve/2, settle/3, release/2, release_all/1]).
-export([metrics/1, is_budget_exceeded/1]).
-export_type([run/0, options/0, action/0, verdict/0, metrics/0, outcome/0]).

-type run() :: {Ledger :: atom(), RunId :: cost_ledger_record:id()}.
%% Required are run_id and budget. warn is a percent of the budget, 80 by default. deadline_ms is
%% how long the run may be without a word of it, 600,000 by default. The owner, by default whoever
%% starts the run, is watched: when it ends, the run ends as aborted. The prices are of one call,
%% of one request. Children inherit the names, state included.
-type options() :: #{run_id := cost_ledger_record:id(), budget := non_neg_integer(),
                     org => name(), project => name(), user => name(), agent => name(),
                     model => name(), provider => name(), prompt_type => name(), state => atom(),
                     intent => cost_ledger_record:id(), input => term(), attributes => map(),
                     parent => run() | cost_ledger_holds:hold(), deadline_ms => pos_integer(),
                     critical => boolean(), policy_version => pos_integer(), owner => pid(),
                     warn => 1..100 | none, allocation => cost_ledger_allocation:ratio(),
                     tool_prices => #{name() => non_neg_integer()},
                     request_prices => #{name() => non_neg_integer()}}
                 | [{atom(), term()}].
-type name() :: atom() | binary().
-type text() :: cost_ledger_record:id().
%% model and provider of tokens only, and `auto`, which is their default: the price book's.
-type action() :: #{cost => non_neg_integer() | auto, duration_ms => non_neg_integer(),
                    result => term(), error => term(), model => name(), provider => name()}
                | [{atom(), term()}].
%% A warning comes once. {stop, Reason}: the budget is used up; finish what is under way, then stop.
-type verdict() :: ok | {warning, Percent :: non_neg_integer()} | {stop, reason_to_stop()}.
-type reason_to_stop() :: {budget_used_up, #{used := non_neg_integer(),
                                             budget := non_neg_integer(),
                                             percent := non_neg_integer()}}.
-type reason() :: unknown_run | {run_stopped, reason_to_stop()}
                | {run_exhausted, #{amount := non_neg_integer(), budget := non_neg_integer(),
                                    used := non_neg_integer(), held := non_neg_integer()}}
                | {no_price | bad_allocation | bad_outcome | no_child, binary()}
                | cost_ledger:reason().
%% used: with what children booked; its breakdown adds up to it. base_cost: before the allocation.
%% calls: children that were settled through the run. Times in Unix milliseconds of ledger time.
-type metrics() :: #{run_id := binary(), budget := non_neg_integer(), used := non_neg_integer(),
                     remaining := integer(), percent := non_neg_integer(),
                     status := running | warned | stopped,
                     breakdown := cost_ledger_record:breakdown(),
                     tokens := cost_ledger_record:tokens(), calls := non_neg_integer(),
                     tool_calls := non_neg_integer(), external_requests := non_neg_integer(),
                     duration_ms := non_neg_integer(), started_at := integer(),
                     allocation := cost_ledger_allocation:ratio(),
                     base_cost := non_neg_integer()}.
-type outcome() :: #{status => cost_ledger_record:status(), output => term(),
                     error_message => text(), attributes => map()}
                 | [{atom(), term()}].

-define(BADARG(Function, Arguments, Position, Text),
        cost_ledger_error:badarg({?MODULE, Function, Arguments}, Position, Text)).

%%% Beginning and ending -----------------------------------------------------------------------

-spec start(options()) -> {ok, run()} | {error, reason()}.
start(Options) -> start(?DEFAULT_LEDGER, Options).

%% Begins a run, if its budget is to be had: {error, {budget_exhausted, Denial}}. A run_id that was
%% used before is {error, {conflict, Id}}. Ledger may be a scope: then the run and its children are.
-spec start(cost_ledger:ledger(), options()) -> {ok, run()} | {error, reason()}.
start(Ledger, Options) ->
    Arguments = [Ledger, Options],
    Parsed = valid(cost_ledger_run_options:start(Options), start, Arguments, 2),
    case is_open(Ledger) of
        true -> started(with_ratio(Ledger, Parsed), Arguments);
        false when Ledger =:= ?DEFAULT_LEDGER -> {error, unavailable};
        false -> ?BADARG(start, Arguments, 1, ["no ledger was ever opened under the name ",
                                               cost_ledger_error:describe(Ledger)])
    end.

is_open(Ledger) ->
    cost_ledger_registry:find(name_of(Ledger)) =/= undefined.

name_of(Ledger) ->
    case cost_ledger_scope:is_scope(Ledger) of
        true -> cost_ledger_scope:ledger(Ledger);
        false -> Ledger
    end.

%% The names of a scope are the run's, too.
with_ratio(Ledger, #{names := Names} = Parsed) ->
    Own = case cost_ledger_scope:is_scope(Ledger) of
              true -> cost_ledger_scope:booked(Ledger, Names);
              false -> {ok, Names}
          end,
    case Own of
        {ok, All} -> with_ratio(Ledger, Parsed#{ledger => Ledger, name => name_of(Ledger),
                                                names := All}, All);
        Error -> Error
    end.

with_ratio(_Ledger, #{allocation := {_, _} = Ratio} = Parsed, _Names) ->
    {ok, Parsed#{ratio => Ratio}};
with_ratio(_Ledger, #{name := Name, reserve := Reserve} = Parsed, Names) ->
    Policy = case Reserve of
                 #{policy_version := Version} -> cost_ledger:policy(Name, Version);
                 _ -> cost_ledger:policy(Name)
             end,
    case Policy of
        {ok, #{settings := Settings}} ->
            Texts = maps:map(fun(_Dimension, Given) -> to_binary(Given) end,
                             maps:with([agent, project], Names)),
            case cost_ledger_allocation:of_settings(Settings, Texts) of
                {ok, Ratio} -> {ok, Parsed#{ratio => Ratio}};
                Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

to_binary(Name) when is_atom(Name) -> atom_to_binary(Name);
to_binary(Name) -> Name.

started({ok, #{parent := none} = Setup}, Arguments) ->
    begin_run(Setup, Arguments);
started({ok, #{parent := {Ledger, RunId}, budget := Budget} = Setup}, Arguments)
  when is_atom(Ledger) ->
    Parent = run({Ledger, RunId}, start, Arguments, 2),
    admitted(Parent, run, Budget,
             fun(#{hold := Hold, run_id := ParentRun}) ->
                     of_parent(begin_run(with_parent(Hold, Setup#{parent_run => ParentRun}),
                                         Arguments))
             end);
started({ok, #{parent := Hold} = Setup}, Arguments) ->
    begin_run(with_parent(Hold, Setup), Arguments);
started({error, _} = Error, _Arguments) ->
    Error.

%% The parent remembers the hold of its child.
of_parent({ok, Run}) ->
    {ok, #{hold := Hold}} = ask(Run, context),
    {ok, Run, Hold};
of_parent(Error) ->
    Error.

with_parent(Hold, #{reserve := Reserve} = Setup) ->
    Setup#{reserve := Reserve#{parent => Hold}}.

begin_run(#{name := Name} = Setup, Arguments) ->
    case cost_ledger_run_sup:start_run(cost_ledger_registry:find(Name), Setup) of
        {ok, Pid} ->
            case ask_process(Pid, start) of
                {invalid, Text} -> ?BADARG(start, Arguments, 2, Text);
                Answer -> Answer
            end;
        Error ->
            Error
    end.

%% Books the run, once: its own cost, its trace, and, as `inclusive`, all that it came to with its
%% children. cost => that sum. {error, {open_children, _}}: settle or release them first; an aborted
%% run releases its claims and bills what is under way.
-spec finish(run(), outcome()) ->
          {ok, #{id := pos_integer(), cost := non_neg_integer(), overrun := boolean(),
                 late := boolean()}} | {error, reason()}.
finish(Run, Outcome) ->
    Known = run(Run, finish, [Run, Outcome], 1),
    ask(Known, {finish, valid(cost_ledger_run_options:outcome(Outcome), finish,
                              [Run, Outcome], 2)}).

%%% Accounting ---------------------------------------------------------------------------------

-spec account_tokens(run(), cost_ledger_record:tokens()) -> verdict() | {error, reason()}.
account_tokens(Run, Tokens) -> account_tokens(Run, Tokens, #{}).

%% Tokens by class. Without a cost they have that of the price book, for the model of the action or
%% of the run; {error, {no_price, _}} if there is none. An error: nothing was accounted.
-spec account_tokens(run(), cost_ledger_record:tokens(), action()) ->
          verdict() | {error, reason()}.
account_tokens(Run, Tokens, Options) ->
    Arguments = [Run, Tokens, Options],
    Known = run(Run, account_tokens, Arguments, 1),
    _ = valid(cost_ledger_run_options:usage(#{tokens => Tokens}), account_tokens, Arguments, 2),
    Said = action([model, provider], Options, account_tokens, Arguments),
    case ask(Known, context) of
        {ok, Context} ->
            case cost_of_tokens(Said, Tokens, Context) of
                {ok, Cost} ->
                    Step = step(Said, #{action => <<"tokens">>, tokens => Tokens}),
                    account(Known, #{part => tokens, base => Cost, count => 1, tokens => Tokens},
                            Step, account_tokens, Arguments);
                Error ->
                    Error
            end;
        Error ->
            Error
    end.

cost_of_tokens(#{cost := Cost}, _Tokens, _Context) when is_integer(Cost) ->
    {ok, Cost};
cost_of_tokens(Said, Tokens, #{name := Name, names := Names}) ->
    Of = maps:merge(maps:with([model, provider], Names), maps:with([model, provider], Said)),
    cost_ledger_run_pricing:tokens(Name, Of, Tokens).

-spec account_tool_call(run(), Tool :: text()) -> verdict() | {error, reason()}.
account_tool_call(Run, Tool) -> account_tool_call(Run, Tool, #{}).

%% One call of a tool. Without a cost it has that of tool_prices; {error, {no_price, _}} if there is
%% none.
-spec account_tool_call(run(), Tool :: text(), action()) -> verdict() | {error, reason()}.
account_tool_call(Run, Tool, Options) ->
    Arguments = [Run, Tool, Options],
    Known = run(Run, account_tool_call, Arguments, 1),
    Name = valid(cost_ledger_run_options:text(tool, Tool), account_tool_call, Arguments, 2),
    Said = action([], Options, account_tool_call, Arguments),
    Step = step(Said, #{action => <<"tool_call">>, tool => Name}),
    priced(Known, {tool, Name, 1, tool_calls}, Said, Step, {account_tool_call, Arguments}).

-spec account_external_request(run(), Service :: text(), Count :: pos_integer()) ->
          verdict() | {error, reason()}.
account_external_request(Run, Service, Count) ->
    account_external_request(Run, Service, Count, #{}).

%% So many requests to a service. cost is that of all of them; without one each has that of
%% request_prices.
-spec account_external_request(run(), Service :: text(), Count :: pos_integer(), action()) ->
          verdict() | {error, reason()}.
account_external_request(Run, Service, Count, Options) ->
    Arguments = [Run, Service, Count, Options],
    Known = run(Run, account_external_request, Arguments, 1),
    Name = valid(cost_ledger_run_options:text(service, Service), account_external_request,
                 Arguments, 2),
    _ = valid(cost_ledger_run_options:count(count, Count), account_external_request, Arguments, 3),
    Said = action([], Options, account_external_request, Arguments),
    Step = step(Said, #{action => <<"external_request">>, service => Name, count => Count}),
    priced(Known, {request, Name, Count, external_requests}, Said, Step,
           {account_external_request, Arguments}).

%% So many nano-units for something that the run should not have done.
-spec account_penalty(run(), Name :: text(), non_neg_integer()) -> verdict() | {error, reason()}.
account_penalty(Run, Name, Nano) ->
    Arguments = [Run, Name, Nano],
    Known = run(Run, account_penalty, Arguments, 1),
    Text = valid(cost_ledger_run_options:text(penalty, Name), account_penalty, Arguments, 2),
    Cost = valid(cost_ledger_run_options:count(penalty, Nano), account_penalty, Arguments, 3),
    account(Known, #{part => penalties, base => Cost, count => 1},
            #{action => <<"penalty">>, penalty => Text}, account_penalty, Arguments).

priced(Run, {_Kind, _Name, Count, Part}, #{cost := Cost}, Step, {Function, Arguments}) ->
    account(Run, #{part => Part, base => Cost, count => Count}, Step, Function, Arguments);
priced(Run, {Kind, Name, Count, _Part} = What, Said, Step, Call) ->
    case ask(Run, context) of
        {ok, #{prices := #{Kind := #{Name := Price}}}} ->
            priced(Run, What, Said#{cost => Price * Count}, Step, Call);
        {ok, _} ->
            Text = ["the run has no price of ", atom_to_binary(Kind), " ", Name, ": give it one "
                    "in ", atom_to_binary(Kind), "_prices, or say the cost"],
            {error, {no_price, unicode:characters_to_binary(Text)}};
        Error ->
            Error
    end.

action(More, Options, Function, Arguments) ->
    Known = [cost, duration_ms, result, error] ++ More,
    Said = valid(cost_ledger_run_options:action(Known, Options), Function, Arguments,
                 length(Arguments)),
    case {Said, More} of
        {#{cost := auto}, []} -> ?BADARG(Function, Arguments, length(Arguments),
                                         "cost => auto is for tokens: name the cost");
        _ -> Said
    end.

step(Said, Step) ->
    maps:merge(maps:without([cost], Said), Step).

account(Run, Entry, Step, Function, Arguments) ->
    Kept = valid(cost_ledger_run_options:step(Step), Function, Arguments, length(Arguments)),
    ask(Run, {account, Entry#{step => Kept}}).

%%% Children -----------------------------------------------------------------------------------

%% cost_ledger:with_budget/3 as part of the run: Fun(Hold) returns {Result, Usage} or {release,
%% Result}. Booked as an entry of its own, once Fun has returned.
-spec call(run(), cost_ledger_record:attributes(), fun((cost_ledger_holds:hold()) -> Answer)) ->
          {ok, Result} | {error, reason()}
              when Answer :: {Result, cost_ledger_record:usage()} | {release, Result},
                   Result :: term().
call(Run, Attributes, Fun) when is_function(Fun, 1) ->
    Known = run(Run, call, [Run, Attributes, Fun], 1),
    with_child(Known, call, Attributes, {call, [Run, Attributes, Fun]},
               fun(Ledger, Own, Ref, Context) ->
                       called(Known, Ledger, Own, Ref, Context, Fun)
               end);
call(Run, Attributes, Fun) ->
    ?BADARG(call, [Run, Attributes, Fun], 3, "must be a function of one argument, the hold").

called(Run, Ledger, Attributes, Ref, Context, Fun) ->
    %% The result takes along what the run has to know of the usage.
    Working = fun(Hold) ->
                      _ = ask(Run, {begun, Ref, Hold}),
                      working(Fun(Hold), Hold, Attributes, Context)
              end,
    try cost_ledger:with_budget(Ledger, Attributes, Working) of
        {ok, {Result, Hold, Settled}} ->
            _ = ask(Run, {ended, Hold, Settled}),
            {ok, Result};
        {error, {not_settled, Reason, {Result, Hold, _Settled}, Hold}} ->
            {error, {not_settled, Reason, Result, Hold}};
        {error, _} = Error ->
            tell(Run, {given_up, Ref}),
            Error
    catch
        Class:Reason:Stack ->
            tell(Run, {given_up, Ref}),
            erlang:raise(Class, Reason, Stack)
    end.

working({release, Result}, Hold, _Attributes, _Context) ->
    {release, {Result, Hold, none}};
working({Result, Usage}, Hold, Attributes, Context) ->
    case allocated(Usage, Attributes, Context) of
        {ok, Own, Settled} -> {{Result, Hold, Settled}, Own};
        %% The ledger says what is wrong with it, or that it has no price.
        _ -> {{Result, Hold, none}, Usage}
    end;
working(Other, _Hold, _Attributes, _Context) ->
    Other.

%% A hold for a call that the caller settles itself, with settle/3 or release/2. {error,
%% {run_stopped, Reason}} once the budget is used up; {error, {run_exhausted, _}} if it asks for
%% more than is left of it.
-spec reserve(run(), cost_ledger_record:attributes()) ->
          {ok, cost_ledger_holds:hold()} | {error, reason()}.
reserve(Run, Attributes) ->
    Known = run(Run, reserve, [Run, Attributes], 1),
    with_child(Known, claim, Attributes, {reserve, [Run, Attributes]},
               fun(Ledger, Own, Ref, _Context) ->
                       admitted(Known, Ref,
                                fun() ->
                                        case cost_ledger:reserve(Ledger, Own) of
                                            {ok, Hold} -> {ok, Hold, Hold};
                                            Error -> Error
                                        end
                                end)
               end).

with_child(Run, Kind, Attributes, {Function, Arguments}, Fun) ->
    Given = case cost_ledger_value:pairs(Attributes) of
                {ok, #{parent := _}} -> ?BADARG(Function, Arguments, 2,
                                                "parent is the run: leave it out");
                {ok, Map} -> Map;
                _ -> ?BADARG(Function, Arguments, 2,
                             ["attributes must be a map, like #{state => executing, cost => 75}, "
                              "not ", cost_ledger_error:describe(Attributes)])
            end,
    case ask(Run, context) of
        {ok, #{ledger := Ledger, name := Name, names := Names, ratio := Ratio,
               hold := Hold} = Context} ->
            Own = (maps:merge(Names, Given))#{parent => Hold},
            _ = valid(cost_ledger_record:attempt(Own), Function, Arguments, 2),
            case cost_ledger_run_pricing:estimate(Name, Ratio, Own) of
                {ok, Estimated, Amount} ->
                    case ask(Run, {admit, Kind, Amount}) of
                        {ok, Ref} -> Fun(Ledger, Estimated, Ref, Context);
                        Error -> Error
                    end;
                Error ->
                    Error
            end;
        Error ->
            Error
    end.

%% Of a child that is a run: what begins it answers with its hold, too.
admitted(Run, Kind, Amount, Fun) ->
    case ask(Run, context) of
        {ok, Context} ->
            case ask(Run, {admit, Kind, Amount}) of
                {ok, Ref} -> admitted(Run, Ref, fun() -> Fun(Context) end);
                Error -> Error
            end;
        Error ->
            Error
    end.

admitted(Run, Ref, Fun) ->
    try Fun() of
        {ok, Answer, Hold} -> _ = ask(Run, {begun, Ref, Hold}), {ok, Answer};
        {error, _} = Error -> tell(Run, {given_up, Ref}), Error
    catch
        Class:Reason:Stack ->
            tell(Run, {given_up, Ref}),
            erlang:raise(Class, Reason, Stack)
    end.

%% cost_ledger:settle/2 of a child, with the run's allocation.
-spec settle(run(), cost_ledger_holds:hold(), cost_ledger_record:usage()) ->
          {ok, #{id := pos_integer(), overrun := boolean(), late := boolean()}}
              | {error, reason()}.
settle(Run, Hold, Usage) ->
    Arguments = [Run, Hold, Usage],
    Known = run(Run, settle, Arguments, 1),
    Names = names_of(Hold, settle, Arguments),
    Given = valid(cost_ledger_run_options:usage(Usage), settle, Arguments, 3),
    case child(Known, Hold) of
        {ok, Context} ->
            case allocated(Given, Names, Context) of
                {ok, Own, Settled} -> settled(Known, Hold, Settled, cost_ledger:settle(Hold, Own));
                Error -> Error
            end;
        Error ->
            Error
    end.

settled(Run, Hold, Settled, {ok, #{late := false}} = Answer) ->
    _ = ask(Run, {ended, Hold, Settled}),
    Answer;
settled(Run, Hold, _Settled, {ok, _} = Answer) ->
    _ = ask(Run, {ended, Hold, none}),
    Answer;
settled(_Run, _Hold, _Settled, Error) ->
    Error.

names_of(Hold, Function, Arguments) ->
    case cost_ledger_holds:info(Hold) of
        {ok, Info} -> Info;
        {error, _} -> #{};
        {invalid, _, Text} -> ?BADARG(Function, Arguments, 2, Text)
    end.

%% What was resolved is the ledger's to refuse, or to settle late.
child(Run, Hold) ->
    case {ask(Run, context), ask(Run, {is_child, Hold}), cost_ledger_holds:info(Hold)} of
        {{ok, Context}, {ok, true}, _} -> {ok, Context};
        {{ok, Context}, {ok, false}, {error, {resolved, _}}} -> {ok, Context};
        {{ok, _}, {ok, false}, {ok, _}} ->
            {error, {no_child, <<"the hold was not reserved through this run">>}};
        {{ok, _}, {ok, false}, Error} -> Error;
        {_, {error, _} = Error, _} -> Error;
        {Error, _, _} -> Error
    end.

allocated(Usage, Names, #{name := Name, names := OfRun, ratio := Ratio}) ->
    case cost_ledger_run_options:usage(Usage) of
        {ok, Given} -> cost_ledger_run_pricing:usage(Name, maps:merge(OfRun, Names), Ratio, Given);
        Invalid -> Invalid
    end.

%% Nothing was used.
-spec release(run(), cost_ledger_holds:hold()) -> ok | {error, reason()}.
release(Run, Hold) ->
    Known = run(Run, release, [Run, Hold], 1),
    _ = names_of(Hold, release, [Run, Hold]),
    case child(Known, Hold) of
        {ok, _Context} -> released(Known, Hold, cost_ledger:release(Hold));
        Error -> Error
    end.

released(Run, Hold, ok) -> forget(Run, Hold);
released(_Run, _Hold, Error) -> Error.

forget(Run, Hold) ->
    _ = ask(Run, {ended, Hold, none}),
    ok.

%% Releases every live hold that was reserved with reserve/2, and tells how many there were. What
%% call/3 works on, and runs that this one started, go on.
-spec release_all(run()) -> {ok, non_neg_integer()} | {error, reason()}.
release_all(Run) ->
    Known = run(Run, release_all, [Run], 1),
    case ask(Known, claims) of
        {ok, Claims} -> release_each(Known, Claims, 0);
        Error -> Error
    end.

release_each(_Run, [], Count) ->
    {ok, Count};
release_each(Run, [Hold | Holds], Count) ->
    case cost_ledger:release(Hold) of
        ok -> forget(Run, Hold), release_each(Run, Holds, Count + 1);
        {error, {resolved, _}} -> forget(Run, Hold), release_each(Run, Holds, Count);
        Error -> Error
    end.

%%% How it stands ------------------------------------------------------------------------------

%% What the run has used so far, with its children.
-spec metrics(run()) -> {ok, metrics()} | {error, reason()}.
metrics(Run) ->
    ask(run(Run, metrics, [Run], 1), metrics).

%% Whether the budget is used up.
-spec is_budget_exceeded(run()) -> boolean() | {error, reason()}.
is_budget_exceeded(Run) ->
    case ask(run(Run, is_budget_exceeded, [Run], 1), metrics) of
        {ok, #{status := Status}} -> Status =:= stopped;
        Error -> Error
    end.

%%% Asking its process -------------------------------------------------------------------------

run({Ledger, RunId} = Run, Function, Arguments, Position) when is_atom(Ledger) ->
    case cost_ledger_record:id(RunId) of
        {ok, Text} -> {Ledger, Text};
        {invalid, _} -> no_run(Run, Function, Arguments, Position)
    end;
run(Other, Function, Arguments, Position) ->
    no_run(Other, Function, Arguments, Position).

-spec no_run(term(), atom(), [term()], pos_integer()) -> no_return().
no_run(Other, Function, Arguments, Position) ->
    ?BADARG(Function, Arguments, Position,
            ["must be a run, {Ledger, RunId} as start returned it, not ",
             cost_ledger_error:describe(Other)]).

ask(Run, Request) ->
    case find(Run) of
        {ok, Pid} -> ask_process(Pid, Request);
        error -> {error, unknown_run}
    end.

%% It is bounded by what the ledger takes, which has a timeout of its own.
ask_process(Pid, Request) ->
    try gen_server:call(Pid, Request, infinity)
    catch exit:_ -> {error, unknown_run}
    end.

tell(Run, Request) ->
    case find(Run) of
        {ok, Pid} -> gen_server:cast(Pid, Request);
        error -> ok
    end.

find({Name, RunId}) ->
    case cost_ledger_registry:find(Name) of
        #ledger{subscribers = Scope} ->
            try pg:get_local_members(Scope, {run, RunId}) of
                [Pid | _] -> {ok, Pid};
                [] -> error
            catch error:badarg -> error
            end;
        undefined ->
            error
    end.

valid({invalid, Text}, Function, Arguments, Position) ->
    ?BADARG(Function, Arguments, Position, Text);
valid({ok, Value}, _Function, _Arguments, _Position) ->
    Value;
valid(Parsed, _Function, _Arguments, _Position) ->
    Parsed.
