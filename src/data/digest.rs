//! What synthetic posts and articles share: a text whose first statement is its most important one, as in the real data
//! (which is why lead-3 is hard to beat), and summaries that retell that statement or, sometimes, repeat it word for
//! word.

use super::words::{Words, fill, finish};
use rand::{Rng, RngExt, seq::IndexedRandom};

/// Share of summaries whose first sentence is the text's main statement word for word: enough for a language model to
/// learn that a summary may be a copy, few enough for most of its own to be none.
const QUOTED: f64 = 0.3;

/// A kind of event.
pub(crate) struct Event {
    /// The main statement of the text.
    pub(crate) facts: Words,
    /// The same in other words, for summaries.
    pub(crate) retold: Words,
    /// A summary's further sentences.
    pub(crate) more: Words,
    /// What the text tells besides.
    pub(crate) details: Words,
}

/// A slot's name and what it may hold. `a|b|c` in a list are the forms of one choice: see [`Scene`].
pub(crate) type Slot = (&'static str, Words);

/// What one text is about. A slot is drawn when it is first used and then stays, so that text and summary agree.
pub(crate) struct Scene {
    slots: &'static [Slot],
    /// Other forms of a slot's choice: `("he", "who", 1)` is part 1 of `who`.
    forms: &'static [(&'static str, &'static str, usize)],
    drawn: Vec<(&'static str, &'static str)>,
}

impl Scene {
    pub(crate) fn new(slots: &'static [Slot], forms: &'static [(&'static str, &'static str, usize)]) -> Self {
        Self { slots, forms, drawn: Vec::new() }
    }

    /// A filled template as a sentence; it ends with a full stop unless the template brings a question mark.
    pub(crate) fn say(&mut self, rng: &mut impl Rng, template: &str) -> String {
        let sentence = finish(&fill(template, &mut |slot| self.value(rng, slot).to_string()));
        match sentence.strip_suffix("?.") {
            Some(question) => format!("{question}?"),
            None => sentence,
        }
    }

    /// The text of a slot; nothing for one that does not exist.
    fn value(&mut self, rng: &mut impl Rng, name: &str) -> &'static str {
        let form = self.forms.iter().find(|(form, ..)| *form == name);
        let (name, part) = form.map_or((name, 0), |(_, of, part)| (*of, *part));
        let Some((slot, list)) = self.slots.iter().find(|(slot, _)| *slot == name) else { return "" };
        let choice = match self.drawn.iter().find(|(known, _)| known == slot) {
            Some((_, choice)) => choice,
            None => {
                let choice = list.choose(rng).copied().unwrap_or_default();
                self.drawn.push((slot, choice));
                choice
            }
        };
        choice.split('|').nth(part).unwrap_or(choice)
    }
}

/// A text in the making: its sentences, the main statement among them.
pub(crate) struct Draft {
    pub(crate) sentences: Vec<String>,
    pub(crate) fact: String,
}

impl Event {
    /// The main statement and `details` different sentences after it.
    pub(crate) fn tell(&self, rng: &mut impl Rng, scene: &mut Scene, details: usize) -> Draft {
        let fact = self.facts.choose(rng).copied().unwrap_or_default();
        let fact = scene.say(rng, fact);
        let mut sentences = vec![fact.clone()];
        let chosen: Vec<&str> = self.details.sample(rng, details).copied().collect();
        sentences.extend(chosen.into_iter().map(|detail| scene.say(rng, detail)));
        Draft { sentences, fact }
    }

    /// `count` sentences of summary; the first is the main statement, quoted or retold.
    pub(crate) fn summarize(&self, rng: &mut impl Rng, scene: &mut Scene, draft: &Draft, count: usize) -> Vec<String> {
        let first = match self.retold.choose(rng) {
            Some(template) if !rng.random_bool(QUOTED) => scene.say(rng, template),
            _ => draft.fact.clone(),
        };
        let chosen: Vec<&str> = self.more.sample(rng, count.saturating_sub(1)).copied().collect();
        std::iter::once(first).chain(chosen.into_iter().map(|more| scene.say(rng, more))).collect()
    }
}

/// Sentences in paragraphs of `length`, one per line, each line ended.
pub(crate) fn paragraphs(sentences: &[String], length: usize) -> String {
    sentences.chunks(length.max(1)).map(|paragraph| paragraph.join(" ") + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn a_slot_keeps_its_choice_in_all_its_forms() {
        const SLOTS: &[Slot] = &[("who", &["aunt|she", "uncle|he"])];
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for _ in 0..20 {
            let mut scene = Scene::new(SLOTS, &[("he", "who", 1)]);
            let text = scene.say(&mut rng, "my {who} left, and {he} laughed{nothing}");
            let again = scene.say(&mut rng, "is {he} here?");
            let she = text.contains("aunt");
            assert_eq!(text.contains("she laughed."), she, "{text}");
            assert_eq!(again, if she { "Is she here?" } else { "Is he here?" });
        }
    }
}
