# SPDX-License-Identifier: Apache-2.0
"""A capture file with what other people's readers stumble over: bytes that are no text, text that
looks like something else, targets and fields at the edge of what HTTP allows, answers that are not
there. Refuses nothing; what it holds is legal or at least seen."""

import gzip
import json

from pcapfile import Conversation, PcapFile

# Text that a reader of CSV or JSON may take for its own syntax, for another type, or for nothing.
TEXTS = [
    'one, "two"\nthree\r\nfour;\tfive \\n \'six\'',
    '"', '""', ",", "\n", "\r", "\r\n", "\\", "\\N", "'", "\t", " ", "  x  ", "#", "\n\n\n",
    '"a","b"\n"c","d"', "=1+1", "-", "null", "NULL", "NaN", "inf", "true", "007", "1e999", "0x1f",
    "12345678901234567890", "2026-11-22", "2026-11-22T10:00:00Z", "[1, 2", '{"a": 1}', "[[]]",
    "läst, caf\u00e9", "\U0001f435\U0001f648\U0001f649", "\ufeffBOM", "\u0085\u2028\u2029",
    "\uffff\ufdd0", "\u202eabc", "e\u0301", "\x01\x02\x1f\x7f", "\x1b[31mred", "${jndi}", "{{x}}",
    "<![CDATA[", "-- ;",
]
BINARY = [
    b"\x00", b"a\x00b", b"\xff\xfe\x00\x01", b"\x89PNG\r\n\x1a\n", b"\xed\xa0\x80", b"\xc0\x80",
    b"\xf4\x90\x80\x80", b"\xe2\x82", b"caf\xe9", bytes(range(256)),
]
PAGE = json.dumps({"name": "café", "n": [1, 2.5, None], "s": "a\0b"}, ensure_ascii=False).encode()
COOKIES = (b"Set-Cookie: s=2; Path=/; HttpOnly; Secure; Domain=h.test;"
           b" Expires=Wed, 21 Oct 2026 07:28:00 GMT\r\n"
           b"Set-Cookie: odd; Expires=tomorrow; Max-Age=x; SameSite=Lax\r\nSet-Cookie: =v\r\n")


