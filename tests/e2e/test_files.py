# SPDX-License-Identifier: Apache-2.0
"""Several capture files as one recording. What comes out of a recording that was cut anywhere,
packed and named in any way must be what comes out of the whole one, row for row."""

import gzip
import json
import os
import pathlib
import pwd
import random
import subprocess
import sys

import pytest
from harness import one, request, run, select
from pcapfile import Conversation, PcapFile, simple
from servers.raw import RawServer
from test_capture import adds_up, ledger_of

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "captures"))

import cases_link  # noqa: E402, F401
import cases_random  # noqa: E402, F401
import wire  # noqa: E402
from registry import CASES  # noqa: E402

ETHERNET, RAW, SLL, SLL2 = 1, 101, 113, 276
ITS_OWN = {"started_at", "ended_at", "source", "options"}  # of a capture


def contents(store):
    """Every row of every table, without what says when and from where."""
    tables = select(store, "select name from sqlite_schema where type = 'table' order by name")
    out = {}
    for (name,) in tables:
        rows = [dict(row) for row in select(store, f"select * from {name}")]
        out[name] = [{k: v for k, v in row.items() if name != "capture" or k not in ITS_OWN}
                     for row in rows]
    return out


def captured(store, *args, status=0):
    store.unlink(missing_ok=True)
    done = run("capture", "-o", store, *args, status=status)
    adds_up(ledger_of(store))
    assert one(store, "select count(*) from capture") == 1
    return done


def paths(store):
    return [row[0] for row in select(store, "select path from exchange order by ts_us, id")]


def each(files):
    return [word for file in files for word in ("-r", file)]


# --- recordings ----------------------------------------------------------------------------------


