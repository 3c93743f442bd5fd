#!/usr/bin/python3
"""Reads a ledger and checks it, knowing nothing but docs/format.md.

    read_ledger.py [--plain] DIRECTORY

Prints one JSON object; with --plain, lines `key=value`, where the names of states are in hex and
there is one line `problem=...` for each problem. Exits with 1 if there is any problem. May run
while the ledger is open. Needs Debian's python3-lmdb and python3-msgpack.
"""

import hashlib
import json
import os
import struct
import sys

try:
    import lmdb
    import msgpack
except ImportError as error:
    print("needs python3-lmdb and python3-msgpack:", error, file=sys.stderr)
    sys.exit(77)

DATABASES = ["meta", "entries", "payloads", "keys", "names",
             "series", "rollups", "holds", "held", "warned"]
EMPTY = ["payloads", "keys", "holds", "held", "warned"]

AMOUNT_MAX = 10 ** 15
ID_LIMIT = 2 ** 62
OCCURRED_AT_MAX = (2 ** 63 - 1) // 1000
HOUR_US = 3600 * 10 ** 6

INVOCATION, RUN, CORRECTION, POLICY, LAST_KIND = 1, 2, 5, 6, 8
COMPLETED, FAILED, ABORTED = 1, 2, 3
STATE = 1
DIMENSIONS = {1, 2, 3, 4, 5, 6, 7, 9, *range(32, 48)}

COLUMNS = ["invocations", "runs", "completed", "failed", "aborted", "unpriced", "duration_ms",
           "cost", "completed_cost", "credits", "completed_credits", "input_tokens",
           "output_tokens", "cache_read_tokens", "cache_creation_tokens", "reasoning_tokens",
           "runs_completed", "runs_failed", "runs_aborted", "corrections", "corrected_cost",
           "corrected_credits", "grants", "granted_cost", "granted_credits", "cache_savings"]
COLUMN = {name: number for number, name in enumerate(COLUMNS)}
TOKEN_CLASSES = ["input", "output", "cache_read", "cache_creation", "reasoning"]

BLOCK_ITEMS, BLOCK_BYTES = 32, 2000


class Bad(Exception):
    """A value that is not what the format says."""


def require(condition, what):
    if not condition:
        raise Bad(what)


def is_uint(value, most=2 ** 64 - 1, least=0):
    return type(value) is int and least <= value <= most


def are_dimensions(numbers):
    """Such as names and families may have, in ascending order."""
    return (all(is_uint(n) and n in DIMENSIONS for n in numbers)
            and all(a < b for a, b in zip(numbers, numbers[1:])))


# ---- numbers: section 2 -------------------------------------------------------------------------

def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def zigzag(n):
    return varint(2 * n if n >= 0 else -2 * n - 1)


class Bytes:
    def __init__(self, data):
        self.data, self.at = data, 0

    def byte(self):
        require(self.at < len(self.data), "ends too early")
        self.at += 1
        return self.data[self.at - 1]

    def varint(self):
        n = 0
        for shift in range(0, 7 * 19, 7):
            byte = self.byte()
            n |= (byte & 0x7f) << shift
            if byte < 0x80:
                require(byte != 0 or shift == 0, "a varint is longer than it must be")
                return n
        raise Bad("a varint has more than 19 bytes")

    def zigzag(self):
        z = self.varint()
        return z // 2 if z % 2 == 0 else -(z // 2) - 1

    def end(self):
        require(self.at == len(self.data), "something follows the end")


def unpack(value):
    try:
        return msgpack.unpackb(value, raw=False)
    except Exception as error:
        raise Bad("not msgpack: %s" % error) from error


def be(data):
    return int.from_bytes(data, "big")


# ---- totals: section 6 --------------------------------------------------------------------------

def totals_bytes(totals):
    """`totals` is a dict from column number to value."""
    columns = sorted(column for column, value in totals.items() if value != 0)
    return varint(sum(1 << c for c in columns)) + b"".join(zigzag(totals[c]) for c in columns)


