//! The picture of recorded answers: `recorded/snapshot.json` is `/snapshot` of validator 0 of a localnet, four seconds after its start.

use super::once;
use super::reading::Reading;
use super::screen::{Selection, draw};
use super::source::Fault;
use super::terminal::pressed;
use super::watch::{Sighting, Watch};
use crate::cli::{Cli, Command};
use clap::Parser;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::time::Instant;

fn recorded() -> Reading {
    Reading::parse(include_bytes!("recorded/snapshot.json")).unwrap()
}

/// The same validator two seconds before: a tenth less of everything that counts.
fn before() -> Reading {
    let mut reading = recorded();
    reading.written_unix_ms -= 2_000;
    for (name, points) in &mut reading.families {
        if name.ends_with("_total") {
            points.iter_mut().for_each(|point| point.value *= 0.9);
        }
    }
    reading
}

/// Two validators, of which the second is down.
fn watch() -> Watch {
    let mut watch = Watch::recorded(&["0", "1"]);
    let mut see = |target, seen| watch.take(Sighting { target, at: Instant::now(), seen });
    see(0, Ok(before()));
    see(0, Ok(recorded()));
    see(1, Err(Fault::Unreachable));
    watch
}

fn lines(watch: &Watch, selection: Selection, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, &watch.members, &selection)).unwrap();
    terminal.backend().to_string()
}

/// What no validator says: the others are still shown.
#[test]
fn figures_beyond_all_reason_are_shown_and_harm_no_neighbour() {
    let mut watch = watch();
    let mut absurd = recorded();
    absurd.families.values_mut().flatten().for_each(|point| point.value = 1e30);
    watch.take(Sighting { target: 1, at: Instant::now(), seen: Ok(absurd) });
    let text = lines(&watch, Selection::default(), 118, 44);
    assert!(text.contains("2 of 2 answer") && text.contains("14.6"), "{text}");
}

#[test]
fn the_picture_shows_views_weights_stages_cores_peers_and_who_is_down() {
    let text = lines(&watch(), Selection::default(), 118, 44);
    let newest = recorded();
    let height = newest.total("samara_finalized_height").unwrap();
    // 292 blocks, a tenth of them in two seconds.
    for expected in [
        format!("1 of 2 answer   height {height}"),
        "14.6 blocks/s".into(),
        "unreachable".into(),
        "LLLLLLLLLLLL".into(),
        format!("signed block {height}"),
        "6 of 6".into(),
        "M = 3   L = 5".into(),
        "disseminate".into(),
        "hot: busy".into(),
        "54".into(),
        "queue 0 receive".into(),
        "votes/s".into(),
        "input shred_done".into(),
        "no view nullified".into(),
    ] {
        assert!(text.contains(&expected), "{expected} is missing in\n{text}");
    }
    // M is the third of six weights, L the fifth: the bar of a block that all signed has its marks there.
    let bar = text.lines().find(|line| line.contains("signed block")).unwrap();
    let cells: Vec<char> = bar.chars().filter(|c| "█░ML".contains(*c)).collect();
    let at = |mark| cells.iter().position(|cell| *cell == mark).unwrap() + 1;
    assert_eq!((at('M'), at('L')), (cells.len() * 3 / 6, cells.len() * 5 / 6));
}

#[test]
fn the_port_says_what_ails_its_interface() {
    let mut reading = recorded();
    let shown = |reading: &Reading| super::row::Row::of(None, reading, 1.0, 0.0).port;
    let rung = shown(&reading);
    for (state, expected) in [("up", rung.clone()), ("gone", format!("{rung}, link gone"))] {
        let point = |label: &str| super::reading::Point {
            labels: [("state".to_string(), label.to_string())].into(),
            value: f64::from(u8::from(label == state)),
            ..Default::default()
        };
        reading.families.insert("samara_xdp_link".into(), ["up", "gone"].map(point).into());
        assert_eq!(shown(&reading), expected);
    }
}

