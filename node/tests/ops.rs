//! What lies in `ops/` names only what a validator really shows: every metric of the dashboards and alert rules is in the table of families,
//! with labels it has; the alert rules pass their unit tests.

use samara_node::metrics::families;
use samara_node::metrics::sample::{Family, Kind};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn ops() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops")
}

/// The family a query's name asks for: a histogram by its series, all others by the exposed name.
fn family_of(name: &str) -> Option<&'static Family> {
    families::all().find(|family| match family.kind {
        Kind::Histogram => ["_bucket", "_sum", "_count"].iter().any(|suffix| name.strip_suffix(suffix) == Some(family.name)),
        _ => family.exposed() == name,
    })
}

/// Words of a query that begin with the prefix all families have.
fn names(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("samara_")).map(str::to_string).collect()
}

/// Every `expr` of a dashboard.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_string));
            fields.values().for_each(|value| queries(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

/// Names in `by (..)`, `{..}` and `{{..}}` that must be labels: of the family, of the scrape, or of a histogram's series.
fn labels(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for inside in text.split("by (").skip(1).filter_map(|rest| rest.split(')').next()) {
        found.extend(inside.split(',').map(|label| label.trim().to_string()));
    }
    for inside in text.split('{').skip(1).filter_map(|rest| rest.split('}').next()).filter(|inside| !inside.is_empty()) {
        found.extend(inside.split(',').filter_map(|part| part.split(['=', '!']).next()).map(|label| label.trim().to_string()));
    }
    found
}

#[test]
fn every_panel_asks_for_metrics_and_labels_that_exist() {
    let mut seen = BTreeSet::new();
    for file in ["samara-validator.json", "samara-cluster.json"] {
        let text = std::fs::read_to_string(ops().join("grafana").join(file)).unwrap();
        let board: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        for panel in board["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
            let mut found = Vec::new();
            queries(panel, &mut found);
            assert!(!found.is_empty(), "{file}: {} asks nothing", panel["title"]);
            for (target, query) in panel["targets"].as_array().unwrap().iter().zip(&found) {
                let families: Vec<_> = names(query)
                    .into_iter()
                    .map(|name| family_of(&name).unwrap_or_else(|| panic!("{file}: no family shows {name}: {query}")))
                    .collect();
                let known: BTreeSet<&str> = families.iter().flat_map(|family| family.labels).copied().collect();
                let legend = target["legendFormat"].as_str().unwrap();
                for label in labels(query).union(&labels(&legend.replace("{{", "{").replace("}}", "}"))) {
                    let everywhere = ["instance", "job", "le", "alertname", "alertstate"].contains(&label.as_str());
                    assert!(everywhere || known.contains(label.as_str()), "{file}: no label {label} in {query} / {legend}");
                }
                seen.extend(families.iter().map(|family| family.name));
            }
        }
        let ids: BTreeSet<_> = board["panels"].as_array().unwrap().iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), board["panels"].as_array().unwrap().len(), "{file}: an id twice");
    }
    assert!(seen.len() > 40, "the dashboards show {} families", seen.len());
}

#[test]
fn every_alert_asks_for_metrics_that_exist_and_says_what_to_do() {
    let text = std::fs::read_to_string(ops().join("alerts/samara.rules.yml")).unwrap();
    let rules: Vec<&str> = text.split("- alert: ").skip(1).collect();
    for rule in &rules {
        let name = rule.lines().next().unwrap();
        for part in ["expr:", "severity:", "summary:", "action:"] {
            assert!(rule.contains(part), "{name} has no {part}");
        }
        let expression = rule.split("expr:").nth(1).unwrap().split("labels:").next().unwrap();
        for metric in names(expression) {
            assert!(family_of(&metric).is_some(), "{name}: no family shows {metric}");
        }
        let tests = std::fs::read_to_string(ops().join("alerts/samara_test.yml")).unwrap();
        let cases = tests.matches(&format!("alertname=\"{name}\",alertstate=\"firing\"}}")).count();
        assert!(cases >= 2, "{name} is tested {cases} times: once when it fires and once when it does not");
    }
    assert!(rules.len() >= 10);
}

/// Runs a tool on files of `ops/`; None, with a line that says so, if this host lacks it.
fn tool(program: &str, arguments: &[&str]) -> Option<()> {
    let output = match Command::new(program).args(arguments).current_dir(ops()).output() {
        Ok(output) => output,
        Err(error) => {
            println!("SKIPPED: {program} cannot be run ({error}); Debian: apt-get install prometheus, python3-yaml");
            return None;
        }
    };
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    Some(())
}

#[test]
fn the_alert_rules_pass_their_unit_tests() {
    let Some(()) = tool("promtool", &["check", "rules", "alerts/samara.rules.yml"]) else { return };
    tool("promtool", &["test", "rules", "alerts/samara_test.yml"]);
    tool("promtool", &["check", "config", "--syntax-only", "compose/prometheus.yml"]);
}

/// No container engine runs here: what can be checked is that the file is YAML, and that every file it mounts is there.
#[test]
fn the_compose_file_is_yaml_and_mounts_files_that_exist() {
    let script = "import sys\ntry:\n    import yaml\nexcept ImportError:\n    print('SKIPPED: no python3-yaml'); sys.exit(0)\n\
                  import os\nservices = yaml.safe_load(open('compose/compose.yml'))['services']\n\
                  paths = [v.split(':')[0] for s in services.values() for v in s['volumes'] if v.startswith('.')]\n\
                  missing = [p for p in paths if not os.path.exists(os.path.join('compose', p))]\n\
                  assert paths and not missing, missing\n\
                  [yaml.safe_load(open('compose/' + f)) for f in os.listdir('compose')]";
    tool("python3", &["-c", script]);
}
