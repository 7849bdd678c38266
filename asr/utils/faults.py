"""What the machine did, in one line: faults that libraries raise as errors of their own."""

from __future__ import annotations

import errno
import re
import signal

from asr.errors import UserError

_LOST = re.compile(r"DataLoader worker \(pid\(?s?\)? ?([\d, ]+)\)")

_TOO_MANY = "Too many open files"
_SENDS_TENSORS = ("torch/multiprocessing/reductions.py", "multiprocessing/resource_sharer.py")


def reason_of(error: OSError) -> str:
    """The system's words without number and file; or those of whoever raised it."""
    return error.strerror or " ".join(map(str, error.args)) or type(error).__name__


def first_line(error: BaseException) -> str:
    """What went wrong, in a line; the error's kind where it has no message."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def is_out_of_files(error: BaseException) -> bool:
    """Whether the process, or the machine, may open no more files."""
    return getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE)


def of_the_machine(error: BaseException) -> UserError | None:
    """What to say of memory that ran out or of a worker process that was killed; None of another error."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    text = " ".join(str(error).split())
    if isinstance(error, RuntimeError) and _LOST.search(text):
        return _lost_loader_worker(text)
    if isinstance(error, (OSError, EOFError)) and _was_receiving(error):
        return _lost_loader_worker("a process that reads audio was killed")
    if is_out_of_files(error) or _TOO_MANY in text:
        return UserError(
            f"too many files are open ({text[:120]})",
            "allow more (ulimit -n 65536, or LimitNOFILE of a service), or set trainer.loader_workers lower; "
            "the same command goes on",
        )
    if "BrokenProcessPool" in kinds:
        return UserError(
            "a worker process was killed, most likely since memory ran out",
            "run the same command with fewer --jobs: it goes on where it stopped",
        )
    if "OutOfMemoryError" in kinds:  # torch's, of a GPU
        return UserError(
            f"the GPU's memory ran out ({text[:120]})",
            "end what else uses it, or give less at a time (batch.max_seconds_per_micro_batch)",
        )
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return UserError(
            "this machine's memory ran out",
            "end what else uses it, or give less at a time (batch.max_seconds_per_micro_batch)",
        )
    return None


def _was_receiving(error: BaseException) -> bool:
    """Whether a worker's tensor was on its way: its end may be noticed there first."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith(_SENDS_TENSORS):
            return True
        trace = trace.tb_next
    return False


def _lost_loader_worker(text: str) -> UserError:
    names = {"Killed": signal.SIGKILL, "Bus error": signal.SIGBUS}
    number = next((number for name, number in names.items() if name in text), None)
    found = _LOST.search(text)
    what = f"a process that reads audio was killed (pid {found[1].strip()})" if found else text
    if number == signal.SIGBUS:
        return UserError(
            f"{what}, since /dev/shm is full",
            "make it larger (docker run --shm-size 8g), or set trainer.loader_workers=0",
        )
    return UserError(
        f"{what}, most likely since memory ran out",
        "free memory, or set trainer.loader_workers lower; the same command goes on from the last checkpoint",
    )
