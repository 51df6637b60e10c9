"""How objects are followed: `tracker:` in a scenario."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct, field

Positive = Annotated[float, Meta(gt=0)]
Probability = Annotated[float, Meta(gt=0, lt=1)]


class ClassMotion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What objects of a class do, and their shape.

    accel       unannounced, one standard deviation, m/s^2
    turn_accel  likewise, rad/s^2
    yaw_std     how well a box tells the yaw, rad
    speed_std   how fast they go before anything is known, m/s
    max_turn    no faster, rad/s
    rounded     whether their outline in an image is an upright cylinder's and not a box's
    """

    accel: Positive = 3.0
    turn_accel: Positive = 1.0
    yaw_std: Positive = 0.3
    speed_std: Positive = 8.0
    max_turn: Positive = 1.5
    rounded: bool = False


class TrackerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One set for all classes, and what differs between them.

    gate            squared Mahalanobis distance (x, y) beyond which a box is no candidate
    other_class     added to it where the class differs
    birth_score     a box must score this to begin a track; weaker ones only continue tracks;
                    null: the model's own threshold of each class
    confirm_hits    boxes before a track is shown
    confirm         existence probability from which it is shown
    drop            below which it is forgotten
    detection       probability that an object that is there gives a box
    detection_camera
                    likewise, where cameras looked alone
    survival_s      mean time for which an unseen object stays believable
    max_coast_s     longest time without a box
    position_std_m  floor of a box's position noise
    common_error    share of a box's variance that all boxes of the object have in common
    velocity_std    noise of the network's velocity, m/s
    image_overlap   of a box's outline and an image's box that are taken for one object
    image_follow    likewise, for a track that no box continued
    image_gain      added to the logit of a box's score for an image's box of score 1 that agrees
    image_doubt     taken from it where the image should show the object, and does not
    classes         class -> its motion; classes that are not named move as the defaults say
    """

    gate: Positive = 14.0
    other_class: Positive = 6.0
    birth_score: Probability | None = None
    confirm_hits: Annotated[int, Meta(ge=1)] = 2
    confirm: Probability = 0.5
    drop: Probability = 0.08
    detection: Probability = 0.75
    detection_camera: Probability = 0.1
    survival_s: Positive = 3.0
    max_coast_s: Positive = 1.0
    position_std_m: Positive = 0.15
    common_error: Probability = 0.5
    velocity_std: Positive = 1.5
    image_overlap: Probability = 0.5
    image_follow: Probability = 0.5
    image_gain: Positive = 3.0
    image_doubt: Positive = 1.5
    classes: dict[str, ClassMotion] = field(
        default_factory=lambda: {
            "car": ClassMotion(accel=3.0, turn_accel=0.8, yaw_std=0.15, speed_std=8.0, max_turn=1.0),
            "pedestrian": ClassMotion(
                accel=1.5, turn_accel=2.0, yaw_std=0.6, speed_std=1.5, max_turn=2.0, rounded=True
            ),
            "cyclist": ClassMotion(accel=2.0, turn_accel=1.2, yaw_std=0.25, speed_std=4.0, max_turn=1.5),
        }
    )

    def motions(self, classes: Sequence[str]) -> list[ClassMotion]:
        """Of each class, in this order."""
        return [self.classes.get(name, ClassMotion()) for name in classes]
