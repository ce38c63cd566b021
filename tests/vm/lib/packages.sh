# shellcheck shell=bash
# Packages for the rig, by an apt of its own: its sources, lists and cache are
# below the cache directory, the machine's are only read.

# Suites that have the kernels, beside the machine's own.
readonly KERNEL_SUITES=(trixie trixie-security trixie-backports)
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
readonly LEAST_QEMU=10   # version 7.2 crashes guests of kernel 6.12 at random

# debian_mirror: where this machine gets Debian from; nothing if it does not.
debian_mirror() {
    debian_targets | awk '$2 !~ /-(security|updates|backports)$/ { print $1; exit }'
}

# security_mirror: the same for its security updates, which elsewhere is a guess.
security_mirror() {
    local found
    found=$(debian_targets | awk '$2 ~ /-security$/ { print $1; exit }')
    printf '%s' "${found:-${MIRROR%/}-security}"
}

# debian_targets: "URI CODENAME" of each list of packages the machine has.
debian_targets() {
    # shellcheck disable=SC2016 # apt fills it in
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(ORIGIN) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
        awk '$3 == "Debian" && $4 == "main" { sub(/\/$/, "", $1); print $1, $2 }'
}

host_suite() { sed -n 's/^VERSION_CODENAME=//p' /etc/os-release; }

# rig_apt COMMAND ARGUMENT...: one of apt's programs, on the rig's own world.
rig_apt() { APT_CONFIG=$CACHE/apt/apt.conf "$@"; }

# update_lists: once a run, and only if something has to be fetched.
LISTS_ARE_NEW=''
update_lists() {
    if [[ -n $LISTS_ARE_NEW ]]; then return 0; fi
    write_apt_configuration
    step 'Reading the lists of packages for the virtual machine' rig_apt apt-get update
    LISTS_ARE_NEW=yes
}

write_apt_configuration() {
    local apt=$CACHE/apt suite
    mkdir -p "$apt"/etc/{apt.conf.d,sources.list.d,preferences.d} "$apt"/lists/partial "$apt"/cache/archives/partial
    # How to reach a mirror: as the machine does. The rest of its settings stays out.
    apt-config dump | grep -E '^Acquire::(https?::|Retries |Check-|ForceIPv4 )' | grep -v '"";$' >"$apt/reach.conf" || true
    {
        cat "$apt/reach.conf"
        cat <<-END
			Dir::Etc "$apt/etc";
			Dir::State "$apt";
			Dir::State::status "/var/lib/dpkg/status";
			Dir::Cache "$apt/cache";
			Acquire::Languages "none";
			APT::Install-Recommends "false";
			APT::Sandbox::User "root";
		END
    } >"$apt/apt.conf"
    for suite in $(suites); do
        printf 'deb [signed-by=%s] %s %s main\n' "$KEYRING" "$(mirror_of "$suite")" "$suite"
    done >"$apt/etc/sources.list"
    # Programs come from the machine's own release, so that its libraries fit.
    for suite in $(suites); do
        if [[ $suite == "$(host_suite)"* ]]; then continue; fi
        printf 'Package: *\nPin: release n=%s\nPin-Priority: 1\n\n' "$suite"
    done >"$apt/etc/preferences"
}

suites() {
    local host
    host=$(host_suite)
    printf '%s\n' "$host" "$host"-{updates,security,backports} "${KERNEL_SUITES[@]}" | awk '!seen[$0]++'
}

mirror_of() {
    case $1 in
        *-security) security_mirror ;;
        *) printf '%s' "$MIRROR" ;;
    esac
}

# prepare_qemu: QEMU, and what this machine lacks for it, unpacked.
prepare_qemu() {
    local tools=$CACHE/tools
    if [[ -e $tools/run ]]; then return 0; fi
    update_lists
    step 'Fetching QEMU' fetch_qemu "$tools.new"
    rm -rf -- "$tools"
    mv -- "$tools.new" "$tools"
}

fetch_qemu() {
    local into=$1 archives=$CACHE/apt/cache/archives package options=() version
    version=$(rig_apt apt-cache policy qemu-system-x86 | sed -n 's/^ *Candidate: \([0-9]*:\)\?//p')
    if dpkg --compare-versions "$version" lt "$LEAST_QEMU"; then
        options=(--target-release "$(host_suite)-backports")
    fi
    rm -f -- "$archives"/*.deb
    # Named ones also where the machine has them: they are unpacked beside it.
    rig_apt apt-get "${options[@]}" install --yes --download-only --reinstall \
        qemu-system-x86 qemu-system-common qemu-system-data qemu-utils seabios kmod busybox-static
    rm -rf -- "$into"
    mkdir -p "$into"
    for package in "$archives"/*.deb; do dpkg -x "$package" "$into"; done
    # The package's own links lead to the machine's /bin.
    for package in depmod modprobe; do
        ln -srf "$(find "$into" -path '*/bin/kmod' -type f)" "$into/usr/bin/$package"
    done
    install -m 0755 "$VM/lib/tools-run" "$into/run"
    "$into/run" qemu-system-x86_64 --version
    "$into/run" qemu-img --version
    rm -f -- "$archives"/*.deb
}

# with_tools PROGRAM ARGUMENT...
with_tools() { "$CACHE/tools/run" "$@"; }
