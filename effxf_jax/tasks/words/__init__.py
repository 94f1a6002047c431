"""What word problems are made of: their sentences, draws, solutions, faults and records."""
