"""Which worker gets which GPU: each in turn, several workers on one where there are more workers than GPUs.

A worker of the pool sees its own GPU alone, by CUDA_VISIBLE_DEVICES, which is in its environment before torch is
imported: to a training that GPU is "cuda". On a cluster Ray does the same by the part of a GPU that an actor asks for.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cse_autoloss.errors import ConfigError

if TYPE_CHECKING:  # workers start without it
    from cse_autoloss.settings.schema import RaySettings

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
MEMORY_OF_WORKER: Final = 2 << 30
"""Bytes of a GPU for each of the workers that share it, where nobody says how many: CUDA itself takes about a quarter
of that. A guess, not a measurement."""


@dataclass(frozen=True)
class Devices:
    """What an executor's workers train on.

    Attributes:
        cuda: whether on GPUs.
        gpus: those of this machine, as CUDA_VISIBLE_DEVICES names them.
        per_device: workers on one GPU at most; None is one on a cluster, or as many as are asked for.
        ray: the cluster, and what each worker needs of it; None for the defaults.
    """

    cuda: bool = False
    gpus: tuple[str, ...] = ()
    per_device: int | None = None
    ray: RaySettings | None = None

    def count(self, workers: int | None, cores: int, gpus: int) -> int:
        """How many workers there are.

        Args:
            workers: asked for; None for one a core, and no more than the GPUs have places for.
            cores: that may be used.
            gpus: that may be used.

        Raises:
            ConfigError: more are asked for than the GPUs have places for.
        """
        places = gpus * (self.per_device or 1) if self.cuda else cores
        if workers is None:
            return max(min(cores, places), 1)
        if self.cuda and self.per_device and workers > places:
            raise ConfigError(
                f"workers: expected at most {places}, for {gpus} GPUs with {self.per_device} workers each "
                f"(per_device), got {workers}"
            )
        return workers

    def environments(self, workers: int) -> list[dict[str, str]]:
        """What is added to the environment of each worker: its GPU, in turn."""
        gpus = self.gpus if self.cuda else ()
        return [{VISIBLE: gpus[number % len(gpus)]} if gpus else {} for number in range(workers)]

    def share(self, workers: int, gpus: int) -> float:
        """Part of a GPU that each of Ray's actors asks for."""
        if not self.cuda:
            return 0.0
        if self.ray and self.ray.num_gpus is not None:
            return self.ray.num_gpus
        return 1.0 / (self.per_device or max(math.ceil(workers / max(gpus, 1)), 1))


def local_devices(per_device: int | None) -> Devices:
    """This machine's GPUs, with as many workers each as their memory allows where nobody says how many."""
    import torch

    count = torch.cuda.device_count()
    least = min((torch.cuda.get_device_properties(gpu).total_memory for gpu in range(count)), default=0)
    return Devices(True, gpu_names(count), per_device or max(least // MEMORY_OF_WORKER, 1))


def gpu_names(count: int, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Names of the `count` GPUs that torch sees: those that CUDA_VISIBLE_DEVICES holds, else 0, 1, …"""
    told = [name.strip() for name in environment.get(VISIBLE, "").split(",") if name.strip()]
    return tuple((told or [str(number) for number in range(count)])[:count])
