# SPDX-License-Identifier: Apache-2.0
"""Help and version everywhere; what a person gets wrong is one line and exit status 2, and leaves
nothing behind."""

import re
import subprocess

import pytest
from harness import binary, environment, request, run
from pcapfile import simple

COMMANDS = ["capture", "replay", "mirror", "convert", "explain", "query", "info", "store"]


@pytest.fixture
def folder(tmp_path):
    """A dataset, a capture file and things that are neither."""
    simple(tmp_path / "ok.pcap", [request("GET", "/a")])
    run("capture", "-r", tmp_path / "ok.pcap", "-o", tmp_path / "ok.db")
    (tmp_path / "text.db").write_text("no database, only words about one\n" * 40)
    (tmp_path / "text.pcap").write_text("no packets, only words about some\n" * 40)
    (tmp_path / "empty.pcap").write_bytes(b"")
    (tmp_path / "dir").mkdir()
    return tmp_path


def test_help(tmp_path):
    out = run("--help", cwd=tmp_path).out
    for command in COMMANDS:
        assert re.search(rf"^\s+{command}\b", out, re.M), command
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command, tmp_path):
    done = run(command, "--help", cwd=tmp_path)
    assert done.out.startswith(f"Usage: shadow-ctl {command}")
    assert "examples" in done.out.lower()
    assert done.err == ""
    assert all(len(line) <= 100 for line in done.lines)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("args", [["--version"], *([c, "--version"] for c in COMMANDS)])
def test_version(args, tmp_path):
    done = run(*args, cwd=tmp_path)
    assert re.fullmatch(r"shadow-ctl \d+\.\d+\.\d+.*\n", done.out)
    assert not list(tmp_path.iterdir())


