# SPDX-License-Identifier: Apache-2.0
"""Replay: the way to the target. Whatever lies between, the bytes that arrive are the recorded
ones."""

import collections
import contextlib
import json
import subprocess

import pytest
from harness import binary, dead_port, environment, one, request, run, select, without
from pcapfile import Conversation, PcapFile, simple
from servers.raw import RawServer
from servers.ways import DeafListener, Proxy, TwinServer, UnixServer, may_mount


def dataset(folder, requests, **more):
    simple(folder / "in.pcap", requests, **more)
    run("capture", "-r", folder / "in.pcap", "-o", folder / "shadow.db")
    return folder / "shadow.db"


def many_connections(folder, n):
    pcap = PcapFile()
    for i in range(n):
        talk = Conversation(pcap, 20000 + i, at=i)
        talk.exchange(2000 + i, request("GET", f"/{i}"))
        talk.close(9000 + i)
    run("capture", "-r", pcap.write(folder / "in.pcap"), "-o", folder / "shadow.db")
    return folder / "shadow.db"


def replay(store, url, *args, **more):
    return run("replay", store, "--to", url, "--max", "--host", "keep", *args, **more)


def errors(store):
    return [r["error"] for r in select(store, "select error from result order by exchange_id")]


RAW = [
    request("GET", "/a?b=c", [b"X: 1", b"x:2"]),
    request("HEAD", "/head"),
    request("POST", "/post", [b"Content-Length: 5"], b"\0\r\n\xff!"),
]


def assert_same_bytes(server):
    assert [without(s.raw, "X-Shadow-Replay")[0] for s in server.seen] == RAW


def test_ipv6(tmp_path):
    store = dataset(tmp_path, RAW)
    with RawServer(host="::1") as server:
        replay(store, server.url, "--methods", "all")
        assert_same_bytes(server)


def test_unix_socket(tmp_path):
    store = dataset(tmp_path, RAW)
    with UnixServer(tmp_path / "s") as server:
        replay(store, "http://nowhere.invalid", "--methods", "all", "--unix-socket", tmp_path / "s")
        assert_same_bytes(server)
        assert server.connections == 1


def test_proxy(tmp_path, raw_server):
    """A tunnel, so that the target sees the bytes and not a proxy's idea of them."""
    store = dataset(tmp_path, RAW)
    with Proxy() as proxy:
        replay(store, raw_server.url, "--methods", "all", "--proxy", proxy.url)
        assert_same_bytes(raw_server)
        asked = b"CONNECT 127.0.0.1:%d HTTP/1.1" % raw_server.port
        assert [h.split(b"\r\n")[0] for h in proxy.heads] == [asked]


def test_a_proxy_resolves_what_we_cannot(tmp_path):
    """The name is the proxy's matter; a proxy that refuses costs each request one named error."""
    store = dataset(tmp_path, RAW)
    with Proxy(status=403) as proxy:
        replay(store, "http://only-there.invalid", "--proxy", proxy.url, status=1)
        assert proxy.heads[0].startswith(b"CONNECT only-there.invalid:80 ")
    assert set(errors(store)) == {"could not connect"}


def test_the_environment_has_no_say(tmp_path, raw_server):
    store = dataset(tmp_path, RAW)
    held, port = dead_port()
    with held:
        proxy = f"http://127.0.0.1:{port}"
        replay(store, raw_server.url, env={"http_proxy": proxy, "ALL_PROXY": proxy})
    with Proxy() as proxy:
        replay(store, raw_server.url, "--proxy", proxy.url, env={"no_proxy": "*"})
        assert len(proxy.heads) == 1


def test_resolve(tmp_path, raw_server):
    """The URL's name is what Host says, the address is where the bytes go."""
    store = dataset(tmp_path, [request("GET", "/a")])
    rule = f"shop.invalid:81=127.0.0.1:{raw_server.port}"
    run("replay", store, "--to", "http://shop.invalid:81", "--max", "--resolve", rule)
    assert raw_server.seen[0].field("Host") == "shop.invalid:81"
    options = json.loads(one(store, "select options from replay"))
    assert options["resolve"] == [rule]


def test_several_addresses_take_turns(tmp_path, raw_server):
    store = many_connections(tmp_path, 40)
    with RawServer(host="127.0.0.2") as second, RawServer(host="::1") as third:
        servers = [raw_server, second, third]
        rules = [f"shop.invalid={s.host}:{s.port}" for s in servers]
        more = [word for rule in rules for word in ("--resolve", rule)]
        replay(store, "http://shop.invalid", *more, "--connections", "30")
        assert sum(len(s.seen) for s in servers) == 40
        opened = [s.connections for s in servers]
        assert max(opened) - min(opened) <= 1


