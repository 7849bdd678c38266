#!/usr/bin/env bash
# All pseudo-labelling methods at equal hours, with supervised training and true transcripts as the two ends.
#   recipes/festvox_ru/methods.sh [--seeds "1 2"] [--hours 24] [--methods "supervised ema_scaled ..."]
# A core trains one seed: about 100 minutes, 8 a method and 24 from_the_start. Run it again after an interruption: every run goes on where it stopped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seeds="1 2" hours=24
methods="supervised ema_scaled slimipl oracle topipl ipl mpl kaizen from_the_start"
while [ $# -gt 0 ]; do
    case $1 in
        --seeds) seeds=${2:?--seeds wants numbers}; shift ;;
        --hours) hours=${2:?--hours wants a number above 16}; shift ;;
        --methods) methods=${2:?--methods wants names}; shift ;;
        -h | --help) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "methods.sh: unknown option '$1'; see --help" >&2; exit 2 ;;
    esac
    shift
done

bash tools/make_venv.sh beam
asr=.venv/bin/asr recipes=recipes/festvox_ru data=data/festvox_ru exp=exp/festvox_ru_methods
export OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1
$asr prepare festvox_ru --output $data --download-dir data/download
$asr prepare lm --cuts $data/labelled.jsonl.gz --output $data/letters.arpa

. tools/seeds.sh
of_seed() {
    local run=$exp/seed$1 method recipe fork
    mkdir -p "$run"
    train "$run/burn_in" $recipes/supervised.yaml "seed=$1" trainer.total_hours=16 trainer.checkpoint_every_hours=4
    fork=fork_from=$run/burn_in/checkpoints/$(cat "$run/burn_in/latest")
    for method in $methods; do
        recipe=$recipes/methods/$method.yaml
        local settings=("seed=$1" "trainer.total_hours=$hours" trainer.checkpoint_every_hours=2 "$fork"
                        trainer.evaluation_every_hours=1)
        if [ "$method" = supervised ]; then recipe=$recipes/supervised.yaml; fi
        if [ "$method" = topipl ]; then settings+=(trainer.evaluation_every_hours=0.5); fi
        if [ "$method" = from_the_start ]; then settings+=(fork_from=null); fi
        train "$run/$method" "$recipe" "${settings[@]}"
        for model in teacher student; do
            $asr decode "$run/$method" $data/test.jsonl.gz --model $model > /dev/null
        done
        echo "methods.sh: seed $1, $method: done after $((SECONDS / 60)) minutes"
    done
}
each_on_a_core of_seed $seeds
.venv/bin/python tools/compare_methods.py $exp
