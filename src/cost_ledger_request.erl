%%% What a request says besides its entry, as bytes: they are digested with it, so that the same
%%% request under the same id is known again, also years later by another version of Erlang, which
%%% may write its terms otherwise. Therefore nothing here is written by term_to_binary/1, and no
%%% layout ever changes: what would be said in another way gets a tag of its own.
%%%
%%% Numbers are unsigned and big-endian; tags are the numbers of the operations in docs/format.md.
%%%
%%%   reserve    2, parent u64 (a hold; 0: none), extend_ms u64, critical u8 (0 or 1)
%%%   settle     3, hold u64
%%%   release    4, hold u64
%%%   meter      5, hold u64
%%%   transfer   6, hold u64, size u16 of the node's name, its name in UTF-8, then of the pid:
%%%              id u32, serial u32, creation u32
%%%
%%%   a term (of a change of the policy): a tag, and
%%%     1 atom      size u32, its text in UTF-8
%%%     2 integer   size u32, its decimal text
%%%     3 float     8 bytes of IEEE 754
%%%     4 binary    size u32, bytes
%%%     5 list      count u32, its elements
%%%     6 tuple     count u32, its elements
%%%     7 map       count u32, its pairs (key, then value), by the bytes of the keys
%%%     0           of anything else, which no request that is done has
-module(cost_ledger_request).

-export([reserve/3, settle/1, release/1, meter/1, transfer/2, term/1]).

-spec reserve(Parent :: non_neg_integer(), ExtendMs :: non_neg_integer(),
              IsCritical :: boolean()) -> binary().
reserve(Parent, ExtendMs, false) -> <<2, Parent:64, ExtendMs:64, 0>>;
reserve(Parent, ExtendMs, true) -> <<2, Parent:64, ExtendMs:64, 1>>.

-spec settle(Hold :: pos_integer()) -> binary().
settle(Hold) -> <<3, Hold:64>>.

-spec release(Hold :: pos_integer()) -> binary().
release(Hold) -> <<4, Hold:64>>.

-spec meter(Hold :: pos_integer()) -> binary().
meter(Hold) -> <<5, Hold:64>>.

-spec transfer(Hold :: pos_integer(), pid()) -> binary().
transfer(Hold, Pid) ->
    Node = atom_to_binary(node(Pid)),
    <<6, Hold:64, (byte_size(Node)):16, Node/binary, (numbers(Pid))/binary>>.

%% Nothing else tells them all. A NEW_PID_EXT ends with them, however its node is written.
numbers(Pid) ->
    <<131, 88, Rest/binary>> = term_to_binary(Pid),
    binary:part(Rest, byte_size(Rest), -12).

%% Of equal terms the same: 1 and 1.0 are not.
-spec term(term()) -> binary().
term(Atom) when is_atom(Atom) -> sized(1, atom_to_binary(Atom));
term(Integer) when is_integer(Integer) -> sized(2, integer_to_binary(Integer));
term(Float) when is_float(Float) -> <<3, Float/float>>;
term(Binary) when is_binary(Binary) -> sized(4, Binary);
term(List) when length(List) >= 0 -> counted(5, List);
term(Tuple) when is_tuple(Tuple) -> counted(6, tuple_to_list(Tuple));
term(Map) when is_map(Map) ->
    Pairs = lists:sort([{term(Key), term(Value)} || {Key, Value} <- maps:to_list(Map)]),
    Written = << <<Key/binary, Value/binary>> || {Key, Value} <- Pairs >>,
    <<7, (map_size(Map)):32, Written/binary>>;
term(_Other) -> <<0>>.

sized(Tag, Bytes) -> <<Tag, (byte_size(Bytes)):32, Bytes/binary>>.

counted(Tag, Elements) ->
    Written = << <<(term(Element))/binary>> || Element <- Elements >>,
    <<Tag, (length(Elements)):32, Written/binary>>.
