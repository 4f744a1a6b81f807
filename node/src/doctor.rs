//! `samara doctor`: examines this host for a validator and changes nothing.
//!
//! Exit codes: 0 when nothing keeps Samara from running; 1 with the names of what does; 2 bad arguments. With `--json` one document goes to
//! stdout. Runs for every user; what needs root to be seen is told as not visible.

use crate::exit::Exit;
use crate::units::parse_duration;
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use samara_tuning::doctor::{Finding, Options, Report, Severity, examine};
use samara_tuning::host::{CpuSet, Host};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Directory of the packaged service, measured when none is named.
const DATA_DIR: &str = "/var/lib/samara/validator";
/// Longest time for measurements.
const MEASURE_MAX: Duration = Duration::from_secs(300);
/// Columns of the table.
const WIDTH: u16 = 100;

/// Arguments of `doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Interface of the validator; may be given again; those with a device that are up if not given.
    #[arg(long, value_name = "IF")]
    pub interface: Vec<String>,
    /// Directory whose disk is measured with small durable writes; that of the packaged service, /var/lib/samara/validator, if not given.
    #[arg(long, value_name = "DIR")]
    pub disk: Option<PathBuf>,
    /// CPUs of the reactors, such as 2-5; those the kernel isolates if not given.
    #[arg(long, value_name = "LIST", num_args = 1..)]
    pub core: Vec<String>,
    /// Time for all measurements together; 0s leaves them out.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_duration)]
    pub measure: Duration,
    /// Show what is in order as well, with all details.
    #[arg(long)]
    pub all: bool,
    /// Print one JSON document on stdout instead of a table.
    #[arg(long)]
    pub json: bool,
    /// A recorded tree instead of this machine.
    #[arg(long, hide = true, default_value = "/")]
    pub root: PathBuf,
}

impl DoctorArgs {
    fn options(&self, host: &Host) -> Result<Options, Exit> {
        let known = host.interfaces();
        if let Some(unknown) = self.interface.iter().find(|interface| !known.contains(interface)) {
            return Err(Exit::bad("--interface", unknown, known.join(", ")));
        }
        if self.measure > MEASURE_MAX {
            return Err(Exit::bad("--measure", format!("{:?}", self.measure), "up to 300s"));
        }
        let cores = self.core.join(",");
        let online = host.online_cpus();
        let within = |cpus: &CpuSet| cores.is_empty() || (cpus.within(&online) && !cpus.is_empty());
        let allowed = || Exit::bad("--core", &cores, format!("a list such as 2-5 within {online}"));
        Ok(Options {
            interfaces: self.interface.clone(),
            cores: CpuSet::parse_list(&cores).filter(within).ok_or_else(allowed)?,
            disk: self.disk.clone(),
            usual_disk: Path::new(DATA_DIR).is_dir().then(|| DATA_DIR.into()),
            measure: self.measure,
        })
    }
}

/// The command.
pub fn command(args: &DoctorArgs) -> Result<(), Exit> {
    if !args.root.is_dir() {
        return Err(Exit::bad("--root", args.root.display(), "a directory"));
    }
    let host = Host::under(&args.root);
    let report = examine(&host, &args.options(&host)?);
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&report).map_err(Exit::failed)?),
        false => print(&report, args.all),
    }
    match report.failed()[..] {
        [] => Ok(()),
        ref names => Err(Exit::failed(format!("this host cannot run Samara: {}", names.join(", ")))),
    }
}

/// An overview of everything, then the details of what is not in order.
fn print(report: &Report, all: bool) {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(["", "check", "is", "should be"]);
    for it in &report.findings {
        table.add_row([it.severity.word(), &it.id, &it.is, &it.should]);
    }
    println!("{table}");
    let told = |it: &&Finding| all || it.severity >= Severity::Warn;
    report.findings.iter().filter(told).for_each(print_details);
    let sum = &report.summary;
    println!("\n{} ok, {} info, {} warn, {} fail; profile for this host: {}", sum.ok, sum.info, sum.warn, sum.fail, sum.profile);
}

fn print_details(finding: &Finding) {
    println!("\n{} {}: {}", finding.severity.word(), finding.id, finding.is);
    let rows = [("why", &finding.why), ("cost", &finding.cost), ("fix", &finding.fix), ("from", &finding.source)];
    for (name, text) in rows.into_iter().filter(|(_, text)| !text.is_empty()) {
        // A command stays on one line, so that it can be copied.
        let lines = if name == "fix" { vec![text.clone()] } else { wrapped(text, usize::from(WIDTH) - 7) };
        lines.iter().enumerate().for_each(|(at, line)| println!("  {:<4} {line}", if at == 0 { name } else { "" }));
    }
}

/// Words of a text in lines of at most `width` characters; a longer word has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_no_wider_than_told_and_keep_every_word() {
        let text = "a reactor that sleeps, and every timer of a view, is late by this much";
        let lines = wrapped(text, 20);
        assert!(lines.iter().all(|line| line.chars().count() <= 20), "{lines:?}");
        assert_eq!(lines.join(" "), text);
        assert_eq!(wrapped("a-word-of-sixteen b", 4), ["a-word-of-sixteen", "b"]);
    }
}
