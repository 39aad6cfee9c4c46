//! Who follows a link or loads a picture: a person, or a machine that reads mail before people do.
//!
//! Mail filters follow every link, often seconds after the mail arrives; mail services load pictures on behalf of people, and
//! some load all of them whether anybody looks or not. What cannot be told apart counts as a person; what a machine says of
//! itself is believed, since nobody gains by claiming to be one.

/// A request for a link, as far as it says who makes it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Visitor<'a> {
    /// The `User-Agent` field.
    pub user_agent: &'a str,
    /// Whether the request says that nobody asked for the page yet (`Sec-Purpose: prefetch` and its older forms).
    pub is_prefetch: bool,
}

/// Who it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Person,
    /// A mail service that loads pictures in its users' stead.
    Proxy,
    /// A filter or another program.
    Scanner,
    /// A browser that loads ahead.
    Prefetch,
    /// Somebody who is faster than the mail.
    Early,
}

impl By {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            By::Person => "person",
            By::Proxy => "proxy",
            By::Scanner => "scanner",
            By::Prefetch => "prefetch",
            By::Early => "early",
        }
    }
}

/// Sooner than this after a mail was handed to SES nobody has read it, in milliseconds.
const EARLY_MS: i64 = 5_000;

/// What the programs of people begin with.
const PROGRAMS: [&str; 4] = ["mozilla/", "opera/", "microsoft office/", "outlook-"];
/// What proxies of mail services have in them.
const PROXIES: [&str; 4] = ["googleimageproxy", "ggpht.com", "yahoomailproxy", "yahoo! slurp"];
/// What programs that nobody sits before have in them.
const SCANNERS: [&str; 24] = [
    "bot",
    "crawl",
    "spider",
    "scan",
    "preview",
    "monitor",
    "headless",
    "phantomjs",
    "selenium",
    "playwright",
    "puppeteer",
    "barracuda",
    "proofpoint",
    "mimecast",
    "safelinks",
    "symantec",
    "messagelabs",
    "fireeye",
    "cloudmark",
    "sophos",
    "trendmicro",
    "forcepoint",
    "urldefense",
    "google-safety",
];

impl Visitor<'_> {
    /// Who it was, so long after the mail was handed to SES.
    pub(super) fn by(&self, after_ms: i64) -> By {
        let agent = self.user_agent.trim().to_ascii_lowercase();
        let has = |word: &&str| agent.contains(*word);
        if self.is_prefetch {
            By::Prefetch
        // Apple's Mail Privacy Protection names nothing but this.
        } else if PROXIES.iter().any(has) || agent == "mozilla/5.0" {
            By::Proxy
        } else if SCANNERS.iter().any(has) || !PROGRAMS.iter().any(|program| agent.starts_with(program)) {
            By::Scanner
        } else if after_ms < EARLY_MS {
            By::Early
        } else {
            By::Person
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_told_from_people() {
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
        for (agent, is_prefetch, after_ms, expected) in [
            (firefox, false, 60_000, By::Person),
            (firefox, false, EARLY_MS, By::Person),
            (firefox, false, EARLY_MS - 1, By::Early),
            (firefox, true, 60_000, By::Prefetch),
            (
                "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
                false,
                60_000,
                By::Person,
            ),
            (
                "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0)",
                false,
                60_000,
                By::Person,
            ),
            (
                "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
                false,
                60_000,
                By::Proxy,
            ),
            ("YahooMailProxy; https://help.yahoo.com", false, 60_000, By::Proxy),
            ("Mozilla/5.0", false, 60_000, By::Proxy),
            ("", false, 60_000, By::Scanner),
            ("curl/8.5.0", false, 60_000, By::Scanner),
            ("python-requests/2.32", false, 60_000, By::Scanner),
            ("Go-http-client/1.1", false, 60_000, By::Scanner),
            (
                "Mozilla/5.0 (compatible; Barracuda Sentinel)",
                false,
                60_000,
                By::Scanner,
            ),
            (
                "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/142.0",
                false,
                60_000,
                By::Scanner,
            ),
            ("Mozilla/5.0 (compatible; bingbot/2.0)", false, 0, By::Scanner),
        ] {
            let visitor = Visitor {
                user_agent: agent,
                is_prefetch,
            };
            assert_eq!(visitor.by(after_ms), expected, "{agent}");
        }
    }
}
