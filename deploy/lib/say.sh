# shellcheck shell=bash
# What the person at the terminal sees: one line for each step, with the time
# it took. Everything the programs write goes to $LOG.

STEP=''        # what is being done, for the message when it fails
STEP_PID=''    # the process group that does it
STEP_BEGUN=0

# say TEXT...: one line for the person.
say() { printf '%s\n' "$*"; }

# fail TEXT...: ends the program with a sentence that helps.
fail() {
    printf '\n%s: %s\n' "${0##*/}" "$*" >&2
    STEP=''
    exit 1
}

# now_ms: milliseconds since the epoch, without starting a process.
now_ms() {
    local now=$EPOCHREALTIME
    printf '%s' "$((10#${now/[.,]/} / 1000))"
}

# seconds_since MS: "12.3 s".
seconds_since() {
    local ms=$(($(now_ms) - $1))
    printf '%d.%d s' "$((ms / 1000))" "$((ms % 1000 / 100))"
}

# begin TEXT...: a step begins.
begin() {
    STEP="$*"
    STEP_BEGUN=$(now_ms)
    printf '\n== %s ==\n' "$STEP" >>"$LOG"
    if [[ -t 1 ]]; then printf '  …  %s' "$STEP"; fi
}

# done_with [REMARK]: it has ended well.
done_with() {
    if [[ -t 1 ]]; then printf '\r\033[K'; fi
    printf ' ok  %s%s  (%s)\n' "$STEP" "${1:+: $1}" "$(seconds_since "$STEP_BEGUN")"
    STEP=''
}

# step TEXT COMMAND...: runs a command that may take long, in a process group
# of its own, its output in the log. The last line of that is the progress.
step() {
    begin "$1"
    shift
    # Job control gives the job a process group, and signals it does not ignore.
    set -m
    "$@" >>"$LOG" 2>&1 </dev/null &
    STEP_PID=$!
    set +m
    show_progress "$STEP_PID"
    local status=0
    wait "$STEP_PID" || status=$?
    STEP_PID=''
    if ((status != 0)); then exit "$status"; fi
    done_with
}

# show_progress PID: until it ends. A terminal gets a line that changes, a file
# one line in half a minute.
show_progress() {
    local told=0 elapsed line columns=${COLUMNS:-80}
    while kill -0 "$1" 2>/dev/null; do
        sleep 0.2
        elapsed=$((($(now_ms) - STEP_BEGUN) / 1000))
        if [[ -t 1 ]]; then
            line=$(tail -c 400 "$LOG" | tr '\r' '\n' | grep -v '^ *$' | tail -n 1 | tr -d '[:cntrl:]') || line=''
            line="  …  $STEP  ($elapsed s)  $line"
            printf '\r\033[K%s' "${line:0:columns - 1}"
        elif ((elapsed >= told + 30)); then
            told=$elapsed
            printf '  …  %s  (%s s)\n' "$STEP" "$elapsed"
        fi
    done
}

# stop_step: ends what `step` runs, as Ctrl-C would, and waits for its end.
stop_step() {
    if [[ -z $STEP_PID ]]; then return 0; fi
    end_group "$STEP_PID" INT 30
    STEP_PID=''
}

# end_group LEADER SIGNAL SECONDS: asks a process group to end, and kills it if
# it has not by then.
end_group() {
    local leader=$1 signal=$2 deadline=$(($(now_ms) + $3 * 1000))
    kill -s "$signal" -- "-$leader" 2>/dev/null || true
    while kill -0 -- "-$leader" 2>/dev/null; do
        if (($(now_ms) > deadline)); then
            kill -s KILL -- "-$leader" 2>/dev/null || true
            break
        fi
        sleep 0.05
    done
    wait "$leader" 2>/dev/null || true
}

# tell_failure: which step it was, and what the log says last.
tell_failure() {
    if [[ -t 1 ]]; then printf '\r\033[K'; fi
    {
        printf '\nFAILED: %s (after %s)\n' "$STEP" "$(seconds_since "$STEP_BEGUN")"
        printf 'The last lines of %s:\n' "$LOG"
        tail -n 25 "$LOG" | sed 's/^/    /'
    } >&2
}
