"""What a mechanism costs, what a task needs, and the width that follows."""
