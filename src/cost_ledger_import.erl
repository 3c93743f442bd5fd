%%% Takes the invocations of the original ledger over, from its DETS table: at their own times where
%%% all that are not there yet are newer than everything in the ledger, else as if they were
%%% recorded now, with when they occurred. The same rule as c_src/port/import.c has.
%%%
%%% The table is read twice. First every object is checked, and what it takes to sort them by time
%%% is kept. Then they are booked in that order, in slices, through the writer, like records of any
%%% caller; others record meanwhile. What others record makes all that is left too old for its own
%%% time: it is then booked now.
%%%
%%% Each record goes by a client id made from all that it says: the same table again, a later copy
%%% of it, or what was left when an import ended in the middle, books what is not there yet.
-module(cost_ledger_import).

-include("cost_ledger.hrl").

-export([import/2]).
-export_type([imported/0]).

%% repeated: that were there already. times: own, now, or mixed when others recorded meanwhile.
-type imported() :: #{imported := non_neg_integer(), repeated := non_neg_integer(),
                      times := own | now | mixed}.

%% How many records the writer gets at once: it does them in one transaction, between others.
-define(SLICE, 256).
%% How far what happened may be ahead of ledger time; the same in c_src/core/batch.c.
-define(AHEAD_MS, 60000).
%% Beside an entry's flags: it was done before.
-define(REPEATED, (1 bsl 31)).
-define(DIGEST_BYTES, 16). % of a client id

%% What the first reading found.
-record(survey,
        {ledger :: #ledger{},
         table :: cost_ledger_dets:table(),
         latest :: integer(), % the latest time that may be booked, ms
         states = #{} :: #{atom() => declared},
         found = [] :: [{Ms :: non_neg_integer(), cost_ledger_dets:id()}]}).

-record(booking,
        {ledger :: #ledger{},
         table :: cost_ledger_dets:table(),
         times :: own | now | mixed,
         last_us = 0 :: non_neg_integer(), % the id of the record before, at its own time
         imported = 0 :: non_neg_integer(),
         repeated = 0 :: non_neg_integer()}).

