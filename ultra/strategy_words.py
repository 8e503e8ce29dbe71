"""The words of Python that have no place in a strategy's hooks, each with what it does there and what to write instead.

Tables only; `strategy_check` reads the source and looks here. The last of three, where there are three: True for what
only looks (print, text), which is allowed while the JIT is off, so that a hook can be debugged.
Known bad case: a word that is in no table is the compiler's to refuse.
"""

from typing import Final

ROLES: Final = ("state", "params", "event", "market", "orders", "desk")

_ALLOCATE: Final = "a hook may not allocate: "
FIELD: Final = _ALLOCATE + "keep the numbers in a field, `window: float = state(length=20)`, and loop over its indices"
_ALONE: Final = "a hook talks to nobody: keep the numbers in state and read them from outside, or in a projection"
_RAISE: Final = "a market event is never an exception: return, or count it in a field of state"
_ONCE: Final = "import it above the class: a hook runs for every event"

STATEMENTS: Final[dict[str, tuple[str, str, bool]]] = {
    "List": ("makes a list", FIELD + "; a tuple of fixed numbers, (1, 2), is allowed", False),
    "ListComp": ("makes a list", FIELD, False),
    "GeneratorExp": ("makes a generator", "loop with for k in range(...) and add up in a variable", False),
    "Dict": ("makes a dict", FIELD + "; index it by the number that was the key", False),
    "DictComp": ("makes a dict", FIELD, False),
    "Set": ("makes a set", FIELD + "; a flag for each number that may be in it", False),
    "SetComp": ("makes a set", FIELD, False),
    "JoinedStr": ("formats text", "text does not exist in the hot path: keep the numbers in state, format them outside",
                  True),
    "AsyncFunctionDef": ("makes a coroutine", "a hook runs to its end at once; on_timer comes back later", False),
    "ClassDef": ("makes a class", "a strategy is one class of fields; make more fields", False),
    "Import": ("imports", _ONCE, True),
    "ImportFrom": ("imports", _ONCE, True),
    "Try": ("catches exceptions", "nothing in the hot path raises: test the numbers before, as `if x != 0`", False),
    "TryStar": ("catches exceptions", "nothing in the hot path raises: test the numbers before", False),
    "Raise": ("raises an exception", _RAISE, False),
    "Assert": ("asserts", _RAISE, False),
    "With": ("opens a with block", "there is nothing to close: files and locks have no place in the hot path", False),
    "AsyncWith": ("awaits", "a hook runs to its end at once; on_timer comes back later", False),
    "AsyncFor": ("awaits", "a hook runs to its end at once; on_timer comes back later", False),
    "Await": ("awaits", "a hook runs to its end at once; on_timer comes back later", False),
    "Yield": ("yields", "a hook runs to its end at once: keep where you are in a field of state", False),
    "YieldFrom": ("yields", "a hook runs to its end at once: keep where you are in a field of state", False),
    "Global": ("changes a global", "what a strategy remembers is a field made with state()", False),
    "Nonlocal": ("changes a variable outside", "what a strategy remembers is a field made with state()", False),
    "Delete": ("deletes", "fields stay: write 0 or NONE into them", False),
    "Match": ("uses match", "write if and elif", False),
    "Starred": ("unpacks with *", "name the values one by one", False),
}  # fmt: skip

BUILTINS: Final[dict[str, tuple[str, str, bool]]] = {
    "print": ("prints", _ALONE + "; with ULTRA_JIT=0 print works", True),
    "breakpoint": ("stops in the debugger", "run it with ULTRA_JIT=0, where it works", True),
    "input": ("asks the user", _ALONE, False),
    "open": ("opens a file", "a hook touches no file: give it parameters, and read its state from outside", False),
    "list": ("makes a list", FIELD, False),
    "dict": ("makes a dict", FIELD, False),
    "set": ("makes a set", FIELD, False),
    "frozenset": ("makes a set", FIELD, False),
    "bytearray": ("makes a buffer", FIELD, False),
    "bytes": ("makes text", "use a whole number as a code", False),
    "str": ("makes text", "use a whole number as a code, and format it outside", True),
    "repr": ("makes text", "use a whole number as a code, and format it outside", True),
    "format": ("makes text", "use a whole number as a code, and format it outside", True),
    "sorted": ("makes a sorted list", _ALLOCATE + "keep the numbers in order as they come, or use an indicator", False),
    "map": ("makes an iterator", "loop with for k in range(...)", False),
    "filter": ("makes an iterator", "loop with for k in range(...)", False),
    "sum": ("adds up an iterable", "loop with for k in range(...) and add up in a variable", False),
    "any": ("looks through an iterable", "loop with for k in range(...)", False),
    "all": ("looks through an iterable", "loop with for k in range(...)", False),
    "eval": ("evaluates text", "a hook is compiled before the run: write the code itself", False),
    "exec": ("executes text", "a hook is compiled before the run: write the code itself", False),
    "getattr": ("looks a field up by text", "name it: state.x", False),
    "setattr": ("sets a field by text", "name it: state.x = ...", False),
    "hasattr": ("looks a field up by text", "fields are fixed: name it", False),
    "isinstance": ("asks for a type", "every field has one type, the declared", False),
    "type": ("asks for a type", "every field has one type, the declared", True),
    "super": ("calls super", "a hook has no self: write a @hot function above both classes, and call that", False),
    "pow": ("calls the built-in pow", "use ultra.math.pow, which is the same everywhere, or x * x", False),
}  # fmt: skip

