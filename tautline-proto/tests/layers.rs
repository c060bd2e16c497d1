//! The layers of the crate's source: which module may import which.
//!
//! The test reads the files under `src/` as text. It fails when a top-level module imports one that [`ALLOWED`] does not
//! name, when modules beside each other import one another in a circle, or when a module imports from the `mod.rs` above it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The top-level modules, and the top-level modules that each may import. The list goes from the bottom to the top.
const ALLOWED: &[(&str, &[&str])] = &[
    ("snapshot", &[]),
    ("ring", &[]),
    ("time", &["snapshot"]),
    ("counter", &["snapshot"]),
    ("cycle", &["time"]),
    ("peer", &["snapshot"]),
    ("state", &[]),
    ("json", &["snapshot"]),
    ("network", &["snapshot"]),
    ("silence", &[]),
    ("message", &["snapshot", "time"]),
    ("rights", &["message", "snapshot"]),
    ("secure", &["rights", "snapshot"]),
    ("history", &["message", "peer"]),
    ("window", &["snapshot", "time"]),
    ("drops", &["counter", "snapshot"]),
    ("stats", &["counter", "drops", "snapshot", "time"]),
    ("wire", &["drops", "json", "message", "peer", "rights", "snapshot", "time"]),
    ("path", &["snapshot", "stats", "time", "wire"]),
    (
        "endpoint",
        &[
            "drops", "json", "message", "network", "path", "peer", "rights", "ring", "secure", "snapshot",
            "stats", "time", "window", "wire",
        ],
    ),
    ("sim", &["drops", "endpoint", "json", "message", "peer", "ring", "secure", "stats", "time", "wire"]),
];

type Module = Vec<String>;

/// Every module of the crate with its code, without tests and comments.
fn modules() -> BTreeMap<Module, String> {
    let mut modules = BTreeMap::new();
    let mut folders = vec![(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), Module::new())];
    while let Some((folder, module)) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder exists") {
            let path = entry.expect("readable").path();
            let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
            let child = module.iter().cloned().chain([name.clone()]).collect();
            if path.is_dir() {
                folders.push((path, child));
            } else if !name.ends_with("tests") {
                let text = fs::read_to_string(&path).expect("readable");
                let child = if matches!(&*name, "mod" | "lib") { module.clone() } else { child };
                modules.insert(child, code_of(&text));
            }
        }
    }
    modules
}

fn code_of(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let lines: Vec<&str> = lines.collect();
    // The test module is the last item of a file.
    let is_for_tests = |line: &str| line == "#[cfg(test)]" || line.starts_with("#[cfg(all(test, ");
    let tests = lines.windows(2).position(|pair| is_for_tests(pair[0]) && pair[1] == "mod tests {");
    lines[..tests.unwrap_or(lines.len())].join("\n")
}

/// The paths that the code imports or names, from `crate` or `super` on. Re-exports of children are not among them.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = &code[..at];
            if before.ends_with("::") || before.ends_with("pub(in ") {
                continue;
            }
            let tree: String = code[at..].chars().take_while(|&c| c != ';').collect();
            expand("", &tree, &mut paths);
        }
    }
    paths
}

