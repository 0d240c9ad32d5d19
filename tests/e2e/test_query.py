# SPDX-License-Identifier: Apache-2.0
"""query and info: what they print is what the file holds, as somebody else's SQLite reads it."""

import csv
import io
import json
import re
import subprocess

import pytest
from harness import one, request, run, select
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
NAMES = ["routes", "status", "slowest"]

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
