//! The image with which an interrupted restore can be gone on with.

use std::path::Path;

use snapless_wire::id::{SessionId, VolumeGuid};

use super::choice::Source;
use crate::error::{Error, Result};
use crate::target::left;
use crate::timeline::At;

/// The image that an interrupted restore of a volume, and of a session if one is given, has left
/// for a target.
///
/// # Errors
/// [`Error::NothingLeft`], or the target cannot be looked at.
pub fn unfinished_source(
    target: &Path,
    volume: VolumeGuid,
    session: Option<SessionId>,
) -> Result<Source> {
    let left = left::find(target)?.into_iter().find(|left| {
        left.image.volume == volume && session.is_none_or(|asked| asked == left.image.session)
    });
    let left = left.ok_or_else(|| Error::NothingLeft { path: target.to_owned(), volume })?;
    let at = At::Exact { time: left.time, cut: left.image.cut };
    Ok(Source { volume, session: Some(left.image.session), at })
}
