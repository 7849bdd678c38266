"""The roof: a table from subcommand to the module that serves it, imported when it is called."""

from __future__ import annotations

from asr.utils.processes import allow_open_files, leave_working_directory

if __name__ == "__main__":  # before anything else is imported, which could lie in it
    leave_working_directory()

import atexit
import importlib
import os
import signal
import sys

from asr.errors import UserError
from asr.utils.signals import Interrupted, forget_children, ignore_signals, raise_when_signalled
from asr.utils.streams import STDOUT, drop_output, open_streams

COMMANDS = {
    "prepare": ("asr.data_prep.cli", "corpus on disk -> validated manifests"),
    "check": ("asr.cli.check", "all that would stop or spoil a recipe's run, with remedies"),
    "plan": ("asr.cli.plan", "what the scaling rule derives for 1, 8, 64 ... ranks"),
    "bench": ("asr.cli.bench", "how fast a recipe trains on this machine, for plan"),
    "train": ("asr.cli.train", "train a recipe; resumes by itself"),
    "fork": ("asr.cli.runs.fork", "a new run from where another one stood"),
    "label": ("asr.cli.label", "label prepared sets with any model, for a run or other toolkits"),
    "labels": ("asr.cli.pseudo_labels", "what a run's pseudo-labels were: stats, diff, worst"),
    "audit": (
        "asr.cli.audit",
        "does a recipe keep its curve when the batch grows? short paired runs",
    ),
    "probe": (
        "asr.cli.probe",
        "a linear CTC layer on a run's frozen features: what are they good for?",
    ),
    "average": ("asr.cli.average", "weights of another half-life, after the run"),
    "export": ("asr.cli.export", "a trained model -> ONNX, Hugging Face, torch, with a model card"),
    "decode": (
        "asr.cli.decode",
        "transcribe a prepared set and keep its references beside",
    ),
    "score": ("asr.cli.score", "WER and CER with confidence intervals, of any format"),
    "compare": ("asr.cli.compare", "do two or several systems differ? with p-values"),
    "report": ("asr.cli.report", "HTML report of a run"),
    "recipes": ("asr.cli.recipes.copying", "the recipes that come with asr: list, copy"),
    "schema": (
        "asr.cli.recipes.schema",
        "JSON Schema of recipes, for editors that complete and check them",
    ),
    "completion": (
        "asr.cli.arguments.completion",
        "a script by which bash, zsh or tcsh completes commands, options and files",
    ),
    "transcribe": ("asr.cli.transcribe", "audio files -> text, with a trained model's folder"),
}

USAGE = (
    "usage: asr COMMAND ...\n       asr --version\n\n"
    "Semi-supervised speech recognition with an EMA teacher and the EMA scaling rule.\n\n"
    "commands:\n"
    + "\n".join(f"  {name:<12} {text}" for name, (_, text) in COMMANDS.items())
    + "\n\n`asr COMMAND --help` explains one. Exit status: 0 done; 2 something that you can fix "
    "(one message\nsays what, where and how); 75 a training that was told to stop, and has saved; 128 + the "
    "number of the\nsignal that ended it (141: nobody read its output); anything else is a bug of ours."
)


_BUG = 1


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
    if arguments[0] == "--version":
        print(_version())
        return 0
    if arguments[0] not in COMMANDS:
        print(f"asr: no command '{arguments[0]}'; one of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        return _done(arguments)
    except (Exception, KeyboardInterrupt) as error:
        forget_children()
        status, text = _about(error)
        if status == _BUG:
            raise
        if text and _tell_the_ranks(text):
            print(f"asr {arguments[0]}: {_meeting('own_name') or ''}{text}", file=sys.stderr)
        return status


def _version() -> str:
    """As of the installed distribution; of a checkout with its commit."""
    from importlib.metadata import version

    from asr.tracking.environment import commit

    at = commit()
    return f"asr-ema {version('asr-ema')}" + (f" ({at})" if at else "")


def _about(error: BaseException) -> tuple[int, str]:
    """The status that an error ends with, and what to say of it."""
    if isinstance(error, UserError):
        return 2, "" if error.is_said_elsewhere else str(error)
    if isinstance(error, KeyboardInterrupt):
        number = error.number if isinstance(error, Interrupted) else signal.SIGINT
        name = signal.Signals(number).name
        return 128 + number, "interrupted" if number == signal.SIGINT else f"ended by {name}"
    if isinstance(error, BrokenPipeError) and error.filename in (None, STDOUT):
        drop_output()  # `asr plan ... | head`
        return 128 + signal.SIGPIPE, ""
    from asr.utils.faults import of_the_machine, reason_of

    known = of_the_machine(error)
    if isinstance(error, OSError) and known is None:
        where = f"{error.filename}: " if error.filename else ""
        remedy = "fix the path, its permissions or the space on its disk"
        return 2, f"{where}{reason_of(error)}; {remedy}"
    said = known or _meeting("of_a_collective", error)
    return (2, str(said)) if said else (_BUG, "")


def _tell_the_ranks(text: str) -> bool:
    """That this one ends. False where another has said the same, once for all."""
    return _meeting("fail", text) is not False


def _meeting(name: str, *arguments: object) -> object:
    """A function of the ranks' meeting, if this process has been to one; else None."""
    meeting = sys.modules.get("asr.distributed.meeting")
    return getattr(meeting, name)(*arguments) if meeting else None


def _done(arguments: list[str]) -> int:
    """The status of a command that came to its end, and all that it printed with it."""
    module = importlib.import_module(COMMANDS[arguments[0]][0])
    of_all = (COMMANDS,) if arguments[0] == "completion" else ()
    try:
        status = int(module.main(arguments[1:], *of_all))
    except SystemExit:  # of --help
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return status


def run() -> None:
    """The program: `main`, and out.

    A process that has been in a process group leaves without Python's own teardown. A thread of torch's that
    asks for the interpreter's lock during it is ended by CPython (before 3.14), which C++ answers with an
    abort, "terminate called without an active exception", when all is saved: the launcher then calls a
    finished run failed. What was registered to be done at the exit is done.
    """
    open_streams()
    allow_open_files()
    raise_when_signalled()
    try:
        status = main()
    except Exception:
        import traceback

        traceback.print_exc()
        _tell_the_ranks("a bug of ours, whose traceback it has printed")
        status = _BUG
    ignore_signals()  # the end is near, and the status is known
    if "asr.distributed.process_group" not in sys.modules:
        _flush()
        sys.exit(status)
    if status:  # peers may be gone, and leaving the group would wait for them
        atexit.unregister(sys.modules["asr.distributed.process_group"].leave)
    atexit._run_exitfuncs()
    _flush()
    os._exit(status)


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError:  # after an error, which has been said
        drop_output()
    sys.stderr.flush()


if __name__ == "__main__":
    run()
