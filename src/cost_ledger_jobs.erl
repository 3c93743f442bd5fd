%%% What takes long, done by the companion: the caller's side. Nothing of it runs in the VM.
-module(cost_ledger_jobs).

-include("cost_ledger.hrl").

-export([export/5, report/3, backup/3, restore/3, verify/2, seal/4]).
-export([file/1, options/2]).
-export_type([options/0, report_options/0, finding/0]).

%% progress is called in the caller's process with (Done, Total); Total 0: not known. columns: of CSV.
-type options() :: #{timeout => timeout(), columns => [atom()],
                     progress => fun((non_neg_integer(), non_neg_integer()) -> term())}
                 | [{atom(), term()}].

%% since, until: Unix milliseconds, both inclusive.
-type report_options() :: #{since => non_neg_integer(), until => non_neg_integer(),
                            timeout => timeout(),
                            progress => fun((non_neg_integer(), non_neg_integer()) -> term())}
                        | [{atom(), term()}].

%% What is not as the entries say: where, of which entry or hold (0: of none), and how so.
-type finding() :: #{database := binary(), key := binary(), id := non_neg_integer(),
                     what := binary()}.

-type invalid() :: {invalid, Position :: pos_integer(), iodata()}.

-define(FORMATS, [csv, jsonl, msgpack, focus]).
%% Numbers of c_src/core/entry.h.
-define(KINDS, #{invocation => 1, run => 2, grant => 3, release => 4, correction => 5, policy => 6,
                 reset => 7, price => 8, redaction => 9}).
