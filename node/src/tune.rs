//! `samara tune`: shows, applies, checks and takes back host settings.
//!
//! Every action is printed as the shell command that does the same, before it happens. With `--json` one document goes to stdout and the
//! commands to stderr. A run is whole: neither a reader that leaves nor a session that ends (a card may drop the link it came over) stops it
//! between two values, and Ctrl-C does so only when it comes twice. Exit codes: 0 done; 1 drift, a failed step (everything was put back), or values that could not be put back;
//! 2 bad arguments or profile; 3 privileges are missing.

use crate::exit::{Exit, one_line};
use clap::{Args, Subcommand};
use comfy_table::{ContentArrangement, Table, presets};
use samara_tuning::apply::{Applied, ApplyError, Event, Point, apply};
use samara_tuning::host::{CpuSet, Host};
use samara_tuning::persist::{Persistent, Removal, remove};
use samara_tuning::plan::{Plan, Selection};
use samara_tuning::profile::{BUILT_IN, Profile};
use samara_tuning::revert::{Checked, Drift, Ending, Reverted, check, revert};
use samara_tuning::state::{STATE_DIR, State, StateError, peek};
use samara_tuning::target::Target;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Arguments of `tune`.
#[derive(Args, Debug)]
pub struct TuneArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: TuneWhat,
}

