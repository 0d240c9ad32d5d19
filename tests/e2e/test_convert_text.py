# SPDX-License-Identifier: Apache-2.0
"""Datasets as text for other programs, made from real traffic with httpbin: GoReplay's records
there and back, curl commands that a shell runs, vegeta's targets, and a Hurl suite read by a parser
of its own."""

import base64
import contextlib
import gzip
import http.client
import json
import re
import sqlite3
import subprocess
import urllib.parse

import pytest
from harness import Capture, run, wait_until

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif("convert" not in run("--help").out, reason="there is no convert"),
]

MONKEYS = "\n🐵🙈🙉\n".encode()
BINARY = bytes(range(256)) * 3
QUOTES = "it's \"100%\" \\n $HOME `id` @x\n"
REQUESTS = [
    ("GET", "/get?a=1&b=it's", {"X-Quote": "it's \"$HOME\""}, b""),
    ("GET", "/get?a=1&b=it's", {"X-Quote": "it's \"$HOME\""}, b""),
    ("GET", "/uuid", {}, b""),
    ("GET", "/uuid", {}, b""),
    ("GET", "/gzip", {"Accept-Encoding": "gzip"}, b""),
    ("POST", "/post", {"Content-Type": "application/octet-stream"}, BINARY),
    ("POST", "/post", {"Content-Type": "text/plain"}, QUOTES.encode()),
    ("POST", "/post", {"Content-Type": "application/json"}, b'{"a": [1, 2, {"b": null}]}'),
    ("PUT", "/put", {}, b"@/etc/passwd"),
    ("POST", "/post", {}, b""),
    ("HEAD", "/get", {}, b""),
    ("DELETE", "/status/404", {}, b""),
    ("GET", "/status/204", {}, b""),
    ("GET", "/anything/a%20b/%7Bc%7D?x=[1]", {}, b""),
    ("GET", "/bytes/64?seed=7", {}, b""),
]


