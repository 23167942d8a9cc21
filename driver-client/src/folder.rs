//! The well-known folders that Snapless has files in.

/// A folder that Windows knows by an identity. Environment variables are not asked: a service
/// may have been given others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Folder {
    /// Data of programs that all users share.
    ProgramData,
    /// 64-bit programs.
    ProgramFiles,
    /// Windows' own programs and libraries.
    System,
}
