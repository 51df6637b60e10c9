"""Packets in, predictions out; all thinking is in FusionPipeline."""

from __future__ import annotations

import time

from msgspec.structs import replace

from fusion_rt.bus import Bus
from fusion_rt.messages import Header, Prediction, TracePoint
from fusion_rt.pipeline import FusionPipeline, PipelineConfig
from fusion_rt.scenario import load_rig


class FusionConfig(PipelineConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The engine's own settings (`PipelineConfig`), and where they meet the bus.

    rig        the sensors: a YAML file, or a recording that holds its rig
    inputs     topics to listen to; empty: every sensor of the rig
    output     where predictions go
    busy_poll  never sleep between packets: less latency for a whole core's power
    """

    rig: str
    inputs: tuple[str, ...] = ()
    output: str = "prediction"
    busy_poll: bool = False


def run(config: FusionConfig, bus: Bus) -> None:
    """Until told to stop. Raises ConfigError, EngineError or DeviceError before the first packet."""
    rig = load_rig(config.rig)
    topics = config.inputs or tuple(rig.modalities())
    # The output first: whoever wants predictions finds it while the model loads. The inputs last: packets
    # that nobody reads would only grow old.
    with bus.publisher(config.output) as output:
        pipeline = FusionPipeline.from_config(config, rig, clock=time.monotonic_ns)
        for packet in bus.each(bus.subscriber(topics, busy_poll=config.busy_poll)):
            prediction = pipeline.push(packet)
            if prediction is not None:
                output.send(traced(prediction, packet.header))
                bus.detail.update(counted(pipeline))


def traced(prediction: Prediction, asked: Header) -> Prediction:
    """The prediction continues the way of the packet that asked for it."""
    way = asked.trace
    host = way[-1].host if way else ""
    trace = (*way, TracePoint("tracked", time.monotonic_ns(), host))
    return replace(prediction, header=replace(prediction.header, trace=trace))


def counted(pipeline: FusionPipeline) -> dict[str, float]:
    """What the pipeline refused: "sensor.cause" -> packets."""
    return {f"{s}.{cause}": n for s, causes in pipeline.counters.items() for cause, n in causes.items()}
