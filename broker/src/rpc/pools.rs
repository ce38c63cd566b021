//! Pools.

use std::{collections::BTreeMap, time::Duration};

use rolltop_proto::{egress::Egress, limits::bad_rates, v1};

use super::{Api, RpcError, convert};
use crate::{
    auth::{Act, Caller},
    desktops::DesktopError,
    names::{BadField, GroupName, ImageRef, PoolName, UserName},
    state::{
        self, DesktopRecord, HomePolicy, HostPolicy, LimitsRecord, PoolRecord, Strategy, Term,
        TimeLimits, TransactionExt as _, keys,
    },
    store::{Commit, StoreError, Transaction},
};

/// What an agent takes, MiB.
///
/// 16 TiB: the largest ext4 with blocks of 4 KiB.
const OVERLAY_MIB: std::ops::RangeInclusive<i64> = 64..=1 << 24;
/// Less, and nothing comes up.
pub(super) const LEAST_MEMORY_MIB: i64 = 16;
/// As above.
pub(super) const LEAST_CPU_MILLIS: i64 = 10;
/// As above.
pub(super) const LEAST_PIDS: i64 = 16;
/// Of a time limit.
const SPANS_MS: std::ops::RangeInclusive<u64> = 1_000..=365 * 24 * 3_600_000;
/// Longest text for people, bytes.
const MAX_TEXT: usize = 1024;
/// Lost races before giving up.
const ATTEMPTS: u32 = 16;
/// Most groups named in a pool.
const MAX_GROUPS: usize = 64;
/// Most users named in a pool.
const MAX_USERS: usize = 10_000;
/// Most desktops made ahead.
const MAX_WARM: u32 = 1_000;

impl Api {
    pub(super) async fn list_pools_call(
        &self,
        caller: &Caller,
        request: &v1::ListPoolsRequest,
    ) -> Result<v1::ListPoolsResponse, RpcError> {
        let pools = state::list::<PoolRecord>(self.store.as_ref(), keys::POOLS).await?;
        let groups = self.groups.of(&caller.user).await?;
        let ready = self.desktops.warm_ready().await?;
        // Why there are fewer names hosts, which are not everybody's business.
        let sees_all = caller.check(Act::ReadPools, false).is_ok();
        let open = pools
            .iter()
            .map(|stored| &stored.record)
            .filter(|pool| request.all || pool.admits(caller.name(), &groups));
        let ages = if sees_all { self.versions.ages() } else { BTreeMap::new() };
        let told = open.map(|pool| {
            let mut told = convert::pool(pool);
            let of_pool = ages.get(&pool.name).copied().unwrap_or_default();
            (told.running, told.behind) = (of_pool.running, of_pool.behind);
            told.warm_ready = ready.get(&pool.name).copied().unwrap_or(0);
            if sees_all && told.warm_ready < told.warm {
                told.warm_problem = self.desktops.warm_problem(&pool.name).unwrap_or_default();
            }
            told
        });
        Ok(v1::ListPoolsResponse { pools: told.collect() })
    }

    pub(super) async fn put_pool_call(
        &self,
        request: v1::PutPoolRequest,
    ) -> Result<v1::Pool, RpcError> {
        let pool = parse(request.pool.unwrap_or_default())?;
        let key = keys::pool(&pool.name);
        for _ in 0..ATTEMPTS {
            let put = Transaction::new().put_record(&key, &pool)?;
            let put = self.groups.holding(put, &pool.groups).await?;
            if let Commit::Applied(_) = self.store.commit(put).await? {
                return Ok(convert::pool(&pool));
            }
        }
        Err(StoreError::Contended { what: "a group", attempts: ATTEMPTS }.into())
    }

    pub(super) async fn delete_pool_call(
        &self,
        request: v1::DeletePoolRequest,
    ) -> Result<v1::DeletePoolResponse, RpcError> {
        let name = PoolName::parse("name", &request.name)?;
        let key = keys::pool(&name);
        let store = self.store.as_ref();
        let unknown = || DesktopError::UnknownPool(name.clone());
        let pool = state::read::<PoolRecord>(store, &key).await?.ok_or_else(unknown)?;
        let desktops = state::list::<DesktopRecord>(store, &keys::desktops_of(&name)).await?;
        let living =
            desktops.iter().filter(|desktop| desktop.record.state.holds_capacity()).count();
        if living > 0 {
            return Err(RpcError::PoolInUse { pool: name, desktops: living });
        }
        // A claim in between has seen the pool as it was, and loses or wins
        // against this revision.
        match store
            .commit(
                Transaction::new()
                    .unchanged(&key, pool.revision)
                    .delete(&key)
                    .delete(keys::pool_use(&name))
                    .delete(keys::rollout(&name)),
            )
            .await?
        {
            Commit::Applied(_) => {}
            Commit::Conflict { .. } => {
                return Err(StoreError::Contended { what: "a pool", attempts: 1 }.into());
            }
        }
        Ok(v1::DeletePoolResponse {})
    }
}

