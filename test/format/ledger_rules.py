"""Rules, their history, and how much of them is used: docs/format.md, sections 3, 4, 7 and 11."""

import datetime
from bisect import bisect_left, bisect_right

from ledger_rows import (AMOUNT_MAX, COLUMN, FOREVER, STATE, TOKEN_CLASSES, WHOLE, is_text, is_uint,
                         mark_name, require, u32s, varint)
from ledger_series import Series

# ---- rules: section 3 ---------------------------------------------------------------------------

DIMENSION_NAMES = {"state": 1, "org": 2, "project": 3, "user": 4, "agent": 5, "model": 6,
                   "provider": 7, "prompt_type": 9}
MEASURES = {"invocations": (("invocations",), 0), "completed_invocations": (("completed",), 0),
            "cost": (("cost",), 1), "completed_cost": (("completed_cost",), 1),
            "credits": (("credits",), 2), "completed_credits": (("completed_credits",), 2),
            "tokens": (tuple(name + "_tokens" for name in TOKEN_CLASSES), 3)}
CALENDAR = ("day", "week", "month")
MAX_VALUES = 100000


class Rule:
    KEYS = {"name", "scope", "measure", "window", "limit"}
    OPTIONS = {"warn", "soft", "on_exhausted", "grace", "require", "default_estimate", "max_values"}

    def __init__(self, given):
        require(isinstance(given, dict) and self.KEYS <= set(given) <= self.KEYS | self.OPTIONS,
                "newer: keys of rule")
        self.given, self.name = given, given["name"]
        require(is_text(self.name, 1029), "a rule's name")
        self.check_scope(given["scope"])
        self.check_window(given["window"])
        self.check_limit(given["limit"])
        self.check_options(given)

    def check_scope(self, scope):
        require(isinstance(scope, dict) and set(scope) <= set(DIMENSION_NAMES), "newer: scope")
        require(all(value is None or isinstance(value, str) for value in scope.values()),
                "newer: scope")
        require(all(value is None or value for value in scope.values()), "an empty value")
        self.scope = {DIMENSION_NAMES[name]: scope[name]
                      for name in sorted(scope, key=DIMENSION_NAMES.get)}
        self.family = tuple(self.scope)
        self.has_each = None in self.scope.values()

    def check_window(self, window):
        require(isinstance(window, list) and window
                and window[0] in ("rolling", "lifetime", *CALENDAR)
                and len(window) == (1 if window[0] == "lifetime" else 2), "newer: window")
        if window[0] == "rolling":
            require(is_uint(window[1], AMOUNT_MAX, 1), "a rule's window")
        elif window[0] in CALENDAR:
            require(is_uint(window[1], 1080, -1080) and window[1] % 15 == 0, "a rule's offset")
        self.window = window

    def check_limit(self, limit):
        measure = self.given["measure"]
        require(measure in MEASURES, "newer: measure")
        names, self.held_column = MEASURES[measure]
        self.columns = tuple(COLUMN[name] for name in names)
        self.granted = limit == "granted"
        require(self.granted or limit is None or is_uint(limit), "newer: limit")
        require(self.granted or limit is None or limit <= AMOUNT_MAX, "a rule's limit")
        money = measure.replace("completed_", "")
        require(not self.granted or (money in ("cost", "credits")
                                     and self.window == ["lifetime"]), "a granted limit")
        self.limit, self.is_unlimited = limit, limit is None
        if self.granted:
            self.grant_columns = (COLUMN["granted_" + money],), (COLUMN["withdrawn_" + money],)

    def check_options(self, given):
        for key, good in [
                ("warn", lambda v: isinstance(v, list) and 1 <= len(v) <= 8
                 and all(is_uint(n, 100, 1) for n in v) and all(a < b for a, b in zip(v, v[1:]))),
                ("soft", lambda v: is_uint(v, 99, 1)),
                ("grace", lambda v: self.granted and is_uint(v, AMOUNT_MAX, 1)),
                ("require", lambda v: v is True),
                ("default_estimate", lambda v: is_uint(v, AMOUNT_MAX, 1)),
                ("max_values", lambda v: is_uint(v, least=1))]:
            require(key not in given or good(given[key]), "a rule's %s" % key)
        self.effect = given.get("on_exhausted", "deny")
        require(self.effect in ("deny", "degrade", "warn")
                and (self.effect != "deny" or "on_exhausted" not in given), "newer: on_exhausted")
        self.warn, self.soft = given.get("warn", []), given.get("soft", 0)
        self.grace, self.max_values = given.get("grace", 0), given.get("max_values", MAX_VALUES)

    def is_of_first_version(self):
        return (set(self.given) == self.KEYS and self.family == (STATE,) and not self.has_each
                and self.given["measure"] == "invocations" and self.window[0] == "rolling"
                and not self.granted)

    def check_in(self, states, families):
        require(self.scope.get(STATE) is None or self.scope[STATE] in states,
                "a rule of an undeclared state")
        require(not self.family or self.family in families, "a rule over no series")

    def fits(self, scope):
        """Whether a series with these texts is one that it is over, by its values."""
        return (self.family == tuple(scope)
                and all(value is None or value == scope[d] for d, value in self.scope.items()))

    def is_like(self, other):
        return (self.family == other.family and self.given["measure"] == other.given["measure"]
                and self.window == other.window)

    def is_same_budget(self, other):
        return self.is_like(other) and self.scope == other.scope

    def replaces(self, other):
        values = [(mine, theirs) for mine, theirs in zip(self.scope.values(), other.scope.values())]
        return (self.is_like(other) and self.scope != other.scope
                and all(theirs is None or mine == theirs for mine, theirs in values))


