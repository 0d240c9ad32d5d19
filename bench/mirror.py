# SPDX-License-Identifier: Apache-2.0
"""A live mirror beside nginx's mirror module and no mirror at all: what production feels of it, how
soon a copy goes out, and how many go out without a loss. Judges nothing."""

import argparse
import os
import pathlib
import re
import signal
import struct
import subprocess
import time

from harness import GIVE_UP_S, Nginx, Started, free_port, in_turns, machine, measure, median
from harness import percentile, table
from replay import NUMBER, PCAP_NS, RING_KIB, wait_until_still

PACED = 2_000  # requests/s that leave both cores room
DELAY_RATES = (100, 1_000, 5_000)
RATES = (2_000, 5_000, 10_000, 15_000, 20_000, 30_000, 40_000, 50_000, 70_000, 100_000)
CONNECTIONS = 32  # of a load without a pace
THINK_MS = 5  # between an answer and the next request of a connection, where there is one
# Numbered, so that a packet tells which request it carries. Of a replay nothing would be mirrored.
LOAD = """
local n = 0
request = function()
    n = n + 1
    return wrk.format("GET", string.format("/n/%08d", n))
end
"""
PACE = "delay = function() return {} end\n"
PRODUCTION = """
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
    upstream shadow {{
        server 127.0.0.1:{target};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /nginx-status {{ stub_status; }}
        location = /shadow {{
            internal;
            proxy_pass http://shadow$request_uri;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
        location / {{ {mirror} empty_gif; }}
    }}
}}
"""


class Bench:
    def __init__(self, args):
        self.args = args
        self.ctl = args.build / "cli/shadow-ctl"
        self.data = args.build / "bench-data"
        self.data.mkdir(exist_ok=True)


class Production(Nginx):
    """nginx, answering 43 bytes by its content handler, since what it returns from a rule is never
    mirrored; with its own mirror on or off."""

    def __init__(self, folder, target, mirrors):
        self.port, self.asked = free_port(), 0
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir(exist_ok=True)
        conf = PRODUCTION.format(
            port=self.port,
            target=target.port,
            mirror="mirror /shadow;" if mirrors else "",
            user="user root;" if os.geteuid() == 0 else "",
        )
        (folder / "nginx.conf").write_text(conf)
        self.child = subprocess.Popen(
            ["/usr/sbin/nginx", "-p", f"{folder}/", "-c", "nginx.conf", "-e", "error.log"]
        )
        until = time.monotonic() + GIVE_UP_S
        while not self.listens():
            if self.child.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"bench: nginx does not run; see {folder}/error.log")
            time.sleep(0.05)


class Mirror:
    """shadow-ctl mirror under way; afterwards `account` and `run`."""

    def __init__(self, b, production, target, *more):
        self.started = Started(
            [b.ctl, "mirror", "-i", "lo", "--port", production.port, "--to", target.url]
            + ["--exclude", "/nginx-status", "--json", *more]
        )
        self.account = self.run = None

    def __enter__(self):
        self.started.wait_until_it_says("capturing on")
        return self

    def __exit__(self, kind, *unused):
        try:
            if kind is None:
                # To the program alone: time(1) stands between and would not say how much it took.
                child = next(iter(children(self.started.child.pid)))
                os.kill(child, signal.SIGINT)
                self.run = self.started.finish()
                self.account = self.run.json()
        finally:
            self.started.abandon()

    @property
    def target(self):
        return self.account["targets"][0]

    @property
    def lost(self):
        """Requests that reached no target, and packets that reached no reader."""
        return self.target["offered"] - self.target["answered"]

    @property
    def dropped_packets(self):
        return self.account["capture"]["packets"]["kernel_dropped"]


