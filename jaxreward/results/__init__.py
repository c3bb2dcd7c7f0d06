"""What is read off runs: tables, SQL, statistics, comparisons, curves, evaluation."""
