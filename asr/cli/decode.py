"""`asr decode`: transcribe a prepared set and keep its references beside."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.cli.options import add_device, add_model, make_parser
from asr.data.manifest.index import digest
from asr.decoding.decode_dataset import decode_set
from asr.decoding.greedy import Decoder, greedy_only
from asr.decoding.safeguards import GREEDY, GenerationSettings
from asr.decoding.words import TIMES_NEED_A_HEAD
from asr.errors import LostAudioError, UserError
from asr.evaluation.diagnosis.mismatch import about_mismatch
from asr.evaluation.hypotheses import bound
from asr.evaluation.normalisers import make_normaliser, name_beside, recorded_normaliser
from asr.model.tokenizer import tokenizer_sha256
from asr.utils.files import read_json, write_json, write_jsonl
from asr.utils.options import finite
from asr.utils.streams import work_is_on_disk

if TYPE_CHECKING:
    from asr.data.dataset import SpeechSet
    from asr.model.loaded_model import LoadedModel


_DESCRIPTION = """\
Decode a prepared set with a trained model and write one JSON object an utterance: id, reference, hypothesis,
confidence, seconds; the words with their times and confidences, by forced alignment; the audio's file; speaker,
language and what else the manifest says. `asr score`, `asr compare` and `asr report` read it. Greedy, or a beam
search with an n-gram language model:

  asr prepare lm --cuts data/mine/labelled.jsonl.gz --output lm.arpa
  asr decode EXP data/mine/test.jsonl.gz --decoder beam --lm lm.arpa --tune data/mine/dev.jsonl.gz

What others have trained, the folder of a Hugging Face CTC model or Whisper (pip install 'asr-ema[pretrained]'),
decodes as it is. In a run's folder, under this name, `asr score` and `asr report` compare the teacher with it:

  asr decode models/whisper-tiny.en data/mine/test.jsonl.gz --output EXP/decode/test/zero_shot.jsonl