def frames_of(name):
    """The packets of a generated capture; no two of them at the same time."""
    frames = CASES[name].capture().frames
    assert all(a.ns // 1000 < b.ns // 1000 for a, b in zip(frames, frames[1:]))
    return frames


def fragments():
    """Two datagrams in pieces, with other connections between them."""
    frames = CASES["fragments/interleaved"].capture().frames
    return [wire.Frame(f.ns + i * 1000, f.data, f.length) for i, f in enumerate(frames)]


RECORDINGS = {
    **{f"random-{n}": lambda n=n: frames_of(f"random/lossless/{n}") for n in range(0, 24, 4)},
    "fragments": fragments,
}


def pack(frames, path, how):
    """Writes them as a file of that kind."""
    kinds = {
        "pcap": lambda: wire.pcap(frames, ETHERNET),
        "nano": lambda: wire.pcap(frames, ETHERNET, ">", nano=True),
        "pcapng": lambda: wire.pcapng(frames, [("<", [wire.Interface(ETHERNET)])]),
        "gz": lambda: gzip.compress(wire.pcap(frames, ETHERNET)),
        "ng.gz": lambda: gzip.compress(wire.pcapng(frames, [(">", [wire.Interface(ETHERNET)])])),
    }
    path.write_bytes(kinds[how]())
    return path


KINDS = ["pcap", "pcap", "nano", "pcapng", "gz", "ng.gz"]


def cut(rng, frames, folder, parts):
    """Files whose names stand in no order of time, some of them with no packet at all."""
    cuts = sorted(rng.sample(range(1, len(frames)), min(parts, len(frames)) - 1))
    names = rng.sample(range(1000), len(cuts) + 2)
    folder.mkdir()
    for name, a, b in zip(names, [0, *cuts], [*cuts, len(frames)]):
        pack(frames[a:b], folder / f"part{name}", rng.choice(KINDS))
    pack([], folder / f"part{names[-1]}", rng.choice(KINDS))


# --- one recording -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("parts", [2, 5, 12])
def test_a_cut_recording_is_the_whole_one(name, parts, tmp_path):
    frames = RECORDINGS[name]()
    rng = random.Random(parts)
    captured(tmp_path / "whole.db", "-r", pack(frames, tmp_path / "whole", "pcap"))
    cut(rng, frames, tmp_path / "parts", parts)
    done = captured(tmp_path / "parts.db", "-r", tmp_path / "parts" / "part*")
    assert contents(tmp_path / "parts.db") == contents(tmp_path / "whole.db")
    assert paths(tmp_path / "whole.db") and "ends inside" not in done.err


@pytest.mark.parametrize("said, counted", [
    (300_000_000_000, 0), (-300_000_000_000, 0), (2**63 - 1, 0), (-(2**63), 0),
    (0, 300_000_000_000), (-1_000_000_000_000, 300_000_000_000),
])
def test_what_is_no_time_is_none(said, counted, tmp_path):
    """Beyond the years that SQLite and JSON Lines know."""
    frames = frames_of("random/lossless/0")
    sections = [("<", [wire.Interface(ETHERNET, offset=said)])]
    early = wire.Interface(ETHERNET, offset=-counted)
    (tmp_path / "odd").write_bytes(
        wire.pcapng(frames, sections, lambda order, f, _: wire.packet_block(order, f, early)))
    captured(tmp_path / "odd.db", "-r", tmp_path / "odd")
    captured(tmp_path / "whole.db", "-r", pack(frames, tmp_path / "whole", "pcap"))
    assert sorted(paths(tmp_path / "odd.db")) == sorted(paths(tmp_path / "whole.db")) != []
    assert [row[0] for row in select(tmp_path / "odd.db", "select distinct ts_us from exchange")] == [0]


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("ways", [2, 3, 7])
def test_dealt_out_recordings_are_merged(name, ways, tmp_path):
    """As several tcpdumps make them that run at the same time."""
    frames = RECORDINGS[name]()
    captured(tmp_path / "whole.db", "-r", pack(frames, tmp_path / "whole", "pcap"))
    files = [pack(frames[n::ways], tmp_path / f"{ways - n}", KINDS[n % len(KINDS)])
             for n in range(ways)]
    captured(tmp_path / "parts.db", *each(files))
    assert contents(tmp_path / "parts.db") == contents(tmp_path / "whole.db")


def test_random_hands(tmp_path):
    """Each packet goes to a file by chance: runs, gaps, long overlaps and short ones."""
    rng = random.Random(1)
    frames = frames_of("random/lossless/5")
    captured(tmp_path / "whole.db", "-r", pack(frames, tmp_path / "whole", "pcap"))
    for turn in range(6):
        hands, hand = [[] for _ in range(rng.randrange(2, 9))], 0
        for f in frames:
            if rng.random() < 0.2:
                hand = rng.randrange(len(hands))
            hands[hand].append(f)
        files = [pack(h, tmp_path / f"{turn}-{n}", rng.choice(KINDS)) for n, h in enumerate(hands)]
        rng.shuffle(files)
        captured(tmp_path / "parts.db", *each(files))
        assert contents(tmp_path / "parts.db") == contents(tmp_path / "whole.db")


def test_link_types_may_differ(tmp_path):
    """One connection, each of its packets seen by another kind of interface."""
    frames = frames_of("random/lossless/0")
    captured(tmp_path / "whole.db", "-r", pack(frames, tmp_path / "whole", "pcap"))

    def again(way, rows):
        out = []
        for f in rows:
            data = way(wire.Packet(int.from_bytes(f.data[12:14], "big"), f.data[14:])).data
            out.append(wire.Frame(f.ns, data, len(data)))
        return out

    (tmp_path / "sll").write_bytes(wire.pcap(again(wire.sll(), frames[1::4]), SLL))
    cooked = wire.pcap(again(wire.sll2(), frames[2::4]), SLL2)
    (tmp_path / "sll2").write_bytes(gzip.compress(cooked))
    sections = [("<", [wire.Interface(RAW)])]
    (tmp_path / "raw").write_bytes(wire.pcapng(again(wire.raw(), frames[3::4]), sections))
    files = [pack(frames[::4], tmp_path / "ethernet", "pcap"),
             *(tmp_path / name for name in ("sll", "sll2", "raw"))]
    for bpf in ((), ("--bpf", "tcp port 80")):
        captured(tmp_path / "parts.db", *each(files), *bpf)
        assert contents(tmp_path / "parts.db") == contents(tmp_path / "whole.db")


def test_a_filter_for_every_link_type(tmp_path):
    """Each of them has a program of its own."""
    files, links = [], {}
    for name, case in CASES.items():
        if name.startswith("link/"):
            capture = case.capture()
            links.setdefault(capture.link, capture)
    for number, capture in links.items():
        files.append(tmp_path / f"{number}")
        files[-1].write_bytes(capture.bytes())
    assert len(links) > 10
    captured(tmp_path / "all.db", *each(files), "--bpf", "len >= 1")
    ledger = ledger_of(tmp_path / "all.db")["packets"]
    assert ledger["seen"] == sum(len(c.frames) for c in links.values())
    assert ledger["bpf"] == 0


@pytest.mark.live
def test_what_tcpdump_rotated(tmp_path):
    """Its names are x, x1, x2 ... x10: not in the order of a glob."""
    pcap = PcapFile()
    body = bytes(range(256)) * 500
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    talks = [Conversation(pcap, 40000 + n, at=n) for n in range(3)]
    for n in range(100):
        talks[n % 3].exchange(1000 + n * 3000, b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n, answer)
    pcap.write(tmp_path / "whole")
    rotate = ["-w", tmp_path / "x", "-C", "1", "-Z", "root"]
    subprocess.run(["tcpdump", "-r", tmp_path / "whole", *rotate], check=True, capture_output=True)
    assert (tmp_path / "x10").exists()
    captured(tmp_path / "whole.db", "-r", tmp_path / "whole")
    captured(tmp_path / "parts.db", "-r", tmp_path / "x*")
    assert contents(tmp_path / "parts.db") == contents(tmp_path / "whole.db")
    assert paths(tmp_path / "parts.db") == [f"/{n}" for n in range(100)]


REQUEST = b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def row_of(folder, count, requests=3):
    """Files one after the other, each with a connection of its own; the last by name first."""
    files = []
    for n in range(count):
        pcap = PcapFile()
        talk = Conversation(pcap, 20000 + n, at=n * 10000)
        for k in range(requests):
            talk.exchange(n * 10000 + 100 + k * 2000, REQUEST % (n * requests + k))
        files.append(pcap.write(folder / f"{count - n:04}.pcap"))
    return files


def test_as_many_as_there_may_be(tmp_path):
    row_of(tmp_path, 1024)
    captured(tmp_path / "out.db", "-r", tmp_path / "*.pcap")
    assert paths(tmp_path / "out.db") == [f"/{n}" for n in range(1024 * 3)]
    row_of(tmp_path, 1025)
    done = run("capture", "-r", tmp_path / "*.pcap", "-o", tmp_path / "no.db", status=2)
    assert "more than 1024" in done.err and not (tmp_path / "no.db").exists()


@pytest.mark.parametrize("order, status", [(1, 200), (-1, None)])
def test_at_equal_times_the_first_file_comes_first(order, status, tmp_path):
    """Each holds one side of a connection, all of it at one time. An answer that comes before its
    request is none."""
    pcap = PcapFile()
    talk = Conversation(pcap, 40000)
    talk.request(0, REQUEST % 1)
    talk.response(0, ANSWER)
    client, server = PcapFile(), PcapFile()
    for number, (at, _, data) in enumerate(pcap.frames):
        (client if data[26:30] == b"\x0a\0\0\1" else server).frames.append((at, number, data))
    files = [client.write(tmp_path / "client"), server.write(tmp_path / "server")][::order]
    captured(tmp_path / "out.db", *each(files))
    assert one(tmp_path / "out.db", "select status from exchange") == status
    options = json.loads(one(tmp_path / "out.db", "select options from capture"))
    assert options["files"] == [str(f) for f in files]


# --- where it ends -------------------------------------------------------------------------------


def test_duration_is_from_the_first_packet_of_all(tmp_path):
    files = row_of(tmp_path, 6)
    captured(tmp_path / "out.db", *each(reversed(files)), "--duration", "30ms")
    assert paths(tmp_path / "out.db") == [f"/{n}" for n in range(9)]
    assert ledger_of(tmp_path / "out.db")["packets"]["seen"] == 3 * 15


def test_count(tmp_path):
    captured(tmp_path / "out.db", *each(row_of(tmp_path, 6)), "--count", "7")
    assert paths(tmp_path / "out.db") == [f"/{n}" for n in range(7)]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_file_that_breaks_off_is_named_and_the_others_are_read(which, tmp_path):
    files = row_of(tmp_path, 3)
    data = files[which].read_bytes()
    files[which].write_bytes(data[:-30] if which else gzip.compress(data)[:-40])
    done = captured(tmp_path / "out.db", *each(files))
    said = [line for line in done.err_lines if "ends inside" in line]
    assert len(said) == 1 and f"{files[which]}: ends inside" in said[0]
    numbers = {int(path[1:]) // 3 for path in paths(tmp_path / "out.db")}
    assert numbers == {0, 1, 2}


def test_every_file_that_breaks_off_is_named(tmp_path):
    """Also one that does so in its first packet, and has none."""
    files = row_of(tmp_path, 4)
    for file, keep in zip(files, (-30, 30, -1)):
        file.write_bytes(file.read_bytes()[:keep])
    done = captured(tmp_path / "out.db", *each(files))
    said = [line for line in done.err_lines if "ends inside a record" in line]
    assert [line.split(": ")[1] for line in said] == [str(f) for f in files[:3]]


def test_nothing_but_headers(tmp_path):
    files = [pack([], tmp_path / kind, kind) for kind in dict.fromkeys(KINDS)]
    done = captured(tmp_path / "out.db", *each(files))
    assert paths(tmp_path / "out.db") == []
    assert "no packet was seen: is each of the files right?" in done.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_files_that_only_root_may_read(tmp_path):
    """They are open before root is given up."""
    files = row_of(tmp_path, 3)
    nobody = pwd.getpwnam("nobody")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, nobody.pw_uid, nobody.pw_gid)
    for parent in theirs.parents:  # pytest's own folders are root's alone
        if parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o011)
    for file in files:
        file.chmod(0o600)
    captured(theirs / "out.db", *each(files), "--user", "nobody")
    assert paths(theirs / "out.db") == [f"/{n}" for n in range(9)]


