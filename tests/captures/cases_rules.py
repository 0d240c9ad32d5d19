# SPDX-License-Identifier: Apache-2.0
"""Options that leave requests out: what remains is right, and the ledger says what was left out."""

from registry import case
from talk import Capture, request, response, text

SENT = (("GET", "/api/a"), ("POST", "/api/b?x=1"), ("GET", "/static/c.css"), ("GET", "/apix"),
        ("DELETE", "/api/a"), ("GET", "/"))


def several(options, wanted, reason=None, **ledger):
    """The requests of SENT on one connection; `wanted` says which are kept."""
    cap = Capture()
    t = cap.talk().open()
    for n, (method, target) in enumerate(SENT):
        body = text(3000, n) if method == "POST" else b""
        t.exchange(request(method, target, body=body), response(230 + n, body=text(2000, n)))
    t.close()
    t.truths = [truth for truth in t.truths if wanted(truth.message)]
    cap.options = options
    left = len(SENT) - len(t.truths)
    cap.ledger = {"requests.seen": len(SENT), "responses.paired": len(SENT),
                  "messages.bodies_capped": 0, "streams.gaps": 0, **ledger}
    if reason:
        cap.ledger[f"requests.{reason}"] = left
    return cap


ROUTES = {
    "prefix": (["/api/*"], lambda m: m.target.startswith("/api/")),
    "exact": (["/apix"], lambda m: m.target == "/apix"),
    "exact-ignores-query": (["/api/b"], lambda m: m.target == "/api/b?x=1"),
    "two": (["/api/*", "/"], lambda m: m.target.startswith("/api/") or m.target == "/"),
    "method": (["GET /api/*"], lambda m: m.method == "GET" and m.target.startswith("/api/")),
    "methods": (["POST,DELETE /*"], lambda m: m.method in ("POST", "DELETE")),
    "regex": (["~/api/[ab]"], lambda m: m.target.split("?")[0] in ("/api/a", "/api/b")),
    "host": (["app.test/apix"], lambda m: m.target == "/apix"),
    "other-host": (["other.test/*"], lambda m: False),
}


@case("rules/route", rows=ROUTES)
def route(row):
    rules, wanted = row
    return several([word for rule in rules for word in ("--route", rule)], wanted, "filtered")


@case("rules/exclude")
def exclude():
    return several(["--exclude", "/api/*"], lambda m: not m.target.startswith("/api/"), "filtered")


@case("rules/route-and-exclude")
def route_and_exclude():
    return several(["--route", "/api/*", "--exclude", "DELETE /*"],
                   lambda m: m.target.startswith("/api/") and m.method != "DELETE", "filtered")


@case("rules/sample", rows={"none": "0%", "all": "100%"})
def sample(percent):
    return several(["--sample", percent], lambda m: percent == "100%", "unsampled")


@case("rules/count")
def count():
    """The first two of a connection."""
    cap = several(["--count", "2"], lambda m: m.target in ("/api/a", "/api/b?x=1")
                  and m.method != "DELETE")
    # Whether the rest of the file is still read is not for a test to say.
    cap.ledger = dict.fromkeys(("packets.seen", "responses.paired", "responses.orphaned"))
    return cap


@case("rules/own-replay")
def own_replay():
    """Requests that a replay sent are no production traffic."""
    cap = Capture()
    t = cap.talk().open()
    t.exchange()
    t.exchange(request("GET", "/replayed", fields=[("X-Shadow-Replay", "1")]))
    t.exchange(request("GET", "/replayed", fields=[("x-shadow-REPLAY", "")]))
    t.exchange(request("GET", "/genuine"))
    t.close()
    t.truths = [truth for truth in t.truths if truth.message.target != "/replayed"]
    cap.ledger = {"requests.seen": 4, "requests.own_replay": 2, "responses.paired": 4}
    return cap
