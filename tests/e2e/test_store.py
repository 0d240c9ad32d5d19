# SPDX-License-Identifier: Apache-2.0
"""store: pruning, merging and vacuuming real captures; what is left is what should be, as somebody
else's SQLite reads it, also beside a capture and after ^C."""

import contextlib
import json
import shutil
import resource
import signal
import sqlite3
import subprocess
import time

import pytest
from harness import (
    Capture,
    Running,
    binary,
    can_capture,
    exchanges,
    free_port,
    integrity,
    one,
    request,
    run,
    select,
)
from pcapfile import Conversation, PcapFile
from servers.raw import RawServer


def capture(folder, name, at_us=0, paths=("/a", "/b", "/a"), body=b"same"):
    """A store of so many requests on two connections, recorded at START_US + at_us."""
    pcap = PcapFile()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    for i, path in enumerate(paths):
        talk = Conversation(pcap, 40000 + i % 2 + 10 * i, at=at_us + 10_000 * i)
        talk.exchange(at_us + 10_000 * i + 100, request("GET", path), answer)
        talk.close(at_us + 10_000 * i + 5000)
    run("capture", "-r", pcap.write(folder / f"{name}.pcap"), "-o", folder / f"{name}.db")
    return folder / f"{name}.db"


def change(store, sql):
    with contextlib.closing(sqlite3.connect(store)) as db, db:
        db.execute(sql)


def days_old(store, days, where):
    """Moves exchanges to so many days ago."""
    ts_us = int((time.time() - 86400 * days) * 10**6)
    change(store, f"update exchange set ts_us = {ts_us} + id where {where}")


def rows(*args, **more):
    return json.loads(run(*args, "--json", **more).out)


def test_prune(tmp_path):
    store = capture(tmp_path, "s")
    with RawServer() as server:
        run("replay", store, "--to", server.url, "--max", "--save", "full")
    days_old(store, 10, "id <= 2")
    days_old(store, 2, "id > 2")
    before = store.read_bytes()
    counted = rows("store", "prune", store, "--older", "7d", "--dry-run")
    assert store.read_bytes() == before
    assert counted == rows("store", "prune", store, "--older", "7d")
    assert counted[0]["exchanges"] == 2 and counted[0]["results"] == 2
    assert [r["id"] for r in exchanges(store)] == [3]
    assert one(store, "select exchange_id from result") == 3
    assert one(store, "select count(*) from capture") == 1
    assert exchanges(store)[0]["response_data"] == b"same"
    assert integrity(store) == "ok"
    assert rows("store", "prune", store, "--older", "7d")[0]["exchanges"] == 0
    gone = rows("store", "prune", store, "--older", "1d")[0]
    assert gone["exchanges"] == 1
    assert one(store, "select count(*) from body") == 0


def test_pruned_store_takes_more(tmp_path):
    """Bodies that went are written again when they come again."""
    store = capture(tmp_path, "s")
    run("store", "prune", store, "--older", "1d")
    assert not exchanges(store)
    run("capture", "-r", tmp_path / "s.pcap", "-o", store)
    assert [r["response_data"] for r in exchanges(store)] == [b"same"] * 3


def test_merge(tmp_path):
    a = capture(tmp_path, "a", paths=["/a", "/b"])
    b = capture(tmp_path, "b", at_us=5_000, paths=["/c", "/d", "/e"])
    out = tmp_path / "out.db"
    merged = rows("store", "merge", a, b, "-o", out)
    assert [(r["exchanges"], r["new_bodies"]) for r in merged] == [(2, 1), (3, 0)]
    assert [r["path"] for r in exchanges(out)] == ["/a", "/c", "/b", "/d", "/e"]
    assert len({r["connection"] for r in exchanges(out)}) == 5
    assert [r["id"] for r in select(out, "select id from capture")] == [1, 2]
    assert {r["response_data"] for r in exchanges(out)} == {b"same"}
    assert one(out, "select count(*) from body") == 1
    assert out.stat().st_mode & 0o777 == 0o600
    assert integrity(out) == "ok"
    ledgers = [select(s, "select ledger from capture")[0][0] for s in (a, b)]
    assert [r[0] for r in select(out, "select ledger from capture order by id")] == ledgers
    with RawServer() as server:
        run("replay", out, "--to", server.url, "--max")
        assert len(server.seen) == 5


