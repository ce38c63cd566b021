# shellcheck shell=bash
# What is tested in virtual machines.

# guest_test_programs: "NAME=FILE" of each program of privileged tests, one a
# line. Of the crate sys they lie in the library. The whole workspace is named,
# as elsewhere: parts of it would be built anew, with other features. The runbook's
# test reads the source tree, which is not there.
guest_test_programs() {
    cargo test --workspace --no-run --locked --message-format json |
        jq --raw-output 'select(.executable != null and .profile.test)
            | .target.kind[0] as $kind
            | (.package_id | sub("[#@][^/]*$"; "") | sub(".*/"; "")) as $crate
            | select($kind == "test" or ($kind == "lib" and $crate == "sys"))
            | select($crate | IN("sys", "overlay", "image", "init", "launcher", "tests"))
            | select(.target.name != "runbook")
            | "\($crate)-\(.target.name)=\(.executable)"'
}

# guest_tests CACHE KERNEL IMAGES RESULTS ARGUMENT...: runs them; what was built
# in $CARGO_TARGET_DIR, or target.
guest_tests() {
    local cache=$1 kernel=$2 images=$3 results=$4 program programs=() built
    shift 4
    built=$(cargo metadata --format-version 1 --no-deps --offline | jq --raw-output .target_directory)/debug
    while read -r program; do programs+=(--program "$program"); done < <(guest_test_programs)
    "$built/rolltop-vm" --cache "$cache" --kernel "$kernel" test --programs "$built" --images "$images" \
        --results "$results" "${programs[@]}" "$@"
}
