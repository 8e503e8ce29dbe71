"""A command of an operator: one JSON object in, checked, and the records that it becomes.

Whoever asks (command line, HTTP) sends the same object, and it is checked here and nowhere else: its shape by `parse`,
what it names by `record_of`, which knows the engine. It enters the sequence as TEXTs (its id, who, why) and one record
that does it, so the journal has all four before anything happens, and `Said` reads them back.

Invariant: what `said` writes, `Said` gives back; a command without id, who and why does not exist.
Known bad case: who is what the asker says; beside it stands the user whom the kernel vouches for.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import numpy as np

from .. import config as configs
from .. import strategy
from ..hot import engine as engines
from ..hot import risk as risks
from ..venues import itch
from ..wire import (
    ALTER,
    ASK,
    ASKED,
    BID,
    HALT,
    IMMEDIATE,
    KILL,
    LIMIT,
    NONE,
    PARAMETER,
    POST_ONLY,
    STRATEGY,
    SUBMIT,
    TAKE_ALL_BACK,
    TAKE_BACK,
    TEXT,
    TEXT_ID,
    TEXT_WHO,
    TEXT_WHY,
    int_to_symbol,
    symbol_to_int,
)
from .assembly import Machine, known_symbols

PIECE_BYTES: Final = 32
TEXT_BYTES_MAX: Final = {"id": 64, "who": 64, "why": 256}
WAITS: Final = ("memory", "local", "replicated")
# Name of a command -> the record it becomes; the fields it must have; those it may have.
SHAPES: Final[dict[str, tuple[int, tuple[str, ...], tuple[str, ...]]]] = {
    "submit": (SUBMIT, ("instrument", "side", "qty", "price"), ("immediate", "post_only")),
    "cancel": (TAKE_BACK, ("order",), ()),
    "replace": (ALTER, ("order", "qty", "price"), ("immediate", "post_only")),
    "mass_cancel": (TAKE_ALL_BACK, (), ("instrument",)),
    "set_limit": (LIMIT, ("limit", "value"), ("instrument",)),
    "set_parameter": (PARAMETER, ("parameter", "value"), ()),
    "strategy": (STRATEGY, ("on",), ("instrument",)),
    "halt": (HALT, (), ("instrument",)),
    "resume": (HALT, (), ("instrument",)),
    "kill": (KILL, (), ()),
}
# What a field holds; of the money and values, how it is written.
TYPES: Final[dict[str, tuple[tuple[type, ...], str]]] = {
    "instrument": ((str,), "a symbol"),
    "side": ((str,), "buy or sell"),
    "qty": ((int,), "lots, a whole number"),
    "price": ((str, int, Decimal), 'an amount, as "585.69"'),
    "order": ((int,), "the number of a live order of ours"),
    "limit": ((str,), f"one of {', '.join(risks.LIMITS)}"),
    "parameter": ((str,), "the name of a parameter of the strategy"),
    "value": ((str, int, Decimal, bool), "a number, or true or false"),
    "on": ((bool,), "true or false"),
    "immediate": ((bool,), "true or false"),
    "post_only": ((bool,), "true or false"),
}
COMMON: Final = ("command", "id", "who", "why")
INT64_MAX: Final = (1 << 63) - 1


class CommandError(Exception):
    """A command that can't be taken: says which field, what was given, and what was wanted."""


@dataclass(frozen=True)
class Command:
    """One command whose shape is right."""

    name: str
    id: str
    who: str
    why: str
    wait: str
    fields: dict[str, Any]


def parse(text: str) -> Command:
    """The command that this JSON says; CommandError names everything that is wrong with its shape."""
    try:
        given: Any = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"not JSON: {error}") from None
    if not isinstance(given, dict):
        raise CommandError("wanted one JSON object")
    name = given.get("command")
    if not isinstance(name, str) or name not in SHAPES:
        raise CommandError(f"command = {name!r}: wanted one of {', '.join(SHAPES)}")
    _, needed, possible = SHAPES[name]
    allowed = {*COMMON, "wait", *needed, *possible}
    wrong = [f"{key}: {name} has no such field" for key in given if key not in allowed]
    wrong += [f"{key}: missing" for key in COMMON[1:] + needed if key not in given]
    wrong += [f"{key}: {_text_problem(given[key], limit)}" for key, limit in TEXT_BYTES_MAX.items() if key in given
              and _text_problem(given[key], limit)]  # fmt: skip
    found = {key: given[key] for key in needed + possible if key in given}
    for key, value in found.items():
        types, about = TYPES[key]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            wrong.append(f"{key} = {value!r}: wanted {about}")
    wait = given.get("wait", "memory")
    if wait not in WAITS:
        wrong.append(f"wait = {wait!r}: wanted {' or '.join(WAITS)}")
    if wrong:
        raise CommandError("; ".join(wrong))
    return Command(name, given["id"], given["who"], given["why"], str(wait), found)


