"""Whether representations have collapsed: said once, and where the recipe wants it undone, or the run ended.

A student that predicts its own average may make that easy: all frames alike, all channels alike. Variances and
dead frames are watched in every update, the effective rank at evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from asr.config.objective import CollapseConfig
from asr.errors import CollapseError
from asr.scaling.clock import crossed
from asr.teacher.snapshots import Snapshots
from asr.teacher.teachers import TeacherContext

_HALF_LIFE_REFERENCE_BATCHES = 2.0
_ENOUGH = 0.9
"""Of the weight of all audio, in what is judged: at the start, and after a way back, updates are few."""
_REMEDY = (
    "lengthen teacher.half_life_hours or optimizer.warmup_hours, lower optimizer.learning_rate, or "
)
_MASK_MORE = {
    "latent": "mask more (objective.latent.mask_share)",
    "byol": "change the views more (augmentation.spec_augment, augmentation.noise)",
}
_STUDENT, _AVERAGE = "healthy_student", "healthy"


@dataclass
class Signs:
    """Smoothed over audio. Plain numbers: a checkpoint holds `asdict(self)`."""

    target_variance: float = 0.0
    prediction_variance: float = 0.0
    dead_share: float = 0.0
    weight: float = 0.0

    def observe(self, metrics: Mapping[str, float], reference_batches: float) -> None:
        """An update over so many reference batches of audio."""
        keep = 0.5 ** (reference_batches / _HALF_LIFE_REFERENCE_BATCHES)
        for name in ("target_variance", "prediction_variance", "dead_share"):
            before = getattr(self, name)
            if math.isnan(before):  # it would be for ever
                before = self.weight * metrics[name]
            setattr(self, name, keep * before + (1.0 - keep) * metrics[name])
        self.weight = keep * self.weight + (1.0 - keep)

    def faults(self, policy: CollapseConfig, settings: str) -> list[str]:
        """Which are outside of their bands, or NaN, for people; `settings` is where a recipe has the policy."""
        target, found = self.target_variance / self.weight, self.prediction_variance / self.weight
        dead = self.dead_share / self.weight
        told = {
            f"targets have a variance of {target:.2g} ({settings}.min_target_variance "
            f"{policy.min_target_variance:g})": target >= policy.min_target_variance,
            f"predictions have a variance of {found:.2g} ({settings}.min_prediction_variance "
            f"{policy.min_prediction_variance:g})": found >= policy.min_prediction_variance,
            f"{dead:.0%} of the frames say nothing of their own ({settings}.max_dead_share "
            f"{policy.max_dead_share:.0%})": dead <= policy.max_dead_share,
        }
        return [text for text, is_within in told.items() if not is_within]


@dataclass
class CollapseGuard:
    """Of one run."""

    policy: CollapseConfig
    models: TeacherContext
    signs: Signs = field(default_factory=Signs)
    ill: list[str] = field(default_factory=list)
    """By what: signs, rank, or both; where that is only said."""
    is_sound: bool = True
    """Whether the last evaluation found nothing: the dev loss of what has collapsed is near 0."""
    kept_hours: float = 0.0
    """Of audio, when a healthy state was last kept."""
    has_rolled_back: bool = False
    """And no healthy state has been kept since."""
    states: dict[str, Snapshots] = field(default_factory=dict)
    """Of student and average, where they can go back."""

    def __post_init__(self) -> None:
        if self.policy.action == "rollback":
            shards, ranks = self.models.engine.shards, self.models.ranks
            pairs = {_STUDENT: shards.masters, _AVERAGE: self.models.average.average}
            self.states = {name: Snapshots(own, shards, ranks) for name, own in pairs.items()}

    def watch(self, metrics: Mapping[str, float], hours: float, seconds: float) -> list[str]:
        """After an update of so many seconds of audio, at `hours`. Lines for people; the same on all ranks.

        Raises CollapseError where the run is to end.
        """
        config = self.models.config
        self.signs.observe(metrics, seconds / config.scaling.reference_batch_seconds)
        if self.signs.weight < _ENOUGH:
            return []
        said = self._judge("signs", self.signs.faults(self.policy, self.settings), hours)
        if not config.corpus.dev:  # else the rank has a say, too
            self._keep_if_due(hours)
        return said

    def evaluated(self, effective_rank: float, hours: float) -> list[str]:
        """The average was, on all dev sets: the mean. Likewise."""
        least, faults = self.policy.min_effective_rank, list[str]()
        if not effective_rank >= least:  # NaN, too
            faults.append(
                f"the average's output has an effective rank of {effective_rank:.2f} "
                f"({self.settings}.min_effective_rank {least:g})"
            )
        self.is_sound = not faults and "signs" not in self.ill
        said = self._judge("rank", faults, hours)
        self._keep_if_due(hours)
        return said

    def _judge(self, by: str, faults: list[str], hours: float) -> list[str]:
        if hours < self.policy.grace_hours:
            return []
        was_ill, was_so = bool(self.ill), by in self.ill
        others = [one for one in self.ill if one != by]
        if not faults:
            self.ill = others
            is_over = was_ill and not others
            return [f"{hours:8.2f} h  representations are healthy again"] if is_over else []
        what = f"representations have collapsed: {'; '.join(faults)}"
        warning = f"{hours:8.2f} h  warning: {what}"
        if self.policy.action != "warn":
            return [warning, self._go_back(what, hours)]
        self.ill = [*others, by]
        return [] if was_so else [warning, f"{hours:8.2f} h  {self.remedy}"]

    def _go_back(self, what: str, hours: float) -> str:
        if self.policy.action == "stop" or self.has_rolled_back or not self._has_kept:
            raise CollapseError(
                f"{what}{self._why_not()}",
                f"{self.remedy}; the checkpoints before it are untouched (asr fork)",
            ).of_all(self.models.ranks.is_first)
        for states in self.states.values():
            states.roll_back()
        self.models.engine.masters_changed()
        averages = self.models.averages
        self.models.engine.shards.reset_moments()  # they are those of what collapsed
        averages.labelling.moved()
        averages.samples.settle()
        if averages.shipped is not averages.labelling:
            averages.shipped.reset_to_student()
        self.signs, self.ill = Signs(), []
        self.kept_hours, self.has_rolled_back = hours, True
        return f"{hours:8.2f} h  student and average are put back to their last healthy state"

    def _why_not(self) -> str:
        """It does not go back."""
        if self.policy.action == "stop":
            return ""
        if self.has_rolled_back:
            return ", and going back has not helped"
        return (
            f", and no healthy state was there to go back to (the first is kept after {self.settings}."
            f"grace_hours {self.policy.grace_hours:g}, at an evaluation where there are dev sets)"
        )

    @property
    def _kind(self) -> str:
        return self.models.config.objective.kind

    @property
    def settings(self) -> str:
        """Where the recipe has the policy."""
        return f"objective.{self._kind}.health"

    @property
    def remedy(self) -> str:
        """Against a collapse, for people."""
        return _REMEDY + _MASK_MORE[self._kind]

    @property
    def _has_kept(self) -> bool:
        return all(states.kept for states in self.states.values())

    def _keep_if_due(self, hours: float) -> None:
        """A healthy state, by what has just been judged."""
        every, origin = self.policy.snapshot_hours, self.policy.grace_hours
        is_told = hours >= origin and self.signs.weight >= _ENOUGH
        if not self.states or self.ill or not is_told:
            return
        if not self._has_kept or crossed(self.kept_hours - origin, hours - origin, every):
            for states in self.states.values():
                states.keep()
            self.kept_hours, self.has_rolled_back = hours, False

    def state(self) -> dict[str, Any]:
        """Plain numbers for state.json."""
        return {
            "signs": asdict(self.signs),
            "ill": list(self.ill),
            "kept_hours": self.kept_hours,
            "has_rolled_back": self.has_rolled_back,
            "kept": {name: states.kept for name, states in self.states.items()},
        }

    def load(self, state: Mapping[str, Any], read: Callable[[str], Mapping[str, Tensor]]) -> None:
        """Go on from a checkpoint; `read` gives tensors by the name of their file."""
        self.signs, self.ill = Signs(**state["signs"]), list(state["ill"])
        self.kept_hours, self.has_rolled_back = state["kept_hours"], state["has_rolled_back"]
        for name, states in self.states.items():
            count = state["kept"].get(name, 0)
            states.load([read(f"{name}-{number}") for number in range(count)])

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """The healthy states, whole, by the name of their file. A collective."""
        return {
            f"{name}-{number}": states.whole(number)
            for name, states in self.states.items()
            for number in range(states.kept)
        }
