# SPDX-License-Identifier: Apache-2.0
"""Writes the fuzzers' first inputs into a folder, DIR/NAME/..., the same each time.

    seeds.py DIR

Inputs of one fuzzer are made here from the words its source names; packets and files are those of
the project's own captures. Inputs that once found a fault are not here but in corpus-NAME/."""

import argparse
import gzip
import pathlib
import struct
import sys
import zlib

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "captures"))

# pylint: disable=wrong-import-position,unused-import
import cases_http  # noqa: E402,F401
import cases_link  # noqa: E402,F401
import cases_negative  # noqa: E402,F401
import cases_tcp  # noqa: E402,F401
import wire  # noqa: E402
from registry import CASES  # noqa: E402

SEED_MAX = 6000  # bytes; a larger capture is cut behind its last frame that fits
C, S = 0, 1

GET = b"GET /a HTTP/1.1\r\nHost: h.test\r\n\r\n"
HEAD = b"HEAD /a HTTP/1.1\r\nHost: h.test\r\n\r\n"
POST = b"POST /ab HTTP/1.1\r\nHost: h.test\r\nContent-Length: 5\r\n\r\nhello"
PUT = (b"PUT /c HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n"
       b"3;e=1\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n")
CONNECT = b"CONNECT h.test:443 HTTP/1.1\r\nHost: h.test:443\r\n\r\n"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: h.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
EXPECT = b"POST /a HTTP/1.1\r\nHost: h.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
OWN = b"GET /a HTTP/1.1\r\nHost: h.test\r\nX-Shadow-Replay: 1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\nd\r\n0\r\n\r\n0\r\n\r\n"
TO_END = b"HTTP/1.0 200 OK\r\n\r\nuntil the end"
LF_ONLY = b"HTTP/1.1 404 Not Found\nContent-Length: 1\n\nx"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
TLS = bytes.fromhex("160301000501000001fc03")
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# What both sides say, in order. An int is a gap of that size, None an end.
TALKS = {
    "get": [(C, GET), (S, OK)],
    "head": [(C, HEAD), (S, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), (C, GET), (S, OK)],
    "post": [(C, POST), (S, CHUNKED)],
    "put-chunked": [(C, PUT), (S, NO_CONTENT), (C, GET), (S, b"HTTP/1.1 304 Not Modified\r\n\r\n")],
    "pipelined": [(C, GET + POST + GET), (S, OK + LF_ONLY + CHUNKED)],
    "to-the-end": [(C, b"GET /a HTTP/1.0\r\n\r\n"), (S, TO_END), (S, None), (C, None)],
    "simple": [(C, b"GET /a\r\n"), (S, b"<html>"), (S, None)],
    "continue": [(C, EXPECT), (S, CONTINUE), (C, b"xyz"), (S, OK)],
    "upgrade": [(C, UPGRADE), (S, SWITCH), (C, b"\x81\x05hello"), (S, b"\x81\x00")],
    "connect": [(C, CONNECT), (S, b"HTTP/1.1 200 Connection established\r\n\r\n"), (C, TLS)],
    "tls": [(C, TLS), (S, b"\x16\x03\x03\0\x04\x02\0\0\0")],
    "http2": [(C, HTTP2), (S, b"\0\0\0\x04\0\0\0\0\0")],
    "own": [(C, OWN), (S, OK), (C, GET), (S, OK)],
    "gap-in-body": [(C, GET), (S, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), (S, 3),
                    (S, b"ghi"), (C, GET), (S, OK)],
    "gap-over-answers": [(C, GET), (S, OK), (C, GET), (S, 41), (C, POST), (S, OK)],
    "gap-in-requests": [(C, GET), (S, OK), (C, 33), (S, LF_ONLY), (C, GET), (S, OK)],
    "answer-first": [(S, OK), (C, GET), (S, CHUNKED)],
    "cut-in-head": [(C, GET[:20]), (C, None), (S, None)],
    "cut-in-body": [(C, POST[:-2]), (C, None), (S, OK[:-1]), (S, None)],
    "bad": [(C, GET), (S, b"HTTP/1.1 abc\r\n\r\n"), (C, b"\0\1\2\n" + GET), (S, b"junk\n" + OK)],
    "bad-chunks": [(C, GET), (S, CHUNKED.replace(b"4\r\n", b"zz\r\n")), (C, GET), (S, OK)],
    "odd-heads": [(C, b"FOO-BAR /x y HTTP/1.1\r\nHost : h\r\nA: 1\r\n 2\r\nno colon\r\n:\r\n\r\n"),
                  (S, b"HTTP/1.1 200\r\nContent-Length: 1, 1\r\nContent-Length: 2\r\n\r\na")],
    "answer-first-with-gap": [(S, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), (S, 6),
                              (C, GET), (S, OK), (C, POST), (S, OK)],
    "upgrade-in-body": [(C, UPGRADE.replace(b"GET", b"POST").replace(b"Host", b"Content-Length: 9\r\n"
                                            b"Host") + b"abc"), (S, SWITCH), (C, b"defghi")],
    "closed-in-body": [(C, POST[:-3]), (S, TO_END), (S, None), (C, b"llo")],
    "many": [(C, GET)] * 20 + [(S, OK)] * 20,
}

