# SPDX-License-Identifier: Apache-2.0
"""Replay at every pace, with any number of workers and targets: the plan is exact, each target has
its own results, and what is not sent is accounted for."""

import collections
import json
import math
import signal
import sqlite3
import time

import pytest
from harness import Running, dead_port, one, request, run, select, wait_until
from pcapfile import START_US, Conversation, PcapFile, simple
from servers.raw import RawServer


def dataset(folder, requests, **more):
    simple(folder / "in.pcap", requests, **more)
    run("capture", "-r", folder / "in.pcap", "-o", folder / "shadow.db")
    return folder / "shadow.db"


def talks(folder, connections, each, step_us=1000):
    """/C/N is the Nth request of connection C; they take turns, `step_us` apart."""
    pcap = PcapFile()
    for c in range(connections):
        talk = Conversation(pcap, 41000 + c, at=c)
        for n in range(each):
            talk.exchange(5000 + (n * connections + c) * step_us, request("GET", f"/{c}/{n}"))
        talk.close(10_000 + connections * each * step_us)
    run("capture", "-r", pcap.write(folder / "in.pcap"), "-o", folder / "shadow.db")
    return folder / "shadow.db"


def numbered(n):
    return [request("GET", f"/{i}") for i in range(n)]


def replay(store, *args, **more):
    return run("replay", store, "--quiet", *args, **more)


def results(store, replay_id=None):
    """Of one replay, the last by default, in the order of the recording."""
    return select(
        store,
        """select r.*, e.ts_us, e.path, e.connection from result r
           join exchange e on e.id = r.exchange_id
           where replay_id = coalesce(?, (select max(id) from replay))
           order by r.pass, e.ts_us, e.id""",
        replay_id,
    )


def summaries(store):
    return [json.loads(r[0]) for r in select(store, "select summary from replay order by id")]


def targets(server):
    return [s.target for s in server.seen]


def check_account(summary):
    parts = ("sent", "failed", "held_back", "skipped")
    assert summary["read"] == sum(summary[p] for p in parts), summary
    assert summary["skipped"] == sum(summary["skipped_by"].values())


# --- pace ----------------------------------------------------------------------------------------


def ramp_us(n, start, end, seconds):
    """When n requests are due: by bisection, from how many are due after a time."""
    slope = (end - start) / seconds

    def due(t):
        inside = min(t, seconds)
        return start * inside + slope * inside**2 / 2 + end * max(0, t - seconds)

    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if due(middle) < n else (low, middle)
    return low * 1e6


RAMPS = ["100..400/s over 500ms", "400..100/s over 300ms", "0..300 over 1"]


@pytest.mark.parametrize("rate", RAMPS)
def test_ramp(rate, tmp_path, raw_server):
    store = dataset(tmp_path, numbered(100))
    replay(store, "--to", raw_server.url, "--rate", rate)
    start, rest = rate.split("..")
    end, over = rest.split(" over ")
    end, over = float(end.removesuffix("/s")), over.removesuffix("s")
    seconds = float(over.removesuffix("m")) / (1000 if over.endswith("m") else 1)
    rows = results(store)
    offsets = [r["due_us"] - rows[0]["due_us"] for r in rows]
    expected = [ramp_us(n, float(start), end, seconds) for n in range(100)]
    worst = max(abs(a - b) for a, b in zip(offsets, expected))
    assert worst <= 2, (worst, offsets[:5], expected[:5])
    assert all(r["sent_us"] >= r["due_us"] for r in rows)


@pytest.mark.parametrize(
    "args, words",
    [
        (("--rate", "100..200/s"), "100..2000/s over 60s"),
        (("--rate", "100..200/s over 0s"), "no rate"),
        (("--rate", "5..0/s over 1s"), "no rate"),
        (("--max", "--drop-late", "1s"), "--drop-late and --max"),
        (("--from", "yesterday"), "no time"),
        (("--until", "2023-11-14T25:00:00Z"), "no time"),
        (("--from", "+3s", "--until", "+2s"), "--until is not after --from"),
        (("--workers", "0"), "1 or more"),
        (("--workers", "65"), "more than 64"),
        (("--loop", "-1"), "whole number"),
        (("--resume", "1"), "no replay 1"),
        (("--resume", "1", "--save", "none"), "--resume and --save none"),
    ],
)
def test_wrong_usage(args, words, tmp_path, raw_server):
    store = dataset(tmp_path, numbered(1))
    done = replay(store, "--to", raw_server.url, *args, status=2)
    assert len(done.err_lines) == 1 and words in done.err, done.err
    assert select(store, "select * from replay") == [] and raw_server.connections == 0


