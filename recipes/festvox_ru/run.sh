#!/usr/bin/env bash
# From nothing to exp/festvox_ru/report/index.html: install, fetch, prepare, train, decode, score, report.
#   recipes/festvox_ru/run.sh [--quick] [--seed N] [--source DEB_OR_FOLDER]
# Run it again after an interruption: every stage goes on where it stopped.
set -euo pipefail
script=$(realpath "${BASH_SOURCE[0]}")
cd "$(dirname "$script")/../.."
. recipes/festvox_ru/stages.sh

options "$@"
begin festvox_ru "about 35 minutes" "about 5 minutes"
prepare
burn_in
both_runs
decode_and_report
