//! What must hold, whatever fails. Each function answers with what does not, in
//! sentences; none reads a clock or a disk.

use std::collections::{BTreeMap, BTreeSet};

use rolltop_proto::v1::{DesktopState, HostDesktop};

use super::{
    answers::{Answer, Life, Outcome, Wish},
    sightings::Container,
    snapshot::{Capacity, Snapshot},
    truth::Truth,
};

/// Reasons that say the broker is at fault, whatever fails around it.
const FAULTS: [&str; 6] =
    ["STORE_FAILED", "ABANDONED", "INTERNAL", "NO_ADDRESS", "PASSWORD_FAILED", "NOT_SIGNED_IN"];

/// Of the store, at any moment.
pub fn of_snapshot(snapshot: &Snapshot) -> Vec<String> {
    let mut wrong = Vec::new();
    numbers(snapshot, &mut wrong);
    epochs(snapshot, &mut wrong);
    room(snapshot, &mut wrong);
    for (id, noted) in snapshot.desktops.iter().filter(|(_, noted)| noted.holds_room()) {
        let place = snapshot.overlays.get(&noted.overlay);
        match place {
            None if noted.overlay.is_empty() => {}
            None => wrong.push(format!("{id} keeps {}, which nobody knows", noted.overlay)),
            Some(place) if place.host == noted.host => {}
            Some(place) => wrong
                .push(format!("{id} is on {}, and what it keeps on {}", noted.host, place.host)),
        }
    }
    wrong
}

/// Every number is one desktop's, and what holds a number has it noted.
fn numbers(snapshot: &Snapshot, wrong: &mut Vec<String>) {
    let mut holders: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (id, noted) in snapshot.desktops.iter().filter(|(_, noted)| noted.state != "gone") {
        holders.entry(noted.number).or_default().push(id.clone());
    }
    for (key, warm) in &snapshot.warm {
        holders.entry(warm.number).or_default().push(format!("warm {key}"));
    }
    for held in &snapshot.held {
        holders.entry(held.number).or_default().push(format!("held by {}", held.host));
    }
    for (number, of) in &holders {
        if of.len() > 1 {
            wrong.push(format!("number {number} is of {}", of.join(" and of ")));
        }
        if !snapshot.numbers.contains_key(number) {
            wrong.push(format!("number {number}, of {}, is noted as free", of.join(", ")));
        }
    }
    for (number, of) in &snapshot.numbers {
        if !holders.contains_key(number) {
            wrong.push(format!("number {number} is noted as that of {of}, which has it not"));
        }
    }
}

fn epochs(snapshot: &Snapshot, wrong: &mut Vec<String>) {
    let desktops = snapshot.desktops.iter().map(|(id, noted)| (noted.epoch, id.clone()));
    let warm = snapshot.warm.iter().map(|(key, warm)| (warm.epoch, format!("warm {key}")));
    let mut seen: BTreeMap<u64, String> = BTreeMap::new();
    for (epoch, id) in desktops.chain(warm) {
        if epoch > snapshot.epoch {
            wrong.push(format!("{id} has epoch {epoch}, and the last given is {}", snapshot.epoch));
        }
        if let Some(other) = seen.insert(epoch, id.clone()) {
            wrong.push(format!("{id} and {other} both have epoch {epoch}"));
        }
    }
}

/// What is claimed is the sum of what claims it.
fn room(snapshot: &Snapshot, wrong: &mut Vec<String>) {
    let mut claimed: BTreeMap<&str, Capacity> = BTreeMap::new();
    let mut pools: BTreeMap<&str, u32> = BTreeMap::new();
    let holding = snapshot.desktops.iter().filter(|(_, noted)| noted.holds_room());
    for (id, noted) in holding.clone() {
        *pools.entry(id.split('/').next().unwrap_or_default()).or_default() += 1;
        let of = claimed.entry(&noted.host).or_default();
        of.desktops += 1;
        of.memory_mib += noted.limits.memory_mib;
    }
    for warm in snapshot.warm.values() {
        let of = claimed.entry(&warm.host).or_default();
        of.desktops += 1;
        of.memory_mib += warm.recipe.limits.memory_mib;
    }
    let hosts: BTreeSet<&str> =
        claimed.keys().copied().chain(snapshot.capacities.keys().map(String::as_str)).collect();
    for host in hosts {
        let noted = snapshot.capacities.get(host).copied().unwrap_or_default();
        let sum = claimed.get(host).copied().unwrap_or_default();
        if noted != sum {
            wrong.push(format!("on {host} {noted:?} is noted, and its desktops claim {sum:?}"));
        }
    }
    let all: BTreeSet<&str> =
        pools.keys().copied().chain(snapshot.pools.keys().map(String::as_str)).collect();
    for pool in all {
        let noted = snapshot.pools.get(pool).copied().unwrap_or_default();
        let sum = pools.get(pool).copied().unwrap_or_default();
        if noted != sum {
            wrong.push(format!("pool {pool} is noted with {noted} desktops, and has {sum}"));
        }
    }
}

