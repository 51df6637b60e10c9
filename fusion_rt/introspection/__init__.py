"""Who says what to whom in a running scenario, without any of them noticing."""

from fusion_rt.introspection.describe import as_json, as_line
from fusion_rt.introspection.graph import Edge, dot, draw, edges, text
from fusion_rt.introspection.observer import Observer, Reading, TopicView, nearest

__all__ = [
    "Edge",
    "Observer",
    "Reading",
    "TopicView",
    "as_json",
    "as_line",
    "dot",
    "draw",
    "edges",
    "nearest",
    "text",
]
