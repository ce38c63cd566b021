//! What the tests of the program stand on: a scripted broker behind real TLS,
//! a home of its own, and a terminal to type at.

#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test file uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests end here when what they stand on fails"
)]

mod broker;
mod local;
mod pty;
mod rollouts;
mod storage;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rolltop_proto::v1::{
    broker_server::BrokerServer, rollouts_server::RolloutsServer, storage_server::StorageServer,
};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};

pub use broker::{PASSWORD, TOKEN};
pub use pty::Dialogue;
pub use storage::ARCHIVE;

/// A broker on 127.0.0.1, and a home directory for the program.
pub struct Rig {
    home: tempfile::TempDir,
    port: u16,
    /// Of the certificate that the broker shows.
    pub fingerprint: String,
    ca_pem: String,
    // Dropped last: the broker runs in it.
    _runtime: Runtime,
}

impl Rig {
    pub fn new() -> Self {
        let certificates = Certificates::make();
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let identity = Identity::from_pem(&certificates.chain_pem, &certificates.key_pem);
        let server = Server::builder()
            .tls_config(ServerTlsConfig::new().identity(identity))
            .unwrap()
            .add_service(StorageServer::new(broker::Scripted))
            .add_service(RolloutsServer::new(broker::Scripted))
            .add_service(BrokerServer::new(broker::Scripted))
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime.spawn(server);
        Self {
            home: tempfile::tempdir().unwrap(),
            port,
            fingerprint: certificates.fingerprint,
            ca_pem: certificates.ca_pem,
            _runtime: runtime,
        }
    }

    /// One where "ada" has signed in.
    pub fn signed_in() -> Self {
        let rig = Self::new();
        let done = rig.login(&["--fingerprint", &rig.fingerprint], PASSWORD);
        assert_eq!(done.code(), 0, "{}", done.stderr);
        rig
    }

    pub fn server(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The CA certificate in a file.
    pub fn ca_file(&self) -> PathBuf {
        let path = self.path("ca.pem");
        fs::write(&path, &self.ca_pem).unwrap();
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path(".config/rolltop/config.toml")
    }

    pub fn sessions(&self) -> PathBuf {
        self.path(".local/state/rolltop/sessions.toml")
    }

    /// The program with an environment of its own.
    pub fn command(&self, args: &[&str]) -> Command {
        self.prepared(Command::new(env!("CARGO_BIN_EXE_rolltop")), args)
    }

    /// The program at a terminal of its own.
    pub fn at_terminal(&self, args: &[&str]) -> Dialogue {
        // `setsid --ctty` makes its standard input the controlling terminal.
        let mut setsid = Command::new("setsid");
        setsid.args(["--ctty", env!("CARGO_BIN_EXE_rolltop")]);
        Dialogue::start(self.prepared(setsid, args))
    }

    fn prepared(&self, mut command: Command, args: &[&str]) -> Command {
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("TERM", "xterm-256color")
            .stdin(Stdio::null())
            .current_dir(self.home.path());
        // What the program has run is noted with the tests' own, if at all.
        if let Some(profile) = std::env::var_os("LLVM_PROFILE_FILE") {
            command.env("LLVM_PROFILE_FILE", profile);
        }
        command
    }

    pub fn run(&self, args: &[&str]) -> Done {
        Done::from(self.command(args).output().unwrap())
    }

    pub fn run_with_input(&self, args: &[&str], input: &[u8]) -> Done {
        let file = self.path("stdin");
        fs::write(&file, input).unwrap();
        let mut command = self.command(args);
        command.stdin(fs::File::open(&file).unwrap());
        Done::from(command.output().unwrap())
    }

    /// "login" as ada with a piped password.
    pub fn login(&self, more: &[&str], password: &str) -> Done {
        let server = self.server();
        let mut args = vec!["login", "--server", &server, "--user", "ada", "--password-stdin"];
        args.extend(more);
        self.run_with_input(&args, format!("{password}\n").as_bytes())
    }
}

/// What a run of the program left.
pub struct Done {
    pub stdout: String,
    pub stderr: String,
    status: std::process::ExitStatus,
}

impl Done {
    pub fn code(&self) -> i32 {
        self.status.code().expect("ended by itself")
    }

    /// The one JSON document on standard output.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }

    /// The one JSON document on standard error: its "error".
    pub fn error(&self) -> serde_json::Value {
        let mut value: serde_json::Value =
            serde_json::from_str(&self.stderr).unwrap_or_else(|e| panic!("{e}: {}", self.stderr));
        value["error"].take()
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            status: output.status,
        }
    }
}

/// A CA, and a certificate for "localhost" that it has signed.
struct Certificates {
    ca_pem: String,
    chain_pem: String,
    key_pem: String,
    fingerprint: String,
}

impl Certificates {
    fn make() -> Self {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(ca, ca_key);

        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf = rcgen::CertificateParams::new(names).unwrap();
        let certificate = leaf.signed_by(&key, &issuer).unwrap();
        let mut fingerprint = "sha256:".to_owned();
        for byte in Sha256::digest(certificate.der()) {
            write!(fingerprint, "{byte:02x}").unwrap();
        }
        Self {
            ca_pem: ca_certificate.pem(),
            chain_pem: certificate.pem() + &ca_certificate.pem(),
            key_pem: key.serialize_pem(),
            fingerprint,
        }
    }
}

/// Permission bits of a file.
pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(path).unwrap().mode() & 0o777
}
