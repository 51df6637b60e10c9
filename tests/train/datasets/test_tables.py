from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from fusion_rt.errors import LogError
from fusion_rt.train.datasets import uci_occupancy, uci_rooms
from fusion_rt.train.datasets.tables import days

OCCUPANCY = '"date","Temperature","Humidity","Light","CO2","HumidityRatio","Occupancy"'
ROOMS = (
    "Date,Time,S1_Temp,S2_Temp,S3_Temp,S4_Temp,S1_Light,S2_Light,S3_Light,S4_Light,"
    "S1_Sound,S2_Sound,S3_Sound,S4_Sound,S5_CO2,S5_CO2_Slope,S6_PIR,S7_PIR,Room_Occupancy_Count"
)


def office_row(number, time, light="426", occupied="1"):
    return f'"{number}","2015-02-04 {time}",23.18,27.272,{light},721.25,0.00479,{occupied}'


def room_row(time, sound="0.5", count="1", date="2017/12/22"):
    return f"{date},{time},24.94,24.75,24.56,25.38,121,34,53,40,{sound},0.19,0.06,0.06,390,0.77,0,1,{count}"


def test_occupancy(write):
    path = write(
        "datatest.txt", OCCUPANCY, [office_row(1, "23:59:00"), office_row(2, "23:59:59", occupied="0")]
    )
    table = uci_occupancy.read(path)
    local = datetime(2015, 2, 4, 23, 59, tzinfo=ZoneInfo("Europe/Brussels"))
    assert table.stamp_ns.tolist() == [
        int(local.timestamp()) * 10**9,
        int(local.timestamp()) * 10**9 + 59 * 10**9,
    ]
    assert table.truth.tolist() == [1, 0]
    assert table.notes == {}
    packets = list(table.packets(0))
    assert {(p.kind, p.value, p.unit) for p in packets} == {
        ("illuminance", 426.0, "lx"),
        ("co2", 721.25, "ppm"),
        ("temperature", 23.18, "°C"),
        ("humidity", 27.272, "%"),
        ("humidity_ratio", 0.00479, "kg/kg"),
    }


def test_rooms(write):
    path = write(
        "other.csv",
        ROOMS,
        [room_row("10:49:41", sound="1.0"), room_row("0:50:12", date="2017-12-23", count="3")],
    )
    table = uci_rooms.read(path)
    kinds = [column.kind for column in table.columns]
    assert table.values[0, kinds.index("sound_level")] == pytest.approx(64.0)  # 1 V
    assert kinds.count("motion") == 2
    assert table.truth.tolist() == [1, 3]
    assert [day.name for day in days(table, uci_rooms.ZONE)] == ["2017-12-22", "2017-12-23"]


def test_what_is_wrong_in_a_table_is_counted(write):
    rows = [
        office_row(1, "10:01:00"),
        office_row(2, "10:00:00", light=""),
        office_row(3, "10:02:00", light="nan"),
        office_row(4, "10:03:00", light="bright"),
        office_row(5, "10:03:00", occupied="7"),
    ]
    table = uci_occupancy.read(write("day.txt", OCCUPANCY, rows))
    assert (np.diff(table.stamp_ns) > 0).all()
    assert np.isnan(table.values[:, 0]).tolist() == [True, False, True, False]
    assert table.truth.tolist() == [1, 1, 1, -1]
    assert table.notes == {
        "empty cells": 1,
        "cells that are not finite": 1,
        "cells that are no number": 1,
        "rows without a usable truth (not judged)": 1,
        "rows that were not in time order (sorted)": 1,
        "rows with the stamp of another (left out)": 1,
    }


@pytest.mark.parametrize(
    ("header", "rows", "said"),
    [
        (
            OCCUPANCY.replace("CO2", "Carbon"),
            [office_row(1, "10:00:00")],
            "columns are .*Carbon.*; expected date",
        ),
        (OCCUPANCY, [office_row(1, "10:00:00") + ",9"], "row 2 has 9 values, expected 8"),
        (OCCUPANCY, [], "no rows below the header"),
        (OCCUPANCY, [office_row(1, "25:00:00")], "row 2: .* is no time"),
    ],
)
def test_a_wrong_table_is_refused(write, header, rows, said):
    with pytest.raises(LogError, match=said):
        uci_occupancy.read(write("day.txt", header, rows))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(LogError, match="cannot be read"):
        uci_rooms.read(tmp_path / "none.csv")
