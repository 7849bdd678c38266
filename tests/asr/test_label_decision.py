"""How labels are decided: the greedy path, or a beam search with a language model, in whole runs too."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from conftest import (
    FLUENT,
    LETTERS,
    PLAIN,
    Train,
    asr_command,
    final,
    losses,
    read_lines,
    relative_distance,
)

from asr.__main__ import main
from asr.config import PseudoLabelConfig
from asr.decode import greedy
from asr.label_decision import LabelDecision
from asr.tokenizer import CharacterTokenizer

pytest.importorskip("flashlight.lib.text")


@pytest.fixture(scope="module")
def letters_model(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lm") / "letters.arpa"
    options = ["--cuts", str(corpus / "labelled.jsonl.gz"), "--output", str(path), "--order", "3"]
    assert main(["prepare", "lm", *options]) == 0
    return path


def policy(model: Path, **search: object) -> PseudoLabelConfig:
    return PseudoLabelConfig.model_validate(
        {
            "start_hours": 0,
            "decision": "beam",
            "beam": {"language_model": str(model), **search},
        }
    )


def test_the_search_decides_and_the_confidence_stays_the_path_s(letters_model: Path) -> None:
    tokenizer = CharacterTokenizer(LETTERS)
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(3, 40, tokenizer.vocabulary_size, generator=generator)
    lengths = torch.tensor([40, 25, 0])
    paths = greedy(logits, lengths)
    weak = LabelDecision.of(policy(letters_model, lm_weight=0.0, beam_size=100), tokenizer)
    strong = LabelDecision.of(policy(letters_model, lm_weight=3.0), tokenizer)
    assert LabelDecision.of(PseudoLabelConfig(start_hours=0), tokenizer)(logits, lengths) == paths
    labels = strong(logits, lengths)
    assert [label.confidence for label in labels] == [path.confidence for path in paths]
    assert labels[0].tokens != weak(logits, lengths)[0].tokens
    assert labels[2].tokens == []
    alone = strong(logits[1:2], lengths[1:2])
    assert alone[0].tokens == labels[1].tokens


def test_a_missing_model_stops_a_run_before_it_starts(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [
        f"output={tmp_path / 'run'}",
        "pseudo_label.decision=beam",
        f"pseudo_label.beam.language_model={tmp_path / 'none.arpa'}",
    ]
    assert main(["train", str(recipe), *settings]) == 2
    message = capsys.readouterr().err
    assert "none.arpa: no such file; `asr prepare lm` makes one" in message


def test_runs_with_a_language_model(
    train: Train, recipe: Path, fluent: Path, letters_model: Path, corpus: Path
) -> None:
    from_fluent = [
        *PLAIN,
        *FLUENT,
        f"fork_from={final(fluent)}",
        "pseudo_label.start_hours=0.12",
        "trainer.total_hours=0.15",
    ]
    search = ["pseudo_label.decision=beam", "pseudo_label.beam.lm_weight=4"]
    of_letters = f"pseudo_label.beam.language_model={letters_model}"
    one, two = (
        train(name, *from_fluent, *search, of_letters, ranks=ranks)
        for name, ranks in (("one", 1), ("two", 2))
    )
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert relative_distance(*(final(r) / "teacher.safetensors" for r in (one, two))) < 1e-5
    greedy_labels = train("greedy", *from_fluent)
    errors = [
        [line["pseudo_label_cer"] for line in read_lines(run / "metrics.jsonl") if "loss" in line][
            -1
        ]
        for run in (greedy_labels, one)
    ]
    assert errors[0] < 1
    assert errors[1] > errors[0] + 1, "so heavy a language model spoils what is heard"

    of_others = letters_model.with_name("other.arpa")
    options = ["--cuts", str(corpus / "dev.jsonl.gz"), "--output", str(of_others), "--order", "3"]
    assert main(["prepare", "lm", *options]) == 0

    def said(*settings: str) -> str:
        command = [*asr_command(), "train", str(recipe), *from_fluent, *search, *settings]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    changed = f"pseudo_label.beam.language_model={of_others}"
    continued = said(f"output={one}", changed, "trainer.total_hours=0.155")
    assert "decided its labels otherwise (language_model, language_model_sha256)" in continued
    forked = said(f"output={one.with_name('forked')}", changed, "trainer.total_hours=0.125")
    assert "decided its labels otherwise" not in forked, "the run it forks from never labelled"