/// What `tune` does.
#[derive(Subcommand, Debug)]
pub enum TuneWhat {
    /// Show what a profile would change, why and at what cost; changes nothing.
    Plan {
        /// Which profile.
        #[command(flatten)]
        profile: ProfileArgs,
        /// Where.
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Apply a profile: journal every prior value, change, read back; all or nothing.
    Apply {
        /// Which profile.
        #[command(flatten)]
        profile: ProfileArgs,
        /// Where.
        #[command(flatten)]
        place: PlaceArgs,
        /// Write the form that survives a reboot as well (sysctl.d, tmpfiles.d, udev, limits.d).
        #[arg(long)]
        persist: bool,
    },
    /// Compare the machine with what was applied, or with a profile when nothing is applied; ends with 1 on drift.
    Check {
        /// Which profile.
        #[command(flatten)]
        profile: ProfileArgs,
        /// Where.
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Put everything back as it was before the first apply, and remove the persistent form.
    Revert {
        /// Where.
        #[command(flatten)]
        place: PlaceArgs,
        /// Put back what somebody else changed since, too, and remove edited files.
        #[arg(long)]
        force: bool,
        /// Accepted and ignored: the journal knows what was applied.
        #[arg(long, hide = true)]
        profile: Option<String>,
        /// Accepted and ignored: the journal knows what was applied.
        #[arg(long, hide = true)]
        interface: Vec<String>,
    },
    /// Remove the persistent form only; the values stay until the next boot.
    Unpersist {
        /// Where.
        #[command(flatten)]
        place: PlaceArgs,
        /// Remove edited files, too.
        #[arg(long)]
        force: bool,
    },
}

/// Where the machine and the state are.
#[derive(Args, Clone, Debug)]
pub struct PlaceArgs {
    /// A recorded tree instead of this machine.
    #[arg(long, hide = true, default_value = "/")]
    pub root: PathBuf,
    /// Directory of the journal; /var/lib/samara/tuning if not given.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Print one JSON document on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Which profile, for what.
#[derive(Args, Clone, Debug)]
pub struct ProfileArgs {
    /// A profile that comes with samara: latency, throughput, laptop, virtual.
    #[arg(long, value_name = "P", conflicts_with = "profile_file")]
    pub profile: Option<String>,
    /// A profile of your own (TOML; see tuning/README.md).
    #[arg(long, value_name = "FILE")]
    pub profile_file: Option<PathBuf>,
    /// Interface that card settings go to; may be given again.
    #[arg(long, value_name = "IF")]
    pub interface: Vec<String>,
    /// CPUs of the hot reactors, such as 2-5; those the kernel isolates if not given.
    #[arg(long, value_name = "LIST")]
    pub hot_cpus: Option<String>,
    /// UDP port of the validator, for receive rules.
    #[arg(long)]
    pub port: Option<u16>,
}

impl PlaceArgs {
    fn host(&self) -> Result<Host, Exit> {
        if self.root.is_dir() { Ok(Host::under(&self.root)) } else { Err(Exit::bad("--root", self.root.display(), "a directory")) }
    }

    fn state_dir(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(|| self.root.join(&STATE_DIR[1..]))
    }
}

impl ProfileArgs {
    fn load(&self) -> Result<Option<Profile>, Exit> {
        let broken = |error| Exit::Usage(one_line(&format!("{error}")));
        match (&self.profile, &self.profile_file) {
            (Some(name), _) => match Profile::built_in(name) {
                Some(profile) => profile.map(Some).map_err(broken),
                None => Err(Exit::bad("--profile", name, profile_names())),
            },
            (None, Some(file)) => Profile::load(file).map(Some).map_err(broken),
            (None, None) => Ok(None),
        }
    }

    fn required(&self) -> Result<Profile, Exit> {
        let missing = || Exit::Usage(format!("--profile is missing: allowed is {}, or --profile-file FILE", profile_names()));
        self.load()?.ok_or_else(missing)
    }

    fn selection(&self, host: &Host) -> Result<Selection, Exit> {
        let known = host.interfaces();
        if let Some(unknown) = self.interface.iter().find(|interface| !known.contains(interface)) {
            return Err(Exit::bad("--interface", unknown, known.join(", ")));
        }
        let online = host.online_cpus();
        let hot = match &self.hot_cpus {
            None => host.isolated_cpus(),
            Some(list) => CpuSet::parse_list(list)
                .filter(|cpus| cpus.within(&online) && !cpus.is_empty())
                .ok_or_else(|| Exit::bad("--hot-cpus", list, format!("a list such as 2-5 within {online}")))?,
        };
        Ok(Selection { interfaces: self.interface.clone(), hot, port: self.port })
    }
}

fn profile_names() -> String {
    BUILT_IN.map(|(name, _)| name).join(", ")
}

/// The command.
pub fn command(what: &TuneWhat) -> Result<(), Exit> {
    match what {
        TuneWhat::Plan { profile, place } => plan_command(profile, place),
        TuneWhat::Apply { profile, place, persist } => apply_command(profile, place, *persist),
        TuneWhat::Check { profile, place } => check_command(profile, place),
        TuneWhat::Revert { place, force, .. } => revert_command(place, *force),
        TuneWhat::Unpersist { place, force } => {
            let files = unpersist(&place.host()?, *force)?;
            if place.json {
                print_json(&json!({ "files": files }));
            }
            left_files(&files)
        }
    }
}

fn plan_command(profile: &ProfileArgs, place: &PlaceArgs) -> Result<(), Exit> {
    let (host, profile_args) = (place.host()?, profile);
    let profile = profile_args.required()?;
    let plan = Plan::new(&host, &profile, &profile_args.selection(&host)?);
    if place.json {
        print_json(&plan_json(&host, &profile, &plan));
        return Ok(());
    }
    println!("profile {}: {}", profile.name, profile.summary);
    let mut table = table(["setting", "now", "wanted", "why", "cost"]);
    for step in plan.changes() {
        let wanted = if step.note.is_empty() { step.wanted.clone() } else { format!("{} ({})", step.wanted, step.note) };
        let name = format!("{}\n{}", step.name, step.target);
        table.add_row([&name, &short(&step.now), &short(&wanted), &step.setting.reason, &step.setting.cost]);
    }
    let changes = plan.changes().count();
    if changes > 0 {
        println!("{table}\nthe same by hand:");
        plan.changes().for_each(|step| println!("  {}", step.target.command(&host, &step.wanted)));
    }
    print_skipped(plan.skipped.iter().map(|skipped| (&skipped.name, &skipped.what, &skipped.why)));
    plan.limits.iter().for_each(|(resource, value)| println!("with --persist only: {resource} limit {value} for the user samara"));
    println!("{changes} to change, {} right already, {} skipped", plan.steps.len() - changes, plan.skipped.len());
    Ok(())
}

fn plan_json(host: &Host, profile: &Profile, plan: &Plan) -> Value {
    let step = |step: &samara_tuning::plan::Step| {
        json!({
            "name": step.name, "target": step.target.to_string(), "now": step.now, "wanted": step.wanted, "at_least": step.at_least,
            "change": step.change, "note": step.note, "reason": step.setting.reason, "source": step.setting.source,
            "cost": step.setting.cost, "command": step.target.command(host, &step.wanted),
        })
    };
    json!({
        "profile": profile.name,
        "settings": plan.steps.iter().map(step).collect::<Vec<_>>(),
        "skipped": plan.skipped.iter().map(|it| json!({"name": it.name, "target": it.what, "why": it.why})).collect::<Vec<_>>(),
        "limits": plan.limits.iter().map(|(resource, value)| json!({"resource": resource, "value": value})).collect::<Vec<_>>(),
    })
}

fn apply_command(profile: &ProfileArgs, place: &PlaceArgs, persist: bool) -> Result<(), Exit> {
    let (host, profile_args) = (place.host()?, profile);
    let profile = profile_args.required()?;
    let selection = profile_args.selection(&host)?;
    let _whole = Whole::begin()?;
    let mut state = State::hold(&place.state_dir(), &host).map_err(state_failed)?;
    let applied = apply(&host, &mut state, &profile, &selection, &mut |event| say(place.json, event)).map_err(apply_failed)?;
    let persistent = Persistent::render(&profile.name, &applied.values, &applied.limits);
    if persist {
        show_files(place.json, &persistent);
        persistent.write(&host).map_err(|error| {
            let text = format!("{error}; the profile is applied, its persistent form is not written");
            if error.is_permission() { Exit::Host(one_line(&text)) } else { Exit::failed(text) }
        })?;
    }
    if place.json {
        print_json(&applied_json(&profile, &applied, persist.then_some(&persistent)));
        return Ok(());
    }
    for changed in applied.changed.iter().filter(|changed| !changed.note.is_empty()) {
        println!("{}: {}", changed.name, changed.note);
    }
    print_skipped(applied.skipped.iter().map(|skipped| (&skipped.name, &skipped.what, &skipped.why)));
    println!(
        "{} changed, {} right already, {} skipped; `samara tune revert` puts everything back",
        applied.changed.len(),
        applied.kept.len(),
        applied.skipped.len()
    );
    Ok(())
}

fn applied_json(profile: &Profile, applied: &Applied, persistent: Option<&Persistent>) -> Value {
    let changed = |it: &samara_tuning::apply::Changed| json!({"name": it.name, "target": it.target.to_string(), "before": it.before, "value": it.value, "note": it.note, "command": it.command});
    json!({
        "profile": profile.name,
        "changed": applied.changed.iter().map(changed).collect::<Vec<_>>(),
        "unchanged": applied.kept.iter().map(|(name, target)| json!({"name": name, "target": target.to_string()})).collect::<Vec<_>>(),
        "skipped": applied.skipped.iter().map(|it| json!({"name": it.name, "target": it.what, "why": it.why})).collect::<Vec<_>>(),
        "files": persistent.map(|it| it.files.iter().map(|(path, _)| *path).collect::<Vec<_>>()).unwrap_or_default(),
    })
}

/// Keeps signals from ending a run between two values.
struct Whole {
    asked: Arc<AtomicBool>,
}

impl Whole {
    /// From here on a hang-up is ignored, and an interrupt waits for the end of the run; a second one ends it (the journal knows what was done).
    fn begin() -> Result<Whole, Exit> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let (asked, hung_up) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let register = || {
            signal_hook::flag::register(SIGHUP, hung_up)?;
            for signal in [SIGINT, SIGTERM] {
                signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked))?;
                signal_hook::flag::register(signal, Arc::clone(&asked))?;
            }
            Ok(())
        };
        register().map_err(|error: std::io::Error| Exit::Host(format!("cannot handle signals: {error}")))?;
        Ok(Whole { asked })
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if self.asked.load(Ordering::Relaxed) {
            eprintln!("samara: asked to stop: the run was finished first, see `samara tune check`");
        }
    }
}

