set -e
mkdir -p /mnt/images /data/agent /etc/rolltop
mount -t nfs4 -o ro,vers=4.2,hard 10.99.0.1:/payload/images /mnt/images
ln -sf /payload/bin/rolltop* /usr/local/bin/
cat >/etc/rolltop/agent.toml <<END
name = "host1"
state_dir = "/data/agent"
images = "/mnt/images"
launcher = "/payload/bin/rolltop-launcher"
[deadlines]
display_ms = 200000
runtime_ms = 100000
END
rig-unit rolltop-agent TimeoutStartSec=300 WatchdogSec=600
systemctl daemon-reload
systemctl start rolltop-agent
