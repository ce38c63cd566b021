//! The edge: gRPC calls are read, checked and answered here; what they do is
//! decided further in.

mod accounts;
mod arrival;
mod caller;
mod convert;
mod desktops;
mod error;
mod exec;
mod follow;
mod operators;
mod pools;
mod service;
mod storage;
mod storage_service;

use std::sync::Arc;

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Status};

pub use arrival::note_arrival;
pub use error::{DOMAIN, RpcError};

use crate::{
    auth::{Accounts, Caller, Sessions},
    clock::Clock,
    data::Data,
    desktops::{Desktops, Tickets},
    gateway::Viewers,
    hosts::Hosts,
    store::Store,
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
    /// Who has signed in.
    pub sessions: Sessions,
    /// The desktops.
    pub desktops: Desktops,
    /// What is kept for users.
    pub data: Data,
    /// The hosts.
    pub hosts: Hosts,
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
        Ok(caller::identify(&self.sessions, request).await?)
    }

    async fn operator<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let caller = self.caller(request).await?;
        if caller.is_operator() { Ok(caller) } else { Err(RpcError::OperatorsOnly.into()) }
    }
}