fn show_files(json: bool, persistent: &Persistent) {
    for (path, text) in &persistent.files {
        line(json, &format!("cat > {path} <<'END'\n{text}END"));
    }
    persistent.left_out.iter().for_each(|(target, why)| line(json, &format!("not persistent: {target}: {why}")));
}

fn check_command(profile: &ProfileArgs, place: &PlaceArgs) -> Result<(), Exit> {
    let (host, args) = (place.host()?, profile);
    let (checked, watched) = match peek(&place.state_dir(), &host).map_err(state_failed)? {
        Some(session) => (check(&host, &session), session.entries.len()),
        None => {
            let plan = Plan::new(&host, &args.required()?, &args.selection(&host)?);
            let drift = |step: &samara_tuning::plan::Step| Drift {
                name: step.name.clone(),
                target: step.target.clone(),
                expected: step.wanted.clone(),
                found: step.now.clone(),
                command: step.target.command(&host, &step.wanted),
            };
            (Checked { drifts: plan.changes().map(drift).collect(), unseen: Vec::new() }, plan.steps.len())
        }
    };
    let Checked { drifts, unseen } = checked;
    let names = |targets: &mut dyn Iterator<Item = &Target>| targets.map(Target::to_string).collect::<Vec<_>>();
    let unseen = names(&mut unseen.iter());
    if place.json {
        let drift = |it: &Drift| json!({"name": it.name, "target": it.target.to_string(), "expected": it.expected, "found": it.found, "command": it.command});
        print_json(&json!({"watched": watched, "drift": drifts.iter().map(drift).collect::<Vec<_>>(), "unseen": unseen}));
    } else if !drifts.is_empty() {
        let mut table = table(["setting", "expected", "found", "set again by"]);
        drifts.iter().for_each(|it| {
            table.add_row([&format!("{}\n{}", it.name, it.target), &short(&it.expected), &short(&it.found), &it.command]);
        });
        println!("{table}");
    }
    if !drifts.is_empty() {
        let drifted = names(&mut drifts.iter().map(|drift| &drift.target));
        return Err(Exit::failed(format!("{} of {watched} values drifted: {}", drifts.len(), drifted.join(", "))));
    }
    if !unseen.is_empty() {
        return Err(Exit::Host(format!(
            "{} of {watched} values are not visible to this user: {}; run as root",
            unseen.len(),
            unseen.join(", ")
        )));
    }
    line(place.json, &format!("all {watched} values are as they should be"));
    Ok(())
}

