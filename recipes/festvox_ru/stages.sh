# What run.sh and run_pretrained.sh have in common: sourced from the project's root, with $script, the caller's own path.
# Each function goes on where it was stopped.

quick= seed=1 source=()
exp=exp/festvox_ru data=data/festvox_ru recipes=recipes/festvox_ru
settings=() limit=() note=()

options() { # [--quick] [--seed N] [--source DEB_OR_FOLDER]
    while [ $# -gt 0 ]; do
        case $1 in
            --quick) quick=1 ;;
            --seed) seed=${2:?--seed wants a number}; shift ;;
            --source) source=(--source "${2:?--source wants a .deb or a folder}"); shift ;;
            -h | --help) sed -n '2,4s/^# \{0,1\}//p' "$script"; exit 0 ;;
            *) echo "${script##*/}: unknown option '$1'; see --help" >&2; exit 2 ;;
        esac
        shift
    done
}
say() { echo "${script##*/}: $*"; }

begin() { # NAME TIME QUICK_TIME: results are in exp/NAME; how long it takes, and with --quick
    exp=exp/$1
    if [ "$seed" != 1 ]; then exp+=_seed$seed; fi
    if [ -n "$quick" ]; then
        exp+=_quick data+=_quick
        limit=(--limit-minutes 10)
        settings=(trainer.total_hours=2.25 augmentation.spec_augment.start_hours=1 teacher.half_life_hours=0.2
                  trainer.evaluation_every_hours=0.25 trainer.checkpoint_every_hours=0.25)
        note=(--note "Quick run on a part of the audio and a fraction of the hours: its results prove nothing.")
    fi
    language_model=$data/letters.arpa # 6-gram of the labelled transcripts, for the search that decides the labels
    settings+=("seed=$seed" "corpus.directory=$data" "pseudo_label.beam.language_model=$language_model")

    cores=$(nproc)
    say "$([ -n "$quick" ] && echo "quick run, $3" || echo "$2") on 2 cores," \
        "installation and download (180 MB) aside; this machine has $cores. Results: $exp/report/index.html"
    [ -z "$quick" ] || say "the results of a quick run prove nothing"
    if [ -e "$exp/report/index.html" ]; then
        say "$exp is complete: only checking each stage"
    elif [ -e "$exp" ]; then
        say "$exp exists: going on where it stopped"
    fi
    started=$SECONDS

    stage "install"
    bash tools/make_venv.sh beam
    asr=.venv/bin/asr
    export OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1
    # Of torchrun: how long ranks that were told to stop may take to save, 30 otherwise.
    export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-100}
    # Of what runs alone, at most one a GPU: the same batches and gradients, faster.
    ranks=$(.venv/bin/python -c "import torch; print(min(2, torch.cuda.device_count() or $cores))")
    # The burn-in ends where the recipe starts to pseudo-label.
    burn_in_hours=$(.venv/bin/python -c "from asr.config.recipe import load_config
print(load_config('$recipes/pseudo_labelled.yaml').pseudo_label.start_hours)")
    [ -z "$quick" ] || burn_in_hours=1.5
}
stage() { echo; echo "== $* ($(((SECONDS - started) / 60)) min)"; }

prepare() {
    stage "prepare"
    $asr prepare festvox_ru --output "$data" --download-dir data/download "${limit[@]}" "${source[@]}"
    $asr prepare lm --cuts "$data/labelled.jsonl.gz" --output "$language_model"
}

. tools/signals.sh
train() { # RANKS RECIPE RUN KEY=VALUE...; replaces the (sub)shell, so that a signal reaches it
    local launch=("$asr")
    [ "$1" -eq 1 ] || launch=(.venv/bin/torchrun --standalone --nproc-per-node "$1" -m asr)
    exec "${launch[@]}" train "$recipes/$2.yaml" "output=$3" "${settings[@]}" "${@:4}"
}
require_complete() { # a training that a signal stopped has saved, and exited with 75 (ranks with 0)
    if [ ! -e "$1/complete.json" ]; then
        say "$1 was stopped before its end; run the same command to go on" >&2
        exit 1
    fi
}
alone() { # RECIPE RUN KEY=VALUE...: to its end, on all ranks there are
    passing_signals train "$ranks" "$@" || [ $? = 75 ]
    require_complete "$2"
}

burn_in() { # KEY=VALUE...
    stage "burn-in: supervised to $burn_in_hours h of audio, shared by both runs, on $ranks rank(s)"
    alone supervised "$exp/burn_in" "trainer.total_hours=$burn_in_hours" "$@"
}

both_runs() {
    stage "supervised baseline (log: $exp/supervised.log) and pseudo-labelled run, side by side"
    local fork=$exp/burn_in/checkpoints/$(cat "$exp/burn_in/latest")
    mkdir -p "$exp"
    train 1 supervised "$exp/supervised" "fork_from=$fork" > "$exp/supervised.log" 2>&1 &
    baseline=$!
    trap 'kill -TERM $baseline 2>/dev/null && wait $baseline || true' EXIT
    [ "$cores" -ge 2 ] || wait "$baseline" || true # what it ended with is asked for below
    passing_signals train 1 pseudo_labelled_lm "$exp" "fork_from=$fork" "pseudo_label.start_hours=$burn_in_hours" || [ $? = 75 ]
    require_complete "$exp"
    if ! { wait "$baseline" || [ $? = 75 ]; }; then
        tail -n 5 "$exp/supervised.log" >&2
        exit 1
    fi
    trap - EXIT
    require_complete "$exp/supervised"
}

decode_and_report() {
    stage "decode the test set"
    local test_set=$data/test.jsonl.gz
    $asr decode "$exp" "$test_set" --model teacher
    $asr decode "$exp" "$test_set" --model student
    # The baseline's average against the teacher, like against like; its student is shown beside.
    $asr decode "$exp/supervised" "$test_set" --model teacher --output "$exp/decode/test/supervised.jsonl"
    $asr decode "$exp/supervised" "$test_set" --model student --output "$exp/decode/test/supervised_student.jsonl"

    stage "score and report"
    $asr score "$exp"
    $asr report "$exp" --baseline "$exp/supervised" "${note[@]}"
    say "done in $(((SECONDS - started) / 60)) minutes: $exp/report/index.html"
}
