%%% Options of a ledger: defaults, checks, and the tuple that the NIF opens with.
%%%
%%%   name             atom()                          default
%%%   path             file:name_all()                 required
%%%   budgets          #{State => #{max_per_hour, max_per_day}}, merged over the three default
%%%                    states, or over `rules`; seeds a new ledger
%%%   rules            [Rule], in place of the default budgets; seeds a new ledger: see
%%%                    docs/budgets.md for this and the next two
%%%   settings         #{Key => #{type, value, ...}}; seeds a new ledger
%%%   series           [[Dimension]]                   []; combinations that rules and accounts may
%%%                    stand on besides [state]; a ledger gets those that it does not have
%%%   clock            system | manual                 system
%%%   currency         three capital letters           <<"USD">> for a new ledger; given for an
%%%                                                    old one, it must be that ledger's
%%%   map_size         bytes                           1 TiB; what the file may grow to
%%%   max_entry_size   bytes                           1 MiB
%%%   queue            #{calls, bytes}                 #{calls => 10000, bytes => 64 MiB}
%%%   sync             full | no_meta_sync             full; no_meta_sync: a power cut may lose
%%%                                                    the last commit, but nothing else
%%%   retention        infinity | {days, Days}         infinity; how old an entry is when archive/2
%%%                                                    seals and removes it
%%%   on_unavailable   allow | deny                    allow
%%%   call_timeout     ms | infinity                   30000
-module(cost_ledger_options).

-include("cost_ledger.hrl").

-export([parse/1, prepare/1, check_environment/1, to_nif/1]).
-export_type([options/0, parsed/0]).

-type options() :: #{atom() => term()} | [{atom(), term()}].
-type parsed() :: #{atom() => term()}.

