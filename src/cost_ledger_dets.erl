%%% A table of the original ledger: a DETS file with an object {Id, #{id, hub_state, timestamp,
%%% duration_ms, prompt_type}} for each invocation. Read only, and only if it is sound.
%%%
%%% dets repairs what it finds damaged even in a file that it opens for reading, and puts the
%%% repaired one in its place. So it is shown a link in a directory of our own: what it puts there
%%% takes the place of the link, the file stays as it is, and we see that it had to be repaired.
%%%
%%% The objects are terms, and dets makes whatever atoms are in them: a file of somebody who is not
%%% trusted is not to be read.
-module(cost_ledger_dets).

-include_lib("kernel/include/file.hrl").

-export([open/1, close/1, count/1, fold/3, record/1, failed/3]).
-export_type([table/0, id/0, record/0, failure/0]).

-record(table,
        {name :: reference(),
         file :: file:name_all(),
         count :: non_neg_integer()}).

-opaque table() :: #table{}.
-type id() :: integer() | binary().
%% In this order they sort by time. The last two are checked where they are booked.
-type record() :: {Ms :: non_neg_integer(), id(), State :: atom(), DurationMs :: term(),
                   PromptType :: term()}.
-type failure() :: {error, {atom(), binary()}}.

-define(KEYS, [duration_ms, hub_state, id, prompt_type, timestamp]). % sorted
-define(TIMESTAMP_MAX, 253402300799999). % the end of the year 9999
-define(ID_BYTES_MAX, 1000).
%% About how many objects are in memory at once.
-define(SLICE, 500).

