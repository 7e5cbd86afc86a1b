//! Tests of pools whose call sites have no counters.

use super::*;

/// Runs a test on pools that track lightly, over all strategies.
fn each_light(test: impl Fn(&mut Pool)) {
    each_by(Tracking::Light, test);
}

/// Runs a test on pools that track so much, over all strategies.
fn each_by(tracking: Tracking, test: impl Fn(&mut Pool)) {
    for strategy in [Strategy::Segregated, Strategy::FirstFit, Strategy::BestFit] {
        let cfg = Config {
            strategy,
            tracking,
            depth: 1,
            ..Config::TA
        };
        let memory = Memory::new(1 << 16);
        // SAFETY: the only pool of this memory, dropped before it.
        let mut pool = unsafe { memory.pool(1 << 16, &cfg) }.unwrap();
        pool.set_code(0x40_0000);
        test(&mut pool);
        assert_eq!(pool.check(), Ok(()), "{strategy:?}");
    }
}

#[test]
fn the_biggest_sites_say_of_how_many_blocks_they_are() {
    const MORE: u64 = view::TOP_BLOCKS as u64 + 10;
    each_light(|pool| {
        let mut sites = [SiteInfo::default(); 2];
        for n in 1..=MORE {
            get_at(pool, 8, A, 0x40_0010);
            if n == view::TOP_BLOCKS as u64 {
                let top = pool.top_sites(&mut sites);
                assert_eq!((top.count, top.blocks, top.live_blocks), (1, n, n));
            }
        }
        let top = pool.top_sites(&mut sites);
        assert_eq!(u64::from(sites[0].live_blocks), top.blocks);
        assert_eq!(
            std::format!("{top}"),
            "Biggest call sites of the first 1024 of 1034 blocks:"
        );
    });
    each(16384, |pool| {
        get_at(pool, 8, A, 1);
        get_at(pool, 8, A, 2);
        let top = pool.top_sites(&mut [SiteInfo::default()]);
        assert_eq!((top.count, top.blocks, top.live_blocks), (1, 2, 2));
        assert_eq!(std::format!("{top}"), "Biggest call sites:");
    });
}

#[test]
fn light_tracking_names_return_addresses_across_a_window_of_code() {
    each_light(|pool| {
        // The second lies beyond a multiple of the window.
        let first = get_at(pool, 100, A, 0x40_0010);
        get_at(pool, 50, B, 0x80_0010);
        get_at(pool, 60, A, 0x80_0010);
        let large = get_at(pool, 5000, A, 0xbf_fffc);
        put(pool, first).unwrap();
        let mut sites = [SiteInfo::default(); 4];
        assert_eq!(pool.top_sites(&mut sites).count, 2);
        let of = |site: &SiteInfo| {
            (
                site.frames[0],
                site.depth,
                site.live_blocks,
                site.live_bytes,
            )
        };
        assert_eq!(of(&sites[0]), (0xbf_fffc, 1, 1, 5000));
        assert_eq!(of(&sites[1]), (0x80_0010, 1, 2, 110));
        assert_eq!(pool.block(large).unwrap().site, sites[0].id);
        assert_eq!(pool.site(sites[1].id), Some(sites[1]));
        assert_eq!(pool.account(A), (5060, 2));
        let stats = pool.stats().unwrap();
        assert_eq!((stats.num_get, stats.num_release), (4, 1));
        assert_eq!((stats.allocated, stats.max_allocated), (5110, 5210));
    });
}

#[test]
fn light_tracking_lists_sites_in_pieces_that_add_up() {
    each_light(|pool| {
        for n in 0..100 {
            get_at(pool, 20 + n, A, 0x40_0000 + 4 * (1 + n as u64 % 7));
        }
        let (mut sites, mut cursor, mut sums) = ([SiteInfo::default(); 3], 0, [(0, 0); 7]);
        loop {
            let (n, next) = pool.sites(cursor, &mut sites);
            for site in &sites[..n] {
                let sum = &mut sums[(site.frames[0] - 0x40_0004) as usize / 4];
                *sum = (sum.0 + site.live_blocks, sum.1 + site.live_bytes);
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        for (n, sum) in sums.into_iter().enumerate() {
            let sizes = (n..100).step_by(7).map(|n| 20 + n as u32);
            assert_eq!(sum, (sizes.clone().count() as u32, sizes.sum()));
        }
    });
}

#[test]
fn light_tracking_knows_ages_up_to_255_marks() {
    each_light(|pool| {
        pool.set_mark(300);
        get(pool, 1);
        pool.set_mark(400);
        get(pool, 2);
        pool.set_mark(555);
        get(pool, 4);
        let since = |mark| pool.group(Some(mark), &mut []).unwrap().bytes;
        assert_eq!((since(300), since(301), since(400)), (7, 6, 6));
        assert_eq!((since(401), since(555)), (4, 4));
        // Older by 256, which is taken for 0.
        pool.set_mark(556);
        assert_eq!(pool.group(Some(556), &mut []).unwrap().bytes, 1);
    });
}

#[test]
fn accounts_without_call_sites_have_figures_owners_and_whole_marks() {
    each_by(Tracking::Accounts, |pool| {
        pool.set_mark(0x1234);
        let blocks = [1, 2, 3].map(|n| get_at(pool, 100 * n, A, 0x40_0010));
        pool.set_mark(0x1334);
        get_at(pool, 50, B, 0x40_0020);
        put(pool, blocks[2]).unwrap();
        let stats = pool.stats().unwrap();
        assert_eq!((stats.allocated, stats.max_allocated), (350, 650));
        assert_eq!((stats.num_get, stats.num_release), (4, 1));
        assert_eq!((pool.account(A), pool.account(B)), ((300, 2), (50, 1)));
        let first = pool.block(blocks[0]).unwrap();
        assert_eq!((first.mark, first.site), (0x1234, SiteId(0)));
        let mut sites = [SiteInfo::default(); 2];
        let (mut cursor, mut held) = (0, 0);
        loop {
            let (n, next) = pool.sites(cursor, &mut sites);
            for site in &sites[..n] {
                assert_eq!((site.id, site.frames[0]), (SiteId(0), 0));
                held += site.live_bytes;
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(held, 350);
    });
}
