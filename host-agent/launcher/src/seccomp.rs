//! OCI seccomp profiles, compiled.
//!
//! `seccompiler` makes programs with one action and a default. A profile with
//! more actions becomes a stack: the base program gives the default to
//! whatever no rule names, and one more program for each other action gives
//! that. Of all answers the kernel takes the most restrictive, and among
//! equals that of the program installed last.
//!
//! A system call of another architecture than the machine's own (32-bit
//! programs) ends the process.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
    LinuxSeccompOperator, LinuxSyscall,
};
use rolltop_sys::seccomp::{FilterFlags, Instruction};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use serde::{Deserialize, Serialize};
use syscalls::Sysno;
use thiserror::Error;

use crate::memory::json_file;

/// Why a profile does not compile.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FilterError {
    /// Valid OCI that is not offered.
    #[error("{what} is not supported: {reason}")]
    Unsupported {
        /// The part of the profile.
        what: String,
        /// Why not.
        reason: &'static str,
    },
    /// A name that this machine does not know is to be refused, but the default
    /// would let it pass.
    #[error("unknown system call {name} cannot be refused")]
    UnknownName {
        /// The name.
        name: String,
    },
    /// Two rules for one system call with different actions: runtimes disagree
    /// on what that means.
    #[error("rules of different actions for {name}")]
    Conflict {
        /// The system call.
        name: String,
    },
    /// The rules do not make a program.
    #[error("compile")]
    Compile(#[source] seccompiler::BackendError),
    /// The program cannot be kept for the helper.
    #[error("store the program")]
    Store(#[source] io::Error),
}

/// The programs of a profile in the order to install them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FilterStack {
    log: bool,
    allow_speculation: bool,
    /// `(code, jt, jf, k)` of each instruction.
    programs: Vec<Vec<(u16, u8, u8, u32)>>,
}

/// Compiled profiles: a launcher meets the same few again and again.
#[derive(Debug, Default)]
pub(crate) struct FilterCache {
    stored: Mutex<HashMap<String, Arc<OwnedFd>>>,
}

/// More profiles than pools a host serves; then the cache starts anew.
const MAX_PROFILES: usize = 64;

// === impl FilterCache ===

impl FilterCache {
    /// The compiled `profile` in a memory file.
    pub(crate) fn get(&self, profile: &LinuxSeccomp) -> Result<Arc<OwnedFd>, FilterError> {
        let key =
            serde_json::to_string(profile).map_err(|error| FilterError::Store(error.into()))?;
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = stored.get(&key) {
            return Ok(Arc::clone(file));
        }
        let stack = FilterStack::compile(profile)?;
        let file = Arc::new(json_file("filters", &stack).map_err(FilterError::Store)?);
        if stored.len() >= MAX_PROFILES {
            stored.clear();
        }
        stored.insert(key, Arc::clone(&file));
        Ok(file)
    }
}

// === impl FilterStack ===

impl FilterStack {
    pub(crate) fn compile(profile: &LinuxSeccomp) -> Result<Self, FilterError> {
        let mut stack = Self::default();
        stack.take_flags(profile)?;
        let default = action(profile.default_action(), profile.default_errno_ret())?;
        let rules = Rules::collect(profile, &default)?;
        if default != SeccompAction::Allow {
            let named = rules.by_number.clone().into_iter().map(|(nr, rule)| (nr, rule.matches));
            stack.push(named.collect(), default.clone(), SeccompAction::Allow)?;
        }
        for action in rules.actions() {
            if action != SeccompAction::Allow && action != default {
                let chosen = rules.with(&action);
                stack.push(chosen, SeccompAction::Allow, action)?;
            }
        }
        Ok(stack)
    }

    pub(crate) fn flags(&self) -> FilterFlags {
        FilterFlags { log: self.log, allow_speculation: self.allow_speculation }
    }

    pub(crate) fn programs(&self) -> impl Iterator<Item = Vec<Instruction>> {
        self.programs.iter().map(|program| {
            let instruction = |&(code, jt, jf, k)| Instruction { code, jt, jf, k };
            program.iter().map(instruction).collect()
        })
    }

