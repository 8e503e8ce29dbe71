"""Every limit and default of the engine: TOML in, frozen dataclasses out. Ground floor: of ours only `rules`.

One class a table, one field a key, the unit at the end of the name; beside each field its rule (type, range,
one line of doc), which the check, the error and the manual all read. A `Config` that exists has passed every
rule, so nobody checks again. Money is a decimal string, never a float; true is not 1. All problems of a file
are reported at once.

Known bad case: a file that is not TOML reports its first syntax error only, because tomllib stops there.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from . import rules
from .config_exchange import Exchange
from .config_link import Link
from .rules import KeyPath, Problem, Rule, Table, dotted, show, wrong


class ConfigError(ValueError):
    """The configuration can't be used. `name` says which file, `problems` has a line for each thing wrong."""

    def __init__(self, name: str, problems: tuple[str, ...]) -> None:
        super().__init__(name, problems)
        self.name, self.problems = name, problems

    def __str__(self) -> str:
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        return "\n  ".join((f"{self.name}: {count}", *self.problems))


def _check_instruments(path: KeyPath, given: Mapping[str, object]) -> Iterator[Problem]:
    for symbol, limits in given.items():
        if not rules.is_symbol(symbol):
            yield Problem((*path, symbol), ": wanted a symbol of 1..8 printable ASCII characters")
        yield from _check_keys((*path, symbol), limits, _SYMBOL_RULES)


@dataclass(frozen=True, slots=True)
class Engine:
    """How much the engine holds, and how it runs. All memory is taken before the first record."""

    instrument_max: int = field(default=16_384, metadata=rules.whole(1, 65_536, "instruments of the session"))
    order_live_max: int = field(
        default=1 << 20,
        metadata=rules.whole(1 << 10, 1 << 26, "resting orders of the market in all books", power=True),
    )
    level_page_max: int = field(
        default=131_072, metadata=rules.whole(1, 1 << 24, "pages of 64 price steps in all books")
    )
    own_order_max: int = field(default=4096, metadata=rules.whole(1, 1 << 20, "our own live orders"))
    feed_ring_records: int = field(default=4096, metadata=rules.whole(64, 1 << 24, "ring of each feed", power=True))
    output_ring_records: int = field(default=1024, metadata=rules.whole(64, 1 << 24, "ring to the gateway", power=True))
    reply_ring_records: int = field(
        default=1024, metadata=rules.whole(128, 1 << 24, "ring from the gateway", power=True)
    )
    timer_ns: int = field(
        default=0,
        metadata=rules.whole(1000, 86_400 * 10**9, "event time between two timers", also=(0, "no timer")),
    )
    bar_ns: int = field(
        default=0,
        metadata=rules.whole(1000, 86_400 * 10**9, "length of the bars made from trades for on_bar", also=(0, "none")),
    )
    checkpoint_records: int = field(
        default=1_000_000,
        metadata=rules.whole(1000, 10**12, "records between two state hashes in the journal"),
    )
    latency_sample_every: int = field(default=16, metadata=rules.whole(1, 1 << 20, "one record in this many is timed"))
    core: int = field(
        default=-1, metadata=rules.whole(0, 1023, "core that the engine runs on", also=(-1, "not pinned"))
    )
    prefault: bool = field(default=True, metadata=rules.switch("touch all memory before the first record"))
    lock_memory: bool = field(default=False, metadata=rules.switch("never let the shared rings be taken away (mlock)"))
    huge_pages: str = field(
        default="none", metadata=rules.choice(("none", "2M", "1G"), "pages under the shared rings, if there are any")
    )
    numa_node: int = field(
        default=-1, metadata=rules.whole(0, 1023, "node that the shared rings should lie on", also=(-1, "any"))
    )
    session: str = field(
        default="", metadata=rules.word("name of its shared memory, as `ultra ring ls` shows it; else by process id")
    )


