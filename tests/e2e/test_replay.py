# SPDX-License-Identifier: Apache-2.0
"""Replay: what goes out, when it was due, what is held back, and what a bad target costs."""

import contextlib
import json
import re
import signal
import sqlite3
import subprocess

import pytest
from harness import (
    Running,
    binary,
    chunked,
    dead_port,
    integrity,
    one,
    request,
    run,
    select,
    wait_until,
    with_value,
    without,
)
from pcapfile import Conversation, PcapFile, simple
from servers.hostile import BEHAVIOURS, ODD, HostileServer, hang
from servers.raw import RawServer


def dataset(folder, requests, **more):
    simple(folder / "in.pcap", requests, **more)
    run("capture", "-r", folder / "in.pcap", "-o", folder / "shadow.db")
    return folder / "shadow.db"


def replay(store, server, *args, pace=("--max",), **more):
    return run("replay", store, "--to", server.url, *pace, *args, **more)


def targets(server):
    return [s.target for s in server.seen]


def results(store):
    """Of the last replay, in the order of the recording."""
    return select(
        store,
        """select r.*, e.ts_us, e.path from result r join exchange e on e.id = r.exchange_id
           where replay_id = (select max(id) from replay) order by e.ts_us, e.id""",
    )


def summary_of(store):
    return json.loads(one(store, "select summary from replay order by id desc limit 1"))


# --- bytes ---------------------------------------------------------------------------------------

