# SPDX-License-Identifier: Apache-2.0
"""Several files of any format as one dataset: what convert makes of them is what a merged store
gives, and a replay of them sends what is in them; few are open at once; and half a dataset is never
taken for a whole one."""

import contextlib
import gzip
import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3

import pytest
from harness import Running, exchanges, integrity, one, request, run, select, wait_until
from pcapfile import START_US, Conversation, PcapFile
from servers.raw import RawServer

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsame"


def pcap(folder, name, times, server_port=80):
    """A capture file with a request at each of these times (us after START_US), whose path says which
    it is, on two connections by turns. All files made so have connections of equal numbers."""
    file = PcapFile()
    talks = []
    for i, at in enumerate(times):
        if i < 2:
            talks.append(Conversation(file, 40000 + i, server_port=server_port, at=at))
        talks[i % 2].exchange(at, request("GET", f"/{name}/{at}"), ANSWER)
    return file.write(folder / f"{name}.pcap")


def store(folder, name, times, **more):
    run("capture", "-r", pcap(folder, name, times, **more), "-o", folder / f"{name}.db")
    return folder / f"{name}.db"


def written(path, kind):
    """Another form of what is in a store."""
    run("convert", path, path.with_suffix(kind))
    return path.with_suffix(kind)


def convert(*args, status=0, **more):
    return run("convert", *args, "--json", status=status, **more)


def lines(path):
    return [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]


def paths(path):
    return [line["path"] for line in lines(path)]


def in_order(**files):
    """The paths of such files, by time."""
    all_of = [(at, f"/{name}/{at}") for name, times in files.items() for at in times]
    return [path for _, path in sorted(all_of, key=lambda x: x[0])]


def renamed(values):
    """Numbers by their first appearance, so that which requests share one is what counts."""
    seen = {}
    return [seen.setdefault(v, len(seen)) for v in values]


A, B, C = [0, 3000, 9000, 9000, 20_000], [1000, 2000, 9000], [500, 10_000, 30_000, 40_000]


@pytest.fixture(name="three")
def fixture_three(tmp_path):
    return [store(tmp_path, n, t) for n, t in (("a", A), ("b", B), ("c", C))]


# --- one dataset ---------------------------------------------------------------------------------


def as_jsonl(path):
    found = lines(path)
    connections = renamed(line.pop("connection") for line in found)
    for line in found:
        line.pop("id")
    return found, connections


def as_har(path):
    found = json.loads(path.read_bytes())["log"]["entries"]
    connections = renamed(e.pop("connection") for e in found)
    for e in found:
        for name in [k for k in e if k.startswith("_")]:
            more = e.pop(name)
            if isinstance(more, dict):
                e[name] = {k: v for k, v in more.items() if k not in ("id", "connection")}
    return found, connections


def as_gor(path):
    records = path.read_bytes().split("\n🐵🙈🙉\n".encode())
    heads = [r.partition(b"\n")[0].split(b" ") for r in records if r]
    bodies = [r.partition(b"\n")[2] for r in records if r]
    return [(h[0], *h[2:]) for h in heads], bodies, renamed(h[1] for h in heads)


@pytest.mark.parametrize("kind, read", [(".jsonl", as_jsonl), (".har", as_har), (".gor", as_gor)])
def test_several_stores_are_as_one(three, tmp_path, kind, read):
    run("store", "merge", *three, "-o", tmp_path / "merged.db")
    run("convert", tmp_path / "merged.db", tmp_path / f"merged{kind}")
    run("convert", *three, tmp_path / f"several{kind}")
    assert read(tmp_path / f"several{kind}") == read(tmp_path / f"merged{kind}")


def test_order_ties_and_connections(three, tmp_path):
    numbers = [{r["connection"] for r in exchanges(s)} for s in three]
    assert len(numbers[0]) == 2 and numbers[0] == numbers[1] == numbers[2]
    run("convert", *three, tmp_path / "all.jsonl")
    # At 9000 the first two files have three: in the order of the files, and of each of them.
    assert paths(tmp_path / "all.jsonl") == in_order(a=A, b=B, c=C)
    found = lines(tmp_path / "all.jsonl")
    own = {(line["path"].split("/")[1], line["client_port"]): line["connection"] for line in found}
    assert len(own) == 6 and len(set(own.values())) == 6
    assert all(line["connection"] == own[line["path"].split("/")[1], line["client_port"]]
               for line in found)
    assert not any(line["id"] for line in found), "none that another exchange has, too"


