# SPDX-License-Identifier: Apache-2.0
"""Replay over HTTP/2: what a request means arrives, whatever of it only HTTP/1 has a place for; and
what a bad target costs."""

import json
import re
import shutil
import signal
import socket
import struct
import subprocess

import pytest
from conftest import running
from harness import Running, chunked, dead_port, free_port, one, request, run, select, wait_until
from pcapfile import Conversation, PcapFile, simple
from servers import h2
from servers.raw import RawServer
from servers.ways import Certificates, DeafListener, Proxy, TlsServer
from test_replay_tls import Nginx

needs_nghttpd = pytest.mark.skipif(not shutil.which("nghttpd"), reason="no nghttpd")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    made.good = made.sign("good", ["DNS:localhost"])
    return made


class Nghttpd:
    """The reference implementation's server, which says what comes in, field by field."""

    FIELD = re.compile(
        r"^\[id=(\d+)\] \[ *[\d.]+\] recv \(stream_id=(\d+)[^)]*\) (:?[^:\s]+): ?(.*)$", re.M
    )

    def __init__(self, folder, *args):
        self.port = free_port()
        self.log_path = folder / "nghttpd.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                ["nghttpd", "-v", "--echo-upload", "-d", folder, "-a", "127.0.0.1"]
                + [*args[:-1], str(self.port), *args[-1]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

        def listens():
            assert self.process.poll() is None, self.log_path.read_text()
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", self.port)) == 0

        wait_until(listens, "nghttpd")

    def requests(self):
        """The header fields of each request as they came, pseudo-fields first."""
        text = re.sub(r"\x1b\[[0-9;]*m", "", self.log_path.read_text())
        found = {}
        for session, stream, name, value in self.FIELD.findall(text):
            found.setdefault((int(session), int(stream)), []).append((name, value))
        return [found[key] for key in sorted(found)]


@pytest.fixture
def plain(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "here").write_text("found\n")
    with running(Nghttpd(tmp_path / "docs", "--no-tls", [])) as server:
        server.url = f"http://127.0.0.1:{server.port}"
        yield server


def dataset(folder, requests, **more):
    simple(folder / "in.pcap", requests, **more)
    run("capture", "-r", folder / "in.pcap", "-o", folder / "shadow.db", "--max-body", "16M")
    return folder / "shadow.db"


def replay(store, url, *args, **more):
    args = ["--max", "--methods", "all", "--host", "keep", "--http2", *args]
    return run("replay", store, "--to", url, *args, **more)


def results(store):
    return select(
        store,
        """select r.*, b.data, e.path from result r join exchange e on e.id = r.exchange_id
           left join body b on b.id = r.body order by e.ts_us, e.id""",
    )


# --- what arrives --------------------------------------------------------------------------------


@needs_nghttpd
def test_what_arrives(plain, tmp_path):
    """The fields in their order, duplicates and all, but those that are about one HTTP/1
    connection."""
    hop = [
        b"Connection: keep-alive, X-Mine",
        b"X-Mine: gone",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: close",
        b"TE: gzip",
        b"HTTP2-Settings: AAMAAABkAAQAAP__",
        b"Upgrade: h2c",
    ]
    fields = [b"X-One: 1", b"Accept: */*", b"x-one:   2  ", b"Empty:"]
    fields += [b"TE: trailers", b"Cookie: a=b"]
    store = dataset(tmp_path, [request("GET", "/here?a=%20&&b", [*hop, *fields])])
    replay(store, plain.url)
    assert plain.requests() == [
        [
            (":method", "GET"),
            (":path", "/here?a=%20&&b"),
            (":scheme", "http"),
            (":authority", "service.test"),
            ("x-one", "1"),
            ("accept", "*/*"),
            ("x-one", "2"),
            ("empty", ""),
            ("te", "trailers"),
            ("cookie", "a=b"),
            ("x-shadow-replay", "1"),
        ]
    ]
    assert [(r["status"], r["data"]) for r in results(store)] == [(200, b"found\n")]


@needs_nghttpd
def test_nothing_is_added(plain, tmp_path):
    store = dataset(tmp_path, [request("POST", "/here", [b"Content-Length: 4"], b"body")])
    replay(store, plain.url)
    names = [name for name, _ in plain.requests()[0] if name[0] != ":"]
    assert sorted(names) == ["content-length", "x-shadow-replay"]


BODIES = [b"", b"\0\r\n\xff", b"x" * 3_000_000]


@needs_nghttpd
@pytest.mark.parametrize("body", BODIES, ids=len)
@pytest.mark.parametrize("how", ["length", "chunks"])
def test_bodies(how, body, plain, tmp_path):
    """What the server echoes is what was recorded, however it was framed."""
    framed = (b"Content-Length: %d" % len(body), body)
    if how == "chunks":
        framed = (b"Transfer-Encoding: chunked", chunked(body[:3], body[3:], trailer=b"T: v\r\n"))
    store = dataset(tmp_path, [request("PUT", "/echo", [framed[0]], framed[1])])
    replay(store, plain.url)
    assert [(r["status"], r["data"] or b"") for r in results(store)] == [(200, body)]
    assert "transfer-encoding" not in dict(plain.requests()[0])


@needs_nghttpd
def test_targets(plain, tmp_path):
    asked = [
        request("OPTIONS", "*"),
        request("GET", "http://other.test/abs?q"),
        request("GET", "//slashes///./../x"),
        request("HEAD", "/here"),
        request("PROPFIND", "/dav"),
        request("GET", "/last", host=None, version=b"1.0"),
    ]
    store = dataset(tmp_path, asked)
    replay(store, plain.url)
    seen = [dict(r) for r in plain.requests()]
    assert [(s[":method"], s[":path"]) for s in seen] == [
        ("OPTIONS", "*"),
        ("GET", "/abs?q"),
        ("GET", "//slashes///./../x"),
        ("HEAD", "/here"),
        ("PROPFIND", "/dav"),
        ("GET", "/last"),
    ]
    assert [r["data"] for r in results(store) if r["path"] == "/here"] == [None]


@needs_nghttpd
def test_order_within_a_connection(plain, tmp_path):
    pcap = PcapFile()
    for n in range(6):
        talk = Conversation(pcap, 20000 + n, at=n)
        for i in range(30):
            talk.exchange(2000 + n + 100 * i, request("GET", f"/{n}/{i}"))
        talk.close(900000 + n)
    store = tmp_path / "shadow.db"
    run("capture", "-r", pcap.write(tmp_path / "in.pcap"), "-o", store)
    replay(store, plain.url, "--workers", "1")
    order = {}
    for seen in plain.requests():
        _, n, i = dict(seen)[":path"].split("/")
        order.setdefault(n, []).append(int(i))
    assert order == {str(n): list(range(30)) for n in range(6)}
    assert json.loads(one(store, "select summary from replay"))["connections"] == 1


@needs_nghttpd
def test_trailers_of_answers(tmp_path):
    (tmp_path / "here").write_text("found\n")
    with running(Nghttpd(tmp_path, "--no-tls", "--trailer=X-Sum: 1", [])) as server:
        store = dataset(tmp_path, [request("GET", "/here")])
        replay(store, f"http://127.0.0.1:{server.port}")
    row = results(store)[0]
    assert (row["status"], row["data"]) == (200, b"found\n")


@pytest.mark.parametrize("pace", [("--rate", "2000/s"), ("--speed", "2")], ids=["rate", "speed"])
@needs_nghttpd
def test_pace(pace, plain, tmp_path):
    """Nothing goes out before it is due."""
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(50)])
    run("replay", store, "--to", plain.url, "--http2", *pace)
    rows = results(store)
    assert all(r["sent_us"] >= r["due_us"] for r in rows)
    assert all(r["latency_us"] >= r["duration_us"] >= r["ttfb_us"] >= 0 for r in rows)
    due = [r["due_us"] for r in rows]
    step = (due[-1] - due[0]) / 49
    assert step == pytest.approx(500 if "--rate" in pace else 1000, abs=1)