def test_merge_of_a_merge(tmp_path):
    a, b = capture(tmp_path, "a"), capture(tmp_path, "b")
    run("store", "merge", a, b, "-o", tmp_path / "ab.db")
    c = capture(tmp_path, "c")
    run("store", "merge", tmp_path / "ab.db", c, "-o", tmp_path / "abc.db")
    assert one(tmp_path / "abc.db", "select count(*) from capture") == 3
    assert len({r["connection"] for r in exchanges(tmp_path / "abc.db")}) == 9


def few_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))


def test_merge_of_many(tmp_path):
    """A quoted glob, and more stores than may be open at once. One that is none is found before
    anything is made."""
    first = capture(tmp_path, "s")
    for i in range(100):
        shutil.copy(first, tmp_path / f"x{i:03}.db")
    merge = [binary(), "store", "merge", "--json", tmp_path / "x*.db", "-o", tmp_path / "out.db"]
    done = subprocess.run(merge, preexec_fn=few_files, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    merged = json.loads(done.stdout)
    assert [r["store"] for r in merged] == [str(tmp_path / f"x{i:03}.db") for i in range(100)]
    assert {r["exchanges"] for r in merged} == {3}
    assert one(tmp_path / "out.db", "select count(*) from exchange") == 300
    assert integrity(tmp_path / "out.db") == "ok"
    (tmp_path / "x100.db").write_text("no database, only words about one\n" * 40)
    done = run("store", "merge", tmp_path / "x*.db", "-o", tmp_path / "no.db", status=2)
    assert "x100.db: is not a store" in done.err and not list(tmp_path.glob("no.db*"))


def test_weeks(tmp_path):
    store = capture(tmp_path, "s")
    days_old(store, 13, "id = 1")
    days_old(store, 15, "id = 2")
    days_old(store, 0, "id = 3")
    for older, n in (("2w", 1), ("1.5w", 2), ("14d", 1), ("336h", 1), ("1h", 2)):
        counted = rows("store", "prune", store, "--older", older, "--dry-run")
        assert counted[0]["exchanges"] == n, older


def test_vacuum(tmp_path):
    store = capture(tmp_path, "s", paths=["/a"], body=b"x" * 900_000)
    run("store", "prune", store, "--older", "1d")
    room = rows("store", "vacuum", store)[0]
    assert room["bytes_before"] > 900_000 > room["bytes_after"]
    assert store.stat().st_size == room["bytes_after"]
    run("capture", "-r", tmp_path / "s.pcap", "-o", store)
    run("store", "prune", store, "--older", "1d")
    room = rows("store", "vacuum", store, "--incremental")[0]
    assert room["bytes_before"] > 900_000 > room["bytes_after"]
    assert store.stat().st_size == room["bytes_after"]
    assert integrity(store) == "ok"
    assert one(store, "pragma application_id") == 0x53484457


@pytest.mark.parametrize("name", ["file:zz.db", "file:zz.db?mode=ro", "file:///zz.db", ":memory:"])
def test_a_name_is_a_name(name, tmp_path):
    """What SQLite would take for a URI, or for no file at all."""
    capture(tmp_path, "a")
    capture(tmp_path, "b")
    if "/" in name:
        (tmp_path / "file:").mkdir()
    run("store", "merge", "a.db", "b.db", "-o", name, cwd=tmp_path)
    run("store", "prune", name, "--older", "1d", "--dry-run", cwd=tmp_path)
    run("replay", name, "--to", "http://127.0.0.1:1", "--max", cwd=tmp_path, status=1)
    assert run("query", name, "select count(*) from result", "--csv", cwd=tmp_path).lines[1] == "6"
    (tmp_path / name).rename(tmp_path / "plain.db")
    left = {p.name for p in tmp_path.rglob("*") if p.suffix != ".pcap"} - {"file:"}
    assert left == {"a.db", "b.db", "plain.db"}
    assert len(select(tmp_path / "plain.db", "select 1 from exchange")) == 6


@pytest.fixture
def folder(tmp_path):
    capture(tmp_path, "ok")
    capture(tmp_path, "two")
    (tmp_path / "text.db").write_text("no database, only words about one\n" * 40)
    change(tmp_path / "theirs.db", "create table t (a)")
    shutil.copy(tmp_path / "ok.db", tmp_path / "newer.db")
    change(tmp_path / "newer.db", "pragma user_version = 99")
    shutil.copy(tmp_path / "ok.db", tmp_path / "damaged.db")
    change(tmp_path / "damaged.db", "update exchange set response_body = 77")
    return tmp_path


WRONG = [
    ("store", "prune"),
    ("store frobnicate", "frobnicate"),
    ("store frobnicate ok.db", "prune, merge or vacuum"),
    ("store prune", "one store"),
    ("store prune ok.db", "--older"),
    ("store prune ok.db two.db --older 1d", "one store"),
    ("store prune ok.db --older yesterday", "yesterday"),
    ("store prune ok.db --older 0d", "0d"),
    ("store prune ok.db --older 7", "'7': expected a number above 0 and its unit"),
    ("store prune ok.db --older 7 --dry-run", "(us, ms, s, m, h, d or w): 7d, 12h"),
    ("store prune ok.db --older 7e0", "'7e0'"),
    ("store prune ok.db --older 0x7d", "'0x7d'"),
    ("store prune ok.db --older +7d", "'+7d'"),
    ("store prune ok.db --older d", "'d'"),
    ("store prune ok.db --older .w", "'.w'"),
    ("store prune ok.db --older 0w", "'0w'"),
    ("store prune ok.db --older 7D", "'7D'"),
    ("store prune ok.db --older 7days", "'7days'"),
    ("store prune ok.db --older 9999999999999999999999999999999999w", "w'"),
    ("store prune ok.db --older 1d -o new.db", "--output"),
    ("store prune missing.db --older 1d", "missing.db: no such file"),
    ("store prune text.db --older 1d", "text.db: is not a store"),
    ("store prune theirs.db --older 1d", "theirs.db: is not a store"),
    ("store prune newer.db --older 1d", "version 99"),
    ("store merge -o new.db", "expected 1 to 1024 stores"),
    ("store merge no*.db -o new.db", "'no*.db': no file has such a name"),
    ("store merge ok.db o*.db -o new.db", "ok.db: is there twice"),
    ("store merge ok.db two.db", "-o FILE"),
    ("store merge ok.db two.db -o two.db", "two.db: exists"),
    ("store merge ok.db ./ok.db -o new.db", "./ok.db: is there twice"),
    ("store merge ok.db missing.db -o new.db", "missing.db: no such file"),
    ("store merge ok.db text.db -o new.db", "text.db: is not a store"),
    ("store merge ok.db newer.db -o new.db", "version 99"),
    ("store merge ok.db damaged.db -o new.db", "damaged.db: is damaged: exchange"),
    ("store merge ok.db two.db -o no/such/new.db", "no/such/new.db"),
    ("store merge ok.db two.db -o new.db --dry-run", "--dry-run"),
    ("store vacuum ok.db --older 1d", "--older"),
    ("store vacuum ok.db --incremental", "one whole vacuum"),
    ("store vacuum text.db", "text.db: is not a store"),
]


@pytest.mark.parametrize("line, word", WRONG, ids=[line for line, _ in WRONG])
def test_wrong_usage(line, word, folder):
    before = {p: p.read_bytes() for p in folder.iterdir()}
    done = run(*line.split(), cwd=folder, status=2)
    assert len(done.err_lines) == 1, done.err
    assert done.err.startswith("shadow-ctl: ") and word in done.err
    assert done.out == ""
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


def test_read_only_folder_can_be_merged(folder):
    shelf = folder / "shelf"
    shelf.mkdir()
    shutil.copy(folder / "ok.db", shelf / "ok.db")
    (shelf / "ok.db").chmod(0o400)
    shelf.chmod(0o500)
    run("store", "merge", shelf / "ok.db", "-o", folder / "new.db")
    shelf.chmod(0o700)
    assert [p.name for p in shelf.iterdir()] == ["ok.db"]
    assert len(exchanges(folder / "new.db")) == 3


@pytest.mark.skipif(not can_capture(), reason="may not capture")
def test_beside_a_capture(tmp_path):
    """A capture that writes is respected; what only reads works all the same."""
    store, port = tmp_path / "s.db", free_port()
    with Capture(store, port=port):
        for args in (["prune", store, "--older", "1d"], ["vacuum", store]):
            done = run("store", *args, status=1)
            assert done.err_lines == [
                f"shadow-ctl: {store}: another program has it open (a capture, a replay, a query);"
                " try again when that has ended"
            ]
        run("store", "prune", store, "--older", "1d", "--dry-run")
        run("query", store, "routes")
        run("store", "merge", store, "-o", tmp_path / "copy.db")
    run("store", "prune", store, "--older", "1d")
    run("store", "vacuum", store)


def grown(store, n):
    """As many exchanges as take a while, with a body each."""
    with contextlib.closing(sqlite3.connect(store)) as db, db:
        columns = [r[1] for r in db.execute("pragma table_info(exchange)") if r[1] != "id"]
        values = ", ".join("null" if c.endswith("_body") else c for c in columns)
        db.execute(
            f"with recursive n(i) as (select 1 union all select i + 1 from n limit {n})"
            f" insert into exchange ({', '.join(columns)}) select {values}"
            " from n, (select * from exchange where id = 1)"
        )
    return store


def wal_grows(path):
    return path.exists() and path.stat().st_size > 200_000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_merge_stopped(tmp_path, number):
    store, out = grown(capture(tmp_path, "s"), 400_000), tmp_path / "out.db"
    before = store.read_bytes()
    merge = Running(tmp_path, "store", "merge", store, "-o", out)
    try:
        while not wal_grows(tmp_path / "out.db-wal") and merge.process.poll() is None:
            time.sleep(0.001)
        merge.signal(number)
        assert "stopped" in merge.end(status=1)
    finally:
        merge.kill()
    assert not list(tmp_path.glob("out.db*"))
    assert store.read_bytes() == before


def test_prune_stopped(tmp_path):
    """What is gone is gone; the rest is as it was, and the next one takes it."""
    store = grown(capture(tmp_path, "s"), 400_000)
    journal = tmp_path / "s.db-journal"
    prune = Running(tmp_path, "store", "prune", store, "--older", "1d")
    try:
        while not journal.exists() and prune.process.poll() is None:
            time.sleep(0.001)
        prune.signal(signal.SIGINT)
        assert "is gone, the rest is as it was" in prune.end(status=0)
    finally:
        prune.kill()
    assert integrity(store) == "ok"
    left = one(store, "select count(*) from exchange")
    assert left > 0
    assert rows("store", "prune", store, "--older", "1d")[0]["exchanges"] == left


def test_prune_killed(tmp_path):
    store = grown(capture(tmp_path, "s"), 400_000)
    prune = Running(tmp_path, "store", "prune", store, "--older", "1d")
    while not (tmp_path / "s.db-journal").exists() and prune.process.poll() is None:
        time.sleep(0.001)
    prune.kill()
    assert integrity(store) == "ok"
    run("store", "prune", store, "--older", "1d")
    assert one(store, "select count(*) from exchange") == 0
    assert one(store, "pragma journal_mode") == "wal"
