//! `cargo xtask fuzz --coverage`: which lines of the formats' code the kept corpus runs.
//!
//! The targets are built with the compiler's own instrumentation and play their corpora once. The
//! toolchain's component `llvm-tools` counts; where it is missing it is installed with `rustup`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{PROGRAM, compiler};
use crate::build::programs;
use crate::command::Tool;
use crate::console::{Outcome, Progress, Steps, say};
use crate::error::{Error, IoContext, Result};
use crate::files::remove_folder;
use crate::layout::Layout;

/// What parses bytes from outside. A name that ends with `/` stands for the files in that folder.
const FORMATS: [&str; 23] = [
    "driver-logic/src/control.rs",
    "link/src/frames.rs",
    "nbd/src/handshake.rs",
    "nbd/src/request.rs",
    "server/src/format/",
    "server/src/groups.rs",
    "server/src/ingest.rs",
    "server/src/point/page.rs",
    "server/src/reader.rs",
    "server/src/reader/",
    "server/src/retention/policy.rs",
    "server/src/retention/policy/",
    "server/src/salvage.rs",
    "server/src/salvage/",
    "server/src/stream.rs",
    "service/src/config.rs",
    "service/src/report.rs",
    "service/src/state.rs",
    "trust/src/enrolment.rs",
    "trust/src/identity.rs",
    "trust/src/text.rs",
    "trust/src/token.rs",
    "wire/src/",
];
const FLAGS: [&str; 1] = ["-Cinstrument-coverage"];
/// The component of the toolchain, and the two of its programs that are run.
const COMPONENT: &str = "llvm-tools";
const MERGE: &str = "llvm-profdata";
const COUNT: &str = "llvm-cov";

/// Lines of a file.
struct Lines {
    covered: u64,
    all: u64,
}

/// Runs the task; prints a table.
pub(super) fn run(layout: &Layout) -> Result<()> {
    let steps = Steps::new(4);
    let mut tools = PathBuf::new();
    steps.run("tools that count", |progress| {
        let (folder, outcome) = install(layout, progress)?;
        tools = folder;
        Ok(outcome)
    })?;
    let program = folder(layout).join(PROGRAM);
    steps.run("fuzz targets", |progress| build(layout, &program, progress))?;
    steps.run("corpus", |_| play(layout, &program))?;
    let found = steps.make("lines", |_| count(layout, &tools, &program))?;
    say(&table(&found));
    Ok(())
}

fn folder(layout: &Layout) -> PathBuf {
    layout.fuzz().join("coverage")
}

/// Where the toolchain's programs are; installs them if they are missing.
fn install(layout: &Layout, progress: &Progress) -> Result<(PathBuf, Outcome)> {
    let libraries = Tool::new("asking rustc for its folder", "rustc")
        .current_dir(layout.root())
        .args(["--print", "target-libdir"])
        .output()?;
    let libraries = Path::new(libraries.trim());
    let folder = libraries.parent().unwrap_or(libraries).join("bin");
    let is_there = || [MERGE, COUNT].iter().all(|program| folder.join(program).is_file());
    if is_there() {
        return Ok((folder, Outcome::AlreadyThere));
    }
    Tool::new(format!("installing the component {COMPONENT}"), "rustup")
        .current_dir(layout.root())
        .args(["component", "add", COMPONENT])
        .run_with_progress(progress)?;
    if is_there() {
        return Ok((folder, Outcome::Done));
    }
    let advice = "install the component llvm-tools of the toolchain that builds this repository";
    Err(Error::MissingArtifact { path: folder.join(MERGE), advice })
}

fn build(layout: &Layout, program: &Path, progress: &Progress) -> Result<Outcome> {
    programs::host_cargo("building the fuzz targets")
        .current_dir(layout.root())
        .env("RUSTC_WORKSPACE_WRAPPER", compiler(layout, &FLAGS)?)
        // Build scripts are instrumented as well, and would write where they run.
        .env("LLVM_PROFILE_FILE", "/dev/null")
        .args(["build", "--workspace", "--bin", PROGRAM])
        .arg("--target-dir")
        .arg(layout.target())
        .run_with_progress(progress)?;
    let built = layout.target().join("debug").join(PROGRAM);
    remove_folder(&folder(layout))?;
    fs::create_dir_all(folder(layout)).on("create", &folder(layout))?;
    fs::copy(&built, program).on("write", program)?;
    Ok(Outcome::Done)
}

