//! News articles with highlights, from a grammar of their own: the shape of CNN/Daily Mail (paper section 3.2; Hermann
//! et al. 2015) without a download. A dateline with "(CNN) --", what happened, then details; some begin with an
//! editor's note instead, whose colon is in the first three words. Nothing here is anybody's text.

use super::digest::{Event, Scene, Slot, paragraphs};
use super::source::Document;
use super::words::Words;
use rand::{Rng, RngExt, seq::IndexedRandom};

/// Share of articles that begin with one of [`NOTES`].
const NOTE_SHARE: f64 = 0.2;

/// An article of 6 to 12 sentences, and two or three highlights, one per line as the released code has them.
pub fn article(rng: &mut impl Rng) -> Document {
    let mut scene = Scene::new(SLOTS, &[]);
    let event = EVENTS.choose(rng).unwrap_or(&EVENTS[0]);
    let note = rng.random_bool(NOTE_SHARE).then(|| NOTES.choose(rng).copied().unwrap_or_default());
    let details = rng.random_range(5..=10);
    let mut draft = event.tell(rng, &mut scene, details);
    if let Some(note) = note {
        draft.sentences.insert(0, scene.say(rng, note));
    }
    let cities: Words = &["", "LONDON ", "PARIS ", "ATLANTA ", "TOKYO "];
    let city = cities.choose(rng).copied().unwrap_or_default();
    let count = rng.random_range(2..=3);
    let summary = event.summarize(rng, &mut scene, &draft, count).join("\n");
    Document { text: format!("{city}(CNN) -- {}", paragraphs(&draft.sentences, 2)), summary: Some(summary) }
}

/// A colon in the first three words, which is how the paper knows them (table 7).
const NOTES: Words =
    &["editor's note: {name} wrote this story", "news update: {name} reports", "from {town}: a report by {name}"];

const SLOTS: &[Slot] = &[
    ("what", &["fire", "storm", "flood", "blast", "truck", "train"]),
    ("did", &["destroyed", "damaged", "closed"]),
    ("place", &["school", "bank", "bridge", "hotel", "museum", "factory", "library", "station"]),
    ("town", &["Oakfield", "Greenwood", "Milton", "Derby", "Ashford", "Salem", "Dover", "Camden"]),
    ("day", &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]),
    ("number", &["two", "three", "five", "ten", "twenty"]),
    ("agent", &["police", "officials", "doctors", "witnesses"]),
    ("name", &["Ruth Hall", "Tom Reed", "Ann Cole", "Paul Grant", "Mary Stone", "Jack Lane"]),
    ("treasure", &["painting", "clock", "crown", "book", "violin"]),
    ("event", &["race", "match", "final", "vote", "prize"]),
];

const EVENTS: &[Event] = &[
    Event {
        facts: &[
            "a {what} {did} the {place} in {town} on {day}, {agent} said",
            "the {place} of {town} was hit by a {what} on {day}",
        ],
        retold: &["{town} loses its {place}", "people of {town} fear another {what}", "{what} leaves {place} in ruins"],
        more: &["{number} people are hurt", "{agent} look for the cause", "town plans to build it again"],
        details: DETAILS,
    },
    Event {
        facts: &[
            "a man stole a {treasure} from the {place} in {town} on {day}",
            "{agent} said on {day} that a {treasure} is missing from the {place}",
        ],
        retold: &[
            "old {treasure} stolen in {town}",
            "thief takes {treasure} and escapes",
            "{place} of {town} lost its {treasure}",
        ],
        more: &["{agent} ask for help", "{number} people saw him", "nobody knows where it is"],
        details: DETAILS,
    },
    Event {
        facts: &["{name} won the {event} in {town} on {day}", "on {day} {name} lost the {event} in {town}"],
        retold: &[
            "{town} remembers {name} and the {event}",
            "surprise at the {event} in {town}",
            "fans wait for {name}",
        ],
        more: &["{number} people came to see it", "it was a close {event}", "the next one is in May"],
        details: DETAILS,
    },
];

const DETAILS: Words = &[
    "{number} people were taken to a hospital",
    "{agent} came after an hour",
    "it was the first time in {number} years",
    "{name} saw it from a window",
    "the street near the {place} is still closed",
    "nobody could explain it on {day}",
    "many people in {town} could not sleep",
    "the mayor thanked everyone who helped",
    "a meeting is planned for next week",
    "{name} told reporters that it was loud",
    "the weather was cold and dark",
    "more news is expected soon",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::clean::clean;
    use crate::metric::copying::{Preamble, has_preamble};
    use crate::metric::text::{sentences, words};
    use crate::spec::Clean;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn articles(count: usize) -> Vec<Document> {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        (0..count).map(|_| article(&mut rng)).collect()
    }

    #[test]
    fn articles_have_the_promised_shape() {
        let articles = articles(1000);
        let mut notes = 0;
        for article in &articles {
            assert!(article.text.contains("(CNN) -- ") && !article.text.contains(['{', '|']), "{}", article.text);
            let cleaned = clean(&article.text, Clean::Cnndm);
            assert!(!cleaned.contains("CNN"), "{cleaned}");
            let count = sentences(&cleaned).len();
            assert!((6..=12).contains(&count), "{count} sentences: {cleaned}");
            notes += usize::from(has_preamble(&cleaned, Preamble::Colon));
            let summary = article.summary.as_deref().unwrap();
            assert!((2..=3).contains(&summary.lines().count()), "{summary}");
        }
        assert!((150..250).contains(&notes), "{notes}");
    }

    #[test]
    fn the_same_seed_gives_the_same_articles_of_few_words() {
        let first = articles(500);
        assert_eq!(first, articles(500));
        let mut vocabulary: Vec<String> = first.iter().flat_map(|a| words(&a.text)).collect();
        vocabulary.sort();
        vocabulary.dedup();
        assert!(vocabulary.len() < 250, "{}", vocabulary.len());
    }
}
