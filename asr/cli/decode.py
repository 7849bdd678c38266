"""`asr decode`: transcribe a prepared set and keep its references beside."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.cli.arguments.common import (
    add_batch_seconds,
    add_device,
    add_model,
    batch_seconds_of,
    make_parser,
)
from asr.cli.arguments.search import BEAM_SIZE, add_search, beam_of
from asr.data.manifest.index import digest
from asr.decoding.greedy import Decoder, greedy_only
from asr.decoding.safeguards import GREEDY, GenerationSettings
from asr.decoding.words import TIMES_NEED_A_HEAD
from asr.errors import UserError
from asr.evaluation.diagnosis.mismatch import about_texts
from asr.evaluation.normalisers import name_beside, recorded_normaliser
from asr.model.tokenizer import tokenizer_sha256
from asr.utils.files import read_json
from asr.utils.launcher import said_once
from asr.utils.streams import work_is_on_disk

if TYPE_CHECKING:
    from asr.data.dataset import SpeechSet
    from asr.decoding.sharing.output import SharedOutput, Work
    from asr.decoding.sharing.processes import Processes


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

Under torchrun several processes, each on its GPU, share the set and the points of --tune and write one file,
the same as one process would (torchrun --nproc-per-node 8 -m asr decode EXP SET). Run it again after an
interruption and it goes on from OUTPUT.parts.
"""


def main(argv: list[str]) -> int:
    """`asr decode`."""
    with said_once():
        job = _job(_parse(argv))
    if job is None:
        return 0
    texts = job.output.write(job.work, job.stamp, job.tuning)
    if texts is None:  # another process writes it
        return 0
    speech, by = job.work.speech, job.stamp["checkpoint"]
    print(f"decoded {len(speech)} utterances of '{speech.name}' with {by}: {job.output.path}")
    if not job.has_times:
        print(f"its words have no times: {TIMES_NEED_A_HEAD}")
    _say_mismatch(job.output.path, texts)
    return 0


@dataclass(frozen=True)
class _Job:
    """What is to be decoded, by what, and where to."""

    work: Work
    output: SharedOutput
    stamp: dict[str, Any]
    tuning: dict[str, Any] | None = None
    has_times: bool = True


def _job(arguments: argparse.Namespace) -> _Job | None:
    """None where other processes have finished meanwhile."""
    work_is_on_disk()

    from asr.decoding.sharing.processes import Processes
    from asr.pseudo_labels.labelling.recogniser import is_of_others

    processes = Processes.here()
    if is_of_others(arguments.model_folder):
        return _by_others(arguments, processes)
    return _by_ours(arguments, processes)


def _by_ours(arguments: argparse.Namespace, processes: Processes) -> _Job | None:
    """With a model of ours."""
    from asr.data.dataset import SpeechSet
    from asr.decoding.decode_dataset import batches_of, decode_batch
    from asr.decoding.sharing.output import SharedOutput, Work
    from asr.model.model_folder import find_checkpoint, load_model

    if arguments.language is not None:
        raise UserError(
            f"--language {arguments.language}: a model of ours has its recipe's",
            "leave it out, or train with model.language",
        )
    find_checkpoint(arguments.model_folder, arguments.best)  # a misspelt folder is named at once
    speech = SpeechSet.load(arguments.manifest)
    name = arguments.model + (f"_average{arguments.average}" if arguments.average else "")
    path = arguments.output
    if path is None:
        name += "_beam" if arguments.decoder == "beam" else ""
        path = arguments.model_folder / "decode" / speech.name / f"{name}.jsonl"
    output = SharedOutput(path, processes, partial(print, flush=True))
    model = load_model(
        arguments.model_folder,
        arguments.model,
        processes.device,
        average=arguments.average,
        best=arguments.best,
    )
    speech.at_rate(model.config.features.sample_rate_hz)
    if arguments.output is None:
        _check_set(path, speech)
    stamp = {
        "checkpoint": str(model.checkpoint),
        "model": arguments.model,
        **({"average_of": [str(path) for path in model.averaged]} if model.averaged else {}),
        "weights_sha256": model.weights_sha256,
        "tokenizer_sha256": tokenizer_sha256(model.checkpoint),
        "set": speech.name,
        "manifest": str(arguments.manifest),
        "utterances_sha256": digest(speech.keys, speech.seconds),
    }
    if output.is_finished_by_others(stamp):
        return None
    decoder: Decoder | GenerationSettings = greedy_only
    tuning = None
    if model.network.is_read_in_steps:
        decoder = _generation(arguments)
        stamp |= decoder.stamp()
    elif arguments.decoder == "beam":
        decoder, tuning, chosen = beam_of(arguments, model, output)
        stamp |= chosen
    else:
        stamp |= {"decoder": "greedy"}
    decode = partial(
        decode_batch, model, speech, decoder=decoder, token_times=arguments.token_times, lost=[]
    )
    batches = batches_of(model, speech, arguments.batch_seconds)
    lines = {"token_times": arguments.token_times, "nbest": arguments.nbest}
    work = Work(speech, batches, decode, lines)
    return _Job(work, output, stamp, tuning, model.network.has_times)


def _by_others(arguments: argparse.Namespace, processes: Processes) -> _Job:
    """With a recogniser as others have trained it; nothing is written into its folder."""
    from asr.data.dataset import SpeechSet
    from asr.decoding.sharing.output import SharedOutput
    from asr.pseudo_labels.labelling.decoding import work_of
    from asr.pseudo_labels.labelling.recogniser import Choice, load_recogniser
    from asr.pseudo_labels.labelling.written import WritingRecogniser

    folder, path = arguments.model_folder, arguments.output
    if path is None or path.resolve().is_relative_to(folder.resolve()):
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
    output = SharedOutput(path, processes, partial(print, flush=True))
    choice = Choice(str(folder), language=arguments.language)
    recogniser = load_recogniser(choice, processes.device)
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
    stamp["weights_sha256"] = stamp.pop("weights")
    stamp |= {"set": speech.name, "manifest": str(arguments.manifest)}
    work = work_of(recogniser, speech, settings, arguments.batch_seconds)
    return _Job(work, output, stamp)


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


def _say_mismatch(output: Path, texts: list[tuple[str, str]]) -> None:
    """Where nearly all errors are of how texts are written, compared as `asr score` will."""
    try:
        apply = recorded_normaliser(name_beside(output), str(output)).apply
    except UserError:  # a function of a file, or a package that is not there: `asr score` says so
        return
    mismatch = about_texts([apply(one) for one, _ in texts], [apply(one) for _, one in texts])
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
    size = (arguments.beam_size or BEAM_SIZE) if arguments.decoder == "beam" else 1
    return replace(settings, beam_size=size)


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
    add_batch_seconds(parser)
    beam = parser.add_argument_group("beam search")
    beam.add_argument("--decoder", choices=("greedy", "beam"), default="greedy")
    add_search(beam)
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
    batch_seconds_of(arguments)
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
