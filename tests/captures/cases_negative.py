# SPDX-License-Identifier: Apache-2.0
"""Traffic without HTTP/1: nothing must come out of it, and each kind is counted as what it is."""

import struct

import wire
from registry import case
from talk import C, S, Capture, text

CLIENT_HELLO = (b"\x16\x03\x01\x00\x43\x01\x00\x00\x3f\x03\x03" + bytes(range(32))
                + b"\x00\x00\x04\x13\x01\x00\x2f\x01\x00\x00\x12"
                + b"\x00\x00\x00\x0e\x00\x0c\x00\x00\x09localhost")
SERVER_HELLO = b"\x16\x03\x03\x00\x2a\x02\x00\x00\x26\x03\x03" + bytes(range(34)) + b"\x13\x01"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
SETTINGS = b"\0\0\0\x04\0\0\0\0\0" + b"\0\0\0\x04\x01\0\0\0\0"

# Name: port, what is said in turn (side, bytes).
TALKS = {
    "tls": (443, [(C, CLIENT_HELLO), (S, SERVER_HELLO), (C, b"\x17\x03\x03\x01\x00" + text(256))]),
    "tls-on-80": (80, [(C, CLIENT_HELLO), (S, SERVER_HELLO)]),
    "http2": (80, [(C, PREFACE), (S, SETTINGS), (C, b"\0\0\x05\x01\x05\0\0\0\x01\x82\x86\x84AB")]),
    "ssh": (22, [(S, b"SSH-2.0-OpenSSH_9.2\r\n"), (C, b"SSH-2.0-client\r\n"), (C, text(500))]),
    "ssh-on-80": (80, [(S, b"SSH-2.0-OpenSSH_9.2\r\n"), (C, b"SSH-2.0-client\r\n")]),
    "smtp": (25, [(S, b"220 mail.test ESMTP\r\n"), (C, b"EHLO me.test\r\n"),
                  (S, b"250-mail.test\r\n250 HELP\r\n"), (C, b"MAIL FROM:<a@b.test>\r\n"),
                  (S, b"250 OK\r\n"), (C, b"QUIT\r\n"), (S, b"221 Bye\r\n")]),
    "ftp": (21, [(S, b"220 ready\r\n"), (C, b"USER me\r\n"), (S, b"331 who\r\n"),
                 (C, b"LIST /\r\n")]),
    "redis": (6379, [(C, b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"), (S, b"$-1\r\n")]),
    "redis-inline": (6379, [(C, b"GET key\r\n"), (S, b"$-1\r\n")]),
    "memcached": (11211, [(C, b"get key\r\n"), (S, b"END\r\n")]),
    "rtsp": (554, [(C, b"OPTIONS rtsp://cam.test/ RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
                   (S, b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n")]),
    "sip": (5060, [(C, b"OPTIONS sip:a@b.test SIP/2.0\r\nVia: SIP/2.0/TCP x\r\n\r\n"),
                   (S, b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP x\r\n\r\n")]),
    "irc": (6667, [(C, b"NICK me\r\nUSER me 0 * :me\r\n"), (S, b":irc.test 001 me :Hi\r\n")]),
    "mysql": (3306, [(S, b"\x4a\0\0\0\x0a8.0.30\0" + bytes(60)), (C, b"\x20\0\0\x01" + bytes(32))]),
    "binary": (80, [(C, bytes(range(256)) * 20), (S, bytes(range(255, -1, -1)) * 20)]),
    "zeros": (80, [(C, bytes(5000)), (S, bytes(5000))]),
    "text-without-lines": (80, [(C, b"G" * 300000), (S, b"H" * 300000)]),
    "nearly": (80, [(C, b"GET"), (S, b"HTTP/1")]),
    "empty-lines": (80, [(C, b"\r\n" * 5000), (S, b"\r\n" * 5000)]),
    "nothing-said": (80, []),
}
COUNTERS = {"tls": "streams.tls", "tls-on-80": "streams.tls", "http2": "streams.http2"}


@case("negative/tcp", rows={name: name for name in TALKS})
def negative_tcp(name):
    port, said = TALKS[name]
    cap = Capture()
    t = cap.talk(dport=port).open()
    for side, data in said:
        t.put(side, data)
        t.flush(side)
    t.close()
    cap.ledger = {"requests.seen": 0, "responses.seen": 0, "packets.used": 0,
                  "packets.not_http": len(cap.frames), "streams.connections": 1,
                  "streams.http": 0}
    if name == "nearly":  # whether the beginning of a head makes it HTTP is not for a test to say
        cap.ledger = {"responses.seen": 0}
    if name in COUNTERS:
        cap.ledger[COUNTERS[name]] = 1
    return cap


@case("negative/udp")
def negative_udp():
    """HTTP's words in a datagram (SSDP) are not HTTP over TCP."""
    cap = Capture()
    said = b"M-SEARCH * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\n\r\n"
    for n in range(5):
        cap.add(wire.ip4("10.0.0.1", "239.255.255.250", wire.UDP, wire.udp(1900, 1900, said), n))
        cap.add(wire.ip6("fe80::1", "ff02::c", wire.UDP, wire.udp(1900, 1900, said)))
    cap.ledger = {"packets.not_tcp": 10, "requests.seen": 0}
    return cap


@case("negative/not-ip")
def negative_not_ip():
    cap = Capture()
    arp = struct.pack("!HHBBH", 1, wire.IP4, 6, 4, 1) + wire.MAC_A + bytes(14)
    for kind, data in ((wire.ARP, arp), (0x88CC, text(40)), (0x0026, text(40)),
                       (wire.PPPOE_DISCOVERY, b"\x11\x09\0\0\0\0")):
        cap.add(wire.Packet(kind, data.ljust(46, b"\0")))
    cap.ledger = {"packets.not_ip": 4, "requests.seen": 0}
    return cap


@case("negative/icmp-with-tcp-inside")
def negative_icmp():
    """An ICMP error quotes the packet it is about: that one was not seen here."""
    cap = Capture()
    request = b"GET /quoted HTTP/1.1\r\nHost: app.test\r\n\r\n"
    inner = wire.ip4("10.0.0.2", "10.0.0.1", wire.TCP,
                     wire.tcp(("10.0.0.2", 40000), ("10.0.0.1", 80), 1, 1, wire.ACK, request))
    cap.add(wire.ip4("10.0.0.1", "10.0.0.2", wire.ICMP, b"\x03\x03\0\0\0\0\0\0" + inner.data))
    cap.ledger = {"packets.not_tcp": 1, "requests.seen": 0}
    return cap


@case("negative/unknown-link-type")
def negative_link_type():
    """Every packet is counted as one that we cannot read; or the file is refused in one line."""
    cap = Capture([wire.raw()], 147)
    for n in range(3):
        cap.add(wire.Packet(0, text(60, n)))
    cap.ledger = {"packets.link_type_unknown": 3}
    return cap
