//! Guards against the authors' own bug (paper section 4.4): a refactor flipped the sign of the reward and of the KL penalty, and
//! training maximised the worst text all night. The first two guards compare what training uses with what it should use, computed
//! another way; neither knows how the code between is written. The third knows what a KL from samples can be by chance.

use crate::context::StageError;

/// Per-token rewards of (scores, logprobs, ref_logprobs, kl_coef), as training computes them.
pub type Rewards<'a> = dyn Fn(&[f32], &[Vec<f32>], &[Vec<f32>], f64) -> Vec<Vec<f32>> + 'a;

/// Largest relative error of a response's total reward; sums of hundreds of float32 stay below 1e-4.
const TOLERANCE: f64 = 1e-3;
/// Standard errors below zero at which an update counts as going the wrong way: by chance once in 30,000 updates that go
/// nowhere, and healthy updates lie far above zero.
const WRONG_WAY: f64 = 4.0;
/// Once in so many updates, at most, a batch's KL falls below [`lowest_kl`] by chance.
const UPDATES: f64 = 1e9;

/// A known answer, before the first update: at score 1, log π = -1, log ρ = -2 and β = 1/4 the total is 1 - 1/4 (1), and at
/// score -1 it is -1 - 1/4. π is ρ at first, so that no batch of the first update could show the penalty's sign.
pub fn known_rewards(rewards: &Rewards<'_>) -> Result<(), StageError> {
    let (logprobs, ref_logprobs) = (vec![vec![-0.5, -0.5]; 2], vec![vec![-0.75, -1.25]; 2]);
    let scores = [1.0, -1.0];
    total_rewards(&rewards(&scores, &logprobs, &ref_logprobs, 0.25), &scores, &logprobs, &ref_logprobs, 0.25)
}

/// The total reward of every response against score - β (log π(y|x) - log ρ(y|x)) from sums of its own.
pub fn total_rewards(
    rewards: &[Vec<f32>],
    scores: &[f32],
    logprobs: &[Vec<f32>],
    ref_logprobs: &[Vec<f32>],
    kl_coef: f64,
) -> Result<(), StageError> {
    let sum = |row: &Vec<f32>| row.iter().map(|v| f64::from(*v)).sum::<f64>();
    let rows = rewards.iter().zip(scores).zip(logprobs.iter().zip(ref_logprobs));
    let rows: Vec<(f64, f64, f64)> = rows
        .map(|((reward, score), (lp, rf))| (sum(reward), f64::from(*score), kl_coef * (sum(lp) - sum(rf))))
        .collect();
    // Largest error where the score counts with the sign a and the penalty with b.
    let error = |a: f64, b: f64| {
        let of = |(total, score, penalty): &(f64, f64, f64)| {
            (total - (a * score - b * penalty)).abs() / (1.0 + score.abs() + penalty.abs())
        };
        rows.iter().map(of).fold(0.0, |most: f64, e| if e.is_nan() { e } else { most.max(e) })
    };
    let found = error(1.0, 1.0);
    if found <= TOLERANCE {
        return Ok(());
    }
    let flipped =
        [(-1.0, 1.0, "r's score"), (1.0, -1.0, "the KL penalty"), (-1.0, -1.0, "r's score and the KL penalty")];
    let what = match flipped.iter().find(|(a, b, _)| error(*a, *b) <= TOLERANCE) {
        Some((_, _, what)) => format!("{what} counts with the wrong sign"),
        None => format!("they differ by {:.1}% of its parts", 100.0 * found),
    };
    Err(StageError::Guard {
        name: "reward_sign",
        message: format!(
            "a response's total reward is not r - β (log π - log ρ): {what}. This is an error in the program; nothing was learned from it"
        ),
    })
}

/// Correlation over responses of how far an update raised their log-probability (`moved`) with their total reward less
/// their mean value; `None` where one of them does not vary.
pub fn direction(moved: &[f64], rewards: &[Vec<f32>], values: &[Vec<f32>]) -> Option<f64> {
    let sum = |row: &[f32]| row.iter().map(|v| f64::from(*v)).sum::<f64>();
    let better = rewards.iter().zip(values).map(|(r, v)| sum(r) - sum(v) / v.len().max(1) as f64);
    let pairs: Vec<(f64, f64)> = moved.iter().copied().zip(better).filter(|(m, _)| m.is_finite()).collect();
    let n = pairs.len() as f64;
    let (mx, my) = pairs.iter().fold((0.0, 0.0), |(x, y), (a, b)| (x + a / n, y + b / n));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in &pairs {
        xy += (x - mx) * (y - my);
        xx += (x - mx).powi(2);
        yy += (y - my).powi(2);
    }
    let correlation = xy / (xx * yy).sqrt();
    correlation.is_finite().then_some(correlation)
}

/// Err: the update raised the log-probability of responses with low rewards. `n`: responses of the batch.
pub fn right_way(direction: f64, n: usize) -> Result<(), StageError> {
    if direction * (n as f64).sqrt() >= -WRONG_WAY {
        return Ok(());
    }
    Err(StageError::Guard {
        name: "wrong_way",
        message: format!(
            "the update made responses likelier that have low rewards (correlation {direction:.2} over {n} responses, and it should be positive): a sign between reward and loss is wrong"
        ),
    })
}

