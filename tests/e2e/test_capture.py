# SPDX-License-Identifier: Apache-2.0
"""Capture: which requests are taken, when it ends, what it says, and what is left when it ends as
nobody wanted it to."""

import itertools
import json
import os
import random
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import threading

import pytest
from harness import (
    Capture,
    Client,
    chunked,
    exchanges,
    get,
    integrity,
    one,
    request,
    run,
    select,
    wait_until,
)
from pcapfile import Conversation, PcapFile, simple
from servers.raw import RawServer


def from_file(folder, requests, *args, **more):
    """The rows that a capture of these requests from a file makes."""
    simple(folder / "in.pcap", requests, **more)
    store = folder / "out.db"
    store.unlink(missing_ok=True)
    run("capture", "-r", folder / "in.pcap", "-o", store, *args)
    return exchanges(store)


def ledger_of(store):
    return json.loads(select(store, "select ledger from capture order by id desc")[0][0])


def adds_up(ledger):
    packets, requests, responses = (ledger[g] for g in ("packets", "requests", "responses"))
    assert packets["seen"] == sum(v for k, v in packets.items() if k != "seen")
    assert requests["seen"] == sum(v for k, v in requests.items() if k != "seen")
    assert responses["seen"] == responses["paired"] + responses["orphaned"]


# --- which requests ------------------------------------------------------------------------------

REQUESTS = [
    ("GET", "shop.example", "/api/users"),
    ("GET", "shop.example", "/api/users/7?full=1"),
    ("POST", "shop.example:8080", "/api/users"),
    ("GET", "www.shop.example", "/"),
    ("DELETE", "admin.example", "/api/users/7"),
    ("GET", "admin.example", "/health"),
    ("GET", "shop.example", "/API/users"),
    ("GET", "shop.example", "/apiary"),
]

# rules, indexes of REQUESTS that they take
RULES = [
    ([], [0, 1, 2, 3, 4, 5, 6, 7]),
    (["--route", "/api/users"], [0, 2]),
    (["--route", "/api*"], [0, 1, 2, 4, 7]),
    (["--route", "/api/*"], [0, 1, 2, 4]),
    (["--route", "GET /api/*"], [0, 1]),
    (["--route", "POST,DELETE /*"], [2, 4]),
    (["--route", "shop.example/*"], [0, 1, 2, 6, 7]),
    (["--route", "*.example/*"], [0, 1, 2, 3, 4, 5, 6, 7]),
    (["--route", "*.shop.example/*"], [3]),
    (["--route", "~/api/users(/[0-9]+)?"], [0, 1, 2, 4]),
    (["--route", "~/api"], []),
    (["--route", "GET shop.example~/api/.*"], [0, 1]),
    (["--route", "/health", "--route", "POST /*"], [2, 5]),
    (["--exclude", "/health"], [0, 1, 2, 3, 4, 6, 7]),
    (["--exclude", "GET /*"], [2, 4]),
    (["--route", "/api/*", "--exclude", "DELETE /*"], [0, 1, 2]),
    (["--route", "/nothing"], []),
]


@pytest.mark.parametrize("rules, taken", RULES, ids=[" ".join(r) or "none" for r, _ in RULES])
def test_rules(rules, taken, tmp_path):
    made = [request(m, t, host=h.encode()) for m, h, t in REQUESTS]
    rows = from_file(tmp_path, made, *rules)
    targets = [r["path"] + ("?" + r["query"] if r["query"] else "") for r in rows]
    got = [(r["method"], r["host"], target) for r, target in zip(rows, targets)]
    assert got == [REQUESTS[i] for i in taken]
    ledger = ledger_of(tmp_path / "out.db")
    adds_up(ledger)
    assert ledger["requests"]["stored"] == len(taken)
    assert ledger["requests"]["filtered"] == len(REQUESTS) - len(taken)


