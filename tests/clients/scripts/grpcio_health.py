"""The gRPC health service, asked with the generated client from grpcio-health-checking. Needs LIMIT=4 at the server."""

import os

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

ADDRESS, KEY = os.environ["BASE_URL"].removeprefix("http://"), os.environ["API_KEY"]
REQUEST = health_pb2.HealthCheckRequest()
checks = 0


def expect(what, got, want):
    global checks
    checks += 1
    assert got == want, f"{what}: got {got!r}, want {want!r}"


def code(call):
    """The status that a call ends with."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


with grpc.insecure_channel(ADDRESS) as channel:
    health = health_pb2_grpc.HealthStub(channel)

    def check(*metadata):
        return lambda: health.Check(REQUEST, metadata=metadata, timeout=10)

    good = ("x-api-key", KEY)
    expect("no key", code(check()), grpc.StatusCode.UNAUTHENTICATED)
    expect("an unknown key", code(check(("x-api-key", "demo_" + "0" * 43))), grpc.StatusCode.UNAUTHENTICATED)

    answer, call = health.Check.with_call(REQUEST, metadata=[good], timeout=10)
    metadata = dict(call.initial_metadata())
    expect("a good key", answer.status, health_pb2.HealthCheckResponse.SERVING)
    expect("who is calling", "caller" in metadata, True)
    expect("how much is left", metadata["x-ratelimit-remaining"], "3")

    expect("two keys", code(check(good, good)), grpc.StatusCode.UNAUTHENTICATED)
    watch = lambda: next(health.Watch(REQUEST, metadata=[good], timeout=10))
    expect("no scope for a stream", code(watch), grpc.StatusCode.PERMISSION_DENIED)
    expect("up to the limit", [code(check(good)) for _ in range(3)], [
        grpc.StatusCode.OK, grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED,
    ])

print(f"{checks} passed, 0 failed")
