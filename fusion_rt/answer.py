"""The answer of a scenario that is neither driving nor a home: labels with probabilities, and why."""

from __future__ import annotations

from msgspec import Struct

from fusion_rt.header import Header
from fusion_rt.scene import Why


class Answer(Struct, frozen=True, kw_only=True, tag="answer"):
    """What was concluded at `header.stamp_ns`.

    probabilities  question -> label -> probability, summing to 1 for each question
    model          identity of the model that answered
    """

    header: Header
    probabilities: dict[str, dict[str, float]]
    why: Why
    model: str

    def best(self, question: str) -> str:
        """The likeliest label."""
        labels = self.probabilities[question]
        return max(labels, key=lambda label: labels[label])
