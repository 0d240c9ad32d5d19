# SPDX-License-Identifier: Apache-2.0
"""Datasets in other people's hands: what DuckDB, the sqlite3 shell, pandas, a HAR validator,
fetch-har, Playwright and a browser's developer tools make of our files, and we of theirs. The truth
is the store, read by Python's sqlite3, and what servers logged. What a machine lacks is skipped."""

import base64
import collections
import contextlib
import io
import json
import pathlib
import re
import shutil
import sqlite3
import subprocess
import zlib
from urllib.parse import parse_qsl

import pytest
from harness import ROOT, Capture, can_capture, exchanges, free_port, one, run, select, wait_until
from peers import HERE, Peers, dataset, installed

CHROMIUM = pathlib.Path("/usr/bin/chromium")
MONKEYS = "\n🐵🙈🙉\n".encode()
FORMATS = ["jsonl", "csv"]
PLAIN = ["id", "ts_us", "connection", "position", "client", "client_port", "server", "server_port"]
PLAIN += ["method", "scheme", "host", "path", "query", "version", "request_size", "status"]
PLAIN += ["response_size", "ttfb_us", "duration_us", "route", "state", "sample"]
BODIES = ["request_body", "request_body_base64", "response_body", "response_body_base64"]


@pytest.fixture(name="peers", scope="module")
def fixture_peers():
    return Peers(installed())


@pytest.fixture(name="data", scope="module")
def fixture_data(tmp_path_factory):
    """A folder with the same dataset as d.db, d.jsonl, d.csv, d.har and d.gor."""
    folder = tmp_path_factory.mktemp("peers")
    total = dataset.write(folder / "d.pcap")
    return export(folder, "capture", "-r", folder / "d.pcap", "-o", folder / "d.db", total=total)


def export(folder, *command, total):
    run(*command)
    assert one(folder / "d.db", "SELECT count(*) FROM exchange") == total
    for suffix in ("jsonl", "csv", "har", "gor"):
        run("export", folder / "d.db", folder / f"d.{suffix}")
    return folder


def of_body(data):
    """As text, where it is text, or in base64."""
    with contextlib.suppress(UnicodeDecodeError):
        if not data or 0 not in data:
            return [data.decode() if data else None, None]
    return [None, base64.b64encode(data).decode()]


def expected(store):
    """What PLAIN and BODIES are, by id."""
    rows = sorted(exchanges(store), key=lambda r: r["id"])
    return [tuple([r[n] for n in PLAIN] + of_body(r["request_data"]) + of_body(r["response_data"]))
            for r in rows]


def reader(data, suffix):
    """How DuckDB is to read a file so that no value is lost; with less it guesses well enough."""
    if suffix == "jsonl":
        return f"read_json('{data}/d.jsonl')"
    return f"read_csv('{data}/d.csv', allow_quoted_nulls = false, types = {{'version': 'VARCHAR'}})"


# --- DuckDB --------------------------------------------------------------------------------------


def unhex(value):
    return None if value is None else bytes.fromhex(value).decode()


@pytest.mark.parametrize("suffix", FORMATS)
def test_duckdb_reads_every_value(peers, data, suffix):
    bodies = ", ".join(f"hex({name})" for name in BODIES)
    columns = ", ".join(PLAIN) + ", " + bodies
    (rows,) = peers.duckdb(f"SELECT {columns} FROM {reader(data, suffix)} ORDER BY id")
    found = [row[: len(PLAIN)] + tuple(map(unhex, row[len(PLAIN) :])) for row in rows]
    for row, wanted in zip(found, expected(data / "d.db"), strict=True):
        assert row == wanted


