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
cat >/etc/systemd/system/rolltop-agent.service <<END
[Unit]
Description=Rolltop host agent
[Service]
Type=notify
ExecStart=/payload/bin/rolltop-agent
Restart=always
RestartSec=0
# Desktops outlive their agent; they are in control groups of their own.
KillMode=process
TimeoutStartSec=300
END
systemctl daemon-reload
systemctl start rolltop-agent