def test_connections_stay_apart_in_a_store_made_of_a_file_made_of_them(three, tmp_path):
    run("convert", *three, tmp_path / "all.jsonl")
    run("convert", tmp_path / "all.jsonl", tmp_path / "all.db")
    assert len({r["connection"] for r in exchanges(tmp_path / "all.db")}) == 6


def test_into_a_store_each_has_its_row(three, tmp_path):
    out = tmp_path / "out.db"
    told = json.loads(convert(*three, written(three[0], ".har"), out).out)
    assert told["read"] == told["written"] == len(A) * 2 + len(B) + len(C)
    found = select(out, "select id, source, ended_at, ledger from capture order by id")
    assert [r["source"] for r in found] == [*map(str, three), str(tmp_path / "a.har")]
    assert all(r["ended_at"] for r in found)
    stored = [json.loads(r["ledger"])["requests"]["stored"] for r in found]
    assert stored == [len(A), len(B), len(C), len(A)]
    assert len({(r["capture_id"], r["connection"]) for r in exchanges(out)}) == 8
    assert integrity(out) == "ok"
    indexes = "select name from sqlite_schema where type = 'index' and sql is not null order by 1"
    assert [r[0] for r in select(out, indexes)] == [r[0] for r in select(three[0], indexes)]


def test_a_mixture_of_formats(tmp_path):
    sources = [
        pcap(tmp_path, "p", [0, 50_000, 90_000]),
        store(tmp_path, "s", [10_000, 60_000]),
        written(store(tmp_path, "j", [20_000, 61_000]), ".jsonl"),
        written(store(tmp_path, "z", [21_000, 62_000]), ".jsonl.gz"),
        written(store(tmp_path, "h", [30_000, 63_000]), ".har"),
        written(store(tmp_path, "g", [40_000, 100_000]), ".gor"),
    ]
    told = json.loads(convert(*sources, tmp_path / "all.jsonl").out)
    assert told["read"] == told["written"] == 13
    assert paths(tmp_path / "all.jsonl") == in_order(
        p=[0, 50_000, 90_000], s=[10_000, 60_000], j=[20_000, 61_000], z=[21_000, 62_000],
        h=[30_000, 63_000], g=[40_000, 100_000])
    convert(*sources, tmp_path / "all.db")
    assert [r["path"] for r in exchanges(tmp_path / "all.db")] == paths(tmp_path / "all.jsonl")


def test_standard_input_is_one_of_them(three, tmp_path):
    text = written(three[1], ".jsonl").read_bytes()
    (tmp_path / "in").write_bytes(text)
    (tmp_path / "a.jsonl").write_bytes(written(three[0], ".ndjson").read_bytes())
    with open(tmp_path / "in", "rb") as stdin:
        run("convert", tmp_path / "a.jsonl", "-", tmp_path / "out.jsonl", "--from-format", "jsonl",
            stdin=stdin)
    assert paths(tmp_path / "out.jsonl") == in_order(a=A, b=B)


def test_globs(three, tmp_path):
    assert len(three) == 3
    run("convert", "?.db", "all.jsonl", cwd=tmp_path)
    assert paths(tmp_path / "all.jsonl") == in_order(a=A, b=B, c=C)
    run("convert", "[ab].db", "c.pcap", "all.gor", cwd=tmp_path)
    run("convert", "all.gor", "back.jsonl", cwd=tmp_path)
    assert paths(tmp_path / "back.jsonl") == in_order(a=A, b=B, c=C)
    done = run("convert", "x*.db", "none.jsonl", cwd=tmp_path, status=2)
    assert "'x*.db': no file has such a name" in done.err
    done = run("convert", "?.db", "a.db", cwd=tmp_path, status=2)
    assert "'a.db': is source and sink at once" in done.err
    assert not (tmp_path / "none.jsonl").exists()


