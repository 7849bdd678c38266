"""The roof: a table from subcommand to the module that serves it, imported when it is called."""

from __future__ import annotations

import atexit
import importlib
import os
import sys

from asr.errors import UserError
from asr.utils.processes import leave_working_directory

COMMANDS = {
    "prepare": ("asr.data_prep.cli", "corpus on disk -> validated manifests"),
    "check": ("asr.cli.check", "all that would stop or spoil a recipe's run, with remedies"),
    "plan": ("asr.cli.plan", "what the scaling rule derives for 1, 8, 64 ... ranks"),
    "bench": ("asr.cli.bench", "how fast a recipe trains on this machine, for plan"),
    "train": ("asr.cli.train", "train a recipe; resumes by itself"),
    "label": ("asr.cli.label", "label prepared sets with any model, for a run or other toolkits"),
    "labels": ("asr.cli.pseudo_labels", "what a run's pseudo-labels were: stats, diff, worst"),
    "audit": (
        "asr.cli.audit",
        "does a recipe keep its curve when the batch grows? short paired runs",
    ),
    "average": ("asr.cli.average", "weights of another half-life, after the run"),
    "decode": (
        "asr.cli.decode",
        "transcribe a prepared set and keep its references beside",
    ),
    "score": ("asr.cli.score", "WER and CER with confidence intervals, of any format"),
    "compare": ("asr.cli.compare", "do two or several systems differ? with p-values"),
    "report": ("asr.cli.report", "HTML report of a run"),
    "transcribe": ("asr.cli.transcribe", "audio files -> text, with a trained model's folder"),
}

USAGE = (
    "usage: asr COMMAND ...\n\n"
    "Semi-supervised speech recognition with an EMA teacher and the EMA scaling rule.\n\n"
    "commands:\n"
    + "\n".join(f"  {name:<12} {text}" for name, (_, text) in COMMANDS.items())
    + "\n\n`asr COMMAND --help` explains one. Exit status: 0 done; 2 something that you can fix "
    "(one message\nsays what, where and how); anything else is a bug of ours."
)


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand. Returns the exit status."""
    # Idle OpenMP threads must sleep: spinning ones take the cores from the working ranks. Read when
    # torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Pydantic would look for plug-ins of its own in all that is installed, a tenth of `asr plan`'s time.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    arguments = sys.argv[1:] if argv is None else argv
    # The deepspeed launcher puts its own option before the command; the environment says the same.
    if arguments and arguments[0].startswith("--local_rank="):
        arguments = arguments[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    if arguments[0] not in COMMANDS:
        print(f"asr: no command '{arguments[0]}'; one of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    module = importlib.import_module(COMMANDS[arguments[0]][0])
    try:
        return int(module.main(arguments[1:]))
    except UserError as error:
        print(f"asr {arguments[0]}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `asr plan ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"asr {arguments[0]}: {where}{error.strerror or error}; fix the path, its permissions or "
            "the space on its disk",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print(f"asr {arguments[0]}: interrupted", file=sys.stderr)
        return 130


def run() -> None:
    """The program: `main`, and out.

    A process that has been in a process group leaves without Python's own teardown. A thread of torch's that
    asks for the interpreter's lock during it is ended by CPython (before 3.14), which C++ answers with an
    abort, "terminate called without an active exception", when all is saved: the launcher then calls a
    finished run failed. What was registered to be done at the exit is done.
    """
    status = main()
    if "asr.distributed.process_group" not in sys.modules:
        sys.exit(status)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    leave_working_directory()
    run()