def send(port, requests):
    """Raw bytes on one connection, each answered before the next."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as conn:
        for method, target, headers, body in requests:
            conn.putrequest(method, target, skip_accept_encoding=True)
            for name, value in headers.items():
                conn.putheader(name, value)
            if body or method in ("POST", "PUT"):
                conn.putheader("Content-Length", str(len(body)))
            conn.endheaders(body or None)
            conn.getresponse().read()


def rows(store, sql):
    with contextlib.closing(sqlite3.connect(store)) as db:
        return db.execute(sql).fetchall()


@pytest.fixture(scope="module")
def store(tmp_path_factory, httpbin):
    path = tmp_path_factory.mktemp("text") / "s.db"
    with Capture(path, port=httpbin.port):
        send(httpbin.port, REQUESTS)
        wait_until(
            lambda: path.exists()
            and rows(path, "SELECT count(*) FROM exchange")[0][0] == len(REQUESTS),
            "all exchanges in the store",
        )
    return path


def requests_of(store):
    """(method, target, headers without those of a connection, body) in the order of time."""
    found = []
    for method, path, query, headers, body in rows(
        store,
        "SELECT method, path, query, request_headers, b.data FROM exchange e"
        " LEFT JOIN body b ON b.id = e.request_body ORDER BY ts_us, e.id",
    ):
        target = path if query is None else f"{path}?{query}"
        found.append((method, target, json.loads(headers), bytes(body or b"", "utf-8")
                      if isinstance(body, str) else bytes(body or b"")))
    return found


# --- gor -----------------------------------------------------------------------------------------

COLUMNS = (
    "ts_us, client, client_port, server_port, method, path, query, request_headers, request_size,"
    " status, response_headers, response_size, ttfb_us, duration_us, state, q.data, r.data"
)
DATASET = (
    f"SELECT {COLUMNS} FROM exchange e LEFT JOIN body q ON q.id = request_body"
    " LEFT JOIN body r ON r.id = response_body ORDER BY ts_us, e.id"
)


@pytest.mark.parametrize("name", ["d.gor", "d.gor.gz"])
def test_gor_there_and_back(store, tmp_path, name):
    run("convert", store, tmp_path / name)
    run("convert", tmp_path / name, tmp_path / "back.db")
    assert rows(tmp_path / "back.db", DATASET) == rows(store, DATASET)


def test_gor_as_it_is_specified(store, tmp_path):
    run("convert", store, tmp_path / "d.gor.gz")
    data = gzip.decompress((tmp_path / "d.gor.gz").read_bytes())
    assert data.endswith(MONKEYS)
    records = data[: -len(MONKEYS)].split(MONKEYS)
    assert len(records) == 2 * len(REQUESTS)
    ids = []
    for n, record in enumerate(records):
        head, payload = record.split(b"\n", 1)
        kind, ident, ts, latency = head.decode().split(" ")
        assert kind == "12"[n % 2]
        assert re.fullmatch("[0-9a-f]{24}", ident)
        assert len(ts) == 19 and int(latency) >= 0
        assert payload.startswith(b"HTTP/1.1 " if kind == "2" else REQUESTS[n // 2][0].encode())
        ids.append(ident)
    assert ids[::2] == ids[1::2] and len(set(ids)) == len(REQUESTS)


def test_gor_wrong_file(tmp_path):
    (tmp_path / "w.gor").write_bytes(b"1 a 1\nGET / HTTP/1.1\r\n\r\n" + MONKEYS + b"9 a" + MONKEYS)
    done = run("convert", tmp_path / "w.gor", tmp_path / "o.gor", status=2)
    assert "w.gor: record 2: type: expected 1, 2 or 3" in done.err


# --- curl ----------------------------------------------------------------------------------------


def test_curl_runs_as_it_stands(store, tmp_path, httpbin):
    """Captured again, what the script sends is what was recorded."""
    script = tmp_path / "d.sh"
    run("convert", store, script)
    again = tmp_path / "again.db"
    with Capture(again, port=httpbin.port):
        subprocess.run(["dash", script], check=True, capture_output=True, timeout=120)
        wait_until(
            lambda: again.exists()
            and rows(again, "SELECT count(*) FROM exchange")[0][0] == len(REQUESTS),
            "all requests again",
        )

    def comparable(found):
        return [(m, t, sorted([n.lower(), v] for n, v in h), b) for m, t, h, b in found]

    assert comparable(requests_of(again)) == comparable(requests_of(store))


def test_curl_each_command_alone(store, tmp_path):
    run("convert", store, tmp_path / "d.sh")
    commands = re.split(r"\n\n# .*\n", (tmp_path / "d.sh").read_text())[1:]
    assert len(commands) == len(REQUESTS)
    for command in commands:
        done = subprocess.run(["dash", "-c", command], capture_output=True, timeout=60, check=True)
        assert done.stderr == b""


# --- vegeta --------------------------------------------------------------------------------------


def test_vegeta_targets(store, tmp_path, httpbin):
    run("convert", store, tmp_path / "d.vegeta")
    text = (tmp_path / "d.vegeta").read_text()
    assert text.endswith("}\n")
    targets = [json.loads(line) for line in text.splitlines()]
    assert len(targets) == len(REQUESTS)
    for target, (method, path, headers, body) in zip(targets, requests_of(store)):
        assert set(target) <= {"method", "url", "header", "body"}
        assert target["method"] == method
        assert target["url"] == f"http://127.0.0.1:{httpbin.port}{path}"
        kept = {n: [v] for n, v in headers if n not in ("Host", "Content-Length")}
        assert target["header"] == kept
        assert base64.b64decode(target.get("body", "")) == body


# --- hurl ----------------------------------------------------------------------------------------

STRING = r'"((?:[^"\\\n]|\\["\\bfnrt]|\\u\{[0-9a-fA-F]+\})*)"'
QUERY = rf"(?:header {STRING}|jsonpath {STRING}(?: count)?|sha256)"
VALUE = rf"(?:{STRING}|-?\d+(?:\.\d+)?|true|false|null|hex,[0-9a-f]{{64}};)"
ASSERT = re.compile(rf"{QUERY} (?:== {VALUE}|exists)")
KEY = re.compile(
    r"((?:[A-Za-z0-9_.-]|\\u\{[0-9a-f]+\})+): ?((?:[^#\\\n]|\\[#\\]|\\u\{[0-9a-f]+\})*)"
)


def unescape(text):
    text = re.sub(r"\\u\{([0-9a-fA-F]+)\}", lambda m: chr(int(m[1], 16)), text)
    return re.sub(r'\\(["\\#])', r"\1", text)


def parse_hurl(text):
    """A small reader of the part of Hurl's grammar that is written; anything else fails."""
    entries = []
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    at = 0
    while at < len(lines):
        method, url = re.fullmatch(r"([A-Z]+) (https?://[^\s#]+)", lines[at]).groups()
        entry = {"method": method, "url": url, "headers": [], "body": b"", "asserts": []}
        at += 1
        while not re.match(r"HTTP \d|base64,|[{\[]", lines[at]):
            name, value = KEY.fullmatch(lines[at]).groups()
            entry["headers"].append([unescape(name), unescape(value)])
            at += 1
        body = []
        while not re.fullmatch(r"HTTP \d{3}", lines[at]):
            body.append(lines[at])
            at += 1
        if body and body[0].startswith("base64,"):
            assert len(body) == 1 and body[0].endswith(";")
            entry["body"] = base64.b64decode(body[0][7:-1], validate=True)
        elif body:
            entry["body"] = "\n".join(body).encode()
            json.loads(entry["body"])
        entry["status"] = int(lines[at][5:])
        at += 1
        if at < len(lines) and lines[at] == "[Asserts]":
            at += 1
            while at < len(lines) and not re.match(r"[A-Z]+ http", lines[at]):
                assert ASSERT.fullmatch(lines[at]), lines[at]
                entry["asserts"].append(lines[at])
                at += 1
        entries.append(entry)
    return entries


