//! Product reviews with star ratings, from a grammar of their own that shares its sentiment words with the stories.
//! A sentiment classifier trained on them therefore transfers to stories it has never seen.

use super::storyworld::Plot;
use super::words::{Polarity, Words, fill, finish, pick, sentiment};
use rand::{Rng, RngExt, seq::IndexedRandom};

/// A product review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// 2 to 5 sentences.
    pub text: String,
    /// The rating, 1 (worst) to 5 (best); 3 is undecided.
    pub stars: u8,
}

/// A review by a rater who is only human: the more its positive sentences outnumber the negative ones, the likelier
/// are many stars. A classifier of such reviews has log-odds that grow with every charged sentence, where certain
/// ratings would teach it to jump from one extreme to the other.
pub fn review(rng: &mut impl Rng) -> Review {
    let sentences = tell(rng);
    let polarities: Vec<Polarity> = sentences.iter().map(|(_, polarity)| *polarity).collect();
    let text: Vec<String> = sentences.into_iter().map(|(text, _)| text).collect();
    // A logistic variate: more stars than the middle have log-odds GAIN times the balance.
    let u: f64 = rng.random_range(1e-9..1.0 - 1e-9);
    Review { text: text.join(" "), stars: stars(&polarities, (u / (1.0 - u)).ln()) }
}

/// Log-odds of a good rating that each charged sentence adds.
const GAIN: f64 = 4.0;

/// The rating: the balance of charged sentences and the rater's mood, cut at fixed thresholds.
fn stars(polarities: &[Polarity], mood: f64) -> u8 {
    let count = |p| polarities.iter().filter(|&&q| q == p).count() as f64;
    let opinion = GAIN * (count(Polarity::Positive) - count(Polarity::Negative)) + mood;
    match opinion {
        o if o < -1.5 * GAIN => 1,
        o if o < -0.2 => 2,
        o if o <= 0.2 => 3,
        o if o <= 1.5 * GAIN => 4,
        _ => 5,
    }
}

/// The sentences of a review, each with its sentiment.
fn tell(rng: &mut impl Rng) -> Vec<(String, Polarity)> {
    // Half of all reviews are of stories, and tell some of the plot.
    let plot = if rng.random_bool(0.5) { Plot::new(rng) } else { None };
    let kinds = if plot.is_some() { STORIES } else { KINDS };
    let Some(kind) = kinds.choose(rng) else {
        return Vec::new();
    };
    let mut used = Vec::new();
    let product = pick(rng, kind.products, &mut used);
    let mut writer = Writer { kind, plot, product, sister: true, used };
    // How likely a charged sentence is to be positive: leaning reviews and mixed ones.
    let lean = [0.02, 0.25, 0.5, 0.75, 0.98].choose(rng).copied().unwrap_or(0.5);
    let count = rng.random_range(2..=5);
    let tell_one = |at| {
        let polarity = draw(rng, lean);
        (writer.sentence(rng, polarity, at == 0), polarity)
    };
    (0..count).map(tell_one).collect()
}

/// Chance that a review's sentence carries no sentiment.
const NEUTRAL_SHARE: f64 = 0.4;

/// A sentiment for one sentence.
fn draw(rng: &mut impl Rng, lean: f64) -> Polarity {
    if rng.random_bool(NEUTRAL_SHARE) {
        Polarity::Neutral
    } else if rng.random_bool(lean) {
        Polarity::Positive
    } else {
        Polarity::Negative
    }
}

/// One review in the making.
struct Writer {
    kind: &'static Kind,
    /// What a reviewed story tells.
    plot: Option<Plot>,
    product: &'static str,
    /// Whether the relative last mentioned is a woman.
    sister: bool,
    used: Vec<&'static str>,
}

impl Writer {
    fn sentence(&mut self, rng: &mut impl Rng, polarity: Polarity, first: bool) -> String {
        if let (Some(plot), Polarity::Neutral, false) = (&mut self.plot, polarity, first) {
            return plot.sentence(rng);
        }
        let list = if polarity == Polarity::Neutral {
            if first { NEUTRAL_OPENINGS } else { NEUTRAL }
        } else if first {
            OPENINGS
        } else if rng.random_bool(0.35) {
            self.kind.charged
        } else {
            CHARGED
        };
        let template = pick(rng, list, &mut self.used);
        finish(&fill(template, &mut |slot| self.value(rng, slot, polarity)))
    }

