"""What a recipe leaves open until the files that it names are read. Imports torch where there is some such."""

from __future__ import annotations

from asr.config.schema import Config


def resolved(config: Config) -> Config:
    """The recipe with every setting in force. Raises UserError where what it names is not there.

    Whatever trains, checks or plans takes this first; on a recipe that is resolved it changes nothing.
    """
    if config.init_from is not None or config.fork_from is not None:
        from asr.training.start.warm_start import with_its_average

        config = with_its_average(config)
    return config
