"""How well the ego filter knows where it is: on recordings, as they are and with their fixes made worse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fusion_rt.ego.config import EgoConfig
from fusion_rt.ego.filter import EgoFilter
from fusion_rt.evaluation.ego_recordings import Moving, Recording, find
from fusion_rt.messages import GnssFix, ImuSample, WheelSpeed
from fusion_rt.transforms import Array

SETTLED_S = 10.0  # judged from then on
SEEDS = (1, 2, 3)
PLAIN_STD_M = 3.0
PLAIN = EgoConfig(gate_chi2=1e9, nonholonomic_mps=0.0, still_mps=0.0, position_correlation_s=0.0)
NOTES = (
    "horizontal position against the reference, m, ten times a second after the first 10 s; scenarios with"
    " noise are means over three seeds. coast: ours without the speed that the wheels tell, where they do;"
    f" plain: a loosely coupled filter of constant noise ({PLAIN_STD_M:g} m), without gates, without what is"
    " known of wheels and of standing still, and without their speed.",
    "outage: of the fixes, in the middle of the recording; its RMSE is of that time, `last` the error where"
    " it ends. NEES: squared error by its covariance, two numbers; 2 where the filter knows itself.",
    "fixes: what the receiver alone says, where it says something. Of oxts its own positions are the"
    " reference, which wander by a metre where it had no RTK: there only what was added counts.",
)


class Scenario(Struct, frozen=True, kw_only=True):
    """noise_m: white, added to each fix. jumps: multipath, every 15 s the fixes stand 20 m off for 2 s.
    outage_s: without fixes for so long."""

    name: str
    noise_m: float = 0.0
    jumps: bool = False
    outage_s: float = 0.0


SCENARIOS = (
    Scenario(name="as recorded"),
    Scenario(name="noise 3 m", noise_m=3.0),
    Scenario(name="multipath", noise_m=1.0, jumps=True),
    Scenario(name="outage 5 s", outage_s=5.0),
    Scenario(name="outage 10 s", outage_s=10.0),
    Scenario(name="outage 30 s", outage_s=30.0),
)
_JUMP_EVERY_S, _JUMP_S, _JUMP_M = 15.0, 2.0, 20.0


class EgoRow(Struct, frozen=True, kw_only=True):
    """One recording in one scenario, m. last_m: where an outage ends; None without one. coasted_rmse_m: ours
    without the wheels' speed; None where there is none. fixes_m: RMSE of the fixes that were given; None
    where the outage leaves none in the judged time."""

    recording: str
    scenario: str
    seconds: float
    rmse_m: float
    max_m: float
    nees: float
    last_m: float | None
    coasted_rmse_m: float | None
    coasted_last_m: float | None
    plain_rmse_m: float
    plain_last_m: float | None
    fixes_m: float | None


class EgoReport(Struct, frozen=True, kw_only=True):
    """An evaluation; skipped: what could not be used, and why."""

    source: str
    rows: tuple[EgoRow, ...]
    notes: tuple[str, ...]
    skipped: tuple[str, ...]


class _Run(Struct, frozen=True):
    """errors (n, 2) m, nees (n,), while there was a pose."""

    errors: Array
    nees: Array


def evaluate(folder: Path, *, advance: Callable[[int, int], None] = lambda done, total: None) -> EgoReport:
    """Every recording of a folder in every scenario that it is long enough for. Raises LogError where there
    is none."""
    recordings, skipped = find(folder)
    cases = [(r, s) for r in recordings for s in SCENARIOS if _fits(r, s)]
    rows = []
    for done, (recording, scenario) in enumerate(cases):
        row = _row(recording, scenario)
        if row is None:
            skipped.append(f"{recording.name}, {scenario.name}: no pose in the judged time")
        else:
            rows.append(row)
        advance(done + 1, len(cases))
    return EgoReport(source=str(folder), rows=tuple(rows), notes=NOTES, skipped=tuple(skipped))


def _fits(recording: Recording, scenario: Scenario) -> bool:
    """Whether something is left before and after an outage."""
    return (recording.ends - recording.begins) / 1e9 >= SETTLED_S + scenario.outage_s + 5.0 * (
        scenario.outage_s > 0
    )


def _row(recording: Recording, scenario: Scenario) -> EgoRow | None:
    """None where a filter had no pose."""
    begins, ends = _judged(recording, scenario)
    random = scenario.noise_m > 0 or scenario.jumps
    ours, coasted, plain, fixes = [], [], [], []
    for seed in SEEDS if random else SEEDS[:1]:
        packets = list(_degraded(recording, scenario, np.random.default_rng(seed)))
        # Fixes of a receiver err alike for a while; what is added here is white.
        correlation_s = 0.0 if scenario.noise_m else EgoConfig().position_correlation_s
        config = EgoConfig(position_correlation_s=correlation_s)
        ours.append(_run(recording, packets, config, begins, ends))
        others = [p for p in packets if not isinstance(p, WheelSpeed)]
        if len(others) < len(packets):
            coasted.append(_run(recording, others, config, begins, ends))
        plain.append(_run(recording, [_plain(p) for p in others], PLAIN, begins, ends))
        fixes += [
            _off(recording, p)
            for p in packets
            if isinstance(p, GnssFix) and begins <= p.header.stamp_ns <= ends
        ]
    if not all(len(run.errors) for run in (*ours, *coasted, *plain)):
        return None
    outage = scenario.outage_s > 0
    return EgoRow(
        recording=recording.name,
        scenario=scenario.name,
        seconds=(ends - begins) / 1e9,
        rmse_m=float(np.mean([_rms(run.errors) for run in ours])),
        max_m=float(max(np.linalg.norm(run.errors, axis=1).max() for run in ours)),
        nees=float(np.mean([run.nees.mean() for run in ours])),
        last_m=_last(ours) if outage else None,
        coasted_rmse_m=float(np.mean([_rms(run.errors) for run in coasted])) if coasted else None,
        coasted_last_m=_last(coasted) if coasted and outage else None,
        plain_rmse_m=float(np.mean([_rms(run.errors) for run in plain])),
        plain_last_m=_last(plain) if outage else None,
        fixes_m=_rms(np.array(fixes)) if fixes else None,
    )


def _last(runs: Sequence[_Run]) -> float:
    return float(np.linalg.norm(runs[0].errors[-1]))


def _plain(packet: Moving) -> Moving:
    if not isinstance(packet, GnssFix):
        return packet
    variance = PLAIN_STD_M**2
    return replace(packet, position_covariance=(variance, 0.0, 0.0, 0.0, variance, 0.0, 0.0, 0.0, variance))


def _judged(recording: Recording, scenario: Scenario) -> tuple[int, int]:
    """From when to when the errors count: an outage, or all after settling; ns."""
    if not scenario.outage_s:
        return recording.begins + int(SETTLED_S * 1e9), recording.ends
    spare_ns = recording.ends - recording.begins - int((SETTLED_S + scenario.outage_s) * 1e9)
    begins = recording.begins + int(SETTLED_S * 1e9) + spare_ns // 2
    return begins, begins + int(scenario.outage_s * 1e9)


def _degraded(recording: Recording, scenario: Scenario, rng: np.random.Generator) -> Iterator[Moving]:
    begins, ends = _judged(recording, scenario)
    jump: dict[int, Array] = {}
    for packet in recording.packets:
        if not isinstance(packet, GnssFix):
            yield packet
            continue
        if scenario.outage_s and begins <= packet.header.stamp_ns < ends:
            continue
        error = rng.normal(0, 1, 3) * scenario.noise_m
        seconds = (packet.header.stamp_ns - recording.begins) / 1e9
        number, phase = divmod(seconds, _JUMP_EVERY_S)
        if scenario.jumps and phase >= _JUMP_EVERY_S - _JUMP_S:
            angle = rng.uniform(0, 2 * np.pi)
            direction = jump.setdefault(int(number), np.array([np.cos(angle), np.sin(angle), 0.0]))
            error = error + _JUMP_M * direction
        yield _moved(recording, packet, error, scenario.noise_m)


def _moved(recording: Recording, fix: GnssFix, error: Array, noise_m: float) -> GnssFix:
    """The fix with an error (3,) m; its covariance knows of the noise and not of the jumps. A velocity, which
    receivers tell from the Doppler shift, stays."""
    if not error.any():
        return fix
    at = recording.local_map.to_enu(fix.latitude_deg, fix.longitude_deg, fix.altitude_m) + error
    latitude, longitude, altitude = recording.local_map.to_geodetic(at)
    covariance = np.array(fix.position_covariance).reshape(3, 3) + np.eye(3) * noise_m**2
    return replace(
        fix,
        latitude_deg=float(latitude),
        longitude_deg=float(longitude),
        altitude_m=float(altitude),
        position_covariance=tuple(covariance.ravel().tolist()),
    )


def _run(recording: Recording, packets: Sequence[Moving], config: EgoConfig, begins: int, ends: int) -> _Run:
    ego, errors, nees, samples = EgoFilter(recording.rig, config), [], [], 0
    every = max(
        1, sum(isinstance(p, ImuSample) for p in packets) * 10**8 // (recording.ends - recording.begins)
    )
    for packet in packets:
        ego.push(packet)
        if not isinstance(packet, ImuSample):
            continue
        samples += 1
        stamp = packet.header.stamp_ns
        if samples % every or not begins <= stamp <= ends:
            continue
        state = ego.state_at(stamp)
        if state.source == "none" or ego.map is None:
            continue
        at = recording.local_map.to_enu(*ego.map.to_geodetic(np.array(state.position)))
        error = (at - recording.reference(np.array(stamp)))[:2]
        spread = np.array(state.covariance).reshape(6, 6)[:2, :2]
        errors.append(error)
        nees.append(float(error @ np.linalg.solve(spread, error)))
    return _Run(np.array(errors), np.array(nees))


def _off(recording: Recording, fix: GnssFix) -> Array:
    at = recording.local_map.to_enu(fix.latitude_deg, fix.longitude_deg, fix.altitude_m)
    off: Array = (at - recording.reference(np.array(fix.header.stamp_ns)))[:2]
    return off


def _rms(errors: Array) -> float:
    return float(np.sqrt(np.mean(np.sum(np.square(errors), axis=1))))


def render(report: EgoReport) -> RenderableType:
    """For a terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("recording", "scenario"):
        table.add_column(name, no_wrap=True)
    ours, others = ("s", "RMSE", "max", "NEES", "last"), ("coast", "plain")
    for name in (*ours, *(f"{other}\n{what}" for other in others for what in ("RMSE", "last")), "fixes"):
        table.add_column(name, justify="right", no_wrap=True)
    for r in report.rows:
        numbers = (
            r.rmse_m, r.max_m, r.nees, r.last_m, r.coasted_rmse_m, r.coasted_last_m, r.plain_rmse_m,
            r.plain_last_m, r.fixes_m,
        )  # fmt: skip
        table.add_row(
            r.recording, r.scenario, f"{r.seconds:.0f}", *("-" if n is None else f"{n:.2f}" for n in numbers)
        )
    return Group(Text(report.source), "", table, "", *(Text(note, style="dim") for note in report.notes))
