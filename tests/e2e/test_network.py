# SPDX-License-Identifier: Apache-2.0
"""Live on real interfaces between two hosts: network namespaces of the test's own, joined by a veth
pair; plain, tagged (802.1Q) and inside a VXLAN tunnel, as the kernel makes them."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
from harness import Running, select, wait_until
from test_capture import adds_up, ledger_of

SERVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler)
print("up", flush=True)
server.serve_forever()
"""


def ip(*args, check=True):
    return subprocess.run(["ip", *args], check=check, capture_output=True, text=True)


class Hosts:
    """Two hosts, `left` and `right`, joined by a wire; `nets` are the networks between them: 0 plain,
    1 tagged, 2 tunnelled, as far as the kernel has these devices."""

    def __init__(self):
        self.left, self.right = f"shadow-l-{os.getpid()}", f"shadow-r-{os.getpid()}"
        self.nets = {0}

    def device(self, net, name, *kind):
        """On both hosts; False where the kernel does not know the kind."""
        for host, n in ((self.left, 1), (self.right, 2)):
            args = [word.format(here=f"10.99.0.{n}", there=f"10.99.0.{3 - n}") for word in kind]
            if ip("-n", host, "link", "add", *args[:2], "name", name, *args[2:],
                  check=False).returncode:
                return
            ip("-n", host, "addr", "add", f"10.99.{net}.{n}/24", "dev", name)
            ip("-n", host, "link", "set", name, "up")
        self.nets.add(net)

    def make(self):
        for name in (self.left, self.right):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("link", "add", "wire", "netns", self.left, "type", "veth", "peer", "name", "wire",
           "netns", self.right)
        for name, n in ((self.left, 1), (self.right, 2)):
            ip("-n", name, "addr", "add", f"10.99.0.{n}/24", "dev", "wire")
            ip("-n", name, "link", "set", "wire", "up")
        self.device(1, "tagged", "link", "wire", "type", "vlan", "id", "7")
        self.device(2, "tunnel", "type", "vxlan", "id", "9", "dstport", "4789", "remote", "{there}",
                    "local", "{here}", "dev", "wire")

    def remove(self):
        for name in (self.left, self.right):
            ip("netns", "del", name, check=False)


@pytest.fixture(scope="module")
def hosts():
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2")
    made = Hosts()
    try:
        try:
            made.make()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr}")
        with subprocess.Popen(["ip", "netns", "exec", made.right, sys.executable, "-c", SERVER],
                              stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout.readline() == "up\n"
            yield made
            server.kill()
    finally:
        made.remove()


class In(Running):
    """The program inside a namespace."""

    def __init__(self, folder, namespace, *args):
        super().__init__(folder, *args, prefix=["ip", "netns", "exec", namespace])


@pytest.mark.parametrize("net,interface", [(0, "wire"), (0, "any"), (1, "wire"), (1, "any"),
                                           (2, "wire"), (2, "tunnel")])
def test_between_hosts(hosts, tmp_path, net, interface):
    if net not in hosts.nets:
        pytest.skip("this kernel has no such device")
    store = tmp_path / "out.db"
    body = os.urandom(50000)  # more than one segment, also with offload
    (tmp_path / "body").write_bytes(body)
    running = In(tmp_path, hosts.right, "capture", "-i", interface, "-o", store)
    try:
        running.wait_for("capturing on")
        for n in range(5):
            done = subprocess.run(
                ["ip", "netns", "exec", hosts.left, "curl", "--silent", "--fail", "--max-time", "20",
                 "--data-binary", f"@{tmp_path}/body", "--output", tmp_path / "answer",
                 f"http://10.99.{net}.2:8080/{n}"], check=False)
            assert done.returncode == 0
            assert (tmp_path / "answer").read_bytes() == body
        running.signal(signal.SIGINT)
        running.end()
    finally:
        running.kill()
    rows = select(store, """select path, client, server, state, q.data, r.data from exchange e
        join body q on q.id = request_body join body r on r.id = response_body order by e.id""")
    assert [tuple(row) for row in rows] == [
        (f"/{n}", f"10.99.{net}.1", f"10.99.{net}.2", "complete", body, body) for n in range(5)]
    ledger = ledger_of(store)
    adds_up(ledger)
    assert ledger["streams"]["bytes_missing"] == 0


def test_interface_that_goes_away(hosts, tmp_path):
    """What was taken is kept, and the end has a reason."""
    ip("-n", hosts.right, "link", "add", "short", "type", "veth", "peer", "name", "far")
    ip("-n", hosts.right, "link", "set", "short", "up")
    store = tmp_path / "out.db"
    running = In(tmp_path, hosts.right, "capture", "-i", "short", "-o", store)
    try:
        running.wait_for("capturing on")
        ip("-n", hosts.right, "link", "del", "short")
        wait_until(lambda: running.process.poll() is not None, "the end")
        running.end(status=1)
    finally:
        running.kill()
    assert [line for line in running.err.splitlines() if line.startswith("shadow-ctl: short: ")]
    assert select(store, "select count(*) from capture")[0][0] == 1
