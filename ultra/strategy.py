"""What a strategy is: a class of annotated fields and plain functions over records.

    class Taker(Strategy):
        order_qty: int = parameter(100)          # set from outside, the same for every instrument
        seen: int = state()                 # kept by the engine, one per instrument
        def on_book(state, params, event, market, orders): ...

Parameters and state become aligned records, so the same bytes live in numpy, in native code, in WebAssembly and on a
GPU; the functions are compiled as they stand, and run as they stand when the JIT is off. They must not allocate, read
a clock or draw random numbers, so a journal replays them bit for bit.
Known bad case: `self` does not exist; a function that names an undeclared field fails when it compiles.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from . import cache
from . import strategy_check as checks
from .hot import JIT, hot, memory
from .hot.engine import Hooks
from .hot.market import DEPTH_MAX
from .strategy_problem import said, translated
from .strategy_words import ROLES

HOOKS = ("on_book", "on_trade", "on_bar", "on_fill", "on_order", "on_timer", "on_command")
_TYPES = (int, float, bool)


class StrategyError(Exception):
    """A strategy that can't be loaded: names the file or class, what is wrong, and what to write instead."""


@dataclass(frozen=True)
class _Field:
    kind: str  # "parameter" or "state"
    default: int | float | bool
    low: float | None
    high: float | None
    shape: tuple[int, ...]
    dtype: Any = None  # of a state that is a record of its own: an indicator's memory


def parameter(default: Any, *, low: float | None = None, high: float | None = None) -> Any:
    """A value set from outside before the run; `low` and `high` bound it (both included)."""
    return _Field("parameter", default, low, high, ())


def state(default: Any = 0, *, length: int | None = None) -> Any:
    """A value kept between events, one per instrument; with `length` an array."""
    return _Field("state", default, None, None, () if length is None else (length,))


def indicator(kind: Any, length: int = 0) -> Any:
    """An indicator's memory, one per instrument, for windows of up to `length` values: `fast: Any = indicator(sma,
    200)`, then `sma(state.fast, price, 20)` in a hook (`ultra.indicators`)."""
    return _Field("state", 0, None, None, (), kind.dtype(length))


class Strategy:
    """Base class. Override any of the HOOKS.

    Each is called as `(state, params, event, market, orders)`: the instrument's state, the parameters, the record
    that caused the call (`ultra.wire.RECORD`), what is known of the instrument (`ultra.hot.market.MARKET`) and where to
    put requests (`ultra.hot.outbox`). One that takes a sixth argument also gets the `ultra.hot.engine.Desk`, which has
    every instrument. `depth` says how many levels of `market.bids` and `market.asks` are kept."""

    depth: ClassVar[int] = 1


class Loaded(NamedTuple):
    """A strategy ready to be bound: its compiled hooks, its records, and the key of its code."""

    spec: str
    hooks: Hooks
    sources: dict[str, Callable[..., None]]  # the hooks it has, as they were written
    state_dtype: Any
    params_dtype: Any
    fields: dict[str, _Field]
    fingerprint: str


@hot
def ignore(state: Any, params: Any, event: Any, market: Any, orders: Any, desk: Any) -> None:
    """The hook a strategy does not have."""


class Idle(Strategy):
    """Does nothing: the engine as a book builder."""


def load(spec: str | type) -> Loaded:
    """Load `package.module:Class`, `path/to/file.py:Class` or a class."""
    cls = _find(spec) if isinstance(spec, str) else spec
    name = spec if isinstance(spec, str) else f"{cls.__module__}:{cls.__qualname__}"
    if not (isinstance(cls, type) and issubclass(cls, Strategy)):
        raise StrategyError(f"{name} is not a subclass of ultra.Strategy")
    fields = _fields(cls, name)
    hooks = {hook: inspect.getattr_static(cls, hook, None) for hook in HOOKS}
    functions = {hook: _function(cls, hook, value) for hook, value in hooks.items()}
    depth = cls.depth
    if not 1 <= depth <= DEPTH_MAX:
        raise StrategyError(f"{name}.depth = {depth}: must be 1 to {DEPTH_MAX}")
    wanted = [function for function in functions.values() if function is not ignore]
    _read(name, fields, depth, {hook: function for hook, function in functions.items() if function is not ignore})
    compiled = {hook: value if value is ignore else _taking_desk(value) for hook, value in functions.items()}
    digest = hashlib.sha256(cache.fingerprint(*wanted).encode())
    digest.update(repr((depth, sorted(functions), _dtype(fields, "state"), _dtype(fields, "parameter"))).encode())
    digest.update(repr([hook for hook in HOOKS if functions[hook] is not ignore]).encode())
    # A parameter's value is a record of the journal; what a state begins with is only here.
    digest.update(repr([(key, field.default) for key, field in fields.items() if field.kind == "state"]).encode())
    return Loaded(
        name,
        Hooks(**compiled, depth=depth, hears_bars=functions["on_bar"] is not ignore),
        {hook: function for hook, function in functions.items() if function is not ignore},
        _dtype(fields, "state"),
        _dtype(fields, "parameter"),
        fields,
        digest.hexdigest()[:20],
    )


def untold(loaded: Loaded, error: Exception) -> StrategyError:
    """What the compiler says of a strategy (a NumbaError, or the KeyError of a field), in a strategist's words."""
    if isinstance(error, KeyError):
        return StrategyError(f"{loaded.spec} names the field {error}, which neither it nor `event` nor `market` has")
    return StrategyError(f"{loaded.spec} can't run on the hot path\n{translated(error, loaded.sources)}")


