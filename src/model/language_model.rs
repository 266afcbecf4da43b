//! What sampling, scoring and training ask of a language model. A family of models is a folder that implements this and
//! [`Weights`](super::gpt2::Weights); GPT-2 is the one so far.

use super::gpt2::{CacheMask, TokenBatch};
use super::sampling::targets;
use super::vocabulary::check_ids;
use super::{ModelError, ops};
use crate::spec::{Dimensions, Precision};
use burn::tensor::{Device, Int, Tensor};

/// A transformer with a head over its vocabulary. Shapes: `batch` rows, `time` positions, `width` channels.
pub trait LanguageModel: Sync {
    /// What a step reads of the positions before its own.
    type Cache;

    fn dimensions(&self) -> Dimensions;

    /// Of matrix products.
    fn precision(&self) -> Precision;

    /// The LM head `[vocab, width]`.
    fn head(&self) -> &Tensor<2>;

    /// The same model for many steps without gradients, where there is something to make ready once: factors that would be
    /// rounded again in every step.
    fn prepared(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// Final hidden states `[positions, width]` at some positions alone, given as row · time + position.
    fn hidden_at(&self, batch: &TokenBatch, positions: &[usize]) -> Tensor<2>;

    /// Hidden states at the `last` position of each row and a cache of all its positions, both `k` times for each row,
    /// the cache with room for `capacity` positions: `[rows * k, width]`.
    fn prefill(&self, batch: &TokenBatch, last: &[usize], k: usize, capacity: usize) -> (Tensor<2>, Self::Cache);

    /// One cached step. `ids`, `positions`: `[batch, 1]`; `at` is the cache slot written. Returns the final hidden
    /// state `[batch, width]`.
    fn step(
        &self,
        ids: Tensor<2, Int>,
        positions: Tensor<2, Int>,
        mask: &CacheMask,
        at: usize,
        cache: &mut Self::Cache,
    ) -> Tensor<2>;

    /// Rows of the head.
    fn vocab(&self) -> usize {
        self.head().dims()[0]
    }

    fn device(&self) -> Device {
        self.head().device()
    }

    /// Err: an id that has no row, or a row with more tokens than the context.
    fn check(&self, rows: &[Vec<Option<u32>>]) -> Result<(), ModelError> {
        check_ids(rows.iter().flatten().flatten(), self.vocab())?;
        let (longest, context) = (rows.iter().map(|r| r.iter().flatten().count()).max(), self.dimensions().context);
        match longest.filter(|longest| *longest > context) {
            Some(longest) => {
                Err(ModelError::Input(format!("a text has {longest} tokens, and the model's context is {context}")))
            }
            None => Ok(()),
        }
    }

    /// Rows of equal length as this model reads them; `None` is padding.
    ///
    /// # Errors
    /// An id that has no row, or a row with more tokens than the context: on a GPU both would be read from beyond the
    /// end of a table without a word.
    fn batch(&self, rows: &[Vec<Option<u32>>]) -> Result<TokenBatch, ModelError> {
        self.check(rows)?;
        Ok(TokenBatch::new(rows, &self.device()))
    }

    /// Response tokens as `[rows * response]`; 0 where a response is shorter than the longest.
    ///
    /// # Errors
    /// An id that has no row.
    fn targets(&self, responses: &[Vec<u32>]) -> Result<Tensor<1, Int>, ModelError> {
        check_ids(responses.iter().flatten(), self.vocab())?;
        Ok(targets(responses, &self.device()))
    }

    /// Hidden states that predict the response, of rows that end in their responses: `[batch * response, width]`.
    fn hidden_before_last(&self, batch: &TokenBatch, response: usize) -> Tensor<2> {
        let [b, t] = batch.dims;
        let at: Vec<usize> = (0..b).flat_map(|r| (t - response - 1..t - 1).map(move |i| r * t + i)).collect();
        self.hidden_at(batch, &at)
    }

    /// Log-probabilities of `targets` `[rows]` at `temperature` from hidden states `[rows, width]` -> `[rows]`.
    fn token_logprobs(&self, hidden: Tensor<2>, targets: Tensor<1, Int>, temperature: f64) -> Tensor<1> {
        ops::token_logprobs(hidden, self.head().clone(), targets, temperature, self.precision())
    }
}
