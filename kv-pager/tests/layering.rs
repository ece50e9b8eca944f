//! Modules use only modules below them: the folder list is the map of the life of a block.

use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first; modules in one row may use each other.
const LAYERS: [&[&str]; 11] = [
    &["ids", "units", "error", "event", "clock", "config", "sync"],
    &["layout"],
    &["pool"],
    &["prefix"],
    &["sequence"],
    &["tier"],
    &["cost"],
    &["transfer"],
    &["policy"],
    &["pager"],
    &["telemetry"],
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the crate's sources are readable") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Which modules of the core a line names: all words after `crate::`, also in braces.
fn modules_named(line: &str) -> Vec<String> {
    let mut named = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let text = rest.strip_prefix('{').map_or(rest, |braced| braced.split('}').next().unwrap_or(braced));
        for item in text.split(',') {
            let word: String =
                item.trim().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
            named.push(word);
            if rest.as_bytes().first() != Some(&b'{') {
                break;
            }
        }
    }
    named
}

#[test]
fn no_module_uses_a_higher_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "only {} files were found in {}", files.len(), root.display());
    let mut wrong = Vec::new();
    for file in files {
        let place = file.strip_prefix(&root).expect("found below it");
        let first = place.components().next().expect("not empty").as_os_str().to_string_lossy().into_owned();
        let module = first.trim_end_matches(".rs").to_owned();
        if module == "lib" {
            continue;
        }
        let own = layer(&module);
        assert!(own.is_some(), "module {module} has no layer; add it to the list where it belongs");
        let text = fs::read_to_string(&file).expect("a source is text");
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for used in modules_named(line) {
                if layer(&used).is_some_and(|used| Some(used) > own) {
                    wrong.push(format!("{}: {}", place.display(), line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these use higher modules:\n{}", wrong.join("\n"));
}
