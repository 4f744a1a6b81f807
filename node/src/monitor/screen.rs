//! The picture: the cluster on top, one validator below it.
//!
//! ```text
//! title
//! validators   one line each
//! views        the latest views of the selected one: stage reached, leader
//! quorums      weights against the M and L marks
//! stages | cores, memory, disk | peers
//! drops
//! ```
//! Sixteen colours, no mouse, no control but ratatui's: works over ssh. What does not fit is left out from the bottom.

use super::row::{Quantiles, Row};
use super::watch::Member;
use crate::bridge::ViewRow;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Row as TableRow, Table};

/// What the keyboard chose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection {
    /// The validator shown below.
    pub member: usize,
    /// Whether help lies over the picture.
    pub help: bool,
    /// Whether the picture stands still.
    pub paused: bool,
}

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, members: &[Member], selection: &Selection) {
    let validators = (members.len() as u16 + 3).min(frame.area().height / 2).max(4);
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(validators),
        Constraint::Length(4),
        Constraint::Length(6),
        Constraint::Min(0),
        Constraint::Length(1),
    ]);
    let [title, table, views, quorums, details, keys] = areas.areas(frame.area());
    frame.render_widget(headline(members, selection), title);
    frame.render_widget(validators_table(members, selection, table.width), table);
    if let Some(row) = members.get(selection.member).and_then(|member| member.row.as_ref()) {
        frame.render_widget(strip(row, views.width), views);
        frame.render_widget(quorum_bars(row, quorums.width), quorums);
        draw_details(frame, row, details);
    }
    frame.render_widget(Line::from(" q quit   ? help   tab next validator   p pause").dim(), keys);
    if selection.help {
        draw_help(frame);
    }
}

fn titled(title: String) -> Block<'static> {
    Block::new().borders(Borders::TOP).border_style(Style::new().fg(Color::DarkGray)).title(Span::from(format!(" {title} ")).bold())
}

fn headline(members: &[Member], selection: &Selection) -> Line<'static> {
    let rows = || members.iter().filter_map(|member| member.row.as_ref());
    let chain: String = rows().next().map_or_else(|| "-".to_string(), |row| row.chain.chars().take(8).collect());
    let height = rows().map(|row| row.height).max().unwrap_or(0);
    let most = |of: fn(&Row) -> f64| rows().map(of).fold(0.0, f64::max);
    let text = format!(
        " samara monitor   chain {chain}   {} of {} answer   height {height}   {:.1} blocks/s   {:.0} tx/s   {:.2} MB/s{}",
        rows().count(),
        members.len(),
        most(|row| row.blocks_per_s),
        most(|row| row.tps),
        most(|row| row.payload_mbps),
        if selection.paused { "   PAUSED" } else { "" }
    );
    Line::from(text).bold()
}

fn validators_table(members: &[Member], selection: &Selection, width: u16) -> Table<'static> {
    let highest = members.iter().filter_map(|member| member.row.as_ref()).map(|row| row.height).max().unwrap_or(0);
    let header = ["", "height", "behind", "view", "blk/s", "p50 ms", "p99 ms", "log p99", "null", "peers", "drops/s", "busy", "CPU", "MiB"];
    // Whole columns or none: the last ones go where the terminal is narrow.
    let mut room = width + 1;
    let fits = |columns: &u16| {
        room.checked_sub(columns + 1).is_some_and(|left| {
            room = left;
            true
        })
    };
    let widths: Vec<Constraint> =
        [5, 11, 6, 9, 6, 7, 7, 7, 5, 6, 8, 5, 5, 6].into_iter().take_while(fits).map(Constraint::Length).collect();
    // The selected one stays visible when there are more than lines.
    let lines = members.iter().enumerate().skip(selection.member.saturating_sub(8)).map(|(at, member)| {
        let line = match &member.row {
            Some(row) => TableRow::new(cells(row, member, highest)).style(health(row, highest)),
            None => {
                let why = member.fault.map_or("asking", |fault| fault.as_str());
                TableRow::new([member.title(), why.to_string()]).style(Style::new().fg(Color::Red))
            }
        };
        if at == selection.member { line.add_modifier(Modifier::REVERSED) } else { line }
    });
    Table::new(lines.collect::<Vec<_>>(), widths).header(TableRow::new(header).dim()).block(titled("validators".into())).column_spacing(1)
}

