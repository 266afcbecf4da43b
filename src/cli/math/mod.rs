//! `runner math OP < in.json`: one numeric kernel on JSON, so that any language can check our numbers. Every operation
//! calls the function that training or evaluation calls; here is only reading and printing.

mod frontier;
mod input;
mod learners;
mod rl;
mod text;

use crate::output::reader_gone;
use clap::builder::{PossibleValue, PossibleValuesParser};
use input::{Input, MathError};
use serde_json::{Map, Value};
use std::io::{Read, Write};

/// One operation: its fields with their shapes, and what comes out.
struct Op {
    name: &'static str,
    fields: &'static [&'static str],
    /// Shapes, units and rules, for `--help`.
    help: &'static str,
    run: fn(&Input) -> Result<Map<String, Value>, MathError>,
}

const OPS: &[Op] = &[
    Op {
        name: "whiten",
        fields: &["values", "shift_mean"],
        help: "values [rows][response], shift_mean true|false -> values; biased variance + 1e-8, mean kept unless shifted",
        run: rl::whiten,
    },
    Op {
        name: "gae",
        fields: &["rewards", "values", "gamma", "lam"],
        help: "rewards, values [rows][response] -> advantages, returns (= advantages + values)",
        run: rl::gae,
    },
    Op {
        name: "token_rewards",
        fields: &["scores", "logprobs", "ref_logprobs", "kl_coef"],
        help: "scores [rows], logprobs, ref_logprobs [rows][response] -> rewards: -kl_coef (logprob - ref_logprob), the score added on the last token",
        run: rl::token_rewards,
    },
    Op {
        name: "ppo_loss",
        fields: &[
            "logprobs",
            "old_logprobs",
            "advantages",
            "values",
            "old_values",
            "returns",
            "cliprange",
            "cliprange_value",
            "vf_coef",
        ],
        help: "arrays [rows][response] -> loss (= policy_loss + vf_coef value_loss), policy_loss, value_loss, clipfrac, value_clipfrac, approxkl",
        run: rl::ppo_loss,
    },
    Op {
        name: "rloo_advantages",
        fields: &["scores", "logprobs", "ref_logprobs", "kl_coef", "samples_per_query"],
        help: "scores [rows], logprobs, ref_logprobs [rows][response], the samples of a query one after the other -> rewards [rows] (score - kl_coef sum(logprob - ref_logprob)), advantages [rows]: reward less the mean of the query's other samples'",
        run: learners::rloo_advantages,
    },
    Op {
        name: "dpo_loss",
        fields: &["logprobs", "ref_logprobs", "best", "beta"],
        help: "logprobs, ref_logprobs [labels][candidates], summed over each candidate's tokens, best [labels] (indices from 0) -> loss (mean over pairs of the best and another candidate of -log sigmoid(margin)), margin (mean of beta times the difference of logprob - ref_logprob), accuracy (share of margins above 0)",
        run: learners::dpo_loss,
    },
    Op {
        name: "best_of",
        fields: &["scores", "values", "n"],
        help: "scores, values [queries][samples of the reference policy], n: a list of numbers up to samples -> value: mean over queries of the values' expectation for the sample with the largest score of n drawn without replacement (of equal scores the earlier counts as larger), kl_bound (nats): log n - (n-1)/n, an upper bound of KL(best-of-n, reference); one per n",
        run: learners::best_of,
    },
    Op {
        name: "kl_controller",
        fields: &["schedule", "init", "target", "gain", "horizon", "kls", "episodes_per_update", "end"],
        help: "schedule constant|adaptive|linear, kls [updates] (nats) -> coefs [updates]: the coefficient after seeing each kl, so without init. adaptive: target, and gain (the paper's form) or horizon with episodes_per_update (the released code's). linear: from init to end (default 0) over all the updates",
        run: rl::kl_controller,
    },
    Op {
        name: "reward_loss",
        fields: &["rewards", "best", "scores", "difference"],
        help: "rewards [comparisons][candidates], best [comparisons] (indices from 0) -> loss (nats), accuracy (share whose largest reward is the best; the first of equals). rewards, scores [ratings] -> loss (mean squared error), correlation. rewards [pairs][2], difference [pairs] (of the second from the first) -> loss, correlation, accuracy (share of the differences that are not 0 whose sign is right). What is undefined, as a correlation with equal scores, is left out",
        run: rl::reward_loss,
    },
    Op {
        name: "reward_norm",
        fields: &["mean", "std", "target_mean", "target_std"],
        help: "mean and (population) standard deviation of raw rewards, and the wanted ones -> gain, bias",
        run: rl::reward_norm,
    },
    Op {
        name: "truncate",
        fields: &["responses", "truncate_token", "truncate_after", "padding"],
        help: "responses [rows][response] of ids -> responses with padding after the first truncate_token at or after position truncate_after, valid [rows]: whether there is one",
        run: rl::truncate,
    },
    Op {
        name: "adam",
        fields: &["params", "grads", "lrs", "beta1", "beta2", "epsilon", "form"],
        help: "params [n], grads [steps][n], lrs [steps], form tensorflow|torch (where epsilon stands) -> params [n] after all steps",
        run: rl::adam,
    },
    Op {
        name: "label_schedule",
        fields: &["initial", "total", "episodes", "at"],
        help: "at: an episode or a list of them -> labels wanted by then, not rounded: initial + (total - initial)(1 - (1 - at/episodes)^2)",
        run: rl::label_schedule,
    },
    Op {
        name: "optimum",
        fields: &["rewards", "betas"],
        help: "rewards [contexts][samples of the reference policy], betas -> kl (nats), reward, one per beta, of the best policy",
        run: rl::optimum,
    },
    Op {
        name: "optimal_frontier",
        fields: &["rewards", "logprobs", "writers", "betas"],
        help: "rewards [queries][samples], logprobs [queries][samples][writers] under every writer, of whom 0 is the reference policy, writers [samples]: who wrote each -> kl (nats), reward, one per beta, of the best policy, and effective_samples per query; by multiple importance sampling",
        run: frontier::optimal_frontier,
    },
    Op {
        name: "rouge",
        fields: &["prediction", "reference", "stemmer"],
        help: "texts, stemmer true|false (default false) -> rouge1, rouge2, rougeL: precision, recall, f1 (0 to 1), as google's rouge-score",
        run: text::rouge,
    },
    Op {
        name: "tokenize",
        fields: &["text"],
        help: "-> ids of GPT-2's byte-level BPE; <|endoftext|> in the text is text: seven ids",
        run: text::tokenize,
    },
    Op {
        name: "detokenize",
        fields: &["ids"],
        help: "ids of GPT-2 -> text, U+FFFD for bytes that are not UTF-8",
        run: text::detokenize,
    },
    Op {
        name: "sentences",
        fields: &["text"],
        help: "-> sentences: Unicode's annex 29, and a line break ends one; pieces without a letter or digit are dropped",
        run: text::sentences,
    },
    Op { name: "lead3", fields: &["text"], help: "-> summary: the first three sentences", run: text::lead3 },
    Op {
        name: "novelty",
        fields: &["source", "summary"],
        help: "-> ngram1..ngram4, sentence: shares (0 to 1) of the summary's n-grams and sentences, repeats counted, whose lower-cased words do not occur in this order in the source; null where the summary has none",
        run: text::novelty,
    },
    Op {
        name: "copying",
        fields: &["source", "summary"],
        help: "-> spans {response, source (index of the first word in each), words}: runs of 4 lower-cased words or more that the summary has from the source, from left to right the longest at its first place; positions [spans] in the source, 0 to 1; copied: share of the summary's words in spans, null without words; sentences: positions of its whole sentences that occur in the source",
        run: text::copying,
    },
    Op {
        name: "copied_start",
        fields: &["source", "summary", "preamble"],
        help: "preamble greeting|colon -> copied: whether the first 3 lower-cased words are the source's, null where it has fewer; preamble: whether the source begins with hi, hello, hey, ok, okay or so (greeting), or has a colon in its first three words (colon)",
        run: text::copied_start,
    },
    Op {
        name: "repetition",
        fields: &["texts"],
        help: "texts [n] -> distinct1..distinct3: different n-grams of all texts / all n-grams, repeated4 [n]: share of a text's 4-grams that it has had before, words [n]: how many lower-cased words; null where there are no n-grams",
        run: text::repetition,
    },
    Op {
        name: "agreement",
        fields: &["answers"],
        help: "answers [items][raters] of numbers, texts, true|false or null (no answer) -> percent (0 to 100) of pairs of answers to the same item that agree, kappa (Fleiss'; null where all answers are the same)",
        run: text::agreement,
    },
    Op {
        name: "interval",
        fields: &["wins", "n"],
        help: "whole numbers -> low, high: Wilson's 95% interval of the share",
        run: text::interval,
    },
];

