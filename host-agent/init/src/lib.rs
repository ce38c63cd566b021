//! The small static program that is PID 1 of a desktop.
