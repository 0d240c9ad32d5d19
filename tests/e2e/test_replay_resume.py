# SPDX-License-Identifier: Apache-2.0
"""A replay that was killed goes on where it was, and nothing is lost or had twice."""

import json
import shutil
import signal
import sqlite3
import threading

import pytest
from harness import Running, integrity, one, request, run, select, wait_until
from pcapfile import Conversation, PcapFile, simple
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
    """A run that came to its end has nothing left, and what is said of it stays."""
    store = dataset(tmp_path, 20)
    row = "select ended_at || summary from replay"
    with RawServer() as server:
        run("replay", store, "--to", server.url, "--max")
        before = one(store, row)
        assert "nothing was left of run 1" in resume(store, server).err
        assert len(server.seen) == 20
    assert len(had(store)) == 20 and one(store, row) == before


def test_resume_what_was_killed_at_its_end(tmp_path):
    """It has all results and never said so."""
    store = dataset(tmp_path, 20)
    with RawServer() as server:
        run("replay", store, "--to", server.url, "--max")
        with sqlite3.connect(store) as db:
            db.execute("update replay set ended_at = null, summary = null")
        resume(store, server)
        assert len(server.seen) == 20
    assert one(store, "select ended_at is not null and summary is not null from replay") == 1


def test_resume_what_was_stopped(tmp_path):
    """Its first account stays inside the second."""
    store = dataset(tmp_path, 40)
    with Gate(10) as server:
        args = ["--max", "--connections", "1", "--timeout", "500ms"]
        running = Running(tmp_path, "replay", store, "--to", server.url, *args)
        try:
            wait_until(lambda: len(server.seen) > 10, "the eleventh request")
            running.signal(signal.SIGHUP)
            running.end(status=0)
        finally:
            running.kill()
        first = json.loads(one(store, "select summary from replay"))
        server.left = 10**6
        server.opened.set()
        resume(store, server)
    summary = json.loads(one(store, "select summary from replay"))
    assert first["stopped"] and summary["before"] == first
    assert summary["skipped_by"] == {"resumed": first["sent"] + first["failed"]}
    assert len(had(store)) == 40


def test_resume_what_still_runs(tmp_path):
    store = dataset(tmp_path, 40)
    with Gate(10) as server:
        running = Running(tmp_path, "replay", store, "--to", server.url, "--max")
        try:
            wait_until(lambda: len(server.seen) > 10, "the eleventh request")
            refused = resume(store, server, status=2)
            assert len(refused.err_lines) == 1 and "at run 1 still" in refused.err
            other = run("replay", store, "--to", server.url, "--max", "--route", "/none")
            assert "replay 2" in other.out
            server.left = 10**6
            server.opened.set()
            running.end(status=0)
        finally:
            running.kill()
        assert len(server.seen) == 40
    assert len(had(store)) == 40


def test_resume_a_share(tmp_path):
    """Each goes on with the connections that were its own, whoever else is named."""
    pcap = PcapFile()
    for c in range(60):
        talk = Conversation(pcap, 41000 + c, at=c)
        talk.exchange(5000 + c, request("GET", f"/{c}"))
        talk.close(9000 + c)
    store = tmp_path / "shadow.db"
    run("capture", "-r", pcap.write(tmp_path / "in.pcap"), "-o", store)
    with Gate(5) as a, Gate(5) as b:
        to = ["--to", f"{a.url}=50", "--to", f"{b.url}=50"]
        running = Running(tmp_path, "replay", store, *to, "--max")
        try:
            wait_until(lambda: len(had(store, 1)) > 4 and len(had(store, 2)) > 4, "results")
        finally:
            running.kill()
        for run_id, server in ((1, a), (2, b)):
            server.left = 10**6
            server.opened.set()
            run("replay", store, "--to", server.url, "--max", "--resume", run_id)
    first, second = (set(had(store, n)) for n in (1, 2))
    assert len(first) > 10 and len(second) > 10
    assert not first & second and len(first | second) == 60


