"""What `asr check` says of what a run begins with."""

from __future__ import annotations

from asr.config.schema import Config
from asr.errors import UserError
from asr.model.tokenizer import make_tokenizer
from asr.planning.checks.finding import Finding, note
from asr.training.start.resolved import resolved
from asr.training.start.warm_start import warm_start_of


def check_beginning(config: Config) -> tuple[Config, list[Finding]]:
    """The recipe with every setting in force, as far as it can be had; and what stands against it."""
    try:
        config = resolved(config)
        warm_start = warm_start_of(config)
    except UserError as error:
        return config, [Finding.of(error)]
    if warm_start is None:
        return config, []
    try:
        keeps_head = warm_start.keeps_head(make_tokenizer(config.tokenizer))
    except UserError:  # said of the tokenizer itself
        return config, []
    source = f"init_from: the run begins with {warm_start.weights}"
    if keeps_head:
        return config, [note(source)]
    return config, [note(f"{source} but for the head, since the tokenizer is another")]
