"""`asr report EXP --baseline EXP2`: what is not decoded yet is, at equal hours if there are such."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from asr.cli import decode
from asr.errors import UserError
from asr.evaluation.bootstrap import verdict
from asr.evaluation.hypotheses import read_decoded
from asr.tracking.run_reader import RunReader
from asr.utils.files import read_json

_BASELINE, _OWN = "supervised", "teacher"
"""Of a set's files, the two that are compared."""
_EQUAL = 0.01
"""Hours of two runs that differ by less than this share are called equal."""


def decode_missing(run: Path, baseline: Path) -> None:
    """Decode with the run's average and with the baseline's what RUN/decode lacks, and say so.

    What cannot be decoded is said; the report is of the rest.
    """
    for name, manifest in _sets(run).items():
        folder = run / "decode" / name
        try:
            if not (folder / f"{_OWN}.jsonl").is_file():
                print(f"decoding {name} with {run}, which has not been done", flush=True)
                decode.main([str(run), str(manifest)])
            path = folder / f"{_BASELINE}.jsonl"
            if not path.is_file():
                checkpoint = _at_equal_hours(baseline, _hours_of(folder / f"{_OWN}.stamp.json"))
                print(f"decoding {name} with {checkpoint}, which has not been done", flush=True)
                decode.main([str(checkpoint), str(manifest), "--output", str(path)])
        except UserError as error:
            print(f"note: {name} is not decoded for the comparison: {error}")


def _sets(run: Path) -> dict[str, Path]:
    """Names and manifests of those that are decoded; where none is, of the recipe's test sets, or dev sets."""
    config = RunReader().read_config(run / "config.yaml")[1]
    corpus: Mapping[str, Any] = config.get("corpus") or {}
    directory = Path(str(corpus.get("directory") or "data"))
    names = list(read_decoded(run)) or corpus.get("test") or corpus.get("dev") or []
    return {
        name: _manifest(run / "decode" / name, directory / f"{name}.jsonl.gz") for name in names
    }


def _manifest(decoded: Path, usual: Path) -> Path:
    for stamp in decoded.glob("*.stamp.json"):
        found = _stamp(stamp).get("manifest")
        if isinstance(found, str) and Path(found).is_file():
            return Path(found)
    return usual


def _of_earlier(run: Path) -> Iterator[str]:
    """What was decoded when the run was younger."""
    from asr.model.lineage import identity_of
    from asr.model.model_folder import pointed_at

    latest = pointed_at(run, "latest")
    if latest is None:
        return
    stands = identity_of(latest).seconds / 3600
    for stamp in sorted(run.glob(f"decode/*/{_OWN}.stamp.json")):
        hours = _hours_of(stamp)
        if hours is not None and hours < stands and not _are_equal(hours, stands):
            yield (
                f"warning: {stamp.with_name(_OWN)}.jsonl is of {hours:g} h, and the run stands at "
                f"{stands:.4g} h: delete it, and it is decoded anew"
            )


def _at_equal_hours(baseline: Path, hours: float | None) -> Path:
    """The baseline's checkpoint that has heard as much, else its latest."""
    from asr.model.lineage import own_checkpoints
    from asr.model.model_folder import find_checkpoint

    latest = find_checkpoint(baseline)
    checkpoints = {
        path: one.seconds / 3600 for path, one in own_checkpoints(baseline / "checkpoints")
    }
    if hours is None or not checkpoints:
        return latest
    nearest = min(checkpoints, key=lambda path: abs(checkpoints[path] - hours))
    return nearest if _are_equal(checkpoints[nearest], hours) else latest


def _are_equal(a: float, b: float) -> bool:
    return abs(a - b) <= _EQUAL * max(a, b)


def _stamp(path: Path) -> dict[str, Any]:
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError):
        return {}


def _hours_of(stamp: Path) -> float | None:
    """Of audio that the checkpoint of a stamp has heard, by its name."""
    checkpoint = Path(str(_stamp(stamp).get("checkpoint", "")))
    try:
        return float(checkpoint.name.removeprefix("hours-"))
    except ValueError:
        return None


def comparison_lines(run: Path, baseline: Path, results: Mapping[str, Any]) -> Iterator[str]:
    """The difference in words, whether the two have heard as much, and whose the baseline's texts are."""
    pair = results["paired"].get(f"{_OWN}_vs_{_BASELINE}")
    if pair is None:
        yield f"note: {_OWN} and {_BASELINE} are not both decoded in {run}/decode: curves alone are compared"
        return
    yield from _of_earlier(run)
    delta, p = pair["delta_wer"], pair["p_wer_holm"]
    way = "lower" if delta < 0 else "higher"
    said = (
        f"WER {abs(delta):.2f} points {way} than the baseline's" if delta else "the baseline's WER"
    )
    yield f"{run} against {baseline}: {said}, p = {p:.2g}, {verdict(p)}"
    for name in results["sets"]:
        stamps = [run / "decode" / name / f"{one}.stamp.json" for one in (_OWN, _BASELINE)]
        mine, other = map(_hours_of, stamps)
        if mine is not None and other is not None and not _are_equal(mine, other):
            yield f"note: on {name} not at equal hours: {mine:g} h of audio against {other:g} h"
        made = _stamp(stamps[1]).get("checkpoint")
        if (
            made
            and Path(str(made)).exists()
            and baseline.resolve() not in Path(str(made)).resolve().parents
        ):
            yield (
                f"warning: {stamps[1].with_name(_BASELINE)}.jsonl is of {made}, not of {baseline}: delete "
                "it, and it is decoded anew"
            )
