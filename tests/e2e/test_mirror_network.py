# SPDX-License-Identifier: Apache-2.0
"""The handbook's story, live and from its own manifests, between hosts of the test's own: clients,
production and staging are network namespaces that meet in a fourth, where the tap is. Nothing of it
goes over loopback but what a gateway says to the service behind it."""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from harness import environment, one, wait_until
from mirrors import Mirror, nothing_but
from servers.ways import Certificates
from test_network import ip

MANIFESTS = pathlib.Path(__file__).resolve().parents[1] / "manifests"
CLIENTS, PRODUCTION, STAGING = "10.97.1.2", "10.97.2.2", "10.97.3.2"
GATEWAY_B = "httpbin.gateway-b.example"

SERVICE_ENTRY = f"""
apiVersion: networking.istio.io/v1beta1
kind: ServiceEntry
metadata:
  name: httpbin
spec:
  hosts: [httpbin.default.svc.cluster.local]
  ports:
  - {{number: 8000, name: http, protocol: HTTP}}
  resolution: STATIC
  endpoints:
  - address: {PRODUCTION}
    labels: {{version: v1}}
  - address: {STAGING}
    labels: {{version: v2}}
"""

TLS_RULE = """
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata:
  name: gateway-b
spec:
  host: {host}
  trafficPolicy:
    tls:
      mode: SIMPLE
      sni: {host}
      caCertificates: {ca}
"""

NGINX = """
user root;
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 256; }}
http {{
    log_format story "$server_port $request $status $http_host";
    access_log access.log story;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen {address}:{listen};
        merge_slashes off;
        {tls}
        location /httpbin {{
            rewrite ^/httpbin(.*)$ /$1 break;
            proxy_pass http://{address}:8000;
            proxy_set_header Host $http_host;
        }}
        location / {{
            proxy_pass http://{address}:8000;
            proxy_set_header Host $http_host;
        }}
    }}
}}
"""


