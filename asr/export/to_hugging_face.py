"""`asr export --to hf`: a folder that transformers loads, or that `asr.load_model` does.

Shape suffixes: B utterances, N samples, T feature frames, S encoder frames, U tokens, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr.errors import UserError
from asr.export.speech import CheckSpeech, texts_of
from asr.export.transformers_models import ctc_model, decoder_model, has_ctc_class
from asr.export.transformers_tokenizers import (
    generation_settings,
    write_ctc_tokenizer,
    write_decoder_tokenizer,
)
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.model.encoder_decoder.tokenizer import PretrainedTokenizer
from asr.model.encoders.pretrained import PretrainedEncoder
from asr.model.encoders.pretrained.base import has_base
from asr.model.encoders.pretrained.encoder import FOLDER as DESCRIPTION
from asr.model.loaded_model import LoadedModel
from asr.model.model_folder import Weights, copy_description, load_model
from asr.utils.files import write_json, write_tensors, write_text

TOLERANCE = 1e-2
"""Of log-probabilities, transformers against ours: its feature extractors compute in other orders, and a band
that is almost silent shows it. Texts must be equal."""


def write_hugging_face(
    model: LoadedModel, place: Path, weights: Weights, speech: CheckSpeech
) -> dict[str, Any]:
    """Write the folder; returns what was found when it was checked.

    Raises UserError where what was written computes something else, or what is to be written is not whole.
    """
    encoder = model.network.encoder
    if isinstance(model.network, EncoderDecoder):
        return _write_decoder(model, model.network, place, speech)
    if isinstance(encoder, PretrainedEncoder) and has_ctc_class(encoder):
        return _write_ctc(model, encoder, place, speech)
    return _write_ours(model, place, weights, speech)


def _quiet_transformers() -> Any:
    """Without its bars, which say nothing of a model that is on the disk already."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _write_ours(
    model: LoadedModel, place: Path, weights: Weights, speech: CheckSpeech
) -> dict[str, Any]:
    """The checkpoint's own layout, without what only training needs."""
    if has_base(model.checkpoint / DESCRIPTION):
        raise UserError(
            f"{model.checkpoint}: its adapters stand beside weights that are elsewhere, and transformers "
            "has no CTC model of this family to merge them in",
            "export it with --to onnx or --to torch",
        )
    named = {name: w.detach().clone() for name, w in model.network.named_weights()}
    write_tensors(place / f"{weights}.safetensors", named, {"format": "pt"})
    config = (model.checkpoint / "config.yaml").read_text(encoding="utf-8")
    write_text(place / "config.yaml", config)
    model.tokenizer.save(place)
    copy_description(model.checkpoint, place)
    about = {
        "model_type": "asr-ema",
        "vocab_size": model.tokenizer.vocabulary_size,
        "sampling_rate": model.config.features.sample_rate_hz,
        **model.config.model.model_dump(),
    }
    write_json(place / "config.json", about)
    again = load_model(place, weights, "cpu")
    for wave in speech.waveforms:
        given = wave[None], torch.tensor([len(wave)])
        if not torch.equal(again.logits(*given)[0], model.logits(*given)[0]):
            raise UserError(
                f"{place}: read again, it computes something else",
                "report this: it is a fault of ours",
            )
    return {"loads with": "asr.load_model", "speech": speech.what, "difference": 0.0}


