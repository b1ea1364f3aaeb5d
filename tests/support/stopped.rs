//! Processes that are told to stand still.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

/// Waits until every thread of a process that was sent SIGSTOP stands still: the first one to run tells the others, and
/// on a busy machine they go on until then.
pub fn until_stopped(pid: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !stands_still(pid) {
        assert!(Instant::now() < deadline, "process {pid} goes on");
        thread::sleep(Duration::from_millis(1));
    }
}

fn stands_still(pid: &str) -> bool {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().all(|task| {
        // "tid (name) state …"; a thread that has ended meanwhile does nothing either.
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T'))
    })
}
