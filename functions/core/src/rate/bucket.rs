//! The decisions about a second's tokens: pure, on the second's row.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;

use super::Lane;
use crate::aws::table::Item;
use crate::id::TenantId;

/// How long a brake holds at one step, milliseconds.
const BRAKE_MS: i64 = 30_000;
/// How often the limit is halved at most: to an eighth.
const MAX_HALVINGS: u32 = 3;

/// A process's answer to being throttled: each time half, at most to an eighth, and back by one step in 30 seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Brake {
    halvings: u32,
    at_ms: i64,
}

impl Brake {
    /// How often the limit is halved now.
    pub(super) fn halvings(self, now_ms: i64) -> u32 {
        let steps_back = now_ms.saturating_sub(self.at_ms).max(0).div_euclid(BRAKE_MS);
        self.halvings
            .saturating_sub(u32::try_from(steps_back).unwrap_or(u32::MAX))
    }

    /// The brake after another throttle. Those of one second, which come in a bunch, count once.
    pub(super) fn pressed(self, now_ms: i64) -> Self {
        let halvings = self.halvings(now_ms);
        if halvings > 0 && now_ms.saturating_sub(self.at_ms) < 1000 {
            return self;
        }
        Self {
            halvings: halvings.saturating_add(1).min(MAX_HALVINGS),
            at_ms: now_ms,
        }
    }
}

/// How many tokens a second has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    /// As the quota says. Mail that comes for the first time, of whoever is not behind, may count on it: another's flood, which
    /// is what a process is throttled for, is nothing to it.
    pub(super) full: i64,
    /// After this process was throttled: for everything else.
    pub(super) braked: i64,
}

impl Limit {
    pub(super) fn new(rate: f64, halvings: u32) -> Self {
        let [full, braked] = [0, halvings].map(|halvings| limit(rate, halvings));
        Self { full, braked }
    }
}

/// How many tokens a second has: nine tenths of the rate, halved so often, at least one.
fn limit(rate: f64, halvings: u32) -> i64 {
    // Whole and within bounds before it is made an integer; no account has a rate of a million.
    let most = (rate * 0.9).floor().clamp(1.0, 1_000_000.0) as i64;
    (most >> halvings.min(MAX_HALVINGS)).max(1)
}

/// How many tokens a process leases at once: a quarter of a second's, 1 to 10 (as many as a batch of the queue has).
pub(super) fn block(limit: i64) -> i64 {
    limit.div_euclid(4).clamp(1, 10)
}

/// How many of a second's tokens marketing may take: three quarters, or a twentieth while care waits.
pub(super) fn ceiling(limit: i64, care_waits: bool) -> i64 {
    if care_waits {
        limit.div_euclid(20)
    } else {
        limit.saturating_mul(3).saturating_add(3).div_euclid(4)
    }
}

/// How many of a second's tokens go to tenants that are behind: all but a tenth, at least one, so that whoever is not behind
/// finds one at once, however long the others' backlogs are. Where a second has fewer than four, all.
pub(super) fn for_backlogs(limit: i64) -> i64 {
    let kept = if limit < 4 { 0 } else { limit.div_euclid(10).max(1) };
    limit.saturating_sub(kept)
}

/// What a second's row says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// Tokens taken.
    pub(super) taken: i64,
    /// Tokens taken by marketing.
    pub(super) marketing: i64,
    /// Tenants that come back for care in this second.
    pub(super) waiting_care: BTreeSet<String>,
    /// Tenants that come back for marketing in this second.
    pub(super) waiting_marketing: BTreeSet<String>,
    /// Tokens taken, by lane and tenant.
    pub(super) counts: BTreeMap<String, i64>,
}

impl Window {
    pub(super) fn new(item: &Item) -> Self {
        let set = |name: &str| match item.get(name) {
            Some(AttributeValue::Ss(names)) => names.iter().cloned().collect(),
            _ => BTreeSet::new(),
        };
        let is_count = |name: &str| {
            [Lane::Care, Lane::Marketing].iter().any(|lane| {
                name.strip_prefix(lane.as_str())
                    .is_some_and(|rest| rest.starts_with('_'))
            })
        };
        Self {
            taken: integer(item, "taken").unwrap_or_default(),
            marketing: integer(item, "marketing").unwrap_or_default(),
            waiting_care: set(Lane::Care.waiting()),
            waiting_marketing: set(Lane::Marketing.waiting()),
            counts: item
                .keys()
                .filter(|name| is_count(name))
                .filter_map(|name| Some((name.clone(), integer(item, name)?)))
                .collect(),
        }
    }

    /// Who shares a lane in this second: who waits in it, who took of it, and who asks.
    fn n_sharing(&self, tenant: &TenantId, lane: Lane) -> i64 {
        let prefix = format!("{}_", lane.as_str());
        let took = self.counts.keys().filter_map(|name| name.strip_prefix(&prefix));
        let waiting = match lane {
            Lane::Care => &self.waiting_care,
            Lane::Marketing => &self.waiting_marketing,
        };
        let all: BTreeSet<&str> = took
            .chain(waiting.iter().map(String::as_str))
            .chain([tenant.as_str()])
            .collect();
        i64::try_from(all.len()).unwrap_or(i64::MAX)
    }
}

