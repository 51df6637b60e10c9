"""A torn or damaged log into a whole one: all that a checksum vouches for, and a report of the rest."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from fusion_rt.errors import FusionError, LogError
from fusion_rt.logs import scene
from fusion_rt.logs.checking import open_mcap
from fusion_rt.logs.chunks import PLAN, Contents, Damage, Place, read_chunk, survey
from fusion_rt.logs.json_form import COMMAND
from fusion_rt.logs.losses import Loss, joined, read_ended, read_losses
from fusion_rt.logs.records import Message
from fusion_rt.logs.rigs import read_plan
from fusion_rt.logs.writer import LogWriter
from fusion_rt.rig import Rig


class Repaired(Struct, frozen=True, kw_only=True):
    """messages: in the new log; damage: what could not be read of the old one; losses: messages that were in
    it, as far as their number is known; nameless: messages whose topic is lost."""

    path: str
    messages: int
    damage: list[Damage]
    losses: list[Loss]
    nameless: int


def repair(
    source: Path,
    out: Path,
    *,
    rig: Rig | None = None,
    compression: str = "zstd",
    progress: Callable[[int, int], None] = lambda done, size: None,
) -> Repaired:
    """Write what is sound in `source` to `out`, in the same order.

    rig: instead of the log's own. Raises LogError: nothing is overwritten; there is no rig, nor one given."""
    if out.exists():
        raise LogError(f"{out}: is there already; choose another place")
    file = open_mcap(source)
    nameless = 0
    try:
        found = survey(file, progress=lambda done, size: progress(done, 2 * size))
        plan = read_plan(found.metadata.get(PLAN, []), f"{source} (plan)")
        with LogWriter(
            out, rig or _rig(found, source), plan=plan, compression=compression, place_sensors=False
        ) as log:
            numbers = _Numbers(found)
            for place in found.chunks:
                for message in read_chunk(file, place):
                    channel = found.channels.get(message.channel_id)
                    if channel is None:
                        nameless += 1
                        continue
                    schema = found.schemas.get(channel.schema_id)
                    log.copy(schema, channel, message)
                    if schema is None or schema.name not in scene.DRAWN:
                        numbers.seen(
                            channel.topic, schema is not None and schema.name == COMMAND, message, place
                        )
                progress(file.size + place.offset, 2 * file.size)
            losses = joined(numbers.losses)
            log.report([*read_losses(found.metadata), *losses])
            if read_ended(found.metadata) is not None:
                log.end_report(f"repaired from {source.name}")
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    finally:
        file.close()
    return Repaired(
        path=str(out),
        messages=sum(log.counts.values()),
        damage=found.damage,
        losses=losses,
        nameless=nameless,
    )


def _rig(found: Contents, source: Path) -> Rig:
    if found.rig is None:
        raise LogError(f"{source}: holds no rig, or a damaged one: give one, `--rig rig.yaml`")
    try:
        return Rig.from_yaml(found.rig, f"{source} (rig)")
    except FusionError as error:
        raise LogError(f"{error}: give one, `--rig rig.yaml`") from error


class _Numbers:
    """Gaps across what is damaged. Outside of damage, gaps are the recording's own."""

    def __init__(self, found: Contents) -> None:
        self.losses: list[Loss] = []
        self._damage = [damage.offset for damage in found.damage]
        # (topic, a command) -> number, log time, offset of its chunk
        self._last: dict[tuple[str, bool], tuple[int, int, int]] = {}

    def seen(self, topic: str, command: bool, message: Message, place: Place) -> None:
        number = message.sequence
        before = self._last.get((topic, command))
        self._last[topic, command] = number, message.log_time, place.offset
        if before is None or number <= before[0] + 1:
            return
        if bisect_left(self._damage, before[2]) == bisect_left(self._damage, place.offset):
            return
        self.losses.append(
            Loss(
                topic=topic,
                cause="damage",
                messages=number - before[0] - 1,
                first=before[0] + 1,
                last=number - 1,
                start_ns=before[1],
                end_ns=message.log_time,
            )
        )
