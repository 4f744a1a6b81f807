//! Profiles: what a host should be set to, and why, as readable TOML.
//!
//! ```toml
//! summary = "what this profile is for"
//!
//! [[setting]]
//! name = "receive-buffer-max"        # unique in the profile
//! sysctl = "net.core.rmem_max"       # exactly one of: sysctl, sysfs, nic, irq, limit
//! min = 134217728                    # at least this; or: value = exactly this
//! reason = "..."                     # what it does for Samara
//! source = "..."                     # where the number comes from
//! cost = "..."                       # what it takes away
//! ```
//!
//! `sysfs` takes `{interface}`, and `{queue}`, `{cpu}`, `{node}` for every number found there; `nic` an item of
//! [`host::ethtool`](crate::host::ethtool); `irq` is `together` or `spread` (one CPU each); `limit` a resource of the validator's user.
//! A `value` may hold `{hot_list}`, `{hot_mask}`, `{hot_count}`, the same three of `housekeeping`, `{online_count}` and `{port}`.
//! `interface = "lo"` ties a setting to one interface; `rounded = true` accepts what the driver makes of the value; `optional = true` skips the
//! setting by name where the driver refuses the value, instead of putting everything back.
//! An unknown key, a setting of no kind or of two is one error that names it.

use crate::host::ethtool::Item;
use serde::Deserialize;
use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Largest profile file, bytes.
const FILE_MAX: u64 = 1 << 20;

/// Names and texts of the profiles that come with Samara.
pub const BUILT_IN: [(&str, &str); 4] = [
    ("latency", include_str!("../profiles/latency.toml")),
    ("throughput", include_str!("../profiles/throughput.toml")),
    ("laptop", include_str!("../profiles/laptop.toml")),
    ("virtual", include_str!("../profiles/virtual.toml")),
];

/// A checked profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name, or its file.
    pub name: String,
    /// What it is for.
    pub summary: String,
    /// In order of application.
    pub settings: Vec<Setting>,
}

/// One thing to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Unique in its profile.
    pub name: String,
    /// Where.
    pub place: Place,
    /// What.
    pub wish: Wish,
    /// What the driver makes of the value is fine.
    pub rounded: bool,
    /// A driver that refuses it is no reason to go without the rest.
    pub optional: bool,
    /// The one interface it is for; else those the operator names.
    pub interface: Option<String>,
    /// What it does for Samara.
    pub reason: String,
    /// Where the number comes from.
    pub source: String,
    /// What it takes away.
    pub cost: String,
}

/// Where a setting goes, with its placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A path below `/proc/sys` or `/sys`.
    File(String),
    /// An item of each interface.
    Nic(Item),
    /// The interrupts of each interface: all on the same CPUs, or one CPU each.
    Irq {
        /// One CPU each.
        spread: bool,
    },
    /// A resource limit; exists in persistent form only.
    Limit(String),
}

/// The value wished for, with its placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// This.
    Exactly(String),
    /// This or more, number by number. A larger value of the host is never lowered.
    AtLeast(String),
}

/// A profile that cannot be used; the text names the file, the line or setting, and the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProfileError(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProfile {
    summary: String,
    #[serde(default)]
    setting: Vec<RawSetting>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSetting {
    name: String,
    sysctl: Option<String>,
    sysfs: Option<String>,
    nic: Option<String>,
    irq: Option<String>,
    limit: Option<String>,
    value: Option<toml::Value>,
    min: Option<toml::Value>,
    #[serde(default)]
    rounded: bool,
    #[serde(default)]
    optional: bool,
    interface: Option<String>,
    reason: String,
    source: String,
    #[serde(default)]
    cost: String,
}

impl Profile {
    /// A profile that comes with Samara.
    pub fn built_in(name: &str) -> Option<Result<Profile, ProfileError>> {
        BUILT_IN.iter().find(|(known, _)| *known == name).map(|(name, text)| Profile::parse(name, text))
    }

    /// A profile of the operator's.
    pub fn load(path: &Path) -> Result<Profile, ProfileError> {
        let failed = |error: &dyn Display| ProfileError(format!("profile {}: {error}", path.display()));
        let mut text = String::new();
        // Counted while it is read: what is no file has no length, and perhaps no end.
        let read = File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_string(&mut text)).map_err(|error| failed(&error))?;
        if read as u64 > FILE_MAX {
            return Err(failed(&"larger than 1 MiB"));
        }
        Profile::parse(&path.display().to_string(), &text)
    }

    /// Reads and checks the text of a profile.
    pub fn parse(name: &str, text: &str) -> Result<Profile, ProfileError> {
        let raw: RawProfile = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            ProfileError(format!("profile {name}, line {line}: {}", error.message().replace('\n', " ")))
        })?;
        let settings: Vec<Setting> = raw.setting.into_iter().map(|setting| check(name, setting)).collect::<Result<_, _>>()?;
        for (place, setting) in settings.iter().enumerate() {
            if settings[..place].iter().any(|other| other.name == setting.name) {
                return Err(bad(name, &setting.name, "name", "another setting has it"));
            }
        }
        Ok(Profile { name: name.to_string(), summary: raw.summary, settings })
    }
}

