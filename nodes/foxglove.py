"""What is said on the bus, live to Foxglove's viewers, by its WebSocket protocol (extra `foxglove`).

A viewer that is slow loses messages, oldest first, and holds up nobody: what waits for each is bounded, and
the bus gives this node the newest of each sensor alone. What nobody looks at is not even encoded."""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from fusion_rt.bus import Bus
from fusion_rt.errors import ConfigError, NodeError
from fusion_rt.logs import foxglove, home_scene, json_form, scene
from fusion_rt.logs.losses import topic_of
from fusion_rt.messages import Message, Prediction, Scene, kind
from fusion_rt.plan import Plan
from fusion_rt.rig import Rig
from fusion_rt.scenario import load_plan, load_rig

RIG_PERIOD_S = 1.0  # so that a viewer who comes late still learns where the sensors sit


class FoxgloveConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """rig      a vehicle's sensors: a YAML file, or a recording that holds its rig
    plan     a home's: a YAML file, a bundled name, or a recording that holds it
    topics   empty: every sensor of the rig, and prediction; every sensor of the plan, voice and scene
    host     who may come: 127.0.0.1 is this machine alone; 0.0.0.0 is everyone who reaches it, and the
             protocol asks nobody for a password
    port     0 is any free one; the node says which
    waiting  messages that wait for each viewer; beyond it the oldest are dropped
    tls_cert, tls_key  PEM files: then wss:// alone is served
    """

    rig: str | None = None
    plan: str | None = None
    topics: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8765
    waiting: Annotated[int, Meta(ge=1, le=1024)] = 32
    tls_cert: str | None = None
    tls_key: str | None = None

    def __post_init__(self) -> None:
        if self.rig is None and self.plan is None:
            raise ConfigError("neither rig nor plan: whose sensors are shown? Give a vehicle's or a home's")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("tls_cert and tls_key: give both or neither")


def run(config: FoxgloveConfig, bus: Bus) -> None:
    """Until told to stop. `bus.detail` has the port, and how many messages were given to viewers."""
    rig = Rig() if config.rig is None else load_rig(config.rig)
    plan = None if config.plan is None else load_plan(config.plan)
    topics = config.topics or _topics(None if config.rig is None else rig, plan)
    library, server, context = _serve(config)
    try:
        print(f"viewers: ws{'s' if config.tls_cert else ''}://{config.host}:{server.port}", file=sys.stderr)
        bus.detail["port"] = server.port
        channels = Channels(library, context, rig, plan)
        due = time.monotonic()
        with bus.subscriber(topics) as inputs:
            while not bus.stopping:
                message = inputs.recv(0.1)
                if message is not None:
                    channels.say(message)
                if time.monotonic() >= due:
                    due = time.monotonic() + RIG_PERIOD_S
                    channels.say_rig(time.time_ns() if message is None else message.header.stamp_ns)
                bus.detail["said"] = channels.said
    finally:
        server.stop()


def _topics(rig: Rig | None, plan: Plan | None) -> tuple[str, ...]:
    of_rig = () if rig is None else (*rig.modalities(), "prediction")
    of_plan = () if plan is None else (*plan.modalities(), "voice", "scene")
    return tuple(dict.fromkeys(of_rig + of_plan))


