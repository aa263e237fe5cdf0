"""Finding and following faces, bodies and hands through pictures and videos."""
