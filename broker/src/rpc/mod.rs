//! The edge: gRPC calls are read, checked and answered here; what they do is
//! decided further in.

mod accounts;
mod arrival;
mod attempt;
mod audit;
mod caller;
mod convert;
mod desktops;
mod drain;
mod error;
mod exec;
mod follow;
mod hosts;
mod operators;
mod people;
mod place;
mod pools;
mod rollouts;
mod service;
mod sessions;
mod stats;
mod storage;
mod storage_service;
mod ways;

use std::sync::Arc;

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Status};

pub use arrival::note_arrival;
pub use error::{DOMAIN, RpcError};

use crate::{
    audit::Audit,
    auth::{Accounts, Act, Caller, Groups, Programs, SecondFactors, Sessions, Tokens},
    clock::Clock,
    data::Data,
    desktops::{Desktops, Tickets},
    enrol::Enrolments,
    gateway::Viewers,
    hosts::Hosts,
    oidc::Provider,
    rollout::Rollouts,
    store::Store,
    versions::Versions,
};

/// Everything calls are answered with. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// Pools and hosts are kept here.
    pub store: Arc<dyn Store>,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Accounts.
    pub accounts: Accounts,
    /// Tokens for programs.
    pub tokens: Tokens,
    /// Second factors.
    pub seconds: SecondFactors,
    /// Groups of them.
    pub groups: Groups,
    /// A provider people sign in with.
    pub provider: Option<Provider>,
    /// Programs that may sign in.
    pub programs: Programs,
    /// Who has signed in.
    pub sessions: Sessions,
    /// Where acts are noted.
    pub audit: Audit,
    /// The desktops.
    pub desktops: Desktops,
    /// What is kept for users.
    pub data: Data,
    /// The hosts.
    pub hosts: Hosts,
    /// What next starts would take.
    pub versions: Versions,
    /// Pools that are brought to it.
    pub rollouts: Rollouts,
    /// How machines become hosts.
    pub enrolments: Enrolments,
    /// Rights to connect.
    pub tickets: Tickets,
    /// Who looks at what.
    pub viewers: Viewers,
    /// When this broker ends, streams end too.
    pub shutdown: CancellationToken,
    /// Streams under way.
    pub tasks: TaskTracker,
}

// === impl Api ===

impl Api {
    async fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        Ok(caller::identify(self, request).await?)
    }

    /// Who calls, if that is an operator. For what has no act of its own.
    async fn operator<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        self.may(request, Act::Operate).await
    }
}
