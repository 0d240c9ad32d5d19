# SPDX-License-Identifier: Apache-2.0
"""A server that answers as it should, but for the one path where its mood takes over: what a bad
answer costs, and that it costs nobody else."""

import socket
import struct

from harness import fields_of, read_body, read_head

from . import Server

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ngood\n"


class MoodyServer(Server):
    """`mood` is called for requests to /bad, once their head is in (`early`) or their body, too. If
    it returns true the connection goes on."""

    def __init__(self, mood, early=False):
        self.mood, self.early = mood, early
        self.bad = 0
        super().__init__()

    def serve(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with sock.makefile("rb") as file:
            while True:
                head = read_head(file)
                bad = b" /bad" in head.split(b"\r\n")[0]
                if not (bad and self.early):
                    read_body(file, fields_of(head))
                if bad:
                    with self.lock:
                        self.bad += 1
                    if not self.mood(sock):
                        return
                else:
                    sock.sendall(b"" if head.startswith(b"HEAD") else GOOD)


def raw(data):
    """These bytes, and then the end of the connection."""

    def mood(sock):
        sock.sendall(data)

    mood.__name__ = "raw"
    return mood


def answer(data):
    """These bytes, and the connection goes on."""

    def mood(sock):
        sock.sendall(data)
        return True

    return mood


def slowly(data):
    """Each byte in a packet of its own."""

    def mood(sock):
        for byte in data:
            sock.sendall(bytes([byte]))
        return True

    return mood


def then_hang(data):
    def mood(sock):
        sock.sendall(data)
        while sock.recv(65536):
            pass

    return mood


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset_inside(sock):
    """The answer has begun when the connection dies; what was sent must arrive before that."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    # The other end has read it all when our queue is empty; TCP_INFO would say less plainly.
    while struct.unpack("i", ioctl_outq(sock))[0]:
        pass
    reset(sock)


def ioctl_outq(sock):
    import fcntl
    import termios

    return fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")


def endless(first, rest):
    def mood(sock):
        sock.sendall(first)
        while True:
            sock.sendall(rest)

    return mood
