"""The home that is measured as a whole: 10 rooms, 40 sensors, microphones, cameras."""

from __future__ import annotations

from fusion_rt.plan import OUTSIDE, Door, Plan, Room, Sensor
from fusion_rt.rig import Pose

COLUMNS, WIDTH_M, DEPTH_M = 5, 4.0, 3.5
NAMES = ("hall", "kitchen", "living", "dining", "study", "bath", "bedroom", "nursery", "guest", "laundry")
RADARS = ("kitchen", "living", "bedroom", "nursery")
CONTACTS = ("hall", "kitchen", "living", "bath", "bedroom", "nursery", "guest", "laundry")
# Of what tells slowly, by MQTT: kind -> rooms, a plausible value
SLOW = {
    "temperature": (NAMES[:8], 21.0),
    "humidity": (("kitchen", "bath", "bedroom", "laundry"), 45.0),
    "co2": (("living", "bedroom"), 620.0),
    "illuminance": (("living", "study"), 180.0),
    "power": (("kitchen", "laundry"), 85.0),
}
CAMERAS = ("living", "kitchen", "hall", "dining")  # that many there may be
MICROPHONES = ("kitchen", "living")
SIZE_PX = (640, 480)


def whole_home(cameras: int = 2, microphones: int = 2) -> Plan:
    """Rooms in two rows, a motion sensor in each; every sensor is named ROOM_KIND."""
    rooms = {name: _room(name, i) for i, name in enumerate(NAMES)}
    doors = {
        name: Door(
            rooms=(name, NAMES[i - 1] if i % COLUMNS else OUTSIDE), at=_door(i), contact=_contact(name)
        )
        for i, name in enumerate(NAMES)
    }
    doors["stairs"] = Door(rooms=("living", "nursery"), at=((9.0, DEPTH_M), (9.9, DEPTH_M)))
    corner = {name: _corner(i) for i, name in enumerate(NAMES)}
    sensors = {f"{r}_motion": _sensor("motion", r, _pose(*corner[r], 2.2, tilt=20)) for r in NAMES}
    sensors |= {f"{r}_contact": Sensor(kind="contact", room=r) for r in CONTACTS}
    sensors |= {f"{r}_radar": _sensor("radar", r, _pose(*corner[r], 1.5), period_s=0.1) for r in RADARS}
    for kind, (where, _) in SLOW.items():
        sensors |= {f"{r}_{kind}": _sensor(kind, r, Pose(), period_s=60.0) for r in where}
    for r in CAMERAS[:cameras]:
        x, y = corner[r]
        pose = Pose(translation=(x, y, 2.3), rpy_deg=(-115.0, 0.0, -45.0))
        K = ((420.0, 0.0, 320.0), (0.0, 420.0, 240.0), (0.0, 0.0, 1.0))
        width, height = SIZE_PX
        sensors[f"{r}_camera"] = Sensor(
            kind="camera", room=r, pose=pose, width=width, height=height, K=K, period_s=0.2
        )
    for r in MICROPHONES[:microphones]:
        sensors[f"{r}_microphone"] = Sensor(kind="microphone", room=r, period_s=0.5)
    return Plan(site="bench", rooms=rooms, doors=doors, sensors=sensors)


def of_kind(plan: Plan, *kinds: str) -> list[str]:
    """The sensors of these kinds."""
    return [slug for slug, sensor in plan.sensors.items() if sensor.kind in kinds]


def _sensor(kind: str, room: str, pose: Pose, period_s: float | None = None) -> Sensor:
    return Sensor(kind=kind, room=room, pose=pose, range_m=6.0, period_s=period_s)  # type: ignore[arg-type]


def _contact(room: str) -> str:
    return f"{room}_contact" if room in CONTACTS else ""


def _room(name: str, i: int) -> Room:
    x, y = i % COLUMNS * WIDTH_M, i // COLUMNS * DEPTH_M
    corners = ((x, y), (x + WIDTH_M, y), (x + WIDTH_M, y + DEPTH_M), (x, y + DEPTH_M))
    return Room(name=name.capitalize(), polygon=corners)


def _door(i: int) -> tuple[tuple[float, float], tuple[float, float]]:
    x, y = i % COLUMNS * WIDTH_M, i // COLUMNS * DEPTH_M
    return (x, y + 1.2), (x, y + 2.1)


def _corner(i: int) -> tuple[float, float]:
    return i % COLUMNS * WIDTH_M + 0.2, i // COLUMNS * DEPTH_M + 0.2


def _pose(x: float, y: float, z: float, tilt: float = 0.0) -> Pose:
    return Pose(translation=(x, y, z), rpy_deg=(0.0, tilt, 45.0))
