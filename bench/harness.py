# SPDX-License-Identifier: Apache-2.0
"""What both benches need: runs that are measured, a server of their own, tables. Judges nothing.
Figures of one table come from runs in turns, so that whatever else the machine does meets all."""

import contextlib
import json
import math
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request

GIVE_UP_S = 60  # for a program to get ready
MOST_RUN_S = 300  # of one run
NGINX = """
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /nginx-status {{ stub_status; }}
        location / {{ return 200 "{body}"; }}
    }}
}}
"""
ANSWER = "0123456789" * 6 + "!!"


class Run:
    """One program's run: wall and CPU seconds, most resident MiB, what it said."""

    def __init__(self, wall, cpu, rss, out, err):
        self.wall, self.cpu, self.rss, self.out, self.err = wall, cpu, rss, out, err

    def json(self):
        return json.loads(self.out)


class Started:
    """A program under way. time(1) stands between, since a child's own peak begins with ours."""

    def __init__(self, argv):
        self.argv = [str(a) for a in argv]
        self.files = [tempfile.TemporaryFile() for _ in range(2)]
        self.peak = tempfile.NamedTemporaryFile()
        timed = ["/usr/bin/time", "-q", "-f", "%M", "-o", self.peak.name, *self.argv]
        self.begun = time.monotonic()
        self.child = subprocess.Popen(
            timed,
            stdin=subprocess.DEVNULL,
            stdout=self.files[0],
            stderr=self.files[1],
            start_new_session=True,
        )

    def said(self, which):
        self.files[which].flush()
        return os.pread(self.files[which].fileno(), 1 << 26, 0).decode(errors="replace")

    def wait_until_it_says(self, text):
        until = time.monotonic() + GIVE_UP_S
        while text not in self.said(1):
            if self.child.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"bench: {' '.join(self.argv)}: {self.said(1)}")
            time.sleep(0.02)

    def interrupt(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGINT)

    def finish(self, may_fail=False):
        limit = threading.Timer(MOST_RUN_S, os.killpg, (self.child.pid, signal.SIGKILL))
        limit.start()
        _, status, usage = os.wait4(self.child.pid, 0)
        limit.cancel()
        wall = time.monotonic() - self.begun
        self.child.returncode = os.waitstatus_to_exitcode(status)
        out, err = self.said(0), self.said(1)
        if self.child.returncode and not may_fail:
            raise SystemExit(f"bench: {' '.join(self.argv)}: status {self.child.returncode}: {err}")
        rss = float(pathlib.Path(self.peak.name).read_text().split()[-1]) / 1024
        for f in (*self.files, self.peak):
            f.close()
        return Run(wall, usage.ru_utime + usage.ru_stime, rss, out, err)

    def abandon(self):
        if self.child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()


def measure(*argv):
    started = Started(argv)
    try:
        return started.finish()
    finally:
        started.abandon()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Nginx:
    """One worker, answering 62 bytes to everything, in a folder of its own."""

    def __init__(self, folder):
        self.port = free_port()
        self.asked = 0
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir(exist_ok=True)
        user = "user root;" if os.geteuid() == 0 else ""
        conf = NGINX.format(port=self.port, body=ANSWER, user=user)
        (folder / "nginx.conf").write_text(conf)
        self.child = subprocess.Popen(
            ["/usr/sbin/nginx", "-p", f"{folder}/", "-c", "nginx.conf", "-e", "error.log"],
            stdout=subprocess.DEVNULL,
        )
        until = time.monotonic() + GIVE_UP_S
        while not self.listens():
            if self.child.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"bench: nginx does not run; see {folder}/error.log")
            time.sleep(0.05)

    def listens(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def requests(self):
        """Its own count, without our questions."""
        with urllib.request.urlopen(f"{self.url}/nginx-status") as answer:
            self.asked += 1
            return int(answer.read().split()[9]) - self.asked

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.child.terminate()
        self.child.wait()


def remove_store(path):
    for suffix in ("", "-wal", "-shm"):
        pathlib.Path(f"{path}{suffix}").unlink(missing_ok=True)


def in_turns(rounds, subjects):
    """Runs each subject (a function that gives a Run) once a round; {name: [Run, ...]}."""
    runs = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, subject in subjects.items():
            runs[name].append(subject())
    return runs


def median(values):
    return statistics.median(list(values))


def percentile(ordered, p):
    """Nearest rank, of sorted values."""
    return ordered[max(0, math.ceil(len(ordered) * p / 100) - 1)]


def table(title, head, rows):
    """The first column to the left, the others to the right; numbers with thousands marked."""

    def text(v):
        if v is None:
            return "-"
        if isinstance(v, float):
            return f"{v:,.0f}" if abs(v) >= 1000 else f"{v:.3g}" if abs(v) < 1 else f"{v:.2f}"
        return f"{v:,}" if isinstance(v, int) else str(v)

    cells = [list(head)] + [[text(v) for v in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    print(f"\n{title}", flush=True)
    for row in cells:
        first = row[0].ljust(widths[0])
        rest = (c.rjust(w) for c, w in zip(row[1:], widths[1:]))
        print("  ".join([first, *rest]).rstrip(), flush=True)


def machine():
    model = "unknown"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
    print(f"{os.cpu_count()} cores ({model}), load before the run {os.getloadavg()[0]:.2f}")
