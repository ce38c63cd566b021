//! A token to enrol a host with.

use rolltop_proto::v1::MakeEnrolTokenResponse;
use serde::Serialize;

use super::time;
use crate::server::ServerUrl;

/// The token, and what to do with it.
#[derive(Debug, Serialize)]
pub(crate) struct EnrolTokenView {
    name: String,
    token: String,
    expires_at: Option<String>,
    command: String,
}

impl EnrolTokenView {
    pub(crate) fn new(name: String, made: MakeEnrolTokenResponse, server: &ServerUrl) -> Self {
        let command = format!("rolltop-agent enrol --broker {server} --token {}", made.token);
        Self { name, token: made.token, expires_at: time(made.expires_at), command }
    }

    pub(crate) fn sentence(&self) -> String {
        let until = self.expires_at.as_deref().unwrap_or("it is used");
        format!(
            "on {}, as root, once, until {until}:\n\n  {}\n\n(with a name or address of this broker that {} can \
             reach, and `name = \"{}\"` in its agent.toml)",
            self.name, self.command, self.name, self.name
        )
    }
}
