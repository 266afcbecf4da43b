//! The frontier of figure 3, best score against KL(π, ρ), from samples of ρ and of trained policies together.
//!
//! The optimum for a coefficient β is π_β(y|x) ∝ ρ(y|x) exp(r(x,y)/β). Samples of ρ alone show it only while
//! KL(π_β, ρ) is below about the log of their number. Samples of several policies whose probabilities are all known
//! are samples of their mixture m(y|x) = Σ_k (n_k/N) q_k(y|x), each weighted with ρ exp(r/β) / m: multiple importance
//! sampling by the balance heuristic (Veach and Guibas 1995; Owen and Zhou 2000), which is MBAR (Shirts and Chodera
//! 2008) where all normalisers but the optimum's are known. Of each query x, with N samples and Z = E_m[ρ exp(r/β) / m],
//!
//! - reward of π_β: Σ w r / Σ w, and log Z: the log of Σ w over Σ ρ/m, so that Z of β = ∞ is 1 whatever was drawn; both
//!   less their bias of first order in 1/N;
//! - KL(π_β, ρ) = reward/β - log Z.
//!
//! Means over queries give the curve. At a KL κ it is min over β of β (κ + mean log Z) (Lagrange duality), and any β
//! bounds it from above, so that something is known beyond the last β that the samples show, too.
//!
//! A response is cut where its score no longer looks at it, and its probabilities are those of what is left: behind the
//! cut π_β writes as ρ does, so that neither KL nor reward changes, and weights vary less.

use crate::metric::interval::{expanded_percentiles, resamples};

/// Samples of one query, of all writers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QuerySamples {
    /// Who wrote each; writers are numbered from 0, and 0 is ρ.
    pub writer: Vec<usize>,
    /// r of each.
    pub rewards: Vec<f64>,
    /// Log-probability of each under every writer: `[samples][writers]`.
    pub logprobs: Vec<Vec<f64>>,
}

/// One query at one β.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct QueryOptimum {
    /// Log of E_ρ exp(r/β).
    pub log_z: f64,
    /// Mean reward of the optimum.
    pub reward: f64,
    /// KL(optimum, ρ) in nats.
    pub kl: f64,
    /// Σ p² of the normalised weights p: one over Kish's effective sample size.
    pub concentration: f64,
}

/// The optimum at one β over all queries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimumPoint {
    /// KL coefficient, in units of the reward.
    pub beta: f64,
    /// KL(optimum, ρ) in nats.
    pub kl: f64,
    /// 95% bootstrap interval of `kl` over queries.
    pub kl_interval: (f64, f64),
    /// Mean reward.
    pub reward: f64,
    /// 95% bootstrap interval over queries of the best reward at this KL.
    pub reward_interval: (f64, f64),
    /// Effective samples per query: one over the mean over queries of Σ p².
    pub effective: f64,
}

/// A policy beside the curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distance {
    /// The policy's KL(π, ρ) in nats.
    pub kl: f64,
    /// Its mean reward.
    pub reward: f64,
    /// Best reward at its KL less its own; none beyond the curve.
    pub below: Option<f64>,
    /// 95% interval of it; beyond the curve, between what is surely possible (the curve's last reward) and what is surely
    /// impossible (the tangent at its end), each with its own uncertainty.
    pub interval: (f64, f64),
}

/// What is known of the curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// By falling β, those that samples show: the effective number of samples is large enough for each.
    pub points: Vec<OptimumPoint>,
    /// The first β that they do not show, with estimates that are not to be trusted.
    pub lost: Option<OptimumPoint>,
    /// Of each policy, in the order given.
    pub distances: Vec<Distance>,
}

/// Effective samples per query below which the curve ends: the corrected bias is of the order of 1/n² there, below the
/// intervals (the test on an enumerable toy, `intervals_hold_the_truth`).
pub const LEAST_EFFECTIVE: f64 = 10.0;

