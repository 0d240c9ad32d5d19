# SPDX-License-Identifier: Apache-2.0
"""TCP conversations with HTTP in them, and the ground truth of what they hold.

What is true is said while the bytes are made, never found by parsing them again: a request is put
into the client's stream, its answer into the server's, and each remembers where it begins. Which
packet shows the first byte is looked up in what was in fact captured. Segments may then be sent in
any order, twice, cut, with other bytes, or not at all (`lost`: sent, but not in the capture).

Time is a number that grows by `step` with each packet; nothing here reads a clock."""

import dataclasses
import hashlib
import re

import wire

C, S = 0, 1  # the two sides: client, server
EPOCH_NS = 1700000000 * 1000000000 + 123456789
MSS = 1460
CRLF = b"\r\n"


# --- messages ------------------------------------------------------------------------------------


@dataclasses.dataclass
class Message:
    """`raw` as on the wire, `body` after de-chunking."""

    raw: bytes
    body: bytes = b""
    method: str = None
    target: str = None
    host: str = None
    version: str = "1.1"
    status: int = None
    trailers: list = None
    fields: list = None  # name and value, where it was built from them
    chunks: dict = None  # how it was chunked


def chunked(body, size=7, extension=b"", trailers=(), sizes=None, upper=False):
    """The body in chunks (RFC 9112, 7.1). `sizes` gives each chunk's, the last one repeats."""
    out, at, n = [], 0, 0
    while at < len(body):
        step = sizes[min(n, len(sizes) - 1)] if sizes else size
        piece = body[at:at + step]
        number = b"%X" if upper else b"%x"
        out.append(number % len(piece) + extension + CRLF + piece + CRLF)
        at, n = at + len(piece), n + 1
    out.append(b"0" + extension + CRLF)
    out += [f"{name}: {value}".encode("latin-1") + CRLF for name, value in trailers]
    return b"".join(out) + CRLF


def head(first, fields):
    lines = [first] + [f"{name}: {value}" for name, value in fields]
    return "\r\n".join(lines).encode("latin-1") + CRLF + CRLF


def framing(body, chunks, length):
    """The field that frames the body, and the body as it is sent."""
    if chunks is not None:
        return [("Transfer-Encoding", "chunked")], chunked(body, **chunks)
    return ([("Content-Length", len(body))] if length else []), body


def request(method="GET", target="/", host="app.test", version="1.1", fields=(), body=b"",
            chunks=None, length=None):
    """`chunks`: arguments of chunked(). `length`: whether to send Content-Length."""
    framed, sent = framing(body, chunks, bool(body) if length is None else length)
    fields = [*([("Host", host)] if host is not None else []), *fields, *framed]
    raw = head(f"{method} {target} HTTP/{version}", fields) + sent
    return Message(raw, body, method, target, host, version, None, trailers_of(chunks), fields,
                   chunks)


def response(status=200, reason="OK", version="1.1", fields=(), body=b"", chunks=None,
             length=True):
    """`length` False: delimited by the end of the connection."""
    framed, sent = framing(body, chunks, length)
    fields = [*fields, *framed]
    raw = head(f"HTTP/{version} {status} {reason}", fields) + sent
    return Message(raw, body, None, None, None, version, status, trailers_of(chunks), fields,
                   chunks)


def trailers_of(chunks):
    return [list(t) for t in chunks["trailers"]] if chunks and chunks.get("trailers") else None


def head_of(message):
    """The start line, the fields and the empty line, as on the wire."""
    return message.raw[:re.search(rb"\n\r?\n", message.raw).end()]


