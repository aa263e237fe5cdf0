"""The BlazeFace, BlazePose and BlazePalm families: detectors and landmark networks in LiteRT files, numpy in and out."""
