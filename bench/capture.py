# SPDX-License-Identifier: Apache-2.0
"""Capture beside its limits and peers: a file read, sampled, and live. Judges nothing."""

import argparse
import os
import pathlib
import re
import shutil
import time

import idle_flows
from harness import Nginx, Run, Started, in_turns, machine, measure, median, remove_store, table

IDLE = 100_000
IDLE_BASE = 1_000  # connections that carry as many exchanges
RING = "256M"
RING_KIB = 256 * 1024
TICK_S = 0.3  # without CPU use, a capture has taken all there was


class Bench:
    def __init__(self, args):
        self.args = args
        self.build = args.build
        self.ctl = args.build / "cli/shadow-ctl"
        self.data = args.build / "bench-data"
        self.data.mkdir(exist_ok=True)
        self.file = self.data / f"keepalive-{args.exchanges}.pcap"
        self.port_file = self.file.with_suffix(".port")
        self.reference = self.data / "reference.db"

    def shadow(self, sink, *more, file=None):
        if sink != "null:":
            remove_store(sink)
        return measure(
            self.ctl, "capture", "-r", file or self.file, "-o", sink, "--json", "--quiet", *more
        )

    def wrk(self, nginx, seconds):
        return Started(["wrk", "-t1", "-c64", f"-d{seconds}s", nginx.url + "/bench"])


def make_file(b):
    """wrk on nginx over loopback, as tcpdump sees it."""
    if b.file.exists() and b.port_file.exists() and not b.args.fresh:
        return
    with Nginx(b.data / "nginx") as nginx:
        packets = 2 * b.args.exchanges + 1000
        dump = Started(
            ["tcpdump", "-i", "lo", "-B", RING_KIB, "-Z", "root", "-c", packets, "-w", b.file]
            + ["tcp", "port", nginx.port]
        )
        wrk = None
        try:
            dump.wait_until_it_says("listening on")
            wrk = b.wrk(nginx, 120)
            said = dump.finish().err
            wrk.interrupt()
            wrk.finish()
        finally:
            dump.abandon()
            if wrk:
                wrk.abandon()
        b.port_file.write_text(str(nginx.port))
    lost = re.search(r"(\d+) packets? dropped by kernel", said).group(1)
    print(f"recorded {b.file.name}: {packets:,} packets, {lost} dropped by the kernel")


def bare(b):
    """As a Run, of the inserts alone: what is copied is read outside of it."""
    copy = b.data / "copy.db"
    remove_store(copy)
    run = measure(b.build / "bench/copy_rows", b.reference, copy)
    j = run.json()
    bare.with_index.append(j["insert"] + j["index"])
    return Run(j["insert"], j["insert_cpu"], run.rss, run.out, run.err)


bare.with_index = []


def tshark(b):
    fields = ["frame.time_epoch", "tcp.stream", "http.request.method", "http.request.uri"]
    chosen = [x for f in (*fields, "http.response.code") for x in ("-e", f)]
    decode = ["-d", f"tcp.port=={b.port_file.read_text()},http"]
    return measure("tshark", "-n", "-r", b.file, *decode, "-Y", "http", "-T", "fields", *chosen)


