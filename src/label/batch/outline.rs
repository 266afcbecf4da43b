//! An item without its texts: all that assignment and quality control need, in some hundred bytes, so that a server
//! holds batches of any size in memory.

use super::Item;

/// What is known of an item besides its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    pub id: Box<str>,
    /// `order[place]` is the candidate shown there.
    pub order: Box<[u8]>,
    pub gold: Option<u8>,
    pub repeat_of: Option<Box<str>>,
    /// Equal for items that ask the same: a hash of query and candidates.
    pub question: [u8; 16],
}

impl Outline {
    /// Of a checked item; what does not fit into a byte is left out, and [`super::read::check_items`] refuses it.
    pub fn of(item: &Item) -> Self {
        let byte = |choice: usize| u8::try_from(choice).unwrap_or(u8::MAX);
        let mut hasher = blake3::Hasher::new();
        let candidates = item.candidates.iter().map(|c| c.response.text.as_str());
        for text in std::iter::once(item.query.text.as_str()).chain(candidates) {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        let mut question = [0; 16];
        question.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self {
            id: item.id.as_str().into(),
            order: item.order.iter().map(|c| byte(*c)).collect(),
            gold: item.gold.map(byte),
            repeat_of: item.repeat_of.as_deref().map(Into::into),
            question,
        }
    }

    /// How many candidates there are.
    pub fn candidates(&self) -> usize {
        self.order.len()
    }

    /// Whether it is there to check labelers.
    pub fn is_check(&self) -> bool {
        self.gold.is_some() || self.repeat_of.is_some()
    }

    /// The place at which a candidate is shown.
    pub fn place_of(&self, candidate: u8) -> Option<usize> {
        self.order.iter().position(|c| *c == candidate)
    }

    /// Answers of different labelers that it wants, where items want `labelers_per_item`.
    pub fn wanted(&self, labelers_per_item: usize) -> usize {
        if self.is_check() { 1 } else { labelers_per_item.max(1) }
    }
}

/// Of every item.
pub fn outlines(items: &[Item]) -> Vec<Outline> {
    items.iter().map(Outline::of).collect()
}
