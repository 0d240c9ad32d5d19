# SPDX-License-Identifier: Apache-2.0
"""What the system gives may end: threads, open files, the size of a file. Each is one line that says
so, and an exit status; never a death."""

import os
import pathlib
import shutil
import tempfile

import pytest
from harness import binary, request, run, select
from pcapfile import simple

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