def bench_file(b):
    n = b.shadow(b.reference).json()["requests"]["stored"]
    size = b.file.stat().st_size
    subjects = {
        "bare SQLite, the same rows": lambda: bare(b),
        "shadow-ctl -o store": lambda: b.shadow(b.data / "file.db"),
        "libpcap alone": lambda: measure(b.build / "bench/read_pcap", b.file),
        "shadow-ctl -o null:": lambda: b.shadow("null:"),
    }
    if shutil.which("httpry"):
        subjects["httpry"] = lambda: measure("httpry", "-r", b.file, "-o", "/dev/null")
    runs = in_turns(b.args.rounds, subjects)
    if not b.args.no_tshark:
        runs["tshark -Y http -T fields"] = [tshark(b)]
    packets = runs["libpcap alone"][0].json()["packets"]
    rows = []
    wall = {}
    for name, list_ in runs.items():
        walls = sorted(r.wall for r in list_)
        wall[name] = median(walls)
        rows.append(
            [name, wall[name], f"{walls[0]:.2f}..{walls[-1]:.2f}", n / wall[name]]
            + [median(r.cpu for r in list_), median(r.rss for r in list_), len(list_)]
        )
    head = ["", "wall s", "range", "exchanges/s", "CPU s", "RSS MiB", "runs"]
    table(f"a file of {n:,} exchanges ({packets:,} packets, {size / 1e6:,.0f} MB)", head, rows)
    store, null = wall["shadow-ctl -o store"], wall["shadow-ctl -o null:"]
    limit = wall["bare SQLite, the same rows"]
    ratios = [
        ["store / bare SQLite's inserts (aim: at most 1.3)", store / limit],
        ["store / bare SQLite's inserts and index", store / median(bare.with_index)],
        ["null: / libpcap alone", null / wall["libpcap alone"]],
    ]
    for other, aims in (("tshark -Y http -T fields", (15, 30)), ("httpry", (1, 1))):
        if other in wall:
            ratios.append([f"{other} / store (aim: at least {aims[0]})", wall[other] / store])
            ratios.append([f"{other} / null: (aim: at least {aims[1]})", wall[other] / null])
    table("ratios of wall time", ["", "times"], ratios)


def bench_sample(b):
    """Into the same store in both cases, so that what is compared is all that a sample saves."""
    store = b.data / "sample.db"
    subjects = {
        "100%": lambda: b.shadow(store),
        "1%": lambda: b.shadow(store, "--sample", "1%", "--seed", "1"),
    }
    runs = in_turns(min(3, b.args.rounds), subjects)
    whole = median(r.cpu for r in runs["100%"])
    rows = [
        [name, list_[-1].json()["requests"]["stored"], median(r.cpu for r in list_)]
        + [median(r.wall for r in list_), median(r.cpu for r in list_) / whole]
        for name, list_ in runs.items()
    ]
    head = ["", "stored", "CPU s", "wall s", "of 100%"]
    table("sampling, file into a store (aim: at most a third)", head, rows)
    remove_store(store)


