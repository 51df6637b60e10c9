"""`python -m fusion_rt.train --frames DIR --out DIR --minutes 60`: train, or go on with it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fusion_rt.errors import FusionError
from fusion_rt.train.loop import TrainConfig, train


def main() -> int:
    parser = argparse.ArgumentParser(description="Train a driving network on simulated frames.")
    parser.add_argument(
        "--frames", type=Path, required=True, help="folder of .npz scenes; may grow meanwhile"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for last.pt; resumed where it exists")
    parser.add_argument("--preset", default="driving-s")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--minutes", type=float)
    budget.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    try:
        train(TrainConfig(**vars(args)), say=lambda line: print(line, flush=True))
    except FusionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