class Channels:
    """A channel a topic, in the schemas of our logs (`LogWriter`). said: messages that a viewer asked for."""

    def __init__(self, library: Any, context: Any, rig: Rig, plan: Plan | None = None) -> None:
        self.said = 0
        self._library, self._context, self._rig, self._plan = library, context, rig, plan
        self._channels: dict[tuple[str, str], Any] = {}
        self.say_rig(0)  # advertised before the first message

    def say(self, message: Message) -> None:
        """To whoever has subscribed to it."""
        stamp_ns = message.header.stamp_ns
        if isinstance(message, Prediction):
            self._prediction(message)
            return
        message_class = foxglove.schema(message)
        topic = topic_of(message)
        if message_class is not None:
            channel = self._proto(topic, message_class)
            if channel.has_sinks():
                self._log(channel, foxglove.encode(message), stamp_ns)
        else:
            channel = self._json(topic, kind(message), type(message))
            if channel.has_sinks():
                self._log(channel, json_form.encode(message), stamp_ns)
        plan = self._plan
        if isinstance(message, Scene) and plan is not None:
            make = functools.partial(home_scene.scene_update, message, plan)
            self._draw(home_scene.TOPIC, make, scene.SceneUpdate, stamp_ns)

    def say_rig(self, stamp_ns: int) -> None:
        """Where the sensors sit, and the cameras' calibrations."""
        if self._plan is not None:
            of_plan = functools.partial(scene.plan_transforms, self._plan, stamp_ns)
            self._draw("/tf", of_plan, scene.FrameTransforms, stamp_ns)
        if self._plan is None or self._rig.modalities():
            of_rig = functools.partial(scene.rig_transforms, self._rig, stamp_ns)
            self._draw("/tf", of_rig, scene.FrameTransforms, stamp_ns)
        cameras = self._rig.cameras | ({} if self._plan is None else scene.plan_cameras(self._plan))
        for sensor, camera in cameras.items():
            self._draw(
                f"/{sensor}/calibration",
                lambda sensor=sensor, camera=camera: scene.calibration(sensor, camera, stamp_ns),
                scene.CameraCalibration,
                stamp_ns,
            )

    def _prediction(self, prediction: Prediction) -> None:
        stamp_ns, ego = prediction.header.stamp_ns, prediction.ego
        channel = self._json("/prediction", "prediction", Prediction)
        if channel.has_sinks():
            self._log(channel, json_form.encode(prediction), stamp_ns)
        self._draw("/prediction/scene", lambda: scene.scene_update(prediction), scene.SceneUpdate, stamp_ns)
        if ego.source != "none":
            self._draw("/ego/pose", lambda: scene.ego_pose(ego), scene.PoseInFrame, stamp_ns)
            self._draw("/tf", lambda: scene.ego_transform(ego), scene.FrameTransforms, stamp_ns)

    def _draw(self, topic: str, make: Any, message_class: Any, stamp_ns: int) -> None:
        channel = self._proto(topic, message_class)
        if channel.has_sinks():
            self._log(channel, make().SerializeToString(), stamp_ns)

    def _log(self, channel: Any, data: bytes, stamp_ns: int) -> None:
        channel.log(data, log_time=max(stamp_ns, 0))
        self.said += 1

    def _proto(self, topic: str, message_class: Any) -> Any:
        name = message_class.DESCRIPTOR.full_name
        return self._channel(
            topic, name, "protobuf", "protobuf", lambda: foxglove.descriptor_set(message_class)
        )

    def _json(self, topic: str, tag: str, type_: type) -> Any:
        name = f"{json_form.PREFIX}{tag}"
        return self._channel(topic, name, "json", "jsonschema", lambda: json_form.schema(type_))

    def _channel(self, topic: str, name: str, encoding: str, schema_encoding: str, definition: Any) -> Any:
        key = (topic, name)
        if key not in self._channels:
            schema = self._library.Schema(name=name, encoding=schema_encoding, data=definition())
            self._channels[key] = self._library.Channel(
                topic, schema=schema, message_encoding=encoding, context=self._context
            )
        return self._channels[key]


def _serve(config: FoxgloveConfig) -> tuple[Any, Any, Any]:
    """The library, its server, and the server's own context. Raises NodeError."""
    try:
        import foxglove as library  # the package of that name, not this module
    except ImportError as error:
        raise NodeError("this node needs Foxglove's library: pip install 'fusion-rt[foxglove]'") from error
    context = library.Context()
    try:
        server = library.start_server(
            name="fusion_rt",
            host=config.host,
            port=config.port,
            context=context,
            message_backlog_size=config.waiting,
            tls_cert=_read(config.tls_cert),
            tls_key=_read(config.tls_key),
        )
    except Exception as error:  # RuntimeError for a port in use, ValueError for a certificate
        raise NodeError(f"{config.host}:{config.port}: cannot be served on: {error}") from error
    return library, server, context


def _read(path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise NodeError(f"{path}: cannot be read: {error.strerror}") from error
