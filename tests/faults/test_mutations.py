"""The campaign of spoilt files: one message, no traceback, no hang, nothing taken in silence."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from conftest import SAMPLE_RATE_HZ, asr_command, write_folder
from mutations import Case, World, mutate_inputs

from asr.__main__ import main

COUNT = int(os.environ.get("ASR_FAULT_MUTATIONS", 30))
"""Of each command. The whole campaign: 500."""
SEED = int(os.environ.get("ASR_FAULT_SEED", 1))

MANIFEST = "data/dev.jsonl.gz"
LATEST = "run/checkpoints/hours-*/"
MODEL = [f"{LATEST}{name}" for name in ("state.json", "teacher.safetensors", "tokenizer.json")]
SETTINGS = f"{LATEST}config.yaml"
INDEXES = "data/.index/dev-*/*"
CHECKED = ("run/checkpoints/", "data/.index/")
SNAPSHOTS = "run/averages/snapshot-*"
DEV_AUDIO = "audio/dev/*.wav"
HYPOTHESES = "run/decode/dev/teacher.jsonl"

CASES = {
    "check": Case("check recipe.yaml", ["recipe.yaml", "data/*.gz", "data/references/*"]),
    "plan": Case("plan recipe.yaml --run run", ["recipe.yaml", "run/*.json*"]),
    "train": Case(
        "train recipe.yaml",
        [
            *MODEL,
            SETTINGS,
            "recipe.yaml",
            "data/*.gz",
            f"{LATEST}student.safetensors",
            f"{LATEST}optimizer.safetensors",
            f"{LATEST}labels.safetensors",
            "run/*.json*",
            "run/latest",
            "run/best",
            "run/pseudo_labels/*/*",
            "audio/*/*.wav",
        ],
        ("run/metrics.jsonl", f"{LATEST}student.safetensors"),
        CHECKED,
    ),
    "decode": Case(
        f"decode run {MANIFEST} --output out.jsonl",
        [*MODEL, SETTINGS, "run/latest", MANIFEST, INDEXES, DEV_AUDIO],
        ("out.jsonl",),
        CHECKED,
    ),
    "label": Case(
        f"label run {MANIFEST} --output labels --export tsv",
        [*MODEL, SETTINGS, "run/latest", MANIFEST, INDEXES, DEV_AUDIO],
        ("labels/labels.tsv",),
        CHECKED,
    ),
    "transcribe": Case(
        "transcribe run audio/dev/u2-000.wav audio/dev/u2-001.wav --format json",
        [*MODEL, SETTINGS, "run/latest", "audio/dev/u2-00[01].wav"],
        (),
        CHECKED,
    ),
    "labels": Case(
        "labels stats run",
        ["run/pseudo_labels/labels/*", "run/*.json*"],
        (),
        ("run/pseudo_labels/",),
    ),
    "score": Case("score run", ["run/decode/dev/*", "run/config.yaml"]),
    "score of texts": Case("score texts/ref.tsv texts/hyp.trn", ["texts/ref.tsv", "texts/hyp.trn"]),
    "compare": Case(f"compare {HYPOTHESES} texts/other.jsonl", [HYPOTHESES, "texts/other.jsonl"]),
    "report": Case(
        "report run --output page",
        ["run/decode/dev/*", "run/*.json*", "run/config.yaml", "run/pseudo_labels/*/*"],
        (),
        ("run/pseudo_labels/",),
    ),
    "prepare folder": Case("prepare folder --root audio/dev --output prepared", ["audio/dev/*"]),
    "prepare kaldi": Case("prepare kaldi kaldi --output prepared", ["kaldi/*"]),
    "prepare nemo": Case("prepare nemo texts/nemo.json --output prepared", ["texts/nemo.json"]),
    "prepare lm": Case(f"prepare lm --cuts {MANIFEST} --output lm.arpa", [MANIFEST]),
    "prepare segment": Case(
        "prepare segment --root long --output prepared --vad energy",
        ["long/*.wav"],
    ),
    "prepare align": Case(
        "prepare align --root long --model run --output prepared --vad energy",
        ["long/*.wav", "long/*.txt", "long/*.srt", *MODEL, SETTINGS, "run/latest"],
        ("prepared/labelled.left_out.tsv",),
        CHECKED,
    ),
    "prepare shar": Case("prepare shar --data data --sets dev", [MANIFEST, DEV_AUDIO]),
    "prepare features": Case(
        "prepare features --data data --sets dev --recipe recipe.yaml",
        [MANIFEST, DEV_AUDIO, "recipe.yaml"],
    ),
    "decode of shards": Case(
        "decode run packed/dev.shar --output out.jsonl",
        ["packed/dev.shar/*"],
        ("out.jsonl",),
        ("packed/dev.shar/recording",),  # cuts are lines that users may change, as a manifest's
    ),
    "bench": Case("bench recipe.yaml --updates 1", ["recipe.yaml", "data/*.gz", "audio/*/*.wav"]),
    "average": Case(
        "average run --half-life 0.02",
        [SNAPSHOTS, f"{LATEST}power_averages.safetensors", SETTINGS, "run/*.json*", "run/latest"],
        ("run/averages/half-life-0.02/teacher.safetensors",),
        (*CHECKED, "run/averages/"),
    ),
    "audit": Case(
        "audit recipe.yaml --kappa 1,2 --seeds 1 --hours 0.005 --rules full",
        ["recipe.yaml", "run_audit/*.*", "run_audit/cells/*/*.json*", "run_audit/cells/*/*.yaml"],
    ),
}


@pytest.fixture(scope="module")
def world(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Audio, prepared sets, a run that has not ended with its hypotheses, texts of other formats."""
    folder = tmp_path_factory.mktemp("mutations") / "world"
    data = folder / "data"
    (data / "references").mkdir(parents=True)
    for number, (name, count) in enumerate({"labelled": 12, "untranscribed": 12, "dev": 5}.items()):
        source, prepared = folder / "audio" / name, folder / "made" / name
        write_folder(source, count, number, transcribed=name != "untranscribed")
        assert main(["prepare", "folder", "--root", str(source), "--output", str(prepared)]) == 0
        kind = "untranscribed" if name == "untranscribed" else "labelled"
        (prepared / f"{kind}.jsonl.gz").rename(data / f"{name}.jsonl.gz")
    (folder / "audio/untranscribed.references.tsv").rename(data / "references/untranscribed.tsv")
    tree = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    tree |= {"output": str(folder / "run")}
    tree["corpus"]["directory"] = str(data)
    tree["pseudo_label"]["start_hours"] = 0.01
    tree["trainer"]["checkpoint_every_hours"] = 0.02
    tree["teacher"]["keep_for_average"] = True
    own = folder / "recipe.yaml"
    own.write_text(yaml.safe_dump(tree), encoding="utf-8")
    run = [*asr_command(), "train", str(own), "trainer.total_hours=0.03"]
    subprocess.run(run, check=True, capture_output=True, timeout=300)
    assert main(["decode", str(folder / "run"), str(data / "dev.jsonl.gz")]) == 0
    hypotheses = folder / HYPOTHESES
    texts = folder / "texts"
    texts.mkdir()
    (texts / "other.jsonl").write_bytes(hypotheses.read_bytes())
    lines = (folder / "audio/dev/transcripts.tsv").read_text(encoding="utf-8")
    (texts / "ref.tsv").write_text(lines, encoding="utf-8")
    pairs = [line.split("\t") for line in lines.splitlines()]
    (texts / "hyp.trn").write_text("".join(f"{text} ({name})\n" for name, text in pairs))
    audio = [str(folder / f"audio/dev/{name}.wav") for name, _ in pairs]
    nemo = [
        json.dumps({"audio_filepath": path, "text": text})
        for path, (_, text) in zip(audio, pairs, strict=True)
    ]
    (texts / "nemo.json").write_text("\n".join(nemo))
    kaldi = folder / "kaldi"
    kaldi.mkdir()
    (kaldi / "text").write_text("".join(f"{name} {text}\n" for name, text in pairs))
    recordings = zip(pairs, audio, strict=True)
    (kaldi / "wav.scp").write_text("".join(f"{name} {path}\n" for (name, _), path in recordings))
    (kaldi / "utt2spk").write_text("".join(f"{name} {name}\n" for name, _ in pairs))
    _write_long(folder / "long", folder / "audio/dev", pairs)
    for arguments in (CASES["audit"].arguments, CASES["prepare shar"].arguments):
        subprocess.run([*asr_command(), *arguments], check=True, capture_output=True, cwd=folder)
    (folder / "packed").mkdir()
    (data / "dev.shar").rename(folder / "packed/dev.shar")
    return World(folder)


