# SPDX-License-Identifier: Apache-2.0
"""Bytes of packets and of capture files: headers, tunnels, link types, pcap and pcapng.

A layer is a function from Packet to Packet that puts its header before what it is given, so a stack
is a list of layers, the innermost first. `kind` is what the bytes are, as an Ethernet type. Knows
nothing of TCP streams or of HTTP, and reads no clock."""

import gzip
import ipaddress
import struct
from dataclasses import dataclass

IP4, IP6, ETHERNET, ARP = 0x0800, 0x86DD, 0x6558, 0x0806
VLAN, QINQ, MPLS, PPPOE, PPPOE_DISCOVERY = 0x8100, 0x88A8, 0x8847, 0x8864, 0x8863
TCP, UDP, ICMP, GRE, IPIP, SIX = 6, 17, 1, 47, 4, 41
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
MAC_A, MAC_B, MAC_C = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02", b"\x02\0\0\0\0\x03"


@dataclass
class Packet:
    kind: int
    data: bytes


def checksum(data):
    data = bytes(data) + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packed(ip):
    return ipaddress.ip_address(ip).packed


# --- transport -----------------------------------------------------------------------------------


def tcp(src, dst, seq, ack, flags, payload=b"", window=65535, options=b"", urgent=0, good=True):
    """src and dst are (ip, port). A bad checksum is what offload leaves in a capture."""
    options += b"\0" * (-len(options) % 4)
    head = struct.pack("!HHIIBBHHH", src[1], dst[1], seq & 0xFFFFFFFF, ack & 0xFFFFFFFF,
                       (5 + len(options) // 4) << 4, flags, window, 0, urgent) + options
    value = checksum(pseudo(src[0], dst[0], TCP, len(head) + len(payload)) + head + payload)
    value = value if good else value ^ 0x5555
    return head[:16] + struct.pack("!H", value) + head[18:] + payload


def udp(src_port, dst_port, payload):
    return struct.pack("!HHHH", src_port, dst_port, 8 + len(payload), 0) + payload


def pseudo(src, dst, proto, length):
    return packed(src) + packed(dst) + struct.pack("!II", length, proto)


# --- IP ------------------------------------------------------------------------------------------


def ip4(src, dst, proto, payload, ident=1, offset=0, more=False, options=b"", length=None):
    options += b"\0" * (-len(options) % 4)
    size = 20 + len(options) + len(payload) if length is None else length
    head = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, 0, size & 0xFFFF, ident,
                       (0x2000 if more else 0) | offset // 8, 64, proto, 0)
    head += packed(src) + packed(dst) + options
    return Packet(IP4, head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload)


def ip6(src, dst, proto, payload, length=None):
    size = len(payload) if length is None else length
    head = struct.pack("!IHBB", 6 << 28, size & 0xFFFF, proto, 64)
    return Packet(IP6, head + packed(src) + packed(dst) + payload)


def ip(src, dst, proto, payload, ident=1):
    if ":" in src:
        return ip6(src, dst, proto, payload)
    return ip4(src, dst, proto, payload, ident)


def ip4_fragments(src, dst, proto, payload, ident, cuts):
    """`cuts`: offsets where it is cut, multiples of eight."""
    edges = [0, *cuts, len(payload)]
    return [ip4(src, dst, proto, payload[a:b], ident, a, b < len(payload))
            for a, b in zip(edges, edges[1:])]


def ip6_fragments(src, dst, proto, payload, ident, cuts):
    edges = [0, *cuts, len(payload)]
    out = []
    for a, b in zip(edges, edges[1:]):
        more = int(b < len(payload))
        head = struct.pack("!BBHI", proto, 0, a | more, ident)
        out.append(ip6(src, dst, 44, head + payload[a:b]))
    return out


def ip6_extensions(proto, headers, payload):
    """Chains extension headers. `headers`: (number, body) with the body after its first byte."""
    out, following = payload, proto
    for number, body in reversed(headers):
        out = bytes([following]) + body + out
        following = number
    return following, out


# --- layers --------------------------------------------------------------------------------------


def ethernet(dst=MAC_B, src=MAC_A, pad=False):
    def layer(p):
        frame = dst + src + struct.pack("!H", p.kind) + p.data
        return Packet(ETHERNET, frame.ljust(60, b"\0") if pad else frame)
    return layer


def vlan(number, kind=VLAN):
    return lambda p: Packet(kind, struct.pack("!HH", number, p.kind) + p.data)


def mpls(*labels, control_word=False):
    def layer(p):
        stack = b"".join(struct.pack("!I", label << 12 | (i == len(labels) - 1) << 8 | 64)
                         for i, label in enumerate(labels))
        return Packet(MPLS, stack + (b"\0\0\0\0" if control_word else b"") + p.data)
    return layer


PPP_NUMBERS = {IP4: 0x0021, IP6: 0x0057, MPLS: 0x0281}


def ppp(compressed=False):
    def layer(p):
        number = PPP_NUMBERS[p.kind]
        return Packet(0, (bytes([number]) if compressed else struct.pack("!H", number)) + p.data)
    return layer


def pppoe(session=7):
    def layer(p):
        inner = struct.pack("!H", PPP_NUMBERS[p.kind]) + p.data
        return Packet(PPPOE, struct.pack("!BBHH", 0x11, 0, session, len(inner)) + inner)
    return layer


def outer(proto, payload, six=False):
    if six:
        return ip6("fd00:ffff::1", "fd00:ffff::2", proto, payload)
    return ip4("192.0.2.1", "192.0.2.2", proto, payload, 77)


def ip_in_ip(six=False):
    return lambda p: outer({IP4: IPIP, IP6: SIX}[p.kind], p.data, six)


def gre(key=None, sequence=None, with_checksum=False, six=False):
    def layer(p):
        flags = (with_checksum << 15) | ((key is not None) << 13) | ((sequence is not None) << 12)
        rest = b"" if key is None else struct.pack("!I", key)
        rest += b"" if sequence is None else struct.pack("!I", sequence)
        head = struct.pack("!HH", flags, p.kind)
        if with_checksum:
            value = checksum(head + b"\0\0\0\0" + rest + p.data)
            rest = struct.pack("!HH", value, 0) + rest
        return outer(GRE, head + rest + p.data, six)
    return layer


def erspan1():
    return lambda p: outer(GRE, struct.pack("!HH", 0, 0x88BE) + p.data)


def erspan2(session=5):
    def layer(p):
        head = struct.pack("!HHI", 1 << 12 | 100, session, 3)
        return outer(GRE, struct.pack("!HHI", 0x1000, 0x88BE, 9) + head + p.data)
    return layer


def erspan3(session=5, platform=False):
    """draft-foschiano-erspan-03: twelve bytes, and eight more where the O bit is set."""
    def layer(p):
        head = struct.pack("!HHIHH", 2 << 12 | 100, session, 123456, 0, int(platform))
        head += struct.pack("!II", 3 << 26, 1) if platform else b""
        return outer(GRE, struct.pack("!HHI", 0x1000, 0x22EB, 9) + head + p.data)
    return layer


def vxlan(vni=4096, port=4789, six=False):
    def layer(p):
        head = struct.pack("!II", 0x08 << 24, vni << 8)
        return outer(UDP, udp(49152, port, head + p.data), six)
    return layer


def geneve(vni=4096, options=b""):
    def layer(p):
        head = struct.pack("!BBHI", len(options) // 4, 0, p.kind, vni << 8)
        return outer(UDP, udp(49152, 6081, head + options + p.data))
    return layer


def gtpu(teid=0x1234, sequence=None, extension=b""):
    """3GPP TS 29.281, 5: the optional four bytes are there when any of E, S, PN is set."""
    def layer(p):
        flags, optional = 0x30, b""
        if sequence is not None or extension:
            flags |= (0x02 if sequence is not None else 0) | (0x04 if extension else 0)
            optional = struct.pack("!HBB", sequence or 0, 0, 0x85 if extension else 0) + extension
        inner = optional + p.data
        return outer(UDP, udp(2152, 2152, struct.pack("!BBHI", flags, 255, len(inner), teid)
                              + inner))
    return layer


# --- link headers --------------------------------------------------------------------------------


def null(order, family=None):
    """The family stands in the byte order of the machine that wrote the file."""
    def layer(p):
        number = family or {IP4: 2, IP6: 30}[p.kind]
        return Packet(0, struct.pack(order + "I", number) + p.data)
    return layer


def raw():
    return lambda p: Packet(0, p.data)


def sll():
    return lambda p: Packet(0, struct.pack("!HHH8sH", 0, 1, 6, MAC_A, p.kind) + p.data)


def sll2():
    return lambda p: Packet(0, struct.pack("!HHIHBB8s", p.kind, 0, 3, 1, 0, 6, MAC_A) + p.data)


def hdlc_ppp():
    return lambda p: Packet(0, b"\xff\x03" + ppp()(p).data)


def pppoe_link():
    return lambda p: Packet(0, pppoe()(p).data)


def wifi(to_ds=True, from_ds=False, qos=False, control=0, fcs=False):
    """IEEE 802.11 data frame with LLC/SNAP. Both bits: four addresses."""
    def layer(p):
        first = 0x88 if qos else 0x08
        head = struct.pack("<BBH", first, int(to_ds) | from_ds << 1 | control, 0)
        head += MAC_A + MAC_B + MAC_C + b"\x10\0"
        head += MAC_A if to_ds and from_ds else b""
        head += b"\0\0" if qos else b""
        snap = b"\xaa\xaa\x03\0\0\0" + struct.pack("!H", p.kind)
        return Packet(0, head + snap + p.data + (b"\xde\xad\xbe\xef" if fcs else b""))
    return layer


def radiotap(flags=0):
    """Version 0, with TSFT and flags. 0x10: an FCS follows the frame; 0x20: padded to four."""
    return lambda p: Packet(0, struct.pack("<BBHIQB", 0, 0, 17, 3, 1000, flags) + p.data)


# --- files ---------------------------------------------------------------------------------------


@dataclass
class Frame:
    """One captured packet. `length` is what it had on the wire."""

    ns: int
    data: bytes
    length: int
    interface: int = 0
    section: int = 0


PCAP_HEADER = 24


def pcap(frames, link, order="<", nano=False, snaplen=262144):
    out = [struct.pack(order + "IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, snaplen,
                       link)]
    for f in frames:
        seconds, rest = divmod(f.ns, 1000000000)
        out.append(struct.pack(order + "IIII", seconds, rest if nano else rest // 1000,
                               len(f.data), f.length) + f.data)
    return b"".join(out)


def block(order, kind, body):
    body += b"\0" * (-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


@dataclass
class Interface:
    link: int
    digits: int = 6  # resolution 10^-digits
    binary: int = 0  # or 2^-binary
    offset: int = 0  # seconds


def pcapng(frames, sections, make=None):
    """`sections`: (byte order, interfaces). Frames say which section and which interface. `make`
    makes a packet's block."""
    make = make or packet_block
    out = []
    for number, (order, interfaces) in enumerate(sections):
        out.append(block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1)))
        for i in interfaces:
            resolution = 0x80 | i.binary if i.binary else i.digits
            options = struct.pack(order + "HHBxxx", 9, 1, resolution)
            if i.offset:
                options += struct.pack(order + "HHq", 14, 8, i.offset)
            options += struct.pack(order + "HH", 0, 0)
            out.append(block(order, 1, struct.pack(order + "HHI", i.link, 0, 262144) + options))
        out.append(block(order, 0x0BAD, b"a block that nobody knows"))
        out += [make(order, f, interfaces[f.interface]) for f in frames if f.section == number]
        out.append(block(order, 4, struct.pack(order + "HH", 0, 0)))  # names, none
        out.append(block(order, 5, struct.pack(order + "III", 0, 0, 0)))  # statistics, none
    return b"".join(out)


def units_of(f, interface):
    ns = f.ns - interface.offset * 1000000000
    if interface.binary:
        return -(-(ns << interface.binary) // 1000000000)
    return ns * 10**interface.digits // 1000000000


def packet_block(order, f, interface):
    units = units_of(f, interface)
    head = struct.pack(order + "IIIII", f.interface, units >> 32, units & 0xFFFFFFFF, len(f.data),
                       f.length)
    return block(order, 6, head + f.data)


def packet_block_with_options(order, f, interface):
    """With a comment and flags after the data, as Wireshark saves them."""
    units = units_of(f, interface)
    head = struct.pack(order + "IIIII", f.interface, units >> 32, units & 0xFFFFFFFF, len(f.data),
                       f.length)
    data = f.data + b"\0" * (-len(f.data) % 4)
    options = struct.pack(order + "HH8sHHIHH", 1, 7, b"comment", 2, 4, 1, 0, 0)
    return block(order, 6, head + data + options)


def packet_block_of_old(order, f, interface):
    """The Packet Block that the Enhanced one replaced."""
    units = units_of(f, interface)
    head = struct.pack(order + "HHIIII", f.interface, 0, units >> 32, units & 0xFFFFFFFF,
                       len(f.data), f.length)
    return block(order, 2, head + f.data)


def zipped(data):
    return gzip.compress(data, mtime=0)
