# A host whose images are in the store of the other machine ($IMAGES), and one
# of them, "local", in a store of its own.
set -e
ip address add "fd99::${ADDRESS:-2}/64" dev eth0 nodad || true
echo '10.99.0.1 filer' >>/etc/hosts
mkdir -p /data/agent /data/images /etc/rolltop /srv/extra/"$(uname -r)"
echo 'of the host' >/srv/extra/"$(uname -r)"/whose
ln -sf /payload/bin/rolltop* /usr/local/bin/
cat >/etc/rolltop/agent.toml <<END
name = "$(hostname)"
state_dir = "/data/agent"
images = ["/data/images", "$IMAGES"]
launcher = "/payload/bin/rolltop-launcher"
extra_dirs = ["/srv/extra/\${kernel}:/lib/modules/\${kernel}", "/nowhere:/opt/nowhere:optional"]
[homes]
parents = ["/srv/homes"]
[network]
first_id = 262144
[nfs]
deadline_ms = $DEADLINE_MS
give_up_s = 40
[deadlines]
display_ms = 100000
runtime_ms = 20000
END
rig-unit rolltop-agent TimeoutStopSec=60 WatchdogSec=600
systemctl daemon-reload
systemctl restart rolltop-agent
