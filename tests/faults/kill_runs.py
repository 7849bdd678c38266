"""Runs that are killed, at moments and at changes of files, and started again until they end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from conftest import asr_command, final, kill_all, read_lines, same_weights, without_wall_time

from asr.pseudo_labels.ledger import read_ledger

HOOK = Path(__file__).parent / "hook"
KILLS_A_RUN = 4
MOST_STARTS = 5
"""Of a run whose kills are over: one that needs more is counted as not ended."""
MOST_SECONDS = 300


@dataclass
class Figures:
    """What a campaign has seen."""

    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    """Kills at a change of a file, by kind."""
    faults: list[str] = field(default_factory=list)
    """Each in a line: the run's folder, what is wrong."""

    def say(self, title: str) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.kinds.items()))
        counted = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        return "\n".join([f"{title}: {counted}; at {kinds or 'no change of a file'}", *self.faults])


@dataclass(frozen=True)
class Story:
    """One way to train: its command's settings, and on how many ranks."""

    recipe: Path
    settings: list[str]
    ranks: int

    def start(self, run: Path, event: int = 0) -> subprocess.Popen[bytes]:
        """A process that ends itself at an event; 0: never.

        On several ranks it is the first, which writes most: the launcher and the others must see to it.
        """
        environment = {
            **os.environ,
            "PYTHONPATH": str(HOOK),
            "ASR_FAULT_FOLDER": str(run),
            "ASR_FAULT_LOG": str(_log_of(run)),
            "ASR_FAULT_EVENT": str(event),
            "ASR_FAULT_RANK": "" if self.ranks == 1 else "0",
        }
        _log_of(run).unlink(missing_ok=True)
        command = [*asr_command(self.ranks), "train", str(self.recipe), f"output={run}"]
        with run.with_suffix(".out").open("ab") as output:
            return subprocess.Popen(
                [*command, *self.settings], stdout=output, stderr=output, env=environment
            )


def events_of(run: Path) -> list[tuple[str, str]]:
    """Kind and path of each change of a file that the process last started has made."""
    log = _log_of(run)
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    found = []
    for line in lines:
        _, kind, path = line.split("\t")
        found.append((kind, path))
    return found


def _log_of(run: Path) -> Path:
    return run.with_suffix(".events")


def undisturbed(story: Story, run: Path) -> tuple[int, float]:
    """Train to the end. Returns the number of events, and the seconds from the first of them on."""
    process = story.start(run)
    _wait_for_event(process, run)
    begin = time.monotonic()
    assert process.wait(MOST_SECONDS) == 0, run.with_suffix(".out").read_text(encoding="utf-8")
    return len(events_of(run)), time.monotonic() - begin


