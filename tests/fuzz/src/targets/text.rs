//! Text: identities, names of segment files, times that people type.

use std::str::FromStr;

use snapless_server::format::segment::SegmentNumber;
use snapless_server::timeline::At;
use snapless_wire::id::VolumeGuid;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "text",
    cost: 1,
    samples,
    repair: None,
    run,
    reached: &["identity", "segment", "time", "none of them", "not UTF-8"],
};

fn samples() -> Vec<Vec<u8>> {
    [
        "{71a27cdd-812a-11d0-bec7-08002be2092f}",
        "71A27CDD-812A-11D0-BEC7-08002BE2092F",
        "segment-00000001.slseg",
        "segment-123456789.slseg",
        "2026-11-23T14:00:00Z",
        "2026-11-23T14:00:00.123456789+02:00",
        "latest",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

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
    match At::from_str(text) {
        Ok(_) => "time",
        Err(why) => {
            assert!(!why.is_empty());
            "none of them"
        }
    }
}
