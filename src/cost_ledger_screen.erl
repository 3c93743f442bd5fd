%%% The inspection screen: what an operator on a remote shell wants to know first, on 80 columns.
-module(cost_ledger_screen).

-include("cost_ledger.hrl").

-export([print/1, format/1]).

-define(BAR, 8).
-define(BUDGETS_MAX, 20).

-spec print(#ledger{}) -> ok | {error, cost_ledger:reason()}.
print(Ledger) ->
    case format(Ledger) of
        {ok, Text} -> io:put_chars(Text);
        Error -> Error
    end.

-spec format(#ledger{}) -> {ok, iodata()} | {error, cost_ledger:reason()}.
format(#ledger{handle = Handle} = Ledger) ->
    case {cost_ledger_view:stats(Handle), cost_ledger_nif:facts(Handle)} of
        {#{hourly := _} = Stats, {ok, Facts}} ->
            {ok, [header(Ledger, Facts, Stats), table(Handle, Stats), budgets(Handle, Stats)]};
        {closed, _} -> {error, unavailable};
        {_, closed} -> {error, unavailable};
        {{error, _} = Error, _} -> Error;
        {_, {error, _} = Error} -> Error
    end.

header(#ledger{name = Name, path = Path, clock = Clock, handle = Handle},
       #{entries := Entries, data_bytes := Bytes, currency := Currency, holds := Holds,
         kept_from := KeptFrom},
       #{ledger_time := Now}) ->
    Ahead = Now - erlang:system_time(millisecond),
    [io_lib:format("cost_ledger ~tp  ~ts~n", [Name, Path]),
     io_lib:format("  ~ts entries, ~ts, currency ~ts, writer ~ts~n",
                   [grouped(Entries), bytes(Bytes), Currency, writer(Handle)]),
     io_lib:format("  ledger time ~ts~ts, ~ts~n", [time(Now), clock(Clock, Ahead), live(Holds)]),
     removed(KeptFrom), $\n].

removed(0) -> "";
removed(KeptFrom) ->
    io_lib:format("  archived and removed: what is older than ~ts~n", [time(KeptFrom)]).

live(1) -> "1 live hold";
live(Holds) -> [grouped(Holds), " live holds"].

clock(manual, _) -> " (manual clock)";
clock(system, Ahead) when Ahead > 1000 -> [" (", seconds(Ahead), " ahead of the wall clock)"];
clock(system, Ahead) when Ahead < -1000 -> [" (", seconds(-Ahead), " behind the wall clock)"];
clock(system, _) -> "".

seconds(Ms) -> io_lib:format("~b.~b s", [Ms div 1000, Ms rem 1000 div 100]).

writer(Handle) ->
    case cost_ledger_nif:writer(Handle) of
        {Pid, _Booked} ->
            case process_info(Pid, message_queue_len) of
                {_, Length} -> io_lib:format("~p (~b waiting)", [Pid, Length]);
                undefined -> "restarting"
            end;
        _ ->
            "none"
    end.

table(Handle, #{hourly := Hourly, daily := Daily, session := Session, budgets := Budgets}) ->
    States = lists:sort(maps:keys(Budgets)),
    Rows = [["state", "this hour", "today", "session", "gate"]
            | [row(State, maps:get(State, Hourly), maps:get(State, Daily),
                   maps:get(State, Session), maps:get(State, Budgets), gate(Handle, State))
               || State <- States]]
        ++ [["total", integer_to_list(maps:get(total, Hourly)),
             integer_to_list(maps:get(total, Daily)), grouped(maps:get(total, Session)), ""]],
    aligned([{left, 14}, {left, 18}, {left, 18}, {right, 9}, {left, 0}], Rows).

row(State, Hour, Day, All, #{hourly_limit := HourLimit, daily_limit := DayLimit}, Gate) ->
    [name(State), used(Hour, HourLimit), used(Day, DayLimit), grouped(All), Gate].

name(State) ->
    Text = if is_atom(State) -> atom_to_list(State);
              true -> unicode:characters_to_list(State)
           end,
    cut(Text, 14).

%% "12/20 ######...."
used(Used, infinity) ->
    io_lib:format("~b of any", [Used]);
used(Used, Limit) ->
    Filled = case Limit of
                 0 -> ?BAR;
                 _ -> min(?BAR, Used * ?BAR div Limit)
             end,
    Text = io_lib:format("~b/~b", [Used, Limit]),
    case string:length(Text) =< 9 of
        true -> io_lib:format("~-9ts ~ts", [Text, [lists:duplicate(Filled, $#),
                                                   lists:duplicate(?BAR - Filled, $.)]]);
        false -> Text
    end.

gate(Handle, State) when is_atom(State) ->
    Now = cost_ledger_nif:now(Handle),
    case cost_ledger_nif:allowed_from(Handle, State) of
        undeclared -> declared_gate(Handle, State);
        never -> "stopped";
        From when From =< Now -> "open";
        From -> ["until ", clock_time(From div 1000)]
    end;
gate(_Handle, _Name) ->
    "".

declared_gate(Handle, State) ->
    case cost_ledger_nif:declare(Handle, State, atom_to_binary(State)) of
        ok -> gate(Handle, State);
        _ -> ""
    end.

%%% Other budgets ------------------------------------------------------------------------------

%% Those that name their values and are not in the table above, the fullest first.
budgets(Handle, #{budgets := States}) ->
    case cost_ledger_status:status(Handle, all) of
        {ok, #{rules := Rules}} ->
            Above = [<<(state_name(State))/binary, Suffix/binary>>
                     || State <- maps:keys(States), Suffix <- [<<"/hour">>, <<"/day">>]],
            Others = [Rule || #{rule := Name} = Rule <- Rules, not lists:member(Name, Above)],
            budget_rows(lists:sort(fun(#{percent := A}, #{percent := B}) -> A >= B end, Others));
        _ ->
            ""
    end.

state_name(State) when is_atom(State) -> atom_to_binary(State);
state_name(State) -> State.

budget_rows([]) ->
    "";
budget_rows(Rules) ->
    Shown = lists:sublist(Rules, ?BUDGETS_MAX),
    Rows = [["budget", "window", "used", "held", "limit", "%", "level"]
            | [budget_row(Rule) || Rule <- Shown]],
    Sides = [{left, 0}, {left, 0}, {right, 0}, {right, 0}, {right, 0}, {right, 0}, {left, 0}],
    ["\n", aligned(Sides, Rows),
     [io_lib:format("  and ~b more: cost_ledger:budget_status(all)~n",
                    [length(Rules) - ?BUDGETS_MAX])
      || length(Rules) > ?BUDGETS_MAX]].

budget_row(#{rule := Name, window := Window, measure := Measure, used := Used, held := Held,
             limit := Limit, percent := Percent, level := Level}) ->
    [cut(unicode:characters_to_list(Name), 15), window(Window), amount(Measure, Used),
     amount(Measure, Held), amount(Measure, Limit), percent(Percent), atom_to_list(Level)].

%% As wide as the widest, and at least so much: a figure that is cut is another figure.
aligned(Sides, Rows) ->
    Flat = [[lists:flatten(Cell) || Cell <- Row] || Row <- Rows],
    Widths = lists:foldl(fun(Row, Acc) ->
                                 [max(string:length(Cell), Width)
                                  || {Cell, Width} <- lists:zip(Row, Acc)]
                         end, [Least || {_Side, Least} <- Sides], Flat),
    [line(Sides, Widths, Row) || Row <- Flat].

line(Sides, Widths, Row) ->
    Cells = [pad(Side, Width - string:length(Cell), Cell)
             || {{Side, _Least}, Width, Cell} <- lists:zip3(Sides, Widths, Row)],
    ["  ", string:trim(lists:flatten(lists:join(" ", separated(Cells))), trailing), "\n"].

%% Two blanks before the last column: what comes before it may be a number.
separated(Cells) ->
    {Before, [Last]} = lists:split(length(Cells) - 1, Cells),
    Before ++ [[$\s | Last]].

pad(left, Missing, Cell) -> Cell ++ lists:duplicate(Missing, $\s);
pad(right, Missing, Cell) -> lists:duplicate(Missing, $\s) ++ Cell.

percent(N) when N > 999 -> ">999";
percent(N) -> integer_to_list(N).

window({rolling, Ms}) when Ms rem 86400000 =:= 0 -> io_lib:format("~b d", [Ms div 86400000]);
window({rolling, Ms}) when Ms rem 3600000 =:= 0 -> io_lib:format("~b h", [Ms div 3600000]);
window({rolling, Ms}) when Ms rem 60000 =:= 0 -> io_lib:format("~b min", [Ms div 60000]);
window({rolling, Ms}) -> io_lib:format("~b ms", [Ms]);
window({calendar, Period, _Offset}) -> atom_to_list(Period);
window(lifetime) -> "lifetime".

%% Money and credits in whole units. Large numbers are shortened, downwards; the nano-units of
%% budget_status are exact.
amount(_Measure, infinity) ->
    "any";
amount(Measure, N) when N < 0 ->
    [$-, amount(Measure, -N)];
amount(Measure, N) when Measure =:= invocations; Measure =:= completed_invocations;
                        Measure =:= tokens ->
    short(N);
amount(_Measure, N) when N >= 1000000000000000 ->
    short(N div 1000000000);
amount(_Measure, N) ->
    [grouped(N div 1000000000), $., io_lib:format("~4..0b", [N rem 1000000000 div 100000])].

short(N) when N < 10000000 -> grouped(N);
short(N) when N < 10000000000 -> shortened(N, 1000000, "M");
short(N) when N < 10000000000000 -> shortened(N, 1000000000, "G");
short(N) -> shortened(N, 1000000000000, "T").

shortened(N, Unit, Letter) ->
    [grouped(N div Unit), $., integer_to_list(N rem Unit * 10 div Unit), Letter].

cut(Text, Width) ->
    case length(Text) > Width of
        true -> [lists:sublist(Text, Width - 1), "~"];
        false -> Text
    end.

time(Ms) ->
    calendar:system_time_to_rfc3339(Ms, [{unit, millisecond}, {offset, "Z"}]).

%% The time of day, UTC; a day is at most a day away.
clock_time(Ms) ->
    string:slice(calendar:system_time_to_rfc3339(Ms div 1000, [{offset, "Z"}]), 11, 8).

grouped(N) when N < 1000 -> integer_to_list(N);
grouped(N) -> [grouped(N div 1000), $,, io_lib:format("~3..0b", [N rem 1000])].

bytes(N) when N < 1 bsl 20 -> io_lib:format("~b KiB", [N bsr 10]);
bytes(N) -> io_lib:format("~b.~b MiB", [N bsr 20, (N band 16#fffff) * 10 bsr 20]).
