%%% Archiving: the companion seals what is old in files, then the writer removes it in slices. What
%%% may go the ledger says (c_src/core/retention.h); how long it is kept, its options or its caller.
-module(cost_ledger_archive).

-include("cost_ledger.hrl").

-export([archive/3, too_short/2]).
-export_type([options/0, retention/0, archived/0, segment/0]).

-type retention() :: infinity | {days, pos_integer()}.
%% before: Unix ms; what is older goes, whatever the option `retention` says. progress is called in
%% the caller's process with (Done, Total): how many entries are sealed, then how many were removed;
%% Total 0: not known.
-type options() :: #{before => non_neg_integer(), timeout => timeout(),
                     progress => fun((non_neg_integer(), non_neg_integer()) -> term())}
                 | [{atom(), term()}].
%% A file in the directory, of what is from =< timestamp < to.
-type segment() :: #{file := binary(), sha256 := binary(), entries := pos_integer(),
                     from := non_neg_integer(), to := non_neg_integer()}.
-type archived() :: #{segments := [segment()], removed := non_neg_integer(),
                      kept_from := non_neg_integer()}.

-define(DAY_US, (?DAY_MS * 1000)).

-spec archive(#ledger{}, term(), term()) ->
          {ok, archived()} | {error, term()} | {invalid, pos_integer(), iodata()} | closed.
archive(Ledger, Directory, Options) ->
    case {cost_ledger_jobs:file(Directory), cost_ledger_jobs:options(Options, [before])} of
        {{invalid, Text}, _} -> {invalid, 2, Text};
        {_, {invalid, Text}} -> {invalid, 3, Text};
        {{ok, Output}, {ok, Map}} ->
            case wanted(Ledger, Map) of
                {ok, Us} -> up_to(Ledger, Output, Us, with_deadline(Map));
                Other -> Other
            end
    end.

wanted(_Ledger, #{before := Ms}) ->
    {ok, Ms * 1000};
wanted(#ledger{retention = infinity}, _Options) ->
    {error, {no_retention, <<"this ledger keeps everything; set its start option retention, or say "
                             "before => Ms">>}};
wanted(#ledger{handle = Handle, retention = {days, Days} = Retention}, _Options) ->
    case cost_ledger_nif:policy(Handle) of
        {ok, Policy} ->
            case too_short(Retention, Policy) of
                false -> {ok, max(0, cost_ledger_nif:now(Handle) - Days * ?DAY_US)};
                {true, Text} -> {error, {retention_too_short, Text}}
            end;
        Other ->
            Other
    end.

%% Whether a rule's window is longer than entries are kept; with the longest of them.
-spec too_short(retention(), cost_ledger_nif:policy()) -> false | {true, binary()}.
too_short(infinity, _Policy) ->
    false;
too_short({days, Days}, #{<<"rules">> := Rules}) ->
    case lists:max([{0, <<>>} | [{window_ms(Window), Name}
                                 || #{<<"window">> := Window, <<"name">> := Name} <- Rules]]) of
        {Ms, Name} when Ms > Days * ?DAY_MS ->
            Text = io_lib:format("rule ~ts counts up to ~b days, and entries are kept for ~b; keep "
                                 "them for at least as long",
                                 [Name, (Ms + ?DAY_MS - 1) div ?DAY_MS, Days]),
            {true, unicode:characters_to_binary(Text)};
        _ ->
            false
    end.

%% At its longest. One of the lifetime counts what was removed by its sums.
window_ms([<<"rolling">>, Ms]) -> Ms;
window_ms([<<"day">>, _Offset]) -> ?DAY_MS;
window_ms([<<"week">>, _Offset]) -> 7 * ?DAY_MS;
window_ms([<<"month">>, _Offset]) -> 31 * ?DAY_MS;
window_ms([<<"lifetime">>]) -> 0.

with_deadline(Options) ->
    case maps:get(timeout, Options, infinity) of
        infinity -> Options#{deadline => infinity};
        Ms -> Options#{deadline => erlang:monotonic_time(millisecond) + Ms}
    end.

up_to(#ledger{handle = Handle} = Ledger, Output, WantedUs, Options) ->
    case cost_ledger_nif:horizon(Handle, WantedUs) of
        {ok, 0} ->
            {ok, #{segments => [], removed => 0, kept_from => 0}};
        {ok, Horizon} ->
            case cost_ledger_jobs:seal(Ledger, Output, Horizon, Options) of
                {ok, #{segments := Segments}} -> remove(Ledger, Horizon, Segments, Options);
                Error -> Error
            end;
        Other ->
            Other
    end.

remove(Ledger, Horizon, Segments, Options) ->
    case slices(Ledger, {Horizon, 0, 0}, 0, Options) of
        {ok, Removed} ->
            {ok, #{segments => [segment(Segment) || Segment <- Segments], removed => Removed,
                   kept_from => Horizon div 1000}};
        Error ->
            Error
    end.

%% Between two slices the writer does what waits. Whoever gives up in the middle leaves a ledger
%% that is whole; the next archive goes on.
slices(Ledger, Pruning, Removed, #{deadline := Deadline} = Options) ->
    case Deadline =/= infinity andalso erlang:monotonic_time(millisecond) >= Deadline of
        true ->
            {error, timeout};
        false ->
            case slice(Ledger, Pruning) of
                {More, done} ->
                    {ok, Removed + More};
                {More, Next} ->
                    Progress = maps:get(progress, Options, fun(_, _) -> ok end),
                    _ = Progress(Removed + More, 0),
                    slices(Ledger, Next, Removed + More, Options);
                Other ->
                    Other
            end
    end.

slice(#ledger{handle = Handle}, Pruning) ->
    case cost_ledger_nif:writer(Handle) of
        {Writer, _Booked} ->
            try
                gen_server:call(Writer, {prune, Pruning}, infinity)
            catch
                exit:_ -> {error, no_writer}
            end;
        no_writer ->
            {error, no_writer};
        closed ->
            closed
    end.

segment(#{<<"file">> := File, <<"sha256">> := Digest, <<"entries">> := Entries, <<"from">> := From,
          <<"to">> := To}) ->
    #{file => File, sha256 => Digest, entries => Entries, from => From, to => To}.
