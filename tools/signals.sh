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