def test_capture_files_are_one_recording(tmp_path):
    """A connection that is cut between two files is whole, and stands where the first of them does."""
    file = PcapFile()
    talk = Conversation(file, 40000)
    for i in range(6):
        talk.exchange(i * 10_000, request("GET", f"/{i}"), ANSWER)
    frames = sorted(file.frames)
    cut = next(i for i, f in enumerate(frames) if b"/3 " in f[2]) + 1
    for name, part in (("z.pcap", frames[:cut]), ("a.pcap", frames[cut:])):
        file.frames = part
        file.write(tmp_path / name)
    other = store(tmp_path, "s", [25_000])
    run("convert", tmp_path / "a.pcap", other, tmp_path / "z.pcap", tmp_path / "out.jsonl")
    assert paths(tmp_path / "out.jsonl") == ["/0", "/1", "/2", "/s/25000", "/3", "/4", "/5"]
    found = [line for line in lines(tmp_path / "out.jsonl") if line["path"] != "/s/25000"]
    assert {line["state"] for line in found} == {"complete"}
    assert len({line["connection"] for line in found}) == 1
    run("convert", tmp_path / "a.pcap", other, tmp_path / "z.pcap", tmp_path / "out.db")
    rows = select(tmp_path / "out.db", "select source, options from capture order by id")
    assert [r["source"] for r in rows] == [f"2 files, the first {tmp_path}/a.pcap", str(other)]
    names = [str(tmp_path / "a.pcap"), str(tmp_path / "z.pcap")]
    assert json.loads(rows[0]["options"])["files"] == names


@pytest.mark.parametrize("kind", [".db", ".jsonl"])
def test_from_and_until_count_from_the_first_of_all(tmp_path, kind):
    """Whichever file it is in, and however it is stored."""
    second = 10**6
    sources = [
        store(tmp_path, "late", [3 * second, 4 * second]),
        pcap(tmp_path, "first", [0, second + 500]),
        written(store(tmp_path, "mid", [second - 1, 2 * second]), ".jsonl"),
    ]
    run("convert", *sources, tmp_path / f"out{kind}", "--from", "+1s", "--until", "+4s")
    if kind == ".db":
        run("convert", tmp_path / "out.db", tmp_path / "out.jsonl")
    assert paths(tmp_path / "out.jsonl") == [
        f"/first/{second + 500}", f"/mid/{2 * second}", f"/late/{3 * second}"]


def test_rules_and_account_are_of_all(three, tmp_path):
    told = json.loads(convert(*three, tmp_path / "out.jsonl", "--route", "/b/*").out)
    assert (told["read"], told["written"], told["filtered"]) == (12, 3, 9)
    hand = '{"method": "GET", "path": "/x", "ts_us": %d, "colour": 1}\n'
    for i in range(3):
        (tmp_path / f"{i}.jsonl").write_text(hand % i * 2)
    for sink in ("notes.har", "notes.db"):
        told = json.loads(convert(*(f"{i}.jsonl" for i in range(3)), sink, cwd=tmp_path).out)
        assert {n["what"]: n["count"] for n in told["notes"]}[
            "members that are no column of ours, skipped"] == 6, "each is read once"


@pytest.mark.parametrize("kind", [".jsonl", ".har", ".gor", ".pcap", ".db"])
def test_bodies_that_are_cut_are_said(tmp_path, kind):
    source = store(tmp_path, "a", [0, 10])
    if kind not in (".db", ".pcap"):
        source = written(source, kind)
    done = convert(source.with_suffix(kind), tmp_path / "out.db", "--max-body", 3)
    notes = [n["count"] for n in json.loads(done.out)["notes"] if "--max-body" in n["what"]]
    assert notes == ([] if kind == ".db" else [2])  # a store is read as it is
    assert done.err.count("note: 2 bodies longer than --max-body") == len(notes)


def test_no_exchange_at_all(tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "empty.har").write_text('{"log": {"entries": []}}')
    PcapFile().write(tmp_path / "empty.pcap")
    sources = [tmp_path / f"empty{kind}" for kind in (".jsonl", ".har", ".pcap")]
    run("convert", *sources, tmp_path / "empty.db")
    run("convert", tmp_path / "empty.db", *sources, store(tmp_path, "a", A), tmp_path / "out.jsonl",
        "--from", "+1ms")
    assert paths(tmp_path / "out.jsonl") == in_order(a=A[1:])


# --- how many are open ---------------------------------------------------------------------------


def copies(folder, n, step_us, times):
    """So many stores, each as the one before but so much later."""
    first = store(folder, "s", times)
    made = []
    for i in range(n):
        path = folder / f"s-{i:03}.db"
        shutil.copy(first, path)
        made.append(path)
    for i, path in enumerate(made):
        move(path, i * step_us)
    return made


def move(path, by_us):
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("update exchange set ts_us = ts_us + ?", (by_us,))


