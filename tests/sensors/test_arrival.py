import numpy as np

from fusion_rt.sensors.arrival import FrameClock, sent_s


def test_what_the_host_delayed_is_taken_back():
    """20 Hz by a quartz that is 50 ppm off, delays of an exponential law, as USB and the kernel give them."""
    rng = np.random.default_rng(3)
    true = np.arange(2000) * 0.05 * (1 + 50e-6)
    arrivals = np.maximum.accumulate(true + 0.002 + rng.exponential(0.01, len(true)))
    clock = FrameClock()
    stamps = np.array([clock.stamp_ns(i, round(a * 1e9)) / 1e9 for i, a in enumerate(arrivals)])
    late = slice(300, None)
    assert (stamps <= arrivals + 1e-9).all()
    assert np.std((stamps - true)[late]) < 0.2 * np.std((arrivals - true)[late])
    assert abs(np.median((stamps - true)[late]) - 0.002) < 0.003
    assert clock.restarts == 0


def test_a_device_that_starts_again_and_one_that_is_no_clock():
    clock = FrameClock()
    for number in [*range(50), *range(50)]:
        assert clock.stamp_ns(number, 10**9 * number) <= 10**9 * number
    assert clock.restarts == 1
    clock = FrameClock()
    for i in range(100):  # pauses of many seconds between bursts
        arrival = (i // 10) * 10**10 + i * 10**6
        assert clock.stamp_ns(i, arrival) <= arrival
    assert clock.restarts > 0


def test_without_a_number_it_is_the_arrival():
    assert FrameClock().stamp_ns(None, 5) == 5


def test_bytes_take_their_time():
    assert sent_s(30, 256_000) == 300 / 256_000
