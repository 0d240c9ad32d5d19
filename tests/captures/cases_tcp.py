# SPDX-License-Identifier: Apache-2.0
"""What TCP does to a stream between the two ends and a tap: order, loss, repetition, ends."""

import wire
from registry import case
from talk import C, CUT_REQUEST, CUT_RESPONSE, S, Capture, request, response, text

ACK, FIN, PSH, RST, SYN, URG = (wire.ACK, wire.FIN, wire.PSH, wire.RST, wire.SYN, wire.URG)


def start(**where):
    cap = Capture()
    return cap, cap.talk(**where).open()


def head_size(message):
    return message.raw.index(b"\r\n\r\n") + 4


def large(t, path="/large", size=8000, seed=3, **more):
    """Asks for a large answer; its range is put and marked, for the case to send."""
    truth = t.ask(request("GET", path))
    t.flush(C)
    message = response(body=text(size, seed), **more)
    t.answer(truth, message)
    begin, end = t.skip(S)
    return truth, message, begin, end


def pieces(begin, end, size=1000):
    return [(a, min(a + size, end)) for a in range(begin, end, size)]


def finish(t, cap, **ledger):
    """An ordinary exchange after whatever happened, and the end."""
    t.exchange(request("GET", "/after"), response(body=b"still in step"))
    t.close()
    cap.ledger = {f"streams.{name}": n for name, n in ledger.items()}
    return cap


# --- order and repetition ------------------------------------------------------------------------

SHUFFLES = {
    "swapped": lambda p: [q for a in range(0, len(p), 2) for q in p[a:a + 2][::-1]],
    "reversed": lambda p: p[::-1],
    "first-comes-last": lambda p: p[1:] + p[:1],
    "last-comes-first": lambda p: p[-1:] + p[:-1],
}


@case("tcp/out-of-order", rows=SHUFFLES)
def out_of_order(order):
    cap, t = start()
    t.exchange()
    _, _, begin, end = large(t)
    for a, b in order(pieces(begin, end)):
        t.segment(S, a, b)
    return finish(t, cap, bytes_missing=0, gaps=0)


@case("tcp/request-out-of-order")
def request_out_of_order():
    cap, t = start()
    truth = t.ask(request("POST", "/upload", body=text(5000)))
    for a, b in pieces(*t.skip(C))[::-1]:
        t.segment(C, a, b)
    t.answer(truth, response(204, "No Content", length=False))
    t.flush(S)
    return finish(t, cap, gaps=0)


@case("tcp/answer-captured-before-its-request")
def answer_first():
    """The tap mixes the directions: the answer stands before the request it answers."""
    cap, t = start()
    t.exchange()
    asked, answered = request("GET", "/late"), response(body=b"early")
    truth = t.ask(asked).expect(resp_ts="unchecked")
    a, b = t.skip(C)
    t.answer(truth, answered)
    t.high[C] = b
    t.flush(S)
    t.segment(C, a, b, ack=t.sent[S] - len(answered.raw))
    return finish(t, cap, gaps=0)


@case("tcp/retransmission", rows={"at-once": 0, "after-the-next": 1, "after-the-end": 99})
def retransmission(later):
    cap, t = start()
    _, _, begin, end = large(t)
    sent = pieces(begin, end)
    for i, (a, b) in enumerate(sent):
        t.segment(S, a, b)
        if later < 99 and i >= later:
            t.segment(S, *sent[i - later])
    if later == 99:
        for a, b in sent:
            t.segment(S, a, b)
    return finish(t, cap, gaps=0, overlap_conflicts=0, bytes_retransmitted=end - begin
                  if later != 1 else sent[-2][1] - begin)


@case("tcp/retransmission-after-seconds")
def retransmission_after_seconds():
    """Lost before the tap, so not acknowledged: it comes again after the retransmission timeout."""
    cap, t = start()
    _, _, begin, end = large(t)
    sent = pieces(begin, end)
    for i, (a, b) in enumerate(sent):
        if i != 3:
            t.segment(S, a, b)
            t.packet(C, t.high[C], ACK, ack=min(b, sent[3][0]))
    for wait in (1, 2, 4):
        cap.tick(wait * 1000000000)
        t.packet(C, t.high[C], ACK, ack=sent[3][0])
    t.segment(S, *sent[3])
    t.ack(C)
    return finish(t, cap, gaps=0, bytes_missing=0)


