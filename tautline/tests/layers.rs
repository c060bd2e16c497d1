//! Checks the layers of the library: a folder imports only the folders and modules that ARCHITECTURE.md allows.
//!
//! The tests read the files under `src/` as text, without comments and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// Returns the table of ARCHITECTURE.md: each folder, and the folders that it may import.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let page = fs::read_to_string(root().join("../ARCHITECTURE.md")).expect("the page exists");
    let section = page.split("## Layers of the library").nth(1).expect("the section exists");
    let section = section.split("\n## ").next().expect("split gives one part at least");
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.trim_matches('|').split('|').map(names);
        let folder = cells.next().and_then(|names| names.into_iter().next()).expect("a folder");
        (folder, cells.flatten().collect())
    })
    .collect()
}

/// Returns the text of every source file, by its path below `src/`.
fn files() -> BTreeMap<String, String> {
    let (source, mut files) = (root().join("src"), BTreeMap::new());
    let mut folders = vec![source.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder exists") {
            let path = entry.expect("readable").path();
            let name = path.strip_prefix(&source).expect("it is below").to_string_lossy().replace('\\', "/");
            let is_test = name.split('/').any(|part| part == "tests" || part == "tests.rs");
            if path.is_dir() {
                folders.push(path);
            } else if !is_test && name != "lib.rs" {
                files.insert(name, code_of(&fs::read_to_string(&path).expect("readable")));
            }
        }
    }
    files
}

/// Returns the text without comments, and without the test module at its end.
fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Returns the first two names of every path that begins with `crate::`.
fn crate_paths(code: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_alphanumeric() || "_:".contains(c);
    let path = |after: &str| {
        let path = &after[..after.find(|c| !is_part(c)).unwrap_or(after.len())];
        path.split("::").take(2).collect::<Vec<_>>().join("::")
    };
    code.split("crate::").skip(1).map(path).collect()
}

/// Returns the row of a module, by its path below `src/`: that of the module itself (`machine/access`), else that of its folder.
fn row(module: &str, allowed: &BTreeMap<String, BTreeSet<String>>) -> String {
    let first = |parts| module.split('/').take(parts).collect::<Vec<_>>().join("/");
    if allowed.contains_key(&first(2)) { first(2) } else { first(1) }
}

/// Returns the imports that the table does not allow: the file, and what it imports.
fn refused(file: &str, code: &str, allowed: &BTreeMap<String, BTreeSet<String>>) -> Vec<(String, String)> {
    let own = row(file.trim_end_matches(".rs"), allowed);
    let may = allowed.get(&own).unwrap_or_else(|| panic!("ARCHITECTURE.md has no row for {own}"));
    let is_refused = |path: &String| {
        let used = row(&path.replace("::", "/"), allowed);
        used != own && !may.contains(&used)
    };
    crate_paths(code).into_iter().filter(is_refused).map(|path| (file.to_owned(), path)).collect()
}

/// The one attribute that counts as `unsafe` elsewhere.
const USUAL: &str =
    "#[cfg_attr(target_os = \"linux\", allow(unsafe_code), unsafe(link_section = \"tautline_usual\"))]";

/// Returns the lines that are `unsafe`, except for that attribute.
fn unsafe_lines(code: &str) -> Vec<&str> {
    code.lines().map(str::trim).filter(|line| line.contains("unsafe") && *line != USUAL).collect()
}

#[test]
fn only_what_calls_the_system_is_unsafe() {
    for (file, code) in files().iter().filter(|(file, _)| !file.starts_with("machine/")) {
        assert_eq!(unsafe_lines(code), [""; 0], "{file}");
    }
    assert_eq!(unsafe_lines(&format!("{USUAL}\n#[allow(unsafe_code)]")), ["#[allow(unsafe_code)]"]);
}

#[test]
fn a_folder_imports_only_what_the_table_allows() {
    let (allowed, files) = (allowed(), files());
    let found: BTreeSet<_> = files.iter().flat_map(|(file, code)| refused(file, code, &allowed)).collect();
    assert!(found.is_empty(), "not allowed by the table in ARCHITECTURE.md: {found:?}");
}

#[test]
fn the_table_points_down_only() {
    let allowed = allowed();
    // Removes the folders whose imports are all removed, again and again. The folders of a loop remain.
    let mut left: BTreeSet<&String> = allowed.keys().collect();
    loop {
        let stays = |folder: &&String| allowed[*folder].iter().any(|used| left.contains(used));
        let next: BTreeSet<_> = left.iter().copied().filter(stays).collect();
        if next.len() == left.len() {
            break;
        }
        left = next;
    }
    assert!(left.is_empty(), "the table has a loop through {left:?}");
}

#[test]
fn an_upward_import_is_refused() {
    let allowed = allowed();
    let paths = |file, code| refused(file, code, &allowed);
    assert!(paths("driver/mod.rs", "use crate::sync::lock;").is_empty());
    assert_eq!(
        paths("sync/mod.rs", "use crate::driver::Turner;"),
        [("sync/mod.rs".to_owned(), "driver::Turner".to_owned())]
    );
    // A module with a row of its own counts as itself, and not as a part of its folder.
    assert!(paths("config/secret/file.rs", "use crate::machine::access::create;").is_empty());
    assert_eq!(paths("config/secret/file.rs", "use crate::machine::clock::now;").len(), 1);
    assert_eq!(paths("machine/access.rs", "use crate::config::Config;").len(), 1);
    // An import from the root of the crate hides its folder, so it is refused.
    assert_eq!(paths("sending/link.rs", "let x: crate::Wire = y;").len(), 1);
}
