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
    /// Set the power state of the volume's stack: 1 is working, 4 is off.
    Power(u32),
    /// Tell the volume's stack that it comes into a special file's path, or leaves it.
    Usage {
        /// 1 paging, 2 hibernation, 3 dump.
        kind: u32,
        /// It comes into the path.
        in_path: bool,
    },
    /// Tell the drivers that the system shuts down.
    Shutdown,
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
            "shutdown" => Ok(Self::Shutdown),
            "malformed alone" => Ok(Self::MalformedAlone),
            other => Self::with_numbers(other).ok_or_else(|| format!("{other:?} is not a command")),
        }
    }
}

impl Command {
    fn with_numbers(line: &str) -> Option<Self> {
        match *line.split(' ').collect::<Vec<_>>() {
            ["power", state] => Some(Self::Power(state.parse().ok()?)),
            ["usage", kind, "in"] => Some(Self::Usage { kind: kind.parse().ok()?, in_path: true }),
            ["usage", kind, "out"] => {
                Some(Self::Usage { kind: kind.parse().ok()?, in_path: false })
            }
            ["malformed", "beside", seed, count] => {
                let (seed, count) = (seed.parse().ok()?, count.parse().ok()?);
                Some(Self::MalformedBeside { seed, count })
            }
            _ => None,
        }
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
        assert_eq!(Command::parse("power 4"), Ok(Command::Power(4)));
        let usage = Command::Usage { kind: 1, in_path: true };
        assert_eq!(Command::parse("usage 1 in"), Ok(usage));
        assert!(Command::parse("usage 1 under").is_err());
    }
}
