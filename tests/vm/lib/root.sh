# shellcheck shell=bash
# The guest's root: Debian as the machine's own release, so that programs built
# here run there.

readonly GUEST_PACKAGES=(
    systemd-sysv dbus udev kmod procps mount util-linux iproute2 iputils-ping e2fsprogs
    nfs-kernel-server nfs-common nftables erofs-utils runc crun busybox-static
    strace attr acl libcap2-bin uidmap jq xz-utils zstd apparmor
)
# They have nothing to do in this guest and cost most of the time it takes to start.
readonly GUEST_WITHOUT=(
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
    systemd-tmpfiles-clean.timer getty@tty1.service serial-getty@ttyS0.service systemd-logind.service
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-pstore.service systemd-random-seed.service
    systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-journal-flush.service
    systemd-hwdb-update.service systemd-journal-catalog-update.service ldconfig.service kmod-static-nodes.service
    modprobe@.service dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount
    sys-kernel-config.mount systemd-user-sessions.service remote-cryptsetup.target cryptsetup.target
    integritysetup.target veritysetup.target nfs-blkmap.service
    rpcbind.socket rpcbind.service rpc-statd-notify.service
)
# These are there for tests to start.
readonly GUEST_LATER=(nfs-server.service nfs-client.target)
readonly GUEST_DISK=4G   # sparse

# prepare_root: $CACHE/root.ext4, made anew when what it is made from changes.
prepare_root() {
    local made_from
    made_from=$({
        host_suite
        cat "$VM/lib/root.sh"
        find "$VM/guest/root" -type f -printf '%P %m\n' -exec cat {} \; | LC_ALL=C sort
    } | sha256sum)
    if [[ -e $CACHE/root.made-from && $(<"$CACHE/root.made-from") == "$made_from" ]]; then return 0; fi
    write_apt_configuration
    if [[ ! -s $CACHE/packages.tar || $(<"$CACHE/packages.list") != "${GUEST_PACKAGES[*]}" ]]; then
        step "Making the guest's system" make_system
        printf '%s\n' "${GUEST_PACKAGES[*]}" >"$CACHE/packages.list"
    fi
    rm -f -- "$CACHE/root.made-from"
    step "Making the guest's disk" make_root_disk
    printf '%s\n' "$made_from" >"$CACHE/root.made-from"
}

make_system() {
    local suite sources=()
    suite=$(host_suite)
    mapfile -t sources < <(grep -E " $suite(-updates|-security)? main\$" "$CACHE/apt/etc/sources.list")
    mmdebstrap --mode=root --variant=minbase --format=tar --aptopt="$CACHE/apt/reach.conf" \
        --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --include="$(IFS=, && printf '%s' "${GUEST_PACKAGES[*]}")" "$suite" "$CACHE/packages.tar.new" "${sources[@]}"
    mv -- "$CACHE/packages.tar.new" "$CACHE/packages.tar"
}

make_root_disk() {
    local tree=$CACHE/root.tree disk=$CACHE/root.ext4 unit
    rm -rf -- "$tree" "$disk"
    mkdir -p "$tree"
    tar --extract --file "$CACHE/packages.tar" --directory "$tree" --exclude './dev/*' --exclude './var/cache/apt/*' --exclude './var/lib/apt/lists/*'
    cp -a "$VM/guest/root/." "$tree/"
    chown -R 0:0 "$tree/usr/local/sbin" "$tree/etc/systemd"
    for unit in "${GUEST_WITHOUT[@]}"; do ln -sf /dev/null "$tree/etc/systemd/system/$unit"; done
    for unit in "${GUEST_LATER[@]}"; do find "$tree/etc/systemd/system" -name "$unit" -path '*.wants/*' -delete; done
    mkdir -p "$tree/etc/systemd/system/multi-user.target.wants" "$tree/usr/lib/modules"
    ln -sf ../rig.service "$tree/etc/systemd/system/multi-user.target.wants/rig.service"
    echo guest >"$tree/etc/hostname"
    printf '127.0.0.1 localhost\n' >"$tree/etc/hosts"
    : >"$tree/etc/fstab"
    # Known, so that a first start is like any other; each guest gets its own later.
    printf '%032d\n' 1 >"$tree/etc/machine-id"
    truncate -s "$GUEST_DISK" "$disk"
    mkfs.ext4 -q -F -m 0 -O '^has_journal' -E lazy_itable_init=0 -d "$tree" "$disk"
    rm -rf -- "$tree"
}
