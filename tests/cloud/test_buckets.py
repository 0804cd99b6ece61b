"""Settings and policies of the buckets of the tests' GCS server."""

from __future__ import annotations

import base64

from tests.gcsserver.buckets import Bucket


def test_the_etag_of_a_policy_survives_the_other_base64() -> None:
    bucket = Bucket()
    for number in range(64):
        member = f"serviceAccount:{number}@p.iam.gserviceaccount.com"
        etag = bucket.policy("b")["etag"]
        # gcloud reads the etag as bytes, and writes these in the alphabet for URLs.
        sent = base64.urlsafe_b64encode(base64.b64decode(etag)).decode()
        bucket.set_policy("b", {"etag": sent, "bindings": [{"role": "r", "members": [member]}]})
        assert bucket.policy("b")["bindings"] == [{"role": "r", "members": [member]}]
