%%% Exports and imports: the program beside the VM, on ledgers that the API made.
-module(cost_ledger_export_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([the_executions_of_a_project_in_the_last_month_are_saved_as_csv/1,
         csv_has_no_text_that_is_not_escaped/1, csv_has_no_cell_that_a_spreadsheet_executes/1,
         csv_is_not_cut_at_the_size_of_a_page/1]).
-export([an_empty_ledger_has_a_head/1, texts_come_back_as_they_were/1, formulas_are_text/1,
         columns_are_chosen/1, filters_choose/1, a_ledger_comes_back_as_it_was/1,
         what_follows_from_entries_follows/1, an_import_again_books_nothing/1,
         an_import_beside_others_books_now/1, an_import_goes_on/1, csv_comes_back/1,
         a_bad_line_is_named/1, nobody_else_writes/1, a_file_that_is_there_stays/1,
         a_full_disk_leaves_nothing/1, twenty_thousand/1, while_a_node_writes/1,
         focus_has_its_columns/1, msgpack_says_the_same/1]).

-define(START, 1700000000000).

all() ->
    [the_executions_of_a_project_in_the_last_month_are_saved_as_csv,
     csv_has_no_text_that_is_not_escaped, csv_has_no_cell_that_a_spreadsheet_executes,
     csv_is_not_cut_at_the_size_of_a_page,
     an_empty_ledger_has_a_head, texts_come_back_as_they_were, formulas_are_text,
     columns_are_chosen, filters_choose, a_ledger_comes_back_as_it_was,
     what_follows_from_entries_follows, an_import_again_books_nothing,
     an_import_beside_others_books_now, an_import_goes_on, csv_comes_back, a_bad_line_is_named,
     nobody_else_writes, a_file_that_is_there_stays, a_full_disk_leaves_nothing, twenty_thousand,
     while_a_node_writes, focus_has_its_columns, msgpack_says_the_same].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(cost_ledger), % for its companion
    Program = filename:join(code:priv_dir(cost_ledger), "cost_ledger"),
    [{program, Program} | Config].

end_per_suite(_Config) -> ok = application:stop(cost_ledger).

init_per_testcase(_Case, Config) ->
    Directory = cost_ledger_test:directory(Config),
    [{directory, Directory} | Config].

end_per_testcase(_Case, Config) ->
    cost_ledger_test:remove(?config(directory, Config)).

%%% Helpers ------------------------------------------------------------------------------------

%% {exit status, standard output}; standard error goes into the file "errors" beside it.
run(Config, Arguments) ->
    {Status, Output, _} = run_with_errors(Config, Arguments),
    {Status, Output}.

run_with_errors(Config, Arguments) ->
    Errors = filename:join(?config(priv_dir, Config),
                           "errors-" ++ integer_to_list(erlang:unique_integer([positive]))),
    Port = open_port({spawn_executable, "/bin/sh"},
                     [binary, exit_status, hide, stream,
                      {args, ["-c", "errors=$1; shift; exec \"$@\" 2>\"$errors\"", "sh", Errors,
                              ?config(program, Config) | Arguments]}]),
    {Status, Output} = collect(Port, []),
    {ok, Text} = file:read_file(Errors),
    {Status, Output, Text}.

collect(Port, Parts) ->
    receive
        {Port, {data, Data}} -> collect(Port, [Data | Parts]);
        {Port, {exit_status, Status}} -> {Status, iolist_to_binary(lists:reverse(Parts))}
    after 120000 -> error(no_end)
    end.

export(Config, Directory, Format) -> export(Config, Directory, Format, []).

export(Config, Directory, Format, More) ->
    {0, Output} = run(Config, ["export", Directory, "--format", Format | More]),
    Output.

lines(Text) -> binary:split(Text, <<"\r\n">>, [global, trim]).

save(Config, Name, Bytes) ->
    Path = filename:join(?config(priv_dir, Config),
                         integer_to_list(erlang:unique_integer([positive])) ++ Name),
    ok = file:write_file(Path, Bytes),
    Path.

open(Config) -> open(Config, #{}).

open(Config, Options) ->
    Ledger = cost_ledger_test:open(?config(directory, Config),
                                   maps:merge(#{budgets => #{executing => #{max_per_hour => 9000},
                                                             planning => #{}},
                                                series => [[project], [user]]}, Options)),
    true = is_atom(Ledger),
    ok = cost_ledger:set_clock(Ledger, ?START),
    Ledger.

close(Ledger) -> ok = cost_ledger:stop(Ledger).

%% A ledger with nothing in it, whose time is later than that of all others here.
make_empty(Directory) ->
    Ledger = cost_ledger_test:open(Directory, #{budgets => #{executing => #{}}}),
    ok = cost_ledger:set_clock(Ledger, ?START + 86400000),
    close(Ledger).

%% A little of everything that a ledger can hold.
fill(Ledger) ->
    {ok, _} = cost_ledger:record(Ledger, run(<<"r1">>)),
    {ok, Free} = cost_ledger:record(Ledger, #{state => executing, model => <<"m">>, user => <<"u">>,
                                              tokens => #{input => 100, output => 20}, id => <<"c1">>}),
    {ok, Priced} = cost_ledger:record(Ledger, #{state => executing, cost => 5000000000,
                                                occurred_at => ?START - 5000,
                                                intent => <<"old">>, status => failed,
                                                error_message => <<"broke">>}),
    {ok, _} = cost_ledger:record(Ledger, #{kind => correction, corrects => Free, cost => 7,
                                           by => "billing", reason => "late price"}),
    {ok, _} = cost_ledger:record(Ledger, #{kind => correction, corrects => Priced,
                                           cost => -2000000000, by => "billing", reason => "refund"}),
    {ok, _} = cost_ledger:set_prices(Ledger, #{<<"m">> => #{input => <<"2.5e-06">>,
                                                            output => <<"1e-05">>}},
                                     #{by => "ops", reason => "contract"}),
    {ok, _} = cost_ledger:record(Ledger, #{state => executing, model => <<"m">>, cost => auto,
                                           tokens => #{input => 100, output => 20}}),
    {ok, _} = cost_ledger:grant(Ledger, #{user => <<"u">>}, 500,
                                #{kind => purchase, by => ops, reason => "invoice", id => "inv-17"}),
    ok = cost_ledger:set_clock(Ledger, ?START + 60000),
    {ok, Run} = cost_ledger:reserve(Ledger, #{kind => run, run_id => <<"held">>, user => <<"u">>,
                                              cost => 9000000000}),
    {ok, Call} = cost_ledger:reserve(Ledger, #{state => planning, user => <<"u">>, cost => 1000,
                                               parent => Run}),
    {ok, _} = cost_ledger:settle(Call, #{cost => 900, id => <<"s1">>}),
    {ok, Other} = cost_ledger:reserve(Ledger, #{state => planning, cost => 1}),
    ok = cost_ledger:release(Other),
    {ok, _} = cost_ledger:settle(Run, #{cost => 1000, intent => <<"held">>}),
    {ok, _} = cost_ledger:redact(Ledger, Priced, #{by => "dpo", reason => "request"}),
    {ok, _} = cost_ledger:set_budgets(Ledger, #{executing => #{max_per_hour => 8000},
                                                planning => #{max_per_day => 70}},
                                      #{by => me, reason => "t"}),
    {ok, _} = cost_ledger:reset(Ledger, "executing/hour", #{by => me, reason => "again"}),
    ok.

run(Id) ->
    #{kind => run, run_id => Id, project => <<"p">>, user => <<"u">>, agent => <<"backend">>,
      intent => <<"Deploy; \"now\",\nplease">>, cost => 8500000000, duration_ms => 6750,
      breakdown => #{tokens => 3000000000, tool_calls => 5500000000},
      input => hostile(), output => [1, -1, 1.5, -0.0, 1.0e300, 0.1],
      trace => #{steps => [#{action => <<"go">>, result => success}]},
      attributes => #{<<"k">> => null, a_key => yes}}.

hostile() ->
    #{<<"$atom">> => <<"not one">>, 1 => 2, atom => undefined, nested => #{<<"$bin">> => true},
      big => 1 bsl 100, least => -(1 bsl 63), most => (1 bsl 64) - 1, bigger => -(1 bsl 64),
      bytes => <<255, 0, 1>>, nul => <<"a", 0, "b">>, <<0>> => <<"key">>, empty => #{}, none => [],
      text => unicode:characters_to_binary("\x{1f600} \x{7f} \x{2028}\\\"/\t\r\n"),
      deep => lists:foldl(fun(_, Acc) -> #{1 => Acc} end, <<>>, lists:seq(1, 19))}.

%%% What an execution ledger exports as CSV ------------------------------------------------------

-define(DAY, 86400000).
-define(HEAD, <<"run_id,agent_id,status,total_cost,duration_ms,intent,created_at,error_message">>).

save_csv(Config, Ledger, Filter) -> save_csv(Config, Ledger, Filter, #{}).

%% {How many rows there are, the bytes}.
save_csv(Config, Ledger, Filter, Options) ->
    File = filename:join(?config(priv_dir, Config),
                         integer_to_list(erlang:unique_integer([positive])) ++ "-report.csv"),
    {ok, #{count := Count, bytes := Bytes}} =
        cost_ledger:export(Ledger, csv, File, Filter, Options),
    {ok, Csv} = file:read_file(File),
    ?assertEqual(Bytes, byte_size(Csv)),
    {Count, Csv}.

%% As RFC 4180 has it: rows of cells, without their quotes.
parse(Csv) -> rows(Csv, <<>>, [], []).

rows(<<>>, <<>>, [], Rows) -> lists:reverse(Rows);
rows(<<$", Rest/binary>>, <<>>, Cells, Rows) -> quoted(Rest, <<>>, Cells, Rows);
rows(<<$,, Rest/binary>>, Cell, Cells, Rows) -> rows(Rest, <<>>, [Cell | Cells], Rows);
rows(<<"\r\n", Rest/binary>>, Cell, Cells, Rows) ->
    rows(Rest, <<>>, [], [lists:reverse([Cell | Cells]) | Rows]);
rows(<<Byte, Rest/binary>>, Cell, Cells, Rows) when Byte =/= $", Byte =/= $\r, Byte =/= $\n ->
    rows(Rest, <<Cell/binary, Byte>>, Cells, Rows).

quoted(<<"\"\"", Rest/binary>>, Cell, Cells, Rows) ->
    quoted(Rest, <<Cell/binary, $">>, Cells, Rows);
quoted(<<$", Rest/binary>>, Cell, Cells, Rows) ->
    true = binary:first(Rest) =:= $, orelse binary:first(Rest) =:= $\r,
    rows(Rest, Cell, Cells, Rows);
quoted(<<Byte, Rest/binary>>, Cell, Cells, Rows) ->
    quoted(Rest, <<Cell/binary, Byte>>, Cells, Rows).

%% Those of thirty days, both ends with them; of that project; and the head alone where none was.
the_executions_of_a_project_in_the_last_month_are_saved_as_csv(Config) ->
    Ledger = open(Config),
    Now = ?START + 40 * ?DAY,
    Since = Now - 30 * ?DAY,
    Execution = #{kind => run, project => <<"proj-001">>, user => <<"user-001">>,
                  agent => <<"backend">>, duration_ms => 6750},
    Deploy = #{intent => <<"Deploy microservice to production">>, cost => 8500000000,
               breakdown => #{tokens => 3000000000, tool_calls => 4500000000,
                              external_requests => 1000000000}},
    Migrate = #{agent => <<"database">>, status => failed, cost => 2500000000,
                intent => <<"Migrate schema with data validation">>,
                error_message => <<"Constraint violation on users.email, rolled back">>},
    [begin
         ok = cost_ledger:set_clock(Ledger, At),
         {ok, _} = cost_ledger:record(Ledger, maps:merge(Execution#{run_id => Run}, More))
     end || {At, Run, More} <- [{Since - 1, <<"too early">>, Deploy}, {Since, <<"first">>, Deploy},
                                {Since + 1, <<"theirs">>, #{project => <<"proj-002">>}},
                                {Now - 1, <<"second">>, Migrate},
                                {Now, <<"last">>, #{status => aborted}},
                                {Now + 1, <<"too late">>, Deploy}]],
    Filter = #{project => <<"proj-001">>, since => Since, until => Now},
    {3, Csv} = save_csv(Config, Ledger, Filter),
    ?assertEqual([?HEAD,
                  <<"first,backend,completed,8.50,6750,Deploy microservice to production,"
                    "2023-11-24T22:13:20.000Z,">>,
                  <<"second,database,failed,2.50,6750,Migrate schema with data validation,"
                    "2023-12-24T22:13:19.999Z,"
                    "\"Constraint violation on users.email, rolled back\"">>,
                  <<"last,backend,aborted,,6750,,2023-12-24T22:13:20.000Z,">>], lines(Csv)),
    ?assertEqual({0, <<?HEAD/binary, "\r\n">>},
                 save_csv(Config, Ledger, Filter#{project => <<"proj-003">>})),
    ?assertEqual({0, <<?HEAD/binary, "\r\n">>},
                 save_csv(Config, Ledger, Filter#{since => Since + 2, until => Now - 2})),
    close(Ledger).

csv_has_no_text_that_is_not_escaped(Config) ->
    Ledger = open(Config),
    Texts = [<<"a,b">>, <<"\"a\"">>, <<"a\nb">>, <<"a\r\nb">>, <<"a\",\"b">>, <<"\"">>, <<",">>,
             <<"a;b">>, <<" a ">>, unicode:characters_to_binary("\x{1f600},\x{2028}")],
    [{ok, _} = cost_ledger:record(Ledger, #{kind => run, run_id => Text, agent => Text,
                                            intent => Text, error_message => Text, cost => 1})
     || Text <- Texts],
    {Count, Csv} = save_csv(Config, Ledger, #{}),
    [Head | Rows] = parse(Csv),
    ?assertEqual(length(Texts), Count),
    ?assertEqual(8, length(Head)),
    ?assertEqual([[Text, Text, Text, Text] || Text <- Texts],
                 [[Run, Agent, Intent, Message]
                  || [Run, Agent, _, _, _, Intent, _, Message] <- Rows]),
    close(Ledger).

%% Of any column with text, and whatever of what a spreadsheet takes for a formula it begins with. A
%% number below zero is one.
csv_has_no_cell_that_a_spreadsheet_executes(Config) ->
    Ledger = open(Config),
    Texts = [<<First, "cmd|' /C calc'!A0">> || First <- "=+-@\t\r"],
    Names = [project, user, agent, model, provider, org],
    Run = fun(Text) ->
                  maps:merge(maps:from_keys(Names, Text),
                             #{kind => run, run_id => Text, parent_run => Text, intent => Text,
                               error_message => Text, cost => 1})
          end,
    [{ok, _} = cost_ledger:record(Ledger, Run(Text)) || Text <- Texts],
    Columns = Names ++ [run_id, parent_run, intent, error_message, agent_id],
    {6, Csv} = save_csv(Config, Ledger, #{}, #{columns => Columns}),
    [_Head | Rows] = parse(Csv),
    ?assertEqual([[<<$', Text/binary>> || _ <- Columns] || Text <- Texts], Rows),
    {6, Default} = save_csv(Config, Ledger, #{}),
    [?assertNot(lists:member(First, "=+-@\t\r"))
     || Row <- parse(Default), <<First, _/binary>> <- Row],
    {ok, [#{id := Id} | _]} = cost_ledger:fold(Ledger, #{}, fun(One, Acc) -> [One | Acc] end, []),
    {ok, _} = cost_ledger:record(Ledger, #{kind => correction, corrects => Id, cost => -1,
                                           by => <<"billing">>, reason => <<"refund">>}),
    {1, Correction} = save_csv(Config, Ledger, #{kind => correction}, #{columns => [cost]}),
    ?assertEqual([[<<"cost">>], [<<"-1">>]], parse(Correction)),
    close(Ledger).

csv_is_not_cut_at_the_size_of_a_page(Config) ->
    Ledger = open(Config),
    cost_ledger_test:parallel(50, fun() ->
        [{ok, _} = cost_ledger:record(Ledger, #{kind => run, project => <<"p">>, cost => 1})
         || _ <- lists:seq(1, 50)]
    end),
    {2500, Csv} = save_csv(Config, Ledger, #{project => <<"p">>}),
    ?assertEqual(2501, length(parse(Csv))),
    close(Ledger).

%%% Cases ----------------------------------------------------------------------------------------

an_empty_ledger_has_a_head(Config) ->
    close(open(Config)),
    Directory = ?config(directory, Config),
    ?assertEqual(<<"run_id,agent_id,status,total_cost,duration_ms,intent,created_at,error_message\r\n">>,
                 export(Config, Directory, "csv")),
    Header = export(Config, Directory, "jsonl"),
    ?assertMatch([_, <<>>], binary:split(Header, <<"\n">>, [global])),
    Copy = Directory ++ "-copy",
    {0, _} = run(Config, ["import", Copy, save(Config, ".jsonl", Header)]),
    ?assertEqual(Header, export(Config, Copy, "jsonl")),
    cost_ledger_test:remove(Copy).

texts_come_back_as_they_were(Config) ->
    Ledger = open(Config),
    Texts = [<<"plain">>, <<"a,b">>, <<"a;b">>, <<"\"quoted\"">>, <<"two\nlines">>, <<"two\r\nlines">>,
             <<" blank ">>, <<"'">>, <<"''">>, <<"'=1">>, <<"=1">>, <<"\t">>, <<"\r">>, <<"-">>],
    [{ok, _} = cost_ledger:record(Ledger, #{kind => run, run_id => <<"x", Text/binary>>,
                                            intent => Text, cost => 1}) || Text <- Texts],
    close(Ledger),
    Directory = ?config(directory, Config),
    Columns = ["--columns", "id,run_id,cost,intent"],
    File = save(Config, ".csv", export(Config, Directory, "csv", Columns)),
    Copy = Directory ++ "-copy",
    make_empty(Copy),
    {0, _} = run(Config, ["import", Copy, File]),
    ?assertEqual(export(Config, Directory, "csv", Columns),
                 export(Config, Copy, "csv", Columns)),
    Again = cost_ledger_test:open(Copy, #{}),
    [?assertMatch({ok, #{intent := Text}}, cost_ledger:fetch_run(Again, <<"x", Text/binary>>))
     || Text <- Texts],
    close(Again),
    cost_ledger_test:remove(Copy).

formulas_are_text(Config) ->
    Ledger = open(Config),
    {ok, Id} = cost_ledger:record(Ledger, #{kind => run, run_id => <<"=cmd|' /C calc'!A0">>,
                                            agent => <<"@SUM(1)">>, intent => <<"+1">>,
                                            error_message => <<"-1">>, cost => 10}),
    {ok, _} = cost_ledger:record(Ledger, #{kind => correction, corrects => Id, cost => -3,
                                           by => "b", reason => "r"}),
    close(Ledger),
    Output = export(Config, ?config(directory, Config), "csv",
                    ["--kind", "run,correction", "--columns",
                     "run_id,agent,intent,error_message,cost,total_cost"]),
    ?assertEqual([<<"run_id,agent,intent,error_message,cost,total_cost">>,
                  <<"'=cmd|' /C calc'!A0,'@SUM(1),'+1,'-1,10,0.00000001">>,
                  <<",'@SUM(1),,,-3,-0.000000003">>], lines(Output)).

columns_are_chosen(Config) ->
    Ledger = open(Config),
    {ok, _} = cost_ledger:record(Ledger, run(<<"r">>)),
    close(Ledger),
    Directory = ?config(directory, Config),
    ?assertEqual([<<"project,total_cost,cost_tool_calls,created_at">>,
                  <<"p,8.50,5500000000,2023-11-14T22:13:20.000Z">>],
                 lines(export(Config, Directory, "csv",
                              ["--columns", "project,total_cost,cost_tool_calls,created_at"]))),
    {3, <<>>, Wrong} = run_with_errors(Config, ["export", Directory, "--format", "csv",
                                                "--columns", "project,colour"]),
    ?assertMatch({_, _}, binary:match(Wrong, <<"colour">>)),
    ?assertMatch({_, _}, binary:match(Wrong, <<"attributes">>)),
    {2, <<>>} = run(Config, ["export", Directory]),
    {2, <<>>} = run(Config, ["export", Directory, "--format", "xml"]).

filters_choose(Config) ->
    Ledger = open(Config),
    fill(Ledger),
    close(Ledger),
    Directory = ?config(directory, Config),
    Kinds = fun(More) ->
                    tl(lines(export(Config, Directory, "csv", ["--columns", "kind" | More])))
            end,
    ?assertEqual(5, length(Kinds(["--kind", "invocation"])) + length(Kinds(["--status", "failed"]))),
    ?assertEqual([<<"run">>], Kinds(["--project", "p"])),
    ?assertEqual([], Kinds(["--project", "nobody"])),
    ?assertEqual([<<"grant">>], Kinds(["--kind", "grant"])),
    ?assertEqual(2, length(Kinds(["--since", integer_to_list(?START + 1)]))),
    ?assertEqual(length(Kinds([])) - 2, length(Kinds(["--until", integer_to_list(?START)]))).

a_ledger_comes_back_as_it_was(Config) ->
    Ledger = open(Config),
    fill(Ledger),
    close(Ledger),
    Directory = ?config(directory, Config),
    Bytes = export(Config, Directory, "jsonl"),
    File = save(Config, ".jsonl", Bytes),
    Copy = Directory ++ "-copy",
    ok = file:make_dir(Copy),
    {0, _} = run(Config, ["import", Copy, File]),
    ?assertEqual(Bytes, export(Config, Copy, "jsonl")),
    Original = cost_ledger_test:open(Directory, #{}),
    {ok, Before} = cost_ledger:fetch_run(Original, <<"r1">>),
    close(Original),
    Again = cost_ledger_test:open(Copy, #{}),
    ?assertEqual({ok, Before}, cost_ledger:fetch_run(Again, <<"r1">>)),
    ?assertMatch(#{input := #{big := _}}, Before),
    close(Again),
    cost_ledger_test:remove(Copy).

%% Sums, budgets, prices and keys are the same in both.
what_follows_from_entries_follows(Config) ->
    Ledger = open(Config),
    fill(Ledger),
    Directory = ?config(directory, Config),
    Told = tell(Ledger),
    File = save(Config, ".jsonl", export(Config, Directory, "jsonl")),
    close(Ledger),
    Copy = Directory ++ "-copy",
    {0, _} = run(Config, ["import", Copy, File]),
    Again = cost_ledger_test:open(Copy, #{}),
    ?assertEqual(Told, tell(Again)),
    {ok, _} = cost_ledger:record(Again, run(<<"r1">>)),
    ?assertMatch({error, {conflict, _}},
                 cost_ledger:record(Again, (run(<<"r1">>))#{cost => 8500000000 + 1,
                                                            breakdown => #{tokens => 8500000001}})),
    ?assertMatch({error, {conflict, _}},
                 cost_ledger:record(Again, #{kind => run, run_id => <<"held">>})),
    ?assertEqual(Told, tell(Again)),
    close(Again),
    cost_ledger_test:remove(Copy).

tell(Ledger) ->
    {ok, All} = cost_ledger:totals(Ledger, #{}),
    {ok, OfUsers} = cost_ledger:totals_by(Ledger, user, #{}),
    {ok, #{rules := Rules}} = cost_ledger:policy(Ledger),
    {ok, Policies} = cost_ledger:policy_history(Ledger),
    {ok, Prices} = cost_ledger:prices(Ledger),
    {All, OfUsers, Rules, Policies, Prices, maps:get(session, cost_ledger:stats(Ledger), none)}.

an_import_again_books_nothing(Config) ->
    Ledger = open(Config),
    fill(Ledger),
    close(Ledger),
    Directory = ?config(directory, Config),
    Bytes = export(Config, Directory, "jsonl"),
    File = save(Config, ".jsonl", Bytes),
    {0, <<"0 imported, ", _/binary>>} = run(Config, ["import", Directory, File]),
    ?assertEqual(Bytes, export(Config, Directory, "jsonl")).

%% A ledger that has newer entries: with ids of its own, once.
an_import_beside_others_books_now(Config) ->
    Ledger = open(Config),
    [{ok, _} = cost_ledger:record(Ledger, #{state => executing, cost => N}) || N <- [1, 2]],
    {ok, _} = cost_ledger:record(Ledger, #{kind => run, run_id => <<"mine">>, cost => 3}),
    Directory = ?config(directory, Config),
    File = save(Config, ".jsonl", export(Config, Directory, "jsonl")),
    fill(Ledger),
    Whole = save(Config, ".jsonl", export(Config, Directory, "jsonl")),
    close(Ledger),
    Other = Directory ++ "-other",
    Target = cost_ledger_test:open(Other, #{budgets => #{executing => #{}, planning => #{}}}),
    ok = cost_ledger:set_clock(Target, ?START + 3600000),
    {ok, _} = cost_ledger:record(Target, #{state => executing, cost => 9}),
    close(Target),
    {0, <<"3 imported, 0 already there\n">>} = run(Config, ["import", Other, File]),
    {0, <<"0 imported, 3 already there\n">>} = run(Config, ["import", Other, File]),
    {3, <<>>, Wrong} = run_with_errors(Config, ["import", Other, Whole]),
    ?assertMatch({_, _}, binary:match(Wrong, <<"stands alone">>)),
    Again = cost_ledger_test:open(Other, #{}),
    ?assertMatch({ok, #{occurred_at := ?START, cost := 3}},
                 cost_ledger:fetch_run(Again, <<"mine">>)),
    close(Again),
    cost_ledger_test:remove(Other).

%% What was added since the last time is added behind what is there.
an_import_goes_on(Config) ->
    Ledger = open(Config),
    fill(Ledger),
    Directory = ?config(directory, Config),
    Copy = Directory ++ "-copy",
    {0, _} = run(Config, ["import", Copy,
                          save(Config, ".jsonl", export(Config, Directory, "jsonl"))]),
    {ok, Id} = cost_ledger:record(Ledger, #{state => executing, cost => 1, intent => <<"secret">>}),
    Between = save(Config, ".jsonl", export(Config, Directory, "jsonl")),
    {0, <<"1 imported, ", _/binary>>} = run(Config, ["import", Copy, Between]),
    {ok, _} = cost_ledger:redact(Ledger, Id, #{by => "dpo", reason => "r"}),
    close(Ledger),
    Bytes = export(Config, Directory, "jsonl"),
    {0, <<"1 imported, ", _/binary>>} = run(Config, ["import", Copy, save(Config, ".jsonl", Bytes)]),
    ?assertEqual(Bytes, export(Config, Copy, "jsonl")),
    cost_ledger_test:remove(Copy).

csv_comes_back(Config) ->
    Ledger = open(Config),
    {ok, _} = cost_ledger:record(Ledger, run(<<"r">>)),
    {ok, _} = cost_ledger:record(Ledger, #{state => executing, tokens => #{input => 3},
                                           model => <<"m">>, status => aborted}),
    close(Ledger),
    Directory = ?config(directory, Config),
    Columns = ["--columns", "id,kind,status,run_id,client_id,state,project,user,agent,model,"
               "duration_ms,cost,total_cost,input_tokens,output_tokens,cache_read,cache_creation,"
               "reasoning,cost_tokens,cost_tool_calls,cost_external_requests,cost_penalties,intent,"
               "input,output,trace,attributes"],
    Bytes = export(Config, Directory, "csv", Columns),
    Copy = Directory ++ "-copy",
    make_empty(Copy),
    File = save(Config, ".csv", Bytes),
    {0, <<"2 imported, 0 already there\n">>} = run(Config, ["import", Copy, File]),
    {0, <<"0 imported, 2 already there\n">>} = run(Config, ["import", Copy, File]),
    ?assertEqual(Bytes, export(Config, Copy, "csv", Columns)),
    Plain = save(Config, ".csv", <<"agent_id,total_cost,created_at\n"
                                   "a,1.5,2023-01-01T00:00:00Z\na,1.5,2023-01-01T00:00:00Z\n">>),
    {0, <<"2 imported, 0 already there\n">>} = run(Config, ["import", Copy, Plain]),
    {0, <<"0 imported, 2 already there\n">>} = run(Config, ["import", Copy, Plain]),
    cost_ledger_test:remove(Copy).

a_bad_line_is_named(Config) ->
    close(open(Config)),
    Directory = ?config(directory, Config),
    Before = export(Config, Directory, "jsonl"),
    Fails = fun(Name, Text, Line) ->
                    {3, <<>>, Wrong} = run_with_errors(Config, ["import", Directory,
                                                                save(Config, Name, Text)]),
                    ?assertMatch({_, _}, binary:match(Wrong, Line), Wrong)
            end,
    Fails(".csv", <<"run_id,cost\nr1,1\nr2,x\n">>, <<"line 3: column cost">>),
    Fails(".csv", <<"run_id,cost\nr1,1\n\"r\n2\",1,2\n">>, <<"line 3: 3 cells">>),
    Fails(".csv", <<"run_id,cost\nr1,1\nr2,\"1\n">>, <<"line 3: a quoted cell">>),
    Fails(".csv", <<"run_id,colour\nr1,1\n">>, <<"unknown column colour">>),
    Fails(".csv", <<"run_id,kind,state\nr1,run,\nr2,invocation,nobody\n">>, <<"line 3">>),
    Fails(".csv", <<"run_id,created_at\nr1,2999-01-01T00:00:00Z\n">>, <<"line 2">>),
    Fails(".csv", <<>>, <<"line 1">>),
    Fails(".jsonl", <<"{\"kind\":\"run\",\"status\":\"completed\"}\n{\"kind\":\"run\"\n">>, <<"line 2: byte">>),
    Fails(".jsonl", <<"{\"kind\":\"run\",\"status\":\"completed\",\"colour\":1}\n">>,
          <<"unknown name colour">>),
    Fails(".jsonl", <<"{\"kind\":\"run\",\"kind\":\"run\",\"status\":\"completed\"}\n">>, <<"twice">>),
    ?assertEqual(Before, export(Config, Directory, "jsonl")).

nobody_else_writes(Config) ->
    Ledger = open(Config),
    {ok, _} = cost_ledger:record(Ledger, run(<<"r">>)),
    Directory = ?config(directory, Config),
    File = save(Config, ".jsonl", export(Config, Directory, "jsonl")),
    {3, <<>>, Wrong} = run_with_errors(Config, ["import", Directory, File]),
    ?assertMatch({_, _}, binary:match(Wrong, list_to_binary(os:getpid()))),
    close(Ledger).

a_file_that_is_there_stays(Config) ->
    close(open(Config)),
    Path = save(Config, ".csv", <<"mine">>),
    {3, <<>>} = run(Config, ["export", ?config(directory, Config), "--format", "csv",
                             "--output", Path]),
    ?assertEqual({ok, <<"mine">>}, file:read_file(Path)),
    New = Path ++ ".new",
    {0, <<>>, <<>>} = run_with_errors(Config, ["export", ?config(directory, Config),
                                               "--format", "csv", "--output", New]),
    ?assertMatch({ok, <<"run_id", _/binary>>}, file:read_file(New)).

a_full_disk_leaves_nothing(Config) ->
    Ledger = open(Config),
    [{ok, _} = cost_ledger:record(Ledger, #{kind => run, intent => binary:copy(<<"x">>, 50000)})
     || _ <- lists:seq(1, 30)],
    close(Ledger),
    Directory = ?config(directory, Config),
    %% A limit on the size of files does to the program what a full disk does.
    Path = filename:join(?config(priv_dir, Config), "limited"),
    Script = save(Config, ".sh", ["trap '' XFSZ; ulimit -f 512; exec ", ?config(program, Config),
                                  " export ", Directory, " --format jsonl --output ", Path]),
    Said = os:cmd("bash " ++ Script ++ " 2>&1; echo $?"),
    ?assertMatch({match, _}, re:run(Said, "may not grow|disk is full"), Said),
    ?assertEqual("3", lists:last(string:lexemes(Said, "\n"))),
    ?assertEqual({error, enoent}, file:read_file_info(Path)),
    ?assertEqual("3", string:trim(os:cmd(?config(program, Config) ++ " export " ++ Directory
                                         ++ " --format jsonl 2>/dev/null >/dev/full; echo $?"))).

twenty_thousand(Config) ->
    Ledger = open(Config),
    Self = self(),
    Work = [spawn_link(fun() ->
                               [{ok, _} = cost_ledger:record(Ledger, #{state => executing,
                                                                       user => <<"u">>, cost => N,
                                                                       intent => <<"work">>})
                                || N <- lists:seq(1, 400)],
                               Self ! {done, self()}
                       end) || _ <- lists:seq(1, 50)],
    [receive {done, Pid} -> ok end || Pid <- Work],
    close(Ledger),
    Directory = ?config(directory, Config),
    Bytes = export(Config, Directory, "jsonl"),
    ?assertEqual(20001, length(binary:matches(Bytes, <<"\n">>))),
    Copy = Directory ++ "-copy",
    {0, <<"20000 imported, 0 already there\n">>} =
        run(Config, ["import", Copy, save(Config, ".jsonl", Bytes)]),
    ?assertEqual(Bytes, export(Config, Copy, "jsonl")),
    cost_ledger_test:remove(Copy).

while_a_node_writes(Config) ->
    Ledger = open(Config),
    [{ok, _} = cost_ledger:record(Ledger, #{state => executing, cost => 1})
     || _ <- lists:seq(1, 2000)],
    Writer = spawn_link(fun Write() ->
                                {ok, _} = cost_ledger:record(Ledger, #{state => planning}),
                                receive stop -> ok after 0 -> Write() end
                        end),
    Rows = [length(lines(export(Config, ?config(directory, Config), "csv", ["--columns", "id"])))
            || _ <- lists:seq(1, 5)],
    Monitor = erlang:monitor(process, Writer),
    Writer ! stop,
    receive {'DOWN', Monitor, process, Writer, normal} -> ok end,
    ?assertEqual(Rows, lists:sort(Rows)),
    ?assert(hd(Rows) > 2000),
    close(Ledger).

focus_has_its_columns(Config) ->
    Ledger = open(Config),
    fill(Ledger),
    close(Ledger),
    [Head | Rows] = lines(export(Config, ?config(directory, Config), "focus")),
    ?assertEqual(37, length(binary:split(Head, <<",">>, [global]))),
    ?assertMatch(<<"BilledCost,BillingAccountId,", _/binary>>, Head),
    Corrections = [Row || Row <- Rows, binary:match(Row, <<",Usage,Correction,">>) =/= nomatch],
    ?assertEqual(2, length(Corrections)),
    ?assertMatch([<<"8.50,default,default,USD,2023-12-01T00:00:00Z,2023-11-01T00:00:00Z,Usage,,",
                    _/binary>> | _], Rows).

%% As many objects as there are lines, and the same in them.
msgpack_says_the_same(Config) ->
    Ledger = open(Config),
    fill(Ledger),
    close(Ledger),
    Directory = ?config(directory, Config),
    Lines = length(binary:matches(export(Config, Directory, "jsonl"), <<"\n">>)),
    File = filename:join(?config(priv_dir, Config), "all.msgpack"),
    {0, <<>>} = run(Config, ["export", Directory, "--format", "msgpack", "--output", File]),
    Count = os:cmd("/usr/bin/python3 -c 'import msgpack,sys\n"
                   "print(sum(1 for _ in msgpack.Unpacker(open(sys.argv[1],\"rb\"),"
                   "strict_map_key=False)))' " ++ File),
    ?assertEqual(integer_to_list(Lines), string:trim(Count)).
