# SPDX-License-Identifier: Apache-2.0
"""Holds what a capture wrote into its store against the ground truth of a folder of captures.

A folder has a manifest.json: for each file the requests in it, with the status and the digests of
both bodies, by capture time. The comparison reads nothing but the store, and a difference names
the frame and the TCP stream, so that it can be looked at in any packet viewer. It never repairs or
guesses: a request that is not where the manifest says is missing, and another one is extra.

    corpus.py DIR [--filter SUBSTR] [--folder NAME] [-v] [--jobs N]
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import sqlite3
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEFAULT_OPTIONS = ["--max-body", "64M"]
# Folders whose ground truth is not to be trusted: what counts there is that nothing breaks.
SURVIVE = ("disputed", "robust")
SHOWN = 6
CRASH_WORDS = (b"Sanitizer", b"runtime error:", b"Assertion", b"terminated by signal")


def binary():
    return pathlib.Path(os.environ.get("SHADOW_CTL", ROOT / "build/cli/shadow-ctl")).resolve()


@dataclasses.dataclass
class Outcome:
    """What came of one file. It is good when `problems` is empty."""

    entry: dict
    problems: list = dataclasses.field(default_factory=list)
    kinds: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    skipped: list = dataclasses.field(default_factory=list)
    requests: int = 0

    @property
    def file(self):
        return self.entry["file"]

    @property
    def folder(self):
        return folder_of(self.entry)

    def problem(self, kind, text):
        self.kinds[kind] += 1
        self.problems.append(f"{kind}: {text}")


def folder_of(entry):
    return entry["file"].split("/", 1)[0] if "/" in entry["file"] else ""


def load(folder):
    with open(pathlib.Path(folder) / "manifest.json", encoding="utf-8") as f:
        return json.load(f)["files"]


# --- what was expected ---------------------------------------------------------------------------


def to_us(text):
    """Seconds with up to nine decimals, as text, in whole microseconds, cut and not rounded."""
    seconds, _, rest = text.partition(".")
    return int(seconds) * 1000000 + int((rest + "000000")[:6])


def split_endpoint(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]").lower(), int(port)


def in_scope(entry):
    """The plain HTTP/1 requests of an entry, and a word for each thing left out."""
    expected = entry["expected"]
    plain = [e for e in expected["list"] if not e.get("tls")]
    skipped = []
    if len(plain) < len(expected["list"]):
        skipped.append(f"{len(expected['list']) - len(plain)} requests inside TLS")
    if expected.get("http2"):
        skipped.append(f"{len(expected['http2'])} HTTP/2 streams")
    return sorted(plain, key=lambda e: (to_us(e["ts"]), e["frame"])), skipped


def describe_expected(e):
    return (
        f"stream {e['stream']} frame {e['frame']} ts {e['ts'][:-3]} {e['client']} > {e['server']} "
        f"{e['method']} {shorten(e['target'])}"
    )


# --- what was stored -----------------------------------------------------------------------------

ROWS = """
select e.id, ts_us, connection, position, client, client_port, server, server_port, method, scheme,
       host, path, query, version, request_headers, request_size, rq.data as request_body, status,
       response_headers, response_size, rs.data as response_body, ttfb_us, duration_us, state,
       request_raw, request_trailers, response_trailers
from exchange e left join body rq on rq.id = e.request_body left join body rs
     on rs.id = e.response_body