def test_loop(tmp_path, raw_server):
    """Each pass begins a mean gap after the last request of the one before."""
    store = dataset(tmp_path, numbered(5), gap_us=2000)
    replay(store, "--to", raw_server.url, "--loop", "3")
    rows = results(store)
    expected = [(p, f"/{i}") for p in range(3) for i in range(5)]
    assert [(r["pass"], r["path"]) for r in rows] == expected
    assert [r["due_us"] - rows[0]["due_us"] for r in rows] == [4000 * i for i in range(15)]
    assert targets(raw_server) == [f"/{i}" for i in range(5)] * 3
    (summary,) = summaries(store)
    assert summary["read"] == summary["sent"] == 15
    check_account(summary)


def test_loop_for_ever(tmp_path, raw_server):
    store = dataset(tmp_path, numbered(3))
    args = ("--max", "--loop", "0", "--connections", "1")
    running = Running(tmp_path, "replay", store, "--to", raw_server.url, *args)
    try:
        wait_until(lambda: len(raw_server.seen) > 50, "many passes")
        running.signal(signal.SIGINT)
        running.end(status=0)
    finally:
        running.kill()
    rows = results(store)
    assert len(rows) == len(raw_server.seen)
    assert max(r["pass"] for r in rows) > 10
    assert len({(r["pass"], r["exchange_id"]) for r in rows}) == len(rows)
    check_account(summaries(store)[0])


def test_loop_of_nothing_ends(tmp_path, raw_server):
    store = dataset(tmp_path, numbered(3))
    replay(store, "--to", raw_server.url, "--loop", "0", "--route", "/none")
    assert summaries(store)[0]["read"] == 3


@pytest.mark.parametrize("workers", [1, 3])
def test_duration(workers, tmp_path, raw_server):
    """What is due within it is sent, what is due later is not, and the recording may be longer."""
    store = talks(tmp_path, 6, 40)
    args = ("--rate", "200/s", "--loop", "0", "--duration", "500ms", "--workers", workers)
    replay(store, "--to", raw_server.url, *args)
    rows = results(store)
    first = min(r["due_us"] for r in rows)
    assert all(r["due_us"] - first < 500_000 for r in rows)
    # A loaded machine may leave some of the last ones behind, which the account says.
    assert 80 <= len(rows) == len(raw_server.seen) <= 100
    (summary,) = summaries(store)
    check_account(summary)
    assert summary["skipped_by"]["stopped"] == summary["read"] - len(rows)
    assert summary["stopped"] is False


class Slow(RawServer):
    """Takes its time over /slow."""

    def respond(self, sock, head, fields):
        if b" /slow " in head:
            time.sleep(1)
        return super().respond(sock, head, fields)


def test_late_is_sent_or_dropped(tmp_path):
    """One connection, and its first request takes longer than the rest may be late."""
    made = [request("GET", p) for p in ("/slow", "/1", "/2", "/3")]
    store = dataset(tmp_path, made, gap_us=1000)
    for drop in ([], ["--drop-late", "500ms"]):
        with Slow() as server:
            replay(store, "--to", server.url, *drop)
            assert targets(server) == ["/slow"] if drop else ["/slow", "/1", "/2", "/3"]
        summary = summaries(store)[-1]
        check_account(summary)
        assert summary["skipped_by"] == ({"too_late": 3} if drop else {})
        assert summary["late"] >= (0 if drop else 3)
    assert len(results(store)) == 1


def test_max_in_flight(tmp_path):
    class Counting(RawServer):
        most = now = 0

        def respond(self, sock, head, fields):
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
            stays = super().respond(sock, head, fields)
            with self.lock:
                self.now -= 1
            return stays

    store = talks(tmp_path, 20, 5, step_us=10)
    with Counting() as server:
        replay(store, "--to", server.url, "--max-in-flight", "3")
        assert server.most <= 3 and server.connections <= 3
        assert len(server.seen) == 100


# --- the part of the recording -------------------------------------------------------------------


# requests are 2 s apart, the first at START_US = 2023-11-14T22:13:20Z
PARTS = [
    ([], "0123456789"),
    (["--from", "+4s"], "23456789"),
    (["--until", "+4s"], "01"),
    (["--from", "+4s", "--until", "+4.1s"], "2"),
    (["--from", "+1m"], ""),
    (["--from", "2023-11-14T22:13:26Z"], "3456789"),
    (["--from", "2023-11-14T22:13:26.000001"], "456789"),
    (["--until", "2023-11-14T23:13:24+01:00"], "01"),
    (["--from", "2023-11-14 22:13", "--until", "2023-11-15"], "0123456789"),
    (["--from", "2023-11-14T22:13:21.5Z", "--until", "+6s"], "12"),
]


