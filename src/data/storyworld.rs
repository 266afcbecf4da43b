//! Short English stories from a probabilistic grammar, in which every sentence is positive, negative or neutral.
//! They stand in for natural text where a sentiment task needs an endless, licence-free corpus.

use super::words::{Polarity, Words, fill, finish, pick, sentiment};
use rand::{Rng, RngExt, seq::IndexedRandom};

/// A passage: 4 to 9 short sentences about one protagonist in one scene.
pub fn passage(rng: &mut impl Rng) -> String {
    let sentences: Vec<String> = tell(rng).into_iter().map(|(text, _)| text).collect();
    sentences.join(" ")
}

/// The sentences of a passage, each with its sentiment.
fn tell(rng: &mut impl Rng) -> Vec<(String, Polarity)> {
    let Some(scene) = SCENES.choose(rng) else {
        return Vec::new();
    };
    let mut story = Story::new(rng, scene);
    let count = rng.random_range(4..=9);
    let mut polarity = Polarity::draw(rng);
    let mut sentences = Vec::with_capacity(count);
    for at in 0..count {
        sentences.push((story.sentence(rng, polarity, at == 0), polarity));
        if !rng.random_bool(PERSISTENCE) {
            polarity = Polarity::draw(rng);
        }
    }
    sentences
}

/// Chance that a sentence takes the sentiment of the one before it without a fresh draw.
const PERSISTENCE: f64 = 0.2;

/// Chance that the protagonist is named again instead of called by a pronoun.
const RENAME: f64 = 0.3;

/// Chance that a sentence after the first opens with a time phrase.
const TIMED: f64 = 0.25;

/// The plot of a story, sentence by sentence and without any sentiment.
pub(crate) struct Plot(Story);

impl Plot {
    /// A plot in a random scene; `None` only if there were no scenes.
    pub(crate) fn new(rng: &mut impl Rng) -> Option<Self> {
        SCENES.choose(rng).map(|scene| Self(Story::new(rng, scene)))
    }

    /// The next sentence.
    pub(crate) fn sentence(&mut self, rng: &mut impl Rng) -> String {
        self.0.sentence(rng, Polarity::Neutral, false)
    }
}

/// What stays the same within a passage, and what has been said already.
struct Story {
    scene: &'static Scene,
    woman: bool,
    hero: &'static str,
    friend: &'static str,
    friend_known: bool,
    used: Vec<&'static str>,
}

impl Story {
    /// Draws the protagonist and the friend for a scene.
    fn new(rng: &mut impl Rng, scene: &'static Scene) -> Self {
        let woman = rng.random_bool(0.5);
        let (heroes, friends) = if woman { (WOMEN, MEN) } else { (MEN, WOMEN) };
        let mut used = Vec::new();
        let hero = pick(rng, heroes, &mut used);
        let friend = pick(rng, friends, &mut used);
        Self { scene, woman, hero, friend, friend_known: false, used }
    }

    /// A sentence of 5 to 14 words, where a few tries give one.
    fn sentence(&mut self, rng: &mut impl Rng, polarity: Polarity, first: bool) -> String {
        let known = self.friend_known;
        let mut text = String::new();
        for _ in 0..20 {
            self.friend_known = known;
            text = self.try_sentence(rng, polarity, first);
            if (5..=14).contains(&text.split_whitespace().count()) {
                break;
            }
        }
        text
    }

    fn try_sentence(&mut self, rng: &mut impl Rng, polarity: Polarity, first: bool) -> String {
        let mut template = pick(rng, templates(polarity, first), &mut self.used).to_string();
        if !first && !template.contains("{Luckily}") && rng.random_bool(TIMED) {
            template = format!("{{time}}, {template}");
        }
        finish(&fill(&template, &mut |slot| self.value(rng, slot, polarity)))
    }

    /// The text for one slot of a template.
    fn value(&mut self, rng: &mut impl Rng, slot: &str, polarity: Polarity) -> String {
        let scene = self.scene;
        match slot {
            "N" => self.hero.to_string(),
            "S" if rng.random_bool(RENAME) => self.hero.to_string(),
            "S" | "s" => self.by_gender("she", "he"),
            "o" => self.by_gender("her", "him"),
            "p" => self.by_gender("her", "his"),
            "friend" => self.friend(rng),
            "place" => without_preposition(pick(rng, scene.places, &mut self.used)).to_string(),
            "at" => pick(rng, scene.places, &mut self.used).replacen('|', " ", 1),
            _ => pick(rng, self.list(slot, polarity), &mut self.used).to_string(),
        }
    }

