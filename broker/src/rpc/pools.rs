//! Pools.

use rolltop_proto::v1;

use super::{Api, RpcError, convert};
use crate::{
    auth::Caller,
    desktops::DesktopError,
    names::{BadField, ImageRef, PoolName, UserName},
    state::{self, DesktopRecord, HomePolicy, LimitsRecord, PoolRecord, TransactionExt as _, keys},
    store::{Commit, StoreError, Transaction},
};

/// What an agent takes, MiB.
///
/// 16 TiB: the largest ext4 with blocks of 4 KiB.
const OVERLAY_MIB: std::ops::RangeInclusive<i64> = 64..=1 << 24;
/// Longest text for people, bytes.
const MAX_TEXT: usize = 1024;
/// Most users named in a pool.
const MAX_USERS: usize = 10_000;

impl Api {
    pub(super) async fn list_pools_call(
        &self,
        caller: &Caller,
        request: &v1::ListPoolsRequest,
    ) -> Result<v1::ListPoolsResponse, RpcError> {
        if request.all && !caller.is_operator() {
            return Err(RpcError::OperatorsOnly);
        }
        let pools = state::list::<PoolRecord>(self.store.as_ref(), keys::POOLS).await?;
        let open = pools
            .iter()
            .map(|stored| &stored.record)
            .filter(|pool| request.all || pool.admits(caller.name()));
        Ok(v1::ListPoolsResponse { pools: open.map(convert::pool).collect() })
    }

    pub(super) async fn put_pool_call(
        &self,
        caller: &Caller,
        request: v1::PutPoolRequest,
    ) -> Result<v1::Pool, RpcError> {
        let pool = parse(request.pool.unwrap_or_default())?;
        let key = keys::pool(&pool.name);
        self.store.commit(Transaction::new().put_record(&key, &pool)?).await?;
        tracing::info!(target: "audit", act = "put-pool", by = %caller.name(), pool = %pool.name, outcome = "ok");
        Ok(convert::pool(&pool))
    }

    pub(super) async fn delete_pool_call(
        &self,
        caller: &Caller,
        request: v1::DeletePoolRequest,
    ) -> Result<v1::DeletePoolResponse, RpcError> {
        let name = PoolName::parse("name", &request.name)?;
        let key = keys::pool(&name);
        let store = self.store.as_ref();
        let unknown = || DesktopError::UnknownPool(name.clone());
        let pool = state::read::<PoolRecord>(store, &key).await?.ok_or_else(unknown)?;
        let desktops =
            state::list::<DesktopRecord>(store, &format!("{}{name}/", keys::DESKTOPS)).await?;
        let living =
            desktops.iter().filter(|desktop| desktop.record.state.holds_capacity()).count();
        if living > 0 {
            return Err(RpcError::PoolInUse { pool: name, desktops: living });
        }
        // A claim in between has seen the pool as it was, and loses or wins
        // against this revision.
        match store.commit(Transaction::new().unchanged(&key, pool.revision).delete(&key)).await? {
            Commit::Applied(_) => {}
            Commit::Conflict { .. } => {
                return Err(StoreError::Contended { what: "a pool", attempts: 1 }.into());
            }
        }
        tracing::info!(target: "audit", act = "delete-pool", by = %caller.name(), pool = %name, outcome = "ok");
        Ok(v1::DeletePoolResponse {})
    }
}

fn parse(pool: v1::Pool) -> Result<PoolRecord, BadField> {
    let limits = pool.limits.unwrap_or_default();
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
    let title = text("pool.title", &pool.title)?;
    Ok(PoolRecord {
        title: if title.is_empty() { pool.name.clone() } else { title },
        name: PoolName::parse("pool.name", &pool.name)?,
        description: text("pool.description", &pool.description)?,
        image: ImageRef::parse("pool.image", &pool.image)?,
        persistent: pool.persistent,
        overlay_size_mib: pool.overlay_size_mib,
        limits: LimitsRecord {
            memory_mib: limit("pool.limits.memory_mib", limits.memory_mib, 16)?,
            cpu_millis: limit("pool.limits.cpu_millis", limits.cpu_millis, 10)?,
            pids: limit("pool.limits.pids", limits.pids, 16)?,
        },
        runtime: runtime(&pool.runtime)?,
        users: users?,
        home: pool.home.and_then(|home| home.kind).map(home).transpose()?,
    })
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

/// 0, or enough to come up with at all.
fn limit(field: &'static str, value: i64, least: i64) -> Result<i64, BadField> {
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
        let negative = v1::Limits { memory_mib: -1, ..v1::Limits::default() };
        let pool = v1::Pool { limits: Some(negative), ..good() };
        assert_eq!(parse(pool).unwrap_err().field, "pool.limits.memory_mib");
    }
}
