-- A claim in Redis: KEYS[1] the campaign; ARGV the customer, a new code, the time.
-- Within the stock, once for each customer; the voucher is a hash.
local campaign = redis.call('HMGET', KEYS[1], 'state', 'stock', 'handed_out')
if campaign[1] ~= 'active' then return 'campaign_not_found' end
if redis.call('HEXISTS', KEYS[1] .. ':customers', ARGV[1]) == 1 then return 'claim_limit_reached' end
if tonumber(campaign[3]) >= tonumber(campaign[2]) then return 'sold_out' end
redis.call('HINCRBY', KEYS[1], 'handed_out', 1)
redis.call('HSET', KEYS[1] .. ':customers', ARGV[1], ARGV[2])
redis.call('HSET', 'v:' .. ARGV[2], 'campaign', KEYS[1], 'customer', ARGV[1], 'state', 'issued', 'issued_at', ARGV[3])
return 'claimed'
