#!/usr/bin/env bash
# Make .venv with the project and its development tools in it, or keep one that is up to date.
# Python: $PYTHON, or python3; 3.11 or newer. Another PyTorch than pip's choice: TORCH='torch==2.11.0', and where to find
# one for a GPU's driver as PIP_EXTRA_INDEX_URL ("Get started" at PyTorch's site names it).
# Beside recipes that `asr recipes copy` has laid out there is no project to install: .venv then leads to the environment
# of $PYTHON, or the one that is active. Arguments are the extras that the caller needs there; a project's has them all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
lead_to_environment() { # EXTRA...
    local path module name
    if [ -z "${PYTHON-}" ] && [ -x .venv/bin/asr ] && [ ! -e .venv/leads_to ]; then
        path=.venv/bin/python # an environment that the user made here
    elif ! path=$("$python" -c 'import sys, asr; print(sys.executable)' 2>/dev/null); then
        echo "make_venv: '$python' has no asr; activate the environment that has, or set PYTHON to its python" >&2
        exit 2
    fi
    "$path" - "$@" <<'PYTHON' || exit 2
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from packaging.requirements import Requirement
for extra in sys.argv[1:]:
    for line in requires("asr-ema"):
        wanted = Requirement(line)
        if not wanted.marker or wanted.marker.evaluate({"extra": ""}) or not wanted.marker.evaluate({"extra": extra}):
            continue
        try:
            version(wanted.name)
        except PackageNotFoundError:
            sys.exit(f"make_venv: {sys.executable}: {wanted.name} is missing; pip install 'asr-ema[{','.join(sys.argv[1:])}]'")
PYTHON
    [ "$path" != .venv/bin/python ] || return 0
    [ ! -e .venv ] || [ -e .venv/leads_to ] || { echo "make_venv: $PWD/.venv: has no asr; install it there, or remove it" >&2; exit 2; }
    [ "$(cat .venv/leads_to 2>/dev/null)" != "$path" ] || return 0
    mkdir -p .venv/bin
    for module in '' asr torch.distributed.run deepspeed.launcher.runner; do
        case $module in '') name=python ;; asr) name=asr ;; torch*) name=torchrun ;; *) name=deepspeed ;; esac
        printf '#!/usr/bin/env bash\nexec %q %s"$@"\n' "$path" "${module:+-m $module }" > .venv/bin/$name
        chmod +x .venv/bin/$name
    done
    echo "$path" > .venv/leads_to
}
if ! grep -qs '^name = "asr-ema"' pyproject.toml; then # none, or that of a project of the user's
    lead_to_environment "$@"
    exit 0
fi
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