def _text_problem(value: object, limit: int) -> str:
    if not isinstance(value, str) or not value.strip():
        return "wanted some text"
    if not value.isprintable():
        return "wanted printable text"
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "wanted UTF-8"
    return f"{size} bytes, at most {limit}" if size > limit else ""


# ---- what it becomes


def record_of(command: Command, machine: Machine, instrument: int = NONE) -> dict[str, int]:
    """Fields of the record that does it; CommandError when it names what this engine does not have.

    `instrument` is that of the order that a `replace` names, where it is known: the order may be gone by now."""
    given, kind = command.fields, SHAPES[command.name][0]
    found: dict[str, int] = {"kind": kind}
    if "instrument" in given:
        found["instrument"] = _instrument(str(given["instrument"]), machine)
    if kind in (LIMIT, PARAMETER, HALT):
        found["flag"] = ASKED
    if kind == HALT:
        found["aux"] = int(command.name == "halt")
    elif kind == STRATEGY:
        found["aux"] = int(given["on"])
    elif kind == LIMIT:
        found["order_id"], found["aux"] = _limit(str(given["limit"]), given["value"], "instrument" in given)
    elif kind == PARAMETER:
        found["order_id"], found["aux"] = _parameter(str(given["parameter"]), given["value"], machine)
    elif kind in (TAKE_BACK, ALTER):
        found["order_id"] = _int64("order", int(given["order"]))
    if kind in (SUBMIT, ALTER):
        if kind == ALTER:
            found["instrument"] = instrument if instrument >= 0 else _instrument_of(found["order_id"], machine)
        found["price"] = _ticks(given["price"], found["instrument"], machine)
        found["qty"] = _int64("qty", int(given["qty"]))
        found["flag"] = IMMEDIATE * bool(given.get("immediate")) | POST_ONLY * bool(given.get("post_only"))
    if kind == SUBMIT:
        if given["side"] not in ("buy", "sell"):
            raise CommandError(f"side = {given['side']!r}: wanted buy or sell")
        found["side"] = BID if given["side"] == "buy" else ASK
    return found


def _int64(name: str, value: int) -> int:
    if not 0 < value <= INT64_MAX:
        raise CommandError(f"{name} = {value}: wanted 1 to {INT64_MAX}")
    return value


def _instrument(symbol: str, machine: Machine) -> int:
    """Index of a symbol: one that the feed has named, or the configuration."""
    engine = machine.run.engine
    try:
        wanted = symbol_to_int(symbol)
    except ValueError as error:
        raise CommandError(f"instrument = {symbol!r}: {error}") from None
    at = np.flatnonzero(engine.market.symbol[: int(engine.cells[engines.INSTRUMENTS])] == wanted)
    if len(at):
        return int(at[0])
    known = known_symbols(machine.config)
    if symbol not in known:
        raise CommandError(f"instrument = {symbol!r}: not in this run")
    return known.index(symbol)


def _instrument_of(order: int, machine: Machine) -> int:
    rows = machine.run.engine.orders.rows
    at = np.flatnonzero((rows.handle == order) & (rows.state != 0))
    if not len(at):
        raise CommandError(f"order = {order}: no live order of ours; ultra query shows them")
    return int(rows[int(at[0])].instrument)


def amount_e9(name: str, value: object) -> int:
    """An amount of money in 1e-9 of the currency, exact."""
    try:
        scaled = Decimal(str(value)).scaleb(9)
    except InvalidOperation:
        raise CommandError(f'{name} = {value!r}: wanted an amount, as "585.69"') from None
    if not scaled.is_finite() or scaled != int(scaled) or not 0 <= int(scaled) <= INT64_MAX:
        raise CommandError(f"{name} = {value}: wanted 0 or more, with at most 9 digits behind the point")
    return int(scaled)


def _ticks(value: object, instrument: int, machine: Machine) -> int:
    tick = int(machine.run.engine.market[instrument].tick_e9) or itch.TICK_E9
    ticks, rest = divmod(amount_e9("price", value), tick)
    if rest or not ticks:
        raise CommandError(f"price = {value}: wanted a multiple of {Decimal(tick).scaleb(-9).normalize():f}, above 0")
    return ticks