ANSWERS = [
    "SELECT count(*), count(status), sum(request_size), sum(response_size), max(ts_us) FROM {}",
    "SELECT method, count(*), sum(response_size), min(duration_us) FROM {} GROUP BY 1 ORDER BY 1",
    "SELECT status, count(*), avg(duration_us) FROM {} GROUP BY status ORDER BY status NULLS FIRST",
    "SELECT path, query, count(*) FROM {} GROUP BY path, query ORDER BY 1, 2 NULLS FIRST",
    "SELECT state, server_port, count(DISTINCT path) FROM {} GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT id FROM {} WHERE path LIKE '/text%' AND response_size > 10 ORDER BY id",
]


def store_answers(store):
    return [list(map(tuple, select(store, sql.format("exchange")))) for sql in ANSWERS]


@pytest.mark.parametrize("suffix", FORMATS)
def test_duckdb_answers_as_the_store_does(peers, data, suffix):
    found = peers.duckdb(*(sql.format(reader(data, suffix)) for sql in ANSWERS))
    assert found == store_answers(data / "d.db")


@pytest.mark.parametrize("suffix", FORMATS)
def test_duckdb_takes_headers_apart(peers, data, suffix):
    cast = "::JSON::VARCHAR[][]" if suffix == "csv" else ""
    found = peers.duckdb(*(
        f"SELECT id, h[1], h[2] FROM (SELECT id, unnest({side}_headers{cast}) AS h"
        f" FROM {reader(data, suffix)})" for side in ("request", "response")))
    for rows, side in zip(found, ("request", "response")):
        sql = "SELECT exchange_id, name, value FROM header WHERE side = ?"
        wanted = select(data / "d.db", sql, side)
        assert sorted(rows) == sorted(map(tuple, wanted)) and rows


def test_duckdb_guesses_types_from_the_first_lines(peers, tmp_path):
    """It looks at 20480 lines; what is there for the first time behind them must still fit. In JSON
    it has to be told to look at all, or a column that begins with nothing but null stays JSON."""
    late = {"query": "a=b", "request_body": 'läst,\n"q"', "route": "/x*", "sample": 12.5,
            "status": 500, "request_trailers": [["T", "v"]], "response_headers": [["A", "b"]]}
    with open(tmp_path / "in.jsonl", "w", encoding="utf-8") as f:
        for i in range(25_000):
            row = {"ts_us": i, "method": "POST", "path": f"/{i}", "query": f"q{i % 7}", "host": "h",
                   "status": 200, "duration_us": i, "response_body": "ok", "state": "complete"}
            f.write(json.dumps({**row, **(late if i > 24_000 else {})}) + "\n")
    export(tmp_path, "import", tmp_path / "in.jsonl", tmp_path / "d.db", total=25_000)
    late_ones = "SELECT count(*), min(query), min(request_body), max(route), max(sample) FROM {}"
    late_ones += " WHERE status = 500"
    wanted = [tuple(r) for r in select(tmp_path / "d.db", ANSWERS[0].format("exchange"))]
    for source in (f"read_json('{tmp_path}/d.jsonl', sample_size = -1)", f"'{tmp_path}/d.csv'"):
        found = peers.duckdb(*(sql.format(source) for sql in (ANSWERS[0], late_ones)))
        assert found == [wanted, [(999, "a=b", late["request_body"], "/x*", 12.5)]]


def test_duckdb_reads_an_empty_dataset(peers, tmp_path):
    (tmp_path / "in.jsonl").touch()
    export(tmp_path, "import", tmp_path / "in.jsonl", tmp_path / "d.db", total=0)
    found = peers.duckdb(*(f"SELECT count(*) FROM '{tmp_path}/d.{suffix}'" for suffix in FORMATS),
                         f"SELECT column_name FROM (DESCRIBE FROM '{tmp_path}/d.csv')")
    assert found[:2] == [[(0,)], [(0,)]]
    assert set(PLAIN + BODIES) <= {name for (name,) in found[2]}


