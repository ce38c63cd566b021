//! `rolltop pool`: kinds of desktop.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use rolltop_proto::{
    egress::Egress,
    v1::{
        self, DeletePoolRequest, HomePolicy, HostPolicy, Limits, ListPoolsRequest, NetworkPolicy,
        Pool, PutPoolRequest, TimeLimits, home_policy::Kind,
    },
};
use serde_json::json;
use tonic::Code;

use crate::{
    app::{App, QUICK, within},
    connect::Broker,
    duration::{OrNone, parse_or_none},
    failure::Failure,
    limits::NewLimits,
    rollout, size,
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
    /// Restart desktops that are behind, in batches; for operators
    #[command(subcommand)]
    Rollout(rollout::Command),
}

/// What is not given stays as it is; in a new pool it is the broker's default.
#[derive(Debug, Default, Args)]
#[command(group(ArgGroup::new("data").args(["persistent", "volatile"])))]
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
    /// Where its desktops may send: "open", or rules of which the first that
    /// matches decides, such as "allow 10.0.0.0/8 tcp 443, deny all"
    #[arg(long, value_name = "RULE,…", value_parser = egress)]
    egress: Option<Rules>,
    #[command(flatten)]
    limits: NewLimits,
    /// How its desktops lie on hosts: on as many or on as few as can be
    #[arg(long, value_enum)]
    strategy: Option<Strategy>,
    /// Labels that a host must have, such as "gpu,rack=3"; "" for none
    #[arg(long, value_name = "LABEL,…", value_parser = terms)]
    require: Option<Terms>,
    /// Labels that a host must not have
    #[arg(long, value_name = "LABEL,…", value_parser = terms)]
    forbid: Option<Terms>,
    /// Labels of hosts that are taken rather than others
    #[arg(long, value_name = "LABEL,…", value_parser = terms)]
    prefer: Option<Terms>,
    /// Labels of hosts that are taken only rather than none
    #[arg(long, value_name = "LABEL,…", value_parser = terms)]
    avoid: Option<Terms>,
    /// End desktops that nobody has used for so long, such as 30min, or "none"
    #[arg(long, value_name = "TIME", value_parser = parse_or_none)]
    idle_limit: Option<OrNone>,
    /// End desktops that nobody has been connected to for so long, or "none"
    #[arg(long, value_name = "TIME", value_parser = parse_or_none)]
    disconnected_limit: Option<OrNone>,
    /// End desktops so long after their start, or "none"
    #[arg(long, value_name = "TIME", value_parser = parse_or_none)]
    time_limit: Option<OrNone>,
    /// Tell users so long before, or "none"
    #[arg(long, value_name = "TIME", value_parser = parse_or_none)]
    warning: Option<OrNone>,
    /// Most desktops at once, or "none"
    #[arg(long, value_name = "NUMBER", value_parser = size::count_or_none)]
    max_desktops: Option<i64>,
    /// Take no new desktops, and tell users why
    #[arg(long, value_name = "SENTENCE", conflicts_with = "reopen")]
    close: Option<String>,
    /// Take desktops again
    #[arg(long)]
    reopen: bool,
    /// How many desktops are made ahead of their users, over all hosts; 0 for
    /// none. Only in volatile pools
    #[arg(long, value_name = "NUMBER")]
    warm: Option<u32>,
    /// Container runtime
    #[arg(long)]
    runtime: Option<String>,
    /// Who may use it, with --groups: these and nobody else
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    users: Vec<String>,
    /// Whose members may use it, with --users: these and nobody else
    #[arg(long, value_name = "GROUP,…", value_delimiter = ',')]
    groups: Vec<String>,
    /// Everyone who can sign in may use it
    #[arg(long, conflicts_with_all = ["users", "groups"])]
    everyone: bool,
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let mut broker = app.broker().await?;
        match self {
            Self::Rollout(command) => command.run(app).await,
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
        put(&mut pool.warm, self.warm);
        put(&mut pool.home, self.home.map(|Home(home)| home));
        put(&mut pool.network, self.egress.map(|Rules(egress)| Some(NetworkPolicy { egress })));
        self.limits.over(&mut limits);
        pool.limits = Some(limits);
        let mut hosts = pool.hosts.take().unwrap_or_default();
        put(&mut hosts.strategy, self.strategy.map(|strategy| strategy.of_the_api().into()));
        put(&mut hosts.require, self.require.map(|Terms(terms)| terms));
        put(&mut hosts.forbid, self.forbid.map(|Terms(terms)| terms));
        put(&mut hosts.prefer, self.prefer.map(|Terms(terms)| terms));
        put(&mut hosts.avoid, self.avoid.map(|Terms(terms)| terms));
        pool.hosts = Some(hosts).filter(|hosts| *hosts != HostPolicy::default());
        let mut times = pool.time_limits.take().unwrap_or_default();
        put(&mut times.idle, self.idle_limit.map(api_span));
        put(&mut times.disconnected, self.disconnected_limit.map(api_span));
        put(&mut times.total, self.time_limit.map(api_span));
        put(&mut times.warning, self.warning.map(api_span));
        pool.time_limits = Some(times).filter(|times| *times != TimeLimits::default());
        // More than there can be numbers is as good as none.
        let most = self.max_desktops.map(|most| u32::try_from(most).unwrap_or(u32::MAX));
        put(&mut pool.max_desktops, most);
        put(&mut pool.closed, self.close.or(self.reopen.then(String::new)));
        if self.persistent || self.volatile {
            pool.persistent = self.persistent;
        }
        if self.everyone || !self.users.is_empty() || !self.groups.is_empty() {
            (pool.users, pool.groups) = (self.users, self.groups);
        }
        pool
    }
}