def test_a_hundred_stores(tmp_path):
    made = copies(tmp_path, 100, 100_000, [0, 1000, 250_000])
    told = json.loads(convert(tmp_path / "s-*.db", tmp_path / "all.jsonl").out)
    assert told["read"] == told["written"] == 300
    times = [line["ts_us"] for line in lines(tmp_path / "all.jsonl")]
    assert times == sorted(times) and len(times) == 300
    assert len({line["connection"] for line in lines(tmp_path / "all.jsonl")}) == 200
    run("convert", *made, tmp_path / "all.db")
    assert [r["ts_us"] for r in exchanges(tmp_path / "all.db")] == times


class Watched:
    """A conversion into a pipe that is read only as far as the test wants, so that it stands still
    meanwhile."""

    def __init__(self, folder, *args, prefix=()):
        self.pipe = folder / "pipe"
        os.mkfifo(self.pipe)
        self.running = Running(folder, "convert", *args, self.pipe, "--to-format", "jsonl",
                               prefix=prefix)
        # Opens at once where the other end is there, and otherwise waits for it.
        self.file = open(self.pipe, "rb", buffering=0)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.file.close()
        self.running.kill()

    def stores(self):
        """The stores that it has open."""
        found = set()
        folder = f"/proc/{self.running.process.pid}/fd"
        with contextlib.suppress(FileNotFoundError):
            for fd in os.listdir(folder):
                with contextlib.suppress(FileNotFoundError):
                    found.add(os.readlink(f"{folder}/{fd}"))
        return {path for path in found if path.endswith(".db")}


def test_stores_that_follow_each_other_are_open_by_turns(tmp_path):
    copies(tmp_path, 100, 10**6, [1000 * i for i in range(8)])
    seen, text = set(), b""
    with Watched(tmp_path, tmp_path / "s-*.db") as watched:
        while part := watched.file.read(4096):
            text += part
            stores = watched.stores()
            assert len(stores) <= 2
            seen |= stores
        watched.running.end()
    assert len(text.splitlines()) == 800
    assert seen, "it was looked at while one was open"


@pytest.mark.parametrize("limit, stores", [("1024:4096", 100), ("100:4096", 100)])
def test_stores_that_overlap_are_all_open(tmp_path, limit, stores):
    """Also where fewer files were allowed, and more may be asked for."""
    copies(tmp_path, stores, 1000, [10**5 * i for i in range(11)])
    with Watched(tmp_path, tmp_path / "s-*.db",
                 prefix=["prlimit", f"--nofile={limit}"]) as watched:
        most, text = 0, b""
        while part := watched.file.read(4096):
            text += part
            most = max(most, len(watched.stores()))
        watched.running.end()
    assert len(text.splitlines()) == stores * 11
    assert most == stores


def test_too_few_open_files_is_one_line(tmp_path):
    copies(tmp_path, 40, 1000, [0, 10**6])
    running = Running(tmp_path, "convert", tmp_path / "s-*.db", tmp_path / "out.jsonl",
                      prefix=["prlimit", "--nofile=30:30"])
    said = [x for x in running.end(1).splitlines() if x.startswith("shadow-ctl: ")]
    assert len(said) == 1 and "Too many open files" in said[0] or "unable to open" in said[0]
    assert not (tmp_path / "out.jsonl").exists()


# --- bad input -----------------------------------------------------------------------------------

GOOD = '{"method": "GET", "path": "/%d", "ts_us": %d}\n'


def many(n, at=0):
    return "".join(GOOD % (i, START_US + at + i) for i in range(n))


def cut_gzip(folder):
    (folder / "bad.jsonl.gz").write_bytes(gzip.compress(many(20_000).encode())[:-2000])
    return folder / "bad.jsonl.gz", "bad.jsonl.gz: the gzip data ends early"


def bad_line(folder):
    (folder / "bad.jsonl").write_text(many(5000) + "{\n" + many(10))
    return folder / "bad.jsonl", "bad.jsonl: line 5001: "


def bad_entry(folder):
    (folder / "good.jsonl").write_text(many(3000))
    text = written(folder / "good.jsonl", ".har").read_text()
    at = text.rindex('"method":"GET"')
    (folder / "bad.har").write_text(text[:at] + '"method":7' + text[at + 14:])
    return folder / "bad.har", "bad.har: entry 3000: request.method: "


BAD = [cut_gzip, bad_line, bad_entry]


