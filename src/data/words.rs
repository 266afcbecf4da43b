//! Sentiment words shared by the stories and the reviews, and the small template filler both use.
//! A word has the same polarity in both, so what is learned on reviews carries over to stories.

use rand::{Rng, RngExt, seq::IndexedRandom};

/// A list of words or phrases.
pub(crate) type Words = &'static [&'static str];

/// The sentiment of one sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Polarity {
    /// Good things happen or are felt.
    Positive,
    /// Bad things happen or are felt.
    Negative,
    /// A plain statement of fact.
    Neutral,
}

impl Polarity {
    /// Draws a sentiment: 15% positive, 15% negative, 70% neutral.
    pub(crate) fn draw(rng: &mut impl Rng) -> Self {
        match rng.random_range(0..20) {
            0..3 => Self::Positive,
            3..6 => Self::Negative,
            _ => Self::Neutral,
        }
    }
}

/// A positive list and its negative counterpart, under the slot name the templates use.
pub(crate) struct WordPair {
    /// Slot name, written `{name}` in a template.
    pub(crate) slot: &'static str,
    /// Words for positive sentences.
    pub(crate) positive: Words,
    /// Words for negative sentences.
    pub(crate) negative: Words,
}

/// Every sentiment-bearing word of both grammars.
pub(crate) const PAIRS: &[WordPair] = &[
    WordPair {
        slot: "quality",
        positive: &[
            "wonderful",
            "beautiful",
            "perfect",
            "excellent",
            "splendid",
            "lovely",
            "superb",
            "fantastic",
            "amazing",
            "brilliant",
            "charming",
            "elegant",
            "useful",
            "sturdy",
            "marvelous",
            "great",
            "impressive",
        ],
        negative: &[
            "terrible",
            "broken",
            "ugly",
            "useless",
            "awful",
            "horrible",
            "faulty",
            "worthless",
            "damaged",
            "shabby",
            "dreadful",
            "rusty",
            "flimsy",
            "hideous",
            "ruined",
            "cracked",
            "bad",
            "shoddy",
        ],
    },
    WordPair {
        slot: "taste",
        positive: &[
            "delicious",
            "tasty",
            "fresh",
            "warm and delicious",
            "yummy",
            "savory",
            "juicy",
            "flavorful",
            "wonderful",
            "excellent",
            "sweet and tasty",
            "superb",
            "perfect",
        ],
        negative: &[
            "disgusting",
            "stale",
            "rotten",
            "cold and awful",
            "burnt",
            "moldy",
            "sour",
            "tasteless",
            "soggy",
            "greasy",
            "spoiled",
            "inedible",
            "horrible",
            "terrible",
        ],
    },
    WordPair {
        slot: "event",
        positive: &[
            "exciting",
            "pleasant",
            "enjoyable",
            "delightful",
            "successful",
            "joyful",
            "wonderful",
            "magical",
            "thrilling",
            "memorable",
            "rewarding",
            "glorious",
            "fantastic",
            "amusing",
        ],
        negative: &[
            "boring",
            "painful",
            "unpleasant",
            "disastrous",
            "tragic",
            "miserable",
            "dreadful",
            "frightening",
            "exhausting",
            "dull",
            "disappointing",
            "hopeless",
            "ghastly",
            "stressful",
            "terrible",
        ],
    },
    WordPair {
        slot: "mood",
        positive: &[
            "happy",
            "glad",
            "delighted",
            "joyful",
            "proud",
            "grateful",
            "pleased",
            "excited",
            "thrilled",
            "hopeful",
            "relaxed",
            "content",
            "overjoyed",
            "cheerful",
        ],
        negative: &[
            "sad",
            "angry",
            "upset",
            "miserable",
            "worried",
            "afraid",
            "lonely",
            "disappointed",
            "ashamed",
            "furious",
            "frustrated",
            "unhappy",
            "heartbroken",
            "jealous",
            "annoyed",
            "bored",
        ],
    },
    WordPair {
        slot: "character",
        positive: &[
            "kind",
            "generous",
            "helpful",
            "polite",
            "honest",
            "patient",
            "brave",
            "friendly",
            "gentle",
            "thoughtful",
            "charming",
        ],
        negative: &[
            "rude",
            "cruel",
            "mean",
            "selfish",
            "dishonest",
            "lazy",
            "unkind",
            "impatient",
            "greedy",
            "careless",
            "grumpy",
            "hostile",
        ],
    },
    WordPair {
        slot: "creature",
        positive: &["gentle", "friendly", "playful", "healthy", "clever", "adorable", "happy", "calm and gentle"],
        negative: &["angry", "sick", "vicious", "hurt", "frightened", "nasty", "injured", "aggressive"],
    },
    WordPair {
        slot: "weather",
        positive: &["sunny", "lovely", "pleasant", "gorgeous", "glorious", "perfect", "beautiful", "delightful"],
        negative: &["gloomy", "dismal", "nasty", "dreadful", "bleak", "horrible", "miserable", "awful"],
    },
    WordPair {
        slot: "setting",
        positive: &[
            "beautiful",
            "cozy",
            "tidy",
            "peaceful",
            "welcoming",
            "charming",
            "spotless",
            "lovely",
            "safe",
            "cheerful",
        ],
        negative: &[
            "filthy",
            "ugly",
            "gloomy",
            "dangerous",
            "smelly",
            "dirty",
            "creepy",
            "dreary",
            "awful",
            "depressing",
        ],
    },
    WordPair {
        slot: "loved",
        positive: &["loved", "adored", "enjoyed", "admired", "liked", "treasured", "cherished", "praised"],
        negative: &["hated", "disliked", "despised", "detested", "loathed", "cursed", "resented"],
    },
    WordPair {
        slot: "saved",
        positive: &["saved", "repaired", "rescued", "improved", "restored", "protected"],
        negative: &["broke", "ruined", "damaged", "wrecked", "destroyed", "spoiled"],
    },
    WordPair {
        slot: "gladly",
        positive: &["happily", "gladly", "cheerfully", "proudly", "joyfully", "gratefully", "eagerly", "merrily"],
        negative: &["sadly", "angrily", "bitterly", "miserably", "unhappily", "grimly", "gloomily", "reluctantly"],
    },
    WordPair {
        slot: "Luckily",
        positive: &["Luckily", "Fortunately", "Thankfully", "Happily"],
        negative: &["Unfortunately", "Sadly", "Unluckily", "Tragically"],
    },
    WordPair {
        slot: "smiled",
        positive: &[
            "smiled",
            "laughed",
            "cheered",
            "grinned",
            "danced with joy",
            "sang with delight",
            "giggled",
            "felt wonderful",
            "beamed with pride",
            "clapped with pleasure",
        ],
        negative: &[
            "cried",
            "wept",
            "frowned",
            "groaned",
            "sobbed",
            "shouted in anger",
            "felt terrible",
            "trembled with fear",
            "screamed in pain",
            "sighed with sorrow",
        ],
    },
    WordPair {
        slot: "won",
        positive: &[
            "won first prize",
            "won a shiny medal",
            "succeeded at last",
            "received a lovely gift",
            "earned a great deal of praise",
            "got some good news",
            "made a wonderful new friend",
            "felt healthy and strong",
            "had the best day of the year",
            "won the contest with ease",
            "found a hidden treasure",
            "enjoyed every minute",
        ],
        negative: &[
            "lost the contest",
            "failed the test",
            "received bad news",
            "lost all {p} money",
            "got badly hurt",
            "felt sick and weak",
            "fell and broke {p} arm",
            "had the worst day of the year",
            "failed again and again",
            "lost {p} favorite coat",
            "was cheated by a liar",
            "suffered all night",
        ],
    },
    WordPair {
        slot: "joy",
        positive: &["joy", "delight", "happiness", "pride", "pleasure", "hope", "gratitude"],
        negative: &["anger", "sorrow", "fear", "misery", "shame", "grief", "despair"],
    },
];

