"""`ultra venue` and `ultra load`: an exchange as a process, and what puts it under load."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from ..config import ConfigError
from . import DONE, NO, command, configuration, load_config, show_compiling, venue_at


def add(commands: Any) -> None:
    """Both."""
    _add_venue(commands)
    _add_load(commands)


def _add_venue(commands: Any) -> None:
    parser = command(
        commands, "venue", _venue,
        "Be an exchange: OUCH 5.0 orders in, ITCH 5.0 over MoldUDP64 out, traders inside; [exchange] says which.\n"
        "Passwords come from an account's password_file or the environment (ULTRA_PASSWORD_USER, ULTRA_PASSWORD),\n"
        "or are made up and left in the venue's folder; never from the command line.",
        "ultra venue --port-file venue.json --set exchange.pre_open_ms=5000",
    )  # fmt: skip
    parser.add_argument(
        "--journal", type=Path, metavar="DIR",
        help="folder of its log (default runs/venue-TIME); one that is there is gone on with, after a crash",
    )  # fmt: skip
    parser.add_argument("--port-file", type=Path, metavar="FILE", help="also write the addresses there, as JSON")
    parser.add_argument("--seconds", type=float, metavar="S", help="end the day in good order after so long")
    configuration(parser)
    inside = parser.add_subparsers(metavar="ctl")
    ctl = command(
        inside, "ctl", _ctl,
        "Say a word to a running venue: halt|resume|uncross SYMBOL, auction SYMBOL [open|close], disconnect USER,\n"
        "drop|duplicate|reorder PERMILLE, delay PERMILLE [PACKETS], request-server off|on, status, stop.",
        "ultra venue ctl --socket runs/venue-1/operator.sock halt AAPL",
    )  # fmt: skip
    ctl.add_argument("--socket", type=Path, required=True, metavar="S", help="its `operator` address")
    ctl.add_argument("words", nargs="+", metavar="WORD")


def _venue(given: argparse.Namespace) -> int:
    if given.seconds is not None and not 0 < given.seconds < 1e6:
        raise ConfigError("command line", (f"--seconds {given.seconds}: wanted more than 0",))
    config = load_config(given)
    from ..ops import venue

    show_compiling()
    folder = given.journal or Path("runs") / time.strftime("venue-%Y%m%dT%H%M%S")
    found = venue.run(config, folder, seconds=given.seconds, port_file=given.port_file, as_json=given.json)
    print(json.dumps(found) if given.json else venue.as_text(found))
    return DONE


def _ctl(given: argparse.Namespace) -> int:
    from ..cold import operator

    print(json.dumps(operator.ask(given.socket, given.words)))
    return DONE


def _add_load(commands: Any) -> None:
    parser = command(
        commands, "load", _load,
        "Put a venue under load: N clients, an open loop, latency from the moment an order was due to its answer.\n"
        "Passwords come from --password-file or the environment (ULTRA_OUCH_PASSWORD), never from the command line.",
        "ultra load --venue ouch://TRADER@127.0.0.1:4003 --clients 1 --rate 10000 --seconds 10",
    )  # fmt: skip
    parser.add_argument(
        "--venue",
        required=True,
        metavar="ADDRESSES",
        help="ouch://USER@HOST:PORT for each client, with commas; or the port file of a venue",
    )
    parser.add_argument("--clients", type=int, metavar="N", help="how many of them (default all)")
    parser.add_argument("--rate", default="1000/s", metavar="R/s", help="messages a second, of all clients together")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="for how long (default 5)")
    parser.add_argument("--instrument", action="append", default=[], metavar="SYMBOL", help="what to trade (ULTRA)")
    parser.add_argument("--price", default="100", metavar="P", help="price around which it trades (default 100)")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="lines of USER PASSWORD, as a venue leaves")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")


def _load(given: argparse.Namespace) -> int:
    from ..ops import load

    show_compiling()
    try:
        addresses, more = venue_at(given.venue)
    except ValueError as error:
        raise ConfigError("command line", (f"--venue {error}",)) from None
    passwords = given.password_file or (Path(more["link.password_file"]) if more else None)
    found = load.run(
        load.wanted(addresses, given.clients, passwords), rate=load.rate(given.rate),
        seconds=given.seconds, symbols=given.instrument or ["ULTRA"], price=given.price, seed=given.seed,
    )  # fmt: skip
    print(json.dumps(found) if given.json else load.as_text(found))
    return DONE if found["answered"] == found["sent"] else NO