@pytest.mark.parametrize("make", BAD, ids=[m.__name__ for m in BAD])
def test_bad_midway_into_a_store(tmp_path, make):
    """What was read stays, the row says that it did not end, and how much there is."""
    before, behind = store(tmp_path, "before", A), store(tmp_path, "behind", B)
    bad, line = make(tmp_path)
    out = tmp_path / "out.db"
    done = run("convert", before, bad, behind, out, status=2)
    said = [x for x in done.err_lines if x.startswith("shadow-ctl: ")]
    assert len(said) == 1 and line in said[0]
    assert "note: 1 sources behind that, not read" in done.err_lines
    rows = select(out, """select c.*, (select count(*) from exchange where capture_id = c.id) as n
                          from capture c order by id""")
    assert [r["source"] for r in rows] == [str(before), str(bad)]
    assert [r["ended_at"] is not None for r in rows] == [True, False]
    assert [json.loads(r["ledger"])["requests"]["stored"] for r in rows] == [r["n"] for r in rows]
    assert rows[0]["n"] == len(A) and rows[1]["n"] >= 2999
    assert integrity(out) == "ok"
    run("info", out)


@pytest.mark.parametrize("make", BAD, ids=[m.__name__ for m in BAD])
@pytest.mark.parametrize("kind", [".har", ".jsonl.gz", ".gor", ".hurl"])
def test_bad_midway_into_a_file(tmp_path, make, kind):
    before = store(tmp_path, "before", A)
    bad, line = make(tmp_path)
    done = run("convert", before, bad, tmp_path / f"out{kind}", status=2)
    said = [x for x in done.err_lines if x.startswith("shadow-ctl: ")]
    assert len(said) == 1 and line in said[0]
    assert not (tmp_path / f"out{kind}").exists()
    account = next(x for x in done.err_lines if x.startswith("exchanges: "))
    read, *parts = [int(n) for n in re.findall(r"\d+", account)]
    assert f" {read} read = 0 written + " in account and "lost: the sink is not whole" in account
    assert read > 1000 and read == sum(parts)


@pytest.mark.parametrize("sink", ["out.db", "out.jsonl"])
@pytest.mark.parametrize("bad, word", [
    ("none.db", "none.db: no such file"), ("none.har", "none.har: No such file"),
    ("text.db", "text.db: is not a store"), ("text.pcap", "text.pcap"),
    ("text.jsonl", "text.jsonl: line 1: "), ("x.foo", "'x.foo': of which format is it?"),
    ("a.csv", "csv is only written"), ("a.db", "a.db: is there twice"),
])
def test_what_is_wrong_at_first_sight_is_said_before_anything_is_made(tmp_path, sink, bad, word):
    store(tmp_path, "a", A)
    for name in ("text.db", "text.pcap", "text.jsonl"):
        (tmp_path / name).write_text("only words\n" * 40)
    (tmp_path / "a.csv").write_text("ts_us\n")
    done = run("convert", "a.db", bad, sink, cwd=tmp_path, status=2)
    assert len(done.err_lines) == 1 and word in done.err, done.err
    assert not (tmp_path / sink).exists()


@pytest.mark.parametrize("bad", ["text.pcap", "text.jsonl", "text.db"])
def test_one_alone_that_is_wrong_makes_nothing(tmp_path, bad):
    (tmp_path / bad).write_text("only words\n" * 40)
    for sink in ("out.db", "out.jsonl"):
        assert len(run("convert", bad, sink, cwd=tmp_path, status=2).err_lines) == 1
        assert not (tmp_path / sink).exists()


def test_what_was_killed_is_not_taken_for_whole(tmp_path, server):
    """It is replayed all the same, and a line says what it is."""
    pipe, half = tmp_path / "in.jsonl", tmp_path / "half.db"
    os.mkfifo(pipe)
    running = Running(tmp_path, "convert", pipe, half)
    try:
        with open(pipe, "wb", buffering=0) as file:
            file.write(many(3000).encode())
            wait_until(lambda: stored(half) >= 2000, "a transaction")
    finally:
        running.kill()
    to = ["--to", server.url, "--max", "--until", "+1us"]
    line = "a recording of it has not ended: it is still being written, or was cut off"
    said = run("replay", half, *to).err_lines
    assert said.count(f"shadow-ctl: {half}: {line}") == 1
    # What it is gathered into says the same of it.
    said = run("replay", half, "-o", tmp_path / "new.db", *to).err_lines
    assert f"shadow-ctl: {tmp_path / 'new.db'}: {line}" in said
    assert one(tmp_path / "new.db", "select ended_at is null from capture")
    whole = store(tmp_path, "whole", A)
    assert "has not ended" not in run("replay", whole, "--to", server.url, "--max").err


