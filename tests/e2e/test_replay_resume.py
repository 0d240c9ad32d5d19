# SPDX-License-Identifier: Apache-2.0
"""A replay that was killed goes on where it was, and nothing is lost or had twice."""

import json
import threading

import pytest
from harness import Running, integrity, one, request, run, select, wait_until
from pcapfile import simple
from servers.raw import RawServer


class Gate(RawServer):
    """Answers so many requests, and the others when it is opened."""

    def __init__(self, n):
        self.left = n
        self.opened = threading.Event()
        super().__init__()

    def respond(self, sock, head, fields):
        with self.lock:
            self.left -= 1
            stuck = self.left < 0
        if stuck:
            self.opened.wait(60)
        return super().respond(sock, head, fields)


def dataset(folder, n):
    simple(folder / "in.pcap", [request("GET", f"/{i}") for i in range(n)], gap_us=10)
    run("capture", "-r", folder / "in.pcap", "-o", folder / "shadow.db")
    return folder / "shadow.db"


def had(store, run_id=1):
    rows = select(store, "select pass, exchange_id from result where replay_id = ?", run_id)
    return sorted(tuple(r) for r in rows)


def killed(folder, store, server, *args, after):
    """A replay that dies when the results of `after` requests are in the store."""
    running = Running(folder, "replay", store, "--to", server.url, "--max", *args)
    try:
        wait_until(lambda: len(had(store)) >= after, f"{after} results")
    finally:
        running.kill()
    assert integrity(store) == "ok"
    assert one(store, "select ended_at is null and summary is null from replay") == 1
    return len(had(store))


def resume(store, server, *args, **more):
    return run("replay", store, "--to", server.url, "--max", "--resume", "1", *args, **more)


@pytest.mark.parametrize("workers", [1, 4])
def test_resume(workers, tmp_path):
    store = dataset(tmp_path, 300)
    with Gate(120) as server:
        before = killed(tmp_path, store, server, "--workers", workers, after=120)
        assert before == 120
        server.left = 10**6
        server.opened.set()
        seen = len(server.seen)
        done = resume(store, server, "--workers", workers)
        assert len(server.seen) - seen == 180
    ids = [r[0] for r in select(store, "select id from exchange")]
    assert had(store) == sorted((0, i) for i in ids)
    assert one(store, "select count(*) from replay") == 1
    summary = json.loads(one(store, "select summary from replay where ended_at is not null"))
    assert (summary["read"], summary["sent"]) == (300, 180)
    assert summary["skipped_by"] == {"resumed": 120}
    assert "120 have a result from before" in done.out
    with RawServer() as server:
        # Nothing is left of it.
        run("replay", store, "--to", server.url, "--resume", "1", status=2)
        assert server.seen == []


def test_resume_again(tmp_path):
    """A run that came to its end has nothing left."""
    store = dataset(tmp_path, 20)
    with RawServer() as server:
        run("replay", store, "--to", server.url, "--max")
        resume(store, server)
        assert len(server.seen) == 20
    assert len(had(store)) == 20


def test_resume_passes(tmp_path):
    store = dataset(tmp_path, 50)
    with Gate(120) as server:
        killed(tmp_path, store, server, "--loop", "4", after=120)
        server.left = 10**6
        server.opened.set()
        resume(store, server, "--loop", "4")
    ids = [r[0] for r in select(store, "select id from exchange")]
    assert had(store) == sorted((p, i) for p in range(4) for i in ids)


@pytest.mark.parametrize(
    "args, words",
    [
        (["--methods", "all"], "other options"),
        (["--route", "/1*"], "other options"),
        (["--resume", "7"], "no replay 7"),
        (["--to", "http://127.0.0.1:1"], "one target"),
    ],
)
def test_resume_is_the_same_run(args, words, tmp_path):
    store = dataset(tmp_path, 20)
    with RawServer() as server:
        run("replay", store, "--to", server.url, "--max")
        refused = resume(store, server, *args, status=2)
        assert len(refused.err_lines) == 1 and words in refused.err, refused.err
        elsewhere = RawServer()
        with elsewhere:
            other = run("replay", store, "--to", elsewhere.url, "--resume", "1", status=2)
            assert f"was to {server.url}" in other.err
        assert len(server.seen) == 20 and elsewhere.seen == []
    assert one(store, "select count(*) from replay where ended_at is not null") == 1


def test_how_fast_may_change(tmp_path):
    store = dataset(tmp_path, 60)
    with Gate(30) as server:
        killed(tmp_path, store, server, after=30)
        server.left = 10**6
        server.opened.set()
        args = ["--rate", "1000/s", "--resume", "1", "--workers", "2", "--timeout", "5s"]
        run("replay", store, "--to", server.url, *args)
    assert len(had(store)) == 60