def _find(spec: str) -> Any:
    where, _, name = spec.rpartition(":")
    if not where or not name:
        raise StrategyError(f"strategy {spec!r}: write package.module:Class or path/to/file.py:Class")
    try:
        module = _from_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except ImportError as error:
        raise StrategyError(f"strategy {spec!r}: {error}") from error
    found = getattr(module, name, None)
    if found is None:
        classes = [
            n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, Strategy) and v is not Strategy
        ]
        raise StrategyError(f"strategy {spec!r}: no class {name}; there are {', '.join(classes) or 'none'}")
    return found


def absolute(spec: str) -> str:
    """The same strategy, named so that it is found from any folder."""
    where, _, name = spec.rpartition(":")
    return f"{Path(where).resolve()}:{name}" if where.endswith(".py") else spec


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise StrategyError(f"strategy file {path} does not exist")
    name = f"ultra_strategy_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    found.loader.exec_module(module)
    return module


def _function(cls: type, hook: str, value: Any) -> Callable[..., None]:
    if value is None:
        return ignore
    function = value.__func__ if isinstance(value, staticmethod) else value
    names = list(inspect.signature(function).parameters)
    if len(names) not in (5, 6) or "self" in names:
        raise StrategyError(
            f"{cls.__qualname__}.{hook}({', '.join(names)}): takes exactly "
            f"({', '.join(ROLES[:5])}), no self; with a sixth, desk, it sees every instrument"
        )
    return function


def _read(name: str, fields: Mapping[str, _Field], depth: int, hooks: Mapping[str, Callable[..., None]]) -> None:
    """StrategyError when the source of a hook says what can't be said there."""
    known = {
        key: checks.Field(field.kind, isinstance(field.default, float), field.shape[0] if field.shape else 0)
        for key, field in fields.items()
    }
    found = checks.problems(checks.Subject(known, depth), hooks)
    if found:
        raise StrategyError(f"{name} can't run on the hot path\n{said(found)}")


def _taking_desk(function: Callable[..., None]) -> Callable[..., None]:
    """The compiled hook, with six arguments whether it has a use for the last or not."""
    compiled = hot(function)
    if len(inspect.signature(function).parameters) == 6:
        return compiled

    @hot
    def without_desk(state: Any, params: Any, event: Any, market: Any, orders: Any, desk: Any) -> None:
        compiled(state, params, event, market, orders)

    return without_desk


def _fields(cls: type, name: str) -> dict[str, _Field]:
    found: dict[str, _Field] = {}
    for base in reversed(cls.__mro__):
        annotations = inspect.get_annotations(base, eval_str=True)
        for key, value in base.__dict__.items():
            if isinstance(value, _Field) and key not in annotations:
                raise StrategyError(f"{name}.{key}: say its type, as {key}: int = {value.kind}(...)")
        for key, annotation in annotations.items():
            value = base.__dict__.get(key)
            if isinstance(value, _Field):
                found[key] = _typed(f"{name}.{key}", annotation, value)
            elif key != "depth":
                raise StrategyError(f"{name}.{key}: give it a value, parameter(...) or state(...)")
    return found


def _typed(name: str, annotation: Any, field: _Field) -> _Field:
    """The field with a default of the annotated type: `edge: float = parameter(0)` is a float."""
    if field.dtype is not None:
        return field
    if annotation not in _TYPES:
        raise StrategyError(f"{name}: {getattr(annotation, '__name__', annotation)} is not int, float or bool")
    if annotation is float:
        return replace(field, default=float(field.default))
    if not isinstance(field.default, int):
        raise StrategyError(f"{name} = {field.default!r}: is not {annotation.__name__}")
    return field


def _dtype(fields: Mapping[str, _Field], kind: str) -> Any:
    columns: list[Any] = [
        (key, field.dtype or ("f8" if isinstance(field.default, float) else "i8"), field.shape)
        for key, field in fields.items()
        if field.kind == kind
    ]
    return np.dtype(columns or [("unused", "i8")], align=True)


class _Named(np.record):  # type: ignore[misc]
    """A record whose fields come before NumPy's own attributes: without the JIT `params.order_qty` is the field too."""

    def __getattribute__(self, name: str) -> Any:
        fields = np.void.__getattribute__(self, "dtype").fields
        if name not in fields:
            return np.record.__getattribute__(self, name)
        found = self[name]
        return found.view(np.dtype((_Named, found.dtype))) if isinstance(found, np.void) else found


def _records(count: int, dtype: Any) -> Any:
    rows = memory.zeros(count, dtype)
    return rows if JIT else rows.view(np.ndarray).view(np.dtype((_Named, dtype)))


def states(loaded: Loaded, instruments: int) -> Any:
    """The state records of a run, every field at its default."""
    rows = _records(instruments, loaded.state_dtype)
    for key, field in loaded.fields.items():
        if field.kind == "state" and field.default:
            rows[key] = field.default
    return rows


def parameters(loaded: Loaded, given: Mapping[str, int | float | bool]) -> Any:
    """The parameter record: defaults, overridden by `given`. StrategyError names every wrong one at once."""
    own = {key: field for key, field in loaded.fields.items() if field.kind == "parameter"}
    wrong = [f"{key}: no such parameter; there are {', '.join(own) or 'none'}" for key in given if key not in own]
    row = _records(1, loaded.params_dtype)
    for key, field in own.items():
        value = given.get(key, field.default)
        if isinstance(field.default, int) and not isinstance(value, int):
            wrong.append(f"{key} = {value!r}: must be a whole number")
        elif not ((field.low is None or value >= field.low) and (field.high is None or value <= field.high)):
            wrong.append(f"{key} = {value!r}: must be {field.low} to {field.high}")
        else:
            row[key] = value
    if wrong:
        raise StrategyError(f"{loaded.spec}: " + "; ".join(wrong))
    return row
