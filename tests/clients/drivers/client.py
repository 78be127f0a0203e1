"""Asks the cases of a file with httpx: client.py FILE VERSION, where the version is 1.1 or 2."""

import json
import os
import re
import sys

import httpx


def filled(case, variables):
    """The case with every ${NAME} replaced."""
    return json.loads(re.sub(r"\$\{(\w+)\}", lambda found: variables[found[1]], json.dumps(case)))


def ask(client, base, request):
    method, path = request["to"].split(" ")
    headers = []
    for name, values in request.get("headers", {}).items():
        headers += [(name, value) for value in (values if isinstance(values, list) else [values])]
    user, colon, password = request.get("basic", "").partition(":")
    body = request.get("body")
    content = {"content": body} if isinstance(body, str) else {"json": body}
    return client.request(method, base + path, headers=headers, auth=(user, password) if colon else None, **content)


def parsed(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


def at(document, path):
    """What `data.0.id` leads to, or None."""
    for step in path.split("."):
        if isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        elif isinstance(document, dict):
            document = document.get(step)
        else:
            return None
    return document


def comparisons(answer, response):
    """What is compared: its name, what came, and what should have come."""
    yield "status", response.status_code, answer["status"]
    for name, want in answer.get("headers", {}).items():
        yield name, response.headers.get(name), want
    body = answer.get("body", {})
    if isinstance(body, str):
        yield "body", response.text, body
    else:
        document = parsed(response.text)
        for path, want in body.items():
            yield path, at(document, path), want


def main(file, version):
    with open(file, encoding="utf-8") as text:
        cases = json.load(text)["cases"]
    variables = dict(os.environ)
    failed = 0
    with httpx.Client(http1=version == "1.1", http2=version == "2", timeout=10, trust_env=False) as client:
        for case in cases:
            case = filled(case, variables)
            response = ask(client, variables["BASE_URL"], case["request"])
            wrong = [f"{what} is {got!r}, not {want!r}" for what, got, want in comparisons(case["answer"], response)
                     if (got is None if want == "*" else got != want)]
            if response.http_version != f"HTTP/{version}":
                wrong.append(f"the protocol is {response.http_version}")
            received = {"headers": dict(response.headers), "body": parsed(response.text)}
            for name, path in case.get("keep", {}).items():
                variables[name] = str(at(received, path))
            if wrong:
                failed += 1
                print(f"FAILED {case['name']}: {'; '.join(wrong)}")
    print(f"{len(cases) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
