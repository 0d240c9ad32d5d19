# SPDX-License-Identifier: Apache-2.0
"""Files, link types, tunnels and fragments: the same conversation under every wrapping."""

import itertools
import random

import wire
from registry import case
from talk import C, S, Capture, request, response, text

SIX = {"client": "2001:db8::1", "server": "2001:db8::2"}


def chat(cap, seed=0, **where):
    """A short conversation whose bodies show any shift: one GET, one POST with a large answer."""
    t = cap.talk(**where).open()
    t.exchange(request("GET", f"/first?n={seed}"), response(body=text(300, seed)))
    t.exchange(request("POST", "/second", body=text(2500, seed + 1)),
               response(201, "Created", body=text(4000, seed + 2), chunks={"size": 999}))
    t.close()
    return t


def both(cap, **where):
    """Over IPv4 and over IPv6."""
    chat(cap, 1, **where)
    chat(cap, 2, **SIX, **where)
    return cap


# --- link types ----------------------------------------------------------------------------------

LINKS = {
    "ethernet": (1, [wire.ethernet()]),
    "ethernet-padded": (1, [wire.ethernet(pad=True)]),
    "loop": (108, [wire.null("!")]),
    "null-big-endian-in-little": (0, [wire.null("!")]),
    "raw": (101, [wire.raw()]),
    "raw-dlt": (12, [wire.raw()]),
    "sll": (113, [wire.sll()]),
    "sll2": (276, [wire.sll2()]),
    "ppp": (9, [wire.ppp()]),
    "ppp-compressed": (9, [wire.ppp(compressed=True)]),
    "ppp-hdlc": (50, [wire.hdlc_ppp()]),
    "ppp-on-hdlc-header": (9, [wire.hdlc_ppp()]),
    "pppoe-link": (51, [wire.pppoe_link()]),
    "wifi-to-ds": (105, [wire.wifi()]),
    "wifi-from-ds": (105, [wire.wifi(False, True)]),
    "wifi-ad-hoc": (105, [wire.wifi(False, False)]),
    "wifi-four-addresses": (105, [wire.wifi(True, True)]),
    "wifi-qos": (105, [wire.wifi(qos=True)]),
    "wifi-qos-retry": (105, [wire.wifi(qos=True, control=0x08)]),
    "radiotap": (127, [wire.wifi(), wire.radiotap()]),
    "radiotap-fcs": (127, [wire.wifi(qos=True, fcs=True), wire.radiotap(0x10)]),
}


@case("link", rows=LINKS)
def link(row):
    number, layers = row
    return both(Capture(layers, number))


@case("link/null", rows={f"{name}-{family}": (order, family)
                         for name, order in (("little", "<"), ("big", ">"))
                         for family in (24, 28, 30)})
def link_null(row):
    """AF_INET6 is another number on each BSD; the file's byte order is the header's."""
    order, family = row
    cap = Capture(link=0)
    chat(cap, 1, layers=[wire.null(order)])
    chat(cap, 2, layers=[wire.null(order, family)], **SIX)
    cap.file = lambda frames: wire.pcap(frames, 0, order)
    return cap


@case("link/ip-only", rows={"ipv4": (228, {}), "ipv6": (229, SIX)})
def link_ip_only(row):
    number, ends = row
    cap = Capture([wire.raw()], number)
    chat(cap, 3, **ends)
    return cap


# --- tunnels -------------------------------------------------------------------------------------

