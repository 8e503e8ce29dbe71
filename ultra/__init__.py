"""An ultra-low-latency trading engine written in Python.

Importing this package costs nothing: each name is loaded when it is first used, so that a process which only reads a
journal or a metric never waits for the compiler.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .wire import ASK, BID, NONE

if os.environ.get("ULTRA_JIT") == "0":  # the interpreter runs it all: before the compiler is asked for anything
    os.environ["NUMBA_DISABLE_JIT"] = "1"
    if "numba" in sys.modules:
        sys.modules["numba"].config.DISABLE_JIT = True

if TYPE_CHECKING:
    from .accelerated import NumbaAcceleratedStrategy
    from .cold.view import attach
    from .hot.outbox import (
        AT_MARKET,
        EVERY,
        IMMEDIATE,
        POST_ONLY,
        THIS,
        buy,
        buy_at_market,
        buy_of,
        cancel,
        cancel_all,
        pending,
        replace,
        sell,
        sell_at_market,
        sell_of,
        target,
    )
    from .strategy import Strategy, indicator, parameter, state

__version__ = "0.1.0"
__all__ = [
    "ASK", "AT_MARKET", "BID", "EVERY", "IMMEDIATE", "NONE", "POST_ONLY", "THIS", "NumbaAcceleratedStrategy",
    "Strategy", "attach", "buy", "buy_at_market", "buy_of", "cancel", "cancel_all", "indicator", "parameter", "pending",
    "replace", "sell", "sell_at_market", "sell_of", "state", "target",
]  # fmt: skip

_HOMES = {
    "Strategy": "strategy", "parameter": "strategy", "indicator": "strategy", "state": "strategy",
    "attach": "cold.view", "NumbaAcceleratedStrategy": "accelerated",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ultra' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES.get(name, 'hot.outbox')}", __name__), name)
