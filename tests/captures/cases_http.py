# SPDX-License-Identifier: Apache-2.0
"""HTTP/1 messages: framing, order, odd but real heads, ceilings. The packets are ordinary here."""

import hashlib

from registry import case
from talk import (C, CUT_REQUEST, CUT_RESPONSE, S, Capture, Message, chunked, request, response,
                  text)


def start(**where):
    cap = Capture()
    return cap, cap.talk(**where).open()


def finish(t, cap, **ledger):
    t.exchange(request("GET", "/after"), response(body=b"still in step"))
    t.close()
    cap.ledger = {name.replace("__", "."): n for name, n in ledger.items()}
    return cap


def one(asked=None, answered=None):
    """An odd exchange between two ordinary ones."""
    cap, t = start()
    t.exchange()
    t.exchange(asked, answered)
    return finish(t, cap)


# --- pipelining, splitting -----------------------------------------------------------------------


@case("pipelining", rows={"one-segment": 9999, "split-anywhere": 11, "by-request": None})
def pipelining(size):
    """Eight requests before the first answer."""
    cap, t = start()
    asked = []
    for n in range(8):
        body = text(40, n) if n % 3 == 1 else b""
        asked.append(t.ask(request("POST" if body else "GET", f"/n/{n}", body=body)))
        if size is None:
            t.flush(C)
    t.flush(C, size or 1)
    for n, truth in enumerate(asked):
        t.answer(truth, response(230 + n, body=text(30 * n, n)))
        if size is None:
            t.flush(S)
    t.flush(S, size or 1)
    return finish(t, cap)


@case("pipelining/answered-while-asking")
def pipelining_overlapped():
    cap, t = start()
    asked = [t.ask(request("GET", f"/n/{n}")) for n in range(6)]
    parts = []
    while t.sent[C] < len(t.stream[C]):
        parts.append((t.sent[C], min(t.sent[C] + 50, len(t.stream[C]))))
        t.sent[C] = parts[-1][1]
    for truth in asked:
        end = truth.start + len(truth.message.raw)
        while parts and t.high[C] < end:
            t.segment(C, *parts.pop(0))
        t.answer(truth, response(body=truth.message.target.encode()))
        t.flush(S)
    return finish(t, cap)


@case("split/every-point")
def split_every_point():
    """One exchange after the other on its own connection, cut at each byte in turn."""
    cap = Capture(step=1000)
    asked = request("POST", "/cut?here=1", body=b"name=value", chunks={"size": 4})
    answered = response(201, "Created", body=b"0123456789", chunks={
        "size": 6, "trailers": [("X-Sum", "9")]})
    for at in range(1, max(len(asked.raw), len(answered.raw))):
        t = cap.talk(sport=20000 + at).open()
        truth = t.ask(asked)
        a, b = t.skip(C)
        for x, y in ((a, min(a + at, b)), (min(a + at, b), b)):
            if x < y:
                t.segment(C, x, y)
        t.answer(truth, answered)
        a, b = t.skip(S)
        for x, y in ((a, min(a + at, b)), (min(a + at, b), b)):
            if x < y:
                t.segment(S, x, y)
        t.close()
    return cap


# --- framing -------------------------------------------------------------------------------------

CHUNKS = {
    "plain": {},
    "one": {"size": 100000},
    "bytes": {"size": 1},
    "upper-case": {"size": 171, "upper": True},
    "extension": {"size": 50, "extension": b";name=value"},
    "extension-quoted": {"size": 50, "extension": b'; a="q;\\"x" ; b'},
    "extension-space": {"size": 50, "extension": b" ;a"},
    "trailers": {"size": 50, "trailers": [("X-Checksum", "abc"), ("Server-Timing", "db;dur=3")]},
    "all": {"sizes": [1, 300, 20], "extension": b";x", "trailers": [("X-End", "yes")]},
}


@case("chunked", rows=CHUNKS)
def chunked_bodies(chunks):
    return one(request("POST", "/in", body=text(700), chunks=chunks),
               response(body=text(900, 2), chunks=chunks))


@case("chunked/empty")
def chunked_empty():
    return one(request("POST", "/none", chunks={}), response(chunks={}))


@case("chunked/data-like-the-end")
def chunked_like_end():
    """The data itself ends in the bytes that end a chunked body."""
    body = b"first\r\n0\r\n\r\n"
    return one(request("POST", "/x", body=body + b"0\r\n\r\n", chunks={"size": 17}),
               response(body=body, chunks={"size": len(body)}))


