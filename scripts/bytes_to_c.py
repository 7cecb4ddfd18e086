#!/usr/bin/env python3
"""Print the bytes of a file as the elements of a C array: `static const uint8_t x[] = {` #include "OUT" `};`

    bytes_to_c.py FILE
"""
import pathlib
import sys

data = pathlib.Path(sys.argv[1]).read_bytes()
for at in range(0, len(data), 20):
    print(''.join('%d,' % byte for byte in data[at:at + 20]))
