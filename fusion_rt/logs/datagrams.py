"""UDP datagrams of a packet capture (pcap or pcapng), read by the library `dpkt` (extra `pcap`).

Those that the network cut into fragments are put together again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from fusion_rt.errors import LogError
from fusion_rt.logs.bounded_file import BoundedFile
from fusion_rt.logs.left_out import LeftOut

FRAGMENTED = 64  # datagrams whose fragments are waited for at a time


class Datagram(Struct, frozen=True):
    """captured_ns: UNIX time of its last fragment."""

    captured_ns: int
    port: int
    data: bytes


def read_datagrams(path: str | Path, left_out: LeftOut) -> Iterator[Datagram]:
    """In the order of the capture. Damage is noted: a packet is left out, or the rest, where the file cannot
    be read on. Raises LogError where it is no capture."""
    try:
        import dpkt
    except ImportError as error:
        raise LogError("packet captures need the library dpkt: pip install 'fusion-rt[pcap]'") from error
    path = Path(path)
    try:
        file = BoundedFile(path)  # which gives no more than it has, whatever a length says
    except OSError as error:
        raise LogError(f"{path}: cannot be opened: {error.strerror}") from error
    with file:
        try:
            reader = dpkt.pcap.UniversalReader(file)
        except Exception as error:  # dpkt's errors, and struct's
            raise LogError(f"{path}: not a packet capture (pcap, pcapng): {error}") from error
        waiting: dict[tuple[Any, ...], dict[int, tuple[bytes, bool]]] = {}
        records = iter(reader)
        while True:
            try:
                record = next(records, None)
            except Exception as error:
                left_out.add(str(path), f"{path}: {error or type(error).__name__}; the rest is left out")
                return
            if record is None:
                return
            seconds, frame = record
            try:
                packet = _ip(dpkt, reader.datalink(), frame)
                whole = None if packet is None else _whole(dpkt, packet, waiting)
                if whole is not None:
                    udp = dpkt.udp.UDP(whole)
                    yield Datagram(round(float(seconds) * 1e6) * 1000, udp.dport, bytes(udp.data))
            except dpkt.Error as error:
                left_out.add(f"{path} packet", f"{path}: a damaged packet: {error or type(error).__name__}")


def _ip(dpkt: Any, link: int, frame: bytes) -> Any:
    """The frame's IPv4 packet; None where it is another."""
    links = {
        dpkt.pcap.DLT_EN10MB: dpkt.ethernet.Ethernet,
        dpkt.pcap.DLT_LINUX_SLL: dpkt.sll.SLL,
        dpkt.pcap.DLT_LINUX_SLL2: dpkt.sll2.SLL2,
        dpkt.pcap.DLT_NULL: dpkt.loopback.Loopback,
        dpkt.pcap.DLT_RAW: dpkt.ip.IP,
        101: dpkt.ip.IP,  # LINKTYPE_RAW, as written to files
    }
    kind = links.get(link)
    if kind is None:
        raise dpkt.UnpackError(f"link type {link} is not known; capture on an Ethernet interface")
    parsed = kind(frame)
    packet = parsed if isinstance(parsed, dpkt.ip.IP) else parsed.data
    return packet if isinstance(packet, dpkt.ip.IP) and packet.p == dpkt.ip.IP_PROTO_UDP else None


def _whole(
    dpkt: Any, packet: Any, waiting: dict[tuple[Any, ...], dict[int, tuple[bytes, bool]]]
) -> bytes | None:
    """The UDP header and its data, once all fragments are there (RFC 791)."""
    offset, more = packet.offset, bool(packet.mf)
    if offset == 0 and not more:
        return bytes(packet.data)
    key = (packet.src, packet.dst, packet.id)
    if key not in waiting and len(waiting) >= FRAGMENTED:
        waiting.pop(next(iter(waiting)))  # the oldest has lost one
    parts = waiting.setdefault(key, {})
    body = bytes(packet)[packet.hl * 4 : packet.len]
    parts[offset] = (body, more)
    data = b""
    while (part := parts.get(len(data))) is not None:
        data += part[0]
        if not part[1]:
            del waiting[key]
            return data
        if not part[0]:
            return None
    return None
