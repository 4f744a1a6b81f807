//! `samara manual`: man pages and shell completions, made from the command line itself, so that they cannot differ from it.
//!
//! A hidden subcommand of the binary rather than a build step: whoever packages a binary gets the pages of that very binary.

use crate::cli::Cli;
use crate::exit::Exit;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::path::{Path, PathBuf};

/// Arguments of `manual`.
#[derive(Args, Debug)]
pub struct ManualArgs {
    /// Directory that receives `man1/` and `completions/`; made if missing.
    #[arg(long)]
    pub out: PathBuf,
}

/// Writes one page per subcommand into `man1/`, and the completions of bash, zsh and fish into `completions/`.
pub fn command(args: &ManualArgs) -> Result<(), Exit> {
    write(&args.out).map_err(|error| Exit::bad("--out", args.out.display(), format!("a writable directory ({error})")))
}

fn write(out: &Path) -> std::io::Result<()> {
    let (pages, completions) = (out.join("man1"), out.join("completions"));
    std::fs::create_dir_all(&pages)?;
    std::fs::create_dir_all(&completions)?;
    clap_mangen::generate_to(Cli::command(), &pages)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "samara", &completions)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_visible_subcommand_has_a_page_that_names_its_arguments() {
        let out = tempfile::tempdir().unwrap();
        write(out.path()).unwrap();
        let page = |name: &str| std::fs::read_to_string(out.path().join("man1").join(format!("{name}.1"))).unwrap();
        let command = Cli::command();
        for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
            let name = subcommand.get_name();
            assert!(page("samara").contains(&format!("samara\\-{name}(1)")), "samara.1 does not lead to {name}");
            let text = page(&format!("samara-{name}"));
            for long in subcommand.get_arguments().filter(|argument| !argument.is_hide_set()).filter_map(|argument| argument.get_long()) {
                assert!(text.contains(&format!("\\-\\-{}", long.replace('-', "\\-"))), "samara-{name}.1 does not name --{long}");
            }
        }
        assert!(page("samara-tune-apply").contains("\\-\\-persist"));
    }

    #[test]
    fn every_shell_completes_every_visible_subcommand() {
        let out = tempfile::tempdir().unwrap();
        write(out.path()).unwrap();
        for file in ["samara.bash", "_samara", "samara.fish"] {
            let text = std::fs::read_to_string(out.path().join("completions").join(file)).unwrap();
            for subcommand in Cli::command().get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
                assert!(text.contains(subcommand.get_name()), "{file}: {}", subcommand.get_name());
            }
        }
    }
}