fn play(layout: &Layout, program: &Path) -> Result<Outcome> {
    Tool::new("playing the corpus", program)
        .env("LLVM_PROFILE_FILE", folder(layout).join("corpus.profraw"))
        .arg("--replay")
        .arg(layout.root().join("tests/fuzz/corpus"))
        .run()?;
    Ok(Outcome::Done)
}

fn count(layout: &Layout, tools: &Path, program: &Path) -> Result<BTreeMap<String, Lines>> {
    let folder = folder(layout);
    let merged = folder.join("corpus.profdata");
    Tool::new("merging what was counted", tools.join(MERGE))
        .args(["merge", "-sparse", "-o"])
        .arg(&merged)
        .arg(folder.join("corpus.profraw"))
        .run()?;
    let counted = Tool::new("counting lines", tools.join(COUNT))
        .args(["export", "-summary-only", "-instr-profile"])
        .arg(&merged)
        .arg(program)
        .output()?;
    let malformed = |problem: &str| Error::Malformed {
        file: merged.clone(),
        problem: format!("{COUNT} {problem}"),
    };
    let counted: Value =
        serde_json::from_str(&counted).map_err(|error| malformed(&error.to_string()))?;
    let found = parse(&counted, layout.root());
    if found.is_empty() { Err(malformed("names no file of a format")) } else { Ok(found) }
}

/// The lines of the formats' files.
fn parse(counted: &Value, root: &Path) -> BTreeMap<String, Lines> {
    let files = counted["data"][0]["files"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |file: &Value| {
        let name = Path::new(file["filename"].as_str()?).strip_prefix(root).ok()?;
        let name = name.to_str()?.to_owned();
        let lines = &file["summary"]["lines"];
        let lines = Lines { covered: lines["covered"].as_u64()?, all: lines["count"].as_u64()? };
        is_format(&name).then_some((name, lines))
    };
    files.iter().filter_map(of).collect()
}

fn is_format(name: &str) -> bool {
    FORMATS.iter().any(|format| {
        if format.ends_with('/') { name.starts_with(format) } else { name == *format }
    })
}

fn table(found: &BTreeMap<String, Lines>) -> String {
    let line = |name: &str, Lines { covered, all }: &Lines| {
        let percent = covered.saturating_mul(100) / (*all).max(1);
        format!("{percent:>4} %  {covered:>5} of {all:>5}  {name}")
    };
    let mut text: Vec<_> = found.iter().map(|(name, lines)| line(name, lines)).collect();
    let sum = |of: fn(&Lines) -> u64| found.values().map(of).sum();
    let all = Lines { covered: sum(|it| it.covered), all: sum(|it| it.all) };
    text.push(line("all of them", &all));
    text.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_formats_and_nothing_else() {
        let file = |name: &str, covered: u64| {
            serde_json::json!({
                "filename": name,
                "summary": { "lines": { "count": 8, "covered": covered } },
            })
        };
        let files = [
            file("/repository/server/src/format/index.rs", 6),
            file("/repository/wire/src/id.rs", 8),
            file("/repository/server/src/list.rs", 1),
            file("/elsewhere/server/src/format/map.rs", 1),
        ];
        let counted = serde_json::json!({ "data": [{ "files": files }] });
        let table = table(&parse(&counted, Path::new("/repository")));
        let lines: Vec<_> = table.lines().map(str::trim_start).collect();
        assert_eq!(lines.len(), 3, "{table}");
        assert!(lines[0].starts_with("75 %") && lines[0].ends_with("server/src/format/index.rs"));
        assert!(lines[1].starts_with("100 %") && lines[1].ends_with("wire/src/id.rs"));
        assert!(lines[2].starts_with("87 %") && lines[2].ends_with("14 of    16  all of them"));
    }

    #[test]
    fn every_format_that_is_counted_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for format in FORMATS {
            assert!(root.join(format).exists(), "{format}");
        }
    }
}
