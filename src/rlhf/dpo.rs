//! Direct preference optimisation (Rafailov et al. 2023, equation 7), of comparisons of several candidates: the best
//! against each of the others, as TRL 1.16's `DPOTrainer` has it of each pair (`loss_type="sigmoid"`).

use super::ppo::inner_or_self;
use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Int, Tensor, TensorData};

/// Scalars `[1]`, means over pairs; only `total` is differentiated.
#[derive(Debug, Clone)]
pub struct Loss {
    /// -mean log σ(margin).
    pub total: Tensor<1>,
    /// Mean of the margins β (log π/ρ of the best - log π/ρ of the other).
    pub margin: Tensor<1>,
    /// Share of pairs whose margin is positive.
    pub accuracy: Tensor<1>,
}

/// `logprobs`, `ref_logprobs`: summed over each candidate's tokens under π and ρ, `[labels, candidates]`, two
/// candidates or more; `best`: `[labels]`, indices below `candidates`.
pub fn loss(logprobs: Tensor<2>, ref_logprobs: Tensor<2>, best: &[usize], beta: f64) -> Loss {
    let [n, candidates] = logprobs.dims();
    let device = logprobs.device();
    let rewards = (logprobs - ref_logprobs) * beta;
    let indices =
        |values: Vec<i32>, width: usize| Tensor::<2, Int>::from_data(TensorData::new(values, [n, width]), &device);
    let others = best.iter().flat_map(|b| (0..candidates).filter(move |c| c != b)).map(|c| c as i32).collect();
    let winners = best.iter().flat_map(|b| std::iter::repeat_n(*b as i32, candidates - 1)).collect();
    let of = |picked: Vec<i32>| rewards.clone().gather(1, indices(picked, candidates - 1));
    let margins = (of(winners) - of(others)).reshape([n * (candidates - 1)]);
    let plain = inner_or_self(margins.clone());
    Loss {
        total: log_sigmoid(margins).mean().neg(),
        margin: plain.clone().mean(),
        accuracy: plain.greater_elem(0.0).float().mean(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_by_hand() {
        let device = burn::tensor::Device::flex();
        let number = |t: Tensor<1>| t.into_data().try_to_vec::<f32>().unwrap()[0];
        let lp = Tensor::<2>::from_floats([[-1.0, -3.0, -2.0]], &device);
        let rf = Tensor::<2>::from_floats([[-2.0, -2.0, -2.0]], &device);
        // Log-ratios 1, -1, 0: the first is better by 2 and by 1, times β.
        let l = loss(lp.clone(), rf.clone(), &[0], 0.5);
        let wanted = ((1.0 + (-1.0f32).exp()).ln() + (1.0 + (-0.5f32).exp()).ln()) / 2.0;
        assert!((number(l.total) - wanted).abs() < 1e-6);
        assert!((number(l.margin) - 0.75).abs() < 1e-6 && number(l.accuracy) == 1.0);
        // The third is better than the second alone.
        assert!((number(loss(lp, rf.clone(), &[2], 0.5).accuracy) - 0.5).abs() < 1e-6);
        // π = ρ.
        assert!((number(loss(rf.clone(), rf, &[1], 3.0).total) - 2f32.ln()).abs() < 1e-6);
    }
}