    fn by_gender(&self, woman: &str, man: &str) -> String {
        if self.woman { woman.to_string() } else { man.to_string() }
    }

    /// The friend's name, with how they are related at the first mention.
    fn friend(&mut self, rng: &mut impl Rng) -> String {
        if self.friend_known {
            return self.friend.to_string();
        }
        self.friend_known = true;
        let kin = if self.woman { MALE_KIN } else { FEMALE_KIN };
        format!("{{p}} {} {}", pick(rng, kin, &mut self.used), self.friend)
    }

    /// The word list behind a slot.
    fn list(&self, slot: &str, polarity: Polarity) -> Words {
        match slot {
            "thing" => self.scene.things,
            "person" => self.scene.people,
            "animal" => self.scene.animals,
            "food" => self.scene.foods,
            "occasion" => self.scene.events,
            "act" => self.scene.acts,
            "detail" => self.scene.details,
            "time" => TIMES,
            "when" => WHEN,
            "look" => LOOKS,
            "color" => COLORS,
            "matter" => MATTERS,
            "clothes" => CLOTHES,
            "town" => TOWNS,
            "age" => AGES,
            "sky" => SKIES,
            "spot" => SPOTS,
            "number" => NUMBERS,
            _ => sentiment(slot, polarity),
        }
    }
}

/// The noun phrase of a place such as `at|the harbor`.
fn without_preposition(place: &str) -> &str {
    place.split_once('|').map_or(place, |(_, noun)| noun)
}

/// The sentence templates for a sentiment, at the start of a passage or within it.
fn templates(polarity: Polarity, first: bool) -> Words {
    match (polarity, first) {
        (Polarity::Neutral, true) => NEUTRAL_OPENINGS,
        (Polarity::Neutral, false) => NEUTRAL,
        (_, true) => CHARGED_OPENINGS,
        (_, false) => CHARGED,
    }
}

const NEUTRAL_OPENINGS: Words = &[
    "{when}, {N} walked to {place}",
    "{N} was a {age} {person} from {town}",
    "{N} lived in a {matter} house near {town}",
    "{when}, {N} met {friend} {at}",
    "{N} came from {town} and worked as a {person}",
    "{when}, {N} put on {p} {color} {clothes} and went out",
    "{N} and {friend} arrived at {place} {sky}",
    "{when}, {N} {act}",
    "there was a {age} {person} named {N} in {town}",
];

const CHARGED_OPENINGS: Words = &[
    "{when}, {N} was {mood} to see {friend}",
    "{N} {loved} the {thing} from {town}",
    "{N} was a {character} {person} from {town}",
    "{when}, {N} had a {event} time {at}",
    "the weather was {weather} when {N} reached {place}",
    "{N} {gladly} walked to {place} with {friend}",
    "{when}, {N} {won}",
    "{N} lived in a {setting} house near {town}",
    "{N} {loved} {p} work as a {person}",
    "{N} felt {mood} about {p} new life in {town}",
];

const NEUTRAL: Words = &[
    "{S} {act}",
    "{S} {act} and then {act}",
    "{friend} {act}",
    "{detail}",
    "{detail}",
    "{S} {act} {sky}",
    "the {thing} was {spot}",
    "the {thing} was {color} and {look}",
    "a {person} walked past with a {matter} {thing}",
    "{S} put the {thing} {spot}",
    "{S} saw {number} people {at}",
    "{S} carried a {look} {thing} to {place}",
    "there was some {food} {spot}",
    "{S} shared the {food} with {friend}",
    "{S} asked the {person} about the {thing}",
    "the {animal} sat {spot}",
    "a {color} {animal} moved across the road",
    "{S} wore a {color} {clothes} and carried a {thing}",
    "the {person} talked with {friend} about the {occasion}",
    "the {occasion} started {sky}",
    "{friend} came from {town} with a {look} {thing}",
    "{S} had {number} coins in {p} pocket",
    "the road to {town} went past {place}",
    "{friend} stopped {at} and then {act}",
    "the {person} looked at the {look} {thing}",
    "{S} waited {at} for {number} minutes",
    "{S} opened the door and looked at the {animal}",
];