def entry_of(entries, method, path, **more):
    found = [
        e for e in entries
        if e["method"] == method and urllib.parse.urlsplit(e["url"]).path == path
        and all(e[k] == v for k, v in more.items())
    ]
    assert len(found) == 1, (method, path, [e["url"] for e in entries])
    return found[0]


def test_hurl_suite(store, tmp_path, httpbin):
    run("convert", store, tmp_path / "d.hurl")
    entries = parse_hurl((tmp_path / "d.hurl").read_text())
    assert len(entries) == len(REQUESTS) - 2  # two were asked twice
    get = entry_of(entries, "GET", "/get")
    assert ["X-Quote", "it's \"$HOME\""] in get["headers"]
    assert 'header "Content-Type" == "application/json"' in get["asserts"]
    assert 'jsonpath "$.args.a" == "1"' in get["asserts"]
    assert 'jsonpath "$.args.b" == "it\'s"' in get["asserts"]
    # Two answers that differ: the leaf is left out, the type stays.
    assert entry_of(entries, "GET", "/uuid")["asserts"] == [
        'header "Content-Type" == "application/json"'
    ]
    assert 'jsonpath "$.gzipped" == true' in entry_of(entries, "GET", "/gzip")["asserts"]
    assert entry_of(entries, "DELETE", "/status/404")["status"] == 404
    asserts = entry_of(entries, "GET", "/bytes/64")["asserts"]
    assert any(a.startswith("sha256 == hex,") for a in asserts)
    bodies = {e["body"] for e in entries if e["method"] == "POST"}
    assert bodies == {b for m, _, _, b in REQUESTS if m == "POST"}


def test_hurl_unique(tmp_path):
    """Many users, one route: a suite a person can read."""
    gor = tmp_path / "many.gor"
    with open(gor, "wb") as f:
        for n in range(5000):
            ident = b"%040x" % n
            target = b"/users/%d" % n if n % 10 else b"/health"
            f.write(b"1 %s %d 0\nGET %s HTTP/1.1\r\nHost: h\r\n\r\n" % (ident, n * 1000, target))
            f.write(MONKEYS)
            f.write(b"2 %s %d 0\n" % (ident, n * 1000))
            f.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            f.write(MONKEYS)
    run("convert", "--unique", gor, tmp_path / "u.hurl")
    text = (tmp_path / "u.hurl").read_text()
    entries = parse_hurl(text)
    assert [e["url"] for e in entries] == ["http://h/health", "http://h/users/1"]
    assert "# 4500 exchanges" in text and "# 500 exchanges" in text
    assert "# ---- /users/{id} h" in text


def test_existing_files_stay(store, tmp_path):
    for name in ("x.gor", "x.sh", "x.vegeta", "x.hurl"):
        (tmp_path / name).write_text("mine")
        done = run("convert", store, tmp_path / name, status=2)
        assert name in done.err
        assert (tmp_path / name).read_text() == "mine"
