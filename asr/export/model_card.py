"""README.md of an exported folder: what the model is, what it learnt from, how well it reads, how to load it.

What is not known is not said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from asr.errors import UserError
from asr.evaluation.bootstrap import Score, score_aligned
from asr.evaluation.edit_distance import align
from asr.evaluation.hypotheses import is_stamp_of, read_hypotheses
from asr.evaluation.systems import normalised
from asr.export.speech import normaliser_of
from asr.model.lineage import STATE, read_state
from asr.model.loaded_model import LoadedModel
from asr.tracking.environment import commit
from asr.tracking.run_reader import RunReader
from asr.tracking.shapes import is_number


@dataclass(frozen=True)
class About:
    """What a card says that is not in the model."""

    run: Path | None
    """The folder of its run; None for a checkpoint that stands alone."""
    weights: str
    """teacher or student."""
    licence: str
    target: str
    """onnx, hf or torch."""
    checks: Mapping[str, Any]
    """What was found when the export was checked."""
    loading: str
    """How to load it: Markdown, with code of few lines."""


def run_of(checkpoint: Path) -> Path | None:
    """The run that a checkpoint's folder belongs to."""
    parents = checkpoint.resolve().parents
    return parents[1] if parents[0].name == "checkpoints" else None


def version() -> str:
    """Of this software."""
    at = commit()
    return f"asr-ema {metadata.version('asr-ema')}" + (f" ({at})" if at else "")


def card(model: LoadedModel, about: About) -> str:
    """The card as Markdown, with the header that model hubs read."""
    config = model.config
    reader = RunReader()
    facts = [
        ("Model", _network(model)),
        ("Weights", _weights(model, about)),
        ("Tokens", f"{model.tokenizer.vocabulary_size:,} ({config.tokenizer.kind})"),
        ("Audio", f"{config.features.sample_rate_hz} Hz, one channel"),
        ("Transcribed speech", ", ".join(config.corpus.labelled) or "none"),
        ("Untranscribed speech", ", ".join(config.corpus.untranscribed) or "none"),
        *_hours(model),
        *_scaling(about.run, reader),
        ("Licence", about.licence),
        ("Written by", version()),
        *_trained_by(about.run, reader),
    ]
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts)
    return (
        f"---\nlicense: {about.licence}\npipeline_tag: automatic-speech-recognition\n"
        f"tags:\n- automatic-speech-recognition\n- ema-teacher\n---\n\n# {_title(model)}\n\n"
        f"| | |\n|---|---|\n{rows}\n\n## How well it reads\n\n{_rates(model, about)}\n\n"
        f"## How to load it\n\n{about.loading}\n\n## How it was checked\n\n{_checks(about.checks)}\n"
    )


def _title(model: LoadedModel) -> str:
    return model.config.name or "A speech recogniser"


def _network(model: LoadedModel) -> str:
    config = model.config.model
    millions = sum(p.numel() for _, p in model.network.named_weights()) / 1e6
    source = getattr(config, "encoder", None) or getattr(config, "pretrained", None)
    kind = {
        "transformer": "transformer with a CTC head",
        "pretrained": f"CTC head on the pretrained encoder `{source}`",
        "encoder_decoder": f"encoder-decoder, pretrained as `{source}`",
    }[config.kind]
    return f"{kind}; {millions:.3g} M trained weights"


def _weights(model: LoadedModel, about: About) -> str:
    what = "the student's own"
    if about.weights == "teacher":
        what = "exponential moving average of the student's (teacher)"
    return f"{what}; SHA-256 `{model.weights_sha256[:16]}`"


def _hours(model: LoadedModel) -> list[tuple[str, str]]:
    if not (model.checkpoint / STATE).is_file():
        return []
    clock = read_state(model.checkpoint).get("clock") or {}
    seconds: Any = clock.get("seconds")
    steps = clock.get("steps")
    if not is_number(seconds):
        return []
    of_steps = f" in {steps:,} updates" if isinstance(steps, int) else ""
    return [("Trained on", f"{seconds / 3600:,.4g} hours of audio, repetitions included{of_steps}")]


