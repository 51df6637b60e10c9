"""Several processes that train one network together, as torchrun starts them: what they tell each other.

Gradients are averaged in one message after the backward pass, not by torch's DistributedDataParallel: which
layers a batch uses depends on the sensors its samples have, and the losses call parts of the network
themselves. The network is small: the message takes less time than the step it ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, distributed, nn

from fusion_rt.errors import ConfigError


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together. Every method must be called by all of them alike."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this one speaks and writes for all."""
        return self.rank == 0

    def gathered(self, value: float) -> list[float]:
        """The value of each rank."""
        if self.world == 1:
            return [value]
        mine = torch.tensor([value], dtype=torch.float64, device=self.device)
        values = [torch.empty_like(mine) for _ in range(self.world)]
        distributed.all_gather(values, mine)
        return [float(v) for v in values]

    def most(self, count: int) -> int:
        """The largest count of any rank."""
        return int(max(self.gathered(count)))

    def leaders(self, value: float) -> float:
        """The value of the rank that leads."""
        return self.gathered(value)[0]

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sets each gradient to the mean of all ranks. A rank whose batch did not use a parameter counts as
        zero; one that no rank used stays without a gradient, so that the optimiser leaves it alone."""
        if self.world == 1:
            return
        wanted = [p for p in parameters if p.requires_grad]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in wanted]
        used = torch.tensor([float(p.grad is not None) for p in wanted], device=self.device)
        *means, used = self._mean([*grads, used])
        for p, mean, share in zip(wanted, means, used.tolist()):
            p.grad = mean if share > 0 else None

    @torch.no_grad()
    def average_statistics(self, model: nn.Module) -> None:
        """Sets the running statistics of batch normalisation to the mean of all ranks."""
        if self.world == 1:
            return
        buffers = list(model.buffers())  # counts of batches too
        for mine, mean in zip(buffers, self._mean([b.float() for b in buffers])):
            mine.copy_(mean)

    def _mean(self, tensors: list[Tensor]) -> list[Tensor]:
        """Of all ranks, in one message; the same bits on each."""
        flat = torch.cat([t.detach().reshape(-1) for t in tensors])
        distributed.all_reduce(flat)
        flat /= self.world
        return [piece.view(t.shape) for t, piece in zip(tensors, flat.split([t.numel() for t in tensors]))]


@contextmanager
def joined(device: str = "cpu") -> Iterator[Ranks]:
    """Joins the processes that torchrun started, for as long as the outermost of these contexts; without
    torchrun, one process by itself.

    device: "cpu"; "cuda": on each machine the first rank has the first GPU, and so on; "auto": that where
    there is one. Raises ConfigError where there is no GPU for this rank."""
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    place = _place(device, int(os.environ.get("LOCAL_RANK", 0)))
    outermost = world > 1 and not distributed.is_initialized()
    if outermost:
        # Its functions take the group of that moment for default arguments; torch imports it on the way, and
        # a group held there outlives its end: gloo's threads then meet an interpreter that shuts down.
        from torch.distributed.nn import functional  # noqa: F401

        distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Ranks(rank, world, place)
    finally:
        if outermost:
            distributed.destroy_process_group()


def _place(device: str, local_rank: int) -> torch.device:
    gpus = torch.cuda.device_count()
    if device == "cpu" or (device == "auto" and not gpus):
        return torch.device("cpu")
    if local_rank >= gpus:
        raise ConfigError(
            f"device {device!r}: no GPU for local rank {local_rank}, torch sees {gpus} here; start fewer"
            " processes, install a torch that was built for CUDA, or give --device cpu"
        )
    place = torch.device("cuda", local_rank)
    torch.cuda.set_device(place)
    return place
