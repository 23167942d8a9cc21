//! The driver's catalog: the hashes of its image and INF, which Windows asks for when it installs
//! the driver.
//!
//! The rule: the catalog that is packed has the SHA-256 of each file that is packed beside it,
//! whoever has made it. Where Microsoft's pages do not say how a catalog is made, what real ones of
//! `Inf2Cat` and of Partner Center have in common counts (docs/signing.md).

mod hashes;
mod list;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use der::asn1::UtcTime;
use x509_cert::time::Time;

use crate::error::{Error, IoContext, Result};

use super::digest;
use hashes::{Hashes, Kind};
use list::{File, List};

/// The catalog's name; the INF says the same.
pub const NAME: &str = "snapless.cat";
/// The driver's image.
pub const IMAGE: &str = "snapless.sys";
/// What Windows installs it by.
pub const INF: &str = "snapless.inf";

/// What is in the catalog. A driver that belongs to no device has no hardware ids, which the
/// catalogs of others name besides.
const FILES: [(&str, Kind); 2] = [(IMAGE, Kind::Image), (INF, Kind::Flat)];
/// `OSAttr`: of Windows NT (2) version 10.0, which all systems of [`SYSTEMS`] are.
const KERNELS: &str = "2:10.0";
/// `OS`: Windows 10 1809 to 22H2, Windows 11, Windows Server 2019 (RS5), 2022 (21H2) and 2025
/// (24H2), by the names that catalogs of others have for them.
const SYSTEMS: &str = "_v100_X64_RS5,_v100_X64_19H1,_v100_X64_Vb,_v100_X64_21H2,_v100_X64_22H2,\
                       _v100_X64_24H2,Server_v100_X64_RS5,Server_v100_X64_21H2,\
                       Server_v100_X64_24H2";

/// Makes the catalog of the driver in a folder, unsigned; returns its path. The image has its
/// signature already.
pub fn make(folder: &Path) -> Result<PathBuf> {
    let catalog = folder.join(NAME);
    let hashes = FILES.map(|(name, kind)| Hashes::of_file(&folder.join(name), kind));
    let hashes: Vec<Hashes> = hashes.into_iter().collect::<Result<_>>()?;
    let files: Vec<File> = FILES
        .iter()
        .zip(&hashes)
        .map(|((name, kind), hashes)| File { name, kind: *kind, hashes })
        .collect();
    // Until 2049 a time is a UTCTime, which is what others have.
    let bytes = UtcTime::from_system_time(SystemTime::now())
        .and_then(|now| {
            List::new(&identifier(&hashes), Time::UtcTime(now), &files, KERNELS, SYSTEMS)
        })
        .and_then(|list| list.to_catalog())
        .map_err(|error| malformed(&catalog, error))?;
    fs::write(&catalog, bytes).on("write", &catalog)?;
    Ok(catalog)
}

/// An error unless the catalog in a folder is of the driver beside it. Its signature is not looked
/// at.
pub fn check(folder: &Path) -> Result<()> {
    let catalog = folder.join(NAME);
    let bytes = fs::read(&catalog).on("read", &catalog)?;
    let list = List::of_catalog(&bytes).map_err(|error| malformed(&catalog, error))?;
    for (name, kind) in FILES {
        if !list.has(&Hashes::of_file(&folder.join(name), kind)?.sha256) {
            let problem = format!(
                "it has no SHA-256 of the {name} beside it, so Windows will not install the \
                 driver; take image, INF and catalog from one build"
            );
            return Err(Error::Malformed { file: catalog, problem });
        }
    }
    Ok(())
}

/// The same for the same files.
fn identifier(hashes: &[Hashes]) -> [u8; 16] {
    let all: Vec<u8> = hashes.iter().flat_map(|file| file.sha256.clone()).collect();
    let digest = digest::of_bytes(&all);
    std::array::from_fn(|index| digest[index])
}

fn malformed(catalog: &Path, error: der::Error) -> Error {
    let problem = format!("it is not a catalog of files: {error}");
    Error::Malformed { file: catalog.to_path_buf(), problem }
}

#[cfg(test)]
mod tests {
    use der::{AnyRef, Decode, Encode, Reader, SliceReader, Tag, Tagged};

    use super::*;
    use crate::check_sys::sample::Sample;
    use crate::command::Tool;
    use crate::layout::Layout;
    use crate::package::signing;

    const TEXT: &str = "[Version]\r\nCatalogFile = snapless.cat\r\n";

