"""What the lab needs beyond the engine, imported where it is used: an install without the extra reads ITCH, captures,
CSV and raw tapes all the same, and says what to install where it can't go on."""

from importlib import import_module
from typing import Any


class LabError(Exception):
    """Something of the lab is not installed: says which package, and how to get it."""


def need(name: str) -> Any:
    """A package of the extra `lab`; LabError when it is not there."""
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise LabError(f"this needs {package}: pip install 'ultra-engine[lab]'") from error
