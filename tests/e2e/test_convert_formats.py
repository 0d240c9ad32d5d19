# SPDX-License-Identifier: Apache-2.0
"""convert, export and import with JSON Lines, CSV and HAR: what goes through a file is the same
dataset again, other people's readers understand it, and bad input is one line."""

import base64
import csv
import datetime
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import urllib.parse
import zlib

import pytest
from harness import ROOT, binary, environment, exchanges, integrity, one, run, select, wait_until
from pcapfile import Conversation, PcapFile

csv.field_size_limit(1 << 30)
GZIPPED = gzip.compress(b'{"a": [1, 2], "b": "caf\xc3\xa9"}', mtime=0)


def talk(path):
    """A capture file with what formats find hard: bytes, codings, trailers, odd heads, no answer."""
    pcap = PcapFile()
    a = Conversation(pcap, 40000)
    a.exchange(10_000, b"GET /a?x=1&y=%20z+w HTTP/1.1\r\nHost: h.test\r\nCookie: s=1; t=2\r\n\r\n",
               b"HTTP/1.1 200 Fine\r\nContent-Type: text/plain\r\nSet-Cookie: s=2; Path=/; HttpOnly\r\n"
               b"Content-Length: 9\r\n\r\nl\xc3\xa4st\r\n\"q")
    a.exchange(20_000, b"POST /b HTTP/1.1\r\nHost: h.test\r\nContent-Length: 4\r\n\r\n\x00\xff\xfe\x01",
               b"HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\n\x89PN")
    a.exchange(30_000, b"GET /gz HTTP/1.1\r\nHost: h.test\r\n\r\n",
               b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: application/json\r\n"
               b"Content-Length: %d\r\n\r\n" % len(GZIPPED) + GZIPPED)
    a.exchange(40_000, b"PUT /t HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\n\r\n"
               b"3;e=1\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n",
               b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nR: w\r\n\r\n")
    b = Conversation(pcap, 40001, server="10.0.0.3", server_port=8080)
    b.exchange(50_000, b"GET http://abs.test/c?d HTTP/1.1\r\nhost:tight\r\nX: \xe9\r\n\r\n")
    b.exchange(60_000, b"GET /own HTTP/1.1\r\nHost: h\r\nX-Shadow-Replay: 1\r\n\r\n")
    b.request(70_000, b"GET /late HTTP/1.0\r\n\r\n")
    return pcap.write(path)


@pytest.fixture(name="store")
def fixture_store(tmp_path):
    talk(tmp_path / "t.pcap")
    run("capture", "-r", tmp_path / "t.pcap", "-o", tmp_path / "s.db")
    assert len(exchanges(tmp_path / "s.db")) == 6
    return tmp_path / "s.db"


IDS = {"id", "capture_id", "request_body", "response_body"}


def rows(store):
    """All columns but the ids, with what was kept beside them."""
    chunks = dict(select(store, "select exchange_id, lines from request_chunks"))
    return [{**{k: r[k] for k in r.keys() if k not in IDS}, "chunks": chunks.get(r["id"])}
            for r in exchanges(store)]


def entries(path):
    return json.loads(path.read_bytes())["log"]["entries"]


# --- JSON Lines ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz"])
def test_jsonl_is_the_same_dataset(store, tmp_path, name):
    run("export", store, tmp_path / name)
    run("import", tmp_path / name, tmp_path / "b.db")
    assert rows(tmp_path / "b.db") == rows(store)
    assert integrity(tmp_path / "b.db") == "ok"
    assert one(tmp_path / "b.db", "select source from capture") == str(tmp_path / name)


def test_jsonl_of_every_capture(tmp_path):
    made = tmp_path / "captures"
    subprocess.run(["/usr/bin/python3", ROOT / "tests/captures/generate.py", made], check=True,
                   stdout=subprocess.DEVNULL)
    files = sorted(p for p in made.rglob("*") if p.suffix in (".pcap", ".pcapng"))[::5]
    n = 0
    for i, path in enumerate(files):
        if run("convert", path, tmp_path / f"{i}.db", status=None).status:
            continue
        run("convert", tmp_path / f"{i}.db", tmp_path / f"{i}.jsonl")
        run("convert", tmp_path / f"{i}.jsonl", tmp_path / f"{i}-b.db")
        assert rows(tmp_path / f"{i}-b.db") == rows(tmp_path / f"{i}.db"), path
        run("convert", tmp_path / f"{i}.db", tmp_path / f"{i}.har")
        check_har(tmp_path / f"{i}.har")
        run("convert", tmp_path / f"{i}.har", tmp_path / f"{i}-h.db")
        assert without_codings(tmp_path / f"{i}-h.db") == without_codings(tmp_path / f"{i}.db"), path
        n += len(exchanges(tmp_path / f"{i}.db"))
    assert n > 100


def test_jsonl_reads_as_the_store_says(store):
    lines = [json.loads(line) for line in run("export", store, "-", "--format", "jsonl").lines]
    for line, row in zip(lines, exchanges(store), strict=True):
        for name in ("id", "ts_us", "client", "client_port", "method", "host", "path", "query",
                     "version", "status", "ttfb_us", "duration_us", "state", "request_size"):
            assert line[name] == row[name], name
        assert line["request_headers"] == json.loads(row["request_headers"])
        for side in ("request", "response"):
            text, code = line[side + "_body"], line[side + "_body_base64"]
            data = text.encode() if text is not None else base64.b64decode(code or "")
            assert data == (row[side + "_data"] or b"")
    assert {tuple(line) for line in lines} == {tuple(lines[0])}, "every line has every column"


def test_jsonl_written_by_hand(tmp_path):
    (tmp_path / "h.jsonl").write_text('{"method": "GET", "path": "/x", "host": "h:1", "colour": 1}\n\n')
    done = run("import", tmp_path / "h.jsonl", tmp_path / "h.db")
    assert "note: 1 members that are no column of ours, skipped" in done.err_lines
    row = exchanges(tmp_path / "h.db")[0]
    assert (row["host"], row["state"]) == ("h:1", "no-response")
    assert json.loads(row["request_headers"]) == [["Host", "h:1"]]


# --- CSV -----------------------------------------------------------------------------------------


def test_csv_is_what_jsonl_is(store, tmp_path):
    run("export", store, tmp_path / "a.csv")
    raw = (tmp_path / "a.csv").read_bytes()
    table = list(csv.DictReader(io.StringIO(raw.decode(), newline="")))
    lines = [json.loads(line) for line in run("export", store, "-", "--to-format", "jsonl").lines]
    assert len(table) == len(lines) == 6
    for row, line in zip(table, lines):
        assert list(row) == list(line)
        for name, value in line.items():
            expected = ("" if value is None else json.dumps(value, separators=(",", ":"),
                        ensure_ascii=False) if isinstance(value, list) else str(value))
            assert row[name] == expected, name
    assert "csv is only written" in run("convert", tmp_path / "a.csv", "null:", status=2).err


# --- HAR -----------------------------------------------------------------------------------------


def is_text(value):
    return isinstance(value, str)


def is_count(value):
    return isinstance(value, int) and value >= -1


def check_pairs(pairs):
    assert all(is_text(p["name"]) and is_text(p["value"]) for p in pairs)


def check_har(path):
    """HAR 1.2, from its specification and not from our source."""
    log = json.loads(path.read_bytes())["log"]
    assert log["version"] == "1.2" and is_text(log["creator"]["name"] + log["creator"]["version"])
    for e in log["entries"]:
        assert datetime.datetime.fromisoformat(e["startedDateTime"].replace("Z", "+00:00")).tzinfo
        assert e["cache"] == {}
        times = [e["timings"][k] for k in ("send", "wait", "receive")]
        assert min(times) >= 0 and abs(sum(times) - e["time"]) < 1e-6
        q, r = e["request"], e["response"]
        assert all(is_text(q[k]) for k in ("method", "url", "httpVersion"))
        url = urllib.parse.urlsplit(q["url"])
        assert url.scheme in ("http", "https") and url.netloc
        for side in (q, r):
            check_pairs(side["headers"])
            check_pairs(side["cookies"])
            assert is_count(side["headersSize"]) and is_count(side["bodySize"])
        check_pairs(q["queryString"])
        if "postData" in q:
            assert is_text(q["postData"]["mimeType"]) and is_text(q["postData"]["text"])
            assert "params" not in q["postData"]
        assert isinstance(r["status"], int) and is_text(r["statusText"] + r["redirectURL"])
        content = r["content"]
        assert is_text(content["mimeType"]) and content.get("encoding", "base64") == "base64"
        if "text" in content:
            text = content["text"]
            data = base64.b64decode(text, validate=True) if "encoding" in content else text.encode()
            assert len(data) == content["size"]
        assert all(k.startswith("_") or k in ("startedDateTime", "time", "request", "response", "cache",
                                              "timings", "serverIPAddress", "connection") for k in e)
    return log["entries"]


def plain(data, headers):
    coding = dict((n.lower(), v) for n, v in json.loads(headers or "[]")).get("content-encoding")
    if coding != "gzip" or not data:
        return data
    try:
        return zlib.decompressobj(31).decompress(data)
    except zlib.error:
        return data


def without_codings(store):
    """A body that was decoded for a file is encoded again, not necessarily as it was."""
    out = rows(store)
    for row in out:
        row["response_data"] = plain(row["response_data"], row["response_headers"])
        if '"content-encoding"' in (row["response_headers"] or "").lower():
            del row["response_size"]
    return out


def test_har_is_valid_and_reads_back(store, tmp_path):
    done = run("export", store, tmp_path / "a.har")
    assert "note: 1 request bodies that are not UTF-8" in done.err
    found = check_har(tmp_path / "a.har")
    assert len(found) == 6
    assert found[0]["request"]["url"] == "http://h.test/a?x=1&y=%20z+w"
    assert found[0]["request"]["queryString"][1] == {"name": "y", "value": " z w"}
    assert found[0]["request"]["cookies"] == [{"name": "s", "value": "1"}, {"name": "t", "value": "2"}]
    assert found[0]["response"]["cookies"][0] == {"name": "s", "value": "2", "path": "/",
                                                  "httpOnly": True}
    assert json.loads(found[2]["response"]["content"]["text"]) == {"a": [1, 2], "b": "café"}
    assert found[2]["response"]["bodySize"] == len(GZIPPED)
    assert found[5]["response"]["status"] == 0
    done = run("import", tmp_path / "a.har", tmp_path / "b.db")
    assert "note: 1 response bodies encoded again" in done.err
    assert without_codings(tmp_path / "b.db") == without_codings(store)


def browser_entry(**more):
    return {"startedDateTime": "2026-01-02T03:04:05.006+01:00", "time": 10.0,
            "request": {"method": "GET", "url": "https://h.test/x?y=1", "httpVersion": "h3",
                        "headers": [{"name": ":path", "value": "/x?y=1"},
                                    {"name": "accept", "value": "*/*"}],
                        "queryString": [], "cookies": [], "headersSize": -1, "bodySize": 0},
            "response": {"status": 200, "statusText": "", "httpVersion": "h3", "headers": [],
                         "cookies": [], "content": {"size": 2, "mimeType": "text/plain", "text": "ok"},
                         "redirectURL": "", "headersSize": -1, "bodySize": -1},
            "cache": {}, "timings": {"blocked": 1, "send": 1, "wait": 6, "receive": 2}, **more}


def test_browser_har_imports(tmp_path):
    log = {"log": {"version": "1.2", "creator": {"name": "b", "version": "1"}, "pages": [],
                   "entries": [browser_entry(), browser_entry(_webSocketMessages=[{}, {}])]}}
    (tmp_path / "b.har").write_text(json.dumps(log, indent=2))
    done = run("import", tmp_path / "b.har", tmp_path / "b.db")
    assert "note: 2 requests of HTTP/2 or HTTP/3, held as HTTP/1.1" in done.err_lines
    assert "note: 2 WebSocket messages, skipped" in done.err_lines
    row = exchanges(tmp_path / "b.db")[0]
    assert row["ts_us"] == 1767319445006000
    assert (row["ttfb_us"], row["duration_us"]) == (8000, 10000)
    assert (row["scheme"], row["host"], row["path"], row["query"]) == ("https", "h.test", "/x", "y=1")
    assert json.loads(row["request_headers"]) == [["Host", "h.test"], ["accept", "*/*"]]
    assert row["response_data"] == b"ok"


# --- the command ---------------------------------------------------------------------------------


def account(*args, **more):
    return json.loads(run("convert", *args, "--json", **more).out)


def test_rules_and_account(store, tmp_path):
    talk(tmp_path / "again.pcap")
    a = account(tmp_path / "again.pcap", tmp_path / "r.jsonl", "--route", "/a*", "--route", "/own")
    assert (a["read"], a["written"], a["filtered"], a["own"]) == (7, 1, 5, 1)
    a = account(store, tmp_path / "s.jsonl", "--sample", "0%", status=None)
    assert a["read"] == a["written"] + a["filtered"] + a["unsampled"] + a["own"] + a["failed"]
    a = account(store, tmp_path / "x.jsonl", "--redact", "cookie:s")
    assert a["written"] == 6
    assert b"s=1" not in (tmp_path / "x.jsonl").read_bytes()


@pytest.mark.parametrize("source", ["s.db", "t.pcap", "s.jsonl", "s.har"])
def test_from_and_until(store, tmp_path, source):
    if not (tmp_path / source).exists():
        run("convert", store, tmp_path / source)
    out = tmp_path / "part.jsonl"
    run("convert", tmp_path / source, out, "--from", "+10ms", "--until", "+30ms")
    assert [json.loads(x)["path"] for x in out.read_text().splitlines()] == ["/b", "/gz"]


def test_a_store_is_appended_to(store, tmp_path):
    run("export", store, tmp_path / "a.jsonl")
    run("import", tmp_path / "a.jsonl", tmp_path / "t.pcap", store)
    found = select(store, "select source, ended_at, ledger from capture order by id")
    assert [r["source"] for r in found][1:] == [str(tmp_path / "a.jsonl"), str(tmp_path / "t.pcap")]
    assert all(r["ended_at"] for r in found)
    assert json.loads(found[2]["ledger"])["requests"]["stored"] == 6
    assert json.loads(found[2]["ledger"])["requests"]["own_replay"] == 1
    assert len(exchanges(store)) == 18
    assert "own" in run("info", store).out


def test_sqlite_is_known_by_its_first_bytes(store, tmp_path):
    store.rename(tmp_path / "dataset")
    assert account(tmp_path / "dataset", "null:")["written"] == 6


def test_pipes(store, tmp_path):
    text = run("export", store, "-", "--format", "har", "--quiet")
    assert text.err == ""
    (tmp_path / "in").write_bytes(gzip.compress(text.raw_out))
    with open(tmp_path / "in", "rb") as stdin:
        run("import", "-", tmp_path / "b.db", "--from-format", "har", stdin=stdin)
    assert without_codings(tmp_path / "b.db") == without_codings(store)


WRONG = [
    (["x.foo", "null:"], "'x.foo': of which format is it?"),
    (["none.har", "null:"], "none.har: No such file or directory"),
    (["s.db", "s.db"], "'s.db': is source and sink at once"),
    (["s.db", "made.har"], "made.har: is there already; expected the path of a new file"),
    (["s.db", "a.pcap"], "a capture file is only read"),
    (["s.db", "a", "--format", "xml"], "--format 'xml': no such format; expected store, pcap"),
    (["s.db", "-", "--format", "jsonl", "--json"], "standard output is the sink already"),
    (["bad.jsonl", "new.db"], "bad.jsonl: line 2: status: expected an integer within 1..999"),
    (["bad.har", "new.har"], "bad.har: entry 1: request.method: expected a string"),
    (["s.db", "new.har", "--route", "~("], "~("),
    (["s.db", "new.har", "--from", "soon"], "'soon' is no time"),
    (["s.db", "none/new.har"], "none/new.har: No such file or directory"),
    (["s.db", "new.har", "--unique"], "'new.har': --unique is for hurl"),
    (["s.db", "new.db", "--unique"], "'new.db': --unique is for hurl"),
    (["s.db", "-", "--to-format", "csv", "--unique"], "'-': --unique is for hurl"),
    (["noise.gor", "new.db"], "noise.gor: record 1: is not whole; expected 'TYPE ID TIME', an HTTP/1"),
    (["noise.gor", "new.har"], "noise.gor: record 1: is not whole; expected"),
]


@pytest.mark.parametrize("args, line", WRONG)
def test_wrong(store, tmp_path, args, line):
    assert store.exists()
    (tmp_path / "made.har").write_text("mine")
    good = '{"method":"GET","path":"/"}\n'
    (tmp_path / "bad.jsonl").write_text(good + good.replace("}", ',"status":7000}'))
    (tmp_path / "bad.har").write_text('{"log":{"entries":[{"request":{"url":"http://h/"},'
                                      '"startedDateTime":"2026-01-01T00:00:00Z"}]}}')
    (tmp_path / "noise.gor").write_bytes(bytes(i * i % 251 for i in range(5000)))
    done = run("convert", *args, cwd=tmp_path, status=None)
    assert done.status == (1 if "none/new" in line else 2)
    said = [x for x in done.err_lines if x.startswith("shadow-ctl: ")]
    assert len(said) == 1 and line in said[0], done.err
    assert (tmp_path / "made.har").read_text() == "mine"
    assert not (tmp_path / "new.har").exists()
    assert not (tmp_path / "new.db").exists() or args[0] == "bad.jsonl"


def test_help_names_every_format(tmp_path):
    """Those of the table, which a wrong one is answered with, and their suffixes."""
    text = " ".join(run("convert", "--help").out.split()).replace(",", "")
    said = run("convert", "x", "null:", "--from-format", "xml", status=2, cwd=tmp_path).err
    names = said.strip().split("expected ")[1].split(", ")
    assert len(names) == 10 and set(names) <= set(text.split())
    said = run("convert", "x", "null:", status=2, cwd=tmp_path).err
    (tmp_path / "empty.jsonl").write_text("")
    said += run("convert", "empty.jsonl", "x", status=2, cwd=tmp_path).err
    suffixes = {w for w in said.split() if w.startswith(".")}
    assert len(suffixes) >= 10 and suffixes <= set(text.split())


ODD = [b"X: a\rb", b"X: a\0b", b"X\rY: v", b"X\0Y: v", b"X Y: v", b"X: a\r\n b", b"X: a\n\tb", b": v",
       b"X : v", b"X: a\r\r", b"X: a\r\n \r\n b"]  # fmt: skip


def test_odd_fields_that_were_recorded_are_read_again(tmp_path):
    """As those of a file that say another field than they name are not."""
    pcap, ok = PcapFile(), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
    for i, line in enumerate(ODD):
        a, at = Conversation(pcap, 40000 + i), 10_000 * (i + 1)
        head = b" /%d HTTP/1.1\r\nHost: h\r\n" % i
        a.exchange(at, b"GET" + head + line + b"\r\n\r\n", ok + b"\r\n")
        a.exchange(at + 1000, b"GET" + head + b"\r\n", ok + line + b"\r\n\r\n")
        a.exchange(at + 2000, b"PUT" + head + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + line
                   + b"\r\n\r\n", ok + b"\r\n")
    run("convert", pcap.write(tmp_path / "o.pcap"), tmp_path / "a.db")
    assert len(exchanges(tmp_path / "a.db")) == 3 * len(ODD)
    run("convert", tmp_path / "a.db", tmp_path / "a.jsonl")
    run("convert", tmp_path / "a.jsonl", tmp_path / "b.db")
    assert rows(tmp_path / "b.db") == rows(tmp_path / "a.db")


@pytest.mark.parametrize("kind, kept", [("vegeta", 3), ("sh", 2), ("gor", 4)])
def test_account_of_what_a_format_leaves_out(tmp_path, kind, kept):
    """Written is what is in the file."""
    lines = [{"method": "GET", "path": "/a", "host": "h"},
             {"method": "CONNECT", "path": "h:1", "host": "h:1"},
             {"method": "HEAD", "path": "/b", "host": "h", "request_body": "x"},
             {"method": "GET", "path": "/c", "host": "h"},
             {"method": "POST", "path": "/d", "host": "h", "request_body": "\n🐵🙈🙉\n",
              "request_size": 99}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    a = account(tmp_path / "a.jsonl", tmp_path / f"a.{kind}")
    assert (a["read"], a["written"], a["left_out"], a["failed"]) == (5, kept, 5 - kept, 0)
    text = (tmp_path / f"a.{kind}").read_text()
    mark = {"vegeta": '"method": ', "sh": "curl --silent", "gor": "🐵🙈🙉"}[kind]
    assert text.count(mark) == kept


def test_full_disk_and_closed_pipe(store):
    done = run("export", store, "/dev/full", "--format", "har", status=1)
    assert "shadow-ctl: /dev/full: No space left on device" in done.err_lines
    assert "exchanges: 6 read = 0 written + 6 lost: the sink is not whole" in done.err_lines
    with subprocess.Popen([binary(), "export", store, "-", "--format", "jsonl"], env=environment(),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
        p.stdout.close()
        said = p.stderr.read().decode()
        assert p.wait() == 1
    assert "shadow-ctl: standard output: Broken pipe" in said.splitlines()


def test_interrupt_finishes(tmp_path):
    out = tmp_path / "out.har"
    line = b'{"method":"GET","path":"/","host":"h"}\n'
    with subprocess.Popen([binary(), "convert", "-", out, "--from-format", "jsonl"],
                          env=environment(), stdin=subprocess.PIPE, stderr=subprocess.PIPE) as p:
        p.stdin.write(line * 1000)
        p.stdin.flush()
        # More than its buffer holds has come out, so it has read what was sent, and waits.
        wait_until(lambda: out.exists() and out.stat().st_size > 0, "output")
        p.send_signal(signal.SIGINT)
        said = p.stderr.read().decode()
        assert p.wait() == 0
    n = len(check_har(out))
    assert n > 0 and f"exchanges: {n} read = {n} written" in said
    assert f"shadow-ctl: stopped: what was read until then is in {out}\n" in said


@pytest.mark.parametrize("name", ["big.jsonl", "big.har"])
def test_memory_is_flat(tmp_path, name):
    body = "x" * 2000
    with open(tmp_path / "big.jsonl", "w", encoding="ascii") as f:
        for i in range(30_000):
            f.write('{"method":"POST","path":"/%d","host":"h","request_body":"%s","status":200}\n'
                    % (i, body))
    if name == "big.har":
        run("convert", tmp_path / "big.jsonl", tmp_path / name)
    program = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
               "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    done = subprocess.run([sys.executable, "-c", program, binary(), "convert", tmp_path / name, "null:",
                           "--quiet"], env=environment(), capture_output=True, check=True)
    size = os.stat(tmp_path / name).st_size
    assert size > 60_000_000
    if b"__asan_" not in binary().read_bytes():  # which keeps what was freed
        assert int(done.stdout) * 1024 < 40_000_000