-define(STATUSES, #{completed => 1, failed => 2, aborted => 3}).

-spec export(#ledger{}, term(), term(), term(), term()) ->
          {ok, map()} | {error, term()} | invalid() | closed.
export(#ledger{path = Path} = Ledger, Format, File, Filter, Options) ->
    case {lists:member(Format, ?FORMATS), file(File), cost_ledger_filter:parse(Filter),
          options(Options, [columns])} of
        {false, _, _, _} ->
            {invalid, 2, ["format must be csv, jsonl, msgpack or focus, not ",
                          cost_ledger_error:describe(Format)]};
        {_, {invalid, Text}, _, _} -> {invalid, 3, Text};
        {_, _, {invalid, Text}, _} -> {invalid, 4, ["the filter: ", Text]};
        {_, _, _, {invalid, Text}} -> {invalid, 5, Text};
        {true, {ok, Output}, {ok, Parsed}, {ok, Map}} ->
            Arguments = (filter(Parsed))#{directory => Path, output => Output,
                                          format => atom_to_binary(Format)},
            told(Ledger, run(export, maps:merge(Arguments, maps:with([columns], Map)), Map))
    end.

-spec report(#ledger{}, term(), term()) -> {ok, map()} | {error, term()} | invalid() | closed.
report(#ledger{path = Path} = Ledger, File, Options) ->
    case {file(File), cost_ledger_value:pairs(Options)} of
        {{invalid, Text}, _} ->
            {invalid, 2, Text};
        {{ok, Output}, {ok, Map}} ->
            case {cost_ledger_filter:parse(maps:with([since, until], Map)),
                  options(maps:without([since, until], Map), [])} of
                {{invalid, Text}, _} -> {invalid, 3, Text};
                {_, {invalid, Text}} -> {invalid, 3, Text};
                {{ok, Filter}, {ok, Rest}} ->
                    Period = maps:with([since, until], filter(Filter)),
                    told(Ledger, run(report, Period#{directory => Path, output => Output}, Rest))
            end;
        {_, _} ->
            {invalid, 3, ["options must be a map, like #{since => 1767225600000}, not ",
                          cost_ledger_error:describe(Options)]}
    end.

-spec backup(#ledger{}, term(), term()) -> {ok, map()} | {error, term()} | invalid().
backup(#ledger{path = Path}, Directory, Options) ->
    case {file(Directory), options(Options, [])} of
        {{invalid, Text}, _} -> {invalid, 2, Text};
        {_, {invalid, Text}} -> {invalid, 3, Text};
        {{ok, Output}, {ok, Map}} -> run(backup, #{directory => Path, output => Output}, Map)
    end.

%% Of no ledger that is open here.
-spec restore(term(), term(), term()) -> {ok, map()} | {error, term()} | invalid().
restore(Backup, Directory, Options) ->
    case {file(Backup), file(Directory), options(Options, [])} of
        {{invalid, Text}, _, _} -> {invalid, 1, Text};
        {_, {invalid, Text}, _} -> {invalid, 2, Text};
        {_, _, {invalid, Text}} -> {invalid, 3, Text};
        {{ok, From}, {ok, Output}, {ok, Map}} ->
            run(restore, #{directory => From, output => Output}, Map)
    end.

-spec verify(#ledger{}, term()) -> {ok, map()} | {error, term()} | invalid().
verify(#ledger{path = Path}, Options) ->
    case options(Options, []) of
        {invalid, Text} -> {invalid, 2, Text};
        {ok, Map} ->
            case run(verify, #{directory => Path}, Map) of
                {ok, #{findings := Findings} = Result} ->
                    {ok, Result#{findings := [finding(Finding) || Finding <- Findings]}};
                Other -> Other
            end
    end.

%% Writes what is older than the horizon, and was not removed before, to segments in a directory.
-spec seal(#ledger{}, binary(), non_neg_integer(), map()) ->
          {ok, map()} | {error, term()} | closed.
seal(#ledger{path = Path} = Ledger, Output, HorizonUs, Options) ->
    told(Ledger, run(archive, #{directory => Path, output => Output, until => HorizonUs}, Options)).

%% From when on everything is kept, where less than that was asked for.
told(#ledger{handle = Handle}, {error, {pruned, _Text}}) ->
    case cost_ledger_nif:facts(Handle) of
        {ok, #{kept_from := Ms}} -> {error, {pruned, Ms}};
        Other -> Other
    end;
told(_Ledger, Answer) ->
    Answer.

finding(#{<<"database">> := Database, <<"key">> := Key, <<"id">> := Id, <<"what">> := What}) ->
    #{database => Database, key => Key, id => Id, what => What}.

run(Job, Arguments, Options) ->
    cost_ledger_companion:run(Job, Arguments, maps:with([timeout, progress], Options)).

%% As the companion, whose working directory may be another, understands it.
-spec file(term()) -> {ok, binary()} | {invalid, iodata()}.
file(Name) ->
    try filename:absname(Name) of
        Absolute ->
            case unicode:characters_to_binary(Absolute, file:native_name_encoding()) of
                Binary when is_binary(Binary), Name =/= <<>>, Name =/= "" ->
                    case binary:match(Binary, <<0>>) of
                        nomatch -> {ok, Binary};
                        _ -> not_a_file(Name)
                    end;
                _ ->
                    not_a_file(Name)
            end
    catch _:_ ->
            not_a_file(Name)
    end.

not_a_file(Name) ->
    {invalid, ["must be a name of a file, not ", cost_ledger_error:describe(Name)]}.

%% Those that every job has, and more: columns or before.
-spec options(term(), [columns | before]) -> {ok, map()} | {invalid, iodata()}.
options(Options, More) ->
    case cost_ledger_value:pairs(Options) of
        {ok, Map} -> option(maps:to_list(Map), More, Map);
        _ -> {invalid, ["options must be a map, like #{timeout => 60000}, not ",
                        cost_ledger_error:describe(Options)]}
    end.

option([], _More, Map) ->
    {ok, Map};
option([{timeout, Timeout} | Rest], More, Map)
  when Timeout =:= infinity; is_integer(Timeout), Timeout >= 0, Timeout =< 16#7fffffff ->
    option(Rest, More, Map);
option([{progress, Fun} | Rest], More, Map) when is_function(Fun, 2) ->
    option(Rest, More, Map);
option([{columns, [_ | _] = Columns} | Rest], [columns] = More, Map) ->
    case lists:all(fun is_atom/1, Columns) of
        true ->
            Names = lists:join($,, [atom_to_binary(Column) || Column <- Columns]),
            option(Rest, More, Map#{columns => iolist_to_binary(Names)});
        false ->
            wrong(columns, Columns)
    end;
option([{before, Ms} | Rest], [before] = More, Map)
  when is_integer(Ms), Ms >= 0, Ms =< 100000000000000 ->
    option(Rest, More, Map);
option([{Key, Value} | _], _More, _Map) ->
    wrong(Key, Value).

wrong(timeout, Value) ->
    {invalid, ["timeout must be milliseconds or infinity, not ",
               cost_ledger_error:describe(Value)]};
wrong(progress, Value) ->
    {invalid, ["progress must be a function of what is done and of how much, not ",
               cost_ledger_error:describe(Value)]};
wrong(columns, Value) ->
    {invalid, ["columns must be a list of names, not ", cost_ledger_error:describe(Value)]};
wrong(before, Value) ->
    {invalid, ["before must be Unix milliseconds, and is of archive alone; not ",
               cost_ledger_error:describe(Value)]};
wrong(Key, _Value) ->
    {invalid, ["unknown option ", cost_ledger_error:describe(Key), "; known are timeout, progress "
               "and, of an export, columns, of archive, before"]}.

filter(#{names := Names, kinds := Kinds, statuses := Statuses, since := Since,
         until := Until}) ->
    Dimensions = maps:from_list([{Number, Name} || {Name, Number} <- cost_ledger_rules:of_series()]),
    #{names => maps:from_list([{atom_to_binary(maps:get(Number, Dimensions)), Value}
                               || {Number, Value} <- Names]),
      kinds => [maps:get(Kind, ?KINDS) || Kind <- Kinds],
      statuses => [maps:get(Status, ?STATUSES) || Status <- Statuses],
      since => Since, until => Until}.