fn parse(pool: v1::Pool) -> Result<PoolRecord, BadField> {
    if !OVERLAY_MIB.contains(&pool.overlay_size_mib) {
        let wanted = format!("{} to {}", OVERLAY_MIB.start(), OVERLAY_MIB.end());
        return Err(BadField::new(
            "pool.overlay_size_mib",
            &pool.overlay_size_mib.to_string(),
            wanted,
        ));
    }
    if pool.users.len() > MAX_USERS {
        return Err(BadField::new(
            "pool.users",
            &pool.users.len().to_string(),
            format!("{MAX_USERS} at most"),
        ));
    }
    let users: Result<Vec<_>, _> =
        pool.users.iter().map(|user| UserName::parse("pool.users", user)).collect();
    if pool.groups.len() > MAX_GROUPS {
        let (is, wanted) = (pool.groups.len().to_string(), format!("{MAX_GROUPS} at most"));
        return Err(BadField::new("pool.groups", &is, wanted));
    }
    let groups: Result<std::collections::BTreeSet<_>, _> =
        pool.groups.iter().map(|group| GroupName::parse("pool.groups", group)).collect();
    let title = text("pool.title", &pool.title)?;
    let home = pool.home.and_then(|home| home.kind).map(home).transpose()?;
    warm(pool.warm, pool.persistent, home.as_ref())?;
    Ok(PoolRecord {
        title: if title.is_empty() { pool.name.clone() } else { title },
        name: PoolName::parse("pool.name", &pool.name)?,
        description: text("pool.description", &pool.description)?,
        image: ImageRef::parse("pool.image", &pool.image)?,
        persistent: pool.persistent,
        overlay_size_mib: pool.overlay_size_mib,
        limits: self::limits(&pool.limits.unwrap_or_default())?,
        runtime: runtime(&pool.runtime)?,
        users: users?,
        groups: groups?.into_iter().collect(),
        home,
        egress: egress(&pool.network.unwrap_or_default())?,
        hosts: hosts(&pool.hosts.unwrap_or_default())?,
        time_limits: time_limits(&pool.time_limits.unwrap_or_default())?,
        max_desktops: pool.max_desktops,
        closed: text("pool.closed", &pool.closed)?,
        warm: pool.warm,
    })
}

fn time_limits(told: &v1::TimeLimits) -> Result<TimeLimits, BadField> {
    let limits = TimeLimits {
        idle_ms: span("pool.time_limits.idle", told.idle)?,
        disconnected_ms: span("pool.time_limits.disconnected", told.disconnected)?,
        total_ms: span("pool.time_limits.total", told.total)?,
        warning_ms: match told.warning {
            Some(prost_types::Duration { seconds: 0, nanos: 0 }) => 0,
            warning => span("pool.time_limits.warning", warning)?.unwrap_or(0),
        },
    };
    let all = [limits.idle_ms, limits.disconnected_ms, limits.total_ms];
    let wanted = match all.into_iter().flatten().min() {
        Some(shortest) if limits.warning_ms >= shortest => "shorter than each of the limits",
        None if limits.warning_ms > 0 => "nothing, as there is no limit to warn of",
        Some(_) | None => return Ok(limits),
    };
    let given = format!("{} s", limits.warning_ms / 1000);
    Err(BadField::new("pool.time_limits.warning", &given, wanted))
}

/// Milliseconds.
fn span(
    field: &'static str,
    given: Option<prost_types::Duration>,
) -> Result<Option<u64>, BadField> {
    let Some(given) = given else { return Ok(None) };
    let bad =
        || BadField::new(field, &format!("{} s", given.seconds), "1 s to 365 days, or nothing");
    let span = Duration::try_from(given).map_err(|_| bad())?;
    let ms = u64::try_from(span.as_millis()).map_err(|_| bad())?;
    if SPANS_MS.contains(&ms) { Ok(Some(ms)) } else { Err(bad()) }
}

