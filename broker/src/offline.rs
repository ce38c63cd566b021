//! Commands on the state directory itself, for a first user and a first host:
//! the running broker has calls for the rest.

use std::{
    io::{self, BufRead, Write},
    sync::Arc,
};

use thiserror::Error;

use crate::{
    auth::{AccountError, Accounts, Limits, NewAccount, Password, PasswordError, Passwords},
    cli::{Command, HostAdd, HostCommand, UserAdd, UserCommand},
    clock::SystemClock,
    cluster::{CA_FILE, Cluster, ClusterError, make_private_dir, replace_file},
    config::Config,
    names::BadField,
    pki::PkiError,
    secret::generate_password,
    state::{HostRecord, Role, TransactionExt as _, keys},
    store::{StoreError, Transaction},
};

/// Of standard input; the longest password is shorter.
const MAX_LINE_BYTES: u64 = 8192;

/// An offline command failed.
#[derive(Debug, Error)]
pub enum OfflineError {
    /// The state cannot be used.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The account cannot be made.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// Passwords cannot be hashed here.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A field is not acceptable.
    #[error(transparent)]
    Field(#[from] BadField),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A certificate could not be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// Standard input or output failed.
    #[error("cannot {verb}")]
    Stdio {
        /// What was being done.
        verb: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Runs a command. `input` and `output`: standard input and output.
///
/// # Errors
/// [`StoreError::InUse`] while a broker runs, and what the command meets.
pub async fn run(
    config: &Config,
    command: Command,
    input: &mut dyn BufRead,
    output: &mut dyn Write,
) -> Result<(), OfflineError> {
    let cluster = Cluster::open(config, &SystemClock).await?;
    // So that the certificate is there to be handed out before the first start.
    cluster
        .authority
        .server(cluster.store.as_ref(), &SystemClock, &config.certificate_names())
        .await?;
    match command {
        Command::User(UserCommand::Add(add)) => {
            add_user(config, &cluster, add, input, output).await
        }
        Command::Host(HostCommand::Add(add)) => add_host(&cluster, &add).await,
    }
}

async fn add_user(
    config: &Config,
    cluster: &Cluster,
    add: UserAdd,
    input: &mut dyn BufRead,
    output: &mut dyn Write,
) -> Result<(), OfflineError> {
    let text = if add.password.generate_password {
        generate_password()
    } else {
        let mut line = String::new();
        let mut bounded = io::Read::take(input, MAX_LINE_BYTES);
        bounded
            .read_line(&mut line)
            .map_err(|source| OfflineError::Stdio { verb: "read the password", source })?;
        line.trim_end_matches(['\n', '\r']).to_owned()
    };
    let limits = Limits {
        account_attempts: config.sign_in.account_attempts,
        address_attempts: config.sign_in.address_attempts,
        lockout: config.sign_in.lockout,
    };
    let accounts = Accounts::new(
        Arc::clone(&cluster.store),
        Arc::new(SystemClock),
        Passwords::new(1).await?,
        limits,
    );
    let new = NewAccount {
        name: add.name,
        full_name: add.full_name,
        role: if add.operator { Role::Operator } else { Role::User },
        password: Password::chosen("password", text.clone())?,
    };
    let user = accounts.create(new).await?;
    tracing::info!(target: "audit", act = "create-user", by = "offline", user = %user.name, uid = user.uid,
        outcome = "ok");
    if add.password.generate_password {
        writeln!(output, "{text}")
            .map_err(|source| OfflineError::Stdio { verb: "print the password", source })?;
    }
    Ok(())
}

async fn add_host(cluster: &Cluster, add: &HostAdd) -> Result<(), OfflineError> {
    use crate::clock::Clock as _;
    let credentials = cluster.authority.issue_host(&add.name, SystemClock.now())?;
    let record = HostRecord { name: add.name.clone(), endpoint: add.endpoint.clone() };
    let key = keys::host(&add.name);
    cluster.store.commit(Transaction::new().put_record(&key, &record)?).await?;
    make_private_dir(&add.credentials_out)?;
    let out = |name: &str| add.credentials_out.join(name);
    replace_file(&out(CA_FILE), cluster.authority.certificate_pem(), 0o644)?;
    replace_file(&out("host.pem"), &credentials.certificate_pem, 0o644)?;
    replace_file(&out("host-key.pem"), &credentials.key_pem, 0o600)?;
    tracing::info!(target: "audit", act = "put-host", by = "offline", host.name = %add.name,
        host.endpoint = %add.endpoint, outcome = "ok");
    Ok(())
}
