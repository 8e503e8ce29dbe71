"""The other end of the wire for benchmarks: a feed of single packets, each due at its time, and a session that answers.

Each packet holds one execution, which makes whoever listens send one order; the session answers it with an order that
is dead at once. What is measured is from the moment a packet was due to the last byte of its order, on this core's own
counter: if the other side is late with one, the ones behind it are late too, and count as late.
Known bad case: a packet that is lost is never answered; `fire` gives up after PATIENCE_NS and says how many came.
"""

import os
import socket
import struct
import time

import numpy as np

from ultra.cold import multicast
from ultra.hot import clock, entry, net
from ultra.hot import histogram as histograms
from ultra.hot.bits import load_u16, load_u32, store_u32
from ultra.hot.clock import ticks
from ultra.venues import moldudp64 as mold
from ultra.venues import ouch, soupbin

PATIENCE_NS = 2_000_000_000
SYMBOL, BID, ASK, LOTS = "STREET", 1_000_000, 1_000_100, 4_000_000_000
ORDER = ord("U") << 8 | ord("O")
MORNING_NS = 34_200_000_000_000


def messages():
    """What a day begins with: the instrument, that it trades, and an order on each side."""
    symbol, ts = SYMBOL.ljust(8).encode(), (MORNING_NS).to_bytes(6, "big")
    head = struct.pack(">HH", 1, 0) + ts
    yield b"R" + head + symbol + b"QN" + struct.pack(">I", 100) + b"NCZ PNN1N" + struct.pack(">I", 0) + b"N"
    yield b"H" + head + symbol + b"T     "
    yield b"A" + head + struct.pack(">QcI", 1, b"B", LOTS) + symbol + struct.pack(">I", BID)
    yield b"A" + head + struct.pack(">QcI", 2, b"S", LOTS) + symbol + struct.pack(">I", ASK)


def execution():
    """A lot of the order on the ask."""
    return b"E" + struct.pack(">HH", 1, 0) + MORNING_NS.to_bytes(6, "big") + struct.pack(">QIQ", 2, 1, 1)


def packet(first, *blocks):
    """One packet of the feed."""
    framed = b"".join(struct.pack(">H", len(block)) + block for block in blocks)
    return b"STREET    " + struct.pack(">QH", first, len(blocks)) + framed


def answer():
    """An order that was taken and is dead, as bytes of the session; its number is at ANSWER_REF."""
    echo = {"side": "B", "qty": 1, "symbol": SYMBOL, "price": ASK, "tif": "3", "display": "Y", "capacity": "P"}
    more = {"iso": "N", "cross": "N", "clordid": "", "order": 1, "state": "D", "ref": 0, "ts": MORNING_NS}
    return soupbin.framed("S", ouch.compose({"type": "A", **echo, **more}, outbound=True))


ANSWER_REF = 12


@entry
def fire(packets, feed, orders, inbox, told, outbox, first, since, step, count, patience, late):
    """Send `count` packets numbered from `first`, `step` / 2^16 ticks apart from tick `since`; time what comes back.

    With `told` each order is answered. Returns how many orders came, or minus that when the connection broke."""
    sent = heard = at = end = 0
    while heard < count:
        now = ticks()
        if sent < count and now >= since + (sent * step >> 16):
            mold.put(packets.block, 10, first + sent, 8)
            if net.udp_send(feed, packets, 0, 1) == 1:
                sent += 1
        got = net.tcp_receive(orders, inbox, end, len(inbox))
        if got < 0:
            return -heard
        if got == 0:
            if now > since + (sent * step >> 16) + patience:
                return heard
            continue
        end += got
        now, out = ticks(), 0
        while end - at >= 4 and end - at >= 2 + load_u16(inbox, at):
            if load_u16(inbox, at + 2) == ORDER:
                histograms.record(late, now - since - (heard * step >> 16))
                heard += 1
                if len(told) > 0 and out + len(told) <= len(outbox):
                    for k in range(len(told)):
                        outbox[out + k] = told[k]
                    store_u32(outbox, out + ANSWER_REF, load_u32(inbox, at + 4))
                    out += len(told)
            at += 2 + load_u16(inbox, at)
        for k in range(end - at):
            inbox[k] = inbox[at + k]
        at, end = 0, end - at
        if out > 0 and net.tcp_send(orders, outbox, 0, out) != out:
            return -heard
    return heard


class Street:
    """A feed's sender and an order session's listener on this machine."""

    def __init__(self):
        free = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        free.bind(("127.0.0.1", 0))
        self.feed_port = free.getsockname()[1]
        free.close()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.orders_port = self._listener.getsockname()[1]
        self._line = multicast.speak("127.0.0.1", self.feed_port)
        self._peer, self._next = None, 1
        self._inbox, self._outbox = np.zeros(1 << 20, np.uint8), np.zeros(1 << 16, np.uint8)
        self._told = np.zeros(0, np.uint8)

    def accept(self, seconds=240.0):
        """Whoever measures only the kernel connects, and no more."""
        self._listener.settimeout(seconds)
        self._peer, _ = self._listener.accept()
        self._peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._peer.setblocking(False)

    def log_in(self, seconds=240.0):
        """Begin the day until somebody logs in, and let them in."""
        self._listener.settimeout(1.0)
        while self._peer is None:
            try:
                self.send(*messages(), first=1)
                self.accept(1.0)
            except (TimeoutError, ConnectionRefusedError):  # its sockets are not open yet
                time.sleep(0.1)
                seconds -= 1.0
                assert seconds > 0, "nobody logs in"
        self._peer.settimeout(10.0)
        self._packet("L")
        self._peer.sendall(soupbin.accepted("STREET", 1))
        self._packet("U")
        asked = ouch.compose({"type": "Q", "next_ref": 1, "ts": MORNING_NS}, outbound=True)
        self._peer.sendall(soupbin.framed("S", asked))
        self._peer.setblocking(False)
        self._told = np.frombuffer(answer(), np.uint8)

    def _packet(self, kind):
        """The next packet but heartbeats, which is of this kind."""
        while True:
            head = self._peer.recv(3, socket.MSG_WAITALL)
            self._peer.recv(int.from_bytes(head[:2], "big") - 1, socket.MSG_WAITALL)
            if head[2:] != b"R":
                assert head[2:] == kind.encode(), head
                return

    def send(self, *blocks, first):
        """One packet, as it is."""
        self._line.socket.send(packet(first, *blocks))
        self._next = max(self._next, first + len(blocks))

    def fire(self, count, per_s, core):
        """`count` packets, `per_s` of them a second; (orders that came, the histogram in ticks, ns a tick)."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        ns, late, packets = clock.calibrate(), histograms.create(), net.create(1)
        raw = packet(0, execution())
        packets.block[: len(raw)], packets.lengths[0] = np.frombuffer(raw, np.uint8), len(raw)
        given = (packets, self._line.fd, self._peer.fileno(), self._inbox, self._told, self._outbox, self._next)
        step, patience = round(1e9 / per_s / ns * 65536), round(PATIENCE_NS / ns)
        fire(*given, 0, step, 0, patience, late)  # compiled, or loaded, before time counts
        heard = fire(*given, clock.now() + round(20e6 / ns), step, count, patience, late)
        os.sched_setaffinity(0, before)
        self._next += count
        return heard, late, ns

    def stop(self):
        """Tell a program that measures the kernel to end."""
        self._line.socket.send(b"X")

    def close(self):
        """Both ends."""
        for each in (self._peer, self._listener, self._line):
            if each is not None:
                each.close()
