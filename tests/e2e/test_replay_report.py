# SPDX-License-Identifier: Apache-2.0
"""What a replay tells: the table, JSON, percentile files that plotters read, the line on a
terminal, and the exit status that --fail-on makes of it."""

import contextlib
import json
import os
import pty
import re

import pytest
from harness import DEADLINE, binary, environment, one, request, run, select, wait_until
from pcapfile import simple
from servers.moods import MoodyServer, answer, raw


def dataset(folder, requests, **more):
    simple(folder / "in.pcap", requests, **more)
    run("capture", "-r", folder / "in.pcap", "-o", folder / "shadow.db")
    return folder / "shadow.db"


def replay(store, server, *args, **more):
    return run("replay", store, "--to", server.url, "--max", *args, **more)


def summary_of(store):
    return json.loads(one(store, "select summary from replay order by id desc limit 1"))


def some_bad(folder, bad=2, good=6):
    paths = ["/bad"] * bad + [f"/{i}" for i in range(good)]
    return dataset(folder, [request("GET", p) for p in paths])


# --- the account ---------------------------------------------------------------------------------


def test_every_row(tmp_path):
    store = some_bad(tmp_path)
    with MoodyServer(raw(b"nonsense\r\n")) as server:
        done = replay(store, server)
    rows = dict(re.findall(r"^(\S[a-z ]+?)  +(.*)$", done.out, re.M))
    assert rows["requests"].startswith("8 read = 6 answered + 2 failed")
    assert rows["success"] == "75.00%, 6 of 8 answered with a status below 400"
    assert rows["status"].strip() == "200: 6"
    assert rows["failed"] == "2 not an HTTP response"
    for name in ("pace", "duration", "rate", "throughput", "bytes", "from send", "from due"):
        assert name in rows, done.out
    heads = re.search(r"^ +min +mean +p50 +p90 +p95 +p99 +p99\.9 +max$", done.out, re.M)
    assert heads, done.out


def test_every_number_as_json(tmp_path):
    store = some_bad(tmp_path)
    with MoodyServer(answer(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")) as server:
        told = json.loads(replay(store, server, "--json").out)
    assert told == summary_of(store)
    assert told["status"] == {"200": 6, "500": 2}
    assert told["success"] == 0.75
    assert told["rate"] == pytest.approx(8 / told["duration_s"], rel=0.01)
    assert told["throughput"] == pytest.approx(6 / told["duration_s"], rel=0.01)
    for kind in ("service_us", "latency_us"):
        ways = [told[kind][k] for k in ("min", "p50", "p90", "p95", "p99", "p99.9", "max")]
        assert ways == sorted(ways) and ways[0] > 0
        assert told[kind]["min"] <= told[kind]["mean"] <= told[kind]["max"]


# --- percentile files ----------------------------------------------------------------------------

ROW = re.compile(r"^ *(\d+\.\d{3}) (\d\.\d{12}) +(\d+)(?: +(\d+\.\d\d))?$")


def read_hgrm(path):
    """As the plotters do: rows of four numbers, the last row of three, comments behind them."""
    lines = path.read_text().splitlines()
    assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    assert lines[1] == ""
    rows = [ROW.match(line) for line in lines[2:] if not line.startswith("#")]
    assert all(rows), lines
    comments = [line for line in lines if line.startswith("#")]
    assert [c.split()[0] for c in comments] == ["#[Mean", "#[Max", "#[Buckets"]
    return [r.groups() for r in rows], comments


def test_percentile_files(tmp_path, raw_server):
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(300)])
    replay(store, raw_server, "--hdr", tmp_path / "run")
    told = summary_of(store)
    for kind in ("service", "latency"):
        rows, comments = read_hgrm(tmp_path / f"run.{kind}.hgrm")
        values = [float(r[0]) for r in rows]
        levels = [float(r[1]) for r in rows]
        counts = [int(r[2]) for r in rows]
        assert values == sorted(values) and counts == sorted(counts)
        assert levels == sorted(set(levels)) and levels[0] == 0 and levels[-1] == 1
        assert counts[-1] == 300 and rows[-1][3] is None
        assert all(n >= 300 * level - 1e-6 for n, level in zip(counts, levels))
        for row in rows[:-1]:
            assert float(row[3]) == pytest.approx(1 / (1 - float(row[1])), rel=0.01)
        # In ms, and the same distribution that the summary tells of.
        p50 = next(v for v, level in zip(values, levels) if level == 0.5)
        assert p50 == pytest.approx(told[f"{kind}_us"]["p50"] / 1000, abs=0.001)
        assert values[-1] == pytest.approx(told[f"{kind}_us"]["max"] / 1000, abs=0.001)
        assert re.search(r"Total count += +300\]", comments[1])


