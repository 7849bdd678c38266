"""Labels that others wrote, or shall read: their files, and how they stand beside a teacher's."""
