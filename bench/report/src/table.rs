//! The table of results.

use std::fmt::Write;

/// A row.
#[derive(Clone, Debug)]
pub struct Row {
    /// The case.
    pub case: String,
    /// The quantity and its unit.
    pub measured: String,
    /// The result of Snapless.
    pub ours: String,
    /// The result that it is compared with.
    pub other: String,
    /// The ratio of the two.
    pub ratio: String,
    /// The mark that must be reached.
    pub mark: String,
    /// Whether it is reached; `None` without a mark.
    pub reached: Option<bool>,
}

impl Row {
    /// A row without a mark.
    pub fn new(
        case: impl Into<String>,
        measured: impl Into<String>,
        ours: impl Into<String>,
        other: impl Into<String>,
        ratio: impl Into<String>,
    ) -> Self {
        Self {
            case: case.into(),
            measured: measured.into(),
            ours: ours.into(),
            other: other.into(),
            ratio: ratio.into(),
            mark: String::new(),
            reached: None,
        }
    }

    /// The row with the mark that `value` is at least `mark`.
    pub fn at_least(self, mark: f64, value: f64) -> Self {
        self.marked(format!("≥ {mark}"), value >= mark)
    }

    /// The row with the mark that `value` is at most `mark`.
    pub fn at_most(self, mark: f64, value: f64) -> Self {
        self.marked(format!("≤ {mark}"), value <= mark)
    }

    /// The row with this mark.
    pub fn marked(self, mark: impl Into<String>, reached: bool) -> Self {
        Self { mark: mark.into(), reached: Some(reached), ..self }
    }

    /// The verdict in a word.
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
    fn a_case_is_named_once_and_a_missed_mark_is_shown() {
        let row = Row::new("sync", "rate", "1", "2", "0.50").at_least(1.0, 0.5);
        let text = markdown(&[row.clone(), row]);
        assert_eq!(text.matches("sync").count(), 1);
        assert_eq!(text.matches("| ≥ 1 | **no** |").count(), 2);
    }
}
