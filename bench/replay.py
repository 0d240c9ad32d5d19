# SPDX-License-Identifier: Apache-2.0
"""Replay beside load generators, as fast as it goes, and beside its own schedule: what it says of
its sends, and what the kernel saw of them. Judges nothing."""

import argparse
import collections
import pathlib
import re
import shutil
import sqlite3
import struct
import time

from harness import Nginx, Run, Started, in_turns, machine, measure, median, percentile
from harness import remove_store, table

RATES = (1_000, 10_000, 30_000)
CONNECTIONS = 64
RING_KIB = 64 * 1024
BURST = 100_000
WINDOW_US = 10_000
SLEEPING_S = 5  # of the sender that sleeps: it takes several times as long
# Numbered, so that a packet tells which request it carries.
NUMBERED = """
local n = 0
request = function()
    n = n + 1
    return wrk.format("GET", string.format("/n/%08d", n))
end
"""
PCAP_NS = 0xA1B23C4D
NUMBER = re.compile(rb"GET (/n/\d{8})")


class Bench:
    def __init__(self, args):
        self.args = args
        self.ctl = args.build / "cli/shadow-ctl"
        self.tools = args.build / "bench"
        self.data = args.build / "bench-data"
        self.data.mkdir(exist_ok=True)
        self.needed = max(args.requests, BURST)
        self.file = self.data / f"numbered-{self.needed}.pcap"

    def store(self, n):
        """A store of the first n exchanges, as this build writes it."""
        path = self.data / f"numbered-{n}.db"
        newest = max(self.file.stat().st_mtime, self.ctl.stat().st_mtime)
        if not path.exists() or path.stat().st_mtime < newest:
            remove_store(path)
            measure(self.ctl, "capture", "-r", self.file, "-o", path, "--count", n, "--quiet")
        return path


def make_file(b):
    """Numbered requests of wrk over loopback, as tcpdump sees them."""
    if b.file.exists() and not b.args.fresh:
        return
    script = b.data / "numbered.lua"
    script.write_text(NUMBERED)
    with Nginx(b.data / "nginx") as nginx:
        packets = 2 * b.needed + 2000
        dump = Started(
            ["tcpdump", "-i", "lo", "-B", 4 * RING_KIB, "-Z", "root", "-c", packets, "-w", b.file]
            + ["tcp", "port", nginx.port]
        )
        wrk = None
        try:
            dump.wait_until_it_says("listening on")
            wrk = Started(
                ["wrk", "-t1", f"-c{CONNECTIONS}", "-d120s", "-s", script, nginx.url]
            )
            dump.finish()
            wrk.interrupt()
            wrk.finish()
        finally:
            dump.abandon()
            if wrk:
                wrk.abandon()


def working_copy(b, n):
    """Results go into the store, so each run has a fresh one."""
    copy = b.data / "replay.db"
    remove_store(copy)
    shutil.copyfile(b.store(n), copy)
    return copy


class Rate(Run):
    """A run and how many requests it did in how many seconds of sending."""

    def __init__(self, run, requests, seconds, failed=0):
        super().__init__(run.wall, run.cpu, run.rss, run.out, run.err)
        self.requests, self.seconds, self.failed = requests, seconds, failed


def shadow_max(b, nginx, save, workers=1):
    store = working_copy(b, b.args.requests)
    run = measure(
        b.ctl, "replay", store, "--to", nginx.url, "--max", "--connections", CONNECTIONS,
        "--save", save, "--workers", workers, "--json", "--quiet"
    )  # fmt: skip
    j = run.json()
    return Rate(run, j["sent"], j["duration_s"], j["failed"])


def wrk_max(b, nginx):
    run = measure("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{b.args.wrk_seconds}s", nginx.url + "/n")
    n, seconds = re.search(r"(\d+) requests in ([\d.]+)s", run.out).groups()
    return Rate(run, int(n), float(seconds))


def h2load_max(b, nginx):
    run = measure(
        "h2load", "--h1", "-t1", f"-c{CONNECTIONS}", f"-n{b.args.requests}", nginx.url + "/n"
    )
    seconds, unit = re.search(r"finished in ([\d.]+)(m?s)", run.out).groups()
    n, failed = re.search(r"(\d+) succeeded, (\d+) failed", run.out).groups()
    return Rate(run, int(n), float(seconds) / (1000 if unit == "ms" else 1), int(failed))


