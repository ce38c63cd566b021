//! The session broker: who gets which desktop where; store, accounts, gateway, web.

fn main() {}
