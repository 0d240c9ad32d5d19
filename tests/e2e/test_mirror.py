# SPDX-License-Identifier: Apache-2.0
"""Mirror on loopback: what is captured goes out at once and as it came, in order, to each target as
it was asked for; and it is all accounted for."""

import json
import pathlib
import re
import signal

import pytest
from conftest import running
from harness import Client, chunked, one, request, run, select, wait_until, with_value, without
from mirrors import (
    FickleServer,
    HangingServer,
    Mirror,
    WaitingServer,
    adds_up,
    arrived,
    ask,
    get,
    nothing_but,
)
from pcapfile import simple
from servers.raw import RawServer
from servers.ways import Certificates, TlsServer, UnixServer
from test_replay_h2 import Nghttpd, needs_nghttpd

pytestmark = pytest.mark.live
MANIFESTS = pathlib.Path(__file__).resolve().parents[1] / "manifests"


@pytest.fixture
def target():
    with RawServer() as server:
        yield server


SENT = [
    request("GET", "/a?b=c&d=%20", [b"X: 1", b"x:2", b"Accept:  */*"]),
    request("POST", "/post", [b"Content-Length: 100000"], b"\0\r\n\xff" * 25000),
    request("PUT", "/chunked", [b"Transfer-Encoding: chunked"], chunked(b"one", b"two" * 9000)),
    request("HEAD", "/head"),
]


def plain(seen):
    raw, n = without(seen.raw, "X-Shadow-Replay")
    assert n == 1, seen.raw
    return raw


def test_what_came_in_goes_out(raw_server, target, tmp_path):
    args = ["--port", raw_server.port, "--to", target.url, "--methods", "all", "--host", "keep"]
    with Mirror(tmp_path, *args) as mirror:
        ask(raw_server.port, *SENT)
        arrived(target, len(SENT))
    assert [plain(s) for s in target.seen] == SENT
    assert [s.raw for s in raw_server.seen] == SENT, "production saw its own requests alone"
    nothing_but(mirror.target, answered=len(SENT))
    requests = mirror.account["capture"]["requests"]
    assert requests["seen"] == requests["stored"] == len(SENT)


def test_the_host_is_the_targets_by_default(raw_server, target, tmp_path):
    with Mirror(tmp_path, "--port", raw_server.port, "--to", target.url):
        ask(raw_server.port, SENT[0])
        arrived(target, 1)
    host = b"127.0.0.1:%d" % target.port
    assert plain(target.seen[0]) == with_value(SENT[0], "Host", host)


def test_unsafe_methods_are_held_back(raw_server, target, tmp_path):
    with Mirror(tmp_path, "--port", raw_server.port, "--to", target.url) as mirror:
        ask(raw_server.port, *SENT)
        arrived(target, 2)
    assert [s.line.split()[0] for s in target.seen] == ["GET", "HEAD"]
    nothing_but(mirror.target, answered=2, held_back=2)


def test_a_manifest_means_all_methods_and_says_so(raw_server, target, tmp_path):
    where = f"httpbin.default.svc.cluster.local/v2=127.0.0.1:{target.port}"
    manifests = ["-f", MANIFESTS / "mirror-100.yaml", "-f", MANIFESTS / "destination-rule.yaml"]
    with Mirror(tmp_path, "--port", raw_server.port, *manifests, "--resolve", where) as mirror:
        ask(raw_server.port, request("DELETE", "/httpbin/x"), get("/elsewhere"))
        arrived(target, 1)
    assert "a manifest mirrors all methods" in mirror.err
    assert plain(target.seen[0]) == request("DELETE", "//x"), "the host is kept, as in a mesh"
    assert mirror.account["capture"]["requests"]["filtered"] == 1


def test_before_production_answers(target, tmp_path):
    """A request whose answer never comes is mirrored all the same."""
    with WaitingServer() as production:
        with Mirror(tmp_path, "--port", production.port, "--to", target.url):
            with Client(production.port) as client:
                client.send(get("/poll"))
                arrived(target, 1)
                assert not production.told.is_set()
        production.told.set()


def test_never_connect_nor_upgrades(raw_server, target, tmp_path):
    upgrade = get("/ws", b"Connection: Upgrade", b"Upgrade: websocket")
    connect = b"CONNECT example.test:443 HTTP/1.1\r\nHost: example.test:443\r\n\r\n"
    args = ["--port", raw_server.port, "--to", target.url, "--methods", "all"]
    with Mirror(tmp_path, *args) as mirror:
        ask(raw_server.port, upgrade)
        with Client(raw_server.port) as client:
            client.send(connect)
            client.answer()
        ask(raw_server.port, get("/last"))
        arrived(target, 1)
    assert [s.target for s in target.seen] == ["/last"]
    nothing_but(mirror.target, answered=1, upgrade=1, connect=1)


