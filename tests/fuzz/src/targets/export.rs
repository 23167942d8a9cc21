//! The mark of an export.

use snapless_server::format::export::Export;

use super::Target;
use super::repository::{name, seal};

pub(super) const TARGET: Target = Target {
    name: "export",
    repairs: &[seal],
    run,
    reached: &["under way", "finished", "short", "magic", "version", "checksum", "content"],
};

fn run(input: &[u8]) -> &'static str {
    match Export::read(input) {
        Ok(export) => {
            assert_eq!(Export::read(&export.to_bytes()), Ok(export.clone()));
            if export.sessions.is_some() { "finished" } else { "under way" }
        }
        Err(why) => name(why),
    }
}
