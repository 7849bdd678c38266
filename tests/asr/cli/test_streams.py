"""Standard streams that are closed, full, go away, or speak another encoding."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import asr_command

SHORT = ["trainer.total_hours=0.01", "pseudo_label.start_hours=null"]


def shell(line: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """`line` in bash, in which "$@" is `asr` with these arguments."""
    command = ["bash", "-c", line, "-", *asr_command(), *map(str, arguments)]
    return subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def train(recipe: Path, run: Path) -> list[object]:
    return ["train", recipe, f"output={run}", *SHORT]


@pytest.mark.parametrize(
    "line",
    ['"$@" | head -1; exit ${PIPESTATUS[0]}', '"$@" 2>&1 | head -1; exit ${PIPESTATUS[0]}'],
)
def test_training_goes_on_when_its_reader_has_gone(recipe: Path, tmp_path: Path, line: str) -> None:
    """It once ended with status 0, and nothing trained."""
    done = shell(line, *train(recipe, tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "complete.json").is_file()


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_training_needs_no_streams(recipe: Path, tmp_path: Path, closed: str) -> None:
    """Of a service or a cron job; and of a log on a full disk."""
    done = shell(f'"$@" {closed}', *train(recipe, tmp_path / "run"))
    assert done.returncode == 0
    assert (tmp_path / "run" / "complete.json").is_file()
    assert "saved" in (tmp_path / "run" / "train.log").read_text()


def test_training_outlives_its_terminal(recipe: Path, tmp_path: Path) -> None:
    """One that hears no SIGHUP: each of its messages is an input/output error then."""
    terminal, end = os.openpty()
    command = [*asr_command(), *map(str, train(recipe, tmp_path / "run"))]
    process = subprocess.Popen(command, stdout=end, stderr=end, start_new_session=True)
    os.close(end)
    assert os.read(terminal, 1)
    os.close(terminal)
    assert process.wait(timeout=200) == 0
    assert (tmp_path / "run" / "complete.json").is_file()


@pytest.fixture
def texts(tmp_path: Path) -> list[Path]:
    """Something to score."""
    for name in ("reference", "hypothesis"):
        lines = (f"u{number}\tжук {number}\n" for number in range(20))
        (tmp_path / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")
    return [tmp_path / "reference.tsv", tmp_path / "hypothesis.tsv"]


@pytest.mark.parametrize(
    ("line", "status", "says"),
    [
        ('"$@" | true; exit ${PIPESTATUS[0]}', 141, []),
        ('"$@" > /dev/full', 2, ["standard output", "No space left"]),
        ('"$@" >&-', 2, ["standard output is closed"]),
    ],
)
@pytest.mark.parametrize("command", [["score"], ["plan", "--help"], ["train", "--print-config"]])
def test_a_command_whose_purpose_is_its_output_says_that_it_is_lost(
    recipe: Path,
    texts: list[Path],
    command: Sequence[str],
    line: str,
    status: int,
    says: list[str],
) -> None:
    arguments: list[object] = {"score": [*texts], "train": [recipe]}.get(command[0], [])
    done = shell(line, command[0], *arguments, *command[1:])
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    for part in says:
        assert part in done.stderr
    assert done.stderr.count("\n") == bool(says)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_is_printed_is_utf_8_whatever_the_locale(
    recipe: Path, texts: list[Path], encoding: str
) -> None:
    """A letter that the locale has not was a traceback."""
    arguments = ["train", recipe, "--print-config", "name=жук"]
    done = shell('"$@"', *arguments, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert "name: жук" in done.stdout
    wrong = shell('"$@"', "score", *texts, "--normaliser", "жук", PYTHONIOENCODING=encoding)
    assert wrong.returncode == 2
    assert "'жук'" in wrong.stderr
