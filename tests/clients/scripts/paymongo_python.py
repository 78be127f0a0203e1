"""PayMongo's own library for Python, pointed at the example server.

It sends the key without the colon behind it, which the guide calls mandatory: the server takes that only when it was
started with ACCEPT_MISSING_COLON=1.
"""

import os

import paymongo
import requests
from paymongo import AuthenticationException, InvalidRequestException, ResourceNotFoundException, StandardException

BASE = os.environ["BASE_URL"].removesuffix("/v1")
KEY, ORGANIZATION = os.environ["TEST_SECRET_KEY"], os.environ["ORGANIZATION_ID"]
OTHER_ORGANIZATION, WORKFLOW = os.environ["OTHER_ORGANIZATION_ID"], os.environ["TEST_WORKFLOW_ID"]
checks = 0


def config():
    """The library's configuration, which has its base URL written in."""
    config = paymongo.PaymongoConfig(paymongo.api_key)
    config.api_base_url = BASE
    return config


paymongo.BaseService.config = config


def use(key, organization=None):
    """With this key from now on, and with this organization, which the library itself has no way to send."""
    paymongo.api_key = key
    requests.sessions.default_headers = lambda: {"Organization-Id": organization} if organization else {}


def request(method, path, params=None):
    return paymongo.PaymongoClient.execute_request(config=config(), method=method, path=path, params=params or {})


def expect(what, got, want):
    global checks
    checks += 1
    assert got == want, f"{what}: got {got!r}, want {want!r}"


def expect_error(what, kind, code, call, *arguments):
    """Exactly this exception of the library's, with the code and a text that it read in `errors`."""
    try:
        call(*arguments)
    except StandardException as error:
        expect(what, (type(error), [each.code for each in error.errors]), (kind, [code]))
        expect(f"{what}: with a detail", type(error.errors[0].detail), str)
    else:
        raise AssertionError(f"{what}: no exception")


use("sk_test_00000000000000000000000000000000", ORGANIZATION)
expect_error("unknown key", AuthenticationException, "authentication_failed", paymongo.Customer.retrieve, "cus_1")

use(KEY, ORGANIZATION)
if "ACCEPT_MISSING_COLON" not in os.environ:
    expect_error("no colon", AuthenticationException, "authentication_failed", paymongo.Customer.retrieve, "cus_1")
else:
    expect("list", [each["id"] for each in request("get", "workflows").data], [WORKFLOW])
    run = request("post", f"workflows/{WORKFLOW}/execute", {"amount": 100}).data
    expect("execute", run["input"], {"data": {"attributes": {"amount": 100}}})
    expect_error("not found", ResourceNotFoundException, "not_found", paymongo.Customer.retrieve, "cus_1")
    expect_error("no name", InvalidRequestException, "validation_error", request, "post", "workflows")
    use(KEY)
    expect_error(
        "no organization", InvalidRequestException, "missing_organization_header", paymongo.Customer.retrieve, "cus_1"
    )
    use(KEY, OTHER_ORGANIZATION)
    expect_error("another organization", StandardException, "organization_mismatch", paymongo.Customer.retrieve, "cus_1")

print(f"{checks} passed, 0 failed")
