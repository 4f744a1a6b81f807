//! What a profile means on this host: every setting becomes steps, or is left out by name with the reason.
//!
//! Rules: a setting the host does not have is skipped; a count is lowered to what the driver takes; `min` never lowers a value; a value
//! that is already right needs no change and is only watched.

use crate::host::ethtool::{Item, spread, table_text};
use crate::host::{CpuSet, Host, HostError};
use crate::profile::{Place, Profile, Setting, Wish, parse_spread};
use crate::target::{Now, Target};

/// What the operator chose.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Interfaces that card settings go to.
    pub interfaces: Vec<String>,
    /// CPUs that the reactors own; the kernel keeps its work off them.
    pub hot: CpuSet,
    /// UDP port of the validator.
    pub port: Option<u16>,
}

/// One value to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The setting's name.
    pub name: String,
    /// Which value.
    pub target: Target,
    /// What it says.
    pub now: String,
    /// What it should say.
    pub wanted: String,
    /// More than wanted is fine as well.
    pub at_least: bool,
    /// What the driver makes of it is fine.
    pub rounded: bool,
    /// It differs from what is wanted.
    pub change: bool,
    /// What happened to the number on the way, or empty.
    pub note: String,
    /// Why, whence, at what cost: from the profile.
    pub setting: Setting,
}

/// One setting, or one place of it, that does not apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The setting's name.
    pub name: String,
    /// Which value.
    pub what: String,
    /// The reason.
    pub why: String,
}

/// The whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In order of application.
    pub steps: Vec<Step>,
    /// Left out.
    pub skipped: Vec<Skipped>,
    /// Resource limits: resource and value, for the persistent form only.
    pub limits: Vec<(String, String)>,
}

impl Plan {
    /// The whole profile as the host is at this moment.
    pub fn new(host: &Host, profile: &Profile, selection: &Selection) -> Plan {
        let mut plan = Plan::default();
        in_order(profile).for_each(|setting| plan.expand(host, setting, selection));
        plan
    }

    /// One setting.
    pub fn of_setting(host: &Host, setting: &Setting, selection: &Selection) -> Plan {
        let mut plan = Plan::default();
        plan.expand(host, setting, selection);
        plan
    }

