//! The table: what was measured, against what it is measured, and whether it is enough.

use std::fmt::Write;

/// A line.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was done.
    pub case: String,
    /// What was measured.
    pub measured: String,
    /// What came of it here.
    pub ours: String,
    /// What it is compared with.
    pub other: String,
    /// The ratio, or the difference.
    pub ratio: String,
    /// What it must reach.
    pub mark: String,
    /// Whether it does; `None` where no mark is set.
    pub reached: Option<bool>,
}

impl Row {
    /// Its verdict in a word.
    pub fn verdict(&self) -> &'static str {
        match self.reached {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        }
    }
}

/// The rows as Markdown.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = "| case | measured | Snapless | compared with | ratio | mark | reached |\n\
                    | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    let mut last = "";
    for row in rows {
        let case = if row.case == last { "" } else { &row.case };
        last = &row.case;
        let cells =
            [case, &row.measured, &row.ours, &row.other, &row.ratio, &row.mark, row.verdict()];
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_named_once_and_a_loss_is_said() {
        let row = Row {
            case: "sync".to_owned(),
            measured: "rate".to_owned(),
            ours: "1".to_owned(),
            other: "2".to_owned(),
            ratio: "0.50".to_owned(),
            mark: "≥ 1".to_owned(),
            reached: Some(false),
        };
        let text = markdown(&[row.clone(), row]);
        assert_eq!(text.matches("sync").count(), 1);
        assert_eq!(text.matches("**no**").count(), 2);
    }
}
