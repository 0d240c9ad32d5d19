# SPDX-License-Identifier: Apache-2.0
"""A server whose connections do not last: nearly half of its answers end theirs, one way or
another, and most come in pieces. What it answers to /n/NUMBER follows from the number. Prints its
port."""

import asyncio
import random

WAYS = 5 * ("keep",) + 3 * ("until close",) + ("close", "keep, then close", "chunked")


def body_of(number):
    return (b"%d|" % number).ljust(64 if number % 3 else 64 + number % 50, b".")


def answer(number, way):
    body = body_of(number)
    counted = b"Content-Length: %d\r\n\r\n" % len(body) + body
    if way == "close":
        return b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + counted
    if way == "until close":
        return b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n" + body
    if way == "chunked":
        chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk
    return b"HTTP/1.1 200 OK\r\nServer: x\r\n" + counted


async def say(writer, text):
    cuts = sorted(random.sample(range(1, len(text)), random.choice((0, 0, 1, 2))))
    for start, end in zip([0, *cuts], [*cuts, len(text)]):
        writer.write(text[start:end])
        await writer.drain()
        if end < len(text):
            await asyncio.sleep(random.choice((0, 0, 0.0005)))


async def visit(reader, writer):
    way = "keep"
    try:
        while "close" not in way:
            head = await reader.readuntil(b"\r\n\r\n")
            way = random.choice(WAYS)
            await say(writer, answer(int(head.split()[1].rsplit(b"/", 1)[1]), way))
    except (OSError, asyncio.IncompleteReadError):
        pass
    writer.close()


async def main():
    random.seed(1)
    server = await asyncio.start_server(visit, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
