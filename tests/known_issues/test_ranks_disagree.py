"""Two ranks that have something else, as on two hosts: they trained on, or hung."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, sys
from asr.__main__ import main
own = sys.argv[1 + int(os.environ["RANK"])].split("|")
os._exit(main(["train", sys.argv[3], *filter(None, own), *sys.argv[4:]]))
"""


@pytest.mark.slow
def test_another_recipe_or_corpus_on_one_rank_stops_both(
    recipe: Path, corpus: Path, tmp_path: Path
) -> None:
    script = tmp_path / "rank.py"
    script.write_text(SCRIPT)
    other = Path(shutil.copytree(corpus, tmp_path / "data"))
    lines = gzip.decompress((corpus / "labelled.jsonl.gz").read_bytes()).splitlines(keepends=True)
    (other / "labelled.jsonl.gz").write_bytes(gzip.compress(b"".join(lines[:-4])))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    for own, message in (
        ("optimizer.learning_rate=0.3", "optimizer.learning_rate 0.3, not 0.003"),
        (f"corpus.directory={other}", "labelled.jsonl.gz sha256 "),
        ("corpus.labelled=[nowhere]", "corpus.labelled ['nowhere'], not ['labelled']"),
        ("modle=1", "unknown key 'modle'"),
    ):
        run = tmp_path / "run"
        command = [*launcher, "--nproc-per-node", "2", str(script), "", own, str(recipe)]
        command += [f"output={run}", "trainer.total_hours=0.01"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        said = [line for line in done.stderr.splitlines() if line.startswith("asr train: ")]
        assert len(said) == 1, done.stderr
        assert "rank 1 (" in said[0]
        assert message in said[0]
        assert not (run / "metrics.jsonl").exists()