@needs_nghttpd
@pytest.mark.parametrize("mode, kept", [("none", 0), ("status", 1), ("full", 1)])
def test_save(mode, kept, plain, tmp_path):
    store = dataset(tmp_path, [request("GET", "/here"), request("GET", "/gone")])
    replay(store, plain.url, "--save", mode)
    rows = results(store)
    assert [r["status"] for r in rows] == [200, 404][: 2 * kept]
    if mode == "full":
        assert ["content-length", "6"] in json.loads(rows[0]["headers"])
    if mode == "status":
        assert (rows[0]["headers"], rows[0]["data"]) == (None, None)


@needs_nghttpd
def test_a_signal_ends_it_well(plain, tmp_path):
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(1000)], gap_us=500_000)
    running_replay = Running(tmp_path, "replay", store, "--to", plain.url, "--http2")
    try:
        wait_until(plain.requests, "the first request")
        running_replay.signal(signal.SIGINT)
        running_replay.end(status=0)
    finally:
        running_replay.kill()
    told = json.loads(one(store, "select summary from replay"))
    assert told["stopped"] and told["sent"] == len(results(store)) < 1000


@needs_nghttpd
def test_many_at_once(plain, tmp_path):
    """More than one connection has streams for; each answered, and none twice."""
    pcap = PcapFile()
    for n in range(400):
        talk = Conversation(pcap, 20000 + n, at=n)
        talk.exchange(2000 + n, request("GET", f"/here?{n}"))
        talk.close(9000 + n)
    store = tmp_path / "shadow.db"
    run("capture", "-r", pcap.write(tmp_path / "in.pcap"), "-o", store)
    replay(store, plain.url, "--connections", "400")
    assert {(r["status"], r["error"]) for r in results(store)} == {(200, None)}
    paths = [dict(seen)[":path"] for seen in plain.requests()]
    assert sorted(paths) == sorted(f"/here?{n}" for n in range(400))


