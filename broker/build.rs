//! Brings the portal's pages into the binary: builds `../web` when its result
//! is missing or older than its sources (and the API it speaks), and copies the
//! result to `OUT_DIR`.
//!
//! `ROLLTOP_SKIP_WEB=1` embeds a page that says so instead; for developers who
//! work on the broker alone.

use std::{
    env,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

const SKIP: &str = "ROLLTOP_SKIP_WEB";
/// Made, not written: their age says nothing about the sources. Watched, they
/// would have cargo build the broker anew after each build that makes them.
const MADE: [&str; 4] = ["node_modules", "dist", ".cache", "src/gen"];
/// Where `src/gen` is made from.
const API: &str = "../proto/rolltop";
const PLACEHOLDER: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Rolltop</title>\
<p>This broker was built with ROLLTOP_SKIP_WEB: it has no portal. Programs and the command line work.</p></html>\n";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={SKIP}");
    let out = PathBuf::from(env::var("OUT_DIR")?).join("web");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    fs::create_dir_all(&out)?;
    if env::var_os(SKIP).is_some_and(|value| value == "1") {
        fs::write(out.join("index.html"), PLACEHOLDER)?;
        return Ok(());
    }
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let web = here.join("../web");
    let made: Vec<_> = MADE.iter().map(|made| web.join(made)).collect();
    let sources = newest(&web, &made)?.max(newest(&here.join(API), &[])?);
    let result = web.join("dist/index.html");
    let built = fs::metadata(&result).and_then(|meta| meta.modified()).ok();
    if built.is_none_or(|built| built < sources) {
        build(&web)?;
    }
    copy(&web.join("dist"), &out)?;
    Ok(())
}

fn build(web: &Path) -> Result<(), Box<dyn Error>> {
    for arguments in [&["ci", "--no-audit", "--no-fund"][..], &["run", "build"][..]] {
        let call = format!("npm {}", arguments.join(" "));
        let status = match Command::new("npm").args(arguments).current_dir(web).status() {
            Ok(status) => status,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(format!(
                    "npm is not installed, and the portal in web/ has to be built: install Node.js 20 with npm, \
                     or set {SKIP}=1 for a broker without the portal"
                )
                .into());
            }
            Err(error) => return Err(format!("{call}: {error}").into()),
        };
        if !status.success() {
            return Err(format!("{call} in web/ failed: {status}").into());
        }
    }
    Ok(())
}

/// When the youngest source was changed, those in `but` aside; cargo is told to
/// look at all.
fn newest(sources: &Path, but: &[PathBuf]) -> Result<SystemTime, Box<dyn Error>> {
    let mut newest = SystemTime::UNIX_EPOCH;
    let mut left = vec![sources.to_owned()];
    while let Some(path) = left.pop() {
        if but.contains(&path) {
            continue;
        }
        let meta = fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        if !meta.is_dir() {
            println!("cargo:rerun-if-changed={}", path.display());
            newest = newest.max(meta.modified()?);
            continue;
        }
        for entry in fs::read_dir(&path)? {
            left.push(entry?.path());
        }
    }
    Ok(newest)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
