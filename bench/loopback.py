"""`loopback.c` as one writes it with asyncio: a packet in, the 50 bytes of an OUCH order out. One of a byte ends it.

python bench/loopback.py CORE UDP_PORT TCP_PORT
"""

import asyncio
import contextlib
import os
import socket
import struct
import sys


class Packets(asyncio.DatagramProtocol):
    """Answers each packet with an order."""

    def __init__(self, orders, ended):
        self.orders, self.ended, self.number = orders, ended, 0

    def datagram_received(self, data, addr):
        """One packet."""
        if len(data) == 1:
            self.ended.set()
            return
        self.number += 1
        self.orders.write(struct.pack(">H2sI42x", 48, b"UO", self.number))


async def main(core, udp_port, tcp_port):
    """Until it is told to end."""
    os.sched_setaffinity(0, {core})
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    _, orders = await asyncio.open_connection("127.0.0.1", tcp_port)
    orders.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    feed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, 33):  # SO_RCVBUFFORCE, for root
        with contextlib.suppress(PermissionError):
            feed.setsockopt(socket.SOL_SOCKET, option, 1 << 24)
    feed.bind(("127.0.0.1", udp_port))
    transport, _ = await loop.create_datagram_endpoint(lambda: Packets(orders, ended), sock=feed)
    await ended.wait()
    transport.close()
    orders.close()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
