# SPDX-License-Identifier: Apache-2.0
"""A server that keeps each request's exact bytes, by connection and in order, and answers 200. It
understands framing, and nothing of what the request says."""

import dataclasses
import socket

from harness import fields_of, read_body, read_head

from . import Server


@dataclasses.dataclass
class Seen:
    raw: bytes
    connection: int
    position: int

    @property
    def head(self):
        return self.raw.partition(b"\r\n\r\n")[0]

    @property
    def line(self):
        return self.raw.partition(b"\r\n")[0].decode("latin-1")

    @property
    def target(self):
        return self.line.split(" ")[1]

    def field(self, name):
        return fields_of(self.raw.partition(b"\r\n\r\n")[0] + b"\r\n").get(name.lower())


class RawServer(Server):
    def __init__(self, **more):
        self.answer = b"raw\n"
        self.seen = []
        self.connections = 0
        super().__init__(**more)

    def serve(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.lock:
            connection = self.connections
            self.connections += 1
        with sock.makefile("rb") as file:
            position = 0
            while True:
                head = read_head(file)
                fields = fields_of(head)
                if "100-continue" in fields.get("expect", ""):
                    sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                _, body = read_body(file, fields)
                with self.lock:
                    self.seen.append(Seen(head + body, connection, position))
                position += 1
                if not self.respond(sock, head, fields):
                    return

    def respond(self, sock, head, fields):
        """Whether the connection stays."""
        old = head.split(b"\r\n", 1)[0].endswith(b"/1.0")
        stays = fields.get("connection", "close" if old else "keep-alive").lower() == "keep-alive"
        told = b"keep-alive" if stays else b"close"
        out = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n"
        body = b"" if head.startswith(b"HEAD ") else self.answer
        sock.sendall(out % (len(self.answer), told) + body)
        return stays
