//! Checks that ARCHITECTURE.md names the files, folders and packages that exist, and no others.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the entries of the map, where a line `crate/src/` comes before the files and folders in it.
fn map() -> BTreeSet<String> {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let map =
        page.split("## The map").nth(1).and_then(|rest| rest.split("```").nth(1)).expect("a code block");
    let mut folder = "";
    let mut entries = BTreeSet::new();
    for line in map.lines().skip(1) {
        match line.strip_prefix("    ") {
            None => folder = line.trim(),
            Some(names) => entries.extend(
                names
                    .split_whitespace()
                    .take_while(|word| word.ends_with('/') || word.ends_with(".rs"))
                    .map(|name| format!("{folder}{name}")),
            ),
        }
    }
    entries
}

/// Returns the files and folders that exist at the top of each crate of the map.
fn tree() -> BTreeSet<String> {
    let mut entries = BTreeSet::new();
    for folder in ["tautline-proto/src/", "tautline/src/"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let entry = entry.unwrap();
            let slash = if entry.path().is_dir() { "/" } else { "" };
            entries.insert(format!("{folder}{}{slash}", entry.file_name().to_str().unwrap()));
        }
    }
    entries.remove("tautline/src/tests/");
    entries
}

#[test]
fn the_map_matches_the_folders() {
    let (map, tree) = (map(), tree());
    assert_eq!(
        map.difference(&tree).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "in the map, not in the tree"
    );
    assert_eq!(
        tree.difference(&map).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "in the tree, not in the map"
    );
}

#[test]
fn the_page_names_every_package() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for package in
        ["tautline-proto/", "tautline/", "tautline-cli/", "fuzz/", "model/", "rtsan/", "bench/", "docs/"]
    {
        assert!(page.contains(&format!("\n{package} ")), "{package} is not in ARCHITECTURE.md");
        assert!(root().join(package).is_dir(), "{package} is not in the tree");
    }
}

#[test]
fn the_files_in_the_drawings_exist() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let section = page.split("## The path of a message").nth(1).expect("the section exists");
    let section = section.split("\n## ").next().expect("split gives one part at least");
    let drawings = section.split("```text").skip(1).filter_map(|rest| rest.split("```").next());
    let mut seen = 0;
    for line in drawings.flat_map(str::lines) {
        let Some(name) = line.split_whitespace().next() else { continue };
        let path = match name.strip_prefix("proto:") {
            Some(name) => root().join("tautline-proto/src").join(name),
            None => root().join("tautline/src").join(name),
        };
        assert!(path.is_file(), "ARCHITECTURE.md draws {name}, which does not exist");
        seen += 1;
    }
    assert!(seen > 20, "only {seen} files are drawn");
}
