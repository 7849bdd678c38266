"""The process group: one process without a launcher, or a rank of `deepspeed` or `torchrun`."""

from __future__ import annotations

import atexit
import logging
import os
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed

from asr.distributed.meeting import meet, part
from asr.errors import UserError
from asr.utils.devices import has_gpu, sent
from asr.utils.launcher import cores_of_this_process, ranks_announced

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among its peers."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum(self, values: list[float]) -> list[float]:
        """Element-wise sum over the ranks, in fp64. A collective."""
        if self.world == 1:
            return values
        total = sent(torch.tensor(values, dtype=torch.float64), self.device)
        torch.distributed.all_reduce(total)
        return [float(value) for value in total.tolist()]

    def add_up(self, tensor: torch.Tensor) -> None:
        """Put the sum over the ranks in a tensor's place. A collective."""
        if self.world > 1:
            torch.distributed.all_reduce(tensor)

    def gather(self, items: list[T]) -> list[T]:
        """The items of all ranks, in the order of the ranks. A collective."""
        gathered: list[list[T]] = [items] * self.world
        if self.world > 1:
            torch.distributed.all_gather_object(gathered, items)
        return [item for part in gathered for item in part]

    def collect(self, item: T) -> list[T]:
        """On the first rank the items of all, in the order of the ranks; nothing on others. A collective."""
        if self.world == 1:
            return [item]
        found: list[T] = [item] * self.world if self.is_first else []
        torch.distributed.gather_object(item, found if self.is_first else None)
        return found

    def barrier(self) -> None:
        if self.world > 1:
            torch.distributed.barrier()


def join(matmul_precision: str) -> Ranks:
    """Join the process group that the launcher announces, or form one of a single process.

    It stays until the process leaves it: DeepSpeed would not find its way in another one.
    """
    cuda = has_gpu()
    os.environ.setdefault("LOCAL_RANK", "0")
    # By itself DeepSpeed would take a GPU that is to be left alone.
    os.environ["DS_ACCELERATOR"] = "cuda" if cuda else "cpu"
    device = _own_gpu(int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if cuda:
        if not {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & os.environ.keys():
            # Hardly two micro-batches are alike: segments of fixed sizes leave more and more unused.
            os.environ["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"
        torch.cuda.set_device(device)
        # cuDNN's attention plans for half a second at each new shape, and hardly two micro-batches are alike.
        torch.backends.cuda.enable_cudnn_sdp(False)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(cores_of_this_process())
    torch.set_float32_matmul_precision(matmul_precision)
    if not torch.distributed.is_initialized():
        atexit.register(leave)
        backend = "nccl" if cuda else "gloo"
        if ranks_announced() > 1 or "RANK" in os.environ:
            meet(backend)
        else:
            store = torch.distributed.HashStore()  # type: ignore[attr-defined]
            torch.distributed.init_process_group(backend, store=store, rank=0, world_size=1)
    _quiet_deepspeed()
    return Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size(), device)


def _own_gpu(local_rank: int) -> torch.device:
    """Raises UserError where a launcher has started more ranks here than there are GPUs."""
    gpus = torch.cuda.device_count()
    if local_rank >= gpus:
        # What torchrun and deepspeed call it.
        said = os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE", "1")
        ranks = max(int(said), local_rank + 1)
        error = UserError(
            f"{ranks} ranks were started on this machine, which shows {gpus} GPU{'s' * (gpus != 1)} to them",
            f"start as many as there are (torchrun --nproc-per-node {gpus}, deepspeed --num_gpus {gpus}): more "
            "ranks change no result; or compute on the CPU (--device cpu)",
        )
        error.is_said_elsewhere = local_rank > gpus
        raise error
    return torch.device("cuda", local_rank)


def _quiet_deepspeed() -> None:
    import deepspeed
    from deepspeed.utils import logger

    logger.setLevel(logging.WARNING)
    # DeepSpeed would compile this op at its first run. It speeds up inference collectives on CPUs
    # only; without it a machine needs no compiler.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def leave() -> None:
    """Leave the process group; where this rank has failed it is left as it is, since peers may be gone."""
    if part() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
