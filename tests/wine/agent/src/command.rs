//! The commands that the agent takes.

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// Show that the agent runs.
    Hello,
    /// Say what the volume has counted.
    Query,
    /// Build the volume's stack with the registered filters and start it.
    Attach,
    /// Take the volume's stack down.
    Remove,
    /// Make the journal's file complete.
    FlushJournal,
    /// Let the volume take requests, but not work on them.
    Pause,
    /// Let the volume work again.
    Resume,
    /// Throw malformed requests at the product's driver while nobody has a session.
    MalformedAlone,
    /// The same while somebody else has one, and then so many random ones.
    MalformedBeside {
        /// Chooses the random ones.
        seed: u64,
        /// How many.
        count: u64,
    },
}

impl Command {
    /// Reads one line.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        match line.trim() {
            "hello" => Ok(Self::Hello),
            "query" => Ok(Self::Query),
            "attach" => Ok(Self::Attach),
            "remove" => Ok(Self::Remove),
            "flush-journal" => Ok(Self::FlushJournal),
            "pause" => Ok(Self::Pause),
            "resume" => Ok(Self::Resume),
            "malformed alone" => Ok(Self::MalformedAlone),
            other => Self::with_numbers(other).ok_or_else(|| format!("{other:?} is not a command")),
        }
    }
}

impl Command {
    fn with_numbers(line: &str) -> Option<Self> {
        let (seed, count) = line.strip_prefix("malformed beside ")?.split_once(' ')?;
        Some(Self::MalformedBeside { seed: seed.parse().ok()?, count: count.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_with_any_line_ending() {
        assert_eq!(Command::parse("query\r\n"), Ok(Command::Query));
        assert_eq!(Command::parse("flush-journal"), Ok(Command::FlushJournal));
        assert!(Command::parse("format").unwrap_err().contains("format"));
        let beside = Command::MalformedBeside { seed: 7, count: 100 };
        assert_eq!(Command::parse("malformed beside 7 100\n"), Ok(beside));
        assert!(Command::parse("malformed beside 7").is_err());
    }
}