@case("tcp/everything-twice")
def everything_twice():
    """Captured on two interfaces of the same path."""
    cap, t = start()
    t.exchange(request("POST", "/twice", body=text(4000)), response(body=text(9000, 2)))
    finish(t, cap, gaps=0, bytes_missing=0, connections=1)
    cap.frames = [f for f in cap.frames for _ in (1, 2)]
    t.seen = tuple([(a, b, ns, 2 * n - 1) for a, b, ns, n in side] for side in t.seen)
    return cap


@case("tcp/retransmission-of-request")
def retransmission_of_request():
    """Seen again after its answer: it is no second request."""
    cap, t = start()
    truth = t.exchange(request("POST", "/once", body=b"pay 10"), response(201, "Created"))
    t.segment(C, truth.start, t.sent[C])
    t.ack(S)
    return finish(t, cap, gaps=0)


@case("tcp/overlap-equal")
def overlap_equal():
    """Repacketised: ranges that begin and end elsewhere, some reaching back, some around."""
    cap, t = start()
    _, _, begin, end = large(t, size=7000)
    for a, b in ((0, 1000), (500, 1500), (2500, 3500), (1200, 2800), (3000, 3200), (3400, 5400),
                 (3000, 6000), (6500, 6600), (6000, 10000)):
        t.segment(S, begin + a, min(begin + b, end))
    return finish(t, cap, gaps=0, overlap_conflicts=0)


@case("tcp/overlap-conflict", policy=["reassembly-policy"])
def overlap_conflict():
    """The first arrival wins, before and after the bytes were passed on. Only those that are still
    held can be told to differ."""
    cap, t = start()
    _, message, begin, end = large(t, size=7000)
    body = begin + head_size(message)
    t.segment(S, begin, body + 1000)
    t.segment(S, body + 500, body + 1500, data=b"#" * 500 + bytes(t.stream[S][body + 1000:
                                                                             body + 1500]))
    t.segment(S, body + 2000, body + 3000)
    t.segment(S, body + 1900, body + 3100,
              data=bytes(t.stream[S][body + 1900:body + 2000]) + b"%" * 1000
              + bytes(t.stream[S][body + 3000:body + 3100]))
    t.segment(S, body + 1500, body + 1900)
    t.segment(S, body + 3100, end)
    return finish(t, cap, gaps=0, bytes_missing=0, overlap_conflicts=1)


@case("tcp/sequence-wrap", rows={"in-head": 40, "in-body": 2000, "at-segment": 1000,
                                 "reordered": -2000})
def sequence_wrap(before):
    """Both directions pass 2^32."""
    isn = (1 << 32) - abs(before) - 1
    cap = Capture()
    t = cap.talk(isn=(isn, isn)).open()
    truth = t.ask(request("PUT", "/wrap", body=text(5000)))
    order = pieces(*t.skip(C))
    for a, b in order[::-1] if before < 0 else order:
        t.segment(C, a, b)
    t.answer(truth, response(body=text(6000, 9)))
    order = pieces(*t.skip(S))
    for a, b in SHUFFLES["swapped"](order) if before < 0 else order:
        t.segment(S, a, b)
    return finish(t, cap, gaps=0)


@case("tcp/segment-sizes", rows={"one-byte": 1, "two": 2, "seven": 7, "above-mtu": 20000,
                                 "largest": 65000})
def segment_sizes(size):
    """From one byte a segment to what GRO leaves."""
    cap, t = start()
    bodies = 300 if size < 10 else 150000
    t.exchange(request("POST", "/sizes", body=text(bodies)),
               response(body=text(bodies, 4), chunks={"sizes": [1, 20, 5000]}), size=size)
    return finish(t, cap, gaps=0)


# --- segments without use ------------------------------------------------------------------------


@case("tcp/keep-alive-probe", rows={"empty": b"", "garbage-byte": b"\0"})
def keepalive_probe(garbage):
    """One byte before the next sequence number (RFC 9293, 3.8.4); not a conflicting overlap."""
    cap, t = start()
    for n in range(3):
        t.exchange(request("GET", f"/{n}"))
        for side in (C, S):
            t.packet(side, t.sent[side] - 1, ACK, garbage)
            t.ack(1 - side)
    return finish(t, cap, gaps=0, overlap_conflicts=0)