def test_duckdb_reads_large_bodies(peers, tmp_path):
    body = 'line, "quoted"\n' * 69_000
    row = {"method": "POST", "path": "/", "host": "h", "status": 200, "request_body": body,
           "response_body_base64": base64.b64encode(bytes(range(256)) * 4096).decode()}
    (tmp_path / "in.jsonl").write_text(f"{json.dumps(row)}\n" * 3)
    export(tmp_path, "import", tmp_path / "in.jsonl", tmp_path / "d.db", total=3)
    sums = "SELECT count(*), sum(length(request_body)),"
    sums += " sum(octet_length(from_base64(response_body_base64))) FROM "
    found = peers.duckdb(f"{sums} '{tmp_path}/d.jsonl'",
                         f"{sums} read_csv('{tmp_path}/d.csv', max_line_size = 4000000)")
    assert found == [[(3, 3 * len(body), 3 << 20)]] * 2


README = (ROOT / "README.md").read_text().partition("### In other tools")[2].partition("\n### ")[0]


def test_duckdb_runs_what_the_readme_shows(peers, data):
    for suffix in FORMATS:
        shutil.copy(data / f"d.{suffix}", data / f"shadow.{suffix}")
    statements = re.findall(r"(?ms)^ {4}(SELECT .*?);$", README)
    calls = re.findall(r"(read_\w+\('shadow.*?\))`", README)
    assert len(statements) == 1 and len(calls) == 2
    sql = (f"SELECT count(*) FROM {call}" for call in calls)
    answers, *counts = peers.duckdb(*statements, *sql, cwd=data)
    total = one(data / "d.db", "SELECT count(*) FROM exchange")
    assert counts == [[(total,)]] * 2
    wanted = select(data / "d.db", "SELECT value, count(*), sum(response_size) FROM exchange e"
                    " JOIN header ON exchange_id = e.id WHERE side = 'response'"
                    " AND lower(name) = 'content-type' GROUP BY value")
    assert sorted(answers) == sorted(map(tuple, wanted))


# --- the sqlite3 shell ---------------------------------------------------------------------------


def shell(*lines):
    if not shutil.which("sqlite3"):
        pytest.skip("no sqlite3")
    p = subprocess.run(["sqlite3", "-batch", "-json", ":memory:"], input="\n".join(lines).encode(),
                       capture_output=True, timeout=60, check=True)
    assert p.stderr == b""
    return [tuple(row.values()) for row in json.loads(p.stdout)]


def test_sqlite3_imports_csv(data):
    """It knows no NULL in CSV: an empty field is an empty text, and all is text."""
    names = ", ".join(PLAIN) + "".join(f", hex({name})" for name in BODIES)
    rows = shell(f".import --csv {data}/d.csv t",
                 f"SELECT {names} FROM t ORDER BY CAST(id AS INTEGER);")
    found = [row[: len(PLAIN)] + tuple(map(unhex, row[len(PLAIN) :])) for row in rows]
    wanted = [tuple("" if v is None else str(v) for v in row) for row in expected(data / "d.db")]
    for row, right in zip(found, wanted, strict=True):
        assert row == right


def test_sqlite3_reads_json_lines(data):
    text = f"rtrim(CAST(readfile('{data}/d.jsonl') AS TEXT), char(10))"
    lines = f"'[' || replace({text}, char(10), ',') || ']'"
    columns = ", ".join(f"value ->> '{name}' AS {name}" for name in PLAIN)
    for sql, wanted in zip(ANSWERS, store_answers(data / "d.db")):
        view = f"CREATE TABLE t AS SELECT {columns} FROM json_each({lines});"
        assert shell(view, sql.format("t") + ";") == wanted


# --- pandas --------------------------------------------------------------------------------------


