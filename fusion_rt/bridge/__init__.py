"""Topics of one host's bus on another's, in both directions: nodes there need not know."""

from fusion_rt.bridge.config import BridgeConfig, Peer, Serve
from fusion_rt.bridge.fetching import Fetching
from fusion_rt.bridge.serving import Serving

__all__ = ["BridgeConfig", "Fetching", "Peer", "Serve", "Serving"]
