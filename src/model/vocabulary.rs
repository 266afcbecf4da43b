//! The two vocabularies of a model: the rows of its embedding (`vocab_size` of config.json) and the ids of its
//! tokenizer. They differ in the wild. Rows are padded to a multiple of 64 or 128 (50,304 for GPT-2's 50,257); tokens
//! are added to a tokenizer and the model is not resized. What a tokenizer has beyond the rows, [`Tokenizer::load`]
//! drops or refuses; what the model has beyond the ids is cut off here, before anything is computed.
//!
//! A row without a token could otherwise be sampled, and no text, label or rule would know what it is. Masking it while
//! sampling alone would make the distribution that is sampled another one than that which is scored, and the ratio of
//! PPO wrong; a model without the row is one distribution on every path (sampling, log-probabilities, entropy,
//! gradients, on every device). That is what transformers computes after `resize_token_embeddings(len(tokenizer))`, and
//! for the directories that a run writes. Log-probabilities under the model as it was given are lower by log(1 - m),
//! where m is the mass of the rows without a token; `runner logprobs` on that directory computes these, as transformers
//! does.

use super::ModelError;
use super::gpt2::Gpt2;
use super::tokenizer::Tokenizer;

/// The model without the rows for which the tokenizer has no token.
///
/// # Errors
/// A tokenizer with more ids than the model has rows.
pub fn fitted(mut model: Gpt2, tokenizer: &Tokenizer) -> Result<Gpt2, ModelError> {
    let (rows, ids) = (model.vocab(), tokenizer.vocab());
    if ids > rows {
        return Err(ModelError::Input(format!("the tokenizer has {ids} tokens, and the model {rows} rows for them")));
    }
    if ids < rows {
        tracing::info!("the model has {rows} rows and its tokenizer {ids} tokens; the rows beyond them are left out");
        let width = model.dimensions().width;
        model.wte = model.wte.slice([0..ids, 0..width]);
    }
    Ok(model)
}

/// Whether every id has a row. On the host, for a GPU reads beyond the end of a table without a word.
///
/// # Errors
/// Names the first id that has none.
pub fn check_ids<'a>(ids: impl IntoIterator<Item = &'a u32>, rows: usize) -> Result<(), ModelError> {
    match ids.into_iter().find(|id| **id as usize >= rows) {
        Some(id) => Err(ModelError::Input(format!("token {id} is outside the model's vocabulary of {rows}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LanguageModel;
    use crate::model::sampling::{Sampling, logprobs, sample};
    use crate::spec::ModelSize;
    use burn::tensor::Device;

    fn tokenizer() -> Tokenizer {
        Tokenizer::train(["a b c a b c"].into_iter(), 260).unwrap()
    }

    #[test]
    fn a_padded_vocabulary_is_never_sampled_beyond_its_tokens() {
        let (device, tokenizer) = (Device::flex(), tokenizer());
        let ids = tokenizer.vocab();
        let padded = Gpt2::init(&ModelSize::Test.dimensions(), ids + 700, 5, &device);
        let model = fitted(padded.clone(), &tokenizer).unwrap();
        assert_eq!((model.vocab(), padded.vocab()), (ids, ids + 700));
        let queries = [vec![Some(3), Some(4)]];
        // The largest uniform numbers lead to the last ids.
        let uniforms = vec![vec![0.999_999; 8]; 6];
        let drawn = |model: &Gpt2| {
            let sampling = Sampling {
                queries: &queries,
                k: 8,
                response_length: 6,
                temperature: 1.0,
                uniforms: &uniforms,
                value_head: None,
            };
            sample(model, &sampling).unwrap()
        };
        assert!(drawn(&padded).responses.iter().flatten().any(|id| *id as usize >= ids));
        let sampled = drawn(&model);
        assert!(sampled.responses.iter().flatten().all(|id| (*id as usize) < ids));
        // What is sampled is what is scored, and a distribution over the tokens.
        let repeated = vec![queries[0].clone(); 8];
        let scored = logprobs(&model, &repeated, &sampled.responses, 1.0).unwrap();
        for (a, b) in sampled.logprobs.iter().flatten().zip(scored.iter().flatten()) {
            assert!((a - b).abs() < 1e-4, "{a} and {b}");
        }
        let every: Vec<Vec<u32>> = (0..ids as u32).map(|id| vec![id]).collect();
        let all = logprobs(&model, &vec![queries[0].clone(); ids], &every, 1.0).unwrap();
        let sum: f32 = all.iter().flatten().map(|p| p.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-4, "{sum}");
        // Under the model as it was given, every token has less by the same amount.
        let given = logprobs(&padded, &vec![queries[0].clone(); ids], &every, 1.0).unwrap();
        let off: Vec<f32> = all.iter().flatten().zip(given.iter().flatten()).map(|(a, b)| a - b).collect();
        assert!(off.iter().all(|d| *d > 0.1 && (d - off[0]).abs() < 1e-4), "{off:?}");
    }

    #[test]
    fn an_id_without_a_row_is_an_error_before_it_is_looked_up() {
        let device = Device::flex();
        let model = Gpt2::init(&ModelSize::Test.dimensions(), 300, 5, &device);
        let message = |rows: &[Vec<Option<u32>>]| model.batch(rows).err().map(|e| e.to_string()).unwrap_or_default();
        assert_eq!(message(&[vec![None, Some(299)]]), "");
        assert!(message(&[vec![None, Some(300)]]).contains("token 300 is outside the model's vocabulary of 300"));
        let context = model.dimensions().context;
        assert!(message(&[vec![Some(1); context + 1]]).contains("the model's context is"));
        assert_eq!(message(&[vec![None; context + 1]]), "");
        assert!(model.targets(&[vec![1, 2], vec![300]]).is_err());
        let pairs = logprobs(&model, &[vec![Some(1)]], &[vec![u32::MAX]], 1.0);
        assert!(pairs.unwrap_err().to_string().contains("token 4294967295"));
        assert!(fitted(Gpt2::init(&ModelSize::Test.dimensions(), 100, 5, &device), &tokenizer()).is_err());
    }
}