@dataclass(frozen=True, slots=True)
class Risk:
    """The limits of every instrument; `of(symbol)` gives those of one. A maximum of 0 forbids."""

    order_qty_max: int = field(default=10_000, metadata=rules.whole(0, 10**9, "lots of one order"))
    order_notional_max: str = field(
        default="1000000", metadata=rules.money("9000000000", "currency that one order is worth")
    )
    collar_bps: int = field(
        default=500, metadata=rules.whole(0, 100_000, "distance of an order's price from the market's")
    )
    position_qty_max: int = field(
        default=10_000, metadata=rules.whole(0, 10**12, "lots held, long or short, if every open order fills")
    )
    message_rate_max_per_s: int = field(default=1000, metadata=rules.whole(0, 10**7, "orders sent in one second"))
    duplicate_window_ns: int = field(
        default=1_000_000,
        metadata=rules.whole(0, 60 * 10**9, "time in which the same order again is refused, 0 = allowed"),
    )
    open_order_max: int = field(default=64, metadata=rules.whole(0, 1 << 20, "our live orders of one instrument"))
    instrument: Table[Table[int | str]] = field(
        default=Table(),
        metadata=rules.table("SYMBOL -> keys of [risk]", "limits that differ for one symbol", _check_instruments),
    )

    def of(self, symbol: str) -> "Risk":
        """The limits that hold for this symbol."""
        own: Mapping[str, Any] = self.instrument.get(symbol, {})
        return replace(self, instrument=Table(), **own)

    @property
    def order_notional_max_e9(self) -> int:
        """The amount in 1e-9 of the currency, exact; it fits an int64."""
        return int(Decimal(self.order_notional_max).scaleb(9))


@dataclass(frozen=True, slots=True)
class Venue:
    """The simulated venue."""

    latency_ns: int = field(
        default=10_000,
        metadata=rules.whole(0, 60 * 10**9, "event time until an order or a cancel takes effect"),
    )


@dataclass(frozen=True, slots=True)
class Journal:
    """What is written down, and how."""

    market_data: str = field(
        default="reference",
        metadata=rules.choice(("reference", "full"), "refer to the recorded feed, or hold all of it"),
    )
    segment_bytes: int = field(default=1 << 26, metadata=rules.whole(1 << 20, 1 << 32, "size of one file", step=4096))
    ring_records: int = field(
        default=65_536, metadata=rules.whole(64, 1 << 24, "ring to the journal's process", power=True)
    )
    sync: bool = field(
        default=True, metadata=rules.switch("fdatasync every batch; without it a power cut loses records")
    )
    batch_record_max: int = field(default=4096, metadata=rules.whole(1, 1 << 20, "records synced at once"))
    restart_max: int = field(
        default=3, metadata=rules.whole(0, 1000, "times that a killed journal process is started again where it was")
    )
    on_failure: str = field(
        default="halt",
        metadata=rules.choice(
            ("halt", "shed"),
            "a journal that failed ends the run, or it refuses new orders and cancels pass (async only)",
        ),
    )
    retention_bytes: int = field(
        default=0,
        metadata=rules.whole(
            1 << 20, 1 << 50, "newest segments always kept; older ones go when a snapshot has them (ultra follow)",
            also=(0, "all are kept"),
        ),
    )  # fmt: skip
    retention_ms: int = field(
        default=0, metadata=rules.whole(0, 10**12, "a segment younger than this is kept, whatever its place")
    )
    retention_replicated: bool = field(
        default=False, metadata=rules.switch("no segment goes before a stream has it, though nothing ships it yet")
    )
    mirror: str = field(default="", metadata=rules.folder("a second journal, on another disk say, written beside it"))
    durability: str = field(
        default="async",
        metadata=rules.choice(("async", "gated"), "send requests at once, or only when their cause is on disk"),
    )


@dataclass(frozen=True, slots=True)
class Host:
    """Which parts of a run are processes of their own, on which cores, and what happens when one dies."""

    preset: str = field(
        default="inline",
        metadata=rules.choice(
            ("inline", "pipeline", "diamond"),
            "one thread beside the journal, or feed | engine | venue, or these with a mirrored journal",
        ),
    )
    wait: str = field(
        default="yield",
        metadata=rules.choice(("yield", "spin"), "what a loop does with nothing to do; spin wants a core for each"),
    )
    feed_core: int = field(default=-1, metadata=rules.whole(0, 1023, "core of the feed", also=(-1, "not pinned")))
    venue_core: int = field(default=-1, metadata=rules.whole(0, 1023, "core of the venue", also=(-1, "not pinned")))
    fifo_priority: int = field(
        default=0,
        metadata=rules.whole(1, 98, "SCHED_FIFO priority of the hot processes", also=(0, "none")),
    )
    fan_ring_records: int = field(
        default=16_384, metadata=rules.whole(64, 1 << 24, "ring from the feed to engine and venue", power=True)
    )
    stall_ms: int = field(
        default=100, metadata=rules.whole(20, 60_000, "a stage that runs this long without turning is stuck")
    )
    feed_restart_max: int = field(
        default=3, metadata=rules.whole(0, 1000, "times that a dead feed is started again where it was")
    )
    engine_restart_max: int = field(
        default=3, metadata=rules.whole(0, 1000, "times that a dead engine is rebuilt from its journal and goes on")
    )
    on_feed_loss: str = field(
        default="drain",
        metadata=rules.choice(
            ("drain", "halt"), "then: answer what is under way and end in good order, or end at once"
        ),
    )


