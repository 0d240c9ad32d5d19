# SPDX-License-Identifier: Apache-2.0
"""Redaction: what was asked to be taken out is in no file that is written, no byte that is sent and
nothing that is printed, whatever way it came and whoever repeated it."""

import gzip
import hashlib
import hmac
import http.client
import json
import re
import zlib

import pytest
from harness import Capture, exchanges, one, request, run, select
from pcapfile import Conversation, PcapFile
from servers.raw import RawServer

PLANTED = b"PLANTED"


def secret(n):
    return f"PLANTED{n:03d}x7Qz"


def files_of(store):
    return sorted(store.parent.glob(store.name + "*"))


def assert_nowhere(store):
    for path in files_of(store):
        assert PLANTED not in path.read_bytes(), path
    for sql in ("select * from exchange", "select * from request", "select * from header",
                "select data from body"):  # fmt: skip
        for option in ("--json", "--csv"):
            assert PLANTED not in run("query", store, sql, option).raw_out
    for (data,) in select(store, "SELECT data FROM body"):
        assert PLANTED not in unpacked(data)


def unpacked(data):
    for how in (gzip.decompress, zlib.decompress):
        try:
            return how(data)
        except (OSError, zlib.error, EOFError):
            continue
    return data


def talk(tmp_path, *pairs):
    pcap = PcapFile()
    conversation = Conversation(pcap, 40000)
    for i, (asked, answered) in enumerate(pairs):
        conversation.request(10**6 * i, asked)
        conversation.response(10**6 * i + 1000, answered)
    conversation.close(10**7)
    return pcap.write(tmp_path / "in.pcap")


def answer(body, *fields):
    head = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def fields(store, column, id=1):
    return json.loads(one(store, f"SELECT {column} FROM exchange WHERE id = ?", id))


# --- live, with a server that repeats everything ---------------------------------------------------


def test_httpbin(httpbin, store):
    """httpbin answers with the headers, arguments, cookies, forms and JSON it was sent."""
    client = http.client.HTTPConnection("127.0.0.1", httpbin.port)

    def send(method, path, body=None, **headers):
        client.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        text = client.getresponse().read()
        assert text is not None
        return text

    rules = ["--redact", "secrets", "--redact", "json:user.pin"]
    with Capture(store, *rules, port=httpbin.port):
        assert PLANTED in send("GET", "/headers", Authorization=f"Bearer {secret(1)}")
        assert PLANTED in send("GET", f"/get?access_token={secret(2)}&a=b")
        assert PLANTED in send("GET", "/cookies", Cookie=f"sid={secret(3)}; other=1")
        send("GET", "/gzip", Authorization=f"Token {secret(4)}")
        send("GET", "/deflate", Authorization=f"Token {secret(4)}")
        send("GET", "/brotli", Authorization=f"Token {secret(4)}")
        form = f"password={secret(5)}&a=b"
        kind = "application/x-www-form-urlencoded"
        assert PLANTED in send("POST", "/post", form, Content_Type=kind)
        pin = json.dumps({"user": {"pin": secret(6), "name": "bob"}, "client_secret": secret(7)})
        assert PLANTED in send("POST", "/anything", pin, Content_Type="application/json")
        send("GET", f"/cookies/set?name={secret(8)}")
        send("GET", "/get", Referer=f"http://h/p?token={secret(9)}")
    assert len(exchanges(store)) == 10
    assert_nowhere(store)
    body = one(store, "SELECT data FROM exchange e JOIN body b ON b.id = e.request_body"
               " WHERE path = '/anything'")  # fmt: skip
    assert json.loads(body) == {"user": {"pin": "***", "name": "bob"}, "client_secret": "***"}


# --- each thing, and how ----------------------------------------------------------------------------

KEY = b"the key"


def hashed(value):
    return "hmac:" + hmac.new(KEY, value.encode(), hashlib.sha256).hexdigest()


@pytest.fixture
def key_file(tmp_path):
    (tmp_path / "key").write_bytes(KEY + b"\n")
    return tmp_path / "key"


JSON = '{"a": 1.50, "user": {"pin": "%s", "list": [{"t": "%s"}, {"t": 2}]}}'


@pytest.mark.parametrize("how", ["mask", "hash", "drop"])
def test_how(tmp_path, key_file, how):
    s = secret(1)
    body = (JSON % (s, s)).encode()
    asked = request(
        "POST", f"/p?k={s}&x=1", [b"Content-Type: application/json", b"X-Key: " + s.encode(),
        b"Cookie: a=b; c=" + s.encode(), b"Content-Length: %d" % len(body)], body)  # fmt: skip
    answered = answer(b"ok", b"Set-Cookie: c=" + s.encode() + b"; Path=/")
    what = ["query:k", "header:X-Key", "cookie:c", "json:user.pin", "json:$.user.list[*].t"]
    options = [o for w in what for o in ("--redact", f"{w}={how}")]
    if how == "hash":
        options += ["--redact-key-file", key_file]
    store = tmp_path / "s.db"
    run("capture", "-r", talk(tmp_path, (asked, answered)), "-o", store, *options)
    assert_nowhere(store)
    shown = {"mask": "***", "hash": hashed(s)}.get(how)
    headers = dict(fields(store, "request_headers"))
    query = one(store, "SELECT query FROM exchange")
    body = one(store, "SELECT data FROM body WHERE id = (SELECT request_body FROM exchange)")
    answered = fields(store, "response_headers")
    if how == "drop":
        assert query == "x=1"
        assert "X-Key" not in headers
        assert headers["Cookie"] == "a=b"
        assert "Set-Cookie" not in dict(answered)
        assert json.loads(body) == {"a": 1.5, "user": {"list": [{}, {}]}}
    else:
        assert query == f"k={shown}&x=1"
        assert headers["X-Key"] == shown
        assert headers["Cookie"] == f"a=b; c={shown}"
        assert dict(answered)["Set-Cookie"] == f"c={shown}; Path=/"
        two = hashed("2") if how == "hash" else shown
        assert json.loads(body)["user"] == {"pin": shown, "list": [{"t": shown}, {"t": two}]}
        assert b'"a": 1.50' in body
    assert headers["Content-Length"] == str(len(body))