@case("tcp/keep-alive-probe-at-the-start")
def keepalive_at_start():
    """The probe's byte is the SYN's place; then the request."""
    cap, t = start()
    t.packet(C, -1, ACK, b"\0")
    t.ack(S)
    return finish(t, cap, gaps=0)


@case("tcp/zero-window-probe")
def zero_window_probe():
    """The next byte of the stream again and again, until the window opens."""
    cap, t = start()
    _, _, begin, end = large(t, size=4000)
    t.segment(S, begin, begin + 2000)
    t.ack(C, window=0)
    for _ in range(3):
        t.segment(S, begin + 2000, begin + 2001)
        t.packet(C, t.high[C], ACK, window=0, ack=begin + 2000)
    t.ack(C)
    t.segment(S, begin + 2001, end)
    return finish(t, cap, gaps=0, overlap_conflicts=0)


@case("tcp/urgent")
def urgent():
    """URG with a pointer: the bytes stay in the stream."""
    cap, t = start()
    truth = t.ask(request("POST", "/urgent", body=text(200)))
    a, b = t.skip(C)
    t.segment(C, a, b - 100)
    t.segment(C, b - 100, b, flags=ACK | PSH | URG)
    t.answer(truth, response())
    t.flush(S)
    return finish(t, cap, gaps=0)


@case("tcp/bad-checksums")
def bad_checksums():
    cap = Capture()
    t = cap.talk(good=False).open()
    t.exchange(request("POST", "/offload", body=text(3000)), response(body=text(9000)))
    return finish(t, cap, gaps=0)


# --- beginnings ----------------------------------------------------------------------------------


@case("tcp/data-in-syn")
def data_in_syn():
    """TCP Fast Open: the request comes with the SYN."""
    cap = Capture()
    t = cap.talk()
    truth = t.ask(request("GET", "/tfo"))
    a, b = t.skip(C)
    ns = cap.now
    # The payload of a SYN stands after the SYN's own number.
    frame = t.packet(C, 0, SYN, bytes(t.stream[C]))
    t.seen[C].append((a, b, ns, frame))
    t.high[C] = b
    t.packet(S, 0, SYN | ACK)
    t.packet(C, b, ACK)
    t.answer(truth, response(body=b"fast"))
    t.flush(S)
    return finish(t, cap, gaps=0)


@case("tcp/syn-repeated")
def syn_repeated():
    cap = Capture()
    t = cap.talk()
    for _ in range(3):
        t.packet(C, 0, SYN)
    t.packet(S, 0, SYN | ACK)
    t.packet(S, 0, SYN | ACK)
    t.packet(C, 0, ACK)
    t.exchange()
    t.packet(S, 0, SYN | ACK)
    return finish(t, cap, gaps=0)


@case("tcp/simultaneous-open")
def simultaneous_open():
    """RFC 9293, 3.5: both send a SYN. Who asks is the client all the same."""
    cap = Capture()
    t = cap.talk(sport=8100, dport=8200)
    t.packet(S, 0, SYN)
    t.packet(C, 0, SYN)
    t.packet(S, 0, SYN | ACK)
    t.packet(C, 0, SYN | ACK)
    return finish(t, cap, gaps=0)


@case("tcp/without-syn-ack")
def without_syn_ack():
    """The handshake's answer is not in the capture."""
    cap = Capture()
    t = cap.talk()
    t.packet(C, 0, SYN)
    t.packet(C, 0, ACK)
    return finish(t, cap, gaps=0)


@case("tcp/half-open")
def half_open():
    """SYNs that nobody answers, and one that is refused."""
    cap = Capture()
    for i in range(5):
        t = cap.talk()
        t.packet(C, 0, SYN)
        if i == 4:
            t.packet(S, 0, RST | ACK, ack=0)
    t = cap.talk().open()
    return finish(t, cap, gaps=0)


@case("tcp/midstream", rows={"at-request": 0, "in-request-body": 1, "in-answer": 2}, policy=[
    "midstream", "resync"])
def midstream(where):
    """The capture begins when the connection is long open."""
    cap = Capture()
    t = cap.talk()
    if where == 1:
        message = request("POST", "/unseen", body=text(3000))
        t.put(C, message.raw)
        a, b = t.skip(C)
        t.segment(C, a + 1500, b)
        t.answer(None, response(body=b"to the unseen one"))
        t.flush(S)
        cap.orphans = 1
    elif where == 2:
        t.put(S, response(body=text(3000)).raw)
        a, b = t.skip(S)
        t.segment(S, a + 1500, b)
        t.ack(C)
    t.exchange(request("GET", "/first-seen"))
    t.exchange(request("POST", "/second-seen", body=text(500)))
    return finish(t, cap, midstream=1)


