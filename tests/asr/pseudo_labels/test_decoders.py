"""How labels are decided: the path, samples, or a beam search with a language model."""

from __future__ import annotations

import math
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
from asr.config.recipe import parse_config
from asr.config.schema import Config
from asr.data.segments import Kind, Segment
from asr.decoding.greedy import greedy
from asr.model.tokenizer import CharacterTokenizer
from asr.pseudo_labels.decoders import LabelRequest, make_label_decoder


@pytest.fixture(scope="module")
def letters_model(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lm") / "letters.arpa"
    options = ["--cuts", str(corpus / "labelled.jsonl.gz"), "--output", str(path), "--order", "3"]
    assert main(["prepare", "lm", *options]) == 0
    return path


def recipe_with(decision: str, **settings: object) -> Config:
    return parse_config(
        {
            "corpus": {"untranscribed": ["some"]},
            "tokenizer": {"characters": LETTERS},
            "pseudo_label": {"start_hours": 0, "decision": decision, **settings},
        },
        "test",
    )


TOKENIZER = CharacterTokenizer(LETTERS)


def asked(count: int, hours: float = 0.0) -> LabelRequest:
    segments = [Segment(Kind.UNTRANSCRIBED, index, 0, 1.0) for index in range(count)]
    return LabelRequest(segments, [""] * count, hours)


def random_logits(utterances: int, frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.randn(utterances, frames, TOKENIZER.vocabulary_size, generator=generator)


FRAMES = {"filters": {"confidence": "frames"}}


def test_the_search_decides_and_the_path_s_confidence_stays(letters_model: Path) -> None:
    pytest.importorskip("flashlight.lib.text")
    logits, lengths = random_logits(3, 40), torch.tensor([40, 25, 0])
    paths = greedy(logits, lengths)
    weak, strong = (
        make_label_decoder(
            recipe_with("beam", beam={"language_model": str(letters_model), **search}, **FRAMES),
            TOKENIZER,
        )
        for search in ({"lm_weight": 0.0, "beam_size": 100}, {"lm_weight": 3.0})
    )
    said = make_label_decoder(recipe_with("greedy"), TOKENIZER)(logits, lengths, asked(3))
    assert [label.tokens for label in said] == [path.tokens for path in paths]
    labels = strong(logits, lengths, asked(3))
    confidences = [label.metrics.confidence for label in labels]
    assert confidences == pytest.approx([path.confidence for path in paths])
    assert labels[0].tokens != weak(logits, lengths, asked(3))[0].tokens
    assert labels[2].tokens == []
    alone = strong(logits[1:2], lengths[1:2], asked(1))
    assert alone[0].tokens == labels[1].tokens


def likelihood(logits: torch.Tensor, tokens: list[int]) -> float:
    """CTC's, in float64, to the power of one over the tokens."""
    loss = torch.nn.functional.ctc_loss(
        logits.double().log_softmax(-1)[:, None],
        torch.tensor([tokens]),
        torch.tensor([len(logits)]),
        torch.tensor([len(tokens)]),
        reduction="sum",
    )
    return math.exp(-float(loss) / max(1, len(tokens)))


def test_the_confidence_is_that_of_the_label_whoever_decided_it(letters_model: Path) -> None:
    pytest.importorskip("flashlight.lib.text")
    logits, lengths = random_logits(1, 40), torch.tensor([40])
    request = LabelRequest([Segment(Kind.UNTRANSCRIBED, 0, 0, 1.0)], ["fed a bad cab"], 0.0)
    search = {"language_model": str(letters_model), "lm_weight": 3.0}
    said = {}
    for decision in ("greedy", "sample", "beam", "oracle"):
        settings = {"beam": search} if decision == "beam" else {}
        decoder = make_label_decoder(recipe_with(decision, **settings), TOKENIZER)
        [label] = decoder(logits, lengths, request)
        assert label.metrics.confidence_measure == "likelihood"
        assert label.metrics.confidence == pytest.approx(likelihood(logits[0], label.tokens), 1e-4)
        said[decision] = label.metrics.confidence
    assert said["oracle"] < said["beam"] < said["greedy"], (
        "so far is it from what the teacher reads"
    )


def test_a_reference_that_does_not_fit_is_not_believed() -> None:
    request = LabelRequest([Segment(Kind.UNTRANSCRIBED, 0, 0, 1.0)], ["abc"], 0.0)
    [label] = make_label_decoder(recipe_with("oracle"), TOKENIZER)(
        random_logits(1, 2), torch.tensor([2]), request
    )
    assert (label.tokens, label.metrics.confidence) == (TOKENIZER.encode("abc"), 0.0)


def test_metrics_of_a_known_distribution() -> None:
    logits = torch.zeros(1, 4, TOKENIZER.vocabulary_size)
    logits[0, :3, 0] = 50.0  # three frames of certain blank, one of no idea
    [label] = make_label_decoder(recipe_with("greedy", **FRAMES), TOKENIZER)(
        logits, torch.tensor([4]), asked(1)
    )
    size = TOKENIZER.vocabulary_size
    assert label.metrics.blank_share == 1.0
    assert label.metrics.confidence == pytest.approx((3 + 1 / size) / 4)
    assert label.metrics.entropy == pytest.approx(math.log(size) / 4)


def test_samples_follow_the_distribution_and_anneal_to_the_path() -> None:
    decision = make_label_decoder(
        recipe_with("sample", sample={"temperature": 0.8, "anneal_hours": 10}), TOKENIZER
    )
    probabilities = torch.zeros(TOKENIZER.vocabulary_size)
    probabilities[1], probabilities[2] = 0.3, 0.7
    # One frame an utterance: its label is a draw. The temperature sharpens what it is drawn from.
    logits = probabilities.clamp(min=1e-30).log().expand(4000, 1, -1)
    labels = decision(logits, torch.ones(4000, dtype=torch.long), asked(4000))
    share = sum(label.tokens == [2] for label in labels) / 4000
    expected = 0.7**1.25 / (0.3**1.25 + 0.7**1.25)
    assert share == pytest.approx(expected, abs=0.03)

    logits, lengths = random_logits(3, 40), torch.tensor([40, 25, 0])
    entropies = []
    for hours in (0.0, 5.0, 9.0, 10.0, 20.0):
        labels = decision(logits, lengths, asked(3, hours))
        entropies.append(labels[0].metrics.entropy)
        again = decision(logits[:1], lengths[:1], asked(1, hours))
        assert again[0].tokens == labels[0].tokens, "a draw is the segment's own"
    assert entropies == sorted(entropies, reverse=True)
    assert entropies[-1] == 0.0
    assert [label.tokens for label in labels] == [p.tokens for p in greedy(logits, lengths)]


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
    assert (
        "none.arpa: no such file; `asr prepare lm --cuts SET.jsonl.gz --output lm.arpa` makes one"
        in message
    )


@pytest.mark.slow
def test_runs_with_a_language_model(
    train: Train, recipe: Path, fluent: Path, letters_model: Path, corpus: Path
) -> None:
    pytest.importorskip("flashlight.lib.text")
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
    assert errors[1] > errors[0] + 1, "so heavy a language model spoils what is recognised"

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