HEADS = [GET, HEAD, PUT.split(b"3;")[0], CONNECT, UPGRADE, EXPECT, OK[:-3], CHUNKED[:47],
         CONTINUE, SWITCH, b"GET /\r\n", b"GET / HTTP/1.0\n\n", b"HTTP/1.1 200\r\nA:\r\nB: \r\n\r\n",
         b"GET http://h.test/p?q=1 HTTP/1.1\r\nA: 1\r\n 2\r\nA : x \r\nno colon\r\n: v\r\n\r\n",
         b"GET / HTTP/1.1\r\nA :\r\nB  : \r\nC :c\r\n\r\n", b"HTTP/1.1 200 OK\r\nA :\r\n\r\n",
         b"OPTIONS * HTTP/1.1\r\n first: x\r\nHost: h\r\nhost: i\r\n\r\n"]


ENDS = (("10.3.0.1", 40000), ("10.4.0.1", 80))
SEGMENT = wire.tcp(*ENDS, 1, 1, wire.ACK, GET)
IP4 = wire.ip4("10.3.0.1", "10.4.0.1", wire.TCP, SEGMENT)
IP6 = wire.ip6("2001:db8::1", "2001:db8::2", wire.TCP, SEGMENT).data
ETHERNET = wire.ethernet()(IP4).data
IP4 = IP4.data
NSH = bytes.fromhex("0002010300000101") + ETHERNET

# Tunnels that no capture of ours has: the port of UDP, or the EtherType, and what stands there.
UDP_TUNNELS = {
    "ayiya": (5072, b"\x40\x50\x00\x29" + bytes(40) + IP6),
    "teredo": (3544, b"\0\1" + bytes(11) + b"\0\0" + bytes(6) + IP6),
    "l2tp": (1701, bytes.fromhex("000200010001ff030021") + IP4),
    "l2tp-all-fields": (1701, bytes.fromhex("4a02007000010001000000000002aaaaff030021") + IP4),
    "vxlan-gpe": (4790, bytes.fromhex("0c00000300000100") + ETHERNET),
    "vxlan-gpe-nsh": (4790, bytes.fromhex("0c00000400000100") + NSH),
    "mpls": (6635, bytes.fromhex("000101ff") + IP4),
    "tzsp": (37008, bytes.fromhex("01000001000a02aaaa01") + ETHERNET),
}
TYPE_TUNNELS = {
    "vntag": (0x8926, bytes.fromhex("000000000800") + IP4),
    "provider-bridge": (0x88e7, bytes(4) + ETHERNET),
    "nsh": (0x894f, NSH),
}
PPTP = bytes.fromhex("3081880b00700001000000010000000aff030021") + IP4


def tunnels():
    for name, (port, inside) in UDP_TUNNELS.items():
        yield name, wire.ip4("10.1.0.1", "10.2.0.1", wire.UDP, wire.udp(port, port, inside))
    for name, (kind, inside) in TYPE_TUNNELS.items():
        yield name, wire.Packet(kind, inside)
    yield "pptp", wire.ip4("10.1.0.1", "10.2.0.1", wire.GRE, PPTP)


def split(data, size):
    return [data[i:i + size] for i in range(0, len(data), size)]


def http_seed(talk, size=255, acked=0):
    out = b"\x40\0"
    for side, what in talk:
        if what is None:
            out += bytes([4 | side << 3])
        elif isinstance(what, int):
            out += struct.pack("!BH", 3 | side << 3, what)
        else:
            for piece in split(what, size):
                out += bytes([side << 3 | acked, len(piece)]) + piece
    return out


