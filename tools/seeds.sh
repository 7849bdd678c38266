# For recipes' scripts that train several seeds: sourced from the project's root, with $asr set.
. tools/signals.sh

train() { # RUN RECIPE KEY=VALUE...: unless it is complete; its log beside it
    [ -e "$1/complete.json" ] && return
    $asr train "$2" "output=$1" "${@:3}" > "$1.log" 2>&1 && [ -e "$1/complete.json" ] && return
    echo "${0##*/}: $1 did not finish; see $1.log, and run the same command to go on" >&2
    return 1
}
each_on_a_core() { # FUNCTION SEED...: the function of each seed, as many at a time as there are cores
    local seed running=() failed=
    for seed in "${@:2}"; do
        start_lane "$1" "$seed"
        running+=("${lanes[-1]}")
        [ "${#running[@]}" -lt "$(nproc)" ] && continue
        finish_lane "${running[0]}" || failed=1
        running=("${running[@]:1}")
        [ -z "$stopped$failed" ] || break
    done
    for seed in "${running[@]}"; do finish_lane "$seed" || failed=1; done
    [ -z "$failed" ]
}
