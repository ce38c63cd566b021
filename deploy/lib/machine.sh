# shellcheck shell=bash
# The state of the machine as a list of lines, so that two of them can be
# compared as sets. Nothing is counted: a leak that another one hides is seen.

# machine_state: what there is now, one thing a line, sorted.
machine_state() {
    {
        machine_mounts
        losetup --list --noheadings --output NAME,BACK-FILE | sed 's/^/loop device: /'
        ip -o link show | awk -F': ' '{ sub(/@.*/, "", $2); print "link: " $2 }'
        machine_cgroups
        if command -v nft >/dev/null; then nft list tables | sed 's/^/nftables: /'; fi
        printf 'ip_forward: %s\n' "$(</proc/sys/net/ipv4/ip_forward)"
        machine_processes
        find /run -maxdepth 1 -name 'rolltop*' -printf 'run directory: %p\n'
    } | LC_ALL=C sort
}

# Root, mount point, type and source of each mount; its options, which the
# kernel may reword, and its number do not matter.
machine_mounts() {
    awk '{ for (i = 7; $i != "-"; i++); print "mount: " $4 " on " $5 " type " $(i + 1) " from " $(i + 2) }' \
        /proc/self/mountinfo
}

# Control groups: where an agent makes its own, which is at the top, and below
# anything of ours. What the rest of the system does below its own is its affair.
machine_cgroups() {
    find /sys/fs/cgroup -mindepth 1 -type d \( -path '*rolltop*' -o ! -path '/sys/fs/cgroup/*/*/*' \) \
        -printf 'control group: %P\n' 2>/dev/null |
        grep -Ev '\.(service|scope|slice|mount|socket|swap)(/|$)' || true
}

# Processes of ours, however they may have got away: by their program, by their
# control group, or because they hold a mount namespace with our mounts.
machine_processes() {
    local pid
    (
        # To find nothing, or to lose a process that ends meanwhile, is no fault.
        set +e
        find /proc/[0-9]*/exe -maxdepth 0 -lname '*/rolltop*'
        grep -ls rolltop /proc/[0-9]*/cgroup
        foreign_mount_tables | xargs -r grep -ls '/rolltop'
        true
    ) 2>/dev/null | cut -d/ -f3 | sort -u | while read -r pid; do
        if [[ ! -d /proc/$pid ]]; then continue; fi
        printf 'process: %s %s\n' "$pid" "$({ tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null || true)"
    done
}

# foreign_mount_tables: of the processes outside of our own mount namespace.
foreign_mount_tables() {
    find /proc/[0-9]*/ns/mnt -maxdepth 0 ! -lname "$(readlink "/proc/$BASHPID/ns/mnt" | sed 's/[][]/\\&/g')" \
        -printf '%p\n' | sed 's:ns/mnt$:mountinfo:'
}

# machine_changes FILE [PATTERN]: how the machine differs from the state in
# FILE; '+' is new, '-' is missing. Lines that match PATTERN may be new. What
# another system's processes were, and their groups, may have ended.
machine_changes() {
    LC_ALL=C comm -3 "$1" <(machine_state) |
        sed -E 's/^\t/+ /; t; s/^/- /' |
        grep -Ev -- "^\+ (${2:-\$^})|^- (process|control group): " || true
}

# machine_restored FILE SECONDS [PATTERN]: waits until nothing differs any more
# (the kernel ends namespaces in its own time) and says what does if it stays.
machine_restored() {
    local deadline=$(($(now_ms) + $2 * 1000)) changes
    while changes=$(machine_changes "$1" "${3:-}") && [[ -n $changes ]]; do
        if (($(now_ms) > deadline)); then
            printf '%s\n' "$changes"
            return 1
        fi
        sleep 0.05
    done
}
