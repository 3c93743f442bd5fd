%%% The inspection screen: what an operator on a remote shell wants to know first, on 80 columns.
-module(cost_ledger_screen).

-include("cost_ledger.hrl").

-export([print/1, format/1]).

-define(BAR, 8).

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
            {ok, [header(Ledger, Facts, Stats), table(Handle, Stats)]};
        {closed, _} -> {error, unavailable};
        {_, closed} -> {error, unavailable};
        {{error, _} = Error, _} -> Error;
        {_, {error, _} = Error} -> Error
    end.

header(#ledger{name = Name, path = Path, clock = Clock, handle = Handle},
       #{entries := Entries, data_bytes := Bytes, currency := Currency},
       #{ledger_time := Now}) ->
    Ahead = Now - erlang:system_time(millisecond),
    [io_lib:format("cost_ledger ~tp  ~ts~n", [Name, Path]),
     io_lib:format("  ~ts entries, ~ts, currency ~ts, writer ~ts~n",
                   [grouped(Entries), bytes(Bytes), Currency, writer(Handle)]),
     io_lib:format("  ledger time ~ts~ts~n~n", [time(Now), clock(Clock, Ahead)])].

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
    [io_lib:format("  ~-14ts ~-18ts ~-18ts ~9ts  ~ts~n",
                   ["state", "this hour", "today", "session", "gate"]),
     [row(State, maps:get(State, Hourly), maps:get(State, Daily), maps:get(State, Session),
          maps:get(State, Budgets), gate(Handle, State))
      || State <- States],
     io_lib:format("  ~-14ts ~-18ts ~-18ts ~9ts~n",
                   ["total", integer_to_binary(maps:get(total, Hourly)),
                    integer_to_binary(maps:get(total, Daily)), grouped(maps:get(total, Session))])].

row(State, Hour, Day, All, #{hourly_limit := HourLimit, daily_limit := DayLimit}, Gate) ->
    io_lib:format("  ~-14ts ~-18ts ~-18ts ~9ts  ~ts~n",
                  [name(State), used(Hour, HourLimit), used(Day, DayLimit), grouped(All), Gate]).

name(State) ->
    Text = if is_atom(State) -> atom_to_list(State);
              true -> unicode:characters_to_list(State)
           end,
    case length(Text) > 14 of
        true -> [lists:sublist(Text, 13), "~"];
        false -> Text
    end.

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

time(Ms) ->
    calendar:system_time_to_rfc3339(Ms, [{unit, millisecond}, {offset, "Z"}]).

%% The time of day, UTC; a day is at most a day away.
clock_time(Ms) ->
    string:slice(calendar:system_time_to_rfc3339(Ms div 1000, [{offset, "Z"}]), 11, 8).

grouped(N) when N < 1000 -> integer_to_list(N);
grouped(N) -> [grouped(N div 1000), $,, io_lib:format("~3..0b", [N rem 1000])].

bytes(N) when N < 1 bsl 20 -> io_lib:format("~b KiB", [N bsr 10]);
bytes(N) -> io_lib:format("~b.~b MiB", [N bsr 20, (N band 16#fffff) * 10 bsr 20]).
