//! How a desktop of an image is brought up: its init, session and display.
//!
//! The same three sections stand in a recipe and in the manifest made of it.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::fields::{Section, text, texts};
use crate::init::Init;

/// Longest path, argument or environment value, in bytes.
const MAX_TEXT_BYTES: usize = 4096;
/// Longest name of a display socket: with its directory it must fit into `sun_path` (108 bytes, `unix(7)`).
const MAX_SOCKET_BYTES: usize = 64;

/// What the host agent must know to bring up a desktop of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesktopSpec {
    /// What PID 1 is.
    pub init: Init,
    /// What is started as the user.
    pub session: Session,
    /// How its picture is reached.
    pub display: Display,
}

/// What is started as the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Program (absolute path inside the root) and arguments.
    pub command: Vec<String>,
    /// Added to the environment the agent gives.
    pub environment: BTreeMap<String, String>,
}

/// How the picture of a desktop is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Display {
    /// The protocol spoken.
    pub protocol: DisplayProtocol,
    /// File name of the Unix socket in the directory that the agent shares with the desktop.
    pub socket: String,
    /// The display server, by absolute path inside the root, where the image names it:
    /// then a root without it is not published. The session command starts it.
    pub server: Option<String>,
}

/// A display protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisplayProtocol {
    /// RFB, as spoken by VNC servers.
    Vnc,
}

impl DisplayProtocol {
    /// The word for it in manifests and recipes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vnc => "vnc",
        }
    }
}

// === impl DesktopSpec ===

impl DesktopSpec {
    /// Reads `[init]`, `[session]` and `[display]` of a document.
    pub(crate) fn read(top: &mut Section<'_>) -> Option<Self> {
        let init = top.section("init").and_then(Init::read);
        let session = top.section("session").and_then(read_session);
        let display = top.section("display").and_then(read_display);
        Some(Self { init: init?, session: session?, display: display? })
    }

    /// Writes the three sections into a document.
    pub(crate) fn write(&self, top: &mut Table) {
        top.insert("init".into(), Value::Table(self.init.to_table()));

        let command = self.session.command.iter().cloned().map(Value::String).collect();
        let environment: Table = self
            .session
            .environment
            .iter()
            .map(|(k, v)| (k.clone(), Value::String(v.clone())))
            .collect();
        let session =
            [("command", Value::Array(command)), ("environment", Value::Table(environment))];
        top.insert("session".into(), section(session));

        let mut display = Table::from_iter([
            ("protocol".into(), Value::String(self.display.protocol.as_str().to_owned())),
            ("socket".into(), Value::String(self.display.socket.clone())),
        ]);
        if let Some(server) = &self.display.server {
            display.insert("server".into(), Value::String(server.clone()));
        }
        top.insert("display".into(), Value::Table(display));
    }
}

fn section<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Table(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn read_session(mut section: Section<'_>) -> Option<Session> {
    let expected = "a list: the program's absolute path, then its arguments";
    let command = section.required("command", expected, |v| {
        let command = texts(v, expected, is_argument)?;
        match command.first() {
            Some(program) if is_inner_path(program) => Ok(command),
            _ => Err(expected.to_owned()),
        }
    });
    let environment = section.optional("environment", read_environment);
    section.finish();
    Some(Session { command: command?, environment: environment.unwrap_or_default() })
}

fn read_environment(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let expected = "a table of NAME = \"value\"; names of letters, digits and '_'";
    let table = value.as_table().ok_or(expected)?;
    let mut environment = BTreeMap::new();
    for (name, value) in table {
        if !is_variable(name) {
            return Err(format!("{expected}; {name:?} is none"));
        }
        environment.insert(name.clone(), text(value, expected, is_argument)?.to_owned());
    }
    Ok(environment)
}

fn read_display(mut section: Section<'_>) -> Option<Display> {
    let protocol = section.required("protocol", "\"vnc\"", |v| {
        text(v, "\"vnc\"", |t| t == "vnc").map(|_| DisplayProtocol::Vnc)
    });
    let expected =
        "a bare file name such as \"vnc.sock\": letters, digits, '.', '_', '-'; no leading '.'";
    let socket = section
        .required("socket", expected, |v| text(v, expected, is_socket_name).map(str::to_owned));
    let expected = "the display server's absolute path, without '..'";
    let server =
        section.optional("server", |v| text(v, expected, is_inner_path).map(str::to_owned));
    section.finish();
    Some(Display { protocol: protocol?, socket: socket?, server })
}

/// An absolute path of a program inside a root. Links are followed there, `..` is not written.
pub(crate) fn is_inner_path(text: &str) -> bool {
    is_argument(text)
        && text.starts_with('/')
        && !text.ends_with('/')
        && !text.chars().any(char::is_control)
        && text.split('/').all(|part| part != "..")
}

fn is_argument(text: &str) -> bool {
    text.len() <= MAX_TEXT_BYTES && !text.contains('\0')
}

fn is_variable(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_socket_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_SOCKET_BYTES
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}