def rules_over(rules, scope):
    """Of an iterable of rules, those over a series of these texts whose place no other takes."""
    fitting = [rule for rule in rules if rule.fits(scope)]
    return [rule for rule in fitting if not any(other.replaces(rule) for other in fitting)]


# ---- the policy: sections 3 and 4 ---------------------------------------------------------------

SETTING_TYPES = {
    "integer": ({"min", "max"}, lambda v: is_uint(v, AMOUNT_MAX, -AMOUNT_MAX)),
    "boolean": (set(), lambda v: isinstance(v, bool)),
    "string": ({"one_of"}, lambda v: is_text(v, 4096, 0))}


def check_setting(name, setting):
    require(is_text(name, 255) and isinstance(setting, dict), "a setting")
    require(setting.get("type") in SETTING_TYPES, "type of setting %r" % name)
    options, good = SETTING_TYPES[setting["type"]]
    require({"type", "value"} <= set(setting) <= {"type", "value"} | options,
            "keys of setting %r" % name)
    value = setting["value"]
    choices = setting.get("one_of", [value])
    require(good(value) and good(setting.get("min", 0)) and good(setting.get("max", 0))
            if setting["type"] == "integer" else good(value), "value of setting %r" % name)
    require(setting.get("min", value) <= value <= setting.get("max", value)
            and isinstance(choices, list) and value in choices, "value of setting %r" % name)


def check_policy(policy, families):
    require(isinstance(policy, dict), "not a map")
    require({"version", "states", "rules", "changed_by_entry"} <= set(policy)
            and set(policy) <= {"version", "states", "rules", "settings", "changed_by_entry"},
            "newer: keys")
    require(is_uint(policy["version"], least=1), "version")
    require(is_uint(policy["changed_by_entry"]), "changed_by_entry")
    require((policy["version"] == 1) == (policy["changed_by_entry"] == 0), "version 1 has no entry")
    states, rules = policy["states"], policy["rules"]
    require(isinstance(states, list) and len(states) <= 1024
            and all(is_text(s, 1020) and s != "total" for s in states)
            and len(set(states)) == len(states), "states")
    require(isinstance(rules, list) and len(rules) <= 4096, "rules")
    rules = [Rule(rule) for rule in rules]
    for rule in rules:
        rule.check_in(states, families)
    require(sum(rule.has_each for rule in rules) <= 256, "over 256 rules with nil")
    by_name = {rule.name: rule for rule in rules}
    require(len(by_name) == len(rules), "a rule is named twice")
    check_settings(policy.get("settings", {}))
    require(policy.get("settings", True), "settings: none, but written")
    return by_name


