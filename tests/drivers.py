"""Loops of the tests that run compiled: Python's own pace is a thousand times the engine's.

`driver` compiles like the engine's `entry`, and keeps the machine code under the text of the file that the loop is in;
what it inlines of the engine is in the key of the cache folder already.
Known bad case: a hot function imported from another test file is not in the key.
"""

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ultra.hot import entry


def driver(function: Callable[..., Any]) -> Callable[..., Any]:
    text = Path(inspect.getfile(function)).read_bytes()
    compiled: Callable[..., Any] = entry(function, key=hashlib.sha256(text).hexdigest()[:20])
    return compiled
