"""CTC models in Hugging Face's layout, through transformers; safetensors only, and no code of theirs is run.

Shape suffixes: N samples, S encoder frames, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr.errors import UserError
from asr.model.frame_readers.letters import forms, letters_of
from asr.model.tokenizer import BLANK
from asr.utils.hashes import sha256_of_digests

WINDOW_SECONDS = 20.0


def hugging_face_config(name: str) -> Any:
    """The model's config. Raises UserError without transformers, and for what cannot be had."""
    try:
        import transformers
    except ImportError:
        raise UserError(
            f"{name}: a Hugging Face model needs transformers, which is not installed",
            "pip install 'asr-ema[pretrained]'",
        ) from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        return transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
    except _FAULTS as error:
        raise cannot_be_loaded(name, error) from None


_FAULTS = (OSError, ValueError, KeyError, ImportError)


def cannot_be_loaded(name: str, error: Exception) -> UserError:
    """In one line, with what a folder has to hold."""
    return UserError(
        f"{name}: cannot be loaded ({' '.join(str(error).split())[:300]})",
        "name a folder with config.json, *.safetensors and the files of its tokenizer and feature "
        "extractor, or a model that the hub has",
    )


def is_ctc(config: Any) -> bool:
    """Whether a model reads frames."""
    return any(name.endswith("ForCTC") for name in config.architectures or [])


class HuggingFaceCtc:
    """One utterance at a time: in some families padding changes what is heard."""

    def __init__(self, name: str, device: torch.device) -> None:
        """Raises UserError for a folder that lacks a part."""
        import transformers

        try:
            model = transformers.AutoModelForCTC.from_pretrained(
                name, use_safetensors=True, dtype=torch.float32, trust_remote_code=False
            )
            self.extractor: Any = transformers.AutoFeatureExtractor.from_pretrained(
                name, trust_remote_code=False
            )
            self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                name, trust_remote_code=False
            )
        except _FAULTS as error:
            raise cannot_be_loaded(name, error) from None
        self.model: Any = model.to(device).eval().requires_grad_(False)
        self.device = device
        # Here the blank is token 0, and there it is often another.
        blank, size = int(model.config.pad_token_id), int(model.config.vocab_size)
        self._theirs = [blank, *(token for token in range(size) if token != blank)]
        self._ours = {theirs: ours for ours, theirs in enumerate(self._theirs)}
        assert BLANK == 0

    @property
    def sample_rate_hz(self) -> int:
        """Of the waveforms that it takes."""
        return int(self.extractor.sampling_rate)

    @torch.inference_mode()
    def logits(self, waveform_N: Tensor) -> Tensor:
        """(1, S, V), the blank first."""
        inputs = self.extractor(
            waveform_N.numpy(), sampling_rate=self.sample_rate_hz, return_tensors="pt"
        )
        found: Tensor = self.model(**inputs.to(self.device)).logits.float()
        return found[..., self._theirs]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens without blanks and repeats."""
        theirs = [self._theirs[token] for token in tokens]
        return str(self.tokenizer.decode(theirs, skip_special_tokens=True, group_tokens=False))

    def piece(self, token: int) -> str:
        """What a token writes; nothing of those that are no text."""
        theirs = self._theirs[token]
        special = {*self.tokenizer.all_special_ids}
        return "" if theirs in special else str(self.tokenizer.convert_ids_to_tokens(theirs) or "")

    def encode(self, text: str) -> list[int] | None:
        """Tokens of a text; None where it has none for a character."""
        theirs = self.tokenizer(text, add_special_tokens=False).input_ids
        if self.tokenizer.unk_token_id in theirs or not all(one in self._ours for one in theirs):
            return None
        return [self._ours[one] for one in theirs]


class HuggingFaceFrames:
    """The same as a frame reader."""

    longest_seconds = WINDOW_SECONDS

    def __init__(self, name: str, device: torch.device, config: Any) -> None:
        self._ctc = HuggingFaceCtc(name, device)
        self.sample_rate_hz = self._ctc.sample_rate_hz
        short, long = (seconds * self.sample_rate_hz for seconds in (4, 8))
        frames = [self._ctc.logits(torch.zeros(count)).shape[1] for count in (short, long)]
        self.frame_samples = round((long - short) / max(1, frames[1] - frames[0]))
        self.stamp: Mapping[str, Any] = {
            "kind": config.model_type,
            "weights": weights_of(name) or getattr(config, "_commit_hash", None) or name,
        }
        self.vocabulary_size = int(config.vocab_size)

    def logits(self, waveform_N: Tensor) -> Tensor:
        return self._ctc.logits(waveform_N)[0]

    def letters(self, token: int) -> str:
        return letters_of(self._ctc.piece(token))

    def spelt(self, word: str) -> list[int] | None:
        found = (self._ctc.encode(form) for form in forms(word))
        return next((tokens for tokens in found if tokens is not None), None)


def weights_of(name: str) -> str | None:
    """SHA-256 of a folder's weights; None for a hub's name."""
    if not Path(name).is_dir():
        return None
    return sha256_of_digests(sorted(Path(name).glob("*.safetensors")))
