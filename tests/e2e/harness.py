# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests are made of: running the program, a live capture on loopback, a client
that sends given bytes, and the servers they need. Waits for conditions, never for times; the
deadlines are there so that a hang is a failure and not a hang."""

import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEADLINE = 60


def binary():
    return pathlib.Path(os.environ.get("SHADOW_CTL", ROOT / "build/cli/shadow-ctl")).resolve()


def environment(**more):
    """Of a child: no terminal width, no colours, nothing of a sudo that the tests run under."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("SUDO_") and k != "COLUMNS"}
    return {**env, "LC_ALL": "C.UTF-8", "TZ": "UTC", **more}


def wait_until(condition, what, deadline=DEADLINE):
    """Polls until the condition holds, and returns what it returned."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"not within {deadline} s: {what() if callable(what) else what}")
        time.sleep(0.01)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def dead_port():
    """A port where connections are refused, for as long as the returned socket lives: bound, but
    not listening."""
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    return s, s.getsockname()[1]


# --- the program ---------------------------------------------------------------------------------


@dataclasses.dataclass
class Done:
    status: int
    out: str
    err: str
    raw_out: bytes

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def err_lines(self):
        return self.err.splitlines()


def run(
    *args, status=0, timeout=DEADLINE, cwd=None, env=None, stdin=subprocess.DEVNULL, prefix=()
):
    """Runs the program to its end. `status` None takes any exit status that is not a signal."""
    p = subprocess.run(
        [*prefix, binary(), *map(str, args)],
        stdin=stdin,
        capture_output=True,
        timeout=timeout,
        cwd=cwd,
        env=environment(**(env or {})),
        check=False,
    )
    done = Done(p.returncode, p.stdout.decode("utf-8", "replace"), p.stderr.decode(), p.stdout)
    told = f"shadow-ctl {' '.join(map(str, args))}\n{done.out[-2000:]}\n{done.err[-4000:]}"
    assert p.returncode >= 0, f"died of signal {-p.returncode}: {told}"
    for word in ("Sanitizer", "runtime error:", "Assertion"):
        assert word not in done.err, told
    if status is not None:
        assert p.returncode == status, f"status {p.returncode}, not {status}: {told}"
    return done


class Running:
    """The program in the background. Its stderr goes to a file, so that nothing ever blocks."""

    def __init__(self, folder, *args, env=None, prefix=()):
        self.args = [str(a) for a in args]
        self.err_path = pathlib.Path(folder) / f"stderr-{len(list(pathlib.Path(folder).iterdir()))}"
        with open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(
                [*prefix, binary(), *self.args],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=err,
                env=environment(**(env or {})),
            )

    @property
    def err(self):
        return self.err_path.read_text(errors="replace")

    def told(self):
        return f"shadow-ctl {' '.join(self.args)}\n{self.err[-4000:]}"

    def wait_for(self, text):
        def said():
            found = re.search(text, self.err)
            if not found and self.process.poll() is not None:
                raise AssertionError(f"ended before it said {text!r}: {self.told()}")
            return found

        return wait_until(said, lambda: f"{text!r} from {self.told()}")

    def signal(self, number):
        self.process.send_signal(number)

    def end(self, status=0, timeout=DEADLINE):
        """Waits for the end. Returns what it said."""
        code = self.process.wait(timeout)
        for word in ("Sanitizer", "runtime error:", "Assertion"):
            assert word not in self.err, self.told()
        if status is not None:
            assert code == status, f"status {code}, not {status}: {self.told()}"
        return self.err

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Capture(Running):
    """A live capture on loopback; packets flow to it from the first line of the with-block on, and
    at its end the capture has been stopped as ^C stops it."""

    def __init__(self, store, *args, port=None, log=None):
        self.store = pathlib.Path(store)
        ports = ["--port", str(port)] if port else []
        args = ["capture", "-i", "lo", *ports, "-o", store, *args]
        super().__init__(log or self.store.parent, *args)

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
        elif self.process.poll() is None:
            self.signal(signal.SIGINT)
            self.end()


class Tcpdump:
    """A capture file of what goes over a loopback port, made by somebody else's program."""

    def __init__(self, path, port):
        self.path = pathlib.Path(path)
        self.err_path = self.path.with_suffix(".err")
        with open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(
                ["tcpdump", "-i", "lo", "-s", "0", "-U", "-n", "-B", "65536", "--immediate-mode"]
                + (["-Z", "root"] if os.geteuid() == 0 else [])
                + ["-w", str(path), f"tcp port {port}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=err,
            )

    def __enter__(self):
        wait_until(lambda: b"listening on" in self.err_path.read_bytes(), "tcpdump")
        return self

    def __exit__(self, kind, value, trace):
        # It leaves what its ring still holds when it is told to stop; an own connection, seen in
        # the file, proves that everything before it is there.
        self.process.send_signal(signal.SIGINT)
        self.process.wait(DEADLINE)


def can_capture():
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0):
        return True
    return False


