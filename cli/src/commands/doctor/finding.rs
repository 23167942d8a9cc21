//! What is found of a part, and how it is printed.

use std::io::Write;

use serde::Serialize;

use crate::commands::common::print_json;
use crate::error::CliError;

/// How a part is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// Protection goes on, and somebody should look at it.
    Warning,
    /// Something is not protected, or will not be.
    Failed,
}

/// What is found of a part.
#[derive(PartialEq, Eq, Debug, Serialize)]
pub(super) struct Finding {
    /// The part: `driver`, `service`, …, or a volume's name.
    pub(super) part: String,
    pub(super) verdict: Verdict,
    /// What is so, and what to do.
    pub(super) text: String,
}

impl Finding {
    pub(super) fn ok(part: impl Into<String>, text: impl Into<String>) -> Self {
        Self { part: part.into(), verdict: Verdict::Ok, text: text.into() }
    }

    pub(super) fn warning(part: impl Into<String>, text: impl Into<String>) -> Self {
        Self { part: part.into(), verdict: Verdict::Warning, text: text.into() }
    }

    pub(super) fn failed(part: impl Into<String>, text: impl Into<String>) -> Self {
        Self { part: part.into(), verdict: Verdict::Failed, text: text.into() }
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    healthy: bool,
    findings: &'a [Finding],
}

/// Prints the findings.
///
/// # Errors
/// [`CliError::Unhealthy`] if one has failed, printed or not.
pub(super) fn print(findings: &[Finding], json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    let failed = findings.iter().filter(|it| it.verdict == Verdict::Failed).count();
    let printed = if json {
        print_json(&Answer { healthy: failed == 0, findings }, out)
    } else {
        print_text(findings, out)
    };
    if failed == 0 { printed } else { Err(CliError::Unhealthy(failed)) }
}

fn print_text(findings: &[Finding], out: &mut dyn Write) -> Result<(), CliError> {
    for Finding { part, verdict, text } in findings {
        let mark = match verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warning => "WARN",
            Verdict::Failed => "FAIL",
        };
        writeln!(out, "{mark}  {part}: {text}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(findings: &[Finding], json: bool) -> (String, bool) {
        let mut out = Vec::new();
        let printed = print(findings, json, &mut out);
        let is_healthy = printed.is_ok();
        assert!(is_healthy || matches!(printed, Err(CliError::Unhealthy(1))));
        (String::from_utf8(out).unwrap(), is_healthy)
    }

    #[test]
    fn the_verdict_outlives_its_report() {
        let (sound, failed) = ([Finding::ok("x", "y")], [Finding::failed("x", "y")]);
        for json in [false, true] {
            let printed = print(&failed, json, &mut crate::test_output::Full);
            assert!(matches!(printed, Err(CliError::Unhealthy(1))), "{printed:?}");
            let printed = print(&sound, json, &mut crate::test_output::Full);
            assert!(matches!(printed, Err(CliError::Output(_))), "{printed:?}");
        }
    }

    #[test]
    fn a_warning_is_healthy_and_a_failure_is_not() {
        let warned = [Finding::ok("driver", "running"), Finding::warning("D:", "a gap")];
        assert_eq!(
            printed(&warned, false),
            ("ok    driver: running\nWARN  D:: a gap\n".to_owned(), true)
        );
        let failed = [Finding::failed("driver", "none"), Finding::ok("x", "y")];
        let (text, is_healthy) = printed(&failed, true);
        let value = crate::schema::parse("doctor", &text);
        assert!(!is_healthy && value["healthy"] == false);
        assert_eq!(value["findings"][0]["verdict"], "failed");
    }
}
