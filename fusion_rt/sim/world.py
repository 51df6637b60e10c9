"""A world: a street with its surroundings and everyone on it, drawn from one seed."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from msgspec import Struct

from fusion_rt.sim.actors import Actor
from fusion_rt.sim.placement import Builder
from fusion_rt.sim.raycast import Scene, TriMesh, merge
from fusion_rt.sim.roads import Road
from fusion_rt.transforms import Array, inverse, yaw_of


class Ego(Struct, frozen=True):
    """The recording vehicle: keeps its lane at constant acceleration."""

    d: float
    speed: float
    accel: float


class World(Struct, frozen=True):
    """A street, its static surroundings, its actors, and the ego vehicle that drives along it.

    `static` is everything that never moves, in the world frame: x along the road where the ego starts, z up.
    """

    seed: int
    kind: str
    road: Road
    static: TriMesh
    actors: tuple[Actor, ...]
    ego: Ego

    @classmethod
    def generate(cls, seed: int, *, behind_m: float = 12.0, ahead_m: float = 95.0) -> World:
        """The world of a seed, bit for bit. The street runs from `behind_m` behind the ego's start to
        `ahead_m` ahead of it: add the way to be driven."""
        return cls.built(seed, cls.begun(seed, behind_m=behind_m, ahead_m=ahead_m))

    @staticmethod
    def begun(seed: int, *, behind_m: float, ahead_m: float) -> Builder:
        """Of the same world the kind of street and the ego's speed alone, in no time: to choose by."""
        return Builder(np.random.default_rng([seed, 5]), start_m=-behind_m, end_m=ahead_m)

    @classmethod
    def built(cls, seed: int, builder: Builder) -> World:
        """What was begun, with all that stands and moves there."""
        builder.build()
        ego = Ego(builder.ego_d, builder.ego_speed, builder.ego_accel)
        return cls(seed, builder.kind, builder.road, merge(builder.statics), tuple(builder.actors), ego)

    def ego_s(self, t_s: float) -> float:
        """How far along the road the ego is, m; it stops for good where its speed reaches zero."""
        speed, accel = self.ego.speed, self.ego.accel
        if accel < 0:
            t_s = min(t_s, -speed / accel)
        return speed * t_s + 0.5 * accel * t_s * t_s

    def ego_pose(self, t_s: float) -> Array:
        """T_world_ego (4, 4): x forward, z up, the origin on the ground."""
        return self.road.pose(self.ego_s(t_s), self.ego.d, 0.0, smooth=True)

    def actor_pose(self, index: int, t_s: float) -> Array:
        """(4, 4) pose of an actor's frame."""
        a = self.actors[index]
        s, d = a.s + a.along * t_s, a.d + a.across * t_s
        if a.label in ("pedestrian", "cyclist"):
            return self.road.upright(s, d, a.yaw)
        return self.road.pose(s, d, a.yaw, base_m=0.6 * a.size[0])

    def actor_velocity(self, index: int, t_s: float) -> Array:
        """(3,) m/s over ground, world axes, by central difference."""
        step = 0.05
        later, earlier = self.actor_pose(index, t_s + step), self.actor_pose(index, t_s - step)
        v: Array = (later[:3, 3] - earlier[:3, 3]) / (2 * step)
        return v

    def box(self, index: int, t_s: float, T_world_frame: Array) -> Array:
        """(9,) float64 x y z l w h yaw vx vy of an actor in a frame; the velocity is over ground."""
        actor = self.actors[index]
        T = inverse(T_world_frame) @ self.actor_pose(index, t_s)
        length, width, height = actor.size
        center = T[:3, :3] @ (0, 0, height / 2) + T[:3, 3]
        moving = actor.along != 0 or actor.across != 0
        v = T_world_frame[:3, :3].T @ self.actor_velocity(index, t_s) if moving else np.zeros(3)
        return np.array([*center, length, width, height, yaw_of(T), v[0], v[1]])

    def mesh_at(self, t_s: float) -> TriMesh:
        """Everything at one moment, world frame; `instance` is the actor's index, -1 the static world."""
        return merge([self.static, *self.moved(t_s)])

    def moved(self, t_s: float) -> list[TriMesh]:
        """The actors at one moment, world frame."""
        return [a.shape.mesh.moved(self.actor_pose(i, t_s)).of(i) for i, a in enumerate(self.actors)]


class Stage:
    """A world for rays to be cast in: what stands is built once, what may move anew for each moment."""

    def __init__(self, world: World) -> None:
        self.world = world

    @cached_property
    def _standing(self) -> Scene:
        return Scene(self.world.static)

    def at(self, t_s: float) -> Scene:
        """Everything at one moment, as `World.mesh_at` has it."""
        moved = self.world.moved(t_s)
        return Scene(merge(moved), beside=self._standing) if moved else self._standing