where e.capture_id = (select max(id) from capture) order by ts_us, e.id
"""


def raw(value):
    """A column of text as the bytes on the wire, one code point each."""
    return None if value is None else bytes(value).decode("latin-1")


def wire(text):
    """A JSON string as bytes on the wire. UTF-8 was taken as such, anything else as latin-1."""
    return text.encode("utf-8").decode("latin-1")


def same_text(expected, got):
    """`got` may hold the bytes 80..ff as themselves or, from a latin-1 reading, as UTF-8."""
    if expected == got:
        return True
    if expected is None or got is None:
        return False
    try:
        return got.encode("latin-1").decode("utf-8") == expected
    except UnicodeError:
        return False


class Row:
    """An exchange of the store, in the terms of the manifest."""

    def __init__(self, columns):
        for name, value in columns.items():
            setattr(self, name, value)
        for name in ("method", "scheme", "host", "path", "query", "version", "state"):
            setattr(self, name, raw(columns[name]))
        self.client = (raw(columns["client"]).lower(), columns["client_port"])
        self.server = (raw(columns["server"]).lower(), columns["server_port"])
        self.version = (self.version or "").replace("HTTP/", "")
        self.request_body = bytes(columns["request_body"] or b"")
        self.response_body = bytes(columns["response_body"] or b"")
        self.request_headers = json.loads(bytes(columns["request_headers"] or b"[]"))
        self.request_line = None
        if columns["request_raw"] is not None:
            head = bytes(columns["request_raw"]).lstrip(b"\r\n")
            self.request_line = head.split(b"\n", 1)[0].rstrip(b"\r").decode("latin-1")

    @property
    def identity(self):
        return {"ts": self.ts_us, "client": self.client, "method": self.method,
                "target": self.target}

    @property
    def target(self):
        if self.request_line is not None:
            line = re.sub(r"\s+HTTP/\d+(\.\d+)?\s*$", "", self.request_line, flags=re.I)
            return line.partition(" ")[2].strip(" ")
        return self.path if self.query is None else f"{self.path}?{self.query}"

    def target_is(self, expected):
        if same_text(expected, self.target):
            return True
        # Absolute form, kept in its parts (RFC 9112, 3.2.2).
        absolute = f"{self.scheme}://{self.host}{self.target}"
        return same_text(expected, absolute) or same_text(expected + "/", absolute)

    @property
    def request_head(self):
        if self.request_raw is not None:
            return bytes(self.request_raw)
        lines = [f"{self.method} {self.target} HTTP/{self.version}"]
        lines += [f"{name}: {wire(value)}" for name, value in self.request_headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    @property
    def host_field(self):
        for name, value in self.request_headers:
            if name.lower() == "host":
                return wire(value)
        return None

    def host_is(self, expected):
        """The manifest's host is the Host field; the column prefers the target's authority."""
        return any(same_text(expected or "", h or "") for h in (self.host_field, self.host))

    def describe(self):
        return (
            f"connection {self.connection} position {self.position} ts {self.ts_us // 1000000}."
            f"{self.ts_us % 1000000:06d} {self.client[0]}:{self.client[1]} > "
            f"{self.server[0]}:{self.server[1]} {self.method} {shorten(self.target)} "
            f"status {self.status} state {self.state}"
        )


def shorten(text, size=70):
    text = "(none)" if text is None else text
    text = text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= size else f"{text[:size]}... ({len(text)})"


def read_store(path):
    """The last capture's exchanges and its ledger."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        db.text_factory = bytes
        cursor = db.execute(ROWS)
        names = [c[0] for c in cursor.description]
        rows = [Row(dict(zip(names, values))) for values in cursor]
        ledger = db.execute("select ledger from capture order by id desc limit 1").fetchone()
        return rows, json.loads(ledger[0]) if ledger and ledger[0] else None
    finally:
        db.close()


# --- the comparison ------------------------------------------------------------------------------


# What tells one request from another, the most telling combination first.
IDENTITY = (
    ("ts", "client", "method", "target"),
    ("ts", "client", "method"),
    ("client", "method", "target"),
    ("ts", "client"),
)


def match(expected, rows):
    """Pairs each expected request with a row, the most alike first. Returns pairs, both rests."""
    pairs, left, rest = [], list(expected), list(rows)
    for names in IDENTITY:
        waiting = collections.defaultdict(collections.deque)
        for row in rest:
            waiting[tuple(row.identity[n] for n in names)].append(row)
        unmatched = []
        for e in left:
            identity = identity_of(e)
            there = waiting.get(tuple(identity[n] for n in names))
            if there:
                pairs.append((e, there.popleft()))
            else:
                unmatched.append(e)
        left, rest = unmatched, [row for queue in waiting.values() for row in queue]
    place = {id(e): i for i, e in enumerate(expected)}
    pairs.sort(key=lambda p: place[id(p[0])])
    rest.sort(key=lambda row: row.ts_us)
    return pairs, left, rest


def identity_of(e):
    return {
        "ts": to_us(e["ts"]),
        "client": split_endpoint(e["client"]),
        "method": e["method"],
        "target": e["target"],
    }


