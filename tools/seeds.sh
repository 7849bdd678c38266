# For recipes' scripts that train several seeds: sourced, with $asr set.

train() { # RUN RECIPE KEY=VALUE...: unless it is complete; its log beside it
    [ -e "$1/complete.json" ] && return
    $asr train "$2" "output=$1" "${@:3}" > "$1.log" 2>&1 && [ -e "$1/complete.json" ] && return
    echo "${0##*/}: $1 did not finish; see $1.log, and run the same command to go on" >&2
    return 1
}
each_on_a_core() { # FUNCTION SEED...: the function of each seed, as many at a time as there are cores
    local jobs=() job seed
    for seed in "${@:2}"; do
        "$1" "$seed" &
        jobs+=($!)
        [ "${#jobs[@]}" -lt "$(nproc)" ] || { wait "${jobs[0]}"; jobs=("${jobs[@]:1}"); }
    done
    for job in "${jobs[@]}"; do wait "$job"; done
}
