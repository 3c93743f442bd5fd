"""How the rows of a ledger are written: docs/format.md, sections 2, 4, 6, 9, 10 and 11."""

import hashlib
import struct

import msgpack

AMOUNT_MAX = 10 ** 15
ID_LIMIT = 2 ** 62
FOREVER = 2 ** 64
OCCURRED_AT_MAX = (2 ** 63 - 1) // 1000
UNITS_A_NANO = 10 ** 6  # unit prices are in 10^-15, amounts in 10^-9

KINDS = ["invocation", "run", "grant", "release", "correction", "policy", "reset", "price",
         "redaction"]
INVOCATION, RUN, GRANT, RELEASE, CORRECTION, POLICY, RESET, PRICE, REDACTION = range(1, 10)
COMPLETED, FAILED, ABORTED = 1, 2, 3
STATUSES = {COMPLETED: "completed", FAILED: "failed", ABORTED: "aborted"}
OVERRUN, LATE, COMPLETES, UNATTENDED, PRICES, OF_COMPLETED = 1, 2, 4, 8, 16, 32
STATE, MODEL, PROVIDER, STATUS = 1, 6, 7, 8
DIMENSIONS = {1, 2, 3, 4, 5, 6, 7, 9, *range(32, 48)}
STATUS_NUMBERS = 0xfffffff0  # of the names in dimension 8: this and the status

COLUMNS = ["invocations", "runs", "completed", "failed", "aborted", "unpriced", "duration_ms",
           "cost", "completed_cost", "credits", "completed_credits", "input_tokens",
           "output_tokens", "cache_read_tokens", "cache_creation_tokens", "reasoning_tokens",
           "runs_completed", "runs_failed", "runs_aborted", "corrections", "corrected_cost",
           "corrected_credits", "grants", "granted_cost", "granted_credits", "cache_savings",
           "corrected_input_tokens", "corrected_output_tokens", "corrected_cache_read_tokens",
           "corrected_cache_creation_tokens", "corrected_reasoning_tokens", "withdrawn_cost",
           "withdrawn_credits", "runs_unpriced", "runs_cost", "corrected_unpriced",
           "corrected_runs_unpriced", "late_completed", "late_runs_completed", "runs_duration_ms",
           "corrections_cost"]
COLUMN = {name: number for number, name in enumerate(COLUMNS)}
TOKEN_CLASSES = ["input", "output", "cache_read", "cache_creation", "reasoning"]
TOKEN_COLUMNS = tuple(COLUMN[name + "_tokens"] for name in TOKEN_CLASSES)
COLUMNS_OF_RECORDS = {COLUMN["cache_savings"], *range(COLUMN["runs_unpriced"], len(COLUMNS))}


class Bad(Exception):
    """A value that is not what the format says."""


def require(condition, what):
    if not condition:
        raise Bad(what)


def is_uint(value, most=2 ** 64 - 1, least=0):
    return type(value) is int and least <= value <= most


def is_text(value, most, least=1):
    return isinstance(value, str) and least <= len(value.encode()) <= most


