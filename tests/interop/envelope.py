"""Seals and opens archive envelopes with Amazon's own library, as the judge of ours.

    envelope.py decrypt NAMESPACE NAME KEY CONTEXT IN OUT
    envelope.py encrypt NAMESPACE NAME KEY CONTEXT IN OUT

KEY is a file of 32 octets, CONTEXT a JSON object of strings, IN and OUT files of octets. Uses a raw AES keyring and
suite 0x0478 only, and requires key commitment both ways. Exits with 1 when the envelope does not verify. Needs
`aws-encryption-sdk[MPL]` from PyPI (written against 4.0); no network and no AWS account.
"""

import json
import pathlib
import sys

import aws_encryption_sdk
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import AesWrappingAlg, CreateRawAesKeyringInput
from aws_encryption_sdk.identifiers import AlgorithmSuite, CommitmentPolicy

SUITE = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY


def main():
    verb, namespace, name, key, context, source, target = sys.argv[1:]
    context = json.loads(pathlib.Path(context).read_text(encoding="utf-8"))
    source = pathlib.Path(source).read_bytes()
    providers = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
    keyring = providers.create_raw_aes_keyring(
        CreateRawAesKeyringInput(
            key_namespace=namespace,
            key_name=name,
            wrapping_key=pathlib.Path(key).read_bytes(),
            wrapping_alg=AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16,
        )
    )
    client = aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
    )
    if verb == "encrypt":
        result, _ = client.encrypt(
            source=source, keyring=keyring, encryption_context=context, algorithm=SUITE, frame_length=4096
        )
    elif verb == "decrypt":
        result, header = client.decrypt(source=source, keyring=keyring, encryption_context=context)
        if header.algorithm != SUITE or dict(header.encryption_context) != context:
            sys.exit("another suite or another context")
    else:
        sys.exit(f"no such verb: {verb}")
    pathlib.Path(target).write_bytes(result)


if __name__ == "__main__":
    main()