E = wire.ethernet
TUNNELS = {
    "vlan": [wire.vlan(5), E()],
    "vlan-priority-tag": [wire.vlan(0xE000), E()],
    "qinq": [wire.vlan(5), wire.vlan(9, wire.QINQ), E()],
    "qinq-of-old": [wire.vlan(5), wire.vlan(9), E()],
    "vlan-three-deep": [wire.vlan(1), wire.vlan(2), wire.vlan(3, wire.QINQ), E()],
    "mpls": [wire.mpls(100), E()],
    "mpls-three-labels": [wire.mpls(100, 200, 300), E()],
    "mpls-ethernet": [E(), wire.mpls(100, control_word=True), E()],
    "vlan-mpls": [wire.mpls(100), wire.vlan(7), E()],
    "pppoe": [wire.pppoe(), E()],
    "pppoe-vlan": [wire.pppoe(), wire.vlan(7), E()],
    "gre": [wire.gre(), E()],
    "gre-key-sequence": [wire.gre(key=1, sequence=2), E()],
    "gre-checksum": [wire.gre(with_checksum=True), E()],
    "gre-all": [wire.gre(key=1, sequence=2, with_checksum=True), E()],
    "gre-over-ipv6": [wire.gre(six=True), E()],
    "gre-ethernet": [E(), wire.gre(key=1), E()],
    "gre-ethernet-vlan": [wire.vlan(3), E(), wire.gre(key=1), E()],
    "gre-mpls": [wire.mpls(9), wire.gre(), E()],
    "erspan-1": [E(), wire.erspan1(), E()],
    "erspan-2": [E(), wire.erspan2(), E()],
    "erspan-2-vlan": [wire.vlan(8), E(), wire.erspan2(), E()],
    "erspan-3": [E(), wire.erspan3(), E()],
    "erspan-3-platform": [E(), wire.erspan3(platform=True), E()],
    "ip-in-ip": [wire.ip_in_ip(), E()],
    "ip-in-ipv6": [wire.ip_in_ip(six=True), E()],
    "ip-in-ip-twice": [wire.ip_in_ip(), wire.ip_in_ip(), E()],
    "vxlan": [E(), wire.vxlan(), E()],
    "vxlan-vlan": [wire.vlan(4), E(), wire.vxlan(), E()],
    "vxlan-over-ipv6": [E(), wire.vxlan(six=True), E()],
    "geneve-ethernet": [E(), wire.geneve(), E()],
    "geneve-ip": [wire.geneve(), E()],
    "geneve-options": [E(), wire.geneve(options=b"\x01\x08\x01\x02" + b"abcdefgh"), E()],
    "gtp-u": [wire.gtpu(), E()],
    "gtp-u-sequence": [wire.gtpu(sequence=7), E()],
    "gtp-u-extension": [wire.gtpu(extension=b"\x01\x10\x09\0"), E()],
    "gtp-u-both": [wire.gtpu(sequence=7, extension=b"\x01\x10\x09\0"), E()],
    "vxlan-in-gre": [E(), wire.vxlan(), wire.gre(), E()],
}


@case("tunnel", rows=TUNNELS)
def tunnel(layers):
    """Addresses are the inner ones."""
    return both(Capture(layers))


@case("tunnel/on-sll")
def tunnel_on_sll():
    return both(Capture([E(), wire.vxlan(), wire.sll()], 113))


@case("tunnel/vlan-on-sll", rows={"sll": (113, wire.sll), "sll2": (276, wire.sll2)})
def vlan_on_sll(row):
    """What `-i any` shows of a tagged interface."""
    number, layer = row
    return both(Capture([wire.vlan(5), layer()], number))


@case("tunnel/one-direction-tagged")
def tunnel_one_direction():
    """A tap that shows the VLAN tag of one direction only; it is one connection all the same."""
    cap = Capture()
    t = chat(cap, 1)
    server = wire.packed(t.ends[S][0])
    for f in cap.frames:
        if f.data[26:30] == server:
            f.data = f.data[:12] + b"\x81\0\0\x05" + f.data[12:]
            f.length += 4
    return cap


@case("tunnel/same-addresses-apart")
def tunnel_same_addresses():
    """Two customers with the same addresses and ports, one after the other."""
    cap = Capture()
    chat(cap, 1, sport=41000, layers=[wire.vlan(1), E()])
    chat(cap, 2, sport=41000, layers=[wire.vlan(2), E()], isn=(900000, 770000))
    return cap


# --- IPv6 extension headers, IP options ----------------------------------------------------------

PAD = b"\0\x01\x04\0\0\0\0"  # length 0 (eight bytes), PadN
EXTENSIONS = {
    "hop-by-hop": [(0, PAD)],
    "destination": [(60, PAD)],
    "routing": [(43, b"\x02\0\0\0\0\0\0" + bytes(16))],
    "hop-by-hop-routing-destination": [(0, PAD), (43, b"\x02\0\0\0\0\0\0" + bytes(16)), (60, PAD)],
    "authentication": [(51, b"\x04" + bytes(22))],
    "atomic-fragment": [(44, b"\0\0\0\0\0\0\x07")],
    "long-hop-by-hop": [(0, b"\x02\x01\x14" + bytes(20))],
}