def are_dimensions(numbers, more=()):
    """Such as names may have, or `more`, in ascending order."""
    return (all(is_uint(n) and (n in DIMENSIONS or n in more) for n in numbers)
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
              "request_digest", "parent_run"]
    OF_DRAFTS = ["pricing", "payload", "salt"]

    def __init__(self, value, is_draft=False):
        array = unpack(value)
        require(isinstance(array, list) and len(array) >= 6, "not an array of at least 6")
        require(is_uint(array[0], least=1), "version")
        require(array[0] == 1, "newer: version %r of an entry" % array[0])
        fields = self.FIELDS + (self.OF_DRAFTS if is_draft else [])
        require(len(array) <= len(fields), "too many positions")
        require(len(array) == 6 or array[-1] is not None, "ends with nil")
        for position, field in enumerate(fields):
            setattr(self, field, array[position] if position < len(array) else None)
        self.check(is_draft)
        if is_draft:
            self.check_draft()
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
        for field in "run_id", "parent_run":
            require(nil_or(getattr(self, field), lambda v: is_text(v, 1000) and outcome), field)
        for field in "link", "hold", "parent", "policy_version":
            require(nil_or(getattr(self, field), lambda v: is_uint(v, least=1)), field)
        require(nil_or(self.occurred_at, lambda v: is_uint(v, OCCURRED_AT_MAX)), "occurred_at")
        require(isinstance(self.change, dict)
                if self.kind in (POLICY, GRANT, RESET, PRICE, REDACTION)
                else nil_or(self.change, lambda v: isinstance(v, dict)), "change")
        require(self.breakdown is None or is_draft and self.pricing
                or sum(self.breakdown) == self.cost, "breakdown: does not add up to the cost")
        require(self.unit_prices is None
                or (outcome and self.cost is not None and self.tokens is not None), "unit_prices")

    def check_draft(self):
        require(self.pricing in (None, 1), "pricing")
        require(self.payload is None or (isinstance(self.payload, bytes) and self.payload),
                "payload")
        require(self.salt is None or (isinstance(self.salt, bytes) and len(self.salt) == 16),
                "salt")
        require((self.payload is None) == (self.salt is None) == (self.digest is None),
                "a payload comes with its salt and its digest")

    def check_stored(self, families):
        """What holds of each kind, and of definitions. Not of drafts."""
        for number, dimension, text in self.definitions:
            require(is_text(text, 65535), "definitions: text")
            require(self.names.get(dimension) == number, "definitions: a name it does not use")
        require(are_dimensions([dimension for _, dimension, _ in self.definitions]),
                "definitions: dimensions")
        is_work = self.kind in (INVOCATION, RUN)
        named = self.client_id is not None or (self.run_id is not None and self.hold is None)
        require(named == (self.request_digest is not None),
                "an id without a digest, or a digest without an id")
        require(self.hold is None or self.hold < self.id, "hold")
        require(self.parent is None or (self.hold is not None and self.parent < self.hold),
                "parent")
        require(self.flags & UNATTENDED == 0
                or (is_work and self.status == ABORTED and self.hold), "flags: unattended")
        require((self.flags & LATE != 0) == (self.kind == CORRECTION and self.hold is not None),
                "flags: late")
        require(self.flags & COMPLETES == 0 or self.flags & LATE, "flags: completes")
        require(self.flags & PRICES == 0 or (self.kind == CORRECTION and self.cost is not None),
                "flags: prices")
        require(self.flags & OF_COMPLETED == 0 or self.kind == CORRECTION, "flags: of_completed")
        require(self.flags & OVERRUN == 0 or is_work or self.kind == CORRECTION,
                "flags: overrun")
        require(self.duration_ms == 0 or is_work, "duration_ms")
        require(self.digest is None or is_work or self.kind == CORRECTION, "digest")
        require(self.occurred_at is None or self.occurred_at <= self.id // 1000
                and (is_work or self.kind == CORRECTION), "occurred_at")
        require(self.breakdown is None or is_work, "breakdown")
        require((self.link is not None) == (self.kind in (CORRECTION, REDACTION))
                and (self.link is None or self.link < self.id), "link")
        require(self.kind not in (INVOCATION, RUN, RELEASE) or self.change is None, "change")
        self.check_kind(families)

    def check_kind(self, families):
        amounts = self.cost, self.credits, self.tokens
        nothing = amounts == (None, None, None)
        if self.kind in (INVOCATION, RUN):
            self.check_cost()
        elif self.kind == GRANT:
            self.check_grant(families)
        elif self.kind == RELEASE:
            require(self.hold is not None and nothing, "release")
        elif self.kind == CORRECTION:
            require(not nothing or self.hold is not None, "correction: of nothing")
            require((self.change is None) == (self.hold is not None), "change")
            if self.change is not None:
                self.check_change({"by", "reason"})
        else:
            require(nothing and self.hold is None, "amounts, or a hold")
            require(self.kind == RESET or not self.names, "names")
        if self.kind == RESET:
            self.check_change({"rule", "by", "reason"})
        elif self.kind == REDACTION:
            self.check_change({"by", "reason"})

    def check_cost(self):
        """With unit prices the cost is that of the tokens, and the other parts of it."""
        if self.unit_prices is None:
            return
        units = sum(count * price for count, price in zip(self.tokens, self.unit_prices))
        of_tokens = (units + UNITS_A_NANO // 2) // UNITS_A_NANO
        told = self.cost if self.breakdown is None else self.breakdown[0]
        require(told == of_tokens, "cost: the tokens cost %d, not %d" % (of_tokens, told))

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

    def status_of(self, corrected):
        """The status that it is called by in dimension 8; 0: none."""
        if self.kind != CORRECTION:
            return self.status
        require(corrected is not None, "corrects an entry that is not there")
        return corrected.status

    def cache_savings(self):
        """Against the price of input; rounded half up."""
        if self.unit_prices is None:
            return 0
        units = sum(self.tokens[i] * (self.unit_prices[0] - self.unit_prices[i]) for i in (2, 3))
        saved = (units + UNITS_A_NANO // 2) // UNITS_A_NANO
        return max(-AMOUNT_MAX, min(saved, AMOUNT_MAX))

    def amounts(self, corrected):
        """What it adds, by column. `corrected`: the entry that its link names, if that matters."""
        by_name = {}
        if self.kind in (INVOCATION, RUN):
            by_name = self.amounts_of_work()
        elif self.kind == CORRECTION:
            by_name = self.amounts_of_correction(corrected)
        elif self.kind == GRANT:
            by_name["grants"] = 1
            for name in "cost", "credits":
                value = getattr(self, name) or 0
                by_name[("granted_" if value > 0 else "withdrawn_") + name] = abs(value)
        return {COLUMN[name]: value for name, value in by_name.items() if value != 0}

    def tokens_by_name(self):
        return [(name + "_tokens", count) for name, count in zip(TOKEN_CLASSES, self.tokens or [])]

    def amounts_of_work(self):
        status, unpriced = STATUSES[self.status], 1 if self.cost is None else 0
        cost, credits = self.cost or 0, self.credits or 0
        if self.kind == INVOCATION:
            by_name = {"invocations": 1, status: 1, "duration_ms": self.duration_ms,
                       "unpriced": unpriced}
        else:
            by_name = {"runs": 1, "runs_" + status: 1, "runs_duration_ms": self.duration_ms,
                       "runs_unpriced": unpriced, "runs_cost": cost}
        by_name.update(self.tokens_by_name(), cost=cost, credits=credits,
                       cache_savings=self.cache_savings())
        if self.status == COMPLETED:
            by_name.update(completed_cost=cost, completed_credits=credits)
        return by_name

    def amounts_of_correction(self, corrected):
        require(corrected is not None and corrected.kind in (INVOCATION, RUN),
                "corrects what is not there, or is no work")
        is_run = corrected.kind == RUN
        by_name = {"corrections": 1, "corrections_cost": max(self.cost or 0, 0)}
        for name, value in [("cost", self.cost or 0), ("credits", self.credits or 0),
                            *self.tokens_by_name()]:
            by_name[name if value > 0 else "corrected_" + name] = value
        if self.flags & COMPLETES:
            by_name["runs_completed" if is_run else "completed"] = 1
            by_name["late_runs_completed" if is_run else "late_completed"] = 1
            for name in "cost", "credits":
                whole = (getattr(corrected, name) or 0) + (getattr(self, name) or 0)
                by_name["completed_" + name] = max(whole, 0)
        elif self.flags & OF_COMPLETED:
            for name in "cost", "credits":
                by_name["completed_" + name] = max(getattr(self, name) or 0, 0)
        if self.flags & PRICES:
            by_name["corrected_runs_unpriced" if is_run else "corrected_unpriced"] = -1
        return by_name

    def booked(self):
        """What those above the hold that it ends are told of it."""
        sums = {COLUMN["cost"]: self.cost or 0, COLUMN["credits"]: self.credits or 0}
        sums.update(zip(TOKEN_COLUMNS, self.tokens or []))
        return sums


# ---- requests: section 9 ------------------------------------------------------------------------

RECORD, RESERVE, SETTLE, RELEASED, METER, TRANSFER, RESETS, SETS_POLICY = range(1, 9)


def id_key(kind, text):
    """Of a client's name of something; `kind` is that of the short ones."""
    text = text.encode()
    if len(text) <= 500:
        return bytes([kind]) + text
    return bytes([kind + 1]) + hashlib.sha256(text).digest()


def client_key(client_id):
    return id_key(1, client_id)


def run_key(run_id):
    return id_key(4, run_id)


class Request:
    def __init__(self, key, value):
        data = Bytes(value)
        self.key, self.operation = key, data.byte()
        self.flags, self.id, self.version = data.word(), data.word(), data.word()
        self.digest = data.take(32)
        data.end()
        require(1 <= self.operation <= 8, "unknown operation")


def request_value(operation, flags, id, version, digest):
    return bytes([operation]) + varint(flags) + varint(id) + varint(version) + digest


def request_row(entry):
    """The value of the row of the request that booked an entry, by its client_id or run_id."""
    operation = {RELEASE: RELEASED, RESET: RESETS, POLICY: SETS_POLICY}.get(
        entry.kind, SETTLE if entry.hold else RECORD)
    version = entry.change["version"] if entry.kind == POLICY else 0
    return request_value(operation, entry.flags, entry.id, version, entry.request_digest)


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

BLOCK_ITEMS, BLOCK_BYTES, HAS_SKIP = 32, 2000, 0x80


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
    head, entry_id, items = data.byte(), be(key[4:]), []
    count = head & ~HAS_SKIP
    require(1 <= count <= BLOCK_ITEMS, "%d items" % count)
    base, skip = read_totals(data), read_skip(data) if head & HAS_SKIP else None
    for _ in range(count):
        entry_id += data.varint()
        items.append((entry_id, read_totals(data)))
    data.end()
    return "base %r, skip %r, items %r" % (base, skip, items)


def read_skip(data):
    """The number in the day, how far back, and extremes."""
    number, distance = data.word(), data.word()
    require(number > 0 and distance > 0, "a skip to nowhere")
    return number, distance, read_extremes(data)


def read_extremes(data):
    given = data.byte()
    require(given < 16, "unknown extremes")
    return {measure: (data.zigzag(), data.zigzag()) for measure in range(4) if given >> measure & 1}


def describe_rollup(key, value):
    require(len(key) == 9 and key[4] in (1, 2), "the key")
    data = Bytes(value)
    totals, extremes = read_totals(data), read_extremes(data)
    data.end()
    return "%r, extremes %r" % (totals, extremes)


def describe_keys(key, value):
    require(len(key) > 1 and 1 <= key[0] <= 7, "unknown kind of row")
    size = len(key)
    require({1: size <= 501, 2: size == 33, 3: size == 9, 4: size <= 501, 5: size == 33,
             6: size == 9, 7: size == 11 + be(key[1:3]) and size > 11}[key[0]], "the key")
    data = Bytes(value)
    if key[0] == 3:
        entry, parent, is_settled, amounts = (data.word(), data.word(), data.byte(),
                                              read_totals(data))
        data.end()
        return "entry %d, parent %d, settled %d, %r" % (entry, parent, is_settled, amounts)
    if key[0] == 6:
        is_priced, amounts = data.byte(), read_totals(data)
        data.end()
        return "priced %d, %r" % (is_priced, amounts)
    if key[0] == 7:
        units, above = [data.word() for _ in TOKEN_CLASSES], data.word()
        second = [data.word() for _ in TOKEN_CLASSES] if above else []
        entry = data.word()
        data.end()
        return "units %r, above %d %r, entry %d" % (units, above, second, entry)
    request = Request(key, value)
    return "operation %d, flags %d, id %d, version %d, digest %s" % (
        request.operation, request.flags, request.id, request.version, request.digest.hex())


def describe_reset(key, value):
    data = Bytes(value)
    reset = data.word()
    data.end()
    return "reset %d" % reset
