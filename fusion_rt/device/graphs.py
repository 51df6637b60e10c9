"""Work of a stream, kept as a CUDA graph: many launches become one. Through cuda-bindings, which both
launchers have: the compiler NVRTC is asked through it, too; PyCUDA itself has no graphs."""

from __future__ import annotations

from typing import Any

from fusion_rt.device.launcher import driver_error


class Graphs:
    """Of one launcher. Streams and graphs are the driver's handles.

    Each raises DeviceError with the driver's own words."""

    def __init__(self) -> None:
        from cuda.bindings import driver

        self._driver: Any = driver
        self._held: set[int] = set()

    def begin(self, stream: int) -> None:
        """What this thread puts on the stream from now on is kept, not done. Other threads may go on
        allocating."""
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("record a graph", self._driver.cuStreamBeginCapture(stream, mode))

    def end(self, stream: int) -> int:
        """What was kept, to be run any number of times; the stream is as before, also where this raises."""
        graph = self._call("record a graph", self._driver.cuStreamEndCapture(stream))
        try:
            made = int(self._call("make a graph", self._driver.cuGraphInstantiate(graph, 0)))
        finally:
            self._driver.cuGraphDestroy(graph)
        self._held.add(made)
        return made

    def run(self, graph: int, stream: int) -> None:
        self._call("run a graph", self._driver.cuGraphLaunch(graph, stream))

    def drop(self, graph: int) -> None:
        """Later calls, and those after `close`, do nothing."""
        if graph in self._held:
            self._held.remove(graph)
            self._driver.cuGraphExecDestroy(graph)

    def close(self) -> None:
        for graph in list(self._held):
            self.drop(graph)

    def _call(self, what: str, answer: tuple[Any, ...]) -> Any:
        status, *value = answer
        if status != self._driver.CUresult.CUDA_SUCCESS:
            _, words = self._driver.cuGetErrorString(status)
            raise driver_error(what, status.name, words.decode() if isinstance(words, bytes) else "")
        return value[0] if value else None
