//! All metrics as one OpenMetrics text.

use std::fmt;

use prometheus_client::{
    encoding::text::{encode_eof, encode_registry},
    registry::Registry,
};

/// Of what [`encode`] makes, for the HTTP header of that name.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of these registries, in this order. No two may share a name.
///
/// # Errors
/// Never with the metrics of this library: a metric of one's own may refuse.
pub fn encode(registries: &[&Registry]) -> Result<String, fmt::Error> {
    let mut text = String::with_capacity(32 << 10);
    for registry in registries {
        encode_registry(&mut text, registry)?;
    }
    encode_eof(&mut text)?;
    Ok(text)
}
