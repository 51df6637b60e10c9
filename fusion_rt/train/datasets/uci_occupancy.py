"""UCI "Occupancy Detection": an office room, one row a minute (Candanedo and Feldheim, Energy and Buildings
112, 2016; CC BY 4.0).

Local time of Belgium; the first value of a row is its number, which the header does not name.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from zoneinfo import ZoneInfo

from fusion_rt.train.datasets.tables import (
    Column,
    HomeTable,
    in_time_order,
    label,
    number,
    read_rows,
    stamp_ns,
)

ZONE = ZoneInfo("Europe/Brussels")
HEADER = ("date", "Temperature", "Humidity", "Light", "CO2", "HumidityRatio", "Occupancy")
COLUMNS = (
    Column("Light", "office_light", "illuminance"),
    Column("CO2", "office_co2", "co2"),
    Column("Temperature", "office_climate", "temperature"),
    Column("Humidity", "office_climate", "humidity"),
    Column("HumidityRatio", "office_climate", "humidity_ratio"),
)
FOLDER = "uci_occupancy"
TRAINING = "datatraining.txt"
LICENCE = (
    "UCI Occupancy Detection (Candanedo and Feldheim, Energy and Buildings 112, 2016), CC BY 4.0:"
    " name the authors"
)


def read(path: Path) -> HomeTable:
    """datatraining.txt, datatest.txt, datatest2.txt, or a file like them. Raises LogError."""
    notes: Counter[str] = Counter()
    rows = read_rows(path, HEADER, unnamed_first=True)
    at = [HEADER.index(column.name) for column in COLUMNS]
    return in_time_order(
        path.stem,
        COLUMNS,
        [stamp_ns(row[0], ZONE, path, i) for i, row in enumerate(rows, 2)],
        [[number(row[a], notes) for a in at] for row in rows],
        [label(row[-1], 1, notes) for row in rows],
        notes,
    )
