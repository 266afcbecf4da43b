//! How many labels online collection wants by an episode (paper section 2.3; the released code has no online
//! collection).

/// l(n) = N₀ + (N_r - N₀) (1 - (1 - n/N_π)²): labels wanted by episode n = `at`, from N₀ = `initial` before the
/// first episode to N_r = `total` at N_π = `episodes`, most of them early. `at` is clamped to `0..=episodes`.
/// The result is not rounded; a collector that needs whole labels rounds up.
pub fn label_schedule(initial: f64, total: f64, episodes: f64, at: f64) -> f64 {
    let left = 1.0 - (at / episodes).clamp(0.0, 1.0);
    initial + (total - initial) * (1.0 - left * left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_at_the_initial_labels_ends_at_all_and_has_three_quarters_half_way() {
        let at = |n| label_schedule(1000.0, 5000.0, 2e6, n);
        assert_eq!((at(0.0), at(1e6), at(2e6), at(3e6)), (1000.0, 4000.0, 5000.0, 5000.0));
    }
}
