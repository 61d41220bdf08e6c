"""`python -m counterfoil`."""

from counterfoil.main import main

main()
