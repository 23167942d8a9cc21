//! `snapless-server man`: the manual pages, one of each subcommand, from the definitions.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::error::{Error, Result};

use super::console::GOOD;
use super::output::outln;

pub(super) fn run(folder: &Path) -> Result<ExitCode> {
    write(folder)?;
    outln!("{GOOD}done{GOOD:#}: manual pages in {}", folder.display());
    Ok(ExitCode::SUCCESS)
}

fn write(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .map_err(Error::file("write manual pages into", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_has_a_page_and_the_main_page_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("man1");
        write(&folder).unwrap();
        let page = |name: &str| fs::read_to_string(folder.join(format!("{name}.1"))).unwrap();
        let main = page("snapless-server");
        for command in Cli::command().get_subcommands().filter(|it| !it.is_hide_set()) {
            // In roff a hyphen has a backslash.
            let name = format!("snapless-server-{}", command.get_name());
            let entry = format!("{}(1)", name.replace('-', "\\-"));
            assert!(main.contains(&entry), "{entry}");
            assert!(page(&name).contains(".SH SYNOPSIS"), "{name}");
        }
        assert!(page("snapless-server-restore").contains("salvage"));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let message = write(&file.join("man1")).unwrap_err().to_string();
        assert!(message.contains("file/man1"), "{message}");
    }
}
