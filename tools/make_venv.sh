#!/usr/bin/env bash
# Make .venv with the project and its development tools in it, or keep one that is up to date.
# Python: $PYTHON, or python3; 3.11 or newer. Another PyTorch than pip's choice: TORCH='torch==2.11.0', and where to find
# one for a GPU's driver as PIP_EXTRA_INDEX_URL ("Get started" at PyTorch's site names it).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "make_venv: '$python' is missing or older than 3.11; install Python 3.11, or set PYTHON" >&2
    exit 2
fi
inputs=$( { cat pyproject.toml; "$python" -VV; pwd; echo -n "${TORCH-}"; } | sha256sum)
if [ "$(cat .venv/inputs 2>/dev/null)" = "$inputs" ]; then
    exit 0
fi
echo "make_venv: installing into .venv (a few minutes, most of it PyTorch)"
"$python" -m venv --clear .venv
.venv/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]' ${TORCH:+"$TORCH"}
echo "$inputs" > .venv/inputs
