//! The prepared parts, and the saved guest.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    disk::{DATA_BYTES, PAYLOAD_BYTES, blank, run},
    guest::Guest,
    qemu::Call,
    spec::Spec,
};

const BOOT_LIMIT: Duration = Duration::from_secs(300);
const SAVE_LIMIT: Duration = Duration::from_secs(120);
const RESTORE_LIMIT: Duration = Duration::from_secs(120);
/// A guest that has not booted well is not saved. Kernel modules all tests need
/// are loaded; and what must not be in its memory then is anything of disks that
/// will be others.
const BEFORE_IT_IS_SAVED: &str = "
    if ! systemctl is-system-running --wait >/dev/null; then
        systemctl list-units --failed --no-pager
        journalctl --boot --no-pager --no-hostname --priority warning
        exit 1
    fi
    modprobe -a overlay loop erofs nfsd nfsv4 veth bridge nf_tables nft_chain_nat nft_masq tun || exit
    for disk in /dev/vd?; do blockdev --flushbufs $disk; done
    sync
    echo 3 >/proc/sys/vm/drop_caches";

/// What `tests/vm/prepare` has made.
#[derive(Debug)]
pub struct Rig {
    cache: PathBuf,
    series: String,
}

/// A guest as it was when it had booted.
#[derive(Debug)]
struct Saved {
    root: PathBuf,
    memory: PathBuf,
    // Shared: nobody makes it anew meanwhile.
    lock: Flock<File>,
}

impl Rig {
    /// The parts in `cache`, with the kernel of that series, such as `6.12`.
    ///
    /// # Errors
    /// They are not there.
    pub fn open(cache: &Path, series: &str) -> anyhow::Result<Self> {
        let cache = cache.canonicalize().with_context(|| missing(cache, series))?;
        let rig = Self { cache, series: series.into() };
        for part in [rig.tools().join("run"), rig.kernel().join("initrd"), rig.disk()] {
            ensure!(part.exists(), missing(&rig.cache, series));
        }
        Ok(rig)
    }

    /// Starts a guest: restores the saved one, which is made first if there is
    /// none yet. It has its own host name, machine id and random numbers, and
    /// the right time.
    ///
    /// # Errors
    /// QEMU fails, or the guest does not come up; with the end of its console.
    pub fn start(&self, spec: Spec<'_>) -> anyhow::Result<Guest> {
        let saved = self.saved()?;
        let lan = spec.link.map(|(lan, number)| lan.port(number)).transpose()?;
        let mut guest = Guest::start(&spec.name, &self.tools(), |dir, sockets| {
            let blank_payload = dir.join("payload");
            blank(&blank_payload, PAYLOAD_BYTES)?;
            let blank_data = dir.join("data");
            blank(&blank_data, DATA_BYTES)?;
            let call = Call {
                tools: &self.tools(),
                kernel: &self.kernel(),
                root: &saved.root,
                keep_root: false,
                payload: spec.payload.map_or(&*blank_payload, |payload| payload.file()),
                data: spec.data.map_or(&*blank_data, |disk| disk.file()),
                keep_data: spec.data.is_some(),
                lan: lan.as_deref(),
                memory: Some(&saved.memory),
                sockets,
            };
            Ok(call.arguments())
        })?;
        guest.saved = Some(saved.lock);
        guest.control.resume(std::time::Instant::now() + RESTORE_LIMIT)?;
        guest.sh(&awake(&spec)?, RESTORE_LIMIT).context("a restored guest cannot be woken")?;
        Ok(guest)
    }

    /// Which kernel it is: `uname -r`.
    ///
    /// # Errors
    /// The cache is damaged.
    pub fn kernel_version(&self) -> anyhow::Result<String> {
        let version = fs::read_to_string(self.kernel().join("version"))?;
        Ok(version.trim_end().to_owned())
    }

    fn tools(&self) -> PathBuf {
        self.cache.join("tools")
    }

