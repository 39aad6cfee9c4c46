//! Object Lock: what protects, what may change, and when it ends.

use super::*;

#[tokio::test]
async fn retention_and_holds_protect_versions_until_the_clock_has_passed() {
    // (mode, legal hold, deletable, deletable with bypass) before the date; after it only the hold counts.
    let cases = [
        (None, false, true, true),
        (Some(ObjectLockMode::Governance), false, false, true),
        (Some(ObjectLockMode::Compliance), false, false, false),
        (None, true, false, false),
        (Some(ObjectLockMode::Governance), true, false, false),
        (Some(ObjectLockMode::Compliance), true, false, false),
    ];
    let judged = |allowed: bool| if allowed { Ok(()) } else { refused("AccessDenied") };
    for (mode, is_held, plain, bypassing) in cases {
        let bench = Bench::with_buckets().await;
        let mut versions = Vec::new();
        for _ in 0..3 {
            let put = bench
                .client
                .put_object()
                .bucket("locked")
                .key("k")
                .body(ByteStream::from_static(b"x"));
            let until = mode.as_ref().map(|_| bench.in_days(30));
            let hold = is_held.then_some(ObjectLockLegalHoldStatus::On);
            let put = put
                .set_object_lock_mode(mode.clone())
                .set_object_lock_retain_until_date(until);
            let put = put.set_object_lock_legal_hold_status(hold).send().await.unwrap();
            versions.push(put.version_id.unwrap());
        }
        let case = format!("{mode:?}, held: {is_held}");
        assert_eq!(
            bench.delete("locked", "k", &versions[0], false).await,
            judged(plain),
            "{case}"
        );
        assert_eq!(
            bench.delete("locked", "k", &versions[1], true).await,
            judged(bypassing),
            "{case}"
        );
        // The key itself is not protected: a marker covers it, and a new version is put.
        bench
            .client
            .delete_object()
            .bucket("locked")
            .key("k")
            .send()
            .await
            .unwrap();
        bench.put("locked", "k", "new").await.unwrap();

        bench.clock.advance_ms(29 * DAY_MS);
        assert_eq!(
            bench.delete("locked", "k", &versions[2], false).await,
            judged(plain),
            "{case}, a day early"
        );
        bench.clock.advance_ms(DAY_MS + 1000);
        assert_eq!(
            bench.delete("locked", "k", &versions[2], false).await,
            judged(!is_held),
            "{case}, after"
        );
        if is_held {
            bench.hold(&versions[2], ObjectLockLegalHoldStatus::Off).await.unwrap();
            bench.delete("locked", "k", &versions[2], false).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_lock_is_extended_freely_and_weakened_only_where_governance_is_bypassed() {
    let (governance, compliance) = ("GOVERNANCE", "COMPLIANCE");
    let cases = [
        // (from, to, allowed without bypass, allowed with bypass)
        (None, Some((governance, 10)), true, true),
        (None, Some((compliance, 10)), true, true),
        (Some((governance, 10)), Some((governance, 20)), true, true),
        (Some((governance, 10)), Some((governance, 5)), false, true),
        (Some((governance, 10)), None, false, true),
        (Some((governance, 10)), Some((compliance, 20)), false, true),
        (Some((compliance, 10)), Some((compliance, 20)), true, true),
        (Some((compliance, 10)), Some((compliance, 5)), false, false),
        (Some((compliance, 10)), Some((governance, 20)), false, false),
        (Some((compliance, 10)), None, false, false),
    ];
    let judged = |allowed: bool| if allowed { Ok(()) } else { refused("AccessDenied") };
    let bench = Bench::with_buckets().await;
    for (from, to, plain, bypassing) in cases {
        for (bypass, allowed) in [(false, plain), (true, bypassing)] {
            let version = bench.put("locked", "k", "x").await.unwrap();
            if from.is_some() {
                bench.retain(&version, from, false).await.unwrap();
            }
            let case = format!("{from:?} to {to:?}, bypass: {bypass}");
            assert_eq!(bench.retain(&version, to, bypass).await, judged(allowed), "{case}");
            let get = bench
                .client
                .get_object_retention()
                .bucket("locked")
                .key("k")
                .version_id(&version);
            let kept = get.send().await.map_err(code);
            let expected = if allowed { to } else { from };
            match expected {
                None => assert_eq!(kept.map(drop), refused("NoSuchObjectLockConfiguration"), "{case}"),
                Some((mode, _)) => {
                    let retention = kept.unwrap().retention.unwrap();
                    assert_eq!(retention.mode.unwrap().as_str(), mode, "{case}");
                }
            }
        }
    }
    let version = bench.put("locked", "k", "x").await.unwrap();
    bench.retain(&version, Some((compliance, 10)), false).await.unwrap();
    bench.clock.advance_ms(10 * DAY_MS + 1000);
    bench.retain(&version, None, false).await.unwrap();
}

#[tokio::test]
async fn locks_are_refused_where_they_make_no_sense() {
    let bench = Bench::with_buckets().await;
    let put = |bucket: &str| {
        bench
            .client
            .put_object()
            .bucket(bucket)
            .key("k")
            .body(ByteStream::from_static(b"x"))
    };
    let governance = ObjectLockMode::Governance;
    let retained = |bucket: &str, days| {
        put(bucket)
            .object_lock_mode(governance.clone())
            .object_lock_retain_until_date(bench.in_days(days))
    };
    let cases = [
        ("no lock on the bucket", retained("versioned", 1), "InvalidRequest"),
        ("no versions", retained("plain", 1), "InvalidRequest"),
        ("past", retained("locked", -1), "InvalidArgument"),
        (
            "mode without date",
            put("locked").object_lock_mode(governance.clone()),
            "InvalidArgument",
        ),
        (
            "date without mode",
            put("locked").object_lock_retain_until_date(bench.in_days(1)),
            "InvalidArgument",
        ),
        (
            "hold without lock",
            put("plain").object_lock_legal_hold_status(ObjectLockLegalHoldStatus::On),
            "InvalidRequest",
        ),
    ];
    for (case, put, expected) in cases {
        assert_eq!(put.send().await.map(drop).map_err(code), refused(expected), "{case}");
    }
    for bucket in ["plain", "versioned", "locked"] {
        assert_eq!(bench.versions(bucket).await, 0, "{bucket}");
    }
    let version = bench.put("locked", "k", "x").await.unwrap();
    assert_eq!(
        bench.retain(&version, Some(("GOVERNANCE", -1)), false).await,
        refused("InvalidArgument")
    );
    assert_eq!(
        bench.retain("absent", Some(("GOVERNANCE", 1)), false).await,
        refused("NoSuchVersion")
    );
    let hold = bench
        .client
        .get_object_legal_hold()
        .bucket("locked")
        .key("k")
        .send()
        .await
        .map_err(code);
    assert_eq!(hold.map(drop), refused("NoSuchObjectLockConfiguration"));
    let configuration = bench
        .client
        .get_object_lock_configuration()
        .bucket("plain")
        .send()
        .await
        .map_err(code);
    assert_eq!(configuration.map(drop), refused("ObjectLockConfigurationNotFoundError"));
}

#[tokio::test]
async fn a_default_retention_locks_what_is_put_without_one() {
    use aws_sdk_s3::types::{DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRule};
    let bench = Bench::with_buckets().await;
    let default = DefaultRetention::builder()
        .mode(ObjectLockRetentionMode::Compliance)
        .days(3)
        .build();
    let configuration = ObjectLockConfiguration::builder()
        .object_lock_enabled(ObjectLockEnabled::Enabled)
        .rule(ObjectLockRule::builder().default_retention(default).build())
        .build();
    let set = |bucket: &str| {
        let put = bench.client.put_object_lock_configuration().bucket(bucket);
        put.object_lock_configuration(configuration.clone()).send()
    };
    assert_eq!(
        set("plain").await.map(drop).map_err(code),
        refused("InvalidBucketState")
    );
    set("versioned").await.unwrap();
    let version = bench.put("versioned", "k", "x").await.unwrap();
    assert_eq!(
        bench.delete("versioned", "k", &version, true).await,
        refused("AccessDenied")
    );
    bench.clock.advance_ms(3 * DAY_MS + 1000);
    bench.delete("versioned", "k", &version, false).await.unwrap();
}

#[tokio::test]
async fn one_call_deletes_many_and_names_those_it_may_not() {
    let bench = Bench::with_buckets().await;
    let free = bench.put("locked", "k", "x").await.unwrap();
    let held = bench.put("locked", "k", "y").await.unwrap();
    bench.hold(&held, ObjectLockLegalHoldStatus::On).await.unwrap();
    let object = |id: &str| ObjectIdentifier::builder().key("k").version_id(id).build().unwrap();
    let delete = Delete::builder()
        .objects(object(&free))
        .objects(object(&held))
        .build()
        .unwrap();
    let answer = bench
        .client
        .delete_objects()
        .bucket("locked")
        .delete(delete)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.deleted()[0].version_id(), Some(free.as_str()));
    assert_eq!(answer.errors()[0].version_id(), Some(held.as_str()));
    assert_eq!(answer.errors()[0].code(), Some("AccessDenied"));
    assert_eq!(bench.versions("locked").await, 1);
}