fn bad(profile: &str, setting: &str, key: &str, why: impl Display) -> ProfileError {
    ProfileError(format!("profile {profile}, setting {setting}: {key}: {why}"))
}

fn check(profile: &str, raw: RawSetting) -> Result<Setting, ProfileError> {
    let name = raw.name.clone();
    let wrong = |key: &str, why: &str| bad(profile, &name, key, why);
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !is_word(&name) {
        return Err(wrong("name", "allowed is letters, digits, - and _"));
    }
    let place = place(&raw).map_err(|(key, why)| wrong(key, &why))?;
    let wish = match (&raw.value, &raw.min) {
        (Some(value), None) => Wish::Exactly(text(value).map_err(|why| wrong("value", &why))?),
        (None, Some(min)) => Wish::AtLeast(text(min).map_err(|why| wrong("min", &why))?),
        _ => return Err(wrong("value", "exactly one of value and min is needed")),
    };
    check_wish(&place, &wish).map_err(|(key, why)| wrong(key, &why))?;
    if raw.interface.as_ref().is_some_and(|interface| interface.contains(['/', ' ', ':']) || interface.starts_with('.')) {
        return Err(wrong("interface", "allowed is the name of an interface"));
    }
    Ok(Setting {
        name: raw.name,
        place,
        wish,
        rounded: raw.rounded,
        optional: raw.optional,
        interface: raw.interface,
        reason: raw.reason,
        source: raw.source,
        cost: raw.cost,
    })
}

fn place(raw: &RawSetting) -> Result<Place, (&'static str, String)> {
    match (&raw.sysctl, &raw.sysfs, &raw.nic, &raw.irq, &raw.limit) {
        (Some(key), None, None, None, None) => {
            // Dots part the key; an interface with a dot comes in later through `{interface}`.
            let path = format!("/proc/sys/{}", key.replace('.', "/"));
            if is_clean(&path) { Ok(Place::File(path)) } else { Err(("sysctl", "allowed is a key such as net.core.rmem_max".into())) }
        }
        (None, Some(path), None, None, None) => {
            let good = path.starts_with("/sys/") && is_clean(path);
            if good { Ok(Place::File(path.clone())) } else { Err(("sysfs", "allowed is a path below /sys".into())) }
        }
        (None, None, Some(item), None, None) => {
            item.parse().map(Place::Nic).map_err(|allowed: String| ("nic", format!("{item:?}: allowed is {allowed}")))
        }
        (None, None, None, Some(how), None) => match how.as_str() {
            "together" => Ok(Place::Irq { spread: false }),
            "spread" => Ok(Place::Irq { spread: true }),
            _ => Err(("irq", "allowed is together, spread".into())),
        },
        (None, None, None, None, Some(resource)) => match resource.as_str() {
            "memlock" | "nofile" | "rtprio" => Ok(Place::Limit(resource.clone())),
            _ => Err(("limit", "allowed is memlock, nofile, rtprio".into())),
        },
        _ => Err(("sysctl", "exactly one of sysctl, sysfs, nic, irq, limit is needed".into())),
    }
}

/// A path that stays where it points: no empty, `.` or `..` part, no character that a file of the kernel does not have in its name.
fn is_clean(path: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:{}@".contains(&byte);
    path.bytes().all(allowed)
        && path[1..].split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        && placeholders_known(path)
}

const IN_PATHS: [&str; 4] = ["{interface}", "{queue}", "{cpu}", "{node}"];

fn placeholders_known(path: &str) -> bool {
    let rest = IN_PATHS.iter().fold(path.to_string(), |rest, known| rest.replace(known, ""));
    !rest.contains(['{', '}'])
}

fn text(value: &toml::Value) -> Result<String, String> {
    let text = match value {
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::String(text) => text.clone(),
        _ => return Err("allowed is a number or a text".into()),
    };
    let fits = !text.trim().is_empty() && text.len() <= 1024 && !text.chars().any(char::is_control);
    if fits { Ok(text) } else { Err("allowed is one line of 1 to 1024 characters".into()) }
}

