//! `snapless support-bundle`: one file with what somebody needs who is to help: what the programs
//! say, the configuration, the service's log and reports. Neither keys nor data of volumes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use snapless_driver_client::{Driver, paths};
use snapless_service::config::Config;
use snapless_service::report::REPORT_SUFFIX;
use snapless_trust::{private, regular};
use snapless_wire::ioctl::ABI_VERSION;
use zip::ZipWriter;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;

use super::common::print_json;
use super::{doctor, status, volumes};
use crate::arguments::{StatusArguments, SupportBundleArguments};
use crate::error::CliError;

/// Most bytes of a file that are taken: its end.
const FILE_MAX: u64 = 16 << 20;
/// Most files of a folder that are taken.
const FILES_MAX: usize = 1024;
/// What could not be had.
const ERRORS: &str = "errors.txt";

/// Where a machine's files are.
struct Machine<'a> {
    driver: &'a dyn Driver,
    config: PathBuf,
    state_dir: PathBuf,
    log_dir: PathBuf,
}

/// Makes the file.
pub(crate) fn run(
    arguments: &SupportBundleArguments,
    driver: &dyn Driver,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let config = paths::config_file();
    // Without a usable one, the files are where they are by default.
    let (state_dir, log_dir) = Config::load(&config).map_or_else(
        |_| (paths::state_dir(), paths::log_dir()),
        |config| (config.state_dir, config.log_dir),
    );
    Machine { driver, config, state_dir, log_dir }.run(arguments, out)
}

/// What is printed for scripts.
#[derive(Serialize)]
struct Answer<'a> {
    file: &'a Path,
    parts: usize,
    missing: usize,
}

impl Machine<'_> {
    fn run(&self, arguments: &SupportBundleArguments, out: &mut dyn Write) -> Result<(), CliError> {
        let path = arguments.to.clone().unwrap_or_else(default_name);
        let failed = |source| CliError::Bundle { file: path.clone(), source };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        private::only_owner(&mut options);
        let file = options.open(&path).map_err(failed)?;
        let mut bundle = Bundle::new(file);
        let made = self.fill(&mut bundle).and_then(|()| bundle.end());
        let (parts, missing) = made.map_err(|error| failed(error.into()))?;
        if arguments.json {
            return print_json(&Answer { file: &path, parts, missing }, out);
        }
        writeln!(
            out,
            "{}: {parts} parts, without keys and without data of volumes",
            path.display()
        )?;
        if missing > 0 {
            writeln!(out, "{missing} part(s) could not be had: {ERRORS} in it says why")?;
        }
        Ok(())
    }

    fn fill(&self, bundle: &mut Bundle<File>) -> Result<(), ZipError> {
        let version = env!("CARGO_PKG_VERSION");
        let version = format!("snapless {version} (driver interface {ABI_VERSION})\n");
        bundle.add("version.txt", version.as_bytes())?;
        bundle.printed("doctor.json", |out| doctor::run(true, self.driver, out))?;
        bundle.printed("volumes.json", |out| volumes::run(true, self.driver, out))?;
        bundle.printed("status.json", |out| {
            let arguments = StatusArguments::once();
            status::run(&arguments, self.driver, &self.state_dir, out)
        })?;
        bundle.file("service.toml", &self.config)?;
        bundle.folder("state", &self.state_dir, |name| {
            name.ends_with(REPORT_SUFFIX) || name.ends_with(".session.json")
        })?;
        bundle.folder("logs", &self.log_dir, |name| name.starts_with("service"))
    }
}

fn default_name() -> PathBuf {
    let now = Timestamp::now().strftime("%Y%m%d-%H%M%S");
    format!("snapless-support-{now}.zip").into()
}

/// The file under way.
struct Bundle<W: Write + Seek> {
    zip: ZipWriter<W>,
    parts: usize,
    errors: Vec<String>,
}

impl<W: Write + Seek> Bundle<W> {
    fn new(to: W) -> Self {
        Self { zip: ZipWriter::new(to), parts: 0, errors: Vec::new() }
    }

    fn add(&mut self, name: &str, content: &[u8]) -> Result<(), ZipError> {
        self.zip.start_file(name, SimpleFileOptions::default())?;
        self.zip.write_all(content)?;
        self.parts += 1;
        Ok(())
    }

    /// What a command prints. What it cannot say is noted.
    fn printed(
        &mut self,
        name: &str,
        print: impl FnOnce(&mut dyn Write) -> Result<(), CliError>,
    ) -> Result<(), ZipError> {
        let mut content = Vec::new();
        if let Err(error) = print(&mut content) {
            self.errors.push(format!("{name}: {error}"));
        }
        if content.is_empty() { Ok(()) } else { self.add(name, &content) }
    }

    /// The end of a file.
    fn file(&mut self, name: &str, path: &Path) -> Result<(), ZipError> {
        match read_end(path) {
            Ok(content) => self.add(name, &content),
            Err(error) => {
                self.errors.push(format!("{}: {error}", path.display()));
                Ok(())
            }
        }
    }

