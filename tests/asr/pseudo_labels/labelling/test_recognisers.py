"""Recognisers of others: tiny random ones in Hugging Face's layout; and what a missing package leads to."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ctc_helpers import write_ctc
from torch import Tensor

from asr.data.dataset import SpeechSet
from asr.decoding.safeguards import GREEDY
from asr.errors import UserError
from asr.pseudo_labels.labelling.decoding import work_of
from asr.pseudo_labels.labelling.recogniser import Choice, Recogniser, load_recogniser
from asr.pseudo_labels.labelling.written import WritingRecogniser

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def ctc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav2vec 2.0 whose blank is not token 0."""
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("ctc")
    write_ctc(folder)
    return folder


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper of windows of one second."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("whisper")
    from tokenizers.pre_tokenizers import ByteLevel

    vocabulary = {letter: n for n, letter in enumerate(sorted(ByteLevel.alphabet()))}
    end = len(vocabulary)
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"]
    vocabulary |= {token: end + n for n, token in enumerate(special)}
    tokenizer = transformers.WhisperTokenizer(vocab=vocabulary, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    config = transformers.WhisperConfig(
        vocab_size=len(vocabulary),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=50,
        max_target_positions=12,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=end + 1,
        suppress_tokens=[5],
        begin_suppress_tokens=[end],
    )
    torch.manual_seed(4)
    model = transformers.WhisperForConditionalGeneration(config)
    for name, weight in model.named_parameters():
        if weight.dim() > 1 and "positions" not in name:
            torch.nn.init.normal_(weight, std=0.5)
    extractor = transformers.WhisperFeatureExtractor(chunk_length=1)
    for part in (model, tokenizer, extractor):
        part.save_pretrained(folder)
    return folder


def speech(*seconds: float) -> tuple[Tensor, Tensor]:
    samples_B = torch.tensor([round(16_000 * one) for one in seconds])
    waveforms_BN = torch.randn(
        len(seconds), int(samples_B.max()), generator=torch.Generator().manual_seed(1)
    )
    inside_BN = torch.arange(waveforms_BN.shape[1]) < samples_B[:, None]
    return waveforms_BN * inside_BN, samples_B


def loaded(folder: Path) -> Recogniser:
    recogniser = load_recogniser(Choice(str(folder)), CPU)
    assert recogniser.sample_rate_hz == 16_000
    return recogniser


@torch.inference_mode()
def test_a_ctc_model_hears_what_transformers_hears_whatever_its_batch(ctc: Path) -> None:
    import transformers

    recogniser = loaded(ctc)
    waveforms_BN, samples_B = speech(0.5, 0.9, 0.3)
    heard = recogniser(waveforms_BN, samples_B)
    model = transformers.Wav2Vec2ForCTC.from_pretrained(ctc).eval()
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(ctc)
    tokenizer = transformers.Wav2Vec2CTCTokenizer.from_pretrained(ctc)
    for place, samples in enumerate(samples_B.tolist()):
        wave = waveforms_BN[place, :samples].numpy()
        inputs = extractor(wave, sampling_rate=16_000, return_tensors="pt")
        path = model(**inputs).logits.argmax(-1)[0]
        # With skip_special_tokens it would drop the blanks first, and then merge what they part.
        expected = re.sub(r"<[^>]*>", "", tokenizer.decode(path))
        assert heard[place].text.split() == expected.split()
        assert 0 < heard[place].metrics.confidence < 1
        assert heard[place].metrics.blank_share == pytest.approx(float((path == 5).float().mean()))
    assert any(one.text for one in heard)


@torch.inference_mode()
def test_whisper_hears_what_transformers_hears_and_how_surely(whisper: Path) -> None:
    import transformers

    recogniser = loaded(whisper)
    assert isinstance(recogniser, WritingRecogniser)
    recogniser = replace(recogniser, settings=GREEDY)
    special = recogniser.network.special
    waveforms_BN, samples_B = speech(0.4, 1.0, 0.7)
    heard = recogniser(waveforms_BN, samples_B)
    model = transformers.WhisperForConditionalGeneration.from_pretrained(whisper).eval()
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(whisper)
    tokenizer = transformers.WhisperTokenizer.from_pretrained(whisper)
    for place, samples in enumerate(samples_B.tolist()):
        wave = waveforms_BN[place, :samples].numpy()
        features = extractor(wave, sampling_rate=16_000, return_tensors="pt").input_features
        out = model.generate(
            features,
            decoder_input_ids=torch.tensor([special.prompt]),
            suppress_tokens=list(special.suppressed),
            max_length=12,
            return_dict_in_generate=True,
            output_scores=True,
        )
        assert (
            heard[place].text
            == tokenizer.decode(out.sequences[0], skip_special_tokens=True).strip()
        )
        logs = [float(scores.log_softmax(-1).max()) for scores in out.scores]
        count = heard[place].tokens + 1
        expected = math.exp(sum(logs[:count]) / len(logs[:count]))
        assert heard[place].metrics.confidence == pytest.approx(expected, rel=1e-4)
    assert any(one.text for one in heard)


def test_the_least_window_may_be_another(ctc: Path, whisper: Path) -> None:
    waveforms_BN, samples_B = speech(0.4, 0.7)
    whole, shorter = loaded(whisper), load_recogniser(Choice(str(whisper), window_seconds=0.8), CPU)
    assert whole.stamp != shorter.stamp
    assert isinstance(shorter, WritingRecogniser)
    assert shorter.model.front_end.shortest_seconds == pytest.approx(0.8)
    assert len(shorter(waveforms_BN, samples_B)) == 2
    with pytest.raises(UserError, match="no encoder-decoder, and hears utterances as they are"):
        load_recogniser(Choice(str(ctc), window_seconds=6.0), CPU)
    with pytest.raises(UserError, match="--window-seconds 31: this model hears 1 s at most"):
        load_recogniser(Choice(str(whisper), window_seconds=31.0), CPU)


def test_what_is_longer_than_whispers_window_is_heard_in_equal_parts(whisper: Path) -> None:
    recogniser = loaded(whisper)
    waveforms_BN, samples_B = speech(1.5, 0.5)
    [long, short] = recogniser(waveforms_BN, samples_B)
    parts = torch.stack(waveforms_BN[0].tensor_split(2))
    alone = recogniser(parts, torch.tensor([12_000, 12_000]))
    assert long.text == " ".join(one.text for one in alone)
    assert long.tokens == sum(one.tokens for one in alone)
    assert short.text == recogniser(waveforms_BN[1:, :8_000], samples_B[1:])[0].text


def test_a_ctc_model_decodes_a_set_utterance_by_utterance(ctc: Path, corpus: Path) -> None:
    speech = SpeechSet.load(corpus / "dev.jsonl.gz")
    work = work_of(loaded(ctc), speech, GREEDY, 120.0)
    lines = [record for batch in work.batches for _, record in work.decode(batch)]
    assert [line["id"] for line in lines] == list(speech.ids)
    assert [line["reference"] for line in lines] == list(speech.references)
    assert all(0 < line["confidence"] <= 1 and line["audio"] for line in lines)


def test_stamps_tell_models_apart(ctc: Path, whisper: Path) -> None:
    assert loaded(ctc).stamp == loaded(ctc).stamp != loaded(whisper).stamp


def test_what_is_no_recogniser_is_said(ctc: Path, whisper: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    transformers.BertConfig(architectures=["BertModel"]).save_pretrained(tmp_path / "bert")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text((ctc / "config.json").read_text())
    for folder, language, part in (
        (tmp_path / "bert", None, r"a bert \(BertModel\); name a CTC model"),
        (broken, None, "broken: cannot be loaded"),
        (whisper, "en", "knows one language; set it to null"),
        (ctc, "en", "is not asked for one"),
    ):
        with pytest.raises(UserError, match=part):
            load_recogniser(Choice(str(folder), language=language), CPU)


def test_a_missing_package_is_named_by_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("transformers", "faster_whisper"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"pip install 'asr-ema\[pretrained\]'"):
        load_recogniser(Choice(str(tmp_path)), CPU)
    with pytest.raises(UserError, match=r"pip install 'asr-ema\[faster-whisper\]'"):
        load_recogniser(Choice("faster-whisper:tiny.en"), CPU)