def full_seed():
    """More requests than a connection may have without an answer, in the middle of one."""
    out = b"\x40\0" + bytes([0, len(GET)]) + GET
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"
    out += bytes([8, len(cut)]) + cut
    for _ in range(5):
        out += bytes([2, 255, len(GET)]) + GET
    return out + bytes([8, len(OK)]) + b"defghi" + OK[:-6]


SYN_ACK = {C: 0x02, S: 0x12}


def engine_seed(talk, size=255, opening=True, options=0):
    out = bytes([16, 255, options])
    if opening:
        out += b"".join(bytes([2 | side << 5, SYN_ACK[side], 0, 0]) for side in (C, S))
    for side, what in talk:
        if what is None:
            out += bytes([2 | side << 5, 0x11, 0, 0])
        elif isinstance(what, int):
            out += bytes([3 | side << 5, what])
        else:
            for piece in split(what, size):
                out += bytes([side << 5, len(piece)]) + piece
    return out + b"\x56\x07"


def late_first(talk):
    """The first piece of every message comes behind the second."""
    out = b"\x10\xff\0"
    for side, what in talk:
        if not isinstance(what, bytes) or len(what) < 12:
            continue
        first, rest = what[:8], what[8:200]
        out += bytes([3 | side << 5, len(first), side << 5, len(rest)]) + rest
        back = -len(first) - len(rest) & 0xff
        out += bytes([2 | side << 5, 0x10, back, len(first)]) + first
    return out


def decode_seed(link, frames):
    out = struct.pack("!H", link)
    for f in frames:
        one = struct.pack("!HHH", len(f.data), f.length - len(f.data), 1) + f.data
        if len(out) + len(one) > SEED_MAX:
            break
        out += one
    return out


def raw_frames_seed(link, frames):
    out = b"\xff\xff\0"
    for f in frames:
        one = struct.pack("!BHH", 5, link, len(f.data)) + f.data
        one += struct.pack("!H", f.length - len(f.data))
        if len(out) + len(one) > SEED_MAX:
            break
        out += one
    return out


def past_the_end():
    """A fragment behind the last one's end must not stand for the first, which never comes."""
    ends = "10.1.0.1", "10.2.0.1", wire.TCP
    for offset, more in ((96, True), (24, False)):
        data = wire.ip4(*ends, bytes(40 if more else 16), offset=offset, more=more).data
        yield wire.Frame(0, data, len(data))


def in_fragments_in_fragments():
    """The datagram put together last is itself an IP packet in fragments."""
    ends = "10.1.0.1", "10.2.0.1"
    inner = wire.ip4(*ends, wire.TCP, bytes(range(64)), more=True).data
    for packet in wire.ip4_fragments(*ends, wire.IPIP, inner, 9, [24, 48]):
        yield wire.Frame(0, packet.data, len(packet.data))


def message_seeds():
    edits = bytes.fromhex("0005 2f6e6577 00 01 03 0173 0576616c7565 02 00 00 0004 486f7374 0168"
                          "03 0141 0142 04 04486f7374 0169 05 04486f7374 00".replace(" ", ""))
    for n, head in enumerate(HEADS):
        for how in range(3):
            yield f"{n}-{how}", struct.pack("!BH", how, len(head)) + head + edits


def stream_seeds():
    start = struct.pack("!IB", 0xffffffe0, 64)
    yield "in-order", start + b"\x00\x01\x20" * 4 + b"\x03\x04"
    yield "reordered", start + b"\x01\x01\x10\x00\x20\x00\x01\x20\x00\x01\x10"
    yield "overlapping", start + b"\x01\x01\x20\x00\x10\x01\x03\x20\x00\x08\x00\x03\x40"
    yield "hole", start + b"\x00\x01\x10\x07\x03\x00\x08\x00\x01\x10\x03\xfe\xfe\x00\x01\x10\x05"
    yield "cut", start + b"\x00\x09\x10\x00\x20\x00\x09\x10\x00\x20\x01\x09\x10\x00\x20\xff\xf0"
    yield "wrapped", start + b"\x02\x01\x10\x00\x00\x00\x08\x00\x01\x20\x04"
    yield "budget", struct.pack("!IB", 7, 1) + b"".join(
        struct.pack("!BBHh", 1, 5, 300, 400 * n) for n in range(1, 6))
    yield "opening", start + b"\x07\x01\x00\x01\x10\x07\x00\x07\x02\x00\x01\x10\x0d"


