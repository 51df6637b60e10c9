"""Which stamps are believed."""

from fusion_rt.ego.chronology import Chronology

MS = 1_000_000


def verdicts(*stamps_ms, vouched=False):
    clock = Chronology(min_step_ns=MS, max_step_ns=500 * MS)
    return [clock.judge(round(stamp * MS), vouched=vouched) for stamp in stamps_ms]


def test_regular_stamps_are_used():
    assert verdicts(0, 10, 20, 520) == ["", "", "", ""]


def test_one_bad_stamp_is_refused_by_its_cause():
    assert verdicts(0, 10, 10, 20) == ["", "", "duplicate", ""]
    assert verdicts(0, 10, 10.5, 20) == ["", "", "too_fast", ""]
    assert verdicts(0, 10, 5, 20) == ["", "", "out_of_order", ""]
    assert verdicts(0, 10, 9000, 20) == ["", "", "future", ""]


def test_scattered_wild_stamps_are_never_followed():
    wild = [(k + 1) * 60_000 * (-1) ** k for k in range(20)]
    assert set(verdicts(0, *wild)[1:]) == {"future", "out_of_order"}


def test_a_clock_that_jumped_is_followed_from_the_fifth_stamp_on():
    for offset, cause in ((90_000, "future"), (-90_000, "out_of_order")):
        there = [offset + 10 * k for k in range(7)]
        assert verdicts(0, 10, *there) == ["", "", *[cause] * 4, "jump", "", ""]


def test_a_stamp_of_the_old_time_breaks_the_agreement():
    assert verdicts(0, 9000, 9010, 9020, 9030, 10, 9040)[-2:] == ["", "future"]


def test_a_vouched_gap_is_a_gap():
    assert verdicts(0, 10, 60_000, vouched=True) == ["", "", ""]
    assert verdicts(0, 10, 5, vouched=True)[-1] == "out_of_order"
