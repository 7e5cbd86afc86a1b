//! Mapping of pools to TA instances.
//!
//! **Invariant:** what cannot be told is left open.

use alloc::vec::Vec;

use tally_records::{PoolStats, TaDetail};

/// Of which instance each pool is. Both lists are in the order of the instances; where their lengths differ, one
/// has come or gone between the two.
pub(crate) fn instances_of(pools: &[PoolStats], tas: &[TaDetail]) -> Vec<Option<u32>> {
    let number = |(n, pool): (usize, &PoolStats)| {
        let of_ta = |other: &&PoolStats| other.owner == pool.owner;
        let mut instances = tas.iter().filter(|ta| ta.uuid == pool.owner);
        if instances.clone().count() != pools.iter().filter(of_ta).count() {
            return None;
        }
        let before = pools[..n].iter().filter(of_ta).count();
        instances.nth(before).map(|ta| ta.instance)
    };
    pools.iter().enumerate().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_abi::TeeUuid;

    #[test]
    fn each_pool_of_a_ta_has_the_number_of_its_instance() {
        // Bug: the heaps of two instances of a TA could not be told apart.
        let pool = |owner| PoolStats {
            owner: TeeUuid::from_u128(owner),
            ..PoolStats::default()
        };
        let ta = |uuid, instance| TaDetail {
            uuid: TeeUuid::from_u128(uuid),
            instance,
            ..TaDetail::default()
        };
        let pools = [pool(0), pool(0), pool(1), pool(2), pool(1)];
        let mut tas = Vec::from([ta(1, 4), ta(2, 5), ta(1, 7)]);
        let found = instances_of(&pools, &tas);
        assert_eq!(found, [None, None, Some(4), Some(5), Some(7)]);
        tas.pop();
        let found = instances_of(&pools, &tas);
        assert_eq!(found, [None, None, None, Some(5), None]);
    }
}
