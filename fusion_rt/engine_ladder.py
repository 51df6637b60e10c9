"""Which engine looks: the best that works, and the next one when it stops working.

On an NVIDIA card TensorRT is the best, then TensorRT-RTX, torch in a CUDA graph, ONNX Runtime, and at the
foot OpenVINO on the CPU, which is always there. An engine that is not built yet is built by another process
while a lower one serves. The first time that an engine serves on a card its boxes are held against
OpenVINO's, and one that sees otherwise is refused. What is wrong with better engines stands in every
certificate.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

import msgspec
from msgspec import Struct

from fusion_rt.device import Device
from fusion_rt.device.nvidia import Driver, ask_driver, first_card
from fusion_rt.engine import AUTO_RUNTIMES, CARD_RUNTIMES
from fusion_rt.engine.cache import EngineCache
from fusion_rt.engine.gpu import GpuDevice
from fusion_rt.engine_builds import BackgroundBuild, are_built
from fusion_rt.errors import DeviceError, EngineError, FusionError
from fusion_rt.models.package import ModelPackage
from fusion_rt.parity import Agreement, self_test
from fusion_rt.perception import Lap, Perception

AUTO = "auto"
FOOT = "openvino"
OLDEST = (7, 5)  # compute capability: CUDA 13 and TensorRT 10 know no older ones, some without half precision

T = TypeVar("T")


class CardDevice(Device, GpuDevice, Protocol):
    """A card, for kernels and for engines. warnings: what was wrong with its cache of kernels."""

    warnings: list[str]

    def share_memory(self) -> None:
        """Read what sensors gave where the host has it. Raises DeviceError where that cannot be."""
        ...


class Rung(Struct, frozen=True):
    """A runtime and a precision of the package; None: the package's own choice. on_card: the kernels run
    there too."""

    runtime: str
    precision: str | None = None
    on_card: bool = False


def rungs(
    runtime: str, precision: str | None, package: ModelPackage, *, card: bool, only_card: bool = False
) -> tuple[Rung, ...]:
    """What to try, the best first. A runtime that was named is the first, and OpenVINO on the CPU stands
    below it.

    On a card half precision is chosen where the package has it and nothing else was asked for. Where only the
    card will do, OpenVINO serves it, too, its buffers copied to and fro."""
    fast = precision or ("f16" if "f16" in package.spec.precisions else "f32")
    names = (
        [*(AUTO_RUNTIMES if card else ()), *((FOOT,) if only_card else ())] if runtime == AUTO else [runtime]
    )
    steps = [Rung(name, fast if name in CARD_RUNTIMES else precision, card) for name in names]
    foot = precision if precision != "f16" else None
    if card or runtime in (AUTO, *CARD_RUNTIMES):
        steps.append(Rung(FOOT, foot))
    return tuple(steps)


def find_gpu(threads: int = 2, driver: Driver | None = None) -> tuple[CardDevice | None, str]:
    """The first card as a device, or why it cannot be used; ("" where there is no card to speak of)."""
    driver = driver or ask_driver()
    if not driver.cards:
        return None, driver.error
    name = driver.cards[0].name
    if driver.cards[0].capability < OLDEST:
        too_old = f"{driver.cards[0].architecture} is too old"
        return None, f"{name}: {too_old}; sm_{OLDEST[0]}{OLDEST[1]} or newer is wanted"
    try:
        card = first_card(driver)
        device: CardDevice = importlib.import_module("fusion_rt.device.cuda").CudaDevice(threads, card=card)
    except ImportError as error:
        return None, f"{name}: {error}; pip install 'fusion-rt[cuda]'"
    except FusionError as error:
        return None, f"{name}: {error}"
    _tell(device.warnings)
    return device, ""


class EngineLadder:
    """perception: what looks now.

    wait     build engines before the first look instead of beside it: offline, where answers must not depend
             on how long that takes
    check    None: hold an engine of a GPU against OpenVINO once, and remember the outcome
    Raises EngineError where the first rung of a runtime that was named does not load, or none does."""

    def __init__(
        self,
        package: ModelPackage,
        device: Device,
        steps: Sequence[Rung],
        *,
        card: CardDevice | None = None,
        why_no_card: str = "",
        wait: bool = False,
        strict: bool = False,
        lap: Lap = lambda stage: None,
        check: Callable[[Perception, Rung], Agreement] | None = None,
    ) -> None:
        self._package, self._device, self._card, self._lap = package, device, card, lap
        self._steps, self._wait = tuple(steps), wait
        self._check = check  # no bound method: a card's memory must not wait for the garbage collector
        self._wrong: dict[int, str] = {-1: why_no_card} if why_no_card else {}
        self._spare: dict[int, Perception] = {}  # loaded when all others failed, and kept
        self._building: tuple[int, BackgroundBuild] | None = None
        # Looks that no engine could do, and how often a lower one took over.
        self.counters = {"failed": 0, "fallen": 0}
        self.failure = ""  # why the last look could not be done
        self._at, self.perception = self._first(strict)

    def attempt(self, look: Callable[[Perception], T]) -> T | None:
        """Look with the engine that serves. Where it fails, with the next that can, which then serves; None
        where no one can: what they were given is to blame, and the engine stays."""
        self.failure = ""
        try:
            return look(self.perception)
        except (EngineError, DeviceError) as error:
            failed = str(error)
        for i in range(self._at + 1, len(self._steps)):
            try:
                other = self._spare.pop(i, None) or self._load(i)
                self._spare[i] = other
                answer = look(other)
            except (EngineError, DeviceError) as error:
                self._wrong[i] = str(error)
                continue
            self._wrong[self._at] = failed
            self._at, self.perception = i, self._spare.pop(i)
            self._fell()
            return answer
        self.counters["failed"] += 1
        self.failure = failed
        return None

    def _fell(self) -> None:
        """Where the CPU serves now and nothing better is on its way, the card is given back."""
        self.counters["fallen"] += 1
        if self._card is not None and not self._steps[self._at].on_card and self._building is None:
            self._spare = {i: spare for i, spare in self._spare.items() if not self._steps[i].on_card}
            self._card.close()
            self._card = None

    def climb(self) -> bool:
        """Take a better engine that was built meanwhile; whether another serves now. To be asked often: it
        looks whether a process has ended."""
        if self._building is None:
            return False
        i, build = self._building
        if build.running:
            return False
        self._building = None
        try:
            build.wait()
            better = self._load(i)
        except FusionError as error:
            self._wrong[i] = str(error)
            return False
        finally:
            build.stop()
        self._wrong.pop(i, None)
        self._at, self.perception = i, better
        return True

    @property
    def reason(self) -> str:
        """Why none of the better engines serves; "" where there is none better."""
        better = {i: why for i, why in sorted(self._wrong.items()) if i < self._at}
        if self._building is not None:
            i, build = self._building
            better[i] = f"is being built: {build.progress or 'begins'}"
        return "; ".join(f"{self._steps[i].runtime}: {why}" if i >= 0 else why for i, why in better.items())

    def _first(self, strict: bool) -> tuple[int, Perception]:
        for i, step in enumerate(self._steps):
            try:
                if not self._is_built(step):
                    build = BackgroundBuild(self._package, step.runtime, step.precision or "f16")
                    if self._wait:
                        build.wait()
                    elif self._building is None:
                        self._building = i, build
                        continue
                return i, self._load(i)
            except (EngineError, DeviceError) as error:
                if i + 1 == len(self._steps) or (strict and i == 0):
                    raise
                self._wrong[i] = str(error)
        raise EngineError("no engine is named")

    def _is_built(self, step: Rung) -> bool:
        if self._card is None or step.runtime not in CARD_RUNTIMES:
            return True
        cache = EngineCache()
        built = are_built(
            self._package,
            runtime=step.runtime,
            precision=step.precision or "f16",
            gpu=self._card.name,
            architecture=self._card.architecture,
            cache=cache,
        )
        _tell([cache.note] if cache.note else [])
        return built

    def _load(self, i: int) -> Perception:
        """Raises EngineError: it does not load, or it sees otherwise than it should."""
        step = self._steps[i]
        perception = self._perception(step)
        if step.runtime in CARD_RUNTIMES:
            agreement = (self._check or self._once)(perception, step)
            if agreement.reason:
                raise EngineError(f"refused, it sees otherwise than {FOOT}: {agreement.reason}")
        return perception

    def _perception(self, step: Rung) -> Perception:
        if step.on_card and self._card is None:
            given_up = self.counters["fallen"] > 0
            why = "the card was given up" if given_up else "none was found; see `fusion-rt doctor`"
            raise EngineError(f"runtime {step.runtime!r} needs an NVIDIA GPU, {why}")
        device = self._card if step.on_card and self._card is not None else self._device
        return Perception(
            self._package, device, runtime=step.runtime, precision=step.precision, lap=self._lap
        )

    def _once(self, candidate: Perception, step: Rung) -> Agreement:
        """The outcome of the last time with this engine on this card, or of now."""
        cache = EngineCache()
        name = f"{self._fingerprint(candidate)}.parity.json"
        known = cache.get_note(name)
        if known is not None:
            try:
                return msgspec.json.decode(known, type=Agreement)
            except msgspec.MsgspecError:
                pass  # damaged: it is tested again
        held = "int8" if step.precision == "int8" else step.precision or self._package.spec.precision
        reference = self._perception(Rung(FOOT, "int8" if held == "int8" else "f32"))
        agreement = self_test(reference, candidate, held=held)
        with suppress(EngineError):  # it only saves time
            cache.put_note(name, msgspec.json.encode(agreement))
        return agreement

    def _fingerprint(self, candidate: Perception) -> str:
        card = "" if self._card is None else self._card.name
        parts = (self._package.identity, candidate.engine_identity, card)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _tell(warnings: Sequence[str]) -> None:
    """What costs time and stops nothing."""
    for warning in warnings:
        print(warning, file=sys.stderr, flush=True)
