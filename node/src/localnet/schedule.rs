//! Kills and restarts at given times.

use crate::exit::Exit;
use crate::units::At;
use std::collections::BTreeSet;
use std::time::Duration;

/// What happens to a validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// SIGKILL.
    Kill(usize),
    /// Started again.
    Restart(usize),
}

/// Events in time order.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    events: Vec<(Duration, Event)>,
    next: usize,
    /// Who is killed at some time.
    pub killed: BTreeSet<usize>,
    /// Who was killed and runs at the end.
    pub restarted: BTreeSet<usize>,
}

impl Schedule {
    /// Checks that every event fits the cluster: the validator exists, runs when it is killed and is down when it is restarted.
    pub fn new(kill: &[At], restart: &[At], validators: usize, duration: Option<Duration>) -> Result<Schedule, Exit> {
        let kills = kill.iter().map(|at| (at.after, Event::Kill(at.validator), "--kill", *at));
        let restarts = restart.iter().map(|at| (at.after, Event::Restart(at.validator), "--restart", *at));
        let mut events: Vec<_> = kills.chain(restarts).collect();
        events.sort_by_key(|(after, event, ..)| (*after, matches!(event, Event::Restart(_))));
        let mut up = vec![true; validators];
        let mut schedule = Schedule::default();
        for (after, event, flag, at) in &events {
            let bad = |allowed: String| Err(Exit::bad(flag, format!("{}@{}s", at.validator, after.as_secs_f64()), allowed));
            let Some(up) = up.get_mut(at.validator) else { return bad(format!("validators 0 to {}", validators - 1)) };
            if duration.is_some_and(|duration| *after >= duration) {
                return bad(format!("a time within the {:?} of load", duration.unwrap_or_default()));
            }
            match event {
                Event::Kill(_) if !*up => return bad("a validator that runs at that time".into()),
                Event::Restart(_) if *up => return bad("a validator that was killed before that time".into()),
                _ => *up = !*up,
            }
            schedule.note(event);
        }
        schedule.events = events.into_iter().map(|(after, event, ..)| (after, event)).collect();
        Ok(schedule)
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Kill(index) => {
                self.restarted.remove(index);
                self.killed.insert(*index);
            }
            Event::Restart(index) => {
                self.restarted.insert(*index);
            }
        }
    }

    /// The greatest sum of `weight` over the validators that are down at the same time.
    pub fn down_max(&self, weight: impl Fn(usize) -> u64) -> u64 {
        let (mut down, mut most) = (0, 0);
        for (_, event) in &self.events {
            match event {
                Event::Kill(index) => down += weight(*index),
                Event::Restart(index) => down -= weight(*index),
            }
            most = most.max(down);
        }
        most
    }

    /// The next event that is due.
    pub fn due(&mut self, elapsed: Duration) -> Option<Event> {
        let (after, event) = *self.events.get(self.next)?;
        (after <= elapsed).then(|| {
            self.next += 1;
            event
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(validator: usize, seconds: u64) -> At {
        At { validator, after: Duration::from_secs(seconds) }
    }

    #[test]
    fn events_come_once_and_in_time_order() {
        let mut schedule = Schedule::new(&[at(3, 9), at(2, 8)], &[at(2, 16)], 6, Some(Duration::from_secs(30))).unwrap();
        assert_eq!(schedule.due(Duration::from_secs(7)), None);
        let mut due = Vec::new();
        while let Some(event) = schedule.due(Duration::from_secs(20)) {
            due.push(event);
        }
        assert_eq!(due, [Event::Kill(2), Event::Kill(3), Event::Restart(2)]);
        assert_eq!((schedule.down_max(|_| 1), schedule.down_max(|index| index as u64), schedule.killed.len()), (2, 5, 2));
        assert_eq!(schedule.restarted.iter().collect::<Vec<_>>(), [&2]);
        assert_eq!(schedule.due(Duration::from_secs(99)), None);
    }

    #[test]
    fn impossible_events_are_refused() {
        let duration = Some(Duration::from_secs(30));
        let refused = |kill: &[At], restart: &[At]| Schedule::new(kill, restart, 6, duration).unwrap_err().to_string();
        assert_eq!(refused(&[at(6, 1)], &[]), "--kill = 6@1s: allowed is validators 0 to 5");
        assert!(refused(&[at(1, 30)], &[]).contains("allowed is a time within"));
        assert!(refused(&[at(1, 2), at(1, 3)], &[]).contains("--kill = 1@3s: allowed is a validator that runs"));
        assert!(refused(&[at(1, 5)], &[at(1, 4)]).contains("--restart = 1@4s: allowed is a validator that was killed"));
        assert!(Schedule::new(&[at(1, 2)], &[at(1, 2)], 6, duration).is_ok(), "kill and restart at the same moment");
    }
}
