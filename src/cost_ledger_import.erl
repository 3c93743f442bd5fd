%%% Takes the invocations of the original ledger over, from its DETS table: at their own times where
%%% all that are not there yet are newer than everything in the ledger, else as if they were
%%% recorded now, with when they occurred. The same rule as c_src/port/import.c has.
%%%
%%% First all of the table is read, checked and sorted by time, which takes memory. Then it is
%%% booked in slices, through the writer, like records of any caller; others record meanwhile. What
%%% others record makes all that is left too old for its own time: it is then booked now.
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
%% As long as any: for a draft that is only looked at.
-define(SOME_CLIENT_ID, <<"dets:", 0:(2 * ?DIGEST_BYTES * 8)>>).

-record(survey,
        {ledger :: #ledger{},
         table :: cost_ledger_dets:table(),
         latest :: integer(), % the latest time that may be booked, ms
         states = #{} :: #{atom() => declared},
         %% Each is in memory once, however many records have it.
         prompt_types = #{} :: #{atom() | binary() => atom() | binary()},
         found = [] :: [cost_ledger_dets:record()]}).

-record(booking,
        {ledger :: #ledger{},
         times :: own | now | mixed,
         last_us = 0 :: non_neg_integer(), % the id of the record before, at its own time
         imported = 0 :: non_neg_integer(),
         repeated = 0 :: non_neg_integer()}).

