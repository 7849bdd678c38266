"""Measures of confidence: against their definitions in float64, and against the errors of labels."""

from __future__ import annotations

import itertools
import math
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from asr.config.pseudo_label import FilterConfig
from asr.config.recipe import parse_config
from asr.data.segments import Kind, Segment
from asr.decoding.confidence import MEASURES, confidences
from asr.model.ctc import best_paths, collapse
from asr.model.tokenizer import CharacterTokenizer
from asr.pseudo_labels.decoders import LabelRequest, make_label_decoder
from asr.pseudo_labels.filters import token_error_rate

BLANK = 0


def random_logits(utterances: int, frames: int, vocabulary: int) -> Tensor:
    return 2 * torch.randn(
        utterances, frames, vocabulary, generator=torch.Generator().manual_seed(1)
    )


def test_every_name_is_a_setting() -> None:
    assert set(get_args(FilterConfig.model_fields["confidence"].annotation)) == set(MEASURES)
    assert FilterConfig().confidence == "likelihood"


def test_the_likelihood_is_the_sum_over_all_alignments() -> None:
    """Each of the 4^6 paths, in float64."""
    logits = random_logits(1, 6, 4)
    posteriors = logits[0].double().softmax(-1)
    by_label: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(4), repeat=6):
        label = tuple(collapse(torch.tensor(path)))
        probability = math.prod(float(posteriors[s, v]) for s, v in enumerate(path))
        by_label[label] = by_label.get(label, 0.0) + probability
    labels = [list(label) for label in by_label]
    count, lengths = len(labels), torch.full((len(labels),), 6)
    found = confidences("likelihood", logits.expand(count, -1, -1), lengths, labels)
    expected = [p ** (1 / max(1, len(label))) for label, p in by_label.items()]
    assert found == pytest.approx(expected, rel=1e-5)
    assert sum(f ** max(1, len(label)) for f, label in zip(found, labels, strict=True)) == (
        pytest.approx(1.0, rel=1e-4)
    )


def test_measures_of_the_path_are_what_they_say() -> None:
    logits, lengths = random_logits(20, 30, 5), torch.arange(11, 31)
    labels = best_paths(logits, lengths)
    log_posteriors, paths = logits.double().log_softmax(-1).max(-1)
    expected: dict[str, list[float]] = {name: [] for name in MEASURES if name != "likelihood"}
    for log_S, path_S, frames, label in zip(log_posteriors, paths, lengths, labels, strict=True):
        log_S, path = log_S[:frames].numpy(), path_S[:frames].tolist()
        places = np.split(np.arange(int(frames)), np.flatnonzero(np.diff(path)) + 1)
        of_tokens = [np.exp(log_S[run]).max() for run in places if path[run[0]] != BLANK]
        assert len(of_tokens) == len(label)
        expected["path"].append(math.exp(log_S.sum() / len(label)))
        expected["tokens"].append(float(np.mean(of_tokens)))
        expected["token_frames"].append(float(np.exp(log_S)[np.array(path) != BLANK].mean()))
        expected["frames"].append(float(np.exp(log_S).mean()))
    for name, values in expected.items():
        assert confidences(name, logits, lengths, labels) == pytest.approx(values, rel=1e-5)
        assert confidences(name, logits, lengths, [[]] * 20) == pytest.approx(values, rel=1e-5)
        assert all(0 <= value <= 1 for value in values)


@pytest.mark.parametrize("measure", MEASURES)
def test_there_is_always_a_number(measure: str) -> None:
    silence = torch.zeros(4, 3, 5)
    silence[:, :, BLANK] = 2.0
    silence[3] = torch.nan
    labels: list[list[int]] = [[], [1, 1, 1], [], [1]]
    blanks, impossible, without_frames, not_finite = confidences(
        measure, silence, torch.tensor([3, 3, 0, 3]), labels
    )
    blank = float(silence[0, 0].double().softmax(-1)[BLANK])
    by_measure = {"likelihood": blank**3, "path": blank**3, "frames": blank}
    assert blanks == pytest.approx(by_measure.get(measure, 0.0), rel=1e-5)
    assert without_frames == not_finite == 0.0
    if measure == "likelihood":
        assert impossible == 0.0, "three equal tokens take five frames"
    assert confidences(measure, silence[:0], torch.tensor([], dtype=torch.long), []) == []
    assert confidences(measure, silence[:1], torch.tensor([0]), [[]]) == [0.0]


def drowned_in_blanks(utterances: int) -> tuple[Tensor, Tensor, list[float]]:
    """Logits (B, S, V), lengths (B,), and the error rates of the greedy labels.

    A token takes one frame, with a posterior of about 0.5 where it is wrong, else of 0.95. Between two stand 1
    to 40 frames of blank, as fast or slow as the speaker is, each with a posterior of 0.995 to 1.
    """
    random = np.random.default_rng(0)
    tokens, vocabulary, lengths, rates, of_all = 20, 6, [], [], []
    for pause in np.exp(random.uniform(0, np.log(40), utterances)).astype(int):
        reference = random.integers(1, vocabulary, tokens)
        wrong = random.random(tokens) < random.uniform(0.05, 0.4)
        said = np.where(wrong, reference % (vocabulary - 1) + 1, reference)
        lengths.append(tokens * (1 + pause))
        posteriors = np.zeros((tokens * 41, vocabulary))
        posteriors[: lengths[-1], BLANK] = random.uniform(0.995, 1.0, lengths[-1])
        places = np.arange(0, lengths[-1], 1 + pause)
        posteriors[places] = 0
        sure = np.where(wrong, 0.5, 0.95) + random.uniform(-0.05, 0.03, tokens)
        posteriors[places, said] = sure
        posteriors += (1 - posteriors.sum(1, keepdims=True)) / vocabulary
        of_all.append(posteriors)
        rates.append(token_error_rate(said.tolist(), reference.tolist()))
    return torch.tensor(np.array(of_all)).log(), torch.tensor(lengths), rates


def rank_correlation(left: list[float], right: list[float]) -> float:
    """Spearman's; equal values share their mean rank."""

    def ranks(values: list[float]) -> np.ndarray:
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts - 1) / 2)[place]

    return float(np.corrcoef(ranks(left), ranks(right))[0, 1])


def correlation_with_errors(**filters: str) -> float:
    """Of a greedy label's confidence with its error rate."""
    tree = {"tokenizer": {"characters": "abcde"}, "corpus": {"untranscribed": ["some"]}}
    config = parse_config({**tree, "pseudo_label": {"start_hours": 0, "filters": filters}}, "test")
    logits, lengths, rates = drowned_in_blanks(200)
    segments = [Segment(Kind.UNTRANSCRIBED, n, 0, 1.0) for n in range(200)]
    decode = make_label_decoder(config, CharacterTokenizer("abcde"))
    labels = decode(logits, lengths, LabelRequest(segments, [""] * 200, 0.0))
    return rank_correlation([label.metrics.confidence for label in labels], rates)


def test_blank_frames_do_not_drown_what_tells_good_labels_from_bad_ones() -> None:
    """A filter by the mean over all frames would keep labels for their pauses: rank correlation -0.25."""
    assert correlation_with_errors() < -0.9
    assert correlation_with_errors(confidence="path") < -0.9
    assert correlation_with_errors(confidence="tokens") < -0.95
    assert -0.3 < correlation_with_errors(confidence="frames") < -0.2