const CHARGED: Words = &[
    "the {thing} was {quality} and {quality}",
    "the {food} was {taste}",
    "{S} said that the {food} was {taste}",
    "{friend} served some {taste} {food}",
    "the {occasion} was {event}",
    "it was a {event} {occasion}",
    "{S} felt {mood} after the {occasion}",
    "{S} was {mood} about the {occasion}",
    "{S} was {mood}, and {friend} was {mood} too",
    "{friend} {smiled} when the {person} left",
    "{S} saw the {thing} and {smiled}",
    "{S} {loved} the {thing} and the {food}",
    "{S} {loved} the {animal}",
    "{friend} {loved} the {quality} {thing}",
    "everyone {loved} the {occasion}",
    "the {person} was {character} with {o}",
    "a {character} {person} {gladly} spoke to {friend}",
    "the {animal} was {creature}",
    "a {creature} {animal} came close to {o}",
    "the weather turned {weather}",
    "it was a {weather} day, and {s} was {mood}",
    "{S} thought that {place} looked {setting}",
    "{place} was {setting} and {setting}",
    "{friend} {saved} the {thing}",
    "the {person} {saved} the {thing} before the {occasion}",
    "{S} {gladly} {act}",
    "{friend} {gladly} {act}",
    "{Luckily}, {S} {won}",
    "{Luckily}, {friend} {saved} the {thing}",
    "{S} {won}",
    "the news from {town} filled {o} with {joy}",
    "{S} was full of {joy} when {friend} spoke",
    "the {person} {smiled} {at}",
    "{S} bought a {quality} {thing} from the {person}",
];

/// The nouns and actions of one setting.
struct Scene {
    /// `preposition|the noun`.
    places: Words,
    /// Countable things, singular.
    things: Words,
    /// Trades and roles, singular.
    people: Words,
    /// Animals, singular.
    animals: Words,
    /// Food, as a mass noun or a singular dish.
    foods: Words,
    /// Occasions, singular.
    events: Words,
    /// Plain past-tense verb phrases.
    acts: Words,
    /// Plain sentences on the surroundings.
    details: Words,
}

