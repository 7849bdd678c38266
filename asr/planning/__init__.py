"""What to know before hours are spent: plan, estimates, benchmark, checks, audit."""
