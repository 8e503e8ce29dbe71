"""What a planted bug is: a file, old text that occurs in it exactly once, new text, and the test that must see it."""

from typing import NamedTuple


class Mutant(NamedTuple):
    file: str
    old: str
    new: str
    test: str
