//! Connections to desktops: the right to one, who looks, who is to go.

use serde::{Deserialize, Serialize};

use super::Record;
use crate::{
    clock::Timestamp,
    names::{DesktopId, UserName},
};

/// A right to open one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketRecord {
    /// To this desktop,
    pub desktop: DesktopId,
    /// in this life of it,
    pub epoch: u64,
    /// by this user,
    pub user: UserName,
    /// until then.
    pub expires_at: Timestamp,
}

/// Who looks at a desktop now. Under a lease of the broker that relays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewerRecord {
    /// Which connection; another one here means: taken over.
    pub connection: String,
    /// Who.
    pub user: UserName,
    /// From where.
    pub address: String,
    /// Since when.
    pub since: Timestamp,
    /// The broker that relays.
    #[serde(default)]
    pub broker: String,
}

/// A connection that is to end. Under a lease of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentAwayRecord {
    /// Which; any other stays.
    pub connection: String,
    /// One sentence for who is there.
    pub because: String,
}

impl Record for TicketRecord {}
impl Record for ViewerRecord {}
impl Record for SentAwayRecord {}
