//! The message table that the build script links into the service's program.

use snapless_service::event::{Event, Severity};
use snapless_version_info::messages;

#[test]
fn every_event_has_a_message_with_its_level_and_there_is_no_other() {
    let wanted = Event::ALL.map(|event| (event.message_id(), event.message()));
    let folder = tempfile::tempdir().unwrap();
    let table = messages::compile(&wanted, folder.path()).unwrap();
    let mut found = messages::parse(&table).unwrap();
    // The compiler has put the levels one after the other.
    found.sort_by_key(|(id, _)| id & 0x3FFF_FFFF);
    assert_eq!(found.len(), Event::ALL.len());
    for (event, (id, text)) in Event::ALL.into_iter().zip(found) {
        let severity = match event.severity() {
            Severity::Information => 1,
            Severity::Warning => 2,
            Severity::Error => 3,
        };
        assert_eq!((id >> 30, id & 0x3FFF_FFFF), (severity, event.number().into()), "{event:?}");
        assert!(text.starts_with("%1%n"), "{event:?} shows its own text first: {text}");
        assert!(text.contains(event.meaning()), "{event:?}: {text}");
    }
}