def _scaling(run: Path | None, reader: RunReader) -> list[tuple[str, str]]:
    scaling = reader.read_json(run / "scaling.json") if run is not None else {}
    force = scaling.get("in_force")
    if not isinstance(force, dict) or not is_number(scaling.get("kappa")):
        return []
    found = [("Kappa", f"{scaling['kappa']:g} (batch of {force.get('batch_seconds')} s)")]
    if is_number(force.get("half_life_hours")):
        found.append(("Half-life of the average", f"{force['half_life_hours']:g} hours of audio"))
    return found


def _trained_by(run: Path | None, reader: RunReader) -> list[tuple[str, str]]:
    found = reader.read_json(run / "environment.json").get("commit") if run is not None else None
    return [("Trained by commit", str(found))] if found else []


def _rates(model: LoadedModel, about: About) -> str:
    """A table of what was decoded with these very weights; else dev metrics of the training."""
    decoded = list(_decoded(model, about.run)) if about.run is not None else []
    if decoded:
        rows = "\n".join(
            f"| {name} | {how} | {s.wer:.2f} [{s.wer_low:.2f}, {s.wer_high:.2f}] "
            f"| {s.cer:.2f} [{s.cer_low:.2f}, {s.cer_high:.2f}] | {s.utterances:,} | {s.words:,} |"
            for name, how, s in decoded
        )
        head = (
            "| set | decoder | WER %, 95 % interval | CER %, 95 % interval | utterances | words |"
        )
        return f"{head}\n|---|---|---|---|---|---|\n{rows}\n\n{_compared_as(model)}"
    found = _dev(model, about)
    if not found:
        return "Nothing was decoded with these weights."
    rows = "\n".join(f"| {one['set']} | {one['wer']:.2f} | {one['cer']:.2f} |" for one in found)
    return (
        f"| dev set | WER % | CER % |\n|---|---|---|\n{rows}\n\nWhile it trained, greedy, without intervals. "
        f"{_compared_as(model)}"
    )


def _compared_as(model: LoadedModel) -> str:
    return f"Texts are compared under the normaliser `{model.config.corpus.scoring_normaliser}`."


def _decoded(model: LoadedModel, run: Path | None) -> list[tuple[str, str, Score]]:
    """(set, decoder, score) of files in RUN/decode whose stamps name these weights."""
    found = []
    reader = RunReader()
    for path in sorted((run or Path()).glob("decode/*/*.stamp.json")):
        stamp = reader.read_json(path)
        lines = path.with_name(path.name.removesuffix(".stamp.json") + ".jsonl")
        is_own = stamp.get("weights_sha256") == model.weights_sha256 and lines.is_file()
        if not is_own or not is_stamp_of(lines, stamp):
            continue
        try:
            texts = normalised(read_hypotheses(lines), normaliser_of(model))
        except UserError:
            continue
        how = "beam search" if stamp.get("language_model") else str(stamp.get("decoder", "greedy"))
        if texts:
            found.append((lines.parent.name, how, score_aligned(align(texts))))
    return found


def _dev(model: LoadedModel, about: About) -> list[dict[str, Any]]:
    """What training has found of just this checkpoint."""
    if about.run is None:
        return []
    batch = RunReader().read_json(model.checkpoint / "state.json").get("batches_drawn")
    latest: dict[str, dict[str, Any]] = {}
    for one in RunReader().read_run(about.run).evaluations:
        if (
            one.get("model") == about.weights
            and one.get("batch") == batch
            and is_number(one["wer"])
            and is_number(one.get("cer"))
        ):
            latest[str(one["set"])] = one
    return list(latest.values())


def _checks(checks: Mapping[str, Any]) -> str:
    lines = []
    for name, value in checks.items():
        label = name.replace("_", " ")
        if isinstance(value, Mapping):  # a score
            low, high = value["wer_low"], value["wer_high"]
            lines.append(f"- {label}: {value['wer']:.2f} % [{low:.2f}, {high:.2f}]")
        elif isinstance(value, float):
            lines.append(f"- {label}: {value:.2g}")
        else:
            lines.append(f"- {label}: {value}")
    return "\n".join(lines)
