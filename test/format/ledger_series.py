"""What entries add up to, and the names that say where: docs/format.md, sections 5, 7 and 8."""

import hashlib
import struct
from bisect import bisect_left

from ledger_rows import (BLOCK_BYTES, BLOCK_ITEMS, COLUMN, COLUMNS_OF_RECORDS, CORRECTION, HAS_SKIP,
                         INVOCATION, RUN, STATE, STATUS, STATUSES, STATUS_NUMBERS, add, be, require,
                         totals_bytes, u32s, varint, zigzag)

HOUR_US = 3600 * 10 ** 6
DAY_US = 24 * HOUR_US


# ---- what the entries say that the derived databases must hold: sections 5, 7, 8 ----------------

class Extremes:
    """The least and the largest cost and duration_ms of invocations; of runs."""

    def __init__(self):
        self.pairs = [None] * 4

    def widen(self, measure, value):
        low, high = self.pairs[measure] or (value, value)
        self.pairs[measure] = (min(low, value), max(high, value))

    def merge(self, other):
        for measure, pair in enumerate(other.pairs):
            for value in pair or ():
                self.widen(measure, value)

    def add(self, amounts):
        """What an entry adds to its series."""
        for first, count, unpriced, duration in ((0, "invocations", "unpriced", "duration_ms"),
                                                 (2, "runs", "runs_unpriced", "runs_duration_ms")):
            if COLUMN[count] in amounts:
                if COLUMN[unpriced] not in amounts:
                    self.widen(first, amounts.get(COLUMN["cost"], 0))
                self.widen(first + 1, amounts.get(COLUMN[duration], 0))

    def value(self):
        given = sum(1 << i for i, pair in enumerate(self.pairs) if pair)
        return bytes([given]) + b"".join(zigzag(low) + zigzag(high)
                                         for low, high in filter(None, self.pairs))


class Series:
    """The blocks of one series, built item by item, and its running sums."""

    def __init__(self):
        self.totals, self.blocks = {}, {}
        self.ids, self.items, self.sums = [], [], {}
        self.count = 0
        self.day = []  # of the blocks of a day: their first ids, and extremes of their items

    def append(self, entry_id, amounts):
        delta = entry_id - self.ids[-1] if self.count else 0
        item = varint(delta) + totals_bytes(amounts)
        if self.count in (0, BLOCK_ITEMS) or len(self.value) + len(item) > BLOCK_BYTES:
            self.begin(entry_id, self.skip(entry_id))
            item = b"\0" + totals_bytes(amounts)
        self.add_item(entry_id, amounts, item)

    def add_item(self, entry_id, amounts, item):
        self.count += 1
        self.value = bytes([self.value[0] + 1]) + self.value[1:] + item
        self.blocks[self.first_id] = self.value
        self.ids.append(entry_id)
        self.items.append(amounts)
        self.day[-1][1].add(amounts)
        add(self.totals, amounts)

    def begin(self, first_id, skip):
        self.count, self.first_id = 0, first_id
        self.value = bytes([HAS_SKIP if skip else 0]) + totals_bytes(self.totals) + skip

    def skip(self, first_id):
        """Of a block that begins now."""
        if self.day and self.day[0][0] // DAY_US != first_id // DAY_US:
            self.day = []
        number, skip = len(self.day), b""
        if number:
            between = self.day[number - (number & -number):]
            extremes = Extremes()
            for _, of_block in between:
                extremes.merge(of_block)
            skip = varint(number) + varint(first_id - between[0][0]) + extremes.value()
        self.day.append((first_id, Extremes()))
        return skip

    def go_on(self, first_id, base, skip, items):
        """From a block that is there, up to some item of it."""
        self.totals, self.day = dict(base), [(first_id, Extremes())]
        self.begin(first_id, skip)
        before = first_id
        for entry_id, amounts in items:
            self.add_item(entry_id, amounts, varint(entry_id - before) + totals_bytes(amounts))
            before = entry_id

    def running(self, columns):
        """The sum of the columns before the first item, and after each. Only when all are there."""
        if columns not in self.sums:
            sums = self.sums[columns] = [0]
            for amounts in self.items:
                sums.append(sums[-1] + sum(amounts.get(column, 0) for column in columns))
        return self.sums[columns]

    def before(self, columns, entry_id):
        return self.running(columns)[bisect_left(self.ids, entry_id)]


class Rollup:
    def __init__(self):
        self.totals, self.extremes = {}, Extremes()

    def add(self, entry, amounts, knows_records):
        add(self.totals, amounts)
        if entry.kind != INVOCATION and not (entry.kind == RUN and knows_records):
            return
        first = 0 if entry.kind == INVOCATION else 2
        for measure, value in enumerate([entry.cost, entry.duration_ms], first):
            if value is not None:
                self.extremes.widen(measure, value)

    def value(self):
        return totals_bytes(self.totals) + self.extremes.value()


