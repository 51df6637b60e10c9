"""People's lives as arrays: where each is and how, ten times a second."""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt.plan import Plan, inside
from fusion_rt.scene import ACTIVITIES, POSTURES
from fusion_rt.sim.home.routine import AWAY, FALL_S, FALLS_M, Household, Leg
from fusion_rt.transforms import Array

HZ = 10
ACCELERATION = 1.2  # m/s^2, of a person who starts to walk and stops
# activity -> movement of the body while the feet stand still: m/s, and spells of more: a minute, m/s, s
RESTLESS = {
    "sleeping": (0.004, 0.07, 0.25, 5.0),
    "sitting": (0.012, 0.8, 0.25, 2.5),
    "cooking": (0.25, 6.0, 0.45, 4.0),
    "other": (0.10, 4.0, 0.35, 3.0),
    "walking": (0.5, 0.0, 0.0, 0.1),
}


class People(Struct, frozen=True, kw_only=True):
    """P people at T ticks of 0.1 s from the start.

    xy        (P, T, 2) float32, m, home frame; NaN: away
    room      (P, T) int8, index of plan.rooms; -1 outside
    posture, activity  (P, T) int8, indices of scene.POSTURES and scene.ACTIVITIES
    facing    (P, T) float32, rad
    support   (P, T) float32, m: height of what one lies or sits on
    limbs     (P, T) float32, m/s: movement of the body without the feet
    place     (P, T) int16, index of Household.places that is being used; -1 none
    fallen    (P, T) bool
    """

    names: tuple[str, ...]
    xy: NDArray[np.float32]
    room: NDArray[np.int8]
    posture: NDArray[np.int8]
    activity: NDArray[np.int8]
    facing: NDArray[np.float32]
    support: NDArray[np.float32]
    limbs: NDArray[np.float32]
    place: NDArray[np.int16]
    fallen: NDArray[np.bool_]

    @property
    def home(self) -> NDArray[np.bool_]:
        """(P, T): not away."""
        at: NDArray[np.bool_] = self.room >= 0
        return at


def move(house: Household, hours: float, rng: np.random.Generator) -> People:
    """Everybody's legs on the clock."""
    ticks = round(hours * 3600 * HZ) + 1
    n = len(house.people)
    xy = np.full((n, ticks, 2), np.nan, np.float32)
    posture = np.full((n, ticks), POSTURES.index("unknown"), np.int8)
    activity = np.full((n, ticks), ACTIVITIES.index("unknown"), np.int8)
    facing, support = np.zeros((n, ticks), np.float32), np.zeros((n, ticks), np.float32)
    place = np.full((n, ticks), -1, np.int16)
    fallen = np.zeros((n, ticks), bool)
    for person, legs in enumerate(house.legs):
        for leg in legs:
            first = min(max(int(np.ceil(leg.start_s * HZ - 1e-9)), 0), ticks)
            last = min(int(np.ceil(leg.end_s * HZ - 1e-9)), ticks)
            if first >= last or leg.activity == AWAY:
                continue
            span = slice(first, last)
            posture[person, span] = POSTURES.index(leg.posture)
            activity[person, span] = ACTIVITIES.index(leg.activity)
            support[person, span] = leg.support
            if leg.doing == "walk":
                t = np.arange(first, last) / HZ - leg.start_s
                xy[person, span], facing[person, span] = along(leg.path, t, leg.end_s - leg.start_s)
            else:
                xy[person, span] = leg.path[0]
                facing[person, span] = leg.facing
                if leg.doing == "stay":
                    place[person, span] = leg.place
                else:
                    fallen[person, span] = leg.posture == "lying"
                    _fall_over(xy[person], leg, first, last)
    limbs = _limbs(activity, fallen, rng)
    _sway(xy, place, posture, rng)
    return People(
        names=tuple(dweller.name for dweller in house.people),
        xy=xy,
        room=rooms_of(house.plan, xy),
        posture=posture,
        activity=activity,
        facing=facing,
        support=support,
        limbs=limbs,
        place=place,
        fallen=fallen,
    )