const SCENES: &[Scene] = &[
    Scene {
        places: &["at|the harbor", "on|the beach", "at|the lighthouse", "on|the pier", "near|the bay", "on|the island"],
        things: &["net", "anchor", "oar", "rope", "paddle", "sail", "compass", "bucket", "life jacket", "lantern"],
        people: &["sailor", "captain", "fisherman", "diver", "pirate", "swimmer"],
        animals: &["seagull", "crab", "dolphin", "seal", "turtle", "pelican"],
        foods: &["fish soup", "smoked salmon", "shrimp", "seaweed salad", "fried cod"],
        events: &["voyage", "boat race", "fishing trip", "storm watch"],
        acts: &[
            "tied the rope to the dock",
            "counted the waves",
            "rowed across the bay",
            "dried {p} shoes on the sand",
            "watched the ships",
            "pulled the nets from the water",
            "collected shells and pebbles",
        ],
        details: &[
            "the tide moved over the rocks",
            "a ship passed the coast at noon",
            "the water was deep and blue",
            "foam covered the shore in the evening",
            "three barrels stood beside the dock",
        ],
    },
    Scene {
        places: &["on|the farm", "in|the barn", "in|the field", "at|the stable", "by|the pond", "in|the meadow"],
        things: &["hoe", "sickle", "horse brush", "feed bag", "pitchfork", "saddle", "shovel", "milk pail", "hay fork"],
        people: &["farmer", "shepherd", "milkmaid", "vet", "neighbor", "miller"],
        animals: &["cow", "horse", "goat", "sheep", "rooster", "duck", "donkey", "pig", "lamb"],
        foods: &["goat cheese", "cream", "corn bread", "egg salad", "pork stew", "butter"],
        events: &["harvest", "county fair", "planting season", "cattle show"],
        acts: &[
            "fed the chickens",
            "milked the cows",
            "stacked the hay",
            "painted the gate",
            "planted rows of corn",
            "cut the wheat",
            "led the animals to the pasture",
            "filled the trough with water",
        ],
        details: &[
            "the wheat stood tall in the field",
            "two hens sat on the fence",
            "mud covered the wheels of the cart",
            "the windmill turned above the barn",
            "the cows ate grass by the stream",
        ],
    },
    Scene {
        places: &["in|the kitchen", "in|the bakery", "in|the restaurant", "at|the inn", "in|the dining room"],
        things: &[
            "rolling pin",
            "kettle",
            "frying pan",
            "spoon",
            "teapot",
            "knife",
            "bowl",
            "recipe book",
            "apron",
            "plate",
        ],
        people: &["cook", "baker", "waiter", "chef", "butcher", "guest"],
        animals: &["cat", "mouse", "parrot", "puppy", "kitten"],
        foods: &[
            "soup",
            "apple pie",
            "bread",
            "roast chicken",
            "chocolate cake",
            "rice pudding",
            "pasta",
            "onion tart",
            "pancake batter",
            "gravy",
        ],
        events: &["dinner", "breakfast", "feast", "cooking class", "supper", "banquet"],
        acts: &[
            "stirred the sauce",
            "washed the dishes",
            "peeled the potatoes",
            "set the table for four",
            "chopped the carrots",
            "boiled some water",
            "folded the napkins",
            "rolled the dough",
        ],
        details: &[
            "steam rose from the pot",
            "flour covered the counter",
            "the clock on the wall showed nine",
            "the cups and saucers stood on a tray",
            "garlic and pepper hung by the stove",
        ],
    },
    Scene {
        places: &["in|the forest", "in|the woods", "by|the river", "at|the cabin", "near|the cave", "by|the waterfall"],
        things: &["tent", "axe", "bow", "torch", "map", "backpack", "trap", "fishing rod", "ladder", "whistle"],
        people: &["hunter", "ranger", "woodcutter", "hermit", "camper", "scout"],
        animals: &["fox", "bear", "deer", "owl", "rabbit", "squirrel", "wolf", "hedgehog", "badger"],
        foods: &["mushroom stew", "berry jam", "rabbit pie", "honey", "chestnut soup", "venison"],
        events: &["hike", "camping trip", "treasure hunt", "walk through the trees"],
        acts: &[
            "gathered dry branches",
            "followed the narrow path",
            "crossed the wooden bridge",
            "listened to the birds",
            "sat on a fallen log",
            "built a small fire",
            "picked berries from a bush",
            "drew marks on the bark",
        ],
        details: &[
            "moss grew on the oak trees",
            "the path turned left at the pine",
            "leaves covered the ground",
            "an owl called from a branch",
            "the river ran under the bridge",
        ],
    },
    Scene {
        places: &["at|the market", "in|the shop", "on|the square", "at|the fountain", "in|the warehouse"],
        things: &["basket", "carpet", "vase", "clock", "mirror", "necklace", "blanket", "lamp", "purse", "scale"],
        people: &["merchant", "tailor", "jeweler", "customer", "grocer", "clerk", "beggar"],
        animals: &["dog", "pigeon", "monkey", "camel", "canary"],
        foods: &["melon", "spiced tea", "olive bread", "sausage", "grape juice", "peach jam", "roasted corn"],
        events: &["auction", "sale", "parade", "spring festival", "street fair"],
        acts: &[
            "paid for a bag of beans",
            "looked at the stalls",
            "sold a dozen eggs",
            "asked about the price of silk",
            "weighed the tomatoes",
            "counted the change",
            "packed the oranges in a crate",
            "stood in a long line",
        ],
        details: &[
            "the stalls stood in two rows",
            "bells rang in the tower at noon",
            "carts rolled across the stones",
            "people in hats filled the square",
            "a boy sold newspapers at the corner",
        ],
    },
    Scene {
        places: &["in|the schoolyard", "in|the library", "in|the classroom", "on|the playground", "in|the museum"],
        things: &[
            "notebook",
            "pencil",
            "schoolbag",
            "globe",
            "dictionary",
            "ruler",
            "chalkboard",
            "microscope",
            "novel",
        ],
        people: &["teacher", "student", "librarian", "principal", "janitor", "professor"],
        animals: &["hamster", "goldfish", "lizard", "frog", "guinea pig"],
        foods: &["peanut butter", "cafeteria soup", "yogurt", "cheese pizza", "lemonade", "noodle salad"],
        events: &["lesson", "science fair", "field trip", "spelling contest", "exam", "history class"],
        acts: &[
            "read a chapter about planets",
            "wrote an essay on whales",
            "copied the words from the board",
            "sat in the second row",
            "drew a map of Asia",
            "studied numbers and shapes",
            "borrowed a book on poetry",
            "put {p} papers in a folder",
        ],
        details: &[
            "the bell rang at eight",
            "books filled the shelves along the wall",
            "the hall had a row of lockers",
            "a chart of the alphabet hung by the window",
            "the pupils sat in groups of five",
        ],
    },
    Scene {
        places: &["in|the garden", "in|the park", "in|the greenhouse", "in|the orchard", "by|the hedge"],
        things: &[
            "rake",
            "trowel",
            "flower pot",
            "hose",
            "flower basket",
            "wheelbarrow",
            "kite",
            "watering can",
            "birdhouse",
        ],
        people: &["gardener", "florist", "beekeeper", "painter", "visitor", "nurse"],
        animals: &["butterfly", "bee", "robin", "snail", "sparrow", "peacock", "beetle"],
        foods: &["strawberry jam", "plum cake", "cucumber salad", "cherry pie", "pumpkin soup", "herbal tea"],
        events: &["picnic", "garden party", "flower show", "afternoon walk"],
        acts: &[
            "watered the roses",
            "dug a hole for the tulips",
            "trimmed the hedge",
            "sat under the willow",
            "pulled the weeds",
            "planted seeds in a row",
            "swept the leaves from the path",
            "sketched a lily",
        ],
        details: &[
            "ivy grew along the brick wall",
            "the daisies stood in even rows",
            "bees moved between the flowers",
            "a gravel path led to the gate",
            "the pears hung from a low branch",
        ],
    },
    Scene {
        places: &["on|the mountain", "in|the valley", "at|the lodge", "on|the hill", "by|the glacier", "on|the cliff"],
        things: &[
            "sled",
            "ski pole",
            "helmet",
            "boot",
            "snowshoe",
            "ice pick",
            "scarf",
            "water bottle",
            "walking stick",
        ],
        people: &["climber", "guide", "skier", "monk", "hiker", "geologist"],
        animals: &["eagle", "mountain goat", "hawk", "yak", "husky", "marmot"],
        foods: &["hot cocoa", "lentil soup", "cheese fondue", "oatmeal", "trail mix", "barley bread"],
        events: &["climb", "ski race", "descent", "expedition", "winter holiday"],
        acts: &[
            "climbed the north slope",
            "packed a bag with ropes",
            "studied the map of the ridge",
            "cleared the snow from the roof",
            "marked the trail with flags",
            "looked down at the valley",
            "slept in a stone hut",
            "melted some ice",
        ],
        details: &[
            "snow lay on the peak",
            "clouds moved below the summit",
            "the trail led north to the pass",
            "the cable car left every hour",
            "icicles hung from the roof of the hut",
        ],
    },
    Scene {
        places: &["in|the city", "at|the office", "in|the hotel", "on|the avenue", "at|the bank", "at|the cinema"],
        things: &[
            "bicycle",
            "umbrella",
            "telephone",
            "computer",
            "wallet",
            "camera",
            "briefcase",
            "radio",
            "newspaper",
        ],
        people: &["lawyer", "banker", "reporter", "taxi driver", "police officer", "secretary", "architect"],
        animals: &["poodle", "crow", "rat", "stray cat", "bulldog"],
        foods: &["coffee", "vegetable curry", "garlic bread", "ground beef", "ice cream", "dumpling soup", "iced tea"],
        events: &["meeting", "concert", "job interview", "business lunch", "film", "birthday party"],
        acts: &[
            "took the elevator to the fifth floor",
            "typed a letter",
            "called a taxi",
            "crossed the street",
            "signed the contract",
            "read the newspaper",
            "rode the subway downtown",
            "mailed a package",
        ],
        details: &[
            "the traffic lights changed to green",
            "buses stopped in front of the bank",
            "tall buildings stood on both sides",
            "a sign pointed to the subway",
            "the offices closed at five",
        ],
    },
    Scene {
        places: &["in|the workshop", "in|the garage", "at|the factory", "in|the cellar", "in|the mill"],
        things: &["hammer", "wrench", "chair", "toolbox", "saw", "drill", "stool", "tape measure", "robot", "wheel"],
        people: &["carpenter", "mechanic", "inventor", "blacksmith", "engineer", "plumber", "welder"],
        animals: &["spider", "moth", "bat", "old dog", "tomcat"],
        foods: &["bean stew", "meat pie", "rye bread", "potato soup", "ginger cookie dough", "cold ham"],
        events: &["project", "experiment", "building job", "test run", "work day"],
        acts: &[
            "measured the boards",
            "sorted the nails and screws",
            "sanded the shelf",
            "oiled the hinges",
            "drew a plan on paper",
            "hung the tools on hooks",
            "wrapped the wire around a pipe",
            "cut a plank in half",
        ],
        details: &[
            "sawdust lay on the floor",
            "a row of jars stood on the shelf",
            "the machine made a low sound",
            "sparks rose from the forge",
            "tools hung on the wall by size",
        ],
    },
    Scene {
        places: &["at|the theater", "in|the studio", "on|the stage", "in|the concert hall", "at|the circus"],
        things: &["violin", "cello", "drum", "costume", "ribbon", "guitar", "trumpet", "flute", "mask", "puppet"],
        people: &["singer", "dancer", "actor", "clown", "pianist", "juggler", "conductor", "poet"],
        animals: &["elephant", "lion", "pony", "poodle", "white dove"],
        foods: &["popcorn", "cotton candy", "caramel corn", "ginger ale", "cheese dip"],
        events: &["rehearsal", "performance", "opera", "magic show", "dance contest", "audition"],
        acts: &[
            "tuned the strings",
            "learned the second verse",
            "practiced the scales",
            "sat in the front row",
            "turned the pages of the score",
            "memorized the script",
            "moved the props backstage",
            "bought two tickets",
        ],
        details: &[
            "the curtain rose at seven",
            "the orchestra sat below the stage",
            "lamps lit the stairs to the balcony",
            "posters covered the walls of the lobby",
            "the choir stood in three rows",
        ],
    },
    Scene {
        places: &["at|the stadium", "in|the gym", "at|the pool", "on|the track", "on|the court"],
        things: &["ball", "racket", "bat", "uniform", "surfboard", "glove", "trophy", "skateboard", "jersey"],
        people: &["coach", "runner", "referee", "goalkeeper", "boxer", "athlete", "cyclist"],
        animals: &["racehorse", "greyhound", "falcon", "terrier"],
        foods: &["energy gel", "banana bread", "protein powder", "sports drink", "orange juice", "pretzel dough"],
        events: &["match", "tournament", "marathon", "practice", "relay race", "final game"],
        acts: &[
            "ran four laps",
            "stretched {p} legs",
            "threw the ball to the left",
            "changed {p} socks",
            "laced up {p} shoes",
            "lifted some weights",
            "swam from one end to the other",
            "looked at the scoreboard",
        ],
        details: &[
            "the teams stood on the grass",
            "the scoreboard showed two to two",
            "the whistle blew at half past three",
            "towels hung beside the pool",
            "white lines marked the court",
        ],
    },
    Scene {
        places: &["at|the station", "on|the train", "at|the airport", "at|the border", "on|the platform"],
        things: &[
            "suitcase",
            "ticket",
            "passport",
            "postcard",
            "pillow",
            "diary",
            "sleeping bag",
            "guidebook",
            "trunk",
        ],
        people: &["tourist", "pilot", "porter", "traveler", "inspector", "soldier", "diplomat"],
        animals: &["mule", "stork", "ostrich", "gray cat", "zebra"],
        foods: &["fried rice", "goulash", "mint tea", "noodle soup", "pastry cream", "tomato bread"],
        events: &["journey", "flight", "bus ride", "tour", "train ride", "holiday"],
        acts: &[
            "looked out of the window",
            "checked the timetable",
            "folded the map",
            "showed {p} papers to the guard",
            "wrote a postcard",
            "changed trains at the junction",
            "packed {p} bags",
            "slept for an hour",
        ],
        details: &[
            "the train left from the third platform",
            "hills and villages passed by the window",
            "luggage stood along the wall",
            "the plane flew over the desert",
            "a guard checked the tickets",
        ],
    },
    Scene {
        places: &[
            "in|the castle",
            "in|the tower",
            "at|the palace",
            "in|the courtyard",
            "at|the temple",
            "in|the village",
        ],
        things: &["sword", "shield", "crown", "scroll", "lute", "dagger", "candle", "goblet", "banner", "cloak"],
        people: &["knight", "king", "queen", "servant", "wizard", "princess", "jester", "blacksmith", "messenger"],
        animals: &["dragon", "raven", "stallion", "hound", "swan", "toad"],
        foods: &["roast boar", "wine", "almond cake", "turnip soup", "fig bread", "apple cider"],
        events: &["royal wedding", "tournament", "banquet", "ceremony", "siege", "ball"],
        acts: &[
            "lit the candles",
            "rode across the drawbridge",
            "walked up the spiral stairs",
            "read the old scroll",
            "guarded the gate",
            "brought water to the horses",
            "carried a letter to the king",
            "stood by the throne",
        ],
        details: &[
            "banners hung from the walls",
            "the moat went around the castle",
            "guards in armor stood at the gate",
            "the king spoke to the crowd",
            "a drum sounded in the courtyard",
        ],
    },
];