# --- over TLS ------------------------------------------------------------------------------------


def test_nginx(certificates, tmp_path):
    with running(Nginx(tmp_path, *certificates.good)) as server:
        store = dataset(tmp_path, [request("GET", f"/{i}", [b"x-y: %d" % i]) for i in range(100)])
        replay(store, server.url, "--cacert", certificates.ca)
        assert server.log() == [
            [f"GET /{i} HTTP/2.0", "200", "service.test", str(i), "localhost", "HTTP/2.0"]
            for i in range(100)
        ]
    assert {(r["status"], r["data"]) for r in results(store)} == {(200, b"inside\n")}


def test_nginx_without_tls(tmp_path):
    """Prior knowledge (RFC 9113, 3.3)."""
    config = Nginx.CONFIG.replace("ssl http2", "http2").replace("$ssl_server_name", "-")
    config = re.sub(r"ssl_certificate.*;", "", config)
    with running(type("Plain", (Nginx,), {"CONFIG": config})(tmp_path, "", "")) as server:
        store = dataset(tmp_path, [request("GET", "/a")])
        replay(store, f"http://127.0.0.1:{server.port}")
        assert server.log() == [["GET /a HTTP/2.0", "200", "service.test", "-", "-", "HTTP/2.0"]]


def test_untrusted(certificates, tmp_path):
    with running(Nginx(tmp_path, *certificates.good)) as server:
        store = dataset(tmp_path, [request("GET", "/a")])
        done = replay(store, server.url, status=1)
        assert server.log() == [] and "certificate" in done.out
    assert [r["error"] for r in results(store)] == ["TLS failed"]


def test_a_target_without_http2(certificates, tmp_path):
    """It would have been answered over HTTP/1, in other bytes than recorded: nobody asked for
    that."""
    store = dataset(tmp_path, [request("GET", "/a")])
    with TlsServer(*certificates.good) as server:
        server.context.set_alpn_protocols(["http/1.1"])
        done = replay(store, server.url, "--cacert", certificates.ca, status=1)
        assert server.seen == [] and "ALPN" in done.out
    assert [r["error"] for r in results(store)] == ["TLS failed"]


@needs_nghttpd
def test_through_a_proxy(plain, tmp_path):
    store = dataset(tmp_path, [request("GET", "/here")])
    with Proxy() as proxy:
        replay(store, plain.url, "--proxy", proxy.url)
        assert len(proxy.heads) == 1
    assert [r["status"] for r in results(store)] == [200]


@needs_nghttpd
def test_the_origin_is_refused(plain, tmp_path):
    asked = [request("GET", "/a")]
    store = dataset(tmp_path, asked, server="127.0.0.1", server_port=plain.port)
    assert "--allow-origin" in replay(store, plain.url, status=2).err
    assert plain.requests() == []


# --- bad targets ---------------------------------------------------------------------------------


def good(sock, stream):
    head = h2.frame(h2.HEADERS, h2.END_HEADERS, stream, h2.STATUS_200)
    sock.sendall(head + h2.frame(h2.DATA, h2.END_STREAM, stream, b"good\n"))
    return True


def close(sock, stream):
    return False


def reset(sock, stream):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset_stream(sock, stream):
    sock.sendall(h2.frame(h2.RST_STREAM, 0, stream, struct.pack(">I", 2)))
    return True


