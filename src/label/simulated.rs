//! Simulated labelers: programs that stand in for people where there are none, built to have what the paper reports of
//! its labelers (section 3.2, table 9): they prefer copies, agree weakly, and are a little careless. Nothing they say
//! is evidence about people.
//!
//! A labeler's choice is argmax over candidates c of  u_c + b [c is shown first] + T g_c,  with u_c = Σ weight ·
//! standardised quality and g_c independent standard Gumbel noise; without bias the choice is then c with probability
//! softmax(u / T)_c (Luce 1959; Gumbel's part in it: Yellott 1977), the very model that the reward model's loss
//! assumes.

use crate::metric::agreement::agreement;
use crate::results::{Share, SimulatedReport};
use crate::spec::SimulatedSpec;
use serde::{Deserialize, Serialize};

/// What a labeler may care for in one candidate, in its own units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Qualities {
    /// r_s, log-odds of "positive".
    pub score: f64,
    /// Share of 4-grams copied from the source, 0 to 1.
    pub copy: f64,
    /// ROUGE-L F1 with the reference summary, 0 to 1.
    pub rouge: f64,
}

/// A weight, and the quality that it is of.
type Weighted = (f64, fn(&Qualities) -> f64);

/// u of every candidate: `[comparisons][candidates]`. Each quality is standardised over all candidates of all
/// comparisons (population deviation); one that is the same everywhere counts nothing.
pub fn utilities(spec: &SimulatedSpec, qualities: &[Vec<Qualities>]) -> Vec<Vec<f64>> {
    let weighted: [Weighted; 3] =
        [(spec.weight_score, |q| q.score), (spec.weight_copy, |q| q.copy), (spec.weight_rouge, |q| q.rouge)];
    let mut sums: Vec<Vec<f64>> = qualities.iter().map(|row| vec![0.0; row.len()]).collect();
    for (weight, of) in weighted {
        let all: Vec<f64> = qualities.iter().flatten().map(of).collect();
        let mean = all.iter().sum::<f64>() / all.len().max(1) as f64;
        let std = (all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / all.len().max(1) as f64).sqrt();
        if std > 0.0 && weight != 0.0 {
            let pairs = sums.iter_mut().flatten().zip(&all);
            pairs.for_each(|(sum, v)| *sum += weight * (v - mean) / std);
        }
    }
    sums
}

/// The place (0-based) among the shown candidates of the chosen one. `order[place]`: which candidate is shown there;
/// `uniform[place]`: a number between 0 and 1 that makes its noise. Of equal candidates the first shown is taken.
pub fn choose(spec: &SimulatedSpec, utilities: &[f64], order: &[usize], uniform: &[f64]) -> usize {
    let value = |place: usize| {
        let bias = if place == 0 { spec.position_bias } else { 0.0 };
        let u = uniform.get(place).copied().unwrap_or(0.5).clamp(1e-300, 1.0 - 1e-16);
        let gumbel = -(-u.ln()).ln();
        order
            .get(place)
            .and_then(|c| utilities.get(*c))
            .map_or(f64::NEG_INFINITY, |v| v + bias + spec.temperature * gumbel)
    };
    (0..order.len()).fold(0, |best, place| if value(place) > value(best) { place } else { best })
}

/// What all labelers said about one comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedAnswers {
    /// `[labelers]`: the chosen candidate, whatever place it was shown at.
    pub chosen: Vec<usize>,
    /// `[labelers]`: the place it was shown at.
    pub places: Vec<usize>,
}