def compare_body(out, where, side, e, row):
    """`side` is request or response; the manifest's names begin with req_ or resp_."""
    short = "req" if side == "request" else "resp"
    body = getattr(row, f"{side}_body")
    size = getattr(row, f"{side}_size") or 0
    length = e.get(f"{short}_body_len")
    captured = e.get(f"{short}_body_captured")
    digest = e.get(f"{short}_body_sha256")
    kept = e.get(f"{short}_body_kept", length)
    if length is None:
        if captured is not None and len(body) != captured:
            out.problem(
                f"{side}-body",
                f"{where}: cut body, expected a prefix of {captured} bytes, kept {len(body)} "
                f"(size {size}) {peek(body)}",
            )
        return
    if size != length:
        out.problem(f"{side}-size", f"{where}: expected {length}, got {size} {peek(body)}")
    elif len(body) != kept:
        out.problem(f"{side}-body", f"{where}: expected {kept} kept bytes, got {len(body)}")
    elif digest is not None and hashlib.sha256(body).hexdigest() != digest:
        out.problem(
            f"{side}-body", f"{where}: {length} bytes as expected, but others: {peek(body)}"
        )


def peek(body):
    shown = body if len(body) <= 48 else body[:24] + b" ... " + body[-16:]
    return repr(shown)[1:] if body else "(empty)"


def compare_times(out, where, e, row):
    if "resp_ts" not in e or "status" not in e or row.status is None:
        return
    want = to_us(e["resp_ts"]) - to_us(e["ts"])
    want = max(want, 0)  # less: captured in another order than sent
    if row.ttfb_us != want:
        out.problem("ttfb", f"{where}: response in frame {e.get('resp_frame')} after {want} us, "
                            f"got {row.ttfb_us}")


def compare_state(out, where, e, row):
    want = e.get("state")
    if want is None and e.get("resp_complete") and e.get("resp_body_len") is None:
        return  # where the body ends is in doubt
    if want is None:
        whole = e["req_complete"] and e.get("resp_complete", False)
        if whole == (row.state == "complete"):
            return
        want = "complete" if whole else "not complete"
    if row.state != want:
        out.problem("state", f"{where}: expected {want}, got {row.state} (request complete "
                             f"{e['req_complete']}, response {e.get('resp_complete')})")


def compare_heads(out, where, e, row):
    """The request's head must come back byte for byte, from request_raw or from the parts."""
    digest = e.get("req_head_sha256")
    if digest is not None and hashlib.sha256(row.request_head).hexdigest() != digest:
        out.problem("request-head", f"{where}: got {peek(row.request_head)}, request_raw "
                                    f"{'is NULL' if row.request_raw is None else 'used'}")
    wanted = e.get("resp_headers")
    got = None if row.response_headers is None else json.loads(bytes(row.response_headers))
    if wanted is not None and row.status is not None and got != wanted:
        out.problem("response-headers", f"{where}: expected {wanted}, got {got}"[:400])


def compare_one(out, e, row):
    where = describe_expected(e)
    if row.ts_us != to_us(e["ts"]):
        out.problem("ts", f"{where}: got {row.ts_us / 1e6:.6f}")
    if row.server != split_endpoint(e["server"]):
        out.problem("server", f"{where}: got {row.server}")
    if not same_text(e["method"], row.method):
        out.problem("method", f"{where}: got {shorten(row.method)}")
    if not row.target_is(e["target"]):
        out.problem("target", f"{where}: got {shorten(row.target)}")
    if not row.host_is(e["host"]):
        out.problem("host", f"{where}: expected {e['host']}, got column {shorten(row.host)} "
                            f"field {shorten(row.host_field)}")
    if row.version != e["version"]:
        out.problem("version", f"{where}: expected {e['version']}, got {row.version}")
    if row.status != e.get("status"):
        out.problem("status", f"{where}: expected {e.get('status')} (frame {e.get('resp_frame')}), "
                              f"got {row.status}")
    compare_body(out, where, "request", e, row)
    if "status" in e and row.status is not None:
        compare_body(out, where, "response", e, row)
    compare_times(out, where, e, row)
    compare_state(out, where, e, row)
    compare_heads(out, where, e, row)
    for side in ("request_trailers", "response_trailers"):
        if side in e and (side == "request_trailers" or row.status is not None):
            got = getattr(row, side)
            got = None if got is None else json.loads(bytes(got))
            if got != e[side]:
                out.problem("trailers", f"{where}: {side} expected {e[side]}, got {got}")


