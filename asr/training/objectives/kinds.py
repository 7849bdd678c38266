"""What a recipe's `objective.kind` names."""

from __future__ import annotations

from asr.config.schema import Config
from asr.distributed.process_group import Ranks
from asr.model.features import FeatureExtractor, FrontEnd
from asr.model.tokenizer import Tokenizer
from asr.pseudo_labels.pseudo_labeler import PseudoLabeler
from asr.teacher.teachers import TeacherContext
from asr.training.objectives.byol import ByolObjective
from asr.training.objectives.latent import LatentObjective
from asr.training.objectives.objective import Objective
from asr.training.objectives.representations import RepresentationObjective
from asr.training.objectives.texts import TextObjective
from asr.training.validation.byol import ByolDevSets
from asr.training.validation.dev_sets import DevSets
from asr.training.validation.latent import LatentDevSets
from asr.training.validation.representations import RepresentationDevSets
from asr.training.validation.texts import TextDevSets

_REPRESENTATIONS: dict[str, tuple[type[RepresentationObjective], type[RepresentationDevSets]]] = {
    "latent": (LatentObjective, LatentDevSets),
    "byol": (ByolObjective, ByolDevSets),
}
"""By kind: what is trained for, and how a model is judged on dev sets."""


def make_objective(
    models: TeacherContext, labeler: PseudoLabeler | None, features: FeatureExtractor
) -> Objective:
    """A run's. `labeler`: where a recipe pseudo-labels; `features`: of what the average hears."""
    config = models.config
    if not config.objective.has_texts:
        return _REPRESENTATIONS[config.objective.kind][0](models, features)
    weight, criterion = config.pseudo_label.loss_weight, models.engine.student.criterion
    return TextObjective(models.ranks, criterion, labeler, weight)


def make_dev_sets(
    config: Config, front_end: FrontEnd, tokenizer: Tokenizer, ranks: Ranks
) -> DevSets:
    """A run's. Raises UserError where a set is missing, of another rate, or too long for the model."""
    if not config.objective.has_texts:
        return _REPRESENTATIONS[config.objective.kind][1].load(config, front_end, ranks)
    return TextDevSets.load(config, front_end, tokenizer, ranks)
