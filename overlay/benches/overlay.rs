//! Time to make an overlay and to open and close a root, beside what the
//! commands and the bare system calls take: `cargo bench -p rolltop-overlay`,
//! `-- --json FILE` for a program. Needs root.

use std::error::Error;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rolltop_overlay::*;
use rolltop_sys::loop_device::{LoopDevice, LoopOptions};

type Outcome<T> = Result<T, Box<dyn Error>>;

const SIZE_MIB: i64 = 5120;
const ROUNDS: u32 = 60;
const MAP: IdMap = IdMap { first: 100_000, count: 65_536 };

/// One row: what, its median and extremes, and what it is measured against.
struct Row {
    name: &'static str,
    micros: Vec<u64>,
    against: Option<&'static str>,
}

fn main() -> Outcome<()> {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return Ok(());
    }
    let mut arguments = std::env::args().skip_while(|argument| argument != "--json").skip(1);
    let json = arguments.next();
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let dir = tempfile::tempdir()?;
    let rows = measure(dir.path())?;
    print(&rows);
    if let Some(path) = json {
        fs::write(path, to_json(&rows)?)?;
    }
    Ok(())
}

fn measure(dir: &Path) -> Outcome<Vec<Row>> {
    let image = dir.join("image");
    fs::create_dir_all(image.join("etc"))?;
    // As /run is: making a directory on a disk takes as long as a mount.
    let run = dir.join("run");
    fs::create_dir_all(&run)?;
    mount(Some("run"), &run, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    isolate(&run)?;
    let bases = BaseRoots::open(&dir.join("run/bases"))?;
    let base = bases.mount(&BaseKey::try_from("image")?, &BaseSource::Directory(image))?;
    let overlays = Overlays::open(&dir.join("overlays"))?;

    let mut rows = creation(dir, &overlays)?;
    rows.extend(opening(dir, &overlays, &base)?);

    let errors = bases.unmount_all();
    deisolate(&run)?;
    if let Some(error) = errors.into_iter().next() {
        return Err(error.into());
    }
    Ok(rows)
}

fn creation(dir: &Path, overlays: &Overlays) -> Outcome<Vec<Row>> {
    let size = OverlaySize::from_mib(SIZE_MIB)?;
    // The templates.
    for kind in [OverlayKind::Volatile(0), persistent(0)?] {
        overlays.create(&kind, size)?;
        overlays.delete(&kind)?;
    }
    let made = dir.join("mkfs.ext4");
    let mkfs = |sync: bool| {
        let file = File::create(&made)?;
        file.set_len(size.bytes())?;
        run("mkfs.ext4", &["-q", "-F"], &[&made])?;
        if sync {
            file.sync_all()?;
        }
        Ok(())
    };
    let rows = rounds(vec![
        Case::new("mkfs.ext4", None, |_| mkfs(false)),
        Case::new("mkfs.ext4 + fsync", None, |_| mkfs(true)),
        Case::new("create volatile", Some("mkfs.ext4"), |n| {
            overlays.create(&OverlayKind::Volatile(n), size)?;
            Ok(())
        }),
        Case::new("create persistent", Some("mkfs.ext4 + fsync"), |n| {
            overlays.create(&persistent(n)?, size)?;
            Ok(())
        }),
        Case::new("delete volatile", None, |n| {
            overlays.delete(&OverlayKind::Volatile(n))?;
            Ok(())
        }),
    ])?;
    fs::remove_file(&made)?;
    Ok(rows)
}

fn opening(dir: &Path, overlays: &Overlays, base: &Path) -> Outcome<Vec<Row>> {
    const BARE: &str = "open+close: bare calls";
    let size = OverlaySize::from_mib(SIZE_MIB)?;
    // One each: what one case leaves to be written must not slow down the next.
    let name = |text| OverlayName::try_from(text).map(OverlayKind::Persistent);
    let kept = overlays.create(&name("plain")?, size)?;
    let mapped = overlays.create(&name("mapped")?, size)?;
    let volatile = overlays.create(&OverlayKind::Volatile(ROUNDS), size)?;
    let by_calls = overlays.create(&name("calls")?, size)?;
    let by_commands = overlays.create(&name("commands")?, size)?;
    let mount_dir = dir.join("run/desktop");
    let cycle = |overlay: &OverlayFile, id_map| {
        open_root(&OpenPlan { lower: base, overlay, mount_dir: &mount_dir, id_map })?;
        let report = close_root(&mount_dir);
        if report.is_clean() { Ok(()) } else { Err(format!("{report:?}").into()) }
    };
    // The references find the directories of the layers made.
    for overlay in [&by_calls, &by_commands] {
        cycle(overlay, None)?;
    }
    let place = Place::new(dir, base)?;
    rounds(vec![
        Case::new("open+close: commands", None, |_| place.by_commands(by_commands.path())),
        Case::new(BARE, None, |_| place.by_calls(by_calls.path())),
        Case::new("open+close", Some(BARE), |_| cycle(&kept, None)),
        Case::new("open+close, id map", Some(BARE), |_| cycle(&mapped, Some(MAP))),
        Case::new("open+close, id map, volatile", Some(BARE), |_| cycle(&volatile, Some(MAP))),
    ])
}

/// Where the references mount: the same two mounts, without any care.
struct Place {
    disk: PathBuf,
    root: PathBuf,
    options: String,
}

impl Place {
    fn new(dir: &Path, base: &Path) -> Outcome<Self> {
        let (disk, root) = (dir.join("bare/disk"), dir.join("bare/root"));
        fs::create_dir_all(&disk)?;
        fs::create_dir_all(&root)?;
        let at = disk.display();
        let options = format!("lowerdir={},upperdir={at}/upper,workdir={at}/work", base.display());
        Ok(Self { disk, root, options })
    }

    fn by_calls(&self, overlay: &Path) -> Outcome<()> {
        let file = File::options().read(true).write(true).open(overlay)?;
        let options =
            LoopOptions { direct_io: true, block_size: Some(4096), ..LoopOptions::default() };
        let device = LoopDevice::attach(file.as_fd(), options)?;
        let flags = MsFlags::MS_NOATIME;
        mount(Some(&device.path()), &self.disk, Some("ext4"), flags, Some("discard"))?;
        drop((device, file));
        let options = Some(self.options.as_str());
        mount(Some("overlay"), &self.root, Some("overlay"), MsFlags::empty(), options)?;
        umount2(&self.root, MntFlags::empty())?;
        umount2(&self.disk, MntFlags::empty())?;
        Ok(())
    }

    fn by_commands(&self, overlay: &Path) -> Outcome<()> {
        run("mount", &["-o", "loop,noatime,discard"], &[overlay, &self.disk])?;
        run("mount", &["-t", "overlay", "-o", &self.options, "overlay"], &[&self.root])?;
        run("umount", &[], &[&self.root])?;
        run("umount", &[], &[&self.disk])
    }
}

fn persistent(n: u32) -> Outcome<OverlayKind> {
    Ok(OverlayKind::Persistent(OverlayName::try_from(format!("desk-{n}").as_str())?))
}

fn run(program: &str, options: &[&str], paths: &[&Path]) -> Outcome<()> {
    let output = Command::new(program).args(options).args(paths).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Something to measure.
struct Case<'a> {
    name: &'static str,
    against: Option<&'static str>,
    once: Box<dyn FnMut(u32) -> Outcome<()> + 'a>,
}

impl<'a> Case<'a> {
    fn new(
        name: &'static str,
        against: Option<&'static str>,
        once: impl FnMut(u32) -> Outcome<()> + 'a,
    ) -> Self {
        Self { name, against, once: Box::new(once) }
    }
}

/// Measures the cases in turn, so that whatever else the machine does meets all.
fn rounds(mut cases: Vec<Case<'_>>) -> Outcome<Vec<Row>> {
    let mut micros = vec![Vec::new(); cases.len()];
    for n in 0..ROUNDS {
        for (case, micros) in cases.iter_mut().zip(&mut micros) {
            let start = Instant::now();
            (case.once)(n)?;
            // The first round warms up.
            if n > 0 {
                micros.push(u64::try_from(start.elapsed().as_micros())?);
            }
        }
    }
    let rows = cases.iter().zip(micros).map(|(case, mut micros)| {
        micros.sort_unstable();
        Row { name: case.name, micros, against: case.against }
    });
    Ok(rows.collect())
}

fn median(row: &Row) -> u64 {
    row.micros[row.micros.len() / 2]
}

fn ratio(row: &Row, rows: &[Row]) -> Option<f64> {
    let reference = rows.iter().find(|other| Some(other.name) == row.against)?;
    Some(median(row) as f64 / median(reference) as f64)
}

fn print(rows: &[Row]) {
    println!("{:<30} {:>9} {:>9} {:>9}  against", "", "median", "min", "max");
    for row in rows {
        let ms = |micros: u64| format!("{:.2} ms", micros as f64 / 1000.0);
        let (first, last) = (row.micros[0], row.micros[row.micros.len() - 1]);
        let against = ratio(row, rows).map_or(String::new(), |ratio| {
            format!("{ratio:.2} x {}", row.against.unwrap_or_default())
        });
        let (name, median, min, max) = (row.name, ms(median(row)), ms(first), ms(last));
        println!("{name:<30} {median:>9} {min:>9} {max:>9}  {against}");
    }
}

fn to_json(rows: &[Row]) -> Outcome<String> {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            serde_json::json!({
                "name": row.name,
                "median_us": median(row),
                "min_us": row.micros[0],
                "max_us": row.micros[row.micros.len() - 1],
                "against": row.against,
                "ratio": ratio(row, rows),
            })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&rows)?)
}