@pytest.mark.skipif(not may_mount(), reason="needs a mount namespace")
def test_dns_round_robin(tmp_path, raw_server):
    """Connections go to every address of a name, and past one where nobody is."""
    store = many_connections(tmp_path, 40)
    hosts = tmp_path / "hosts"
    hosts.write_text("".join(f"127.0.0.{i} shop.test\n" for i in (1, 2, 3)))
    script = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", hosts, binary(), "replay", store]
    command += ["--to", f"http://shop.test:{raw_server.port}", "--max", "--connections", "30"]
    with TwinServer("127.0.0.2", raw_server.port) as second:
        subprocess.run(command, check=True, capture_output=True, env=environment())
        opened = [raw_server.connections, second.connections]
        assert len(raw_server.seen) + len(second.seen) == 40
        # The third's share goes to whoever is next on the list.
        assert min(opened) >= 0.3 * sum(opened), opened


def test_nobody_answers_the_knock(tmp_path):
    """No answer to a SYN: the request waits no longer than it was told to."""
    store = dataset(tmp_path, [request("GET", "/a"), request("GET", "/b")])
    with DeafListener() as deaf:
        replay(store, deaf.url, "--timeout", "200ms", status=1)
    assert errors(store) == ["connect timeout"] * 2


def test_the_origin_by_other_names(tmp_path, raw_server):
    """Whatever name leads there, the place of the recording is refused."""
    store = dataset(
        tmp_path, [request("GET", "/a")], server="127.0.0.1", server_port=raw_server.port
    )
    rule = f"shop.invalid=127.0.0.1:{raw_server.port}"
    done = replay(store, "http://shop.invalid", "--resolve", rule, status=2)
    assert "--allow-origin" in done.err
    with Proxy() as proxy:
        done = replay(store, raw_server.url, "--proxy", proxy.url, status=2)
        assert "--allow-origin" in done.err and proxy.heads == []
    assert raw_server.seen == []
    elsewhere = f"127.0.0.1:{raw_server.port}=127.0.0.2:{raw_server.port}"
    with contextlib.closing(TwinServer("127.0.0.2", raw_server.port)) as twin:
        replay(store, raw_server.url, "--resolve", elsewhere)
        assert len(twin.seen) == 1


# options, what the one line must name
WRONG = [
    (["--proxy", "socks5://127.0.0.1:1"], "socks5"),
    (["--proxy", "http://127.0.0.1"], "port"),
    (["--proxy", "nonsense"], "nonsense"),
    (["--proxy", "http://127.0.0.1:1/x"], "path"),
    (["--unix-socket", "/nowhere/s"], "/nowhere/s"),
    (["--unix-socket", "/etc/passwd"], "/etc/passwd"),
    (["--unix-socket", "/" + "x" * 200], "too long"),
    (["--unix-socket", "/s", "--proxy", "http://127.0.0.1:1"], "--proxy"),
    (["--unix-socket", "/s", "--resolve", "target.test=127.0.0.1"], "--resolve"),
    (["--resolve", "target.test"], "HOST[:PORT]=ADDRESS[:PORT]"),
    (["--resolve", "target.test="], "HOST[:PORT]=ADDRESS[:PORT]"),
    (["--resolve", "=127.0.0.1"], "HOST[:PORT]=ADDRESS[:PORT]"),
    (["--resolve", "target.test=127.0.0.1:0"], "HOST[:PORT]=ADDRESS[:PORT]"),
    (["--resolve", "target.test=127.0.0.1:65536"], "HOST[:PORT]=ADDRESS[:PORT]"),
    (["--resolve", "target.test=[::1"], "HOST[:PORT]=ADDRESS[:PORT]"),
    (["--resolve", "target.test=" + "a" * 1000], "HOST[:PORT]=ADDRESS[:PORT]"),
    (["--resolve", "other.test=127.0.0.1"], "other.test"),
    (["--resolve", "target.test:81=127.0.0.1"], "target.test:81"),
    (["--sni", "a.test"], "https://"),
    (["--cert", "/x"], "https://"),
]


@pytest.mark.parametrize("args, named", WRONG, ids=[" ".join(a)[:40] for a, _ in WRONG])
def test_wrong_ways(args, named, tmp_path):
    """One line, status 2, and no run in the store."""
    store = dataset(tmp_path, [request("GET", "/a")])
    done = replay(store, "http://target.test", *args, status=2)
    assert len(done.err_lines) == 1 and named in done.err
    assert select(store, "select * from replay") == []


def test_a_dead_address_costs_its_own(tmp_path, raw_server):
    store = many_connections(tmp_path, 20)
    held, port = dead_port()
    with held:
        rules = [f"shop.invalid=127.0.0.1:{p}" for p in (raw_server.port, port)]
        more = [word for rule in rules for word in ("--resolve", rule)]
        replay(store, "http://shop.invalid", *more, "--connections", "20")
    counts = collections.Counter(errors(store))
    assert set(counts) == {None, "could not connect"}
    assert counts[None] == len(raw_server.seen) > 0
