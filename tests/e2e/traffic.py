# SPDX-License-Identifier: Apache-2.0
"""A session of mixed requests whose every byte is known: the truth that a capture and a replay are
held against. The same seed makes the same session."""

import dataclasses
import gzip
import json
import random
import threading

from harness import Answer, Client, chunked, request

METHODS = ["GET"] * 5 + ["POST"] * 4 + ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
GETS = ["get", "headers", "ip", "gzip", "deflate", "stream/4", "bytes/700?seed=3", "status/404"]
GETS += ["status/503", "status/204", "redirect/1", "encoding/utf8", "cookies/set?k=v", "html"]
SLOW = ["delay/0.05", "delay/0.1", "drip?numbytes=6&duration=0.1&delay=0"]


@dataclasses.dataclass
class Sent:
    """A request as it went out, and what came back."""

    id: str
    method: str
    target: str
    headers: list  # [[name, value], ...]
    body: bytes  # without its chunking
    raw: bytes
    chunked: bool
    client_port: int = 0
    position: int = 0
    answer: Answer = None

    @property
    def path(self):
        return self.target.partition("?")[0]

    @property
    def query(self):
        return self.target.partition("?")[2] if "?" in self.target else None


def make_body(rng):
    """Body, header lines, framed bytes."""
    kind = rng.choice(["binary", "json", "gzip", "form", "empty", "large"])
    if kind == "json":
        body = json.dumps({"n": rng.randrange(10**6), "s": "é" * rng.randrange(50)}).encode()
        lines = [b"Content-Type: application/json"]
    elif kind == "gzip":
        body = gzip.compress(rng.randbytes(20) * rng.randrange(1, 200), mtime=0)
        lines = [b"Content-Type: text/plain", b"Content-Encoding: gzip"]
    elif kind == "form":
        body = b"a=1&b=%20&id=" + str(rng.randrange(10**9)).encode()
        lines = [b"Content-Type: application/x-www-form-urlencoded"]
    else:
        size = {"empty": 0, "binary": rng.randrange(1, 3000), "large": rng.randrange(20000, 90000)}
        body = rng.randbytes(size[kind])
        lines = [b"Content-Type: application/octet-stream"]
    if body and rng.random() < 0.4:
        cuts = sorted(rng.randrange(len(body)) for _ in range(rng.randrange(4)))
        pieces = [body[a:b] for a, b in zip([0] + cuts, cuts + [len(body)])]
        return body, lines + [b"Transfer-Encoding: chunked"], chunked(*pieces), True
    return body, lines + [b"Content-Length: %d" % len(body)], body, False


def make(rng, ident, last):
    """One request; `last` says that its connection ends with it."""
    method = rng.choice(METHODS)
    lines = [b"X-Id: " + ident.encode(), b"user-agent: shadow-test", b"Accept: */*"]
    if rng.random() < 0.2:
        lines += [b"X-Twice: one", b"x-TWICE: two", b"X-Empty:"]
    if rng.random() < 0.1:
        lines.append(b"Cookie: session=%d; theme=dark" % rng.randrange(10**6))
    body, framed, is_chunked = b"", b"", False
    if method in ("POST", "PUT", "PATCH"):
        body, more, framed, is_chunked = make_body(rng)
        lines += more
        target = f"/httpbin/{rng.choice(['anything', method.lower()])}?id={ident}"
    elif method == "GET":
        what = rng.choice(GETS if rng.random() < 0.95 else SLOW)
        target = f"/httpbin/{what}{'&' if '?' in what else '?'}id={ident}&q=a%20b"
    else:
        target = f"/httpbin/anything/{method.lower()}?id={ident}"
    if last:
        lines.append(b"Connection: close")
    raw = request(method, target, lines, framed, host=b"shop.example:8080")
    headers = [["Host", "shop.example:8080"]]
    for line in lines:
        name, value = line.decode().split(":", 1)
        headers.append([name, value.strip()])
    return Sent(ident, method, target, headers, body, raw, is_chunked)


def converse(rng, port, name, total, out):
    """`total` requests over connections of several kinds, one after the other."""
    made = 0
    while made < total:
        kind = rng.choice(["single", "keep-alive", "pipelined"])
        size = min(total - made, {"single": 1, "keep-alive": 12, "pipelined": 6}[kind])
        batch = [make(rng, f"{name}-{made + i}", i == size - 1) for i in range(size)]
        with Client(port) as client:
            for i, sent in enumerate(batch):
                sent.client_port, sent.position = client.port, i
            if kind == "pipelined":
                send_cut(rng, client, b"".join(s.raw for s in batch))
                for sent in batch:
                    sent.answer = client.answer(sent.method)
            else:
                for sent in batch:
                    send_cut(rng, client, sent.raw)
                    sent.answer = client.answer(sent.method)
        out += batch
        made += size


def send_cut(rng, client, data):
    """Mostly in one piece; sometimes cut where nobody would cut."""
    cut = rng.randrange(1, len(data)) if rng.random() < 0.3 else len(data)
    client.send(data[:cut])
    if cut < len(data):
        client.send(data[cut:])


def session(port, total=1000, threads=8, seed=1):
    """Sends it all; returns what was sent, with its answers."""
    results = [[] for _ in range(threads)]
    errors = []

    def work(n):
        share = total // threads + (1 if n < total % threads else 0)
        try:
            converse(random.Random(f"{seed}-{n}"), port, f"t{n}", share, results[n])
        except BaseException as e:  # said by the caller's thread
            errors.append(e)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    if errors:
        raise errors[0]
    return [sent for result in results for sent in result]
