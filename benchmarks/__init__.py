"""What the middlewares cost, beside a hand-written floor and the packages they replace; run `python -m benchmarks`."""
