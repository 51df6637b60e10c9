"""Logs as no writer makes them: cut, flipped, overwritten, shuffled, with lengths that are absurd. Whatever
it is: an error of ours, or what is missing is said; never anything else, and no memory that the file does not
explain.

FUSION_RT_FUZZ_EXAMPLES=2000 pytest tests/logs/test_fuzz.py    goes on for longer."""

import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusion_rt import logs
from fusion_rt.errors import LogError
from fusion_rt.logs import LogWriter, mcap_writer
from fusion_rt.logs.checking import check
from fusion_rt.logs.losses import Loss
from fusion_rt.logs.repairing import repair
from fusion_rt.messages import Header, ImuSample, PointCloud, pack
from fusion_rt.rig import Imu, Lidar, Pose, Rig

RIG = Rig(lidars={"lidar": Lidar(pose=Pose())}, imus={"imu": Imu()})
EXAMPLES = int(os.environ.get("FUSION_RT_FUZZ_EXAMPLES", 40))
MEMORY = 32 << 20  # a hundred times the file

place = st.floats(0, 1)
changes = st.one_of(
    st.tuples(st.just("cut"), place),
    st.tuples(st.just("flip"), place, st.integers(0, 7)),
    st.tuples(st.just("write"), place, st.binary(min_size=1, max_size=16)),
    st.tuples(st.just("length"), place, st.sampled_from([0, 1, 1 << 31, 1 << 32, 1 << 62, (1 << 64) - 1])),
    st.tuples(st.just("remove"), place, st.integers(1, 5000)),
    st.tuples(st.just("repeat"), place, st.integers(1, 5000)),
    st.tuples(st.just("swap"), place, place),
)


def change(data, what):
    """One change; lengths are put where a record has its own, after an opcode."""
    kind, at, *how = what
    i = int(at * max(len(data) - 1, 0))
    if kind == "cut":
        return data[:i]
    if kind == "flip" and data:
        data[i] ^= 1 << how[0]
    elif kind == "write":
        data[i : i + len(how[0])] = how[0]
    elif kind == "length":
        heads = [
            j
            for j in range(i, min(i + 4000, len(data) - 9))
            if 0 < data[j] < 16 and data[j + 5 : j + 9] == bytes(4)
        ]
        if heads:
            data[heads[0] + 1 : heads[0] + 9] = how[0].to_bytes(8, "little")
    elif kind == "remove":
        del data[i : i + how[0]]
    elif kind == "repeat":
        data[i:i] = data[i : i + how[0]]
    elif kind == "swap":
        j = int(how[0] * max(len(data) - 1, 0))
        data[i : i + 64], data[j : j + 64] = data[j : j + 64], data[i : i + 64]
    return data


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """compression -> a log of twenty chunks, and its packets by fingerprint."""
    folder, found = tmp_path_factory.mktemp("fuzz"), {}
    before, mcap_writer.CHUNK_BYTES = mcap_writer.CHUNK_BYTES, 2048
    try:
        for compression in mcap_writer.COMPRESSIONS:
            path = folder / f"{compression}.mcap"
            packets = [cloud(30 + i, i) if i % 2 else sample(i) for i in range(40)]
            with LogWriter(path, RIG, compression=compression) as log:
                for packet in packets:
                    log.write(packet)
                log.report([Loss(topic="/imu", cause="buffer", messages=1, first=41, last=41)])
                log.end_report()
            found[compression] = path.read_bytes(), {fingerprint(p) for p in packets}
    finally:
        mcap_writer.CHUNK_BYTES = before
    return lambda compression: found[compression]  # hypothesis prints arguments


def cloud(n, seq):
    rng = np.random.default_rng(seq)
    return PointCloud(
        header=Header(sensor_id="lidar", frame_id="lidar", seq=seq, stamp_ns=seq * 10),
        xyz=rng.normal(0, 20, (n, 3)).astype(np.float32),
        intensity=rng.random(n, dtype=np.float32),
        t=np.zeros(n, np.float32),
        ring=np.zeros(n, np.uint16),
    )


def sample(seq):
    header = Header(sensor_id="imu", frame_id="imu", seq=seq, stamp_ns=seq * 10)
    return ImuSample(header=header, specific_force=(0.0, 0.0, 9.81), angular_rate=(0.0, 0.0, 0.0))


def fingerprint(packet):
    header, arrays = pack(packet)
    return header, *(a.tobytes() for a in arrays)


@pytest.mark.parametrize("compression", mcap_writer.COMPRESSIONS)
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(what=st.lists(changes, min_size=1, max_size=4))
def test_whatever_happens_to_the_bytes(sound, tmp_path, compression, what):
    data, good = sound(compression)
    changed = bytearray(data)
    for one in what:
        changed = change(changed, one)
    path, out = tmp_path / "a.mcap", tmp_path / "b.mcap"
    path.write_bytes(changed)
    tracemalloc.start()
    try:
        found, said = read(path)
        checked = checks(path)
        repaired = repairs(path, out)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
        out.unlink(missing_ok=True)
    assert set(found) <= good
    if set(found) != good:
        assert not checked
        assert said.startswith(str(path))
    assert set(repaired) <= good
    assert set(found) <= set(repaired) or not repaired


def read(path):
    try:
        with logs.open(path) as log:
            found = [fingerprint(packet) for packet in log]
            return found, log.recovered or f"{path}: {dict(log.skipped)}"
    except LogError as error:
        return [], str(error)


def checks(path):
    try:
        return check(path).sound
    except LogError:
        return False


def repairs(path, out):
    try:
        repair(path, out)
    except LogError:
        assert not out.exists()
        return []
    with logs.open(out) as log:
        found = [fingerprint(packet) for packet in log]
        assert log.recovered == ""
    return found
