//! MTA-STS (RFC 8461): whether a domain says that its mail must come by TLS with a valid certificate.

use super::{Client, TOTAL, guard};

/// What a domain publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MtaSts {
    /// A valid policy with mode `enforce`.
    Enforce,
    /// No policy, or one with another mode.
    Other,
    /// The look-up failed, was late or contradicted itself; nothing may rest on it.
    Unknown,
}

/// A policy file is at most this long, bytes (RFC 8461 section 3.3 lets a sender limit it; 64 KiB is its example).
const MAX_POLICY: usize = 64 * 1024;
/// The longest `max_age`, seconds (RFC 8461 section 3.2).
const LONGEST_AGE: u64 = 31_557_600;
/// A policy that does not hold as long as its look-up is remembered, an hour, does not count as one.
const SHORTEST_AGE: u64 = 3_600;

impl Client {
    pub(super) async fn mta_sts(&self, domain: &str) -> MtaSts {
        tokio::time::timeout(TOTAL, self.look_up(domain))
            .await
            .unwrap_or(MtaSts::Unknown)
    }

    async fn look_up(&self, domain: &str) -> MtaSts {
        let Some(records) = self.txt(&format!("_mta-sts.{domain}")).await else {
            return MtaSts::Unknown;
        };
        match is_announced(&records) {
            None => return MtaSts::Unknown,
            Some(false) => return MtaSts::Other,
            Some(true) => {}
        }
        let Ok(text) = self
            .get(&format!("https://mta-sts.{domain}/.well-known/mta-sts.txt"), MAX_POLICY)
            .await
        else {
            return MtaSts::Unknown;
        };
        match parse(&text) {
            Policy::Broken => MtaSts::Unknown,
            Policy::Other => MtaSts::Other,
            Policy::Enforce { mx } => match self.mx(domain).await {
                Some(hosts) if covers(&mx, &hosts) => MtaSts::Enforce,
                // Mail hosts that the policy does not name: a mistake, or somebody in the way.
                _ => MtaSts::Unknown,
            },
        }
    }
}

/// What a policy file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Policy {
    Enforce { mx: Vec<String> },
    Other,
    Broken,
}

/// What the reserved domains of the local run publish; every other domain publishes nothing. Opens no socket.
pub(super) fn from_table(domain: &str) -> MtaSts {
    if domain == "mta-sts.test" || domain.ends_with(".mta-sts.test") {
        MtaSts::Enforce
    } else {
        MtaSts::Other
    }
}

/// Whether the text records announce a policy (RFC 8461 section 3.1): `None` when they contradict each other or are malformed,
/// which the RFC would take as no policy.
pub(crate) fn is_announced(records: &[String]) -> Option<bool> {
    //= RFC 8461 section 3.1
    //# resulting records that do not begin with "v=STSv1;" are discarded
    let mut records = records.iter().filter_map(|record| record.strip_prefix("v=STSv1;"));
    let Some(fields) = records.next() else {
        return Some(false);
    };
    if records.next().is_some() {
        return None;
    }
    let mut ids = fields
        .split(';')
        .filter_map(|field| field.trim_matches([' ', '\t']).strip_prefix("id="));
    let is_id = |id: &str| (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (ids.next().is_some_and(is_id) && ids.next().is_none()).then_some(true)
}

/// Reads a policy file (RFC 8461 section 3.2). What is malformed or says a thing twice is broken, where the RFC would take the
/// first of the two.
pub(crate) fn parse(text: &str) -> Policy {
    let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
    for line in text.trim_end_matches(['\r', '\n']).split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line).trim_end_matches([' ', '\t']);
        let Some((name, value)) = line.split_once(':') else {
            return Policy::Broken;
        };
        let value = value.trim_start_matches([' ', '\t']);
        let is_name = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if !is_name || value.bytes().any(|byte| byte.is_ascii_control()) {
            return Policy::Broken;
        }
        let earlier = match name {
            "version" => version.replace(value),
            "mode" => mode.replace(value),
            "max_age" => max_age.replace(value),
            "mx" => {
                mx.push(value.to_ascii_lowercase());
                None
            }
            _ => None,
        };
        if earlier.is_some() {
            return Policy::Broken;
        }
    }
    let is_number = |age: &&str| (1..=10).contains(&age.len()) && age.bytes().all(|byte| byte.is_ascii_digit());
    let age = max_age
        .filter(is_number)
        .and_then(|age| age.parse::<u64>().ok())
        .filter(|age| *age <= LONGEST_AGE);
    let is_sound = version == Some("STSv1") && mx.iter().all(|pattern| is_pattern(pattern));
    match (mode, age) {
        (Some("enforce"), Some(age)) if is_sound && !mx.is_empty() => {
            if age < SHORTEST_AGE {
                Policy::Other
            } else {
                Policy::Enforce { mx }
            }
        }
        (Some("testing"), Some(_)) if is_sound && !mx.is_empty() => Policy::Other,
        (Some("none"), Some(_)) if is_sound => Policy::Other,
        _ => Policy::Broken,
    }
}

