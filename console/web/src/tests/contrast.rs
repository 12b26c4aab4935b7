//! The contrast of colours by WCAG, computed from the style sheet.

use crate::assets::STYLE;

/// Text on its background. AA requires 4.5.
const TEXT: [(&str, &str); 22] = [
    ("ink", "ground"),
    ("ink", "surface"),
    ("ink", "raised"),
    ("ink", "good-ground"),
    ("ink", "warn-ground"),
    ("ink", "danger-ground"),
    ("muted", "ground"),
    ("muted", "surface"),
    ("muted", "raised"),
    ("muted", "good-ground"),
    ("muted", "warn-ground"),
    ("accent", "ground"),
    ("accent", "surface"),
    ("accent", "raised"),
    ("accent", "good-ground"),
    ("accent", "warn-ground"),
    ("on-accent", "accent"),
    ("warn", "surface"),
    ("warn", "warn-ground"),
    ("danger", "surface"),
    ("danger", "danger-ground"),
    ("on-danger", "danger"),
];
/// Visible parts other than text: borders of fields, focus, charts. AA requires 3.
const MARKS: [(&str, &str); 6] = [
    ("edge", "surface"),
    ("edge", "ground"),
    ("accent", "ground"),
    ("chart-good", "surface"),
    ("chart-retried", "surface"),
    ("chart-dead", "surface"),
];

/// The two values of a colour: light and dark.
fn colour(name: &str) -> [[f64; 3]; 2] {
    let begin = format!("--{name}: light-dark(");
    let (_, rest) = STYLE.split_once(&begin).unwrap_or_else(|| panic!("no colour {name}"));
    let (values, _) = rest.split_once(')').unwrap();
    let mut values = values.split(',').map(|value| {
        let hex = value.trim().strip_prefix('#').unwrap();
        assert_eq!(hex.len(), 6, "{name}");
        [0, 2, 4].map(|at| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0)
    });
    [values.next().unwrap(), values.next().unwrap()]
}

fn luminance(rgb: [f64; 3]) -> f64 {
    let linear = |part: f64| {
        if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    };
    let [r, g, b] = rgb.map(linear);
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn every_text_has_enough_contrast_in_both_themes() {
    let pairs = TEXT.map(|pair| (pair, 4.5)).into_iter().chain(MARKS.map(|pair| (pair, 3.0)));
    for ((front, ground), least) in pairs {
        for (theme, (a, b)) in
            ["light", "dark"].iter().zip(colour(front).into_iter().zip(colour(ground)))
        {
            let found = contrast(a, b);
            assert!(found >= least, "{front} on {ground} in {theme}: {found:.2}, wants {least}");
        }
    }
}

#[test]
fn every_colour_is_part_of_the_contrast_check() {
    let (_, rules) = STYLE.split_once("* {").unwrap();
    for line in rules.lines() {
        let hex = line.contains('#') && line.chars().any(|c| c.is_ascii_hexdigit());
        assert!(!hex || line.contains("/*"), "a colour of its own: {line}");
    }
    assert_eq!(contrast([0.0; 3], [1.0; 3]).round() as u8, 21);
}