def test_large_bodies_are_not_sent_in_half(raw_server, target, tmp_path):
    def post(n):
        return request("POST", f"/{n}", [b"Content-Length: %d" % n], b"x" * n)

    args = ["--port", raw_server.port, "--to", target.url, "--methods", "all", "--host", "keep"]
    with Mirror(tmp_path, *args, "--max-body", "1K") as mirror:
        ask(raw_server.port, post(1024), post(1025), post(300000), post(7))
        arrived(target, 2)
    assert [plain(s) for s in target.seen] == [post(1024), post(7)]
    nothing_but(mirror.target, answered=2, over_max_body=2)


# --- order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [RawServer, FickleServer])
def test_order_within_a_connection(kind, raw_server, tmp_path):
    """Also where the target closes connections under way: what goes again goes in its place."""
    n, connections = 120, 5
    with kind() as target:
        args = ["--port", raw_server.port, "--to", target.url, "--max-in-flight", 3]
        with Mirror(tmp_path, *args) as mirror:
            clients = [Client(raw_server.port) for _ in range(connections)]
            for i in range(n):
                for c, client in enumerate(clients):
                    client.send(get(f"/{c}/{i}"))
            for client in clients:
                for _ in range(n):
                    client.answer()
                client.close()
            wait_until(lambda: len({s.target for s in target.seen}) == n * connections, "all")
        for c in range(connections):
            mine = [int(s.target.split("/")[2]) for s in target.seen if s.target[1] == str(c)]
            assert sorted(mine) == mine and sorted(set(mine)) == list(range(n))
    nothing_but(mirror.target, answered=n * connections)
    if kind is FickleServer:
        assert mirror.target["connections"] > connections


# --- targets -------------------------------------------------------------------------------------


def test_each_target_has_its_own(raw_server, tmp_path):
    with RawServer() as one_, RawServer() as two, RawServer() as none:
        args = ["--port", raw_server.port, "--set-header", "X-All: yes"]
        args += ["--to", f"{one_.url} host:keep rewrite:/api=/v1 set-header:X-Env=one"]
        args += ["--to", f"{two.url}=100% host:two.test remove-header:Cookie set-query:k=2"]
        args += ["--to", f"{none.url}=0%"]
        with Mirror(tmp_path, *args) as mirror:
            ask(raw_server.port, get("/api/x?k=1", b"Cookie: secret"))
            arrived(one_, 1)
            arrived(two, 1)
        first, second = one_.seen[0], two.seen[0]
    assert (first.target, second.target) == ("/v1/x?k=1", "/api/x?k=2")
    assert (first.field("Host"), second.field("Host")) == ("service.test", "two.test")
    assert (first.field("X-Env"), second.field("X-Env")) == ("one", None)
    assert (first.field("Cookie"), second.field("Cookie")) == ("secret", None)
    assert first.field("X-All") == second.field("X-All") == "yes"
    assert not none.seen
    for account, parts in zip(mirror.account["targets"],
                              [{"answered": 1}, {"answered": 1}, {"unsampled": 1}]):
        nothing_but(adds_up(account), **parts)


def test_percentages_are_sampling(raw_server, target, tmp_path):
    n = 1000
    args = ["--port", raw_server.port, "--to", f"{target.url}=50%", "--seed", "7"]
    with Mirror(tmp_path, *args) as mirror:
        ask(raw_server.port, *[get(f"/{i}") for i in range(n)])
    account = mirror.target
    assert account["offered"] == n
    assert abs(account["answered"] - n / 2) < 5 * (n / 4) ** 0.5
    assert len(target.seen) == account["answered"]


def test_ipv6(tmp_path):
    with RawServer(host="::1") as production, RawServer(host="::1") as target:
        with Mirror(tmp_path, "--port", production.port, "--to", target.url):
            ask(production.port, get("/six"), host="::1")
            arrived(target, 1)


def test_tls(raw_server, tmp_path):
    certificates = Certificates(tmp_path)
    with TlsServer(*certificates.sign("good", ["DNS:localhost"])) as target:
        args = ["--port", raw_server.port, "--to", target.url, "--cacert", certificates.ca]
        with Mirror(tmp_path, *args, "--host", "keep") as mirror:
            ask(raw_server.port, *SENT[:1])
            arrived(target, 1)
        assert plain(target.seen[0]) == SENT[0]
        assert target.names == ["localhost"]
    nothing_but(mirror.target, answered=1)


