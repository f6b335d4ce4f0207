"""Data-free quantization that keeps equivariance: fold, equalize, absorb, range, correct, export.

Every step works on fields, before the filters are expanded over the group, so that its changes are tied over
the group by construction. Source: Nagel et al. 2019, *Data-Free Quantization Through Weight
Equalization and Bias Correction*; Mohamed et al. 2020 for the equivariant case.
"""
