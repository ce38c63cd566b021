//! A root of one static program, and an OCI bundle around it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

pub const BUSYBOX: &str = "/bin/busybox";

/// The first of the host's ids that the container's are mapped to.
pub const BASE: u32 = 1_650_000_000;

const TOOLS: [&str; 27] = [
    "sh", "cat", "ls", "mkdir", "id", "hostname", "mount", "umount", "ps", "sleep", "kill",
    "readlink", "stat", "grep", "tty", "stty", "touch", "env", "pwd", "true", "ln", "mknod", "dd",
    "unshare", "chroot", "nproc", "wc",
];

/// A directory with `config.json` and `rootfs`.
#[derive(Debug)]
pub struct Bundle {
    directory: TempDir,
    pub config: Value,
    pub id: String,
}

impl Bundle {
    /// A container that runs `script` in a shell, with its own user namespace.
    pub fn new(script: &str) -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let id = format!("rolltop-test-{}-{serial}", std::process::id());
        let directory = tempfile::Builder::new().prefix("rolltop-launcher-").tempdir().unwrap();
        // The other runtimes enter it as the container's root.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = directory.path().join("rootfs");
        for part in ["bin", "proc", "sys", "dev", "etc", "tmp", "home"] {
            fs::create_dir_all(root.join(part)).unwrap();
        }
        // By another process: a copy made here would be open for writing in
        // whatever the other tests fork meanwhile, and nobody could run it.
        let copied = Command::new("cp").arg(BUSYBOX).arg(root.join("bin/busybox")).status();
        assert!(copied.unwrap().success());
        for tool in TOOLS {
            symlink("busybox", root.join("bin").join(tool)).unwrap();
        }
        give_to_container(&root);
        let config = config(&id, script);
        Self { directory, config, id }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn root(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// Writes the configuration; call it when it is complete.
    pub fn write(&self) {
        fs::write(self.path().join("config.json"), self.config.to_string()).unwrap();
    }

    /// Changes the configuration at a JSON pointer.
    pub fn set(&mut self, pointer: &str, value: Value) -> &mut Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        self.config.pointer_mut(parent).unwrap()[key] = value;
        self
    }

    pub fn add_mount(&mut self, mount: Value) -> &mut Self {
        self.config["mounts"].as_array_mut().unwrap().push(mount);
        self
    }

    /// Takes the user namespace away: the container's root is the host's.
    pub fn without_user_namespace(&mut self) -> &mut Self {
        let linux = self.config["linux"].as_object_mut().unwrap();
        linux.remove("uidMappings");
        linux.remove("gidMappings");
        let namespaces = linux["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "user");
        self
    }
}

/// Makes a tree the property of the container's root.
pub fn give_to_container(path: &Path) {
    std::os::unix::fs::lchown(path, Some(BASE), Some(BASE)).unwrap();
    if fs::symlink_metadata(path).unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_to_container(&entry.unwrap().path());
        }
    } else if !path.is_symlink() {
        chown(path, Some(BASE), Some(BASE)).unwrap();
    }
}

fn config(id: &str, script: &str) -> Value {
    let capabilities =
        json!(["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_DAC_OVERRIDE"]);
    json!({
        "ociVersion": "1.0.2",
        "hostname": "desk",
        "root": { "path": "rootfs" },
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/sh", "-c", script],
            "env": ["PATH=/bin", "HOME=/home"],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities
            },
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=64k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=1m"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
        ],
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "resources": {},
            "namespaces": [
                { "type": "user" }, { "type": "mount" }, { "type": "pid" }, { "type": "network" },
                { "type": "ipc" }, { "type": "uts" }, { "type": "cgroup" }
            ],
            "uidMappings": [{ "containerID": 0, "hostID": BASE, "size": 65536 }],
            "gidMappings": [{ "containerID": 0, "hostID": BASE, "size": 65536 }],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/scsi", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq"],
        },
    })
}
