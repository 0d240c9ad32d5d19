# SPDX-License-Identifier: Apache-2.0
"""Replay to servers that misbehave: each costs its own request only, and that has a name. And to
servers that are odd but right, which cost nothing."""

import json
import subprocess
import sys

import pytest
from harness import request, run, select
from pcapfile import simple
from servers import fleeting
from servers.moods import (
    MoodyServer,
    answer,
    endless,
    raw,
    reset,
    reset_inside,
    slowly,
    then_hang,
)


def dataset(folder, requests, **more):
    simple(folder / "in.pcap", requests, **more)
    run("capture", "-r", folder / "in.pcap", "-o", folder / "shadow.db", "--max-body", "16M")
    return folder / "shadow.db"


def replay(store, server, *args, **more):
    return run("replay", store, "--to", server.url, "--max", "--methods", "all", *args, **more)


def results(store):
    return select(
        store,
        """select r.status, r.error, r.headers, b.data from result r
           join exchange e on e.id = r.exchange_id left join body b on b.id = r.body
           order by e.ts_us, e.id""",
    )


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LENGTH = OK + b"Content-Length: 100\r\n\r\n"

# what it does, what a result of it is called
BAD = {
    "close": (raw(b""), "closed before a response"),
    "reset": (reset, "connection reset"),
    "reset inside": (reset_inside, ("connection reset", "closed inside a response")),
    "hang": (then_hang(b""), "response timeout"),
    "hang in the head": (then_hang(OK), "response timeout"),
    "hang in the body": (then_hang(LENGTH + b"half"), "response timeout"),
    "hang after an interim answer": (
        then_hang(b"HTTP/1.1 100 Continue\r\n\r\n"),
        "response timeout",
    ),
    "cut in the status line": (raw(b"HTTP/1.1 2"), "closed inside a response"),
    "cut in the head": (raw(OK + b"Content-Le"), "closed inside a response"),
    "cut in the body": (raw(LENGTH + b"half"), "closed inside a response"),
    "cut before the body": (raw(LENGTH), "closed inside a response"),
    "cut in a chunk": (raw(CHUNKED + b"5\r\nhel"), "closed inside a response"),
    "cut before the last chunk": (raw(CHUNKED + b"5\r\nhello\r\n"), "closed inside a response"),
    "cut in the trailers": (raw(CHUNKED + b"0\r\nX-Sum: 1"), "closed inside a response"),
    "cut after an interim answer": (
        raw(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        "closed inside a response",
    ),
    "not HTTP": (raw(b"220 mail.test ESMTP\r\n"), "not an HTTP response"),
    "HTTP/0.9": (raw(b"<html>old</html>"), "not an HTTP response"),
    "TLS": (raw(b"\x15\x03\x03\x00\x02\x02\x28"), "not an HTTP response"),
    "NULs": (raw(b"\0" * 1000), "not an HTTP response"),
    "no number": (raw(b"HTTP/1.1 abc OK\r\n\r\n"), "not an HTTP response"),
    "a number that is no status": (
        raw(b"HTTP/1.1 000 x\r\nContent-Length: 0\r\n\r\n"),
        "not an HTTP response",
    ),
    "a number below all": (raw(b"HTTP/1.1 099 x\r\n\r\n"), "not an HTTP response"),
    "bad chunk size": (raw(CHUNKED + b"zz\r\n"), "not an HTTP response"),
    "huge chunk size": (raw(CHUNKED + b"f" * 40 + b"\r\n"), "not an HTTP response"),
    "bad length": (raw(OK + b"Content-Length: -5\r\n\r\n"), "not an HTTP response"),
    "huge length": (
        raw(OK + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n"),
        "not an HTTP response",
    ),
    "two lengths": (
        raw(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        "not an HTTP response",
    ),
    "endless head": (endless(OK, b"X-Fill: " + b"x" * 1000 + b"\r\n"), "response head too large"),
    "endless field": (endless(OK + b"X-Fill: ", b"x" * 4000), "response head too large"),
    "endless fields": (endless(OK, b"X: y\r\n" * 100), "response head too large"),
    "endless interim answers": (
        endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 50),
        "response head too large",
    ),
    "endless trailers": (
        endless(CHUNKED + b"0\r\n", b"X-Fill: " + b"x" * 1000 + b"\r\n"),
        "response head too large",
    ),
}
PATHS = ["/1", "/bad", "/2", "/bad", "/3"]


@pytest.mark.parametrize("what", BAD)
def test_it_costs_its_own(what, tmp_path):
    mood, name = BAD[what]
    store = dataset(tmp_path, [request("GET", p) for p in PATHS])
    with MoodyServer(mood) as server:
        done = replay(store, server, "--timeout", "300ms")
        assert server.bad >= 2
    rows = results(store)
    assert [r["status"] for r in rows] == [200, None, 200, None, 200]
    names = {r["error"] for r in rows if r["status"] is None}
    assert names <= (set(name) if isinstance(name, tuple) else {name})
    assert all(n in done.out for n in names)
    counted = json.loads(select(store, "select summary from replay")[0][0])
    assert counted["sent"] == 3 and counted["failed"] == 2
    assert sum(counted["errors"].values()) == 2


def test_refuses_the_body(tmp_path):
    """The connection goes while the request still goes out, without a word."""
    big = request("POST", "/bad", [b"Content-Length: 8000000"], b"x" * 8_000_000)
    store = dataset(tmp_path, [request("GET", "/1"), big, request("GET", "/2")])
    with MoodyServer(reset, early=True) as server:
        replay(store, server)
    rows = results(store)
    assert [r["status"] for r in rows] == [200, None, 200]
    assert rows[1]["error"] == "send failed"


def test_answers_before_the_body_is_out(tmp_path):
    """413 and the like: an answer, though the request never went out whole."""
    big = request("POST", "/bad", [b"Content-Length: 8000000"], b"x" * 8_000_000)
    store = dataset(tmp_path, [request("GET", "/1"), big, request("GET", "/2")])
    told = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    def refuse(sock):
        sock.sendall(told)
        # Closed with bytes unread would be a reset that may overtake the answer.
        while sock.recv(65536):
            pass

    with MoodyServer(refuse, early=True) as server:
        replay(store, server, "--timeout", "5s")
    assert [(r["status"], r["error"]) for r in results(store)] == [
        *[(200, None), (413, None), (200, None)]
    ]


# --- odd, but right -----------------------------------------------------------------------------

INTERIM = b"".join(
    b"HTTP/1.1 %d X\r\nX-Interim: yes\r\n\r\n" % status for status in (100, 102, 103, 103)
)
HELLO = b"Content-Length: 5\r\n\r\nhello"

# method, what it answers, status, body
ODD = {
    "interim answers": ("GET", answer(INTERIM + OK + HELLO), 200, b"hello"),
    "interim answer to a HEAD": (
        *("HEAD", answer(INTERIM + OK + b"Content-Length: 5\r\n\r\n")),
        *(200, None),
    ),
    "HEAD with a length": ("HEAD", answer(LENGTH), 200, None),
    "HEAD with chunks": ("HEAD", answer(CHUNKED), 200, None),
    "204 with a length": (
        *("GET", answer(b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n")),
        *(204, None),
    ),
    "304 with a length": (
        *("GET", answer(b"HTTP/1.1 304 Not\r\nContent-Length: 5\r\n\r\n")),
        *(304, None),
    ),
    "until the end": ("GET", raw(OK + b"\r\n" + b"z" * 100_000), 200, b"z" * 100_000),
    "nothing until the end": ("GET", raw(OK + b"\r\n"), 200, None),
    "HTTP/1.0": ("GET", raw(b"HTTP/1.0 200 OK\r\n\r\nold"), 200, b"old"),
    "chunks with extensions": (
        *("GET", answer(CHUNKED + b'3;a="b"\r\nhel\r\n002;c\r\nlo\r\n0;d\r\n\r\n')),
        *(200, b"hello"),
    ),
    "trailers": (
        *("GET", answer(CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n")),
        *(200, b"hello"),
    ),
    "bare line feeds": (
        *("GET", answer(b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello")),
        *(200, b"hello"),
    ),
    "no reason": ("GET", answer(b"HTTP/1.1 200\r\n" + HELLO), 200, b"hello"),
    "an unknown status": ("GET", answer(b"HTTP/1.1 799 Odd\r\n" + HELLO), 799, b"hello"),
    "length and chunked": (
        *("GET", answer(OK + b"Content-Length: 3\r\n" + CHUNKED[len(OK) :] + b"0\r\n\r\n")),
        *(200, None),
    ),
    "byte by byte": ("GET", slowly(INTERIM + CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"), 200, b"hello"),
    "more than was asked for": (
        *("GET", answer(OK + HELLO + b"HTTP/1.1 200 OK\r\n" + HELLO)),
        *(200, b"hello"),
    ),
    "100 fields": (
        *("GET", answer(OK + b"".join(b"X-%d: y\r\n" % i for i in range(100)) + HELLO)),
        *(200, b"hello"),
    ),
    "8-bit fields": ("GET", answer(OK + b"X: caf\xe9 \x80\r\n" + HELLO), 200, b"hello"),
    "a folded field": ("GET", answer(OK + b"X: a\r\n b\r\n" + HELLO), 200, b"hello"),
}


@pytest.mark.parametrize("what", ODD)
def test_odd_but_right(what, tmp_path):
    method, mood, status, body = ODD[what]
    paths = ["/1", "/bad", "/2", "/bad"]
    asked = [request(method if p == "/bad" else "GET", p) for p in paths]
    store = dataset(tmp_path, asked)
    with MoodyServer(mood) as server:
        replay(store, server, "--timeout", "10s")
    rows = results(store)
    assert [(r["status"], r["error"]) for r in rows] == [(200, None), (status, None)] * 2
    assert [r["data"] for r in rows] == [b"good\n", body] * 2


LARGE = (64 << 20) + 1
LARGE_ANSWER = OK + b"Content-Length: %d\r\n\r\n" % LARGE + b"z" * LARGE


def test_answers_that_are_too_large_to_keep(tmp_path):
    """They are answers, and that only a part of them is kept is said, where anything is kept."""
    store = dataset(tmp_path, [request("GET", "/1"), request("GET", "/bad"), request("GET", "/2")])
    with MoodyServer(answer(LARGE_ANSWER)) as server:
        done = replay(store, server)
        summary = json.loads(replay(store, server, "--save", "status", "--json").out)
    assert "cut          1 answers, of whose bodies only the beginning is kept: 64 MiB" in done.out
    rows = [r for r in results(store) if r["data"] is not None]
    assert [(r["status"], len(r["data"])) for r in rows] == [(200, 5), (200, 64 << 20), (200, 5)]
    assert json.loads(select(store, "select summary from replay order by id")[0][0])["capped"] == 1
    assert summary["sent"] == 3 and "capped" not in summary


def test_expectations_are_kept(tmp_path, raw_server):
    """Expect: 100-continue goes out as recorded, body and all; whether or not the server says to go
    on, its answer is the answer."""
    bodies = [b"first", b"second" * 1000]
    asked = [
        request("POST", "/", [b"Expect: 100-continue", b"Content-Length: %d" % len(b)], b)
        for b in bodies
    ]
    store = dataset(tmp_path, asked)
    replay(store, raw_server)
    assert [s.raw.partition(b"\r\n\r\n")[2] for s in raw_server.seen] == bodies
    assert [(r["status"], r["error"]) for r in results(store)] == [(200, None)] * 2


def test_a_server_that_will_not_have_it(tmp_path):
    told = b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"
    asked = request("POST", "/bad", [b"Expect: 100-continue", b"Content-Length: 5"], b"hello")
    store = dataset(tmp_path, [asked, request("GET", "/1")])
    with MoodyServer(answer(told)) as server:
        replay(store, server)
    assert [r["status"] for r in results(store)] == [417, 200]


def test_connections_that_do_not_last(tmp_path):
    """Many come and go while others are in use, for longer than a second: whatever looks after the
    connections must keep its hands off those, and each request gets its own answer."""
    n = 40_000
    store = dataset(tmp_path, [request("GET", f"/n/{i}") for i in range(n)])
    with subprocess.Popen([sys.executable, fleeting.__file__], stdout=subprocess.PIPE) as server:
        try:
            url = f"http://127.0.0.1:{int(server.stdout.readline())}"
            pace = ("--max", "--connections", 64, "--order", "none", "--timeout", "10s")
            done = run("replay", store, "--to", url, *pace, "--json")
        finally:
            server.kill()
    summary = json.loads(done.out)
    assert (summary["sent"], summary["failed"]) == (n, 0), summary["errors"]
    got = select(
        store,
        "select e.path, b.data from result r join exchange e on e.id = r.exchange_id"
        " join body b on b.id = r.body",
    )
    assert len(got) == n
    for path, body in got:
        assert bytes(body) == fleeting.body_of(int(path.rsplit("/", 1)[1]))
