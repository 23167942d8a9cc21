//! Whether a volume can be protected, and why not.

snapless_types::numbered_enum! {
    /// Whether a volume can be protected: its number in [`VolumeEntry`](super::VolumeEntry) and
    /// [`StatusReply`](super::StatusReply).
    pub enum Protection: u32 {
        /// It can.
        Possible = 0 => "possible",
        /// It reports neither its length nor its sector size: offline or locked.
        Silent = 1 => "silent",
        /// Its medium is removable: another one may come back.
        Removable = 2 => "removable",
        /// An optical disc.
        CdRom = 3 => "cd_rom",
        /// A RAM disk: it is gone after a restart.
        RamDisk = 4 => "ram_disk",
        /// It is read-only.
        ReadOnly = 5 => "read_only",
        /// Files on it are mapped straight to persistent memory: stores to them never become
        /// requests.
        Dax = 6 => "dax",
        /// A cluster shared volume: other machines write to it, past this driver.
        ClusterShared = 7 => "cluster_shared",
        /// It is on another machine.
        Remote = 8 => "remote",
        /// The driver's settings exclude it.
        Excluded = 9 => "excluded",
        /// Its driver takes neither direct nor buffered I/O: data are reachable in their caller's
        /// address space only.
        NoDirectIo = 10 => "no_direct_io",
        /// The machine started several times in a row without coming up: the driver passes every
        /// request through.
        StartsFailed = 11 => "starts_failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obstacles_keep_their_numbers() {
        for (place, protection) in Protection::ALL.iter().copied().enumerate() {
            assert_eq!(protection as usize, place);
            assert_eq!(Protection::from_wire(protection.to_wire()), Some(protection));
        }
        assert_eq!(Protection::from_wire(12), None);
    }
}
