"""The words of `ultra pcap`: a capture in, its messages out."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

PROTOCOLS = ("auto", "itch", "soup", "iex")  # those of `pcap.py`, which is imported only when it is asked for


def add(commands: Any) -> None:
    """Add the command to those of `ultra`."""
    about = "Decode a packet capture: MoldUDP64 with ITCH, SoupBinTCP, IEX-TP; every message, and what is missing."
    parser = commands.add_parser(
        "pcap", help=about, description=f"{about} Exit code 3 when the file can't be read to its end.",
        epilog="example: ultra pcap feed.pcap.gz --summary", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("file", type=Path, metavar="FILE", help="pcap or pcapng, plain or gzip")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="auto", help="what to take it for (default auto)")
    parser.add_argument("--summary", action="store_true", help="only the counts")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a message, and one of the counts last, for machines"
    )
    parser.set_defaults(command=_pcap)


def _pcap(given: argparse.Namespace) -> int:
    from . import pcap
    from .capture import CaptureError

    reader = pcap.Reader(given.file, given.protocol)
    failed: CaptureError | None = None
    try:
        for row in reader.rows():
            if not given.summary:
                print(json.dumps(row) if given.json else pcap.row_text(row))
    except CaptureError as error:
        failed = error
    print(json.dumps({"seen": reader.seen.as_json()}) if given.json else pcap.seen_text(reader.seen))
    if failed is None:
        return 0
    print(f"ultra: {failed}", file=sys.stderr)
    return failed.code
