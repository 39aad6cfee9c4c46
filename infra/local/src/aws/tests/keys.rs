//! Objects under a KMS key: who may use it, and when it can be used.

use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
};
use serde_json::json;

use super::{by_path, code, role};
use crate::aws::testing::{memory, sdk};

#[tokio::test]
async fn an_object_under_a_key_needs_the_key_and_the_right_to_it() {
    let aws = memory();
    let all = sdk(&aws, None);
    let kms = aws_sdk_kms::Client::new(&all);
    let key = kms
        .create_key()
        .send()
        .await
        .unwrap()
        .key_metadata
        .unwrap()
        .arn
        .unwrap();
    let s3 = by_path(&all);
    s3.create_bucket().bucket("work").send().await.unwrap();
    let default = ServerSideEncryptionByDefault::builder()
        .sse_algorithm(ServerSideEncryption::AwsKms)
        .kms_master_key_id(&key)
        .build()
        .unwrap();
    let rule = ServerSideEncryptionRule::builder()
        .apply_server_side_encryption_by_default(default)
        .build();
    let encryption = ServerSideEncryptionConfiguration::builder()
        .rules(rule)
        .build()
        .unwrap();
    let set = s3
        .put_bucket_encryption()
        .bucket("work")
        .server_side_encryption_configuration(encryption);
    set.send().await.unwrap();

    let may = |action: &str| {
        let objects = json!({"Effect": "Allow", "Action": "s3:*", "Resource": "*"});
        role(&[objects, json!({"Effect": "Allow", "Action": action, "Resource": key})])
    };
    let (writer, reader) = (may("kms:GenerateDataKey"), may("kms:Decrypt"));
    let (writing, reading) = (by_path(&sdk(&aws, Some(&writer))), by_path(&sdk(&aws, Some(&reader))));
    let put = |client: &aws_sdk_s3::Client| {
        client
            .put_object()
            .bucket("work")
            .key("a")
            .body(b"x".to_vec().into())
            .send()
    };
    let get = |client: &aws_sdk_s3::Client| client.get_object().bucket("work").key("a").send();
    let refused = put(&reading).await.unwrap_err();
    let message = aws_sdk_s3::error::ProvideErrorMetadata::message(&refused)
        .unwrap()
        .to_owned();
    assert!(
        message.contains(&format!("kms:GenerateDataKey on resource: {key}")),
        "{message}"
    );
    // What is refused is not there.
    assert_eq!(code(s3.get_object().bucket("work").key("a").send().await), "NoSuchKey");
    put(&writing).await.unwrap();
    assert_eq!(code(get(&writing).await), "AccessDenied");
    get(&reading).await.unwrap();
    let copy = |client: &aws_sdk_s3::Client| {
        client
            .copy_object()
            .bucket("work")
            .key("b")
            .copy_source("work/a")
            .send()
    };
    assert_eq!(code(copy(&writing).await), "AccessDenied");
    assert_eq!(code(copy(&reading).await), "AccessDenied");
    copy(&s3).await.unwrap();

    let upload = writing
        .create_multipart_upload()
        .bucket("work")
        .key("c")
        .send()
        .await
        .unwrap();
    let id = upload.upload_id().unwrap();
    let part = writing
        .upload_part()
        .bucket("work")
        .key("c")
        .upload_id(id)
        .part_number(1);
    let part = part.body(b"x".to_vec().into()).send().await.unwrap();
    let part = CompletedPart::builder().part_number(1).set_e_tag(part.e_tag).build();
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    let complete = |client: &aws_sdk_s3::Client| {
        let complete = client.complete_multipart_upload().bucket("work").key("c").upload_id(id);
        complete.multipart_upload(parts.clone()).send()
    };
    assert_eq!(code(complete(&writing).await), "AccessDenied");
    complete(&s3).await.unwrap();

    kms.disable_key().key_id(&key).send().await.unwrap();
    assert_eq!(code(put(&writing).await), "KMS.DisabledException");
    assert_eq!(code(get(&reading).await), "KMS.DisabledException");
    kms.schedule_key_deletion()
        .key_id(&key)
        .pending_window_in_days(7)
        .send()
        .await
        .unwrap();
    assert_eq!(code(get(&s3).await), "KMS.KMSInvalidStateException");
    aws.clock.advance_ms(7 * 86_400_000);
    assert_eq!(code(get(&s3).await), "KMS.NotFoundException");
}
