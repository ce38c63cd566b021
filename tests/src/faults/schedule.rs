//! What fails when, from a seed.

use std::{fmt, time::Duration};

use super::{BROKERS, HOSTS, MEMBERS, random::Random};

/// A part of the cluster, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// A broker.
    Broker(usize),
    /// A host.
    Host(usize),
    /// A member of the etcd.
    Member(usize),
}

/// Two parts that talk with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// A broker and a host.
    BrokerHost(usize, usize),
    /// A broker and a member.
    BrokerMember(usize, usize),
    /// Two members; both connect to each other.
    Members(usize, usize),
}

/// How a link is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// What is sent vanishes, both ways: the link hangs.
    Drop,
    /// Every packet is answered with a reset.
    Reset,
}

/// What fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A process is killed, and started again in the end. A host's desktops stay.
    Kill(Node),
    /// A host's power fails: its desktops are gone.
    Power(usize),
    /// A broker or a host's agent is asked to end, and started again by whoever
    /// keeps it, as in an upgrade.
    End(Node),
    /// A process is stopped where it is, and goes on in the end.
    Pause(Node),
    /// Links are cut, and healed in the end.
    Cut(Vec<Link>, How),
    /// A clock is turned by so many seconds, and back in the end.
    Clock(Node, i64),
}

/// A fault, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// From the beginning.
    pub at: Duration,
    /// Until it is made good.
    pub lasts: Duration,
    /// What.
    pub fault: Fault,
}

/// Everything that fails, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// It follows from this.
    pub seed: u64,
    /// After it all is made good.
    pub length: Duration,
    /// Desktops that the pool of volatile ones makes ahead of its users.
    pub warm: u32,
    /// The faults.
    pub steps: Vec<Step>,
}

// === impl Schedule ===

impl Schedule {
    /// Three to nine faults, within `length`.
    pub fn new(seed: u64, length: Duration) -> Self {
        let mut random = Random::new(seed, 0);
        let count = random.between(3, 10);
        let whole = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        let mut steps: Vec<Step> = (0..count)
            .map(|_| Step {
                at: Duration::from_millis(random.below(whole * 3 / 4)),
                lasts: Duration::from_millis(random.between(200, whole.max(201))),
                fault: fault(&mut random),
            })
            .collect();
        steps.sort_by_key(|step| step.at);
        let warm = if random.below(3) == 0 { 2 } else { 0 };
        Self { seed, length, warm, steps }
    }
}

fn fault(random: &mut Random) -> Fault {
    let (broker, host, member) =
        (random.place(BROKERS), random.place(HOSTS), random.place(MEMBERS));
    let how = if random.below(3) == 0 { How::Reset } else { How::Drop };
    match random.below(22) {
        0 | 1 => Fault::Kill(Node::Broker(broker)),
        2 | 3 => Fault::Kill(Node::Host(host)),
        4 => Fault::Kill(Node::Member(member)),
        5 => Fault::Power(host),
        6 => Fault::End(Node::Broker(broker)),
        7 => Fault::End(Node::Host(host)),
        8 | 9 => Fault::Pause(Node::Broker(broker)),
        10 => Fault::Pause(Node::Member(member)),
        11 => Fault::Pause(Node::Host(host)),
        12 | 13 => Fault::Cut(vec![Link::BrokerHost(broker, host)], how),
        14 => Fault::Cut(vec![Link::BrokerMember(broker, member)], how),
        15 => Fault::Cut(isolation(Node::Host(host)), how),
        16 => Fault::Cut(isolation(Node::Member(member)), how),
        17 => Fault::Cut(isolation(Node::Broker(broker)), how),
        18..21 => Fault::Clock(Node::Broker(broker), wrong_by_s(random)),
        _ => Fault::Clock(Node::Host(host), wrong_by_s(random)),
    }
}

/// Half a minute to an hour, either way.
fn wrong_by_s(random: &mut Random) -> i64 {
    let by_s = [30, 120, 600, 3_600].get(random.place(4)).copied().unwrap_or(0);
    if random.below(2) == 0 { by_s } else { -by_s }
}

