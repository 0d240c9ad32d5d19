# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 by hand, as much of it as it takes to answer badly: frames (RFC 9113, 4.1) with the one
header block that needs no table (RFC 7541, C.4 has others)."""

import socket
import struct

from . import Server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
STATUS_200, STATUS_204 = b"\x88", b"\x89"


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


class H2Server(Server):
    """Greets, and for each request calls mood(server, sock, stream), once it has come in whole:
    true means that the connection goes on, false that it is closed in peace, None at once."""

    def __init__(self, mood):
        self.mood = mood
        self.streams = []
        super().__init__()

    @staticmethod
    def read(file, n):
        data = file.read(n)
        if len(data) < n:
            raise EOFError
        return data

    def serve(self, sock):
        with sock.makefile("rb") as file:
            if self.read(file, len(PREFACE)) != PREFACE:
                raise ValueError("no HTTP/2")
            sock.sendall(frame(SETTINGS, 0, 0))
            while True:
                head = self.read(file, 9)
                kind, flags = head[3], head[4]
                stream = struct.unpack(">I", head[5:])[0]
                self.read(file, struct.unpack(">I", b"\0" + head[:3])[0])
                if kind == SETTINGS and not flags & ACK:
                    sock.sendall(frame(SETTINGS, ACK, 0))
                if kind in (HEADERS, DATA) and flags & END_STREAM:
                    with self.lock:
                        self.streams.append(stream)
                        n = len(self.streams)
                    goes_on = self.mood(sock, stream, n)
                    if goes_on is None:
                        return
                    if not goes_on:
                        self.leave(sock)
                        return

    @staticmethod
    def leave(sock):
        """With bytes unread it would be a reset, which may overtake what was said."""
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