# --- what does not go ----------------------------------------------------------------------------

# Arguments behind two good files, and what the line says.
WRONG = [
    (["-r", "missing.pcap"], "missing.pcap: No such file"),
    (["-r", "text.pcap"], "text.pcap: unknown format, not a pcap or pcapng file"),
    (["-r", "text.gz"], "text.gz: unknown format, not a pcap or pcapng file"),
    (["-r", "empty.pcap"], "empty.pcap: empty, not a pcap or pcapng file"),
    (["-r", "dir"], "dir: is a directory"),
    (["-r", "fifo"], "fifo: not a plain file"),
    (["-r", "no-*.pcap"], "'no-*.pcap': no file has such a name"),
    (["-r", "one.pcap"], "one.pcap: is there twice"),
    (["-r", "./o?e.pcap"], "./one.pcap: is there twice"),
    (["-r", "-"], "-r -: standard input goes with no other file"),
    (["--follow"], "--follow: only for one file, and there are 2"),
    (["-i", "lo"], "expected either -i IFACE or -r FILE"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("files")
    simple(path / "one.pcap", [request("GET", "/a")])
    simple(path / "two.pcap", [request("GET", "/b")], at=10)
    (path / "text.pcap").write_text("no packets, only words about some\n" * 40)
    (path / "text.gz").write_bytes(gzip.compress(b"no packets, only words about some\n" * 40))
    (path / "empty.pcap").write_bytes(b"")
    (path / "dir").mkdir()
    os.mkfifo(path / "fifo")
    return path


@pytest.mark.parametrize("command", ["capture", "mirror"])
@pytest.mark.parametrize("args, line", WRONG, ids=[" ".join(w) for w, _ in WRONG])
def test_wrong(command, args, line, folder):
    more = ["-o", "new.db"]
    if command == "mirror":
        more = ["--to", "http://127.0.0.1:9", "--tee", "new.db"]
    done = run(command, "-r", "one.pcap", "-r", "two.pcap", *args, *more, cwd=folder, status=2)
    assert len(done.err_lines) == 1 and line in done.err
    assert not (folder / "new.db").exists()


def test_a_glob_of_one_may_grow(folder, tmp_path):
    """What a glob finds decides, not how it was written; and a name with a star in it is a name."""
    (tmp_path / "a*").write_bytes((folder / "one.pcap").read_bytes())
    (tmp_path / "ab").write_bytes((folder / "two.pcap").read_bytes())
    captured(tmp_path / "out.db", "-r", tmp_path / "a*")
    assert paths(tmp_path / "out.db") == ["/a"]
    captured(tmp_path / "out.db", "-r", tmp_path / "?b")
    assert paths(tmp_path / "out.db") == ["/b"]
    options = json.loads(one(tmp_path / "out.db", "select options from capture"))
    assert options["file"] == str(tmp_path / "ab") and "files" not in options


# --- mirror --------------------------------------------------------------------------------------


def test_mirror(tmp_path):
    """Requests of one connection, with one that begins in one file and ends in the other."""
    pcap = PcapFile()
    talk = Conversation(pcap, 40000)
    made = [request("GET", f"/{n}", [b"X-Pad: " + b"x" * (n * 97 % 2000)]) for n in range(40)]
    for n, data in enumerate(made):
        talk.exchange(n * 2000, data)
    frames = sorted(pcap.frames)
    middle = next(i for i, f in enumerate(frames) if i > len(frames) // 2 and len(f[2]) > 1500)
    for name, part in (("b", frames[: middle + 1]), ("a", frames[middle + 1 :])):
        half = PcapFile()
        half.frames = part
        half.write(tmp_path / name)
    with RawServer() as target:
        done = run("mirror", "-r", tmp_path / "a", "-r", tmp_path / "b", "--to", target.url,
                   "--json", "--tee", tmp_path / "tee.db")
        assert [seen.target for seen in target.seen] == [f"/{n}" for n in range(40)]
    account = json.loads(done.out)
    assert account["targets"][0]["answered"] == 40
    assert account["capture"]["requests"]["stored"] == 40
    assert paths(tmp_path / "tee.db") == [f"/{n}" for n in range(40)]
    assert not any("ends inside" in line for line in done.err_lines)
    source = one(tmp_path / "tee.db", "select source from capture")
    assert source == f"2 files, the first {tmp_path / 'a'}"


def test_mirror_names_what_breaks_off(tmp_path):
    files = row_of(tmp_path, 3)
    for file in files[:2]:
        file.write_bytes(file.read_bytes()[:-30])
    with RawServer() as target:
        done = run("mirror", *each(files), "--to", target.url)
        assert len(target.seen) == 9
    said = [line.split(": ")[1] for line in done.err_lines if "ends inside a record" in line]
    assert said == [str(f) for f in files[:2]]