RULES = [
    "/a\n/a*\n~/[a-z]+/b\nGET,POST /c\n*.example/*\nh:80/x\n[::1]/y",
    "* header:x=1\n* header:x=~[0-9]+\n/a* query:k=v* status:5xx,none client:10.0.0.0/8",
    "* header:a=\"b c\"\n~(?i)/A|/b\n~/a\\\\.b?\n* query:k\n* status:200-299",
    "GET\n/a b\n* status:x\n* client:1.2.3.4/99\n~(",
]


def rule_seeds():
    for n, rules in enumerate(RULES):
        text = rules.encode()
        for k, head in enumerate(HEADS[:6]):
            yield f"{n}-{k}", struct.pack("!BH", 50 * k, len(text)) + text + head


ROUTE = """apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: n}
spec:
  hostnames: [h, "*.a.example"]
  rules:
  - name: web
    matches:
    - {path: {type: PathPrefix, value: /a}, method: GET, headers: [{name: x, value: b}]}
    - {path: {type: Exact, value: /b}, queryParams: [{name: q, value: "1"}]}
    filters:
    - {type: RequestMirror, requestMirror: {backendRef: {name: m, port: 80},
       fraction: {numerator: 1, denominator: 3}}}
    - {type: URLRewrite, urlRewrite: {hostname: b, path: {type: ReplaceFullPath,
       replaceFullPath: /c}}}
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}],
       add: [{name: c, value: d}], remove: [e]}}
"""
MESH = """apiVersion: networking.istio.io/v1
kind: VirtualService
spec:
  hosts: [h]
  http:
  - match: [{uri: {prefix: /A}, ignoreUriCase: true, headers: {x: {regex: b+}}, port: 80,
      withoutHeaders: {y: {}}, queryParams: {q: {exact: ""}}, authority: {exact: h}}]
    rewrite: {uri: /, authority: b}
    headers: {request: {set: {a: b}, add: {c: d}, remove: [e]}}
    mirror: {host: m, subset: v2, port: {number: 80}}
    mirrorPercentage: {value: 0.5}
    mirrors: [{destination: {host: n}, percentage: {value: 5}}]
  - {rewrite: {uriRegexRewrite: {match: "/(a)", rewrite: '/\\1'}}, mirror: {host: httpbin}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
spec: {host: m, trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: a, privateKey: b},
  portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE, sni: s}}]},
  subsets: [{name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
spec: {hosts: [m], ports: [{number: 80, name: http, protocol: HTTP, targetPort: 81}],
  resolution: STATIC, endpoints: [{address: 10.0.0.1, labels: {version: v2}, ports: {http: 1}}]}
"""
LIST = """{"kind": "List", "items": [{"apiVersion": "networking.istio.io/v1",
"kind": "VirtualService", "spec": {"hosts": ["*"], "http": [{"mirror": {"host": "m"}}]}}]}"""
MERGED = """a: &a {b: c}
d: [*a, {<<: *a}, {<<: [*a, {e: f}]}]
g: |
  text
h: !!str "\\u00e9"
"""


def manifest_seeds():
    for path in sorted((HERE.parent / "manifests").glob("*.yaml")):
        yield path.stem, path.read_bytes()
    for name, text in ("route", ROUTE), ("mesh", MESH), ("list", LIST), ("merged", MERGED):
        yield name, text.encode()
        yield name + "-resolved", text.encode() + b"\n" * (1 - len(text.encode()) % 2)


