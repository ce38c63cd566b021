//! How a connection ends, and how the client is told.

use std::fmt;

use axum::extract::ws::{CloseFrame, close_code};

/// Longest reason a close frame can carry, RFC 6455 section 5.5.
const MAX_REASON_BYTES: usize = 123;

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// 4000: the ticket does not admit.
    TicketRefused(String),
    /// 4001: someone else looks at the desktop now.
    TakenOver {
        /// From where.
        address: String,
    },
    /// 4002: the session is over.
    SessionEnded(String),
    /// 4005: somebody wants this connection to end; the session goes on.
    SentAway(String),
    /// 4003: the host of the desktop does not answer.
    HostUnreachable(String),
    /// 4004: more people look at desktops than this broker relays.
    Full,
    /// 4003 too: the display hung up, or the line to it broke.
    DisplayEnded(String),
    /// 1003: the client sent text.
    TextSent,
    /// 1009: the client sent too much at once.
    TooBig,
    /// 1002: the client does not keep to the protocol.
    ProtocolBroken,
    /// 1000: the client said goodbye, or is gone.
    ClientLeft,
    /// 1001: the client does not answer.
    ClientSilent,
    /// 1012: the broker is being restarted; come again.
    BrokerEnds,
    /// 1011: something is wrong with the broker.
    BrokerFault,
}

// === impl End ===

impl End {
    /// Every [`Self::word`].
    pub(crate) const WORDS: [&str; 14] = [
        "ticket_refused",
        "taken_over",
        "session_ended",
        "sent_away",
        "host_unreachable",
        "full",
        "display_ended",
        "text_sent",
        "too_big",
        "protocol_broken",
        "client_left",
        "client_silent",
        "broker_ends",
        "broker_fault",
    ];

    /// One word for it, for counting.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::TicketRefused(_) => "ticket_refused",
            Self::TakenOver { .. } => "taken_over",
            Self::SessionEnded(_) => "session_ended",
            Self::SentAway(_) => "sent_away",
            Self::HostUnreachable(_) => "host_unreachable",
            Self::Full => "full",
            Self::DisplayEnded(_) => "display_ended",
            Self::TextSent => "text_sent",
            Self::TooBig => "too_big",
            Self::ProtocolBroken => "protocol_broken",
            Self::ClientLeft => "client_left",
            Self::ClientSilent => "client_silent",
            Self::BrokerEnds => "broker_ends",
            Self::BrokerFault => "broker_fault",
        }
    }

    /// What the client is sent.
    pub fn frame(&self) -> CloseFrame {
        let code = match self {
            Self::TicketRefused(_) => 4000,
            Self::TakenOver { .. } => 4001,
            Self::SessionEnded(_) => 4002,
            Self::HostUnreachable(_) | Self::DisplayEnded(_) => 4003,
            Self::Full => 4004,
            Self::SentAway(_) => 4005,
            Self::TextSent => close_code::UNSUPPORTED,
            Self::TooBig => close_code::SIZE,
            Self::ProtocolBroken => close_code::PROTOCOL,
            Self::ClientLeft => close_code::NORMAL,
            Self::ClientSilent => close_code::AWAY,
            Self::BrokerEnds => close_code::RESTART,
            Self::BrokerFault => close_code::ERROR,
        };
        let mut reason = self.to_string();
        while reason.len() > MAX_REASON_BYTES {
            reason.pop();
        }
        CloseFrame { code, reason: reason.into() }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TicketRefused(reason) | Self::SessionEnded(reason) | Self::SentAway(reason) => {
                f.write_str(reason)
            }
            Self::TakenOver { address } => write!(f, "opened elsewhere, from {address}"),
            Self::HostUnreachable(problem) | Self::DisplayEnded(problem) => f.write_str(problem),
            Self::Full => f.write_str("too many people look at desktops at this moment"),
            Self::TextSent => f.write_str("binary messages only"),
            Self::TooBig => f.write_str("the message is too big"),
            Self::ProtocolBroken => f.write_str("this is not the WebSocket protocol"),
            Self::ClientLeft => f.write_str("the client left"),
            Self::ClientSilent => f.write_str("the client does not answer"),
            Self::BrokerEnds => f.write_str("the broker is being restarted"),
            Self::BrokerFault => f.write_str("the broker has a fault; see its log"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let frame = End::SessionEnded("é".repeat(100)).frame();
        assert_eq!(frame.code, 4002);
        assert_eq!(frame.reason.len(), 122);
    }
}
