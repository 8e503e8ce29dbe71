"""`ultra ship`, `bridge`: a journal into a stream of NATS; commands from there."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..config import ConfigError
from . import DONE, command


def add(commands: Any) -> None:
    """Both."""
    _add_ship(commands)
    _add_bridge(commands)


def keys(parser: argparse.ArgumentParser) -> None:
    """How NATS knows us, and we it."""
    parser.add_argument("--user", default="", metavar="NAME", help="with --password-file")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="its first line; nobody else may read it")
    parser.add_argument("--creds", type=Path, metavar="FILE", help="credentials of NATS (JWT and seed)")
    for name, about in (("ca", "who signs the server's"), ("cert", "our certificate"), ("key", "its key")):
        parser.add_argument(f"--tls-{name}", type=Path, metavar="FILE", help=f"PEM: {about}")


def place(given: argparse.Namespace, text: str) -> Any:
    """Where NATS is, by the command's words."""
    from ..cold import shipper

    return shipper.place_of(
        text, user=given.user, password=given.password_file, creds=given.creds, ca=given.tls_ca, cert=given.tls_cert,
        key=given.tls_key,
    )  # fmt: skip


def _add_ship(commands: Any) -> None:
    parser = command(
        commands, "ship", _ship,
        "Ship a journal to a stream of NATS JetStream while it grows, until its run ends. Exit code 1: an alarm.",
        "ultra ship runs/desk --to nats://10.0.0.5:4222,10.0.0.6:4222 --replicas 3",
    )  # fmt: skip
    parser.add_argument("folder", type=Path, metavar="DIR", help="the journal")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--to", metavar="URL", help="nats://HOST[:PORT][,HOST...][/STREAM], or tls://")
    what.add_argument("--status", action="store_true", help="what the shipper of this journal said last")
    parser.add_argument("--stream", default="", metavar="NAME", help="default ultra-<journal>")
    keys(parser)
    for name, default, about in (
        ("replicas", 1, "of the stream, 1, 3 or 5"),
        ("records", 2048, "of a message, at most"),
        ("window", 16, "messages under way, at most"),
        ("partitions", 1, "subjects of each family, by instrument, 1 to 8"),
        ("ack-ms", 2000, "an ack that takes longer is lost"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{about} (default {default})")
    parser.add_argument("--zstd", action="store_true", help="pack messages")
    parser.add_argument("--once", action="store_true", help="ship what is there, and end")
    parser.add_argument("--resend", action="store_true", help="the stream lost its end, and is to get it again")
    parser.add_argument("--monitor", default="", metavar="URL", help="a server's monitoring port, to ask how it syncs")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")


def _ship(given: argparse.Namespace) -> int:
    from ..cold import shipping
    from ..cold.shipment import Limits
    from ..ops import shipping as ships

    if given.status:
        return _show(ships.state(given.folder), given.json)
    for key, low, high in (("replicas", 1, 5), ("records", 1, 16384), ("window", 1, 16), ("partitions", 1, 8),
                           ("ack_ms", 10, 600_000)):  # fmt: skip
        if not low <= getattr(given, key) <= high:
            wrong = f"--{key.replace('_', '-')} {getattr(given, key)}: wanted {low} to {high}"
            raise ConfigError("command line", (wrong,))
    url = f"{given.to.rstrip('/')}/{given.stream}" if given.stream else given.to
    limits = Limits(
        given.records, given.window, ack_ns=given.ack_ms * 1_000_000, partitions=given.partitions, packed=given.zstd
    )
    options = shipping.Options(
        replicas=given.replicas, limits=limits, resend=given.resend, once=given.once, monitor=given.monitor,
        told=lambda text: print(f"ultra: {text}", file=sys.stderr, flush=True),
    )  # fmt: skip
    return _show(ships.ship(given.folder, place(given, url), options), given.json)


def _show(found: dict[str, Any], as_json: bool) -> int:
    from ..ops import shipping as ships

    print(json.dumps(found) if as_json else ships.as_text(found))
    return DONE


def _add_bridge(commands: Any) -> None:
    parser = command(
        commands, "bridge", _bridge, "Take commands for a run from NATS (ultra ctl --nats), until it is stopped.",
        "ultra bridge desk --to tls://10.0.0.5 --creds desk.creds",
    )  # fmt: skip
    parser.add_argument("session", metavar="NAME", help="the run's session (ultra run --session NAME)")
    parser.add_argument("--to", required=True, metavar="URL", help="nats://HOST[:PORT][,HOST...], or tls://")
    keys(parser)


def _bridge(given: argparse.Namespace) -> int:
    from ..ops import shipping as ships

    return ships.carry(given.session, place(given, given.to))
