//! Which versions may go: a pure function of what is known of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use crate::name::{ImageName, Tag, VersionId};

/// A version is not taken for forgotten before its publisher had time to tag it.
pub const GRACE: Duration = Duration::from_secs(3600);

/// What is kept of versions that nobody points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Of each image, this many of the newest untagged versions.
    pub keep: usize,
    /// But none that is older.
    pub older_than: Duration,
}

/// What is known of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The image.
    pub name: ImageName,
    /// The version.
    pub version: VersionId,
    /// What points at it.
    pub tags: Vec<Tag>,
    /// Whether it is retired.
    pub retired: bool,
    /// Its age counts from here.
    pub published_at: SystemTime,
}

/// Who uses what, by all that could be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    versions: BTreeMap<(ImageName, VersionId), BTreeSet<String>>,
    images: BTreeMap<ImageName, BTreeSet<String>>,
}

/// What becomes of a version, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stays: tags point at it.
    Tagged(Vec<Tag>),
    /// It stays: somebody uses it, in words such as `host h1`.
    InUse(Vec<String>),
    /// It stays: it was published less than [`GRACE`] ago.
    New,
    /// It stays: among the newest, and not too old.
    Recent,
    /// It goes: it was retired.
    Retired,
    /// It goes: untagged and older than the policy keeps.
    Old,
    /// It goes: untagged, and newer ones fill the places the policy has.
    Surplus,
}

// === impl Uses ===

impl Uses {
    /// Notes that `who` uses a version.
    pub fn add(&mut self, name: ImageName, version: VersionId, who: impl Into<String>) {
        self.versions.entry((name, version)).or_default().insert(who.into());
    }

    /// Notes that `who` uses some version of an image, nobody knows which.
    pub fn add_image(&mut self, name: ImageName, who: impl Into<String>) {
        self.images.entry(name).or_default().insert(who.into());
    }

    /// Who uses a version.
    pub fn of(&self, name: &ImageName, version: &VersionId) -> Vec<String> {
        let exact = self.versions.get(&(name.clone(), version.clone()));
        let all = self.images.get(name);
        exact.into_iter().chain(all).flatten().cloned().collect()
    }
}

// === impl Verdict ===

impl Verdict {
    /// Whether the version is to be removed.
    pub fn goes(&self) -> bool {
        match self {
            Self::Retired | Self::Old | Self::Surplus => true,
            Self::Tagged(_) | Self::InUse(_) | Self::New | Self::Recent => false,
        }
    }
}

/// Decides about each candidate, in their order.
pub fn decide(
    candidates: &[Candidate],
    uses: &Uses,
    policy: Policy,
    now: SystemTime,
) -> Vec<Verdict> {
    candidates.iter().map(|one| verdict(one, candidates, uses, policy, now)).collect()
}

