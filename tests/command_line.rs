//! What the real binary answers before it does anything: help, wrong command lines, wrong settings.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop at the unexpected, as tests do")]

use std::{io::Write, process::Command};

struct Ended {
    code: i32,
    out: String,
    err: String,
}

fn waypost(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
    // Settings of the machine that runs the tests are not meant for them.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WAYPOST__") {
            command.env_remove(name);
        }
    }
    let ended = command.args(arguments).envs(environment.iter().copied()).output().unwrap();
    Ended {
        code: ended.status.code().unwrap(),
        out: String::from_utf8(ended.stdout).unwrap(),
        err: String::from_utf8(ended.stderr).unwrap(),
    }
}

#[test]
fn help_is_an_answer_and_a_slip_is_an_error() {
    for arguments in
        [&["--help"][..], &["-h"], &["--version"], &["help", "dev"], &["ledger", "verify", "--help"]]
    {
        let ended = waypost(arguments, &[]);
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{arguments:?}");
    }
    assert!(waypost(&["--help"], &[]).out.contains("waypost dev"));
    for arguments in [&[][..], &["frobnicate"], &["dev", "--frobnicate"], &["key", "create"], &["config"]] {
        let ended = waypost(arguments, &[]);
        assert_eq!((ended.code, ended.out.as_str()), (64, ""), "{arguments:?}");
        assert!(ended.err.contains("Usage"), "{arguments:?}: {}", ended.err);
    }
}

#[test]
fn good_settings_are_shown_with_their_source() {
    let ended = waypost(&["config", "check", "--set", "edge.cores=3"], &[("WAYPOST__EDGE__NAME", "edge-7")]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(ended.out.contains("edge.cores = 3  # from the option --set edge.cores\n"), "{}", ended.out);
    assert!(
        ended.out.contains("edge.name = \"edge-7\"  # from the environment variable WAYPOST__EDGE__NAME\n")
    );
}

#[test]
fn a_wrong_setting_ends_with_78_and_is_named() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"[edge]\nlistne = \"127.0.0.1:1\"\n").unwrap();
    let path = file.path().to_str().unwrap();
    /// Arguments, environment, and what the message must say.
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: [Case<'_>; 6] = [
        (&["config", "check", "--config", path], &[], &["`edge.listne`", "`edge.listen`", path]),
        (&["config", "check"], &[("WAYPOST__SPOL__PATH", "x")], &["`spol`", "WAYPOST__SPOL__PATH"]),
        (&["config", "check"], &[("WAYPOST__EDGE__CORES", "two")], &["`edge.cores`", "WAYPOST__EDGE__CORES"]),
        (
            &["config", "check", "--set", "edge.drain_timeout_ms=1"],
            &[],
            &["`edge.drain_timeout_ms`", "--set"],
        ),
        (&["config", "check", "--config", "/nowhere/x.toml"], &[], &["/nowhere/x.toml"]),
        // Not for `config check` alone: nothing starts on wrong settings.
        (&["dev", "--set", "spool.commit_ms=0"], &[], &["`spool.commit_ms`", "between 1 and 10"]),
    ];
    for (arguments, environment, told) in cases {
        let ended = waypost(arguments, environment);
        assert_eq!((ended.code, ended.out.as_str()), (78, ""), "{arguments:?}: {}", ended.err);
        for text in told {
            assert!(ended.err.contains(text), "{arguments:?} does not say {text}: {}", ended.err);
        }
        assert!(!ended.err.contains("panicked") && !ended.err.contains("stack backtrace"), "{}", ended.err);
    }
}