@dataclass(frozen=True, slots=True)
class Feed:
    """Where the records come from."""

    date: str = field(default="", metadata=rules.date("day of the session, in New York"))
    instruments: tuple[str, ...] = field(default=(), metadata=rules.symbols("instruments to follow"))
    chunk_bytes: int = field(
        default=1 << 22, metadata=rules.whole(4096, 1 << 30, "bytes of a recorded file read at once")
    )


@dataclass(frozen=True, slots=True)
class Strategy:
    """What the strategy is given."""

    parameters: Table[int | float | bool] = field(
        default=Table(),
        metadata=rules.table(
            "NAME -> integer, float or bool", "the strategy's own, checked by it", rules.check_parameters
        ),
    )
    seed: int = field(default=0, metadata=rules.whole(0, (1 << 63) - 1, "what its random draws begin with"))


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration. Making one checks it: ConfigError names everything that is wrong."""

    engine: Engine = field(default_factory=Engine)
    risk: Risk = field(default_factory=Risk)
    venue: Venue = field(default_factory=Venue)
    journal: Journal = field(default_factory=Journal)
    host: Host = field(default_factory=Host)
    feed: Feed = field(default_factory=Feed)
    link: Link = field(default_factory=Link)
    exchange: Exchange = field(default_factory=Exchange)
    strategy: Strategy = field(default_factory=Strategy)

    def __post_init__(self) -> None:
        if found := _check(self._tree()):
            raise ConfigError("Config", tuple(map(str, found)))

    def to_toml(self) -> str:
        """Every key. `parse` makes an equal Config of it, and equal Configs give equal text."""
        return "\n".join(rules.write((), self._tree())).lstrip() + "\n"

    def _tree(self) -> dict[str, object]:
        return {name: _section_tree(getattr(self, name), _SECTIONS[name]) for name in _SECTIONS}


def _section_tree(section: Any, cls: type[Any]) -> object:
    if not isinstance(section, cls):
        return section  # the check names it
    return {f.name: _sorted(getattr(section, f.name)) for f in fields(cls)}


def _sorted(value: object) -> object:
    return {key: _sorted(value[key]) for key in sorted(value)} if isinstance(value, Mapping) else value


_SECTIONS: dict[str, type[Any]] = {f.name: cast(type[Any], f.type) for f in fields(Config)}
_RULES: dict[str, dict[str, Rule]] = {
    name: {f.name: f.metadata["rule"] for f in fields(cls)} for name, cls in _SECTIONS.items()
}
_DEFAULTS: dict[KeyPath, Any] = {(name, f.name): f.default for name, cls in _SECTIONS.items() for f in fields(cls)}
_SYMBOL_RULES = {key: rule for key, rule in _RULES["risk"].items() if key != "instrument"}

# The first key (times a factor) must not exceed the second: what one passes on has to fit into the other.
_NOT_ABOVE: tuple[tuple[KeyPath, int, KeyPath, str], ...] = (
    (("journal", "batch_record_max"), 1, ("journal", "ring_records"), "a batch comes out of the ring"),
    (("journal", "batch_record_max"), 128, ("journal", "segment_bytes"), "64 bytes each, half a segment"),
    (("risk", "open_order_max"), 1, ("engine", "own_order_max"), "they are among all of ours"),
)


def _check(tree: Mapping[str, object]) -> list[Problem]:
    """Everything wrong with a tree: each table by its rules, then the keys against one another."""
    found: list[Problem] = []
    for name, given in tree.items():
        if name in _RULES:
            found += _check_keys((name,), given, _RULES[name])
        else:
            found.append(_unknown((name,), given, _SECTIONS))
    known = _DEFAULTS | dict(rules.leaves((), tree))
    for problem in found:  # what is wrong in itself is not compared with others
        known.pop(problem.path, None)
    return found + list(_check_across(known))


def _check_keys(path: KeyPath, given: object, expected: Mapping[str, Rule]) -> Iterator[Problem]:
    if not isinstance(given, Mapping):
        yield wrong(path, given, "a table")
        return
    for key, value in given.items():
        if key in expected:
            yield from expected[key].problems((*path, key), value)
        else:
            yield _unknown((*path, key), value, expected)


def _check_across(known: Mapping[KeyPath, Any]) -> Iterator[Problem]:
    pairs = list(_NOT_ABOVE)
    for path in known:
        if path[:2] == ("risk", "instrument") and path[-1] == "open_order_max":
            pairs.append((path, *_NOT_ABOVE[-1][1:]))
    for left, factor, right, why in pairs:
        if left in known and right in known and known[left] * factor > known[right]:
            limit = f"at most {known[right] // factor} because {dotted(right)} = {known[right]} ({why})"
            yield wrong(left, known[left], limit)
    named, room = known.get(("feed", "instruments"), ()), known.get(("engine", "instrument_max"), 1 << 62)
    if len(named) > room:
        yield wrong(("feed", "instruments"), named, f"at most {room} because engine.instrument_max = {room}")


def _unknown(path: KeyPath, value: object, siblings: Iterable[str]) -> Problem:
    """Name the nearest key: the same in another table, one like it here, one like it anywhere."""
    near = [known for known in _DEFAULTS if known[-1] == path[-1]]
    near += [(*path[:-1], key) for key in difflib.get_close_matches(path[-1], siblings, 1)]
    if not near:
        names = difflib.get_close_matches(path[-1], [known[-1] for known in _DEFAULTS], 1)
        near = [known for known in _DEFAULTS if known[-1] in names]
    hint = f"did you mean {dotted(near[0])}?" if near else f"known here: {', '.join(siblings)}"
    if isinstance(value, Mapping):
        return Problem(path, f": unknown table; {hint}")
    return Problem(path, f" = {show(value)}: unknown key; {hint}")


def parse(text: str, name: str, overrides: Mapping[str, object] | None = None) -> Config:
    """The Config that this TOML says, with dotted keys laid over it; `name` stands in the errors."""
    try:
        tree: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(name, (_syntax_problem(text, str(error)),)) from None
    laid = [_lay(tree, key, value) for key, value in (overrides or {}).items()]
    found = []
    for problem in _check(tree):
        ours = any(problem.path[: len(path)] == path for path in laid)
        found.append(f"{problem} (command line)" if ours else str(problem))
    if found:
        raise ConfigError(name, tuple(found))
    built = {}
    for section, cls in _SECTIONS.items():
        built[section] = cls(**{key: rules.freeze(value) for key, value in tree.get(section, {}).items()})
    return Config(**built)


def load(path: Path | None, overrides: Mapping[str, object] | None = None) -> Config:
    """The Config of a file (None = the defaults) with dotted keys of the command line laid over it."""
    if path is None:
        return parse("", "defaults", overrides)
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not UTF-8 at byte {error.start}"
        raise ConfigError(str(path), (f"can't be read: {reason}",)) from None
    return parse(text, str(path), overrides)


def assignment(text: str) -> tuple[str, object]:
    """One override from `KEY=VALUE`. The value is TOML; a key that holds a string takes it without quotes."""
    key, equals, raw = (part.strip() for part in text.partition("="))
    if not equals:
        raise ConfigError("command line", (f"{text}: wanted KEY=VALUE",))
    path = _key_path(key)
    place = ("risk", path[-1]) if path[:2] == ("risk", "instrument") else path
    try:
        value: object = tomllib.loads(f"value = {raw}")["value"]
    except (ValueError, RecursionError):
        value = raw
    bare = isinstance(_DEFAULTS.get(place), str) and not isinstance(value, str)
    return key, raw if bare else value


def describe() -> list[tuple[str, str, str, str, str]]:
    """(key, type, default, limits, doc) of every key, in order."""
    return [
        (dotted((name, key)), rule.type, show(_DEFAULTS[name, key]), rule.limits, rule.doc)
        for name, expected in _RULES.items()
        for key, rule in expected.items()
    ]


def _syntax_problem(text: str, reason: str) -> str:
    """tomllib's words, with the line at fault; "end of document" is the last one, no place at all is none."""
    at = re.search(r"at line (\d+)", reason)
    if not at and "end of document" not in reason:
        return f"not readable as TOML: {reason}"
    lines = text.splitlines() or [""]
    number = min(int(at[1]), len(lines)) if at else len(lines)
    return f"line {number}: {reason}: {show(lines[number - 1].strip())}"


def _lay(tree: dict[str, Any], key: str, value: object) -> KeyPath:
    """Put one override into the tree. A value of the file where a table should be stays, and is refused."""
    path = _key_path(key)
    node: Any = tree
    for name in path[:-1]:
        node = node.setdefault(name, {})
        if not isinstance(node, dict):
            return path
    node[path[-1]] = value
    return path


def _key_path(key: str) -> KeyPath:
    """Split a dotted key as TOML does: risk.instrument."BRK.A".collar_bps. Else it is one odd name."""
    try:
        node: Any = tomllib.loads(f"{key} = 0")
    except (ValueError, RecursionError):
        return (key,)
    path: list[str] = []
    while isinstance(node, dict):
        if len(node) != 1:
            return (key,)
        name, node = next(iter(node.items()))
        path.append(name)
    return tuple(path)
