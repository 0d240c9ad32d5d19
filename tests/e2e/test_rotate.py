# SPDX-License-Identifier: Apache-2.0
"""capture --rotate: a set of stores that together are what one store would have been, and an account
for each that adds up."""

import itertools
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import threading
import time

import pytest
from harness import (
    Capture,
    Client,
    Tcpdump,
    exchanges,
    integrity,
    one,
    request,
    run,
    select,
    wait_until,
)
from pcapfile import START_US, Conversation, PcapFile, simple
from traffic import session

NAME = re.compile(r"shadow-(\d{5})-(\d{8}T\d{6}Z)\.db")


def files(folder, stem="shadow", suffix=".db"):
    """The set, in the order that a glob gives."""
    return sorted(folder.glob(f"{stem}-*{suffix}"))


def names(folder):
    return [f.name for f in files(folder)]


def numbers(folder):
    return [int(NAME.fullmatch(name)[1]) for name in names(folder)]


def account(store):
    return json.loads(one(store, "select ledger from capture"))


def adds_up(ledger):
    for group in ("packets", "requests", "responses"):
        rows = dict(ledger[group])
        left = rows.pop("seen") + rows.pop("carried_in")
        rows.pop("interim", None)
        assert left == sum(rows.values()), group


def whole(ledgers):
    """The sum of a set's accounts, by the rows of one that was not rotated."""
    total = {}
    for ledger in ledgers:
        for group, rows in ledger.items():
            for name, n in rows.items():
                if not name.startswith("carried_") and not name.endswith("_percent"):
                    total[group, name] = total.get((group, name), 0) + n
    return total


def check_accounts(folder, ledger):
    """Each file's adds up, what one carries out the next carries in, and all make the whole."""
    ledgers = [account(f) for f in files(folder)]
    for each in ledgers:
        adds_up(each)
    for group in ("packets", "requests", "responses"):
        assert ledgers[0][group]["carried_in"] == ledgers[-1][group]["carried_out"] == 0
        for before, after in itertools.pairwise(ledgers):
            assert before[group]["carried_out"] == after[group]["carried_in"]
    assert whole(ledgers) == whole([ledger])
    for f, each in zip(files(folder), ledgers):
        assert each["requests"]["stored"] == one(f, "select count(*) from exchange")


def finished(store):
    """Sound, and complete with its index."""
    assert store.stat().st_mode & 0o777 == 0o600
    assert integrity(store) == "ok"
    assert one(store, "select count(*) from capture where ended_at is not null") == 1
    assert one(store, "select count(*) from sqlite_schema where name = 'exchange_time'") == 1


