"""Forty files in a hundred of the untranscribed set hold noise and no speech."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import FLUENT, PLAIN, SAMPLE_RATE_HZ, Train, final, read_lines
from method_helpers import ledger


@pytest.fixture(scope="module")
def noisy(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus, and 27 files of noise beside its 40 untranscribed utterances."""
    from asr.data_prep import cli

    folder = tmp_path_factory.mktemp("noisy")
    random = np.random.default_rng(5)
    for number in range(27):
        noise = 0.01 * random.standard_normal(int(random.uniform(1, 3) * SAMPLE_RATE_HZ))
        (folder / "in").mkdir(exist_ok=True)
        soundfile.write(folder / "in" / f"noise-{number:02d}.wav", noise, SAMPLE_RATE_HZ)
    assert cli.main(["folder", "--root", str(folder / "in"), "--output", str(folder / "out")]) == 0
    data = folder / "data"
    data.mkdir()
    for name in ("labelled", "dev"):
        (data / f"{name}.jsonl.gz").write_bytes((corpus / f"{name}.jsonl.gz").read_bytes())
    lines = [
        line
        for path in (corpus, folder / "out")
        for line in gzip.decompress((path / "untranscribed.jsonl.gz").read_bytes()).splitlines()
    ]
    (data / "untranscribed.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines) + b"\n"))
    return data


@pytest.mark.slow
def test_noise_is_left_out_by_reason_and_rings_no_alarm(
    noisy: Path, fluent: Path, train: Train
) -> None:
    run = train(
        "noisy",
        *PLAIN,
        *FLUENT,
        f"corpus.directory={noisy}",
        f"init_from={final(fluent)}",
        "pseudo_label.start_hours=0.005",
        "trainer.total_hours=0.08",
        "trainer.evaluation_every_hours=0.03",
    )
    log = (run / "train.log").read_text()
    assert "unhealthy" not in log
    assert "left out until" not in log
    reasons = Counter((row["utterance"].startswith("noise"), row["dropped"]) for row in ledger(run))
    noise = sum(count for (is_noise, _), count in reasons.items() if is_noise)
    assert 0.25 < noise / sum(reasons.values()) < 0.55
    assert reasons[True, "no_speech"] > 0.9 * noise
    assert reasons[False, "no_speech"] == 0
    lines = [line for line in read_lines(run / "metrics.jsonl") if "loss" in line]
    assert 0.2 < lines[-1]["pseudo_label_no_speech_share"] < 0.6