def kill_runs(
    story: Story, reference: Path, spans: tuple[int, float], kills: tuple[int, int], seed: int
) -> Figures:
    """So many kills at random moments, and at events, of runs that are compared with `reference`.

    `spans`: the reference's events and seconds.
    """
    figures = Figures()
    for where, count in zip(("at moments", "at events"), kills, strict=True):
        chosen = random.Random(f"{seed} {where}")
        firsts, most_seconds = _shuffled(spans[0], chosen), spans[1]
        left, number = count, 0
        while left > 0:
            run = reference.parent / f"{where.replace(' ', '-')}-{number}"
            number += 1
            for leg in range(min(KILLS_A_RUN, left)):
                if where == "at moments":
                    moment = chosen.uniform(0, most_seconds)
                    ended = _kill_at_moment(story, run, moment, leg % 2 > 0, figures)
                    killed = ended is None
                    if ended is not None and leg == 0:  # the machine has less to do than before
                        most_seconds = min(most_seconds, ended)
                else:
                    # The first kill of each run goes through all events; a later one meets a resume.
                    event = next(firsts) if leg == 0 else chosen.randint(1, max(1, spans[0] // 2))
                    killed = _kill_at_event(story, run, event, figures)
                if not killed:
                    break
                figures.counts[f"kills {where}"] += 1
                left -= 1
            figures.counts["runs"] += 1
            if _end(story, run, figures):
                compare(run, reference, story.ranks, figures)
    return figures


def _shuffled(count: int, chosen: random.Random) -> Iterator[int]:
    while True:
        yield from chosen.sample(range(1, count + 1), count)


def _wait_for_event(process: subprocess.Popen[bytes], run: Path) -> None:
    deadline = time.monotonic() + MOST_SECONDS
    while process.poll() is None and not events_of(run) and time.monotonic() < deadline:
        time.sleep(0.01)


def _kill_at_moment(
    story: Story, run: Path, seconds: float, alone: bool, figures: Figures
) -> float | None:
    """Kill so long after the run's first change of a file; its seconds where it has ended before.

    `alone`: of several ranks only the last is killed; the launcher and the others must see to it.
    """
    process = story.start(run)
    _wait_for_event(process, run)
    begin = time.monotonic()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
        return time.monotonic() - begin
    ranks = psutil.Process(process.pid).children() if story.ranks > 1 and alone else []
    if ranks:
        ranks[-1].kill()
        _wait(process, run, figures)
    else:
        kill_all(process)
    return None


def _kill_at_event(story: Story, run: Path, event: int, figures: Figures) -> bool:
    """Whether the process came to the event."""
    process = story.start(run, event)
    _wait(process, run, figures)
    events = events_of(run)
    if len(events) < event:
        return False
    figures.kinds[events[event - 1][0]] += 1
    return True


def _wait(process: subprocess.Popen[bytes], run: Path, figures: Figures) -> int | None:
    """The status of a process that should end by itself; None, counted and killed, where it does not."""
    try:
        return process.wait(MOST_SECONDS)
    except subprocess.TimeoutExpired:
        kill_all(process)
        figures.counts["hangs"] += 1
        figures.faults.append(f"{run}: hangs; see {run.with_suffix('.out')}")
        return None


def _end(story: Story, run: Path, figures: Figures) -> bool:
    """Start the run until it ends with status 0. Whether it did."""
    for _ in range(MOST_STARTS):
        figures.counts["restarts"] += 1
        status = _wait(story.start(run), run, figures)
        output = run.with_suffix(".out").read_text(encoding="utf-8", errors="replace")
        if "Traceback" in output and story.ranks == 1:
            figures.faults.append(f"{run}: a traceback in {run.with_suffix('.out')}")
            figures.counts["tracebacks"] += 1
        if status == 0:
            return True
        figures.counts["refused restarts"] += 1
        time.sleep(1)  # a lock of a rank that has not died yet
    figures.counts["not ended"] += 1
    figures.faults.append(f"{run}: does not end; see {run.with_suffix('.out')}")
    return False


def compare(run: Path, reference: Path, ranks: int, figures: Figures) -> None:
    """Count what differs between two finished runs, and name it."""
    wrong = []
    if read_lines(run / "utterances.jsonl") != read_lines(reference / "utterances.jsonl"):
        wrong.append("lost records")
    if not _same_records(run, reference):
        wrong.append("other metrics or labels")
    if (run / "best").read_text() != (reference / "best").read_text():
        wrong.append("wrong best")
    if _names(run) != _names(reference):
        wrong.append(f"other files: {sorted(_names(run) ^ _names(reference))}")
    models = ("student.safetensors", "teacher.safetensors")
    both = final(run), final(reference)
    if not all(same_weights(*(folder / model for folder in both)) for model in models):
        wrong.append("other weights")
    figures.counts["lost records"] += "lost records" in wrong
    for fault in wrong:
        figures.counts[fault.split(":")[0]] += fault != "lost records"
        figures.faults.append(f"{run}: {fault}")
    figures.counts["identical"] += not wrong


def _same_records(run: Path, reference: Path) -> bool:
    """Metrics and the ledger of labels, but for wall time. As texts: NaN equals NaN."""

    def records(folder: Path) -> list[str]:
        tables = [read_ledger(folder, name).to_pylist() for name in ("labels", "uses")]
        return [json.dumps(table) for table in (without_wall_time(folder), *tables)]

    return records(run) == records(reference)


def _names(run: Path) -> set[str]:
    """All files and folders but TensorBoard's and the ledger's, whose pieces end where a run did."""
    names = {str(path.relative_to(run)) for path in run.rglob("*")}
    return {name for name in names if not name.startswith(("tensorboard", "pseudo_labels/"))}
