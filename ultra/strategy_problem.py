"""One finding in a strategy: where it is, with the line and a caret, what can't be there, and what to write instead.

`strategy_check` finds most of them in the source; what only the compiler finds gets the same form here, as far as its
words name a line of the strategy's own file.
Known bad case: the compiler names a line and no column, so the caret then stands under the line's first word.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

PROBLEMS_MAX = 8


class Problem(NamedTuple):
    """One finding."""

    path: str
    line: int
    column: int  # of the caret, from 0
    text: str  # the source line
    what: str
    instead: str

    def __str__(self) -> str:
        gutter = " " * len(str(self.line))
        caret = "".join("\t" if letter == "\t" else " " for letter in self.text[: self.column]) + "^"
        lines = [f"{self.path}:{self.line}: {self.what}", f"  {self.line} | {self.text}", f"  {gutter} | {caret}"]
        return "\n".join([*lines, f"  {gutter} = {self.instead}"])


def said(found: list[Problem]) -> str:
    """The first of them as text, one below the other."""
    more = [f"and {len(found) - PROBLEMS_MAX} more"] if len(found) > PROBLEMS_MAX else []
    return "\n".join([*map(str, found[:PROBLEMS_MAX]), *more])


_SEEN = re.compile(r'File "([^"]+)", line (\d+)')


def translated(error: Exception, hooks: Mapping[str, Callable[..., Any]]) -> str:
    """The compiler's words about these functions, in the form of the findings above."""
    own = {str(Path(hook.__code__.co_filename).resolve()) for hook in hooks.values()}
    text = str(error)
    places = [(str(Path(path).resolve()), int(line)) for path, line in _SEEN.findall(text)]
    places = [(path, line) for path, line in places if path in own]
    words = [line.strip() for line in text.splitlines() if line.strip()]
    words = [line for line in words if not line.startswith(("Failed in", "During:", "File ", "-", "<source", "^"))]
    why = " ".join(words[:3])[:300] or type(error).__name__
    instead = "a hook may use numbers, its fields, and hot functions; with ULTRA_JIT=0 the interpreter runs it"
    if not places:
        return f"does not compile for the hot path: {why}\n  = {instead}"
    path, line = places[-1]
    source = _line_of(path, line)
    column = len(source) - len(source.lstrip())
    return str(Problem(path, line, column, source, f"does not compile for the hot path: {why}", instead))


def _line_of(path: str, line: int) -> str:
    try:
        return Path(path).read_text().splitlines()[line - 1]
    except (OSError, IndexError):
        return ""
