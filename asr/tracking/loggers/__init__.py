"""Where metrics go besides metrics.jsonl: tables; services, each followed up by a process of its own."""