CHUNKED = b"Transfer-Encoding: chunked"
ODD_REQUESTS = [
    b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /case HTTP/1.1\r\nhOsT: a\r\nACCEPT: */*\r\nx-y:z\r\n\r\n",
    b"GET /twice HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 2\r\nX: 3\r\n\r\n",
    b"GET /space HTTP/1.1\r\nHost: a\r\nX:   three  \r\nE:\r\n\r\n",
    b"GET /q?a=1&b=%20%zz&&c HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /empty? HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET //slashes///./../x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /latin HTTP/1.1\r\nHost: a\r\nX: caf\xe9\r\n\r\n",
    b"GET /utf8 HTTP/1.1\r\nHost: a\r\nX: caf\xc3\xa9\r\n\r\n",
    b"GET /pct/%E2%82%AC HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /body HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
    b"POST /nul HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n\0\r\n\0\xff",
    b"POST /zero HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    request("POST", "/chunks", [CHUNKED], chunked(b"one", b"twotwo", b"3" * 70)),
    request("POST", "/nochunks", [CHUNKED], chunked()),
    request("POST", "/upper", [CHUNKED], b"1F\r\n" + b"u" * 31 + b"\r\n0\r\n\r\n"),
    request("POST", "/padded", [CHUNKED], b"0005;a=\"b\" ; c\r\nfives\r\n000\r\nT:v\r\n\r\n"),
    request("POST", "/feeds", [CHUNKED], b"3\nabc\n0\n\n"),
    request("POST", "/some-feeds", [CHUNKED], b"3\nabc\n2\r\n\n\n\r\n0\nT: v\n\n"),
    request(
        *("PUT", "/trailer", [CHUNKED, b"Trailer: X-Sum"]),
        chunked(b"data", trailer=b"X-Sum: 1\r\n"),
    ),
    b"PROPFIND /dav HTTP/1.1\r\nHost: a\r\nDepth: 1\r\n\r\n",
    b"POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + bytes(range(250)) * 1200,
]


def line_of(raw):
    return raw.partition(b"\r\n")[0].decode("latin-1")


def test_what_was_recorded_goes_out(tmp_path, raw_server):
    store = dataset(tmp_path, ODD_REQUESTS)
    replay(store, raw_server, "--methods", "all", "--host", "keep")
    assert [s.line for s in raw_server.seen] == [line_of(r) for r in ODD_REQUESTS]
    for seen, raw in zip(raw_server.seen, ODD_REQUESTS):
        unmarked, n = without(seen.raw, "X-Shadow-Replay")
        assert n == 1
        assert unmarked == raw


def test_the_marker_names_the_run(tmp_path, raw_server):
    store = dataset(tmp_path, [request("GET", "/a")])
    replay(store, raw_server)
    replay(store, raw_server)
    runs = [str(r[0]) for r in select(store, "select id from replay order by id")]
    assert [s.field("X-Shadow-Replay") for s in raw_server.seen] == runs == ["1", "2"]


# --rewrite, recorded target, target on the wire
REWRITES = [
    ("/httpbin=/", "/httpbin/headers", "//headers"),
    ("/httpbin/=/", "/httpbin/headers", "/headers"),
    ("/httpbin=", "/httpbin/headers", "/headers"),
    ("/httpbin=/", "/httpbin", "/"),
    ("/httpbin=/", "/httpbinX/y?q=/httpbin", "/X/y?q=/httpbin"),
    ("/httpbin=/", "/other/httpbin", "/other/httpbin"),
    ("/a=/b%20c", "/a/d?e=1", "/b%20c/d?e=1"),
    ("~/v[0-9]+/=/v9/", "/api/v1/x/v22/y?v=/v3/", "/api/v9/x/v9/y?v=/v3/"),
    (r"~/user/(\d+)=/u-\1", "/user/42/name", "/u-42/name"),
]


@pytest.mark.parametrize("rule, recorded, wire", REWRITES)
def test_rewrite(rule, recorded, wire, tmp_path, raw_server):
    store = dataset(tmp_path, [request("GET", recorded)])
    replay(store, raw_server, "--rewrite", rule)
    assert targets(raw_server) == [wire]
    assert one(store, "select path from exchange") == recorded.partition("?")[0]


# --host, recorded Host, Host on the wire ({} is the target's authority)
HOSTS = [
    (None, b"shop.example", "{}"),
    ("target", b"shop.example", "{}"),
    ("keep", b"shop.example:8080", "shop.example:8080"),
    ("shadow", b"shop.example", "shop.example-shadow"),
    ("shadow", b"shop.example:8080", "shop.example-shadow:8080"),
    ("other.example", b"shop.example", "other.example"),
    ("other.example:81", b"shop.example", "other.example:81"),
]


@pytest.mark.parametrize("mode, recorded, wire", HOSTS)
def test_host(mode, recorded, wire, tmp_path, raw_server):
    raw = request("GET", "/h", [b"X: y"], host=recorded)
    store = dataset(tmp_path, [raw])
    replay(store, raw_server, *(["--host", mode] if mode else []))
    expected = wire.format(f"127.0.0.1:{raw_server.port}")
    seen, _ = without(raw_server.seen[0].raw, "X-Shadow-Replay")
    assert seen == with_value(raw, "Host", expected.encode())


# --- which requests ------------------------------------------------------------------------------

METHODS = ["GET", "POST", "HEAD", "PUT", "OPTIONS", "PATCH", "DELETE", "GET"]


@pytest.mark.parametrize(
    "args, sent",
    [
        ([], ["GET", "HEAD", "OPTIONS", "GET"]),
        (["--methods", "all"], METHODS),
        (["--methods", "GET,POST"], ["GET", "POST", "GET"]),
        (["--methods", "DELETE"], ["DELETE"]),
    ],
    ids=["default", "all", "list", "one"],
)
def test_methods(args, sent, tmp_path, raw_server):
    """Nobody repeats a POST by accident, and what was held back is said."""
    made = [request(m, f"/{i}", [b"Content-Length: 0"]) for i, m in enumerate(METHODS)]
    store = dataset(tmp_path, made)
    done = replay(store, raw_server, *args)
    assert [s.line.split()[0] for s in raw_server.seen] == sent
    held = len(METHODS) - len(sent)
    assert f" {held} held back" in done.err + done.out
    assert summary_of(store)["held_back"] == held
    assert one(store, "select count(*) from result") == len(sent)


def test_rules_of_a_replay(tmp_path, raw_server):
    store = dataset(tmp_path, [request("GET", p) for p in ("/a/1", "/b", "/a/2", "/a/x")])
    replay(store, raw_server, "--route", "/a/*", "--exclude", "/a/x")
    assert targets(raw_server) == ["/a/1", "/a/2"]


def test_sample_of_a_replay(tmp_path, raw_server):
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(400)])

    def sent(*args):
        raw_server.seen.clear()
        replay(store, raw_server, *args)
        return targets(raw_server)

    first = sent("--sample", "50%", "--seed", "3")
    assert 140 <= len(first) <= 260
    assert sent("--sample", "50%", "--seed", "3") == first
    assert sent("--sample", "50%", "--seed", "4") != first
    assert 140 <= len(sent("--sample", "50%")) <= 260


def test_sample_of_many_passes(tmp_path, raw_server):
    """One that happens to be empty is not the last."""
    store = dataset(tmp_path, [request("GET", "/a")])
    args = ["--sample", "10%", "--loop", "500", "--json"]
    told = json.loads(replay(store, raw_server, *args, "--seed", "1").out)
    assert told["read"] == 500 and 16 < told["sent"] < 84
    assert told["skipped_by"] == {"unsampled": 500 - told["sent"]}
    assert json.loads(replay(store, raw_server, *args, "--sample", "0%").out)["read"] == 1
    replay(store, raw_server, "--sample", "10%", "--loop", "0",
           "--duration", "100ms", pace=("--rate", "1000/s"))  # fmt: skip


# --- when ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pace, step_us",
    [((), 2000), (("--speed", "2"), 1000), (("--speed", "0.5"), 4000), (("--rate", "400/s"), 2500)],
    ids=["recorded", "faster", "slower", "rate"],
)
def test_the_plan(pace, step_us, tmp_path, raw_server):
    """Due times are the plan and exact, whatever the machine made of it; nothing is sent early."""
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(50)], gap_us=1000)
    replay(store, raw_server, pace=pace)
    rows = results(store)
    assert len(rows) == 50
    offsets = [r["due_us"] - rows[0]["due_us"] for r in rows]
    assert all(abs(got - i * step_us) <= 1 for i, got in enumerate(offsets)), offsets
    assert all(r["sent_us"] >= r["due_us"] for r in rows)
    assert all(r["latency_us"] >= r["duration_us"] >= r["ttfb_us"] >= 0 for r in rows)
    assert targets(raw_server) == [f"/{i}" for i in range(50)]


def test_connections_stay_together_and_apart(tmp_path, raw_server):
    pcap = PcapFile()
    talks = [Conversation(pcap, 41000 + n, at=n) for n in range(5)]
    for i in range(10):
        for n, talk in enumerate(talks):
            talk.exchange(5000 * i + n * 100 + 1000, request("GET", f"/{n}/{i}"))
    for talk in talks:
        talk.close(90000)
    run("capture", "-r", pcap.write(tmp_path / "in.pcap"), "-o", tmp_path / "shadow.db")
    replay(tmp_path / "shadow.db", raw_server)
    where = {}
    for seen in raw_server.seen:
        n, i = seen.target[1:].split("/")
        where.setdefault(n, []).append((seen.connection, int(i)))
    assert sorted(where) == list("01234")
    for places in where.values():
        assert len({c for c, _ in places}) == 1
        assert [i for _, i in places] == list(range(10))
    assert len({places[0][0] for places in where.values()}) == 5


def test_a_server_that_closes_each_time(tmp_path):
    """Connection: close in the recording, or the server's own wish: the rest goes on elsewhere."""

    class OneEach(RawServer):
        def respond(self, sock, head, fields):
            super().respond(sock, head, {**fields, "connection": "close"})
            return False

    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(20)])
    with OneEach() as server:
        replay(store, server)
        assert targets(server) == [f"/{i}" for i in range(20)]
    assert {(r["status"], r["error"]) for r in results(store)} == {(200, None)}


# --- bad targets ---------------------------------------------------------------------------------


def errors_in(store):
    return {r["error"] for r in results(store)}


def test_nobody_listens(tmp_path):
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(5)])
    held, port = dead_port()
    with held:
        done = run("replay", store, "--to", f"http://127.0.0.1:{port}", "--max", status=1)
    assert errors_in(store) == {"could not connect"}
    assert "could not connect" in done.out + done.err
    assert len(results(store)) == 5


def test_a_name_that_is_none(tmp_path):
    """RFC 6761: .invalid never resolves. A target that is nowhere is known before anything is sent."""
    store = dataset(tmp_path, [request("GET", "/")])
    done = run("replay", store, "--to", "http://nowhere.invalid", "--max", status=1)
    assert len(done.err_lines) == 1 and "nowhere.invalid" in done.err
    assert results(store) == []


@pytest.mark.parametrize("behaviour, name", BEHAVIOURS, ids=[b.__name__ for b, _ in BEHAVIOURS])
def test_hostile_server(behaviour, name, tmp_path):
    """Each costs its own request only, and has a name."""
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(4)])
    with HostileServer(behaviour) as server:
        done = replay(store, server, "--timeout", "300ms", status=None)
    assert done.status in (0, 1)
    assert [r["error"] for r in results(store)] == [name] * 4
    assert name in done.out + done.err
    assert all(r["status"] is None for r in results(store))


@pytest.mark.parametrize("behaviour, status", ODD, ids=[b.__name__ for b, _ in ODD])
def test_odd_but_right_server(behaviour, status, tmp_path):
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(3)])
    with HostileServer(behaviour) as server:
        replay(store, server)
    assert [(r["status"], r["error"]) for r in results(store)] == [(status, None)] * 3


def test_one_bad_answer_harms_no_other(tmp_path):
    class Moody(RawServer):
        def respond(self, sock, head, fields):
            if b" /bad" in head:
                sock.sendall(b"nonsense\r\n\r\n")
                return False
            return super().respond(sock, head, fields)

    store = dataset(tmp_path, [request("GET", p) for p in ("/1", "/bad", "/2", "/bad", "/3")])
    with Moody() as server:
        replay(store, server, status=None)
    assert [(r["path"], r["status"]) for r in results(store)] == [
        *[("/1", 200), ("/bad", None), ("/2", 200), ("/bad", None), ("/3", 200)]
    ]


# --- where ---------------------------------------------------------------------------------------


def test_the_origin_is_refused(tmp_path, raw_server):
    store = dataset(
        tmp_path, [request("GET", "/a")], server="127.0.0.1", server_port=raw_server.port
    )
    refused = replay(store, raw_server, status=2)
    assert len(refused.err_lines) == 1
    assert f"127.0.0.1:{raw_server.port}" in refused.err and "--allow-origin" in refused.err
    assert raw_server.connections == 0
    assert select(store, "select * from replay") == []
    by_name = run("replay", store, "--to", f"http://localhost:{raw_server.port}", status=2)
    assert "--allow-origin" in by_name.err
    replay(store, raw_server, "--allow-origin")
    assert targets(raw_server) == ["/a"]


# --- stopping, saving ----------------------------------------------------------------------------


def test_a_signal_ends_it_well(tmp_path, raw_server):
    """What was sent has its result, the rest is not sent, and the summary is written."""
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(1000)], gap_us=500_000)
    running = Running(tmp_path, "replay", store, "--to", raw_server.url)
    try:
        wait_until(lambda: raw_server.seen, "the first request")
        running.signal(signal.SIGINT)
        running.end(status=0)
    finally:
        running.kill()
    rows = results(store)
    assert len([r for r in rows if r["status"] == 200]) == len(raw_server.seen) < 1000
    assert one(store, "select ended_at is not null and summary is not null from replay") == 1


def test_signals_at_once_are_one(tmp_path, raw_server):
    """timeout(1) sends its own to the program and to its group."""
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(1000)], gap_us=200_000)
    with under_way(tmp_path, store, raw_server) as running:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
            running.signal(number)
        running.end(status=0)
    assert len(results(store)) == len(raw_server.seen)
    assert one(store, "select ended_at is not null and summary is not null from replay") == 1


class StopsAnswering(RawServer):
    def respond(self, sock, head, fields):
        return hang(sock) if b"/hang" in head else super().respond(sock, head, fields)


def test_another_signal_waits_for_nothing(tmp_path):
    """But keeps what is there."""
    store = dataset(tmp_path, [request("GET", "/a"), request("GET", "/hang")])
    with StopsAnswering() as server:
        running = Running(tmp_path, "replay", store, "--to", server.url, "--timeout", "1h", "--max")
        try:
            wait_until(lambda: len(server.seen) == 2, "the second request")
            wait_until(lambda: running.signal(signal.SIGINT) or running.process.poll() is not None,
                       "its end")
            running.end(status=0)
        finally:
            running.kill()
    rows = [(row["status"], row["error"]) for row in results(store)]
    assert rows == [(200, None), (None, "stopped while in flight")]
    assert one(store, "select ended_at is not null and summary is not null from replay") == 1


@pytest.mark.parametrize("mode, kept", [("none", 0), ("status", 1), ("full", 1), (None, 1)])
def test_save(mode, kept, tmp_path, raw_server):
    store = dataset(tmp_path, [request("GET", "/a"), request("GET", "/b")])
    replay(store, raw_server, *(["--save", mode] if mode else []))
    assert len(raw_server.seen) == 2
    rows = select(store, "select r.*, b.data from result r left join body b on b.id = r.body")
    assert len(rows) == 2 * kept
    if mode == "full":
        assert {r["data"] for r in rows} == {b"raw\n"}
        assert ["Content-Length", "4"] in json.loads(rows[0]["headers"])
    if mode == "status":
        assert {(r["status"], r["data"]) for r in rows} == {(200, None)}


def test_a_body_is_kept_once(tmp_path, raw_server):
    """Whoever got it: the recording, a replay, another one."""
    length = [b"Content-Length: 4"]
    store = dataset(tmp_path, [request("POST", "/a", length, b"raw\n"), request("GET", "/b")])
    for _ in range(2):
        replay(store, raw_server, "--methods", "all")
    assert len(select(store, "select 1 from result where body is not null")) == 4
    assert len(select(store, "select 1 from body where data = cast('raw\n' as blob)")) == 1
    assert one(store, "select count(distinct body) from result") == 1
    named = "select request_body in (select body from result) from exchange where path = '/a'"
    assert one(store, named) == 1


def test_summary(tmp_path, raw_server):
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(30)])
    done = replay(store, raw_server)
    text = done.out + done.err
    assert re.search(r"\b30\b", text) and "200" in text
    for word in ("p50", "p99", "max"):
        assert word in text
    assert summary_of(store)


def test_summary_as_json(tmp_path, raw_server):
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(3)])
    done = replay(store, raw_server, "--json")
    assert json.loads(done.out) == summary_of(store)


def test_an_empty_dataset(tmp_path, raw_server):
    store = dataset(tmp_path, [request("GET", "/a")])
    replay(store, raw_server, "--route", "/nothing")
    assert raw_server.seen == [] and results(store) == []


def test_1000_connections(tmp_path, raw_server):
    """Many at once, with a ceiling on how many are open."""
    pcap = PcapFile()
    for n in range(1000):
        talk = Conversation(pcap, 20000 + n, at=n)
        talk.exchange(2000 + n, request("GET", f"/{n}"))
        talk.close(9000 + n)
    run("capture", "-r", pcap.write(tmp_path / "in.pcap"), "-o", tmp_path / "shadow.db")
    replay(tmp_path / "shadow.db", raw_server, "--connections", "16")
    assert sorted(targets(raw_server)) == sorted(f"/{n}" for n in range(1000))


def test_each_recorded_connection_has_its_own(tmp_path, raw_server):
    """As long as there are enough, however many workers share them."""
    pcap = PcapFile()
    for c in range(20):
        talk = Conversation(pcap, 20000 + c, at=c)
        for n in range(3):
            talk.exchange(2000 + 100 * n + c, request("GET", f"/{c}/{n}"))
        talk.close(9000 + c)
    run("capture", "-r", pcap.write(tmp_path / "in.pcap"), "-o", tmp_path / "shadow.db")
    replay(tmp_path / "shadow.db", raw_server, "--connections", "20", "--workers", "8")
    pairs = {(s.connection, s.target.split("/")[1]) for s in raw_server.seen}
    assert len(raw_server.seen) == 60 and len(pairs) == raw_server.connections == 20


def test_few_open_files(tmp_path, raw_server):
    """Nobody asked for as many connections as there would be otherwise."""
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(3)])
    few = ["prlimit", "--nofile=200:200"]
    done = subprocess.run(
        [*few, binary(), "replay", store, "--to", raw_server.url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(raw_server.seen) == 3


# --- the store meanwhile -------------------------------------------------------------------------


@contextlib.contextmanager
def under_way(folder, store, server):
    running = Running(folder, "replay", store, "--to", server.url)
    try:
        wait_until(lambda: results(store), "the first result")
        yield running
    finally:
        running.kill()


def test_the_log_is_not_deleted_by_others(tmp_path, raw_server):
    """Who closes the store last deletes its log; a replay under way is there still."""
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(1000)], gap_us=200_000)
    with under_way(tmp_path, store, raw_server) as running:
        for _ in range(2):
            other = sqlite3.connect(store)
            other.execute("update capture set source = source")
            other.commit()
            other.close()
            assert (tmp_path / "shadow.db-wal").exists()
        running.signal(signal.SIGINT)
        running.end(status=0)
    assert integrity(store) == "ok" and len(results(store)) == len(raw_server.seen)


def test_a_store_that_is_removed(tmp_path, raw_server):
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(1000)], gap_us=200_000)
    with under_way(tmp_path, store, raw_server) as running:
        store.unlink()
        running.signal(signal.SIGINT)
        assert "removed or replaced" in running.end(status=1)


def test_a_damaged_row_is_no_wrong_usage(tmp_path, raw_server):
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(20)])
    with sqlite3.connect(store) as db:
        db.execute("update exchange set request_headers = 'no' where id = 11")
    done = replay(store, raw_server, status=1)
    assert "exchange 11" in done.err
    assert one(store, "select ended_at is null from replay") == 1


class Varied(RawServer):
    """Answers no two requests alike."""

    def respond(self, sock, head, fields):
        with self.lock:
            self.answer = b"%06d" % len(self.seen) + b"x" * 100_000
            return super().respond(sock, head, fields)


def test_what_a_full_disk_does_not_keep_is_said(small_disk):
    store = dataset(small_disk, [request("GET", f"/{i}") for i in range(60)])
    with Varied() as server:
        done = replay(store, server, "--json", status=1)
    summary = json.loads(done.out)
    kept = one(store, "select count(*) from result")
    assert summary["unkept"] == summary["sent"] + summary["failed"] - kept > 0
    assert one(store, "select ended_at is null from replay") == 1
