"""What moves the bytes and the time: TCP between processes, or memory under a virtual clock."""