/// How many more tokens of a second this tenant may take in this lane; `has_waited` for mail that was made to wait before.
pub(super) fn allowed(window: &Window, tenant: &TenantId, lane: Lane, limit: Limit, has_waited: bool) -> i64 {
    let own = window.counts.get(&lane.count_of(tenant)).copied().unwrap_or_default();
    let n_sharing = window.n_sharing(tenant, lane);
    let share_of = |tokens: i64| tokens.div_euclid(n_sharing).max(1);
    let Limit { full, braked } = limit;
    let free = braked.saturating_sub(window.taken);
    let backlog = for_backlogs(braked);
    // What is kept is for mail that comes for the first time, of whoever has had less than a share of this second.
    let is_behind = has_waited || own >= braked.div_euclid(n_sharing.max(2)).max(1);
    let (left, share) = match lane {
        Lane::Care if is_behind => {
            let least = backlog.div_euclid(n_sharing.max(2)).max(1);
            let room = backlog.saturating_sub(window.taken).max(least.saturating_sub(own));
            (room.min(free), share_of(backlog))
        }
        Lane::Care => (full.saturating_sub(window.taken), share_of(full)),
        Lane::Marketing => {
            let room = ceiling(braked, !window.waiting_care.is_empty());
            let most = if has_waited { backlog } else { braked };
            let left = room.saturating_sub(window.marketing);
            (left.min(most.saturating_sub(window.taken)), share_of(room))
        }
    };
    let waiting = match lane {
        Lane::Care => &window.waiting_care,
        Lane::Marketing => &window.waiting_marketing,
    };
    if waiting.iter().all(|other| other == tenant.as_str()) {
        return left.max(0);
    }
    left.min(share.saturating_sub(own)).max(0)
}