@pytest.mark.parametrize("after", [120, 100])
def test_resume_passes(after, tmp_path):
    """Also where a pass was just over."""
    store = dataset(tmp_path, 50)
    with Gate(after) as server:
        killed(tmp_path, store, server, "--loop", "4", after=after)
        server.left = 10**6
        server.opened.set()
        resume(store, server, "--loop", "4")
    ids = [r[0] for r in select(store, "select id from exchange")]
    assert had(store) == sorted((p, i) for p in range(4) for i in ids)


HALF = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: half}
spec:
  hosts: [service.test]
  http:
  - route: [{destination: {host: service.test}}]
    mirror: {host: b.test}
    mirrorPercentage: {value: 50}
"""


def broken_off(folder, store, server, *args, how, after):
    """A replay that ends early, and its server, which answers everything from then on."""
    to = ["--to", server.url, "--max", "--timeout", "500ms"]
    running = Running(folder, "replay", store, *to, *args)
    try:
        wait_until(lambda: len(had(store)) >= after, f"{after} results")
        running.signal(how)
        running.end(status=-how if how == signal.SIGKILL else 0)
    finally:
        running.kill()
    server.left = 10**6
    server.opened.set()
    return len(had(store))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize(
    "args",
    [
        ["--sample", "50%"],
        ["--sample", "50%", "--loop", "3", "--workers", "2"],
        ["--sample", "50%", "--sample-by", "query:i"],
        ["-f", "{half}"],
        ["-f", "{half}", "--sample", "60%", "--loop", "2"],
    ],
)
def test_resume_of_a_sample(args, how, tmp_path):
    """What was left out stays out, and what was in is sent: as in a run that nobody broke off."""
    half = tmp_path / "half.yaml"
    half.write_text(HALF)
    args = [a.format(half=half) for a in args] + ["--seed", "7"]
    requests = [request("GET", f"/?i={i}") for i in range(400)]
    simple(tmp_path / "in.pcap", requests, gap_us=10)
    store, whole = tmp_path / "shadow.db", tmp_path / "whole.db"
    for path in (store, whole):
        run("capture", "-r", tmp_path / "in.pcap", "-o", path)
    with RawServer() as server:
        run("replay", whole, "--to", server.url, "--max", *args)
        assert 50 < len(server.seen) < 800
        row = one(whole, "select ended_at || summary from replay")
        assert "nothing was left of run 1" in resume(whole, server, *args).err
        assert one(whole, "select ended_at || summary from replay") == row
        assert len(server.seen) == len(had(whole))
    with Gate(40) as server:
        assert broken_off(tmp_path, store, server, *args, how=how, after=40) < len(had(whole))
        resume(store, server, *args)
    assert had(store) == had(whole)


MIRRORS = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: three}
spec:
  hosts: [service.test]
  http:
  - match: [{uri: {prefix: /}}]
    rewrite: {uri: /x/}
    route: [{destination: {host: service.test}}]
    mirrors:
    - {destination: {host: one.test, port: {number: 81}}}
    - {destination: {host: two.test, subset: v1}, percentage: {value: 50}}
    - {destination: {host: two.test, subset: v2}, percentage: {value: 50}}
"""
HOSTS = ["one.test", "two.test/v1", "two.test/v2"]


def to_mirrors(manifest, servers):
    where = [f"{h}=127.0.0.1:{s.port}" for h, s in zip(HOSTS, servers, strict=True)]
    return ["-f", manifest, "--max", *(word for w in where for word in ("--resolve", w))]


