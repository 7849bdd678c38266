"""How long a corpus of any size takes to open, and its batches to be planned; in how much memory.

    .venv/bin/python tools/bench_data.py --utterances 281241        # all of LibriSpeech's training speech
    .venv/bin/python tools/bench_data.py --utterances 10000000

Writes a manifest of made-up utterances with durations like LibriSpeech's into a temporary folder (or
--folder, where it is kept and used again), and measures, each in a process of its own: the first opening, which
indexes the manifest; the opening of a training run thereafter, interpreter and imports included; and the plan
of all global batches of a pass. Memory is that of all processes of a part.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

_SEED = 1
_SAMPLED_EVERY_SECONDS = 0.1
_WORDS = ("THE", "OF", "AND", "TO", "A", "IN", "THAT", "HE", "WAS", "UPON", "WHICH", "LITTLE")
_WORDS_PER_SECOND = 2.7


def seconds_like_librispeech(count: int) -> np.ndarray:
    """Durations in seconds: two thirds near the longest, as books cut at pauses are; 1.3 to 24.5 s."""
    random = np.random.default_rng(_SEED)
    long = random.normal(14.6, 1.2, count)
    short = random.uniform(1.5, 14.0, count)
    return np.clip(np.where(random.random(count) < 0.66, long, short), 1.3, 24.5).round(3)


def write_manifest(path: Path, count: int) -> None:
    """Cuts as `asr prepare librispeech` writes them; their audio does not exist."""
    with gzip.open(path, "wt", compresslevel=1, encoding="utf-8") as file:
        file.writelines(_lines(seconds_like_librispeech(count)))


def _lines(seconds: np.ndarray) -> Iterator[str]:
    for index, length in enumerate(seconds.tolist()):
        name = f"{index // 4000:05d}-{index // 40:07d}-{index:08d}"
        text = " ".join(
            _WORDS[(index + k) % len(_WORDS)] for k in range(int(length * _WORDS_PER_SECOND))
        )
        samples = round(length * 16_000)
        span = {"start": 0.0, "duration": length, "channel": 0}
        speaker = {"text": text, "speaker": name[:5], "language": "English"}
        recording = {
            "id": name,
            "sources": [
                {
                    "type": "file",
                    "channels": [0],
                    "source": f"/corpora/LibriSpeech/train/{name}.flac",
                }
            ],
            "sampling_rate": 16_000,
            "num_samples": samples,
            "duration": length,
            "channel_ids": [0],
        }
        supervision = {"id": name, "recording_id": name, **span, **speaker}
        cut = {"id": name, **span, "supervisions": [supervision], "recording": recording}
        yield json.dumps({**cut, "type": "MonoCut"}) + "\n"


def config_of(folder: Path) -> Any:
    """The 960 h recipe on the made-up manifest."""
    from asr.config.recipe import load_config

    recipe = Path(__file__).parents[1] / "recipes/librispeech/supervised_960h.yaml"
    return load_config(recipe, [f"corpus.directory={folder}", "corpus.labelled=[train]"])


def index(folder: Path) -> dict[str, Any]:
    """The first opening."""
    from asr.data.manifest.index import open_index

    return {"utterances": len(open_index(folder / "train.jsonl.gz"))}


def open_run(folder: Path) -> dict[str, Any]:
    """What a training run does before its first batch, and that batch's utterances."""
    from asr.data.dataloader import TrainingData
    from asr.data.sampler import Position
    from asr.model.tokenizer import make_tokenizer

    config = config_of(folder)
    data = TrainingData(config, make_tokenizer(config.tokenizer))
    batch = data.stream.next_batch(Position(), 8)
    assert all(data.fingerprints.values())
    return {"first_batch_utterances": sum(map(len, data.utterance_ids(batch).values()))}


def plan(folder: Path) -> dict[str, Any]:
    """All global batches of a pass, of 290 s for each rank, on one rank and on eight."""
    from asr.data.dataset import SpeechSet

    seconds = SpeechSet.load(folder / "train.jsonl.gz").seconds
    return {f"on_{ranks}": _planned(seconds, config_of(folder), ranks) for ranks in (1, 8)}


def _planned(seconds: np.ndarray, config: Any, ranks: int) -> dict[str, float]:
    from asr.data.batching import padding_share
    from asr.data.loading.planning import planned
    from asr.data.sampler import AudioStream, Position
    from asr.data.segments import GroupedCorpus, Kind

    started = time.perf_counter()
    corpus = GroupedCorpus(Kind.LABELLED, seconds, config.group_seconds, _SEED)
    stream = AudioStream(corpus, None, (1, 0), None, _SEED)
    position, batches, padding = Position(), 0, 0.0
    while position.labelled_pass == 0:
        one = planned(config, stream, position, 0, ranks)
        position, batches = one.batch.after, batches + 1
        padding += padding_share(one.slots)
    wall = time.perf_counter() - started
    return {"batches": batches, "s": round(wall, 2), "padding_share": round(padding / batches, 4)}


_PARTS = {"index": index, "open": open_run, "plan": plan}


def main() -> None:
    """Measure, or be one of the measured processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--utterances", type=int, default=281_241)
    parser.add_argument("--folder", type=Path, help="keep the manifest there")
    parser.add_argument("--part", choices=_PARTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(_PARTS[arguments.part](arguments.folder)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        manifest, count = folder / "train.jsonl.gz", folder / "train.utterances"
        if not manifest.is_file():
            write_manifest(manifest, arguments.utterances)
            count.write_text(f"{arguments.utterances}\n")
        elif not count.is_file() or int(count.read_text()) != arguments.utterances:
            # It may be anyone's: it is not replaced.
            holds = f"{int(count.read_text())} utterances" if count.is_file() else "others"
            parser.error(
                f"--utterances {arguments.utterances}: {manifest} holds {holds}; name another folder"
            )
        for part in _PARTS:
            _measure(part, folder)


def _measure(part: str, folder: Path) -> None:
    command = [sys.executable, str(Path(__file__)), "--part", part, "--folder", str(folder)]
    started, peak = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            peak = max(peak, _resident_bytes(process.pid))
            time.sleep(_SAMPLED_EVERY_SECONDS)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(ended[1])
        output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        sys.exit(f"{part}: exit status {process.returncode}")
    peak = max(peak, ended[2].ru_maxrss * 1024)  # of the first process alone, but not sampled
    measured = {"wall_s": round(wall, 2), "peak_gb": round(peak / 1e9, 2), **json.loads(output)}
    print(f"{part:<6} {json.dumps(measured)}", flush=True)


def _resident_bytes(pid: int) -> int:
    """Memory of a process and of those that it started; 0 for one that ends meanwhile."""
    try:
        process = psutil.Process(pid)
        return sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))
    except psutil.Error:
        return 0


if __name__ == "__main__":
    main()