/// Log of ρ over the mixture of all writers, by how many samples each gave: `[samples]`.
fn log_ratios(samples: &QuerySamples) -> Vec<f64> {
    let total = samples.writer.len() as f64;
    let writers = samples.logprobs.first().map_or(0, Vec::len);
    let count = |k: usize| samples.writer.iter().filter(|w| **w == k).count() as f64;
    let shares: Vec<f64> = (0..writers).map(|k| (count(k) / total).ln()).collect();
    let one = |logprobs: &Vec<f64>| logprobs[0] - log_sum(logprobs.iter().zip(&shares).map(|(lp, share)| lp + share));
    samples.logprobs.iter().map(one).collect()
}

/// Log of the sum of exponentials.
fn log_sum(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest.is_finite() { largest + logs.map(|l| (l - largest).exp()).sum::<f64>().ln() } else { largest }
}

/// The optimum of one query at each β. Variances within writers, of which each gave a fixed number of samples, take the
/// bias of first order from log Z (delta method; its derivative is the reward's).
pub fn query_optimum(samples: &QuerySamples, betas: &[f64]) -> Vec<QueryOptimum> {
    let ratios = log_ratios(samples);
    let writers = samples.logprobs.first().map_or(0, Vec::len);
    let of_writer: Vec<Vec<usize>> =
        (0..writers).map(|k| (0..ratios.len()).filter(|i| samples.writer[*i] == k).collect()).collect();
    betas.iter().map(|beta| at(samples, &ratios, &of_writer, *beta)).collect()
}

fn at(samples: &QuerySamples, ratios: &[f64], of_writer: &[Vec<usize>], beta: f64) -> QueryOptimum {
    let logs: Vec<f64> = ratios.iter().zip(&samples.rewards).map(|(w, r)| w + r / beta).collect();
    let all = log_sum(logs.iter().copied());
    let p: Vec<f64> = logs.iter().map(|l| (l - all).exp()).collect();
    let reward: f64 = p.iter().zip(&samples.rewards).map(|(p, r)| p * r).sum();
    // The same for β = ∞.
    let none = log_sum(ratios.iter().copied());
    let q: Vec<f64> = ratios.iter().map(|l| (l - none).exp()).collect();
    let (mut variance, mut covariance) = (0.0, 0.0);
    for members in of_writer.iter().filter(|members| members.len() > 1) {
        let n = members.len() as f64;
        let pr = |i: usize| p[i] * (samples.rewards[i] - reward);
        let mean = |of: &dyn Fn(usize) -> f64| members.iter().map(|i| of(*i)).sum::<f64>() / n;
        let (of_p, of_q, of_r) = (mean(&|i| p[i]), mean(&|i| q[i]), mean(&pr));
        let square = |i: usize| (p[i] - of_p).powi(2) - (q[i] - of_q).powi(2);
        variance += n * n / (n - 1.0) * mean(&square);
        covariance += n * n / (n - 1.0) * mean(&|i| (p[i] - of_p) * (pr(i) - of_r));
    }
    let log_z = all - none + 0.5 * variance;
    let reward = reward + covariance;
    QueryOptimum { log_z, reward, kl: reward / beta - log_z, concentration: p.iter().map(|p| p * p).sum() }
}

/// Weighted mean over queries.
fn mean(weights: &[f64], of: impl Fn(usize) -> f64) -> f64 {
    weights.iter().enumerate().map(|(i, w)| w * of(i)).sum()
}

/// Best reward at a KL: the least of β (κ + log Z) over the β of a grid, refined by a parabola in log β through the
/// least and its neighbours.
fn best_at(kl: f64, betas: &[f64], log_z: &[f64]) -> f64 {
    let values: Vec<f64> = betas.iter().zip(log_z).map(|(beta, z)| beta * (kl + z)).collect();
    let least = (0..values.len()).min_by(|a, b| values[*a].total_cmp(&values[*b])).unwrap_or(0);
    if least == 0 || least + 1 >= values.len() {
        return values.get(least).copied().unwrap_or(f64::NAN);
    }
    let offset = |i: usize| (betas[i] / betas[least]).ln();
    let (before, after) = (offset(least - 1), offset(least + 1));
    // Values less the least are slope u + curvature u² of the offset u.
    let (f, g) = ((values[least - 1] - values[least]) / before, (values[least + 1] - values[least]) / after);
    let curvature = (f - g) / (before - after);
    let slope = f - curvature * before;
    if curvature > 0.0 { values[least] - slope * slope / (4.0 * curvature) } else { values[least] }
}

