"""Payloads, prices and what corrections come to: docs/format.md, sections 4 and 9."""

import hashlib
from bisect import bisect_right

import msgpack

from ledger_rows import (AMOUNT_MAX, CORRECTION, COMPLETED, COMPLETES, INVOCATION, LATE, MODEL,
                         OCCURRED_AT_MAX, OF_COMPLETED, PRICES, PROVIDER, REDACTION, RUN, TOKEN_CLASSES,
                         UNATTENDED, Bad, add, be, is_text, is_uint, require,
                         totals_bytes, u64, varint)

# ---- payloads -----------------------------------------------------------------------------------

FIELDS = {"intent", "input", "output", "error_message", "trace", "attributes", "inclusive"}
DEPTH = 24
ATOM, INTEGER = 1, 2


def check_extension(value):
    if value.code == ATOM:
        require(len(value.data.decode()) <= 255, "payload: an atom is too long")
        require(value.data not in (b"true", b"false", b"nil"), "payload: an atom of its own form")
    elif value.code == INTEGER:
        size = len(value.data) - 1
        require(8 <= size <= 255 and value.data[0] in (0, 1), "payload: an integer")
        number = int.from_bytes(value.data[1:], "little")
        require(value.data[-1] != 0 and number > (2 ** 64 - 1 if value.data[0] == 0 else 2 ** 63),
                "payload: an integer that is not that big")
    else:
        raise Bad("payload: unknown extension %d" % value.code)


def check_value(value, left):
    if isinstance(value, (list, dict)):
        require(left > 0, "payload: too deep")
        for key in value if isinstance(value, dict) else []:
            require(not isinstance(key, (bool, float, type(None))), "payload: a key")
            require(not isinstance(key, msgpack.ExtType) or key.code == ATOM, "payload: a key")
            check_value(key, 0)
        for part in value.values() if isinstance(value, dict) else value:
            check_value(part, left - 1)
    elif isinstance(value, msgpack.ExtType):
        check_extension(value)
    elif isinstance(value, bytes):
        try:
            value.decode()
        except UnicodeDecodeError:
            return
        raise Bad("payload: text as bin")


def once(pairs):
    require(len(dict(pairs)) == len(pairs), "payload: a key twice")
    return dict(pairs)


def check_payload(map_bytes):
    try:
        value = msgpack.unpackb(map_bytes, raw=False, strict_map_key=False, object_pairs_hook=once)
    except Bad:
        raise
    except Exception as error:
        raise Bad("payload: not msgpack: %s" % error) from error
    require(isinstance(value, dict) and value, "payload: not a map, or of nothing")
    require(set(value) <= FIELDS, "payload: unknown fields")
    check_value(value, DEPTH)


class Payloads:
    """The rows of `payloads` against the entries that they belong to."""

    def __init__(self, entries):
        self.entries, self.count, self.redacted = entries, 0, 0
        self.bound = {id for id, entry in entries.items() if entry.digest is not None}
        self.redactions = {}  # id of what was taken away -> entries that did
        for entry in entries.values():
            if entry.kind == REDACTION:
                self.redactions.setdefault(entry.link, []).append(entry.id)

    def check_redaction(self, entry):
        require(entry.link in self.bound, "redacts what had no payload")
        require(len(self.redactions[entry.link]) == 1, "redacts what another one did")

    def check_row(self, key, value):
        require(len(key) == 8, "the key does not have 8 bytes")
        id = be(key)
        require(id in self.bound, "no entry has this payload")
        self.bound.discard(id)
        self.count += 1
        if value[0] == 1:
            require(len(value) > 17, "ends too early")
            require(id not in self.redactions, "was redacted, but is there")
            digest = hashlib.sha256(value[1:]).digest()
            require(digest == self.entries[id].digest, "is not what the entry's digest says")
            check_payload(value[17:])
        else:
            require(value[0] == 2 and len(value) == 9, "unknown kind of row")
            require(self.redactions.get(id) == [be(value[1:])], "was not redacted by this entry")
            self.redacted += 1


# ---- corrections --------------------------------------------------------------------------------