def test_interrupt_finishes(three, tmp_path):
    """A file is whole with what was read of all of them."""
    pipe, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    os.mkfifo(pipe)
    running = Running(tmp_path, "convert", three[0], pipe, three[1], out)
    try:
        with open(pipe, "wb", buffering=0) as file:
            file.write(many(3000).encode())
            # More than its buffer holds has come out, so it has read what was sent, and waits.
            wait_until(lambda: out.exists() and out.stat().st_size > 0, "output")
            running.signal(signal.SIGINT)
            said = running.end()
    finally:
        running.kill()
    n = len(paths(out))
    assert n > 100 and f"exchanges: {n} read = {n} written" in said
    assert f"shadow-ctl: stopped: what was read until then is in {out}" in said


@pytest.mark.parametrize("quiet", [False, True])
def test_interrupt_is_said_of_a_store(three, tmp_path, quiet):
    """Of the row that it came in, and in the account."""
    pipe, out = tmp_path / "in.jsonl", tmp_path / "out.db"
    os.mkfifo(pipe)
    running = Running(tmp_path, "convert", three[0], pipe, three[1], out, "--json",
                      *(["--quiet"] if quiet else []),
                      prefix=["sh", "-c", f'exec "$@" > {tmp_path}/told', "sh"])
    try:
        with open(pipe, "wb", buffering=0) as file:
            file.write(many(3000).encode())
            wait_until(lambda: stored(out) >= 2000, "a transaction")
            running.signal(signal.SIGINT)
            said = running.end()
    finally:
        running.kill()
    line = f"shadow-ctl: stopped: what was read until then is in {out}"
    assert (line in said) != quiet
    assert json.loads((tmp_path / "told").read_text())["stopped"] is True
    ledgers = [json.loads(r[0]) for r in select(out, "select ledger from capture order by id")]
    assert [ledger.get("stopped") for ledger in ledgers] == [None, True]
    assert "requests" in run("info", out).out
    assert json.loads(convert(out, "null:").out)["stopped"] is False


# --- replay --------------------------------------------------------------------------------------


@pytest.fixture(name="server")
def fixture_server():
    with RawServer() as server:
        yield server


def replay(*args, **more):
    return run("replay", *args, "--max", **more)


def targets(server):
    return sorted(s.target for s in server.seen)


def results(path):
    return select(path, """select e.path, r.status from result r join exchange e
                           on e.id = r.exchange_id order by e.ts_us, e.id""")


def check_run(out, server, expected):
    """Everything was sent once, and the results are beside what was gathered."""
    assert targets(server) == sorted(expected)
    assert [r["path"] for r in results(out)] == expected
    assert {r["status"] for r in results(out)} == {200}
    assert f"{len(expected)}" in run("query", out, "status").out
    assert json.loads(run("query", out, "select count(*) as n from result", "--json").out) == [
        {"n": len(expected)}]
    assert integrity(out) == "ok"
    assert out.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", [".pcap", ".jsonl", ".har", ".gor", ".db"])
def test_replay_of_any_one_file(tmp_path, server, kind):
    source = store(tmp_path, "a", A)
    if kind not in (".pcap", ".db"):
        source = written(source, kind)
    source = source.with_suffix(kind)
    before = source.read_bytes()
    done = replay(source, "-o", tmp_path / "run.db", "--to", server.url)
    assert f"gathered 5 exchanges of 1 file into {tmp_path}/run.db" in done.err
    check_run(tmp_path / "run.db", server, in_order(a=A))
    assert source.read_bytes() == before, "what was recorded stays as it is"


def test_replay_says_which_bodies_are_cut(tmp_path, server):
    """They are not sent, and their recording does have them."""
    large = {"method": "POST", "host": "h", "path": "/", "request_body": "x" * ((16 << 20) + 1)}
    small = {"method": "GET", "host": "h", "path": "/"}
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (large, small)))
    more = ("--to", server.url, "--methods", "all")
    done = replay(tmp_path / "a.jsonl", "-o", tmp_path / "run.db", *more)
    assert "note: 1 bodies longer than --max-body (16 MiB where none is given), cut" in done.err
    assert "skipped      1 incomplete request" in done.out