def _limit(name: str, value: object, one: bool) -> tuple[int, int]:
    """Column and value of a limit, held to the rule of its key in the configuration."""
    if name not in risks.LIMITS:
        raise CommandError(f"limit = {name!r}: wanted one of {', '.join(risks.LIMITS)}")
    if one and name == "message_rate_max_per_s":
        raise CommandError(f"limit = {name!r}: holds for all instruments together")
    if name == "order_notional_max":
        return risks.LIMITS.index(name), amount_e9(name, value) * 10**9 // (itch.TICK_E9 * itch.LOT_E9)
    rule: Any = next(one.metadata["rule"] for one in fields(configs.Risk) if one.name == name)
    for problem in rule.problems((name,), value):
        raise CommandError(str(problem))
    return risks.LIMITS.index(name), int(str(value))


def _parameter(name: str, value: Any, machine: Machine) -> tuple[int, int]:
    """Place and 64 bits of a parameter, checked by the strategy."""
    loaded = machine.loaded
    given: Any = float(value) if isinstance(value, Decimal) else value
    if isinstance(given, str):
        raise CommandError(f"value = {value!r}: wanted a number, or true or false")
    try:
        row = strategy.parameters(loaded, {name: given})
    except strategy.StrategyError as error:
        raise CommandError(str(error)) from None
    at = list(loaded.params_dtype.names).index(name)
    return at, int(row.view(np.ndarray).view(np.int64)[at])


# ---- what was said about it, in records and back


def said(command: Command) -> list[dict[str, int]]:
    """The TEXT records that go before it."""
    found = []
    for which, text in ((TEXT_ID, command.id), (TEXT_WHO, command.who), (TEXT_WHY, command.why)):
        raw = text.encode()
        for piece in range(0, len(raw), PIECE_BYTES):
            part = raw[piece : piece + PIECE_BYTES]
            words = struct.unpack("<4q", part.ljust(PIECE_BYTES, b"\0"))
            fields = dict(zip(("order_id", "price", "qty", "aux"), words, strict=True))
            found.append({"kind": TEXT, "side": which, "instrument": piece // PIECE_BYTES, "flag": len(part), **fields})
    return found


class Said:
    """The texts that were read since the last command."""

    def __init__(self) -> None:
        self._texts: dict[int, bytes] = {}

    def hear(self, record: Any) -> None:
        """A TEXT record."""
        which, piece = int(record["side"]), int(record["instrument"])
        raw = struct.pack("<4q", *(int(record[name]) for name in ("order_id", "price", "qty", "aux")))
        before = self._texts.get(which, b"") if piece else b""
        self._texts[which] = before + raw[: int(record["flag"])]

    def take(self) -> tuple[str, str, str]:
        """Id, who and why of the command that is read now; empty for what no operator asked."""
        texts, self._texts = self._texts, {}
        words = [texts.get(which, b"").decode("utf-8", "replace") for which in (TEXT_ID, TEXT_WHO, TEXT_WHY)]
        return words[0], words[1], words[2]


def is_asked(kind: int, flag: int) -> bool:
    """Whether a record is a command of an operator, with texts before it and an ACK behind it."""
    return SUBMIT <= kind <= KILL or (LIMIT <= kind <= HALT and flag == ASKED)


def words_of(record: Any, symbols: list[int] | None = None) -> dict[str, Any]:
    """A command read back from its record, for people: money in ticks, parameters as their bits."""
    kind, flag, instrument = int(record["kind"]), int(record["flag"]), int(record["instrument"])
    found: dict[str, Any] = {}
    if instrument != NONE:
        named = symbols is not None and 0 <= instrument < len(symbols) and symbols[instrument] != 0
        found["instrument"] = int_to_symbol(symbols[instrument]) if symbols is not None and named else instrument
    if kind in (SUBMIT, ALTER):
        found |= {"price_ticks": int(record["price"]), "qty": int(record["qty"])}
        found |= {name: True for name, bit in (("immediate", IMMEDIATE), ("post_only", POST_ONLY)) if flag & bit}
    if kind == SUBMIT:
        found["side"] = "buy" if int(record["side"]) == BID else "sell"
    elif kind in (TAKE_BACK, ALTER):
        found["order"] = int(record["order_id"])
    elif kind == LIMIT:
        which = int(record["order_id"])
        found["limit"] = risks.LIMITS[which] if 0 <= which < len(risks.LIMITS) else which
        found["value"] = int(record["aux"])
    elif kind == PARAMETER:
        found |= {"index": int(record["order_id"]), "bits": int(record["aux"])}
    elif kind == STRATEGY:
        found["on"] = int(record["aux"]) != 0
    return found


def name_of(kind: int, aux: int) -> str:
    """Name of the command that a record is, as in SHAPES."""
    if kind == HALT:
        return "halt" if aux else "resume"
    return next((name for name, shape in SHAPES.items() if shape[0] == kind), "")