/// Every link of a part.
pub fn isolation(node: Node) -> Vec<Link> {
    let mut all = links();
    all.retain(|link| match (*link, node) {
        (Link::BrokerHost(broker, _) | Link::BrokerMember(broker, _), Node::Broker(one)) => {
            broker == one
        }
        (Link::BrokerHost(_, host), Node::Host(one)) => host == one,
        (Link::BrokerMember(_, member), Node::Member(one)) => member == one,
        (Link::Members(a, b), Node::Member(one)) => a == one || b == one,
        (Link::BrokerHost(..) | Link::BrokerMember(..) | Link::Members(..), _) => false,
    });
    all
}

/// Every link there is.
pub fn links() -> Vec<Link> {
    let hosts =
        (0..BROKERS).flat_map(|broker| (0..HOSTS).map(move |host| Link::BrokerHost(broker, host)));
    let members = (0..BROKERS)
        .flat_map(|broker| (0..MEMBERS).map(move |member| Link::BrokerMember(broker, member)));
    let among = (0..MEMBERS).flat_map(|a| (a + 1..MEMBERS).map(move |b| Link::Members(a, b)));
    hosts.chain(members).chain(among).collect()
}

// === impl Display ===

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker(place) => write!(f, "broker {place}"),
            Self::Host(place) => write!(f, "host {place}"),
            Self::Member(place) => write!(f, "member {place}"),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (a, b) = match *self {
            Self::BrokerHost(broker, host) => (Node::Broker(broker), Node::Host(host)),
            Self::BrokerMember(broker, member) => (Node::Broker(broker), Node::Member(member)),
            Self::Members(a, b) => (Node::Member(a), Node::Member(b)),
        };
        write!(f, "{a} - {b}")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(node) => write!(f, "kill {node}"),
            Self::Power(host) => write!(f, "power of {}", Node::Host(*host)),
            Self::End(node) => write!(f, "end {node}"),
            Self::Pause(node) => write!(f, "pause {node}"),
            Self::Cut(links, how) => {
                let links: Vec<_> = links.iter().map(Link::to_string).collect();
                let how = match how {
                    How::Drop => "cut",
                    How::Reset => "reset",
                };
                write!(f, "{how} {}", links.join(", "))
            }
            Self::Clock(node, by_s) => write!(f, "clock of {node} by {by_s:+} s"),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, {} warm desktops", self.seed, self.warm)?;
        for Step { at, lasts, fault } in &self.steps {
            let (at, lasts) = (at.as_secs_f32(), lasts.as_secs_f32());
            write!(f, "\n  {at:6.3} s, for {lasts:.3} s: {fault}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(8);

    #[test]
    fn a_seed_gives_the_same_schedule_again() {
        assert_eq!(Schedule::new(42, LENGTH), Schedule::new(42, LENGTH));
        assert_ne!(Schedule::new(42, LENGTH).steps, Schedule::new(43, LENGTH).steps);
    }

    #[test]
    fn every_kind_of_fault_comes_about() {
        let told: Vec<String> = (0..200)
            .flat_map(|seed| Schedule::new(seed, LENGTH).steps)
            .map(|step| step.fault.to_string())
            .collect();
        let kinds = [
            "kill broker",
            "kill host",
            "kill member",
            "power of host",
            "end broker",
            "end host",
            "pause broker",
            "pause member",
            "pause host",
            "clock of broker",
            "clock of host",
            "cut broker",
            "reset broker",
        ];
        for kind in kinds {
            assert!(told.iter().any(|fault| fault.starts_with(kind)), "{kind}");
        }
        for link in ["broker 0 - host 0", "broker 0 - member 0", "member 0 - member 1"] {
            let cut = |fault: &String| fault.starts_with("cut") && fault.contains(link);
            assert!(told.iter().any(cut), "{link}");
        }
    }

    #[test]
    fn a_part_that_is_isolated_has_no_link_left() {
        assert_eq!(isolation(Node::Host(1)).len(), BROKERS);
        assert_eq!(isolation(Node::Broker(1)).len(), HOSTS + MEMBERS);
        assert_eq!(isolation(Node::Member(1)).len(), BROKERS + MEMBERS - 1);
    }
}