    /// A folder with a signed driver and its signed catalog, and a layout with the certificate.
    fn packed() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().expect("a folder");
        let layout = Layout::at(dir.path().to_path_buf());
        fs::write(dir.path().join(IMAGE), Sample::default().build()).expect("written");
        fs::write(dir.path().join(INF), TEXT).expect("written");
        signing::sign(&layout, &dir.path().join(IMAGE)).expect("signed");
        signing::sign(&layout, &make(dir.path()).expect("made")).expect("signed");
        (dir, layout)
    }

    fn change_a_byte(file: &Path) {
        let mut bytes = fs::read(file).expect("there");
        let middle = bytes.len() / 3;
        bytes[middle] ^= 1;
        fs::write(file, &bytes).expect("written");
    }

    /// What openssl reads in the catalog.
    fn as_openssl_reads_it(folder: &Path) -> String {
        let read = Tool::new("reading", "openssl").args(["asn1parse", "-inform", "der", "-in"]);
        read.arg(folder.join(NAME)).output().expect("it is ASN.1")
    }

    /// What a program of coreutils says of a file.
    fn sum(program: &str, file: &Path) -> String {
        let said = Tool::new("hashing", program).arg(file).output().expect("it was hashed");
        said.split(' ').next().expect("a hash").to_uppercase()
    }

    fn utf16(text: &str) -> String {
        text.encode_utf16()
            .fold(String::new(), |text, unit| format!("{text}{:04X}", unit.swap_bytes()))
    }

    #[test]
    fn osslsigncode_finds_the_image_in_the_catalog_and_no_other_image() {
        let (dir, layout) = packed();
        let image = dir.path().join(IMAGE);
        let catalog = dir.path().join(NAME);
        signing::verify_by_catalog(&layout, &catalog, &image).expect("it is in the catalog");
        check(dir.path()).expect("both are in the catalog");

        change_a_byte(&image);
        signing::verify_by_catalog(&layout, &catalog, &image).expect_err("it has changed");
        let found = check(dir.path()).expect_err("it has changed").to_string();
        assert!(found.contains("no SHA-256 of the snapless.sys"), "{found}");
    }

    #[test]
    fn openssl_reads_names_and_hashes_of_the_inf_in_a_trust_list_and_of_no_other_inf() {
        let (dir, _) = packed();
        let inf = dir.path().join(INF);
        let read = as_openssl_reads_it(dir.path());
        // szOID_CTL, szOID_CATALOG_LIST, szOID_CATALOG_LIST_MEMBER2
        for kind in [":1.3.6.1.4.1.311.10.1", ":1.3.6.1.4.1.311.12.1.1", "311.12.1.3"] {
            assert!(read.contains(kind), "{kind}: {read}");
        }
        for text in [utf16("snapless.inf\0"), utf16("snapless.sys\0"), utf16("2:10.0\0")] {
            assert!(read.contains(&format!("[HEX DUMP]:{text}\n")), "{text}: {read}");
        }
        // One member is named by the SHA-1; the name of the other one is said again in it.
        let times = |hash: &str| read.matches(&format!("[HEX DUMP]:{hash}\n")).count();
        assert_eq!(times(&sum("sha1sum", &inf)), 1, "{read}");
        assert_eq!(times(&sum("sha256sum", &inf)), 2, "{read}");

        change_a_byte(&inf);
        assert_eq!(times(&sum("sha256sum", &inf)), 0, "{read}");
        let found = check(dir.path()).expect_err("it has changed").to_string();
        assert!(found.contains("no SHA-256 of the snapless.inf"), "{found}");
    }

    /// The values in an encoding, each with its head.
    fn values(encoded: &[u8]) -> Vec<AnyRef<'_>> {
        let mut reader = SliceReader::new(encoded).expect("bytes");
        let mut values = Vec::new();
        while !reader.is_finished() {
            values.push(AnyRef::decode(&mut reader).expect("DER"));
        }
        values
    }

    /// Checks every set, and what may be one under another tag; returns how many there are.
    fn sets_in_order(encoded: &[u8]) -> usize {
        let values = values(encoded);
        let constructed = values.iter().filter(|value| value.tag().is_constructed());
        let sets = |value: &AnyRef<'_>| {
            let inner: Vec<_> = values_of(value);
            let is_set = value.tag() != Tag::Sequence;
            assert!(!is_set || inner.is_sorted(), "{value:?}");
            usize::from(is_set) + sets_in_order(value.value())
        };
        constructed.map(sets).sum()
    }

    fn values_of(value: &AnyRef<'_>) -> Vec<Vec<u8>> {
        values(value.value()).iter().map(|inner| inner.to_der().expect("DER")).collect()
    }

    #[test]
    fn every_set_of_a_signed_catalog_is_in_the_order_that_windows_wants() {
        let (dir, _) = packed();
        let sets = sets_in_order(&fs::read(dir.path().join(NAME)).expect("there"));
        // Each of the four members alone has four.
        assert!(sets > 4 * 4, "{sets}");
    }

    #[test]
    fn a_file_that_is_no_catalog_is_refused_wherever_it_is_cut() {
        let (dir, _) = packed();
        let catalog = dir.path().join(NAME);
        let whole = fs::read(&catalog).expect("there");
        for bytes in 0..whole.len() {
            List::of_catalog(&whole[..bytes]).expect_err("it is not whole");
        }
        fs::copy(dir.path().join(IMAGE), &catalog).expect("copied");
        let found = check(dir.path()).expect_err("an image").to_string();
        assert!(found.contains("snapless.cat: it is not a catalog of files"), "{found}");
    }
}
