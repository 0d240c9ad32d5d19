# SPDX-License-Identifier: Apache-2.0
"""Random conversations, randomly cut, mixed, reordered and repeated, with nothing lost: exactly the
ground truth must come out. And the same with bits turned and packets missing, where nothing is
asked but that it ends well. Each case is a seed, so each can be had again."""

import random

import wire
from registry import case
from talk import (C, CUT_REQUEST, CUT_RESPONSE, EPOCH_NS, S, Capture, head_of, request, response,
                  text)

SEEDS = 24
LOSSY_SEEDS = 10
ROBUST_SEEDS = 12


def random_body(rng):
    size = rng.choice((0, 1, rng.randrange(50), rng.randrange(3000), rng.randrange(40000)))
    return rng.randbytes(size) if rng.random() < 0.5 else text(size, rng.randrange(1 << 20))


def random_chunks(rng):
    if rng.random() < 0.6:
        return None
    return {
        "sizes": [rng.randrange(1, 5000) for _ in range(rng.randrange(1, 5))],
        "extension": rng.choice((b"", b";a=b", b"; q=\"x\"")),
        "upper": rng.random() < 0.3,
        "trailers": [("X-T", str(rng.random()))] if rng.random() < 0.3 else (),
    }


METHODS = ("GET", "GET", "HEAD", "POST", "PUT", "PURGE")
# The answer to a HEAD that nobody saw cannot be told from one with a body.
METHODS_TOLD = ("GET", "GET", "POST", "PUT", "PURGE")


def random_request(rng, name, methods=METHODS):
    method = rng.choice(methods)
    body = random_body(rng) if method in ("POST", "PUT") else b""
    fields = [(f"X-{n}", "v" * rng.randrange(200)) for n in range(rng.randrange(8))]
    return request(method, f"/{name}?r={rng.random()}", fields=fields, body=body,
                   chunks=random_chunks(rng) if body else None)


def random_response(rng, method):
    if method == "HEAD":
        return response(fields=[("Content-Length", rng.randrange(1000))], length=False)
    if rng.random() < 0.1:
        return response(*rng.choice(((204, "No Content"), (304, "Not Modified"))), length=False)
    body = random_body(rng)
    return response(rng.choice((200, 201, 404, 500)), "Said", body=body,
                    chunks=random_chunks(rng), fields=[("X-A", "b" * rng.randrange(300))])


