//! The first adapter, as if it were several cards: for tests.

use super::WgpuDevice;
use crate::segment::Share;
use crate::{OpenOptions, adapter, cards};

/// Cards that share the rows, and copy them from older columns however few they are; none, loudly, where there is no adapter.
pub(super) fn several(of: u32, segment_rows: u32, memory_bytes: Option<u64>) -> Vec<WgpuDevice> {
    let Some(first) = crate::adapters().into_iter().next() else {
        assert!(std::env::var("MATGENOME_REQUIRE_GPU").as_deref() != Ok("1"), "there is no adapter");
        #[allow(clippy::print_stderr)]
        {
            eprintln!("SKIPPED: no Vulkan, Metal or DX12 adapter");
        }
        return Vec::new();
    };
    let adapters = adapter::named(&first.name).unwrap();
    let options = OpenOptions { segment_rows: Some(segment_rows), memory_bytes };
    let card = |at| {
        let mut card = cards::open(&adapters[0], options).unwrap().with_cheap_copies();
        card.take(Share { at, of });
        card
    };
    (0..of).map(card).collect()
}

/// splitmix64: small, seeded, and the same everywhere.
pub(super) fn noise(at: usize) -> u64 {
    let mut x = (at as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^ (x >> 31)
}
