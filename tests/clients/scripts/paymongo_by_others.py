"""The library that PyPI has as `paymongo`, which is not PayMongo's, pointed at the example server."""

import os

import requests
from paymongo import Paymongo, payment, web_hook

BASE, KEY = os.environ["BASE_URL"], os.environ["TEST_SECRET_KEY"]
ORGANIZATION, WORKFLOW = os.environ["ORGANIZATION_ID"], os.environ["TEST_WORKFLOW_ID"]
checks = 0


def expect(what, got, want):
    global checks
    checks += 1
    assert got == want, f"{what}: got {got!r}, want {want!r}"


# Its addresses are constants, and it has no way to send the organization.
payment.payment_url = web_hook.hook_url = f"{BASE}/workflows"
requests.sessions.default_headers = lambda: {"Organization-Id": ORGANIZATION}

paymongo = Paymongo(KEY)
expect("list", [each["id"] for each in paymongo.payments.list()["data"]], [WORKFLOW])
expect("retrieve", paymongo.payments.retrieve(WORKFLOW)["data"]["id"], WORKFLOW)
created = paymongo.webhooks.create({"name": "From Python"})
expect("create", created["name"], "From Python")
expect("retrieve it", paymongo.webhooks.retrieve(created["id"])["livemode"], False)
expect("not found", paymongo.payments.retrieve("none")["errors"][0]["code"], "not_found")
stranger = Paymongo("sk_test_00000000000000000000000000000000")
expect("unknown key", stranger.payments.list()["errors"][0]["code"], "authentication_failed")

print(f"{checks} passed, 0 failed")
