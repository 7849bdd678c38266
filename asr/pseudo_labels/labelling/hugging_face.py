"""Recognisers in Hugging Face's layout, through transformers: CTC models, and Whisper. Safetensors only.

Shape suffixes: B utterances, N samples, S encoder frames, V vocabulary.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr.errors import UserError
from asr.model.ctc import best_paths
from asr.model.tokenizer import BLANK
from asr.pseudo_labels.label import LabelMetrics, label_metrics
from asr.pseudo_labels.labelling.recogniser import Choice, Recogniser, Recognition

_MEASURE = "likelihood"
_WHISPER_BATCH = 16
"""Whisper's windows, each of 30 s, that are in memory together."""


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
        if config.model_type == "whisper":
            return _Whisper(choice, device)
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
        "name a CTC model (...ForCTC) or a Whisper",
    )


@dataclass
class _Loaded:
    """What both kinds have."""

    choice: Choice
    device: torch.device
    model: Any = field(init=False)
    extractor: Any = field(init=False)
    tokenizer: Any = field(init=False)
    stamp: Mapping[str, Any] = field(init=False)

    auto_class = ""
    is_batched = True

    def __post_init__(self) -> None:
        import transformers

        name = self.choice.model
        model = getattr(transformers, self.auto_class).from_pretrained(
            name, use_safetensors=True, dtype=torch.float32, trust_remote_code=False
        )
        self.model = model.to(self.device).eval().requires_grad_(False)
        self.extractor = transformers.AutoFeatureExtractor.from_pretrained(name)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        self.stamp = {
            "kind": model.config.model_type,
            "weights": _weights_of(name) or getattr(model.config, "_commit_hash", None) or name,
            "language": self.choice.language,
        }

    @property
    def sample_rate_hz(self) -> int:
        return int(self.extractor.sampling_rate)


def _weights_of(name: str) -> str | None:
    """SHA-256 of a folder's weights; None for a hub's name."""
    if not Path(name).is_dir():
        return None
    digest = hashlib.sha256()
    for path in sorted(Path(name).glob("*.safetensors")):
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


class _Ctc(_Loaded):
    """Greedy CTC, each utterance by itself: in some families padding changes what is heard."""

    auto_class = "AutoModelForCTC"
    is_batched = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.choice.language is not None:
            raise UserError(
                f"--language {self.choice.language}: {self.choice.model} is not asked for one",
                "leave it out",
            )

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


class _Whisper(_Loaded):
    """Whisper, greedy, in windows of 30 s; what is longer is cut into equal parts."""

    auto_class = "WhisperForConditionalGeneration"

    def __post_init__(self) -> None:
        super().__post_init__()
        speaks_many = bool(getattr(self.model.generation_config, "is_multilingual", False))
        if self.choice.language is not None and not speaks_many:
            raise UserError(
                f"--language {self.choice.language}: {self.choice.model} has one language",
                "leave it out",
            )
        self.options = (
            {"language": self.choice.language, "task": "transcribe"} if speaks_many else {}
        )

    def __call__(self, waveforms_BN: Tensor, samples_B: Tensor) -> list[Recognition]:
        limit = int(self.extractor.n_samples)
        pieces, owners = [], []
        for place, samples in enumerate(samples_B.tolist()):
            parts = max(1, math.ceil(samples / limit))
            pieces += list(waveforms_BN[place, :samples].tensor_split(parts))
            owners += [place] * parts
        heard = [
            one
            for first in range(0, len(pieces), _WHISPER_BATCH)
            for one in self._generated(pieces[first : first + _WHISPER_BATCH])
        ]
        found: list[list[_Heard]] = [[] for _ in samples_B]
        for place, one in zip(owners, heard, strict=True):
            found[place].append(one)
        return [_recognition(parts) for parts in found]

    def _generated(self, pieces: list[Tensor]) -> list[_Heard]:
        from transformers import LogitsProcessorList

        inputs = self.extractor(
            [piece.numpy() for piece in pieces],
            sampling_rate=self.sample_rate_hz,
            return_tensors="pt",
            return_attention_mask=True,
        ).to(self.device)
        likeliest = _Likeliest()
        ids_BU = self.model.generate(
            inputs.input_features,
            attention_mask=inputs.attention_mask,
            logits_processor=LogitsProcessorList([likeliest]),
            # Not every folder says so itself, and transformers' own limit is 20 tokens.
            max_length=self.model.config.max_target_positions,
            do_sample=False,
            num_beams=1,
            **self.options,
        )
        end = int(self.model.config.eos_token_id)
        found = []
        for ids, logs in zip(ids_BU.tolist(), likeliest.log_BU().tolist(), strict=True):
            tokens = [token for token in ids if token < end]  # what comes after it is no text
            steps = logs[: len(tokens) + 1]  # and the end
            text = self.tokenizer.decode(tokens, skip_special_tokens=True)
            found.append(_Heard(text, len(tokens), sum(steps), len(steps)))
        return found


@dataclass(frozen=True)
class _Heard:
    """In one window."""

    text: str
    tokens: int
    log_likelihood: float
    """In nats, of the tokens and the end."""
    steps: int


def _recognition(parts: list[_Heard]) -> Recognition:
    log, steps = sum(one.log_likelihood for one in parts), sum(one.steps for one in parts)
    text = " ".join(one.text.strip() for one in parts)
    metrics = LabelMetrics(math.exp(log / max(1, steps)), math.nan, math.nan, _MEASURE)
    return Recognition(text, sum(one.tokens for one in parts), metrics)


class _Likeliest:
    """Listens to the search: of each step, the log-probability of the token that it takes.

    After the suppressed tokens are left out, as Whisper's own mean log-probability has it (Radford et al. 2022,
    section 4.5).
    """

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    def __call__(self, ids_BU: Tensor, scores_BV: Tensor) -> Tensor:
        self.steps.append(scores_BV.float().log_softmax(dim=-1).amax(dim=-1))
        return scores_BV

    def log_BU(self) -> Tensor:  # noqa: N802
        """Of all steps."""
        return torch.stack(self.steps, dim=1).cpu()
