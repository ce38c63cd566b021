//! Changes of desktops, in order, and the places to go on from. A new life of
//! the agent counts anew.

use std::collections::VecDeque;

use rolltop_proto::v1::HostDesktop;
use uuid::Uuid;

/// Changes kept, as real agents do.
const KEPT: u64 = 4_096;

/// The changes since the agent came up.
#[derive(Debug)]
pub(crate) struct Log {
    life: Uuid,
    count: u64,
    last: VecDeque<HostDesktop>,
}

impl Default for Log {
    fn default() -> Self {
        Self { life: Uuid::new_v4(), count: 0, last: VecDeque::new() }
    }
}

impl Log {
    pub(crate) fn note(&mut self, desktop: HostDesktop) {
        self.last.push_back(desktop);
        self.count += 1;
        if self.last.len() as u64 > KEPT {
            self.last.pop_front();
        }
    }

    /// How many changes there have been.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The change after `seen` of them; `Err`: it is not known any more.
    pub(crate) fn after(&self, seen: u64) -> Result<Option<&HostDesktop>, ()> {
        let oldest = self.count - self.last.len() as u64;
        let place = seen.checked_sub(oldest).ok_or(())?;
        if seen > self.count {
            return Err(());
        }
        Ok(usize::try_from(place).ok().and_then(|place| self.last.get(place)))
    }

    /// Opaque to callers.
    pub(crate) fn position(&self, seen: u64) -> String {
        format!("{}-{seen}", self.life.simple())
    }

    /// How many changes somebody has seen; none: of another life, or too long ago.
    pub(crate) fn seen(&self, position: &str) -> Option<u64> {
        let (life, seen) = position.rsplit_once('-')?;
        let seen = seen.parse().ok().filter(|_| life == self.life.simple().to_string())?;
        self.after(seen).ok().map(|_| seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desktop(number: u32) -> HostDesktop {
        HostDesktop { number, ..Default::default() }
    }

    #[test]
    fn a_reader_goes_on_where_it_was() {
        let mut log = Log::default();
        (1..4).for_each(|number| log.note(desktop(number)));
        let place = log.position(2);
        assert_eq!(log.seen(&place), Some(2));
        assert_eq!(log.after(2).unwrap().unwrap().number, 3);
        assert_eq!(log.after(3), Ok(None));
        assert_eq!(Log::default().seen(&place), None, "of another life");
        assert_eq!(log.seen(&log.position(4)), None, "not yet");
        for odd in ["", "-", "x-1"] {
            assert_eq!(log.seen(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_is_forgotten_is_said_to_be() {
        let mut log = Log::default();
        (0..=u32::try_from(KEPT).unwrap()).for_each(|number| log.note(desktop(number)));
        assert_eq!(log.after(0), Err(()));
        assert_eq!(log.after(1).unwrap().unwrap().number, 1);
    }
}
