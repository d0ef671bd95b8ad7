"""The warehouse and the carriers: who is told what to pack, and who tells what became of it."""