def check_settings(settings):
    require(isinstance(settings, dict), "settings")
    for name, setting in settings.items():
        check_setting(name, setting)


class History:
    """Which rules were in force when, and which resets counted."""

    def __init__(self, policy, rules, families):
        """`rules`: those in force, by name."""
        self.policy, self.rules, self.families = policy, dict(rules), families
        self.states = list(policy["states"])
        self.settings = policy.get("settings", {})
        self.versions = []  # (id of the entry that made it, [Rule]), oldest first
        self.marks = {}     # rule's name -> [(id, series, WHOLE or None: all were forgotten)]
        self.changed = {}   # rule's name -> id of the entry that made it what it is

    def check_chain(self, entries):
        """Undoes every change, newest first. `entries`: those of kind policy, by id."""
        version, at, seen = self.policy["version"], self.policy["changed_by_entry"], 0
        while at != 0:
            require(at in entries, "entry %d of version %d is not there" % (at, version))
            change = entries[at].change
            keys = {"version", "by", "reason", "previous", "states", "changes"}
            require(keys <= set(change) <= keys | {"settings"}, "keys of change")
            require(change["version"] == version, "entry %d is not of version %d" % (at, version))
            require(all(isinstance(change[k], str) and change[k] for k in ("by", "reason")),
                    "by, why")
            require(is_uint(change["previous"]) and change["previous"] < at, "previous")
            self.versions.insert(0, (at, list(self.rules.values())))
            self.undo(at, change)
            version, at, seen = version - 1, change["previous"], seen + 1
        require(version == 1, "the chain ends at version %d" % version)
        require(seen == len(entries), "%d entries of %d are on the chain" % (seen, len(entries)))
        self.versions.insert(0, (0, list(self.rules.values())))

    def undo(self, at, change):
        """Goes from the version that the change made to the one before."""
        names = set()
        for before, after in change["changes"]:
            before, after = (None if rule is None else Rule(rule) for rule in (before, after))
            require(before or after, "a change of nothing")
            name = (after or before).name
            found = self.rules.pop(name, None)
            require((found and found.given) == (after and after.given),
                    "%r was not as its change says" % name)
            require(name not in names and (before and before.given) != (after and after.given),
                    "%r is changed twice, or into itself" % name)
            names.add(name)
            self.changed.setdefault(name, at)
            if before is not None:
                require(before.name == name, "a change of %r begins with another rule" % name)
                self.rules[name] = before
                if after is None or not before.is_same_budget(after):
                    self.marks.setdefault(name, []).insert(0, (at, None))
        if "settings" in change:
            before, after = change["settings"]
            require(after == self.settings and before != after,
                    "the settings were not as their change says")
            check_settings(before)
            self.settings = before
        kept = max(len(self.states) - len(change["states"]), 0)
        require(self.states[kept:] == change["states"],
                "the last states are not those of the change")
        del self.states[kept:]
        for rule in self.rules.values():
            rule.check_in(self.states, self.families)

    def version_at(self, entry_id):
        return bisect_right(self.versions, entry_id, key=lambda version: version[0])

    def rules_at(self, entry_id):
        return self.versions[self.version_at(entry_id) - 1][1]

    def add_reset(self, entry, names):
        """In the order of the entries, after the chain was checked."""
        name, scope = entry.change["rule"], {d: names.texts[n][1] for d, n in entry.names.items()}
        rule = next((r for r in self.rules_at(entry.id) if r.name == name), None)
        require(rule is not None and not rule.granted, "resets %r, which is not there" % name)
        series = WHOLE
        if scope:
            require(rule.has_each and rule.fits(scope), "resets no value of %r" % name)
            numbers = tuple(entry.names[d] for d in rule.family)
            require(numbers in names.series_of, "resets a series that is not there")
            series = names.series_of[numbers]
        marks = self.marks.setdefault(name, [])
        marks.append((entry.id, series))
        marks.sort(key=lambda mark: mark[0])

    def since(self, name, series, end=FOREVER):
        """The newest reset below `end`, or 0."""
        newest = 0
        for at, what in self.marks.get(name, []):
            if at < end and what in (series, WHOLE, None):
                newest = 0 if what is None else at
        return newest

    def reset_rows(self):
        for name, marks in self.marks.items():
            rows = {}
            for at, what in marks:
                if what is None:
                    rows = {}
                else:
                    rows[b"\2" + mark_name(name) + u32s(what)] = varint(at)
            yield from rows.items()


