# SPDX-License-Identifier: Apache-2.0
"""replay --middleware: real children between the recording and the target, good and bad."""

import json
import pathlib
import signal
import sys

import pytest
from harness import Running, chunked, one, request, run, select, wait_until
from pcapfile import Conversation, PcapFile, simple
from servers.raw import RawServer

SERVERS = pathlib.Path(__file__).parent / "servers"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"


def middleware(name, *arguments):
    return " ".join([sys.executable, str(SERVERS / "middleware.py"), name, *map(str, arguments)])


def dataset(folder, requests):
    simple(folder / "in.pcap", requests)
    run("capture", "-r", folder / "in.pcap", "-o", folder / "shadow.db")
    return folder / "shadow.db"


def gets(n):
    return [request("GET", f"/{i}") for i in range(n)]


def replay(store, server, command, *args, pace=("--max",), **more):
    return run(
        "replay", store, "--to", server.url, "--middleware", command, *pace, *args, **more
    )


def skipped(store):
    return json.loads(one(store, "select summary from replay where id = 1"))["skipped_by"]


def nobody_runs(word):
    """No process has the word among its arguments."""
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes().split(b"\0"):
                return False
        except OSError:
            pass  # it has ended
    return True


class Sessions(RawServer):
    """/login answers a token that no recording knows."""

    def respond(self, sock, head, fields):
        self.answer = b"BBBBBBBB" if head.split(b" ")[1] == b"/login" else b"welcome"
        return super().respond(sock, head, fields)


ODD_REQUESTS = [
    request("GET", "/a?b=%20", [b"x-ODD:  spaced", b"X-Odd: again"]),
    request("POST", "/length", [b"Content-Length: 5"], b"a\nb\0c"),
    request("POST", "/chunks", [b"Transfer-Encoding: chunked"], chunked(b"one", b"two" * 99)),
    request("POST", "/trailer", [b"Transfer-Encoding: chunked"],
            chunked(b"x" * 300, extension=b";e=1", trailer=b"T: 1\r\n")),
    request("PUT", "/large", [b"Content-Length: 700000"], bytes(range(250)) * 2800),
]


@pytest.mark.parametrize("command", [middleware("echo"), middleware("requests"), "cat"])
def test_unchanged(tmp_path, raw_server, command):
    """What goes through an echo is, byte for byte, what goes out without one."""
    store = dataset(tmp_path, ODD_REQUESTS)
    run("replay", store, "--to", raw_server.url, "--max", "--methods", "all")
    without = [s.raw for s in raw_server.seen]
    raw_server.seen.clear()
    replay(store, raw_server, command, "--methods", "all")
    through = [s.raw.replace(b"X-Shadow-Replay: 2", b"X-Shadow-Replay: 1") for s in raw_server.seen]
    assert through == without
    assert len(through) == len(ODD_REQUESTS)


def test_change(tmp_path, raw_server):
    """A body that grew is announced as long as it is."""
    store = dataset(tmp_path, [request("POST", "/", [b"Content-Length: 2"], b"hi")])
    replay(store, raw_server, middleware("change"), "--methods", "all")
    (seen,) = raw_server.seen
    assert seen.field("X-Changed") == "yes"
    assert seen.raw.endswith(b"\r\n\r\nhi, and more")
    assert seen.field("Content-Length") == "12"


@pytest.mark.parametrize("pace", [("--max", "--connections", "1"), ("--speed", "1")])
def test_token(tmp_path, pace):
    """Later requests carry the token that the target has given, not the recorded one."""
    pcap = PcapFile()
    talk = Conversation(pcap, 40000)
    talk.exchange(0, request("GET", "/login"), OK % (8, b"AAAAAAAA"))
    for i in range(1, 6):
        talk.exchange(i * 200_000, request("GET", f"/{i}", [b"Token: AAAAAAAA"]))
    talk.close(1_200_000)
    pcap.write(tmp_path / "in.pcap")
    run("capture", "-r", tmp_path / "in.pcap", "-o", tmp_path / "shadow.db")
    with Sessions() as server:
        replay(tmp_path / "shadow.db", server, middleware("token"), pace=pace)
        assert [s.target for s in server.seen] == ["/login", "/1", "/2", "/3", "/4", "/5"]
        assert {s.field("Token") for s in server.seen[1:]} == {"BBBBBBBB"}


def test_dropped(tmp_path, raw_server):
    store = dataset(tmp_path, gets(20))
    replay(store, raw_server, middleware("odd"))
    assert [s.target for s in raw_server.seen] == [f"/{i}" for i in range(0, 20, 2)]
    assert skipped(store) == {"middleware": 10}
    assert one(store, "select count(*) from result") == 10