def test_replay_of_several(three, tmp_path, server):
    sources = [three[0], written(three[1], ".har"), tmp_path / "c.pcap"]
    done = replay(*sources, "-o", tmp_path / "run.db", "--to", server.url)
    assert f"gathered 12 exchanges of 3 files into {tmp_path}/run.db" in done.err
    check_run(tmp_path / "run.db", server, in_order(a=A, b=B, c=C))
    assert len({(s.connection, s.field("host")) for s in server.seen}) > 1
    by_connection = {}
    for s in sorted(server.seen, key=lambda s: (s.connection, s.position)):
        by_connection.setdefault(s.connection, []).append(s.target)
    for found in by_connection.values():
        for name in "abc":
            own = [int(t.split("/")[2]) for t in found if t.startswith(f"/{name}/")]
            assert own == sorted(own)


def test_replay_of_a_glob(three, tmp_path, server):
    assert len(three) == 3
    replay("?.db", "-o", "run.db", "--to", server.url, cwd=tmp_path)
    check_run(tmp_path / "run.db", server, in_order(a=A, b=B, c=C))
    # One store that a glob names is that store.
    replay("c*.db", "--to", server.url, cwd=tmp_path)
    assert [r["path"] for r in results(three[2])] == in_order(c=C)


def test_replay_of_standard_input(three, tmp_path, server):
    with open(written(three[0], ".jsonl"), "rb") as stdin:
        replay("-", "--from-format", "jsonl", "-o", tmp_path / "run.db", "--to", server.url,
               stdin=stdin)
    check_run(tmp_path / "run.db", server, in_order(a=A))


def test_what_is_gathered_is_what_was_recorded(three, tmp_path, server):
    """All exchanges with their answers, whatever this run's rules are; no old replays; and what each
    capture said of itself."""
    replay(three[0], "--to", server.url)
    seen = len(server.seen)
    run("store", "merge", three[1], three[2], "-o", tmp_path / "bc.db")
    replay(three[0], tmp_path / "bc.db", written(three[2], ".jsonl"), "-o", tmp_path / "run.db",
           "--to", server.url, "--route", "/b/*", "--sample", "100%", "--quiet")
    assert len(server.seen) - seen == len(B)
    out = tmp_path / "run.db"
    assert one(out, "select count(*) from exchange") == 5 + 7 + 4
    assert one(out, "select count(*) from replay") == 1
    assert one(out, "select count(*) from exchange where status = 200 and response_body > 0") == 16
    rows = select(out, "select source, options, ended_at from capture order by id")
    first = select(three[0], "select source, options, started_at from capture")[0]
    assert [r["source"] for r in rows] == [
        first["source"], str(tmp_path / "bc.db"), str(tmp_path / "c.jsonl")]
    options = [json.loads(r["options"]) for r in rows]
    assert options[0] == {**json.loads(first["options"]), "gathered_from": str(three[0]),
                          "recorded_at": first["started_at"]}
    assert [c["source"] for c in options[1]["captures"]] == [
        str(tmp_path / "b.pcap"), str(tmp_path / "c.pcap")]
    assert options[1]["gathered_from"] == str(tmp_path / "bc.db")
    assert all(r["ended_at"] for r in rows)


def test_resume_goes_on_with_what_was_gathered(three, tmp_path, server):
    out = tmp_path / "run.db"
    to = ["--to", server.url]
    run("replay", *three[:2], "-o", out, *to, "--rate", "20/s", "--duration", "120ms")
    sent = len(server.seen)
    assert 0 < sent < len(A) + len(B)
    done = run("replay", *three[:2], *to, "--resume", "1", status=2)
    assert "there are 2 sources; expected the store that they were gathered into" in done.err
    done = run("replay", three[0], "-o", out, *to, "--resume", "1", status=2)
    assert "--resume" in done.err and "-o" in done.err
    run("replay", out, *to, "--max", "--resume", "1")
    check_run(out, server, in_order(a=A, b=B))
    assert one(out, "select count(*) from replay") == 1


def test_the_origin_of_any_of_them_is_not_sent_to(tmp_path):
    with RawServer() as server:
        other = store(tmp_path, "a", A)
        file = PcapFile()
        talk = Conversation(file, 40000, server="127.0.0.1", server_port=server.port)
        talk.exchange(1000, request("GET", "/own"), ANSWER)
        file.write(tmp_path / "own.pcap")
        args = [other, tmp_path / "own.pcap", "-o", tmp_path / "run.db", "--to", server.url]
        done = replay(*args, status=2)
        assert "--allow-origin" in done.err
        assert not server.seen
        assert left(tmp_path) == [], "the same command is to work with one option more"
        replay(*args, "--allow-origin")
        check_run(tmp_path / "run.db", server, [*in_order(a=A)[:1], "/own", *in_order(a=A)[1:]])


