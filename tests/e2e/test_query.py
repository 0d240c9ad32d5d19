# SPDX-License-Identifier: Apache-2.0
"""query and info: what they print is what the file holds, as somebody else's SQLite reads it."""

import contextlib
import csv
import io
import json
import pathlib
import re
import signal
import sqlite3
import subprocess

import pytest
from harness import Running, one, request, run, select, wait_until
from pcapfile import Conversation, PcapFile
from servers.raw import RawServer


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Some traffic and one replay of it."""
    folder = tmp_path_factory.mktemp("query")
    pcap = PcapFile()
    talk = Conversation(pcap, 40000)
    for i, (method, path, status) in enumerate(
        [
            ("GET", "/a", 200),
            ("GET", "/a?x=1", 200),
            ("GET", "/caf%C3%A9", 404),
            ("POST", "/a", 500),
            ("GET", "/slow", 200),
        ]
    ):
        body = '{"text": "naïve, \\"quoted\\"\nline"}'.encode()
        length = [b"Content-Length: %d" % (len(body) if method == "POST" else 0)]
        length.append(b"Cookie: theme=dark; sid=s%d" % (i % 2))
        talk.request(10**6 * i, request(method, path, length, body if method == "POST" else b""))
        answer = b"HTTP/1.1 %d X\r\nContent-Length: 3\r\nX-A: b\r\n\r\n\xff\x00z" % status
        talk.response(10**6 * i + (900_000 if path == "/slow" else 1000 * (i + 1)), answer)
    talk.close(10**7)
    run("capture", "-r", pcap.write(folder / "in.pcap"), "-o", folder / "shadow.db")
    with RawServer() as server:
        run("replay", folder / "shadow.db", "--to", server.url, "--max")
    return folder / "shadow.db"


TABLES = ["capture", "body", "exchange", "replay", "result", "difference"]
VIEWS = ["request", "header", "route_summary", "replay_summary", "difference_summary"]
NAMES = [
    *("routes", "status", "slowest", "errors", "clients"),
    *("sessions", "funnel", "hours", "sizes"),
]
EMPTY = ["duplicates"]

SQL = [
    "select 1",
    "select null, 1, -2.5, 'text', x'00ff41'",
    "select 'a,b', 'c\"d', 'e\nf', '', 'ü€', ' x '",
    "select method, path, status, duration_us from exchange order by id",
    "select id, request_headers, ts_us from exchange order by id",
    "select count(*) as n, avg(duration_us) from exchange group by status order by 1",
    "select path from exchange where 0",
    "with t(n) as (values (1), (2)) select n from t",
    "pragma user_version",
]


def plain(value):
    """A value as its text."""
    if value is None:
        return ""
    return value if isinstance(value, (str, bytes)) else str(value)


@pytest.mark.parametrize("sql", SQL)
def test_csv_is_what_sqlite_says(sql, store):
    out = run("query", store, sql, "--csv").raw_out.decode("utf-8", "surrogateescape")
    got = list(csv.reader(io.StringIO(out, newline=""), strict=True))
    rows = select(store, sql)
    if rows:
        assert got[0] == list(rows[0].keys())
    assert len(got) == len(rows) + 1
    for line, row in zip(got[1:], rows):
        for text, value in zip(line, row):
            if not isinstance(value, (bytes, float)):
                assert text == plain(value)
            elif isinstance(value, float):
                assert float(text) == pytest.approx(value)


@pytest.mark.parametrize("sql", SQL)
def test_json_is_what_sqlite_says(sql, store):
    got = json.loads(run("query", store, sql, "--json").out)
    rows = select(store, sql)
    assert len(got) == len(rows)
    for item, row in zip(got, rows):
        assert list(item) == list(row.keys())
        for value, expected in zip(item.values(), row):
            if isinstance(expected, float):
                assert value == pytest.approx(expected)
            elif not isinstance(expected, bytes):
                assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize("sql", SQL)
def test_text_is_a_table(sql, store):
    done = run("query", store, sql)
    rows = select(store, sql)
    if rows:
        assert all(name in done.lines[0] for name in rows[0].keys() if name.isidentifier())
    assert len(done.lines) >= len(rows)
    assert "\x1b" not in done.out


@pytest.mark.parametrize("name", NAMES)
def test_named_queries(name, store):
    rows = json.loads(run("query", store, name, "--json").out)
    assert rows
    assert list(csv.reader(io.StringIO(run("query", store, name, "--csv").out)))[0] == list(rows[0])
    assert name in [row["name"] for row in json.loads(run("query", store, "--json").out)]


def test_named_queries_count_right(store):
    status = json.loads(run("query", store, "status", "--json").out)
    assert {r["status"]: r["requests"] for r in status} == {200: 3, 404: 1, 500: 1}
    slowest = json.loads(run("query", store, "slowest", "--json").out)
    assert slowest[0]["path"] == "/slow"


@pytest.mark.parametrize("name", TABLES + VIEWS)
def test_tables_and_views(name, store):
    """Every one that the documentation promises, for our program and for SQLite's own."""
    run("query", store, f"select * from {name}")
    sql = f"select count(*) from {name}"
    theirs = int(subprocess.check_output(["sqlite3", store, sql]))
    assert json.loads(run("query", store, sql, "--json").out)[0]["count(*)"] == theirs


