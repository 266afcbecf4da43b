//! Floating-point operations of a forward pass: two for each weight of a product and token, and causal attention's
//! pairs. A backward pass costs two forward passes (docs/benchmarks.md, "Roofline").

use crate::spec::Dimensions;

/// Of the blocks, for one sequence at its positions `from..to`: 24 L w² each, and 4 L w for each position that it sees.
pub fn body(d: &Dimensions, from: usize, to: usize) -> f64 {
    let (l, w) = (d.layers as f64, d.width as f64);
    let sum = |n: usize| n as f64 * (n as f64 + 1.0) / 2.0;
    24.0 * l * w * w * (to - from) as f64 + 4.0 * l * w * (sum(to) - sum(from))
}

/// Of the LM head at some positions.
pub fn head(d: &Dimensions, vocab: usize, positions: usize) -> f64 {
    2.0 * vocab as f64 * d.width as f64 * positions as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::ModelSize;

    #[test]
    fn a_forward_pass_of_gpt2_has_two_operations_per_weight_and_token() {
        let d = ModelSize::M124.dimensions();
        // All weights but biases, layer norms and position embeddings are in products: 123,532,032 of 124,439,808.
        let products = (12 * 12 * 768 * 768 + 50_257 * 768) as f64;
        let attention = 4.0 * 12.0 * 768.0 * (1024.0 * 1025.0 / 2.0);
        let whole = body(&d, 0, 1024) + head(&d, 50_257, 1024);
        assert_eq!(whole, 2.0 * products * 1024.0 + attention);
        // Read in two parts, a sequence costs the same.
        let parts = body(&d, 0, 500) + body(&d, 500, 1024);
        assert!((parts / body(&d, 0, 1024) - 1.0).abs() < 1e-12);
    }
}