@torch.inference_mode()
def _write_ctc(
    model: LoadedModel, encoder: PretrainedEncoder, place: Path, speech: CheckSpeech
) -> dict[str, Any]:
    transformers = _quiet_transformers()
    made = ctc_model(model, encoder)
    made.save_pretrained(place)
    encoder.extractor.save_pretrained(place)
    write_ctc_tokenizer(model.tokenizer, place)
    again = transformers.AutoModelForCTC.from_pretrained(place).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(place)
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    differences = []
    for wave in speech.waveforms:
        logits, frames_B = model.logits(wave[None], torch.tensor([len(wave)]))
        found = again(**_heard(extractor, wave, model)).logits.float().log_softmax(-1)
        expected = logits.log_softmax(-1)[:, : int(frames_B)]
        own_text = texts_of(model, expected, frames_B)[0]
        text = " ".join(tokenizer.batch_decode(found.argmax(-1))[0].split())
        if found.shape[1] < expected.shape[1] or text != own_text:
            raise _otherwise(own_text, text, speech)
        differences.append(float((found[:, : expected.shape[1]] - expected).abs().max()))
    largest = _largest(differences, speech)
    loads = "transformers.AutoModelForCTC"
    return {"loads with": loads, "speech": speech.what, "difference": largest}


def _largest(differences: list[float], speech: CheckSpeech) -> float:
    """Raises UserError where it is more than the tolerance, or NaN."""
    largest = float(torch.tensor(differences).max())
    if not largest <= TOLERANCE:
        raise UserError(
            f"transformers' log-probabilities differ by up to {largest:.2g} on {speech.what}, and "
            f"{TOLERANCE:g} is what they may",
            "report the model's config.yaml: this is a fault of ours",
        )
    return largest


def _heard(extractor: Any, wave: Tensor, model: LoadedModel) -> Any:
    rate_hz = model.config.features.sample_rate_hz
    return extractor(wave.numpy(), sampling_rate=rate_hz, return_tensors="pt")


def _otherwise(ours: str, text: str, speech: CheckSpeech) -> UserError:
    return UserError(
        f"transformers reads '{text}' and asr '{ours}', of {speech.what}",
        "export with --to onnx, and report the model's config.yaml: this is a fault of ours",
    )


@torch.inference_mode()
def _write_decoder(
    model: LoadedModel, network: EncoderDecoder, place: Path, speech: CheckSpeech
) -> dict[str, Any]:
    transformers = _quiet_transformers()
    encoder = network.encoder
    assert isinstance(encoder, PretrainedEncoder)
    assert isinstance(model.tokenizer, PretrainedTokenizer)
    generation = generation_settings(
        model.tokenizer, network, network.generation_settings, encoder.config.model_type
    )
    made = decoder_model(network, encoder, generation)
    made.save_pretrained(place)
    encoder.extractor.save_pretrained(place)
    write_decoder_tokenizer(model, encoder, place)
    again = transformers.AutoModelForSpeechSeq2Seq.from_pretrained(place).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(place)
    differences = []
    tokens = [*range(100, 108)]  # any text will do
    spoken = torch.tensor([[*network.special.prompt, *tokens]])
    for wave in speech.waveforms:
        given = _heard(extractor, wave, model)
        found = again(**given, decoder_input_ids=spoken).logits.float().log_softmax(-1)
        own = _own_logits(model, network, wave, tokens).log_softmax(-1)
        said = found[:, len(network.special.prompt) - 1 :]
        differences.append(float((said - own).abs().max()))
    largest = _largest(differences, speech)
    found = {
        "loads with": "transformers.AutoModelForSpeechSeq2Seq",
        "speech": speech.what,
        "difference": largest,
    }
    if network.ctc_head is not None:
        found["left out"] = "the CTC head, for which transformers has no place"
    return found


def _own_logits(
    model: LoadedModel, network: EncoderDecoder, wave: Tensor, tokens: list[int]
) -> Tensor:
    """Logits (1, U, V) of a text's tokens, of the window that transformers' extractor makes."""
    front_end: Any = getattr(model.front_end, "inner", model.front_end)
    longest = getattr(front_end, "longest_samples", None)
    if longest:
        wave = torch.nn.functional.pad(wave[:longest], (0, max(0, longest - len(wave))))
    features, lengths_B = front_end(wave[None], torch.tensor([len(wave)]))
    logits_BUV: Tensor = network(features, lengths_B, tokens=[tokens])[0]
    return logits_BUV
