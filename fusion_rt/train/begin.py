"""The weights of another training, for a network as wide, wider or narrower."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

# Along these dimensions the channels of several sources lie side by side: another width moves all but the
# first of them.
_SIDE_BY_SIDE = {
    "net.bev.film.2.weight": 0,
    "net.bev.film.2.bias": 0,
    "net.bev.lidar.0.0.weight": 1,
    "net.refine.layers.0.weight": 1,
}


def begun(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of a network's own tensors that take what is given under their names.

    A narrower network takes the first channels. In a wider one the given channels answer as they did: they do
    not listen to the new ones yet, which begin as they were initialised (as Net2Net, Chen, Goodfellow and
    Shlens 2016, but with new channels where theirs are copies)."""
    fitted = {name: _fitted(name, value, given[name]) for name, value in own.items() if name in given}
    return {name: value for name, value in fitted.items() if value is not None}


def _fitted(name: str, own: Tensor, given: Tensor) -> Tensor | None:
    shape, theirs = own.shape, given.shape
    if len(shape) != len(theirs) or shape[2:] != theirs[2:]:
        return None
    side_by_side = _SIDE_BY_SIDE.get(name)
    if side_by_side is not None and shape[side_by_side] != theirs[side_by_side]:
        return None
    out = own.clone()
    if out.ndim > 1:
        out[: theirs[0], theirs[1] :] = 0
    first = tuple(slice(min(a, b)) for a, b in zip(shape, theirs))
    out[first] = given[first].to(out)
    return out
