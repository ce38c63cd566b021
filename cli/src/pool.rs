//! `rolltop pool`: kinds of desktop.

use clap::{ArgGroup, Args, Subcommand};
use rolltop_proto::v1::{
    DeletePoolRequest, HomePolicy, Limits, ListPoolsRequest, Pool, PutPoolRequest,
    home_policy::Kind,
};
use serde_json::json;
use tonic::Code;

use crate::{
    app::{App, QUICK, within},
    connect::Broker,
    failure::Failure,
    size,
    view::{PoolList, PoolView},
};

/// What can be done with pools.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the pools open to you
    List {
        /// Those of everybody; for operators
        #[arg(long)]
        all: bool,
    },
    /// Show one pool
    Show {
        /// Name of the pool
        pool: String,
    },
    /// Make a pool, or change the named parts of one; for operators
    Set(Box<Set>),
    /// Delete a pool; for operators
    Delete {
        /// Name of the pool
        pool: String,
    },
}

/// What is not given stays as it is; in a new pool it is the broker's default.
#[derive(Debug, Default, Args)]
#[command(group(ArgGroup::new("data").args(["persistent", "volatile"])))]
#[command(group(ArgGroup::new("who").args(["users", "everyone"])))]
pub(crate) struct Set {
    /// Name of the pool: lower-case letters, digits and '-'
    pool: String,
    /// What people see
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// More of what people see
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// "image:tag" or "image@version"
    #[arg(long)]
    image: Option<String>,
    /// Keep the desktop's files after logout
    #[arg(long)]
    persistent: bool,
    /// Drop the desktop's files at logout
    #[arg(long)]
    volatile: bool,
    /// Size of a desktop's own files, such as 2GiB
    #[arg(long, value_name = "SIZE", value_parser = size::mib)]
    disk: Option<i64>,
    /// Where homes are: "none" (with the desktop's files), "volume:SIZE" or
    /// "directory:PATH", such as directory:/srv/homes
    #[arg(long, value_name = "WHERE", value_parser = home)]
    home: Option<Home>,
    /// Most memory, such as 1GiB, or "none"
    #[arg(long, value_name = "SIZE", value_parser = size::mib_or_none)]
    memory: Option<i64>,
    /// Most processors, such as 1.5, or "none"
    #[arg(long, value_name = "NUMBER", value_parser = size::cpu_millis)]
    cpus: Option<i64>,
    /// Most processes, or "none"
    #[arg(long, value_name = "NUMBER", value_parser = size::count_or_none)]
    processes: Option<i64>,
    /// Container runtime
    #[arg(long)]
    runtime: Option<String>,
    /// Who may use it
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    users: Vec<String>,
    /// Everyone who can sign in may use it
    #[arg(long)]
    everyone: bool,
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let mut broker = app.broker().await?;
        match self {
            Self::List { all } => {
                let pools = list(&mut broker, all).await?;
                app.output.show(&pools.into_iter().collect::<PoolList>())
            }
            Self::Show { pool } => {
                let found = find(&mut broker, &pool).await?;
                let found = found.ok_or_else(|| not_found(&pool))?;
                app.output.show(&PoolView::from(found))
            }
            Self::Set(set) => {
                let present = list(&mut broker, true).await?;
                let present = present.into_iter().find(|pool| pool.name == set.pool);
                let request = PutPoolRequest { pool: Some(set.applied_to(present)) };
                let pool = within(QUICK, broker.put_pool(request)).await?;
                app.output.show(&PoolView::from(pool))
            }
            Self::Delete { pool } => {
                let request = DeletePoolRequest { name: pool.clone() };
                within(QUICK, broker.delete_pool(request)).await?;
                app.output.done(&format!("deleted pool {pool}"), &json!({ "deleted": pool }))
            }
        }
    }
}

impl Set {
    /// The pool as it is to be.
    fn applied_to(self, present: Option<Pool>) -> Pool {
        let mut pool = present.unwrap_or_default();
        let mut limits: Limits = pool.limits.take().unwrap_or_default();
        pool.name = self.pool;
        put(&mut pool.title, self.title);
        put(&mut pool.description, self.description);
        put(&mut pool.image, self.image);
        put(&mut pool.overlay_size_mib, self.disk);
        put(&mut pool.runtime, self.runtime);
        put(&mut pool.home, self.home.map(|Home(home)| home));
        put(&mut limits.memory_mib, self.memory);
        put(&mut limits.cpu_millis, self.cpus);
        put(&mut limits.pids, self.processes);
        pool.limits = Some(limits);
        if self.persistent || self.volatile {
            pool.persistent = self.persistent;
        }
        if self.everyone || !self.users.is_empty() {
            pool.users = self.users;
        }
        pool
    }
}

/// None: in the overlay.
#[derive(Clone, Debug)]
struct Home(Option<HomePolicy>);

fn home(text: &str) -> Result<Home, String> {
    let kind = match text.split_once(':') {
        None if text == "none" => return Ok(Home(None)),
        Some(("volume", size)) => Kind::VolumeMib(size::mib(size)?),
        Some(("directory", path)) if path.starts_with('/') => Kind::Directory(path.to_owned()),
        Some(_) | None => {
            return Err(format!("{text:?} is not \"none\", \"volume:SIZE\" or \"directory:PATH\""));
        }
    };
    Ok(Home(Some(HomePolicy { kind: Some(kind) })))
}

fn put<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

async fn list(broker: &mut Broker, all: bool) -> Result<Vec<Pool>, Failure> {
    Ok(within(QUICK, broker.list_pools(ListPoolsRequest { all })).await?.pools)
}

/// Looks among one's own first; an operator also sees the others.
async fn find(broker: &mut Broker, name: &str) -> Result<Option<Pool>, Failure> {
    let named = |pools: Vec<Pool>| pools.into_iter().find(|pool| pool.name == name);
    if let Some(pool) = named(list(broker, false).await?) {
        return Ok(Some(pool));
    }
    match list(broker, true).await {
        Ok(pools) => Ok(named(pools)),
        Err(failure) if failure.code == Code::PermissionDenied => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn not_found(pool: &str) -> Failure {
    Failure::new(Code::NotFound, "POOL_NOT_FOUND", format!("there is no pool {pool:?} open to you"))
        .hint("see `rolltop pool list`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_changes() {
        let present = Pool {
            name: "demo".into(),
            title: "Demo".into(),
            image: "demo:stable".into(),
            persistent: true,
            overlay_size_mib: 1024,
            limits: Some(Limits { memory_mib: 512, cpu_millis: 1000, pids: 100 }),
            users: vec!["ada".into()],
            ..Pool::default()
        };
        let set = Set { pool: "demo".into(), disk: Some(2048), memory: Some(0), ..Set::default() };
        let pool = set.applied_to(Some(present.clone()));
        let expected = Pool {
            overlay_size_mib: 2048,
            limits: Some(Limits { memory_mib: 0, cpu_millis: 1000, pids: 100 }),
            ..present.clone()
        };
        assert_eq!(pool, expected);

        let open = Set { pool: "demo".into(), everyone: true, volatile: true, ..Set::default() };
        let pool = open.applied_to(Some(present));
        assert!(pool.users.is_empty() && !pool.persistent);
    }

    #[test]
    fn a_new_pool_has_what_is_named() {
        let set = Set {
            pool: "new".into(),
            image: Some("demo:next".into()),
            persistent: true,
            ..Set::default()
        };
        let pool = set.applied_to(None);
        assert_eq!((pool.name.as_str(), pool.image.as_str()), ("new", "demo:next"));
        assert!(pool.persistent);
    }
}
