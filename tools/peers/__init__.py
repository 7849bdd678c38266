"""What tools/bench_peers.py measures; imported from tools/, whose scripts have it on their path."""
