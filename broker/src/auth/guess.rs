//! Limits on guessing, per account and per address: a few free tries, then a
//! wait that doubles, then a lock. An attempt counts when it is admitted, not
//! when its password has been found wrong: a thousand at once are as many
//! attempts as a thousand in a row. Memory is bounded.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::names::UserName;

/// Tries before the first wait.
const FREE: u32 = 2;
/// The first wait; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Accounts, and addresses, remembered at once.
const REMEMBERED: usize = 16 * 1024;

/// How much guessing is borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Wrong passwords for one account before it is locked.
    pub account_attempts: u32,
    /// Wrong passwords from one address before it is locked out.
    pub address_attempts: u32,
    /// How long a lock lasts; also how long a wrong password is remembered.
    pub lockout: Duration,
}

/// Come back later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// How much later.
    pub wait: Duration,
    /// Locked, rather than slowed.
    pub locked: bool,
}

/// Remembers wrong passwords. Time is a parameter.
pub struct GuessLimiter {
    limits: Limits,
    accounts: Table<UserName>,
    addresses: Table<IpAddr>,
}

struct Table<K> {
    entries: HashMap<K, Attempts>,
    most: usize,
    /// Waits grow from here on.
    free: u32,
}

#[derive(Clone, Copy)]
struct Attempts {
    count: u32,
    last: Instant,
    next_at: Instant,
}

// === impl GuessLimiter ===

impl GuessLimiter {
    /// Nobody has guessed yet.
    pub fn new(limits: Limits) -> Self {
        // An address may hold a household, so it waits only near its limit.
        let address_free =
            limits.address_attempts.saturating_sub(limits.account_attempts).max(FREE);
        Self {
            limits,
            accounts: Table::new(REMEMBERED, FREE),
            addresses: Table::new(REMEMBERED, address_free),
        }
    }

    /// Admits an attempt and counts it as wrong until [`Self::succeeded`].
    /// `None`: a name that cannot be one, which counts for its address alone.
    ///
    /// # Errors
    /// When to try again; a refused attempt does not count.
    pub fn admit(
        &mut self,
        now: Instant,
        account: Option<&UserName>,
        address: IpAddr,
    ) -> Result<(), Refusal> {
        let address = network(address);
        let Limits { account_attempts, address_attempts, lockout } = self.limits;
        if let Some(account) = account {
            self.accounts.check(now, account, account_attempts, lockout)?;
        }
        self.addresses.check(now, &address, address_attempts, lockout)?;
        if let Some(account) = account {
            self.accounts.count(now, account.clone(), account_attempts, lockout);
        }
        self.addresses.count(now, address, address_attempts, lockout);
        Ok(())
    }

    /// The password was right: the account is forgiven, the address gets this
    /// one attempt back (or one good account would pay for guessing at others).
    pub fn succeeded(&mut self, account: &UserName, address: IpAddr) {
        self.accounts.entries.remove(account);
        if let Some(attempts) = self.addresses.entries.get_mut(&network(address)) {
            attempts.count = attempts.count.saturating_sub(1);
            attempts.next_at = attempts.last;
        }
    }

    /// Forgets what was guessed at an account; whether there was something.
    pub fn forgive(&mut self, account: &UserName) -> bool {
        self.accounts.entries.remove(account).is_some()
    }

    /// Nothing was learnt about the password: the attempt does not count.
    pub fn withdrawn(&mut self, account: Option<&UserName>, address: IpAddr) {
        let account = account.and_then(|account| self.accounts.entries.get_mut(account));
        let address = self.addresses.entries.get_mut(&network(address));
        for attempts in [account, address].into_iter().flatten() {
            attempts.count = attempts.count.saturating_sub(1);
            attempts.next_at = attempts.last;
        }
    }
}

// === impl Table ===

impl<K: std::hash::Hash + Eq + Clone> Table<K> {
    fn new(most: usize, free: u32) -> Self {
        Self { entries: HashMap::new(), most, free }
    }

    fn check(
        &mut self,
        now: Instant,
        key: &K,
        most: u32,
        lockout: Duration,
    ) -> Result<(), Refusal> {
        let Some(attempts) = self.entries.get(key) else { return Ok(()) };
        if now >= attempts.last + lockout {
            self.entries.remove(key);
            return Ok(());
        }
        let wait = attempts.next_at.saturating_duration_since(now);
        if wait.is_zero() { Ok(()) } else { Err(Refusal { wait, locked: attempts.count >= most }) }
    }

    fn count(&mut self, now: Instant, key: K, most: u32, lockout: Duration) {
        if !self.entries.contains_key(&key) && self.entries.len() >= self.most {
            self.forget_one(now, lockout);
        }
        let attempts =
            self.entries.entry(key).or_insert(Attempts { count: 0, last: now, next_at: now });
        attempts.count = attempts.count.saturating_add(1);
        attempts.last = now;
        attempts.next_at = now + wait_after(attempts.count, self.free, most, lockout);
    }

