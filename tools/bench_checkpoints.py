"""What a checkpoint costs: how long training waits, how long it is being written, and what reading it takes.

    .venv/bin/python tools/bench_checkpoints.py                       # 255 M parameters, one rank
    .venv/bin/python tools/bench_checkpoints.py --recipe recipes/librispeech/100h_860h_70m.yaml

The recipe's network, its optimizer's moments and an average, without audio. `waits` is the training thread's;
`written` from its beginning until `latest` names it, SHA-256 of all files and the flush to the disk included;
`beside` is what a loop of matrix products takes meanwhile, less what it takes alone; `read` is in a process of
its own, as a rank that resumes, with the most memory of its own (file pages, which ranks share, aside).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch

from asr.config.recipe import load_config
from asr.config.schema import Config
from asr.distributed.engine import Engine
from asr.distributed.process_group import Ranks, join, leave
from asr.model.make import make_model
from asr.model.speech_model import SpeechModel
from asr.model.tokenizer import CharacterTokenizer
from asr.scaling.rule import in_force
from asr.teacher.averages import Averages
from asr.training.checkpoint import CheckpointStore, read_checkpoint
from asr.training.post_hoc import make_averages
from asr.training.state import TrainingState

_RECIPE = Path(__file__).parents[1] / "recipes/librispeech/100h_860h.yaml"
_TOKENIZER = CharacterTokenizer("".join(map(chr, range(0x4E00, 0x4E00 + 1000))))
_GIB = 2**30


def main() -> None:
    """Save, then read in another process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=Path, default=_RECIPE)
    parser.add_argument("--zero-stage", type=int, default=1)
    parser.add_argument(
        "--folder", type=Path, help="on the disk that is meant; default: a temporary one"
    )
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    config = load_config(arguments.recipe, [f"trainer.zero_stage={arguments.zero_stage}"])
    ranks = join("highest")
    try:
        if arguments.read:
            read(config, ranks, arguments.read)
            return
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            kept = save(config, ranks, Path(folder))
            again = [sys.executable, __file__, *sys.argv[1:], "--read", str(kept)]
            subprocess.run(again, check=True)
    finally:
        leave()


def parts(config: Config, ranks: Ranks, student: SpeechModel) -> tuple[Engine, Averages]:
    """Engine and averages of a student."""

    def new() -> SpeechModel:
        return make_model(config, _TOKENIZER.vocabulary_size)

    values = in_force(config, config.global_batch_seconds(1, 0.0))
    engine = Engine(student, config, values, ranks, new)
    return engine, make_averages(config, new, engine.shards, ranks)


def save(config: Config, ranks: Ranks, run: Path) -> Path:
    """Three checkpoints, one after the other. Returns the last."""
    engine, averages = parts(config, ranks, make_model(config, _TOKENIZER.vocabulary_size))
    whole = engine.shards.whole(engine.shards.masters)
    engine.shards.set_moments(dict.fromkeys(("exp_avg", "exp_avg_sq"), whole), 1.0)
    del whole
    store, state = CheckpointStore(run, keep_last=2), TrainingState.at_the_start(config, 1.0)
    alone = loop()
    for _ in range(3):
        state.clock.advance(3600.0)
        extra: dict[str, Any] = {"dev_wer": None, "ranks": 1, "batch_seconds": 1.0}
        extra |= {"averages": averages.state(), "labelling": None, "corpora": {}}
        started = time.perf_counter()
        store.save(
            engine,
            averages.shipped,
            _TOKENIZER,
            config,
            {**state.to_json(), **extra},
            ranks,
            {},
            [],
        )
        waits = time.perf_counter() - started
        beside, last = [], None
        while last is None:
            beside.append(loop())
            last = store.saved()
        written = time.perf_counter() - started
        slower = sum(beside) / len(beside) / alone - 1
        files = sum(path.stat().st_size for path in last.iterdir())
        print(
            f"{files / _GIB:.2f} GiB  waits {waits:.2f} s  written {written:.1f} s  beside {slower:+.0%}",
            flush=True,
        )
        kept = last
    return kept


def loop() -> float:
    """Seconds of some matrix products."""
    a = torch.ones(512, 512)
    started = time.perf_counter()
    for _ in range(20):
        a @ a
    return time.perf_counter() - started


def read(config: Config, ranks: Ranks, folder: Path) -> None:
    """What a rank does that resumes."""
    before, done = own_memory(), threading.Event()
    most = [before]

    def watch() -> None:
        while not done.wait(0.01):
            most[0] = max(most[0], own_memory())

    threading.Thread(target=watch, daemon=True).start()
    started = time.perf_counter()
    student = make_model(config, _TOKENIZER.vocabulary_size, None, False)
    saved = read_checkpoint(folder, config, student)
    engine, averages = parts(config, ranks, student)
    saved.put(engine, averages)
    seconds = time.perf_counter() - started
    done.set()
    print(
        f"read {seconds:.1f} s, at most {(most[0] - before) / _GIB:.2f} GiB of its own, "
        f"{(own_memory() - before) / _GIB:.2f} GiB at the end"
    )


def own_memory() -> int:
    """Bytes of this process that it shares with no file."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
