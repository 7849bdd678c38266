"""The averages of a run, and those of another half-life that are made of its snapshots afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr.config.schema import Config
from asr.distributed.precision import Precision
from asr.distributed.process_group import Ranks
from asr.distributed.shards import Shards
from asr.errors import UserError
from asr.evaluation.normalisers import recorded_normaliser
from asr.model.lineage import check_files, read_state, sealed
from asr.model.model_folder import copy_description, find_checkpoint, read_config
from asr.model.speech_model import SpeechModel
from asr.model.tokenizer import load_tokenizer, tokenizer_sha256
from asr.scaling.half_life import HalfLife
from asr.scaling.post_hoc import KeptAverage, fit, post_hoc_plan
from asr.teacher.averages import Averages
from asr.teacher.power_averages import FILE, FOLDER, PowerAverages, Snapshot, snapshot_files
from asr.teacher.student_samples import StudentSamples
from asr.tracking.run_reader import read_run
from asr.utils.files import write_json, write_tensors, write_text

DEV_FILE = "dev.json"
"""In RUN/averages: dev metrics by half-life, for the report."""


def make_averages(
    config: Config, new_network: Callable[[], SpeechModel], shards: Shards, ranks: Ranks
) -> Averages:
    """What a run keeps, as its recipe says."""
    parts = config.teacher, new_network, shards, ranks
    labels_in = getattr(torch, Precision.of(config).weights)
    if not config.teacher.keep_for_average:
        return Averages(*parts, labels_in=labels_in)
    plan, run = post_hoc_plan(config), Path(config.output)

    def make_power(samples: StudentSamples) -> PowerAverages:
        return PowerAverages(samples, ranks, run, plan)

    return Averages(*parts, make_power, labels_in)


@dataclass(frozen=True)
class MadeAverage:
    """Weights of a half-life that the run did not have."""

    half_life_hours: float
    hours: float
    """Of audio, where the run stood."""
    folder: Path
    """A model's folder, as `asr transcribe` and `asr decode` take it."""
    expected_error: float
    """Of the fit, over the average's distance from the student."""


def make_average(run: Path, half_life_hours: float) -> MadeAverage:
    """Make the average that a run with another half-life would have at the end of this one.

    Writes RUN/averages/half-life-H/. Raises UserError where the run has kept nothing to make it of.
    """
    checkpoint = find_checkpoint(run)
    config, state = read_config(checkpoint), read_state(checkpoint)
    power = (state.get("averages") or {}).get("power")
    if power is None or checkpoint == run:
        raise UserError(
            f"{run}: kept nothing that an average of another half-life could be made of",
            "train with teacher.keep_for_average=true, and name the run's folder",
        )
    check_files(checkpoint, state, [f"{FILE}.safetensors", "config.yaml", "tokenizer.json"])
    clock_hours = state["clock"]["seconds"] / 3600
    update_hours = _update_hours(run, clock_hours)
    end_hours = update_hours[-1]  # what was consumed since is in no average
    last = Snapshot(
        checkpoint / f"{FILE}.safetensors",
        -1,
        end_hours,
        tuple(power["exponents"]),
        power["start_hours"],
    )
    snapshots = [
        s for s in map(Snapshot.read, snapshot_files(run)) if s.hours < end_hours or not s.number
    ]
    snapshots.append(last)
    kept = [KeptAverage(s.hours, e, s.start_hours) for s in snapshots for e in s.exponents]
    # Of trained weights the start belongs to the average: to the fit it is the first student.
    keeps_start = config.keeps_its_start
    found = fit(
        kept,
        HalfLife(((0.0, half_life_hours),), warmup_share=config.teacher.warmup_share),
        update_hours,
        config.teacher.bias_correction and not keeps_start,
    )
    weights = _combined(snapshots, list(found.coefficients))
    folder = run / FOLDER / f"half-life-{half_life_hours:g}"
    _write_model(
        folder, checkpoint, weights, {"half_life_hours": half_life_hours, "clock": state["clock"]}
    )
    return MadeAverage(half_life_hours, clock_hours, folder, found.error)


def _update_hours(run: Path, end_hours: float) -> list[float]:
    """Where the averages were updated."""
    lines = read_run(run).training
    hours = [line["hours"] for line in lines if line.get("teacher_momentum") is not None]
    found = sorted({h for h in hours if h <= end_hours * (1 + 1e-9)})
    if len(found) < 2:
        raise UserError(
            f"{run / 'metrics.jsonl'}: names no updates of the average",
            "copy the run's folder again, whole",
        )
    return found


def _combined(snapshots: Sequence[Snapshot], coefficients: list[float]) -> dict[str, Tensor]:
    """Summed in float64, a file after the other."""
    total: dict[str, Tensor] = {}
    remaining = iter(coefficients)
    for snapshot in snapshots:
        shares = {str(k): next(remaining) for k in range(len(snapshot.exponents))}
        for key, values in snapshot.tensors():
            which, name = key.split("/", 1)
            total[name] = total.get(name, torch.zeros(())) + shares[which] * values.double()
    return {name: values.float() for name, values in total.items()}


def _write_model(
    folder: Path, checkpoint: Path, weights: dict[str, Tensor], state: dict[str, Any]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / "teacher.safetensors", weights)
    write_text(folder / "config.yaml", (checkpoint / "config.yaml").read_text(encoding="utf-8"))
    if read_config(checkpoint).objective.has_texts:
        load_tokenizer(checkpoint).save(folder)
    copy_description(checkpoint, folder)
    state = {**state, "tokenizer_sha256": tokenizer_sha256(folder)}
    write_json(folder / "state.json", sealed(state, folder, folder.name, parent=None))


def evaluate_average(
    run: Path, made: MadeAverage, normaliser: str | None = None
) -> list[dict[str, Any]]:
    """Its metrics on the recipe's dev sets, which the report's curve is made of; none of one that says no text.

    Texts are compared under `normaliser`, by default the recipe's. Raises UserError where that is a function of
    a file: a run's folder may come from a stranger, and runs nothing.
    """
    from asr.model.model_folder import load_model
    from asr.training.validation.texts import TextDevSets

    if not read_config(made.folder).objective.has_texts:
        return []
    model = load_model(made.folder, device=None)
    ranks = Ranks(0, 1, model.device)
    config = model.config
    name = normaliser or config.corpus.scoring_normaliser
    if normaliser is None:
        recorded_normaliser(name, f"{made.folder / 'config.yaml'}, corpus.scoring_normaliser")
    corpus = config.corpus.model_copy(update={"scoring_normaliser": name})
    config = config.model_copy(update={"corpus": corpus})
    dev = TextDevSets.load(config, model.front_end, model.tokenizer, ranks)
    records = []
    for speech in dev.sets:
        metrics = dev.evaluate(model.network, speech)
        place = {"hours": made.hours, "half_life_hours": made.half_life_hours, "set": speech.name}
        records.append({**place, **asdict(metrics)})
    path = run / FOLDER / DEV_FILE
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    new = {(r["half_life_hours"], r["set"]) for r in records}
    others = [
        r
        for r in before
        if r["hours"] == made.hours and (r["half_life_hours"], r["set"]) not in new
    ]
    write_json(path, sorted([*others, *records], key=lambda r: (r["set"], r["half_life_hours"])))
    return records
