"""Any set of modalities into one answer: what a modality has to bring, and the pipeline that uses them."""

from fusion_rt.context.modality import Encoder, encoders, register
from fusion_rt.context.pipeline import ContextPipeline

__all__ = ["ContextPipeline", "Encoder", "encoders", "register"]