class Corrections:
    """What they come to together, of each entry."""

    def __init__(self):
        self.of = {}  # entry id -> [priced, completed, sums by column]

    def add(self, entry, booked):
        if entry.kind != CORRECTION:
            return
        require(booked is not None and booked.kind in (INVOCATION, RUN),
                "corrects what is not there, or is no work")
        require(entry.names == booked.names, "is not called as what it corrects")
        require(entry.flags & COMPLETES == 0 or booked.flags & UNATTENDED, "flags: completes")
        is_first = entry.link not in self.of
        priced, completed, sums = self.of.setdefault(entry.link, [False, False, {}])
        require(is_first or not entry.flags & LATE, "a settlement after another correction")
        prices = entry.cost is not None and booked.cost is None and not priced
        self.of[entry.link][:2] = [priced or prices,
                                   completed or bool(entry.flags & COMPLETES)]
        add(sums, entry.booked())
        net = dict(booked.booked())
        add(net, sums)
        require(all(0 <= value <= AMOUNT_MAX for value in net.values()),
                "corrects more than there was")
        require(prices == bool(entry.flags & PRICES), "flags: prices")
        require((completed or booked.status == COMPLETED) == bool(entry.flags & OF_COMPLETED),
                "flags: of_completed")

    def rows(self):
        for id, (priced, completed, sums) in self.of.items():
            yield b"\6" + u64(id), bytes([priced + 2 * completed]) + totals_bytes(sums)


# ---- prices -------------------------------------------------------------------------------------

def are_units(value):
    return isinstance(value, list) and len(value) == len(TOKEN_CLASSES) and all(map(is_uint, value))


class Price:
    def __init__(self, given, entry_id):
        require(isinstance(given, list) and len(given) in (2, 4) and is_text(given[0], 400)
                and are_units(given[1]), "change: a price")
        self.model, self.units, self.entry = given[0], given[1], entry_id
        self.above, self.second = given[2:] if len(given) == 4 else (0, [])
        require(len(given) == 2 or (is_uint(self.above, AMOUNT_MAX, 1) and are_units(self.second)),
                "change: a price's second tier")

    def value(self):
        numbers = [*self.units, self.above, *self.second, self.entry]
        return b"".join(map(varint, numbers))

    def units_for(self, tokens):
        prompt = tokens[0] + tokens[2] + tokens[3]
        return self.second if self.above and prompt > self.above else self.units


class PriceBook:
    """As of the entries so far."""

    KEYS = {"by", "reason", "prices"}

    def __init__(self):
        self.prices = {}  # model -> {effective from, us: Price}
        self.texts = []   # every [model, units] there was

    def add(self, entry):
        change = entry.change
        require(self.KEYS <= set(change) <= self.KEYS | {"source", "effective_from"},
                "keys of change")
        require(all(is_text(change[key], 2 ** 32) for key in ("by", "reason", "source")
                    if key in change), "by, why, whence")
        since = change.get("effective_from")
        require("effective_from" not in change or is_uint(since, OCCURRED_AT_MAX),
                "change: effective_from")
        require(isinstance(change["prices"], list) and 1 <= len(change["prices"]) <= 10000,
                "change: prices")
        for given in change["prices"]:
            price = Price(given, entry.id)
            at = entry.id if since is None else since * 1000
            self.prices.setdefault(price.model, {})[at] = price
            self.texts.append(price)

    def in_force(self, model, at):
        times = sorted(time for time in self.prices.get(model, {}))
        before = bisect_right(times, at)
        return self.prices[model][times[before - 1]] if before else None

    def check(self, entry, texts):
        """The unit prices of an entry were in force. `texts`: names by dimension."""
        if entry.unit_prices is None:
            return
        model = texts.get(MODEL)
        require(model is not None, "unit_prices: of no model")
        models = [model]
        if PROVIDER in texts and len((texts[PROVIDER] + "/" + model).encode()) <= 400:
            models.insert(0, texts[PROVIDER] + "/" + model)
        if entry.flags & UNATTENDED:  # priced when it was metered, which nothing else tells
            units = [price.units_for(entry.tokens) for price in self.texts if price.model in models]
        else:
            at = entry.occurred_at
            times = [entry.id, entry.id - 1] if at is None else [at * 1000]
            units = [next((price.units_for(entry.tokens) for price in
                           (self.in_force(model, time) for model in models) if price), None)
                     for time in times]
        require(entry.unit_prices in units, "unit_prices: %r were not in force, but %r"
                % (entry.unit_prices, units))

    def rows(self):
        for model, prices in self.prices.items():
            text = model.encode()
            for at, price in prices.items():
                yield b"\7" + len(text).to_bytes(2, "big") + text + u64(at), price.value()