@case("tcp/midstream-answer-first", policy=["midstream", "unmatched"])
def midstream_answer():
    """The first thing seen is an answer; its request was before."""
    cap = Capture()
    t = cap.talk()
    t.answer(None, response(body=b"to whom"))
    t.flush(S)
    t.ack(C)
    cap.orphans = 1
    return finish(t, cap, midstream=1, gaps=0)


# --- ends ----------------------------------------------------------------------------------------


@case("tcp/data-after-fin")
def data_after_fin():
    """The client closes its side; the server still answers. Bytes after the own FIN are nothing."""
    cap, t = start()
    truth = t.ask(request("GET", "/half-closed"))
    t.flush(C)
    t.fin(C)
    t.answer(truth, response(body=text(4000)))
    t.flush(S)
    t.packet(C, t.high[C] + 1, ACK | PSH, b"GET /beyond-fin HTTP/1.1\r\nHost: app.test\r\n\r\n")
    t.fin(S)
    t.ack(C)
    return cap


@case("tcp/fin-before-last-segments")
def fin_out_of_order():
    """The FIN overtakes the last of the data; the body ends where the FIN is."""
    cap, t = start()
    truth = t.ask(request("GET", "/close-delimited"))
    t.flush(C)
    t.answer(truth, response(body=text(3000), length=False))
    a, b = t.skip(S)
    t.segment(S, a, a + 1000)
    t.high[S] = b
    t.fin(S)
    t.segment(S, a + 2000, b)
    t.segment(S, a + 1000, a + 2000)
    t.ack(C)
    t.fin(C)
    return cap


@case("tcp/fin-with-data")
def fin_with_data():
    cap, t = start()
    truth = t.ask(request("GET", "/last"))
    t.flush(C)
    t.answer(truth, response(body=text(700), length=False))
    t.segment(S, *t.skip(S), flags=ACK | PSH | FIN)
    t.closed[S] = 1
    t.ack(C)
    t.fin(C)
    return cap


@case("tcp/reset-with-payload")
def reset_with_payload():
    """Some stacks say why in the RST (RFC 9293, 3.5.2); it is no part of the stream."""
    cap, t = start()
    t.exchange()
    truth = t.ask(request("GET", "/never-answered"))
    t.flush(C)
    truth.expect(state="no-response")
    t.reset(S, b"HTTP/1.1 500 Go away\r\nContent-Length: 0\r\n\r\n")
    return cap


@case("tcp/reset-in-answer")
def reset_in_answer():
    cap, t = start()
    truth, message, begin, _ = large(t)
    t.segment(S, begin, begin + 3000)
    truth.expect(**CUT_RESPONSE, resp_body_captured=3000 - head_size(message))
    t.reset(S)
    return cap


@case("tcp/reset-in-close-delimited")
def reset_in_close_delimited():
    """Only a FIN ends such a body; after a RST nobody knows."""
    cap, t = start()
    truth, message, begin, end = large(t, length=False)
    t.segment(S, begin, end)
    truth.expect(**CUT_RESPONSE, resp_body_captured=len(message.body))
    t.reset(S)
    return cap


@case("tcp/reset-in-request")
def reset_in_request():
    cap, t = start()
    message = request("POST", "/upload", body=text(5000))
    truth = t.ask(message)
    a, _ = t.skip(C)
    t.segment(C, a, a + 2000)
    truth.expect(**CUT_REQUEST, req_body_captured=2000 - head_size(message))
    t.reset(C)
    return cap


@case("tcp/never-closed")
def never_closed():
    """The capture ends first. What is whole is whole; an answer under way is cut."""
    cap, t = start()
    t.exchange()
    truth, message, begin, _ = large(t)
    t.segment(S, begin, begin + 1000)
    truth.expect(**CUT_RESPONSE, resp_body_captured=1000 - head_size(message))
    other = cap.talk().open()
    other.ask(request("GET", "/unanswered"))
    other.flush(C)
    return cap


