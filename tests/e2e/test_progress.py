# SPDX-License-Identifier: Apache-2.0
"""What a person sees who watches: one line that changes on a terminal, lines of their own
otherwise, none with --quiet."""

import json
import os
import pty
import re
import subprocess
import threading

import pytest
from harness import binary, environment, wait_until

EXCHANGE = {
    "ts_us": 1795341600000000, "connection": 1, "position": 0, "client": "10.0.0.1",
    "client_port": 4000, "server": "10.0.0.2", "server_port": 80, "method": "GET",
    "scheme": "http", "host": "h", "path": "/a", "version": "1.1", "state": "complete",
    "request_headers": [["Host", "h"]],
}  # fmt: skip


class Watched:
    """The program with its stderr on a terminal, and a pipe into it that stays open."""

    def __init__(self, *args):
        self.master, slave = pty.openpty()
        self.said = ""
        self.process = subprocess.Popen(
            [binary(), *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=slave,
            env=environment(),
        )
        os.close(slave)
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        try:
            while some := os.read(self.master, 4096):
                self.said += some.decode()
        except OSError:  # the other end is closed
            pass

    def feed(self, line):
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def wait_for(self, pattern, line):
        """Fed on, so that the program comes to look at its clock."""

        def seen():
            if not re.search(pattern, self.said):
                self.feed(line)
            return re.search(pattern, self.said)

        return wait_until(seen, lambda: f"{pattern!r} in {self.said!r}")

    def end(self):
        self.process.stdin.close()
        status = self.process.wait(60)
        self.reader.join(60)
        os.close(self.master)
        return status


@pytest.fixture
def line(tmp_path):
    """A line of JSON Lines that convert takes, as often as one likes."""
    return (json.dumps(EXCHANGE) + "\n").encode()


def test_a_line_that_changes(tmp_path, line):
    watched = Watched("convert", "--from-format", "jsonl", "-", tmp_path / "out.db")
    try:
        watched.wait_for(r"\r[1-9]\d* exchanges read, \d+ written\x1b\[K", line * 300)
    finally:
        assert watched.end() == 0, watched.said
    first = watched.said.index("exchanges read, ")
    assert "shadow-ctl: " not in watched.said[:first]
    # The account begins on a line of its own, and says more than the progress did.
    account = watched.said.replace("\r\n", "\n").rpartition("\nexchanges: ")[2]
    read, written = map(int, re.match(r"(\d+) read = (\d+) written", account).groups())
    assert read == written > 300


def test_quiet_is_quiet(tmp_path, line):
    watched = Watched("convert", "--from-format", "jsonl", "-", tmp_path / "out.db", "--quiet")
    watched.feed(line * 600)
    assert watched.end() == 0
    assert watched.said == ""