def content(store):
    """Its rows, without what numbers them."""
    out = []
    for row in exchanges(store):
        keys = [k for k in row.keys() if k not in ("id", "request_body", "response_body")]
        # A route's template is learnt from what the store holds.
        out.append(tuple((k, row[k]) for k in keys if k not in ("capture_id", "template")))
    return out


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Half a minute on twenty connections whose requests and answers interleave."""
    rng, pcap = random.Random(1), PcapFile()
    for c in range(20):
        talk = Conversation(pcap, 40000 + c, at=c * 500_000)
        for i in range(60):
            at = c * 500_000 + 10_000 + i * 300_000
            body = rng.randbytes(4000)
            talk.request(at, request("POST", f"/{c}/{i}", [b"Content-Length: 4000"], body))
            talk.response(at + 100_000 + c * 9000, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        talk.close(c * 500_000 + 60 * 300_000)
    return pcap.write(tmp_path_factory.mktemp("recording") / "in.pcap")


def rotated(folder, pcap, *args, **more):
    folder.mkdir(exist_ok=True)
    done = run("capture", "-r", pcap, "-o", folder / "shadow.db", "--json", *args, **more)
    return done, json.loads(done.out) if done.out else None


# --- from a file ---------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["1M", "3s"])
def test_a_set_is_what_one_store_would_be(limit, recording, tmp_path):
    done, ledger = rotated(tmp_path / "set", recording, "--rotate", limit)
    stores = files(tmp_path / "set")
    assert len(stores) > 3 and numbers(tmp_path / "set") == list(range(1, len(stores) + 1))
    assert not (tmp_path / "set/shadow.db").exists()
    assert sorted(p.name for p in (tmp_path / "set").iterdir()) == names(tmp_path / "set")
    said = [line for line in done.err_lines if "now into" in line]
    assert [line.split()[-1] for line in said] == [str(f) for f in stores]
    for f in stores:
        finished(f)
        assert one(f, "select count(*) from exchange") > 0
    run("capture", "-r", recording, "-o", tmp_path / "one.db")
    assert sorted(sum((content(f) for f in stores), [])) == sorted(content(tmp_path / "one.db"))
    check_accounts(tmp_path / "set", ledger)
    assert whole([ledger]) == whole([account(tmp_path / "one.db")])
    assert one(tmp_path / "one.db", "select source from capture") == one(
        stores[-1], "select source from capture"
    )


@pytest.mark.parametrize("limit", ["1M", "3s"])
def test_the_same_input_makes_the_same_files(limit, recording, tmp_path):
    for name in ("a", "b"):
        rotated(tmp_path / name, recording, "--rotate", limit)
    assert names(tmp_path / "a") == names(tmp_path / "b")
    for a, b in zip(files(tmp_path / "a"), files(tmp_path / "b")):
        assert content(a) == content(b)
        assert account(a) == account(b)


def test_size_bounds_a_file(recording, tmp_path):
    rotated(tmp_path / "set", recording, "--rotate", "1M")
    *full, last = [f.stat().st_size for f in files(tmp_path / "set")]
    # The index and what comes between two looks are on top.
    assert all(1 << 20 <= size < 1.15 * (1 << 20) for size in full), full
    assert 0 < last < 1.15 * (1 << 20)


def test_time_counts_from_the_first_exchange_of_a_file(tmp_path):
    """Requests at 0, 1, 2.9, 3, 3.5, 20, 22.9, 23.1 s: a pause makes no empty file."""
    pcap = PcapFile()
    talk = Conversation(pcap, 40000)
    for at in (0, 1_000_000, 2_999_999, 3_000_000, 3_500_000, 20_000_000, 22_900_000, 23_100_000):
        talk.exchange(at, request("GET", f"/{at}"))
    pcap.write(tmp_path / "in.pcap")
    rotated(tmp_path / "set", tmp_path / "in.pcap", "--rotate", "3s")
    times = [[r["ts_us"] - START_US for r in exchanges(f)] for f in files(tmp_path / "set")]
    assert times == [
        [0, 1_000_000, 2_999_999],
        [3_000_000, 3_500_000],
        [20_000_000, 22_900_000],
        [23_100_000],
    ]
    # START_US is 2023-11-14T22:13:20Z.
    begun = [NAME.fullmatch(name)[2] for name in names(tmp_path / "set")]
    assert begun == [f"20231114T2213{s}Z" for s in (20, 23, 40, 43)]


def test_what_is_under_way_is_carried(tmp_path):
    """A request in the first file's time, its answer in the second's; and one whose answer never
    comes."""
    pcap = PcapFile()
    slow, lost, busy = (Conversation(pcap, port) for port in (40000, 40001, 40002))
    slow.request(100, request("GET", "/slow"))
    lost.request(200, request("GET", "/lost"))
    for i in range(3):
        busy.exchange(1000 + i * 2_000_000, request("GET", f"/{i}"))
    slow.response(5_000_000, b"HTTP/1.1 204 No Content\r\n\r\n")
    pcap.write(tmp_path / "in.pcap")
    _, ledger = rotated(tmp_path / "set", tmp_path / "in.pcap", "--rotate", "2s")
    paths = [[r["path"] for r in exchanges(f)] for f in files(tmp_path / "set")]
    assert paths == [["/0"], ["/1"], ["/slow", "/lost", "/2"]]
    check_accounts(tmp_path / "set", ledger)
    rows = [account(f)["requests"] for f in files(tmp_path / "set")]
    # At each end also the request that begins the next file.
    assert [r["carried_out"] for r in rows] == [3, 3, 0]
    said = [run("info", f).out for f in files(tmp_path / "set")]
    assert "requests  4 seen = 1 stored + 3 carried_out" in said[0]
    assert "requests  1 seen + 3 carried_in = 1 stored + 3 carried_out" in said[1]
    assert "requests  0 seen + 3 carried_in = 3 stored" in said[2]


def test_the_other_limits_are_of_the_whole_capture(recording, tmp_path):
    _, ledger = rotated(tmp_path / "n", recording, "--rotate", "3s", "--count", "500")
    assert sum(one(f, "select count(*) from exchange") for f in files(tmp_path / "n")) == 500
    assert ledger["requests"]["over_count"] > 0 and len(files(tmp_path / "n")) > 2
    check_accounts(tmp_path / "n", ledger)
    _, ledger = rotated(tmp_path / "d", recording, "--rotate", "3s", "--duration", "7s")
    assert len(files(tmp_path / "d")) == 3
    check_accounts(tmp_path / "d", ledger)
    sample = ["--sample", "30%", "--seed", "3", "--exclude", "/7/*", "--redact", "json:a"]
    _, ledger = rotated(tmp_path / "s", recording, "--rotate", "3s", *sample)
    assert ledger["requests"]["unsampled"] > 0 and ledger["requests"]["filtered"] == 60
    check_accounts(tmp_path / "s", ledger)


def test_nothing_in_a_file_is_a_store_and_an_account(tmp_path):
    simple(tmp_path / "in.pcap", [request("GET", "/a")])
    rotated(tmp_path / "set", tmp_path / "in.pcap", "--rotate", "1h", "--route", "/b")
    (store,) = files(tmp_path / "set")
    finished(store)
    assert account(store)["requests"]["filtered"] == 1


@pytest.mark.parametrize(
    "output, pattern",
    [
        ("traffic", r"traffic-00001-\d{8}T\d{6}Z"),
        ("a.b.sqlite", r"a\.b-00001-\d{8}T\d{6}Z\.sqlite"),
        (".hidden", r"\.hidden-00001-\d{8}T\d{6}Z"),
        ("with space-00007-x.db", r"with space-00007-x-00001-\d{8}T\d{6}Z\.db"),
    ],
)
def test_names(output, pattern, tmp_path):
    simple(tmp_path / "in.pcap", [request("GET", "/")])
    folder = tmp_path / "set"
    folder.mkdir()
    run("capture", "-r", "../in.pcap", "-o", output, "--rotate", "1h", cwd=folder)
    (store,) = folder.iterdir()
    assert re.fullmatch(pattern, store.name)
    finished(store)


# --- which stay ----------------------------------------------------------------------------------


def test_keep_deletes_the_oldest(recording, tmp_path):
    done, ledger = rotated(tmp_path / "all", recording, "--rotate", "3s")
    every = names(tmp_path / "all")
    done, kept = rotated(tmp_path / "set", recording, "--rotate", "3s", "--keep", "2")
    assert names(tmp_path / "set") == every[-2:]
    assert whole([kept]) == whole([ledger])
    gone = [line.split()[2] for line in done.err_lines if " deleted " in line]
    assert gone == [str(tmp_path / "set" / name) for name in every[:-2]]
    assert [content(f) for f in files(tmp_path / "set")] == [
        content(f) for f in files(tmp_path / "all")[-2:]
    ]
    quiet, _ = rotated(tmp_path / "quiet", recording, "--rotate", "3s", "--keep", "1", "--quiet")
    assert len(files(tmp_path / "quiet")) == 1 and not quiet.err


def test_a_restart_goes_on_and_touches_nothing(recording, tmp_path):
    rotated(tmp_path / "set", recording, "--rotate", "5s")
    before = {f.name: f.read_bytes() for f in files(tmp_path / "set")}
    rotated(tmp_path / "set", recording, "--rotate", "5s")
    assert numbers(tmp_path / "set") == list(range(1, 2 * len(before) + 1))
    assert all((tmp_path / "set" / name).read_bytes() == data for name, data in before.items())
    # Files from before count.
    rotated(tmp_path / "set", recording, "--rotate", "1h", "--keep", "3")
    n = 2 * len(before)
    assert numbers(tmp_path / "set") == [n - 1, n, n + 1]


def test_keep_deletes_nothing_of_others(recording, tmp_path):
    folder = tmp_path / "set"
    rotated(folder, recording, "--rotate", "5s")
    ours = names(folder)
    store = files(folder)[0].read_bytes()
    (folder / "shadow-00002-20200101T000000Z.db").write_bytes(b"SQLite format 3\0" + bytes(84))
    with sqlite3.connect(folder / "shadow-00003-20200101T000000Z.db") as other:
        other.execute("create table t(x)")
    other.close()
    (folder / "shadow-00004-20200101T000000Z.db").mkdir()
    (folder / "shadow-00005-20200101T000000Z.db").write_bytes(b"notes")
    (folder / "shadow-00006-20200101T000000Z.db").symlink_to(tmp_path / "elsewhere.db")
    (tmp_path / "elsewhere.db").write_bytes(store)
    os.mkfifo(folder / "shadow-00007-20200101T000000Z.db")
    # Stores, but of no name of this set.
    for name in ("shadow.db", "shadow-1.db", "shadow-00001-2020.db", "other-" + ours[0]):
        (folder / name).write_bytes(store)
    for name in (ours[0] + "x", "shadow-0001-20200101T000000Z.db", "x" + ours[0]):
        (folder / name).write_bytes(store)
    (folder / (ours[0] + "-wal")).touch()
    planted = {p.name for p in folder.iterdir()} - set(ours) - {ours[0] + "-wal"}
    rotated(folder, recording, "--rotate", "5s", "--keep", "1")
    left = {p.name for p in folder.iterdir()}
    assert planted < left and len(left - planted) == 1
    assert (tmp_path / "elsewhere.db").exists()
    # A number that anything bears is not given again.
    assert int(NAME.fullmatch((left - planted).pop())[1]) > 7


def test_a_deleted_file_may_be_open(recording, tmp_path):
    """Whoever reads it keeps what it reads."""
    rotated(tmp_path / "set", recording, "--rotate", "10s")
    first = files(tmp_path / "set")[0]
    reader = sqlite3.connect(first)
    reader.execute("begin")
    rows = reader.execute("select count(*) from exchange").fetchone()
    rotated(tmp_path / "set", recording, "--rotate", "10s", "--keep", "1")
    assert not first.exists()
    reader.execute("commit")
    reader.execute("create table t(x)")
    assert reader.execute("select count(*) from exchange").fetchone() == rows
    assert reader.execute("pragma integrity_check").fetchone() == ("ok",)
    reader.close()
    assert len(list((tmp_path / "set").iterdir())) == 1


# --- one run -------------------------------------------------------------------------------------


def runs(folder):
    """Of each file, which run made it."""
    return [json.loads(one(f, "select options from capture"))["set"] for f in files(folder)]


def test_files_of_one_run_say_so(recording, tmp_path):
    rotated(tmp_path / "a", recording, "--rotate", "5s")
    n, (run_id, *others) = len(files(tmp_path / "a")), runs(tmp_path / "a")
    assert re.fullmatch("[0-9a-f]{16}", run_id)
    assert n > 3 and set(others) == {run_id}
    # The same again is the same; behind it, or with other options, it is another one.
    rotated(tmp_path / "b", recording, "--rotate", "5s")
    assert runs(tmp_path / "b") == [run_id] * n
    rotated(tmp_path / "b", recording, "--rotate", "5s")
    second = runs(tmp_path / "b")[n]
    assert runs(tmp_path / "b") == [run_id] * n + [second] * n
    rotated(tmp_path / "c", recording, "--rotate", "5s", "--exclude", "/7/*")
    assert len({run_id, second, *runs(tmp_path / "c")}) == 3
    options = json.loads(one(files(tmp_path / "c")[0], "select options from capture"))
    assert options["version"] and len(options) > 2


@pytest.mark.live
def test_live_runs_differ(raw_server, tmp_path):
    for turn in range(2):
        before = len(files(tmp_path))
        with Capture(tmp_path / "shadow.db", "--rotate", "1s", port=raw_server.port):
            with Load(raw_server.port):
                # The last one may be made and not begun: it goes at the end.
                wait_until(lambda: len(files(tmp_path)) >= before + 3, "three files")
    ids = runs(tmp_path)
    assert len(set(ids)) == 2 and ids[0] == ids[1] and ids[-1] == ids[-2]


@pytest.mark.live
def test_one_capture_writes_a_set(raw_server, recording, tmp_path):
    """A second one is refused and makes nothing; killed, the first leaves no lock."""
    store, lock = tmp_path / "shadow.db", tmp_path / ".shadow.db.lock"
    with Load(raw_server.port):
        with Capture(store, "--rotate", "1s", port=raw_server.port) as first:
            wait_until(lambda: len(files(tmp_path)) >= 2, "two files")
            before = {f.name for f in files(tmp_path)}
            args = ["-o", store, "--rotate", "1M", "--keep", "1"]
            for source in (["-r", recording], ["-i", "lo"]):
                done = run("capture", *source, *args, status=2)
                assert done.err_lines == [
                    f"shadow-ctl: {store}: another capture writes this set (it holds {lock})"
                ]
            assert before <= {f.name for f in files(tmp_path)}
            # Another set is another matter.
            run("capture", "-r", recording, "-o", tmp_path / "other.db", "--rotate", "1h")
            # It goes on.
            n = len(files(tmp_path))
            wait_until(lambda: len(files(tmp_path)) > n, "one more file")
        assert ledger_said(first.err)["stored"] == sum(len(exchanges(f)) for f in files(tmp_path))
        assert len(set(runs(tmp_path))) == 1
        assert not lock.exists()
        with Capture(store, "--rotate", "1s", port=raw_server.port) as killed:
            assert lock.stat().st_mode & 0o777 == 0o600
            killed.kill()
    assert lock.exists()
    rotated(tmp_path, recording, "--rotate", "1h")
    assert not lock.exists() and len(set(runs(tmp_path))) == 3


# --- what is refused -----------------------------------------------------------------------------

WRONG = [
    (["--rotate", "100"], r"--rotate: '100': expected a size \(100M, 2G\) or a time \(10m, 1h\)"),
    (["--rotate", "100k"], r"'100k': expected a size .* or a time"),
    (["--rotate", ""], r"'': expected a size .* or a time"),
    (["--rotate", "M"], r"'M': expected a size .* or a time"),
    (["--rotate", "-1M"], r"'-1M': expected a size .* or a time"),
    (["--rotate", "1Mx"], r"'1Mx' is not a size"),
    (["--rotate", "1mx"], r"'1mx' is not a duration"),
    (["--rotate", "1023K"], r"'1023K': expected 1M or more"),
    (["--rotate", "999ms"], r"'999ms': expected 1s or more"),
    (["--rotate", "1h", "--keep", "0"], r"--keep: '0': expected 1 or more"),
    (["--keep", "3"], r"--keep: only with --rotate"),
    (["--rotate", "1h", "-o", "null:"], r"--rotate: null: keeps nothing"),
    (["--rotate", "1h", "-o", "-"], r"--output -: a store is a file"),
    (["--rotate", "1h", "-o", "no/such/x.db"], r"no/such/x-\*\.db: cannot be made: No such file"),
    (["--rotate", "1h", "-o", "in.pcap/x.db"], r"in\.pcap/x-\*\.db: cannot be made: Not a dir"),
    (["--rotate", "1h", "-o", "."], r"\.: is a directory"),
    (["--rotate", "1h", "-o", "./"], r"\./: is a directory"),
]


@pytest.mark.parametrize("args, line", WRONG, ids=[" ".join(a) for a, _ in WRONG])
def test_wrong_usage(args, line, tmp_path):
    simple(tmp_path / "in.pcap", [request("GET", "/")])
    done = run("capture", "-r", "in.pcap", *args, status=2, cwd=tmp_path)
    assert len(done.err_lines) == 1 and re.search(line, done.err), done.err
    assert [p.name for p in tmp_path.iterdir()] == ["in.pcap"]


def test_a_capital_is_a_size_and_a_small_letter_a_time(recording, tmp_path):
    for limit in ("1M", "1m", "1.5MiB", "1048576B", "2h", "60s", "1000ms"):
        rotated(tmp_path / limit, recording, "--rotate", limit)
    # 27 s of packets, 5 MB of bodies.
    assert len(files(tmp_path / "1M")) == len(files(tmp_path / "1048576B")) > 3
    assert 2 < len(files(tmp_path / "1.5MiB")) < len(files(tmp_path / "1M"))
    assert len(files(tmp_path / "1m")) == len(files(tmp_path / "2h")) == 1
    assert len(files(tmp_path / "60s")) == 1 and len(files(tmp_path / "1000ms")) > 20


# --- live ----------------------------------------------------------------------------------------


class Load:
    """Requests with a number each, one after the other, until the with-block ends. At a rate that
    a capture under a sanitizer keeps up with."""

    def __init__(self, port, body=b""):
        self.port, self.body, self.sent = port, body, 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.work)

    def work(self):
        line = [b"Content-Length: %d" % len(self.body)]
        with Client(self.port) as client:
            while not self.stop.wait(0.002):
                client.send(request("POST", f"/static?{self.sent}", line, self.body))
                client.answer()
                self.sent += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def ledger_said(err):
    line = [x for x in err.splitlines() if x.startswith("requests ")][-1]
    return {name: int(n) for n, name in re.findall(r"(\d+) (\w+)", line)}


@pytest.mark.live
def test_live_by_time(raw_server, tmp_path):
    with Capture(tmp_path / "shadow.db", "--rotate", "1s", port=raw_server.port) as capture:
        assert re.search(r"capturing on lo .* into \S+/shadow-\*\.db", capture.err)
        with Load(raw_server.port) as load:
            wait_until(lambda: len(files(tmp_path)) >= 4, "four files")
            # A file is whole as soon as the next but one is there, whatever goes on.
            finished(files(tmp_path)[0])
    stores = files(tmp_path)
    for f in stores:
        finished(f)
    rows = [r["query"] for f in stores for r in exchanges(f)]
    assert rows == [str(i) for i in range(load.sent)]
    assert ledger_said(capture.err)["stored"] == load.sent
    assert sum(account(f)["requests"]["stored"] for f in stores) == load.sent
    for f in stores:
        adds_up(account(f))
    spans = [exchanges(f) for f in stores if exchanges(f)]
    # Due after a second of its own; then the next has to be made.
    assert all(rows[-1]["ts_us"] - rows[0]["ts_us"] >= 900_000 for rows in spans[:-1])


@pytest.mark.live
def test_a_quiet_line_closes_a_file_in_time(gateway, tmp_path):
    """One request, and silence: its file is finished though nothing more comes. Then it stays at
    that: an empty file is not rotated."""
    with Capture(tmp_path / "shadow.db", "--rotate", "1s", port=gateway.port) as capture:
        with Client(gateway.port) as client:
            client.send(request("GET", "/static"))
            client.answer()
            capture.wait_for("now into .*shadow-00002")
            first, second = wait_until(lambda: len(files(tmp_path)) == 2 and files(tmp_path), "two")
            wait_until(lambda: one(first, "select ended_at from capture"), "the first one's end")
            begun = time.monotonic()
            wait_until(lambda: time.monotonic() - begun > 2.5, "more than two times one second")
            assert len(files(tmp_path)) == 2
            client.send(request("GET", "/static?2"))
            client.answer()
    finished(first)
    finished(second)
    assert [len(exchanges(f)) for f in files(tmp_path)] == [1, 1]


@pytest.mark.live
def test_live_by_size_keeps_few(raw_server, tmp_path):
    args = ["--rotate", "1M", "--keep", "2"]
    with Capture(tmp_path / "shadow.db", *args, port=raw_server.port) as capture:
        with Load(raw_server.port, body=os.urandom(20_000)) as load:
            load.body = os.urandom(60_000)

            def enough():
                load.body = os.urandom(60_000)
                return files(tmp_path) and numbers(tmp_path)[-1] >= 6

            wait_until(enough, "six files")
    assert len(files(tmp_path)) <= 2
    assert sorted(p.name for p in tmp_path.iterdir() if "stderr" not in p.name) == names(tmp_path)
    counts = ledger_said(capture.err)
    assert counts["stored"] == counts["seen"] == load.sent
    assert all(integrity(f) == "ok" for f in files(tmp_path))


@pytest.mark.live
def test_readers_of_the_present_file_take_nothing_away(raw_server, tmp_path):
    """--keep looks through the folder while another program opens, checks and closes the file that is
    being written: who is not the last to close a store leaves its log alone."""
    stop = threading.Event()

    def read():
        while not stop.is_set():
            for f in files(tmp_path)[-2:]:
                assert integrity(f) == "ok"

    args = ["--rotate", "1M", "--keep", "100"]
    with Capture(tmp_path / "shadow.db", *args, port=raw_server.port) as capture:
        reader = threading.Thread(target=read)
        with Load(raw_server.port, body=os.urandom(20_000)) as load:
            reader.start()
            try:

                def enough():
                    load.body = os.urandom(20_000)
                    return numbers(tmp_path)[-1] >= 12

                wait_until(enough, "twelve files")
            finally:
                stop.set()
                reader.join()
    counts = ledger_said(capture.err)
    assert counts["stored"] == counts["seen"] == load.sent
    assert sum(len(exchanges(f)) for f in files(tmp_path)) == load.sent


@pytest.mark.live
def test_a_session_in_parts(gateway, tmp_path):
    """Real traffic on many connections: what is in the set is what one store has of the same
    packets."""
    folder = tmp_path / "set"
    folder.mkdir()
    with Tcpdump(tmp_path / "in.pcap", gateway.port):
        sent = session(gateway.port, total=600)
    _, ledger = rotated(folder, tmp_path / "in.pcap", "--rotate", "1M")
    run("capture", "-r", tmp_path / "in.pcap", "-o", tmp_path / "one.db")
    assert len(files(folder)) > 1
    rows = sum((content(f) for f in files(folder)), [])
    assert len(rows) == len(sent)
    assert sorted(map(repr, rows)) == sorted(map(repr, content(tmp_path / "one.db")))
    check_accounts(folder, ledger)


@pytest.mark.live
def test_kill_leaves_good_stores(raw_server, tmp_path):
    """At any moment, several times over; and each start goes on behind what is there."""
    rng = random.Random(5)
    with Load(raw_server.port):
        for turn in range(5):
            before = max(numbers(tmp_path), default=0)
            capture = Capture(tmp_path / "shadow.db", "--rotate", "1s", port=raw_server.port)
            with capture:
                wait_until(lambda: max(numbers(tmp_path), default=0) >= before + 2, "two files")
                pause = time.monotonic() + rng.random() / 2
                wait_until(lambda: time.monotonic() > pause, "a moment")
                capture.kill()
    assert numbers(tmp_path) == list(range(1, len(files(tmp_path)) + 1))
    for f in files(tmp_path):
        run("info", f)
        assert integrity(f) == "ok"
    assert sum(len(exchanges(f)) for f in files(tmp_path)) > 0
    for f in files(tmp_path)[:-1]:
        run("query", f, "select count(*) from exchange")


@pytest.mark.live
def test_a_folder_that_goes_ends_the_capture(raw_server, tmp_path):
    folder, log = tmp_path / "set", tmp_path / "log"
    folder.mkdir()
    log.mkdir()
    args = ["--rotate", "1s"]
    with Capture(folder / "shadow.db", *args, port=raw_server.port, log=log) as capture:
        with Load(raw_server.port):
            wait_until(lambda: len(files(folder)) >= 2, "two files")
            shutil.move(folder, tmp_path / "away")
            capture.end(status=1)
    line = [x for x in capture.err.splitlines() if "cannot be" in x or "No such" in x]
    assert len(line) == 1 and "set" in line[0], capture.err
    counts = ledger_said(capture.err)
    assert counts["seen"] == sum(n for name, n in counts.items() if name != "seen")
    assert all(integrity(f) == "ok" for f in files(tmp_path / "away"))
    assert sum(len(exchanges(f)) for f in files(tmp_path / "away")) == counts["stored"]


@pytest.mark.parametrize("small_disk", ["5m"], indirect=True)
def test_a_full_disk(recording, small_disk):
    done, _ = rotated(small_disk, recording, "--rotate", "1M", status=1)
    said = [line for line in done.err_lines if re.search("is full|No space", line)]
    assert len(said) == 1 and "/shadow-" in said[0], done.err
    assert not [p for p in small_disk.iterdir() if p.name.startswith(".")]
    counts = ledger_said(done.err)
    assert counts["seen"] == sum(n for name, n in counts.items() if name != "seen")
    assert counts["sink_failed"] > 0
    stored = 0
    # SQLite itself wants room to open a store with a log.
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    for f in files(small_disk):
        assert integrity(f) == "ok"
        stored += len(exchanges(f))
    assert stored == counts["stored"] > 0


@pytest.mark.parametrize("small_disk", ["5m"], indirect=True)
def test_keep_makes_room(recording, small_disk):
    """Twice the disk in all, and never more on it than it has."""
    rotated(small_disk, recording, "--rotate", "1M", "--keep", "2")
    assert len(files(small_disk)) == 2


@pytest.mark.live
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_all(number, raw_server, tmp_path):
    with Capture(tmp_path / "shadow.db", "--rotate", "1s", port=raw_server.port) as capture:
        with Load(raw_server.port) as load:
            wait_until(lambda: len(files(tmp_path)) >= 2, "two files")
            capture.signal(signal.SIGUSR1)
            capture.wait_for("requests ")
            capture.signal(number)
            capture.end()
    for f in files(tmp_path):
        finished(f)
    counts = ledger_said(capture.err)
    assert counts["seen"] == counts["stored"] <= load.sent + 1
    assert sum(len(exchanges(f)) for f in files(tmp_path)) == counts["stored"]


def test_a_connection_that_spans_files_is_one_again(recording, tmp_path, raw_server):
    """In whatever is made of the set: merged, asked, converted, replayed."""
    run("capture", "-r", recording, "-o", tmp_path / "shadow.db", "--rotate", "3s")
    there = files(tmp_path)
    assert len(there) > 3
    spanning = sum(one(f, "select count(distinct connection) from exchange") for f in there)
    assert spanning > 20
    count = "select count(*) as n, count(distinct connection) as connections from exchange"
    glob = tmp_path / "shadow-*.db"
    asked = json.loads(run("query", glob, count, "--json").out)[0]
    assert asked["connections"] == 20
    run("store", "merge", glob, "-o", tmp_path / "merged.db")
    assert one(tmp_path / "merged.db", "select count(distinct connection) from exchange") == 20
    run("convert", glob, tmp_path / "all.jsonl")
    run("convert", glob, tmp_path / "all.db")
    run("convert", tmp_path / "all.db", tmp_path / "again.jsonl")
    for made in ("all.jsonl", "again.jsonl"):
        lines = [json.loads(x) for x in (tmp_path / made).read_text().splitlines()]
        assert len(lines) == asked["n"]
        assert len({x["connection"] for x in lines}) == 20
    run("replay", glob, "-o", tmp_path / "run.db", "--to", raw_server.url, "--max",
        "--methods", "all")  # fmt: skip
    # What one connection sent, in its order, on one connection of the target's.
    recorded = {}
    for row in select(tmp_path / "run.db", "select client_port, path from exchange order by ts_us"):
        recorded.setdefault(row[0], []).append(row[1])
    sent = {}
    for seen in raw_server.seen:
        sent.setdefault(seen.connection, []).append(seen.target)
    assert len(recorded) == 20
    for paths in recorded.values():
        assert paths in [[p for p in targets if p in set(paths)] for targets in sent.values()]
