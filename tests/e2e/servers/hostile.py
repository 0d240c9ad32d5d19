# SPDX-License-Identifier: Apache-2.0
"""Servers that answer as no server should. One row a way to misbehave: what happens to a connection
once a whole request head has come in, and what a replay must call it."""

import socket
import struct

from harness import read_head

from . import Server


def hang(sock):
    while sock.recv(65536):
        pass


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def close(sock):
    pass


def garbage(sock):
    sock.sendall(b"\x16\x03\x01 this was never HTTP\r\n\r\n")


def cut(sock):
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


def cut_head(sock):
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")


def bad_chunk(sock):
    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nno chunk\r\n")


def endless_head(sock):
    sock.sendall(b"HTTP/1.1 200 OK\r\n")
    line = b"X-Fill: " + b"x" * 1000 + b"\r\n"
    while True:
        sock.sendall(line)


def half_then_hang(sock):
    cut(sock)
    hang(sock)


# behaviour, error text of its results
BEHAVIOURS = [
    (hang, "response timeout"),
    (half_then_hang, "response timeout"),
    (reset, "connection reset"),
    (close, "closed before a response"),
    (garbage, "not an HTTP response"),
    (cut, "closed inside a response"),
    (cut_head, "closed inside a response"),
    (bad_chunk, "not an HTTP response"),
    (endless_head, "response head too large"),
]


def interim(sock):
    sock.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
    sock.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")


def until_close(sock):
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nthe end is the end")


def byte_by_byte(sock):
    for byte in b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n":
        sock.sendall(bytes([byte]))


# odd, but right: behaviour, status
ODD = [(interim, 204), (until_close, 200), (byte_by_byte, 201)]


class HostileServer(Server):
    def __init__(self, behaviour):
        self.behaviour = behaviour
        self.requests = 0
        super().__init__()

    def serve(self, sock):
        with sock.makefile("rb") as file:
            read_head(file)
        with self.lock:
            self.requests += 1
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.behaviour(sock)
