#!/usr/bin/env bash
# A job of several machines under Slurm: sbatch --nodes 8 recipes/librispeech/slurm.sh --recipe 100h_860h --root DIR
# Prepare the data before, on one machine (run.sh ... --to tokenizer). A requeued job, with as many machines or with
# others, goes on where it stopped.
#SBATCH --job-name=asr
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
bash tools/make_venv.sh
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --kill-on-bad-exit=1 bash -c 'exec bash recipes/librispeech/run.sh --nodes "$SLURM_NNODES" \
    --node-rank "$SLURM_NODEID" --master-addr "$0" --ranks "$SLURM_GPUS_ON_NODE" "$@"' "$head" "$@"
