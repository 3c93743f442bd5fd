%%% A ledger seen through a scope: whatever the API has either answers what is the scope's, or says
%%% that it is out of scope; nobody books, reserves or reads as another user.
%%%
%%% COST_LEDGER_NUMTESTS in the environment sets how many random ledgers are tried (20).
%%%
%%% PropEr is used through its functions: Debian's package comes without proper.hrl.
-module(cost_ledger_scopes_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-import(cost_ledger_test_budget, [close/1, refused/1, mentions/2, rule/5, live/1]).
-import(cost_ledger_test_records,
        [open/1, open/2, record/2, fetched/2, listed/3, all/1, all/2, pages/3,
         totals/2, unchanged/2]).

-define(NOON, 1700000000000).
-define(BY, #{by => <<"ops">>, reason => <<"a test">>}).
-define(U1, #{user => <<"u1">>}).

suite() -> [{timetrap, {seconds, max(120, 4 * tests())}}].

tests() -> list_to_integer(os:getenv("COST_LEDGER_NUMTESTS", "20")).

all() -> [{group, scopes}, a_scope_sees_what_a_comprehension_does].

groups() ->
    [{scopes, [parallel],
      [every_function_is_classified,
       what_is_of_the_whole_ledger_is_refused,
       reading_answers_what_is_its_own,
       entries_of_others_are_not_there,
       what_others_used_of_a_budget_is_not_told,
       booking_is_under_its_own_name,
       nobody_books_as_another_user,
       a_hold_is_settled_within_its_scope,
       a_parent_of_another_user_is_refused,
       a_scope_of_a_scope_is_narrower,
       a_scope_of_a_state_keeps_to_it,
       an_attribute_that_is_not_there_is_no_other_one,
       what_is_no_scope_is_refused]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(cost_ledger),
    ok = logger:set_module_level(cost_ledger_events, none),
    Config.

end_per_suite(_Config) ->
    logger:unset_module_level(cost_ledger_events).

init_per_testcase(_Case, Config) ->
    [{path, cost_ledger_test:directory(Config)} | Config].

end_per_testcase(_Case, Config) ->
    cost_ledger_test:remove(?config(path, Config)).

%%% Every function -----------------------------------------------------------------------------

%% Of the whole ledger, or of those who run it: arguments besides the ledger.
refused_to_scopes() ->
    #{{stop, 1} => [], {stats, 1} => [], {redact, 3} => [1, ?BY],
      {set_prices, 3} => [#{m => #{input => 1, output => 1}}, ?BY],
      {import_prices, 3} => [<<"{}">>, ?BY], {prices, 1} => [], {price, 2} => [m],
      {price, 3} => [m, 0], {grant, 4} => [?U1, 5, ?BY#{kind => topup}],
      {set_budgets, 3} => [#{executing => #{max_per_hour => 1}}, ?BY],
      {set_policy, 3} => [#{rules => []}, ?BY], {policy, 1} => [], {policy, 2} => [1],
      {policy_history, 1} => [], {reset, 3} => [<<"cap">>, ?BY], {subscribe, 1} => [],
      {unsubscribe, 1} => [], {set_clock, 2} => [?NOON + 1], {advance_clock, 2} => [1],
      {accept_clock, 1} => [], {i, 1} => [], {report, 2} => ["r.html"],
      {report, 3} => ["r.html", #{}], {backup, 2} => ["copy"], {backup, 3} => ["copy", #{}],
      {archive, 2} => ["archive"], {archive, 3} => ["archive", #{before => 0}],
      {verify, 1} => [], {verify, 2} => [#{}]}.

%% Tested by name below.
own_of_scopes() ->
    [{record_invocation, 3}, {record, 2}, {fetch, 2}, {fetch_run, 2}, {list, 3}, {failed, 3},
     {fold, 4}, {totals, 2}, {totals_by, 3}, {scope, 2}, {check, 2}, {reserve, 2}, {holds, 1},
     {with_budget, 3}, {budget_status, 2}, {balance, 2}, {history, 2}, {export, 4},
     {export, 5}].

%% A state's gate is everybody's; a hold is known to whoever got it; and these take no ledger.
others() ->
    [{check_budget, 2}, {start_link, 1}, {child_spec, 1}, {settle, 2}, {release, 1}, {release, 2},
     {meter, 2}, {transfer, 2}, {transfer, 3}, {hold_info, 1}, {module_info, 0}, {module_info, 1}].

%% Of the default ledger. record_invocation/2 and history/1 take a ledger's name in their place.
of_the_default() ->
    [{stop, 0}, {check_budget, 1}, {record_invocation, 1}, {record_invocation, 2}, {stats, 0},
     {history, 0}, {history, 1}, {record, 1}, {redact, 2}, {fetch, 1}, {fetch_run, 1}, {list, 2},
     {failed, 2}, {fold, 3}, {totals, 1}, {totals_by, 2}, {scope, 1}, {set_prices, 2},
     {import_prices, 2}, {prices, 0}, {price, 1}, {check, 1}, {reserve, 1}, {holds, 0},
     {with_budget, 2}, {budget_status, 1}, {grant, 3}, {balance, 1}, {set_budgets, 2},
     {set_policy, 2}, {policy, 0}, {policy_history, 0}, {reset, 2}, {subscribe, 0},
     {unsubscribe, 0}, {set_clock, 1}, {advance_clock, 1}, {accept_clock, 0}, {i, 0},
     {export, 3}, {report, 1}, {backup, 1}, {archive, 1}, {verify, 0}].

%% Whoever adds a function has to say what it does through a scope.
every_function_is_classified(_Config) ->
    Known = maps:keys(refused_to_scopes()) ++ own_of_scopes() ++ others() ++ of_the_default(),
    ?assertEqual(lists:sort(cost_ledger:module_info(exports)), lists:sort(Known)).

what_is_of_the_whole_ledger_is_refused(Config) ->
    L = open(Config, #{rules => [rule(<<"cap">>, all, cost, lifetime, 500)]}),
    {ok, S} = cost_ledger:scope(L, ?U1),
    Id = record(L, #{state => executing, user => <<"u1">>, input => <<"x">>}),
    Before = {all(L), cost_ledger:policy(L), cost_ledger:prices(L)},
    maps:foreach(fun({Function, Arity}, More) ->
                         Answer = apply(cost_ledger, Function, [S | More]),
                         ?assertMatch({Function, Arity, {error, {out_of_scope, _}}},
                                      {Function, Arity, Answer})
                 end, refused_to_scopes()),
    ?assertMatch({error, {out_of_scope, _}}, cost_ledger:redact(S, Id, ?BY)),
    ?assertMatch({error, {out_of_scope, _}},
                 cost_ledger:record(S, ?BY#{kind => correction, corrects => Id, credits => 1})),
    ?assertEqual(Before, {all(L), cost_ledger:policy(L), cost_ledger:prices(L)}),
    ?assertEqual(ok, cost_ledger:check_budget(S, executing)),
    close(L).

%%% Reading ------------------------------------------------------------------------------------

%% Three calls of each of two users and of nobody; the ids by user.
of_users(L) ->
    [{User, [record(L, maps:merge(Name, #{state => executing, cost => Cost, status => Status,
                                          run_id => atom_to_list(User) ++ [Run]}))
             || {Cost, Status, Run} <- [{1, completed, $a}, {2, failed, $b}, {3, aborted, $c}]]}
     || {User, Name} <- [{u1, ?U1}, {u2, #{user => <<"u2">>}}, {nobody, #{}}]].

reading_answers_what_is_its_own(Config) ->
    L = open(Config, #{rules => [rule(<<"each">>, #{user => each}, cost, lifetime, 500),
                                 rule(<<"all">>, all, cost, lifetime, 5000)]}),
    {u1, Own} = lists:keyfind(u1, 1, of_users(L)),
    {ok, _} = cost_ledger:grant(L, #{user => <<"u2">>}, 50, ?BY#{kind => topup}),
    {ok, _} = cost_ledger:grant(L, ?U1, 5, ?BY#{kind => topup}),
    {ok, H1} = cost_ledger:reserve(L, #{state => executing, user => <<"u1">>, cost => 4}),
    {ok, H2} = cost_ledger:reserve(L, #{state => executing, user => <<"u2">>, cost => 4}),
    {ok, S} = cost_ledger:scope(L, ?U1),
    Ids = fun(Records) -> [Id || #{id := Id} <- Records] end,
    ?assertEqual(Own, Ids(all(S, #{}))),
    ?assertEqual(Own, Ids(all(S, ?U1))),
    ?assertEqual(lists:reverse(Own), Ids(listed(S, #{}, #{}))),
    ?assertEqual(lists:reverse(Own), Ids(cost_ledger:history(S))),
    ?assertEqual(lists:reverse(Own), Ids(cost_ledger:history(S, #{}))),
    ?assertEqual(lists:reverse(Own), Ids(cost_ledger:history(S, #{state => executing}))),
    ?assertEqual([], cost_ledger:history(S, #{state => improving})),
    {ok, #{records := Failed, total := 2}} = cost_ledger:failed(S, #{}, #{total => true}),
    ?assertEqual(lists:reverse(tl(Own)), Ids(Failed)),
    ?assertEqual([invocation, grant], lists:usort(fun(A, B) -> A >= B end,
                                                  [Kind || #{kind := Kind} <- all(S)])),
    ?assertEqual(totals(L, ?U1), totals(S, #{})),
    ?assertMatch(#{invocations := #{count := 3, cost := 6}}, totals(S, #{})),
    ?assertEqual(cost_ledger:totals_by(L, status, ?U1), cost_ledger:totals_by(S, status, #{})),
    ?assertMatch({ok, [_, _, _]}, cost_ledger:totals_by(S, status, #{})),
    ?assertMatch({ok, [#{user := <<"u1">>}]}, cost_ledger:holds(S)),
    ?assertEqual(cost_ledger:balance(L, ?U1), cost_ledger:balance(S, all)),
    ?assertMatch({ok, #{credits := #{granted := 5}}}, cost_ledger:balance(S, ?U1)),
    Other = #{user => <<"u2">>},
    [?assertMatch({error, {out_of_scope, _}}, Answer)
     || Answer <- [cost_ledger:list(S, Other, #{}), cost_ledger:failed(S, Other, #{}),
                   cost_ledger:fold(S, Other, fun(_, Acc) -> Acc end, []),
                   cost_ledger:totals(S, Other), cost_ledger:totals_by(S, status, Other),
                   cost_ledger:balance(S, Other), cost_ledger:budget_status(S, Other),
                   cost_ledger:list(S, [{user, u2}], #{}),
                   cost_ledger:list(S, [{status, failed}, {user, "u2"}], #{})]],
    %% It could only tell of others.
    mentions(refused(fun() -> cost_ledger:totals_by(S, user, #{}) end), user),
    [ok = cost_ledger:release(Hold) || Hold <- [H1, H2]],
    close(L).

entries_of_others_are_not_there(Config) ->
    L = open(Config),
    {ok, S} = cost_ledger:scope(L, ?U1),
    Users = of_users(L),
    [begin
         Expected = case User of
                        u1 -> cost_ledger:fetch(L, Id);
                        _ -> {error, not_found}
                    end,
         ?assertEqual({User, Expected}, {User, cost_ledger:fetch(S, Id)}),
         {ok, #{run_id := RunId}} = cost_ledger:fetch(L, Id),
         ?assertEqual({User, Expected}, {User, cost_ledger:fetch_run(S, RunId)})
     end || {User, Ids} <- Users, Id <- Ids],
    {ok, Price} = cost_ledger:set_prices(L, #{m => #{input => 1, output => 1}}, ?BY),
    [?assertEqual({error, not_found}, cost_ledger:fetch(S, Id)) || Id <- [Price, 0, 1 bsl 63]],
    close(L).

what_others_used_of_a_budget_is_not_told(Config) ->
    Day = {rolling, 86400000},
    L = open(Config, #{rules => [rule(<<"org">>, #{org => each}, cost, Day, 1000),
                                 rule(<<"all">>, all, cost, Day, 1000),
                                 rule(<<"user">>, #{user => each}, cost, Day, 1000),
                                 rule(<<"both">>, #{org => each, user => each}, cost, Day, 1000)],
                       series => [[user], [org], [org, user]]}),
    Call = #{state => executing, org => <<"acme">>},
    record(L, Call#{user => <<"u2">>, cost => 777}),
    record(L, Call#{user => <<"u1">>, cost => 5}),
    {ok, S} = cost_ledger:scope(L, ?U1),
    Asked = Call#{cost => 2000},
    {ok, #{rules := Status} = Whole} = cost_ledger:budget_status(S, #{org => <<"acme">>}),
    Denials = [Denial || {error, {budget_exhausted, Denial}}
                             <- [cost_ledger:check(S, Asked), cost_ledger:reserve(S, Asked),
                                 cost_ledger:with_budget(S, Asked, fun(_) -> error(called) end)]],
    ?assertEqual(3, length(Denials)),
    Known = [rule, scope, measure, window, on_exhausted, resets_at],
    [begin
         ?assertEqual(4, length(Rules)),
         [case Name of
              _ when Name =:= <<"user">>; Name =:= <<"both">> ->
                  ?assertMatch(#{used := 5, held := 0, limit := 1000, remaining := 995}, Rule);
              _ ->
                  ?assertEqual(lists:sort(Known ++ More), lists:sort(maps:keys(Rule)))
          end || #{rule := Name} = Rule <- Rules]
     end || {Rules, More} <- [{Status, []} | [{Of, [reason]} || #{rules := Of} <- Denials]]],
    ?assertMatch(#{level := normal, resets_at := none}, Whole),
    %% Whoever is not seen through a scope is told.
    {ok, #{rules := All}} = cost_ledger:budget_status(L, #{org => <<"acme">>, user => <<"u1">>}),
    ?assertEqual([5, 5, 782, 782], lists:sort([Used || #{used := Used} <- All])),
    %% A rule that is narrower than the scope is of it alone.
    {ok, Org} = cost_ledger:scope(L, #{org => <<"acme">>}),
    {ok, #{rules := OfOrg}} = cost_ledger:budget_status(Org, ?U1),
    ?assertEqual([{<<"both">>, 5}, {<<"org">>, 782}],
                 lists:sort([{Name, Used} || #{rule := Name, used := Used} <- OfOrg])),
    close(L).

%%% Booking ------------------------------------------------------------------------------------

booking_is_under_its_own_name(Config) ->
    L = open(Config),
    {ok, S} = cost_ledger:scope(L, #{user => u1, project => "p1"}),
    Own = #{user => <<"u1">>, project => <<"p1">>},
    Ids = [record(S, Record) || Record <- [#{state => executing}, #{state => executing, user => u1},
                                           #{kind => run, user => <<"u1">>},
                                           [{state, executing}, {project, <<"p1">>}]]],
    [?assertMatch(#{user := <<"u1">>, project := <<"p1">>}, fetched(L, Id)) || Id <- Ids],
    ok = cost_ledger:record_invocation(S, executing, #{cost => 3}),
    {ok, _} = cost_ledger:check(S, #{state => executing}),
    {ok, Hold} = cost_ledger:reserve(S, #{state => executing}),
    {ok, Info} = cost_ledger:hold_info(Hold),
    ?assertEqual(Own, maps:with([user, project], Info)),
    ok = cost_ledger:release(Hold),
    {ok, done} = cost_ledger:with_budget(S, #{state => executing},
                                         fun(_) -> {done, #{cost => 1}} end),
    ?assertEqual([Own], lists:usort([maps:with([user, project], Record) || Record <- all(L, #{})])),
    ?assertEqual(6, length(all(L, #{}))),
    close(L).

nobody_books_as_another_user(Config) ->
    L = open(Config),
    {ok, S} = cost_ledger:scope(L, ?U1),
    Fun = fun(_) -> error(called) end,
    Forged = [#{state => executing, user => <<"u2">>}, #{state => executing, user => u2},
              #{state => executing, user => <<>>}, #{state => executing, user => 7},
              [{state, executing}, {user, <<"u2">>}],
              %% Of a key given twice the first counts.
              [{state, executing}, {user, <<"u2">>}, {user, <<"u2">>}],
              [{state, executing}, {user, <<"u2">>}, {user, <<"u1">>}]],
    unchanged(L, fun() ->
        [?assertMatch({Name, Record, {error, {out_of_scope, _}}}, {Name, Record, Answer})
         || Record <- Forged,
            {Name, Answer} <- [{record, cost_ledger:record(S, Record)},
                               {reserve, cost_ledger:reserve(S, Record)},
                               {check, cost_ledger:check(S, Record)},
                               {with_budget, cost_ledger:with_budget(S, Record, Fun)}]],
        [?assertMatch({error, {out_of_scope, _}},
                      cost_ledger:record_invocation(S, executing, maps:without([state], Record)))
         || Record <- Forged, is_map(Record)],
        %% Corrections are for those who run the ledger, however they are written.
        [?assertMatch({error, {out_of_scope, _}}, cost_ledger:record(S, Correction))
         || Pairs <- [[{kind, correction}, {corrects, 1}, {cost, 1}, {by, a}, {reason, b}]],
            Correction <- [Pairs, [{kind, correction} | Pairs], maps:from_list(Pairs)]],
        [refused(fun() -> cost_ledger:record(S, Wrong) end)
         || Wrong <- [7, [1], [{state, executing} | x], [{state, executing}, user]]],
        refused(fun() -> cost_ledger:record_invocation(S, executing, [{user, <<"u2">>}]) end)
    end),
    ?assertEqual(0, live(L)),
    close(L).

a_hold_is_settled_within_its_scope(Config) ->
    L = open(Config),
    {ok, Scope} = cost_ledger:scope(L, #{agent => <<"a1">>}),
    {ok, Hold} = cost_ledger:reserve(Scope, #{state => executing, cost => 5}),
    [?assertMatch({error, {out_of_scope, _}}, Call(Hold, #{cost => 5, agent => Agent}))
     || Call <- [fun cost_ledger:settle/2, fun cost_ledger:meter/2],
        Agent <- [<<"a2">>, a2]],
    ok = cost_ledger:meter(Hold, #{cost => 4}),
    {ok, #{id := Id}} = cost_ledger:settle(Hold, #{cost => 5, agent => a1}),
    ?assertMatch({ok, #{agent := <<"a1">>}}, cost_ledger:fetch(Scope, Id)),
    close(L).

a_parent_of_another_user_is_refused(Config) ->
    L = open(Config),
    {ok, S} = cost_ledger:scope(L, ?U1),
    {ok, Theirs} = cost_ledger:reserve(L, #{kind => run, user => <<"u2">>, cost => 100}),
    {ok, Nobodys} = cost_ledger:reserve(L, #{kind => run, cost => 100}),
    Child = [{state, executing}, {cost, 5}],
    [?assertMatch({error, {out_of_scope, _}}, cost_ledger:reserve(S, [{parent, Parent} | More]))
     || Parent <- [Theirs, Nobodys], More <- [Child, [{parent, Parent} | Child]]],
    ?assertEqual(2, live(L)),
    {ok, Own} = cost_ledger:reserve(S, #{kind => run, cost => 100}),
    {ok, Hold} = cost_ledger:reserve(S, [{parent, Own} | Child]),
    ?assertMatch({ok, #{user := <<"u1">>}}, cost_ledger:hold_info(Hold)),
    [ok = cost_ledger:release(Each) || Each <- [Hold, Own, Nobodys, Theirs]],
    ?assertMatch({error, {no_parent, _}}, cost_ledger:reserve(S, [{parent, Own} | Child])),
    refused(fun() -> cost_ledger:reserve(S, [{parent, 7} | Child]) end),
    close(L).

a_scope_of_a_scope_is_narrower(Config) ->
    L = open(Config, #{series => [[user], [user, project]]}),
    [record(L, #{state => executing, user => User, project => Project})
     || User <- [<<"u1">>, <<"u2">>], Project <- [<<"p1">>, <<"p2">>]],
    {ok, S} = cost_ledger:scope(L, ?U1),
    {ok, Both} = cost_ledger:scope(S, #{project => <<"p1">>}),
    ?assertEqual({2, 1}, {length(all(S, #{})), length(all(Both, #{}))}),
    ?assertMatch([#{user := <<"u1">>, project := <<"p1">>}], all(Both, #{})),
    ?assertEqual({ok, Both}, cost_ledger:scope(Both, #{project => <<"p1">>, user => u1})),
    [?assertMatch({error, {out_of_scope, _}}, Answer)
     || Answer <- [cost_ledger:scope(S, #{user => <<"u2">>}),
                   cost_ledger:scope(Both, #{project => <<"p2">>}),
                   cost_ledger:list(Both, #{project => <<"p2">>}, #{}),
                   cost_ledger:record(Both, #{state => executing, project => <<"p2">>})]],
    close(L).

a_scope_of_a_state_keeps_to_it(Config) ->
    L = open(Config),
    record(L, #{state => executing}),
    record(L, #{state => improving}),
    {ok, S} = cost_ledger:scope(L, #{state => executing}),
    ?assertMatch([#{state := executing}], cost_ledger:history(S, #{})),
    ?assertMatch([#{state := executing}], cost_ledger:history(S, #{state => executing})),
    ?assertMatch([#{state := executing}], all(S, #{})),
    ok = cost_ledger:record_invocation(S, executing, #{}),
    record(S, #{cost => 1}),
    [?assertMatch({error, {out_of_scope, _}}, Answer)
     || Answer <- [cost_ledger:history(S, #{state => improving}),
                   cost_ledger:record_invocation(S, improving, #{}),
                   cost_ledger:record(S, #{state => improving}),
                   cost_ledger:reserve(S, #{state => improving})]],
    ?assertEqual(3, length(cost_ledger:history(S, #{}))),
    close(L).

an_attribute_that_is_not_there_is_no_other_one(Config) ->
    L = open(Config),
    {ok, S} = cost_ledger:scope(L, ?U1),
    [?assertMatch(#{user := <<"u1">>},
                  fetched(L, record(S, #{state => executing, user => Absent})))
     || Absent <- [undefined, nil]],
    close(L).

what_is_no_scope_is_refused(Config) ->
    L = open(Config),
    [refused(fun() -> cost_ledger:scope(L, Values) end)
     || Values <- [#{}, [], all, 7, #{colour => red}, #{user => undefined}, #{user => each},
                   #{user => <<>>}, #{user => <<255>>}, #{user => 7}, #{status => failed}]],
    {ok, Gone} = cost_ledger:scope(a_ledger_that_never_was, ?U1),
    refused(fun() -> cost_ledger:list(Gone, #{}, #{}) end),
    close(L).

%%% At random ----------------------------------------------------------------------------------

a_scope_sees_what_a_comprehension_does(Config) ->
    true = proper:quickcheck(property(Config), [{numtests, tests()}, quiet, long_result]).

property(Config) ->
    Name = fun(Names) -> proper_types:oneof([none | Names]) end,
    Record = {Name([<<"u1">>, <<"u2">>, <<"u3">>]), Name([<<"p1">>, <<"p2">>]),
              proper_types:oneof([completed, failed, aborted]),
              proper_types:oneof([invocation, run]), proper_types:integer(0, 100)},
    proper:forall({proper_types:resize(40, proper_types:list(Record)),
                   Name([<<"p1">>, <<"p2">>]), proper_types:integer(1, 7)},
                  fun(Case) -> try run(Config, Case) catch Class:Reason:Stack ->
                                       ct:pal("~tp~n~tp", [Case, {Class, Reason, Stack}]), false
                               end
                  end).

run(Config, {Records, Project, Limit}) ->
    Path = cost_ledger_test:directory(Config),
    L = open([{path, Path}]),
    _ = [record(L, to_record(Record)) || Record <- Records],
    All = all(L, #{}),
    [begin
         {ok, S} = cost_ledger:scope(L, #{user => User}),
         Filter = maps:from_list([{project, Project} || Project =/= none]),
         Own = [Record || #{user := Of} = Record <- All, Of =:= User,
                          Project =:= none orelse maps:get(project, Record, none) =:= Project],
         ?assertEqual(Own, all(S, Filter)),
         ?assertEqual(lists:reverse(Own), pages(S, Filter, #{limit => Limit})),
         ?assertMatch({ok, #{total := Total}} when Total =:= length(Own),
                      cost_ledger:list(S, Filter, #{total => true, limit => 1})),
         [?assertEqual(maps:get(user, Record, none) =:= User,
                       cost_ledger:fetch(S, Id) =:= {ok, Record})
          || #{id := Id} = Record <- All],
         Costs = [Cost || Project =:= none, #{cost := Cost} <- Own],
         [?assertEqual(lists:sum(Costs), maps:get(net, maps:get(cost, totals(S, Filter))))
          || Project =:= none]
     end || User <- [<<"u1">>, <<"u2">>, <<"u3">>, <<"u4">>]],
    close(L),
    cost_ledger_test:remove(Path),
    true.

to_record({User, Project, Status, Kind, Cost}) ->
    Names = [{user, User} || User =/= none] ++ [{project, Project} || Project =/= none]
        ++ [{state, executing} || Kind =:= invocation],
    maps:merge(maps:from_list(Names), #{kind => Kind, status => Status, cost => Cost}).