def test_pandas(data):
    pandas = pytest.importorskip("pandas", reason="no pandas")
    with contextlib.closing(sqlite3.connect(f"file:{data}/d.db?mode=ro", uri=True)) as db:
        stored = pandas.read_sql_query("SELECT * FROM exchange", db)
        times = pandas.read_sql("SELECT time, status FROM request", db, parse_dates=["time"])
        wanted = db.execute(ANSWERS[1].format("exchange")).fetchall()
    assert str(times.time.dtype).startswith("datetime64") and times.time.notna().all()
    code = "\n".join(re.findall(r"(?m)^ {4}((?:import|db =|df =|print).*)$", README))
    assert code.count("\n") == 3
    exec(code.replace("file:shadow.db", f"file:{data}/d.db"), {})  # as it stands in the README
    lines = pandas.read_json(data / "d.jsonl", lines=True, dtype=False)
    table = pandas.read_csv(data / "d.csv", keep_default_na=False, na_values={"response_size": ""})
    for frame in (stored, lines, table):
        by = frame.groupby("method")
        found = zip(by.size().index, by.size(), by.response_size.sum(), by.duration_us.min())
        assert [(m, n, int(s)) for m, n, s, _ in found] == [row[:3] for row in wanted]
    bodies = {row[0]: row[len(PLAIN) :] for row in expected(data / "d.db")}
    for frame in (lines, table):
        for ident, *row in frame[["id", *BODIES]].itertuples(index=False):
            assert tuple(None if pandas.isna(v) or v == "" else v for v in row) == bodies[ident]


# --- GoReplay ------------------------------------------------------------------------------------


def goreplay_records(file):
    """As its --input-file reads: line by line to one of three monkeys; the newline before them is
    theirs; the header line is type, id, time and more; whoever is earlier goes first."""
    records, held = [], b""
    for line in io.BytesIO(file.read_bytes()):
        if line != MONKEYS[1:]:
            held += line
            continue
        head, _, payload = held[:-1].partition(b"\n")
        records.append((*head.decode("ascii").split(" "), payload))
        held = b""
    assert held == b"", "what has no monkeys behind it is never sent"
    return records


def test_goreplay_reads_every_record(data):
    rows = [r for r in exchanges(data / "d.db") if r["request_data"] != MONKEYS.strip()]
    assert len(rows) == one(data / "d.db", "SELECT count(*) FROM exchange") - 1
    records = goreplay_records(data / "d.gor")
    asked = [r for r in records if r[0] == "1"]
    answered = {r[1]: r for r in records if r[0] == "2"}
    assert len(asked) == len(rows) and len(answered) == sum(r["status"] is not None for r in rows)
    for record, row in zip(asked, rows):
        _, ident, ts, took, payload = record
        ports = (int(ident[:4], 16), int(ident[4:8], 16))
        assert ports == (row["client_port"], row["server_port"])
        assert bytes.fromhex(ident[8:16]) == bytes(map(int, row["client"].split(".")))
        assert int(ts) == row["ts_us"] * 1000 and int(took) >= 0
        head, _, body = payload.partition(b"\r\n\r\n")
        assert head.split(b" ")[0] == row["method"].encode()
        assert not row["request_data"] or body == row["request_data"] or b"chunked" in head
        if ident not in answered:
            assert row["state"] == "no-response"
            continue
        _, _, ts, took, payload = answered[ident]
        assert int(ts) == (row["ts_us"] + row["ttfb_us"]) * 1000
        assert int(took) == (row["duration_us"] - row["ttfb_us"]) * 1000
        assert payload.startswith(b"HTTP/1.%c %d " % (payload[7], row["status"]))


# --- HAR, ours -----------------------------------------------------------------------------------


def urls_in(har):
    return [e["request"]["url"] for e in json.loads(har.read_text())["log"]["entries"]]


def test_har_is_valid(peers, data, tmp_path):
    """Also with nothing in it, and with nothing known of the ends."""
    (tmp_path / "in.jsonl").touch()
    run("convert", tmp_path / "in.jsonl", tmp_path / "empty.har")
    rows = [{}, {"server": "2001:db8::1", "server_port": 8080}, {"host": "a b/c?d#"}]
    with open(tmp_path / "in.jsonl", "w", encoding="ascii") as f:
        f.writelines(json.dumps({"method": "GET", "path": "/x", **row}) + "\n" for row in rows)
    run("convert", tmp_path / "in.jsonl", tmp_path / "bare.har")
    files = [data / "d.har", tmp_path / "empty.har", tmp_path / "bare.har"]
    assert peers.node("har.js", "validate", *files) == [None] * len(files)
    unknown = "http://unknown.invalid/x"
    assert urls_in(tmp_path / "bare.har") == [unknown, "http://[2001:db8::1]:8080/x", unknown]


