# SPDX-License-Identifier: Apache-2.0
"""Where packets come from, and with what rights they are read: files that grow, standard input, gzip,
several interfaces, a process that gives up root, whole connections left out."""

import gzip
import json
import os
import pwd
import signal
import sqlite3
import subprocess

import pytest
from harness import Capture, Running, exchanges, get, run, select, wait_until
from pcapfile import Conversation, PcapFile, simple
from test_capture import adds_up, ledger_of

REQUEST = b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n"


def paths(store):
    return [row[0] for row in select(store, "select path from exchange order by id")]


def stored(store):
    """How many there are by now; none while the store is being made."""
    try:
        return select(store, "select count(*) from exchange")[0][0]
    except sqlite3.OperationalError:
        return 0


def pcap_of(count):
    pcap = PcapFile()
    for n in range(count):
        Conversation(pcap, 40000 + n, at=n * 1000).exchange(n * 1000 + 500, REQUEST % n)
    return pcap.bytes()


def test_follow(tmp_path):
    """A file that is written in awkward pieces while it is read, from nothing at all on."""
    data = pcap_of(20)
    grows, store = tmp_path / "grows.pcap", tmp_path / "out.db"
    grows.touch()
    running = Running(tmp_path, "capture", "-r", grows, "--follow", "-o", store)
    try:
        for at in range(0, len(data), 777):
            with open(grows, "ab") as file:
                file.write(data[at : at + 777])
        wait_until(lambda: stored(store) == 20, "all that was written")
        running.signal(signal.SIGINT)
        running.end()
    finally:
        running.kill()
    assert paths(store) == [f"/{n}" for n in range(20)]


def test_live_pipe(tmp_path):
    """What a slow writer has sent is stored while its pipe stays open, and ^C keeps it."""
    data, store = pcap_of(5), tmp_path / "out.db"
    binary = os.environ.get("SHADOW_CTL", "build/cli/shadow-ctl")
    with subprocess.Popen([binary, "capture", "-r", "-", "-o", store], stdin=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        process.stdin.write(data[:-1])  # the last packet is not whole
        process.stdin.flush()
        wait_until(lambda: stored(store) == 5, "what is in the pipe")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert paths(store) == [f"/{n}" for n in range(5)]


def test_damaged_gzip_gives_what_is_whole(tmp_path):
    packed = gzip.compress(pcap_of(50))
    for name, data in (("cut", packed[:-300]), ("sum", packed[:-8] + b"12345678")):
        (tmp_path / "in.gz").write_bytes(data)
        store = tmp_path / f"{name}.db"
        done = run("capture", "-r", tmp_path / "in.gz", "-o", store)
        assert "gzip data" in done.err
        assert paths(store) == [f"/{n}" for n in range(len(paths(store)))] and paths(store)


def test_stdin_and_gzip(tmp_path):
    data = pcap_of(5)
    (tmp_path / "in.pcap.gz").write_bytes(gzip.compress(data))
    for name, args, stdin in (
        ("stdin", "-", data),
        ("gz", tmp_path / "in.pcap.gz", b""),
        ("both", "-", gzip.compress(data)),
    ):
        store = tmp_path / f"{name}.db"
        binary = os.environ.get("SHADOW_CTL", "build/cli/shadow-ctl")
        subprocess.run([binary, "capture", "-r", args, "-o", store], input=stdin, check=True)
        assert paths(store) == [f"/{n}" for n in range(5)]


def test_several_interfaces(tmp_path, raw_server):
    """The same packets on two handles are one exchange."""
    store = tmp_path / "out.db"
    with Capture(store, "-i", "any", port=raw_server.port, log=tmp_path) as capture:
        for n in range(5):
            get(raw_server.port, f"/{n}")
        capture.signal(signal.SIGINT)
        capture.end()
    assert sorted(paths(store)) == [f"/{n}" for n in range(5)]
    adds_up(ledger_of(store))


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("how", ["option", "sudo"])
def test_root_is_given_up(tmp_path, raw_server, how):
    nobody = pwd.getpwnam("nobody")
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    for parent in folder.parents:  # pytest's own folders are root's alone
        if parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o011)
    args, env = ["--user", "nobody"], {}
    if how == "sudo":
        args, env = [], {"SUDO_UID": str(nobody.pw_uid), "SUDO_GID": str(nobody.pw_gid)}
    store = folder / "out.db"
    running = Running(tmp_path, "capture", "-i", "lo", "--port", raw_server.port, "-o", store,
                      *args, env=env)
    try:
        running.wait_for("capturing on")
        status = status_of(running.process.pid)
        assert status["Uid"].split() == [str(nobody.pw_uid)] * 4
        assert status["Gid"].split() == [str(nobody.pw_gid)] * 4
        assert status["Groups"].split() == []
        assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == 0
        assert status["NoNewPrivs"] == "1"
        get(raw_server.port, "/seen")
        running.signal(signal.SIGINT)
        running.end()
    finally:
        running.kill()
    assert paths(store) == ["/seen"]
    assert store.stat().st_uid == nobody.pw_uid
    assert store.stat().st_mode & 0o777 == 0o600


def test_unknown_user(tmp_path):
    simple(tmp_path / "in.pcap", [REQUEST % 1])
    done = run("capture", "-r", tmp_path / "in.pcap", "-o", tmp_path / "out.db", "--user",
               "no-such-user", status=2)
    assert "no-such-user" in done.err
    assert not (tmp_path / "out.db").exists()


def connections(path, count, requests):
    pcap = PcapFile()
    for n in range(count):
        talk = Conversation(pcap, 20000 + n, at=n * 10000)
        for k in range(requests):
            talk.exchange(n * 10000 + 100 + k * 100, REQUEST % n)
    pcap.write(path)


def test_sample_by_connection(tmp_path):
    """All of a connection or nothing of it; 20% is a subset of 60%; the account says what was not
    even read."""
    connections(tmp_path / "in.pcap", 400, 3)
    kept = {}
    for percent in (20, 60, 100):
        store = tmp_path / f"{percent}.db"
        run("capture", "-r", tmp_path / "in.pcap", "-o", store, "--sample", f"{percent}%",
            "--sample-by", "connection", "--seed", "7")
        counts = select(store, "select client_port, count(*) from exchange group by 1")
        assert {n for _, n in counts} == {3}
        kept[percent] = {port for port, _ in counts}
        ledger = ledger_of(store)
        adds_up(ledger)
        assert ledger["requests"]["seen"] == 3 * len(kept[percent])
        assert (ledger["packets"]["unsampled"] > 0) == (percent < 100)
        assert {s for (s,) in select(store, "select distinct sample from exchange")} == {percent}
    assert kept[20] < kept[60] < kept[100]
    # Binomial, five standard deviations.
    assert 40 <= len(kept[20]) <= 120 and 191 <= len(kept[60]) <= 289


def test_options_are_kept(tmp_path):
    simple(tmp_path / "in.pcap", [REQUEST % 1])
    run("capture", "-r", tmp_path / "in.pcap", "-o", tmp_path / "out.db", "--sample", "50%",
        "--seed", "3", "--route", "/*")
    options = json.loads(select(tmp_path / "out.db", "select options from capture")[0][0])
    assert options["sample"] == 50 and options["seed"] == 3 and options["route"] == ["/*"]
    assert len(exchanges(tmp_path / "out.db")) <= 1