def redact_seeds():
    heads = [b"Cookie: c=abcdefgh; d=e\r\nX-Key: k\r\nReferer: http://u:p@h/?q=1#token=2",
             b"Content-Type: multipart/form-data; boundary=b\r\nLink: </a?q=1>; rel=x",
             b"Content-Length: 9\r\nContent-MD5: x\r\nSet-Cookie: c=1; Path=/",
             b"Authorization: Basic dTpwYXNzd29yZA==\r\nTransfer-Encoding: gzip, chunked"]
    bodies = [b'{"a": [1, {"password": "p\\u0040\\"q"}, "x"], "token": 123456}\n[{"a": null}]',
              b"a=b&password=p%40ss+word&user[secret]=x&q=http://h/?token=1",
              b"--b\r\nContent-Disposition: form-data; name=password\r\n\r\nv\r\n--b--\r\n",
              b'{"url": "http:\\/\\/h\\/?token=1", "n": -1.5e3, "a": "abcdefgh %61bcdefgh"}', b"["]
    for n in range(32):
        head, body = heads[n % 4], bodies[n % 5]
        side = struct.pack("!H", len(head)) + head + struct.pack("!H", len(body)) + body
        plan = bytes([n * 8 & 0xff | n & 3, n * 37 & 0xff, n & 7 | (n & 16) << 2])
        yield str(n), plan + side + side + b"$.a[1]['b']..c[*]"


def coded_answer(coding, body):
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: " + coding + b"\r\nDate: x\r\n\r\n"
    return head, body


JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
COOKIES = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\n\r\n"
DOCUMENT = b'{"a":[1,-2.50e3,{"x y":null}],"b":"\\u0041\\ud83d\\ude00","c":{},"d":[true]}'
ANSWERS = {
    "order": ((JSON, b"[1,2,[3]]"), (JSON, b"[[3.0],2,1]")),
    "json": ((JSON, DOCUMENT), (JSON, b'{"d":[true,1],"b":"A","a":[1,-2500,{}],"e":0}')),
    "coded": (coded_answer(b"gzip", gzip.compress(DOCUMENT, mtime=0)),
              coded_answer(b"deflate", zlib.compress(DOCUMENT))),
    "text": ((OK[:-3], b"hello"), (OK[:-3], b"help")),
    "fields": ((COOKIES, b""), (COOKIES.replace(b"a=1", b"c=3"), b"")),
    "status": ((NO_CONTENT, b""), (OK[:-3], b"abc")),
    "none": ((OK[:-3], b"abc"), (b"", b"")),
    "not-json": ((JSON, b'{"a":1,}'), (JSON, b"[1 2]")),
}


def compare_seeds():
    rules = [b"json:$.a[*]['x y']", b"header:X-*", b"json:..b", b"json:$[", b"x"]
    for n, (name, sides) in enumerate(ANSWERS.items()):
        rule = rules[n % len(rules)]
        body = b"".join(struct.pack("!H", len(part)) + part for side in sides for part in side)
        for flags in (0, 1, 2, 4):
            yield f"{name}-{flags}", struct.pack("!BH", flags, len(rule)) + rule + body


MONKEYS = "\n🐵🙈🙉\n".encode()
FLOW = b"9c4000500a010203"


def gor_seeds():
    asked = b"1 " + FLOW + b"00000001 1000000 5\n"
    answered = b"2 " + FLOW + b"00000001 2000000 7\n"
    get = asked + GET + MONKEYS
    files = {
        "get": get + answered + OK + MONKEYS,
        "answer-first": answered + CHUNKED + MONKEYS + asked + PUT + MONKEYS,
        "three-fields": b"1 " + b"a" * 40 + b" 1\n" + POST + MONKEYS,
        "replayed": get + b"3 " + FLOW + b"00000001 9 9\n" + OK + MONKEYS,
        "cut": get + answered + OK[:-2],
        "head": asked + HEAD + MONKEYS + answered + OK[:-3] + MONKEYS,
        "own-monkeys": asked + POST + MONKEYS + b"x" + MONKEYS,
        "no-record": b"hello" + MONKEYS,
        "gzip": gzip.compress(get, mtime=0),
    }
    for name, data in files.items():
        yield name, b"\xff" + data
        yield name + "-capped", b"\0" + data


HAR_ENTRY = (b'{"startedDateTime":"2026-09-21T14:13:20.5+02:00","connection":"%d",'
             b'"serverIPAddress":"[::1]","request":{"method":"POST","url":"https://h:8/p?q#f",'
             b'"httpVersion":"h2","headers":[{"name":":authority","value":"h"},{"name":"a",'
             b'"value":"b"}],"postData":{"mimeType":"text/plain","text":"body"}},'
             b'"response":{"status":200,"statusText":"OK","headers":[{"name":"set-cookie",'
             b'"value":"a=1\\nb=2"},{"name":"content-encoding","value":"%s"}],'
             b'"content":{"size":3,"text":"YWJj","encoding":"base64"},"bodySize":9},'
             b'"timings":{"blocked":1,"send":0.5,"wait":8,"receive":-1}%s}')
