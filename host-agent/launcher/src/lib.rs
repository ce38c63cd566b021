//! Built-in container launcher: OCI configuration in, container out.
