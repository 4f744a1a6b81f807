//! Values that `samara tune` would set, one finding per setting. What the recommended profile changes is a warning; what only the profile of
//! bare metal names is told without judgement.

use super::{Finding, Severity, View, drops};
use crate::plan::{Plan, Selection, Skipped, Step};
use crate::profile::{Profile, Setting};
use crate::target::Target;

pub(super) fn check(view: &View<'_>) -> Vec<Finding> {
    let recommended = built_in(view.profile());
    let every = built_in("latency");
    let named = |name: &str| recommended.settings.iter().any(|setting| setting.name == name);
    let foreign = every.settings.iter().filter(|setting| !named(&setting.name)).map(|setting| (setting, false));
    let settings = recommended.settings.iter().map(|setting| (setting, true)).chain(foreign);
    settings.flat_map(|(setting, recommended)| of_setting(view, setting, recommended)).collect()
}

fn built_in(name: &str) -> Profile {
    Profile::built_in(name).expect("the name of a built-in profile").expect("built-in profiles are checked by tests")
}

/// One finding, or one per interface for what belongs to a card.
fn of_setting(view: &View<'_>, setting: &Setting, recommended: bool) -> Vec<Finding> {
    let selection = Selection { interfaces: view.interfaces.clone(), hot: view.hot.clone(), port: None };
    let plan = Plan::of_setting(view.host, setting, &selection);
    let mut findings: Vec<Finding> = Vec::new();
    let mut interfaces: Vec<Option<String>> = plan.steps.iter().map(|step| interface_of(&step.target)).collect();
    interfaces.dedup();
    for interface in interfaces {
        let steps: Vec<&Step> = plan.steps.iter().filter(|step| interface_of(&step.target) == interface).collect();
        findings.push(of_steps(view, setting, interface.as_deref(), &steps, recommended));
    }
    if findings.is_empty() {
        findings.extend(plan.skipped.first().map(|skipped| left_out(setting, skipped)));
    }
    findings
}

fn interface_of(target: &Target) -> Option<String> {
    match target {
        Target::Nic { interface, .. } => Some(interface.clone()),
        Target::File(path) => path.strip_prefix("/sys/class/net/")?.split('/').next().map(str::to_string),
        Target::Irq(_) => None,
    }
}

/// The first value that differs speaks for its fellows (a governor per CPU, a mask per interrupt).
fn of_steps(view: &View<'_>, setting: &Setting, interface: Option<&str>, steps: &[&Step], recommended: bool) -> Finding {
    let differing: Vec<&&Step> = steps.iter().filter(|step| step.change).collect();
    let shown = differing.first().map_or(steps[0], |step| **step);
    let many = if steps.len() > 1 { format!(" ({} of {} differ)", differing.len(), steps.len()) } else { String::new() };
    let more = if shown.at_least { " or more" } else { "" };
    let id = interface.map_or(setting.name.clone(), |interface| format!("{}:{interface}", setting.name));
    let (severity, fix) = match recommended {
        _ if is_without_effect(view, &setting.name) => (Severity::Info, "CPUWeight= in the unit (systemctl edit samara)".to_string()),
        true => (Severity::Warn, format!("{}   # {}", shown.target.command(view.host, &shown.wanted), all_at_once(view))),
        false => (Severity::Info, shown.target.command(view.host, &shown.wanted)),
    };
    let present = measured(view, &setting.name).unwrap_or_else(|| if differing.is_empty() { "none".into() } else { "not measured".into() });
    let cost = if differing.is_empty() { present } else { format!("{present}; changing it costs: {}", setting.cost) };
    Finding::new(id, format!("{}{many}", short(&shown.now)), format!("{}{more}", short(&shown.wanted)), source(&shown.target))
        .why(&setting.reason)
        .cost(cost)
        .worse(!differing.is_empty(), severity, fix)
}

/// Groups of sessions are made only of tasks that are in no other: where cgroup v2 shares out CPUs every task is in one.
fn is_without_effect(view: &View<'_>, setting: &str) -> bool {
    let shared = || view.host.read("/sys/fs/cgroup/cgroup.subtree_control");
    setting == "session-groups" && shared().is_ok_and(|controllers| controllers.split_whitespace().any(|name| name == "cpu"))
}

