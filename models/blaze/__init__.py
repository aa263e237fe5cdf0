"""Face, body and hand networks of the Blaze families as LiteRT files: detectors and landmarks, numpy in and out."""
