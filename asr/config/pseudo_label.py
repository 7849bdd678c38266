"""What a recipe's `pseudo_label:` can say: one field an axis, and a section for each choice's numbers."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from pydantic import JsonValue, field_validator, model_validator

from asr.config.fields import (
    Count,
    Finite,
    Fraction,
    Natural,
    NonNegative,
    Positive,
    Section,
    Share,
)

TEACHERS = ("ema", "student", "frozen", "average_of_best", "file")
SCHEDULES = ("online", "cache", "rounds")
DECISIONS = ("greedy", "sample", "beam", "oracle")


class LabelSearchConfig(Section):
    """The search of `decision: beam`. Needs the optional extra `beam`."""

    language_model: str | None = None
    """ARPA file or KenLM binary, of the recipe's tokens (`asr prepare lm`); null for none."""
    lm_weight: NonNegative = 1.0
    """Of the language model's log10 probability beside the teacher's natural logarithm."""
    word_score: Finite = 0.0
    """Added at each word boundary, with a tokenizer of characters: above 0 for more, shorter words."""
    beam_size: Count = 25
    """Hypotheses kept from frame to frame."""
    tokens_per_frame: Count = 8
    """Only the likeliest tokens of a frame are tried."""
    beam_threshold: Positive = 10.0
    """Hypotheses whose score is further from the best one are dropped."""


class SampleConfig(Section):
    """The draw of `decision: sample`."""

    temperature: Positive = 1.0
    """Divides the logits when pseudo-labelling begins; 1 samples the teacher's own distribution."""
    anneal_hours: NonNegative = 0.0
    """Audio from pseudo_label.start.hours on in which the temperature falls, linearly, to 0: the greedy path. 0
    for never."""


class CacheConfig(Section):
    """The cache of `schedule: cache`."""

    capacity_utterances: Count = 26_000
    """Utterances that the cache holds; until it is full, untranscribed speech only fills it."""
    replacement_probability: Share = 0.1
    """That a group of utterances, after a use, gives its place to one that is labelled now."""
    change_for_replacement: Fraction = 0.0
    """Above 0, the probability follows how much the labels still change: 1 while the error rate between new
    and former labels is this or more, falling in proportion to it, but not below replacement_probability."""


class RoundsConfig(Section):
    """The rounds of `schedule: rounds`."""

    every_hours: Positive = 100.0
    """Audio between two rounds, counted from the first one; labels change at no other time."""
    share: Share = 1.0
    """Of the untranscribed utterances, drawn again for each round after the first, which labels all."""


class FilterConfig(Section):
    """Which labels are not trained on; those that are empty or longer than CTC can emit never are."""

    min_confidence: Share = 0.0
    """Drop below this confidence, by the measure that `confidence` names."""
    confidence: Literal["likelihood", "path", "token_frames", "tokens", "frames"] = "likelihood"
    """How sure the teacher is, from 0 to 1: likelihood (CTC's probability of the label, to the power of one
    over its tokens); or of its greedy path, whatever the label: path (likewise), tokens (mean posterior of its
    tokens), token_frames (of the frames that hold one), frames (of all frames, blanks included: what
    min_confidence meant in 0.1.0)."""
    min_ctc_score: Share = 0.0
    """Of an encoder-decoder with model.ctc_weight: drop where that head gives the teacher's label less than
    this, its CTC probability to the power of one over its letters. Labels from outside have none, and stay."""
    min_length_ratio: NonNegative = 0.0
    """Drop below this many times the transcripts' tokens per second of speech."""
    max_length_ratio: Positive = 1000.0
    """Drop above this many times the transcripts' tokens per second of speech."""
    max_tokens_per_second: Positive | None = None
    """Drop above so many tokens a second of speech; null to keep."""
    max_repetition: Share | None = None
    """Drop above this share of token trigrams that have occurred in the label before; null to keep."""
    max_compression_ratio: Positive | None = 2.4
    """Drop where the text's bytes are more than so many times those of its zlib compression, as those of texts
    that loop are (Whisper's guard: 2.4); null to keep."""
    max_no_speech_probability: Share | None = None
    """Drop above this probability of no speech, where the teacher has a token for that (Whisper: 0.6); null to
    keep."""
    max_blank_share: Share | None = None
    """Drop, as no_speech, above this share of frames whose best token is CTC's blank; null to keep. Empty
    labels are dropped anyhow, and as no_speech where dev speech has clearly fewer blanks."""
    max_change: Positive | None = None
    """Drop above this token error rate (1 is 100 %) against the utterance's former label; null to keep."""

    @model_validator(mode="after")
    def _check(self) -> FilterConfig:
        if self.min_length_ratio >= self.max_length_ratio:
            raise ValueError(
                f"min_length_ratio {self.min_length_ratio:g} must be below max_length_ratio "
                f"{self.max_length_ratio:g}: every label would be dropped"
            )
        return self


