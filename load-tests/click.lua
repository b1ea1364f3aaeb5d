-- Sends the requests of the file that WAYPOST_REQUESTS names, one after the other; they are raw and ready to send, so
-- that the generator does as little as it can.
local requests = {}
local at = 0

function init(args)
  local file = assert(io.open(os.getenv("WAYPOST_REQUESTS"), "rb"))
  local text = file:read("*a")
  file:close()
  local from = 1
  while true do
    local _, stop = string.find(text, "\r\n\r\n", from, true)
    if not stop then break end
    requests[#requests + 1] = string.sub(text, from, stop)
    from = stop + 1
  end
  assert(#requests > 0, "no requests")
end

function request()
  at = at % #requests + 1
  return requests[at]
end

-- Counts of errors and percentiles in microseconds, for load-tests/run.
function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "us": %d, "errors": %d, "p50_us": %d, "p99_us": %d}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.timeout + e.status,
    latency:percentile(50), latency:percentile(99)))
end