def _write_long(folder: Path, parts: Path, pairs: list[list[str]]) -> None:
    """One recording of all the utterances with pauses, twice: beside a text, and beside captions."""
    folder.mkdir()
    pause = np.zeros(SAMPLE_RATE_HZ)
    audio = [soundfile.read(parts / f"{name}.wav")[0] for name, _ in pairs]
    waveform = np.concatenate([piece for samples in audio for piece in (samples, pause)])
    for name in ("talk", "film"):
        soundfile.write(folder / f"{name}.wav", waveform, SAMPLE_RATE_HZ)
    texts = [text for _, text in pairs]
    (folder / "talk.txt").write_text("\n".join(texts), encoding="utf-8")
    captions = [
        f"{at + 1}\n00:00:{3 * at:02},000 --> 00:00:{3 * at + 2:02},000\n{text}\n"
        for at, text in enumerate(texts)
    ]
    (folder / "film.srt").write_text("\n".join(captions), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("command", CASES)
def test_a_spoilt_file_gets_a_message(
    command: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = mutate_inputs(command, CASES[command], world, COUNT, SEED)
    with capsys.disabled():
        print("\n" + figures.say(f"{command}, seed {SEED}"))
    said = figures.say(command)
    for fault in ("tracebacks", "hangs", "other statuses", "silently other results"):
        assert not figures.counts[fault], said