    /// The files of a folder that have such names.
    fn folder(
        &mut self,
        name: &str,
        path: &Path,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<(), ZipError> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => {
                self.errors.push(format!("{}: {error}", path.display()));
                return Ok(());
            }
        };
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut wanted: Vec<_> = names.filter(|name| is_wanted(name)).collect();
        wanted.sort_unstable();
        if wanted.len() > FILES_MAX {
            self.errors.push(format!("{}: {FILES_MAX} files are taken", path.display()));
            wanted.truncate(FILES_MAX);
        }
        for file in wanted {
            self.file(&format!("{name}/{file}"), &path.join(&file))?;
        }
        Ok(())
    }

    /// Ends the file; how many parts it has, and how many could not be had.
    fn end(mut self) -> Result<(usize, usize), ZipError> {
        let missing = self.errors.len();
        if missing > 0 {
            let text = self.errors.join("\n") + "\n";
            self.add(ERRORS, text.as_bytes())?;
        }
        self.zip.finish()?;
        Ok((self.parts, missing))
    }
}

/// The last bytes of a file. Links are not followed.
fn read_end(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = regular::open_to_read(path)?;
    let len = file.metadata()?.len();
    file.seek(io::SeekFrom::Start(len.saturating_sub(FILE_MAX)))?;
    let mut content = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use zip::ZipArchive;

    use super::*;
    use crate::test_driver::{SESSION, TestDriver};

    fn unpacked(path: &Path) -> BTreeMap<String, String> {
        let mut archive = ZipArchive::new(File::open(path).unwrap()).unwrap();
        let parts = (0..archive.len()).map(|index| {
            let mut part = archive.by_index(index).unwrap();
            let mut text = String::new();
            part.read_to_string(&mut text).unwrap();
            (part.name().unwrap().into_owned(), text)
        });
        parts.collect()
    }

    fn made(folder: &Path, to: &Path, json: bool) -> String {
        let machine = Machine {
            driver: &TestDriver::protecting(),
            config: folder.join("service.toml"),
            state_dir: folder.join("state"),
            log_dir: folder.join("logs"),
        };
        let arguments = SupportBundleArguments { to: Some(to.to_owned()), json };
        let mut out = Vec::new();
        machine.run(&arguments, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn bundle(folder: &Path) -> (BTreeMap<String, String>, String) {
        let to = folder.join("bundle.zip");
        let said = made(folder, &to, false);
        (unpacked(&to), said)
    }

    #[test]
    fn it_has_what_helps_and_no_key() {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("service.toml", "server = 'backup:4850'"),
            ("state/v.status.json", "{}"),
            ("state/v.session.json", "{}"),
            ("state/identity/identity.json", "the key"),
            ("state/secret.txt", "secret"),
            ("logs/service.log", "a line"),
            ("logs/service_r00001.log", "an older line"),
        ] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let (parts, said) = bundle(folder.path());
        let names: Vec<_> = parts.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "doctor.json",
                "errors.txt",
                "logs/service.log",
                "logs/service_r00001.log",
                "service.toml",
                "state/v.session.json",
                "state/v.status.json",
                "status.json",
                "version.txt",
                "volumes.json",
            ]
        );
        assert!(parts["status.json"].contains(SESSION) && parts["service.toml"].contains("backup"));
        assert!(parts.values().all(|text| !text.contains("the key") && !text.contains("secret")));
        // The doctor finds no service here.
        assert!(parts["errors.txt"].starts_with("doctor.json") && said.contains("errors.txt"));
    }

    #[test]
    fn what_is_missing_is_said_and_a_file_that_is_there_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (parts, _) = bundle(folder.path());
        let answer = made(folder.path(), &folder.path().join("another.zip"), true);
        let answer = crate::schema::parse("support-bundle", &answer);
        assert!(answer["missing"].as_u64() >= Some(3), "{answer}");
        for part in ["service.toml", "state", "logs"] {
            assert!(parts["errors.txt"].contains(part), "{}", parts["errors.txt"]);
        }
        let to = folder.path().join("bundle.zip");
        let before = fs::read(&to).unwrap();
        let arguments = SupportBundleArguments { to: Some(to.clone()), json: true };
        let refused = run(&arguments, &TestDriver::idle(), &mut Vec::new()).unwrap_err();
        assert!(refused.to_string().contains("bundle.zip"), "{refused}");
        assert_eq!(fs::read(&to).unwrap(), before);
    }

    #[cfg(unix)]
    #[test]
    fn it_is_its_owners_alone_and_a_long_log_is_cut_at_its_beginning() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("logs")).unwrap();
        let log = "x".repeat(usize::try_from(FILE_MAX).unwrap()) + "the end";
        fs::write(folder.path().join("logs/service.log"), &log).unwrap();
        let (parts, _) = bundle(folder.path());
        let taken = &parts["logs/service.log"];
        assert!(taken.len() as u64 == FILE_MAX && taken.ends_with("the end"));
        let mode = fs::metadata(folder.path().join("bundle.zip")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