/// Of what hosts did.
pub fn of_truth(truth: &Truth) -> Vec<String> {
    let mut wrong = Vec::new();
    for (place, one) in truth.lives.iter().enumerate() {
        for other in truth.lives.iter().skip(place + 1) {
            let (a, b) = (&one.host, &other.host);
            let same = (a, one.number, &one.label, &one.request_id)
                == (b, other.number, &other.label, &other.request_id);
            if one.epoch == other.epoch && !same {
                wrong.push(format!(
                    "epoch {} was given to {} as number {} on {a} and to {} as number {} on {b}",
                    one.epoch, one.label, one.number, other.label, other.number
                ));
            }
            if !one.overlaps(other) {
                continue;
            }
            if one.number == other.number {
                wrong.push(format!(
                    "number {} was at once that of {} (epoch {}, {a}) and of {} (epoch {}, {b})",
                    one.number, one.label, one.epoch, other.label, other.epoch
                ));
            }
            // What is kept has one writer. Of others, a lost host may run on with one.
            if one.label == other.label && one.label.starts_with("demo-keep/") {
                wrong.push(format!(
                    "{} ran twice at once: epoch {} on {a}, epoch {} on {b}",
                    one.label, one.epoch, other.epoch
                ));
            }
        }
    }
    wrong
}

/// Of what people were told.
pub fn of_answers(answers: &[Answer], truth: &Truth) -> Vec<String> {
    answers.iter().filter_map(|answer| of_answer(answer, truth)).collect()
}

fn of_answer(answer: &Answer, truth: &Truth) -> Option<String> {
    let Answer { desktop, broker, .. } = answer;
    match &answer.outcome {
        Outcome::Running(life) => {
            let Life { host, number, epoch } = life;
            let told = format!(
                "broker {broker} said that {desktop} runs on {host} as number {number}, epoch {epoch}"
            );
            let lived = truth.of_epoch(*epoch).find(|lived| {
                (&lived.host, lived.number, &lived.label) == (host, *number, desktop)
                    && lived.up.is_some_and(|up| up <= answer.answered + lived.late)
            });
            let Some(lived) = lived else {
                let lives: Vec<String> =
                    truth.of_epoch(*epoch).map(|lived| lived.told(answer.answered)).collect();
                return Some(format!("{told}, where it never ran: {}", lives.join(", ")));
            };
            let over = lived.ended.as_ref().is_some_and(|(at, _)| *at < answer.asked);
            (over && !lived.was_struck()).then(|| format!("{told}, where it had been ended"))
        }
        Outcome::Ended(life) => {
            let there = truth.of_epoch(life.epoch).find(|lived| {
                let over = |(at, _): &(_, _)| *at <= answer.answered + lived.late;
                !lived.ended.as_ref().is_some_and(over)
            })?;
            Some(format!(
                "broker {broker} said that {desktop}, epoch {}, has ended, and it was on {}: {}",
                life.epoch,
                there.host,
                there.told(answer.answered)
            ))
        }
        Outcome::Refused { reason, message } if FAULTS.contains(&reason.as_str()) => {
            Some(format!("broker {broker} answered {reason} about {desktop}: {message}"))
        }
        Outcome::Refused { .. } | Outcome::Failed(_) | Outcome::Seen | Outcome::Unknown(_) => None,
    }
}

/// Once all is made good and at rest: the store and the hosts say the same, and
/// who was told of a desktop has it still.
pub fn at_rest(snapshot: &Snapshot, truth: &Truth, answers: &[Answer]) -> Vec<String> {
    let mut wrong = of_snapshot(snapshot);
    for (id, noted) in &snapshot.desktops {
        if matches!(noted.state.as_str(), "starting" | "stopping") {
            wrong.push(format!("{id} is {} for ever", noted.state));
        }
        if noted.state == "running" && !truth.runs(&noted.host, noted.number, noted.epoch) {
            wrong.push(format!(
                "{id}, epoch {}, is noted as running on {}, which has it not",
                noted.epoch, noted.host
            ));
        }
    }
    for held in &snapshot.held {
        wrong.push(format!("number {} is held for {}, which is back", held.number, held.host));
    }
    for (key, warm) in &snapshot.warm {
        if !truth.has(&warm.host, warm.number, warm.epoch) {
            wrong.push(format!("{} has not the warm desktop {key} that is noted", warm.host));
        }
    }
    for (host, there) in &truth.now {
        for desktop in there {
            let label = &desktop.label;
            let noted = snapshot.desktops.get(label);
            let same = noted.is_some_and(|noted| {
                (&noted.host, noted.number, noted.epoch) == (host, desktop.number, desktop.epoch)
                    && noted.state == "running"
            });
            let warm = snapshot.warm.values().any(|warm| {
                (&warm.host, warm.number, warm.epoch) == (host, desktop.number, desktop.epoch)
            });
            if !same && !warm {
                let state = desktop.state();
                wrong.push(format!(
                    "{host} has {label}, number {}, epoch {} ({state:?}), of which the store does not know",
                    desktop.number, desktop.epoch
                ));
            }
        }
    }
    wrong.extend(lost(snapshot, truth, answers));
    wrong
}