def test_resume_one_mirror(tmp_path):
    """Of a manifest with several, two of which differ in their subset alone: each goes on with what
    was its own, and nothing goes to the others."""
    manifest = tmp_path / "m.yaml"
    manifest.write_text(MIRRORS)
    store = dataset(tmp_path, 300)
    whole = tmp_path / "whole.db"
    shutil.copy(store, whole)
    with Gate(20) as a, Gate(20) as b, Gate(20) as c:
        servers, runs = [a, b, c], [1, 2, 3]
        args = to_mirrors(manifest, servers)
        running = Running(tmp_path, "replay", store, *args, "--seed", "5")
        try:
            wait_until(lambda: all(len(had(store, n)) == 20 for n in runs), "results")
        finally:
            running.kill()
        for server in servers:
            server.left = 10**6
            server.opened.set()
        run("replay", whole, *args, "--seed", "5")
        for n in runs:
            for server in servers:
                server.seen.clear()
            run("replay", store, *args, "--resume", n)
            assert had(store, n) == had(whole, n)
            assert len(servers[n - 1].seen) == len(had(store, n)) - 20
            assert sum(len(s.seen) for s in servers) == len(servers[n - 1].seen)
            assert all(s.target.startswith("/x/") for s in servers[n - 1].seen)
    assert len(had(store, 1)) == 300
    first, second = (set(had(store, n)) for n in (2, 3))
    assert 106 < len(first) < 194 and 106 < len(second) < 194
    assert 43 < len(first & second) < 107  # 75 and some more than four standard deviations
    assert one(store, "select count(*) from replay") == 3


def test_resume_a_mirror_that_is_not_there(tmp_path):
    manifest = tmp_path / "m.yaml"
    manifest.write_text(MIRRORS)
    store = dataset(tmp_path, 20)
    with RawServer() as a, RawServer() as b, RawServer() as c:
        args = to_mirrors(manifest, [a, b, c])
        run("replay", store, *args)

        def told(n, **more):
            return run("replay", store, *args, "--resume", n, **more).err

        def refused(n, says):
            err = told(n, status=2)
            assert says in err and len(err.splitlines()) == 1, err

        # What is known of an older program's run is its URL.
        with sqlite3.connect(store) as db:
            db.execute("update replay set options = json_remove(options, '$.mirror')")
        assert "nothing was left" in told(1)
        refused(2, "was to http://two.test:80, and of an older program")
        manifest.write_text(MIRRORS.replace("one.test", "three.test"))
        args[args.index(f"one.test=127.0.0.1:{a.port}")] = f"three.test=127.0.0.1:{a.port}"
        refused(1, "was to http://one.test:81, and the manifest mirrors nothing there")


@pytest.mark.parametrize("key", ["request", "query:i"])
@pytest.mark.parametrize("seed", [[], ["--seed", "18446744073709551615"]])
def test_resume_takes_the_seed(seed, key, tmp_path):
    """Whoever gave it: the same command goes on."""
    store = tmp_path / "shadow.db"
    requests = [request("GET", f"/?i={i}") for i in range(100)]
    run("capture", "-r", simple(tmp_path / "in.pcap", requests), "-o", store)
    args = ["--sample", "50%", "--sample-by", key]
    with RawServer() as server:
        run("replay", store, "--to", server.url, "--max", *args, *seed)
        before = had(store)
        assert 20 < len(before) < 80
        with sqlite3.connect(store) as db:
            db.execute("delete from result where exchange_id > 50")
        resume(store, server, *args)
        assert had(store) == before
        refused = resume(store, server, *args, "--seed", "1", status=2)
        assert len(refused.err_lines) == 1 and "other options" in refused.err
        refused = resume(store, server, *args, "--sample-by", "client", status=2)
        assert len(refused.err_lines) == 1 and "other options" in refused.err
        with sqlite3.connect(store) as db:
            db.execute("update replay set options = json_remove(options, '$.sample_by')")
        refused = resume(store, server, *args, status=2)
        assert len(refused.err_lines) == 1 and "older program" in refused.err
    assert had(store) == before


@pytest.mark.parametrize(
    "args, words",
    [
        (["--methods", "all"], 'methods was "GET,HEAD,OPTIONS", and is "all" now'),
        (["--route", "/1*"], 'route was none, and is ["/1*"] now'),
        (["--save", "status", "--order", "none"], 'order was "connection", and is "none" now'),
        (["--loop", "2"], "loop was 1, and is 2 now"),
        (["--set-header", "X: " + "x" * 600], "set_header was none, and is "),
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
        assert len(refused.err) < 300
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
