//! Which volume belongs to which machine: a file each, `volumes/<volume>.json`.
//!
//! Two machines may name their volumes alike: clones of one image do, and so do machines whose
//! volumes are named by a device path. The first machine that sends a volume keeps its name;
//! another one's volume of the same name gets a name of its own, derived from both. Their histories
//! never meet, and no machine can append to another one's.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::error::TrustError;
use crate::identity::MachineId;
use crate::{files, hex};

/// A volume's name: a GUID's bytes.
pub type VolumeName = [u8; 16];

/// Which volume belongs to which machine.
#[derive(Clone, Debug)]
pub(crate) struct Volumes {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    machine: String,
}

impl Volumes {
    /// The volumes of the authority in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.join("volumes") }
    }

    /// Makes the folder.
    pub(crate) fn create(&self) -> Result<(), TrustError> {
        files::create_folder(&self.folder)
    }

    /// The name of a machine's volume at the server, and whether it was bound just now. The caller
    /// binds one volume at a time.
    pub(crate) fn bind(
        &self,
        machine: MachineId,
        volume: VolumeName,
    ) -> Result<(VolumeName, bool), TrustError> {
        for name in [volume, derived(machine, volume)] {
            match self.owner(name)? {
                Some(owner) if owner == machine => return Ok((name, false)),
                Some(_) => {}
                None => {
                    let entry = Entry { machine: machine.to_string() };
                    files::replace(&self.file(name), &files::to_json(&entry)?)?;
                    return Ok((name, true));
                }
            }
        }
        Err(TrustError::Refused(format!(
            "volume {} belongs to another machine; ask the server's administrator",
            hex::encode(&volume)
        )))
    }

    /// The name of a machine's volume at the server; `None` if it has sent nothing of it yet.
    pub(crate) fn find(
        &self,
        machine: MachineId,
        volume: VolumeName,
    ) -> Result<Option<VolumeName>, TrustError> {
        for name in [volume, derived(machine, volume)] {
            if self.owner(name)? == Some(machine) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Every volume with its machine. What is damaged is left out.
    pub(crate) fn all(&self) -> Result<Vec<(VolumeName, MachineId)>, TrustError> {
        let names = files::names(&self.folder)?;
        let volumes =
            names.iter().filter_map(|name| hex::decode::<16>(name.strip_suffix(".json")?));
        let owned = volumes.filter_map(|volume| Some((volume, self.owner(volume).ok()??)));
        Ok(owned.collect())
    }

    fn owner(&self, volume: VolumeName) -> Result<Option<MachineId>, TrustError> {
        let file = self.file(volume);
        let entry = files::read_json::<Entry>(&file)?;
        let owner = entry.map(|entry| entry.machine.parse()).transpose();
        owner.map_err(|why| TrustError::damaged(&file, why))
    }

    fn file(&self, volume: VolumeName) -> PathBuf {
        self.folder.join(format!("{}.json", hex::encode(&volume)))
    }
}

fn derived(machine: MachineId, volume: VolumeName) -> VolumeName {
    let hash = digest(&SHA256, &[b"snapless volume", &machine.0[..], &volume[..]].concat());
    let mut name = [0; 16];
    name.copy_from_slice(&hash.as_ref()[..16]);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME: VolumeName = [9; 16];
    const FIRST: MachineId = MachineId([1; 16]);
    const SECOND: MachineId = MachineId([2; 16]);

    #[test]
    fn two_machines_with_the_same_volume_name_never_meet() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Volumes::new(dir.path());
        volumes.create().unwrap();
        assert_eq!(volumes.bind(FIRST, VOLUME).unwrap(), (VOLUME, true));
        let (second, is_new) = volumes.bind(SECOND, VOLUME).unwrap();
        assert!(is_new && second != VOLUME);
        let found = |machine| volumes.find(machine, VOLUME).unwrap();
        assert_eq!((found(FIRST), found(SECOND)), (Some(VOLUME), Some(second)));
        assert_eq!(found(MachineId([3; 16])), None, "it has nothing there, and gets nothing");
        // As long as they live, and for every process.
        let again = Volumes::new(dir.path());
        assert_eq!(again.bind(FIRST, VOLUME).unwrap(), (VOLUME, false));
        assert_eq!(again.bind(SECOND, VOLUME).unwrap(), (second, false));
        let (third, _) = again.bind(MachineId([3; 16]), VOLUME).unwrap();
        assert!(third != VOLUME && third != second);
    }

    #[test]
    fn a_machine_that_names_another_one_s_volume_gets_one_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Volumes::new(dir.path());
        volumes.create().unwrap();
        volumes.bind(FIRST, VOLUME).unwrap();
        let (of_second, _) = volumes.bind(SECOND, VOLUME).unwrap();
        let (of_first, _) = volumes.bind(FIRST, of_second).unwrap();
        assert!(of_first != of_second && of_first != VOLUME);
    }

    #[test]
    fn a_damaged_binding_is_an_error_and_not_a_new_owner() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Volumes::new(dir.path());
        volumes.create().unwrap();
        volumes.bind(FIRST, VOLUME).unwrap();
        std::fs::write(volumes.file(VOLUME), "{}").unwrap();
        assert!(matches!(volumes.bind(FIRST, VOLUME), Err(TrustError::Damaged { .. })));
    }
}
