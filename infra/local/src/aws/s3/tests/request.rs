//! Who is let in, until when, and what is refused by name.

use super::*;

#[tokio::test]
async fn a_presigned_link_works_until_the_clock_has_passed_it() {
    let bench = Bench::with_buckets().await;
    bench.put("plain", "k", "x").await;
    // A link that is made on the system's clock while it runs ahead of the machine's.
    bench.clock.advance_ms(400 * DAY_MS);
    let start = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(bench.clock.now_ms()).unwrap());
    let presigning = PresigningConfig::builder()
        .start_time(start)
        .expires_in(Duration::from_secs(60))
        .build()
        .unwrap();
    let link = bench
        .client
        .get_object()
        .bucket("plain")
        .key("k")
        .presigned(presigning)
        .await
        .unwrap();
    let open = |uri: &str| {
        let request = Request::get(uri).body(Bytes::new()).unwrap();
        async { bench.s3.call(request).await }
    };
    let answer = open(link.uri()).await;
    assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (200, b"x".as_ref()));
    let forged = open(&link.uri().replace("/plain/k", "/plain/l")).await;
    assert_eq!(forged.status().as_u16(), 403);
    bench.clock.advance_ms(61_000);
    let late = open(link.uri()).await;
    assert_eq!(late.status().as_u16(), 403);
    assert!(String::from_utf8_lossy(late.body()).contains("Request has expired"));
}

#[tokio::test]
async fn only_who_signs_with_the_local_secret_is_let_in() {
    let bench = Bench::with_buckets().await;
    let stranger = client(&bench.s3, "other", None);
    assert_eq!(
        stranger.list_buckets().send().await.map(drop).map_err(code),
        refused("SignatureDoesNotMatch")
    );
    let unsigned = Request::get("http://127.0.0.1/plain").body(Bytes::new()).unwrap();
    assert_eq!(bench.s3.call(unsigned).await.status().as_u16(), 403);
}

#[tokio::test]
async fn permissions_are_asked_for_by_action_and_resource() {
    let bench = Bench::with_buckets().await;
    bench.put("plain", "k", "x").await;
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&asked);
    let permissions = Permissions::new(move |action: &str, resource: &str| {
        log.lock().unwrap().push(format!("{action} {resource}"));
        matches!(action, "s3:GetObject" | "s3:DeleteObject") && resource.starts_with("arn:aws:s3:::plain/")
    });
    let client = client(&bench.s3, "local", Some(permissions));
    client.get_object().bucket("plain").key("k").send().await.unwrap();
    // Without s3:ListBucket nobody learns that a key is absent.
    let absent = client.get_object().bucket("plain").key("absent").send().await;
    assert_eq!(absent.map(drop).map_err(code), refused("AccessDenied"));
    let put = client
        .put_object()
        .bucket("plain")
        .key("k")
        .object_lock_mode(ObjectLockMode::Governance);
    assert_eq!(put.send().await.map(drop).map_err(code), refused("AccessDenied"));
    let object = ObjectIdentifier::builder().key("k").build().unwrap();
    let delete = Delete::builder().objects(object).build().unwrap();
    let deleted = client
        .delete_objects()
        .bucket("plain")
        .delete(delete)
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.deleted().len(), 1);
    assert_eq!(
        *asked.lock().unwrap(),
        [
            "s3:GetObject arn:aws:s3:::plain/k",
            "s3:GetObject arn:aws:s3:::plain/absent",
            "s3:ListBucket arn:aws:s3:::plain",
            "s3:PutObject arn:aws:s3:::plain/k",
            "s3:DeleteObject arn:aws:s3:::plain/k",
        ]
    );
}

#[tokio::test]
async fn what_is_not_implemented_says_so_by_name() {
    let bench = Bench::with_buckets().await;
    bench.put("plain", "k", "x").await;
    let acl = bench
        .client
        .get_object_acl()
        .bucket("plain")
        .key("k")
        .send()
        .await
        .unwrap_err();
    assert_eq!(acl.raw_response().unwrap().status().as_u16(), 501);
    assert_eq!(acl.code(), Some("NotImplemented"));
    assert!(acl.message().unwrap().contains("GetObjectAcl"));
    let tagged = bench
        .client
        .put_object()
        .bucket("plain")
        .key("k")
        .tagging("a=b")
        .send()
        .await
        .unwrap_err();
    assert_eq!(tagged.raw_response().unwrap().status().as_u16(), 501);
    assert!(tagged.message().unwrap().contains("x-amz-tagging"));
    let part = bench
        .client
        .get_object()
        .bucket("plain")
        .key("k")
        .part_number(1)
        .send()
        .await
        .unwrap_err();
    assert!(part.message().unwrap().contains("partNumber"));
}

#[tokio::test]
async fn answers_carry_the_date_of_the_systems_clock() {
    let bench = bench();
    bench.clock.advance_ms(6 * 366 * DAY_MS);
    let answer = bench.s3.call(Request::get("/").body(Bytes::new()).unwrap()).await;
    let date = answer.headers()[header::DATE].to_str().unwrap();
    assert_eq!(date, time::http_date(bench.clock.now()));
}
