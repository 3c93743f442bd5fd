%%% The peer of the records' bench: the same records in SQLite (erlang-p1-sqlite3), one row each,
%%% with the indexes that the same questions need. Where there was a choice, it is in the favour of
%%% SQLite:
%%%
%%%   - nested parts (breakdown, input, output, trace) are JSON texts, made before the clock runs
%%%     and never decoded; the words of a row (kind, state, status) stay binaries
%%%   - statements are prepared once where a row or two come back; a page is one call of the binding
%%%     with its statement in it, because a prepared one is asked row by row
%%%   - only the index whose sums are measured covers them; the ledger sums up all of its series
%%%   - callers at once are grouped into transactions, as the ledger groups them
%%%   - a quarter of a GiB of cache, and the file mapped on top
%%%
%%% WAL, synchronous=FULL and checkpoints as they come: what SQLite needs for its `ok` to mean that
%%% the row is on the disk.
-module(cost_ledger_bench_sqlite).
-behaviour(gen_server).

-export([open/1, close/1, row/1, begin_transaction/1, insert/2, commit/1, checkpoint/1,
         record/2, record_grouped/2, page/2, page/3, failed/2, sums/4, get/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(COLUMNS, [<<"id">>, <<"created_at">>, <<"kind">>, <<"state">>, <<"status">>,
                  <<"duration_ms">>, <<"org">>, <<"project">>, <<"user">>, <<"agent">>,
                  <<"model">>, <<"run_id">>, <<"cost">>, <<"tokens_input">>, <<"tokens_output">>,
                  <<"tokens_cache_read">>, <<"breakdown">>, <<"intent">>, <<"input">>,
                  <<"output">>, <<"error_message">>, <<"trace">>]).
-define(WITHOUT_PAYLOAD, 17).
%% Rows of one prepared INSERT.
-define(SIZES, [100, 10, 1]).
-define(GROUP_MAX, 1000).

-record(peer, {db :: pid(), writer :: pid() | undefined,
               inserts :: [{pos_integer(), reference()}], sums :: reference(),
               get :: reference(), page :: iodata(), page_of_two :: iodata(), failed :: iodata()}).
-record(writer, {peer :: #peer{}, waiting = [] :: [{gen_server:from(), [term()]}],
                 count = 0 :: non_neg_integer()}).

open(File) ->
    {ok, Db} = sqlite3:open(anonymous, [{file, File}]),
    [{columns, _}, {rows, [{<<"wal">>}]}] = sqlite3:sql_exec(Db, "PRAGMA journal_mode=WAL"),
    [_ = sqlite3:sql_exec(Db, ["PRAGMA ", Pragma])
     || Pragma <- ["synchronous=FULL", "cache_size=-262144", "mmap_size=2147418112"]],
    [ok = sqlite3:sql_exec(Db, Sql) || Sql <- schema()],
    Peer = #peer{db = Db, inserts = [{Size, prepare(Db, insert_sql(Size))} || Size <- ?SIZES],
                 sums = prepare(Db, sums_sql()),
                 get = prepare(Db, ["SELECT ", names(?COLUMNS), " FROM records WHERE run_id = ?"]),
                 page = page_sql("project = ?"),
                 page_of_two = page_sql("project = ? AND agent = ?"),
                 failed = page_sql("project = ? AND status = 'failed'")},
    {ok, Writer} = gen_server:start_link(?MODULE, Peer, [{spawn_opt, [{min_heap_size, 1 bsl 20}]}]),
    Peer#peer{writer = Writer}.

close(#peer{db = Db, writer = Writer}) ->
    ok = gen_server:stop(Writer),
    ok = sqlite3:close_timeout(Db, infinity).

schema() ->
    ["CREATE TABLE records (id INTEGER PRIMARY KEY, created_at INTEGER NOT NULL, kind TEXT, state "
     "TEXT, status TEXT, duration_ms INTEGER, org TEXT, project TEXT, user TEXT, agent TEXT, model "
     "TEXT, run_id TEXT, cost INTEGER, tokens_input INTEGER, tokens_output INTEGER, "
     "tokens_cache_read INTEGER, breakdown TEXT, intent TEXT, input TEXT, output TEXT, "
     "error_message TEXT, trace TEXT)",
     "CREATE UNIQUE INDEX by_run ON records (run_id)",
     "CREATE INDEX by_project ON records (project, created_at, status, cost, duration_ms, "
     "tokens_input, tokens_output, tokens_cache_read)",
     "CREATE INDEX by_user ON records (user, created_at)",
     "CREATE INDEX by_agent ON records (agent, created_at)",
     "CREATE INDEX by_model ON records (model, created_at)",
     "CREATE INDEX by_project_agent ON records (project, agent, created_at)",
     "CREATE INDEX by_project_status ON records (project, status, created_at)",
     "CREATE INDEX by_status ON records (status, created_at)"].

prepare(Db, Sql) ->
    {ok, Statement} = sqlite3:prepare(Db, Sql),
    Statement.

names(Columns) -> lists:join(",", Columns).

insert_sql(Rows) ->
    Row = ["(", lists:join(",", ["?" || _ <- ?COLUMNS]), ")"],
    ["INSERT INTO records (", names(?COLUMNS), ") VALUES ",
     lists:join(",", lists:duplicate(Rows, Row))].

page_sql(Where) ->
    ["SELECT ", names(lists:sublist(?COLUMNS, ?WITHOUT_PAYLOAD)), " FROM records WHERE ", Where,
     " ORDER BY created_at DESC LIMIT 50"].

sums_sql() ->
    "SELECT COUNT(*), SUM(status = 'completed'), SUM(status = 'failed'), SUM(status = 'aborted'), "
    "SUM(cost), AVG(cost), MIN(cost), MAX(cost), SUM(duration_ms), AVG(duration_ms), "
    "MIN(duration_ms), MAX(duration_ms), SUM(tokens_input), SUM(tokens_output), "
    "SUM(tokens_cache_read) FROM records WHERE project = ? AND created_at >= ? AND created_at < ?".

%%% Rows ---------------------------------------------------------------------------------------

%% Of a record as the ledger gives it back, or as it is given to it: that has no id yet.
row(#{run_id := RunId, kind := Kind, state := State, status := Status, duration_ms := Duration,
      org := Org, project := Project, user := User, agent := Agent, model := Model, cost := Cost,
      tokens := Tokens, breakdown := Breakdown} = Record) ->
    Id = maps:get(id, Record, null),
    CreatedAt = case Id of null -> erlang:system_time(microsecond); _ -> Id end,
    [Id, CreatedAt, atom_to_binary(Kind), atom_to_binary(State), atom_to_binary(Status), Duration,
     Org, Project, User, Agent, Model, RunId, Cost, maps:get(input, Tokens),
     maps:get(output, Tokens), maps:get(cache_read, Tokens), json_text(Breakdown),
     maps:get(intent, Record),
     json_text(maps:get(input, Record)), json_text(maps:get(output, Record)),
     maps:get(error_message, Record, null), json_text(maps:get(trace, Record))].

json_text(Term) -> iolist_to_binary(json(Term)).

%% Of what the records of this bench have: no text with a quote or a control character.
json(Map) when is_map(Map) ->
    [${, lists:join($,, [[$", key(Key), "\":", json(Value)]
                         || {Key, Value} <- maps:to_list(Map)]), $}];
json(List) when is_list(List) -> [$[, lists:join($,, [json(Each) || Each <- List]), $]];
json(Text) when is_binary(Text) -> [$", Text, $"];
json(Atom) when is_atom(Atom) -> [$", atom_to_binary(Atom), $"];
json(Number) when is_integer(Number) -> integer_to_binary(Number);
json(Number) when is_float(Number) -> float_to_binary(Number, [short]).

key(Key) when is_atom(Key) -> atom_to_binary(Key);
key(Key) -> Key.

%% Without payload, and with it.
map({Id, CreatedAt, Kind, State, Status, Duration, Org, Project, User, Agent, Model, RunId, Cost,
     Input, Output, CacheRead, Breakdown}) ->
    #{id => Id, timestamp => CreatedAt div 1000, kind => Kind, state => State, status => Status,
      duration_ms => Duration, org => Org, project => Project, user => User, agent => Agent,
      model => Model, run_id => RunId, cost => Cost, breakdown => Breakdown,
      tokens => #{input => Input, output => Output, cache_read => CacheRead, cache_creation => 0,
                  reasoning => 0}}.

