//! Why a volume cannot be protected, as people read it.

use snapless_wire::ioctl::Protection;

/// As people read it; `None` if the volume can be protected.
pub fn obstacle(protection: Protection) -> Option<&'static str> {
    Some(match protection {
        Protection::Possible => return None,
        Protection::Silent => "it does not answer: is it online and unlocked?",
        Protection::Removable => "its medium can be taken out",
        Protection::CdRom => "it is an optical disc",
        Protection::RamDisk => "it is a RAM disk",
        Protection::ReadOnly => "it is read-only",
        Protection::Dax => {
            "its files are mapped straight to persistent memory (DAX), past every driver"
        }
        Protection::ClusterShared => {
            "it is a cluster shared volume: other machines write to it as well"
        }
        Protection::Remote => "it is on another machine: protect it there",
        Protection::Excluded => {
            "the driver's settings exclude it (ExcludedVolumes; see docs/configuration.md)"
        }
        Protection::StartsFailed => {
            "the machine started twice in a row without a program of Snapless coming up, so the \
             driver protects nothing: run `snapless-setup install` again, and restart (see \
             docs/configuration.md)"
        }
        Protection::NoDirectIo => "its driver takes neither direct nor buffered I/O",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_obstacle_has_words_of_its_own() {
        let words: HashSet<_> = Protection::ALL.iter().copied().filter_map(obstacle).collect();
        assert_eq!(words.len(), Protection::ALL.len() - 1);
    }
}
