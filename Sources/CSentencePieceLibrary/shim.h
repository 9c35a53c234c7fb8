// The library is C++; only the target CSentencePiece includes its headers.
