"""The cost of mechanisms, the bits that tasks require, the width bounds that follow, and probes of states."""
