"""Packets of any registered modalities in, answers out. Pure: time is in the packets.

pipeline = ContextPipeline(Head.load(folder), encoders("bed", "vitals", "note"), trigger="vitals")
for packet in ...:
    answer = pipeline.push(packet)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion_rt.answer import Answer
from fusion_rt.context.modality import Encoder
from fusion_rt.errors import ConfigError, MessageError
from fusion_rt.header import Header
from fusion_rt.models.head import Head
from fusion_rt.scene import Why

PRESENT, SHARES = "present", "shares"  # an input and an output that every model has


class ContextPipeline:
    """Keeps the newest features of each modality; a packet of the trigger asks for an answer.

    trigger  modality whose packets ask; while it is lost (older than its max_age_s) those of all others do
    counts   "modality.cause" -> packets: "damaged", "late" (older than one before)

    Raises ConfigError where the model was made for other modalities."""

    def __init__(self, head: Head, encoders: Sequence[Encoder], *, trigger: str) -> None:
        self._head, self._encoders, self._trigger = head, {e.name: e for e in encoders}, trigger
        expected = {e.name: (1, *e.shape) for e in encoders} | {PRESENT: (1, len(encoders))}
        if expected != head.spec.inputs or list(self._encoders) != list(head.spec.labels.get(SHARES, ())):
            raise ConfigError(
                f"{head.folder}: was made for {head.spec.inputs}, the modalities give {expected}:"
                " train it again"
            )
        if trigger not in self._encoders:
            raise ConfigError(f"trigger {trigger!r} is not one of {', '.join(self._encoders)}")
        self._newest: dict[str, tuple[int, NDArray[np.float32]]] = {}
        self._seq = 0
        self.counts: Counter[str] = Counter()

    def push(self, packet: Any) -> Answer | None:
        """The answer that this packet asks for; None: it does not, or is of no known modality."""
        encoder = next((e for e in self._encoders.values() if type(packet) is e.packet), None)
        if encoder is None:
            return None
        stamp_ns = packet.header.stamp_ns
        if encoder.name in self._newest and stamp_ns < self._newest[encoder.name][0]:
            self.counts[f"{encoder.name}.late"] += 1
            return None
        try:
            features = encoder.features(packet)
        except MessageError:
            self.counts[f"{encoder.name}.damaged"] += 1
            return None
        self._newest[encoder.name] = stamp_ns, features
        if encoder.name == self._trigger or not self._fresh(self._trigger, stamp_ns):
            return self._answer(stamp_ns)
        return None

    def _fresh(self, name: str, stamp_ns: int) -> bool:
        if name not in self._newest:
            return False
        return abs(stamp_ns - self._newest[name][0]) <= self._encoders[name].max_age_s * 1e9

    def _answer(self, stamp_ns: int) -> Answer:
        inputs = self._head.inputs
        missing = []
        for i, name in enumerate(self._encoders):
            fresh = self._fresh(name, stamp_ns)
            inputs[PRESENT][0, i] = fresh
            inputs[name][...] = self._newest[name][1] if fresh else 0.0
            if not fresh:
                missing.append(name)
        outputs, labels = self._head.run(), self._head.spec.labels

        def named(output: str) -> dict[str, float]:
            return {label: float(p) for label, p in zip(labels[output], outputs[output][0])}

        header = Header(sensor_id="answer", frame_id="", seq=self._seq, stamp_ns=stamp_ns)
        self._seq += 1
        ages_ms = {name: (stamp_ns - then_ns) / 1e6 for name, (then_ns, _) in self._newest.items()}
        return Answer(
            header=header,
            probabilities={output: named(output) for output in labels if output != SHARES},
            why=Why(shares=named(SHARES), missing=tuple(missing), ages_ms=ages_ms),
            model=self._head.identity,
        )
