"""Training frames are the simulator's: one .npz a scene, two consecutive frames each."""

from fusion_rt.sim.frame_files import POINT_M, Frame, Scene, read_scene
from fusion_rt.transforms import Array

__all__ = ["POINT_M", "Array", "Frame", "Scene", "read_scene"]
