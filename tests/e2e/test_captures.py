# SPDX-License-Identifier: Apache-2.0
"""The project's own captures, made by tests/captures, each held against its ground truth."""

import copy
import pathlib
import shutil
import sys

import corpus
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "captures"))

import generate  # noqa: E402
from registry import CASES  # noqa: E402


@pytest.fixture(scope="session")
def captures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captures")
    yield folder, {e["name"]: e for e in generate.generate(folder)}
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", CASES)
def test_capture_is_as_it_was_made(name, captures, tmp_path):
    folder, entries = captures
    out = corpus.run_case(folder, entries[name], tmp_path)
    if out.problems:
        pytest.fail("\n".join(corpus.report(out, verbose=False)), pytrace=False)


def test_captures_are_the_same_each_time(tmp_path):
    """A case that fails must be there to be looked at again."""
    written = []
    for turn in ("one", "two"):
        generate.generate(tmp_path / turn, "random/lossless/1")
        written.append({p.name: p.read_bytes() for p in (tmp_path / turn).rglob("*.*")})
    assert written[0] == written[1]


# What may be wrong, and the kind of difference that must then be told.
WRONG = {
    "method": ("method", "BREW"),
    "target": ("target", "/other"),
    "host": ("host", "other.test"),
    "version": ("version", "1.0"),
    "server": ("server", "10.2.0.1:81"),
    "client": ("client", "10.1.0.2:40000"),
    "ts": ("ts", "1700000000.000000000"),
    "status": ("status", 599),
    "state": ("state", "gap"),
    "resp_ts": ("ttfb", "1800000000.000000000"),
    "req_body_len": ("request-size", 77777),
    "req_body_sha256": ("request-body", "0" * 64),
    "resp_body_len": ("response-size", 77777),
    "resp_body_sha256": ("response-body", "0" * 64),
    "req_head_sha256": ("request-head", "0" * 64),
    "resp_headers": ("response-headers", [["X", "y"]]),
    "response_trailers": ("trailers", [["X-T", "2"]]),
    "stream": ("connection", 99),
    "position": ("position", 99),
}
TAKEN_FOR_ANOTHER = {"client"}  # it is another request then: one is missing and one is extra


@pytest.fixture(scope="session")
def mixed(captures, tmp_path_factory):
    """A store that is as it should be, and what it should be."""
    folder, entries = captures
    entry = entries["mixed/one-connection"]
    store = tmp_path_factory.mktemp("mixed") / "mixed.db"
    assert corpus.capture(corpus.Outcome(entry), folder, entry, store, 60) == 0
    return entry, store


@pytest.mark.parametrize("key", WRONG)
def test_comparison_sees_a_difference(key, mixed):
    """A comparison that cannot fail proves nothing."""
    entry, store = mixed
    entry = copy.deepcopy(entry)
    kind, value = WRONG[key]
    entry["expected"]["list"][1][key] = value
    out = corpus.Outcome(entry)
    corpus.compare(out, entry, *corpus.read_store(store))
    assert out.kinds["missing" if key in TAKEN_FOR_ANOTHER else kind] == 1, out.problems


def test_comparison_sees_missing_and_extra_requests(mixed):
    entry, store = mixed
    rows, ledger = corpus.read_store(store)
    out = corpus.Outcome(entry)
    corpus.compare(out, entry, rows[1:], ledger)
    assert out.kinds["missing"] == 1 and out.kinds["ledger"]
    less = copy.deepcopy(entry)
    del less["expected"]["list"][0]
    out = corpus.Outcome(less)
    corpus.compare(out, less, rows, ledger)
    assert out.kinds["extra"] == 1 and out.kinds["ledger"]


def test_comparison_sees_a_ledger_that_does_not_add_up(mixed):
    _, store = mixed
    for group, name in (("packets", "used"), ("requests", "stored"), ("responses", "orphaned")):
        _, ledger = corpus.read_store(store)
        ledger[group][name] += 1
        out = corpus.Outcome(mixed[0])
        corpus.check_ledger(out, ledger)
        assert out.kinds["ledger"] == 1