-spec import(#ledger{}, term()) ->
          {ok, imported()} | {error, term()} | {invalid, 2, iodata()} | closed.
import(Ledger, File) ->
    case cost_ledger_jobs:file(File) of
        {ok, Absolute} ->
            case read(Ledger, Absolute) of
                {ok, Records} -> import_records(Ledger, Records);
                {error, _} = Error -> Error
            end;
        {invalid, Text} ->
            {invalid, 2, Text}
    end.

import_records(#ledger{handle = Handle} = Ledger, Records) ->
    case cost_ledger_nif:facts(Handle) of
        {ok, #{last_id := LastId}} ->
            case times(Handle, Records, LastId) of
                {ok, Times} -> book(Records, #booking{ledger = Ledger, times = Times});
                Error -> Error
            end;
        Error ->
            Error
    end.

%%% Reading ------------------------------------------------------------------------------------

%% All records, by time; none, if one of them could not be booked.
read(Ledger, File) ->
    case cost_ledger_dets:open(File) of
        {ok, Table} ->
            try survey(Ledger, Table)
            after cost_ledger_dets:close(Table)
            end;
        {error, _} = Error ->
            Error
    end.

survey(#ledger{handle = Handle} = Ledger, Table) ->
    First = #survey{ledger = Ledger, table = Table,
                    latest = cost_ledger_nif:now(Handle) div 1000 + ?AHEAD_MS},
    case cost_ledger_dets:fold(Table, fun look_at/2, First) of
        {ok, #survey{found = Found}} ->
            case {length(Found), cost_ledger_dets:count(Table)} of
                {Same, Same} ->
                    {ok, lists:sort(Found)};
                {Read, Says} ->
                    failed(damaged_table, Table, ["of ", integer_to_binary(Says), " objects ",
                                                  integer_to_binary(Read), " could be read: it is "
                                                  "damaged, or somebody writes to it"])
            end;
        {error, _} = Error ->
            Error
    end.

look_at(Object, #survey{table = Table} = Survey) ->
    case cost_ledger_dets:record(Object) of
        {ok, Record} -> check(Record, Survey);
        {invalid, Text} -> failed(bad_object, Table, Text)
    end.

check({Ms, Id, _, _, _}, #survey{table = Table, latest = Latest}) when Ms > Latest ->
    failed(occurs_ahead, Table, [of_object(Id), "timestamp ", integer_to_binary(Ms), " lies more "
                                 "than a minute ahead of ledger time"]);
check({Ms, Id, State, DurationMs, PromptType} = Record,
      #survey{ledger = Ledger, table = Table, states = States, prompt_types = PromptTypes,
              found = Found} = Survey) ->
    case {is_declared(Ledger, State, States), draft(Ledger, Record, ?SOME_CLIENT_ID, now)} of
        {false, _} ->
            failed(undeclared_state, Table,
                   [of_object(Id), "state ", cost_ledger_error:describe(State),
                    " is not declared; name it in the budgets, or call set_budgets"]);
        {closed, _} ->
            {error, unavailable};
        {true, {invalid, Text}} ->
            failed(bad_object, Table, [of_object(Id), Text]);
        {true, {ok, Draft}} when byte_size(Draft) > Ledger#ledger.max_entry_size ->
            failed(entry_too_large, Table,
                   io_lib:format("~tsit takes ~b bytes, max_entry_size is ~b",
                                 [of_object(Id), byte_size(Draft), Ledger#ledger.max_entry_size]));
        {true, {ok, _Draft}} ->
            Own = maps:get(PromptType, PromptTypes, PromptType),
            {ok, Survey#survey{states = States#{State => declared},
                               prompt_types = PromptTypes#{Own => Own},
                               found = [{Ms, Id, State, DurationMs, Own} | Found]}}
    end.

is_declared(_Ledger, State, States) when is_map_key(State, States) -> true;
is_declared(Ledger, State, _States) -> cost_ledger_states:is_declared(Ledger, State).

of_object(Id) -> ["the object of ", cost_ledger_error:describe(Id), ": "].

failed(Name, Table, Text) ->
    cost_ledger_dets:failed(Name, Table, Text).

%%% Which times --------------------------------------------------------------------------------

%% Own, if every record that is not there yet is newer than the ledger's last entry, none is ahead
%% of ledger time, and no millisecond has more than there are ids in it.
times(Handle, Records, LastId) ->
    case fits(Records, 0, cost_ledger_nif:now(Handle)) of
        true -> not_older(Handle, Records, 0, LastId);
        false -> {ok, now}
    end.

fits([Record | Records], LastUs, NowUs) ->
    case own_id(Record, LastUs) of
        Us when Us div 1000 =:= element(1, Record), Us =< NowUs -> fits(Records, Us, NowUs);
        _ -> false
    end;
fits([], _LastUs, _NowUs) ->
    true.

%% The same each time that this table is read, up to where records were added between.
own_id({Ms, _, _, _, _}, LastUs) -> max(Ms * 1000, LastUs + 1).

not_older(Handle, Records, LastUs, LastId) ->
    case older(Records, LastUs, LastId, ?SLICE, []) of
        {[], _, _} ->
            {ok, own};
        {Older, Rest, Us} ->
            case cost_ledger_nif:known(Handle, [client_id(Record) || Record <- Older]) of
                {ok, Ids} ->
                    case lists:member(0, Ids) of
                        true -> {ok, now};
                        false -> not_older(Handle, Rest, Us, LastId)
                    end;
                Error ->
                    Error
            end
    end.

older([Record | Records] = All, LastUs, LastId, Left, Older) ->
    case own_id(Record, LastUs) of
        Us when Us =< LastId, Left > 0 -> older(Records, Us, LastId, Left - 1, [Record | Older]);
        _ -> {Older, All, LastUs}
    end;
older([], LastUs, _LastId, _Left, Older) ->
    {Older, [], LastUs}.

%%% Booking ------------------------------------------------------------------------------------

book([], #booking{times = Times, imported = Imported, repeated = Repeated}) ->
    {ok, #{imported => Imported, repeated => Repeated, times => Times}};
book(Records, Booking) ->
    {Slice, Rest, Next} = slice(Records, ?SLICE, Booking, []),
    case book_slice(Slice, Next) of
        {ok, Done} -> book(Rest, Done);
        {error, _} = Error -> Error
    end.

%% The next ones, with the ids that they have at their own times.
slice([Record | Records], Left, #booking{last_us = LastUs} = Booking, Slice) when Left > 0 ->
    Us = own_id(Record, LastUs),
    slice(Records, Left - 1, Booking#booking{last_us = Us}, [{Us, Record} | Slice]);
slice(Records, _Left, Booking, Slice) ->
    {lists:reverse(Slice), Records, Booking}.

book_slice(Slice, #booking{ledger = Ledger, times = Times} = Booking) ->
    Answers = cost_ledger_queue:call_all(Ledger, [request(Ledger, One, Times) || One <- Slice]),
    case answered(Slice, Answers, Booking, []) of
        {ok, [], Done} -> {ok, Done};
        {ok, Overtaken, Done} -> book_slice(Overtaken, Done#booking{times = now_on(Done)});
        {error, _} = Error -> Error
    end.

now_on(#booking{imported = 0}) -> now;
now_on(_Booking) -> mixed.

request(Ledger, {Us, Record}, own) ->
    {ok, Draft} = draft(Ledger, Record, client_id(Record), own),
    {{import, Us}, Draft};
request(Ledger, {_Us, Record}, _NowOrMixed) ->
    {ok, Draft} = draft(Ledger, Record, client_id(Record), now),
    {record, Draft}.

answered([One | Slice], [Answer | Answers], Booking, Overtaken) ->
    #booking{imported = Imported, repeated = Repeated} = Booking,
    case Answer of
        {ok, _Id, Flags} when Flags band ?REPEATED =:= 0 ->
            answered(Slice, Answers, Booking#booking{imported = Imported + 1}, Overtaken);
        {ok, _Id, _Flags} ->
            answered(Slice, Answers, Booking#booking{repeated = Repeated + 1}, Overtaken);
        %% At its own time before, and now this time; or the other way round.
        {error, {conflict, _Id}} ->
            answered(Slice, Answers, Booking#booking{repeated = Repeated + 1}, Overtaken);
        {error, {overtaken, _Text}} ->
            answered(Slice, Answers, Booking, [One | Overtaken]);
        {error, _} = Error ->
            told(Booking, Error)
    end;
answered([], [], Booking, Overtaken) ->
    {ok, lists:reverse(Overtaken), Booking}.

%% What an error says of one entry, that nothing was booked, is not so of those before it.
told(#booking{imported = Imported}, {error, {Name, Text}}) when Imported > 0, is_binary(Text) ->
    {error, {Name, <<Text/binary, " (", (integer_to_binary(Imported))/binary,
                     " records were imported before that; the same import again goes on)">>}};
told(_Booking, Error) ->
    Error.

draft(#ledger{max_entry_size = BytesMax}, {Ms, _, State, DurationMs, PromptType}, ClientId,
      Times) ->
    Meta = #{duration_ms => DurationMs, prompt_type => PromptType, id => ClientId},
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
client_id({Ms, Id, State, DurationMs, PromptType}) ->
    Said = [part(Part) || Part <- [Id, State, Ms, DurationMs, PromptType]],
    <<Digest:?DIGEST_BYTES/binary, _/binary>> = cost_ledger_nif:digest(iolist_to_binary(Said)),
    <<"dets:", (binary:encode_hex(Digest))/binary>>.

part(Part) when is_integer(Part) -> [$i, integer_to_binary(Part), $;];
part(Part) when is_atom(Part) -> part(atom_to_binary(Part));
part(Part) when is_binary(Part) -> [$t, integer_to_binary(byte_size(Part)), $:, Part].
