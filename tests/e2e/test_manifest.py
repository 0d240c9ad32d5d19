# SPDX-License-Identifier: Apache-2.0
"""Manifests as they stand: a capture keeps what they mirror, a replay sends it where they say, changed
as a mesh changes it."""

import json
import math

import pytest
from harness import ROOT, one, request, run, select
from pcapfile import simple
from servers.raw import RawServer

MANIFESTS = ROOT / "tests/manifests"
RULE = MANIFESTS / "destination-rule.yaml"
HOST = "httpbin.default.svc.cluster.local"


def recording(tmp_path, *targets, host=b"service.test"):
    return simple(tmp_path / "in.pcap", [request("GET", t, host=host) for t in targets])


def entry(port, subset="v2"):
    return f"""---
apiVersion: networking.istio.io/v1beta1
kind: ServiceEntry
metadata: {{name: where}}
spec:
  hosts: [{HOST}]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints:
  - address: 127.0.0.1
    ports: {{http: {port}}}
    labels: {{version: {subset}}}
"""


def test_story(tmp_path):
    """The chapter: prefix /httpbin, rewritten to /, all of it mirrored to v2."""
    store = tmp_path / "shadow.db"
    pcap = recording(tmp_path, "/httpbin/headers", "/other", "/httpbin/get?a=/httpbin", "/httpbinX")
    with RawServer() as v2:
        where = tmp_path / "where.yaml"
        where.write_text(entry(v2.port))
        rules = ["-f", MANIFESTS / "mirror-100.yaml", "-f", RULE, "-f", where]
        run("capture", "-r", pcap, "-o", store, *rules)
        paths = [r[0] for r in select(store, "SELECT path FROM exchange ORDER BY id")]
        assert paths == ["/httpbin/headers", "/httpbin/get", "/httpbinX"]
        assert one(store, "SELECT group_concat(DISTINCT route) FROM exchange") == "httpbin http[0]"
        done = run("replay", store, *rules, "--max", "--json")
        assert json.loads(done.out)["sent"] == 3
        assert [s.target for s in v2.seen] == ["//headers", "//get?a=/httpbin", "/X"]
        # A manifest keeps the host, as a mesh does now.
        assert {s.field("Host") for s in v2.seen} == {"service.test"}
    assert one(store, "SELECT target FROM replay") == f"http://{HOST}:80"


def test_half(tmp_path):
    store = tmp_path / "shadow.db"
    pcap = recording(tmp_path, *["/httpbin/headers"] * 2000)
    run("capture", "-r", pcap, "-o", store, "-f", MANIFESTS / "mirror-50.yaml")
    n = one(store, "SELECT count(*) FROM exchange")
    spread = 5 * math.sqrt(2000 / 4)
    assert 1000 - spread <= n <= 1000 + spread
    assert one(store, "SELECT avg(sample) FROM exchange") == 50


def test_resolve(tmp_path):
    """On a laptop: only where the subset is has to be said."""
    store = tmp_path / "shadow.db"
    pcap = recording(tmp_path, "/httpbin/headers")
    with RawServer() as v2:
        rules = ["-f", MANIFESTS / "mirror-100.yaml", "-f", RULE]
        run("capture", "-r", pcap, "-o", store, *rules)
        done = run("replay", store, *rules, status=2)
        assert "--resolve" in done.err
        assert one(store, "SELECT count(*) FROM replay") == 0
        run("replay", store, *rules, "--resolve", f"httpbin/v2=127.0.0.1:{v2.port}")
        assert [s.target for s in v2.seen] == ["//headers"]


def test_to_overrides(tmp_path):
    """--to says where to, the manifest still says what and how."""
    store = tmp_path / "shadow.db"
    run("capture", "-r", recording(tmp_path, "/httpbin/headers", "/other"), "-o", store)
    with RawServer() as v2:
        run("replay", store, "-f", MANIFESTS / "mirror-100.yaml", "--to", v2.url)
        assert [s.target for s in v2.seen] == ["//headers"]


MIRRORS = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: two}
spec:
  hosts: ["*"]
  http:
  - name: both
    match: [{uri: {prefix: /a}}]
    rewrite: {uri: /x, authority: other.test}
    headers: {request: {set: {x-mirrored: "yes"}, remove: [x-old]}}
    route: [{destination: {host: v1}}]
    mirrors:
    - {destination: {host: one.test, port: {number: 81}}}
    - {destination: {host: two.test}, percentage: {value: 25}}
  - name: one
    route: [{destination: {host: v1}}]
    mirror: {host: one.test, port: {number: 81}}
"""


def test_mirrors(tmp_path):
    """Each destination is a run of its own, with its own percentage."""
    store = tmp_path / "shadow.db"
    manifest = tmp_path / "mirrors.yaml"
    manifest.write_text(MIRRORS)
    run("capture", "-r", recording(tmp_path, *["/a/b"] * 400, *["/c"] * 10), "-o", store)
    with RawServer() as first, RawServer() as second:
        run("replay", store, "-f", manifest, "--max",
            "--resolve", f"one.test=127.0.0.1:{first.port}",
            "--resolve", f"two.test=127.0.0.1:{second.port}")  # fmt: skip
        assert len(first.seen) == 410
        assert 57 <= len(second.seen) <= 143  # 100 and five standard deviations
        assert {s.target for s in first.seen} == {"/x/b", "/c"}
        assert {s.target for s in second.seen} == {"/x/b"}
        for seen in second.seen:
            assert seen.field("Host") == "other.test"
            assert seen.field("X-Mirrored") == "yes"
    targets = [r[0] for r in select(store, "SELECT target FROM replay ORDER BY target")]
    assert targets == ["http://one.test:81", "http://two.test:80"]


def test_hosts(tmp_path):
    """A VirtualService is about its hosts; what reaches a service by its address is meant, too."""
    manifest = tmp_path / "hosts.yaml"
    manifest.write_text(MIRRORS.replace('["*"]', "[reviews, ratings.example]"))
    rows = {
        "reviews": True, "reviews:9080": True, "reviews.default.svc.cluster.local": True,
        "ratings.example": True, "Ratings.Example:80": True, "reviews.org": False,
        "other.example": False, "10.0.0.2:8080": True, "localhost:8080": True,
    }  # fmt: skip
    for host, taken in rows.items():
        told = json.loads(run("explain", manifest, f"http://{host}/a", "--json").out)
        assert told["taken"] == taken, host


@pytest.mark.parametrize(
    "text, says",
    [
        (MIRRORS.replace("value: 25", "value: 140"), "140 is not within 0..100"),
        (MIRRORS.replace("prefix: /a", "regex: '('"), "spec.http[0].match[0].uri.regex"),
        ("a: [1, 2", "{file}:2:"),
        ("", "{file}"),
        (MIRRORS.replace("mirror:", "mirorr:").replace("mirrors:", "mirorrs:"), "mirrors nothing"),
    ],
)
def test_wrong(tmp_path, text, says):
    manifest = tmp_path / "m.yaml"
    manifest.write_text(text)
    store = tmp_path / "shadow.db"
    run("capture", "-r", recording(tmp_path, "/a"), "-o", store)
    done = run("replay", store, "-f", manifest, status=2)
    assert says.format(file=manifest) in done.err
    assert str(manifest) in done.err
    assert one(store, "SELECT count(*) FROM replay") == 0
