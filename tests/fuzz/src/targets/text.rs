//! Text: identities, names of segment files, keys of points, groups, times that people type.

use std::str::FromStr;

use snapless_server::format::point_key;
use snapless_server::format::segment::SegmentNumber;
use snapless_server::groups::Groups;
use snapless_server::timeline::At;
use snapless_wire::id::VolumeGuid;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "text",
    repairs: &[],
    run,
    reached: &["identity", "segment", "key", "groups", "time", "none of them", "not UTF-8"],
};

fn run(input: &[u8]) -> &'static str {
    let Ok(text) = str::from_utf8(input) else { return "not UTF-8" };
    if let Some(guid) = VolumeGuid::parse(text) {
        let shown = guid.to_string();
        assert_eq!(VolumeGuid::parse(&shown), Some(guid));
        assert!(text.to_ascii_lowercase().contains(&shown));
        return "identity";
    }
    if let Some(number) = SegmentNumber::from_file_name(text) {
        assert_eq!(number.file_name(), text);
        return "segment";
    }
    if let Some((time, cut)) = point_key::parse(text) {
        assert_eq!(point_key::to_text(time, cut), text.to_ascii_lowercase());
        return "key";
    }
    if let Ok(groups) = Groups::parse(input)
        && groups.iter().next().is_some()
    {
        assert_eq!(Groups::parse(groups.to_string().as_bytes()), Ok(groups), "it comes back");
        return "groups";
    }
    match At::from_str(text) {
        Ok(_) => "time",
        Err(why) => {
            assert!(!why.is_empty());
            "none of them"
        }
    }
}
