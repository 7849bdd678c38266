#!/usr/bin/env bash
# Pass the tests, two files at a time. Arguments go to pytest: tests/run.sh -m slow, tests/run.sh -k scaling;
# -n 0 for one after the other, as a debugger wants it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tools/make_venv.sh
# Several ranks share few cores here: idle threads must sleep, and one thread a rank is fastest.
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
exec .venv/bin/python -m pytest -n 2 --dist loadscope "$@"
