"""One process or, under torchrun, several: who this one is, where it computes, and who tells of mistakes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import distributed as dist

from cse_autoloss.errors import AutoLossError, ConfigError


class Place(NamedTuple):
    """A process among others.

    Attributes:
        rank, world: which of how many.
        device: where it computes.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes and prints."""
        return self.rank == 0


def my_place(device: str) -> Place:
    """From the environment that torchrun sets; `device` is "auto", "cpu" or "cuda".

    Raises:
        ConfigError: no such device here.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    kind = device
    if device == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind not in ("cpu", "cuda"):
        raise ConfigError(f"device: expected auto, cpu or cuda, got {device!r}")
    if kind == "cpu":
        return Place(rank, world, torch.device("cpu"))
    local, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= count:
        here = f"{count} GPUs, too few for a process each" if count else "no GPU that this torch can use"
        raise ConfigError(f"device: cuda: this machine has {here}")
    return Place(rank, world, torch.device("cuda", local))


@contextmanager
def together(place: Place) -> Iterator[None]:
    """Inside, the processes can talk; alone, nothing is set up."""
    if place.world == 1:
        yield
        return
    if place.device.type == "cuda":
        torch.cuda.set_device(place.device)
    dist.init_process_group("nccl" if place.device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def first_tells() -> Iterator[None]:
    """Around what all processes do alike: the first one of a machine tells of a mistake, the others end quietly."""
    try:
        yield
    except AutoLossError:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            raise
        raise SystemExit(2) from None
