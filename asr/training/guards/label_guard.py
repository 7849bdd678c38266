"""Whether what labels is fit to: when it may begin, what its labels' errors are likely to be, and warnings.

On the dev sets, at each evaluation and where labelling begins, the weights that label are measured: their WER,
and by utterance how sure they are and how wrong, by the very decision and measure of the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

from asr.config.schema import Config
from asr.data.sampler import AudioStream, Position
from asr.data.segments import Segment
from asr.decoding import reading
from asr.evaluation.calibration.word_errors import UNFIT_WER, Calibration, Read
from asr.evaluation.edit_distance import error_counts
from asr.model.speech_model import SpeechModel
from asr.pseudo_labels.decoders import LabelRequest
from asr.pseudo_labels.label import Label
from asr.pseudo_labels.pseudo_labeler import PseudoLabeler
from asr.scaling.rule import SECONDS_PER_HOUR
from asr.teacher.averages import Averages
from asr.training.validation.texts import TextDevSets, TextMetrics

_MEASURED_DECISIONS = ("greedy", "sample", "beam")
"""What decides labels of dev speech just as those of untranscribed speech."""
_SHORTFALL = 0.2
_FEWEST_LABELS = 50.0
_FEWEST_DEV_UTTERANCES = 5
_NEARLY_ALL = 0.9
_REMEDY = (
    "more transcripts or hours first, a trained start (init_from), or pseudo_label.start.dev_wer_below, which "
    "waits"
)


@dataclass
class Reading:
    """Dev sets, as the weights that label read them."""

    model: str | None
    """Which of an evaluation's models they are; None for none of them."""
    read: list[Read] = field(default_factory=list)
    """This rank's share."""
    blank_shares: list[float] = field(default_factory=list)
    """Of the same utterances."""
    metrics: list[TextMetrics] = field(default_factory=list)
    """By dev set."""
    label: Callable[[reading.Reading, LabelRequest], Sequence[Label]] | None = None
    """As labels are decided; None for a decision that dev sets say nothing of."""
    text_of: Callable[[list[int]], str] = str
    normalise: Callable[[str], str] = str
    hours: float = 0.0

    def __call__(
        self, found: reading.Reading, segments: Sequence[Segment], references: Sequence[str]
    ) -> None:
        """A micro-batch of an evaluation."""
        if self.label is None:
            return
        made = self.label(found, LabelRequest(list(segments), list(references), self.hours))
        self.blank_shares += [label.metrics.blank_share for label in made]
        for label, reference in zip(made, references, strict=True):
            texts = self.normalise(reference), self.normalise(self.text_of(label.tokens))
            words, _ = error_counts([texts[0]], [texts[1]])
            self.read.append(Read(label.metrics.confidence, words.errors, words.reference_length))