def with_extensions(headers):
    def split(src, dst, data, _):
        number, payload = wire.ip6_extensions(wire.TCP, headers, data)
        return [wire.ip6(src, dst, number, payload)]
    return split


def with_options(src, dst, data, ident):
    return [wire.ip4(src, dst, wire.TCP, data, ident, options=b"\x94\x04\0\0\x01\x01\x01\0")]


def split_chat(cap, split, **where):
    """A conversation whose every data segment passes through `split`."""
    t = cap.talk(**where).open()
    truth = t.ask(request("PUT", "/split", body=text(900)))
    start, end = t.skip(C)
    t.segment(C, start, end, split=split)
    t.answer(truth, response(body=text(1200, 5)))
    start, end = t.skip(S)
    t.segment(S, start, end, split=split)
    t.close()
    return cap


@case("ipv6-extension", rows=EXTENSIONS)
def ipv6_extension(headers):
    return split_chat(Capture(), with_extensions(headers), **SIX)


@case("ipv4-options")
def ipv4_options():
    return split_chat(Capture(), with_options)


@case("ipv4-total-length-zero")
def ipv4_total_length_zero():
    """What segmentation offload leaves: a total length of zero means all there is."""
    return split_chat(Capture(), lambda src, dst, data, ident: [
        wire.ip4(src, dst, wire.TCP, data, ident, length=0)])


# --- fragments -----------------------------------------------------------------------------------

CUTS = (64, 128, 512)
ORDERS = {
    "in-order": lambda p: p,
    "reversed": lambda p: p[::-1],
    "first-last": lambda p: p[1:] + p[:1],
    "all-but-last-twice": lambda p: [q for one in p[:-1] for q in (one, one)] + p[-1:],
}


def fragments(order):
    def split(src, dst, data, ident):
        make = wire.ip6_fragments if ":" in src else wire.ip4_fragments
        return order(make(src, dst, wire.TCP, data, ident, CUTS))
    return split


@case("fragments", rows={f"{family}-{name}": (ends, order)
                         for (family, ends), (name, order) in itertools.product(
                             (("ipv4", {}), ("ipv6", SIX)), ORDERS.items())})
def fragment_orders(row):
    ends, order = row
    return split_chat(Capture(), fragments(order), **ends)


@case("fragments/ipv4-overlapping")
def fragment_overlap():
    """Equal bytes twice (RFC 791 lets it be); RFC 8200 forbids it for IPv6."""
    def split(src, dst, data, ident):
        f = wire.ip4
        return [f(src, dst, wire.TCP, data[:128], ident, 0, True),
                f(src, dst, wire.TCP, data[64:512], ident, 64, True),
                f(src, dst, wire.TCP, data[512:], ident, 512, False)]
    return split_chat(Capture(), split)


@case("fragments/in-tunnel")
def fragment_in_tunnel():
    return split_chat(Capture([E(), wire.vxlan(), E()]), fragments(ORDERS["reversed"]))


@case("fragments/of-tunnel")
def fragment_of_tunnel():
    """The outer packet is the one that was cut."""
    cap = Capture()

    def split(src, dst, data, ident):
        inner = E()(wire.ip(src, dst, wire.TCP, data, ident))
        packet = wire.vxlan()(inner)
        return wire.ip4_fragments("192.0.2.1", "192.0.2.2", wire.UDP, packet.data[20:], ident,
                                  (256, 640))
    return split_chat(cap, split)


@case("fragments/interleaved")
def fragments_interleaved():
    """Pieces of two datagrams with the same number, from two hosts, mixed."""
    cap = Capture()
    one, two = cap.talk().open(), cap.talk(client="10.1.0.9").open()
    pieces = []
    for t in (one, two):
        t.ask(request("PUT", f"/mixed/{t.number}", body=text(700, t.number)))
        start, end = t.skip(C)
        t.segment(C, start, end, lost=True)
        t.capture.ident = 500
        data = wire.tcp(t.ends[C], t.ends[S], t.isn[C] + 1, t.isn[S] + 1, wire.ACK,
                        bytes(t.stream[C]))
        pieces.append(wire.ip4_fragments(t.ends[C][0], t.ends[S][0], wire.TCP, data, 501, CUTS))
    for pair in zip(*pieces):
        for t, piece in zip((one, two), pair):
            ns, frame = cap.now, cap.add(piece)
            if piece is pieces[t.number][-1]:
                t.seen[C].append((0, len(t.stream[C]), ns, frame))
    for t in (one, two):
        t.answer(t.truths[0], response(body=text(50, t.number)))
        t.flush(S)
        t.close()
    return cap