whole_map({Id, CreatedAt, Kind, State, Status, Duration, Org, Project, User, Agent, Model, RunId,
           Cost, InputTokens, OutputTokens, CacheRead, Breakdown, Intent, Input, Output, Error,
           Trace}) ->
    Map = #{id => Id, timestamp => CreatedAt div 1000, kind => Kind, state => State,
            status => Status, duration_ms => Duration, org => Org, project => Project,
            user => User, agent => Agent, model => Model, run_id => RunId, cost => Cost,
            breakdown => Breakdown,
            tokens => #{input => InputTokens, output => OutputTokens, cache_read => CacheRead,
                        cache_creation => 0, reasoning => 0},
            intent => Intent, input => Input, output => Output, trace => Trace},
    case Error of
        null -> Map;
        _ -> Map#{error_message => Error}
    end.

%%% Reading ------------------------------------------------------------------------------------

page(#peer{page = Sql} = Peer, Project) -> select(Peer, Sql, [Project]).
page(#peer{page_of_two = Sql} = Peer, Project, Agent) -> select(Peer, Sql, [Project, Agent]).
failed(#peer{failed = Sql} = Peer, Project) -> select(Peer, Sql, [Project]).

select(#peer{db = Db}, Sql, Parameters) ->
    [{columns, _}, {rows, Rows}] = sqlite3:sql_exec_timeout(Db, Sql, Parameters, infinity),
    [map(Row) || Row <- Rows].

sums(#peer{sums = Statement} = Peer, Project, SinceMs, UntilMs) ->
    {Count, Completed, Failed, Aborted, Cost, AverageCost, MinCost, MaxCost, Duration,
     AverageDuration, MinDuration, MaxDuration, Input, Output, CacheRead} =
        one(Peer, Statement, [Project, SinceMs * 1000, (UntilMs + 1) * 1000]),
    #{count => Count, completed => Completed, failed => Failed, aborted => Aborted, cost => Cost,
      average_cost => AverageCost, min_cost => MinCost, max_cost => MaxCost,
      duration_ms => Duration, average_duration_ms => AverageDuration,
      min_duration_ms => MinDuration, max_duration_ms => MaxDuration,
      tokens => #{input => Input, output => Output, cache_read => CacheRead}}.

get(#peer{get = Statement} = Peer, RunId) ->
    whole_map(one(Peer, Statement, [RunId])).

one(#peer{db = Db}, Statement, Parameters) ->
    ok = sqlite3:bind(Db, Statement, Parameters),
    Row = sqlite3:next_timeout(Db, Statement, infinity),
    ok = sqlite3:reset(Db, Statement),
    Row.

%%% Writing ------------------------------------------------------------------------------------

%% One row, one transaction.
record(#peer{inserts = Inserts} = Peer, Row) ->
    {1, Statement} = lists:last(Inserts),
    done = one(Peer, Statement, Row),
    ok.

record_grouped(#peer{writer = Writer}, Row) ->
    gen_server:call(Writer, {record, Row}, infinity).

begin_transaction(#peer{db = Db}) -> sqlite3:sql_exec_timeout(Db, "BEGIN", infinity).
commit(#peer{db = Db}) -> sqlite3:sql_exec_timeout(Db, "COMMIT", infinity).

insert(Peer, Rows) -> insert(Peer, Rows, length(Rows)).

insert(_Peer, [], 0) ->
    ok;
insert(#peer{inserts = Inserts} = Peer, Rows, Left) ->
    {Size, Statement} = hd([Insert || {Size, _} = Insert <- Inserts, Size =< Left]),
    {Now, Later} = lists:split(Size, Rows),
    done = one(Peer, Statement, lists:append(Now)),
    insert(Peer, Later, Left - Size).

%% Everything from the log into the file.
checkpoint(#peer{db = Db}) ->
    _ = sqlite3:sql_exec_timeout(Db, "PRAGMA wal_checkpoint(TRUNCATE)", infinity),
    ok.

%%% What waits is one transaction.

init(Peer) -> {ok, #writer{peer = Peer}}.

handle_call({record, Row}, From, #writer{waiting = Waiting, count = Count} = Writer) ->
    More = Writer#writer{waiting = [{From, Row} | Waiting], count = Count + 1},
    case Count + 1 < ?GROUP_MAX of
        true -> {noreply, More, 0};
        false -> {noreply, flush(More)}
    end.

handle_cast(_, Writer) -> {noreply, Writer, 0}.

handle_info(timeout, Writer) -> {noreply, flush(Writer)}.

flush(#writer{count = 0} = Writer) ->
    Writer;
flush(#writer{peer = Peer, waiting = [{From, Row}], count = 1} = Writer) ->
    ok = record(Peer, Row),
    gen_server:reply(From, ok),
    Writer#writer{waiting = [], count = 0};
flush(#writer{peer = Peer, waiting = Waiting} = Writer) ->
    {Froms, Rows} = lists:unzip(lists:reverse(Waiting)),
    ok = begin_transaction(Peer),
    ok = insert(Peer, Rows),
    ok = commit(Peer),
    [gen_server:reply(From, ok) || From <- Froms],
    Writer#writer{waiting = [], count = 0}.
