//! What of the processor numbers depend on: sums in the lanes of another vector, or in blocks of another length, round
//! differently.

use crate::vectors::{Level, detected, level};
use gemm_common::cache::kernel_params;

/// Rows and columns of `gemm`'s kernel for f32 with AVX2 and FMA. The length of its blocks hardly depends on them.
const KERNEL: (usize, usize) = (16, 6);
/// A sum so long that `gemm` does not make its blocks shorter to have equal ones.
const LONG: usize = 1 << 20;

/// A word for all processors on which a run gives the same bytes, such as `avx512, blocks of 512`: what our loops use
/// (see `level`), what burn's and `gemm`'s find where that is more, the architecture where it is another, and how long
/// a sum `gemm` takes at once, which it makes of the first cache's size and ways.
pub fn processor() -> String {
    let word = |level: Level| match level {
        Level::Portable => "portable",
        Level::Avx2 => "avx2",
        Level::Avx512 => "avx512",
    };
    let (used, found) = (level(), detected());
    let mut text = word(used).to_string();
    if used != found {
        text += &format!(" of {}", word(found));
    }
    if std::env::consts::ARCH != "x86_64" {
        text += &format!(" {}", std::env::consts::ARCH);
    }
    let block = kernel_params(LONG, LONG, LONG, KERNEL.0, KERNEL.1, size_of::<f32>()).kc;
    format!("{text}, blocks of {block}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_names_the_level_and_a_length_that_a_block_can_have() {
        let word = processor();
        let (level, block) = word.split_once(", blocks of ").unwrap();
        assert!(["portable", "avx2", "avx512"].iter().any(|known| level.starts_with(known)), "{word}");
        assert!((512..=LONG).contains(&block.parse().unwrap()), "{word}");
    }
}