def cut(sock, stream):
    head = h2.frame(h2.HEADERS, h2.END_HEADERS, stream, h2.STATUS_200)
    sock.sendall(head + h2.frame(h2.DATA, 0, stream, b"half"))


def hang(sock, stream):
    return True


def half_then_hang(sock, stream):
    cut(sock, stream)
    return True


def garbage(sock, stream):
    sock.sendall(b"this was never HTTP/2\r\n" * 100)


def bad_headers(sock, stream):
    sock.sendall(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, b"\xff" * 20))
    return True


CLOSED = {"closed before a response", "connection reset", "closed inside a response"}
BAD = [
    (close, CLOSED),
    (reset, CLOSED),
    (reset_stream, {"connection reset"}),
    (cut, CLOSED),
    (hang, {"response timeout"}),
    (half_then_hang, {"response timeout"}),
    (garbage, CLOSED | {"not an HTTP response"}),
    (bad_headers, CLOSED | {"not an HTTP response", "send failed"}),
]


@pytest.mark.parametrize("mood, names", BAD, ids=[m.__name__ for m, _ in BAD])
def test_it_costs_its_own(mood, names, tmp_path):
    """The second and the fourth are answered badly; nothing is sent twice that must not be."""
    asked = [request("POST", f"/{i}", [b"Content-Length: 1"], b"x") for i in range(5)]
    store = dataset(tmp_path, asked)

    def moody(sock, stream, n):
        return mood(sock, stream) if n in (2, 4) else good(sock, stream)

    with h2.H2Server(moody) as server:
        replay(store, server.url, "--timeout", "300ms")
        assert len(server.streams) == 5
    rows = results(store)
    assert [r["status"] for r in rows] == [200, None, 200, None, 200]
    assert {r["error"] for r in rows if r["error"]} <= names


def test_a_stream_that_is_reset_is_no_stale_connection(tmp_path):
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(5)])

    def moody(sock, stream, n):
        return reset_stream(sock, stream) if n in (2, 4) else good(sock, stream)

    with h2.H2Server(moody) as server:
        replay(store, server.url)
        assert len(server.streams) == 5
    rows = results(store)
    assert [r["status"] for r in rows] == [200, None, 200, None, 200]
    assert {r["error"] for r in rows if r["error"]} == {"connection reset"}
    summary = json.loads(select(store, "SELECT summary FROM replay")[0]["summary"])
    assert summary["retried"] == 0


def test_late_is_dropped(tmp_path):
    """One at a time, and the first takes longer than the rest may be late."""
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(4)])

    def moody(sock, stream, n):
        return hang(sock, stream) if n == 1 else good(sock, stream)

    with h2.H2Server(moody) as server:
        run(
            *("replay", store, "--to", server.url, "--http2", "--connections", "1"),
            *("--timeout", "800ms", "--drop-late", "300ms"),
            status=1,
        )
        assert len(server.streams) == 1
    summary = json.loads(select(store, "SELECT summary FROM replay")[0]["summary"])
    assert summary["skipped_by"] == {"too_late": 3}
    assert summary["errors"] == {"response timeout": 1}


def test_goaway(tmp_path):
    """A server that ends its connection politely costs nothing."""
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(6)])

    def moody(sock, stream, n):
        good(sock, stream)
        sock.sendall(h2.frame(h2.GOAWAY, 0, 0, struct.pack(">II", stream, 0)))
        return False

    with h2.H2Server(moody) as server:
        replay(store, server.url)
    assert [r["status"] for r in results(store)] == [200] * 6


def test_an_http1_server(tmp_path):
    """It says so in HTTP/1, which is no answer."""
    store = dataset(tmp_path, [request("GET", "/a")])
    with RawServer() as server:
        replay(store, server.url, "--timeout", "2s", status=1)
    assert results(store)[0]["error"] in CLOSED | {"not an HTTP response"}


def test_nobody_is_there(tmp_path):
    store = dataset(tmp_path, [request("GET", "/a"), request("GET", "/b")])
    held, port = dead_port()
    with held:
        replay(store, f"http://127.0.0.1:{port}", status=1)
    assert [r["error"] for r in results(store)] == ["could not connect"] * 2
    with DeafListener() as deaf:
        replay(store, deaf.url, "--timeout", "200ms", status=1)
    last = select(store, "select error from result where replay_id = 2")
    assert [r["error"] for r in last] == ["connect timeout"] * 2