# ---- use: section 7 -----------------------------------------------------------------------------

NEVER = 2 ** 64 - 1
DAY_MS = 86400 * 1000
EPOCH = datetime.date(1970, 1, 1)


def period(window, ms):
    """First ms of the period of a calendar window that has `ms`, and of the next."""
    unit, offset_ms = window[0], window[1] * 60000
    day = (ms + offset_ms) // DAY_MS
    if unit == "day":
        first, following = day, day + 1
    elif unit == "week":
        first = day - (day + 3) % 7
        following = first + 7
    else:
        month = (EPOCH + datetime.timedelta(day)).replace(day=1)
        after = (month + datetime.timedelta(31)).replace(day=1)
        first, following = (month - EPOCH).days, (after - EPOCH).days
    return first * DAY_MS - offset_ms, following * DAY_MS - offset_ms


def window_start(window, now_us):
    now_ms = now_us // 1000
    if window[0] == "lifetime":
        return 0
    start = now_ms - window[1] if window[0] == "rolling" else period(window, now_ms)[0]
    return max(start, 0) * 1000


class Use:
    """Of a rule in a series, with the entries below `end`."""

    def __init__(self, rule, series, since, held, now_us, end=FOREVER, first=None):
        series = series or Series()
        first = max(window_start(rule.window, now_us) if first is None else first, since + 1)
        self.rule, self.series, self.now_us, self.held = rule, series, now_us, held
        self.first = 0 if rule.window[0] == "lifetime" and not since else first
        self.used = series.before(rule.columns, end) - series.before(rule.columns, first)
        self.limit, self.spent = rule.limit, 0
        if rule.granted:
            given, taken = rule.grant_columns
            self.grants, self.withdrawn = series.before(given, end), series.before(taken, end)
            self.limit = self.grants - self.withdrawn
            sums = series.running(given)[:bisect_left(series.ids, end) + 1]
            self.spent = sums[bisect_right(sums, self.used + self.withdrawn) - 1]

    def cap(self, critical):
        rule = self.rule
        if critical or not rule.soft:
            return self.limit + rule.grace
        if not rule.granted:
            return self.limit * rule.soft // 100
        return self.spent + (self.grants - self.spent) * rule.soft // 100 - self.withdrawn

    def percent(self, used):
        if self.rule.is_unlimited:
            return 0
        part, whole = used, self.limit
        if self.rule.granted:
            part += self.withdrawn - self.spent
            whole = self.grants - self.spent
        return part * 100 // whole if whole > 0 else 100

    def admits_from(self, critical, exists):
        """The gate's word for this rule alone."""
        room = self.cap(critical) - self.held - 1
        if self.used <= room:
            return 0
        if room < 0 or not exists or self.rule.window[0] == "lifetime":
            return NEVER
        sums = self.series.running(self.rule.columns)
        last_out = self.series.ids[bisect_left(sums, sums[-1] - room) - 1]
        if self.rule.window[0] == "rolling":
            return (last_out // 1000 + 1 + self.rule.window[1]) * 1000
        ms = self.now_us // 1000
        while window_start(self.rule.window, ms * 1000) <= last_out:
            ms = period(self.rule.window, ms)[1]
        return ms * 1000