/// A whole number of an item.
pub(super) fn integer(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(n: u8) -> TenantId {
        TenantId::from_bytes([n; 16])
    }

    #[test]
    fn a_limit_follows_the_quota_and_keeps_a_tenth_free() {
        for (rate, halvings, expected) in [
            (14.0, 0, 12),
            (1.0, 0, 1),
            (0.5, 0, 1),
            (200.0, 0, 180),
            (200.0, 1, 90),
            (200.0, 3, 22),
            (200.0, 9, 22),
            (1.0, 3, 1),
        ] {
            assert_eq!(limit(rate, halvings), expected, "{rate} {halvings}");
        }
        assert_eq!([1, 4, 12, 39, 40, 900].map(block), [1, 1, 3, 9, 10, 10]);
        assert_eq!([1, 3, 4, 12, 40, 900].map(for_backlogs), [1, 3, 3, 11, 36, 810]);
    }

    #[test]
    fn a_brake_is_pressed_once_a_bunch_and_let_go_step_by_step() {
        let once = Brake::default().pressed(100_000);
        assert_eq!(once.pressed(100_900), once, "the same bunch");
        let thrice = once.pressed(101_500).pressed(103_000).pressed(105_000);
        let at = |ms: i64| thrice.halvings(105_000 + ms);
        assert_eq!(
            [0, 29_999, 30_000, 60_000, 90_000, 9_000_000].map(at),
            [3, 3, 2, 1, 0, 0]
        );
        assert_eq!(Brake::default().halvings(0), 0);
    }

    #[test]
    fn shares_are_even_and_care_goes_first() {
        let allowed = |window: &Window, tenant: &TenantId, lane, n, has_waited| {
            super::allowed(window, tenant, lane, Limit { full: n, braked: n }, has_waited)
        };
        let set = |tenants: &[u8]| tenants.iter().map(|n| tenant(*n).to_string()).collect::<BTreeSet<_>>();
        let window = |taken, marketing, care: &[u8], other: &[u8], counts: &[(Lane, u8, i64)]| Window {
            taken,
            marketing,
            waiting_care: set(care),
            waiting_marketing: set(other),
            counts: counts
                .iter()
                .map(|(lane, n, count)| (lane.count_of(&tenant(*n)), *count))
                .collect(),
        };
        let (care, marketing) = (Lane::Care, Lane::Marketing);
        for (what, window, lane, expected) in [
            ("an empty second", window(0, 0, &[], &[], &[]), care, 40),
            (
                "what is left",
                window(39, 0, &[], &[], &[(care, 1, 10), (care, 2, 29)]),
                care,
                1,
            ),
            (
                "whoever had a share leaves a tenth",
                window(39, 0, &[], &[], &[(care, 1, 39)]),
                care,
                0,
            ),
            ("nothing left", window(40, 0, &[], &[], &[(care, 1, 40)]), care, 0),
            ("only we wait", window(30, 0, &[1], &[], &[(care, 1, 30)]), care, 6),
            (
                "we wait, and a tenth is others'",
                window(36, 0, &[1], &[], &[(care, 1, 36)]),
                care,
                0,
            ),
            (
                "another's backlog leaves a tenth",
                window(36, 0, &[2], &[], &[(care, 2, 36)]),
                care,
                4,
            ),
            ("another waits", window(0, 0, &[2], &[], &[]), care, 20),
            ("our share is used", window(20, 0, &[2], &[], &[(care, 1, 20)]), care, 0),
            ("two others wait", window(0, 0, &[1, 2, 3], &[], &[]), care, 13),
            (
                "one waits and one took",
                window(13, 0, &[2], &[], &[(care, 3, 13)]),
                care,
                13,
            ),
            (
                "others used more than theirs",
                window(35, 0, &[1, 2], &[], &[(care, 2, 35)]),
                care,
                5,
            ),
            ("marketing alone", window(0, 0, &[], &[], &[]), marketing, 30),
            (
                "what care leaves",
                window(35, 0, &[], &[], &[(care, 2, 35)]),
                marketing,
                5,
            ),
            (
                "its three quarters are used",
                window(30, 30, &[], &[], &[(marketing, 1, 30)]),
                marketing,
                0,
            ),
            (
                "care takes what it left",
                window(30, 30, &[], &[], &[(marketing, 1, 30)]),
                care,
                10,
            ),
            ("care waits", window(0, 0, &[2], &[], &[]), marketing, 2),
            (
                "care waits, ours too",
                window(2, 2, &[1], &[], &[(marketing, 1, 2)]),
                marketing,
                0,
            ),
            ("another's marketing waits", window(0, 0, &[], &[2], &[]), marketing, 15),
            (
                "marketing's waiting is nothing to care",
                window(0, 0, &[], &[2, 3], &[]),
                care,
                40,
            ),
        ] {
            assert_eq!(allowed(&window, &tenant(1), lane, 40, false), expected, "{what}");
        }
        // An account in the sandbox: one a second, and marketing none of it while care waits.
        assert_eq!(
            allowed(&window(0, 0, &[], &[], &[]), &tenant(1), marketing, 1, false),
            1
        );
        assert_eq!(
            allowed(&window(0, 0, &[2], &[], &[]), &tenant(1), marketing, 1, false),
            0
        );
        assert_eq!(allowed(&window(0, 0, &[2, 3], &[], &[]), &tenant(1), care, 1, false), 1);
        // Two backlogs together leave it too.
        let two = [(care, 1, 18), (care, 2, 18)];
        assert_eq!(
            allowed(&window(36, 0, &[1, 2], &[], &two), &tenant(1), care, 40, true),
            0
        );
        assert_eq!(
            allowed(&window(36, 0, &[1, 2], &[], &two), &tenant(3), care, 40, false),
            4
        );
        // Mail that comes back leaves a tenth, whether or not its tenant is known to wait in this second.
        assert_eq!(allowed(&window(0, 0, &[], &[], &[]), &tenant(1), care, 9, false), 9);
        assert_eq!(
            allowed(&window(4, 0, &[], &[], &[(care, 1, 4)]), &tenant(1), care, 9, true),
            4
        );
        assert_eq!(
            allowed(&window(8, 0, &[], &[], &[(care, 2, 8)]), &tenant(1), care, 9, true),
            1
        );
    }

    #[test]
    fn a_brake_holds_back_floods_and_backlogs_alone() {
        let braked = Limit { full: 40, braked: 10 };
        let of_flood = Window {
            taken: 36,
            counts: BTreeMap::from([(Lane::Care.count_of(&tenant(2)), 36)]),
            ..Window::default()
        };
        let may = |tenant: u8, lane, has_waited| allowed(&of_flood, &self::tenant(tenant), lane, braked, has_waited);
        assert_eq!(may(1, Lane::Care, false), 4, "who is not behind");
        assert_eq!(may(2, Lane::Care, false), 0, "who floods");
        assert_eq!(may(1, Lane::Marketing, false), 0);
        let empty = |lane, has_waited| allowed(&Window::default(), &tenant(1), lane, braked, has_waited);
        assert_eq!(
            [
                empty(Lane::Care, false),
                empty(Lane::Care, true),
                empty(Lane::Marketing, false)
            ],
            [40, 9, 8]
        );
    }

    #[test]
    fn a_row_is_read_as_it_is_written() {
        let one = tenant(1);
        let number = |n: i64| AttributeValue::N(n.to_string());
        let item = Item::from([
            ("pk".to_owned(), AttributeValue::S("deployment#RATE#7".to_owned())),
            ("taken".to_owned(), number(9)),
            ("marketing".to_owned(), number(4)),
            (Lane::Marketing.count_of(&one), number(4)),
            (Lane::Care.count_of(&one), number(5)),
            ("waiting_care".to_owned(), AttributeValue::Ss(vec![one.to_string()])),
            ("expires_at".to_owned(), number(1)),
        ]);
        let window = Window::new(&item);
        assert_eq!((window.taken, window.marketing), (9, 4));
        assert_eq!(window.counts.values().copied().collect::<Vec<_>>(), [5, 4]);
        assert_eq!(window.waiting_care, BTreeSet::from([one.to_string()]));
        assert!(window.waiting_marketing.is_empty());
    }
}