def test_the_route_that_took_it_is_kept(tmp_path):
    made = [request("GET", "/a"), request("GET", "/b")]
    rows = from_file(tmp_path, made, "--route", "/b", "--route", "GET /a*")
    assert [r["route"] for r in rows] == ["GET /a*", "/b"]


# --- sampling ------------------------------------------------------------------------------------


def test_sample_is_a_coin_and_the_seed_decides_it(tmp_path):
    """Six standard deviations around the mean: off once in a thousand million runs."""
    made = [request("GET", f"/{i}") for i in range(2000)]

    def taken(*args):
        return [r["path"] for r in from_file(tmp_path, made, *args)]

    assert len(taken("--sample", "100%")) == 2000
    assert taken("--sample", "0%") == []
    half = taken("--sample", "50%", "--seed", "7")
    assert 866 <= len(half) <= 1134
    ledger = ledger_of(tmp_path / "out.db")
    adds_up(ledger)
    assert ledger["requests"]["unsampled"] == 2000 - len(half)
    assert one(tmp_path / "out.db", "select distinct sample from exchange") == 50
    assert taken("--sample", "50%", "--seed", "7") == half
    assert taken("--sample", "50", "--seed", "8") != half
    tenth = taken("--sample", "10%", "--seed", "7")
    assert 120 <= len(tenth) <= 280
    assert 866 <= len(taken("--sample", "50%")) <= 1134


# --- odd messages --------------------------------------------------------------------------------


def talk(folder, *steps, port=40000):
    """The rows of one connection: (side, bytes) steps, 0 the client's."""
    pcap = PcapFile()
    conversation = Conversation(pcap, port)
    for i, (side, data) in enumerate(steps):
        conversation.say(1000 * (i + 1), side, data)
    conversation.close(1000 * (len(steps) + 1))
    run("capture", "-r", pcap.write(folder / "in.pcap"), "-o", folder / "out.db")
    return exchanges(folder / "out.db")


