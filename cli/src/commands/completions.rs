//! `snapless completions`: a script that completes commands and options, from their definitions.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::arguments::Arguments;
use crate::error::CliError;

/// Prints the script for `shell`.
pub fn run(shell: Shell, out: &mut dyn Write) -> Result<(), CliError> {
    let mut script = Vec::new();
    generate(shell, &mut Arguments::command(), "snapless", &mut script);
    Ok(out.write_all(&script)?)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn the_script_of_every_shell_knows_every_command() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            run(*shell, &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            for command in Arguments::command().get_subcommands() {
                let name = command.get_name();
                assert!(script.contains(name), "{shell}: {name}");
            }
            assert!(script.contains("json"), "{shell}");
        }
    }
}
