use proptest::prelude::*;

use super::super::account::{BUCKETS, Ring, Terms, WHOLE};

/// The same in numbers that do not wrap, without a ring: each bucket that was ever used, with its requests and retries.
struct Naive {
    share: u128,
    reserve: u128,
    buckets: Vec<(u64, u128, u128)>,
}

impl Naive {
    fn left(&self) -> u128 {
        let newest = self.buckets.last().unwrap().0;
        let counting = self.buckets.iter().filter(|(lap, ..)| newest - lap < BUCKETS as u64);
        let (requests, retries) = counting.fold((0, 0), |sum, bucket| (sum.0 + bucket.1, sum.1 + bucket.2));
        let whole = u128::from(WHOLE);
        (self.share * requests + self.reserve * whole).saturating_sub(retries * whole) / whole
    }
}

proptest! {
    /// More requests than any machine can count, so that the debt wraps several times.
    #[test]
    fn it_is_exact_however_many_requests_there_were(
        share in 0..=WHOLE,
        reserve in prop_oneof![0..5_u32, Just(u32::MAX)],
        mut requests in any::<u64>(),
        turns in prop::collection::vec((1..15_u64, 0..200_000_000_000_u64, 0..8_usize), 1..100),
    ) {
        let terms = Terms::new(share, reserve, 1);
        let (ring, account) = Ring::new(&terms, 0);
        // A window that has seen so many before.
        let (mut ring, mut account) = ring.turned(&terms, account, 10, requests);
        let mut naive = Naive { share: share.into(), reserve: reserve.into(), buckets: vec![(10, 0, 0)] };
        for (laps, made, retries) in turns {
            requests = requests.wrapping_add(made);
            naive.buckets.last_mut().unwrap().1 += u128::from(made);
            for _ in 0..retries {
                prop_assert_eq!(u128::from(terms.left(account, requests)), naive.left());
                let after = terms.withdraw(account, requests);
                prop_assert_eq!(after.is_some(), naive.left() > 0);
                if let Some(after) = after {
                    account = after;
                    naive.buckets.last_mut().unwrap().2 += 1;
                }
            }
            let lap = ring.newest() + laps;
            (ring, account) = ring.turned(&terms, account, lap, requests);
            naive.buckets.push((lap, 0, 0));
            prop_assert!(account.is_of(lap));
            prop_assert_eq!(u128::from(terms.left(account, requests)), naive.left());
        }
    }
}

#[test]
fn the_last_lap_of_all_is_one_like_others() {
    let terms = Terms::new(WHOLE / 2, 1, 1);
    let (ring, account) = Ring::new(&terms, 0);
    let (ring, account) = ring.turned(&terms, account, u64::MAX - 1, 7);
    let (_, account) = ring.turned(&terms, account, u64::MAX, 17);
    assert_eq!(terms.left(account, 17), 6);
}
