"""The cells of an audit, run as processes, so many at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import yaml

from asr.config.schema import Config
from asr.errors import UserError
from asr.planning.audit.metrics import Cell
from asr.planning.audit.plan import BURN_IN, AuditPlan, cell_config
from asr.utils.devices import has_gpu
from asr.utils.faults import first_line
from asr.utils.locks import LOCK, holder, is_held, locked
from asr.utils.processes import environment, python
from asr.utils.signals import end_with_parent
from asr.utils.yaml_text import parse_yaml

_BYTES_PER_CELL = 2 << 30
_POLL_SECONDS = 0.5


@contextmanager
def alone(plan: AuditPlan) -> Iterator[None]:
    """The audit's folder to ourselves. Raises UserError where another audit is writing there."""
    busy = UserError(
        f"{plan.output}: another audit is running there",
        "wait for it, stop it, or choose another --output",
    )
    plan.output.mkdir(parents=True, exist_ok=True)
    with locked(plan.output / LOCK, busy, signed=True):
        yield


def run_missing(
    plan: AuditPlan, cells: Sequence[Cell], jobs: int, say: Callable[[str], None]
) -> dict[Cell, str]:
    """Run the cells that are not finished, `jobs` at a time; the last line of output of those that failed."""
    if not cells:
        return {}
    todo = [cell for cell in cells if not _is_finished(plan.folder(cell), cell_config(plan, cell))]
    what = (
        f"burn-ins of {plan.burn_in_hours:g}"
        if cells[0].rule == BURN_IN
        else f"cells of {plan.hours:g}"
    )
    say(
        f"asr audit: {len(cells)} {what} h of audio, {len(cells) - len(todo)} finished "
        f"before; {min(jobs, len(todo))} at a time; {plan.output}"
    )
    return _Runner(plan, jobs, say).run(todo)


def _is_finished(folder: Path, config: Config) -> bool:
    """Whether a cell has run to its end. Raises UserError if it was run, or begun, with other settings."""
    path = folder / "config.yaml"
    if not path.is_file():
        return False
    # As written: what another version did not know would be read as what is the default now.
    try:
        before = dict(parse_yaml(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise UserError(
            f"{path}: damaged ({first_line(error)})", f"delete {folder}: its cell is run again"
        ) from None
    wanted = config.model_dump(mode="json")
    if before != wanted:
        changed = [name for name, value in wanted.items() if value != before.get(name)]
        raise UserError(
            f"{folder}: was run with other settings ({', '.join(changed)}), or by another version",
            "undo the change, or choose another --output",
        )
    return (folder / "complete.json").is_file()


def room() -> int:
    """Cells that this machine holds at a time: one a GPU, or one a core within its memory."""
    import psutil

    if has_gpu():
        import torch

        return torch.cuda.device_count()
    memory = int(psutil.virtual_memory().available // _BYTES_PER_CELL)
    return max(1, min(len(os.sched_getaffinity(0)), memory))


class _Runner:
    """Runs cells as processes, so many at a time."""

    def __init__(self, plan: AuditPlan, jobs: int, say: Callable[[str], None]) -> None:
        self.plan, self.jobs, self.say = plan, jobs, say
        self.running: dict[Cell, tuple[subprocess.Popen[bytes], int, float]] = {}
        self.failed: dict[Cell, str] = {}
        self.done = 0
        self.waited_for: set[Cell] = set()

    def run(self, cells: Sequence[Cell]) -> dict[Cell, str]:
        """Run all; the last line of those that failed. A signal stops the cells, which save."""
        waiting = list(cells)
        try:
            while waiting or self.running:
                for cell in [cell for cell in waiting if not self._is_run_elsewhere(cell)]:
                    if len(self.running) < self.jobs:
                        waiting.remove(cell)
                        self._start(cell)
                time.sleep(_POLL_SECONDS)
                for cell in [c for c, (p, *_) in self.running.items() if p.poll() is not None]:
                    self._finish(cell, len(cells))
        except KeyboardInterrupt:
            for process, *_ in self.running.values():
                process.send_signal(signal.SIGTERM)
            for process, *_ in self.running.values():
                process.wait()
            raise
        return self.failed

    def _is_run_elsewhere(self, cell: Cell) -> bool:
        """By an audit that was killed, whose cells had no time to save and stop: they are waited for."""
        lock = self.plan.folder(cell) / LOCK
        if not lock.exists() or not is_held(lock):
            return False
        if cell not in self.waited_for:
            self.waited_for.add(cell)
            self.say(f"{cell.name}: still run by a process ({holder(lock)}); it is waited for")
        return True

    def _start(self, cell: Cell) -> None:
        folder = self.plan.folder(cell)
        folder.mkdir(parents=True, exist_ok=True)
        overrides = self.plan.cell_overrides(cell)
        slots = {slot for _, slot, _ in self.running.values()}
        slot = next(n for n in range(self.jobs) if n not in slots)
        variables = {**os.environ, **environment(), **_share_of_machine(slot, self.jobs)}
        with (folder / "audit.log").open("ab") as log:
            process = subprocess.Popen(
                [*python(), "-m", "asr", "train", self.plan.recipe, *overrides],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=variables,
                start_new_session=True,  # a Ctrl-C is ours to pass on
                # Where this process is killed nobody waits for its cells: they save and stop.
                preexec_fn=partial(end_with_parent, signal.SIGTERM),
            )
        self.running[cell] = (process, slot, time.monotonic())

    def _finish(self, cell: Cell, total: int) -> None:
        process, _, started = self.running.pop(cell)
        folder = self.plan.folder(cell)
        self.done += 1
        if process.returncode == 0 and (folder / "complete.json").is_file():
            outcome = f"done in {(time.monotonic() - started) / 60:.1f} min"
        else:
            lines = (folder / "audit.log").read_text(encoding="utf-8", errors="replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "no output")
            self.failed[cell] = last.strip()
            outcome = f"failed: {last.strip()}"
        self.say(f"[{self.done}/{total}] {cell.name}: {outcome}")


def _share_of_machine(slot: int, jobs: int) -> dict[str, str]:
    """One thread a cell where cells share cores; one GPU each where there are GPUs."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = visible.split(",") if visible else [str(n) for n in range(jobs)]
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    return {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        "CUDA_VISIBLE_DEVICES": devices[slot % len(devices)],
    }
