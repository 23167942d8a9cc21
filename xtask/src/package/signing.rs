//! Authenticode signatures by a test certificate, made at first use.
//!
//! The rule: what was signed is verified before it is packed. The certificate's name says what it
//! is for; its key stays in `target/signing` and is never shipped. Windows trusts it on machines
//! where an administrator has installed `snapless-test.cer` and test signing is on.

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

/// Signs a PE file or an MSI, and verifies the signature.
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

/// A certificate and its key.
struct Certificate {
    public: PathBuf,
    key: PathBuf,
}

impl Certificate {
    /// The test certificate; makes it at first use.
    fn made(layout: &Layout) -> Result<Self> {
        let folder = layout.signing();
        let made = Self { public: folder.join("test.pem"), key: folder.join("test.key") };
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
            .args(["-subj", NAME, "-addext", "keyUsage=critical,digitalSignature"])
            .args(["-addext", "extendedKeyUsage=codeSigning", "-keyout"])
            .arg(&self.key)
            .arg("-out")
            .arg(&unfinished)
            .run()?;
        fs::rename(&unfinished, &self.public).on("rename", &unfinished)
    }

    fn verify(&self, file: &Path) -> Result<()> {
        osslsigncode("verifying the signature", "verify")
            .arg("-CAfile")
            .arg(&self.public)
            .arg("-in")
            .arg(file)
            .run()
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
