-- What the bench `loopback` has wrk send: the good keys of `support` in turn, with the same header fields.
local requests, turn = {}, 0

function init()
    for index = 0, 255 do
        requests[index] = wrk.format("GET", "/workflows/wf_8Qm2", {
            ["user-agent"] = "justpaid-node/3.2.1",
            ["accept"] = "application/json",
            ["accept-encoding"] = "gzip, br",
            ["x-api-key"] = string.format("wfk_%032d", index),
        })
    end
end

function request()
    turn = (turn + 1) % 256
    return requests[turn]
end

-- The last line: requests, microseconds, faults.
function done(summary)
    local errors = summary.errors
    local faults = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    print(string.format("%d %d %d", summary.requests, summary.duration, faults))
end
