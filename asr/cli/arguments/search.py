"""The options of a beam search, and what they lead to."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.errors import UserError
from asr.evaluation.normalisers import make_normaliser, recorded_normaliser
from asr.utils.files import read_json
from asr.utils.options import finite

if TYPE_CHECKING:
    from asr.decoding.beam import BeamSettings
    from asr.decoding.greedy import Decoder
    from asr.decoding.sharing.output import SharedOutput
    from asr.model.loaded_model import LoadedModel

SEARCH_OPTIONS = ("lm", "lexicon", "lm_weight", "word_score", "beam_size")
LM_WEIGHT, WORD_SCORE, BEAM_SIZE = 1.0, 0.0, 50


def add_search(group: argparse._ActionsContainer) -> None:
    """What a beam search takes; None where nothing is said."""
    group.add_argument("--lm", type=Path, metavar="FILE", help="ARPA or KenLM binary")
    group.add_argument(
        "--lexicon", type=Path, metavar="FILE", help="a word a line: only these come out"
    )
    group.add_argument("--lm-weight", type=finite, help=f"default {LM_WEIGHT}")
    group.add_argument("--word-score", type=finite, help=f"for each word; default {WORD_SCORE}")
    group.add_argument("--beam-size", type=int, help=f"default {BEAM_SIZE}")


def settings_of(arguments: argparse.Namespace, nbest: int = 1) -> BeamSettings:
    """What the options of `add_search` say. Raises UserError for what cannot be."""
    from asr.decoding.beam import BeamSettings

    given = {
        name: getattr(arguments, name)
        for name in ("lexicon", "lm_weight", "word_score", "beam_size")
        if getattr(arguments, name) is not None
    }
    return BeamSettings(language_model=arguments.lm, nbest=nbest, **given)


def beam_of(
    arguments: argparse.Namespace, model: LoadedModel, output: SharedOutput
) -> tuple[Decoder, dict[str, Any] | None, dict[str, Any]]:
    """The decoder that the options of `asr decode` describe; what its tuning found, if any; and its stamp."""
    from asr.data.dataset import SpeechSet
    from asr.decoding.beam import BeamDecoder
    from asr.decoding.sharing.output import content_of
    from asr.decoding.tuning import LM_WEIGHTS, WORD_SCORES, tune

    settings = settings_of(arguments, arguments.nbest)
    if arguments.tune is None:
        return BeamDecoder(model.tokenizer, settings), None, settings.stamp()
    dev = SpeechSet.load(arguments.tune).at_rate(model.config.features.sample_rate_hz)
    if arguments.normaliser is None:
        where = f"{model.checkpoint / 'config.yaml'}, corpus.scoring_normaliser"
        normaliser = recorded_normaliser(model.config.corpus.scoring_normaliser, where)
    else:
        normaliser = make_normaliser(arguments.normaliser)
    tuned_by = {
        "tuned_on": str(arguments.tune),
        "tuned_by": arguments.tune_by,
        "tuned_under": normaliser.stamp,
    }
    depends_on = {
        **settings.stamp(),
        **tuned_by,
        "weights_sha256": model.weights_sha256,
        "content": content_of(dev),
        "points": [LM_WEIGHTS, WORD_SCORES],
    }
    tuned = tune(
        model,
        dev,
        settings,
        arguments.tune_by,
        partial(print, flush=True) if output.processes.rank == 0 else lambda line: None,
        normaliser.apply,
        noted=output.noted_points(depends_on),
        share=(output.processes.rank, output.processes.world),
    )
    search = tuned.decoder.settings.stamp()
    tuning = {
        **tuned_by,
        "weights_sha256": model.weights_sha256,
        "search": search,
        "best": tuned.best,
        "greedy": dict(tuned.greedy),
        "grid": tuned.grid,
    }
    return tuned.decoder, tuning, {**search, **tuned_by}


def tuned_settings(arguments: argparse.Namespace) -> tuple[BeamSettings, str]:
    """The search that `--tuned` names, where other options do not say otherwise; and the weights of its model.

    Raises UserError for a file that is not one of a tuning, and for a language model or a lexicon that is not
    the one that it was tuned with.
    """
    from asr.decoding.beam import BeamSettings
    from asr.utils.hashes import file_sha256

    path: Path = arguments.tuned
    try:
        stored = read_json(path)
        search, weights = dict(stored["search"]), str(stored["weights_sha256"])
        files = {name: search[name] for name in ("language_model", "lexicon")}
        numbers = {name: search[name] for name in ("tokens_per_frame", "beam_threshold")}
        for name in ("lm_weight", "word_score", "beam_size"):
            chosen = getattr(arguments, name)
            numbers[name] = search[name] if chosen is None else chosen
        if not all(type(value) in (int, float) for value in numbers.values()):
            raise TypeError
        given = {"language_model": arguments.lm, "lexicon": arguments.lexicon}
        paths = {n: given[n] or (None if old is None else Path(old)) for n, old in files.items()}
    except FileNotFoundError:
        raise UserError(f"--tuned {path}: no such file", _WRITES) from None
    except (OSError, ValueError, LookupError, TypeError):
        raise UserError(f"--tuned {path}: is not the file of a tuning", _WRITES) from None
    settings = BeamSettings(**{**numbers, **paths})
    for name, option in (("language_model", "--lm"), ("lexicon", "--lexicon")):
        own, words = paths[name], name.replace("_", " ")
        if own is None:
            continue
        if not own.is_file():
            raise UserError(
                f"{words} {own}, of {path}: no such file", f"say where it is with {option}"
            )
        if file_sha256(own) != search.get(f"{name}_sha256"):
            raise UserError(
                f"{words} {own}: is not the one of {path}, whose weights are for that",
                f"name that with {option}, or tune again, or leave --tuned out and give --lm-weight and "
                "--word-score",
            )
    return settings, weights


_WRITES = (
    "name what `asr decode --decoder beam --tune DEV` wrote, RUN/decode/SET/MODEL_beam.tuning.json"
)