/// Counts the answers. All slices: `[comparisons]`.
pub fn report(answers: &[SimulatedAnswers], utilities: &[Vec<f64>], qualities: &[Vec<Qualities>]) -> SimulatedReport {
    let table: Vec<Vec<Option<usize>>> = answers.iter().map(|a| a.chosen.iter().map(|c| Some(*c)).collect()).collect();
    let found = agreement(&table);
    let mut report = SimulatedReport {
        labelers: answers.first().map_or(0, |a| a.chosen.len()),
        comparisons: answers.len() as u64,
        agreement: found.map(|a| a.percent),
        kappa: found.and_then(|a| a.kappa),
        first_shown: Share::default(),
        most_copied: Share::default(),
        best: Share::default(),
    };
    for ((answer, utility), quality) in answers.iter().zip(utilities).zip(qualities) {
        let most = |values: &[f64], c: usize| values.iter().all(|v| values.get(c).is_some_and(|chosen| chosen >= v));
        let copies: Vec<f64> = quality.iter().map(|q| q.copy).collect();
        let differ = copies.iter().any(|c| *c != copies[0]);
        for (chosen, place) in answer.chosen.iter().zip(&answer.places) {
            report.first_shown.add(*place == 0);
            report.best.add(most(utility, *chosen));
            if differ {
                report.most_copied.add(most(&copies, *chosen));
            }
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::seq::SliceRandom;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Made-up comparisons of four whose copying is uniform, answered by five labelers.
    fn simulate(spec: &SimulatedSpec) -> SimulatedReport {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let one = |rng: &mut ChaCha8Rng| Qualities { copy: rng.random(), score: 7.0, ..Qualities::default() };
        let qualities: Vec<Vec<Qualities>> = (0..2000).map(|_| (0..4).map(|_| one(&mut rng)).collect()).collect();
        let utilities = utilities(spec, &qualities);
        let answers: Vec<SimulatedAnswers> = utilities
            .iter()
            .map(|u| {
                let (chosen, places) = (0..spec.labelers)
                    .map(|_| {
                        let mut order: Vec<usize> = (0..4).collect();
                        order.shuffle(&mut rng);
                        let uniform: Vec<f64> = (0..4).map(|_| rng.random()).collect();
                        let place = choose(spec, u, &order, &uniform);
                        (order[place], place)
                    })
                    .unzip();
                SimulatedAnswers { chosen, places }
            })
            .collect();
        report(&answers, &utilities, &qualities)
    }

    fn share(s: Share) -> f64 {
        s.count as f64 / s.n as f64
    }

    #[test]
    fn utilities_are_weighted_standard_scores() {
        let spec =
            SimulatedSpec { weight_score: 2.0, weight_copy: -1.0, weight_rouge: 3.0, ..SimulatedSpec::default() };
        let q = |score, copy| Qualities { score, copy, rouge: 0.4 };
        // Scores 0, 2, 4, 6: mean 3, variance 5; copying 0, 0, 1, 1: mean and deviation 1/2.
        let got = utilities(&spec, &[vec![q(0.0, 0.0), q(2.0, 0.0)], vec![q(4.0, 1.0), q(6.0, 1.0)]]);
        let expected =
            [-6.0 / 5f64.sqrt() + 1.0, -2.0 / 5f64.sqrt() + 1.0, 2.0 / 5f64.sqrt() - 1.0, 6.0 / 5f64.sqrt() - 1.0];
        assert!(got.iter().flatten().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?}");
        assert!(utilities(&spec, &[]).is_empty());
    }

    #[test]
    fn without_noise_the_best_is_taken() {
        let spec = SimulatedSpec { temperature: 0.0, position_bias: 0.0, ..SimulatedSpec::default() };
        assert_eq!(choose(&spec, &[0.1, 0.9, 0.3], &[2, 0, 1], &[0.999, 0.0, 1.0]), 2);
        assert_eq!(choose(&spec, &[1.0, 1.0], &[1, 0], &[0.5, 0.5]), 0);
        let report = simulate(&spec);
        assert_eq!((report.agreement, share(report.best), share(report.most_copied)), (Some(100.0), 1.0, 1.0));
        assert!((share(report.first_shown) - 0.25).abs() < 0.02);
    }

    #[test]
    fn agreement_falls_with_noise_to_chance() {
        let at = |temperature| {
            let spec = SimulatedSpec { temperature, position_bias: 0.0, ..SimulatedSpec::default() };
            simulate(&spec).agreement.unwrap()
        };
        let found = [at(0.1), at(0.5), at(1.0), at(100.0)];
        assert!(found.windows(2).all(|pair| pair[0] > pair[1] + 2.0), "{found:?}");
        assert!((found[3] - 25.0).abs() < 1.0, "{found:?}");
        // The default is as weak as the paper's people.
        assert!((34.0..46.0).contains(&simulate(&SimulatedSpec::default()).agreement.unwrap()));
    }

    #[test]
    fn choices_are_a_softmax() {
        let spec = SimulatedSpec { temperature: 0.7, position_bias: 0.0, ..SimulatedSpec::default() };
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let n = 40_000;
        let first = (0..n).filter(|_| choose(&spec, &[1.0, 0.0], &[0, 1], &[rng.random(), rng.random()]) == 0).count();
        let expected = 1.0 / (1.0 + (-1.0f64 / 0.7).exp());
        assert!((first as f64 / f64::from(n) - expected).abs() < 0.01);
    }

    #[test]
    fn position_bias_shows() {
        let at =
            |position_bias| share(simulate(&SimulatedSpec { position_bias, ..SimulatedSpec::default() }).first_shown);
        assert!(
            (at(0.0) - 0.25).abs() < 0.02 && at(0.5) > 0.3 && at(50.0) == 1.0,
            "{} {} {}",
            at(0.0),
            at(0.5),
            at(50.0)
        );
    }
}