    /// The text for one slot of a template.
    fn value(&mut self, rng: &mut impl Rng, slot: &str, polarity: Polarity) -> String {
        let list: Words = match slot {
            "product" => return self.product.to_string(),
            "p" => return if self.sister { "her" } else { "his" }.to_string(),
            "because" => {
                return if polarity == Polarity::Positive { "thanks to" } else { "because of" }.to_string();
            }
            "kin" => {
                self.sister = rng.random_bool(0.5);
                if self.sister { WOMEN } else { MEN }
            }
            "part" => self.kind.parts,
            "staff" => STAFF,
            "from" => SOURCES,
            "time" => TIMES,
            "color" => COLORS,
            "price" => PRICES,
            "mine" => MINE,
            "service" => SERVICES,
            _ => sentiment(slot, polarity),
        };
        pick(rng, list, &mut self.used).to_string()
    }
}

const OPENINGS: Words = &[
    "I {loved} this {product}",
    "this {product} is {quality}",
    "I bought this {product} {time}, and it is {quality}",
    "what a {quality} {product}",
    "my {kin} {loved} this {product}",
    "I am {mood} about this {product}",
    "I ordered a {color} {product}, and it arrived {quality}",
    "buying this {product} was a {event} experience",
];

const NEUTRAL_OPENINGS: Words = &[
    "I bought this {product} {time}",
    "I ordered the {color} {product} {from}",
    "this {product} cost {price} dollars {from}",
    "my {kin} picked this {product} {from}",
];

const NEUTRAL: Words = &[
    "it came in a {color} box",
    "I paid {price} dollars for it",
    "the {product} arrived {time}",
    "my {kin} has the same {product} in {color}",
    "the {part} comes in {color}",
    "I have had it for {price} days",
    "I ordered it {from}",
];

const CHARGED: Words = &[
    "the {part} is {quality} and {quality}",
    "the {part} looks {quality}",
    "everyone in my family {loved} it",
    "I {loved} the {part} most of all",
    "the {service} was {event}",
    "using it was {event}",
    "the {staff} was {character} with me",
    "the {staff} was {character} and {character}",
    "my {kin} was {mood} about the {part}",
    "I felt {mood} when I opened the box",
    "my {kin} {smiled} when it came",
    "it {saved} my {mine}",
    "{Luckily}, it {saved} my {mine}",
    "{Luckily}, the {service} was {event}",
    "my {kin} {won} {because} this {product}",
    "I {gladly} told my friends about it",
    "I {gladly} wrote to the {staff}",
    "my dog was {creature} when it saw the {product}",
    "my cat became {creature} near it",
    "the shop was {setting}, and the {staff} was {character}",
    "it made my room look {setting}",
    "it made a long day feel {weather}",
    "the mood in our house was {weather}",
    "the {product} filled me with {joy}",
    "for {price} dollars it brought only {joy}",
];

/// A family of products.
struct Kind {
    products: Words,
    /// Parts and qualities, singular.
    parts: Words,
    /// Charged sentences that fit only this family.
    charged: Words,
}

const KINDS: &[Kind] = &[
    Kind {
        products: &["kettle", "blender", "toaster", "frying pan", "coffee maker", "oven", "lamp"],
        parts: &["handle", "lid", "cable", "switch", "finish", "design"],
        charged: &["the food it makes is {taste}", "my first meal with it was {taste}", "the tea tasted {taste}"],
    },
    Kind {
        products: &["coffee", "jam", "chocolate", "honey", "bread mix", "cheese", "snack box"],
        parts: &["flavor", "package", "label", "smell", "texture"],
        charged: &[
            "it tastes {taste}",
            "the {product} was {taste}",
            "my {kin} said that it was {taste}",
            "it was {taste} even after a week",
        ],
    },
    Kind {
        products: &["tent", "backpack", "sleeping bag", "bicycle", "canoe", "pair of boots"],
        parts: &["zipper", "strap", "fabric", "frame", "pocket"],
        charged: &[
            "our trip with it was {event}",
            "the weather was {weather}, and the {product} was {quality}",
            "our camp looked {setting}",
            "in {weather} weather it was {quality}",
        ],
    },
    Kind {
        products: &["camera", "phone", "computer", "radio", "clock", "keyboard", "pair of headphones"],
        parts: &["screen", "battery", "sound", "button", "manual"],
        charged: &["the {part} was {quality} after a week", "setting it up was {event}", "the pictures look {weather}"],
    },
    Kind {
        products: &["coat", "sweater", "hat", "blanket", "chair", "carpet", "dog bed", "pillow"],
        parts: &["color", "fabric", "shape", "stitching", "size"],
        charged: &["the {part} makes me {mood}", "my puppy is {creature} on it", "our bedroom looks {setting} now"],
    },
];

