"""fusion_rt: streaming, real-time multi-sensor fusion."""

__version__ = "0.1.0"
