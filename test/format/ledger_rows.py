"""How the rows of a ledger are written: docs/format.md, sections 2, 4, 6, 9, 10 and 11."""

import hashlib
import struct

import msgpack

AMOUNT_MAX = 10 ** 15
ID_LIMIT = 2 ** 62
FOREVER = 2 ** 64
OCCURRED_AT_MAX = (2 ** 63 - 1) // 1000

KINDS = ["invocation", "run", "grant", "release", "correction", "policy", "reset", "price"]
INVOCATION, RUN, GRANT, RELEASE, CORRECTION, POLICY, RESET, PRICE = range(1, 9)
COMPLETED, FAILED, ABORTED = 1, 2, 3
OVERRUN, LATE, COMPLETES, UNATTENDED = 1, 2, 4, 8
STATE = 1
DIMENSIONS = {1, 2, 3, 4, 5, 6, 7, 9, *range(32, 48)}

COLUMNS = ["invocations", "runs", "completed", "failed", "aborted", "unpriced", "duration_ms",
           "cost", "completed_cost", "credits", "completed_credits", "input_tokens",
           "output_tokens", "cache_read_tokens", "cache_creation_tokens", "reasoning_tokens",
           "runs_completed", "runs_failed", "runs_aborted", "corrections", "corrected_cost",
           "corrected_credits", "grants", "granted_cost", "granted_credits", "cache_savings",
           "corrected_input_tokens", "corrected_output_tokens", "corrected_cache_read_tokens",
           "corrected_cache_creation_tokens", "corrected_reasoning_tokens", "withdrawn_cost",
           "withdrawn_credits"]
COLUMN = {name: number for number, name in enumerate(COLUMNS)}
TOKEN_CLASSES = ["input", "output", "cache_read", "cache_creation", "reasoning"]
TOKEN_COLUMNS = tuple(COLUMN[name + "_tokens"] for name in TOKEN_CLASSES)


class Bad(Exception):
    """A value that is not what the format says."""


def require(condition, what):
    if not condition:
        raise Bad(what)


def is_uint(value, most=2 ** 64 - 1, least=0):
    return type(value) is int and least <= value <= most


def is_text(value, most, least=1):
    return isinstance(value, str) and least <= len(value.encode()) <= most


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

    def take(self, count):
        require(self.at + count <= len(self.data), "ends too early")
        self.at += count
        return self.data[self.at - count:self.at]

    def byte(self):
        return self.take(1)[0]

    def varint(self, most=2 ** 128 - 1):
        n = 0
        for shift in range(0, 7 * 19, 7):
            byte = self.byte()
            n |= (byte & 0x7f) << shift
            if byte < 0x80:
                require(byte != 0 or shift == 0, "a varint is longer than it must be")
                require(n <= most, "a varint is beyond its bound")
                return n
        raise Bad("a varint has more than 19 bytes")

    def word(self):
        return self.varint(2 ** 64 - 1)

    def amount(self):
        return self.varint(2 ** 63 - 1)

    def zigzag(self):
        z = self.varint()
        return z // 2 if z % 2 == 0 else -(z // 2) - 1

    def sized(self, most):
        return self.take(self.varint(most))

    def end(self):
        require(self.at == len(self.data), "something follows the end")


def unpack(value):
    try:
        return msgpack.unpackb(value, raw=False)
    except Exception as error:
        raise Bad("not msgpack: %s" % error) from error


def be(data):
    return int.from_bytes(data, "big")


def u32s(*numbers):
    return struct.pack(">%dI" % len(numbers), *numbers)


