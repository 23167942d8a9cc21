//! A first sync of a volume of which the repository has an older image, as of a shipped disk: what
//! has not changed since is not sent, and the images are right all the same.

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::scenario::{Setting, protect};
use crate::server;
use crate::summary::Summary;

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = protect::prepare(setting, console)?;
    let (rig, console) = (&mut run.rig, &mut *run.console);
    let (programs, folder, image) = (&setting.programs, &run.folder, &run.image);
    step(console, "import the image as it was before the load", |_| {
        let address = rig.server().address().to_owned();
        rig.server().stop()?;
        server::seed(&programs.server, folder, &image.pristine)?;
        rig.start_server(Some(&address)).map(|_| ())
    })?;
    run.load()?;
    let begun = run.begin(true)?;
    let length = run.image.len;
    let summary = protect::conclude(run, &begun)?;
    let service = summary.last.service.clone().unwrap_or_default();
    let captured = summary.last.bytes_captured;
    // A part of the volume has no data, and the load has changed another one before t0.
    let is_left_out = service.bytes_unchanged > length / 8;
    ensure!(is_left_out, Rule, "only {} of {length} bytes left out", service.bytes_unchanged);
    ensure!(
        service.bytes_sent < captured - service.bytes_unchanged / 2,
        Rule,
        "{} bytes sent of {captured}, although {} were left out",
        service.bytes_sent,
        service.bytes_unchanged
    );
    Ok(summary)
}