/// What may be expected of a desktop after all that was answered.
enum Expected {
    Nothing,
    /// This life of it, or one after it if that `may` have been given up.
    Life {
        life: Life,
        may: bool,
    },
}

impl Expected {
    fn is_after(&self, other: &Life) -> bool {
        matches!(self, Self::Life { life, .. } if life.epoch > other.epoch)
    }
}

/// Desktops that somebody was told of, nobody wanted ended, and no power failure
/// struck, and that are not there.
fn lost(snapshot: &Snapshot, truth: &Truth, answers: &[Answer]) -> Vec<String> {
    let mut expected: BTreeMap<&str, Expected> = BTreeMap::new();
    for answer in answers {
        let of = expected.entry(&answer.desktop).or_insert(Expected::Nothing);
        match (answer.wish, &answer.outcome) {
            // Of two answers to one person at once, the one about a later life counts.
            (Wish::Start, Outcome::Running(life)) if !of.is_after(life) => {
                *of = Expected::Life { life: life.clone(), may: false };
            }
            // A host that was lost may have been given up for it.
            (Wish::Start, _) => {
                if let Expected::Life { may, .. } = of {
                    *may = true;
                }
            }
            // Refused before anything was changed.
            (Wish::Stop, Outcome::Refused { reason, .. })
                if ["HOST_UNREACHABLE", "UNKNOWN_DESKTOP"].contains(&reason.as_str()) => {}
            (Wish::Stop, _) => *of = Expected::Nothing,
            (Wish::Look, _) => {}
        }
    }
    let mut wrong = Vec::new();
    for (desktop, expected) in expected {
        let Expected::Life { life, may } = expected else { continue };
        let Life { host, number, epoch } = &life;
        let struck = truth.of_epoch(*epoch).any(super::truth::Lived::was_struck);
        let noted = snapshot.desktops.get(desktop);
        let later = may && noted.is_some_and(|noted| noted.epoch > *epoch);
        if !struck && !later && !truth.runs(host, *number, *epoch) {
            let lives: Vec<_> = truth.of_epoch(*epoch).map(|lived| &lived.ended).collect();
            wrong.push(format!(
                "{desktop}, number {number}, epoch {epoch}, was running on {host}, nobody wanted it \
                 ended, and it is not there ({lives:?}); noted is {noted:?}"
            ));
        }
    }
    wrong
}

/// Once a real host is at rest: its agent says what its machine has.
pub fn of_machine(host: &str, told: &[HostDesktop], there: &[Container]) -> Vec<String> {
    let mut wrong = Vec::new();
    for desktop in told {
        let found = there.iter().find(|container| container.number == desktop.number);
        match found {
            None => wrong.push(format!("{host} tells of {}, and has it not", desktop.label)),
            Some(Container { mac, ips, .. })
                if *mac != desktop.mac || !ips.iter().eq([&desktop.ip]) =>
            {
                wrong.push(format!(
                    "{} on {host} is told to have {} and {}, and has {mac} and {ips:?}",
                    desktop.label, desktop.mac, desktop.ip
                ));
            }
            Some(_) => {}
        }
    }
    for Container { number, .. } in there {
        if !told.iter().any(|desktop| desktop.number == *number) {
            wrong.push(format!(
                "{host} has processes of number {number}, of which it does not tell"
            ));
        }
    }
    wrong
}

/// After everybody has left: nothing is left.
pub fn when_empty(snapshot: &Snapshot, truth: &Truth) -> Vec<String> {
    let mut wrong = at_rest(snapshot, truth, &[]);
    wrong.extend(snapshot.desktops.keys().map(|id| format!("{id} is noted still")));
    for (host, there) in &truth.now {
        let living = there.iter().filter(|there| there.state() != DesktopState::Gone);
        wrong.extend(living.map(|there| format!("{host} has {} still", there.label)));
    }
    wrong
}

#[cfg(test)]
mod tests;
