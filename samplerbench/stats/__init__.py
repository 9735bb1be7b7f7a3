"""Paired statistics: numbers in, differences, intervals and sets of the best out.

Everything here takes and gives numpy arrays and plain numbers; there are no files, no tables and no torch.

A *stream* is one source of noise: sample i of every cell of a stream came from the same x_T and the same later draws.
Cells of one stream are compared sample by sample, which removes most of the noise that they share.
"""
