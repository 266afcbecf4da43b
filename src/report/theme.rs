//! Plots follow the reader's light or dark setting: a style sheet inside each SVG, for the file by itself and on the
//! page.

/// Colours of a dark screen by those that plots are drawn in. Paper stays white.
const DARK: &str = "<style>@media screen and (prefers-color-scheme:dark){\
svg.plot [fill=\"#FFFFFF\"]{fill:#11151a}\
svg.plot [fill=\"#000000\"]{fill:#e6e9ed}svg.plot [stroke=\"#000000\"]{stroke:#e6e9ed}\
svg.plot [fill=\"#5A5A5A\"]{fill:#a3adb8}svg.plot [stroke=\"#5A5A5A\"]{stroke:#a3adb8}\
svg.plot [fill=\"#0072B2\"]{fill:#3f9fdc}svg.plot [stroke=\"#0072B2\"]{stroke:#3f9fdc}}</style>";

/// The drawing with its style sheet.
pub fn themed(svg: &str) -> String {
    match svg.strip_prefix("<svg ").and_then(|rest| rest.split_once('>')) {
        Some((attributes, rest)) => format!("<svg class=\"plot\" {attributes}>{DARK}{rest}"),
        None => svg.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_gets_one_style_sheet() {
        let svg = themed("<svg width=\"8\">\n<line stroke=\"#000000\"/></svg>\n");
        assert!(svg.starts_with("<svg class=\"plot\" width=\"8\"><style>@media screen"), "{svg}");
        assert!(svg.ends_with("</style>\n<line stroke=\"#000000\"/></svg>\n"), "{svg}");
        // Every colour that plots are drawn in is black, white, grey or one of the series.
        assert_eq!(svg.matches("<style>").count(), 1);
    }
}
