//! The program from its command line to its exit code.
//!
//! Rule: where `--json` was given, standard error has one JSON document for each error, that of a
//! wrong command line too. A script needs to parse no prose.

use std::ffi::OsString;
use std::io::Write;

use clap::Parser;
use serde::Serialize;

use crate::arguments::{Arguments, Command};
use crate::error::CliError;

/// The exit code for a wrong command line.
const WRONG_ARGUMENTS: u8 = 2;

/// An error, as printed in JSON.
#[derive(Serialize)]
struct Document<'a> {
    error: Failure<'a>,
}

#[derive(Serialize)]
struct Failure<'a> {
    /// The exit code.
    code: u8,
    /// What is said without `--json`.
    text: &'a str,
}

/// Parses `words`, the program's name first, has `run` carry the command out, and says to `errors`
/// what failed; returns the exit code.
pub fn run(
    words: &[OsString],
    run: impl FnOnce(&Command) -> Result<(), CliError>,
    errors: &mut dyn Write,
) -> u8 {
    let json = words.iter().any(|word| word == "--json");
    match Arguments::try_parse_from(words) {
        Ok(arguments) => match run(&arguments.command) {
            Ok(()) => 0,
            Err(error) => {
                let (code, text) = (error.code(), error.to_string());
                say(code, &text, json, errors);
                code
            }
        },
        Err(wrong) if json && wrong.use_stderr() => {
            let text = wrong.to_string();
            say(WRONG_ARGUMENTS, text.trim_start_matches("error: ").trim_end(), json, errors);
            WRONG_ARGUMENTS
        }
        Err(wrong) if wrong.use_stderr() => {
            // Where errors cannot be written, the exit code is what is left.
            _ = wrong.print();
            WRONG_ARGUMENTS
        }
        Err(help) => match help.print() {
            Ok(()) => 0,
            Err(error) => {
                let error = CliError::Output(error);
                say(error.code(), &error.to_string(), json, errors);
                error.code()
            }
        },
    }
}

fn say(code: u8, text: &str, json: bool, errors: &mut dyn Write) {
    let document = Document { error: Failure { code, text } };
    // Where errors cannot be written, the exit code is what is left.
    _ = match serde_json::to_string(&document) {
        Ok(document) if json => writeln!(errors, "{document}"),
        _ => writeln!(errors, "snapless: {text}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exit code and standard error of `words` whose command ends with `error`.
    fn said(words: &[&str], error: CliError) -> (u8, String) {
        let words: Vec<OsString> =
            ["snapless"].iter().chain(words).map(|word| word.into()).collect();
        let mut errors = Vec::new();
        let code = run(&words, |_| Err(error), &mut errors);
        (code, String::from_utf8(errors).unwrap())
    }

    #[test]
    fn a_script_gets_the_exit_code_and_the_text_of_an_error() {
        let prose = said(&["reload"], CliError::NoService);
        let (code, document) = said(&["reload", "--json"], CliError::NoService);
        assert_eq!((code, prose.0), (7, 7));
        let json = crate::schema::parse("error", &document);
        let text = CliError::NoService.to_string();
        assert_eq!(json, serde_json::json!({"error": {"code": 7, "text": text}}));
        assert_eq!(prose.1, format!("snapless: {text}\n"));
        assert_eq!(document.lines().count(), 1);
    }

    #[test]
    fn a_wrong_command_line_is_an_error_of_the_same_form() {
        for words in [&["stop", "--json"][..], &["--json"], &["pause", "--json", "x"]] {
            let (code, document) = said(words, CliError::NoService);
            let json = crate::schema::parse("error", &document);
            assert_eq!((code, &json["error"]["code"]), (2, &2.into()), "{document}");
            let text = json["error"]["text"].as_str().unwrap();
            assert!(!text.is_empty() && !text.starts_with("error"), "{text}");
        }
    }

    #[test]
    fn what_is_done_says_nothing_of_errors() {
        let words = ["snapless", "version", "--json"].map(OsString::from);
        let mut errors = Vec::new();
        assert_eq!(run(&words, |_| Ok(()), &mut errors), 0);
        assert!(errors.is_empty());
    }
}
