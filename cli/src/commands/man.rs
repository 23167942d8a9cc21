//! `snapless man`: the manual pages, one of each command, from their definitions.

use std::fs;
use std::io::Write;
use std::path::Path;

use clap::CommandFactory;

use crate::arguments::Arguments;
use crate::error::CliError;

/// Writes the pages into `folder`, which is made if necessary.
pub fn run(folder: &Path, out: &mut dyn Write) -> Result<(), CliError> {
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Arguments::command(), folder))
        .map_err(|source| CliError::Pages { folder: folder.to_owned(), source })?;
    Ok(writeln!(out, "manual pages in {}", folder.display())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options_and_examples() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("man1");
        run(&folder, &mut Vec::new()).unwrap();
        let page = |name: &str| fs::read_to_string(folder.join(format!("{name}.1"))).unwrap();
        assert!(page("snapless").contains("Exit codes"));
        for command in Arguments::command().get_subcommands() {
            let page = page(&format!("snapless-{}", command.get_name()));
            assert!(page.contains(".SH SYNOPSIS"), "{}", command.get_name());
        }
        assert!(page("snapless-protect").contains("snapless protect D:"));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = run(&file.join("man1"), &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("file/man1") && error.code() == 1, "{error}");
    }
}
