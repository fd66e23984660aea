-- One POST again and again; what it was like, on one line.
wrk.method = "POST"
wrk.body = os.getenv("BODY")
wrk.headers["Content-Type"] = "application/json"
wrk.headers[os.getenv("HEADER")] = os.getenv("VALUE")

function done(summary, latency, _)
    local failed = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
    io.write(string.format("RESULT %d %.0f %.0f %.0f %d\n", summary.requests, summary.requests * 1e6 / summary.duration,
        latency:percentile(50), latency:percentile(99), failed))
end
