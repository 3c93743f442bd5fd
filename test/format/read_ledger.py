#!/usr/bin/python3
"""Reads a ledger and checks it, knowing nothing but docs/format.md.

    read_ledger.py [--plain] DIRECTORY

Prints one JSON object; with --plain, lines `key=number`, where names are in hex and there is one
line `problem=...` for each problem. Exits with 1 if there is any problem. May run while the ledger
is open. Needs Debian's python3-lmdb and python3-msgpack.

Beside sums it tells what each rule's use is now, in every series that the rule is over:
used.RULE.VALUE.VALUE, and held, limit (-1: none) and percent likewise. Now is the gate's time with
a manual clock, else the latest time that is known.
"""

import collections
import json
import os
import struct
import sys

sys.dont_write_bytecode = True  # of the modules beside this one

try:
    import lmdb
    from ledger_records import Corrections, Payloads, PriceBook
    from ledger_rows import (
        COLUMN, COMPLETES, CORRECTION, FOREVER, GRANT, HELD_COLUMNS, ID_LIMIT, INVOCATION,
        KINDS, LATE, METER, OF_COMPLETED, OVERRUN, POLICY, PRICE, PRICES, REDACTION, RELEASE, RESERVE,
        RESET, RUN, SETS_POLICY, STATE, STATUS, TOKEN_CLASSES, TRANSFER, UNATTENDED, Bad, Entry, Held, Hold,
        Mark, Request, add, are_dimensions, be, client_key, describe_keys, describe_names,
        describe_reset, describe_rollup, describe_series, is_uint, mark_name, request_row,
        request_value, require, run_key, totals_bytes, u32s, u64, unpack, varint)
    from ledger_rules import (CALENDAR, NEVER, History, Use, check_policy, rules_over, window_start)
    from ledger_past import Past
    from ledger_series import Derived, Names, Series
except ImportError as error:
    print("needs python3-lmdb and python3-msgpack:", error, file=sys.stderr)
    sys.exit(77)

DATABASES = ["meta", "entries", "payloads", "keys", "names",
             "series", "rollups", "holds", "held", "warned"]
WORDS = ["budgets", "records", "retention"]  # what format.needs may name
DEPTH = 8  # how many parents above it an entry is told to

# ---- the gate: section 12 -----------------------------------------------------------------------

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

    def now(self):
        return self.line_us if self.manual else max(self.last_seen_us, self.last_id)

    def check(self, ledger):
        """The page was read before the snapshot that the ledger is."""
        states = ledger.policy["states"]
        require(self.names == states[:len(self.names)], "names of the cells")
        require(self.last_id <= ledger.last_id, "last_id %d is beyond the last one" % self.last_id)
        is_newest = self.last_id == ledger.last_id
        require(not is_newest or len(self.names) == len(states), "a state has no cell")
        for state, (ok, critical, invocations) in zip(self.names, self.cells):
            number = ledger.derived.state_series(state)
            series = ledger.derived.series.get(number, Series())
            count = series.totals.get(COLUMN["invocations"], 0)
            require(invocations <= count, "invocations of %r: %d" % (state, invocations))
            if is_newest:
                require(invocations == count, "invocations of %r: %d" % (state, invocations))
                self.check_word(ledger, state, number, "ok_from_us", ok, False)
                self.check_word(ledger, state, number, "critical_from_us", critical, True)

    def check_word(self, ledger, state, number, what, word, is_critical):
        expected = 0
        for rule in (rules_over(ledger.rules.values(), {})
                     + rules_over(ledger.rules.values(), {STATE: state})):
            if rule.effect != "deny" or rule.is_unlimited:
                continue
            exists = not rule.family or number is not None
            use = ledger.use(rule, number if rule.family else 0, self.now())
            if rule.has_each and not exists and ledger.count_of((STATE,)) >= rule.max_values:
                expected = NEVER
            expected = max(expected, use.admits_from(is_critical, exists))
        is_past = word not in (0, NEVER) and word <= self.now()
        require(word == expected or (expected == 0 and is_past),
                "%s of %r is %d, not %d" % (what, state, word, expected))


# ---- the whole ----------------------------------------------------------------------------------

class Rows:
    """Of one database, from the first, each time."""

    def __init__(self, txn, database):
        self.txn, self.database = txn, database

    def __iter__(self):
        return iter(self.txn.cursor(self.database))

    def get(self, key):
        return self.txn.get(key, db=self.database)