fn cells(row: &Row, member: &Member, highest: u64) -> [String; 14] {
    let drops = row
        .drops
        .iter()
        .filter(|drop| drop.reason.starts_with("port") || drop.reason.starts_with("session"))
        .map(|drop| drop.per_s)
        .sum::<f64>()
        + 0.0;
    let idle = row.regimes.values().filter_map(|shares| shares.get("idle")).copied().fold(1.0, f64::min);
    [
        member.title(),
        row.height.to_string(),
        (highest - row.height.min(highest)).to_string(),
        row.view.to_string(),
        format!("{:.1}", row.blocks_per_s),
        number(row.finality_ms.p50),
        number(row.finality_ms.p99),
        number(row.vote_log_ms.p99),
        row.nullified.to_string(),
        format!("{}/{}", row.sessions_up, row.peers.len()),
        format!("{drops:.0}"),
        format!("{:.0}%", (1.0 - idle) * 100.0),
        format!("{:.2}", row.cpus),
        format!("{:.0}", row.rss_bytes as f64 / (1 << 20) as f64),
    ]
}

fn health(row: &Row, highest: u64) -> Style {
    let lost = (row.sessions_up as usize) < row.peers.len();
    match () {
        () if row.age_s > 10.0 || row.syncing || highest > row.height + 200 => Style::new().fg(Color::Yellow),
        () if lost => Style::new().fg(Color::Yellow),
        () => Style::new(),
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or("-".to_string(), |value| if value < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") })
}

/// The furthest a view got: letter and colour.
fn reached(view: &ViewRow) -> (char, Color) {
    match () {
        () if view.final_us.is_some() => ('L', Color::Green),
        () if view.nullified.is_some() => ('x', Color::Red),
        () if view.notarized_us.is_some() => ('M', Color::Cyan),
        () if view.sent_us.is_some() || view.voted_us.is_some() => ('v', Color::Blue),
        () if view.body_us.is_some() => ('b', Color::Blue),
        () if view.proposed_us.is_some() => ('p', Color::Yellow),
        () => ('.', Color::DarkGray),
    }
}

fn strip(row: &Row, width: u16) -> Paragraph<'static> {
    let room = usize::from(width.saturating_sub(10));
    let latest = &row.views[row.views.len().saturating_sub(room)..];
    let marks = latest.iter().map(|view| {
        let (mark, colour) = reached(view);
        Span::from(mark.to_string()).fg(colour)
    });
    let leaders: String = latest.iter().map(|view| char::from_digit(u32::from(view.leader % 36), 36).unwrap_or('?')).collect();
    let span = |view: &ViewRow| format!("{}", view.view);
    let (first, last) = (latest.first().map(span).unwrap_or_default(), latest.last().map(span).unwrap_or_default());
    let title = format!("validator {}: views {first} to {last}   p proposed  b body  v voted  M notarized  L final  x nullified", row.seat);
    let lines = vec![
        Line::from(std::iter::once(Span::from(" reached ").dim()).chain(marks).collect::<Vec<_>>()),
        Line::from(vec![Span::from(" leader  ").dim(), Span::from(leaders)]),
        Line::from(nullified_text(row)).dim(),
    ];
    Paragraph::new(lines).block(titled(title))
}

fn nullified_text(row: &Row) -> String {
    let of = |(leader, reasons): (&String, &std::collections::BTreeMap<String, u64>)| {
        let reasons: Vec<String> = reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        format!("{leader}: {}", reasons.join(", "))
    };
    let leaders: Vec<String> = row.nullifications.iter().map(of).collect();
    if leaders.is_empty() { " no view nullified".into() } else { format!(" nullified  {}", leaders.join("   ")) }
}

/// A bar of `weight` of `total` with the two marks in it.
fn bar(label: String, weight: u64, row: &Row, width: u16) -> Line<'static> {
    let (total, room) = (row.marks.total.max(1), usize::from(width.saturating_sub(38)).max(10));
    let at = |weight: u64| (u128::from(weight.min(total)) * room as u128 / u128::from(total)) as usize;
    let filled = at(weight);
    let cell = |position: usize| match position {
        _ if position + 1 == at(row.marks.m) => 'M',
        _ if position + 1 == at(row.marks.l) => 'L',
        _ if position < filled => '█',
        _ => '░',
    };
    let text: String = (0..room).map(cell).collect();
    let colour = match () {
        () if weight >= row.marks.l => Color::Green,
        () if weight >= row.marks.m => Color::Cyan,
        () => Color::Yellow,
    };
    Line::from(vec![Span::from(format!(" {label:<22}")), Span::from(text).fg(colour), Span::from(format!(" {weight} of {total}"))])
}