def u64(number):
    return struct.pack(">Q", number)


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
    """A stored entry, or a draft: the same with text for names."""

    FIELDS = ["version", "kind", "status", "names", "definitions", "duration_ms", "cost", "credits",
              "tokens", "breakdown", "unit_prices", "flags", "digest", "client_id", "link",
              "occurred_at", "change", "run_id", "hold", "parent", "policy_version",
              "request_digest"]

    def __init__(self, value, is_draft=False):
        array = unpack(value)
        require(isinstance(array, list) and len(array) >= 6, "not an array of at least 6")
        require(is_uint(array[0], least=1), "version")
        require(array[0] == 1, "newer: version %r of an entry" % array[0])
        require(len(array) <= len(self.FIELDS), "too many positions")
        require(len(array) == 6 or array[-1] is not None, "ends with nil")
        for position, field in enumerate(self.FIELDS):
            setattr(self, field, array[position] if position < len(array) else None)
        self.check(is_draft)
        self.names = dict(zip(self.names[::2], self.names[1::2]))
        self.flags = self.flags or 0
        flat = self.definitions or []
        self.definitions = list(zip(flat[::3], flat[1::3], flat[2::3]))

    def check(self, is_draft):
        least = -AMOUNT_MAX if self.kind in (CORRECTION, GRANT) else 0

        def amount(value):
            return is_uint(value, AMOUNT_MAX, least)

        def nil_or(value, good):
            return value is None or good(value)

        def amounts(count):
            return lambda v: isinstance(v, list) and len(v) == count and all(map(amount, v))

        require(is_uint(self.kind, len(KINDS), 1), "kind")
        outcome = self.kind in (INVOCATION, RUN)
        require(is_uint(self.status, ABORTED) and (self.status != 0) == outcome, "status")
        require(isinstance(self.names, list) and len(self.names) % 2 == 0, "names")
        dimensions, names = self.names[::2], self.names[1::2]
        require(are_dimensions(dimensions), "names: dimensions")
        require(all(is_text(n, 65535) if is_draft else is_uint(n, 2 ** 32 - 1, 1) for n in names),
                "names: %s" % ("texts" if is_draft else "numbers"))
        require(self.kind != INVOCATION or STATE in dimensions, "an invocation without a state")
        require(nil_or(self.definitions, lambda v: isinstance(v, list) and v and len(v) % 3 == 0
                       and not is_draft), "definitions")
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
        require(nil_or(self.client_id, lambda v: is_text(v, 1000)), "client_id")
        require(nil_or(self.run_id, lambda v: isinstance(v, str)), "run_id")
        for field in "link", "hold", "parent", "policy_version":
            require(nil_or(getattr(self, field), lambda v: is_uint(v, least=1)), field)
        require(nil_or(self.occurred_at, lambda v: is_uint(v, OCCURRED_AT_MAX)), "occurred_at")
        require(isinstance(self.change, dict) if self.kind in (POLICY, GRANT, RESET)
                else nil_or(self.change, lambda v: isinstance(v, dict)), "change")

    def check_stored(self, families):
        """What holds of each kind, and of definitions. Not of drafts."""
        for number, dimension, text in self.definitions:
            require(is_text(text, 65535), "definitions: text")
            require(self.names.get(dimension) == number, "definitions: a name it does not use")
        require(are_dimensions([dimension for _, dimension, _ in self.definitions]),
                "definitions: dimensions")
        require((self.client_id is None) == (self.request_digest is None),
                "a client_id without a digest, or a digest without a client_id")
        require(self.hold is None or self.hold < self.id, "hold")
        require(self.parent is None or (self.hold is not None and self.parent < self.hold),
                "parent")
        require(self.flags & UNATTENDED == 0
                or (self.kind in (INVOCATION, RUN) and self.status == ABORTED and self.hold),
                "flags: unattended")
        require((self.flags & LATE != 0) == (self.kind == CORRECTION), "flags: late")
        require(self.flags & COMPLETES == 0 or self.kind == CORRECTION, "flags: completes")
        require(self.flags & OVERRUN == 0 or self.kind in (INVOCATION, RUN, CORRECTION),
                "flags: overrun")
        require(self.duration_ms == 0 or self.kind in (INVOCATION, RUN), "duration_ms")
        amounts = self.cost, self.credits, self.tokens
        if self.kind == RUN:
            require(self.hold is not None, "a run without a hold")
        elif self.kind == GRANT:
            self.check_grant(families)
        elif self.kind == RELEASE:
            require(self.hold is not None and amounts == (None, None, None), "release")
        elif self.kind == CORRECTION:
            require(self.hold is not None and self.link is not None and self.link < self.id,
                    "correction: hold, link")
        elif self.kind == RESET:
            self.check_change({"rule", "by", "reason"})

    def check_change(self, keys):
        require(set(self.change) == keys and all(isinstance(value, str) and value
                                                 for value in self.change.values()), "change")

    def check_grant(self, families):
        self.check_change({"kind", "by", "reason"})
        amounts = [amount for amount in (self.cost, self.credits) if amount is not None]
        require(self.change["kind"] in ("purchase", "topup", "adjustment"), "change: kind")
        require(len(amounts) == 1 and amounts[0] != 0 and self.tokens is None, "grant: amount")
        require(amounts[0] > 0 or self.change["kind"] == "adjustment", "grant: below 0")
        require(not self.names or tuple(self.names) in families, "grant: no account")

    def amounts(self, corrected):
        """What it adds, by column. `corrected`: the entry that its link names, if that matters."""
        by_name = {}
        tokens = list(zip(TOKEN_CLASSES, self.tokens or []))
        if self.kind in (INVOCATION, RUN):
            completed = self.status == COMPLETED
            status = {COMPLETED: "completed", FAILED: "failed", ABORTED: "aborted"}[self.status]
            if self.kind == INVOCATION:
                by_name = {"invocations": 1, status: 1, "duration_ms": self.duration_ms,
                           "unpriced": 1 if self.cost is None else 0}
            else:
                by_name = {"runs": 1, "runs_" + status: 1}
            by_name["cost"], by_name["credits"] = self.cost or 0, self.credits or 0
            if completed:
                by_name["completed_cost"] = by_name["cost"]
                by_name["completed_credits"] = by_name["credits"]
            for token_class, count in tokens:
                by_name[token_class + "_tokens"] = count
        elif self.kind == CORRECTION:
            by_name["corrections"] = 1
            for name, value in [("cost", self.cost or 0), ("credits", self.credits or 0),
                                *((token_class + "_tokens", n) for token_class, n in tokens)]:
                by_name[name if value > 0 else "corrected_" + name] = value
            if self.flags & COMPLETES:
                require(corrected is not None, "corrects an entry that is not there")
                by_name["completed" if corrected.kind == INVOCATION else "runs_completed"] = 1
                for name in "cost", "credits":
                    whole = (getattr(corrected, name) or 0) + (getattr(self, name) or 0)
                    by_name["completed_" + name] = max(whole, 0)
        elif self.kind == GRANT:
            by_name["grants"] = 1
            for name in "cost", "credits":
                value = getattr(self, name) or 0
                by_name[("granted_" if value > 0 else "withdrawn_") + name] = abs(value)
        return {COLUMN[name]: value for name, value in by_name.items() if value != 0}

    def booked(self):
        """What those above the hold that it ends are told of it."""
        sums = {COLUMN["cost"]: self.cost or 0, COLUMN["credits"]: self.credits or 0}
        sums.update(zip(TOKEN_COLUMNS, self.tokens or []))
        return sums


