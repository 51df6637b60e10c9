"""A model package: a folder of ONNX files, the layers that kernels compute, and model.yaml about them.

The runtime reads everything about a network from here and never imports what trained it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import yaml
from msgspec import Meta, Struct

from fusion_rt import config
from fusion_rt.errors import ConfigError, EngineError
from fusion_rt.transforms import Array

PARTS = ("camera", "bev", "refine")
PRECISIONS = ("int8", "f16", "f32")
LAYERS = ("pillars.npz", "points.npz")  # by the kernels that compute them
WEIGHTS = Path(__file__).parent / "weights"


class GridSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A canvas over the ground: row iy, column ix has its centre at min + (i + 0.5) * cell_m."""

    x_min: float
    y_min: float
    cell_m: float
    nx: int
    ny: int


class ImageSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The image the camera encoder wants, RGB; mean and std in 0..255. Its features are `stride`
    times smaller. focal_px: of the camera whose depths the network knows, those of others are told as its own
    (`images.feature_intrinsics`); None: it is told depths as they are."""

    width: int
    height: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    stride: int
    focal_px: Annotated[float, Meta(gt=0)] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        return self.width, self.height


class TensorSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names and shapes of one part's tensors, float32; -1 is any number of rows."""

    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]


class ScoreFit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a class's refined scores are bent into probabilities: gain and offset of the logit."""

    gain: float = 1.0
    offset: float = 0.0


class ModelSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """model.yaml.

    classes            labels of the heatmap's channels
    grid, head         canvas of the pillars and of the outputs
    z_min, z_max       points are accepted in [z_min, z_max), m above the ground
    z_levels           heights at which cells are projected into the image, m
    context            meaning of each slot of the context vector
    box_channels       meaning of each channel of `boxes`
    box_context        meaning of each slot of the refinement's second input
    points_margin_m    so far outside of a box's faces its points are looked at
    points_most        of a box with more points than that, about so many
    deltas             meaning of each slot of the refinement's second output
    decode_threshold   smallest heatmap score that is decoded
    peak_slack         logit: a cell is a peak where no neighbour is higher by more
    scores             how refined scores become probabilities, by class
    score_thresholds   smallest such score worth showing, by class
    nms_iou            overlap above which the weaker box of a class goes, by class
    max_objects        boxes decoded at most
    measures_velocity  whether the boxes' velocities are good enough to measure with, where there is a memory
    precisions         precision -> part -> file: "f32"; "f16" (weights and activations in half, inputs and
                       outputs float32); "int8" (8-bit pairs with zero point 0 around convolutions:
                       unsigned where nothing is negative; the rest float)
    sha256             file -> digest
    precision          the one to use where nobody asks for another
    """

    name: str
    version: str
    classes: tuple[str, ...]
    grid: GridSpec
    head: GridSpec
    z_min: float
    z_max: float
    z_levels: tuple[float, ...]
    image: ImageSpec
    context: tuple[str, ...]
    box_channels: tuple[str, ...]
    box_context: tuple[str, ...]
    points_margin_m: float
    points_most: int
    deltas: tuple[str, ...]
    decode_threshold: float
    peak_slack: float = 0.0
    scores: dict[str, ScoreFit]
    score_thresholds: dict[str, float]
    nms_iou: dict[str, float]
    max_objects: int
    measures_velocity: bool
    tensors: dict[str, TensorSpec]
    precisions: dict[str, dict[str, str]]
    precision: str
    sha256: dict[str, str]
    trained_with: str


class PillarLayer(NamedTuple):
    """What the `pillars` kernel computes of a point: W (8, C), b (C,), float32."""

    W: Array
    b: Array


class PointLayers(NamedTuple):
    """What the `roi_points` kernel computes of a box's point: at (3, 16), size (3, 16), kind (classes, 16),
    second (16, C), bias (C,), float32."""

    at: Array
    size: Array
    kind: Array
    second: Array
    bias: Array