@dataclass
class LabelGuard:
    """Of one run that pseudo-labels."""

    config: Config
    labeler: PseudoLabeler
    dev: TextDevSets
    say: Callable[[str], None]
    wer: float | None = None
    """Of the weights that label, in percent, the mean over the dev sets; None where it was not measured."""
    cer: float | None = None
    hours: float | None = None
    """Of audio, when it was."""

    def reading(self, hours: float) -> Reading:
        """For an evaluation that is about to begin."""
        policy, maker = self.config.pseudo_label, self.labeler.maker
        is_measured = policy.decision in _MEASURED_DECISIONS
        if policy.teacher == "student":
            model: str | None = "student"
        else:
            labels_by_average = policy.teacher in ("ema", "file") or not self.labeler.is_begun
            is_evaluated = labels_by_average and self.averages.shipped is self.averages.labelling
            model = "teacher" if is_evaluated else None
        return Reading(
            model,
            label=maker.decoder.of_reading if is_measured else None,
            text_of=maker.tokenizer.decode,
            normalise=maker.normalise,
            hours=hours,
        )

    def take(self, reading: Reading) -> None:
        """What an evaluation found. A collective."""
        if not self.dev.sets or not self._judges(reading.hours):
            return
        ranks = self.labeler.ranks
        if reading.model is None:
            with self._labelling() as network:
                for speech in self.dev.sets:
                    self.dev.evaluate(network, speech, reading)
        count = len(reading.metrics)
        self.wer = sum(metrics.wer for metrics in reading.metrics) / count
        self.cer = sum(metrics.cer for metrics in reading.metrics) / count
        self.hours = reading.hours
        # In an order that does not depend on the ranks.
        outlook = self.labeler.maker.outlook
        outlook.calibration = Calibration.fit(ranks.gather(reading.read))
        outlook.speech_blank_share = _most_blank(ranks.gather(reading.blank_shares))

    def _judges(self, hours: float) -> bool:
        """Whether a network of the run labels, or will first: files are not measured on dev sets."""
        policy = self.config.pseudo_label
        begin = policy.teacher_from_hours
        return policy.teacher != "file" or (begin is not None and hours >= begin)

    def _labelling(self) -> AbstractContextManager[SpeechModel]:
        """What labels, or will."""
        if self.labeler.is_begun:
            return self.labeler.teacher.labelling()
        if self.config.pseudo_label.teacher == "student":
            return self.labeler.teacher.models.engine.evaluating()
        return nullcontext(self.averages.labelling.model())

    @property
    def averages(self) -> Averages:
        return self.labeler.teacher.models.averages

    # When labelling begins.

    def told(self, stream: AudioStream, position: Position) -> Position:
        """Where the stream goes on: with untranscribed speech once what labels is fit to."""
        limit = self.config.pseudo_label.start.dev_wer_below
        is_free = limit is None or not self._judges(position.seconds / SECONDS_PER_HOUR)
        is_fit = self.wer is not None and limit is not None and self.wer < limit
        return stream.told(position, is_free or is_fit)

    def _warn_of_the_wait(self, stream: AudioStream, position: Position) -> None:
        limit = self.config.pseudo_label.start.dev_wer_below
        if limit is None or stream.is_open(position) or self.wer is None:
            return
        if position.opens_at_seconds is None and position.seconds >= stream.start_seconds:
            self.say(
                f"{self.hours:8.2f} h  labels wait: the dev WER of what would label is {self.wer:.1f} %, and "
                f"pseudo_label.start.dev_wer_below {limit:g}"
            )

    def why_not_begun(self) -> str:
        """For people, at the end of a run without labels."""
        start = self.config.pseudo_label.start
        if start.dev_wer_below is None or self.wer is None:
            return (
                f"pseudo_label.start.hours {start.hours:g}; raise trainer.total_hours above it and "
                "run the same command, or begin another run earlier (in a folder of its own, output=FOLDER)"
            )
        return (
            f"the last dev WER of what would label was {self.wer:.1f} %, pseudo_label.start.dev_wer_below is "
            f"{start.dev_wer_below:g}; raise trainer.total_hours and run the same command, or give it more "
            "transcripts or a trained start (init_from)"
        )

    def before(self, has_labels: bool, hours: float) -> None:
        """Before a batch is trained on: measure what labels where its first one comes. A collective."""
        if not has_labels or self.labeler.is_begun or not self.dev.sets:
            return
        if not self._judges(hours):
            return
        if self.hours != hours:
            reading = self.reading(hours)
            reading.model = None
            self.take(reading)
        assert self.wer is not None
        assert self.cer is not None
        self.say(
            f"{hours:8.2f} h  labels begin; dev WER of what labels: {self.wer:.1f} %, CER {self.cer:.1f} %"
        )
        self._warn_of_wer()

    # Warnings, and what the metrics say.

    def warn(self, stream: AudioStream, position: Position) -> None:
        """After an evaluation, of labels in use, or what they wait for."""
        self._warn_of_the_wait(stream, position)
        if not self.labeler.is_begun or self.wer is None or self.hours is None:
            return
        if not self._judges(self.hours):
            return
        self._warn_of_wer()
        shown, calibration = self.labeler.health.shown, self.labeler.maker.outlook.calibration
        if calibration is None or shown.labels < _FEWEST_LABELS:
            return
        sure = shown.confidence / max(1e-9, shown.labels - shown.without_confidence)
        wer = 100 * shown.expected_errors / max(1e-9, shown.expected_seconds)
        self.say(
            f"{self.hours:8.2f} h  labels     WER {wer:6.2f} %, estimated by their confidence and dev's"
        )
        if self.config.pseudo_label.teacher == "file":
            return  # others are sure by other measures
        shortfall = calibration.shortfall(sure, shown.labels)
        if shortfall is not None and shortfall > _SHORTFALL:
            self.say(
                f"{self.hours:8.2f} h  warning: labels have a mean confidence of {sure:.2f}, dev has "
                f"{calibration.mean_confidence:.2f}: untranscribed speech is harder than dev, or other speech; "
                f"about {wer:.0f} % of the labels' words are wrong (dev WER {self.wer:.1f} %); "
                "pseudo_label.filters.min_confidence drops the worst"
            )

    def _warn_of_wer(self) -> None:
        if self.wer is not None and self.wer > UNFIT_WER:
            self.say(
                f"{self.hours:8.2f} h  warning: what labels has a dev WER of {self.wer:.1f} %, above "
                f"{UNFIT_WER:g} %: most of the labels' words are wrong, and the student may get worse by them; "
                f"{_REMEDY}"
            )

    # Checkpoints.

    def state(self) -> dict[str, Any]:
        """Plain numbers for state.json."""
        calibration = self.labeler.maker.outlook.calibration
        return {
            "wer": self.wer,
            "cer": self.cer,
            "hours": self.hours,
            "calibration": calibration and asdict(calibration),
            "speech_blank_share": self.labeler.maker.outlook.speech_blank_share,
        }

    def load(self, state: Mapping[str, Any] | None, dev_wer: float | None) -> None:
        """Go on from a checkpoint; one of a supervised run knows the average's dev WER alone."""
        if state is None:
            is_average = self.config.pseudo_label.teacher != "student"
            is_evaluated = is_average and self.averages.shipped is self.averages.labelling
            if is_evaluated and self.config.pseudo_label.teacher != "file":
                self.wer = dev_wer
            return
        self.wer, self.cer, self.hours = state["wer"], state["cer"], state["hours"]
        # Older checkpoints have none.
        self.labeler.maker.outlook.speech_blank_share = state.get("speech_blank_share")
        if state["calibration"] is not None:
            calibration = Calibration.from_state(state["calibration"])
            self.labeler.maker.outlook.calibration = calibration


def _most_blank(shares: list[float]) -> float | None:
    """The most blank frames that speech has: between those of nearly all dev speech, and all.

    1, which no label exceeds, of a network that hears nothing in speech either; None of few utterances.
    """
    if len(shares) < _FEWEST_DEV_UTTERANCES:
        return None
    ordered = sorted(shares)
    return (ordered[int(_NEARLY_ALL * (len(ordered) - 1))] + 1.0) / 2


def label_guard_metrics(guard: LabelGuard | None) -> dict[str, float | None]:
    """Of a metrics line; None of a supervised run."""
    return {"labelling_dev_wer": guard.wer if guard is not None else None}
