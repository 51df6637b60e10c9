"""One data set each: its files, the committed head on them through the live runtime, simple methods, and what
cross-validation says."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from fusion_rt.errors import LogError
from fusion_rt.evaluation.home_recordings import activities, falls, rooms
from fusion_rt.evaluation.home_recordings.figures import Figure, Row, Table, f1
from fusion_rt.heads.activity import ActivityHead
from fusion_rt.heads.fall import FallHead
from fusion_rt.heads.room import RoomHead
from fusion_rt.models.head import Head
from fusion_rt.train.datasets import radhar, trained_on, uci_occupancy, uci_rooms, umafall
from fusion_rt.train.datasets.heads import activity_package, fall_package, room_head, tables_in
from fusion_rt.train.datasets.labels import read_labels
from fusion_rt.train.datasets.radhar import RadarRecording
from fusion_rt.train.datasets.room_heads import OFFICE, ROOM, RoomRecipe
from fusion_rt.train.datasets.tables import HomeTable, days
from fusion_rt.train.datasets.umafall import WornRecording

Advance = Callable[[float, float], None]
SEEN = " (learned from)"
RADAR_FOLDS = 6
NO_TRAINING = "the recordings that the head learned from are not there: no simple methods; see --training"


class Options(Struct, frozen=True, kw_only=True):
    """data      folder with the folders of the data sets
    training  such a folder with the recordings that simple methods and folds learn from
    folds     whether to train anew for cross-validation; baselines: whether to run simple methods
    head      a package in place of the bundled one; runtime: what runs it
    """

    data: Path
    training: Path
    folds: bool
    baselines: bool
    head: str | None = None
    runtime: str = "openvino"

    def load(self, head: str | Path) -> Head:
        return Head.load(head, runtime=self.runtime)


class RoomSet(Struct, frozen=True, kw_only=True):
    """A data set of household readings. inputs: name -> kinds that are left out."""

    title: str
    folder: str
    pattern: str
    read: Callable[[Path], HomeTable]
    zone: tzinfo
    recipe: RoomRecipe
    inputs: dict[str, frozenset[str]]


def _without(kinds: Sequence[str], names: dict[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    """all; without each; each alone."""
    return {
        "all": frozenset(),
        **{f"without {name}": frozenset(of) for name, of in names.items()},
        **{f"{name} alone": frozenset(kinds) - frozenset(of) for name, of in names.items()},
    }


OFFICE_SET = RoomSet(
    title="Office occupancy (UCI Occupancy Detection)",
    folder=uci_occupancy.FOLDER,
    pattern="*.txt",
    read=uci_occupancy.read,
    zone=uci_occupancy.ZONE,
    recipe=OFFICE,
    inputs=_without(
        tuple(OFFICE.kinds),
        {
            "light": ("illuminance",),
            "CO2": ("co2",),
            "temperature": ("temperature",),
            "humidity": ("humidity", "humidity_ratio"),
        },
    ),
)
ROOM_SET = RoomSet(
    title="People in a room (UCI Room Occupancy Estimation)",
    folder=uci_rooms.FOLDER,
    pattern="*.csv",
    read=uci_rooms.read,
    zone=uci_rooms.ZONE,
    recipe=ROOM,
    inputs=_without(
        tuple(ROOM.kinds),
        {
            "motion": ("motion",),
            "light": ("illuminance",),
            "sound": ("sound_level",),
            "CO2": ("co2",),
            "temperature": ("temperature",),
        },
    ),
)


def room_table(of: RoomSet, options: Options, advance: Advance) -> Table:
    """Raises LogError where there is no file of the data set."""
    head = options.load(options.head or of.recipe.name)
    counts = of.recipe.largest > 1
    tables = {path: of.read(path) for path in tables_in(options.data / of.folder, of.pattern)}
    known = trained_on.read(options.head or of.recipe.name)
    seen = {path: trained_on.digest(path) in known for path in tables}
    rows, notes = [], _room_notes(counts)
    jobs = [
        (path, name)
        for path in tables
        for name in of.inputs
        if not seen[path] or name in ("all", "without light")
    ]
    live = RoomHead(head)
    for done, (path, name) in enumerate(jobs, 1):
        answers = rooms.stream(live, tables[path], of.inputs[name])
        figures = rooms.figures([answers], counts=counts) | _worst_day([answers], of.zone)
        rows.append(
            Row(
                method=of.recipe.name,
                inputs=name,
                judged=path.stem + (SEEN if seen[path] else ""),
                seen=seen[path],
                figures=figures,
            )
        )
        advance(done, len(jobs))
    training = [
        of.read(path)
        for path in sorted((options.training / of.folder).glob(of.pattern))
        if trained_on.digest(path) in known
    ]
    fresh = {path.stem: [tables[path]] for path in tables if not seen[path]}
    if (options.baselines or options.folds) and not training:
        notes.append(NO_TRAINING)
    elif options.baselines and fresh:
        rows += rooms.simple_rows(training, fresh, of.inputs, counts=counts, advance=advance)
    if options.folds and training:
        rows += _day_folds(of, training, options, advance)
    return Table(
        title=of.title,
        licence=of.recipe.licence,
        heads=(head.identity,),
        rows=tuple(rows),
        notes=tuple(notes),
        files=tuple(line for table in tables.values() for line in _noted(table.name, table.notes)),
    )


def _room_notes(counts: bool) -> list[str]:
    notes = [
        "accuracy and F1: is somebody there, of all rows whose truth is known.",
        "flips: how often the answer changed; true flips: the truth.",
        "worst day: F1 of the worst day that somebody was there.",
        "[ ]: the middle 95 % over blocks of 3 hours drawn again with replacement.",
    ]
    return [*notes, "exact, within 1: the number of people."] if counts else notes


def _worst_day(answers: Sequence[rooms.Answers], zone: tzinfo) -> dict[str, Figure]:
    scores = []
    for one in answers:
        dates = np.array([datetime.fromtimestamp(s / 1e9, zone).toordinal() for s in one.stamp_ns])
        for date in np.unique(dates):
            people, truth = one.people[dates == date] > 0, one.truth[dates == date] > 0
            if truth.any():
                scores.append(f1(people, truth))
    found = [s for s in scores if s is not None]
    return {"worst day": Figure(min(found) if found else None)}


def _day_folds(of: RoomSet, training: Sequence[HomeTable], options: Options, advance: Advance) -> list[Row]:
    """Each day judged by what learned from all others, from an empty past."""
    counts = of.recipe.largest > 1
    names = [name for name in of.inputs if not name.endswith(" alone")]
    answers: dict[tuple[str, str], list[rooms.Answers]] = {}
    parts = [(table, day) for table in training for day in days(table, of.zone)]
    for done, (table, day) in enumerate(parts, 1):
        rest = [other for other in training if other is not table] + _around(table, day)
        with tempfile.TemporaryDirectory() as folder:
            room_head(rest, of.recipe, Path(folder))
            live = RoomHead(options.load(folder))
            for name in names:
                one = rooms.stream(live, day, of.inputs[name])
                answers.setdefault((of.recipe.name, name), []).append(one)
        if options.baselines:
            for row_name, said in _simple_days(rest, day, of.inputs, names).items():
                answers.setdefault(row_name, []).append(said)
        advance(done, len(parts))
    return [
        Row(
            method=method,
            inputs=name,
            judged="each day held apart",
            seen=False,
            figures=rooms.figures(found, counts=counts) | _worst_day(found, of.zone),
        )
        for (method, name), found in answers.items()
    ]


def _around(table: HomeTable, day: HomeTable) -> list[HomeTable]:
    """The rows before and after a day."""
    first, last = np.searchsorted(table.stamp_ns, (day.stamp_ns[0], day.stamp_ns[-1] + 1))
    spans = ((0, int(first)), (int(last), len(table.truth)))
    return [table.rows(a, b, table.name) for a, b in spans if b > a]


def _simple_days(
    rest: Sequence[HomeTable], day: HomeTable, inputs: dict[str, frozenset[str]], names: Sequence[str]
) -> dict[tuple[str, str], rooms.Answers]:
    return {
        (method, name): rooms.simple(method, rest, day, inputs[name])
        for method in rooms.METHODS
        for name in names
    }


def radar_table(options: Options, advance: Advance) -> Table:
    """Raises LogError where there is no recording."""
    name = options.head or "radar-activity"
    head = options.load(name)
    known = trained_on.read(name)
    recordings, seen = _recordings(options.data, radhar.FOLDER, radhar.LABELS, radhar.read_folder, known)
    usable = [i for i, r in enumerate(recordings) if r.activity in radhar.ACTIVITIES]
    groups = _groups([recordings[i] for i in usable], [seen[i] for i in usable])
    live = ActivityHead(head, every=activities.EVERY)
    rows = []
    jobs = [(which, inputs) for which in groups for inputs in activities.INPUTS]
    for done, (which, inputs) in enumerate(jobs, 1):
        windows = [activities.stream(live, r, inputs) for r in groups[which]]
        rows.append(
            Row(
                method="radar-activity",
                inputs=inputs,
                judged=which,
                seen=which.endswith(SEEN),
                figures=activities.figures(windows),
            )
        )
        advance(done, len(jobs))
    training = _training(options, radhar.FOLDER, radhar.LABELS, radhar.read_folder, known)
    fresh = {which: some for which, some in groups.items() if not which.endswith(SEEN)}
    notes = [
        "accuracy: of windows of 60 frames (2 s), one every 15 frames; recordings: what most of a recording's"
        " windows say; then the recall of each activity.",
        "[ ]: the middle 95 % over recordings drawn again with replacement.",
    ]
    if (options.baselines or options.folds) and not training:
        notes.append(NO_TRAINING)
    elif options.baselines and fresh:
        rows += activities.simple_rows(training, fresh)
    if options.folds and training:
        rows += _radar_folds(training, options, advance)
    files = [line for r in recordings for line in _noted(r.name, r.notes)]
    files += [
        f"{r.name}: activity {r.activity!r} is none of {', '.join(radhar.ACTIVITIES)} (not judged)"
        for i, r in enumerate(recordings)
        if i not in usable
    ]
    return Table(
        title="Activities before a radar (RadHAR)",
        licence=radhar.LICENCE,
        heads=(head.identity,),
        rows=tuple(rows),
        notes=tuple(notes),
        files=tuple(files),
    )


def _radar_folds(training: Sequence[RadarRecording], options: Options, advance: Advance) -> list[Row]:
    """Recordings of each activity dealt into six parts; each part judged by what learned from the others."""
    known = sorted(
        (r for r in training if r.activity in radhar.ACTIVITIES), key=lambda r: (r.activity, r.name)
    )
    order = {
        id(r): i
        for activity in radhar.ACTIVITIES
        for i, r in enumerate(x for x in known if x.activity == activity)
    }
    found: dict[tuple[str, str], list[activities.Windows]] = {}
    for fold in range(RADAR_FOLDS):
        held = [r for r in known if order[id(r)] % RADAR_FOLDS == fold]
        rest = [r for r in known if order[id(r)] % RADAR_FOLDS != fold]
        with tempfile.TemporaryDirectory() as folder:
            activity_package(rest, Path(folder))
            live = ActivityHead(options.load(folder), every=activities.EVERY)
            for inputs in activities.INPUTS:
                found.setdefault(("radar-activity", inputs), []).extend(
                    activities.stream(live, r, inputs) for r in held
                )
        if options.baselines:
            for method, windows in activities.simple_answers(rest, held).items():
                found.setdefault((method, activities.INPUTS[0]), []).extend(windows)
        advance(fold + 1, RADAR_FOLDS)
    return [
        Row(method=m, inputs=i, judged="recordings held apart", seen=False, figures=activities.figures(w))
        for (m, i), w in found.items()
    ]


def fall_table(options: Options, advance: Advance) -> Table:
    """Raises LogError where there is no recording."""
    name = options.head or "fall"
    head = options.load(name)
    known = trained_on.read(name)
    recordings, seen = _recordings(options.data, umafall.FOLDER, umafall.LABELS, umafall.read_folder, known)
    groups = _groups(recordings, seen)
    live = FallHead(head=head)
    rows = []
    jobs = [(which, inputs) for which in groups for inputs in falls.INPUTS]
    for done, (which, inputs) in enumerate(jobs, 1):
        alarms = [falls.stream(live, r, inputs) for r in groups[which]]
        rows.append(
            Row(
                method="fall",
                inputs=inputs,
                judged=which,
                seen=which.endswith(SEEN),
                figures=falls.figures(alarms),
            )
        )
        advance(done, len(jobs))
    training = _training(options, umafall.FOLDER, umafall.LABELS, umafall.read_folder, known)
    fresh = {which: some for which, some in groups.items() if not which.endswith(SEEN)}
    notes = [
        "found: alarm from 0.5 s before the impact on, once a fall; [ ] Wilson's interval.",
        "a day: false alarms in 24 hours of such movements, which no day consists of; [ ] the exact Poisson"
        " interval, for no alarm its one-sided bound: minutes of recordings cannot show one a day.",
    ]
    if (options.baselines or options.folds) and not training:
        notes.append(NO_TRAINING)
    elif options.baselines and fresh:
        rows += falls.simple_rows(training, fresh)
    if options.folds and training:
        rows += _subject_folds(training, options, advance)
    return Table(
        title="Falls of worn sensors (UMAFall)",
        licence=umafall.LICENCE,
        heads=(head.identity,),
        rows=tuple(rows),
        notes=tuple(notes),
        files=tuple(line for r in recordings for line in _noted(r.name, r.notes)),
    )


def _subject_folds(training: Sequence[WornRecording], options: Options, advance: Advance) -> list[Row]:
    """Each subject judged by what learned from the others."""
    subjects = sorted({r.subject for r in training})
    if len(subjects) < 2:
        raise LogError(f"{options.training}: one subject; --folds needs two")
    found: dict[tuple[str, str], list[falls.Alarms]] = {}
    for done, subject in enumerate(subjects, 1):
        held = [r for r in training if r.subject == subject]
        rest = [r for r in training if r.subject != subject]
        with tempfile.TemporaryDirectory() as folder:
            fall_package(rest, Path(folder))
            live = FallHead(head=options.load(folder))
            for inputs in falls.INPUTS:
                found.setdefault(("fall", inputs), []).extend(falls.stream(live, r, inputs) for r in held)
        if options.baselines:
            for method, alarms in falls.simple_alarms(rest, held).items():
                found.setdefault((method, "all"), []).extend(alarms)
        advance(done, len(subjects))
    return [
        Row(method=m, inputs=i, judged="subjects held apart", seen=False, figures=falls.figures(a))
        for (m, i), a in found.items()
    ]


def _recordings(
    data: Path, folder: str, labels: Sequence[str], read: Callable[[Path], list[Any]], known: frozenset[str]
) -> tuple[list[Any], list[bool]]:
    recordings = read(data / folder)
    files = [row["file"] for row in read_labels(data / folder, labels)]
    return recordings, [trained_on.digest(data / folder / file) in known for file in files]


def _training(
    options: Options,
    folder: str,
    labels: Sequence[str],
    read: Callable[[Path], list[Any]],
    known: frozenset[str],
) -> list[Any]:
    if not (options.training / folder).is_dir():
        return []
    recordings, seen = _recordings(options.training, folder, labels, read, known)
    return [r for r, s in zip(recordings, seen) if s]


def _groups(recordings: Sequence[Any], seen: Sequence[bool]) -> dict[str, list[Any]]:
    groups = {
        "others": [r for r, s in zip(recordings, seen) if not s],
        "recordings" + SEEN: [r for r, s in zip(recordings, seen) if s],
    }
    return {which: some for which, some in groups.items() if some}


def _noted(name: str, notes: dict[str, int]) -> Iterator[str]:
    for what, count in notes.items():
        yield f"{name}: {count} {what}"