@case("fragments/lost")
def fragment_lost():
    """One piece never comes: the datagram is gone, the connection goes on."""
    cap = Capture()
    t = cap.talk().open()
    t.exchange()
    truth = t.ask(request("GET", "/answer-is-cut"))
    t.flush(C)
    start, _ = t.answer(truth, response(body=text(4000)))
    t.segment(S, start, start + 1000)
    t.segment(S, start + 1000, start + 2400, split=lambda src, dst, data, ident:
              wire.ip4_fragments(src, dst, wire.TCP, data, ident, CUTS)[:-1])
    t.seen[S].pop()
    t.segment(S, start + 2400, len(t.stream[S]))
    t.skip(S)
    t.ack(C)
    head = response(body=text(4000)).raw.index(b"\r\n\r\n") + 4
    truth.expect(resp_complete=False, resp_body_len=None, resp_body_captured=1000 - head,
                 resp_body_sha256="unchecked", state="gap")
    t.exchange(request("GET", "/after"))
    t.close()
    cap.ledger = {"packets.fragments": 3, "streams.bytes_missing": 1400, "streams.gaps": 1}
    return cap


# --- file formats --------------------------------------------------------------------------------


def plain(seed=0):
    cap = Capture()
    chat(cap, seed)
    return cap


@case("file/pcap", rows={f"{order}-{precision}": (mark, precision == "nano")
                         for (order, mark), precision in itertools.product(
                             (("little", "<"), ("big", ">")), ("micro", "nano"))})
def file_pcap(row):
    order, nano = row
    cap = plain()
    cap.file = lambda frames: wire.pcap(frames, 1, order, nano)
    return cap


@case("file/pcap-gzip")
def file_gzip():
    cap = plain()
    cap.file = lambda frames: wire.zipped(wire.pcap(frames, 1))
    return cap


@case("file/pcap-gzip-members")
def file_gzip_members():
    """Two gzip files one after the other are one (RFC 1952, 2.2); the cut is inside a packet."""
    cap = plain()

    def file(frames):
        data = wire.pcap(frames, 1)
        return wire.zipped(data[:700]) + wire.zipped(data[700:])
    cap.file = file
    return cap


@case("file/pcap-gzip-cut")
def file_gzip_cut():
    """Without the end of its checksum; the packets are all there."""
    cap = plain()
    cap.file = lambda frames: wire.zipped(wire.pcap(frames, 1))[:-5]
    return cap


BLOCKS = {"with-options": wire.packet_block_with_options, "of-old": wire.packet_block_of_old}


@case("file/pcapng-block", rows={f"{name}-{order}": (mark, make)
                                 for name, make in BLOCKS.items()
                                 for order, mark in (("little", "<"), ("big", ">"))})
def file_blocks(row):
    order, make = row
    cap = plain()
    cap.file = lambda frames: wire.pcapng(frames, [(order, [wire.Interface(1)])], make)
    return cap


@case("file/pcapng-gzip")
def file_pcapng_gzip():
    cap = plain()
    cap.file = lambda frames: wire.zipped(wire.pcapng(frames, [("<", [wire.Interface(1)])]))
    return cap


RESOLUTIONS = {
    "micro": wire.Interface(1),
    "nano": wire.Interface(1, digits=9),
    "pico": wire.Interface(1, digits=12, offset=1700000000),
    "binary": wire.Interface(1, binary=30),
    "offset": wire.Interface(1, offset=1600000000),
}


@case("file/pcapng", rows={f"{order}-{name}": (mark, interface)
                           for (order, mark), (name, interface) in itertools.product(
                               (("little", "<"), ("big", ">")), RESOLUTIONS.items())})
def file_pcapng(row):
    order, interface = row
    cap = plain()
    cap.file = lambda frames: wire.pcapng(frames, [(order, [interface])])
    return cap