class Names:
    """What the rows of `names` say. What they must say is Derived's to know."""

    BY_STATUS = {STATUS_NUMBERS + status: (STATUS, text) for status, text in STATUSES.items()}

    def __init__(self, rows):
        self.texts = {}      # number -> (dimension, text)
        self.undefined = set()
        self.names_of = {0: ()}  # series -> numbers
        for key, value in rows:
            if key[0] == 3 and len(key) == 5 and len(value) >= 2:
                self.texts[be(key[1:])] = value[0], value[1:].decode(errors="replace")
            elif key[0] == 5 and len(key) == 5:
                self.names_of[be(key[1:])] = struct.unpack(">%dI" % (len(value) // 4),
                                                           value[:len(value) // 4 * 4])
            elif key[0] == 6 and len(key) == 5:
                self.undefined.add(be(key[1:]))
        self.series_of = {numbers: series for series, numbers in self.names_of.items()}
        self.numbers = {name: number for number, name in self.texts.items()}

    def scope(self, series):
        """Dimensions and texts of a series; dimension 0 for a name that is not there."""
        return dict(self.text(number) for number in self.names_of[series])

    def text(self, number):
        return self.BY_STATUS.get(number) or self.texts.get(number, (0, ""))

    def counts(self):
        counts = {}
        for numbers in self.names_of.values():
            if numbers:
                family = bytes(self.text(number)[0] for number in numbers)
                counts[family] = counts.get(family, 0) + 1
        return counts


class Derived:
    def __init__(self, families, building, names, knows_records, past):
        self.families = families
        self.building = building  # [(family, id)]
        self.names = names
        self.knows_records = knows_records
        self.past = past     # ledger_past.Past
        self.defined = {}    # number -> (dimension, text)
        self.numbers = {}    # (dimension, text) -> number, of those that are defined
        self.series = past.seeds()
        self.series_at = {}  # entry id -> its series
        self.amounts_at = {}
        self.rollups = {}    # (series, granularity, period) -> Rollup

    def add(self, entry, corrected):
        for number, dimension, text in entry.definitions:
            require(number not in self.defined, "defines number %d again" % number)
            require((dimension, text) not in self.numbers, "defines a name again")
            self.defined[number] = (dimension, text)
            self.numbers[dimension, text] = number
        for dimension, number in entry.names.items():
            if self.past.horizon:
                self.define_past(number)
            require(number in self.defined, "uses number %d, which is not defined" % number)
            require(self.defined[number][0] == dimension, "uses number %d in dimension %d, but it "
                    "is of another" % (number, dimension))
        if self.past.has(entry.id):
            return  # its sums are those that the series begin with
        if entry.kind == CORRECTION and self.past.has(entry.link):
            amounts = self.past.amounts(entry)
            status = self.past.status_in(entry, self.families, self.names)
        else:
            amounts, status = entry.amounts(corrected), entry.status_of(corrected)
        if not self.knows_records:
            amounts = {c: v for c, v in amounts.items() if c not in COLUMNS_OF_RECORDS}
        if not amounts:
            return
        names = dict(entry.names)
        if status:
            names[STATUS] = STATUS_NUMBERS + status
        self.amounts_at[entry.id] = amounts
        families = [()] + self.families + [f for f, end in self.building if entry.id < end]
        self.series_at[entry.id] = self.series_of(names, families)
        for series in self.series_at[entry.id]:
            self.series.setdefault(series, Series()).append(entry.id, amounts)
            for granularity, length in (1, HOUR_US), (2, DAY_US):
                key = series, granularity, entry.id // length
                self.rollups.setdefault(key, Rollup()).add(entry, amounts, self.knows_records)

    def define_past(self, number):
        """A name whose entry may have been removed: its rows tell it."""
        if number in self.defined or number in self.names.undefined or number not in self.names.texts:
            return
        self.defined[number] = self.names.texts[number]
        self.numbers[self.names.texts[number]] = number

    def series_of(self, names, families):
        """Those of an entry or hold; `names` are numbers by dimension."""
        found = []
        for family in families:
            if all(dimension in names for dimension in family):
                numbers = tuple(names[dimension] for dimension in family)
                require(numbers in self.names.series_of, "names %r have no series" % (numbers,))
                found.append(self.names.series_of[numbers])
        return found

    def check_numbers(self):
        for number in self.names.texts if self.past.horizon else []:
            self.define_past(number)
        known = set(self.defined) | (self.names.undefined & set(self.names.texts))
        require(known == set(range(1, len(known) + 1)), "numbers of names have gaps")
        series = set(self.names.names_of)
        require(series == set(range(len(series))), "numbers of series have gaps")
        for number in series - {0}:
            family = tuple(self.names.scope(number))
            require(family in self.families or family in dict(self.building),
                    "series %d is of no family, but of %r" % (number, family))

    def names_rows(self, are_counted):
        """`are_counted`: whether there are rows of how many series a family has."""
        undefined = {number: self.names.texts[number] for number in self.names.undefined
                     if number not in self.defined and number in self.names.texts}
        for number, (dimension, text) in {**self.defined, **undefined}.items():
            text = text.encode()
            head = bytes([dimension])
            if len(text) <= 500:
                yield b"\1" + head + text, u32s(number)
            else:
                yield b"\2" + head + hashlib.sha256(text).digest(), u32s(number)
            yield b"\3" + u32s(number), head + text
        for number in undefined:
            yield b"\6" + u32s(number), b""
        for series, numbers in self.names.names_of.items():
            if numbers:
                yield b"\4" + u32s(*numbers), u32s(series)
                yield b"\5" + u32s(series), u32s(*numbers)
        for family, count in self.names.counts().items() if are_counted else []:
            yield b"\7" + family, u32s(count)

    def series_rows(self):
        for series, built in self.series.items():
            for first_id, value in built.blocks.items():
                yield struct.pack(">IQ", series, first_id), value

    def rollup_rows(self):
        for (series, granularity, period), rollup in self.rollups.items():
            yield struct.pack(">IBI", series, granularity, period), rollup.value()

    def state_series(self, state):
        """Of a state; None where nothing was booked, held or reset in it."""
        return self.names.series_of.get((self.names.numbers.get((STATE, state)),))