/// How a pool's desktops lie on hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Strategy {
    /// On as many hosts as there are
    Spread,
    /// On as few as there can be
    Pack,
    /// As the broker's configuration says
    Default,
}

impl Strategy {
    fn of_the_api(self) -> v1::Strategy {
        match self {
            Self::Spread => v1::Strategy::Spread,
            Self::Pack => v1::Strategy::Pack,
            Self::Default => v1::Strategy::Unspecified,
        }
    }
}

/// Checked by the broker.
#[derive(Clone, Debug)]
struct Terms(Vec<String>);

fn terms(text: &str) -> Result<Terms, String> {
    let terms = text.split(',').map(str::trim).filter(|term| !term.is_empty());
    Ok(Terms(terms.map(str::to_owned).collect()))
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

/// Each in its one spelling.
#[derive(Clone, Debug)]
struct Rules(Vec<String>);

fn egress(text: &str) -> Result<Rules, String> {
    if text == "open" {
        return Ok(Rules(Vec::new()));
    }
    let rules: Vec<&str> = text.split(',').map(str::trim).collect();
    Egress::parse(&rules)
        .map(|egress| Rules(egress.to_texts()))
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

fn api_span(OrNone(span): OrNone) -> Option<prost_types::Duration> {
    span.and_then(|span| prost_types::Duration::try_from(span).ok())
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
            limits: Some(Limits {
                memory_mib: 512,
                cpu_millis: 1000,
                pids: 100,
                ..Limits::default()
            }),
            users: vec!["ada".into()],
            ..Pool::default()
        };
        let limits = NewLimits { memory: Some(0), ..NewLimits::default() };
        let set = Set { pool: "demo".into(), disk: Some(2048), limits, ..Set::default() };
        let pool = set.applied_to(Some(present.clone()));
        let expected = Pool {
            overlay_size_mib: 2048,
            limits: Some(Limits { cpu_millis: 1000, pids: 100, ..Limits::default() }),
            ..present.clone()
        };
        assert_eq!(pool, expected);

        let open = Set { pool: "demo".into(), everyone: true, volatile: true, ..Set::default() };
        let pool = open.applied_to(Some(present));
        assert!(pool.users.is_empty() && !pool.persistent);
        let warm = Set { warm: Some(3), ..Set::default() }.applied_to(Some(pool));
        assert_eq!(Set::default().applied_to(Some(warm.clone())).warm, 3, "as it was");
        assert_eq!(Set { warm: Some(0), ..Set::default() }.applied_to(Some(warm)).warm, 0);
    }

    #[test]
    fn rules_of_the_network_are_read_and_taken_back() {
        let Rules(rules) = egress("allow 10.0.0.0/8 tcp 443,deny  all").unwrap();
        assert_eq!(rules, ["allow 10.0.0.0/8 tcp 443", "deny all"]);
        let set = Set { egress: Some(Rules(rules.clone())), ..Set::default() };
        let pool = set.applied_to(None);
        assert_eq!(pool.network.as_ref().unwrap().egress, rules);
        assert_eq!(Set::default().applied_to(Some(pool.clone())).network, pool.network);
        let open = Set { egress: egress("open").ok(), ..Set::default() };
        assert!(open.applied_to(Some(pool)).network.unwrap().egress.is_empty());
        let faults = egress("deny all, permit all, allow x").unwrap_err();
        assert!(faults.contains("rule 2") && faults.contains("rule 3"), "{faults}");
        assert!(egress("").is_err());
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
