# SPDX-License-Identifier: Apache-2.0
"""query and info over several stores: the answers are those of one store that they were merged
into, whoever writes meanwhile; and what is wrong with one of them names it."""

import contextlib
import json
import pathlib
import re
import shutil
import signal
import sqlite3
import threading

import pytest
from harness import Running, one, request, run, select, wait_until
from pcapfile import Conversation, PcapFile
from servers.raw import RawServer


def capture(folder, name, at_us, n):
    """n requests, whose bodies, headers and routes are also those of other captures."""
    pcap = PcapFile()
    for i in range(n):
        talk = Conversation(pcap, 40000 + i, at=at_us + 10_000 * i)
        method = "POST" if i % 3 == 0 else "GET"
        body = b"body %d" % (i % 4) if method == "POST" else b""
        head = [b"Content-Length: %d" % len(body), b"Cookie: sid=s%d" % (i % 3)]
        status = 500 if i % 5 == 4 else 200
        answer = b"HTTP/1.1 %d X\r\nContent-Length: 8\r\nX-A: b\r\n\r\nanswer %d" % (status, i % 3)
        path = f"/users/{i + at_us % 97}/orders" if i % 2 else f"/a?page={i % 2}"
        talk.request(at_us + 10_000 * i + 100, request(method, path, head, body))
        talk.response(at_us + 10_000 * i + 300 + 40 * i, answer)
        talk.close(at_us + 10_000 * i + 5000)
    run("capture", "-r", pcap.write(folder / f"{name}.pcap"), "-o", folder / f"{name}.db")
    return folder / f"{name}.db"


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Three of them, with replays, and one that is their merge."""
    folder = tmp_path_factory.mktemp("several")
    found = [
        capture(folder, "shadow-1", 0, 12),
        capture(folder, "shadow-2", 50_000, 7),
        capture(folder, "shadow-3", 10**7, 20),
    ]
    with RawServer() as server:
        for store in found[1:]:
            for save in ("full", "status"):
                args = ["--max", "--save", save, "--methods", "all"]
                run("replay", store, "--to", server.url, *args)
    run("store", "merge", *found, "-o", folder / "merged.db")
    return found


@pytest.fixture(scope="module")
def merged(stores):
    return stores[0].parent / "merged.db"


def rows(*args, **more):
    return json.loads(run(*args, "--json", **more).out)


NAMES = [
    *("routes", "status", "slowest", "errors", "clients"),
    *("sessions", "funnel", "hours", "sizes", "duplicates"),
]


@pytest.mark.parametrize("name", NAMES)
def test_named_queries(name, stores, merged):
    got = rows("query", *stores, name)
    assert got and got == rows("query", merged, name)
    if name in ("sessions", "funnel"):
        by = ["--by", "cookie:sid"]
        assert rows("query", *stores, name, *by) == rows("query", merged, name, *by)


SQL = [
    "select * from exchange order by id",
    "select * from request order by id",
    "select * from body order by id",
    "select * from capture order by id",
    "select * from result order by id",
    "select * from replay_summary order by replay_id",
    "select * from route_summary order by route",
    "select * from header order by exchange_id, side, name",
    "select * from template order by id",
    "select e.path, b.size, cast(b.data as text) from exchange e join body b"
    " on b.id = e.response_body order by e.id",
    "select r.status, e.status, count(*) from result r join exchange e on e.id = r.exchange_id"
    " where r.replay_id in (2, 3) group by 1, 2 order by 1, 2",
    "select request_body, count(*) from exchange group by 1 order by 1",
    "select id from exchange e where exists (select 1 from result r where r.exchange_id = e.id)",
    "select id, sum(response_size) over (order by ts_us, id) from exchange order by id",
    "select count(distinct connection), count(distinct response_body) from exchange",
    "select bodies, bytes from body_total",
]


@pytest.mark.parametrize("sql", SQL)
def test_sql(sql, stores, merged):
    got = rows("query", *stores, sql)
    assert got and got == rows("query", merged, sql)
    assert run("query", *stores, sql, "--csv").out == run("query", merged, sql, "--csv").out


def test_words(stores, tmp_path):
    """Globs, names and files that are called like a query."""
    folder = stores[0].parent
    count = "select count(*) as n, max(capture_id) as c from exchange"
    assert rows("query", "shadow-*.db", count, cwd=folder) == [{"n": 39, "c": 3}]
    assert rows("query", "shadow-1.db", "shadow-[23].db", count, cwd=folder)[0]["n"] == 39
    assert rows("query", "shadow-*1.db", count, cwd=folder) == [{"n": 12, "c": 1}]
    listed = rows("query", stores[0])
    assert [row["name"] for row in listed] == NAMES
    assert rows("query", *stores) == rows("query", "shadow-*.db", cwd=folder) == listed
    for store in stores:
        shutil.copy(store, tmp_path)
    (tmp_path / "status").write_text("no store")
    assert rows("query", "shadow-*.db", "status", cwd=tmp_path)
    (tmp_path / "two words.db").write_bytes(stores[0].read_bytes())
    assert rows("query", "two words.db", "shadow-2.db", count, cwd=tmp_path)[0]["n"] == 19


def test_sql_of_named_queries(stores, merged):
    ours = run("query", *stores, "sessions", "--by", "cookie:sid", "--sql").out
    assert ours == run("query", merged, "sessions", "--by", "cookie:sid", "--sql").out


@pytest.fixture
def folder(stores, tmp_path):
    for i, store in enumerate(stores[:2]):
        shutil.copy(store, tmp_path / f"{'ab'[i]}.db")
    (tmp_path / "text.db").write_text("no database, only words about one\n" * 40)
    for name, sql in {
        "newer": "pragma user_version = 99",
        "damaged": "update exchange set response_body = 77",
        "negative": "update exchange set id = -1 where id = 1",
    }.items():
        shutil.copy(stores[0], tmp_path / f"{name}.db")
        with contextlib.closing(sqlite3.connect(tmp_path / f"{name}.db")) as db, db:
            db.execute(sql)
    return tmp_path


WRONG = [
    ("query a.db shadwo.db", "'shadwo.db': no such file"),
    ("query a.db b.db ./routes", "'./routes': no such file"),
    ("query a.db missing-*.db", "'missing-*.db': no such file"),
    ("query shadwo.db b.db routes", "shadwo.db: no such file"),
    ("query a.db shadwo.db routes", "shadwo.db: no such file"),
    ("query missing-*.db a.db routes", "'missing-*.db': no file has such a name"),
    ("query a.db routes b.db", "'routes': no such file; what is asked stands behind"),
    ("query a.db b.db rowtes", "'rowtes' is neither SQL nor the name of a query"),
    ("query a.db b.db ./a.db routes", "./a.db: is there twice"),
    ("query a.db text.db routes", "text.db: is not a store"),
    ("query text.db a.db routes", "text.db: is not a store"),
    ("query a.db newer.db routes", "newer.db: has schema version 99"),
    ("query a.db negative.db routes", "negative.db: is damaged: exchange: id -1"),
    ("query a.db damaged.db duplicates", "damaged.db: is damaged: exchange: there is no body 77"),
    ("query a.db b.db SELECT(frobnicate)", "no such column: frobnicate"),
    ("query a.db b.db SELECT(1);SELECT(2)", "more than one statement"),
    ("query a.db b.db SELECT(1)FROM(x.y)", "SQL: "),
    ("query a.db b.db --sql", "--sql"),
    ("query a.db b.db status --by client", "--by"),
    ("info a.db missing.db", "missing.db: no such file"),
    ("info a.db text.db", "text.db: is not a store"),
    ("info a.db ./a.db", "./a.db: is there twice"),
    ("info missing-*.db", "'missing-*.db': no file has such a name"),
]


@pytest.mark.parametrize("line, word", WRONG, ids=[line for line, _ in WRONG])
def test_wrong_usage(line, word, folder):
    before = {p: p.read_bytes() for p in folder.iterdir()}
    done = run(*line.split(), cwd=folder, status=2)
    assert len(done.err_lines) == 1, done.err
    assert done.err.startswith("shadow-ctl: ") and word in done.err
    assert done.out == ""
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


def noise(path):
    """Pages in the middle of a file become bytes that are no page."""
    size = path.stat().st_size
    with path.open("r+b") as f:
        for at in range(size // 8192 * 3 // 10, size // 8192 * 6 // 10):
            f.seek(at * 8192)
            f.write(b"\xa5" * 8192)


def grown(store, n):
    """As many exchanges as take a while, in one capture."""
    with contextlib.closing(sqlite3.connect(store)) as db, db:
        columns = [r[1] for r in db.execute("pragma table_info(exchange)") if r[1] != "id"]
        db.execute(
            f"with recursive n(i) as (select 1 union all select i + 1 from n limit {n})"
            f" insert into exchange ({', '.join(columns)}) select {', '.join(columns)}"
            " from n, (select * from exchange where id = 1)"
        )
        db.execute("update capture_total set exchanges = exchanges + ?", [n])
    return store


def test_damaged_file(folder):
    noise(grown(folder / "b.db", 20_000))
    done = run("query", "a.db", "b.db", "status", cwd=folder, status=2)
    assert len(done.err_lines) == 1 and "b.db: is damaged" in done.err and done.out == ""
    assert rows("query", "a.db", "b.db", "select path from exchange where id = 2", cwd=folder)


def test_forty(stores, tmp_path):
    found = [tmp_path / f"{i:02}.db" for i in range(40)]
    for i, path in enumerate(found):
        shutil.copy(stores[i % 3], path)
    run("store", "merge", *found, "-o", tmp_path / "all")
    for name in NAMES:
        assert rows("query", tmp_path / "*.db", name) == rows("query", tmp_path / "all", name)
    sql = "select * from request where id = 333"
    assert rows("query", tmp_path / "*.db", sql) == rows("query", tmp_path / "all", sql)


def test_joins_do_not_walk(stores):
    sql = "explain query plan select b.size from exchange e join body b on b.id = e.response_body"
    plan = [row["detail"] for row in rows("query", *stores, sql)]
    assert any('FROM "body" WHERE "rowid" = ?1' in line for line in plan)
    sql = "explain query plan select response_body from request where id = 30"
    plan = [row["detail"] for row in rows("query", *stores, sql)]
    assert len(plan) == 2 and all('WHERE "rowid" = ?1' in line for line in plan)


def test_beside_writers(stores, tmp_path):
    """Each answer is of one state of all files, which capture and others add to meanwhile."""
    found = [shutil.copy(store, tmp_path) for store in stores]
    before = one(found[0], "select count(*) from exchange")
    ended = threading.Event()

    def write():
        """Two rows at once, each time."""
        with contextlib.closing(sqlite3.connect(found[0], timeout=60)) as db:
            columns = [r[1] for r in db.execute("pragma table_info(exchange)") if r[1] != "id"]
            names = ", ".join(columns)
            while not ended.is_set():
                with db:
                    for _ in range(2):
                        db.execute(
                            f"insert into exchange ({names}) select {names} from exchange"
                            " where id = 1"
                        )

    writer = threading.Thread(target=write)
    writer.start()
    try:
        sql = (
            "select count(*) as n, count(distinct id) as ids, max(id) as last,"
            " (select count(*) from exchange) as again from exchange"
        )
        counts = []
        while len(set(counts)) < 5:
            row = rows("query", *found, sql)[0]
            assert row["n"] == row["ids"] == row["last"] == row["again"]
            assert (row["n"] - 39) % 2 == 0
            counts.append(row["n"])
        assert counts == sorted(counts)
        pcap = stores[1].parent / "shadow-2.pcap"
        run("capture", "-r", pcap, "-o", found[1])
        assert rows("query", *found[1:], sql)[0]["n"] == 34
    finally:
        ended.set()
        writer.join()
    assert one(found[0], "select count(*) from exchange") > before
    assert one(found[0], "pragma integrity_check") == "ok"


def test_reads_only(stores):
    for sql in ("delete from exchange", "drop table body", "attach 'x.db' as x", "vacuum;"):
        done = run("query", *stores, sql, status=2)
        assert len(done.err_lines) == 1 and done.err.startswith("shadow-ctl: SQL: ")


def test_leaves_nothing_behind(stores, tmp_path):
    found = [shutil.copy(store, tmp_path) for store in stores]
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    run("query", *found, "duplicates")
    run("info", *found)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


LONG = [
    "select count(*) from exchange a, exchange b where a.path = b.host",
    "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n",
]


@pytest.mark.parametrize("sql", LONG)
def test_interrupt(sql, folder):
    """Also where the time goes into one step of a file."""
    grown(folder / "b.db", 100_000)
    query = Running(folder, "query", folder / "a.db", folder / "b.db", sql)

    def listens():
        status = pathlib.Path(f"/proc/{query.process.pid}/status").read_text()
        return int(re.search(r"SigCgt:\s*(\w+)", status).group(1), 16) & 1 << signal.SIGINT - 1

    try:
        wait_until(listens, "a handler of SIGINT")
        query.signal(signal.SIGINT)
        assert "stopped" in query.end(status=1)
    finally:
        query.kill()


def counted(store):
    """What info says, by looking at all rows."""
    captures = select(
        store,
        "select c.id, count(e.id) as exchanges, count(case when state = 'complete' then 1 end)"
        " as complete, coalesce(sum(request_size), 0) as request_bytes,"
        " coalesce(sum(response_size), 0) as response_bytes"
        " from capture c left join exchange e on e.capture_id = c.id group by c.id order by c.id",
    )
    replays = select(
        store,
        "select p.id, count(r.id) as requests, count(status) as answered, count(error) as errors"
        " from replay p left join result r on r.replay_id = p.id group by p.id order by p.id",
    )
    return captures, replays


def assert_counts(info, store):
    captures, replays = counted(store)
    for got, row in zip(info["captures"], captures, strict=True):
        assert got["states"].get("complete", 0) == row["complete"]
        for key in ("id", "exchanges", "request_bytes", "response_bytes"):
            assert got[key] == row[key]
    for got, row in zip(info["replays"], replays, strict=True):
        assert {key: got[key] for key in row.keys()} == dict(row)
    bodies = select(store, "select count(*) as count, coalesce(sum(size), 0) as bytes from body")[0]
    assert info["bodies"] == dict(bodies)
    assert info["exchanges"] == sum(row["exchanges"] for row in captures)
    assert info["size_bytes"] == store.stat().st_size


def test_info(stores, merged):
    whole = rows("info", *stores)
    assert list(whole) == ["stores", "exchanges", "size_bytes", "first", "last"]
    assert [s["path"] for s in whole["stores"]] == [str(s) for s in stores]
    assert whole["stores"] == [rows("info", s) for s in stores]
    for store, info in zip([*stores, merged], [*whole["stores"], rows("info", merged)]):
        assert_counts(info, store)
    assert whole["exchanges"] == 39
    assert whole["size_bytes"] == sum(s.stat().st_size for s in stores)
    for key in ("first", "last"):
        assert whole[key] == rows("info", merged)[key]
    assert whole["first"] < whole["last"] and whole["first"].startswith("2023-11-14T22:13:2")
    sql = "select min(time) as first, max(time) as last from request"
    for key, value in dict(select(merged, sql)[0]).items():
        assert whole[key].startswith(value[:-1])


def test_info_as_text(stores):
    text = run("info", *stores).out
    whole = rows("info", *stores)
    for store, info in zip(stores, whole["stores"]):
        assert run("info", store).out in text
        assert f"{info['first']} to {info['last']}" in text
    last = text.splitlines()[-1]
    assert last.startswith("3 stores, 39 exchanges, ")
    assert last.endswith(f"{whole['first']} to {whole['last']}")
    assert run("info", "shadow-*.db", cwd=stores[0].parent).out.count("capture 1 ") == 3


def test_info_of_little(tmp_path, stores):
    """No exchanges at all, none any more, none yet."""
    shutil.copy(stores[1], tmp_path / "pruned.db")
    run("store", "prune", tmp_path / "pruned.db", "--older", "1d")
    info = rows("info", tmp_path / "pruned.db")
    assert info["exchanges"] == 0 and info["first"] is None and info["last"] is None
    assert_counts(info, tmp_path / "pruned.db")
    assert info["captures"][0]["states"] == {}
    whole = rows("info", tmp_path / "pruned.db", stores[0])
    assert whole["first"] == rows("info", stores[0])["first"]
    both = shutil.copy(tmp_path / "pruned.db", tmp_path / "other.db")
    text = run("info", tmp_path / "pruned.db", both).out
    assert text.splitlines()[-1].startswith("2 stores, 0 exchanges, ")
    assert rows("info", tmp_path / "pruned.db", both)["last"] is None


def test_info_before_there_is_an_index(folder, stores):
    """As beside a capture that runs."""
    with contextlib.closing(sqlite3.connect(folder / "a.db")) as db, db:
        db.execute("drop index exchange_time")
    info, indexed = rows("info", folder / "a.db"), rows("info", stores[0])
    assert (info["first"], info["last"]) == (indexed["first"], indexed["last"])


def test_info_does_not_walk(folder):
    """What it reads of a store is little: it does not meet noise in the middle."""
    path = grown(folder / "a.db", 50_000)
    noise(path)
    run("query", path, "status", status=2)
    assert rows("info", path)["exchanges"] == 50_012