# Arguments, and a word that the line must contain so that the person knows what to change.
WRONG = [
    ("", ""),
    ("frobnicate", "frobnicate"),
    ("--frobnicate", "frobnicate"),
    ("capture", ""),
    ("capture -o new.db", "-i"),
    ("capture -i lo -r ok.pcap -o new.db", "-r"),
    ("capture -r ok.pcap -o new.db --frobnicate", "frobnicate"),
    ("capture -r ok.pcap -o new.db stray", "stray"),
    ("capture -r", "-r"),
    ("capture -r missing.pcap -o new.db", "missing.pcap"),
    ("capture -r text.pcap -o new.db", "text.pcap"),
    ("capture -r empty.pcap -o new.db", "empty.pcap"),
    ("capture -r dir -o new.db", "dir"),
    ("capture -i no-such-interface0 -o new.db", "no-such-interface0"),
    ("capture -r ok.pcap -o new.db --port 0", "0"),
    ("capture -r ok.pcap -o new.db --port 65536", "65536"),
    ("capture -r ok.pcap -o new.db --port http", "http"),
    ("capture -r ok.pcap -o new.db --bpf tcp(port", "tcp(port"),
    ("capture -r ok.pcap -o new.db --sample 101%", "101"),
    ("capture -r ok.pcap -o new.db --sample -1", "-1"),
    ("capture -r ok.pcap -o new.db --sample half", "half"),
    ("capture -r ok.pcap -o new.db --seed x", "x"),
    ("capture -r ok.pcap -o new.db --route get", "get"),
    ("capture -r ok.pcap -o new.db --route ~(", "("),
    ("capture -r ok.pcap -o new.db --exclude ~[", "["),
    ("capture -r ok.pcap -o new.db --count 0", "0"),
    ("capture -r ok.pcap -o new.db --count many", "many"),
    ("capture -r ok.pcap -o new.db --duration 5parsecs", "5parsecs"),
    ("capture -r ok.pcap -o new.db --max-body 1X", "1X"),
    ("capture -r ok.pcap -o new.db --count +1", "+1"),
    ("capture -r ok.pcap -o new.db --port +80", "+80"),
    ("capture -r ok.pcap -o new.db --port 80,+81", "+81"),
    ("capture -r ok.pcap -o new.db --duration 0x10", "0x10"),
    ("capture -r ok.pcap -o new.db --duration 0.0001ms", "less than a microsecond"),
    ("mirror -r ok.pcap --to http://127.0.0.1:1 --timeout 0x10", "0x10"),
    ("mirror -r ok.pcap --to http://127.0.0.1:1 --circuit +1", "+1"),
    ("mirror -r ok.pcap --to http://127.0.0.1:1 --methods -1", "-1"),
    ("mirror -r ok.pcap --to http://127.0.0.1:1 --set-query x", "NAME=VALUE"),
    ("capture -r ok.pcap -o text.db", "text.db"),
    ("capture -r ok.pcap -o dir", "dir"),
    ("capture -r ok.pcap -o no/such/folder.db", "folder.db"),
    ("replay", ""),
    ("replay ok.db", "--to"),
    ("replay missing.db --to http://127.0.0.1:1", "missing.db"),
    ("replay text.db --to http://127.0.0.1:1", "text.db"),
    ("replay ok.db --to 127.0.0.1:1/path", "path"),
    ("replay ok.db --to ftp://127.0.0.1", "ftp"),
    ("replay ok.db --to http://127.0.0.1:1#here", "fragment"),
    ("replay ok.db --to http://", "http://"),
    ("replay ok.db --to http://127.0.0.1:99999", "99999"),
    ("replay ok.db --to http://127.0.0.1:1 --rate fast", "fast"),
    ("replay ok.db --to http://127.0.0.1:1 --methods get", "get"),
    ("replay ok.db --to http://127.0.0.1:1 --methods all,POST", "all,POST"),
    ("replay ok.db --to http://127.0.0.1:1 --from 2026-02-30", "2026-02-30"),
    ("replay ok.db --to http://127.0.0.1:1 --hdr=", "--hdr"),
    ("replay ok.db --to http://127.0.0.1:1 --rate 0", "0"),
    ("replay ok.db --to http://127.0.0.1:1 --speed 0", "0"),
    ("replay ok.db --to http://127.0.0.1:1 --speed -2", "-2"),
    ("replay ok.db --to http://127.0.0.1:1 --rate 5/s --max", "--max"),
    ("replay ok.db --to http://127.0.0.1:1 --speed 2 --rate 5/s", "--rate"),
    ("replay ok.db --to http://127.0.0.1:1 --rewrite nothing", "nothing"),
    ("replay ok.db --to http://127.0.0.1:1 --rewrite ~(=x", "("),
    ("replay ok.db --to http://127.0.0.1:1 --methods G(T", "G(T"),
    ("replay ok.db --to http://127.0.0.1:1 --connections 0", "0"),
    ("replay ok.db --to http://127.0.0.1:1 --connections 1000000", "1000000"),
    ("replay ok.db --to http://127.0.0.1:1 --timeout never", "never"),
    ("replay ok.db --to http://127.0.0.1:1 --timeout 0x10", "0x10"),
    ("replay ok.db --to http://127.0.0.1:1 --timeout 0.0001ms", "less than a microsecond"),
    ("replay ok.db --to http://127.0.0.1:1 --duration 0.0001ms", "less than a microsecond"),
    ("replay ok.db --to http://127.0.0.1:1 --drop-late 0.0001ms", "less than a microsecond"),
    ("replay ok.db --to http://127.0.0.1:1 --drop-late 0x10", "0x10"),
    ("replay ok.db --to http://127.0.0.1:1 --from +0x10", "+0x10"),
    ("replay ok.db --to http://127.0.0.1:1 --loop +1", "+1"),
    ("replay ok.db --to http://127.0.0.1:1 --methods -1", "-1"),
    ("replay ok.db --to http://127.0.0.1:1 --methods GET,7", "GET,7"),
    ("replay ok.db --to http://127.0.0.1:1 --set-query x", "NAME=VALUE"),
    ("replay ok.db --to http://127.0.0.1:1 --set-header x", "Name: value"),
    ("replay ok.db --to http://127.0.0.1:1 --add-header x", "Name: value"),
    ("replay ok.db --to http://127.0.0.1:1 --save some", "some"),
    ("replay ok.db ok.db --to http://127.0.0.1:1", "ok.db"),
    ("query", ""),
    ("query missing.db status", "missing.db"),
    ("query ok.db no-such-name", "no-such-name"),
    ("query ok.db SELECT/**/frobnicate", "frobnicate"),
    ("query ok.db DELETE/**/FROM/**/exchange", ""),
    ("query ok.db SELECT/**/1;SELECT/**/2", ""),
    ("query ok.db status --csv --json", "--json"),
    ("query text.db status", "text.db"),
    ("info", ""),
    ("info missing.db", "missing.db"),
    ("info text.db", "text.db"),
    ("info dir", "dir"),
]


def contents(folder):
    return {p: p.is_file() and p.read_bytes() for p in folder.rglob("*")}


@pytest.mark.parametrize("line, word", WRONG, ids=[line or "nothing" for line, _ in WRONG])
def test_wrong_usage(line, word, folder):
    before = contents(folder)
    done = run(*line.split(), cwd=folder, status=2)
    assert len(done.err_lines) == 1, done.err
    assert done.err.startswith("shadow-ctl: ") and word in done.err
    assert done.out == ""
    assert contents(folder) == before


def test_options_before_or_after_operands(folder):
    for args in (["ok.db", "--csv", "status"], ["--csv", "ok.db", "status"], ["ok.db", "status"]):
        run("query", *args, cwd=folder)
    run("query", "ok.db", "--", "status", cwd=folder)
    run("capture", "--read=ok.pcap", "--output=again.db", cwd=folder)


def test_output_that_cannot_be_written(folder):
    """A full disk on stdout is a failure, not a success with less to read."""
    with open("/dev/full", "wb") as full:
        p = subprocess.run(
            [binary(), "query", folder / "ok.db", "select 1"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            check=False,
        )
    assert p.returncode == 1
    assert len(p.stderr.splitlines()) == 1
