# SPDX-License-Identifier: Apache-2.0
"""Small middlewares, good and bad: `middleware.py NAME [ARGUMENT]` speaks GoReplay's protocol on
standard input and output. A behaviour is a function of that name."""

import contextlib
import os
import sys
import time


def records():
    """(type, id, header line, payload) a line."""
    for line in sys.stdin.buffer:
        header, _, payload = bytes.fromhex(line.decode()).partition(b"\n")
        words = header.split(b" ")
        yield words[0], words[1], header, payload


def answer(header, payload):
    sys.stdout.buffer.write((header + b"\n" + payload).hex().encode() + b"\n")
    sys.stdout.buffer.flush()


def echo():
    """Everything back, responses too."""
    for _, _, header, payload in records():
        answer(header, payload)


def requests():
    """Of requests only."""
    for kind, _, header, payload in records():
        if kind == b"1":
            answer(header, payload)


def odd():
    """The second, fourth, ... request is dropped."""
    n = 0
    for kind, _, header, payload in records():
        n += kind == b"1"
        if kind == b"1" and n % 2:
            answer(header, payload)


def backwards(size="3"):
    """So many requests at a time, the last one first."""
    held = []
    for kind, _, header, payload in records():
        if kind == b"1":
            held.append((header, payload))
        if len(held) == int(size):
            for record in reversed(held):
                answer(*record)
            held = []
    for record in reversed(held):
        answer(*record)


def change():
    """Another header and a longer body, with the Content-Length left as it was."""
    for kind, _, header, payload in records():
        if kind == b"1":
            head, _, body = payload.partition(b"\r\n\r\n")
            answer(header, head + b"\r\nX-Changed: yes\r\n\r\n" + body + b", and more")


def token():
    """What /login answers is a token; requests with the recorded one get the replayed one."""
    recorded, known = {}, {}
    for kind, name, header, payload in records():
        body = payload.partition(b"\r\n\r\n")[2]
        if kind == b"1":
            if payload.split(b" ")[1] == b"/login":
                recorded[name] = None
            for old, new in known.items():
                payload = payload.replace(old, new)
            answer(header, payload)
        elif kind == b"2" and name in recorded:
            recorded[name] = body
        elif kind == b"3" and name in recorded:
            known[recorded.pop(name)] = body


def log(path):
    """Echoes requests, and writes down all that it gets."""
    with open(path, "ab", buffering=0) as file:
        for kind, name, header, payload in records():
            file.write(b"%s %s %d\n" % (kind, name, len(payload)))
            if kind == b"1":
                answer(header, payload)


def buffered():
    """Answers when its input has ended, as a program does that does not flush."""
    held = [(header, payload) for kind, _, header, payload in records() if kind == b"1"]
    for record in held:
        answer(*record)


def die(status="3"):
    sys.exit(int(status))


def die_after(n="2", status="7"):
    """So many requests are answered, the next one is the end."""
    left = int(n)
    for kind, _, header, payload in records():
        if kind != b"1":
            continue
        if left == 0:
            sys.exit(int(status))
        left -= 1
        answer(header, payload)


def die_by_signal():
    os.kill(os.getpid(), 9)


def hang():
    """Reads nothing, and outlives its standard input."""
    while True:
        time.sleep(1000)


def silent():
    for _ in records():
        pass


def silent_and_stubborn():
    silent()
    hang()


def close_output():
    os.close(1)
    silent()
    hang()


def close_input():
    os.close(0)
    hang()


GARBAGE = [b"hello", b"0", b"zz", b"", b"31", b"3120610a", b"9 a 1 1\n".hex().encode(), b"\xff" * 99]


def garbage():
    """Lines that are no records around each answer, and each answer twice."""
    for kind, _, header, payload in records():
        if kind == b"1":
            for line in GARBAGE:
                sys.stdout.buffer.write(line + b"\n")
            answer(header, payload)
            answer(header, payload)


def endless():
    """Never a line end."""
    with contextlib.suppress(BrokenPipeError):
        while True:
            os.write(1, b"31" * 32768)


def no_line_end():
    """The last answer ends with the program."""
    for kind, _, header, payload in records():
        if kind == b"1":
            sys.stdout.buffer.write((header + b"\n" + payload).hex().encode())
            return


def environment():
    """Says what it was given: open files, blocked and ignored signals, its process group."""
    with open("/proc/self/status", encoding="ascii") as file:
        masks = dict(line.rstrip("\n").split(":\t", 1) for line in file if line.startswith("Sig"))
    own = os.getpgid(0) == os.getpid()
    for kind, _, header, payload in records():
        if kind == b"1":
            # The listing's own descriptor is the fourth.
            told = f"{len(os.listdir('/proc/self/fd')) - 1} {masks['SigBlk']} {own}"
            answer(header, payload.replace(b"?", told.encode()))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
