"""Points: members' accounts, the ledger of what moved, and what is promised, held and about to expire."""
