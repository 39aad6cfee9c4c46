//! Buckets, their settings, and their listings.

use super::*;

#[tokio::test]
async fn buckets_without_versions_overwrite_and_suspended_ones_keep_the_old_ones() {
    let bench = Bench::with_buckets().await;
    assert_eq!(bench.put("plain", "k", "one").await, None);
    assert_eq!(bench.put("plain", "k", "two").await, None);
    assert_eq!(bench.versions("plain").await, 1);
    bench
        .client
        .delete_object()
        .bucket("plain")
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(bench.versions("plain").await, 0);

    let kept = bench.put("versioned", "k", "kept").await.unwrap();
    bench
        .version("versioned", BucketVersioningStatus::Suspended)
        .await
        .unwrap();
    assert_eq!(bench.put("versioned", "k", "null one").await.as_deref(), Some("null"));
    assert_eq!(bench.put("versioned", "k", "null two").await.as_deref(), Some("null"));
    assert_eq!(bench.versions("versioned").await, 2);
    assert_eq!(bench.get("versioned", "k", Some(&kept)).await, Ok("kept".to_owned()));
    let suspended = bench.version("locked", BucketVersioningStatus::Suspended).await;
    assert_eq!(suspended, refused("InvalidBucketState"));
}

#[tokio::test]
async fn bucket_settings_are_given_back_or_named_as_absent() {
    use aws_sdk_s3::types::{
        PublicAccessBlockConfiguration, ServerSideEncryption, ServerSideEncryptionByDefault,
        ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
    };
    let bench = Bench::with_buckets().await;
    let client = &bench.client;
    let absent = client
        .get_public_access_block()
        .bucket("plain")
        .send()
        .await
        .map(drop)
        .map_err(code);
    assert_eq!(absent, refused("NoSuchPublicAccessBlockConfiguration"));
    let absent = client
        .get_bucket_policy()
        .bucket("plain")
        .send()
        .await
        .map(drop)
        .map_err(code);
    assert_eq!(absent, refused("NoSuchBucketPolicy"));
    let absent = client
        .get_bucket_versioning()
        .bucket("absent")
        .send()
        .await
        .map(drop)
        .map_err(code);
    assert_eq!(absent, refused("NoSuchBucket"));
    let block = PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .build();
    let put = client
        .put_public_access_block()
        .bucket("plain")
        .public_access_block_configuration(block.clone());
    put.send().await.unwrap();
    let kept = client.get_public_access_block().bucket("plain").send().await.unwrap();
    assert_eq!(
        kept.public_access_block_configuration().unwrap().block_public_acls(),
        Some(true)
    );

    let default = ServerSideEncryptionByDefault::builder()
        .sse_algorithm(ServerSideEncryption::AwsKms)
        .kms_master_key_id("alias/a");
    let rule = ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(default.build().unwrap());
    let configuration = ServerSideEncryptionConfiguration::builder()
        .rules(rule.build())
        .build()
        .unwrap();
    let put = client
        .put_bucket_encryption()
        .bucket("plain")
        .server_side_encryption_configuration(configuration);
    put.send().await.unwrap();
    let put = client
        .put_object()
        .bucket("plain")
        .key("k")
        .body(ByteStream::from_static(b"x"))
        .send()
        .await
        .unwrap();
    assert_eq!(put.server_side_encryption(), Some(&ServerSideEncryption::AwsKms));
    assert_eq!(put.ssekms_key_id(), Some("alias/a"));
    client.get_bucket_location().bucket("plain").send().await.unwrap();
    let buckets = client.list_buckets().send().await.unwrap();
    let names: Vec<_> = buckets.buckets().iter().filter_map(|bucket| bucket.name()).collect();
    assert_eq!(names, ["locked", "plain", "versioned"]);
}

#[tokio::test]
async fn buckets_settings_and_objects_survive_a_restart() {
    let directory = crate::aws::testing::folder("s3");
    std::fs::create_dir(&directory).unwrap();
    let path = directory.join("s3.sqlite");
    let clock = Clock::system();
    let open = || Arc::new(S3::open(Some(&path), clock.clone()).unwrap());
    let version = {
        let client = client(&open(), "local", None);
        client
            .create_bucket()
            .bucket("locked")
            .object_lock_enabled_for_bucket(true)
            .send()
            .await
            .unwrap();
        client
            .put_bucket_policy()
            .bucket("locked")
            .policy("{\"Statement\":[]}")
            .send()
            .await
            .unwrap();
        let put = client
            .put_object()
            .bucket("locked")
            .key("k")
            .body(ByteStream::from_static(b"x"));
        let put = put
            .object_lock_legal_hold_status(ObjectLockLegalHoldStatus::On)
            .send()
            .await
            .unwrap();
        put.version_id.unwrap()
    };
    let s3 = open();
    let bench = Bench {
        client: client(&s3, "local", None),
        s3,
        clock: clock.clone(),
    };
    assert_eq!(bench.get("locked", "k", Some(&version)).await, Ok("x".to_owned()));
    assert_eq!(
        bench.delete("locked", "k", &version, true).await,
        refused("AccessDenied")
    );
    let policy = bench.client.get_bucket_policy().bucket("locked").send().await.unwrap();
    assert_eq!(policy.policy(), Some("{\"Statement\":[]}"));
    drop(bench);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn listings_page_through_everything_once_while_versions_are_deleted() {
    let bench = Bench::with_buckets().await;
    for key in ["a", "b/1", "b/2", "c d", "e/1", "é"] {
        bench.put("versioned", key, "x").await;
        bench.put("versioned", key, "y").await;
    }
    let (mut names, mut token) = (Vec::new(), None);
    loop {
        let list = bench
            .client
            .list_objects_v2()
            .bucket("versioned")
            .delimiter("/")
            .max_keys(2);
        let page = list.set_continuation_token(token).send().await.unwrap();
        let mut entries: Vec<String> = page.contents().iter().filter_map(|object| object.key.clone()).collect();
        entries.extend(page.common_prefixes().iter().filter_map(|prefix| prefix.prefix.clone()));
        assert_eq!(page.key_count().map(|count| count as usize), Some(entries.len()));
        entries.sort();
        names.extend(entries);
        token = page.next_continuation_token;
        assert_eq!(page.is_truncated, Some(token.is_some()));
        if token.is_none() {
            break;
        }
    }
    assert_eq!(names, ["a", "b/", "c d", "e/", "é"]);

    let (mut n_deleted, mut markers) = (0, (None, None));
    loop {
        let list = bench.client.list_object_versions().bucket("versioned").max_keys(3);
        let page = list
            .set_key_marker(markers.0)
            .set_version_id_marker(markers.1)
            .send()
            .await
            .unwrap();
        for version in page.versions() {
            bench
                .delete(
                    "versioned",
                    version.key().unwrap(),
                    version.version_id().unwrap(),
                    false,
                )
                .await
                .unwrap();
            n_deleted += 1;
        }
        markers = (page.next_key_marker, page.next_version_id_marker);
        if markers.0.is_none() {
            break;
        }
    }
    assert_eq!((n_deleted, bench.versions("versioned").await), (12, 0));
}

#[tokio::test]
async fn url_encoded_listings_carry_keys_that_xml_cannot() {
    let bench = Bench::with_buckets().await;
    bench.put("plain", "a b/\u{1}+%", "x").await;
    let list = bench.client.list_objects_v2().bucket("plain");
    let page = list
        .encoding_type(aws_sdk_s3::types::EncodingType::Url)
        .send()
        .await
        .unwrap();
    assert_eq!(page.contents()[0].key(), Some("a+b/%01%2B%25"));
}