def test_pipelined_and_interim_and_bodyless(tmp_path):
    """100 Continue is no answer; HEAD and 304 have a length and no body."""
    post = request("POST", "/one", [b"Content-Length: 3", b"Expect: 100-continue"])
    rows = talk(
        tmp_path,
        (0, post),
        (1, b"HTTP/1.1 100 Continue\r\n\r\n"),
        (0, b"abc"),
        (1, b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\nmade"),
        (0, request("HEAD", "/two") + request("GET", "/three") + request("GET", "/four")),
        (1, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        (1, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\nHTTP/1.1 200 OK\r\n"),
        (1, b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"four", b"and", extension=b";x=y")),
    )
    names = ("method", "path", "status", "request_data", "response_data")
    assert [tuple(r[name] for name in names) for r in rows] == [
        ("POST", "/one", 201, b"abc", b"made"),
        ("HEAD", "/two", 200, None, None),
        ("GET", "/three", 304, None, None),
        ("GET", "/four", 200, None, b"fourand"),
    ]
    assert [r["position"] for r in rows] == [0, 1, 2, 3]


def test_close_delimited_and_http_1_0(tmp_path):
    rows = talk(
        tmp_path,
        (0, request("GET", "/old", version=b"1.0", host=None)),
        (1, b"HTTP/1.0 200 OK\r\n\r\nas long"),
        (1, b" as it lasts"),
    )
    assert [(r["version"], r["state"], r["response_data"]) for r in rows] == [
        ("1.0", "complete", b"as long as it lasts")
    ]


def test_trailers(tmp_path):
    body = chunked(b"body", trailer=b"X-Sum: 1\r\nx-sum: 2\r\n")
    rows = talk(
        tmp_path,
        (0, request("POST", "/t", [b"Transfer-Encoding: chunked"], body)),
        (1, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    )
    assert json.loads(rows[0]["request_trailers"]) == [["X-Sum", "1"], ["x-sum", "2"]]
    assert rows[0]["response_trailers"] is None


def test_no_response(tmp_path):
    rows = talk(tmp_path, (0, request("GET", "/lost")))
    row = rows[0]
    assert (row["state"], row["status"], row["response_headers"]) == ("no-response", None, None)
    assert (row["ttfb_us"], row["duration_us"]) == (None, None)


def test_times_are_those_of_the_packets(tmp_path):
    rows = from_file(tmp_path, [request("GET", "/a"), request("GET", "/b")], gap_us=250_000)
    assert [r["ts_us"] - 1_700_000_000_000_000 for r in rows] == [0, 500_000]
    assert [(r["ttfb_us"], r["duration_us"]) for r in rows] == [(1000, 1000)] * 2


def test_a_body_over_the_cap_is_cut_and_said(tmp_path):
    made = [request("POST", "/big", [b"Content-Length: 5000"], b"x" * 5000), request("GET", "/ok")]
    rows = from_file(tmp_path, made, "--max-body", "1K")
    assert [(r["state"], r["request_size"]) for r in rows] == [("truncated", 5000), ("complete", 0)]
    assert rows[0]["request_data"] == b"x" * 1024
    assert ledger_of(tmp_path / "out.db")["messages"]["bodies_capped"] == 1


def test_the_same_body_is_kept_once(tmp_path):
    made = [request("POST", "/b", [b"Content-Length: 9"], b"same same")] * 5
    assert len(from_file(tmp_path, made)) == 5
    kept = select(tmp_path / "out.db", "select data from body")
    assert [r[0] for r in kept if r[0] == b"same same"] == [b"same same"]


def test_segments_in_any_order(tmp_path):
    """Retransmitted and out of order, the stream is the same stream."""
    message = request("POST", "/order", [b"Content-Length: 4000"], bytes(range(250)) * 16)
    pcap = PcapFile()
    conversation = Conversation(pcap, 40000)
    conversation.request(1000, message)
    conversation.response(9000, b"HTTP/1.1 204 No Content\r\n\r\n")
    data = [i for i, (_, _, d) in enumerate(pcap.frames) if len(d) > 200]
    times = [pcap.frames[i][0] for i in data]
    for i, ts_us in zip(data, reversed(times)):
        pcap.frames[i] = (ts_us, -i, pcap.frames[i][2])
    pcap.frames.append((times[-1], 1000, pcap.frames[data[1]][2]))
    run("capture", "-r", pcap.write(tmp_path / "in.pcap"), "-o", tmp_path / "out.db")
    rows = exchanges(tmp_path / "out.db")
    assert [(r["path"], r["state"], r["status"]) for r in rows] == [("/order", "complete", 204)]
    assert rows[0]["request_data"] == bytes(range(250)) * 16
    assert ledger_of(tmp_path / "out.db")["streams"]["bytes_retransmitted"] > 0


# --- files ---------------------------------------------------------------------------------------


def test_a_file_cut_short_gives_what_it_holds(tmp_path):
    """Killed recorders leave such files: what is whole counts, and the cut is said."""
    whole = simple(tmp_path / "whole.pcap", [request("GET", f"/{i}") for i in range(20)])
    data = whole.read_bytes()
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(data[: len(data) // 2])
    done = run("capture", "-r", cut, "-o", tmp_path / "cut.db", status=None)
    assert done.status in (0, 1)
    assert any("cut.pcap" in line for line in done.err_lines)
    rows = exchanges(tmp_path / "cut.db")
    assert [r["path"] for r in rows] == [f"/{i}" for i in range(len(rows))]
    assert 5 <= len(rows) <= 12
    adds_up(ledger_of(tmp_path / "cut.db"))


@pytest.mark.parametrize("tool", ["tcpdump", "tshark"])
def test_other_programs_read_our_test_files(tool, tmp_path):
    """Else the tests above would test their own mistakes."""
    path = simple(tmp_path / "in.pcap", [request("GET", "/a")])
    args = {"tcpdump": ["-nr", path], "tshark": ["-r", path]}[tool]
    out = subprocess.run([tool, *args], capture_output=True, text=True, check=True).stdout
    assert "GET /a" in out


def test_captures_add_up_in_one_store(tmp_path):
    for name in ("a", "b"):
        simple(tmp_path / f"{name}.pcap", [request("GET", f"/{name}")])
        run("capture", "-r", tmp_path / f"{name}.pcap", "-o", tmp_path / "out.db")
    rows = select(tmp_path / "out.db", "select capture_id, path from exchange order by id")
    assert [tuple(r) for r in rows] == [(1, "/a"), (2, "/b")]
    sources = select(tmp_path / "out.db", "select source from capture order by id")
    assert [os.path.basename(r[0]) for r in sources] == ["a.pcap", "b.pcap"]


def test_the_store_is_for_its_owner_only(tmp_path):
    from_file(tmp_path, [request("GET", "/secret")])
    assert stat.S_IMODE((tmp_path / "out.db").stat().st_mode) == 0o600
    assert integrity(tmp_path / "out.db") == "ok"
    assert one(tmp_path / "out.db", "pragma application_id") != 0
    assert one(tmp_path / "out.db", "pragma user_version") > 0


def test_a_store_from_the_future_is_refused(tmp_path):
    from_file(tmp_path, [request("GET", "/a")])
    store = tmp_path / "out.db"
    with sqlite3.connect(store) as db:
        db.execute("pragma user_version = 999999")
    db.close()
    before = store.read_bytes()
    for args in (["info", store], ["capture", "-r", tmp_path / "in.pcap", "-o", store]):
        done = run(*args, status=2)
        assert len(done.err_lines) == 1 and "out.db" in done.err
    assert store.read_bytes() == before


def test_count_from_a_file(tmp_path):
    rows = from_file(tmp_path, [request("GET", f"/{i}") for i in range(10)], "--count", "4")
    assert [r["path"] for r in rows] == ["/0", "/1", "/2", "/3"]
    adds_up(ledger_of(tmp_path / "out.db"))


# --- live ----------------------------------------------------------------------------------------


@pytest.mark.live
def test_says_what_it_does(gateway, store):
    with Capture(store, port=gateway.port) as capture:
        line = capture.wait_for(r"shadow-ctl: capturing on .*").group()
        assert "lo" in line and str(gateway.port) in line
        get(gateway.port, "/static")
    ledger = capture.err.split("capturing on", 1)[1]
    for word in ("packets", "requests", "responses"):
        assert word in ledger
    row = select(store, "select * from capture")[0]
    assert row["started_at"] and row["ended_at"] and "lo" in row["source"]


@pytest.mark.live
def test_the_last_packet_before_the_signal_counts(gateway, store):
    """What the kernel had when ^C came is not thrown away."""
    total = 200
    with Capture(store, port=gateway.port), Client(gateway.port) as client:
        for i in range(total):
            client.send(request("GET", f"/static?{i}"))
            client.answer()
    rows = exchanges(store)
    assert [r["query"] for r in rows] == [str(i) for i in range(total)]
    assert {r["state"] for r in rows} == {"complete"}
    adds_up(ledger_of(store))


@pytest.mark.live
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_commits_and_ends_well(number, gateway, store):
    capture = Capture(store, port=gateway.port)
    with capture:
        get(gateway.port, "/static")
        capture.signal(number)
        capture.end(status=0)
    assert not list(store.parent.glob("*.db-wal"))
    assert len(exchanges(store)) == 1
    adds_up(ledger_of(store))


@pytest.mark.live
def test_a_signal_prints_the_counters(gateway, store):
    with Capture(store, port=gateway.port) as capture, Client(gateway.port) as client:
        for i in range(3):
            client.send(request("GET", f"/static?{i}"))
            client.answer()

        def reported():
            capture.signal(signal.SIGUSR1)
            return re.search(r"requests .*\b3\b", capture.err)

        wait_until(reported, lambda: capture.told())
        assert capture.process.poll() is None


@pytest.mark.live
@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6(store):
    with RawServer(host="::1") as server:
        with Capture(store, port=server.port), Client(server.port, host="::1") as client:
            client.send(request("GET", "/six"))
            client.answer()
        row = exchanges(store)[0]
        assert (row["path"], row["client"], row["server"]) == ("/six", "::1", "::1")
        assert "--allow-origin" in run("replay", store, "--to", server.url, status=2).err
        run("replay", store, "--to", server.url, "--max", "--allow-origin")
        assert [s.target for s in server.seen] == ["/six", "/six"]


@pytest.mark.live
def test_count_ends_by_itself(gateway, store):
    with Capture(store, "--count", 5, port=gateway.port) as capture:
        for i in range(5):
            get(gateway.port, f"/static?{i}")
        capture.end(status=0)
    assert len(exchanges(store)) == 5


@pytest.mark.live
def test_duration_ends_by_itself(gateway, store):
    with Capture(store, "--duration", "200ms", port=gateway.port) as capture:
        capture.end(status=0)
    assert one(store, "select ended_at is not null from capture") == 1


@pytest.mark.live
def test_nothing_seen_is_said(store):
    """The commonest trouble: the wrong interface or filter. It says what it listened to."""
    with Capture(store, "--duration", "100ms", port=9) as capture:
        err = capture.end(status=0)
    assert exchanges(store) == []
    assert re.search(r"\b0\b|no packets|nothing", err)


@pytest.mark.live
def test_kill_leaves_a_good_store(gateway, store):
    """At most the transaction under way is lost, which is a second's worth."""
    capture = Capture(store, port=gateway.port)
    with capture, Client(gateway.port) as client:
        numbers = itertools.count()

        def committed():
            client.send(request("GET", f"/static?{next(numbers)}"))
            client.answer()
            return one(store, "select count(*) from exchange") >= 50

        wait_until(committed, "rows in a running capture's store")
        capture.kill()
    assert integrity(store) == "ok"
    rows = exchanges(store)
    assert [r["query"] for r in rows] == [str(i) for i in range(len(rows))]
    assert "/static" in run("query", store, "select path, count(*) from exchange group by 1").out
    run("info", store)
    with Capture(store, port=gateway.port):
        get(gateway.port, "/static")
    assert len(exchanges(store)) == len(rows) + 1


def test_a_full_disk_is_said_once_and_harms_nothing(small_disk, tmp_path):
    rng, length = random.Random(1), [b"Content-Length: 20000"]
    made = [request("POST", f"/{i}", length, rng.randbytes(20000)) for i in range(300)]
    simple(tmp_path / "in.pcap", made)
    store = small_disk / "full.db"
    done = run("capture", "-r", tmp_path / "in.pcap", "-o", store, status=1)
    said = [line for line in done.err_lines if re.search(r"full", line)]
    assert len(said) == 1 and "full.db" in said[0], done.err
    assert integrity(store) == "ok"
    rows = select(store, "select path from exchange order by id")
    assert [r[0] for r in rows] == [f"/{i}" for i in range(len(rows))]
    account = next(line for line in done.err_lines if line.startswith("requests"))
    counts = {name: int(n) for n, name in re.findall(r"(\d+) (\w+)", account)}
    assert counts["seen"] == 300 == counts.get("stored", 0) + counts["sink_failed"]
    assert counts.get("stored", 0) == len(rows)
    run("query", store, "select count(*) from exchange")


@pytest.mark.live
def test_live_disk_full(small_disk, raw_server, tmp_path):
    """The capture ends by itself, and says why."""
    stop = threading.Event()

    def load():
        with Client(raw_server.port) as client:
            while not stop.is_set():
                body = os.urandom(60000)
                client.send(request("POST", "/x", [b"Content-Length: 60000"], body))
                client.answer()

    store = small_disk / "live.db"
    with Capture(store, port=raw_server.port, log=tmp_path) as capture:
        loader = threading.Thread(target=load)
        loader.start()
        try:
            capture.end(status=1, timeout=30)
        finally:
            stop.set()
            loader.join()
    assert "full" in capture.err
    assert integrity(store) == "ok"
