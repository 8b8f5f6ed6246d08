"""The client example of the module's own description, with its address, its credentials and the key_id of its first answer."""

import base64
import json
import os
import ssl

import httpx

address = os.environ["KMS_ADDRESS"]
context = ssl.create_default_context(cafile=os.environ["KMS_CA"])
context.load_cert_chain(os.environ["KMS_CERT"], os.environ["KMS_KEY"])

# Generate key
response = httpx.post(
    f"{address}/kms/v1/keys",
    json={
        "tenant_id": "tenant123",
        "environment": "prod",
        "plane": "laptop",
        "key_type": "RSA-2048",
        "key_usage": "sign",
        "key_alias": "my-signing-key",
    },
    headers={"X-Approval-Token": os.environ["KMS_APPROVAL"]},
    verify=context,
    timeout=60,
)
generated = response
key_id = response.json()["key_id"]

# Sign data
data = b"Hello, World!"
data_b64 = base64.b64encode(data).decode("utf-8")

response = httpx.post(
    f"{address}/kms/v1/sign",
    json={
        "key_id": key_id,
        "data": data_b64,
        "algorithm": "RSA-PSS-SHA256",
        "tenant_id": "tenant123",
        "environment": "prod",
        "plane": "laptop",
    },
    verify=context,
)

print(json.dumps([[each.status_code, each.json(), dict(each.headers)] for each in (generated, response)]))
