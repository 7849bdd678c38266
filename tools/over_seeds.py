"""A Markdown table of one recipe's runs with several seeds: mean rates, and paired differences of the means.

    .venv/bin/python tools/over_seeds.py exp/amazon_queen exp/amazon_queen_seed2 --compare teacher:zero_shot

In percent and points, on the runs' main set. A system's errors in an utterance are those of all seeds together,
and utterances are resampled with all their seeds (paired bootstrap): so an interval is of other utterances and
of these seeds; the standard deviation over the seeds stands beside. p is corrected for the pairs (Holm).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from asr.cli.arguments.common import add_pairs, pairs_of
from asr.errors import UserError
from asr.evaluation.bootstrap import compare_aligned, score_aligned
from asr.evaluation.edit_distance import Aligned, total
from asr.evaluation.hypotheses import read_decoded
from asr.evaluation.normalisers import run_normaliser
from asr.evaluation.results import align_sets, main_set
from asr.evaluation.significance import holm

Runs = Sequence[Mapping[str, Sequence[Aligned]]]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run of each seed")
    add_pairs(parser)
    given = parser.parse_args()
    try:
        print("\n".join(tables(given.runs, pairs_of(given))))
    except UserError as error:
        parser.error(str(error))


def tables(folders: Sequence[Path], pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Lines of two Markdown tables. Raises UserError where a run lacks a system that is compared."""
    runs = [_decoded(folder) for folder in folders]
    yield "| system | WER % by seed | mean | CER % by seed | mean |"
    yield "|---|---|---|---|---|"
    for name in [name for name in runs[0] if all(name in run for run in runs)]:
        scores = [score_aligned(run[name], 1) for run in runs]
        yield f"| {name} | {_rates([s.wer for s in scores])} | {_rates([s.cer for s in scores])} |"
    if not pairs:
        return
    found = {(a, b): compare_aligned(_together(runs, a), _together(runs, b)) for a, b in pairs}
    p_wer = holm({pair: difference.p_wer for pair, difference in found.items()})
    p_cer = holm({pair: difference.p_cer for pair, difference in found.items()})
    yield ""
    yield "| difference of the means | WER, points | p | CER, points | p |"
    yield "|---|---|---|---|---|"
    for (a, b), one in found.items():
        wer = f"{one.delta_wer:+.2f} [{one.delta_wer_low:+.2f}, {one.delta_wer_high:+.2f}]"
        cer = f"{one.delta_cer:+.2f} [{one.delta_cer_low:+.2f}, {one.delta_cer_high:+.2f}]"
        yield f"| {a} less {b} | {wer} | {p_wer[a, b]:.2g} | {cer} | {p_cer[a, b]:.2g} |"


def _decoded(folder: Path) -> dict[str, Sequence[Aligned]]:
    decoded = read_decoded(folder)
    name = main_set(decoded)
    if name is None:
        raise UserError(
            f"{folder}: holds no decoded set", "decode one: asr decode RUN SET.jsonl.gz"
        )
    return dict(align_sets({name: decoded[name]}, run_normaliser(folder))[name])


def _together(runs: Runs, system: str) -> list[Aligned]:
    """Each utterance with the errors of all seeds."""
    lacking = [number for number, run in enumerate(runs, start=1) if system not in run]
    if lacking:
        raise UserError(f"run {lacking[0]} has no system '{system}'", "decode the set with it")
    by_id = [{one.utterance.id: one for one in run[system]} for run in runs]
    if any(own.keys() != by_id[0].keys() for own in by_id):
        raise UserError(f"'{system}' has other utterances in another run", "decode the same set")
    return [
        replace(
            one,
            words=total(own[name].words for own in by_id),
            characters=total(own[name].characters for own in by_id),
        )
        for name, one in by_id[0].items()
    ]


def _rates(rates: Sequence[float]) -> str:
    spread = f" (SD {statistics.stdev(rates):.2f})" if len(rates) > 1 else ""
    return f"{' / '.join(f'{rate:.2f}' for rate in rates)} | {statistics.mean(rates):.2f}{spread}"


if __name__ == "__main__":
    main()
