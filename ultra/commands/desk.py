"""`ultra ctl`: what an operator asks of a run, from the command line."""

import argparse
import getpass
import json
import os
import uuid
from typing import Any

from ..config import ConfigError
from . import DONE, NO, USAGE, command, ship


def add(commands: Any) -> None:
    """One."""
    parser = command(
        commands, "ctl", _ctl, "Tell a running engine what to do. Exit code 1: the engine refuses; 2: no such command.",
        "ultra ctl desk --why 'news' halt AAPL",
    )  # fmt: skip
    parser.add_argument("session", metavar="NAME", help="the run's session (ultra run --session NAME)")
    parser.add_argument("--why", required=True, help="the reason, kept in the journal")
    parser.add_argument("--who", default="", help="who asks (default your user name)")
    parser.add_argument("--id", default="", help="done once, however often it is sent (default a new one)")
    parser.add_argument(
        "--wait",
        choices=["memory", "local", "replicated"],
        default="memory",
        help="answer once it is there (default memory)",
    )
    parser.add_argument("--timeout", type=float, default=10.0, metavar="S", help="for the answer (default 10)")
    parser.add_argument("--nats", default="", metavar="URL", help="by NATS, where an ultra bridge listens")
    ship.keys(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")
    inside = parser.add_subparsers(required=True, metavar="WHAT", dest="what")
    for name, about, words in (
        ("halt", "No new orders, of one instrument or of all.", ("instrument?",)),
        ("resume", "Orders again.", ("instrument?",)),
        ("kill", "No order any more in this run, and all are taken back.", ()),
        ("cancel", "Take one order back.", ("order",)),
        ("mass-cancel", "Take all orders back, of one instrument or of all.", ("instrument?",)),
        ("submit", "An order of your own; risk checks it as any.", ("instrument", "side", "qty", "price", "flags")),
        ("replace", "Cancel an order and send another in its place, both or none.", ("order", "qty", "price", "flags")),
        ("set-limit", "A limit of one instrument or of all.", ("limit", "value", "instrument?")),
        ("set-parameter", "A parameter of the strategy.", ("parameter", "value")),
        ("strategy", "Let the strategy send orders, or not.", ("on", "instrument?")),
    ):
        each = inside.add_parser(name, help=about, description=about)
        for word in words:
            _add_word(each, word)


def _add_word(parser: argparse.ArgumentParser, word: str) -> None:
    if word == "flags":
        parser.add_argument("--immediate", action="store_true", help="what does not trade at once is cancelled")
        parser.add_argument("--post-only", action="store_true", help="refused if any of it would trade at once")
    elif word == "instrument?":
        parser.add_argument("instrument", nargs="?", default="", metavar="INSTRUMENT", help="only this one")
    elif word == "on":
        parser.add_argument("on", choices=["on", "off"])
    elif word == "side":
        parser.add_argument("side", choices=["buy", "sell"])
    else:
        parser.add_argument(
            word, type=int if word in ("qty", "order") else str, metavar=word.upper(), help=_ABOUT.get(word)
        )


_ABOUT = {"price": "an amount, as 585.69", "order": "its number, as ultra query shows it", "qty": "lots"}


def _value(text: str, *, money: bool) -> Any:
    try:
        found: Any = json.loads(text)
    except ValueError:
        return text
    return text if money and isinstance(found, float) else found  # as written: money is never a float


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # of a container, say: a number without a name
        return str(os.getuid())


def _ctl(given: argparse.Namespace) -> int:
    if not 0 < given.timeout < 1e6:
        raise ConfigError("command line", (f"--timeout {given.timeout}: wanted seconds, more than 0",))
    words: dict[str, Any] = {
        "command": given.what.replace("-", "_"), "id": given.id or str(uuid.uuid4()),
        "who": given.who or _user(), "why": given.why, "wait": given.wait,
    }  # fmt: skip
    for name in ("instrument", "side", "qty", "price", "order", "limit", "parameter"):
        if getattr(given, name, ""):
            words[name] = getattr(given, name)
    for name in ("immediate", "post_only"):
        if getattr(given, name, False):
            words[name] = True
    if given.what == "strategy":
        words["on"] = given.on == "on"
    elif hasattr(given, "value"):
        words["value"] = _value(given.value, money=given.what == "set-limit")
    found = _ask(given, words)
    print(json.dumps(found) if given.json else as_text(found))
    return USAGE if "error" in found else DONE if found["ok"] else NO


def _ask(given: argparse.Namespace, words: dict[str, Any]) -> dict[str, Any]:
    if given.nats:
        from ..cold import bridge

        return bridge.ask(ship.place(given, given.nats), given.session, words, given.timeout)
    from ..cold import call

    return call.ask(given.session, words, given.timeout)


def as_text(found: dict[str, Any]) -> str:
    """An answer in one line."""
    if "error" in found:
        return f"not taken: {found['error']}"
    said = "done" if found["ok"] else f"refused: {found['reason']}"
    parts = [said, f"input {found['sequence']} ({found['durability']})"]
    if found["order"] is not None:
        parts.append(f"order {found['order']}")
    if found["cancels"]:
        parts.append(f"{found['cancels']} cancels sent")
    if found["repeated"]:
        parts.append("done before, under the same id")
    return ", ".join(parts)
