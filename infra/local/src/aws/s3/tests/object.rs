//! Versions, conditions, reads, copies and uploads.

use super::*;

#[tokio::test]
async fn a_versioned_bucket_keeps_every_version_and_covers_with_markers() {
    let bench = Bench::with_buckets().await;
    let first = bench.put("versioned", "k", "one").await.unwrap();
    let second = bench.put("versioned", "k", "two").await.unwrap();
    assert_eq!(bench.get("versioned", "k", None).await, Ok("two".to_owned()));
    assert_eq!(bench.get("versioned", "k", Some(&first)).await, Ok("one".to_owned()));

    let covered = bench
        .client
        .delete_object()
        .bucket("versioned")
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(covered.delete_marker(), Some(true));
    let marker = covered.version_id().unwrap();
    assert_eq!(bench.get("versioned", "k", None).await, refused("NoSuchKey"));
    assert_eq!(
        bench.get("versioned", "k", Some(marker)).await,
        refused("MethodNotAllowed")
    );
    assert_eq!(bench.get("versioned", "k", Some(&second)).await, Ok("two".to_owned()));
    assert_eq!(
        bench.get("versioned", "k", Some("absent")).await,
        refused("NoSuchVersion")
    );
    assert_eq!(bench.versions("versioned").await, 3);

    bench.delete("versioned", "k", marker, false).await.unwrap();
    assert_eq!(bench.get("versioned", "k", None).await, Ok("two".to_owned()));
    bench.delete("versioned", "k", &second, false).await.unwrap();
    assert_eq!(bench.get("versioned", "k", None).await, Ok("one".to_owned()));
    let not_empty = bench
        .client
        .delete_bucket()
        .bucket("versioned")
        .send()
        .await
        .map_err(code);
    assert_eq!(not_empty.map(drop), refused("BucketNotEmpty"));
    bench.delete("versioned", "k", &first, false).await.unwrap();
    bench.client.delete_bucket().bucket("versioned").send().await.unwrap();
}

#[tokio::test]
async fn conditional_writes_look_at_the_newest_version() {
    let bench = Bench::with_buckets().await;
    let put = |bucket: &'static str| {
        bench
            .client
            .put_object()
            .bucket(bucket)
            .key("k")
            .body(ByteStream::from_static(b"x"))
    };
    for bucket in ["plain", "versioned"] {
        let absent = put(bucket).if_match("\"00\"").send().await.map_err(code);
        assert_eq!(absent.map(drop), refused("NoSuchKey"));
        let etag = put(bucket).if_none_match("*").send().await.unwrap().e_tag.unwrap();
        assert_eq!(etag, "\"9dd4e461268c8034f5c8564e155c67a6\"");
        let again = put(bucket).if_none_match("*").send().await.map_err(code);
        assert_eq!(again.map(drop), refused("PreconditionFailed"));
        let other = put(bucket).if_match("\"00\"").send().await.map_err(code);
        assert_eq!(other.map(drop), refused("PreconditionFailed"));
        put(bucket).if_match(etag).send().await.unwrap();
        bench
            .client
            .delete_object()
            .bucket(bucket)
            .key("k")
            .send()
            .await
            .unwrap();
        put(bucket).if_none_match("*").send().await.unwrap();
    }
}

#[tokio::test]
async fn reads_answer_ranges_and_conditions() {
    let bench = Bench::with_buckets().await;
    let put = bench
        .client
        .put_object()
        .bucket("plain")
        .key("k")
        .body(ByteStream::from_static(b"0123456789"));
    let put = put
        .content_type("text/plain")
        .metadata("Colour", "blau")
        .cache_control("no-store");
    let etag = put.send().await.unwrap().e_tag.unwrap();
    let get = || bench.client.get_object().bucket("plain").key("k");
    for (range, expected) in [
        ("bytes=2-4", "234"),
        ("bytes=7-", "789"),
        ("bytes=-3", "789"),
        ("bytes=0-99", "0123456789"),
    ] {
        let answer = get().range(range).send().await.unwrap();
        assert!(answer.content_range().unwrap().ends_with("/10"), "{range}");
        assert_eq!(
            answer.body.collect().await.unwrap().to_vec(),
            expected.as_bytes(),
            "{range}"
        );
    }
    assert_eq!(
        get().range("bytes=10-").send().await.map(drop).map_err(code),
        refused("InvalidRange")
    );
    let unchanged = get().if_none_match(&etag).send().await.unwrap_err();
    assert_eq!(unchanged.raw_response().unwrap().status().as_u16(), 304);
    assert_eq!(
        get().if_match("\"00\"").send().await.map(drop).map_err(code),
        refused("PreconditionFailed")
    );
    let head = bench
        .client
        .head_object()
        .bucket("plain")
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(head.content_length(), Some(10));
    assert_eq!(head.content_type(), Some("text/plain"));
    assert_eq!(head.cache_control(), Some("no-store"));
    assert_eq!(head.server_side_encryption().map(|sse| sse.as_str()), Some("AES256"));
    assert_eq!(head.metadata().unwrap().get("colour").map(String::as_str), Some("blau"));
    let absent = bench
        .client
        .head_object()
        .bucket("plain")
        .key("absent")
        .send()
        .await
        .unwrap_err();
    assert!(absent.into_service_error().is_not_found());
}