class HealthConfig(Section):
    """When labels count as collapsed, over about the last dozen of them (disagreement: half a dozen uses);
    and what is done about it."""

    max_broken_share: Share = 0.2
    """Alarm above this share of labels that are empty, repeat themselves, or are less than half as long as the
    band allows, or more than twice."""
    length_ratio_band: tuple[NonNegative, Positive] = (0.6, 1.5)
    """Alarm where the labels' tokens per second over the transcripts', on average, leave this band."""
    max_repetition: Share = 0.7
    """A label repeats itself above this share of token trigrams that have occurred in it before."""
    max_no_speech_share: Share = 0.9
    """Alarm above this share of labels that are dropped as no_speech. Below it they count as audio without
    speech, and as nothing against the teacher."""
    max_disagreement: Positive | None = 0.9
    """Alarm above this token error rate (1 is 100 %) of the student, as it trains, against the labels; null for
    none."""
    action: Literal["warn", "pause", "rollback"] = "pause"
    """Say so; or also leave labels out of training until they are healthy (an average whose labels are ill
    for a quarter of its half-life is reset to the student); or else put what labels (the average, or
    the student) back to its last healthy state, and pause where that does not help."""
    snapshot_hours: Positive = 1.0
    """Audio between two states that rollback keeps, on average; it goes back to the last but one."""
    grace_hours: NonNegative = 0.0
    """Audio after the start of pseudo-labelling within which it is only said that labels look ill: those of a
    network that has not learnt to read yet do."""

    @model_validator(mode="after")
    def _check(self) -> HealthConfig:
        low, high = self.length_ratio_band
        if low >= high:
            raise ValueError(
                f"length_ratio_band [{low:g}, {high:g}] must be [lower, upper]: labels would always be ill"
            )
        return self


class OutsideConfig(Section):
    """Labels from outside, for `teacher: file`: by any recogniser, and judged by the same filters as ours."""

    files: list[str] = []
    """Files of labels by utterance id: `asr decode`'s lines, Lhotse cuts or supervisions, NeMo's JSON lines,
    Kaldi's text, TSV (id, text[, confidence]); or folders that `asr label` wrote."""
    normaliser: str = "none"
    """What is done to their texts first, as in `asr score`: none, librispeech, whisper-english, FILE.py:NAME.
    What still cannot be spelt is tried in capitals and in small letters, else dropped as unspellable."""
    choose: Literal["outside", "more_confident", "agreeing"] = "outside"
    """Of each utterance: the outside label; or the average's, where that is surer or there is no other; or the
    outside label only where the average's agrees."""
    until_hours: NonNegative | None = None
    """Of audio: from then on the average labels alone; null for never."""
    max_disagreement: NonNegative = 0.1
    """For choose agreeing: most character errors of the average's label, over the outside label's length."""


class LabellingStartConfig(Section):
    """When pseudo-labelling begins; without hours or passes never: a supervised run."""

    hours: NonNegative | None = None
    """Hours of labelled audio before it; `start_hours` beside this section is short for it."""
    passes: NonNegative | None = None
    """Or as many times the hours of the labelled speech: passes over it, until then."""
    dev_wer_below: Positive | None = None
    """And not before the last dev WER, in percent, of the weights that will label was below this
    (trainer.evaluation_every_hours); null for whatever it is."""

    @model_validator(mode="after")
    def _check(self) -> LabellingStartConfig:
        if self.hours is not None and self.passes is not None:
            raise ValueError("give one of hours and passes, and null for the other")
        return self

    @property
    def is_set(self) -> bool:
        """Whether labelling ever begins."""
        return self.hours is not None or self.passes is not None


def with_start_in_full(tree: Any) -> Any:
    """What a recipe says of pseudo-labels, where `start_hours: H` is `start: {hours: H, passes: null}`.

    Raises ValueError where it says both otherwise.
    """
    if not isinstance(tree, dict) or "start_hours" not in tree:
        return tree
    rest = {name: value for name, value in tree.items() if name != "start_hours"}
    start, hours = rest.get("start") or {}, tree["start_hours"]
    if not isinstance(start, dict):
        return rest
    other = next((name for name in ("hours", "passes") if start.get(name) is not None), None)
    if other is not None and start[other] != hours:
        raise ValueError(
            f"start_hours {hours} and start.{other} {start[other]} both say when labelling begins: leave one "
            "out"
        )
    return {**rest, "start": {**start, "hours": hours, "passes": None}}


