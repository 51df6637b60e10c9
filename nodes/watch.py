"""A camera at home that tells where people are. Its images stay in this process: what leaves it are boxes and
body points, unless the plan allows the room's images to leave."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from fusion_rt.bus import Bus, Publisher, Subscriber
from fusion_rt.errors import ConfigError, EngineError, MessageError, NodeError
from fusion_rt.images import decode_image
from fusion_rt.messages import Command, Header, Image, Sight
from fusion_rt.plan import Plan
from fusion_rt.scenario import load_plan
from fusion_rt.sensors.capture import is_file, open_capture
from fusion_rt.sensors.people import PeopleFinder

RETRY_S = (0.5, 1.0, 2.0, 5.0)  # then 5 s each


class WatchConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """sensor_id  the camera's name in the plan, and the topic of what was seen
    plan       the home's YAML file: whether images of the camera's room may leave
    source     a number or /dev/video0 (USB), rtsp://... (IP camera), or a video file
    images     instead: a topic of images that another node publishes; only where the plan's room says `raw:
    true`
    publish_images  also publish the images that were looked at, under this topic; only in such a room, too
    model      the folder of the npm package @mediapipe/pose; null: where npm puts it (docs/home_sensors.md)
    variant    lite, full or heavy: better and slower
    rate_hz    images looked at a second, at most
    score      probability of a person that is told
    most       people in one image
    delay_s    from mid-exposure to the frame's arrival here: stamps are set back by it
    width, height  asked of a USB camera; null: the plan's
    threads    of the networks
    loop       a file begins again at its end
    commands   topics of commands: `off` closes the camera, `on` opens it again
    """

    sensor_id: str
    plan: str
    source: str | int | None = None
    images: str | None = None
    publish_images: str | None = None
    model: str | None = None
    variant: Literal["lite", "full", "heavy"] = "lite"
    rate_hz: Annotated[float, Meta(gt=0, le=60)] = 5.0
    score: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    most: Annotated[int, Meta(gt=0, le=20)] = 4
    delay_s: Annotated[float, Meta(ge=0, le=10)] = 0.0
    width: Annotated[int, Meta(gt=0)] | None = None
    height: Annotated[int, Meta(gt=0)] | None = None
    threads: Annotated[int, Meta(gt=0, le=64)] = 1
    loop: bool = False
    commands: tuple[str, ...] = ("tell.watch",)

    def __post_init__(self) -> None:
        if (self.source is None) == (self.images is None):
            raise ConfigError(f"{self.sensor_id}: give `source`, a camera, or `images`, a topic")


def run(config: WatchConfig, bus: Bus) -> None:
    """Until told to stop. A live camera that goes away is waited for; a file ends the node.

    Raises ConfigError, EngineError, NodeError."""
    plan = load_plan(config.plan)
    check(config, plan)
    finder = PeopleFinder.load(
        config.model, variant=config.variant, threads=config.threads, score=config.score, most=config.most
    )
    with ExitStack() as stack:
        output = stack.enter_context(bus.publisher(config.sensor_id))
        shown = stack.enter_context(bus.publisher(config.publish_images)) if config.publish_images else None
        switch = _Switch(stack.enter_context(bus.subscriber(config.commands)), bus)
        watcher = _Watcher(config, finder, output, shown, bus)
        if config.images is not None:
            with bus.subscriber([config.images]) as inputs:
                _on_topic(config, inputs, watcher, switch, bus)
        else:
            _on_camera(config, plan, watcher, switch, bus)


def check(config: WatchConfig, plan: Plan) -> None:
    """Raises ConfigError where the plan has no such camera, or images would leave a room that forbids it."""
    sensor = plan.sensors.get(config.sensor_id)
    if sensor is None or sensor.kind != "camera":
        cameras = ", ".join(s for s, other in plan.sensors.items() if other.kind == "camera")
        raise ConfigError(
            f"{config.sensor_id}: not a camera of {config.plan}; there are: {cameras or 'none'}"
        )
    room = plan.rooms.get(sensor.room)
    if room is not None and room.raw:
        return
    for key in ("images", "publish_images"):
        if getattr(config, key) is not None:
            raise ConfigError(
                f"{config.sensor_id}: {key}: images of {sensor.room} would leave their process;"
                f" the plan allows it with rooms.{sensor.room}.raw: true"
            )


def _on_camera(config: WatchConfig, plan: Plan, watcher: _Watcher, switch: _Switch, bus: Bus) -> None:
    sensor = plan.sensors[config.sensor_id]
    source = config.source
    assert source is not None
    failures = 0
    while not bus.stopping:
        if not switch.on:
            bus.wait(0.1)
            continue
        before = watcher.seen
        capture = open_capture(
            source, width=config.width or sensor.width, height=config.height or sensor.height
        )
        if capture.isOpened():
            try:
                _frames(config, capture, watcher, switch, bus)
            finally:
                capture.release()
        if not switch.on or bus.stopping:
            continue
        if is_file(source):
            if watcher.seen == before:
                raise NodeError(f"{config.sensor_id}: {source}: no frame can be read from it")
            if not config.loop:
                return
            continue
        failures = 0 if watcher.seen > before else failures + 1
        if failures <= 1:
            print(f"{config.sensor_id}: {source}: no frames; trying again", file=sys.stderr)
        bus.detail["reopened"] = bus.detail.get("reopened", 0) + 1
        bus.wait(RETRY_S[min(failures, len(RETRY_S) - 1)])


def _frames(config: WatchConfig, capture: object, watcher: _Watcher, switch: _Switch, bus: Bus) -> None:
    """Until the camera gives none, or is switched off. All frames are fetched, so that none waits and grows
    old; files are played at their own speed."""
    import cv2

    assert isinstance(capture, cv2.VideoCapture)
    live = not is_file(config.source or 0)
    period_s = 0.0 if live else 1.0 / (capture.get(cv2.CAP_PROP_FPS) or 30.0)
    due = next_frame = time.monotonic()
    while not bus.stopping and switch.on and capture.grab():
        now, stamp_ns = time.monotonic(), time.time_ns() - round(config.delay_s * 1e9)
        if now >= due:
            due = max(due + 1.0 / config.rate_hz, now)
            read, frame = capture.retrieve()
            if not read:
                return
            watcher.look(np.asarray(frame, np.uint8), stamp_ns)
        next_frame += period_s
        if period_s:
            bus.wait(max(0.0, next_frame - time.monotonic()))


def _on_topic(config: WatchConfig, inputs: Subscriber, watcher: _Watcher, switch: _Switch, bus: Bus) -> None:
    due = time.monotonic()
    for image in bus.each(inputs):
        if not switch.on or time.monotonic() < due or not isinstance(image, Image):
            continue
        due = max(due + 1.0 / config.rate_hz, time.monotonic())
        try:
            pixels = decode_image(image)
        except MessageError:
            bus.detail["damaged"] = bus.detail.get("damaged", 0) + 1
            continue
        if image.encoding == "rgb8":
            pixels = np.ascontiguousarray(pixels[:, :, ::-1])
        watcher.look(pixels, image.header.stamp_ns)


class _Switch:
    """Whether the camera may look; by command."""

    def __init__(self, commands: Subscriber, bus: Bus) -> None:
        self._commands, self._bus, self._on = commands, bus, True

    @property
    def on(self) -> bool:
        while (command := self._commands.recv(0.0)) is not None:
            if isinstance(command, Command) and command.intent in ("on", "off"):
                self._on = command.intent == "on"
        self._bus.detail["on"] = float(self._on)
        return self._on


class _Watcher:
    """Images as packets. seen: images so far."""

    def __init__(
        self, config: WatchConfig, finder: PeopleFinder, output: Publisher, shown: Publisher | None, bus: Bus
    ) -> None:
        self._config, self._finder, self._output, self._shown, self._bus = config, finder, output, shown, bus
        self.seen = 0

    def look(self, pixels: NDArray[np.uint8], stamp_ns: int) -> None:
        sensor_id = self._config.sensor_id
        header = Header(sensor_id=sensor_id, frame_id=sensor_id, seq=self.seen, stamp_ns=stamp_ns)
        self.seen += 1
        height, width = pixels.shape[:2]
        began = time.monotonic()
        try:
            people = self._finder.find(pixels)
        except EngineError as error:
            self._bus.detail["engine_errors"] = self._bus.detail.get("engine_errors", 0) + 1
            print(f"{sensor_id}: {error}", file=sys.stderr)
            return
        self._bus.detail["ms"] = 1e3 * (time.monotonic() - began)
        self._bus.detail["people"] = len(people.scores)
        self._output.send(
            Sight(
                header=header,
                width=width,
                height=height,
                boxes=people.boxes,
                scores=people.scores,
                keypoints=people.keypoints,
            )
        )
        if self._shown is not None:
            self._shown.send(Image(header=header, height=height, width=width, encoding="bgr8", data=pixels))
