//! `docs/metrics.md`, written from the table of families.

use super::families::CHAPTERS;
use std::fmt::Write;

/// The whole page.
pub fn text() -> String {
    let mut page = String::from(HEAD);
    for chapter in CHAPTERS {
        write!(page, "\n## {}\n\n| name | type | labels | what it says |\n|---|---|---|---|\n", chapter.title).expect("a String takes all");
        for family in chapter.families {
            let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            let (name, kind, labels) = (family.exposed(), family.kind.as_str(), labels.join(", "));
            writeln!(page, "| `{name}` | {kind} | {labels} | {} |", family.help).expect("a String takes all");
        }
    }
    page
}

const HEAD: &str = "\
# Metrics of a validator

Made from the table in `node/src/metrics/families.rs`; a test fails when this page differs (`SAMARA_WRITE_DOCS=1 cargo test --release -p
samara-node --lib metrics::` writes it).

`metrics.listen = \"ADDRESS:PORT\"` in `samara.toml` switches the endpoint on; `samara localnet` gives each validator one, prints where, and
leaves the address in `DIR/validator-I/metrics.url`. `/metrics` answers in OpenMetrics where it is asked for and in the classic Prometheus text
otherwise; `/snapshot` is one JSON document with the same families and the latest views, which `samara monitor` reads.

Names, labels and units are stable: families may be added, none is renamed. Seconds, bytes and plain counts only. Counters start at zero with
the process. Figures are those the reactors publish anyway: the hot reactor's own counters are at most 10 ms old, all others about a second
(`samara_snapshot_age_seconds`). Labels named `reason` are the strings of the code's reject enums. A histogram's buckets are exact counts of
values known to 0.1 %.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_this_one() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        if std::env::var_os("SAMARA_WRITE_DOCS").is_some() {
            std::fs::write(&path, text()).unwrap();
        }
        let page = std::fs::read_to_string(&path).unwrap();
        assert!(page == text(), "docs/metrics.md is stale: SAMARA_WRITE_DOCS=1 cargo test --release -p samara-node --lib metrics::");
    }
}
