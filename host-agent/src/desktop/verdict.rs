//! Why a desktop ended by itself: a pure function of what is left to see.
//!
//! Most sessions end with whatever status their last program had, and mean a
//! logout. Only three things tell another story: a signal nobody sends to ask,
//! the status [`SESSION_BROKE`], and the kernel's count of kills for want of
//! memory. That count alone says little: a browser's tab may have been killed
//! hours ago.

use crate::{lifecycle::EndReason, process::Ending};

/// A session command ends with this status when it could not go on: its
/// display server or window manager has ended (`EX_UNAVAILABLE`).
const SESSION_BROKE: i32 = 69;
/// Shells tell "ended by signal n" as 128 + n.
const SIGNAL_BASE: i32 = 128;
const SIGKILL: i32 = 9;
/// SIGHUP, SIGINT, SIGPIPE and SIGTERM: how programs are asked to end.
const ASKING: [i32; 4] = [1, 2, 13, 15];

/// What is left to see of a session that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remains {
    /// Its first process.
    pub(super) session: Ending,
    /// Its display server.
    pub(super) display: Ending,
    /// Processes the kernel has killed in the desktop for want of memory.
    pub(super) oom_kills: u64,
    /// The desktop's memory limit, if it has one.
    pub(super) memory_limit_mib: Option<u64>,
}

/// An end's reason; with a sentence if it was no good end.
pub(super) type Verdict = (EndReason, Option<String>);

/// How one process ended, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// By itself or when asked, well.
    Well,
    /// By itself, with a status that may mean anything.
    Odd,
    /// By SIGKILL.
    Killed,
    /// By a signal of its own fault, or telling that it broke.
    Broke,
    Unknown,
}

impl Remains {
    /// Why the session ended.
    pub(super) fn verdict(&self) -> Verdict {
        let (session, display) = (fate(self.session), fate(self.display));
        let either = |fate| session == fate || display == fate;
        // Older kernels do not tell of the display server; a new agent does
        // not know how the session of an earlier one ended.
        let doubtful = display == Fate::Unknown && session != Fate::Well;
        if self.oom_kills > 0 && (either(Fate::Killed) || either(Fate::Broke) || doubtful) {
            return self.out_of_memory();
        }
        let broke = |fate| matches!(fate, Fate::Killed | Fate::Broke);
        let (what, ending) = if broke(display) || (display, session) == (Fate::Odd, Fate::Odd) {
            ("its display server", self.display)
        } else if broke(session) {
            ("its first program", self.session)
        } else {
            return (EndReason::Logout, None);
        };
        (EndReason::SessionFailed, Some(format!("the session broke: {what} {ending}")))
    }

    /// Why init ended, which had this end.
    pub(super) fn init_verdict(&self, init: Ending) -> Verdict {
        if self.oom_kills > 0 && fate(init) == Fate::Killed {
            return self.out_of_memory();
        }
        (EndReason::InitExited, None)
    }

    fn out_of_memory(&self) -> Verdict {
        (EndReason::OutOfMemory, Some(out_of_memory(self.memory_limit_mib)))
    }
}

/// The sentence for it; the host's own memory is the only other limit.
pub(super) fn out_of_memory(limit_mib: Option<u64>) -> String {
    match limit_mib {
        Some(mib) => format!("the desktop ran out of memory: its limit is {mib} MiB"),
        None => "the host ran out of memory and ended programs of the desktop".to_owned(),
    }
}

fn fate(ending: Ending) -> Fate {
    let signal = match ending {
        Ending::Code(0) => return Fate::Well,
        Ending::Code(SESSION_BROKE) => return Fate::Broke,
        Ending::Code(code) if code > SIGNAL_BASE => code - SIGNAL_BASE,
        Ending::Code(_) => return Fate::Odd,
        Ending::Signal(signal) => signal,
        Ending::Unknown => return Fate::Unknown,
    };
    match signal {
        SIGKILL => Fate::Killed,
        signal if ASKING.contains(&signal) => Fate::Well,
        _ => Fate::Broke,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EndReason::{Logout, OutOfMemory, SessionFailed};
    use Ending::{Code, Signal, Unknown};

    fn reason(session: Ending, display: Ending, oom_kills: u64) -> EndReason {
        Remains { session, display, oom_kills, memory_limit_mib: None }.verdict().0
    }

    #[test]
    fn a_logout_is_one_whatever_status_it_leaves() {
        for session in [Code(0), Code(1), Code(64), Signal(15), Code(143), Code(129), Unknown] {
            for display in [Code(0), Signal(15), Unknown] {
                assert_eq!(reason(session, display, 0), Logout, "{session:?} {display:?}");
            }
        }
        // Display servers may dislike being asked.
        assert_eq!(reason(Code(0), Code(1), 0), Logout);
    }

    #[test]
    fn a_kill_long_ago_is_no_reason() {
        for session in [Code(0), Signal(15)] {
            for display in [Code(0), Signal(15), Unknown] {
                assert_eq!(reason(session, display, 3), Logout, "{session:?} {display:?}");
            }
        }
        assert_eq!(reason(Code(1), Code(0), 3), Logout);
    }

    #[test]
    fn what_ends_with_the_display_or_the_session_is_told() {
        for (session, display) in [
            (Code(0), Signal(9)),
            (Code(69), Signal(9)),
            (Code(69), Unknown),
            (Code(1), Unknown),
            (Unknown, Unknown),
            (Signal(9), Code(0)),
            (Code(137), Signal(15)),
            // The window manager was the victim.
            (Code(69), Signal(15)),
        ] {
            assert_eq!(reason(session, display, 1), OutOfMemory, "{session:?} {display:?}");
        }
        for (session, display) in [
            (Code(0), Signal(11)),
            (Signal(15), Signal(6)),
            (Code(69), Unknown),
            (Signal(11), Code(0)),
            (Code(139), Code(0)),
            (Code(1), Code(1)),
            (Code(0), Signal(9)),
        ] {
            assert_eq!(reason(session, display, 0), SessionFailed, "{session:?} {display:?}");
        }
    }

    #[test]
    fn sentences_name_the_limit_and_the_culprit() {
        let mut remains = Remains {
            session: Code(69),
            display: Signal(9),
            oom_kills: 1,
            memory_limit_mib: Some(200),
        };
        let said = remains.verdict().1.unwrap();
        assert_eq!(said, "the desktop ran out of memory: its limit is 200 MiB");
        assert_eq!(remains.init_verdict(Signal(9)).0, OutOfMemory);
        assert_eq!(remains.init_verdict(Code(0)), (EndReason::InitExited, None));
        remains.oom_kills = 0;
        let said = remains.verdict().1.unwrap();
        assert_eq!(said, "the session broke: its display server was ended by signal 9");
        assert_eq!(remains.init_verdict(Signal(9)).0, EndReason::InitExited);
    }
}
