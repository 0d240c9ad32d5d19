# SPDX-License-Identifier: Apache-2.0
"""Fixtures: the real servers, once a session, and what needs rights the session may not have."""

import contextlib
import pathlib
import socket
import subprocess

import pytest
from harness import DEADLINE, binary, can_capture, environment, free_port, wait_until
from servers.raw import RawServer


def pytest_report_header():
    return f"shadow-ctl: {binary()}"


def pytest_configure(config):
    config.addinivalue_line("markers", "live: captures on loopback, which needs root")


def pytest_collection_modifyitems(items):
    if can_capture():
        return
    for item in items:
        if item.get_closest_marker("live"):
            item.add_marker(pytest.mark.skip(reason="capturing on lo is not permitted"))


class Httpbin:
    """Debian's httpbin under gunicorn. `log` is its own account of what it was asked."""

    def __init__(self, folder):
        self.log_path = pathlib.Path(folder) / "access.log"
        self.log_path.touch()
        # The listening socket is made here, so that no other program can take the port between.
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
            self.port = listener.getsockname()[1]
            self.process = subprocess.Popen(
                ["gunicorn", "--bind", f"fd://{listener.fileno()}", "--worker-class", "gthread"]
                + ["--threads", "16", "--keep-alive", "60"]
                + ["--access-logformat", "%(r)s %(s)s", "--access-logfile"]
                + [str(self.log_path), "--error-logfile", str(self.log_path.with_suffix(".err"))]
                + ["httpbin:app"],
                pass_fds=[listener.fileno()],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def log(self):
        """[method, target, version, status] a request, in the order of their ends."""
        lines = self.log_path.read_text().splitlines()
        return [line.split(" ") for line in lines]


class Gateway:
    """nginx, with everything it writes in a folder of ours. Prefix /httpbin becomes / byte by byte
    on the way to httpbin, as a mesh's VirtualService does it."""

    CONFIG = """
        {user}
        daemon off;
        worker_processes 1;
        pid nginx.pid;
        error_log error.log;
        events {{ worker_connections 1024; }}
        http {{
            access_log access.log;
            client_max_body_size 0;
            keepalive_requests 100000;
            client_body_temp_path body;
            proxy_temp_path proxy;
            fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi;
            scgi_temp_path scgi;
            server {{
                listen 127.0.0.1:{port};
                merge_slashes off;
                location / {{ return 404 "no such thing\\n"; }}
                location /static {{ return 200 "always the same\\n"; }}
                location /httpbin {{
                    rewrite ^/httpbin(.*)$ /$1 break;
                    proxy_pass http://127.0.0.1:{upstream};
                    proxy_http_version 1.1;
                    proxy_set_header Host $http_host;
                    proxy_set_header Connection "";
                }}
            }}
        }}
    """

    def __init__(self, folder, upstream):
        self.port = free_port()
        folder = pathlib.Path(folder)
        # As root nginx would give its workers to another user, who may not enter our folder.
        user = "user root;" if can_capture() else ""
        text = self.CONFIG.format(user=user, port=self.port, upstream=upstream)
        (folder / "nginx.conf").write_text(text)
        self.process = subprocess.Popen(
            ["/usr/sbin/nginx", "-p", f"{folder}/", "-c", "nginx.conf", "-e", "error.log"],
            stdin=subprocess.DEVNULL,
        )
        wait_until(self.listens, "nginx")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def listens(self):
        assert self.process.poll() is None, "nginx ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False


@contextlib.contextmanager
def running(server):
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(DEADLINE)


@pytest.fixture(scope="session")
def httpbin(tmp_path_factory):
    with running(Httpbin(tmp_path_factory.mktemp("httpbin"))) as server:
        yield server


@pytest.fixture(scope="session")
def httpbin_v2(tmp_path_factory):
    with running(Httpbin(tmp_path_factory.mktemp("httpbin-v2"))) as server:
        yield server


@pytest.fixture(scope="session")
def gateway(tmp_path_factory, httpbin):
    with running(Gateway(tmp_path_factory.mktemp("gateway"), httpbin.port)) as server:
        yield server


@pytest.fixture
def raw_server():
    with RawServer() as server:
        yield server


@pytest.fixture
def store(tmp_path):
    return tmp_path / "shadow.db"


@pytest.fixture
def small_disk(request, tmp_path):
    """A file system of 2 MiB, or of the size that is asked for."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = f"size={getattr(request, 'param', '2m')}"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
