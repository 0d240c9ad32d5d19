# SPDX-License-Identifier: Apache-2.0
"""A thousand mixed requests to the real httpbin through a real gateway: captured off the wire, they
are the same thousand, byte for byte; replayed, they go out as they came in."""

import collections
import json

import pytest
import traffic
from harness import (
    Capture,
    Client,
    Tcpdump,
    exchanges,
    one,
    run,
    select,
    wait_until,
    with_value,
    without,
)
from servers.raw import RawServer

pytestmark = pytest.mark.live

TOTAL = 1000


class Story:
    """What was sent, what the servers logged, and the two captures of it."""

    def __init__(self, folder, gateway, httpbin):
        self.store, self.file = folder / "live.db", folder / "tcpdump.pcap"
        before = len(httpbin.log())
        with Tcpdump(self.file, gateway.port), Capture(self.store, port=gateway.port) as capture:
            self.sent = traffic.session(gateway.port, TOTAL)
            # Once this connection's bytes are in the file, everything before them is.
            with Client(gateway.port) as client:
                client.send(b"HEAD /the-end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                client.answer("HEAD")
            wait_until(lambda: b"/the-end" in self.file.read_bytes()[-65536:], "tcpdump's file")
        self.ledger_text = capture.err
        wait_until(lambda: len(httpbin.log()) >= before + TOTAL, "httpbin's log")
        self.log = httpbin.log()[before:]
        self.rows = [row for row in exchanges(self.store) if row["path"] != "/the-end"]


@pytest.fixture(scope="module")
def story(tmp_path_factory, gateway, httpbin):
    return Story(tmp_path_factory.mktemp("story"), gateway, httpbin)


def by_id(rows):
    """Rows by the id in their X-Id field."""
    return {dict(json.loads(row["request_headers"]))["X-Id"]: row for row in rows}


def test_every_request_is_one_exchange(story):
    assert len(story.sent) == TOTAL
    assert sorted(by_id(story.rows)) == sorted(s.id for s in story.sent)
    assert len(story.rows) == TOTAL
    assert collections.Counter(r["state"] for r in story.rows) == {"complete": TOTAL}


def test_requests_are_as_they_were_sent(story):
    rows = by_id(story.rows)
    for sent in story.sent:
        row = rows[sent.id]
        got = (row["method"], row["path"], row["query"], row["version"], row["host"], row["scheme"])
        assert got == (sent.method, sent.path, sent.query, "1.1", "shop.example:8080", "http")
        assert json.loads(row["request_headers"]) == sent.headers, sent.id
        assert (row["request_data"] or b"") == sent.body, sent.id
        assert row["request_size"] == len(sent.body)


def test_responses_are_as_they_came_back(story):
    rows = by_id(story.rows)
    for sent in story.sent:
        row = rows[sent.id]
        assert row["status"] == sent.answer.status, sent.id
        assert (row["response_data"] or b"") == sent.answer.body, sent.id
        lines = sent.answer.head.decode("latin-1").split("\r\n")[1:-2]
        assert json.loads(row["response_headers"]) == [
            [name, value.strip()] for name, value in (line.split(":", 1) for line in lines)
        ]


def test_connections_and_positions(story, gateway):
    """Pipelined or not, a request knows its connection and its place in it."""
    rows = by_id(story.rows)
    connections = collections.defaultdict(set)
    for sent in story.sent:
        row = rows[sent.id]
        assert (row["client"], row["server"]) == ("127.0.0.1", "127.0.0.1")
        assert (row["client_port"], row["server_port"]) == (sent.client_port, gateway.port)
        assert row["position"] == sent.position
        connections[row["connection"]].add(sent.client_port)
    assert all(len(ports) == 1 for ports in connections.values())
    assert len(connections) == len([s for s in story.sent if s.position == 0])


def test_times_are_in_order(story):
    for row in story.rows:
        assert 0 <= row["ttfb_us"] <= row["duration_us"]
    per_connection = collections.defaultdict(list)
    for row in sorted(story.rows, key=lambda r: r["position"]):
        per_connection[row["connection"]].append(row["ts_us"])
    assert all(times == sorted(times) for times in per_connection.values())


def test_httpbin_saw_the_same(story):
    def key(method, target, status):
        return method, target, int(status)

    logged = collections.Counter(key(m, t, s) for m, t, _, s in story.log)
    stored = collections.Counter(
        key(r["method"], r["path"].replace("/httpbin", "/", 1) + "?" + r["query"], r["status"])
        for r in story.rows
    )
    assert stored == logged


def test_ledger_adds_up(story):
    ledger = json.loads(one(story.store, "select ledger from capture"))
    requests, responses, packets = (ledger[k] for k in ("requests", "responses", "packets"))
    assert requests["seen"] == requests["stored"] == TOTAL + 1
    assert responses["seen"] == responses["paired"] == TOTAL + 1
    assert packets["seen"] == sum(v for k, v in packets.items() if k != "seen") > 0
    assert ledger["streams"]["bytes_missing"] == 0
    assert "requests" in story.ledger_text and str(TOTAL + 1) in story.ledger_text


SAME = """
select e.connection, e.position, e.client, e.client_port, e.server, e.server_port, e.method,
       e.scheme, e.host, e.path, e.query, e.version, e.request_headers, rq.data, e.request_size,
       e.status, e.response_headers, rs.data, e.response_size, e.state, e.request_raw,
       e.request_trailers, e.response_trailers
from exchange e left join body rq on rq.id = e.request_body
                left join body rs on rs.id = e.response_body
"""


def test_a_file_gives_the_same_rows_as_the_wire(story, tmp_path):
    run("capture", "-r", story.file, "-o", tmp_path / "file.db")

    def rows(store):
        return sorted((tuple(r)[1:] for r in select(store, SAME)), key=repr)

    live, file = rows(story.store), rows(tmp_path / "file.db")
    assert len(file) == TOTAL + 1
    assert file == live


def test_a_file_gives_the_same_rows_every_time(story, tmp_path):
    stores = [tmp_path / "one.db", tmp_path / "two.db"]
    for store in stores:
        run("capture", "-r", story.file, "-o", store)
    first, second = ([tuple(r) for r in exchanges(store)] for store in stores)
    assert first == second


# --- and out again -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def replayed(story):
    """The session replayed to a server that keeps raw bytes, with as little changed as can be, and
    with connections enough that none has to be given up for another."""
    with RawServer() as server:
        done = run(
            *("replay", story.store, "--to", server.url, "--max", "--methods", "all"),
            *("--host", "keep", "--route", "/httpbin*", "--connections", "1024"),
        )
        yield server, done


def marked(seen):
    """The request without the marker of a replay, of which there is exactly one."""
    raw, n = without(seen.raw, "X-Shadow-Replay")
    assert n == 1, seen.raw
    return raw


def test_replayed_bytes_are_the_captured_ones(story, replayed):
    server, _ = replayed
    got = {s.field("X-Id"): marked(s) for s in server.seen}
    assert len(server.seen) == TOTAL
    assert got == {s.id: s.raw for s in story.sent}


def test_requests_of_one_connection_stay_in_order_on_one(story, replayed):
    server, _ = replayed
    where = {s.field("X-Id"): s for s in server.seen}
    old = collections.defaultdict(list)
    for sent in sorted(story.sent, key=lambda s: s.position):
        old[sent.client_port].append(where[sent.id])
    for seen in old.values():
        assert len({s.connection for s in seen}) == 1
        positions = [s.position for s in seen]
        assert positions == sorted(positions)


def test_results_say_what_was_answered(story, replayed):
    results = select(story.store, "select * from result where replay_id = 1")
    assert len(results) == TOTAL
    for row in results:
        assert (row["status"], row["error"]) == (200, None)
        assert 0 <= row["ttfb_us"] <= row["duration_us"] <= row["latency_us"]
        assert row["sent_us"] >= row["due_us"]
    summary = json.loads(one(story.store, "select summary from replay where id = 1"))
    assert summary


def test_replay_to_v2_answers_as_v1_did(story, httpbin_v2):
    """The real thing at the other end: rewritten, it arrives as //..., and answers the same."""
    before = len(httpbin_v2.log())
    run(
        *("replay", story.store, "--to", httpbin_v2.url, "--max", "--methods", "all"),
        *("--rewrite", "/httpbin=/", "--route", "/httpbin/*"),
    )
    wait_until(lambda: len(httpbin_v2.log()) >= before + TOTAL, "httpbin's log")
    log = httpbin_v2.log()[before:]
    assert collections.Counter(map(tuple, log)) == collections.Counter(map(tuple, story.log))
    differing = one(
        story.store,
        """select count(*) from result r join exchange e on e.id = r.exchange_id
           where r.replay_id = (select max(id) from replay) and r.status is not e.status""",
    )
    assert differing == 0


def test_a_replay_is_not_captured_as_traffic(story, gateway, tmp_path):
    """Even when it goes where the recording came from, and only when that is asked for."""
    target = f"http://127.0.0.1:{gateway.port}"
    args = ["replay", story.store, "--to", target, "--max", "--route", "/httpbin/ip"]
    refused = run(*args, status=2)
    assert len(refused.err_lines) == 1 and "--allow-origin" in refused.err
    meant = one(
        story.store, "select count(*) from exchange where path = '/httpbin/ip' and method = 'GET'"
    )
    assert meant > 0
    with Capture(tmp_path / "again.db", port=gateway.port):
        run(*args, "--allow-origin")
        with Client(gateway.port) as client:
            client.send(b"GET /static HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            client.answer()
    assert [r["path"] for r in exchanges(tmp_path / "again.db")] == ["/static"]
    ledger = json.loads(one(tmp_path / "again.db", "select ledger from capture"))
    assert ledger["requests"]["own_replay"] == meant


def test_a_changed_host_changes_nothing_else(story):
    with RawServer() as server:
        run(
            *("replay", story.store, "--to", server.url, "--max", "--methods", "POST"),
            *("--host", "other.example", "--route", "POST /httpbin/*"),
        )
        posts = {s.id: with_value(s.raw, "Host", b"other.example") for s in story.sent}
        got = {s.field("X-Id"): marked(s) for s in server.seen}
        assert got and all(posts[i] == raw for i, raw in got.items())
        assert len(got) == len([s for s in story.sent if s.method == "POST"])


def test_loopback_is_not_seen_twice(story):
    """Each packet passes the loopback device once as sent and once as received."""
    ledger = json.loads(one(story.store, "select ledger from capture"))
    streams = ledger["streams"]
    assert streams["bytes_retransmitted"] < streams["bytes"] / 2