@case("chunked/zeros-before-size")
def chunked_zeros():
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00005\r\nhello\r\n0000\r\n\r\n"
    return one(None, Message(raw, b"hello", status=200))


@case("chunked/space-after-size")
def chunked_space():
    """As old Apaches wrote it."""
    raw = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
           b"5 \r\nhello\r\n6    \r\n world\r\n0\r\n\r\n")
    return one(None, Message(raw, b"hello world", status=200))


@case("chunked/impossible-size", rows={"overflow": b"10000000000000005", "no-digits": b"xyz",
                                       "negative": b"-5"})
def chunked_impossible(size):
    """No telling where such a body ends, and its bytes must not become a request."""
    cap, t = start()
    t.exchange()
    raw = (b"POST /odd HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n" + size
           + b"\r\nhello")
    truth = t.ask(Message(raw, b"", "POST", "/odd", "app.test"))
    t.flush(C)
    t.answer(truth, response(400, "Bad Request", fields=[("Connection", "close")]))
    t.flush(S)
    t.close(S)
    truth.expect(req_complete=False, req_body_len=None, req_body_sha256="unchecked", state="gap")
    return cap


@case("body/like-a-message")
def body_like_message():
    """Bodies that hold whole messages."""
    inner = request("GET", "/inner").raw + response(404, body=b"inner").raw
    return one(request("POST", "/outer", body=inner), response(body=inner * 3))


@case("body/of-get")
def body_of_get():
    """Any request may have a body, whatever its method says of it."""
    cap, t = start()
    for method in ("GET", "DELETE", "OPTIONS", "HEAD"):
        t.exchange(request(method, "/with-body", body=text(300)),
                   response(length=False, fields=[("Content-Length", "0")]))
    return finish(t, cap)


@case("close-delimited", rows={"with-fin": True, "without-fin": False})
def close_delimited(fin):
    cap, t = start()
    t.exchange()
    answered = response(body=text(5000), length=False, fields=[("Connection", "close")])
    truth = t.exchange(request("GET", "/until-the-end"), answered)
    if fin:
        t.close(S)
    else:
        truth.expect(**CUT_RESPONSE, resp_body_captured=5000)
    return cap


@case("http10", rows={"close": False, "keep-alive": True})
def http10(keep):
    cap, t = start()
    if keep:
        fields = [("Connection", "keep-alive")]
        for n in range(3):
            t.exchange(request("GET", f"/old/{n}", version="1.0", fields=fields, host=None),
                       response(version="1.0", fields=fields, body=text(50, n)))
    t.exchange(request("GET", "/old/last", version="1.0", host=None),
               response(version="1.0", body=b"the end", length=False))
    t.close(S)
    return cap


BODILESS = {
    "head-with-length": ("HEAD", 200, [("Content-Length", "5000")]),
    "head-chunked": ("HEAD", 200, [("Transfer-Encoding", "chunked")]),
    "head-nothing": ("HEAD", 404, []),
    "204": ("DELETE", 204, []),
    "204-with-length": ("DELETE", 204, [("Content-Length", "17")]),
    "304-with-length": ("GET", 304, [("Content-Length", "5000"), ("ETag", '"x"')]),
    "304-chunked": ("GET", 304, [("Transfer-Encoding", "chunked")]),
    "length-zero": ("POST", 200, [("Content-Length", "0")]),
}


@case("bodiless", rows=BODILESS)
def bodiless(row):
    """RFC 9112, 6.3: no body follows, whatever the fields say."""
    method, status, fields = row
    return one(request(method, "/none"), response(status, "Fine", fields=fields, length=False))


@case("bodiless/head-pipelined")
def head_pipelined():
    """Which answer has a body depends on which request it belongs to."""
    cap, t = start()
    asked = [t.ask(request(method, f"/{n}")) for n, method in
             enumerate(("HEAD", "GET", "HEAD", "HEAD", "GET"))]
    t.flush(C)
    for truth in asked:
        head = truth.message.method == "HEAD"
        t.answer(truth, response(fields=[("Content-Length", "20")], length=False) if head
                 else response(body=text(20)))
    t.flush(S)
    return finish(t, cap)


LENGTHS = {
    "twice-equal": "Content-Length: 5\r\nContent-Length: 5",
    "list-equal": "Content-Length: 5, 5",
    "leading-zeros": "Content-Length: 0005",
    "spaces": "Content-Length:   5  ",
    "lower-case": "content-length:5",
}


