# SPDX-License-Identifier: Apache-2.0
"""Routes, lists of them, and sampling: what is let in is what the rules say, in every command, and
the account says where the rest went."""

import json
import math

import pytest
from harness import get, one, request, run, select
from pcapfile import Conversation, PcapFile
from servers.raw import RawServer


def answer(status=200):
    return b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % status


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A capture file of requests that differ in everything a rule can ask about."""
    pcap = PcapFile()
    rows = [
        ("GET", b"/a", [], 200),
        ("GET", b"/a/b?user=alice", [b"X-Team: red"], 200),
        ("POST", b"/a/b?user=bob", [b"X-Team: blue"], 503),
        ("DELETE", b"/c/1", [b"X-Team: redder"], 404),
        ("GET", b"/c/2?debug", [], None),
    ]
    for i, (method, target, fields, status) in enumerate(rows):
        talk = Conversation(pcap, 40000 + i)
        talk.request(10**6 * i, request(method, target.decode(), fields))
        if status:
            talk.response(10**6 * i + 1000, answer(status))
        talk.close(10**6 * i + 2000)
    return pcap.write(tmp_path_factory.mktemp("rules") / "mixed.pcap")


RULES = [
    (["--route", "/a*"], ["/a", "/a/b", "/a/b"]),
    (["--route", "/a/b query:user=alice"], ["/a/b"]),
    (["--route", "* query:debug"], ["/c/2"]),
    (["--route", "* header:x-team=red*"], ["/a/b", "/c/1"]),
    (["--route", "* header:x-team=~r.d"], ["/a/b"]),
    (["--route", "* status:5xx"], ["/a/b"]),
    (["--route", "* status:4xx,none"], ["/c/1", "/c/2"]),
    (["--exclude", "* status:200-299"], ["/a/b", "/c/1", "/c/2"]),
    (["--route", "GET *.test/c*"], ["/c/2"]),
    (["--route", "* client:10.0.0.0/8"], ["/a", "/a/b", "/a/b", "/c/1", "/c/2"]),
    (["--route", "* client:192.168.0.0/16"], []),
    (["--route", "/c*", "--exclude", "DELETE /c/*"], ["/c/2"]),
]


def paths(store):
    return [row[0] for row in select(store, "SELECT path FROM exchange ORDER BY id")]


@pytest.mark.parametrize("options, expected", RULES, ids=lambda v: " ".join(v) if v else "none")
def test_capture(mixed, tmp_path, options, expected):
    store = tmp_path / "shadow.db"
    run("capture", "-r", mixed, "-o", store, *options)
    assert paths(store) == expected
    ledger = json.loads(one(store, "SELECT ledger FROM capture"))["requests"]
    assert ledger["seen"] == 5
    assert ledger["stored"] == len(expected)
    assert ledger["filtered"] == 5 - len(expected)
    if options[0] == "--route":
        assert {r[0] for r in select(store, "SELECT route FROM exchange")} <= {options[1]}


@pytest.mark.parametrize("options, expected", RULES, ids=lambda v: " ".join(v) if v else "none")
def test_replay(mixed, tmp_path, options, expected):
    """The same rules, on a store that holds everything."""
    store = tmp_path / "shadow.db"
    run("capture", "-r", mixed, "-o", store)
    with RawServer() as server:
        done = run("replay", store, "--to", server.url, "--max", "--methods", "all", "--json", *options)
    summary = json.loads(done.out)
    assert summary["sent"] == len(expected)
    assert summary["skipped_by"].get("filtered", 0) == 5 - len(expected)
    sent = select(store, "SELECT e.path FROM result r JOIN exchange e ON e.id = r.exchange_id")
    assert sorted(r[0] for r in sent) == sorted(expected)


def test_list(mixed, tmp_path):
    rules = tmp_path / "rules"
    rules.write_text("# two of them\n\n  /a/b query:user=bob  \r\nexclude GET /c/2\n/c/*\n")
    run("capture", "-r", mixed, "-o", tmp_path / "a.db", "--rules", rules)
    assert paths(tmp_path / "a.db") == ["/a/b", "/c/1"]
    with open(rules) as stdin:
        run("capture", "-r", mixed, "-o", tmp_path / "b.db", "--rules", "-", stdin=stdin)
    assert paths(tmp_path / "b.db") == ["/a/b", "/c/1"]


def test_long_list(mixed, tmp_path):
    rules = tmp_path / "rules"
    rules.write_text("".join(f"/nothing/{i}/*\n" for i in range(9000)) + "/a\n")
    run("capture", "-r", mixed, "-o", tmp_path / "a.db", "--rules", rules)
    assert paths(tmp_path / "a.db") == ["/a"]


@pytest.mark.parametrize(
    "options, says",
    [
        (["--route", "/a status:99"], "'99' is no status"),
        (["--route", "/a client:10.0.0.0/40"], "'/40' is no prefix length"),
        (["--route", "/a cookie:x=y"], "'cookie:x=y' behind the path (expected header:"),
        (["--route", "/a?x=1"], "query:NAME=VALUE"),
        (["--rules", "missing"], "--rules: missing: No such file"),
        (["--rules", "/"], "--rules: /: Is a directory"),
        (["--sample-by", "color"], "'color': expected request, connection, client, header:NAME"),
        (["--sample-by", "header:"], "'header:': expected"),
        (["--sample", "120%"], "'120%' is not a percentage within 0..100"),
        (["--sample", "0x10"], "'0x10' is not a percentage"),
    ],
)
def test_wrong(mixed, tmp_path, options, says):
    done = run("capture", "-r", mixed, "-o", tmp_path / "shadow.db", *options, status=2)
    assert len(done.err_lines) == 1
    assert says in done.err
    assert not (tmp_path / "shadow.db").exists()


def test_wrong_line(mixed, tmp_path):
    rules = tmp_path / "rules"
    rules.write_text("/a\n\nGET\n")
    done = run("capture", "-r", mixed, "-o", tmp_path / "shadow.db", "--rules", rules, status=2)
    assert done.err_lines == [
        f"shadow-ctl: {rules}:3: route 'GET': no path (expected [METHOD[,METHOD]] [HOST]PATH)"
    ]
    assert not (tmp_path / "shadow.db").exists()


# --- sampling ------------------------------------------------------------------------------------

REQUESTS = 20_000


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """20,000 requests of 1,000 users and 200 sessions, over 400 connections."""
    pcap = PcapFile()
    for c in range(400):
        talk = Conversation(pcap, 20000 + c)
        for i in range(REQUESTS // 400):
            n = c * (REQUESTS // 400) + i
            fields = [b"X-User: u%d" % (n % 1000), b"Cookie: a=b; sid=s%d" % (n % 200)]
            talk.request(n * 100, request("GET", f"/r?id={n % 500}", fields))
            talk.response(n * 100 + 50, answer())
        talk.close(n * 100 + 90)
    store = tmp_path_factory.mktemp("many") / "all.db"
    run("capture", "-r", pcap.write(store.with_suffix(".pcap")), "-o", store)
    assert one(store, "SELECT count(*) FROM exchange") == REQUESTS
    return store.with_suffix(".pcap")


def stored(many, store, *options):
    run("capture", "-r", many, "-o", store, *options)
    return one(store, "SELECT count(*) FROM exchange")


def bounds(n, p, sigmas=5):
    """Binomial: outside of this once in 1.7 million."""
    spread = sigmas * math.sqrt(n * p * (1 - p))
    return n * p - spread, n * p + spread


@pytest.mark.parametrize("percent", [50, 12.5, 1])
def test_sample_by_request(many, tmp_path, percent):
    n = stored(many, tmp_path / "s.db", "--sample", f"{percent}%")
    low, high = bounds(REQUESTS, percent / 100)
    assert low <= n <= high
    assert one(tmp_path / "s.db", "SELECT group_concat(DISTINCT sample) FROM exchange") == str(
        float(percent)
    )
    ledger = json.loads(one(tmp_path / "s.db", "SELECT ledger FROM capture"))["requests"]
    assert ledger["unsampled"] == REQUESTS - n


KEYS = {
    "header:X-User": ("SELECT DISTINCT value FROM header WHERE name = 'X-User'", 1000),
    "cookie:sid": ("SELECT DISTINCT value FROM header WHERE name = 'Cookie'", 200),
    "query:id": ("SELECT DISTINCT query FROM exchange", 500),
    "connection": ("SELECT DISTINCT client_port FROM exchange", 400),
}


@pytest.mark.parametrize("key", KEYS)
def test_sample_by_key(many, tmp_path, key):
    """All requests of a key or none of them; 10% within 50%; the same ones in the next run; and no
    more keys than the percentage says."""
    sql, keys = KEYS[key]
    sets = {}
    for percent in (10, 50):
        store = tmp_path / f"{percent}.db"
        n = stored(many, store, "--sample", f"{percent}%", "--sample-by", key)
        sets[percent] = {row[0] for row in select(store, sql)}
        low, high = bounds(keys, percent / 100)
        assert low <= len(sets[percent]) <= high
        assert n == len(sets[percent]) * (REQUESTS // keys)
    assert sets[10] < sets[50]
    stored(many, tmp_path / "again.db", "--sample", "10%", "--sample-by", key)
    assert {row[0] for row in select(tmp_path / "again.db", sql)} == sets[10]
    stored(many, tmp_path / "seeded.db", "--sample", "10%", "--sample-by", key, "--seed", "7")
    assert {row[0] for row in select(tmp_path / "seeded.db", sql)} != sets[10]


def test_weights(many, tmp_path):
    """Sampled once when captured and once when replayed: analysis can weigh what is left."""
    store = tmp_path / "s.db"
    n = stored(many, store, "--sample", "25%", "--seed", "1")
    low, high = bounds(REQUESTS, 0.25)
    assert low <= n <= high
    weight = one(store, "SELECT sum(100 / sample) FROM exchange")
    assert weight == n * 4


def test_rewriting(tmp_path):
    pcap = PcapFile()
    talk = Conversation(pcap, 40000)
    body = b'{"a": 1}'
    fields = [b"X-Old: 1", b"Content-Length: %d" % len(body)]
    talk.request(0, request("POST", "/httpbin/post?a=1&token=t&b", fields, body))
    talk.response(1000, answer())
    talk.close(2000)
    run("capture", "-r", pcap.write(tmp_path / "in.pcap"), "-o", tmp_path / "shadow.db")
    with RawServer() as server:
        run(
            "replay", tmp_path / "shadow.db", "--to", server.url, "--methods", "all",
            "--rewrite", "/httpbin/=/v2/", "--rewrite", "~/post=/Post", "--host", "candidate:81",
            "--set-header", "X-New: n", "--remove-header", "x-old", "--add-header", "X-New: m",
            "--set-query", "a=2", "--remove-query", "token", "--set-query", "c=3",
        )  # fmt: skip
        raw = b"".join(seen.raw for seen in server.seen)
    head, _, sent = raw.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /v2/Post?a=2&b&c=3 HTTP/1.1"
    assert head.split(b"\r\n")[1] == b"Host: candidate:81"
    assert b"X-Old" not in head
    assert b"X-New: n\r\nX-New: m" in head
    assert b"Content-Length: %d" % len(body) in head
    assert sent == body


@pytest.mark.parametrize(
    "options, says",
    [
        (["--set-header", "Content-Length: 3"], "follows the body"),
        (["--remove-header", "Transfer-Encoding"], "follows the body"),
        (["--set-query", "a=1&b=2"], "expected NAME=VALUE as in a URL"),
        (["--remove-query", ""], "expected NAME as in a URL"),
        (["--rewrite", "a=b"], "FROM is a path"),
        (["--host", "a b"], "expected keep, target, shadow or a name"),
    ],
)
def test_wrong_rewriting(mixed, tmp_path, options, says):
    run("capture", "-r", mixed, "-o", tmp_path / "shadow.db")
    done = run("replay", tmp_path / "shadow.db", "--to", "http://127.0.0.1:9", *options, status=2)
    assert len(done.err_lines) == 1
    assert says in done.err
    assert one(tmp_path / "shadow.db", "SELECT count(*) FROM replay") == 0
