//! One process: init, or one executed later.

use std::path::PathBuf;
use std::str::FromStr;

use oci_spec::runtime::{Capabilities, LinuxCapabilities, PosixRlimitType, Process};
use serde::{Deserialize, Serialize};

use super::{PlanError, inside_path, invalid, unsupported};

/// What a process is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessPlan {
    /// Not empty.
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: PathBuf,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) umask: Option<u32>,
    pub(crate) capabilities: CapabilityPlan,
    pub(crate) no_new_privileges: bool,
    pub(crate) limits: Vec<LimitPlan>,
    pub(crate) oom_score_adj: Option<i32>,
    /// AppArmor's, from the program on.
    pub(crate) profile: Option<String>,
    pub(crate) terminal: Option<TerminalPlan>,
}

/// The five sets, a bit per capability.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CapabilityPlan {
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
    pub(crate) ambient: u64,
}

/// One resource limit, by the kernel's number for the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LimitPlan {
    pub(crate) kind: LimitKind,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// The resources, as OCI names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LimitKind {
    Cpu,
    Fsize,
    Data,
    Stack,
    Core,
    Rss,
    Nproc,
    Nofile,
    Memlock,
    As,
    Locks,
    Sigpending,
    Msgqueue,
    Nice,
    Rtprio,
    Rttime,
}

/// A terminal and its size, zero for unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TerminalPlan {
    pub(crate) columns: u16,
    pub(crate) rows: u16,
}

// === impl ProcessPlan ===

impl ProcessPlan {
    /// Plans `process`, found at `field` of whatever named it.
    pub(crate) fn new(field: &str, process: &Process) -> Result<Self, PlanError> {
        refuse(field, process)?;
        let args = process.args().clone().unwrap_or_default();
        if args.first().is_none_or(String::is_empty) {
            return Err(PlanError::Missing { field: "process.args" });
        }
        let env = process.env().clone().unwrap_or_default();
        for text in args.iter().chain(&env) {
            if text.contains('\0') {
                return Err(invalid(field, text.escape_default(), "must not contain NUL"));
            }
        }
        let user = process.user();
        if user.umask().is_some_and(|umask| umask > 0o777) {
            return Err(invalid(
                format!("{field}.user.umask"),
                user.umask().unwrap_or_default(),
                "must be 0o777 at most",
            ));
        }
        Ok(Self {
            args,
            env,
            cwd: inside_path(&format!("{field}.cwd"), process.cwd())?,
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
            umask: user.umask(),
            capabilities: process
                .capabilities()
                .as_ref()
                .map_or(Ok(CapabilityPlan::default()), |sets| CapabilityPlan::new(field, sets))?,
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            limits: limits(field, process)?,
            oom_score_adj: process.oom_score_adj(),
            profile: profile(field, process)?,
            terminal: process
                .terminal()
                .unwrap_or(false)
                .then(|| TerminalPlan::new(field, process))
                .transpose()?,
        })
    }
}

/// The AppArmor profile, a line for the kernel.
fn profile(field: &str, process: &Process) -> Result<Option<String>, PlanError> {
    let Some(name) = process.apparmor_profile().as_ref().filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    if name.chars().any(char::is_control) {
        let field = format!("{field}.apparmorProfile");
        return Err(invalid(field, format!("{name:?}"), "must be the name of a profile"));
    }
    Ok(Some(name.clone()))
}

fn refuse(field: &str, process: &Process) -> Result<(), PlanError> {
    let named = |profile: &Option<String>| profile.as_ref().is_some_and(|name| !name.is_empty());
    for (part, set, reason) in [
        ("selinuxLabel", named(process.selinux_label()), "no SELinux here"),
        ("ioPriority", process.io_priority().is_some(), "set it in the cgroup"),
        ("scheduler", process.scheduler().is_some(), "set it in the cgroup"),
        ("execCPUAffinity", process.exec_cpu_affinity().is_some(), "set it in the cgroup"),
        ("commandLine", process.command_line().is_some(), "this is Linux"),
        ("user.username", process.user().username().is_some(), "this is Linux"),
    ] {
        if set {
            return Err(unsupported(format!("{field}.{part}"), "set", reason));
        }
    }
    if process.oom_score_adj().is_some_and(|score| !(-1000..=1000).contains(&score)) {
        return Err(invalid(
            format!("{field}.oomScoreAdj"),
            process.oom_score_adj().unwrap_or_default(),
            "must be within -1000 and 1000",
        ));
    }
    Ok(())
}