@case("file/pcapng-interfaces")
def file_interfaces():
    """Three interfaces, three link types, one connection a link type."""
    cap = Capture()
    for number, layers in enumerate(([E()], [wire.raw()], [wire.sll()])):
        cap.interface = number
        chat(cap, number, layers=layers)
    interfaces = [wire.Interface(1), wire.Interface(101, digits=9), wire.Interface(113)]
    cap.file = lambda frames: wire.pcapng(frames, [("<", interfaces)])
    return cap


@case("file/pcapng-sections")
def file_sections():
    """A file that was made by appending: the second section in the other byte order."""
    cap = Capture()
    for number, layers in enumerate(([E()], [wire.sll2()])):
        cap.section = number
        chat(cap, number, layers=layers)
    sections = [("<", [wire.Interface(1)]), (">", [wire.Interface(276, digits=9)])]
    cap.file = lambda frames: wire.pcapng(frames, sections)
    return cap


@case("file/asymmetric-interfaces")
def file_asymmetric():
    """Each direction of one connection came in on another interface (a tap with two outputs)."""
    cap = Capture()
    t = chat(cap)
    for f in cap.frames:
        f.interface = int(f.data[26:30] == wire.packed(t.ends[S][0]))
    cap.file = lambda frames: wire.pcapng(frames, [("<", [wire.Interface(1), wire.Interface(1)])])
    return cap


@case("file/truncated", rows={"in-record-header": 9, "in-packet": 40})
def file_truncated(left):
    """The writer was killed inside the last packet: what is whole counts."""
    cap = plain()
    chat(cap, 1)
    last = cap.frames.pop()
    cap.file = lambda frames: (wire.pcap(frames, 1)
                               + wire.pcap([last], 1)[wire.PCAP_HEADER:][:left])
    return cap


@case("file/unordered-times")
def file_unordered_times():
    """Packets of two interfaces merged carelessly: time goes back by some microseconds."""
    cap = Capture(step=10000)
    rng = random.Random(7)
    t = cap.talk().open()
    for i in range(20):
        t.exchange(request("GET", f"/n/{i}"), response(body=text(rng.randrange(3000), i)))
    t.close()
    for i, f in enumerate(cap.frames):
        f.ns -= 15000 * (i % 3)
    t.seen = tuple([(a, b, cap.frames[n - 1].ns, n) for a, b, _, n in side] for side in t.seen)
    return cap


NO_CAPTURES = {
    "nothing": b"",
    "text": b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n" * 40,
    "half-a-header": wire.pcap([], 1)[:11],
    "gzip-of-text": wire.zipped(b"no capture " * 100),
}


@case("file/no-capture", rows=NO_CAPTURES)
def file_no_capture(data):
    """Refused in one line, exit status 2, and no store is made."""
    cap = Capture()
    cap.file = lambda _: data
    cap.exit = [2]
    return cap


@case("file/empty")
def file_empty():
    return Capture()


@case("file/noise")
def file_noise():
    """HTTP among ARP, ICMP, UDP and frames that are nothing at all; each is counted once."""
    cap = Capture()
    noise = (
        wire.Packet(wire.ARP, bytes(28)),
        wire.ip4("10.0.0.1", "10.0.0.2", wire.ICMP, b"\x08\0" + bytes(30)),
        wire.ip4("10.0.0.1", "10.0.0.2", wire.UDP, wire.udp(53, 5353, bytes(30))),
        wire.Packet(wire.IP4, b"\x45\0"),
        wire.Packet(wire.IP4, b"\x41" + bytes(39)),
        wire.Packet(0x88CC, bytes(50)),
        wire.ip4("10.0.0.1", "10.0.0.2", wire.TCP, b"\0\x50\0\x50"),
        wire.ip4("10.0.0.1", "10.0.0.2", wire.TCP, bytes(12) + b"\xf0\0" + bytes(6)),
    )
    t = cap.talk().open()
    for packet in noise:
        cap.add(packet)
        t.exchange()
    t.close()
    cap.ledger = {"packets.not_ip": 2, "packets.not_tcp": 2, "packets.ip_short": 1,
                  "packets.ip_header": 1, "packets.tcp_short": 1, "packets.tcp_header": 1}
    return cap
