# A machine that exports an image store with one small root in three forms:
# "file", an EROFS file; "tree", a directory; "shifted", a directory whose files
# belong to the ids from 131072 on.
set -e
ip address add fd99::1/64 dev eth0 nodad
store=/data/images
if [[ ! -d $store ]]; then
    # The agent brings the program that can answer as a display does.
    mkdir -p /tmp/agent /tmp/root
    printf '%s\n' 'state_dir = "/tmp/agent/state"' 'run_dir = "/tmp/agent/run"' \
        'images = "/tmp/agent/images"' 'socket = "/tmp/agent/socket"' \
        'launcher = "/payload/bin/rolltop-launcher"' >/tmp/agent.toml
    /payload/bin/rolltop-agent --config /tmp/agent.toml 2>/tmp/agent.log &
    agent=$!
    until [[ -x /tmp/agent/run/init ]]; do kill -0 $agent; sleep 0.1; done
    root=/tmp/root
    mkdir -p $root/{bin,dev,etc,home,lib/modules,private,proc,root,run,srv,sys,tmp}
    cp /tmp/agent/run/init $root/bin/answer
    kill $agent
    wait $agent || true
    # A program it has just started may hold its socket a moment longer.
    for ((n = 0; n < 50; n++)); do
        if /payload/bin/rolltop-agent --config /tmp/agent.toml purge; then break; fi
        sleep 0.2
    done
    cp "$(command -v busybox)" $root/bin/busybox
    for name in sh cat id ls sleep stat touch md5sum head ping kill true; do ln -s busybox $root/bin/$name; done
    echo 'root:x:0:0::/root:/bin/sh' >$root/etc/passwd
    echo 'root:x:0:' >$root/etc/group
    echo secret >$root/root/secret
    chmod 700 $root/root
    head -c 4000000 /dev/urandom | split --bytes 200000 - $root/srv/

    publish() { # name, kind, size: the manifest of the only version
        local dir=$store/$1/versions/1
        mkdir -p "$store/$1/tags"
        ln -s ../versions/1 "$store/$1/tags/stable"
        cat >"$dir/manifest.toml" <<END
format = 1
name = "$1"
description = "small"
published_at = 1
[root]
kind = "$2"
digest = "sha256:$(printf '0%.0s' {1..64})"
size_bytes = $3
[init]
kind = "builtin"
[session]
command = ["/bin/sh", "-c", "/bin/answer answer; exec sleep 100000"]
[display]
protocol = "vnc"
socket = "vnc.sock"
END
    }
    mkdir -p $store/{file,tree,shifted}/versions/1
    mkfs.erofs --quiet -zlz4 $store/file/versions/1/root.erofs $root
    publish file erofs "$(stat --format %s $store/file/versions/1/root.erofs)"
    cp -a $root $store/tree/versions/1/root
    publish tree directory 0
    cp -a $root $store/shifted/versions/1/root
    chown -hR 131072:131072 $store/shifted/versions/1/root
    publish shifted directory 0
    sync
fi
mkdir -p /etc/nfs.conf.d
cat >/etc/nfs.conf.d/rig.conf <<END
[nfsd]
vers3=n
threads=4
grace-time=10
lease-time=10
END
echo "$store 10.99.0.0/24(ro,no_root_squash,no_subtree_check,fsid=7) fd99::/64(ro,no_root_squash,no_subtree_check,fsid=7)" >/etc/exports
systemctl start nfs-server
