# SPDX-License-Identifier: Apache-2.0
"""explain: what it says of a request is what capture and replay then do with it."""

import json

import pytest
from harness import ROOT, one, request, run, select
from pcapfile import simple

MANIFESTS = ROOT / "tests/manifests"
HANDBOOK = MANIFESTS / "mirror-100.yaml"
HALF = MANIFESTS / "mirror-50.yaml"
V2 = "httpbin.default.svc.cluster.local/v2=127.0.0.1:18102"


def explain(*args, **more):
    return json.loads(run("explain", *args, "--json", **more).out)


def test_rule():
    told = explain("/api/*", "GET http://h:8080/api/x?a=1", "--rewrite", "/api=/v2")
    assert told["taken"] is True
    assert told["rule"] == "/api/*"
    assert told["percent"] == 100
    assert told["request"] == "GET /api/x?a=1 HTTP/1.1"
    assert told["request_line"] == "GET /v2/x?a=1 HTTP/1.1"
    assert told["headers"] == [["Host", "h:8080"]]


REQUESTS = [
    ("GET http://h/p?q", "GET /p?q HTTP/1.1", [["Host", "h"]]),
    ("GET /p", "GET /p HTTP/1.1", []),
    ("/p", "GET /p HTTP/1.1", []),
    ("h.example:81", "GET / HTTP/1.1", [["Host", "h.example:81"]]),
    ("https://h/p#frag", "GET /p HTTP/1.1", [["Host", "h"]]),
    ("GET /p HTTP/1.1", "GET /p HTTP/1.1", []),
    ("curl http://h/p", "GET /p HTTP/1.1", [["Host", "h"]]),
    ("curl -I http://h", "HEAD / HTTP/1.1", [["Host", "h"]]),
    (
        "curl -XPOST \"http://h/p\" -H 'X-A: b c' --data-raw '{\"a\": 1}'",
        "POST /p HTTP/1.1",
        [
            ["Host", "h"],
            ["X-A", "b c"],
            ["Content-Type", "application/x-www-form-urlencoded"],
            ["Content-Length", "8"],
        ],
    ),
    (
        "curl -H 'Host: other' -b 'sid=1' -A agent -e http://r/ http://h/",
        "GET / HTTP/1.1",
        [["Host", "other"], ["Cookie", "sid=1"], ["User-Agent", "agent"], ["Referer", "http://r/"]],
    ),
]


@pytest.mark.parametrize("text, line, headers", REQUESTS, ids=[r[0] for r in REQUESTS])
def test_requests(text, line, headers):
    told = explain("*", text)
    assert told["request_line"] == line
    assert told["headers"] == headers


def test_options_like_curl():
    told = explain("POST /x*", "http://h/x1", "-X", "POST", "-H", "X-A: b", "-d", "body")
    assert told["request_line"] == "POST /x1 HTTP/1.1"
    assert ["X-A", "b"] in told["headers"]
    assert ["Content-Length", "4"] in told["headers"]


@pytest.mark.parametrize(
    "args, why",
    [
        (["/a", "GET /b"], "no route takes it"),
        (["--exclude", "/b", "GET /b"], "left out by an exclude"),
        (["/b", "/b", "--sample", "0%"], "its percentage is 0"),
        ([HANDBOOK, "GET /other"], "no rule of the manifest takes it"),
    ],
)
def test_not_taken(args, why):
    told = explain(*args)
    assert told["taken"] is False
    assert told["why"] == why
    assert told["percent"] == 0
    assert "headers" not in told


def test_handbook():
    """The chapter's manifest, unchanged: its log shows //headers."""
    args = [MANIFESTS / "destination-rule.yaml", "--resolve", V2]
    told = explain(HANDBOOK, "GET http://127.0.0.1/httpbin/headers", "-f", *args)
    assert told["rule"].startswith("httpbin")
    assert told["place"].startswith(f"{HANDBOOK}:")
    assert "spec.http[0]" in told["place"]
    assert told["percent"] == 100
    assert told["request_line"] == "GET //headers HTTP/1.1"
    assert told["headers"] == [["Host", "127.0.0.1"]]
    assert [t["url"] for t in told["targets"]] == ["http://127.0.0.1:18102"]
    assert told["targets"][0]["subset"] == "v2"
    told = explain(HALF, "GET /httpbin/headers", "-f", *args)
    assert told["percent"] == 50
    assert explain(HALF, "GET /httpbin/x", "-f", *args, "--sample", "50%")["percent"] == 25