def read_totals(data):
    mask, totals = data.varint(), {}
    require(mask >> len(COLUMNS) == 0, "a mask has unknown columns")
    for column in range(len(COLUMNS)):
        if mask >> column & 1:
            totals[column] = data.zigzag()
            require(totals[column] != 0, "a column of 0 is written")
    return totals


def add(totals, amounts):
    for column, value in amounts.items():
        totals[column] = totals.get(column, 0) + value


# ---- entries: section 4 -------------------------------------------------------------------------

class Entry:
    FIELDS = ["version", "kind", "status", "names", "definitions", "duration_ms", "cost", "credits",
              "tokens", "breakdown", "unit_prices", "flags", "digest", "client_id", "link",
              "occurred_at", "change", "run_id", "hold", "parent", "policy_version",
              "request_digest"]

    def __init__(self, key, value):
        require(len(key) == 8, "the key does not have 8 bytes")
        self.id = be(key)
        require(0 < self.id < ID_LIMIT, "the id is out of range")
        array = unpack(value)
        require(isinstance(array, list) and len(array) >= 6, "not an array of at least 6")
        require(is_uint(array[0], least=1), "version")
        require(array[0] == 1, "newer: version %r of an entry" % array[0])
        require(len(array) <= len(self.FIELDS), "too many positions")
        require(len(array) == 6 or array[-1] is not None, "ends with nil")
        for position, field in enumerate(self.FIELDS):
            setattr(self, field, array[position] if position < len(array) else None)
        self.check()
        self.names = dict(zip(self.names[::2], self.names[1::2]))
        flat = self.definitions or []
        self.definitions = list(zip(flat[::3], flat[1::3], flat[2::3]))
        self.check_definitions()

    def check(self):
        least = -AMOUNT_MAX if self.kind == CORRECTION else 0

        def amount(value):
            return is_uint(value, AMOUNT_MAX, least)

        def nil_or(value, good):
            return value is None or good(value)

        def amounts(count):
            return lambda v: isinstance(v, list) and len(v) == count and all(map(amount, v))

        require(is_uint(self.kind, LAST_KIND, 1), "kind")
        outcome = self.kind in (INVOCATION, RUN)
        require(is_uint(self.status, ABORTED) and (self.status != 0) == outcome, "status")
        require(isinstance(self.names, list) and len(self.names) % 2 == 0, "names")
        dimensions, numbers = self.names[::2], self.names[1::2]
        require(are_dimensions(dimensions), "names: dimensions")
        require(all(is_uint(n, 2 ** 32 - 1, 1) for n in numbers), "names: numbers")
        require(self.kind != INVOCATION or STATE in dimensions, "an invocation without a state")
        require(nil_or(self.definitions, lambda v: isinstance(v, list) and v and len(v) % 3 == 0),
                "definitions")
        require(is_uint(self.duration_ms, AMOUNT_MAX), "duration_ms")
        require(nil_or(self.cost, amount), "cost")
        require(nil_or(self.credits, amount), "credits")
        require(nil_or(self.tokens, amounts(len(TOKEN_CLASSES))), "tokens")
        require(nil_or(self.breakdown, amounts(4)), "breakdown")
        require(nil_or(self.unit_prices, lambda v: isinstance(v, list) and len(v) == 5
                       and all(map(is_uint, v))), "unit_prices")
        require(nil_or(self.flags, lambda v: is_uint(v, least=1)), "flags")
        for field in "digest", "request_digest":
            require(nil_or(getattr(self, field), lambda v: isinstance(v, bytes) and len(v) == 32),
                    field)
        for field in "client_id", "run_id":
            require(nil_or(getattr(self, field), lambda v: isinstance(v, str)), field)
        for field in "link", "hold", "parent", "policy_version":
            require(nil_or(getattr(self, field), lambda v: is_uint(v, least=1)), field)
        require(nil_or(self.occurred_at, lambda v: is_uint(v, OCCURRED_AT_MAX)), "occurred_at")
        require(isinstance(self.change, dict) if self.kind == POLICY
                else nil_or(self.change, lambda v: isinstance(v, dict)), "change")

    def check_definitions(self):
        for number, dimension, text in self.definitions:
            require(isinstance(text, str) and 1 <= len(text.encode()) <= 65535, "definitions: text")
            require(self.names.get(dimension) == number, "definitions: a name it does not use")

    def amounts(self):
        if self.kind != INVOCATION:
            return {}
        completed = self.status == COMPLETED
        by_name = {"invocations": 1, "duration_ms": self.duration_ms,
                   {COMPLETED: "completed", FAILED: "failed", ABORTED: "aborted"}[self.status]: 1}
        if self.cost is None:
            by_name["unpriced"] = 1
        else:
            by_name["cost"] = self.cost
            by_name["completed_cost"] = self.cost if completed else 0
        if self.credits is not None:
            by_name["credits"] = self.credits
            by_name["completed_credits"] = self.credits if completed else 0
        for token_class, count in zip(TOKEN_CLASSES, self.tokens or []):
            by_name[token_class + "_tokens"] = count
        return {COLUMN[name]: value for name, value in by_name.items() if value != 0}