class ModelPackage:
    """A package that was read and checked: its folder, its description, the layers that kernels compute, and
    its identity "name-version-<8 hex digits of all that>"."""

    def __init__(self, folder: Path, spec: ModelSpec, pillars: PillarLayer, points: PointLayers) -> None:
        self.folder, self.spec, self.pillars, self.points = folder, spec, pillars, points
        # The description holds the files' digests: any change to either is another model.
        described = hashlib.sha256(msgspec.json.encode(spec)).hexdigest()
        self.identity = f"{spec.name}-{spec.version}-{described[:8]}"

    @classmethod
    def load(cls, model: str | Path) -> ModelPackage:
        """A bundled model by name, or a folder.

        Raises ConfigError when there is none or model.yaml is wrong, EngineError when a file is
        missing or is not the one that model.yaml describes."""
        folder = WEIGHTS / model if (WEIGHTS / model).is_dir() else Path(model)
        if not (folder / "model.yaml").is_file():
            bundled = sorted(p.parent.name for p in WEIGHTS.glob("*/model.yaml"))
            raise ConfigError(
                f"{model}: no model package there (a folder with model.yaml);"
                f" bundled are: {', '.join(bundled) or 'none'}"
            )
        spec = config.load(folder / "model.yaml", ModelSpec)
        _check(folder, spec)
        pillars = _read_layers(folder / "pillars.npz", {"W": (8, "C"), "b": ("C",)})
        points = _read_layers(
            folder / "points.npz",
            {
                "at": (3, 16),
                "size": (3, 16),
                "kind": (len(spec.classes), 16),
                "second": (16, "C"),
                "bias": ("C",),
            },
        )
        return cls(folder, spec, PillarLayer(*pillars), PointLayers(*points))

    @classmethod
    def described(cls, folder: Path, spec: ModelSpec) -> ModelPackage:
        """Writes model.yaml for the files that lie in the folder, and reads the whole again."""
        text = yaml.safe_dump(msgspec.to_builtins(spec), sort_keys=False, width=110)
        (folder / "model.yaml").write_text(text, encoding="utf-8")
        return cls.load(folder)

    def path(self, part: str, precision: str) -> Path:
        """The ONNX file of "camera", "bev" or "refine" in a precision. Raises ConfigError where the
        package has no such precision."""
        try:
            return self.folder / self.spec.precisions[precision][part]
        except KeyError:
            raise ConfigError(
                f"{self.folder}: no {part!r} in precision {precision!r}; the package has"
                f" {', '.join(sorted(self.spec.precisions))} of {', '.join(PARTS)}"
            ) from None

    def held(self, part: str, precision: str) -> str:
        """In which precision that file is: a part that gains nothing from INT8 is float there, too."""
        suffix = self.path(part, precision).name.split(".")[-2]
        return suffix if suffix in PRECISIONS else "f32"


def digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _check(folder: Path, spec: ModelSpec) -> None:
    source = folder / "model.yaml"
    if spec.precision not in spec.precisions:
        raise ConfigError(
            f"{source}: precision {spec.precision!r} is not one of {', '.join(spec.precisions)}"
        )
    for precision, files in spec.precisions.items():
        if precision not in PRECISIONS or set(files) != set(PARTS):
            raise ConfigError(
                f"{source}: precisions.{precision} must name a file for each of {', '.join(PARTS)};"
                f" known precisions are {', '.join(PRECISIONS)}"
            )
    if (spec.grid.nx % spec.head.nx, spec.grid.ny % spec.head.ny) != (0, 0):
        raise ConfigError(f"{source}: grid {spec.grid.nx}x{spec.grid.ny} is no multiple of head's cells")
    named = {name for files in spec.precisions.values() for name in files.values()} | set(LAYERS)
    for name in sorted(named):
        path = folder / name
        if name not in spec.sha256:
            raise ConfigError(f"{source}: sha256 lacks {name}; export the package again")
        if not path.is_file():
            raise EngineError(f"{path}: missing; fetch or export the package {spec.name!r} again")
        found = digest(path)
        if found != spec.sha256[name]:
            raise EngineError(
                f"{path}: sha256 {found[:12]}... is not {spec.sha256[name][:12]}... of model.yaml: the file"
                " is damaged or from another version; fetch or export the package again"
            )


def _read_layers(path: Path, shapes: dict[str, tuple[int | str, ...]]) -> list[Array]:
    """The named arrays; a letter stands for the same extent wherever it stands."""
    try:
        with path.open("rb") as file, np.load(file) as data:
            arrays = [data[name] for name in shapes]
    except (OSError, ValueError, KeyError) as error:
        raise EngineError(f"{path}: cannot be read ({error}); export the package again") from error
    extents: dict[int | str, int] = {}
    for (name, shape), array in zip(shapes.items(), arrays):
        fits = array.dtype == np.float32 and array.ndim == len(shape) and np.isfinite(array).all()
        wanted = [n if isinstance(n, int) else extents.setdefault(n, m) for n, m in zip(shape, array.shape)]
        if not fits or list(array.shape) != wanted:
            raise EngineError(
                f"{path}: {name} is {array.dtype} {array.shape}, expected finite float32"
                f" ({', '.join(map(str, shape))}); export the package again"
            )
    return [np.ascontiguousarray(array) for array in arrays]