    fn take_flags(&mut self, profile: &LinuxSeccomp) -> Result<(), FilterError> {
        let refuse =
            |what: &str, reason| Err(FilterError::Unsupported { what: what.into(), reason });
        if profile.listener_path().is_some() || profile.listener_metadata().is_some() {
            return refuse("listenerPath", "nobody listens");
        }
        let native = if cfg!(target_arch = "aarch64") {
            Arch::ScmpArchAarch64
        } else {
            Arch::ScmpArchX86_64
        };
        if let Some(architectures) = profile.architectures()
            && !architectures.is_empty()
            && !architectures.iter().any(|arch| *arch == native || *arch == Arch::ScmpArchNative)
        {
            return refuse("architectures", "must include the machine's own");
        }
        for flag in profile.flags().iter().flatten() {
            match flag {
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => self.log = true,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => self.allow_speculation = true,
                // There is one thread when the filter is installed.
                LinuxSeccompFilterFlag::SeccompFilterFlagTsync => {}
                LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                    return refuse("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "nobody listens");
                }
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        rules: BTreeMap<i64, Vec<SeccompRule>>,
        otherwise: SeccompAction,
        matched: SeccompAction,
    ) -> Result<(), FilterError> {
        let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(FilterError::Compile)?;
        let program: BpfProgram = SeccompFilter::new(rules, otherwise, matched, arch)
            .and_then(TryInto::try_into)
            .map_err(FilterError::Compile)?;
        self.programs.push(program.iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect());
        Ok(())
    }
}

// === impl Rules ===

/// The rules of a profile by system call number.
struct Rules {
    by_number: BTreeMap<i64, Rule>,
}

#[derive(Clone)]
struct Rule {
    action: SeccompAction,
    /// Any of them; empty for every call, whatever its arguments.
    matches: Vec<SeccompRule>,
}

impl Rules {
    fn collect(profile: &LinuxSeccomp, default: &SeccompAction) -> Result<Self, FilterError> {
        let mut by_number = BTreeMap::new();
        for rule in profile.syscalls().iter().flatten() {
            let action = action(rule.action(), rule.errno_ret())?;
            if action == *default {
                continue;
            }
            for name in rule.names() {
                let Ok(number) = Sysno::from_str(name) else {
                    if action == SeccompAction::Allow || refuses(default) {
                        continue;
                    }
                    return Err(FilterError::UnknownName { name: name.clone() });
                };
                let number = i64::from(number.id());
                Self::add(&mut by_number, number, name, rule, &action)?;
            }
        }
        Ok(Self { by_number })
    }

    fn add(
        by_number: &mut BTreeMap<i64, Rule>,
        number: i64,
        name: &str,
        rule: &LinuxSyscall,
        action: &SeccompAction,
    ) -> Result<(), FilterError> {
        let condition = condition(rule.args().as_deref().unwrap_or_default(), name)?;
        match by_number.get_mut(&number) {
            None => {
                let matches = condition.into_iter().collect();
                by_number.insert(number, Rule { action: action.clone(), matches });
            }
            Some(known) if known.action != *action => {
                return Err(FilterError::Conflict { name: name.into() });
            }
            // Either one holds for every call: then the two together do.
            Some(known) => match condition {
                Some(condition) if !known.matches.is_empty() => known.matches.push(condition),
                _ => known.matches.clear(),
            },
        }
        Ok(())
    }

    fn actions(&self) -> Vec<SeccompAction> {
        let mut actions: Vec<SeccompAction> = Vec::new();
        for rule in self.by_number.values() {
            if !actions.contains(&rule.action) {
                actions.push(rule.action.clone());
            }
        }
        actions
    }

    fn with(&self, action: &SeccompAction) -> BTreeMap<i64, Vec<SeccompRule>> {
        self.by_number
            .iter()
            .filter(|(_, rule)| rule.action == *action)
            .map(|(number, rule)| (*number, rule.matches.clone()))
            .collect()
    }
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<SeccompAction, FilterError> {
    const EPERM: u32 = 1;
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            SeccompAction::KillThread
        }
        LinuxSeccompAction::ScmpActKillProcess => SeccompAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => SeccompAction::Trap,
        LinuxSeccompAction::ScmpActErrno => SeccompAction::Errno(errno.unwrap_or(EPERM)),
        LinuxSeccompAction::ScmpActTrace => SeccompAction::Trace(errno.unwrap_or(EPERM)),
        LinuxSeccompAction::ScmpActLog => SeccompAction::Log,
        LinuxSeccompAction::ScmpActAllow => SeccompAction::Allow,
        LinuxSeccompAction::ScmpActNotify => {
            return Err(FilterError::Unsupported {
                what: "SCMP_ACT_NOTIFY".into(),
                reason: "nobody listens",
            });
        }
    })
}

fn refuses(action: &SeccompAction) -> bool {
    !matches!(action, SeccompAction::Allow | SeccompAction::Log | SeccompAction::Trace(_))
}

