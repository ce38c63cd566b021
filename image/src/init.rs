//! What PID 1 of a desktop is.

use std::fmt;
use std::str::FromStr;

use toml::{Table, Value};

use crate::desktop::is_inner_path;
use crate::fields::{Section, text};

/// Signals that an init may take for "end all": names and numbers, as everywhere
/// but on MIPS and its like.
const SIGNALS: [(&str, u8); 8] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("USR1", 10),
    ("USR2", 12),
    ("TERM", 15),
    ("WINCH", 28),
    ("PWR", 30),
];
/// The first real-time signal that C libraries leave to programs, and the last.
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

/// What PID 1 of a desktop is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Init {
    /// Rolltop's own reaper.
    Builtin,
    /// A program of the image.
    Own(OwnInit),
}

/// An init of the image's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnInit {
    /// Absolute path inside the root.
    pub path: String,
    /// When the session may begin.
    pub ready: Ready,
    /// What asks it to end all that runs, and itself.
    pub stop_signal: StopSignal,
}

/// When an init has done its part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ready {
    /// It says `READY=1` at `$NOTIFY_SOCKET` when all is started, as systemd does.
    #[default]
    Notify,
    /// As soon as it runs.
    AtOnce,
}

/// A signal by number, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopSignal(u8);

// === impl Init ===

impl Init {
    /// Reads `[init]`.
    pub(crate) fn read(mut section: Section<'_>) -> Option<Self> {
        let kind = section.optional("kind", |v| {
            text(v, "\"builtin\"", |t| t == "builtin").map(|_| Self::Builtin)
        });
        let path = section.optional("path", |v| {
            text(v, "an absolute path without '..'", is_inner_path).map(str::to_owned)
        });
        if section.asked_in_vain() {
            section.fault("kind", "kind = \"builtin\", or path = \"/sbin/init\"");
        }
        let ready = section.optional("ready", |v| {
            let expected = "\"notify\" or \"at-once\"";
            match v.as_str() {
                Some("notify") => Ok(Ready::Notify),
                Some("at-once") => Ok(Ready::AtOnce),
                _ => Err(expected.to_owned()),
            }
        });
        let stop_signal = section.optional("stop_signal", |v| {
            v.as_str().and_then(|name| name.parse().ok()).ok_or_else(StopSignal::expected)
        });
        let init = if section.asked_for_any(&["kind"]) {
            for key in ["path", "ready", "stop_signal"] {
                if section.asked_for_any(&[key]) {
                    section.fault(key, "either kind = \"builtin\" or an init of the image's own");
                }
            }
            kind
        } else {
            path.map(|path| {
                Self::Own(OwnInit {
                    ready: ready.unwrap_or_default(),
                    stop_signal: stop_signal.unwrap_or_default(),
                    path,
                })
            })
        };
        section.finish();
        init
    }

    /// As a section; what is the default is not written.
    pub(crate) fn to_table(&self) -> Table {
        let mut table = Table::new();
        let mut put = |key: &str, value: String| table.insert(key.into(), Value::String(value));
        match self {
            Self::Builtin => {
                put("kind", "builtin".into());
            }
            Self::Own(OwnInit { path, ready, stop_signal }) => {
                put("path", path.clone());
                if *ready == Ready::AtOnce {
                    put("ready", "at-once".into());
                }
                if *stop_signal != StopSignal::default() {
                    put("stop_signal", stop_signal.to_string());
                }
            }
        }
        table
    }
}

// === impl OwnInit ===

impl OwnInit {
    /// One that behaves as systemd does.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), ready: Ready::default(), stop_signal: StopSignal::default() }
    }
}

// === impl StopSignal ===

impl StopSignal {
    /// To the kernel.
    pub fn number(self) -> i32 {
        self.0.into()
    }

    fn expected() -> String {
        let names: Vec<&str> = SIGNALS.iter().map(|(name, _)| *name).collect();
        format!("one of {}, or \"RTMIN+N\" with N up to {}", names.join(", "), RTMAX - RTMIN)
    }
}

impl Default for StopSignal {
    /// `RTMIN+3`: what systemd takes for "halt".
    fn default() -> Self {
        Self(RTMIN + 3)
    }
}

impl FromStr for StopSignal {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        if let Some(more) = name.strip_prefix("RTMIN+") {
            let more: u8 = more.parse().map_err(|_| ())?;
            let number = RTMIN.checked_add(more).ok_or(())?;
            return if number <= RTMAX { Ok(Self(number)) } else { Err(()) };
        }
        SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| Self(*number)).ok_or(())
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIGNALS.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "RTMIN+{}", self.0.saturating_sub(RTMIN)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_their_names() {
        for (name, number) in [("TERM", 15), ("PWR", 30), ("RTMIN+3", 37), ("RTMIN+30", 64)] {
            let signal: StopSignal = name.parse().unwrap();
            assert_eq!((signal.number(), signal.to_string().as_str()), (number, name));
        }
        for name in ["", "KILL", "SIGTERM", "15", "RTMIN", "RTMIN+31", "RTMIN+300", "RTMIN-1"] {
            assert!(name.parse::<StopSignal>().is_err(), "{name}");
        }
    }
}
