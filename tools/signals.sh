# For recipes' scripts: sourced. What a script runs saves when the script is told to stop, and is waited for.

stopped=
passing_signals() { # COMMAND...: a signal to stop reaches it, and it is waited for
    local status=0 child
    "$@" &
    child=$!
    trap 'stopped=1; kill -TERM "$child" 2>/dev/null || true' TERM INT
    while :; do
        wait "$child" && status=0 || status=$?
        kill -0 "$child" 2>/dev/null || break
    done
    trap - TERM INT
    return "$status"
}

lanes=()
start_lane() { # COMMAND...: in the background, with a process group of its own: a signal to stop reaches all that it runs
    trap 'stopped=1; stop_lanes' TERM INT HUP
    trap 'stop_lanes; wait' EXIT
    set -m
    (set +m -e; trap 'exit 143' TERM; "$@") & # what it runs saves before the trap is taken
    set +m
    lanes+=($!)
    [ -z "$stopped" ] || stop_lanes # told to stop before this lane was among them
}
stop_lanes() {
    [ "${#lanes[@]}" = 0 ] || kill -TERM -- "${lanes[@]/#/-}" 2>/dev/null || true
}
finish_lane() { # PID: its status; a signal that comes meanwhile does not end the wait
    local status=0 left=() lane
    while :; do
        wait "$1" && status=0 || status=$?
        kill -0 "$1" 2>/dev/null || break
    done
    for lane in "${lanes[@]}"; do [ "$lane" = "$1" ] || left+=("$lane"); done
    lanes=("${left[@]}")
    return "$status"
}