def test_har_keeps_what_no_url_can_say(data, tmp_path):
    """A reader of the URL gets the same bytes escaped; our own import, the same request."""
    run("import", data / "d.har", tmp_path / "b.db")
    sql = "SELECT ts_us, client_port, host, path, query FROM exchange ORDER BY ts_us, client_port"
    ours, again = (select(store, sql) for store in (data / "d.db", tmp_path / "b.db"))
    assert list(map(tuple, again)) == list(map(tuple, ours))
    for url in urls_in(data / "d.har"):
        assert re.fullmatch(r"http://[a-z0-9.:\[\]-]+/[!-~]*", url)
        assert not set(url) & set('"#<>\\^`{|}')


SENT = [
    (b"GET", b"/a?x=1&y=%20z+w&flag", "/a?x=1&y=%20z+w&flag", b""),
    (b"GET", b"/a#b", "/a%23b", b""),
    (b"GET", b"/latin-\xe9", "/latin-%E9", b""),
    (b"GET", "/café?ü".encode(), "/caf%C3%A9?%C3%BC", b""),
    (b"GET", b"/x|y{z}\\w\"", "/x%7Cy%7Bz%7D%5Cw%22", b""),
    (b"GET", b"//two?", "//two?", b""),
    (b"DELETE", b"/colon:8/@x;p=1,2", "/colon:8/@x;p=1,2", b""),
    (b"PROPFIND", b"/dav", "/dav", b""),
    (b"POST", b"/form", "/form", b"a=1&b=%20x&c=+"),
    (b"PUT", b"/json", "/json", dataset.PAGE),
    *((b"POST", b"/text/%d" % i, f"/text/{i}", t.encode()) for i, t in enumerate(dataset.TEXTS)),
]


def test_har_sent_by_fetch_har(peers, raw_server, tmp_path):
    """Somebody else's program sends our entries: the same requests arrive."""
    host = b"127.0.0.1:%d" % raw_server.port
    talk = [dataset.post(t, b, b"X-N: %d" % n, method=m, host=host) if b else
            dataset.get(t, b"X-N: %d" % n, method=m, host=host)
            for n, (m, t, _, b) in enumerate(SENT)]
    dataset.conversation(tmp_path / "t.pcap", [(q, dataset.answer(b"")) for q in talk])
    run("convert", tmp_path / "t.pcap", tmp_path / "t.har")
    assert peers.node("har.js", "send", tmp_path / "t.har") == [200] * len(SENT)
    assert len(raw_server.seen) == len(SENT)
    for n, (seen, (method, _, url, body)) in enumerate(zip(raw_server.seen, SENT)):
        assert seen.raw.split(b" ")[0] == method and seen.field("x-n") == str(n)
        path, _, query = seen.target.partition("?")
        assert path == url.partition("?")[0]
        # It says the query twice: once from the URL, once from queryString.
        assert set(parse_qsl(query, True)) == set(parse_qsl(url.partition("?")[2], True))
        assert seen.raw.partition(b"\r\n\r\n")[2] == body


def step(method, target, body=None, content_type=None):
    """A request for the browser to send."""
    headers = {"Content-Type": content_type} if content_type else {}
    return [method, target, headers, None if body is None else base64.b64encode(body).decode()]


@pytest.fixture(name="chromium")
def fixture_chromium(peers):
    if not CHROMIUM.exists():
        pytest.skip("no chromium")
    return peers


