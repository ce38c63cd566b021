# shellcheck shell=bash
# What the machine must have and be, and how it gets what it lacks.

readonly LEAST_MEMORY_MIB=1900
readonly LEAST_DISK_MIB=3072   # for the image, and as much again for what is built
readonly LEAST_NODE='18.19'

# require_system: a person who may do this, on a system this is written for.
require_system() {
    begin 'Looking at the machine'
    if ((EUID != 0)); then fail "this needs root, for mounts and links: try again with sudo"; fi
    if [[ ! -r /etc/os-release ]] || ! command -v apt-get >/dev/null; then
        fail "this needs Debian 12, or a system that installs packages with apt-get as it does"
    fi
    local name
    # shellcheck source=/dev/null
    name=$(. /etc/os-release && printf '%s' "${PRETTY_NAME:-unknown}")
    require_memory
    require_disk "$ROOT"
    require_disk "$STATE"
    done_with "$name, kernel $(uname -r)"
}

require_memory() {
    local mib
    mib=$(awk '$1 == "MemTotal:" { print int($2 / 1024) }' /proc/meminfo)
    if ((mib < LEAST_MEMORY_MIB)); then
        fail "the machine has $mib MiB of memory; building and running Rolltop takes $LEAST_MEMORY_MIB"
    fi
}

# require_disk DIR: room where DIR is, or will be.
require_disk() {
    local dir=$1 mib
    while [[ ! -d $dir ]]; do dir=$(dirname "$dir"); done
    mib=$(($(stat --file-system --format '%a * %S' "$dir") / 1048576))
    if ((mib < LEAST_DISK_MIB)); then
        fail "only $mib MiB are free at $dir; $LEAST_DISK_MIB are needed there: make room, or name another place with --state"
    fi
}

# require_kernel: each thing is tried, in namespaces that end with the trial.
require_kernel() {
    begin 'Trying what is needed of the kernel'
    local type
    for type in overlay ext4 erofs; do
        has_filesystem "$type" ||
            fail "the kernel has no $type file system: load or install its module ('modprobe $type')"
    done
    if [[ ! -c /dev/loop-control ]]; then modprobe loop 2>>"$LOG" || true; fi
    [[ -c /dev/loop-control ]] ||
        fail "there are no loop devices (/dev/loop-control): load the module ('modprobe loop'); a container may need them passed in"
    try_kernel "the kernel makes no user namespaces: set the sysctl user.max_user_namespaces above 0" \
        unshare --user --map-root-user true
    try_kernel "the kernel makes no network bridges: load the module ('modprobe bridge')" \
        unshare --net ip link add rtcheck type bridge
    try_kernel "the kernel makes no veth links: load the module ('modprobe veth')" \
        unshare --net ip link add rtcheck type veth peer name rtpeer
    try_kernel "the kernel has no nf_tables with NAT: load the modules ('modprobe -a nf_tables nft_chain_nat nft_masq')" \
        unshare --net nft 'table ip rtcheck { chain out { type nat hook postrouting priority 100; masquerade; }; }'
    try_kernel "mounts cannot be made here: this needs a machine, virtual or not, rather than a container without privileges" \
        unshare --mount mount -t tmpfs none /mnt
    done_with
}

has_filesystem() {
    grep -qw "$1" /proc/filesystems && return 0
    modprobe "$1" 2>>"$LOG" || return 1
    grep -qw "$1" /proc/filesystems
}

# try_kernel SENTENCE COMMAND...
try_kernel() {
    local sentence=$1
    shift
    "$@" >>"$LOG" 2>&1 || fail "$sentence"
}

# require_packages: installs, by apt, the packages whose programs are missing.
require_packages() {
    local missing=()
    need mmdebstrap mmdebstrap
    need mkfs.erofs erofs-utils
    need mkfs.ext4 e2fsprogs
    need nft nftables
    need ip iproute2
    need losetup mount
    need setpriv util-linux
    need jq jq
    need cc gcc
    # For the client of etcd, which compiles etcd's own interface.
    need protoc protobuf-compiler
    [[ -e /usr/include/google/protobuf/descriptor.proto ]] || missing+=(libprotobuf-dev)
    [[ -e /usr/include/stdio.h ]] || missing+=(libc6-dev)
    [[ -e /etc/ssl/certs/ca-certificates.crt ]] || missing+=(ca-certificates)
    is_recent "$(node --version 2>/dev/null)" "$LEAST_NODE" || missing+=(nodejs)
    need npm npm
    if [[ -n ${WITH_BROWSER:-} ]]; then need chromium chromium; fi
    install_packages "${missing[@]}"
    is_recent "$(node --version)" "$LEAST_NODE" ||
        fail "this system's newest Node.js is $(node --version); the portal needs $LEAST_NODE: install a newer one"
}

# need PROGRAM PACKAGE: notes the package if the program is not there.
need() {
    command -v "$1" >/dev/null || missing+=("$2")
}

# install_packages NAME...
install_packages() {
    if (($# == 0)); then return 0; fi
    export DEBIAN_FRONTEND=noninteractive
    step 'Reading the lists of packages' apt-get update
    step "Installing $*" apt-get install --yes --no-install-recommends "$@"
}

# is_recent HAVE WANTED: compares versions; nothing is not recent.
is_recent() {
    local have=${1#v}
    [[ -n $have && $(printf '%s\n%s\n' "$2" "$have" | sort --version-sort | head -n 1) == "$2" ]]
}