fn quorum_bars(row: &Row, width: u16) -> Paragraph<'static> {
    let mut lines = vec![bar(format!("signed block {}", row.height), row.final_weight, row, width)];
    for standing in row.standings.iter().rev().take(2) {
        lines.push(bar(format!("votes in view {}", standing.view), standing.votes, row, width));
        lines.push(bar(format!("nullifies in {}", standing.view), standing.nullifies, row, width));
    }
    let title = format!("weights   M = {}   L = {}   of {}", row.marks.m, row.marks.l, row.marks.total);
    Paragraph::new(lines).block(titled(title))
}

fn draw_details(frame: &mut Frame<'_>, row: &Row, area: Rect) {
    let peers = row.peers.len() as u16 + 2;
    let [upper, lower] = Layout::vertical([Constraint::Length(peers.clamp(11, 16)), Constraint::Min(0)]).areas(area);
    let thirds = [Constraint::Percentage(27), Constraint::Percentage(32), Constraint::Percentage(41)];
    let [stages, machine, others] = Layout::horizontal(thirds).spacing(1).areas(upper);
    frame.render_widget(stage_budget(row, stages.width), stages);
    frame.render_widget(machine_text(row, machine.width), machine);
    frame.render_widget(peers_table(row), others);
    frame.render_widget(drops_text(row), lower);
}

/// The order in which a block passes them.
const STAGES: [&str; 6] = ["disseminate", "judge", "vote_log", "notarize", "finalize", "store"];

fn stage_budget(row: &Row, width: u16) -> Paragraph<'static> {
    let longest = row.stages_us.values().copied().fold(1.0, f64::max);
    let room = f64::from(width.saturating_sub(23)).max(1.0);
    let line = |stage: &&str| {
        let us = row.stages_us.get(*stage).copied().unwrap_or(0.0);
        let filled = "█".repeat((us / longest * room).round() as usize);
        Line::from(vec![Span::from(format!(" {stage:<12}{us:>7.0} ")), Span::from(filled).fg(Color::Blue)])
    };
    let mut lines: Vec<Line<'_>> = STAGES.iter().map(line).collect();
    let quantiles = |name: &str, of: Quantiles| Line::from(format!(" {name:<11} p50 {} p99 {}", number(of.p50), number(of.p99)));
    lines.push(quantiles("finality ms", row.finality_ms));
    lines.push(quantiles("view ms", row.view_ms));
    lines.push(quantiles("tx ms", row.transaction_ms));
    lines.push(quantiles("vote log ms", row.vote_log_ms));
    Paragraph::new(lines).block(titled("stages of a block, mean us".into()))
}

/// Regime, its short word, its colour. The last one is what the others leave.
const REGIMES: [(&str, &str, Color); 4] = [
    ("busy", "busy", Color::Green),
    ("back_pressured", "back", Color::Red),
    ("housekeeping", "house", Color::Magenta),
    ("idle", "idle", Color::DarkGray),
];

