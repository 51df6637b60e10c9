from fusion_rt.home.clock import PacketClock

S = 1_000_000_000


def clock_at(now_s):
    clock = PacketClock(future_s=5.0)
    assert clock.judge("a", now_s * S) == "ok"
    return clock


def test_one_sensor_alone_does_not_move_time():
    clock = clock_at(100)
    assert [clock.judge("wrong", (1000 + i) * S) for i in range(20)] == ["future"] * 20
    assert clock.now_ns == 100 * S
    assert clock.judge("a", 101 * S) == "ok"


def test_two_sensors_that_agree_move_it_forward():
    clock = clock_at(100)
    judged = [clock.judge(name, 1000 * S) for name in "abc"]
    assert judged == ["future", "future", "jumped"]
    assert clock.now_ns == 1000 * S


def test_a_recording_that_begins_again_is_noticed():
    clock = clock_at(1000)
    assert [clock.judge(name, 10 * S) for name in "aba"] == ["past", "past", "restarted"]
    assert clock.now_ns == 10 * S


def test_claims_that_do_not_agree_are_not_believed():
    clock = clock_at(100)
    judged = [clock.judge(name, at * S) for name, at in (("a", 1000), ("b", 2000), ("c", 3000), ("a", 4000))]
    assert judged == ["future"] * 4


def test_late_packets_are_ok_and_do_not_turn_time_back():
    clock = clock_at(100)
    assert clock.judge("b", 90 * S) == "ok"
    assert clock.now_ns == 100 * S
