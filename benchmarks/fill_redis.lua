-- Vouchers into Redis: KEYS[1] their campaign, or what its name begins with; ARGV the first number, how many,
-- and how many campaigns share them (0: one has them all). With ARGV[4]: codes as redis-benchmark makes them up.
local symbols = {}
for position = 1, 16 do
  symbols[string.sub('0123456789abcdef', position, position)] = string.sub('2468BDFHKMPRTVXZ', position, position)
end
local campaigns = tonumber(ARGV[3])
for number = ARGV[1], ARGV[1] + ARGV[2] - 1 do
  local code = ARGV[4] and string.format('%012d', number)
    or string.gsub(string.format('%05x%07x', (number * 617809) % 1048573, number), '.', symbols)
  local campaign = campaigns > 0 and KEYS[1] .. (number % campaigns + 1) or KEYS[1]
  redis.call('HSET', 'v:' .. code, 'campaign', campaign, 'customer', 'old-' .. number, 'state', 'issued')
end
return 'filled'