def along(path: Array, t: Array, duration_s: float) -> tuple[Array, Array]:
    """Positions (K, 2) and headings (K,) at times t (K,) of a way that is walked in duration_s, starting and
    stopping with ACCELERATION."""
    steps = np.diff(path, axis=0)
    lengths = np.hypot(*steps.T)
    keep = lengths > 1e-9
    steps, lengths = steps[keep], lengths[keep]
    corners = np.concatenate([path[:1], path[1:][keep]])
    total = float(lengths.sum())
    if total < 1e-6:
        return np.repeat(path[:1], len(t), axis=0), np.zeros(len(t))
    # Trapezoid: total = v (duration - v / a).
    root = max(duration_s**2 - 4 * total / ACCELERATION, 0.0)
    v = (duration_s - np.sqrt(root)) * ACCELERATION / 2
    ramp = min(v / ACCELERATION, duration_s / 2)
    v = total / (duration_s - ramp)
    up = 0.5 * v / ramp * np.minimum(t, ramp) ** 2 + v * np.clip(t - ramp, 0, duration_s - 2 * ramp)
    late = np.clip(t - (duration_s - ramp), 0, ramp)
    s = np.clip(up + v * late - 0.5 * v / ramp * late**2, 0, total)
    ends = np.concatenate([[0.0], np.cumsum(lengths)])
    at = np.stack([np.interp(s, ends, corners[:, k]) for k in (0, 1)], axis=1)
    which = np.clip(np.searchsorted(ends, s, side="right") - 1, 0, len(steps) - 1)
    return at, np.arctan2(steps[which, 1], steps[which, 0])


def rooms_of(plan: Plan, xy: NDArray[np.float32]) -> NDArray[np.int8]:
    """(...) int8: the room of each place (..., 2), as plan.room_at says; -1: none."""
    flat = xy.reshape(-1, 2)
    room = np.full(len(flat), -1, np.int8)
    known = np.flatnonzero(np.isfinite(flat[:, 0]))
    rooms = list(enumerate(plan.rooms.values()))
    for part in np.array_split(known, len(known) // 100_000 + 1):
        points = flat[part].astype(np.float64)
        for i, each in reversed(rooms):  # the first room has the last word, as in plan.room_at
            room[part[inside(each.corners, points)]] = i
    return room.reshape(xy.shape[:-1])


def _fall_over(xy: NDArray[np.float32], leg: Leg, first: int, last: int) -> None:
    """The trunk comes down ahead of the feet."""
    if leg.posture != "lying":
        return
    t = np.clip((np.arange(first, last) / HZ - leg.start_s) / FALL_S, 0, 1)[:, None]
    ahead = np.array([np.cos(leg.facing), np.sin(leg.facing)])
    xy[first:last] = leg.path[0] + FALLS_M * t**2 * ahead


def _limbs(
    activity: NDArray[np.int8], fallen: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float32]:
    limbs = np.zeros(activity.shape, np.float32)
    for name, (level, per_minute, more, length_s) in RESTLESS.items():
        mask = activity == ACTIVITIES.index(name)
        limbs[mask] = level
        for person in range(len(activity)):
            starts = np.flatnonzero(mask[person] & (rng.random(activity.shape[1]) < per_minute / 60 / HZ))
            for start in starts:
                stop = start + 1 + int(rng.exponential(length_s) * HZ)
                part = mask[person, start:stop]
                limbs[person, start:stop][part] = level + more * rng.uniform(0.3, 1.0)
    for person in range(len(activity)):
        # Who has fallen lies still at first, later tries to rise.
        lying = fallen[person]
        limbs[person, lying] = 0.02
        begins = np.flatnonzero(lying & ~np.roll(lying, 1))
        for begin in begins:
            limbs[person, begin : begin + round(FALL_S * HZ) + 2] = 1.2
    return limbs


def _sway(
    xy: NDArray[np.float32], place: NDArray[np.int16], posture: NDArray[np.int8], rng: np.random.Generator
) -> None:
    """Nobody stands like a post: a few centimetres about the place, slowly; nothing for who lies."""
    n, ticks = place.shape
    every = 20
    for person in range(n):
        knots = rng.normal(0, 1, (ticks // every + 2, 2)).astype(np.float32)
        upright = (place[person] >= 0) & (posture[person] != POSTURES.index("lying"))
        size = np.where(posture[person] == POSTURES.index("standing"), 0.06, 0.02).astype(np.float32)
        t = np.flatnonzero(upright)
        i, u = t // every, ((t % every) / every).astype(np.float32)[:, None]
        xy[person, t] += (knots[i] * (1 - u) + knots[i + 1] * u) * size[t, None]