/// What is settled before the user comes must not be the user's.
fn warm(count: u32, persistent: bool, home: Option<&HomePolicy>) -> Result<(), BadField> {
    let fault = |wanted| Err(BadField::new("pool.warm", &count.to_string(), wanted));
    match home {
        _ if count == 0 => Ok(()),
        _ if count > MAX_WARM => fault(format!("{MAX_WARM} at most")),
        _ if persistent => fault(
            "0 in a persistent pool, whose overlays belong to users: a desktop can be made ahead \
             of its user only with a volatile one (`--volatile`, and `--home volume:SIZE` for \
             what is to be kept)"
                .to_owned(),
        ),
        Some(HomePolicy::Directory { .. }) => fault(
            "0 in a pool with homes in directories: the ids of a desktop are settled before its \
             user is known, and NFS cannot map them; use home volumes (`--home volume:SIZE`)"
                .to_owned(),
        ),
        None | Some(HomePolicy::Volume { .. }) => Ok(()),
    }
}

fn hosts(policy: &v1::HostPolicy) -> Result<HostPolicy, BadField> {
    let strategy = match v1::Strategy::try_from(policy.strategy) {
        Ok(v1::Strategy::Unspecified) => None,
        Ok(v1::Strategy::Spread) => Some(Strategy::Spread),
        Ok(v1::Strategy::Pack) => Some(Strategy::Pack),
        Err(_) => {
            let wanted = "STRATEGY_SPREAD, STRATEGY_PACK or unspecified";
            return Err(BadField::new("pool.hosts.strategy", &policy.strategy.to_string(), wanted));
        }
    };
    Ok(HostPolicy {
        strategy,
        require: Term::parse_all("pool.hosts.require", &policy.require)?,
        forbid: Term::parse_all("pool.hosts.forbid", &policy.forbid)?,
        prefer: Term::parse_all("pool.hosts.prefer", &policy.prefer)?,
        avoid: Term::parse_all("pool.hosts.avoid", &policy.avoid)?,
    })
}

fn egress(policy: &v1::NetworkPolicy) -> Result<Vec<String>, BadField> {
    match Egress::parse(&policy.egress) {
        Ok(egress) => Ok(egress.to_texts()),
        Err(faults) => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Err(BadField::new("pool.network.egress", &policy.egress.join(", "), faults.join("; ")))
        }
    }
}

fn home(home: v1::home_policy::Kind) -> Result<HomePolicy, BadField> {
    use v1::home_policy::Kind;
    match home {
        Kind::VolumeMib(size_mib) if OVERLAY_MIB.contains(&size_mib) => {
            Ok(HomePolicy::Volume { size_mib })
        }
        Kind::VolumeMib(size_mib) => {
            let wanted = format!("{} to {}", OVERLAY_MIB.start(), OVERLAY_MIB.end());
            Err(BadField::new("pool.home.volume_mib", &size_mib.to_string(), wanted))
        }
        Kind::Directory(parent) if is_plain_path(&parent) => Ok(HomePolicy::Directory { parent }),
        Kind::Directory(parent) => {
            let wanted = "an absolute path such as \"/srv/homes\", without \".\" and \"..\"";
            Err(BadField::new("pool.home.directory", &parent, wanted))
        }
    }
}

/// Absolute, and says where it is without looking.
fn is_plain_path(path: &str) -> bool {
    let parts = path.strip_prefix('/').map(|rest| rest.split('/'));
    path.len() <= MAX_TEXT
        && !path.chars().any(char::is_control)
        && parts.is_some_and(|mut parts| parts.all(|part| !matches!(part, "" | "." | "..")))
}

fn limits(limits: &v1::Limits) -> Result<LimitsRecord, BadField> {
    check_rates(limits, |field| field)?;
    Ok(LimitsRecord {
        memory_mib: limit("pool.limits.memory_mib", limits.memory_mib, LEAST_MEMORY_MIB)?,
        cpu_millis: limit("pool.limits.cpu_millis", limits.cpu_millis, LEAST_CPU_MILLIS)?,
        pids: limit("pool.limits.pids", limits.pids, LEAST_PIDS)?,
        ..(*limits).into()
    })
}

