//! A thread per validator that looks, and what was seen last of each.

use super::reading::Reading;
use super::row::Row;
use super::source::{Fault, Target};
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Readings kept of each validator: rates are over as many intervals less one.
const READINGS: usize = 6;

/// What one look brought.
pub struct Sighting {
    /// Number of the target.
    pub target: usize,
    /// When.
    pub at: Instant,
    /// What.
    pub seen: Result<Reading, Fault>,
}

/// One validator as it was last seen.
#[derive(Default)]
pub struct Member {
    /// How it is called.
    pub name: String,
    /// Its figures, if the last look brought any.
    pub row: Option<Row>,
    /// Why the last look failed.
    pub fault: Option<Fault>,
    readings: VecDeque<(Instant, Reading)>,
}

/// All validators.
pub struct Watch {
    /// In the order of the targets.
    pub members: Vec<Member>,
    sightings: Receiver<Sighting>,
}

impl Watch {
    /// Begins to look at `targets`, each once per `interval`. The threads end with the process, or when the watch is dropped.
    pub fn start(targets: Vec<Target>, interval: Duration) -> std::io::Result<Watch> {
        let (sender, sightings) = sync_channel(2 * targets.len());
        let members = targets.iter().map(|target| Member { name: target.name(), ..Member::default() }).collect();
        for (number, target) in targets.into_iter().enumerate() {
            let sender = sender.clone();
            std::thread::Builder::new().name(format!("look-{number}")).spawn(move || look(number, &target, interval, &sender))?;
        }
        Ok(Watch { members, sightings })
    }

    /// A watch without threads, for pictures of recorded readings.
    #[cfg(test)]
    pub fn recorded(names: &[&str]) -> Watch {
        let (_, sightings) = sync_channel(1);
        Watch { members: names.iter().map(|name| Member { name: name.to_string(), ..Member::default() }).collect(), sightings }
    }

    /// Takes what came until `deadline`; returns whether anything did.
    pub fn take_until(&mut self, deadline: Instant) -> bool {
        let Ok(first) = self.sightings.recv_timeout(deadline.saturating_duration_since(Instant::now())) else { return false };
        self.take(first);
        while let Ok(sighting) = self.sightings.try_recv() {
            self.take(sighting);
        }
        true
    }

    /// Takes one sighting.
    pub fn take(&mut self, sighting: Sighting) {
        let Some(member) = self.members.get_mut(sighting.target) else { return };
        match sighting.seen {
            Ok(reading) => member.read(sighting.at, reading),
            Err(fault) => {
                (member.row, member.fault) = (None, Some(fault));
                member.readings.clear();
            }
        }
    }

    /// Looks that each validator answered or failed.
    pub fn looks_min(&self) -> usize {
        self.members.iter().map(|member| if member.fault.is_some() { READINGS } else { member.readings.len() }).min().unwrap_or(0)
    }
}

impl Member {
    fn read(&mut self, at: Instant, reading: Reading) {
        // A process that began again has smaller counters: rates begin again with it.
        let began = |reading: &Reading| reading.total("samara_start_time_seconds");
        if self.readings.back().is_some_and(|(_, last)| began(last) != began(&reading)) {
            self.readings.clear();
        }
        // By the validator's own clock: it need not agree with this one.
        let age_s = reading.total("samara_snapshot_age_seconds").unwrap_or(0.0);
        let older = self.readings.front();
        // Between two publications, not between two looks: the figures are up to a second old.
        let published = older.map_or(0.0, |(_, older)| reading.written_unix_ms.saturating_sub(older.written_unix_ms) as f64 / 1e3);
        self.row = Some(Row::of(older.map(|(_, older)| older), &reading, published, age_s));
        self.fault = None;
        self.readings.push_back((at, reading));
        if self.readings.len() > READINGS {
            self.readings.pop_front();
        }
    }

    /// Its seat, or its name while that is unknown.
    pub fn title(&self) -> String {
        self.row.as_ref().map_or_else(|| self.name.clone(), |row| row.seat.to_string())
    }
}

fn look(number: usize, target: &Target, interval: Duration, sender: &SyncSender<Sighting>) {
    loop {
        let at = Instant::now();
        let sighting = Sighting { target: number, at, seen: target.look() };
        if sender.send(sighting).is_err() {
            return;
        }
        std::thread::sleep(interval.saturating_sub(at.elapsed()));
    }
}