fn revert_command(place: &PlaceArgs, force: bool) -> Result<(), Exit> {
    let host = place.host()?;
    let _whole = Whole::begin()?;
    let mut state = State::hold(&place.state_dir(), &host).map_err(state_failed)?;
    let files = unpersist(&host, force)?;
    let reverted = revert(&host, &mut state, force, &mut |event| say(place.json, event)).map_err(state_failed)?;
    if place.json {
        print_json(&reverted_json(&reverted, &files));
    } else {
        print_reverted(&reverted);
    }
    let left: Vec<&Target> = reverted.outcomes.iter().filter(|it| !it.ending.is_settled()).map(|it| &it.target).collect();
    if left.is_empty() {
        return left_files(&files);
    }
    let names = left.iter().map(|target| target.to_string()).collect::<Vec<_>>().join(", ");
    let denied = reverted.outcomes.iter().any(|it| matches!(&it.ending, Ending::Failed(why) if why.contains("not permitted")));
    let text = format!(
        "{} values are not as before: {names}; what somebody else changed goes back with --force, what is missing is forgotten by it",
        left.len()
    );
    Err(if denied { Exit::Host(one_line(&text)) } else { Exit::failed(text) })
}

fn reverted_json(reverted: &Reverted, files: &[Value]) -> Value {
    let outcome = |it: &samara_tuning::revert::Outcome| {
        let found = match &it.ending {
            Ending::Rebooted(text) | Ending::Foreign(text) | Ending::Failed(text) => Some(text),
            _ => None,
        };
        json!({"name": it.name, "target": it.target.to_string(), "prior": it.prior, "ending": it.ending.word(), "found": found})
    };
    json!({
        "complete": reverted.is_complete(), "after_reboot": reverted.after_reboot, "files": files,
        "values": reverted.outcomes.iter().map(outcome).collect::<Vec<_>>(),
    })
}

