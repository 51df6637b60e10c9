"""What images and points are between hosts: smaller, with a stated error."""

from fusion_rt.payloads.coding import Decoder, Encoder, pack, unpack
from fusion_rt.payloads.settings import H264, Jpeg, Payload, Points, Raw

__all__ = ["H264", "Decoder", "Encoder", "Jpeg", "Payload", "Points", "Raw", "pack", "unpack"]
