# shellcheck shell=bash
# A kernel for the guest: its image, a first file system that finds the disks,
# and its modules as a disk of their own, so that any kernel fits the one root.

# In the first file system; all others are loaded from the disk by the guest.
readonly FIRST_MODULES=(virtio_pci virtio_blk ext4 erofs)

# prepare_kernel SERIES: sets up $CACHE/kernels/SERIES.
prepare_kernel() {
    local dir=$CACHE/kernels/$1 made_from
    made_from=$(sha256sum "$VM/lib/kernel.sh" "$VM/guest/initrd/init" | sha256sum)
    if [[ -e $dir/made-from && $(<"$dir/made-from") == "$made_from" ]]; then return 0; fi
    update_lists
    rm -rf -- "$dir.new"
    mkdir -p "$dir.new"
    step "Fetching kernel $1" fetch_kernel "$1" "$dir.new"
    printf '%s\n' "$made_from" >"$dir.new/made-from"
    rm -rf -- "$dir"
    mv -- "$dir.new" "$dir"
}

fetch_kernel() {
    local series=$1 dir=$2 package names version
    # From 6.19 on, image and modules are packages of their own, and
    # linux-image has nothing in it but the wish for both.
    package=$(newest_package "linux-binary-$series")
    names=("$package" "${package/-binary-/-modules-}")
    if [[ -z $package ]]; then
        package=$(newest_package "linux-image-$series")
        names=("$package")
    fi
    if [[ -z $package ]]; then
        echo "no kernel of the series $series in: $(suites | xargs)"
        return 1
    fi
    (cd "$dir" && rig_apt apt-get download "${names[@]}")
    for package in "$dir"/*.deb; do dpkg -x "$package" "$dir/tree"; done
    # Where /lib is /usr/lib, a package may have either.
    mkdir -p "$dir/tree/usr/lib"
    if [[ -d $dir/tree/lib ]]; then cp -al "$dir/tree/lib/." "$dir/tree/usr/lib/"; fi
    version=$(ls "$dir/tree/usr/lib/modules")
    find "$dir/tree" -name 'vmlinuz*' -type f -exec mv {} "$dir/vmlinuz" \; -quit
    mkdir -p "$dir/base/lib"
    mv "$dir/tree/usr/lib/modules" "$dir/base/lib/modules"
    with_tools depmod --basedir "$dir/base" "$version"
    make_initrd "$dir" "$version"
    mkfs.erofs --quiet "$dir/modules.erofs" "$dir/base/lib/modules"
    printf '%s\n' "$version" >"$dir/version"
    rm -rf -- "$dir"/*.deb "$dir/tree" "$dir/base"
}

# newest_package BEGINNING: of that name and series; nothing if there is none.
newest_package() {
    rig_apt apt-cache search --names-only "^${1//./\\.}\\.[0-9][0-9.+a-z-]*-cloud-amd64\$" |
        cut -d' ' -f1 | sort --version-sort | tail -n 1
}

# make_initrd DIR VERSION
make_initrd() {
    local tree=$1/initrd.tree file name number=0
    mkdir -p "$tree"/{bin,dev,proc,sys,root,modules}
    cp "$CACHE/tools/bin/busybox" "$tree/bin/" 2>/dev/null || cp "$CACHE/tools/usr/bin/busybox" "$tree/bin/"
    install -m 0755 "$VM/guest/initrd/init" "$tree/init"
    for name in "${FIRST_MODULES[@]}"; do
        # No such module: it is part of the kernel, as virtio is from 7.3 on.
        with_tools modprobe --dirname "$1/base" --set-version "$2" --show-depends "$name" || true
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
        number=$((number + 1))
        name=$tree/modules/$(printf '%02d' "$number")-$(basename "${file%.xz}")
        case $file in
            *.xz) xz --decompress --stdout "$file" >"$name" ;;
            *) cp "$file" "$name" ;;
        esac
    done
    (cd "$tree" && find . | "$tree/bin/busybox" cpio -o -H newc >"$1/initrd")
    rm -rf -- "$tree"
}
