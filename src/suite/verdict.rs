//! How a number of ours stands to the paper's: inside our interval or not, and on the same side of what the table is
//! about (an even preference, chance, a baseline). Short words, because they stand in a table's cells.

use super::paper::PaperValue;

/// A number of ours with its 95% interval; NaN where it has none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ours {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Ours {
    /// The interval; without one the value itself decides.
    fn interval(&self) -> (f64, f64) {
        if self.low.is_finite() { (self.low, self.high) } else { (self.value, self.value) }
    }
}

/// The middle that gives a direction: ours and the paper's (the same number where it is no measurement), and its name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Middle<'a> {
    pub ours: f64,
    pub paper: f64,
    pub name: &'a str,
}

/// The words. `middle`: `None` where only the size counts.
pub fn verdict(ours: Ours, paper: Option<PaperValue>, middle: Option<Middle<'_>>) -> String {
    let side = middle.map(|middle| side(ours, middle));
    let Some(paper) = paper else {
        return match (side, middle) {
            (Some(Side::Above), Some(m)) => format!("above {}; no value of the paper", m.name),
            (Some(Side::Below), Some(m)) => format!("below {}; no value of the paper", m.name),
            (Some(Side::Unknown), Some(m)) => format!("not told apart from {}; no value of the paper", m.name),
            _ => "no value of the paper".into(),
        };
    };
    let (lowest, highest) = paper.reach();
    let (low, high) = ours.interval();
    let inside = low <= highest && high >= lowest;
    let mut words = Vec::new();
    if inside {
        words.push("paper's value inside the interval".to_string());
    }
    match (side, middle) {
        (Some(side), Some(m)) => words.extend(direction(side, paper.value, m)),
        _ if !inside && ours.value > paper.value => words.push("above the paper's".into()),
        _ if !inside => words.push("below the paper's".into()),
        _ => {}
    }
    words.join("; ")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Above,
    Below,
    /// The interval holds the middle.
    Unknown,
}

fn side(ours: Ours, middle: Middle<'_>) -> Side {
    let (low, high) = ours.interval();
    if low > middle.ours {
        Side::Above
    } else if high < middle.ours {
        Side::Below
    } else {
        Side::Unknown
    }
}

fn direction(side: Side, paper: f64, middle: Middle<'_>) -> Option<String> {
    let name = middle.name;
    let paper = if paper > middle.paper {
        Side::Above
    } else if paper < middle.paper {
        Side::Below
    } else {
        Side::Unknown
    };
    let word = |side: Side| if side == Side::Above { "above" } else { "below" };
    Some(match (side, paper) {
        (Side::Unknown, Side::Unknown) => format!("same: not told apart from {name}"),
        (Side::Unknown, _) => format!("not told apart from {name}"),
        (_, Side::Unknown) => format!("{} {name}, where the paper's is even with it", word(side)),
        (ours, paper) if ours == paper => format!("same direction ({} {name})", word(ours)),
        (ours, _) => format!("opposite direction ({} {name})", word(ours)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::paper::Grade;

    const EVEN: Middle<'_> = Middle { ours: 50.0, paper: 50.0, name: "50%" };

    fn at(value: f64, low: f64, high: f64) -> Ours {
        Ours { value, low, high }
    }

    fn paper(value: f64) -> Option<PaperValue> {
        Some(PaperValue::new(value, Grade::A))
    }

    #[test]
    fn win_rates_have_a_direction() {
        let of = |ours, p| verdict(ours, paper(p), Some(EVEN));
        assert_eq!(of(at(70.0, 60.0, 80.0), 96.0), "same direction (above 50%)");
        assert_eq!(of(at(70.0, 60.0, 80.0), 45.0), "opposite direction (above 50%)");
        assert_eq!(of(at(44.0, 40.0, 48.0), 45.0), "paper's value inside the interval; same direction (below 50%)");
        assert_eq!(of(at(52.0, 45.0, 59.0), 88.0), "not told apart from 50%");
        assert_eq!(of(at(52.0, 45.0, 59.0), 50.0), "paper's value inside the interval; same: not told apart from 50%");
        assert_eq!(of(at(90.0, 80.0, 95.0), 50.0), "above 50%, where the paper's is even with it");
        assert_eq!(verdict(at(70.0, 60.0, 80.0), None, Some(EVEN)), "above 50%; no value of the paper");
    }

    #[test]
    fn a_baseline_is_measured_on_both_sides() {
        let lead = Middle { ours: 20.0, paper: 31.552, name: "lead-3" };
        assert_eq!(verdict(at(15.0, 14.0, 16.0), paper(28.731), Some(lead)), "same direction (below lead-3)");
        assert_eq!(verdict(at(25.0, 24.0, 26.0), paper(28.731), Some(lead)), "opposite direction (above lead-3)");
        let alone = at(15.0, f64::NAN, f64::NAN);
        assert_eq!(verdict(alone, paper(28.731), Some(lead)), "same direction (below lead-3)");
    }

    #[test]
    fn a_stated_uncertainty_widens_the_paper() {
        let value = Some(PaperValue { plus_minus: Some(2.0), ..PaperValue::new(38.0, Grade::A) });
        assert_eq!(verdict(at(42.0, 39.5, 44.0), value, None), "paper's value inside the interval");
        assert_eq!(verdict(at(45.0, 43.0, 47.0), value, None), "above the paper's");
        assert_eq!(verdict(at(30.0, 28.0, 32.0), value, None), "below the paper's");
        assert_eq!(verdict(at(30.0, 28.0, 32.0), None, None), "no value of the paper");
        let seeds = Some(PaperValue { range: Some((3.24, 3.3)), ..PaperValue::new(3.267, Grade::A) });
        assert_eq!(verdict(at(3.29, f64::NAN, f64::NAN), seeds, None), "paper's value inside the interval");
        assert_eq!(verdict(at(3.31, f64::NAN, f64::NAN), seeds, None), "above the paper's");
    }
}
