//! What every command has: output, and the way to the broker.

use std::{path::PathBuf, time::Duration};

use tonic::{Code, Response, Status};

use crate::{
    cli::{Command, Global},
    connect::{self, Audit, Broker, ConnectError, Hosts, Line, People, Stats, Storage},
    env::Environment,
    failure::{Exit, Failure, SIGN_IN_HINT},
    output::Output,
    server::ServerUrl,
    store::{Config, Sessions},
    trust::{Trust, TrustError},
};

/// For calls that look something up or note something down.
pub(crate) const QUICK: Duration = Duration::from_secs(30);

/// One run of the program.
pub(crate) struct App {
    pub(crate) env: Environment,
    pub(crate) output: Output,
    server: Option<ServerUrl>,
    ca: Option<PathBuf>,
}

impl App {
    pub(crate) fn new(env: Environment, global: Global) -> Self {
        let output = Output::new(global.output, env.no_color());
        Self { env, output, server: global.server, ca: global.ca }
    }

    /// Runs one command; the exit code is the process's.
    pub(crate) async fn run(&self, command: Command) -> Result<Exit, Failure> {
        match command {
            Command::Login(login) => login.run(self).await?,
            Command::Logout => crate::account::logout(self).await?,
            Command::Whoami => crate::account::whoami(self).await?,
            Command::Passwd(passwd) => passwd.run(self).await?,
            Command::Pool(command) => command.run(self).await?,
            Command::Desktop(command) => return command.run(self).await,
            Command::Session(command) => command.run(self).await?,
            Command::Data(command) => command.run(self).await?,
            Command::Host(command) => command.run(self).await?,
            Command::Place(command) => command.run(self).await?,
            Command::Image(command) => command.run(self).await?,
            Command::Group(command) => command.run(self).await?,
            Command::Token(command) => command.run(self).await?,
            Command::Totp(command) => command.run(self).await?,
            Command::Audit(command) => return command.run(self).await,
            Command::User(command) => command.run(self).await?,
            Command::Completion { shell } => crate::about::completion(self, shell)?,
            Command::Version => crate::about::version(self)?,
        }
        Ok(Exit::OK)
    }

    /// The broker to talk to: named now, used last, or on this machine.
    pub(crate) fn server(&self, config: &Config) -> ServerUrl {
        self.server.clone().or_else(|| config.server.clone()).unwrap_or_default()
    }

    /// The trust named now, if any.
    pub(crate) fn named_trust(&self) -> Result<Option<Trust>, Failure> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map(|pem| Trust::SignedBy { pem }).map_err(|error| {
                let message = format!("cannot read the CA file {}: {error}", path.display());
                Failure::new(Code::InvalidArgument, "CA_INVALID", message)
            })
        };
        self.ca.as_ref().map(read).transpose()
    }

    /// Connects with the stored or given token.
    pub(crate) async fn broker(&self) -> Result<Broker, Failure> {
        Ok(self.line().await?.broker())
    }

    /// The same, to hosts' lives.
    pub(crate) async fn hosts(&self) -> Result<Hosts, Failure> {
        Ok(self.line().await?.hosts())
    }

    /// The same, to what is kept for users.
    pub(crate) async fn storage(&self) -> Result<Storage, Failure> {
        Ok(self.line().await?.storage())
    }

    /// The same, to what desktops are doing.
    pub(crate) async fn stats(&self) -> Result<Stats, Failure> {
        Ok(self.line().await?.stats())
    }

    /// The same, to who did what.
    pub(crate) async fn audit(&self) -> Result<Audit, Failure> {
        Ok(self.line().await?.audit())
    }

    /// The same, to who works in which desktop and who looks.
    pub(crate) async fn sessions(&self) -> Result<crate::connect::Sessions, Failure> {
        Ok(self.line().await?.sessions())
    }

    /// The same, to image roll-outs.
    pub(crate) async fn rollouts(&self) -> Result<crate::connect::Rollouts, Failure> {
        Ok(self.line().await?.rollouts())
    }

    /// The same, to accounts, groups and tokens.
    pub(crate) async fn people(&self) -> Result<People, Failure> {
        Ok(self.line().await?.people())
    }

    /// The broker's address, for a person to use elsewhere.
    pub(crate) fn server_in_use(&self) -> Result<ServerUrl, Failure> {
        Ok(self.server(&Config::load(&self.env)?))
    }

    async fn line(&self) -> Result<Line, Failure> {
        let config = Config::load(&self.env)?;
        let server = self.server(&config);
        let known = config.servers.get(&server).and_then(|known| known.trust.clone());
        let trust = match self.named_trust()?.or(known) {
            Some(trust) => trust,
            None => return Err(unknown_server(&server)),
        };
        let stored = match self.env.token() {
            Some(_) => None,
            None => Sessions::load(&self.env)?.sessions.remove(&server).map(|kept| kept.token),
        };
        let token = self.env.token().or(stored.as_deref());
        if token.is_none() {
            return Err(Failure::not_signed_in(&server.to_string()));
        }
        self.connect(&server, &trust, token).await
    }

    /// Connects with exactly this trust and token.
    pub(crate) async fn connect(
        &self,
        server: &ServerUrl,
        trust: &Trust,
        token: Option<&str>,
    ) -> Result<Line, Failure> {
        match connect::connect(server, trust, token).await {
            Err(ConnectError::Trust(TrustError::NoCertificate)) if self.ca.is_some() => {
                Err(Failure::new(
                    Code::InvalidArgument,
                    "CA_INVALID",
                    "there is no certificate in the file given as --ca",
                ))
            }
            other => Ok(other?),
        }
    }
}

fn unknown_server(server: &ServerUrl) -> Failure {
    Failure::new(
        Code::Unauthenticated,
        "NOT_SIGNED_IN",
        format!("not signed in to {server}, and its certificate is not known"),
    )
    .hint(format!("{SIGN_IN_HINT}, or name the CA of the cluster with --ca FILE"))
}

/// Awaits a call's answer, but not for ever.
pub(crate) async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(deadline, call).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(no_answer(deadline)),
    }
}

/// The broker took longer than we wait.
pub(crate) fn no_answer(deadline: Duration) -> Failure {
    let message = format!("the broker did not answer within {} s", deadline.as_secs());
    Failure::new(Code::DeadlineExceeded, "NO_ANSWER", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_says_nothing_is_not_waited_for() {
        let failure = within::<()>(QUICK, std::future::pending()).await.unwrap_err();
        assert_eq!(failure.reason, "NO_ANSWER");
        assert_eq!(failure.exit, Exit::TIMED_OUT);
    }
}
