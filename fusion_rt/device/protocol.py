"""What the pipeline asks of a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fusion_rt.engine import Engine
    from fusion_rt.models.package import ModelPackage


class Device(Protocol):
    """Memory and kernels. The pipeline is written once against it.

    A buffer has shape, dtype, `reshape`, and views of its first axis. Where the device works on its own, what
    is asked of it is done in the order of asking on each of two streams, "main" and "camera"; only
    `download`, `fetch` and a decoder's answer wait for it."""

    threads: int

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """A buffer of the device, zeroed."""
        ...

    def upload(self, array: NDArray[Any], out: Any) -> None:
        """Host array -> device buffer of its shape and dtype."""
        ...

    def download(self, buffer: Any, out: NDArray[Any]) -> None:
        """Device buffer -> host array of its shape and dtype."""
        ...

    def fetch(self, buffer: Any) -> NDArray[Any]:
        """Device buffer -> a new host array."""
        ...

    def zero(self, buffer: Any) -> None: ...

    def copy(self, buffer: Any, out: Any) -> None:
        """Device buffer -> another of its shape and dtype."""
        ...

    def clone(self, buffer: Any) -> Any:
        """A copy that stands while the buffer is used for something else."""
        ...

    def on(self, stream: str) -> AbstractContextManager[None]:
        """Where the work of a block goes: "main" or "camera"."""
        ...

    def join(self, other: str) -> None:
        """What comes now waits for all that was asked for on the other stream."""
        ...

    def synchronize(self) -> None:
        """Wait until all that was enqueued is done."""
        ...

    def repeated(self, engines: Sequence[Engine], *, record: bool = True) -> Repeated:
        """For work that is the same each time and runs these engines. Where device and engines allow it, and
        unless record is false, it is recorded and then repeated by one call."""
        ...

    def kernel(self, name: str) -> Callable[..., Any]:
        """A launcher with scratch memory of its own. Raises DeviceError for an unknown name."""
        ...

    def decoder(self, package: ModelPackage) -> Decoder:
        """From that network's outputs to rows."""
        ...

    def expect_finite(self, part: str, outputs: Mapping[str, Any]) -> None:
        """The next answer is refused where one of these is not finite, unless the engine saw to that
        itself."""
        ...

    def close(self) -> None: ...


class Repeated(Protocol):
    """Does `work(*arguments)`.

    why  why it is not recorded; "" where it is, or may be"""

    why: str

    def __call__(self, work: Callable[..., None], *arguments: Any) -> None: ...


class Answer(Struct, frozen=True):
    """What a decoder says: of each object that stays, best first, its row (n, 16), the logits of all classes
    (n, classes) at the cell under it, and the shares of the modalities (n, 3) there; host arrays."""

    rows: NDArray[Any]
    logits: NDArray[Any]
    shares: NDArray[Any]


class Decoder(Protocol):
    """Both looks at a network's outputs. One answer is made of both, in turn."""

    def first_look(
        self, outputs: Mapping[str, Any], views: Any, where: Any, grouped: Any, inputs: Mapping[str, Any]
    ) -> bool:
        """The best maxima of the heatmap as rows, and what a second look at each is given: `outputs` of the
        fusing part, the image features of `views` (cameras, h, w, C) and `where` (cameras, 3, 4) they look,
        and the points by cell -> `inputs` of the refining part. False where there is surely nothing to look
        at."""
        ...

    def second_look(self, outputs: Mapping[str, Any] | None) -> None:
        """The refining part's `outputs` applied (None: there was nothing to look at), ordered, without
        doubles."""
        ...

    def answer(self) -> Answer:
        """What the second look found, when it is done.

        Raises EngineError where an output that was to be finite is not."""
        ...

    @property
    def rows(self) -> NDArray[Any]:
        """(n, 16) of the first look; a copy."""
        ...

    @property
    def counts(self) -> dict[str, int]:
        """As the kernel `decode` counts, of the last answer."""
        ...
