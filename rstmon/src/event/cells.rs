//! Counts of resets by kind, state, family and reason: the kernel's exact ones, and what user space
//! made of them, in the same cells so that the two can be compared.
//!
//! Filled by `bpf::counters` from the kernel's maps and by `metrics::tally` from records.

use super::model::{Family, Kind, SocketState};
use rstmon_common::counts::{
    BLOCKS, REASON_FIREWALL, REASONS, STATE_UNKNOWN, block_index, block_of_index, reason_index,
};
use rstmon_common::wire::{self, RawEvent};

/// What one counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What happened.
    pub kind: Kind,
    /// State before the reset; absent if it is not known.
    pub state: Option<SocketState>,
    /// Family.
    pub family: Family,
    /// `sk_rst_reason` for sent resets, `skb_drop_reason` for the others, or one of
    /// `rstmon_common::counts`.
    pub reason: u32,
}

/// Counters of one block, by reason.
type Block = Box<[u64; REASONS]>;

/// Counts by cell. A block takes memory once something is counted in it.
#[derive(Clone, Debug, Default)]
pub struct CellCounts {
    blocks: Vec<Option<Block>>,
}

impl CellCounts {
    /// Adds to the counters of one block of the kernel's maps, as it is read. Wraps, as the kernel's
    /// counters do: what is subtracted may be read before what it is subtracted from.
    pub fn add_block(&mut self, kind: u8, state: u8, family: u16, by_reason: &[u64; REASONS]) {
        if by_reason.iter().all(|count| *count == 0) {
            return;
        }
        if let Some(block) = self.block(kind, state, family) {
            for (sum, count) in block.iter_mut().zip(by_reason) {
                *sum = sum.wrapping_add(*count);
            }
        }
    }

    /// Subtracts another set of counts.
    pub fn subtract_block(&mut self, kind: u8, state: u8, family: u16, by_reason: &[u64; REASONS]) {
        let negative = by_reason.map(u64::wrapping_neg);
        self.add_block(kind, state, family, &negative);
    }

    /// Counts one record in the cell in which the kernel counted it.
    pub fn count(&mut self, raw: &RawEvent) {
        let state = if raw.have & wire::HAVE_STATE != 0 {
            raw.state
        } else {
            STATE_UNKNOWN
        };
        if let Some(block) = self.block(raw.kind, state, raw.family)
            && let Some(counter) = block.get_mut(reason_index(raw.reason))
        {
            *counter += 1;
        }
    }

    fn block(&mut self, kind: u8, state: u8, family: u16) -> Option<&mut Block> {
        let index = block_index(kind, state, family) as usize;
        if self.blocks.len() <= index {
            self.blocks.resize_with(BLOCKS as usize, || None);
        }
        let block = self.blocks.get_mut(index)?;
        Some(block.get_or_insert_with(|| Box::new([0; REASONS])))
    }

    /// Adds all counts of another.
    pub fn add(&mut self, other: &Self) {
        for (index, block) in (0..).zip(&other.blocks) {
            if let Some(block) = block {
                let (kind, state, family) = block_of_index(index);
                self.add_block(kind, state, family, block);
            }
        }
    }

    /// Subtracts all counts of another.
    pub fn subtract(&mut self, other: &Self) {
        for (index, block) in (0..).zip(&other.blocks) {
            if let Some(block) = block {
                let (kind, state, family) = block_of_index(index);
                self.subtract_block(kind, state, family, block);
            }
        }
    }

    /// Every cell in which something was counted.
    pub fn iter(&self) -> impl Iterator<Item = (Cell, u64)> + '_ {
        let blocks = (0_u32..).zip(&self.blocks);
        blocks
            .filter_map(|(index, block)| Some((block_of_index(index), block.as_ref()?)))
            .flat_map(|((kind, state, family), block)| {
                let counted = (0_u32..)
                    .zip(block.iter())
                    .filter(|(_, count)| **count != 0);
                counted.filter_map(move |(reason, count)| {
                    let cell = Cell {
                        kind: Kind::from_wire(kind)?,
                        state: SocketState::from_wire(state),
                        family: Family::from_wire(family),
                        reason,
                    };
                    Some((cell, *count))
                })
            })
    }

    /// Sum over a kind. A sum below zero, which only a moment can show, is zero.
    #[must_use]
    pub fn of_kind(&self, kind: Kind) -> u64 {
        let sum = self
            .iter()
            .filter(|(cell, _)| cell.kind == kind)
            .fold(0_u64, |sum, (_, count)| sum.wrapping_add(count));
        u64::try_from(sum.cast_signed()).unwrap_or(0)
    }

    /// Resets that netfilter sent, which the kernel's own OutRsts does not count.
    #[must_use]
    pub fn sent_by_firewall(&self) -> u64 {
        self.iter()
            .filter(|(cell, _)| cell.kind == Kind::Sent && cell.reason == REASON_FIREWALL)
            .fold(0, |sum, (_, count)| sum.wrapping_add(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstmon_common::wire::tcp_state;

    #[test]
    fn a_record_is_counted_in_the_cell_of_the_kernel() {
        let raw = RawEvent {
            kind: wire::KIND_SENT,
            have: wire::HAVE_STATE,
            state: tcp_state::ESTABLISHED,
            family: wire::AF_INET6,
            reason: 3,
            ..bytemuck::Zeroable::zeroed()
        };
        let mut user = CellCounts::default();
        user.count(&raw);
        let mut kernel = CellCounts::default();
        let mut block = [0; REASONS];
        block[3] = 1;
        kernel.add_block(
            wire::KIND_SENT,
            tcp_state::ESTABLISHED,
            wire::AF_INET6,
            &block,
        );
        kernel.subtract(&user);
        assert_eq!(kernel.iter().count(), 0);
        let counted: Vec<_> = user.iter().collect();
        assert_eq!(counted.len(), 1);
        assert_eq!(counted[0].0.state, Some(SocketState::Established));
        assert_eq!(user.of_kind(Kind::Sent), 1);
    }

    #[test]
    fn what_is_subtracted_too_early_shows_as_zero() {
        let mut counts = CellCounts::default();
        let mut block = [0; REASONS];
        block[0] = 1;
        counts.subtract_block(
            wire::KIND_RECEIVED,
            tcp_state::FIN_WAIT1,
            wire::AF_INET,
            &block,
        );
        assert_eq!(counts.of_kind(Kind::Received), 0);
        counts.add_block(
            wire::KIND_RECEIVED,
            tcp_state::FIN_WAIT1,
            wire::AF_INET,
            &block,
        );
        assert_eq!(counts.iter().count(), 0);
    }
}
