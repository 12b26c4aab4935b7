//! Formats numbers and times for pages.

use evergrant_domain::Timestamp;

/// A number with its thousands separated by narrow spaces that do not break: `1 234 567`.
pub(super) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A rate, with more digits if it is small.
pub(super) fn rate(per_s: f64) -> String {
    if per_s >= 100.0 { format!("{per_s:.0}") } else { format!("{per_s:.1}") }
}

/// A share in whole percent.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a share")]
pub(super) fn whole(percent: f64) -> u64 {
    percent.round().clamp(0.0, 999.0) as u64
}

/// A duration in its largest unit, with the next one where that matters: `45 s`, `2 h 5 min`.
pub(super) fn span(seconds: u64) -> String {
    let two = |large: u64, name: &str, small: u64, small_name: &str| match small {
        0 => format!("{large} {name}"),
        _ if large >= 10 => format!("{large} {name}"),
        _ => format!("{large} {name} {small} {small_name}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}

/// A time as pages show it: exact and relative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShownTime {
    /// For machines and for copying: RFC 3339.
    pub(super) exact: String,
    /// To the second.
    pub(super) plain: String,
    /// `5 min ago`, `in 3 h`.
    pub(super) relative: String,
}

impl ShownTime {
    pub(super) fn new(at: Timestamp, now: Timestamp) -> Self {
        let exact = at.to_string();
        let plain = match exact.split_once('.') {
            Some((seconds, _)) => seconds.replace('T', " "),
            None => exact.clone(),
        };
        let relative = if at > now {
            format!("in {}", span(at.since(now).as_secs()))
        } else {
            match now.since(at).as_secs() {
                0..2 => "just now".to_owned(),
                seconds => format!("{} ago", span(seconds)),
            }
        };
        Self { exact, plain, relative }
    }

    /// The relative time, with the exact one as a tooltip. It contains no untrusted text, so it
    /// needs no escaping.
    pub(super) fn html(&self) -> String {
        let Self { exact, plain, relative } = self;
        format!("<time datetime=\"{exact}\" title=\"{plain} UTC\">{relative}</time>")
    }

    /// The exact time and the relative one.
    pub(super) fn both(&self) -> String {
        let Self { exact, plain, relative } = self;
        format!("<time datetime=\"{exact}\">{plain}</time> <span class=\"muted\">{relative}</span>")
    }

    /// For a sentence.
    pub(super) fn words(&self) -> String {
        format!("{} ({})", self.plain, self.relative)
    }

    pub(super) fn maybe(at: Option<Timestamp>, now: Timestamp) -> Option<Self> {
        at.map(|at| Self::new(at, now))
    }
}

/// The time of day, in UTC.
pub(super) fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(11..19).map_or_else(|| text.clone(), |clock| format!("{clock} UTC"))
}

/// Escapes invisible characters, such as those that change the direction of text: a user's name
/// must not change how the text around it reads.
pub(super) fn visible(text: &str) -> String {
    evergrant_domain::printable::printable(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_easy_to_read() {
        assert_eq!(number(7), "7");
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!((rate(0.25), rate(123.4)), ("0.2".to_owned(), "123".to_owned()));
        for (seconds, text) in
            [(5, "5 s"), (60, "1 min"), (125, "2 min 5 s"), (7_500, "2 h 5 min"), (900_000, "10 d")]
        {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn a_time_is_shown_exactly_and_relatively() {
        let at = Timestamp::from_unix_ms;
        let when = ShownTime::new(at(1_795_493_241_259), at(1_795_493_301_259));
        assert_eq!(when.plain, "2026-11-24 04:07:21");
        assert_eq!(when.relative, "1 min ago");
        assert_eq!(ShownTime::new(at(7_200_000), at(0)).relative, "in 2 h");
        assert_eq!(clock(at(1_795_493_241_259)), "04:07:21 UTC");
    }
}