@pytest.mark.parametrize("args, expected", PARTS, ids=[" ".join(a) or "all" for a, _ in PARTS])
def test_from_until(args, expected, tmp_path, raw_server):
    store = dataset(tmp_path, numbered(10), gap_us=1_000_000)
    assert one(store, "select min(ts_us) from exchange") == START_US
    replay(store, "--to", raw_server.url, "--speed", "1000", *args)
    assert targets(raw_server) == [f"/{c}" for c in expected]
    assert summaries(store)[0]["read"] == len(expected)


def test_from_until_without_the_index(tmp_path, raw_server):
    """A capture that was killed has not built it."""
    store = dataset(tmp_path, numbered(10), gap_us=1_000_000)
    db = sqlite3.connect(store)
    db.execute("drop index exchange_time")
    db.commit()
    db.close()
    replay(store, "--to", raw_server.url, "--max", "--from", "+4s", "--until", "+10s")
    assert targets(raw_server) == ["/2", "/3", "/4"]


# --- workers -------------------------------------------------------------------------------------


def in_order(server):
    """Whether each connection's requests came in order."""
    last = collections.Counter()
    for target in targets(server):
        c, n = map(int, target[1:].split("/"))
        if n != last[c]:
            return False
        last[c] += 1
    return True


@pytest.mark.parametrize("pace", [("--rate", "2000/s"), ("--speed", "5"), ("--max",)])
def test_workers(pace, tmp_path):
    """The same results whatever their number."""
    store = talks(tmp_path, 30, 8)
    seen = []
    for workers in (1, 2, 7):
        with RawServer() as server:
            replay(store, "--to", server.url, *pace, "--workers", workers)
            assert len(server.seen) == 240 and in_order(server)
        rows = results(store)
        first = min(r["due_us"] for r in rows)
        due = [0 if pace == ("--max",) else r["due_us"] - first for r in rows]
        seen.append([(r["exchange_id"], r["status"], r["error"], d) for r, d in zip(rows, due)])
        check_account(summaries(store)[-1])
    assert [r[:3] for r in seen[0]] == [r[:3] for r in seen[1]] == [r[:3] for r in seen[2]]
    for other in seen[1:]:
        assert all(abs(a[3] - b[3]) <= 1 for a, b in zip(seen[0], other))


def test_workers_without_order(tmp_path, raw_server):
    store = talks(tmp_path, 3, 40)
    replay(store, "--to", raw_server.url, "--max", "--workers", "4", "--order", "none")
    assert sorted(targets(raw_server)) == sorted(f"/{c}/{n}" for c in range(3) for n in range(40))


def test_fewer_connections_than_workers(tmp_path, raw_server):
    store = talks(tmp_path, 5, 5)
    replay(store, "--to", raw_server.url, "--max", "--workers", "8", "--connections", "1")
    assert raw_server.connections == 1 and len(raw_server.seen) == 25


# --- several targets -----------------------------------------------------------------------------


def test_each_target_gets_everything(tmp_path):
    store = talks(tmp_path, 4, 10)
    everything = sorted(f"/{c}/{n}" for c in range(4) for n in range(10))
    with RawServer() as a, RawServer() as b:
        done = replay(store, "--to", a.url, "--to", b.url, "--rate", "400/s", "--json")
        for run_id, server in ((1, a), (2, b)):
            assert sorted(targets(server)) == everything
            assert {s.field("X-Shadow-Replay") for s in server.seen} == {str(run_id)}
            assert {s.field("Host") for s in server.seen} == {f"127.0.0.1:{server.port}"}
            assert len(results(store, run_id)) == 40
        rows = select(store, "select target from replay order by id")
        assert [r["target"] for r in rows] == [a.url, b.url]
    assert [json.loads(line) for line in done.lines] == summaries(store)
    # One schedule: what is due there is due here.
    due = [[r["due_us"] for r in results(store, run_id)] for run_id in (1, 2)]
    assert all(abs(x - y) <= 1 for x, y in zip(*due))


def test_targets_sample_the_same(tmp_path):
    store = talks(tmp_path, 10, 20, step_us=10)
    with RawServer() as a, RawServer() as b:
        replay(store, "--to", a.url, "--to", b.url, "--max", "--sample", "40%")
        assert sorted(targets(a)) == sorted(targets(b))
        assert 0 < len(a.seen) < 200