"""


def main(argv: list[str]) -> int:
    """`asr decode`."""
    arguments = _parse(argv)
    work_is_on_disk()

    from asr.data.dataset import SpeechSet
    from asr.model.model_folder import find_checkpoint, load_model
    from asr.pseudo_labels.labelling.recogniser import is_of_others

    if is_of_others(arguments.model_folder):
        return _decode_by_others(arguments)
    if arguments.language is not None:
        raise UserError(
            f"--language {arguments.language}: a model of ours has its recipe's",
            "leave it out, or train with model.language",
        )
    find_checkpoint(arguments.model_folder, arguments.best)  # a misspelt folder is named at once
    speech = SpeechSet.load(arguments.manifest)
    model = load_model(
        arguments.model_folder, arguments.model, average=arguments.average, best=arguments.best
    )
    speech.at_rate(model.config.features.sample_rate_hz)
    name = arguments.model + (f"_average{arguments.average}" if arguments.average else "")
    output = arguments.output
    if output is None:
        name += "_beam" if arguments.decoder == "beam" else ""
        output = arguments.model_folder / "decode" / speech.name / f"{name}.jsonl"
        _check_set(output, speech)
    decoder: Decoder | GenerationSettings = greedy_only
    decoder_stamp: dict[str, Any] = {"decoder": "greedy"}
    if model.network.is_read_in_steps:
        decoder = _generation(arguments)
        decoder_stamp = decoder.stamp()
    elif arguments.decoder == "beam":
        decoder, decoder_stamp = _beam(arguments, model, output)
    lost = list[LostAudioError]()
    records = decode_set(model, speech, decoder, token_times=arguments.token_times, lost=lost)
    texts = _write(output, records, speech, lost)
    stamp = {
        "checkpoint": str(model.checkpoint),
        "model": arguments.model,
        **({"average_of": [str(path) for path in model.averaged]} if model.averaged else {}),
        "weights_sha256": model.weights_sha256,
        "tokenizer_sha256": tokenizer_sha256(model.checkpoint),
        "set": speech.name,
        "manifest": str(arguments.manifest),
        "utterances_sha256": digest(speech.keys, speech.seconds),
        **decoder_stamp,
    }
    write_json(output.with_suffix(".stamp.json"), bound(stamp, output))
    print(f"decoded {len(speech)} utterances of '{speech.name}' with {model.checkpoint}: {output}")
    if not model.network.has_times:
        print(f"its words have no times: {TIMES_NEED_A_HEAD}")
    _say_mismatch(output, texts)
    return 0


def _decode_by_others(arguments: argparse.Namespace) -> int:
    """With a recogniser as others have trained it; nothing is written into its folder."""
    from asr.data.dataset import SpeechSet
    from asr.model.model_folder import choose_device
    from asr.pseudo_labels.labelling.decoding import recognise_set
    from asr.pseudo_labels.labelling.recogniser import Choice, load_recogniser
    from asr.pseudo_labels.labelling.written import WritingRecogniser

    folder, output = arguments.model_folder, arguments.output
    if output is None or output.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"{folder}: a model of others, into whose folder nothing is written",
            "say where to with --output, e.g. --output RUN/decode/SET/zero_shot.jsonl",
        )
    if arguments.model == "student" or arguments.average or arguments.best:
        raise UserError(
            f"{folder}: a model of others has no student and no checkpoints",
            "leave --model, --average and --best out",
        )
    speech = SpeechSet.load(arguments.manifest)
    recogniser = load_recogniser(Choice(str(folder), language=arguments.language), choose_device())
    speech.at_rate(recogniser.sample_rate_hz)
    stamp = {"checkpoint": str(folder), "model": "pretrained", **recogniser.stamp}
    settings = GenerationSettings()
    if isinstance(recogniser, WritingRecogniser):
        settings = _generation(arguments)
        stamp |= settings.stamp()
    elif arguments.decoder == "beam" or arguments.token_times or arguments.no_safeguards:
        raise UserError(
            f"{folder}: --decoder beam, --token-times and --no-safeguards are not for this model",
            "leave them out",
        )
    lost = list[LostAudioError]()
    records = recognise_set(recogniser, speech, settings, lost)
    texts = _write(output, records, speech, lost)
    stamp["weights_sha256"] = stamp.pop("weights")
    stamp |= {"set": speech.name, "manifest": str(arguments.manifest)}
    write_json(output.with_suffix(".stamp.json"), bound(stamp, output))
    print(f"decoded {len(speech)} utterances of '{speech.name}' with {folder}: {output}")
    _say_mismatch(output, texts)
    return 0


def _check_set(output: Path, speech: SpeechSet) -> None:
    """Raises UserError where another set of the same name has its hypotheses."""
    try:
        stamp = read_json(output.with_suffix(".stamp.json"))
        before, manifest = stamp["utterances_sha256"], stamp["manifest"]
    except (OSError, ValueError, LookupError, TypeError):  # none, or of an older version
        return
    if output.is_file() and before != digest(speech.keys, speech.seconds):
        raise UserError(
            f"{output} holds the hypotheses of other utterances, of {manifest}, a set of the same name",
            f"rename one of the sets, give --output, or delete {output.parent}",
        )


def _write(
    output: Path, records: Iterable[dict[str, Any]], speech: SpeechSet, lost: list[LostAudioError]
) -> list[tuple[str, str]]:
    """As they come; references and hypotheses are kept in passing.

    Raises UserError where some are `lost` meanwhile, or before: of those that are left no WER is taken for the
    set's, so the others are written to OUTPUT.incomplete.
    """
    texts = list[tuple[str, str]]()

    def kept_in_passing() -> Iterator[dict[str, Any]]:
        for record in records:
            texts.append((record["reference"], record["hypothesis"]))
            yield record

    unfinished = output.with_name(f"{output.name}.incomplete")
    write_jsonl(unfinished, kept_in_passing())
    missing, first = len(lost), lost[0].what if lost else ""
    for name, shard in speech.rejects.items():
        if name not in speech.lost_tars:  # whose utterances are in the set, and lost already
            missing, first = missing + max(1, shard["count"]), first or f"{name} {shard['reason']}"
    if missing:
        raise UserError(
            f"{missing} of {len(texts) + missing} utterances of '{speech.name}' cannot be read, such as "
            f"{first}; the hypotheses of the others are in {unfinished}, whose error rate is not the set's",
            "restore the audio and decode again; or prepare the set again, without what is lost",
        )
    unfinished.replace(output)
    return texts


def _say_mismatch(output: Path, texts: list[tuple[str, str]]) -> None:
    """Where nearly all errors are of how texts are written, compared as `asr score` will."""
    try:
        apply = recorded_normaliser(name_beside(output), str(output)).apply
    except UserError:  # a function of a file, or a package that is not there: `asr score` says so
        return
    mismatch = about_mismatch([apply(one) for one, _ in texts], [apply(one) for _, one in texts])
    if mismatch is not None:
        print(f"note: {mismatch}")


def _generation(arguments: argparse.Namespace) -> GenerationSettings:
    """Of an encoder-decoder. Raises UserError for what it has no use for."""
    for name in ("lm", "lexicon", "tune"):
        if getattr(arguments, name) is not None:
            raise UserError(
                f"--{name} {getattr(arguments, name)}: an encoder-decoder is its own language model",
                "leave it out, or take a CTC model",
            )
    if arguments.token_times:
        raise UserError(
            "--token-times: an encoder-decoder's tokens have no times",
            f"leave it out; of its words {TIMES_NEED_A_HEAD}",
        )
    settings = GREEDY if arguments.no_safeguards else GenerationSettings()
    size = arguments.beam_size if arguments.decoder == "beam" else 1
    return replace(settings, beam_size=size)


def _beam(
    arguments: argparse.Namespace, model: LoadedModel, output: Path
) -> tuple[Decoder, dict[str, Any]]:
    """The decoder that the options describe, tuned if they say so, and its stamp."""
    from asr.data.dataset import SpeechSet
    from asr.decoding.beam import BeamDecoder, BeamSettings
    from asr.decoding.tuning import tune

    settings = BeamSettings(
        language_model=arguments.lm,
        lexicon=arguments.lexicon,
        lm_weight=arguments.lm_weight,
        word_score=arguments.word_score,
        beam_size=arguments.beam_size,
        nbest=arguments.nbest,
    )
    stamp = {}
    if arguments.tune:
        dev = SpeechSet.load(arguments.tune).at_rate(model.config.features.sample_rate_hz)
        if arguments.normaliser is None:
            where = f"{model.checkpoint / 'config.yaml'}, corpus.scoring_normaliser"
            normaliser = recorded_normaliser(model.config.corpus.scoring_normaliser, where)
        else:
            normaliser = make_normaliser(arguments.normaliser)
        say = partial(print, flush=True)
        settings, grid = tune(model, dev, settings, arguments.tune_by, say, normaliser.apply)
        stamp = {
            "tuned_on": str(arguments.tune),
            "tuned_by": arguments.tune_by,
            "tuned_under": normaliser.stamp,
        }
        write_json(output.with_suffix(".tuning.json"), {**stamp, "grid": grid})
    return BeamDecoder(model.tokenizer, settings), {**settings.stamp(), **stamp}


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("decode", _DESCRIPTION)
    add_model(parser)
    parser.add_argument(
        "manifest", type=Path, help="Lhotse cuts that `asr prepare` wrote, SET.jsonl.gz"
    )
    parser.add_argument("--output", type=Path, help="default: RUN/decode/SET/MODEL.jsonl")
    parser.add_argument(
        "--language", help="of a model of others that knows several, e.g. en (default: it guesses)"
    )
    parser.add_argument(
        "--average",
        type=int,
        metavar="N",
        help="of a run: the mean of the weights of its last N checkpoints",
    )
    parser.add_argument(
        "--token-times", action="store_true", help="add the tokens with their times and confidences"
    )
    parser.add_argument(
        "--no-safeguards",
        action="store_true",
        help="of an encoder-decoder: the likeliest tokens, also where its text loops or it is unsure",
    )
    beam = parser.add_argument_group("beam search")
    beam.add_argument("--decoder", choices=("greedy", "beam"), default="greedy")
    beam.add_argument("--lm", type=Path, metavar="FILE", help="ARPA or KenLM binary")
    beam.add_argument(
        "--lexicon", type=Path, metavar="FILE", help="a word a line: only these come out"
    )
    beam.add_argument("--lm-weight", type=finite, default=1.0, help="default %(default)s")
    beam.add_argument(
        "--word-score", type=finite, default=0.0, help="for each word; default %(default)s"
    )
    beam.add_argument("--beam-size", type=int, default=50, help="default %(default)s")
    beam.add_argument("--nbest", type=int, default=1, help="hypotheses kept; default %(default)s")
    beam.add_argument(
        "--tune",
        type=Path,
        metavar="DEV.jsonl.gz",
        help="choose --lm-weight and --word-score on this set; the grid goes beside the result",
    )
    beam.add_argument("--tune-by", choices=("wer", "cer"), default="wer")
    beam.add_argument(
        "--normaliser",
        metavar="NAME",
        help="under which --tune compares texts (default: the recipe's corpus.scoring_normaliser)",
    )
    add_device(parser)
    arguments = parser.parse_args(argv)
    _check(arguments)
    return arguments


def _check(arguments: argparse.Namespace) -> None:
    """Raises UserError for options that do not go together."""
    if arguments.normaliser is not None and arguments.tune is None:
        raise UserError(f"--normaliser {arguments.normaliser} is for --tune", "leave it out")
    if arguments.decoder == "greedy" and (arguments.lm or arguments.lexicon or arguments.tune):
        raise UserError("--lm, --lexicon and --tune are for a beam search", "add --decoder beam")
    if arguments.decoder == "greedy" and arguments.nbest != 1:
        raise UserError(f"--nbest {arguments.nbest} is for a beam search", "add --decoder beam")
    if arguments.average and arguments.best:
        raise UserError("--average takes the last checkpoints", "leave --best out")
    for name in ("average", "beam_size", "nbest"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UserError(
                f"--{name.replace('_', '-')} {value} is too small", "it must be at least 1"
            )