const WOMEN: Words = &[
    "Emma", "Anna", "Lucy", "Maria", "Clara", "Rosa", "Helen", "Alice", "Nora", "Julia", "Sarah", "Grace", "Lily",
    "Martha", "Ruth", "Eva", "Olivia", "Sofia", "Diana", "Irene", "Mei", "Fatima", "Priya", "Ingrid", "Leila", "Yuki",
    "Carmen", "Zoe", "Agnes", "Hannah", "Molly", "Tara", "Vera", "Wendy", "Bella", "Daisy",
];

const MEN: Words = &[
    "Tom", "Peter", "John", "David", "Oscar", "Henry", "Paul", "Jack", "Samuel", "Leo", "Martin", "George", "Daniel",
    "Victor", "Simon", "Adam", "Felix", "Ivan", "Omar", "Ravi", "Kenji", "Carlos", "Hassan", "Bruno", "Walter", "Eric",
    "Louis", "Noah", "Frank", "Hugo", "Arthur", "Max", "Robert", "Philip", "Edgar", "Tariq",
];

const MALE_KIN: Words = &["brother", "uncle", "friend", "cousin", "grandfather", "nephew", "father", "classmate"];

const FEMALE_KIN: Words = &["sister", "aunt", "friend", "cousin", "grandmother", "niece", "mother", "classmate"];

