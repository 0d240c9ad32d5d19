# SPDX-License-Identifier: Apache-2.0
"""A mirror whose target is down, slow, or comes back, whose disk is full, and that is asked to stop
meanwhile: it costs production nothing, grows no further than it may, and says what it left out."""

import contextlib
import json
import os
import pathlib
import re
import signal
import threading

import pytest
from harness import Client, binary, dead_port, integrity, one, request, select, wait_until
from mirrors import (
    FickleServer,
    HangingServer,
    LateServer,
    Mirror,
    WaitingServer,
    adds_up,
    arrived,
    ask,
    flood,
    get,
    nothing_but,
    trickle,
)
from servers.raw import RawServer

pytestmark = pytest.mark.live


@pytest.fixture
def target():
    with RawServer() as server:
        yield server


# --- down, and up again --------------------------------------------------------------------------


def test_a_target_that_comes_back_is_resumed(raw_server, tmp_path):
    closed, port = dead_port()
    args = ["--port", raw_server.port, "--to", f"http://127.0.0.1:{port}", "--circuit", 5]
    with contextlib.ExitStack() as stack:
        stack.callback(closed.close)
        with Mirror(tmp_path, *args) as mirror, trickle(raw_server.port):
            mirror.wait_for(r"paused after 5 errors in a row \(could not connect\)")
            closed.close()
            late = stack.enter_context(LateServer(port))
            mirror.wait_for(r"answers again; resumed after \d+\.\d s, \d+ requests dropped")
            arrived(late, 50)
    account = mirror.target
    assert account["pauses"] == 1 and account["failed"] >= 5 and account["answered"] >= 50
    assert account["paused_dropped"] > 0
    assert account["errors"] == {"could not connect": account["failed"]}
    assert account["answered"] == len(late.seen)
    assert len(re.findall("paused after|answers again", mirror.err)) == 2, mirror.err


def test_without_a_circuit_every_request_is_tried(raw_server, tmp_path):
    closed, port = dead_port()
    args = ["--port", raw_server.port, "--to", f"http://127.0.0.1:{port}", "--circuit", 0]
    with closed, Mirror(tmp_path, *args) as mirror:
        flood(raw_server.port, 200)
    nothing_but(mirror.target, failed=200)
    assert "paused" not in mirror.err


def test_one_target_down_costs_the_others_nothing(raw_server, target, tmp_path):
    closed, port = dead_port()
    args = ["--port", raw_server.port, "--to", f"http://127.0.0.1:{port}", "--to", target.url]
    with closed, HangingServer() as hanging:
        with Mirror(tmp_path, *args, "--to", hanging.url, "--timeout", "1s") as mirror:
            flood(raw_server.port, 500)
            arrived(target, 500)
    accounts = [adds_up(a) for a in mirror.account["targets"]]
    assert [a["answered"] for a in accounts] == [0, 500, 0]


# --- memory --------------------------------------------------------------------------------------


def test_memory_is_flat_while_the_target_hangs(raw_server, tmp_path):
    """Forty thousand requests after the queue is full; each would be a kilobyte more and above."""
    queue, filler = 2 << 20, 20000
    args = ["--to", "http://127.0.0.1:{}", "--queue", queue, "--max-in-flight", 8]
    args += ["--timeout", "300s", "--circuit", 0, "--port", raw_server.port]
    with HangingServer() as target:
        args[1] = target.url
        mirror = Mirror(tmp_path, *args, status=130)
        with mirror:
            flood(raw_server.port, filler)
            wait_until(lambda: target.connections >= 1, "the first copy")
            before = mirror.resident()
            offered = waiting = dropped = 0
            while dropped < 2 * filler:
                flood(raw_server.port, filler)
                mirror.signal(signal.SIGUSR1)
                offered, waiting, dropped = last_account(mirror, offered)
            if b"__tsan_init" not in binary().read_bytes():  # it never gives its shadow back
                assert mirror.resident() - before < 16384, "KiB"
            assert target.connections <= 8
            assert offered == waiting + dropped and waiting <= queue / 1024
            # The target never answers: asked once it waits for that, asked twice it does not.
            mirror.signal(signal.SIGINT)
            wait_until(lambda: first_was_taken(mirror), "the end of the capture")
            assert mirror.process.poll() is None, mirror.told()
            wait_until(lambda: mirror.signal(signal.SIGINT) or mirror.process.poll() is not None,
                       "the end")
    assert len(raw_server.seen) % filler == 0 and len(raw_server.seen) >= 3 * filler


