//! Running other programs. The rule: a program that fails stops the task with its command line and
//! all that it said; one that succeeds says nothing, except a compiler's warnings.
//!
//! Cargo's own status lines (`   Compiling serde …`) are progress, not something said.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use crate::console::Progress;
use crate::error::{Error, IoContext, Result};

/// A program to run, with what to say about it.
pub struct Tool {
    what: String,
    advice: &'static str,
    known_warning: Option<&'static str>,
    command: Command,
}

impl Tool {
    /// `what` names the work in an error message: "linking ntoskrnl.lib".
    pub fn new(what: impl Into<String>, program: impl AsRef<OsStr>) -> Self {
        Self {
            what: what.into(),
            advice: "Run `cargo xtask setup` to install what is missing",
            known_warning: None,
            command: Command::new(program),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs in this folder.
    #[must_use]
    pub fn current_dir(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Does not repeat the warning that begins with this text.
    #[must_use]
    pub fn without_warning(mut self, beginning: &'static str) -> Self {
        self.known_warning = Some(beginning);
        self
    }

    /// Runs to the end and returns its standard output.
    pub fn output(mut self) -> Result<String> {
        self.command.stdin(Stdio::null());
        let output = self.command.output().map_err(|source| self.spawn_error(source))?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(stdout);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(self.failed(&output.status.to_string(), &format!("{stdout}{stderr}")))
    }

    /// Runs to the end.
    pub fn run(self) -> Result<()> {
        self.said(|_| ())?.0
    }

    /// Runs to the end; returns how it ended and all that it wrote. `on_line` sees each line as it
    /// comes.
    pub fn said(mut self, on_line: impl FnMut(&str)) -> Result<(Result<()>, String)> {
        let (reader, writer) = std::io::pipe().map_err(|source| self.spawn_error(source))?;
        let errors = writer.try_clone().map_err(|source| self.spawn_error(source))?;
        self.command.stdin(Stdio::null()).stdout(writer).stderr(errors);
        let child = self.command.spawn();
        // The pipe ends when its last writer is closed; these two are this program's own.
        self.command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = child.map_err(|source| self.spawn_error(source))?;
        let said = collect_lines(BufReader::new(reader), on_line);
        let status = child.wait().map_err(|source| self.spawn_error(source))?;
        if status.success() {
            return Ok((Ok(()), said));
        }
        let said_last = diagnostics(&said, self.known_warning);
        Ok((Err(self.failed(&status.to_string(), &said_last)), said))
    }

    /// Runs to the end on this program's own input and output, and returns how it ended: nothing is
    /// judged.
    pub fn status(mut self) -> Result<ExitStatus> {
        self.command.status().map_err(|source| self.spawn_error(source))
    }

    /// Runs to the end with all that it says in a file, and returns how it ended: nothing is
    /// judged.
    pub fn logged_to(mut self, log: &Path) -> Result<ExitStatus> {
        let file = File::create(log).on("create", log)?;
        let errors = file.try_clone().on("open", log)?;
        self.command.stdin(Stdio::null()).stdout(file).stderr(errors);
        self.status()
    }

    /// Runs to the end, showing the last line that it wrote on the step's line; prints the warnings
    /// among them.
    pub fn run_with_progress(self, progress: &Progress) -> Result<()> {
        let known = self.known_warning;
        let (ended, said) = self.said(|line| progress.detail(line))?;
        ended?;
        let diagnostics = diagnostics(&said, known);
        if diagnostics.lines().any(|line| line.starts_with("warning")) {
            progress.note(diagnostics.trim_end());
        }
        Ok(())
    }

    fn spawn_error(&self, source: std::io::Error) -> Error {
        let program = self.command.get_program().to_string_lossy().into_owned();
        Error::Spawn { program, source, advice: self.advice }
    }

    fn failed(&self, status: &str, output: &str) -> Error {
        let mut command = self.command.get_program().to_string_lossy().into_owned();
        for arg in self.command.get_args() {
            command.push(' ');
            command.push_str(&arg.to_string_lossy());
        }
        Error::Command {
            what: self.what.clone(),
            command,
            status: status.to_owned(),
            output: output.trim_end().to_owned(),
        }
    }
}

/// Reads to the end, bytes that are not UTF-8 included.
fn collect_lines(mut reader: impl BufRead, mut on_line: impl FnMut(&str)) -> String {
    let mut all = String::new();
    let mut line = Vec::new();
    while matches!(reader.read_until(b'\n', &mut line), Ok(length) if length > 0) {
        let text = String::from_utf8_lossy(&line);
        on_line(&text);
        all.push_str(&text);
        line.clear();
    }
    all
}

/// What a compiler has to say: without cargo's status lines, and without the paragraph that begins
/// with `known`.
fn diagnostics(said: &str, known: Option<&str>) -> String {
    let mut kept = String::new();
    let mut in_known = false;
    for line in said.lines() {
        let continues = line.starts_with("help:") || line.starts_with(' ');
        in_known = (in_known && continues) || known.is_some_and(|known| line.starts_with(known));
        if !in_known && !is_status(line) {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Whether cargo reports what it is doing: a verb, right-aligned in twelve columns.
fn is_status(line: &str) -> bool {
    const VERB_COLUMNS: usize = 12;
    let Some((verb, rest)) = line.split_at_checked(VERB_COLUMNS) else { return false };
    let verb = verb.trim_start();
    rest.starts_with(' ')
        && verb.starts_with(|first: char| first.is_ascii_uppercase())
        && verb.chars().all(|letter| letter.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_reported_with_its_command_line_and_what_it_said() {
        let tool = Tool::new("trying", "sh").args(["-c", "echo out; echo err >&2; exit 3"]);
        let message = tool.run().expect_err("it exits with 3").to_string();
        assert!(message.contains("trying failed"), "{message}");
        assert!(message.contains("sh -c"), "{message}");
        assert!(message.contains("out\nerr"), "{message}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named_together_with_what_to_do() {
        let message = Tool::new("trying", "/no/such/program").run().expect_err("none").to_string();
        assert!(message.contains("/no/such/program"), "{message}");
        assert!(message.contains("cargo xtask setup"), "{message}");
    }

    #[test]
    fn cargo_s_status_lines_and_a_known_warning_are_not_repeated() {
        let said = "   Compiling serde v1.0.0\n\
                    warning: patch `x` was not used\nhelp: Check that\n      with the rest\n\
                    warning: unused variable\n --> src/lib.rs:1:1\n    \
                    Finished `release` profile in 1 s\n";
        let kept = diagnostics(said, Some("warning: patch `x`"));
        assert_eq!(kept, "warning: unused variable\n --> src/lib.rs:1:1\n");
        assert!(diagnostics(said, None).contains("patch `x`"));
    }

    #[test]
    fn output_that_is_not_utf_8_is_read_to_its_end() {
        let all = collect_lines(&b"a\xff\nb\n"[..], |_| ());
        assert_eq!(all, "a\u{fffd}\nb\n");
    }
}