fn print_reverted(reverted: &Reverted) {
    if reverted.after_reboot {
        println!("the machine was booted since: only values that still are what samara set are put back");
    }
    for it in &reverted.outcomes {
        let text = match &it.ending {
            Ending::Restored | Ending::AsBefore => continue,
            Ending::Rebooted(found) => format!("left at {} (the reboot set it; before: {})", short(found), short(&it.prior)),
            Ending::Foreign(found) => format!("left at {} (somebody else set it; before: {})", short(found), short(&it.prior)),
            Ending::Gone => "gone".to_string(),
            Ending::Missing => format!("not there now, perhaps with the value of samara when it comes back (before: {})", short(&it.prior)),
            Ending::Failed(why) => format!("failed: {why}"),
        };
        println!("{} {}: {text}", it.name, it.target);
    }
    let count = |wanted: &Ending| reverted.outcomes.iter().filter(|it| it.ending == *wanted).count();
    println!("{} put back, {} as before already, of {}", count(&Ending::Restored), count(&Ending::AsBefore), reverted.outcomes.len());
}

fn unpersist(host: &Host, force: bool) -> Result<Vec<Value>, Exit> {
    let removals = remove(host, force).map_err(|error| {
        let text = one_line(&error.to_string());
        if error.is_permission() { Exit::Host(text) } else { Exit::Failed(text) }
    })?;
    let told = |(path, removal): (&str, Removal)| {
        let removed = removal == Removal::Removed;
        eprintln!("{}", if removed { format!("rm {path}") } else { format!("left: {path} was edited, or is not samara's") });
        json!({"path": path, "removed": removed})
    };
    Ok(removals.into_iter().map(told).collect())
}

fn left_files(files: &[Value]) -> Result<(), Exit> {
    let left: Vec<&str> = files.iter().filter(|file| file["removed"] == false).filter_map(|file| file["path"].as_str()).collect();
    if left.is_empty() { Ok(()) } else { Err(Exit::failed(format!("{} left: edited since, or not samara's", left.join(", ")))) }
}

fn say(json: bool, event: &Event<'_>) {
    if matches!(event.point, Point::Planned | Point::Restoring) {
        line(json, event.command);
    }
}

/// To stdout, or out of the way of the JSON document.
fn line(json: bool, text: &str) {
    if json { eprintln!("{text}") } else { println!("{text}") }
}

fn print_json(document: &Value) {
    println!("{document:#}");
}

fn print_skipped<'a>(skipped: impl Iterator<Item = (&'a String, &'a String, &'a String)>) {
    skipped.for_each(|(name, what, why)| println!("skipped {name} ({what}): {why}"));
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    table
}

/// Indirection tables have hundreds of numbers.
fn short(value: &str) -> String {
    if value.chars().count() > 60 { format!("{} ...", value.chars().take(56).collect::<String>()) } else { value.to_string() }
}

fn state_failed(error: StateError) -> Exit {
    let text = one_line(&error.to_string());
    match error {
        StateError::NotPermitted(_) => Exit::Host(text),
        StateError::NotOurs(..) => Exit::Usage(text),
        _ => Exit::Failed(text),
    }
}

fn apply_failed(error: ApplyError) -> Exit {
    let text = one_line(&error.to_string());
    match error {
        ApplyError::State(error) => state_failed(error),
        ApplyError::RolledBack { error, .. } if error.is_permission() => Exit::Host(text),
        _ => Exit::Failed(text),
    }
}
