//! Help, completions and manual. All of them come from one definition, and none is empty.

mod support;

use support::run;

const SUBCOMMANDS: &[&str] = &[
    "demo",
    "listen",
    "send",
    "ping",
    "doctor",
    "watch",
    "bench",
    "proxy",
    "record",
    "replay",
    "tap",
    "hz",
    "incident",
    "keygen",
    "config",
    "completions",
    "man",
];

#[test]
fn every_subcommand_has_help_with_examples_and_exit_codes() {
    for subcommand in SUBCOMMANDS {
        let help = run(&[subcommand, "--help"]);
        assert_eq!(help.code, 0);
        for part in ["Usage: tautline", "Examples:\n  tautline", "Exit codes:\n  0  "] {
            assert!(help.stdout.contains(part), "no {part:?} in the help of {subcommand}");
        }
        let root = run(&["--help"]).stdout;
        assert!(root.contains(&format!("\n  {subcommand} ")), "{subcommand} is not listed");
    }
}

#[test]
fn the_subcommands_of_bench_have_help_of_their_own() {
    for subcommand in ["latency", "throughput", "serve"] {
        let help = run(&["bench", subcommand, "--help"]);
        assert_eq!(help.code, 0);
        for part in [
            "Usage: tautline bench",
            "Examples:\n  tautline bench",
            "Exit codes:\n  0  ",
            "--set <KEY=VALUE>",
        ] {
            assert!(help.stdout.contains(part), "no {part:?} in the help of {subcommand}");
        }
        assert!(!help.stdout.contains("--child"), "this option is for internal use only");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    assert_eq!(run(&["--version"]).stdout, format!("tautline {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_of_every_shell_contain_the_subcommands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]);
        assert_eq!(script.code, 0);
        for part in ["listen", "cut-after"] {
            assert!(script.stdout.contains(part), "no {part} for {shell}");
        }
        // PowerShell reads a pipe in the old code page of the console.
        assert!(script.stdout.is_ascii(), "{shell}");
    }
}

#[test]
fn the_manual_has_a_page_for_every_subcommand() {
    let dir = std::env::temp_dir().join(format!("tautline-man-{}", std::process::id()));
    let written = run(&["man", dir.to_str().expect("the path is text")]);
    assert_eq!(written.code, 0, "{}", written.stderr);
    for subcommand in SUBCOMMANDS {
        let page = std::fs::read_to_string(dir.join(format!("tautline-{subcommand}.1"))).expect("a page");
        for part in [".SH EXAMPLES\n", ".SH \"EXIT STATUS\"\n", "tautline ", "\\fB130\\fR", ".SH OPTIONS\n"] {
            assert!(page.contains(part), "no {part:?} in the page of {subcommand}");
        }
        assert!(!page.contains("SH EXTRA"), "{subcommand}");
    }
    for page in ["tautline.1", "tautline-bench-latency.1"] {
        assert!(dir.join(page).exists(), "{page}");
    }
    std::fs::remove_dir_all(&dir).expect("this test created it");
    assert!(run(&["man"]).stdout.starts_with(".ie"), "the page on stdout is roff");
}

#[test]
fn without_a_subcommand_there_is_help_and_the_code_for_wrong_usage() {
    let finished = run(&[]);
    assert_eq!(finished.code, 2);
    assert!(finished.stderr.contains("Usage: tautline"));
}