/// The curve and the policies' distances from it. `betas` fall; `policies`: mean reward and KL of each policy at each
/// query, `[policies][queries]`, whose queries are resampled together with the curve's.
pub fn curve(queries: &[QuerySamples], betas: &[f64], policies: &[Vec<(f64, f64)>], seed: u64) -> Curve {
    let found: Vec<Vec<QueryOptimum>> = queries.iter().map(|q| query_optimum(q, betas)).collect();
    let n = queries.len();
    let even = vec![1.0 / n.max(1) as f64; n];
    let effective = |j: usize| 1.0 / mean(&even, |i| found[i][j].concentration);
    let shown =
        (0..betas.len()).position(|j| effective(j).is_nan() || effective(j) < LEAST_EFFECTIVE).unwrap_or(betas.len());
    let estimate = |weights: &[f64]| Estimate::of(weights, &found, &betas[..shown], policies);
    let middle = estimate(&even);
    let draws: Vec<Estimate> = resamples(n, seed).map(|weights| estimate(&weights)).collect();
    let interval = |of: &dyn Fn(&Estimate) -> f64| expanded_percentiles(draws.iter().map(of).collect(), n);
    let point = |j: usize| OptimumPoint {
        beta: betas[j],
        kl: mean(&even, |i| found[i][j].kl),
        kl_interval: (f64::NAN, f64::NAN),
        reward: mean(&even, |i| found[i][j].reward),
        reward_interval: (f64::NAN, f64::NAN),
        effective: effective(j),
    };
    let points = (0..shown).map(|j| {
        let point = point(j);
        let kl_interval = interval(&|e| e.kl[j]);
        let reward_interval = interval(&|e| best_at(point.kl, &betas[..shown], &e.log_z));
        OptimumPoint { kl_interval, reward_interval, ..point }
    });
    let distances = (0..policies.len()).map(|k| {
        let (reward, kl) = middle.policies[k];
        let beyond = middle.kl.last().is_none_or(|last| kl > *last);
        let interval = match beyond {
            false => interval(&|e| e.best(k, &betas[..shown]) - e.policies[k].0),
            true => (
                interval(&|e| e.reward.last().map_or(f64::NAN, |last| last - e.policies[k].0)).0,
                interval(&|e| e.best(k, &betas[..shown]) - e.policies[k].0).1,
            ),
        };
        let below = (!beyond).then(|| middle.best(k, &betas[..shown]) - reward);
        Distance { kl, reward, below, interval }
    });
    Curve {
        points: points.collect(),
        distances: distances.collect(),
        lost: (shown < betas.len()).then(|| point(shown)),
    }
}

/// Means over one choice of queries.
struct Estimate {
    /// At each β.
    log_z: Vec<f64>,
    kl: Vec<f64>,
    reward: Vec<f64>,
    /// Reward and KL of each policy.
    policies: Vec<(f64, f64)>,
}

impl Estimate {
    fn of(weights: &[f64], found: &[Vec<QueryOptimum>], betas: &[f64], policies: &[Vec<(f64, f64)>]) -> Self {
        let at = |of: fn(&QueryOptimum) -> f64| (0..betas.len()).map(|j| mean(weights, |i| of(&found[i][j]))).collect();
        let policy = |values: &Vec<(f64, f64)>| (mean(weights, |i| values[i].0), mean(weights, |i| values[i].1));
        Self {
            log_z: at(|q| q.log_z),
            kl: at(|q| q.kl),
            reward: at(|q| q.reward),
            policies: policies.iter().map(policy).collect(),
        }
    }