/// How far below zero the KL of a batch of `n` responses may be: `limit` nats, or what chance alone does to a small batch.
/// Responses y of π have E[ρ(y)/π(y)] = 1, so that the sum S of log π(y) - log ρ(y) over n of them has E[exp(-S)] = 1, and by
/// Markov's inequality P(S <= -a) <= exp(-a), whatever π and ρ are: the mean S/n is below -ln(10⁹)/n once in 10⁹ updates.
pub fn lowest_kl(limit: f64, n: usize) -> f64 {
    -limit.max(UPDATES.ln() / n.max(1) as f64)
}

/// Err: a batch's KL is lower than π's own samples can make it.
pub fn possible_kl(kl: f64, limit: f64, n: usize) -> Result<(), StageError> {
    let lowest = lowest_kl(limit, n);
    if kl >= lowest {
        return Ok(());
    }
    Err(StageError::Guard {
        name: "negative_kl",
        message: format!(
            "KL is {kl:.3} nats over {n} responses, and chance makes it no lower than {lowest:.3}: sampling and log-probabilities do not belong together"
        ),
    })
}

/// Flips signs on purpose, in tests alone: what the guards are for.
#[cfg(test)]
pub mod flip {
    use std::cell::Cell;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Flip {
        Score,
        Penalty,
        Advantages,
    }

    thread_local! {
        /// Of the thread that trains.
        pub static FLIP: Cell<Option<Flip>> = const { Cell::new(None) };
    }

    pub fn is(flip: Flip) -> bool {
        FLIP.get() == Some(flip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rlhf::advantages::token_rewards;

    #[test]
    fn flipped_signs_are_told_apart() {
        known_rewards(&token_rewards).unwrap();
        let message = |rewards: &Rewards<'_>| known_rewards(rewards).unwrap_err().to_string();
        let negated = |scores: &[f32]| scores.iter().map(|s| -s).collect::<Vec<_>>();
        assert!(message(&|s, l, r, b| token_rewards(&negated(s), l, r, b)).contains("r's score counts with the wrong"));
        assert!(message(&|s, l, r, b| token_rewards(s, l, r, -b)).contains("the KL penalty counts with the wrong"));
        assert!(message(&|s, l, r, b| token_rewards(&negated(s), l, r, -b)).contains("score and the KL penalty"));
        assert!(message(&|s, l, r, b| token_rewards(s, l, r, 2.0 * b)).contains("differ by"));
        assert!(known_rewards(&|_, l, _, _| vec![vec![f32::NAN; 2]; l.len()]).is_err());
    }

    #[test]
    fn the_way_of_an_update_is_the_correlation_with_what_it_should_raise() {
        let rewards = [vec![0.0, 1.0], vec![0.0, -1.0], vec![0.0, 3.0]];
        let values = [vec![0.5, 0.5], vec![0.5, 0.5], vec![0.5, 0.5]];
        assert!((direction(&[0.1, -0.1, 0.3], &rewards, &values).unwrap() - 1.0).abs() < 1e-6);
        assert!((direction(&[-0.1, 0.1, -0.3], &rewards, &values).unwrap() + 1.0).abs() < 1e-6);
        assert_eq!(direction(&[0.0; 3], &rewards, &values), None);
        assert!(right_way(-0.1, 512).is_ok() && right_way(-0.5, 512).is_err());
    }

    #[test]
    fn noise_of_small_batches_is_no_negative_kl_and_a_mismatch_is() {
        // Seen in healthy runs with batches of 8 responses.
        assert!(possible_kl(-0.556, 0.5, 8).is_ok() && possible_kl(-2.5, 0.5, 8).is_ok());
        assert!(possible_kl(-0.556, 0.5, 512).is_err() && possible_kl(-3.0, 0.5, 8).is_err());
        assert!(possible_kl(-0.49, 0.5, 512).is_ok() && possible_kl(-2.0, 4.0, 512).is_ok());
        let message = possible_kl(-3.0, 0.5, 8).unwrap_err().to_string();
        assert!(
            message.contains("-3.000 nats over 8 responses") && message.contains("no lower than -2.590"),
            "{message}"
        );
    }

    #[test]
    fn samples_of_the_policy_pass_and_samples_of_another_model_do_not() {
        use rand::{RngExt, SeedableRng};
        // Two distributions over 6 tokens; responses of 20.
        let (pi, rho) = ([0.4, 0.2, 0.2, 0.1, 0.05, 0.05], [0.1, 0.1, 0.1, 0.2, 0.25, 0.25f64]);
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let mut kl = |from: &[f64; 6], n: usize| {
            let mut one = || {
                let mut u: f64 = rng.random();
                let token = from
                    .iter()
                    .position(|p| {
                        u -= p;
                        u < 0.0
                    })
                    .unwrap_or(5);
                (pi[token] / rho[token]).ln()
            };
            (0..20 * n).map(|_| one()).sum::<f64>() / n as f64
        };
        for n in [1, 2, 8, 64] {
            assert!((0..2_000).all(|_| possible_kl(kl(&pi, n), 0.5, n).is_ok()), "{n}");
        }
        assert!((0..100).all(|_| possible_kl(kl(&rho, 8), 0.5, 8).is_err()));
    }
}