def test_a_stranger_in_tls_gets_nothing(raw_server, tmp_path):
    certificates = Certificates(tmp_path)
    with TlsServer(*certificates.sign("wrong", ["DNS:elsewhere.test"])) as target:
        args = ["--port", raw_server.port, "--to", target.url, "--cacert", certificates.ca]
        with Mirror(tmp_path, *args) as mirror:
            ask(raw_server.port, *SENT[:1])
        assert not target.seen
    nothing_but(mirror.target, failed=1)
    assert mirror.target["errors"] == {"TLS failed": 1}


def test_unix_socket(raw_server, tmp_path):
    with UnixServer(tmp_path / "sock") as target:
        args = ["--port", raw_server.port, "--to", "http://candidate.test"]
        with Mirror(tmp_path, *args, "--unix-socket", tmp_path / "sock") as mirror:
            ask(raw_server.port, get("/unix"))
            arrived(target, 1)
    assert target.seen[0].field("Host") == "candidate.test"
    nothing_but(mirror.target, answered=1)


@needs_nghttpd
def test_http2(raw_server, tmp_path):
    with running(Nghttpd(tmp_path, "--no-tls", [])) as target:
        to = f"http://127.0.0.1:{target.port}"
        args = ["--port", raw_server.port, "--to", to, "--http2", "--host", "keep"]
        with Mirror(tmp_path, *args) as mirror:
            ask(raw_server.port, *[get(f"/{i}") for i in range(20)])
            wait_until(lambda: len(target.requests()) == 20, "the copies")
    nothing_but(mirror.target, answered=20)


def test_two_ways_to_be_wrong_about_a_socket(raw_server, tmp_path):
    args = ["mirror", "-i", "lo", "--port", raw_server.port, "--to", "http://x.test"]
    assert "is no socket" in run(*args, "--unix-socket", tmp_path / "none", status=2).err
    assert "is about no target" in run(
        *args[:-1], "http://127.0.0.1:1", "--resolve", "other=127.0.0.1", status=2).err


# --- itself --------------------------------------------------------------------------------------


def test_its_own_requests_are_not_mirrored_again(raw_server, target, tmp_path):
    """Both ports are captured: what it sends passes by again, and is known by its marker; what
    others send to the target is not sent there twice."""
    ports = f"{raw_server.port},{target.port}"
    with Mirror(tmp_path, "--port", ports, "--to", target.url) as mirror:
        ask(raw_server.port, get("/a"), get("/b"))
        arrived(target, 2)
        ask(target.port, get("/direct"))
        ask(raw_server.port, get("/c"))
        arrived(target, 4)
    assert sorted(s.target for s in target.seen) == ["/a", "/b", "/c", "/direct"]
    assert mirror.account["capture"]["requests"]["own_replay"] == 3
    nothing_but(mirror.target, answered=3, to_itself=1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]"])
def test_not_into_the_origin(host, raw_server, target, tmp_path):
    args = ["--port", raw_server.port, "--methods", "all"]
    args += ["--to", target.url, "--to", f"http://{host}:{raw_server.port}"]
    mirror = Mirror(tmp_path, *args, status=2)
    with mirror:
        ask(raw_server.port, get("/x"))
        wait_until(lambda: mirror.process.poll() is not None, "the end")
    said = [line for line in mirror.err.splitlines() if "--allow-origin" in line]
    assert len(said) == 1 and str(raw_server.port) in said[0]
    assert len(raw_server.seen) == 1 and not target.seen


def test_into_the_origin_when_that_is_meant(raw_server, tmp_path):
    args = ["--port", raw_server.port, "--to", raw_server.url, "--allow-origin"]
    with Mirror(tmp_path, *args) as mirror:
        ask(raw_server.port, get("/x"))
        arrived(raw_server, 2)
    assert mirror.account["capture"]["requests"]["own_replay"] == 1
    nothing_but(mirror.target, answered=1)


# --- its end -------------------------------------------------------------------------------------


def test_count(raw_server, target, tmp_path):
    with Mirror(tmp_path, "--port", raw_server.port, "--to", target.url, "--count", 3) as mirror:
        with Client(raw_server.port) as client:
            client.send(b"".join(get(f"/{i}") for i in range(5)))
            for _ in range(5):
                client.answer()
        wait_until(lambda: mirror.process.poll() is not None, "the end by itself")
    assert [s.target for s in target.seen] == ["/0", "/1", "/2"]
    nothing_but(mirror.target, answered=3)
    requests = mirror.account["capture"]["requests"]
    assert requests["seen"] == 3 + requests["over_count"]