    /// Best reward at policy `k`'s KL.
    fn best(&self, k: usize, betas: &[f64]) -> f64 {
        best_at(self.policies[k].1, betas, &self.log_z)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rlhf::optimum::optimum;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const BETAS: [f64; 17] =
        [4.0, 3.0, 2.2, 1.7, 1.3, 1.0, 0.85, 0.7, 0.6, 0.5, 0.43, 0.37, 0.32, 0.28, 0.24, 0.21, 0.18];
    /// Samples of each writer.
    const EACH: usize = 32;
    /// Queries of one experiment.
    const QUERIES: usize = 32;

    /// A query with so few responses that everything about it is known by summation.
    struct Toy {
        rewards: Vec<f64>,
        /// Probabilities of the responses under each writer, ρ first.
        writers: Vec<Vec<f64>>,
    }

    fn normal(rng: &mut ChaCha8Rng) -> f64 {
        let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    fn tilted(rho: &[f64], rewards: &[f64], beta: f64) -> Vec<f64> {
        let logs: Vec<f64> = rho.iter().zip(rewards).map(|(p, r)| p.ln() + r / beta).collect();
        let all = log_sum(logs.iter().copied());
        logs.iter().map(|l| (l - all).exp()).collect()
    }

    impl Toy {
        /// 400 responses of very different probability. Writers other than ρ are optima of a reward that is wrong by half
        /// a standard deviation, as trained policies are.
        fn new(rng: &mut ChaCha8Rng) -> Self {
            let rewards: Vec<f64> = (0..400).map(|_| normal(rng)).collect();
            let flat = vec![1.0 / 400.0; 400];
            let rho = tilted(&flat, &(0..400).map(|_| normal(rng)).collect::<Vec<_>>(), 0.6);
            let mut policy = |beta: f64| {
                let wrong: Vec<f64> = rewards.iter().map(|r| r + 0.5 * normal(rng)).collect();
                tilted(&rho, &wrong, beta)
            };
            let policies = [policy(1.0), policy(0.5), policy(0.3)];
            Self { rewards, writers: std::iter::once(rho).chain(policies).collect() }
        }

        /// Mean reward and KL to ρ of a distribution.
        fn of(&self, p: &[f64]) -> (f64, f64) {
            let pairs = p.iter().zip(&self.rewards).zip(&self.writers[0]);
            pairs.fold((0.0, 0.0), |(reward, kl), ((p, r), rho)| {
                (reward + p * r, kl + if *p > 0.0 { p * (p / rho).ln() } else { 0.0 })
            })
        }

        fn draw(&self, rng: &mut ChaCha8Rng, counts: &[usize]) -> QuerySamples {
            let mut samples = QuerySamples::default();
            for (k, count) in counts.iter().enumerate() {
                for _ in 0..*count {
                    let mut u: f64 = rng.random();
                    let found = self.writers[k].iter().position(|p| {
                        u -= p;
                        u < 0.0
                    });
                    let y = found.unwrap_or(self.rewards.len() - 1);
                    samples.writer.push(k);
                    samples.rewards.push(self.rewards[y]);
                    samples.logprobs.push(self.writers.iter().map(|q| q[y].ln()).collect());
                }
            }
            samples
        }

        /// Reward and KL of policy `k` (from 1) by its own samples.
        fn ends(samples: &QuerySamples, k: usize) -> (f64, f64) {
            let own = || (0..samples.writer.len()).filter(|i| samples.writer[*i] == k);
            let n = own().count() as f64;
            let kl = |i: usize| samples.logprobs[i][k] - samples.logprobs[i][0];
            (own().map(|i| samples.rewards[i]).sum::<f64>() / n, own().map(kl).sum::<f64>() / n)
        }
    }

    /// Mean over queries, and how many standard errors it is from the truth.
    fn errors(values: &[f64], truth: f64) -> f64 {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean - truth) / (variance / n).sqrt()
    }

    fn even(n: usize) -> Vec<f64> {
        vec![1.0 / n as f64; n]
    }

    /// The exact curve of a population, reward and KL at each β, and log Z.
    fn exact(toys: &[Toy], betas: &[f64]) -> Vec<(f64, f64, f64)> {
        let one = |beta: &f64| {
            let of = |toy: &Toy| {
                let (reward, kl) = toy.of(&tilted(&toy.writers[0], &toy.rewards, *beta));
                (reward, kl, reward / beta - kl)
            };
            let found: Vec<_> = toys.iter().map(of).collect();
            let w = even(found.len());
            (mean(&w, |i| found[i].0), mean(&w, |i| found[i].1), mean(&w, |i| found[i].2))
        };
        betas.iter().map(one).collect()
    }

    #[test]
    fn intervals_hold_the_truth_and_nothing_is_biased_where_samples_of_the_reference_are() {
        const EXPERIMENTS: usize = 200;
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let toys: Vec<Toy> = (0..300).map(|_| Toy::new(&mut rng)).collect();
        let fine: Vec<f64> = (0..400).map(|i| 4.0 * 0.99f64.powi(i)).collect();
        let fine_z: Vec<f64> = exact(&toys, &fine).iter().map(|p| p.2).collect();
        let truth = exact(&toys, &BETAS);
        let ends: Vec<Vec<(f64, f64)>> =
            (1..4).map(|k| toys.iter().map(|toy| toy.of(&toy.writers[k])).collect()).collect();
        let w = even(toys.len());
        let policies: Vec<(f64, f64)> = ends.iter().map(|e| (mean(&w, |i| e[i].0), mean(&w, |i| e[i].1))).collect();
        let (mut kls, mut rewards, mut old_kls, mut old_rewards) = (vec![], vec![], vec![], vec![]);
        let (mut held, mut asked, mut reached) = ([0usize; 3], [0usize; 3], f64::INFINITY);
        for seed in 0..EXPERIMENTS as u64 {
            let picked: Vec<usize> = (0..QUERIES).map(|_| rng.random_range(0..toys.len())).collect();
            let samples: Vec<QuerySamples> = picked.iter().map(|i| toys[*i].draw(&mut rng, &[EACH; 4])).collect();
            let own: Vec<Vec<(f64, f64)>> = (1..4).map(|k| samples.iter().map(|s| Toy::ends(s, k)).collect()).collect();
            let curve = curve(&samples, &BETAS, &own, seed);
            let mut ask = |which: usize, (low, high): (f64, f64), truth: f64| {
                asked[which] += 1;
                held[which] += usize::from(low <= truth && truth <= high);
            };
            for (point, truth) in curve.points.iter().zip(&truth) {
                ask(0, point.kl_interval, truth.1);
                ask(1, point.reward_interval, best_at(point.kl, &fine, &fine_z));
            }
            for (distance, (reward, kl)) in curve.distances.iter().zip(&policies) {
                if distance.below.is_some() {
                    ask(2, distance.interval, best_at(*kl, &fine, &fine_z) - reward);
                }
            }
            let last = curve.points.last().expect("a curve");
            reached = reached.min(last.kl);
            // The same number of samples, all of ρ.
            let alone: Vec<Vec<f32>> = picked
                .iter()
                .map(|i| {
                    let drawn = toys[*i].draw(&mut rng, &[4 * EACH, 0, 0, 0]);
                    drawn.rewards.iter().map(|r| *r as f32).collect()
                })
                .collect();
            let at = 12;
            let old = optimum(&alone, BETAS[at]);
            old_kls.push(old.kl);
            old_rewards.push(old.reward);
            let point = curve.points.get(at).expect("the curve reaches as far");
            kls.push(point.kl);
            rewards.push(point.reward);
        }
        let share = |which: usize| held[which] as f64 / asked[which] as f64;
        let (reward, kl, _) = truth[12];
        let z = [errors(&kls, kl), errors(&rewards, reward), errors(&old_kls, kl), errors(&old_rewards, reward)];
        eprintln!(
            "coverage: KL {:.3}, best reward at a KL {:.3}, distance {:.3} ({asked:?})",
            share(0),
            share(1),
            share(2)
        );
        eprintln!("KL {kl:.2}: errors in standard errors {z:.1?}; every curve reaches {reached:.2}");
        for which in 0..3 {
            assert!((0.92..=0.98).contains(&share(which)), "{which}: {}", share(which));
        }
        assert!(z[0].abs() < 3.0 && z[1].abs() < 3.0, "{z:?}");
        assert!(z[2] < -10.0 && z[3] < -10.0, "{z:?}");
    }
}
