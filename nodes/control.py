"""Scenes in, commands to devices out; all thinking is in Controller."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from fusion_rt.bus import Bus
from fusion_rt.control.audit import MAX_BYTES, AuditLog, default_path
from fusion_rt.control.controller import Controller, Decision
from fusion_rt.control.rules import Rules
from fusion_rt.errors import ConfigError
from fusion_rt.homeassistant.states import iso
from fusion_rt.messages import Command
from fusion_rt.scenario import find_file, load_plan
from fusion_rt.scene import Scene
from fusion_rt.sinks.mqtt import Broker, Publication, Session


class ControlConfig(Broker, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The broker (`Broker`); beyond this machine it must ask for a password or a certificate.

    plan      the home, with its devices' topics: a YAML file, or the name of a bundled one
    rules     a YAML file, or the name of a bundled one
    dry_run   decide and write down, but send nothing
    audit     where it is written down; "": control-SITE.jsonl in your folder for state
    audit_mb  how large that may become
    scene     topic of the bus with the scenes
    commands  where `pause` and `resume` come from: `fusion-rt tell control pause`
    client_id our name at the broker; "": fusion_rt_SITE_control
    """

    plan: str
    rules: str
    dry_run: bool = False
    audit: str = ""
    audit_mb: Annotated[float, Meta(ge=0.01, le=10_000)] = MAX_BYTES / 1e6
    scene: str = "scene"
    commands: str = "tell.control"
    client_id: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.trusted:
            raise ConfigError(
                f"host: {self.host} is not this machine: give username and password_file, or cert_file;"
                " whoever is let in there can move what is in your home"
            )


def run(config: ControlConfig, bus: Bus) -> None:
    """Until told to stop. A command for which the broker is away is not sent later. Raises ConfigError."""
    plan = load_plan(config.plan)
    rules = Rules.load(find_file(config.rules, "home"), plan)
    controller = Controller(rules, plan, dry_run=config.dry_run)
    path = Path(config.audit).expanduser() if config.audit else default_path(plan.site)
    with (
        AuditLog(path, round(config.audit_mb * 1e6)) as audit,
        closing(Session(config, config.client_id or f"fusion_rt_{plan.site}_control")) as session,
    ):
        inputs = bus.subscriber((config.scene, config.commands))
        while not bus.stopping:
            message = inputs.recv(0.1)
            session.take()
            if news := session.news():
                print(news, file=sys.stderr, flush=True)
            if isinstance(message, Command):
                _hear(message, controller)
            elif isinstance(message, Scene):
                for decision in controller.push(message):
                    result, reason = _carry_out(decision, session)
                    audit.write(record(decision, result, reason, time.time_ns()))
                    bus.detail[result] = bus.detail.get(result, 0) + 1
            bus.detail |= {"connected": float(session.connected), "paused": float(controller.paused)}


def record(decision: Decision, result: str, reason: str, now_ns: int) -> dict[str, object]:
    """A line of the audit: what, why, when, and what came of it."""
    order = decision.order
    return {
        "at": iso(now_ns),
        "stamp": iso(decision.stamp_ns),
        "rule": decision.rule,
        "device": decision.device,
        "command": decision.command,
        "value": decision.value,
        "topic": "" if order is None else order.topic,
        "payload": "" if order is None else order.payload,
        "why": decision.why,
        "result": result,
        "reason": reason,
    }


def _carry_out(decision: Decision, session: Session) -> tuple[str, str]:
    if decision.result != "send" or decision.order is None:
        return decision.result, decision.reason
    order = decision.order
    if session.publish(Publication(order.topic, order.payload.encode(), 1)):
        return "sent", ""
    return "failed", session.trouble or "the broker takes nothing"


def _hear(command: Command, controller: Controller) -> None:
    if command.intent in ("pause", "resume"):
        controller.paused = command.intent == "pause"
        print("rules pause" if controller.paused else "rules act", file=sys.stderr, flush=True)
    else:
        print(f"{command.intent!r} is no command of the rules: pause, resume", file=sys.stderr, flush=True)
