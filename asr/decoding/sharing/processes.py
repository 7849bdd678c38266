"""The processes that a launcher has started, where they form no process group."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from asr.utils.devices import has_gpu
from asr.utils.launcher import cores_of_this_process, ranks_announced


@dataclass(frozen=True)
class Processes:
    """This process among those that work together."""

    rank: int
    world: int
    device: torch.device

    @classmethod
    def here(cls) -> Processes:
        """As torchrun says in the environment. No process group is formed, since nobody waits for anybody."""
        rank, world = int(os.environ.get("RANK", "0")), ranks_announced(they_meet=False)
        if has_gpu():
            local = int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
            return cls(rank, world, torch.device("cuda", local))
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(cores_of_this_process())
        return cls(rank, world, torch.device("cpu"))
