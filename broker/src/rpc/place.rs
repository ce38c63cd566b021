//! Why a desktop would be placed where.

use rolltop_proto::v1;

use super::{Api, RpcError};
use crate::{
    desktops::DesktopError,
    names::{PoolName, UserName},
    placement::{Reason, Verdict},
    state::{self, UserRecord, keys},
};

impl Api {
    pub(super) async fn explain_placement_call(
        &self,
        request: &v1::ExplainPlacementRequest,
    ) -> Result<v1::ExplainPlacementResponse, RpcError> {
        let pool = PoolName::parse("pool", &request.pool)?;
        let user = match request.user.as_str() {
            "" => None,
            name => {
                let name = UserName::parse("user", name)?;
                let key = keys::user(&name);
                let user = state::read::<UserRecord>(self.store.as_ref(), &key).await?;
                Some(user.ok_or(DesktopError::UnknownUser(name))?.record)
            }
        };
        let verdicts = self.desktops.explain(&pool, user).await?;
        let chosen = verdicts.first().filter(|verdict| verdict.outcome.is_ok());
        Ok(v1::ExplainPlacementResponse {
            chosen: chosen.map(|verdict| verdict.host.to_string()).unwrap_or_default(),
            hosts: verdicts.into_iter().map(verdict).collect(),
        })
    }
}

fn verdict(verdict: Verdict) -> v1::HostVerdict {
    let host = verdict.host.to_string();
    match verdict.outcome {
        Ok(score) => v1::HostVerdict {
            host,
            reasons: Vec::new(),
            score: score.total(),
            parts: score
                .parts()
                .map(|(name, points)| v1::ScorePart { name: name.to_owned(), points })
                .to_vec(),
        },
        Err(reasons) => v1::HostVerdict {
            host,
            reasons: reasons.iter().map(Reason::to_string).collect(),
            score: 0,
            parts: Vec::new(),
        },
    }
}