%% A name to tell it by, and the options with an absolute path; for a child specification, which
%% must not fail: starting it will.
-spec prepare(options()) -> {atom(), options()}.
prepare(Options) ->
    case parse(Options) of
        {ok, #{name := Name} = Parsed} -> {Name, Parsed};
        {error, _} when is_map(Options) -> {maps:get(name, Options, ?DEFAULT_LEDGER), Options};
        {error, _} when length(Options) >= 0 ->
            {proplists:get_value(name, Options, ?DEFAULT_LEDGER), Options};
        {error, _} -> {?DEFAULT_LEDGER, Options}
    end.

%% What the application may be told when no path makes it start the default ledger.
-spec check_environment(#{atom() => term()}) -> ok | {error, term()}.
check_environment(#{path := _} = Environment) ->
    case parse(Environment) of
        {ok, _} -> ok;
        Error -> Error
    end;
check_environment(Environment) ->
    case maps:to_list(maps:remove(on_unavailable, Environment)) of
        [] -> check_all(maps:to_list(Environment));
        [{Key, _} | _] -> bad([Key], [cost_ledger_error:describe(Key), " is set, but no path: "
                                      "the application would start no ledger"])
    end.

-spec parse(options()) -> {ok, parsed()} | {error, term()}.
parse(Options) when length(Options) >= 0 ->
    %% Of a key given twice the first counts, as in every list of pairs.
    try maps:from_list(lists:reverse(Options)) of
        Map -> parse(Map)
    catch error:badarg ->
        bad([], ["options must be a map or a list of pairs, not ",
                 cost_ledger_error:describe(Options)])
    end;
parse(Options) when is_map(Options) ->
    Given = maps:merge(defaults(), Options),
    case check_all(maps:to_list(Given)) of
        ok when not is_map_key(path, Given) ->
            bad([path], "a path is required: the directory that holds the ledger");
        ok ->
            #{path := Path, queue := Queue} = Given,
            seeds(fits(Given#{path := filename:absname(path_binary(Path)),
                              queue := maps:merge(default_queue(), Queue)}));
        Error ->
            Error
    end;
parse(Other) ->
    bad([], ["options must be a map or a list of pairs, not ", cost_ledger_error:describe(Other)]).

defaults() ->
    #{name => ?DEFAULT_LEDGER, budgets => #{}, series => [], clock => system, currency => undefined,
      map_size => 1 bsl 40, max_entry_size => 1 bsl 20, queue => #{}, sync => full,
      retention => infinity, on_unavailable => allow, call_timeout => 30000}.

default_queue() ->
    #{calls => 10000, bytes => 64 bsl 20}.

%% The policy that a new ledger begins with, as far as it can be told before opening.
seeds({ok, #{series := Series} = Parsed}) ->
    {ok, Normal} = cost_ledger_rules:check_series(Series),
    case cost_ledger_policy:seed(Parsed#{series := Normal}) of
        {ok, Policy} -> {ok, Parsed#{seed => Policy}};
        Error -> Error
    end;
seeds(Error) ->
    Error.

%% What one option alone cannot tell.
fits(#{queue := #{bytes := Bytes}, max_entry_size := MaxEntrySize}) when Bytes < MaxEntrySize ->
    bad([queue], "the queue's bytes must hold at least one entry of max_entry_size");
fits(Parsed) ->
    {ok, Parsed}.

check_all([]) ->
    ok;
check_all([{Key, Value} | Rest]) ->
    case check(Key, Value) of
        ok -> check_all(Rest);
        {error, _} = Error -> Error;
        Expected -> bad([Key], [cost_ledger_error:describe(Key), " must be ", Expected, ", not ",
                                cost_ledger_error:describe(Value)])
    end.

bad(Path, Text) ->
    {error, {bad_option, Path, unicode:characters_to_binary(Text)}}.

%% ok, an error, or what it must be.
check(name, Name) when is_atom(Name), Name =/= undefined, Name =/= nil ->
    case length(atom_to_list(Name)) =< 200 of
        true -> ok;
        false -> "an atom of at most 200 characters"
    end;
check(name, _) -> "an atom";
check(path, Path) ->
    case path_binary(Path) of
        <<_, _/binary>> = Binary when byte_size(Binary) < 3800 ->
            case binary:match(Binary, <<0>>) of
                nomatch -> ok;
                _ -> "without a zero byte"
            end;
        _ -> "the name of a directory, a string or a binary"
    end;
check(budgets, Budgets) -> cost_ledger_budgets:check(Budgets);
check(rules, Rules) when is_list(Rules) -> ok; % looked at together with the rest
check(rules, _) -> "a list of rules";
check(settings, Settings) when is_map(Settings); is_list(Settings) -> ok;
check(settings, _) -> "a map of settings";
check(seed, _) -> ok; % options that were parsed before, in a child specification
check(series, Series) ->
    case cost_ledger_rules:check_series(Series) of
        {ok, _} -> ok;
        {error, Path, Text} -> {error, {bad_option, Path, Text}}
    end;
check(clock, Clock) when Clock =:= system; Clock =:= manual -> ok;
check(clock, _) -> "system or manual";
check(currency, undefined) -> ok;
check(currency, <<A, B, C>>) when A >= $A, A =< $Z, B >= $A, B =< $Z, C >= $A, C =< $Z -> ok;
check(currency, _) -> "a binary of three capital letters, like <<\"USD\">>";
check(map_size, Size) when is_integer(Size), Size >= 1 bsl 20, Size =< 1 bsl 46 -> ok;
check(map_size, _) -> "a number of bytes from 1 MiB to 64 TiB";
check(max_entry_size, Size) when is_integer(Size), Size >= 64, Size =< 64 bsl 20 -> ok;
check(max_entry_size, _) -> "a number of bytes from 64 to 64 MiB";
check(queue, Queue) when is_map(Queue) ->
    Wrong = [Key || {Key, Value} <- maps:to_list(Queue),
                    not lists:member(Key, [calls, bytes])
                        orelse not is_integer(Value) orelse Value < 1],
    case Wrong of
        [] -> ok;
        _ -> "a map of calls and bytes, both positive integers"
    end;
check(queue, _) -> "a map of calls and bytes, both positive integers";
check(sync, Sync) when Sync =:= full; Sync =:= no_meta_sync -> ok;
check(sync, _) -> "full or no_meta_sync";
check(retention, infinity) -> ok;
check(retention, {days, Days}) when is_integer(Days), Days >= 1, Days =< 36500 -> ok;
check(retention, _) -> "infinity, or {days, Days} with 1 to 36500 of them";
check(on_unavailable, Answer) when Answer =:= allow; Answer =:= deny -> ok;
check(on_unavailable, _) -> "allow or deny";
check(call_timeout, infinity) -> ok;
check(call_timeout, Ms) when is_integer(Ms), Ms > 0, Ms < 1 bsl 32 -> ok;
check(call_timeout, _) -> "a positive number of ms, or infinity";
check(Key, _) ->
    bad([Key], ["unknown option ", cost_ledger_error:describe(Key)]).

path_binary(Path) when is_binary(Path) ->
    Path;
path_binary(Path) when is_atom(Path) ->
    <<>>; %% undefined, nil: never a directory of that name
path_binary(Path) ->
    try unicode:characters_to_binary(filename:flatten(Path), unicode,
                                     file:native_name_encoding()) of
        Binary when is_binary(Binary) -> Binary;
        _ -> <<>>
    catch error:_ -> <<>>
    end.

-spec to_nif(parsed()) -> tuple().
to_nif(#{path := Path, name := Name, currency := Currency, map_size := MapSize,
         max_entry_size := MaxEntrySize, sync := Sync, clock := Clock, seed := Seed,
         series := Series}) ->
    %% Reads run on dirty CPU schedulers only: so many can read at once, and no more.
    Readers = erlang:system_info(dirty_cpu_schedulers) + 2,
    {Path, holder(Name), new_currency(Currency), MapSize, MaxEntrySize, Readers, Sync =:= full,
     Clock, Seed, numbers(Series), cost_ledger_registry:boot_id()}.

numbers(Series) ->
    {ok, Normal} = cost_ledger_rules:check_series(Series),
    Numbers = maps:from_list(cost_ledger_rules:of_series()),
    [[maps:get(Dimension, Numbers) || Dimension <- Dimensions]
     || Dimensions <- Normal, Dimensions =/= [state]].

%% Of a new ledger; an old one has its own.
new_currency(undefined) -> <<"USD">>;
new_currency(Currency) -> Currency.

%% What another opener is told; the NIF takes up to 255 bytes.
holder(Name) ->
    Text = io_lib:format("node ~ts, OS process ~ts, ledger ~ts", [node(), os:getpid(), Name]),
    Binary = unicode:characters_to_binary(Text),
    case unicode:characters_to_binary(binary:part(Binary, 0, min(255, byte_size(Binary)))) of
        Whole when is_binary(Whole) -> Whole;
        {incomplete, Whole, _Rest} -> Whole;
        {error, Whole, _Rest} -> Whole
    end.
