"""The guide's tables, asked with Python's own HTTP client."""

import http.client
import json
import os
import time
import urllib.parse

base = urllib.parse.urlparse(os.environ["BASE_URL"])
ALL, READ_ONLY = os.environ["WORKFLOWS_API_KEY"], os.environ["READ_ONLY_API_KEY"]
checks = 0


def call(method, path, key=None, body=None, more={}):
    connection = http.client.HTTPConnection(base.hostname, base.port, timeout=10)
    headers = ({"x-api-key": key} if key is not None else {}) | more
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection.request(method, base.path + path, json.dumps(body) if body is not None else None, headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, response.headers, json.loads(text) if text else None


def patiently(method, path, key=None, body=None, more={}):
    """Waits as Retry-After says, once."""
    answer = call(method, path, key, body, more)
    if answer[0] == 429:
        time.sleep(int(answer[1]["Retry-After"]))
        answer = call(method, path, key, body, more)
    return answer


def expect(what, got, want):
    global checks
    checks += 1
    assert got == want, f"{what}: got {got!r}, want {want!r}"


def mint(*scopes):
    status, _, body = patiently("POST", "/auth/api-keys", ALL, {"name": "python", "scopes": list(scopes)})
    expect("mint", status, 201)
    return body["data"]


workflow = patiently("POST", "/workflows", ALL, {"name": "From Python"})[2]["data"]["id"]
connection = {"name": "Chat", "provider": "slack"}
table = [
    ("workflows:read", "GET", "/workflows", None, 200),
    ("workflows:read", "GET", f"/workflows/{workflow}", None, 200),
    ("workflows:write", "POST", "/workflows", {"name": "x"}, 201),
    ("workflows:write", "PUT", f"/workflows/{workflow}", {"name": "y"}, 200),
    ("workflows:execute", "POST", f"/workflows/{workflow}/run", None, 201),
    ("runs:read", "GET", "/runs", None, 200),
    ("runs:read", "GET", "/runs/none", None, 404),
    ("connections:read", "GET", "/connections", None, 200),
    ("connections:write", "POST", "/connections", connection, 201),
    ("connections:write", "DELETE", "/connections/none", None, 404),
]
for scope, method, path, body, status in table:
    key = mint(scope)["key"]
    expect(f"{method} {path} with {scope}", patiently(method, path, key, body)[0], status)
    other = mint("runs:read" if scope != "runs:read" else "workflows:read")["key"]
    expect(f"{method} {path} without {scope}", patiently(method, path, other, body)[0], 403)

status, headers, body = call("GET", "/workflows")
expect("no key", (status, body["error"]["code"], body["success"]), (401, "UNAUTHORIZED", False))
expect("a challenge", headers["WWW-Authenticate"].startswith("ApiKey"), True)

status, headers, _ = patiently("GET", "/workflows", READ_ONLY)
expect("limit fields", [name for name in ("Limit", "Remaining", "Reset") if f"X-RateLimit-{name}" not in headers], [])

made = mint("workflows:read")
listed = patiently("GET", "/auth/api-keys", ALL)[2]["data"]
expect("listed", [key["name"] for key in listed if key["id"] == made["id"]], ["python"])
path = f"/auth/api-keys/{made['id']}"
status, headers, body = patiently("GET", path, ALL)
expect("one key", (status, body["data"]["name"], headers["ETag"]), (200, "python", '"0"'))
status, headers, body = patiently("PATCH", path, ALL, {"name": "Python"}, {"If-Match": '"0"'})
expect("changed", (status, body["data"]["name"], headers["ETag"]), (200, "Python", '"1"'))
status, _, body = patiently("PATCH", path, ALL, {"name": "late"}, {"If-Match": '"0"'})
expect("overtaken", (status, body["error"]["code"]), (412, "PRECONDITION_FAILED"))
expect("revoked", patiently("DELETE", f"/auth/api-keys/{made['id']}", ALL)[0], 200)
expect("refused at once", call("GET", "/workflows", made["key"])[0], 401)

key = mint("workflows:read")["key"]
statuses = [call("GET", "/workflows", key)[0] for _ in range(41)]
expect("40 reads and no more", statuses, [200] * 40 + [429])

print(f"{checks} passed, 0 failed")