def test_request_view_is_for_reading(store):
    row = select(store, "select * from request where method = 'POST'")[0]
    assert re.match(r"2023-11-14[ T]22:13:2\d", row["time"])
    assert "naïve" in row["request_body"]


def test_header_view(store):
    got = select(store, "select side, value from header where name = 'X-A' order by exchange_id")
    assert [tuple(r) for r in got] == [("response", "b")] * 5


def test_query_never_writes(store):
    before = store.read_bytes()
    for sql in (
        "delete from exchange",
        "drop table body",
        "create table x (y)",
        "insert into body default values",
        "pragma user_version = 7",
        "vacuum",
        "attach 'other.db' as o",
        "with x as (select 1) delete from exchange",
    ):
        done = run("query", store, sql, status=None)
        assert done.status in (1, 2), sql
        assert len(done.err_lines) == 1
    assert store.read_bytes() == before
    assert not (store.parent / "other.db").exists()


def test_info(store):
    text = run("info", store).out
    for word in ("in.pcap", "packets", "requests", "responses", "http://127.0.0.1:"):
        assert word in text
    assert re.search(r"\b5\b", text)


def test_info_as_json(store):
    got = json.loads(run("info", store, "--json").out)
    text = json.dumps(got)
    ledger = json.loads(one(store, "select ledger from capture"))
    assert json.dumps(ledger) in text


@pytest.mark.parametrize("name", NAMES + EMPTY)
@pytest.mark.parametrize("by", ["", "client", "cookie:sid", "header:Host"])
def test_sql_of_named_queries(name, by, store):
    """What --sql prints gives the same rows in stock SQLite."""
    if by and name not in ("sessions", "funnel"):
        assert "--by" in run("query", store, name, "--by", by, status=2).err
        return
    key = ["--by", by] if by else []
    sql = run("query", store, name, *key, "--sql").out
    stock = ["sqlite3", "-readonly", "-json", store]
    theirs = subprocess.run(stock, input=sql, capture_output=True, text=True, check=True).stdout
    ours = json.loads(run("query", store, name, *key, "--json").out)
    assert ours == json.loads(theirs or "[]")
    assert bool(ours) == (name in NAMES)


def test_sessions_by_cookie(store):
    got = json.loads(run("query", store, "sessions", "--by", "cookie:sid", "--json").out)
    assert [(r["key"], r["requests"]) for r in got] == [("s0", 3), ("s1", 2)]
    assert json.loads(run("query", store, "sessions", "--by", "cookie:id", "--json").out) == []


def test_funnel(store):
    got = json.loads(run("query", store, "funnel", "--by", "cookie:sid", "--json").out)
    steps = {(r["route"], r["next"]): r["times"] for r in got}
    assert steps[("/a", "/caf%C3%A9")] == 1 and steps[("/slow", None)] == 1


def test_hostile_key_is_only_a_name(store):
    key = "cookie:x') OR 1=1 --"
    assert json.loads(run("query", store, "sessions", "--by", key, "--json").out) == []


@pytest.mark.parametrize(
    "args, word",
    [
        (["sessions", "--by", "cookie"], "cookie"),
        (["sessions", "--by", "cookie:"], "cookie:"),
        (["sessions", "--by", "path"], "path"),
        (["select 1", "--by", "client"], "--by"),
        (["--sql"], "--sql"),
        (["--by", "client"], "--by"),
        (["routes", "--json", "--jsonl"], "--jsonl"),
        (["routes", "--json", "--sql"], "--sql"),
    ],
)
def test_wrong_options(args, word, store):
    done = run("query", store, *args, status=2)
    assert len(done.err_lines) == 1 and word in done.err and done.out == ""


@pytest.mark.parametrize("sql", SQL)
def test_jsonl_is_json_by_lines(sql, store):
    lines = run("query", store, sql, "--jsonl").lines
    whole = json.loads(run("query", store, sql, "--json").out)
    assert [json.loads(line) for line in lines] == whole


ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"


def test_interrupt(store, tmp_path):
    """A statement without an end has one when it is told so."""
    query = Running(tmp_path, "query", store, ENDLESS)
    try:
        # It has asked for the signal, and so is about to run.
        def listens():
            status = pathlib.Path(f"/proc/{query.process.pid}/status").read_text()
            return int(re.search(r"SigCgt:\s*(\w+)", status).group(1), 16) & 1 << signal.SIGINT - 1

        wait_until(listens, "a handler of SIGINT")
        query.signal(signal.SIGINT)
        assert "stopped" in query.end(status=1)
    finally:
        query.kill()


def test_missing_view_is_named(store, tmp_path):
    """Somebody dropped a view: the line says which."""
    copy = tmp_path / "copy.db"
    copy.write_bytes(store.read_bytes())
    with contextlib.closing(sqlite3.connect(copy)) as db, db:
        db.execute("drop view request")
    done = run("query", copy, "slowest", status=2)
    assert len(done.err_lines) == 1 and "request" in done.err
