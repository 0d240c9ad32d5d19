# SPDX-License-Identifier: Apache-2.0
"""What the system gives may end: threads, open files, the size of a file. Each is one line that says
so, and an exit status; never a death."""

import os
import pathlib
import random
import re
import shutil
import subprocess
import tempfile

import pytest
from harness import binary, environment, one, request, run, select
from pcapfile import simple
from servers.moods import MoodyServer, raw

SOMEBODY = 54321  # of whom nothing else runs: limits on threads are a user's, and none of root's


@pytest.fixture
def anyones(monkeypatch):
    """A folder with the program and a dataset that every user may read and write."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        simple(folder / "in.pcap", [request("GET", f"/{n}") for n in range(3)])
        run("capture", "-r", folder / "in.pcap", "-o", folder / "shadow.db", "--quiet")
        shutil.copy(binary(), folder / "program")
        monkeypatch.setenv("SHADOW_CTL", str(folder / "program"))
        for path in folder.iterdir():
            path.chmod(0o777)
        folder.chmod(0o777)
        yield folder


def few_threads(n):
    limit = ["prlimit", f"--nproc={n}"]
    if os.geteuid():
        return limit
    return [*limit, "setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups"]


TO = "--to http://127.0.0.1:1 --quiet"
TWO = "--to http://127.0.0.1:2"


# A replay has at least three beside the main one.
@pytest.mark.parametrize(
    "args, threads",
    [
        (f"replay shadow.db {TO} --workers 1", 1),
        (f"replay shadow.db {TO} --workers 1", 2),
        (f"replay shadow.db {TO} --workers 1", 3),
        (f"replay shadow.db {TO} {TWO} --workers 2", 1),
        (f"replay shadow.db {TO} {TWO} --workers 2", 3),
        (f"replay shadow.db {TO} {TWO} --workers 2", 5),
        (f"replay shadow.db {TO} --workers 1 --middleware cat", 3),
        ("capture -r in.pcap -o new.db", 1),
        ("capture -r in.pcap -o new.db --rotate 1h", 1),
        (f"mirror -r in.pcap {TO} {TWO} --tee new.db", 1),
        (f"mirror -r in.pcap {TO} {TWO} --tee new.db", 2),
    ],
)
def test_no_thread(args, threads, anyones):
    done = run(
        *args.split(),
        status=1,
        cwd=anyones,
        prefix=few_threads(threads),
        # Which looks for leaks in a process of its own.
        env={"ASAN_OPTIONS": "detect_leaks=0"},
    )
    assert done.err == (
        "shadow-ctl: no thread could be started: Resource temporarily unavailable\n"
    )
    assert not select(anyones / "shadow.db", "select 1 from replay where ended_at is not null")


@pytest.fixture
def large(tmp_path):
    """Where no file may grow beyond 200 KiB, and the datasets are larger."""
    body = random.Random(1).randbytes(20000)
    simple(
        tmp_path / "in.pcap",
        [
            request("POST", f"/bad/{n}", [b"Content-Length: 20000"], body[n:] + body[:n])
            for n in range(40)
        ],
    )
    run("capture", "-r", tmp_path / "in.pcap", "-o", tmp_path / "shadow.db", "--quiet")
    return tmp_path


@pytest.mark.parametrize(
    "args",
    [
        "capture -r in.pcap -o new.db --quiet",
        "capture -r in.pcap -o new.db --rotate 1h --quiet",
        f"mirror -r in.pcap {TO} --tee new.db --methods all",
        f"replay in.pcap -o new.db {TO}",
        "convert in.pcap new.db --quiet",
        "convert shadow.db new.jsonl --quiet",
        "convert shadow.db new.har.gz --quiet",
        "store merge shadow.db -o new.db",
        "store vacuum shadow.db",
    ],
)
def test_a_file_that_may_not_grow(args, large):
    done = run(*args.split(), status=1, cwd=large, prefix=["prlimit", "--fsize=204800"])
    assert re.search(r"^shadow-ctl: \S+: .*File too large", done.err, re.M), done.err


def test_results_that_may_not_grow(large):
    length = b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n"
    with MoodyServer(raw(length + b"x" * 400_000)) as server:
        done = run(
            *("replay", "shadow.db", "--to", server.url, "--max", "--methods", "all", "--quiet"),
            status=1,
            cwd=large,
            prefix=["prlimit", "--fsize=204800"],
        )
    assert done.err == "shadow-ctl: shadow.db: disk I/O error (File too large)\n"
    assert one(large / "shadow.db", "select ended_at is null from replay")


def test_output_that_may_not_grow(large):
    with open(large / "out", "wb") as out:
        p = subprocess.run(
            ["prlimit", "--fsize=204800", binary(), "query"]
            + [large / "shadow.db", "select hex(data) from body"],
            stdout=out,
            stderr=subprocess.PIPE,
            env=environment(),
            check=False,
        )
    assert p.returncode == 1
    assert p.stderr == b"shadow-ctl: cannot write the result: File too large\n"


# How many files may be open, and how many connections to each target that leaves.
@pytest.mark.parametrize(
    "limit, args, line",
    [
        (2111, "", "at most 1023 connections at once, fewer than by default: 2111 open files"),
        (80, "", "at most 8 connections at once, fewer than by default: 80 open files"),
        (80, TWO, "at most 4 connections at once to each target, fewer than by default"),
        (66, "--max", "at most 1 connection at once, fewer than by default: 66 open files"),
        (2112, "", None),
        (192, "--max", None),
        (80, "--quiet", None),
        (80, "--connections 8", None),
        (80, "--max-in-flight 4 --max", None),
    ],
)
def test_fewer_connections(limit, args, line, large):
    with MoodyServer(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as server:
        to = server.url if TWO not in args else f"http://localhost:{server.port}"
        done = run(
            *("replay", "shadow.db", "--to", to, "--methods", "POST"),
            *args.replace(TWO, f"--to {server.url}").split(),
            cwd=large,
            prefix=["prlimit", f"--nofile={limit}:{limit}"],
        )
    said = [at for at in done.err_lines if "fewer than by default" in at]
    assert len(said) == (line is not None)
    assert not line or line in said[0]


@pytest.mark.parametrize(
    "limit, args, line",
    [
        (65, "", "one connection to each target wants 66 open files, and 65 are allowed"),
        (67, TWO, "one connection to each target wants 68 open files, and 67 are allowed"),
        (80, "--connections 9", "9 connections want 82 open files, and 80 are allowed"),
        (80, "--max-in-flight 9", "9 connections want 82 open files, and 80 are allowed"),
    ],
)
def test_no_connection(limit, args, line, large):
    done = run(
        *f"replay shadow.db {TO} {args}".split(),
        status=2,
        cwd=large,
        prefix=["prlimit", f"--nofile={limit}:{limit}"],
    )
    assert len(done.err_lines) == 1 and line in done.err
    assert not select(large / "shadow.db", "select 1 from replay")