/// The commands that set what the recommended profile would change now of some settings, of one card if named; none if all is right.
/// Nothing where no value of them can be seen.
pub(super) fn repairs(view: &View<'_>, names: &[&str], interface: Option<&str>) -> Option<Vec<String>> {
    let interfaces = interface.map_or(view.interfaces.clone(), |interface| vec![interface.to_string()]);
    let selection = Selection { interfaces, hot: view.hot.clone(), port: None };
    let profile = built_in(view.profile());
    let settings = profile.settings.iter().filter(|setting| names.contains(&setting.name.as_str()));
    let steps: Vec<Step> = settings.flat_map(|setting| Plan::of_setting(view.host, setting, &selection).steps).collect();
    let commands = steps.iter().filter(|step| step.change).map(|step| step.target.command(view.host, &step.wanted)).collect();
    (!steps.is_empty()).then_some(commands)
}

fn all_at_once(view: &View<'_>) -> String {
    format!("all: {}", view.tune())
}

/// What a setting costs here, where the kernel counts it.
fn measured(view: &View<'_>, setting: &str) -> Option<String> {
    match setting {
        "receive-buffer-max" => {
            drops::udp(view).map(|udp| format!("{} datagrams lost to full receive buffers since boot", udp.receive_buffer))
        }
        "send-buffer-max" => drops::udp(view).map(|udp| format!("{} datagrams lost to full send buffers since boot", udp.send_buffer)),
        "backlog" => drops::softnet(view).map(|softnet| format!("{} packets lost to a full backlog since boot", softnet.dropped)),
        _ => None,
    }
}

fn left_out(setting: &Setting, skipped: &Skipped) -> Finding {
    let is = match skipped.why.as_str() {
        "no --interface was named" => "no interface to look at".to_string(),
        // The doctor's own word for them.
        why => why.replace("--hot-cpus", "--core"),
    };
    let should = match &setting.wish {
        crate::profile::Wish::Exactly(value) => worded(value),
        crate::profile::Wish::AtLeast(value) => format!("{} or more", worded(value)),
    };
    // A path of many: one for each CPU, queue or interface.
    let source = ["{cpu}", "{queue}", "{node}", "{interface}"].iter().fold(skipped.what.clone(), |path, mark| path.replace(mark, "*"));
    Finding::new(&setting.name, is, should, source).why(&setting.reason).judged(Severity::Info)
}

/// A value whose placeholders nobody has filled, as a person says it.
fn worded(template: &str) -> String {
    let words = [
        ("{hot_list}", "the reactors' CPUs"),
        ("{hot_mask}", "a mask of the reactors' CPUs"),
        ("{hot_count}", "one per reactor"),
        ("{housekeeping_list}", "the CPUs that no reactor owns"),
        ("{housekeeping_mask}", "a mask of the CPUs that no reactor owns"),
        ("{housekeeping_count}", "one per CPU that no reactor owns"),
        ("{online_list}", "every CPU"),
        ("{online_count}", "one per CPU"),
        ("{port}", "the validator's port"),
    ];
    words.iter().fold(template.to_string(), |text, (name, word)| text.replace(name, word))
}

/// The file, or the ethtool command that shows the item.
fn source(target: &Target) -> String {
    match target {
        Target::File(path) => path.clone(),
        Target::Irq(irq) => format!("/proc/irq/{}/smp_affinity_list", irq.number),
        Target::Nic { interface, item } => {
            use crate::host::Item;
            let letter = match item {
                Item::Channels(_) => "-l",
                Item::Ring(_) => "-g",
                Item::Feature(_) => "-k",
                Item::Rss => "-x",
                Item::RxHash(flow) => return format!("ethtool -n {interface} rx-flow-hash {flow}"),
                Item::Ntuple(_) => "-n",
            };
            format!("ethtool {letter} {interface}")
        }
    }
}

/// Indirection tables have hundreds of numbers; a card that hashes nothing has no letters.
fn short(text: &str) -> String {
    if text.is_empty() {
        return "none".to_string();
    }
    if text.chars().count() > 48 { format!("{} ...", text.chars().take(44).collect::<String>()) } else { text.to_string() }
}