    /// Makes room: all that is over, or else who guessed least, longest ago.
    fn forget_one(&mut self, now: Instant, lockout: Duration) {
        self.entries.retain(|_, attempts| now < attempts.last + lockout);
        if self.entries.len() < self.most {
            return;
        }
        let least = self.entries.iter().min_by_key(|(_, attempts)| (attempts.count, attempts.last));
        if let Some(key) = least.map(|(key, _)| key.clone()) {
            self.entries.remove(&key);
        }
    }
}

/// How long after this many wrong ones.
fn wait_after(count: u32, free: u32, most: u32, lockout: Duration) -> Duration {
    if count >= most {
        return lockout;
    }
    match count.checked_sub(free + 1) {
        None => Duration::ZERO,
        Some(doublings) => {
            FIRST_WAIT.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(lockout)
        }
    }
}

/// An IPv6 client owns a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits =
        Limits { account_attempts: 5, address_attempts: 20, lockout: Duration::from_secs(900) };

    fn account(name: &str) -> UserName {
        name.parse().unwrap()
    }

    fn from(last: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(last))
    }

    #[test]
    fn waits_double_and_then_the_account_is_locked() {
        let (mut limiter, anna) = (GuessLimiter::new(LIMITS), account("anna"));
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for address in 0..5 {
            limiter.admit(now, Some(&anna), from(address)).unwrap();
            let refused = limiter.accounts.check(now, &anna, 5, LIMITS.lockout).err();
            waits.push(refused.map(|refusal| (refusal.wait.as_secs(), refusal.locked)));
            now += refused.map_or(Duration::ZERO, |refusal| refusal.wait);
        }
        assert_eq!(waits, [None, None, Some((1, false)), Some((2, false)), Some((900, true))]);
        limiter.admit(now, Some(&anna), from(101)).unwrap();
    }

    #[test]
    fn a_thousand_at_once_are_not_better_than_in_a_row() {
        let (mut limiter, anna) = (GuessLimiter::new(LIMITS), account("anna"));
        let now = Instant::now();
        let admitted =
            (0..1000).filter(|n| limiter.admit(now, Some(&anna), from(*n)).is_ok()).count();
        assert_eq!(admitted, 3);
    }

    #[test]
    fn one_address_cannot_try_all_accounts() {
        let mut limiter = GuessLimiter::new(LIMITS);
        let now = Instant::now();
        let admitted = (0..1000)
            .filter(|n| limiter.admit(now, Some(&account(&format!("u{n}"))), from(1)).is_ok())
            .count();
        assert!(admitted <= 20, "{admitted}");
        assert!(limiter.admit(now, Some(&account("other")), from(2)).is_ok(), "others are not hit");
    }

    #[test]
    fn success_forgives_the_account_only() {
        let (mut limiter, anna) = (GuessLimiter::new(LIMITS), account("anna"));
        let now = Instant::now();
        for _ in 0..3 {
            limiter.admit(now, Some(&anna), from(1)).unwrap();
        }
        limiter.succeeded(&anna, from(1));
        for _ in 0..3 {
            limiter.admit(now, Some(&anna), from(1)).unwrap();
        }
        assert_eq!(limiter.addresses.entries[&from(1)].count, 5);
    }

    #[test]
    fn neighbours_in_one_ipv6_network_are_one() {
        assert_eq!(
            network("2001:db8::1".parse().unwrap()),
            network("2001:db8::2".parse().unwrap())
        );
        assert_eq!(
            network("::ffff:10.0.0.1".parse().unwrap()),
            network("10.0.0.1".parse().unwrap())
        );
    }

    proptest! {
        #[test]
        fn memory_is_bounded_and_the_worst_are_remembered(names in prop::collection::vec(0_u32..200, 1..400)) {
            let mut table = Table::new(50, FREE);
            let now = Instant::now();
            for _ in 0..10 { table.count(now, 9999, 5, LIMITS.lockout); }
            for name in names { table.count(now, name, 5, LIMITS.lockout); }
            prop_assert!(table.entries.len() <= 50);
            prop_assert!(table.check(now, &9999, 5, LIMITS.lockout).is_err());
        }

        #[test]
        fn no_more_than_the_limit_within_one_lockout(steps in prop::collection::vec(0_u64..120, 1..200)) {
            let (mut limiter, anna) = (GuessLimiter::new(LIMITS), account("anna"));
            let begin = Instant::now();
            let mut now = begin;
            let mut admitted = 0;
            for (n, step) in steps.into_iter().enumerate() {
                now += Duration::from_secs(step);
                if now >= begin + LIMITS.lockout { break; }
                admitted += u32::from(limiter.admit(now, Some(&anna), from(n as u32)).is_ok());
            }
            prop_assert!(admitted <= LIMITS.account_attempts);
        }
    }
}
