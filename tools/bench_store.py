"""Updates an hour of a training whose shards are in an object store, against the same from local shards.

    .venv/bin/python tools/bench_store.py --latency 0.02 --updates 40 --rounds 3

Speech is noise of 6 to 18 s. The store is moto's, in a process of its own, and answers after --latency seconds
(tests/object_store.py). Runs take turns, local and store, the store's each with an empty cache; of each the
first updates are not counted. Prints seconds of an update, the share of them that the training waited for
audio, and the ratio of the medians. The server takes its share of this machine's cores, which a store would
not; for each part it reads the whole tar, so shards are small.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import yaml

ROOT = Path(__file__).parents[1]
_RATE_HZ, _SEED, _WARM_UP = 16_000, 1, 8


def write_corpus(folder: Path, count: int) -> Path:
    """A prepared set `labelled` and `dev` of noise."""
    random = np.random.default_rng(_SEED)
    for name, number in (("labelled", count), ("dev", 2)):
        root = folder / "audio" / name
        root.mkdir(parents=True)
        lines = []
        for index in range(number):
            samples = int(random.uniform(6, 18) * _RATE_HZ)
            audio_N = 0.1 * random.standard_normal(samples)
            soundfile.write(root / f"{name}-{index:05d}.wav", audio_N, _RATE_HZ)
            lines.append(f"{name}-{index:05d}\t{'abc ' * 10}\n")
        (root / "transcripts.tsv").write_text("".join(lines))
        prepared = folder / "prepared" / name
        run_asr("prepare", "folder", "--root", str(root), "--output", str(prepared))
        (folder / "data").mkdir(exist_ok=True)
        (prepared / "labelled.jsonl.gz").rename(folder / "data" / f"{name}.jsonl.gz")
    return folder / "data"


def run_asr(*arguments: str) -> None:
    """A command."""
    subprocess.run(
        [sys.executable, "-m", "asr", *arguments], check=True, cwd=ROOT, stdout=subprocess.DEVNULL
    )


def recipe_for(folder: Path, updates: int) -> Path:
    """A supervised one, of a small model and a minute of audio an update."""
    tree = {
        "output": "exp/bench",
        "corpus": {"directory": str(folder / "data"), "labelled": [], "dev": ["dev"]},
        "tokenizer": {"characters": "abc"},
        "model": {"width": 144, "heads": 4, "layers": 6, "feed_forward_width": 576},
        "scaling": {"reference_batch_seconds": 60},
        "batch": {"batch_seconds": 60, "group_seconds": 30, "max_seconds_per_micro_batch": 60},
        "pseudo_label": {"start_hours": None},
        "trainer": {
            "total_hours": updates / 60,
            "evaluation_every_hours": 100,
            "checkpoint_every_hours": 100,
            "loader_workers": 1,
        },
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def seconds_of_an_update(recipe: Path, output: Path, overrides: list[str], updates: int) -> float:
    """Between those that are logged; the first ones and the last, with its checkpoint, are left out."""
    command = [sys.executable, "-m", "asr", "train", str(recipe), f"output={output}", *overrides]
    metrics, moments = output / "metrics.jsonl", dict[int, float]()
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            count = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
            moments.setdefault(count, time.monotonic())
            time.sleep(0.01)
    if process.returncode:
        raise SystemExit(f"asr train ended with status {process.returncode}")
    return (moments[updates - 2] - moments[_WARM_UP]) / (updates - 2 - _WARM_UP)


def waited_share(output: Path) -> float:
    """Of the updates that are counted, on average."""
    lines = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    shares = [line["data_wait_share"] for line in lines if "loss" in line]
    return float(statistics.mean(shares[_WARM_UP:]))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=float, default=0.02, metavar="SECONDS")
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    updates = arguments.updates
    if updates < _WARM_UP + 4:
        parser.error(
            f"--updates {updates}: the first {_WARM_UP} are not counted; ask for {_WARM_UP + 4} or more"
        )
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = write_corpus(folder, count=6 * updates)
        recipe = recipe_for(folder, updates)
        server = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/object_store.py"), "0", str(arguments.latency)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert server.stdout is not None
        os.environ |= json.loads(server.stdout.readline())
        local = folder / "shards"
        shar = ["prepare", "shar", "--data", str(data), "--sets", "labelled", "--shard-size", "10"]
        run_asr(*shar, "--output", str(local))
        run_asr(*shar, "--output", "s3://speech/bench")
        found: dict[str, list[float]] = {"local": [], "store": []}
        for number in range(arguments.rounds):
            for name, place in (("local", local), ("store", data)):
                (place / "dev.jsonl.gz").write_bytes((data / "dev.jsonl.gz").read_bytes())
                overrides = [
                    f"corpus.directory={place}",
                    "corpus.labelled=[labelled.shar]",
                    f"corpus.store.cache_directory={folder / f'cache-{number}'}",
                ]
                seconds = seconds_of_an_update(
                    recipe, folder / f"{name}-{number}", overrides, updates
                )
                found[name].append(seconds)
                waited = waited_share(folder / f"{name}-{number}")
                print(f"{name:5}  {seconds:.3f} s an update, {waited:.1%} waited", flush=True)
        server.kill()
    of_local, of_store = (statistics.median(found[name]) for name in ("local", "store"))
    print(f"updates an hour, store over local: {of_local / of_store:.3f}")


if __name__ == "__main__":
    main()
