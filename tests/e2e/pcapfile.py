# SPDX-License-Identifier: Apache-2.0
"""Capture files written by hand, for tests that need exact times and no rights: TCP over IPv4.
Checksums are zero, as network cards that fill them in later make them look."""

import pathlib
import socket
import struct

SYN, FIN, RST, PUSH, ACK = 2, 1, 4, 8, 16
START_US = 1_700_000_000_000_000
MSS = 1448


class PcapFile:
    """Frames in the order of their times."""

    def __init__(self):
        self.frames = []

    def frame(self, ts_us, data):
        self.frames.append((ts_us, len(self.frames), data))

    def bytes(self):
        out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)]
        for ts_us, _, data in sorted(self.frames):
            head = struct.pack("<IIII", ts_us // 10**6, ts_us % 10**6, len(data), len(data))
            out.append(head + data)
        return b"".join(out)

    def write(self, path):
        pathlib.Path(path).write_bytes(self.bytes())
        return path


class Conversation:
    """One TCP connection. Times are microseconds after START_US."""

    def __init__(self, pcap, client_port, server="10.0.0.2", server_port=80, at=0):
        self.pcap = pcap
        self.ends = [("10.0.0.1", client_port), (server, server_port)]
        self.seq = [1000, 9000]
        self.packet(at, 0, SYN, b"")
        self.packet(at, 1, SYN | ACK, b"")
        self.packet(at, 0, ACK, b"")

    def packet(self, at, side, flags, data):
        (src, sport), (dst, dport) = self.ends[side], self.ends[1 - side]
        ack = self.seq[1 - side] if flags & ACK else 0
        tcp = struct.pack(">HHIIBBHHH", sport, dport, self.seq[side], ack, 0x50, flags, 65535, 0, 0)
        length = 20 + len(tcp) + len(data)
        ip = struct.pack(">BBHHHBBH", 0x45, 0, length, 0, 0x4000, 64, 6, 0)
        ip += socket.inet_aton(src) + socket.inet_aton(dst)
        self.pcap.frame(START_US + at, b"\x02" * 6 + b"\x04" * 6 + b"\x08\x00" + ip + tcp + data)
        self.seq[side] += len(data) + (1 if flags & (SYN | FIN) else 0)

    def say(self, at, side, data):
        for i in range(0, len(data), MSS):
            self.packet(at, side, PUSH | ACK, data[i : i + MSS])
        self.packet(at, 1 - side, ACK, b"")

    def request(self, at, data):
        self.say(at, 0, data)

    def response(self, at, data):
        self.say(at, 1, data)

    def exchange(self, at, request, response=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"):
        self.request(at, request)
        self.response(at + 1000, response)

    def close(self, at):
        self.packet(at, 0, FIN | ACK, b"")
        self.packet(at, 1, FIN | ACK, b"")
        self.packet(at, 0, ACK, b"")


def simple(path, requests, gap_us=1000, **conversation):
    """A file with each request on one keep-alive connection, `gap_us` apart."""
    pcap = PcapFile()
    talk = Conversation(pcap, 40000, **conversation)
    for i, data in enumerate(requests):
        talk.exchange(i * gap_us * 2, data)
    talk.close(len(requests) * gap_us * 2)
    return pcap.write(path)