# ---- what the entries say that the derived databases must hold: sections 5, 7, 8 ----------------

class Series:
    """The blocks of one series, built item by item."""

    def __init__(self):
        self.totals, self.blocks = {}, {}
        self.count = 0

    def append(self, entry_id, amounts):
        delta = entry_id - self.last_id if self.count else 0
        item = varint(delta) + totals_bytes(amounts)
        if self.count in (0, BLOCK_ITEMS) or len(self.value) + len(item) > BLOCK_BYTES:
            self.count, self.first_id = 0, entry_id
            self.value = b"\0" + totals_bytes(self.totals)
            item = b"\0" + totals_bytes(amounts)
        self.count += 1
        self.value = bytes([self.count]) + self.value[1:] + item
        self.blocks[self.first_id] = self.value
        self.last_id = entry_id
        add(self.totals, amounts)


class Rollup:
    def __init__(self):
        self.totals = {}
        self.extremes = [None, None]

    def add(self, entry, amounts):
        add(self.totals, amounts)
        for measure, value in enumerate([entry.cost, entry.duration_ms]):
            if value is not None:
                low, high = self.extremes[measure] or (value, value)
                self.extremes[measure] = (min(low, value), max(high, value))

    def value(self):
        given = sum(1 << i for i, pair in enumerate(self.extremes) if pair)
        return (totals_bytes(self.totals) + bytes([given])
                + b"".join(zigzag(low) + zigzag(high) for low, high in filter(None, self.extremes)))


def u32s(*numbers):
    return struct.pack(">%dI" % len(numbers), *numbers)


class Derived:
    def __init__(self, families):
        self.families = families
        self.names = {}      # number -> (dimension, text)
        self.numbers = {}    # (dimension, text) -> number
        self.series_of = {}  # tuple of name numbers -> series
        self.series = {}
        self.rollups = {}    # (series, granularity, period) -> Rollup
        self.ids = {}        # name number of a state -> ids of its invocations

    def add(self, entry):
        for number, dimension, text in entry.definitions:
            require(number == len(self.names) + 1, "defines number %d out of order" % number)
            require((dimension, text) not in self.numbers, "defines a name again")
            self.names[number] = (dimension, text)
            self.numbers[dimension, text] = number
        for dimension, number in entry.names.items():
            require(number in self.names, "uses number %d, which is not defined" % number)
            require(self.names[number][0] == dimension, "uses number %d in dimension %d, but it "
                    "is of another" % (number, dimension))
        amounts = entry.amounts()
        if amounts:
            self.ids.setdefault(entry.names[STATE], []).append(entry.id)
            for series in self.series_ids(entry):
                self.series.setdefault(series, Series()).append(entry.id, amounts)
                for granularity, length in (1, HOUR_US), (2, 24 * HOUR_US):
                    key = series, granularity, entry.id // length
                    self.rollups.setdefault(key, Rollup()).add(entry, amounts)

    def series_ids(self, entry):
        yield 0
        for family in self.families:
            if all(dimension in entry.names for dimension in family):
                numbers = tuple(entry.names[dimension] for dimension in family)
                yield self.series_of.setdefault(numbers, len(self.series_of) + 1)

    def names_rows(self):
        for number, (dimension, text) in self.names.items():
            text = text.encode()
            head = bytes([dimension])
            if len(text) <= 500:
                yield b"\1" + head + text, u32s(number)
            else:
                yield b"\2" + head + hashlib.sha256(text).digest(), u32s(number)
            yield b"\3" + u32s(number), head + text
        for numbers, series in self.series_of.items():
            yield b"\4" + u32s(*numbers), u32s(series)
            yield b"\5" + u32s(series), u32s(*numbers)

    def series_rows(self):
        for series, built in self.series.items():
            for first_id, value in built.blocks.items():
                yield struct.pack(">IQ", series, first_id), value

    def rollup_rows(self):
        for (series, granularity, period), rollup in self.rollups.items():
            yield struct.pack(">IBI", series, granularity, period), rollup.value()


