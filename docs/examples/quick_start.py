"""Sign and verify over plain HTTP, with the standard library alone: KMS_URL and KMS_TOKEN_FILE say where and as whom."""

import base64
import json
import os
import urllib.request

url = os.environ["KMS_URL"]
with open(os.environ["KMS_TOKEN_FILE"], encoding="ascii") as file:
    token = file.read().strip()


def ask(path, body):
    request = urllib.request.Request(
        f"{url}/v1/kms/{path}",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


# The standard library has no BLAKE3, so the message goes as it is, up to 64 KiB.
message = base64.b64encode(b"hello world").decode()
kid = ask("keys", {"purpose": "audit", "alg": "ed25519"})["kid"]
sigs = ask("sign", {"kid": kid, "message_b64": message})["sigs"]
assert ask("verify", {"message_b64": message, "sigs": sigs})["ok"]
print(f"{kid}: ok")