HAR_OWN = (b',"_shadow":{"position":3,"client":"10.0.0.1","client_port":9,"request_size":4,'
           b'"state":"gap","route":"/a*","sample":12.5,"path":"/x y","query":"",'
           b'"request_chunks":"MA0K","response_trailers":[["T","v"]]}')
JSONL = (b'{"ts_us":1,"method":"GET","scheme":"https","host":"h","path":"/a","query":"b",'
         b'"version":"1.0","request_headers":[["A","b"]],"request_body_base64":"//4=",'
         b'"status":200,"response_headers":[["Content-Encoding","gzip"]],"response_body":"x",'
         b'"response_size":9,"state":"truncated","request_trailers":[["T","v"]],"more":1}')


def har_seeds():
    entries = [HAR_ENTRY % (i, coding, own) for i, (coding, own) in enumerate(
        [(b"identity", b""), (b"gzip", HAR_OWN), (b"br, zstd", b""), (b"deflate", HAR_OWN)])]
    yield "own", b'{"log":{"version":"1.2","entries":[' + b",\n".join(entries) + b"]}}"
    yield "around", b'\xef\xbb\xbf{"a":[{"entries":[1]}],"log":{"x":"\\"]","entries":[]},"b":{}}'
    yield "cut", b'{"log":{"entries":[' + entries[0] + b"," + entries[1][:-40]
    yield "surrogate", b'{"log":{"entries":[' + entries[0].replace(b"YWJj", b"\\ud800") + b"]}}"
    yield "lines", JSONL + b"\r\n\n" + JSONL.replace(b'"path"', b'"request_raw":"R0VUIC8NCg0K","x"')
    yield "gzip", gzip.compress(JSONL * 2, mtime=0)


def captures():
    for name, case in CASES.items():
        kind = name.split("/")[0]
        if kind in ("many", "random"):
            continue
        yield name.replace("/", "-"), case.capture()


def seeds():
    """Yields (fuzzer, name, bytes)."""
    for name, talk in TALKS.items():
        yield "http", name, http_seed(talk)
        yield "http", name + "-small", http_seed(talk, 7)
        yield "http", name + "-ahead", http_seed(talk, acked=0xd0)
        yield "engine", name, engine_seed(talk)
        yield "engine", name + "-small", engine_seed(talk, 9, opening=False)
        yield "engine", name + "-ruled", engine_seed(talk, options=2)
        yield "engine", name + "-late", late_first(talk)
    yield "decode", "past-the-end", decode_seed(12, past_the_end())
    yield "decode", "in-fragments-in-fragments", decode_seed(12, in_fragments_in_fragments())
    for name, packet in tunnels():
        data = wire.ethernet()(packet).data
        yield "decode", "tunnel-" + name, decode_seed(1, [wire.Frame(0, data, len(data))])
    yield "engine", "many-connections", engine_seed(TALKS["post"]) + b"\xff\xf1\0" * 3
    yield "http", "full", full_seed()
    for name, data in stream_seeds():
        yield "stream", name, data
    for name, data in message_seeds():
        yield "message", name, data
    for name, data in manifest_seeds():
        yield "manifest", name, data
    for name, data in rule_seeds():
        yield "rules", name, data
    for name, data in redact_seeds():
        yield "redact", name, data
    for name, data in compare_seeds():
        yield "compare", name, data
    for name, data in har_seeds():
        yield "har", name, data
    for name, data in gor_seeds():
        yield "gor", name, data
    for name, cap in captures():
        if len(cap.frames) > 60:
            continue
        if cap.file is None:
            yield "decode", name, decode_seed(cap.link, cap.frames)
            yield "engine", "frames-" + name, raw_frames_seed(cap.link, cap.frames)
        data = cap.bytes()
        if len(data) <= 2 * SEED_MAX:
            yield "file", name, data
    small = min((cap.bytes() for _, cap in captures() if len(cap.frames) > 3), key=len)
    yield "file", "gzip", gzip.compress(small, mtime=0)
    yield "file", "gzip-cut", gzip.compress(small, mtime=0)[:-20]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="DIR", type=pathlib.Path)
    args = parser.parse_args()
    n = 0
    for fuzzer, name, data in seeds():
        path = args.folder / fuzzer / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        n += 1
    print(f"{n} seeds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