# ---- the forms of derived rows, so that a wrong one is told in words ----------------------------

def describe_names(key, value):
    require(len(key) > 1 and 1 <= key[0] <= 5, "unknown kind of row")
    sizes = {1: (lambda n: 3 <= n <= 502, lambda n: n == 4),
             2: (lambda n: n == 34, lambda n: n == 4),
             3: (lambda n: n == 5, lambda n: n >= 2),
             4: (lambda n: n % 4 == 1 and 5 <= n <= 33, lambda n: n == 4),
             5: (lambda n: n == 5, lambda n: n % 4 == 0 and 4 <= n <= 32)}
    good_key, good_value = sizes[key[0]]
    require(good_key(len(key)) and good_value(len(value)), "wrong length")
    return value.hex()


def describe_series(key, value):
    require(len(key) == 12, "the key does not have 12 bytes")
    require(len(value) <= BLOCK_BYTES, "longer than 2000 bytes")
    data = Bytes(value)
    count, entry_id, items = data.byte(), be(key[4:]), []
    require(1 <= count <= BLOCK_ITEMS, "%d items" % count)
    base = read_totals(data)
    for _ in range(count):
        entry_id += data.varint()
        items.append((entry_id, read_totals(data)))
    data.end()
    return "base %r, items %r" % (base, items)


def describe_rollup(key, value):
    require(len(key) == 9 and key[4] in (1, 2), "the key")
    data = Bytes(value)
    totals, extremes = read_totals(data), data.byte()
    require(extremes < 4, "unknown extremes")
    pairs = [(data.zigzag(), data.zigzag()) for bit in (0, 1) if extremes >> bit & 1]
    data.end()
    return "%r, extremes %d %r" % (totals, extremes, pairs)


# ---- the policy: sections 3 and 4 ---------------------------------------------------------------

def check_rule(rule, states):
    require(isinstance(rule, dict)
            and set(rule) == {"name", "scope", "measure", "window", "limit"}, "newer: keys of rule")
    require(isinstance(rule["name"], str), "a rule's name")
    scope, window = rule["scope"], rule["window"]
    require(isinstance(scope, dict) and set(scope) == {"state"}, "newer: scope")
    require(scope["state"] in states, "a rule of an undeclared state")
    require(rule["measure"] == "invocations", "newer: measure")
    require(isinstance(window, list) and len(window) == 2 and window[0] == "rolling",
            "newer: window")
    require(is_uint(window[1], AMOUNT_MAX, 1), "a rule's window")
    require(rule["limit"] is None or is_uint(rule["limit"]), "newer: limit")
    require(rule["limit"] is None or rule["limit"] <= AMOUNT_MAX, "a rule's limit")