@case("length", rows=LENGTHS)
def lengths(line):
    raw = f"HTTP/1.1 200 OK\r\n{line}\r\n\r\nhello".encode()
    asked = f"POST /len HTTP/1.1\r\nHost: app.test\r\n{line}\r\n\r\nworld".encode()
    return one(Message(asked, b"world", "POST", "/len", "app.test"),
               Message(raw, b"hello", status=200))


CODINGS = {
    "with-length": "Content-Length: 3\r\nTransfer-Encoding: chunked",
    "before-length": "Transfer-Encoding: chunked\r\nContent-Length: 3",
    "upper-case": "TRANSFER-ENCODING: CHUNKED",
    "gzip-chunked": "Transfer-Encoding: gzip, chunked",
    "two-lines": "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
}


@case("transfer-encoding", rows=CODINGS)
def codings(line):
    """RFC 9112, 6.3: chunked overrides Content-Length."""
    raw = f"HTTP/1.1 200 OK\r\n{line}\r\n\r\n".encode() + chunked(b"hello world")
    asked = (f"POST /te HTTP/1.1\r\nHost: app.test\r\n{line}\r\n\r\n".encode()
             + chunked(b"world hello"))
    return one(Message(asked, b"world hello", "POST", "/te", "app.test"),
               Message(raw, b"hello world", status=200))


# --- answers that are not one to one -------------------------------------------------------------


@case("interim", rows={"100": [(100, "Continue")], "102-103": [(102, "Processing"),
                                                              (103, "Early Hints")]})
def interim(lines):
    """1xx answers nothing; the final one follows."""
    cap, t = start()
    truth = t.ask(request("POST", "/hints", body=b"x" * 10))
    t.flush(C)
    for status, reason in lines:
        t.answer(None, response(status, reason, length=False, fields=[("Link", "</a.css>")]))
        t.flush(S)
    t.answer(truth, response(body=b"final"))
    t.flush(S)
    return finish(t, cap, responses__interim=len(lines))


@case("interim/expect-continue")
def expect_continue():
    """The client waits between head and body."""
    cap, t = start()
    message = request("PUT", "/large", fields=[("Expect", "100-continue")], body=text(3000))
    truth = t.ask(message)
    head = message.raw.index(b"\r\n\r\n") + 4
    a, b = t.skip(C)
    t.segment(C, a, a + head)
    t.answer(None, response(100, "Continue", length=False))
    t.flush(S)
    t.segment(C, a + head, b)
    t.answer(truth, response(201, "Created"))
    t.flush(S)
    return finish(t, cap, responses__interim=1)


@case("interim/expectation-refused")
def expectation_refused():
    """417 or 413 instead of 100, and the body is not sent: the connection is closed."""
    cap, t = start()
    message = request("PUT", "/too-large", fields=[("Expect", "100-continue")], body=text(3000))
    truth = t.ask(message)
    a, _ = t.skip(C)
    t.segment(C, a, a + message.raw.index(b"\r\n\r\n") + 4)
    t.answer(truth, response(413, "Content Too Large", fields=[("Connection", "close")]))
    t.flush(S)
    t.high[C] = a + message.raw.index(b"\r\n\r\n") + 4
    t.close(S)
    truth.expect(**CUT_REQUEST, req_body_captured=0)
    return cap


@case("early-response")
def early_response():
    """The answer comes while the request is still being sent; then the next exchange."""
    cap, t = start()
    truth = t.ask(request("POST", "/early", body=text(4000)))
    a, b = t.skip(C)
    t.segment(C, a, a + 1000)
    t.answer(truth, response(200, body=b"already known"))
    t.flush(S)
    t.segment(C, a + 1000, a + 2500)
    t.segment(C, a + 2500, b)
    return finish(t, cap)


@case("early-response/then-reset")
def early_response_reset():
    cap, t = start()
    message = request("POST", "/early", body=text(9000))
    truth = t.ask(message)
    a, _ = t.skip(C)
    t.segment(C, a, a + 1000)
    t.answer(truth, response(401, "Unauthorized", body=b"who are you"))
    t.flush(S)
    t.reset(S)
    truth.expect(**CUT_REQUEST, req_body_captured=1000 - message.raw.index(b"\r\n\r\n") - 4)
    return cap


@case("answered-then-reset")
def answered_then_reset():
    cap, t = start()
    t.exchange()
    t.reset(C)
    return cap


