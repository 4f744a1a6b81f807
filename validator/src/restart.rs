//! What disk remembers, put together: the finalized tip, recent transactions, own votes. The reactor and the simulator start from here.

use samara_consensus::{Application, Recovery, Tip, TransactionApp};
use samara_crypto::{Certificate, Mutant, Roster};
use samara_types::block::genesis_digest;
use samara_types::{Block, Height, Params, Record, View, message};
use std::sync::Arc;

/// Blocks read at once while transactions are remembered.
const BLOCKS_AT_ONCE: usize = 256;
/// Stored blocks held for peers after a restart, as many views as are held while running.
const RECENT_BLOCKS: usize = 32;

/// The finalized chain on disk.
pub trait History {
    /// Why it cannot be read.
    type Error;

    /// The highest block; None before the first.
    fn tip(&self) -> Result<Option<Tip>, Self::Error>;

    /// Blocks from this height on, ascending, at most so many; at least one where the height is not above the tip.
    fn blocks_from(&self, from: Height, blocks_max: usize) -> Result<Vec<Block>, Self::Error>;

    /// The L-notarization of a view, if its block has one of its own.
    fn notarization(&self, view: View) -> Result<Option<message::Certificate>, Self::Error>;
}

/// What the vote log and the block journal gave back.
#[derive(Debug, Default)]
pub struct Remembered {
    /// The vote log in order.
    pub records: Vec<Record>,
    /// The journal in order.
    pub bodies: Vec<Block>,
    /// The log is lost.
    pub amnesia: bool,
    /// The log has forgotten records of views that were in the block store.
    pub pruned: bool,
    /// The log was begun after an earlier one was lost, which may have said more. For the log's life.
    pub after_loss: bool,
    /// Nobody knows all that was signed below this view: the log was in doubt, and what it did not know of ends here. For the log's life.
    pub blind_below: View,
}

/// Limits of the mempool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MempoolLimits {
    /// Most transactions.
    pub transactions_max: usize,
    /// Most bytes.
    pub bytes_max: usize,
}

/// Everything [`crate::Validator::new`] starts from.
pub fn recover<H: History>(
    history: &H,
    roster: &Roster,
    params: &Params,
    mempool: MempoolLimits,
    remembered: Remembered,
) -> Result<(Recovery, TransactionApp), H::Error> {
    let chain = roster.domain().chain;
    let genesis = Tip { view: View::GENESIS, height: Height(0), digest: genesis_digest(&chain) };
    let tip = history.tip()?.unwrap_or(genesis);
    let mut app = TransactionApp::new(chain, params.dedup_heights, mempool.transactions_max, mempool.bytes_max);
    if !roster.has(Mutant::ForgetsTransactions) {
        remember_transactions(history, &mut app, params, tip.height)?;
    }
    let amnesia = remembered.amnesia || is_below_log(&remembered, tip.view);
    let open = remembered.bodies.into_iter().filter(|block| block.header().view > tip.view);
    let blocks = recent_blocks(history, tip.height)?.into_iter().chain(open).map(Arc::new).collect();
    let tip_certificate = newest_notarization(history, roster, tip.height)?;
    Ok((Recovery { tip, tip_certificate, blocks, records: remembered.records, amnesia }, app))
}

/// A log does not say what the block store covers: that was forgotten, or signed before a loss after which nothing was signed up to a stored block.
/// A store that ends below all that the log still has is not that store: it was lost, or is an old copy, and nobody knows what was signed in
/// between. The same below the end of a gap.
fn is_below_log(remembered: &Remembered, tip: View) -> bool {
    let begins_later = remembered.pruned || remembered.after_loss;
    tip < remembered.blind_below || begins_later && remembered.records.iter().all(|record| record.view() > tip)
}

/// Every transaction within the retention.
fn remember_transactions<H: History>(history: &H, app: &mut TransactionApp, params: &Params, tip: Height) -> Result<(), H::Error> {
    let mut next = Height(tip.0.saturating_sub(params.dedup_heights.into()) + 1);
    while next <= tip {
        let blocks = history.blocks_from(next, BLOCKS_AT_ONCE)?;
        assert!(!blocks.is_empty(), "a history has blocks up to its tip");
        for block in &blocks {
            app.finalize(block);
            next = block.header().height.next();
        }
    }
    Ok(())
}

/// A peer that is too little behind for the sync stream asks for them by digest.
fn recent_blocks<H: History>(history: &H, tip: Height) -> Result<Vec<Block>, H::Error> {
    if tip.0 == 0 {
        return Ok(Vec::new());
    }
    history.blocks_from(Height(tip.0.saturating_sub(RECENT_BLOCKS as u64 - 1).max(1)), RECENT_BLOCKS)
}

/// The newest one at or below the tip: a block final as an ancestor has none of its own.
fn newest_notarization<H: History>(history: &H, roster: &Roster, tip: Height) -> Result<Option<Certificate>, H::Error> {
    for height in (1..=tip.0).rev().map(Height) {
        let Some(block) = history.blocks_from(height, 1)?.pop() else { break };
        if let Some(wire) = history.notarization(block.header().view)? {
            let bytes = message::encode(&wire);
            let archived = message::access(&bytes).expect("bytes that were just encoded");
            return Ok(roster.verify_certificate(archived).ok());
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_below_all_that_a_pruned_log_still_has_is_not_the_one_it_was_pruned_by() {
        let remembered = |pruned, views: &[u64]| {
            let records = views.iter().map(|view| Record::Nullify(View(*view))).collect();
            Remembered { records, pruned, ..Remembered::default() }
        };
        assert!(is_below_log(&remembered(true, &[8, 9, 7]), View(6)));
        assert!(is_below_log(&remembered(true, &[8]), View::GENESIS));
        assert!(!is_below_log(&remembered(true, &[8, 9, 7]), View(7)), "what is below 7 is in the store");
        assert!(!is_below_log(&remembered(false, &[8, 9]), View::GENESIS), "the first log, and it has forgotten nothing: it says it all");
    }

    #[test]
    fn a_log_begun_after_a_loss_does_not_say_what_was_signed_before_it() {
        let remembered = |views: &[u64]| {
            let records = views.iter().map(|view| Record::Nullify(View(*view))).collect();
            Remembered { records, after_loss: true, ..Remembered::default() }
        };
        assert!(is_below_log(&remembered(&[8, 7, 9]), View::GENESIS));
        assert!(is_below_log(&remembered(&[8, 7, 9]), View(6)));
        assert!(!is_below_log(&remembered(&[8, 7, 9]), View(7)), "from 7 on it says it all");
        assert!(is_below_log(&remembered(&[]), View(7)));
    }

    #[test]
    fn a_store_that_ends_in_the_gap_of_a_log_does_not_cover_it() {
        let remembered = |pruned, blind_below| {
            let records = [3, 4, 12, 11].into_iter().map(|view| Record::Nullify(View(view))).collect();
            Remembered { records, pruned, blind_below: View(blind_below), ..Remembered::default() }
        };
        for pruned in [false, true] {
            for tip in 0..11 {
                assert!(is_below_log(&remembered(pruned, 11), View(tip)));
            }
            assert!(!is_below_log(&remembered(pruned, 11), View(11)));
            assert!(!is_below_log(&remembered(pruned, 0), View(4)), "no gap");
        }
    }
}
