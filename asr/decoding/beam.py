"""Beam search over CTC logits, with an n-gram language model and a lexicon where they are given.

torchaudio's `ctc_decoder` (flashlight-text) does the search, KenLM the language model; both come with the
optional extra `beam`. Without a lexicon the model is one of the recipe's own tokens (`asr prepare lm --unit
characters`); with one it is of words, and only words of the lexicon come out.

Shape suffixes: B utterances, S encoder frames, V vocabulary.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from asr.decoding.greedy import Hypothesis
from asr.errors import UserError
from asr.model.tokenizer import BLANK, Tokenizer

_BLANK_NAME, _SPACE_NAME = "<blank>", "|"
_CONFIDENCE_AMONG = 10


@dataclass(frozen=True)
class BeamSettings:
    """How to search."""

    language_model: Path | None = None
    """ARPA file or KenLM binary."""
    lexicon: Path | None = None
    """A word a line; its spelling is the tokenizer's."""
    lm_weight: float = 1.0
    """Of the language model's log10 probability beside the acoustic model's natural logarithm."""
    word_score: float = 0.0
    """Added at each word boundary: above 0 for more, shorter words."""
    beam_size: int = 50
    tokens_per_frame: int = 16
    """Only the likeliest tokens of a frame are tried."""
    beam_threshold: float = 20.0
    """Hypotheses whose score is further from the best one are dropped."""
    nbest: int = 1

    def stamp(self) -> dict[str, Any]:
        """What a result must say of its decoder."""
        files = {"language_model": self.language_model, "lexicon": self.lexicon}
        return {
            "decoder": "beam",
            **{name: str(path) if path else None for name, path in files.items()},
            **{f"{name}_sha256": _sha256_of(path) for name, path in files.items() if path},
            "lm_weight": self.lm_weight,
            "word_score": self.word_score,
            "beam_size": self.beam_size,
            "tokens_per_frame": self.tokens_per_frame,
            "beam_threshold": self.beam_threshold,
        }


class BeamDecoder:
    """Searches utterance by utterance, so its result does not depend on the batch."""

    def __init__(self, tokenizer: Tokenizer, settings: BeamSettings) -> None:
        """Raises UserError where the extra is not installed or a file is of no use."""
        self.tokenizer, self.settings = tokenizer, settings
        _check_files(settings)
        names = [_BLANK_NAME] + [
            tokenizer.piece(token).replace(" ", _SPACE_NAME)
            for token in range(1, tokenizer.vocabulary_size)
        ]
        # Of characters, the space is a token of its own; a piece of sentencepiece may begin with one.
        of_characters = all(name == _SPACE_NAME or _SPACE_NAME not in name for name in names)
        if not of_characters and (settings.lexicon or settings.word_score):
            raise UserError(
                "a lexicon and a word score need a tokenizer of characters",
                "with sentencepiece leave them "
                "out (and do not tune them), and use a model of its pieces",
            )
        space = _SPACE_NAME if of_characters and _SPACE_NAME in names else _BLANK_NAME
        self._space = names.index(_SPACE_NAME) if space == _SPACE_NAME else None
        lexicon = (
            None if settings.lexicon is None else _spellings(settings.lexicon, tokenizer, names)
        )
        try:
            from torchaudio.models.decoder import ctc_decoder

            with tempfile.TemporaryDirectory() as folder:
                spellings = Path(folder) / "lexicon.txt"
                spellings.write_text("".join(lexicon or []), encoding="utf-8")
                # Without it torchaudio 2.11 numbers the model's tokens in another order than ours.
                numbered = Path(folder) / "tokens.txt"
                numbered.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
                self._search = ctc_decoder(
                    lexicon=str(spellings) if lexicon else None,
                    tokens=names,
                    lm=str(settings.language_model) if settings.language_model else None,
                    lm_dict=None if lexicon else str(numbered),
                    nbest=max(settings.nbest, _CONFIDENCE_AMONG),
                    beam_size=settings.beam_size,
                    beam_size_token=min(settings.tokens_per_frame, len(names)),
                    beam_threshold=settings.beam_threshold,
                    lm_weight=settings.lm_weight,
                    word_score=settings.word_score if lexicon else 0.0,
                    sil_score=0.0 if lexicon else settings.word_score,
                    blank_token=_BLANK_NAME,
                    sil_token=space,
                )
        except (ImportError, ModuleNotFoundError):
            raise _not_installed() from None
        except RuntimeError as error:
            if "not installed" in str(error):
                raise _not_installed() from None
            raise UserError(
                f"language model {settings.language_model}: cannot be used ({' '.join(str(error).split())})",
                "give an ARPA file or a KenLM binary",
            ) from None

    def __call__(self, logits_BSV: Tensor, lengths_B: Tensor) -> list[list[Hypothesis]]:
        """For each utterance its best hypotheses, the best one first.

        Confidences are the share of each in the total probability of the ten best, or more if asked for.
        """
        log_posteriors_BSV = logits_BSV.float().log_softmax(-1).cpu().contiguous()
        return [
            self._nbest(log_posteriors_SV[: int(frames)])
            for log_posteriors_SV, frames in zip(
                log_posteriors_BSV, lengths_B.tolist(), strict=True
            )
        ]

    def _nbest(self, log_posteriors_SV: Tensor) -> list[Hypothesis]:
        if not len(log_posteriors_SV):
            return [Hypothesis([], 0.0)]
        [results] = self._search(log_posteriors_SV[None].contiguous())
        if not results:
            return [Hypothesis([], 0.0)]
        best = max(result.score for result in results)
        weights = [math.exp(result.score - best) for result in results]
        return [
            Hypothesis(self._clean(result.tokens.tolist()), weight / math.fsum(weights))
            for result, weight in zip(results, weights, strict=True)
        ][: self.settings.nbest]

    def _clean(self, tokens: Sequence[int]) -> list[int]:
        """Without blanks, and with the spaces of a transcript: flashlight adds one at both ends."""
        cleaned: list[int] = []
        for token in tokens:
            if token == self._space and (not cleaned or cleaned[-1] == self._space):
                continue
            if token != BLANK:
                cleaned.append(token)
        return cleaned[:-1] if cleaned and cleaned[-1] == self._space else cleaned


def _check_files(settings: BeamSettings) -> None:
    files = {"language model": settings.language_model, "lexicon": settings.lexicon}
    for name, path in files.items():
        if path is not None and not path.is_file():
            raise UserError(
                f"{name} {path}: no such file", "check the path; `asr prepare lm` makes one"
            )


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _spellings(path: Path, tokenizer: Tokenizer, names: Sequence[str]) -> list[str]:
    """A lexicon as flashlight wants it: word, TAB, names of its tokens."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"lexicon {path}: not UTF-8 text ({error.reason})", "convert it") from None
    words = (line.split("\t")[0].strip() for line in content.split("\n"))
    lines = []
    for word in dict.fromkeys(filter(None, words)):
        try:
            tokens = [names[token] for token in tokenizer.encode(word)]
        except UserError as error:
            raise error.at(f"lexicon {path}") from None
        tokens.append(_SPACE_NAME)
        lines.append(f"{word}\t{' '.join(tokens)}\n")
    if not lines:
        raise UserError(f"lexicon {path}: holds no word", "write a word a line")
    return lines


def _not_installed() -> UserError:
    return UserError(
        "beam search needs packages that are not installed (flashlight-text and kenlm)",
        "pip install 'asr-ema[beam]'",
    )