def curl_max(b, nginx):
    run = measure(b.tools / "curl_multi", nginx.url + "/n", b.args.requests // 2, CONNECTIONS)
    j = run.json()
    return Rate(run, j["requests"], j["seconds"], j["failed"])


def bench_max(b):
    with Nginx(b.data / "nginx") as nginx:
        subjects = {
            "wrk -t1 -c64": lambda: wrk_max(b, nginx),
            "shadow-ctl --max --save full": lambda: shadow_max(b, nginx, "full"),
            "shadow-ctl --max --save none": lambda: shadow_max(b, nginx, "none"),
            "shadow-ctl --max, two workers": lambda: shadow_max(b, nginx, "full", 2),
            "h2load --h1 -t1 -c64": lambda: h2load_max(b, nginx),
            "libcurl multi, 64 handles": lambda: curl_max(b, nginx),
        }
        runs = in_turns(b.args.rounds, subjects)
    base = median(r.requests / r.seconds for r in runs["wrk -t1 -c64"])
    rows = []
    for name, list_ in runs.items():
        rates = sorted(r.requests / r.seconds for r in list_)
        rows.append(
            [name, median(rates), f"{rates[0] / 1000:,.0f}..{rates[-1] / 1000:,.0f}k"]
            + [median(rates) / base, median(r.requests / r.wall for r in list_)]
            + [median(r.cpu * 1e6 / r.requests for r in list_), median(r.rss for r in list_)]
            + [sum(r.failed for r in list_)]
        )
    head = ["", "requests/s", "range", "of wrk", "whole run/s", "CPU us each", "RSS MiB", "failed"]
    table(f"as fast as it goes: {CONNECTIONS} connections, medians of {b.args.rounds}", head, rows)
    ours, curl = rows[1][1], rows[5][1]
    print(f"with results saved: {ours / base:.2f} times wrk (aim: 1.0),", end=" ")
    print(f"{ours / curl:.2f} times libcurl's ordinary transfers (aim: 3)")
    print("whole run: with start, reading ahead, and the last result on disk.")


def kernel_times(file):
    """{path: [us since 1970, ...]} of the requests in a capture, in the order of the wire."""
    data = pathlib.Path(file).read_bytes()
    assert struct.unpack_from("<I", data)[0] == PCAP_NS
    at, times = 24, collections.defaultdict(list)
    while at + 16 <= len(data):
        s, ns, size, _ = struct.unpack_from("<IIII", data, at)
        found = NUMBER.search(data, at + 16, at + 16 + size)
        if found:
            times[found.group(1).decode()].append(s * 1e6 + ns / 1e3)
        at += 16 + size
    return times


def spread(late):
    """p50, p99, p99.9, max, and what the last hundredth is later than the first."""
    ordered = sorted(late)
    part = max(1, len(late) // 100)
    drift = median(late[-part:]) - median(late[:part])
    return [*(percentile(ordered, p) for p in (50, 99, 99.9, 100)), drift]


class Paced:
    """A paced replay: due times, and those of its sends by its own account and the kernel's."""

    def __init__(self, run, rows, seen):
        self.run = run
        # A pass of --loop sends the same paths again.
        known = [row for row in rows if len(seen[row[0]]) > row[3]]
        self.due = [due for _, due, _, _ in known]
        self.sent = [sent for _, _, sent, _ in known]
        self.kernel = [seen[path][turn] for path, _, _, turn in known]
        lost = run.json()["sent"] - sum(len(times) for times in seen.values())
        if lost:
            print(f"note: tcpdump lacks {lost:,} of {run.json()['sent']:,} requests")

    def late(self, times):
        return [t - due for t, due in zip(times, self.due)]


def wait_until_still(file):
    """tcpdump gives up what its ring holds when interrupted, and takes a block within a second."""
    size = -1
    while size != (now := file.stat().st_size):
        size = now
        time.sleep(1.5)


def paced(b, nginx, pace, n):
    store, file = working_copy(b, n), b.data / "paced.pcap"
    dump = Started(
        ["tcpdump", "-i", "lo", "-B", RING_KIB, "-Z", "root", "-s", "120", "-w", file]
        + ["--time-stamp-precision=nano", "-U"]
        + [f"tcp dst port {nginx.port} and tcp[tcpflags] & tcp-push != 0"]
    )
    try:
        dump.wait_until_it_says("listening on")
        options = ["--save", "status", "--json", "--quiet", "--connections", CONNECTIONS]
        options += ["--workers", 1]
        run = measure(b.ctl, "replay", store, "--to", nginx.url, *pace, *options)
        wait_until_still(file)
        dump.interrupt()
        dump.finish()
    finally:
        dump.abandon()
    db = sqlite3.connect(store)
    rows = db.execute(
        "SELECT e.path, r.due_us, r.sent_us, r.pass FROM result r"
        " JOIN exchange e ON e.id = r.exchange_id"
        " WHERE r.sent_us > 0 ORDER BY r.due_us, e.ts_us, e.id"
    ).fetchall()
    db.close()
    result = Paced(run, rows, kernel_times(file))
    file.unlink()
    return result


def sleeping(b, nginx, rate, n):
    run = measure(b.tools / "sleep_gap", nginx.port, rate, n, CONNECTIONS)
    return [float(x) for x in run.out.split()], run


def h2load_argv(b, url, rate):
    each = rate / CONNECTIONS
    return [
        "h2load", "--h1", "-t1", f"-c{CONNECTIONS}", f"--rps={each}",
        f"--duration={b.args.seconds}", url
    ]  # fmt: skip


def hey_argv(b, url, rate):
    return ["hey", "-z", f"{b.args.seconds}s", "-c", CONNECTIONS, "-q", rate / CONNECTIONS, url]


PACED_PEERS = {"h2load --rps": h2load_argv, "hey -q": hey_argv}


def peer_paced(b, nginx, rate, argv):
    """Its clients send by timers of their own; an even schedule from its first request on is what
    it is held to, as it has no other."""
    file = b.data / "paced.pcap"
    dump = Started(
        ["tcpdump", "-i", "lo", "-B", RING_KIB, "-Z", "root", "-s", "120", "-w", file]
        + ["--time-stamp-precision=nano", "-U"]
        + [f"tcp dst port {nginx.port} and tcp[tcpflags] & tcp-push != 0"]
    )
    try:
        dump.wait_until_it_says("listening on")
        run = measure(*argv(b, nginx.url + "/n/00000000", rate))
        wait_until_still(file)
        dump.interrupt()
        dump.finish()
    finally:
        dump.abandon()
    times = sorted(kernel_times(file)["/n/00000000"])
    file.unlink()
    return [t - times[0] - i * 1e6 / rate for i, t in enumerate(times)], run


def pace_rows(b, nginx, rate):
    n = rate * b.args.seconds
    own, kernel, slept = [], [], []
    cpu = {"own": [], "slept": []}
    pace = ["--rate", f"{rate}/s", "--loop", "0", "--duration", f"{b.args.seconds}s"]
    for turn in range(b.args.pace_rounds):
        ours = paced(b, nginx, pace, b.args.requests)
        own.append(spread(ours.late(ours.sent)))
        kernel.append(spread(ours.late(ours.kernel)))
        cpu["own"].append(ours.run.cpu * 1e6 / n)
        if turn == 0:  # no subtle difference, and it takes as long as its errors are
            late, run = sleeping(b, nginx, rate, rate * min(b.args.seconds, SLEEPING_S))
            slept.append(spread(late))
            cpu["slept"].append(run.cpu * 1e6 / len(late))

    peers = {
        name: peer_paced(b, nginx, rate, argv)
        for name, argv in PACED_PEERS.items()
        if shutil.which(name.split()[0])
    }

    def row(name, spreads, us):
        return [name, *(f"{median(column):,.0f}" for column in zip(*spreads)), us]

    return [
        row(f"{rate:,}/s: shadow-ctl's account", own, median(cpu["own"])),
        row("  the kernel's time stamps", kernel, None),
        row("  a sender that sleeps each gap (once)", slept, median(cpu["slept"])),
    ] + [
        row(f"  {name}, the kernel's (once)", [spread(late)], run.cpu * 1e6 / len(late))
        for name, (late, run) in peers.items()
    ]


def bench_pace(b):
    rows = []
    with Nginx(b.data / "nginx") as nginx:
        for rate in RATES:
            rows += pace_rows(b, nginx, rate)
    head = ["sends after their due time, us", "p50", "p99", "p99.9", "max", "drift", "CPU us each"]
    table(f"on schedule for {b.args.seconds} s, medians of {b.args.pace_rounds}", head, rows)
    print("drift: what the last hundredth is later than the first. tcpdump runs beside all but the")
    print("one that sleeps. h2load and hey are held to an even schedule from their first request.")
    print("aim: p99 under 100 us at 10,000/s on an idle machine, and no drift")


def gaps(times):
    ordered = sorted(times)
    return sorted(b - a for a, b in zip(ordered, ordered[1:]))


def per_window(times):
    """How many there are in each hundredth of a second since the first."""
    first = min(times)
    return collections.Counter(int((t - first) // WINDOW_US) for t in times)


def bench_burst(bench):
    """The recording itself is a burst: as many requests as nginx answers."""
    with Nginx(bench.data / "nginx") as nginx:
        ours = paced(bench, nginx, ["--speed", "0.1"], BURST)
    recorded, replayed = gaps(ours.due), gaps(ours.kernel)
    rows = [
        [name, *(float(percentile(g, p)) for p in (10, 50, 90, 99, 99.9, 100))]
        for name, g in (("as it should be", recorded), ("as the kernel saw it", replayed))
    ]
    head = ["gaps between sends, us", "p10", "p50", "p90", "p99", "p99.9", "max"]
    table(f"{BURST:,} recorded requests at a tenth of their speed", head, rows)
    a, b = per_window(ours.due), per_window(ours.kernel)
    elsewhere = sum(abs(a[i] - b[i]) for i in a.keys() | b.keys()) / 2
    print(f"in another hundredth of a second than recorded: {100 * elsewhere / len(ours.due):.2f}%")
    # A recording knows microseconds, and they are ten times as long here.
    steps = [sorted(round(gap / 10) for gap in list_) for list_ in (recorded, replayed)]
    print(f"Kolmogorov-Smirnov distance of the two, in steps of 10 us: {ks(*steps):.4f}")


def ks(a, b):
    """The most that two distributions differ at any value; both sorted."""
    i = j = 0
    worst = 0.0
    while i < len(a) and j < len(b):
        at = min(a[i], b[j])
        while i < len(a) and a[i] <= at:
            i += 1
        while j < len(b) and b[j] <= at:
            j += 1
        worst = max(worst, abs(i / len(a) - j / len(b)))
    return worst


def make_large(b, n):
    """A store of n exchanges, a copy of one of them each, a millisecond apart."""
    path = b.data / "large.db"
    remove_store(path)
    shutil.copyfile(b.store(1), path)
    db = sqlite3.connect(path)
    columns = [r[1] for r in db.execute("PRAGMA table_info(exchange)")]
    values = [
        {"id": "e.id + n.i", "ts_us": "e.ts_us + n.i * 1000", "connection": "n.i % 64"}.get(c, c)
        for c in columns
    ]
    db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")
    db.execute(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n - 1})"
        f" INSERT INTO exchange ({','.join(columns)}) SELECT {','.join(values)}"
        " FROM n, (SELECT * FROM exchange WHERE id = 1) e"
    )
    db.execute("CREATE INDEX IF NOT EXISTS exchange_server ON exchange(server, server_port)")
    db.commit()
    db.close()
    return path


def bench_memory(b):
    rows = []
    with Nginx(b.data / "nginx") as nginx:
        n = 10_000
        while n <= b.args.largest:
            store = make_large(b, n)
            options = ["--quiet", "--json", "--workers", 1]
            fast = ["--max", "--save", "none"]
            once = measure(b.ctl, "replay", store, "--to", nginx.url, "--until", "+1ms", *options)
            run = measure(b.ctl, "replay", store, "--to", nginx.url, *fast, *options)
            j = run.json()
            rows.append([f"{n:,} exchanges", run.rss, j["sent"] / j["duration_s"], once.wall])
            remove_store(store)
            n *= 10
    table("datasets of any size", ["", "RSS MiB", "requests/s", "s until one is sent"], rows)


PARTS = {"max": bench_max, "pace": bench_pace, "burst": bench_burst, "memory": bench_memory}


def main():
    p = argparse.ArgumentParser(prog="scripts/bench replay")
    p.add_argument("--build", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    p.add_argument("--requests", type=int, default=700_000,
                   help="of each fast run (700000: as long as wrk's)")
    p.add_argument("--rounds", type=int, default=5, help="of those runs (5)")
    p.add_argument("--wrk-seconds", type=int, default=3, help="of wrk's runs (3)")
    p.add_argument("--seconds", type=int, default=60, help="of a paced run (60)")
    p.add_argument("--pace-rounds", type=int, default=1, help="of the paced runs (1)")
    p.add_argument("--largest", type=int, default=1_000_000, help="dataset (1000000)")
    p.add_argument("--fresh", action="store_true", help="record the requests again")
    p.add_argument("--only", choices=PARTS, action="append", help="this part; repeatable")
    args = p.parse_args()
    b = Bench(args)
    machine()
    make_file(b)
    for name, part in PARTS.items():
        if not args.only or name in args.only:
            part(b)
    remove_store(b.data / "replay.db")


if __name__ == "__main__":
    main()
