"""Ours beside what others use, on a CPU: CPU time of the same work, side by side, as a Markdown table.

    .venv/bin/python tools/bench_peers.py                         # everything, five rounds
    .venv/bin/python tools/bench_peers.py --only scoring --rounds 20

The first call makes `.venv-peers`: the packages of tools/peers/requirements.txt over this project's own, so
that all run on the same torch, in one process, on one thread. Contestants take turns in each round. A
ratio is another's CPU time over ours of the same round: above 1, ours is faster. The table has their median,
least and largest.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peers.race import Race

ROOT = Path(__file__).parents[1]
_REQUIREMENTS = ROOT / "tools/peers/requirements.txt"
_HEAD = (
    "| work | ours, ms | other | other's time over ours | in the rounds |\n|---|---|---|---|---|"
)


def main() -> None:
    """Make the environment, or race in it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("training", "ema", "scoring", "decoding", "audio"))
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-peers")
    given = parser.parse_args()
    python = given.venv / "bin/python"
    if Path(sys.prefix).resolve() != given.venv.resolve():
        make_environment(given.venv)
        os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
        os.execv(python, [str(python), *sys.argv])
    race_all(given.only, given.rounds)


def make_environment(folder: Path) -> None:
    """The peers without what they require, over this project's packages."""
    stamp, wanted = folder / "requirements.txt", _REQUIREMENTS.read_text(encoding="utf-8")
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    print(f"making {folder} (a minute or two)", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    own = subprocess.run(
        [str(folder / "bin/python"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    # Behind the peers' own folder on the path, .pth files of an installation in place among it.
    below = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (Path(own.stdout.strip()) / "project.pth").write_text(below)
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "-r", str(_REQUIREMENTS)], check=True)
    stamp.write_text(wanted, encoding="utf-8")


def race_all(only: str | None, rounds: int) -> None:
    """Print the table, row by row."""
    warnings.filterwarnings("ignore")
    import torch

    from peers.race import run

    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {platform.machine()}, {rounds} rounds, one thread\n")
    print(_HEAD, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, races in _kinds(Path(folder)).items():
            if only in (None, name):
                for race in races():
                    print("\n".join(run(race, rounds)), flush=True)


def _kinds(folder: Path) -> dict[str, Callable[[], Iterator[Race]]]:
    from peers import audio, networks, texts

    def training() -> Iterator[Race]:
        for convolution in (False, True):
            for autocast in (False, True):
                yield from networks.races(convolution, autocast)

    return {
        "training": training,
        "ema": networks.averages,
        "scoring": texts.races,
        "decoding": texts.decoding_races,
        "audio": lambda: audio.races(folder),
    }


if __name__ == "__main__":
    main()