    /// Steps that change something.
    pub fn changes(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.change)
    }

    fn skip(&mut self, setting: &Setting, what: impl ToString, why: impl ToString) {
        self.skipped.push(Skipped { name: setting.name.clone(), what: what.to_string(), why: why.to_string() });
    }

    fn expand(&mut self, host: &Host, setting: &Setting, selection: &Selection) {
        let (Wish::Exactly(template) | Wish::AtLeast(template)) = &setting.wish;
        let value = match fill(host, template, selection) {
            Ok(value) => value,
            Err(why) => return self.skip(setting, describe(&setting.place), why),
        };
        if let Place::Limit(resource) = &setting.place {
            return self.limits.push((resource.clone(), value));
        }
        let own = setting.interface.clone().map(|interface| vec![interface]);
        let interfaces = own.unwrap_or_else(|| selection.interfaces.clone());
        let needs_interface = match &setting.place {
            Place::File(path) => path.contains("{interface}"),
            _ => true,
        };
        if needs_interface && interfaces.is_empty() {
            return self.skip(setting, describe(&setting.place), "no --interface was named");
        }
        let interfaces = if needs_interface { interfaces } else { vec![String::new()] };
        for interface in interfaces {
            self.expand_on(host, setting, &interface, &value);
        }
    }

    fn expand_on(&mut self, host: &Host, setting: &Setting, interface: &str, value: &str) {
        match &setting.place {
            Place::File(path) => {
                let path = path.replace("{interface}", interface);
                let found = found(host, &path);
                if found.is_empty() {
                    self.skip(setting, &path, "does not exist on this host");
                }
                found.into_iter().for_each(|path| self.step(host, setting, Target::File(path), value));
            }
            Place::Nic(item) => self.step(host, setting, Target::Nic { interface: interface.into(), item: item.clone() }, value),
            Place::Irq { spread } => match host.irqs_of(interface) {
                Err(error) => self.skip(setting, format!("interrupts of {interface}"), error),
                Ok(_) if CpuSet::parse_list(value).is_none_or(|cpus| cpus.is_empty()) => {
                    self.skip(setting, format!("interrupts of {interface}"), format!("{value:?} is no list of CPUs"));
                }
                Ok(irqs) => {
                    let cpus: Vec<u32> = CpuSet::parse_list(value).unwrap_or_default().iter().collect();
                    for (place, irq) in irqs.into_iter().enumerate() {
                        let one = if *spread { cpus[place % cpus.len()].to_string() } else { value.to_string() };
                        self.step(host, setting, Target::Irq(irq), &one);
                    }
                }
            },
            Place::Limit(_) => unreachable!("limits are taken out before"),
        }
    }

    fn step(&mut self, host: &Host, setting: &Setting, target: Target, value: &str) {
        let now = match target.read(host) {
            Ok(now) => now,
            Err(HostError::Absent(_)) => return self.skip(setting, target, "does not exist on this host"),
            Err(error) => return self.skip(setting, target, error),
        };
        let at_least = matches!(setting.wish, Wish::AtLeast(_));
        let (wanted, note) = match self.wanted(host, &target, &now, value, at_least) {
            Ok(wanted) => wanted,
            Err(why) => return self.skip(setting, target, why),
        };
        let change = !target.same(&now.value, &wanted);
        if change && now.fixed {
            return self.skip(setting, target, "the driver does not let it change");
        }
        self.steps.push(Step {
            name: setting.name.clone(),
            target,
            now: now.value,
            wanted,
            at_least,
            rounded: setting.rounded,
            change,
            note,
            setting: setting.clone(),
        });
    }

    /// The value for this target as it is, and a word on what happened to it.
    fn wanted(&self, host: &Host, target: &Target, now: &Now, value: &str, at_least: bool) -> Result<(String, String), String> {
        if !now.offered.is_empty() && !now.offered.iter().any(|word| word == value) {
            return Err(format!("this host offers {}", now.offered.join(", ")));
        }
        match target {
            Target::Nic { interface, item: Item::Rss } => self.table(host, interface, now, value).map(|table| (table, String::new())),
            Target::Nic { item: Item::Ntuple(_), .. } if now.value != "none" && !target.same(&now.value, value) => {
                Err(format!("the location is taken by: {}", now.value))
            }
            _ => {
                let floor = if value == "max" {
                    now.max.map(|max| max.to_string()).ok_or("the driver names no largest count")?
                } else {
                    value.into()
                };
                let raised = if at_least { larger_of(&now.value, &floor)? } else { floor };
                match (now.max, raised.parse::<u64>()) {
                    (Some(max), Ok(count)) if count > max => Ok((max.to_string(), format!("{count} lowered to the driver's largest"))),
                    _ => Ok((raised, String::new())),
                }
            }
        }
    }

    /// The indirection table that `default`, `equal N` or `start S equal N` mean on this card,
    /// with the channels that this plan gives it.
    fn table(&self, host: &Host, interface: &str, now: &Now, value: &str) -> Result<String, String> {
        let size = now.value.split_whitespace().count();
        let channels = |kind: &str| {
            let target = Target::Nic { interface: interface.into(), item: Item::Channels(kind.into()) };
            let planned = self.steps.iter().find(|step| step.target == target).map(|step| step.wanted.clone());
            planned.or_else(|| Some(target.read(host).ok()?.value))?.parse::<u32>().ok()
        };
        let queues = channels("combined").unwrap_or(0) + channels("rx").unwrap_or(0);
        let (first, count) = parse_spread(value).ok_or_else(|| format!("{value:?} is no distribution"))?;
        let count = count.unwrap_or(queues.max(1));
        if first + count > queues {
            return Err(format!("it needs {} queues, the card has {queues}", first + count));
        }
        Ok(table_text(&spread(size, first, count)))
    }
}

