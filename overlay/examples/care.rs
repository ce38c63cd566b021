//! The life of a kept overlay: made, used, snapshotted while in use, rolled
//! back, grown, exported, imported, deleted.
//!
//! ```text
//! sudo cargo run -p rolltop-overlay --example care -- /var/tmp/rolltop-care
//! ```
//! It works in that directory, which must be empty or not exist, and leaves it
//! empty.
use std::error::Error;
use std::fs::{self, File};
use std::path::PathBuf;

use rolltop_overlay::*;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(std::env::args_os().nth(1).ok_or("give a directory to work in")?);
    fs::create_dir_all(&dir)?;
    if fs::read_dir(&dir)?.next().is_some() {
        return Err(format!("{} is not empty", dir.display()).into());
    }
    let dir = dir.canonicalize()?;

    // A base root: any directory will do here.
    let image = dir.join("image");
    fs::create_dir(&image)?;
    fs::write(image.join("motd"), "from the image\n")?;
    isolate(&dir.join("run"))?;
    let bases = BaseRoots::open(&dir.join("run/bases"))?;
    let key = BaseKey::try_from("example@1")?;
    let lower = bases.mount(&key, &BaseSource::Directory(image))?;

    let overlays = Overlays::open(&dir.join("overlays"))?;
    let desk = OverlayKind::Persistent(OverlayName::try_from("desk")?);
    let overlay = overlays.create(&desk, OverlaySize::from_mib(128)?)?;
    let mount_dir = dir.join("run/desk");
    let plan = OpenPlan { lower: &lower, overlay: &overlay, mount_dir: &mount_dir, id_map: None };
    let opened = open_root(&plan)?;
    fs::write(opened.root.join("motd"), "from the desktop\n")?;
    let monday = SnapshotName::try_from("monday")?;
    println!("{:?}", overlays.snapshot(&desk, &monday, "taken while in use")?);
    fs::remove_file(opened.root.join("motd"))?;
    println!("{:?}", overlays.usage(&desk)?);
    println!("{:?}", overlays.trim(&desk)?);
    close(&mount_dir)?;

    println!("{:?}", overlays.check(&desk)?);
    let kept = overlays.roll_back(&desk, &monday, PresentState::Keep)?;
    println!("what was before: {kept:?}");
    overlays.grow(&desk, OverlaySize::from_mib(256)?)?;

    let archive = dir.join("desk.tar.zst");
    println!("{:?}", overlays.export(&desk.clone().into(), &mut File::create(&archive)?)?);
    let twin = OverlayKind::Persistent(OverlayName::try_from("twin")?);
    let limit = OverlaySize::from_mib(1024)?;
    let twin_file = overlays.import(&twin, &mut File::open(&archive)?, limit)?;
    let opened = open_root(&OpenPlan { overlay: &twin_file, ..plan })?;
    print!("{}", fs::read_to_string(opened.root.join("motd"))?);
    close(&mount_dir)?;

    overlays.delete_with_snapshots(&desk)?;
    overlays.delete(&twin)?;
    if let Some(error) = bases.unmount_all().pop() {
        return Err(error.into());
    }
    deisolate(&dir.join("run"))?;
    for entry in fs::read_dir(&dir)? {
        let path = entry?.path();
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}

fn close(mount_dir: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let report = close_root(mount_dir);
    if report.is_clean() { Ok(()) } else { Err(format!("{report:?}").into()) }
}
