use super::*;

/// A helper in the shell; its standard input is the stream for both ways.
fn pool(script: &str, most: usize, deadline_ms: u64) -> Pool {
    let arguments = ["-c", script].map(str::to_owned).into();
    let program = Program { path: "/bin/sh".into(), arguments };
    Pool::new("filer".into(), program, most, Duration::from_millis(deadline_ms))
}

fn task() -> Task {
    Task::Unmount { dir: "/d".into(), key: "k".into() }
}

/// Waits until no helper that was killed is left.
fn all_reaped(pool: &Pool) {
    let state = pool.lock();
    let patience = Duration::from_secs(20);
    let (state, waited) = pool
        .shared
        .changed
        .wait_timeout_while(state, patience, |state| state.stuck > 0)
        .unwrap_or_else(PoisonError::into_inner);
    assert!(!waited.timed_out(), "{state:?}");
}

const ANSWERS: &str = r#"while read -r task; do echo '{"Ok":"Nothing"}' >&0; done"#;

#[test]
fn one_helper_does_task_after_task() {
    let pool = pool(ANSWERS, 1, 20_000);
    for _ in 0..3 {
        assert_eq!(pool.call(&task()).unwrap(), Done::Nothing);
    }
    assert_eq!(pool.lock().alive, 1);
    pool.close();
    assert_eq!(pool.lock().alive, 0);
    assert!(matches!(pool.call(&task()), Err(StorageError::Helper { .. })), "closed is closed");
}

#[test]
fn a_helper_sees_the_task_and_its_faults_come_back() {
    let script = r#"read -r task; case $task in *Unmount*) k=NoImage;; *) k=ImageBroken;; esac
        printf '{"Err":{"kind":"%s","te' $k >&0; printf 'xt":"none"}}\n' >&0; read -r end"#;
    let error = pool(script, 1, 20_000).call(&task()).unwrap_err();
    assert!(error.is_no_image() && error.to_string() == "none", "{error:?}");
}

#[test]
fn silence_is_an_error_and_the_helper_is_killed() {
    let pool = pool("read -r task; exec sleep 1000", 2, 100);
    let error = pool.call(&task()).unwrap_err();
    assert_eq!(error.to_string(), "NFS server filer did not answer within 100ms");
    assert_eq!(error.code(), "STORAGE_UNREACHABLE");
    all_reaped(&pool);
    assert_eq!(pool.lock().alive, 0);
}

#[test]
fn a_helper_that_says_half_a_word_is_silent() {
    let pool = pool(r#"read -r task; printf '{"Ok"' >&0; exec sleep 1000"#, 1, 100);
    assert!(matches!(pool.call(&task()), Err(StorageError::Silent { .. })));
    all_reaped(&pool);
}

#[test]
fn no_more_helpers_than_allowed() {
    let pool = pool(ANSWERS, 1, 50);
    let (held, fresh) = pool.take(Instant::now() + Duration::from_secs(20)).unwrap();
    assert!(fresh);
    let error = pool.call(&task()).unwrap_err();
    assert!(matches!(error, StorageError::Crowded { waiting: 1, .. }), "{error:?}");
    assert!(error.is_unreachable());
    pool.put_back(held);
    assert_eq!(pool.lock().idle.len(), 1);
}

#[test]
fn a_task_survives_the_death_of_an_idle_helper() {
    let pool = pool(r#"read -r task; echo '{"Ok":"Nothing"}' >&0"#, 1, 20_000);
    for _ in 0..3 {
        assert_eq!(pool.call(&task()).unwrap(), Done::Nothing, "each helper does one task");
    }
}

#[test]
fn a_helper_that_cannot_serve_is_told_of() {
    for script in ["exit 1", "read -r task; exit 0", "read -r task; echo what >&0; read -r end"] {
        let error = pool(script, 1, 20_000).call(&task()).unwrap_err();
        assert!(matches!(error, StorageError::Helper { .. }), "{script}: {error:?}");
    }
    let mut none = pool("", 1, 20_000);
    none.program.path = "/nowhere/helper".into();
    assert!(matches!(none.call(&task()), Err(StorageError::Helper { .. })));
    assert_eq!(none.lock().alive, 0, "what did not start does not count");
}

#[test]
fn as_many_at_a_time_as_are_allowed() {
    let pool = pool(ANSWERS, 3, 20_000);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(pool.call(&task()).unwrap(), Done::Nothing));
        }
    });
    all_reaped(&pool);
    assert!(pool.lock().alive <= MOST_IDLE);
}