    fn kernel(&self) -> PathBuf {
        self.cache.join("kernels").join(&self.series)
    }

    fn disk(&self) -> PathBuf {
        self.cache.join("root.ext4")
    }

    /// The saved guest of this kernel; boots and saves one if there is none, or
    /// if it was made of other parts.
    fn saved(&self) -> anyhow::Result<Saved> {
        let dir = self.cache.join("saved").join(&self.series);
        fs::create_dir_all(&dir)?;
        let file = File::create(dir.join("lock"))?;
        let lock = Flock::lock(file, FlockArg::LockShared).map_err(|(_, errno)| errno)?;
        let key = self.key()?;
        let made = || fs::read_to_string(dir.join("key")).is_ok_and(|text| text == key);
        if !made() {
            lock.relock(FlockArg::LockExclusive)?;
            // Another may have made it while this one waited.
            if !made() {
                self.save(&dir).context("no guest could be booted and saved")?;
                fs::write(dir.join("key"), &key)?;
            }
            lock.relock(FlockArg::LockShared)?;
        }
        Ok(Saved { root: dir.join("root.qcow2"), memory: dir.join("memory"), lock })
    }

    /// What a saved guest was made of.
    fn key(&self) -> anyhow::Result<String> {
        let mut hash = Sha256::new();
        hash.update(Call::shape());
        hash.update(BEFORE_IT_IS_SAVED);
        for part in [
            "root.made-from".into(),
            self.kernel().join("made-from"),
            self.kernel().join("version"),
        ] {
            let part: PathBuf = self.cache.join(part);
            hash.update(
                fs::read(&part).with_context(|| format!("cannot read {}", part.display()))?,
            );
        }
        Ok(base64::engine::general_purpose::STANDARD.encode(hash.finalize()))
    }

    fn save(&self, dir: &Path) -> anyhow::Result<()> {
        remove(&dir.join("key"))?;
        let (root, memory) = (dir.join("root.qcow2"), dir.join("memory"));
        run(Command::new(self.tools().join("run"))
            .args(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .arg(self.disk())
            .arg(&root))?;
        let mut guest = Guest::start("guest", &self.tools(), |dir, sockets| {
            let (payload, data) = (dir.join("payload"), dir.join("data"));
            blank(&payload, PAYLOAD_BYTES)?;
            blank(&data, DATA_BYTES)?;
            let call = Call {
                tools: &self.tools(),
                kernel: &self.kernel(),
                root: &root,
                keep_root: true,
                payload: &payload,
                data: &data,
                keep_data: false,
                lan: None,
                memory: None,
                sockets,
            };
            Ok(call.arguments())
        })?;
        guest.wait_ready(BOOT_LIMIT)?;
        guest.sh(BEFORE_IT_IS_SAVED, BOOT_LIMIT)?;
        guest.control.save(&memory, std::time::Instant::now() + SAVE_LIMIT)
    }
}

/// The command that makes a restored guest one of its own; see
/// `tests/vm/guest/root/usr/local/sbin/rig-awake`.
fn awake(spec: &Spec<'_>) -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let seed = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let number = spec.link.map_or(0, |(_, number)| number);
    let mounts = [("payload", spec.payload.is_some()), ("data", spec.data.is_some())];
    let mounts: Vec<&str> = mounts.iter().filter(|mount| mount.1).map(|mount| mount.0).collect();
    let name = &spec.name;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    ensure!(!name.is_empty() && name.bytes().all(fits), "'{name}' is no host name");
    Ok(format!("rig-awake {seed} {now:.3} {name} {number} {}", mounts.join(" ")))
}

fn missing(cache: &Path, series: &str) -> String {
    format!(
        "no virtual machine with kernel {series} in {}: run tests/vm/prepare --kernel {series}",
        cache.display()
    )
}

fn remove(file: &Path) -> anyhow::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
