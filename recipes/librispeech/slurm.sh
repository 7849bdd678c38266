#!/usr/bin/env bash
# A job of several machines under Slurm: sbatch --nodes 8 recipes/librispeech/slurm.sh --recipe 100h_860h --root DIR
# Two minutes before its time is over the training saves and the job goes back into the queue; there it goes on
# where it stopped, with as many machines or with others. The disk is shared.
#SBATCH --job-name=asr
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
run=recipes/librispeech/run.sh
nodes=(--nodes "$SLURM_NNODES" --ranks "${SLURM_GPUS_ON_NODE:-8}")
# One machine prepares; the others would wait for it in vain.
bash "$run" "$@" "${nodes[@]}" --to check
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
status=0
srun --kill-on-bad-exit=0 bash -c 'exec bash "$0" "$@" --node-rank "$SLURM_NODEID"' "$run" \
    "$@" "${nodes[@]}" --master-addr "$head" --from train --to train || status=$?
if [ "$status" = 75 ]; then
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
[ "$status" = 0 ] || exit "$status"
bash "$run" "$@" --from decode