@case("unanswered", rows={"fin": "fin", "reset": "reset", "nothing": "nothing"})
def unanswered(end):
    """Three pipelined requests, one answer."""
    cap, t = start()
    asked = [t.ask(request("GET", f"/n/{n}")) for n in range(3)]
    t.flush(C)
    t.answer(asked[0], response())
    t.flush(S)
    if end == "fin":
        t.close(S)
    elif end == "reset":
        t.reset(S)
    return cap


@case("unsolicited-answer", policy=["unmatched"])
def unsolicited():
    """408 on an idle connection, before it is closed."""
    cap, t = start()
    t.exchange()
    t.answer(None, response(408, "Request Timeout", fields=[("Connection", "close")]))
    t.flush(S)
    t.close(S)
    cap.orphans = 1
    return cap


# --- leaving HTTP --------------------------------------------------------------------------------

FRAMES = b"\x82\x7e\x01\x00" + bytes(range(256)) + b"GET /inside HTTP/1.1\r\nHost: x\r\n\r\n"


@case("upgrade", rows={"websocket": "websocket", "h2c": "h2c", "custom": "x-proto/2"})
def upgrade(protocol):
    """After 101 the stream is opaque, even where it looks like HTTP."""
    cap, t = start()
    fields = [("Connection", "Upgrade"), ("Upgrade", protocol)]
    t.exchange(request("GET", "/chat", fields=fields),
               response(101, "Switching Protocols", fields=fields, length=False))
    t.put(C, FRAMES)
    t.flush(C)
    t.put(S, FRAMES + response(body=b"inside").raw)
    t.flush(S)
    t.close()
    cap.ledger = {"streams.upgraded": 1}
    return cap


@case("upgrade/refused")
def upgrade_refused():
    """Without 101 it stays HTTP."""
    return one(request("GET", "/chat", fields=[("Connection", "Upgrade"),
                                              ("Upgrade", "websocket")]),
               response(426, "Upgrade Required", body=b"no"))


@case("upgrade/first-bytes-with-101")
def upgrade_same_segment():
    cap, t = start()
    fields = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
    truth = t.ask(request("GET", "/chat", fields=fields))
    t.flush(C)
    t.answer(truth, response(101, "Switching Protocols", fields=fields, length=False))
    t.put(S, b"\x81\x05hello")
    t.flush(S)
    t.put(C, FRAMES)
    t.flush(C)
    t.close()
    return cap


@case("connect", rows={"200": (200, "Connection established", []),
                       "200-with-length": (200, "OK", [("Content-Length", "50")]),
                       "299": (299, "Fine", [("Transfer-Encoding", "chunked")])})
def connect(row):
    """RFC 9110, 9.3.6: a tunnel after any 2xx; framing fields mean nothing."""
    cap, t = start(dport=3128)
    status, reason, fields = row
    t.exchange(request("CONNECT", "origin.test:443", host="origin.test:443"),
               response(status, reason, fields=fields, length=False))
    t.put(C, b"\x16\x03\x01" + text(300))
    t.flush(C)
    t.put(S, b"\x16\x03\x03" + text(900))
    t.flush(S)
    t.close()
    cap.ledger = {"streams.upgraded": 1}
    return cap


@case("connect/407")
def connect_refused():
    """Refused: it is HTTP still, and the second attempt opens the tunnel."""
    cap, t = start(dport=3128)
    t.exchange(request("CONNECT", "origin.test:443", host="origin.test:443"),
               response(407, "Proxy Authentication Required", body=b"who?"))
    t.exchange(request("CONNECT", "origin.test:443", host="origin.test:443",
                       fields=[("Proxy-Authorization", "Basic eDp5")]),
               response(200, "OK", length=False))
    t.put(C, FRAMES)
    t.flush(C)
    t.close()
    return cap


# --- start lines ---------------------------------------------------------------------------------

METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "PROPPATCH",
           "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "SEARCH", "REPORT", "MKACTIVITY", "CHECKOUT",
           "MERGE", "M-SEARCH", "NOTIFY", "SUBSCRIBE", "UNSUBSCRIBE", "PURGE", "BAN", "LINK",
           "UNLINK", "QUERY", "MKCALENDAR", "BREW", "get", "X", "A-B_C.d!")


@case("method/known-and-made-up")
def methods():
    """Any token is a method (RFC 9110, 9.1)."""
    cap, t = start()
    for method in METHODS:
        t.exchange(request(method, f"/{method}", length=True), response(body=method.encode()))
    return finish(t, cap)


