#!/usr/bin/env bash
# The chain, to exp/festvox_ru_pretrained/report/index.html: pretrain on all audio, CTC on the transcripts, pseudo-labels.
#   recipes/festvox_ru/run_pretrained.sh [--quick] [--seed N] [--source DEB_OR_FOLDER]
# Run it again after an interruption: every stage goes on where it stopped.
set -euo pipefail
script=$(realpath "${BASH_SOURCE[0]}")
cd "$(dirname "$script")/../.."
. recipes/festvox_ru/stages.sh

options "$@"
begin festvox_ru_pretrained "over an hour (not measured yet)" "about 10 minutes"
prepare

pretrained=$exp/pretrained pretraining=() probing=()
if [ -n "$quick" ]; then
    pretraining=(trainer.total_hours=1 "teacher.half_life_hours=[[0, 0.01], [0.3, 0.05]]")
    probing=(--updates 200)
fi
stage "pretraining: no transcripts, all audio, on $ranks rank(s)"
alone pretrain "$pretrained" "${pretraining[@]}"
$asr report "$pretrained" "${note[@]}"
stage "what its features are good for"
$asr probe "$pretrained" --labelled "$data/labelled.jsonl.gz" --set "$data/dev.jsonl.gz" "${probing[@]}"

burn_in "init_from=$pretrained"
both_runs
decode_and_report
