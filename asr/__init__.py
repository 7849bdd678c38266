"""Semi-supervised speech recognition with an EMA teacher whose training dynamics survive a change of scale.

The public interface; what is not here may change. Everything is imported when it is first used.

    model = asr.load_model("exp/run")                        a trained model, from a run's folder
    asr.transcribe(model, "talk.mp3").to("srt")              audio of any length -> words with times
    asr.decode(model, "data/dev.jsonl.gz")                   a prepared set -> hypotheses beside references
    asr.score(references, hypotheses)                        WER, CER, SER with intervals
    asr.compare(a, b)                                        do two systems differ?
    asr.train(asr.load_config("recipe.yaml"))                a recipe -> a run
"""

import os

from asr.errors import UserError
from asr.utils.lazy import offer

if os.path.expanduser("~") == "~":
    # No HOME and no user of that number, as in many a container: libraries fail as they look for their caches.
    os.environ["HOME"] = "/nonexistent"

TYPE_CHECKING = False  # `typing` itself takes milliseconds

if TYPE_CHECKING:
    from asr.config.recipe import load_config
    from asr.config.schema import Config
    from asr.decoding.beam import BeamDecoder, BeamSettings
    from asr.decoding.decode_dataset import decode
    from asr.decoding.greedy import Decoder, Hypothesis
    from asr.decoding.transcribe import transcribe
    from asr.decoding.words import Cue, Transcription, Word
    from asr.evaluation.bootstrap import Score
    from asr.evaluation.comparison import Pair, compare
    from asr.evaluation.hypotheses import Utterance
    from asr.evaluation.score import score
    from asr.model.loaded_model import LoadedModel
    from asr.model.model_folder import load_model
    from asr.training.run import train

__all__ = [
    "BeamDecoder",
    "BeamSettings",
    "Config",
    "Cue",
    "Decoder",
    "Hypothesis",
    "LoadedModel",
    "Pair",
    "Score",
    "Transcription",
    "UserError",
    "Utterance",
    "Word",
    "compare",
    "decode",
    "load_config",
    "load_model",
    "score",
    "train",
    "transcribe",
]

__getattr__ = offer(
    __name__,
    {
        "BeamDecoder": "asr.decoding.beam",
        "BeamSettings": "asr.decoding.beam",
        "Config": "asr.config.schema",
        "Cue": "asr.decoding.words",
        "Decoder": "asr.decoding.greedy",
        "Hypothesis": "asr.decoding.greedy",
        "LoadedModel": "asr.model.loaded_model",
        "Pair": "asr.evaluation.comparison",
        "Score": "asr.evaluation.bootstrap",
        "Transcription": "asr.decoding.words",
        "Utterance": "asr.evaluation.hypotheses",
        "Word": "asr.decoding.words",
        "compare": "asr.evaluation.comparison",
        "decode": "asr.decoding.decode_dataset",
        "load_config": "asr.config.recipe",
        "load_model": "asr.model.model_folder",
        "score": "asr.evaluation.score",
        "train": "asr.training.run",
        "transcribe": "asr.decoding.transcribe",
    },
)


def __dir__() -> list[str]:
    return __all__
