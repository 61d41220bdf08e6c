"""The full link of a voucher: from its issuance and purchase to its redemption and the money.

A room of the platform and a library of its own: `counterfoil.link(...)` takes frames and knows no database.
"""