def test_out_of_order(tmp_path, raw_server):
    store = dataset(tmp_path, gets(9))
    replay(store, raw_server, middleware("backwards", 3))
    assert sorted(s.target for s in raw_server.seen) == [f"/{i}" for i in range(9)]


def test_all_answers_come_by(tmp_path, raw_server):
    """Each request, what was recorded and what is answered now, under one id."""
    store = dataset(tmp_path, gets(30))
    replay(store, raw_server, middleware("log", tmp_path / "log"), "--save", "none")
    seen = {}
    for line in (tmp_path / "log").read_text().splitlines():
        kind, name, _ = line.split()
        assert len(name) == 24
        seen.setdefault(name, []).append(kind)
    assert len(seen) == 30
    assert set(map(tuple, seen.values())) == {("1", "2", "3")}
    assert one(store, "select count(*) from result") == 0


def test_two_targets_two_children(tmp_path, raw_server):
    store = dataset(tmp_path, gets(10))
    with RawServer() as other:
        replay(store, raw_server, middleware("change"), "--to", other.url)
        assert len(raw_server.seen) == len(other.seen) == 10
        assert all(s.field("X-Changed") for s in raw_server.seen + other.seen)


def test_shell(tmp_path, raw_server):
    """Line ends that command substitution takes and echo adds do no harm."""
    store = dataset(tmp_path, [*gets(2), request("POST", "/", [b"Content-Length: 3"], b"a=1")])
    replay(store, raw_server, f"sh {SERVERS}/echo.sh", "--methods", "all")
    assert [s.target for s in raw_server.seen] == ["/0", "/1", "/"]
    assert raw_server.seen[2].raw.endswith(b"\r\n\r\na=1")


def test_answers_at_the_end(tmp_path, raw_server):
    """A child that does not flush until its input ends."""
    store = dataset(tmp_path, gets(5))
    replay(store, raw_server, middleware("buffered"))
    assert len(raw_server.seen) == 5


def test_garbage(tmp_path, raw_server):
    store = dataset(tmp_path, gets(4))
    done = replay(store, raw_server, middleware("garbage"))
    assert len(raw_server.seen) == 4
    assert "24 lines that are no records; the first: 5 hex digits" in done.err


BAD = [
    ("die", (3,), "ended with status 3"),
    ("die_after", (2, 7), "ended with status 7"),
    ("die_by_signal", (), "was ended by signal 9 (SIGKILL)"),
    ("hang", (), "has not read for 10 s"),
    ("close_output", (), "has closed its standard output"),
    ("close_input", (), "has closed its standard input"),
    ("endless", (), "wrote a line of more than"),
]


@pytest.mark.parametrize("name, arguments, why", BAD, ids=[b[0] for b in BAD])
def test_bad_children(tmp_path, raw_server, name, arguments, why):
    """One line, exit status 1, and nobody left behind."""
    store = dataset(tmp_path, gets(50))
    command = middleware(name, *arguments)
    done = replay(store, raw_server, command, pace=("--speed", "1"), status=1)
    (line,) = [text for text in done.err_lines if "middleware '" in text]
    assert line.startswith(f"shadow-ctl: middleware '{command}' {why}")
    assert nobody_runs(name)


def test_silent(tmp_path, raw_server):
    store = dataset(tmp_path, gets(5))
    done = replay(store, raw_server, middleware("silent"), status=1)
    assert "the middleware answered none of 5 requests" in done.err
    assert raw_server.seen == []
    assert skipped(store) == {"middleware": 5}


@pytest.mark.parametrize(
    "command, why",
    [
        ("", "no command"),
        ("/nonexistent/x y", "'/nonexistent/x' cannot be run: No such file or directory"),
        ("/etc/passwd", "'/etc/passwd' cannot be run: Permission denied"),
    ],
)
def test_unusable(tmp_path, raw_server, command, why):
    store = dataset(tmp_path, gets(1))
    done = replay(store, raw_server, command, status=2)
    assert why in done.err
    assert select(store, "select * from replay") == []


def test_interrupted(tmp_path, raw_server):
    """^C ends a run whose next request is due in an hour, and its child with it."""
    simple(tmp_path / "in.pcap", gets(2), gap_us=1_800_000_000)
    store = tmp_path / "shadow.db"
    run("capture", "-r", tmp_path / "in.pcap", "-o", store)
    log = tmp_path / "log"
    args = ["replay", store, "--to", raw_server.url, "--middleware", middleware("log", log)]
    running = Running(tmp_path, *args)
    try:
        wait_until(lambda: raw_server.seen, "the first request")
        running.signal(signal.SIGINT)
        running.end()
    finally:
        running.kill()
    assert skipped(store) == {"stopped": 1}
    assert nobody_runs(str(log))
