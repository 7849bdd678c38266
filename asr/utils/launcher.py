"""What a launcher says of this process in its environment; and where it was none, or only half of one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from asr.errors import UserError
from asr.utils.signals import Interrupted

_FIRST_ONE_SPEAKS_SECONDS = 10.0
_TORCHRUN = "start it with torchrun or deepspeed (torchrun --nproc-per-node 8 -m asr ...)"


def ranks_announced(they_meet: bool = True) -> int:
    """The number of ranks that a launcher has started; 1 without one. `they_meet`: so it must say where.

    Raises UserError where the environment contradicts itself, or where several processes were started that do
    not know of each other: each of them would train alone.
    """
    wanted = {name: os.environ[name] for name in ("RANK", "WORLD_SIZE") if name in os.environ}
    if len(wanted) == 1:
        [(name, value)] = wanted.items()
        other = "WORLD_SIZE" if name == "RANK" else "RANK"
        raise UserError(f"{name}={value} is in the environment, and {other} is not", _remedy(name))
    numbers = dict[str, int]()
    for name, value in wanted.items():
        if not value.isdecimal():
            raise UserError(f"{name}={value} in the environment is no number", _remedy(name))
        numbers[name] = int(value)
    if not numbers:
        _check_other_launchers()
        return 1
    rank, world = numbers["RANK"], numbers["WORLD_SIZE"]
    if rank >= world:
        raise UserError(
            f"RANK={rank} and WORLD_SIZE={world} in the environment: ranks count from 0 and are fewer",
            _remedy("RANK and WORLD_SIZE"),
        )
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing and they_meet:
        raise UserError(
            f"RANK={rank} is in the environment, and {' and '.join(missing)} is not",
            f"say where the ranks meet; or {_TORCHRUN}",
        )
    return world


@contextmanager
def said_once() -> Iterator[None]:
    """What all processes of a machine find, such as a misspelt name, its first one says.

    The others wait with it for the launcher to end them, and say it where that does not come.
    """
    try:
        yield
    except UserError as error:
        if os.environ.get("LOCAL_RANK", "0") != "0":
            try:
                time.sleep(_FIRST_ONE_SPEAKS_SECONDS)
            except Interrupted:
                error.is_said_elsewhere = True
        raise


def refuse_several(command: str, instead: str = "") -> None:
    """Raises UserError, said by one, where a launcher has started several of a command that is one process.

    `instead`: what one may do besides.
    """
    world = ranks_announced(they_meet=False)
    if world > 1:
        error = UserError(
            f"{world} processes of `{command}` were started, and each would do all of its work",
            f"start it without torchrun{instead}",
        )
        error.is_said_elsewhere = os.environ["RANK"] != "0"
        raise error


def _check_other_launchers() -> None:
    for name, launcher in (
        ("SLURM_STEP_NUM_TASKS", "srun"),
        ("OMPI_COMM_WORLD_SIZE", "mpirun"),
        ("PMI_SIZE", "mpiexec"),
    ):
        value = os.environ.get(name, "1")
        if value.isdecimal() and int(value) > 1:
            raise UserError(
                f"{launcher} has started {value} of this ({name}), and none knows of the others: each "
                "would train alone",
                f"let it start one a machine, and there {_TORCHRUN}; recipes/librispeech/slurm.sh does so",
            )


def _remedy(names: str) -> str:
    return f"{_TORCHRUN}, or for one process unset {names}"


def cores_of_this_process() -> int:
    """Its part of the machine's cores, where a launcher has started several processes here; at least one."""
    local_world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, len(os.sched_getaffinity(0)) // local_world)
