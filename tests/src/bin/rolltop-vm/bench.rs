//! Storage measured over NFS, which the machine itself may not have.

use std::{io, process::ExitCode, time::Duration};

use rolltop_tests::vm::{DataDisk, Rig, Scratch, Spec};

use crate::{arguments::Bench, stage};

/// A guest is many times slower than a machine.
const LIMIT: Duration = Duration::from_secs(3600);
/// The guest is its own server: what is cold is so on both sides.
const EXPORT: &str = "set -e
    mkdir -p /data/exported /mnt/exported /data/work
    printf '[nfsd]\\nvers3=n\\n' >/etc/nfs.conf.d/rig.conf
    echo '/data/exported 127.0.0.1(ro,no_root_squash,no_subtree_check,fsid=9)' >/etc/exports
    systemctl start nfs-server
    mount -t nfs4 -o ro,vers=4.2,nconnect=4,actimeo=86400 127.0.0.1:/data/exported /mnt/exported";
const RESULT: &str = "/data/result.json";

/// Runs `rolltop-bench-storage` in a guest.
pub(crate) fn run(rig: &Rig, bench: &Bench) -> anyhow::Result<ExitCode> {
    let work = Scratch::create(&bench.work, "rolltop-vm-")?;
    let payload = stage::payload(work.path(), &bench.programs, &bench.images, &[])?;
    let disk = DataDisk::create(&work.path().join("disk"))?;
    let mut guest = rig.start(Spec::named("bench").payload(&payload).data(&disk))?;
    guest.sh(EXPORT, stage::SHORT)?;
    let words: Vec<_> =
        bench.words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
    let command = format!(
        "/payload/bin/rolltop-bench-storage --work /data/work --images /payload/images \
         --nfs /data/exported /mnt/exported --json {RESULT} {}",
        words.join(" ")
    );
    let output = guest.run_to(&command, LIMIT, &mut io::stdout())?;
    if let Some(json) = &bench.json {
        std::fs::write(json, guest.sh(&format!("cat {RESULT}"), stage::SHORT)?)?;
    }
    Ok(u8::try_from(output.status).map_or(ExitCode::FAILURE, ExitCode::from))
}