@case("method/first-on-connection", rows={m: m for m in ("PROPFIND", "PURGE", "M-SEARCH",
                                                        "FROBNICATE", "SUBSCRIBE")})
def method_first(method):
    """HTTP is recognised by it, on a port of no name."""
    cap, t = start(dport=23456)
    t.exchange(request(method, "/x"))
    return finish(t, cap)


@case("status/each")
def statuses():
    """Also those that nobody registered."""
    cap, t = start()
    for status in (200, 299, 300, 399, 400, 418, 451, 499, 500, 520, 599, 600, 999):
        t.exchange(request("GET", f"/{status}"), response(status, "Said", body=b"%d" % status))
    return finish(t, cap)


TARGETS = ("/", "//", "/a?", "/?a=b?c", "/%20%2F?x=%00", "/a/../b/./c", "/a;b=c", "/a#frag",
           "/?q=a|b\"c", "/[x]{y}^`\\", "/caf\u00c3\u00a9", "/caf\u00e9", "*",
           "http://other.test/abs", "http://other.test:8080/abs?q=1", "http://other.test",
           "HTTP://Other.Test/Case", "/http://in.path/", "/" + "long" * 4000)


@case("target/each")
def targets():
    """Every form of RFC 9112, 3.2, and what is sent besides. The bytes are kept."""
    cap, t = start()
    for target in TARGETS:
        t.exchange(request("OPTIONS" if target == "*" else "GET", target))
    return finish(t, cap)


@case("host/each")
def hosts():
    cap, t = start()
    for host in ("a", "app.test:8080", "[2001:db8::1]:81", "10.0.0.1", "", "UPPER.test"):
        t.exchange(request("GET", "/", host=host))
    return finish(t, cap)


@case("port/by-first-bytes", rows={str(n): n for n in (22, 25, 53, 443, 3306, 6379, 9999, 65535)})
def ports(port):
    cap, t = start(dport=port)
    t.exchange()
    return finish(t, cap)


@case("port/client-has-the-lower")
def port_lower():
    """Who asks is the client, not who has the larger port."""
    cap, t = start(sport=80, dport=50000)
    t.exchange()
    return finish(t, cap)


@case("port/option")
def port_option():
    """--port: only that one is looked at."""
    cap, t = start(dport=8080)
    finish(t, cap)
    wanted = len(cap.frames)
    other = cap.talk(dport=8081).open()
    other.exchange()
    other.close()
    other.truths.clear()
    cap.options = ["--port", "8080"]
    cap.ledger = {"packets.other_port": len(cap.frames) - wanted}
    return cap


# --- lenient heads -------------------------------------------------------------------------------

HOST = b"Host: app.test"
LENIENT = {
    "bare-lf": b"GET /odd HTTP/1.1\n" + HOST + b"\nX-A: b\n\n",
    "bare-lf-mixed": b"GET /odd HTTP/1.1\r\n" + HOST + b"\nX-A: b\r\n\n",
    "space-before-colon": b"GET /odd HTTP/1.1\r\nX-A : b\r\n" + HOST + b"\r\n\r\n",
    "tab-after-colon": b"GET /odd HTTP/1.1\r\nX-A:\tb\t\r\n" + HOST + b"\r\n\r\n",
    "obs-fold": b"GET /odd HTTP/1.1\r\nX-A: b\r\n  folded\r\n\tagain\r\n" + HOST + b"\r\n\r\n",
    "empty-lines-before": b"\r\n\r\nGET /odd HTTP/1.1\r\n" + HOST + b"\r\n\r\n",
    "empty-value": b"GET /odd HTTP/1.1\r\nX-A:\r\nX-B: \r\n" + HOST + b"\r\n\r\n",
    "no-host": b"GET /odd HTTP/1.1\r\nX-A: b\r\n\r\n",
    "many-fields": b"GET /odd HTTP/1.1\r\n" + b"".join(b"X-%d: %d\r\n" % (i, i)
                                                       for i in range(600)) + HOST + b"\r\n\r\n",
    "bytes-above-127": b"GET /odd HTTP/1.1\r\nX-A: caf\xe9 \xff\xfe\r\n" + HOST + b"\r\n\r\n",
    "odd-names": b"GET /odd HTTP/1.1\r\nX_a.b!c~d: 1\r\n" + HOST + b"\r\n\r\n",
}


@case("lenient/request", rows=LENIENT, policy=["lenient-parsing"])
def lenient_request(raw):
    cap, t = start()
    t.exchange()
    leading = len(raw) - len(raw.lstrip(b"\r\n"))
    t.put(C, raw[:leading])
    t.exchange(Message(raw[leading:], b"", "GET", "/odd", "app.test" if HOST in raw else None))
    return finish(t, cap)


