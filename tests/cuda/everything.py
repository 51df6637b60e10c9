"""A device's kernels under the signatures of the CPU's: host arrays in and out.

As a program, `everything.py CASES CACHE` does all that a card ever does for us: every case of every kernel,
and answers of the bundled model. It is run on a driver that was built to stop at the first bad access."""

import importlib.util
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np


class HostKernel:
    """Uploads what is given, calls, and downloads whatever the kernel may have written."""

    WRITTEN = ("out", "depth", "keep")
    ORDER: ClassVar = {
        "image": ("src", "out"),
        "deskew": ("xyz", "t", "knots_t", "knots_T", "out"),
        "pillars": ("xyz", "intensity", "W", "b", "grid", "z_min", "z_max", "out"),
        "lift": ("features", "P", "grid", "z_levels", "out", "depth"),
        "bev_warp": ("state", "T_prev_now", "grid", "out"),
        "decode": ("heatmap", "regression", "grid", "threshold", "k", "out"),
        "nms": ("boxes", "scores", "classes", "iou", "keep"),
        "roi_sample": ("features", "boxes", "grid", "out"),
        "view_sample": ("features", "P", "boxes", "out"),
        "roi_points": (
            *("grouped", "rows", "margin_m", "most"),
            *("at", "size", "kind", "second", "bias", "out"),
        ),
        "box_context": ("rows", "out"),
        "box_refine": ("rows", "fits", "score", "deltas", "facing", "log_sigma", "out"),
    }
    SMALL = (
        "W",
        "b",
        "knots_t",
        "knots_T",
        "P",
        "T_prev_now",
        "at",
        "size",
        "kind",
        "second",
        "bias",
        "fits",
        "z_levels",
    )

    def __init__(self, device, name):
        self.device, self.name, self.threads = device, name, device.threads
        self.kernel = device.kernel(name)
        self._held = {}  # one buffer for one host array, as a caller has

    @property
    def counts(self):
        return self.kernel.counts

    def encoder(self):
        """Whose points `roi_points` looks at."""
        return HostKernel(self.device, "pillars")

    @property
    def grouped(self):
        return self.kernel.grouped

    def __call__(self, *given, **named):
        device, order = self.device, self.ORDER[self.name]
        arguments = list(given)
        written = []
        for i, (name, value) in enumerate(zip(order, given)):
            if not isinstance(value, np.ndarray) or name in self.SMALL:
                continue
            key = (name, value.ctypes.data, value.shape)
            if key not in self._held:
                self._held[key] = device.empty(value.shape, value.dtype), value
            buffer = self._held[key][0]
            if not (self.name == "pillars" and name == "out"):  # that one is the kernel's to clear
                device.upload(value, buffer)
            arguments[i] = buffer
            if name in self.WRITTEN:
                written.append((buffer, value))
        with device.on("main"):
            self.kernel(*arguments, **named)
            for buffer, value in written:
                device.download(buffer, value)
        if self.name == "pillars":
            return self.kernel.counts
        if self.name == "decode":
            counts = self.kernel.counts
            return counts["peaks"] - counts["overflow"]
        return self.kernel.kept if self.name == "nms" else None


def main(cases_path, cache):
    from fusion_rt.device.cuda import CudaDevice
    from fusion_rt.models.package import ModelPackage
    from fusion_rt.perception import Perception
    from fusion_rt.percepts import Motion, Sweep, View

    spec = importlib.util.spec_from_file_location("cases", cases_path)
    cases = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cases)
    device = CudaDevice(1, cache=Path(cache))
    for name, case in cases.CASES.items():
        for _ in case(HostKernel(device, name)):
            pass
        print(name, flush=True)
    package = ModelPackage.load("driving-s")
    # OpenVINO does not run beside the sanitizer.
    perception, rng = (
        Perception(package, device, runtime="onnxruntime", precision="f32"),
        np.random.default_rng(0),
    )
    for n in (20_000, 0, 150_000):
        perception.detect([sweep_of(rng, n, Sweep)], views_of(perception, rng, View), memory(Motion))
        print(n, flush=True)
    device.close()


def sweep_of(rng, n, Sweep):
    from fusion_rt.messages import Header, PointCloud

    xyz = rng.uniform((-5, -40, -2), (75, 40, 3), (n, 3)).astype(np.float32)
    cloud = PointCloud(
        header=Header(sensor_id="lidar", frame_id="lidar", seq=0, stamp_ns=0),
        xyz=xyz,
        intensity=rng.random(n, dtype=np.float32),
        t=np.zeros(n, np.float32),
        ring=np.zeros(n, np.uint16),
    )
    return Sweep(cloud, np.zeros(1, np.float32), np.eye(3, 4, dtype=np.float32)[None])


def views_of(perception, rng, View):
    from fusion_rt.rig import Camera, Pose

    camera = Camera(
        width=1280,
        height=384,
        K=((743.0, 0, 628.0), (0, 743.0, 178.0), (0, 0, 1)),
        pose=Pose(translation=(0.3, 0.0, 1.6), rpy_deg=(-90.0, 0.0, -90.0)),
    )
    pixels = rng.integers(0, 255, (384, 1280, 3), np.uint8)
    return [View(perception.encode(pixels, camera, bgr=True), camera.T_camera_ego) for _ in range(2)]


def memory(Motion):
    return Motion(known=True, T_prev_now=np.float32([[1, 0, 0.5], [0, 1, 0]]), since_prev_s=0.1)


if __name__ == "__main__":
    main(*sys.argv[1:])