def check_policy(policy):
    require(isinstance(policy, dict), "not a map")
    require(set(policy) == {"version", "states", "rules", "changed_by_entry"}, "newer: keys")
    require(is_uint(policy["version"], least=1), "version")
    require(is_uint(policy["changed_by_entry"]), "changed_by_entry")
    require((policy["version"] == 1) == (policy["changed_by_entry"] == 0), "version 1 has no entry")
    states, rules = policy["states"], policy["rules"]
    require(isinstance(states, list) and len(states) <= 1024
            and all(isinstance(s, str) and 1 <= len(s.encode()) <= 1020 and s != "total"
                    for s in states) and len(set(states)) == len(states), "states")
    require(isinstance(rules, list) and len(rules) <= 4096, "rules")
    for rule in rules:
        check_rule(rule, states)
    require(len({rule["name"] for rule in rules}) == len(rules), "a rule is named twice")


def check_chain(policy, entries):
    """Undoes every change, newest first. `entries`: those of kind policy, by id."""
    rules = {rule["name"]: rule for rule in policy["rules"]}
    states = list(policy["states"])
    version, at, seen = policy["version"], policy["changed_by_entry"], 0
    while at != 0:
        require(at in entries, "entry %d of version %d is not there" % (at, version))
        change = entries[at].change
        require(set(change) == {"version", "by", "reason", "previous", "states", "changes"},
                "keys of change")
        require(change["version"] == version, "entry %d is not of version %d" % (at, version))
        require(all(isinstance(change[k], str) and change[k] for k in ("by", "reason")), "by, why")
        require(is_uint(change["previous"]) and change["previous"] < at, "previous")
        undo_change(rules, states, change)
        version, at, seen = version - 1, change["previous"], seen + 1
    require(version == 1, "the chain ends at version %d" % version)
    require(seen == len(entries), "%d entries of %d are on the chain" % (seen, len(entries)))


def undo_change(rules, states, change):
    """Takes `rules`, by name, and `states` from the version that the change made to the one
    before."""
    for before, after in change["changes"]:
        name = (after or before)["name"]
        require(rules.pop(name, None) == after, "%r was not as its change says" % name)
        if before is not None:
            require(before["name"] == name, "a change of %r begins with another rule" % name)
            rules[name] = before
    kept = max(len(states) - len(change["states"]), 0)
    require(states[kept:] == change["states"], "the last states are not those of the change")
    del states[kept:]
    for rule in rules.values():
        check_rule(rule, states)


# ---- the gate: section 9 ------------------------------------------------------------------------

NEVER = 2 ** 64 - 1


class Gate:
    SIZE, CELLS, NAMES = 1118208, 4096, 69632

    def __init__(self, page):
        require(len(page) == self.SIZE, "has %d bytes" % len(page))
        require(page[:8] == b"CLGATE\0\1", "another magic")
        self.manual, generation = struct.unpack_from("=II", page, 24)
        require(self.manual in (0, 1) and generation > 0, "clock")
        self.line_us = struct.unpack_from("=q", page, 32 + 24 * (generation % 8) + 8)[0]
        self.last_seen_us = max(us if complement == ~us and us > 0 else 0
                                for us, complement in struct.iter_unpack("=qq", page[224:256]))
        self.last_id, count = struct.unpack_from("=QI", page, 256)
        require(count <= 1024, "state_count %d" % count)
        self.cells = [struct.unpack_from("=QQQ", page, self.CELLS + 64 * i) for i in range(count)]
        self.names = []
        for at in range(self.NAMES, self.NAMES + 1024 * count, 1024):
            size = struct.unpack_from("=H", page, at)[0]
            require(size <= 1022, "size of a name")
            self.names.append(page[at + 2:at + 2 + size].decode())
        require(not any(page[268:4096]), "the header does not end with zeros")

    def check(self, policy, derived, last_id):
        """The page was read before the snapshot that the other arguments are from."""
        require(self.names == policy["states"][:len(self.names)], "names of the cells")
        require(self.last_id <= last_id, "last_id %d is beyond the last entry" % self.last_id)
        for state, cell in zip(self.names, self.cells):
            ids = derived.ids.get(derived.numbers.get((STATE, state)), [])
            require(cell[0] == cell[1], "critical_from_us of %r" % state)
            require(cell[2] <= len(ids), "invocations of %r: %d" % (state, cell[2]))
            if self.last_id == last_id:
                require(cell[2] == len(ids), "invocations of %r: %d" % (state, cell[2]))
                self.check_word(state, cell[0], [rule for rule in policy["rules"]
                                                 if rule["scope"]["state"] == state], ids)

    def check_word(self, state, word, rules, ids):
        now = self.line_us if self.manual else max(self.last_seen_us, self.last_id)
        expected = max([allowed_from(rule["limit"], rule["window"][1], ids, now) for rule in rules],
                       default=0)
        is_past = word not in (0, NEVER) and word <= now
        require(word == expected or (expected == 0 and is_past),
                "ok_from_us of %r is %d, not %d" % (state, word, expected))


