# shellcheck shell=bash
# What is tested in virtual machines.

# Crates whose privileged tests run there.
readonly GUEST_CRATES=(rolltop-sys rolltop-overlay rolltop-image rolltop-init rolltop-launcher rolltop-tests)

# guest_test_programs: "NAME=FILE" of each program of tests, one a line. Of the
# crate sys the tests lie in the library; those of all others need no guest.
guest_test_programs() {
    local crate packages=()
    for crate in "${GUEST_CRATES[@]}"; do packages+=(--package "$crate"); done
    cargo test --no-run --locked "${packages[@]}" --message-format json |
        jq --raw-output 'select(.executable != null and .profile.test)
            | (.target.kind[0]) as $kind
            | (.package_id | sub("[#@][^/]*$"; "") | sub(".*/"; "")) as $crate
            | select($kind == "test" or ($kind == "lib" and .target.name == "rolltop_sys"))
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