/// Cards come first: their channels decide which queues and interrupts there are for the rest.
pub fn in_order(profile: &Profile) -> impl Iterator<Item = &Setting> {
    let is_card = |setting: &&Setting| matches!(setting.place, Place::Nic(_));
    profile.settings.iter().filter(is_card).chain(profile.settings.iter().filter(move |setting| !is_card(setting)))
}

/// Number by number the larger one.
fn larger_of(now: &str, floor: &str) -> Result<String, String> {
    let numbers = |text: &str| text.split_whitespace().map(|word| word.parse::<u64>().ok()).collect::<Option<Vec<u64>>>();
    match (numbers(now), numbers(floor)) {
        (Some(now), Some(floor)) if now.len() == floor.len() => {
            Ok(now.iter().zip(&floor).map(|(now, floor)| now.max(floor).to_string()).collect::<Vec<_>>().join(" "))
        }
        _ => Err(format!("it says {now:?}, which cannot be compared with {floor:?}")),
    }
}

/// True when every number of `found` is at least the one of `floor`.
pub fn reaches(found: &str, floor: &str) -> bool {
    larger_of(found, floor).is_ok_and(|larger| larger == found.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Puts the host's and the operator's facts into a value.
fn fill(host: &Host, template: &str, selection: &Selection) -> Result<String, String> {
    if !template.contains('{') {
        return Ok(template.to_string());
    }
    let online = host.online_cpus();
    let hot = &selection.hot;
    let housekeeping = online.without(hot);
    let needs_hot = template.contains("{hot_") || template.contains("{housekeeping_");
    if needs_hot && hot.is_empty() {
        return Err("no CPUs are set apart: name those of the reactors with --hot-cpus".into());
    }
    if needs_hot && housekeeping.is_empty() {
        return Err("--hot-cpus leaves no CPU for the rest of the system".into());
    }
    let port = selection.port.map(|port| port.to_string());
    if template.contains("{port}") && port.is_none() {
        return Err("no --port was named".into());
    }
    let filled = [
        ("{hot_list}", hot.to_string()),
        ("{hot_mask}", hot.to_mask()),
        ("{hot_count}", hot.count().to_string()),
        ("{housekeeping_list}", housekeeping.to_string()),
        ("{housekeeping_mask}", housekeeping.to_mask()),
        ("{housekeeping_count}", housekeeping.count().to_string()),
        ("{online_list}", online.to_string()),
        ("{online_count}", online.count().to_string()),
        ("{port}", port.unwrap_or_default()),
    ]
    .iter()
    .fold(template.to_string(), |text, (name, value)| text.replace(name, value));
    match (filled.find('{'), filled.find('}')) {
        (Some(from), Some(to)) if from < to => Err(format!("{} is no placeholder of a value", &filled[from..=to])),
        _ => Ok(filled),
    }
}

/// Every path that a template with `{queue}`, `{cpu}` and `{node}` names here.
fn found(host: &Host, template: &str) -> Vec<String> {
    let mut paths = vec![String::new()];
    for part in template[1..].split('/') {
        let numbered = ["{queue}", "{cpu}", "{node}"].iter().find_map(|mark| part.split_once(mark));
        paths = match numbered {
            None => paths.into_iter().map(|path| format!("{path}/{part}")).collect(),
            Some((before, after)) => {
                let is_one = |name: &String| {
                    let digits = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
                };
                let below = |path: String| {
                    let names = host.list(&path).unwrap_or_default();
                    names.into_iter().filter(is_one).map(move |name| format!("{path}/{name}")).collect::<Vec<_>>()
                };
                paths.into_iter().flat_map(below).collect()
            }
        };
    }
    paths.retain(|path| host.exists(path));
    paths
}

fn describe(place: &Place) -> String {
    match place {
        Place::File(path) => path.clone(),
        Place::Nic(item) => format!("nic:{item}"),
        Place::Irq { .. } => "interrupts".into(),
        Place::Limit(resource) => format!("limit {resource}"),
    }
}