def test_weights(tmp_path):
    """Each connection goes to one target, in proportion, and to the same one every time."""
    store = talks(tmp_path, 200, 2, step_us=10)
    shares = []
    for _ in range(2):
        with RawServer() as a, RawServer() as b:
            replay(store, "--to", f"{a.url}=75%", "--to", f"{b.url}=25", "--max")
            shares.append((sorted(targets(a)), sorted(targets(b))))
    to_a, to_b = shares[0]
    assert shares[0] == shares[1]
    assert sorted(to_a + to_b) == sorted(f"/{c}/{n}" for c in range(200) for n in range(2))
    connections = [{t.split("/")[1] for t in to} for to in shares[0]]
    assert not connections[0] & connections[1]
    # Four standard deviations of 200 draws at 3 to 1.
    assert abs(len(connections[0]) - 150) <= 4 * math.sqrt(200 * 0.75 * 0.25)
    assert sum(s["read"] for s in summaries(store)[:2]) == 400
    for summary in summaries(store):
        check_account(summary)


def test_weights_share_one_schedule(tmp_path):
    store = talks(tmp_path, 50, 2, step_us=10)
    with RawServer() as a, RawServer() as b:
        replay(store, "--to", f"{a.url}=1", "--to", f"{b.url}=1", "--rate", "500/s")
    rows = sorted((r["due_us"] for i in (1, 2) for r in results(store, i)))
    assert len(rows) == 100
    assert all(abs(due - rows[0] - 2000 * i) <= 2 for i, due in enumerate(rows))


@pytest.mark.parametrize(
    "weights, words",
    [
        (("=90", ""), "has no weight"),
        (("=0", "=1"), "no weight; expected"),
        (("=x", "=1"), "no weight; expected"),
        (("=-1", "=1"), "no weight; expected"),
    ],
)
def test_wrong_weights(weights, words, tmp_path, raw_server):
    store = dataset(tmp_path, numbered(1))
    to = [a for w in weights for a in ("--to", raw_server.url + w)]
    done = replay(store, *to, status=2)
    assert len(done.err_lines) == 1 and words in done.err


def test_a_dead_target_costs_no_other(tmp_path, raw_server):
    store = talks(tmp_path, 4, 25)
    held, port = dead_port()
    with held:
        dead = f"http://127.0.0.1:{port}"
        done = replay(store, "--to", dead, "--to", raw_server.url, "--rate", "1000/s", status=1)
    assert f"no request was answered by {dead}" in done.err
    assert {r["error"] for r in results(store, 1)} == {"could not connect"}
    assert {r["status"] for r in results(store, 2)} == {200}
    assert len(results(store, 1)) == len(results(store, 2)) == 100


def test_a_hanging_target_costs_no_other(tmp_path, raw_server):
    """Its own requests time out, while the other has all of its before the first of these has."""

    class Hanging(RawServer):
        def respond(self, sock, head, fields):
            sock.recv(1)
            return False

    store = talks(tmp_path, 10, 20)
    args = ("--rate", "2000/s", "--timeout", "3s", "--connections", "5", "--duration", "4s")
    with Hanging() as hanging:
        replay(store, "--to", hanging.url, "--to", raw_server.url, *args, status=1)
    assert {r["error"] for r in results(store, 1)} == {"response timeout"}
    other = results(store, 2)
    assert len(other) == 200 and {r["status"] for r in other} == {200}
    assert max(r["latency_us"] for r in other) < 2_900_000


def test_one_origin_among_the_targets_is_refused(tmp_path, raw_server):
    with RawServer() as origin:
        made = dataset(tmp_path, numbered(2), server="127.0.0.1", server_port=origin.port)
        for _ in range(2):  # by a look at all exchanges, then by the index
            done = replay(made, "--to", raw_server.url, "--to", origin.url, status=2)
            assert "--allow-origin" in done.err
            assert raw_server.seen == [] and origin.connections == 0
            replay(made, "--to", raw_server.url, "--max", "--route", "/none")
            assert one(made, "select count(*) from sqlite_schema where name = 'exchange_server'")


def test_every_origin_is_known(tmp_path, raw_server):
    """Several servers and ports of a dataset, before and after there is an index of them."""
    with RawServer() as a, RawServer() as b, RawServer(host="127.0.0.2") as c:
        pcap = PcapFile()
        for i, server in enumerate([a, b, c, a, b, c, a]):
            to = {"server": server.host, "server_port": server.port}
            talk = Conversation(pcap, 42000 + i, at=i, **to)
            talk.exchange(1000 + i, request("GET", f"/{i}"))
            talk.close(9000 + i)
        run("capture", "-r", pcap.write(tmp_path / "in.pcap"), "-o", tmp_path / "shadow.db")
        store = tmp_path / "shadow.db"
        for _ in range(2):
            for server in (a, b, c):
                done = replay(store, "--to", server.url, "--max", status=2)
                assert f":{server.port} is where this dataset was captured" in done.err
                assert server.connections == 0
            replay(store, "--to", raw_server.url, "--max")
