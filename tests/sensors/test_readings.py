import json
import math
from datetime import datetime, timezone
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fusion_rt import logs
from fusion_rt.cli import app
from fusion_rt.errors import ConfigError, LogError
from fusion_rt.plan import Plan
from fusion_rt.sensors.readings import Column, ReadingsFile

FLAT = Path(__file__).parents[2] / "configs" / "home" / "flat.yaml"
HISTORY = """entity_id,state,last_changed
sensor.bedroom_air_co2,612.0,2026-01-02T03:04:05.000Z
sensor.bedroom_air_co2,unavailable,2026-01-02T03:06:05.000Z
sensor.bedroom_air_co2,12,2026-01-02T03:07:05.000Z
binary_sensor.front_door,on,2026-01-02T03:05:05.250Z
sensor.weather,cloudy,2026-01-02T03:05:05.250Z
sensor.bedroom_air_co2,700,yesterday
"""


@pytest.fixture
def plan():
    return Plan.load(FLAT)


def utc(*when):
    return round(datetime(*when, tzinfo=timezone.utc).timestamp() * 1e9)


def test_home_assistants_history_becomes_a_log(tmp_path):
    source, out = tmp_path / "history.csv", tmp_path / "home.mcap"
    source.write_text(HISTORY)
    command = ["import", "readings", str(source), "--plan", str(FLAT), "-o", str(out), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["logs"][0]["packets"] == 3
    assert [line.partition(": ")[2] for line in result["errors"]] == [
        "sensor.bedroom_air_co2: 1 left out: co2 cannot be so (range)",
        "sensor.weather: 1 left out: not a sensor of the plan",
        "sensor.bedroom_air_co2: 1 left out: no time that can be read",
    ]
    with logs.open(out) as log:
        got = list(log)
    assert [p.header.sensor_id for p in got] == ["bedroom_air_co2", "front_door", "bedroom_air_co2"]
    assert got[0].header.stamp_ns == utc(2026, 1, 2, 3, 4, 5)
    assert got[1].header.stamp_ns == utc(2026, 1, 2, 3, 5, 5) + 250_000_000
    assert (got[1].kind, got[1].value) == ("contact", 1.0)
    assert math.isnan(got[2].value)
    assert [p.header.seq for p in got] == [0, 0, 1]


def test_a_column_a_sensor_in_other_units(tmp_path, plan):
    path = tmp_path / "wide.csv"
    path.write_text(
        "date,Temperature,CO2,living_light\n2015-02-02 14:19:00,72.5,749.2,585\n2015-02-02 14:20:00,,750,\n"
    )
    columns = {
        "Temperature": Column(sensor="bedroom_air_temperature", unit="°F"),
        "CO2": Column(sensor="bedroom_air_co2"),
    }
    got = list(ReadingsFile(path, plan, columns=columns, timezone="Europe/Brussels"))
    assert got[0].header.stamp_ns == utc(2015, 2, 2, 13, 19)
    values = {r.header.sensor_id: r.value for r in got[:3]}
    assert values == pytest.approx(
        {"bedroom_air_temperature": 22.5, "bedroom_air_co2": 749.2, "living_light": 585.0}
    )
    assert sum(math.isnan(r.value) for r in got) == 2  # empty cells: not available


def test_the_hour_that_comes_twice(tmp_path, plan):
    """Summer time ended in Brussels on 2015-10-25: 02:30 was at 00:30 and at 01:30 UTC."""
    path = tmp_path / "autumn.csv"
    rows = ["2015-10-25 02:30:00", "2015-10-25 02:50:00", "2015-10-25 02:10:00", "2015-10-25 03:10:00"]
    path.write_text("time,bedroom_air_co2\n" + "".join(f"{row},{600 + i}\n" for i, row in enumerate(rows)))
    got = list(ReadingsFile(path, plan, timezone="Europe/Brussels"))
    assert [r.value for r in got] == [600, 601, 602, 603]
    hours = [(r.header.stamp_ns - utc(2015, 10, 25)) / 3.6e12 for r in got]
    assert hours == pytest.approx([0.5, 0.5 + 1 / 3, 1 + 1 / 6, 2 + 1 / 6])


def test_json_lines(tmp_path, plan):
    path = tmp_path / "readings.jsonl"
    lines = [
        {"time": 1_700_000_001, "sensor": "tv_power", "value": 0.1, "unit": "kW"},
        {"time": 1_700_000_000_500, "tv_power": 90, "front_door": "open"},
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"half\n\n[1]\n')
    file = ReadingsFile(path, plan)
    assert [(r.header.sensor_id, r.value) for r in file] == [
        ("tv_power", 90),
        ("front_door", 1),
        ("tv_power", 100),
    ]
    assert file.errors == [
        f"{path}: a line that is no JSON object: 1 left out: the first is line {n}" for n in (3, 5)
    ]


def test_what_is_no_table_of_readings(tmp_path, plan):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(LogError, match=r"no column of times; expected one of stamp, .*found a, b"):
        ReadingsFile(path, plan)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LogError, match="cannot be read"):
        ReadingsFile(path, plan)
    with pytest.raises(ConfigError, match="no sensor 'attic'"):
        ReadingsFile(path, plan, columns={"x": Column(sensor="attic")})
    with pytest.raises(ConfigError, match="Europe/Bruxelles"):
        ReadingsFile(path, plan, timezone="Europe/Bruxelles")


def test_a_real_table(shared_data, plan):
    """UCI room estimation, December 2017: a date and a time column, a row every 30 s, a few empty cells."""
    path = shared_data / "home" / "uci_room_estimation" / "occupancy_estimation_2017-12.csv"
    columns = {"S5_CO2": Column(sensor="bedroom_air_co2"), "S6_PIR": Column(sensor="hall_pir")}
    file = ReadingsFile(path, plan, columns=columns)
    rows = len(path.read_text().splitlines()) - 1
    got = list(file)
    assert len(got) == 2 * rows
    assert got[0].header.stamp_ns == utc(2017, 12, 22, 10, 49, 41)
    assert {r.value for r in got if r.kind == "motion" and not math.isnan(r.value)} == {0.0, 1.0}
    co2 = [r.value for r in got if r.kind == "co2"]
    assert 390 in co2
    assert "S1_Temp: " in "".join(file.errors)
