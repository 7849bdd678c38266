"""The LibriSpeech recipes: shrunk, from run.sh, on a genuine sample; and their networks at full size."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import torch
from conftest import asr_command, peak_memory, read_lines

from asr.__main__ import main
from asr.config.recipe import load_config
from asr.model.make import make_model
from asr.planning.estimates import parameter_count

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes/librispeech"
SAMPLE = ROOT.parent / "shared/data/librispeech-sample"
NAMES = ("supervised_100h", "supervised_960h", "100h_860h", "10h_950h")
SMALL = [
    "corpus.labelled=[train-clean-100]",
    "corpus.dev=[dev-clean]",
    "corpus.test=[dev-clean]",
    "model.width=32",
    "model.heads=2",
    "model.layers=2",
    "model.feed_forward_width=64",
    "scaling.reference_batch_seconds=60",
    "batch.batch_seconds=60",
    "batch.batch_seconds_per_rank=null",
    "batch.group_seconds=15",
    "trainer.total_hours=0.08",
    "trainer.loader_workers=0",
]
OF_PSEUDO_LABELLED = ["corpus.untranscribed=[test-clean]", "pseudo_label.start_hours=0.02"]
needs_sample = pytest.mark.skipif(
    not SAMPLE.is_dir(), reason="no LibriSpeech sample beside the checkout"
)


def small(name: str) -> list[str]:
    return SMALL if name.startswith("supervised") else [*SMALL, *OF_PSEUDO_LABELLED]


def run_sh(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(RECIPES / "run.sh"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, prepared once."""
    folder = tmp_path_factory.mktemp("librispeech")
    assert main(["prepare", "librispeech", "--root", str(SAMPLE), "--output", str(folder)]) == 0
    return folder


_QUICK = ("100h_860h",)
"""With labels; the others differ in their sets and numbers, or have none."""