class World:
    """Four hosts: c, p and s each on a wire of its own to t, which forwards between them."""

    def __init__(self, folder):
        self.folder = folder
        self.names = {k: f"shadow-{k}-{os.getpid()}" for k in "tcps"}
        self.children = []

    def make(self):
        for name in self.names.values():
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        for n, (host, wire) in enumerate((("c", "clients"), ("p", "prod"), ("s", "staging")), 1):
            ip("link", "add", wire, "netns", self.names["t"], "type", "veth",
               "peer", "name", "eth0", "netns", self.names[host])
            ip("-n", self.names["t"], "addr", "add", f"10.97.{n}.1/24", "dev", wire)
            ip("-n", self.names["t"], "link", "set", wire, "up")
            ip("-n", self.names[host], "addr", "add", f"10.97.{n}.2/24", "dev", "eth0")
            ip("-n", self.names[host], "link", "set", "eth0", "up")
            ip("-n", self.names[host], "route", "add", "default", "via", f"10.97.{n}.1")
        self.run("t", "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        # What the tap's host knows of names.
        etc = pathlib.Path("/etc/netns") / self.names["t"]
        etc.mkdir(parents=True)
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n{STAGING} {GATEWAY_B}\n")

    def remove(self):
        for child in self.children:
            child.terminate()
        for child in self.children:
            child.wait(30)
        for name in self.names.values():
            ip("netns", "del", name, check=False)
        etc = pathlib.Path("/etc/netns") / self.names["t"]
        shutil.rmtree(etc, ignore_errors=True)
        with contextlib.suppress(OSError):
            etc.parent.rmdir()

    def inside(self, host):
        return ["ip", "netns", "exec", self.names[host]]

    def run(self, host, *args):
        return subprocess.run([*self.inside(host), *map(str, args)], check=True,
                              capture_output=True, text=True, env=environment())

    def start(self, host, *args):
        self.children.append(subprocess.Popen([*self.inside(host), *map(str, args)],
                                              env=environment(), stdin=subprocess.DEVNULL))

    def wait_for_port(self, host, address, port):
        def listens():
            assert self.children[-1].poll() is None, "it ended"
            return f"{address}:{port} " in self.run(host, "ss", "-Hltn").stdout

        wait_until(listens, f"{address}:{port} in {host}")

    def httpbin(self, host, address):
        log = self.folder / f"{host}.log"
        log.touch()
        self.start(host, "gunicorn", "--bind", f"{address}:8000", "--worker-class", "gthread",
                   "--threads", "4", "--access-logformat", "%(r)s", "--access-logfile", log,
                   "--error-logfile", f"{log}.err", "httpbin:app")
        self.wait_for_port(host, address, 8000)

    def gateway(self, host, address, listen, tls=""):
        folder = self.folder / f"gateway-{host}"
        folder.mkdir()
        (folder / "nginx.conf").write_text(NGINX.format(address=address, listen=listen, tls=tls))
        self.start(host, "/usr/sbin/nginx", "-p", f"{folder}/", "-c", "nginx.conf", "-e",
                   "error.log")
        self.wait_for_port(host, address, listen.split()[0])

    def log(self, host):
        return (self.folder / f"{host}.log").read_text().splitlines()

    def ask(self, n, what="get"):
        """From the clients' host, through production's gateway; waits until v1 has logged them."""
        before = len(self.log("p"))
        self.run("c", "curl", "--silent", "--fail", "--max-time", "30", "-o", "/dev/null",
                 f"http://{PRODUCTION}/httpbin/{what}?n=[1-{n}]")
        wait_until(lambda: len(self.log("p")) == before + n, "v1's log")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2")
    made = World(tmp_path_factory.mktemp("world"))
    try:
        try:
            made.make()
        except (subprocess.CalledProcessError, OSError) as error:
            pytest.skip(f"no network namespaces here: {error}")
        made.certificates = Certificates(made.folder)
        certificate, key = made.certificates.sign("gateway", [f"DNS:{GATEWAY_B}"])
        made.httpbin("p", PRODUCTION)
        made.httpbin("s", STAGING)
        made.gateway("p", PRODUCTION, "80")
        made.gateway("s", STAGING, "443 ssl",
                     f"ssl_certificate {certificate}; ssl_certificate_key {key};")
        yield made
    finally:
        made.remove()


def mirror(world, folder, *args):
    entry = folder / "service-entry.yaml"
    entry.write_text(SERVICE_ENTRY)
    return Mirror(folder, *args, interface="prod", prefix=world.inside("t"))


def scene(folder, manifest):
    return ["-f", MANIFESTS / manifest, "-f", MANIFESTS / "destination-rule.yaml",
            "-f", folder / "service-entry.yaml"]


def test_all_then_half_then_none(world, tmp_path):
    n = 40
    before = len(world.log("s"))
    with mirror(world, tmp_path, *scene(tmp_path, "mirror-100.yaml")) as all_of_them:
        world.ask(n)
        wait_until(lambda: len(world.log("s")) >= before + n, "v2's log")
    v2 = sorted(world.log("s")[before:])
    assert v2 == sorted(f"GET //get?n={i} HTTP/1.1" for i in range(1, n + 1))
    v1 = sorted(world.log("p")[-n:])  # nginx asks it in HTTP/1.0
    assert [line.split()[1] for line in v2] == [line.split()[1] for line in v1]
    nothing_but(all_of_them.target, answered=n)
    assert all_of_them.account["targets"][0]["target"].startswith("http://httpbin.default.svc")

    n, before = 400, len(world.log("s"))
    with mirror(world, tmp_path, *scene(tmp_path, "mirror-50.yaml")) as half:
        world.ask(n, "status/204")
    account = half.target
    assert account["answered"] + account["unsampled"] == account["offered"] == n
    assert abs(account["answered"] - n / 2) < 5 * (n / 4) ** 0.5
    wait_until(lambda: len(world.log("s")) == before + account["answered"], "v2's log")

    before = len(world.log("s"))
    world.ask(20)
    assert len(world.log("s")) == before, "nothing mirrors any more"


def test_another_clusters_gateway_by_name_with_tls(world, tmp_path):
    """The handbook's second scene, with the gateway's TLS port: the name leads there, the
    certificate is checked for it, and a tee keeps both answers."""
    text = (MANIFESTS / "mirror-gateway.yaml").read_text()
    assert "number: 80\n" in text and "protocol: HTTP\n" in text
    text = text.replace("number: 80\n", "number: 443\n").replace("protocol: HTTP\n",
                                                                "protocol: HTTPS\n")
    (tmp_path / "gateway.yaml").write_text(text)
    (tmp_path / "tls.yaml").write_text(TLS_RULE.format(host=GATEWAY_B, ca=world.certificates.ca))
    n, before = 25, len(world.log("s"))
    args = ["-f", tmp_path / "gateway.yaml", "-f", tmp_path / "tls.yaml"]
    args += ["--tee", tmp_path / "t.db"]
    with mirror(world, tmp_path, *args) as live:
        world.ask(n)
        wait_until(lambda: len(world.log("s")) >= before + n, "v2's log")
    nothing_but(live.target, answered=n)
    assert live.account["targets"][0]["target"] == f"https://{GATEWAY_B}:443"
    access = (world.folder / "gateway-s/access.log").read_text().splitlines()
    assert access[-1] == f"443 GET //get?n={n} HTTP/1.1 200 {PRODUCTION}"
    both = """select count(*) from exchange e join result r on r.exchange_id = e.id
        where e.status = 200 and r.status = 200 and e.path = '/httpbin/get'"""
    assert one(tmp_path / "t.db", both) == n


def test_an_interface_that_goes_down_and_up(world, tmp_path):
    """What is seen there afterwards is mirrored as before."""
    before = len(world.log("s"))
    with mirror(world, tmp_path, "--to", f"http://{STAGING}:8000", "--port", "80") as live:
        world.ask(5)
        wait_until(lambda: len(world.log("s")) == before + 5, "v2's log")
        for state in ("down", "up"):
            ip("-n", world.names["t"], "link", "set", "prod", state)
            wait_until(lambda: f"state {state.upper()}" in world.run(
                "t", "ip", "link", "show", "prod").stdout, f"the interface {state}")
        world.ask(5)
        wait_until(lambda: len(world.log("s")) == before + 10, "v2's log")
    nothing_but(live.target, answered=10)


def test_an_interface_that_is_gone(world, tmp_path):
    """Rights are given up by then, so it cannot be opened again: the end has a reason."""
    tap = world.names["t"]
    ip("-n", tap, "link", "add", "short", "type", "veth", "peer", "name", "far")
    ip("-n", tap, "link", "set", "short", "up")
    live = Mirror(tmp_path, "--to", f"http://{STAGING}:8000", interface="short",
                  prefix=world.inside("t"), status=1)
    with live:
        ip("-n", tap, "link", "del", "short")
        wait_until(lambda: live.process.poll() is not None, "the end")
    assert re.search(r"^shadow-ctl: short: ", live.err, re.M)
    assert live.account["targets"][0]["offered"] == 0
