//! Sessions and who looks at them.

use rolltop_proto::v1::{Notice, Session, Viewer};
use serde::Serialize;

use super::{ago, or_empty, some, time, words};
use crate::{
    output::{Column, Look, Table, Tone, View},
    watch::Change,
};

/// `{"sessions": […]}`
#[derive(Debug, Serialize)]
pub(crate) struct SessionList {
    sessions: Vec<SessionView>,
}

/// One session.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SessionView {
    desktop: String,
    pool: String,
    user: String,
    host: Option<String>,
    state: &'static str,
    started_at: Option<String>,
    viewer: Option<LookerView>,
    ends_at: Option<String>,
    ends_because: Option<String>,
    notice: Option<NoticeView>,
    #[serde(skip)]
    tone: Tone,
}

#[derive(Clone, Debug, Serialize)]
struct LookerView {
    user: String,
    address: String,
    since: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct NoticeView {
    text: String,
    by: String,
    at: Option<String>,
    expires_at: Option<String>,
}

// === impl SessionView ===

impl SessionView {
    pub(crate) fn desktop(&self) -> &str {
        &self.desktop
    }
}

impl Change for SessionView {
    fn sentence(&self) -> String {
        let looked_at = match &self.viewer {
            Some(viewer) => format!("looked at from {}", viewer.address),
            None => "nobody looks".to_owned(),
        };
        let host = or_empty(self.host.as_ref());
        format!("{}: {} on {host}, {looked_at}", self.desktop, self.state)
    }
}

impl From<Session> for SessionView {
    fn from(session: Session) -> Self {
        let (state, tone) = words::desktop_state(session.state);
        Self {
            state,
            tone,
            desktop: session.desktop,
            pool: session.pool,
            user: session.user,
            host: some(&session.host),
            started_at: time(session.started_at),
            viewer: session.viewer.map(|viewer| {
                let Viewer { user, address, since } = viewer;
                LookerView { user, address, since: time(since) }
            }),
            ends_at: time(session.ends_at),
            ends_because: some(&session.ends_because),
            notice: session.notice.map(|notice| {
                let Notice { id: _, text, by, at, expires_at } = notice;
                NoticeView { text, by, at: time(at), expires_at: time(expires_at) }
            }),
        }
    }
}

impl FromIterator<Session> for SessionList {
    fn from_iter<I: IntoIterator<Item = Session>>(sessions: I) -> Self {
        Self { sessions: sessions.into_iter().map(SessionView::from).collect() }
    }
}

impl View for SessionList {
    fn text(&self, look: Look) -> String {
        let columns = [
            Column::Left("DESKTOP"),
            Column::Left("STATE"),
            Column::Left("HOST"),
            Column::Left("STARTED"),
            Column::Left("LOOKED AT FROM"),
            Column::Left("SINCE"),
        ];
        let mut table = Table::new(columns, "no sessions");
        for session in &self.sessions {
            let viewer = session.viewer.as_ref();
            table.row([
                (Tone::Normal, session.desktop.clone()),
                (session.tone, session.state.to_owned()),
                (Tone::Normal, or_empty(session.host.as_ref())),
                (Tone::Normal, ago(session.started_at.as_ref(), look)),
                (Tone::Normal, or_empty(viewer.map(|viewer| &viewer.address))),
                (Tone::Normal, ago(viewer.and_then(|viewer| viewer.since.as_ref()), look)),
            ]);
        }
        table.render(look.paint)
    }
}

#[cfg(test)]
mod tests {
    use rolltop_proto::v1::DesktopState;

    use super::*;
    use crate::view::testing::{earlier, look};

    #[test]
    fn who_looks_from_where_since_when() {
        let viewer = Viewer { user: "anna".into(), address: "10.0.0.7".into(), since: earlier(60) };
        let watched = Session {
            desktop: "demo/anna".into(),
            host: "host1".into(),
            state: DesktopState::Running.into(),
            started_at: earlier(3600),
            viewer: Some(viewer),
            ..Session::default()
        };
        let left = Session { desktop: "demo/ben".into(), viewer: None, ..watched.clone() };
        let list: SessionList = [watched, left].into_iter().collect();
        let text = list.text(look());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("demo/anna") && lines[1].contains("10.0.0.7"), "{text}");
        assert!(!lines[2].contains("10.0.0.7"), "{text}");
        assert_eq!(list.sessions[1].sentence(), "demo/ben: running on host1, nobody looks");
    }
}
