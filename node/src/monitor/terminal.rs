//! The live view: draws on every look, listens to the keyboard, gives the terminal back however it ends.

use super::screen::{self, Selection};
use super::source::Target;
use super::watch::Watch;
use crate::exit::Exit;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How long a key may wait to be seen.
const TICK: Duration = Duration::from_millis(50);

/// Runs until q.
pub fn command(targets: Vec<Target>, interval: Duration) -> Result<(), Exit> {
    if !std::io::stdout().is_terminal() {
        return Err(Exit::Usage("monitor: stdout is no terminal: use --once (and --json)".into()));
    }
    let mut watch = Watch::start(targets, interval).map_err(|error| Exit::Host(format!("no thread: {error}")))?;
    // Also restored by a panic: `init` installs the hook.
    let mut terminal = ratatui::try_init().map_err(|error| Exit::Host(format!("the terminal refuses: {error}")))?;
    let ended = run(&mut terminal, &mut watch);
    // `restore` would panic where stderr is gone as well.
    let _ = ratatui::try_restore();
    ended.map_err(|error| Exit::failed(format!("terminal: {error}")))
}

fn run(terminal: &mut ratatui::DefaultTerminal, watch: &mut Watch) -> std::io::Result<()> {
    let mut selection = Selection::default();
    let mut changed = true;
    loop {
        if changed {
            terminal.draw(|frame| screen::draw(frame, &watch.members, &selection))?;
        }
        changed = false;
        while event::poll(Duration::ZERO)? {
            changed = true;
            let key = event::read()?.as_key_event().filter(|key| key.kind != KeyEventKind::Release);
            if key.is_some_and(|key| !pressed(key, &mut selection, watch.members.len())) {
                return Ok(());
            }
        }
        changed |= watch.take_until(Instant::now() + TICK) && !selection.paused;
    }
}

/// False ends the view.
pub(super) fn pressed(key: KeyEvent, selection: &mut Selection, members: usize) -> bool {
    let step = |selection: &mut Selection, by: usize| selection.member = (selection.member + by) % members.max(1);
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
        KeyCode::Esc if selection.help => selection.help = false,
        KeyCode::Char('q') | KeyCode::Esc => return false,
        KeyCode::Char('?' | 'h') => selection.help = !selection.help,
        KeyCode::Char('p' | ' ') => selection.paused = !selection.paused,
        KeyCode::Tab | KeyCode::Down | KeyCode::Right | KeyCode::Char('j') => step(selection, 1),
        KeyCode::BackTab | KeyCode::Up | KeyCode::Left | KeyCode::Char('k') => step(selection, members.max(1) - 1),
        KeyCode::Char(digit @ '0'..='9') => {
            let wanted = usize::from(digit as u8 - b'0');
            selection.member = if wanted < members { wanted } else { selection.member };
        }
        _ => {}
    }
    true
}