-spec import(#ledger{}, term()) ->
          {ok, imported()} | {error, term()} | {invalid, 2, iodata()} | closed.
import(Ledger, File) ->
    case cost_ledger_jobs:file(File) of
        {ok, Absolute} ->
            case cost_ledger_dets:open(Absolute) of
                {ok, Table} ->
                    try import_table(Ledger, Table)
                    after cost_ledger_dets:close(Table)
                    end;
                {error, _} = Error ->
                    Error
            end;
        {invalid, Text} ->
            {invalid, 2, Text}
    end.

import_table(#ledger{handle = Handle} = Ledger, Table) ->
    case survey(Ledger, Table) of
        {ok, Found} ->
            case cost_ledger_nif:facts(Handle) of
                {ok, #{last_id := LastId}} ->
                    case times(Ledger, Table, Found, LastId) of
                        {ok, Times} ->
                            book(Found, #booking{ledger = Ledger, table = Table, times = Times});
                        Error ->
                            Error
                    end;
                Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%%% The first reading --------------------------------------------------------------------------

%% {Ms, Id} of all records, by time; nothing, if one of them could not be booked.
survey(#ledger{handle = Handle} = Ledger, Table) ->
    First = #survey{ledger = Ledger, table = Table,
                    latest = cost_ledger_nif:now(Handle) div 1000 + ?AHEAD_MS},
    case cost_ledger_dets:fold(Table, fun look_at/2, First) of
        {ok, #survey{found = Found}} ->
            case {length(Found), cost_ledger_dets:count(Table)} of
                {Same, Same} -> {ok, lists:sort(Found)};
                {Read, Says} ->
                    failed(damaged_table, Table, ["of ", integer_to_binary(Says), " objects ",
                                                  integer_to_binary(Read), " could be read: it is "
                                                  "damaged, or somebody writes to it"])
            end;
        {error, _} = Error ->
            Error
    end.

look_at(Object, #survey{ledger = Ledger, table = Table, found = Found} = Survey) ->
    case cost_ledger_dets:record(Object) of
        {ok, #{id := Id, timestamp := Ms} = Record} ->
            case check(Record, Survey) of
                {ok, Checked} ->
                    case draft(Ledger, Record, now) of
                        {ok, _Draft} -> {ok, Checked#survey{found = [{Ms, Id} | Found]}};
                        {invalid, Text} -> failed(bad_object, Table, [of_object(Id), Text])
                    end;
                {error, _} = Error ->
                    Error
            end;
        {invalid, Text} ->
            failed(bad_object, Table, Text)
    end.

check(#{id := Id, timestamp := Ms}, #survey{table = Table, latest = Latest}) when Ms > Latest ->
    failed(occurs_ahead, Table, [of_object(Id), "timestamp ", integer_to_binary(Ms), " lies more "
                                 "than a minute ahead of ledger time"]);
check(#{id := Id, state := State},
      #survey{ledger = Ledger, table = Table, states = States} = Survey) ->
    case States of
        #{State := declared} ->
            {ok, Survey};
        _ ->
            case cost_ledger_states:is_declared(Ledger, State) of
                true -> {ok, Survey#survey{states = States#{State => declared}}};
                false -> failed(undeclared_state, Table,
                                [of_object(Id), "state ", cost_ledger_error:describe(State),
                                 " is not declared; name it in the budgets, or call set_budgets"]);
                closed -> {error, unavailable}
            end
    end.

of_object(Id) -> ["the object of ", cost_ledger_error:describe(Id), ": "].

%%% Which times --------------------------------------------------------------------------------

%% Own, if every record that is not there yet is newer than the ledger's last entry, none is ahead
%% of ledger time, and no millisecond has more than there are ids in it.
times(#ledger{handle = Handle} = Ledger, Table, Found, LastId) ->
    case fits(Found, 0, cost_ledger_nif:now(Handle)) of
        true -> not_older(Ledger, Table, Found, 0, LastId);
        false -> {ok, now}
    end.

fits([{Ms, _Id} | Found], LastUs, NowUs) ->
    case own_id(Ms, LastUs) of
        Us when Us div 1000 =:= Ms, Us =< NowUs -> fits(Found, Us, NowUs);
        _ -> false
    end;
fits([], _LastUs, _NowUs) ->
    true.

%% The same each time that this table is read, up to where records were added between.
own_id(Ms, LastUs) -> max(Ms * 1000, LastUs + 1).

not_older(#ledger{handle = Handle} = Ledger, Table, Found, LastUs, LastId) ->
    case older(Found, LastUs, LastId, ?SLICE, []) of
        {[], _, _} ->
            {ok, own};
        {Older, Rest, Us} ->
            case client_ids(Older, Table, []) of
                {ok, ClientIds} ->
                    case cost_ledger_nif:known(Handle, ClientIds) of
                        {ok, Ids} ->
                            case lists:member(0, Ids) of
                                true -> {ok, now};
                                false -> not_older(Ledger, Table, Rest, Us, LastId)
                            end;
                        Error ->
                            Error
                    end;
                {error, _} = Error ->
                    Error
            end
    end.

older([{Ms, Id} | Found] = All, LastUs, LastId, Left, Older) ->
    case own_id(Ms, LastUs) of
        Us when Us =< LastId, Left > 0 -> older(Found, Us, LastId, Left - 1, [Id | Older]);
        _ -> {Older, All, LastUs}
    end;
older([], LastUs, _LastId, _Left, Older) ->
    {Older, [], LastUs}.

client_ids([Id | Ids], Table, ClientIds) ->
    case read(Table, Id) of
        {ok, Record} -> client_ids(Ids, Table, [client_id(Record) | ClientIds]);
        {error, _} = Error -> Error
    end;
client_ids([], _Table, ClientIds) ->
    {ok, ClientIds}.

%%% The second reading -------------------------------------------------------------------------

book([], #booking{times = Times, imported = Imported, repeated = Repeated}) ->
    {ok, #{imported => Imported, repeated => Repeated, times => Times}};
book(Found, Booking) ->
    {Slice, Rest} = lists:split(min(?SLICE, length_up_to(?SLICE, Found)), Found),
    case records(Slice, Booking, []) of
        {ok, Records, Next} ->
            case book_slice(Records, Next) of
                {ok, Done} -> book(Rest, Done);
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            told(Booking, Error)
    end.

length_up_to(Most, List) -> length_up_to(Most, List, 0).

length_up_to(Most, [_ | Rest], Length) when Length < Most -> length_up_to(Most, Rest, Length + 1);
length_up_to(_Most, _Rest, Length) -> Length.

%% With the ids that they have at their own times.
records([{Ms, Id} | Found], #booking{table = Table, last_us = LastUs} = Booking, Records) ->
    case read(Table, Id) of
        {ok, Record} ->
            Us = own_id(Ms, LastUs),
            records(Found, Booking#booking{last_us = Us}, [{Us, Record} | Records]);
        {error, _} = Error ->
            Error
    end;
records([], Booking, Records) ->
    {ok, lists:reverse(Records), Booking}.

book_slice(Records, #booking{ledger = Ledger, times = Times} = Booking) ->
    Answers = cost_ledger_queue:call_all(Ledger, [request(Ledger, Record, Times)
                                                  || Record <- Records]),
    case answered(Records, Answers, Booking, []) of
        {ok, [], Done} -> {ok, Done};
        {ok, Overtaken, Done} -> book_slice(Overtaken, Done#booking{times = now_on(Done)});
        {error, _} = Error -> Error
    end.

now_on(#booking{imported = 0}) -> now;
now_on(_Booking) -> mixed.

request(Ledger, {Us, Record}, own) ->
    {ok, Draft} = draft(Ledger, Record, own),
    {{import, Us}, Draft};
request(Ledger, {_Us, Record}, _NowOrMixed) ->
    {ok, Draft} = draft(Ledger, Record, now),
    {record, Draft}.

answered([Record | Records], [Answer | Answers], Booking, Overtaken) ->
    #booking{imported = Imported, repeated = Repeated} = Booking,
    case Answer of
        {ok, _Id, Flags} when Flags band ?REPEATED =:= 0 ->
            answered(Records, Answers, Booking#booking{imported = Imported + 1}, Overtaken);
        {ok, _Id, _Flags} ->
            answered(Records, Answers, Booking#booking{repeated = Repeated + 1}, Overtaken);
        %% By its own time the other time, and now this time; or the other way round.
        {error, {conflict, _Id}} ->
            answered(Records, Answers, Booking#booking{repeated = Repeated + 1}, Overtaken);
        {error, {overtaken, _Text}} ->
            answered(Records, Answers, Booking, [Record | Overtaken]);
        {error, _} = Error ->
            told(Booking, Error)
    end;
answered([], [], Booking, Overtaken) ->
    {ok, lists:reverse(Overtaken), Booking}.

%% An error after the first slices says that it is not the whole truth that nothing was booked.
told(#booking{imported = Imported}, {error, {Name, Text}}) when Imported > 0, is_binary(Text) ->
    {error, {Name, <<Text/binary, " (", (integer_to_binary(Imported))/binary,
                     " records were imported before that; the same import again goes on)">>}};
told(_Booking, Error) ->
    Error.

%%% Records ------------------------------------------------------------------------------------

read(Table, Id) ->
    case cost_ledger_dets:lookup(Table, Id) of
        {ok, Object} ->
            case cost_ledger_dets:record(Object) of
                {ok, Record} -> {ok, Record};
                {invalid, Text} -> failed(bad_object, Table, Text)
            end;
        {error, _} = Error ->
            Error
    end.

draft(#ledger{max_entry_size = BytesMax},
      #{state := State, timestamp := Ms, duration_ms := DurationMs,
        prompt_type := PromptType} = Record, Times) ->
    Meta = #{duration_ms => DurationMs, prompt_type => PromptType, id => client_id(Record)},
    Whole = case Times of
                own -> Meta;
                now -> Meta#{occurred_at => Ms}
            end,
    case cost_ledger_record:draft(State, Whole, BytesMax) of
        {ok, Draft, _DurationMs, _PromptType} -> {ok, Draft};
        {invalid, Text} -> {invalid, Text}
    end.

%% By all that it says, as bytes that are the same in every version: ids began anew with each start
%% of the VM there, and a table that was copied is the same table.
client_id(#{id := Id, state := State, timestamp := Ms, duration_ms := DurationMs,
            prompt_type := PromptType}) ->
    Said = [part(Part) || Part <- [Id, State, Ms, DurationMs, PromptType]],
    <<Digest:?DIGEST_BYTES/binary, _/binary>> = cost_ledger_nif:digest(iolist_to_binary(Said)),
    <<"dets:", (binary:encode_hex(Digest))/binary>>.

part(Part) when is_integer(Part) -> [$i, integer_to_binary(Part), $;];
part(Part) when is_atom(Part) -> part(atom_to_binary(Part));
part(Part) when is_binary(Part) -> [$t, integer_to_binary(byte_size(Part)), $:, Part];
part(_Wrong) -> $?. % refused for what it is

failed(Name, Table, Text) ->
    cost_ledger_dets:failed(Name, Table, Text).
