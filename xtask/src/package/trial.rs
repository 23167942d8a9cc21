//! The MSI on Wine: installed, upgraded, repaired, removed ([`snapless_e2e::msi`]).
//!
//! The rule: what is tried is made as what is shipped, signatures included; the later version has
//! the same files, and another number.

use snapless_e2e::msi::{self as e2e, Package, Setting};

use crate::build::{self, RigKernel};
use crate::console::{Outcome, Steps};
use crate::demo::{failed, run_folder};
use crate::error::Result;
use crate::files::remove_folder;
use crate::layout::Layout;
use crate::setup;

use super::msi::Msi;
use super::{Contents, VERSION};

/// What to call it.
pub const NAME: &str = "MSI on Wine";
/// How many steps [`with_setup`] takes.
pub const STEPS: usize = 3;

/// Makes what the trial needs, and tries the MSI, as steps of a longer task.
pub fn with_setup(steps: &Steps, layout: &Layout, contents: &Contents) -> Result<()> {
    setup::wine_prefix(steps, layout)?;
    let rig = build::rig(steps, layout)?;
    add_to(steps, layout, contents, &rig)
}

/// Tries the MSI of these files as one step of a longer task.
pub fn add_to(steps: &Steps, layout: &Layout, contents: &Contents, rig: &RigKernel) -> Result<()> {
    steps.run(NAME, |progress| {
        let packages = run_folder(layout, "msi-packages");
        remove_folder(&packages)?;
        let older = contents.pack(layout, VERSION, &packages)?;
        let files = packages.join(format!("snapless-{VERSION}"));
        let newer = Msi::build(layout, &files, &later(VERSION), &packages)?;
        let setting = Setting {
            template: layout.wine_prefix(),
            folder: run_folder(layout, "msi"),
            framework: rig.framework.clone(),
            agent: contents.programs.agent.clone(),
            installer: contents.programs.installer.clone(),
            older: as_tried(older),
            newer: as_tried(newer),
        };
        e2e::run(&setting, |stage| progress.detail(stage))
            .map_err(|source| failed(&setting.folder, source))?;
        remove_folder(&packages)?;
        Ok(Outcome::Done)
    })
}

fn as_tried(msi: Msi) -> Package {
    let Msi { file, version, product_code } = msi;
    Package { file, product_code, version }
}

/// The next version: its last number is one higher.
fn later(version: &str) -> String {
    let (front, last) = version.rsplit_once('.').unwrap_or((version, "0"));
    format!("{front}.{}", last.parse::<u32>().unwrap_or(0) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_version_is_the_next_one() {
        assert_eq!(later("0.1.9"), "0.1.10");
        assert_ne!(later(VERSION), VERSION);
    }
}