def last_account(mirror, before):
    """Offered, on their way, dropped: the first account that says more than before."""
    line = re.compile(r"(\d+) offered = 0 answered \+ (\d+) on their way \+ (\d+) dropped \(queue")

    def newer():
        found = [tuple(map(int, numbers)) for numbers in line.findall(mirror.err)]
        return found and found[-1][0] > before and found[-1]

    return wait_until(newer, "an account")


def first_was_taken(mirror):
    """The first ^C has been taken, so that another one is the second."""
    status = pathlib.Path(f"/proc/{mirror.process.pid}/status").read_text()
    pending = re.search(r"ShdPnd:\s+(\S+)", status).group(1)
    return int(pending, 16) & 1 << (signal.SIGINT - 1) == 0


def test_asked_to_stop_it_waits_no_longer_than_the_timeout(raw_server, tmp_path):
    args = ["--port", raw_server.port, "--timeout", "2s", "--circuit", 0, "--max-in-flight", 4]
    with HangingServer() as target:
        with Mirror(tmp_path, *args, "--to", target.url) as mirror:
            flood(raw_server.port, 500)
            wait_until(lambda: target.connections, "the first copy")
            mirror.signal(signal.SIGTERM)
            mirror.process.wait(20)
    account = mirror.target
    assert account["offered"] == 500 and account["failed"] >= 1 and account["answered"] == 0
    assert account["stopped"] + account["too_late"] + account["failed"] == 500


def test_requests_older_than_the_timeout_are_not_sent(raw_server, tmp_path):
    """Nobody wants a copy that is older than its answer may be."""
    args = ["--port", raw_server.port, "--timeout", "500ms", "--circuit", 0, "--max-in-flight", 1]
    with HangingServer() as target:
        with Mirror(tmp_path, *args, "--to", target.url) as mirror:
            flood(raw_server.port, 50)

            def late():
                mirror.signal(signal.SIGUSR1)
                return re.search(r"dropped \(waited longer than --timeout\)", mirror.err)

            wait_until(late, "the first that is too late")
    account = mirror.target
    assert account["failed"] + account["too_late"] + account["stopped"] == 50
    assert account["too_late"] > 0


def test_memory_of_a_tee_while_production_hangs(target, tmp_path):
    """Answers wait for their pairs within the bound, too."""
    n, target.answer = 300, b"a" * 20000
    with WaitingServer() as production:
        args = ["--port", production.port, "--to", target.url, "--queue", "1M"]
        with Mirror(tmp_path, *args, "--tee", tmp_path / "tee.db", "--compare") as mirror:
            clients = [Client(production.port) for _ in range(n)]
            for i, client in enumerate(clients):
                client.send(get(f"/{i}"))
            arrived(target, n)
            production.told.set()
            for client in clients:
                client.answer()
                client.close()
    nothing_but(mirror.target, answered=n)
    tee = mirror.account["tee"]
    kept = one(tmp_path / "tee.db", "select count(*) from result")
    assert tee["stored"] == n == one(tmp_path / "tee.db", "select count(*) from exchange")
    assert kept + tee["unpaired"] + mirror.target["tee_dropped"] == n and 0 < kept < n


# --- the tee -------------------------------------------------------------------------------------