def text(size, seed=0):
    """Bytes that differ from place to place, so that a shift shows."""
    return b"".join(b"%08x" % (i * 2654435761 + seed & 0xFFFFFFFF)
                    for i in range(size // 8 + 1))[:size]


# --- the truth -----------------------------------------------------------------------------------


@dataclasses.dataclass
class Truth:
    """One request of the manifest. `more` overrides or adds keys."""

    talk: object
    message: Message
    start: int
    answer: Message = None
    answer_start: int = None
    more: dict = dataclasses.field(default_factory=dict)

    def expect(self, **more):
        self.more.update(more)
        return self

    def unanswered(self):
        """The answer is on the wire, but cannot be taken for one."""
        self.answer = None
        return self

    def entry(self):
        t, m = self.talk, self.message
        ns, frame = t.first_frame(C, self.start)
        out = {
            "stream": t.number, "position": t.truths.index(self), "frame": frame, "ts": stamp(ns),
            "client": endpoint(t.ends[C]), "server": endpoint(t.ends[S]), "method": m.method, "target": m.target, "host": m.host,
            "version": m.version, "req_complete": True, "req_body_len": len(m.body),
            "req_body_sha256": hashlib.sha256(m.body).hexdigest(),
            "req_head_sha256": hashlib.sha256(head_of(m)).hexdigest(),
            "request_trailers": m.trailers,
        }
        if self.answer is not None:
            ns, frame = t.first_frame(S, self.answer_start)
            out |= {
                "status": self.answer.status, "resp_ts": stamp(ns), "resp_frame": frame,
                "resp_complete": True, "resp_body_len": len(self.answer.body),
                "resp_body_sha256": hashlib.sha256(self.answer.body).hexdigest(),
                "response_trailers": self.answer.trailers, "state": "complete",
                "resp_headers": "unchecked" if self.answer.fields is None else
                [[name, str(value)] for name, value in self.answer.fields],
            }
        else:
            out["state"] = "no-response"
        out |= self.more
        return {k: v for k, v in out.items() if v != "unchecked"}


def stamp(ns):
    return f"{ns // 1000000000}.{ns % 1000000000:09d}"


def endpoint(end):
    return f"[{end[0]}]:{end[1]}" if ":" in end[0] else f"{end[0]}:{end[1]}"


CUT_REQUEST = {"req_complete": False, "req_body_len": None, "req_body_sha256": "unchecked",
               "request_trailers": "unchecked", "state": "gap"}
CUT_RESPONSE = {"resp_complete": False, "resp_body_len": None, "resp_body_sha256": "unchecked",
                "response_trailers": "unchecked", "state": "gap"}


# --- the capture ---------------------------------------------------------------------------------


class Capture:
    """Packets in the order they were captured, and the conversations they belong to."""

    def __init__(self, layers=None, link=1, step=1000000):
        self.layers = [wire.ethernet()] if layers is None else layers
        self.link = link
        self.step = step
        self.now = EPOCH_NS
        self.frames = []
        self.talks = []
        self.ident = 0
        self.interface = 0
        self.section = 0
        self.snaplen = None
        self.orphans = 0
        self.ledger = {}
        self.file = None  # a function from frames to the file's bytes; None: pcap
        self.options = None
        self.exit = None  # the exit statuses that are right; None: 0

    def tick(self, ns=None):
        self.now += self.step if ns is None else ns

    def add(self, packet, layers=None):
        """Captures an IP packet (or whatever the layers take). Returns its frame number."""
        for layer in self.layers if layers is None else layers:
            packet = layer(packet)
        data = packet.data if self.snaplen is None else packet.data[:self.snaplen]
        self.frames.append(wire.Frame(self.now, data, len(packet.data), self.interface,
                                      self.section))
        self.tick()
        return len(self.frames)

    def talk(self, *args, **kwargs):
        self.talks.append(Talk(self, len(self.talks), *args, **kwargs))
        return self.talks[-1]

    def truths(self):
        out = [truth.entry() for talk in self.talks for truth in talk.truths]
        return sorted(out, key=lambda e: (e["frame"], e["stream"]))

    def expected(self):
        entries = self.truths()
        return {
            "requests": len(entries),
            "responses_matched": sum("status" in e for e in entries),
            "orphan_responses": self.orphans,
            "list": entries,
            "ledger": {"packets.seen": len(self.frames), **self.ledger},
        }

    def bytes(self):
        if self.file is not None:
            return self.file(self.frames)
        return wire.pcap(self.frames, self.link)


class Talk:
    """One TCP connection. Streams are byte strings; a segment is a range of one of them."""

    def __init__(self, capture, number, client="10.1.0.1", server="10.2.0.1", sport=None, dport=80,
                 isn=(1000, 5000), mss=MSS, layers=None, good=True):
        self.capture = capture
        self.number = number
        self.ends = ((client, sport or 40000 + number), (server, dport))
        self.isn = isn
        self.mss = mss
        self.layers = layers
        self.good = good
        self.stream = (bytearray(), bytearray())
        self.sent = [0, 0]  # how far flush() has come
        self.high = [0, 0]  # how far anything was sent: what the other side acknowledges
        self.closed = [0, 0]  # 1 after the FIN
        self.opened = [0, 0]
        self.seen = ([], [])  # (start, end, ns, frame) of what was captured
        self.truths = []

    # Packets.

    def packet(self, side, offset, flags, payload=b"", ack=None, lost=False, window=65535,
               options=b"", split=None):
        """Any segment; `offset` counts from the first byte of the stream. `split` cuts its IP
        packet: a function from (src, dst, tcp bytes, ident) to packets."""
        src, dst = self.ends[side], self.ends[1 - side]
        seq = self.isn[side] + 1 + offset - (1 if flags & wire.SYN else 0)
        if ack is None:
            ack = self.high[1 - side] + self.closed[1 - side]
        ack = self.isn[1 - side] + 1 + ack if flags & wire.ACK else 0
        self.capture.ident += 1
        data = wire.tcp(src, dst, seq, ack, flags, payload, window, options, good=self.good)
        if lost:
            self.capture.tick()
            return None
        if split is not None:
            numbers = [self.capture.add(p, self.layers)
                       for p in split(src[0], dst[0], data, self.capture.ident)]
            return numbers[-1]
        p = wire.ip(src[0], dst[0], wire.TCP, data, self.capture.ident & 0xFFFF)
        return self.capture.add(p, self.layers)

    def segment(self, side, start, end, flags=wire.PSH | wire.ACK, lost=False, data=None, cut=None,
                **more):
        """Bytes start..end of the stream, or others in their place. `cut`: only so many of the
        payload's bytes are in the file."""
        payload = bytes(self.stream[side][start:end]) if data is None else data
        ns = self.capture.now
        frame = self.packet(side, start, flags, payload, lost=lost, **more)
        self.high[side] = max(self.high[side], end)
        if frame is None:
            return None
        if cut is not None:
            f = self.capture.frames[frame - 1]
            f.data = f.data[:len(f.data) - len(payload) + cut]
            end = start + cut
        if "split" in more:
            ns = self.capture.frames[frame - 1].ns
        if data is None:
            self.seen[side].append((start, end, ns, frame))
        return frame

    def first_frame(self, side, offset):
        for start, end, ns, frame in self.seen[side]:
            if start <= offset < end:
                return ns, frame
        raise AssertionError(f"byte {offset} of side {side} of talk {self.number} is in no packet")

    # The handshake and the end.

    def open(self, window=65535):
        mss = b"\x02\x04\x05\xb4"
        self.packet(C, 0, wire.SYN, options=mss)
        self.packet(S, 0, wire.SYN | wire.ACK, options=mss, window=window)
        self.packet(C, 0, wire.ACK)
        return self

    def ack(self, side, **more):
        self.packet(side, self.high[side] + self.closed[side], wire.ACK, **more)

    def fin(self, side, lost=False):
        self.packet(side, self.high[side], wire.FIN | wire.ACK, lost=lost)
        self.closed[side] = 1

    def close(self, first=C):
        self.fin(first)
        self.fin(1 - first)
        self.ack(first)
        return self

    def reset(self, side, payload=b"", flags=wire.RST | wire.ACK):
        self.packet(side, self.high[side] + self.closed[side], flags, payload)

    # Bytes and what they mean.

    def put(self, side, data):
        """Appends to the stream; nothing is sent. Returns the range."""
        start = len(self.stream[side])
        self.stream[side].extend(data)
        return start, len(self.stream[side])

    def ask(self, message):
        start, _ = self.put(C, message.raw)
        self.truths.append(Truth(self, message, start))
        return self.truths[-1]

    def answer(self, truth, message):
        """`truth` None: an answer to nothing that the capture shows, or an interim one."""
        start, end = self.put(S, message.raw)
        if truth is not None:
            truth.answer, truth.answer_start = message, start
        return start, end

    def flush(self, side, size=None, lost=False, acked=False):
        """Sends what was put and not yet sent, in order, in segments of `size`."""
        size = size or self.mss
        while self.sent[side] < len(self.stream[side]):
            start = self.sent[side]
            end = min(start + size, len(self.stream[side]))
            self.segment(side, start, end, lost=lost)
            self.sent[side] = end
            if acked:
                self.ack(1 - side)

    def skip(self, side):
        """Marks all that was put as sent: the case sends it by itself."""
        start, self.sent[side] = self.sent[side], len(self.stream[side])
        return start, self.sent[side]

    def exchange(self, asked=None, answered=None, size=None):
        """One request and its answer, the ordinary way."""
        truth = self.ask(asked or request())
        self.flush(C, size)
        self.answer(truth, answered or response(body=b"hello"))
        self.flush(S, size)
        self.ack(C)
        return truth