/// All conditions of a rule together, `None` if there are none.
fn condition(args: &[LinuxSeccompArg], name: &str) -> Result<Option<SeccompRule>, FilterError> {
    let mut conditions = Vec::new();
    let mut seen = 0_u64;
    for arg in args {
        let bit = 1_u64.checked_shl(u32::try_from(arg.index()).unwrap_or(u32::MAX)).unwrap_or(0);
        if seen & bit != 0 {
            return Err(FilterError::Unsupported {
                what: format!("two conditions on argument {} of {name}", arg.index()),
                reason: "runtimes disagree whether one or both must hold",
            });
        }
        seen |= bit;
        let (operator, value) = match arg.op() {
            LinuxSeccompOperator::ScmpCmpNe => (SeccompCmpOp::Ne, arg.value()),
            LinuxSeccompOperator::ScmpCmpLt => (SeccompCmpOp::Lt, arg.value()),
            LinuxSeccompOperator::ScmpCmpLe => (SeccompCmpOp::Le, arg.value()),
            LinuxSeccompOperator::ScmpCmpEq => (SeccompCmpOp::Eq, arg.value()),
            LinuxSeccompOperator::ScmpCmpGe => (SeccompCmpOp::Ge, arg.value()),
            LinuxSeccompOperator::ScmpCmpGt => (SeccompCmpOp::Gt, arg.value()),
            LinuxSeccompOperator::ScmpCmpMaskedEq => {
                (SeccompCmpOp::MaskedEq(arg.value()), arg.value_two().unwrap_or(0))
            }
        };
        let index = u8::try_from(arg.index()).unwrap_or(u8::MAX);
        let condition = SeccompCondition::new(index, SeccompCmpArgLen::Qword, operator, value);
        conditions.push(condition.map_err(FilterError::Compile)?);
    }
    if conditions.is_empty() {
        return Ok(None);
    }
    SeccompRule::new(conditions).map(Some).map_err(FilterError::Compile)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn compile(profile: Value) -> Result<FilterStack, FilterError> {
        FilterStack::compile(&serde_json::from_value(profile).unwrap())
    }

    fn programs(profile: Value) -> usize {
        compile(profile).unwrap().programs().count()
    }

    #[test]
    fn each_action_besides_the_default_is_a_program() {
        let rule = |name: &str, action: &str| json!({ "names": [name], "action": action });
        let allow_most = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [rule("reboot", "SCMP_ACT_ERRNO"), rule("bpf", "SCMP_ACT_KILL_PROCESS")],
        });
        assert_eq!(programs(allow_most), 2);
        let deny_most = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [rule("read", "SCMP_ACT_ALLOW"), rule("bpf", "SCMP_ACT_ERRNO")],
        });
        assert_eq!(programs(deny_most), 1, "what is the default needs no rule");
    }

    #[test]
    fn an_unknown_name_matters_only_where_it_would_slip_through() {
        let profile = |default: &str, action: &str| {
            json!({
                "defaultAction": default,
                "syscalls": [{ "names": ["no_such_call"], "action": action }],
            })
        };
        assert!(compile(profile("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW")).is_ok());
        assert!(compile(profile("SCMP_ACT_ERRNO", "SCMP_ACT_KILL")).is_ok());
        assert!(matches!(
            compile(profile("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO")),
            Err(FilterError::UnknownName { .. })
        ));
    }

    #[test]
    fn what_runtimes_read_differently_is_refused() {
        let conflict = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [
                { "names": ["clone"], "action": "SCMP_ACT_ALLOW" },
                { "names": ["clone"], "action": "SCMP_ACT_KILL" },
            ],
        });
        assert!(matches!(compile(conflict), Err(FilterError::Conflict { .. })));
        let arg = json!({ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" });
        let twice = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{ "names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [arg, arg] }],
        });
        assert!(matches!(compile(twice), Err(FilterError::Unsupported { .. })));
        let foreign = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_S390X"],
        });
        assert!(compile(foreign).is_err());
    }

    #[test]
    fn an_argument_past_the_last_is_refused() {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{
                "names": ["clone"], "action": "SCMP_ACT_ALLOW",
                "args": [{ "index": 64, "value": 1, "op": "SCMP_CMP_EQ" }],
            }],
        });
        assert!(matches!(compile(profile), Err(FilterError::Compile(_))));
    }

    #[test]
    fn the_same_profile_is_compiled_once() {
        let cache = FilterCache::default();
        let profile = serde_json::from_value(json!({ "defaultAction": "SCMP_ACT_ERRNO" })).unwrap();
        let (first, second) = (cache.get(&profile).unwrap(), cache.get(&profile).unwrap());
        assert!(Arc::ptr_eq(&first, &second));
    }
}