def left(folder):
    return sorted(p.name for p in folder.glob("run.db*"))


@pytest.mark.parametrize("args, line", [
    (["a.db", "b.db"], "-o is missing: 2 sources are gathered"),
    (["?.db"], "-o is missing: 2 sources are gathered"),
    (["a.pcap"], "-o is missing: 'a.pcap' is no store"),
    (["-", "--from-format", "jsonl"], "-o is missing: '-' is no store"),
    (["a.pcap", "-o", "there.db"], "there.db: is there already; expected the path of a new store"),
    (["a.pcap", "-o", "dir"], "dir: is there already"),
    (["a.pcap", "-o", "no/such/run.db"], "no/such/run.db: cannot be made"),
    (["a.pcap", "none.har", "-o", "run.db"], "none.har: No such file"),
    (["a.pcap", "x.foo", "-o", "run.db"], "'x.foo': of which format is it?"),
    (["x*.db", "-o", "run.db"], "'x*.db': no file has such a name"),
    (["a.pcap", "--from-format", "foo"], "--from-format 'foo': no such format"),
    (["a.db", "-o", "run.db", "--from", "+9s", "--until", "+1s"], "--until is not after --from"),
    (["bad.jsonl", "-o", "run.db"], "bad.jsonl: line 3: "),
])
def test_wrong(tmp_path, server, args, line):
    for name in "ab":
        store(tmp_path, name, A)
    (tmp_path / "there.db").write_text("mine")
    (tmp_path / "dir").mkdir()
    (tmp_path / "bad.jsonl").write_text(many(2) + "{\n")
    (tmp_path / "foo").write_text("")
    before = {p: p.is_file() and p.read_bytes() for p in tmp_path.iterdir()}
    done = replay(*args, "--to", server.url, cwd=tmp_path, status=2)
    assert len(done.err_lines) == 1 and line in done.err, done.err
    assert {p: p.is_file() and p.read_bytes() for p in tmp_path.iterdir()} == before
    assert not server.seen


@pytest.mark.parametrize("more", [[], ["a.db"]], ids=["alone", "with another"])
def test_stopped_while_it_gathers(tmp_path, server, more):
    """Nothing is sent, and nothing is left: it would be half a dataset."""
    store(tmp_path, "a", A)
    pipe = tmp_path / "in.jsonl"
    os.mkfifo(pipe)
    running = Running(tmp_path, "replay", *(tmp_path / m for m in more), pipe, "-o",
                      tmp_path / "run.db", "--to", server.url, "--max")
    try:
        with open(pipe, "wb", buffering=0) as file:
            file.write(many(3000).encode())
            wait_until(lambda: stored(tmp_path / "run.db") >= 2000, "a transaction")
            running.signal(signal.SIGINT)
            said = running.end(1)
    finally:
        running.kill()
    assert f"stopped while it gathered: nothing was sent, and there is no {tmp_path}/run.db" in said
    assert left(tmp_path) == []
    assert not server.seen


def stored(path):
    with contextlib.suppress(sqlite3.Error):
        return one(path, "select count(*) from exchange")
    return 0


def test_help_says_so():
    assert "SOURCE..." in run("replay", "--help").out.splitlines()[0]
    assert "-o, --output FILE" in run("replay", "--help").out


def test_a_gathered_store_is_redacted(tmp_path, raw_server):
    """What --redact takes out is in no file that this run makes."""
    file = PcapFile()
    talk = Conversation(file, 40000)
    head = request("GET", "/a?token=s3cr3t-7a91", [b"Authorization: Bearer s3cr3t-7a91"])
    talk.exchange(0, head, b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=s3cr3t-7a91\r\n"
                  b"Content-Length: 0\r\n\r\n")  # fmt: skip
    path = file.write(tmp_path / "in.pcap")
    run("replay", path, "-o", tmp_path / "out.db", "--to", raw_server.url, "--redact", "secrets")
    assert len(exchanges(tmp_path / "out.db")) == 1
    for made in tmp_path.glob("out.db*"):
        assert b"s3cr3t" not in made.read_bytes()
    plain = run("replay", path, "-o", tmp_path / "plain.db", "--to", raw_server.url)
    assert "gathered 1 exchanges of 1 file" in plain.err
    assert b"s3cr3t" in (tmp_path / "plain.db").read_bytes()
