"""From scenes to decisions: which device is told what, and why, or why not. It opens no socket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from msgspec import Struct

from fusion_rt.control.engine import Firing, RuleEngine
from fusion_rt.control.limits import Guard
from fusion_rt.control.payloads import Order, asked, render
from fusion_rt.control.rules import ASKED, Action, Rules
from fusion_rt.errors import ConfigError
from fusion_rt.plan import Device, Plan
from fusion_rt.scene import Intent, Scene

Result = Literal["send", "dry_run", "refused"]


class Decision(Struct, frozen=True, kw_only=True):
    """What becomes of one command.

    order   for the broker; None where it could not be written
    why     what set the rule off
    result  "send": the caller is to send it
    reason  of a refusal
    """

    rule: str
    stamp_ns: int
    device: str
    command: str
    value: float | None
    order: Order | None
    why: dict[str, Any]
    result: Result
    reason: str = ""


class Controller:
    """Scenes in, decisions out, by the scenes' own time.

    paused  while it is, rules decide nothing, and nothing is caught up on afterwards"""

    def __init__(self, rules: Rules, plan: Plan, *, dry_run: bool = False):
        self._rules, self._plan = rules, plan
        self._dry_run = dry_run or rules.dry_run
        self._engine, self._guard = RuleEngine(rules), Guard(rules.limits)
        self.paused = False

    def push(self, scene: Scene) -> list[Decision]:
        """All decisions of this moment, in the order of the rules."""
        firings = self._engine.push(scene)  # also while paused: what begins to hold then, has begun
        if self.paused:
            return []
        return [
            self._decide(firing, action, slug)
            for firing in firings
            for action in self._rules.rules[firing.rule].then
            for slug in self._devices(firing, action)
        ]

    def _devices(self, firing: Firing, action: Action) -> Iterator[str]:
        if action.device != ASKED:
            yield action.device
            return
        assert firing.intent is not None  # Rules.check
        found = list(asked_for(self._plan, firing.intent))
        yield from found or [""]

    def _decide(self, firing: Firing, action: Action, slug: str) -> Decision:
        command, value = action.word, action.value
        if command == ASKED:
            assert firing.intent is not None
            kind = self._plan.devices[slug].kind if slug else ""
            command, value = asked(firing.intent.intent, firing.intent.slots, kind)
        device = self._plan.devices.get(slug)
        order, reason = None, f"no device for {firing.cause.get('slots')}"
        if device is not None:
            order, reason = self._order(device, slug, command, value)
        if not reason and device is not None:
            reason = self._refusal(firing, device, slug, command)
        return Decision(
            rule=firing.rule,
            stamp_ns=firing.stamp_ns,
            device=slug,
            command=command,
            value=value,
            order=order,
            why=firing.cause,
            result="refused" if reason else "dry_run" if self._dry_run else "send",
            reason=reason,
        )

    def _order(
        self, device: Device, slug: str, command: str, value: float | None
    ) -> tuple[Order | None, str]:
        if not device.topic:
            return None, "it has no topic in the plan"
        try:
            return render(device, self._rules.shape(self._plan, slug), command, value, slug), ""
        except ConfigError as error:
            return None, str(error)

    def _refusal(self, firing: Firing, device: Device, slug: str, command: str) -> str:
        if device.safety and not self._rules.rules[firing.rule].allow_safety:
            return f"safety: a {device.kind}, and the rule has no allow_safety"
        return self._guard.refuses(slug, command, firing.stamp_ns, by_person=firing.intent is not None)


def asked_for(plan: Plan, intent: Intent) -> Iterator[str]:
    """The devices that an intent means: by slug, or by name or kind in the room that it names or comes from
    (all: in every room, if it names none). A name that is found in one other room only means that one."""
    slots = intent.slots
    said, kind = slots.get("device", ""), slots.get("kind", "")
    if said in plan.devices:
        yield said
        return
    room = slots.get("room") or ("" if "all" in slots else intent.room)
    named = [slug for slug, device in plan.devices.items() if said and device.name == said]
    meant = named or [slug for slug, device in plan.devices.items() if device.kind in (said, kind)]
    here = [slug for slug in meant if room in ("", plan.devices[slug].room)]
    yield from here or (named if len(named) == 1 else ())
