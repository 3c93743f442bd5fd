%%% The report of `priv/cost_ledger report`: its numbers are those of the API, nothing in it comes from
%%% elsewhere, and no name becomes markup. Chromium, as Debian has it, reads and draws it.
-module(cost_ledger_report_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(HOUR, 3600000).
-define(DAY, (24 * ?HOUR)).
%% 2023-11-14 00:00:00 UTC, the first of the days.
-define(START, 1699920000000).
-define(DAYS, 12).
-define(BY, #{by => test, reason => <<"a test">>}).
-define(SERIES, [[agent], [model], [status], [project], [user]]).

%% What somebody may call an agent, or say in an error message.
-define(MARKUP, <<"<script>alert(1)</script><img src=x onerror=alert(2)>">>).
-define(QUOTES, <<"\"'><svg/onload=alert(3)> & &amp;lt;">>).
-define(TURNED, <<"safe", 16#202E/utf8, "txt.exe", 16#2066/utf8, 1, 7, 27, "[31m", 0, 127>>).
-define(LONG, (binary:copy(<<"endless">>, 140))).
-define(HEBREW, <<"סוכן"/utf8>>).
-define(WIDE, <<"模型模型模型模型模型模型模型模型模型模型模型模型模型模型"/utf8>>).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [the_numbers_are_those_of_the_api, a_browser_shows_them, no_name_becomes_markup,
     no_name_becomes_markup_in_a_browser, nothing_comes_from_elsewhere, a_line_has_80_columns, a_period_has_its_own_numbers,
     ten_and_the_others_add_up, budgets_are_as_the_api_tells_them, failures_are_told_newest_first,
     an_output_that_exists_is_left_alone, an_output_that_cannot_be_made_is_told,
     a_filter_that_a_report_does_not_have_is_refused, an_empty_ledger, a_ledger_with_one_entry,
     a_series_that_is_not_declared_is_left_out, a_report_is_a_job_of_the_companion].

%%% A ledger that every case may read ------------------------------------------------------------

init_per_suite(Config) ->
    Path = filename:join(?config(priv_dir, Config), ?MODULE),
    report_ledger = Ledger = cost_ledger_test:open(report_ledger, Path, #{rules => rules(), series => ?SERIES}),
    ok = fill(Ledger),
    Html = filename:join(?config(priv_dir, Config), "report.html"),
    {0, <<>>} = report(Path, ["--output", Html]),
    {0, Text} = report(Path, []),
    [{ledger, Ledger}, {path, Path}, {file, Html}, {text, Text} | Config].

end_per_suite(Config) ->
    _ = file:del_dir_r(profile(Config)),
    cost_ledger:stop(?config(ledger, Config)).

init_per_testcase(Case, Config)
  when Case =:= a_browser_shows_them; Case =:= no_name_becomes_markup_in_a_browser ->
    case os:find_executable("chromium") of
        false -> {skip, "chromium is not installed; make test installs it"};
        Program -> [{chromium, Program} | Config]
    end;
init_per_testcase(_Case, Config) ->
    Config.

rules() ->
    [rule(<<"month">>, all, cost, {calendar, month, 0}, 4000000000, #{warn => [50, 80]}),
     rule(<<"executing/hour">>, #{state => executing}, invocations, {rolling, ?HOUR}, 20, #{}),
     rule(<<"prototype">>, #{project => <<"prototype">>}, cost, lifetime, 100000000, #{}),
     rule(<<"research">>, #{project => <<"research">>}, cost, {calendar, week, 0}, 350000000,
          #{on_exhausted => warn}),
     rule(<<"tokens of a day">>, all, tokens, {calendar, day, 0}, 3000000,
          #{on_exhausted => degrade}),
     rule(?MARKUP, #{agent => ?QUOTES}, cost, {rolling, 7 * ?DAY}, 5000000000, #{}),
     rule(<<"observed">>, #{agent => <<"planner">>}, cost, {rolling, 30 * ?DAY}, infinity, #{}),
     rule(<<"each user">>, #{user => each}, cost, {calendar, month, 0}, 9000000000, #{})].

rule(Name, Scope, Measure, Window, Limit, More) ->
    cost_ledger_test_budget:rule(Name, Scope, Measure, Window, Limit, More).

agents() ->
    [<<"planner">>, ?MARKUP, <<"backend">>, ?HEBREW, <<"frontend">>, ?QUOTES, <<"reviewer">>, ?TURNED,
     ?LONG, <<"tester">>, <<"researcher">>, <<"deployer">>, <<"writer">>, <<"translator">>].

models() -> [<<"large-2">>, <<"medium-2">>, <<"small-2">>, <<"embedder">>, ?WIDE].

fill(Ledger) ->
    _ = rand:seed(exsss, {1, 2, 3}),
    lists:foreach(fun(Day) -> fill_day(Ledger, Day) end, lists:seq(0, ?DAYS - 1)),
    Now = ?START + (?DAYS - 1) * ?DAY + 17 * ?HOUR + 23 * 60000,
    Now = cost_ledger_test:at(Ledger, Now),
    Owner = cost_ledger_test_budget:child(Ledger, owner),
    {ok, _} = cost_ledger:reserve(Ledger, #{state => improving, project => <<"research">>,
                                            cost => 90000000, tokens => 50000, owner => Owner,
                                            deadline_ms => ?DAY}),
    ok.

fill_day(Ledger, Day) ->
    Calls = 14 + rand:uniform(24) + 6 * (Day rem 3),
    Span = case Day of ?DAYS - 1 -> 17 * ?HOUR; _ -> ?DAY end,
    Times = lists:sort([rand:uniform(Span) - 1 || _ <- lists:seq(1, Calls)]),
    lists:foreach(fun({N, Time}) ->
                          _ = cost_ledger_test:at(Ledger, ?START + Day * ?DAY + Time),
                          book(Ledger, Day, N)
                  end, lists:zip(lists:seq(1, Calls), Times)).

book(Ledger, Day, N) ->
    RunId = iolist_to_binary(io_lib:format("run-~b-~b", [Day, N])),
    Common = #{agent => pick(agents(), 2), model => pick(models(), 1), user => user(),
               project => pick([<<"research">>, <<"shop">>, <<"prototype">>, ?MARKUP], 1),
               duration_ms => rand:uniform(9000),
               tokens => #{input => rand:uniform(40000), output => rand:uniform(4000),
                           cache_read => rand:uniform(90000), cache_creation => 0,
                           reasoning => rand:uniform(2000)}},
    Record = case rand:uniform(10) of
                 1 -> Common#{kind => run, run_id => RunId};
                 2 -> Common#{kind => run, run_id => <<RunId/binary, (pick([?MARKUP, <<>>], 0))/binary>>,
                              status => failed, error_message => message()};
                 3 -> Common#{state => executing, status => aborted, error_message => message()};
                 _ -> maps:without(pick([[], [], [agent]], 0),
                                   Common#{state => pick([executing, contemplating, improving], 1)})
             end,
    {ok, Id} = cost_ledger:record(Ledger, case rand:uniform(15) of
                                              1 -> Record;
                                              _ -> Record#{cost => rand:uniform(20000000)}
                                          end),
    case N rem 17 of
        0 -> correct(Ledger, Id);
        _ -> ok
    end.

correct(Ledger, Id) ->
    case cost_ledger:fetch(Ledger, Id) of
        {ok, #{cost := Cost}} when Cost > 1 ->
            {ok, _} = cost_ledger:record(Ledger, maps:merge(#{kind => correction, corrects => Id,
                                                              cost => -(Cost div 2)}, ?BY)),
            ok;
        _ ->
            ok
    end.

user() -> iolist_to_binary(io_lib:format("user-~3..0b", [rand:uniform(25)])).

message() ->
    pick([<<"timeout after 30000 ms">>, <<"rate limited by the provider; gave up after 5 attempts">>,
          ?MARKUP, ?QUOTES, ?TURNED, ?LONG, <<"first line\r\nsecond line\tand more">>, ?WIDE], 0).

%% The first ones more often, the higher the skew.
pick(List, Skew) ->
    lists:nth(lists:min([rand:uniform(length(List)) || _ <- lists:seq(0, Skew)]), List).

%%% Cases ------------------------------------------------------------------------------------------

the_numbers_are_those_of_the_api(Config) ->
    {ok, Html} = file:read_file(?config(file, Config)),
    {ok, Totals} = cost_ledger:totals(?config(ledger, Config), #{}),
    #{cost := #{gross := Gross, corrected := Off, net := Net}, invocations := Invocations,
      runs := Runs, tokens := Tokens, cache_savings := Savings} = Totals,
    ?assert(Off < 0),
    [?assertEqual({Name, Money}, {Name, definition(Html, Name)})
     || {Name, Money} <- [{"Gross", Gross}, {"Corrected", Off}, {"Cache savings", Savings}]],
    ?assertNotEqual(nomatch, binary:match(Html, <<(money(Net))/binary, " <span class=\"unit\">USD">>)),
    [?assertEqual([maps:get(Key, Of) || Key <- [count, failed, aborted, unpriced]],
                  [count(Cell) || Cell <- row(Html, Name)])
     || {Name, Of} <- [{<<"Invocations">>, Invocations}, {<<"Runs">>, Runs}]],
    [?assertEqual([maps:get(Class, Tokens)], [count(Cell) || Cell <- row(Html, Name)])
     || {Class, Name} <- [{input, <<"input">>}, {output, <<"output">>},
                          {cache_read, <<"cache read">>}, {cache_creation, <<"cache creation">>},
                          {reasoning, <<"reasoning">>}]],
    Text = ?config(text, Config),
    [?assertNotEqual({Needle, nomatch}, {Needle, binary:match(Text, Needle)})
     || Needle <- [<<"gross      ", (money(Gross))/binary, "\n">>,
                   <<"net              ", (money(Net))/binary, "\n">>]].

a_browser_shows_them(Config) ->
    Dom = dom(Config, ?config(file, Config)),
    [agree(Dom, Config, Dimension) || Dimension <- [state, agent, model, status, project, user]],
    %% What is drawn is not nothing: a page of one colour is a much smaller file.
    [?assert(filelib:file_size(screenshot(Config, Name, Size, Arguments)) > 30000)
     || {Name, Size, Arguments} <- [{"desktop-light", "1280,3600", []},
                                    {"desktop-dark", "1280,3600", ["--force-dark-mode"]},
                                    {"phone-light", "500,6000", []}]].

%% Every value that is shown has the numbers that totals_by has of it.
agree(Dom, Config, Dimension) ->
    {ok, Values} = cost_ledger:totals_by(?config(ledger, Config), Dimension, #{}),
    Rows = [Row || {Name, Row} <- group(Dom, Dimension), not is_rest(Name, Dimension)],
    Expected = [[maps:get(count, maps:get(invocations, Of)), maps:get(count, maps:get(runs, Of)),
                 Gross, Net]
                || {_, #{cost := #{gross := Gross, net := Net}} = Of} <- lists:sublist(Values, 10)],
    ?assertEqual({Dimension, Expected}, {Dimension, [numbers(Row) || Row <- Rows]}),
    Names = [atom_to_binary(Name) || {Name, _} <- lists:sublist(Values, 10), is_atom(Name)],
    ?assertEqual([], Names -- [Name || {Name, _} <- group(Dom, Dimension)]).

no_name_becomes_markup(Config) ->
    {ok, Html} = file:read_file(?config(file, Config)),
    has_known_tags_only(Html),
    %% They are there, as text.
    [?assertNotEqual(nomatch, binary:match(Html, Text))
     || Text <- [<<"<bdi>&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=alert(2)&gt;</bdi>">>,
                 <<"<bdi>&quot;&#39;&gt;&lt;svg/onload=alert(3)&gt; &amp; &amp;amp;lt;</bdi>">>,
                 <<"<bdi>", ?HEBREW/binary, "</bdi>">>, <<"first line  second line and more">>]],
    %% Neither in HTML nor in the terminal does one of these stand.
    [?assertEqual({Character, nomatch}, {Character, binary:match(Source, <<Character/utf8>>)})
     || Source <- [Html, ?config(text, Config)],
        Character <- [0, 1, 7, 9, 13, 27, 127, 16#202E, 16#2066]],
    ?assertMatch([_ | _], unicode:characters_to_list(Html)).

no_name_becomes_markup_in_a_browser(Config) ->
    has_known_tags_only(dom(Config, ?config(file, Config))).

%% Every element and every attribute is one that the report writes; none of them runs anything.
has_known_tags_only(Html) ->
    Tags = tags(Html),
    ?assert(length(Tags) > 300),
    ?assertEqual([], lists:usort([Name || {Name, _} <- Tags]) -- elements()),
    ?assertEqual([], lists:usort([Name || {_, Names} <- Tags, Name <- Names]) -- attributes()).

elements() ->
    words("html head meta title style body main header h1 h2 h3 p dl div dt dd section table thead "
          "tbody tr th td svg g rect line desc details summary bdi small span ul ol li").

attributes() ->
    words("lang charset http-equiv content name class id role aria-labelledby aria-hidden focusable "
          "viewBox preserveAspectRatio scope x y x1 x2 y1 y2 width height").

words(Text) -> [list_to_binary(Word) || Word <- string:lexemes(Text, " ")].

nothing_comes_from_elsewhere(Config) ->
    {ok, Html} = file:read_file(?config(file, Config)),
    [?assertEqual({Needle, nomatch}, {Needle, binary:match(Html, Needle)})
     || Needle <- [<<"http:">>, <<"https:">>, <<"://">>, <<"<script">>, <<"<link">>, <<"<img">>,
                   <<"<iframe">>, <<"href=">>, <<"url(">>, <<"@import">>, <<" style=">>]],
    %% The policy lets nothing in but the one style, whose digest it has.
    {match, [Policy, Digest]} =
        re:run(Html, "Content-Security-Policy\" content=\"(default-src 'none'; style-src "
               "'sha256-([^']+)'; base-uri 'none'; form-action 'none')\"",
               [{capture, all_but_first, binary}]),
    ?assertEqual(nomatch, binary:match(Policy, <<"unsafe">>)),
    [_, Rest] = binary:split(Html, <<"<style>">>),
    [Style, _] = binary:split(Rest, <<"</style>">>),
    ?assertEqual(base64:encode(crypto:hash(sha256, Style)), Digest).

a_line_has_80_columns(Config) ->
    Lines = binary:split(?config(text, Config), <<"\n">>, [global]),
    ?assert(length(Lines) > 100),
    [?assert(columns(Line) =< 80, Line) || Line <- Lines].

a_period_has_its_own_numbers(Config) ->
    Since = ?START + 3 * ?DAY + 5 * ?HOUR,
    Until = ?START + 6 * ?DAY + 7 * ?HOUR,
    File = filename:join(?config(priv_dir, Config), "period.html"),
    {0, <<>>} = report(?config(path, Config), ["--output", File, "--since", integer_to_list(Since),
                                               "--until", integer_to_list(Until)]),
    {ok, Html} = file:read_file(File),
    Filter = #{since => Since, until => Until},
    {ok, #{cost := #{gross := Gross}}} = cost_ledger:totals(?config(ledger, Config), Filter),
    ?assertEqual(Gross, definition(Html, "Gross")),
    ?assertNotEqual(nomatch, binary:match(Html, <<"2023-11-17 05:00:00 to 2023-11-20 07:00:00 UTC">>)),
    %% The days add up to it; the hours are the last 48 of it, of which the last has one ms.
    Days = chart(Html, <<"days">>),
    ?assertEqual([<<"2023-11-17">>, <<"2023-11-18">>, <<"2023-11-19">>, <<"2023-11-20">>],
                 [Day || {Day, _} <- Days]),
    ?assertEqual(Gross, lists:sum([lists:nth(3, numbers(Row)) || {_, Row} <- Days])),
    Hours = chart(Html, <<"hours">>),
    ?assertEqual(48, length(Hours)),
    ?assertMatch({<<"2023-11-20 07:00">>, _}, lists:last(Hours)),
    {ok, #{cost := #{gross := Last}}} =
        cost_ledger:totals(?config(ledger, Config), Filter#{since => ?START + 4 * ?DAY + 8 * ?HOUR}),
    ?assertEqual(Last, lists:sum([lists:nth(3, numbers(Row)) || {_, Row} <- Hours])),
    %% Each of the days is what the API says of it.
    [begin
         From = max(Since, ?START + (N + 2) * ?DAY),
         To = min(Until, ?START + (N + 3) * ?DAY - 1),
         {ok, #{cost := #{gross := OfDay, net := NetOfDay}}} =
             cost_ledger:totals(?config(ledger, Config), #{since => From, until => To}),
         ?assertEqual([OfDay, NetOfDay], lists:nthtail(2, numbers(Row)))
     end || {N, {_, Row}} <- lists:zip(lists:seq(1, 4), Days)].

ten_and_the_others_add_up(Config) ->
    {ok, Html} = file:read_file(?config(file, Config)),
    {ok, #{cost := #{gross := Gross, net := Net}, invocations := #{count := Invocations},
           runs := #{count := Runs}}} = cost_ledger:totals(?config(ledger, Config), #{}),
    [begin
         Rows = [numbers(Row) || {_, Row} <- group(Html, Dimension)],
         ?assertEqual({Dimension, [Invocations, Runs, Gross, Net]},
                      {Dimension, [lists:sum([lists:nth(N, Row) || Row <- Rows])
                                   || N <- lists:seq(1, 4)]})
     end || Dimension <- [state, agent, model, status, project, user]],
    ?assertEqual(11, length(group(Html, user))),
    ?assertMatch([<<"15 others">>], [Name || {Name, _} <- group(Html, user), is_rest(Name, user)]).

budgets_are_as_the_api_tells_them(Config) ->
    {ok, Html} = file:read_file(?config(file, Config)),
    [_, Section] = binary:split(Html, <<"<ul class=\"cards\">">>),
    {match, Cards} = re:run(Section, "<li class=\"([a-z]+)\"><div class=\"line\"><h3><bdi>(.*?)</bdi>"
                            ".*?<dt>Used</dt><dd>(.*?)</dd>.*?<dt>Held</dt><dd>(.*?)</dd>"
                            ".*?<dt>Limit</dt><dd>(.*?)</dd>",
                            [global, dotall, {capture, all_but_first, binary}]),
    Known = [{Name, Level, Used, Held, Limit} || [Level, Name, Used, Held, Limit] <- Cards],
    %% The rules of this test, and those that every ledger has.
    ?assert(length(Known) >= 6),
    [begin
         #{level := Level, used := Used, held := Held, limit := Limit} =
             cost_ledger_test_budget:told(?config(ledger, Config), Scope, Name),
         ?assertEqual({Name, atom_to_binary(Level), money(Used), money(Held), money(Limit)},
                      lists:keyfind(Name, 1, Known))
     end || {Scope, Name} <- [{all, <<"month">>}, {#{project => <<"research">>}, <<"research">>},
                              {#{project => <<"prototype">>}, <<"prototype">>}]],
    ?assertMatch({_, _, _, <<"0.09">>, _}, lists:keyfind(<<"research">>, 1, Known)),
    ?assertMatch({_, <<"exhausted">>, _, _, _}, lists:keyfind(<<"prototype">>, 1, Known)),
    ?assertMatch({_, <<"normal">>, _, _, <<"none">>}, lists:keyfind(<<"observed">>, 1, Known)),
    ?assertEqual(false, lists:keyfind(<<"each user">>, 1, Known)),
    ?assertNotEqual(nomatch, binary:match(Html, <<"each value of a dimension are not among them: 1.">>)),
    ?assertNotEqual(nomatch, binary:match(Html, <<"resets 2023-12-01 00:00:00 UTC<">>)).

failures_are_told_newest_first(Config) ->
    {ok, Html} = file:read_file(?config(file, Config)),
    {ok, #{records := Records}} =
        cost_ledger:list(?config(ledger, Config), #{status => [failed, aborted]}, #{limit => 20}),
    {match, Told} = re:run(Html, "<span class=\"time\">([^<]+)</span><span class=\"status [a-z]+\">"
                           "([a-z]+)</span>.*?<span class=\"cost\">([^<]*)</span>",
                           [global, {capture, all_but_first, binary}]),
    ?assertEqual([[time(At), atom_to_binary(Status),
                   case Record of
                       #{cost := Cost} -> <<(money(Cost))/binary, " USD">>;
                       _ -> <<"unpriced">>
                   end] || #{timestamp := At, status := Status} = Record <- Records],
                 Told),
    {ok, #{invocations := #{failed := F, aborted := A}, runs := #{failed := RF, aborted := RA}}} =
        cost_ledger:totals(?config(ledger, Config), #{}),
    More = integer_to_binary(F + A + RF + RA - 20),
    ?assertNotEqual(nomatch, binary:match(Html, <<"And ", More/binary, " more before.">>)).

an_output_that_exists_is_left_alone(Config) ->
    File = filename:join(?config(priv_dir, Config), "there.html"),
    ok = file:write_file(File, <<"mine">>),
    {3, Said} = report(?config(path, Config), ["--output", File]),
    ?assertNotEqual(nomatch, binary:match(Said, <<"already">>)),
    ?assertEqual({ok, <<"mine">>}, file:read_file(File)).

an_output_that_cannot_be_made_is_told(Config) ->
    File = filename:join([?config(priv_dir, Config), "nowhere", "report.html"]),
    ?assertMatch({3, <<_, _/binary>>}, report(?config(path, Config), ["--output", File])),
    ?assertMatch({3, <<_, _/binary>>}, report(filename:dirname(File), [])).

a_filter_that_a_report_does_not_have_is_refused(Config) ->
    [?assertMatch({2, <<"cost_ledger: a report is of everything", _/binary>>},
                  report(?config(path, Config), Arguments))
     || Arguments <- [["--agent", "planner"], ["--status", "failed"]]].

an_empty_ledger(Config) ->
    Path = filename:join(?config(priv_dir, Config), "empty"),
    Ledger = cost_ledger_test:open(Path, #{series => ?SERIES}),
    ?START = cost_ledger_test:at(Ledger, ?START),
    {Html, Text} = both(Config, Path, "empty.html"),
    ?assertNotEqual(nomatch, binary:match(Html, <<"Nothing was booked yet">>)),
    ?assertEqual(0, definition(Html, "Gross")),
    ?assertNotEqual(nomatch, binary:match(Text, <<"nothing was booked yet">>)),
    ok = cost_ledger:stop(Ledger).

a_ledger_with_one_entry(Config) ->
    Path = filename:join(?config(priv_dir, Config), "one"),
    Ledger = cost_ledger_test:open(Path, #{series => ?SERIES}),
    At = cost_ledger_test:at(Ledger, ?START + 90 * 60000),
    ok = cost_ledger:record_invocation(Ledger, executing, #{cost => 123456789, agent => <<"one">>}),
    {Html, _} = both(Config, Path, "one.html"),
    ?assertEqual(123456789, definition(Html, "Gross")),
    ?assertEqual([[1, 0, 123456789, 123456789]], [numbers(Row) || {_, Row} <- group(Html, agent)]),
    ?assertMatch({<<"2023-11-14">>, _}, lists:last(chart(Html, <<"days">>))),
    ?assertMatch({<<"2023-11-14 01:00">>, _}, lists:last(chart(Html, <<"hours">>))),
    ?assertEqual([1, 0, 123456789, 123456789], numbers(element(2, lists:last(chart(Html, <<"hours">>))))),
    Begin = iolist_to_binary([time(At), " to "]),
    ?assertNotEqual(nomatch, binary:match(Html, Begin)),
    ok = cost_ledger:stop(Ledger).

a_series_that_is_not_declared_is_left_out(Config) ->
    Path = filename:join(?config(priv_dir, Config), "undeclared"),
    Ledger = cost_ledger_test:open(Path, #{series => [[model]]}),
    ok = cost_ledger:record_invocation(Ledger, executing, #{cost => 1, agent => <<"one">>}),
    {Html, Text} = both(Config, Path, "undeclared.html"),
    ?assertEqual([nomatch, nomatch], [binary:match(Html, <<"By agent">>),
                                      binary:match(Text, <<"by agent">>)]),
    ?assertMatch([{<<"no model">>, _}], group(Html, model)),
    ok = cost_ledger:stop(Ledger).

a_report_is_a_job_of_the_companion(Config) ->
    {ok, _} = application:ensure_all_started(cost_ledger),
    File = filename:join(?config(priv_dir, Config), "job.html"),
    Arguments = #{directory => unicode:characters_to_binary(?config(path, Config)),
                  output => unicode:characters_to_binary(File)},
    {ok, #{<<"bytes">> := Bytes}} = named(cost_ledger_companion:run(report, Arguments, #{})),
    ?assertEqual(Bytes, filelib:file_size(File)),
    ?assertEqual(file:read_file(?config(file, Config)), file:read_file(File)),
    ?assertMatch({error, {exists, _}}, cost_ledger_companion:run(report, Arguments, #{})),
    ?assertMatch({error, {_, _}},
                 cost_ledger_companion:run(report, maps:remove(output, Arguments), #{})),
    Later = Arguments#{output => unicode:characters_to_binary(File ++ ".part"),
                       since => (?START + ?DAY) * 1000, until => (?START + 2 * ?DAY) * 1000},
    {ok, _} = cost_ledger_companion:run(report, Later, #{}),
    {ok, Html} = file:read_file(File ++ ".part"),
    {ok, #{cost := #{gross := Gross}}} =
        cost_ledger:totals(?config(ledger, Config), #{since => ?START + ?DAY,
                                                      until => ?START + 2 * ?DAY - 1}),
    ?assertEqual(Gross, definition(Html, "Gross")).

named({ok, Map}) ->
    {ok, maps:from_list([{case Key of _ when is_atom(Key) -> atom_to_binary(Key); _ -> Key end, Value}
                         || {Key, Value} <- maps:to_list(Map)])};
named(Other) ->
    Other.

%%% Running what is tested ------------------------------------------------------------------------

%% The exit status, and what it wrote to either output.
report(Path, Arguments) -> run(program(), ["report", Path | Arguments]).

program() -> filename:join(code:priv_dir(cost_ledger), "cost_ledger").

run(Program, Arguments) ->
    Port = open_port({spawn_executable, Program},
                     [{args, Arguments}, binary, exit_status, stderr_to_stdout]),
    output(Port, <<>>).

output(Port, Said) ->
    receive
        {Port, {data, Data}} -> output(Port, <<Said/binary, Data/binary>>);
        {Port, {exit_status, Status}} -> {Status, Said}
    end.

both(Config, Path, Name) ->
    File = filename:join(?config(priv_dir, Config), Name),
    {0, <<>>} = report(Path, ["--output", File]),
    {0, Text} = report(Path, ["--text"]),
    [?assert(columns(Line) =< 80, Line) || Line <- binary:split(Text, <<"\n">>, [global])],
    {ok, Html} = file:read_file(File),
    {Html, Text}.

profile(Config) -> filename:join(?config(priv_dir, Config), "profile").

chromium(Config, Arguments) ->
    %% Standard error is full of what it misses in a machine without a desktop.
    run("/bin/sh", ["-c", "exec \"$@\" 2>/dev/null", "sh", ?config(chromium, Config), "--headless",
                    "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage",
                    "--user-data-dir=" ++ profile(Config) | Arguments]).

%% As the browser understood the file, written down again.
dom(Config, File) ->
    {0, Dom} = chromium(Config, ["--dump-dom", "file://" ++ File]),
    Dom.

screenshot(Config, Name, Size, Arguments) ->
    File = filename:join(?config(priv_dir, Config), Name ++ ".png"),
    {0, _} = chromium(Config, Arguments ++ ["--window-size=" ++ Size, "--screenshot=" ++ File,
                                            "file://" ++ ?config(file, Config)]),
    File.

%%% Reading a report ------------------------------------------------------------------------------

%% Names of elements that begin, each with those of its attributes.
tags(Html) ->
    {match, Tags} = re:run(Html, "<([a-zA-Z][^\\s/>]*)([^>]*)>",
                           [global, {capture, all_but_first, binary}]),
    [{Name, case re:run(Rest, "([^\\s=\"]+)=\"[^\"]*\"", [global, {capture, all_but_first, binary}]) of
                {match, Names} -> lists:append(Names);
                nomatch -> []
            end} || [Name, Rest] <- Tags].

definition(Html, Name) ->
    {match, [Money]} = re:run(Html, ["<dt>", Name, "</dt><dd>([^<]*)</dd>"],
                              [{capture, all_but_first, binary}]),
    nanos(Money).

row(Html, Name) ->
    [Row] = [Row || {Of, Row} <- rows(Html), Of =:= Name],
    Row.

group(Html, Dimension) ->
    [_, Rest] = binary:split(Html, iolist_to_binary(["id=\"by-", atom_to_list(Dimension), "\""])),
    [Section, _] = binary:split(Rest, <<"</section>">>),
    rows(Section).

chart(Html, Name) ->
    [_, Rest] = binary:split(Html, <<"<table class=\"", Name/binary, "\"">>),
    [Table, _] = binary:split(Rest, <<"</table>">>),
    rows(Table).

%% What stands in the cells of each row of a table.
rows(Html) ->
    {match, Rows} = re:run(Html, "<tr[^>]*><th scope=\"row\">(.*?)</th>(.*?)</tr>",
                           [global, dotall, {capture, all_but_first, binary}]),
    [{text(Name), case re:run(Cells, "<td[^>]*>(.*?)</td>",
                              [global, {capture, all_but_first, binary}]) of
                      {match, Found} -> lists:append(Found);
                      nomatch -> []
                  end} || [Name, Cells] <- Rows].

text(Html) -> re:replace(Html, "<[^>]*>", "", [global, {return, binary}]).

is_rest(Name, Dimension) ->
    binary:match(Name, [<<" others">>, iolist_to_binary(["no ", atom_to_list(Dimension)])]) =/= nomatch.

numbers([Calls, Runs, Gross, Net]) -> [count(Calls), count(Runs), nanos(Gross), nanos(Net)].

count(Text) -> binary_to_integer(binary:replace(Text, <<",">>, <<>>, [global])).

nanos(Text) ->
    {ok, Nanos} = cost_ledger_money:parse(Text),
    Nanos.

%% As few decimals as there are, at least two.
money(Nanos) ->
    Sign = case Nanos < 0 of true -> "-"; false -> "" end,
    Fraction = io_lib:format("~9..0b", [abs(Nanos) rem 1000000000]),
    Kept = max(2, length(string:trim(lists:flatten(Fraction), trailing, "0"))),
    iolist_to_binary([Sign, integer_to_list(abs(Nanos) div 1000000000), $.,
                      lists:sublist(lists:flatten(Fraction), Kept)]).

time(Ms) ->
    Text = calendar:system_time_to_rfc3339(Ms div 1000, [{offset, "Z"}, {time_designator, $\s}]),
    list_to_binary(lists:droplast(Text)).

%% As wide as a terminal shows it.
columns(Line) ->
    lists:sum([case Character >= 16#2E80 andalso Character =< 16#FFEF andalso Character =/= 16#FFFD of
                   true -> 2;
                   false -> 1
               end || Character <- unicode:characters_to_list(Line)]).