def compare_connections(out, pairs):
    """One TCP stream is one connection, and positions grow along it: in the order that the
    manifest's `position` says or, without it, by time."""
    streams, connections, lines = {}, {}, collections.defaultdict(list)
    for e, row in pairs:
        stream = e["stream"]
        if streams.setdefault(stream, row.connection) != row.connection:
            out.problem("connection", f"{describe_expected(e)}: connection {row.connection}, "
                                      f"earlier requests of the stream {streams[stream]}")
        if connections.setdefault(row.connection, stream) != stream:
            out.problem("connection", f"{describe_expected(e)}: connection {row.connection} "
                                      f"also has stream {connections[row.connection]}")
        lines[row.connection].append((e.get("position", 0), row.position, e))
    for line in lines.values():
        line.sort(key=lambda x: x[0])
        for before, here in zip(line, line[1:]):
            if here[1] <= before[1]:
                out.problem("position", f"{describe_expected(here[2])}: position {here[1]} after "
                                        f"{before[1]}")


def ledger_table():
    """Group, JSON name and role of every counter, from the one table there is."""
    text = (ROOT / "core/include/core/counters.h").read_text(encoding="utf-8")
    rows = re.findall(r'X\((\w+), \w+, "(\w+)",\s*"[^"]*",\s*(TOTAL|PART|REST)\)', text)
    return [(group.lower(), name, role) for group, name, role in rows]


def check_ledger(out, ledger):
    """Every group adds up: its total is the sum of its parts."""
    if ledger is None:
        out.problem("ledger", "capture.ledger is not written")
        return
    totals, parts = {}, collections.defaultdict(dict)
    for group, name, role in ledger_table():
        value = ledger.get(group, {}).get(name)
        if not isinstance(value, int):
            out.problem("ledger", f"{group}.{name} is {value!r}")
        elif role == "TOTAL":
            totals[group] = value
        elif role == "PART":
            parts[group][name] = value
    for group, total in totals.items():
        if total != sum(parts[group].values()):
            shown = ", ".join(f"{k} {v}" for k, v in parts[group].items() if v)
            out.problem("ledger", f"{group}: {total} seen, but {sum(parts[group].values())} "
                                  f"accounted for ({shown})")


def compare_ledger(out, entry, expected, rows, ledger):
    if not ledger:
        return
    requests, responses = ledger.get("requests", {}), ledger.get("responses", {})
    matched = sum("status" in e for e in expected)
    wanted = {
        "requests.stored": len(expected),
        "responses.paired": matched,
        "responses.orphaned": entry["expected"]["orphan_responses"],
    }
    wanted.update(entry["expected"].get("ledger", {}))
    for path, want in wanted.items():
        group, name = path.split(".")
        got = ledger.get(group, {}).get(name)
        if want is not None and got != want:
            out.problem("ledger", f"{path}: expected {want}, got {got}")
    if requests.get("stored") != len(rows):
        out.problem("ledger", f"requests.stored {requests.get('stored')}, rows {len(rows)}")
    # An answer to a request that was left out has no row.
    left_out = requests.get("seen", 0) - requests.get("unfinished", 0) - len(rows)
    if not left_out and responses.get("paired") != sum(row.status is not None for row in rows):
        out.problem("ledger", f"responses.paired {responses.get('paired')}, but rows with a "
                              f"status: {sum(row.status is not None for row in rows)}")


def compare(out, entry, rows, ledger):
    expected, out.skipped = in_scope(entry)
    out.requests = len(expected)
    pairs, missing, extra = match(expected, rows)
    for e in missing:
        out.problem("missing", f"{describe_expected(e)} status {e.get('status')}")
    for row in extra:
        out.problem("extra", row.describe())
    for e, row in pairs:
        compare_one(out, e, row)
    compare_connections(out, pairs)
    compare_ledger(out, entry, expected, rows, ledger)


# --- running it ----------------------------------------------------------------------------------