def test_packed(tmp_path):
    """A packed body stays packed, and its length true."""
    text = json.dumps({"token": secret(1), "n": list(range(100))}).encode()
    packed = gzip.compress(text)
    answered = answer(packed, b"Content-Type: application/json", b"Content-Encoding: gzip")
    store = tmp_path / "s.db"
    pcap = talk(tmp_path, (request("GET", "/"), answered))
    run("capture", "-r", pcap, "-o", store, "--redact", "secrets")
    assert_nowhere(store)
    data = one(store, "SELECT data FROM body")
    assert json.loads(gzip.decompress(data)) == {"token": "***", "n": list(range(100))}
    headers = dict(fields(store, "response_headers"))
    assert headers["Content-Encoding"] == "gzip"
    assert headers["Content-Length"] == str(len(data))


def test_cut_body(tmp_path):
    """A body over the cap is redacted as far as it goes; the rest was never there."""
    text = ('{"token": "' + secret(1) * 40 + '"}').encode()
    for cap in (5, 14, 20, 100):
        store = tmp_path / f"{cap}.db"
        answered = answer(text, b"Content-Type: application/json")
        pcap = talk(tmp_path, (request("GET", "/"), answered))
        run("capture", "-r", pcap, "-o", store, "--redact", "secrets", "--max-body", cap)
        assert_nowhere(store)
        assert b"PLA" not in b"".join(p.read_bytes() for p in files_of(store))


def test_replay_and_rules(tmp_path):
    """A store that holds secrets: none of them reaches the target. Routes still see them."""
    s = secret(1)
    body = json.dumps({"pin": s}).encode()
    asked = request("POST", f"/p?token={s}", [b"Content-Type: application/json", b"X-User: alice",
                    b"Authorization: Basic " + s.encode(), b"Content-Length: %d" % len(body)],
                    body)  # fmt: skip
    store = tmp_path / "s.db"
    run("capture", "-r", talk(tmp_path, (asked, answer(b"ok"))), "-o", store)
    with RawServer() as server:
        run("replay", store, "--to", server.url, "--methods", "all", "--redact", "secrets",
            "--redact", "json:pin", "--redact", "header:x-user", "--route",
            "* header:x-user=alice")  # fmt: skip
    (seen,) = server.seen
    assert PLANTED not in seen.raw
    assert b"alice" not in seen.raw
    head, _, sent = seen.raw.partition(b"\r\n\r\n")
    assert json.loads(sent) == {"pin": "***"}
    assert re.search(rb"Content-Length: (\d+)", head)[1] == b"%d" % len(sent)


def test_answers_of_the_target(tmp_path):
    """What v2 answers holds secrets of its own."""
    store = tmp_path / "s.db"
    run("capture", "-r", talk(tmp_path, (request("GET", "/"), answer(b"ok"))), "-o", store)
    with RawServer() as server:
        server.answer = json.dumps({"access_token": secret(1), "name": "bob"}).encode()
        run("replay", store, "--to", server.url, "--redact", "secrets", "--save", "full")
    assert_nowhere(store)
    body = one(store, "SELECT data FROM body WHERE id = (SELECT body FROM result)")
    assert json.loads(body) == {"access_token": "***", "name": "bob"}


def test_explain_shows_none(tmp_path):
    store = tmp_path / "s.db"
    asked = request("GET", f"/p?token={secret(1)}", [b"Authorization: x" + secret(2).encode()])
    run("capture", "-r", talk(tmp_path, (asked, answer(b"ok"))), "-o", store)
    for option in ([], ["--json"]):
        done = run("explain", "/p", store, "--redact", "secrets", *option)
        assert PLANTED not in done.raw_out
        assert b"token=***" in done.raw_out


def test_options_are_kept(tmp_path):
    store = tmp_path / "s.db"
    pcap = talk(tmp_path, (request("GET", "/"), answer(b"ok")))
    run("capture", "-r", pcap, "-o", store, "--redact", "secrets")
    assert json.loads(one(store, "SELECT options FROM capture"))["redact"] == ["secrets"]


@pytest.mark.parametrize(
    "options, says",
    [
        (["--redact", "everything"], "everything"),
        (["--redact", "header:"], "header:"),
        (["--redact", "header:X=burn"], "burn"),
        (["--redact", "header:Content-Length"], "Content-Length"),
        (["--redact", "json:a[", "--quiet"], "a["),
        (["--redact", "header:X=hash"], "--redact-key-file"),
        (["--redact", "secrets", "--redact-key-file", "missing"], "missing: No such file"),
        (["--redact", "secrets", "--redact-key-file", "/dev/null"], "/dev/null is empty"),
        (["--redact-key-file", "/etc/hostname"], "--redact-key-file without a --redact"),
    ],
)
def test_wrong(tmp_path, options, says):
    pcap = talk(tmp_path, (request("GET", "/"), answer(b"ok")))
    done = run("capture", "-r", pcap, "-o", tmp_path / "s.db", *options, status=2)
    assert len(done.err_lines) == 1
    assert says in done.err
    assert not (tmp_path / "s.db").exists()
