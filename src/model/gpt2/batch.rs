//! Rows of tokens as the transformer reads them.

use super::MASKED;
use crate::model::device::is_cpu;
use crate::model::ops::BatchRows;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// A left- or right-padded batch of token rows, ready for the device: without its padding on the CPU, where rows of any
/// length can follow each other, with it elsewhere.
#[derive(Debug, Clone)]
pub struct TokenBatch {
    /// `[1, tokens]`; padding that is kept is token 0.
    pub ids: Tensor<2, Int>,
    /// `[1, tokens]`: number of real tokens before each real one. Padding's positions are never seen; they stay inside
    /// the context however long the row is.
    pub positions: Tensor<2, Int>,
    pub rows: BatchRows,
    /// Rows, and positions of each with its padding.
    pub dims: [usize; 2],
    /// Index of the last real token of each row.
    pub last: Vec<usize>,
    /// Where each of the batch · time positions lies among the tokens: a padded one where the last real token before it
    /// does (the row's first, where there is none). None where nothing is padded away.
    places: Option<Vec<usize>>,
}

impl TokenBatch {
    /// Rows of equal length; `None` is padding. [`Gpt2::batch`] checks that a model can look them up.
    pub(in crate::model) fn new(rows: &[Vec<Option<u32>>], device: &Device) -> Self {
        if is_cpu(device) { Self::packed(rows, device) } else { Self::padded(rows, device) }
    }

    fn packed(rows: &[Vec<Option<u32>>], device: &Device) -> Self {
        let time = rows.first().map_or(0, Vec::len);
        let (mut ids, mut positions, mut lengths) = (Vec::new(), Vec::new(), Vec::with_capacity(rows.len()));
        let (mut places, mut last) = (Vec::with_capacity(rows.len() * time), vec![0; rows.len()]);
        for (r, row) in rows.iter().enumerate() {
            let start = ids.len();
            for (i, token) in row.iter().enumerate() {
                if let Some(token) = token {
                    positions.push((ids.len() - start) as i32);
                    ids.push(*token as i32);
                    last[r] = i;
                }
                places.push(ids.len().saturating_sub(1).max(start));
            }
            if ids.len() == start && time > 0 {
                // Of nothing but padding, one token stays.
                ids.push(0);
                positions.push(0);
            }
            lengths.push((ids.len() - start) as i32);
        }
        let places = (ids.len() < places.len()).then_some(places);
        let lengths = Tensor::from_data(TensorData::new(lengths, [rows.len()]), device);
        Self::build(ids, positions, BatchRows::Packed(lengths), [rows.len(), time], last, places, device)
    }

    /// The same with its padding.
    pub(super) fn padded(rows: &[Vec<Option<u32>>], device: &Device) -> Self {
        let (b, t) = (rows.len(), rows.first().map_or(0, Vec::len));
        let mut ids = vec![0i32; b * t];
        let mut positions = vec![0i32; b * t];
        let mut real = vec![0i32; b * t];
        let mut last = vec![0; b];
        for (r, row) in rows.iter().enumerate() {
            let mut seen = 0;
            for (i, token) in row.iter().enumerate() {
                positions[r * t + i] = if token.is_some() { seen } else { (seen - 1).max(0) };
                if let Some(token) = token {
                    ids[r * t + i] = *token as i32;
                    real[r * t + i] = 1;
                    last[r] = i;
                    seen += 1;
                }
            }
        }
        let real = Tensor::from_data(TensorData::new(real, [b, t]), device);
        Self::build(ids, positions, BatchRows::Padded(real), [b, t], last, None, device)
    }

    /// `[batch, 1, time, time]` to add to attention scores: 0 where the key is not after the query and real, or the
    /// query's own.
    pub(super) fn hiding(rows: &[Vec<Option<u32>>], device: &Device) -> Tensor<4> {
        let (b, t) = (rows.len(), rows.first().map_or(0, Vec::len));
        let mut bias = vec![MASKED; b * t * t];
        for (r, row) in rows.iter().enumerate() {
            for i in 0..t {
                for j in 0..=i {
                    if row[j].is_some() || i == j {
                        bias[(r * t + i) * t + j] = 0.0;
                    }
                }
            }
        }
        Tensor::from_data(TensorData::new(bias, [b, 1, t, t]), device)
    }

    fn build(
        ids: Vec<i32>,
        positions: Vec<i32>,
        rows: BatchRows,
        dims: [usize; 2],
        last: Vec<usize>,
        places: Option<Vec<usize>>,
        device: &Device,
    ) -> Self {
        let n = ids.len();
        let ints = |values| Tensor::from_data(TensorData::new(values, [1, n]), device);
        Self { ids: ints(ids), positions: ints(positions), rows, dims, last, places }
    }

    /// Which tokens stand at some of the batch · time positions.
    pub(super) fn tokens_at(&self, positions: &[usize]) -> Tensor<1, Int> {
        let at = |p: &usize| self.places.as_ref().map_or(*p, |places| places[*p]) as i32;
        let at: Vec<i32> = positions.iter().map(at).collect();
        let n = at.len();
        Tensor::from_data(TensorData::new(at, [n]), &self.ids.device())
    }

    /// `[tokens, n]` at all of the batch · time positions.
    pub(super) fn spread(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.places {
            None => x,
            Some(places) => {
                let every: Vec<usize> = (0..places.len()).collect();
                x.select(0, self.tokens_at(&every))
            }
        }
    }
}
