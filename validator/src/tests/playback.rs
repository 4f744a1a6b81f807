//! What a recorder writes of one validator, fed to another machine.

use super::*;
use crate::input_log::{Frame, InputLog, Recorded, Start, file_head, read_frame, read_head};
use crate::playback::{Astray, Playback};

/// Inputs of one validator of a net, as a recorder takes them.
pub struct Recording {
    pub of: usize,
    pub log: InputLog,
    pub frames: Vec<u8>,
    pub inputs: usize,
}

impl Recording {
    pub fn take(&mut self, now: Nanos, input: &Input<'_, u64>, validator: &Validator<u64>) {
        self.inputs += 1;
        if let Some(frame) = self.log.frame(now, input, || validator.next_deadline()) {
            self.frames.extend_from_slice(&(frame.len() as u32).to_le_bytes());
            self.frames.extend_from_slice(frame);
        }
    }
}

/// Bursts, losses and a load: messages of every path, timers, gossip.
fn recorded() -> Net {
    let mut net = Net::new(6);
    net.recording = Some(Recording { of: 2, log: InputLog::default(), frames: Vec::new(), inputs: 0 });
    net.burst = 7;
    let mut count = 0;
    net.filter = Box::new(move |_, _, _, _| {
        count += 1;
        count % 13 != 0
    });
    for nonce in 0..90 {
        net.input(nonce as usize % 6, Input::Submit(nonce, transaction(nonce, 900)));
    }
    net.run(600);
    assert!(net.nodes[2].finalized.len() > 10, "{:?}", net.heights());
    net
}

fn frames(mut rest: &[u8]) -> Vec<Frame> {
    std::iter::from_fn(|| read_frame(&mut rest)).collect()
}

/// A machine in the seat of validator 2 with keys that are not its own.
fn stand_in(net: &Net) -> Playback {
    let keys = Keyring::generate();
    let tip = Tip { view: View(0), height: Height(0), digest: genesis_digest(&CHAIN) };
    let recovery = Recovery { tip, tip_certificate: None, blocks: vec![], records: vec![], amnesia: false };
    Playback::new(validator(&net.roster, 2, (keys.vote, keys.identity), recovery), Arc::clone(&net.roster))
}

fn played(net: &Net, frames: Vec<Frame>) -> (Vec<Digest>, Option<(usize, Astray)>) {
    let mut playback = stand_in(net);
    let mut post = Post { me: 2, validators: 6, sent: vec![] };
    let mut blocks = Vec::new();
    for (at, frame) in frames.into_iter().enumerate() {
        let step = playback.step(frame, &mut post, |output| {
            if let Output::Finalized(block, _) = output {
                blocks.push(block.digest());
            }
        });
        if let Err(astray) = step {
            return (blocks, Some((at, astray)));
        }
        post.sent.clear();
    }
    (blocks, None)
}

#[test]
fn a_machine_with_other_keys_does_what_the_recorded_one_did() {
    let net = recorded();
    let recording = net.recording.as_ref().unwrap();
    let frames = frames(&recording.frames);
    assert!(frames.len() <= recording.inputs);
    let (blocks, astray) = played(&net, frames);
    assert_eq!(astray, None);
    assert_eq!(blocks, net.nodes[2].finalized.iter().map(|block| block.digest()).collect::<Vec<_>>());
}

#[test]
fn a_tick_that_nobody_asked_for_is_left_out() {
    let mut log = InputLog::default();
    let (now, deadline) = (Nanos(10), Some(Nanos(20)));
    let mut kept = |now, input: Input<'_, u64>| log.frame(now, &input, || deadline).is_some();
    assert!(!kept(now, Input::Tick), "nothing came, nothing is due");
    assert!(kept(now, Input::Persisted(1)) && kept(now, Input::Tick), "it ends a burst");
    assert!(!kept(now, Input::Tick));
    assert!(kept(Nanos(20), Input::Tick), "it is due");
}

#[test]
fn a_missing_vote_is_noticed_where_the_machine_leaves_the_path() {
    let net = recorded();
    let mut frames = frames(&net.recording.as_ref().unwrap().frames);
    let at = frames.iter().position(|frame| matches!(frame.input, Recorded::Persisted(_))).unwrap();
    frames.remove(at);
    // Its records are never reported durable, so its own vote does not count.
    frames.retain(|frame| !matches!(frame.input, Recorded::Persisted(_)));
    assert!(matches!(played(&net, frames), (_, Some((_, Astray::Decided)))));
}

#[test]
fn a_file_comes_back_whole_and_a_damaged_one_is_refused_without_harm() {
    let net = recorded();
    let block = Block::clone(&net.nodes[2].finalized[3]);
    let records = vec![Record::Vote(View(3), block.digest()), Record::Nullify(View(4)), Record::Proposal(View(5), block.digest())];
    let start = Start {
        genesis: Digest([1; 32]),
        me: ValidatorIndex(2),
        wall_offset_ns: 77,
        now: Nanos(5),
        mempool: (10_000, 1 << 24),
        height: Height(9),
        amnesia: true,
        records,
        bodies: vec![block],
        forgotten: 3,
    };
    let head = file_head(&start);
    let frames_written = &net.recording.as_ref().unwrap().frames;
    let file = [&head[..], frames_written].concat();
    assert_eq!(read_head(&file), Some((start, head.len())));
    assert!((0..head.len()).all(|cut| read_head(&file[..cut]).is_none()));
    let whole = frames(frames_written).len();
    for cut in (1..frames_written.len().min(20_000)).step_by(7) {
        assert!(frames(&frames_written[..frames_written.len() - cut]).len() < whole);
    }
    let mut state = 5u64;
    for _ in 0..2_000 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let mut damaged = file.clone();
        damaged[(state >> 33) as usize % head.len()] ^= 1 << (state >> 20 & 7);
        damaged[head.len() + (state >> 30) as usize % 4_000] ^= 0x55;
        if let Some((_, at)) = read_head(&damaged) {
            frames(&damaged[at.min(damaged.len())..]);
        }
    }
}
