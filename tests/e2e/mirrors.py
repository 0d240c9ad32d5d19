# SPDX-License-Identifier: Apache-2.0
"""What the tests of mirror share: the program under way with its account at the end, targets that
come late, hang or close, and a production that waits to be told."""

import contextlib
import json
import pathlib
import signal
import socket
import subprocess
import threading

from harness import Client, Running, binary, environment, request, wait_until
from servers import Server
from servers.raw import RawServer


class Mirror(Running):
    """Packets flow to it from the first line of the with-block on; at its end it has been stopped
    as ^C stops it, and `account` is what it said at the end."""

    def __init__(self, folder, *args, interface="lo", prefix=(), status=0):
        folder = pathlib.Path(folder)
        self.args = ["mirror", "-i", interface, *[str(a) for a in args], "--json"]
        self.expected, self.account = status, None
        self.err_path, self.out_path = folder / "mirror.err", folder / "mirror.json"
        with open(self.err_path, "wb") as err, open(self.out_path, "wb") as out:
            self.process = subprocess.Popen(
                [*prefix, binary(), *self.args],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                # What a sanitizer keeps of freed memory would hide what is measured here.
                env=environment(ASAN_OPTIONS="quarantine_size_mb=1"),
            )

    def __enter__(self):
        try:
            self.wait_for("capturing on")
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            self.kill()
            return
        if self.process.poll() is None:
            self.signal(signal.SIGINT)
        self.finish()

    def finish(self):
        self.end(status=self.expected)
        assert "add up" not in self.err, self.err
        text = self.out_path.read_text()
        self.account = json.loads(text) if text else None

    @property
    def target(self):
        """The account of the first target, which adds up."""
        return adds_up(self.account["targets"][0])

    def resident(self):
        """KiB of its own memory; the kernel's ring is not."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0])


PARTS = """answered failed waiting unsampled held_back queue_dropped paused_dropped too_late
    stopped to_itself over_max_body incomplete framing http_09 connect upgrade too_large no_memory""".split()


def adds_up(account):
    assert account["offered"] == sum(account[part] for part in PARTS), account
    assert account["waiting"] == 0, account
    return account


def nothing_but(account, **parts):
    """Of what was offered, just these parts are not zero."""
    assert {p: account[p] for p in PARTS if account[p]} == parts, account


class LateServer(RawServer):
    """On a port that was known before."""

    def __init__(self, port):
        self.answer, self.seen, self.connections = b"late\n", [], 0
        self.lock, self.open = threading.Lock(), set()
        self.listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self.host, self.port = "127.0.0.1", port
        threading.Thread(target=self.accept, daemon=True).start()


class HangingServer(Server):
    """Takes whatever comes and answers nothing."""

    def __init__(self):
        self.connections = 0
        super().__init__()

    def serve(self, sock):
        with self.lock:
            self.connections += 1
        while sock.recv(1 << 16):
            pass


class FickleServer(RawServer):
    """Says that the connection stays, and closes it after every third answer."""

    def respond(self, sock, head, fields):
        stays = super().respond(sock, head, fields)
        with self.lock:
            turn = len(self.seen) % 3
        return stays and turn != 0


class WaitingServer(RawServer):
    """Production that answers nothing until it is told."""

    def __init__(self):
        self.told = threading.Event()
        super().__init__()

    def respond(self, sock, head, fields):
        self.told.wait()
        return super().respond(sock, head, fields)


def ask(port, *raw, host="127.0.0.1"):
    """Sends the requests over one connection, each after the answer to the one before."""
    with Client(port, host) as client:
        for data in raw:
            client.send(data)
            client.answer(data.split(b" ", 1)[0].decode())


def get(target, *headers):
    return request("GET", target, headers)


def flood(port, n, target="/f"):
    """n requests as fast as production answers them."""
    with Client(port) as client:
        for start in range(0, n, 100):
            client.send(b"".join(get(f"{target}{i}") for i in range(start, min(start + 100, n))))
            for _ in range(start, min(start + 100, n)):
                client.answer()


@contextlib.contextmanager
def trickle(port):
    """Production is asked again and again while the block runs."""
    stop = threading.Event()

    def run():
        with Client(port) as client:
            while not stop.is_set():
                client.send(get("/t"))
                client.answer()
                stop.wait(0.002)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def arrived(server, n):
    wait_until(lambda: len(server.seen) >= n, lambda: f"{n} requests; there are {len(server.seen)}")
    return server.seen
