"""What a configuration key accepts: the rules that `config.py` puts beside its fields. Ground floor.

A rule is a type's name, limits in words, one line of doc and the test that decides; the error, the manual and
the check read the same rule. A test takes any object at all and answers; it never raises. Values travel as
TOML has them: nested mappings, lists, whole numbers, floats, strings, booleans.

Known bad case: the words stand beside the test, they are not derived from it; tests/test_config.py tries both
edges of every range that the words name.
"""

import datetime
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar, cast

KeyPath = tuple[str, ...]
Value = TypeVar("Value", covariant=True)
SHOWN_CHARACTER_MAX = 60


class Table(Mapping[str, Value]):
    """A dict that can't change: hashable and picklable, like the frozen classes that hold it."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Value] | None = None) -> None:
        self._items = dict(items or {})

    def __getitem__(self, key: str) -> Value:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return f"Table({self._items!r})"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong; `path` and `text` together are the line to print."""

    path: KeyPath
    text: str

    def __str__(self) -> str:
        return dotted(self.path) + self.text


Inside = Callable[[KeyPath, Mapping[str, object]], Iterator[Problem]]


@dataclass(frozen=True, slots=True)
class Rule:
    """What one key accepts. `inside`, for a table with keys of the user's: the problems of its entries."""

    type: str
    limits: str
    doc: str
    accepts: Callable[[object], bool]
    inside: Inside | None = None

    def problems(self, path: KeyPath, value: object) -> Iterator[Problem]:
        """What is wrong with this value, or with the entries of this table."""
        if not self.accepts(value):
            yield wrong(path, value, f"{self.type}, {self.limits}" if self.limits else self.type)
        elif self.inside is not None:
            yield from self.inside(path, cast(Mapping[str, object], value))


def wrong(path: KeyPath, value: object, wanted: str) -> Problem:
    """The usual sentence: the key, the value given, the value wanted."""
    return Problem(path, f" = {show(value)}: wanted {wanted}")


# ---- the kinds of rules, as metadata of a dataclass field


def whole(
    low: int, high: int, doc: str, *, step: int = 1, power: bool = False, also: tuple[int, str] | None = None
) -> dict[str, Rule]:
    """A whole number from `low` to `high`; `also` is the one value outside that has a meaning of its own."""

    def accepts(value: object) -> bool:
        if type(value) is not int:  # isinstance would take True
            return False
        inside = low <= value <= high and value % step == 0 and not (power and value & (value - 1))
        return inside or (also is not None and value == also[0])

    kind = "a power of two in " if power else f"a multiple of {step} in " if step > 1 else ""
    limits = f"{kind}{low}..{high}" + (f", or {also[0]} = {also[1]}" if also else "")
    return {"rule": Rule("integer", limits, doc, accepts)}


def switch(doc: str) -> dict[str, Rule]:
    """On or off, and nothing that only counts as that."""
    return {"rule": Rule("true or false", "", doc, lambda value: isinstance(value, bool))}


def choice(choices: tuple[str, ...], doc: str) -> dict[str, Rule]:
    """One of a few words."""
    limits = " or ".join(map(json.dumps, choices))
    return {"rule": Rule("string", limits, doc, lambda value: isinstance(value, str) and value in choices)}


def word(doc: str) -> dict[str, Rule]:
    """A name that can be part of a file's, or none."""

    def accepts(value: object) -> bool:
        return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]{0,64}", value) is not None

    return {"rule": Rule("name string", "up to 64 letters, digits, - and _", doc, accepts)}


def folder(doc: str) -> dict[str, Rule]:
    """A path of printable ASCII, or none."""

    def accepts(value: object) -> bool:
        return isinstance(value, str) and re.fullmatch(r"[ -~]{0,4000}", value) is not None

    return {"rule": Rule("path string", 'printable ASCII, "" = none', doc, accepts)}


def address(scheme: str, pattern: str, doc: str) -> dict[str, Rule]:
    """Where something is reached, or none; a port is 0 to 65535."""

    def accepts(value: object) -> bool:
        if not isinstance(value, str) or (value and not re.fullmatch(pattern, value)):
            return False
        port = re.search(r":([0-9]+)$", value)
        return port is None or int(port[1]) <= 65_535

    form = {"ouch": "ouch://USER@HOST:PORT", "": "four numbers with dots"}.get(scheme, f"{scheme}://HOST:PORT")
    return {"rule": Rule("address string", f'{form}, "" = none', doc, accepts)}