@case("tcp/port-reuse", rows={"after-fin": "fin", "after-reset": "reset", "after-nothing": "none"})
def port_reuse(end):
    """The same four numbers again: a SYN with another sequence number is another connection."""
    cap = Capture()
    for n in range(4):
        t = cap.talk(sport=45000, isn=(1000 + n * 7000000, 900 + n * 5000000)).open()
        t.exchange(request("GET", f"/life/{n}"), response(body=text(100 + n, n)))
        if end == "fin":
            t.close()
        elif end == "reset":
            t.reset(C)
    cap.ledger = {"streams.connections": 4, "streams.gaps": 0}
    return cap


@case("tcp/late-duplicates-after-close")
def late_duplicates():
    """A capture on all interfaces shows packets again, even when all is over: no new connection."""
    cap, t = start()
    truth = t.exchange()
    t.close()
    t.packet(C, 0, SYN)
    t.packet(S, 0, SYN | ACK)
    t.segment(C, truth.start, t.sent[C])
    t.segment(S, truth.answer_start, t.sent[S])
    t.packet(S, t.high[S], FIN | ACK)
    t.packet(C, 0, SYN)
    cap.ledger = {"streams.connections": 1, "streams.gaps": 0, "responses.seen": 1}
    return cap


@case("tcp/reset-outside-the-window", rows={"far-beyond": 1 << 28, "long-before": -(1 << 28)})
def reset_outside(distance):
    """A RST that the receiver would ignore (RFC 9293, 3.10.7.4) ends nothing."""
    cap, t = start()
    t.exchange()
    t.packet(S, t.high[S] + distance, RST, ack=0)
    return finish(t, cap, gaps=0)


