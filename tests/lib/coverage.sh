# shellcheck shell=bash
# How much of the Rust code the tests run. The compiler comes without the tools
# that read its profiles; Debian has them for some versions of LLVM.

LLVM=''     # the version whose tools are here; empty: coverage is not measured
COVERAGE_REASON=''

# prepare_coverage: finds or installs the tools of the compiler's LLVM.
prepare_coverage() {
    local version
    version=$(rustc --version --verbose | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
    if ! command -v "llvm-cov-$version" >/dev/null; then
        if [[ $(apt-cache policy "llvm-$version" 2>/dev/null) != *Candidate:\ [0-9]* ]]; then
            COVERAGE_REASON="this compiler's profiles need the package llvm-$version, which this system does not have"
            return 0
        fi
        install_packages "llvm-$version"
    fi
    LLVM=$version
    PROFILES=$TARGET/coverage
    rm -rf -- "$PROFILES"
    mkdir -p "$PROFILES"
}

# with_coverage COMMAND...: the crates of the workspace note what they run.
with_coverage() {
    if [[ -z $LLVM ]]; then
        "$@"
        return
    fi
    # %m and %4m: a few files for each program, which its processes share.
    RUSTC_WORKSPACE_WRAPPER=$ROOT/tests/lib/rustc-with-coverage \
        LLVM_PROFILE_FILE=$PROFILES/%4m.profraw "$@"
}

# print_coverage STATUS: the figure of the tests just run, and a table in the results.
print_coverage() {
    if (($1 != 0)); then
        note 'coverage: not measured, as tests failed'
        return 0
    fi
    if [[ -z $LLVM ]]; then
        note "coverage: not measured: $COVERAGE_REASON"
        return 0
    fi
    local program objects=() ignore='/\.cargo/|/rustc/|/target/|/tests/|_tests?\.rs$|/tests\.rs$|/build\.rs$|/benches/'
    "llvm-profdata-$LLVM" merge --sparse --failure-mode=warn -o "$PROFILES/all.profdata" "$PROFILES"/*.profraw
    while read -r program; do objects+=(--object "$program"); done < <(test_programs)
    # Warnings: programs of the tests that nothing ran, such as examples.
    "llvm-cov-$LLVM" report --instr-profile "$PROFILES/all.profdata" --ignore-filename-regex "$ignore" \
        "${objects[@]}" >"$RESULTS/coverage.txt" 2>>"$LOG"
    awk '$1 == "TOTAL" { printf "  coverage: %s of the lines, %s of the functions of the Rust code\n", $10, $7 }' \
        "$RESULTS/coverage.txt"
    note "by file: $RESULTS/coverage.txt"
}

# test_programs: what the tests have run, one a line.
test_programs() {
    {
        with_coverage cargo test --workspace --locked --no-run --message-format json
        with_coverage cargo build --workspace --locked --bins --message-format json
    } 2>>"$LOG" | jq -r 'select(.executable != null) | .executable' | sort -u
}
