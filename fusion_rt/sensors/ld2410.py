"""HiLink HLK-LD2410: whether somebody is there, and how far, about ten times a second, 256000 baud.

Source: "HLK-LD2410 Serial communication protocol" V1.02 (2022-11-07), section 2.3. A report is F4 F3 F2 F1,
the length of what follows (u16, little-endian), that, F8 F7 F6 F5. Within: 02 (basic) or 01 (engineering,
which goes on with energies per distance gate), AA, state (0 nobody, 1 moving, 2 still, 3 both), distance
(cm, u16) and energy (u8) of who moves, the same of who keeps still, detection distance (cm, u16), ..., 55,
check 00.
"""

from __future__ import annotations

import math
import struct

from fusion_rt.sensors.framing import Cut, Flaw, Framer
from fusion_rt.sensors.radar_frame import PresenceFrame

MAGIC, END = b"\xf4\xf3\xf2\xf1", b"\xf8\xf7\xf6\xf5"
BAUD = 256_000
BASIC, ENGINEERING = 2, 1
SHORTEST, LONGEST = 13, 64  # of what lies within: engineering has 2 energies for each of 9 gates at most


class Ld2410:
    """Bytes -> PresenceFrame. counts: as of a Framer."""

    baud = BAUD

    def __init__(self) -> None:
        self._framer = Framer(MAGIC, len(MAGIC) + 2, _length, decode)
        self.counts = self._framer.counts

    def feed(self, data: bytes) -> list[Cut[PresenceFrame]]:
        """The frames that are complete with `data`."""
        return self._framer.feed(data)


def decode(frame: bytes) -> PresenceFrame:
    """One whole frame. Raises Flaw."""
    if frame[-4:] != END:
        raise Flaw("bad_end")
    inside = frame[6:-4]
    if inside[0] not in (BASIC, ENGINEERING) or inside[1] != 0xAA:
        raise Flaw("not_a_report")
    if inside[-2:] != b"\x55\x00":
        raise Flaw("checksum")
    state, moving_cm, _, still_cm, _, _ = struct.unpack_from("<BHBHBH", inside, 2)
    if state > 3:
        raise Flaw("absurd_state")
    moves, still = bool(state & 1), bool(state & 2)
    distances = [cm for there, cm in ((moves, moving_cm), (still, still_cm)) if there]
    return PresenceFrame(
        presence=moves or still,
        motion=moves,
        distance_m=min(distances) / 100 if distances else math.nan,
    )


def _length(head: bytes) -> int:
    (inside,) = struct.unpack_from("<H", head, len(MAGIC))
    if not SHORTEST <= inside <= LONGEST:
        raise Flaw("absurd_length")
    return len(head) + int(inside) + len(END)
