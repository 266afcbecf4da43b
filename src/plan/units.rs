//! Numbers as people say them: 26.7 EFLOP, 3.4 hours, 25 GB; and sizes as people write them.

/// Powers of a thousand.
const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];

/// Three digits and the prefix that fits: `26.7 E`, `124 M`.
fn scaled(value: f64) -> String {
    let mut rest = value.max(0.0);
    let mut prefix = 0;
    // What would be rounded to a thousand has the next prefix.
    while rest >= 999.5 && prefix + 1 < PREFIXES.len() {
        rest /= 1e3;
        prefix += 1;
    }
    let digits = match rest {
        r if r >= 99.95 || (prefix == 0 && r.fract() == 0.0) => format!("{r:.0}"),
        r if r >= 9.995 => format!("{r:.1}"),
        r => format!("{r:.2}"),
    };
    format!("{digits} {}", PREFIXES[prefix])
}

/// Floating-point operations.
pub fn flops(value: f64) -> String {
    format!("{}FLOP", scaled(value))
}

/// Bytes, a thousand to the kilobyte, as disks and graphics cards are sold.
pub fn bytes(value: f64) -> String {
    format!("{}B", scaled(value))
}

/// Parameters of a model: `124M`.
pub fn parameters(value: f64) -> String {
    scaled(value).replace(' ', "").replace('G', "B")
}

/// A time as one would plan with it: seconds, minutes, hours, and days beside many hours.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => "under a second".into(),
        s if s < 99.5 => format!("{s:.0} s"),
        s if s < 99.5 * 60.0 => format!("{:.0} min", s / 60.0),
        s if s < 9.95 * 3600.0 => format!("{:.1} h", s / 3600.0),
        s if s < 48.0 * 3600.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} h ({:.0} days)", s / 3600.0, s / 86_400.0),
    }
}

/// `1 run`, `2 runs`.
pub fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

/// A size in bytes as written on a command line: `80GB`, `24GiB`, `512 MB`, `16e9`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic() && !"eE".contains(c)).unwrap_or(text.len());
    let (number, unit) = (text[..split].trim(), text[split..].to_ascii_lowercase());
    let factor = match unit.as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" | "m" => 1e6,
        "gb" | "g" => 1e9,
        "tb" | "t" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024f64.powi(2),
        "gib" => 1024f64.powi(3),
        "tib" => 1024f64.powi(4),
        _ => return Err(format!("{text:?} is not a size; write 80GB, 24GiB or a number of bytes")),
    };
    match number.parse::<f64>().ok().map(|n| n * factor).filter(|b| (1.0..1e18).contains(b)) {
        Some(bytes) => Ok(bytes as u64),
        None => Err(format!("{text:?} is not a size; write 80GB, 24GiB or a number of bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit_that_fits() {
        assert_eq!(flops(26_667_767.523e12), "26.7 EFLOP");
        assert_eq!(flops(638e12), "638 TFLOP");
        assert_eq!(flops(3.21e6), "3.21 MFLOP");
        assert_eq!(flops(999.7e9), "1.00 TFLOP");
        assert_eq!(flops(1.2e21), "1200 EFLOP");
        assert_eq!((flops(0.0), bytes(25.36e9), bytes(7.0)), ("0 FLOP".into(), "25.4 GB".into(), "7 B".into()));
        assert_eq!((parameters(124_439_808.0), parameters(1_557_611_200.0)), ("124M".into(), "1.56B".into()));
    }

    #[test]
    fn times_are_seconds_minutes_hours_and_days() {
        let said = [0.2, 45.0, 200.0, 5_400.0, 12_240.0, 36_000.0, 864_000.0].map(duration);
        assert_eq!(said, ["under a second", "45 s", "3 min", "90 min", "3.4 h", "10 h", "240 h (10 days)"]);
    }

    #[test]
    fn sizes_are_read_with_their_units_and_nonsense_is_refused() {
        for (text, wanted) in
            [("80GB", 80_000_000_000), ("24GiB", 25_769_803_776), ("512 mb", 512_000_000), ("16e9", 16_000_000_000)]
        {
            assert_eq!(parse_bytes(text), Ok(wanted), "{text}");
        }
        for text in ["", "GB", "-3GB", "80 apples", "nan", "1e99"] {
            assert!(parse_bytes(text).is_err_and(|m| m.contains("80GB")), "{text}");
        }
    }
}
