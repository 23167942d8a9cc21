//! The page of a run's folder, and the verdict for programs.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use vm_protocol::message::Outcome;

use crate::error::VmError;
use crate::runner::Found;
use crate::verdict::{StepEnd, Verdict};

/// What `verdict.json` has.
#[derive(Serialize)]
struct Summary<'a> {
    case: &'a str,
    verdict: &'a Verdict,
    exit_code: u8,
    system: Option<&'a str>,
    steps: &'a [StepEnd],
}

/// Writes `index.md` and `verdict.json` into the folder of a run; `tables` go below the steps.
/// Returns the page's path.
pub fn write(folder: &Path, case: &str, found: &Found, tables: &str) -> Result<PathBuf, VmError> {
    let page = folder.join("index.md");
    let text = text(folder, case, found, tables)?;
    fs::write(&page, text).map_err(VmError::file("write", &page))?;
    let summary = Summary {
        case,
        verdict: &found.verdict,
        exit_code: found.verdict.exit_code(),
        system: found.system.as_deref(),
        steps: &found.steps,
    };
    let path = folder.join("verdict.json");
    let json = serde_json::to_string_pretty(&summary);
    let json = json.map_err(|error| VmError::Unusable(error.to_string()))?;
    fs::write(&path, json + "\n").map_err(VmError::file("write", &path))?;
    Ok(page)
}

fn text(folder: &Path, case: &str, found: &Found, tables: &str) -> Result<String, VmError> {
    let mut page = format!("# {case}: {}\n\n", found.verdict.name());
    let detail = found.verdict.detail();
    if !detail.is_empty() {
        let _ = writeln!(page, "{}\n", cell(detail));
    }
    let system = found.system.as_deref().unwrap_or("the guest never said hello");
    let _ = writeln!(
        page,
        "Guest: {}\n\n| step | verdict | seconds |\n| --- | --- | --- |",
        cell(system)
    );
    for step in &found.steps {
        let (name, seconds) = (cell(&step.name), step.seconds);
        let verdict = step.verdict.as_ref();
        let ended = verdict.map_or("not begun", |verdict| verdict.name());
        let detail = verdict.map_or("", |verdict| verdict.detail());
        let ended = if detail.is_empty() { ended.to_owned() } else { format!("{ended}: {detail}") };
        let _ = writeln!(page, "| {name} | {} | {seconds} |", cell(&ended));
    }
    if !tables.is_empty() {
        let _ = writeln!(page, "\n{}", tables.trim_end());
    }
    let passed = found.kept.iter().filter(|kept| kept.outcome == Outcome::Passed).count();
    let _ = writeln!(
        page,
        "\nThe result disk has {} outcomes, {passed} of them passed.\n\n| file | bytes |\n| --- | --- |",
        found.kept.len()
    );
    for file in files_below(folder)? {
        let length = fs::metadata(&file).map_err(VmError::file("look at", &file))?.len();
        let name = file.strip_prefix(folder).unwrap_or(&file).display().to_string();
        let _ = writeln!(page, "| [{name}]({name}) | {length} |");
    }
    Ok(page)
}

/// A text in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// The files that came back: not those that the run worked on.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>, VmError> {
    let mut files = Vec::new();
    for folder in [folder.to_path_buf(), folder.join("files"), folder.join("results")] {
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&folder).map_err(VmError::file("list", &folder))? {
            let path = entry.map_err(VmError::file("list", &folder))?.path();
            let is_own = ["index.md", "verdict.json"].iter().any(|own| path.ends_with(own));
            if path.is_file() && !is_own {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_the_verdict_the_steps_and_the_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("files")).unwrap();
        fs::write(dir.path().join("files/MEMORY.DMP"), "dump").unwrap();
        let crashed = Verdict::Crashed { what: "panic: 0xC4 |".to_owned() };
        let step = |name: &str, verdict| StepEnd { name: name.into(), verdict, seconds: 3 };
        let found = Found {
            verdict: crashed.clone(),
            system: Some("Windows".to_owned()),
            steps: vec![step("install", Some(crashed)), step("load", None)],
            kept: Vec::new(),
        };
        let page = write(dir.path(), "uefi", &found, "").unwrap();
        let page = fs::read_to_string(page).unwrap();
        for part in [
            "# uefi: crashed\n\npanic: 0xC4 \\|",
            "| install | crashed: panic: 0xC4 \\| | 3 |",
            "| load | not begun | 3 |",
            "| [files/MEMORY.DMP](files/MEMORY.DMP) | 4 |",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        let json = fs::read_to_string(dir.path().join("verdict.json")).unwrap();
        assert!(json.contains("\"exit_code\": 4"), "{json}");
    }
}
