"""KMS: what the keys rest on - encryption context, tamper evidence, states, signatures and MACs."""

import hashlib

from harness import Check, unique

CONTEXT = {"tenant": "ten_1", "purpose": "archive"}


class Kms(Check):
    service = "kms"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.key = cls.make()

    @classmethod
    def make(cls, **more):
        return cls.aws.create_key(**more)["KeyMetadata"]["KeyId"]

    def encrypt(self, plaintext=b"secret", **more):
        more.setdefault("EncryptionContext", CONTEXT)
        return self.aws.encrypt(KeyId=self.key, Plaintext=plaintext, **more)["CiphertextBlob"]

    def decrypt(self, blob, **more):
        more.setdefault("EncryptionContext", CONTEXT)
        return self.aws.decrypt(CiphertextBlob=blob, **more)

    def test_what_was_encrypted_decrypts(self):
        answer = self.decrypt(self.encrypt())
        self.assertEqual(answer["Plaintext"], b"secret")
        self.assertTrue(answer["KeyId"].endswith(self.key) and answer["KeyId"].startswith("arn:aws:kms:us-east-1:"))

    def test_the_same_plaintext_gives_another_ciphertext(self):
        self.assertNotEqual(self.encrypt(), self.encrypt())

    def test_another_context_is_refused(self):
        blob = self.encrypt()
        for context in ({}, {**CONTEXT, "purpose": "mail"}, {**CONTEXT, "more": "x"}, {"tenant": "ten_1"}):
            self.refused("InvalidCiphertextException", self.decrypt, status=400, blob=blob, EncryptionContext=context)

    def test_the_order_of_the_context_is_nothing(self):
        blob = self.encrypt()
        self.assertEqual(self.decrypt(blob, EncryptionContext=dict(reversed(CONTEXT.items())))["Plaintext"], b"secret")

    def test_a_changed_ciphertext_is_refused(self):
        blob = self.encrypt()
        for at in (len(blob) // 2, len(blob) - 1):
            changed = bytearray(blob)
            changed[at] ^= 1
            with self.subTest(at=at):
                self.refused("InvalidCiphertextException", self.decrypt, blob=bytes(changed))
        self.refused("InvalidCiphertextException", self.decrypt, blob=blob[:-1])
        self.refused("InvalidCiphertextException", self.decrypt, blob=b"no ciphertext at all, by any reading")

    def test_another_key_is_refused_by_name(self):
        self.refused("IncorrectKeyException", self.decrypt, status=400, blob=self.encrypt(), KeyId=self.make())

    def test_data_keys_decrypt_to_themselves(self):
        made = self.aws.generate_data_key(KeyId=self.key, KeySpec="AES_256", EncryptionContext=CONTEXT)
        self.assertEqual(len(made["Plaintext"]), 32)
        self.assertEqual(self.decrypt(made["CiphertextBlob"])["Plaintext"], made["Plaintext"])
        hidden = self.aws.generate_data_key_without_plaintext(KeyId=self.key, KeySpec="AES_256", EncryptionContext=CONTEXT)
        self.assertEqual(len(self.decrypt(hidden["CiphertextBlob"])["Plaintext"]), 32)

    def test_4096_octets_and_no_more(self):
        self.encrypt(b"x" * 4096)
        self.refused("ValidationException", self.encrypt, plaintext=b"x" * 4097)

    def test_a_disabled_key_does_nothing_until_it_is_enabled(self):
        key = self.make()
        blob = self.aws.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
        self.aws.disable_key(KeyId=key)
        self.assertEqual(self.aws.describe_key(KeyId=key)["KeyMetadata"]["KeyState"], "Disabled")
        self.refused("DisabledException", self.aws.encrypt, status=400, KeyId=key, Plaintext=b"x")
        self.refused("DisabledException", self.aws.decrypt, CiphertextBlob=blob)
        self.refused("DisabledException", self.aws.generate_data_key, KeyId=key, KeySpec="AES_256")
        self.aws.enable_key(KeyId=key)
        self.assertEqual(self.aws.decrypt(CiphertextBlob=blob)["Plaintext"], b"x")

    def test_a_key_that_waits_for_deletion_does_nothing(self):
        key = self.make()
        blob = self.aws.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
        self.aws.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
        self.assertEqual(self.aws.describe_key(KeyId=key)["KeyMetadata"]["KeyState"], "PendingDeletion")
        self.refused("KMSInvalidStateException", self.aws.encrypt, status=400, KeyId=key, Plaintext=b"x")
        self.refused("KMSInvalidStateException", self.aws.decrypt, CiphertextBlob=blob)
        self.refused("KMSInvalidStateException", self.aws.enable_key, KeyId=key)
        self.aws.cancel_key_deletion(KeyId=key)
        self.assertEqual(self.aws.describe_key(KeyId=key)["KeyMetadata"]["KeyState"], "Disabled")
        self.aws.enable_key(KeyId=key)
        self.assertEqual(self.aws.decrypt(CiphertextBlob=blob)["Plaintext"], b"x")

    def test_the_waiting_time_is_7_to_30_days(self):
        key = self.make()
        for days in (6, 31):
            self.refused("ValidationException", self.aws.schedule_key_deletion, KeyId=key, PendingWindowInDays=days)

    def test_an_alias_stands_for_its_key(self):
        alias = "alias/" + unique("contract")
        self.aws.create_alias(AliasName=alias, TargetKeyId=self.key)
        blob = self.aws.encrypt(KeyId=alias, Plaintext=b"x")["CiphertextBlob"]
        self.assertTrue(self.aws.decrypt(CiphertextBlob=blob)["KeyId"].endswith(self.key))
        self.refused("AlreadyExistsException", self.aws.create_alias, AliasName=alias, TargetKeyId=self.key)

    def test_an_unknown_key_is_named_so(self):
        unknown = "00000000-0000-4000-8000-000000000000"
        self.refused("NotFoundException", self.aws.describe_key, status=400, KeyId=unknown)
        self.refused("NotFoundException", self.aws.encrypt, KeyId=unknown, Plaintext=b"x")

    def test_a_key_does_only_what_it_is_for(self):
        self.refused("InvalidKeyUsageException", self.aws.sign, status=400, KeyId=self.key, Message=b"x", SigningAlgorithm="ECDSA_SHA_256")
        signing = self.make(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
        self.refused("InvalidKeyUsageException", self.aws.encrypt, KeyId=signing, Plaintext=b"x")

    def signs(self, spec, algorithm, prefix):
        key = self.make(KeySpec=spec, KeyUsage="SIGN_VERIFY")
        with_key = {"KeyId": key, "SigningAlgorithm": algorithm}
        signature = self.aws.sign(Message=b"checkpoint", **with_key)["Signature"]
        self.assertTrue(self.aws.verify(Message=b"checkpoint", Signature=signature, **with_key)["SignatureValid"])
        self.refused("KMSInvalidSignatureException", self.aws.verify, status=400, Message=b"other", Signature=signature, **with_key)
        changed = bytearray(signature)
        changed[-1] ^= 1
        self.refused("KMSInvalidSignatureException", self.aws.verify, Message=b"checkpoint", Signature=bytes(changed), **with_key)
        public = self.aws.get_public_key(KeyId=key)
        self.assertEqual(public["PublicKey"][: len(prefix)], prefix)
        self.assertEqual((public["KeySpec"], public["SigningAlgorithms"][0]), (spec, algorithm))
        return with_key

    def test_p256_signs_and_verifies(self):
        # SubjectPublicKeyInfo of an uncompressed point on P-256 (RFC 5480).
        prefix = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
        with_key = self.signs("ECC_NIST_P256", "ECDSA_SHA_256", prefix)
        digest = hashlib.sha256(b"checkpoint").digest()
        signature = self.aws.sign(Message=digest, MessageType="DIGEST", **with_key)["Signature"]
        self.assertTrue(self.aws.verify(Message=b"checkpoint", Signature=signature, **with_key)["SignatureValid"])
        self.refused("ValidationException", self.aws.sign, Message=b"short", MessageType="DIGEST", **with_key)

    def test_ed25519_signs_and_verifies(self):
        # SubjectPublicKeyInfo of Ed25519 (RFC 8410).
        self.signs("ECC_NIST_EDWARDS25519", "ED25519_SHA_512", bytes.fromhex("302a300506032b6570032100"))

    def test_macs_verify(self):
        key = self.make(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
        with_key = {"KeyId": key, "MacAlgorithm": "HMAC_SHA_256"}
        mac = self.aws.generate_mac(Message=b"address", **with_key)["Mac"]
        self.assertEqual(mac, self.aws.generate_mac(Message=b"address", **with_key)["Mac"])
        self.assertEqual(len(mac), 32)
        self.assertTrue(self.aws.verify_mac(Message=b"address", Mac=mac, **with_key)["MacValid"])
        self.refused("KMSInvalidMacException", self.aws.verify_mac, status=400, Message=b"other", Mac=mac, **with_key)
