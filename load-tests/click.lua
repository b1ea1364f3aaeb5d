-- Sends the requests of the file that WAYPOST_REQUESTS names, one after the other; they are raw and ready to send, so
-- that the generator does as little as it can. Where WAYPOST_VISITOR is a number, each request is of a visitor of its
-- own, counted from there: the address that the file has as 1NN.1NN.1NN.1NN is replaced.
local pattern = "X%-Forwarded%-For: 1%d%d%.1%d%d%.1%d%d%.1%d%d\r\n"
-- First byte 100 to 126, the others 100 to 199: no loopback. The step scatters neighbours and meets each once.
local visitors, step = 27000000, 7654321
local visitor = tonumber(os.getenv("WAYPOST_VISITOR") or "")
local requests, tails = {}, {}
local at = 0

function init(args)
  local file = assert(io.open(os.getenv("WAYPOST_REQUESTS"), "rb"))
  local text = file:read("*a")
  file:close()
  local from = 1
  while true do
    local _, stop = string.find(text, "\r\n\r\n", from, true)
    if not stop then break end
    local request = string.sub(text, from, stop)
    if visitor then
      local first, last = assert(string.find(request, pattern))
      tails[#tails + 1] = string.sub(request, last - 1)
      request = string.sub(request, 1, first - 1) .. "X-Forwarded-For: "
    end
    requests[#requests + 1] = request
    from = stop + 1
  end
  assert(#requests > 0, "no requests")
end

function request()
  at = at % #requests + 1
  if not visitor then return requests[at] end
  local n = visitor * step % visitors
  visitor = visitor + 1
  local d, c, b = n % 100, math.floor(n / 100) % 100, math.floor(n / 10000) % 100
  local address = string.format("1%02d.1%02d.1%02d.1%02d", math.floor(n / 1000000), b, c, d)
  return requests[at] .. address .. tails[at]
end

-- Counts of errors and percentiles in microseconds, for load-tests/run.
function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "us": %d, "errors": %d, "p50_us": %d, "p99_us": %d}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.timeout + e.status,
    latency:percentile(50), latency:percentile(99)))
end