%% The caller owns the table: it is closed when the caller ends.
-spec open(file:name_all()) -> {ok, table()} | failure().
open(File) ->
    case file:read_file_info(File) of
        {ok, #file_info{type = regular} = Info} ->
            case is_open(Info) of
                false -> open_link(File);
                true -> failed(table_open, File, "the table is open in this VM: close it first")
            end;
        {ok, _Other} -> failed(not_a_table, File, "it is not a regular file");
        {error, Reason} -> failed(no_such_path, File, file:format_error(Reason))
    end.

%% By whatever name, in this VM. Of a table that another VM has open dets can tell while something
%% in it is not on the disk yet; count/1 tells of what was written since.
is_open(#file_info{inode = Inode, major_device = Device}) ->
    lists:any(fun(Table) ->
                      case file:read_file_info(dets:info(Table, filename)) of
                          {ok, #file_info{inode = Inode, major_device = Device}} -> true;
                          _ -> false
                      end
              end, dets:all()).

open_link(File) ->
    Directory = filename:join(temporary(), "cost_ledger-import-" ++ os:getpid() ++ "-"
                              ++ integer_to_list(erlang:unique_integer([positive]))),
    Link = filename:join(Directory, "table"),
    case file:make_dir(Directory) of
        ok ->
            try
                case file:make_symlink(filename:absname(File), Link) of
                    ok -> open_table(File, Link);
                    {error, Reason} -> failed(io_error, Link, file:format_error(Reason))
                end
            after
                %% What is open stays open.
                _ = file:delete(Link),
                _ = file:del_dir_r(Directory)
            end;
        {error, Reason} ->
            failed(io_error, Directory, file:format_error(Reason))
    end.

temporary() ->
    case os:getenv("TMPDIR") of
        Set when Set =:= false; Set =:= "" -> "/tmp";
        Directory -> Directory
    end.

open_table(File, Link) ->
    Options = [{file, Link}, {access, read}, {repair, false}],
    case read(fun() -> dets:open_file(make_ref(), Options) end) of
        {ok, Name} ->
            Table = #table{name = Name, file = File, count = dets:info(Name, size)},
            case file:read_link_info(Link) of
                {ok, #file_info{type = symlink}} ->
                    {ok, Table};
                _Replaced ->
                    ok = close(Table),
                    failed(damaged_table, File, repair_text())
            end;
        {unread, Reason} ->
            unread(Reason, File)
    end.

unread({needs_repair, _}, File) ->
    failed(damaged_table, File, repair_text());
unread({Reason, _}, File) when Reason =:= not_a_dets_file; Reason =:= invalid_type_code;
                                   Reason =:= old_version; Reason =:= invalid_hash_bucket ->
    failed(not_a_table, File, "it is not a DETS file");
unread({Reason, _}, File) when Reason =:= type_mismatch; Reason =:= keypos_mismatch ->
    failed(not_a_table, File, "it is a DETS file, but not a set with the key in front: it is no "
           "table of the original ledger");
unread({file_error, _, Reason}, File) ->
    failed(no_such_path, File, file:format_error(Reason));
unread(Reason, File) ->
    failed(damaged_table, File, ["dets cannot read it to its end: ",
                                 cost_ledger_error:describe(Reason)]).

repair_text() ->
    "the table was not closed properly, or is damaged. Stop whoever has it open, or let dets "
    "repair a copy, by opening it with dets:open_file/2 and closing it again".

-spec close(table()) -> ok.
close(#table{name = Name}) ->
    _ = dets:close(Name),
    ok.

%% How many objects it says it has. Who reads fewer, or more, read while others wrote.
-spec count(table()) -> non_neg_integer().
count(#table{count = Count}) -> Count.

%% Over its objects, in no order. Fun ends it with an error.
-spec fold(table(), fun((term(), Acc) -> {ok, Acc} | {error, Reason}), Acc) ->
          {ok, Acc} | {error, Reason | {atom(), binary()}}.
fold(#table{name = Name} = Table, Fun, Acc) ->
    slices(Table, fun() -> dets:select(Name, [{'$1', [], ['$1']}], ?SLICE) end, Fun, Acc).

slices(#table{file = File} = Table, Read, Fun, Acc) ->
    case read(Read) of
        '$end_of_table' ->
            {ok, Acc};
        {unread, Reason} ->
            unread(Reason, File);
        {Objects, Continuation} ->
            case each(Objects, Fun, Acc) of
                {ok, Next} -> slices(Table, fun() -> dets:select(Continuation) end, Fun, Next);
                {error, _} = Error -> Error
            end
    end.

each([Object | Objects], Fun, Acc) ->
    case Fun(Object, Acc) of
        {ok, Next} -> each(Objects, Fun, Next);
        {error, _} = Error -> Error
    end;
each([], _Fun, Acc) ->
    {ok, Acc}.

%% A table that is damaged inside may take the process that reads it down.
read(Read) ->
    try Read() of
        {error, Reason} -> {unread, Reason};
        Result -> Result
    catch error:badarg ->
            {unread, badarg}
    end.

%% What an object says. `invalid` comes with what is wrong with which.
-spec record(term()) -> {ok, record()} | {invalid, iodata()}.
record({Id, #{id := Id, hub_state := State, timestamp := At, duration_ms := DurationMs,
              prompt_type := PromptType} = Map})
  when map_size(Map) =:= length(?KEYS), is_atom(State), is_integer(At), At >= 0,
       At =< ?TIMESTAMP_MAX,
       is_integer(Id) orelse is_binary(Id) andalso byte_size(Id) =< ?ID_BYTES_MAX ->
    {ok, {At, Id, State, DurationMs, PromptType}};
record({Id, Map}) when is_map(Map) ->
    {invalid, [of_object(Id), wrong(Id, Map)]};
record(Other) ->
    {invalid, ["an object is not {Id, Map}, as the original ledger has them, but ",
               cost_ledger_error:describe(Other)]}.

of_object(Id) -> ["the object of ", cost_ledger_error:describe(Id), ": "].

wrong(Id, Map) ->
    case {?KEYS -- maps:keys(Map), maps:keys(Map) -- ?KEYS, Map} of
        {[Key | _], _, _} -> ["it has no ", atom_to_binary(Key)];
        {[], [Key | _], _} -> ["it has ", cost_ledger_error:describe(Key), ", which is not known"];
        {[], [], #{id := Other}} when Other =/= Id -> is(id, Other, "the key of the object");
        {[], [], #{hub_state := State}} when not is_atom(State) -> is(hub_state, State, "an atom");
        {[], [], #{timestamp := At}} when not is_integer(At); At < 0; At > ?TIMESTAMP_MAX ->
            is(timestamp, At, "Unix milliseconds");
        _ -> is(id, Id, "an integer or a binary of at most 1000 bytes")
    end.

is(Key, Value, Wanted) ->
    [atom_to_binary(Key), " must be ", Wanted, ", not ", cost_ledger_error:describe(Value)].

%% An error that says in which file.
-spec failed(atom(), file:name_all() | table(), iodata()) -> failure().
failed(Name, #table{file = File}, Text) ->
    failed(Name, File, Text);
failed(Name, File, Text) ->
    Shown = case unicode:characters_to_binary(File) of
                Readable when is_binary(Readable) -> Readable;
                _ -> cost_ledger_error:describe(File)
            end,
    {error, {Name, unicode:characters_to_binary([Shown, ": ", Text])}}.
