//! The layers of the program's source: `main`, `cli`, the subcommands, the tools.
//!
//! Reads the files under `src/` as text. It fails when an import points up (from a tool to a subcommand, from a
//! subcommand to `cli`) or across (from one subcommand to another one).

use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("readable"));
    let of_entry = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    let files = entries.flat_map(|entry| of_entry(entry.path()));
    files.filter(|path| path.extension().is_some_and(|end| end == "rs")).collect()
}

/// The paths in a file's code that begin with `crate::`, one for each name that braces hold.
fn crate_paths(text: &str) -> Vec<String> {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<String>();
    let mut paths = Vec::new();
    for after in code.split("crate::").skip(1) {
        let end = after.find(|c: char| !(c.is_alphanumeric() || "_:".contains(c))).unwrap_or(after.len());
        let path = &after[..end];
        match after[end..].strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((names, _)) => paths.extend(names.split(',').map(|name| format!("{path}{}", name.trim()))),
            None => paths.push(path.to_owned()),
        }
    }
    paths
}

/// Whether the file `file` (relative to `src/`) may import `path` (without `crate::`).
fn is_allowed(file: &str, path: &str) -> bool {
    let mut file = file.split('/');
    let mut path = path.split("::");
    match (file.next(), path.next()) {
        (Some("lib.rs" | "cli.rs"), _) | (_, Some("tools")) => true,
        (Some("commands"), Some("commands")) => {
            let own = file.next().unwrap_or_default();
            path.next() == Some(own.trim_end_matches(".rs"))
        }
        _ => false,
    }
}

#[test]
fn no_import_points_up_or_to_another_subcommand() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for file in sources(&root) {
        let name = file.strip_prefix(&root).expect("it is below").to_string_lossy().replace('\\', "/");
        for path in crate_paths(&fs::read_to_string(&file).expect("readable")) {
            seen += 1;
            assert!(is_allowed(&name, &path), "src/{name} must not import crate::{path}");
        }
    }
    assert!(seen > 100, "only {seen} imports found");
}

#[test]
fn imports_up_and_across_are_refused() {
    assert!(is_allowed("commands/ping.rs", "tools::pace::Pace"));
    assert!(is_allowed("commands/bench/page.rs", "commands::bench::chart"));
    assert!(!is_allowed("tools/pace.rs", "commands::ping"));
    assert!(!is_allowed("tools/pace.rs", "cli"));
    assert!(!is_allowed("commands/demo/mod.rs", "commands::proxy"));
    assert!(!is_allowed("commands/man.rs", "cli::definition"));
    assert_eq!(
        crate_paths("use crate::tools::{exit, output}; // crate::cli"),
        ["tools::exit", "tools::output"]
    );
}
