# shellcheck shell=bash
# Runs checks, times them, and adds up what they say of themselves.

PASSED=0 FAILED=0 SKIPPED=0
FAILURES=()

# heading TEXT...
heading() { printf '\n=== %s ===\n' "$*"; }

# note TEXT...: a line below a heading.
note() { printf '  %s\n' "$*"; }

# check NAME COMMAND...: one check, whose status is the result. Its output goes
# to a log, the end of which is shown when it fails. Returns the status.
check() {
    local name=$1
    shift
    run_logged "$name" "$@"
    add "$((STATUS == 0))" "$((STATUS != 0))" 0
    conclude "$name"
}

# check_counted NAME COUNTER COMMAND...: many tests in one. COUNTER reads the
# log and prints "passed failed skipped". A failure that no test owns up to,
# such as code that does not compile, counts as one.
check_counted() {
    local name=$1 counter=$2 passed failed skipped
    shift 2
    run_logged "$name" "$@"
    read -r passed failed skipped < <("$counter" "$(log_of "$name")")
    if ((STATUS != 0 && failed == 0)); then failed=1; fi
    if ((STATUS == 0 && failed > 0)); then STATUS=1; fi
    if ((STATUS == 0 && passed == 0)); then
        note "$name ran no test"
        STATUS=1 failed=1
    fi
    note "$passed passed, $failed failed, $skipped skipped"
    add "$passed" "$failed" "$skipped"
    conclude "$name"
}

# not_run NAME REASON...: something that this machine cannot do; not counted.
not_run() {
    local name=$1
    shift
    printf 'skipped: %s: %s\n' "$name" "$*"
}

log_of() { printf '%s/%s.log' "$RESULTS" "${1//[^a-zA-Z0-9]/-}"; }

# run_logged NAME COMMAND...: sets STATUS, MS_TAKEN.
run_logged() {
    local name=$1 log begun
    log=$(log_of "$name")
    shift
    begun=$(now_ms)
    STATUS=0
    # In a subshell of its own, so that -e is in force in functions too.
    set +e
    (
        set -e
        "$@"
    ) >"$log" 2>&1 </dev/null
    STATUS=$?
    set -e
    TAKEN=$(seconds_since "$begun")
}

conclude() {
    if ((STATUS == 0)); then
        printf 'ok      %s  (%s)\n' "$1" "$TAKEN"
        return 0
    fi
    FAILURES+=("$1")
    printf 'FAILED  %s  (%s, status %s); of %s:\n' "$1" "$TAKEN" "$STATUS" "$(log_of "$1")"
    { failed_tests "$(log_of "$1")" && printf '...\n' && tail -n 40 "$(log_of "$1")"; } | sed 's/^/    /'
    return 0
}

# failed_tests LOG: each failed test with what it says, in the forms of libtest,
# of Rolltop's own harnesses, which tell the reason below the name, and of TAP.
# A run of thousands of lines may have them anywhere.
failed_tests() {
    awk '/ \.\.\. FAILED$/ { print; reason = 12; next }
        /^---- .* stdout ----$/ { print; reason = 12; next }
        /^ *not ok / { print; reason = 20; next }
        / \.\.\. ok$/ || /^test result: / || /^ *ok / { reason = 0 }
        reason > 0 { reason--; if (NF) print }' "$1" | head -n 200
}

add() {
    PASSED=$((PASSED + $1)) FAILED=$((FAILED + $2)) SKIPPED=$((SKIPPED + $3))
}

# count_cargo LOG: sums the closing lines of all test programs, and what they
# say that they cannot do here.
count_cargo() {
    awk '/^skipped: / { s++ }
        /^test result: / {
            for (i = 1; i < NF; i++) {
                if ($(i + 1) ~ /^passed/) p += $i
                if ($(i + 1) ~ /^failed/) f += $i
                if ($(i + 1) ~ /^ignored/) s += $i
            }
        }
        END { print p + 0, f + 0, s + 0 }' "$1"
}

# count_node LOG: the closing lines of Node's test runner, in either form.
count_node() {
    awk '$1 == "#" || $1 == "ℹ" {
            if ($2 == "pass") p += $3
            if ($2 == "fail" || $2 == "cancelled") f += $3
            if ($2 == "skipped" || $2 == "todo") s += $3
        }
        END { print p + 0, f + 0, s + 0 }' "$1"
}

# summary: the last line, and the status of it all.
summary() {
    heading "Summary, after $(seconds_since "$RUN_BEGUN")"
    local failure
    for failure in "${FAILURES[@]}"; do note "failed: $failure (see $(log_of "$failure"))"; done
    printf '%d passed, %d failed, %d skipped\n' "$PASSED" "$FAILED" "$SKIPPED"
    ((FAILED == 0))
}