/// The operations for `runner math --help`.
pub fn help() -> String {
    let ops: Vec<String> =
        OPS.iter().map(|op| format!("  {} {{{}}}\n      {}", op.name, op.fields.join(", "), op.help)).collect();
    format!(
        "Operations, each {{fields}} of its object:\n{}\n\nArrays are nested lists, row-major. Arrays of numbers are computed in 32-bit floats, as in training (so about 7 digits), \
         single numbers, coefficients and everything about text in 64-bit.\nExample: echo '{{\"wins\": 8, \"n\": 10}}' | runner math interval",
        ops.join("\n")
    )
}

/// What `OP` may be; a wrong name gets the nearest one.
pub fn parser() -> PossibleValuesParser {
    PossibleValuesParser::new(OPS.iter().map(|op| PossibleValue::new(op.name)))
}

/// Runs one operation from standard input to standard output; returns the exit code.
pub fn math(name: &str) -> i32 {
    let Some(op) = OPS.iter().find(|op| op.name == name) else {
        eprintln!("error: no operation `{name}`; `runner math --help` lists them");
        return 2;
    };
    let result = read().and_then(|text| Input::new(&text, op.fields)).and_then(|input| (op.run)(&input));
    match result {
        Ok(output) => match writeln!(std::io::stdout().lock(), "{}", Value::Object(output)) {
            Err(e) if !reader_gone(&e) => {
                eprintln!("error: runner math {name}: cannot write the output: {e}");
                1
            }
            // Whoever closes our output early has what they wanted.
            _ => 0,
        },
        Err(e) => {
            eprintln!("error: runner math {name}: {}", super::chain(&e));
            2
        }
    }
}

fn read() -> Result<String, MathError> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).map_err(MathError::Read)?;
    String::from_utf8(bytes).map_err(|e| MathError::Utf8(e.utf8_error().valid_up_to()))
}