def money(high: str, doc: str) -> dict[str, Rule]:
    """An exact amount >= 0. The pattern comes first: Decimal itself takes 1e6, 1_000, NaN, other digits."""

    def accepts(value: object) -> bool:
        if not isinstance(value, str) or not re.fullmatch(r"(0|[1-9][0-9]{0,17})(\.[0-9]{1,9})?", value):
            return False
        return Decimal(value) <= Decimal(high)

    limits = f'"0".."{high}", in quotes, at most 9 decimals'
    return {"rule": Rule("decimal string", limits, doc, accepts)}


def date(doc: str) -> dict[str, Rule]:
    """A day whose nanoseconds fit an int64. The pattern keeps out the other forms of ISO 8601."""

    def accepts(value: object) -> bool:
        if value == "":
            return True
        if not isinstance(value, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            return False
        try:
            return 1970 <= datetime.date.fromisoformat(value).year <= 2261
        except ValueError:
            return False

    limits = '"1970-01-01".."2261-12-31", in quotes, or "" = 1970-01-01'
    return {"rule": Rule("date string", limits, doc, accepts)}


def symbols(doc: str) -> dict[str, Rule]:
    """A list of instruments, none twice."""

    def accepts(value: object) -> bool:
        return isinstance(value, list | tuple) and all(map(is_symbol, value)) and len(set(value)) == len(value)

    limits = "each 1..8 printable ASCII characters and named once, [] = all"
    return {"rule": Rule("array of symbols", limits, doc, accepts)}


def table(limits: str, doc: str, inside: Inside) -> dict[str, Rule]:
    """A table whose keys are the user's."""
    return {"rule": Rule("table", limits, doc, lambda value: isinstance(value, Mapping), inside)}


def is_symbol(value: object) -> bool:
    """Whether it fits the eight bytes of a record and comes back the same."""
    return isinstance(value, str) and re.fullmatch(r"[!-~]{1,8}", value) is not None


def check_parameters(path: KeyPath, given: Mapping[str, object]) -> Iterator[Problem]:
    """Names that can be fields of a class, values that fit 64 bits: each becomes a record of the journal."""
    for name, value in given.items():
        fits = isinstance(value, bool) or (isinstance(value, float) and math.isfinite(value))
        if type(value) is int:
            fits = -(1 << 63) <= value < 1 << 63
        if not (name.isidentifier() and name.isascii()):
            yield Problem((*path, name), ": wanted a name of ASCII letters, digits and _")
        elif not fits:
            yield wrong((*path, name), value, "an int64, a finite float, true or false")


# ---- text


def show(value: object) -> str:
    """A value as the user may have written it, cut to a readable length."""
    text = literal(value)
    return text if len(text) <= SHOWN_CHARACTER_MAX else text[: SHOWN_CHARACTER_MAX - 3] + "..."


def literal(value: object) -> str:
    """A value in TOML's syntax. Strings that passed a rule are printable ASCII, where JSON and TOML agree."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, Mapping):
        return "{...}" if value else "{}"
    if isinstance(value, int) and value.bit_length() > 256:
        return "a whole number beyond 256 bits"  # str() refuses the really long ones
    return json.dumps(value) if isinstance(value, str) else str(value)


def dotted(path: KeyPath) -> str:
    """The key as TOML writes it, with quotes where it must."""
    return ".".join(key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key) for key in path)


def write(path: KeyPath, tree: Mapping[str, object]) -> Iterator[str]:
    """The lines of one table, then of those inside it, in the order of the mapping."""
    if path:
        yield f"[{dotted(path)}]"
    for key, value in tree.items():
        if not isinstance(value, Mapping):
            yield f"{dotted((key,))} = {literal(value)}"
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield ""
            yield from write((*path, key), value)


# ---- trees


def freeze(value: object) -> object:
    """Mappings to Tables and lists to tuples, all the way down."""
    if isinstance(value, Mapping):
        return Table({key: freeze(item) for key, item in value.items()})
    return tuple(map(freeze, value)) if isinstance(value, list | tuple) else value


def leaves(path: KeyPath, tree: Mapping[str, object]) -> Iterator[tuple[KeyPath, object]]:
    """Every value that is not a table, with the path to it."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves((*path, key), value)
        else:
            yield (*path, key), value
