import io

from msgspec.structs import replace
from rich.console import Console

from fusion_rt.bus.clocks import Clock
from fusion_rt.live_table import LiveTable, render, render_summary
from fusion_rt.metrics.latency import Percentiles
from fusion_rt.monitor import Latest, TopicSummary
from fusion_rt.supervisor import NodeStatus, Status, Summary

NODE = NodeStatus(state="running", pid=1, restarts=2, exit_code=None, rss_mb=123.4, cpu_s=5.0, detail={})
TOPIC = TopicSummary(published=100, rate_hz=10.0, received=97, lost=2, dropped=1, age_ms=0.3, age_max_ms=4.5)
LATENCY = Percentiles(count=9, p50=8.25, p90=9.0, p99=12.5, max=20.0)
LATEST = Latest(rung="all", objects={"car": 3}, stage_ms={"align": 0.1, "bev": 6.0}, latency_ms=8.0)


def printed(content, width=110):
    out = io.StringIO()
    Console(file=out, width=width).print(content)
    return out.getvalue()


def status(latest=LATEST):
    return Status(
        elapsed_s=10.0,
        nodes={"fusion": NODE},
        topics={"lidar": TOPIC},
        predictions=9,
        latest=latest,
        recent_ms=LATENCY,
    )


def test_the_live_table_says_what_matters():
    text = printed(render(status()))
    for word in ("fusion", "running", "50 %", "123 MB", "lidar", "10.0 Hz", "97", "dropped 1 lost 2"):
        assert word in text
    for word in ("p50 8.2 ms, p99 12.5 ms", "bev 6.0", "3 car", "rung all"):
        assert word in text
    assert "no prediction yet" in printed(render(status(latest=None)))


def test_topics_of_commands_are_shown_once_there_were_some():
    silent, one = replace(TOPIC, published=0, received=0), replace(TOPIC, published=1, received=1)
    topics = {"tell.replay": silent, "keys.replay": one, "radar": silent}
    text = printed(render(replace(status(), topics=topics)))
    assert "tell.replay" not in text
    assert "keys.replay" in text
    assert "radar" in text  # a sensor that says nothing is worth a line


def test_the_summary_says_what_happened():
    summary = Summary(
        duration_s=10.0,
        first_prediction_s=1.5,
        predictions=9,
        latency_ms=LATENCY,
        rest_ms=LATENCY,
        stages_ms={},
        deadlines_missed=0,
        objects_mean={"car": 2.5},
        rungs={"all": 9},
        missing=3,
        topics={"lidar": TOPIC},
        nodes={"fusion": NODE},
    )
    text = printed(render_summary(summary))
    for word in ("9 predictions (9 all), the first after 1.5 s", "max 20.0 ms", "2.5 car", "arrive: 3"):
        assert word in text


def test_without_a_terminal_it_prints_lines():
    out = io.StringIO()
    with LiveTable(Console(file=out, width=80)) as table:
        table(status())
        table(status())
        table.say("fusion", "[a] line")
    assert out.getvalue().splitlines() == [
        "10 s: 9 predictions, p50 8.2 ms, p99 12.5 ms, 3 car",
        "fusion: [a] line",
    ]


def test_clocks_of_other_hosts_are_shown():
    clock = Clock(
        at_ns=0, offset_ns=5, drift_ppm=-3.21, uncertainty_s=2.5e-4, round_trip_s=4e-4, wall_s=-0.0123
    )
    text = printed(render(replace(status(), clocks={"car": clock})), width=140)
    assert "clock of car: ± 0.250 ms, drifts -3.21 ppm, round trip 0.400 ms" in text
    assert "its UNIX time is ours -12.300 ms" in text
