//! Compiles `program/` into a static executable for `include_bytes!`.
//!
//! By rustc itself: cargo cannot build a binary of one set of flags as a part
//! of a library of another, and the program has no dependencies.

use std::env::{self, VarError};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

const FLAGS: [&str; 8] = [
    "--edition=2024",
    "--crate-name=rolltop_init_program",
    "-Copt-level=s",
    "-Cpanic=abort",
    "-Ctarget-feature=+crt-static",
    "-Cstrip=symbols",
    "-Clto=fat",
    "-Ccodegen-units=1",
];

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=program");
    match compile() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn compile() -> Result<(), String> {
    let variable = |name: &str| env::var(name).map_err(|e: VarError| format!("{name}: {e}"));
    let output = PathBuf::from(variable("OUT_DIR")?).join("init");
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc.args(FLAGS).arg(format!("--target={}", variable("TARGET")?));
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    rustc.arg("program/main.rs").arg("-o").arg(&output);
    let status = rustc.status().map_err(|e| format!("cannot run rustc: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("rustc could not compile program/main.rs ({status})"))
    }
}
