//! rolltop: the command line of users and operators.

fn main() {}