@needs_sample
@pytest.mark.parametrize(
    "name", [n if n in _QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
)
def test_a_recipe_from_run_sh(data: Path, tmp_path: Path, name: str) -> None:
    settings = [*small(name), f"corpus.directory={data}", f"output={tmp_path / 'run'}"]
    done = run_sh("--recipe", name, "--root", str(SAMPLE), *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no problem found" in done.stdout
    updates = [line for line in read_lines(tmp_path / "run/metrics.jsonl") if "loss" in line]
    assert len(updates) >= 4
    assert any(line["loss_labelled"] for line in updates)
    labels = [line for line in updates if line["loss_pseudo_labelled"]]
    assert bool(labels) == (not name.startswith("supervised"))
    assert (tmp_path / "run/report/index.html").is_file()


@needs_sample
@pytest.mark.slow
def test_limited_sets_and_shards_by_the_data_stage(tmp_path: Path) -> None:
    """With lists, of a corpus that holds some parts only, and packed."""
    names = sorted(path.stem for path in SAMPLE.glob("LibriSpeech/train-clean-100/*/*/*.flac"))
    (tmp_path / "10h.txt").write_text("\n".join(names[::2]))
    rest = "train-clean-100-without-10h"
    settings = ["corpus.labelled=[train-10h.shar]", f"corpus.untranscribed=[{rest}]"]
    settings += [s for s in small("10h_950h") if not s.startswith(("corpus.lab", "corpus.untr"))]
    settings += [f"corpus.directory={tmp_path / 'data'}", f"output={tmp_path / 'run'}"]
    settings += ["tokenizer.kind=sentencepiece"]
    settings += [f"tokenizer.sentencepiece_model={tmp_path / 'pieces/tokenizer.model'}"]
    (tmp_path / "mine.yaml").write_text(f"base: {RECIPES / '10h_950h.yaml'}\n")
    command = ["bash", str(RECIPES / "run.sh"), "--recipe", "mine.yaml", "--lists", "."]
    command += ["--root", str(SAMPLE), "--to", "check", *settings]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no problem found" in done.stdout
    assert (tmp_path / "data/train-10h.shar").is_dir()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["model.widht=3"], "unknown key 'model.widht'; did you mean 'model.width'?"),
        (["--ranks=4"], "unknown option '--ranks=4'; options are written '--name value'"),
        (["--ranks", "two"], "--ranks two: give a whole number"),
        (["--nodes", "2", "--from", "check"], "--nodes 2 needs --node-rank"),
        (["--node-rank", "1", "--master-addr", "x"], "the machines are 0 to 0"),
        (["--from", "train", "--to", "data"], "data comes before train"),
        (["--hostfile", "empty"], "names no machine"),
        (["--hostfile", "slotless"], "'127.0.0.1' is not 'HOST slots=N'"),
        (["--recipe", "100h_860"], "no such recipe"),
    ],
)
def test_run_sh_says_what_is_wrong_in_a_line(options: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nobody\n\n")
    (tmp_path / "slotless").write_text("localhost slots=2\n127.0.0.1\n")
    command = ["bash", str(RECIPES / "run.sh"), "--recipe", "100h_860h", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    [line] = done.stderr.splitlines()
    assert said in line


def test_recipes_are_short_and_inherit() -> None:
    for name in NAMES:
        text = (RECIPES / f"{name}.yaml").read_text()
        assert len(text.splitlines()) < 80
        assert "base: base.yaml" in text
        config = load_config(RECIPES / f"{name}.yaml")
        assert config.scaling.reference_batch_seconds == 2320


@pytest.mark.parametrize(
    ("name", "millions", "stride"), [("100h_860h", 256.0, 3), ("100h_860h_70m", 69.9, 3)]
)
def test_the_networks_on_the_meta_device(name: str, millions: float, stride: int) -> None:
    config = load_config(RECIPES / f"{name}.yaml")
    vocabulary = 29
    with torch.device("meta"):
        model = make_model(config, vocabulary)
        logits, lengths = model(torch.empty(2, 1000, 80), torch.empty(2, dtype=torch.long))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == parameter_count(config, vocabulary)
    assert count / 1e6 == pytest.approx(millions, abs=0.1)
    assert logits.shape == (2, -(-1000 // stride), vocabulary)
    assert lengths.shape == (2,)


@needs_sample
def test_a_signal_saves_and_the_same_command_goes_on(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = [*small("supervised_100h"), f"corpus.directory={data}", f"output={run}"]
    command = ["bash", str(RECIPES / "run.sh"), "--recipe", "supervised_100h", "--from", "train"]
    command += ["--to", "train", *settings, "trainer.total_hours=2"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 200
    while not (run / "metrics.jsonl").is_file() or not (run / "metrics.jsonl").read_bytes():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 75, said
    assert "run the same command to go on" in said
    assert (run / "latest").is_file(), "it saved before it stopped"
    assert not (run / "complete.json").exists()


@pytest.mark.slow
@needs_sample
def test_one_real_update_of_the_large_network(data: Path, tmp_path: Path) -> None:
    """In bf16, on the CPU, labelled and pseudo-labelled, teacher included: under 16 GB."""
    settings = [
        *[s for s in small("100h_860h") if not s.startswith("model.")],
        f"corpus.directory={data}",
        f"output={tmp_path / 'run'}",
        "corpus.dev=[]",
        "pseudo_label.start_hours=0",
        "batch.batch_seconds=15",
        "batch.group_seconds=15",
        "teacher.update_interval_seconds=0",
        "trainer.total_hours=0.003",
        "trainer.checkpoint_every_hours=1",
    ]
    recipe = str(RECIPES / "100h_860h.yaml")
    command = [*asr_command(), "train", recipe, *settings]
    peak_bytes, _ = peak_memory(command, timeout=900)
    [update, *_] = [line for line in read_lines(tmp_path / "run/metrics.jsonl") if "loss" in line]
    assert update["teacher_momentum"] is not None
    assert peak_bytes < 16e9


@needs_sample
@pytest.mark.slow
def test_two_machines_under_a_hostfile(data: Path, tmp_path: Path) -> None:
    """Two launchers on this machine, each a node of the hostfile, meet over loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hostfile = tmp_path / "hostfile"
    hostfile.write_text("127.0.0.1 slots=1\nlocalhost slots=1\n")
    settings = [*small("100h_860h"), f"corpus.directory={data}", f"output={tmp_path / 'two'}"]
    command = ["bash", str(RECIPES / "run.sh"), "--recipe", "100h_860h", "--from", "train"]
    command += ["--to", "train", "--hostfile", str(hostfile), "--master-addr", "127.0.0.1"]
    nodes = [
        subprocess.Popen(
            [*command, "--master-port", str(port), "--node-rank", str(node), *settings],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "DS_ACCELERATOR": "cpu"},
        )
        for node in (0, 1)
    ]
    said = [node.communicate(timeout=300)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(said)
    one = [*asr_command(), "train", str(RECIPES / "100h_860h.yaml"), *settings]
    subprocess.run([*one, f"output={tmp_path / 'one'}"], check=True, capture_output=True)
    utterances = [read_lines(tmp_path / run / "utterances.jsonl") for run in ("one", "two")]
    assert utterances[0] == utterances[1]
    losses = [
        [line["loss"] for line in read_lines(tmp_path / run / "metrics.jsonl") if "loss" in line]
        for run in ("one", "two")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.2), "in bf16, with each rank's own dropout"
    assert len(losses[0]) >= 4