/// Splits `a::{b, c::d}` into `a::b` and `a::c::d`.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<Vec<String>>) {
    let tree = tree.trim_start();
    let end = tree.find(|c: char| !(c.is_alphanumeric() || "_:".contains(c))).unwrap_or(tree.len());
    let path = format!("{prefix}{}", &tree[..end]);
    let Some(names) = tree[end..].strip_prefix('{').filter(|_| path.ends_with("::")) else {
        return paths.push(path.split("::").filter(|part| !part.is_empty()).map(String::from).collect());
    };
    let (mut depth, mut name) = (0, String::new());
    for c in names.chars() {
        match c {
            ',' | '}' if depth == 0 => {
                if !name.trim().is_empty() {
                    expand(&path, &name, paths);
                }
                name.clear();
                if c == '}' {
                    break;
                }
                continue;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        name.push(c);
    }
}

/// The module that `path` leads to, seen from `from`.
fn target(from: &Module, path: &[String], modules: &BTreeMap<Module, String>) -> Module {
    let supers = path.iter().take_while(|part| *part == "super").count();
    let mut target = from[..from.len() - supers].to_vec();
    if path[0] == "crate" {
        target.clear();
    }
    for part in &path[supers.max(1)..] {
        target.push(part.clone());
        if !modules.contains_key(&target) {
            target.pop();
            break;
        }
    }
    target
}

/// Imports between the children of each module, by the parent's path.
type Imports = BTreeMap<Module, BTreeMap<String, BTreeSet<String>>>;

fn imports(modules: &BTreeMap<Module, String>) -> Imports {
    let mut imports = Imports::new();
    for (from, code) in modules {
        for path in paths(code) {
            let to = target(from, &path, modules);
            if to.starts_with(from) {
                continue;
            }
            assert!(!from.starts_with(&to), "{} must not import from above: {}", show(from), path.join("::"));
            let shared = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
            let siblings = imports.entry(from[..shared].to_vec()).or_default();
            siblings.entry(from[shared].clone()).or_default().insert(to[shared].clone());
        }
    }
    imports
}

fn show(module: &Module) -> String {
    format!("crate::{}", module.join("::"))
}

/// The modules that are left when every module that imports none of the others is taken away again and again.
fn circle(mut imports: BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, BTreeSet<String>> {
    loop {
        let names: BTreeSet<String> = imports.keys().cloned().collect();
        imports.values_mut().for_each(|targets| targets.retain(|target| names.contains(target)));
        let before = imports.len();
        imports.retain(|_, targets| !targets.is_empty());
        if imports.len() == before {
            return imports;
        }
    }
}

#[test]
fn modules_import_only_what_their_layer_allows() {
    let imports = imports(&modules());
    let top = &imports[&Module::new()];
    for (name, targets) in top {
        let (_, allowed) = ALLOWED.iter().find(|(module, _)| module == name).expect("ALLOWED names it");
        for target in targets {
            assert!(allowed.contains(&&**target), "crate::{name} must not import crate::{target}");
        }
    }
    assert!(top.values().map(BTreeSet::len).sum::<usize>() > 25, "the test found few imports: {top:?}");
}

#[test]
fn modules_beside_each_other_form_no_circle() {
    for (parent, siblings) in imports(&modules()) {
        let circle = circle(siblings);
        assert!(circle.is_empty(), "modules of {} import one another in a circle: {circle:?}", show(&parent));
    }
}

#[test]
fn inbound_and_outbound_do_not_know_each_other() {
    let endpoint = &imports(&modules())[&vec![String::from("endpoint")]];
    assert!(!endpoint["inbound"].contains("outbound"));
    assert!(!endpoint["outbound"].contains("inbound"));
}

#[test]
fn imports_are_read_and_circles_found() {
    let paths = paths("use crate::a::{b, c::{D, E}};\nlet x = super::f(1); pub(crate) use self::g;");
    let paths: Vec<String> = paths.iter().map(|path| path.join("::")).collect();
    assert_eq!(paths, ["crate::a::b", "crate::a::c::D", "crate::a::c::E", "super::f"]);
    let set = |names: &[&str]| names.iter().map(|&name| String::from(name)).collect::<BTreeSet<_>>();
    let [a, b, c] = ["a", "b", "c"].map(String::from);
    let line = [(a.clone(), set(&["b"])), (b.clone(), set(&["c"]))];
    assert!(circle(line.clone().into_iter().collect()).is_empty());
    let round = line.into_iter().chain([(c, set(&["a"]))]);
    assert_eq!(circle(round.collect()).len(), 3);
}

/// The one attribute that counts as `unsafe`: it names the section of the linker where the usual functions lie, and does nothing
/// else.
const USUAL: &str =
    "#[cfg_attr(target_os = \"linux\", allow(unsafe_code), unsafe(link_section = \"tautline_usual\"))]";

/// Returns the lines that are `unsafe`, except for that attribute.
fn unsafe_lines(code: &str) -> Vec<&str> {
    code.lines().map(str::trim).filter(|line| line.contains("unsafe") && *line != USUAL).collect()
}

#[test]
fn nothing_is_unsafe() {
    for (module, code) in modules() {
        assert_eq!(unsafe_lines(&code), [""; 0], "{module:?}");
    }
    assert_eq!(unsafe_lines(&format!("{USUAL}\n#[allow(unsafe_code)]")), ["#[allow(unsafe_code)]"]);
}
