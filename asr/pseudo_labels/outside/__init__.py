"""Labels that others wrote, and that we write for others: their files, and how they stand beside a teacher's."""