def test_har_in_the_place_of_a_server(chromium, data):
    """A page gets its answers out of our file, with their bodies decoded."""
    rows = [r for r in exchanges(data / "d.db") if r["server_port"] == 80 and r["method"] == "GET"
            and r["status"] == 200 and r["host"] == "h.test" and r["path"] != "/not-gzip"]
    steps = [step("GET", r["path"] + ("?" + r["query"] if r["query"] else "")) for r in rows]
    page = "http://h.test/chunked"
    found = chromium.node("browser.js", "route", data / "d.har", page, given=steps)
    assert len(found) == len(rows) > 3
    for (status, body), row in zip(found, rows):
        assert (status, base64.b64decode(body)) == (200, decoded(row)), row["path"]


# --- HAR, theirs ---------------------------------------------------------------------------------

JSON, BYTES = "application/json", "application/octet-stream"
FORM = "application/x-www-form-urlencoded"
VISIT = [
    step("GET", "/get?a=1&b=%20x&c=é"), step("GET", "/gzip"), step("GET", "/deflate"),
    step("GET", "/image/png"), step("GET", "/bytes/300?seed=4"), step("GET", "/stream/3"),
    step("GET", "/status/204"), step("GET", "/status/404"), step("GET", "/redirect/1"),
    step("GET", "/cookies/set?a=b"), step("HEAD", "/get"), step("OPTIONS", "/get"),
    step("PUT", "/put", '{"a": "café"}'.encode(), JSON), step("PATCH", "/patch", b"x"),
    step("DELETE", "/delete"), step("POST", "/post", b"u=ada&x=%20+y", FORM),
    step("POST", "/post", bytes(range(256)), BYTES), step("POST", "/post", b"", JSON),
    step("GET", "/cache/60"), step("GET", "/cache/60"), step("GET", "/encoding/utf8"),
    [step("GET", f"/delay/0.2?n={n}") for n in range(3)],
]
# /html, and where the redirects lead; not what is in the cache.
ASKED = len(VISIT[:-1]) + len(VISIT[-1]) + 1 + 2 - 1
# What a browser and its developer tools ask for of their own accord.
OWN = {"/favicon.ico", "/.well-known/appspecific/com.chrome.devtools.json"}


def decoded(row):
    """The body of the answer without its coding."""
    headers = {n.lower(): v.lower() for n, v in json.loads(row["response_headers"])}
    data = row["response_data"] or b""
    coded = data and headers.get("content-encoding") in ("gzip", "deflate")
    return zlib.decompressobj(47).decompress(data) if coded else data


def target(row):
    return row["path"] + ("" if row["query"] is None else "?" + row["query"])


def imported(har, folder):
    """The rows of a browser's file, and what was said of it."""
    if not har.exists():
        pytest.skip("this Chromium's developer tools are not made as those that are known")
    store = folder / f"{har.stem}.db"
    notes = run("convert", har, store).err
    return [r for r in exchanges(store) if r["path"] not in OWN], notes


@pytest.fixture(name="visit", scope="module")
def fixture_visit(peers, httpbin, tmp_path_factory):
    """A browser's visit to httpbin: its two HAR files, what httpbin logged, and what was captured,
    if that is permitted."""
    if not CHROMIUM.exists():
        pytest.skip("no chromium")
    folder = tmp_path_factory.mktemp("visit")
    before = len(httpbin.log())
    wire = folder / "wire.db"
    capture = Capture(wire, port=httpbin.port) if can_capture() else None

    def log():
        found = [line for line in httpbin.log()[before:] if line[1] not in OWN]
        return found if len(found) >= ASKED else None

    with capture or contextlib.nullcontext():
        peers.node("browser.js", "record", folder, httpbin.url, free_port(), given=VISIT)
        found = wait_until(log, "the log of the visit")
        if capture:
            wait_until(lambda: len([r for r in exchanges(wire) if r["path"] not in OWN]) >= ASKED,
                       "the capture of the visit")
    return folder, [(method, path, int(status)) for method, path, _, status in found]