def children(pid):
    return [int(c) for c in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class NoMirror:
    def __enter__(self):
        return self

    def __exit__(self, *unused):
        pass


class Tcpdump(NoMirror):
    """Looks at the same packets, and throws them away."""

    def __init__(self, production):
        self.started = Started(
            ["tcpdump", "-i", "lo", "-B", RING_KIB, "-Z", "root", "-w", "/dev/null"]
            + ["tcp", "port", production.port]
        )

    def __enter__(self):
        self.started.wait_until_it_says("listening on")
        return self

    def __exit__(self, *unused):
        self.started.interrupt()
        self.started.finish()


UNITS = {"us": 1, "ms": 1e3, "s": 1e6}


class Load:
    """wrk: requests/s, p50 and p99 in us. `rate` 0: as fast as it goes."""

    def __init__(self, b, production, rate, seconds):
        script = b.data / "load.lua"
        script.write_text(LOAD + (PACE.format(THINK_MS) if rate else ""))
        connections = max(1, rate * THINK_MS // 1000) if rate else CONNECTIONS
        out = measure(
            "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script,
            production.url,
        ).out  # fmt: skip
        self.rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
        at = {
            p: float(v) * UNITS[u] for p, v, u in re.findall(r"(\d+)%\s+([\d.]+)(us|ms|s)\n", out)
        }
        self.p50, self.p99 = at["50"], at["99"]


def ways(b, target):
    """Name, production's nginx, and what runs beside it."""
    return {
        "no mirror": (False, lambda p: NoMirror()),
        "tcpdump to /dev/null": (False, Tcpdump),
        "shadow-ctl mirror": (False, lambda p: Mirror(b, p, target)),
        "nginx's mirror module": (True, lambda p: NoMirror()),
    }


def bench_latency(b):
    rows = []

    def subject(target, mirrors, beside):
        def run():
            with Production(b.data / "production", target, mirrors) as production:
                with beside(production):
                    paced = Load(b, production, PACED, b.args.seconds)
                with beside(production):
                    return paced, Load(b, production, 0, b.args.seconds)

        return run

    with Nginx(b.data / "nginx") as target:
        subjects = {n: subject(target, m, w) for n, (m, w) in ways(b, target).items()}
        for name, runs in in_turns(b.args.rounds, subjects).items():
            rows.append(
                [name]
                + [median(getattr(p, what) for p, _ in runs) for what in ("p50", "p99", "rate")]
                + [median(getattr(f, what) for _, f in runs) for what in ("p50", "p99", "rate")]
            )
    head = ["production's answers, us", "p50 paced", "p99", "a second", "p50 at most", "p99"]
    table(f"what production feels (wrk), medians of {b.args.rounds}", [*head, "a second"], rows)
    print("At most: production, wrk, mirror and target want more than the processors there are, so")
    print("whatever runs beside production takes its share of them.")


def marked_times(file, ports):
    """{path: us} of the first packet with each path, to each port."""
    data = pathlib.Path(file).read_bytes()
    assert struct.unpack_from("<I", data)[0] == PCAP_NS
    at, times = 24, {port: {} for port in ports}
    while at + 16 <= len(data):
        s, ns, size, _ = struct.unpack_from("<IIII", data, at)
        found = NUMBER.search(data, at + 16, at + 16 + size)
        if found:  # Ethernet as loopback pretends, IPv4 without options
            port = struct.unpack_from(">H", data, at + 16 + 14 + 20 + 2)[0]
            times[port].setdefault(found.group(1), s * 1e6 + ns / 1e3)
        at += 16 + size
    return times


def delay_of(b, production, target, rate, *more):
    file = b.data / "delay.pcap"
    dump = Started(
        ["tcpdump", "-i", "lo", "-B", RING_KIB, "-Z", "root", "-s", "120", "-w", file, "-U"]
        + ["--time-stamp-precision=nano"]
        + [f"(dst port {production.port} or dst port {target.port}) and"]
        + ["tcp[tcpflags] & tcp-push != 0"]
    )
    try:
        dump.wait_until_it_says("listening on")
        with Mirror(b, production, target, *more) as mirror:
            Load(b, production, rate, b.args.seconds)
        wait_until_still(file)
        dump.interrupt()
        dump.finish()
    finally:
        dump.abandon()
    times = marked_times(file, (production.port, target.port))
    file.unlink()
    before, after = times[production.port], times[target.port]
    delays = sorted(after[path] - before[path] for path in before.keys() & after.keys())
    return delays, mirror


def bench_delay(b):
    rows = []
    with Nginx(b.data / "nginx") as target:
        with Production(b.data / "production", target, False) as production:
            for rate in DELAY_RATES:
                for name, more in (("", []), (", --snaplen 4096", ["--snaplen", 4096])):
                    delays, mirror = delay_of(b, production, target, rate, *more)
                    rows.append(
                        [f"{rate:,}/s{name}"]
                        + [f"{percentile(delays, p):,.0f}" for p in (50, 90, 99, 99.9, 100)]
                        + [len(delays), mirror.lost]
                    )
    head = ["a copy's first byte after its request's last, us", "p50", "p90", "p99", "p99.9", "max"]
    table("how soon a copy goes out", [*head, "copies", "lost"], rows)
    print("The kernel's time stamps of both. With a small snaplen the ring holds enough packets to")
    print("be handed on one by one; otherwise they come within a millisecond.")


def settled(target, wanted):
    """The target's count, once it is what is wanted or grows no more."""
    before, seen = -1, 0
    while seen < wanted and seen != before:
        before, seen = seen, target.requests()
        time.sleep(0.5)
    return target.requests()


def one_rate(b, production, target, mirror, rate):
    before = production.requests(), target.requests()
    with mirror:
        load = Load(b, production, rate, b.args.seconds)
        asked = production.requests() - before[0]
        lost = asked - (settled(target, before[1] + asked) - before[1])
    return load, asked, lost


def bench_rate(b):
    rows = []
    with Nginx(b.data / "nginx") as target:
        for name, mirrors in (("shadow-ctl mirror", False), ("nginx's mirror module", True)):
            with Production(b.data / "production", target, mirrors) as production:
                last = 0
                for rate in RATES:
                    mirror = NoMirror() if mirrors else Mirror(b, production, target)
                    load, asked, lost = one_rate(b, production, target, mirror, rate)
                    ours = [None] * 3
                    if not mirrors:
                        cpu = mirror.run.cpu * 1e6 / asked
                        ours = [mirror.dropped_packets, cpu, mirror.run.rss]
                    rows.append([f"{name}, {rate:,}/s", load.rate, load.p50, load.p99, lost, *ours])
                    if lost > 0 or load.rate < 1.05 * last:
                        break
                    last = load.rate
    head = ["", "production/s", "its p50 us", "its p99 us", "not mirrored", "packets dropped"]
    title = f"rates, for {b.args.seconds} s each, until one is too high"
    table(title, [*head, "CPU us each", "RSS MiB"], rows)
    print("Production, target, load and mirror share the machine.")


PARTS = {"latency": bench_latency, "delay": bench_delay, "rate": bench_rate}


def main():
    p = argparse.ArgumentParser(prog="scripts/bench mirror")
    p.add_argument("--build", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    p.add_argument("--rounds", type=int, default=3, help="of the latency runs (3)")
    p.add_argument("--seconds", type=int, default=5, help="of each run (5)")
    p.add_argument("--only", choices=PARTS, action="append", help="this part; repeatable")
    args = p.parse_args()
    b = Bench(args)
    machine()
    for name, part in PARTS.items():
        if not args.only or name in args.only:
            part(b)


if __name__ == "__main__":
    main()