def bench_idle(b):
    files = {n: b.data / f"idle-{n}.pcap" for n in (IDLE, IDLE_BASE)}
    for n, file in files.items():
        if not file.exists() or b.args.fresh:
            idle_flows.write(file, n, IDLE // n)
    subjects = {n: (lambda f=file: b.shadow("null:", file=f)) for n, file in files.items()}
    runs = in_turns(min(3, b.args.rounds), subjects)
    rss = {n: median(r.rss for r in runs[n]) for n in files}
    rows = [
        [f"{n:,} open connections", runs[n][-1].json()["streams"]["connections"], rss[n]]
        for n in files
    ]
    table(f"memory, {IDLE:,} exchanges each, -o null:", ["", "connections", "RSS MiB"], rows)
    more = rss[IDLE] - rss[IDLE_BASE]
    each = more * 1024 * 1024 / (IDLE - IDLE_BASE)
    print(f"{more:.1f} MiB more, {each:,.0f} bytes a connection (aim: {IDLE:,} in 100 MiB)")


def cpu_of(group):
    """Clock ticks taken so far by the processes of a session."""
    ticks = 0
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(stat[3]) == group:
            ticks += int(stat[11]) + int(stat[12])
    return ticks


def let_it_catch_up(started):
    """Until it takes no CPU any more: then it has nothing left to read. How long that took."""
    begun = time.monotonic()
    before = -1
    while before != (now := cpu_of(started.child.pid)):
        before = now
        time.sleep(TICK_S)
    return time.monotonic() - begun - TICK_S


def under_load(b, nginx, argv, ready):
    """A program while wrk runs: its Run, wrk's count, nginx's, seconds behind at the end."""
    before = nginx.requests()
    watcher = Started(argv) if argv else None
    wrk = None
    try:
        if watcher:
            watcher.wait_until_it_says(ready)
        wrk = b.wrk(nginx, b.args.seconds)
        said = wrk.finish().out
        behind = let_it_catch_up(watcher) if watcher else 0
        if watcher:
            watcher.interrupt()
        run = watcher.finish() if watcher else None
    finally:
        for program in (watcher, wrk):
            if program:
                program.abandon()
    answered = int(re.search(r"(\d+) requests in", said).group(1))
    return run, answered, nginx.requests() - before, behind


def live_row(b, nginx, name, argv, ready, count):
    run, answered, handled, behind = under_load(b, nginx, argv, ready)
    seen, lost, drops = count(run, handled) if run else (None, None, None)
    cpu = run.cpu * 1e6 / handled if run else None
    rss = run.rss if run else None
    rate = answered / b.args.seconds
    return [name, rate, answered, handled, seen, lost, drops, cpu, rss, behind]


def count_shadow(run, handled):
    j = run.json()
    stored = j["requests"]["stored"]
    drops = j["packets"]["kernel_dropped"] + j["packets"]["interface_dropped"]
    lost = f"{100 * (handled - stored) / handled:.3f}%"
    dropped = j["requests"]["queue_dropped"]
    return stored, lost, f"{drops:,} packets, {dropped:,} by the queue"


def count_tcpdump(run, handled):
    del handled
    taken = int(re.search(r"(\d+) packets? captured", run.err).group(1))
    drops = int(re.search(r"(\d+) packets? dropped by kernel", run.err).group(1))
    return f"{taken:,} packets", f"{100 * drops / (taken + drops):.3f}%", f"{drops:,} packets"


def bench_live(b):
    store, file = b.data / "live.db", b.data / "live.pcap"
    rows = []
    with Nginx(b.data / "nginx") as nginx:
        ours = [b.ctl, "capture", "-i", "lo", "--port", nginx.port, "--buffer", RING]
        ours += ["--json", "-o"]
        dump = ["tcpdump", "-i", "lo", "-B", RING_KIB, "-Z", "root", "-w", file]
        dump += ["tcp", "port", nginx.port]
        plan = [
            ("nobody watching", None, "", None),
            ("tcpdump -w", dump, "listening on", count_tcpdump),
            ("shadow-ctl -o null:", [*ours, "null:"], "capturing on", count_shadow),
            ("shadow-ctl -o store", [*ours, store], "capturing on", count_shadow),
        ]
        for name, argv, ready, count in plan:
            remove_store(store)
            rows.append(live_row(b, nginx, name, argv, ready, count))
    head = ["", "wrk/s", "wrk's count", "nginx's", "captured", "lost", "dropped"]
    head += ["CPU us each", "RSS MiB", "behind s"]
    table(f"live on lo, wrk -t1 -c64 for {b.args.seconds} s, ring {RING}", head, rows)
    print("wrk, nginx and the watcher share the cores; lost: of nginx's count, tcpdump of packets.")
    print("behind: how long a watcher went on working after the last request.")
    remove_store(store)
    file.unlink(missing_ok=True)


PARTS = {"file": bench_file, "sample": bench_sample, "idle": bench_idle, "live": bench_live}


def main():
    p = argparse.ArgumentParser(prog="scripts/bench capture")
    p.add_argument("--build", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    p.add_argument("--exchanges", type=int, default=400_000, help="in the file (400000)")
    p.add_argument("--rounds", type=int, default=5, help="runs of each, medians are shown (5)")
    p.add_argument("--seconds", type=int, default=10, help="of each live run (10)")
    p.add_argument("--fresh", action="store_true", help="record the file again")
    p.add_argument("--no-tshark", action="store_true", help="leave it out: it takes half a minute")
    p.add_argument("--only", choices=PARTS, action="append", help="this part; repeatable")
    args = p.parse_args()
    b = Bench(args)
    machine()
    make_file(b)
    if not b.file.exists():
        raise SystemExit("bench: no capture file")
    os.sync()
    for name, part in PARTS.items():
        if not args.only or name in args.only:
            part(b)


if __name__ == "__main__":
    main()
