//! Authenticode signatures by a test certificate, made at first use.
//!
//! The rule: what was signed is verified before it is packed. The certificate's name says what it
//! is for; its key stays in `target/signing` and is never shipped. Windows trusts it on machines
//! where an administrator has installed `snapless-test.cer` and test signing is on. It is no
//! authority: Windows takes no code that an authority's certificate has signed
//! (`TRUST_E_BASIC_CONSTRAINTS`).

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::Tool;
use crate::error::{IoContext, Result};
use crate::files::files_below;
use crate::layout::Layout;

const NAME: &str = "/CN=Snapless test certificate - trust it on test machines only";
const DAYS: &str = "3650";
/// The certificate as Windows imports it.
const PUBLIC: &str = "snapless-test.cer";
/// What is signed.
const EXTENSIONS: [&str; 3] = ["sys", "exe", "dll"];
/// What Windows shows of a signed file.
const DESCRIPTION: &str = "Snapless";

/// Signs the PE files in a folder, and puts the certificate beside them; a driver that is signed
/// stays as it is.
pub fn sign_folder(layout: &Layout, folder: &Path, driver_is_signed: bool) -> Result<()> {
    let has = |file: &Path, extension: &str| file.extension().is_some_and(|own| own == extension);
    for file in files_below(folder)? {
        let kept = driver_is_signed && has(&file, "sys");
        if EXTENSIONS.iter().any(|extension| has(&file, extension)) && !kept {
            sign(layout, &file)?;
        }
    }
    Certificate::made(layout)?.export(&folder.join(PUBLIC))
}

/// Signs a PE file, a catalog or an MSI, and verifies the signature.
pub fn sign(layout: &Layout, file: &Path) -> Result<()> {
    let certificate = Certificate::made(layout)?;
    let signed = file.with_extension("signed");
    osslsigncode("signing", "sign")
        .args(["-h", "sha256", "-n", DESCRIPTION, "-certs"])
        .arg(&certificate.public)
        .arg("-key")
        .arg(&certificate.key)
        .arg("-in")
        .arg(file)
        .arg("-out")
        .arg(&signed)
        .run()?;
    fs::rename(&signed, file).on("replace", file)?;
    certificate.verify(file)
}

/// Verifies that an image is in a catalog that the test certificate has signed.
pub fn verify_by_catalog(layout: &Layout, catalog: &Path, image: &Path) -> Result<()> {
    let certificate = Certificate::made(layout)?;
    certificate.verifying().arg("-catalog").arg(catalog).arg("-in").arg(image).run()
}

/// A certificate and its key.
struct Certificate {
    public: PathBuf,
    key: PathBuf,
}

impl Certificate {
    /// The test certificate; makes it at first use.
    fn made(layout: &Layout) -> Result<Self> {
        let folder = layout.signing();
        let made = Self { public: folder.join("signer.pem"), key: folder.join("signer.key") };
        if !made.public.is_file() {
            fs::create_dir_all(&folder).on("create", &folder)?;
            made.make()?;
        }
        Ok(made)
    }

    /// The certificate comes last: one that is there has its key.
    fn make(&self) -> Result<()> {
        let unfinished = self.public.with_extension("new");
        // openssl gives the key to its owner only.
        Tool::new("making the test certificate", "openssl")
            .args(["req", "-x509", "-newkey", "rsa:3072", "-sha256", "-nodes", "-days", DAYS])
            .args(["-subj", NAME, "-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-addext", "keyUsage=critical,digitalSignature"])
            .args(["-addext", "extendedKeyUsage=codeSigning", "-keyout"])
            .arg(&self.key)
            .arg("-out")
            .arg(&unfinished)
            .run()?;
        fs::rename(&unfinished, &self.public).on("rename", &unfinished)
    }

    fn verify(&self, file: &Path) -> Result<()> {
        self.verifying().arg("-in").arg(file).run()
    }

    fn verifying(&self) -> Tool {
        osslsigncode("verifying the signature", "verify").arg("-CAfile").arg(&self.public)
    }

    fn export(&self, to: &Path) -> Result<()> {
        Tool::new("exporting the test certificate", "openssl")
            .args(["x509", "-outform", "der", "-in"])
            .arg(&self.public)
            .arg("-out")
            .arg(to)
            .run()
    }
}

fn osslsigncode(what: &str, verb: &str) -> Tool {
    Tool::new(what, "osslsigncode").arg(verb)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check_sys::sample::Sample;

    #[test]
    fn a_signed_file_is_verified_and_any_changed_byte_is_noticed() {
        let dir = tempfile::tempdir().expect("a folder");
        let layout = Layout::at(dir.path().to_path_buf());
        let file = dir.path().join("sample.sys");
        fs::write(&file, Sample::default().build()).expect("written");
        sign(&layout, &file).expect("signed and verified");

        let certificate = Certificate::made(&layout).expect("it was made before");
        let mut bytes = fs::read(&file).expect("signed");
        // In the code, which the signature covers.
        let middle = bytes.len() / 3;
        bytes[middle] ^= 1;
        fs::write(&file, &bytes).expect("written");
        let noticed = certificate.verify(&file).expect_err("changed").to_string();
        assert!(noticed.contains("verifying the signature failed"), "{noticed}");
    }

    #[test]
    fn the_certificate_is_for_code_and_no_authority() {
        let dir = tempfile::tempdir().expect("a folder");
        let certificate = Certificate::made(&Layout::at(dir.path().to_path_buf())).expect("made");
        let text = Tool::new("reading", "openssl").args(["x509", "-noout", "-text", "-in"]);
        let text = text.arg(&certificate.public).output().expect("a certificate");
        assert_eq!(text.matches("CA:").count(), 1, "{text}");
        assert!(text.contains("CA:FALSE") && text.contains("Code Signing"), "{text}");
    }

    #[test]
    fn the_certificate_is_made_once_and_its_key_is_its_owner_s() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().expect("a folder");
        let layout = Layout::at(dir.path().to_path_buf());
        let certificate = Certificate::made(&layout).expect("made");
        let first = fs::read(&certificate.public).expect("there");
        let again = Certificate::made(&layout).expect("there");
        assert_eq!(fs::read(&again.public).expect("there"), first);
        let mode = fs::metadata(&certificate.key).expect("there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "others can read the key");
    }
}
