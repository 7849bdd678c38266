"""Recognisers in Hugging Face's layout, through transformers: CTC models, Whisper, Moonshine. Safetensors only.

Shape suffixes: B utterances, N samples, S encoder frames, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr.errors import UserError
from asr.model.ctc import best_paths
from asr.model.encoder_decoder.loading import families
from asr.model.tokenizer import BLANK
from asr.pseudo_labels.label import label_metrics
from asr.pseudo_labels.labelling.recogniser import Choice, Recogniser, Recognition
from asr.pseudo_labels.labelling.written import WritingRecogniser

_MEASURE = "likelihood"


def load_hugging_face(choice: Choice, device: torch.device) -> Recogniser:
    """By the model's config.json. Raises UserError for what is no recogniser of these, or cannot be had."""
    try:
        import transformers
    except ImportError:
        raise UserError(
            f"{choice.model}: a Hugging Face model needs transformers, which is not installed",
            "pip install 'asr-ema[pretrained]'",
        ) from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(choice.model, trust_remote_code=False)
        architectures = config.architectures or []
        if config.model_type in families():
            stamp = _stamp(config, choice)
            return WritingRecogniser.of_others(choice, stamp, device)
        if any(name.endswith("ForCTC") for name in architectures):
            return _Ctc(choice, device)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(
            f"{choice.model}: cannot be loaded ({' '.join(str(error).split())[:300]})",
            "name a folder with config.json, *.safetensors and the files of its tokenizer and feature "
            "extractor, or a model that the hub has",
        ) from None
    raise UserError(
        f"{choice.model}: a {config.model_type} ({', '.join(architectures) or 'no architecture'})",
        f"name a CTC model (...ForCTC), or one of these: {', '.join(families())}",
    )


@dataclass
class _Ctc:
    """Greedy CTC, each utterance by itself: in some families padding changes what is heard."""

    choice: Choice
    device: torch.device
    model: Any = field(init=False)
    extractor: Any = field(init=False)
    tokenizer: Any = field(init=False)
    stamp: Mapping[str, Any] = field(init=False)

    is_batched = False

    def __post_init__(self) -> None:
        import transformers

        name = self.choice.model
        if self.choice.language is not None:
            raise UserError(
                f"--language {self.choice.language}: {name} is not asked for one", "leave it out"
            )
        model = transformers.AutoModelForCTC.from_pretrained(
            name, use_safetensors=True, dtype=torch.float32, trust_remote_code=False
        )
        self.model = model.to(self.device).eval().requires_grad_(False)
        self.extractor = transformers.AutoFeatureExtractor.from_pretrained(
            name, trust_remote_code=False
        )
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        self.stamp = _stamp(model.config, self.choice)

    @property
    def sample_rate_hz(self) -> int:
        return int(self.extractor.sampling_rate)

    def __call__(self, waveforms_BN: Tensor, samples_B: Tensor) -> list[Recognition]:
        return [
            self._one(waveform_N[:samples])
            for waveform_N, samples in zip(waveforms_BN, samples_B.tolist(), strict=True)
        ]

    def _one(self, waveform_N: Tensor) -> Recognition:
        inputs = self.extractor(
            waveform_N.numpy(), sampling_rate=self.sample_rate_hz, return_tensors="pt"
        )
        logits_1SV = self.model(**inputs.to(self.device)).logits.float()
        # Here the blank is token 0, and there it is often another.
        size, blank = logits_1SV.shape[-1], int(self.model.config.pad_token_id)
        theirs = [blank, *(token for token in range(size) if token != blank)]
        assert BLANK == 0
        logits_1SV = logits_1SV[..., theirs]
        frames_1 = torch.tensor([logits_1SV.shape[1]], device=logits_1SV.device)
        tokens = best_paths(logits_1SV, frames_1)
        [metrics] = label_metrics(logits_1SV, frames_1, tokens, _MEASURE, temperature=1.0)
        ids = [theirs[token] for token in tokens[0]]
        text = self.tokenizer.decode(ids, skip_special_tokens=True, group_tokens=False)
        return Recognition(text, len(ids), metrics)


def _stamp(config: Any, choice: Choice) -> dict[str, Any]:
    name = choice.model
    return {
        "kind": config.model_type,
        "weights": _weights_of(name) or getattr(config, "_commit_hash", None) or name,
        "language": choice.language,
    }


def _weights_of(name: str) -> str | None:
    """SHA-256 of a folder's weights; None for a hub's name."""
    if not Path(name).is_dir():
        return None
    digest = hashlib.sha256()
    for path in sorted(Path(name).glob("*.safetensors")):
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