fn verdict(
    one: &Candidate,
    all: &[Candidate],
    uses: &Uses,
    policy: Policy,
    now: SystemTime,
) -> Verdict {
    if !one.tags.is_empty() {
        return Verdict::Tagged(one.tags.clone());
    }
    let users = uses.of(&one.name, &one.version);
    if !users.is_empty() {
        return Verdict::InUse(users);
    }
    if one.retired {
        return Verdict::Retired;
    }
    // A time to come is no age: clocks differ.
    let age = now.duration_since(one.published_at).unwrap_or_default();
    if age < GRACE {
        return Verdict::New;
    }
    if age > policy.older_than {
        return Verdict::Old;
    }
    let key = |c: &Candidate| (c.published_at, c.version.clone());
    let rivals = |c: &&Candidate| c.name == one.name && c.tags.is_empty() && !c.retired;
    let newer = all.iter().filter(rivals).filter(|c| key(c) > key(one)).count();
    if newer >= policy.keep { Verdict::Surplus } else { Verdict::Recent }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const POLICY: Policy = Policy { keep: 2, older_than: Duration::from_secs(30 * 86_400) };

    fn now() -> SystemTime {
        UNIX_EPOCH + 1000 * DAY
    }

    fn candidate(version: &str, days: u32) -> Candidate {
        Candidate {
            name: "demo".parse().unwrap(),
            version: version.parse().unwrap(),
            tags: Vec::new(),
            retired: false,
            published_at: now() - days * DAY,
        }
    }

    #[test]
    fn each_has_its_reason() {
        let mut tagged = candidate("tagged", 400);
        tagged.tags = vec!["stable".parse().unwrap()];
        let mut retired = candidate("retired", 0);
        retired.retired = true;
        let mut retired_in_use = candidate("retired-in-use", 90);
        retired_in_use.retired = true;
        let mut other = candidate("v1", 29);
        other.name = "other".parse().unwrap();
        let future = Candidate { published_at: now() + DAY, ..candidate("future", 0) };
        let candidates = [
            tagged,
            retired,
            retired_in_use,
            candidate("new", 0),
            candidate("a", 1),
            candidate("b", 2),
            candidate("c", 3),
            candidate("old", 31),
            other,
            future,
        ];
        let mut uses = Uses::default();
        uses.add("demo".parse().unwrap(), "retired-in-use".parse().unwrap(), "host h1");
        let verdicts = decide(&candidates, &uses, POLICY, now());
        assert_eq!(
            verdicts,
            [
                Verdict::Tagged(vec!["stable".parse().unwrap()]),
                Verdict::Retired,
                Verdict::InUse(vec!["host h1".to_owned()]),
                Verdict::New,
                // "new" and "future" have the two places.
                Verdict::Surplus,
                Verdict::Surplus,
                Verdict::Surplus,
                Verdict::Old,
                Verdict::Recent,
                Verdict::New,
            ]
        );
    }

    #[test]
    fn who_does_not_tell_the_version_keeps_them_all() {
        let mut uses = Uses::default();
        uses.add_image("demo".parse().unwrap(), "desktop demo/ada");
        let candidates = [candidate("a", 400), candidate("b", 500)];
        let verdicts = decide(&candidates, &uses, POLICY, now());
        assert!(verdicts.iter().all(|v| *v == Verdict::InUse(vec!["desktop demo/ada".into()])));
    }

    fn any_candidate() -> impl Strategy<Value = Candidate> {
        ("[a-b]", "[a-f]", 0_u32..90, any::<bool>(), any::<bool>()).prop_map(
            |(name, version, days, tagged, retired)| Candidate {
                name: name.parse().unwrap(),
                tags: if tagged { vec!["t".parse().unwrap()] } else { Vec::new() },
                retired: retired && !tagged,
                ..candidate(&version, days)
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_tagged_used_or_new_never_goes(
            candidates in prop::collection::vec(any_candidate(), 0..12),
            used in prop::collection::vec(("[a-b]", "[a-f]"), 0..6),
            keep in 0_usize..4, days in 0_u32..60) {
            let mut uses = Uses::default();
            for (name, version) in &used {
                uses.add(name.parse().unwrap(), version.parse().unwrap(), "somebody");
            }
            let policy = Policy { keep, older_than: days * DAY };
            for (one, verdict) in candidates.iter().zip(decide(&candidates, &uses, policy, now())) {
                let in_use =
                    used.iter().any(|(n, v)| *n == one.name.as_str() && *v == one.version.as_str());
                let new = one.published_at > now() - GRACE && !one.retired;
                if !one.tags.is_empty() || in_use || new {
                    prop_assert!(!verdict.goes(), "{one:?}: {verdict:?}");
                }
                prop_assert_eq!(verdict == Verdict::Retired, one.retired && !in_use);
            }
        }

        #[test]
        fn keeping_more_removes_less(
            candidates in prop::collection::vec(any_candidate(), 0..12), keep in 0_usize..4) {
            let goes = |keep| {
                let policy = Policy { keep, ..POLICY };
                decide(&candidates, &Uses::default(), policy, now()).iter().filter(|v| v.goes()).count()
            };
            prop_assert!(goes(keep + 1) <= goes(keep));
        }
    }
}
