%%% What the suites about budgets share: rules in few words, what the ledger tells of them, and
%%% the ways in which it refuses.
-module(cost_ledger_test_budget).

-export([open/2, open/3, reopen/2, close/1, child/2, ms/3]).
-export([rule/5, rule/6, told/3, used/3, held/3, live/1, snapshot/1, spend/2, denied/1, denying/2]).
-export([refused/1, badarg_text/1, mentions/2]).
-export([in_parallel/2]).

%%% Ledgers ------------------------------------------------------------------------------------

%% A ledger of these rules and no others.
open(Config, Rules) -> open(Config, Rules, #{}).

open(Config, Rules, Options) ->
    Name = cost_ledger_test:open(proplists:get_value(path, Config),
                                 maps:merge(#{rules => Rules,
                                              series => [[org], [user], [org, user]]}, Options)),
    true = is_atom(Name),
    Name.

%% As the file says, with no options.
reopen(Config, Ledger) ->
    ok = close(Ledger),
    Ledger = cost_ledger_test:open(Ledger, proplists:get_value(path, Config), #{}),
    ok.

close(Ledger) ->
    ok = cost_ledger:stop(Ledger).

%% The writer or the owner; no pid while it is being restarted.
child(Ledger, Id) ->
    Supervisor = list_to_atom("cost_ledger:" ++ atom_to_list(Ledger)),
    {Id, Child, _, _} = lists:keyfind(Id, 1, supervisor:which_children(Supervisor)),
    Child.

%% Midnight UTC.
ms(Year, Month, Day) ->
    Epoch = calendar:datetime_to_gregorian_seconds({{1970, 1, 1}, {0, 0, 0}}),
    (calendar:datetime_to_gregorian_seconds({{Year, Month, Day}, {0, 0, 0}}) - Epoch) * 1000.

%%% Rules --------------------------------------------------------------------------------------

rule(Name, Scope, Measure, Window, Limit) -> rule(Name, Scope, Measure, Window, Limit, #{}).

rule(Name, Scope, Measure, Window, Limit, More) ->
    More#{name => Name, scope => Scope, measure => Measure, window => Window, limit => Limit}.

%% What budget_status says of one rule.
told(Ledger, Scope, Name) ->
    {ok, #{rules := Rules}} = cost_ledger:budget_status(Ledger, Scope),
    [Rule] = [Rule || #{rule := Told} = Rule <- Rules, Told =:= Name],
    Rule.

used(Ledger, Scope, Name) -> maps:get(used, told(Ledger, Scope, Name)).

held(Ledger, Scope, Name) -> maps:get(held, told(Ledger, Scope, Name)).

%% How many holds are live.
live(Ledger) ->
    {ok, Holds} = cost_ledger:holds(Ledger),
    length(Holds).

%% Everything that a refused call must have left as it was.
snapshot(Ledger) ->
    {cost_ledger:policy(Ledger), cost_ledger:policy_history(Ledger), cost_ledger:stats(Ledger),
     cost_ledger:history(Ledger, #{limit => 1 bsl 40}), cost_ledger:budget_status(Ledger, all),
     cost_ledger:balance(Ledger, all), cost_ledger:holds(Ledger)}.

%% Books what an attempt asks for, whether or not there is room for it.
spend(Ledger, #{state := State} = Attempt) ->
    ok = cost_ledger:record_invocation(Ledger, State, maps:without([state, critical], Attempt)).

denied({error, {budget_exhausted, Denial}}) -> Denial.

%% The names of the rules that deny an attempt.
denying(Ledger, Attempt) ->
    case cost_ledger:check(Ledger, Attempt) of
        {ok, _} -> [];
        Denied -> lists:sort([Name || #{rule := Name} <- maps:get(rules, denied(Denied))])
    end.

%%% Refusals -----------------------------------------------------------------------------------

%% The words of a refusal: of an error, with its path, or of a badarg.
refused(Fun) ->
    Words = try Fun() of
                {error, {Name, Text}} when is_atom(Name), is_binary(Text) -> Text;
                {error, {Name, Path, Text}} when is_atom(Name), is_list(Path), is_binary(Text) ->
                    unicode:characters_to_binary(io_lib:format("~0tp ~ts", [Path, Text]));
                Other -> error({not_refused, Other})
            catch
                error:badarg:Stack -> element(2, badarg(Stack))
            end,
    true = byte_size(Words) > 10,
    Words.

%% The position and the text that a shell would print under the call.
badarg_text(Fun) ->
    try Fun() of
        Result -> error({no_badarg, Result})
    catch
        error:badarg:Stack -> badarg(Stack)
    end.

badarg([{cost_ledger, _, Arguments, _} | _] = Stack) when is_list(Arguments) ->
    [{Position, Text}] = maps:to_list(cost_ledger_error:format_error(badarg, Stack)),
    {Position, Text}.

mentions(Text, Word) when is_atom(Word) ->
    mentions(Text, atom_to_list(Word));
mentions(Text, Word) ->
    case string:find(unicode:characters_to_list(Text), Word) of
        nomatch -> error({not_mentioned, Word, Text});
        _ -> ok
    end.

%%% Processes ----------------------------------------------------------------------------------

%% The answers of Count processes that all begin at once.
in_parallel(Count, Fun) ->
    Self = self(),
    Pids = [spawn_link(fun() -> receive go -> Self ! {self(), Fun(Number)} end end)
            || Number <- lists:seq(1, Count)],
    [Pid ! go || Pid <- Pids],
    [receive {Pid, Answer} -> Answer end || Pid <- Pids].
