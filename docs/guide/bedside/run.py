"""A bedside monitor: train a network over three modalities, send their packets over the bus, print what it
says.

python docs/guide/bedside/run.py              # about a minute
python docs/guide/bedside/run.py --without note
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import ward
from modalities import BedEncoder, NoteEncoder, VitalsEncoder

from fusion_rt.bus import Bus, BusConfig
from fusion_rt.context import ContextPipeline, encoders
from fusion_rt.models.head import Head
from fusion_rt.train.context import ContextNet, export, train

NAMES = (BedEncoder.name, VitalsEncoder.name, NoteEncoder.name)


def samples(count: int, seed: int):
    """features, present (N, M), answers (N, Q) of moments, by the same encoders that run live."""
    rng = np.random.default_rng(seed)
    features = {e.name: np.empty((count, *e.shape), np.float32) for e in encoders(*NAMES)}
    answers = np.empty((count, len(ward.QUESTIONS)), np.int64)
    for i in range(count):
        now = ward.moment(rng)
        for packet in ward.packets(now, rng):
            encoder = next(e for e in encoders(*NAMES) if type(packet) is e.packet)
            features[encoder.name][i] = encoder.features(packet)
        answers[i] = [ward.ALARMS.index(now.alarm), ward.BEDS.index(now.bed)]
    return features, np.ones((count, len(NAMES)), np.float32), answers


def accuracy(net: ContextNet, count: int, seed: int) -> dict[str, dict[str, float]]:
    """Which modalities -> question -> share of right answers, on moments of another seed."""
    import torch

    features, present, answers = samples(count, seed)
    tensors = {name: torch.from_numpy(array) for name, array in features.items()}
    table = {}
    for without in ("", *NAMES):
        mask = present * np.array([name != without for name in NAMES], np.float32)
        with torch.inference_mode():
            parts = net.split(net(tensors, torch.from_numpy(mask))[1])
        right = [float((p.argmax(1).numpy() == answers[:, q]).mean()) for q, p in enumerate(parts)]
        table[f"without {without}" if without else "all"] = dict(zip(ward.QUESTIONS, right))
    return table


def stream(bus_config: BusConfig, moments: list[ward.Moment], without: str) -> None:
    """The sensors: a moment every 0.1 s, as if it were one a second."""
    rng = np.random.default_rng(7)
    with Bus(bus_config) as bus:
        topics = {name: bus.publisher(name) for name in NAMES if name != without}
        for publisher in topics.values():
            publisher.wait_for_subscribers(1, 10.0)
        begin_ns = time.time_ns()
        for i, now in enumerate(moments):
            for packet in ward.packets(now, rng, stamp_ns=begin_ns + i * 10**9, seq=i):
                if packet.header.sensor_id in topics:
                    topics[packet.header.sensor_id].send(packet)
                bus.wait(0.03)


def main() -> None:
    """Train, judge, export, stream."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--seconds", type=float, default=60.0, help="of training, at most")
    options.add_argument("--steps", type=int, default=1500, help="of training, at most")
    options.add_argument("--samples", type=int, default=4000, help="moments to learn from")
    options.add_argument("--answers", type=int, default=12, help="moments that are streamed")
    options.add_argument("--without", choices=NAMES, default="", help="a sensor that is not there")
    given = options.parse_args()

    known = encoders(*NAMES)
    net = ContextNet(known, ward.QUESTIONS)
    loss = train(net, *samples(given.samples, 1), seconds=given.seconds, steps=given.steps)
    print(f"trained: loss {loss:.3f}, {sum(p.numel() for p in net.parameters())} weights")
    for modalities, right in accuracy(net, 600, 2).items():
        print(f"{modalities:16}", "  ".join(f"{q} {share:6.1%}" for q, share in right.items()))

    with tempfile.TemporaryDirectory(prefix="bedside-") as folder:
        words = {"name": "bedside", "version": "1", "trained_with": "docs/guide/bedside/run.py"}
        export(net, Path(folder) / "head", licence="synthetic, none", **words)
        pipeline = ContextPipeline(Head.load(Path(folder) / "head"), known, trigger="vitals")
        rng = np.random.default_rng(3)
        moments = [ward.moment(rng) for _ in range(given.answers)]
        bus_config = BusConfig(run_dir=str(Path(folder) / "run"))
        with Bus(bus_config) as bus, bus.subscriber(NAMES, keep_all=True) as inputs:
            ward_thread = threading.Thread(target=stream, args=(bus_config, moments, given.without))
            ward_thread.start()
            right = told = 0
            while ward_thread.is_alive() or told == 0:
                packet = inputs.recv(0.5)
                answer = None if packet is None else pipeline.push(packet)
                if answer is None:
                    continue
                now, alarm = moments[packet.header.seq], answer.best("alarm")
                told += 1
                right += alarm == now.alarm
                shares = ", ".join(f"{name} {share:.0%}" for name, share in answer.why.shares.items())
                missing = f"  without {', '.join(answer.why.missing)}" if answer.why.missing else ""
                print(
                    f"{now.bed:7} {now.pulse:7} {now.note:9} -> {alarm:6}"
                    f" {answer.probabilities['alarm'][alarm]:4.0%}  ({shares}){missing}"
                )
            ward_thread.join()
        print(f"{right} of {told} alarms right")


if __name__ == "__main__":
    main()
