"""What a recording does not hold although it was sent: said in the log itself, with sequence numbers.

A recorder writes a metadata record `fusion_rt.lost` whenever something new is missing, and one
`fusion_rt.ended` when it closes the file. So the report of a recording that was cut off reaches as far as its
last chunk, and is known to be unfinished.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec
from msgspec import Struct

from fusion_rt.errors import LogError
from fusion_rt.home_truth import HomeTruth
from fusion_rt.messages import Message, Prediction, Scene

_ANSWERS: dict[type, str] = {Prediction: "/prediction", Scene: "/scene"}
LOST, ENDED = "lost", "ended"  # the metadata records' names, behind "fusion_rt."

Cause = Literal["buffer", "disk", "bus", "refused", "source", "damage"]
CAUSES: dict[str, str] = {
    "buffer": "the disk was too slow, and the buffer full",
    "disk": "the disk refused",
    "bus": "dropped on the way to the recorder",
    "refused": "no log can hold it",
    "source": "numbers that were never sent",
    "damage": "damaged in the file",
}


class Loss(Struct, frozen=True, kw_only=True):
    """Messages of one topic that are missing.

    first, last       sequence numbers, both included; None where they are not known
    messages          how many of these
    start_ns, end_ns  stamps of the messages before and behind, or of the lost ones themselves
    """

    topic: str
    cause: Cause
    messages: int
    first: int | None = None
    last: int | None = None
    start_ns: int = 0
    end_ns: int = 0


class Ended(Struct, frozen=True, kw_only=True):
    """The last words of a recorder.

    why      "" or what made it end the file early
    written  topic -> messages in this file
    """

    why: str = ""
    written: dict[str, int] = {}


class Losses:
    """Collects what is missing. Ranges that touch become one; `take` gives those since the last `take`.

    counts  topic -> cause -> messages, of all"""

    def __init__(self) -> None:
        self.counts: dict[str, dict[str, int]] = {}
        self._fresh: dict[tuple[str, str], list[Loss]] = {}

    def add(self, loss: Loss) -> None:
        """One more."""
        of_topic = self.counts.setdefault(loss.topic, {})
        of_topic[loss.cause] = of_topic.get(loss.cause, 0) + loss.messages
        _extend(self._fresh.setdefault((loss.topic, loss.cause), []), loss)

    def take(self) -> list[Loss]:
        """What came since the last call, by topic."""
        fresh, self._fresh = self._fresh, {}
        return [loss for key in sorted(fresh) for loss in fresh[key]]


def topic_of(message: Message | HomeTruth) -> str:
    """Where a log has the message: /<sensor_id>, or /prediction, or /scene."""
    return _ANSWERS.get(type(message)) or f"/{message.header.sensor_id}"


def loss_of(message: Message, cause: Cause) -> Loss:
    """This very message."""
    header = message.header
    return Loss(
        topic=topic_of(message),
        cause=cause,
        messages=1,
        first=header.seq,
        last=header.seq,
        start_ns=header.stamp_ns,
        end_ns=header.stamp_ns,
    )


def joined(losses: Iterable[Loss]) -> list[Loss]:
    """Ranges that touch as one, by topic and cause."""
    by: dict[tuple[str, str], list[Loss]] = {}
    for loss in losses:
        _extend(by.setdefault((loss.topic, loss.cause), []), loss)
    return [loss for key in sorted(by) for loss in by[key]]


def losses_json(losses: list[Loss]) -> str:
    """For the metadata record."""
    return msgspec.json.encode(losses).decode()


def read_losses(metadata: dict[str, list[str]]) -> list[Loss]:
    """Of a log's metadata records. Raises LogError where they are of another version."""
    try:
        lists = [msgspec.json.decode(json, type=list[Loss]) for json in metadata.get(LOST, [])]
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise LogError(f"the report of losses is none of this version's: {error}") from error
    return joined(loss for losses in lists for loss in losses)


def read_ended(metadata: dict[str, list[str]]) -> Ended | None:
    """As `read_losses`."""
    try:
        found = [msgspec.json.decode(json, type=Ended) for json in metadata.get(ENDED, [])]
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise LogError(f"the end of the recording is none of this version's: {error}") from error
    return found[-1] if found else None


def in_words(loss: Loss) -> str:
    """One line."""
    numbers = ""
    if loss.first is not None:
        numbers = f" {loss.first}" if loss.first == loss.last else f" {loss.first} to {loss.last}"
    return f"{loss.topic}{numbers}: {loss.messages} lost, {CAUSES[loss.cause]}"


def _extend(ranges: list[Loss], loss: Loss) -> None:
    """Append, or make the last range longer."""
    last = ranges[-1] if ranges else None
    if last is not None and last.last is not None and loss.first == last.last + 1:
        ranges[-1] = msgspec.structs.replace(
            last,
            last=loss.last,
            messages=last.messages + loss.messages,
            start_ns=min(last.start_ns, loss.start_ns),
            end_ns=max(last.end_ns, loss.end_ns),
        )
    else:
        ranges.append(loss)
