"""Beam search over CTC logits, with an n-gram language model and a lexicon where they are given.

torchaudio's `ctc_decoder` (flashlight-text) does the search, KenLM the language model; both come with the
optional extra `beam`. Without a lexicon the model is one of the recipe's own tokens (`asr prepare lm --unit
characters`); with one it is of words, and only words of the lexicon come out.

Shape suffixes: B utterances, S encoder frames, V vocabulary.
"""

from __future__ import annotations

import gzip
import math
import tempfile
import zlib
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr.decoding.greedy import Hypothesis
from asr.errors import UserError
from asr.model.arpa import no_number, section_order
from asr.model.tokenizer import BLANK, Tokenizer
from asr.utils.faults import first_line
from asr.utils.hashes import file_sha256

_BLANK_NAME, _SPACE_NAME = "<blank>", "|"
_NEVER = -1e4
"""A log probability; the search does not bear an infinite one."""
MAKES_ONE = "`asr prepare lm --cuts SET.jsonl.gz --output lm.arpa` makes one"
_FEW_KNOWN = {True: 0.5, False: 0.1}
"""Share of what is searched among that a language model must know: of characters; of pieces, or of words."""


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

    def __post_init__(self) -> None:
        """Raises UserError for a weight that is no number: with nan the search finds anything."""
        for name in ("lm_weight", "word_score", "beam_threshold"):
            if not math.isfinite(getattr(self, name)):
                raise UserError(
                    f"{name} {getattr(self, name)} of the beam search is no finite number",
                    "give one",
                )
        for name in ("beam_size", "tokens_per_frame", "nbest"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"{name} {getattr(self, name)} of the beam search", "give 1 or more"
                )

    def stamp(self) -> dict[str, Any]:
        """What a result must say of its decoder."""
        files = {"language_model": self.language_model, "lexicon": self.lexicon}
        return {
            "decoder": "beam",
            **{name: str(path) if path else None for name, path in files.items()},
            **{f"{name}_sha256": file_sha256(path) for name, path in files.items() if path},
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
        self._names, self._space_name = names, space
        self._lexicon = (
            None if settings.lexicon is None else _spellings(settings.lexicon, tokenizer, names)
        )
        if settings.language_model is not None:
            _check_language_model(settings, names, self._lexicon, of_characters)
        # With a lexicon a word ends with a space, which audio that ends with a word has no frame for.
        self._ends_with_space = self._lexicon is not None
        self._search = self._searcher(settings.language_model and str(settings.language_model))

    def weighted(self, lm_weight: float, word_score: float, nbest: int) -> BeamDecoder:
        """The same search by other weights, with the language model that this one has loaded."""
        other = copy(self)
        changed = {"lm_weight": lm_weight, "word_score": word_score, "nbest": nbest}
        other.settings = replace(self.settings, **changed)  # type: ignore[arg-type]
        other._search = other._searcher(self._search.lm)
        return other

    def _searcher(self, language_model: Any) -> Any:
        """torchaudio's decoder: with a model by its path, by one that is loaded, or with none."""
        settings, lexicon = self.settings, self._lexicon
        try:
            from torchaudio.models.decoder import ctc_decoder
        except (ImportError, RuntimeError) as error:  # the latter is torchaudio's for the former
            if isinstance(error.__cause__ or error, ImportError):
                raise _not_installed() from None
            raise UserError(
                f"torchaudio's beam search cannot be used ({first_line(error.__cause__ or error)})",
                "install torch and torchaudio of one build",
            ) from None
        try:
            with tempfile.TemporaryDirectory() as folder:
                spellings = Path(folder) / "lexicon.txt"
                spellings.write_text("".join(lexicon or []), encoding="utf-8")
                # Without it torchaudio 2.11 numbers the model's tokens in another order than ours.
                numbered = Path(folder) / "tokens.txt"
                numbered.write_text("".join(f"{n}\n" for n in self._names), encoding="utf-8")
                return ctc_decoder(
                    lexicon=str(spellings) if lexicon else None,
                    tokens=self._names,
                    lm=language_model,
                    lm_dict=None if lexicon else str(numbered),
                    nbest=max(
                        settings.nbest, settings.beam_size
                    ),  # all of them: many are of one text
                    beam_size=settings.beam_size,
                    beam_size_token=min(settings.tokens_per_frame, len(self._names)),
                    beam_threshold=settings.beam_threshold,
                    lm_weight=settings.lm_weight,
                    word_score=settings.word_score if lexicon else 0.0,
                    sil_score=0.0 if lexicon else settings.word_score,
                    blank_token=_BLANK_NAME,
                    sil_token=self._space_name,
                )
        except ImportError:
            raise _not_installed() from None
        except (RuntimeError, UnicodeDecodeError) as error:
            if "not installed" in str(error):
                raise _not_installed() from None
            raise _unusable(settings.language_model, error) from None

    def __call__(self, logits_BSV: Tensor, lengths_B: Tensor) -> list[list[Hypothesis]]:
        """For each utterance its best hypotheses, the best one first.

        Of each text there is one, in the place of its best path; its confidence is the share of its paths in
        the total probability of the beam.
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
        if self._ends_with_space:
            space_1V = log_posteriors_SV.new_full((1, log_posteriors_SV.shape[1]), _NEVER)
            space_1V[0, self._space] = 0.0
            log_posteriors_SV = torch.cat([log_posteriors_SV, space_1V])
        [results] = self._search(log_posteriors_SV[None].contiguous())
        if not results:
            return [Hypothesis([], 0.0)]
        best = max(result.score for result in results)
        tokens: dict[str, list[int]] = {}
        weights: dict[str, float] = {}
        for result in results:
            cleaned = self._clean(result.tokens.tolist())
            text = self.tokenizer.decode(cleaned)
            tokens.setdefault(text, cleaned)
            weights[text] = weights.get(text, 0.0) + math.exp(result.score - best)
        total = math.fsum(weights.values())
        found = [Hypothesis(tokens[text], weight / total) for text, weight in weights.items()]
        return found[: self.settings.nbest]

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
            makes = "write a word a line" if name == "lexicon" else MAKES_ONE
            raise UserError(f"{name} {path}: no such file", f"check the path; {makes}")


def _check_language_model(
    settings: BeamSettings, names: Sequence[str], lexicon: Sequence[str] | None, of_characters: bool
) -> None:
    """Raises UserError for a model of other tokens or words, or written in another case."""
    path = settings.language_model
    assert path is not None
    knows = _vocabulary(path)
    if lexicon is None:
        wanted = [name for name in names if name not in (_BLANK_NAME, _SPACE_NAME)]
        what = "of the tokens"
        remedy = (
            "make one of transcripts in this model's letters and case: "
            "asr prepare lm --cuts SET.jsonl.gz --output lm.arpa --unit characters"
            if of_characters
            else "make one of texts that this model's sentencepiece has cut into pieces (KenLM's lmplz), "
            "or leave it out"
        )
        needs_space = of_characters and _SPACE_NAME in names
    else:
        wanted = [line.split("\t")[0] for line in lexicon]
        what = "of the lexicon's words"
        remedy = (
            "make one of words, in the lexicon's case: "
            "asr prepare lm --cuts SET.jsonl.gz --output lm.arpa --unit words"
        )
        needs_space = False
    known = sum(map(knows, wanted))
    few = _FEW_KNOWN[lexicon is None and of_characters]
    if known < few * len(wanted) or (needs_space and not knows(_SPACE_NAME)):
        missing = [name for name in wanted if not knows(name)]
        if needs_space and not knows(_SPACE_NAME):
            missing.insert(0, _SPACE_NAME)
        other = [name for name in missing if knows(name.swapcase())]
        case = f"; it has '{other[0].swapcase()}' for '{other[0]}'" if other else ""
        unknown = ", ".join(f"'{name}'" for name in missing[:5])
        raise UserError(
            f"language model {path} knows {known:,} {what} ({len(wanted):,}), and not {unknown}{case}",
            remedy,
        )


def _vocabulary(path: Path) -> Callable[[str], bool]:
    """Whether an ARPA file or a KenLM binary knows a word. Raises UserError for what is neither."""
    with path.open("rb") as start:
        head = start.read(64)
    if head.startswith(b"mmap lm "):
        try:
            from kenlm import Model
        except ImportError:
            raise _not_installed() from None
        try:
            return Model(str(path)).__contains__  # type: ignore[no-any-return]
        except OSError as error:
            raise _unusable(path, error) from None
    words: set[str] = set()
    opened = gzip.open if head.startswith(b"\x1f\x8b") else open
    try:
        with opened(path, "rt", encoding="utf-8", errors="surrogateescape") as stream:
            order = 0
            lines = iter(lambda: stream.readline(_LONGEST_LINE), "")
            for number, line in enumerate(lines, start=1):
                if line.startswith("\\"):
                    order = section_order(line)
                if not order and not words and number == _MOST_HEADER_LINES:
                    break
                bad = no_number(line, order)
                if bad is not None:
                    raise _unusable(path, f"line {number}: {bad} is no weight")
                if order == 1:
                    words.update(line.split()[1:2])
            if not words:
                raise _unusable(path, "no \\1-grams: in its first lines")
    except (OSError, EOFError, zlib.error) as error:
        raise _unusable(path, error) from None
    return words.__contains__


_LONGEST_LINE = 100_000
_MOST_HEADER_LINES = 1_000


def _unusable(path: Path | None, why: object) -> UserError:
    return UserError(
        f"language model {path}: cannot be used ({' '.join(str(why).split())[:300]})",
        "give an ARPA file or a KenLM binary",
    )


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
