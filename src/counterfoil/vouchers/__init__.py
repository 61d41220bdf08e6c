"""Campaigns and vouchers: who was addressed, what was issued, what was redeemed."""
