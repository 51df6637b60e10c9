"""What `fusion-rt eval --suite home` judges: simulated homes, and where they are recordings and sounds."""

from __future__ import annotations

from pathlib import Path

from fusion_rt.commands.common import progress
from fusion_rt.commands.reports import Judged

HOMES, HOURS, SEED = 6, 0.25, 500_000


def suite(runtime: str, recordings: Path | None) -> dict[str, Judged]:
    """recordings: a folder with any of uci_occupancy, uci_room_estimation, radhar, umafall, esc10."""
    parts = {"homes": simulated_homes(runtime)}
    if recordings is not None:
        parts["recordings"] = recorded(runtime, recordings)
        if (recordings / "esc10" / "labels.csv").is_file():
            parts["sounds"] = sounds(recordings / "esc10")
    return parts


def simulated_homes(runtime: str) -> Judged:
    """Homes that training did not know."""
    from fusion_rt.evaluation.home import report, simulated
    from fusion_rt.home.config import HomeConfig

    with progress("homes") as advance:
        found = simulated.judge(
            HOMES,
            HOURS,
            seed=SEED,
            plan=None,
            config=HomeConfig(runtime=runtime),
            singles=False,
            show=advance,
        )
    return Judged(found, report.render)


def recorded(runtime: str, folder: Path) -> Judged:
    """The committed heads on real recordings."""
    from fusion_rt.evaluation.home_recordings.evaluate import evaluate, render
    from fusion_rt.evaluation.home_recordings.parts import Options

    options = Options(data=folder, training=folder, folds=False, baselines=True, head=None, runtime=runtime)
    return Judged(evaluate(options, (), advance=progress), render)


def sounds(folder: Path) -> Judged:
    """The committed head of sound events."""
    from fusion_rt.evaluation import sounds as judging

    with progress("looking at clips") as advance:
        return Judged(judging.judge(folder, head="sound-events", advance=advance), judging.render)