def test_duration(raw_server, target, tmp_path):
    args = ["--port", raw_server.port, "--to", target.url, "--duration", "300ms"]
    with Mirror(tmp_path, *args) as m:
        wait_until(lambda: m.process.poll() is not None, "the end by itself")
    assert m.target["offered"] == 0


def test_what_was_on_the_wire_before_the_end_goes_out(raw_server, target, tmp_path):
    n = 300
    with Mirror(tmp_path, "--port", raw_server.port, "--to", target.url) as mirror:
        ask(raw_server.port, *[get(f"/{i}") for i in range(n)])
    nothing_but(mirror.target, answered=n)
    assert len(target.seen) == n


def test_usr1_tells_the_account_so_far(raw_server, tmp_path):
    with HangingServer() as target:
        args = ["--port", raw_server.port, "--to", target.url, "--timeout", "1s"]
        with Mirror(tmp_path, *args) as mirror:
            ask(raw_server.port, get("/x"))
            wait_until(lambda: target.connections, "the copy")
            mirror.signal(signal.SIGUSR1)
            mirror.wait_for(r"1 offered = 0 answered \+ 1 on their way")
            assert re.search(r"requests +1 seen = 1 wanted", mirror.err)
    nothing_but(mirror.target, failed=1)
    assert mirror.target["errors"] == {"response timeout": 1}


def test_rights_are_given_up(raw_server, target, tmp_path):
    args = ["--port", raw_server.port, "--to", target.url, "--user", "nobody"]
    with Mirror(tmp_path, *args) as mirror:
        status = pathlib.Path(f"/proc/{mirror.process.pid}/status").read_text()
        assert re.search(r"^CapEff:\s+0+$", status, re.M)
        assert not re.search(r"^Uid:.*\s0\s", status, re.M)
        ask(raw_server.port, get("/x"))
        arrived(target, 1)


# --- from a file, and what a person gets wrong ---------------------------------------------------


def test_from_a_file_everything_goes_out(target, tmp_path):
    n = 5000
    simple(tmp_path / "in.pcap", [get(f"/{i}") for i in range(n)])
    done = run("mirror", "-r", tmp_path / "in.pcap", "--to", target.url, "--queue", "1M", "--json",
               "--tee", tmp_path / "tee.db")
    account = json.loads(done.out)
    nothing_but(adds_up(account["targets"][0]), answered=n)
    assert [s.target for s in target.seen] == [f"/{i}" for i in range(n)]
    assert one(tmp_path / "tee.db", "select count(*) from result r join exchange e"
               " on e.id = r.exchange_id where r.status = 200") == n
    assert account["tee"] == {"stored": n, "dropped": 0, "unpaired": 0}
    assert select(tmp_path / "tee.db", "select path from exchange order by id")[7][0] == "/7"


WRONG = [
    ("mirror --to http://x", "-i"),
    ("mirror -i lo", "--to"),
    ("mirror -i lo --to ftp://x", "ftp://x"),
    ("mirror -i lo --to http://127.0.0.1=140%", "140"),
    ("mirror -i lo --to http://127.0.0.1=", "--to"),
    ("mirror -i lo --to 'http://127.0.0.1 host=keep'", "host=keep"),
    ("mirror -i lo --to 'http://127.0.0.1 set-header:X'", "NAME=VALUE"),
    ("mirror -i lo --to 'http://127.0.0.1 rewrite:x'", "x"),
    ("mirror -i lo --to http://127.0.0.1 --queue 1K", "--queue"),
    ("mirror -i lo --to http://127.0.0.1 --max-in-flight 0", "--max-in-flight"),
    ("mirror -i lo --to http://127.0.0.1 --max-in-flight 99999", "--max-in-flight"),
    ("mirror -i lo --to http://127.0.0.1 --route 'GET /x status:200'", "status"),
    ("mirror -i lo --to http://127.0.0.1 --tee /nowhere/x.db", "/nowhere"),
    ("mirror -i nosuch --to http://127.0.0.1", "nosuch"),
]


@pytest.mark.parametrize("line, word", WRONG, ids=[line for line, _ in WRONG])
def test_wrong_usage_is_one_line(line, word, tmp_path):
    import shlex

    done = run(*shlex.split(line), status=None, cwd=tmp_path)
    assert done.status in (1, 2) and not done.out
    assert len(done.err_lines) == 1 and word in done.err, done.err
    assert not list(tmp_path.iterdir())


def test_help(tmp_path):
    done = run("mirror", "--help", cwd=tmp_path)
    assert all(len(line) <= 100 for line in done.lines), done.out
