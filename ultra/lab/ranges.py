"""What a search may choose from: a name and its values for each parameter, and a rule which of them go together.

    {"fast": range(5, 50, 5), "slow": (20, 200, 10), "edge": [0.5, 1.0], "gain": (0.0, 1.0)}

A list, a `range` or an array is these values. A tuple is (low, high) or (low, high, step), both ends included: every
whole number of it where the parameter is one; of a float without a step anything in between, which a grid can't take.
Sets are numbered as an odometer turns, the last parameter fastest, so a set has its number whoever runs it.
Known bad case: a float range of a step that does not divide it ends before its high end.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from .. import strategy as strategies

SETS_MAX: Final = 10_000_000
Where = Callable[[Mapping[str, Any]], Any]


class SearchError(Exception):
    """A search that can't be made: names the range, the objective or the file, and what it takes instead."""


@dataclass(frozen=True)
class Choice:
    """What one parameter may be: `values`, or anything from `low` to `high`."""

    name: str
    values: tuple[Any, ...] | None
    low: float = 0.0
    high: float = 0.0

    def at(self, share: float) -> Any:
        """The value at a share (0 to below 1) of the range."""
        if self.values is None:
            return self.low + share * (self.high - self.low)
        return self.values[int(share * len(self.values))]


def choices(loaded: strategies.Loaded, ranges: Mapping[str, Any]) -> tuple[Choice, ...]:
    """Every range of a search. SearchError, or the StrategyError of a value that the strategy does not take."""
    if not ranges:
        raise SearchError("no ranges: name at least one parameter, as {'fast': range(5, 50, 5)}")
    own = {name: field for name, field in loaded.fields.items() if field.kind == "parameter"}
    found = []
    for name, given in ranges.items():
        if name not in own:
            raise SearchError(f"{name}: no such parameter of {loaded.spec}; there are {', '.join(own) or 'none'}")
        choice = _choice(name, given, type(own[name].default))
        for value in choice.values or (choice.low, choice.high):
            strategies.parameters(loaded, {name: value})
        found.append(choice)
    return tuple(found)


def _choice(name: str, given: Any, kind: type) -> Choice:
    if isinstance(given, tuple) and 2 <= len(given) <= 3 and all(_is_number(part) for part in given):
        low, high, *step = (part.item() if isinstance(part, np.generic) else part for part in given)
        if high < low or (step and step[0] <= 0):
            raise SearchError(f"{name} = {given}: wanted (low, high) or (low, high, step), low first, step above 0")
        if kind is float and not step:
            return Choice(name, None, float(low), float(high))
        by = step[0] if step else 1
        count = math.floor((high - low) / by + 1e-9) + 1
        return Choice(name, tuple(dict.fromkeys(_plain(name, _step(low, k, by), kind) for k in range(count))))
    if not isinstance(given, Sequence | range | np.ndarray) or isinstance(given, str):
        raise SearchError(f"{name} = {given!r}: wanted a list, a range, an array, or (low, high[, step])")
    values = tuple(dict.fromkeys(_plain(name, value, kind) for value in given))
    if not values:
        raise SearchError(f"{name}: has no values")
    return Choice(name, values)


def _step(low: Any, k: int, by: Any) -> Any:
    """0.1 + 2 * 0.1 is 0.3 here."""
    found = low + k * by
    return round(found, 12) if isinstance(found, float) else found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _plain(name: str, value: Any, kind: type) -> Any:
    """Python's own number of the parameter's kind."""
    value = value.item() if isinstance(value, np.generic) else value
    if kind is not float and isinstance(value, float) and value.is_integer():
        value = int(value)
    if kind is bool and value in (0, 1):
        return bool(value)
    if kind is int and isinstance(value, bool):
        return int(value)
    allowed: tuple[type, ...] = (int, float) if kind is float else (kind,)
    if not isinstance(value, allowed):
        raise SearchError(f"{name} = {value!r}: is not {kind.__name__}")
    return kind(value)


def size(found: Sequence[Choice]) -> int:
    """How many sets a grid has. SearchError where one range has no end of values."""
    endless = [choice.name for choice in found if choice.values is None]
    if endless:
        raise SearchError(f"{', '.join(endless)}: a grid needs a step, as (low, high, step); or method='random'")
    return math.prod(len(choice.values or ()) for choice in found)


def nth(found: Sequence[Choice], number: int) -> dict[str, Any]:
    """The set with this number."""
    chosen: dict[str, Any] = {}
    for choice in reversed(found):
        number, at = divmod(number, len(choice.values or ()))
        chosen[choice.name] = (choice.values or ())[at]
    return {choice.name: chosen[choice.name] for choice in found}


def grid(found: Sequence[Choice], where: Where | None = None) -> list[dict[str, Any]]:
    """Every set that `where` lets through, in order."""
    count = size(found)
    if count > SETS_MAX:
        raise SearchError(f"a grid of {count:,} sets, more than {SETS_MAX:,}: use steps, or method='random'")
    kept = [chosen for chosen in (nth(found, k) for k in range(count)) if where is None or where(chosen)]
    if not kept:
        raise SearchError("`where` lets no set of the grid through")
    return kept


def drawn(found: Sequence[Choice], trials: int, seed: int, where: Where | None = None) -> list[dict[str, Any]]:
    """`trials` different sets, drawn evenly; fewer where there are not as many. The same for the same seed."""
    if all(choice.values is not None for choice in found) and size(found) <= min(SETS_MAX, 20 * trials):
        everything = grid(found, where)
        order = np.random.default_rng(seed).permutation(len(everything))[:trials]
        return [everything[k] for k in order.tolist()]
    seen: dict[str, dict[str, Any]] = {}
    for chosen in _draws(found, seed, 1000 * trials):
        if where is None or where(chosen):
            seen.setdefault(key(chosen), chosen)
        if len(seen) == trials:
            break
    if not seen:
        raise SearchError(f"`where` lets none of {1000 * trials:,} draws through")
    return list(seen.values())


def _draws(found: Sequence[Choice], seed: int, most: int) -> Iterator[dict[str, Any]]:
    draw = np.random.default_rng(seed)
    for _ in range(most):
        yield {choice.name: choice.at(share) for choice, share in zip(found, draw.random(len(found)), strict=True)}


def key(chosen: Mapping[str, Any]) -> str:
    """A set by its content: the same for equal sets, whatever the order of the names."""
    return ",".join(f"{name}={chosen[name]!r}" for name in sorted(chosen))