// === impl CapabilityPlan ===

impl CapabilityPlan {
    fn new(field: &str, sets: &LinuxCapabilities) -> Result<Self, PlanError> {
        let plan = Self {
            bounding: bits(sets.bounding().as_ref())?,
            effective: bits(sets.effective().as_ref())?,
            permitted: bits(sets.permitted().as_ref())?,
            inheritable: bits(sets.inheritable().as_ref())?,
            ambient: bits(sets.ambient().as_ref())?,
        };
        // The kernel's own rules; told here with a name instead of EPERM.
        if plan.effective & !plan.permitted != 0 {
            return Err(invalid(
                format!("{field}.capabilities.effective"),
                "more",
                "must lie within the permitted set",
            ));
        }
        if plan.ambient & !(plan.permitted & plan.inheritable) != 0 {
            return Err(invalid(
                format!("{field}.capabilities.ambient"),
                "more",
                "must lie within the permitted and the inheritable set",
            ));
        }
        Ok(plan)
    }
}

fn bits(set: Option<&Capabilities>) -> Result<u64, PlanError> {
    set.into_iter().flatten().try_fold(0, |bits, capability| {
        let name = format!("CAP_{capability}");
        caps::Capability::from_str(&name)
            .map(|known| bits | known.bitmask())
            .map_err(|_| invalid("process.capabilities", name, "must be a capability of Linux"))
    })
}

// === impl LimitPlan ===

fn limits(field: &str, process: &Process) -> Result<Vec<LimitPlan>, PlanError> {
    process
        .rlimits()
        .iter()
        .flatten()
        .map(|limit| {
            if limit.soft() > limit.hard() {
                return Err(invalid(
                    format!("{field}.rlimits.{}.soft", limit.typ()),
                    limit.soft(),
                    "must not exceed the hard limit",
                ));
            }
            Ok(LimitPlan { kind: limit.typ().into(), soft: limit.soft(), hard: limit.hard() })
        })
        .collect()
}

impl From<PosixRlimitType> for LimitKind {
    fn from(kind: PosixRlimitType) -> Self {
        match kind {
            PosixRlimitType::RlimitCpu => Self::Cpu,
            PosixRlimitType::RlimitFsize => Self::Fsize,
            PosixRlimitType::RlimitData => Self::Data,
            PosixRlimitType::RlimitStack => Self::Stack,
            PosixRlimitType::RlimitCore => Self::Core,
            PosixRlimitType::RlimitRss => Self::Rss,
            PosixRlimitType::RlimitNproc => Self::Nproc,
            PosixRlimitType::RlimitNofile => Self::Nofile,
            PosixRlimitType::RlimitMemlock => Self::Memlock,
            PosixRlimitType::RlimitAs => Self::As,
            PosixRlimitType::RlimitLocks => Self::Locks,
            PosixRlimitType::RlimitSigpending => Self::Sigpending,
            PosixRlimitType::RlimitMsgqueue => Self::Msgqueue,
            PosixRlimitType::RlimitNice => Self::Nice,
            PosixRlimitType::RlimitRtprio => Self::Rtprio,
            PosixRlimitType::RlimitRttime => Self::Rttime,
        }
    }
}

// === impl TerminalPlan ===

impl TerminalPlan {
    fn new(field: &str, process: &Process) -> Result<Self, PlanError> {
        let Some(size) = process.console_size() else {
            return Ok(Self { columns: 0, rows: 0 });
        };
        let cells = |cells: u64| {
            u16::try_from(cells).map_err(|_| {
                invalid(format!("{field}.consoleSize"), cells, "must be 65535 at most")
            })
        };
        Ok(Self { columns: cells(size.width())?, rows: cells(size.height())? })
    }
}