/// `named`: what such a field of a pool is called where it was given.
pub(super) fn check_rates(
    limits: &v1::Limits,
    named: impl Fn(&'static str) -> &'static str,
) -> Result<(), BadField> {
    let Some(bad) = bad_rates(limits).next() else { return Ok(()) };
    let wanted = format!("0 for no limit, or {} to {}", bad.least, bad.most);
    Err(BadField::new(named(bad.field), &bad.value.to_string(), wanted))
}

/// 0, or enough to come up with at all.
pub(super) fn limit(field: &'static str, value: i64, least: i64) -> Result<i64, BadField> {
    const MOST: i64 = 1 << 30;
    if value == 0 || (least..=MOST).contains(&value) {
        return Ok(value);
    }
    Err(BadField::new(field, &value.to_string(), format!("0 for no limit, or {least} to {MOST}")))
}

fn text(field: &'static str, text: &str) -> Result<String, BadField> {
    if text.len() <= MAX_TEXT && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(BadField::new(field, text, format!("{MAX_TEXT} bytes at most, without control characters")))
}

fn runtime(text: &str) -> Result<String, BadField> {
    let fits = text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if fits {
        Ok(text.to_owned())
    } else {
        Err(BadField::new(
            "pool.runtime",
            text,
            "a runtime the hosts know; empty for their default",
        ))
    }
}

#[cfg(test)]
mod tests {
    use v1::home_policy::Kind;

    use super::*;

    fn good() -> v1::Pool {
        v1::Pool {
            name: "p".into(),
            image: "demo:stable".into(),
            overlay_size_mib: 64,
            ..v1::Pool::default()
        }
    }

    fn bad_home(kind: Kind) -> Result<PoolRecord, BadField> {
        parse(v1::Pool { home: Some(v1::HomePolicy { kind: Some(kind) }), ..good() })
    }

    #[test]
    fn sizes_and_names_are_checked_field_by_field() {
        assert_eq!(parse(good()).unwrap().title, "p");
        let bad = |change: fn(&mut v1::Pool)| {
            let mut pool = good();
            change(&mut pool);
            parse(pool).unwrap_err().field
        };
        assert_eq!(bad(|pool| pool.overlay_size_mib = 0), "pool.overlay_size_mib");
        assert_eq!(bad(|pool| pool.overlay_size_mib = -1), "pool.overlay_size_mib");
        assert_eq!(bad(|pool| pool.overlay_size_mib = i64::MAX), "pool.overlay_size_mib");
        assert_eq!(bad(|pool| pool.name = "a/b".into()), "pool.name");
        assert_eq!(bad(|pool| pool.image = "demo".into()), "pool.image");
        assert_eq!(bad(|pool| pool.users = vec!["..".into()]), "pool.users");
        assert_eq!(bad(|pool| pool.groups = vec!["a/b".into()]), "pool.groups");
        assert_eq!(bad(|pool| pool.title = "a\0".into()), "pool.title");
        assert_eq!(bad(|pool| pool.runtime = "../runc".into()), "pool.runtime");
        let home = |kind| bad_home(kind).unwrap_err().field;
        for size_mib in [0, 63, -1, i64::MAX] {
            assert_eq!(home(Kind::VolumeMib(size_mib)), "pool.home.volume_mib");
        }
        for path in ["", "/", "srv", "/srv/../etc", "/srv/./x", "/srv//x", "/srv/", "/a\0b"] {
            assert_eq!(home(Kind::Directory(path.into())), "pool.home.directory", "{path:?}");
        }
        assert!(bad_home(Kind::Directory("/srv/homes".into())).is_ok());
        let network = |rule: &str| {
            let egress = vec!["deny 192.0.2.0/24".into(), rule.into()];
            parse(v1::Pool { network: Some(v1::NetworkPolicy { egress }), ..good() })
        };
        let fault = network("allow any").unwrap_err();
        assert_eq!(fault.field, "pool.network.egress");
        assert!(fault.to_string().contains("rule 2 (`allow any`): `any` is no dest"), "{fault}");
        assert_eq!(network(" allow  all").unwrap().egress, ["deny 192.0.2.0/24", "allow all"]);
        let warm = |change: fn(&mut v1::Pool)| {
            let mut pool = v1::Pool { warm: 2, ..good() };
            change(&mut pool);
            parse(pool).map(|pool| pool.warm)
        };
        assert_eq!(warm(|_| {}).unwrap(), 2);
        assert_eq!(warm(|pool| pool.warm = 1001).unwrap_err().field, "pool.warm");
        let kept = warm(|pool| pool.persistent = true).unwrap_err();
        assert!(kept.to_string().contains("belong to users"), "{kept}");
        let home = |kind| {
            let home = Some(v1::HomePolicy { kind: Some(kind) });
            parse(v1::Pool { warm: 1, home, ..good() })
        };
        assert!(home(Kind::VolumeMib(64)).is_ok());
        assert_eq!(home(Kind::Directory("/srv/homes".into())).unwrap_err().field, "pool.warm");
        let negative = v1::Limits { memory_mib: -1, ..v1::Limits::default() };
        let pool = v1::Pool { limits: Some(negative), ..good() };
        assert_eq!(parse(pool).unwrap_err().field, "pool.limits.memory_mib");
        let crawling = v1::Limits { network_up_bits: 9_600, ..v1::Limits::default() };
        let pool = v1::Pool { limits: Some(crawling), ..good() };
        assert_eq!(parse(pool).unwrap_err().field, "pool.limits.network_up_bits");
    }
}
