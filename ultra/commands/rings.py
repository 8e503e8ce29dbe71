"""`ultra ring` and `ultra bench`: shared memory seen from outside, and how fast it is."""

import argparse
import contextlib
import json
import sys
from typing import Any

from ..config import ConfigError
from . import DONE, NO, command


def add(commands: Any) -> None:
    """Both."""
    _add_ring(commands)
    _add_bench(commands)


def _add_ring(commands: Any) -> None:
    parser = command(
        commands, "ring", _ring_list, "Shared memory of running and dead engines: list it, watch it, clean it.",
        "ultra ring ls",
    )  # fmt: skip
    inside = parser.add_subparsers(required=True, metavar="ls|show|tail|clean")
    listing = command(
        inside, "ls", _ring_list, "Every segment, how far each side is, and whose it is.", "ultra ring ls"
    )
    show = command(
        inside, "show", _ring_show, "Sequences, lag of each consumer, and rates. Exit code 1 when its owner is dead.",
        "ultra ring show desk.journal --watch",
    )  # fmt: skip
    show.add_argument("--watch", action="store_true", help="again and again, until its owner ends")
    show.add_argument("--interval", type=float, default=1.0, metavar="S", help="seconds of a rate (default 1)")
    tail = command(
        inside, "tail", _ring_tail, "The last records that are certainly whole, decoded.",
        "ultra ring tail desk.journal -n 20 --follow",
    )  # fmt: skip
    tail.add_argument("-n", "--count", type=int, default=10, metavar="N", help="how many (default 10)")
    tail.add_argument("--follow", action="store_true", help="then those that come, until the owner ends")
    clean = command(
        inside, "clean", _ring_clean,
        "Remove segments whose owner is dead. Exit code 1 when some are left that can't be judged.", "ultra ring clean",
    )  # fmt: skip
    for each in (show, tail):
        each.add_argument("name", metavar="NAME", help="SESSION.RING, as ultra ring ls shows it")
    for each in (listing, show, tail, clean):
        each.add_argument("--json", action="store_true", help="one JSON object a reading on stdout, for machines")


def _ring_list(given: argparse.Namespace) -> int:
    from ..ops import rings

    rows = rings.listing()
    print(json.dumps(rows) if given.json else rings.listing_text(rows))
    return DONE


def _ring_show(given: argparse.Namespace) -> int:
    if not 0 < given.interval < 1e6:
        raise ConfigError("command line", (f"--interval {given.interval}: wanted seconds, more than 0",))
    from ..ops import rings

    alive = True
    with contextlib.suppress(KeyboardInterrupt):  # the way out of --watch
        for found in rings.watch(given.name, given.interval, given.watch):
            print(json.dumps(found) if given.json else rings.watch_text(found), flush=True)
            alive = found["alive"]
    return DONE if alive else NO


def _ring_tail(given: argparse.Namespace) -> int:
    if given.count < 0:
        raise ConfigError("command line", (f"-n {given.count}: wanted 0 or more",))
    from ..ops import rings

    with contextlib.suppress(KeyboardInterrupt):  # the way out of --follow
        for found in rings.tail(given.name, given.count, given.follow):
            lines = [json.dumps(found)] if given.json else rings.tail_text(found)
            for line in lines:
                print(line, flush=True)
    return DONE


def _ring_clean(given: argparse.Namespace) -> int:
    from ..ops import rings

    found = rings.clean()
    if given.json:
        print(json.dumps(found))
    else:
        print("\n".join([f"removed {name}" for name in found["removed"]] or ["nothing to remove"]))
        for refused in found["refused"]:
            print(f"ultra: {refused}", file=sys.stderr)
    return NO if found["refused"] else DONE


def _add_bench(commands: Any) -> None:
    parser = command(
        commands, "bench", _bench, "How fast the rings are between two pinned processes of this machine.",
        "ultra bench ring",
    )  # fmt: skip
    inside = parser.add_subparsers(required=True, metavar="ring|pingpong|fan|crowd")
    for name, about in (
        ("ring", "One producer, one consumer: records a second, and the batch that the consumer saw."),
        ("pingpong", "Two rings, one record there and one back: percentiles of the round trip."),
        ("fan", "One producer, many consumers: one, and a diamond of three that share a core."),
        ("crowd", "Many producers, one consumer: one paying for the claim, and two that contend."),
    ):
        each = command(
            inside, name, _bench, f"{about} Exit code 1 when a record was not whole.",
            f"ultra bench {name} --cores 2,3 --rounds 9",
        )  # fmt: skip
        each.set_defaults(word=name)
        each.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")
        each.add_argument("--records", type=int, default=0, metavar="N", help="in each round of each case")
        each.add_argument("--capacity", type=int, default=0, metavar="N", help="slots, a power of two")
        if name != "pingpong":
            each.add_argument("--batch", type=int, default=0, metavar="N", help="records published at once")
        each.add_argument("--cores", default="", metavar="A,B", help="of the two sides (default the last two)")
        each.add_argument("--rounds", type=int, default=7, metavar="K", help="of all cases in turn (default 7)")


def _bench(given: argparse.Namespace) -> int:
    from ..ops import bench

    asked = bench.asked(
        given.word, given.records, given.capacity, getattr(given, "batch", 0), given.cores, given.rounds
    )
    found = bench.measure(*asked)
    print(json.dumps(found) if given.json else bench.as_text(found))
    return NO if found["bad"] else DONE