/// A host name, or one whose first label is `*` (RFC 8461 section 4.1).
fn is_pattern(pattern: &str) -> bool {
    guard::is_name(pattern.strip_prefix("*.").unwrap_or(pattern))
}

/// Whether every mail host matches a pattern. A sender that keeps MTA-STS itself would pass over a host that does not; SES does
/// not say that it keeps it, so that one such host is too many.
pub(crate) fn covers(patterns: &[String], hosts: &[String]) -> bool {
    let matches = |host: &str| {
        patterns.iter().any(|pattern| match pattern.strip_prefix("*.") {
            None => pattern == host,
            Some(parent) => host
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
        })
    };
    !hosts.is_empty() && hosts.iter().all(|host| matches(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enforce(mx: &[&str]) -> Policy {
        Policy::Enforce {
            mx: mx.iter().map(|&pattern| pattern.to_owned()).collect(),
        }
    }

    #[test]
    fn only_a_valid_policy_enforces() {
        let cases = [
            (
                "version: STSv1\nmode: enforce\nmx: mx.clinic.example\nmax_age: 604800\n",
                enforce(&["mx.clinic.example"]),
            ),
            (
                "version: STSv1\r\nmode: enforce\r\nmx: *.Clinic.example\r\nmax_age: 86400\r\n",
                enforce(&["*.clinic.example"]),
            ),
            (
                "mode:enforce\nmax_age:86400 \nmx:a.example\nversion:STSv1\nx-y: z\n",
                enforce(&["a.example"]),
            ),
            (
                "version: STSv1\nmode: enforce\nmx: a.example\nmx: b.example\nmax_age: 3600",
                enforce(&["a.example", "b.example"]),
            ),
            (
                "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 60\n",
                Policy::Other,
            ),
            (
                "version: STSv1\nmode: testing\nmx: mx.clinic.example\nmax_age: 604800\n",
                Policy::Other,
            ),
            ("version: STSv1\nmode: none\nmax_age: 604800\n", Policy::Other),
            (
                "version: STSv1\nmode: enforce\nmode: none\nmx: a.example\nmax_age: 86400\n",
                Policy::Broken,
            ),
            (
                "version: STSv1\nmode: enforce\nmode: enforce\nmx: a.example\nmax_age: 86400\n",
                Policy::Broken,
            ),
            (
                "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 86400\nmax_age: 1\n",
                Policy::Broken,
            ),
            (
                "version: STSv2\nmode: enforce\nmx: a.example\nmax_age: 86400\n",
                Policy::Broken,
            ),
            (
                "version: stsv1\nmode: enforce\nmx: a.example\nmax_age: 86400\n",
                Policy::Broken,
            ),
            (
                "Version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 86400\n",
                Policy::Broken,
            ),
            (
                "version: STSv1\nmode: Enforce\nmx: a.example\nmax_age: 86400\n",
                Policy::Broken,
            ),
            ("version: STSv1\nmode: enforce\nmax_age: 604800\n", Policy::Broken),
            (
                "version: STSv1\nmode: enforce\nmx: *\nmax_age: 604800\n",
                Policy::Broken,
            ),
            (
                "version: STSv1\nmode: enforce\nmx: *.*.example\nmax_age: 604800\n",
                Policy::Broken,
            ),
            (
                "version: STSv1\nmode: enforce\nmx: 192.0.2.1\nmax_age: 604800\n",
                Policy::Broken,
            ),
            (
                "version: STSv1\nmode: enforce\nmx: a.example, b.example\nmax_age: 604800\n",
                Policy::Broken,
            ),
            (
                "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 99999999999\n",
                Policy::Broken,
            ),
            (
                "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 31557601\n",
                Policy::Broken,
            ),
            (
                "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: +86400\n",
                Policy::Broken,
            ),
            (
                "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: -1\n",
                Policy::Broken,
            ),
            ("version: STSv1\nmode: enforce\nmx: a.example\n", Policy::Broken),
            (
                "version: STSv1\n\nmode: enforce\nmx: a.example\nmax_age: 86400\n",
                Policy::Broken,
            ),
            (
                " version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 86400\n",
                Policy::Broken,
            ),
            (
                "version: STSv1\rmode: enforce\rmx: a.example\rmax_age: 86400\r",
                Policy::Broken,
            ),
            ("<html>not found</html>", Policy::Broken),
            ("<html>: not found</html>", Policy::Broken),
            ("", Policy::Broken),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn exactly_one_record_announces_a_policy() {
        let cases: [(&[&str], Option<bool>); 13] = [
            (&[], Some(false)),
            (&["v=STSv1; id=20260831085700Z;"], Some(true)),
            (&["v=STSv1;id=1"], Some(true)),
            (&["google-site-verification=x", "v=STSv1; id=1;"], Some(true)),
            (&["v=spf1 -all"], Some(false)),
            (&["v=STSv2; id=1;"], Some(false)),
            (&["V=STSv1; id=1;"], Some(false)),
            (&["v=STSv1; id=1;", "v=STSv1; id=1;"], None),
            (&["v=STSv1; id=1;", "v=STSv1; id=2;"], None),
            (&["v=STSv1;"], None),
            (&["v=STSv1; id=;"], None),
            (&["v=STSv1; id=a-b;"], None),
            (&["v=STSv1; id=1; id=2;"], None),
        ];
        for (records, expected) in cases {
            let owned: Vec<String> = records.iter().map(|&record| record.to_owned()).collect();
            assert_eq!(is_announced(&owned), expected, "{records:?}");
        }
    }

    #[test]
    fn every_mail_host_must_be_named_by_the_policy() {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<String>>();
        let cases: [(&[&str], &[&str], bool); 8] = [
            (&["mx.clinic.example"], &["mx.clinic.example"], true),
            (&["*.clinic.example"], &["a.clinic.example", "b.clinic.example"], true),
            (&["*.clinic.example"], &["a.b.clinic.example"], false),
            (&["*.clinic.example"], &["clinic.example"], false),
            (&["mx.clinic.example"], &["mx.clinic.example", "mx.evil.example"], false),
            (&["mx.clinic.example"], &["mx.clinic.example.evil.example"], false),
            (&["mx.clinic.example"], &[""], false),
            (&["mx.clinic.example"], &[], false),
        ];
        for (patterns, hosts, expected) in cases {
            assert_eq!(
                covers(&owned(patterns), &owned(hosts)),
                expected,
                "{patterns:?} {hosts:?}"
            );
        }
    }

    #[test]
    fn the_table_knows_the_reserved_domains_only() {
        for (domain, expected) in [
            ("mta-sts.test", MtaSts::Enforce),
            ("mail.mta-sts.test", MtaSts::Enforce),
            ("not-mta-sts.test", MtaSts::Other),
            ("mta-sts.test.evil.example", MtaSts::Other),
            ("no-tls.test", MtaSts::Other),
            ("clinic.example", MtaSts::Other),
        ] {
            assert_eq!(from_table(domain), expected, "{domain}");
        }
    }
}