def test_percentile_files_of_nothing(tmp_path, raw_server):
    store = dataset(tmp_path, [request("GET", "/")])
    replay(store, raw_server, "--route", "/none", "--hdr", tmp_path / "run")
    assert read_hgrm(tmp_path / "run.latency.hgrm")[0] == []


def test_no_place_for_percentiles(tmp_path, raw_server):
    store = dataset(tmp_path, [request("GET", "/")])
    done = replay(store, raw_server, "--hdr", "/nowhere/at/all", status=2)
    assert len(done.err_lines) == 1 and "/nowhere/at/" in done.err
    assert raw_server.seen == []


# --- the verdict ---------------------------------------------------------------------------------

# condition, whether it holds of 8 tried, 2 of them failed, the rest answered 200
VERDICTS = [
    ("errors>0", True),
    ("errors>1", True),
    ("errors>2", False),
    ("errors>=2", True),
    ("errors==2", True),
    ("errors != 2", False),
    ("errors<1", False),
    ("errors>24%", True),
    ("errors>25%", False),
    ("errors >= 25%", True),
    ("success<99%", True),
    ("success<75%", False),
    ("success<=75", True),
    ("p99>10m", False),
    ("p99>0us", True),
    ("max<1us", False),
    ("p99.9 > 0ms", True),
    ("service_p50>0us", True),
    ("5xx>0", False),
    ("4xx>0%", False),
    ("rate<1/s", False),
    ("throughput>0", True),
    ("late>100%", False),
]


@pytest.mark.parametrize("condition, holds", VERDICTS, ids=[c for c, _ in VERDICTS])
def test_fail_on(condition, holds, tmp_path):
    store = some_bad(tmp_path)
    with MoodyServer(raw(b"nonsense\r\n")) as server:
        done = replay(store, server, "--fail-on", condition, status=3 if holds else 0)
    assert (condition in done.err) == holds
    assert done.out.startswith("replay 1"), "the account is told all the same"
    assert summary_of(store)["failed"] == 2


def test_any_condition_will_do(tmp_path, raw_server):
    store = dataset(tmp_path, [request("GET", "/")])
    replay(store, raw_server, "--fail-on", "errors>0", "--fail-on", "p50>0us", status=3)
    replay(store, raw_server, "--fail-on", "errors>0", "--fail-on", "5xx>0")


# condition, what the one line must name
WRONG = [
    ("", "errors>0"),
    ("errors", "errors>0"),
    (">0", "errors>0"),
    ("errors>", "a number or a percentage"),
    ("errors>x", "a number or a percentage"),
    ("errors>-1", "a number or a percentage"),
    ("errors>0x10", "a number or a percentage"),
    ("errors>5ms", "a number or a percentage"),
    ("errors>1 2", "a number or a percentage"),
    ("errors>nan", "a number or a percentage"),
    ("p99>250", "a time, like 250ms"),
    ("p99>1%", "a time, like 250ms"),
    ("p98>1ms", "p99"),
    ("rate<1ms", "a rate"),
    ("differences>1%", "not compared here"),
    ("x" * 2000 + ">1", "errors"),
]


@pytest.mark.parametrize("condition, named", WRONG, ids=[c[:20] for c, _ in WRONG])
def test_no_condition(condition, named, tmp_path, raw_server):
    """Known before anything is sent."""
    store = dataset(tmp_path, [request("GET", "/")])
    done = replay(store, raw_server, "--fail-on", condition, status=2)
    assert len(done.err_lines) == 1 and named in done.err
    assert raw_server.seen == [] and select(store, "select * from replay") == []


# --- the line on a terminal ----------------------------------------------------------------------


def on_terminal(args, until):
    """What the program writes to a terminal, from its start until that is in it; then it is
    stopped."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(binary(), [str(binary()), *map(str, args)], environment())
    seen = b""

    def has_it():
        nonlocal seen
        with contextlib.suppress(OSError):
            seen += os.read(fd, 65536)
        return re.search(until, seen)

    try:
        wait_until(has_it, lambda: f"{until!r} in {seen[-500:]!r}", DEADLINE)
        os.kill(pid, 2)
        with contextlib.suppress(OSError):
            while data := os.read(fd, 65536):
                seen += data
    finally:
        os.waitpid(pid, 0)
        os.close(fd)
    return seen.decode()


def test_the_live_line(tmp_path, raw_server):
    store = dataset(tmp_path, [request("GET", f"/{i}") for i in range(500)], gap_us=100_000)
    args = ["replay", store, "--to", raw_server.url]
    seen = on_terminal(args, rb"[1-9]\d*( of \d+)? sent")
    lines = [line for line in seen.split("\r") if " in flight" in line]
    for word in ("sent", "in flight", "/s", "late", "errors", "p50", "p99"):
        assert word in lines[-1], lines[-1]
    assert "requests " in seen, "the account follows"
