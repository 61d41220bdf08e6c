-- What wrk sends: every request is another customer's claim, or another voucher's redemption.
-- Arguments are words `name=value`, see `_load.py`.
local asked, head, body
local n = 0

local symbols = {}
for position = 1, 16 do
  symbols[string.sub("0123456789abcdef", position, position)] = string.sub("2468BDFHKMPRTVXZ", position, position)
end

-- The code of the voucher with this number, as `_stage.py` made it.
local function code(number)
  return (string.gsub(string.format("%05x%07x", (number * 617809) % 1048573, number), ".", symbols))
end

local bodies = {}

function bodies.claim()
  local campaigns, customers = tonumber(asked.campaigns), tonumber(asked.customers)
  return function()
    local campaign = campaigns > 0 and asked.campaign .. math.random(campaigns) or asked.campaign
    local customer = customers > 0 and math.random(customers) or n
    return '{"campaign_id":"' .. campaign .. '","customer_id":"' .. asked.run .. "-" .. customer .. '"}'
  end
end

function bodies.redeem()
  local base, size, first = tonumber(asked.base), tonumber(asked.size), tonumber(asked.first)
  local stride, vouchers = tonumber(asked.stride), tonumber(asked.vouchers)
  return function()
    local turn = first + (vouchers > 0 and n % vouchers or n)
    local voucher = code(base + (turn * stride) % size)
    return '{"voucher_id":"' .. voucher .. '","order_id":"' .. asked.run .. "-" .. n .. '","amount_minor":4200}'
  end
end

function init(args)
  asked = {}
  for _, word in ipairs(args) do
    local name, value = string.match(word, "^(%w+)=(.*)$")
    asked[name] = value
  end
  math.randomseed(tonumber(asked.seed))
  head = "POST /v1/vouchers/" .. asked.verb .. " HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "
    .. asked.key .. "\r\nContent-Type: application/json\r\nContent-Length: "
  body = bodies[asked.verb]()
end

function request()
  local text = body()
  n = n + 1
  return head .. #text .. "\r\n\r\n" .. text
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
