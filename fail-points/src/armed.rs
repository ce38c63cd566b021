//! Counting, tracing, dying.

use std::{
    collections::HashMap,
    env,
    fs::{File, OpenOptions},
    io::Write as _,
    path::PathBuf,
    sync::{LazyLock, Mutex, PoisonError},
};

use nix::sys::signal::{Signal, raise};

use crate::{DIE_AT, TRACE};

static PLAN: LazyLock<Plan> = LazyLock::new(Plan::from_environment);

struct Plan {
    trace: Option<File>,
    die_at: Option<String>,
    passed: Mutex<HashMap<&'static str, u32>>,
}

impl Plan {
    fn from_environment() -> Self {
        let open = |path: PathBuf| match OpenOptions::new().append(true).create(true).open(&path) {
            Ok(file) => Some(file),
            Err(error) => {
                eprintln!("fail points: cannot trace to {}: {error}", path.display());
                None
            }
        };
        Self {
            trace: env::var_os(TRACE).map(PathBuf::from).and_then(open),
            die_at: env::var(DIE_AT).ok(),
            passed: Mutex::default(),
        }
    }
}

pub(crate) fn pass(name: &'static str) {
    let plan = &*PLAN;
    if plan.trace.is_none() && plan.die_at.is_none() {
        return;
    }
    // Held to the end: the trace has the order in which places were passed.
    let mut passed = plan.passed.lock().unwrap_or_else(PoisonError::into_inner);
    let times = passed.entry(name).or_default();
    *times += 1;
    let place = format!("{name}#{times}");
    if let Some(mut trace) = plan.trace.as_ref()
        && let Err(error) = trace.write_all(format!("{place}\n").as_bytes())
    {
        eprintln!("fail points: cannot trace {place}: {error}");
    }
    if plan.die_at.as_deref() == Some(place.as_str())
        && let Err(error) = raise(Signal::SIGKILL)
    {
        eprintln!("fail points: cannot die at {place}: {error}");
    }
}
