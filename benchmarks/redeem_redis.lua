-- A redemption in Redis: ARGV the code, the order, the discount, an id, the time.
-- Each voucher once, within the campaign's budget; the redemption stands in the voucher's hash.
local key = 'v:' .. ARGV[1]
local voucher = redis.call('HMGET', key, 'campaign', 'state', 'order')
if not voucher[1] then return 'voucher_not_found' end
if voucher[2] ~= 'issued' then
  if voucher[3] == ARGV[2] then return 'repeated' end
  return 'voucher_redeemed'
end
local campaign = redis.call('HMGET', voucher[1], 'state', 'budget', 'spent')
if campaign[1] ~= 'active' then return 'campaign_ended' end
if tonumber(campaign[3]) + tonumber(ARGV[3]) > tonumber(campaign[2]) then return 'budget_exhausted' end
redis.call('HINCRBY', voucher[1], 'spent', ARGV[3])
redis.call('HINCRBY', voucher[1], 'redemptions', 1)
redis.call('HSET', key, 'state', 'redeemed', 'order', ARGV[2], 'redemption', ARGV[4], 'discount', ARGV[3], 'redeemed_at', ARGV[5])
return 'redeemed'
