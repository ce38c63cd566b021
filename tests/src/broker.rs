//! A broker of one's own, and a client of its API.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rolltop_proto::v1::{
    OpenConnectionRequest, SignInRequest, broker_client::BrokerClient, hosts_client::HostsClient,
};
use tokio::process::Command;
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::{
    daemon::Daemon,
    gateway::{self, Socket},
};

/// Where brokers of tests listen.
pub const ADDRESS: &str = "127.0.0.1:8443";
const PORT: u16 = 8443;
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// What a broker is started with: its program and a directory for all it keeps.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// `rolltop-broker`.
    pub program: PathBuf,
    /// For its configuration, store and log.
    pub dir: PathBuf,
}

/// A running broker. Killed if dropped.
#[derive(Debug)]
pub struct Broker {
    settings: BrokerSettings,
    daemon: Daemon,
}

/// Someone signed in at a broker.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The API.
    pub client: BrokerClient<Channel>,
    token: MetadataValue<Ascii>,
}

// === impl BrokerSettings ===

impl BrokerSettings {
    /// Makes the directory and the configuration.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn prepare(program: PathBuf, dir: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let settings = Self { program, dir };
        let state = settings.state().display().to_string();
        let text = toml::toml! { listen = ADDRESS state_dir = state };
        fs::write(settings.config(), text.to_string())?;
        Ok(settings)
    }

    fn config(&self) -> PathBuf {
        self.dir.join("broker.toml")
    }

    fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Makes an account; returns its password. No broker may run meanwhile.
    ///
    /// # Errors
    /// It refuses.
    pub async fn add_user(&self, name: &str, options: &[&str]) -> anyhow::Result<String> {
        let mut arguments = vec!["user", "add", name, "--generate-password"];
        arguments.extend(options);
        let output = self.command(&arguments).await?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Makes a host known; its credentials go to `credentials`.
    ///
    /// # Errors
    /// It refuses.
    pub async fn add_host(
        &self,
        name: &str,
        endpoint: &str,
        credentials: &Path,
    ) -> anyhow::Result<()> {
        let credentials = credentials.to_str().context("a path that is not UTF-8")?;
        let arguments =
            ["host", "add", name, "--endpoint", endpoint, "--credentials-out", credentials];
        self.command(&arguments).await.map(drop)
    }

    async fn command(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.config()).args(arguments).kill_on_drop(true);
        let output = command.output().await.context("cannot run rolltop-broker")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "rolltop-broker {arguments:?}: {said}");
        Ok(output)
    }
}

// === impl Broker ===

impl Broker {
    /// Starts a broker and waits until it serves.
    ///
    /// # Errors
    /// It ends, or does not serve in time; with the end of its log.
    pub async fn start(settings: BrokerSettings) -> anyhow::Result<Self> {
        let log = settings.dir.join("broker.log");
        let daemon =
            Daemon::start("broker", &settings.program, &settings.config(), log, &[]).await?;
        Ok(Self { settings, daemon })
    }

    /// Kills it; another can be started with what it returns.
    ///
    /// # Errors
    /// It had ended already.
    pub async fn kill(self) -> anyhow::Result<BrokerSettings> {
        self.daemon.kill().await?;
        Ok(self.settings)
    }

    /// Lets it end.
    ///
    /// # Errors
    /// It does not end in time, or badly.
    pub async fn end(self) -> anyhow::Result<BrokerSettings> {
        self.daemon.end().await?;
        Ok(self.settings)
    }

    /// A new connection.
    ///
    /// # Errors
    /// It does not answer, or not with a certificate of its own authority.
    pub async fn connect(&self) -> anyhow::Result<BrokerClient<Channel>> {
        Ok(BrokerClient::new(self.channel().await?))
    }

    async fn channel(&self) -> anyhow::Result<Channel> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.ca()?))
            .domain_name("localhost");
        Endpoint::from_shared(format!("https://{ADDRESS}"))?
            .tls_config(tls)?
            .connect_timeout(CONNECT_LIMIT)
            .connect()
            .await
            .context("the broker does not answer")
    }

    fn ca(&self) -> anyhow::Result<String> {
        fs::read_to_string(self.settings.state().join("ca.pem")).context("the broker's ca.pem")
    }

    /// The display of a desktop of the caller's, as a browser shows it.
    ///
    /// # Errors
    /// There is none, or the broker refuses.
    pub async fn look(&self, caller: &mut Caller, desktop: &str) -> anyhow::Result<Socket> {
        let request = caller.ask(OpenConnectionRequest { desktop: desktop.into() });
        let opened = caller.client.open_connection(request).await?.into_inner();
        gateway::connect(&gateway::trusting(&self.ca()?)?, PORT, &opened.path).await
    }

    /// A new connection for calls about hosts.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn hosts(&self) -> anyhow::Result<HostsClient<Channel>> {
        Ok(HostsClient::new(self.channel().await?))
    }

    /// The command line `program` in the name of `caller`.
    ///
    /// # Errors
    /// A token that is no text.
    pub fn command_line(&self, program: &Path, caller: &Caller) -> anyhow::Result<Command> {
        let token = caller.token.to_str()?.trim_start_matches("Bearer ");
        let mut command = Command::new(program);
        command
            .env("ROLLTOP_SERVER", format!("https://{ADDRESS}"))
            .env("ROLLTOP_CA", self.settings.state().join("ca.pem"))
            .env("ROLLTOP_TOKEN", token)
            .env("HOME", &self.settings.dir)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        Ok(command)
    }

    /// Signs someone in.
    ///
    /// # Errors
    /// The name or password is wrong.
    pub async fn sign_in(&self, name: &str, password: &str) -> anyhow::Result<Caller> {
        let mut client = self.connect().await?;
        let request =
            SignInRequest { name: name.into(), password: password.into(), ..Default::default() };
        let answer = client.sign_in(request).await?.into_inner();
        Ok(Caller { client, token: format!("Bearer {}", answer.token).parse()? })
    }

    /// The same sign-in over a new connection, such as after a restart.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn again(&self, caller: &Caller) -> anyhow::Result<Caller> {
        Ok(Caller { client: self.connect().await?, token: caller.token.clone() })
    }
}

// === impl Caller ===

impl Caller {
    /// A request in this person's name.
    pub fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.token.clone());
        request
    }
}
