//! A bucket with Object Lock, and one whose policy lets nothing be removed, at an S3 server that
//! others wrote.

use std::time::Duration;

use crate::common::moto::{Moto, object};
use crate::common::stores::{BUCKET, StoreServer, refused};
use crate::common::{self, SECTOR};

/// Each object is locked for a month from its creation on.
const LOCK: &str = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>\
                    <DefaultRetention><Mode>COMPLIANCE</Mode><Days>30</Days></DefaultRetention>\
                    </Rule></ObjectLockConfiguration>";

/// A repository with a stream of ten days, most of which its policy does not want; returns the
/// latest image.
fn stored(server: &Moto) -> Vec<u8> {
    drop(server.stored(40));
    server.ran(&["retention", "set", "--keep-all", "0s", "--daily", "3"]);
    let mut want = common::base_image();
    common::patch(&mut want, 0, SECTOR, 39);
    want
}

#[test]
fn what_object_lock_holds_comes_back_after_everything_was_removed() {
    let Some(server) = Moto::start() else { return };
    let lock = [("x-amz-bucket-object-lock-enabled", "true")];
    server.done("PUT", &format!("/{BUCKET}"), &lock, b"");
    server.done("PUT", &format!("/{BUCKET}?object-lock"), &[], LOCK.as_bytes());
    let want = stored(&server);

    // Each object is held, and no version of it can be removed.
    let versions = server.versions("Version");
    assert!(versions.iter().any(|(key, _)| key.contains("segment-")), "{versions:?}");
    for (key, version) in &versions {
        let one = format!("{}?versionId={version}", object(key));
        let head = server.done("HEAD", &one, &[], b"").head;
        assert!(head.contains("x-amz-object-lock-retain-until-date: "), "{key}: {head}");
        assert_eq!(server.ask("DELETE", &one, &[], b"").status, 403, "{key}");
    }

    // A fold and a collection go on as in any bucket: what is removed is hidden.
    server.ran(&["compact", "--all"]);
    server.advance(Duration::from_hours(1));
    let collected = server.ran(&["gc"]);
    assert!(!collected.contains("refused"), "{collected}");
    let markers = server.versions("DeleteMarker");
    assert!(markers.iter().any(|(key, _)| key.ends_with("segment-00000001.slseg")), "{markers:?}");
    let after = server.versions("Version");
    assert!(versions.iter().all(|one| after.contains(one)), "every version is there still");
    server.ran(&["verify"]);
    assert!(server.restored("latest") == want);

    // Whoever may remove removes all that there is, and all of it comes back.
    let before: Vec<_> = server.versions("DeleteMarker");
    for (key, _) in server.versions("Version") {
        server.ask("DELETE", &object(&key), &[], b"");
    }
    let gone = refused(&server.at(&["list"]).output().unwrap());
    assert!(gone.contains("is not a Snapless repository"), "{gone}");
    let after = server.versions("DeleteMarker");
    for (key, version) in after.iter().filter(|it| !before.contains(it)) {
        let marker = format!("{}?versionId={version}", object(key));
        server.done("DELETE", &marker, &[], b"");
    }
    server.ran(&["verify"]);
    assert!(server.restored("latest") == want);
}

#[test]
fn a_bucket_that_lets_nothing_be_removed_is_folded_and_told_of() {
    let Some(server) = Moto::start() else { return };
    server.done("PUT", &format!("/{BUCKET}"), &[], b"");
    let want = stored(&server);
    server.refuse_removals(true);
    let folded = server.ran(&["compact", "--all"]);
    assert!(folded.contains("folded"), "{folded}");
    server.advance(Duration::from_hours(1));
    let before = server.versions("Version");
    let refused = server.ran(&["gc"]);
    assert!(refused.contains("refused") && refused.contains("AccessDenied"), "{refused}");
    let after = server.versions("Version");
    assert!(before.iter().all(|one| after.contains(one)), "nothing was removed");
    server.ran(&["verify"]);
    assert!(server.restored("latest") == want);
    server.refuse_removals(false);
    server.advance(Duration::from_hours(1));
    let collected = server.ran(&["gc"]);
    assert!(!collected.contains("refused"), "{collected}");
    assert!(server.versions("Version").len() < before.len());
    server.ran(&["verify"]);
    assert!(server.restored("latest") == want);
}