class Ledger:
    def __init__(self, directory):
        self.directory, self.problems = directory, []
        self.last, self.last_id, self.now_us = {}, 0, 0
        self.entries, self.holds, self.held = {}, {}, {}
        self.past, self.policy, self.rules = Past(None, False), None, {}
        self.derived = Derived([], [], Names([]), True, self.past)
        self.history, self.warnings, self.key_count = None, 0, 0
        self.endings, self.maybe = {}, {}  # rows 03 of keys
        self.leaving = 0  # entries that count as removed, but are there
        self.corrections, self.book, self.payloads = Corrections(), PriceBook(), Payloads({})

    def attempt(self, where, function, *arguments):
        try:
            return function(*arguments)
        except (Bad, KeyError, IndexError, TypeError, ValueError, OverflowError, struct.error,
                lmdb.Error) as error:
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
            self.rows = {name: Rows(txn, db) for name, db in databases.items()}
            if self.attempt("meta", self.read_meta) is not None:
                self.read_rows()
                self.check(gate)
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
        require(isinstance(head["needs"], list) and all(word in WORDS for word in head["needs"]),
                "newer: needs %r" % head["needs"])
        require(is_uint(head.get("created_at")), "format: created_at")
        require(isinstance(head.get("currency"), str)
                and 1 <= len(head["currency"].encode()) <= 7, "format: currency")
        families, building = meta.get(b"series"), meta.get(b"building", [])
        require(isinstance(families, list), "series")
        require(isinstance(building, list) and all(isinstance(b, list) and len(b) == 2
                                                   and is_uint(b[1]) for b in building), "building")
        require(b"building" not in meta or building, "building: none, but written")
        every = families + [family for family, _ in building]
        require(len(every) <= 64 and all(isinstance(f, list) and 1 <= len(f) <= 8
                                         and are_dimensions(f, [STATUS]) for f in every), "newer: series")
        require([STATE] in families and len(set(map(tuple, every))) == len(every), "series")
        self.families = list(map(tuple, families))
        self.building = [(tuple(family), end) for family, end in building]
        self.rules = check_policy(meta.get(b"policy"), self.families)
        self.policy, self.head = meta[b"policy"], head
        self.past = Past(meta.get(b"retention"), "retention" in head["needs"])
        self.past.check_families(map(tuple, every), self.rules.values())
        return True

    def read_rows(self):
        self.past.read_series(self.rows["series"], self.problems.append)
        self.derived = self.attempt("series", Derived, self.families, self.building,
                                    Names(self.rows["names"]), "records" in self.head["needs"],
                                    self.past) or self.derived
        for key, value in self.rows["entries"]:
            self.attempt("entries: %s" % key.hex(), self.read_entry, key, value)
        for key, value in self.rows["holds"]:
            self.attempt("holds: %s" % key.hex(), self.read_hold, key, value)
        self.last_id = self.now_us = max([0, *self.entries, *self.holds])
        self.read_payloads()

    def read_entry(self, key, value):
        require(len(key) == 8, "the key does not have 8 bytes")
        entry = Entry(value)
        entry.id = be(key)
        require(0 < entry.id < ID_LIMIT, "the id is out of range")
        entry.check_stored(self.families + [family for family, _ in self.building])
        if self.past.is_removed(entry):
            self.leaving += 1
            return
        self.last[entry.kind] = entry.id
        self.entries[entry.id] = entry
        self.derived.add(entry, self.entries.get(entry.link))
        if not self.past.has(entry.link):
            self.corrections.add(entry, self.entries.get(entry.link))
        if entry.kind == PRICE:
            self.book.add(entry)
        self.book.check(entry, {dimension: self.derived.defined[number][1]
                                for dimension, number in entry.names.items()})

    def read_payloads(self):
        payloads = self.payloads = Payloads(self.entries)
        for entry in self.entries.values():
            if entry.kind == REDACTION and not self.past.has(entry.link):
                self.attempt("entries: %s" % u64(entry.id).hex(), payloads.check_redaction, entry)
        for key, value in self.rows["payloads"]:
            if self.past.removed_to <= be(key) < self.past.horizon:
                continue
            self.attempt("payloads: %s" % key.hex(), payloads.check_row, key, value)
        for id in payloads.bound:
            self.problems.append("payloads: %s: is missing" % u64(id).hex())

    def read_hold(self, key, value):
        hold = Hold(key, value)
        for dimension, number in hold.names.items():
            require(self.derived.names.texts.get(number, (0,))[0] == dimension,
                    "uses number %d, which is not there, or of another dimension" % number)
        series = self.derived.series_of(hold.names, [()] + self.families)
        require(set(hold.shares) == set(series), "has shares in series %r, not in %r"
                % (sorted(hold.shares), sorted(series)))
        self.holds[hold.id] = hold

    # ---- what must fit ----

    def check(self, gate):
        if gate is not None:
            self.now_us = gate.now()
        self.attempt("names", self.derived.check_numbers)
        self.compare("names", self.derived.names_rows(bool(self.head["needs"])), describe_names)
        self.compare("series", self.derived.series_rows(), describe_series)
        past = [(key, value) for key, value in self.rows["rollups"] if self.past.is_rollup(key)]
        self.compare("rollups", [*self.derived.rollup_rows(), *past], describe_rollup)
        self.attempt("policy", self.check_chain)
        self.check_needs()
        self.attempt("holds", self.check_holds)
        self.check_held()
        self.check_keys()
        if self.history is not None:
            self.attempt("entries", self.check_overruns)
            self.attempt("warned", self.check_warned)
        self.attempt("policy", self.check_states)
        if gate is not None:
            self.attempt("gate", gate.check, self)

    def compare(self, name, expected, describe, kinds=None):
        """The rows of a database against those that the rest makes. `kinds`: only those whose
        key begins so."""
        expected = dict(expected)
        for key, value in self.rows[name]:
            if kinds is not None and key[:1] not in kinds:
                continue
            where = "%s: %s" % (name, key.hex())
            found = self.attempt(where, describe, key, value)
            wanted = expected.pop(key, None)
            if wanted is None:
                self.problems.append("%s: is not derived from anything" % where)
            elif wanted != value and found is not None:
                self.problems.append("%s: is %s; should be %s"
                                     % (where, found, describe(key, wanted)))
        for key in expected:
            self.problems.append("%s: %s: is missing" % (name, key.hex()))

    def check_chain(self):
        history = History(self.policy, self.rules, self.families)
        history.check_chain({id: e for id, e in self.entries.items() if e.kind == POLICY})
        self.history = history
        for entry in self.entries.values():
            if entry.kind == RESET:
                history.add_reset(entry, self.derived.names)

    def check_states(self):
        for dimension, text in self.derived.defined.values():
            require(dimension != STATE or text in self.policy["states"],
                    "state %r is not declared" % text)

    def check_needs(self):
        """What is there needs no word that format.needs does not have."""
        words = self.head["needs"]
        if "records" not in words:
            self.check_uses({
                "meta": any(STATUS in f for f in self.families + list(dict(self.building))),
                "entries": any(map(self.is_of_records, self.entries.values())),
                "holds": any(hold.run_id for hold in self.holds.values()),
                "keys": any(key[0] >= 4 for key, _ in self.rows["keys"]),
                "payloads": any(True for _ in self.rows["payloads"])})
        if "budgets" not in words:
            new = [e.kind not in (INVOCATION, POLICY) or e.flags or e.client_id or e.link or e.hold
                   or e.policy_version for e in self.entries.values()]
            self.check_uses({
                "meta": self.building or "settings" in self.policy
                or not all(rule.is_of_first_version() for rule in self.rules.values()),
                "entries": any(new), "names": any(key[0] >= 6 for key, _ in self.rows["names"]),
                **{name: any(True for _ in self.rows[name])
                   for name in ("keys", "holds", "held", "warned")}})

    def check_uses(self, uses):
        for name, used in uses.items():
            self.attempt(name, require, not used, "uses what format.needs does not name")

    @staticmethod
    def is_of_records(entry):
        given = (entry.breakdown, entry.unit_prices, entry.digest, entry.occurred_at, entry.run_id,
                 entry.parent_run)
        return (entry.kind in (PRICE, REDACTION) or entry.flags & PRICES or given != (None,) * 6
                or (entry.kind in (RUN, CORRECTION) and entry.hold is None))

    def check_holds(self):
        """Every hold ends once; children and parents know each other."""
        ended = {}
        self.ids = {entry.hold for entry in self.entries.values()} | {*self.entries, *self.holds}
        children = {id: {} for id in self.holds}
        for entry in self.entries.values():
            where = "entries: %s" % u64(entry.id).hex()
            if entry.kind == CORRECTION and self.past.has(entry.link):
                continue
            if entry.kind == CORRECTION and entry.hold is not None:
                self.attempt(where, self.check_correction, entry, ended)
            elif entry.hold is not None:
                self.attempt(where, self.check_end, entry, ended)
                ended.setdefault(entry.hold, entry)
        parents = {id: entry.parent or 0 for id, entry in ended.items()}
        parents.update((id, hold.parent) for id, hold in self.holds.items())
        for entry in ended.values():
            self.attempt("entries: %s" % u64(entry.id).hex(), self.check_parent,
                         entry.parent or 0, ended)
        lenders = set(parents.values())
        self.tell_parents(parents, lenders, children)
        for id, entry in ended.items():
            row = (varint(entry.id) + varint(parents[id])
                   + bytes([entry.flags & UNATTENDED == 0 or entry.id in self.corrections.of])
                   + totals_bytes(children.get(id, {})))
            if self.is_remembered(entry, lenders):
                self.endings[b"\3" + u64(id)] = row
            elif entry.kind == RELEASE and entry.parent:  # of a run or not: nothing else says it
                self.maybe[b"\3" + u64(id)] = row
        live = collections.Counter(hold.parent for hold in self.holds.values())
        for id, hold in self.holds.items():
            self.attempt("holds: %s" % u64(id).hex(), self.check_hold, hold, ended, live[id],
                         children[id])

    @staticmethod
    def is_remembered(entry, lenders):
        """Whether there is a row of how a hold ended, given the entry that ended it."""
        is_run = entry.kind == RUN or entry.hold in lenders
        return entry.flags & UNATTENDED or (entry.parent and is_run)

    def tell_parents(self, parents, lenders, children):
        """Adds to `children` of every hold what was booked below it."""
        known = set(parents)
        for entry in self.entries.values():
            booked = entry
            if entry.kind == CORRECTION and entry.hold is None:
                booked = self.entries.get(entry.link, entry)
            if booked.hold is None:
                continue
            if entry.kind != CORRECTION and not self.is_remembered(entry, lenders):
                known.discard(entry.hold)
            above = booked.parent
            for _ in range(DEPTH):
                if above not in known:
                    break
                add(children.setdefault(above, {}), entry.booked())
                above = parents[above]

    def check_parent(self, parent, ended):
        require(parent == 0 or parent in self.holds or parent in ended or self.past.has(parent),
                "its parent was never there")
        of = self.holds.get(parent) or ended.get(parent)
        require(of is None or of.kind in (RUN, RELEASE), "its parent is not a run")

    def check_end(self, entry, ended):
        """Of an entry that ends a hold."""
        require(entry.hold not in self.holds, "ends hold %d, which is live" % entry.hold)
        require(entry.hold not in ended, "ends hold %d again" % entry.hold)
        require(entry.hold not in self.entries, "its hold is an entry")
        parent = ended.get(entry.parent)
        require(parent is None or parent.flags & UNATTENDED, "its parent was ended by its caller")
        if entry.policy_version is not None and self.history is not None:
            require(entry.policy_version <= self.history.version_at(entry.hold), "policy_version")

    def check_correction(self, entry, ended):
        """Of one that its caller settled after the ledger had."""
        first = ended.get(entry.hold)
        require(first is not None and first.id == entry.link and first.flags & UNATTENDED,
                "corrects what the ledger has not ended")
        require((entry.parent, entry.policy_version) == (first.parent, first.policy_version),
                "is not as what it corrects")

    def check_hold(self, hold, ended, live, children):
        require(hold.id not in self.entries, "its id is that of an entry")
        self.check_parent(hold.parent, ended)
        require(hold.parent not in ended or ended[hold.parent].flags & UNATTENDED,
                "its parent was ended by its caller")
        require(hold.open_children == live, "has %d live children, not %d"
                % (live, hold.open_children))
        booked = {column: value for column, value in children.items() if value}
        require(hold.children == booked, "children is %r; the entries make %r"
                % (hold.children, booked))
        require(hold.policy_version <= self.policy["version"], "policy_version")
        if hold.client_id:
            self.reserved(hold)

    def reserved(self, hold):
        value = self.rows["keys"].get(client_key(hold.client_id))
        require(value is not None, "its client_id has no row in keys")
        request = Request(b"", value)
        require((request.operation, request.id) == (RESERVE, hold.id),
                "the row of its client_id in keys is not its own")

    def check_held(self):
        expected = {}
        for hold in self.holds.values():
            for series, columns in hold.shares.items():
                expected.setdefault(series, Held()).add(hold, columns)
        for key, value in self.rows["held"]:
            where = "held: %s" % key.hex()
            row = self.attempt(where, Held.read, value)
            wanted = expected.pop(be(key), Held()) if len(key) == 4 else Held()
            if row is not None:
                fits = (row.holds == wanted.holds > 0 and row.columns == wanted.columns
                        and wanted.until <= row.until < ID_LIMIT)
                self.attempt(where, require, fits, "is %s; the holds make %s" % (row, wanted))
                self.held[be(key)] = row.columns
        for series in expected:
            self.problems.append("held: %s: is missing" % u32s(series).hex())

    def check_keys(self):
        expected = dict([*self.endings.items(), *self.corrections.rows(), *self.book.rows()])
        for key in [key for key in expected if key[0] == 3 and self.past.has(be(key[1:]))]:
            del expected[key]
        for entry in self.entries.values():
            if entry.client_id is not None:
                self.attempt("entries: %s" % u64(entry.id).hex(), self.expect, expected,
                             client_key(entry.client_id), request_row(entry))
        self.expect_runs(expected)
        ended = {entry.hold for entry in self.entries.values()}
        for key, value in self.rows["keys"]:
            self.key_count += 1
            if self.is_past_key(key, value):
                expected.setdefault(key, value)
            elif key in self.maybe:
                expected[key] = self.maybe[key]
            elif key[0] in (1, 2) and key not in expected:
                if self.attempt("keys: %s" % key.hex(), self.check_request, key, value, ended):
                    expected[key] = value
        self.compare("keys", expected.items(), describe_keys)

    def is_past_key(self, key, value):
        """Of an entry or a hold before the horizon, of which nothing else may tell."""
        if key[0] in (3, 6):
            return self.past.has(be(key[1:]))
        request = self.attempt("keys: %s" % key.hex(), Request, key, value) \
            if key[0] in (1, 2, 4, 5) else None
        return request is not None and self.past.has(request.id)

    @staticmethod
    def expect(expected, key, row):
        require(key not in expected, "another one has the id")
        expected[key] = row

    def expect_runs(self, expected):
        """Rows of run ids: of what was recorded, of holds, and of what ended them."""
        reserved = {}  # hold -> digest of the request that reserved it, if it had a client_id
        for key, value in self.rows["keys"]:
            request = self.attempt("keys: %s" % key.hex(), Request, key, value) \
                if key[0] in (1, 2) else None
            if request is not None and request.operation == RESERVE:
                reserved[request.id] = request.digest
        for what in [*self.entries.values(), *self.holds.values()]:
            if not what.run_id:
                continue
            key, is_live = run_key(what.run_id), what.id in self.holds
            if not is_live and what.hold is None:
                row = request_row(what)
            else:
                hold = what.id if is_live else what.hold
                digest = reserved.get(hold) or (self.rows["keys"].get(key) or bytes(32))[-32:]
                row = request_value(RESERVE, 0, what.id, 0 if is_live else hold, digest)
            self.attempt("%s: %s" % ("holds" if is_live else "entries", u64(what.id).hex()),
                         self.expect, expected, key, row)

    def check_request(self, key, value, ended):
        """Of a request that booked no entry."""
        request = Request(key, value)
        if request.operation == SETS_POLICY and request.id == 0:
            require(request.flags == 0 and 1 <= request.version <= self.policy["version"],
                    "has flags, or a version that never was")
            return True
        require(request.operation in (RESERVE, METER, TRANSFER), "no entry has this client_id")
        require((request.flags, request.version) == (0, 0), "has flags or a version")
        require(request.id in self.holds or request.id in ended, "no hold %d was ever" % request.id)
        hold = self.holds.get(request.id)
        if request.operation == RESERVE and hold is not None:
            require(hold.client_id and client_key(hold.client_id) == key,
                    "its hold has another client_id")
        metered = hold and request.operation == METER and hold.metered
        if metered and metered.client_id and client_key(metered.client_id) == key:
            require(request.digest == metered.request_digest, "digest")
        return True

    def use(self, rule, series, now_us, end=FOREVER, first=None):
        since = self.history.since(rule.name, series, end) if self.history else 0
        held = self.held.get(series, [0] * HELD_COLUMNS)[rule.held_column]
        return Use(rule, self.derived.series.get(series), since, held, now_us, end, first)

    def count_of(self, family):
        return self.derived.names.counts().get(bytes(family), 0)

    def check_overruns(self):
        """An entry that is not marked left no rule over its limit by what is booked alone; one
        that is marked added to a rule that could deny it."""
        over = {}
        for id, series_of in self.derived.series_at.items():
            entry, amounts = self.entries[id], self.derived.amounts_at[id]
            rules, could = self.history.rules_at(id), False
            for series in series_of if entry.kind != GRANT else []:
                key = self.history.version_at(id), series
                if key not in over:
                    fitting = rules_over(rules, self.derived.names.scope(series))
                    over[key] = [rule for rule in fitting
                                 if rule.effect != "warn" and not rule.is_unlimited]
                for rule in over[key]:
                    if sum(amounts.get(column, 0) for column in rule.columns) <= 0:
                        continue
                    could = True
                    use = self.use(rule, series, id, id + 1)
                    if self.past.has(use.first):
                        continue
                    self.attempt("entries: %s" % u64(id).hex(), require,
                                 use.used <= use.cap(True) or entry.flags & OVERRUN,
                                 "is not marked as an overrun of %r" % rule.name)
            self.attempt("entries: %s" % u64(id).hex(), require,
                         could or not entry.flags & OVERRUN, "is an overrun of no rule")

    def check_warned(self):
        rules = {mark_name(name): rule for name, rule in self.rules.items()}
        marks = {}
        for key, value in self.rows["warned"]:
            where = "warned: %s" % key.hex()
            if key[0] == 1:
                mark = self.attempt(where, Mark, key, value)
                if mark is not None and self.attempt(where, self.check_mark, mark, rules):
                    marks[mark.rule, mark.series, mark.threshold] = mark
                    self.warnings += 1
            else:
                self.attempt(where, require, key[0] == 2, "unknown kind of row")
        self.compare("warned", self.history.reset_rows(), describe_reset, [b"\2"])
        for rule, series in self.over():
            self.attempt("warned", self.check_reached, rule, series, marks)

    def check_mark(self, mark, rules):
        """The threshold had been reached then."""
        require(mark.rule in rules, "of a rule that is not there")
        name = rules[mark.rule].name
        if self.past.has(mark.id):
            return True
        require(mark.id in self.ids, "its id is of nothing")
        rule = next((r for r in self.history.rules_at(mark.id) if r.name == name), None)
        require(rule is not None and mark.threshold in rule.warn, "not one of its thresholds")
        require(mark.series in self.derived.names.names_of
                and rule.fits(self.derived.names.scope(mark.series)), "not one of its series")
        is_calendar = rule.window[0] in CALENDAR
        start = max(window_start(rule.window, mark.period), 1)
        require(mark.period == (start if is_calendar else 0) and mark.period <= mark.id, "period")
        use = self.use(rule, mark.series, mark.id, mark.id + 1, mark.period)
        if self.past.has(use.first):
            return True
        require(mark.limit == use.limit, "limit %d, not %d" % (mark.limit, use.limit or -1))
        require(use.used > 0 and use.percent(use.used) >= mark.threshold, "it was not reached")
        return True

    def check_reached(self, rule, series, marks):
        """What the newest entry of the series reached has a mark, if the rule was the same."""
        ids = self.derived.series.get(series, Series()).ids
        if (not rule.warn or rule.is_unlimited or not ids
                or self.history.changed.get(rule.name, 0) > ids[-1]
                or self.history.since(rule.name, series) > ids[-1]):
            return
        use = self.use(rule, series, ids[-1])
        if use.used <= 0 or use.limit < 0 or self.past.has(use.first):
            return
        for threshold in rule.warn:
            if use.percent(use.used) >= threshold:
                mark = marks.get((mark_name(rule.name), series, threshold))
                require(mark is not None and mark.limit == use.limit, "%d percent of %r, in series "
                        "%d, was not warned of" % (threshold, rule.name, series))

    def over(self):
        """Each rule in force with each series that it is over."""
        for series in self.derived.names.names_of:
            for rule in rules_over(self.rules.values(), self.derived.names.scope(series)):
                yield rule, series

    # ---- what is told ----

    def uses(self):
        """Rules, the values of their series, and their use now."""
        without = {name for name, rule in self.rules.items() if not rule.has_each}
        for rule, series in self.over():
            without.discard(rule.name)
            values = list(self.derived.names.scope(series).values())
            yield rule, values, self.use(rule, series, self.now_us)
        for rule in map(self.rules.get, without):
            yield rule, list(rule.scope.values()), Use(rule, None, 0, 0, self.now_us)

    def told(self):
        for rule, values, use in self.uses():
            yield {"rule": rule.name, "values": values, "used": use.used, "held": use.held,
                   "limit": -1 if rule.is_unlimited else use.limit,
                   "percent": use.percent(use.used + use.held)}

    def summary(self):
        totals = self.derived.series.get(0, Series()).totals
        kinds = collections.Counter(entry.kind for entry in self.entries.values())
        total = {name: totals.get(column, 0) for name, column in COLUMN.items()}
        states = {}
        for (dimension, text), number in self.derived.numbers.items():
            series = self.derived.series.get(self.derived.names.series_of.get((number,)))
            if dimension == STATE and series and series.totals.get(COLUMN["invocations"]):
                states[text] = series.totals[COLUMN["invocations"]]
        return {
            "entries": len(self.entries),
            "invocations": total["invocations"],
            "states": states,
            "completed": total["completed"], "failed": total["failed"],
            "aborted": total["aborted"], "unpriced": total["unpriced"],
            "duration_ms": total["duration_ms"],
            "cost": total["cost"], "completed_cost": total["completed_cost"],
            "credits": total["credits"], "completed_credits": total["completed_credits"],
            "tokens": {name: total[name + "_tokens"] for name in TOKEN_CLASSES},
            "totals": total,
            "kinds": {name: kinds[kind] for kind, name in enumerate(KINDS, 1)},
            "flags": {name: sum(bool(entry.flags & bit) for entry in self.entries.values())
                      for name, bit in [("overrun", OVERRUN), ("late", LATE),
                                        ("completes", COMPLETES), ("unattended", UNATTENDED),
                                        ("prices", PRICES), ("of_completed", OF_COMPLETED)]},
            "payloads": self.payloads.count, "redacted": self.payloads.redacted,
            "prices": sum(map(len, self.book.prices.values())),
            "run_ids": sum(bool(what.run_id)
                           for what in [*self.entries.values(), *self.holds.values()]),
            "names": len(self.derived.defined), "undefined": len(self.derived.names.undefined),
            "series": len(self.derived.series),
            "empty_series": len(self.derived.names.names_of.keys() - self.derived.series.keys()
                                - {0}),
            "blocks": sum(len(series.blocks) for series in self.derived.series.values()),
            "rollups": len(self.derived.rollups),
            "holds": len(self.holds), "held": len(self.held),
            "keys": self.key_count,
            "warnings": self.warnings,
            "building": len(self.derived.building),
            "last_id": self.last_id,
            "kept_from": self.past.horizon, "leaving": self.leaving,
            "last_invocation_id": self.last.get(INVOCATION, 0),
            "last_policy_id": self.last.get(POLICY, 0),
            "policy_version": self.policy["version"] if self.policy else 0,
            "rules": list(self.told()),
            "problems": self.problems,
        }


def print_plain(summary):
    for key, value in summary.items():
        if key == "states":
            for state, count in value.items():
                print("state.%s=%d" % (state.encode().hex(), count))
        elif key == "rules":
            for rule in value:
                name = ".".join(text.encode().hex() for text in [rule["rule"], *rule["values"]])
                for what in "used", "held", "limit", "percent":
                    print("%s.%s=%d" % (what, name, rule[what]))
        elif isinstance(value, dict):
            for name, count in value.items():
                print("%s.%s=%d" % (key, name, count))
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
