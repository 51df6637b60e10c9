"""A home node without a model: a room is occupied where its newest packet says so. The edge is measured with
it where no home node is installed.

    python -m fusion_rt.bench.home.stand_in RUN_DIR PLAN"""

from __future__ import annotations

import sys
import time

from msgspec.structs import replace

from fusion_rt.bus import Bus, BusConfig
from fusion_rt.header import Header, TracePoint
from fusion_rt.home_packets import HomeReading, RadarPoints
from fusion_rt.plan import Plan
from fusion_rt.scene import RoomState, Scene, SceneCertificate, Why

TICK_S = 0.2
KINDS = ("contact", "motion", "radar")
_CERTIFICATE = SceneCertificate(
    sensors=(), model="stand-in", engine="none", precision="none", stage_ms={}, rung="all"
)


def says_occupied(packet: HomeReading | RadarPoints) -> bool:
    """What the stand-in makes of one packet."""
    return len(packet.xyz) > 0 if isinstance(packet, RadarPoints) else packet.value >= 0.5


def run(plan: Plan, bus: Bus) -> None:
    """Until told to stop: a scene at once for each packet, and every TICK_S."""
    sensors = {slug: sensor.room for slug, sensor in plan.sensors.items() if sensor.kind in KINDS}
    rooms = {slug: _room(slug, False, 0) for slug in plan.rooms}
    due, seq = time.monotonic(), 0
    with bus.publisher("scene") as output, bus.subscriber(sensors) as inputs:
        while not bus.stopping:
            packet = inputs.recv(max(due - time.monotonic(), 0.0))
            stamp_ns, way = time.time_ns(), ()
            if packet is not None:
                stamp_ns, way = packet.header.stamp_ns, packet.header.trace
                room, occupied = sensors[packet.header.sensor_id], says_occupied(packet)
                if rooms[room].occupied != occupied:
                    rooms[room] = _room(room, occupied, stamp_ns)
            else:
                due = time.monotonic() + TICK_S
            output.send(_scene(rooms, seq, stamp_ns, way))
            seq += 1


def _room(slug: str, occupied: bool, since_ns: int) -> RoomState:
    p = 0.95 if occupied else 0.05
    activity = "other" if occupied else "empty"
    return RoomState(
        room=slug,
        p_occupied=p,
        occupied=occupied,
        people=int(occupied),
        people_p=(1 - p, p),
        activity=activity,
        activity_p={activity: 1.0},
        since_ns=since_ns,
        why=Why(shares={"motion": 1.0}),
    )


def _scene(rooms: dict[str, RoomState], seq: int, stamp_ns: int, way: tuple[TracePoint, ...]) -> Scene:
    header = Header(sensor_id="scene", frame_id="home", seq=seq, stamp_ns=stamp_ns)
    if way:
        header = replace(header, trace=(*way, TracePoint("tracked", time.monotonic_ns(), way[-1].host)))
    return Scene(
        header=header, rooms=tuple(rooms.values()), people=(), events=(), intents=(), certificate=_CERTIFICATE
    )


def main() -> None:
    """The arguments: the folder of the run's sockets, the plan's file."""
    run_dir, plan = sys.argv[1:]
    with Bus(BusConfig(run_dir=run_dir), "home") as bus:
        bus.stop_on_signals()
        run(Plan.load(plan), bus)


if __name__ == "__main__":
    main()