const TOWNS: Words = &[
    "Oakfield",
    "Paris",
    "Riverton",
    "Lisbon",
    "Boston",
    "Ashford",
    "Cairo",
    "Millbrook",
    "Dublin",
    "Kyoto",
    "Oslo",
    "Vienna",
    "Havana",
    "Delhi",
    "Northgate",
    "Seattle",
    "Greenwood",
    "Prague",
    "Westport",
    "Lima",
    "Geneva",
    "Stonebridge",
    "Nairobi",
    "Athens",
    "Elmwood",
    "Denver",
    "Rome",
    "Quebec",
    "Fairhaven",
    "Madrid",
];

const TIMES: Words = &[
    "later that day",
    "after an hour",
    "in the afternoon",
    "the next morning",
    "at noon",
    "before sunset",
    "that evening",
    "a week later",
    "soon after",
    "at midnight",
    "two days later",
    "after a while",
    "then",
    "on the way home",
    "by the end of the day",
    "meanwhile",
    "at dawn",
    "the following week",
];

const WHEN: Words = &[
    "one morning",
    "on Monday",
    "last summer",
    "one winter evening",
    "early on Tuesday",
    "in October",
    "last spring",
    "on Friday night",
    "in the autumn",
    "one afternoon",
    "late on Sunday",
    "in June",
    "on the first of March",
    "years ago",
    "last Wednesday",
    "one day in April",
    "on Saturday",
    "that Thursday",
];

