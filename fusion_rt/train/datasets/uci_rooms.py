"""UCI "Room Occupancy Estimation": one room with 0 to 3 people, a row every 30 s (Singh et al., 2018; CC BY
4.0).

Temperature, light and sound at four desks, CO2 and its slope, two motion sensors. The time zone is not said;
it is read as UTC, and nothing depends on it.
"""

from __future__ import annotations

import math
from collections import Counter
from datetime import timezone
from pathlib import Path

from fusion_rt.train.datasets.tables import (
    Column,
    HomeTable,
    in_time_order,
    label,
    number,
    read_rows,
    stamp_ns,
)

ZONE = timezone.utc
DESKS = ("S1", "S2", "S3", "S4")
HEADER = (
    *("Date", "Time"),
    *(f"{desk}_{what}" for what in ("Temp", "Light", "Sound") for desk in DESKS),
    *("S5_CO2", "S5_CO2_Slope", "S6_PIR", "S7_PIR", "Room_Occupancy_Count"),
)
COLUMNS = (
    *(Column(f"{desk}_Light", f"{desk.lower()}_light", "illuminance") for desk in DESKS),
    *(Column(f"{desk}_Sound", f"{desk.lower()}_sound", "sound_level") for desk in DESKS),
    *(Column(f"{desk}_Temp", f"{desk.lower()}_temperature", "temperature") for desk in DESKS),
    Column("S5_CO2", "s5_co2", "co2"),
    *(Column(f"{name}_PIR", f"{name.lower()}_motion", "motion") for name in ("S6", "S7")),
)
# The slope is a statistic of S5_CO2 which we take ourselves.
FOLDER = "uci_room_estimation"
LARGEST = 3
# The amplifier's output is read as a level: 1 V as 64 dB(A). Only its changes are used.
VOLT_DBA, QUIET_V = 64.0, 0.01
LICENCE = "UCI Room Occupancy Estimation (Singh et al., 2018), CC BY 4.0: name the authors"


def read(path: Path) -> HomeTable:
    """A CSV file with the columns of HEADER. Raises LogError."""
    notes: Counter[str] = Counter()
    rows = read_rows(path, HEADER, unnamed_first=False)
    at = [(HEADER.index(column.name), column.kind) for column in COLUMNS]
    return in_time_order(
        path.stem,
        COLUMNS,
        [stamp_ns(f"{row[0].replace('/', '-')} {row[1]}", ZONE, path, i) for i, row in enumerate(rows, 2)],
        [[_in_unit(number(row[a], notes), kind) for a, kind in at] for row in rows],
        [label(row[-1], LARGEST, notes) for row in rows],
        notes,
    )


def _in_unit(value: float, kind: str) -> float:
    if kind != "sound_level" or math.isnan(value):
        return value
    return VOLT_DBA + 20 * math.log10(max(value, QUIET_V))
