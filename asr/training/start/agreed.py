"""What all ranks must have in common before they train: compared at the start, and at every resume."""

from __future__ import annotations

from pathlib import Path

from asr.config.schema import Config
from asr.data.manifest.index import MANIFEST_SUFFIX
from asr.data.manifest.shar import ADDRESS, SHAR_SUFFIX, bring_lists
from asr.distributed.agreement import file_facts, program_facts, recipe_facts, together
from asr.distributed.process_group import Ranks
from asr.errors import UserError
from asr.model.lineage import STATE, identity_of
from asr.training.checkpoint import CheckpointStore


def facts_at_the_start(config: Config, ranks: Ranks) -> dict[str, str]:
    """The recipe, the corpus' manifests and the program, for a stage; nothing where there is one rank."""
    if ranks.world == 1:
        return {}
    recipe = recipe_facts(config.model_dump(mode="json"))
    return {**recipe, **file_facts(_corpus_files(config)), **program_facts()}


def _corpus_files(config: Config) -> dict[str, list[Path]]:
    """Manifests and references of all sets. Of shards what lists the utterances, not the audio."""
    directory = Path(config.corpus.directory)
    names = [*config.corpus.labelled, *config.corpus.untranscribed, *config.corpus.dev]
    files = {}
    for name in dict.fromkeys(names):
        if name.endswith(SHAR_SUFFIX):
            folder = directory / name
            bring_lists(folder, config.corpus.store)
            files[name] = [*sorted(folder.glob("cuts.*")), *folder.glob(ADDRESS)]
        else:
            files[f"{name}{MANIFEST_SUFFIX}"] = [directory / f"{name}{MANIFEST_SUFFIX}"]
    for path in sorted((directory / "references").glob("*.tsv")):
        files[f"references/{path.name}"] = [path]
    return files


def agreed_checkpoint(store: CheckpointStore, fork_from: str | None, ranks: Ranks) -> Path | None:
    """The checkpoint to go on from, as the first rank finds it; None for a new run. A collective.

    Raises UserError on all ranks where one of them does not see that very checkpoint.
    """
    with together(ranks) as stage:
        stage.tells = store.to_resume(fork_from) if ranks.is_first else None
    found: Path | None = stage.told
    with together(ranks) as stage:
        store.parent = found
        if found is not None and ranks.world > 1:
            if not (found / STATE).is_file():
                raise UserError(
                    f"{found}: is not seen here, and the first rank goes on from it",
                    "put the output folder where all ranks see it, or copy it to all hosts",
                )
            stage.facts[str(found)] = identity_of(found).id
    return found
