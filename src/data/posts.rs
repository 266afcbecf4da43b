//! Posts like Reddit's with the summary that their author wrote, from a grammar of their own: the shape of the TL;DR
//! task (paper section 3.2) without a download. 5 to 12 sentences in paragraphs; the first, but for a greeting, says
//! what happened. Nothing here is anybody's text.

use super::digest::{Event, Scene, Slot, paragraphs};
use super::source::Document;
use super::words::Words;
use rand::{Rng, RngExt, seq::IndexedRandom};

/// Share of posts that begin with one of [`PREAMBLES`].
const PREAMBLE_SHARE: f64 = 0.3;

/// A post of 5 to 12 sentences, and its summary of one or two.
pub fn post(rng: &mut impl Rng) -> Document {
    let mut scene = Scene::new(SLOTS, FORMS);
    let event = EVENTS.choose(rng).unwrap_or(&EVENTS[0]);
    let preamble = rng.random_bool(PREAMBLE_SHARE).then(|| PREAMBLES.choose(rng).copied().unwrap_or_default());
    // Statement, details, question.
    let details = rng.random_range(3..=9);
    let mut draft = event.tell(rng, &mut scene, details);
    let question = QUESTIONS.choose(rng).copied().unwrap_or_default();
    draft.sentences.push(scene.say(rng, question));
    if let Some(preamble) = preamble {
        draft.sentences.insert(0, preamble.into());
    }
    let count = rng.random_range(1..=2);
    let summary = event.summarize(rng, &mut scene, &draft, count).join(" ");
    Document { text: paragraphs(&draft.sentences, 3), summary: Some(summary) }
}

/// They say nothing of what happened; each begins with a word of the paper's list (table 7).
const PREAMBLES: Words = &[
    "Hi everyone.",
    "Hey guys.",
    "Hello, this is a long one.",
    "So, here is my story.",
    "Ok, sorry for my English.",
    "Okay, I am on my phone.",
];

const QUESTIONS: Words = &["what should I do?", "am I wrong here?", "what do you think?", "how do I fix this?"];

const SLOTS: &[Slot] = &[
    (
        "who",
        &[
            "brother|he|him",
            "sister|she|her",
            "roommate|he|him",
            "neighbor|she|her",
            "boss|he|him",
            "girlfriend|she|her",
            "boyfriend|he|him",
            "mother|she|her",
            "father|he|him",
            "cousin|she|her",
            "uncle|he|him",
            "aunt|she|her",
        ],
    ),
    (
        "thing",
        &["car", "phone", "laptop", "bike", "guitar", "camera", "couch", "watch", "truck", "piano", "tent", "boat"],
    ),
    ("did", &["broke", "sold", "lost", "took", "burned", "hid"]),
    (
        "when",
        &["yesterday", "last night", "this morning", "last week", "on Monday", "on Sunday", "two days ago", "at noon"],
    ),
    ("where", &["at work", "at the lake", "in the garage", "in the yard", "at school", "in town"]),
    ("sum", &["50 dollars", "80 dollars", "200 dollars", "500 dollars", "900 dollars"]),
    ("told", &["moves out", "quits the job", "gets married", "wants a dog", "goes to college", "has no money"]),
];

const FORMS: &[(&str, &str, usize)] = &[("he", "who", 1), ("him", "who", 2)];

const EVENTS: &[Event] = &[
    Event {
        facts: &[
            "my {who} {did} my {thing} {when}",
            "{when} my {who} {did} my {thing} {where}",
            "I found out that my {who} {did} my {thing}",
        ],
        retold: &[
            "no more {thing} thanks to my {who}",
            "should I forgive my {who} because of a {thing}?",
            "how do I talk to my {who} about the {thing}?",
            "{who} and I fight over a {thing}",
        ],
        more: &["I want {sum} back", "it is hard to trust {him} now", "need advice"],
        details: LOSSES,
    },
    Event {
        facts: &["my {who} told me {when} that {he} {told}", "my {who} {told}, and I heard it {when}"],
        retold: &[
            "big news from my {who}, {he} {told}",
            "my {who} makes plans and forgets me",
            "not sure what to say when a {who} {told}",
        ],
        more: &["I worry about {him}", "it is hard to trust {him} now", "need advice"],
        details: DETAILS,
    },
];

/// After something happened to a thing. Some say again what the post began with, as people do; a small model learns
/// from such repetition that words can be taken from earlier ones.
const LOSSES: Words = &[
    "I still cannot believe that my {who} {did} my {thing}",
    "I told everyone that my {who} {did} my {thing}",
    "nobody knows why my {who} {did} my {thing}",
    "it happened {when} and I was {where}",
    "I paid {sum} for the {thing}",
    "I asked my {who} to pay for the {thing}",
    "now my {who} and I do not talk at all",
    "my friends say that a {thing} is not worth it",
    "my {who} did not even say sorry",
    "this is not the first time with my {who}",
    "I have known my {who} for ten years",
    "the {thing} was a gift from my family",
];

/// After some news.
const DETAILS: Words = &[
    "I still cannot believe that my {who} {told}",
    "everyone knows that my {who} {told}",
    "nobody knows why my {who} {told}",
    "it was {when} and we were {where}",
    "I asked my {who} to explain it",
    "now my {who} and I do not talk at all",
    "my friends say that I should let it go",
    "I do not sleep well since then",
    "my {who} did not even say sorry",
    "this is not the first time with my {who}",
    "I have known my {who} for ten years",
    "I had dinner with my {who} and it was quiet",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::copying::{Preamble, has_preamble};
    use crate::metric::text::{novelty, sentences, words};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn posts(count: usize) -> Vec<Document> {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        (0..count).map(|_| post(&mut rng)).collect()
    }

    #[test]
    fn posts_have_the_promised_shape() {
        let posts = posts(1000);
        for post in &posts {
            let count = sentences(&post.text).len();
            assert!((5..=12).contains(&count), "{count} sentences: {}", post.text);
            assert!(post.text.ends_with('\n') && !post.text.contains('{') && !post.text.contains('|'), "{}", post.text);
            let summary = post.summary.as_deref().unwrap();
            assert!((1..=2).contains(&sentences(summary).len()) && !summary.contains('\n'), "{summary}");
        }
        let preambles = posts.iter().filter(|p| has_preamble(&p.text, Preamble::Greeting)).count();
        assert!((250..350).contains(&preambles), "{preambles}");
        let quoted = posts.iter().filter(|p| novelty(&p.text, p.summary.as_deref().unwrap()).sentence < Some(1.0));
        assert!((200..400).contains(&quoted.count()));
    }

    #[test]
    fn the_same_seed_gives_the_same_posts_of_few_words() {
        let first = posts(500);
        assert_eq!(first, posts(500));
        let mut vocabulary: Vec<String> = first.iter().flat_map(|p| words(&p.text)).collect();
        vocabulary.sort();
        vocabulary.dedup();
        assert!(vocabulary.len() < 250, "{}", vocabulary.len());
    }
}