def allowed_from(limit, window_ms, ids, now):
    """The first time, in us from `now` on, at which fewer than `limit` ids are in the window."""
    if limit is None or len(ids) < limit:
        return 0
    if limit == 0:
        return NEVER
    # The window's start must pass the limit-th newest: (ms - window_ms) * 1000 > id.
    ms = ids[-limit] // 1000 + 1 + window_ms
    return ms * 1000 if ms > now // 1000 else 0


# ---- the whole ----------------------------------------------------------------------------------

class Ledger:
    def __init__(self, directory):
        self.directory, self.problems = directory, []
        self.by_kind, self.policy_entries, self.last = {}, {}, {}
        self.derived, self.policy = Derived([]), None

    def attempt(self, where, function, *arguments):
        try:
            return function(*arguments)
        except (Bad, KeyError, TypeError, ValueError, struct.error, lmdb.Error) as error:
            text = str(error) if isinstance(error, Bad) else repr(error)
            self.problems.append("%s: %s" % (where, text))
            return None

    def read(self):
        gate = self.attempt("gate", self.read_gate)  # first: it must not know more than we do
        env = self.attempt("data.mdb", self.open)
        if env is None:
            return
        try:
            databases = {name: env.open_db(name.encode(), create=False) for name in DATABASES}
        except lmdb.Error as error:
            self.problems.append("data.mdb: not a ledger: %s" % error)
            return
        with env.begin() as txn:
            self.rows = {name: txn.cursor(db) for name, db in databases.items()}
            self.empty = {name: txn.stat(db)["entries"] == 0 for name, db in databases.items()}
            if self.attempt("meta", self.read_meta) is None:
                return
            for key, value in self.rows["entries"]:
                self.attempt("entries: %s" % key.hex(), self.read_entry, key, value)
            for name in EMPTY:
                self.attempt(name, require, self.empty[name], "is not empty")
            self.compare("names", self.derived.names_rows(), describe_names)
            self.compare("series", self.derived.series_rows(), describe_series)
            self.compare("rollups", self.derived.rollup_rows(), describe_rollup)
        if self.policy is not None:
            self.attempt("policy", check_chain, self.policy, self.policy_entries)
            self.attempt("policy", self.check_states)
            if gate is not None:
                self.attempt("gate", gate.check, self.policy, self.derived, self.last.get("id", 0))
        env.close()

    def read_gate(self):
        path = os.path.join(self.directory, "gate")
        if not os.path.exists(path):
            return None
        with open(path, "rb") as file:
            return Gate(file.read())

    def open(self):
        env = lmdb.open(self.directory, max_dbs=16, readonly=True, map_size=0, mode=0o600)
        need = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
        path = os.path.join(self.directory, "data.mdb")
        size = os.stat(path).st_size
        require(size >= need, "truncated: has %d bytes, needs %d" % (size, need))
        return env

    def read_meta(self):
        meta = {key: unpack(value) for key, value in self.rows["meta"]}
        head = meta.get(b"format")
        require(isinstance(head, dict) and head.get("magic") == "cost_ledger", "not a ledger")
        require(is_uint(head.get("version"), least=1), "format: version")
        require(head["version"] == 1, "newer: format %d" % head["version"])
        require(set(head) <= {"magic", "version", "created_at", "currency", "needs"},
                "newer: keys of format")
        require("needs" in head, "format: needs")
        require(head["needs"] == [], "newer: needs %r" % head["needs"])
        require(is_uint(head.get("created_at")), "format: created_at")
        require(isinstance(head.get("currency"), str)
                and 1 <= len(head["currency"].encode()) <= 7, "format: currency")
        families = meta.get(b"series")
        require(isinstance(families, list) and len(families) <= 64
                and all(isinstance(f, list) and 1 <= len(f) <= 8
                        and are_dimensions(f) for f in families), "newer: series")
        require([STATE] in families and len(set(map(tuple, families))) == len(families), "series")
        check_policy(meta.get(b"policy"))
        self.derived, self.policy, self.head = Derived(families), meta[b"policy"], head
        return True

    def read_entry(self, key, value):
        entry = Entry(key, value)
        require(entry.id > self.last.get("id", 0), "ids do not ascend")
        self.last["id"] = self.last[entry.kind] = entry.id
        self.by_kind[entry.kind] = self.by_kind.get(entry.kind, 0) + 1
        if entry.kind == POLICY:
            self.policy_entries[entry.id] = entry
        self.derived.add(entry)

    def compare(self, name, expected, describe):
        """The rows of a derived database against those that the entries make."""
        expected = dict(expected)
        for key, value in self.rows[name]:
            where = "%s: %s" % (name, key.hex())
            found = self.attempt(where, describe, key, value)
            wanted = expected.pop(key, None)
            if wanted is None:
                self.problems.append("%s: is not derived from any entry" % where)
            elif wanted != value and found is not None:
                self.problems.append("%s: is %s; the entries make %s"
                                     % (where, found, describe(key, wanted)))
        for key in expected:
            self.problems.append("%s: %s: is missing" % (name, key.hex()))

    def check_states(self):
        for number in self.derived.ids:
            state = self.derived.names[number][1]
            require(state in self.policy["states"], "state %r is not declared" % state)

    def summary(self):
        totals = self.derived.series.get(0, Series()).totals
        total = {name: totals.get(column, 0) for name, column in COLUMN.items()}
        return {
            "entries": sum(self.by_kind.values()),
            "invocations": total["invocations"],
            "states": {self.derived.names[number][1]: len(ids)
                       for number, ids in self.derived.ids.items()},
            "completed": total["completed"], "failed": total["failed"],
            "aborted": total["aborted"], "unpriced": total["unpriced"],
            "duration_ms": total["duration_ms"],
            "cost": total["cost"], "completed_cost": total["completed_cost"],
            "credits": total["credits"], "completed_credits": total["completed_credits"],
            "tokens": {name: total[name + "_tokens"] for name in TOKEN_CLASSES},
            "names": len(self.derived.names), "series": len(self.derived.series),
            "blocks": sum(len(series.blocks) for series in self.derived.series.values()),
            "rollups": len(self.derived.rollups),
            "last_id": self.last.get("id", 0),
            "last_invocation_id": self.last.get(INVOCATION, 0),
            "last_policy_id": self.last.get(POLICY, 0),
            "policy_version": self.policy["version"] if self.policy else 0,
            "problems": self.problems,
        }


def print_plain(summary):
    for key, value in summary.items():
        if key == "states":
            for state, count in value.items():
                print("state.%s=%d" % (state.encode().hex(), count))
        elif key == "tokens":
            for token_class, count in value.items():
                print("tokens.%s=%d" % (token_class, count))
        elif key != "problems":
            print("%s=%d" % (key, value))
    for problem in summary["problems"]:
        print("problem=%s" % json.dumps(problem)[1:-1])


def main(arguments):
    plain = "--plain" in arguments
    paths = [argument for argument in arguments if argument != "--plain"]
    if len(paths) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    ledger = Ledger(paths[0])
    ledger.read()
    summary = ledger.summary()
    if plain:
        print_plain(summary)
    else:
        print(json.dumps(summary, indent=2))
    return 1 if ledger.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