# ---- requests: section 9 ------------------------------------------------------------------------

RECORD, RESERVE, SETTLE, RELEASED, METER, TRANSFER, RESETS, SETS_POLICY = range(1, 9)


def client_key(client_id):
    text = client_id.encode()
    return b"\1" + text if len(text) <= 500 else b"\2" + hashlib.sha256(text).digest()


class Request:
    def __init__(self, key, value):
        data = Bytes(value)
        self.key, self.operation = key, data.byte()
        self.flags, self.id, self.version = data.word(), data.word(), data.word()
        self.digest = data.take(32)
        data.end()
        require(1 <= self.operation <= 8, "unknown operation")


def request_row(entry):
    """The row of the request that booked an entry."""
    operation = {GRANT: RECORD, RELEASE: RELEASED, CORRECTION: SETTLE, RESET: RESETS,
                 POLICY: SETS_POLICY}.get(entry.kind, SETTLE if entry.hold else RECORD)
    version = entry.change["version"] if entry.kind == POLICY else 0
    return (client_key(entry.client_id), bytes([operation]) + varint(entry.flags)
            + varint(entry.id) + varint(version) + entry.request_digest)


# ---- holds: section 10 --------------------------------------------------------------------------

HELD_COLUMNS = 4


class Hold:
    def __init__(self, key, value):
        require(len(key) == 8, "the key does not have 8 bytes")
        self.id, data = be(key), Bytes(value)
        version = data.byte()
        require(version <= 1, "newer: version %d of a hold" % version)
        self.kind = data.byte()
        require(version == 1 and self.kind in (INVOCATION, RUN), "kind")
        self.boot_id = data.take(16)
        self.deadline, self.extend, self.policy_version = data.word(), data.word(), data.word()
        self.parent, self.open_children = data.word(), data.word()
        given = data.byte()
        require(given < 8, "unknown amounts are given")
        self.cost = data.amount() if given & 1 else 0
        self.credits = data.amount() if given & 2 else 0
        self.tokens = [data.amount() for _ in TOKEN_CLASSES] if given & 4 else []
        self.children = read_totals(data)
        self.names, self.shares = {}, {}
        names = [(data.byte(), data.varint(2 ** 32 - 1)) for _ in range(data.byte())]
        require(are_dimensions([dimension for dimension, _ in names]), "names: dimensions")
        self.names = dict(names)
        shares = [(data.varint(2 ** 32 - 1), [(data.amount(), data.amount())
                                              for _ in range(HELD_COLUMNS)])
                  for _ in range(data.byte())]
        self.shares = dict(shares)
        require(len(shares) == len(self.shares) and shares and shares[0][0] == 0, "shares")
        self.owner = data.sized(4096)
        self.client_id = data.sized(1000).decode()
        metered = data.sized(2 ** 32)
        data.varint(2 ** 64 - 1)  # repeats
        self.run_id = data.sized(1000).decode()
        data.end()
        self.metered = Entry(metered, is_draft=True) if metered else None
        self.check()

    def check(self):
        require(0 < self.id < ID_LIMIT, "the id is out of range")
        require(self.deadline >= self.id, "the deadline is before the hold")
        require(self.parent < self.id, "parent")
        require(self.kind != INVOCATION or STATE in self.names, "an invocation without a state")
        require(set(self.children) <= set(self.booked_columns()), "columns of children")
        require(self.metered is None or self.metered.kind == RUN, "metered: kind")
        require(max([self.cost, self.credits, *self.tokens]) <= AMOUNT_MAX, "amounts")
        asked = [1 if self.kind == INVOCATION else 0, self.cost, self.credits, sum(self.tokens)]
        for series, columns in self.shares.items():
            for (held, drawn), most in zip(columns, asked):
                require(held <= most and drawn <= most, "holds more than it asked for, in %d"
                        % series)

    @staticmethod
    def booked_columns():
        return (COLUMN["cost"], COLUMN["credits"], *TOKEN_COLUMNS)


