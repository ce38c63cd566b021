# shellcheck shell=bash
# The checks that are more than one command.

readonly CARGO_DENY=0.20.2
# A system of its own for the tests, kept between runs for what it has built.
readonly SYSTEM=$ROOT/target/test-system
readonly QUICKSTART=(--state "$SYSTEM" --run-dir "/run/rolltop-tests-$$")

# require_test_packages: beside those that quickstart needs.
require_test_packages() {
    local missing=()
    need shellcheck shellcheck
    need runc runc
    need busybox busybox-static
    need getcap libcap2-bin
    need mkfs.xfs xfsprogs
    need faketime faketime
    install_packages "${missing[@]}"
    require_servers
}

# require_servers: the programs alone. Their packages would start services, and
# have them started again with the machine.
require_servers() {
    local missing=() policy=/usr/sbin/policy-rc.d made=no
    need etcd etcd-server
    need etcdctl etcd-client
    need slapd slapd
    if ((${#missing[@]} == 0)); then return 0; fi
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made=yes
    fi
    # In a subshell, since a failure ends the shell it is met in.
    local status=0
    (install_packages "${missing[@]}") || status=$?
    if [[ $made = yes ]]; then rm -f -- "$policy"; fi
    ((status == 0)) || exit "$status"
    local package service
    for package in etcd-server:etcd slapd:slapd; do
        service=${package#*:}
        if [[ " ${missing[*]} " = *" ${package%:*} "* ]]; then
            update-rc.d "$service" disable >>"$LOG" 2>&1 || fail "the service $service, which was just installed, cannot be disabled: 'update-rc.d $service disable'"
            if command -v systemctl >/dev/null; then
                systemctl disable "$service.service" >>"$LOG" 2>&1 || fail "the service $service, which was just installed, cannot be disabled: 'systemctl disable $service'"
            fi
        fi
    done
}

# require_components: of the compiler.
require_components() {
    if ! { cargo fmt --version && cargo clippy --version; } >>"$LOG" 2>&1; then
        fail "this Rust compiler has no rustfmt or no clippy: 'rustup component add rustfmt clippy'"
    fi
}

# lint_scripts: every shell script there is, told by its first line; what is
# sourced is looked at from where it is sourced.
lint_scripts() {
    local scripts
    mapfile -t scripts < <(grep -rlIE '^#!/bin/(ba)?sh' .ci deploy tests --exclude-dir node_modules)
    printf '%s\n' "${scripts[@]}"
    shellcheck --external-sources --check-sourced "${scripts[@]}"
}

# deny: licences, bans and sources of all dependencies; advisories, where the
# machine reaches the list of them.
deny() {
    local tool=$TARGET/tools/bin/cargo-deny
    if [[ $("$tool" --version 2>/dev/null) != "cargo-deny $CARGO_DENY" ]]; then
        # Unoptimised: it builds in half the time, and runs for a few seconds.
        check "build of cargo-deny" cargo install cargo-deny --version "$CARGO_DENY" --locked --debug \
            --no-default-features --root "$TARGET/tools" --target-dir "$TARGET/tools/build"
        rm -rf -- "$TARGET/tools/build"
    fi
    check 'licences, bans, sources' "$tool" --all-features check licenses bans sources
    run_logged 'advisories' "$tool" --all-features check advisories
    if grep -q 'failed to fetch advisory database' "$(log_of advisories)"; then
        not_run 'advisories' 'their database cannot be reached from this machine'
    else
        add "$((STATUS == 0))" "$((STATUS != 0))" 0
        conclude 'advisories'
    fi
}

web_types() {
    npm --prefix web ci
    npm --prefix web run generate
    npm --prefix web run check
}

# isolated COMMAND...: with mounts, processes and a network of its own, of which
# there is nothing but loopback.
isolated() {
    # shellcheck disable=SC2016 # the inner shell expands it
    unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private bash -c '
        ip link set lo up
        exec "$@"' isolated "$@"
}