fn machine_text(row: &Row, width: u16) -> Paragraph<'static> {
    let room = f64::from(width.saturating_sub(3));
    let mut lines = Vec::new();
    for (reactor, shares) in &row.regimes {
        let share = |regime: &str| shares.get(regime).copied().unwrap_or(0.0);
        let cells = REGIMES.map(|(regime, _, colour)| Span::from("█".repeat((share(regime) * room).round() as usize)).fg(colour));
        lines.push(Line::from(std::iter::once(Span::from(" ")).chain(cells).collect::<Vec<_>>()));
        let texts =
            REGIMES[..3].iter().map(|(regime, word, colour)| Span::from(format!(" {word} {:.0}%", share(regime) * 100.0)).fg(*colour));
        lines.push(Line::from(std::iter::once(Span::from(format!(" {reactor}:"))).chain(texts).collect::<Vec<_>>()));
    }
    let size = |bytes: u64| match bytes {
        bytes if bytes >= 10 << 30 => format!("{:.0} GiB", bytes as f64 / (1u64 << 30) as f64),
        bytes => format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64),
    };
    lines.push(Line::from(format!(" CPUs {:.2}   memory {}", row.cpus, size(row.rss_bytes))));
    lines.push(Line::from(format!(" disk {} used, {} free", size(row.store_bytes), size(row.disk_free_bytes))));
    lines.push(Line::from(format!(
        " mempool {}   on disk to {}{}",
        row.mempool,
        row.stored_height,
        if row.syncing { "   SYNCING" } else { "" }
    )));
    for (queue, rate) in &row.packets_per_s {
        lines.push(Line::from(format!(" queue {queue:<9} {rate:>7.0} datagrams/s")));
    }
    lines.push(Line::from(format!(" {}", row.port)).dim());
    Paragraph::new(lines).block(titled("core, memory, port".into()))
}

fn peers_table(row: &Row) -> Table<'static> {
    let lines = row.peers.iter().map(|peer| {
        let up = match peer.up {
            Some(true) => "up",
            Some(false) => "DOWN",
            None => "-",
        };
        let cells = [
            peer.peer.to_string(),
            up.to_string(),
            peer.stake.to_string(),
            format!("{:.1}", peer.votes_per_s),
            format!("{:.0}", peer.seats_per_s),
            peer.round_trip_ms.map_or("-".into(), |ms| format!("{ms:.2}")),
            peer.loss.map_or("-".into(), |loss| format!("{:.2}", loss * 100.0)),
        ];
        let style = if peer.up == Some(false) { Style::new().fg(Color::Red) } else { Style::new() };
        TableRow::new(cells).style(style)
    });
    let widths = [4, 4, 6, 7, 7, 6, 6].map(Constraint::Length);
    let header = TableRow::new(["peer", "", "weight", "votes/s", "seats/s", "rtt ms", "loss %"]).dim();
    Table::new(lines.collect::<Vec<_>>(), widths).header(header).block(titled("peers".into())).column_spacing(1)
}

fn drops_text(row: &Row) -> Paragraph<'static> {
    let line = |drop: &super::row::Drop| {
        let colour = if drop.per_s > 0.0 { Color::Yellow } else { Color::DarkGray };
        Line::from(format!(" {:<40}{:>10.1}/s {:>14.0} in all", drop.reason, drop.per_s, drop.total)).fg(colour)
    };
    let lines: Vec<Line<'_>> = if row.drops.is_empty() { vec![Line::from(" nothing").dim()] } else { row.drops.iter().map(line).collect() };
    Paragraph::new(lines).block(titled("dropped and refused".into()))
}

const HELP: [&str; 18] = [
    "q, Esc, Ctrl-C      quit",
    "?, h                this help",
    "Tab, arrows, j, k   next or previous validator",
    "0 .. 9              that validator",
    "p, space            pause the picture",
    "",
    "views: each column is a view of the selected validator:",
    "  . nothing yet   p first shred   b body whole   v voted",
    "  M notarized     L final         x nullified",
    "weights: the bar is the weight that signed; M is 2f+1, L is S-f",
    "busy: share of the hot reactor's time that is not idle",
    "back: it waits for its port; house: housekeeping; the rest is idle",
    "log p99: time until a vote is durable, ms",
    "rates and quantiles are over the last five looks",
    "yellow: behind, syncing, silent for 10 s, or peers missing",
    "red: no figures; the reason stands beside it",
    "seats/s: useful shreds a peer sent on from seats of its own",
    "rtt: of the newest handshake; loss: of the datagrams a peer sent",
];

fn draw_help(frame: &mut Frame<'_>) {
    let (width, height) = (70.min(frame.area().width), (HELP.len() as u16 + 2).min(frame.area().height));
    let area = frame.area();
    let over = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    frame.render_widget(Clear, over);
    let lines: Vec<Line<'_>> = HELP.iter().map(|line| Line::from(format!(" {line}"))).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" help ")), over);
}
