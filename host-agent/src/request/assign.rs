//! A request to give a warm desktop to a user.

use std::time::SystemTime;

use rolltop_proto::v1;

use super::{Faults, FieldFault, Home, account, geometry, home, texts, time_zone};
use crate::{address::Number, desktop::Seat, view::View};

/// Gives a warm desktop to a user; makes sense in itself.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// Repeats of it join the first.
    pub request_id: String,
    /// The desktop.
    pub number: Number,
    /// The fence from now on.
    pub epoch: u64,
    /// The epoch it was started with.
    pub warm_epoch: u64,
    /// For whom, and how.
    pub seat: Seat,
    /// Their home, if it is not in the overlay.
    pub home: Option<Home>,
}

// === impl Assignment ===

impl Assignment {
    /// Checks every field.
    ///
    /// # Errors
    /// All faults there are.
    pub fn parse(request: v1::AssignHostDesktopRequest) -> Result<Self, Vec<FieldFault>> {
        let mut faults = Faults::default();
        let number = Number::new(request.number);
        if number.is_none() {
            faults.add("number", "0 is no desktop's number: use 1 and up".into());
        }
        let (epoch, warm_epoch) = (request.epoch, request.warm_epoch);
        if epoch <= warm_epoch {
            let reason = format!("{epoch} is not greater than warm_epoch, which is {warm_epoch}");
            faults.add("epoch", reason);
        }
        let account = account(request.account.unwrap_or_default(), &mut faults);
        let home = request.home.and_then(|home| home::parse(home, &mut faults));
        let geometry = geometry(request.width, request.height, &mut faults);
        let time_zone = time_zone(request.time_zone, &mut faults);
        texts(&request.request_id, &request.label, &mut faults);
        match (number, account) {
            (Some(number), Some(account)) if faults.0.is_empty() => {
                let seat = Seat { label: request.label, account, geometry, time_zone };
                let request_id = request.request_id;
                Ok(Self { request_id, number, epoch, warm_epoch, seat, home })
            }
            _ => Err(faults.0),
        }
    }

    /// The desktop is this user's from now on.
    pub(crate) fn enter(&self, view: &mut View) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let record = &mut view.record;
        record.request_id.clone_from(&self.request_id);
        record.epoch = self.epoch;
        record.label.clone_from(&self.seat.label);
        record.account = Some(self.seat.account.clone());
        record.home.clone_from(&self.home);
        record.started_at = now.as_secs();
        // The name was checked when it was parsed.
        view.home_volume = self.home.as_ref().and_then(|home| home.volume().ok().flatten());
        // They tell of this request from now on.
        view.marks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> v1::AssignHostDesktopRequest {
        v1::AssignHostDesktopRequest {
            request_id: "r2".into(),
            number: 1,
            epoch: 2,
            warm_epoch: 1,
            label: "demo/alice".into(),
            account: Some(v1::Account { name: "alice".into(), ..Default::default() }),
            ..Default::default()
        }
    }

    fn faults(change: impl FnOnce(&mut v1::AssignHostDesktopRequest)) -> Vec<&'static str> {
        let mut request = good();
        change(&mut request);
        let faults = Assignment::parse(request).err().unwrap_or_default();
        faults.into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn all_faults_are_told_at_once() {
        assert!(faults(|_| {}).is_empty());
        assert_eq!(faults(|r| r.epoch = 1), ["epoch"]);
        let bad = faults(|r| {
            *r = v1::AssignHostDesktopRequest {
                label: "\u{1b}".into(),
                width: 1,
                ..Default::default()
            };
        });
        assert_eq!(bad, ["number", "epoch", "account.name", "width", "height", "label"]);
    }

    #[test]
    fn the_desktop_becomes_its_users() {
        let mut view = crate::desktop::tests::view(1, 1, "r1");
        view.record.account = None;
        let assignment = Assignment::parse(good()).unwrap();
        assignment.enter(&mut view);
        let record = view.record;
        assert_eq!((record.epoch, record.request_id.as_str()), (2, "r2"));
        assert_eq!(record.account.unwrap().name, "alice");
    }
}
