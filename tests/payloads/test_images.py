import cv2
import msgspec
import numpy as np
import pytest

from fusion_rt import payloads
from fusion_rt.errors import MessageError
from fusion_rt.images import decode_image
from fusion_rt.messages import Header, Image, ImuSample

av = pytest.importorskip("av", reason="PyAV is not installed (extra hosts)")


def picture(seq, *, height=117, width=201, encoding="bgr8"):
    """A scene that moves, of odd size."""
    y, x = np.mgrid[:height, :width]
    planes = [128 + 90 * np.sin((x + 3 * seq) / 17 + k) * np.cos(y / 23) for k in range(3)]
    data = np.stack(planes, axis=-1).astype(np.uint8)
    if encoding == "mono8":
        data = np.ascontiguousarray(data[:, :, 0])
    if encoding == "jpeg":
        data = cv2.imencode(".jpg", data)[1].reshape(-1)
    header = Header(sensor_id="cam", frame_id="cam", seq=seq, stamp_ns=seq)
    return Image(header=header, height=height, width=width, encoding=encoding, data=data)


def psnr(one, other):
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))


def wired(message):
    return payloads.unpack(*payloads.pack(message))


@pytest.mark.parametrize("encoding", ["bgr8", "rgb8", "mono8"])
@pytest.mark.parametrize("payload", [payloads.Jpeg(quality=90), payloads.H264(crf=18)], ids=["jpeg", "h264"])
def test_images_come_back(payload, encoding):
    encoder, decoder = payloads.Encoder(payload, 1), payloads.Decoder()
    for seq in range(5):
        image = picture(seq, encoding=encoding)
        got = decoder.decode(wired(encoder.encode(image)))  # one out for each one in
        assert (got.header.seq, got.height, got.width) == (seq, image.height, image.width)
        pixels = decode_image(got)
        if encoding == "rgb8" and got.encoding == "jpeg":
            pixels = pixels[:, :, ::-1]
        assert psnr(pixels, decode_image(image)) > 33


@pytest.mark.parametrize("encoding", ["bgr8", "rgb8", "mono8"])
def test_video_keeps_the_brightness(encoding):
    """Neither darker nor of another tint, over the whole range."""
    ramp = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    data = ramp if encoding == "mono8" else np.stack([ramp, ramp, ramp], axis=-1)
    header = Header(sensor_id="cam", frame_id="cam", seq=0, stamp_ns=0)
    image = Image(header=header, height=64, width=256, encoding=encoding, data=data)
    got = payloads.Decoder().decode(payloads.Encoder(payloads.H264(crf=1), 1).encode(image))
    error = got.data.astype(int) - data
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.3
    assert np.abs(error).max() <= 3


def test_a_cameras_jpeg_goes_as_it_came():
    image = picture(0, encoding="jpeg")
    assert payloads.Encoder(payloads.Jpeg(quality=1), 0).encode(image) is image
    coded = payloads.Encoder(payloads.H264(), 0).encode(image)  # h264 needs the pixels
    assert coded.encoding == "bgr8"


def test_other_messages_go_as_they_are():
    imu = ImuSample(header=picture(0).header, specific_force=(0, 0, 9.81), angular_rate=(0, 0, 0))
    for payload in (payloads.Raw(), payloads.Jpeg(), payloads.H264(), payloads.Points()):
        assert payloads.Encoder(payload, 0).encode(imu) is imu
    assert payloads.Decoder().decode(wired(imu)) == imu


def test_one_who_joins_waits_for_a_key_frame():
    encoder, late = payloads.Encoder(payloads.H264(key_every=1000), 1), payloads.Decoder()
    frames = [encoder.encode(picture(seq), key=seq == 7) for seq in range(10)]
    assert [frame.key for frame in frames] == [seq in (0, 7) for seq in range(10)]
    assert [late.decode(frame) is not None for frame in frames[3:]] == [False] * 4 + [True] * 3
    assert late.waited == 4
    assert not late.wants_key


def test_one_who_loses_a_frame_shows_nothing_wrong():
    encoder, decoder = payloads.Encoder(payloads.H264(key_every=6), 1), payloads.Decoder()
    seen = []
    for seq in range(18):
        coded = encoder.encode(picture(seq))
        if seq != 8 and (image := decoder.decode(coded)) is not None:
            assert psnr(image.data, picture(seq).data) > 28
            seen.append(image.header.seq)
    assert seen == [*range(8), *range(12, 18)]
    assert decoder.waited == 3


def test_a_new_encoder_or_size_begins_anew():
    decoder = payloads.Decoder()
    one, two = (payloads.Encoder(payloads.H264(), stream) for stream in (1, 2))
    assert decoder.decode(one.encode(picture(0))) is not None
    two.encode(picture(0))
    assert decoder.decode(two.encode(picture(1))) is None  # number 1 of another stream
    wide = one.encode(picture(2, width=320))
    assert wide.key
    assert decoder.decode(wide).width == 320


def test_a_bound_on_the_rate():
    rng = np.random.default_rng(0)
    noise = [
        msgspec.structs.replace(picture(seq), data=rng.integers(0, 255, (117, 201, 3), np.uint8))
        for seq in range(60)
    ]
    free, bounded = (
        sum(len(encoder.encode(image).data) for image in noise)
        for encoder in (
            payloads.Encoder(payloads.H264(), 0),
            payloads.Encoder(payloads.H264(max_mbit_s=1.0), 0),
        )
    )
    assert bounded < free / 2
    assert bounded * 8 < 2 * 1e6 * 2  # two seconds at 30 a second, and what the buffer allows


def test_hostile_frames():
    coded = payloads.Encoder(payloads.H264(), 1).encode(picture(0))
    for wrong in (
        {"data": np.zeros(100, np.uint8)},
        {"data": np.zeros(0, np.uint8)},
        {"data": coded.data[: len(coded.data) // 50]},
        {"width": 8000},
    ):
        decoder = payloads.Decoder()
        with pytest.raises(MessageError):
            decoder.decode(msgspec.structs.replace(coded, **wrong))
        assert decoder.wants_key
