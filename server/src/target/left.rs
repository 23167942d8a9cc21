//! What interrupted restores have left for a target: to go on with, or to discard.

use std::path::Path;

use super::place::Place;
use super::{device, partial};
use crate::error::{Error, Result};
use crate::format::unfinished::{ImageId, Unfinished};

/// The unfinished images of a target, the one that is furthest first.
///
/// # Errors
/// The target's name, its folder or the device cannot be looked at.
pub fn find(target: &Path) -> Result<Vec<Unfinished>> {
    let mut found: Vec<_> = match Place::find(target)? {
        Place::Device(path) => device::left(&path)?.into_iter().collect(),
        Place::New(path) | Place::File(path) => {
            partial::left_for(&path)?.into_iter().map(|left| left.unfinished).collect()
        }
    };
    found.sort_by_key(|left| std::cmp::Reverse(left.done));
    Ok(found)
}

/// Discards them, so that a restore begins anew.
///
/// # Errors
/// As for [`find`]; or what is left cannot be removed.
pub fn discard(target: &Path) -> Result<()> {
    match Place::find(target)? {
        Place::Device(path) => device::discard(&path),
        Place::New(path) | Place::File(path) => {
            partial::left_for(&path)?.into_iter().try_for_each(partial::Left::discard)
        }
    }
}

/// Refuses to begin an image where another one is unfinished.
///
/// # Errors
/// [`Error::Unfinished`] if there is one, and none is the image asked for.
pub(super) fn check(target: &Path, image: &ImageId, left: &[&Unfinished]) -> Result<()> {
    match left.first() {
        Some(other) if left.iter().all(|it| it.image != *image) => Err(Error::Unfinished {
            path: target.to_owned(),
            session: other.image.session,
            time: other.time,
            done: other.done,
            length: other.image.geometry.length(),
        }),
        _ => Ok(()),
    }
}
