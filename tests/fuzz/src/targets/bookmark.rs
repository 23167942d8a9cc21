//! Bookmarks: their files, the names of these, and what people call a point.

use snapless_server::bookmarks::new_name;
use snapless_server::format::bookmark::{BOOKMARK_LEN, Bookmark, BookmarkName};
use snapless_server::point_name::PointName;

use super::repository::{name, seal};
use super::{Target, stream};

pub(super) const TARGET: Target = Target {
    name: "bookmark",
    repairs: &[repair],
    run,
    reached: &[
        "bookmark",
        "point",
        "name",
        "none of them",
        "short",
        "magic",
        "version",
        "checksum",
        "content",
    ],
};

/// What the files begin with.
const MAGIC: &[u8] = b"SLMARK";

/// Makes the checksum right.
fn repair(input: &mut [u8]) {
    let len = input.len().min(BOOKMARK_LEN);
    seal(&mut input[..len]);
}

fn run(input: &[u8]) -> &'static str {
    if let Some(text) = str::from_utf8(input).ok().filter(|_| !input.starts_with(MAGIC)) {
        return typed(text);
    }
    match Bookmark::read(input) {
        Ok(bookmark) => {
            assert_eq!(Bookmark::read(&bookmark.to_bytes()), Ok(bookmark.clone()));
            let path = bookmark.name.file(bookmark.volume);
            let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
            let found = BookmarkName::from_file_name(file);
            assert_eq!(found, Some((bookmark.volume, bookmark.name)));
            "bookmark"
        }
        Err(why) => name(why),
    }
}

/// A new name is never a time, and stands for itself.
fn typed(text: &str) -> &'static str {
    let asked = text.parse::<PointName>();
    if let Ok(name) = new_name(text) {
        assert_eq!(asked, Ok(PointName::Bookmark(name.clone())));
        let path = name.file(stream::VOLUME);
        assert_eq!(path.components().count(), 2, "{}", path.display());
        return "name";
    }
    match asked {
        Ok(_) => "point",
        Err(why) => {
            assert!(!why.is_empty());
            "none of them"
        }
    }
}