# --- the store, read by somebody else's SQLite ---------------------------------------------------


def select(store, sql, *values):
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        return db.execute(sql, values).fetchall()


def one(store, sql, *values):
    rows = select(store, sql, *values)
    assert len(rows) == 1, rows
    return rows[0][0]


EXCHANGES = """
select e.*, rq.data as request_data, rs.data as response_data
from exchange e left join body rq on rq.id = e.request_body
                left join body rs on rs.id = e.response_body
order by e.ts_us, e.id
"""


def exchanges(store):
    return select(store, EXCHANGES)


def integrity(store):
    """Opens for writing, as the program would, so that a log left behind is rolled in."""
    with contextlib.closing(sqlite3.connect(store)) as db:
        return db.execute("PRAGMA integrity_check").fetchone()[0]


# --- a client that sends given bytes -------------------------------------------------------------


@dataclasses.dataclass
class Answer:
    status: int
    head: bytes
    body: bytes  # without its chunking


class Client:
    """One connection. Reads answers by their framing (RFC 9112, 6.3) and nothing else."""

    def __init__(self, port, host="127.0.0.1"):
        self.sock = socket.create_connection((host, port), timeout=DEADLINE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = self.sock.getsockname()[1]
        self.file = self.sock.makefile("rb")

    def send(self, data):
        self.sock.sendall(data)

    def answer(self, method="GET"):
        while True:
            head = read_head(self.file)
            status = int(head.split(b" ", 2)[1])
            if status >= 200:
                break
        fields = fields_of(head)
        if method == "HEAD" or status in (204, 304):
            return Answer(status, head, b"")
        framed = "transfer-encoding" in fields or "content-length" in fields
        return Answer(status, head, read_body(self.file, fields)[0] if framed else self.file.read())

    def close(self):
        self.file.close()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def read_head(file):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = file.readline()
        if not line:
            raise EOFError(head)
        head += line
    return head


def fields_of(head):
    """Names in lower case; of a repeated field the last."""
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name.lower(): value.strip() for name, value in pairs}


def read_body(file, fields):
    """The body, and the bytes it was framed in."""
    if "chunked" not in fields.get("transfer-encoding", ""):
        raw = file.read(int(fields.get("content-length", "0")))
        return raw, raw
    body, raw = b"", b""
    while True:
        line = file.readline()
        raw += line
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        data = file.read(size)
        body += data
        raw += data + file.readline()
    while line.strip(b"\r\n"):
        line = file.readline()
        if not line:
            raise EOFError(raw)
        raw += line
    return body, raw


def chunked(*pieces, extension=b"", trailer=b""):
    out = b"".join(b"%x%s\r\n%s\r\n" % (len(p), extension, p) for p in pieces if p)
    return out + b"0\r\n" + trailer + b"\r\n"


def request(method, target, headers=(), body=b"", host=b"service.test", version=b"1.1"):
    """The bytes of a request; `headers` are given as they shall stand."""
    lines = [b"%s %s HTTP/%s" % (method.encode(), target.encode(), version)]
    if host is not None:
        lines.append(b"Host: " + host)
    lines += headers
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(port, target, *headers):
    """One request on a connection of its own."""
    with Client(port) as client:
        client.send(request("GET", target, [b"Connection: close", *headers]))
        return client.answer()


def without(raw, name):
    """The bytes of a request without the field of that name; how many there were."""
    head, sep, body = raw.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith(name.lower().encode() + b":")]
    return b"\r\n".join(kept) + sep + body, len(lines) - len(kept)


def with_value(raw, name, value):
    """The bytes of a request with another value in its first field of that name."""
    return re.sub(rb"(?im)^(" + name.encode() + rb"): [^\r]*", rb"\1: " + value, raw, count=1)
