"""A replay in the interpreter, stopped where one input enters the engine: the same source, with lines and variables.

Compiled code has neither, so `ultra replay --pdb` starts itself again with the JIT off; the hashes are the same, and
the debugger stands at the first line of `step` with `record` in its hands. `s` and `n` lead through the path into the
strategy. Known bad case: a thousandth of the compiled speed, so begin at a snapshot or in a capsule.
"""

import argparse
import bdb
import dis
import inspect
import os
import pdb
import sys

from ..cold.replay import Replay, Replayed


def interpreted(given: argparse.Namespace) -> int:
    """The same command in a process with the JIT off; its exit code."""
    words = [sys.executable, "-m", "ultra", "replay", str(given.folder), "--until", str(given.until), "--pdb"]
    for name in ("source", "strategy", "from_snapshot"):
        if getattr(given, name) is not None:
            words += [f"--{name.replace('_', '-')}", str(getattr(given, name))]
    words += [f"--{name}" for name in ("force", "fast", "prove", "json") if getattr(given, name)]
    sys.stdout.flush()
    return os.spawnvpe(os.P_WAIT, sys.executable, words, os.environ | {"ULTRA_JIT": "0"})


def stop_at(replay: Replay, until: int) -> Replayed:
    """Replay to an input, and handle it in the debugger."""
    replay.begin(replay.journaled())
    replay.advance(until)
    step = inspect.getclosurevars(replay.machine.pump).nonlocals["step"].__code__
    first = [line for _, line in dis.findlinestarts(step)][1]  # the first is that of its decorator
    debugger = pdb.Pdb()
    debugger.rcLines += [f"tbreak {step.co_filename}:{first}", "continue"]
    try:
        debugger.runcall(replay.advance, until + 1)
    except bdb.BdbQuit:
        sys.exit(1)
    if debugger.get_all_breaks():
        print(f"ultra: input {until} is about the run itself, so it never comes to the strategy", file=sys.stderr)
    return replay.finish()
