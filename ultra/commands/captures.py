"""The words of `ultra pcap`: a capture in, its messages out."""

import argparse
import json
from pathlib import Path
from typing import Any

from . import DONE, command, fail

PROTOCOLS = ("auto", "itch", "soup", "iex")  # those of `pcap.py`, which is imported only when it is asked for


def add(commands: Any) -> None:
    """Add the command to those of `ultra`."""
    about = "Decode a packet capture: MoldUDP64 with ITCH, SoupBinTCP with OUCH, IEX-TP; and what is missing in it."
    parser = command(
        commands, "pcap", _pcap, f"{about} Exit code 3 when the file can't be read to its end.",
        "ultra pcap feed.pcap.gz --summary",
    )  # fmt: skip
    parser.add_argument("file", type=Path, metavar="FILE", help="pcap or pcapng, plain or gzip")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="auto", help="what to take it for (default auto)")
    parser.add_argument("--summary", action="store_true", help="only the counts")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a message, and one of the counts last, for machines"
    )


def _pcap(given: argparse.Namespace) -> int:
    from ..ops import pcap
    from ..ops.capture import CaptureError

    reader = pcap.Reader(given.file, given.protocol)
    failed: CaptureError | None = None
    try:
        for row in reader.rows():
            if not given.summary:
                print(json.dumps(row) if given.json else pcap.row_text(row))
    except CaptureError as error:
        failed = error
    print(json.dumps({"seen": reader.seen.as_json()}) if given.json else pcap.seen_text(reader.seen))
    return DONE if failed is None else fail(failed.code, str(failed))
