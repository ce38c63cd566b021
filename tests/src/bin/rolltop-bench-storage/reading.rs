//! The same tree read from every kind of base root, cold and warm.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context as _;
use rolltop_overlay::{BaseKey, BaseSource};
use rolltop_tests::bench::{Report, Unit};

use crate::{
    Place,
    bare::command,
    names::{NFS_COLD, NFS_EROFS_COLD},
};

/// Sizes of files in turn, KiB: the mean is what a Debian root has, 25 KiB, and
/// most files are small there too.
const SIZES_KIB: [u64; 8] = [1, 2, 4, 4, 8, 16, 33, 132];
/// Files in a directory.
const PER_DIRECTORY: u64 = 64;

/// A base root with the tree.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) at: PathBuf,
    cold: &'static str,
    warm: &'static str,
    /// NFS operations of a cold reading, if it is over NFS.
    operations: Option<&'static str>,
}

/// Makes the tree, and mounts it in every way there is here.
pub(crate) fn roots(place: &Place<'_>) -> anyhow::Result<Vec<Root>> {
    let exported = place.arguments.nfs();
    let home = exported.map_or(place.dir, |(exported, _)| exported);
    let (tree, image) = (home.join("tree"), home.join("tree.erofs"));
    write_tree(&tree, place.arguments.tree_mib)?;
    let options = ["--quiet", "-zlz4hc"].map(OsStr::new);
    command("mkfs.erofs", options.into_iter().chain([image.as_os_str(), tree.as_os_str()]))?;

    let mount =
        |key: &str, source| anyhow::Ok(place.bases.mount(&BaseKey::try_from(key)?, &source)?);
    let mut roots = vec![
        Root {
            at: mount("directory", BaseSource::Directory(tree.clone()))?,
            cold: "read cold: directory",
            warm: "read warm: directory",
            operations: None,
        },
        Root {
            at: mount("erofs", BaseSource::Erofs(image.clone()))?,
            cold: "read cold: EROFS",
            warm: "read warm: EROFS",
            operations: None,
        },
    ];
    if let Some((_, mounted)) = exported {
        roots.push(Root {
            at: mount("nfs", BaseSource::Directory(mounted.join("tree")))?,
            cold: NFS_COLD,
            warm: "read warm: NFS directory",
            operations: Some("NFS operations: NFS directory"),
        });
        roots.push(Root {
            at: mount("nfs-erofs", BaseSource::Erofs(mounted.join("tree.erofs")))?,
            cold: NFS_EROFS_COLD,
            warm: "read warm: EROFS on NFS",
            operations: Some("NFS operations: EROFS on NFS"),
        });
    }
    Ok(roots)
}

pub(crate) fn measure(
    place: &Place<'_>,
    roots: &[Root],
    report: &mut Report,
) -> anyhow::Result<()> {
    for _ in 0..place.arguments.long_rounds {
        for root in roots {
            drop_caches()?;
            let before = nfs_operations()?;
            let begun = Instant::now();
            read_all(&root.at)?;
            report.add_time(root.cold, begun.elapsed());
            if let Some(name) = root.operations {
                report.add(name, Unit::Count, [(nfs_operations()? - before) as f64]);
            }
            let begun = Instant::now();
            read_all(&root.at)?;
            report.add_time(root.warm, begun.elapsed());
        }
    }
    for root in &roots[1..] {
        report.compare(root.cold, roots[0].cold);
        report.compare(root.warm, roots[0].warm);
    }
    report.compare(NFS_EROFS_COLD, NFS_COLD);
    Ok(())
}

/// Files that compress about as well as programs do, the same in every run.
pub(crate) fn write_tree(tree: &Path, mib: u64) -> anyhow::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut left, mut number) = (mib << 20, 0);
    let mut block = Vec::new();
    while left > 0 {
        let dir = tree.join((number / PER_DIRECTORY).to_string());
        if number % PER_DIRECTORY == 0 {
            fs::create_dir_all(&dir)?;
        }
        let size = (SIZES_KIB[(number % SIZES_KIB.len() as u64) as usize] << 10).min(left);
        block.clear();
        while (block.len() as u64) < size {
            // Xorshift: half of the bytes noise, half zero.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.extend_from_slice(&state.to_le_bytes());
            block.extend_from_slice(&[0; 8]);
        }
        let path = dir.join(number.to_string());
        File::create(&path)
            .and_then(|mut file| file.write_all(&block[..size as usize]))
            .with_context(|| format!("cannot write {}", path.display()))?;
        left -= size;
        number += 1;
    }
    Ok(())
}

/// Reads every file below `dir`; how many bytes there were.
pub(crate) fn read_all(dir: &Path) -> io::Result<u64> {
    let (mut bytes, mut buffer) = (0, vec![0; 128 << 10]);
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
                continue;
            }
            let mut file = File::open(entry.path())?;
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    count => bytes += count as u64,
                }
            }
        }
    }
    Ok(bytes)
}

/// Forgets what was read, on the whole machine (`proc_sys_vm(5)`).
pub(crate) fn drop_caches() -> anyhow::Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").context("cannot drop the page cache")
}

/// Operations that all NFS mounts seen from here have asked for, in the lines
/// after `per-op statistics` of each (`nfsiostat(8)` reads the same): name,
/// operations, transmissions. None without NFS. What `/proc/net/rpc/nfs` counts
/// is of one network namespace, and the mounts are of another.
fn nfs_operations() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/self/mountstats")
        .context("cannot read the statistics of mounts")?;
    Ok(count_operations(&text))
}

fn count_operations(text: &str) -> u64 {
    let mut counted = BTreeMap::new();
    let (mut device, mut inside) = ("", false);
    for line in text.lines() {
        if line.starts_with("device ") {
            // One superblock may be mounted at several places.
            (device, inside) = (line.split(' ').nth(1).unwrap_or_default(), false);
        } else if line.trim() == "per-op statistics" {
            inside = true;
        } else if let Some((name, numbers)) = line.trim().split_once(": ").filter(|_| inside)
            && let Some(count) = numbers.split(' ').next().and_then(|n| n.parse::<u64>().ok())
        {
            counted.insert((device, name), count);
        }
    }
    counted.values().sum()
}

#[cfg(test)]
mod tests {
    use super::count_operations;

    #[test]
    fn every_mounted_export_counts_once() {
        let nfs = |at: &str, reads: u32| {
            format!(
                "device server:/x mounted on {at} with fstype nfs4 statvers=1.1\n\tage:\t9\n\
                 \tper-op statistics\n\t        NULL: 1 1 0 44 24 0 0 0 0\n\
                 \t        READ: {reads} {reads} 0 1 1 1 1 1 0\n\n"
            )
        };
        let other = "device tmpfs mounted on /run with fstype tmpfs\n";
        assert_eq!(count_operations(other), 0);
        let text = format!("{}{other}{}", nfs("/a", 41), nfs("/b", 41));
        assert_eq!(count_operations(&text), 42);
    }
}
