//! `rolltop login`: trust first, then name and password or a browser, then a session.

use clap::Args;
use rolltop_proto::v1::{ListSignInWaysRequest, SignInRequest, SignInResponse};
use serde::Serialize;
use tonic::Code;

use crate::{
    app::{App, QUICK, within},
    browser,
    connect::{self, Broker, Ways},
    failure::Failure,
    output::clean,
    secret,
    server::ServerUrl,
    store::{Config, Session, Sessions},
    terminal::{ask, confirm, is_interactive},
    trust::{Fingerprint, Trust},
    view::UserView,
};

/// The reason of a refusal that asks for the second factor.
const CODE_WANTED: &str = "SECOND_FACTOR_REQUIRED";

/// Options of `login`.
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// Sign in as; asked for if not given
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// What your authenticator app shows, or a recovery code, if signing in takes one
    #[arg(long)]
    code: Option<String>,
    /// Sign in in a browser, as at the portal: by a provider that the cluster has, too
    #[arg(long, alias = "oidc", conflicts_with_all = ["user", "password_stdin", "code"])]
    browser: bool,
    /// The same, with a browser on another machine: its page shows a code to type in here
    #[arg(long, conflicts_with_all = ["user", "password_stdin", "code"])]
    by_hand: bool,
    /// Trust the server's certificate with this fingerprint, sha256:…
    #[arg(long, value_name = "SHA256", conflicts_with = "ca")]
    fingerprint: Option<Fingerprint>,
}

/// The JSON of a login.
#[derive(Serialize)]
struct SignedIn {
    server: ServerUrl,
    user: UserView,
    expires_at: Option<String>,
}

impl Login {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let mut config = Config::load(&app.env)?;
        let mut sessions = Sessions::load(&app.env)?;
        let server = app.server(&config);
        let known = config.servers.get(&server).cloned().unwrap_or_default();

        let trust = self.trust(app, &server, known.trust).await?;
        let line = app.connect(&server, &trust, None).await?;
        // Kept from here on: a mistyped password is no reason to ask again.
        config.server = Some(server.clone());
        config.servers.entry(server.clone()).or_default().trust = Some(trust);
        config.save(&app.env)?;

        let answer = if self.in_browser(&mut line.clone().ways()).await? {
            browser::sign_in(&mut line.ways(), &server, self.by_hand, app.env.has_screen()).await?
        } else {
            self.by_password(&mut line.broker(), &server, known.user).await?
        };

        let user = answer.user.map(UserView::from).ok_or_else(|| {
            Failure::new(Code::Internal, "BAD_ANSWER", "the broker did not say who signed in")
        })?;
        let expires_at = answer.expires_at.map(|time| time.to_string());
        let session = Session {
            user: user.name.clone(),
            token: answer.token,
            expires_at: expires_at.clone(),
        };
        sessions.sessions.insert(server.clone(), session);
        sessions.save(&app.env)?;
        config.servers.entry(server.clone()).or_default().user = Some(user.name.clone());
        config.save(&app.env)?;

        let sentence = format!("signed in to {server} as {} ({})", user.name, user.role);
        app.output.done(&sentence, &SignedIn { server, user, expires_at })
    }

    /// Whether a browser is wanted. Where the cluster has a provider, a person who names
    /// nobody is asked.
    async fn in_browser(&self, ways: &mut Ways) -> Result<bool, Failure> {
        if self.browser || self.by_hand {
            return Ok(true);
        }
        if self.user.is_some() || self.password_stdin || !is_interactive() {
            return Ok(false);
        }
        // A broker that does not know the question has no provider.
        let offered = within(QUICK, ways.list_sign_in_ways(ListSignInWaysRequest {})).await;
        match offered.ok().and_then(|offered| offered.provider) {
            None => Ok(false),
            Some(provider) => {
                let title = clean(&provider.title);
                Ok(confirm(&format!("Sign in in a browser, with {title}?")).await?)
            }
        }
    }

    async fn by_password(
        self,
        broker: &mut Broker,
        server: &ServerUrl,
        known: Option<String>,
    ) -> Result<SignInResponse, Failure> {
        let name = user_name(self.user, known).await?;
        let question = format!("Password of {} at {server}: ", clean(&name));
        let password = secret::present(&question, self.password_stdin).await?;
        let mut request = SignInRequest { name, password, code: self.code.unwrap_or_default() };
        let answer = match within(QUICK, broker.sign_in(request.clone())).await {
            Err(failure) if failure.reason == CODE_WANTED && is_interactive() => {
                ask("Code of your second factor: ").await?.trim().clone_into(&mut request.code);
                within(QUICK, broker.sign_in(request)).await
            }
            other => other,
        };
        answer.map_err(refused)
    }

    /// What is named now, what is known, or what a person has compared.
    async fn trust(
        &self,
        app: &App,
        server: &ServerUrl,
        known: Option<Trust>,
    ) -> Result<Trust, Failure> {
        if let Some(fingerprint) = self.fingerprint {
            return Ok(Trust::Exactly(fingerprint));
        }
        match app.named_trust()?.or(known) {
            Some(trust) => Ok(trust),
            None => trust_on_first_use(server, self.password_stdin).await,
        }
    }
}

async fn trust_on_first_use(server: &ServerUrl, piped: bool) -> Result<Trust, Failure> {
    let shown = connect::shown_fingerprint(server).await?;
    let unknown = |hint| {
        let message = format!(
            "the certificate of {server} is not known; the server shows one with fingerprint {shown}"
        );
        Err(Failure::new(Code::Unavailable, "CERTIFICATE_UNKNOWN", message).hint(hint))
    };
    if piped || !is_interactive() {
        return unknown(format!(
            "ask the operator for the CA file or the fingerprint, and run `rolltop login --ca FILE` \
             or, if the fingerprint is that one, `rolltop login --fingerprint {shown}`"
        ));
    }
    let question = format!(
        "The certificate of {server} is not known yet. Its fingerprint is\n  {shown}\n\
         Does the operator of this server name the same, and do you trust it?"
    );
    if confirm(&question).await? {
        Ok(Trust::Exactly(shown))
    } else {
        unknown("ask the operator for the fingerprint, and compare".to_owned())
    }
}

async fn user_name(given: Option<String>, known: Option<String>) -> Result<String, Failure> {
    match given.or(known) {
        Some(name) => Ok(name),
        None if is_interactive() => Ok(ask("User: ").await?.trim().to_owned()),
        None => Err(Failure::usage("who signs in? Give --user NAME")),
    }
}

/// "Run rolltop login" is no advice to somebody who just did.
fn refused(mut failure: Failure) -> Failure {
    if failure.reason == CODE_WANTED {
        failure.hint = Some("give what your authenticator app shows with --code".to_owned());
    } else if failure.code == Code::Unauthenticated {
        failure.hint = Some("check the name and the password".to_owned());
    }
    failure
}
