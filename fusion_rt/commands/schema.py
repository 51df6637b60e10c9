"""fusion-rt schema"""

from __future__ import annotations

import msgspec

from fusion_rt.commands.common import print_json


def schema() -> None:
    """Print the JSON schema of a prediction, as `replay --fast --out` writes one a line."""
    from fusion_rt.messages import Prediction

    print_json(msgspec.json.schema(Prediction))
