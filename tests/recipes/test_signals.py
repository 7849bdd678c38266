"""What a recipe's script runs side by side is told to stop with it, and is waited for."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

from recipe_paths import RECIPES

SCRIPT = """
set -euo pipefail
. tools/seeds.sh
nproc() { echo 2; }
work() {
    python3 -c '
import pathlib, signal, sys, time
place = pathlib.Path(sys.argv[1])
def save(*_):
    time.sleep(0.3)
    place.with_suffix(".saved").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
place.with_suffix(".begun").touch()
for _ in range(600): time.sleep(0.1)  # a signal just before a sleep is heard only after it
' "$1"
    touch "$1.went_on"
}
each_on_a_core work "$1/a" "$1/b" "$1/c"
echo finished
"""


def test_a_script_that_is_stopped_waits_until_its_lanes_have_saved(tmp_path: Path) -> None:
    process = subprocess.Popen(
        ["bash", "-c", SCRIPT, "script", str(tmp_path)], cwd=RECIPES.parent, stdout=subprocess.PIPE
    )
    deadline = time.monotonic() + 20
    while len(list(tmp_path.glob("*.begun"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert process.returncode != 0
    assert b"finished" not in output
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a.begun", "a.saved", "b.begun", "b.saved"]


def test_lanes_end_with_the_status_of_what_they_run() -> None:
    lanes = (
        ". tools/signals.sh; start_lane sh -c 'exit 3'; finish_lane ${lanes[-1]} || echo status $?"
    )
    done = subprocess.run(
        ["bash", "-euc", lanes], cwd=RECIPES.parent, capture_output=True, text=True
    )
    assert done.stdout == "status 3\n"
    assert done.returncode == 0
