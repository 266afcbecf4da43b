//! Every guard of RL: what it watches, its limit, and what it says when it stops a run. The report reads the same list.
//!
//! Two of them watch for the authors' own bug (paper section 4.4): a refactor flipped the sign of the reward and of the
//! KL penalty, and training maximised the worst text all night. They compare what training uses with what it should
//! use, computed another way, and do not know how the code between is written.

use super::{Rewards, Settings, Statistics};
use crate::context::StageError;
use crate::results::{MetricsLine, name};
use crate::spec::{GuardsSpec, KlSchedule, PolicySpec};

/// A guard that compares a number of every update with a limit.
#[derive(Debug)]
pub struct Guard {
    /// As stops.jsonl has it.
    pub name: &'static str,
    /// What a reader calls the number.
    pub watches: &'static str,
    /// The metric, and 1 or -1: its sign in the comparison with the limit.
    pub metric: &'static str,
    /// 1 where large values are wrong, -1 where small ones are.
    pub sign: f64,
    /// The same number of a metrics line.
    value: fn(&MetricsLine) -> Option<f64>,
    /// The largest value that is allowed; None where the spec does not ask for the guard.
    pub limit: fn(&Limits<'_>) -> Option<f64>,
    /// Of a value (without the sign) beyond the limit.
    message: fn(f64, &Limits<'_>) -> String,
}

/// What limits depend on.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// For the KL target and the number of responses.
    pub policy: &'a PolicySpec,
    /// What the spec allows.
    pub guards: &'a GuardsSpec,
}

/// In the order in which they are asked, after `finite`.
pub const GUARDS: [Guard; 4] = [
    Guard {
        name: "ratio",
        watches: "ratio of the first minibatch from 1",
        metric: name::RATIO_ERROR,
        sign: 1.0,
        value: |line| Some(line.ratio_error),
        limit: |l| Some(l.guards.ratio_tolerance),
        message: |value, l| {
            format!(
                "the probability ratio on the first minibatch is off 1 by {value:.2e} (allowed {:.0e}): cached sampling and the full pass disagree on this device; try --device cpu",
                l.guards.ratio_tolerance
            )
        },
    },
    Guard {
        name: "wrong_way",
        watches: "correlation of an update with rewards, below zero",
        metric: name::DIRECTION,
        sign: -1.0,
        value: |line| line.direction,
        limit: |l| Some(WRONG_WAY / (l.policy.batch_size as f64).sqrt()),
        message: |value, l| {
            format!(
                "the update made responses likelier that have low rewards (correlation {value:.2} over {} responses, and it should be positive): a sign between reward and loss is wrong, or, where updates before it went right, training has become unstable; lower policy.lr or raise policy.kl.init then",
                l.policy.batch_size
            )
        },
    },
    Guard {
        name: "negative_kl",
        watches: "KL below zero, nats",
        metric: name::KL,
        sign: -1.0,
        value: |line| Some(line.kl),
        limit: |l| Some(-lowest_kl(l.guards.negative_kl, l.policy.batch_size)),
        message: |value, l| {
            format!(
                "KL is {value:.3} nats over {} responses, and chance makes it no lower than {:.3}: sampling and log-probabilities do not belong together",
                l.policy.batch_size,
                lowest_kl(l.guards.negative_kl, l.policy.batch_size)
            )
        },
    },
    Guard {
        name: "kl",
        watches: "KL above its target, nats",
        metric: name::KL,
        sign: 1.0,
        value: |line| Some(line.kl),
        limit: |l| {
            let target = l.policy.kl.schedule == KlSchedule::Adaptive;
            target.then_some(l.guards.kl_times_target * l.policy.kl.target)
        },
        message: |value, l| {
            format!(
                "KL is {value:.2} nats, more than {} times its target {}; raise policy.kl.init or lower policy.lr",
                l.guards.kl_times_target, l.policy.kl.target
            )
        },
    },
];

impl Guard {
    fn check(&self, line: &MetricsLine, limits: &Limits<'_>) -> Result<(), StageError> {
        match ((self.value)(line), (self.limit)(limits)) {
            (Some(value), Some(limit)) if self.sign * value > limit => {
                Err(StageError::Guard { name: self.name, message: (self.message)(value, limits) })
            }
            _ => Ok(()),
        }
    }
}

/// What must be true after every update; the authors' andon cord, pulled by the program.
pub fn check(settings: &Settings<'_>, line: &MetricsLine, statistics: &Statistics) -> Result<(), StageError> {
    finite(line, statistics)?;
    let limits = Limits { policy: settings.policy, guards: settings.guards };
    GUARDS.iter().try_for_each(|guard| guard.check(line, &limits))
}

/// KL and statistics are numbers.
fn finite(line: &MetricsLine, statistics: &Statistics) -> Result<(), StageError> {
    if line.kl.is_finite() && statistics.is_finite() {
        return Ok(());
    }
    let message = format!("a number is not finite (KL {}, loss {}); lower policy.lr", line.kl, statistics.loss_total);
    Err(StageError::Guard { name: "nan", message })
}

/// Largest relative error of a response's total reward; sums of hundreds of float32 stay below 1e-4.
const TOLERANCE: f64 = 1e-3;
/// Standard errors below zero at which an update counts as going the wrong way: by chance once in 30,000 updates that
/// go nowhere, and healthy updates lie far above zero.
const WRONG_WAY: f64 = 4.0;
/// Once in so many updates, at most, a batch's KL falls below [`lowest_kl`] by chance.
const UPDATES: f64 = 1e9;

/// A known answer, before the first update: at score 1, log π = -1, log ρ = -2 and β = 1/4 the total is 1 - 1/4 (1),
/// and at score -1 it is -1 - 1/4. π is ρ at first, so that no batch of the first update could show the penalty's sign.
pub fn known_rewards(rewards: Rewards) -> Result<(), StageError> {
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
/// their mean value; `None` where one of them does not vary. Nor is there a direction where all have one score, as where
/// none has the truncation token: their rewards differ by noise of KL then, which an update need not follow.
pub fn direction(moved: &[f64], scores: &[f32], rewards: &[Vec<f32>], values: &[Vec<f32>]) -> Option<f64> {
    if scores.windows(2).all(|pair| pair[0] == pair[1]) {
        return None;
    }
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

/// How far below zero the KL of a batch of `n` responses may be: `limit` nats, or what chance alone does to a small
/// batch. Responses y of π have E[ρ(y)/π(y)] = 1, so that the sum S of log π(y) - log ρ(y) over n of them has
/// E[exp(-S)] = 1, and by Markov's inequality P(S <= -a) <= exp(-a), whatever π and ρ are: the mean S/n is below
/// -ln(10⁹)/n once in 10⁹ updates.
pub fn lowest_kl(limit: f64, n: usize) -> f64 {
    -limit.max(UPDATES.ln() / n.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rlhf::advantages::token_rewards;

    fn negated(scores: &[f32]) -> Vec<f32> {
        scores.iter().map(|s| -s).collect()
    }

    /// What the guard of this name says of a value in a batch of `n` responses, at the default limits.
    fn said(name: &str, value: f64, n: usize, guards: GuardsSpec) -> Result<(), StageError> {
        let policy = PolicySpec { batch_size: n, ..PolicySpec::default() };
        let line = MetricsLine { kl: value, direction: Some(value), ..MetricsLine::default() };
        let guard = GUARDS.iter().find(|guard| guard.name == name).unwrap();
        guard.check(&line, &Limits { policy: &policy, guards: &guards })
    }

    fn possible_kl(value: f64, limit: f64, n: usize) -> Result<(), StageError> {
        said("negative_kl", value, n, GuardsSpec { negative_kl: limit, ..GuardsSpec::default() })
    }

    #[test]
    fn flipped_signs_are_told_apart() {
        known_rewards(token_rewards).unwrap();
        let message = |rewards: Rewards| known_rewards(rewards).unwrap_err().to_string();
        assert!(message(|s, l, r, b| token_rewards(&negated(s), l, r, b)).contains("r's score counts with the wrong"));
        assert!(message(|s, l, r, b| token_rewards(s, l, r, -b)).contains("the KL penalty counts with the wrong"));
        assert!(message(|s, l, r, b| token_rewards(&negated(s), l, r, -b)).contains("score and the KL penalty"));
        assert!(message(|s, l, r, b| token_rewards(s, l, r, 2.0 * b)).contains("differ by"));
        assert!(known_rewards(|_, l, _, _| vec![vec![f32::NAN; 2]; l.len()]).is_err());
    }

    #[test]
    fn the_way_of_an_update_is_the_correlation_with_what_it_should_raise() {
        let (scores, rewards) = ([1.0, -1.0, 3.0], [vec![0.0, 1.0], vec![0.0, -1.0], vec![0.0, 3.0]]);
        let values = [vec![0.5, 0.5], vec![0.5, 0.5], vec![0.5, 0.5]];
        assert!((direction(&[0.1, -0.1, 0.3], &scores, &rewards, &values).unwrap() - 1.0).abs() < 1e-6);
        assert!((direction(&[-0.1, 0.1, -0.3], &scores, &rewards, &values).unwrap() + 1.0).abs() < 1e-6);
        assert_eq!(direction(&[0.0; 3], &scores, &rewards, &values), None);
        assert_eq!(direction(&[0.1, -0.1, 0.3], &[-1.0; 3], &rewards, &values), None);
        let way = |value| said("wrong_way", value, 512, GuardsSpec::default());
        assert!(way(-0.1).is_ok() && way(-0.5).is_err());
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