#[test]
fn any_size_of_terminal_and_any_selection_can_be_drawn() {
    let watch = watch();
    for (width, height) in [(1, 1), (20, 5), (80, 24), (300, 90)] {
        for member in 0..4 {
            lines(&watch, Selection { member, help: member == 2, paused: true }, width, height);
        }
    }
    assert!(lines(&watch, Selection { help: true, ..Selection::default() }, 80, 24).contains("next or previous validator"));
    assert!(lines(&Watch::recorded(&["x"]), Selection::default(), 80, 24).contains("asking"));
}

#[test]
fn keys_select_pause_help_and_quit() {
    let mut selection = Selection::default();
    let mut press = |code| {
        let goes_on = pressed(KeyEvent::new(code, KeyModifiers::NONE), &mut selection, 6);
        (goes_on, selection.member, selection.help, selection.paused)
    };
    assert_eq!(press(KeyCode::Tab), (true, 1, false, false));
    assert_eq!(press(KeyCode::Up), (true, 0, false, false));
    assert_eq!(press(KeyCode::Up), (true, 5, false, false));
    assert_eq!(press(KeyCode::Char('9')), (true, 5, false, false), "there is no ninth");
    assert_eq!(press(KeyCode::Char('3')), (true, 3, false, false));
    assert_eq!(press(KeyCode::Char('p')), (true, 3, false, true));
    assert_eq!(press(KeyCode::Char('?')), (true, 3, true, true));
    assert_eq!(press(KeyCode::Esc), (true, 3, false, true), "Esc closes help first");
    assert!(!press(KeyCode::Esc).0 && !press(KeyCode::Char('q')).0);
}

#[test]
fn the_document_has_rates_and_names_who_is_silent() {
    let document = once::document(&watch().members);
    let figures = &document["validators"][0]["figures"];
    assert_eq!((document["answering"].as_u64(), document["validators"][1]["fault"].as_str()), (Some(1), Some("unreachable")));
    assert!((figures["blocks_per_s"].as_f64().unwrap() - 14.6).abs() < 0.01, "{figures}");
    let busy = figures["regimes"]["hot"]["busy"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&busy) && figures["peers"].as_array().unwrap().len() == 5);
}

/// The recorded figures are long past by this host's clock, and a second old by the validator's.
#[test]
fn figures_are_as_old_as_their_validator_says_whatever_the_clock_here() {
    let watch = watch();
    let age = watch.members[0].row.as_ref().unwrap().age_s;
    assert_eq!(Some(age), recorded().total("samara_snapshot_age_seconds"));
    assert!(age < 2.0, "{age}");
}

#[test]
fn a_validator_that_began_again_has_no_rates_from_before() {
    let mut watch = watch();
    let mut again = recorded();
    again.families.get_mut("samara_start_time_seconds").unwrap()[0].value += 9.0;
    watch.take(Sighting { target: 0, at: Instant::now(), seen: Ok(again) });
    assert_eq!(watch.members[0].row.as_ref().unwrap().blocks_per_s, 0.0);
}

#[test]
fn arguments_name_a_directory_or_endpoints() {
    let parse = |line: &str| match Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command) {
        Ok(Command::Monitor(args)) => super::source::targets(&args).map(|targets| targets.len()).map_err(|exit| exit.to_string()),
        _ => Err("usage".into()),
    };
    assert_eq!(parse("samara monitor --url http://127.0.0.1:9/metrics --url http://b:8"), Ok(2));
    assert_eq!(parse("samara monitor"), Err("usage".into()));
    assert_eq!(parse("samara monitor --json --dir x"), Err("usage".into()), "--json needs --once");
    assert!(parse("samara monitor --url 127.0.0.1:9").unwrap_err().contains("--url = 127.0.0.1:9: allowed is http://HOST:PORT/metrics"));
    assert!(parse("samara monitor --dir /nowhere").unwrap_err().contains("--dir = /nowhere"));
}
