"""What stands in for entries that were removed: docs/format.md, section 3, "What is missing before
the horizon"."""

from ledger_rows import (COLUMN, GRANT, HAS_SKIP, POLICY, PRICE, RESET, STATUSES, STATUS_NUMBERS, Bytes, be,
                         is_uint, read_skip, read_totals, require)
from ledger_series import Series

DAY_US = 24 * 3600 * 10 ** 6
UNITS = {1: DAY_US // 24, 2: DAY_US}  # of rollups, by granularity
STAYING = (GRANT, POLICY, RESET, PRICE)
GROWING = [COLUMN[name] for name in ("invocations", "runs", "cost", "credits", "corrections")]
STATUS_INDEPENDENT = [COLUMN[name] for name in ("cost", "credits", "corrections", "corrected_cost",
                                                "corrected_credits", "corrections_cost")]


def read_block(value, entry_id):
    data = Bytes(value)
    head, base, items = data.byte(), read_totals(data), []
    begin = data.at
    if head & HAS_SKIP:
        read_skip(data)
    skip = value[begin:data.at]  # as it is: where it leads to was removed
    for _ in range(head & ~HAS_SKIP):
        entry_id += data.varint()
        items.append((entry_id, read_totals(data)))
    data.end()
    return base, skip, items


class Past:
    def __init__(self, row, is_named):
        self.horizon, self.removed_to, self.late = 0, 0, {}
        self.blocks, self.items = {}, {}
        require((row is not None) == is_named, "retention: the row or the word is missing")
        if row is None:
            return
        require(isinstance(row, list) and len(row) == 3 and all(map(is_uint, row[:2]))
                and isinstance(row[2], list), "retention")
        self.horizon, self.removed_to, late = row
        require(0 < self.horizon and self.horizon % DAY_US == 0
                and self.removed_to <= self.horizon, "retention: %r" % row)
        self.late = {tuple(family): since for family, since in late}
        require(len(self.late) == len(late) and all(
            is_uint(since, self.horizon, 1) and since % DAY_US == 0 for since in self.late.values()),
                "retention: families")

    def check_families(self, families, rules):
        require(set(self.late) <= set(families), "retention: a family that is not declared")
        for rule in rules:
            require(rule.window[0] != "lifetime" or rule.family not in self.late,
                    "rule %r counts what was removed" % rule.name)

    def has(self, entry_id):
        return entry_id is not None and 0 < entry_id < self.horizon

    def is_removed(self, entry):
        """Or counts as that. One that should be gone must not be there."""
        if not self.has(entry.id) or entry.kind in STAYING:
            return False
        require(entry.id >= self.removed_to, "should have been removed")
        return True

    def is_rollup(self, key):
        return len(key) == 9 and key[4] in UNITS and self.has(be(key[5:]) * UNITS[key[4]])

    # ---- series ----

    def read_series(self, rows, problem):
        """Fills what the series begin with, and what corrections are looked up in."""
        for key, value in rows if self.horizon else []:
            try:
                series, first_id = be(key[:4]), be(key[4:])
                block = read_block(value, first_id)
            except Exception as error:  # it is told where rows are compared
                problem("series: %s: %s" % (key.hex(), error))
                continue
            if first_id < self.horizon:
                self.blocks.setdefault(series, []).append((first_id, *block))
            self.items.update(((series, id), amounts) for id, amounts in block[2])

    def seeds(self):
        return {series: self.seed(series) for series in self.blocks}

    def seed(self, series):
        built, before = Series(), {}
        for first_id, base, skip, items in self.blocks[series]:
            require(built.ids or not base, "series %d begins with sums" % series)
            require(not built.ids or built.ids[-1] < first_id, "blocks of series %d overlap" % series)
            gap = {column: base.get(column, 0) - before.get(column, 0) for column in {*base, *before}
                   if base.get(column, 0) != before.get(column, 0)}
            if gap:
                require(COLUMN["grants"] not in gap and all(gap.get(c, 0) >= 0 for c in GROWING),
                        "series %d leaps over what was not removed" % series)
                built.ids.append(first_id - 1)
                built.items.append(gap)
            built.go_on(first_id, base, skip, [item for item in items if item[0] < self.horizon])
            before = built.totals
        return built

    # ---- corrections of what is gone ----

    def amounts(self, entry):
        listed = self.items.get((0, entry.id))
        require(listed is not None, "series 0 does not list it")
        said = {COLUMN["corrections"]: 1}
        for name, value in ("cost", entry.cost or 0), ("credits", entry.credits or 0):
            said[COLUMN[name if value > 0 else "corrected_" + name]] = value
            if name == "cost" and value > 0:
                said[COLUMN["corrections_cost"]] = value
        for column in STATUS_INDEPENDENT:
            require(listed.get(column, 0) == said.get(column, 0),
                    "series 0 lists it with another column %d" % column)
        return listed

    def status_in(self, entry, families, names):
        """The status of what it corrects, as some series by status tells; None: none does."""
        for family in families:
            for status in STATUSES:
                numbers = {**entry.names, 8: STATUS_NUMBERS + status}
                if 8 not in family or not all(dimension in numbers for dimension in family):
                    continue
                series = names.series_of.get(tuple(numbers[dimension] for dimension in family))
                if (series, entry.id) in self.items:
                    return status
        return None
