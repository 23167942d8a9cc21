//! What the file system of a volume says about it: whether writes reach the volume at all (DAX),
//! and whether other machines write to it (a cluster shared volume).
//!
//! The driver looks at the devices below it; this is what only the file system knows. Rule: an
//! answer that is neither yes nor no is an error, and the volume is not protected until there is
//! one.

use std::fmt;

use snapless_wire::ioctl::Protection;

/// `FILE_DAX_VOLUME` of `FILE_FS_ATTRIBUTE_INFORMATION`: files are mapped straight to persistent
/// memory.
const DAX_VOLUME: u32 = 0x2000_0000;
/// `STATUS_INVALID_DEVICE_REQUEST`: the file system knows no such request.
const INVALID_DEVICE_REQUEST: Status = Status(0xC000_0010);
/// `STATUS_NOT_SUPPORTED`, by which others say the same.
const NOT_SUPPORTED: Status = Status(0xC000_00BB);

/// An `NTSTATUS` that is no success.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status(pub u32);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NTSTATUS {:#010X}", self.0)
    }
}

impl Status {
    /// True if the file system does not know the request, and so has not what it asks for.
    fn is_unknown_request(self) -> bool {
        self == INVALID_DEVICE_REQUEST || self == NOT_SUPPORTED
    }
}

/// The answers of a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answers {
    /// The attributes of `FILE_FS_ATTRIBUTE_INFORMATION`.
    pub attributes: Result<u32, Status>,
    /// The reply to `FSCTL_IS_VOLUME_OWNED_BYCSVFS`; `None` if it is no single byte.
    pub owned_by_cluster: Result<Option<u8>, Status>,
}

impl Answers {
    /// Whether the volume can be protected, as far as its file system knows.
    ///
    /// # Errors
    /// What could not be found out.
    pub fn protection(&self) -> Result<Protection, Unanswered> {
        let is_dax = match self.attributes {
            Ok(attributes) => attributes & DAX_VOLUME != 0,
            Err(status) if status.is_unknown_request() => false,
            Err(status) => return Err(Unanswered::Attributes(status)),
        };
        let is_shared = match self.owned_by_cluster {
            Ok(Some(owned)) => owned != 0,
            Ok(None) => return Err(Unanswered::Reply),
            Err(status) if status.is_unknown_request() => false,
            Err(status) => return Err(Unanswered::Cluster(status)),
        };
        Ok(match (is_dax, is_shared) {
            (true, _) => Protection::Dax,
            (false, true) => Protection::ClusterShared,
            (false, false) => Protection::Possible,
        })
    }
}

/// What a file system did not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unanswered {
    /// The volume cannot be opened.
    #[error("the volume cannot be opened ({0})")]
    Open(Status),
    /// Its attributes.
    #[error("the file system does not say whether its files bypass the drivers, DAX ({0})")]
    Attributes(Status),
    /// Whether the volume belongs to a cluster.
    #[error("the file system does not say whether it is a cluster shared volume ({0})")]
    Cluster(Status),
    /// Where its files are.
    #[error("the file system does not say where the paging file is ({0})")]
    Layout(Status),
    /// Which clusters are free.
    #[error("the file system does not say which clusters are free ({0})")]
    Clusters(Status),
    /// The same, in a form that is unknown here.
    #[error("the file system's answer about free clusters is not understood")]
    ClusterMap,
    /// It does not write down what it has in memory.
    #[error("the file system cannot be flushed (Windows error {0})")]
    Flush(i32),
    /// It answered in a form that is unknown here.
    #[error("the file system's answer about cluster shared volumes is not understood")]
    Reply,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCESS_DENIED: Status = Status(0xC000_0022);
    const PLAIN: Answers = Answers { attributes: Ok(0x03E7_06FF), owned_by_cluster: Ok(Some(0)) };

    #[test]
    fn a_plain_volume_can_be_protected() {
        assert_eq!(PLAIN.protection(), Ok(Protection::Possible));
    }

    #[test]
    fn a_dax_volume_and_a_cluster_shared_volume_cannot_be_protected() {
        let dax = Answers { attributes: Ok(0x03E7_06FF | DAX_VOLUME), ..PLAIN };
        assert_eq!(dax.protection(), Ok(Protection::Dax));
        let shared = Answers { owned_by_cluster: Ok(Some(1)), ..PLAIN };
        assert_eq!(shared.protection(), Ok(Protection::ClusterShared));
        let both = Answers { owned_by_cluster: Ok(Some(1)), ..dax };
        assert_eq!(both.protection(), Ok(Protection::Dax));
    }

    #[test]
    fn a_file_system_that_does_not_know_a_request_has_not_what_it_asks_for() {
        for status in [INVALID_DEVICE_REQUEST, NOT_SUPPORTED] {
            let answers = Answers { attributes: Err(status), owned_by_cluster: Err(status) };
            assert_eq!(answers.protection(), Ok(Protection::Possible));
            let shared = Answers { attributes: Err(status), owned_by_cluster: Ok(Some(1)) };
            assert_eq!(shared.protection(), Ok(Protection::ClusterShared));
            let dax = Answers { attributes: Ok(DAX_VOLUME), owned_by_cluster: Err(status) };
            assert_eq!(dax.protection(), Ok(Protection::Dax));
        }
    }

    #[test]
    fn without_an_answer_a_volume_is_not_taken_for_one_that_can_be_protected() {
        let silent = Answers { attributes: Err(ACCESS_DENIED), ..PLAIN };
        assert_eq!(silent.protection(), Err(Unanswered::Attributes(ACCESS_DENIED)));
        let silent = Answers { owned_by_cluster: Err(ACCESS_DENIED), ..PLAIN };
        assert_eq!(silent.protection(), Err(Unanswered::Cluster(ACCESS_DENIED)));
        let odd = Answers { owned_by_cluster: Ok(None), ..PLAIN };
        assert_eq!(odd.protection(), Err(Unanswered::Reply));
        let text = Unanswered::Attributes(ACCESS_DENIED).to_string();
        assert!(text.contains("0xC0000022"), "{text}");
    }
}