def test_both_answers_are_kept(raw_server, target, tmp_path):
    raw_server.answer, target.answer = b"production\n", b"candidate\n"
    store = tmp_path / "tee.db"
    with FickleServer() as second:
        args = ["--port", raw_server.port, "--to", target.url, "--to", f"{second.url}=0%"]
        with Mirror(tmp_path, *args, "--tee", store, "--methods", "all") as mirror:
            ask(raw_server.port, get("/a"), request("POST", "/b", [b"Content-Length: 2"], b"hi"))
            arrived(target, 2)
    rows = select(store, """select e.method, e.path, e.status, p.data, r.status, c.data, r.error
        from exchange e join body p on p.id = e.response_body join result r on r.exchange_id = e.id
        join body c on c.id = r.body order by e.id""")
    assert [tuple(r) for r in rows] == [
        ("GET", "/a", 200, b"production\n", 200, b"candidate\n", None),
        ("POST", "/b", 200, b"production\n", 200, b"candidate\n", None)]
    assert mirror.account["tee"] == {"stored": 2, "dropped": 0, "unpaired": 0}
    targets = select(store, "select target, ended_at, summary from replay order by id")
    assert [r["target"] for r in targets] == [target.url, second.url]
    assert json.loads(targets[0]["summary"])["answered"] == 2
    assert all(r["ended_at"] for r in targets)
    assert json.loads(one(store, "select ledger from capture"))["requests"]["stored"] == 2


def test_compared_on_the_fly(raw_server, target, tmp_path):
    target.answer = b"something else\n"
    args = ["--port", raw_server.port, "--to", target.url, "--compare"]
    with Mirror(tmp_path, *args) as mirror:
        ask(raw_server.port, get("/differs"))
        arrived(target, 1)
        target.answer = raw_server.answer
        ask(raw_server.port, get("/same"), get("/same"))
        arrived(target, 3)
    assert re.search(r"compared +3 answers: 2 the same, 1 differ", mirror.err)
    assert "/differs" in mirror.err
    assert "tee" in mirror.account and mirror.account["compared"] is not None


def test_failures_are_kept_as_such(raw_server, tmp_path):
    closed, port = dead_port()
    store = tmp_path / "tee.db"
    args = ["--port", raw_server.port, "--to", f"http://127.0.0.1:{port}", "--tee", store]
    with closed, Mirror(tmp_path, *args) as mirror:
        ask(raw_server.port, get("/x"))
    nothing_but(mirror.target, failed=1)
    assert one(store, "select error from result") == "could not connect"


def test_secrets_reach_neither_target_nor_tee(raw_server, target, tmp_path):
    store = tmp_path / "tee.db"
    args = ["--port", raw_server.port, "--to", target.url, "--tee", store, "--redact", "secrets"]
    with Mirror(tmp_path, *args):
        ask(raw_server.port, get("/x", b"Authorization: Bearer TOPSECRET"))
        arrived(target, 1)
    assert b"TOPSECRET" not in target.seen[0].raw
    data = b"".join(path.read_bytes() for path in tmp_path.glob("tee.db*"))
    assert data and b"TOPSECRET" not in data


def test_a_full_disk_does_not_stop_the_mirror(small_disk, raw_server, target, tmp_path):
    store, n = small_disk / "tee.db", 100
    args = ["--port", raw_server.port, "--to", target.url, "--methods", "all", "--tee", store]
    with Mirror(tmp_path, *args, status=1) as mirror:
        for i in range(n):
            length = [b"Content-Length: 60000"]
            ask(raw_server.port, request("POST", f"/{i}", length, os.urandom(60000)))
        mirror.wait_for("nothing more is kept")
        ask(raw_server.port, get("/after"))
        arrived(target, n + 1)
    # On a connection of its own, which may be the faster one.
    assert "/after" in {s.target for s in target.seen}
    nothing_but(mirror.target, answered=n + 1)
    assert mirror.err.count("nothing more is kept") == 1
    tee = mirror.account["tee"]
    assert tee["dropped"] > 0 and tee["stored"] + tee["dropped"] <= n + 1
    assert integrity(store) == "ok"


def test_many_at_once_lose_nothing(raw_server, target, tmp_path):
    """Several connections at once: with room enough every pair meets its answer."""
    store, n, connections = tmp_path / "tee.db", 400, 6
    args = ["--port", raw_server.port, "--to", target.url, "--tee", store, "--compare"]
    with Mirror(tmp_path, *args) as mirror:
        threads = [threading.Thread(target=flood, args=(raw_server.port, n, f"/{c}/"))
                   for c in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    nothing_but(mirror.target, answered=n * connections)
    assert mirror.account["tee"] == {"stored": n * connections, "dropped": 0, "unpaired": 0}
    together = """select count(*) from result r join exchange e on e.id = r.exchange_id
        where r.status = 200 and e.status = 200"""
    assert one(store, together) == n * connections
