//! Commands on the state directory itself, for a first user and a first host:
//! the running broker has calls for the rest.

use std::{
    fs,
    io::{self, BufRead, BufReader, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use thiserror::Error;

use crate::{
    audit::{self, Entry, Outcome, Who},
    auth::{AccountError, Accounts, Act, Limits, NewAccount, Password, PasswordError, Passwords},
    cli::{Command, HostAdd, HostCommand, StoreCommand, UserAdd, UserCommand},
    clock::{Clock as _, SystemClock},
    cluster::{CA_FILE, Cluster, ClusterError, make_private_dir, open_store, replace_file},
    config::Config,
    names::{BadField, UserName},
    pki::PkiError,
    secret::generate_password,
    state::{self, CounterRecord, CredentialRecord, HostRecord, Role, TransactionExt as _, keys},
    store::{
        Store, StoreError, Transaction,
        archive::{self, ArchiveError},
    },
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
    /// The store cannot be exported or imported.
    #[error("{file}")]
    Archive {
        /// From or to where.
        file: String,
        /// Why not.
        #[source]
        source: ArchiveError,
    },
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
    match command {
        Command::User(UserCommand::Add(add)) => {
            add_user(config, &cluster(config).await?, add, input, output).await
        }
        Command::User(UserCommand::SetRole { name, role }) => {
            set_role(config, &cluster(config).await?, &name, role).await
        }
        Command::Host(HostCommand::Add(add)) => {
            add_host(config, &cluster(config).await?, &add).await
        }
        // Nothing may be made in a store that is to be filled.
        Command::Store(command) => move_store(config, &command, output).await,
    }
}

async fn cluster(config: &Config) -> Result<Cluster, OfflineError> {
    let cluster = Cluster::open(config, &SystemClock).await?;
    // So that the certificate is there to be handed out before the first start.
    cluster
        .authority
        .server(cluster.store.as_ref(), &SystemClock, &config.certificate_names())
        .await?;
    Ok(cluster)
}

async fn move_store(
    config: &Config,
    command: &StoreCommand,
    output: &mut dyn Write,
) -> Result<(), OfflineError> {
    let store = open_store(config).await?;
    let (file, done, verb) = match command {
        StoreCommand::Export { file } => (file, export(store.as_ref(), file).await, "exported to"),
        StoreCommand::Import { file, replace } => {
            (file, import(store.as_ref(), file, *replace).await, "imported from")
        }
    };
    let shown = file.display();
    let summary =
        done.map_err(|source| OfflineError::Archive { file: shown.to_string(), source })?;
    writeln!(output, "{} keys of revision {} {verb} {shown}", summary.entries, summary.revision)
        .map_err(|source| OfflineError::Stdio { verb: "print what was done", source })
}

/// Under another name until it is whole.
async fn export(store: &dyn Store, path: &Path) -> Result<archive::Summary, ArchiveError> {
    let io = |verb| move |source| ArchiveError::Io { verb, source };
    if path.exists() {
        return Err(io("make")(io::ErrorKind::AlreadyExists.into()));
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = Path::new(&name);
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        // It holds the keys of the cluster.
        .mode(0o600)
        .open(part)
        .map_err(io("make"))?;
    let mut out = BufWriter::new(file);
    let summary = archive::export(store, &mut out).await?;
    out.get_ref().sync_all().map_err(io("write"))?;
    fs::rename(part, path).map_err(io("rename"))?;
    Ok(summary)
}

/// Three times through the file: is it whole, put it there, is it there.
async fn import(
    store: &dyn Store,
    path: &Path,
    replace: bool,
) -> Result<archive::Summary, ArchiveError> {
    let open = || {
        let file = fs::File::open(path);
        file.map(BufReader::new).map_err(|source| ArchiveError::Io { verb: "open", source })
    };
    archive::check(&mut open()?)?;
    let summary = archive::import(store, &mut open()?, keys::IMPORTING, replace).await?;
    archive::verify(store, &mut open()?, keys::IMPORTING, beyond(store).await?).await?;
    Ok(summary)
}

/// More starts than any cluster makes between a backup and the day it is needed.
const FORGOTTEN: u64 = 1 << 32;

/// Epochs that hosts were given since the export must not be given again: to a
/// host, the higher one is the later one.
async fn beyond(store: &dyn Store) -> Result<Transaction, StoreError> {
    let counter = state::read::<CounterRecord>(store, keys::EPOCH_COUNTER).await?;
    let last = counter.as_ref().map_or(0, |stored| stored.record.last).saturating_add(FORGOTTEN);
    Transaction::new()
        .unless_changed(keys::EPOCH_COUNTER, counter.as_ref())
        .put_record(keys::EPOCH_COUNTER, &CounterRecord { last })
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
    let accounts = accounts(config, cluster).await?;
    let new = NewAccount {
        name: add.name,
        full_name: add.full_name,
        role: if add.operator { Role::Operator } else { add.role },
        password: Password::chosen("password", text.clone())?,
    };
    let user = accounts.create(new).await?;
    let entry = noted(Act::CreateUser).on("user", &user.name).detail("role", user.role);
    audit::segment::append(cluster.store.as_ref(), vec![entry]).await?;
    if add.password.generate_password {
        writeln!(output, "{text}")
            .map_err(|source| OfflineError::Stdio { verb: "print the password", source })?;
    }
    Ok(())
}

async fn accounts(config: &Config, cluster: &Cluster) -> Result<Accounts, OfflineError> {
    let limits = Limits {
        account_attempts: config.sign_in.account_attempts,
        address_attempts: config.sign_in.address_attempts,
        lockout: config.sign_in.lockout,
    };
    let (store, passwords) = (Arc::clone(&cluster.store), Passwords::new(1).await?);
    Ok(Accounts::new(store, Arc::new(SystemClock), passwords, limits))
}

async fn set_role(
    config: &Config,
    cluster: &Cluster,
    name: &UserName,
    role: Role,
) -> Result<(), OfflineError> {
    accounts(config, cluster).await?.set_role(name, role).await?;
    let entry = noted(Act::SetRole).on("user", name).detail("role", role);
    audit::segment::append(cluster.store.as_ref(), vec![entry]).await?;
    Ok(())
}

async fn add_host(config: &Config, cluster: &Cluster, add: &HostAdd) -> Result<(), OfflineError> {
    let (credentials, issued) = cluster.authority.issue_host(
        &add.name,
        SystemClock.now(),
        config.hosts.certificate_days,
    )?;
    let record =
        HostRecord::new(add.name.clone(), add.endpoint.clone(), CredentialRecord::only(issued));
    let key = keys::host(&add.name);
    cluster.store.commit(Transaction::new().put_record(&key, &record)?).await?;
    make_private_dir(&add.credentials_out)?;
    let out = |name: &str| add.credentials_out.join(name);
    replace_file(&out(CA_FILE), cluster.authority.certificate_pem(), 0o644)?;
    replace_file(&out("host.pem"), &credentials.certificate_pem, 0o644)?;
    replace_file(&out("host-key.pem"), &credentials.key_pem, 0o600)?;
    let entry = noted(Act::PutHost).on("host", &add.name).detail("endpoint", &add.endpoint);
    audit::segment::append(cluster.store.as_ref(), vec![entry]).await?;
    Ok(())
}

/// An act at this machine.
fn noted(act: Act) -> Entry {
    Entry { at: SystemClock.now(), ..Entry::new(act, &Who::offline(), Outcome::Ok) }
}
