%%% Changes of the policy, and their history. A change is read, merged, and put in force by
%%% compare-and-set: when someone else was faster, it is merged again over what they made.
-module(cost_ledger_policy).

-export([change/1, set/4, history/1]).

-define(TEXT_BYTES_MAX, 4096).

%% Who and why; both are required, because a change without them cannot be audited.
-spec change(term()) -> {ok, By :: binary(), Reason :: binary()} | {invalid, iodata()}.
change(#{by := By, reason := Reason}) ->
    case {text(By), text(Reason)} of
        {invalid, _} -> {invalid, "by must be a non-empty text of up to 4096 bytes"};
        {_, invalid} -> {invalid, "reason must be a non-empty text of up to 4096 bytes"};
        {ByText, ReasonText} -> {ok, ByText, ReasonText}
    end;
change(Other) ->
    {invalid, ["must say who and why, like #{by => \"ops\", reason => \"load test\"}, not ",
               cost_ledger_error:describe(Other)]}.

text(Atom) when is_atom(Atom), Atom =/= undefined, Atom =/= nil ->
    atom_to_binary(Atom);
text(Text) when is_list(Text); is_binary(Text) ->
    try unicode:characters_to_binary(Text) of
        <<_, _/binary>> = Binary when byte_size(Binary) =< ?TEXT_BYTES_MAX -> Binary;
        _ -> invalid
    catch error:badarg -> invalid
    end;
text(_) ->
    invalid.

-spec set(cost_ledger_nif:handle(), cost_ledger_budgets:budgets(), binary(), binary()) ->
          {ok, pos_integer()} | cost_ledger_nif:failure() | closed.
set(Handle, Budgets, By, Reason) ->
    case cost_ledger_nif:policy(Handle) of
        {ok, #{version := Version, states := States} = Current} ->
            Merged = cost_ledger_budgets:merge(cost_ledger_budgets:from_policy(Current), Budgets),
            Policy = cost_ledger_budgets:to_policy(Version, States, Merged),
            case cost_ledger_nif:set_policy(Handle, Policy, By, Reason) of
                {error, {version_conflict, _}} -> set(Handle, Budgets, By, Reason);
                Result -> Result
            end;
        Error ->
            Error
    end.

%% Follows the chain from the newest change back.
-spec history(cost_ledger_nif:handle()) -> {ok, [map()]} | cost_ledger_nif:failure() | closed.
history(Handle) ->
    case cost_ledger_nif:policy(Handle) of
        {ok, #{changed_by_entry := Id}} -> history(Handle, Id, []);
        Error -> Error
    end.

history(_Handle, 0, Changes) ->
    {ok, lists:reverse(Changes)};
history(Handle, Id, Changes) ->
    case cost_ledger_nif:fetch(Handle, Id) of
        {ok, [#{change := #{<<"version">> := Version, <<"by">> := By, <<"reason">> := Reason,
                            <<"previous">> := Previous, <<"changes">> := Rules}}]} ->
            Change = #{id => Id, timestamp => Id div 1000, version => Version, by => By,
                       reason => Reason, changes => [change_of(Rule) || Rule <- Rules]},
            history(Handle, Previous, [Change | Changes]);
        {ok, _} ->
            {error, {damaged, <<"an entry of kind policy has no change">>}};
        Error ->
            Error
    end.

change_of([From, To]) ->
    #{<<"name">> := Name} = case To of nil -> From; _ -> To end,
    #{rule => Name, from => limit(From), to => limit(To)}.

limit(nil) -> undefined;
limit(#{<<"limit">> := nil}) -> infinity;
limit(#{<<"limit">> := Limit}) -> Limit.