@case("tcp/many-at-once")
def many_at_once():
    """Two hundred connections, one packet of each in turn."""
    cap = Capture(step=1000)
    talks = [cap.talk(client=f"10.1.{n % 7}.1", sport=10000 + n // 7).open() for n in range(200)]
    for round_ in range(3):
        for t in talks:
            t.ask(request("GET", f"/{t.number}/{round_}"))
            t.flush(C)
        for t in talks[::-1]:
            t.answer(t.truths[-1], response(body=text(t.number * 3, t.number)))
            t.flush(S, 200)
    for t in talks:
        t.close()
    cap.ledger = {"streams.connections": 200, "streams.http": 200, "streams.gaps": 0}
    return cap


# --- loss ----------------------------------------------------------------------------------------


@case("loss/in-response-body", policy=["resync"])
def lost_in_body():
    """Content-Length says where the next message begins, whatever was lost."""
    cap, t = start()
    t.exchange()
    truth, message, begin, end = large(t)
    for i, (a, b) in enumerate(pieces(begin, end)):
        t.segment(S, a, b, lost=i == 3)
    t.ack(C)
    truth.expect(**CUT_RESPONSE, resp_body_captured=3000 - head_size(message))
    return finish(t, cap, gaps=1, bytes_missing=1000)


@case("loss/over-the-end-of-a-body", policy=["resync"])
def lost_over_end():
    """The hole takes the end of one answer and the beginning of the next, which is so unseen."""
    cap, t = start()
    truth, message, begin, end = large(t, size=3000)
    t.segment(S, begin, begin + 2000)
    t.segment(S, begin + 2000, end, lost=True)
    t.ack(C)
    truth.expect(**CUT_RESPONSE, resp_body_captured=2000 - head_size(message))
    t.ask(request("GET", "/answer-begins-in-the-hole")).expect(state="unchecked")
    t.flush(C)
    t.put(S, response(body=text(2500, 8)).raw)
    a, b = t.skip(S)
    t.segment(S, a, a + 1000, lost=True)
    t.segment(S, a + 1000, b)
    t.ack(C)
    return finish(t, cap, bytes_missing=end - begin - 2000 + 1000)


@case("loss/in-request-body", policy=["resync"])
def lost_in_request_body():
    cap, t = start()
    message = request("POST", "/upload", body=text(6000))
    truth = t.ask(message)
    for i, (a, b) in enumerate(pieces(*t.skip(C))):
        t.segment(C, a, b, lost=i == 2)
    t.ack(S)
    t.answer(truth, response(body=b"thanks"))
    t.flush(S)
    truth.expect(**CUT_REQUEST, req_body_captured=2000 - head_size(message))
    return finish(t, cap, gaps=1, bytes_missing=1000)


@case("loss/in-chunked-body", policy=["resync"])
def lost_in_chunked():
    """No telling where the body ends: found again at the next status line. The hole begins inside
    a chunk's data."""
    cap, t = start()
    chunks = {"size": 5000}
    truth, message, begin, end = large(t, size=20000, chunks=chunks)
    first = head_size(message) + len(b"1388\r\n")
    for i, (a, b) in enumerate(pieces(begin, end)):
        t.segment(S, a, b, lost=i in (2, 3, 4, 5, 6))
    t.ack(C)
    truth.expect(**CUT_RESPONSE, resp_body_captured=2000 - first)
    return finish(t, cap, gaps=1, bytes_missing=5000)


@case("loss/inside-one-chunk", policy=["resync"])
def lost_inside_chunk():
    """The hole is within one chunk's data, whose size is known: the framing holds."""
    cap, t = start()
    truth, message, begin, end = large(t, size=20000, chunks={"size": 5000})
    first = head_size(message) + len(b"1388\r\n")
    for i, (a, b) in enumerate(pieces(begin, end)):
        t.segment(S, a, b, lost=i in (2, 3))
    t.ack(C)
    truth.expect(**CUT_RESPONSE, resp_body_captured=2000 - first)
    return finish(t, cap, gaps=1, bytes_missing=2000)


@case("loss/in-request-head", policy=["resync", "unmatched"])
def lost_in_request_head():
    """A head with a hole is no request; its answer is nobody's, and the next are not shifted."""
    cap, t = start()
    t.exchange()
    t.put(C, request("GET", "/holed", fields=[("X-Long", "y" * 3000)]).raw)
    a, b = t.skip(C)
    t.segment(C, a, a + 500)
    t.segment(C, a + 500, b - 20, lost=True)
    t.segment(C, b - 20, b)
    t.answer(None, response(404, "Not Found", body=b"whose?"))
    t.flush(S)
    t.ack(C)
    cap.orphans = 1
    return finish(t, cap, gaps=1, bytes_missing=b - a - 520)


@case("loss/in-response-head", policy=["resync", "unmatched"])
def lost_in_response_head():
    cap, t = start()
    t.exchange()
    truth = t.ask(request("GET", "/answer-holed"))
    t.flush(C)
    t.put(S, response(fields=[("X-Long", "y" * 3000)], body=b"lost with it").raw)
    a, b = t.skip(S)
    t.segment(S, a, a + 500)
    t.segment(S, a + 500, b - 30, lost=True)
    t.segment(S, b - 30, b)
    t.ack(C)
    truth.expect(state="unchecked")
    return finish(t, cap, gaps=1, bytes_missing=b - a - 530)


@case("loss/of-a-request", policy=["resync", "unmatched"])
def lost_request():
    """Exactly one whole request is missing; its answer is an orphan, the others keep theirs."""
    cap, t = start()
    for n in range(5):
        message = request("GET", f"/n/{n}")
        if n == 2:
            t.put(C, message.raw)
            t.flush(C, lost=True)
            t.answer(None, response(404, "Not Found", body=b"lost"))
            t.flush(S)
            t.ack(C)
            continue
        t.exchange(message, response(230 + n, "OK", body=text(100, n)))
    cap.orphans = 1
    return finish(t, cap, gaps=1)


@case("loss/of-an-answer", policy=["resync", "unmatched"])
def lost_answer():
    """By order alone every later answer would shift by one; the ACK numbers tell."""
    cap, t = start()
    for n in range(5):
        truth = t.ask(request("GET", f"/n/{n}"))
        t.flush(C)
        message = response(230 + n, "OK", body=text(100, n))
        if n == 2:
            t.put(S, message.raw)
            t.flush(S, lost=True)
            truth.expect(state="unchecked")
        else:
            t.answer(truth, message)
            t.flush(S)
        t.ack(C)
    return finish(t, cap, gaps=1)


@case("loss/of-two-answers-and-a-request", policy=["resync", "unmatched"])
def lost_both_ways():
    cap, t = start()
    lost = 0
    for n in range(8):
        message, answer = request("GET", f"/n/{n}"), response(230 + n, "OK", body=text(90, n))
        truth = None
        if n == 5:
            t.put(C, message.raw)
            t.flush(C, lost=True)
            lost += len(message.raw)
        else:
            truth = t.ask(message)
            t.flush(C)
        if n in (2, 3):
            t.put(S, answer.raw)
            t.flush(S, lost=True)
            lost += len(answer.raw)
            truth.expect(state="unchecked")
        else:
            t.answer(truth, answer)
            t.flush(S)
        t.ack(C)
    cap.orphans = 1
    return finish(t, cap, bytes_missing=lost)


@case("loss/of-the-last-answer")
def lost_last():
    """Lost, and nothing after it but its ACK and the FINs."""
    cap, t = start()
    t.exchange()
    truth = t.ask(request("GET", "/last"))
    t.flush(C)
    message = response(body=text(600))
    t.put(S, message.raw)
    t.flush(S, lost=True)
    t.ack(C)
    truth.expect(state="unchecked")
    t.close()
    cap.ledger = {"streams.gaps": 1, "streams.bytes_missing": len(message.raw)}
    return cap


@case("loss/end-of-close-delimited")
def lost_end_close_delimited():
    cap, t = start()
    truth, message, begin, end = large(t, size=4000, length=False)
    t.segment(S, begin, begin + 2000)
    t.segment(S, begin + 2000, end, lost=True)
    t.ack(C)
    t.fin(S)
    t.ack(C)
    truth.expect(**CUT_RESPONSE, resp_body_captured=2000 - head_size(message))
    return cap


@case("loss/first-segment-of-each-side", policy=["resync", "unmatched"])
def lost_first():
    """The SYNs are there, the first request and its answer are not."""
    cap, t = start()
    t.put(C, request("GET", "/unseen").raw)
    t.flush(C, lost=True)
    t.put(S, response(body=text(300)).raw)
    t.flush(S, lost=True)
    t.ack(C)
    return finish(t, cap, gaps=2)


@case("loss/one-direction", rows={"client": C, "server": S}, policy=["unmatched"])
def one_direction(side):
    """An asymmetric tap. The ACKs speak of bytes that were never to be seen."""
    cap = Capture()
    t = cap.talk()
    t.packet(side, 0, SYN if side == C else SYN | ACK)
    for n in range(4):
        asked = request("POST", f"/n/{n}", body=text(300, n))
        answered = response(230 + n, body=text(2000, n))
        if side == C:
            t.ask(asked)
        else:
            t.put(C, asked.raw)
            cap.orphans += 1
        t.flush(C, lost=side == S)
        t.put(S, answered.raw)
        t.flush(S, lost=side == C)
        t.ack(side)
    t.fin(side)
    return cap


@case("loss/snaplen", rows={"heads-whole": 600, "heads-cut": 90}, policy=["resync", "unmatched"])
def snaplen(size):
    """Cut packets: what is beyond the snaplen is a hole of known size."""
    cap = Capture()
    cap.snaplen = size
    t = cap.talk().open()
    for n in range(3):
        message = response(body=text(3000, n))
        truth = t.exchange(request("GET", f"/n/{n}"), message, size=1000)
        if size == 600:
            truth.expect(**CUT_RESPONSE, resp_body_captured=size - 54 - head_size(message))
    t.close()
    if size == 90:  # 36 bytes of each segment: no head is whole
        t.truths.clear()
    return cap


@case("loss/snaplen-in-the-middle", policy=["resync"])
def snaplen_one():
    """One packet alone is cut (its body); those around it are whole."""
    cap, t = start()
    truth, message, begin, end = large(t)
    for i, (a, b) in enumerate(pieces(begin, end)):
        t.segment(S, a, b, cut=300 if i == 4 else None)
    t.ack(C)
    truth.expect(**CUT_RESPONSE, resp_body_captured=4300 - head_size(message))
    return finish(t, cap, gaps=1, bytes_missing=700)


@case("loss/filled-late")
def filled_late():
    """The hole is filled by a retransmission after much else: nothing is missing."""
    cap, t = start()
    _, _, begin, end = large(t, size=60000)
    sent = pieces(begin, end)
    for i, (a, b) in enumerate(sent):
        if i != 1:
            t.segment(S, a, b)
    t.segment(S, *sent[1])
    return finish(t, cap, gaps=0, bytes_missing=0)


@case("loss/random-bytes-between-messages", policy=["resync"])
def garbage_between():
    """Bytes that are no HTTP between two exchanges: passed over up to the next message."""
    cap, t = start()
    t.exchange()
    t.put(C, b"\x16\x03\x01garbage that is no request" * 4 + b"\r\n")
    t.flush(C)
    return finish(t, cap, gaps=0)
