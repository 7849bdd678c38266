"""A new run that begins with the weights of another one, and with nothing else of it (`init_from`)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from asr.config.schema import Config
from asr.data.transcripts import training_tokenizer
from asr.errors import UserError
from asr.model.encoder_decoder.ctc_head import PREFIX as CTC_HEAD
from asr.model.latent.network import PREFIX as LATENT_HEAD
from asr.model.lineage import STATE, check_files, read_state
from asr.model.model_folder import find_checkpoint, read_config, read_weights
from asr.model.speech_model import SpeechModel
from asr.model.tokenizer import Tokenizer, tokenizer_sha256
from asr.training.checkpoint import CheckpointStore
from asr.training.resume_rules import architecture

_HEAD = "head."
_OTHER_HEADS = {
    f"{CTC_HEAD}.": "the CTC head",
    f"{LATENT_HEAD}.": "the head that predicts representations",
}
"""By their prefix; what people call them."""


@dataclass(frozen=True)
class Begun:
    """What a student begins with."""

    head_is_kept: bool
    note: str
    """For people."""


@dataclass(frozen=True)
class WarmStart:
    """The weights that `init_from` names."""

    checkpoint: Path
    weights: Path
    config: Config
    """Of the run that they are from."""

    @classmethod
    def find(cls, init_from: str) -> WarmStart:
        """A run's latest checkpoint, or a checkpoint: its average; or a file of weights in one.

        Raises UserError where there is none.
        """
        given = Path(init_from)
        is_file = given.suffix == ".safetensors"
        try:
            checkpoint = find_checkpoint(given.parent if is_file else given)
        except UserError as error:
            raise error.at("init_from") from None
        weights = given if is_file else checkpoint / "teacher.safetensors"
        if not weights.is_file():
            raise UserError(
                f"init_from: {weights}: no such file",
                "name a run, a checkpoint (its average is taken), or CHECKPOINT/student.safetensors",
            )
        return cls(checkpoint, weights, read_config(checkpoint))

    def check(self, config: Config) -> None:
        """Raises UserError where the recipe's network or its features are not those of the weights."""
        before, now = architecture(self.config), architecture(config)
        names = [n for n in {**before, **now} if before.get(n) != now.get(n)]
        if names:
            have = ", ".join(f"{n} {before.get(n)!r}" for n in names)
            want = ", ".join(f"{n} {now.get(n)!r}" for n in names)
            remedy = " ".join(f"{n}={before[n]}" for n in names if n in before)
            raise UserError(
                f"init_from: {self.checkpoint} has {have}, and the recipe says {want}",
                f"set {remedy or 'model.kind as it has it'}, or begin without init_from",
            )

    def keeps_head(self, tokenizer: Tokenizer) -> bool:
        """Whether the tokenizer is that of the weights: the same tokens have the same outputs."""
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save(Path(folder))
            return tokenizer_sha256(Path(folder)) == tokenizer_sha256(self.checkpoint)

    def put(self, student: SpeechModel, tokenizer: Tokenizer) -> Begun:
        """Put the weights into `student`, whose own head stays where the tokenizer is another.

        Raises UserError where they do not fit.
        """
        keeps_head = self.keeps_head(tokenizer)
        try:
            if (self.checkpoint / STATE).is_file():
                check_files(self.checkpoint, read_state(self.checkpoint), [self.weights.name])
            weights = read_weights(self.weights)
        except UserError as error:
            raise error.at("init_from") from None
        own = {n: p.detach() for n, p in student.named_weights()}
        anew = [] if keeps_head else _of(_HEAD, own)
        # Of the other heads each may be in one of the two alone.
        anew += [n for head in _OTHER_HEADS for n in _of(head, own) if n not in weights]
        left = [n for head in (_HEAD, *_OTHER_HEADS) for n in _of(head, weights) if n not in own]
        kept = {n: w for n, w in weights.items() if n not in {*anew, *left}}
        try:
            student.load_weights(kept | {n: own[n] for n in anew})
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"init_from: {self.weights} does not fit the recipe's network ({reason})",
                "copy the checkpoint again, or begin without init_from",
            ) from None
        return Begun(keeps_head, self._note(keeps_head, anew, left))

    def _note(self, keeps_head: bool, anew: list[str], left: list[str]) -> str:
        """For people: what of the student is from here, and what is not."""
        note = f"weights from {self.weights}"
        for head, name in _OTHER_HEADS.items():
            if _of(head, left):
                note += f", but for {name}, which is left out"
            if _of(head, anew):
                note += f", but for {name}, which is made anew"
        if _of(_HEAD, left):
            note += ", but for the head for texts, which is left out"
        if keeps_head:
            return f"{note}, head included; the averages begin as these"
        if self.config.objective.has_texts and _of(_HEAD, anew):
            note += "; the tokenizer is another, so the head is made anew"
        elif _of(_HEAD, anew):
            note += "; it had no head for texts, so that is made anew"
        return f"{note}, and the averages warm up as from random weights"


def _of(prefix: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(prefix)]


def warm_start_of(config: Config) -> WarmStart | None:
    """What `init_from` names, where a run of this recipe would begin with it; None for one that goes on.

    Raises UserError where it is missing or does not fit.
    """
    run = CheckpointStore(Path(config.output), config.trainer.keep_last)
    if config.init_from is None or run.latest() is not None:
        return None
    found = WarmStart.find(config.init_from)
    found.check(config)
    return found


def is_whole_model(config: Config) -> bool:
    """Whether a new run begins with a pretrained model, head or decoder included."""
    return config.model.kind == "encoder_decoder"


def with_its_average(config: Config) -> Config:
    """The recipe with a warm-up of the average that suits what the run begins with.

    An average of trained weights must not forget them, so there is none unless the recipe gives one itself; a
    run that goes on, or forks, keeps what it began with.
    """
    if "warmup_share" in config.teacher.model_fields_set:
        return config
    if config.init_from is None and config.fork_from is None and not is_whole_model(config):
        return config
    run = CheckpointStore(Path(config.output), config.trainer.keep_last)
    going_on = run.latest() or (Path(config.fork_from) if config.fork_from else None)
    if going_on is not None:
        if not (going_on / "state.json").is_file():
            return config  # not there, or not yet: whoever forks from it says so
        has_none = read_config(going_on).teacher.warmup_share == 0.0
    elif config.init_from is None:
        has_none = True
    else:
        found = warm_start_of(config)
        has_none = found is not None and found.keeps_head(training_tokenizer(config))
    if not has_none:
        return config
    teacher = config.teacher.model_copy(update={"warmup_share": 0.0})
    return config.model_copy(update={"teacher": teacher})