def test_devtools_har_is_what_the_server_saw(visit, tmp_path):
    folder, log = visit
    rows, notes = imported(folder / "devtools.har", tmp_path)
    assert sorted((r["method"], target(r), r["status"]) for r in rows) == sorted(log)
    assert "note: 1 entries that a browser's cache answered, never sent, skipped" in notes
    asked = {target(r): r for r in rows if r["method"] == "POST" and r["request_size"] == 256}
    assert asked["/post"]["request_data"] == bytes(range(256))
    slow = [r for r in rows if r["path"] == "/delay/0.2"]
    assert len({r["connection"] for r in slow}) == 3, "at once is not one after the other"


@pytest.mark.live
def test_devtools_har_is_what_was_on_the_wire(visit, tmp_path):
    """Headers, bodies and all; but what a redirect says below its head a browser does not keep."""
    def sight(row):
        body = b"" if row["status"] // 100 == 3 else decoded(row)
        fields = sorted([n.lower(), v] for n, v in json.loads(row["request_headers"]))
        return row["method"], target(row), row["status"], fields, row["request_data"] or b"", body

    folder, _ = visit
    rows, _ = imported(folder / "devtools.har", tmp_path)
    wire = [r for r in exchanges(folder / "wire.db") if r["path"] not in OWN]
    assert sorted(map(sight, rows)) == sorted(map(sight, wire))


def test_playwright_har_is_what_the_server_saw(visit, tmp_path):
    """It does not say what came from the cache, and leaves bodies of bytes out: that is said."""
    folder, log = visit
    rows, notes = imported(folder / "playwright.har", tmp_path)
    found = collections.Counter((r["method"], target(r), r["status"]) for r in rows)
    assert found - collections.Counter(log) == {("GET", "/cache/60", 200): 1}
    assert not collections.Counter(log) - found
    assert "note: 2 requests whose body is not in the file" in notes
    cut = [r["request_size"] for r in rows if r["state"] == "truncated"]
    assert sorted(cut) == [1, 256], "they are not sent again as if they had been empty"


def test_devtools_har_as_it_was_saved(tmp_path):
    """Cut from what the developer tools of Chromium 156 saved; needs none of the above."""
    rows, notes = imported(HERE / "devtools.har", tmp_path)
    assert notes.splitlines() == [
        "exchanges: 5 read = 5 written",
        "note: 1 response bodies encoded again, as their Content-Encoding says",
        "note: 1 entries that a browser's cache answered, never sent, skipped",
    ]
    assert [(r["method"], target(r), r["status"]) for r in rows] == [
        ("GET", "/gzip", 200), ("GET", "/redirect/1", 302), ("POST", "/post", 200),
        ("GET", "/delay/0.2?n=0", 200), ("GET", "/delay/0.2?n=1", 200),
    ]
    assert json.loads(decoded(rows[0]))["gzipped"] is True
    assert rows[2]["request_data"] == b"\x89PNG\r\n\x1a\n\x00\xff"
    ends = {(r["server"], r["server_port"], r["state"]) for r in rows}
    assert ends == {("127.0.0.1", 9977, "complete")}
    assert len({r["connection"] for r in rows}) == 5, "the file says the port, not the connection"
    assert rows[3]["ts_us"] < rows[4]["ts_us"] < rows[3]["ts_us"] + rows[3]["duration_us"]


def test_har_with_a_body_left_out(tmp_path):
    """As Playwright writes bytes: an empty text, and how many there were."""
    har = json.loads((HERE / "devtools.har").read_text())
    for entry in har["log"]["entries"]:
        if entry["request"]["method"] == "POST":
            entry["request"].update(bodySize=10)
            entry["request"]["postData"].update(text="", params=[])
    (tmp_path / "left-out.har").write_text(json.dumps(har))
    rows, notes = imported(tmp_path / "left-out.har", tmp_path)
    assert "note: 1 requests whose body is not in the file" in notes
    (post,) = (r for r in rows if r["method"] == "POST")
    assert (post["state"], post["request_size"], post["request_body"]) == ("truncated", 10, None)
