"""Orders with their lines, the transactions that paid them, and the page views before them."""
