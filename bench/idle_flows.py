# SPDX-License-Identifier: Apache-2.0
"""A capture file of connections that are opened, used, and left open. Checksums are zero, as
network cards that fill them in later make them look."""

import struct

SYN, PUSH, ACK = 2, 8, 16
START_S = 1_700_000_000
REQUEST = b"GET /idle HTTP/1.1\r\nHost: shop.example.com\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SERVER = bytes((10, 0, 0, 1)), 80
PORTS = 50_000  # of one client address


def packet(n, source, target, seq, ack, flags, data):
    """Ten microseconds after the packet before."""
    tcp = struct.pack(">HHIIBBHHH", source[1], target[1], seq, ack, 0x50, flags, 65535, 0, 0)
    size = 20 + len(tcp) + len(data)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, size, 0, 0x4000, 64, 6, 0, source[0], target[0])
    us = n * 10
    times = START_S + us // 1_000_000, us % 1_000_000
    head = struct.pack("<IIII", *times, size + 14, size + 14)
    return head + b"\x02" * 6 + b"\x04" * 6 + b"\x08\x00" + ip + tcp + data


def write(path, connections, exchanges):
    """`exchanges` requests and answers on each of `connections`, the connections in turns."""
    clients = [
        (struct.pack(">I", 0x0A010000 + i // PORTS), 10_000 + i % PORTS) for i in range(connections)
    ]
    n = 0
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))

        def put(*fields):
            nonlocal n
            out.write(packet(n, *fields))
            n += 1

        for c in clients:
            put(c, SERVER, 999, 0, SYN, b"")
            put(SERVER, c, 4999, 1000, SYN | ACK, b"")
            put(c, SERVER, 1000, 5000, ACK, b"")
        for i in range(exchanges):
            seq, ack = 1000 + i * len(REQUEST), 5000 + i * len(RESPONSE)
            for c in clients:
                put(c, SERVER, seq, ack, PUSH | ACK, REQUEST)
                put(SERVER, c, ack, seq + len(REQUEST), PUSH | ACK, RESPONSE)
        for c in clients:
            seq, ack = 1000 + exchanges * len(REQUEST), 5000 + exchanges * len(RESPONSE)
            put(c, SERVER, seq, ack, ACK, b"")
