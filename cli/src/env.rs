//! What the environment says, read once and passed on as a value.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The variables that `rolltop` looks at.
const NAMES: [&str; 8] = [
    "HOME",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "ROLLTOP_TOKEN",
    "NO_COLOR",
    "TERM",
    "DISPLAY",
    "WAYLAND_DISPLAY",
];

/// A snapshot of the variables in [`NAMES`]. An empty one counts as not set.
#[derive(Debug, Default)]
pub(crate) struct Environment(BTreeMap<&'static str, OsString>);

/// Neither the XDG variable nor `HOME` says where files go.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither {0} nor HOME is set to an absolute path")]
pub(crate) struct NoHome(&'static str);

impl Environment {
    pub(crate) fn from_process() -> Self {
        Self::new(|name| std::env::var_os(name))
    }

    pub(crate) fn new(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let vars = NAMES.into_iter().filter_map(|name| Some((name, get(name)?)));
        Self(vars.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// A session token that takes the place of the stored one.
    pub(crate) fn token(&self) -> Option<&str> {
        self.0.get("ROLLTOP_TOKEN").and_then(|token| token.to_str())
    }

    /// <https://no-color.org>
    pub(crate) fn no_color(&self) -> bool {
        self.0.contains_key("NO_COLOR")
    }

    /// Whether windows can be opened here.
    pub(crate) fn has_screen(&self) -> bool {
        self.0.contains_key("DISPLAY") || self.0.contains_key("WAYLAND_DISPLAY")
    }

    /// Type of the terminal, for programs in a desktop.
    pub(crate) fn terminal_type(&self) -> Option<&str> {
        self.0.get("TERM").and_then(|term| term.to_str())
    }

    /// Where `config.toml` lies.
    pub(crate) fn config_dir(&self) -> Result<PathBuf, NoHome> {
        self.dir("XDG_CONFIG_HOME", ".config")
    }

    /// Where session tokens lie.
    pub(crate) fn state_dir(&self) -> Result<PathBuf, NoHome> {
        self.dir("XDG_STATE_HOME", ".local/state")
    }

    /// A relative path in an XDG variable is ignored, as its specification asks.
    fn dir(&self, xdg: &'static str, under_home: &str) -> Result<PathBuf, NoHome> {
        let absolute = |name| self.0.get(name).map(Path::new).filter(|path| path.is_absolute());
        absolute(xdg)
            .map(Path::to_owned)
            .or_else(|| absolute("HOME").map(|home| home.join(under_home)))
            .map(|base| base.join("rolltop"))
            .ok_or(NoHome(xdg))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(vars: &[(&str, &str)]) -> Environment {
        Environment::new(|name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn directories_follow_the_xdg_rules() {
        let home = environment(&[("HOME", "/home/ada")]);
        assert_eq!(home.config_dir().unwrap(), Path::new("/home/ada/.config/rolltop"));
        assert_eq!(home.state_dir().unwrap(), Path::new("/home/ada/.local/state/rolltop"));

        let xdg = environment(&[("HOME", "/home/ada"), ("XDG_CONFIG_HOME", "/cfg")]);
        assert_eq!(xdg.config_dir().unwrap(), Path::new("/cfg/rolltop"));

        let relative = environment(&[("HOME", "/home/ada"), ("XDG_CONFIG_HOME", "cfg")]);
        assert_eq!(relative.config_dir().unwrap(), Path::new("/home/ada/.config/rolltop"));

        assert_eq!(environment(&[]).config_dir(), Err(NoHome("XDG_CONFIG_HOME")));
    }

    #[test]
    fn empty_counts_as_not_set() {
        let empty = environment(&[("ROLLTOP_TOKEN", ""), ("NO_COLOR", "")]);
        assert_eq!(empty.token(), None);
        assert!(!empty.no_color());
    }
}