class PseudoLabelConfig(Section):
    start: LabellingStartConfig = LabellingStartConfig()
    """When pseudo-labelling begins: `start: {hours: H, dev_wer_below: X}`, or `start_hours: H`."""
    labelled_to_untranscribed: tuple[Count, Natural] | Literal["natural"] = (1, 1)
    """N_L : N_U, the ratio of labelled to untranscribed groups in the stream; natural for that of the audio."""
    teacher: str = "ema"
    """Whose weights label: ema (the average), student, frozen (the average at the start), average_of_best;
    file (labels from outside, and the average where it is asked, too); or FILE.py:CLASS of your own."""
    outside: OutsideConfig = OutsideConfig()
    """The labels from outside, for teacher file."""
    best_checkpoints: Count = 10
    """For teacher average_of_best: of so many students, those with the lowest dev WER."""
    schedule: str = "online"
    """When: online (at each use), cache (kept for several uses), rounds (all at once, now and then);
    or FILE.py:CLASS."""
    cache: CacheConfig = CacheConfig()
    """The cache, for schedule cache (slimIPL)."""
    rounds: RoundsConfig = RoundsConfig()
    """The rounds, for schedule rounds (IPL)."""
    decision: str = "greedy"
    """From posteriors to a label: greedy (the best token of each frame), sample, beam (a search), oracle (the
    reference, for comparison); or FILE.py:CLASS."""
    beam: LabelSearchConfig = LabelSearchConfig()
    """The search, for decision beam: an n-gram model spells better than a weak teacher alone (IPL)."""
    max_generated_tokens_per_second: Positive = 20.0
    """Of an encoder-decoder: a label that has more, and 16 besides, is stopped, and dropped as unfinished."""
    sample: SampleConfig = SampleConfig()
    """The draw, for decision sample."""
    options: dict[str, JsonValue] = {}
    """For the classes of your own: whatever they want to know, in JSON's terms."""
    filters: FilterConfig = FilterConfig()
    """Which labels are not trained on."""
    loss_weight: Positive = 1.0
    """Of the loss of pseudo-labelled speech beside that of transcribed speech."""
    token_weights: Literal["none", "confidence"] = "none"
    """Of an encoder-decoder: how much each token of a label counts in the cross-entropy: all alike (none), or
    in proportion to the probability that the teacher gave it (confidence, the one half of STAR's indicator), 1
    on average over the label. Labels from outside have no such probabilities, and their tokens count alike."""
    dropout: Fraction | None = None
    """Dropout of the blocks from the start of pseudo-labelling on; null to leave it."""
    layer_drop: Fraction | None = None
    """LayerDrop from the start of pseudo-labelling on; null to leave it."""
    health: HealthConfig = HealthConfig()
    """When labels count as collapsed, and what is done about it."""
    ledger: bool = True
    """Write every label to pseudo_labels/ (`asr labels`)."""

    @property
    def start_hours(self) -> float | None:
        """Hours of labelled audio before pseudo-labelling begins, at the least; None for a supervised run."""
        assert self.start.passes is None, "passes are hours once the recipe is resolved"
        return self.start.hours

    @property
    def teacher_from_hours(self) -> float | None:
        """Hours from which labels are a network's own, which can feed back on themselves; None for never."""
        outside = self.outside
        if self.start_hours is None or self.teacher != "file" or outside.choose != "outside":
            return self.start_hours
        return None if outside.until_hours is None else max(self.start_hours, outside.until_hours)

    @model_validator(mode="after")
    def _check_outside(self) -> PseudoLabelConfig:
        if self.teacher == "file" and not self.outside.files:
            raise ValueError("teacher file needs outside.files: name at least one file of labels")
        if self.teacher != "file" and self.outside.files:
            raise ValueError(f"outside.files are for teacher file, and this one is {self.teacher}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _short_for_start(cls, tree: Any) -> Any:
        return with_start_in_full(tree)

    @field_validator("teacher", "schedule", "decision")
    @classmethod
    def _known(cls, name: str, info: Any) -> str:
        known = {"teacher": TEACHERS, "schedule": SCHEDULES, "decision": DECISIONS}[info.field_name]
        if name in known or ".py:" in name:
            return name
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{nearest[0]}'? " if nearest else ""
        raise ValueError(f"{hint}choose {', '.join(known)}, or FILE.py:CLASS of your own")
