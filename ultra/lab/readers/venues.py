"""What venues write, as events: Binance (spot, USD-M, COIN-M), Kraken, OKX, Bitget, Coinbase; and their checksums.

Each venue is a `parse` from one message to events, and where it has one a `checksum` of a book. A message that says
nothing of levels or trades gives none. Numbers stay text until a book knows their unit.

Sources: the venues' public API documentation; Binance "How to manage a local order book", Kraken websocket v1 "Book
checksum", OKX v5 and Bitget v1 "Checksum". Known bad case: a venue that changes its words is read as one that says
nothing; `ultra data check` then finds no snapshot.
"""

import heapq
import zlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from ...wire import ASK, BID, NONE
from . import lines
from .feed import Book, Event, Quote, Snapshot, Trade, Update, Venue

MS: Final = 1_000_000
KRAKEN_LEVELS: Final = 10  # in a checksum
KRAKEN_DEPTH: Final = 1000
OKX_LEVELS: Final = 25


def binance(message: Any, asked: str) -> Sequence[Event]:
    """A message of a combined or a single stream, or a depth snapshot (whose symbol may stand in the address only)."""
    if not isinstance(message, dict):
        return ()
    data = message.get("data", message)
    if not isinstance(data, dict):
        return ()
    kind = data.get("e")
    if kind == "depthUpdate":
        before = data.get("pu", NONE)
        return (Update(data["s"], data["E"] * MS, data["b"], data["a"], data["U"], data["u"], before),)
    if kind == "trade" or kind == "aggTrade":
        if data.get("X", "MARKET") != "MARKET":
            return ()
        side = BID if data["m"] else ASK
        return (Trade(data["s"], data["E"] * MS, data["p"], data["q"], side, kind == "aggTrade"),)
    if "lastUpdateId" in data:
        symbol = data.get("symbol") or parse_qs(urlsplit(asked).query).get("symbol", [""])[0]
        return (Snapshot(symbol, data.get("E", 0) * MS, data["bids"], data["asks"], data["lastUpdateId"]),)
    if "B" in data and "A" in data and "u" in data:
        ts = data.get("E", 0) * MS
        return (Quote(data["s"], ts, (data["b"], data["B"]), (data["a"], data["A"]), data["u"]),)
    return ()


def kraken(message: Any, asked: str) -> Sequence[Event]:
    """A list: channel, one or two dicts, name, pair. Each level carries its own time."""
    if not isinstance(message, list) or len(message) < 4:
        return ()
    name, pair = str(message[-2]), str(message[-1])
    if name == "trade":
        return [
            Trade(pair, lines.from_seconds(row[2].encode()), row[0], row[1], ASK if row[3] == "b" else BID)
            for row in message[1]
        ]
    if not name.startswith("book"):
        return ()
    said: dict[str, Any] = {}
    for part in message[1:-2]:
        said |= part
    if "as" in said:
        return (Snapshot(pair, _latest(said["as"], said["bs"]), said["bs"], said["as"]),)
    bids, asks = said.get("b", ()), said.get("a", ())
    checksum = int(said["c"]) if "c" in said else None
    return (Update(pair, _latest(bids, asks), bids, asks, checksum=checksum),)


def _latest(*sides: Sequence[Sequence[str]]) -> int:
    return max((lines.from_seconds(level[2].encode()) for side in sides for level in side), default=0)


def okx(message: Any, asked: str) -> Sequence[Event]:
    """{"arg": {channel, instId}, "action": snapshot | update, "data": [...]}: OKX and Bitget."""
    if not isinstance(message, dict) or "data" not in message:
        return ()
    channel, symbol = message["arg"]["channel"], message["arg"]["instId"]
    if channel == "books":
        whole = message["action"] == "snapshot"
        return [
            Snapshot(symbol, int(data["ts"]) * MS, data["bids"], data["asks"], checksum=data.get("checksum"))
            if whole
            else Update(symbol, int(data["ts"]) * MS, data["bids"], data["asks"], checksum=data.get("checksum"))
            for data in message["data"]
        ]
    if channel == "trades":
        return [
            Trade(symbol, int(data["ts"]) * MS, data["px"], data["sz"], ASK if data["side"] == "buy" else BID)
            for data in message["data"]
        ]
    if channel == "trade" and message["action"] == "update":  # a snapshot of trades is of the past
        rows = message["data"]
        return [Trade(symbol, int(row[0]) * MS, row[1], row[2], ASK if row[3] == "buy" else BID) for row in rows]
    return ()


def coinbase(message: Any, asked: str) -> Sequence[Event]:
    """Channel level2, and matches. The side of a match is that of the order that rested."""
    if not isinstance(message, dict):
        return ()
    kind = message.get("type")
    if kind == "l2update":
        sides: dict[str, list[Sequence[str]]] = {"buy": [], "sell": []}
        for side, price, size in message["changes"]:
            sides[side].append((price, size))
        return (Update(message["product_id"], _iso(message["time"]), sides["buy"], sides["sell"]),)
    if kind == "snapshot":
        return (Snapshot(message["product_id"], 0, message["bids"], message["asks"]),)
    if kind == "match":
        side = BID if message["side"] == "buy" else ASK
        return (Trade(message["product_id"], _iso(message["time"]), message["price"], message["size"], side),)
    return ()


def _iso(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000


def _top(book: Book, side: int, count: int) -> list[Sequence[str]]:
    held = book.texts[side]
    prices = heapq.nsmallest(count, held) if side == ASK else heapq.nlargest(count, held)
    return [held[price] for price in prices]


def kraken_checksum(book: Book) -> int:
    """CRC-32 of the ten best asks, then bids: price and quantity without their point and leading zeros."""
    text = "".join(
        level[k].replace(".", "").lstrip("0")
        for side in (ASK, BID)
        for level in _top(book, side, KRAKEN_LEVELS)
        for k in (0, 1)
    )
    return zlib.crc32(text.encode())


def okx_checksum(book: Book) -> int:
    """Signed CRC-32 of the 25 best levels: bid price, bid quantity, ask price, ask quantity, and so on; Bitget too."""
    bids, asks = _top(book, BID, OKX_LEVELS), _top(book, ASK, OKX_LEVELS)
    parts: list[str] = []
    for rank in range(OKX_LEVELS):
        for side in (bids, asks):
            if rank < len(side):
                parts += side[rank][:2]
    found = zlib.crc32(":".join(parts).encode())
    return found - (1 << 32) if found >> 31 else found


BINANCE: Final = Venue("BINANCE", binance)
KRAKEN: Final = Venue("KRAKEN", kraken, kraken_checksum, KRAKEN_DEPTH)
OKX: Final = Venue("OKX", okx, okx_checksum)
BITGET: Final = Venue("BITGET", okx, okx_checksum)
COINBASE: Final = Venue("COINBASE", coinbase)
VENUES: Final = {venue.name: venue for venue in (BINANCE, KRAKEN, OKX, BITGET, COINBASE)}


def venue_of(message: Any) -> Venue | None:
    """Whose words these are; None when the message does not tell."""
    if isinstance(message, list):
        return KRAKEN
    if not isinstance(message, dict):
        return None
    argument = message.get("arg")
    if isinstance(argument, dict):
        return BITGET if "instType" in argument else OKX
    if "product_id" in message or message.get("type") == "subscriptions":
        return COINBASE
    if "connectionID" in message or "channelID" in message:
        return KRAKEN
    return BINANCE if "stream" in message or "lastUpdateId" in message or "e" in message or "u" in message else None