fn check_wish(place: &Place, wish: &Wish) -> Result<(), (&'static str, String)> {
    let (key, value) = match wish {
        Wish::Exactly(value) => ("value", value),
        Wish::AtLeast(value) => ("min", value),
    };
    let templated = value.contains('{');
    let numbers = value.split_whitespace().all(|word| word.parse::<u64>().is_ok());
    let countable = matches!(place, Place::File(_) | Place::Nic(Item::Channels(_) | Item::Ring(_)));
    let allowed = match place {
        _ if key == "min" && !countable => "value, since this kind has no order",
        _ if key == "min" && !numbers && !templated => "numbers",
        Place::Nic(Item::Channels(_) | Item::Ring(_)) if !(numbers || templated || value == "max") => "a count, max or a placeholder",
        Place::Nic(Item::Feature(_)) if !["on", "off"].contains(&value.as_str()) => "on, off",
        Place::Nic(Item::Rss) if !templated && parse_spread(value).is_none() => "default, equal N, start S equal N",
        Place::Nic(Item::RxHash(_)) if !value.chars().all(|letter| "mvtsdfn".contains(letter)) => "letters of mvtsdfn",
        _ => return Ok(()),
    };
    Err((key, format!("{value:?}: allowed is {allowed}")))
}

/// First queue and count of `default`, `equal N` and `start S equal N`; no count for the default.
pub fn parse_spread(text: &str) -> Option<(u32, Option<u32>)> {
    let positive = |word: &str| word.parse::<u32>().ok().filter(|count| *count > 0);
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        ["default"] => Some((0, None)),
        ["equal", count] => Some((0, Some(positive(count)?))),
        ["start", first, "equal", count] => Some((first.parse().ok()?, Some(positive(count)?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(body: &str) -> Result<Profile, ProfileError> {
        Profile::parse("p", &format!("summary = \"s\"\n[[setting]]\nname = \"n\"\nreason = \"r\"\nsource = \"s\"\n{body}\n"))
    }

    #[test]
    fn the_profiles_that_come_with_samara_are_sound() {
        for (name, text) in BUILT_IN {
            let profile = Profile::parse(name, text).unwrap();
            assert!(profile.settings.len() > 3, "{name}");
            for setting in &profile.settings {
                let told = [&setting.reason, &setting.source, &setting.cost].iter().all(|text| text.len() > 3);
                assert!(told, "{name}: {} says why, whence and at what cost", setting.name);
            }
        }
    }

    #[test]
    fn a_mistake_is_one_line_that_names_the_key() {
        let cases = [
            ("sysctl = \"net.core.rmem_max\"\nmni = 1", "mni"),
            ("sysctl = \"net.core.rmem_max\"", "exactly one of value and min"),
            ("sysctl = \"net.core.rmem_max\"\nmin = 1\nvalue = 1", "exactly one of value and min"),
            ("sysctl = \"a.b\"\nsysfs = \"/sys/x\"\nvalue = 1", "exactly one of sysctl"),
            ("value = 1", "exactly one of sysctl"),
            ("sysctl = \"a.b\"\nvalue = true", "a number or a text"),
            ("sysctl = \"a.b\"\nvalue = \"1\\n2\"", "one line"),
            ("sysctl = \"a..b\"\nvalue = 1", "sysctl"),
            ("sysctl = \"a/../../etc/passwd\"\nvalue = 1", "sysctl"),
            ("sysfs = \"/etc/passwd\"\nvalue = 1", "sysfs"),
            ("sysfs = \"/sys/../etc/passwd\"\nvalue = 1", "sysfs"),
            ("sysfs = \"/sys/x;reboot\"\nvalue = 1", "sysfs"),
            ("sysfs = \"/sys/{whatever}\"\nvalue = 1", "sysfs"),
            ("nic = \"fan:1\"\nvalue = 1", "nic"),
            ("nic = \"feature:gro\"\nvalue = \"maybe\"", "on, off"),
            ("nic = \"feature:gro\"\nmin = 1", "min"),
            ("nic = \"rss\"\nvalue = \"equal 0\"", "equal N"),
            ("irq = \"anywhere\"\nvalue = \"0\"", "together, spread"),
            ("limit = \"cpu\"\nvalue = 1", "memlock"),
        ];
        for (body, named) in cases {
            let text = one(body).unwrap_err().to_string();
            assert!(text.contains(named) && !text.contains('\n'), "{body} -> {text}");
        }
        assert_eq!(one("sysctl = \"net.core.rmem_max\"\nmni = 1").unwrap_err().to_string().split(':').next(), Some("profile p, line 7"));
    }

    #[test]
    fn a_file_without_an_end_is_not_read_to_it() {
        let error = Profile::load(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(error.contains("larger than 1 MiB"), "{error}");
        assert!(Profile::load(Path::new("/nowhere/profile.toml")).unwrap_err().to_string().contains("No such file"));
    }

    #[test]
    fn two_settings_do_not_share_a_name() {
        let setting = "[[setting]]\nname = \"n\"\nreason = \"r\"\nsource = \"s\"\nsysctl = \"a.b\"\nvalue = 1\n";
        let error = Profile::parse("p", &format!("summary = \"s\"\n{setting}{setting}")).unwrap_err();
        assert!(error.to_string().contains("setting n: name"), "{error}");
    }
}