def random_pieces(rng, begin, end):
    """Cuts a range anywhere: from single bytes to more than an MTU."""
    out, most = [], rng.choice((3, 100, 1460, 1460, 9000))
    most = max(most, (end - begin) // 200)
    while begin < end:
        size = rng.randrange(1, most + 1)
        out.append((begin, min(begin + size, end)))
        begin = out[-1][1]
    return out


def disorder(rng, sent, end):
    """Moves, repeats and widens segments of one flight; every byte is there at least once."""
    out = list(sent)
    if rng.random() < 0.5:
        for i in range(len(out) - 1):
            if rng.random() < 0.3:
                j = min(len(out) - 1, i + rng.randrange(1, 6))
                out[i], out[j] = out[j], out[i]
    for a, b in sent:
        if rng.random() < 0.1:
            out.insert(rng.randrange(len(out) + 1), (a, b))
        if rng.random() < 0.05:
            a = max(sent[0][0], a - rng.randrange(500))
            out.insert(rng.randrange(len(out) + 1), (a, min(end, b + rng.randrange(500))))
    return out


def life(rng, t):
    """One connection, packet by packet; yields after each, so that others can come between."""
    t.open()
    yield
    for n in range(rng.randrange(1, 9)):
        asked = [t.ask(random_request(rng, f"{t.number}/{n}/{i}"))
                 for i in range(rng.choice((1, 1, 1, 2, 5)))]
        for side in (C, S):
            if side == S:
                for truth in asked:
                    t.answer(truth, random_response(rng, truth.message.method))
            begin, end = t.skip(side)
            for a, b in disorder(rng, random_pieces(rng, begin, end), end):
                t.segment(side, a, b)
                yield
        if rng.random() < 0.5:
            t.ack(C)
            yield
    if rng.random() < 0.3:
        truth = t.ask(request("GET", f"/{t.number}/last"))
        t.flush(C)
        t.answer(truth, response(body=random_body(rng), length=False))
        t.flush(S)
        t.fin(S)
        yield
    t.fin(C)
    yield


def conversations(rng, cap, connections):
    lives = []
    for n in range(connections):
        isn = (rng.randrange(1 << 32), rng.randrange((1 << 32) - 20000, 1 << 32))
        six = rng.random() < 0.3
        ends = {"client": "2001:db8::1", "server": "2001:db8::2"} if six else {}
        lives.append(life(rng, cap.talk(isn=isn, sport=30000 + n, **ends)))
    while lives:
        one = rng.choice(lives)
        try:
            next(one)
        except StopIteration:
            lives.remove(one)
    return cap


@case("random/lossless", rows={str(seed): seed for seed in range(SEEDS)})
def lossless(seed):
    rng = random.Random(seed)
    cap = conversations(rng, Capture(step=rng.choice((1000, 50000, 1000000))),
                        rng.choice((1, 3, 10)))
    cap.ledger = {"streams.gaps": 0, "streams.bytes_missing": 0, "streams.overlap_conflicts": 0,
                  "streams.bytes": sum(len(side) for t in cap.talks for side in t.stream)}
    return cap


def covered(talk, side, start, end):
    """How many bytes of the range are in the capture from its start on, without a hole."""
    at = start
    for a, b, _, _ in sorted(talk.seen[side]):
        if a <= at < b:
            at = b
    return min(at, end) - start


def after_loss(truth, answer):
    """What is to be known of an exchange when parts of it are missing. True: something of it."""
    t, asked = truth.talk, truth.message
    head = len(head_of(asked))
    there = covered(t, C, truth.start, truth.start + len(asked.raw))
    if there < head:
        return False
    if there < len(asked.raw):
        prefix = there - head if asked.chunks is None else "unchecked"
        truth.expect(**CUT_REQUEST, req_body_captured=prefix)
    whole = there == len(asked.raw)
    head = len(head_of(answer))
    there = covered(t, S, truth.answer_start, truth.answer_start + len(answer.raw))
    if there < head:
        truth.unanswered().expect(state="unchecked")
    elif there < len(answer.raw):
        prefix = there - head if answer.chunks is None else "unchecked"
        truth.expect(**CUT_RESPONSE, resp_body_captured=prefix)
    elif whole:
        truth.expect(state="complete")
    return True


LOSSES = {"answers": (S,), "requests": (C,), "both": (C, S)}


@case("random/lossy", rows={f"{what}-{seed}": (sides, seed) for what, sides in LOSSES.items()
                            for seed in range(LOSSY_SEEDS)}, policy=["resync", "unmatched"])
def lossy(row):
    """One request at a time, segments missing at random. What is there of each exchange is known,
    so all of it can be asked for: no exchange that is whole may suffer from its neighbours."""
    sides, seed = row
    rng = random.Random(5000 + seed)
    cap = Capture(step=rng.choice((1000, 1000000)))
    rate = rng.choice((0.02, 0.1, 0.3))
    for n in range(3):
        t = cap.talk(isn=(rng.randrange(1 << 32), rng.randrange(1 << 32))).open()
        said = []
        for i in range(rng.randrange(5, 25)):
            truth = t.ask(random_request(rng, f"{n}/{i}", METHODS_TOLD))
            lose(rng, t, C, rate if C in sides else 0)
            answer = random_response(rng, truth.message.method)
            t.answer(truth, answer)
            lose(rng, t, S, rate if S in sides else 0)
            t.ack(C)
            said.append((truth, answer))
        t.close()
        for truth, answer in said:
            if after_loss(truth, answer):
                continue
            t.truths.remove(truth)
            there = covered(t, S, truth.answer_start, truth.answer_start + len(answer.raw))
            cap.orphans += there >= len(head_of(answer))
    return cap


def lose(rng, t, side, rate):
    """A message begins with more than a few bytes, as it does in life: after a hole that is how its
    beginning is told."""
    begin, end = t.skip(side)
    first = min(end, begin + 40)
    for a, b in ((begin, first), *random_pieces(rng, first, end)):
        t.segment(side, a, b, lost=rng.random() < rate)


@case("robust/lossy", rows={str(seed): seed for seed in range(ROBUST_SEEDS)})
def lossy_and_cut(seed):
    """A random part of the packets is missing; some are cut."""
    rng = random.Random(seed)
    cap = conversations(rng, Capture(), 5)
    loss, cut = rng.choice((0.01, 0.1, 0.5)), rng.choice((0, 0.05))
    kept = []
    for f in cap.frames:
        if rng.random() < loss:
            continue
        if rng.random() < cut:
            f.data = f.data[:rng.randrange(len(f.data) + 1)]
        kept.append(f)
    return survivors(cap, kept)


@case("robust/bits", rows={str(seed): seed for seed in range(ROBUST_SEEDS)})
def bits(seed):
    """Bits are turned anywhere in the packets, most often in the headers."""
    rng = random.Random(1000 + seed)
    cap = conversations(rng, Capture(), 4)
    for f in cap.frames:
        data = bytearray(f.data)
        while rng.random() < 0.15:
            at = rng.randrange(min(len(data), rng.choice((54, 120, 2000))))
            data[at] ^= 1 << rng.randrange(8)
        f.data = bytes(data)
    return survivors(cap, cap.frames)


@case("robust/file", rows={str(seed): seed for seed in range(ROBUST_SEEDS)})
def damaged_file(seed):
    """The file itself is damaged."""
    rng = random.Random(2000 + seed)
    cap = conversations(rng, Capture(), 2)
    make = rng.choice((lambda f: wire.pcap(f, 1),
                       lambda f: wire.pcapng(f, [("<", [wire.Interface(1)])])))
    data = bytearray(make(cap.frames))
    for _ in range(rng.randrange(1, 20)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    data = bytes(data[:rng.randrange(len(data))] if rng.random() < 0.5 else data)
    survivors(cap, [])
    cap.file = lambda _: data
    return cap


@case("robust/noise", rows={str(link): link for link in (0, 1, 9, 12, 51, 101, 105, 108, 113, 127,
                                                       228, 229, 276)})
def noise(link):
    """Random bytes as packets of every link type, some of them with a plausible beginning."""
    rng = random.Random(link)
    cap = Capture([wire.raw()], link)
    beginnings = (b"", b"\x45\0\0\x28", b"\x60\0\0\0", bytes(12) + b"\x08\0\x45",
                  bytes(12) + b"\x81\0\0\0\x88\x47", bytes(14) + b"\x08\0", b"\x08\x01",
                  b"\0\0\x08\0", b"\x02\0\0\0", b"\0\x21\x45", bytes(12) + b"\x86\xdd\x60")
    for _ in range(2000):
        data = rng.choice(beginnings) + rng.randbytes(rng.randrange(200))
        cap.add(wire.Packet(0, data))
    return survivors(cap, cap.frames)


def survivors(cap, frames):
    """No ground truth: what counts is that the account adds up."""
    cap.frames = frames
    cap.talks = []
    assert all(f.ns >= EPOCH_NS for f in frames)
    return cap
