"""`[link]`: how a run reaches a venue, over which sockets, how patiently. Ground floor: of ours only `rules`.

Without `feed` and `orders` a run is over a recorded file on the paper venue. A password is never a key: it is read
from a file, or from the environment.
Known bad case: names of hosts are looked up once, at the start; a venue that moves to another address needs a restart.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import rules
from .rules import address

PASSWORD: str = "ULTRA_OUCH_PASSWORD"
_HOST = r"[A-Za-z0-9.-]{1,253}:[0-9]{1,5}"
_IPV4 = r"[0-9.]{7,15}:[0-9]{1,5}"  # names of groups are not looked up


@dataclass(frozen=True, slots=True)
class Link:
    """The ways to a venue: two lines of the feed, the server that sends again, the session that takes orders."""

    feed: str = field(
        default="", metadata=address("udp", rf"udp://{_IPV4}", "where packets of the feed come in, line A")
    )
    feed_b: str = field(default="", metadata=address("udp", rf"udp://{_IPV4}", "the same, line B"))
    interface: str = field(
        default="", metadata=address("", r"[0-9.]{7,15}", "IPv4 of the interface that joins a multicast group")
    )
    request: str = field(default="", metadata=address("request", rf"request://{_IPV4}", "who sends packets again"))
    orders: str = field(
        default="", metadata=address("ouch", rf"ouch://[A-Za-z0-9]{{1,6}}@{_HOST}", "who takes orders, and as whom")
    )
    password_file: str = field(
        default="",
        metadata=rules.folder(f"file with the password, or lines of USER PASSWORD; else ${PASSWORD}"),
    )
    receive_buffer_bytes: int = field(
        default=1 << 24, metadata=rules.whole(1 << 16, 1 << 30, "what the kernel holds of each line for us")
    )
    busy_poll_us: int = field(
        default=0, metadata=rules.whole(0, 1000, "time that the kernel itself looks at the card, 0 = not")
    )
    gap_wait_ms: int = field(
        default=2, metadata=rules.whole(0, 10_000, "time that the other line has to bring what is missing")
    )
    request_retry_ms: int = field(
        default=20, metadata=rules.whole(1, 60_000, "time until what is missing is asked for once more, then doubled")
    )
    request_max: int = field(
        default=8, metadata=rules.whole(1, 1000, "times it is asked for; then the books are stale")
    )
    feed_silence_ms: int = field(
        default=3000, metadata=rules.whole(10, 600_000, "a feed without even a heartbeat for so long is stale")
    )
    session_silence_ms: int = field(
        default=15_000, metadata=rules.whole(100, 600_000, "a session without even a heartbeat for so long is gone")
    )
    reconnect_ms: int = field(
        default=100, metadata=rules.whole(1, 60_000, "time until a lost session is opened again, then doubled")
    )
    order_rate_max_per_s: int = field(
        default=100_000, metadata=rules.whole(1, 10**7, "messages that the venue takes a second; more wait")
    )
    cancel_at_end: bool = field(
        default=True, metadata=rules.switch("cancel what is open before a run that ends in good order logs out")
    )

    @property
    def wired(self) -> bool:
        """Whether a run goes over the wire at all."""
        return bool(self.feed or self.orders)


def places(text: str) -> Mapping[str, str]:
    """The keys that `--venue udp://...,request://...,ouch://...` stands for; ValueError names the part that is none."""
    found: dict[str, str] = {}
    for part in text.split(","):
        scheme = part.split("://")[0]
        key = {"udp": "link.feed", "request": "link.request", "ouch": "link.orders"}.get(scheme, "")
        if key == "link.feed" and key in found:
            key = "link.feed_b"
        if not key or key in found:
            raise ValueError(
                f"{part}: wanted udp://HOST:PORT (A, then B), request://HOST:PORT, ouch://USER@HOST:PORT, once each"
            )
        found[key] = part
    return found


def host_port(text: str) -> tuple[str, int]:
    """Host and port of an address that passed its rule; ('', 0) of none."""
    found = re.search(r"([A-Za-z0-9.-]+):([0-9]+)$", text)
    return (found[1], int(found[2])) if found else ("", 0)


def user(text: str) -> str:
    """Who an address of an order session logs in as."""
    return text.removeprefix("ouch://").split("@")[0] if "@" in text else ""


def password(link: Link) -> str:
    """The password, "" when there is none; OSError when its file can't be read."""
    if not link.password_file:
        return os.environ.get(PASSWORD, "")
    rows = [line.split() for line in Path(link.password_file).read_text(encoding="ascii").splitlines()]
    known = {row[0]: row[-1] for row in reversed(rows) if row}
    return known.get(user(link.orders), rows[0][0] if rows and len(rows[0]) == 1 else "")
