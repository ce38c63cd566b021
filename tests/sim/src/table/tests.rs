use super::*;

fn desktop(number: u32, epoch: u64) -> HostDesktop {
    let state = DesktopState::Preparing.into();
    HostDesktop { number, epoch, label: "demo/anna".into(), state, ..Default::default() }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

fn refused(table: &mut Table, id: &str, number: u32, epoch: u64) -> String {
    reason(&table.admit(id, desktop(number, epoch), 2).unwrap_err())
}

#[test]
fn the_same_request_joins_and_another_is_refused() {
    let mut table = Table::default();
    assert!(matches!(table.admit("a", desktop(1, 5), 2), Ok(Admission::New(_))));
    assert!(matches!(table.admit("a", desktop(1, 5), 2), Ok(Admission::Joined(_))));
    assert_eq!(refused(&mut table, "b", 1, 5), "NUMBER_TAKEN");
    assert_eq!(refused(&mut table, "b", 1, 6), "NUMBER_TAKEN");
    assert_eq!(refused(&mut table, "a", 1, 4), "STALE_EPOCH");
    table.admit("c", desktop(2, 6), 2).unwrap();
    assert_eq!(refused(&mut table, "d", 3, 7), "HOST_FULL");
}

#[test]
fn an_older_epoch_ends_nothing() {
    let mut table = Table::default();
    table.admit("a", desktop(1, 5), 2).unwrap();
    assert_eq!(reason(&table.fenced(1, 4).unwrap_err()), "STALE_EPOCH");
    assert_eq!(reason(&table.fenced(2, 4).unwrap_err()), "DESKTOP_UNKNOWN");
    assert!(table.fenced(1, 5).is_ok());
    assert!(table.end(1, 4, |_| ()).is_none());
    assert_eq!(table.len(), 1);
}

#[test]
fn a_repeated_request_hears_how_the_first_ended() {
    let mut table = Table::default();
    table.admit("a", desktop(1, 5), 2).unwrap();
    table.end(1, 5, |desktop| desktop.set_state(DesktopState::Gone)).unwrap();
    let Ok(Admission::Joined(life)) = table.admit("a", desktop(1, 5), 2) else { panic!() };
    assert_eq!(life.desktop().state(), DesktopState::Gone);
    table.begin_anew();
    assert!(matches!(table.admit("a", desktop(1, 5), 2), Ok(Admission::New(_))));
}

#[test]
fn a_warm_desktop_is_given_to_one_user() {
    let mut table = Table::default();
    let warm = HostDesktop { warm: true, ..desktop(1, 5) };
    table.admit("a", warm, 2).unwrap();
    let refused = table.assign("b", 5, &desktop(1, 6)).unwrap_err();
    assert_eq!(reason(&refused), "NOT_WARM", "not yet");
    table.change(1, 5, |told| told.desktop.set_state(DesktopState::Warm));
    assert_eq!(reason(&table.assign("b", 4, &desktop(1, 6)).unwrap_err()), "NOT_WARM");
    assert_eq!(reason(&table.assign("b", 5, &desktop(1, 5)).unwrap_err()), "STALE_EPOCH");
    assert_eq!(table.assign("b", 5, &desktop(1, 6)).unwrap().state(), DesktopState::Running);
    assert!(table.assign("b", 5, &desktop(1, 6)).is_ok(), "the same joins");
    assert_eq!(reason(&table.assign("c", 5, &desktop(1, 7)).unwrap_err()), "NOT_WARM");
}

#[test]
fn a_new_agent_adopts_what_runs_and_nothing_else() {
    let mut table = Table::default();
    table.admit("a", desktop(1, 5), 2).unwrap();
    table.admit("b", desktop(2, 6), 2).unwrap();
    table.change(2, 6, |told| told.desktop.set_state(DesktopState::Running));
    let place = table.log.position(table.log.count());
    table.begin_anew();
    assert_eq!(table.all().iter().map(|desktop| desktop.number).collect::<Vec<_>>(), [2]);
    assert_eq!(table.log.seen(&place), None);
}
