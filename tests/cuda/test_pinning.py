"""Messages of the bus go to the card from where their writer put them."""

import ctypes
import gc

import numpy as np
import pytest

from fusion_rt.bus.lease import Segment
from fusion_rt.bus.ring import Ring
from fusion_rt.device.cuda import CudaDevice

SIZE = 1 << 18


@pytest.fixture
def fresh(stub, cubin_cache):
    made = CudaDevice(1, cache=cubin_cache)
    yield made
    made.close()


@pytest.fixture
def message():
    """An array in a segment that a writer and a reader of ours share."""
    ring = Ring(SIZE, 3)
    slot = ring.take()
    written = np.ctypeslib.as_array((ctypes.c_uint8 * SIZE).from_address(ring.address(slot)))
    written[:] = np.arange(SIZE) % 251
    generation = ring.commit(slot)
    segment = Segment(ring.name)
    lease = segment.lease(slot, generation)
    yield np.frombuffer(lease.memory(), np.uint8)[:SIZE], written
    ring.close()


def test_a_message_is_read_in_place(stub, fresh, message):
    array, written = message
    buffer = fresh.empty((SIZE // 4,), np.float32)
    staged = stub.calls("cuMemHostAlloc")
    fresh.upload(array.view(np.float32), buffer)
    expected = written.copy()
    written[:] = 0  # at once: the writer may have it back
    np.testing.assert_array_equal(fresh.fetch(buffer).view(np.uint8), expected)
    assert stub.registered() == 1
    assert stub.calls("cuMemHostAlloc") - staged == 1  # the download's
    fresh.upload(array[: SIZE // 2].view(np.float32), buffer[: SIZE // 8])
    assert stub.calls("cuMemHostRegister_v2") == 1, "a segment is pinned once"


def test_a_closed_device_pins_nothing(stub, fresh, message):
    fresh.upload(message[0], fresh.empty((SIZE,), np.uint8))
    assert stub.registered() == 1
    fresh.close()
    assert stub.registered() == 0


def test_a_segment_that_goes_is_unpinned(stub, fresh):
    ring = Ring(SIZE, 2)
    slot = ring.take()
    segment = Segment(ring.name)
    array = np.frombuffer(segment.lease(slot, ring.commit(slot)).memory(), np.uint8)[:SIZE]
    fresh.upload(array, fresh.empty((SIZE,), np.uint8))
    assert stub.registered() == 1
    del array, segment
    gc.collect()
    assert stub.registered() == 0
    ring.close()


def test_where_pinning_is_not_allowed_it_is_staged(stub, fresh, message):
    stub.no_register()
    array, written = message
    buffer = fresh.empty((SIZE,), np.uint8)
    for _ in range(2):
        fresh.upload(array, buffer)
    np.testing.assert_array_equal(fresh.fetch(buffer), written)
    assert stub.calls("cuMemHostRegister_v2") == 1, "asked once"
    assert stub.registered() == 0