def answer(body, *fields, status=b"200 OK"):
    lines = [b"HTTP/1.1 " + status, *fields, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def post(target, body, *fields, method=b"POST", host=b"h.test"):
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: " + host, *fields]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body)]) + b"\r\n\r\n" + body


def get(target, *fields, method=b"GET", version=b"1.1", host=b"h.test"):
    lines = [method + b" " + target + b" HTTP/" + version, b"Host: " + host, *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def chunked(body, *fields):
    head = b"\r\n".join([b"HTTP/1.1 200 OK", *fields, b"Transfer-Encoding: chunked"])
    return head + b"\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def ordinary():
    """What an API is asked all day."""
    gzipped = gzip.compress(PAGE, mtime=0)
    json_type, form = b"Content-Type: application/json", b"application/x-www-form-urlencoded"
    multipart = b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\nx, "y"\r\n--b--\r\n'
    return [
        (get(b"/get?x=1&y=%20z+w&empty=&flag&&u=%C3%A9", b"Cookie: s=1; t=2; =c; d=1=2; e"),
         answer(PAGE, json_type, COOKIES[:-2])),
        (get(b"/gzip"), answer(gzipped, json_type, b"Content-Encoding: gzip")),
        (get(b"/chunked"), chunked(PAGE, json_type)),
        (get(b"/chunked-gzip"), chunked(gzipped, json_type, b"content-encoding: GZIP")),
        (get(b"/not-gzip"), answer(b"plain", b"Content-Encoding: gzip")),
        (get(b"/unknown-coding"), answer(b"\x01\x02", b"Content-Encoding: exi")),
        (post(b"/form", b"user=ada&x=%20+y&e=", b"Content-Type: " + form), answer(b"ok")),
        (post(b"/multipart", multipart, b"Content-Type: multipart/form-data; boundary=b"),
         answer(b"ok")),
        (post(b"/json", PAGE, json_type), answer(b"", status=b"201 Created")),
        (get(b"/chunked", b"Transfer-Encoding: chunked", method=b"POST")
         + b"3;e=1\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n", answer(b"ok")),
        (get(b"/head", method=b"HEAD"), b"HTTP/1.1 200 OK\r\nContent-Length: 700\r\n\r\n"),
        (get(b"/204"), b"HTTP/1.1 204 No Content\r\n\r\n"),
        (get(b"/304"), b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"),
        (get(b"/302"), answer(b"", b"Location: /elsewhere?a=b", status=b"302 Found")),
        (get(b"/503"), answer(b"busy", status=b"503 ")),
        (get(b"/999"), answer(b"odd", status=b"999 A reason, \"quoted\"")),
    ]


def odd():
    """Targets, methods, fields."""
    return [
        (get(b"/?"), answer(b"")), (get(b"/empty-query?"), answer(b"")),
        (get(b"//headers"), answer(b"x")), (get(b"/a/../b/./%2e%2E/%zz/%"), answer(b"x")),
        (get(b"/x|y{z}^`\"<>\\?q=\"|<>{}^`\\'"), answer(b"x")),
        (get("/café?ü=ß".encode()), answer(b"x")), (get(b"/latin-\xe9?q=\xff"), answer(b"x")),
        (get(b"/a#b?c#d"), answer(b"x")), (get(b"/colon:8080/@x;p=1,2"), answer(b"x")),
        (get(b"*", method=b"OPTIONS"), answer(b"")),
        (get(b"http://abs.test:81/c?d", host=b"other"), answer(b"x")),
        (get(b"/host?1", host=b"[2001:db8::1]:8080"), answer(b"x")),
        (get(b"/host?2", host=b""), answer(b"x")), (get(b"/host?3", host=b"e/x?q#"), answer(b"x")),
        (get(b"/host?4", host=b"user@h\\x"), answer(b"x")),
        (get(b"/host?5", host=b"\xe9"), answer(b"x")),
        (get(b"/dav", method=b"PROPFIND"), answer(b"<x/>", b"Content-Type: text/xml")),
        (get(b"/search", method=b"M-SEARCH"), answer(b"x")),
        (get(b"/fields", b"X-Twice: one", b"x-twice: two", b"X-Empty:", b"X-Latin: \xe9\xff",
             b"X-Utf: \xc3\xa9, \"q\"", b"X!#$%&'*+-.^_`|~: odd", b"X-Tab: a\tb"),
         answer(b"x", b"X-Twice: 1", b"X-Twice: 2", b"X-Latin: \xe9", b"X-Comma: a, \"b\", c",
                b"Content-Type: text/plain; charset=\"utf-8\"")),
    ]


def conversation(path, talk):
    """Requests and answers on one connection."""
    pcap = PcapFile()
    connection = Conversation(pcap, 40000)
    for i, (request, response) in enumerate(talk):
        connection.exchange(10_000 * (i + 1), request, response)
    pcap.write(path)


def write(path):
    """Times are fixed, a connection each for the kinds; returns how many exchanges there are."""
    pcap = PcapFile()
    bodies = [(post(b"/text?n=%d" % i, t.encode()), answer(t.encode(), b"Content-Type: text/plain"))
              for i, t in enumerate(TEXTS)]
    bodies += [(post(b"/binary?n=%d" % i, b, b"Content-Type: application/octet-stream"), answer(b))
               for i, b in enumerate(BINARY)]
    for n, talk in enumerate((ordinary(), odd(), bodies)):
        connection = Conversation(pcap, 40000 + n, server_port=80 + n)
        for i, (request, response) in enumerate(talk):
            connection.exchange(10_000 * (i + 1) + n, request, response)
    old = Conversation(pcap, 40010, server="10.0.0.3", server_port=8080)
    old.exchange(10_000, b"GET /old HTTP/1.0\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\nuntil, the\nend")
    old.close(12_000)
    late = Conversation(pcap, 40011, server="10.0.0.3", server_port=8080)
    late.request(20_000, b"GET /late HTTP/1.0\r\n\r\n")
    pcap.write(path)
    return len(ordinary()) + len(odd()) + len(bodies) + 2