_DRAW: Final = "a replay could not repeat it: use ultra.random.uniform(desk)"
_CLOCK: Final = "the time of an event is event.ts_event, in ns since 1970 UTC; on_timer comes by engine.timer_ns"
MODULES: Final[dict[str, tuple[str, str]]] = {
    "time": ("reads a clock", "a replay could not repeat it: " + _CLOCK),
    "datetime": ("makes a date", _CLOCK),
    "random": (
        "draws from a hidden state",
        _DRAW,
    ),
    "secrets": (
        "draws from the machine",
        _DRAW,
    ),
    "uuid": ("draws from the machine", _DRAW),
    "os": ("asks the system", _ALONE),
    "sys": ("asks the interpreter", _ALONE),
    "logging": ("writes a log", _ALONE),
    "socket": ("talks to a network", _ALONE),
    "requests": ("talks to a network", _ALONE),
    "asyncio": ("waits", "a hook runs to its end at once; on_timer comes back later"),
    "threading": ("starts a thread", "the engine is one thread: use on_timer"),
    "multiprocessing": ("starts a process", "the engine is one thread: use on_timer"),
    "subprocess": ("starts a process", _ALONE),
    "json": ("makes text", "use whole numbers, and format them outside"),
    "re": ("reads text", "text does not exist in the hot path: use a whole number as a code"),
    "pandas": ("makes a frame", FIELD),
    "polars": ("makes a frame", FIELD),
    "scipy": ("leaves the hot path", "use ultra.math and ultra.hot.indicators, or a @hot function of your own"),
    "collections": ("makes a container", FIELD),
    "decimal": ("makes an object", "money is whole ticks x lots: int is exact"),
    "statistics": ("makes a list", "use an indicator, or sums kept in state"),
    "itertools": ("makes an iterator", "loop with for k in range(...)"),
    "functools": ("makes a function", "write it above the class, with @hot above its def"),
}

# Of NumPy: what makes a new array. Of NumPy and math: what is rounded by the machine's own library, and its name here.
ALLOCATES: Final = frozenset((
    "zeros", "ones", "empty", "full", "array", "asarray", "arange", "linspace", "append", "concatenate", "stack",
    "vstack", "hstack", "copy", "zeros_like", "ones_like", "empty_like", "full_like", "sort", "argsort", "unique",
    "diff", "cumsum", "cumprod", "where", "roll", "tile", "repeat", "dot", "outer", "mean", "std", "var", "median",
    "percentile", "quantile", "corrcoef", "cov", "convolve", "polyfit", "sum", "prod",
))  # fmt: skip
INEXACT: Final = {
    "exp": "exp", "expm1": "expm1", "log": "log", "log1p": "log1p", "log2": "log, divided by log(2.0)",
    "log10": "log, divided by log(10.0)", "pow": "pow", "power": "pow", "sin": "sin", "cos": "cos",
    "tan": "sin, divided by cos", "tanh": "tanh", "erf": "erf", "erfc": "erfc",
    "exp2": "pow(2.0, x)", "float_power": "pow", "cbrt": "pow(x, 1.0 / 3.0)", "hypot": "sqrt(x * x + y * y)",
    "sinh": "exp of x, less that of -x, halved", "cosh": "exp of x, and that of -x, halved",
    **dict.fromkeys(("asinh", "arcsinh"), "log(x + sqrt(x * x + 1.0))"),
    **dict.fromkeys(("acosh", "arccosh"), "log(x + sqrt(x * x - 1.0))"),
    **dict.fromkeys(("atanh", "arctanh"), "log1p(2.0 * x / (1.0 - x)), halved"),
    **dict.fromkeys(("asin", "acos", "atan", "atan2", "arcsin", "arccos", "arctan", "arctan2", "gamma", "lgamma",
                     "logaddexp", "logaddexp2"), "sqrt, log and what else there is: a series in a @hot function"),
}  # fmt: skip
FLOATS: Final = frozenset((
    "float", "exp", "expm1", "log", "log1p", "pow", "sin", "cos", "tanh", "erf", "erfc", "normal_cdf",
    "normal_quantile", "sqrt", "floor", "ceil", "trunc", "fabs", "uniform", "normal",
))  # fmt: skip
# Arguments of what sends orders, by name.
ORDERS: Final = {
    "buy": ("orders", "price", "qty", "flags"),
    "sell": ("orders", "price", "qty", "flags"),
    "buy_of": ("orders", "instrument", "price", "qty", "flags"),
    "sell_of": ("orders", "instrument", "price", "qty", "flags"),
    "buy_at_market": ("orders", "qty", "instrument"),
    "sell_at_market": ("orders", "qty", "instrument"),
    "replace": ("orders", "handle", "price", "qty", "flags"),
    "cancel": ("orders", "handle"),
    "target": ("orders", "market", "qty", "price", "flags", "instrument"),
}
