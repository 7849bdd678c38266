#!/usr/bin/env bash
# Without transcripts, whose labels are best to learn from, at equal hours? The average's, those of the model as it was
# (frozen), the student's own, or those on which the average and the model as it was agree.
#   recipes/amazon_queen/sources.sh [--seeds "1 2 3"] [--hours 2.8] [--sources "average frozen student agreeing"]
# After run.sh, whose data and model it takes. A core trains one seed: about 3 hours (an H100 all three in 10 minutes, where the
# script is started for each source at once). Run it again after an interruption.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seeds="1 2 3" hours=2.8 sources="average frozen student agreeing"
while [ $# -gt 0 ]; do
    case $1 in
        --seeds) seeds=${2:?--seeds wants numbers}; shift ;;
        --hours) hours=${2:?--hours wants a number}; shift ;;
        --sources) sources=${2:?--sources wants names}; shift ;;
        -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "sources.sh: unknown option '$1'; see --help" >&2; exit 2 ;;
    esac
    shift
done

bash tools/make_venv.sh pretrained whisper
asr=.venv/bin/asr data=data/amazon_queen exp=exp/amazon_queen_sources
export OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1
mkdir -p $exp
. tools/seeds.sh

declare -A settings=(
    [average]=pseudo_label.teacher=ema
    [frozen]=pseudo_label.teacher=frozen
    [student]=pseudo_label.teacher=student
    [agreeing]="pseudo_label.teacher=file pseudo_label.outside.files=[$exp/labels] pseudo_label.outside.choose=agreeing"
)
case " $sources " in *" agreeing "*)
    .venv/bin/torchrun --standalone --nproc-per-node "$(nproc)" -m asr label models/whisper-tiny.en untranscribed \
        --data $data --output $exp/labels ;;
esac

of_seed() {
    local source run more model name
    for source in $sources; do
        run=$exp/seed$1/$source
        mkdir -p "$exp/seed$1"
        read -ra more <<< "${settings[$source]:?there is no such source: $source}"
        train "$run" recipes/amazon_queen/no_transcripts.yaml "seed=$1" "trainer.total_hours=$hours" \
            "trainer.evaluation_every_hours=$hours" "${more[@]}"
        for model in teacher student; do
            name=$source
            [ $model = teacher ] || name+=_last
            name=$exp/seed$1/decode/test_written/$name.jsonl
            [ -e "$name" ] || $asr decode "$run" $data/test_written.jsonl.gz --model $model --output "$name" > /dev/null
        done
        cp "$run/config.yaml" "$run/config.copy" && mv "$run/config.copy" "$exp/seed$1/config.yaml" # how texts are scored
        echo "sources.sh: seed $1, $source: done after $((SECONDS / 60)) minutes"
    done
}
read -ra seeds <<< "$seeds"
each_on_a_core of_seed "${seeds[@]}"
pairs=()
for pair in average:frozen average:student average_last:student_last frozen_last:student_last agreeing_last:student_last average_last:frozen_last; do
    first=${pair%%:*} second=${pair##*:}
    if [[ " $sources " == *" ${first%_last} "* && " $sources " == *" ${second%_last} "* ]]; then pairs+=(--compare "$pair"); fi
done
# Of one source alone there is nothing to compare, and others may be under way.
[ "${#pairs[@]}" = 0 ] || .venv/bin/python tools/over_seeds.py "${seeds[@]/#/$exp/seed}" "${pairs[@]}"
