"""The same work again and again, recorded once and then put on the stream by one call."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fusion_rt.device.buffers import DeviceBuffer
from fusion_rt.errors import DeviceError, EngineError
from fusion_rt.kernels.box_launchers import Grouped

if TYPE_CHECKING:
    from fusion_rt.device.cuda import CudaDevice


class Recording:
    """One piece of work of one device. The first time it is done as ever, and takes what memory it wants; the
    second time it is recorded as a CUDA graph; from then on the graph is run. When its arguments lie
    elsewhere than before, all that begins anew.

    why  "" while it may be recorded; else the reason why it is done as ever, each time"""

    def __init__(self, device: CudaDevice, why: str = "") -> None:
        self._device, self.why = device, why
        self._seen: tuple[Any, ...] | None = None
        self._graph: int | None = None

    def __call__(self, work: Callable[..., None], *arguments: Any) -> None:
        """`work(*arguments)` on the present stream. Apart from the memory of its arguments it must need the
        same each time, and wait for nothing. Raises what the work raises."""
        if self.why:
            work(*arguments)
            return
        where = _where(arguments)
        if where != self._seen:
            self._forget()
            work(*arguments)
            self._seen = where
            return
        if self._graph is None:
            self._graph = self._record(work, arguments)
        if self._graph is None:
            work(*arguments)
        else:
            self._device.launcher.graphs.run(self._graph, self._device.stream)

    def _record(self, work: Callable[..., None], arguments: tuple[Any, ...]) -> int | None:
        graphs, stream = self._device.launcher.graphs, self._device.stream
        try:
            graphs.begin(stream)
            try:
                work(*arguments)
            except (DeviceError, EngineError):
                with contextlib.suppress(DeviceError):  # the stream must be a stream again
                    graphs.drop(graphs.end(stream))
                raise
            return graphs.end(stream)
        except (DeviceError, EngineError) as error:
            self.why = f"cannot be recorded: {error}"
            return None

    def _forget(self) -> None:
        graph, self._graph, self._seen = self._graph, None, None
        if graph is not None:
            self._device.launcher.graphs.drop(graph)

    def __del__(self) -> None:
        self._forget()


def _where(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """What decides which memory work on these arguments touches."""
    parts = [
        part for a in arguments for part in ((a.points, a.start, a.count) if isinstance(a, Grouped) else (a,))
    ]
    return tuple((p.pointer, p.shape) if isinstance(p, DeviceBuffer) else id(p) for p in parts)
