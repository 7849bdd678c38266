"""Tokens of a label weigh what the teacher's confidence in them says, whatever happens to the label."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("transformers")

from store_helpers import keep
from whisper_helpers import VOCABULARY, write_whisper

from asr.__main__ import main
from asr.config.recipe import parse_config
from asr.config.schema import Config
from asr.data.segments import Kind, Segment
from asr.data.transcripts import training_tokenizer
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.model.make import make_front_end, make_model
from asr.pseudo_labels.decoders import LabelRequest, make_label_decoder
from asr.pseudo_labels.label import Label, LabelMetrics, token_weights
from asr.pseudo_labels.ledger import LabelLedger, read_ledger
from asr.pseudo_labels.ledger_stats import Columns, metrics
from asr.pseudo_labels.records import LabelRecord
from asr.pseudo_labels.store import LabelStore


@given(st.lists(st.floats(2**-20, 1, width=32), min_size=1, max_size=30))
def test_they_are_in_proportion_and_one_on_average(sure: list[float]) -> None:
    weights = token_weights(sure)
    assert weights is not None
    assert math.fsum(weights) == pytest.approx(len(sure))
    assert all(a * sure[0] == pytest.approx(weights[0] * b) for a, b in zip(weights, sure))  # noqa: B905


def test_where_nobody_is_sure_all_count_alike() -> None:
    assert token_weights([]) is None
    assert token_weights([0.0, 0.0]) is None


def config_of(folder: Path, **policy: Any) -> Config:
    model = {"kind": "encoder_decoder", "pretrained": str(folder), "window_seconds": 1.0}
    return parse_config({"model": model, "pseudo_label": policy}, "test")


@pytest.mark.parametrize("decision", ["greedy", "beam", "oracle"])
def test_the_teacher_s_probabilities_go_with_the_label(tmp_path: Path, decision: str) -> None:
    write_whisper(tmp_path, scale=8.0)
    config = config_of(tmp_path, decision=decision, token_weights="confidence")
    network = make_model(config, VOCABULARY).eval()
    assert isinstance(network, EncoderDecoder)
    wave_BN = 0.1 * torch.randn(2, 32_000, generator=torch.Generator().manual_seed(1))
    features = make_front_end(config, network.encoder)(wave_BN, torch.tensor([32_000, 16_000]))
    segments = [Segment(Kind.UNTRANSCRIBED, n, 0, seconds) for n, seconds in enumerate((2.0, 1.0))]
    request = LabelRequest(segments, ["ab", "c d"], 1.0)

    def labels(given: Config) -> list[Label]:
        decoder = make_label_decoder(given, training_tokenizer(given))
        with torch.no_grad():
            return decoder.labels(network, *features, request)

    for label, bare in zip(
        labels(config), labels(config_of(tmp_path, decision=decision)), strict=True
    ):
        assert (label.tokens, label.metrics, bare.confidences) == (bare.tokens, bare.metrics, ())
        assert len(label.confidences) == len(label.tokens) + (label.dropped is None)
        mean = math.fsum(math.log(one) for one in label.confidences) / len(label.confidences)
        assert math.exp(mean) == pytest.approx(label.metrics.confidence, rel=1e-4)


def test_a_checkpoint_and_the_ledger_have_them_as_they_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sure = torch.rand(3, generator=torch.Generator().manual_seed(1)).tolist()
    labels = [
        Label([4, 5], LabelMetrics(0.5, 0.0, 0.1, ctc_score=0.25), confidences=sure),
        Label([6], LabelMetrics(0.5, 0.0, 0.1)),
    ]
    rows = [LabelRecord((0, n), f"u{n}", 1.0, one, "x", None, None) for n, one in enumerate(labels)]
    store = LabelStore()
    keep(store, rows)
    again = LabelStore.from_tensors(store.tensors())
    assert token_weights(again.kept[0, 0].confidences) == token_weights(sure)
    assert token_weights(again.kept[0, 1].confidences) is None
    # A checkpoint of a version that did not weigh tokens.
    older = {n: t for n, t in store.tensors().items() if "confidence" not in n}
    assert [one.confidences for one in LabelStore.from_tensors(older).kept.values()] == [[], []]
    ledger = LabelLedger(tmp_path, 0)
    ledger.note_labels(1, rows)
    ledger.write(1)
    table = read_ledger(tmp_path, "labels")
    assert table["token_confidences"].to_pylist() == [sure, None]
    found = metrics(Columns.read(table))
    assert (found["labels"], found["ctc_score"]) == (2, pytest.approx(0.25))
    assert main(["labels", "stats", str(tmp_path)]) == 0
    assert "CTC score" in capsys.readouterr().out