/// The sentiment list behind `slot`; empty for an unknown slot and for neutral sentences.
pub(crate) fn sentiment(slot: &str, polarity: Polarity) -> Words {
    let pair = PAIRS.iter().find(|pair| pair.slot == slot);
    match (pair, polarity) {
        (Some(pair), Polarity::Positive) => pair.positive,
        (Some(pair), Polarity::Negative) => pair.negative,
        _ => &[],
    }
}

/// One entry of `list`, avoiding those in `used` where a few tries allow; empty for an empty list.
pub(crate) fn pick(rng: &mut impl Rng, list: Words, used: &mut Vec<&'static str>) -> &'static str {
    let mut choice = "";
    for _ in 0..8 {
        choice = list.choose(rng).copied().unwrap_or_default();
        if !used.contains(&choice) {
            break;
        }
    }
    used.push(choice);
    choice
}

/// Replaces each `{slot}` of `template` by what `lookup` gives, which may itself hold slots.
pub(crate) fn fill(template: &str, lookup: &mut dyn FnMut(&str) -> String) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, tail)) = rest.split_once('{') {
        let (slot, after) = tail.split_once('}').unwrap_or((tail, ""));
        out.push_str(before);
        let value = lookup(slot);
        out.push_str(&fill(&value, lookup));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Turns a filled template into a sentence: `a` or `an`, a capital letter and a full stop.
pub(crate) fn finish(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut fixed = Vec::with_capacity(words.len());
    for (at, &word) in words.iter().enumerate() {
        let vowel = words.get(at + 1).is_some_and(|next| takes_an(next));
        fixed.push(match word {
            "a" if vowel => "an",
            "A" if vowel => "An",
            other => other,
        });
    }
    let mut sentence = capitalize(&fixed.join(" "));
    sentence.push('.');
    sentence
}

/// Whether `word` starts with a vowel sound.
fn takes_an(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    let vowel = word.starts_with(['a', 'e', 'i', 'o', 'u']);
    let exception = ["useful", "useless", "one", "unique", "usual", "uniform", "ukulele"].contains(&word.as_str());
    (vowel && !exception) || word.starts_with("honest") || word.starts_with("hour")
}

/// `text` with its first letter in upper case.
fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_ascii_uppercase().to_string() + chars.as_str(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articles_follow_the_next_word() {
        assert_eq!(finish("a apple and a useful hat"), "An apple and a useful hat.");
        assert_eq!(finish("it was a honest  man"), "It was an honest man.");
    }

    #[test]
    fn slots_nest() {
        let mut lookup = |slot: &str| {
            if slot == "a" { "x {b}".to_string() } else { "y".to_string() }
        };
        assert_eq!(fill("{a} and {b}", &mut lookup), "x y and y");
    }

    #[test]
    fn no_word_has_both_polarities() {
        let words = |list: Words| list.iter().map(|w| w.to_lowercase()).collect::<Vec<_>>();
        let negative: Vec<_> = PAIRS.iter().flat_map(|pair| words(pair.negative)).collect();
        for word in PAIRS.iter().flat_map(|pair| words(pair.positive)) {
            assert!(!negative.contains(&word), "{word}");
        }
    }
}