class Held:
    """What live holds keep together in one series."""

    def __init__(self):
        self.holds, self.until, self.columns = 0, 0, [0] * HELD_COLUMNS

    @classmethod
    def read(cls, value):
        self, data = cls(), Bytes(value)
        self.holds, self.until, mask = data.word(), data.word(), data.byte()
        require(mask >> HELD_COLUMNS == 0, "a mask has unknown columns")
        for column in range(HELD_COLUMNS):
            if mask >> column & 1:
                self.columns[column] = data.varint()
                require(self.columns[column] != 0, "a column of 0 is written")
        data.end()
        return self

    def add(self, hold, columns):
        self.holds += 1
        self.until = max(self.until, hold.deadline)
        for column, (held, _) in enumerate(columns):
            self.columns[column] += held

    def __str__(self):
        return "%d holds until %d, %r" % (self.holds, self.until, self.columns)


# ---- warnings and resets: section 11 ------------------------------------------------------------

WHOLE = 2 ** 32 - 1  # in place of a series: the whole rule

def mark_name(rule):
    name = rule.encode()
    if len(name) <= 200:
        return bytes([len(name)]) + name
    return b"\xff" + hashlib.sha256(name).digest()


class Mark:
    """A row 01 of `warned`."""

    def __init__(self, key, value):
        size = 33 if key[1:2] == b"\xff" else 1 + key[1]
        require(len(key) == 1 + size + 5, "the key")
        self.rule, self.series, self.threshold = key[1:1 + size], be(key[-5:-1]), key[-1]
        data = Bytes(value)
        self.period, self.limit, self.id = data.word(), data.varint(), data.word()
        data.end()


# ---- the forms of rows, so that a wrong one is told in words ------------------------------------

BLOCK_ITEMS, BLOCK_BYTES = 32, 2000


def describe_names(key, value):
    require(len(key) > 1 and 1 <= key[0] <= 7, "unknown kind of row")
    sizes = {1: (lambda n: 3 <= n <= 502, lambda n: n == 4),
             2: (lambda n: n == 34, lambda n: n == 4),
             3: (lambda n: n == 5, lambda n: n >= 2),
             4: (lambda n: n % 4 == 1 and 5 <= n <= 33, lambda n: n == 4),
             5: (lambda n: n == 5, lambda n: n % 4 == 0 and 4 <= n <= 32),
             6: (lambda n: n == 5, lambda n: n == 0),
             7: (lambda n: 2 <= n <= 9, lambda n: n == 4)}
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


def describe_keys(key, value):
    require(len(key) > 1 and 1 <= key[0] <= 3, "unknown kind of row")
    require({1: len(key) <= 501, 2: len(key) == 33, 3: len(key) == 9}[key[0]], "the key")
    data = Bytes(value)
    if key[0] == 3:
        entry, parent, is_settled, amounts = (data.word(), data.word(), data.byte(),
                                              read_totals(data))
        data.end()
        return "entry %d, parent %d, settled %d, %r" % (entry, parent, is_settled, amounts)
    request = Request(key, value)
    return "operation %d, flags %d, id %d, version %d, digest %s" % (
        request.operation, request.flags, request.id, request.version, request.digest.hex())


def describe_reset(key, value):
    data = Bytes(value)
    reset = data.word()
    data.end()
    return "reset %d" % reset