const SKIES: Words = &[
    "at sunrise",
    "after the rain",
    "under a gray sky",
    "in the wind",
    "before lunch",
    "in the moonlight",
    "at dusk",
    "under the stars",
    "on a cloudy day",
    "in the snow",
    "around ten",
    "in the shade",
    "during the fog",
    "at six",
];

const LOOKS: Words = &[
    "small", "large", "old", "new", "round", "heavy", "light", "long", "square", "tall", "narrow", "wide", "flat",
    "thick", "thin", "striped", "plain", "short", "medium", "folded", "painted", "antique",
];

const COLORS: Words = &[
    "red",
    "blue",
    "green",
    "yellow",
    "brown",
    "black",
    "white",
    "gray",
    "purple",
    "orange",
    "pink",
    "silver",
    "golden",
    "crimson",
    "turquoise",
    "beige",
];

const MATTERS: Words = &["wooden", "stone", "brick", "metal", "leather", "paper", "glass", "copper", "clay", "bamboo"];

const CLOTHES: Words = &["coat", "jacket", "hat", "shirt", "sweater", "vest", "cape", "robe", "cap", "raincoat"];

const AGES: Words = &["young", "tall", "retired", "quiet", "middle-aged", "busy", "local", "former", "foreign"];

const SPOTS: Words = &[
    "on the table",
    "by the door",
    "under a tree",
    "near the window",
    "on the floor",
    "behind the wall",
    "next to a box",
    "in the corner",
    "beside the road",
    "on a shelf",
    "below the stairs",
    "between two chairs",
    "in front of the house",
    "against the wall",
];