#[tokio::test]
async fn a_body_that_does_not_match_its_checksum_is_refused() {
    let bench = Bench::with_buckets().await;
    let put = || {
        bench
            .client
            .put_object()
            .bucket("plain")
            .key("k")
            .body(ByteStream::from_static(b"x"))
    };
    for (case, put) in [
        ("md5", put().content_md5("AAAAAAAAAAAAAAAAAAAAAA==")),
        (
            "sha256",
            put().checksum_sha256("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ),
        ("crc32", put().checksum_crc32("AAAAAA==")),
    ] {
        assert_eq!(put.send().await.map(drop).map_err(code), refused("BadDigest"), "{case}");
    }
    assert_eq!(bench.versions("plain").await, 0);
}

#[tokio::test]
async fn copies_keep_or_replace_what_is_said_about_the_bytes() {
    let bench = Bench::with_buckets().await;
    let put = bench
        .client
        .put_object()
        .bucket("versioned")
        .key("a b")
        .body(ByteStream::from_static(b"old"));
    let old = put.content_type("text/plain").send().await.unwrap().version_id.unwrap();
    bench.put("versioned", "a b", "new").await;
    let copy = || {
        bench
            .client
            .copy_object()
            .copy_source(format!("versioned/a%20b?versionId={old}"))
            .bucket("plain")
    };
    let copied = copy().key("kept").send().await.unwrap();
    assert_eq!(copied.copy_source_version_id(), Some(old.as_str()));
    copy()
        .key("replaced")
        .metadata_directive(MetadataDirective::Replace)
        .content_type("a/b")
        .send()
        .await
        .unwrap();
    for (key, content_type) in [("kept", "text/plain"), ("replaced", "a/b")] {
        assert_eq!(bench.get("plain", key, None).await, Ok("old".to_owned()));
        let head = bench
            .client
            .head_object()
            .bucket("plain")
            .key(key)
            .send()
            .await
            .unwrap();
        assert_eq!(head.content_type(), Some(content_type));
    }
}

#[tokio::test]
async fn parts_become_one_object_when_the_upload_is_completed() {
    let bench = Bench::with_buckets().await;
    let create = bench.client.create_multipart_upload().bucket("locked").key("k");
    let create = create
        .object_lock_mode(ObjectLockMode::Compliance)
        .object_lock_retain_until_date(bench.in_days(1));
    let upload = create.send().await.unwrap().upload_id.unwrap();
    let mut parts = Vec::new();
    for (number, size) in [(1, 5 * 1024 * 1024), (2, 10)] {
        let part = bench
            .client
            .upload_part()
            .bucket("locked")
            .key("k")
            .upload_id(&upload)
            .part_number(number);
        let part = part.body(ByteStream::from(vec![b'x'; size])).send().await.unwrap();
        let mut completed = CompletedPart::builder().part_number(number).e_tag(part.e_tag.unwrap());
        completed = completed.set_checksum_crc32(part.checksum_crc32);
        parts.push(completed.build());
    }
    assert_eq!(bench.versions("locked").await, 0);
    let complete = |parts: Vec<CompletedPart>| {
        let upload_parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = bench
            .client
            .complete_multipart_upload()
            .bucket("locked")
            .key("k")
            .upload_id(&upload);
        complete.multipart_upload(upload_parts).send()
    };
    let swapped = parts.iter().rev().cloned().collect();
    assert_eq!(
        complete(swapped).await.map(drop).map_err(code),
        refused("InvalidPartOrder")
    );
    let done = complete(parts.clone()).await.unwrap();
    assert!(done.e_tag().unwrap().ends_with("-2\""), "{:?}", done.e_tag());
    let version = done.version_id().unwrap();
    assert_eq!(
        bench.get("locked", "k", None).await.unwrap().len(),
        5 * 1024 * 1024 + 10
    );
    assert_eq!(
        bench.delete("locked", "k", version, true).await,
        refused("AccessDenied")
    );
    assert_eq!(complete(parts).await.map(drop).map_err(code), refused("NoSuchUpload"));
}
