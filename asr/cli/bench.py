"""`asr bench`: how fast a recipe trains on this machine, measured, for `asr plan --bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asr.cli.arguments.common import add_device, add_recipe, make_parser
from asr.config.recipe import load_config
from asr.errors import UserError
from asr.planning.benchmark import measure
from asr.utils.files import write_json
from asr.utils.streams import work_is_on_disk

_DESCRIPTION = """\
Time real updates of a recipe: the audio is read, the teacher labels, DeepSpeed steps; nothing is kept.
Supervised updates and those of the pseudo-labelled mixture are timed apart. `asr plan --bench FILE`
makes an estimate of the wall-clock from the file.

On several ranks the network between them is measured, too, and what it takes is told apart from computing:
  torchrun --nproc-per-node 8 -m asr bench RECIPE.yaml
"""


def main(argv: list[str]) -> int:
    """Measure a recipe and write the result."""
    parser = make_parser("bench", _DESCRIPTION)
    add_recipe(parser)
    parser.add_argument("--updates", type=int, default=20, help="updates timed of each kind (20)")
    parser.add_argument("--output", type=Path, default=Path("bench.json"), help="(bench.json)")
    add_device(parser)
    arguments = parser.parse_intermixed_args(argv)
    work_is_on_disk()
    if arguments.updates < 1:
        raise UserError(f"--updates {arguments.updates} is too small", "it must be at least 1")
    config = load_config(arguments.recipe, arguments.overrides)
    from asr.distributed.process_group import join
    from asr.training.start.resolved import resolved

    config = resolved(config)

    ranks = join(config.trainer.matmul_precision)
    measured = measure(config, ranks, arguments.updates)
    if ranks.is_first:
        write_json(arguments.output, {"recipe": arguments.recipe, **measured})
        print(_describe(measured))
        print(f"all: {arguments.output}; asr plan {arguments.recipe} --bench {arguments.output}")
    return 0


def _describe(measured: dict[str, Any]) -> str:
    batch_seconds = measured["global_batch_seconds"]
    lines = [
        f"{measured['ranks']} rank(s) on {measured['device']}, batches of {batch_seconds:g} s:",
        *(
            f"  {phase:<16} {speed['throughput']:8.1f} x real time a rank, "
            f"{1e3 * speed['update_seconds']:.0f} ms an update, "
            f"{speed['data_wait_share']:.0%} of it waiting for audio"
            for phase, speed in measured["speeds"].items()
        ),
        f"  peak memory of rank 0: {measured['peak_memory_gb']:.2f} GB",
    ]
    if measured["network"]:
        lines.append(
            f"  between ranks: {measured['network']['bandwidth_gb_per_second']:.3g} GB/s, "
            f"{measured['network']['latency_microseconds']:.3g} microseconds a message"
        )
    return "\n".join(lines)