const NUMBERS: Words = &[
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "twenty", "thirty",
    "forty", "fifty",
];

#[cfg(test)]
mod tests {
    use super::super::words::PAIRS;
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::HashSet;

    fn passages(count: usize) -> Vec<Vec<(String, Polarity)>> {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        (0..count).map(|_| tell(&mut rng)).collect()
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(|w| w.trim_matches([',', '.']).to_lowercase()).collect()
    }

    /// The words of one polarity, with either pronoun where they hold one.
    fn charged(positive: bool) -> HashSet<String> {
        let lists = PAIRS.iter().map(|pair| if positive { pair.positive } else { pair.negative });
        let both = |w: &&str| ["her", "his"].map(|p| format!(" {} ", w.to_lowercase().replace("{p}", p)));
        lists.flatten().flat_map(both).collect()
    }

    #[test]
    fn same_seed_same_passage() {
        let run = || passage(&mut ChaCha8Rng::seed_from_u64(3));
        assert_eq!(run(), run());
        assert_ne!(run(), passage(&mut ChaCha8Rng::seed_from_u64(4)));
    }

    #[test]
    fn sentences_are_well_formed() {
        for story in passages(3000) {
            assert!((4..=9).contains(&story.len()));
            for (text, _) in story {
                assert!(text.is_ascii() && text.ends_with('.') && text.matches('.').count() == 1, "{text}");
                assert!(!text.contains(['{', '}', '|', '"']) && !text.contains(" ."), "{text}");
                assert!(text.starts_with(|c: char| c.is_ascii_uppercase()), "{text}");
                assert!((5..=14).contains(&words(&text).len()), "{text}");
            }
        }
    }

    #[test]
    fn vocabulary_is_broad_and_passages_differ() {
        let stories = passages(5000);
        let vocabulary: HashSet<String> =
            stories.iter().take(1000).flatten().flat_map(|(text, _)| words(text)).collect();
        assert!((900..=1600).contains(&vocabulary.len()), "{}", vocabulary.len());
        let distinct: HashSet<String> =
            stories.iter().map(|s| s.iter().map(|(text, _)| text.as_str()).collect()).collect();
        assert_eq!(distinct.len(), stories.len());
    }

    #[test]
    fn words_show_the_sentiment() {
        let sets = [(Polarity::Positive, charged(true)), (Polarity::Negative, charged(false))];
        for (text, polarity) in passages(2000).into_iter().flatten() {
            let bare = format!(" {} ", words(&text).join(" "));
            for (side, set) in &sets {
                let found = set.iter().any(|word| bare.contains(word));
                assert_eq!(found, polarity == *side, "{text}");
            }
        }
    }

    #[test]
    fn sentiments_mix() {
        let all: Vec<Polarity> = passages(2000).into_iter().flatten().map(|(_, p)| p).collect();
        let share = |p| all.iter().filter(|&&q| q == p).count() as f64 / all.len() as f64;
        assert!((0.13..0.17).contains(&share(Polarity::Positive)));
        assert!((0.13..0.17).contains(&share(Polarity::Negative)));
    }
}
