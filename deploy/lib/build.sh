# shellcheck shell=bash
# The programs and the image.

readonly PROGRAMS=(rolltop-agent rolltop-launcher rolltop-broker rolltop)

# find_cargo: in PATH, root's, or that of the person who called sudo.
find_cargo() {
    local wanted home
    wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$ROOT/Cargo.toml")
    has_rust "$wanted" && return 0
    for home in "${HOME:-/root}" /root "$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)"; do
        if [[ ! -x $home/.cargo/bin/cargo ]]; then continue; fi
        PATH=$home/.cargo/bin:$PATH
        # Where rustup keeps compilers; crates are kept where root keeps them.
        export RUSTUP_HOME=${RUSTUP_HOME:-$home/.rustup}
        has_rust "$wanted" && return 0
    done
    install_rust "$wanted"
}

# has_rust VERSION: that or a later one.
has_rust() {
    local version
    version=$(rustc --version 2>>"$LOG") || return 1
    version=${version#rustc }
    is_recent "${version%% *}" "$1" && cargo --version >>"$LOG" 2>&1
}

# install_rust VERSION: from the system's packages, where they have rustup.
install_rust() {
    if [[ $(apt-cache policy rustup 2>/dev/null) == *Candidate:\ [0-9]* ]]; then
        install_packages rustup
        step 'Installing the Rust compiler' rustup toolchain install stable --profile minimal
        rustup default stable >>"$LOG" 2>&1
        has_rust "$1" && return 0
    fi
    fail "no Rust compiler of version $1 or later was found, and this system has no package 'rustup':" \
        "install one as https://rustup.rs tells, as root or as the user who calls sudo, and start this again"
}

# build_programs: in release mode; sets BIN. Nothing to do takes a second.
build_programs() {
    find_cargo
    local args=(build --release --locked --manifest-path "$ROOT/Cargo.toml") program
    for program in "${PROGRAMS[@]}"; do args+=(--bin "$program"); done
    step 'Building Rolltop (some minutes the first time)' cargo "${args[@]}"
    BIN=$(target_directory)/release
    give_back
}

target_directory() {
    cargo metadata --format-version 1 --no-deps --offline --manifest-path "$ROOT/Cargo.toml" 2>>"$LOG" |
        jq -r .target_directory
}

# give_back: what root has built in somebody's clone belongs to them.
give_back() {
    if [[ $(stat --format %u "$ROOT") == 0 ]]; then return 0; fi
    local made
    for made in "$ROOT"/target "$ROOT"/{web,tests/browser}/node_modules "$ROOT"/web/{dist,src/gen}; do
        if [[ -e $made ]]; then chown --recursive --reference="$ROOT" "$made"; fi
    done
}

# build_image: the image `demo`, or the version there is of the same recipe.
build_image() {
    step 'Making the desktop image demo (a minute the first time)' \
        "$BIN/rolltop" image build "$ROOT/deploy/images/demo" --store "$STATE/images" --tag stable --reuse
}

# install_browser_tests: the library that drives Chromium.
install_browser_tests() {
    local dir=$ROOT/tests/browser
    if [[ $dir/node_modules/.package-lock.json -nt $dir/package-lock.json ]]; then return 0; fi
    step 'Installing what drives the browser' npm --prefix "$dir" ci --no-audit --no-fund
    give_back
}
