//! Programs that steps run, with what is expected of each: exit code and words.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, PipeReader};
use std::process::{Child, Stdio};
use std::thread::{self, JoinHandle};

use vm_protocol::message::{Command, FromGuest, StepNumber};

use crate::error::AgentError;
use crate::line::Line;
use crate::store::Store;

/// Lines of a program that go to the harness as they come; all of them go into its file.
const LINES_MAX: usize = 500;
/// Bytes of output that are kept of a program.
const OUTPUT_MAX: usize = 16 << 20;
/// Letters of a line that go to the harness.
const LINE_MAX: usize = 2000;

/// The programs that go on from step to step.
#[derive(Default)]
pub struct Programs {
    running: BTreeMap<String, Running>,
}

struct Running {
    command: Command,
    child: Child,
    output: JoinHandle<String>,
}

/// Runs a program to its end and judges it.
pub fn run(
    command: &Command,
    step: StepNumber,
    line: &Line,
    store: &mut Store,
) -> Result<(), AgentError> {
    let (mut child, output) = spawn(command)?;
    drop(child.stdin.take());
    let said = read(output, |text| {
        let text = text.chars().take(LINE_MAX).collect();
        line.send(&FromGuest::Log { step, line: text })
    })?;
    judge(command, child, &said, step, line, store)
}

impl Programs {
    /// Starts a program whose standard input stays open.
    pub fn start(&mut self, name: &str, command: Command) -> Result<(), AgentError> {
        if self.running.contains_key(name) {
            return Err(AgentError::Found(format!("{name} runs already")));
        }
        let (child, output) = spawn(&command)?;
        let output = thread::spawn(|| read(output, |_| Ok(())).unwrap_or_default());
        self.running.insert(name.to_owned(), Running { command, child, output });
        Ok(())
    }

    /// Ends a program by closing its standard input, and judges it.
    pub fn stop(
        &mut self,
        name: &str,
        step: StepNumber,
        line: &Line,
        store: &mut Store,
    ) -> Result<(), AgentError> {
        let running = self.running.remove(name);
        let running =
            running.ok_or_else(|| AgentError::Found(format!("{name} does not run: start it")))?;
        let Running { command, mut child, output } = running;
        drop(child.stdin.take());
        let said = output.join().unwrap_or_default();
        judge(&command, child, &said, step, line, store)
    }
}

/// Starts a program whose two outputs are one.
fn spawn(command: &Command) -> Result<(Child, PipeReader), AgentError> {
    let failed = |source| AgentError::Spawn(command.program.clone(), source);
    let (output, writer) = std::io::pipe().map_err(failed)?;
    let errors = writer.try_clone().map_err(failed)?;
    let mut process = std::process::Command::new(&command.program);
    process.args(&command.arguments).stdin(Stdio::piped()).stdout(writer).stderr(errors);
    Ok((process.spawn().map_err(failed)?, output))
}

/// Reads to the end; the first lines are told.
fn read(
    output: PipeReader,
    mut tell: impl FnMut(&str) -> Result<(), AgentError>,
) -> Result<String, AgentError> {
    let (mut said, mut lines, mut bytes) = (String::new(), 0, Vec::new());
    let mut output = BufReader::new(output);
    while matches!(output.read_until(b'\n', &mut bytes), Ok(length) if length > 0) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if lines < LINES_MAX {
            tell(text.trim_end())?;
        }
        if said.len() + text.len() <= OUTPUT_MAX {
            said.push_str(&text);
        }
        lines += 1;
        bytes.clear();
    }
    Ok(said)
}

fn judge(
    command: &Command,
    mut child: Child,
    said: &str,
    step: StepNumber,
    line: &Line,
    store: &mut Store,
) -> Result<(), AgentError> {
    let status = child.wait().map_err(|error| AgentError::Spawn(command.program.clone(), error))?;
    if let Some(name) = &command.save_as {
        store.save(name, said.as_bytes(), step, line)?;
    }
    expected(command, status.code(), said).map_err(AgentError::Found)
}

/// What is wrong with an exit code and an output.
fn expected(command: &Command, code: Option<i32>, said: &str) -> Result<(), String> {
    let program = &command.program;
    if !code.is_some_and(|code| command.codes.contains(&code)) {
        let code = code.map_or_else(|| "no code".to_owned(), |code| format!("code {code}"));
        let last: Vec<_> = said.lines().rev().take(3).collect();
        let last = last.into_iter().rev().collect::<Vec<_>>().join(" | ");
        return Err(format!(
            "{program} ended with {code} in the place of {:?}: {last}",
            command.codes
        ));
    }
    if let Some(missing) = command.says.iter().find(|text| !said.contains(*text)) {
        return Err(format!("{program} does not say {missing:?}"));
    }
    if let Some(found) = command.never_says.iter().find(|text| said.contains(*text)) {
        return Err(format!("{program} says {found:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_words_of_a_program_are_compared_with_what_is_expected() {
        let command = Command {
            codes: vec![0, 3010],
            says: vec!["ready".into()],
            never_says: vec!["warning".into()],
            ..Command::new("setup", &[])
        };
        assert_eq!(expected(&command, Some(3010), "ready\n"), Ok(()));
        let code = expected(&command, Some(1603), "a\nb\nno driver\n").unwrap_err();
        assert_eq!(code, "setup ended with code 1603 in the place of [0, 3010]: a | b | no driver");
        assert!(expected(&command, None, "ready").unwrap_err().contains("no code"));
        assert!(expected(&command, Some(0), "").unwrap_err().contains("does not say \"ready\""));
        let warned = expected(&command, Some(0), "ready, warning").unwrap_err();
        assert!(warned.contains("says \"warning\""), "{warned}");
    }
}