/// Products that tell a story.
const STORIES: &[Kind] = &[Kind {
    products: &["novel", "film", "play", "comic book", "audio book", "picture book"],
    parts: &["story", "cover", "ending", "plot", "print"],
    charged: &["the {part} was {event}", "the main character is {character}", "the second half was {event}"],
}];

const STAFF: Words = &["seller", "driver", "clerk", "manager", "courier", "shop owner", "help desk"];
const SERVICES: Words = &["delivery", "return process", "service", "phone call", "repair", "purchase"];
const MEN: Words = &["husband", "son", "brother", "father", "uncle", "grandson"];
const WOMEN: Words = &["wife", "daughter", "sister", "mother", "aunt", "niece"];
const TIMES: Words =
    &["last week", "in May", "two months ago", "on Monday", "last year", "three days ago", "in the spring"];
const COLORS: Words = &["red", "blue", "green", "black", "white", "gray", "brown"];
const PRICES: Words = &["ten", "twenty", "thirty", "forty", "fifty", "ninety"];
const SOURCES: Words = &["online", "from the store", "from the catalog", "at the mall", "from the web shop"];
const MINE: Words = &["day", "weekend", "kitchen", "holiday", "floor", "morning", "evening", "desk"];

#[cfg(test)]
mod tests {
    use super::super::words::PAIRS;
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::HashSet;

    fn reviews(count: usize) -> Vec<Review> {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        (0..count).map(|_| review(&mut rng)).collect()
    }

    #[test]
    fn same_seed_same_review() {
        assert_eq!(reviews(20), reviews(20));
    }

    #[test]
    fn sentences_are_well_formed() {
        for Review { text, stars } in reviews(3000) {
            assert!(text.is_ascii() && text.ends_with('.') && (1..=5).contains(&stars), "{text}");
            assert!((2..=5).contains(&text.matches('.').count()), "{text}");
            assert!(!text.contains(['{', '}', '"']) && !text.contains("  ") && !text.contains(" ."), "{text}");
        }
    }

    #[test]
    fn stars_follow_the_sentences() {
        use Polarity::{Negative as N, Neutral as O, Positive as P};
        let calm = |polarities: &[Polarity]| stars(polarities, 0.0);
        assert_eq!([calm(&[P, O]), calm(&[P, P, P, N]), calm(&[P, N])], [4, 5, 3]);
        assert_eq!([calm(&[O, O]), calm(&[N, N, P]), calm(&[N, N, N])], [3, 2, 1]);
        assert_eq!([stars(&[P, P], -20.0), stars(&[N, N], 20.0)], [1, 5]);
        let all: Vec<u8> = reviews(2000).iter().map(|r| r.stars).collect();
        for star in 1..=5 {
            assert!(all.iter().filter(|&&s| s == star).count() > 20, "{star}");
        }
    }

    #[test]
    fn reviews_are_many() {
        let texts: HashSet<String> = reviews(3000).into_iter().map(|r| r.text).collect();
        assert!(texts.len() > 2900);
    }

    #[test]
    fn every_story_word_occurs_with_its_polarity() {
        let plain = |text: &str| format!(" {}", text.to_lowercase().replace(['.', ','], " "));
        let all: Vec<(String, u8)> = reviews(40_000).iter().map(|r| (plain(&r.text), r.stars)).collect();
        let mean = |word: &str| {
            let head = word.split(" {").next().unwrap_or(word).to_lowercase();
            let probe = format!(" {head} ");
            let hits: Vec<f64> =
                all.iter().filter(|(text, _)| text.contains(&probe)).map(|(_, s)| f64::from(*s)).collect();
            assert!(hits.len() >= 5, "{word}: {}", hits.len());
            hits.iter().sum::<f64>() / hits.len() as f64
        };
        for pair in PAIRS {
            pair.positive.iter().for_each(|w| assert!(mean(w) > 3.1, "{w}"));
            pair.negative.iter().for_each(|w| assert!(mean(w) < 2.9, "{w}"));
        }
    }
}
