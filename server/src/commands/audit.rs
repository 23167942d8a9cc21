//! What an administrator's command did, in the audit log.

use std::path::Path;

pub(super) use snapless_trust::audit::Act;
use snapless_trust::server::ServerTrust;

use crate::location::Location;
use crate::trust_cli::TrustPlace;

use super::console::POOR;
use super::output::errln;

/// [`note`] of an act at a place.
pub(super) fn note_at(TrustPlace { repository, trust }: &TrustPlace, act: Act, about: &str) {
    note(repository, trust.as_deref(), act, about);
}

/// Notes an act, if there is a log. Where it cannot be written, the act counts for more.
pub(super) fn note(repository: &Location, trust: Option<&Path>, act: Act, about: &str) {
    let Ok(folder) = repository.trust_folder(trust) else { return };
    if !folder.is_dir() {
        return;
    }
    let noted = ServerTrust::open(&folder).and_then(|trust| trust.note_act(act, about));
    if let Err(error) = noted {
        errln!("{POOR}note{POOR:#}: the audit log lacks this: {error}");
    }
}
