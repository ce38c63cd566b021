//! Calls on a desktop that is up: freeze, thaw, new limits.

use rolltop_launcher::cgroup::CgroupError;
use rolltop_proto::v1;
use tonic::{Code, Response, Status};

use super::{
    error::{chain, internal, invalid, status},
    service::{Service, number},
};
use crate::{
    desktop::{Order, OrderError},
    request,
};

impl Service {
    pub(super) async fn order(
        &self,
        given: u32,
        epoch: u64,
        order: Order,
    ) -> Result<Response<v1::HostDesktop>, Status> {
        let desktop = self.host.registry.get_fenced(number(given)?, epoch)?;
        let view = desktop.order(order).await.map_err(|error| refused(&error))?;
        Ok(Response::new(self.measure(view).await))
    }
}

/// Limits as they were asked for.
pub(super) fn limits(given: Option<v1::Limits>) -> Result<Order, Status> {
    let limits =
        request::parse_limits(given.unwrap_or_default()).map_err(|faults| invalid(&faults))?;
    Ok(Order::Limits(limits))
}

fn refused(error: &OrderError) -> Status {
    let (code, reason) = match error {
        OrderError::Illegal(_) => (Code::FailedPrecondition, "NOT_RUNNING"),
        OrderError::Ending => (Code::FailedPrecondition, "ENDING"),
        OrderError::Group(CgroupError::InUse { .. }) => (Code::FailedPrecondition, "LIMIT_IN_USE"),
        OrderError::Group(CgroupError::NotFrozen { .. }) => {
            (Code::DeadlineExceeded, "NOT_HELD_STILL")
        }
        OrderError::NoRuntime(_) => (Code::FailedPrecondition, "RUNTIME_UNKNOWN"),
        OrderError::Group(_)
        | OrderError::Disks(_)
        | OrderError::Network(_)
        | OrderError::Runtime(_)
        | OrderError::Spec(_)
        | OrderError::Record(_) => return internal(error),
    };
    status(code, reason, chain(error))
}
