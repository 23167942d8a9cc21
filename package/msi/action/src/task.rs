//! What to run: `PROGRAM|ARGUMENTS`, the text that `snapless.wxs` gives each action.

use std::path::PathBuf;

/// A program with its command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The program's file.
    pub program: PathBuf,
    /// The rest of its command line, quoted as Windows wants it.
    pub arguments: String,
}

impl Task {
    /// Reads the text; `|` is in no name of a file.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('|') {
            Some((program, arguments)) if !program.is_empty() => {
                Ok(Self { program: program.into(), arguments: arguments.to_owned() })
            }
            _ => Err(format!("the package is damaged: its action has no program in `{text}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_a_program_and_its_arguments() {
        let task = Task::parse(r#"C:\Program Files\x.exe|install --inf "C:\a b\x.inf""#);
        let task = task.expect("sound");
        assert_eq!(task.program, PathBuf::from(r"C:\Program Files\x.exe"));
        assert_eq!(task.arguments, r#"install --inf "C:\a b\x.inf""#);
        assert_eq!(Task::parse("x.exe|").expect("sound").arguments, "");
    }

    #[test]
    fn a_text_without_a_program_is_refused() {
        for text in ["", "|install", "x.exe install"] {
            assert!(Task::parse(text).expect_err("damaged").contains("damaged"), "{text}");
        }
    }
}
