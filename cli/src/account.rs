//! One's own account: `logout`, `whoami`, `passwd`.

use clap::Args;
use rolltop_proto::v1::{ChangePasswordRequest, SignOutRequest, WhoAmIRequest};
use serde::Serialize;
use serde_json::json;
use tonic::Code;

pub(crate) use crate::login::Login;
use crate::{
    app::{App, QUICK, within},
    failure::Failure,
    output::{Look, View},
    secret,
    server::ServerUrl,
    store::{Config, Sessions},
    view::UserView,
};

/// Options of `passwd`.
#[derive(Debug, Args)]
pub(crate) struct Passwd {
    /// Change another user's password; for operators
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Read your present password and the new one from standard input, a line each
    #[arg(long)]
    password_stdin: bool,
}

/// The JSON of `whoami`: the account, and where.
#[derive(Serialize)]
struct WhoAmI {
    server: ServerUrl,
    #[serde(flatten)]
    user: UserView,
}

impl View for WhoAmI {
    fn text(&self, look: Look) -> String {
        format!("{}server     {}\n", self.user.text(look), self.server)
    }
}

/// Ends the session here and at the broker. Here in any case: somebody who
/// signs out wants the token gone, whether the broker can be reached or not.
pub(crate) async fn logout(app: &App) -> Result<(), Failure> {
    let server = app.server(&Config::load(&app.env)?);
    let at_broker = match app.broker().await {
        Ok(mut broker) => within(QUICK, broker.sign_out(SignOutRequest {})).await.map(|_| ()),
        Err(failure) => Err(failure),
    };
    let mut sessions = Sessions::load(&app.env)?;
    let was_kept = sessions.sessions.remove(&server).is_some();
    if was_kept {
        sessions.save(&app.env)?;
    }
    match at_broker {
        Ok(()) => {}
        // The broker has forgotten the session already.
        Err(failure) if failure.code == Code::Unauthenticated && was_kept => {}
        Err(mut failure) if was_kept => {
            failure.message = format!(
                "the token was forgotten here, but the session may live on at {server}: {}",
                failure.message
            );
            return Err(failure);
        }
        Err(failure) => return Err(failure),
    }
    app.output.done(&format!("signed out of {server}"), &json!({ "server": server }))
}

/// Who the broker takes us for.
pub(crate) async fn whoami(app: &App) -> Result<(), Failure> {
    let server = app.server(&Config::load(&app.env)?);
    let user = within(QUICK, app.broker().await?.who_am_i(WhoAmIRequest {})).await?;
    app.output.show(&WhoAmI { server, user: user.into() })
}

impl Passwd {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let mut broker = app.broker().await?;
        let piped = self.password_stdin;
        let current_password = secret::present("Your present password: ", piped).await?;
        let question = match &self.user {
            Some(user) => format!("New password of {user}: "),
            None => "New password: ".to_owned(),
        };
        let new_password = secret::new(&question, piped).await?;
        let user = self.user.unwrap_or_default();
        let request = ChangePasswordRequest { user, current_password, new_password };
        within(QUICK, broker.change_password(request)).await?;
        app.output.done("password changed", &json!({ "changed": true }))
    }
}
