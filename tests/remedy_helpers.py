"""A small home with a corpus, a recipe and a run, and commands whose messages are followed."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from conftest import LETTERS, write_folder

from asr.__main__ import main
from asr.utils.signals import ENDING

RECIPE = {
    "output": "run",
    "corpus": {
        "directory": "data",
        "labelled": ["labelled"],
        "untranscribed": ["untranscribed"],
        "dev": ["dev"],
    },
    "tokenizer": {"characters": LETTERS},
    "augmentation": {"speed_factors": [1.0], "spec_augment": {"time_masks": 0}},
    "model": {
        "width": 16,
        "heads": 2,
        "layers": 1,
        "feed_forward_width": 32,
        "convolution_kernel": 7,
        "norm": "pre",
        "positions": "rotary",
    },
    "optimizer": {"learning_rate": 3e-3, "warmup_hours": 0.002},
    "scaling": {"reference_batch_seconds": 15},
    "batch": {"batch_seconds": 15, "group_seconds": 5, "max_seconds_per_micro_batch": 20},
    "teacher": {"half_life_hours": 0.005},
    "pseudo_label": {"start_hours": 0.004, "health": {"action": "warn"}},
    "trainer": {
        "total_hours": 0.007,
        "evaluation_every_hours": 0.1,
        "checkpoint_every_hours": 0.004,
        "loader_workers": 0,
    },
}
"""Two updates of 15 s, each with a checkpoint."""


@dataclass
class Home:
    """A working directory, and what `asr` says in it."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *command: str | Path) -> tuple[int, str, str]:
        """The status of a command, and what it printed to either stream."""
        self.capsys.readouterr()
        status = run_here(*command)
        printed = self.capsys.readouterr()
        return status, printed.out, printed.err

    def message(self, *command: str | Path) -> str:
        """Of a command that fails by the user's fault: what, where, remedy, on one line."""
        status, _, errors = self.run(*command)
        assert status == 2, errors
        *_, line = errors.strip().splitlines()
        assert line.startswith(f"asr {command[0]}: "), line
        return line

    def finding(self, *settings: str) -> str:
        """The one problem that `asr check` finds."""
        status, said, errors = self.run("check", "tiny.yaml", "output=new", *settings)
        assert status == 2, said + errors
        problems = re.findall(r"^problem \d+: (.+)\n  remedy: (.+)$", said, re.MULTILINE)
        assert len(problems) == 1, problems
        return "; ".join(problems[0])

    def works(self, *command: str | Path) -> str:
        """What a command printed that did all that it should."""
        status, said, errors = self.run(*command)
        assert status == 0, said + errors
        return said

    def is_sound(self, *settings: str) -> None:
        """`asr check` finds nothing."""
        self.works("check", "tiny.yaml", "output=new", *settings)


def found(pattern: str, message: str) -> str:
    """The part of a message that a pattern names by its group."""
    match = re.search(pattern, message)
    assert match, message
    return match[1]


def run_here(*command: str | Path) -> int:
    """The status of a command, in this process, whose handlers of signals stay as they were."""
    handlers = {number: signal.getsignal(number) for number in ENDING}
    try:
        return main([*map(str, command)])
    except SystemExit as error:  # argparse's
        return int(error.code or 0)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def make_home() -> None:
    """In the working directory: sets labelled, untranscribed and dev in `data`, tiny.yaml, and its run."""
    for number, (name, count) in enumerate({"labelled": 12, "untranscribed": 12, "dev": 4}.items()):
        write_folder(Path("audio") / name, count, number, transcribed=name != "untranscribed")
        given = [] if name == "untranscribed" else ["--set-name", name]
        command = ["prepare", "folder", "--root", f"audio/{name}", "--output", "data", *given]
        assert run_here(*command) == 0
    Path("tiny.yaml").write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    assert run_here("train", "tiny.yaml") == 0