def test_store_agrees_with_capture(tmp_path):
    """What explain says of each request of a store is what a capture with those rules keeps."""
    paths = ["/httpbin/get", "/httpbinX", "/other", "/httpbin", "/get", "/httpbin/a?b=/httpbin"]
    pcap = simple(tmp_path / "in.pcap", [request("GET", p) for p in paths])
    run("capture", "-r", pcap, "-o", tmp_path / "all.db")
    rules = ["-f", HANDBOOK, "-f", MANIFESTS / "destination-rule.yaml", "--resolve", V2]
    run("capture", "-r", pcap, "-o", tmp_path / "some.db", *rules)
    told = explain(*rules, tmp_path / "all.db")
    taken = [t["request"].split()[1] for t in told if t["taken"]]
    assert taken == [p for p in paths if p.startswith("/httpbin")]
    sql = "SELECT path || coalesce('?' || query, '') FROM exchange ORDER BY id"
    assert [row[0] for row in select(tmp_path / "some.db", sql)] == taken
    assert {t["rule"] for t in told if t["taken"]} == {
        one(tmp_path / "some.db", "SELECT group_concat(DISTINCT route) FROM exchange")
    }
    text = run("explain", *rules, tmp_path / "all.db").lines
    assert len(text) == len(paths) + 2
    assert "GET //a?b=/httpbin HTTP/1.1" in text[-1]


@pytest.mark.parametrize(
    "args, says",
    [
        (["rules.txt", "/a"], "RULES 'rules.txt': there is no such file, and it is no rule"),
        (["/a", "GET /a x y z"], "expected 'METHOD URL', a URL, a path or a curl command"),
        (["/a", "ftp://h/a"], "'ftp://h/a': expected http:// or https://"),
        (["/a", "curl --upload-file x http://h"], "curl's option '--upload-file' is not known"),
        (["/a", "curl -H"], "a value is missing for '-H'"),
        (["/a", "curl 'http://h"], "a ' is not closed"),
        (["/a", "curl http://h http://i"], "one URL at a time"),
        (["/a", "/a", "-H", "no colon"], "header 'no colon': expected 'Name: value'"),
        (["/a", "/a", "--client", "host"], "expected an IP address"),
        (["/a", "/a", "--to", "host"], "--to 'host': expected http://"),
        (["/a", "/a", "/b"], "one request at a time"),
        (["missing.yaml", "/a"], "missing.yaml: No such file"),
        (["/a", "/a", "--resolve", "a=b:1"], "--resolve is for the hosts of a manifest"),
        (["GE T /a", "/a"], "route 'GE T /a'"),
    ],
)
def test_wrong(args, says):
    done = run("explain", *args, status=2)
    assert len(done.err_lines) == 1
    assert says in done.err
    assert done.out == ""


def test_text():
    done = run("explain", HALF, "GET /httpbin/get", "--resolve", V2, "-f",
               MANIFESTS / "destination-rule.yaml")  # fmt: skip
    rows = [line.split(None, 1) for line in done.lines if not line.startswith(" ")]
    assert ["percentage", "50%"] in rows
    assert ["request", "GET //get HTTP/1.1"] in rows
    assert any(r[0] == "target" and "127.0.0.1:18102" in r[1] and "/v2" in r[1] for r in rows)


def test_stranger_bytes(tmp_path):
    """A request of the store may hold anything; a terminal gets none of it."""
    pcap = simple(tmp_path / "in.pcap", [b"GET /\xff\x1b[31m HTTP/1.1\r\nA: \x07\r\n\r\n"])
    run("capture", "-r", pcap, "-o", tmp_path / "s.db")
    for option in ([], ["--json"]):
        out = run("explain", "*", tmp_path / "s.db", *option).raw_out
        assert b"\x1b" not in out
        assert b"\xff" not in out
