//! Commands of xtask in the manual.

use clap::CommandFactory as _;

/// The complaints about the manual's tables: commands of xtask that have no row, and rows of none.
pub(super) fn complaints(manual: &str) -> Vec<String> {
    let cli = crate::Cli::command();
    let commands: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
    compare(&commands, manual)
}

fn compare(commands: &[&str], manual: &str) -> Vec<String> {
    let rows = manual
        .lines()
        .filter_map(|line| line.strip_prefix("| `cargo xtask "));
    let rows: Vec<&str> = rows
        .filter_map(|row| row.split([' ', '`']).next())
        .collect();
    let missing = commands.iter().filter(|name| !rows.contains(name));
    let missing = missing.map(|name| format!("has no row of `cargo xtask {name}`"));
    let others = rows.iter().filter(|name| !commands.contains(name));
    let others = others.map(|name| format!("has a row of `cargo xtask {name}`, which is none"));
    missing
        .chain(others)
        .map(|what| format!("docs/MANUAL.md: {what}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::compare;

    /// `mutants` stood in `cargo xtask help` alone.
    #[test]
    fn command_without_a_row_and_row_without_a_command_are_found() {
        let manual = "`cargo xtask lint`\n| `cargo xtask run -- 'x'` | runs |\n| `cargo xtask tidy` | rules |\n";
        let found = |commands: &[&str]| compare(commands, manual).len();
        assert_eq!(found(&["run", "tidy"]), 0);
        assert_eq!(found(&["lint", "run", "tidy"]), 1);
        assert_eq!(found(&["run"]), 1);
    }
}
