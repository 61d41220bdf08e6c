"""`python -m counterfoil`."""

from .main import main

main()