def capture(out, folder, entry, store, seconds):
    """Runs the capture. Returns its exit status, or None when that alone is a failure."""
    command = [str(binary()), "capture", "-r", str(pathlib.Path(folder) / entry["file"]), "-o",
               str(store), *entry.get("options", DEFAULT_OPTIONS), "--quiet"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        out.problem("hang", f"not done after {seconds} s")
        return None
    talk = done.stderr.decode("utf-8", "replace").strip()
    if done.returncode < 0 or any(word in done.stderr for word in CRASH_WORDS):
        out.problem("crash", f"status {done.returncode}: {talk[-1500:]}")
        return None
    allowed = (0, 2) if out.folder in SURVIVE else (0,)
    if done.returncode not in entry.get("exit", allowed):
        out.problem("exit", f"status {done.returncode}: {talk[-300:]}")
        return None
    if done.returncode == 2 and (not talk or "\n" in talk):
        out.problem("exit", f"status 2 wants one line that says why, got {talk!r}")
    if done.returncode == 2 and store.exists():
        out.problem("exit", "status 2, but a store was written")
    return done.returncode


def run_case(folder, entry, workdir, seconds=60, keep=False):
    """Captures one file of the manifest into a store in `workdir` and compares."""
    out = Outcome(entry)
    store = pathlib.Path(workdir) / (entry["file"].replace("/", "__") + ".db")
    try:
        if capture(out, folder, entry, store, seconds) != 0:
            return out
        rows, ledger = read_store(store)
        check_ledger(out, ledger)
        if out.folder not in SURVIVE:
            compare(out, entry, rows, ledger)
    except (sqlite3.Error, ValueError) as error:
        out.problem("store", f"{type(error).__name__}: {error}")
    finally:
        if not keep:
            for path in store.parent.glob(f"{store.name}*"):
                path.unlink()
    return out


def report(out, verbose):
    """The lines a person reads about one file."""
    skipped = f"  (skipped: {', '.join(out.skipped)})" if out.skipped else ""
    if not out.problems:
        return [f"OK   {out.file} {out.requests} requests{skipped}"] if verbose or skipped else []
    what = ", ".join(f"{kind} {n}" for kind, n in out.kinds.most_common())
    lines = [f"FAIL {out.file} {out.requests} requests [{what}]{skipped}"]
    lines.append(f"       policy {out.entry.get('policy')} classes {out.entry.get('classes')}")
    shown = out.problems if verbose else out.problems[:SHOWN]
    lines += [f"     {line}" for line in shown]
    if len(shown) < len(out.problems):
        lines.append(f"     ... and {len(out.problems) - len(shown)} more")
    return lines


def summary(outcomes):
    failed = [o for o in outcomes if o.problems]
    lines = []
    for title, words in (
        ("kind", lambda o: list(o.kinds)),
        ("policy", lambda o: o.entry.get("policy") or ["(core)"]),
        ("class", lambda o: o.entry.get("classes", [])),
    ):
        total = collections.Counter(w for o in outcomes for w in set(words(o)))
        bad = collections.Counter(w for o in failed for w in set(words(o)))
        if bad:
            lines.append(f"files that fail, by {title}:")
            of = (lambda w: "") if title == "kind" else (lambda w: f" of {total[w]}")
            lines += [f"  {n:4d}{of(w):8s} {w}" for w, n in bad.most_common(40)]
    for folder in sorted({o.folder for o in outcomes}):
        here = [o for o in outcomes if o.folder == folder]
        good = sum(not o.problems for o in here)
        lines.append(f"{folder or 'files'}: {good} of {len(here)} files as expected, "
                     f"{sum(o.requests for o in here)} requests")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="DIR", help="holds manifest.json and the captures")
    parser.add_argument("--filter", default="", help="only files whose name has this in it")
    parser.add_argument("--folder", dest="only", help="only this folder: http, negative, ...")
    parser.add_argument("--class", dest="tag", help="only files of this class or policy")
    parser.add_argument("--keep", help="keep the stores in this directory")
    parser.add_argument("--seconds", type=float, default=60, help="time limit of a file")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-v", dest="verbose", action="store_true", help="everything, good or bad")
    args = parser.parse_args()

    entries = [e for e in load(args.folder) if args.filter in e["file"]
               and args.only in (None, folder_of(e))
               and (args.tag is None or args.tag in e.get("policy", []) + e.get("classes", []))]
    if not entries:
        parser.error("no file of the manifest is meant")
    if not binary().exists():
        parser.error(f"{binary()} is missing; set SHADOW_CTL")
    with tempfile.TemporaryDirectory(prefix="corpus-") as tmp:
        work = args.keep or tmp
        os.makedirs(work, exist_ok=True)
        for old in pathlib.Path(work).glob("*.db*"):
            old.unlink()
        outcomes = []
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            for out in pool.map(lambda e: run_case(args.folder, e, work, args.seconds,
                                                   bool(args.keep)), entries):
                outcomes.append(out)
                for line in report(out, args.verbose):
                    print(line, flush=True)
    print("\n".join(summary(outcomes)))
    return 1 if any(o.problems for o in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