ANSWERS = {
    "no-reason": b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello",
    "empty-reason": b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello",
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "obs-fold": b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 5\r\n\r\nhello",
    "reason-above-127": b"HTTP/1.1 200 d\xe9j\xe0 vu\r\nContent-Length: 5\r\n\r\nhello",
    "space-before-colon": b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
    "chunks-bare-lf": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
}


@case("lenient/response", rows=ANSWERS, policy=["lenient-parsing"])
def lenient_response(raw):
    return one(None, Message(raw, b"hello", status=200))


# --- ceilings ------------------------------------------------------------------------------------


@case("ceiling/large-head-within")
def head_within():
    big = [("X-Large", "y" * 100000), ("X-Larger", "z" * 100000)]
    return one(request("GET", "/big", fields=big), response(fields=big, body=b"body"))


@case("ceiling/request-head-over", policy=["unmatched"])
def head_over():
    """Its answer has no request then; the connection goes on."""
    cap, t = start()
    t.exchange()
    t.put(C, request("GET", "/huge", fields=[("X-Huge", "y" * 400000)]).raw)
    t.flush(C)
    t.answer(None, response(431, "Request Header Fields Too Large"))
    t.flush(S)
    cap.orphans = 1
    return finish(t, cap, messages__heads_too_large=1)


@case("ceiling/response-head-over", policy=["unmatched"])
def response_head_over():
    cap, t = start()
    t.exchange()
    truth = t.ask(request("GET", "/huge"))
    t.flush(C)
    t.put(S, response(fields=[("X-Huge", "y" * 400000)]).raw)
    t.flush(S)
    truth.expect(state="unchecked")
    return finish(t, cap, messages__heads_too_large=1)


def capped(message, kept):
    return hashlib.sha256(message.body[:kept]).hexdigest()


@case("ceiling/max-body", rows={"length": None, "chunked": {"size": 700}})
def max_body(chunks):
    """What is beyond --max-body is counted, not kept, and the exchange says so."""
    cap, t = start()
    asked = request("POST", "/in", body=text(5000), chunks=chunks)
    answered = response(body=text(9000, 2), chunks=chunks)
    t.exchange(asked, answered).expect(
        state="truncated", req_body_kept=1000, req_body_sha256=capped(asked, 1000),
        resp_body_kept=1000, resp_body_sha256=capped(answered, 1000))
    t.exchange(request("POST", "/just", body=text(1000)), response(body=text(1000, 5)))
    cap.options = ["--max-body", "1000"]
    return finish(t, cap, messages__bodies_capped=2)


@case("ceiling/max-body-default")
def max_body_default():
    cap, t = start()
    answered = response(body=text(1500000))
    t.exchange(None, answered).expect(
        state="truncated", resp_body_kept=1 << 20, resp_body_sha256=capped(answered, 1 << 20))
    cap.options = []
    return finish(t, cap, messages__bodies_capped=1)


@case("mixed/one-connection")
def mixed():
    """Everything that can follow everything, on one connection."""
    cap, t = start()
    t.exchange(request("HEAD", "/a"), response(fields=[("Content-Length", "9")], length=False))
    t.exchange(request("POST", "/b", body=text(3000), chunks={"size": 100}),
               response(body=text(5000, 1), chunks={"size": 999, "trailers": [("X-T", "1")]}))
    t.exchange(request("GET", "/c"), response(304, "Not Modified", length=False))
    t.exchange(request("PUT", "/d", body=text(100)), response(204, "No Content", length=False))
    truth = t.ask(request("POST", "/e", body=b"body"))
    t.flush(C, 10)
    t.answer(None, response(100, "Continue", length=False))
    t.answer(truth, response(500, "Oh", body=text(70, 2)))
    t.flush(S, 13)
    t.exchange(request("OPTIONS", "*"), response(fields=[("Allow", "GET")]))
    t.exchange(request("BREW", "/pot"), response(418, "I'm a teapot", body=b"short"))
    asked = [t.ask(request("GET", f"/p/{n}")) for n in range(3)]
    t.flush(C)
    for truth in asked:
        t.answer(truth, response(body=text(2000, truth.start)))
    t.flush(S)
    t.exchange(request("GET", "/last"), response(body=text(4000, 4), length=False))
    t.close(S)
    return cap
